//! authentication.k8s.io/v1: kubernetes `pkg/apis/authentication/v1/defaults.go`.

use super::{Rule, default};

pub(super) const RULES: &[(&str, Rule)] = &[("TokenRequestSpec", |s| {
    default(s, "expirationSeconds", 3600)
})];

//! discovery.k8s.io/v1: kubernetes `pkg/apis/discovery/v1/defaults.go`.

use super::{Rule, default};

pub(super) const RULES: &[(&str, Rule)] = &[("EndpointPort", |p| {
    default(p, "name", "");
    default(p, "protocol", "TCP");
})];

//! scheduling.k8s.io/v1: kubernetes `pkg/apis/scheduling/v1/defaults.go`.

use super::{Rule, default};

pub(super) const RULES: &[(&str, Rule)] = &[("PriorityClass", |c| {
    default(c, "preemptionPolicy", "PreemptLowerPriority")
})];

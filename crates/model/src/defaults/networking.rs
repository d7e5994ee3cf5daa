//! networking.k8s.io/v1: kubernetes `pkg/apis/networking/v1/defaults.go`.

use super::{Rule, default, is_absent, is_empty, object};
use crate::{Map, Value};

pub(super) const RULES: &[(&str, Rule)] = &[
    ("NetworkPolicyPort", |p| default(p, "protocol", "TCP")),
    ("NetworkPolicy", network_policy),
    ("IngressClass", ingress_class),
];

fn network_policy(policy: &mut Map) {
    let Some(spec) = object(policy, "spec") else {
        return;
    };
    if is_empty(spec, "policyTypes") {
        let mut types = vec!["Ingress"];
        if !is_empty(spec, "egress") {
            types.push("Egress");
        }
        spec.insert("policyTypes", Value::from(types));
    }
}

fn ingress_class(class: &mut Map) {
    let spec = object(class, "spec").filter(|s| !is_absent(s, "parameters"));
    if let Some(parameters) = spec.and_then(|s| object(s, "parameters")) {
        default(parameters, "scope", "Cluster");
    }
}

//! admissionregistration.k8s.io/v1: kubernetes `pkg/apis/admissionregistration/v1/defaults.go`.

use super::{Rule, default};
use crate::{Map, Value};

pub(super) const RULES: &[(&str, Rule)] = &[
    ("ValidatingWebhook", webhook),
    ("MutatingWebhook", |w| {
        webhook(w);
        default(w, "reinvocationPolicy", "Never");
    }),
    ("RuleWithOperations", scope),
    ("NamedRuleWithOperations", scope),
    ("ServiceReference", |r| default(r, "port", 443)),
    ("ValidatingAdmissionPolicySpec", |s| {
        default(s, "failurePolicy", "Fail")
    }),
    ("MutatingAdmissionPolicySpec", |s| {
        default(s, "failurePolicy", "Fail")
    }),
    ("MatchResources", matches),
];

fn webhook(w: &mut Map) {
    default(w, "failurePolicy", "Fail");
    matches(w);
    default(w, "timeoutSeconds", 10);
}

fn matches(m: &mut Map) {
    default(m, "matchPolicy", "Equivalent");
    default(m, "namespaceSelector", Value::object());
    default(m, "objectSelector", Value::object());
}

/// JSON inlines `Rule`, so its default sits in the structs around it.
fn scope(rule: &mut Map) {
    default(rule, "scope", "*");
}

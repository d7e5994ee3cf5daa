//! flowcontrol.apiserver.k8s.io: kubernetes `pkg/apis/flowcontrol/v1/defaults.go`, `v1beta3` and
//! `v1beta2`.

use super::{Rule, default, default_zero, object};
use crate::{Map, Value};

const FLOW_SCHEMA: (&str, Rule) = ("FlowSchemaSpec", |s| {
    default_zero(s, "matchingPrecedence", 1000)
});
const EXEMPT: (&str, Rule) = ("ExemptPriorityLevelConfiguration", |e| {
    default(e, "nominalConcurrencyShares", 0);
    default(e, "lendablePercent", 0);
});
const QUEUING: (&str, Rule) = ("QueuingConfiguration", |q| {
    default_zero(q, "handSize", 8);
    default_zero(q, "queues", 64);
    default_zero(q, "queueLengthLimit", 50);
});

pub(super) const RULES: &[(&str, Rule)] = &[
    FLOW_SCHEMA,
    EXEMPT,
    QUEUING,
    ("LimitedPriorityLevelConfiguration", |l| {
        default(l, "nominalConcurrencyShares", 30);
        default(l, "lendablePercent", 0);
    }),
];

pub(super) const RULES_BETA: &[(&str, Rule)] = &[
    FLOW_SCHEMA,
    EXEMPT,
    QUEUING,
    ("PriorityLevelConfiguration", beta_shares),
    ("LimitedPriorityLevelConfiguration", |l| {
        default(l, "lendablePercent", 0)
    }),
];

pub(super) const RULES_OLD_BETA: &[(&str, Rule)] = &[
    FLOW_SCHEMA,
    EXEMPT,
    QUEUING,
    ("LimitedPriorityLevelConfiguration", |l| {
        default_zero(l, "assuredConcurrencyShares", 30);
        default(l, "lendablePercent", 0);
    }),
];

/// The beta field cannot tell zero from unset; an annotation does.
fn beta_shares(p: &mut Map) {
    const KEEP_ZERO: &str = "flowcontrol.k8s.io/v1beta3-preserve-zero-concurrency-shares";
    let annotations = p.get("metadata").and_then(|m| m.get("annotations"));
    if annotations
        .and_then(Value::as_object)
        .is_some_and(|a| a.contains_key(KEEP_ZERO))
    {
        return;
    }
    let Some(spec) = object(p, "spec") else {
        return;
    };
    if let Some(limited) = spec.get_mut("limited").and_then(Value::as_object_mut) {
        default_zero(limited, "nominalConcurrencyShares", 30);
    }
}

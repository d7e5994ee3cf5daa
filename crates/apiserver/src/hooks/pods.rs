//! Pods: quality of service, service account, grace period.

use crate::pipeline::Call;
use freehold_model::{Value, quantity::Quantity};
use std::collections::BTreeSet;

/// A pod that was never bound needs no kubelet to end it.
pub(super) fn grace(object: &Value) -> i64 {
    let phase = object.str_at(&["status", "phase"]).unwrap_or("");
    if object
        .str_at(&["spec", "nodeName"])
        .unwrap_or("")
        .is_empty()
        || matches!(phase, "Failed" | "Succeeded")
    {
        return 0;
    }
    object
        .at(&["spec", "terminationGracePeriodSeconds"])
        .and_then(Value::as_i64)
        .unwrap_or(30)
}

pub(super) fn create(call: &Call, object: &mut Value) {
    object.set(&["status", "phase"], "Pending");
    object.set(&["status", "qosClass"], qos(object));
    if object
        .str_at(&["spec", "serviceAccountName"])
        .unwrap_or("")
        .is_empty()
    {
        object.set(&["spec", "serviceAccountName"], "default");
        object.set(&["spec", "serviceAccount"], "default");
    }
    if object.at(&["spec", "priority"]).is_none() {
        let class = object
            .str_at(&["spec", "priorityClassName"])
            .unwrap_or("")
            .to_owned();
        let (value, policy) = priority(call, &class);
        object.set(&["spec", "priority"], value);
        object.set(&["spec", "preemptionPolicy"], policy);
    }
    tolerate_unready_nodes(object);
}

/// Value and preemption policy of a priority class (plugin/pkg/admission/priority).
fn priority(call: &Call, class: &str) -> (i64, String) {
    let lower = "PreemptLowerPriority".to_owned();
    if class.is_empty() {
        return (0, lower);
    }
    let found = call
        .cp
        .cache
        .view("scheduling.k8s.io", "priorityclasses")
        .get("", class)
        .map(|o| o.parse());
    let value = found
        .as_ref()
        .and_then(|c| c.get("value"))
        .and_then(Value::as_i64)
        .unwrap_or(0);
    let policy = found
        .as_ref()
        .and_then(|c| c.str_at(&["preemptionPolicy"]))
        .map(str::to_owned);
    (value, policy.unwrap_or(lower))
}

/// As plugin/pkg/admission/defaulttolerationseconds: five minutes on a node that is not ready.
fn tolerate_unready_nodes(object: &mut Value) {
    let mut all = object
        .at(&["spec", "tolerations"])
        .and_then(Value::as_array)
        .unwrap_or_default()
        .to_vec();
    for key in [
        "node.kubernetes.io/not-ready",
        "node.kubernetes.io/unreachable",
    ] {
        let covered = all.iter().any(|t| {
            let k = t.str_at(&["key"]).unwrap_or("");
            let effect = t.str_at(&["effect"]).unwrap_or("");
            (k == key || k.is_empty()) && (effect == "NoExecute" || effect.is_empty())
        });
        if !covered {
            all.push(freehold_model::value!({
                "key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300
            }));
        }
    }
    object.set(&["spec", "tolerations"], Value::Array(all));
}

/// `Guaranteed`, `Burstable` or `BestEffort`, as pkg/apis/core/v1/helper/qos/qos.go.
fn qos(pod: &Value) -> &'static str {
    let containers = ["containers", "initContainers"].iter().flat_map(|list| {
        pod.at(&["spec", list])
            .and_then(Value::as_array)
            .unwrap_or_default()
    });
    let (mut any, mut guaranteed) = (false, true);
    for c in containers {
        let amounts = |kind: &str| -> Vec<(String, Quantity)> {
            let map = c.at(&["resources", kind]).and_then(Value::as_object);
            map.into_iter()
                .flat_map(|m| m.iter())
                .filter(|(k, _)| matches!(*k, "cpu" | "memory"))
                .filter_map(|(k, v)| Some((k.to_owned(), Quantity::parse(v.as_str()?).ok()?)))
                .filter(|(_, q): &(String, Quantity)| !q.is_zero())
                .collect()
        };
        let (requests, limits) = (amounts("requests"), amounts("limits"));
        any |= !requests.is_empty() || !limits.is_empty();
        let limited: BTreeSet<&str> = limits.iter().map(|(k, _)| k.as_str()).collect();
        guaranteed &= limited.len() == 2 && requests == limits;
    }
    match (any, guaranteed) {
        (false, _) => "BestEffort",
        (true, true) => "Guaranteed",
        (true, false) => "Burstable",
    }
}

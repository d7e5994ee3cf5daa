//! Pods: quality of service, service account, grace period.

use crate::pipeline::Call;
use freehold_model::{ApiError, Value, quantity::Quantity};
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

pub(super) fn create(call: &Call, object: &mut Value) -> Result<(), ApiError> {
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
    accounts(call, object)?;
    give_priority(call, object)?;
    tolerate_unready_nodes(object);
    run_time(call, object)?;
    super::app_armor::from_annotations(call, object);
    Ok(())
}

/// As plugin/pkg/admission/serviceaccount. The account every namespace gets is not waited for.
fn accounts(call: &Call, pod: &Value) -> Result<(), ApiError> {
    let account = pod.str_at(&["spec", "serviceAccountName"]).unwrap_or("");
    let accounts = call.cp.cache.view("", "serviceaccounts");
    let namespace = call.info.namespace.as_str();
    if account == "default" || accounts.get(namespace, account).is_some() {
        return Ok(());
    }
    let name = pod.str_at(&["metadata", "name"]).unwrap_or("");
    let why = format!(
        "error looking up service account {namespace}/{account}: serviceaccount {account:?} not found"
    );
    Err(call.forbidden(name, &why))
}

/// As plugin/pkg/admission/priority.
fn give_priority(call: &Call, pod: &mut Value) -> Result<(), ApiError> {
    let text = |path: &[&str]| pod.str_at(path).unwrap_or("").to_owned();
    let (name, class) = (
        text(&["metadata", "name"]),
        text(&["spec", "priorityClassName"]),
    );
    let Some((value, policy)) = priority(call, &class) else {
        let why = format!("no PriorityClass with name {class} was found");
        return Err(call.forbidden(&name, &why));
    };
    let given = pod.at(&["spec", "priority"]).and_then(Value::as_i64);
    if let Some(given) = given.filter(|given| *given != value) {
        let why = format!(
            "the integer value of priority ({given}) must not be provided in pod spec; priority admission controller computed {value} from the given PriorityClass name"
        );
        return Err(call.forbidden(&name, &why));
    }
    let given = text(&["spec", "preemptionPolicy"]);
    if !given.is_empty() && given != policy {
        let why = format!(
            "the string value of PreemptionPolicy ({given}) must not be provided in pod spec; priority admission controller computed {policy} from the given PriorityClass name"
        );
        return Err(call.forbidden(&name, &why));
    }
    pod.set(&["spec", "priority"], value);
    pod.set(&["spec", "preemptionPolicy"], policy);
    Ok(())
}

/// As plugin/pkg/admission/runtimeclass: overhead is that of the class.
fn run_time(call: &Call, pod: &mut Value) -> Result<(), ApiError> {
    let text = |path: &[&str]| pod.str_at(path).unwrap_or("").to_owned();
    let (name, class) = (
        text(&["metadata", "name"]),
        text(&["spec", "runtimeClassName"]),
    );
    let refuse = |why: String| Err(call.forbidden(&name, &format!("pod rejected: {why}")));
    let given = pod.at(&["spec", "overhead"]).cloned();
    let given = given.filter(|o| o.as_object().is_some_and(|m| !m.is_empty()));
    let found = call
        .cp
        .cache
        .view("node.k8s.io", "runtimeclasses")
        .get("", &class);
    if found.is_none() && !class.is_empty() {
        return refuse(format!("RuntimeClass {class:?} not found"));
    }
    let wanted = found.and_then(|c| c.parse().at(&["overhead", "podFixed"]).cloned());
    match (given, wanted) {
        (Some(_), None) => {
            refuse("Pod Overhead set without corresponding RuntimeClass defined Overhead".into())
        }
        (Some(given), Some(wanted)) if given != wanted => {
            refuse("Pod's Overhead doesn't match RuntimeClass's defined Overhead".into())
        }
        (None, Some(wanted)) => {
            pod.set(&["spec", "overhead"], wanted);
            Ok(())
        }
        _ => Ok(()),
    }
}

/// What an update that leaves it out does not take away.
pub(super) fn update(object: &mut Value, old: &Value) {
    for field in ["priority", "preemptionPolicy"] {
        if object.at(&["spec", field]).is_none()
            && let Some(kept) = old.at(&["spec", field])
        {
            object.set(&["spec", field], kept.clone());
        }
    }
    tolerate_unready_nodes(object);
}

pub(super) fn status(object: &mut Value, old: &Value) {
    let path = ["status", "qosClass"];
    if object.str_at(&path).unwrap_or("").is_empty()
        && let Some(kept) = old.at(&path)
    {
        object.set(&path, kept.clone());
    }
}

pub(super) fn resize(pod: &mut Value, asked: &Value) {
    for list in ["containers", "initContainers"] {
        let asked = asked
            .at(&["spec", list])
            .and_then(Value::as_array)
            .unwrap_or_default();
        let containers = pod.get_mut("spec").and_then(|s| s.get_mut(list));
        for container in containers
            .and_then(Value::as_array_mut)
            .into_iter()
            .flatten()
        {
            let same = |c: &&Value| c.get("name") == container.get("name");
            let Some(asked) = asked.iter().find(same).cloned() else {
                continue;
            };
            for field in ["resources", "resizePolicy"] {
                match asked.get(field) {
                    Some(v) => container.set(&[field], v.clone()),
                    None => drop(container.unset(&[field])),
                }
            }
        }
    }
}

/// Value and preemption policy of a priority class (plugin/pkg/admission/priority).
fn priority(call: &Call, class: &str) -> Option<(i64, String)> {
    let lower = "PreemptLowerPriority".to_owned();
    if class.is_empty() {
        return Some((0, lower));
    }
    let found = call
        .cp
        .cache
        .view("scheduling.k8s.io", "priorityclasses")
        .get("", class)
        .map(|o| o.parse())?;
    let value = found.get("value").and_then(Value::as_i64).unwrap_or(0);
    let policy = found.str_at(&["preemptionPolicy"]).map(str::to_owned);
    Some((value, policy.unwrap_or(lower)))
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

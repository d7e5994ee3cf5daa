//! Updates of pods through `/ephemeralcontainers` and `/resize`
//! (`ValidatePodEphemeralContainersUpdate` and `ValidatePodResize` of pkg/apis/core/validation).

use super::super::read::{NOTHING, Read as _, Report, same};
use super::pod::{annotations_update, pod_and_spec};
use crate::Value;
use crate::field::Path;

/// Ephemeral containers come and stay as they are.
pub(crate) fn ephemeral(report: &mut Report, new: &Value, old: &Value) {
    annotations_update(report, new, old);
    pod_and_spec(report, new);
    let list = |pod: &Value| -> Vec<Value> {
        let spec = pod.part("spec").unwrap_or(&NOTHING);
        spec.list("ephemeralContainers").to_vec()
    };
    let (now, path) = (list(new), Path::root("spec"));
    for before in &list(old) {
        let name = before.text("name");
        let what = match now.iter().rev().find(|c| c.text("name") == name) {
            None => "removed",
            Some(after) if !same(after, before) => "changed",
            Some(_) => continue,
        };
        report.forbidden(
            path.child("ephemeralContainers"),
            format!("existing ephemeral containers {name:?} may not be {what}\n"),
        );
    }
}

/// Processor and memory of containers change; nothing may be taken from them.
pub(crate) fn resize(report: &mut Report, new: &Value, old: &Value) {
    pod_and_spec(report, new);
    let (spec, before) = (
        new.part("spec").unwrap_or(&NOTHING),
        old.part("spec").unwrap_or(&NOTHING),
    );
    let path = Path::root("spec");
    for kind in ["initContainers", "containers"] {
        let pairs = spec.list(kind).iter().zip(before.list(kind));
        for (i, (container, old)) in pairs.enumerate() {
            let at = path.child(kind);
            let at = at.index(i);
            let at = at.child("resources");
            for (amounts, one) in [
                ("requests", "resource requests"),
                ("limits", "resource limits"),
            ] {
                let names = |c: &Value| -> Vec<String> {
                    let map = c.at(&["resources", amounts]).and_then(Value::as_object);
                    map.into_iter()
                        .flat_map(|m| m.keys())
                        .map(str::to_owned)
                        .collect()
                };
                let kept = names(container);
                if names(old).iter().any(|name| !kept.contains(name)) {
                    report.forbidden(at.child(amounts), format!("{one} cannot be removed"));
                }
            }
            if !same(&without_amounts(container), &without_amounts(old)) {
                report.forbidden(path, "only cpu and memory resources are mutable");
            }
        }
    }
}

/// The container without what a resize may change.
fn without_amounts(container: &Value) -> Value {
    let mut rest = container.clone();
    rest.unset(&["resizePolicy"]);
    for amounts in ["requests", "limits"] {
        for name in ["cpu", "memory"] {
            rest.unset(&["resources", amounts, name]);
        }
        if rest
            .at(&["resources", amounts])
            .and_then(Value::as_object)
            .is_some_and(|m| m.is_empty())
        {
            rest.unset(&["resources", amounts]);
        }
    }
    rest
}

//! Profiles of AppArmor in annotations, where they were before 1.30 (kubernetes
//! `pkg/registry/core/pod/strategy.go`, `applyAppArmorVersionSkew`).

use crate::pipeline::Call;
use freehold_model::{Value, value};

const PREFIX: &str = "container.apparmor.security.beta.kubernetes.io/";
/// Longest path of a file.
const LONGEST: usize = 4095;

/// The profiles that annotations of a new pod give its containers become fields.
pub(super) fn from_annotations(call: &Call, pod: &mut Value) {
    let notes = pod.at(&["metadata", "annotations"]);
    let notes = notes.and_then(Value::as_object);
    let has_one = notes.is_some_and(|notes| notes.keys().any(|key| key.starts_with(PREFIX)));
    let of_windows = pod.str_at(&["spec", "os", "name"]) == Some("windows");
    if !has_one || of_windows || call.resource.types.minor() < 30 {
        return;
    }
    let notes = notes.cloned().unwrap_or_default();
    let of_pod = pod.at(&["spec", "securityContext", "appArmorProfile"]);
    let of_pod = of_pod.cloned().unwrap_or_default();
    for list in ["initContainers", "containers", "ephemeralContainers"] {
        let containers = pod.get_mut("spec").and_then(|spec| spec.get_mut(list));
        for container in containers
            .and_then(Value::as_array_mut)
            .into_iter()
            .flatten()
        {
            let path = &["securityContext", "appArmorProfile"];
            if container.at(path).is_some_and(|given| !given.is_null()) {
                continue;
            }
            let key = format!("{PREFIX}{}", container.str_at(&["name"]).unwrap_or(""));
            let Some(said) = notes.get(&key).and_then(Value::as_str) else {
                continue;
            };
            let profile = profile(said);
            if profile.as_ref() == Some(&of_pod) {
                continue;
            }
            if let Some(profile) = profile {
                container.set(path, profile);
            }
            call.warn(format!(
                "metadata.annotations[{key}]: deprecated since v1.30; use the \"appArmorProfile\" field instead"
            ));
        }
    }
}

/// What an annotation means, nothing when it is wrong.
fn profile(annotation: &str) -> Option<Value> {
    match annotation {
        "unconfined" => Some(value!({"type": "Unconfined"})),
        "runtime/default" => Some(value!({"type": "RuntimeDefault"})),
        _ => {
            let name = annotation.strip_prefix("localhost/")?;
            let fits = !name.is_empty() && name.trim() == name && name.len() <= LONGEST;
            fits.then(|| value!({"type": "Localhost", "localhostProfile": name}))
        }
    }
}

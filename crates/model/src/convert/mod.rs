//! Conversion between served versions of one kind.
//!
//! Upstream converts through an internal type; here each pair that differs has its own functions.
//! Events of `events.k8s.io` and of the core group are one kind, stored as core events.

use crate::{ApiError, Resource, Value, crd, defaults};

mod autoscaling;
mod events;
mod flowcontrol;
pub mod webhook;

/// Turns an object of `from` into one of `to`, in place; sets `apiVersion`.
///
/// # Errors
/// 500-style when the pair is unknown.
pub fn convert(from: &Resource, to: &Resource, object: &mut Value) -> Result<(), ApiError> {
    object.set(&["apiVersion"], to.api_version());
    if from.group == to.group && from.version == to.version {
        return Ok(());
    }
    if from.custom.is_some() && to.custom.is_some() {
        crd::prune_converted(to, object);
        return Ok(());
    }
    let pair = (
        (from.group.as_str(), from.version.as_str()),
        (to.group.as_str(), to.version.as_str()),
    );
    match (from.kind.as_str(), pair) {
        ("HorizontalPodAutoscaler", (("autoscaling", "v1"), (_, "v2"))) => {
            autoscaling::to_v2(object)
        }
        ("HorizontalPodAutoscaler", (("autoscaling", "v2"), (_, "v1"))) => {
            autoscaling::to_v1(object)
        }
        ("Event", (("", _), ("events.k8s.io", _))) => events::from_core(object),
        ("Event", (("events.k8s.io", _), ("", _))) => events::to_core(object),
        ("FlowSchema", ((flowcontrol::GROUP, _), (flowcontrol::GROUP, _))) => {}
        ("PriorityLevelConfiguration", ((flowcontrol::GROUP, a), (flowcontrol::GROUP, b))) => {
            flowcontrol::priority_level(a, b, object);
        }
        _ => {
            let (a, b) = (from.api_version(), to.api_version());
            return Err(ApiError::internal(format!(
                "no conversion of {} from {a} to {b}",
                from.kind
            )));
        }
    }
    defaults::as_go_writes(&to.types, to.root, object);
    Ok(())
}

/// Whether another minor version, or another server before, may have stored objects of this built-in
/// kind in another version than this one does.
#[must_use]
pub fn was_stored_otherwise(storage: &Resource) -> bool {
    storage.custom.is_none()
        && matches!(
            storage.kind.as_str(),
            "HorizontalPodAutoscaler" | "FlowSchema" | "PriorityLevelConfiguration"
        )
}

/// The newer form of a HorizontalPodAutoscaler of `autoscaling/v1`, in place.
pub(crate) fn autoscaler_to_v2(object: &mut Value) {
    autoscaling::to_v2(object);
}

/// Moves a field, if it is there.
fn rename(object: &mut Value, from: &str, to: &str) {
    let Some(map) = object.as_object_mut() else {
        return;
    };
    if let Some(value) = map.remove(from) {
        map.insert(to, value);
    }
}

#[cfg(test)]
mod tests;

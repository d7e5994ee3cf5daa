//! Persistent volumes and claims.

use freehold_model::Value;

/// When the phase changed last (pkg/registry/core/persistentvolume/strategy.go).
pub(super) fn status(object: &mut Value, old: &Value, now: &str) {
    let path = ["status", "lastPhaseTransitionTime"];
    let phase = |v: &Value| v.str_at(&["status", "phase"]).map(str::to_owned);
    let before = old.at(&path).cloned();
    let given = object.at(&path).is_some();
    if phase(object) != phase(old) {
        if !given || object.at(&path) == before.as_ref() {
            object.set(&path, now);
        }
    } else if let Some(before) = before.filter(|_| !given) {
        object.set(&path, before);
    }
}

/// `dataSource` is a claim or a snapshot; anything else there is dropped
/// (`EnforceDataSourceBackwardsCompatibility` in pkg/api/persistentvolumeclaim).
pub(super) fn drop_other_sources(claim: &mut Value) {
    let text = |key: &str| {
        let at = ["spec", "dataSource", key];
        claim.str_at(&at).unwrap_or("").to_owned()
    };
    let known = match text("apiGroup").as_str() {
        "" => text("kind") == "PersistentVolumeClaim",
        "snapshot.storage.k8s.io" => text("kind") == "VolumeSnapshot",
        _ => false,
    };
    if !known {
        claim.unset(&["spec", "dataSource"]);
    }
}

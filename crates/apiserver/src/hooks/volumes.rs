//! Persistent volumes and claims.

use freehold_model::{Resource, Value};

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

/// Sources of projected volumes that are taken since 1.37; before, only where the object has them already
/// (`dropDisabledClusterTrustBundleProjection` and `dropDisabledPodCertificateProjection` in
/// pkg/api/pod/util.go).
pub(super) fn drop_new_projections(resource: &Resource, object: &mut Value, old: Option<&Value>) {
    if resource.types.minor() >= 37 {
        return;
    }
    let pod: &[&str] = match (resource.group.as_str(), resource.plural.as_str()) {
        ("", "pods") => &["spec"],
        ("", "podtemplates") => &["template", "spec"],
        ("", "replicationcontrollers") | ("apps", _) | ("batch", "jobs") => {
            &["spec", "template", "spec"]
        }
        ("batch", "cronjobs") => &["spec", "jobTemplate", "spec", "template", "spec"],
        _ => return,
    };
    for kind in ["clusterTrustBundle", "podCertificate"] {
        let kept = || old.is_some_and(|old| projects(old, pod, kind));
        if !projects(object, pod, kind) || kept() {
            continue;
        }
        let pod = pod
            .iter()
            .try_fold(&mut *object, |value, key| value.get_mut(key));
        let volumes = pod.and_then(|pod| pod.get_mut("volumes"));
        for volume in items_mut(volumes) {
            let projected = volume.get_mut("projected");
            for source in items_mut(projected.and_then(|p| p.get_mut("sources"))) {
                source.unset(&[kind]);
            }
        }
    }
}

fn items_mut(list: Option<&mut Value>) -> impl Iterator<Item = &mut Value> {
    list.and_then(Value::as_array_mut).into_iter().flatten()
}

fn items(list: Option<&Value>) -> impl Iterator<Item = &Value> {
    list.and_then(Value::as_array).unwrap_or_default().iter()
}

/// Whether a volume of a pod has a source of this kind.
fn projects(object: &Value, pod: &[&str], kind: &str) -> bool {
    let volumes = object.at(pod).and_then(|pod| pod.get("volumes"));
    items(volumes)
        .flat_map(|volume| items(volume.at(&["projected", "sources"])))
        .any(|source| source.get(kind).is_some())
}

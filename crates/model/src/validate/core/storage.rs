//! Claims and volumes: kubernetes `pkg/apis/core/validation/validation.go`.

use super::plugins::{self, Place};
use super::{resources, scheduling, volumes};
use crate::field::{FieldError, Path};
use crate::meta::{self, check_label_selector};
use crate::validate::read::{NOTHING, Read, Report, quantity, same};
use crate::{Value, rules};

const MODES: [&str; 4] = [
    "ReadOnlyMany",
    "ReadWriteMany",
    "ReadWriteOnce",
    "ReadWriteOncePod",
];

fn access_modes(report: &mut Report, spec: &Value, path: Path<'_>) {
    let at = path.child("accessModes");
    for mode in spec.texts("accessModes") {
        if !MODES.contains(&mode) {
            report.not_supported(at, mode, &MODES);
        }
    }
    let has = |pod: bool| {
        spec.texts("accessModes")
            .any(|m| MODES.contains(&m) && (m == "ReadWriteOncePod") == pod)
    };
    if has(true) && has(false) {
        report.forbidden(at, "may not use ReadWriteOncePod with other access modes");
    }
}

fn class_name(report: &mut Report, spec: &Value, field: &'static str, path: Path<'_>) {
    let name = spec.text(field);
    if !name.is_empty() {
        report.problems(path.child(field), name, rules::dns1123_subdomain(name));
    }
}

fn volume_mode(report: &mut Report, spec: &Value, path: Path<'_>) {
    report.one_of_pointer(
        path.child("volumeMode"),
        spec.string("volumeMode"),
        &["Block", "Filesystem"],
    );
}

/// The spec of a claim, wherever it stands.
pub(crate) fn claim_spec(report: &mut Report, spec: &Value, path: Path<'_>) {
    claim_spec_of(report, spec, true, path);
}

/// `groups`: whether the groups of data sources are looked at; those that were there may stay.
fn claim_spec_of(report: &mut Report, spec: &Value, groups: bool, path: Path<'_>) {
    if spec.list("accessModes").is_empty() {
        report.required(
            path.child("accessModes"),
            "at least 1 access mode is required",
        );
    }
    check_label_selector(
        spec.part("selector"),
        &path.child("selector"),
        &mut report.errors,
    );
    access_modes(report, spec, path);
    let resources_at = path.child("resources");
    let storage_at = resources_at.key("storage");
    match spec.at(&["resources", "requests", "storage"]).map(quantity) {
        None => report.required(storage_at, ""),
        Some(size) if size.sign() <= 0 => {
            report.invalid_str(storage_at, &size.to_string(), "must be greater than zero");
        }
        Some(size) => resources::resource_quantity(report, "storage", &size, storage_at),
    }
    class_name(report, spec, "storageClassName", path);
    volume_mode(report, spec, path);
    for field in ["dataSource", "dataSourceRef"] {
        if let Some(source) = spec.part(field) {
            data_source(report, source, groups, path.child(field));
        }
    }
    if let (Some(source), Some(reference)) = (spec.part("dataSource"), spec.part("dataSourceRef")) {
        let differs = ["apiGroup", "kind", "name"]
            .iter()
            .any(|f| source.string(f) != reference.string(f));
        if !reference.text("namespace").is_empty() {
            let detail = "may not be specified when dataSourceRef.namespace is specified";
            report.invalid(path, &Value::object(), detail);
        } else if differs {
            report.invalid(path, &Value::object(), "must match dataSourceRef");
        }
    }
    class_name(report, spec, "volumeAttributesClassName", path);
}

fn data_source(report: &mut Report, source: &Value, groups: bool, at: Path<'_>) {
    for field in ["name", "kind"] {
        if source.text(field).is_empty() {
            report.required(at.child(field), "");
        }
    }
    let group = source.text("apiGroup");
    if group.is_empty() {
        if source.text("kind") != "PersistentVolumeClaim" {
            let detail = "must be 'PersistentVolumeClaim' when referencing the default apiGroup";
            report.invalid_str(at, source.text("kind"), detail);
        }
    } else if groups {
        report.problems(at.child("apiGroup"), group, rules::dns1123_subdomain(group));
    }
    let namespace = source.text("namespace");
    if !namespace.is_empty() {
        report.problems(
            at.child("namespace"),
            namespace,
            rules::dns1123_label(namespace),
        );
    }
}

/// Metadata of what makes objects: labels and annotations, nothing else.
pub(in crate::validate) fn template_meta(report: &mut Report, meta: &Value, at: Path<'_>) {
    const OTHERS: [(&str, &str); 13] = [
        ("name", "name"),
        ("generateName", "generateName"),
        ("namespace", "namespace"),
        ("selfLink", "selfLink"),
        // upstream's own name of the field
        ("uid", "uID"),
        ("resourceVersion", "resourceVersion"),
        ("generation", "generation"),
        ("creationTimestamp", "creationTimestamp"),
        ("deletionTimestamp", "deletionTimestamp"),
        ("deletionGracePeriodSeconds", "deletionGracePeriodSeconds"),
        ("ownerReferences", "ownerReferences"),
        ("finalizers", "finalizers"),
        ("managedFields", "managedFields"),
    ];
    meta::check_annotations(
        meta.part("annotations"),
        &at.child("annotations"),
        &mut report.errors,
    );
    meta::check_labels(meta.part("labels"), &at.child("labels"), &mut report.errors);
    for (field, shown) in OTHERS {
        if meta.has(field) {
            report.forbidden(at.child(shown), "cannot be set");
        }
    }
}

/// The claim inside an ephemeral volume.
pub(crate) fn claim_template(report: &mut Report, template: &Value, path: Path<'_>) {
    let meta = template.part("metadata").unwrap_or(&NOTHING);
    template_meta(report, meta, path.child("metadata"));
    claim_spec(
        report,
        template.part("spec").unwrap_or(&NOTHING),
        path.child("spec"),
    );
}

pub(crate) fn claim(report: &mut Report, claim: &Value) {
    claim_spec(
        report,
        claim.part("spec").unwrap_or(&NOTHING),
        Path::root("spec"),
    );
}

#[expect(
    clippy::too_many_lines,
    reason = "one check per field that may not change"
)]
pub(crate) fn claim_update(report: &mut Report, new: &Value, old: &Value) {
    let (spec, before) = (
        new.part("spec").unwrap_or(&NOTHING),
        old.part("spec").unwrap_or(&NOTHING),
    );
    let had_group = ["dataSource", "dataSourceRef"]
        .iter()
        .any(|field| before.part(field).is_some_and(|s| s.has("apiGroup")));
    claim_spec_of(report, spec, !had_group, Path::root("spec"));
    let annotation = "volume.beta.kubernetes.io/storage-class";
    let class = |claim: &Value| {
        claim
            .str_at(&["metadata", "annotations", annotation])
            .unwrap_or_default()
            .to_owned()
    };
    let (mut munged, mut kept) = (spec.clone(), before.clone());
    if before.text("volumeName").is_empty() {
        kept.set(
            &["volumeName"],
            spec.get("volumeName").cloned().unwrap_or_default(),
        );
    }
    let from_annotation = !class(old).is_empty()
        && before.string("storageClassName").is_none()
        && class(new).is_empty()
        && spec.text("storageClassName") == class(old);
    if from_annotation {
        munged.unset(&["storageClassName"]);
    } else {
        if class(new) != class(old) {
            let at = Path::root("metadata");
            let list = at.child("annotations");
            report.invalid_str(list.child(annotation), &class(new), meta::IMMUTABLE);
        }
        // A class may be given later to a claim that had none.
        if class(old).is_empty()
            && before.string("storageClassName").is_none()
            && spec.has("storageClassName")
        {
            munged.unset(&["storageClassName"]);
        }
    }
    let size = |spec: &Value| {
        spec.at(&["resources", "requests", "storage"])
            .cloned()
            .unwrap_or_default()
    };
    if new.str_at(&["status", "phase"]) == Some("Bound") {
        if munged.at(&["resources", "requests"]).is_some() {
            munged.set(&["resources", "requests", "storage"], size(before));
        }
        let class = before
            .get("volumeAttributesClassName")
            .cloned()
            .unwrap_or_default();
        munged.set(&["volumeAttributesClassName"], class);
    }
    if !same(&munged, &kept) {
        let detail = "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims";
        report.forbidden("spec", detail);
    }
    if quantity(&size(spec)) < quantity(&size(before)) {
        let capacity = old.at(&["status", "capacity", "storage"]).map(quantity);
        if quantity(&size(spec)) <= capacity.unwrap_or_else(crate::quantity::Quantity::zero) {
            report.forbidden(
                "spec.resources.requests.storage",
                "field can not be less than status.capacity",
            );
        }
    }
    report.immutable(
        Path::root("volumeMode"),
        spec.get("volumeMode"),
        before.get("volumeMode"),
    );
    attributes_class_update(report, spec, old, before);
}

/// A class that was applied stays one.
fn attributes_class_update(report: &mut Report, spec: &Value, old: &Value, before: &Value) {
    const FIELD: &str = "volumeAttributesClassName";
    let applied = old
        .at(&["status", "currentVolumeAttributesClassName"])
        .is_some_and(|v| !v.is_null());
    if !applied || spec.string(FIELD) == before.string(FIELD) {
        return;
    }
    let what = match spec.string(FIELD) {
        None => "nil",
        Some("") => "empty string",
        Some(_) => return,
    };
    let root = Path::root("spec");
    report.forbidden(
        root.child(FIELD),
        format!(
            "update to {what} is forbidden when status.currentVolumeAttributesClassName is not nil"
        ),
    );
}

const SOURCES: [&str; 22] = [
    "hostPath",
    "gcePersistentDisk",
    "awsElasticBlockStore",
    "glusterfs",
    "flocker",
    "nfs",
    "rbd",
    "quobyte",
    "cephfs",
    "iscsi",
    "cinder",
    "fc",
    "flexVolume",
    "azureFile",
    "vsphereVolume",
    "photonPersistentDisk",
    "portworxVolume",
    "azureDisk",
    "scaleIO",
    "local",
    "storageos",
    "csi",
];

pub(crate) fn volume(report: &mut Report, volume: &Value) {
    let spec = volume.part("spec").unwrap_or(&NOTHING);
    let path = Path::root("spec");
    if spec.list("accessModes").is_empty() {
        report.required(path.child("accessModes"), "");
    }
    access_modes(report, spec, path);
    capacity(report, spec, path.child("capacity"));
    let policy = spec.text("persistentVolumeReclaimPolicy");
    let policies = ["Delete", "Recycle", "Retain"];
    report.one_of_if_set(
        path.child("persistentVolumeReclaimPolicy"),
        policy,
        &policies,
    );
    if let Some(affinity) = spec.part("nodeAffinity") {
        let at = path.child("nodeAffinity");
        match affinity.part("required") {
            Some(selector) => scheduling::node_selector(report, selector, at.child("required")),
            None => report.required(
                at.child("required"),
                "must specify required node constraints",
            ),
        }
    }
    let name = volume.str_at(&["metadata", "name"]).unwrap_or_default();
    sources(report, spec, name, path);
    class_name(report, spec, "storageClassName", path);
    volume_mode(report, spec, path);
    attributes_class(report, spec, path);
    mount_options(report, volume, spec);
}

/// `pkg/volume/validation/pv_validation.go`
fn mount_options(report: &mut Report, volume: &Value, spec: &Value) {
    let key = "volume.beta.kubernetes.io/mount-options";
    let mounted = [
        "gcePersistentDisk",
        "awsElasticBlockStore",
        "glusterfs",
        "nfs",
        "rbd",
        "quobyte",
        "iscsi",
        "cinder",
        "cephfs",
        "azureFile",
        "vsphereVolume",
        "azureDisk",
        "photonPersistentDisk",
    ];
    let asked = volume.at(&["metadata", "annotations", key]).is_some();
    if asked && !mounted.iter().any(|source| spec.has(source)) {
        let root = Path::root("metadata");
        let at = root.child("annotations");
        let why = "may not specify mount options for this volume type";
        report.forbidden(at.child(key), why);
    }
}

fn attributes_class(report: &mut Report, spec: &Value, path: Path<'_>) {
    if let Some(class) = spec.string("volumeAttributesClassName") {
        if class.is_empty() {
            report.required(
                path.child("volumeAttributesClassName"),
                "an empty string is disallowed",
            );
        }
        class_name(report, spec, "volumeAttributesClassName", path);
        if !spec.has("csi") {
            report.required(
                path.child("csi"),
                "has to be specified when using volumeAttributesClassName",
            );
        }
    }
}

/// The volume of an attachment that has no object of its own.
pub(in crate::validate) fn inline_volume(report: &mut Report, spec: &Value, path: Path<'_>) {
    const NOT_INLINE: &str = "may not be specified in the context of inline volumes";
    for field in ["claimRef", "capacity", "nodeAffinity"] {
        let empty = spec.map(field).is_some_and(crate::Map::is_empty) && field == "capacity";
        if spec.has(field) && !empty {
            report.forbidden(path.child(field), NOT_INLINE);
        }
    }
    if !spec.has("csi") {
        let detail = "has to be specified in the context of inline volumes";
        report.required(path.child("csi"), detail);
    }
    if spec.list("accessModes").is_empty() {
        report.required(path.child("accessModes"), "");
    }
    access_modes(report, spec, path);
    if !matches!(spec.text("persistentVolumeReclaimPolicy"), "" | "Retain") {
        let detail = "may only be Retain in the context of inline volumes";
        report.forbidden(path.child("persistentVolumeReclaimPolicy"), detail);
    }
    sources(report, spec, "", path);
    if !spec.text("storageClassName").is_empty() {
        report.forbidden(path.child("storageClassName"), NOT_INLINE);
    }
    if spec.string("volumeMode").is_some_and(|m| m != "Filesystem") {
        let detail =
            "may not specify volumeMode other than Filesystem in the context of inline volumes";
        report.forbidden(path.child("volumeMode"), detail);
    }
}

fn capacity(report: &mut Report, spec: &Value, at: Path<'_>) {
    let given = spec.part("capacity").unwrap_or(&NOTHING);
    let amounts = spec.map("capacity").filter(|m| !m.is_empty());
    if amounts.is_none() {
        report.required(at, "");
    }
    if amounts.is_none_or(|m| m.len() > 1 || !m.contains_key("storage")) {
        report
            .errors
            .push(FieldError::not_supported(at, given, &["storage"]));
    }
    for (name, amount) in amounts.iter().flat_map(|m| m.iter()) {
        let amount = quantity(amount);
        if amount.value() < 0 {
            report.invalid_int(
                at.key(name),
                amount.value(),
                "must be a valid resource quantity",
            );
        }
        if amount.sign() <= 0 {
            report.invalid_str(
                at.key(name),
                &amount.to_string(),
                "must be greater than zero",
            );
        }
    }
}

fn sources(report: &mut Report, spec: &Value, name: &str, path: Path<'_>) {
    let mut found = false;
    for kind in SOURCES {
        let Some(source) = spec.part(kind) else {
            continue;
        };
        let at = path.child(kind);
        // Upstream's one exception, and its own name of one field.
        if found && kind != "flexVolume" {
            let shown = if kind == "cephfs" { "cephFS" } else { kind };
            report.forbidden(path.child(shown), "may not specify more than 1 volume type");
            continue;
        }
        found = true;
        match kind {
            "hostPath" => volumes::host_path(report, source, at),
            "nfs" => volumes::nfs(report, source, at),
            "local" => {
                let local = source.text("path");
                if local.is_empty() {
                    report.required(at.child("path"), "");
                } else {
                    volumes::no_backsteps(report, local, at.child("path"));
                }
                if !spec.has("nodeAffinity") {
                    report.required(
                        path.child("nodeAffinity"),
                        "Local volume requires node affinity",
                    );
                }
            }
            _ => plugins::plugin(report, kind, source, Place::Persistent { name }, path),
        }
    }
    if !found {
        report.required(path, "must specify a volume type");
    }
    let root = spec
        .part("hostPath")
        .is_some_and(|h| is_root(h.text("path")));
    if root && spec.text("persistentVolumeReclaimPolicy") == "Recycle" {
        let detail = "may not be 'recycle' for a hostPath mount of '/'";
        report.forbidden(path.child("persistentVolumeReclaimPolicy"), detail);
    }
}

/// Whether a path comes to `/` when it is cleaned.
fn is_root(path: &str) -> bool {
    let mut depth = 0;
    for step in path.split('/') {
        match step {
            "" | "." => {}
            ".." => depth = std::cmp::max(depth, 1) - 1,
            _ => depth += 1,
        }
    }
    path.starts_with('/') && depth == 0
}

pub(crate) fn volume_update(report: &mut Report, new: &Value, old: &Value) {
    volume(report, new);
    let (spec, before) = (
        new.part("spec").unwrap_or(&NOTHING),
        old.part("spec").unwrap_or(&NOTHING),
    );
    let mut spec_now = spec.clone();
    if before
        .at(&["csi", "controllerExpandSecretRef"])
        .is_none_or(Value::is_null)
    {
        spec_now.unset(&["csi", "controllerExpandSecretRef"]);
    }
    let source = |spec: &Value, kind| spec.get(kind).cloned().unwrap_or_default();
    if SOURCES
        .iter()
        .any(|kind| !same(&source(&spec_now, kind), &source(before, kind)))
    {
        report.forbidden(
            "spec.persistentvolumesource",
            "spec.persistentvolumesource is immutable after creation",
        );
    }
    report.immutable(
        Path::root("volumeMode"),
        spec.get("volumeMode"),
        before.get("volumeMode"),
    );
    if before.has("nodeAffinity") {
        let shown = spec.part("nodeAffinity").unwrap_or(&NOTHING);
        let was = before.part("nodeAffinity").unwrap_or(&NOTHING);
        if !same_but_for_renamed_labels(shown, was) {
            let detail = "field is immutable, except for updating from beta label to GA";
            report.invalid("nodeAffinity", shown, detail);
        }
    }
    if before.has("volumeAttributesClassName") && !spec.has("volumeAttributesClassName") {
        report.forbidden(
            "spec.volumeAttributesClassName",
            "update from non-nil value to nil is forbidden",
        );
    }
}

/// Label keys that were beta and may be replaced by what they became.
const BECAME: [(&str, &str); 5] = [
    (
        "failure-domain.beta.kubernetes.io/zone",
        "topology.kubernetes.io/zone",
    ),
    (
        "failure-domain.beta.kubernetes.io/region",
        "topology.kubernetes.io/region",
    ),
    ("beta.kubernetes.io/os", "kubernetes.io/os"),
    ("beta.kubernetes.io/arch", "kubernetes.io/arch"),
    (
        "beta.kubernetes.io/instance-type",
        "node.kubernetes.io/instance-type",
    ),
];

/// Whether `new` is `old`, save for requirements whose beta key became final.
fn same_but_for_renamed_labels(new: &Value, old: &Value) -> bool {
    let mut renamed = old.clone();
    rename_labels(&mut renamed, new);
    same(new, &renamed)
}

fn rename_labels(old: &mut Value, new: &Value) {
    match old {
        Value::Array(items) => {
            for (item, counterpart) in items.iter_mut().zip(new.as_array().unwrap_or_default()) {
                rename_labels(item, counterpart);
            }
        }
        Value::Object(fields) => {
            for (name, field) in fields.iter_mut() {
                let Some(counterpart) = new.get(name) else {
                    continue;
                };
                let became = BECAME.iter().find(|(beta, _)| field.as_str() == Some(beta));
                // Any other key "became" the empty one upstream.
                let became = became.map_or("", |(_, now)| now);
                if name == "key" && counterpart.as_str() == Some(became) {
                    *field = counterpart.clone();
                } else {
                    rename_labels(field, counterpart);
                }
            }
        }
        _ => {}
    }
}

//! Classes, drivers and attachments: kubernetes `pkg/apis/storage/validation/validation.go`.

use super::read::{NOTHING, Read, Report, quantity};
use crate::field::{FieldError, Path};
use crate::meta::check_label_selector;
use crate::{Value, rules};
use std::collections::{BTreeMap, BTreeSet};

const MAX_METADATA: usize = 256 * 1024;
const MAX_ERROR_MESSAGE: usize = 1024;
const MAX_NODE_ID: usize = 256;

pub(super) fn create(report: &mut Report, kind: &str, object: &Value) {
    match kind {
        "StorageClass" => storage_class(report, object),
        "VolumeAttributesClass" => volume_attributes_class(report, object),
        "CSIDriver" => csi_driver(report, object),
        "CSINode" => csi_node(report, object),
        "CSIStorageCapacity" => storage_capacity(report, object, true),
        "VolumeAttachment" => volume_attachment(report, object),
        _ => {}
    }
}

pub(super) fn update(report: &mut Report, kind: &str, new: &Value, old: &Value) {
    match kind {
        "StorageClass" => {
            storage_class(report, new);
            storage_class_update(report, new, old);
        }
        "VolumeAttributesClass" => {
            for field in ["driverName", "parameters"] {
                if !super::read::same(
                    new.get(field).unwrap_or(&NOTHING),
                    old.get(field).unwrap_or(&NOTHING),
                ) {
                    let detail = format!("updates to {field} are forbidden.");
                    report.forbidden(field, detail);
                }
            }
            volume_attributes_class(report, new);
        }
        "CSIDriver" => csi_driver_update(report, new, old),
        "CSINode" => csi_node_update(report, new, old),
        "CSIStorageCapacity" => {
            let mut before = Vec::new();
            let path = Path::root("nodeTopology");
            check_label_selector(old.part("nodeTopology"), &path, &mut before);
            let was_fine = !before.iter().any(|e| e.path.contains(".values["));
            storage_capacity(report, new, was_fine);
            storage_capacity_update(report, new, old);
        }
        "VolumeAttachment" => {
            volume_attachment(report, new);
            report.immutable(Path::root("spec"), new.get("spec"), old.get("spec"));
        }
        _ => {}
    }
}

fn storage_class(report: &mut Report, object: &Value) {
    provisioner(report, object, "provisioner");
    parameters(report, object, true);
    report.one_of_if_set(
        Path::root("reclaimPolicy"),
        object.text("reclaimPolicy"),
        &["Delete", "Retain"],
    );
    match object.string("volumeBindingMode") {
        None => report.required("volumeBindingMode", ""),
        Some(mode) if ["Immediate", "WaitForFirstConsumer"].contains(&mode) => {}
        Some(mode) => report.not_supported(
            "volumeBindingMode",
            mode,
            &["Immediate", "WaitForFirstConsumer"],
        ),
    }
    topologies(report, object, Path::root("allowedTopologies"));
}

fn topologies(report: &mut Report, object: &Value, path: Path<'_>) {
    type Term<'a> = BTreeMap<&'a str, BTreeSet<&'a str>>;
    let mut earlier: Vec<Term<'_>> = Vec::new();
    for (i, term) in object.list("allowedTopologies").iter().enumerate() {
        let item = path.index(i);
        let list = item.child("matchLabelExpressions");
        let mut keys = Term::new();
        for (j, expression) in term.list("matchLabelExpressions").iter().enumerate() {
            let at = list.index(j);
            let key = expression.text("key");
            if expression.list("values").is_empty() {
                report.required(at.child("values"), "");
            }
            let mut values = BTreeSet::new();
            for (k, value) in expression.texts("values").enumerate() {
                if !values.insert(value) {
                    report.duplicate(at.child("values").index(k), value);
                }
            }
            report.problems(at.child("key"), key, rules::qualified_name(key));
            if keys.insert(key, values).is_some() {
                report.duplicate(at.child("key"), key);
            }
        }
        // Upstream compares with empty terms too.
        if keys.is_empty() || earlier.contains(&keys) {
            report.duplicate(list, "");
        }
        earlier.push(keys);
    }
}

fn parameters(report: &mut Report, object: &Value, may_be_empty: bool) {
    let Some(given) = object.map("parameters").filter(|m| !m.is_empty()) else {
        if !may_be_empty {
            report.required("parameters", "must contain at least one key/value pair");
        }
        return;
    };
    if given.len() > 512 {
        report.errors.push(FieldError::too_long("parameters", 512));
        return;
    }
    let mut size = 0;
    for (key, value) in given.iter() {
        if key.is_empty() {
            report.invalid_str("parameters", key, "field can not be empty.");
        }
        size += key.len() + value.as_str().map_or(0, str::len);
    }
    if size > 256 * 1024 {
        report
            .errors
            .push(FieldError::too_long("parameters", 256 * 1024));
    }
}

fn storage_class_update(report: &mut Report, new: &Value, old: &Value) {
    for field in [
        "parameters",
        "provisioner",
        "reclaimPolicy",
        "volumeBindingMode",
    ] {
        report.immutable(Path::root(field), new.get(field), old.get(field));
    }
}

fn provisioner(report: &mut Report, object: &Value, field: &str) {
    let lower = object.text(field).to_lowercase();
    if lower.is_empty() {
        report.required(field, "");
    } else {
        report.problems(Path::root(field), &lower, rules::qualified_name(&lower));
    }
}

fn volume_attributes_class(report: &mut Report, object: &Value) {
    provisioner(report, object, "driverName");
    parameters(report, object, false);
}

fn csi_driver(report: &mut Report, object: &Value) {
    let spec = object.part("spec").unwrap_or(&NOTHING);
    let path = Path::root("spec");
    for (field, shown) in [
        ("attachRequired", "attachedRequired"),
        ("podInfoOnMount", "podInfoOnMount"),
        ("storageCapacity", "storageCapacity"),
        ("seLinuxMount", "seLinuxMount"),
    ] {
        if !spec.has(field) {
            report.required(path.child(shown), "");
        }
    }
    report.one_of_pointer(
        path.child("fsGroupPolicy"),
        spec.string("fsGroupPolicy"),
        &["File", "None", "ReadWriteOnceWithFSType"],
    );
    token_requests(report, spec, path.child("tokenRequests"));
    let modes = ["Persistent", "Ephemeral"];
    for mode in spec.texts("volumeLifecycleModes") {
        if !modes.contains(&mode) {
            report.not_supported(path.child("volumeLifecycleModes"), mode, &modes);
        }
    }
    if let Some(seconds @ ..10) = spec.int("nodeAllocatableUpdatePeriodSeconds") {
        let at = path.child("nodeAllocatableUpdatePeriodSeconds");
        report.invalid_int(at, seconds, "must be greater than or equal to 10 seconds");
    }
    if let Some(given) = spec.part("serviceAccountTokenInSecrets")
        && spec.list("tokenRequests").is_empty()
    {
        let detail = "serviceAccountTokenInSecrets is set but no tokenRequests are specified";
        report.invalid(path.child("serviceAccountTokenInSecrets"), given, detail);
    }
}

fn token_requests(report: &mut Report, spec: &Value, path: Path<'_>) {
    let mut audiences = BTreeSet::new();
    for (i, request) in spec.list("tokenRequests").iter().enumerate() {
        let at = path.index(i);
        let audience = request.text("audience");
        if !audiences.insert(audience) {
            report.duplicate(at.child("audience"), audience);
            continue;
        }
        let Some(seconds) = request.int("expirationSeconds") else {
            continue;
        };
        let at = at.child("expirationSeconds");
        if seconds < 600 {
            let detail = "may not specify a duration less than 10 minutes";
            report.invalid_int(at, seconds, detail);
        }
        if seconds > 1 << 32 {
            let detail = "may not specify a duration larger than 2^32 seconds";
            report.invalid_int(at, seconds, detail);
        }
    }
}

fn csi_driver_update(report: &mut Report, new: &Value, old: &Value) {
    csi_driver(report, new);
    let (spec, before) = (
        new.part("spec").unwrap_or(&NOTHING),
        old.part("spec").unwrap_or(&NOTHING),
    );
    let path = Path::root("spec");
    for (field, shown) in [
        ("attachRequired", "attachedRequired"),
        ("volumeLifecycleModes", "volumeLifecycleModes"),
    ] {
        report.immutable(path.child(shown), spec.get(field), before.get(field));
    }
}

fn drivers(node: &Value) -> &[Value] {
    node.part("spec").unwrap_or(&NOTHING).list("drivers")
}

fn csi_node(report: &mut Report, node: &Value) {
    let root = Path::root("spec");
    let path = root.child("drivers");
    let mut names = BTreeSet::new();
    for (i, driver) in drivers(node).iter().enumerate() {
        let at = path.index(i);
        let name = driver.text("name");
        super::core::csi_driver_name(report, name, at.child("name"));
        let id = driver.text("nodeID");
        if id.is_empty() {
            report.required(at.child("nodeID"), "");
        }
        if id.len() > MAX_NODE_ID {
            let detail = format!("must be {MAX_NODE_ID} characters or less");
            report.invalid_str(at.child("nodeID"), id, detail);
        }
        if let Some(count @ ..0) = driver.part("allocatable").and_then(|a| a.int("count")) {
            let of = at.child("allocatable");
            report.non_negative(of.child("count"), count);
        }
        if !names.insert(name) {
            report.duplicate(at.child("name"), name);
        }
        let mut keys = BTreeSet::new();
        for key in driver.texts("topologyKeys") {
            if key.is_empty() {
                report.required(at, "");
            }
            if !keys.insert(key) {
                report.duplicate(at, key);
            }
            report.problems(at, key, rules::qualified_name(key));
        }
    }
}

fn csi_node_update(report: &mut Report, new: &Value, old: &Value) {
    csi_node(report, new);
    let fixed = |driver: &Value| {
        let mut driver = driver.clone();
        driver.unset(&["allocatable"]);
        driver
    };
    let root = Path::root("spec");
    let path = root.child("drivers");
    for before in drivers(old) {
        for now in drivers(new)
            .iter()
            .filter(|d| d.text("name") == before.text("name"))
        {
            report.immutable(path, Some(&fixed(now)), Some(&fixed(before)));
        }
    }
}

/// `label_values`: values of the selector that are no label values are refused.
fn storage_capacity(report: &mut Report, object: &Value, label_values: bool) {
    let mut errors = Vec::new();
    let path = Path::root("nodeTopology");
    check_label_selector(object.part("nodeTopology"), &path, &mut errors);
    errors.retain(|e: &FieldError| label_values || !e.path.contains(".values["));
    report.errors.extend(errors);
    let class = object.text("storageClassName");
    let path = Path::root("storageClassName");
    report.problems(path, class, rules::dns1123_subdomain(class));
    if let Some(amount) = object.part("capacity") {
        let amount = quantity(amount);
        if amount.sign() < 0 {
            let detail = "must be greater than or equal to 0";
            report.invalid_str("capacity", &amount.to_string(), detail);
        }
    }
}

fn storage_capacity_update(report: &mut Report, new: &Value, old: &Value) {
    let path = Path::root("nodeTopology");
    report.immutable(path, new.get("nodeTopology"), old.get("nodeTopology"));
    let path = Path::root("storageClassName");
    report.immutable_text(
        path,
        new.text("storageClassName"),
        old.text("storageClassName"),
    );
}

fn volume_attachment(report: &mut Report, object: &Value) {
    let spec = object.part("spec").unwrap_or(&NOTHING);
    let path = Path::root("spec");
    super::core::csi_driver_name(report, spec.text("attacher"), path.child("attacher"));
    let node = spec.text("nodeName");
    report.problems(path.child("nodeName"), node, rules::dns1123_subdomain(node));
    let source = spec.part("source").unwrap_or(&NOTHING);
    let at = path.child("source");
    let name = source.string("persistentVolumeName");
    const ONE: &str = "must specify exactly one of inlineVolumeSpec and persistentVolumeName";
    match (source.part("inlineVolumeSpec"), name) {
        (None, None) => report.required(at, ONE),
        (Some(_), Some(_)) => report.forbidden(at, ONE),
        (None, Some("")) => report.required(
            at.child("persistentVolumeName"),
            "must specify non empty persistentVolumeName",
        ),
        (None, Some(_)) => {}
        (Some(volume), None) => {
            super::core::storage::inline_volume(report, volume, at.child("inlineVolumeSpec"));
        }
    }
    if let Some(name) = name {
        let at = at.child("persistentVolumeName");
        report.problems(at, name, rules::dns1123_subdomain(name));
    }
    attachment_status(report, object);
}

pub(super) fn attachment_status(report: &mut Report, object: &Value) {
    let status = object.part("status").unwrap_or(&NOTHING);
    let path = Path::root("status");
    let size: usize = status
        .map("attachmentMetadata")
        .into_iter()
        .flat_map(crate::Map::iter)
        .map(|(key, value)| key.len() + value.as_str().map_or(0, str::len))
        .sum();
    if size > MAX_METADATA {
        let at = path.child("attachmentMetadata");
        report.errors.push(FieldError::too_long(at, MAX_METADATA));
    }
    for field in ["attachError", "detachError"] {
        let Some(error) = status.part(field) else {
            continue;
        };
        let at = path.child(field);
        if error.text("message").len() > MAX_ERROR_MESSAGE {
            let at = at.child("message");
            report.errors.push(FieldError::too_long(at, MAX_METADATA));
        }
        if let Some(code @ ..0) = error.int("errorCode") {
            let problems = rules::in_range(code, 0, i64::from(i32::MAX));
            report.int_problems(at.child("errorCode"), code, problems);
        }
    }
}

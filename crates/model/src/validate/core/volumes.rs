//! Volumes of a pod: kubernetes `pkg/apis/core/validation/validation.go`, `ValidateVolumes`.

use crate::Value;
use crate::field::Path;
use crate::quantity::is_plain;
use crate::rules;
use crate::validate::core::plugins::{self, Place};
use crate::validate::core::{projections, storage};
use crate::validate::few::Table;
use crate::validate::read::{Given, NOTHING, Read, Report, fields};
use crate::value::same;
use std::cell::LazyCell;
use std::collections::HashSet;

const MODE: &str = "must be a number between 0 and 0777 (octal), both inclusive";

/// The volumes of a pod that are fine themselves, by name.
pub(crate) type Volumes<'a> = Table<'a, &'a Value>;

/// Field of the volume, and the name that upstream puts into paths when it differs.
const SOURCES: [&str; 31] = [
    "emptyDir",
    "hostPath",
    "gitRepo",
    "gcePersistentDisk",
    "awsElasticBlockStore",
    "secret",
    "nfs",
    "iscsi",
    "glusterfs",
    "flocker",
    "persistentVolumeClaim",
    "rbd",
    "cinder",
    "cephfs",
    "quobyte",
    "downwardAPI",
    "fc",
    "flexVolume",
    "configMap",
    "azureFile",
    "vsphereVolume",
    "photonPersistentDisk",
    "portworxVolume",
    "azureDisk",
    "storageos",
    "projected",
    "scaleIO",
    "csi",
    "ephemeral",
    "image",
    "",
];

fields! {
    Volume {
        image: "image",
        name: "name",
        claim: "persistentVolumeClaim",
    }
}

/// `pod_name`: none for templates.
pub(crate) fn volumes<'a>(
    report: &mut Report,
    list: &'a [Value],
    pod_name: Option<&str>,
    path: Path<'_>,
) -> Volumes<'a> {
    let mut good = Volumes::of(list.len());
    let is_pod = pod_name.is_some();
    let pod_name = pod_name.unwrap_or_default();
    let created: LazyCell<HashSet<String>, _> = LazyCell::new(|| {
        list.iter()
            .filter(|v| !pod_name.is_empty() && v.has("ephemeral"))
            .map(|v| format!("{pod_name}-{}", v.text("name")))
            .collect()
    });
    for (i, volume) in list.iter().enumerate() {
        let path = path.index(i);
        let before = report.errors.len();
        let fields = Volume::of(volume);
        let name = fields.name.as_text();
        source(report, volume, pod_name, path);
        if let (true, Some(image)) = (is_pod, fields.image.given())
            && is_first(volume, "image")
            && image.text("reference").is_empty()
        {
            report.required(path.child("image").child("reference"), "");
        }
        report.required_name(path.child("name"), name, rules::dns1123_label);
        if good.contains_key(name) {
            report.duplicate(path.child("name"), name);
        }
        if report.errors.len() == before {
            good.add(name, volume);
        }
        if let Some(claim) = fields.claim.given()
            && created.contains(claim.text("claimName"))
        {
            let at = path.child("persistentVolumeClaim");
            let detail = "must not reference a PVC that gets created for an ephemeral volume";
            report.invalid_str(at.child("claimName"), claim.text("claimName"), detail);
        }
    }
    good
}

/// Of several sources only the first is looked at.
fn is_first(volume: &Value, kind: &str) -> bool {
    SOURCES.iter().find(|source| volume.has(source)) == Some(&kind)
}

fn source(report: &mut Report, volume: &Value, pod_name: &str, path: Path<'_>) {
    let mut found = false;
    // Mostly there is one, which need not be looked for by every name.
    let mut others = volume
        .as_object()
        .into_iter()
        .flat_map(|v| v.keys())
        .filter(|k| !same(k, "name"));
    let only = others.next().filter(|_| others.next().is_none());
    let only = only.map(|only| SOURCES.iter().position(|kind| same(kind, only)));
    let candidates = match only {
        Some(Some(at)) => &SOURCES[at..=at],
        Some(None) => &[],
        None => &SOURCES[..],
    };
    for kind in candidates.iter().copied() {
        let Some(source) = volume.part(kind) else {
            continue;
        };
        if kind == "iscsi" && source.has("initiatorName") {
            let name = volume.text("name");
            if name.len() + 1 + source.text("targetPortal").len() > 64 {
                report.invalid_str(path.child("name"), name, plugins::PORTAL_TOO_LONG);
            }
        }
        if found {
            let shown = match kind {
                "downwardAPI" => "downwarAPI",
                "cephfs" => "cephFS",
                kind => kind,
            };
            report.forbidden(path.child(shown), "may not specify more than 1 volume type");
            continue;
        }
        found = true;
        one_source(report, kind, source, path);
        if kind == "ephemeral" && !pod_name.is_empty() && !volume.text("name").is_empty() {
            let claim = format!("{pod_name}-{}", volume.text("name"));
            for problem in rules::dns1123_subdomain(&claim) {
                let detail = format!("PVC name {}: {problem}", crate::field::quote(&claim));
                report.invalid_str(path.child("name"), volume.text("name"), detail);
            }
        }
    }
    if !found {
        report.required(path, "must specify a volume type");
    }
}

fn one_source(report: &mut Report, kind: &'static str, source: &Value, path: Path<'_>) {
    let at = path.child(kind);
    let mut need = |fields: &[&str]| {
        for field in fields {
            if source.text(field).is_empty() {
                report.required(at.child(field), "");
            }
        }
    };
    match kind {
        "emptyDir"
            if source
                .part("sizeLimit")
                .filter(|q| !q.as_str().is_some_and(is_plain))
                .is_some_and(|q| crate::validate::read::quantity(q).sign() < 0) =>
        {
            report.forbidden(
                at.child("sizeLimit"),
                "SizeLimit field must be a valid resource quantity",
            );
        }
        "hostPath" => host_path(report, source, at),
        "secret" => {
            need(&["secretName"]);
            items(report, source, at);
        }
        "configMap" => {
            need(&["name"]);
            items(report, source, at);
        }
        "nfs" => nfs(report, source, at),
        "persistentVolumeClaim" => need(&["claimName"]),
        "downwardAPI" => {
            mode(
                report,
                source.get("defaultMode").unwrap_or(&NOTHING),
                "defaultMode",
                at,
            );
            for file in source.list("items") {
                downward_file(report, file, at);
            }
        }
        "projected" => {
            mode(
                report,
                source.get("defaultMode").unwrap_or(&NOTHING),
                "defaultMode",
                at,
            );
            projections::check(report, source, at);
        }
        "ephemeral" => match source.part("volumeClaimTemplate") {
            None => report.required(at.child("volumeClaimTemplate"), ""),
            Some(template) => {
                storage::claim_template(report, template, at.child("volumeClaimTemplate"))
            }
        },
        "image" => report.one_of(
            at.child("pullPolicy"),
            source.text("pullPolicy"),
            &["Always", "IfNotPresent", "Never"],
        ),
        _ => plugins::plugin(report, kind, source, Place::Pod, path),
    }
}

pub(crate) fn csi_driver_name(report: &mut Report, name: &str, path: Path<'_>) {
    if name.is_empty() {
        return report.required(path, "");
    }
    if name.len() > 63 {
        report
            .errors
            .push(crate::field::FieldError::too_long(path, 63));
    }
    report.problems(path, name, rules::dns1123_subdomain(&name.to_lowercase()));
}

pub(crate) fn host_path(report: &mut Report, source: &Value, at: Path<'_>) {
    const TYPES: [&str; 7] = [
        "",
        "BlockDevice",
        "CharDevice",
        "Directory",
        "DirectoryOrCreate",
        "File",
        "FileOrCreate",
    ];
    let path = source.text("path");
    if path.is_empty() {
        report.required(at.child("path"), "");
        return;
    }
    no_backsteps(report, path, at.child("path"));
    let kind = source.text("type");
    if !TYPES.contains(&kind) && kind != "Socket" {
        let supported: Vec<&str> = TYPES.iter().copied().chain(["Socket"]).collect();
        report.not_supported(at.child("type"), kind, &supported);
    }
}

pub(crate) fn nfs(report: &mut Report, source: &Value, at: Path<'_>) {
    if source.text("server").is_empty() {
        report.required(at.child("server"), "");
    }
    let path = source.text("path");
    if path.is_empty() {
        report.required(at.child("path"), "");
    }
    if !path.starts_with('/') {
        report.invalid_str(at.child("path"), path, "must be an absolute path");
    }
}

fields! {
    /// Of a secret or config map.
    Items {
        mode: "defaultMode",
        list: "items",
    }
}

fields! {
    Item {
        key: "key",
        mode: "mode",
        path: "path",
    }
}

fn mode(report: &mut Report, mode: &Value, key: &'static str, at: Path<'_>) {
    if let Some(mode) = mode.as_i64()
        && !(0..=0o777).contains(&mode)
    {
        report.invalid_int(at.child(key), mode, MODE);
    }
}

/// `defaultMode` and `items` of a secret or config map.
fn items(report: &mut Report, source: &Value, at: Path<'_>) {
    let given = Items::of(source);
    mode(report, given.mode, "defaultMode", at);
    let list = at.child("items");
    for (i, item) in given.list.as_list().iter().enumerate() {
        key_to_path(report, item, list.index(i));
    }
}

pub(super) fn key_to_path(report: &mut Report, item: &Value, at: Path<'_>) {
    let item = Item::of(item);
    for (field, text) in [("key", item.key), ("path", item.path)] {
        if text.as_text().is_empty() {
            report.required(at.child(field), "");
        }
    }
    local_path(report, item.path.as_text(), at.child("path"));
    mode(report, item.mode, "mode", at);
}

pub(crate) fn no_backsteps(report: &mut Report, path: &str, at: Path<'_>) {
    if path.split('/').any(|part| part == "..") {
        report.invalid_str(at, path, "must not contain '..'");
    }
}

pub(crate) fn descending_path(report: &mut Report, path: &str, at: Path<'_>) {
    if path.starts_with('/') {
        report.invalid_str(at, path, "must be a relative path");
    }
    no_backsteps(report, path, at);
}

pub(super) fn local_path(report: &mut Report, path: &str, at: Path<'_>) {
    descending_path(report, path, at);
    if path.starts_with("..") && !path.starts_with("../") {
        report.invalid_str(at, path, "must not start with '..'");
    }
}

pub(super) fn downward_file(report: &mut Report, file: &Value, at: Path<'_>) {
    const FIELDS: [&str; 5] = [
        "metadata.annotations",
        "metadata.labels",
        "metadata.name",
        "metadata.namespace",
        "metadata.uid",
    ];
    let path = file.text("path");
    if path.is_empty() {
        report.required(at.child("path"), "");
    }
    local_path(report, path, at.child("path"));
    match (file.part("fieldRef"), file.part("resourceFieldRef")) {
        (Some(field), resource) => {
            super::env::field_selector(report, field, &FIELDS, at.child("fieldRef"));
            if resource.is_some() {
                report.invalid_str(
                    at,
                    "resource",
                    "fieldRef and resourceFieldRef can not be specified simultaneously",
                );
            }
        }
        (None, Some(resource)) => {
            super::env::resource_selector(report, resource, true, at.child("resourceFieldRef"));
        }
        (None, None) => report.required(at, "one of fieldRef and resourceFieldRef is required"),
    }
    mode(report, file.get("mode").unwrap_or(&NOTHING), "mode", at);
}

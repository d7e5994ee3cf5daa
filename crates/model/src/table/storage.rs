//! Rows of volumes, claims, classes and drivers.

use super::core::amount;
use super::network::default_marked;
use super::{Cells, Row, first_of, joined, texts};
use crate::Value;

pub(super) fn cells(row: &Row<'_>, kind: &str) -> Cells {
    match kind {
        "StorageClass" => storage_class(row),
        "VolumeAttributesClass" => vec![("DriverName", row.text(&["driverName"]).into())],
        "VolumeAttachment" => vec![
            ("Attacher", row.text(&["spec", "attacher"]).into()),
            (
                "PV",
                row.text(&["spec", "source", "persistentVolumeName"]).into(),
            ),
            ("Node", row.text(&["spec", "nodeName"]).into()),
            ("Attached", row.bool(&["status", "attached"], false)),
        ],
        "CSINode" => vec![("Drivers", row.count(&["spec", "drivers"]))],
        "CSIDriver" => driver(row),
        "CSIStorageCapacity" => {
            let capacity = row
                .at(&["capacity"])
                .map_or_else(|| "<unset>".into(), |c| amount(Some(c)));
            vec![
                ("StorageClassName", row.text(&["storageClassName"]).into()),
                ("Capacity", capacity.into()),
            ]
        }
        "StorageVersion" => storage_version(row),
        "StorageVersionMigration" => migration(row),
        _ => Cells::new(),
    }
}

fn access_modes(modes: &[Value]) -> String {
    let short = [
        ("ReadWriteOnce", "RWO"),
        ("ReadOnlyMany", "ROX"),
        ("ReadWriteMany", "RWX"),
        ("ReadWriteOncePod", "RWOP"),
    ];
    let has = |mode: &str| modes.iter().any(|m| m.as_str() == Some(mode));
    short
        .iter()
        .filter(|(mode, _)| has(mode))
        .map(|(_, short)| *short)
        .collect::<Vec<_>>()
        .join(",")
}

fn phase(row: &Row<'_>) -> Value {
    if row.deleted() {
        "Terminating".into()
    } else {
        row.text(&["status", "phase"]).into()
    }
}

/// The class by annotation, which came before the field.
fn class(row: &Row<'_>) -> Value {
    let old = row.at(&[
        "metadata",
        "annotations",
        "volume.beta.kubernetes.io/storage-class",
    ]);
    old.cloned()
        .unwrap_or_else(|| row.text(&["spec", "storageClassName"]).into())
}

pub(super) fn volume(row: &Row<'_>) -> Cells {
    let claim = row.at(&["spec", "claimRef"]).map_or_else(String::new, |_| {
        format!(
            "{}/{}",
            row.text(&["spec", "claimRef", "namespace"]),
            row.text(&["spec", "claimRef", "name"])
        )
    });
    vec![
        (
            "Capacity",
            amount(row.at(&["spec", "capacity", "storage"])).into(),
        ),
        (
            "Access Modes",
            access_modes(row.list(&["spec", "accessModes"])).into(),
        ),
        (
            "Reclaim Policy",
            row.text(&["spec", "persistentVolumeReclaimPolicy"]).into(),
        ),
        ("Status", phase(row)),
        ("Claim", claim.into()),
        ("StorageClass", class(row)),
        (
            "VolumeAttributesClass",
            row.text_or(&["spec", "volumeAttributesClassName"], "<unset>")
                .into(),
        ),
        ("Reason", row.text(&["status", "reason"]).into()),
        (
            "VolumeMode",
            row.text_or(&["spec", "volumeMode"], "<unset>").into(),
        ),
    ]
}

pub(super) fn claim(row: &Row<'_>) -> Cells {
    let bound = !row.text(&["spec", "volumeName"]).is_empty();
    let when_bound = |text: String| if bound { text } else { String::new() };
    vec![
        ("Status", phase(row)),
        ("Volume", row.text(&["spec", "volumeName"]).into()),
        (
            "Capacity",
            when_bound(amount(row.at(&["status", "capacity", "storage"]))).into(),
        ),
        (
            "Access Modes",
            when_bound(access_modes(row.list(&["status", "accessModes"]))).into(),
        ),
        ("StorageClass", class(row)),
        (
            "VolumeAttributesClass",
            row.text_or(&["spec", "volumeAttributesClassName"], "<unset>")
                .into(),
        ),
        (
            "VolumeMode",
            row.text_or(&["spec", "volumeMode"], "<unset>").into(),
        ),
    ]
}

fn storage_class(row: &Row<'_>) -> Cells {
    let default = [
        "storageclass.kubernetes.io/is-default-class",
        "storageclass.beta.kubernetes.io/is-default-class",
    ];
    vec![
        ("Name", default_marked(row, &default)),
        ("Provisioner", row.text(&["provisioner"]).into()),
        (
            "ReclaimPolicy",
            row.text_or(&["reclaimPolicy"], "Delete").into(),
        ),
        (
            "VolumeBindingMode",
            row.text_or(&["volumeBindingMode"], "Immediate").into(),
        ),
        (
            "AllowVolumeExpansion",
            row.bool(&["allowVolumeExpansion"], false),
        ),
    ]
}

fn driver(row: &Row<'_>) -> Cells {
    let modes = texts(row.list(&["spec", "volumeLifecycleModes"]), ",");
    let tokens = row.at(&["spec", "tokenRequests"]).map_or_else(
        || "<unset>".into(),
        |t| joined(t.as_array().unwrap_or_default(), "audience"),
    );
    vec![
        (
            "AttachRequired",
            row.bool(&["spec", "attachRequired"], true),
        ),
        (
            "PodInfoOnMount",
            row.bool(&["spec", "podInfoOnMount"], false),
        ),
        (
            "StorageCapacity",
            row.bool(&["spec", "storageCapacity"], false),
        ),
        ("TokenRequests", tokens.into()),
        (
            "RequiresRepublish",
            row.bool(&["spec", "requiresRepublish"], false),
        ),
        (
            "Modes",
            if modes.is_empty() {
                "<none>".into()
            } else {
                modes.into()
            },
        ),
    ]
}

fn storage_version(row: &Row<'_>) -> Cells {
    let one = |v: &Value| {
        let part = |key: &str| v.str_at(&[key]).unwrap_or_default();
        format!("{}={}", part("apiServerID"), part("encodingVersion"))
    };
    let all: Vec<String> = row
        .list(&["status", "storageVersions"])
        .iter()
        .map(one)
        .collect();
    let text = first_of(&all, all.len(), 3, ",");
    vec![
        (
            "CommonEncodingVersion",
            row.text_or(&["status", "commonEncodingVersion"], "<unset>")
                .into(),
        ),
        (
            "StorageVersions",
            if text.is_empty() {
                "<unset>".into()
            } else {
                text.into()
            },
        ),
    ]
}

fn migration(row: &Row<'_>) -> Cells {
    let of = ["Running", "Failed", "Succeeded"];
    let holds = |c: &&Value| {
        c.str_at(&["status"]) == Some("True")
            && c.str_at(&["type"]).is_some_and(|t| of.contains(&t))
    };
    let status = row.list(&["status", "conditions"]).iter().rfind(holds);
    let resource = match (
        row.text(&["spec", "resource", "group"]),
        row.text(&["spec", "resource", "resource"]),
    ) {
        ("", resource) => resource.to_owned(),
        (group, resource) => format!("{resource}.{group}"),
    };
    vec![
        ("Resource", resource.into()),
        (
            "Status",
            status
                .and_then(|c| c.str_at(&["type"]))
                .unwrap_or("Unknown")
                .into(),
        ),
    ]
}

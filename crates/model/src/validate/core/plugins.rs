//! Volumes of plugins that came with Kubernetes: `pkg/apis/core/validation/validation.go`.
//!
//! Most of them have moved into drivers; their fields are checked all the same.

use super::volumes::{csi_driver_name, descending_path};
use crate::Value;
use crate::field::Path;
use crate::rules;
use crate::validate::read::{Read, Report};
use regex::Regex;
use std::sync::LazyLock;

/// Where a volume stands: what a pod says of it, or an object of its own.
#[derive(Clone, Copy)]
pub(super) enum Place<'a> {
    Pod,
    Persistent { name: &'a str },
}

fn need(report: &mut Report, source: &Value, fields: &[&str], at: Path<'_>) {
    for field in fields {
        if source.text(field).is_empty() {
            report.required(at.child(field), "");
        }
    }
}

/// A volume of the plugin `kind`; others are left alone. `path`: of what holds the volume.
pub(super) fn plugin(
    report: &mut Report,
    kind: &str,
    source: &Value,
    place: Place<'_>,
    path: Path<'_>,
) {
    let at = path.child(kind);
    match kind {
        "gitRepo" => {
            need(report, source, &["repository"], at);
            descending_path(report, source.text("directory"), at.child("directory"));
        }
        // upstream's own name of the field
        "gcePersistentDisk" => disk(report, source, "pdName", path.child("persistentDisk")),
        "awsElasticBlockStore" => disk(report, source, "volumeID", at),
        "iscsi" => iscsi(report, source, place, at),
        "glusterfs" => glusterfs(report, source, place, at),
        "flocker" => flocker(report, source, at),
        "rbd" | "cephfs" => {
            if source.list("monitors").is_empty() {
                report.required(at.child("monitors"), "");
            }
            if kind == "rbd" {
                need(report, source, &["image"], at);
            }
        }
        "cinder" => {
            need(report, source, &["volumeID"], at);
            secret(report, source, place, at);
        }
        "quobyte" => quobyte(report, source, at),
        "fc" => fibre_channel(report, source, at),
        "flexVolume" => flex(report, source, at),
        "azureFile" => {
            need(report, source, &["secretName", "shareName"], at);
            if matches!(place, Place::Persistent { .. })
                && source.string("secretNamespace") == Some("")
            {
                report.required(at.child("secretNamespace"), "");
            }
        }
        "azureDisk" => azure_disk(report, source, at),
        "vsphereVolume" => need(report, source, &["volumePath"], at),
        "photonPersistentDisk" => need(report, source, &["pdID"], at),
        "portworxVolume" => need(report, source, &["volumeID"], at),
        "scaleIO" => need(report, source, &["gateway", "system", "volumeName"], at),
        "storageos" => storageos(report, source, place, at),
        "csi" => csi(report, source, place, at),
        _ => {}
    }
}

fn disk(report: &mut Report, source: &Value, id: &str, at: Path<'_>) {
    need(report, source, &[id], at);
    let partition = source.number("partition");
    if !(0..=255).contains(&partition) {
        report.invalid_int(
            at.child("partition"),
            partition,
            rules::inclusive_range(1, 255),
        );
    }
}

/// A reference to a secret; from outside of a namespace it names one.
fn secret(report: &mut Report, source: &Value, place: Place<'_>, at: Path<'_>) {
    if let Some(secret) = source.part("secretRef") {
        let fields: &[&str] = match place {
            Place::Pod => &["name"],
            Place::Persistent { .. } => &["name", "namespace"],
        };
        need(report, secret, fields, at.child("secretRef"));
    }
}

fn lun(report: &mut Report, source: &Value, at: Path<'_>) {
    let lun = source.number("lun");
    if !(0..=255).contains(&lun) {
        report.invalid_int(at.child("lun"), lun, rules::inclusive_range(0, 255));
    }
}

fn iscsi(report: &mut Report, source: &Value, place: Place<'_>, at: Path<'_>) {
    let portal = source.text("targetPortal");
    need(report, source, &["targetPortal"], at);
    let initiator = source.string("initiatorName");
    if let Place::Persistent { name } = place
        && initiator.is_some()
        && name.len() + 1 + portal.len() > 64
    {
        report.invalid_str(at.child("targetportal"), portal, PORTAL_TOO_LONG);
    }
    let (pod, strange) = match place {
        Place::Pod => (true, "must be valid format starting with iqn, eui, or naa"),
        Place::Persistent { .. } => (false, "must be valid format"),
    };
    let iqn = source.text("iqn");
    if iqn.is_empty() {
        report.required(at.child("iqn"), "");
    } else {
        qualified(report, iqn, strange, at.child("iqn"));
    }
    lun(report, source, at);
    let needs_secret = source.flag("chapAuthDiscovery") || source.flag("chapAuthSession");
    match source.part("secretRef") {
        None if needs_secret => report.required(at.child("secretRef"), ""),
        Some(secret) if !pod => need(report, secret, &["name"], at.child("secretRef")),
        _ => {}
    }
    if let Some(initiator) = initiator {
        qualified(report, initiator, strange, at.child("initiatorname"));
    }
}

pub(super) const PORTAL_TOO_LONG: &str = "Total length of <volume name>:<iscsi.targetPortal> must be under 64 characters if iscsi.initiatorName is specified.";

/// The forms of an iSCSI name, by how it starts.
static ISCSI_NAMES: LazyLock<[(&str, Option<Regex>); 3]> = LazyLock::new(|| {
    [
        (
            "iqn",
            r"iqn\.[0-9]{4}-[0-9]{2}\.([0-9A-Za-z.-]+)(:[^,;*&$|\t\n\f\r ]+)$",
        ),
        ("eui", "^eui.[0-9A-Za-z]{16}$"),
        ("naa", "^naa.[0-9A-Za-z]{32}$"),
    ]
    .map(|(start, form)| (start, Regex::new(form).ok()))
});

fn qualified(report: &mut Report, name: &str, strange: &str, at: Path<'_>) {
    match ISCSI_NAMES
        .iter()
        .find(|(start, _)| name.starts_with(start))
    {
        None => report.invalid_str(at, name, strange),
        Some((_, form)) => {
            if !form.as_ref().is_some_and(|f| f.is_match(name)) {
                report.invalid_str(at, name, "must be valid format");
            }
        }
    }
}

fn glusterfs(report: &mut Report, source: &Value, place: Place<'_>, at: Path<'_>) {
    need(report, source, &["endpoints", "path"], at);
    if let (Place::Persistent { .. }, Some(namespace)) =
        (place, source.string("endpointsNamespace"))
    {
        let at = at.child("endpointsNamespace");
        if namespace.is_empty() {
            let detail = "if the endpointnamespace is set, it must be a valid namespace name";
            report.invalid_str(at, namespace, detail);
        } else {
            report.problems(at, namespace, rules::dns1123_label(namespace));
        }
    }
}

fn flocker(report: &mut Report, source: &Value, at: Path<'_>) {
    let (name, uuid) = (source.text("datasetName"), source.text("datasetUUID"));
    match (name.is_empty(), uuid.is_empty()) {
        (true, true) => report.required(at, "one of datasetName and datasetUUID is required"),
        (false, false) => {
            let detail = "datasetName and datasetUUID can not be specified simultaneously";
            report.invalid_str(at, "resource", detail);
        }
        _ => {}
    }
    if name.contains('/') {
        report.invalid_str(at.child("datasetName"), name, "must not contain '/'");
    }
}

fn quobyte(report: &mut Report, source: &Value, at: Path<'_>) {
    const PAIRS: &str = "must be a host:port pair or multiple pairs separated by commas";
    let registry = source.text("registry");
    if registry.is_empty() {
        report.required(at.child("registry"), PAIRS);
    } else if source.text("tenant").len() >= 65 {
        let detail = "must be a UUID and may not exceed a length of 64 characters";
        report.required(at.child("tenant"), detail);
    } else if !registry.split(',').all(is_host_and_port) {
        report.invalid_str(at.child("registry"), registry, PAIRS);
    }
    need(report, source, &["volume"], at);
}

/// As Go's `net.SplitHostPort` sees it.
fn is_host_and_port(pair: &str) -> bool {
    let Some((mut host, port)) = pair.rsplit_once(':') else {
        return false;
    };
    if let Some(rest) = pair.strip_prefix('[') {
        let Some((inner, after)) = rest.split_once(']') else {
            return false;
        };
        if after.len() != port.len() + 1 {
            return false;
        }
        host = inner;
    } else if host.contains(':') {
        return false;
    }
    !host.contains(['[', ']']) && !port.contains(['[', ']'])
}

fn fibre_channel(report: &mut Report, source: &Value, at: Path<'_>) {
    let (targets, ids) = (source.list("targetWWNs"), source.list("wwids"));
    if targets.is_empty() && ids.is_empty() {
        let detail = "must specify either targetWWNs or wwids, but not both";
        report.required(at.child("targetWWNs"), detail);
    }
    if targets.is_empty() {
        return;
    }
    if !ids.is_empty() {
        let detail = "targetWWNs and wwids can not be specified simultaneously";
        report.invalid(
            at.child("targetWWNs"),
            &Value::from(targets.to_vec()),
            detail,
        );
    }
    if source.has("lun") {
        lun(report, source, at);
    } else {
        report.required(
            at.child("lun"),
            "lun is required if targetWWNs is specified",
        );
    }
}

fn flex(report: &mut Report, source: &Value, at: Path<'_>) {
    need(report, source, &["driver"], at);
    let options = at.child("options");
    for key in source.map("options").iter().flat_map(|m| m.keys()) {
        let namespace = key.split_once('/').map_or(key, |(before, _)| before);
        let namespace = format!(".{}", namespace.to_lowercase());
        if namespace.ends_with(".kubernetes.io") || namespace.ends_with(".k8s.io") {
            let detail = "kubernetes.io and k8s.io namespaces are reserved";
            report.invalid_str(options.key(key), key, detail);
        }
    }
}

fn azure_disk(report: &mut Report, source: &Value, at: Path<'_>) {
    const MANAGED: &str = "/subscriptions/{sub-id}/resourcegroups/{group-name}/providers/microsoft.compute/disks/{disk-id}";
    const BLOB: &str =
        "https://{account-name}.blob.core.windows.net/{container-name}/{disk-name}.vhd";
    need(report, source, &["diskName", "diskURI"], at);
    report.one_of_pointer(
        at.child("cachingMode"),
        source.string("cachingMode"),
        &["None", "ReadOnly", "ReadWrite"],
    );
    let kind = source.string("kind");
    report.one_of_pointer(at.child("kind"), kind, &["Dedicated", "Managed", "Shared"]);
    let uri = source.text("diskURI");
    match kind {
        Some("Managed") if !uri.starts_with("/subscriptions/") => {
            report.not_supported(at.child("diskURI"), uri, &[MANAGED]);
        }
        Some(kind) if kind != "Managed" && !uri.starts_with("https://") => {
            report.not_supported(at.child("diskURI"), uri, &[BLOB]);
        }
        _ => {}
    }
}

fn storageos(report: &mut Report, source: &Value, place: Place<'_>, at: Path<'_>) {
    report.required_name(
        at.child("volumeName"),
        source.text("volumeName"),
        rules::dns1123_label,
    );
    let namespace = source.text("volumeNamespace");
    if !namespace.is_empty() {
        report.problems(
            at.child("volumeNamespace"),
            namespace,
            rules::dns1123_label(namespace),
        );
    }
    secret(report, source, place, at);
}

fn csi(report: &mut Report, source: &Value, place: Place<'_>, at: Path<'_>) {
    const SECRETS: [&str; 4] = [
        "controllerPublishSecretRef",
        "controllerExpandSecretRef",
        "nodePublishSecretRef",
        "nodeExpandSecretRef",
    ];
    csi_driver_name(report, source.text("driver"), at.child("driver"));
    if let Place::Pod = place {
        let Some(secret) = source.part("nodePublishSecretRef") else {
            return;
        };
        let name = secret.text("name");
        if name.is_empty() {
            report.required(at.child("nodePublishSecretRef").child("name"), "");
        } else {
            report.problems(at.child("name"), name, rules::dns1123_subdomain(name));
        }
        return;
    }
    need(report, source, &["volumeHandle"], at);
    for field in SECRETS {
        let Some(secret) = source.part(field) else {
            continue;
        };
        let at = at.child(field);
        report.required_name(
            at.child("name"),
            secret.text("name"),
            rules::dns1123_subdomain,
        );
        report.required_name(
            at.child("namespace"),
            secret.text("namespace"),
            rules::dns1123_label,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value;

    fn wrong(kind: &str, source: &Value, place: Place<'_>) -> Vec<String> {
        let mut report = Report::default();
        plugin(&mut report, kind, source, place, Path::root("v"));
        report.errors.iter().map(ToString::to_string).collect()
    }

    /// kubernetes `pkg/apis/core/validation/validation.go`
    #[test]
    fn volumes_of_old_plugins_are_checked_field_by_field() {
        let persistent = Place::Persistent { name: "pv" };
        for (kind, source, place, want) in [
            (
                "iscsi",
                value!({"targetPortal": "10.0.0.1", "iqn": "iqn.2001-04.com.example:disk", "lun": 3}),
                Place::Pod,
                vec![],
            ),
            (
                "iscsi",
                value!({"targetPortal": "t", "iqn": "x", "lun": 256, "chapAuthSession": true}),
                Place::Pod,
                vec![
                    r#"v.iscsi.iqn: Invalid value: "x": must be valid format starting with iqn, eui, or naa"#,
                    "v.iscsi.lun: Invalid value: 256: must be between 0 and 255, inclusive",
                    "v.iscsi.secretRef: Required value",
                ],
            ),
            (
                "quobyte",
                value!({"registry": "a:1,b", "volume": "v"}),
                persistent,
                vec![
                    r#"v.quobyte.registry: Invalid value: "a:1,b": must be a host:port pair or multiple pairs separated by commas"#,
                ],
            ),
            (
                "fc",
                value!({"targetWWNs": ["a"]}),
                Place::Pod,
                vec!["v.fc.lun: Required value: lun is required if targetWWNs is specified"],
            ),
            (
                "flexVolume",
                value!({"driver": "d", "options": {"a.K8s.io/b": "c"}}),
                Place::Pod,
                vec![
                    r#"v.flexVolume.options[a.K8s.io/b]: Invalid value: "a.K8s.io/b": kubernetes.io and k8s.io namespaces are reserved"#,
                ],
            ),
            (
                "azureDisk",
                value!({"diskName": "d", "diskURI": "x", "kind": "Shared"}),
                Place::Pod,
                vec![
                    r#"v.azureDisk.diskURI: Unsupported value: "x": supported values: "https://{account-name}.blob.core.windows.net/{container-name}/{disk-name}.vhd""#,
                ],
            ),
            (
                "csi",
                value!({"driver": "d", "volumeHandle": "h", "nodeExpandSecretRef": {"name": "s"}}),
                persistent,
                vec!["v.csi.nodeExpandSecretRef.namespace: Required value"],
            ),
            (
                "gcePersistentDisk",
                value!({"partition": 300}),
                Place::Pod,
                vec![
                    "v.persistentDisk.pdName: Required value",
                    "v.persistentDisk.partition: Invalid value: 300: must be between 1 and 255, inclusive",
                ],
            ),
        ] {
            assert_eq!(wrong(kind, &source, place), want, "{kind}");
        }
    }

    /// Go `net.SplitHostPort`
    #[test]
    fn hosts_and_ports_are_told_apart_as_go_does() {
        for (pair, good) in [
            ("a:1", true),
            (":", true),
            ("[::1]:2", true),
            ("a", false),
            ("::1", false),
            ("[a]b:1", false),
            ("a]:1", false),
        ] {
            assert_eq!(is_host_and_port(pair), good, "{pair}");
        }
    }
}

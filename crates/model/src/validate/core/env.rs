//! Variables of containers, and the fields and files that they come from: kubernetes
//! `pkg/apis/core/validation/validation.go`, `validateEnv` and below.

use super::containers::Pod;
use super::volumes::no_backsteps;
use crate::field::Path;
use crate::validate::read::{Given, Read, Report, fields, quantity};
use crate::{Value, rules};

fields! {
    Variable {
        name: "name",
        value: "value",
        from: "valueFrom",
    }
}

fields! {
    Source {
        config_map: "configMapKeyRef",
        field: "fieldRef",
        file: "fileKeyRef",
        resource: "resourceFieldRef",
        secret: "secretKeyRef",
    }
}

fields! {
    FieldRef {
        version: "apiVersion",
        path: "fieldPath",
    }
}

pub(super) fn env(report: &mut Report, list: &[Value], pod: &Pod<'_>, path: Path<'_>) {
    for (i, given) in list.iter().enumerate() {
        let (at, variable) = (path.index(i), Variable::of(given));
        let name = variable.name.as_text();
        report.required_name(at.child("name"), name, rules::env_var_name);
        if let Some(from) = variable.from.given() {
            let value = variable.value.as_text();
            value_from(report, &Source::of(from), value, pod, at.child("valueFrom"));
        }
    }
}

fn value_from(report: &mut Report, from: &Source<'_>, value: &str, pod: &Pod<'_>, at: Path<'_>) {
    const FIELDS: [&str; 9] = [
        "metadata.name",
        "metadata.namespace",
        "metadata.uid",
        "spec.nodeName",
        "spec.serviceAccountName",
        "status.hostIP",
        "status.hostIPs",
        "status.podIP",
        "status.podIPs",
    ];
    let mut sources = 0;
    if let Some(selector) = from.field.given() {
        sources += 1;
        field_selector(report, selector, &FIELDS, at.child("fieldRef"));
    }
    if let Some(selector) = from.resource.given() {
        sources += 1;
        resource_selector(report, selector, false, at.child("resourceFieldRef"));
    }
    for (kind, selector) in [
        ("configMapKeyRef", from.config_map),
        ("secretKeyRef", from.secret),
    ] {
        if let Some(selector) = selector.given() {
            sources += 1;
            key_selector(report, selector, at.child(kind));
        }
    }
    if let Some(selector) = from.file.given() {
        pod.reads_files.set(true);
        sources += 1;
        file_selector(report, selector, at.child("fileKeyRef"));
    }
    let detail = match sources {
        0 => {
            "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or `fileKeyRef`"
        }
        _ if !value.is_empty() => "may not be specified when `value` is not empty",
        1 => return,
        _ => "may not have more than one field specified at a time",
    };
    report.invalid_str(at, "", detail);
}

fn key_selector(report: &mut Report, selector: &Value, at: Path<'_>) {
    let name = selector.text("name");
    report.problems(at.child("name"), name, rules::dns1123_subdomain(name));
    report.required_name(at.child("key"), selector.text("key"), rules::config_map_key);
}

fn file_selector(report: &mut Report, selector: &Value, at: Path<'_>) {
    report.required_name(at.child("key"), selector.text("key"), rules::env_var_name);
    report.required_name(
        at.child("volumeName"),
        selector.text("volumeName"),
        rules::dns1123_label,
    );
    let path = selector.text("path");
    if path.is_empty() {
        report.required(at.child("path"), "");
    } else {
        no_backsteps(report, path, at.child("path"));
    }
}

/// `metadata.labels['x']` → (`metadata.labels`, `x`)
fn subscripted(path: &str) -> Option<(&str, &str)> {
    let rest = path.strip_suffix("']")?;
    let (path, key) = rest.split_once("['")?;
    (!path.is_empty()).then_some((path, key))
}

pub(super) fn field_selector(report: &mut Report, selector: &Value, fields: &[&str], at: Path<'_>) {
    const KNOWN: [&str; 15] = [
        "metadata.annotations",
        "metadata.labels",
        "metadata.name",
        "metadata.namespace",
        "metadata.uid",
        "spec.nodeName",
        "spec.restartPolicy",
        "spec.serviceAccountName",
        "spec.schedulerName",
        "status.phase",
        "status.hostIP",
        "status.hostIPs",
        "status.podIP",
        "status.podIPs",
        "spec.host",
    ];
    let selector = FieldRef::of(selector);
    let version = selector.version.as_text();
    if version.is_empty() {
        report.required(at.child("apiVersion"), "");
        return;
    }
    let given = selector.path.as_text();
    if given.is_empty() {
        report.required(at.child("fieldPath"), "");
        return;
    }
    let problem = if version != "v1" {
        Some(format!("unsupported pod version: {version}"))
    } else {
        match subscripted(given) {
            Some(("metadata.annotations" | "metadata.labels", _)) => None,
            Some(_) => Some(format!("field label does not support subscript: {given}")),
            None if KNOWN.contains(&given) => None,
            None => Some(format!("field label not supported: {given}")),
        }
    };
    if let Some(problem) = problem {
        report.invalid_str(
            at.child("fieldPath"),
            given,
            format!("error converting fieldPath: {problem}"),
        );
        return;
    }
    match subscripted(given) {
        Some(("metadata.annotations", key)) => {
            let key = key.to_lowercase();
            report.problems(at, &key, rules::qualified_name(&key));
        }
        Some((_, key)) => report.problems(at, key, rules::qualified_name(key)),
        None => {
            let internal = if given == "spec.host" {
                "spec.nodeName"
            } else {
                given
            };
            report.one_of_if_set(at.child("fieldPath"), internal, fields);
        }
    }
}

pub(super) fn resource_selector(
    report: &mut Report,
    selector: &Value,
    in_volume: bool,
    at: Path<'_>,
) {
    const RESOURCES: [&str; 6] = [
        "limits.cpu",
        "limits.ephemeral-storage",
        "limits.memory",
        "requests.cpu",
        "requests.ephemeral-storage",
        "requests.memory",
    ];
    let resource = selector.text("resource");
    let huge =
        resource.starts_with("requests.hugepages-") || resource.starts_with("limits.hugepages-");
    if in_volume && selector.text("containerName").is_empty() {
        report.required(at.child("containerName"), "");
    } else if resource.is_empty() {
        report.required(at.child("resource"), "");
    } else if !huge {
        report.one_of_if_set(at.child("resource"), resource, &RESOURCES);
    }
    let Some(divisor) = selector
        .part("divisor")
        // as it is by default
        .filter(|given| given.as_text() != "0")
        .map(quantity)
        .filter(|q| !q.is_zero())
    else {
        return;
    };
    let sizes = [
        "1", "1k", "1M", "1G", "1T", "1P", "1E", "1Ki", "1Mi", "1Gi", "1Ti", "1Pi", "1Ei",
    ];
    let shown = divisor.to_string();
    let what = match resource {
        "limits.cpu" | "requests.cpu" => {
            if !["1m", "1"].contains(&shown.as_str()) {
                let detail = "only divisor's values 1m and 1 are supported with the cpu resource";
                report.invalid_str(at.child("divisor"), resource, detail);
            }
            return;
        }
        "limits.memory" | "requests.memory" => "memory",
        "limits.ephemeral-storage" | "requests.ephemeral-storage" => "local ephemeral storage",
        _ if huge => "hugepages",
        _ => return,
    };
    if !sizes.contains(&shown.as_str()) {
        let detail = format!(
            "only divisor's values 1, 1k, 1M, 1G, 1T, 1P, 1E, 1Ki, 1Mi, 1Gi, 1Ti, 1Pi, 1Ei are supported with the {what} resource"
        );
        report.invalid_str(at.child("divisor"), resource, detail);
    }
}

pub(super) fn env_from(report: &mut Report, list: &[Value], path: Path<'_>) {
    for (i, source) in list.iter().enumerate() {
        let at = path.index(i);
        let prefix = source.text("prefix");
        if !prefix.is_empty() {
            report.problems(at.child("prefix"), prefix, rules::env_var_name(prefix));
        }
        let mut sources = 0;
        for kind in ["configMapRef", "secretRef"] {
            if let Some(reference) = source.part(kind) {
                sources += 1;
                report.required_name(
                    at.child(kind).child("name"),
                    reference.text("name"),
                    rules::dns1123_subdomain_prefix,
                );
            }
        }
        match sources {
            0 => report.invalid_str(
                path,
                "",
                "must specify one of: `configMapRef` or `secretRef`",
            ),
            1 => {}
            _ => report.invalid_str(
                path,
                "",
                "may not have more than one field specified at a time",
            ),
        }
    }
}

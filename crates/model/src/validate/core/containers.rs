//! Containers: kubernetes `pkg/apis/core/validation/validation.go`, `validateContainers` and below.

use super::resources;
use super::volumes::{Volumes, descending_path, no_backsteps};
use crate::field::{FieldError, Path};
use crate::validate::few::{Names, Table};
use crate::validate::read::{Fields, NOTHING, Read, Report, quantity};
use crate::{Value, rules};
use std::cell::Cell;
use std::collections::HashSet;

/// What containers need to know of their pod.
pub(super) struct Pod<'a> {
    pub(super) volumes: Volumes<'a>,
    pub(super) claims: Vec<&'a str>,
    pub(super) grace: Option<i64>,
    pub(super) restart_policy: &'a str,
    pub(super) host_users: bool,
    pub(super) os: &'a str,
    /// some variable of a container comes out of a file
    pub(super) reads_files: Cell<bool>,
}

const PROTOCOLS: [&str; 3] = ["SCTP", "TCP", "UDP"];

pub(super) fn containers(report: &mut Report, list: &[Value], pod: &Pod<'_>, path: Path<'_>) {
    if list.is_empty() {
        report.required(path, "");
        return;
    }
    let mut names = Names::default();
    for (i, given) in list.iter().enumerate() {
        let container = &Fields::of(given);
        let at = path.index(i);
        common(report, container, pod, at);
        if !names.insert(given.text("name")) {
            report.duplicate(at.child("name"), container.text("name"));
        }
        if let Some(lifecycle) = container.part("lifecycle") {
            self::lifecycle(report, lifecycle, pod, at.child("lifecycle"));
        }
        probes(report, container, pod.grace, at);
        restart_policy(report, container, at);
    }
    host_ports(report, list, path);
}

pub(super) fn init_containers(
    report: &mut Report,
    list: &[Value],
    regular: &[Value],
    pod: &Pod<'_>,
    path: Path<'_>,
) {
    let mut names: Names<'_> = regular.iter().map(|c| c.text("name")).collect();
    for (i, given) in list.iter().enumerate() {
        let container = &Fields::of(given);
        let at = path.index(i);
        common(report, container, pod, at);
        match container.string("restartPolicy") {
            None if !container.list("restartPolicyRules").is_empty() => {
                let detail = "must specify restartPolicy when restart rules are used";
                report.required(at.child("restartPolicy"), detail);
            }
            None => {}
            Some(_) => restart_policy(report, container, at),
        }
        let sidecar = container.text("restartPolicy") == "Always";
        let name = given.text("name");
        if names.contains(name) {
            report.duplicate(at.child("name"), name);
        } else if !name.is_empty() {
            names.insert(name);
        }
        host_ports(report, std::slice::from_ref(given), path);
        if sidecar {
            if let Some(lifecycle) = container.part("lifecycle") {
                self::lifecycle(report, lifecycle, pod, at.child("lifecycle"));
            }
            probes(report, container, pod.grace, at);
        } else {
            for field in [
                "lifecycle",
                "livenessProbe",
                "readinessProbe",
                "startupProbe",
            ] {
                if container.has(field) {
                    let detail = "may not be set for init containers without restartPolicy=Always";
                    report.forbidden(at.child(field), detail);
                }
            }
            for (j, policy) in container.list("resizePolicy").iter().enumerate() {
                if policy.text("restartPolicy") == "RestartContainer" {
                    let list = at.child("resizePolicy");
                    let item = list.index(j);
                    let detail =
                        "must not be set to 'RestartContainer' for non-sidecar initContainers";
                    report.invalid_str(item.child("restartPolicy"), "RestartContainer", detail);
                }
            }
        }
    }
}

pub(super) fn ephemeral_containers(
    report: &mut Report,
    list: &[Value],
    spec: &Value,
    pod: &Pod<'_>,
    path: Path<'_>,
) {
    if list.is_empty() {
        return;
    }
    let others: Names<'_> = spec
        .list("containers")
        .iter()
        .chain(spec.list("initContainers"))
        .map(|c| c.text("name"))
        .collect();
    let mut names = others.clone();
    for (i, given) in list.iter().enumerate() {
        let container = &Fields::of(given);
        let at = path.index(i);
        common(report, container, pod, at);
        image_padding(report, container, at);
        if !names.insert(given.text("name")) {
            report.duplicate(at.child("name"), container.text("name"));
        }
        let target = container.text("targetContainerName");
        if !target.is_empty() && !others.contains(target) {
            report.errors.push(FieldError::not_found(
                at.child("targetContainerName"),
                &target.into(),
            ));
        }
        let why = "cannot be set for an Ephemeral Container";
        for field in [
            "ports",
            "livenessProbe",
            "readinessProbe",
            "startupProbe",
            "lifecycle",
            "resizePolicy",
            "restartPolicy",
            "restartPolicyRules",
        ] {
            if container
                .part(field)
                .is_some_and(|v| v.as_array().is_none_or(|a| !a.is_empty()))
            {
                report.forbidden(at.child(field), why);
            }
        }
        if container.map("resources").is_some_and(|m| !m.is_empty()) {
            report.forbidden(at.child("resources"), why);
        }
        let mounts = at.child("volumeMounts");
        for (j, mount) in container.list("volumeMounts").iter().enumerate() {
            for field in ["subPath", "subPathExpr"] {
                if !mount.text(field).is_empty() {
                    report.forbidden(mounts.index(j).child(field), why);
                }
            }
        }
    }
}

/// Only pods are held to this, templates are not.
pub(super) fn image_padding(report: &mut Report, container: &impl Read, at: Path<'_>) {
    let image = container.text("image");
    if image.trim().len() != image.len() {
        report.invalid_str(
            at.child("image"),
            image,
            "must not have leading or trailing whitespace",
        );
    }
}

fn common(report: &mut Report, container: &Fields<'_>, pod: &Pod<'_>, at: Path<'_>) {
    report.required_name(
        at.child("name"),
        container.text("name"),
        rules::dns1123_label,
    );
    if container.text("image").is_empty() {
        report.required(at.child("image"), "");
    }
    let policies = ["File", "FallbackToLogsOnError"];
    report.one_of(
        at.child("terminationMessagePolicy"),
        container.text("terminationMessagePolicy"),
        &policies,
    );
    ports(report, container, at.child("ports"));
    env(report, container, pod, at.child("env"));
    env_from(report, container, at.child("envFrom"));
    let devices: Table<'_, &str> = container
        .list("volumeDevices")
        .iter()
        .map(|d| (d.text("name"), d.text("devicePath")))
        .collect();
    volume_mounts(
        report,
        container,
        &devices,
        &pod.volumes,
        at.child("volumeMounts"),
    );
    volume_devices(report, container, &pod.volumes, at.child("volumeDevices"));
    report.one_of(
        at.child("imagePullPolicy"),
        container.text("imagePullPolicy"),
        &["Always", "IfNotPresent", "Never"],
    );
    let resources_at = at.child("resources");
    let given = container.part("resources").unwrap_or(&NOTHING);
    resources::of_container(report, given, resources_at);
    resources::claims(report, given, &pod.claims, resources_at.child("claims"));
    resize_policy(
        report,
        container,
        pod.restart_policy,
        at.child("resizePolicy"),
    );
    if let Some(context) = container.part("securityContext") {
        security_context(report, context, pod.host_users, at.child("securityContext"));
    }
}

fn ports(report: &mut Report, container: &Fields<'_>, path: Path<'_>) {
    let mut names = Names::default();
    for (i, given) in container.list("ports").iter().enumerate() {
        let (at, port) = (path.index(i), &Fields::of(given));
        let name = given.text("name");
        if !name.is_empty() {
            let problems = rules::port_name(name);
            if problems.is_empty() && !names.insert(name) {
                report.duplicate(at.child("name"), name);
            }
            report.problems(at.child("name"), name, problems);
        }
        match port.number("containerPort") {
            0 => report.required(at.child("containerPort"), ""),
            number => report.int_problems(
                at.child("containerPort"),
                number,
                rules::port_number(number),
            ),
        }
        let host_port = port.number("hostPort");
        if host_port != 0 {
            report.int_problems(
                at.child("hostPort"),
                host_port,
                rules::port_number(host_port),
            );
        }
        report.one_of(at.child("protocol"), port.text("protocol"), &PROTOCOLS);
    }
}

fn host_ports(report: &mut Report, list: &[Value], path: Path<'_>) {
    let mut seen = HashSet::new();
    for (i, container) in list.iter().enumerate() {
        let at = path.index(i);
        let ports = at.child("ports");
        for (j, port) in container.list("ports").iter().enumerate() {
            let host_port = port.number("hostPort");
            if host_port == 0 {
                continue;
            }
            let key = format!(
                "{}/{}/{host_port}",
                port.text("protocol"),
                port.text("hostIP")
            );
            if !seen.insert(key.clone()) {
                report.duplicate(ports.index(j).child("hostPort"), &key);
            }
        }
    }
}

fn env(report: &mut Report, container: &Fields<'_>, pod: &Pod<'_>, path: Path<'_>) {
    for (i, variable) in container.list("env").iter().enumerate() {
        let (at, variable) = (path.index(i), &Fields::of(variable));
        report.required_name(at.child("name"), variable.text("name"), rules::env_var_name);
        if let Some(from) = variable.part("valueFrom") {
            let value = variable.text("value");
            value_from(report, &Fields::of(from), value, pod, at.child("valueFrom"));
        }
    }
}

fn value_from(report: &mut Report, from: &Fields<'_>, value: &str, pod: &Pod<'_>, at: Path<'_>) {
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
    if let Some(selector) = from.part("fieldRef") {
        sources += 1;
        field_selector(report, selector, &FIELDS, at.child("fieldRef"));
    }
    if let Some(selector) = from.part("resourceFieldRef") {
        sources += 1;
        resource_selector(report, selector, false, at.child("resourceFieldRef"));
    }
    for kind in ["configMapKeyRef", "secretKeyRef"] {
        if let Some(selector) = from.part(kind) {
            sources += 1;
            key_selector(report, selector, at.child(kind));
        }
    }
    if let Some(selector) = from.part("fileKeyRef") {
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
    let version = selector.text("apiVersion");
    if version.is_empty() {
        report.required(at.child("apiVersion"), "");
        return;
    }
    let given = selector.text("fieldPath");
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

fn env_from(report: &mut Report, container: &Fields<'_>, path: Path<'_>) {
    for (i, source) in container.list("envFrom").iter().enumerate() {
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

fn volume_mounts(
    report: &mut Report,
    container: &Fields<'_>,
    devices: &Table<'_, &str>,
    volumes: &Volumes<'_>,
    path: Path<'_>,
) {
    let mut points = Names::default();
    for (i, given) in container.list("volumeMounts").iter().enumerate() {
        let (at, mount) = (path.index(i), &Fields::of(given));
        let (name, target) = (mount.text("name"), given.text("mountPath"));
        if name.is_empty() {
            report.required(at.child("name"), "");
        }
        if !volumes.contains_key(name) {
            report
                .errors
                .push(FieldError::not_found(at.child("name"), &name.into()));
        }
        if target.is_empty() {
            report.required(at.child("mountPath"), "");
        }
        if !points.insert(target) {
            report.invalid_str(at.child("mountPath"), target, "must be unique");
        }
        if devices.contains_key(name) {
            report.invalid_str(
                at.child("name"),
                name,
                "must not already exist in volumeDevices",
            );
        }
        if devices.values().any(|p| *p == target) {
            report.invalid_str(
                at.child("mountPath"),
                target,
                "must not already exist as a path in volumeDevices",
            );
        }
        let (sub, expression) = (mount.text("subPath"), mount.text("subPathExpr"));
        if !sub.is_empty() {
            descending_path(report, sub, path.child("subPath"));
        }
        if !expression.is_empty() {
            if !sub.is_empty() {
                let detail = "subPathExpr and subPath are mutually exclusive";
                report.invalid_str(at.child("subPathExpr"), expression, detail);
            }
            descending_path(report, expression, path.child("subPathExpr"));
        }
        propagation(report, mount, container, path);
    }
}

fn propagation(report: &mut Report, mount: &Fields<'_>, container: &Fields<'_>, path: Path<'_>) {
    if let Some(propagation) = mount.string("mountPropagation") {
        let at = path.child("mountPropagation");
        let supported = ["Bidirectional", "HostToContainer", "None"];
        if !supported.contains(&propagation) {
            report.not_supported(at, propagation, &supported);
        }
        let privileged = container
            .part("securityContext")
            .is_some_and(|c| c.flag("privileged"));
        if propagation == "Bidirectional" && !privileged {
            report.forbidden(
                at,
                "Bidirectional mount propagation is available only to privileged containers",
            );
        }
    }
    if let Some(recursive) = mount.string("recursiveReadOnly") {
        let at = path.child("recursiveReadOnly");
        match recursive {
            "Disabled" => {}
            "Enabled" | "IfPossible" => {
                if !mount.flag("readOnly") {
                    report.forbidden(at, "may only be specified when readOnly is true");
                }
                if !matches!(mount.text("mountPropagation"), "" | "None") {
                    report.forbidden(
                        at,
                        "may only be specified when mountPropagation is None or not specified",
                    );
                }
            }
            other => report.not_supported(at, other, &["Disabled", "Enabled", "IfPossible"]),
        }
    }
}

fn volume_devices(
    report: &mut Report,
    container: &Fields<'_>,
    volumes: &Volumes<'_>,
    path: Path<'_>,
) {
    if container.list("volumeDevices").is_empty() {
        return;
    }
    let mounts: Table<'_, &str> = container
        .list("volumeMounts")
        .iter()
        .map(|m| (m.text("name"), m.text("mountPath")))
        .collect();
    let (mut names, mut paths) = (Names::default(), Names::default());
    for (i, device) in container.list("volumeDevices").iter().enumerate() {
        let at = path.index(i);
        let (name, target) = (device.text("name"), device.text("devicePath"));
        if name.is_empty() {
            report.required(at.child("name"), "");
        }
        if !name.is_empty() && !names.insert(name) {
            report.invalid_str(at.child("name"), name, "must be unique");
        }
        match volumes.get(name) {
            Some(volume) if !volume.has("persistentVolumeClaim") && !volume.has("ephemeral") => {
                let detail = "can only use volume source type of PersistentVolumeClaim or Ephemeral for block mode";
                report.invalid_str(at.child("name"), name, detail);
            }
            Some(_) => {}
            None => report
                .errors
                .push(FieldError::not_found(at.child("name"), &name.into())),
        }
        if target.is_empty() {
            report.required(at.child("devicePath"), "");
        }
        if paths.contains(target) {
            report.invalid_str(at.child("devicePath"), target, "must be unique");
        }
        if target.split('/').any(|part| part == "..") {
            report.invalid_str(
                at.child("devicePath"),
                target,
                "can not contain backsteps ('..')",
            );
        } else {
            paths.insert(target);
        }
        if mounts.contains_key(name) {
            report.invalid_str(
                at.child("name"),
                name,
                "must not already exist in volumeMounts",
            );
        }
        if mounts.values().any(|p| *p == target) {
            report.invalid_str(
                at.child("devicePath"),
                target,
                "must not already exist as a path in volumeMounts",
            );
        }
    }
}

fn probes(report: &mut Report, container: &Fields<'_>, grace: Option<i64>, at: Path<'_>) {
    for kind in ["livenessProbe", "readinessProbe", "startupProbe"] {
        let Some(probe) = container.part(kind) else {
            continue;
        };
        let probe = &Fields::of(probe);
        let at = at.child(kind);
        handler(
            report,
            probe,
            grace,
            &["exec", "httpGet", "tcpSocket", "grpc"],
            at,
        );
        for field in [
            "initialDelaySeconds",
            "timeoutSeconds",
            "periodSeconds",
            "successThreshold",
            "failureThreshold",
        ] {
            report.non_negative(at.child(field), probe.number(field));
        }
        if let Some(seconds) = probe.int("terminationGracePeriodSeconds") {
            let here = at.child("terminationGracePeriodSeconds");
            if seconds <= 0 {
                report.invalid_int(here, seconds, "must be greater than 0");
            }
            if kind == "readinessProbe" {
                report.invalid_int(here, seconds, "must not be set for readinessProbes");
            }
        }
        let threshold = probe.number("successThreshold");
        if kind != "readinessProbe" && threshold != 1 {
            report.invalid_int(at.child("successThreshold"), threshold, "must be 1");
        }
    }
}

fn lifecycle(report: &mut Report, lifecycle: &Value, pod: &Pod<'_>, at: Path<'_>) {
    for hook in ["postStart", "preStop"] {
        if let Some(given) = lifecycle.part(hook) {
            handler(
                report,
                given,
                pod.grace,
                &["exec", "httpGet", "tcpSocket", "sleep"],
                at.child(hook),
            );
        }
    }
    if lifecycle.has("stopSignal") && pod.os.is_empty() {
        report.forbidden(
            at.child("stopSignal"),
            "may not be set for containers with empty `spec.os.name`",
        );
    }
}

fn handler(
    report: &mut Report,
    given: &impl Read,
    grace: Option<i64>,
    kinds: &[&'static str],
    path: Path<'_>,
) {
    let mut found = false;
    for kind in kinds {
        let Some(action) = given.part(kind) else {
            continue;
        };
        let at = path.child(kind);
        if found {
            report.forbidden(at, "may not specify more than 1 handler type");
            continue;
        }
        found = true;
        match *kind {
            "exec" if action.list("command").is_empty() => report.required(at.child("command"), ""),
            "httpGet" => http_get(report, action, at),
            "tcpSocket" | "grpc" => port_or_name(report, action.part("port"), at.child("port")),
            "sleep" => {
                let seconds = action.number("seconds");
                if let Some(grace) = grace
                    && !(0..=grace).contains(&seconds)
                {
                    let detail = format!(
                        "must be non-negative and less than terminationGracePeriodSeconds ({grace})"
                    );
                    report.invalid_int(at, seconds, detail);
                }
            }
            _ => {}
        }
    }
    if !found {
        report.required(path, "must specify a handler type");
    }
}

fn http_get(report: &mut Report, action: &Value, at: Path<'_>) {
    if action.text("path").is_empty() {
        report.required(at.child("path"), "");
    }
    port_or_name(report, action.part("port"), at.child("port"));
    let scheme = action.text("scheme");
    if !["HTTP", "HTTPS"].contains(&scheme) {
        report.not_supported(at.child("scheme"), scheme, &["HTTP", "HTTPS"]);
    }
    for header in action.list("httpHeaders") {
        let name = header.text("name");
        report.problems(at.child("httpHeaders"), name, rules::http_header_name(name));
    }
}

/// A port by number or by name.
pub(crate) fn port_or_name(report: &mut Report, port: Option<&Value>, at: Path<'_>) {
    match port {
        Some(Value::String(name)) => report.problems(at, name, rules::port_name(name)),
        port => {
            let number = port.and_then(Value::as_i64).unwrap_or(0);
            report.int_problems(at, number, rules::port_number(number));
        }
    }
}

fn restart_policy(report: &mut Report, container: &Fields<'_>, at: Path<'_>) {
    let rules_list = container.list("restartPolicyRules");
    match container.string("restartPolicy") {
        None if rules_list.is_empty() => return,
        None => report.required(
            at.child("restartPolicy"),
            "must specify restartPolicy when restart rules are used",
        ),
        Some(policy) => {
            let supported = ["Always", "Never", "OnFailure"];
            if !supported.contains(&policy) {
                report.not_supported(at.child("restartPolicy"), policy, &supported);
            }
        }
    }
    let path = at.child("restartPolicyRules");
    if rules_list.len() > 20 {
        report
            .errors
            .push(FieldError::too_many(path, rules_list.len(), 20));
    }
    for (i, rule) in rules_list.iter().enumerate() {
        let at = path.index(i);
        let actions = ["Restart", "RestartAllContainers"];
        if !actions.contains(&rule.text("action")) {
            report.not_supported(at.child("action"), rule.text("action"), &actions);
        }
        let Some(codes) = rule.part("exitCodes") else {
            report.required(at.child("exitCodes"), "must be specified");
            continue;
        };
        let codes_at = at.child("exitCodes");
        if !["In", "NotIn"].contains(&codes.text("operator")) {
            report.not_supported(
                codes_at.child("operator"),
                codes.text("operator"),
                &["In", "NotIn"],
            );
        }
        if codes.list("values").len() > 255 {
            report.errors.push(FieldError::too_many(
                codes_at.child("values"),
                codes.list("values").len(),
                255,
            ));
        }
    }
}

fn resize_policy(report: &mut Report, container: &Fields<'_>, restart: &str, at: Path<'_>) {
    let mut seen = Names::default();
    for (i, policy) in container.list("resizePolicy").iter().enumerate() {
        let (name, action) = (policy.text("resourceName"), policy.text("restartPolicy"));
        if !seen.insert(name) {
            report.duplicate(at.index(i), name);
        }
        report.one_of(at, name, &["cpu", "memory"]);
        report.one_of(at, action, &["NotRequired", "RestartContainer"]);
        if restart == "Never" && action != "NotRequired" {
            report.invalid_str(
                at,
                action,
                "must be 'NotRequired' when pod `restartPolicy` is 'Never'",
            );
        }
    }
}

/// Ids, profiles and the like of a pod's or a container's security context.
pub(super) fn identity(report: &mut Report, context: &Value, at: Path<'_>) {
    for field in ["runAsUser", "runAsGroup"] {
        if let Some(id) = context.int(field) {
            report.int_problems(at.child(field), id, rules::unix_id(id));
        }
    }
}

pub(super) fn profiles(report: &mut Report, context: &Value, at: Path<'_>) {
    let kinds = ["Localhost", "RuntimeDefault", "Unconfined"];
    if let Some(seccomp) = context.part("seccompProfile") {
        let at = at.child("seccompProfile");
        match seccomp.text("type") {
            "" => report.required(
                at.child("type"),
                "type is required when seccompProfile is set",
            ),
            kind => report.one_of_if_set(at.child("type"), kind, &kinds),
        }
        match (seccomp.text("type"), seccomp.string("localhostProfile")) {
            ("Localhost", None) => {
                report.required(
                    at.child("localhostProfile"),
                    "must be set when seccomp type is Localhost",
                );
            }
            ("Localhost", Some(profile)) => {
                descending_path(report, profile, at.child("localhostProfile"))
            }
            (_, Some(_)) => {
                let detail = "can only be set when seccomp type is Localhost";
                report.invalid(at.child("localhostProfile"), seccomp, detail);
            }
            _ => {}
        }
    }
    if let Some(armor) = context.part("appArmorProfile") {
        let at = at.child("appArmorProfile");
        let here = at.child("localhostProfile");
        let profile = armor.string("localhostProfile");
        match armor.text("type") {
            "" => report.required(
                at.child("type"),
                "type is required when appArmorProfile is set",
            ),
            "Localhost" => match profile {
                None | Some("") => {
                    report.required(here, "must be set when AppArmor type is Localhost")
                }
                Some(p) if p.trim() != p => {
                    report.invalid_str(here, p, "must not be padded with whitespace")
                }
                Some(p) if p.len() > 4095 => report.errors.push(FieldError::too_long(here, 4095)),
                Some(_) => {}
            },
            "RuntimeDefault" | "Unconfined" => {
                if let Some(p) = profile {
                    report.invalid_str(here, p, "can only be set when AppArmor type is Localhost");
                }
            }
            other => report.not_supported(at.child("type"), other, &kinds),
        }
    }
}

fn security_context(report: &mut Report, context: &Value, host_users: bool, at: Path<'_>) {
    if let Some(options) = context.part("windowsOptions") {
        super::windows::options(report, options, at.child("windowsOptions"));
    }
    identity(report, context, at);
    let mount = context.string("procMount");
    report.one_of_pointer(at.child("procMount"), mount, &["Default", "Unmasked"]);
    if let Some(mount @ "Unmasked") = mount
        && host_users
    {
        report.invalid_str(
            at.child("procMount"),
            mount,
            "`hostUsers` must be false to use `Unmasked`",
        );
    }
    if context.part("allowPrivilegeEscalation") == Some(&Value::Bool(false)) {
        if context.flag("privileged") {
            let detail = "cannot set `allowPrivilegeEscalation` to false and `privileged` to true";
            report.invalid(at, context, detail);
        }
        let added = context.part("capabilities").unwrap_or(&NOTHING);
        if added.texts("add").any(|c| c == "CAP_SYS_ADMIN") {
            let detail = "cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` CAP_SYS_ADMIN";
            report.invalid(at, context, detail);
        }
    }
    profiles(report, context, at);
}

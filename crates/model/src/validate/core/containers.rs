//! Containers: kubernetes `pkg/apis/core/validation/validation.go`, `validateContainers` and below.

use super::env::{env, env_from};
use super::resources;
use super::volumes::{Volumes, descending_path};
use crate::field::{FieldError, Path};
use crate::validate::few::{Names, Table};
use crate::validate::read::{Given, Read, Report, fields};
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

fields! {
    Container {
        env: "env",
        env_from: "envFrom",
        image: "image",
        image_pull_policy: "imagePullPolicy",
        lifecycle: "lifecycle",
        liveness: "livenessProbe",
        name: "name",
        ports: "ports",
        readiness: "readinessProbe",
        resize_policy: "resizePolicy",
        resources: "resources",
        restart_policy: "restartPolicy",
        restart_rules: "restartPolicyRules",
        security_context: "securityContext",
        startup: "startupProbe",
        message_policy: "terminationMessagePolicy",
        devices: "volumeDevices",
        mounts: "volumeMounts",
    }
}

fields! {
    Port {
        container_port: "containerPort",
        host_port: "hostPort",
        name: "name",
        protocol: "protocol",
    }
}

fields! {
    Mount {
        path: "mountPath",
        propagation: "mountPropagation",
        name: "name",
        read_only: "readOnly",
        recursive: "recursiveReadOnly",
        sub: "subPath",
        expression: "subPathExpr",
    }
}

fields! {
    Probe {
        exec: "exec",
        failures: "failureThreshold",
        grpc: "grpc",
        http: "httpGet",
        delay: "initialDelaySeconds",
        period: "periodSeconds",
        successes: "successThreshold",
        tcp: "tcpSocket",
        grace: "terminationGracePeriodSeconds",
        timeout: "timeoutSeconds",
    }
}

fields! {
    Hook {
        exec: "exec",
        http: "httpGet",
        sleep: "sleep",
        tcp: "tcpSocket",
    }
}

fields! {
    HttpGet {
        headers: "httpHeaders",
        path: "path",
        port: "port",
        scheme: "scheme",
    }
}

fields! {
    SecurityContext {
        escalation: "allowPrivilegeEscalation",
        app_armor: "appArmorProfile",
        capabilities: "capabilities",
        privileged: "privileged",
        proc_mount: "procMount",
        group: "runAsGroup",
        user: "runAsUser",
        seccomp: "seccompProfile",
        windows: "windowsOptions",
    }
}

const PROTOCOLS: [&str; 3] = ["SCTP", "TCP", "UDP"];

pub(super) fn containers(report: &mut Report, list: &[Value], pod: &Pod<'_>, path: Path<'_>) {
    if list.is_empty() {
        report.required(path, "");
        return;
    }
    let mut names = Names::of(list.len());
    let mut has_host_ports = false;
    for (i, given) in list.iter().enumerate() {
        let container = &Container::of(given);
        let at = path.index(i);
        has_host_ports |= common(report, container, pod, at);
        let name = container.name.as_text();
        if !names.insert(name) {
            report.duplicate(at.child("name"), name);
        }
        if let Some(lifecycle) = container.lifecycle.given() {
            self::lifecycle(report, lifecycle, pod, at.child("lifecycle"));
        }
        probes(report, container, pod.grace, at);
        restart_policy(report, container, at);
    }
    if has_host_ports {
        host_ports(report, list, path);
    }
}

pub(super) fn init_containers(
    report: &mut Report,
    list: &[Value],
    regular: &[Value],
    pod: &Pod<'_>,
    path: Path<'_>,
) {
    if list.is_empty() {
        return;
    }
    let mut names: Names<'_> = regular.iter().map(|c| c.text("name")).collect();
    for (i, given) in list.iter().enumerate() {
        let container = &Container::of(given);
        let at = path.index(i);
        let has_host_ports = common(report, container, pod, at);
        match container.restart_policy.as_str() {
            None if !container.restart_rules.as_list().is_empty() => {
                let detail = "must specify restartPolicy when restart rules are used";
                report.required(at.child("restartPolicy"), detail);
            }
            None => {}
            Some(_) => restart_policy(report, container, at),
        }
        let sidecar = container.restart_policy.as_text() == "Always";
        let name = container.name.as_text();
        if names.contains(name) {
            report.duplicate(at.child("name"), name);
        } else if !name.is_empty() {
            names.insert(name);
        }
        if has_host_ports {
            host_ports(report, std::slice::from_ref(given), path);
        }
        if sidecar {
            if let Some(lifecycle) = container.lifecycle.given() {
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
                if given.has(field) {
                    let detail = "may not be set for init containers without restartPolicy=Always";
                    report.forbidden(at.child(field), detail);
                }
            }
            for (j, policy) in container.resize_policy.as_list().iter().enumerate() {
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
        let container = &Container::of(given);
        let at = path.index(i);
        common(report, container, pod, at);
        image_padding(report, given, at);
        let name = container.name.as_text();
        if !names.insert(name) {
            report.duplicate(at.child("name"), name);
        }
        let target = given.text("targetContainerName");
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
            if given
                .part(field)
                .is_some_and(|v| v.as_array().is_none_or(|a| !a.is_empty()))
            {
                report.forbidden(at.child(field), why);
            }
        }
        let resources = container.resources.as_object();
        if resources.is_some_and(|m| !m.is_empty()) {
            report.forbidden(at.child("resources"), why);
        }
        let mounts = at.child("volumeMounts");
        for (j, mount) in container.mounts.as_list().iter().enumerate() {
            for field in ["subPath", "subPathExpr"] {
                if !mount.text(field).is_empty() {
                    report.forbidden(mounts.index(j).child(field), why);
                }
            }
        }
    }
}

/// Only pods are held to this, templates are not.
pub(super) fn image_padding(report: &mut Report, container: &Value, at: Path<'_>) {
    let image = container.text("image");
    if image.trim().len() != image.len() {
        report.invalid_str(
            at.child("image"),
            image,
            "must not have leading or trailing whitespace",
        );
    }
}

/// Whether there are ports of the host to be looked at.
fn common(report: &mut Report, container: &Container<'_>, pod: &Pod<'_>, at: Path<'_>) -> bool {
    let name = container.name.as_text();
    report.required_name(at.child("name"), name, rules::dns1123_label);
    if container.image.as_text().is_empty() {
        report.required(at.child("image"), "");
    }
    let policies = ["File", "FallbackToLogsOnError"];
    report.one_of(
        at.child("terminationMessagePolicy"),
        container.message_policy.as_text(),
        &policies,
    );
    let has_host_ports = ports(report, container.ports.as_list(), at.child("ports"));
    env(report, container.env.as_list(), pod, at.child("env"));
    env_from(report, container.env_from.as_list(), at.child("envFrom"));
    volume_mounts(report, container, &pod.volumes, at.child("volumeMounts"));
    volume_devices(report, container, &pod.volumes, at.child("volumeDevices"));
    report.one_of(
        at.child("imagePullPolicy"),
        container.image_pull_policy.as_text(),
        &["Always", "IfNotPresent", "Never"],
    );
    let resources_at = at.child("resources");
    let given = container.resources;
    resources::of_container(report, given, resources_at);
    resources::claims(report, given, &pod.claims, resources_at.child("claims"));
    resize_policy(
        report,
        container.resize_policy.as_list(),
        pod.restart_policy,
        at.child("resizePolicy"),
    );
    if let Some(context) = container.security_context.given() {
        security_context(report, context, pod.host_users, at.child("securityContext"));
    }
    has_host_ports
}

/// Whether some are ports of the host, too.
fn ports(report: &mut Report, list: &[Value], path: Path<'_>) -> bool {
    let mut has_host_ports = false;
    let mut names = Names::of(list.len());
    for (i, given) in list.iter().enumerate() {
        let (at, port) = (path.index(i), Port::of(given));
        let name = port.name.as_text();
        if !name.is_empty() {
            let problems = rules::port_name(name);
            if problems.is_empty() && !names.insert(name) {
                report.duplicate(at.child("name"), name);
            }
            report.problems(at.child("name"), name, problems);
        }
        match port.container_port.as_i64().unwrap_or(0) {
            0 => report.required(at.child("containerPort"), ""),
            number => report.int_problems(
                at.child("containerPort"),
                number,
                rules::port_number(number),
            ),
        }
        let host_port = port.host_port.as_i64().unwrap_or(0);
        if host_port != 0 {
            has_host_ports = true;
            report.int_problems(
                at.child("hostPort"),
                host_port,
                rules::port_number(host_port),
            );
        }
        report.one_of(at.child("protocol"), port.protocol.as_text(), &PROTOCOLS);
    }
    has_host_ports
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

fn volume_mounts(
    report: &mut Report,
    container: &Container<'_>,
    volumes: &Volumes<'_>,
    path: Path<'_>,
) {
    let list = container.mounts.as_list();
    if list.is_empty() {
        return;
    }
    let devices: Table<'_, &str> = container
        .devices
        .as_list()
        .iter()
        .map(|d| (d.text("name"), d.text("devicePath")))
        .collect();
    let mut points = Names::of(list.len());
    for (i, given) in list.iter().enumerate() {
        let (at, mount) = (path.index(i), &Mount::of(given));
        let (name, target) = (mount.name.as_text(), mount.path.as_text());
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
        let (sub, expression) = (mount.sub.as_text(), mount.expression.as_text());
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

fn propagation(report: &mut Report, mount: &Mount<'_>, container: &Container<'_>, path: Path<'_>) {
    if let Some(propagation) = mount.propagation.as_str() {
        let at = path.child("mountPropagation");
        let supported = ["Bidirectional", "HostToContainer", "None"];
        if !supported.contains(&propagation) {
            report.not_supported(at, propagation, &supported);
        }
        let privileged = container.security_context.flag("privileged");
        if propagation == "Bidirectional" && !privileged {
            report.forbidden(
                at,
                "Bidirectional mount propagation is available only to privileged containers",
            );
        }
    }
    if let Some(recursive) = mount.recursive.as_str() {
        let at = path.child("recursiveReadOnly");
        match recursive {
            "Disabled" => {}
            "Enabled" | "IfPossible" => {
                if !mount.read_only.is_on() {
                    report.forbidden(at, "may only be specified when readOnly is true");
                }
                if !matches!(mount.propagation.as_text(), "" | "None") {
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
    container: &Container<'_>,
    volumes: &Volumes<'_>,
    path: Path<'_>,
) {
    if container.devices.as_list().is_empty() {
        return;
    }
    let mounts: Table<'_, &str> = container
        .mounts
        .as_list()
        .iter()
        .map(|m| (m.text("name"), m.text("mountPath")))
        .collect();
    let (mut names, mut paths) = (Names::default(), Names::default());
    for (i, device) in container.devices.as_list().iter().enumerate() {
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

fn probes(report: &mut Report, container: &Container<'_>, grace: Option<i64>, at: Path<'_>) {
    for (kind, given) in [
        ("livenessProbe", container.liveness),
        ("readinessProbe", container.readiness),
        ("startupProbe", container.startup),
    ] {
        if let Some(given) = given.given() {
            probe(report, kind, &Probe::of(given), grace, at.child(kind));
        }
    }
}

fn probe(report: &mut Report, kind: &str, probe: &Probe<'_>, grace: Option<i64>, at: Path<'_>) {
    let actions = [
        ("exec", probe.exec),
        ("httpGet", probe.http),
        ("tcpSocket", probe.tcp),
        ("grpc", probe.grpc),
    ];
    handler(report, actions, grace, at);
    let threshold = probe.successes.as_i64().unwrap_or(0);
    for (field, number) in [
        ("initialDelaySeconds", probe.delay),
        ("timeoutSeconds", probe.timeout),
        ("periodSeconds", probe.period),
        ("successThreshold", probe.successes),
        ("failureThreshold", probe.failures),
    ] {
        report.non_negative(at.child(field), number.as_i64().unwrap_or(0));
    }
    let only_once = kind != "readinessProbe";
    if let Some(seconds) = probe.grace.as_i64() {
        let here = at.child("terminationGracePeriodSeconds");
        if seconds <= 0 {
            report.invalid_int(here, seconds, "must be greater than 0");
        }
        if !only_once {
            report.invalid_int(here, seconds, "must not be set for readinessProbes");
        }
    }
    if only_once && threshold != 1 {
        report.invalid_int(at.child("successThreshold"), threshold, "must be 1");
    }
}

fn lifecycle(report: &mut Report, lifecycle: &Value, pod: &Pod<'_>, at: Path<'_>) {
    for kind in ["postStart", "preStop"] {
        if let Some(given) = lifecycle.part(kind) {
            let hook = Hook::of(given);
            let actions = [
                ("exec", hook.exec),
                ("httpGet", hook.http),
                ("tcpSocket", hook.tcp),
                ("sleep", hook.sleep),
            ];
            handler(report, actions, pod.grace, at.child(kind));
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
    actions: [(&'static str, &Value); 4],
    grace: Option<i64>,
    path: Path<'_>,
) {
    let mut found = false;
    for (kind, action) in actions {
        let Some(action) = action.given() else {
            continue;
        };
        let at = path.child(kind);
        if found {
            report.forbidden(at, "may not specify more than 1 handler type");
            continue;
        }
        found = true;
        match kind {
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
    let action = HttpGet::of(action);
    if action.path.as_text().is_empty() {
        report.required(at.child("path"), "");
    }
    port_or_name(report, action.port.given(), at.child("port"));
    let scheme = action.scheme.as_text();
    if !["HTTP", "HTTPS"].contains(&scheme) {
        report.not_supported(at.child("scheme"), scheme, &["HTTP", "HTTPS"]);
    }
    for header in action.headers.as_list() {
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

fn restart_policy(report: &mut Report, container: &Container<'_>, at: Path<'_>) {
    let rules_list = container.restart_rules.as_list();
    match container.restart_policy.as_str() {
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

fn resize_policy(report: &mut Report, list: &[Value], restart: &str, at: Path<'_>) {
    if list.is_empty() {
        return;
    }
    let mut seen = Names::of(list.len());
    for (i, policy) in list.iter().enumerate() {
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

/// Ids of a pod's or a container's security context.
pub(super) fn identity(report: &mut Report, user: &Value, group: &Value, at: Path<'_>) {
    for (field, id) in [("runAsUser", user), ("runAsGroup", group)] {
        if let Some(id) = id.as_i64() {
            report.int_problems(at.child(field), id, rules::unix_id(id));
        }
    }
}

pub(super) fn profiles(report: &mut Report, seccomp: &Value, app_armor: &Value, at: Path<'_>) {
    let kinds = ["Localhost", "RuntimeDefault", "Unconfined"];
    if let Some(seccomp) = seccomp.given() {
        let at = at.child("seccompProfile");
        let kind = seccomp.text("type");
        match kind {
            "" => report.required(
                at.child("type"),
                "type is required when seccompProfile is set",
            ),
            kind => report.one_of_if_set(at.child("type"), kind, &kinds),
        }
        match (kind, seccomp.string("localhostProfile")) {
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
    if let Some(armor) = app_armor.given() {
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

fn security_context(report: &mut Report, given: &Value, host_users: bool, at: Path<'_>) {
    let context = SecurityContext::of(given);
    if let Some(options) = context.windows.given() {
        super::windows::options(report, options, at.child("windowsOptions"));
    }
    identity(report, context.user, context.group, at);
    let mount = context.proc_mount.as_str();
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
    if *context.escalation == Value::Bool(false) {
        if context.privileged.is_on() {
            let detail = "cannot set `allowPrivilegeEscalation` to false and `privileged` to true";
            report.invalid(at, given, detail);
        }
        let added = context.capabilities;
        if added.texts("add").any(|c| c == "CAP_SYS_ADMIN") {
            let detail = "cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` CAP_SYS_ADMIN";
            report.invalid(at, given, detail);
        }
    }
    profiles(report, context.seccomp, context.app_armor, at);
}

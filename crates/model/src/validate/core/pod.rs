//! Pods and pod templates: kubernetes `pkg/apis/core/validation/validation.go`, `ValidatePodSpec`.

use super::profile_notes::{self, APPARMOR_OF as APPARMOR};
use super::{containers, resources, scheduling, volumes};
use crate::field::{FieldError, Path};
use crate::meta;
use crate::validate::net;
use crate::validate::read::{Fields, Given, NOTHING, Read, Report, fields, same};
use crate::{Value, rules};
use std::cell::Cell;
use std::collections::BTreeSet;

pub(crate) fn create(report: &mut Report, pod: &Value) {
    let root = Path::root("spec");
    let spec = pod.part("spec").unwrap_or(&NOTHING);
    pod_and_spec(report, pod);
    if !spec.list("ephemeralContainers").is_empty() {
        report.forbidden(root.child("ephemeralContainers"), "cannot be set on create");
    }
    if !spec.text("nodeName").is_empty() && !spec.list("schedulingGates").is_empty() {
        report.forbidden(
            root.child("nodeName"),
            "cannot be set until all schedulingGates have been cleared",
        );
    }
    profile_notes::fit(report, notes(pod), spec, root);
}

fn notes(pod: &Value) -> &Value {
    let meta = pod.part("metadata").unwrap_or(&NOTHING);
    meta.part("annotations").unwrap_or(&NOTHING)
}

pub(super) fn pod_and_spec(report: &mut Report, pod: &Value) {
    let root = Path::root("spec");
    let meta = pod.part("metadata").unwrap_or(&NOTHING);
    let spec = pod.part("spec").unwrap_or(&NOTHING);
    annotations(
        report,
        meta,
        spec,
        Path::root("metadata").child("annotations"),
    );
    self::spec(report, spec, meta.text("name"), true, root);
    if spec.text("serviceAccountName").is_empty() {
        token_volumes(report, spec, root);
    }
    for kind in ["containers", "initContainers"] {
        for (i, container) in spec.list(kind).iter().enumerate() {
            containers::image_padding(report, container, root.child(kind).index(i));
        }
    }
}

fn token_volumes(report: &mut Report, spec: &Value, root: Path<'_>) {
    for (i, volume) in spec.list("volumes").iter().enumerate() {
        let Some(projected) = volume.part("projected") else {
            continue;
        };
        for (j, source) in projected.list("sources").iter().enumerate() {
            if source.has("serviceAccountToken") {
                let list = root.child("volumes");
                let volume = list.index(i);
                let projected = volume.child("projected");
                let sources = projected.child("sources");
                let at = sources.index(j);
                report.forbidden(
                    at.child("serviceAccountToken"),
                    "must not be specified when serviceAccountName is not set",
                );
            }
        }
    }
}

/// Annotations that mean something to pods.
pub(crate) fn annotations(report: &mut Report, meta: &Value, spec: &Value, at: Path<'_>) {
    let annotations = meta.part("annotations").unwrap_or(&NOTHING);
    if let Some(value) = annotations.string("kubernetes.io/config.mirror")
        && spec.text("nodeName").is_empty()
    {
        let detail = "must set spec.nodeName if mirror pod annotation is set";
        report.invalid_str(at.key("kubernetes.io/config.mirror"), value, detail);
    }
    let cost = "controller.kubernetes.io/pod-deletion-cost";
    if let Some(value) = annotations.string(cost)
        && (value.starts_with('+')
            || value.len() > 1 && value.starts_with('0')
            || value.parse::<i32>().is_err())
    {
        report.invalid_str(at.key(cost), value, "must be a 32bit integer");
    }
    profile_notes::check(report, annotations, spec, at);
}

const MIRROR: &str = "kubernetes.io/config.mirror";

fn entries(notes: &Value) -> impl Iterator<Item = (&str, &Value)> {
    notes.as_object().into_iter().flat_map(crate::Map::iter)
}

/// What an update may not do to those annotations.
pub(in crate::validate) fn annotations_update(report: &mut Report, new: &Value, old: &Value) {
    let root = Path::root("metadata");
    let path = root.child("annotations");
    let (now, before) = (notes(new), notes(old));
    for (key, value) in entries(before) {
        if now.get(key) == Some(value) {
            continue;
        }
        if key.starts_with(APPARMOR) {
            report.forbidden(
                path.key(key),
                "may not remove or update AppArmor annotations",
            );
        }
        if key == MIRROR {
            report.forbidden(
                path.key(key),
                "may not remove or update mirror pod annotation",
            );
        }
    }
    for (key, _) in entries(now).filter(|(key, _)| before.get(key).is_none()) {
        if key.starts_with(APPARMOR) {
            report.forbidden(path.key(key), "may not add AppArmor annotations");
        }
        if key == MIRROR {
            report.forbidden(path.key(key), "may not add mirror pod annotation");
        }
    }
    let meta = new.part("metadata").unwrap_or(&NOTHING);
    annotations(report, meta, new.part("spec").unwrap_or(&NOTHING), path);
}

/// `metadata` and `spec` of a template.
pub(crate) fn template(report: &mut Report, template: &Value, path: Path<'_>) {
    template_metadata(report, template, path);
    let spec = template.part("spec").unwrap_or(&NOTHING);
    self::spec(report, spec, "", false, path.child("spec"));
    profile_notes::fit(report, notes(template), spec, path.child("spec"));
    if !spec.list("ephemeralContainers").is_empty() {
        let at = path.child("spec");
        report.forbidden(
            at.child("ephemeralContainers"),
            "ephemeral containers not allowed in pod template",
        );
    }
}

pub(crate) fn template_metadata(report: &mut Report, template: &Value, path: Path<'_>) {
    let meta = template.part("metadata").unwrap_or(&NOTHING);
    let spec = template.part("spec").unwrap_or(&NOTHING);
    meta::check_labels(
        meta.part("labels"),
        &path.child("labels"),
        &mut report.errors,
    );
    meta::check_annotations(
        meta.part("annotations"),
        &path.child("annotations"),
        &mut report.errors,
    );
    annotations(report, meta, spec, path.child("annotations"));
}

/// What containers need to know of their pod.
fn context<'a>(
    report: &mut Report,
    spec: &'a Fields<'_>,
    pod_name: Option<&str>,
    path: Path<'_>,
) -> containers::Pod<'a> {
    containers::Pod {
        volumes: volumes::volumes(
            report,
            spec.list("volumes"),
            pod_name,
            path.child("volumes"),
        ),
        claims: spec
            .list("resourceClaims")
            .iter()
            .map(|c| c.text("name"))
            .filter(|name| !name.is_empty())
            .collect::<BTreeSet<_>>()
            .into_iter()
            .collect(),
        grace: spec.int("terminationGracePeriodSeconds"),
        restart_policy: spec.text("restartPolicy"),
        host_users: spec.part("hostUsers") != Some(&Value::Bool(false)),
        os: spec.part("os").unwrap_or(&NOTHING).text("name"),
        reads_files: Cell::new(false),
    }
}

fn spec(report: &mut Report, given: &Value, pod_name: &str, is_pod: bool, path: Path<'_>) {
    let spec = &Fields::of(given);
    if !spec.has("terminationGracePeriodSeconds") {
        report.required(path.child("terminationGracePeriodSeconds"), "");
    }
    let pod = context(report, spec, is_pod.then_some(pod_name), path);
    resource_claims(report, spec, path.child("resourceClaims"));
    let regular = spec.list("containers");
    containers::containers(report, regular, &pod, path.child("containers"));
    containers::init_containers(
        report,
        spec.list("initContainers"),
        regular,
        &pod,
        path.child("initContainers"),
    );
    let ephemeral = spec.list("ephemeralContainers");
    containers::ephemeral_containers(
        report,
        ephemeral,
        given,
        &pod,
        path.child("ephemeralContainers"),
    );
    resources::of_pod(report, given, &pod.claims, path.child("resources"));
    host_network(report, spec, is_pod, path);
    report.one_of(
        path.child("restartPolicy"),
        spec.text("restartPolicy"),
        &["Always", "OnFailure", "Never"],
    );
    let policies = ["ClusterFirstWithHostNet", "ClusterFirst", "Default", "None"];
    report.one_of(path.child("dnsPolicy"), spec.text("dnsPolicy"), &policies);
    meta::check_labels(
        spec.part("nodeSelector"),
        &path.child("nodeSelector"),
        &mut report.errors,
    );
    if let Some(context) = spec.part("securityContext") {
        security_context(report, context, spec, path.child("securityContext"));
    }
    if let Some(affinity) = spec.part("affinity") {
        scheduling::affinity(report, affinity, path.child("affinity"));
    }
    dns(report, spec, path.child("dnsConfig"));
    gates(report, spec, path);
    let constraints = spec.list("topologySpreadConstraints");
    scheduling::spreading(report, constraints, path.child("topologySpreadConstraints"));
    host_users(report, spec, path);
    super::windows::host_process(report, spec, path);
    if pod.reads_files.get() {
        file_keys(report, spec, path);
    }
    names(report, spec, path);
    scheduling::tolerations(report, spec.list("tolerations"), path.child("tolerations"));
    host_aliases(report, spec, path.child("hostAliases"));
    classes(report, spec, path);
}

fn resource_claims(report: &mut Report, spec: &Fields<'_>, path: Path<'_>) {
    let mut names: Vec<&str> = Vec::new();
    for (i, claim) in spec.list("resourceClaims").iter().enumerate() {
        let at = path.index(i);
        let name = claim.text("name");
        if name.is_empty() {
            report.required(at.child("name"), "");
        } else if names.contains(&name) {
            report.duplicate(at.child("name"), name);
        } else {
            report.problems(at.child("name"), name, rules::dns1123_label(name));
            names.push(name);
        }
        match (
            claim.has("resourceClaimName"),
            claim.has("resourceClaimTemplateName"),
        ) {
            (true, true) => {
                let detail = "at most one of `resourceClaimName` or `resourceClaimTemplateName` may be specified";
                report.invalid(at, claim, detail);
            }
            (false, false) => {
                report.invalid(
                    at,
                    claim,
                    "must specify one of: `resourceClaimName`, `resourceClaimTemplateName`",
                );
            }
            _ => {}
        }
        for field in ["resourceClaimName", "resourceClaimTemplateName"] {
            if let Some(name) = claim.string(field) {
                report.problems(at.child(field), name, rules::dns1123_subdomain(name));
            }
        }
    }
}

/// Variables out of files refer to volumes of the pod.
fn file_keys(report: &mut Report, spec: &Fields<'_>, path: Path<'_>) {
    for field in ["initContainers", "containers", "ephemeralContainers"] {
        let list = path.child(field);
        for (i, container) in spec.list(field).iter().enumerate() {
            let item = list.index(i);
            let env = item.child("env");
            for (j, var) in container.list("env").iter().enumerate() {
                let Some(key) = var.part("valueFrom").and_then(|f| f.part("fileKeyRef")) else {
                    continue;
                };
                let (at, name) = (env.index(j), key.text("volumeName"));
                let from = at.child("valueFrom");
                let reference = from.child("fileKeyRef");
                let at = reference.child("volumeName");
                match spec
                    .list("volumes")
                    .iter()
                    .rfind(|v| v.text("name") == name)
                {
                    None => {
                        let error = FieldError::not_found(at, &name.into());
                        report.errors.push(error);
                    }
                    Some(volume) if !volume.has("emptyDir") => {
                        report.invalid_str(at, name, "referenced volume must be of type emptyDir");
                    }
                    Some(_) => {}
                }
            }
        }
    }
}

fn host_network(report: &mut Report, spec: &Fields<'_>, is_pod: bool, path: Path<'_>) {
    if !spec.flag("hostNetwork") {
        return;
    }
    let list = path.child("containers");
    for (i, container) in spec.list("containers").iter().enumerate() {
        let container_at = list.index(i);
        let ports = container_at.child("ports");
        for (j, port) in container.list("ports").iter().enumerate() {
            let (host, inner) = (port.number("hostPort"), port.number("containerPort"));
            if (is_pod || host != 0) && host != inner {
                let detail = "must match `containerPort` when `hostNetwork` is true";
                report.invalid_int(ports.index(j).child("hostPort"), host, detail);
            }
        }
    }
}

fields! {
    SecurityContext {
        app_armor: "appArmorProfile",
        fs_group: "fsGroup",
        fs_group_policy: "fsGroupChangePolicy",
        group: "runAsGroup",
        user: "runAsUser",
        se_linux_policy: "seLinuxChangePolicy",
        seccomp: "seccompProfile",
        groups: "supplementalGroups",
        groups_policy: "supplementalGroupsPolicy",
        sysctls: "sysctls",
        windows: "windowsOptions",
    }
}

fn security_context(report: &mut Report, given: &Value, spec: &Fields<'_>, at: Path<'_>) {
    let context = SecurityContext::of(given);
    if let Some(group) = context.fs_group.as_i64() {
        report.int_problems(at.child("fsGroup"), group, rules::unix_id(group));
    }
    containers::identity(report, context.user, context.group, at);
    let groups = at.child("supplementalGroups");
    for (i, group) in context.groups.as_list().iter().enumerate() {
        let group = group.as_i64().unwrap_or(0);
        report.int_problems(groups.index(i), group, rules::unix_id(group));
    }
    if spec.flag("shareProcessNamespace") && spec.flag("hostPID") {
        let detail = "ShareProcessNamespace and HostPID cannot both be enabled";
        report.invalid(
            at.child("shareProcessNamespace"),
            &Value::Bool(true),
            detail,
        );
    }
    sysctls(report, context.sysctls.as_list(), spec, at.child("sysctls"));
    for (field, policy, supported) in [
        (
            "fsGroupChangePolicy",
            context.fs_group_policy,
            ["Always", "OnRootMismatch"],
        ),
        (
            "supplementalGroupsPolicy",
            context.groups_policy,
            ["Merge", "Strict"],
        ),
    ] {
        report.one_of_pointer(at.child(field), policy.as_str(), &supported);
    }
    // The other value needs a feature that is off by default.
    let policy = context.se_linux_policy.as_str();
    report.one_of_pointer(at.child("seLinuxChangePolicy"), policy, &["Recursive"]);
    if let Some(options) = context.windows.given() {
        super::windows::options(report, options, at.child("windowsOptions"));
    }
    containers::profiles(report, context.seccomp, context.app_armor, at);
}

fn is_sysctl(name: &str) -> bool {
    let part = |p: &str| {
        let ends = |b: Option<&u8>| b.is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
        let b = p.as_bytes();
        ends(b.first())
            && ends(b.last())
            && b.iter()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'_'))
    };
    name.len() <= 253 && name.split(['.', '/']).all(part)
}

fn sysctls(report: &mut Report, list: &[Value], spec: &Fields<'_>, path: Path<'_>) {
    let mut seen: Vec<&str> = Vec::new();
    for (i, sysctl) in list.iter().enumerate() {
        let at = path.index(i);
        let name = sysctl.text("name");
        if name.is_empty() {
            report.required(at.child("name"), "");
        } else if !is_sysctl(name) {
            let detail = "must have at most 253 characters and match regex ^([a-z0-9]([-_a-z0-9]*[a-z0-9])?[\\./])*[a-z0-9]([-_a-z0-9]*[a-z0-9])?$";
            report.invalid_str(at.child("name"), name, detail);
        } else if seen.contains(&name) {
            report.duplicate(at.child("name"), name);
        }
        let dotted = name.replace('/', ".");
        if spec.flag("hostNetwork") && dotted.starts_with("net.") {
            report.invalid_str(
                at.child("name"),
                name,
                "may not be specified when 'hostNetwork' is true",
            );
        }
        let ipc = dotted.starts_with("kernel.shm")
            || dotted.starts_with("kernel.msg")
            || dotted.starts_with("fs.mqueue.")
            || dotted == "kernel.sem";
        if spec.flag("hostIPC") && ipc {
            report.invalid_str(
                at.child("name"),
                name,
                "may not be specified when 'hostIPC' is true",
            );
        }
        seen.push(name);
    }
}

fn dns(report: &mut Report, spec: &Fields<'_>, at: Path<'_>) {
    let config = spec.part("dnsConfig");
    if spec.text("dnsPolicy") == "None" {
        let Some(config) = config else {
            report.required(at, "must provide `dnsConfig` when `dnsPolicy` is None");
            return;
        };
        if config.list("nameservers").is_empty() {
            let detail = "must provide at least one DNS nameserver when `dnsPolicy` is None";
            report.required(at.child("nameservers"), detail);
            return;
        }
    }
    let Some(config) = config else { return };
    let given = |key| config.part(key).unwrap_or(&NOTHING);
    if config.list("nameservers").len() > 3 {
        report.invalid(
            at.child("nameservers"),
            given("nameservers"),
            "must not have more than 3 nameservers",
        );
    }
    for (i, server) in config.texts("nameservers").enumerate() {
        net::ip(report, at.child("nameservers").index(i), server, &[]);
    }
    if config.list("searches").len() > 32 {
        report.invalid(
            at.child("searches"),
            given("searches"),
            "must not have more than 32 search paths",
        );
    }
    let chars: usize = config
        .texts("searches")
        .map(|s| s.len() + 1)
        .sum::<usize>()
        .saturating_sub(1);
    if chars > 2048 {
        let detail =
            "must not have more than 2048 characters (including spaces) in the search list";
        report.invalid(at.child("searches"), given("searches"), detail);
    }
    for (i, search) in config.texts("searches").enumerate() {
        if search != "." {
            let search = search.strip_suffix('.').unwrap_or(search);
            let problems = rules::dns1123_subdomain_with_underscore(search);
            report.problems(at.child("searches").index(i), search, problems);
        }
    }
    for (i, option) in config.list("options").iter().enumerate() {
        if option.text("name").is_empty() {
            report.required(at.child("options").index(i), "must not be empty");
        }
    }
}

fn gates(report: &mut Report, spec: &Fields<'_>, path: Path<'_>) {
    let readiness = path.child("readinessGates");
    for (i, gate) in spec.list("readinessGates").iter().enumerate() {
        let condition = gate.text("conditionType");
        report.problems(
            readiness.index(i).child("conditionType"),
            condition,
            rules::qualified_name(condition),
        );
    }
    let scheduling = path.child("schedulingGates");
    let mut seen: Vec<&str> = Vec::new();
    for (i, gate) in spec.list("schedulingGates").iter().enumerate() {
        let name = gate.text("name");
        report.problems(scheduling.index(i), name, rules::qualified_name(name));
        if seen.contains(&name) {
            report.duplicate(scheduling.index(i), name);
        }
        seen.push(name);
    }
}

fn host_users(report: &mut Report, spec: &Fields<'_>, path: Path<'_>) {
    if spec.part("hostUsers") != Some(&Value::Bool(false)) {
        return;
    }
    for (field, shown) in [
        ("hostNetwork", "hostNetwork"),
        ("hostPID", "HostPID"),
        ("hostIPC", "HostIPC"),
    ] {
        if spec.flag(field) {
            report.forbidden(path.child(shown), "when `hostUsers` is false");
        }
    }
    for field in ["initContainers", "containers", "ephemeralContainers"] {
        let list = path.child(field);
        for (i, container) in spec.list(field).iter().enumerate() {
            if !container.list("volumeDevices").is_empty() {
                let item = list.index(i);
                report.forbidden(item.child("volumeDevices"), "when `hostUsers` is false");
            }
        }
    }
}

fn names(report: &mut Report, spec: &Fields<'_>, path: Path<'_>) {
    if let Some(hostname) = spec.string("hostnameOverride") {
        let at = path.child("hostnameOverride");
        if spec.flag("setHostnameAsFQDN") {
            report.forbidden(at, "may not be specified when setHostnameAsFQDN is true");
        }
        if spec.flag("hostNetwork") {
            report.forbidden(at, "may not be specified when hostNetwork is true");
        }
        if hostname.len() > 64 {
            report.errors.push(FieldError::too_long(at, 64));
        }
        report.problems(at, hostname, rules::dns1123_subdomain(hostname));
    }
    for field in ["serviceAccountName", "nodeName"] {
        let name = spec.text(field);
        if !name.is_empty() {
            report.problems(path.child(field), name, rules::dns1123_subdomain(name));
        }
    }
    if let Some(seconds) = spec.int("activeDeadlineSeconds") {
        let problems = rules::in_range(seconds, 1, i32::MAX.into());
        report.int_problems(path.child("activeDeadlineSeconds"), seconds, problems);
    }
    for field in ["hostname", "subdomain"] {
        let name = spec.text(field);
        if !name.is_empty() {
            report.problems(path.child(field), name, rules::dns1123_label(name));
        }
    }
}

fn host_aliases(report: &mut Report, spec: &Fields<'_>, path: Path<'_>) {
    for (i, alias) in spec.list("hostAliases").iter().enumerate() {
        let at = path.index(i);
        net::ip(report, at.child("ip"), alias.text("ip"), &[]);
        for (j, name) in alias.texts("hostnames").enumerate() {
            report.problems(
                at.child("hostnames").index(j),
                name,
                rules::dns1123_subdomain(name),
            );
        }
    }
}

fn classes(report: &mut Report, spec: &Fields<'_>, path: Path<'_>) {
    let priority = spec.text("priorityClassName");
    if !priority.is_empty() {
        report.problems(
            path.child("priorityClassName"),
            priority,
            rules::dns1123_subdomain(priority),
        );
    }
    if let Some(class) = spec.string("runtimeClassName") {
        report.problems(
            path.child("runtimeClassName"),
            class,
            rules::dns1123_subdomain(class),
        );
    }
    if let Some(policy) = spec.string("preemptionPolicy") {
        report.one_of(
            path.child("preemptionPolicy"),
            policy,
            &["PreemptLowerPriority", "Never"],
        );
    }
    if let Some(overhead) = spec.part("overhead") {
        let mut limits = Value::object();
        limits.set(&["limits"], overhead.clone());
        resources::of_container(report, &limits, path.child("overhead"));
    }
    if let Some(os) = spec.part("os") {
        let at = path.child("os");
        match os.text("name") {
            "" => report.required(at.child("name"), ""),
            "linux" => super::windows::on_linux(report, spec, path),
            "windows" => super::windows::on_windows(report, spec, path),
            name => report.one_of_if_set(at, name, &["linux", "windows"]),
        }
    }
}

const UPDATABLE: &str = "`spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,\
`spec.tolerations` (only additions to existing tolerations),\
`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)";

pub(crate) fn update(report: &mut Report, new: &Value, old: &Value) {
    let (spec, before) = (
        new.part("spec").unwrap_or(&NOTHING),
        old.part("spec").unwrap_or(&NOTHING),
    );
    let path = Path::root("spec");
    annotations_update(report, new, old);
    pod_and_spec(report, new);
    for kind in ["containers", "initContainers"] {
        let at = path.child(kind);
        if spec.list(kind).len() != before.list(kind).len() {
            report.forbidden(at, "pod updates may not add or remove containers");
            return;
        }
        for (i, container) in spec.list(kind).iter().enumerate() {
            if container.text("image").is_empty() {
                report.required(at.index(i).child("image"), "");
            }
            containers::image_padding(report, container, at.index(i));
        }
    }
    if !deadline(report, spec, before, path.child("activeDeadlineSeconds")) {
        return;
    }
    added_tolerations(report, spec, before, path.child("tolerations"));
    removed_gates(report, spec, before, path.child("schedulingGates"));
    if same(spec, before) {
        return;
    }
    let mut munged = spec.clone();
    for kind in ["containers", "initContainers"] {
        let images = before
            .list(kind)
            .iter()
            .map(|c| c.get("image").cloned().unwrap_or_default());
        let list = munged.get_mut(kind).and_then(Value::as_array_mut);
        for (container, image) in list.into_iter().flatten().zip(images) {
            container.set(&["image"], image);
        }
    }
    let grace = before.number("terminationGracePeriodSeconds");
    let negative = grace < 0 && spec.int("terminationGracePeriodSeconds") == Some(1);
    let mut keep = vec!["activeDeadlineSeconds", "schedulingGates", "tolerations"];
    if negative {
        keep.push("terminationGracePeriodSeconds");
    }
    if !before.list("schedulingGates").is_empty() {
        // Gated pods may become choosier about nodes.
        keep.push("nodeSelector");
        choosier(report, spec, before, path);
        match before
            .at(&["affinity", "nodeAffinity"])
            .filter(|a| !a.is_null())
        {
            Some(affinity) => munged.set(&["affinity", "nodeAffinity"], affinity.clone()),
            None => drop(munged.unset(&["affinity", "nodeAffinity"])),
        }
    }
    for field in keep {
        munged.set(&[field], before.get(field).cloned().unwrap_or_default());
    }
    if !same(&munged, before) {
        let changed = difference(&munged, before);
        report.forbidden(
            path,
            format!("pod updates may not change fields other than {UPDATABLE}\n{changed}"),
        );
    }
}

/// What a gated pod asks of its node may become narrower, never wider.
fn choosier(report: &mut Report, spec: &Value, before: &Value, path: Path<'_>) {
    let selector = spec.part("nodeSelector").unwrap_or(&NOTHING);
    let old = before
        .map("nodeSelector")
        .into_iter()
        .flat_map(|m| m.iter());
    if old.into_iter().any(|(k, v)| selector.get(k) != Some(v)) {
        let detail = "only additions to spec.nodeSelector are allowed (no mutations or deletions)";
        report.invalid(path.child("nodeSelector"), selector, detail);
    }
    let place = [
        "affinity",
        "nodeAffinity",
        "requiredDuringSchedulingIgnoredDuringExecution",
        "nodeSelectorTerms",
    ];
    let terms = |spec: &Value| {
        spec.at(&place)
            .and_then(Value::as_array)
            .map(<[Value]>::to_vec)
            .unwrap_or_default()
    };
    let (now, then) = (terms(spec), terms(before));
    let at = format!("spec.{}", place.join("."));
    if !then.is_empty() && now.len() != then.len() {
        let detail = "no additions/deletions to non-empty NodeSelectorTerms list are allowed";
        report.invalid(at, &Value::Array(now), detail);
        return;
    }
    for (i, (now, then)) in now.iter().zip(&then).enumerate() {
        let kept = |field: &str| {
            let (now, then) = (now.list(field), then.list(field));
            now.len() >= then.len() && now[..then.len()].iter().zip(then).all(|(a, b)| same(a, b))
        };
        let was_empty =
            then.list("matchExpressions").is_empty() && then.list("matchFields").is_empty();
        if !same(now, then) && (was_empty || !kept("matchExpressions") || !kept("matchFields")) {
            report.invalid(
                format!("{at}[{i}]"),
                now,
                "only additions are allowed (no mutations or deletions)",
            );
        }
    }
}

/// Which fields differ; upstream shows a diff of its internal types here.
fn difference(new: &Value, old: &Value) -> String {
    let nothing = Value::Null;
    let mut names: Vec<&str> = Vec::new();
    if let (Some(new), Some(old)) = (new.as_object(), old.as_object()) {
        names.extend(new.keys().chain(old.keys()).filter(|k| {
            !same(
                new.get(k).unwrap_or(&nothing),
                old.get(k).unwrap_or(&nothing),
            )
        }));
    }
    names.sort_unstable();
    names.dedup();
    let shown: Vec<String> = names.iter().map(|n| format!("  spec.{n}")).collect();
    shown.join("\n")
}

/// False when nothing further shall be checked.
fn deadline(report: &mut Report, spec: &Value, before: &Value, at: Path<'_>) -> bool {
    match (
        spec.int("activeDeadlineSeconds"),
        before.int("activeDeadlineSeconds"),
    ) {
        (Some(new), _) if !(0..=i64::from(i32::MAX)).contains(&new) => {
            report.invalid_int(at, new, rules::inclusive_range(0, i32::MAX.into()));
            return false;
        }
        (Some(new), Some(old)) if old < new => {
            report.invalid_int(at, new, "must be less than or equal to previous value");
            return false;
        }
        (None, Some(_)) => {
            report.invalid(
                at,
                &Value::Null,
                "must not update from a positive integer to nil value",
            );
        }
        _ => {}
    }
    true
}

fn added_tolerations(report: &mut Report, spec: &Value, before: &Value, at: Path<'_>) {
    let plain = |toleration: &Value| {
        let mut toleration = toleration.clone();
        toleration.unset(&["tolerationSeconds"]);
        toleration
    };
    let now: Vec<Value> = spec.list("tolerations").iter().map(plain).collect();
    if before
        .list("tolerations")
        .iter()
        .any(|old| !now.contains(&plain(old)))
    {
        report.forbidden(
            at,
            "existing toleration can not be modified except its tolerationSeconds",
        );
        return;
    }
    scheduling::tolerations(report, spec.list("tolerations"), at);
}

fn removed_gates(report: &mut Report, spec: &Value, before: &Value, at: Path<'_>) {
    let old: Vec<&str> = before
        .list("schedulingGates")
        .iter()
        .map(|g| g.text("name"))
        .collect();
    for (i, gate) in spec.list("schedulingGates").iter().enumerate() {
        let name = gate.text("name");
        // Of gates of one name upstream reports the last.
        let last = !spec.list("schedulingGates")[i + 1..]
            .iter()
            .any(|g| g.text("name") == name);
        if last && !old.contains(&name) {
            let detail =
                format!("only deletion is allowed, but found new scheduling gate '{name}'");
            report.forbidden(at.index(i).child("name"), detail);
        }
    }
}

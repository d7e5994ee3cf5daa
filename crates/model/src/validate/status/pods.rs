//! The status of a pod: `ValidatePodStatusUpdate` of kubernetes `pkg/apis/core/validation/validation.go`.

use crate::field::{ErrorKind, FieldError, Path};
use crate::validate::read::{NOTHING, Read, Report, quantity};
use crate::validate::{core, net};
use crate::{Value, rules};
use std::collections::BTreeSet;

const SYSTEM_CONDITIONS: [&str; 3] = ["PodScheduled", "Ready", "Initialized"];
const MAX_HEALTH_MESSAGE: usize = 1024;
/// In a status, and where the spec lists what it is of.
const STATUSES: [(&str, &str); 3] = [
    ("containerStatuses", "containers"),
    ("initContainerStatuses", "initContainers"),
    ("ephemeralContainerStatuses", "ephemeralContainers"),
];

pub(super) fn update(report: &mut Report, new: &Value, old: &Value) {
    core::pod::annotations_update(report, new, old);
    let path = Path::root("status");
    let (status, before) = (
        new.part("status").unwrap_or(&NOTHING),
        old.part("status").unwrap_or(&NOTHING),
    );
    let (spec, spec_before) = (
        new.part("spec").unwrap_or(&NOTHING),
        old.part("spec").unwrap_or(&NOTHING),
    );
    conditions(report, status, path.child("conditions"));
    if spec.text("nodeName") != spec_before.text("nodeName") {
        report.forbidden(path.child("nodeName"), "may not be changed directly");
    }
    let nominated = status.text("nominatedNodeName");
    if !nominated.is_empty() && nominated != before.text("nominatedNodeName") {
        let at = path.child("nominatedNodeName");
        report.problems(at, nominated, rules::dns1123_subdomain(nominated));
        if !spec_before.text("nodeName").is_empty() {
            let detail = "may not be set on pods that are already bound to a node";
            report.forbidden(at, detail);
        }
    }
    let generation = status.number("observedGeneration");
    if generation < 0 {
        let detail = "must be a non-negative integer";
        report.invalid_int(path.child("observedGeneration"), generation, detail);
    }
    report.immutable_text(
        path.child("qosClass"),
        status.text("qosClass"),
        before.text("qosClass"),
    );
    transitions(report, status, before, spec_before, path);
    claims(report, status, spec, path.child("resourceClaimStatuses"));
    if let Some(extended) = status.part("extendedResourceClaimStatus") {
        let at = path.child("extendedResourceClaimStatus");
        extended_claim(report, extended, spec, at);
    }
    let at = path.child("nodeAllocatableResourceClaimStatuses");
    allocatable_claims(report, status, spec, at);
    for (field, first) in [("podIPs", None), ("hostIPs", Some(status.text("hostIP")))] {
        ips(report, status, before, field, first, path);
    }
    for (field, of) in STATUSES {
        containers(report, status.list(field), spec, of, path.child(field));
    }
}

fn conditions(report: &mut Report, status: &Value, path: Path<'_>) {
    for (i, condition) in status.list("conditions").iter().enumerate() {
        let at = path.index(i);
        let generation = condition.number("observedGeneration");
        if generation < 0 {
            let detail = "must be a non-negative integer";
            report.invalid_int(at.child("observedGeneration"), generation, detail);
        }
        let kind = condition.text("type");
        if !SYSTEM_CONDITIONS.contains(&kind) {
            report.problems(at.child("Type"), kind, rules::qualified_name(kind));
        }
    }
}

/// A container that ended stays ended, unless it is to be restarted.
fn transitions(report: &mut Report, status: &Value, before: &Value, spec: &Value, path: Path<'_>) {
    let restarts_all = |c: &Value| {
        c.list("restartPolicyRules")
            .iter()
            .any(|r| r.text("action") == "RestartAllContainers")
    };
    let all = ["initContainers", "containers"];
    let any_may_restart = all.iter().any(|f| spec.list(f).iter().any(restarts_all));
    for (field, of) in STATUSES {
        let ephemeral = of == "ephemeralContainers";
        if any_may_restart && !ephemeral {
            continue;
        }
        let list = path.child(field);
        for (i, was) in before.list(field).iter().enumerate() {
            let Some(ended) = was.part("state").and_then(|s| s.part("terminated")) else {
                continue;
            };
            let name = was.text("name");
            let running = |now: &Value| now.part("state").is_none_or(|s| !s.has("terminated"));
            let Some(_) = status
                .list(field)
                .iter()
                .find(|now| now.text("name") == name && running(now))
            else {
                continue;
            };
            let container = spec.list(of).iter().find(|c| c.text("name") == name);
            let code = ended.number("exitCode");
            if ephemeral || container.is_none_or(|c| !should_restart(c, spec, code)) {
                let detail = "may not be transitioned to non-terminated state";
                report.forbidden(list.index(i).child("state"), detail);
            }
        }
    }
}

/// kubernetes `pkg/api/v1/pod/util.go`
fn should_restart(container: &Value, spec: &Value, code: i64) -> bool {
    let by = |policy: &str| match policy {
        "Always" => Some(true),
        "OnFailure" => Some(code != 0),
        "Never" => Some(false),
        _ => None,
    };
    let of_container = container.string("restartPolicy").and_then(|policy| {
        let rule = container.list("restartPolicyRules").iter().find(|rule| {
            let codes = rule.part("exitCodes").unwrap_or(&NOTHING);
            let listed = codes
                .list("values")
                .iter()
                .any(|v| v.as_i64() == Some(code));
            rule.has("exitCodes")
                && match codes.text("operator") {
                    "In" => listed,
                    "NotIn" => !listed,
                    _ => false,
                }
        });
        match rule.map(|r| r.text("action")) {
            Some("Restart" | "RestartAllContainers") => Some(true),
            _ => by(policy),
        }
    });
    of_container
        .or_else(|| by(spec.text("restartPolicy")))
        .unwrap_or(true)
}

fn claims(report: &mut Report, status: &Value, spec: &Value, path: Path<'_>) {
    let mut seen = BTreeSet::new();
    for (i, claim) in status.list("resourceClaimStatuses").iter().enumerate() {
        let at = path.index(i);
        let name = claim.text("name");
        let known = spec.list("resourceClaims");
        if !known.iter().any(|c| c.text("name") == name) {
            let detail = "must match the name of an entry in `spec.resourceClaims`";
            report.invalid_str(at.child("name"), name, detail);
        }
        if !seen.insert(name) {
            report.duplicate(at.child("name"), name);
        }
        if let Some(of) = claim.string("resourceClaimName") {
            report.problems(
                at.child("resourceClaimName"),
                of,
                rules::dns1123_subdomain(of),
            );
        }
    }
}

fn extended_claim(report: &mut Report, status: &Value, spec: &Value, path: Path<'_>) {
    let list = path.child("requestMappings");
    let mappings = status.list("requestMappings");
    if mappings.is_empty() {
        report.required(list, "at least one request mapping is required");
    }
    let mut seen = BTreeSet::new();
    for (i, mapping) in mappings.iter().enumerate() {
        let at = list.index(i);
        let (container, resource, request) = (
            mapping.text("containerName"),
            mapping.text("resourceName"),
            mapping.text("requestName"),
        );
        // Containers hide init containers of the same name.
        let found = ["containers", "initContainers"]
            .iter()
            .find_map(|f| spec.list(f).iter().rfind(|c| c.text("name") == container));
        match found {
            None => report.invalid_str(
                at.child("containerName"),
                container,
                "must match the name of an entry in spec.initContainers.name or spec.containers.name",
            ),
            Some(c) if c.at(&["resources", "requests", resource]).is_none() => report.invalid_str(
                at.child("resourceName"),
                resource,
                "must match the extended resource name of an entry in spec.initContainers.resources.requests or \
                 spec.containers.resources.requests",
            ),
            Some(_) => {}
        }
        report.problems(
            path.child("requestName"),
            request,
            rules::dns1123_label(request),
        );
        if !seen.insert((container, resource, request)) {
            for field in ["containerName", "resourceName", "requestName"] {
                report.duplicate(at.child(field), mapping.text(field));
            }
        }
    }
    report.required_name(
        path.child("resourceClaimName"),
        status.text("resourceClaimName"),
        rules::dns1123_subdomain,
    );
}

fn allocatable_claims(report: &mut Report, status: &Value, spec: &Value, path: Path<'_>) {
    const EMPTY: &str = "must not be empty";
    let list = status.list("nodeAllocatableResourceClaimStatuses");
    for (i, claim) in list.iter().enumerate() {
        let at = path.index(i);
        let name = claim.text("resourceClaimName");
        if name.is_empty() {
            report.required(at.child("resourceClaimName"), EMPTY);
        }
        let refers = |c: &Value| c.string("resourceClaimName") == Some(name);
        if !spec.list("resourceClaims").iter().any(refers)
            && !status.list("resourceClaimStatuses").iter().any(refers)
        {
            let detail = "no mapping found in pod reference";
            report.invalid_str(at.child("resourceClaimName"), name, detail);
        }
        if claim.list("containers").is_empty() {
            report.required(at.child("containers"), EMPTY);
        }
        let here = at.child("resources");
        let amounts = claim.map("resources").filter(|m| !m.is_empty());
        if amounts.is_none() {
            report.required(here, EMPTY);
        }
        for (name, amount) in amounts.into_iter().flat_map(crate::Map::iter) {
            if !core::is_native(name) {
                let detail = "must be a node allocatable resource name";
                report.invalid_str(here.key(name), name, detail);
            }
            let amount = quantity(amount);
            if amount.sign() < 0 {
                let detail = "must be non-negative";
                report.invalid_str(here.key(name), &amount.to_string(), detail);
            }
        }
    }
}

/// `first`: what the first address must be.
fn ips(
    report: &mut Report,
    status: &Value,
    before: &Value,
    field: &'static str,
    first: Option<&str>,
    path: Path<'_>,
) {
    let path = path.child(field);
    let given: Vec<&str> = status.list(field).iter().map(|v| v.text("ip")).collect();
    let known: Vec<&str> = before.list(field).iter().map(|v| v.text("ip")).collect();
    if let (Some(first), Some(ip)) = (first, given.first())
        && first != *ip
    {
        let item = path.index(0);
        report.invalid_str(item.child("ip"), ip, "must be equal to `hostIP`");
    }
    for (i, ip) in given.iter().enumerate() {
        net::ip(report, path.index(i), ip, &known);
    }
    if given.len() < 2 {
        return;
    }
    // An IPv4 address in IPv6's clothes is one of IPv4.
    let parsed: Vec<_> = given
        .iter()
        .map(|ip| net::sloppy(ip).map(|ip| ip.to_canonical()))
        .collect();
    let bad = parsed.iter().position(Option::is_none);
    if let Some(i) = bad {
        let detail = format!(
            "failed to check for dual stack with error:invalid IP[{i}]: {}",
            given[i]
        );
        let error = FieldError::new(ErrorKind::InternalError, path, "", detail);
        report.errors.push(error);
    }
    let of_v6 = |v6: bool| {
        parsed
            .iter()
            .flatten()
            .any(|ip| ip.to_canonical().is_ipv6() == v6)
    };
    if bad.is_some() || given.len() > 2 || !(of_v6(true) && of_v6(false)) {
        let shown = status.get(field).unwrap_or(&NOTHING);
        let detail = "may specify no more than one IP for each IP family";
        report.invalid(path, shown, detail);
    }
}

fn containers(report: &mut Report, statuses: &[Value], spec: &Value, of: &str, path: Path<'_>) {
    let system = spec.part("os").map_or("linux", |os| os.text("name"));
    for (i, status) in statuses.iter().enumerate() {
        let at = path.index(i);
        if let Some(user) = status.part("user").and_then(|u| u.part("linux")) {
            let root = at.child("user");
            linux_user(report, user, system, root.child("linux"));
        }
        let list = at.child("allocatedResourcesStatus");
        let allocated = status.list("allocatedResourcesStatus");
        if of == "ephemeralContainers" {
            if !allocated.is_empty() {
                report.forbidden(list, "must not be specified in container status");
            }
        } else {
            let name = status.text("name");
            let container = spec.list(of).iter().find(|c| c.text("name") == name);
            for (j, one) in allocated.iter().enumerate() {
                allocation(report, one, container, list.index(j));
            }
        }
    }
}

fn linux_user(report: &mut Report, user: &Value, system: &str, path: Path<'_>) {
    if system == "windows" {
        report.forbidden(path, "cannot be set for a windows pod");
    }
    if system != "linux" {
        return;
    }
    for field in ["uid", "gid"] {
        let id = user.number(field);
        report.int_problems(path.child(field), id, rules::unix_id(id));
    }
    let groups = path.child("supplementalGroups");
    for (i, group) in user.list("supplementalGroups").iter().enumerate() {
        let id = group.as_i64().unwrap_or(0);
        report.int_problems(groups.index(i), id, rules::unix_id(id));
    }
}

fn allocation(report: &mut Report, given: &Value, container: Option<&Value>, path: Path<'_>) {
    let name = given.text("name");
    if let Some(container) = container {
        let resources = container.part("resources").unwrap_or(&NOTHING);
        let (found, detail) = match name.strip_prefix("claim:") {
            Some(claim) => (
                resources.list("claims").iter().any(|c| {
                    let (of, request) = (c.text("name"), c.text("request"));
                    match request {
                        "" => claim == of,
                        _ => claim.split_once('/') == Some((of, request)),
                    }
                }),
                "must match one of the container's resource claims in a format 'claim:<claimName>/<request>' or \
                 'claim:<claimName>' if request is empty",
            ),
            None => (
                resources.at(&["requests", name]).is_some(),
                "must match one of the container's resource requests",
            ),
        };
        if !found {
            report.invalid_str(path.child("name"), name, detail);
        }
    }
    let list = path.child("resources");
    let mut seen = BTreeSet::new();
    for (k, resource) in given.list("resources").iter().enumerate() {
        let at = list.index(k);
        let health = Some(resource.text("health"));
        let supported = ["Healthy", "Unhealthy", "Unknown"];
        report.one_of_pointer(at.child("health"), health, &supported);
        match resource.string("message") {
            Some("") => report.required(at.child("message"), "must be non-empty if specified"),
            Some(m) if m.len() > MAX_HEALTH_MESSAGE => {
                let at = at.child("message");
                report
                    .errors
                    .push(FieldError::too_long(at, MAX_HEALTH_MESSAGE));
            }
            _ => {}
        }
        let id = resource.text("resourceID");
        if !seen.insert(id) {
            report.duplicate(at.child("resourceID"), id);
        }
    }
}

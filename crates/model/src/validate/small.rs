//! Groups of one or two kinds: policy, scheduling, coordination, discovery, storage, node,
//! certificates (kubernetes `pkg/apis/<group>/validation/validation.go`).

use super::apps::{at_most_all, int_or_percent};
use super::net;
use super::read::{NOTHING, Read, Report, same};
use crate::field::{FieldError, Path};
use crate::meta::{check_label_selector, check_labels};
use crate::{Value, rules};

pub(super) fn disruption_budget(report: &mut Report, object: &Value) {
    let spec = object.part("spec").unwrap_or(&NOTHING);
    let path = Path::root("spec");
    if spec.has("minAvailable") && spec.has("maxUnavailable") {
        report.invalid(
            path,
            spec,
            "minAvailable and maxUnavailable cannot be both set",
        );
    }
    for field in ["minAvailable", "maxUnavailable"] {
        if let Some(amount) = spec.part(field) {
            int_or_percent(report, amount, path.child(field));
            at_most_all(report, amount, path.child(field));
        }
    }
    check_label_selector(
        spec.part("selector"),
        &path.child("selector"),
        &mut report.errors,
    );
    let policy = spec.string("unhealthyPodEvictionPolicy");
    report.one_of_pointer(
        path.child("unhealthyPodEvictionPolicy"),
        policy,
        &["AlwaysAllow", "IfHealthyBudget"],
    );
}

const HIGHEST_USER_PRIORITY: i64 = 1_000_000_000;

pub(super) fn priority_class(report: &mut Report, object: &Value) {
    let name = object.str_at(&["metadata", "name"]).unwrap_or_default();
    let value = object.number("value");
    if name.starts_with("system-") {
        let known = match name {
            "system-node-critical" => Some(2_000_001_000),
            "system-cluster-critical" => Some(2_000_000_000),
            _ => None,
        };
        let problem = match known {
            None => Some(format!("{name} is not a known system priority class")),
            Some(wanted) if wanted != value => {
                Some(format!("value of {name} PriorityClass must be {wanted}"))
            }
            Some(_) if object.flag("globalDefault") => Some(format!(
                "globalDefault of {name} PriorityClass must be false"
            )),
            Some(_) => None,
        };
        if let Some(problem) = problem {
            let detail = format!(
                "priority class names with 'system-' prefix are reserved for system use only. error: {problem}"
            );
            report.forbidden("metadata.name", detail);
        }
    } else if value > HIGHEST_USER_PRIORITY {
        let detail =
            format!("maximum allowed value of a user defined priority is {HIGHEST_USER_PRIORITY}");
        report.forbidden("value", detail);
    }
    if let Some(policy) = object.string("preemptionPolicy") {
        report.one_of(
            Path::root("preemptionPolicy"),
            policy,
            &["PreemptLowerPriority", "Never"],
        );
    }
}

pub(super) fn priority_class_update(report: &mut Report, new: &Value, old: &Value) {
    if new.number("value") != old.number("value") {
        report.forbidden("value", "may not be changed in an update.");
    }
    report.immutable(
        Path::root("preemptionPolicy"),
        new.get("preemptionPolicy"),
        old.get("preemptionPolicy"),
    );
}

pub(super) fn lease(report: &mut Report, object: &Value) {
    let spec = object.part("spec").unwrap_or(&NOTHING);
    let path = Path::root("spec");
    if let Some(seconds @ ..=0) = spec.int("leaseDurationSeconds") {
        report.invalid_int(
            path.child("leaseDurationSeconds"),
            seconds,
            "must be greater than 0",
        );
    }
    if let Some(transitions @ ..=-1) = spec.int("leaseTransitions") {
        let detail = "must be greater than or equal to 0";
        report.invalid_int(path.child("leaseTransitions"), transitions, detail);
    }
    if let Some(strategy) = spec.string("strategy") {
        let at = path.child("strategy");
        if strategy.contains('/') {
            report.problems(
                at.child("strategy"),
                strategy,
                rules::qualified_name(strategy),
            );
        } else if strategy != "OldestEmulationVersion" {
            report.not_supported(at.child("strategy"), strategy, &["OldestEmulationVersion"]);
        }
    }
    if !spec.text("preferredHolder").is_empty() && spec.text("strategy").is_empty() {
        report.forbidden(
            path.child("preferredHolder"),
            "may only be specified if `strategy` is defined",
        );
    }
}

pub(super) fn endpoint_slice(report: &mut Report, slice: &Value, old: Option<&Value>) {
    let kind = slice.text("addressType");
    report.one_of(Path::root("addressType"), kind, &["FQDN", "IPv4", "IPv6"]);
    slice_ports(report, slice);
    let path = Path::root("endpoints");
    let endpoints = slice.list("endpoints");
    let before = report.errors.len();
    if endpoints.len() > 1000 {
        report
            .errors
            .push(FieldError::too_many(path, endpoints.len(), 1000));
        return;
    }
    for (i, endpoint) in endpoints.iter().enumerate() {
        self::endpoint(report, endpoint, kind, path.index(i));
    }
    // What was there before stays.
    let nothing_new = || {
        let was = old.map_or(&[][..], |old| old.list("endpoints"));
        was.len() == endpoints.len() && was.iter().zip(endpoints).all(|(a, b)| same(a, b))
    };
    if report.errors.len() > before && nothing_new() {
        report.errors.truncate(before);
    }
}

/// `IsFullyQualifiedDomainName` of apimachinery `pkg/util/validation/validation.go`.
fn full_name(report: &mut Report, name: &str, at: Path<'_>) {
    if name.is_empty() {
        return report.required(at, "");
    }
    let name = name.strip_suffix('.').unwrap_or(name);
    let problems = rules::dns1123_subdomain(name);
    if !problems.is_empty() {
        return report.invalid_str(at, name, problems.join(","));
    }
    if !name.contains('.') {
        let detail = "should be a domain with at least two segments separated by dots";
        return report.invalid_str(at, name, detail);
    }
    let labels = name.split('.');
    let mut wrong = labels.map(|label| (label, rules::dns1123_label(label)));
    if let Some((label, problems)) = wrong.find(|(_, problems)| !problems.is_empty()) {
        report.invalid_str(at, label, problems.join(","));
    }
}

fn endpoint(report: &mut Report, endpoint: &Value, kind: &str, at: Path<'_>) {
    let list = at.child("addresses");
    let addresses: Vec<&str> = endpoint.texts("addresses").collect();
    match addresses.len() {
        0 => report.required(list, "must contain at least 1 address"),
        n if n > 100 => report.errors.push(FieldError::too_many(list, n, 100)),
        _ => {}
    }
    for (i, address) in addresses.iter().enumerate() {
        let here = list.index(i);
        let before = report.errors.len();
        match kind {
            "IPv4" => drop(net::ip(report, here, address, &[])),
            "IPv6" => net::canonical_ip(report, here, address),
            "FQDN" => {
                full_name(report, address, here);
                continue;
            }
            _ => continue,
        }
        if report.errors.len() == before {
            if net::sloppy(address).is_some_and(|ip| ip.is_ipv4() != (kind == "IPv4")) {
                report.invalid_str(list, address, format!("must be an {kind} address"));
            }
            net::endpoint_ip(report, here, address);
        }
    }
    if let Some(node) = endpoint.string("nodeName") {
        report.problems(at.child("nodeName"), node, rules::dns1123_subdomain(node));
    }
    check_labels(
        endpoint.part("deprecatedTopology"),
        &at.child("deprecatedTopology"),
        &mut report.errors,
    );
    if let Some(hostname) = endpoint.string("hostname") {
        report.problems(
            at.child("hostname"),
            hostname,
            rules::dns1123_label(hostname),
        );
    }
    let hints = endpoint.part("hints").unwrap_or(&NOTHING);
    let hints_at = at.child("hints");
    for (field, rule) in [
        (
            "forZones",
            rules::label_value as fn(&str) -> rules::Problems,
        ),
        ("forNodes", rules::dns1123_subdomain),
    ] {
        let list = hints_at.child(field);
        let given = hints.list(field);
        if given.len() > 8 {
            report
                .errors
                .push(FieldError::too_many(list, given.len(), 8));
            return;
        }
        for (i, hint) in given.iter().enumerate() {
            let item = list.index(i);
            let name = hint.text("name");
            if given[..i].iter().any(|h| h.text("name") == name) {
                report.duplicate(item.child("name"), name);
            }
            report.problems(item.child("name"), name, rule(name));
        }
    }
}

fn slice_ports(report: &mut Report, slice: &Value) {
    let path = Path::root("ports");
    let ports = slice.list("ports");
    if ports.len() > 20_000 {
        report
            .errors
            .push(FieldError::too_many(path, ports.len(), 20_000));
        return;
    }
    let mut names = std::collections::HashSet::new();
    for (i, port) in ports.iter().enumerate() {
        let at = path.index(i);
        let name = port.text("name");
        if !name.is_empty() {
            report.problems(at.child("name"), name, rules::dns1123_label(name));
        }
        if !names.insert(name) {
            report.duplicate(at.child("name"), name);
        }
        let protocols = ["SCTP", "TCP", "UDP"];
        match port.string("protocol") {
            None => report.required(at.child("protocol"), ""),
            protocol => report.one_of_pointer(at.child("protocol"), protocol, &protocols),
        }
        if let Some(protocol) = port.string("appProtocol") {
            report.problems(
                at.child("appProtocol"),
                protocol,
                rules::qualified_name(protocol),
            );
        }
    }
}

pub(super) fn runtime_class(report: &mut Report, object: &Value) {
    report.required_name(
        Path::root("handler"),
        object.text("handler"),
        rules::dns1123_label,
    );
    if let Some(fixed) = object.part("overhead").and_then(|o| o.part("podFixed")) {
        let mut limits = Value::object();
        limits.set(&["limits"], fixed.clone());
        super::core::resources::of_container(report, &limits, Path::root("overhead"));
    }
    if let Some(scheduling) = object.part("scheduling") {
        let root = Path::root("scheduling");
        check_labels(
            scheduling.part("nodeSelector"),
            &root.child("nodeSelector"),
            &mut report.errors,
        );
        let list = scheduling.list("tolerations");
        let at = root.child("tolerations");
        super::core::tolerations(report, list, at);
        let key = |t: &Value| ["key", "operator", "value", "effect"].map(|f| t.text(f).to_owned());
        for (i, toleration) in list.iter().enumerate() {
            if list[..i].iter().any(|t| key(t) == key(toleration)) {
                report
                    .errors
                    .push(FieldError::duplicate(at.index(i), toleration));
            }
        }
    }
}

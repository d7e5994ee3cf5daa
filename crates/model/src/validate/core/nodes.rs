//! Nodes: `ValidateNode` of kubernetes `pkg/apis/core/validation/validation.go`.

use super::resources;
use super::scheduling::EFFECTS;
use crate::field::{ErrorKind, FieldError, Path};
use crate::validate::net;
use crate::validate::read::{NOTHING, Read, Report, quantity};
use crate::{Value, rules};

fn taints(report: &mut Report, node: &Value) {
    let root = Path::root("metadata");
    // Upstream's path, wrong as it is.
    let path = root.child("taints");
    let mut seen = Vec::new();
    let spec = node.part("spec").unwrap_or(&NOTHING);
    for (i, taint) in spec.list("taints").iter().enumerate() {
        let at = path.index(i);
        let (key, value, effect) = (taint.text("key"), taint.text("value"), taint.text("effect"));
        report.problems(at.child("key"), key, rules::qualified_name(key));
        let problems = rules::label_value(value);
        if !problems.is_empty() {
            report.invalid_str(at.child("value"), value, problems.join(";"));
        }
        report.one_of(at.child("effect"), effect, &EFFECTS);
        if seen.contains(&(key, effect)) {
            let mut error = FieldError::duplicate(at, taint);
            error.detail = "taints must be unique by key and effect pair".into();
            report.errors.push(error);
        }
        seen.push((key, effect));
    }
}

fn swap(report: &mut Report, node: &Value) {
    let swap = node.at(&["status", "nodeInfo", "swap"]);
    if let Some(capacity) = swap.and_then(|s| s.int("capacity")) {
        let root = Path::root("metadata");
        let at = root.child("nodeSwapStatus");
        report.positive(at.child("capacity"), capacity);
    }
}

pub(super) fn node(report: &mut Report, node: &Value) {
    taints(report, node);
    let spec = node.part("spec").unwrap_or(&NOTHING);
    amounts(report, node);
    features(report, node);
    swap(report, node);
    let root = Path::root("spec");
    let path = root.child("podCIDRs");
    let given: Vec<&str> = spec.texts("podCIDRs").collect();
    let mut parsed = Vec::new();
    for (i, cidr) in given.iter().enumerate() {
        net::cidr(report, path.index(i), cidr, &[]);
        parsed.push(net::sloppy_cidr(cidr));
    }
    if given.len() < 2 {
        return;
    }
    let bad = parsed.iter().position(Option::is_none);
    if let Some(i) = bad {
        let detail = format!(
            "invalid PodCIDRs. failed to check with dual stack with error:invalid CIDR[{i}]: <nil> (invalid CIDR address: {})",
            given[i]
        );
        let error = FieldError::new(ErrorKind::InternalError, path, "", detail);
        report.errors.push(error);
    }
    let family = |v6: bool| {
        parsed
            .iter()
            .flatten()
            .any(|(ip, len)| net::network(*ip, *len).0.is_ipv6() == v6)
    };
    if bad.is_some() || given.len() > 2 || !(family(true) && family(false)) {
        let shown = spec.part("podCIDRs").unwrap_or(&NOTHING);
        let detail = "may specify no more than one CIDR for each IP family";
        report.invalid(path, shown, detail);
    }
}

fn amounts(report: &mut Report, node: &Value) {
    let status = Path::root("status");
    for field in ["capacity", "allocatable"] {
        let at = status.child(field);
        let given = node.at(&["status", field]).and_then(Value::as_object);
        for (name, amount) in given.into_iter().flat_map(crate::Map::iter) {
            resources::resource_quantity(report, name, &quantity(amount), at.child(name));
        }
    }
}

/// `MyFeature` or `MyFeature/mySubFeature`.
fn is_feature(name: &str) -> bool {
    let word = |s: &str| {
        s.starts_with(|c: char| c.is_ascii_alphabetic())
            && s.bytes().all(|b| b.is_ascii_alphanumeric())
    };
    name.starts_with(|c: char| c.is_ascii_uppercase()) && name.split('/').all(word)
}

fn feature_problem(name: &str) -> Option<String> {
    let quoted = crate::field::quote(name);
    if name.len() > 253 {
        return Some(format!(
            "invalid feature name {quoted}: must be no more than 253 characters"
        ));
    }
    (!is_feature(name)).then(|| {
        format!(
            "invalid feature name {quoted}: must start with an UpperCamelCase segment, with subsequent segments \
             separated by '/' (e.g., MyFeature or MyFeature/mySubFeature), and contain only alphanumeric characters \
             and slashes"
        )
    })
}

fn features(report: &mut Report, node: &Value) {
    let root = Path::root("status");
    let path = root.child("declaredFeatures");
    let status = node.part("status").unwrap_or(&NOTHING);
    let given: Vec<&str> = status.texts("declaredFeatures").collect();
    for (i, name) in given.iter().enumerate() {
        if let Some(problem) = feature_problem(name) {
            report.invalid_str(path.index(i), name, problem);
        }
        match given.get(i + 1) {
            Some(next) if next == name => report.duplicate(path.index(i + 1), next),
            Some(next) if name > next => {
                let detail = "list must be sorted alphabetically";
                report.invalid_str(path.index(i + 1), next, detail);
            }
            _ => {}
        }
    }
}

/// Through the status only what an update may do is checked.
pub(in crate::validate) fn node_status_update(report: &mut Report, new: &Value, old: &Value) {
    taints(report, new);
    amounts(report, new);
    features(report, new);
    changes(report, new, old);
}

pub(super) fn node_update(report: &mut Report, new: &Value, old: &Value) {
    node(report, new);
    changes(report, new, old);
}

fn changes(report: &mut Report, new: &Value, old: &Value) {
    let (spec, before) = (
        new.part("spec").unwrap_or(&NOTHING),
        old.part("spec").unwrap_or(&NOTHING),
    );
    if !before.list("podCIDRs").is_empty() && spec.list("podCIDRs") != before.list("podCIDRs") {
        let detail = "node updates may not change podCIDR except from \"\" to valid";
        report.forbidden("spec.podCIDRs", detail);
    }
    let provider = before.text("providerID");
    if !provider.is_empty() && provider != spec.text("providerID") {
        let detail = "node updates may not change providerID except from \"\" to valid";
        report.forbidden("spec.providerID", detail);
    }
    if spec.text("externalID") != before.text("externalID") {
        report.forbidden("spec.externalID", "may not be updated");
    }
    let root = Path::root("spec");
    if let Some(source) = spec.part("configSource") {
        config_source(report, source, true, root.child("configSource"));
    }
    let status = Path::root("status");
    let config = status.child("config");
    for field in ["assigned", "active", "lastKnownGood"] {
        if let Some(source) = new
            .at(&["status", "config", field])
            .filter(|v| !v.is_null())
        {
            config_source(report, source, false, config.child(field));
        }
    }
    let path = status.child("addresses");
    let addresses = new
        .at(&["status", "addresses"])
        .and_then(Value::as_array)
        .unwrap_or_default();
    for (i, address) in addresses.iter().enumerate() {
        if addresses[..i].contains(address) {
            let shown = crate::value!({"Address": (address.text("address")), "Type": (address.text("type"))});
            let error = FieldError::duplicate(path.index(i), &shown);
            report.errors.push(error);
        }
    }
}

fn config_source(report: &mut Report, source: &Value, in_spec: bool, path: Path<'_>) {
    let Some(map) = source.part("configMap") else {
        let detail = "exactly one reference subfield must be non-nil";
        report.invalid(path, source, detail);
        return;
    };
    let path = path.child("configMap");
    for field in ["uid", "resourceVersion"] {
        let given = !map.text(field).is_empty();
        if given && in_spec {
            let detail = format!("{field} must not be set in spec");
            report.forbidden(path.child(field), detail);
        } else if !given && !in_spec {
            report.required(path.child(field), "");
        }
    }
    let name = |field| (path.child(field), map.text(field));
    let (at, text) = name("namespace");
    report.required_name(at, text, rules::dns1123_label);
    let (at, text) = name("name");
    report.required_name(at, text, rules::dns1123_subdomain);
    let (at, text) = name("kubeletConfigKey");
    report.required_name(at, text, rules::config_map_key);
}

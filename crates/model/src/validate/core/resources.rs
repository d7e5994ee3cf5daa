//! Resource names and amounts: kubernetes `pkg/apis/core/validation/validation.go` and
//! `pkg/apis/core/helper/helpers.go`.

use crate::defaults::pod_resources::aggregate;
use crate::field::{FieldError, Path};
use crate::quantity::{Quantity, is_plain};
use crate::rules;
use crate::validate::read::{Read, Report, quantity};
use crate::{Map, Value};
use std::collections::HashSet;

const STANDARD: [&str; 20] = [
    "cpu",
    "memory",
    "ephemeral-storage",
    "requests.cpu",
    "requests.memory",
    "requests.ephemeral-storage",
    "limits.cpu",
    "limits.memory",
    "limits.ephemeral-storage",
    "pods",
    "resourcequotas",
    "services",
    "replicationcontrollers",
    "secrets",
    "configmaps",
    "persistentvolumeclaims",
    "storage",
    "requests.storage",
    "services.nodeports",
    "services.loadbalancers",
];

const INTEGER: [&str; 9] = [
    "pods",
    "resourcequotas",
    "services",
    "replicationcontrollers",
    "secrets",
    "configmaps",
    "persistentvolumeclaims",
    "services.nodeports",
    "services.loadbalancers",
];

pub(crate) fn is_native(name: &str) -> bool {
    !name.contains('/') || name.contains("kubernetes.io/")
}

pub(crate) fn is_huge_pages(name: &str) -> bool {
    name.starts_with("hugepages-")
}

pub(crate) fn is_extended(name: &str) -> bool {
    !is_native(name)
        && !name.starts_with("requests.")
        && rules::qualified_name(&format!("requests.{name}")).is_empty()
}

pub(crate) fn is_overcommit_allowed(name: &str) -> bool {
    is_native(name) && !is_huge_pages(name)
}

pub(crate) fn is_standard(name: &str) -> bool {
    STANDARD.contains(&name) || is_huge_pages(name) || name.starts_with("requests.hugepages-")
}

/// What nearly every container asks for.
#[inline]
fn is_compute(name: &str) -> bool {
    matches!(name, "cpu" | "memory" | "ephemeral-storage")
}

/// What a pod as a whole may ask for, too.
#[inline]
fn is_basic(name: &str) -> bool {
    matches!(name, "cpu" | "memory")
}

/// What may be asked for.
struct ResourceNames {
    /// what needs no look: its amounts may be fractions and more than there is
    are_fine: fn(&str) -> bool,
    check: fn(&mut Report, &str, Path<'_>),
}

const OF_CONTAINERS: ResourceNames = ResourceNames {
    are_fine: is_compute,
    check: container_resource_name,
};

const OF_PODS: ResourceNames = ResourceNames {
    are_fine: is_basic,
    check: pod_resource_name,
};

/// A name that containers may ask for.
pub(crate) fn container_resource_name(report: &mut Report, name: &str, path: Path<'_>) {
    if is_compute(name) {
        return;
    }
    resource_name(report, name, path);
    if !name.contains('/') {
        if !is_huge_pages(name) {
            report.invalid_str(path, name, "must be a standard resource for containers");
        }
    } else if !is_native(name) && !is_extended(name) {
        report.invalid_str(path, name, "doesn't follow extended resource name standard");
    }
}

pub(crate) fn resource_name(report: &mut Report, name: &str, path: Path<'_>) {
    let problems = rules::qualified_name(name);
    let fine = problems.is_empty();
    report.problems(path, name, problems);
    if fine && !name.contains('/') && !is_standard(name) {
        report.invalid_str(
            path,
            name,
            "must be a standard resource type or fully qualified",
        );
    }
}

pub(crate) fn resource_quantity(
    report: &mut Report,
    name: &str,
    amount: &Quantity,
    path: Path<'_>,
) {
    if amount.sign() < 0 {
        report.invalid_str(
            path,
            &amount.to_string(),
            "must be greater than or equal to 0",
        );
    }
    if is_compute(name) {
        return;
    }
    if (INTEGER.contains(&name) || is_extended(name)) && amount.milli_value() % 1000 != 0 {
        report.invalid_str(path, &amount.to_string(), "must be an integer");
    }
}

fn huge_pages(report: &mut Report, name: &str, amount: &Quantity, path: Path<'_>) -> bool {
    if !is_huge_pages(name) {
        return false;
    }
    let size = Quantity::parse(&name["hugepages-".len()..]).map_or(0, |q| q.value());
    if size <= 0 || amount.value() % size != 0 {
        let detail = format!("{amount} is not positive integer multiple of {name}");
        report.invalid_str(path, &amount.to_string(), detail);
    }
    true
}

/// A name that a pod as a whole may ask for.
fn pod_resource_name(report: &mut Report, name: &str, path: Path<'_>) {
    let before = report.errors.len();
    resource_name(report, name, path);
    if report.errors.len() == before && !matches!(name, "cpu" | "memory") && !is_huge_pages(name) {
        report.not_supported(path, name, &["cpu", "hugepages-", "memory"]);
    }
}

/// `resources` of a pod, whose spec has claims of the names in `claims`.
pub(crate) fn of_pod(report: &mut Report, spec: &Value, claims: &[&str], path: Path<'_>) {
    let Some(given) = spec.part("resources") else {
        return;
    };
    if spec.str_at(&["os", "name"]) == Some("windows") {
        return report.forbidden(path, "may not be set for a windows pod");
    }
    let claims_at = path.child("claims");
    if given.has("claims") {
        report.forbidden(
            claims_at,
            "claims may not be set for Resources at pod-level",
        );
    }
    requirements(report, given, &OF_PODS, path);
    self::claims(report, given, claims, claims_at);
    if let Some(spec) = spec.as_object() {
        pod_consistency(report, spec, given, path);
    }
}

/// What the pod asks for as a whole must be enough for its containers.
fn pod_consistency(report: &mut Report, spec: &Map, given: &Value, path: Path<'_>) {
    for list in ["requests", "limits"] {
        let at = path.child(list);
        for (name, needed) in &aggregate(spec, list) {
            if list == "limits" && !is_huge_pages(name) {
                continue;
            }
            let of_pod = given.map(list).and_then(|m| m.get(name)).map(quantity);
            if let Some(of_pod) = of_pod.filter(|of_pod| needed > of_pod) {
                let detail = format!(
                    "must be greater than or equal to aggregate container {list} of {needed}"
                );
                report.invalid_str(at.key(name), &of_pod.to_string(), detail);
            }
        }
    }
    let limits = given.map("limits");
    let containers = spec.get("containers").and_then(Value::as_array);
    let list = path.child("containers");
    for (i, container) in containers.unwrap_or_default().iter().enumerate() {
        let own = container.at(&["resources", "limits"]);
        let own = own.and_then(Value::as_object);
        for (name, limit) in own.iter().flat_map(|m| m.iter()) {
            let limit = quantity(limit);
            let of_pod = limits.and_then(|m| m.get(name)).map(quantity);
            if let Some(of_pod) = of_pod.filter(|of_pod| limit > *of_pod) {
                let item = list.index(i);
                let key = item.key(name);
                let detail = format!("must be less than or equal to pod limits of {of_pod}");
                report.invalid_str(key.child("limits"), &limit.to_string(), detail);
            }
        }
    }
}

/// `resources` of a container.
pub(crate) fn of_container(report: &mut Report, given: &Value, path: Path<'_>) {
    requirements(report, given, &OF_CONTAINERS, path);
}

fn requirements(report: &mut Report, given: &Value, names: &ResourceNames, path: Path<'_>) {
    let (limits_at, requests_at) = (path.child("limits"), path.child("requests"));
    let (mut compute, mut huge) = (false, false);
    let nothing = Map::new();
    let limits = given.map("limits").unwrap_or(&nothing);
    // Of what nearly everybody writes only the limit is to be compared with.
    let usual =
        |name, amount: &Value| (names.are_fine)(name) && amount.as_str().is_some_and(is_plain);
    for (name, amount) in limits.iter() {
        compute |= is_basic(name);
        if usual(name, amount) {
            continue;
        }
        let at = limits_at.key(name);
        let amount = quantity(amount);
        (names.check)(report, name, at);
        resource_quantity(report, name, &amount, at);
        huge |= huge_pages(report, name, &amount, at);
    }
    for (name, amount) in given.map("requests").iter().flat_map(|m| m.iter()) {
        compute |= is_basic(name);
        let limit = limits.get(name);
        if usual(name, amount) && limit.is_none_or(|limit| limit == amount) {
            continue;
        }
        let at = requests_at.key(name);
        let amount = quantity(amount);
        (names.check)(report, name, at);
        resource_quantity(report, name, &amount, at);
        match limit.map(quantity) {
            Some(limit) if !is_overcommit_allowed(name) && amount != limit => {
                let detail = format!("must be equal to {name} limit of {limit}");
                report.invalid_str(requests_at, &amount.to_string(), detail);
            }
            Some(limit) if amount > limit => {
                let detail = format!("must be less than or equal to {name} limit of {limit}");
                report.invalid_str(requests_at, &amount.to_string(), detail);
            }
            None if !is_overcommit_allowed(name) => {
                report.required(
                    limits_at,
                    "Limit must be set for non overcommitable resources",
                );
            }
            _ => {}
        }
        huge |= huge_pages(report, name, &amount, at);
    }
    if huge && !compute {
        report.forbidden(path, "HugePages require cpu or memory");
    }
}

fn note(names: &mut HashSet<String>, partly: &mut HashSet<String>, key: String) {
    if let Some((before, _)) = key.split_once('/') {
        partly.insert(before.to_owned());
    }
    names.insert(key);
}

/// `claims` of a container: names out of the pod's `resourceClaims`.
pub(crate) fn claims(report: &mut Report, given: &Value, of_pod: &[&str], path: Path<'_>) {
    if given.list("claims").is_empty() {
        return;
    }
    let mut names: HashSet<String> = HashSet::new();
    // Claims of which requests are named; upstream takes what stands before the first slash.
    let mut partly: HashSet<String> = HashSet::new();
    for (i, claim) in given.list("claims").iter().enumerate() {
        let at = path.index(i);
        let (name, request) = (claim.text("name"), claim.text("request"));
        if name.is_empty() {
            report.required(at, "");
            continue;
        }
        if names.contains(name) {
            report.duplicate(at, name);
        } else if request.is_empty() {
            if partly.contains(name) {
                report.duplicate(at, name);
            }
            note(&mut names, &mut partly, name.to_owned());
        } else {
            report.problems(at.child("request"), request, rules::dns1123_label(request));
            let key = format!("{name}/{request}");
            if names.contains(&key) {
                report.duplicate(at, &key);
            }
            note(&mut names, &mut partly, key);
        }
        if !of_pod.contains(&name) {
            let mut error = FieldError::not_found(at, &name.into());
            let known = if of_pod.is_empty() {
                " which is empty".into()
            } else {
                format!(": {}", of_pod.join(", "))
            };
            error.detail = format!("must be one of the names in pod.spec.resourceClaims{known}");
            report.errors.push(error);
        }
    }
}

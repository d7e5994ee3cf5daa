//! Resource names and amounts: kubernetes `pkg/apis/core/validation/validation.go` and
//! `pkg/apis/core/helper/helpers.go`.

use crate::field::{FieldError, Path};
use crate::quantity::Quantity;
use crate::rules;
use crate::validate::read::{Read, Report, quantity};
use crate::{Map, Value};

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

/// A name that containers may ask for.
pub(crate) fn container_resource_name(report: &mut Report, name: &str, path: Path<'_>) {
    resource_name(report, name, path);
    if !name.contains('/') {
        if !matches!(name, "cpu" | "memory" | "ephemeral-storage") && !is_huge_pages(name) {
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

/// `resources` of a pod.
pub(crate) fn of_pod(report: &mut Report, given: &Value, path: Path<'_>) {
    requirements(report, given, pod_resource_name, path);
    let claims = path.child("claims");
    if !given.list("claims").is_empty() {
        report.forbidden(claims, "claims may not be set for Resources at pod-level");
    }
    self::claims(report, given, &[], claims);
}

/// `resources` of a container.
pub(crate) fn of_container(report: &mut Report, given: &Value, path: Path<'_>) {
    requirements(report, given, container_resource_name, path);
}

fn requirements(
    report: &mut Report,
    given: &Value,
    check_name: fn(&mut Report, &str, Path<'_>),
    path: Path<'_>,
) {
    let (limits_at, requests_at) = (path.child("limits"), path.child("requests"));
    let (mut compute, mut huge) = (false, false);
    let nothing = Map::new();
    let limits = given.map("limits").unwrap_or(&nothing);
    for (name, amount) in limits.iter() {
        let at = limits_at.key(name);
        let amount = quantity(amount);
        check_name(report, name, at);
        resource_quantity(report, name, &amount, at);
        huge |= huge_pages(report, name, &amount, at);
        compute |= matches!(name, "cpu" | "memory");
    }
    for (name, amount) in given.map("requests").iter().flat_map(|m| m.iter()) {
        let at = requests_at.key(name);
        let amount = quantity(amount);
        check_name(report, name, at);
        resource_quantity(report, name, &amount, at);
        match limits.get(name).map(quantity) {
            Some(limit) if amount != limit && !is_overcommit_allowed(name) => {
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
        compute |= matches!(name, "cpu" | "memory");
    }
    if huge && !compute {
        report.forbidden(path, "HugePages require cpu or memory");
    }
}

/// `claims` of a container: names out of the pod's `resourceClaims`.
pub(crate) fn claims(report: &mut Report, given: &Value, of_pod: &[&str], path: Path<'_>) {
    let mut names: Vec<String> = Vec::new();
    for (i, claim) in given.list("claims").iter().enumerate() {
        let at = path.index(i);
        let name = claim.text("name");
        if name.is_empty() {
            report.required(at, "");
            continue;
        }
        let request = claim.text("request");
        let key = if request.is_empty() {
            name.to_owned()
        } else {
            format!("{name}/{request}")
        };
        if !request.is_empty() {
            report.problems(at.child("request"), request, rules::dns1123_label(request));
        }
        let whole = request.is_empty() && names.iter().any(|n| n.split('/').next() == Some(name));
        if names.contains(&key) || names.iter().any(|n| n == name) || whole {
            report.duplicate(at, if whole { name } else { &key });
        }
        names.push(key);
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

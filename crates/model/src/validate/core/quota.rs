//! Quotas and limits: kubernetes `pkg/apis/core/validation/validation.go`.

use super::resources::{self, is_overcommit_allowed};
use crate::field::{FieldError, Path};
use crate::quantity::Quantity;
use crate::validate::read::{NOTHING, Read, Report, quantity};
use crate::{Value, rules};
use std::collections::BTreeSet;

const SCOPES: [&str; 7] = [
    "BestEffort",
    "NotBestEffort",
    "Terminating",
    "NotTerminating",
    "PriorityClass",
    "CrossNamespacePodAffinity",
    "VolumeAttributesClass",
];

const QUOTA_RESOURCES: [&str; 20] = [
    "cpu",
    "memory",
    "ephemeral-storage",
    "requests.cpu",
    "requests.memory",
    "requests.storage",
    "requests.ephemeral-storage",
    "limits.cpu",
    "limits.memory",
    "limits.ephemeral-storage",
    "pods",
    "resourcequotas",
    "services",
    "replicationcontrollers",
    "secrets",
    "persistentvolumeclaims",
    "configmaps",
    "services.nodeports",
    "services.loadbalancers",
    "storage",
];

fn is_quota_resource(name: &str) -> bool {
    (QUOTA_RESOURCES.contains(&name) && name != "storage")
        || name.starts_with("hugepages-")
        || name.starts_with("requests.hugepages-")
}

/// Whether a scope can be applied to a resource at all (`IsResourceQuotaScopeValidForResource`).
fn scope_fits(scope: &str, resource: &str) -> bool {
    let compute = matches!(
        resource,
        "cpu" | "memory" | "limits.cpu" | "limits.memory" | "requests.cpu" | "requests.memory"
    );
    match scope {
        "Terminating"
        | "NotTerminating"
        | "NotBestEffort"
        | "PriorityClass"
        | "CrossNamespacePodAffinity" => resource == "pods" || compute,
        "BestEffort" => resource == "pods",
        "VolumeAttributesClass" => {
            matches!(resource, "persistentvolumeclaims" | "requests.storage")
        }
        _ => true,
    }
}

pub(crate) fn resource_quota(report: &mut Report, quota: &Value) {
    let spec = quota.part("spec").unwrap_or(&NOTHING);
    let path = Path::root("spec");
    hard(report, spec, "hard", path);
    let status = quota.part("status").unwrap_or(&NOTHING);
    hard(report, status, "hard", Path::root("status"));
    hard(report, status, "used", Path::root("status"));
    scopes(report, spec, path);
    if let Some(selector) = spec.part("scopeSelector") {
        let at = path.child("scopeSelector");
        scope_selector(report, spec, selector, at.child("matchExpressions"));
    }
}

pub(crate) fn hard(report: &mut Report, holder: &Value, field: &str, path: Path<'_>) {
    let at = path.child(field);
    for (name, amount) in holder.map(field).iter().flat_map(|m| m.iter()) {
        let at = at.key(name);
        resources::resource_name(report, name, at);
        if !name.contains('/') && !is_quota_resource(name) {
            report.invalid_str(at, name, "must be a standard resource for quota");
        }
        resources::resource_quantity(report, name, &quantity(amount), at);
    }
}

fn unfit<'a>(spec: &'a Value, scope: &'a str) -> impl Iterator<Item = &'a str> {
    let hard = spec.map("hard").into_iter().flat_map(|m| m.keys());
    hard.filter(move |name| is_quota_resource(name) && !scope_fits(scope, name))
}

fn conflicting(scopes: &[&str]) -> usize {
    [
        ["BestEffort", "NotBestEffort"],
        ["Terminating", "NotTerminating"],
    ]
    .iter()
    .filter(|pair| pair.iter().all(|s| scopes.contains(s)))
    .count()
}

fn scopes(report: &mut Report, spec: &Value, path: Path<'_>) {
    let at = path.child("scopes");
    let all = spec.part("scopes").unwrap_or(&NOTHING);
    let given: Vec<&str> = spec.texts("scopes").collect();
    for scope in &given {
        if !SCOPES.contains(scope) {
            report.invalid(at, all, "unsupported scope");
        }
        for _ in unfit(spec, scope) {
            report.invalid(at, all, "unsupported scope applied to resource");
        }
    }
    for _ in 0..conflicting(&given) {
        report.invalid(at, all, "conflicting scopes");
    }
}

fn scope_selector(report: &mut Report, spec: &Value, selector: &Value, at: Path<'_>) {
    let mut given = Vec::new();
    for requirement in selector.list("matchExpressions") {
        let (scope, operator) = (requirement.text("scopeName"), requirement.text("operator"));
        if !SCOPES.contains(&scope) {
            report.invalid_str(at.child("scopeName"), scope, "unsupported scope");
        }
        for _ in unfit(spec, scope) {
            report.invalid(at, selector, "unsupported scope applied to resource");
        }
        if !matches!(scope, "PriorityClass" | "VolumeAttributesClass")
            && SCOPES.contains(&scope)
            && operator != "Exists"
        {
            let detail = "must be 'Exists' when scope is any of ResourceQuotaScopeTerminating, ResourceQuotaScopeNotTerminating, ResourceQuotaScopeBestEffort, ResourceQuotaScopeNotBestEffort or ResourceQuotaScopeCrossNamespacePodAffinity";
            report.invalid_str(at.child("operator"), operator, detail);
        }
        let values = requirement.list("values");
        match operator {
            "In" | "NotIn" if values.is_empty() => {
                let detail = "must be at least one value when `operator` is 'In' or 'NotIn' for scope selector";
                report.required(at.child("values"), detail);
            }
            "Exists" | "DoesNotExist" if !values.is_empty() => {
                let detail = "must be no value when `operator` is 'Exist' or 'DoesNotExist' for scope selector";
                report.invalid(at.child("values"), &Value::Array(values.to_vec()), detail);
            }
            "In" | "NotIn" | "Exists" | "DoesNotExist" => {}
            other => {
                report.invalid_str(at.child("operator"), other, "not a valid selector operator")
            }
        }
        given.push(scope);
    }
    for _ in 0..conflicting(&given) {
        report.invalid(
            at,
            spec.part("scopes").unwrap_or(&NOTHING),
            "conflicting scopes",
        );
    }
}

pub(crate) fn resource_quota_update(report: &mut Report, quota: &Value, old: &Value) {
    resource_quota(report, quota);
    let scopes = |q: &Value| -> BTreeSet<String> {
        q.part("spec")
            .unwrap_or(&NOTHING)
            .texts("scopes")
            .map(str::to_owned)
            .collect()
    };
    if scopes(quota) != scopes(old) {
        let shown = quota.at(&["spec", "scopes"]).cloned().unwrap_or_default();
        report.invalid("spec.scopes", &shown, crate::meta::IMMUTABLE);
    }
}

pub(crate) fn limit_range(report: &mut Report, range: &Value) {
    let spec = range.part("spec").unwrap_or(&NOTHING);
    let root = Path::root("spec");
    let path = root.child("limits");
    let mut seen = Vec::new();
    for (i, limit) in spec.list("limits").iter().enumerate() {
        let at = path.index(i);
        let kind = limit.text("type");
        let problems = rules::qualified_name(kind);
        let fine = problems.is_empty();
        report.problems(at.child("type"), kind, problems);
        if fine
            && !kind.contains('/')
            && !["Pod", "Container", "PersistentVolumeClaim"].contains(&kind)
        {
            report.invalid_str(
                at.child("type"),
                kind,
                "must be a standard limit type or fully qualified",
            );
        }
        if seen.contains(&kind) {
            report.duplicate(at.child("type"), kind);
        }
        seen.push(kind);
        limit_item(report, limit, kind, at);
    }
}

fn limit_item(report: &mut Report, limit: &Value, kind: &str, at: Path<'_>) {
    let mut names: BTreeSet<&str> = BTreeSet::new();
    for field in [
        "max",
        "min",
        "default",
        "defaultRequest",
        "maxLimitRequestRatio",
    ] {
        let Some(amounts) = limit.map(field).filter(|m| !m.is_empty()) else {
            continue;
        };
        if kind == "Pod" && field.starts_with("default") {
            report.forbidden(at.child(field), "may not be specified when `type` is 'Pod'");
            continue;
        }
        for name in amounts.keys() {
            let here = at.child(field);
            limit_resource(report, kind, name, here.key(name));
            names.insert(name);
        }
    }
    let storage = |field| limit.map(field).is_some_and(|m| m.contains_key("storage"));
    if kind == "PersistentVolumeClaim" && !storage("min") && !storage("max") {
        let detail =
            "either minimum or maximum storage value is required, but neither was provided";
        report.required(at.child("limits"), detail);
    }
    for name in names {
        compare(report, limit, name, kind == "Pod", at);
    }
}

fn limit_resource(report: &mut Report, kind: &str, name: &str, at: Path<'_>) {
    if ["Pod", "Container"].contains(&kind) {
        resources::container_resource_name(report, name, at);
    } else {
        resources::resource_name(report, name, at);
    }
}

/// A ratio, and what it may be: in whole units, or in thousandths where all of them fit.
fn ratio_and_most(ratio: &Quantity, min: &Quantity, max: &Quantity) -> (f64, f64) {
    const MAX_MILLI: i64 = i64::MAX / 1000;
    if [ratio, min, max].iter().all(|q| q.value() < MAX_MILLI) {
        let most = max.milli_value() as f64 / min.milli_value() as f64;
        return (ratio.milli_value() as f64 / 1000.0, most);
    }
    (
        ratio.value() as f64,
        max.value() as f64 / min.value() as f64,
    )
}

#[expect(
    clippy::too_many_lines,
    reason = "one check per pair of bounds, in upstream's order"
)]
fn compare(report: &mut Report, limit: &Value, name: &str, pod: bool, at: Path<'_>) {
    let of = |field: &str| limit.map(field).and_then(|m| m.get(name)).map(quantity);
    let default_of = |field: &str| if pod { None } else { of(field) };
    let (min, max, ratio) = (of("min"), of("max"), of("maxLimitRequestRatio"));
    let (default, request) = (default_of("default"), default_of("defaultRequest"));
    let mut check = |low: &Option<Quantity>,
                     high: &Option<Quantity>,
                     field: &str,
                     shown_low: bool,
                     what: &str| {
        if let (Some(low), Some(high)) = (low, high)
            && low > high
        {
            let detail =
                what.replacen("{}", &low.to_string(), 1)
                    .replacen("{}", &high.to_string(), 1);
            let shown = if shown_low { low } else { high };
            report.invalid_str(at.child(field).key(name), &shown.to_string(), detail);
        }
    };
    check(
        &min,
        &max,
        "min",
        true,
        "min value {} is greater than max value {}",
    );
    check(
        &min,
        &request,
        "defaultRequest",
        false,
        "min value {} is greater than default request value {}",
    );
    check(
        &request,
        &max,
        "defaultRequest",
        true,
        "default request value {} is greater than max value {}",
    );
    check(
        &request,
        &default,
        "defaultRequest",
        true,
        "default request value {} is greater than default limit value {}",
    );
    check(
        &min,
        &default,
        "default",
        true,
        "min value {} is greater than default value {}",
    );
    check(
        &default,
        &max,
        "default",
        false,
        "default value {} is greater than max value {}",
    );
    let ratio_at = at.child("maxLimitRequestRatio");
    if let Some(ratio) = &ratio {
        if *ratio < Quantity::from_milli(1000) {
            let detail = format!("ratio {ratio} is less than 1");
            report.invalid_str(ratio_at.key(name), &ratio.to_string(), detail);
        }
        if let (Some(min), Some(max)) = (&min, &max) {
            let (ratio_value, most) = ratio_and_most(ratio, min, max);
            if ratio_value > most {
                let detail = format!("ratio {ratio} is greater than max/min = {most:.6}");
                report.invalid_str(ratio_at.key(name), &ratio.to_string(), detail);
            }
        }
    }
    if let (Some(default), Some(request)) = (&default, &request)
        && !is_overcommit_allowed(name)
        && default != request
    {
        let detail = format!(
            "default value {default} must equal to defaultRequest value {request} in {name}"
        );
        let here = at.child("defaultRequest");
        report.errors.push(FieldError::invalid_str(
            here.key(name),
            &request.to_string(),
            detail,
        ));
    }
}

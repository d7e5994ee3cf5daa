//! Autoscalers: kubernetes `pkg/apis/autoscaling/validation/validation.go`, in the shape of
//! `autoscaling/v2` (and what `v1` has of it).

use super::read::{NOTHING, Read, Report, quantity};
use crate::field::Path;
use crate::{Value, rules};

const SOURCES: [(&str, &str); 5] = [
    ("object", "Object"),
    ("external", "External"),
    ("pods", "Pods"),
    ("resource", "Resource"),
    ("containerResource", "ContainerResource"),
];

pub(super) fn autoscaler(report: &mut Report, object: &Value, old: Option<&Value>) {
    let spec = object.part("spec").unwrap_or(&NOTHING);
    let path = Path::root("spec");
    let (min, max) = (spec.int("minReplicas"), spec.number("maxReplicas"));
    if let Some(min) = min
        && min < 1
    {
        report.invalid_int(
            path.child("minReplicas"),
            min,
            "must be greater than or equal to 1",
        );
    }
    match max {
        0 => report.required(path.child("maxReplicas"), "must be set and greater than 0"),
        ..0 => report.invalid_int(
            path.child("maxReplicas"),
            max,
            "must be greater than or equal to 1",
        ),
        _ => {}
    }
    if min.is_some_and(|min| max < min) {
        report.invalid_int(
            path.child("maxReplicas"),
            max,
            "must be greater than or equal to `minReplicas`",
        );
    }
    let target = spec.part("scaleTargetRef").unwrap_or(&NOTHING);
    let before = old
        .and_then(|o| o.at(&["spec", "scaleTargetRef"]))
        .unwrap_or(&NOTHING);
    let known = old.is_some()
        && ["apiVersion", "kind"]
            .iter()
            .all(|f| before.text(f) == target.text(f));
    let version = match target.text("kind") {
        _ if known => Version::Any,
        "ReplicationController" => Version::Core,
        _ => Version::Group,
    };
    reference(report, target, version, path.child("scaleTargetRef"));
    let metrics = path.child("metrics");
    for (i, metric) in spec.list("metrics").iter().enumerate() {
        self::metric(report, metric, metrics.index(i));
    }
    let counts = |metric: &Value| matches!(metric.text("type"), "Object" | "External");
    if min == Some(0) && !spec.list("metrics").iter().any(counts) {
        let detail = "must specify at least one Object or External metric to support scaling to zero replicas";
        report.forbidden(metrics, detail);
    }
    if let Some(behavior) = spec.part("behavior") {
        let at = path.child("behavior");
        for field in ["scaleUp", "scaleDown"] {
            if let Some(scaling) = behavior.part(field) {
                scaling_rules(report, scaling, at.child(field));
            }
        }
    }
}

/// What the apiVersion of a reference may be.
#[derive(PartialEq)]
enum Version {
    Any,
    Core,
    Group,
}

fn reference(report: &mut Report, reference: &Value, allowed: Version, at: Path<'_>) {
    for field in ["kind", "name"] {
        report.required_name(at.child(field), reference.text(field), rules::path_segment);
    }
    let version = reference.text("apiVersion");
    if allowed == Version::Any {
        return;
    }
    if version.matches('/').count() > 1 {
        let detail = format!("unexpected GroupVersion string: {version}");
        report.invalid_str(at.child("apiVersion"), version, detail);
    } else if allowed == Version::Group && version.split_once('/').is_none_or(|(g, _)| g.is_empty())
    {
        report.invalid_str(
            at.child("apiVersion"),
            version,
            "apiVersion must specify API group",
        );
    }
}

fn metric(report: &mut Report, metric: &Value, at: Path<'_>) {
    const TYPES: [&str; 5] = [
        "ContainerResource",
        "External",
        "Object",
        "Pods",
        "Resource",
    ];
    let kind = metric.text("type");
    if kind.is_empty() {
        report.required(at.child("type"), "must specify a metric source type");
    }
    if !TYPES.contains(&kind) {
        report.not_supported(at.child("type"), kind, &TYPES);
    }
    let present: Vec<&str> = SOURCES
        .iter()
        .map(|(field, _)| *field)
        .filter(|f| metric.has(f))
        .collect();
    if let Some(field) = present.first() {
        source(
            report,
            field,
            metric.part(field).unwrap_or(&NOTHING),
            at.child(field),
        );
    }
    let expected = SOURCES
        .iter()
        .find(|(_, name)| *name == kind)
        .map(|(field, _)| *field);
    match expected {
        Some(field) if !metric.has(field) => {
            report.required(
                at.child(field),
                "must populate information for the given metric source",
            );
        }
        Some(_) => {}
        None => report.not_supported(at.child("type"), kind, &TYPES),
    }
    if present.len() != 1 {
        for field in present.iter().filter(|f| Some(**f) != expected) {
            report.forbidden(
                at.child(field),
                "must populate the given metric source only",
            );
        }
    }
}

#[expect(clippy::too_many_lines, reason = "one arm per metric source")]
fn source(report: &mut Report, kind: &str, source: &Value, at: Path<'_>) {
    let target = source.part("target").unwrap_or(&NOTHING);
    let target_at = at.child("target");
    if kind == "object" {
        let described = source.part("describedObject").unwrap_or(&NOTHING);
        reference(
            report,
            described,
            Version::Core,
            at.child("describedObject"),
        );
    }
    match kind {
        "resource" | "containerResource" => {
            if source.text("name").is_empty() {
                report.required(at.child("name"), "must specify a resource name");
            }
            if kind == "containerResource" {
                let name = source.text("name");
                if !name.is_empty() {
                    super::core::container_resource_name(report, name, at.child("name"));
                }
                let container = source.text("container");
                if container.is_empty() {
                    report.required(at.child("container"), "must specify a container");
                } else {
                    report.problems(
                        at.child("container"),
                        container,
                        rules::dns1123_label(container),
                    );
                }
            }
        }
        _ => {
            let name = source.part("metric").unwrap_or(&NOTHING).text("name");
            let metric_at = at.child("metric");
            if name.is_empty() {
                report.required(metric_at.child("name"), "must specify a metric name");
            } else {
                report.problems(metric_at.child("name"), name, rules::path_segment(name));
            }
        }
    }
    self::target(report, target, target_at);
    let has = |field| target.has(field);
    match kind {
        "object" if !has("value") && !has("averageValue") => {
            report.required(
                target_at.child("averageValue"),
                "must set either a target value or averageValue",
            );
        }
        "external" if !has("value") && !has("averageValue") => {
            let detail = "must set either a target value for metric or a per-pod target";
            report.required(target_at.child("averageValue"), detail);
        }
        "external" if has("value") && has("averageValue") => {
            let detail = "may not set both a target value for metric and a per-pod target";
            report.forbidden(target_at.child("value"), detail);
        }
        "pods" if !has("averageValue") => {
            report.required(
                target_at.child("averageValue"),
                "must specify a positive target averageValue",
            );
        }
        "resource" | "containerResource" => {
            match (has("averageUtilization"), has("averageValue")) {
                (false, false) => {
                    let detail = "must set either a target raw value or a target utilization";
                    report.required(target_at.child("averageUtilization"), detail);
                }
                (true, true) => {
                    let detail = "may not set both a target raw value and a target utilization";
                    report.forbidden(target_at.child("averageValue"), detail);
                }
                _ => {}
            }
        }
        _ => {}
    }
}

fn target(report: &mut Report, target: &Value, at: Path<'_>) {
    let kind = target.text("type");
    if kind.is_empty() {
        report.required(at.child("type"), "must specify a metric target type");
    }
    if !["Utilization", "Value", "AverageValue"].contains(&kind) {
        report.invalid_str(
            at.child("type"),
            kind,
            "must be either Utilization, Value, or AverageValue",
        );
    }
    for field in ["value", "averageValue"] {
        if let Some(amount) = target.part(field)
            && quantity(amount).sign() != 1
        {
            report.invalid(at.child(field), amount, "must be positive");
        }
    }
    if let Some(percent) = target.int("averageUtilization")
        && percent < 1
    {
        report.invalid_int(
            at.child("averageUtilization"),
            percent,
            "must be greater than 0",
        );
    }
}

fn scaling_rules(report: &mut Report, scaling: &Value, at: Path<'_>) {
    if let Some(window) = scaling.int("stabilizationWindowSeconds") {
        let at = at.child("stabilizationWindowSeconds");
        if window < 0 {
            report.invalid_int(at, window, "must be greater than or equal to zero");
        }
        if window > 3600 {
            report.invalid_int(at, window, "must be less than or equal to 3600");
        }
    }
    report.one_of_pointer(
        at.child("selectPolicy"),
        scaling.string("selectPolicy"),
        &["Disabled", "Max", "Min"],
    );
    let list = at.child("policies");
    if scaling.list("policies").is_empty() {
        report.required(list, "must specify at least one Policy");
    }
    for (i, policy) in scaling.list("policies").iter().enumerate() {
        let at = list.index(i);
        if !["Percent", "Pods"].contains(&policy.text("type")) {
            report.not_supported(at.child("type"), policy.text("type"), &["Percent", "Pods"]);
        }
        report.positive(at.child("value"), policy.number("value"));
        let period = policy.number("periodSeconds");
        report.positive(at.child("periodSeconds"), period);
        if period > 1800 {
            report.invalid_int(
                at.child("periodSeconds"),
                period,
                "must be less than or equal to 1800",
            );
        }
    }
    if let Some(tolerance) = scaling.part("tolerance") {
        let amount = quantity(tolerance);
        if amount.sign() < 0 {
            report.invalid_str(
                at.child("tolerance"),
                &amount.to_string(),
                "must be greater than or equal to 0",
            );
        }
    }
}

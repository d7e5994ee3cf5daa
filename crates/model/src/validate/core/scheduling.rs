//! Where a pod may run: kubernetes `pkg/apis/core/validation/validation.go`, affinity,
//! tolerations, spreading.

use crate::field::Path;
use crate::meta::check_label_selector;
use crate::validate::read::{Given, NOTHING, Read, Report, fields};
use crate::{Value, rules};
use std::collections::{BTreeMap, BTreeSet};

pub(crate) const EFFECTS: [&str; 3] = ["NoSchedule", "PreferNoSchedule", "NoExecute"];
const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";
const PREFERRED: &str = "preferredDuringSchedulingIgnoredDuringExecution";

pub(super) fn affinity(report: &mut Report, affinity: &Value, path: Path<'_>) {
    if let Some(node) = affinity.part("nodeAffinity") {
        let at = path.child("nodeAffinity");
        if let Some(selector) = node.part(REQUIRED) {
            node_selector(report, selector, at.child(REQUIRED));
        }
        let list = at.child(PREFERRED);
        for (i, term) in node.list(PREFERRED).iter().enumerate() {
            let at = list.index(i);
            weight(report, term, at);
            node_selector_term(
                report,
                term.part("preference").unwrap_or(&NOTHING),
                false,
                at.child("preference"),
            );
        }
    }
    for kind in ["podAffinity", "podAntiAffinity"] {
        let Some(pods) = affinity.part(kind) else {
            continue;
        };
        let at = path.child(kind);
        let list = at.child(REQUIRED);
        for (i, term) in pods.list(REQUIRED).iter().enumerate() {
            pod_term(report, term, list.index(i));
        }
        let list = at.child(PREFERRED);
        for (i, term) in pods.list(PREFERRED).iter().enumerate() {
            let at = list.index(i);
            weight(report, term, at);
            pod_term(
                report,
                term.part("podAffinityTerm").unwrap_or(&NOTHING),
                at.child("podAffinityTerm"),
            );
        }
    }
}

fn weight(report: &mut Report, term: &Value, at: Path<'_>) {
    let weight = term.number("weight");
    if !(1..=100).contains(&weight) {
        report.invalid_int(at.child("weight"), weight, "must be in the range 1-100");
    }
}

pub(crate) fn node_selector(report: &mut Report, selector: &Value, path: Path<'_>) {
    let terms = path.child("nodeSelectorTerms");
    let list = selector.list("nodeSelectorTerms");
    if list.is_empty() {
        report.required(terms, "must have at least one node selector term");
    }
    for (i, term) in list.iter().enumerate() {
        node_selector_term(report, term, true, terms.index(i));
    }
}

fn node_selector_term(report: &mut Report, term: &Value, strict_values: bool, path: Path<'_>) {
    let expressions = path.child("matchExpressions");
    for (i, requirement) in term.list("matchExpressions").iter().enumerate() {
        node_requirement(report, requirement, strict_values, expressions.index(i));
    }
    let fields = path.child("matchFields");
    for (i, requirement) in term.list("matchFields").iter().enumerate() {
        let at = fields.index(i);
        let (key, values) = (requirement.text("key"), requirement.list("values"));
        match requirement.text("operator") {
            "In" | "NotIn" if values.len() == 1 => {}
            "In" | "NotIn" => {
                let detail = "must be only one value when `operator` is 'In' or 'NotIn' for node field selector";
                report.required(at.child("values"), detail);
            }
            other => {
                report.invalid_str(at.child("operator"), other, "not a valid selector operator")
            }
        }
        if key == "metadata.name" {
            for (j, value) in requirement.texts("values").enumerate() {
                report.problems(
                    at.child("values").index(j),
                    value,
                    rules::dns1123_subdomain(value),
                );
            }
        } else {
            report.invalid_str(at.child("key"), key, "not a valid field selector key");
        }
    }
}

fn node_requirement(report: &mut Report, requirement: &Value, strict_values: bool, at: Path<'_>) {
    let values = requirement.list("values");
    let values_at = at.child("values");
    match requirement.text("operator") {
        "In" | "NotIn" if values.is_empty() => {
            report.required(
                values_at,
                "must be specified when `operator` is 'In' or 'NotIn'",
            );
        }
        "Exists" | "DoesNotExist" if !values.is_empty() => {
            report.forbidden(
                values_at,
                "may not be specified when `operator` is 'Exists' or 'DoesNotExist'",
            );
        }
        "Gt" | "Lt" if values.len() != 1 => {
            report.required(
                values_at,
                "must be specified single value when `operator` is 'Lt' or 'Gt'",
            );
        }
        "In" | "NotIn" | "Exists" | "DoesNotExist" | "Gt" | "Lt" => {}
        other => report.invalid_str(at.child("operator"), other, "not a valid selector operator"),
    }
    let key = requirement.text("key");
    report.problems(at.child("key"), key, rules::qualified_name(key));
    if strict_values {
        for (i, value) in requirement.texts("values").enumerate() {
            report.problems(values_at.index(i), value, rules::label_value(value));
        }
    }
}

fn pod_term(report: &mut Report, term: &Value, at: Path<'_>) {
    for field in ["labelSelector", "namespaceSelector"] {
        check_label_selector(term.part(field), &at.child(field), &mut report.errors);
    }
    for namespace in term.texts("namespaces") {
        report.problems(
            at.child("namespace"),
            namespace,
            rules::dns1123_label(namespace),
        );
    }
    let mismatched: Vec<&str> = term.texts("mismatchLabelKeys").collect();
    for field in ["matchLabelKeys", "mismatchLabelKeys"] {
        label_keys(report, term, field, at.child(field));
    }
    keys_selected_twice(report, term, at);
    for (i, key) in term.texts("matchLabelKeys").enumerate() {
        if mismatched.contains(&key) {
            let detail = "exists in both matchLabelKeys and mismatchLabelKeys";
            report.invalid_str(at.child("matchLabelKeys").index(i), key, detail);
        }
    }
    let topology = term.text("topologyKey");
    if topology.is_empty() {
        report.required(at.child("topologyKey"), "can not be empty");
    }
    report.problems(
        at.child("topologyKey"),
        topology,
        rules::qualified_name(topology),
    );
}

fn label_keys(report: &mut Report, term: &Value, field: &str, at: Path<'_>) {
    if term.list(field).is_empty() {
        return;
    }
    if !term.has("labelSelector") {
        report.forbidden(at, "must not be specified when labelSelector is not set");
        return;
    }
    for (i, key) in term.texts(field).enumerate() {
        report.problems(at.index(i), key, rules::qualified_name(key));
    }
}

/// The server adds an expression to the selector for each of `matchLabelKeys`: a key that is in it
/// twice was there before (`ValidateMatchLabelKeysAndMismatchLabelKeys`, with upstream's path).
fn keys_selected_twice(report: &mut Report, term: &Value, at: Path<'_>) {
    let keys: BTreeMap<&str, usize> = term.texts("matchLabelKeys").zip(0..).collect();
    let Some(selector) = term.part("labelSelector").filter(|_| !keys.is_empty()) else {
        return;
    };
    let labels = selector.map("matchLabels");
    let mut seen: BTreeSet<&str> = labels.map(|l| l.keys().collect()).unwrap_or_default();
    for expression in selector.list("matchExpressions") {
        let key = expression.text("key");
        if let Some(i) = keys.get(key)
            && seen.contains(key)
        {
            let detail = "exists in both matchLabelKeys and labelSelector";
            report.invalid_str(at.index(*i), key, detail);
        }
        seen.insert(key);
    }
}

fields! {
    Toleration {
        effect: "effect",
        key: "key",
        operator: "operator",
        seconds: "tolerationSeconds",
        value: "value",
    }
}

pub(crate) fn tolerations(report: &mut Report, list: &[Value], path: Path<'_>) {
    for (i, toleration) in list.iter().enumerate() {
        let at = path.index(i);
        let given = Toleration::of(toleration);
        let (key, operator) = (given.key.as_text(), given.operator.as_text());
        let (value, effect) = (given.value.as_text(), given.effect.as_text());
        if !key.is_empty() {
            report.problems(at.child("key"), key, rules::qualified_name(key));
        } else if operator != "Exists" {
            let detail = "operator must be Exists when `key` is empty, which means \"match all values and all keys\"";
            report.invalid_str(at.child("operator"), operator, detail);
        }
        if given.seconds.given().is_some() && effect != "NoExecute" {
            let detail = "effect must be 'NoExecute' when `tolerationSeconds` is set";
            report.invalid_str(at.child("effect"), effect, detail);
        }
        match operator {
            "Equal" | "" => {
                let problems = rules::label_value(value);
                if !problems.is_empty() {
                    report.invalid_str(at.child("operator"), value, problems.join(";"));
                }
            }
            "Exists" => {
                if !value.is_empty() {
                    report.invalid_str(
                        at.child("operator"),
                        value,
                        "value must be empty when `operator` is 'Exists'",
                    );
                }
            }
            "Lt" | "Gt" => report.not_supported(
                at.child("operator"),
                operator,
                &["Equal", "Exists", "Lt", "Gt"],
            ),
            other => report.not_supported(at.child("operator"), other, &["Equal", "Exists"]),
        }
        report.one_of_if_set(at.child("effect"), effect, &EFFECTS);
    }
}

pub(super) fn spreading(report: &mut Report, list: &[Value], path: Path<'_>) {
    for (i, constraint) in list.iter().enumerate() {
        let at = path.index(i);
        report.positive(at.child("maxSkew"), constraint.number("maxSkew"));
        let (topology, action) = (
            constraint.text("topologyKey"),
            constraint.text("whenUnsatisfiable"),
        );
        if topology.is_empty() {
            report.required(at.child("topologyKey"), "can not be empty");
        }
        if !["DoNotSchedule", "ScheduleAnyway"].contains(&action) {
            report.not_supported(
                at.child("whenUnsatisfiable"),
                action,
                &["DoNotSchedule", "ScheduleAnyway"],
            );
        }
        let again = |other: &&Value| {
            other.text("topologyKey") == topology && other.text("whenUnsatisfiable") == action
        };
        if list[i + 1..].iter().any(|other| again(&other)) {
            let here = at.child("{topologyKey, whenUnsatisfiable}");
            report.duplicate(here, &format!("{{{topology}, {action}}}"));
        }
        if let Some(domains) = constraint.int("minDomains") {
            report.positive(at.child("minDomains"), domains);
            if action != "DoNotSchedule" {
                let detail = format!(
                    "can only use minDomains if whenUnsatisfiable=DoNotSchedule, not {action}"
                );
                report.invalid_int(at.child("minDomains"), domains, detail);
            }
        }
        for field in ["nodeAffinityPolicy", "nodeTaintsPolicy"] {
            report.one_of_pointer(
                at.child(field),
                constraint.string(field),
                &["Honor", "Ignore"],
            );
        }
        label_keys(
            report,
            constraint,
            "matchLabelKeys",
            at.child("matchLabelKeys"),
        );
        keys_selected_twice(report, constraint, at);
        check_label_selector(
            constraint.part("labelSelector"),
            &at.child("labelSelector"),
            &mut report.errors,
        );
    }
}

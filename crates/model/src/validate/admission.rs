//! Webhook configurations and the rules that policies share with them: kubernetes
//! `pkg/apis/admissionregistration/validation/validation.go`.

use super::expressions::{self, Env};
use super::read::{NOTHING, Read, Report};
use super::webhooks;
use crate::field::{FieldError, Path};
use crate::meta::check_label_selector;
use crate::{Value, rules};
use std::collections::BTreeSet;

pub(super) const FAILURE_POLICIES: [&str; 2] = ["Fail", "Ignore"];
pub(super) const REINVOCATION_POLICIES: [&str; 2] = ["IfNeeded", "Never"];
const MATCH_POLICIES: [&str; 2] = ["Equivalent", "Exact"];
const OPERATIONS: [&str; 5] = ["*", "CONNECT", "CREATE", "DELETE", "UPDATE"];
const SIDE_EFFECTS: [&str; 4] = ["None", "NoneOnDryRun", "Some", "Unknown"];
const MAX_MATCH_CONDITIONS: usize = 64;

/// What an update need not do better than the object before.
struct Demands {
    no_side_effects: bool,
    known_review_version: bool,
    unique_names: bool,
    match_conditions: bool,
    label_values: bool,
}

pub(super) fn configuration(report: &mut Report, object: &Value, old: Option<&Value>) {
    let hooks = object.list("webhooks");
    let demands = demands(hooks, old.map(|o| o.list("webhooks")));
    let mut names = BTreeSet::new();
    for (i, hook) in hooks.iter().enumerate() {
        let root = Path::root("webhooks");
        let path = root.index(i);
        webhook(report, hook, old, &demands, path);
        review_versions(
            report,
            hook.list("admissionReviewVersions"),
            demands.known_review_version,
            path.child("admissionReviewVersions"),
        );
        let name = hook.text("name");
        if demands.unique_names && !name.is_empty() && !names.insert(name) {
            report.duplicate(path.child("name"), name);
        }
    }
}

fn demands(hooks: &[Value], old: Option<&[Value]>) -> Demands {
    let Some(old) = old else {
        return Demands {
            no_side_effects: true,
            known_review_version: true,
            unique_names: true,
            match_conditions: true,
            label_values: true,
        };
    };
    let mut names = BTreeSet::new();
    let same_conditions = |(a, b): (&Value, &Value)| {
        super::read::same(
            a.get("matchConditions").unwrap_or(&NOTHING),
            b.get("matchConditions").unwrap_or(&NOTHING),
        )
    };
    let selectors_are_fine = |hook: &Value| {
        let mut errors = Vec::new();
        for field in ["namespaceSelector", "objectSelector"] {
            check_label_selector(hook.part(field), &Path::root(field), &mut errors);
        }
        errors.is_empty()
    };
    Demands {
        no_side_effects: old
            .iter()
            .all(|h| matches!(h.text("sideEffects"), "None" | "NoneOnDryRun")),
        known_review_version: old.iter().all(|h| {
            let versions = h.list("admissionReviewVersions");
            versions.is_empty() || has_known_version(versions)
        }),
        unique_names: old.iter().all(|h| names.insert(h.text("name"))),
        match_conditions: hooks.len() != old.len() || !hooks.iter().zip(old).all(same_conditions),
        label_values: old.iter().all(selectors_are_fine),
    }
}

fn has_known_version(versions: &[Value]) -> bool {
    versions
        .iter()
        .any(|v| matches!(v.as_str(), Some("v1" | "v1beta1")))
}

fn webhook(
    report: &mut Report,
    hook: &Value,
    old: Option<&Value>,
    demands: &Demands,
    path: Path<'_>,
) {
    fully_qualified(report, hook.text("name"), path.child("name"));
    let rules = path.child("rules");
    for (i, rule) in hook.list("rules").iter().enumerate() {
        rule_with_operations(report, rule, rules.index(i));
    }
    for (field, supported) in [
        ("failurePolicy", &FAILURE_POLICIES),
        ("matchPolicy", &MATCH_POLICIES),
        ("reinvocationPolicy", &REINVOCATION_POLICIES),
    ] {
        report.one_of_pointer(path.child(field), hook.string(field), supported);
    }
    let allowed = if demands.no_side_effects {
        &SIDE_EFFECTS[..2]
    } else {
        &SIDE_EFFECTS[..]
    };
    match hook.string("sideEffects") {
        None => report.required(
            path.child("sideEffects"),
            &format!("must specify one of {}", allowed.join(", ")),
        ),
        effects => report.one_of_pointer(path.child("sideEffects"), effects, allowed),
    }
    if let Some(seconds) = hook.int("timeoutSeconds")
        && !(1..=30).contains(&seconds)
    {
        report.invalid_int(
            path.child("timeoutSeconds"),
            seconds,
            "the timeout value must be between 1 and 30 seconds",
        );
    }
    for field in ["namespaceSelector", "objectSelector"] {
        selector(report, hook, field, demands.label_values, path);
    }
    let config = hook.part("clientConfig").unwrap_or(&NOTHING);
    webhooks::client_config(report, config, path.child("clientConfig"));
    if demands.match_conditions {
        match_conditions(report, hook, old, false, path);
    }
}

/// `label_values`: values that are no label values are refused.
fn selector(report: &mut Report, of: &Value, field: &str, label_values: bool, path: Path<'_>) {
    let path = path.child(field);
    let mut errors = Vec::new();
    check_label_selector(of.part(field), &path, &mut errors);
    if !label_values {
        // Only the values of expressions are meant.
        errors.retain(|e: &FieldError| !e.path.contains(".values["));
    }
    report.errors.extend(errors);
}

fn fully_qualified(report: &mut Report, name: &str, path: Path<'_>) {
    let problems = rules::dns1123_subdomain(name);
    if name.is_empty() {
        report.required(path, "");
    } else if !problems.is_empty() {
        report.invalid_str(path, name, problems.join(","));
    } else if name.split('.').count() < 3 {
        let detail = "should be a domain with at least three segments separated by dots";
        report.invalid_str(path, name, detail);
    }
}

fn review_versions(report: &mut Report, versions: &[Value], known: bool, path: Path<'_>) {
    if versions.is_empty() {
        report.required(path, "must specify one of v1, v1beta1");
        return;
    }
    for (i, version) in versions.iter().enumerate() {
        let text = version.as_str().unwrap_or_default();
        if versions[..i].contains(version) {
            report.invalid_str(path.index(i), text, "duplicate version");
        } else {
            report.problems(path.index(i), text, rules::dns1035_label(text));
        }
    }
    if known && !has_known_version(versions) {
        report.invalid(
            path,
            &Value::Array(versions.to_vec()),
            "must include at least one of v1, v1beta1",
        );
    }
}

pub(super) fn match_conditions(
    report: &mut Report,
    of: &Value,
    old: Option<&Value>,
    params: bool,
    path: Path<'_>,
) {
    let path = path.child("matchConditions");
    let conditions = of.list("matchConditions");
    if conditions.len() > MAX_MATCH_CONDITIONS {
        report.errors.push(FieldError::too_many(
            path,
            conditions.len(),
            MAX_MATCH_CONDITIONS,
        ));
    }
    if conditions.is_empty() {
        return;
    }
    let env = Env::new(report.minor, params, false, old);
    let mut names = BTreeSet::new();
    for (i, condition) in conditions.iter().enumerate() {
        let path = path.index(i);
        let (name, expression) = (condition.text("name"), condition.text("expression").trim());
        let at = path.child("expression");
        if expression.is_empty() {
            report.required(at, "");
        } else {
            expressions::check(report, &env, expression, expressions::Result::Bool, at);
        }
        if name.is_empty() {
            report.required(path.child("name"), "");
        } else {
            report.problems(path.child("name"), name, rules::qualified_name(name));
            if !names.insert(name) {
                report.duplicate(path.child("name"), name);
            }
        }
    }
}

pub(super) fn match_resources(report: &mut Report, matches: &Value, path: Path<'_>) {
    match matches.string("matchPolicy") {
        None => report.required(path.child("matchPolicy"), ""),
        policy => report.one_of_pointer(path.child("matchPolicy"), policy, &MATCH_POLICIES),
    }
    for field in ["namespaceSelector", "objectSelector"] {
        if matches.has(field) {
            selector(report, matches, field, true, path);
        } else {
            report.required(path.child(field), "");
        }
    }
    for field in ["resourceRules", "excludeResourceRules"] {
        let rules = path.child(field);
        for (i, rule) in matches.list(field).iter().enumerate() {
            named_rule(report, rule, rules.index(i));
        }
    }
}

fn named_rule(report: &mut Report, rule: &Value, path: Path<'_>) {
    let names = path.child("resourceNames");
    let mut seen = BTreeSet::new();
    for (i, name) in rule.texts("resourceNames").enumerate() {
        report.problems(names.index(i), name, rules::path_segment(name));
        if !seen.insert(name) {
            report.duplicate(names.index(i), name);
        }
    }
    rule_with_operations(report, rule, path);
}

fn only_wildcard(report: &mut Report, rule: &Value, field: &str, what: &str, path: Path<'_>) {
    let list = rule.list(field);
    let path = path.child(field);
    if list.is_empty() {
        report.required(path, "");
    }
    if list.len() > 1 && list.iter().any(|v| v.as_str() == Some("*")) {
        report.invalid(
            path,
            &Value::Array(list.to_vec()),
            format!("if '*' is present, must not specify other {what}"),
        );
    }
}

fn rule_with_operations(report: &mut Report, rule: &Value, path: Path<'_>) {
    only_wildcard(report, rule, "operations", "operations", path);
    let operations = path.child("operations");
    for (i, operation) in rule.texts("operations").enumerate() {
        if !OPERATIONS.contains(&operation) {
            report.not_supported(operations.index(i), operation, &OPERATIONS);
        }
    }
    only_wildcard(report, rule, "apiGroups", "API groups", path);
    only_wildcard(report, rule, "apiVersions", "API versions", path);
    let versions = path.child("apiVersions");
    for (i, version) in rule.texts("apiVersions").enumerate() {
        if version.is_empty() {
            report.required(versions.index(i), "");
        }
    }
    resources(report, rule.list("resources"), path.child("resources"));
    report.one_of_pointer(
        path.child("scope"),
        rule.string("scope"),
        &["*", "Cluster", "Namespaced"],
    );
}

fn resources(report: &mut Report, list: &[Value], path: Path<'_>) {
    if list.is_empty() {
        report.required(path, "");
    }
    let (mut all_below, mut in_all) = (BTreeSet::new(), BTreeSet::new());
    // Upstream's flag is that of the last resource without a subresource.
    let (mut double, mut single, mut plain) = (false, false, false);
    for (i, text) in list.iter().enumerate() {
        let text = text.as_str().unwrap_or_default();
        if text.is_empty() {
            report.required(path.index(i), "");
            continue;
        }
        double |= text == "*/*";
        single |= text == "*";
        let Some((resource, sub)) = text.split_once('/') else {
            plain = text != "*";
            continue;
        };
        if all_below.contains(resource) {
            let detail = format!("if '{resource}/*' is present, must not specify {text}");
            report.invalid_str(path.index(i), text, detail);
        }
        if in_all.contains(sub) {
            let detail = format!("if '*/{sub}' is present, must not specify {text}");
            report.invalid_str(path.index(i), text, detail);
        }
        if sub == "*" {
            all_below.insert(resource);
        }
        if resource == "*" {
            in_all.insert(sub);
        }
    }
    let shown = Value::Array(list.to_vec());
    if list.len() > 1 && double {
        let detail = "if '*/*' is present, must not specify other resources";
        report.invalid(path, &shown, detail);
    }
    if single && plain {
        let detail = "if '*' is present, must not specify other resources without subresources";
        report.invalid(path, &shown, detail);
    }
}

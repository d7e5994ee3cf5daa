//! Admission policies and their bindings: kubernetes
//! `pkg/apis/admissionregistration/validation/validation.go`.

use super::admission::{self, match_conditions, match_resources};
use super::expressions::{self, Env};
use super::read::{NOTHING, Read, Report, same};
use crate::field::{FieldError, Path};
use crate::limits::MAX_POLICY_VARIABLES;
use crate::meta::check_label_selector;
use crate::{Value, rules};
use std::collections::BTreeSet;

const MAX_AUDIT_ANNOTATIONS: usize = 20;
const MAX_VALUE_EXPRESSION: usize = 5 * 1024;
/// What mutating policies may look at.
const MUTATING_OPERATIONS: [&str; 4] = ["*", "CONNECT", "CREATE", "UPDATE"];

pub(super) fn validating(report: &mut Report, object: &Value, old: Option<&Value>) {
    let spec = object.part("spec").unwrap_or(&NOTHING);
    let path = Path::root("spec");
    let mut env = common(report, spec, old, false, path);
    variables(report, spec, &mut env, path);
    let (validations, annotations) = (spec.list("validations"), spec.list("auditAnnotations"));
    if validations.is_empty() && annotations.is_empty() {
        let detail = "validations or auditAnnotations must contain at least one item";
        report.required(path.child("validations"), detail);
        report.required(path.child("auditAnnotations"), detail);
        return;
    }
    let at = path.child("validations");
    for (i, one) in validations.iter().enumerate() {
        validation(report, one, &env, at.index(i));
    }
    let at = path.child("auditAnnotations");
    if annotations.len() > MAX_AUDIT_ANNOTATIONS {
        report.invalid(
            at,
            &Value::Array(annotations.to_vec()),
            format!("must not have more than {MAX_AUDIT_ANNOTATIONS} auditAnnotations"),
        );
    }
    let name = object.str_at(&["metadata", "name"]).unwrap_or_default();
    let mut keys = BTreeSet::new();
    for (i, one) in annotations.iter().enumerate() {
        audit_annotation(report, one, name, &env, at.index(i));
        let key = one.text("key");
        if !keys.insert(key) {
            report.duplicate(at.index(i).child("key"), key);
        }
    }
}

/// What both kinds of policies have.
fn common(
    report: &mut Report,
    spec: &Value,
    old: Option<&Value>,
    composed: bool,
    path: Path<'_>,
) -> Env {
    match spec.string("failurePolicy") {
        None => report.required(path.child("failurePolicy"), ""),
        policy => report.one_of_pointer(
            path.child("failurePolicy"),
            policy,
            &admission::FAILURE_POLICIES,
        ),
    }
    if let Some(kind) = spec.part("paramKind") {
        param_kind(report, kind, path.child("paramKind"));
    }
    let at = path.child("matchConstraints");
    match spec.part("matchConstraints") {
        None => report.required(at, ""),
        Some(constraints) => {
            match_resources(report, constraints, at);
            if constraints.list("resourceRules").is_empty() {
                report.required(at.child("resourceRules"), "");
            }
        }
    }
    let params = spec.has("paramKind");
    let unchanged = old.is_some_and(|old| {
        let old = old.part("spec").unwrap_or(&NOTHING);
        ["paramKind", "matchConditions"].iter().all(|field| {
            same(
                spec.get(field).unwrap_or(&NOTHING),
                old.get(field).unwrap_or(&NOTHING),
            )
        })
    });
    if !unchanged {
        match_conditions(report, spec, old, params, path);
    }
    Env::new(
        report.minor,
        params,
        composed || !spec.list("variables").is_empty(),
        old,
    )
}

fn param_kind(report: &mut Report, kind: &Value, path: Path<'_>) {
    let at = path.child("apiVersion");
    let text = kind.text("apiVersion");
    let parts: Vec<&str> = text.split('/').collect();
    match parts[..] {
        _ if text.is_empty() => report.required(at, ""),
        [version] => group_version(report, text, "", version, at),
        ["", ""] => group_version(report, text, "", "", at),
        [group, version] => group_version(report, text, group, version, at),
        _ => report.invalid_str(at, text, format!("unexpected GroupVersion string: {text}")),
    }
    let at = path.child("kind");
    let name = kind.text("kind");
    let problems = rules::dns1035_label(&name.to_lowercase());
    if name.is_empty() {
        report.required(at, "");
    } else if !problems.is_empty() {
        let detail = format!(
            "may have mixed case, but should otherwise match: {}",
            problems.join(",")
        );
        report.invalid_str(at, name, detail);
    }
}

fn group_version(report: &mut Report, text: &str, group: &str, version: &str, path: Path<'_>) {
    if !group.is_empty() {
        let problems = rules::dns1123_subdomain(group);
        if !problems.is_empty() {
            report.invalid_str(path, group, problems.join(","));
        }
    }
    let problems = rules::dns1035_label(version);
    if version.is_empty() {
        report.invalid_str(path, text, "version must be specified");
    } else if !problems.is_empty() {
        report.invalid_str(path, version, problems.join(","));
    }
}

fn variables(report: &mut Report, spec: &Value, env: &mut Env, path: Path<'_>) {
    let path = path.child("variables");
    let given = spec.list("variables");
    if given.len() > MAX_POLICY_VARIABLES {
        let error = FieldError::too_many(path, given.len(), MAX_POLICY_VARIABLES);
        return report.errors.push(error);
    }
    for (i, variable) in given.iter().enumerate() {
        let path = path.index(i);
        let (name, expression) = (variable.text("name"), variable.text("expression"));
        if name.trim().is_empty() {
            report.required(path.child("name"), "name is not specified");
        } else if !expressions::is_identifier(name) {
            report.invalid_str(path.child("name"), name, "must be a valid CEL identifier");
        }
        let at = path.child("expression");
        if expression.trim().is_empty() {
            report.required(at, "expression is not specified");
        } else {
            expressions::variable(report, env, name, expression, at);
        }
    }
}

fn validation(report: &mut Report, validation: &Value, env: &Env, path: Path<'_>) {
    let text = |field| validation.text(field);
    let at = path.child("expression");
    if text("expression").trim().is_empty() {
        report.required(at, "expression is not specified");
    } else {
        expressions::check(
            report,
            env,
            text("expression"),
            expressions::Result::Bool,
            at,
        );
    }
    const NOT_EMPTY: &str = "must be non-empty if specified";
    let (at, expression) = (path.child("messageExpression"), text("messageExpression"));
    if !expression.is_empty() && expression.trim().is_empty() {
        report.invalid_str(at, expression, NOT_EMPTY);
    } else if !expression.is_empty() {
        expressions::check(report, env, expression, expressions::Result::Text, at);
    }
    let (at, message) = (path.child("message"), text("message"));
    if !message.is_empty() && message.trim().is_empty() {
        report.invalid_str(at, message, NOT_EMPTY);
    } else if message.trim().contains(['\n', '\r']) {
        report.invalid_str(at, message, "must not contain line breaks");
    }
    report.one_of_pointer(
        path.child("reason"),
        validation.string("reason"),
        &["Forbidden", "Invalid", "RequestEntityTooLarge"],
    );
}

fn audit_annotation(
    report: &mut Report,
    annotation: &Value,
    policy: &str,
    env: &Env,
    path: Path<'_>,
) {
    let (at, key) = (path.child("key"), annotation.text("key"));
    if policy.is_empty() {
        report.invalid_str(at, key, "requires metadata.name be non-empty");
    } else {
        let whole = format!("{policy}/{key}");
        report.problems(at, &whole, rules::qualified_name(&whole));
    }
    let at = path.child("valueExpression");
    let expression = annotation.text("valueExpression").trim();
    if expression.is_empty() {
        report.required(at, "valueExpression is not specified");
    } else if expression.len() > MAX_VALUE_EXPRESSION {
        let detail = format!("must not exceed {MAX_VALUE_EXPRESSION} bytes in length");
        report.required(at, &detail);
    } else {
        expressions::check(report, env, expression, expressions::Result::TextOrNull, at);
    }
}

pub(super) fn mutating(report: &mut Report, object: &Value, old: Option<&Value>) {
    let spec = object.part("spec").unwrap_or(&NOTHING);
    let path = Path::root("spec");
    let mut env = common(report, spec, old, true, path);
    if let Some(constraints) = spec.part("matchConstraints") {
        mutating_operations(report, constraints, path.child("matchConstraints"));
    }
    variables(report, spec, &mut env, path);
    let at = path.child("mutations");
    let mutations = spec.list("mutations");
    if mutations.is_empty() {
        report.required(at, "mutations must contain at least one item");
    }
    for (i, one) in mutations.iter().enumerate() {
        mutation(report, one, &env, at.index(i));
    }
    report.one_of(
        path.child("reinvocationPolicy"),
        spec.text("reinvocationPolicy"),
        &admission::REINVOCATION_POLICIES,
    );
}

fn mutating_operations(report: &mut Report, matches: &Value, path: Path<'_>) {
    let rules = path.child("resourceRules");
    for rule in matches.list("resourceRules") {
        for operation in rule.texts("operations") {
            if !MUTATING_OPERATIONS.contains(&operation) {
                report.not_supported(rules.child("operations"), operation, &MUTATING_OPERATIONS);
            }
        }
    }
}

fn mutation(report: &mut Report, mutation: &Value, env: &Env, path: Path<'_>) {
    use expressions::Result::{Configuration, JsonPatch};
    let (field, other, result) = match mutation.text("patchType") {
        "" => return report.required(path.child("patchType"), ""),
        "JSONPatch" => ("jsonPatch", "applyConfiguration", JsonPatch),
        "ApplyConfiguration" => ("applyConfiguration", "jsonPatch", Configuration),
        unknown => {
            let supported = ["ApplyConfiguration", "JSONPatch"];
            return report.not_supported(path.child("patchType"), unknown, &supported);
        }
    };
    let kind = mutation.text("patchType");
    let at = path.child(field);
    match mutation.part(field) {
        None => report.required(at, &format!("must be specified when patchType is {kind}")),
        Some(patch) => {
            let at = at.child("expression");
            match patch.text("expression").trim() {
                "" => report.required(at, ""),
                source => expressions::check(report, env, source, result, at),
            }
        }
    }
    if mutation.has(other) {
        report.invalid_str(
            path.child(other),
            &format!("{{{other}}}"),
            format!("must not be specified when patchType is {kind}"),
        );
    }
}

pub(super) fn binding(report: &mut Report, object: &Value, mutating: bool) {
    let spec = object.part("spec").unwrap_or(&NOTHING);
    let path = Path::root("spec");
    report.required_name(
        path.child("policyName"),
        spec.text("policyName"),
        rules::dns1123_subdomain,
    );
    if let Some(params) = spec.part("paramRef") {
        param_ref(report, params, path.child("paramRef"));
    }
    if let Some(matches) = spec.part("matchResources") {
        let at = path.child("matchResources");
        match_resources(report, matches, at);
        if mutating {
            mutating_operations(report, matches, at);
        }
    }
    if !mutating {
        actions(
            report,
            spec.list("validationActions"),
            path.child("validationActions"),
        );
    }
}

fn actions(report: &mut Report, actions: &[Value], path: Path<'_>) {
    let mut seen = BTreeSet::new();
    for (i, action) in actions.iter().enumerate() {
        let action = action.as_str().unwrap_or_default();
        if !["Audit", "Deny", "Warn"].contains(&action) {
            report.not_supported(path.index(i), action, &["Audit", "Deny", "Warn"]);
        }
        if !seen.insert(action) {
            report.duplicate(path.index(i), action);
        }
    }
    if seen.contains("Deny") && seen.contains("Warn") {
        let detail = "must not contain both Deny and Warn (repeating the same validation failure information in \
                      the API response and headers serves no purpose)";
        report.invalid(path, &Value::Array(actions.to_vec()), detail);
    }
    if actions.is_empty() {
        report.required(path, "at least one validation action is required");
    }
}

fn param_ref(report: &mut Report, params: &Value, path: Path<'_>) {
    const EXCLUSIVE: &str = "name and selector are mutually exclusive";
    let name = params.text("name");
    let selector = params.part("selector");
    if !name.is_empty() {
        report.problems(path.child("name"), name, rules::path_segment(name));
        if selector.is_some() {
            report.forbidden(path.child("name"), EXCLUSIVE);
        }
    }
    check_label_selector(selector, &path.child("selector"), &mut report.errors);
    match (name.is_empty(), selector) {
        (false, Some(_)) => report.forbidden(path.child("selector"), EXCLUSIVE),
        (true, None) => report.required(path, "one of name or selector must be specified"),
        _ => {}
    }
    let supported = ["Deny", "Allow"];
    report.one_of(
        path.child("parameterNotFoundAction"),
        params.text("parameterNotFoundAction"),
        &supported,
    );
}

/// The status of a validating policy.
pub(super) fn status(report: &mut Report, status: &Value, path: Path<'_>) {
    let root = path.child("typeChecking");
    let at = root.child("expressionWarnings");
    let warnings = status
        .at(&["typeChecking"])
        .map(|t| t.list("expressionWarnings"))
        .unwrap_or_default();
    for (i, warning) in warnings.iter().enumerate() {
        let path = at.index(i);
        if warning.text("warning").is_empty() {
            report.required(path.child("warning"), "");
        }
        if warning.text("fieldRef").trim().is_empty() {
            report.required(path.child("fieldRef"), "");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value;

    fn mutating_said(mutation: &Value, old: Option<&Value>) -> Vec<String> {
        let policy = value!({"metadata": {"name": "p"}, "spec": {"failurePolicy": "Fail",
            "reinvocationPolicy": "Never",
            "variables": [{"name": "n", "expression": "object.spec.replicas"}],
            "matchConstraints": {"matchPolicy": "Exact", "namespaceSelector": {}, "objectSelector": {},
                "resourceRules": [{"operations": ["CREATE"], "apiGroups": [""],
                    "apiVersions": ["v1"], "resources": ["pods"], "scope": "*"}]},
            "mutations": [(mutation.clone())]}});
        let mut report = Report {
            minor: 36,
            errors: Vec::new(),
        };
        mutating(&mut report, &policy, old);
        let errors = report.errors.iter();
        errors.map(ToString::to_string).collect()
    }

    fn applies(expression: &str) -> Vec<String> {
        let mutation = value!({"patchType": "ApplyConfiguration",
            "applyConfiguration": {"expression": expression}});
        mutating_said(&mutation, None)
    }

    fn patches(expression: &str) -> Vec<String> {
        let mutation = value!({"patchType": "JSONPatch", "jsonPatch": {"expression": expression}});
        mutating_said(&mutation, None)
    }

    #[test]
    fn mutations_are_compiled_and_must_come_to_what_their_patch_type_takes() {
        assert_eq!(
            applies("Object{spec: Object.spec{n: variables.n}}"),
            [""; 0]
        );
        assert_eq!(
            patches(" [JSONPatch{op: 'add', path: '/a', value: 1}]\n"),
            [""; 0]
        );
        let said = applies("[JSONPatch{}]").join("");
        assert!(
            said.contains("must evaluate to Object but got list(JSONPatch)"),
            "{said}"
        );
        let said = applies("Object.spec{}").join("");
        assert!(
            said.contains("must evaluate to Object but got Object.spec"),
            "{said}"
        );
        let said = patches("[]").join("");
        assert!(
            said.contains("must evaluate to list(JSONPatch) but got list("),
            "{said}"
        );
        let said = patches("[JSONPatch{operation: 'add'}]").join("");
        assert!(said.contains("compilation failed: "), "{said}");
        let said = applies("Object{spec: variables.missing}").join("");
        assert!(said.contains("undefined field 'missing'"), "{said}");
        // Match conditions have no such types.
        let said = applies("Objects{}").join("");
        assert!(said.contains("undeclared reference to 'Objects'"), "{said}");
    }

    #[test]
    fn hostile_mutations_are_refused_and_take_no_time() {
        let started = std::time::Instant::now();
        let deep = format!(
            "{}Object{{}}{}",
            "Object{a: ".repeat(5_000),
            "}".repeat(5_000)
        );
        let long = format!("Object{{{}}}", "a: 1, ".repeat(30_000));
        let name = format!("Object{}{{}}", ".a".repeat(40_000));
        for source in [&deep, &long, &name] {
            let said = applies(source);
            assert_eq!(said.len(), 1, "{} bytes were taken", source.len());
        }
        assert!(started.elapsed().as_secs() < 60);
    }

    #[test]
    fn too_many_variables_are_refused_uncompiled() {
        let policy = |count: usize| {
            let one = |i: usize| value!({"name": (format!("v{i}")), "expression": "1 +"});
            let all: Vec<Value> = (0..count).map(one).collect();
            value!({"metadata": {"name": "p"}, "spec": {"failurePolicy": "Fail", "variables": (all),
                "matchConstraints": {"resourceRules": [{"operations": ["CREATE"], "apiGroups": [""],
                    "apiVersions": ["v1"], "resources": ["pods"]}]},
                "validations": [{"expression": "true"}]}})
        };
        let said = |count| {
            let mut report = Report::default();
            validating(&mut report, &policy(count), None);
            let at_variables = report.errors.iter().map(|e| e.path.clone());
            at_variables
                .filter(|path| path.starts_with("spec.variables"))
                .collect::<Vec<_>>()
        };
        assert_eq!(said(MAX_POLICY_VARIABLES).len(), MAX_POLICY_VARIABLES);
        assert_eq!(said(MAX_POLICY_VARIABLES + 1), ["spec.variables"]);
    }
}

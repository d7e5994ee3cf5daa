//! Flow schemas and priority levels: kubernetes `pkg/apis/flowcontrol/validation/validation.go`.

use super::read::{NOTHING, Read, Report, same};
use crate::field::{FieldError, Path};
use crate::{Value, rules, value};
use std::collections::BTreeSet;

const VERBS: [&str; 9] = [
    "create",
    "delete",
    "deletecollection",
    "get",
    "list",
    "patch",
    "proxy",
    "update",
    "watch",
];
const MAX_PRECEDENCE: i64 = 10_000;
const MAX_QUEUES: i64 = 10_000_000;
const MAX_HASH_BITS: i64 = 60;
/// Kept for the conversion of v1beta3 only.
const PRESERVE_ZERO: &str = "flowcontrol.k8s.io/v1beta3-preserve-zero-concurrency-shares";

fn name_of(object: &Value) -> &str {
    object.str_at(&["metadata", "name"]).unwrap_or_default()
}

pub(super) fn flow_schema(report: &mut Report, object: &Value) {
    let name = name_of(object);
    let spec = object.part("spec").unwrap_or(&NOTHING);
    let path = Path::root("spec");
    let (at, precedence) = (
        path.child("matchingPrecedence"),
        spec.number("matchingPrecedence"),
    );
    if precedence <= 0 {
        report.invalid_int(at, precedence, "must be a positive value");
    }
    if precedence > MAX_PRECEDENCE {
        let detail = format!("must not be greater than {MAX_PRECEDENCE}");
        report.invalid_int(at, precedence, detail);
    }
    if precedence == 1 && name != "exempt" {
        let detail = "only the schema named 'exempt' may have matchingPrecedence 1";
        report.invalid_int(at, precedence, detail);
    }
    if let Some(method) = spec.part("distinguisherMethod")
        && !["ByNamespace", "ByUser"].contains(&method.text("type"))
    {
        let root = path.child("distinguisherMethod");
        let at = root.child("type");
        let supported = ["ByNamespace", "ByUser"];
        report
            .errors
            .push(FieldError::not_supported(at, method, &supported));
    }
    let level = spec
        .str_at(&["priorityLevelConfiguration", "name"])
        .unwrap_or_default();
    let root = path.child("priorityLevelConfiguration");
    let at = root.child("name");
    if level.is_empty() {
        report.required(at, "must reference a priority level");
    } else {
        report.problems(at, level, rules::dns1123_subdomain(level));
    }
    let rules = path.child("rules");
    for (i, one) in spec.list("rules").iter().enumerate() {
        rule(report, one, rules.index(i));
    }
    if mandatory_schema(name).is_some_and(|fixed| !same(&fixed, spec)) {
        let detail = format!("spec of '{name}' must equal the fixed value");
        report.invalid(path, spec, detail);
    }
    conditions(report, object);
}

/// Two schemas must be as they are; `pkg/apis/flowcontrol/bootstrap/default.go`.
fn mandatory_schema(name: &str) -> Option<Value> {
    let group = |name: &str| value!({"kind": "Group", "group": {"name": name}});
    let mut spec = match name {
        "exempt" => {
            value!({"matchingPrecedence": 1, "priorityLevelConfiguration": {"name": "exempt"}})
        }
        "catch-all" => {
            value!({"matchingPrecedence": MAX_PRECEDENCE, "distinguisherMethod": {"type": "ByUser"},
            "priorityLevelConfiguration": {"name": "catch-all"}})
        }
        _ => return None,
    };
    let subjects = if name == "exempt" {
        vec![group("system:masters")]
    } else {
        vec![
            group("system:unauthenticated"),
            group("system:authenticated"),
        ]
    };
    let rule = value!({"subjects": subjects,
        "resourceRules": [{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"], "namespaces": ["*"], "clusterScope": true}],
        "nonResourceRules": [{"verbs": ["*"], "nonResourceURLs": ["*"]}]});
    spec.set(&["rules"], vec![rule]);
    Some(spec)
}

fn rule(report: &mut Report, rule: &Value, path: Path<'_>) {
    let subjects = path.child("subjects");
    if rule.list("subjects").is_empty() {
        report.required(subjects, "subjects must contain at least one value");
    }
    for (i, one) in rule.list("subjects").iter().enumerate() {
        subject(report, one, subjects.index(i));
    }
    let (resource, other) = (rule.list("resourceRules"), rule.list("nonResourceRules"));
    if resource.is_empty() && other.is_empty() {
        let detail = "at least one of resourceRules and nonResourceRules has to be non-empty";
        report.required(path, detail);
    }
    let at = path.child("resourceRules");
    for (i, one) in resource.iter().enumerate() {
        resource_rule(report, one, at.index(i));
    }
    let at = path.child("nonResourceRules");
    for (i, one) in other.iter().enumerate() {
        non_resource_rule(report, one, at.index(i));
    }
}

const SUBJECTS: [(&str, &str); 3] = [
    ("ServiceAccount", "serviceAccount"),
    ("User", "user"),
    ("Group", "group"),
];

fn subject(report: &mut Report, subject: &Value, path: Path<'_>) {
    let kind = subject.text("kind");
    if !SUBJECTS.iter().any(|(k, _)| *k == kind) {
        let supported = ["Group", "ServiceAccount", "User"];
        report.not_supported(path.child("kind"), kind, &supported);
        return;
    }
    for (of, field) in SUBJECTS {
        let at = path.child(field);
        match subject.part(field) {
            None if of == kind => {
                let detail = format!("{field} is required when subject kind is '{of}'");
                report.required(at, &detail);
            }
            Some(_) if of != kind => {
                let detail = format!("{field} is forbidden when subject kind is not '{of}'");
                report.forbidden(at, detail);
            }
            Some(who) => named_subject(report, who, kind, at),
            None => {}
        }
    }
}

fn named_subject(report: &mut Report, who: &Value, kind: &str, path: Path<'_>) {
    let name = who.text("name");
    let account = kind == "ServiceAccount";
    if name.is_empty() {
        report.required(path.child("name"), "");
    } else if account && name != "*" {
        report.problems(path.child("name"), name, rules::dns1123_subdomain(name));
    }
    if account {
        let namespace = who.text("namespace");
        let at = path.child("namespace");
        if namespace.is_empty() {
            report.required(at, "must specify namespace for service account");
        } else {
            report.problems(at, namespace, rules::dns1123_label(namespace));
        }
    }
}

fn verbs(report: &mut Report, rule: &Value, path: Path<'_>) {
    let at = path.child("verbs");
    let list = rule.list("verbs");
    if list.is_empty() {
        report.required(at, "verbs must contain at least one value");
    } else if !wildcard(report, rule, "verbs", "verbs", path)
        && !rule.texts("verbs").all(|v| VERBS.contains(&v))
    {
        report.errors.push(FieldError::not_supported(
            at,
            &Value::Array(list.to_vec()),
            &VERBS,
        ));
    }
}

/// Whether there is a `*`, which must then be alone.
fn wildcard(report: &mut Report, rule: &Value, field: &str, what: &str, path: Path<'_>) -> bool {
    let list = rule.list(field);
    let found = rule.texts(field).any(|v| v == "*");
    if found && list.len() > 1 {
        let detail = format!("if '*' is present, must not specify other {what}");
        report.invalid(path.child(field), &Value::Array(list.to_vec()), detail);
    }
    found
}

fn resource_rule(report: &mut Report, rule: &Value, path: Path<'_>) {
    verbs(report, rule, path);
    for (field, one, many) in [
        ("apiGroups", "api group", "api groups"),
        ("resources", "resource", "resources"),
    ] {
        if rule.list(field).is_empty() {
            let detail = format!("resource rules must supply at least one {one}");
            report.required(path.child(field), &detail);
        }
        wildcard(report, rule, field, many, path);
    }
    let at = path.child("namespaces");
    if rule.list("namespaces").is_empty() && !rule.flag("clusterScope") {
        let detail =
            "resource rules that are not cluster scoped must supply at least one namespace";
        report.required(at, detail);
    } else if !wildcard(report, rule, "namespaces", "namespaces", path) {
        for (i, namespace) in rule.texts("namespaces").enumerate() {
            for problem in rules::dns1123_label(namespace) {
                let detail =
                    format!("each member of this list must be '*' or a DNS-1123 label; {problem}");
                report.invalid_str(at.index(i), namespace, detail);
            }
        }
    }
}

fn non_resource_rule(report: &mut Report, rule: &Value, path: Path<'_>) {
    verbs(report, rule, path);
    let at = path.child("nonResourceURLs");
    if rule.list("nonResourceURLs").is_empty() {
        report.required(at, "nonResourceURLs must contain at least one value");
    } else if !wildcard(report, rule, "nonResourceURLs", "non-resource URLs", path) {
        for (i, url) in rule.texts("nonResourceURLs").enumerate() {
            if let Some(problem) = url_problem(url) {
                report.invalid_str(at.index(i), url, problem);
            }
        }
    }
}

fn url_problem(path: &str) -> Option<&'static str> {
    let wildcards = path.matches('*').count();
    if path.is_empty() {
        Some("must not be empty")
    } else if path == "/" {
        None
    } else if !path.starts_with('/') {
        Some("must start with slash")
    } else if path.contains(' ') {
        Some("must not contain white-space")
    } else if path.contains("//") {
        Some("must not contain double slash")
    } else if wildcards > 1 || wildcards == 1 && !path.ends_with("/*") {
        Some("wildcard can only do suffix matching")
    } else {
        None
    }
}

pub(super) fn priority_level(report: &mut Report, object: &Value, shares: &str) {
    let annotations = object.at(&["metadata", "annotations"]).unwrap_or(&NOTHING);
    if annotations.get(PRESERVE_ZERO).is_some() {
        let detail = format!("annotation '{PRESERVE_ZERO}' is forbidden");
        report.forbidden("metadata.annotations", detail);
    }
    let name = name_of(object);
    let spec = object.part("spec").unwrap_or(&NOTHING);
    let path = Path::root("spec");
    let kind = spec.text("type");
    if (name == "exempt") != (kind == "Exempt") {
        let detail = "must be 'Exempt' if and only if `name` is 'exempt'";
        report.invalid_str(path.child("type"), kind, detail);
    }
    let (limited, exempt) = (spec.part("limited"), spec.part("exempt"));
    match kind {
        "Exempt" => {
            if limited.is_some() {
                let detail = "must be nil if the type is not Limited";
                report.forbidden(path.child("limited"), detail);
            }
            if let Some(exempt) = exempt {
                let at = path.child("exempt");
                number_of_shares(report, exempt, "nominalConcurrencyShares", at);
                lendable(report, exempt, at);
            }
        }
        "Limited" => {
            if exempt.is_some() {
                let detail = "must be nil if the type is Limited";
                report.forbidden(path.child("exempt"), detail);
            }
            match limited {
                None => report.required(
                    path.child("limited"),
                    "must not be empty when type is Limited",
                ),
                Some(limited) => limited_level(report, limited, shares, path.child("limited")),
            }
        }
        "" => report.required(path.child("type"), ""),
        other => report.not_supported(path.child("type"), other, &["Exempt", "Limited"]),
    }
    mandatory_level(report, name, spec, path);
    conditions(report, object);
}

fn mandatory_level(report: &mut Report, name: &str, spec: &Value, path: Path<'_>) {
    match name {
        "exempt" if spec.text("type") != "Exempt" || spec.has("limited") => {
            let detail =
                "spec of 'exempt' except the 'spec.exempt' field must equal the fixed value";
            report.invalid(path, spec, detail);
        }
        "catch-all" => {
            let fixed = value!({"type": "Limited", "limited": {"nominalConcurrencyShares": 5, "lendablePercent": 0,
                "limitResponse": {"type": "Reject"}}});
            if !same(&fixed, spec) {
                report.invalid(path, spec, "spec of 'catch-all' must equal the fixed value");
            }
        }
        _ => {}
    }
}

fn number_of_shares(report: &mut Report, of: &Value, field: &str, path: Path<'_>) {
    if let Some(n) = of.int(field).filter(|n| *n < 0) {
        report.invalid_int(path.child(field), n, "must be a non-negative integer");
    }
}

fn lendable(report: &mut Report, of: &Value, path: Path<'_>) {
    if let Some(n) = of.int("lendablePercent") {
        report.int_problems(path.child("lendablePercent"), n, rules::in_range(n, 0, 100));
    }
}

fn limited_level(report: &mut Report, limited: &Value, shares: &str, path: Path<'_>) {
    number_of_shares(report, limited, shares, path);
    let response = limited.part("limitResponse").unwrap_or(&NOTHING);
    let at = path.child("limitResponse");
    let queuing = response.part("queuing");
    match (response.text("type"), queuing) {
        ("Reject", Some(_)) => {
            let detail = "must be nil if limited.limitResponse.type is not Limited";
            report.forbidden(at.child("queuing"), detail);
        }
        ("Queue", None) => {
            let detail = "must not be empty if limited.limitResponse.type is Limited";
            report.required(at.child("queuing"), detail);
        }
        ("Queue", Some(queuing)) => queues(report, queuing, at.child("queuing")),
        ("Reject", None) => {}
        ("", _) => report.required(at.child("type"), ""),
        (other, _) => report.not_supported(at.child("type"), other, &["Queue", "Reject"]),
    }
    lendable(report, limited, path);
    if let Some(n) = limited.int("borrowingLimitPercent").filter(|n| *n < 0) {
        let detail = "if specified, must be a non-negative integer";
        report.invalid_int(path.child("borrowingLimitPercent"), n, detail);
    }
}

fn queues(report: &mut Report, queuing: &Value, path: Path<'_>) {
    let length = queuing.number("queueLengthLimit");
    if length <= 0 {
        report.invalid_int(path.child("queueLengthLimit"), length, "must be positive");
    }
    let (queues, hand) = (queuing.number("queues"), queuing.number("handSize"));
    if queues <= 0 {
        report.invalid_int(path.child("queues"), queues, "must be positive");
    } else if queues > MAX_QUEUES {
        let detail = format!("must not be greater than {MAX_QUEUES}");
        report.invalid_int(path.child("queues"), queues, detail);
    }
    let at = path.child("handSize");
    if hand <= 0 {
        report.invalid_int(at, hand, "must be positive");
    } else if hand > queues {
        let detail = format!("should not be greater than queues ({queues})");
        report.invalid_int(at, hand, detail);
    } else if entropy_bits(queues, hand) > MAX_HASH_BITS {
        let detail = format!(
            "required entropy bits of deckSize {queues} and handSize {hand} should not be greater than {MAX_HASH_BITS}"
        );
        report.invalid_int(at, hand, detail);
    }
}

/// apiserver `pkg/util/shufflesharding/shufflesharding.go`
#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    reason = "numbers of 32 bits"
)]
fn entropy_bits(deck: i64, hand: i64) -> i64 {
    ((deck as f64).log2() * hand as f64).ceil() as i64
}

/// The conditions of both kinds.
pub(super) fn conditions(report: &mut Report, object: &Value) {
    let root = Path::root("status");
    let path = root.child("conditions");
    let mut seen = BTreeSet::new();
    let conditions = object.part("status").unwrap_or(&NOTHING).list("conditions");
    for (i, condition) in conditions.iter().enumerate() {
        let path = path.index(i);
        let at = path.child("type");
        let kind = condition.text("type");
        if !seen.insert(kind) {
            report.duplicate(at, kind);
        }
        if kind.is_empty() {
            report.required(at, "");
        }
    }
}

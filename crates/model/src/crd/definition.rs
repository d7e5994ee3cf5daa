//! Validation of CRD objects themselves: apiextensions
//! `pkg/apis/apiextensions/validation/validation.go`.
//!
//! Paths are those of upstream's internal version: what all versions have in common is reported at
//! `spec.validation`, `spec.subresources` and so on, not at `spec.versions[0]`.

use super::rules_check::Before;
use super::schema::Schema;
use super::version::{columns, deprecation, has_status, schema, selectable, subresources};
use crate::field::{ErrorKind, FieldError, Path, quote};
use crate::limits::MAX_VERSIONS;
use crate::{Value, json, rules as names};
use std::collections::BTreeSet;
use std::sync::Arc;

const APPROVED: &str = "api-approved.kubernetes.io";

/// Checks the spec of a new CRD (metadata is checked like that of any object, but for the name).
#[must_use]
pub fn validate_create(crd: &Value, minor: u8) -> Vec<FieldError> {
    whole(crd, None, minor).0
}

/// A schema that was read.
#[derive(Clone, Debug)]
pub(super) struct Read {
    pub(super) schema: Arc<Schema>,
    pub(super) nodes: usize,
}

/// Checks a definition that is stored, where what some server took once is good, with what was
/// read on the way, by version.
pub(super) fn check_stored(crd: &Value, minor: u8) -> (Vec<FieldError>, Vec<Option<Read>>) {
    whole(crd, Some(crd), minor)
}

/// `before`: what the rules are compared with.
fn whole(crd: &Value, before: Option<&Value>, minor: u8) -> (Vec<FieldError>, Vec<Option<Read>>) {
    let mut errors = Vec::new();
    let plural = crd.str_at(&["spec", "names", "plural"]).unwrap_or_default();
    let group = crd.str_at(&["spec", "group"]).unwrap_or_default();
    let name = crd.str_at(&["metadata", "name"]).unwrap_or_default();
    // Without a name, its absence is what is wrong.
    if !name.is_empty() && name != format!("{plural}.{group}") {
        errors.push(FieldError::invalid_str(
            "metadata.name",
            name,
            "must be spec.names.plural+\".\"+spec.group",
        ));
    }
    let schemas = spec(crd, before, minor, &mut errors);
    stored_versions(crd, &mut errors);
    approved(crd, None, &mut errors);
    preserve_unknown(crd, None, &mut errors);
    (errors, schemas)
}

/// Checks a changed CRD.
#[must_use]
pub fn validate_update(crd: &Value, old: &Value, minor: u8) -> Vec<FieldError> {
    let mut errors = Vec::new();
    spec(crd, Some(old), minor, &mut errors);
    let established = old
        .at(&["status", "conditions"])
        .and_then(Value::as_array)
        .unwrap_or_default()
        .iter()
        .any(|c| {
            c.str_at(&["type"]) == Some("Established") && c.str_at(&["status"]) == Some("True")
        });
    for (path, always) in [
        (&["spec", "scope"][..], false),
        (&["spec", "names", "kind"], false),
        (&["spec", "group"], true),
        (&["spec", "names", "plural"], true),
    ] {
        if (always || established) && crd.at(path) != old.at(path) {
            let value = crd.at(path).cloned().unwrap_or_else(|| "".into());
            errors.push(FieldError::invalid(
                path.join("."),
                &value,
                "field is immutable",
            ));
        }
    }
    stored_versions(crd, &mut errors);
    approved(crd, Some(old), &mut errors);
    preserve_unknown(crd, Some(old), &mut errors);
    errors
}

fn stored_versions(crd: &Value, errors: &mut Vec<FieldError>) {
    const PATH: &str = "status.storedVersions";
    let stored = super::status::stored_versions(crd);
    let list = stored.as_array().unwrap_or_default();
    if list.is_empty() {
        errors.push(FieldError::invalid(
            PATH,
            &Value::Null,
            "must have at least one stored version",
        ));
        return;
    }
    let mut left: BTreeSet<&str> = list.iter().filter_map(Value::as_str).collect();
    for version in versions(crd) {
        let name = text(version, &["name"]);
        // Of two versions of one name the second has none left.
        if !left.remove(name) && version.get("storage") == Some(&Value::Bool(true)) {
            errors.push(FieldError::invalid(
                PATH,
                &stored,
                format!("must have the storage version {name}"),
            ));
        }
    }
    let names: Vec<&str> = versions(crd).iter().map(|v| text(v, &["name"])).collect();
    for (i, version) in list.iter().enumerate() {
        let Some(v) = version.as_str().filter(|v| !names.contains(v)) else {
            continue;
        };
        // Of equal ones the last is named.
        if list[i + 1..].contains(version) {
            continue;
        }
        let why = format!(
            "missing from spec.versions; {v} was previously a storage version, and must remain in \
             spec.versions until a storage migration ensures no data remains persisted in {v} and removes \
             {v} from status.storedVersions"
        );
        errors.push(FieldError::invalid_str(format!("{PATH}[{i}]"), v, why));
    }
}

/// The versions as messages show them: with the names of upstream's internal type in their order,
/// and without what all versions have in common.
fn shown_versions(crd: &Value) -> String {
    const FIELDS: [(&str, &str); 9] = [
        ("name", "Name"),
        ("served", "Served"),
        ("storage", "Storage"),
        ("deprecated", "Deprecated"),
        ("deprecationWarning", "DeprecationWarning"),
        ("schema", "Schema"),
        ("subresources", "Subresources"),
        ("additionalPrinterColumns", "AdditionalPrinterColumns"),
        ("selectableFields", "SelectableFields"),
    ];
    let field = |version: &Value, key: &str, shown: &str| {
        let absent = if key == "deprecated" {
            Value::Bool(false)
        } else {
            Value::Null
        };
        let scalar = !FIELDS[5..].iter().any(|(k, _)| *k == key);
        let value = version
            .get(key)
            .filter(|_| scalar || !common(crd, key))
            .unwrap_or(&absent);
        format!(
            "\"{shown}\":{}",
            String::from_utf8_lossy(&json::to_vec(value))
        )
    };
    let one = |version: &Value| {
        let fields: Vec<String> = FIELDS
            .iter()
            .map(|(key, shown)| field(version, key, shown))
            .collect();
        format!("{{{}}}", fields.join(","))
    };
    let all: Vec<String> = versions(crd).iter().map(one).collect();
    format!("[{}]", all.join(","))
}

fn versions(crd: &Value) -> &[Value] {
    crd.at(&["spec", "versions"])
        .and_then(Value::as_array)
        .unwrap_or_default()
}

/// Whether all versions have the same value at `key`; then upstream looks at it once, in the spec.
fn common(crd: &Value, key: &str) -> bool {
    let mut values = versions(crd)
        .iter()
        .map(|v| v.get(key).filter(|v| !v.is_null()));
    let first = values.next().flatten();
    values.all(|v| v == first)
}

pub(super) fn text<'a>(value: &'a Value, path: &[&str]) -> &'a str {
    value.str_at(path).unwrap_or_default()
}

fn spec(
    crd: &Value,
    old: Option<&Value>,
    minor: u8,
    errors: &mut Vec<FieldError>,
) -> Vec<Option<Read>> {
    let group = text(crd, &["spec", "group"]);
    let wrong = names::dns1123_subdomain(group);
    if group.is_empty() {
        errors.push(FieldError::required("spec.group", ""));
    } else if !wrong.is_empty() {
        errors.push(FieldError::invalid_str(
            "spec.group",
            group,
            wrong.join(","),
        ));
    } else if !group.contains('.') {
        errors.push(FieldError::invalid_str(
            "spec.group",
            group,
            "should be a domain with at least one dot",
        ));
    }
    match text(crd, &["spec", "scope"]) {
        "" => errors.push(FieldError::required("spec.scope", "")),
        "Cluster" | "Namespaced" => {}
        other => errors.push(FieldError::not_supported(
            "spec.scope",
            &other.into(),
            &["Cluster", "Namespaced"],
        )),
    }
    schemas_present(crd, errors);
    let schemas = versions(crd)
        .iter()
        .filter_map(|v| v.at(&["schema", "openAPIV3Schema"]));
    if keeps_unknown(crd) && schemas.into_iter().any(has_default) {
        errors.push(FieldError::invalid(
            "spec.preserveUnknownFields",
            &Value::Bool(true),
            "must be false in order to use defaults in the schema",
        ));
    }
    let before = Before::of(minor, old);
    let mut schemas = each_version(crd, &before, errors);
    version_list(crd, errors);
    for key in ["plural", "singular", "kind", "listKind"] {
        if text(crd, &["spec", "names", key]).is_empty() {
            errors.push(FieldError::required(format!("spec.names.{key}"), ""));
        }
    }
    names_of(crd, ["spec", "names"], errors);
    if let Some(common) = common_parts(crd, &before, errors) {
        schemas.fill(Some(common));
    }
    let strategy = text(crd, &["spec", "conversion", "strategy"]);
    if keeps_unknown(crd) && !matches!(strategy, "" | "None") {
        let why = "must be None if spec.preserveUnknownFields is true";
        errors.push(FieldError::invalid_str(
            "spec.conversion.strategy",
            strategy,
            why,
        ));
    }
    conversion(crd, errors);
    schemas
}

/// A field of v1beta1, which v1 may not set.
fn keeps_unknown(crd: &Value) -> bool {
    crd.at(&["spec", "preserveUnknownFields"]) == Some(&Value::Bool(true))
}

/// Whether a schema or one inside it has a default (`schemaHasDefaults`).
fn has_default(schema: &Value) -> bool {
    let part = |key: &str| schema.get(key).filter(|v| !v.is_null());
    let one = |key: &str| part(key).is_some_and(|s| s.as_object().is_some() && has_default(s));
    let listed = |key: &str| part(key).and_then(Value::as_array);
    let named = |key: &str| part(key).and_then(Value::as_object);
    part("default").is_some()
        || ["items", "not", "additionalProperties", "additionalItems"]
            .into_iter()
            .any(one)
        || ["items", "allOf", "anyOf", "oneOf"]
            .into_iter()
            .filter_map(listed)
            .any(|list| list.iter().any(has_default))
        || [
            "properties",
            "patternProperties",
            "definitions",
            "dependencies",
        ]
        .into_iter()
        .filter_map(named)
        .any(|map| map.iter().any(|(_, s)| has_default(s)))
}

/// What the versions must be together.
fn version_list(crd: &Value, errors: &mut Vec<FieldError>) {
    const PATH: &str = "spec.versions";
    let names: Vec<&str> = versions(crd).iter().map(|v| text(v, &["name"])).collect();
    let first = names.first().copied().unwrap_or_default();
    let wrong = names::dns1035_label(first);
    if !first.is_empty() && !wrong.is_empty() {
        errors.push(FieldError::invalid_str(
            "spec.version",
            first,
            wrong.join(","),
        ));
    }
    let mut add = |why: &str| {
        errors.push(FieldError::new(
            ErrorKind::Invalid,
            PATH,
            shown_versions(crd),
            why,
        ))
    };
    if names
        .iter()
        .enumerate()
        .any(|(i, n)| names[..i].contains(n))
    {
        add("must contain unique version names");
    }
    let stored = versions(crd)
        .iter()
        .filter(|v| v.get("storage") == Some(&Value::Bool(true)));
    if stored.count() != 1 {
        add("must have exactly one version marked as storage version");
    }
    if names.len() > MAX_VERSIONS {
        errors.push(FieldError::too_many(PATH, names.len(), MAX_VERSIONS));
    }
}

fn schemas_present(crd: &Value, errors: &mut Vec<FieldError>) {
    for (i, version) in versions(crd).iter().enumerate() {
        if version
            .at(&["schema", "openAPIV3Schema"])
            .is_none_or(Value::is_null)
        {
            errors.push(FieldError::required(
                format!("spec.versions[{i}].schema.openAPIV3Schema"),
                "",
            ));
        }
    }
}

fn each_version(
    crd: &Value,
    before: &Before<'_>,
    errors: &mut Vec<FieldError>,
) -> Vec<Option<Read>> {
    let mut schemas = vec![None; versions(crd).len()];
    for (i, version) in versions(crd).iter().enumerate().take(MAX_VERSIONS) {
        let name = text(version, &["name"]);
        let wrong = names::dns1035_label(name);
        if !wrong.is_empty() {
            errors.push(FieldError::invalid_str(
                format!("spec.versions[{i}].name"),
                name,
                wrong.join(","),
            ));
        }
        deprecation(version, i, errors);
        let path = format!("spec.versions[{i}]");
        if !common(crd, "schema") {
            // Upstream looks a version's subresources up by its name.
            let mut all = versions(crd).iter();
            let first = all.find(|v| text(v, &["name"]) == name);
            let status = first.is_some_and(has_status);
            let path = format!("{path}.schema");
            schemas[i] = schema(version, status, before, &path, errors);
        }
        if !common(crd, "subresources") {
            subresources(version, &format!("{path}.subresources"), errors);
        }
        if !common(crd, "additionalPrinterColumns") {
            columns(version, &format!("{path}.additionalPrinterColumns"), errors);
        }
        if !common(crd, "selectableFields") {
            selectable(version, common(crd, "schema"), &path, errors);
        }
    }
    schemas
}

/// Gives the schema back that all versions have.
fn common_parts(crd: &Value, before: &Before<'_>, errors: &mut Vec<FieldError>) -> Option<Read> {
    let version = versions(crd).first()?;
    let mut read = None;
    if common(crd, "schema") {
        let status = versions(crd).iter().any(has_status);
        read = schema(version, status, before, "spec.validation", errors);
    }
    if common(crd, "subresources") {
        subresources(version, "spec.subresources", errors);
    }
    if common(crd, "additionalPrinterColumns") {
        columns(version, "spec.additionalPrinterColumns", errors);
    }
    if common(crd, "selectableFields") {
        selectable(version, !common(crd, "schema"), "spec", errors);
    }
    read
}

/// Checks an update of the status.
#[must_use]
pub(crate) fn validate_status(crd: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    names_of(crd, ["status", "acceptedNames"], &mut errors);
    errors
}

fn names_of(crd: &Value, at: [&str; 2], errors: &mut Vec<FieldError>) {
    let Some(names) = crd.at(&at) else {
        return;
    };
    let path = at.join(".");
    for (key, mixed) in [
        ("plural", false),
        ("singular", false),
        ("kind", true),
        ("listKind", true),
    ] {
        let name = text(names, &[key]);
        if name.is_empty() {
            continue;
        }
        let wrong = names::dns1035_label(&if mixed {
            name.to_lowercase()
        } else {
            name.to_owned()
        });
        if !wrong.is_empty() {
            let prefix = if mixed {
                "may have mixed case, but should otherwise match: "
            } else {
                ""
            };
            let why = format!("{prefix}{}", wrong.join(","));
            errors.push(FieldError::invalid_str(format!("{path}.{key}"), name, why));
        }
    }
    for key in ["shortNames", "categories"] {
        if key == "categories" {
            let (kind, list) = (text(names, &["kind"]), text(names, &["listKind"]));
            if !kind.is_empty() && kind == list {
                let why = "kind and listKind may not be the same";
                let at = format!("{path}.listKind");
                errors.push(FieldError::invalid_str(at, list, why));
            }
        }
        for (i, name) in names
            .at(&[key])
            .and_then(Value::as_array)
            .unwrap_or_default()
            .iter()
            .enumerate()
        {
            let name = name.as_str().unwrap_or_default();
            let wrong = names::dns1035_label(name);
            if !wrong.is_empty() {
                errors.push(FieldError::invalid_str(
                    format!("{path}.{key}[{i}]"),
                    name,
                    wrong.join(","),
                ));
            }
        }
    }
}

fn conversion(crd: &Value, errors: &mut Vec<FieldError>) {
    const PATH: &str = "spec.conversion";
    let Some(conversion) = crd.at(&["spec", "conversion"]).filter(|v| !v.is_null()) else {
        return;
    };
    let strategy = text(conversion, &["strategy"]);
    match strategy {
        "" => errors.push(FieldError::required("spec.conversion.strategy", "")),
        "None" | "Webhook" => {}
        other => {
            let supported = ["None", "Webhook"];
            errors.push(FieldError::not_supported(
                "spec.conversion.strategy",
                &other.into(),
                &supported,
            ));
        }
    }
    let client = conversion
        .at(&["webhook", "clientConfig"])
        .filter(|v| !v.is_null());
    let reviews = conversion
        .at(&["webhook", "conversionReviewVersions"])
        .and_then(Value::as_array)
        .unwrap_or_default();
    if strategy != "Webhook" {
        let why = "should not be set when strategy is not set to Webhook";
        if client.is_some() {
            errors.push(FieldError::forbidden(
                format!("{PATH}.webhookClientConfig"),
                why,
            ));
        }
        if !reviews.is_empty() {
            errors.push(FieldError::forbidden(
                format!("{PATH}.conversionReviewVersions"),
                why,
            ));
        }
        return;
    }
    let at = format!("{PATH}.webhookClientConfig");
    match client {
        None => errors.push(FieldError::required(
            at,
            "required when strategy is set to Webhook",
        )),
        Some(config) => {
            let mut report = crate::validate::read::Report::default();
            let root = Path::root(PATH);
            let path = root.child("webhookClientConfig");
            crate::validate::webhooks::client_config(&mut report, config, path);
            errors.append(&mut report.errors);
        }
    }
    review_versions(reviews, format!("{PATH}.conversionReviewVersions"), errors);
}

fn review_versions(reviews: &[Value], at: String, errors: &mut Vec<FieldError>) {
    if reviews.is_empty() {
        errors.push(FieldError::required(at, ""));
        return;
    }
    for (i, version) in reviews.iter().enumerate() {
        let name = version.as_str().unwrap_or_default();
        let at = format!("{at}[{i}]");
        if reviews[..i].contains(version) {
            errors.push(FieldError::invalid_str(at, name, "duplicate version"));
            continue;
        }
        for why in names::dns1035_label(name) {
            errors.push(FieldError::invalid_str(at.as_str(), name, why));
        }
    }
    if !reviews
        .iter()
        .any(|v| matches!(v.as_str(), Some("v1" | "v1beta1")))
    {
        let all = Value::Array(reviews.to_vec());
        errors.push(FieldError::invalid(
            at,
            &all,
            "must include at least one of v1, v1beta1",
        ));
    }
}

/// For groups of the Kubernetes project: whether the API was approved, and the condition's words.
/// `None` for all other groups.
pub(super) fn approval(crd: &Value) -> Option<(bool, &'static str, String)> {
    let group = text(crd, &["spec", "group"]);
    let protected = ["k8s.io", "kubernetes.io"]
        .iter()
        .any(|d| group == *d || group.strip_suffix(d).is_some_and(|g| g.ends_with('.')));
    protected.then(|| approval_state(crd))
}

/// What the annotation says, whatever the group.
fn approval_state(crd: &Value) -> (bool, &'static str, String) {
    let value = text(crd, &["metadata", "annotations", APPROVED]);
    let link = "see https://github.com/kubernetes/enhancements/pull/1111";
    let absolute = value
        .split_once("://")
        .is_some_and(|(scheme, host)| !scheme.is_empty() && !host.is_empty());
    if value.is_empty() {
        let why = format!(
            "protected groups must have approval annotation {}, {link}",
            quote(APPROVED)
        );
        (false, "MissingAnnotation", why)
    } else if value.starts_with("unapproved") {
        (
            false,
            "UnapprovedAnnotation",
            format!("not approved: {}", quote(value)),
        )
    } else if absolute {
        (true, "ApprovedAnnotation", format!("approved in {value}"))
    } else {
        let why = format!(
            "protected groups must have approval annotation {} with either a URL or a reason starting with \
             \"unapproved\", {link}",
            quote(APPROVED)
        );
        (false, "InvalidAnnotation", why)
    }
}

fn approved(crd: &Value, old: Option<&Value>, errors: &mut Vec<FieldError>) {
    let Some((_, reason, why)) = approval(crd) else {
        return;
    };
    if old.is_some_and(|old| approval_state(old).1 == reason) {
        return;
    }
    let path = format!("metadata.annotations[{APPROVED}]");
    match reason {
        "MissingAnnotation" => errors.push(FieldError::required(path, why)),
        "InvalidAnnotation" => {
            let value = text(crd, &["metadata", "annotations", APPROVED]);
            errors.push(FieldError::invalid_str(path, value, why));
        }
        _ => {}
    }
}

fn preserve_unknown(crd: &Value, old: Option<&Value>, errors: &mut Vec<FieldError>) {
    if keeps_unknown(crd) && !old.is_some_and(keeps_unknown) {
        let why = "cannot set to true, set x-kubernetes-preserve-unknown-fields to true in \
                   spec.versions[*].schema instead";
        errors.push(FieldError::invalid(
            "spec.preserveUnknownFields",
            &Value::Bool(true),
            why,
        ));
    }
}

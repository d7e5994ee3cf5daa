//! Validation of CRD objects themselves: apiextensions
//! `pkg/apis/apiextensions/validation/validation.go`.
//!
//! Paths are those of upstream's internal version: what all versions have in common is reported at
//! `spec.validation`, `spec.subresources` and so on, not at `spec.versions[0]`.

use super::rules_check::Before;
use super::schema::{MAX_NODES, Schema};
use super::{check, prune, rules, rules_check, unsupported, validate};
use crate::field::{ErrorKind, FieldError, Path, quote};
use crate::limits::{MAX_SELECTABLE, MAX_VERSIONS};
use crate::{Value, json, rules as names};
use std::collections::BTreeSet;
use std::sync::Arc;

const APPROVED: &str = "api-approved.kubernetes.io";
/// Bytes of rules that are compiled to check defaults: those of inner defaults count again and again.
const MAX_DEFAULT_RULES: usize = 1024 * 1024;

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
pub(super) fn check_stored(crd: &Value) -> (Vec<FieldError>, Vec<Option<Read>>) {
    whole(crd, Some(crd), crate::catalogue::DEFAULT_MINOR)
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

fn text<'a>(value: &'a Value, path: &[&str]) -> &'a str {
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

fn has_status(version: &Value) -> bool {
    version
        .at(&["subresources", "status"])
        .is_some_and(|s| !s.is_null())
}

fn deprecation(version: &Value, i: usize, errors: &mut Vec<FieldError>) {
    let Some(warning) = version.str_at(&["deprecationWarning"]) else {
        return;
    };
    let mut add = |why: String| {
        errors.push(FieldError::invalid_str(
            format!("spec.versions[{i}].deprecationWarning"),
            warning,
            why,
        ));
    };
    if version.get("deprecated") != Some(&Value::Bool(true)) {
        return add("can only be set for deprecated versions".into());
    }
    if warning.len() > 256 {
        add("must be <= 256 characters long".into());
    }
    if warning.is_empty() {
        add("must not be an empty string".into());
    }
    if let Some(at) = warning
        .char_indices()
        .find(|(_, c)| c.is_control())
        .map(|(at, _)| at)
    {
        add(format!(
            "must only contain printable UTF-8 characters; non-printable character found at index {at}"
        ));
    }
}

/// The schema of one version at `path` (`….schema` or `spec.validation`).
fn schema(
    version: &Value,
    status: bool,
    before: &Before<'_>,
    path: &str,
    errors: &mut Vec<FieldError>,
) -> Option<Read> {
    let raw = version
        .at(&["schema", "openAPIV3Schema"])
        .filter(|v| !v.is_null())?;
    let so_far = errors.len();
    let path = format!("{path}.openAPIV3Schema");
    if status {
        root_with_status(raw, &path, errors);
    }
    if raw.get("nullable") == Some(&Value::Bool(true)) {
        errors.push(FieldError::forbidden(
            format!("{path}.nullable"),
            "nullable cannot be true at the root",
        ));
    }
    let mut budget = MAX_NODES;
    // Size first: everything after walks the schema recursively.
    let read = Schema::read(raw, &path, &mut budget);
    if let Some(e) = read
        .as_ref()
        .err()
        .filter(|e| e.kind == ErrorKind::Forbidden)
    {
        errors.push(e.clone());
        return None;
    }
    // Reading reads every pattern.
    errors.extend(check::schema(raw, &path, read.is_ok()));
    if let Ok(schema) = &read {
        rules_check::field_paths(schema, &path, errors);
    }
    if errors.len() > so_far {
        return None;
    }
    match read {
        Ok(schema) => {
            defaults(&schema, true, &path, &mut MAX_DEFAULT_RULES.clone(), errors);
            if errors.len() == so_far {
                let unchanged = before.has(text(version, &["name"]), raw);
                rules_check::check(&schema, before, unchanged, &path, errors);
            }
            Some(Read {
                schema: Arc::new(schema),
                nodes: MAX_NODES - budget,
            })
        }
        Err(e) => {
            errors.push(e);
            None
        }
    }
}

/// With a status subresource, the root may only carry what survives looking at `status` alone.
fn root_with_status(raw: &Value, path: &str, errors: &mut Vec<FieldError>) {
    /// What comes before the type.
    const FIRST: [&str; 3] = ["$ref", "$schema", "id"];
    const FORBIDDEN: [&str; 14] = [
        "additionalItems",
        "additionalProperties",
        "allOf",
        "anyOf",
        "default",
        "definitions",
        "dependencies",
        "enum",
        "maxProperties",
        "minProperties",
        "not",
        "nullable",
        "oneOf",
        "patternProperties",
    ];
    const ALLOWED: &str = "[Description Type Format Title Maximum ExclusiveMaximum Minimum ExclusiveMinimum \
                           MaxLength MinLength Pattern MaxItems MinItems UniqueItems MultipleOf Required Items \
                           Properties ExternalDocs Example XPreserveUnknownFields XValidations]";
    let present = |k: &str, v: &Value| match v {
        Value::Null => false,
        // schemas may be a boolean, and a default may be one
        Value::Bool(false) => matches!(
            k,
            "additionalItems" | "additionalProperties" | "default" | "x-kubernetes-validations"
        ),
        Value::String(s) => !s.is_empty() || k.starts_with("x-") || k == "default",
        _ => true,
    };
    let any = |is: &dyn Fn(&str) -> bool| {
        raw.as_object()
            .is_some_and(|m| m.iter().any(|(k, v)| is(k) && present(k, v)))
    };
    let kind = text(raw, &["type"]);
    if !any(&|k| FIRST.contains(&k)) && !kind.is_empty() && kind != "object" {
        let why = "only \"object\" is allowed as the type at the root of the schema if the status subresource is \
                   enabled";
        errors.push(FieldError::invalid_str(format!("{path}.type"), kind, why));
        return;
    }
    let extension = |k: &str| {
        k.starts_with("x-kubernetes-")
            && k != "x-kubernetes-preserve-unknown-fields"
            && k != "x-kubernetes-validations"
    };
    if any(&|k| FIRST.contains(&k) || FORBIDDEN.contains(&k) || extension(k)) {
        let why = format!(
            "only {ALLOWED} fields are allowed at the root of the schema if the status subresource is enabled"
        );
        errors.push(FieldError::invalid(path, raw, why));
    }
}

/// `pkg/apiserver/schema/defaulting/validation.go`: defaults are pruned and valid themselves.
fn defaults(
    schema: &Schema,
    root: bool,
    path: &str,
    rules_left: &mut usize,
    errors: &mut Vec<FieldError>,
) {
    if let Some(default) = &schema.default {
        let at = format!("{path}.default");
        let mut pruned = default.clone();
        if prune::prune_value(&mut pruned, schema).is_empty() {
            errors.extend(validate::schema(schema, default, None, &at));
            validate::embedded(schema, default, &at, root || schema.embedded, errors);
            errors.extend(rules::of_default(schema, default, &at, rules_left));
        } else {
            errors.push(FieldError::invalid(
                at,
                default,
                "must not have unknown fields",
            ));
        }
    }
    if let Some(items) = &schema.items {
        defaults(items, false, &format!("{path}.items"), rules_left, errors);
    }
    for (name, property) in &schema.properties {
        defaults(
            property,
            false,
            &format!("{path}.properties[{name}]"),
            rules_left,
            errors,
        );
    }
}

fn json_path(value: &str, path: &str, errors: &mut Vec<FieldError>) -> bool {
    if value.starts_with('.') {
        return true;
    }
    errors.push(FieldError::invalid_str(
        path,
        value,
        "must be a simple json path starting with .",
    ));
    false
}

fn subresources(version: &Value, path: &str, errors: &mut Vec<FieldError>) {
    let Some(scale) = version
        .at(&["subresources", "scale"])
        .filter(|s| !s.is_null())
    else {
        return;
    };
    for (key, under, wrong) in [
        (
            "specReplicasPath",
            &[".spec."][..],
            "should be a json path under .spec",
        ),
        (
            "statusReplicasPath",
            &[".status."],
            "should be a json path under .status",
        ),
        (
            "labelSelectorPath",
            &[".spec.", ".status."],
            "should be a json path under either .spec or .status",
        ),
    ] {
        let (value, path) = (text(scale, &[key]), format!("{path}.scale.{key}"));
        if value.is_empty() {
            if key != "labelSelectorPath" {
                errors.push(FieldError::required(path, ""));
            }
        } else if json_path(value, &path, errors) && !under.iter().any(|u| value.starts_with(u)) {
            errors.push(FieldError::invalid_str(path, value, wrong));
        }
    }
}

fn columns(version: &Value, path: &str, errors: &mut Vec<FieldError>) {
    const TYPES: [&str; 5] = ["boolean", "date", "integer", "number", "string"];
    const FORMATS: [&str; 8] = [
        "byte",
        "date",
        "date-time",
        "double",
        "float",
        "int32",
        "int64",
        "password",
    ];
    let all = version
        .at(&["additionalPrinterColumns"])
        .and_then(Value::as_array)
        .unwrap_or_default();
    for (i, column) in all.iter().enumerate() {
        let at = |key: &str| format!("{path}[{i}].{key}");
        let (kind, format) = (text(column, &["type"]), text(column, &["format"]));
        if text(column, &["name"]).is_empty() {
            errors.push(FieldError::required(at("name"), ""));
        }
        let one_of = format!("must be one of {}", TYPES.join(","));
        if kind.is_empty() {
            errors.push(FieldError::required(at("type"), one_of));
        } else if !TYPES.contains(&kind) {
            errors.push(FieldError::invalid_str(at("type"), kind, one_of));
        }
        if !format.is_empty() && !FORMATS.contains(&format) {
            let why = format!("must be one of {}", FORMATS.join(","));
            errors.push(FieldError::invalid_str(at("format"), format, why));
        }
        match text(column, &["jsonPath"]) {
            "" => errors.push(FieldError::required(at("JSONPath"), "")),
            value => drop(json_path(value, &at("JSONPath"), errors)),
        }
    }
}

/// The names of a path of fields and the schema that it leads to: `ValidFieldPath` of apiextensions
/// `pkg/apiserver/schema/cel/validation.go` without array notation.
fn resolve<'a>(path: &'a str, raw: &'a Value) -> Result<(Vec<&'a str>, &'a Value), String> {
    const NO_FIELD: &str = "does not refer to a valid field";
    let (mut rest, mut here, mut names) = (path, raw, Vec::new());
    while !rest.is_empty() {
        rest = match rest.strip_prefix('.') {
            Some(after) => after,
            None if rest.starts_with('[') => return Err("array notation is not allowed".into()),
            None => {
                let end = rest.find(['.', '[', ']']).unwrap_or(rest.len()).max(1);
                return Err(format!("expected [ or . but got: {}", &rest[..end]));
            }
        };
        if rest.is_empty() {
            return Err("unexpected end of JSON path".into());
        }
        let end = rest.find(['.', '[', ']']).unwrap_or(rest.len()).max(1);
        let name = &rest[..end];
        rest = &rest[end..];
        here = if here.get("properties").is_some() {
            here.at(&["properties", name])
        } else {
            let open = here.get("additionalProperties");
            open.filter(|v| v.as_object().is_some())
        }
        .ok_or(NO_FIELD)?;
        names.push(name);
    }
    Ok((names, here))
}

/// `elsewhere`: of fields and schemas one is common to all versions, the other is not.
fn selectable(version: &Value, elsewhere: bool, parent: &str, errors: &mut Vec<FieldError>) {
    let path = &format!("{parent}.selectableFields");
    let all = version
        .at(&["selectableFields"])
        .and_then(Value::as_array)
        .unwrap_or_default();
    if all.is_empty() {
        return;
    }
    let whole = version.get("schema").filter(|v| !v.is_null() && !elsewhere);
    let schema = whole.and_then(|v| v.get("openAPIV3Schema"));
    // Common to all versions, a schema may be there and say nothing.
    let nothing = whole.and((parent == "spec").then_some(&Value::Null));
    let Some(raw) = schema.filter(|v| !v.is_null()).or(nothing) else {
        let why = if path.starts_with("spec.versions") {
            "may only be set when `version.schema.openAPIV3Schema` is not included"
        } else {
            "may only be set when validations.schema is included"
        };
        errors.push(FieldError::invalid_str(path.as_str(), "", why));
        return;
    };
    if let Some(why) = unsupported::reason(raw) {
        let at = format!("{parent}.schema.openAPIV3Schema");
        errors.push(FieldError::invalid_str(at, "", why));
    }
    let mut seen: Vec<Vec<&str>> = Vec::new();
    for (i, field) in all.iter().enumerate() {
        let (value, at) = (text(field, &["jsonPath"]), format!("{path}[{i}].jsonPath"));
        if value.is_empty() {
            errors.push(FieldError::required(at, ""));
            continue;
        }
        let (names, found) = match resolve(value, raw) {
            Ok(found) => found,
            Err(why) => {
                let why = format!("is an invalid path: {why}");
                errors.push(FieldError::invalid_str(at, value, why));
                continue;
            }
        };
        if names.first() == Some(&"metadata") {
            let why = "must not point to fields in metadata";
            errors.push(FieldError::invalid_str(at.as_str(), value, why));
        }
        if !matches!(text(found, &["type"]), "string" | "boolean" | "integer") {
            let why = "must point to a field of type string, boolean or integer. Enum string fields and \
                       strings with formats are allowed.";
            errors.push(FieldError::invalid_str(at.as_str(), value, why));
        }
        if seen.contains(&names) {
            errors.push(FieldError::duplicate(at, &value.into()));
        } else {
            seen.push(names);
        }
    }
    if seen.len() > MAX_SELECTABLE {
        errors.push(FieldError::too_many(path, seen.len(), MAX_SELECTABLE));
    }
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

//! What one version of a definition must be: its schema, defaults, columns, selectable fields.

use super::definition::{Read, text};
use super::rules_check::Before;
use super::schema::{MAX_NODES, Schema};
use super::{check, prune, rules, rules_check, unsupported, validate};
use crate::Value;
use crate::field::{ErrorKind, FieldError};
use crate::limits::MAX_SELECTABLE;
use std::sync::Arc;

/// Bytes of rules that are compiled to check defaults: those of inner defaults count again and again.
const MAX_DEFAULT_RULES: usize = 1024 * 1024;

pub(super) fn has_status(version: &Value) -> bool {
    version
        .at(&["subresources", "status"])
        .is_some_and(|s| !s.is_null())
}

pub(super) fn deprecation(version: &Value, i: usize, errors: &mut Vec<FieldError>) {
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
pub(super) fn schema(
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
    let read = Schema::read(raw, &path, &mut budget, before.minor);
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

pub(super) fn subresources(version: &Value, path: &str, errors: &mut Vec<FieldError>) {
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

pub(super) fn columns(version: &Value, path: &str, errors: &mut Vec<FieldError>) {
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
pub(super) fn selectable(
    version: &Value,
    elsewhere: bool,
    parent: &str,
    errors: &mut Vec<FieldError>,
) {
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

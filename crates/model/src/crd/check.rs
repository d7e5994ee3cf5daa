//! What is wrong with a CRD's schema: apiextensions `pkg/apis/apiextensions/validation/validation.go`
//! (`ValidateCustomResourceDefinitionOpenAPISchema`) and `pkg/apiserver/schema/{validation,complete}.go`
//! (structural schemas).

use super::schema::{Kind, Pattern};
use crate::field::{ErrorKind, FieldError};
use crate::{Map, Value};

const TYPES: [&str; 6] = ["array", "boolean", "integer", "number", "object", "string"];
const META: [&str; 3] = ["apiVersion", "kind", "metadata"];

/// Where in a schema the walk stands.
#[derive(Clone, Copy, Default)]
struct Place<'a> {
    root: bool,
    /// inside type or object metadata of the object or an embedded one
    inside_meta: bool,
    /// why defaults are forbidden here
    no_defaults: Option<&'a str>,
}

/// Everything that is wrong with one version's schema, except its defaults. `good_patterns`: they
/// were all read already.
pub(super) fn schema(value: &Value, path: &str, good_patterns: bool) -> Vec<FieldError> {
    let Some(map) = value.as_object() else {
        return Vec::new();
    };
    let unsupported = unsupported(map);
    let mut errors = Vec::new();
    if unsupported.is_none() {
        errors = structural(map, path, good_patterns);
    }
    open_api(
        map,
        path,
        Place {
            root: true,
            ..Place::default()
        },
        &mut errors,
    );
    if let (true, Some(why)) = (errors.is_empty(), unsupported) {
        errors.push(FieldError::invalid_str(path, "", why));
    }
    errors
}

/// What makes a schema no structural one, where all its keywords are supported.
pub(super) fn structural(map: &Map, path: &str, good_patterns: bool) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let mut s = Structural {
        errors: &mut errors,
        good_patterns,
    };
    s.invariants(map, Level::Root, path);
    s.completeness(map, Some(map), path, path);
    errors.sort_by_cached_key(ToString::to_string);
    errors
}

fn text<'a>(map: &'a Map, key: &str) -> &'a str {
    map.get(key).and_then(Value::as_str).unwrap_or_default()
}

fn flag(map: &Map, key: &str) -> bool {
    map.get(key).and_then(Value::as_bool).unwrap_or_default()
}

fn object<'a>(map: &'a Map, key: &str) -> Option<&'a Map> {
    map.get(key).and_then(Value::as_object)
}

fn array<'a>(map: &'a Map, key: &str) -> &'a [Value] {
    map.get(key).and_then(Value::as_array).unwrap_or_default()
}

fn properties(map: &Map) -> impl Iterator<Item = (&str, &Map)> {
    object(map, "properties")
        .into_iter()
        .flat_map(|p| p.iter())
        .filter_map(|(k, v)| Some((k, v.as_object()?)))
}

/// The sub-schemas of `allOf`, `anyOf`, `oneOf` with their paths.
fn branches<'a>(map: &'a Map, path: &str, keys: &[&str]) -> Vec<(String, &'a Map)> {
    let mut out = Vec::new();
    for key in keys {
        for (i, branch) in array(map, key).iter().enumerate() {
            out.extend(
                branch
                    .as_object()
                    .map(|b| (format!("{path}.{key}[{i}]"), b)),
            );
        }
    }
    out
}

/// Fields that no structural schema has, anywhere below.
fn unsupported(map: &Map) -> Option<String> {
    let set = |key: &str| match map.get(key) {
        None | Some(Value::Null) => false,
        Some(Value::String(s)) => !s.is_empty(),
        Some(Value::Object(m)) => !m.is_empty() || key == "additionalItems",
        Some(_) => true,
    };
    for key in [
        "id",
        "$schema",
        "$ref",
        "patternProperties",
        "dependencies",
        "additionalItems",
        "definitions",
    ] {
        if set(key) {
            return Some(format!(
                "OpenAPIV3Schema '{}' is not supported",
                key.replace("$schema", "schema")
            ));
        }
    }
    if map.get("x-kubernetes-preserve-unknown-fields") == Some(&Value::Bool(false)) {
        return Some(
            "internal error: 'x-kubernetes-preserve-unknown-fields' must be true or undefined"
                .into(),
        );
    }
    if matches!(map.get("items"), Some(Value::Array(_))) {
        return Some("OpenAPIV3Schema 'items' must be a schema, but is an array".into());
    }
    let below = properties(map).map(|(_, s)| s);
    let single = ["items", "additionalProperties", "not"]
        .into_iter()
        .filter_map(|k| object(map, k));
    let many = ["allOf", "anyOf", "oneOf"]
        .into_iter()
        .flat_map(|k| array(map, k))
        .filter_map(Value::as_object);
    below.chain(single).chain(many).find_map(unsupported)
}

fn open_api(map: &Map, path: &str, at: Place<'_>, errors: &mut Vec<FieldError>) {
    standard(map, path, at, errors);
    if flag(map, "uniqueItems") {
        let why =
            "uniqueItems cannot be set to true since the runtime complexity becomes quadratic";
        errors.push(FieldError::forbidden(format!("{path}.uniqueItems"), why));
    }
    let inner = Place { root: false, ..at };
    match map.get("additionalProperties") {
        None | Some(Value::Null) => {}
        Some(value) => {
            let has_properties = object(map, "properties").is_some_and(|p| !p.is_empty());
            if has_properties && *value != Value::Bool(true) {
                let why = "additionalProperties and properties are mutual exclusive";
                errors.push(FieldError::forbidden(
                    format!("{path}.additionalProperties"),
                    why,
                ));
            }
            if let Some(schema) = value.as_object() {
                let why = "inside additionalProperties applying to object metadata";
                let no_defaults = if at.inside_meta {
                    Some(why)
                } else {
                    at.no_defaults
                };
                let place = Place {
                    no_defaults,
                    ..inner
                };
                open_api(
                    schema,
                    &format!("{path}.additionalProperties"),
                    place,
                    errors,
                );
            }
        }
    }
    for (name, schema) in properties(map) {
        let meta = (at.root || flag(map, "x-kubernetes-embedded-resource")) && META.contains(&name);
        let why = format!("in top-level {name}");
        let place = Place {
            root: false,
            inside_meta: at.inside_meta || meta,
            no_defaults: if meta && at.root {
                Some(&why)
            } else {
                at.no_defaults
            },
        };
        open_api(schema, &format!("{path}.properties[{name}]"), place, errors);
    }
    if let Some(not) = object(map, "not") {
        open_api(not, &format!("{path}.not"), inner, errors);
    }
    for (path, branch) in branches(map, path, &["allOf", "oneOf", "anyOf"]) {
        open_api(branch, &path, inner, errors);
    }
    if let Some(items) = object(map, "items") {
        open_api(items, &format!("{path}.items"), inner, errors);
    }
    extensions(map, path, errors);
    rules(map, path, errors);
}

/// `specStandardValidatorV3.validate`.
fn standard(map: &Map, path: &str, at: Place<'_>, errors: &mut Vec<FieldError>) {
    let kind = text(map, "type");
    if !kind.is_empty() && !TYPES.contains(&kind) {
        errors.push(FieldError::not_supported(
            format!("{path}.type"),
            &kind.into(),
            &TYPES,
        ));
    }
    if let (Some(why), Some(_)) = (at.no_defaults, map.get("default").filter(|v| !v.is_null())) {
        errors.push(FieldError::forbidden(
            format!("{path}.default"),
            format!("must not be set {why}"),
        ));
    }
    for key in [
        "id",
        "additionalItems",
        "patternProperties",
        "definitions",
        "dependencies",
        "$ref",
    ] {
        let set = match map.get(key) {
            None | Some(Value::Null) => false,
            Some(Value::String(s)) => !s.is_empty() || key == "$ref",
            Some(Value::Object(m)) => {
                !m.is_empty() || key == "additionalItems" || key == "dependencies"
            }
            Some(_) => true,
        };
        if set {
            errors.push(FieldError::forbidden(
                format!("{path}.{key}"),
                format!("{key} is not supported"),
            ));
        }
    }
    if kind == "null" {
        let why = "type cannot be set to null, use nullable as an alternative";
        errors.push(FieldError::forbidden(format!("{path}.type"), why));
    }
    if !array(map, "items").is_empty() {
        let why = "items must be a schema object and not an array";
        errors.push(FieldError::forbidden(format!("{path}.items"), why));
    }
    if at.inside_meta && flag(map, "x-kubernetes-embedded-resource") {
        let why = "must not be used inside of resource meta";
        errors.push(FieldError::forbidden(
            format!("{path}.x-kubernetes-embedded-resource"),
            why,
        ));
    }
}

/// `type` must be `want` when `extension` is set.
fn needs_type(map: &Map, path: &str, want: &str, extension: &str, errors: &mut Vec<FieldError>) {
    let (kind, why) = (
        text(map, "type"),
        format!("must be {want} if {extension} is specified"),
    );
    if kind.is_empty() {
        errors.push(FieldError::required(format!("{path}.type"), why));
    } else if kind != want {
        errors.push(FieldError::invalid_str(format!("{path}.type"), kind, why));
    }
}

const LIST: &str = "x-kubernetes-list-type";
const MAP: &str = "x-kubernetes-map-type";

/// Items of a set are compared as a whole.
fn set_items(items: &Map, path: &str, errors: &mut Vec<FieldError>) {
    let list = items.get(LIST);
    let key = match text(items, "type") {
        "array" if list.is_some_and(|t| t.as_str() != Some("atomic")) => LIST,
        "object" if text(items, MAP) != "atomic" => MAP,
        _ => return,
    };
    let why = "must be atomic as item of a list with x-kubernetes-list-type=set";
    let shown = list.cloned().unwrap_or_default();
    errors.push(FieldError::invalid(
        format!("{path}.items.{key}"),
        &shown,
        why,
    ));
}

fn extensions(map: &Map, path: &str, errors: &mut Vec<FieldError>) {
    let preserve = "x-kubernetes-preserve-unknown-fields";
    if map.get(preserve) == Some(&Value::Bool(false)) {
        let path = format!("{path}.{preserve}");
        errors.push(FieldError::invalid(
            path,
            &Value::Bool(false),
            "must be true or undefined",
        ));
    }
    if let Some(kind) = map.get(MAP).and_then(Value::as_str) {
        needs_type(map, path, "object", MAP, errors);
        if !["atomic", "granular"].contains(&kind) {
            let path = format!("{path}.{MAP}");
            errors.push(FieldError::not_supported(
                path,
                &kind.into(),
                &["atomic", "granular"],
            ));
        }
    }
    let list = map.get(LIST).and_then(Value::as_str);
    let items = object(map, "items");
    if let Some(kind) = list {
        if text(map, "type") != "array" {
            needs_type(map, path, "array", LIST, errors);
        } else if let (true, Some(items)) = (kind == "set", items) {
            set_items(items, path, errors);
        }
        if !["atomic", "set", "map"].contains(&kind) {
            let supported = ["atomic", "set", "map"];
            errors.push(FieldError::not_supported(
                format!("{path}.{LIST}"),
                &kind.into(),
                &supported,
            ));
        }
    }
    let keys = array(map, "x-kubernetes-list-map-keys");
    if !keys.is_empty() && list != Some("map") {
        let (path, why) = (
            format!("{path}.{LIST}"),
            "must be map if x-kubernetes-list-map-keys is non-empty",
        );
        errors.push(match list {
            None => FieldError::required(path, why),
            Some(kind) => FieldError::invalid_str(path, kind, why),
        });
    }
    if list == Some("map") {
        map_list(map, path, keys, errors);
    }
    if let (Some(kind @ ("map" | "set")), Some(true)) = (list, items.map(|i| flag(i, "nullable"))) {
        let why = format!("cannot be nullable when x-kubernetes-list-type is {kind}");
        errors.push(FieldError::forbidden(format!("{path}.items.nullable"), why));
    }
}

fn map_list(map: &Map, path: &str, keys: &[Value], errors: &mut Vec<FieldError>) {
    let keys_path = format!("{path}.x-kubernetes-list-map-keys");
    if keys.is_empty() {
        errors.push(FieldError::required(
            keys_path.as_str(),
            "must not be empty if x-kubernetes-list-type is map",
        ));
    }
    let Some(items) = object(map, "items") else {
        if map.get("items").is_none_or(Value::is_null) {
            let why = "must have a schema if x-kubernetes-list-type is map";
            errors.push(FieldError::required(format!("{path}.items"), why));
        }
        return;
    };
    let kind = text(items, "type");
    if kind != "object" {
        let why = "must be object if parent array's x-kubernetes-list-type is map";
        errors.push(FieldError::invalid_str(
            format!("{path}.items.type"),
            kind,
            why,
        ));
    }
    let all = Value::Array(keys.to_vec());
    let required: Vec<&str> = array(items, "required")
        .iter()
        .filter_map(Value::as_str)
        .collect();
    for (i, key) in keys.iter().enumerate() {
        let Some(name) = key.as_str() else { continue };
        let property = object(items, "properties").and_then(|p| object(p, name));
        if kind == "object" {
            match property {
                Some(p) if ["array", "object"].contains(&text(p, "type")) => {
                    let why =
                        "must be a scalar type if parent array's x-kubernetes-list-type is map";
                    let path = format!("{path}.items.properties[{name}].type");
                    errors.push(FieldError::invalid_str(path, kind, why));
                }
                Some(_) => {}
                None => {
                    let why = "entries must all be names of item properties";
                    errors.push(FieldError::invalid(keys_path.as_str(), &all, why));
                }
            }
            if keys[..i].contains(key) {
                errors.push(FieldError::invalid(
                    keys_path.as_str(),
                    &all,
                    "must not contain duplicate entries",
                ));
            }
        }
        let Some(property) = property else { continue };
        if !required.contains(&name) && property.get("default").is_none_or(Value::is_null) {
            let why = "this property is in x-kubernetes-list-map-keys, so it must have a default or be a \
                       required property";
            errors.push(FieldError::required(
                format!("{path}.items.properties[{name}].default"),
                why,
            ));
        }
        if flag(property, "nullable") {
            let why = "this property is in x-kubernetes-list-map-keys, so it cannot be nullable";
            errors.push(FieldError::forbidden(
                format!("{path}.items.properties[{name}].nullable"),
                why,
            ));
        }
    }
}

/// The form of `x-kubernetes-validations`; the expressions themselves are not compiled here.
fn rules(map: &Map, path: &str, errors: &mut Vec<FieldError>) {
    const REASONS: [&str; 4] = [
        "FieldValueDuplicate",
        "FieldValueForbidden",
        "FieldValueInvalid",
        "FieldValueRequired",
    ];
    let newline = |s: &str| s.contains(['\n', '\r']);
    for (i, rule) in array(map, "x-kubernetes-validations").iter().enumerate() {
        let Some(rule) = rule.as_object() else {
            continue;
        };
        let at = |field: &str| format!("{path}.x-kubernetes-validations[{i}].{field}");
        let (expression, message) = (text(rule, "rule").trim(), text(rule, "message"));
        if expression.is_empty() {
            errors.push(FieldError::required(at("rule"), "rule is not specified"));
        } else if !message.is_empty() && message.trim().is_empty() {
            errors.push(FieldError::invalid_str(
                at("message"),
                message,
                "must be non-empty if specified",
            ));
        } else if newline(message.trim()) {
            errors.push(FieldError::invalid_str(
                at("message"),
                message,
                "must not contain line breaks",
            ));
        } else if newline(expression) && message.is_empty() {
            let why = "message must be specified if rule contains line breaks";
            errors.push(FieldError::required(at("message"), why));
        }
        let message = text(rule, "messageExpression");
        if !message.is_empty() && message.trim().is_empty() {
            let why = "messageExpression must be non-empty if specified";
            errors.push(FieldError::required(at("messageExpression"), why));
        }
        let reason = rule.get("reason").and_then(Value::as_str);
        if let Some(reason) = reason.filter(|r| !REASONS.contains(r)) {
            errors.push(FieldError::not_supported(
                at("reason"),
                &reason.into(),
                &REASONS,
            ));
        }
        let field = text(rule, "fieldPath");
        if !field.is_empty() && field.trim().is_empty() {
            errors.push(FieldError::invalid_str(
                at("fieldPath"),
                field,
                "must be non-empty if specified",
            ));
        }
        if newline(field) {
            errors.push(FieldError::invalid_str(
                at("fieldPath"),
                field,
                "must not contain line breaks",
            ));
        }
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Level {
    Root,
    Item,
    Field,
}

/// What a schema in `allOf`, `anyOf`, `oneOf` or `not` may not say, and what it must be there.
const NOT_NESTED: [(&str, &str); 12] = [
    ("type", "empty"),
    ("default", "undefined"),
    ("title", "empty"),
    ("description", "empty"),
    ("nullable", "false"),
    ("x-kubernetes-preserve-unknown-fields", "false"),
    ("x-kubernetes-embedded-resource", "false"),
    ("x-kubernetes-int-or-string", "false"),
    ("x-kubernetes-list-map-keys", "empty"),
    (LIST, "undefined"),
    (MAP, "undefined"),
    ("x-kubernetes-validations", "empty"),
];

struct Structural<'a> {
    errors: &'a mut Vec<FieldError>,
    good_patterns: bool,
}

impl Structural<'_> {
    fn push(&mut self, kind: ErrorKind, path: String, why: &str) {
        self.errors.push(FieldError::new(kind, path, "", why));
    }

    fn invariants(&mut self, map: &Map, level: Level, path: &str) {
        let kind = text(map, "type");
        if kind == "array" && object(map, "items").is_none() {
            self.push(
                ErrorKind::Required,
                format!("{path}.items"),
                "must be specified",
            );
        }
        if let Some(items) = object(map, "items") {
            self.invariants(items, Level::Item, &format!("{path}.items"));
        }
        for (name, schema) in properties(map) {
            self.invariants(schema, Level::Field, &format!("{path}.properties[{name}]"));
        }
        let additional = map.get("additionalProperties").filter(|v| !v.is_null());
        if let Some(value) = additional {
            let path = format!("{path}.additionalProperties");
            if level == Level::Root {
                self.push(
                    ErrorKind::Forbidden,
                    path.clone(),
                    "must not be used at the root",
                );
            }
            if let Some(schema) = value.as_object() {
                self.invariants(schema, Level::Field, &path);
            }
        }
        let embedded = flag(map, "x-kubernetes-embedded-resource");
        let preserve = flag(map, "x-kubernetes-preserve-unknown-fields");
        let int_or_string = flag(map, "x-kubernetes-int-or-string");
        for (set, key) in [
            (preserve, "x-kubernetes-preserve-unknown-fields"),
            (embedded, "x-kubernetes-embedded-resource"),
        ] {
            if int_or_string && set {
                let why = "must be false if x-kubernetes-int-or-string is true";
                self.errors.push(FieldError::invalid(
                    format!("{path}.{key}"),
                    &Value::Bool(true),
                    why,
                ));
            }
        }
        let first_all_of = array(map, "allOf").first().and_then(Value::as_object);
        self.value_validation(
            map,
            is_int_or_string(map),
            first_all_of.is_some_and(is_int_or_string),
            level,
            path,
        );
        self.types(map, level, path);
        if embedded && additional.is_some() {
            let why = "must not be used if x-kubernetes-embedded-resource is set";
            self.push(
                ErrorKind::Forbidden,
                format!("{path}.additionalProperties"),
                why,
            );
        }
        self.metadata(map, level, path);
        if embedded && !preserve && object(map, "properties").is_none_or(Map::is_empty) {
            let why = "must not be empty if x-kubernetes-embedded-resource is true without \
                       x-kubernetes-preserve-unknown-fields";
            self.push(ErrorKind::Required, format!("{path}.properties"), why);
        }
    }

    fn types(&mut self, map: &Map, level: Level, path: &str) {
        let (kind, path) = (text(map, "type"), format!("{path}.type"));
        let free = flag(map, "x-kubernetes-int-or-string")
            || flag(map, "x-kubernetes-preserve-unknown-fields");
        if flag(map, "x-kubernetes-embedded-resource") && kind != "object" {
            let why = "must be object if x-kubernetes-embedded-resource is true";
            if kind.is_empty() {
                self.push(ErrorKind::Required, path.clone(), why);
            } else {
                self.errors
                    .push(FieldError::invalid_str(path.as_str(), kind, why));
            }
        } else if kind.is_empty() && !free {
            let why = match level {
                Level::Root => "must not be empty at the root",
                Level::Item => "must not be empty for specified array items",
                Level::Field => "must not be empty for specified object fields",
            };
            self.push(ErrorKind::Required, path.clone(), why);
        }
        if level == Level::Root && !kind.is_empty() && kind != "object" {
            self.errors.push(FieldError::invalid_str(
                path,
                kind,
                "must be object at the root",
            ));
        }
    }

    /// What a schema may say about `kind`, `apiVersion` and `metadata`.
    fn metadata(&mut self, map: &Map, level: Level, path: &str) {
        let Some(properties) = object(map, "properties") else {
            return;
        };
        let checked = level == Level::Root || flag(map, "x-kubernetes-embedded-resource");
        for name in ["kind", "apiVersion"] {
            let Some(schema) = object(properties, name).filter(|_| checked) else {
                continue;
            };
            if text(schema, "type") != "string" {
                let path = format!("{path}.properties[{name}].type");
                self.errors.push(FieldError::invalid_str(
                    path,
                    text(schema, "type"),
                    "must be string",
                ));
            }
        }
        let Some(schema) = object(properties, "metadata") else {
            return;
        };
        let path = format!("{path}.properties[metadata]");
        if checked && text(schema, "type") != "object" {
            self.errors.push(FieldError::invalid_str(
                format!("{path}.type"),
                text(schema, "type"),
                "must be object",
            ));
        }
        if level == Level::Root {
            let names_only = object(schema, "properties")
                .is_none_or(|p| p.keys().all(|k| k == "name" || k == "generateName"));
            let other = schema.iter().any(|(k, v)| {
                let zero = match v {
                    Value::Null | Value::Bool(false) => true,
                    Value::String(s) => s.is_empty(),
                    Value::Array(a) => a.is_empty(),
                    _ => false,
                };
                !["type", "properties", "default"].contains(&k) && !zero
            });
            if !names_only || other {
                let why = "must not specify anything other than name and generateName, but metadata is \
                           implicitly specified";
                self.push(ErrorKind::Forbidden, path, why);
            }
        }
    }

    fn value_validation(
        &mut self,
        map: &Map,
        skip_any_of: bool,
        skip_first: bool,
        level: Level,
        path: &str,
    ) {
        if !skip_any_of {
            for (path, branch) in branches(map, path, &["anyOf"]) {
                self.nested(branch, false, level, &path);
            }
        }
        for (i, (path, branch)) in branches(map, path, &["allOf"]).into_iter().enumerate() {
            self.nested(branch, skip_first && i == 0, level, &path);
        }
        for (path, branch) in branches(map, path, &["oneOf"]) {
            self.nested(branch, false, level, &path);
        }
        if let Some(not) = object(map, "not") {
            self.nested(not, false, level, &format!("{path}.not"));
        }
        let pattern = text(map, "pattern");
        if !self.good_patterns
            && let Err(why) = Pattern::new(pattern)
        {
            self.errors.push(FieldError::invalid_str(
                format!("{path}.pattern"),
                pattern,
                why,
            ));
        }
    }

    /// Inside `allOf`, `anyOf`, `oneOf` and `not` values may be restricted, not described.
    fn nested(&mut self, map: &Map, skip_any_of: bool, level: Level, path: &str) {
        self.value_validation(map, skip_any_of, false, level, path);
        if let Some(items) = object(map, "items") {
            self.nested(items, false, level, &format!("{path}.items"));
        }
        for (name, schema) in properties(map) {
            self.nested(
                schema,
                false,
                Level::Field,
                &format!("{path}.properties[{name}]"),
            );
        }
        let additional = map.get("additionalProperties");
        if additional.is_some_and(|v| !matches!(v, Value::Null | Value::Bool(false))) {
            let why = "must be undefined to be structural";
            self.push(
                ErrorKind::Forbidden,
                format!("{path}.additionalProperties"),
                why,
            );
        }
        for (key, must) in NOT_NESTED {
            let set = match map.get(key) {
                None | Some(Value::Null | Value::Bool(false)) => false,
                Some(Value::String(s)) => !s.is_empty() || must == "undefined",
                Some(Value::Array(a)) => !a.is_empty() || key == "default",
                Some(_) => true,
            };
            if set || (key == "default" && map.get(key) == Some(&Value::Bool(false))) {
                let why = format!("must be {must} to be structural");
                self.push(ErrorKind::Forbidden, format!("{path}.{key}"), &why);
            }
        }
        if object(map, "properties").is_some_and(|p| p.contains_key("metadata")) {
            let path = format!("{path}.properties[metadata]");
            self.push(
                ErrorKind::Forbidden,
                path,
                "must not be specified in a nested context",
            );
        }
    }

    /// Whatever a value validation mentions must also be described outside of it.
    fn completeness(&mut self, validation: &Map, structure: Option<&Map>, path: &str, from: &str) {
        let not = object(validation, "not").map(|n| (format!("{from}.not"), n));
        for (from, branch) in branches(validation, from, &["allOf", "anyOf", "oneOf"])
            .into_iter()
            .chain(not)
        {
            self.nested_completeness(branch, structure, path, &from);
        }
    }

    fn nested_completeness(
        &mut self,
        validation: &Map,
        structure: Option<&Map>,
        path: &str,
        from: &str,
    ) {
        let Some(structure) = structure else {
            self.push(
                ErrorKind::Required,
                path.to_owned(),
                &format!("because it is defined in {from}"),
            );
            return;
        };
        self.completeness(validation, Some(structure), path, from);
        if let Some(items) = object(validation, "items") {
            let (path, from) = (format!("{path}.items"), format!("{from}.items"));
            self.nested_completeness(items, object(structure, "items"), &path, &from);
        }
        for (name, schema) in properties(validation) {
            let field = object(structure, "properties").and_then(|p| object(p, name));
            let (path, from) = (
                format!("{path}.properties[{name}]"),
                format!("{from}.properties[{name}]"),
            );
            self.nested_completeness(schema, field, &path, &from);
        }
    }
}

/// `anyOf: [{type: integer}, {type: string}]`, the one place where branches may name types.
fn is_int_or_string(map: &Map) -> bool {
    let only_type = |v: &Value, kind: Kind| {
        v.as_object()
            .is_some_and(|m| m.len() == 1 && text(m, "type") == kind.name())
    };
    matches!(array(map, "anyOf"), [a, b] if only_type(a, Kind::Integer) && only_type(b, Kind::String))
}

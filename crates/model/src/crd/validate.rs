//! Validation of custom objects: kube-openapi `pkg/validation/validate` with the field errors of
//! apiextensions `pkg/apiserver/validation/validation.go`, its ratcheting, and
//! `pkg/apiserver/schema/{listtype,objectmeta}`.

use super::formats;
use super::schema::{Additional, Checks, Kind, ListType, Schema};
use crate::field::{ErrorKind, FieldError, quote, show};
use crate::limits::{MAX_PATTERN_WORK, MAX_VISITS};
use crate::{Map, Value, json, rules};
use std::cmp::Ordering;
use std::collections::HashMap;

/// Errors reported for one object; upstream reports all.
const MAX_ERRORS: usize = 1_000;

/// Checks `value` against `schema`; errors that `old` already had in an unchanged place are
/// forgiven.
pub(super) fn schema(
    schema: &Schema,
    value: &Value,
    old: Option<&Value>,
    path: &str,
) -> Vec<FieldError> {
    let mut v = Validator {
        path: String::new(),
        prefix: path,
        visits: 0,
        pattern_work: 0,
    };
    let mut result = v.node(schema, value, old, true);
    result.errors.truncate(MAX_ERRORS);
    if v.visits >= MAX_VISITS || v.pattern_work >= MAX_PATTERN_WORK {
        let why =
            "the object is too large for the schema's patterns and alternatives to be checked";
        result.errors.push(FieldError::forbidden(path, why));
    }
    result.errors
}

#[derive(Default)]
struct Outcome {
    errors: Vec<FieldError>,
    /// how many checks were made: the branch with most of them explains a failure best
    matches: usize,
}

impl Outcome {
    fn merge(&mut self, other: Self) {
        self.errors.extend(other.errors);
        self.matches += other.matches;
    }
}

struct Validator<'a> {
    /// as kube-openapi spells it: `spec.x[0]`, empty at the root
    path: String,
    /// of the whole value, in front of the path of every error
    prefix: &'a str,
    visits: usize,
    pattern_work: usize,
}

/// The JSON type of a value and the format Go's decoder gives it.
fn kind_of(value: &Value) -> (&'static str, &'static str) {
    match value {
        Value::Null => ("null", ""),
        Value::Bool(_) => ("boolean", ""),
        Value::Int(_) => ("integer", "int64"),
        Value::Float(_) => ("number", "float64"),
        Value::String(_) => ("string", ""),
        Value::Array(_) => ("array", ""),
        Value::Object(_) => ("object", ""),
    }
}

fn integral(value: &Value) -> bool {
    matches!(value, Value::Float(f) if f.fract() == 0.0 && f.abs() < 9.0e15)
}

/// As Go prints a float64 with `%v`.
fn go_float(f: f64) -> String {
    let exponent = if f == 0.0 {
        0.0
    } else {
        f.abs().log10().floor()
    };
    if (-4.0..21.0).contains(&exponent) {
        return format!("{f}");
    }
    let text = format!("{f:e}");
    match text.split_once('e') {
        Some((digits, e)) => match e.strip_prefix('-') {
            Some(e) => format!("{digits}e-{e:0>2}"),
            None => format!("{digits}e+{e:0>2}"),
        },
        None => text,
    }
}

impl Validator<'_> {
    /// Where an error of the current place is reported.
    fn field(&self) -> String {
        let path = self.path.strip_prefix('.').unwrap_or(&self.path);
        match (self.prefix, path) {
            ("", "") => "<nil>".into(),
            ("", path) => path.into(),
            (prefix, "") => prefix.into(),
            (prefix, path) => format!("{prefix}.{path}"),
        }
    }

    /// Errors that have no field of their own upstream.
    fn nowhere(&self, message: String) -> FieldError {
        FieldError::invalid_str(
            if self.prefix.is_empty() {
                "<nil>"
            } else {
                self.prefix
            },
            "",
            message,
        )
    }

    fn invalid(&self, value: String, what: &str) -> FieldError {
        FieldError::new(
            ErrorKind::Invalid,
            self.field(),
            value,
            format!("{} in body {what}", self.path),
        )
    }

    fn wrong_type(&self, want: &str, got: &str) -> FieldError {
        let detail = if got.is_empty() {
            format!("{} in body must be of type {want}: \"\"", self.path)
        } else {
            format!(
                "{} in body must be of type {want}: {}",
                self.path,
                quote(got)
            )
        };
        FieldError::new(ErrorKind::TypeInvalid, self.field(), quote(got), detail)
    }

    /// Runs `check` one step further down.
    fn at<T>(&mut self, step: Step<'_>, check: impl FnOnce(&mut Self) -> T) -> T {
        let length = self.path.len();
        match step {
            Step::Field(name) if self.path.is_empty() => self.path.push_str(name),
            Step::Field(name) | Step::Extra(name) => {
                self.path.push('.');
                self.path.push_str(name);
            }
            Step::Index(i) => self.path.push_str(&format!("[{i}]")),
        }
        let result = check(self);
        self.path.truncate(length);
        result
    }

    fn node(
        &mut self,
        schema: &Schema,
        value: &Value,
        old: Option<&Value>,
        ratchet: bool,
    ) -> Outcome {
        let mut out = Outcome::default();
        self.visits += 1;
        if self.visits >= MAX_VISITS {
            return out;
        }
        self.kind(schema, value, &mut out);
        if value.is_null() {
            if let Some(checks) = &schema.checks {
                self.enumeration(checks, value, &mut out);
            }
        } else {
            self.not_null(schema, value, old, &mut out);
            out.matches += 1;
        }
        if ratchet && !out.errors.is_empty() && old == Some(value) {
            out.errors.clear();
        }
        out
    }

    fn not_null(&mut self, schema: &Schema, value: &Value, old: Option<&Value>, out: &mut Outcome) {
        if let Some(checks) = &schema.checks {
            self.branches(checks, value, old, out);
            match value {
                Value::String(text) => self.string(schema, checks, text, out),
                Value::Int(_) | Value::Float(_) => self.number(schema, checks, value, out),
                _ => {}
            }
        } else if matches!(value, Value::Int(_) | Value::Float(_)) {
            self.number(schema, &Checks::default(), value, out);
        }
        if let Value::Array(items) = value {
            self.array(schema, items, old, out);
        }
        if let Some(checks) = &schema.checks {
            self.enumeration(checks, value, out);
        }
        if let Value::Object(map) = value {
            self.object(schema, map, old, out);
        }
    }

    fn kind(&self, schema: &Schema, value: &Value, out: &mut Outcome) {
        let format = schema.checks.as_ref().map_or("", |c| c.format.as_str());
        let format = if formats::known(format, schema.kind) {
            format
        } else {
            ""
        };
        let want: &[Kind] = match schema.kind {
            _ if schema.int_or_string => &[Kind::Integer, Kind::String],
            Some(ref kind) => std::slice::from_ref(kind),
            None => &[],
        };
        let names = || want.iter().map(|k| k.name()).collect::<Vec<_>>().join(",");
        if want.is_empty() && format.is_empty() {
            return;
        }
        if value.is_null() {
            if !want.is_empty() && !schema.nullable {
                out.errors.push(self.wrong_type(&names(), "null"));
            } else {
                out.matches += 1;
            }
            return;
        }
        let (got, got_format) = kind_of(value);
        let has = |kind: Kind| want.contains(&kind);
        let numeric =
            integral(value) && has(Kind::Integer) || got == "integer" && has(Kind::Number);
        let fits = want.iter().any(|k| k.name() == got) || numeric;
        let text = matches!(value, Value::String(_));
        if !text
            && !matches!(value, Value::Array(_))
            && !format.is_empty()
            && !fits
            && got_format != format
        {
            out.errors.push(self.wrong_type(format, got_format));
        } else if text && !format.is_empty() && !has(Kind::Number) && !has(Kind::Integer) || fits {
            out.matches += 1;
        } else {
            out.errors.push(self.wrong_type(&names(), got));
        }
    }

    fn enumeration(&self, checks: &Checks, value: &Value, out: &mut Outcome) {
        let allowed = &checks.one_of_values;
        let equal = |want: &Value| match (want, value) {
            _ if value.is_null() => false,
            #[allow(
                clippy::cast_precision_loss,
                reason = "Go converts the value to the type of the enum"
            )]
            (Value::Int(a), Value::Float(b)) | (Value::Float(b), Value::Int(a)) => *a as f64 == *b,
            (a, b) => a == b,
        };
        if allowed.is_empty() || allowed.iter().any(equal) {
            return;
        }
        let texts: Vec<String> = allowed
            .iter()
            .map(|v| match v {
                Value::String(s) => s.to_string(),
                other => String::from_utf8_lossy(&json::to_vec(other)).into_owned(),
            })
            .collect();
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        out.errors
            .push(FieldError::not_supported(self.field(), value, &texts));
    }

    fn string(&mut self, schema: &Schema, checks: &Checks, text: &str, out: &mut Outcome) {
        let count = || i64::try_from(text.chars().count()).unwrap_or(i64::MAX);
        let shown = || show(&text.into());
        if let Some(max) = checks.max_length.filter(|max| count() > *max) {
            let max = usize::try_from(max).unwrap_or_default();
            out.errors.push(FieldError::too_long(self.field(), max));
        } else if let Some(min) = checks.min_length.filter(|min| count() < *min) {
            out.errors
                .push(self.invalid(shown(), &format!("should be at least {min} chars long")));
        } else if let Some(pattern) = &checks.pattern {
            self.pattern_work = self
                .pattern_work
                .saturating_add(text.len().saturating_mul(pattern.cost));
            if self.pattern_work < MAX_PATTERN_WORK && !pattern.is_match(text) {
                out.errors
                    .push(self.invalid(shown(), &format!("should match '{}'", pattern.text)));
            }
        }
        out.matches += 1;
        if formats::known(&checks.format, schema.kind)
            && formats::check(&checks.format, text) == Some(false)
        {
            let mut error = self.wrong_type(&checks.format, text);
            error.value = shown();
            out.errors.push(error);
        }
    }

    #[allow(
        clippy::cast_possible_truncation,
        reason = "upstream compares integers with truncated bounds"
    )]
    fn number(&self, schema: &Schema, checks: &Checks, value: &Value, out: &mut Outcome) {
        if let Some(message) = self.out_of_range(schema, checks, value) {
            out.errors.push(self.nowhere(message));
        }
        let integer = value.as_i64();
        let float = match value {
            #[allow(
                clippy::cast_precision_loss,
                reason = "only used where the value is no integer"
            )]
            Value::Int(i) => *i as f64,
            Value::Float(f) => *f,
            _ => return,
        };
        let bound = |limit: f64| {
            if integer.is_some() {
                (limit as i64).to_string()
            } else {
                go_float(limit)
            }
        };
        if let Some(factor) = checks.multiple_of {
            let fits = match integer {
                _ if factor <= 0.0 => false,
                Some(i) if factor as i64 != 0 => i % (factor as i64) == 0,
                _ => (float / factor).fract() == 0.0,
            };
            if !fits {
                out.errors.push(self.invalid(
                    show(value),
                    &format!("should be a multiple of {}", bound(factor)),
                ));
            }
        }
        // the order of the value and a limit; integers are compared as integers
        let order = |limit: f64| match integer {
            Some(i) => Some(i.cmp(&(limit as i64))),
            None => float.partial_cmp(&limit),
        };
        let equal = |limit: f64| order(limit).is_some_and(Ordering::is_eq);
        let low = |min: &f64| {
            order(*min).is_some_and(Ordering::is_lt) || checks.exclusive_minimum && equal(*min)
        };
        let high = |max: &f64| {
            order(*max).is_some_and(Ordering::is_gt) || checks.exclusive_maximum && equal(*max)
        };
        let words = |than: &str, exclusive: bool, limit: f64| {
            let or = if exclusive { "" } else { " or equal to" };
            format!("should be {than} than{or} {}", bound(limit))
        };
        if let Some(min) = checks.minimum.filter(low) {
            let what = words("greater", checks.exclusive_minimum, min);
            out.errors.push(self.invalid(show(value), &what));
        }
        if let Some(max) = checks.maximum.filter(high) {
            let what = words("less", checks.exclusive_maximum, max);
            out.errors.push(self.invalid(show(value), &what));
        }
        out.matches += 2;
    }

    /// `IsValueValidAgainstRange`
    fn out_of_range(&self, schema: &Schema, checks: &Checks, value: &Value) -> Option<String> {
        if schema.int_or_string {
            return None;
        }
        let format = checks.format.as_str();
        let (fits, name) = match (schema.kind?, value) {
            (Kind::Integer, Value::Int(i)) if format == "int32" => {
                (i32::try_from(*i).is_ok(), "integer")
            }
            (Kind::Integer, Value::Float(_)) => (integral(value), "integer"),
            (Kind::Number, Value::Float(f)) if format == "float" => {
                (f.abs() <= f64::from(f32::MAX), "number")
            }
            _ => return None,
        };
        let format = match format {
            "int32" | "int64" | "float" | "double" => format!("with format {format}"),
            _ => "(default format)".into(),
        };
        (!fits).then(|| {
            format!(
                "Checked value must be of type {name} {format} in {}",
                self.path
            )
        })
    }

    fn array(&mut self, schema: &Schema, items: &[Value], old: Option<&Value>, out: &mut Outcome) {
        if let Some(inner) = &schema.items {
            let olds = correlated(schema, old);
            for (i, item) in items.iter().enumerate() {
                let old = olds
                    .as_ref()
                    .and_then(|olds| olds.get(&list_key(&schema.list_keys, item)).copied());
                out.merge(self.at(Step::Index(i), |v| v.node(inner, item, old, true)));
            }
        }
        let Some(checks) = &schema.checks else { return };
        let count = i64::try_from(items.len()).unwrap_or(i64::MAX);
        if let Some(min) = checks.min_items.filter(|min| count < *min) {
            out.errors.push(self.invalid(
                count.to_string(),
                &format!("should have at least {min} items"),
            ));
        }
        if let Some(max) = checks.max_items.filter(|max| count > *max) {
            let max = usize::try_from(max).unwrap_or_default();
            out.errors
                .push(FieldError::too_many(self.field(), items.len(), max));
        }
        out.matches += 1;
    }

    fn object(&mut self, schema: &Schema, map: &Map, old: Option<&Value>, out: &mut Outcome) {
        if let Some(checks) = &schema.checks {
            let count = i64::try_from(map.len()).unwrap_or(i64::MAX);
            if let Some(min) = checks.min_properties.filter(|min| count < *min) {
                out.errors.push(self.invalid(
                    count.to_string(),
                    &format!("should have at least {min} properties"),
                ));
            }
            if let Some(max) = checks.max_properties.filter(|max| count > *max) {
                let max = usize::try_from(max).unwrap_or_default();
                out.errors
                    .push(FieldError::too_many(self.field(), map.len(), max));
            }
        }
        let old = old.filter(|_| !schema.map_atomic);
        for (key, value) in map.iter().filter(|(key, _)| schema.property(key).is_none()) {
            match &schema.additional {
                Additional::Allowed(false) => {
                    let detail = format!("{}.{key} in body is a forbidden property", self.path);
                    out.errors.push(FieldError::new(
                        ErrorKind::Invalid,
                        self.field(),
                        quote(key),
                        detail,
                    ));
                }
                Additional::Schema(inner) => {
                    let old = old.and_then(|o| o.get(key));
                    out.merge(self.at(Step::Extra(key), |v| v.node(inner, value, old, true)));
                }
                _ => {}
            }
        }
        for (name, inner) in &schema.properties {
            let Some(value) = map.get(name) else { continue };
            let old = old.and_then(|o| o.get(name));
            out.merge(self.at(Step::Field(name), |v| v.node(inner, value, old, true)));
        }
        for name in schema
            .required
            .iter()
            .filter(|name| !map.contains_key(name))
        {
            let field = self.at(Step::Extra(name), |v| v.field());
            out.errors.push(FieldError::required(field, ""));
        }
    }

    fn branches(&mut self, checks: &Checks, value: &Value, old: Option<&Value>, out: &mut Outcome) {
        let path = quote(&self.path);
        if !checks.any_of.is_empty() {
            let (mut best, mut valid) = (None, None);
            for schema in &checks.any_of {
                let result = self.node(schema, value, old, false);
                if result.errors.is_empty() {
                    valid = Some(result);
                    break;
                }
                keep_best(&mut best, result);
            }
            if valid.is_none() {
                out.errors.push(
                    self.nowhere(format!("{path} must validate at least one schema (anyOf)")),
                );
            }
            out.merge(valid.or(best).unwrap_or_default());
        }
        if !checks.one_of.is_empty() {
            let (mut best, mut first, mut count) = (None, None, 0);
            for schema in &checks.one_of {
                let result = self.node(schema, value, old, false);
                if result.errors.is_empty() {
                    count += 1;
                    best = None;
                    first.get_or_insert(result);
                } else if count == 0 {
                    keep_best(&mut best, result);
                }
            }
            if count == 1 {
                out.merge(first.unwrap_or_default());
            } else {
                let found = match count {
                    0 => "Found none valid".to_owned(),
                    n => format!("Found {n} valid alternatives"),
                };
                let message =
                    format!("{path} must validate one and only one schema (oneOf). {found}");
                out.errors.push(self.nowhere(message));
                out.merge(best.unwrap_or_default());
            }
        }
        let mut valid = 0;
        for schema in &checks.all_of {
            let result = self.node(schema, value, old, false);
            valid += usize::from(result.errors.is_empty());
            out.merge(result);
        }
        if valid != checks.all_of.len() {
            let none = if valid == 0 { ". None validated" } else { "" };
            out.errors.push(self.nowhere(format!(
                "{path} must validate all the schemas (allOf){none}"
            )));
        }
        let not = checks
            .not
            .as_ref()
            .map(|schema| self.node(schema, value, old, false));
        if not.is_some_and(|result| result.errors.is_empty()) {
            out.errors
                .push(self.nowhere(format!("{path} must not validate the schema (not)")));
        }
        out.matches += 1;
    }
}

#[derive(Clone, Copy)]
enum Step<'a> {
    /// a described property
    Field(&'a str),
    /// any other: upstream writes a dot in front of it also at the root
    Extra(&'a str),
    Index(usize),
}

fn keep_best(best: &mut Option<Outcome>, result: Outcome) {
    if best.as_ref().is_none_or(|b| result.matches > b.matches) {
        *best = Some(result);
    }
}

/// The old items of a list of type map by their keys; other lists are not correlated.
fn correlated<'a>(schema: &Schema, old: Option<&'a Value>) -> Option<HashMap<Vec<u8>, &'a Value>> {
    let items = old?.as_array()?;
    (schema.list_type == ListType::Map).then(|| {
        items
            .iter()
            .map(|item| (list_key(&schema.list_keys, item), item))
            .collect()
    })
}

/// The key fields of an item, encoded.
fn list_key(keys: &[crate::Str], item: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    for key in keys {
        if let Some(value) = item.get(key) {
            json::write(value, &mut out);
        }
        out.push(0);
    }
    out
}

/// `listtype.ValidateListSetsAndMaps`: no duplicates in lists of type set and map.
pub(super) fn lists(schema: &Schema, value: &Value, path: &str, errors: &mut Vec<FieldError>) {
    let child = |name: &str| {
        if path.is_empty() {
            name.to_owned()
        } else {
            format!("{path}.{name}")
        }
    };
    match value {
        Value::Object(map) => {
            for (key, value) in map.iter() {
                match (schema.property(key), schema.additional.schema()) {
                    (Some(inner), _) => lists(inner, value, &child(key), errors),
                    (None, Some(inner)) => lists(inner, value, &format!("{path}[{key}]"), errors),
                    _ => {}
                }
            }
        }
        Value::Array(items) => {
            match schema.list_type {
                ListType::Set => duplicates(items.iter().map(json::to_vec), |i| {
                    errors.push(FieldError::duplicate(format!("{path}[{i}]"), &items[i]));
                }),
                ListType::Map => map_list(schema, items, path, errors),
                ListType::Atomic => {}
            }
            if let Some(inner) = &schema.items {
                for (i, item) in items.iter().enumerate() {
                    lists(inner, item, &format!("{path}[{i}]"), errors);
                }
            }
        }
        _ => {}
    }
}

/// Calls `report` with the second position of every repeated key.
fn duplicates(keys: impl Iterator<Item = Vec<u8>>, mut report: impl FnMut(usize)) {
    let mut seen: HashMap<Vec<u8>, usize> = HashMap::new();
    for (i, key) in keys.enumerate() {
        let times = seen.entry(key).or_default();
        *times += 1;
        if *times == 2 {
            report(i);
        }
    }
}

fn map_list(schema: &Schema, items: &[Value], path: &str, errors: &mut Vec<FieldError>) {
    if let Some(i) = items
        .iter()
        .position(|v| !matches!(v, Value::Object(_) | Value::Null))
    {
        let why = "must be an object for an array of list-type map";
        errors.push(FieldError::invalid(format!("{path}[{i}]"), &items[i], why));
        return;
    }
    duplicates(
        items.iter().map(|item| list_key(&schema.list_keys, item)),
        |i| {
            let keys: Map = schema
                .list_keys
                .iter()
                .filter_map(|k| Some((k.clone(), items[i].get(k)?.clone())))
                .collect();
            errors.push(FieldError::duplicate(
                format!("{path}[{i}]"),
                &Value::Object(keys),
            ));
        },
    );
}

/// `objectmeta.Validate`: what embedded resources must say about themselves; `resource`: the value
/// itself is one.
pub(super) fn embedded(
    schema: &Schema,
    value: &Value,
    path: &str,
    resource: bool,
    errors: &mut Vec<FieldError>,
) {
    let child = |name: &str| {
        if path.is_empty() {
            name.to_owned()
        } else {
            format!("{path}.{name}")
        }
    };
    match value {
        Value::Object(map) => {
            if resource {
                for name in ["apiVersion", "kind"] {
                    match map.get(name) {
                        None => errors.push(FieldError::required(child(name), "")),
                        Some(Value::String(s)) if s.is_empty() => {
                            errors.push(FieldError::invalid_str(
                                child(name),
                                s,
                                "must not be empty",
                            ));
                        }
                        Some(Value::String(s)) if name == "kind" => {
                            let wrong = rules::dns1035_label(&s.to_ascii_lowercase());
                            if !wrong.is_empty() {
                                let why = "may have mixed case, but should otherwise match: ";
                                errors.push(FieldError::invalid_str(
                                    child(name),
                                    s,
                                    format!("{why}{}", wrong.join(",")),
                                ));
                            }
                        }
                        Some(Value::String(s)) if s.matches('/').count() > 1 => {
                            let why = format!("unexpected GroupVersion string: {s}");
                            errors.push(FieldError::invalid_str(child(name), s, why));
                        }
                        Some(Value::String(_)) => {}
                        Some(other) => {
                            errors.push(FieldError::invalid(child(name), other, "must be a string"))
                        }
                    }
                }
            }
            for (key, value) in map.iter() {
                match (schema.property(key), schema.additional.schema()) {
                    (Some(inner), _) => {
                        embedded(inner, value, &child(key), inner.embedded, errors);
                    }
                    (None, Some(inner)) => {
                        let at = format!("{path}[{key}]");
                        embedded(inner, value, &at, inner.embedded, errors);
                    }
                    _ => {}
                }
            }
        }
        Value::Array(items) => {
            let Some(inner) = &schema.items else { return };
            for (i, item) in items.iter().enumerate() {
                embedded(inner, item, &format!("{path}[{i}]"), inner.embedded, errors);
            }
        }
        _ => {}
    }
}

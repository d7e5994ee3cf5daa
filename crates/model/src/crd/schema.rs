//! A CRD's `openAPIV3Schema`, read once into a form that pruning, defaulting and validation walk
//! without looking names up in JSON again.
//!
//! Reading is lenient about content ([`super::check`] reports what is wrong in upstream's words)
//! and strict about size: a schema costs memory for as long as its kind is served.

use super::formats;
use crate::field::FieldError;
use crate::{Map, Str, Value, go_regex, limits};
use regex::Regex;
use regex_syntax::hir::{Class, Hir, HirKind};
use std::sync::OnceLock;

pub(super) use limits::MAX_SCHEMA_DEPTH as MAX_DEPTH;
pub(crate) use limits::MAX_SCHEMA_NODES as MAX_NODES;

/// JSON types a schema may ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Object,
    Array,
    String,
    Integer,
    Number,
    Boolean,
}

impl Kind {
    pub(super) fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "object" => Self::Object,
            "array" => Self::Array,
            "string" => Self::String,
            "integer" => Self::Integer,
            "number" => Self::Number,
            "boolean" => Self::Boolean,
            _ => return None,
        })
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Object => "object",
            Self::Array => "array",
            Self::String => "string",
            Self::Integer => "integer",
            Self::Number => "number",
            Self::Boolean => "boolean",
        }
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum ListType {
    #[default]
    Atomic,
    Set,
    Map,
}

/// `additionalProperties`.
#[derive(Debug, Default)]
pub(crate) enum Additional {
    #[default]
    None,
    Allowed(bool),
    Schema(Box<Schema>),
}

impl Additional {
    pub(crate) fn schema(&self) -> Option<&Schema> {
        if let Self::Schema(s) = self {
            Some(s)
        } else {
            None
        }
    }
}

/// One node.
#[derive(Debug, Default)]
pub struct Schema {
    pub(crate) kind: Option<Kind>,
    pub(crate) nullable: bool,
    pub(crate) int_or_string: bool,
    pub(crate) preserve_unknown: bool,
    pub(crate) embedded: bool,
    pub(crate) map_atomic: bool,
    pub(crate) list_type: ListType,
    pub(crate) list_keys: Vec<Str>,
    /// ascending by name
    pub(crate) properties: Vec<(Str, Schema)>,
    pub(crate) additional: Additional,
    pub(crate) items: Option<Box<Schema>>,
    pub(crate) required: Vec<Str>,
    pub(crate) default: Option<Value>,
    /// CEL rules, as written
    pub(crate) rules: Vec<Rule>,
    pub(crate) checks: Option<Box<Checks>>,
}

/// One of `x-kubernetes-validations`.
#[derive(Clone, Debug, Default)]
pub(crate) struct Rule {
    pub(crate) rule: Str,
    pub(crate) message: Str,
    pub(crate) message_expression: Str,
    pub(crate) reason: Option<Str>,
    pub(crate) field_path: Str,
    pub(crate) optional_old_self: Option<bool>,
}

impl Rule {
    fn read(value: &Value) -> Self {
        let text = |key: &str| Str::from(value.str_at(&[key]).unwrap_or_default());
        Self {
            rule: text("rule"),
            message: text("message"),
            message_expression: text("messageExpression"),
            reason: value.str_at(&["reason"]).map(Str::from),
            field_path: text("fieldPath"),
            optional_old_self: value.get("optionalOldSelf").and_then(Value::as_bool),
        }
    }
}

/// What values are checked against beyond their shape.
#[derive(Debug, Default)]
pub(crate) struct Checks {
    pub(crate) one_of_values: Vec<Value>,
    pub(crate) format: Str,
    pub(crate) maximum: Option<f64>,
    pub(crate) exclusive_maximum: bool,
    pub(crate) minimum: Option<f64>,
    pub(crate) exclusive_minimum: bool,
    pub(crate) multiple_of: Option<f64>,
    pub(crate) max_length: Option<i64>,
    pub(crate) min_length: Option<i64>,
    pub(crate) pattern: Option<Pattern>,
    pub(crate) max_items: Option<i64>,
    pub(crate) min_items: Option<i64>,
    pub(crate) max_properties: Option<i64>,
    pub(crate) min_properties: Option<i64>,
    pub(crate) all_of: Vec<Schema>,
    pub(crate) any_of: Vec<Schema>,
    pub(crate) one_of: Vec<Schema>,
    pub(crate) not: Option<Box<Schema>>,
}

impl Schema {
    pub(crate) fn property(&self, name: &str) -> Option<&Schema> {
        self.properties
            .binary_search_by(|(k, _)| k.as_str().cmp(name))
            .ok()
            .map(|i| &self.properties[i].1)
    }

    /// The schema of one field: its own, or that of additional properties.
    pub(super) fn field(&self, name: &str) -> Option<&Schema> {
        self.property(name).or_else(|| self.additional.schema())
    }

    /// Reads the schema at `path`, counting nodes in `budget`; without the formats that a server of `minor`
    /// does not check yet.
    pub(crate) fn read(
        value: &Value,
        path: &str,
        budget: &mut usize,
        minor: u8,
    ) -> Result<Self, FieldError> {
        let mut reader = Reader {
            budget,
            path,
            minor,
        };
        reader.node(value, 0)
    }
}

pub(super) fn too_many_nodes(path: &str) -> FieldError {
    let why = format!("a definition may have at most {MAX_NODES} schema nodes");
    FieldError::forbidden(path, why)
}

struct Reader<'a> {
    budget: &'a mut usize,
    path: &'a str,
    minor: u8,
}

fn flag(map: &Map, key: &str) -> bool {
    map.get(key).and_then(Value::as_bool).unwrap_or_default()
}

fn number(map: &Map, key: &str) -> Option<f64> {
    match map.get(key)? {
        #[allow(
            clippy::cast_precision_loss,
            reason = "bounds are float64 upstream too"
        )]
        Value::Int(i) => Some(*i as f64),
        Value::Float(f) => Some(*f),
        _ => None,
    }
}

fn strings(map: &Map, key: &str) -> Vec<Str> {
    let items = map.get(key).and_then(Value::as_array).unwrap_or_default();
    items
        .iter()
        .filter_map(Value::as_str)
        .map(Into::into)
        .collect()
}

impl Reader<'_> {
    fn node(&mut self, value: &Value, depth: usize) -> Result<Schema, FieldError> {
        let Some(map) = value.as_object() else {
            return Ok(Schema::default());
        };
        if depth > MAX_DEPTH {
            return Err(FieldError::forbidden(
                self.path,
                format!("schemas may nest at most {MAX_DEPTH} deep"),
            ));
        }
        let left = self.budget.checked_sub(1);
        *self.budget = left.ok_or_else(|| too_many_nodes(self.path))?;
        let mut properties = Vec::new();
        for (name, schema) in map
            .get("properties")
            .and_then(Value::as_object)
            .iter()
            .flat_map(|m| m.iter())
        {
            properties.push((Str::from(name), self.node(schema, depth + 1)?));
        }
        let additional = match map.get("additionalProperties") {
            Some(Value::Bool(allowed)) => Additional::Allowed(*allowed),
            Some(schema @ Value::Object(_)) => {
                Additional::Schema(Box::new(self.node(schema, depth + 1)?))
            }
            _ => Additional::None,
        };
        let items = match map.get("items") {
            Some(schema @ Value::Object(_)) => Some(Box::new(self.node(schema, depth + 1)?)),
            _ => None,
        };
        let rules = map
            .get("x-kubernetes-validations")
            .and_then(Value::as_array)
            .unwrap_or_default();
        Ok(Schema {
            kind: map
                .get("type")
                .and_then(Value::as_str)
                .and_then(Kind::parse),
            nullable: flag(map, "nullable"),
            int_or_string: flag(map, "x-kubernetes-int-or-string"),
            preserve_unknown: flag(map, "x-kubernetes-preserve-unknown-fields"),
            embedded: flag(map, "x-kubernetes-embedded-resource"),
            map_atomic: map.get("x-kubernetes-map-type").and_then(Value::as_str) == Some("atomic"),
            list_type: match map.get("x-kubernetes-list-type").and_then(Value::as_str) {
                Some("set") => ListType::Set,
                Some("map") => ListType::Map,
                _ => ListType::Atomic,
            },
            list_keys: strings(map, "x-kubernetes-list-map-keys"),
            properties,
            additional,
            items,
            required: strings(map, "required"),
            default: map.get("default").filter(|v| !v.is_null()).cloned(),
            rules: rules.iter().map(Rule::read).collect(),
            checks: self.checks(map, depth)?,
        })
    }

    fn list(&mut self, map: &Map, key: &str, depth: usize) -> Result<Vec<Schema>, FieldError> {
        let items = map.get(key).and_then(Value::as_array).unwrap_or_default();
        items.iter().map(|s| self.node(s, depth + 1)).collect()
    }

    fn checks(&mut self, map: &Map, depth: usize) -> Result<Option<Box<Checks>>, FieldError> {
        const KEYS: [&str; 18] = [
            "allOf",
            "anyOf",
            "enum",
            "exclusiveMaximum",
            "exclusiveMinimum",
            "format",
            "maxItems",
            "maxLength",
            "maxProperties",
            "maximum",
            "minItems",
            "minLength",
            "minProperties",
            "minimum",
            "multipleOf",
            "not",
            "oneOf",
            "pattern",
        ];
        if !KEYS.iter().any(|k| map.contains_key(k)) {
            return Ok(None);
        }
        let int = |key: &str| map.get(key).and_then(Value::as_i64);
        let pattern = map
            .get("pattern")
            .and_then(Value::as_str)
            .filter(|p| !p.is_empty());
        Ok(Some(Box::new(Checks {
            one_of_values: map
                .get("enum")
                .and_then(Value::as_array)
                .unwrap_or_default()
                .to_vec(),
            format: map
                .get("format")
                .and_then(Value::as_str)
                .filter(|format| formats::since(format) <= self.minor)
                .unwrap_or_default()
                .into(),
            maximum: number(map, "maximum"),
            exclusive_maximum: flag(map, "exclusiveMaximum"),
            minimum: number(map, "minimum"),
            exclusive_minimum: flag(map, "exclusiveMinimum"),
            multiple_of: number(map, "multipleOf"),
            max_length: int("maxLength"),
            min_length: int("minLength"),
            pattern: match pattern {
                Some(p) => {
                    Some(Pattern::new(p).map_err(|e| FieldError::invalid_str(self.path, p, e))?)
                }
                None => None,
            },
            max_items: int("maxItems"),
            min_items: int("minItems"),
            max_properties: int("maxProperties"),
            min_properties: int("minProperties"),
            all_of: self.list(map, "allOf", depth)?,
            any_of: self.list(map, "anyOf", depth)?,
            one_of: self.list(map, "oneOf", depth)?,
            not: match map.get("not") {
                Some(schema @ Value::Object(_)) => Some(Box::new(self.node(schema, depth + 1)?)),
                _ => None,
            },
        })))
    }
}

/// A pattern that was read; it is compiled when a value meets it first. Most never do.
#[derive(Debug)]
pub(crate) struct Pattern {
    pub(crate) text: Str,
    /// for the engine, until it is compiled
    translated: Box<str>,
    regex: OnceLock<Option<Regex>>,
    /// steps per byte of text in the worst case
    pub(crate) cost: usize,
}

impl Pattern {
    /// Reads a pattern, Go's syntax, and learns what matching costs.
    pub(super) fn new(text: &str) -> Result<Self, String> {
        let invalid = |e| format!("must be a valid regular expression, but isn't: {e}");
        let (translated, states) = go_regex::sized(text).map_err(invalid)?;
        let states = match states {
            Some(states) => states,
            None => states_of(&translated).map_err(|e| invalid(e.to_string()))?,
        };
        let pattern = Self {
            text: text.into(),
            translated: translated.into(),
            regex: OnceLock::new(),
            cost: states.max(32),
        };
        if states > CERTAINLY_SMALL {
            let built = pattern.build().map_err(|e| invalid(e.to_string()))?;
            let _ = pattern.regex.set(Some(built));
        }
        Ok(pattern)
    }

    fn build(&self) -> Result<Regex, regex::Error> {
        go_regex::build(&self.translated, limits::MAX_REGEX)
    }

    pub(super) fn is_match(&self, text: &str) -> bool {
        // What is certainly small compiles, and the others are compiled.
        let regex = self.regex.get_or_init(|| self.build().ok());
        regex.as_ref().is_some_and(|r| r.is_match(text))
    }
}

/// Patterns of so many states compile within [`limits::MAX_REGEX`] (a state takes up to 100 bytes).
const CERTAINLY_SMALL: usize = limits::MAX_REGEX / 256;

fn states_of(translated: &str) -> Result<usize, Box<regex_syntax::Error>> {
    let mut parser = regex_syntax::ParserBuilder::new();
    let hir = parser
        .nest_limit(go_regex::NEST_LIMIT)
        .build()
        .parse(translated)?;
    Ok(states(&hir))
}

/// Roughly, from above, how many states the automaton of a pattern has.
fn states(hir: &Hir) -> usize {
    let sum = |parts: &[Hir]| {
        let all = parts.iter().map(|p| states(p).saturating_add(1));
        all.fold(1, usize::saturating_add)
    };
    match hir.kind() {
        HirKind::Empty | HirKind::Look(_) => 1,
        HirKind::Literal(literal) => literal.0.len(),
        // a range of characters takes up to four sequences of up to four bytes
        HirKind::Class(Class::Unicode(class)) => {
            class
                .ranges()
                .len()
                .saturating_mul(if class.maximum_len() == Some(1) {
                    1
                } else {
                    16
                })
        }
        HirKind::Class(Class::Bytes(class)) => class.ranges().len(),
        HirKind::Repetition(r) => {
            let times = r.max.unwrap_or(r.min.saturating_add(1)).max(1);
            (states(&r.sub).saturating_add(2)).saturating_mul(times as usize)
        }
        HirKind::Capture(c) => states(&c.sub).saturating_add(2),
        HirKind::Concat(parts) | HirKind::Alternation(parts) => sum(parts),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_are_go_patterns_of_bounded_size() {
        assert!(Pattern::new(r"^\d+$").expect("fine").is_match("12"));
        assert_eq!(
            Pattern::new("(").err().as_deref(),
            Some(
                "must be a valid regular expression, but isn't: error parsing regexp: missing closing ): `(`"
            )
        );
        assert!(Pattern::new(r"\pL{900}\pL{900}").is_err());
    }

    /// What is not asked of the regex crate is what it would have said.
    #[test]
    fn patterns_that_are_measured_by_us_are_read_by_the_engine() {
        const PIECES: [&str; 38] = [
            "a",
            "-",
            "é",
            "\\.",
            "\\d",
            "\\D",
            "\\w",
            "\\W",
            "\\s",
            "\\S",
            ".",
            "^",
            "$",
            "|",
            "(",
            "(?:",
            ")",
            "[a-z]",
            "[^a-z0-9]",
            "[^\\d]",
            "[\\s\\w.-]",
            "[é-ü]",
            "[^é]",
            "[",
            "]",
            "*",
            "+",
            "?",
            "*?",
            "{2}",
            "{1,63}",
            "{3,}",
            "{",
            "\\x{e9}",
            "\\n",
            "\\A",
            "\\z",
            "/",
        ];
        let mut seed = 7_u64;
        let mut next = |n: usize| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (seed >> 33) as usize % n
        };
        let mut measured = 0;
        for _ in 0..20_000 {
            let text: String = (0..=next(9)).map(|_| PIECES[next(PIECES.len())]).collect();
            let Ok((written, Some(ours))) = go_regex::sized(&text) else {
                continue;
            };
            measured += 1;
            let theirs = states_of(&written).unwrap_or_else(|e| panic!("{text}: {e}"));
            // Alternatives of one character each are a class to them, of which every range counts
            // as much as the widest.
            let ours = if text.is_ascii() { ours } else { ours * 16 };
            assert!(theirs <= ours, "{text}: {theirs} states, not {ours}");
        }
        assert!(measured > 4000, "{measured}");
    }
}

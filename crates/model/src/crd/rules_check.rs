//! Compiles a CRD's `x-kubernetes-validations` when the CRD is written, and adds up what they can
//! cost: apiextensions `pkg/apis/apiextensions/validation/{validation,cel_validation}.go`.

use super::rules::{self, Compiled};
use super::schema::{Additional, Kind, ListType, Rule, Schema};
use crate::cel::decl::{Decl, DeclKind, MAX_REQUEST};
use crate::cel::env::Env;
use crate::cel::escape::escape;
use crate::cel::shape;
use crate::field::{ErrorKind, FieldError};
use crate::{Str, Value, json};
use std::collections::BTreeSet;
use std::sync::Arc;

/// The most one expression may cost, times how often it can be met.
const EXPRESSION_LIMIT: u64 = 10_000_000;
/// The most all expressions of one schema may cost together.
const SCHEMA_LIMIT: u64 = 100_000_000;

/// The server that judges, and what the definition said before: expressions that are stored may use what
/// any version knew, and those of a schema that stays are not priced one by one again.
pub(super) struct Before<'a> {
    pub(super) minor: u8,
    rules: BTreeSet<&'a str>,
    messages: BTreeSet<&'a str>,
    /// name and schema of each version
    schemas: Vec<(&'a str, &'a Value)>,
}

impl<'a> Before<'a> {
    pub(super) fn of(minor: u8, old: Option<&'a Value>) -> Self {
        let mut before = Self {
            minor,
            rules: BTreeSet::new(),
            messages: BTreeSet::new(),
            schemas: Vec::new(),
        };
        let versions = old.and_then(|o| o.at(&["spec", "versions"])?.as_array());
        for version in versions.unwrap_or_default() {
            if let Some(schema) = version.at(&["schema", "openAPIV3Schema"]) {
                before.collect(schema);
                let name = version.str_at(&["name"]).unwrap_or_default();
                before.schemas.push((name, schema));
            }
        }
        before
    }

    /// Takes down every expression of a schema.
    fn collect(&mut self, schema: &'a Value) {
        match schema {
            Value::Object(map) => {
                for (key, value) in map.iter() {
                    let rules = value
                        .as_array()
                        .filter(|_| key == "x-kubernetes-validations");
                    for rule in rules.unwrap_or_default() {
                        self.rules.extend(rule.str_at(&["rule"]));
                        self.messages.extend(rule.str_at(&["messageExpression"]));
                    }
                    self.collect(value);
                }
            }
            Value::Array(items) => items.iter().for_each(|v| self.collect(v)),
            _ => {}
        }
    }

    /// Whether a version had this very schema.
    pub(super) fn has(&self, version: &str, schema: &Value) -> bool {
        self.schemas
            .iter()
            .any(|(v, s)| *v == version && *s == schema)
    }
}

/// Checks all rules of a structural schema without other errors.
pub(super) fn check(
    schema: &Schema,
    before: &Before<'_>,
    unchanged: bool,
    path: &str,
    errors: &mut Vec<FieldError>,
) {
    let mut checker = Checker {
        before,
        unchanged,
        errors,
        total: 0,
        expensive: Vec::new(),
    };
    let root = Place {
        schema,
        decl: None,
        in_scope: !schema.rules.is_empty(),
        root: true,
        cardinality: Some(1),
        uncorrelated: None,
    };
    checker.node(&root, path);
    let (total, mut expensive) = (checker.total, checker.expensive);
    if total > SCHEMA_LIMIT {
        expensive.sort_by_key(|(_, cost)| std::cmp::Reverse(*cost));
        for (path, _) in expensive.into_iter().take(4) {
            let why = "contributed to estimated rule cost total exceeding cost limit for entire OpenAPIv3 schema";
            errors.push(FieldError::forbidden(path, why));
        }
        let what = "x-kubernetes-validations estimated rule cost total for entire OpenAPIv3 schema";
        errors.push(FieldError::forbidden(
            path,
            too_expensive(what, total, SCHEMA_LIMIT),
        ));
    }
}

#[allow(clippy::cast_precision_loss, reason = "a factor for a message")]
fn too_expensive(what: &str, cost: u64, limit: u64) -> String {
    let factor = cost as f64 / limit as f64;
    let factor = if factor > 100.0 {
        "more than 100x".to_owned()
    } else if factor < 1.5 {
        format!("{factor:.6}x")
    } else {
        format!("{factor:.1}x")
    };
    format!(
        "{what} exceeds budget by factor of {factor} (try simplifying the rule, or adding maxItems, \
         maxProperties, and maxLength where arrays, maps, and strings are declared)"
    )
}

/// A node of the schema and what its ancestors say about it.
struct Place<'s> {
    schema: &'s Schema,
    /// its shape, where an ancestor's is known
    decl: Option<Arc<Decl>>,
    in_scope: bool,
    root: bool,
    /// how often it can occur in one object; `None` without a bound
    cardinality: Option<u64>,
    /// the nearest list whose elements have no old selves
    uncorrelated: Option<&'s str>,
}

struct Checker<'e> {
    before: &'e Before<'e>,
    unchanged: bool,
    errors: &'e mut Vec<FieldError>,
    total: u64,
    expensive: Vec<(String, u64)>,
}

/// How many children a value of this schema has at most.
fn max_children(schema: &Schema) -> Option<u64> {
    let whole = |n: Option<i64>| n.map(|n| u64::try_from(n).unwrap_or(0));
    let checks = schema.checks.as_deref();
    match schema.kind {
        Some(Kind::Object) if !matches!(schema.additional, Additional::None) => {
            whole(checks.and_then(|c| c.max_properties))
        }
        Some(Kind::Array) => whole(checks.and_then(|c| c.max_items)),
        _ => Some(1),
    }
}

fn within<'s>(
    parent: &Place<'s>,
    schema: &'s Schema,
    decl: Option<Arc<Decl>>,
    uncorrelated: Option<&'s str>,
) -> Place<'s> {
    let cardinality = match (parent.cardinality, max_children(parent.schema)) {
        (Some(so_far), Some(children)) => Some(so_far.saturating_mul(children)),
        _ => None,
    };
    Place {
        schema,
        decl,
        in_scope: parent.in_scope || !schema.rules.is_empty(),
        root: false,
        cardinality,
        uncorrelated,
    }
}

impl Checker<'_> {
    fn node(&mut self, place: &Place, path: &str) {
        let schema = place.schema;
        // Shapes are computed at the first rule from above and handed down.
        let decl = if place.in_scope {
            let resource = place.root || schema.embedded;
            place
                .decl
                .clone()
                .or_else(|| shape::of_schema(schema, resource))
        } else {
            None
        };
        if let Some(additional) = schema.additional.schema() {
            let inner = decl.as_deref().and_then(element);
            let below = within(place, additional, inner, place.uncorrelated);
            self.node(&below, &format!("{path}.additionalProperties"));
        }
        for (name, property) in &schema.properties {
            let inner = decl.as_deref().and_then(|d| field(d, name));
            let below = within(place, property, inner, place.uncorrelated);
            self.node(&below, &format!("{path}.properties[{name}]"));
        }
        if let Some(items) = &schema.items {
            let inner = decl.as_deref().and_then(element);
            let uncorrelated = match schema.list_type {
                ListType::Map => place.uncorrelated,
                _ => Some(path),
            };
            // The nearest path is for this subtree only.
            let below = within(place, items, inner, uncorrelated);
            self.node(&below, &format!("{path}.items"));
        }
        if !schema.rules.is_empty() {
            self.rules(place, decl.as_ref(), path);
        }
    }

    fn rules(&mut self, place: &Place, decl: Option<&Arc<Decl>>, path: &str) {
        let all = format!("{path}.x-kubernetes-validations");
        let Some(decl) = decl else {
            let why = "internal error: failed to construct type information for \
                       x-kubernetes-validations rules: unable to convert structural schema to CEL \
                       declarations";
            self.errors
                .push(FieldError::new(ErrorKind::InternalError, all, "", why));
            return;
        };
        let new = rules::environments(&Env::of_server(self.before.minor.into()), decl);
        let stored = rules::environments(&Env::stored(), decl);
        for (i, rule) in place.schema.rules.iter().enumerate() {
            let of = |known: bool| {
                let (plain, optional) = if known { &stored } else { &new };
                if rule.optional_old_self == Some(true) {
                    optional
                } else {
                    plain
                }
            };
            let env = of(self.before.rules.contains(rule.rule.as_str()));
            let message = of(self
                .before
                .messages
                .contains(rule.message_expression.as_str()));
            let at = |field: &str| format!("{all}[{i}].{field}");
            match rules::compile(env, message, rule, place.schema) {
                Ok(compiled) => self.compiled(place, decl, rule, &compiled, &at),
                Err((field, why)) => {
                    self.errors.push(FieldError::new(
                        ErrorKind::Invalid,
                        at(field),
                        shown(rule),
                        why,
                    ));
                }
            }
        }
    }

    fn compiled(
        &mut self,
        place: &Place,
        decl: &Decl,
        rule: &Rule,
        compiled: &Compiled,
        at: &dyn Fn(&str) -> String,
    ) {
        // Without a bound, as often as the smallest such value fits into a request.
        let times = place
            .cardinality
            .unwrap_or_else(|| MAX_REQUEST / (decl.min_size + 1));
        let cost = compiled.cost(decl).max.saturating_mul(times);
        self.observe(at("rule"), cost, "estimated rule cost");
        if let Some(message) = compiled.message_cost(decl) {
            self.observe(
                at("messageExpression"),
                message.max,
                "estimated messageExpression cost",
            );
        }
        if compiled.uses_old_self() {
            if let Some(list) = place.uncorrelated {
                let why = format!(
                    "oldSelf cannot be used on the uncorrelatable portion of the schema within {list}"
                );
                self.errors
                    .push(FieldError::invalid_str(at("rule"), &rule.rule, why));
            }
        } else if let Some(optional) = rule.optional_old_self {
            self.errors.push(FieldError::invalid(
                at("optionalOldSelf"),
                &optional.into(),
                "may not be set if oldSelf is not used in rule",
            ));
        }
    }

    fn observe(&mut self, path: String, cost: u64, what: &str) {
        if cost > EXPRESSION_LIMIT && !self.unchanged {
            let why = too_expensive(what, cost, EXPRESSION_LIMIT);
            self.errors.push(FieldError::forbidden(path.clone(), why));
        }
        self.total = self.total.saturating_add(cost);
        if cost >= SCHEMA_LIMIT / 100 {
            self.expensive.push((path, cost));
        }
    }
}

fn element(decl: &Decl) -> Option<Arc<Decl>> {
    match &decl.kind {
        DeclKind::List(of, _) | DeclKind::Map(of) => Some(Arc::clone(of)),
        _ => None,
    }
}

fn field(decl: &Decl, name: &str) -> Option<Arc<Decl>> {
    let DeclKind::Object(object) = &decl.kind else {
        return None;
    };
    object
        .fields
        .get(&escape(name)?)
        .map(|f| Arc::clone(&f.decl))
}

/// A rule as upstream's errors show it: its internal type, whose fields begin with capitals.
fn shown(rule: &Rule) -> String {
    let text = |value: Value| String::from_utf8_lossy(&json::to_vec(&value)).into_owned();
    let string = |s: &Str| text(Value::String(s.clone()));
    format!(
        r#"{{"Rule":{},"Message":{},"MessageExpression":{},"Reason":{},"FieldPath":{},"OptionalOldSelf":{}}}"#,
        string(&rule.rule),
        string(&rule.message),
        string(&rule.message_expression),
        text(rule.reason.clone().map_or(Value::Null, Value::String)),
        string(&rule.field_path),
        text(rule.optional_old_self.map_or(Value::Null, Value::Bool)),
    )
}

/// Checks where rules want their errors to be reported.
pub(super) fn field_paths(schema: &Schema, path: &str, errors: &mut Vec<FieldError>) {
    for (i, rule) in schema.rules.iter().enumerate() {
        let given = rule.field_path.as_str();
        if !given.is_empty() && super::rule_path::normalize(given, schema).is_err() {
            let at = format!("{path}.x-kubernetes-validations[{i}].fieldPath");
            errors.push(FieldError::invalid_str(at, given, "must be a valid path"));
        }
    }
    if let Some(additional) = schema.additional.schema() {
        field_paths(additional, &format!("{path}.additionalProperties"), errors);
    }
    for (name, property) in &schema.properties {
        field_paths(property, &format!("{path}.properties[{name}]"), errors);
    }
    if let Some(items) = &schema.items {
        field_paths(items, &format!("{path}.items"), errors);
    }
}

//! Defaulting of built-in kinds (CRDs default by schema, see [`crate::crd`]).
//!
//! Upstream generates one function per kind that walks down and calls a hand-written function for
//! each type it meets (`SetDefaults_*` of `pkg/apis/*/v1/defaults.go`), then fills in `+default`
//! markers. Here one walk does that for every kind: a rule per struct type, markers from the
//! catalogue, outer structs before inner ones as upstream. What a type gets whatever it holds is
//! worked out once ([`plan`]).
//!
//! On the way back up the object takes the form that decoding into Go's types and encoding again
//! gives it: zero values that Go omits disappear, those that Go always writes (`status: {}`,
//! `resources: {}`) appear, quantities become canonical. Objects are compared, merged and stored in
//! this form only.

use crate::catalogue::{Shape, Struct, TypeId, Types};
use crate::quantity::{self, Quantity};
use crate::{Catalogue, Map, Resource, Value};
use std::collections::BTreeMap;
use std::sync::LazyLock;

pub(crate) use plan::{Plans, spare};

mod admission;
mod apps;
mod authentication;
mod autoscaling;
mod batch;
mod core;
mod discovery;
mod extensions;
mod flowcontrol;
mod image;
mod networking;
mod plan;
pub(crate) mod pod_resources;
mod pods;
mod policy;
mod rbac;
mod resource;
mod scheduling;
mod storage;

/// Fills in what upstream's `SetObjectDefaults_*` fill in. Deterministic; the caller handles
/// anything that needs a clock, an allocator or randomness.
pub fn apply(resource: &Resource, object: &mut Value) {
    if resource.custom.is_some() {
        return;
    }
    apply_type(&resource.types, resource.root, object);
}

/// As [`apply`], for built-in types that are no resource (`Scale`, `DeleteOptions`, reviews …).
pub fn apply_type(types: &Types, root: TypeId, object: &mut Value) {
    Walk::new(types, true).value(root, object, false);
}

/// Only the form that Go gives an object (see above), no defaults.
pub fn as_go_writes(types: &Types, root: TypeId, object: &mut Value) {
    Walk::new(types, false).value(root, object, false);
}

/// What a type adds to the struct that it is given.
type Rule = fn(&mut Map);

/// By type id: ids are the same for every minor version.
static RULES: LazyLock<Vec<Option<Rule>>> = LazyLock::new(|| {
    let mut by_id = Vec::new();
    let Some(catalogue) = Catalogue::builtin(crate::catalogue::DEFAULT_MINOR) else {
        return by_id;
    };
    for (name, rule) in RULE_NAMES.iter() {
        if let Some((_, TypeId(id))) = catalogue.type_named(name) {
            let id = id as usize;
            by_id.resize(by_id.len().max(id + 1), None);
            by_id[id] = Some(*rule);
        }
    }
    by_id
});

/// Every rule by the name of its type.
static RULE_NAMES: LazyLock<BTreeMap<String, Rule>> = LazyLock::new(rules);

fn rules() -> BTreeMap<String, Rule> {
    let groups = [
        ("core.v1", core::RULES),
        ("core.v1", pods::RULES),
        ("apps.v1", apps::RULES),
        ("authentication.v1", authentication::RULES),
        ("batch.v1", batch::RULES),
        ("autoscaling.v1", autoscaling::RULES_V1),
        ("autoscaling.v2", autoscaling::RULES_V2),
        ("networking.v1", networking::RULES),
        ("policy.v1", policy::RULES),
        ("rbac.v1", rbac::RULES),
        ("storage.v1", storage::RULES),
        ("scheduling.v1", scheduling::RULES),
        ("admissionregistration.v1", admission::RULES),
        ("discovery.v1", discovery::RULES),
        ("resource.v1", resource::RULES),
        ("flowcontrol.v1", flowcontrol::RULES),
        ("flowcontrol.v1beta3", flowcontrol::RULES_BETA),
        ("flowcontrol.v1beta2", flowcontrol::RULES_OLD_BETA),
    ];
    let built_in = groups.into_iter().flat_map(|(group, list)| {
        list.iter()
            .map(move |(name, rule)| (format!("io.k8s.api.{group}.{name}"), *rule))
    });
    built_in
        .chain(
            extensions::RULES
                .iter()
                .map(|(name, rule)| ((*name).to_owned(), *rule)),
        )
        .collect()
}

struct Walk<'a> {
    types: &'a Types,
    /// otherwise only the form that Go writes
    defaults: bool,
    /// what the open structs miss of their plans' `fills`, the innermost last
    missing: Vec<u16>,
}

impl<'a> Walk<'a> {
    fn new(types: &'a Types, defaults: bool) -> Self {
        Self {
            types,
            defaults,
            missing: Vec::new(),
        }
    }

    /// `rounds`: quantities of a `ResourceList` are rounded up to thousandths.
    fn value(&mut self, id: TypeId, value: &mut Value, rounds: bool) {
        let types = self.types;
        match (types.get(id), value) {
            (Shape::Struct(s), Value::Object(map)) => self.structure(id, s, map),
            (Shape::Map(item), Value::Object(map)) => {
                map.iter_mut()
                    .for_each(|(_, v)| self.value(*item, v, rounds));
            }
            (Shape::List(list), Value::Array(items)) => {
                items
                    .iter_mut()
                    .for_each(|v| self.value(list.item, v, rounds));
            }
            (Shape::Quantity, value) => canonical_quantity(value, rounds),
            (Shape::SchemaOrArray(s), Value::Array(items)) => {
                items.iter_mut().for_each(|v| self.value(*s, v, rounds));
            }
            (
                Shape::SchemaOrBool(s) | Shape::SchemaOrStrings(s) | Shape::SchemaOrArray(s),
                value,
            ) => self.value(*s, value, rounds),
            _ => {}
        }
    }

    fn structure(&mut self, id: TypeId, s: &'a Struct, map: &mut Map) {
        let plan = self.types.plan(id, s, self.defaults);
        if let Some(rule) = plan.rule {
            map.reserve(s.spare());
            rule(map);
        }
        let (mark, mut next) = (self.missing.len(), 0);
        let mut all_stay = true;
        for (prefix, key, value) in map.iter_mut_known() {
            let Some(fact) = plan.find(s, prefix, key) else {
                all_stay = false;
                continue;
            };
            if let Some(fill) = fact.fill() {
                if next < fill {
                    self.missing.extend(next..fill);
                }
                next = fill + 1;
                if let Some(given) = plan.instead_of(fill, value) {
                    value.clone_from(given);
                    continue;
                }
            }
            if fact.deep {
                self.value(fact.ty, value, fact.rounds);
            }
            all_stay &= fact.keeps(value);
        }
        if !all_stay {
            // What the type does not know goes: a rule may set a field that came with a later version.
            map.retain_known(|prefix, key, value| {
                let fact = plan.find(s, prefix, key);
                fact.is_some_and(|fact| fact.keeps(value))
            });
        }
        self.missing.extend(next..plan.fills());
        if self.missing.len() > mark {
            let missing = self.missing.drain(mark..).rev();
            map.fill_in(missing.map(|fill| plan.entry(s, fill)));
        }
    }
}

#[inline]
fn is_zero_scalar(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) | Value::Int(0) => true,
        Value::Float(f) => *f == 0.0,
        Value::String(s) => s.is_empty(),
        _ => false,
    }
}

#[inline]
fn is_zero(value: &Value) -> bool {
    match value {
        Value::Object(map) => map.is_empty(),
        Value::Array(items) => items.is_empty(),
        _ => is_zero_scalar(value),
    }
}

/// What Go writes for a field that nobody set.
fn zero(shape: &Shape) -> Value {
    match shape {
        Shape::String => "".into(),
        Shape::Bool => false.into(),
        Shape::Int32 | Shape::Int64 | Shape::IntOrString | Shape::Float => 0.into(),
        Shape::Quantity => "0".into(),
        Shape::Duration => "0s".into(),
        Shape::Struct(_) => Value::object(),
        _ => Value::Null,
    }
}

/// Validation says what is wrong with a quantity that does not parse.
fn canonical_quantity(value: &mut Value, rounds: bool) {
    let text = match value {
        Value::String(s) if quantity::is_plain(s) => return,
        Value::String(s) => s.to_string(),
        Value::Int(i) => i.to_string(),
        Value::Float(f) => f.to_string(),
        _ => return,
    };
    let Ok(mut quantity) = Quantity::parse(&text) else {
        return;
    };
    if rounds {
        quantity.round_up(-3);
    }
    *value = quantity.to_string().into();
}

/// Neither there nor null: `nil` in Go.
fn is_absent(map: &Map, key: &str) -> bool {
    map.get(key).is_none_or(Value::is_null)
}

/// A pointer field: only a missing value is replaced.
fn default(map: &mut Map, key: &str, value: impl Into<Value>) {
    if is_absent(map, key) {
        map.insert(key, value);
    }
}

/// A field held by value: an explicit zero counts as missing.
fn default_zero(map: &mut Map, key: &str, value: impl Into<Value>) {
    if map.get(key).is_none_or(is_zero_scalar) {
        map.insert(key, value);
    }
}

/// The object in a field, made when missing.
fn object<'a>(map: &'a mut Map, key: &str) -> Option<&'a mut Map> {
    let value = map.entry_or(key, Value::object);
    if value.is_null() {
        *value = Value::object();
    }
    value.as_object_mut()
}

/// The object in a field, if there is one.
fn present<'a>(map: &'a mut Map, key: &str) -> Option<&'a mut Map> {
    map.get_mut(key).and_then(Value::as_object_mut)
}

/// The objects in a list.
fn each<'a>(map: &'a mut Map, key: &str) -> impl Iterator<Item = &'a mut Map> {
    map.get_mut(key)
        .and_then(Value::as_array_mut)
        .into_iter()
        .flatten()
        .filter_map(Value::as_object_mut)
}

fn text<'a>(map: &'a Map, key: &str) -> &'a str {
    map.get(key).and_then(Value::as_str).unwrap_or_default()
}

/// No items, or nothing there.
fn is_empty(map: &Map, key: &str) -> bool {
    match map.get(key) {
        Some(Value::Array(items)) => items.is_empty(),
        Some(Value::Object(map)) => map.is_empty(),
        other => other.is_none_or(is_zero_scalar),
    }
}

#[cfg(test)]
mod tests;

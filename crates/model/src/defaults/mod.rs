//! Defaulting of built-in kinds (CRDs default by schema, see [`crate::crd`]).
//!
//! Upstream generates one function per kind that walks down and calls a hand-written function for
//! each type it meets (`SetDefaults_*` of `pkg/apis/*/v1/defaults.go`), then fills in `+default`
//! markers. Here one walk does that for every kind: a rule per struct type, markers from the
//! catalogue, outer structs before inner ones as upstream.
//!
//! On the way back up the object takes the form that decoding into Go's types and encoding again
//! gives it: zero values that Go omits disappear, those that Go always writes (`status: {}`,
//! `resources: {}`) appear, quantities become canonical. Objects are compared, merged and stored in
//! this form only.

use crate::catalogue::{Field, Shape, Struct, TypeId, Types};
use crate::quantity::{self, Quantity};
use crate::{Catalogue, Map, Resource, Value};
use std::sync::LazyLock;

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
    Walk {
        types,
        rules: &RULES,
        markers: true,
    }
    .value(root, object, false);
}

/// Only the form that Go gives an object (see above), no defaults.
pub fn as_go_writes(types: &Types, root: TypeId, object: &mut Value) {
    Walk {
        types,
        rules: &[],
        markers: false,
    }
    .value(root, object, false);
}

/// What a type adds to the struct that it is given.
type Rule = fn(&mut Map);

/// By type id: ids are the same for every minor version.
static RULES: LazyLock<Vec<Option<Rule>>> = LazyLock::new(|| {
    let mut by_id = Vec::new();
    let Some(catalogue) = Catalogue::builtin(crate::catalogue::DEFAULT_MINOR) else {
        return by_id;
    };
    for (name, rule) in rules() {
        if let Some((_, TypeId(id))) = catalogue.type_named(&name) {
            let id = id as usize;
            by_id.resize(by_id.len().max(id + 1), None);
            by_id[id] = Some(rule);
        }
    }
    by_id
});

/// Every rule with the name of its type.
fn rules() -> Vec<(String, Rule)> {
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
        ("flowcontrol.v1beta2", flowcontrol::RULES_BETA),
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
    rules: &'a [Option<Rule>],
    markers: bool,
}

impl Walk<'_> {
    /// `rounds`: quantities of a `ResourceList` are rounded up to thousandths.
    fn value(&self, id: TypeId, value: &mut Value, rounds: bool) {
        match self.types.get(id) {
            Shape::Struct(s) => {
                if let Value::Object(map) = value {
                    self.structure(id, s, map);
                }
            }
            Shape::Map(item) => {
                let Value::Object(map) = value else { return };
                if self.interesting(*item) {
                    for (_, v) in map.iter_mut() {
                        self.value(*item, v, rounds);
                    }
                }
            }
            Shape::List(list) => {
                let Value::Array(items) = value else { return };
                if self.interesting(list.item) {
                    for v in items {
                        self.value(list.item, v, rounds);
                    }
                }
            }
            Shape::Quantity => canonical_quantity(value, rounds),
            Shape::SchemaOrBool(s) | Shape::SchemaOrStrings(s) => self.value(*s, value, rounds),
            Shape::SchemaOrArray(s) => match value {
                Value::Array(items) => items.iter_mut().for_each(|v| self.value(*s, v, rounds)),
                one => self.value(*s, one, rounds),
            },
            _ => {}
        }
    }

    /// Strings, numbers and the like have nothing below them to default.
    fn interesting(&self, id: TypeId) -> bool {
        !matches!(
            self.types.get(id),
            Shape::String
                | Shape::Bool
                | Shape::Int32
                | Shape::Int64
                | Shape::Bytes
                | Shape::Raw
                | Shape::Json
        )
    }

    fn structure(&self, id: TypeId, s: &Struct, map: &mut Map) {
        for field in s.nested() {
            if is_absent(map, &field.json) {
                map.insert(field.json.clone(), Value::object());
            }
        }
        if let Some(Some(rule)) = self.rules.get(id.0 as usize) {
            map.reserve(s.spare());
            rule(map);
        }
        if self.markers {
            s.marked().for_each(|field| marker(field, map));
        }
        let rounds = s.name.starts_with("io.k8s.api.core.v1.")
            && s.name != "io.k8s.api.core.v1.NodeAllocatableResourceClaimStatus";
        // What the type does not know goes: a rule may set a field that came with a later version.
        let mut fields = s.cursor();
        let mut missing: Vec<&Field> = Vec::new();
        map.retain_known(|prefix, key, value| {
            let field = fields.seek(prefix, key, |f| missing.push(f));
            let Some(field) = field else {
                return false;
            };
            let rounds = rounds && matches!(self.types.get(field.ty), Shape::Map(_));
            self.value(field.ty, value, rounds);
            self.is_written(field, value)
        });
        missing.extend(fields.rest());
        for field in missing {
            map.insert(field.json.clone(), self.unset(field));
        }
    }

    /// Whether Go writes a field with this value; null becomes Go's zero where one is written.
    fn is_written(&self, field: &Field, value: &mut Value) -> bool {
        if field.omit_empty {
            return !value.is_null() && (field.pointer || !is_zero(value));
        }
        if value.is_null() {
            *value = self.unset(field);
        }
        true
    }

    fn unset(&self, field: &Field) -> Value {
        if field.pointer {
            Value::Null
        } else {
            zero(self.types.get(field.ty))
        }
    }
}

/// The `+default` marker of a field, unless the field is set.
fn marker(field: &Field, map: &mut Map) {
    let Some(default) = field.facts.as_ref().and_then(|f| f.default.as_ref()) else {
        return;
    };
    let unset = match map.get(&field.json) {
        None | Some(Value::Null) => true,
        Some(value) => !field.pointer && is_zero_scalar(value),
    };
    if unset && (field.pointer || !is_zero_scalar(default)) {
        map.insert(field.json.clone(), default.clone());
    }
}

fn is_zero_scalar(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) | Value::Int(0) => true,
        Value::Float(f) => *f == 0.0,
        Value::String(s) => s.is_empty(),
        _ => false,
    }
}

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

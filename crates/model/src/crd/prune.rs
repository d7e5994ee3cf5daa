//! Pruning and defaulting of custom objects: apiextensions `pkg/apiserver/schema/pruning` and
//! `pkg/apiserver/schema/defaulting`.

use super::schema::{Additional, Schema};
use crate::catalogue::Resource;
use crate::limits::{self, Extent};
use crate::strict::MAX_REPORTED;
use crate::{ApiError, Map, Value};
use std::fmt::Write as _;

const META: [&str; 3] = ["apiVersion", "kind", "metadata"];

/// Removes what the schema does not know and returns the removed paths, ascending.
pub(super) fn prune(object: &mut Value, schema: &Schema) -> Vec<String> {
    let mut pruner = Pruner {
        path: String::new(),
        removed: Vec::new(),
    };
    pruner.value(object, Some(schema), true, false);
    pruner.removed.sort();
    pruner.removed
}

/// As [`prune`] for a value that is no object of its own (a default).
pub(super) fn prune_value(value: &mut Value, schema: &Schema) -> Vec<String> {
    let mut pruner = Pruner {
        path: String::new(),
        removed: Vec::new(),
    };
    pruner.value(value, Some(schema), schema.embedded, false);
    pruner.removed
}

/// Custom objects have the metadata of any object: upstream reads it into `ObjectMeta` and writes
/// it back, which drops what is unknown there and what is empty.
pub(super) fn metadata(resource: &Resource, object: &mut Value, unknown: &mut Vec<String>) {
    let meta = resource
        .types
        .structure(resource.root)
        .and_then(|root| root.field("metadata"));
    let known = meta.and_then(|field| resource.types.structure(field.ty));
    let Some(Value::Object(map)) = object.get_mut("metadata") else {
        return;
    };
    map.retain(|key, value| {
        if known.is_some_and(|known| known.field(key).is_none()) {
            unknown.push(format!("metadata.{key}"));
            return false;
        }
        match value {
            Value::Null => false,
            Value::String(s) => !s.is_empty(),
            Value::Array(items) => !items.is_empty(),
            Value::Object(map) => !map.is_empty(),
            _ => true,
        }
    });
}

struct Pruner {
    path: String,
    removed: Vec<String>,
}

impl Pruner {
    /// Notes what is removed: not all of a flood, nor all of a key that a tenant made long.
    fn report(&mut self) {
        if self.removed.len() < MAX_REPORTED {
            let path = limits::cut(&self.path, limits::MAX_PATH);
            self.removed.push(path.into_owned());
        }
    }

    /// `embedded`: leave type and object metadata alone. `keep`: below
    /// `x-kubernetes-preserve-unknown-fields`, where only described fields are pruned inside.
    fn value(&mut self, value: &mut Value, schema: Option<&Schema>, embedded: bool, keep: bool) {
        let preserve = keep || schema.is_some_and(|s| s.preserve_unknown);
        if preserve && schema.is_none() {
            return;
        }
        match value {
            Value::Object(map) => self.map(map, schema, embedded, preserve),
            Value::Array(items) => {
                let inner = schema.and_then(|s| s.items.as_deref());
                let length = self.path.len();
                for (i, item) in items.iter_mut().enumerate() {
                    let _ = write!(self.path, "[{i}]");
                    self.value(item, inner, inner.is_some_and(|s| s.embedded), preserve);
                    self.path.truncate(length);
                }
            }
            _ => {}
        }
    }

    fn map(&mut self, map: &mut Map, schema: Option<&Schema>, embedded: bool, preserve: bool) {
        let length = self.path.len();
        map.retain(|key, value| {
            if embedded && META.contains(&key) {
                return true;
            }
            if !self.path.is_empty() {
                self.path.push('.');
            }
            self.path.push_str(key);
            let property = schema.and_then(|s| s.property(key));
            let kept = if let Some(inner) = property {
                self.value(value, Some(inner), inner.embedded, false);
                true
            } else if let Some(Additional::Allowed(_) | Additional::Schema(_)) =
                schema.map(|s| &s.additional)
            {
                let inner = schema.and_then(|s| s.additional.schema());
                self.value(value, inner, inner.is_some_and(|s| s.embedded), false);
                true
            } else {
                preserve
            };
            if !kept {
                self.report();
            }
            self.path.truncate(length);
            kept
        });
    }
}

/// Drops nulls that are neither allowed nor replaced by a default.
pub(super) fn drop_nulls(value: &mut Value, schema: Option<&Schema>) {
    match value {
        Value::Object(map) => map.retain(|key, value| {
            let inner = schema.and_then(|s| s.field(key));
            let dropped =
                value.is_null() && inner.is_some_and(|s| !s.nullable && s.default.is_none());
            if !dropped {
                drop_nulls(value, inner);
            }
            !dropped
        }),
        Value::Array(items) => {
            let inner = schema.and_then(|s| s.items.as_deref());
            items.iter_mut().for_each(|item| drop_nulls(item, inner));
        }
        _ => {}
    }
}

/// What defaults may add to one object: each is copied to every place that lacks it, which definition
/// and object can make many.
pub(super) struct Room {
    bytes: usize,
    nodes: usize,
    visits: usize,
}

impl Room {
    pub(super) fn new() -> Self {
        Self {
            bytes: limits::MAX_BODY,
            nodes: limits::MAX_NODES,
            visits: limits::MAX_VISITS,
        }
    }

    /// Bytes of all defaults that were copied.
    pub(super) fn used(&self) -> usize {
        limits::MAX_BODY - self.bytes
    }

    fn copy(&mut self, default: &Value) -> Result<Value, ApiError> {
        let Extent { bytes, nodes, .. } = Extent::of(default);
        match (self.bytes.checked_sub(bytes), self.nodes.checked_sub(nodes)) {
            (Some(bytes), Some(nodes)) => (self.bytes, self.nodes) = (bytes, nodes),
            _ => return Err(too_large()),
        }
        Ok(default.clone())
    }

    fn visit(&mut self, properties: usize) -> Result<(), ApiError> {
        self.visits = self.visits.checked_sub(properties).ok_or_else(too_large)?;
        Ok(())
    }
}

fn too_large() -> ApiError {
    ApiError::too_large(
        "Request entity too large: the object with the defaults of its definition is too large",
    )
}

/// Fills in defaults, outside in: a default may be completed by the defaults inside it.
pub(super) fn default(value: &mut Value, schema: &Schema, room: &mut Room) -> Result<(), ApiError> {
    match value {
        Value::Object(map) => {
            room.visit(schema.properties.len())?;
            for (name, property) in &schema.properties {
                let Some(default) = &property.default else {
                    continue;
                };
                if map.get(name).is_none_or(|v| is_replaced(v, property)) {
                    map.insert(name.clone(), room.copy(default)?);
                }
            }
            for (key, value) in map.iter_mut() {
                if let Some(property) = schema.property(key) {
                    default(value, property, room)?;
                } else if let Some(additional) = schema.additional.schema() {
                    default_member(value, additional, room)?;
                }
            }
        }
        Value::Array(items) => {
            if let Some(inner) = schema.items.as_deref() {
                for item in items {
                    default_member(item, inner, room)?;
                }
            }
        }
        _ => {}
    }
    Ok(())
}

/// An item of a list or a value of a map: only null gives way to its default.
fn default_member(value: &mut Value, schema: &Schema, room: &mut Room) -> Result<(), ApiError> {
    if is_replaced(value, schema) {
        *value = match &schema.default {
            Some(default) => room.copy(default)?,
            None => Value::Null,
        };
    }
    default(value, schema, room)
}

fn is_replaced(value: &Value, schema: &Schema) -> bool {
    value.is_null() && !schema.nullable
}

//! A CRD's schema as [`Types`], so that apply, patches and decoding treat custom objects as they
//! treat built-in ones.

use super::schema::{Additional, Kind, ListType, Schema};
use crate::catalogue::{
    Catalogue, DEFAULT_MINOR, Facts, Field, List, ListKind, Shape, Struct, TypeId, Types,
};
use crate::{Str, Value};
use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

/// The arena that every CRD's starts with: the built-in `ObjectMeta`, shared.
static BASE: LazyLock<(Types, TypeId)> = LazyLock::new(|| {
    let mut base = Types::default();
    let builtin = Catalogue::builtin(DEFAULT_MINOR).and_then(|c| c.type_of("", "v1", "ConfigMap"));
    let meta = builtin.and_then(|(types, root)| {
        let field = types.structure(root)?.field("metadata")?.ty;
        Some(import(&types, field, &mut base, &mut HashMap::new()))
    });
    let meta = meta.unwrap_or_else(|| base.push(Shape::Json));
    (base, meta)
});

/// Copies a type and all it refers to.
fn import(from: &Types, id: TypeId, to: &mut Types, done: &mut HashMap<TypeId, TypeId>) -> TypeId {
    if let Some(new) = done.get(&id) {
        return *new;
    }
    let new = to.push(Shape::Json);
    done.insert(id, new);
    let mut shape = from.get(id).clone();
    match &mut shape {
        Shape::Struct(s) => s
            .fields
            .iter_mut()
            .for_each(|f| f.ty = import(from, f.ty, to, done)),
        Shape::List(list) => list.item = import(from, list.item, to, done),
        Shape::Map(inner)
        | Shape::SchemaOrBool(inner)
        | Shape::SchemaOrArray(inner)
        | Shape::SchemaOrStrings(inner) => {
            *inner = import(from, *inner, to, done);
        }
        _ => {}
    }
    to.set(new, shape);
    new
}

/// The arena and root type of one version.
pub(super) fn build(schema: &Schema, kind: &str) -> (Types, TypeId) {
    let (base, meta) = &*BASE;
    let mut builder = Builder {
        types: base.clone(),
        meta: *meta,
        text: TypeId(0),
    };
    builder.text = builder.types.push(Shape::String);
    let root = builder.object(schema, kind, true);
    (builder.types, root)
}

struct Builder {
    types: Types,
    meta: TypeId,
    text: TypeId,
}

impl Builder {
    fn add(&mut self, schema: &Schema) -> TypeId {
        let shape = match schema.kind {
            _ if schema.int_or_string => Shape::IntOrString,
            None => Shape::Json,
            Some(Kind::String) => return self.text,
            Some(Kind::Integer) => Shape::Int64,
            Some(Kind::Number) => Shape::Float,
            Some(Kind::Boolean) => Shape::Bool,
            Some(Kind::Array) => self.list(schema),
            Some(Kind::Object) => match &schema.additional {
                Additional::Schema(inner) if schema.properties.is_empty() => {
                    Shape::Map(self.add(inner))
                }
                _ if schema.preserve_unknown
                    && schema.properties.is_empty()
                    && !schema.embedded =>
                {
                    Shape::Json
                }
                Additional::Allowed(true) if schema.properties.is_empty() => {
                    Shape::Map(self.types.push(Shape::Json))
                }
                _ => return self.object(schema, "", false),
            },
        };
        self.types.push(shape)
    }

    fn list(&mut self, schema: &Schema) -> Shape {
        let item = match &schema.items {
            Some(items) => self.add(items),
            None => self.types.push(Shape::Json),
        };
        let kind = match schema.list_type {
            ListType::Atomic => ListKind::Atomic,
            ListType::Set => ListKind::Set,
            ListType::Map => ListKind::Map(schema.list_keys.clone()),
        };
        Shape::List(List {
            item,
            kind,
            wrapped: false,
        })
    }

    fn object(&mut self, schema: &Schema, name: &str, root: bool) -> TypeId {
        let mut fields: Vec<Field> = Vec::with_capacity(schema.properties.len() + 3);
        let whole = root || schema.embedded;
        for (json, property) in &schema.properties {
            let ty = match json.as_str() {
                "metadata" if whole => self.meta,
                "apiVersion" | "kind" if whole => self.text,
                _ => self.add(property),
            };
            let facts = property
                .default
                .clone()
                .map(|default| facts(default, property));
            fields.push(Field {
                json: json.clone(),
                ty,
                required: schema.required.contains(json),
                omit_empty: true,
                pointer: true,
                map_atomic: property.map_atomic,
                facts,
                ..Field::default()
            });
        }
        for (json, ty) in [
            ("apiVersion", self.text),
            ("kind", self.text),
            ("metadata", self.meta),
        ] {
            if whole && schema.property(json).is_none() {
                fields.push(Field {
                    json: json.into(),
                    ty,
                    omit_empty: true,
                    ..Field::default()
                });
            }
        }
        fields.sort_by(|a, b| a.json.cmp(&b.json));
        self.types.push(Shape::Struct(Struct {
            name: Str::from(name),
            fields,
            atomic: schema.map_atomic,
            preserve_unknown: schema.preserve_unknown,
            ..Struct::default()
        }))
    }
}

fn facts(default: Value, property: &Schema) -> Arc<Facts> {
    let format = property
        .checks
        .as_ref()
        .map(|c| c.format.clone())
        .unwrap_or_default();
    Arc::new(Facts {
        default: Some(default),
        one_of: Vec::new(),
        format,
        patch_merge_key: None,
    })
}

//! The declared shape of what a schema describes, a CRD's or the catalogue's (apiserver
//! `pkg/cel/common/schemas.go`).

use super::decl::{Decl, DeclKind, Field, ListKind, MAX_REQUEST, Object};
use super::escape::escape;
use crate::catalogue::{self, Resource, Shape, TypeId, Types};
use crate::crd::schema::{Kind, ListType, Schema};
use crate::{Str, Value};
use std::collections::BTreeMap;
use std::sync::Arc;

const MIN_STRING: u64 = 2;
const MIN_BOOL: u64 = 4;
const MIN_NUMBER: u64 = 1;
const DURATION: (u64, u64) = (3, 32);
const DATE: (u64, u64) = (12, 12);
const DATE_TIME: (u64, u64) = (21, 32);
/// The longest string of a request, without its quotes.
const MAX_STRING: u64 = MAX_REQUEST - 2;

/// The shape of what a schema in JSON describes; `None` when its values have no type in CEL.
#[must_use]
pub fn of_json(schema: &Value, resource: bool) -> Option<Arc<Decl>> {
    let mut budget = crate::crd::schema::MAX_NODES;
    let schema = Schema::read(schema, "", &mut budget, catalogue::NEWEST_MINOR).ok()?;
    of_schema(&schema, resource)
}

/// `None` when values of the schema have no type in CEL.
#[must_use]
pub(crate) fn of_schema(schema: &Schema, resource: bool) -> Option<Arc<Decl>> {
    shape(schema, resource).map(Arc::new)
}

fn whole(n: i64) -> u64 {
    u64::try_from(n).unwrap_or(0)
}

fn shape(s: &Schema, resource: bool) -> Option<Decl> {
    let checks = s.checks.as_deref();
    // A character is at most four bytes.
    let max_length = checks.and_then(|c| c.max_length).map(whole);
    let bytes = max_length.map(|n| n.saturating_mul(4));
    if s.int_or_string {
        return Some(Decl::plain(
            DeclKind::IntOrString,
            1,
            bytes.unwrap_or(MAX_STRING),
        ));
    }
    Some(match s.kind? {
        Kind::Array => {
            let items = s.items.as_deref()?;
            let of = shape(items, items.embedded)?;
            let most = match checks.and_then(|c| c.max_items) {
                Some(n) => whole(n),
                None => MAX_STRING / (of.min_size + 1),
            };
            let kind = match s.list_type {
                ListType::Atomic => ListKind::Atomic,
                ListType::Set => ListKind::Set,
                ListType::Map => ListKind::Map(
                    s.list_keys
                        .iter()
                        .map(|k| escape(k).unwrap_or_else(|| k.clone()))
                        .collect(),
                ),
            };
            Decl::plain(DeclKind::List(Arc::new(of), kind), 2, most)
        }
        Kind::Object => return object(s, resource),
        Kind::String => string(s, max_length, bytes),
        Kind::Boolean => Decl::plain(DeclKind::Bool, MIN_BOOL, 0),
        Kind::Number => Decl::plain(DeclKind::Double, MIN_NUMBER, 0),
        Kind::Integer => Decl::plain(DeclKind::Int, MIN_NUMBER, 0),
    })
}

fn string(s: &Schema, max_length: Option<u64>, bytes: Option<u64>) -> Decl {
    let checks = s.checks.as_deref();
    match checks.map_or("", |c| c.format.as_str()) {
        "byte" => Decl::plain(
            DeclKind::Bytes,
            MIN_STRING,
            max_length.unwrap_or(MAX_STRING),
        ),
        "duration" => Decl::plain(DeclKind::Duration, DURATION.0, DURATION.1),
        "date" => Decl::plain(DeclKind::Date, DATE.0, DATE.1),
        "date-time" => Decl::plain(DeclKind::Timestamp, DATE_TIME.0, DATE_TIME.1),
        _ => {
            let values = checks.map_or(&[][..], |c| &c.one_of_values);
            let longest = values
                .iter()
                .filter_map(Value::as_str)
                .map(|v| v.len() as u64)
                .max();
            let most = match (bytes, values.is_empty()) {
                (Some(bytes), _) => bytes,
                (None, true) => MAX_STRING,
                (None, false) => longest.unwrap_or(0),
            };
            Decl::plain(DeclKind::String, MIN_STRING, most)
        }
    }
}

fn object(s: &Schema, resource: bool) -> Option<Decl> {
    let checks = s.checks.as_deref();
    if let Some(additional) = s.additional.schema() {
        let of = shape(additional, additional.embedded)?;
        let most = match checks.and_then(|c| c.max_properties) {
            Some(n) => whole(n),
            // the quotes of a key, the colon and the comma, and two of its characters
            None => MAX_STRING / (of.min_size + 6),
        };
        return Some(Decl::plain(DeclKind::Map(Arc::new(of)), 2, most));
    }
    let mut fields = BTreeMap::new();
    let mut min_size = 2;
    for (name, property) in &s.properties {
        let Some(decl) = shape(property, property.embedded) else {
            continue;
        };
        if s.required.contains(name) && property.default.is_none() {
            min_size += name.len() as u64 + decl.min_size + 4;
        }
        add(&mut fields, name, decl);
    }
    if resource {
        with_type_and_meta(s, &mut fields);
    }
    let object = Object {
        name: "object".into(),
        fields,
    };
    Some(Decl::plain(DeclKind::Object(object), min_size, 0))
}

fn add(fields: &mut BTreeMap<Str, Field>, name: &str, decl: Decl) {
    if let Some(escaped) = escape(name) {
        let field = Field {
            name: name.into(),
            decl: Arc::new(decl),
        };
        fields.insert(escaped, field);
    }
}

/// Resources have `kind`, `apiVersion` and the names in `metadata`, declared or not.
fn with_type_and_meta(s: &Schema, fields: &mut BTreeMap<Str, Field>) {
    let is = |schema: Option<&Schema>, kind| schema.is_some_and(|s| s.kind == Some(kind));
    let meta = s.property("metadata");
    let named = |name| is(meta.and_then(|m| m.property(name)), Kind::String);
    if is(s.property("kind"), Kind::String)
        && is(s.property("apiVersion"), Kind::String)
        && is(meta, Kind::Object)
        && named("name")
        && named("generateName")
    {
        return;
    }
    let text = || Decl::plain(DeclKind::String, MIN_STRING, MAX_STRING);
    add(fields, "kind", text());
    add(fields, "apiVersion", text());
    let names = [("name", text()), ("generateName", text())];
    add(fields, "metadata", Decl::fields("object", names));
}

/// The shape of the objects of a kind, built in or custom.
#[must_use]
pub fn of_resource(resource: &Resource) -> Option<Arc<Decl>> {
    if let Some(custom) = &resource.custom {
        return of_schema(&custom.root, true);
    }
    let mut around = Vec::new();
    Some(Arc::new(built_in(
        &resource.types,
        resource.root,
        &mut around,
    )))
}

/// The shape of a type of the catalogue, as OpenAPI publishes it; within itself it is anything.
fn built_in(types: &Types, id: TypeId, around: &mut Vec<TypeId>) -> Decl {
    let text = |min| Decl::plain(DeclKind::String, min, MAX_STRING);
    match types.get(id) {
        Shape::Struct(_) if around.contains(&id) => Decl::dynamic().clone(),
        Shape::Struct(s) => {
            around.push(id);
            let mut fields = BTreeMap::new();
            let mut min_size = 2;
            for field in &s.fields {
                let decl = built_in(types, field.ty, around);
                if field.required {
                    min_size += field.json.len() as u64 + decl.min_size + 4;
                }
                add(&mut fields, &field.json, decl);
            }
            around.pop();
            let object = Object {
                name: "object".into(),
                fields,
            };
            Decl::plain(DeclKind::Object(object), min_size, 0)
        }
        Shape::Map(of) => {
            let of = built_in(types, *of, around);
            let most = MAX_STRING / (of.min_size + 6);
            Decl::plain(DeclKind::Map(Arc::new(of)), 2, most)
        }
        Shape::List(list) => {
            let of = built_in(types, list.item, around);
            let most = MAX_STRING / (of.min_size + 1);
            let kind = match &list.kind {
                catalogue::ListKind::Atomic => ListKind::Atomic,
                catalogue::ListKind::Set => ListKind::Set,
                catalogue::ListKind::Map(keys) => ListKind::Map(keys.clone()),
            };
            Decl::plain(DeclKind::List(Arc::new(of), kind), 2, most)
        }
        Shape::String | Shape::Quantity | Shape::Duration => text(MIN_STRING),
        Shape::Bool => Decl::plain(DeclKind::Bool, MIN_BOOL, 0),
        Shape::Int32 | Shape::Int64 => Decl::plain(DeclKind::Int, MIN_NUMBER, 0),
        Shape::Float => Decl::plain(DeclKind::Double, MIN_NUMBER, 0),
        Shape::Bytes => Decl::plain(DeclKind::Bytes, MIN_STRING, MAX_STRING),
        Shape::IntOrString => Decl::plain(DeclKind::IntOrString, 1, MAX_STRING),
        Shape::Time | Shape::MicroTime => {
            Decl::plain(DeclKind::Timestamp, DATE_TIME.0, DATE_TIME.1)
        }
        Shape::FieldsV1 | Shape::Raw => Decl::fields("object", []),
        Shape::Json
        | Shape::SchemaOrBool(_)
        | Shape::SchemaOrArray(_)
        | Shape::SchemaOrStrings(_) => Decl::dynamic().clone(),
    }
}

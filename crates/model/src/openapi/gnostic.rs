//! The v2 document in the protobuf form that client-go's discovery asks for
//! (`github.com/google/gnostic-models` `openapiv2/OpenAPIv2.proto`); Argo CD and older kubectl
//! read no other.

use crate::{Map, Value, json};

/// Fields of a message that are plain values: JSON name, tag, type.
type Scalars = [(&'static str, u32, Scalar)];

#[derive(Clone, Copy)]
enum Scalar {
    Text,
    Bool,
    Int,
    Double,
}
use Scalar::{Bool, Double, Int, Text};

const SCHEMA: &Scalars = &[
    ("$ref", 1, Text),
    ("format", 2, Text),
    ("title", 3, Text),
    ("description", 4, Text),
    ("multipleOf", 6, Double),
    ("maximum", 7, Double),
    ("exclusiveMaximum", 8, Bool),
    ("minimum", 9, Double),
    ("exclusiveMinimum", 10, Bool),
    ("maxLength", 11, Int),
    ("minLength", 12, Int),
    ("pattern", 13, Text),
    ("maxItems", 14, Int),
    ("minItems", 15, Int),
    ("uniqueItems", 16, Bool),
    ("maxProperties", 17, Int),
    ("minProperties", 18, Int),
];
const QUERY: &Scalars = &[
    ("required", 1, Bool),
    ("in", 2, Text),
    ("description", 3, Text),
    ("name", 4, Text),
    ("type", 6, Text),
    ("uniqueItems", 20, Bool),
];
const PATH: &Scalars = &[
    ("required", 1, Bool),
    ("in", 2, Text),
    ("description", 3, Text),
    ("name", 4, Text),
    ("type", 5, Text),
    ("uniqueItems", 19, Bool),
];
const BODY: &Scalars = &[
    ("description", 1, Text),
    ("name", 2, Text),
    ("in", 3, Text),
    ("required", 4, Bool),
];
const OPERATION: &Scalars = &[("description", 3, Text), ("operationId", 5, Text)];

/// A document as [`super::v2`] builds it, as protobuf.
pub(super) fn document(document: &Value) -> Vec<u8> {
    let mut out = Message::default();
    out.scalars(&[("swagger", 1, Text)], document);
    if let Some(info) = document.get("info") {
        let mut message = Message::default();
        message.scalars(&[("title", 1, Text), ("version", 2, Text)], info);
        out.message(2, &message);
    }
    let mut paths = Message::default();
    for (route, item) in entries(document, "paths") {
        paths.named(2, route, &path(item));
    }
    out.message(8, &paths);
    let mut definitions = Message::default();
    for (name, definition) in entries(document, "definitions") {
        definitions.named(1, name, &schema(definition));
    }
    out.message(9, &definitions);
    let mut security = Message::default();
    for (name, definition) in entries(document, "securityDefinitions") {
        let mut key = Message::default();
        key.scalars(
            &[
                ("type", 1, Text),
                ("name", 2, Text),
                ("in", 3, Text),
                ("description", 4, Text),
            ],
            definition,
        );
        let mut item = Message::default();
        item.message(2, &key);
        security.named(1, name, &item);
    }
    out.message(13, &security);
    out.0
}

fn path(item: &Value) -> Message {
    let mut out = Message::default();
    let methods = [
        ("get", 2),
        ("put", 3),
        ("post", 4),
        ("delete", 5),
        ("options", 6),
        ("head", 7),
        ("patch", 8),
    ];
    for (method, tag) in methods {
        if let Some(operation) = item.get(method) {
            out.message(tag, &self::operation(operation));
        }
    }
    parameters(&mut out, 9, item);
    out
}

fn operation(operation: &Value) -> Message {
    let mut out = Message::default();
    out.scalars(OPERATION, operation);
    for (key, tag) in [
        ("tags", 1),
        ("produces", 6),
        ("consumes", 7),
        ("schemes", 10),
    ] {
        out.texts(tag, operation.get(key));
    }
    parameters(&mut out, 8, operation);
    let mut responses = Message::default();
    for (code, response) in entries(operation, "responses") {
        let mut message = Message::default();
        message.scalars(&[("description", 1, Text)], response);
        if let Some(found) = response.get("schema") {
            let mut item = Message::default();
            item.message(1, &schema(found));
            message.message(2, &item);
        }
        let mut value = Message::default();
        value.message(1, &message);
        responses.named(1, code, &value);
    }
    out.message(9, &responses);
    out.extensions(13, operation);
    out
}

/// `ParametersItem { Parameter { BodyParameter | NonBodyParameter { Query… | Path… } } }`
fn parameters(out: &mut Message, tag: u32, holder: &Value) {
    for parameter in holder
        .get("parameters")
        .and_then(Value::as_array)
        .unwrap_or_default()
    {
        let mut message = Message::default();
        let mut one = Message::default();
        if parameter.str_at(&["in"]) == Some("body") {
            message.scalars(BODY, parameter);
            if let Some(found) = parameter.get("schema") {
                message.message(5, &schema(found));
            }
            one.message(1, &message);
        } else {
            let in_path = parameter.str_at(&["in"]) == Some("path");
            message.scalars(if in_path { PATH } else { QUERY }, parameter);
            let mut sub = Message::default();
            sub.message(if in_path { 4 } else { 3 }, &message);
            one.message(2, &sub);
        }
        let mut item = Message::default();
        item.message(1, &one);
        out.message(tag, &item);
    }
}

/// Schemas come from the catalogue or from definitions whose depth was bounded when accepted.
fn schema(schema: &Value) -> Message {
    let mut out = Message::default();
    out.scalars(SCHEMA, schema);
    if let Some(default) = schema.get("default") {
        out.message(5, &any(default));
    }
    out.texts(19, schema.get("required"));
    for value in schema
        .get("enum")
        .and_then(Value::as_array)
        .unwrap_or_default()
    {
        out.message(20, &any(value));
    }
    match schema.get("additionalProperties") {
        Some(Value::Bool(open)) => {
            let mut item = Message::default();
            item.varint(2, u64::from(*open));
            out.message(21, &item);
        }
        Some(inner) => {
            let mut item = Message::default();
            item.message(1, &self::schema(inner));
            out.message(21, &item);
        }
        None => {}
    }
    if let Some(ty) = schema.str_at(&["type"]) {
        let mut item = Message::default();
        item.text(1, ty);
        out.message(22, &item);
    }
    if let Some(inner) = schema.get("items") {
        let mut item = Message::default();
        item.message(1, &self::schema(inner));
        out.message(23, &item);
    }
    let mut properties = Message::default();
    for (name, property) in entries(schema, "properties") {
        properties.named(1, name, &self::schema(property));
    }
    if !properties.0.is_empty() {
        out.message(25, &properties);
    }
    out.extensions(31, schema);
    out
}

fn entries<'a>(holder: &'a Value, key: &str) -> impl Iterator<Item = (&'a str, &'a Value)> {
    holder
        .get(key)
        .and_then(Value::as_object)
        .into_iter()
        .flat_map(Map::iter)
}

/// Any value as YAML, of which JSON is a part.
fn any(value: &Value) -> Message {
    let mut out = Message::default();
    out.bytes(2, &json::to_vec(value));
    out
}

#[derive(Default)]
struct Message(Vec<u8>);

impl Message {
    fn raw_varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }

    fn varint(&mut self, tag: u32, value: u64) {
        self.raw_varint(u64::from(tag << 3));
        self.raw_varint(value);
    }

    fn bytes(&mut self, tag: u32, bytes: &[u8]) {
        self.raw_varint(u64::from(tag << 3 | 2));
        self.raw_varint(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
    }

    fn text(&mut self, tag: u32, text: &str) {
        self.bytes(tag, text.as_bytes());
    }

    fn message(&mut self, tag: u32, message: &Self) {
        self.bytes(tag, &message.0);
    }

    /// `{name = 1, value = 2}`: how maps are written here.
    fn named(&mut self, tag: u32, name: &str, value: &Self) {
        let mut entry = Self::default();
        entry.text(1, name);
        entry.message(2, value);
        self.message(tag, &entry);
    }

    fn texts(&mut self, tag: u32, list: Option<&Value>) {
        for text in list.and_then(Value::as_array).unwrap_or_default() {
            self.text(tag, text.as_str().unwrap_or_default());
        }
    }

    fn scalars(&mut self, fields: &Scalars, from: &Value) {
        for (key, tag, kind) in fields {
            match (kind, from.get(key)) {
                (Text, Some(Value::String(text))) => self.text(*tag, text),
                (Bool, Some(Value::Bool(true))) => self.varint(*tag, 1),
                (Int, Some(Value::Int(number))) => self.varint(*tag, *number as u64),
                (Double, Some(Value::Int(number))) => self.double(*tag, *number as f64),
                (Double, Some(Value::Float(number))) => self.double(*tag, *number),
                _ => {}
            }
        }
    }

    fn double(&mut self, tag: u32, number: f64) {
        self.raw_varint(u64::from(tag << 3 | 1));
        self.0.extend_from_slice(&number.to_le_bytes());
    }

    fn extensions(&mut self, tag: u32, from: &Value) {
        for (key, value) in from.as_object().into_iter().flat_map(Map::iter) {
            if key.starts_with("x-") {
                self.named(tag, key, &any(value));
            }
        }
    }
}

//! [`Value`] to protobuf.

use super::wire::{BYTES, FIXED64, put_bytes, put_integer, put_message, put_tag, put_varint};
use crate::catalogue::{Field, List, Shape, Struct, TypeId, Types};
use crate::time::{self, Instant};
use crate::value::{Map, prefix};
use crate::{ApiError, Value, bytes64, json};

/// Objects that were decoded are of the right types; anything else is our own mistake.
fn mismatch(name: &str) -> ApiError {
    ApiError::internal(format!("no protobuf form for the value of {name:?}"))
}

/// Writes the fields of a struct.
pub(super) fn structure(
    types: &Types,
    s: &Struct,
    map: &Map,
    out: &mut Vec<u8>,
) -> Result<(), ApiError> {
    inlined(types, s, map, [0, 0], out)
}

/// The fields inside the inlined messages `outer`, then those further inside.
fn inlined(
    types: &Types,
    s: &Struct,
    map: &Map,
    outer: [u8; 2],
    out: &mut Vec<u8>,
) -> Result<(), ApiError> {
    let depth = outer.iter().filter(|o| **o != 0).count();
    let mut inner: Vec<u8> = Vec::new();
    let mut fields = s.cursor();
    for (key, value) in map.iter() {
        let Some(field) = fields.seek(prefix(key), key, |_| ()) else {
            continue;
        };
        if field.tag == 0 || value.is_null() || field.outer[..depth] != outer[..depth] {
            continue;
        }
        match field.outer.get(depth) {
            Some(next) if *next != 0 => {
                if !inner.contains(next) {
                    inner.push(*next);
                }
            }
            _ => self::field(types, field, value, out)?,
        }
    }
    for tag in inner {
        let mut deeper = outer;
        deeper[depth] = tag;
        put_message(tag.into(), out, |out| inlined(types, s, map, deeper, out))?;
    }
    Ok(())
}

fn field(types: &Types, field: &Field, value: &Value, out: &mut Vec<u8>) -> Result<(), ApiError> {
    match (types.get(field.ty), value) {
        (Shape::List(list), Value::Array(items)) if list.wrapped => {
            put_message(field.tag, out, |out| {
                repeated(types, list, 1, items, &field.json, out)
            })
        }
        (Shape::List(list), Value::Array(items)) => {
            repeated(types, list, field.tag, items, &field.json, out)
        }
        (Shape::Map(item), Value::Object(map)) => {
            for (key, value) in map.iter() {
                put_message(field.tag, out, |out| {
                    put_bytes(1, key.as_bytes(), out);
                    if value.is_null() {
                        Ok(())
                    } else {
                        self::value(types, *item, 2, value, key, out)
                    }
                })?;
            }
            Ok(())
        }
        _ => self::value(types, field.ty, field.tag, value, &field.json, out),
    }
}

fn repeated(
    types: &Types,
    list: &List,
    tag: u32,
    items: &[Value],
    name: &str,
    out: &mut Vec<u8>,
) -> Result<(), ApiError> {
    items
        .iter()
        .try_for_each(|item| value(types, list.item, tag, item, name, out))
}

#[expect(clippy::too_many_lines, reason = "one arm per shape")]
fn value(
    types: &Types,
    id: TypeId,
    tag: u32,
    value: &Value,
    name: &str,
    out: &mut Vec<u8>,
) -> Result<(), ApiError> {
    match (types.get(id), value) {
        (Shape::Struct(s), Value::Object(map)) => {
            put_message(tag, out, |out| structure(types, s, map, out))
        }
        (Shape::String, Value::String(s)) => {
            put_bytes(tag, s.as_bytes(), out);
            Ok(())
        }
        (Shape::Bool, Value::Bool(b)) => {
            put_integer(tag, i64::from(*b), out);
            Ok(())
        }
        (Shape::Int32 | Shape::Int64, Value::Int(i)) => {
            put_integer(tag, *i, out);
            Ok(())
        }
        (Shape::Float, Value::Float(_) | Value::Int(_)) => {
            put_tag(tag, FIXED64, out);
            #[allow(clippy::cast_precision_loss, reason = "the field is a float")]
            let f = if let Value::Float(f) = value {
                *f
            } else {
                value.as_i64().unwrap_or(0) as f64
            };
            out.extend_from_slice(&f.to_bits().to_le_bytes());
            Ok(())
        }
        (Shape::Bytes, Value::String(s)) => {
            let bytes = bytes64::decode(s).map_err(|_| mismatch(name))?;
            put_bytes(tag, &bytes, out);
            Ok(())
        }
        (Shape::Quantity, Value::String(s)) => put_message(tag, out, |out| {
            put_bytes(1, s.as_bytes(), out);
            Ok(())
        }),
        (shape @ (Shape::Time | Shape::MicroTime), Value::String(s)) => {
            let parsed = if *shape == Shape::Time {
                Instant::parse(s)
            } else {
                Instant::parse_micro(s)
            };
            let at = parsed.map_err(|_| mismatch(name))?;
            put_message(tag, out, |out| {
                put_integer(1, at.seconds, out);
                put_integer(
                    2,
                    if *shape == Shape::Time {
                        0
                    } else {
                        at.nanos.into()
                    },
                    out,
                );
                Ok(())
            })
        }
        (Shape::Duration, Value::String(s)) => {
            let nanos = time::parse_duration(s).map_err(|_| mismatch(name))?;
            put_message(tag, out, |out| {
                put_integer(1, nanos, out);
                Ok(())
            })
        }
        (Shape::IntOrString, value) => int_or_string(tag, value, name, out),
        (Shape::FieldsV1 | Shape::Json | Shape::Raw, value) => put_message(tag, out, |out| {
            put_message(1, out, |out| {
                json::write(value, out);
                Ok(())
            })
        }),
        (
            shape @ (Shape::SchemaOrBool(id)
            | Shape::SchemaOrArray(id)
            | Shape::SchemaOrStrings(id)),
            value,
        ) => put_message(tag, out, |out| {
            schema_or(types, shape, *id, value, name, out)
        }),
        (Shape::List(list), Value::Array(items)) => {
            put_message(tag, out, |out| repeated(types, list, 1, items, name, out))
        }
        // An item that is null is its type's zero value.
        (_, Value::Null) => {
            put_tag(tag, BYTES, out);
            put_varint(0, out);
            Ok(())
        }
        _ => Err(mismatch(name)),
    }
}

fn int_or_string(tag: u32, value: &Value, name: &str, out: &mut Vec<u8>) -> Result<(), ApiError> {
    let (kind, number, string) = match value {
        Value::Int(i) => (0, *i, ""),
        Value::String(s) => (1, 0, s.as_str()),
        _ => return Err(mismatch(name)),
    };
    put_message(tag, out, |out| {
        put_integer(1, kind, out);
        put_integer(2, number, out);
        put_bytes(3, string.as_bytes(), out);
        Ok(())
    })
}

fn schema_or(
    types: &Types,
    shape: &Shape,
    id: TypeId,
    value: &Value,
    name: &str,
    out: &mut Vec<u8>,
) -> Result<(), ApiError> {
    match (shape, value) {
        (Shape::SchemaOrBool(_), Value::Bool(b)) => {
            put_integer(1, i64::from(*b), out);
            Ok(())
        }
        (Shape::SchemaOrBool(_), schema) => {
            put_integer(1, 1, out);
            self::value(types, id, 2, schema, name, out)
        }
        (Shape::SchemaOrArray(_), Value::Array(items)) => items
            .iter()
            .try_for_each(|item| self::value(types, id, 2, item, name, out)),
        (_, Value::Array(items)) => {
            for item in items {
                put_bytes(
                    2,
                    item.as_str().ok_or_else(|| mismatch(name))?.as_bytes(),
                    out,
                );
            }
            Ok(())
        }
        (_, schema) => self::value(types, id, 1, schema, name, out),
    }
}

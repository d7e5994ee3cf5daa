//! What the expressions of mutating policies make: `Object{…}`, parts of it like `Object.spec{…}`, and
//! `JSONPatch{…}` (apiserver `pkg/cel/mutation`), and the JSON that becomes of them.

use super::compare::equal;
use super::ctx::Ctx;
use super::decl::{Decl, DeclKind};
use super::lib::text_of;
use super::types::{ObjectType, Type};
use super::val::{Failure, Outcome, Val};
use crate::field::quote;
use crate::limits::MAX_BODY;
use crate::{Map, Str, Value, bytes64};
use std::sync::Arc;

const OBJECT: &str = "Object";
pub(super) const JSON_PATCH: &str = "JSONPatch";
/// Those of a JSON patch.
const FIELDS: [&str; 4] = ["op", "path", "from", "value"];

/// The type that `name{…}` makes a value of.
pub(crate) fn type_of(name: &str) -> Option<Type> {
    let text = || Decl::plain(DeclKind::String, 2, 0);
    let decl = match name {
        JSON_PATCH => Decl::fields(
            JSON_PATCH,
            [
                ("op", text()),
                ("path", text()),
                ("from", text()),
                ("value", Decl::dynamic().clone()),
            ],
        ),
        _ if name == OBJECT || name.starts_with("Object.") => Decl::dynamic().clone(),
        _ => return None,
    };
    Some(Type::Object(Arc::new(ObjectType {
        name: name.into(),
        decl: Arc::new(decl),
    })))
}

/// A value with named fields, in the order they came.
#[derive(Clone, Debug)]
pub struct Message<'a> {
    pub name: Str,
    fields: Vec<(Str, Val<'a>)>,
}

impl<'a> Message<'a> {
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self {
            name: name.into(),
            fields: Vec::new(),
        }
    }

    /// Sets a field, also one that is set already.
    ///
    /// # Errors
    /// A part of a JSON patch is no string.
    pub fn set(&mut self, field: &str, value: Val<'a>) -> Outcome<()> {
        if self.name == JSON_PATCH && !FIELDS.contains(&field) {
            return Err(Failure::new(format!(
                "unexpected JSONPatchType field: {field}"
            )));
        }
        if self.name == JSON_PATCH && field != "value" && value.as_str().is_none() {
            return Err(Failure::new(format!(
                "unexpected type {} for JSONPatchType '{field}' field",
                value.type_name()
            )));
        }
        match self.fields.iter_mut().find(|(name, _)| name == field) {
            Some((_, old)) => *old = value,
            None => self.fields.push((field.into(), value)),
        }
        Ok(())
    }

    fn field(&self, name: &str) -> Option<&Val<'a>> {
        self.fields.iter().find(|(n, _)| n == name).map(|(_, v)| v)
    }

    /// The value of a field: what was not set is empty.
    ///
    /// # Errors
    /// A JSON patch has no such field.
    pub fn get(&self, name: &str) -> Outcome<Val<'a>> {
        Ok(match self.field(name) {
            Some(value) => value.clone(),
            None if self.name != JSON_PATCH || name == "value" => Val::Null,
            None if FIELDS.contains(&name) => Val::text(""),
            None => return Err(Failure::new(format!("unsupported indexer: {name}"))),
        })
    }

    /// Whether a field is set: those of a JSON patch, to something.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.field(name)
            .is_some_and(|v| self.name != JSON_PATCH || v.as_str() != Some(""))
    }

    /// Whether parts have the names of where they are: `Object.spec` only in `spec`.
    fn check_names(&self, place: &str) -> Result<(), String> {
        if self.name != place {
            return Err(format!(
                "unexpected type name {}, expected {}, which matches field name path from root Object type",
                quote(&self.name),
                quote(place)
            ));
        }
        self.fields
            .iter()
            .try_for_each(|(name, value)| check_names(value, &format!("{place}.{name}")))
    }
}

fn check_names(value: &Val, place: &str) -> Result<(), String> {
    match value {
        Val::Message(message) => message.check_names(place),
        Val::List(items) => items
            .iter()
            .flatten()
            .try_for_each(|item| check_names(&item, place)),
        Val::Map(entries) => entries.keys().iter().try_for_each(|key| {
            let value = entries.find(key).ok().flatten();
            value.map_or(Ok(()), |v| check_names(&v, place))
        }),
        _ => Ok(()),
    }
}

pub(crate) fn equal_messages<'a>(
    ctx: &mut Ctx<'a>,
    a: &Message<'a>,
    b: &Message<'a>,
) -> Outcome<bool> {
    if a.name != b.name || a.fields.len() != b.fields.len() {
        return Ok(false);
    }
    for (name, value) in &a.fields {
        match b.field(name) {
            Some(other) if equal(ctx, value, other)? => {}
            _ => return Ok(false),
        }
    }
    Ok(true)
}

/// The JSON of the `Object{…}` that an expression came to.
///
/// # Errors
/// Upstream's sentence: a part is in the wrong place, or something is no JSON.
pub fn configuration(val: &Val) -> Result<Value, String> {
    let Val::Message(message) = val else {
        return Err(format!(
            "unsupported return type from ApplyConfiguration expression: {}",
            val.type_name()
        ));
    };
    message
        .check_names(OBJECT)
        .map_err(|why| format!("type mismatch: {why}"))?;
    json(val)
}

/// The JSON patch that a list of `JSONPatch{…}` is.
///
/// # Errors
/// Upstream's sentence: it is something else, or a value is no JSON.
pub fn json_patch(val: &Val) -> Result<Value, String> {
    let Val::List(items) = val else {
        return Err("type mismatch: JSONPatchType.expression should evaluate to array".into());
    };
    let operations = items.iter().map(|item| match item {
        Ok(Val::Message(message)) if message.name == JSON_PATCH => operation(&message),
        Ok(other) => Err(format!(
            "type mismatch: JSONPatchType.expression should evaluate to array of JSONPatch, got element of {}",
            other.type_name()
        )),
        Err(failure) => Err(failure.message),
    });
    Ok(Value::Array(operations.collect::<Result<_, _>>()?))
}

fn operation(message: &Message) -> Result<Value, String> {
    let mut map = Map::new();
    for name in ["op", "path", "from"] {
        let text = message.field(name);
        let text = text.and_then(Val::as_str).unwrap_or_default();
        if name != "from" || !text.is_empty() {
            map.insert(name, Value::from(text));
        }
    }
    if let Some(value) = message.field("value") {
        if let Val::Message(object) = value {
            // A part of the object is named after its own place.
            object
                .check_names(&object.name)
                .map_err(|why| format!("type mismatch: {why}"))?;
        }
        let value = json(value).map_err(|why| {
            format!(
                "JSONPath valueExpression evaluated to a type that could not marshal to JSON: {why}"
            )
        })?;
        map.insert("value", value);
    }
    Ok(Value::Object(map))
}

/// A value as JSON, as cel-go converts to `google.protobuf.Value`; whole numbers stay whole.
///
/// # Errors
/// It is none, or larger than a request may be: values share their parts, JSON does not.
pub fn json(val: &Val) -> Result<Value, String> {
    let mut left = MAX_BODY;
    write(val, &mut left)
}

fn write(val: &Val, left: &mut usize) -> Result<Value, String> {
    let mut take = |bytes: usize| {
        *left = left
            .checked_sub(bytes)
            .ok_or_else(|| "the value is larger than a request may be".to_owned())?;
        Ok::<(), String>(())
    };
    take(2)?;
    let mut text = |s: &str| {
        take(s.len())?;
        Ok::<Value, String>(Value::from(s))
    };
    Ok(match val {
        Val::Null | Val::Optional(None) => Value::Null,
        Val::Bool(b) => Value::Bool(*b),
        Val::Int(i) => Value::Int(*i),
        Val::Uint(u) => match i64::try_from(*u) {
            Ok(i) => Value::Int(i),
            Err(_) => text(&u.to_string())?,
        },
        Val::Double(d) if d.is_finite() => Value::Float(*d),
        Val::String(s) => text(s)?,
        Val::Bytes(b) => text(&bytes64::encode(b))?,
        Val::Timestamp(_) | Val::Duration(_) => text(&text_of(val))?,
        Val::Optional(Some(inner)) => write(inner, left)?,
        Val::List(items) => {
            let items = items
                .iter()
                .map(|item| write(&item.map_err(|f| f.message)?, left));
            Value::Array(items.collect::<Result<_, String>>()?)
        }
        Val::Map(entries) => {
            let mut map = Map::new();
            for key in entries.keys() {
                let value = entries.find(&key).map_err(|f| f.message)?;
                let Some(name) = key.as_str() else {
                    return Err(format!(
                        "map key {} is of type {}, not string",
                        text_of(&key),
                        key.type_name()
                    ));
                };
                *left = left.saturating_sub(name.len());
                map.insert(name, write(value.as_ref().unwrap_or(&Val::Null), left)?);
            }
            Value::Object(map)
        }
        Val::Message(message) => {
            let mut map = Map::new();
            for (name, value) in &message.fields {
                *left = left.saturating_sub(name.len());
                map.insert(name.clone(), write(value, left)?);
            }
            Value::Object(map)
        }
        Val::Double(_) | Val::Type(_) | Val::Opaque(_) => {
            return Err(format!("a value of type {} is no JSON", val.type_name()));
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_that_share_their_parts_become_no_endless_json() {
        let mut val = Val::list(vec![Val::Int(1)]);
        for _ in 0..40 {
            val = Val::list(vec![val.clone(), val]);
        }
        let why = json(&val).unwrap_err();
        assert_eq!(why, "the value is larger than a request may be");
    }

    #[test]
    fn parts_of_an_object_stand_where_their_names_say() {
        let mut wrong = Message::new("Object.wrong");
        wrong.set("a", Val::Int(1)).unwrap();
        let mut object = Message::new(OBJECT);
        object.set("spec", Val::Message(wrong.into())).unwrap();
        assert_eq!(
            configuration(&Val::Message(object.into())).unwrap_err(),
            "type mismatch: unexpected type name \"Object.wrong\", expected \"Object.spec\", which matches \
             field name path from root Object type"
        );
        assert!(json_patch(&Val::Int(1)).is_err());
    }
}

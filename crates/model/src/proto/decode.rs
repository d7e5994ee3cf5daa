//! Protobuf to [`Value`].

use super::wire::{Reader, Wire, malformed};
use super::{MAGIC, unwrap};
use crate::catalogue::{Catalogue, Field, List, Shape, Struct, Tagged, TypeId, Types};
use crate::strict::{always_written, is_zero};
use crate::time::{self, Instant};
use crate::value::Map;
use crate::{ApiError, Str, Value, bytes64, json, limits};

pub(super) struct Decoder<'c> {
    pub(super) types: &'c Types,
    /// to decode embedded objects that are protobuf themselves
    pub(super) catalogue: Option<&'c Catalogue>,
    pub(super) nodes: usize,
    /// index and value of the fields of all open messages: each message gets one allocation of the
    /// right size when it closes; repeated fields come in pieces and grow here
    slots: Vec<(u16, Value)>,
}

/// Small, so that results are passed in few words.
type Fail = Box<ApiError>;

impl<'c> Decoder<'c> {
    pub(super) fn new(types: &'c Types, catalogue: Option<&'c Catalogue>) -> Self {
        Self {
            types,
            catalogue,
            nodes: 0,
            slots: Vec::with_capacity(64),
        }
    }

    fn count(&mut self, depth: usize) -> Result<(), Fail> {
        self.nodes += 1;
        if self.nodes > limits::MAX_NODES {
            return Err(Fail::new(ApiError::too_large(format!(
                "the document has more than {} values",
                limits::MAX_NODES
            ))));
        }
        if depth > limits::MAX_DEPTH {
            return Err(Fail::new(ApiError::too_large(format!(
                "exceeded max depth: the document is nested deeper than {}",
                limits::MAX_DEPTH
            ))));
        }
        Ok(())
    }

    /// A message of struct type `id`.
    pub(super) fn message(
        &mut self,
        id: TypeId,
        bytes: &[u8],
        depth: usize,
    ) -> Result<Value, Fail> {
        self.count(depth)?;
        let types = self.types;
        let Some(s) = types.structure(id) else {
            return Err(malformed("not a message").into());
        };
        let start = self.slots.len();
        self.fields(s, bytes, [0, 0], start, depth)?;
        Ok(Value::Object(self.close(s, start)))
    }

    /// The fields from `start` on as Go writes them ([`crate::strict::shape`]).
    fn close(&mut self, s: &Struct, start: usize) -> Map {
        let types = self.types;
        // Fields ascend by name, so their indices do.
        let slots = &mut self.slots[start..];
        slots.sort_unstable_by_key(|(i, _)| *i);
        let mut entries = Vec::with_capacity(slots.len() + 2);
        let mut next = 0;
        for (i, value) in slots {
            let i = usize::from(*i);
            entries.extend(missing(types, &s.fields[next..i]));
            next = i + 1;
            let field = &s.fields[i];
            let mut value = std::mem::take(value);
            if let (Value::Object(map), Shape::Map(_)) = (&mut value, types.get(field.ty)) {
                map.put_in_order();
            }
            let left_out = field.omit_empty
                && (value.is_null() || (!field.pointer && is_zero(types, field.ty, &value)));
            if !left_out {
                entries.push((field.json.clone(), value));
            }
        }
        entries.extend(missing(types, &s.fields[next..]));
        self.slots.truncate(start);
        Map::from_sorted(entries)
    }

    fn fields(
        &mut self,
        s: &Struct,
        bytes: &[u8],
        outer: [u8; 2],
        start: usize,
        depth: usize,
    ) -> Result<(), Fail> {
        let mut reader = Reader::new(bytes);
        // Tags ascend mostly: what is above all seen so far is new.
        let mut highest = if outer == [0, 0] { 0 } else { u32::MAX };
        while !reader.is_empty() {
            let (tag, wire) = reader.field()?;
            match s.tagged(outer, tag) {
                // Fields of a newer version are skipped, as in Go.
                Tagged::Unknown => {}
                Tagged::Message(inner) => self.fields(s, wire.bytes("")?, inner, start, depth)?,
                Tagged::Field(i) => {
                    let place = if tag > highest {
                        None
                    } else {
                        let at = self.slots[start..].iter().rposition(|(j, _)| *j == i);
                        at.map(|at| start + at)
                    };
                    highest = highest.max(tag);
                    self.field(&s.fields[usize::from(i)], i, wire, place, depth)?;
                }
            }
        }
        Ok(())
    }

    fn field(
        &mut self,
        field: &Field,
        index: u16,
        wire: Wire<'_>,
        place: Option<usize>,
        depth: usize,
    ) -> Result<(), Fail> {
        let types = self.types;
        match types.get(field.ty) {
            Shape::List(list) if list.wrapped => {
                let mut items = Vec::new();
                let mut reader = Reader::new(wire.bytes(&field.json)?);
                while !reader.is_empty() {
                    if let (1, wire) = reader.field()? {
                        self.items(list, wire, &field.json, &mut items, depth + 1)?;
                    }
                }
                self.put(place, index, Value::Array(items));
            }
            Shape::List(list) => {
                let place = self.open(place, index, || Value::Array(Vec::new()));
                let mut items = match &mut self.slots[place].1 {
                    Value::Array(items) => std::mem::take(items),
                    _ => Vec::new(),
                };
                self.items(list, wire, &field.json, &mut items, depth + 1)?;
                self.slots[place].1 = Value::Array(items);
            }
            Shape::Map(item) => {
                let (key, value) =
                    self.pair(*item, wire.bytes(&field.json)?, &field.json, depth + 1)?;
                let place = self.open(place, index, Value::object);
                if let Value::Object(map) = &mut self.slots[place].1 {
                    map.push_unordered(key, value);
                }
            }
            _ => {
                let value = self.value(field.ty, wire, &field.json, depth + 1)?;
                self.put(place, index, value);
            }
        }
        Ok(())
    }

    fn open(&mut self, place: Option<usize>, index: u16, make: impl FnOnce() -> Value) -> usize {
        place.unwrap_or_else(|| {
            self.slots.push((index, make()));
            self.slots.len() - 1
        })
    }

    fn put(&mut self, place: Option<usize>, index: u16, value: Value) {
        match place {
            Some(at) => self.slots[at].1 = value,
            None => self.slots.push((index, value)),
        }
    }

    /// One item of a repeated field, or several packed numbers.
    fn items(
        &mut self,
        list: &List,
        wire: Wire<'_>,
        name: &str,
        items: &mut Vec<Value>,
        depth: usize,
    ) -> Result<(), Fail> {
        let numeric = matches!(
            self.types.get(list.item),
            Shape::Int32 | Shape::Int64 | Shape::Bool
        );
        match wire {
            Wire::Bytes(packed) if numeric => {
                let mut reader = Reader::new(packed);
                while !reader.is_empty() {
                    let value = Wire::Varint(reader.varint()?);
                    items.push(self.value(list.item, value, name, depth)?);
                }
            }
            wire => items.push(self.value(list.item, wire, name, depth)?),
        }
        Ok(())
    }

    fn pair(
        &mut self,
        item: TypeId,
        bytes: &[u8],
        name: &str,
        depth: usize,
    ) -> Result<(Str, Value), Fail> {
        let mut key = Str::default();
        let mut value = None;
        let mut reader = Reader::new(bytes);
        while !reader.is_empty() {
            match reader.field()? {
                (1, wire) => key = text(wire.bytes(name)?),
                (2, wire) => value = Some(self.value(item, wire, name, depth)?),
                _ => {}
            }
        }
        let value = match value {
            Some(value) => value,
            None => self
                .value(item, Wire::Bytes(&[]), name, depth)
                .unwrap_or_default(),
        };
        Ok((key, value))
    }

    fn value(
        &mut self,
        id: TypeId,
        wire: Wire<'_>,
        name: &str,
        depth: usize,
    ) -> Result<Value, Fail> {
        let types = self.types;
        let shape = types.get(id);
        if matches!(shape, Shape::Struct(_)) {
            return self.message(id, wire.bytes(name)?, depth);
        }
        self.count(depth)?;
        Ok(match shape {
            Shape::String => Value::String(text(wire.bytes(name)?)),
            Shape::Bool => Value::Bool(wire.integer(name)? != 0),
            // Go keeps the low half.
            Shape::Int32 => Value::Int(i64::from(wire.integer(name)? as i32)),
            Shape::Int64 => Value::Int(wire.integer(name)?),
            Shape::Float => match wire {
                Wire::Fixed64(bits) => Value::from_f64(f64::from_bits(bits)),
                Wire::Fixed32(bits) => Value::from_f64(f32::from_bits(bits).into()),
                wire => return Err(wire.wrong(name).into()),
            },
            Shape::Bytes => Value::from(bytes64::encode(wire.bytes(name)?)),
            Shape::Quantity => quantity(wire.bytes(name)?)?,
            Shape::Time | Shape::MicroTime => {
                instant(wire.bytes(name)?, *shape == Shape::MicroTime)?
            }
            Shape::Duration => {
                let (nanos, ..) = numbers(wire.bytes(name)?)?;
                Value::String(time::duration_text(nanos))
            }
            Shape::IntOrString => int_or_string(wire.bytes(name)?)?,
            Shape::FieldsV1 | Shape::Json | Shape::Raw => self.raw(wire.bytes(name)?, depth)?,
            Shape::SchemaOrBool(id) | Shape::SchemaOrArray(id) | Shape::SchemaOrStrings(id) => {
                self.schema_or(shape, *id, wire.bytes(name)?, depth)?
            }
            Shape::List(list) => {
                // A list inside a list or map: always a message around it.
                let mut items = Vec::new();
                let mut reader = Reader::new(wire.bytes(name)?);
                while !reader.is_empty() {
                    if let (1, wire) = reader.field()? {
                        self.items(list, wire, name, &mut items, depth)?;
                    }
                }
                Value::Array(items)
            }
            Shape::Map(_) | Shape::Struct(_) => {
                return Err(malformed("nested maps have no protobuf form").into());
            }
        })
    }

    /// `{raw = 1}`: JSON, or an object in its own envelope.
    fn raw(&mut self, bytes: &[u8], depth: usize) -> Result<Value, Fail> {
        let mut raw: &[u8] = &[];
        let mut reader = Reader::new(bytes);
        while !reader.is_empty() {
            if let (1, wire) = reader.field()? {
                raw = wire.bytes("raw")?;
            }
        }
        if raw.is_empty() {
            return Ok(Value::Null);
        }
        if raw.starts_with(MAGIC) {
            let Some(catalogue) = self.catalogue else {
                return Err(malformed("an embedded object is protobuf itself").into());
            };
            self.count(depth)?;
            return Ok(unwrap(catalogue, raw, &mut self.nodes, depth + 1)?);
        }
        Ok(json::parse(raw)?.value)
    }

    fn schema_or(
        &mut self,
        shape: &Shape,
        id: TypeId,
        bytes: &[u8],
        depth: usize,
    ) -> Result<Value, Fail> {
        let (mut first, mut items) = (None, Vec::new());
        let mut reader = Reader::new(bytes);
        while !reader.is_empty() {
            match (reader.field()?, shape) {
                ((1, wire), Shape::SchemaOrBool(_)) if first.is_none() => {
                    first = Some(Value::Bool(wire.integer("allows")? != 0));
                }
                ((2, wire), Shape::SchemaOrBool(_))
                | ((1, wire), Shape::SchemaOrArray(_) | Shape::SchemaOrStrings(_)) => {
                    first = Some(self.message(id, wire.bytes("schema")?, depth + 1)?);
                }
                ((2, wire), Shape::SchemaOrArray(_)) => {
                    items.push(self.message(id, wire.bytes("jSONSchemas")?, depth + 1)?);
                }
                ((2, wire), Shape::SchemaOrStrings(_)) => {
                    self.count(depth)?;
                    items.push(Value::String(text(wire.bytes("property")?)));
                }
                _ => {}
            }
        }
        Ok(match first {
            Some(value) if items.is_empty() => value,
            None if items.is_empty() && matches!(shape, Shape::SchemaOrBool(_)) => {
                Value::Bool(false)
            }
            None if items.is_empty() => Value::Null,
            _ => Value::Array(items),
        })
    }
}

/// What Go writes though no field of a message said it.
fn missing(types: &Types, fields: &[Field]) -> impl Iterator<Item = (Str, Value)> {
    let always = fields.iter().filter(|f| !f.omit_empty);
    always.filter_map(|f| always_written(types, f))
}

/// Go lets any bytes be a string and replaces what is no UTF-8 when it writes JSON.
fn text(bytes: &[u8]) -> Str {
    match std::str::from_utf8(bytes) {
        Ok(s) => s.into(),
        Err(_) => {
            let mut out = Str::default();
            for chunk in bytes.utf8_chunks() {
                out.push_str(chunk.valid());
                out.extend(chunk.invalid().iter().map(|_| char::REPLACEMENT_CHARACTER));
            }
            out
        }
    }
}

/// The varints 1 and 2 of a small message, and its string 3.
fn numbers(bytes: &[u8]) -> Result<(i64, i64, Option<&[u8]>), ApiError> {
    let (mut first, mut second, mut third) = (0, 0, None);
    let mut reader = Reader::new(bytes);
    while !reader.is_empty() {
        match reader.field()? {
            (1, wire) => first = wire.integer("1")?,
            (2, wire) => second = wire.integer("2")?,
            (3, wire) => third = Some(wire.bytes("3")?),
            _ => {}
        }
    }
    Ok((first, second, third))
}

fn quantity(bytes: &[u8]) -> Result<Value, ApiError> {
    let mut reader = Reader::new(bytes);
    let mut given: &[u8] = b"";
    while !reader.is_empty() {
        if let (1, wire) = reader.field()? {
            given = wire.bytes("string")?;
        }
    }
    if given.is_empty() {
        return Ok("0".into());
    }
    let canonical = crate::quantity::canonical(&text(given))
        .map_err(|e| ApiError::bad_request(e.to_string()))?;
    Ok(Value::String(canonical))
}

fn instant(bytes: &[u8], micro: bool) -> Result<Value, ApiError> {
    let (seconds, nanos, _) = numbers(bytes)?;
    // Years 0 to 9999: what text can say.
    if !(-62_167_219_200..=253_402_300_799).contains(&seconds)
        || !(0..1_000_000_000).contains(&nanos)
    {
        return Err(malformed("time out of range"));
    }
    let instant = Instant {
        seconds,
        nanos: nanos as u32,
    };
    Ok(match instant {
        Instant {
            seconds: 0,
            nanos: 0,
        } => Value::Null,
        zero if zero.is_zero() => Value::Null,
        instant if micro => Value::String(instant.to_micro_text()),
        instant => Value::String(instant.to_text()),
    })
}

fn int_or_string(bytes: &[u8]) -> Result<Value, ApiError> {
    let (kind, number, string) = numbers(bytes)?;
    Ok(match kind {
        0 => Value::Int(i64::from(number as i32)),
        1 => Value::String(string.map(text).unwrap_or_default()),
        _ => return Err(malformed("impossible type of an IntOrString")),
    })
}

//! Protobuf to [`Value`].

use super::wire::{Reader, Wire, malformed};
use super::{MAGIC, unwrap};
use crate::catalogue::{Catalogue, Field, List, Shape, Struct, TypeId, Types};
use crate::time::{self, Instant};
use crate::value::Map;
use crate::{ApiError, Str, Value, bytes64, json, limits};

pub(super) struct Decoder<'c> {
    pub(super) types: &'c Types,
    /// to decode embedded objects that are protobuf themselves
    pub(super) catalogue: Option<&'c Catalogue>,
    pub(super) nodes: usize,
    /// per struct met: field index by tag, made on first use
    tables: Vec<Option<Box<[Tagged]>>>,
}

/// Where a tag leads.
#[derive(Clone, Copy)]
struct Tagged {
    outer: [u8; 2],
    tag: u32,
    field: u16,
}

/// A field while its message is being read: repeated fields come in pieces.
enum Slot {
    One(Value),
    Many(Vec<Value>),
    Pairs(Vec<(Str, Value)>),
}

impl Slot {
    fn finish(self) -> Value {
        match self {
            Self::One(value) => value,
            Self::Many(items) => Value::Array(items),
            Self::Pairs(pairs) => Value::Object(Map::from_entries(pairs).0),
        }
    }
}

impl<'c> Decoder<'c> {
    pub(super) fn new(types: &'c Types, catalogue: Option<&'c Catalogue>) -> Self {
        Self {
            types,
            catalogue,
            nodes: 0,
            tables: Vec::new(),
        }
    }

    fn count(&mut self, depth: usize) -> Result<(), ApiError> {
        self.nodes += 1;
        if self.nodes > limits::MAX_NODES {
            return Err(ApiError::too_large(format!(
                "the document has more than {} values",
                limits::MAX_NODES
            )));
        }
        if depth > limits::MAX_DEPTH {
            return Err(ApiError::too_large(format!(
                "exceeded max depth: the document is nested deeper than {}",
                limits::MAX_DEPTH
            )));
        }
        Ok(())
    }

    /// A message of struct type `id`.
    pub(super) fn message(
        &mut self,
        id: TypeId,
        bytes: &[u8],
        depth: usize,
    ) -> Result<Value, ApiError> {
        self.count(depth)?;
        let types = self.types;
        let Some(s) = types.structure(id) else {
            return Err(malformed("not a message"));
        };
        let mut slots: Vec<(u16, Slot)> = Vec::with_capacity(8);
        self.fields(id, s, bytes, [0, 0], &mut slots, depth)?;
        let entries = slots
            .into_iter()
            .map(|(i, slot)| (s.fields[usize::from(i)].json.clone(), slot.finish()));
        Ok(Value::Object(Map::from_entries(entries.collect()).0))
    }

    /// The index of the field with `tag` inside the inlined messages `outer`; `Err`: `tag` is such a message.
    fn find(
        &mut self,
        id: TypeId,
        s: &Struct,
        outer: [u8; 2],
        tag: u32,
    ) -> Option<Result<u16, [u8; 2]>> {
        let at = id.0 as usize;
        if self.tables.len() <= at {
            self.tables.resize_with(at + 1, || None);
        }
        let table = self.tables[at].get_or_insert_with(|| {
            let tagged = |(i, f): (usize, &Field)| Tagged {
                outer: f.outer,
                tag: f.tag,
                field: i as u16,
            };
            s.fields
                .iter()
                .enumerate()
                .filter(|(_, f)| f.tag != 0)
                .map(tagged)
                .collect()
        });
        if let Some(t) = table.iter().find(|t| t.tag == tag && t.outer == outer) {
            return Some(Ok(t.field));
        }
        let next = match outer {
            [0, 0] => [u8::try_from(tag).ok()?, 0],
            [first, 0] => [first, u8::try_from(tag).ok()?],
            _ => return None,
        };
        let inlined = |t: &Tagged| t.outer[0] == next[0] && (next[1] == 0 || t.outer[1] == next[1]);
        table.iter().any(inlined).then_some(Err(next))
    }

    fn fields(
        &mut self,
        id: TypeId,
        s: &Struct,
        bytes: &[u8],
        outer: [u8; 2],
        slots: &mut Vec<(u16, Slot)>,
        depth: usize,
    ) -> Result<(), ApiError> {
        let mut reader = Reader::new(bytes);
        while !reader.is_empty() {
            let (tag, wire) = reader.field()?;
            match self.find(id, s, outer, tag) {
                // Fields of a newer version are skipped, as in Go.
                None => {}
                Some(Err(inner)) => self.fields(id, s, wire.bytes("")?, inner, slots, depth)?,
                Some(Ok(i)) => {
                    let place = match slots.last() {
                        Some((last, _)) if *last == i => Some(slots.len() - 1),
                        _ => slots.iter().position(|(j, _)| *j == i),
                    };
                    self.field(&s.fields[usize::from(i)], i, wire, place, slots, depth)?;
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
        slots: &mut Vec<(u16, Slot)>,
        depth: usize,
    ) -> Result<(), ApiError> {
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
                put(slots, place, index, Slot::One(Value::Array(items)));
            }
            Shape::List(list) => {
                let slot = open(slots, place, index, || Slot::Many(Vec::new()));
                if let Slot::Many(items) = slot {
                    self.items(list, wire, &field.json, items, depth + 1)?;
                }
            }
            Shape::Map(item) => {
                let pair = self.pair(*item, wire.bytes(&field.json)?, &field.json, depth + 1)?;
                if let Slot::Pairs(pairs) = open(slots, place, index, || Slot::Pairs(Vec::new())) {
                    pairs.push(pair);
                }
            }
            _ => {
                let value = self.value(field.ty, wire, &field.json, depth + 1)?;
                put(slots, place, index, Slot::One(value));
            }
        }
        Ok(())
    }

    /// One item of a repeated field, or several packed numbers.
    fn items(
        &mut self,
        list: &List,
        wire: Wire<'_>,
        name: &str,
        items: &mut Vec<Value>,
        depth: usize,
    ) -> Result<(), ApiError> {
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
    ) -> Result<(Str, Value), ApiError> {
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
    ) -> Result<Value, ApiError> {
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
                wire => return Err(wire.wrong(name)),
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
                return Err(malformed("nested maps have no protobuf form"));
            }
        })
    }

    /// `{raw = 1}`: JSON, or an object in its own envelope.
    fn raw(&mut self, bytes: &[u8], depth: usize) -> Result<Value, ApiError> {
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
                return Err(malformed("an embedded object is protobuf itself"));
            };
            self.count(depth)?;
            return unwrap(catalogue, raw, &mut self.nodes, depth + 1);
        }
        Ok(json::parse(raw)?.value)
    }

    fn schema_or(
        &mut self,
        shape: &Shape,
        id: TypeId,
        bytes: &[u8],
        depth: usize,
    ) -> Result<Value, ApiError> {
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

fn open(
    slots: &mut Vec<(u16, Slot)>,
    place: Option<usize>,
    index: u16,
    make: impl FnOnce() -> Slot,
) -> &mut Slot {
    let at = place.unwrap_or_else(|| {
        slots.push((index, make()));
        slots.len() - 1
    });
    &mut slots[at].1
}

fn put(slots: &mut Vec<(u16, Slot)>, place: Option<usize>, index: u16, slot: Slot) {
    match place {
        Some(at) => slots[at].1 = slot,
        None => slots.push((index, slot)),
    }
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

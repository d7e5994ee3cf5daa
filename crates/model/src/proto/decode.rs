//! Protobuf to [`Value`].

use super::wire::{Fail, Reader, Wire, malformed};
use super::{MAGIC, unwrap};
use crate::catalogue::{Catalogue, List, Shape, Struct, Tagged, TypeId, Types};
use crate::slots::Slots;
use crate::strict::{always_written, is_zero};
use crate::time::{self, Instant};
use crate::value::{Entry, Map};
use crate::{ApiError, Str, Value, bytes64, json, limits};

pub(super) struct Decoder<'c> {
    pub(super) types: &'c Types,
    /// to decode embedded objects that are protobuf themselves
    pub(super) catalogue: Option<&'c Catalogue>,
    pub(super) nodes: usize,
    /// repeated fields come in pieces and grow here
    slots: Slots,
}

impl<'c> Decoder<'c> {
    pub(super) fn new(types: &'c Types, catalogue: Option<&'c Catalogue>) -> Self {
        Self {
            types,
            catalogue,
            nodes: 0,
            slots: Slots::new(),
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
            return Err(malformed("not a message"));
        };
        let start = self.slots.mark();
        self.fields(s, bytes, [0, 0], start, depth)?;
        Ok(Value::Object(self.close(s, start)))
    }

    /// The fields from `start` on as Go writes them ([`crate::strict::shape`]).
    fn close(&mut self, s: &Struct, start: usize) -> Map {
        let types = self.types;
        let mut always = s.always();
        let mut entries = Vec::with_capacity(self.slots.mark() - start + always.len() + s.spare());
        self.slots.take(start, |place, mut value| {
            while let [next, rest @ ..] = always
                && *next < place
            {
                entries.extend(written(types, s, *next));
                always = rest;
            }
            let field = &s.fields[usize::from(place)];
            if let Value::Object(map) = &mut value
                && matches!(types.get(field.ty), Shape::Map(_))
            {
                map.put_in_order();
            }
            if !field.omit_empty {
                always = always.strip_prefix(&[place]).unwrap_or(always);
            } else if value.is_null() || (!field.pointer && is_zero(types, field.ty, &value)) {
                return;
            }
            entries.push(s.entry(place, value));
        });
        for i in always {
            entries.extend(written(types, s, *i));
        }
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
                    let known = tag <= highest;
                    highest = highest.max(tag);
                    let field = &s.fields[usize::from(i)];
                    match self.types.get(field.ty) {
                        Shape::List(list) if !list.wrapped => {
                            let mark = self.slots.mark();
                            let mut next = Some(wire);
                            while let Some(wire) = next {
                                self.items(list, wire, &field.json, depth + 1)?;
                                next = reader.again(tag)?;
                            }
                            let items = self.slots.values(mark);
                            self.add(start, i, known, Value::Array(items));
                        }
                        Shape::Map(item) => {
                            let mut pairs = Vec::with_capacity(1 + reader.ahead(tag));
                            let mut next = Some(wire);
                            while let Some(wire) = next {
                                let pair = wire.bytes(&field.json)?;
                                let place = pairs.len();
                                pairs.push(Entry::default());
                                let entry = &mut pairs[place];
                                self.pair(entry, *item, pair, &field.json, depth + 1)?;
                                next = reader.again(tag)?;
                            }
                            self.add(start, i, known, Value::Object(Map::unordered(pairs)));
                        }
                        _ => {
                            self.push(i, field.ty, wire, &field.json, depth + 1)?;
                            if known {
                                self.slots.settle(start);
                            }
                        }
                    }
                }
            }
        }
        Ok(())
    }

    /// Adds to a repeated field.
    fn add(&mut self, start: usize, index: u16, known: bool, value: Value) {
        let place = if known {
            self.slots.get_mut(start, index)
        } else {
            None
        };
        match (place, value) {
            (Some(Value::Array(all)), Value::Array(more)) => all.extend(more),
            (Some(Value::Object(all)), Value::Object(more)) => {
                all.append_unordered(more);
            }
            (_, value) => self.slots.push(index, value),
        }
    }

    /// One item of a repeated field, or several packed numbers, pushed as they come.
    fn items(&mut self, list: &List, wire: Wire<'_>, name: &str, depth: usize) -> Result<(), Fail> {
        let numeric = matches!(
            self.types.get(list.item),
            Shape::Int32 | Shape::Int64 | Shape::Bool
        );
        match wire {
            Wire::Bytes(packed) if numeric => {
                let mut reader = Reader::new(packed);
                while !reader.is_empty() {
                    let value = Wire::Varint(reader.varint()?);
                    self.push(0, list.item, value, name, depth)?;
                }
                Ok(())
            }
            wire => self.push(0, list.item, wire, name, depth),
        }
    }

    fn pair(
        &mut self,
        entry: &mut Entry,
        item: TypeId,
        bytes: &[u8],
        name: &str,
        depth: usize,
    ) -> Result<(), Fail> {
        let mut found = false;
        entry.put_key("");
        let mut reader = Reader::new(bytes);
        while !reader.is_empty() {
            match reader.field()? {
                (1, wire) => {
                    let bytes = wire.bytes(name)?;
                    match std::str::from_utf8(bytes) {
                        Ok(key) => entry.put_key(key),
                        Err(_) => entry.put_key(&text(bytes)),
                    }
                }
                (2, wire) => {
                    self.push(0, item, wire, name, depth)?;
                    *entry.value_mut() = self.slots.pop();
                    found = true;
                }
                _ => {}
            }
        }
        if !found {
            let nothing = self.value(item, Wire::Bytes(&[]), name, depth);
            *entry.value_mut() = nothing.unwrap_or_default();
        }
        Ok(())
    }

    /// Reads a value for `place`. It is pushed, not returned: see [`Value::put_text`].
    fn push(
        &mut self,
        place: u16,
        id: TypeId,
        wire: Wire<'_>,
        name: &str,
        depth: usize,
    ) -> Result<(), Fail> {
        let types = self.types;
        match (types.get(id), wire) {
            (Shape::Struct(s), Wire::Bytes(bytes)) => {
                self.count(depth)?;
                let start = self.slots.mark();
                self.fields(s, bytes, [0, 0], start, depth)?;
                let map = self.close(s, start);
                self.slots.push(place, Value::Object(map));
            }
            (Shape::String, Wire::Bytes(bytes)) if let Ok(text) = std::str::from_utf8(bytes) => {
                self.count(depth)?;
                self.slots.push_text(place, text);
            }
            (Shape::Bool, Wire::Varint(i)) => {
                self.count(depth)?;
                self.slots.push(place, Value::Bool(i != 0));
            }
            // Go keeps the low half.
            (Shape::Int32, Wire::Varint(i)) => {
                self.count(depth)?;
                self.slots.push(place, Value::Int(i64::from(i as i32)));
            }
            (Shape::Int64, Wire::Varint(i)) => {
                self.count(depth)?;
                self.slots.push(place, Value::Int(i.cast_signed()));
            }
            (Shape::Quantity, Wire::Bytes([0x0a, len, text @ ..]))
                if usize::from(*len) == text.len()
                    && let Ok(text) = std::str::from_utf8(text)
                    && crate::quantity::is_plain(text) =>
            {
                self.count(depth)?;
                self.slots.push_text(place, text);
            }
            _ => {
                let value = self.value(id, wire, name, depth)?;
                self.slots.push(place, value);
            }
        }
        Ok(())
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
                let mark = self.slots.mark();
                let mut reader = Reader::new(wire.bytes(name)?);
                while !reader.is_empty() {
                    if let (1, wire) = reader.field()? {
                        self.items(list, wire, name, depth)?;
                    }
                }
                Value::Array(self.slots.values(mark))
            }
            Shape::Map(_) | Shape::Struct(_) => {
                return Err(malformed("nested maps have no protobuf form"));
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
                return Err(malformed("an embedded object is protobuf itself"));
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

/// What Go writes for a field though nothing said it.
fn written(types: &Types, s: &Struct, place: u16) -> Option<Entry> {
    let (_, value) = always_written(types, &s.fields[usize::from(place)])?;
    Some(s.entry(place, value))
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
fn numbers(bytes: &[u8]) -> Result<(i64, i64, Option<&[u8]>), Fail> {
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

fn quantity(bytes: &[u8]) -> Result<Value, Fail> {
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
        .map_err(|e| Fail::new(ApiError::bad_request(e.to_string())))?;
    Ok(Value::String(canonical))
}

fn instant(bytes: &[u8], micro: bool) -> Result<Value, Fail> {
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
    // Only no bytes at all are no time (apimachinery `pkg/apis/meta/v1/time_proto.go`).
    Ok(match instant {
        _ if bytes.is_empty() => Value::Null,
        zero if zero.is_zero() => Value::Null,
        instant if micro => Value::String(instant.to_micro_text()),
        instant => Value::String(instant.to_text()),
    })
}

fn int_or_string(bytes: &[u8]) -> Result<Value, Fail> {
    let (kind, number, string) = numbers(bytes)?;
    Ok(match kind {
        0 => Value::Int(i64::from(number as i32)),
        1 => Value::String(string.map(text).unwrap_or_default()),
        _ => return Err(malformed("impossible type of an IntOrString")),
    })
}

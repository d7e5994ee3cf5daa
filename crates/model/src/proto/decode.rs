//! Protobuf to [`Value`].

use super::ascii::Ascii;
use super::wire::{BYTES, FIXED32, FIXED64, Fail, Reader, VARINT, Wire, malformed};
use super::{MAGIC, unwrap};
use crate::catalogue::{Catalogue, Field, List, Places, Shape, Struct, Tagged, TypeId, Types};
use crate::strict::{unset, zero_of};
use crate::time::{self, Instant};
use crate::value::Entry;
use crate::{ApiError, Str, Value, bytes64, json, limits};
use std::ops::Range;

pub(super) struct Decoder<'c, 'b> {
    pub(super) types: &'c Types,
    /// to decode embedded objects that are protobuf themselves
    pub(super) catalogue: Option<&'c Catalogue>,
    pub(super) nodes: usize,
    ascii: &'b Ascii,
    /// the fields of all open messages as they are on the wire, the innermost last
    found: Vec<Found<'b>>,
}

/// A field that was seen and not yet decoded.
#[derive(Clone, Copy)]
struct Found<'b> {
    /// of the field in its struct
    place: u16,
    wire: Wire<'b>,
}

impl Found<'_> {
    const NONE: Self = Self {
        place: 0,
        wire: Wire {
            kind: 0,
            number: 0,
            content: &[],
        },
    };
}

/// Where the fields of one message are among those found: fields of a struct are few, and what is
/// to be written, in which order, is known before anything is decoded. So every value is made where
/// it stays, in an object of the right size.
struct Seen {
    /// places, as bits
    places: u64,
    /// by place: the first found
    first: [u8; 64],
    /// places of those that came more than once
    again: u64,
    /// a field that came again after others, or too many
    scattered: bool,
}

impl<'c, 'b> Decoder<'c, 'b> {
    pub(super) fn new(
        types: &'c Types,
        catalogue: Option<&'c Catalogue>,
        ascii: &'b Ascii,
    ) -> Self {
        Self {
            types,
            catalogue,
            nodes: 0,
            ascii,
            found: Vec::with_capacity(64),
        }
    }

    #[inline]
    fn count(&mut self, depth: usize) -> Result<(), Fail> {
        self.nodes += 1;
        if self.nodes > limits::MAX_NODES {
            return Err(too_many());
        }
        if depth > limits::MAX_DEPTH {
            return Err(too_deep());
        }
        Ok(())
    }

    /// A message of struct type `id`.
    pub(super) fn message(
        &mut self,
        id: TypeId,
        bytes: &'b [u8],
        depth: usize,
    ) -> Result<Value, Fail> {
        let Some(s) = self.types.structure(id) else {
            return Err(malformed("not a message"));
        };
        let mut value = Value::Null;
        self.structure(s, bytes, depth, &mut value)?;
        Ok(value)
    }

    /// A struct as Go writes it ([`crate::strict::shape`]).
    fn structure(
        &mut self,
        s: &'c Struct,
        bytes: &'b [u8],
        depth: usize,
        place: &mut Value,
    ) -> Result<(), Fail> {
        self.count(depth)?;
        let start = self.found.len();
        let mut seen = Seen {
            places: 0,
            first: [0; 64],
            again: 0,
            scattered: s.fields.len() > 64,
        };
        self.scan(s, bytes, [0, 0], start, &mut seen)?;
        if seen.scattered {
            self.scattered(s, start, depth, place)?;
        } else {
            self.in_order(s, start, &seen, depth, place)?;
        }
        self.found.truncate(start);
        Ok(())
    }

    /// The fields found from `start` on, by their places.
    fn in_order(
        &mut self,
        s: &'c Struct,
        start: usize,
        seen: &Seen,
        depth: usize,
        place: &mut Value,
    ) -> Result<(), Fail> {
        let places = Places(seen.places | s.always_bits());
        let entries = places.open(s, place);
        let mut zeros = 0_u64;
        for (nth, (i, entry)) in places.zip(entries.iter_mut()).enumerate() {
            let field = &s.fields[usize::from(i)];
            let value = s.begin(i, entry);
            let i = i & 63;
            if seen.places >> i & 1 == 0 {
                *value = unset(self.types, field);
                continue;
            }
            let first = start + usize::from(seen.first[usize::from(i)]);
            let end = match seen.again >> i & 1 {
                0 => first + 1,
                _ => self.end_of_run(first),
            };
            if !self.field(field, first..end, depth + 1, value)? {
                zeros |= 1 << nth;
            }
        }
        if zeros != 0 {
            let mut nth = 0..;
            entries.retain(|_| {
                nth.next()
                    .is_none_or(|nth: u32| zeros >> (nth & 63) & 1 == 0)
            });
        }
        Ok(())
    }

    /// What Go writes for a field though nothing said it.
    fn unset(&self, s: &'c Struct, place: u16, entries: &mut Vec<Entry>) {
        *s.open(place, entries) = unset(self.types, &s.fields[usize::from(place)]);
    }

    /// The fields found from `start` on, in whatever order.
    fn scattered(
        &mut self,
        s: &'c Struct,
        start: usize,
        depth: usize,
        place: &mut Value,
    ) -> Result<(), Fail> {
        self.found[start..].sort_by_key(|f| f.place);
        let all = self.found.len();
        let different = self.found[start..].chunk_by(|a, b| a.place == b.place);
        let room = different.count() + s.always().len() + s.spare();
        let entries = place.open_object(room);
        let mut always = s.always();
        let mut at = start;
        while at < all {
            let place = self.found[at].place;
            while let [next, rest @ ..] = always
                && *next <= place
            {
                if *next < place {
                    self.unset(s, *next, entries);
                }
                always = rest;
            }
            let end = self.end_of_run(at);
            let field = &s.fields[usize::from(place)];
            let value = s.open(place, entries);
            if !self.field(field, at..end, depth + 1, value)? {
                entries.pop();
            }
            at = end;
        }
        for next in always {
            self.unset(s, *next, entries);
        }
        Ok(())
    }

    /// Finds the fields of a message, whose own begin at `start`.
    fn scan(
        &mut self,
        s: &'c Struct,
        bytes: &'b [u8],
        outer: [u8; 2],
        start: usize,
        seen: &mut Seen,
    ) -> Result<(), Fail> {
        let mut reader = Reader::new(bytes);
        while !reader.is_empty() {
            let (tag, wire) = reader.field()?;
            let place = match s.tagged(outer, tag) {
                // Fields of a newer version are skipped, as in Go.
                Tagged::Unknown => continue,
                Tagged::Message(inner) => {
                    self.scan(s, wire.bytes("")?, inner, start, seen)?;
                    continue;
                }
                Tagged::Field(place) => place,
            };
            let at = self.found.len() - start;
            let bit = 1_u64 << (place & 63);
            if seen.places & bit == 0 {
                seen.places |= bit;
                seen.first[usize::from(place) & 63] = at as u8;
                seen.scattered |= at > usize::from(u8::MAX);
            } else {
                seen.again |= bit;
                seen.scattered |= self.found.last().is_none_or(|f| f.place != place);
                if self.found.len() > limits::MAX_NODES {
                    return Err(too_many());
                }
            }
            // Written field by field: see [`Wire`].
            self.found.push(Found::NONE);
            if let Some(found) = self.found.last_mut() {
                found.place = place;
                found.wire.kind = wire.kind;
                found.wire.number = wire.number;
                found.wire.content = wire.content;
            }
        }
        Ok(())
    }

    /// Behind the last of the same field as at `at`.
    fn end_of_run(&self, at: usize) -> usize {
        let place = self.found[at].place;
        let same = self.found[at..].iter().take_while(|f| f.place == place);
        at + same.count()
    }

    /// Reads a field from what was found; `false` when Go leaves it out.
    #[inline(always)]
    fn field(
        &mut self,
        field: &'c Field,
        found: Range<usize>,
        depth: usize,
        value: &mut Value,
    ) -> Result<bool, Fail> {
        let shape = self.types.get(field.ty);
        match shape {
            Shape::List(list) if !list.wrapped => self.list(field, list, found, depth, value)?,
            Shape::Map(item) => self.map(field, *item, found, depth, value)?,
            _ => {
                // The last one counts.
                for at in found {
                    self.fill(shape, self.found[at].wire, &field.json, depth, value)?;
                }
            }
        }
        let empty = value.is_null() || (!field.pointer && zero_of(shape, value));
        Ok(!(field.omit_empty && empty))
    }

    fn list(
        &mut self,
        field: &'c Field,
        list: &'c List,
        found: Range<usize>,
        depth: usize,
        place: &mut Value,
    ) -> Result<(), Fail> {
        let shape = self.types.get(list.item);
        if let Shape::Int32 | Shape::Int64 | Shape::Bool = shape {
            let items = place.open_array(0);
            for at in found {
                self.items(list, self.found[at].wire, &field.json, depth, items)?;
            }
            return Ok(());
        }
        let items = place.open_array(found.len());
        for (at, item) in found.zip(items) {
            self.fill(shape, self.found[at].wire, &field.json, depth, item)?;
        }
        Ok(())
    }

    fn map(
        &mut self,
        field: &'c Field,
        item: TypeId,
        found: Range<usize>,
        depth: usize,
        place: &mut Value,
    ) -> Result<(), Fail> {
        let pairs = place.open_object(found.len());
        for at in found {
            let pair = self.found[at].wire.bytes(&field.json)?;
            pairs.push(Entry::EMPTY);
            if let Some(entry) = pairs.last_mut() {
                self.pair(entry, item, pair, &field.json, depth)?;
            }
        }
        if let Value::Object(map) = place {
            // The last of equal keys counts.
            map.put_in_order();
        }
        Ok(())
    }

    /// One item of a repeated field, or several packed numbers.
    fn items(
        &mut self,
        list: &'c List,
        wire: Wire<'b>,
        name: &str,
        depth: usize,
        items: &mut Vec<Value>,
    ) -> Result<(), Fail> {
        let shape = self.types.get(list.item);
        let mut add = |decoder: &mut Self, wire| {
            items.push(Value::Null);
            match items.last_mut() {
                Some(place) => decoder.fill(shape, wire, name, depth, place),
                None => Ok(()),
            }
        };
        if wire.kind == BYTES && matches!(shape, Shape::Int32 | Shape::Int64 | Shape::Bool) {
            let mut reader = Reader::new(wire.content);
            while !reader.is_empty() {
                add(self, Wire::of_number(VARINT, reader.varint()?))?;
            }
            return Ok(());
        }
        add(self, wire)
    }

    fn pair(
        &mut self,
        entry: &mut Entry,
        item: TypeId,
        bytes: &'b [u8],
        name: &str,
        depth: usize,
    ) -> Result<(), Fail> {
        let shape = self.types.get(item);
        let mut found = false;
        let mut reader = Reader::new(bytes);
        while !reader.is_empty() {
            match reader.field()? {
                (1, wire) => {
                    let bytes = wire.bytes(name)?;
                    match self.ascii.text(bytes) {
                        Some(key) => entry.put_key(key),
                        None => entry.put_key(&text(bytes)),
                    }
                }
                (2, wire) => {
                    self.fill(shape, wire, name, depth, entry.value_mut())?;
                    found = true;
                }
                _ => {}
            }
        }
        if !found {
            let nothing = self.value(shape, Wire::of_bytes(&[]), name, depth);
            *entry.value_mut() = nothing.unwrap_or_default();
        }
        Ok(())
    }

    /// Reads a value into its place: processors are slow to move what was written a moment ago.
    fn fill(
        &mut self,
        shape: &'c Shape,
        wire: Wire<'b>,
        name: &str,
        depth: usize,
        place: &mut Value,
    ) -> Result<(), Fail> {
        match (shape, wire.kind) {
            (Shape::Struct(s), BYTES) => return self.structure(s, wire.content, depth, place),
            (Shape::String, BYTES) if let Some(text) = self.ascii.text(wire.content) => {
                place.put_text(text);
            }
            (Shape::Bool, VARINT) => *place = Value::Bool(wire.number != 0),
            // Go keeps the low half.
            (Shape::Int32, VARINT) => *place = Value::Int(i64::from(wire.number as i32)),
            (Shape::Int64, VARINT) => *place = Value::Int(wire.number.cast_signed()),
            (Shape::Quantity, BYTES)
                if let [0x0a, len, text @ ..] = wire.content
                    && usize::from(*len) == text.len()
                    && let Some(text) = self.ascii.text(text)
                    && crate::quantity::is_plain(text) =>
            {
                place.put_text(text);
            }
            _ => {
                *place = self.value(shape, wire, name, depth)?;
                return Ok(());
            }
        }
        self.count(depth)
    }

    fn value(
        &mut self,
        shape: &'c Shape,
        wire: Wire<'b>,
        name: &str,
        depth: usize,
    ) -> Result<Value, Fail> {
        if let Shape::Struct(s) = shape {
            let mut value = Value::Null;
            self.structure(s, wire.bytes(name)?, depth, &mut value)?;
            return Ok(value);
        }
        self.count(depth)?;
        Ok(match shape {
            Shape::String => Value::String(text(wire.bytes(name)?)),
            Shape::Bool => Value::Bool(wire.integer(name)? != 0),
            // Go keeps the low half.
            Shape::Int32 => Value::Int(i64::from(wire.integer(name)? as i32)),
            Shape::Int64 => Value::Int(wire.integer(name)?),
            Shape::Float => match wire.kind {
                FIXED64 => Value::from_f64(f64::from_bits(wire.number)),
                FIXED32 => Value::from_f64(f32::from_bits(wire.number as u32).into()),
                _ => return Err(wire.wrong(name)),
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
                        self.items(list, wire, name, depth, &mut items)?;
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
    fn raw(&mut self, bytes: &'b [u8], depth: usize) -> Result<Value, Fail> {
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
        bytes: &'b [u8],
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

#[cold]
fn too_many() -> Fail {
    Fail::new(ApiError::too_large(format!(
        "the document has more than {} values",
        limits::MAX_NODES
    )))
}

#[cold]
fn too_deep() -> Fail {
    Fail::new(ApiError::too_large(format!(
        "exceeded max depth: the document is nested deeper than {}",
        limits::MAX_DEPTH
    )))
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

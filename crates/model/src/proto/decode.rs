//! Protobuf to [`Value`].

use super::ascii::Ascii;
use super::wire::{
    BYTES, FIXED32, FIXED64, Fail, Reader, VARINT, Wire, cut_short, malformed, no_varint, varint,
};
use super::{MAGIC, unwrap};
use crate::catalogue::decoding::{Plan, Slot, What};
use crate::catalogue::{
    Catalogue, Field, Lazy, List, Places, Shape, Struct, Tagged, TypeId, Types,
};
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
    plans: &'c [Lazy<Plan>],
    /// the fields of all open messages as they are on the wire, the innermost last
    found: Vec<Found>,
}

/// A field that was seen and not yet decoded.
// Two words, written and read as such: other pieces of what was written a moment ago are slow to read.
#[derive(Clone, Copy)]
struct Found {
    /// the place of the field in its struct, and the kind of wire above it
    what: u64,
    /// the number; or where the bytes are in the message: length, and start above it
    content: u64,
}

// Positions are smaller than that.
const _: () = assert!(limits::MAX_BODY < 1 << 31);

impl Found {
    #[inline(always)]
    fn bytes(place: u16, start: usize, len: usize) -> Self {
        Self {
            what: u64::from(place) | u64::from(BYTES) << 16,
            content: (start as u64) << 32 | len as u64,
        }
    }

    #[inline(always)]
    fn number(place: u16, kind: u8, number: u64) -> Self {
        Self {
            what: u64::from(place) | u64::from(kind) << 16,
            content: number,
        }
    }

    #[inline(always)]
    fn place(self) -> u16 {
        self.what as u16
    }

    #[inline(always)]
    fn kind(self) -> u8 {
        (self.what >> 16) as u8
    }

    /// The content in the message that it was found in; none of a number.
    #[inline(always)]
    fn content(self, message: &[u8]) -> Option<&[u8]> {
        if self.kind() != BYTES {
            return None;
        }
        let (start, len) = ((self.content >> 32) as usize, self.content as u32 as usize);
        message.get(start..start + len)
    }

    #[inline]
    fn wire(self, message: &[u8]) -> Wire<'_> {
        match self.content(message) {
            Some(content) => Wire::of_bytes(content),
            None => Wire::of_number(self.kind(), self.content),
        }
    }
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
    /// a field that came again after others, or too many fields to have bits
    scattered: bool,
}

/// A message that is being read.
#[derive(Clone, Copy)]
struct Message<'c, 'b> {
    id: TypeId,
    plan: &'c Plan,
    bytes: &'b [u8],
    /// where its fields are among those found
    start: usize,
    depth: usize,
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
            plans: types.decoding(),
            found: Vec::with_capacity(64),
        }
    }

    #[inline]
    fn count(&mut self, depth: usize) -> Result<(), Fail> {
        self.count_all(1, depth)
    }

    /// Counts so many values of this depth.
    #[inline]
    fn count_all(&mut self, values: usize, depth: usize) -> Result<(), Fail> {
        self.nodes += values;
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
        if self.types.structure(id).is_none() {
            return Err(malformed("not a message"));
        }
        let mut value = Value::Null;
        self.structure(id, bytes, depth, &mut value)?;
        Ok(value)
    }

    /// A struct as Go writes it ([`crate::strict::shape`]).
    fn structure(
        &mut self,
        id: TypeId,
        bytes: &'b [u8],
        depth: usize,
        place: &mut Value,
    ) -> Result<(), Fail> {
        self.count(depth)?;
        let plan = self.types.decoding_of(self.plans, id);
        let message = Message {
            id,
            plan,
            bytes,
            start: self.found.len(),
            depth: depth + 1,
        };
        let mut seen = Seen {
            places: 0,
            first: [0; 64],
            again: 0,
            scattered: plan.many,
        };
        self.scan(&message, [0, 0], 0..bytes.len(), &mut seen)?;
        let countable = self.found.len() - message.start <= usize::from(u8::MAX);
        if seen.scattered || !countable {
            self.scattered(&message, place)?;
        } else {
            self.in_order(&message, &seen, place)?;
        }
        self.found.truncate(message.start);
        Ok(())
    }

    /// The fields found, by their places.
    fn in_order(
        &mut self,
        message: &Message<'c, 'b>,
        seen: &Seen,
        place: &mut Value,
    ) -> Result<(), Fail> {
        let Message {
            plan, bytes, depth, ..
        } = *message;
        let places = seen.places | plan.always_bits;
        // The outermost gets its kind and version besides.
        let room = plan.spare + if depth == 1 { 2 } else { 0 };
        let fields = match seen.again {
            // A few too many: what is always written may have been found, too.
            0 => self.found.len() - message.start + plan.always,
            _ => places.count_ones() as usize,
        };
        let entries = place.open_object(fields + room);
        let mut leaves = 0;
        for (i, slot) in Places(places).zip_places(&plan.slots) {
            let value = slot.open(entries);
            if seen.places >> (i & 63) & 1 == 0 {
                value.put(slot.unset());
                continue;
            }
            let first = message.start + usize::from(seen.first[usize::from(i & 63)]);
            let found = self.found[first];
            let what = match seen.again >> (i & 63) & 1 {
                0 => slot.what,
                _ => What::Again,
            };
            let keep = match (what, found.content(bytes)) {
                (What::Text, Some(part)) if self.ascii.put(part, value) => {
                    leaves += 1;
                    !(slot.omit && part.is_empty())
                }
                (What::Struct, Some(content)) => {
                    self.structure(slot.ty, content, depth, value)?;
                    !(slot.omit && matches!(value, Value::Object(map) if map.is_empty()))
                }
                (What::Bool, None) if found.kind() == VARINT => {
                    leaves += 1;
                    value.put(Value::Bool(found.content != 0));
                    !(slot.omit && found.content == 0)
                }
                // Go keeps the low half.
                (What::Int32, None) if found.kind() == VARINT => {
                    leaves += 1;
                    value.put(Value::Int(i64::from(found.content as i32)));
                    !(slot.omit && found.content as i32 == 0)
                }
                (What::Int64, None) if found.kind() == VARINT => {
                    leaves += 1;
                    value.put(Value::Int(found.content.cast_signed()));
                    !(slot.omit && found.content == 0)
                }
                (what, _) => {
                    let end = match what {
                        What::Again => self.end_of_run(first),
                        _ => first + 1,
                    };
                    self.deep(message, slot, i, first..end, value)?
                }
            };
            if !keep {
                entries.pop();
            }
        }
        match leaves {
            0 => Ok(()),
            _ => self.count_all(leaves, depth),
        }
    }

    /// Reads a field that takes more than a look at what was found; `false` when Go leaves it out.
    fn deep(
        &mut self,
        message: &Message<'c, 'b>,
        slot: &'c Slot,
        place: u16,
        found: Range<usize>,
        value: &mut Value,
    ) -> Result<bool, Fail> {
        let Message { bytes, depth, .. } = *message;
        match slot.what {
            What::Structs => {
                for (at, item) in found.clone().zip(value.open_array(found.len())) {
                    let Some(content) = self.found[at].content(bytes) else {
                        return Err(self.found[at].wire(bytes).wrong(slot.key()));
                    };
                    self.structure(slot.ty, content, depth, item)?;
                }
                Ok(true)
            }
            What::Texts => {
                for (at, item) in found.clone().zip(value.open_array(found.len())) {
                    match self.found[at].content(bytes) {
                        Some(part) if self.ascii.put(part, item) => self.count(depth)?,
                        _ => {
                            let wire = self.found[at].wire(bytes);
                            self.fill(slot.ty, wire, slot.key(), depth, item)?;
                        }
                    }
                }
                Ok(true)
            }
            What::Map => {
                self.map(slot.key(), slot.ty, found, message, value)?;
                Ok(true)
            }
            _ => match self.types.structure(message.id) {
                Some(s) => self.field(&s.fields[usize::from(place)], found, message, value),
                None => Ok(false),
            },
        }
    }

    /// What Go writes for a field though nothing said it.
    fn unset(&self, s: &'c Struct, place: u16, entries: &mut Vec<Entry>) {
        *s.open(place, entries) = unset(self.types, &s.fields[usize::from(place)]);
    }

    /// The fields found, in whatever order.
    fn scattered(&mut self, message: &Message<'c, 'b>, place: &mut Value) -> Result<(), Fail> {
        let start = message.start;
        let Some(s) = self.types.structure(message.id) else {
            return Ok(());
        };
        self.found[start..].sort_by_key(|f| f.place());
        let all = self.found.len();
        let different = self.found[start..].chunk_by(|a, b| a.place() == b.place());
        let room = different.count() + s.always().len() + s.spare();
        let entries = place.open_object(room);
        let mut always = s.always();
        let mut at = start;
        while at < all {
            let place = self.found[at].place();
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
            if !self.field(field, at..end, message, value)? {
                entries.pop();
            }
            at = end;
        }
        for next in always {
            self.unset(s, *next, entries);
        }
        Ok(())
    }

    /// Finds the fields of a message, or of one inside that JSON inlines.
    fn scan(
        &mut self,
        message: &Message<'c, 'b>,
        outer: [u8; 2],
        range: Range<usize>,
        seen: &mut Seen,
    ) -> Result<(), Fail> {
        let Some(bytes) = message.bytes.get(..range.end) else {
            return Err(cut_short());
        };
        let mut at = range.start;
        while let Some(key) = bytes.get(at) {
            let keys = 1 + usize::from(*key >> 7);
            if outer == [0, 0]
                && let Some(place) = message.plan.place(*key)
                && (keys == 1 || bytes.get(at + 1) == Some(&1))
            {
                let rest = bytes.get(at + keys..).unwrap_or_default();
                let (number, used) = varint(rest);
                if used == 0 {
                    return Err(no_varint(rest));
                }
                let start = at + keys + used;
                let found = if key & 7 == BYTES {
                    let len = usize::try_from(number).unwrap_or(usize::MAX);
                    if len > bytes.len() - start {
                        return Err(cut_short());
                    }
                    at = start + len;
                    Found::bytes(place.into(), start, len)
                } else {
                    at = start;
                    Found::number(place.into(), VARINT, number)
                };
                self.note(message, found, seen)?;
                continue;
            }
            let mut reader = Reader::new(bytes.get(at..).unwrap_or_default());
            let (tag, wire) = reader.field()?;
            at = bytes.len() - reader.left();
            let start = at - wire.content.len();
            match self
                .types
                .structure(message.id)
                .map_or(Tagged::Unknown, |s| s.tagged(outer, tag))
            {
                // Fields of a newer version are skipped, as in Go.
                Tagged::Unknown => {}
                Tagged::Message(inner) => {
                    wire.bytes("")?;
                    self.scan(message, inner, start..at, seen)?;
                }
                Tagged::Field(place) => {
                    let found = match wire.kind {
                        BYTES => Found::bytes(place, start, wire.content.len()),
                        kind => Found::number(place, kind, wire.number),
                    };
                    self.note(message, found, seen)?;
                }
            }
        }
        Ok(())
    }

    #[inline(always)]
    fn note(
        &mut self,
        message: &Message<'c, 'b>,
        found: Found,
        seen: &mut Seen,
    ) -> Result<(), Fail> {
        let (place, at) = (found.place(), self.found.len() - message.start);
        let bit = 1_u64 << (place & 63);
        if seen.places & bit == 0 {
            seen.places |= bit;
            seen.first[usize::from(place) & 63] = at as u8;
        } else {
            seen.again |= bit;
            seen.scattered |= self.found.last().is_none_or(|f| f.place() != place);
            if self.found.len() > limits::MAX_NODES {
                return Err(too_many());
            }
        }
        self.found.push(found);
        Ok(())
    }

    /// Behind the last of the same field as at `at`.
    fn end_of_run(&self, at: usize) -> usize {
        let place = self.found[at].place();
        let same = self.found[at..].iter().take_while(|f| f.place() == place);
        at + same.count()
    }

    /// Reads a field from what was found; `false` when Go leaves it out.
    fn field(
        &mut self,
        field: &'c Field,
        found: Range<usize>,
        message: &Message<'c, 'b>,
        value: &mut Value,
    ) -> Result<bool, Fail> {
        let shape = self.types.get(field.ty);
        match shape {
            Shape::List(list) if !list.wrapped => self.list(field, list, found, message, value)?,
            Shape::Map(item) => self.map(&field.json, *item, found, message, value)?,
            _ => {
                // The last one counts.
                for at in found {
                    let wire = self.found[at].wire(message.bytes);
                    self.fill(field.ty, wire, &field.json, message.depth, value)?;
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
        message: &Message<'c, 'b>,
        place: &mut Value,
    ) -> Result<(), Fail> {
        let shape = self.types.get(list.item);
        if let Shape::Int32 | Shape::Int64 | Shape::Bool = shape {
            let items = place.open_array(0);
            for at in found {
                let wire = self.found[at].wire(message.bytes);
                self.items(list, wire, &field.json, message.depth, items)?;
            }
            return Ok(());
        }
        let items = place.open_array(found.len());
        for (at, item) in found.zip(items) {
            let wire = self.found[at].wire(message.bytes);
            self.fill(list.item, wire, &field.json, message.depth, item)?;
        }
        Ok(())
    }

    fn map(
        &mut self,
        name: &str,
        item: TypeId,
        found: Range<usize>,
        message: &Message<'c, 'b>,
        place: &mut Value,
    ) -> Result<(), Fail> {
        let quantities = *self.types.get(item) == Shape::Quantity;
        let texts = *self.types.get(item) == Shape::String;
        let pairs = place.open_object(found.len());
        for at in found {
            pairs.push(Entry::EMPTY);
            let Some(entry) = pairs.last_mut() else {
                continue;
            };
            let found = self.found[at];
            if let Some(bytes) = found.content(message.bytes)
                && let Some((key, value)) = plain_pair(bytes)
                && let Some(text) = match (texts, quantities) {
                    (true, _) => Some(value),
                    (_, true) => self.plain_quantity(value),
                    _ => None,
                }
                && self.ascii.put_key(key, entry)
                && self.ascii.put(text, entry.value_mut())
            {
                self.count(message.depth)?;
                continue;
            }
            let pair = found.wire(message.bytes).bytes(name)?;
            self.pair(entry, item, pair, name, message.depth)?;
        }
        if let Value::Object(map) = place {
            // The last of equal keys counts.
            map.put_in_order();
        }
        Ok(())
    }

    /// The text of a quantity in its usual form.
    #[inline]
    fn plain_quantity(&self, bytes: &'b [u8]) -> Option<&'b [u8]> {
        match bytes {
            [0x0a, len, text @ ..] if usize::from(*len) == text.len() => {
                crate::quantity::is_plain(self.ascii.text(text)?).then_some(text)
            }
            _ => None,
        }
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
                Some(place) => decoder.fill(list.item, wire, name, depth, place),
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
                    self.fill(item, wire, name, depth, entry.value_mut())?;
                    found = true;
                }
                _ => {}
            }
        }
        if !found {
            let nothing = self.value(item, Wire::of_bytes(&[]), name, depth);
            *entry.value_mut() = nothing.unwrap_or_default();
        }
        Ok(())
    }

    /// Reads a value into its place: processors are slow to move what was written a moment ago.
    fn fill(
        &mut self,
        id: TypeId,
        wire: Wire<'b>,
        name: &str,
        depth: usize,
        place: &mut Value,
    ) -> Result<(), Fail> {
        match (self.types.get(id), wire.kind) {
            (Shape::Struct(_), BYTES) => return self.structure(id, wire.content, depth, place),
            (Shape::String, BYTES) if let Some(text) = self.ascii.text(wire.content) => {
                place.put_text(text);
            }
            (Shape::Bool, VARINT) => *place = Value::Bool(wire.number != 0),
            // Go keeps the low half.
            (Shape::Int32, VARINT) => *place = Value::Int(i64::from(wire.number as i32)),
            (Shape::Int64, VARINT) => *place = Value::Int(wire.number.cast_signed()),
            (Shape::Quantity, BYTES)
                if let Some(text) = self.plain_quantity(wire.content)
                    && let Some(text) = self.ascii.text(text) =>
            {
                place.put_text(text);
            }
            _ => {
                *place = self.value(id, wire, name, depth)?;
                return Ok(());
            }
        }
        self.count(depth)
    }

    fn value(
        &mut self,
        id: TypeId,
        wire: Wire<'b>,
        name: &str,
        depth: usize,
    ) -> Result<Value, Fail> {
        let shape = self.types.get(id);
        if let Shape::Struct(_) = shape {
            let mut value = Value::Null;
            self.structure(id, wire.bytes(name)?, depth, &mut value)?;
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

/// Key and value of a map, when they come in this order, once, and both are short.
#[inline]
fn plain_pair(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let [0x0a, len @ 0..0x80, rest @ ..] = bytes else {
        return None;
    };
    let (key, rest) = rest.split_at_checked(usize::from(*len))?;
    match rest {
        [0x12, len @ 0..0x80, value @ ..] if usize::from(*len) == value.len() => Some((key, value)),
        _ => None,
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

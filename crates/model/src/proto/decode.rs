//! Protobuf to [`Value`].

use super::ascii::Ascii;
use super::found::{Found, Items, Long, NONE, One, Seen, note, one, short, too_many};
use super::wire::{BYTES, FIXED32, FIXED64, Fail, Reader, VARINT, Wire, malformed};
use super::{MAGIC, unwrap};
use crate::catalogue::decoding::{MAX_FIELDS, Plan, Slot, What};
use crate::catalogue::{Catalogue, Field, Lazy, List, Shape, Struct, TypeId, Types};
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
    /// by open message, the innermost last, and by place of a field: where it was found first
    found: Vec<Found>,
    /// how many of those are of open messages
    open: usize,
    /// how many fields were found in open messages in no order
    scattered: usize,
}

/// A message that is being read.
#[derive(Clone, Copy)]
struct Message<'c, 'b> {
    id: TypeId,
    plan: &'c Plan,
    bytes: &'b [u8],
    /// where its fields are among those found
    start: usize,
    /// of the values in it
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
            found: vec![Found::NOTHING; 128],
            open: 0,
            scattered: 0,
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
        let start = self.open;
        let message = Message {
            id,
            plan,
            bytes,
            start,
            depth: depth + 1,
        };
        self.open = start + plan.slots.len();
        if self.found.len() < self.open {
            self.make_room();
        }
        match self.scan(&message) {
            Ok(seen) => self.in_order(&message, seen, place)?,
            Err(None) => self.scattered(&message, place)?,
            Err(Some(fail)) => return Err(fail),
        }
        self.open = start;
        Ok(())
    }

    #[cold]
    #[inline(never)]
    fn make_room(&mut self) {
        self.found.resize(2 * self.open, Found::NOTHING);
    }

    /// The fields found, by their places.
    #[inline(always)]
    fn in_order(
        &mut self,
        message: &Message<'c, 'b>,
        seen: Seen,
        place: &mut Value,
    ) -> Result<(), Fail> {
        let Message {
            plan,
            bytes,
            start,
            depth,
            ..
        } = *message;
        // The outermost gets its kind and version besides.
        let room = plan.spare + if depth == 1 { 2 } else { 0 };
        // A few too many: what is always written may have been found, too.
        let entries = place.open_object(seen.fields + plan.always + room);
        let mut leaves = 0;
        let mut left = seen.places | plan.always_bits;
        while left != 0 {
            let i = left.trailing_zeros() as usize;
            left &= left - 1;
            let (Some(slot), Some(found)) = (plan.slots.get(i), self.found.get(start + i)) else {
                break;
            };
            let found = *found;
            let value = slot.open(entries);
            if seen.places >> i & 1 == 0 {
                if let Some(unset) = plan.unset.get(i) {
                    value.put_copy(unset);
                }
                continue;
            }
            let keep = match slot.what {
                What::Text
                    if found.is_one(BYTES)
                        && let Some(part) = found.content(bytes)
                        && self.ascii.put(part, value) =>
                {
                    leaves += 1;
                    !(slot.omit && part.is_empty())
                }
                What::Struct
                    if found.is_one(BYTES)
                        && let Some(content) = found.content(bytes) =>
                {
                    self.structure(slot.ty, content, depth, value)?;
                    !(slot.omit && matches!(value, Value::Object(map) if map.is_empty()))
                }
                What::Bool if found.is_one(VARINT) => {
                    leaves += 1;
                    value.put(Value::Bool(found.content != 0));
                    !(slot.omit && found.content == 0)
                }
                // Go keeps the low half.
                What::Int32 if found.is_one(VARINT) => {
                    leaves += 1;
                    value.put(Value::Int(i64::from(found.content as i32)));
                    !(slot.omit && found.content as i32 == 0)
                }
                What::Int64 if found.is_one(VARINT) => {
                    leaves += 1;
                    value.put(Value::Int(found.content.cast_signed()));
                    !(slot.omit && found.content == 0)
                }
                _ => self.deep(message, slot, i, &mut Items::of(found, bytes), value)?,
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
        place: usize,
        items: &mut Items<'_, 'b>,
        value: &mut Value,
    ) -> Result<bool, Fail> {
        let depth = message.depth;
        match slot.what {
            What::Structs => {
                for item in value.open_array(items.left) {
                    let found = items.next();
                    let content = match found.kind() {
                        BYTES => found.content(message.bytes),
                        _ => None,
                    };
                    let Some(content) = content else {
                        return Err(found.wire(message.bytes).wrong(slot.key()));
                    };
                    self.structure(slot.ty, content, depth, item)?;
                }
                Ok(true)
            }
            What::Texts => {
                for item in value.open_array(items.left) {
                    let found = items.next();
                    if found.kind() == BYTES
                        && let Some(part) = found.content(message.bytes)
                        && self.ascii.put(part, item)
                    {
                        self.count(depth)?;
                    } else {
                        let wire = found.wire(message.bytes);
                        self.fill(slot.ty, wire, slot.key(), depth, item)?;
                    }
                }
                Ok(true)
            }
            What::Map => {
                self.map(slot.key(), slot.ty, items, depth, value)?;
                Ok(true)
            }
            _ => match self.types.structure(message.id) {
                Some(s) => self.field(&s.fields[place], items, depth, value),
                None => Ok(false),
            },
        }
    }

    /// What Go writes for a field though nothing said it.
    fn unset(&self, s: &'c Struct, place: u16, entries: &mut Vec<Entry>) {
        *s.open(place, entries) = unset(self.types, &s.fields[usize::from(place)]);
    }

    /// Reads a message whose fields are in no order.
    #[cold]
    #[inline(never)]
    fn scattered(&mut self, message: &Message<'c, 'b>, place: &mut Value) -> Result<(), Fail> {
        let Some(s) = self.types.structure(message.id) else {
            return Ok(());
        };
        let before = self.scattered;
        let mut found = Vec::new();
        self.find_all(s, [0, 0], message.bytes, 0..message.bytes.len(), &mut found)?;
        found.sort_by_key(|(place, _)| *place);
        let different = found.chunk_by(|(a, _), (b, _)| a == b);
        let room = different.clone().count() + s.always().len() + s.spare();
        let entries = place.open_object(room);
        let mut always = s.always();
        for found in different {
            let [(place, first), others @ ..] = found else {
                continue;
            };
            while let [next, rest @ ..] = always
                && next <= place
            {
                if next < place {
                    self.unset(s, *next, entries);
                }
                always = rest;
            }
            let items = &mut Items {
                message: message.bytes,
                next: *first,
                left: found.len(),
                others,
            };
            let value = s.open(*place, entries);
            if !self.field(&s.fields[usize::from(*place)], items, message.depth, value)? {
                entries.pop();
            }
        }
        for next in always {
            self.unset(s, *next, entries);
        }
        self.scattered = before;
        Ok(())
    }

    /// Finds all fields of a message, or of one inside that JSON inlines, with their places.
    fn find_all(
        &mut self,
        s: &Struct,
        outer: [u8; 2],
        bytes: &'b [u8],
        range: Range<usize>,
        all: &mut Vec<(u16, Found)>,
    ) -> Result<(), Fail> {
        let mut at = range.start;
        while at < range.end {
            let (field, next) = one(s, outer, bytes, at..range.end)?;
            match field {
                One::Unknown => {}
                One::Message(inner, content) => self.find_all(s, inner, bytes, content, all)?,
                One::Field(place, found) => {
                    self.scattered += 1;
                    if self.scattered > limits::MAX_NODES {
                        return Err(too_many());
                    }
                    all.push((place, found));
                }
            }
            at = next;
        }
        Ok(())
    }

    /// Finds the fields of a message.
    #[inline(always)]
    fn scan(&mut self, message: &Message<'c, 'b>) -> Result<Seen, Long> {
        let Message {
            plan, bytes, start, ..
        } = *message;
        if plan.many {
            return Err(None);
        }
        let mut seen = Seen {
            places: 0,
            fields: 0,
            last: NONE,
        };
        let mut at = 0;
        while at < bytes.len() {
            let Some((place, found)) = short(&plan.by_key, bytes, at) else {
                // A copy: what is seen elsewhere is kept in memory.
                let mut now = seen;
                at = self.long(message, [0, 0], at..bytes.len(), &mut now)?;
                seen = now;
                continue;
            };
            at = found.end();
            if place >= MAX_FIELDS {
                let mut now = seen;
                self.inlined(message, place - MAX_FIELDS, found, &mut now)?;
                seen = now;
                continue;
            }
            let Some(first) = self.found.get_mut(start + place) else {
                return Err(None);
            };
            note(&mut seen, place, found, first)?;
        }
        Ok(seen)
    }

    /// Finds the fields of a message that JSON inlines.
    #[inline(never)]
    fn inlined(
        &mut self,
        message: &Message<'c, 'b>,
        which: usize,
        found: Found,
        seen: &mut Seen,
    ) -> Result<(), Long> {
        let Some(inlined) = message.plan.inlined.get(which) else {
            return Err(None);
        };
        let bytes = message.bytes.get(..found.end()).unwrap_or_default();
        let mut at = bytes.len() - found.content as usize;
        seen.last = NONE;
        while at < bytes.len() {
            let Some((place, found)) = short(&inlined.by_key, bytes, at) else {
                at = self.long(message, [inlined.tag, 0], at..bytes.len(), seen)?;
                continue;
            };
            at = found.end();
            let Some(first) = self.found.get_mut(message.start + place) else {
                return Err(None);
            };
            note(seen, place, found, first)?;
        }
        seen.last = NONE;
        Ok(())
    }

    /// Finds one field, or those of a message that JSON inlines. Gives back what is behind it.
    #[inline(never)]
    fn long(
        &mut self,
        message: &Message<'c, 'b>,
        outer: [u8; 2],
        range: Range<usize>,
        seen: &mut Seen,
    ) -> Result<usize, Long> {
        let Some(s) = self.types.structure(message.id) else {
            return Err(None);
        };
        let (field, next) = one(s, outer, message.bytes, range)?;
        match field {
            One::Unknown => seen.last = NONE,
            One::Message(inner, content) => {
                seen.last = NONE;
                let mut at = content.start;
                while at < content.end {
                    at = self.long(message, inner, at..content.end, seen)?;
                }
                seen.last = NONE;
            }
            One::Field(place, found) => {
                let place = usize::from(place);
                let Some(first) = self.found.get_mut(message.start + place) else {
                    return Err(None);
                };
                note(seen, place, found, first)?;
            }
        }
        Ok(next)
    }

    /// Reads a field from what was found; `false` when Go leaves it out.
    fn field(
        &mut self,
        field: &'c Field,
        items: &mut Items<'_, 'b>,
        depth: usize,
        value: &mut Value,
    ) -> Result<bool, Fail> {
        let shape = self.types.get(field.ty);
        match shape {
            Shape::List(list) if !list.wrapped => self.list(field, list, items, depth, value)?,
            Shape::Map(item) => self.map(&field.json, *item, items, depth, value)?,
            _ => {
                // The last one counts.
                while items.left > 0 {
                    let wire = items.next().wire(items.message);
                    self.fill(field.ty, wire, &field.json, depth, value)?;
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
        items: &mut Items<'_, 'b>,
        depth: usize,
        place: &mut Value,
    ) -> Result<(), Fail> {
        let shape = self.types.get(list.item);
        if let Shape::Int32 | Shape::Int64 | Shape::Bool = shape {
            let values = place.open_array(0);
            while items.left > 0 {
                let wire = items.next().wire(items.message);
                self.items(list, wire, &field.json, depth, values)?;
            }
            return Ok(());
        }
        for value in place.open_array(items.left) {
            let wire = items.next().wire(items.message);
            self.fill(list.item, wire, &field.json, depth, value)?;
        }
        Ok(())
    }

    fn map(
        &mut self,
        name: &str,
        item: TypeId,
        items: &mut Items<'_, 'b>,
        depth: usize,
        place: &mut Value,
    ) -> Result<(), Fail> {
        let quantities = matches!(self.types.get(item), Shape::Quantity);
        let texts = matches!(self.types.get(item), Shape::String);
        let pairs = place.open_object(items.left);
        pairs.resize_with(items.left, || Entry::EMPTY);
        for entry in pairs {
            let found = items.next();
            if found.kind() == BYTES
                && let Some(pair) = found.content(items.message)
                && let Some((key, value)) = plain_pair(pair)
                && let Some(text) = match (texts, quantities) {
                    (true, _) => Some(value),
                    (_, true) => self.plain_quantity(value),
                    _ => None,
                }
                && self.ascii.put_key(key, entry)
                && self.ascii.put(text, entry.value_mut())
            {
                self.count(depth)?;
                continue;
            }
            let pair = found.wire(items.message).bytes(name)?;
            self.pair(entry, item, pair, name, depth)?;
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
                let plain = text == b"0" || crate::quantity::is_plain(self.ascii.text(text)?);
                plain.then_some(text)
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

//! Where the fields of a message are, found before any of them is decoded.

use super::wire::{BYTES, Fail, Reader, VARINT, Wire, long_varint};
use crate::catalogue::decoding::ByKey;
use crate::catalogue::{Struct, Tagged};
use crate::{ApiError, limits};
use std::ops::Range;

/// A field that was seen and not yet decoded.
// Two words, written and read as such: other pieces of what was written a moment ago are slow to read.
#[derive(Clone, Copy)]
pub(super) struct Found {
    /// the kind of wire, how often it came again in a row (from bit 8 on), and where it ends in its
    /// message (from bit 32 on)
    what: u64,
    /// the number; or how many bytes
    pub(super) content: u64,
}

// Positions are smaller than that, and so is what may come again.
const _: () = assert!(limits::MAX_BODY < 1 << 31 && limits::MAX_NODES + 1 < 1 << 24);

impl Found {
    pub(super) const NOTHING: Self = Self::new(VARINT, 0, 0);

    #[inline(always)]
    pub(super) const fn new(kind: u8, end: usize, content: u64) -> Self {
        Self {
            what: kind as u64 | (end as u64) << 32,
            content,
        }
    }

    /// One that ends there.
    pub(super) fn of(wire: Wire<'_>, end: usize) -> Self {
        let content = match wire.kind {
            BYTES => wire.content.len() as u64,
            _ => wire.number,
        };
        Self::new(wire.kind, end, content)
    }

    #[inline(always)]
    pub(super) fn again(&mut self) {
        self.what += 1 << 8;
    }

    /// Whether this came once, as this kind of wire.
    #[inline(always)]
    pub(super) fn is_one(self, kind: u8) -> bool {
        self.what as u32 == u32::from(kind)
    }

    #[inline(always)]
    pub(super) fn kind(self) -> u8 {
        self.what as u8
    }

    pub(super) fn times_again(self) -> usize {
        (self.what as u32 >> 8) as usize
    }

    #[inline(always)]
    pub(super) fn end(self) -> usize {
        (self.what >> 32) as usize
    }

    /// What there is of bytes, in the message that they were found in.
    #[inline(always)]
    pub(super) fn content(self, message: &[u8]) -> Option<&[u8]> {
        let end = self.end();
        message.get(end.wrapping_sub(self.content as usize)..end)
    }

    #[inline]
    pub(super) fn wire(self, message: &[u8]) -> Wire<'_> {
        match self.kind() {
            BYTES => Wire::of_bytes(self.content(message).unwrap_or_default()),
            kind => Wire::of_number(kind, self.content),
        }
    }
}

/// What one field was found with: mostly once, or several times in a row.
// Given out in two words: what is more than that goes through memory, for which processors wait.
pub(super) struct Items<'f, 'b> {
    pub(super) message: &'b [u8],
    pub(super) next: Found,
    /// the next and how many behind it
    pub(super) left: usize,
    /// those behind the next that are elsewhere, with their places
    pub(super) others: &'f [(u16, Found)],
}

impl<'b> Items<'_, 'b> {
    #[inline(always)]
    pub(super) fn of(first: Found, message: &'b [u8]) -> Self {
        Self {
            message,
            next: first,
            left: 1 + first.times_again(),
            others: &[],
        }
    }

    /// The next one; there are some left.
    #[inline(always)]
    pub(super) fn next(&mut self) -> Found {
        let next = self.next;
        self.left = self.left.saturating_sub(1);
        if self.left > 0 {
            self.next = self.behind(next);
        }
        next
    }

    #[inline(never)]
    fn behind(&mut self, found: Found) -> Found {
        let (message, at) = (self.message, found.end());
        if self.others.is_empty()
            && let Some([key @ 0..0x80, len @ 0..0x80]) = message.get(at..at + 2)
            && key & 7 == BYTES
        {
            let len = usize::from(*len);
            return Found::new(BYTES, at + 2 + len, len as u64);
        }
        self.far_behind(found)
    }

    #[inline(never)]
    fn far_behind(&mut self, found: Found) -> Found {
        if let [(_, next), others @ ..] = self.others {
            self.others = others;
            return *next;
        }
        let (message, at) = (self.message, found.end());
        let mut reader = Reader::new(message.get(at..).unwrap_or_default());
        match reader.field() {
            Ok((_, wire)) => Found::of(wire, message.len() - reader.left()),
            // It was read before.
            Err(_) => found,
        }
    }
}

/// Which fields one message has: fields of a struct are few, and what is to be written, in which
/// order, is known before anything is decoded. So every value is made where it stays, in an object
/// of the right size.
#[derive(Clone, Copy)]
pub(super) struct Seen {
    /// places, as bits
    pub(super) places: u64,
    /// how many
    pub(super) fields: usize,
    /// the place of the field right before
    pub(super) last: usize,
}

/// No place.
pub(super) const NONE: usize = usize::MAX;

/// Why a message is not read the short way: it cannot be read at all, or a field came again after
/// others.
pub(super) type Long = Option<Fail>;

/// Notes a field behind those that were seen; `first` is where it was found first.
#[inline(always)]
pub(super) fn note(
    seen: &mut Seen,
    place: usize,
    found: Found,
    first: &mut Found,
) -> Result<(), Long> {
    let bit = 1_u64 << (place & 63);
    if seen.places & bit == 0 {
        seen.places |= bit;
        seen.fields += 1;
        seen.last = place;
        *first = found;
        return Ok(());
    }
    if seen.last != place {
        return Err(None);
    }
    first.again();
    if first.times_again() > limits::MAX_NODES {
        return Err(Some(too_many()));
    }
    Ok(())
}

/// The field at `at` and its place, if its first byte (and a 1 behind it) says which it is.
#[inline(always)]
pub(super) fn short(by_key: &ByKey, bytes: &[u8], at: usize) -> Option<(usize, Found)> {
    let key = *bytes.get(at)?;
    let place = by_key.place(key)?;
    let mut at = at + 1;
    if key >= 0x80 {
        if *bytes.get(at)? != 1 {
            return None;
        }
        at += 1;
    }
    let mut number = u64::from(*bytes.get(at)?);
    if number < 0x80 {
        at += 1;
    } else if let Some(high @ 0..0x80) = bytes.get(at + 1) {
        number = number & 0x7f | u64::from(*high) << 7;
        at += 2;
    } else {
        let used;
        (number, used) = long_varint(bytes.get(at..)?);
        if used == 0 {
            return None;
        }
        at += used;
    }
    let mut kind = VARINT;
    if key & 7 == BYTES {
        if number > (bytes.len() - at) as u64 {
            return None;
        }
        kind = BYTES;
        at += number as usize;
    }
    Some((place.into(), Found::new(kind, at, number)))
}

/// What one field of a message is.
pub(super) enum One {
    Unknown,
    /// inlined by JSON: which one, and where its fields are
    Message([u8; 2], Range<usize>),
    /// a place in the struct
    Field(u16, Found),
}

/// The field that a part of `bytes` begins with, in an inlined message or none, and where it ends.
pub(super) fn one(
    s: &Struct,
    outer: [u8; 2],
    bytes: &[u8],
    range: Range<usize>,
) -> Result<(One, usize), Fail> {
    let mut reader = Reader::new(bytes.get(range.clone()).unwrap_or_default());
    let (tag, wire) = reader.field()?;
    let end = range.end - reader.left();
    let field = match s.tagged(outer, tag) {
        // Fields of a newer version are skipped, as in Go.
        Tagged::Unknown => One::Unknown,
        Tagged::Message(inner) => {
            let content = wire.bytes("")?;
            One::Message(inner, end - content.len()..end)
        }
        Tagged::Field(place) => One::Field(place, Found::of(wire, end)),
    };
    Ok((field, end))
}

#[cold]
pub(super) fn too_many() -> Fail {
    Fail::new(ApiError::too_large(format!(
        "the document has more than {} values",
        limits::MAX_NODES
    )))
}

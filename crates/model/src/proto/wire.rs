//! The protobuf wire: varints, tags and lengths, bounded by the bytes at hand.

use crate::ApiError;

pub(super) const VARINT: u8 = 0;
pub(super) const FIXED64: u8 = 1;
pub(super) const BYTES: u8 = 2;
pub(super) const FIXED32: u8 = 5;

/// Small, so that results are passed in few words.
pub(super) type Fail = Box<ApiError>;

#[cold]
pub(super) fn malformed(what: &str) -> Fail {
    Fail::new(ApiError::bad_request(format!("proto: {what}")))
}

/// Reads a message field by field.
pub(super) struct Reader<'a> {
    rest: &'a [u8],
}

/// The number that `bytes` begin with, and how many of them it takes; none when there is no number.
// Given back in two words: what is more than that, or changed in its place, goes through memory.
#[inline(always)]
fn varint(bytes: &[u8]) -> (u64, usize) {
    // One byte is what most tags, lengths and flags take.
    match bytes.first() {
        Some(b @ 0..0x80) => (u64::from(*b), 1),
        _ => long_varint(bytes),
    }
}

#[inline(never)]
pub(super) fn long_varint(bytes: &[u8]) -> (u64, usize) {
    let mut value = 0u64;
    for (i, b) in bytes.iter().take(10).enumerate() {
        value |= u64::from(b & 0x7f).checked_shl(7 * i as u32).unwrap_or(0);
        if *b < 0x80 {
            return match (i, b) {
                (9, 2..) => (0, 0),
                _ => (value, i + 1),
            };
        }
    }
    (0, 0)
}

/// What is wrong where no number is.
#[cold]
fn no_varint(bytes: &[u8]) -> Fail {
    malformed(if bytes.len() < 10 {
        "unexpected EOF"
    } else {
        "integer overflow"
    })
}

#[cold]
fn cut_short() -> Fail {
    malformed("unexpected EOF")
}

/// One field as it is on the wire.
// Words and no enum: a copy of an enum loads other pieces than were stored a moment ago, for which
// processors have to wait.
#[derive(Clone, Copy)]
pub(super) struct Wire<'a> {
    /// [`BYTES`], [`VARINT`] …
    pub(super) kind: u8,
    /// unless there are bytes
    pub(super) number: u64,
    pub(super) content: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(super) fn new(rest: &'a [u8]) -> Self {
        Self { rest }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// How many bytes were not read yet.
    pub(super) fn left(&self) -> usize {
        self.rest.len()
    }

    #[inline]
    pub(super) fn varint(&mut self) -> Result<u64, Fail> {
        let (value, used) = varint(self.rest);
        match self.rest.split_at_checked(used) {
            Some((_, rest)) if used > 0 => self.rest = rest,
            _ => return Err(no_varint(self.rest)),
        }
        Ok(value)
    }

    #[inline]
    fn take(&mut self, len: usize) -> Result<&'a [u8], Fail> {
        let Some((taken, rest)) = self.rest.split_at_checked(len) else {
            return Err(cut_short());
        };
        self.rest = rest;
        Ok(taken)
    }

    /// The next field's number and content.
    // Nothing here returns more than two words: what does goes through memory.
    #[inline(always)]
    pub(super) fn field(&mut self) -> Result<(u32, Wire<'a>), Fail> {
        let key = self.varint()?;
        let number = key >> 3;
        if !(1..=0x1FFF_FFFF).contains(&number) {
            return Err(illegal_tag(key));
        }
        let kind = (key & 7) as u8;
        let wire = match kind {
            BYTES => {
                let len = self.varint()?;
                Wire::of_bytes(self.take(usize::try_from(len).unwrap_or(usize::MAX))?)
            }
            VARINT => Wire::of_number(kind, self.varint()?),
            FIXED64 | FIXED32 => Wire::of_number(kind, self.fixed(kind)?),
            // Groups: nothing of Kubernetes writes them.
            other => return Err(illegal_kind(other)),
        };
        Ok((number as u32, wire))
    }

    fn fixed(&mut self, kind: u8) -> Result<u64, Fail> {
        let mut bits = [0; 8];
        let taken = self.take(if kind == FIXED64 { 8 } else { 4 })?;
        bits[..taken.len()].copy_from_slice(taken);
        Ok(u64::from_le_bytes(bits))
    }
}

#[cold]
fn illegal_tag(key: u64) -> Fail {
    let (number, kind) = (key >> 3, key & 7);
    if number > u32::MAX.into() {
        return malformed("illegal tag");
    }
    malformed(&format!("illegal tag {number} (wire type {kind})"))
}

#[cold]
fn illegal_kind(kind: u8) -> Fail {
    malformed(&format!("illegal wireType {kind}"))
}

impl<'a> Wire<'a> {
    pub(super) fn of_bytes(content: &'a [u8]) -> Self {
        Self {
            kind: BYTES,
            number: 0,
            content,
        }
    }

    pub(super) fn of_number(kind: u8, number: u64) -> Self {
        Self {
            kind,
            number,
            content: &[],
        }
    }

    pub(super) fn bytes(self, field: &str) -> Result<&'a [u8], Fail> {
        if self.kind == BYTES {
            Ok(self.content)
        } else {
            Err(self.wrong(field))
        }
    }

    pub(super) fn integer(self, field: &str) -> Result<i64, Fail> {
        if self.kind == VARINT {
            Ok(self.number.cast_signed())
        } else {
            Err(self.wrong(field))
        }
    }

    #[cold]
    pub(super) fn wrong(self, field: &str) -> Fail {
        malformed(&format!("wrong wireType = {} for field {field}", self.kind))
    }
}

pub(super) fn put_varint(mut value: u64, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

pub(super) fn put_tag(number: u32, wire: u8, out: &mut Vec<u8>) {
    put_varint(u64::from(number) << 3 | u64::from(wire), out);
}

pub(super) fn put_bytes(number: u32, bytes: &[u8], out: &mut Vec<u8>) {
    put_tag(number, BYTES, out);
    put_varint(bytes.len() as u64, out);
    out.extend_from_slice(bytes);
}

pub(super) fn put_integer(number: u32, value: i64, out: &mut Vec<u8>) {
    put_tag(number, VARINT, out);
    put_varint(value.cast_unsigned(), out);
}

/// Writes a nested message: its length is known only after `body` wrote it.
pub(super) fn put_message<E>(
    number: u32,
    out: &mut Vec<u8>,
    body: impl FnOnce(&mut Vec<u8>) -> Result<(), E>,
) -> Result<(), E> {
    put_tag(number, BYTES, out);
    let start = out.len();
    // Most messages are shorter than 128 bytes: one byte of length.
    out.push(0);
    body(out)?;
    let len = out.len() - start - 1;
    if len < 0x80 {
        out[start] = len as u8;
    } else {
        let mut prefix = Vec::with_capacity(5);
        put_varint(len as u64, &mut prefix);
        out.splice(start..=start, prefix);
    }
    Ok(())
}

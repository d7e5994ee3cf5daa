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
#[derive(Clone)]
pub(super) struct Reader<'a> {
    rest: &'a [u8],
}

/// One field as it is on the wire.
#[derive(Clone, Copy)]
pub(super) enum Wire<'a> {
    Varint(u64),
    Fixed64(u64),
    Bytes(&'a [u8]),
    Fixed32(u32),
}

impl<'a> Reader<'a> {
    pub(super) fn new(rest: &'a [u8]) -> Self {
        Self { rest }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    #[inline]
    pub(super) fn varint(&mut self) -> Result<u64, Fail> {
        // One byte is what most tags, lengths and flags take.
        if let [b @ 0..0x80, rest @ ..] = self.rest {
            self.rest = rest;
            return Ok(u64::from(*b));
        }
        self.long_varint()
    }

    fn long_varint(&mut self) -> Result<u64, Fail> {
        let mut value = 0u64;
        for (i, b) in self.rest.iter().take(10).enumerate() {
            value |= u64::from(b & 0x7f).checked_shl(7 * i as u32).unwrap_or(0);
            if *b < 0x80 {
                if i == 9 && *b > 1 {
                    break;
                }
                self.rest = &self.rest[i + 1..];
                return Ok(value);
            }
        }
        Err(malformed(if self.rest.len() < 10 {
            "unexpected EOF"
        } else {
            "integer overflow"
        }))
    }

    fn take(&mut self, len: usize) -> Result<&'a [u8], Fail> {
        let Some((taken, rest)) = self.rest.split_at_checked(len) else {
            return Err(malformed("unexpected EOF"));
        };
        self.rest = rest;
        Ok(taken)
    }

    /// How often `number` follows at once with bytes, up to a bound.
    pub(super) fn ahead(&self, number: u32) -> usize {
        const MOST: usize = 1024;
        let mut reader = self.clone();
        let more = |_: &usize| {
            !reader.is_empty()
                && reader.varint().ok() == Some(u64::from(number) << 3 | u64::from(BYTES))
                && reader
                    .varint()
                    .is_ok_and(|len| usize::try_from(len).is_ok_and(|len| reader.take(len).is_ok()))
        };
        (0..MOST).take_while(more).count()
    }

    /// The content of the next field if it has this number again.
    pub(super) fn again(&mut self, number: u32) -> Result<Option<Wire<'a>>, Fail> {
        if self.is_empty() {
            return Ok(None);
        }
        let mut next = self.clone();
        match next.varint() {
            Ok(key) if key >> 3 == u64::from(number) => self.field().map(|(_, wire)| Some(wire)),
            _ => Ok(None),
        }
    }

    /// The next field's number and content.
    #[inline]
    pub(super) fn field(&mut self) -> Result<(u32, Wire<'a>), Fail> {
        let key = self.varint()?;
        let number = u32::try_from(key >> 3).map_err(|_| malformed("illegal tag"))?;
        if number == 0 || number > 0x1FFF_FFFF {
            return Err(malformed(&format!(
                "illegal tag {number} (wire type {})",
                key & 7
            )));
        }
        let wire = match (key & 7) as u8 {
            VARINT => Wire::Varint(self.varint()?),
            FIXED64 => {
                let bytes = self.take(8)?;
                Wire::Fixed64(u64::from_le_bytes(bytes.try_into().unwrap_or_default()))
            }
            BYTES => {
                let len = self.varint()?;
                Wire::Bytes(
                    self.take(usize::try_from(len).map_err(|_| malformed("unexpected EOF"))?)?,
                )
            }
            FIXED32 => {
                let bytes = self.take(4)?;
                Wire::Fixed32(u32::from_le_bytes(bytes.try_into().unwrap_or_default()))
            }
            // Groups: nothing of Kubernetes writes them.
            other => return Err(malformed(&format!("illegal wireType {other}"))),
        };
        Ok((number, wire))
    }
}

impl<'a> Wire<'a> {
    fn kind(self) -> u8 {
        match self {
            Self::Varint(_) => VARINT,
            Self::Fixed64(_) => FIXED64,
            Self::Bytes(_) => BYTES,
            Self::Fixed32(_) => FIXED32,
        }
    }

    pub(super) fn bytes(self, field: &str) -> Result<&'a [u8], Fail> {
        if let Self::Bytes(b) = self {
            Ok(b)
        } else {
            Err(self.wrong(field))
        }
    }

    pub(super) fn integer(self, field: &str) -> Result<i64, Fail> {
        if let Self::Varint(v) = self {
            Ok(v.cast_signed())
        } else {
            Err(self.wrong(field))
        }
    }

    pub(super) fn wrong(self, field: &str) -> Fail {
        malformed(&format!(
            "wrong wireType = {} for field {field}",
            self.kind()
        ))
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

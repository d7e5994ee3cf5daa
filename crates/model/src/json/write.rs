//! [`Value`] to JSON.

use super::{HIGH, ONES, digits, write_float, write_string};
use crate::Value;
use crate::value::prefix;

/// Encodes deterministically (keys ascending, no spaces).
pub fn write(value: &Value, out: &mut Vec<u8>) {
    let start = out.len();
    let mut writer = Writer {
        out,
        start,
        at: start,
    };
    writer.value(value);
    let end = writer.at;
    out.truncate(end);
}

/// Writes into room that is already there: growing a vector for every piece takes longer than
/// writing it.
struct Writer<'a> {
    /// what is behind `at` is room
    out: &'a mut Vec<u8>,
    start: usize,
    at: usize,
}

impl Writer<'_> {
    fn value(&mut self, value: &Value) {
        match value {
            Value::Null => self.bytes(b"null"),
            Value::Bool(true) => self.bytes(b"true"),
            Value::Bool(false) => self.bytes(b"false"),
            Value::Int(i @ 0..10) => self.byte(b'0' + *i as u8),
            Value::Int(i) => self.bytes(digits(*i, &mut [0; 20])),
            Value::Float(f) => {
                let mut text = Vec::new();
                write_float(*f, &mut text);
                self.bytes(&text);
            }
            Value::String(s) => {
                self.string(prefix(s), s, b' ');
                self.at -= 1;
            }
            Value::Array(items) => {
                self.byte(b'[');
                for item in items {
                    self.member(item);
                }
                self.close(items.is_empty(), b']');
            }
            Value::Object(map) => {
                self.byte(b'{');
                for (prefix, key, item) in map.iter_known() {
                    self.string(prefix, key, b':');
                    self.member(item);
                }
                self.close(map.is_empty(), b'}');
            }
        }
    }

    /// A value and a comma.
    #[inline]
    fn member(&mut self, value: &Value) {
        match value {
            Value::String(s) => self.string(prefix(s), s, b','),
            Value::Int(i @ 0..10) => {
                self.byte(b'0' + *i as u8);
                self.byte(b',');
            }
            other => {
                self.value(other);
                self.byte(b',');
            }
        }
    }

    /// Puts `end` in the place of the comma behind the last member.
    fn close(&mut self, empty: bool, end: u8) {
        if empty {
            self.byte(end);
        } else {
            self.out[self.at - 1] = end;
        }
    }

    /// Makes so much room from `at` on. It grows with what was written here, not with what was there
    /// before: many values may be written to one vector.
    #[cold]
    #[inline(never)]
    fn grow(&mut self, bytes: usize) {
        let more = bytes.max(self.at - self.start).max(1024);
        self.out.resize(self.at + more, 0);
    }

    #[inline]
    fn byte(&mut self, byte: u8) {
        if self.at == self.out.len() {
            self.grow(1);
        }
        self.out[self.at] = byte;
        self.at += 1;
    }

    fn bytes(&mut self, bytes: &[u8]) {
        let end = self.at + bytes.len();
        if end > self.out.len() {
            self.grow(bytes.len());
        }
        self.out[self.at..end].copy_from_slice(bytes);
        self.at = end;
    }

    /// Writes a text, whose [`prefix`] is known, and the byte behind it.
    #[inline]
    fn string(&mut self, prefix: u64, s: &str, behind: u8) {
        let bytes = s.as_bytes();
        let n = bytes.len();
        // Short texts are written in whole words: what is too much is written over.
        let end = self.at + n + 2 + WORD;
        if end > self.out.len() {
            self.grow(n + 2 + WORD);
        }
        let room = &mut self.out[self.at..end];
        room[0] = b'"';
        let odd = if n <= WORD {
            if let Some(place) = room[1..].first_chunk_mut() {
                *place = prefix.to_be_bytes();
            }
            let filled = u64::from_be_bytes([b' '; 8]).checked_shr(8 * n as u32);
            odd_bytes(prefix | filled.unwrap_or(0))
        } else {
            copy_words(bytes, &mut room[1..=n])
        };
        if odd & HIGH == 0 {
            room[n + 1] = b'"';
            room[n + 2] = behind;
            self.at += n + 3;
        } else {
            let mut text = Vec::new();
            write_string(s, &mut text);
            self.bytes(&text);
            self.byte(behind);
        }
    }
}

/// Copies a word or more; the result has a bit of [`HIGH`] when something may have to be escaped.
// Most texts are of two or three words: the last word may be copied with what was before.
#[inline]
fn copy_words(from: &[u8], to: &mut [u8]) -> u64 {
    let n = from.len();
    let mut copy = |at: usize| match (
        from.get(at..).and_then(|from| from.first_chunk::<WORD>()),
        to.get_mut(at..).and_then(|to| to.first_chunk_mut::<WORD>()),
    ) {
        (Some(word), Some(place)) => {
            *place = *word;
            odd_bytes(u64::from_ne_bytes(*word))
        }
        _ => HIGH,
    };
    let mut odd = copy(0) | copy(n.saturating_sub(WORD));
    let mut at = WORD;
    while at + WORD < n {
        odd |= copy(at);
        at += WORD;
    }
    odd
}

const WORD: usize = 8;

/// Has a bit of [`HIGH`] when one of eight bytes may have to be escaped.
#[inline(always)]
fn odd_bytes(eight: u64) -> u64 {
    let same = |bits: u8, byte: u8| {
        let v = (eight | (ONES * u64::from(bits))) ^ (ONES * u64::from(byte));
        v.wrapping_sub(ONES) & !v
    };
    let control = eight.wrapping_sub(ONES * 0x20) & !eight;
    // `<`, `>` and `\` are the same but for three bits (and so are `^`, `|` and `~`), `"` and `&` but
    // for one; beyond ASCII may be U+2028.
    same(0x62, b'~') | same(4, b'&') | control | eight
}

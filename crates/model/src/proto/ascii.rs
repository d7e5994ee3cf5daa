//! Which parts of a document are ASCII, found out for all of them at once.

use crate::Value;
use crate::value::{Entry, WINDOW};

/// A document with the highest bit of every byte cleared, which is text. Wherever it says the same
/// as the document, so is that.
pub(super) struct Ascii {
    text: String,
    /// nothing is beyond
    plain: bool,
    /// by byte of the document, a bit where it is no ASCII
    beyond: Vec<u8>,
    /// of the document: only ever subtracted from the address of a part of it
    address: usize,
}

impl Ascii {
    pub(super) fn of(document: &[u8]) -> Self {
        let plain = document.is_ascii();
        let mut text = Vec::with_capacity(document.len() + WINDOW);
        if plain {
            text.extend_from_slice(document);
        } else {
            text.extend(document.iter().map(|b| b & 0x7f));
        }
        // so that short pieces are taken with what is behind them
        text.extend([0; WINDOW]);
        let address = document.as_ptr().addr();
        if plain {
            return Self {
                text: String::from_utf8(text).unwrap_or_default(),
                plain,
                beyond: Vec::new(),
                address,
            };
        }
        let (eights, rest) = document.as_chunks::<8>();
        let mut last = [0; 8];
        last[..rest.len()].copy_from_slice(rest);
        let mut beyond = Vec::with_capacity(eights.len() + 8);
        beyond.extend(eights.iter().map(highest_bits));
        // so that the bits of short pieces are taken as one word
        beyond.extend([highest_bits(&last), 0, 0, 0, 0, 0, 0, 0]);
        Self {
            text: String::from_utf8(text).unwrap_or_default(),
            plain,
            beyond,
            address,
        }
    }

    #[inline(always)]
    fn start(&self, part: &[u8]) -> usize {
        part.as_ptr().addr().wrapping_sub(self.address)
    }

    /// Whether a part of the document is ASCII.
    #[inline(always)]
    fn has(&self, start: usize, part: &[u8]) -> bool {
        if self.plain {
            // Parts of something else there are none.
            return start < self.text.len() && part.len() <= self.text.len() - start;
        }
        if part.len() > WINDOW {
            let text = self.text.as_bytes().get(start..start + part.len());
            return text.is_some_and(|text| text == part);
        }
        let bits = self.beyond.get(start / 8..);
        match bits.and_then(|bits| bits.first_chunk()) {
            Some(bits) => u64::from_le_bytes(*bits) >> (start % 8) & ((1 << part.len()) - 1) == 0,
            None => false,
        }
    }

    /// The text of a part of the document, if it is ASCII.
    #[inline]
    pub(super) fn text(&self, part: &[u8]) -> Option<&str> {
        let start = self.start(part);
        if part.is_empty() {
            return Some("");
        }
        if !self.has(start, part) {
            return None;
        }
        self.text.get(start..start + part.len())
    }

    /// Makes null the text of a part of the document, if it is ASCII; otherwise it stays null.
    #[inline(always)]
    pub(super) fn put(&self, part: &[u8], place: &mut Value) -> bool {
        let start = self.start(part);
        let is_text = part.is_empty() || self.has(start, part);
        if is_text {
            let start = if part.is_empty() { 0 } else { start };
            place.put_piece(&self.text, start, part.len());
        }
        is_text
    }

    /// The same for a key that is empty.
    #[inline(always)]
    pub(super) fn put_key(&self, part: &[u8], entry: &mut Entry) -> bool {
        let start = self.start(part);
        let is_text = !part.is_empty() && self.has(start, part);
        if is_text {
            entry.put_key_piece(&self.text, start, part.len());
        }
        is_text || part.is_empty()
    }
}

#[inline]
fn highest_bits(eight: &[u8; 8]) -> u8 {
    let lowest = (u64::from_le_bytes(*eight) >> 7) & 0x0101_0101_0101_0101;
    // The product has the lowest bit of byte n at bit 56 + n.
    (lowest.wrapping_mul(0x0102_0408_1020_4080) >> 56) as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_ascii_is_text() {
        let document = "plain, caf\u{e9} \u{2028} and plain again".as_bytes();
        let ascii = Ascii::of(document);
        for start in 0..=document.len() {
            for end in start..=document.len() {
                let part = &document[start..end];
                let want = std::str::from_utf8(part).ok().filter(|t| t.is_ascii());
                assert_eq!(ascii.text(part), want);
            }
        }
        // not of this document
        assert_eq!(ascii.text(b"another text"), None);
    }
}

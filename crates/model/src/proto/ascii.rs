//! Which parts of a document are ASCII, found out for all of them at once.

use crate::value::alike;

/// A document with the highest bit of every byte cleared, which is text. Wherever it says the same
/// as the document, so is that.
pub(super) struct Ascii {
    text: String,
    /// of the document: only ever subtracted from the address of a part of it
    address: usize,
}

impl Ascii {
    pub(super) fn of(document: &[u8]) -> Self {
        let text: Vec<u8> = document.iter().map(|b| b & 0x7f).collect();
        Self {
            text: String::from_utf8(text).unwrap_or_default(),
            address: document.as_ptr().addr(),
        }
    }

    /// The text of a part of the document, if it is ASCII.
    #[inline]
    pub(super) fn text(&self, part: &[u8]) -> Option<&str> {
        let start = part.as_ptr().addr().wrapping_sub(self.address);
        let text = self.text.get(start..start.checked_add(part.len())?)?;
        alike(text.as_bytes(), part).then_some(text)
    }
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

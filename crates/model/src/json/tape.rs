//! Where the values of a document are, found out before any of them is made: what is known then
//! about sizes lets every value be made where it stays.

use super::Parser;
use crate::value::{Entry, prefix_at};
use crate::{Value, limits};
use std::borrow::Cow;

/// A value or a key. One more token follows those of objects and lists, whose `start` is the token
/// behind the last member.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Token {
    pub(super) start: u32,
    what: u32,
}

// Positions and sizes are smaller than that.
const _: () = assert!(limits::MAX_BODY < 1 << 24 && limits::MAX_NODES < 1 << 24);

/// What a text with escapes is, instead of its first byte.
const ESCAPED: u8 = b'\\';

impl Token {
    #[inline]
    fn new(first: u8, start: usize, size: usize) -> Self {
        Self {
            start: start as u32,
            what: u32::from(first) << 24 | size as u32,
        }
    }

    /// The first byte, which says what it is.
    #[inline]
    pub(super) fn first(self) -> u8 {
        (self.what >> 24) as u8
    }

    /// Texts: bytes between the quotes; numbers and words: their bytes; objects and lists: members.
    #[inline]
    pub(super) fn size(self) -> usize {
        (self.what & 0xff_ffff) as usize
    }

    /// Behind a number.
    pub(super) fn end(self) -> usize {
        self.start as usize + self.size()
    }
}

pub(super) struct Tape<'a> {
    text: &'a str,
    tokens: Vec<Token>,
}

impl<'a> Tape<'a> {
    /// `None`: no JSON, or beyond a bound. Numbers and escapes are looked at when they are read.
    pub(super) fn of(text: &'a str) -> Option<Self> {
        let mut scanner = Scanner {
            bytes: text.as_bytes(),
            specials: specials(text.as_bytes()),
            at: 0,
            tokens: Vec::with_capacity(text.len() / 8 + 16),
        };
        scanner.document()?;
        Some(Self {
            text,
            tokens: scanner.tokens,
        })
    }

    #[inline]
    pub(super) fn token(&self, at: usize) -> Token {
        self.tokens[at]
    }

    /// The token behind a value and all that is in it.
    #[inline]
    pub(super) fn behind(&self, at: usize) -> usize {
        match self.tokens[at].first() {
            b'{' | b'[' => self.tokens[at + 1].start as usize,
            _ => at + 1,
        }
    }

    /// The text of a key or of a string; `None` when it has a wrong escape.
    #[inline]
    pub(super) fn string(&self, at: usize) -> Option<Cow<'a, str>> {
        match self.plain(self.tokens[at]) {
            Some(text) => Some(Cow::Borrowed(text)),
            None => self.escaped(at),
        }
    }

    /// The text of a string without escapes.
    #[inline]
    pub(super) fn plain(&self, token: Token) -> Option<&'a str> {
        if token.first() != b'"' {
            return None;
        }
        let start = token.start as usize + 1;
        self.text.get(start..start + token.size())
    }

    /// The same of a key, and its prefix.
    #[inline]
    pub(super) fn name(&self, token: Token) -> Option<(u64, &'a str)> {
        let prefix = prefix_at(self.text, token.start as usize + 1, token.size());
        Some((prefix, self.plain(token)?))
    }

    /// Makes null the text of a string without escapes.
    #[inline]
    pub(super) fn put(&self, token: Token, place: &mut Value) {
        place.put_piece(self.text, token.start as usize + 1, token.size());
    }

    /// The same for a key that is empty; `false`: there are escapes.
    #[inline]
    pub(super) fn put_key(&self, token: Token, entry: &mut Entry) -> bool {
        let plain = token.first() == b'"';
        if plain {
            entry.put_key_piece(self.text, token.start as usize + 1, token.size());
        }
        plain
    }

    #[cold]
    fn escaped(&self, at: usize) -> Option<Cow<'a, str>> {
        let mut parser = Parser::new(self.text, super::SENT);
        parser.pos = self.tokens[at].start as usize;
        parser.string().ok()
    }

    /// A positive integer of a few digits.
    #[inline]
    pub(super) fn small_integer(&self, token: Token) -> Option<i64> {
        let digits = self
            .text
            .as_bytes()
            .get(token.start as usize..token.end())?;
        if !(1..10).contains(&digits.len()) || (digits[0] == b'0' && digits.len() > 1) {
            return None;
        }
        digits.iter().try_fold(0, |n, b| {
            let digit = b.wrapping_sub(b'0');
            (digit < 10).then_some(n * 10 + i64::from(digit))
        })
    }
}

struct Scanner<'a> {
    bytes: &'a [u8],
    specials: Vec<u64>,
    at: usize,
    tokens: Vec<Token>,
}

/// An object or list that is not closed yet.
struct Open {
    token: usize,
    members: usize,
    /// what closes it; 0 for the document
    end: u8,
}

impl Scanner<'_> {
    #[inline]
    fn skip_space(&mut self) -> u8 {
        while let Some(next) = self.bytes.get(self.at) {
            match next {
                b' ' | b'\n' | b'\t' | b'\r' => self.at += 1,
                other => return *other,
            }
        }
        0
    }

    fn document(&mut self) -> Option<()> {
        let mut around: Vec<Open> = Vec::with_capacity(16);
        let mut open = Open {
            token: 0,
            members: 0,
            end: 0,
        };
        for _ in 0..limits::MAX_NODES {
            let first = self.skip_space();
            match first {
                b'"' => self.string()?,
                b'{' | b'[' => {
                    if around.len() == limits::MAX_DEPTH {
                        return None;
                    }
                    let token = self.tokens.len();
                    self.tokens.push(Token::new(first, self.at, 0));
                    self.tokens.push(Token::new(0, token + 2, 0));
                    self.at += 1;
                    // `]` and `}` come two behind their opposites.
                    let end = first + 2;
                    if self.skip_space() == end {
                        self.at += 1;
                    } else {
                        let inside = Open {
                            token,
                            members: 0,
                            end,
                        };
                        around.push(std::mem::replace(&mut open, inside));
                        if first == b'{' {
                            self.key()?;
                        }
                        continue;
                    }
                }
                b't' => self.word(b"true")?,
                b'f' => self.word(b"false")?,
                b'n' => self.word(b"null")?,
                b'-' | b'0'..=b'9' => self.number(),
                _ => return None,
            }
            loop {
                open.members += 1;
                let next = self.skip_space();
                if open.end == 0 {
                    return (self.at == self.bytes.len()).then_some(());
                }
                if next == b',' {
                    break;
                }
                if next != open.end {
                    return None;
                }
                self.at += 1;
                self.tokens[open.token].what |= open.members as u32;
                self.tokens[open.token + 1].start = self.tokens.len() as u32;
                open = around.pop()?;
            }
            self.at += 1;
            if open.end == b'}' {
                self.skip_space();
                self.key()?;
            }
        }
        None
    }

    #[inline]
    fn key(&mut self) -> Option<()> {
        if self.bytes.get(self.at) != Some(&b'"') {
            return None;
        }
        self.string()?;
        if self.skip_space() != b':' {
            return None;
        }
        self.at += 1;
        Some(())
    }

    /// The next byte from `from` on that means something inside a string.
    #[inline]
    fn special(&self, from: usize) -> Option<usize> {
        let mut word = from / 64;
        let mut bits = *self.specials.get(word)? & (u64::MAX << (from % 64));
        while bits == 0 {
            word += 1;
            bits = *self.specials.get(word)?;
        }
        Some(word * 64 + bits.trailing_zeros() as usize)
    }

    #[inline]
    fn string(&mut self) -> Option<()> {
        let start = self.at;
        let mut end = self.special(start + 1)?;
        let mut first = b'"';
        while self.bytes[end] == b'\\' {
            first = ESCAPED;
            end = self.special(end + 2)?;
        }
        if self.bytes[end] != b'"' {
            return None;
        }
        self.tokens.push(Token::new(first, start, end - start - 1));
        self.at = end + 1;
        Some(())
    }

    fn word(&mut self, word: &[u8]) -> Option<()> {
        if !self.bytes[self.at..].starts_with(word) {
            return None;
        }
        self.tokens.push(Token::new(word[0], self.at, word.len()));
        self.at += word.len();
        Some(())
    }

    fn number(&mut self) {
        let part = |b: &&u8| matches!(b, b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E');
        let size = self.bytes[self.at..].iter().take_while(part).count();
        self.tokens.push(Token::new(b'0', self.at, size));
        self.at += size;
    }
}

/// One bit for each byte that means something inside a string: quotes, backslashes and control
/// characters.
fn specials(bytes: &[u8]) -> Vec<u64> {
    let (chunks, rest) = bytes.as_chunks::<64>();
    let mut all = Vec::with_capacity(chunks.len() + 1);
    all.extend(chunks.iter().map(specials_of));
    if !rest.is_empty() {
        let mut last = [b' '; 64];
        last[..rest.len()].copy_from_slice(rest);
        all.push(specials_of(&last));
    }
    all
}

fn specials_of(chunk: &[u8; 64]) -> u64 {
    // Compilers make a few wide steps of this loop.
    let flags = chunk.map(|b| u8::from(b < 0x20) | u8::from(b == b'"') | u8::from(b == b'\\'));
    let eights = flags.as_chunks::<8>().0.iter().enumerate();
    // The product has the lowest bit of byte n at bit 56 + n.
    let bits =
        |eight: &[u8; 8]| u64::from_le_bytes(*eight).wrapping_mul(0x0102_0408_1020_4080) >> 56;
    eights.fold(0, |all, (i, eight)| all | bits(eight) << (8 * i))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_special_byte_has_its_bit() {
        for byte in 0..=u8::MAX {
            for at in [0, 7, 15, 16, 63, 64, 65, 127, 130] {
                let mut bytes = vec![b'x'; 131];
                bytes[at] = byte;
                let bits = specials(&bytes);
                let special = byte < 0x20 || byte == b'"' || byte == b'\\';
                for i in 0..bytes.len() {
                    let want = special && i == at;
                    assert_eq!(bits[i / 64] >> (i % 64) & 1 == 1, want, "{byte} {at} {i}");
                }
            }
        }
    }

    #[test]
    fn tokens_say_where_values_are_and_how_many() {
        let tape = Tape::of(r#" {"a": [1, "x\"y", {}, []], "b" : true } "#).expect("JSON");
        let shown: Vec<(u8, usize)> = [0, 2, 3, 5, 6, 7, 9, 11, 12]
            .iter()
            .map(|at| (tape.token(*at).first(), tape.token(*at).size()))
            .collect();
        let want = [
            (b'{', 2),
            (b'"', 1),
            (b'[', 4),
            (b'0', 1),
            (ESCAPED, 4),
            (b'{', 0),
            (b'[', 0),
            (b'"', 1),
            (b't', 4),
        ];
        assert_eq!(shown, want);
        assert_eq!((tape.behind(0), tape.behind(3)), (13, 11));
        assert_eq!(tape.string(6).as_deref(), Some("x\"y"));
    }

    #[test]
    fn what_is_no_json_has_no_tokens() {
        let deep = |n: usize| "[".repeat(n) + &"]".repeat(n);
        for text in [
            "",
            " ",
            "{",
            "}",
            "[",
            "]",
            "{]",
            "[}",
            "{}}",
            "{} {}",
            "[,]",
            "[1,]",
            "{,}",
            "{\"a\"}",
            "{\"a\":}",
            "{\"a\":1,}",
            "{1:1}",
            "\"",
            "\"\\",
            "\"\\\"",
            "\"a\nb\"",
            "tru",
            "nul",
            "x",
            "[1 2]",
            "{\"a\":1 \"b\":2}",
            &deep(limits::MAX_DEPTH + 1),
            &format!("[{}1]", "1,".repeat(limits::MAX_NODES)),
        ] {
            assert!(Tape::of(text).is_none(), "{text}");
        }
        for text in [
            "1",
            " null ",
            "\"\"",
            "{}",
            "[]",
            "[[],{}]",
            &deep(limits::MAX_DEPTH),
        ] {
            assert!(Tape::of(text).is_some(), "{text}");
        }
    }
}

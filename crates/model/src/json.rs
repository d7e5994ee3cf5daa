//! Strict, bounded JSON to [`Value`] and back.
//!
//! Reads what Kubernetes' decoder reads (`sigs.k8s.io/json`) and words its errors alike; writes
//! what Go's `encoding/json` writes, with keys ascending.

use crate::field::quote;
use crate::value::{Entry, Map};
use crate::{ApiError, Str, Value, limits};
use std::borrow::Cow;
use std::collections::HashSet;
use std::io::Write as _;

mod tape;
pub(crate) mod typed;
mod write;

pub use write::write;

/// What strict decoding found besides the value: paths such as `spec.containers[0].image`.
#[derive(Debug, Default, PartialEq)]
pub struct Decoded {
    pub value: Value,
    /// `duplicate field "spec.x"` paths
    pub duplicates: Vec<Str>,
    /// what upstream says instead when the document was YAML
    pub yaml_duplicates: Option<String>,
}

impl Decoded {
    /// The complaints of strict decoding about duplicates, one entry each, in upstream's words.
    #[must_use]
    pub fn strict_errors(&self) -> Vec<String> {
        match &self.yaml_duplicates {
            Some(all) => vec![all.clone()],
            None => self
                .duplicates
                .iter()
                .map(|path| format!("duplicate field {}", quote(path)))
                .collect(),
        }
    }
}

/// As many strict errors as upstream reports at most (`kubernetes_patch.go`).
const MAX_DUPLICATES: usize = 100;

/// Parses one JSON document.
///
/// # Errors
/// 400 with the position for bad syntax, 413 past a bound of [`crate::limits`].
pub fn parse(bytes: &[u8]) -> Result<Decoded, ApiError> {
    if bytes.len() > limits::MAX_BODY {
        return Err(ApiError::too_large(format!(
            "Request entity too large: limit is {}",
            limits::MAX_BODY
        )));
    }
    let repaired;
    let text = match std::str::from_utf8(bytes) {
        Ok(text) => text,
        Err(_) => {
            repaired = replace_invalid_utf8(bytes);
            &repaired
        }
    };
    let mut parser = Parser::new(text, SENT);
    let value = parser.document().map_err(|e| *e)?;
    if !parser.duplicates_seen {
        return Ok(Decoded {
            value,
            ..Decoded::default()
        });
    }
    // Rare: only now is it worth knowing where every key stands.
    let mut parser = Parser::new(text, SENT);
    parser.track = Some(Track::default());
    let value = parser.document().map_err(|e| *e)?;
    let duplicates = parser.track.map(|t| t.duplicates).unwrap_or_default();
    Ok(Decoded {
        value,
        duplicates,
        yaml_duplicates: None,
    })
}

/// Parses what was stored: its bounds are wider than those of requests, as objects grow on their way.
///
/// # Errors
/// What is wrong with bytes that [`crate::limits::check_stored`] did not see, or that were damaged.
pub fn parse_stored(bytes: &[u8]) -> Result<Value, ApiError> {
    let text = std::str::from_utf8(bytes).map_err(|e| ApiError::bad_request(e.to_string()))?;
    Parser::new(text, STORED).document().map_err(|e| *e)
}

/// How deep a document may be and how many values it may have.
#[derive(Clone, Copy)]
struct Bounds {
    depth: usize,
    nodes: usize,
}

const SENT: Bounds = Bounds {
    depth: limits::MAX_DEPTH,
    nodes: limits::MAX_NODES,
};

const STORED: Bounds = Bounds {
    depth: limits::MAX_STORED_DEPTH,
    nodes: limits::MAX_STORED_NODES,
};

/// As Go's decoder: every byte that belongs to no valid character becomes U+FFFD.
fn replace_invalid_utf8(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len() + 64);
    for chunk in bytes.utf8_chunks() {
        out.push_str(chunk.valid());
        out.extend(chunk.invalid().iter().map(|_| char::REPLACEMENT_CHARACTER));
    }
    out
}

/// Where the parser stands, kept only when duplicates must be named.
#[derive(Default)]
struct Track {
    path: String,
    duplicates: Vec<Str>,
}

impl Track {
    fn enter_key(&mut self, key: &str) -> usize {
        let before = self.path.len();
        if before > 0 {
            self.path.push('.');
        }
        self.path.push_str(key);
        before
    }

    fn duplicate(&mut self) {
        if self.duplicates.len() < MAX_DUPLICATES {
            let path = Str::from(limits::cut(&self.path, limits::MAX_PATH));
            if !self.duplicates.contains(&path) {
                self.duplicates.push(path);
            }
        }
    }
}

/// Small, so that results are passed in few words.
type Fail = Box<ApiError>;

struct Parser<'a> {
    text: &'a str,
    bytes: &'a [u8],
    pos: usize,
    nodes: usize,
    bounds: Bounds,
    // Members of all open objects and arrays: each gets one allocation of the right size when it closes.
    entries: Vec<Entry>,
    items: Vec<Value>,
    duplicates_seen: bool,
    track: Option<Track>,
}

impl<'a> Parser<'a> {
    fn new(text: &'a str, bounds: Bounds) -> Self {
        Self {
            text,
            bytes: text.as_bytes(),
            pos: 0,
            nodes: 0,
            bounds,
            entries: Vec::new(),
            items: Vec::new(),
            duplicates_seen: false,
            track: None,
        }
    }

    fn document(&mut self) -> Result<Value, Fail> {
        self.skip_space();
        let value = self.value(0)?;
        self.skip_space();
        if self.pos < self.bytes.len() {
            return Err(self.unexpected("after top-level value"));
        }
        Ok(value)
    }

    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.pos).copied()
    }

    fn skip_space(&mut self) {
        while let Some(b' ' | b'\n' | b'\t' | b'\r') = self.peek() {
            self.pos += 1;
        }
    }

    /// The error for the byte at `pos`, in the words of Go's scanner.
    fn unexpected(&self, context: &str) -> Fail {
        let Some(c) = self.text[self.text.floor_char_boundary(self.pos)..]
            .chars()
            .next()
        else {
            return self.error("unexpected end of JSON input");
        };
        let shown = match c {
            '\'' => "'\\''".to_owned(),
            '"' => "'\"'".to_owned(),
            c => format!("'{}'", c.escape_debug()),
        };
        self.error(&format!("invalid character {shown} {context}"))
    }

    fn error(&self, what: &str) -> Fail {
        let before = &self.bytes[..self.pos.min(self.bytes.len())];
        let line = memchr::memchr_iter(b'\n', before).count() + 1;
        let column = before.len() - memchr::memrchr(b'\n', before).map_or(0, |i| i + 1) + 1;
        Fail::new(ApiError::bad_request(format!(
            "{what} (line {line}, column {column})"
        )))
    }

    fn count(&mut self) -> Result<(), Fail> {
        self.nodes += 1;
        if self.nodes > self.bounds.nodes {
            return Err(Fail::new(ApiError::too_large(format!(
                "the document has more than {} values",
                self.bounds.nodes
            ))));
        }
        Ok(())
    }

    fn value(&mut self, depth: usize) -> Result<Value, Fail> {
        self.count()?;
        match self.peek() {
            Some(b'"') => Ok(Value::String(Str::from(&*self.string()?))),
            Some(b'{') => self.object(depth + 1),
            Some(b'[') => self.array(depth + 1),
            Some(b'-' | b'0'..=b'9') => self.number(),
            Some(b't') => self.literal("true", Value::Bool(true)),
            Some(b'f') => self.literal("false", Value::Bool(false)),
            Some(b'n') => self.literal("null", Value::Null),
            _ => Err(self.unexpected("looking for beginning of value")),
        }
    }

    fn literal(&mut self, word: &str, value: Value) -> Result<Value, Fail> {
        for expected in word.bytes() {
            if self.peek() != Some(expected) {
                let context = format!("in literal {word} (expecting '{}')", char::from(expected));
                return Err(self.unexpected(&context));
            }
            self.pos += 1;
        }
        Ok(value)
    }

    fn check_depth(&self, depth: usize) -> Result<(), Fail> {
        if depth > self.bounds.depth {
            return Err(Fail::new(ApiError::too_large(format!(
                "exceeded max depth: the document is nested deeper than {}",
                self.bounds.depth
            ))));
        }
        Ok(())
    }

    fn object(&mut self, depth: usize) -> Result<Value, Fail> {
        self.check_depth(depth)?;
        self.pos += 1;
        let start = self.entries.len();
        let mut seen: Option<HashSet<Str>> = None;
        self.skip_space();
        if self.peek() == Some(b'}') {
            self.pos += 1;
            return Ok(Value::Object(Map::new()));
        }
        loop {
            if self.peek() != Some(b'"') {
                return Err(self.unexpected("looking for beginning of object key string"));
            }
            let key = self.string()?;
            self.skip_space();
            if self.peek() != Some(b':') {
                return Err(self.unexpected("after object key"));
            }
            self.pos += 1;
            self.skip_space();
            let mark = self.track.as_mut().map(|track| {
                let mark = track.enter_key(&key);
                if !seen.get_or_insert_default().insert(Str::from(&*key)) {
                    track.duplicate();
                }
                mark
            });
            // Texts are made where they stay: moving what was written a moment ago is slow.
            let place = self.entries.len();
            self.entries.push(Entry::default());
            self.entries[place].put_key(&key);
            if self.peek() == Some(b'"') {
                self.count()?;
                let text = self.string()?;
                self.entries[place].value_mut().put_text(&text);
            } else {
                let value = self.value(depth)?;
                *self.entries[place].value_mut() = value;
            }
            self.leave(mark);
            self.skip_space();
            match self.peek() {
                Some(b',') => self.pos += 1,
                Some(b'}') => break,
                _ => return Err(self.unexpected("after object key:value pair")),
            }
            self.skip_space();
        }
        self.pos += 1;
        let (map, duplicates) = Map::from_tail(&mut self.entries, start);
        self.duplicates_seen |= !duplicates.is_empty();
        Ok(Value::Object(map))
    }

    fn leave(&mut self, mark: Option<usize>) {
        if let (Some(track), Some(mark)) = (&mut self.track, mark) {
            track.path.truncate(mark);
        }
    }

    fn array(&mut self, depth: usize) -> Result<Value, Fail> {
        self.check_depth(depth)?;
        self.pos += 1;
        let start = self.items.len();
        self.skip_space();
        if self.peek() == Some(b']') {
            self.pos += 1;
            return Ok(Value::Array(Vec::new()));
        }
        loop {
            let index = self.items.len() - start;
            let mark = self.track.as_mut().map(|track| {
                let mark = track.path.len();
                track.path.push_str(&format!("[{index}]"));
                mark
            });
            let value = self.value(depth)?;
            self.leave(mark);
            self.items.push(value);
            self.skip_space();
            match self.peek() {
                Some(b',') => self.pos += 1,
                Some(b']') => break,
                _ => return Err(self.unexpected("after array element")),
            }
            self.skip_space();
        }
        self.pos += 1;
        Ok(Value::Array(self.items.split_off(start)))
    }

    /// Reads the string whose opening quote is at `pos`.
    fn string(&mut self) -> Result<Cow<'a, str>, Fail> {
        self.pos += 1;
        let start = self.pos;
        self.skip_plain();
        match self.peek() {
            Some(b'"') => {
                let text = &self.text[start..self.pos];
                self.pos += 1;
                Ok(Cow::Borrowed(text))
            }
            Some(b'\\') => self.escaped_string(start).map(Cow::Owned),
            Some(_) => Err(self.unexpected("in string literal")),
            None => Err(self.unexpected("")),
        }
    }

    /// Moves on to the next byte that means something inside a string.
    fn skip_plain(&mut self) {
        let mut rest = &self.bytes[self.pos..];
        while let Some(eight) = rest.first_chunk::<8>() {
            let special = special_bytes(u64::from_le_bytes(*eight));
            if special != 0 {
                self.pos = self.bytes.len() - rest.len() + special.trailing_zeros() as usize / 8;
                return;
            }
            rest = &rest[8..];
        }
        let plain = |b: &&u8| **b >= 0x20 && **b != b'"' && **b != b'\\';
        self.pos = self.bytes.len() - rest.len() + rest.iter().take_while(plain).count();
    }

    /// The rest of a string from its first escape on.
    fn escaped_string(&mut self, start: usize) -> Result<String, Fail> {
        let mut out = String::with_capacity(self.pos - start + 32);
        out.push_str(&self.text[start..self.pos]);
        loop {
            let plain = self.pos;
            self.skip_plain();
            out.push_str(&self.text[plain..self.pos]);
            match self.peek() {
                Some(b'"') => {
                    self.pos += 1;
                    return Ok(out);
                }
                Some(b'\\') => {
                    self.pos += 1;
                    out.push(self.escape()?);
                }
                _ => return Err(self.unexpected("in string literal")),
            }
        }
    }

    fn escape(&mut self) -> Result<char, Fail> {
        let c = match self.peek() {
            Some(b'"') => '"',
            Some(b'\\') => '\\',
            Some(b'/') => '/',
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => {
                self.pos += 1;
                return self.unicode_escape();
            }
            _ => return Err(self.unexpected("in string escape code")),
        };
        self.pos += 1;
        Ok(c)
    }

    fn hex4(&mut self) -> Result<u32, Fail> {
        let mut n = 0;
        for _ in 0..4 {
            let Some(digit) = self.peek().and_then(|b| char::from(b).to_digit(16)) else {
                return Err(self.unexpected("in \\u hexadecimal character escape"));
            };
            n = n * 16 + digit;
            self.pos += 1;
        }
        Ok(n)
    }

    /// `\u` was read. A lone surrogate becomes U+FFFD, as in Go.
    fn unicode_escape(&mut self) -> Result<char, Fail> {
        let first = self.hex4()?;
        if (0xD800..0xDC00).contains(&first) && self.bytes[self.pos..].starts_with(b"\\u") {
            let back = self.pos;
            self.pos += 2;
            let second = self.hex4()?;
            if (0xDC00..0xE000).contains(&second) {
                let code = 0x10000 + ((first - 0xD800) << 10) + (second - 0xDC00);
                return Ok(char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER));
            }
            // Not a pair: the second escape stands for itself.
            self.pos = back;
        }
        Ok(char::from_u32(first).unwrap_or(char::REPLACEMENT_CHARACTER))
    }

    fn digits(&mut self, context: &str) -> Result<(), Fail> {
        if !matches!(self.peek(), Some(b'0'..=b'9')) {
            return Err(self.unexpected(context));
        }
        while matches!(self.peek(), Some(b'0'..=b'9')) {
            self.pos += 1;
        }
        Ok(())
    }

    fn number(&mut self) -> Result<Value, Fail> {
        let start = self.pos;
        let mut integer = true;
        if self.peek() == Some(b'-') {
            self.pos += 1;
        }
        if self.peek() == Some(b'0') {
            self.pos += 1;
        } else {
            self.digits("in numeric literal")?;
        }
        if self.peek() == Some(b'.') {
            integer = false;
            self.pos += 1;
            self.digits("after decimal point in numeric literal")?;
        }
        if let Some(b'e' | b'E') = self.peek() {
            integer = false;
            self.pos += 1;
            if let Some(b'+' | b'-') = self.peek() {
                self.pos += 1;
            }
            self.digits("in exponent of numeric literal")?;
        }
        if integer && self.pos - start < 10 && self.bytes[start] != b'-' {
            let digit = |n: i64, b: &u8| n * 10 + i64::from(b - b'0');
            return Ok(Value::Int(
                self.bytes[start..self.pos].iter().fold(0, digit),
            ));
        }
        let text = &self.text[start..self.pos];
        if integer && let Ok(i) = text.parse::<i64>() {
            return Ok(Value::Int(i));
        }
        match text.parse::<f64>() {
            Ok(f) if f.is_finite() => Ok(Value::Float(f)),
            _ => {
                let shown: String = text.chars().take(64).collect();
                Err(self.error(&format!(
                    "json: cannot unmarshal number {shown} into Go value of type float64"
                )))
            }
        }
    }
}

const ONES: u64 = 0x0101_0101_0101_0101;
const HIGH: u64 = 0x8080_8080_8080_8080;

/// The high bit of the lowest byte that is a quote, a backslash or a control character; bits above
/// it may be set for nothing.
fn special_bytes(eight: u64) -> u64 {
    let zero = |v: u64| v.wrapping_sub(ONES) & !v;
    let control = eight.wrapping_sub(ONES * 0x20) & !eight;
    (zero(eight ^ (ONES * u64::from(b'"'))) | zero(eight ^ (ONES * u64::from(b'\\'))) | control)
        & HIGH
}

#[must_use]
pub fn to_vec(value: &Value) -> Vec<u8> {
    // Most objects are of a few thousand bytes.
    let mut out = Vec::with_capacity(4096);
    write(value, &mut out);
    out
}

/// The decimal digits of a number.
pub(crate) fn digits(i: i64, digits: &mut [u8; 20]) -> &[u8] {
    let mut at = digits.len();
    let mut rest = i.unsigned_abs();
    loop {
        at -= 1;
        digits[at] = b'0' + u8::try_from(rest % 10).unwrap_or_default();
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    if i < 0 {
        at -= 1;
        digits[at] = b'-';
    }
    &digits[at..]
}

/// As Go's `encoding/json`: shortest digits, exponent form below 1e-6 and from 1e21 on.
fn write_float(f: f64, out: &mut Vec<u8>) {
    if !f.is_finite() {
        // JSON has no such numbers and no decoder of ours makes them.
        out.extend_from_slice(b"null");
        return;
    }
    let size = f.abs();
    if size != 0.0 && !(1e-6..1e21).contains(&size) {
        let text = format!("{f:e}");
        let text = match text.split_once('e') {
            Some((digits, exponent)) if !exponent.starts_with('-') => {
                format!("{digits}e+{exponent}")
            }
            _ => text,
        };
        out.extend_from_slice(text.as_bytes());
    } else {
        let _ = write!(out, "{f}");
    }
}

/// 0: copied as it is.
const ESCAPES: [u8; 256] = {
    let mut table = [0; 256];
    let mut b = 0;
    while b < 0x20 {
        table[b] = b'u';
        b += 1;
    }
    (
        table[b'\n' as usize],
        table[b'\r' as usize],
        table[b'\t' as usize],
    ) = (b'n', b'r', b't');
    (table[0x08], table[0x0c]) = (b'b', b'f');
    (table[b'"' as usize], table[b'\\' as usize]) = (b'"', b'\\');
    (
        table[b'<' as usize],
        table[b'>' as usize],
        table[b'&' as usize],
    ) = (b'u', b'u', b'u');
    // The first byte of U+2028 and U+2029.
    table[0xE2] = 2;
    table
};

/// A quoted JSON string as Go's `encoding/json` escapes it, `<`, `>` and `&` included.
pub fn write_string(s: &str, out: &mut Vec<u8>) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let bytes = s.as_bytes();
    out.reserve(bytes.len() + 3);
    out.push(b'"');
    if bytes.iter().all(|b| ESCAPES[usize::from(*b)] == 0) {
        out.extend_from_slice(bytes);
        out.push(b'"');
        return;
    }
    let mut copied = 0;
    for (i, &b) in bytes.iter().enumerate() {
        match ESCAPES[usize::from(b)] {
            0 => continue,
            2 => {
                let last = match bytes.get(i + 1..i + 3) {
                    Some([0x80, 0xA8]) => b'8',
                    Some([0x80, 0xA9]) => b'9',
                    _ => continue,
                };
                out.extend_from_slice(&bytes[copied..i]);
                out.extend_from_slice(b"\\u202");
                out.push(last);
                copied = i + 3;
                continue;
            }
            b'u' => {
                out.extend_from_slice(&bytes[copied..i]);
                out.extend_from_slice(b"\\u00");
                out.extend_from_slice(&[HEX[usize::from(b >> 4)], HEX[usize::from(b & 15)]]);
            }
            short => {
                out.extend_from_slice(&bytes[copied..i]);
                out.extend_from_slice(&[b'\\', short]);
            }
        }
        copied = i + 1;
    }
    out.extend_from_slice(&bytes[copied..]);
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value;

    fn ok(text: &str) -> Value {
        parse(text.as_bytes()).unwrap().value
    }

    fn err(text: &[u8]) -> ApiError {
        parse(text).unwrap_err()
    }

    fn text(v: &Value) -> String {
        String::from_utf8(to_vec(v)).unwrap()
    }

    #[test]
    fn values_of_every_kind_are_read_and_written_back() {
        let source = r#"{"a":[1,-2,true,false,null,"x",{}, []],"b":{"c":1.5}}"#;
        let v = ok(source);
        assert_eq!(
            v,
            value!({"a": [1, (-2), true, false, null, "x", {}, []], "b": {"c": (Value::Float(1.5))}})
        );
        assert_eq!(text(&v), source.replace(", []", ",[]"));
        assert_eq!(text(&ok(" { \"z\" : 1 ,\n\"a\":2 } ")), r#"{"a":2,"z":1}"#);
    }

    /// sigs.k8s.io/json `kubernetes_patch.go` PreserveInts
    #[test]
    fn integers_that_fit_stay_integers_and_others_become_floats() {
        assert_eq!(ok("9223372036854775807"), Value::Int(i64::MAX));
        assert_eq!(ok("-9223372036854775808"), Value::Int(i64::MIN));
        assert_eq!(
            ok("9223372036854775808"),
            Value::Float(9_223_372_036_854_775_808.0)
        );
        assert_eq!(ok("1e3"), Value::Float(1000.0));
        assert_eq!(ok("-0"), Value::Int(0));
        assert!(
            err(b"1e999")
                .message
                .starts_with("json: cannot unmarshal number 1e999 into Go value")
        );
    }

    /// Go `encoding/json/encode.go` floatEncoder
    #[test]
    fn floats_are_written_as_go_writes_them() {
        for (f, want) in [
            (1.0, "1"),
            (0.1, "0.1"),
            (1e20, "100000000000000000000"),
            (1e21, "1e+21"),
            (1e-6, "0.000001"),
            (1e-7, "1e-7"),
            (1.5e300, "1.5e+300"),
            (-2.5e-9, "-2.5e-9"),
            (0.0, "0"),
            (-0.0, "-0"),
            (9_223_372_036_854_775_808.0, "9223372036854776000"),
        ] {
            assert_eq!(text(&Value::Float(f)), want);
        }
    }

    #[test]
    fn strings_are_escaped_as_go_escapes_them() {
        let v = Value::from("<a&b>\u{2028}\u{2029}\u{20ac}\n\r\t\u{8}\u{c}\u{1}\u{7f}\"\\/");
        let want = "\"\\u003ca\\u0026b\\u003e\\u2028\\u2029\u{20ac}\\n\\r\\t\\b\\f\\u0001\u{7f}\\\"\\\\/\"";
        assert_eq!(text(&v), want);
        assert_eq!(ok(want), v);
    }

    /// Texts of every length with everything that may be escaped at every place in them.
    #[test]
    fn whole_values_are_written_as_their_parts_are() {
        for len in 0..40 {
            for odd in [
                "x", "\"", "\\", "<", ">", "&", "\n", "\u{7f}", "\u{e9}", "\u{2028}",
            ] {
                for at in 0..=len {
                    let s = format!(
                        "{}{odd}{}",
                        "a=:;".repeat(11)[..at].to_owned(),
                        "b".repeat(len - at)
                    );
                    let mut want = b"x[".to_vec();
                    write_string(&s, &mut want);
                    want.extend_from_slice(b",-9223372036854775808,10]");
                    let mut got = b"x".to_vec();
                    write(&value!([(s.as_str()), (i64::MIN), 10]), &mut got);
                    assert_eq!(got, want);
                }
            }
        }
    }

    #[test]
    fn surrogates_pair_up_and_lone_ones_are_replaced() {
        assert_eq!(ok(r#""\ud83d\ude00""#), Value::from("\u{1f600}"));
        assert_eq!(ok(r#""\ud83dx""#), Value::from("\u{fffd}x"));
        assert_eq!(ok(r#""\ude00\ud83d""#), Value::from("\u{fffd}\u{fffd}"));
        assert_eq!(ok(r#""\ud83d\u0041""#), Value::from("\u{fffd}A"));
        assert_eq!(
            ok(r#""\ud83d\ud83d\ude00""#),
            Value::from("\u{fffd}\u{1f600}")
        );
    }

    #[test]
    fn every_invalid_byte_of_a_string_is_replaced() {
        let v = parse(b"\"a\xff\xed\xa0\x80b\"").unwrap().value;
        assert_eq!(v, Value::from("a\u{fffd}\u{fffd}\u{fffd}\u{fffd}b"));
    }

    /// Go `encoding/json/scanner.go`
    #[test]
    fn syntax_errors_are_worded_as_upstreams_and_say_where() {
        for (source, want) in [
            ("", "unexpected end of JSON input (line 1, column 1)"),
            (
                "{\"a\":\n x}",
                "invalid character 'x' looking for beginning of value (line 2, column 2)",
            ),
            (
                "{a:1}",
                "invalid character 'a' looking for beginning of object key string (line 1, column 2)",
            ),
            (
                "{\"a\" 1}",
                "invalid character '1' after object key (line 1, column 6)",
            ),
            (
                "{\"a\":1 \"b\"}",
                "invalid character '\"' after object key:value pair (line 1, column 8)",
            ),
            (
                "[1 2]",
                "invalid character '2' after array element (line 1, column 4)",
            ),
            (
                "[1,]",
                "invalid character ']' looking for beginning of value (line 1, column 4)",
            ),
            (
                "{} x",
                "invalid character 'x' after top-level value (line 1, column 4)",
            ),
            (
                "tru3",
                "invalid character '3' in literal true (expecting 'e') (line 1, column 4)",
            ),
            (
                "01",
                "invalid character '1' after top-level value (line 1, column 2)",
            ),
            (
                "-x",
                "invalid character 'x' in numeric literal (line 1, column 2)",
            ),
            (
                "1.x",
                "invalid character 'x' after decimal point in numeric literal (line 1, column 3)",
            ),
            (
                "1ex",
                "invalid character 'x' in exponent of numeric literal (line 1, column 3)",
            ),
            (
                "\"\\x\"",
                "invalid character 'x' in string escape code (line 1, column 3)",
            ),
            (
                "\"\\u00g0\"",
                "invalid character 'g' in \\u hexadecimal character escape (line 1, column 6)",
            ),
            (
                "\"a\nb\"",
                "invalid character '\\n' in string literal (line 1, column 3)",
            ),
            ("\"abc", "unexpected end of JSON input (line 1, column 5)"),
            ("[", "unexpected end of JSON input (line 1, column 2)"),
        ] {
            let e = err(source.as_bytes());
            assert_eq!((e.message.as_str(), e.code), (want, 400), "{source:?}");
        }
    }

    #[test]
    fn duplicate_keys_are_named_by_their_path_and_the_last_wins() {
        let source =
            br#"{"spec":{"x":1,"l":[{"a":1},{"a":1,"a":2,"a":3}],"x":2},"m":{"k":1,"k":1}}"#;
        let d = parse(source).unwrap();
        assert_eq!(d.duplicates, ["spec.l[1].a", "spec.x", "m.k"]);
        assert_eq!(d.strict_errors()[1], "duplicate field \"spec.x\"");
        assert_eq!(d.value.at(&["spec", "x"]), Some(&Value::Int(2)));
        assert_eq!(parse(br#"{"spec":{"x":1}}"#).unwrap().duplicates, [""; 0]);
    }

    #[test]
    fn a_flood_of_duplicates_costs_a_bounded_report() {
        let member = format!("\"{}\":{{\"a\":1,\"a\":2}},", "k".repeat(5000));
        let source = format!("{{{}\"z\":1}}", member.repeat(500));
        let d = parse(source.as_bytes()).unwrap();
        assert!(d.duplicates.len() <= MAX_DUPLICATES);
        assert!(d.duplicates.iter().all(|p| p.len() < limits::MAX_PATH + 8));
    }

    #[test]
    fn depth_size_and_number_of_values_are_bounded() {
        let nested = |n: usize| "[".repeat(n) + &"]".repeat(n);
        assert!(parse(nested(limits::MAX_DEPTH).as_bytes()).is_ok());
        assert_eq!(err(nested(limits::MAX_DEPTH + 1).as_bytes()).code, 413);
        assert_eq!(err(&b"[".repeat(1_000_000)).code, 413);
        assert_eq!(err(&vec![b' '; limits::MAX_BODY + 1]).code, 413);
        let many = format!("[{}1]", "1,".repeat(limits::MAX_NODES));
        assert_eq!(err(many.as_bytes()).code, 413);
    }
}

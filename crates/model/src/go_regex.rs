//! Regular expressions as Go's `regexp` reads them, run by the linear-time engine of the `regex` crate.
//!
//! A pattern is parsed by Go's rules (`regexp/syntax`, with its Perl flags), refused in Go's words,
//! and written anew for the crate with everything spelled out: ASCII `\d \w \s \b`, classes without
//! set operators, flags on the atoms they hold for. Groups capture nothing: nobody asks for captures.
//!
//! What differs from Go: a pattern may have [`MAX_PATTERN`] bytes and compile to [`MAX_COMPILED`];
//! scripts are those of the crate's version of Unicode.

use regex::{Regex, RegexBuilder};
use std::fmt::Write;

pub(crate) use crate::limits::{MAX_PATTERN, MAX_REGEX as MAX_COMPILED};
/// What is written anew nests deeper than what was read, which has a bound of its own.
pub(crate) const NEST_LIMIT: u32 = 4096;
/// Go refuses deeper nesting, and more repetitions, than this.
const MAX_DEPTH: usize = 1000;
const MAX_REPEAT: u32 = 1000;

/// Compiles a pattern within [`MAX_COMPILED`].
///
/// # Errors
/// `error parsing regexp: …`
pub(crate) fn compile(pattern: &str) -> Result<Regex, String> {
    let written = translate(pattern)?;
    build(&written, MAX_COMPILED).map_err(|e| error(&e.to_string(), None))
}

/// Compiles what [`translate`] wrote.
pub(crate) fn build(written: &str, size: usize) -> Result<Regex, regex::Error> {
    RegexBuilder::new(written)
        .nest_limit(NEST_LIMIT)
        .size_limit(size)
        .dfa_size_limit(MAX_COMPILED / 4)
        .build()
}

fn error(code: &str, shown: Option<&str>) -> String {
    match shown {
        Some(shown) => format!("error parsing regexp: {code}: `{shown}`"),
        None => format!("error parsing regexp: {code}"),
    }
}

fn fail<T>(code: &str, shown: &str) -> Result<T, String> {
    Err(error(code, Some(shown)))
}

#[derive(Clone, Copy, Default)]
struct Flags {
    fold: bool,
    multi_line: bool,
    dot_newline: bool,
    lazy: bool,
}

/// Something that can be repeated, as written for the crate.
struct Atom {
    text: String,
    /// How many states it compiles to, roughly and from above.
    states: usize,
    /// The product of the counts of nested repetitions.
    copies: u32,
}

/// What stands between two parentheses so far.
#[derive(Default)]
struct Group {
    /// The flags to return to after it.
    outer: Flags,
    /// Alternatives that are complete, with a `|` behind each.
    done: String,
    states: usize,
    copies: u32,
    atoms: Vec<Atom>,
}

impl Group {
    fn end_alternative(&mut self) {
        self.states = self.states.saturating_add(2);
        for atom in self.atoms.drain(..) {
            self.done.push_str(&atom.text);
            self.states = self.states.saturating_add(atom.states).saturating_add(1);
            self.copies = self.copies.max(atom.copies);
        }
    }
}

struct Parser<'p> {
    whole: &'p str,
    rest: &'p str,
    flags: Flags,
    groups: Vec<Group>,
    /// Nothing but what the crate certainly reads: characters, classes of them, groups, repetitions.
    plain: bool,
}

/// A pattern of Go's syntax in the crate's.
///
/// # Errors
/// `error parsing regexp: …`
pub(crate) fn translate(pattern: &str) -> Result<String, String> {
    Ok(sized(pattern)?.0)
}

/// As [`translate`], and how many states the pattern compiles to, roughly and from above; `None`
/// where only the crate knows.
pub(crate) fn sized(pattern: &str) -> Result<(String, Option<usize>), String> {
    if pattern.len() > MAX_PATTERN {
        return Err(error(
            &format!("expression too large: more than {MAX_PATTERN} bytes"),
            None,
        ));
    }
    let mut parser = Parser {
        whole: pattern,
        rest: pattern,
        flags: Flags::default(),
        groups: vec![Group::default()],
        plain: true,
    };
    // Where a repetition that has just been read begins.
    let mut repeated: Option<&str> = None;
    while !parser.rest.is_empty() {
        repeated = parser.step(repeated)?;
    }
    if parser.groups.len() > 1 {
        return fail("missing closing )", pattern);
    }
    let mut group = parser.groups.pop().unwrap_or_default();
    group.end_alternative();
    Ok((group.done, parser.plain.then_some(group.states + 1)))
}

impl<'p> Parser<'p> {
    /// Reads one thing; gives its beginning back when it was a repetition.
    fn step(&mut self, repeated: Option<&'p str>) -> Result<Option<&'p str>, String> {
        let before = self.rest;
        let mut chars = before.chars();
        let Some(c) = chars.next() else {
            return Ok(None);
        };
        let after = chars.as_str();
        match c {
            '(' if after.starts_with('?') => self.perl_group()?,
            '(' => {
                self.rest = after;
                self.open(self.flags)?;
            }
            '|' => {
                self.rest = after;
                if let Some(group) = self.groups.last_mut() {
                    group.end_alternative();
                    group.done.push('|');
                }
            }
            ')' => {
                self.rest = after;
                self.close()?;
            }
            '^' => self.atom(
                after,
                if self.flags.multi_line {
                    "(?m:^)"
                } else {
                    "\\A"
                },
                1,
            ),
            '$' => self.atom(
                after,
                if self.flags.multi_line {
                    "(?m:$)"
                } else {
                    "\\z"
                },
                1,
            ),
            '.' => self.atom(
                after,
                if self.flags.dot_newline {
                    "(?s:.)"
                } else {
                    "[^\\n]"
                },
                2 * WIDE,
            ),
            '[' => self.class()?,
            '*' | '+' | '?' => {
                self.repeat(&before[..1], 0, after, repeated)?;
                return Ok(Some(before));
            }
            '{' => return self.count(after, repeated),
            '\\' => self.escape(after)?,
            c => {
                self.rest = after;
                self.literal(c);
            }
        }
        Ok(None)
    }

    /// `{2,3}`, or a brace that is only a brace.
    fn count(
        &mut self,
        after: &'p str,
        repeated: Option<&'p str>,
    ) -> Result<Option<&'p str>, String> {
        let before = self.rest;
        let Some((least, most, after_count)) = counts(before) else {
            self.rest = after;
            self.literal('{');
            return Ok(None);
        };
        let shown = &before[..before.len() - after_count.len()];
        let ordered = most.is_none_or(|most| most <= MAX_REPEAT && least <= most);
        if least > MAX_REPEAT || !ordered {
            return fail("invalid repeat count", shown);
        }
        self.repeat(shown, most.unwrap_or(least), after_count, repeated)?;
        Ok(Some(before))
    }

    fn push(&mut self, text: String, states: usize, copies: u32) {
        if let Some(group) = self.groups.last_mut() {
            group.atoms.push(Atom {
                text,
                states,
                copies,
            });
        }
    }

    fn atom(&mut self, rest: &'p str, text: &str, states: usize) {
        self.rest = rest;
        self.push(text.to_owned(), states, 1);
    }

    fn literal(&mut self, c: char) {
        let mut text = String::new();
        // Only what has another case needs the flag.
        let fold = self.flags.fold && (c.is_alphabetic() || !c.is_ascii());
        self.plain &= !fold;
        if fold {
            text.push_str("(?i:");
        }
        hex(&mut text, c);
        if fold {
            text.push(')');
        }
        self.push(text, c.len_utf8(), 1);
    }

    fn open(&mut self, outer: Flags) -> Result<(), String> {
        if self.groups.len() > MAX_DEPTH {
            return fail("expression nests too deeply", self.whole);
        }
        self.groups.push(Group {
            outer,
            ..Group::default()
        });
        Ok(())
    }

    fn close(&mut self) -> Result<(), String> {
        if self.groups.len() < 2 {
            return fail("unexpected )", self.whole);
        }
        if let Some(mut group) = self.groups.pop() {
            group.end_alternative();
            self.flags = group.outer;
            let text = format!("(?:{})", group.done);
            self.push(text, group.states + 3, group.copies.max(1));
        }
        Ok(())
    }

    /// `op` is as written; `count` is 0 where it multiplies nothing.
    fn repeat(
        &mut self,
        op: &str,
        count: u32,
        after: &'p str,
        repeated: Option<&'p str>,
    ) -> Result<(), String> {
        let before = self.rest;
        let (rest, swapped) = match after.strip_prefix('?') {
            Some(rest) => (rest, true),
            None => (after, false),
        };
        if let Some(first) = repeated {
            return fail(
                "invalid nested repetition operator",
                &first[..first.len() - rest.len()],
            );
        }
        let shown = &before[..before.len() - rest.len()];
        let lazy = self.flags.lazy != swapped;
        let Some(atom) = self.groups.last_mut().and_then(|g| g.atoms.last_mut()) else {
            return fail("missing argument to repetition operator", shown);
        };
        let copies = atom.copies.saturating_mul(count.max(1));
        if count >= 2 && copies > MAX_REPEAT {
            return fail("invalid repeat count", shown);
        }
        let times = if count == 0 { 2 } else { count as usize + 1 };
        atom.states = atom.states.saturating_add(2).saturating_mul(times);
        atom.text = format!("(?:{}){op}{}", atom.text, if lazy { "?" } else { "" });
        // What is repeated no times does not count.
        atom.copies = if op == "{0}" || op == "{0,0}" {
            1
        } else {
            copies
        };
        self.rest = rest;
        Ok(())
    }

    /// `(?P<name>`, `(?:`, `(?i)`, `(?i-s:`
    fn perl_group(&mut self) -> Result<(), String> {
        let before = self.rest;
        self.plain &= before.starts_with("(?:");
        for prefix in ["(?P<", "(?<"] {
            let Some(named) = before.strip_prefix(prefix) else {
                continue;
            };
            if named.is_empty() {
                continue;
            }
            let Some((name, rest)) = named.split_once('>') else {
                return fail("invalid named capture", before);
            };
            let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
            if name.is_empty() || !name.bytes().all(word) {
                return fail(
                    "invalid named capture",
                    &before[..before.len() - rest.len()],
                );
            }
            self.rest = rest;
            return self.open(self.flags);
        }
        let (mut flags, mut on, mut seen) = (self.flags, true, false);
        let mut chars = before[2..].chars();
        while let Some(c) = chars.next() {
            match c {
                'i' => (flags.fold, seen) = (on, true),
                'm' => (flags.multi_line, seen) = (on, true),
                's' => (flags.dot_newline, seen) = (on, true),
                'U' => (flags.lazy, seen) = (on, true),
                '-' if on => (on, seen) = (false, false),
                ':' | ')' if on || seen => {
                    self.rest = chars.as_str();
                    if c == ':' {
                        self.open(self.flags)?;
                    }
                    self.flags = flags;
                    return Ok(());
                }
                _ => break,
            }
        }
        fail(
            "invalid or unsupported Perl syntax",
            &before[..before.len() - chars.as_str().len()],
        )
    }

    /// A backslash outside a class; `after` is what follows it.
    fn escape(&mut self, after: &'p str) -> Result<(), String> {
        let before = self.rest;
        let two = after.chars().next().map_or("", |c| &after[c.len_utf8()..]);
        match after.as_bytes().first() {
            Some(b'A') => self.atom(two, "\\A", 1),
            Some(b'z') => self.atom(two, "\\z", 1),
            Some(b'b') => self.word_boundary(two, "(?-u:\\b)"),
            Some(b'B') => self.word_boundary(two, "(?-u:\\B)"),
            Some(b'C') => return fail("invalid escape sequence", &before[..2]),
            Some(b'Q') => {
                let (literal, rest) = two.split_once("\\E").unwrap_or((two, ""));
                self.rest = rest;
                literal.chars().for_each(|c| self.literal(c));
            }
            _ => {
                if let Some((class, rest)) = group_escape(before)? {
                    let fold = if self.flags.fold { "(?i:" } else { "(?:" };
                    self.plain &= !self.flags.fold && is_plain(&class);
                    self.atom(rest, &format!("{fold}[{class}])"), class_states(&class));
                } else {
                    let (c, rest) = char_escape(before)?;
                    self.rest = rest;
                    match c {
                        Some(c) => self.literal(c),
                        None => {
                            self.plain = false;
                            self.push(NOTHING.into(), 1, 1);
                        }
                    }
                }
            }
        }
        Ok(())
    }

    fn word_boundary(&mut self, rest: &'p str, text: &str) {
        self.plain = false;
        self.atom(rest, text, 1);
    }

    fn class(&mut self) -> Result<(), String> {
        let whole = self.rest;
        let mut rest = &whole[1..];
        let mut written = String::from(if self.flags.fold { "(?i:[" } else { "(?:[" });
        self.plain &= !self.flags.fold;
        let (mut ranges, mut wide) = (1, false);
        if let Some(after) = rest.strip_prefix('^') {
            wide = true;
            written.push('^');
            rest = after;
        }
        // The crate reads `[]` otherwise than as nothing.
        let mut empty = true;
        let mut first = true;
        while first || !rest.starts_with(']') {
            first = false;
            if let Some((named, after)) = posix(rest)? {
                self.plain = false;
                written.push_str(named);
                (rest, empty) = (after, false);
                continue;
            }
            if let Some((class, after)) = group_escape(rest)? {
                self.plain &= is_plain(&class);
                ranges += 8;
                wide |= class.starts_with('^');
                write!(written, "[{class}]").map_err(|e| e.to_string())?;
                (rest, empty) = (after, false);
                continue;
            }
            let range = rest;
            let (low, after) = class_char(rest, whole)?;
            let mut high = low;
            rest = after;
            if rest.len() >= 2 && rest.starts_with('-') && !rest[1..].starts_with(']') {
                (high, rest) = class_char(&rest[1..], whole)?;
                if high < low {
                    return fail(
                        "invalid character class range",
                        &range[..range.len() - rest.len()],
                    );
                }
            }
            ranges += 1;
            wide |= high >= 0x80;
            empty &= !push_range(&mut written, low, high);
        }
        if empty {
            self.plain = false;
            written.push_str(NOTHING);
        }
        written.push_str("])");
        self.rest = &rest[1..];
        let states = if wide { ranges * WIDE } else { ranges };
        self.push(written, states, 1);
        Ok(())
    }
}

/// What a range of characters beyond ASCII may take: four sequences of up to four bytes.
const WIDE: usize = 16;

/// Whether the class that [`group_escape`] gave is one of the few that have letters of their own.
fn is_plain(class: &str) -> bool {
    !class.contains("\\p") && !class.contains("\\P")
}

/// States of the class that [`group_escape`] gave.
fn class_states(class: &str) -> usize {
    if class.starts_with('^') { 8 * WIDE } else { 8 }
}

/// A class of no characters.
const NOTHING: &str = "[^\\x{0}-\\x{10FFFF}]";

fn hex(out: &mut String, c: char) {
    if c.is_ascii_alphanumeric() || c == '_' {
        out.push(c);
    } else {
        // Writing to a string cannot fail.
        let _ = write!(out, "\\x{{{:X}}}", u32::from(c));
    }
}

/// Writes a range without the surrogates, which no text contains; whether anything is left.
fn push_range(out: &mut String, low: u32, high: u32) -> bool {
    let low = if (0xD800..0xE000).contains(&low) {
        0xE000
    } else {
        low
    };
    let high = if (0xD800..0xE000).contains(&high) {
        0xD7FF
    } else {
        high
    };
    if low <= high {
        let _ = write!(out, "\\x{{{low:X}}}-\\x{{{high:X}}}");
    }
    low <= high
}

/// `{2}`, `{2,}`, `{2,3}`: least, most, what follows. Numbers beyond any bound come out too large.
fn counts(text: &str) -> Option<(u32, Option<u32>, &str)> {
    let (least, rest) = number(text.strip_prefix('{')?)?;
    if let Some(rest) = rest.strip_prefix('}') {
        return Some((least, Some(least), rest));
    }
    let rest = rest.strip_prefix(',')?;
    if let Some(rest) = rest.strip_prefix('}') {
        return Some((least, None, rest));
    }
    let (most, rest) = number(rest)?;
    Some((least, Some(most), rest.strip_prefix('}')?))
}

fn number(text: &str) -> Option<(u32, &str)> {
    let len = text.bytes().take_while(u8::is_ascii_digit).count();
    let (digits, rest) = text.split_at(len);
    if digits.is_empty() || digits.len() > 1 && digits.starts_with('0') {
        return None;
    }
    Some((digits.parse().unwrap_or(u32::MAX), rest))
}

/// `\d`, `\pL`, `\P{^Greek}` as the inside of a class.
fn group_escape(text: &str) -> Result<Option<(String, &str)>, String> {
    let bytes = text.as_bytes();
    let (Some(b'\\'), Some(kind)) = (bytes.first(), bytes.get(1)) else {
        return Ok(None);
    };
    let class = match kind {
        b'd' => "0-9",
        b'D' => "^0-9",
        b's' => "\\t\\n\\f\\r\\x{20}",
        b'S' => "^\\t\\n\\f\\r\\x{20}",
        b'w' => "0-9A-Za-z_",
        b'W' => "^0-9A-Za-z_",
        b'p' | b'P' => return unicode(text, *kind == b'P'),
        _ => return Ok(None),
    };
    Ok(Some((class.to_owned(), &text[2..])))
}

fn unicode(text: &str, negated: bool) -> Result<Option<(String, &str)>, String> {
    let Some(first) = text[2..].chars().next() else {
        return fail("invalid character class range", text);
    };
    let (shown, name, rest) = if first == '{' {
        let Some(end) = text.find('}') else {
            return fail("invalid character class range", text);
        };
        (&text[..=end], &text[3..end], &text[end + 1..])
    } else {
        let end = 2 + first.len_utf8();
        (&text[..end], &text[2..end], &text[end..])
    };
    let (negated, name) = match name.strip_prefix('^') {
        Some(name) => (!negated, name),
        None => (negated, name),
    };
    let sign = if negated { 'P' } else { 'p' };
    // A category, or else a script; nothing else that the crate knows by name.
    let plain = name
        .bytes()
        .all(|b| b.is_ascii_alphabetic() || b"_- ".contains(&b));
    let kinds = match name.to_ascii_lowercase().as_str() {
        "any" | "ascii" | "assigned" => vec![""],
        _ => vec!["gc=", "sc="],
    };
    for kind in kinds {
        let class = format!("\\{sign}{{{kind}{name}}}");
        if plain && !name.is_empty() && build(&class, MAX_COMPILED).is_ok() {
            return Ok(Some((class, rest)));
        }
    }
    fail("invalid character class range", shown)
}

/// `[:alpha:]` within a class.
fn posix(text: &str) -> Result<Option<(&str, &str)>, String> {
    let Some(end) = text.strip_prefix("[:").and_then(|inner| inner.find(":]")) else {
        return Ok(None);
    };
    let (shown, rest) = text.split_at(end + 4);
    let name = &shown[2..end + 2];
    let known = [
        "alnum", "alpha", "ascii", "blank", "cntrl", "digit", "graph", "lower", "print", "punct",
        "space", "upper", "word", "xdigit",
    ];
    if !known.contains(&name.strip_prefix('^').unwrap_or(name)) {
        return fail("invalid character class range", shown);
    }
    Ok(Some((shown, rest)))
}

/// A character of a class; surrogates are possible as escapes.
fn class_char<'p>(text: &'p str, whole: &str) -> Result<(u32, &'p str), String> {
    match text.chars().next() {
        None => fail("missing closing ]", whole),
        Some('\\') => escaped(text),
        Some(c) => Ok((c.into(), &text[c.len_utf8()..])),
    }
}

/// `None` when it is a surrogate, which nothing matches.
fn char_escape(text: &str) -> Result<(Option<char>, &str), String> {
    let (code, rest) = escaped(text)?;
    Ok((char::from_u32(code), rest))
}

/// A backslash and what it makes of the next characters.
fn escaped(text: &str) -> Result<(u32, &str), String> {
    let mut chars = text.chars();
    chars.next();
    let Some(c) = chars.next() else {
        return fail("trailing backslash at end of expression", "");
    };
    let rest = chars.as_str();
    let octal = |b: u8| (b'0'..=b'7').contains(&b);
    let code = match c {
        'a' => 7,
        'f' => 0xc,
        'n' => 0xa,
        'r' => 0xd,
        't' => 9,
        'v' => 0xb,
        'x' => return hexadecimal(text, rest),
        '0'..='7' if c == '0' || rest.bytes().next().is_some_and(octal) => {
            let more = rest.bytes().take(2).take_while(|b| octal(*b)).count();
            let digits = &text[1..2 + more];
            return Ok((u32::from_str_radix(digits, 8).unwrap_or(0), &rest[more..]));
        }
        c if c.is_ascii() && !c.is_ascii_alphanumeric() => c.into(),
        _ => {
            return fail("invalid escape sequence", &text[..text.len() - rest.len()]);
        }
    };
    Ok((code, rest))
}

/// `\x7f`, `\x{1F600}`; `rest` follows the `x`.
fn hexadecimal<'p>(text: &'p str, rest: &'p str) -> Result<(u32, &'p str), String> {
    let mut chars = rest.chars();
    let (mut code, mut digits) = (0_u32, 0);
    let braces = rest.starts_with('{');
    if braces {
        chars.next();
    }
    loop {
        match chars.next() {
            Some('}') if braces && digits > 0 => return Ok((code, chars.as_str())),
            Some(c) if c.is_ascii_hexdigit() => {
                code = code * 16 + c.to_digit(16).unwrap_or(0);
                digits += 1;
                if code > 0x10_FFFF {
                    break;
                }
                if !braces && digits == 2 {
                    return Ok((code, chars.as_str()));
                }
            }
            // Both characters of a short escape are read before they are looked at.
            Some(_) => {
                if !braces && digits == 0 {
                    chars.next();
                }
                break;
            }
            None => break,
        }
    }
    fail(
        "invalid escape sequence",
        &text[..text.len() - chars.as_str().len()],
    )
}

#[cfg(test)]
mod tests;

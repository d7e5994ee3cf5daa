//! `string.format(list)` (cel-go `ext/formatting.go`, since 1.29), with the American English numbers
//! of `golang.org/x/text/message`.
//!
//! A precision may be at most [`MAX_PRECISION`]: beyond it upstream computes modulo 256 for `%f` and
//! makes strings of any length for `%e`.

use super::args::{list, text};
use super::convert::text_of;
use crate::cel::ctx::Ctx;
use crate::cel::val::{Entries, Failure, List, Outcome, Val};
use crate::field::quote;

const MAX_PRECISION: usize = 255;
const DEFAULT_PRECISION: usize = 6;

/// One `%…`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::cel) enum Verb {
    String,
    Decimal,
    Fixed(usize),
    Scientific(Option<usize>),
    Binary,
    Hex { upper: bool },
    Octal,
}

/// A piece of a format: text, or a verb for the next argument.
pub(in crate::cel) enum Piece<'f> {
    Text(&'f str),
    Verb(Verb),
}

/// The pieces of a format in order; `has(n, rest)` tells whether there is an argument `n` for what
/// follows a percent sign.
pub(in crate::cel) fn pieces<'f>(
    format: &'f str,
    has: impl Fn(usize, &str) -> bool,
    mut put: impl FnMut(Piece<'f>, usize) -> Result<(), String>,
) -> Result<(), String> {
    let (mut rest, mut argument) = (format, 0);
    while let Some(at) = rest.find('%') {
        put(Piece::Text(&rest[..at]), argument)?;
        let after = &rest[at + 1..];
        if let Some(more) = after.strip_prefix('%') {
            put(Piece::Text("%"), argument)?;
            rest = more;
            continue;
        }
        if !has(argument, after) {
            return Err(format!("index {argument} out of range"));
        }
        if after.is_empty() {
            return Err("unexpected end of string".into());
        }
        let (verb, more) =
            verb(after).map_err(|why| format!("could not parse formatting clause: {why}"))?;
        put(Piece::Verb(verb), argument)
            .map_err(|why| format!("error during formatting: {why}"))?;
        argument += 1;
        rest = more;
    }
    put(Piece::Text(rest), argument)
}

fn verb(text: &str) -> Result<(Verb, &str), String> {
    let (precision, rest) =
        precision(text).map_err(|why| format!("error while parsing precision: {why}"))?;
    // The clause is looked at as a byte, and shown as if it were a character.
    let clause = rest.as_bytes().first().copied().unwrap_or_default();
    let verb = match clause {
        b's' => Verb::String,
        b'd' => Verb::Decimal,
        b'f' => Verb::Fixed(precision.unwrap_or(DEFAULT_PRECISION)),
        b'e' => Verb::Scientific(precision),
        b'b' => Verb::Binary,
        b'x' => Verb::Hex { upper: false },
        b'X' => Verb::Hex { upper: true },
        b'o' => Verb::Octal,
        other => {
            let shown = char::from(other);
            return Err(format!("unrecognized formatting clause \"{shown}\""));
        }
    };
    Ok((verb, &rest[1..]))
}

fn precision(text: &str) -> Result<(Option<usize>, &str), String> {
    let Some(after) = text.strip_prefix('.') else {
        return Ok((None, text));
    };
    let digits = after.bytes().take_while(u8::is_ascii_digit).count();
    let (digits, rest) = after.split_at(digits);
    if rest.is_empty() {
        return Err("could not find end of precision specifier".into());
    }
    let number: u64 = digits
        .parse()
        .ok()
        .filter(|n| i64::try_from(*n).is_ok())
        .ok_or_else(|| {
            let why = if digits.is_empty() {
                "invalid syntax"
            } else {
                "value out of range"
            };
            format!(
                "error while converting precision to integer: strconv.Atoi: parsing {}: {why}",
                quote(digits)
            )
        })?;
    match usize::try_from(number) {
        Ok(n) if n <= MAX_PRECISION => Ok((Some(n), rest)),
        _ => Err(format!("a precision may be at most {MAX_PRECISION}")),
    }
}

pub(super) fn format<'a>(ctx: &mut Ctx<'a>, args: &[Val<'a>]) -> Outcome<Val<'a>> {
    let (format, values) = (text(args, 0)?, list(args, 1)?);
    let mut out = Out {
        ctx,
        text: String::new(),
        spent: None,
    };
    let done = pieces(
        format,
        |n, _| n < values.len(),
        |piece, argument| match piece {
            Piece::Text(text) => out.push(text),
            Piece::Verb(verb) => out.verb(verb, values, argument),
        },
    );
    if let Some(spent) = out.spent {
        return Err(spent);
    }
    done.map_err(Failure::new)?;
    Ok(Val::from(out.text))
}

/// What is written, and what it may use up.
struct Out<'c, 'a> {
    ctx: &'c mut Ctx<'a>,
    text: String,
    /// The budget is spent; that is told as it is.
    spent: Option<Failure>,
}

impl<'a> Out<'_, 'a> {
    fn push(&mut self, text: &str) -> Result<(), String> {
        self.held(|ctx| ctx.alloc(text.len()))?;
        self.text.push_str(text);
        Ok(())
    }

    fn held<T>(&mut self, step: impl FnOnce(&mut Ctx<'a>) -> Outcome<T>) -> Result<T, String> {
        step(self.ctx).map_err(|failure| {
            let message = failure.message.clone();
            if failure.fatal {
                self.spent = Some(failure);
            }
            message
        })
    }

    fn verb(&mut self, verb: Verb, values: &List<'a>, argument: usize) -> Result<(), String> {
        let value = self.held(|_| values.get(argument))?;
        let written = match verb {
            Verb::String => return self.string(&value),
            Verb::Decimal => decimal(&value)?,
            Verb::Fixed(precision) => fixed(number(&value, FIXED_ONLY)?, precision),
            Verb::Scientific(width) => scientific(number(&value, SCIENTIFIC_ONLY)?, width),
            Verb::Binary => radix(&value, 2)?,
            Verb::Octal => radix(&value, 8)?,
            Verb::Hex { upper } => {
                let hex = radix(&value, 16)?;
                if upper { hex.to_uppercase() } else { hex }
            }
        };
        self.push(&written)
    }

    /// `%s`
    fn string(&mut self, value: &Val<'a>) -> Result<(), String> {
        match value {
            Val::List(items) => self.list(items),
            Val::Map(entries) => self.map(entries),
            value => {
                let text = plain(value)?;
                self.push(&text)
            }
        }
    }

    fn list(&mut self, items: &List<'a>) -> Result<(), String> {
        self.push("[")?;
        for (i, item) in items.iter().enumerate() {
            if i > 0 {
                self.push(", ")?;
            }
            let item = self.held(|_| item)?;
            self.element(&item)?;
        }
        self.push("]")
    }

    /// In the order of the keys as they are written.
    fn map(&mut self, entries: &Entries<'a>) -> Result<(), String> {
        let mut keys: Vec<(String, Val)> = Vec::with_capacity(entries.len());
        for key in entries.keys() {
            let written = match &key {
                Val::String(s) => quote(s),
                Val::Bool(_) | Val::Int(_) | Val::Uint(_) => text_of(&key),
                other => {
                    let kind = other.type_name();
                    return Err(format!("no formatting function for map key of type {kind}"));
                }
            };
            self.held(|ctx| ctx.alloc(written.len()))?;
            keys.push((written, key));
        }
        keys.sort_by(|a, b| a.0.cmp(&b.0));
        self.push("{")?;
        for (i, (written, key)) in keys.into_iter().enumerate() {
            if i > 0 {
                self.push(", ")?;
            }
            self.push(&written)?;
            self.push(":")?;
            if let Some(value) = self.held(|_| entries.find(&key))? {
                self.element(&value)?;
            }
        }
        self.push("}")
    }

    /// A value within a list or a map, as CEL source text spells it.
    fn element(&mut self, value: &Val<'a>) -> Result<(), String> {
        let written = match value {
            Val::List(items) => return self.list(items),
            Val::Map(entries) => return self.map(entries),
            Val::String(s) => quote(s),
            Val::Bytes(_) => format!("b{}", quote(&plain(value)?)),
            Val::Double(d) if d.is_finite() => format!("{d:.DEFAULT_PRECISION$}"),
            Val::Double(_) => quote(&text_of(value)),
            Val::Timestamp(_) => format!("timestamp({})", quote(&text_of(value))),
            Val::Duration(_) => format!("duration({})", quote(&text_of(value))),
            Val::Int(_) | Val::Uint(_) | Val::Bool(_) | Val::Null | Val::Type(_) => text_of(value),
            other => return Err(format!("no formatting function for {}", other.type_name())),
        };
        self.push(&written)
    }
}

const STRINGS_ONLY: &str = "string clause can only be used on strings, bools, bytes, ints, doubles, maps, lists, types, \
     durations, and timestamps";
const DECIMAL_ONLY: &str = "decimal clause can only be used on integers";
const FIXED_ONLY: &str = "fixed-point clause can only be used on doubles";
const SCIENTIFIC_ONLY: &str = "scientific clause can only be used on doubles";
const BINARY_ONLY: &str = "only integers and bools can be formatted as binary";
const HEX_ONLY: &str = "only integers, byte buffers, and strings can be formatted as hex";
const OCTAL_ONLY: &str = "octal clause can only be used on integers";

impl Verb {
    /// What is wrong with other types than [`Self::takes`].
    pub(in crate::cel) fn only(self) -> &'static str {
        match self {
            Self::String => STRINGS_ONLY,
            Self::Decimal => DECIMAL_ONLY,
            Self::Fixed(_) => FIXED_ONLY,
            Self::Scientific(_) => SCIENTIFIC_ONLY,
            Self::Binary => BINARY_ONLY,
            Self::Hex { .. } => HEX_ONLY,
            Self::Octal => OCTAL_ONLY,
        }
    }
}

fn only<T>(rule: &str, value: &Val) -> Result<T, String> {
    Err(format!("{rule}, was given {}", value.type_name()))
}

fn plain(value: &Val) -> Result<String, String> {
    match value {
        Val::Bytes(bytes) => String::from_utf8(bytes.to_vec()).map_err(|_| {
            let why = quote("invalid UTF-8 in bytes, cannot convert to string");
            format!("could not convert argument {why} to string")
        }),
        Val::Map(_) | Val::List(_) | Val::Optional(_) | Val::Opaque(_) => only(STRINGS_ONLY, value),
        value => Ok(text_of(value)),
    }
}

fn decimal(value: &Val) -> Result<String, String> {
    match value {
        Val::Int(_) | Val::Uint(_) => Ok(text_of(value)),
        _ => only(DECIMAL_ONLY, value),
    }
}

/// A float, or the name of one that has no digits.
fn number(value: &Val, rule: &str) -> Result<f64, String> {
    match value {
        Val::Double(d) => Ok(*d),
        Val::String(s) => match &**s {
            "NaN" => Ok(f64::NAN),
            "Infinity" => Ok(f64::INFINITY),
            "-Infinity" => Ok(f64::NEG_INFINITY),
            _ => only(rule, value),
        },
        _ => only(rule, value),
    }
}

/// `NaN`, `∞`, `-∞`; `None` for what has digits.
fn symbol(d: f64) -> Option<&'static str> {
    match d {
        d if d.is_nan() => Some("NaN"),
        f64::INFINITY => Some("∞"),
        f64::NEG_INFINITY => Some("-∞"),
        _ => None,
    }
}

/// Zero has no sign.
fn sign(d: f64) -> &'static str {
    if d < 0.0 { "-" } else { "" }
}

/// `-1,234.500000`
fn fixed(d: f64, precision: usize) -> String {
    if let Some(symbol) = symbol(d) {
        return symbol.to_owned();
    }
    let digits = format!("{:.precision$}", d.abs());
    let (whole, fraction) = match digits.find('.') {
        Some(point) => digits.split_at(point),
        None => (digits.as_str(), ""),
    };
    let mut out = sign(d).to_owned();
    for (i, digit) in whole.chars().enumerate() {
        if i > 0 && (whole.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out + fraction
}

/// `1.234568×10⁻⁰³`: what is given as a precision is a width there.
fn scientific(d: f64, width: Option<usize>) -> String {
    let written = match symbol(d) {
        Some(symbol) => symbol.to_owned(),
        None => {
            let digits = format!("{:.DEFAULT_PRECISION$e}", d.abs());
            let (mantissa, exponent) = digits.split_once('e').unwrap_or((&digits, "0"));
            let exponent: i32 = exponent.parse().unwrap_or(0);
            let mut raised = String::new();
            if exponent < 0 {
                raised.push('⁻');
            }
            raised.extend(format!("{:02}", exponent.abs()).chars().map(superscript));
            format!("{}{mantissa}×10{raised}", sign(d))
        }
    };
    let width = width.unwrap_or(DEFAULT_PRECISION);
    format!("{written:>width$}")
}

fn superscript(digit: char) -> char {
    let digits = ['⁰', '¹', '²', '³', '⁴', '⁵', '⁶', '⁷', '⁸', '⁹'];
    digit.to_digit(10).map_or(digit, |d| digits[d as usize])
}

/// Whole numbers as sign and digits; text and bytes as the digits of their bytes.
fn radix(value: &Val, base: u32) -> Result<String, String> {
    let digits = |n: u64| match base {
        2 => format!("{n:b}"),
        8 => format!("{n:o}"),
        _ => format!("{n:x}"),
    };
    let bytes = |b: &[u8]| b.iter().map(|b| format!("{b:02x}")).collect();
    Ok(match (value, base) {
        (Val::Int(i), _) => {
            let sign = if *i < 0 { "-" } else { "" };
            format!("{sign}{}", digits(i.unsigned_abs()))
        }
        (Val::Uint(u), _) => digits(*u),
        (Val::Bool(b), 2) => digits(u64::from(*b)),
        (Val::String(s), 16) => bytes(s.as_bytes()),
        (Val::Bytes(b), 16) => bytes(b),
        (value, 2) => return only(BINARY_ONLY, value),
        (value, 8) => return only(OCTAL_ONLY, value),
        (value, _) => return only(HEX_ONLY, value),
    })
}

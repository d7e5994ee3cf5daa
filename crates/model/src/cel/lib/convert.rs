//! Conversions between types (cel-go `common/types`).

use crate::cel::ctx::Ctx;
use crate::cel::functions::{Charge, Library, row};
use crate::cel::ranges::{Estimate, Range, STRING, scaled};
use crate::cel::types::Type;
use crate::cel::val::{Failure, Outcome, Val};
use crate::time::{Instant, parse_duration};
use std::rc::Rc;

const GLOBAL: bool = false;

#[rustfmt::skip] // one row a line
pub(super) static CONVERSIONS: Library = Library {
    since: 0,
    types: &[],
    rows: &[
        row(GLOBAL, "type", "type", "A -> type(A)", type_of),
        row(GLOBAL, "dyn", "to_dyn", "A -> dyn", same),
        row(GLOBAL, "bool", "bool_to_bool", "bool -> bool", same),
        row(GLOBAL, "bool", "string_to_bool", "string -> bool", to_bool),
        row(GLOBAL, "bytes", "bytes_to_bytes", "bytes -> bytes", same),
        row(GLOBAL, "bytes", "string_to_bytes", "string -> bytes", to_bytes)
        .costing(
            Charge::Overload(|a| scaled(a[0].size(), STRING)),
            |s, _, args| {
                let size = s.size(args.first()?);
                let most = size.max.saturating_mul(4);
                Estimate::sized(size.per(STRING), Range::new(size.min, most))
            },
        ),
        row(GLOBAL, "double", "double_to_double", "double -> double", same),
        row(GLOBAL, "double", "int64_to_double", "int -> double", to_double),
        row(GLOBAL, "double", "string_to_double", "string -> double", to_double),
        row(GLOBAL, "double", "uint64_to_double", "uint -> double", to_double),
        row(GLOBAL, "duration", "duration_to_duration", "duration -> duration", same),
        row(GLOBAL, "duration", "int64_to_duration", "int -> duration", to_duration),
        row(GLOBAL, "duration", "string_to_duration", "string -> duration", to_duration),
        row(GLOBAL, "int", "int64_to_int64", "int -> int", same),
        row(GLOBAL, "int", "double_to_int64", "double -> int", to_int),
        row(GLOBAL, "int", "duration_to_int64", "duration -> int", to_int),
        row(GLOBAL, "int", "string_to_int64", "string -> int", to_int),
        row(GLOBAL, "int", "timestamp_to_int64", "timestamp -> int", to_int),
        row(GLOBAL, "int", "uint64_to_int64", "uint -> int", to_int),
        row(GLOBAL, "string", "string_to_string", "string -> string", same),
        row(GLOBAL, "string", "bool_to_string", "bool -> string", to_string),
        row(GLOBAL, "string", "bytes_to_string", "bytes -> string", to_string)
        .costing(
            Charge::Overload(|a| scaled(a[0].size(), STRING)),
            |s, _, args| {
                let size = s.size(args.first()?);
                Estimate::sized(size.per(STRING), Range::new(size.min / 4, size.max))
            },
        ),
        row(GLOBAL, "string", "double_to_string", "double -> string", to_string),
        row(GLOBAL, "string", "duration_to_string", "duration -> string", to_string),
        row(GLOBAL, "string", "int64_to_string", "int -> string", to_string),
        row(GLOBAL, "string", "timestamp_to_string", "timestamp -> string", to_string),
        row(GLOBAL, "string", "uint64_to_string", "uint -> string", to_string),
        row(GLOBAL, "timestamp", "timestamp_to_timestamp", "timestamp -> timestamp", same),
        row(GLOBAL, "timestamp", "int64_to_timestamp", "int -> timestamp", to_timestamp),
        row(GLOBAL, "timestamp", "string_to_timestamp", "string -> timestamp", to_timestamp),
        row(GLOBAL, "uint", "uint64_to_uint64", "uint -> uint", same),
        row(GLOBAL, "uint", "double_to_uint64", "double -> uint", to_uint),
        row(GLOBAL, "uint", "int64_to_uint64", "int -> uint", to_uint),
        row(GLOBAL, "uint", "string_to_uint64", "string -> uint", to_uint),
    ],
};

fn same<'a>(_: &mut Ctx<'a>, args: &[Val<'a>]) -> Outcome<Val<'a>> {
    Ok(args[0].clone())
}

fn type_of<'a>(_: &mut Ctx<'a>, args: &[Val<'a>]) -> Outcome<Val<'a>> {
    Ok(Val::Type(Rc::new(args[0].type_of())))
}

fn cannot<'a>(val: &Val, to: &str) -> Outcome<Val<'a>> {
    Err(Failure::new(format!(
        "type conversion error from '{}' to '{to}'",
        val.type_name()
    )))
}

fn range(what: &str) -> Failure {
    super::std::overflow(what)
}

/// The words of Go's `strconv.ParseBool`.
fn to_bool<'a>(_: &mut Ctx<'a>, args: &[Val<'a>]) -> Outcome<Val<'a>> {
    match args[0].as_str() {
        Some("1" | "t" | "T" | "true" | "TRUE" | "True") => Ok(Val::Bool(true)),
        Some("0" | "f" | "F" | "false" | "FALSE" | "False") => Ok(Val::Bool(false)),
        _ => cannot(&args[0], "bool"),
    }
}

fn to_bytes<'a>(ctx: &mut Ctx<'a>, args: &[Val<'a>]) -> Outcome<Val<'a>> {
    match args[0].as_str() {
        Some(s) => {
            ctx.alloc(s.len())?;
            Ok(Val::Bytes(s.as_bytes().into()))
        }
        None => cannot(&args[0], "bytes"),
    }
}

#[allow(clippy::cast_precision_loss, reason = "as cel-go converts")]
fn to_double<'a>(_: &mut Ctx<'a>, args: &[Val<'a>]) -> Outcome<Val<'a>> {
    match &args[0] {
        Val::Int(i) => Ok(Val::Double(*i as f64)),
        Val::Uint(u) => Ok(Val::Double(*u as f64)),
        Val::String(s) => match parse_float(s) {
            Some(f) => Ok(Val::Double(f)),
            None => cannot(&args[0], "double"),
        },
        other => cannot(other, "double"),
    }
}

/// Go's `strconv.ParseFloat` takes what Rust takes, but no number that is too large.
fn parse_float(text: &str) -> Option<f64> {
    // Underscores between digits, as in Go's literals.
    let bytes = text.as_bytes();
    let digit = |i: usize| bytes.get(i).is_some_and(u8::is_ascii_digit);
    let separated = bytes
        .iter()
        .enumerate()
        .all(|(i, b)| *b != b'_' || (i > 0 && digit(i - 1) && digit(i + 1)));
    if !separated {
        return None;
    }
    let float: f64 = text.replace('_', "").parse().ok()?;
    let named = text.bytes().any(|b| matches!(b, b'n' | b'N'));
    (float.is_finite() || named).then_some(float)
}

#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    reason = "the bounds are checked first, as cel-go's overflow.go does"
)]
fn to_int<'a>(_: &mut Ctx<'a>, args: &[Val<'a>]) -> Outcome<Val<'a>> {
    match &args[0] {
        Val::Double(d) if *d > i64::MIN as f64 && *d < i64::MAX as f64 => Ok(Val::Int(*d as i64)),
        Val::Double(_) => Err(range("integer")),
        Val::Uint(u) => i64::try_from(*u)
            .map(Val::Int)
            .map_err(|_| range("integer")),
        Val::Duration(nanos) => Ok(Val::Int(*nanos)),
        Val::Timestamp(at) => Ok(Val::Int(at.seconds)),
        Val::String(s) => match s.parse() {
            Ok(i) => Ok(Val::Int(i)),
            Err(_) => cannot(&args[0], "int"),
        },
        other => cannot(other, "int"),
    }
}

#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    reason = "the bounds are checked first, as cel-go's overflow.go does"
)]
fn to_uint<'a>(_: &mut Ctx<'a>, args: &[Val<'a>]) -> Outcome<Val<'a>> {
    match &args[0] {
        Val::Double(d) if *d >= 0.0 && *d < u64::MAX as f64 => Ok(Val::Uint(*d as u64)),
        Val::Double(_) => Err(range("unsigned integer")),
        Val::Int(i) => u64::try_from(*i)
            .map(Val::Uint)
            .map_err(|_| range("unsigned integer")),
        // Go takes no sign here
        Val::String(s) if !s.starts_with('+') => match s.parse() {
            Ok(u) => Ok(Val::Uint(u)),
            Err(_) => cannot(&args[0], "uint"),
        },
        other => cannot(other, "uint"),
    }
}

fn to_duration<'a>(_: &mut Ctx<'a>, args: &[Val<'a>]) -> Outcome<Val<'a>> {
    match &args[0] {
        Val::String(s) => match parse_duration(s) {
            Ok(nanos) => Ok(Val::Duration(nanos)),
            Err(_) => cannot(&args[0], "google.protobuf.Duration"),
        },
        other => cannot(other, "google.protobuf.Duration"),
    }
}

fn to_timestamp<'a>(_: &mut Ctx<'a>, args: &[Val<'a>]) -> Outcome<Val<'a>> {
    let at = match &args[0] {
        Val::Int(seconds) => Instant {
            seconds: *seconds,
            nanos: 0,
        },
        Val::String(s) => match Instant::parse(s) {
            Ok(at) => at,
            Err(_) => return cannot(&args[0], "google.protobuf.Timestamp"),
        },
        other => return cannot(other, "google.protobuf.Timestamp"),
    };
    super::times::timestamp(at)
}

fn to_string<'a>(ctx: &mut Ctx<'a>, args: &[Val<'a>]) -> Outcome<Val<'a>> {
    match &args[0] {
        Val::Bytes(b) => {
            ctx.alloc(b.len())?;
            match std::str::from_utf8(b) {
                Ok(s) => Ok(Val::text(s)),
                Err(_) => Err(Failure::new(
                    "invalid UTF-8 in bytes, cannot convert to string",
                )),
            }
        }
        Val::Double(d) => Ok(Val::from(float_text(*d, 6))),
        val
        @ (Val::Bool(_) | Val::Int(_) | Val::Uint(_) | Val::Duration(_) | Val::Timestamp(_)) => {
            Ok(Val::from(text_of(val)))
        }
        other => cannot(other, "string"),
    }
}

/// A value as text, as `string()` and messages show it.
pub(in crate::cel) fn text_of(val: &Val) -> String {
    match val {
        Val::Null => "null".into(),
        Val::Bool(b) => b.to_string(),
        Val::Int(i) => i.to_string(),
        Val::Uint(u) => u.to_string(),
        Val::Double(d) => float_text(*d, 21),
        Val::String(s) => s.to_string(),
        Val::Duration(nanos) => super::times::seconds_text(*nanos) + "s",
        Val::Timestamp(at) => super::times::timestamp_text(*at),
        Val::Type(t) => type_text(t),
        other => other.type_name(),
    }
}

fn type_text(t: &Type) -> String {
    t.runtime_name().to_owned()
}

/// Go's `%g` and `%v`: the fewest digits, an exponent below -4 and from `large` on.
pub(in crate::cel) fn float_text(d: f64, large: i32) -> String {
    if d.is_nan() {
        return "NaN".into();
    }
    if d.is_infinite() {
        return if d > 0.0 { "+Inf" } else { "-Inf" }.into();
    }
    let exponential = format!("{d:e}");
    let (digits, exponent) = exponential.split_once('e').unwrap_or((&exponential, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if d == 0.0 || (-4..large).contains(&exponent) {
        return format!("{d}");
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{digits}e{sign}{:02}", exponent.abs())
}

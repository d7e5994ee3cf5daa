//! Functions on strings (cel-go `ext/strings.go`, version 0 and, since 1.29, 2). Positions count
//! characters. Costs are those of apiserver `pkg/cel/library/cost.go`.

use super::args::{
    GLOBAL, MEMBER, READ, READ_TWICE, READING_TARGET, int, list, made, made_list, text,
};
use crate::cel::ast::Literal;
use crate::cel::ctx::Ctx;
use crate::cel::functions::{Charge, Estimator, Library, row};
use crate::cel::ranges::{Estimate, Range, STRING, scaled};
use crate::cel::val::{Failure, Outcome, Val};

#[rustfmt::skip] // one row a line
pub(super) static STRINGS: Library = Library {
    since: 0,
    types: &[],
    rows: &[
        row(MEMBER, "charAt", "string_char_at_int", "string, int -> string", char_at),
        row(MEMBER, "indexOf", "string_index_of_string", "string, string -> int", index_of).costing(SCAN, SCANNING),
        row(MEMBER, "indexOf", "string_index_of_string_int", "string, string, int -> int", index_of).costing(SCAN, SCANNING),
        row(MEMBER, "lastIndexOf", "string_last_index_of_string", "string, string -> int", last_index_of).costing(SCAN, SCANNING),
        row(MEMBER, "lastIndexOf", "string_last_index_of_string_int", "string, string, int -> int", last_index_of).costing(SCAN, SCANNING),
        row(MEMBER, "lowerAscii", "string_lower_ascii", "string -> string", lower).costing(READ, READING_TARGET),
        row(MEMBER, "replace", "string_replace_string_string", "string, string, string -> string", replace).costing(READ_TWICE, REPLACING),
        row(MEMBER, "replace", "string_replace_string_string_int", "string, string, string, int -> string", replace).costing(READ_TWICE, REPLACING),
        row(MEMBER, "split", "string_split_string", "string, string -> list(string)", split).costing(READ_TWICE, SPLITTING),
        row(MEMBER, "split", "string_split_string_int", "string, string, int -> list(string)", split).costing(READ_TWICE, SPLITTING),
        row(MEMBER, "substring", "string_substring_int", "string, int -> string", substring).costing(READ, READING_TARGET),
        row(MEMBER, "substring", "string_substring_int_int", "string, int, int -> string", substring).costing(READ, READING_TARGET),
        row(MEMBER, "trim", "string_trim", "string -> string", trim).costing(READ, READING_TARGET),
        row(MEMBER, "upperAscii", "string_upper_ascii", "string -> string", upper).costing(READ, READING_TARGET),
        row(MEMBER, "join", "list_join", "list(string) -> string", join).costing(JOINED, JOINING),
        row(MEMBER, "join", "list_join_string", "list(string), string -> string", join).costing(JOINED, JOINING),
    ],
};

#[rustfmt::skip] // one row a line
pub(super) static STRINGS_1: Library = Library {
    since: 29,
    types: &[],
    rows: &[
        row(GLOBAL, "strings.quote", "strings_quote", "string -> string", quoted)
            .costing(Charge::Overload(|a| scaled(a[0].size(), STRING)), QUOTING),
        row(MEMBER, "format", "string_format", "string, list(dyn) -> string", super::verbs::format)
            .costing(Charge::Overload(|a| scaled(a[0].size(), STRING)), |s, target, _| {
                Estimate::of(s.size(target?).per(STRING))
            }),
    ],
};

const SCAN: Charge = Charge::Args(|a| super::lists::traversal(&a[0]));
const SCANNING: Estimator = |s, target, args| super::lists::SCANNING(s, target, args);
const JOINED: Charge = Charge::Result(|_, joined| scaled(joined.size(), 2.0 * STRING));

const QUOTING: Estimator = |s, _, args| {
    let size = s.size(args.first()?);
    let longest = size.max.saturating_mul(2).saturating_add(2);
    Estimate::sized(
        size.per(STRING),
        Range::new(size.min.saturating_add(2), longest),
    )
};

/// How long a replacement can be: by the longest and the shortest that may be put in.
const REPLACING: Estimator = |s, target, args| {
    let size = s.size(target?);
    let (old, new) = (s.size(args.first()?), s.size(args.get(1)?));
    let longest = if old.min == 0 {
        // Nothing stands between any two characters, and at both ends.
        let places = size.max.saturating_add(1);
        places.saturating_mul(new.max).saturating_add(size.max)
    } else if new.max <= old.min {
        size.max
    } else {
        size.max.div_ceil(old.min).saturating_mul(new.max)
    };
    let shortest = if old.max == 0 {
        let places = size.min.saturating_add(1);
        places.saturating_mul(new.min).saturating_add(size.min)
    } else if old.max <= new.min {
        size.min
    } else {
        size.min.div_ceil(old.max).saturating_mul(new.min)
    };
    Estimate::sized(size.per(2.0 * STRING), Range::new(shortest, longest))
};

const SPLITTING: Estimator = |s, target, args| {
    let size = s.size(target?);
    let most = match args.get(1).and_then(|limit| limit.literal) {
        // A negative limit is an enormous one upstream too.
        #[allow(clippy::cast_sign_loss, reason = "as upstream")]
        Some(Literal::Int(limit)) => *limit as u64,
        _ => size.max,
    };
    Estimate::sized(size.per(2.0 * STRING), Range::new(0, most))
};

const JOINING: Estimator = |s, target, args| {
    let target = target?;
    let count = s.size(target);
    let mut size = s
        .element(target)
        .map_or(Range::ZERO, |element| count.times(s.size(&element)));
    if let Some(separator) = args.first() {
        let places = Range::new(count.min.saturating_sub(1), count.max.saturating_sub(1));
        size = size.plus(s.size(separator).times(places));
    }
    Estimate::sized(size.per(STRING), size)
};

fn out_of_range(index: i64) -> Failure {
    Failure::new(format!("index out of range: {index}"))
}

/// Where the character at `index` begins; `None` beyond the end.
fn place(text: &str, index: usize) -> Option<usize> {
    let end = std::iter::once(text.len());
    text.char_indices().map(|(at, _)| at).chain(end).nth(index)
}

/// The place of a character that must exist, or the end.
fn place_or_fail(text: &str, index: i64) -> Outcome<usize> {
    usize::try_from(index)
        .ok()
        .and_then(|i| place(text, i))
        .ok_or_else(|| out_of_range(index))
}

fn char_at<'a>(_: &mut Ctx<'a>, args: &[Val<'a>]) -> Outcome<Val<'a>> {
    let s = text(args, 0)?;
    let at = place_or_fail(s, int(args, 1)?)?;
    let c = s[at..]
        .chars()
        .next()
        .map_or("", |c| &s[at..at + c.len_utf8()]);
    Ok(Val::text(c))
}

fn count(text: &str) -> i64 {
    i64::try_from(text.chars().count()).unwrap_or(i64::MAX)
}

fn index_of<'a>(ctx: &mut Ctx<'a>, args: &[Val<'a>]) -> Outcome<Val<'a>> {
    let (s, part) = (text(args, 0)?, text(args, 1)?);
    let from = if args.len() > 2 { int(args, 2)? } else { 0 };
    if part.is_empty() {
        return Ok(Val::Int(from));
    }
    let skipped = usize::try_from(from).map_err(|_| out_of_range(from))?;
    ctx.burn((s.len() + part.len()) / 64)?;
    let found = place(s, skipped)
        .and_then(|start| s[start..].find(part).map(|i| &s[..start + i]))
        .map_or(-1, count);
    Ok(Val::Int(found))
}

fn last_index_of<'a>(ctx: &mut Ctx<'a>, args: &[Val<'a>]) -> Outcome<Val<'a>> {
    let (s, part) = (text(args, 0)?, text(args, 1)?);
    ctx.burn((s.len() + part.len()) / 64)?;
    let len = count(s);
    let last = if args.len() > 2 {
        let last = int(args, 2)?;
        if part.is_empty() {
            return Ok(Val::Int(last));
        }
        if last < 0 {
            return Err(out_of_range(last));
        }
        if last >= len {
            return Ok(Val::Int(-1));
        }
        last
    } else {
        if part.is_empty() {
            return Ok(Val::Int(len));
        }
        len
    };
    // What begins at `last` ends this much later.
    let end = usize::try_from(last.saturating_add(count(part)))
        .ok()
        .and_then(|end| place(s, end))
        .unwrap_or(s.len());
    Ok(Val::Int(
        s[..end].rfind(part).map_or(-1, |i| count(&s[..i])),
    ))
}

fn lower<'a>(ctx: &mut Ctx<'a>, args: &[Val<'a>]) -> Outcome<Val<'a>> {
    let lower = text(args, 0)?.to_ascii_lowercase();
    made(ctx, lower)
}

fn upper<'a>(ctx: &mut Ctx<'a>, args: &[Val<'a>]) -> Outcome<Val<'a>> {
    let upper = text(args, 0)?.to_ascii_uppercase();
    made(ctx, upper)
}

fn trim<'a>(_: &mut Ctx<'a>, args: &[Val<'a>]) -> Outcome<Val<'a>> {
    Ok(Val::text(text(args, 0)?.trim()))
}

/// How often at most: all for negative limits.
fn limit(args: &[Val], at: usize) -> Outcome<usize> {
    if args.len() <= at {
        return Ok(usize::MAX);
    }
    Ok(usize::try_from(int(args, at)?).unwrap_or(usize::MAX))
}

fn replace<'a>(ctx: &mut Ctx<'a>, args: &[Val<'a>]) -> Outcome<Val<'a>> {
    let (s, old, new) = (text(args, 0)?, text(args, 1)?, text(args, 2)?);
    let limit = limit(args, 3)?;
    // The result is measured before it is made: it can be longer than any argument.
    let places = s.matches(old).take(limit).count();
    let grown = places.saturating_mul(new.len()).saturating_add(s.len());
    ctx.alloc(grown)?;
    Ok(Val::from(s.replacen(old, new, limit)))
}

fn split<'a>(ctx: &mut Ctx<'a>, args: &[Val<'a>]) -> Outcome<Val<'a>> {
    let (s, separator) = (text(args, 0)?, text(args, 1)?);
    let limit = limit(args, 2)?;
    if separator.is_empty() {
        return made_list(ctx, characters(s, limit));
    }
    made_list(ctx, s.splitn(limit, separator))
}

/// At most `limit` pieces: one character each, and the rest.
fn characters(s: &str, limit: usize) -> impl Iterator<Item = &str> {
    let mut rest = s;
    (0..limit).map_while(move |i| {
        let len = rest.chars().next()?.len_utf8();
        let cut = if i + 1 == limit { rest.len() } else { len };
        let (piece, after) = rest.split_at(cut);
        rest = after;
        Some(piece)
    })
}

fn substring<'a>(_: &mut Ctx<'a>, args: &[Val<'a>]) -> Outcome<Val<'a>> {
    let (s, start) = (text(args, 0)?, int(args, 1)?);
    if args.len() == 2 {
        return Ok(Val::text(&s[place_or_fail(s, start)?..]));
    }
    let end = int(args, 2)?;
    if start > end {
        return Err(Failure::new(format!(
            "invalid substring range. start: {start}, end: {end}"
        )));
    }
    let from = place_or_fail(s, start)?;
    Ok(Val::text(&s[from..place_or_fail(s, end)?]))
}

fn join<'a>(ctx: &mut Ctx<'a>, args: &[Val<'a>]) -> Outcome<Val<'a>> {
    let items = list(args, 0)?;
    let separator = if args.len() > 1 { text(args, 1)? } else { "" };
    let mut joined = String::new();
    for (i, item) in items.iter().enumerate() {
        let item = item?;
        let Some(s) = item.as_str() else {
            return Err(Failure::new(format!(
                "join: invalid input: {}",
                super::convert::text_of(&item)
            )));
        };
        ctx.alloc(s.len() + separator.len() + 1)?;
        if i > 0 {
            joined.push_str(separator);
        }
        joined.push_str(s);
    }
    Ok(Val::from(joined))
}

/// The string as CEL source text spells it.
fn quote(s: &str) -> String {
    let mut out = String::with_capacity(s.len() + 2);
    out.push('"');
    for c in s.chars() {
        match c {
            '\u{7}' => out.push_str("\\a"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{b}' => out.push_str("\\v"),
            '\\' => out.push_str("\\\\"),
            '"' => out.push_str("\\\""),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

fn quoted<'a>(ctx: &mut Ctx<'a>, args: &[Val<'a>]) -> Outcome<Val<'a>> {
    let quoted = quote(text(args, 0)?);
    made(ctx, quoted)
}

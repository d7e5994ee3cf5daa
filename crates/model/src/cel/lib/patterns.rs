//! Finding patterns in strings (apiserver `pkg/cel/library/regex.go`).

use super::args::{MEMBER, int, made, made_list, text};
use crate::cel::ctx::Ctx;
use crate::cel::functions::{Charge, Estimator, Library, row};
use crate::cel::ranges::{Estimate, REGEX, Range, STRING, scaled};
use crate::cel::val::{Outcome, Val};
use regex::Regex;

#[rustfmt::skip] // one row a line
pub(super) static PATTERNS: Library = Library {
    since: 0,
    types: &[],
    rows: &[
        row(MEMBER, "find", "string_find_string", "string, string -> string", find).costing(SEARCH, SEARCHING),
        row(MEMBER, "findAll", "string_find_all_string", "string, string -> list(string)", find_all).costing(SEARCH, SEARCHING),
        row(MEMBER, "findAll", "string_find_all_string_int", "string, string, int -> list(string)", find_all).costing(SEARCH, SEARCHING),
    ],
};

const SEARCH: Charge = Charge::Args(|a| {
    scaled(a[0].size().saturating_add(1), STRING).saturating_mul(scaled(a[1].size(), REGEX))
});

const SEARCHING: Estimator = |s, target, args| {
    let size = s.size(target?);
    let pattern = s.size(args.first()?).per(REGEX);
    let cost = size.plus(Range::ONE).per(STRING).times(pattern);
    Estimate::sized(cost, Range::new(0, size.max))
};

fn find<'a>(ctx: &mut Ctx<'a>, args: &[Val<'a>]) -> Outcome<Val<'a>> {
    let pattern = pattern(ctx, text(args, 1)?)?;
    let found = pattern.find(text(args, 0)?).map_or("", |m| m.as_str());
    made(ctx, found.to_owned())
}

/// A pattern that is only known now is refused with another beginning.
fn pattern(ctx: &mut Ctx, pattern: &str) -> Outcome<std::rc::Rc<Regex>> {
    ctx.regex(pattern).map_err(|mut failure| {
        failure.message.insert_str(0, "Illegal regex: ");
        failure
    })
}

fn find_all<'a>(ctx: &mut Ctx<'a>, args: &[Val<'a>]) -> Outcome<Val<'a>> {
    let pattern = pattern(ctx, text(args, 1)?)?;
    let limit = if args.len() > 2 { int(args, 2)? } else { -1 };
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let found = pattern.find_iter(text(args, 0)?).map(|m| m.as_str());
    made_list(ctx, found.take(limit))
}

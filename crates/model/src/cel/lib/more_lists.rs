//! The language's own extension for lists (cel-go `ext/lists.go` version 3, since 1.34).
//!
//! `lists.range` makes at most [`MAX_RANGE`] numbers: upstream makes any number for no more cost.

use super::args::{GLOBAL, MEMBER, int, list};
use crate::cel::ast::Literal;
use crate::cel::compare::{equal, order};
use crate::cel::ctx::Ctx;
use crate::cel::functions::{Charge, Estimator, Library, row};
use crate::cel::ranges::{Estimate, LIST_CREATE, Node, Range, STRING, Sizes};
use crate::cel::types::Type;
use crate::cel::val::{Failure, List, Outcome, Val};
use std::cmp::Ordering;

/// What the macro `sortBy` becomes.
pub(in crate::cel) const SORT_BY: &str = "@sortByAssociatedKeys";

#[rustfmt::skip] // one row a line
pub(super) static MORE_LISTS: Library = Library {
    since: 34,
    types: &[],
    rows: &[
        row(MEMBER, "slice", "list_slice", "list(T), int, int -> list(T)", slice).costing(OUTPUT, SLICING),
        row(MEMBER, "flatten", "list_flatten", "list(list(T)) -> list(T)", flatten).costing(FLATTEN, FLATTENING).lenient(),
        row(MEMBER, "flatten", "list_flatten_int", "list(dyn), int -> list(dyn)", flatten).costing(FLATTEN, FLATTENING).lenient(),
        row(MEMBER, "sort", "list_int_sort", "list(int) -> list(int)", sort).costing(SORT, SORTING),
        row(MEMBER, "sort", "list_uint_sort", "list(uint) -> list(uint)", sort).costing(SORT, SORTING),
        row(MEMBER, "sort", "list_double_sort", "list(double) -> list(double)", sort).costing(SORT, SORTING),
        row(MEMBER, "sort", "list_bool_sort", "list(bool) -> list(bool)", sort).costing(SORT, SORTING),
        row(MEMBER, "sort", "list_google.protobuf.Duration_sort", "list(duration) -> list(duration)", sort).costing(SORT, SORTING),
        row(MEMBER, "sort", "list_google.protobuf.Timestamp_sort", "list(timestamp) -> list(timestamp)", sort).costing(SORT, SORTING),
        row(MEMBER, "sort", "list_string_sort", "list(string) -> list(string)", sort).costing(SORT, SORTING_TEXT),
        row(MEMBER, "sort", "list_bytes_sort", "list(bytes) -> list(bytes)", sort).costing(SORT, SORTING_TEXT),
        row(MEMBER, SORT_BY, "list_int_sortByAssociatedKeys", "list(T), list(int) -> list(T)", sort_by).costing(SORT_KEYS, SORTING),
        row(MEMBER, SORT_BY, "list_uint_sortByAssociatedKeys", "list(T), list(uint) -> list(T)", sort_by).costing(SORT_KEYS, SORTING),
        row(MEMBER, SORT_BY, "list_double_sortByAssociatedKeys", "list(T), list(double) -> list(T)", sort_by).costing(SORT_KEYS, SORTING),
        row(MEMBER, SORT_BY, "list_bool_sortByAssociatedKeys", "list(T), list(bool) -> list(T)", sort_by).costing(SORT_KEYS, SORTING),
        row(MEMBER, SORT_BY, "list_google.protobuf.Duration_sortByAssociatedKeys", "list(T), list(duration) -> list(T)", sort_by).costing(SORT_KEYS, SORTING),
        row(MEMBER, SORT_BY, "list_google.protobuf.Timestamp_sortByAssociatedKeys", "list(T), list(timestamp) -> list(T)", sort_by).costing(SORT_KEYS, SORTING),
        row(MEMBER, SORT_BY, "list_string_sortByAssociatedKeys", "list(T), list(string) -> list(T)", sort_by).costing(SORT_KEYS, SORTING_TEXT),
        row(MEMBER, SORT_BY, "list_bytes_sortByAssociatedKeys", "list(T), list(bytes) -> list(T)", sort_by).costing(SORT_KEYS, SORTING_TEXT),
        row(GLOBAL, "lists.range", "lists_range", "int -> list(int)", range).costing(OUTPUT, RANGING),
        row(MEMBER, "reverse", "list_reverse", "list(T) -> list(T)", reverse).costing(OUTPUT, |s, target, _| made(1.0, s.size(target?))),
        row(MEMBER, "distinct", "list_distinct", "list(T) -> list(T)", distinct).costing(SORT, |s, target, _| made(2.0, square(s.size(target?)))),
    ],
};

/// Numbers of one `lists.range`.
const MAX_RANGE: i64 = 1_000_000;

/// 1 for the call, and the list.
const fn allocating(work: u64) -> u64 {
    work.saturating_add(1).saturating_add(LIST_CREATE)
}

const OUTPUT: Charge = Charge::Result(|_, result| allocating(result.size()));
const FLATTEN: Charge = Charge::Overload(|a| {
    let depth = a.get(1).and_then(Val::as_int).unwrap_or(1);
    #[allow(clippy::cast_precision_loss, reason = "as upstream")]
    let depth = depth as f64;
    // A depth that is refused afterwards has wrapped around by then.
    work(a[0].size(), depth).wrapping_add(1 + LIST_CREATE)
});
const SORT: Charge = Charge::Overload(|a| self_compare(&a[0]));
const SORT_KEYS: Charge = Charge::Overload(|a| self_compare(&a[1]));

#[allow(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "computed in floating point upstream, rounded down; `as` saturates"
)]
fn work(size: u64, factor: f64) -> u64 {
    let work = size as f64 * factor;
    if work < 0.0 {
        return (work as i64) as u64;
    }
    work as u64
}

/// Every element with every other.
fn self_compare(val: &Val) -> u64 {
    let Val::List(items) = val else {
        return 1;
    };
    let size = items.len() as u64;
    let factor = match items.get(0) {
        Ok(Val::String(_) | Val::Bytes(_)) if size > 0 => 2.0 + STRING,
        _ => 2.0,
    };
    allocating(work(size.saturating_mul(size), factor))
}

fn made(factor: f64, size: Range) -> Option<Estimate> {
    Estimate::sized(
        size.per(factor)
            .plus(Range::ONE)
            .plus(Range::just(LIST_CREATE)),
        size,
    )
}

fn square(size: Range) -> Range {
    size.times(size)
}

/// The number that stands there, or what is assumed.
fn number(node: Option<&Node>, assumed: u64) -> u64 {
    match node.and_then(|n| n.literal) {
        Some(Literal::Int(i)) => u64::try_from(*i).unwrap_or(0),
        _ => assumed,
    }
}

const SLICING: Estimator = |s, target, args| {
    let size = s.size(target?);
    let (start, end) = (number(args.first(), 0), number(args.get(1), size.max));
    made(1.0, Range::just(end.wrapping_sub(start)))
};
const RANGING: Estimator = |_, _, args| made(1.0, Range::just(number(args.first(), u64::MAX)));
const FLATTENING: Estimator = |s, target, args| {
    let depth = if args.is_empty() {
        1
    } else {
        number(args.first(), u64::MAX)
    };
    #[allow(clippy::cast_precision_loss, reason = "as upstream")]
    made(depth as f64, s.size(target?))
};
const SORTING: Estimator = |s, target, args| sorting(s, target, args, 2.0);
const SORTING_TEXT: Estimator = |s, target, args| sorting(s, target, args, 2.0 + STRING);

/// By the keys, which are the list itself when there are no others.
fn sorting(s: &Sizes, target: Option<&Node>, args: &[Node], factor: f64) -> Option<Estimate> {
    let keys = args.first().or(target)?;
    made(factor, square(s.size(keys)))
}

fn copied<'a>(
    ctx: &mut Ctx<'a>,
    items: &List<'a>,
    order: impl ExactSizeIterator<Item = usize>,
) -> Outcome<Val<'a>> {
    ctx.burn(order.len())?;
    ctx.alloc(order.len().saturating_mul(size_of::<Val>()))?;
    let made: Outcome<Vec<Val>> = order.map(|i| items.get(i)).collect();
    Ok(Val::list(made?))
}

fn slice<'a>(ctx: &mut Ctx<'a>, args: &[Val<'a>]) -> Outcome<Val<'a>> {
    let (items, start, end) = (list(args, 0)?, int(args, 1)?, int(args, 2)?);
    let wrong = |why: String| Failure::new(format!("cannot slice({start}, {end}), {why}"));
    let (Ok(from), Ok(to)) = (usize::try_from(start), usize::try_from(end)) else {
        return Err(wrong("negative indexes not supported".into()));
    };
    if from > to {
        return Err(wrong(
            "start index must be less than or equal to end index".into(),
        ));
    }
    if items.len() < to {
        return Err(wrong(format!("list is length {}", items.len())));
    }
    copied(ctx, items, from..to)
}

fn flatten<'a>(ctx: &mut Ctx<'a>, args: &[Val<'a>]) -> Outcome<Val<'a>> {
    let depth = if args.len() > 1 { int(args, 1)? } else { 1 };
    if depth < 0 {
        return Err(Failure::new("level must be non-negative"));
    }
    let mut flat = Vec::new();
    flatten_into(ctx, list(args, 0)?, depth, &mut flat)?;
    Ok(Val::list(flat))
}

fn flatten_into<'a>(
    ctx: &mut Ctx<'a>,
    items: &List<'a>,
    depth: i64,
    flat: &mut Vec<Val<'a>>,
) -> Outcome<()> {
    for item in items.iter() {
        ctx.burn(1)?;
        match item? {
            // Values nest no deeper than expressions and JSON may.
            Val::List(nested) if depth > 0 => flatten_into(ctx, &nested, depth - 1, flat)?,
            item => {
                ctx.alloc(size_of::<Val>())?;
                flat.push(item);
            }
        }
    }
    Ok(())
}

fn sort<'a>(ctx: &mut Ctx<'a>, args: &[Val<'a>]) -> Outcome<Val<'a>> {
    let items = list(args, 0)?;
    sorted(ctx, items, items)
}

fn sort_by<'a>(ctx: &mut Ctx<'a>, args: &[Val<'a>]) -> Outcome<Val<'a>> {
    sorted(ctx, list(args, 0)?, list(args, 1)?)
}

/// The elements in the order of their keys.
fn sorted<'a>(ctx: &mut Ctx<'a>, items: &List<'a>, keys: &List<'a>) -> Outcome<Val<'a>> {
    if items.len() != keys.len() {
        return Err(Failure::new(format!(
            "@sortByAssociatedKeys() expected a list of the same size as the associated keys list, but got {} \
             and {} elements respectively",
            items.len(),
            keys.len()
        )));
    }
    if items.is_empty() {
        return Ok(Val::List(items.clone()));
    }
    // Each comparison of long strings reads them.
    ctx.burn(keys.len().saturating_mul(16))?;
    ctx.alloc(keys.len().saturating_mul(size_of::<(usize, Val)>()))?;
    let read: Outcome<Vec<Val>> = keys.iter().collect();
    let keys = read?;
    let first = keys[0].type_of();
    if matches!(
        first,
        Type::List(_) | Type::Map(..) | Type::Null | Type::Type(_)
    ) {
        return Err(Failure::new("list elements must be comparable"));
    }
    if keys.iter().any(|key| key.type_of() != first) {
        return Err(Failure::new("list elements must have the same type"));
    }
    let mut places: Vec<usize> = (0..keys.len()).collect();
    places.sort_by(|a, b| by_order(&keys[*a], &keys[*b]));
    copied(ctx, items, places.into_iter())
}

/// What is not a number comes last, so that this is a total order.
fn by_order(a: &Val, b: &Val) -> Ordering {
    let nan = |v: &Val| matches!(v, Val::Double(d) if d.is_nan());
    order(a, b).unwrap_or_else(|_| nan(a).cmp(&nan(b)))
}

fn range<'a>(ctx: &mut Ctx<'a>, args: &[Val<'a>]) -> Outcome<Val<'a>> {
    let end = int(args, 0)?.max(0);
    if end > MAX_RANGE {
        return Err(Failure::out_of_budget());
    }
    let len = usize::try_from(end).unwrap_or(usize::MAX);
    ctx.burn(len)?;
    ctx.alloc(len.saturating_mul(size_of::<Val>()))?;
    Ok(Val::list((0..end).map(Val::Int).collect()))
}

fn reverse<'a>(ctx: &mut Ctx<'a>, args: &[Val<'a>]) -> Outcome<Val<'a>> {
    let items = list(args, 0)?;
    copied(ctx, items, (0..items.len()).rev())
}

fn distinct<'a>(ctx: &mut Ctx<'a>, args: &[Val<'a>]) -> Outcome<Val<'a>> {
    let mut kept: Vec<Val> = Vec::new();
    for item in list(args, 0)?.iter() {
        let item = item?;
        let mut seen = false;
        for other in &kept {
            seen = equal(ctx, &item, other)?;
            if seen {
                break;
            }
        }
        if !seen {
            ctx.alloc(size_of::<Val>())?;
            kept.push(item);
        }
    }
    Ok(Val::list(kept))
}

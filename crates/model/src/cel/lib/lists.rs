//! Kubernetes' functions on lists (apiserver `pkg/cel/library/lists.go`, since the beginning) and
//! on lists as sets (cel-go `ext/sets.go`, since 1.29).

use super::args::{GLOBAL, MEMBER, list};
use crate::cel::compare::{contains, equal, order};
use crate::cel::ctx::Ctx;
use crate::cel::functions::{Charge, Estimator, Library, Run, row};
use crate::cel::ranges::{Estimate, Range, STRING};
use crate::cel::types::Type;
use crate::cel::val::{Failure, List, Outcome, Val};
use std::cmp::Ordering;

#[rustfmt::skip] // one row a line
pub(super) static LISTS: Library = Library {
    since: 0,
    types: &[],
    rows: &[
        row(MEMBER, "isSorted", "list_int_is_sorted_bool", "list(int) -> bool", is_sorted).costing(TRAVERSE, SCANNING),
        row(MEMBER, "isSorted", "list_uint_is_sorted_bool", "list(uint) -> bool", is_sorted).costing(TRAVERSE, SCANNING),
        row(MEMBER, "isSorted", "list_double_is_sorted_bool", "list(double) -> bool", is_sorted).costing(TRAVERSE, SCANNING),
        row(MEMBER, "isSorted", "list_bool_is_sorted_bool", "list(bool) -> bool", is_sorted).costing(TRAVERSE, SCANNING),
        row(MEMBER, "isSorted", "list_duration_is_sorted_bool", "list(duration) -> bool", is_sorted).costing(TRAVERSE, SCANNING),
        row(MEMBER, "isSorted", "list_timestamp_is_sorted_bool", "list(timestamp) -> bool", is_sorted).costing(TRAVERSE, SCANNING),
        row(MEMBER, "isSorted", "list_string_is_sorted_bool", "list(string) -> bool", is_sorted).costing(TRAVERSE, SCANNING),
        row(MEMBER, "isSorted", "list_bytes_is_sorted_bool", "list(bytes) -> bool", is_sorted).costing(TRAVERSE, SCANNING),
        row(MEMBER, "sum", "list_int_sum_int", "list(int) -> int", sum_ints).costing(TRAVERSE, SCANNING),
        row(MEMBER, "sum", "list_uint_sum_uint", "list(uint) -> uint", sum_uints).costing(TRAVERSE, SCANNING),
        row(MEMBER, "sum", "list_double_sum_double", "list(double) -> double", sum_doubles).costing(TRAVERSE, SCANNING),
        row(MEMBER, "sum", "list_duration_sum_duration", "list(duration) -> duration", sum_durations).costing(TRAVERSE, SCANNING),
        row(MEMBER, "max", "list_int_max_int", "list(int) -> int", MAX).costing(TRAVERSE, SCANNING),
        row(MEMBER, "max", "list_uint_max_uint", "list(uint) -> uint", MAX).costing(TRAVERSE, SCANNING),
        row(MEMBER, "max", "list_double_max_double", "list(double) -> double", MAX).costing(TRAVERSE, SCANNING),
        row(MEMBER, "max", "list_bool_max_bool", "list(bool) -> bool", MAX).costing(TRAVERSE, SCANNING),
        row(MEMBER, "max", "list_duration_max_duration", "list(duration) -> duration", MAX).costing(TRAVERSE, SCANNING),
        row(MEMBER, "max", "list_timestamp_max_timestamp", "list(timestamp) -> timestamp", MAX).costing(TRAVERSE, SCANNING),
        row(MEMBER, "max", "list_string_max_string", "list(string) -> string", MAX).costing(TRAVERSE, SCANNING),
        row(MEMBER, "max", "list_bytes_max_bytes", "list(bytes) -> bytes", MAX).costing(TRAVERSE, SCANNING),
        row(MEMBER, "min", "list_int_min_int", "list(int) -> int", MIN).costing(TRAVERSE, SCANNING),
        row(MEMBER, "min", "list_uint_min_uint", "list(uint) -> uint", MIN).costing(TRAVERSE, SCANNING),
        row(MEMBER, "min", "list_double_min_double", "list(double) -> double", MIN).costing(TRAVERSE, SCANNING),
        row(MEMBER, "min", "list_bool_min_bool", "list(bool) -> bool", MIN).costing(TRAVERSE, SCANNING),
        row(MEMBER, "min", "list_duration_min_duration", "list(duration) -> duration", MIN).costing(TRAVERSE, SCANNING),
        row(MEMBER, "min", "list_timestamp_min_timestamp", "list(timestamp) -> timestamp", MIN).costing(TRAVERSE, SCANNING),
        row(MEMBER, "min", "list_string_min_string", "list(string) -> string", MIN).costing(TRAVERSE, SCANNING),
        row(MEMBER, "min", "list_bytes_min_bytes", "list(bytes) -> bytes", MIN).costing(TRAVERSE, SCANNING),
        row(MEMBER, "indexOf", "list_a_index_of_int", "list(A), A -> int", index_of).costing(TRAVERSE, SCANNING),
        row(MEMBER, "lastIndexOf", "list_a_last_index_of_int", "list(A), A -> int", last_index_of).costing(TRAVERSE, SCANNING),
    ],
};

#[rustfmt::skip] // one row a line
pub(super) static SETS: Library = Library {
    since: 29,
    types: &[],
    rows: &[
        row(GLOBAL, "sets.contains", "list_sets_contains_list", "list(T), list(T) -> bool", sets_contain)
            .costing(Charge::Overload(|a| pairs(a).saturating_add(1)), |s, _, args| {
                Estimate::of(s.size(args.first()?).times(s.size(args.get(1)?)).plus(Range::ONE))
            }),
        row(GLOBAL, "sets.equivalent", "list_sets_equivalent_list", "list(T), list(T) -> bool", sets_equal)
            .costing(Charge::Overload(|a| pairs(a).saturating_mul(2).saturating_add(1)), |s, _, args| {
                Estimate::of(s.size(args.first()?).times(s.size(args.get(1)?)).per(2.0).plus(Range::ONE))
            }),
        row(GLOBAL, "sets.intersects", "list_sets_intersects_list", "list(T), list(T) -> bool", sets_meet)
            .costing(Charge::Overload(|a| pairs(a).saturating_add(1)), |s, _, args| {
                Estimate::of(s.size(args.first()?).times(s.size(args.get(1)?)).plus(Range::ONE))
            }),
    ],
};

fn pairs(args: &[Val]) -> u64 {
    args[0].size().saturating_mul(args[1].size())
}

const TRAVERSE: Charge = Charge::Args(|a| traversal(&a[0]));

/// Reading all that is in a value: 1 for each scalar, less for text.
pub(super) fn traversal(val: &Val) -> u64 {
    let mut steps = MAX_STEPS;
    read(val, &mut steps)
}

/// Values that share their parts can be read for ever; what takes longer costs too much.
const MAX_STEPS: u64 = 2_000_000;

fn read(val: &Val, steps: &mut u64) -> u64 {
    *steps = steps.saturating_sub(1);
    if *steps == 0 {
        return u64::MAX;
    }
    match val {
        Val::String(s) => s.len() as u64 / 10,
        Val::Bytes(b) => b.len() as u64 / 10,
        Val::List(items) => {
            let mut sum = 0_u64;
            for item in items.iter() {
                sum = sum.saturating_add(item.as_ref().map_or(1, |item| read(item, steps)));
                if *steps == 0 {
                    break;
                }
            }
            sum
        }
        Val::Map(entries) => {
            let mut sum = 0_u64;
            for key in &entries.keys() {
                let value = entries.find(key).ok().flatten();
                let value = value.as_ref().map_or(1, |value| read(value, steps));
                sum = sum.saturating_add(read(key, steps)).saturating_add(value);
                if *steps == 0 {
                    break;
                }
            }
            sum
        }
        _ => 1,
    }
}

/// Each element is looked at once; text is read.
pub(super) const SCANNING: Estimator = |s, target, _| {
    let target = target?;
    let size = s.size(target);
    let Some(element) = s.element(target) else {
        return Estimate::of(size.per(STRING));
    };
    let each = match element.ty {
        Type::String | Type::Bytes => Range::ONE.plus(s.size(&element).per(STRING)),
        _ => Range::ONE,
    };
    Estimate::of(size.times(each))
};

/// As cel-go's `Compare`: what cannot be compared makes an error, which is no order.
fn compared(a: &Val, b: &Val) -> Option<Ordering> {
    order(a, b).ok()
}

fn is_sorted<'a>(ctx: &mut Ctx<'a>, args: &[Val<'a>]) -> Outcome<Val<'a>> {
    let mut before: Option<Val> = None;
    for item in list(args, 0)?.iter() {
        ctx.burn(1)?;
        let item = comparable(item?)?;
        if let Some(before) = before
            && compared(&before, &item) == Some(Ordering::Greater)
        {
            return Ok(Val::Bool(false));
        }
        before = Some(item);
    }
    Ok(Val::Bool(true))
}

fn comparable(val: Val) -> Outcome<Val> {
    match val {
        Val::Null
        | Val::List(_)
        | Val::Map(_)
        | Val::Type(_)
        | Val::Optional(_)
        | Val::Opaque(_) => Err(Failure::no_such_overload()),
        val => Ok(val),
    }
}

const MAX: Run = |ctx, args| extreme(ctx, args, "max", Ordering::Less);
const MIN: Run = |ctx, args| extreme(ctx, args, "min", Ordering::Greater);

/// The element that no other replaces; `worse` is how what has been found compares to a better one.
fn extreme<'a>(
    ctx: &mut Ctx<'a>,
    args: &[Val<'a>],
    name: &str,
    worse: Ordering,
) -> Outcome<Val<'a>> {
    let mut found: Option<Val> = None;
    for item in list(args, 0)?.iter() {
        ctx.burn(1)?;
        let item = comparable(item?)?;
        if found
            .as_ref()
            .is_none_or(|found| compared(found, &item) == Some(worse))
        {
            found = Some(item);
        }
    }
    found.ok_or_else(|| Failure::new(format!("{name} called on empty list")))
}

fn sum<'a>(ctx: &mut Ctx<'a>, args: &[Val<'a>], zero: Val<'a>) -> Outcome<Val<'a>> {
    let mut total = zero;
    for item in list(args, 0)?.iter() {
        ctx.burn(1)?;
        total = super::std::add(ctx, &[total, item?])?;
    }
    Ok(total)
}

fn sum_ints<'a>(ctx: &mut Ctx<'a>, args: &[Val<'a>]) -> Outcome<Val<'a>> {
    sum(ctx, args, Val::Int(0))
}

fn sum_uints<'a>(ctx: &mut Ctx<'a>, args: &[Val<'a>]) -> Outcome<Val<'a>> {
    sum(ctx, args, Val::Uint(0))
}

fn sum_doubles<'a>(ctx: &mut Ctx<'a>, args: &[Val<'a>]) -> Outcome<Val<'a>> {
    sum(ctx, args, Val::Double(0.0))
}

fn sum_durations<'a>(ctx: &mut Ctx<'a>, args: &[Val<'a>]) -> Outcome<Val<'a>> {
    sum(ctx, args, Val::Duration(0))
}

fn position<'a>(
    ctx: &mut Ctx<'a>,
    items: &List<'a>,
    wanted: Option<&Val<'a>>,
    order: impl Iterator<Item = usize>,
) -> Outcome<Val<'a>> {
    let wanted = wanted.ok_or_else(Failure::no_such_overload)?;
    for i in order {
        if equal(ctx, &items.get(i)?, wanted)? {
            return Ok(Val::Int(i64::try_from(i).unwrap_or(i64::MAX)));
        }
    }
    Ok(Val::Int(-1))
}

fn index_of<'a>(ctx: &mut Ctx<'a>, args: &[Val<'a>]) -> Outcome<Val<'a>> {
    let items = list(args, 0)?;
    position(ctx, items, args.get(1), 0..items.len())
}

fn last_index_of<'a>(ctx: &mut Ctx<'a>, args: &[Val<'a>]) -> Outcome<Val<'a>> {
    let items = list(args, 0)?;
    position(ctx, items, args.get(1), (0..items.len()).rev())
}

/// Whether all of `part` is in `whole`.
fn all_in<'a>(ctx: &mut Ctx<'a>, whole: &List<'a>, part: &List<'a>) -> Outcome<bool> {
    for item in part.iter() {
        if !contains(ctx, whole, &item?)? {
            return Ok(false);
        }
    }
    Ok(true)
}

fn sets_contain<'a>(ctx: &mut Ctx<'a>, args: &[Val<'a>]) -> Outcome<Val<'a>> {
    Ok(Val::Bool(all_in(ctx, list(args, 0)?, list(args, 1)?)?))
}

fn sets_equal<'a>(ctx: &mut Ctx<'a>, args: &[Val<'a>]) -> Outcome<Val<'a>> {
    let (a, b) = (list(args, 0)?, list(args, 1)?);
    Ok(Val::Bool(all_in(ctx, a, b)? && all_in(ctx, b, a)?))
}

fn sets_meet<'a>(ctx: &mut Ctx<'a>, args: &[Val<'a>]) -> Outcome<Val<'a>> {
    let (a, b) = (list(args, 0)?, list(args, 1)?);
    for item in a.iter() {
        if contains(ctx, b, &item?)? {
            return Ok(Val::Bool(true));
        }
    }
    Ok(Val::Bool(false))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reading_values_that_share_their_parts_ends() {
        // 2^60 empty strings, each of which costs nothing.
        let mut val = Val::text("");
        for _ in 0..60 {
            val = Val::list(vec![val.clone(), val]);
        }
        assert_eq!(traversal(&val), u64::MAX);
        assert_eq!(
            traversal(&Val::list(vec![Val::Int(1), Val::text("0123456789")])),
            2
        );
    }
}

//! What functions of the libraries share: their arguments by type, results, common costs.

use crate::cel::ctx::Ctx;
use crate::cel::functions::{Charge, Estimator};
use crate::cel::ranges::{Estimate, Range, STRING, scaled};
use crate::cel::val::{Failure, List, Opaque, Outcome, Val};
use std::any::Any;

/// `<value>.function()`
pub(super) const MEMBER: bool = true;
pub(super) const GLOBAL: bool = false;

pub(super) fn text<'v>(args: &'v [Val], at: usize) -> Outcome<&'v str> {
    args.get(at)
        .and_then(Val::as_str)
        .ok_or_else(Failure::no_such_overload)
}

pub(super) fn int(args: &[Val], at: usize) -> Outcome<i64> {
    args.get(at)
        .and_then(Val::as_int)
        .ok_or_else(Failure::no_such_overload)
}

pub(super) fn list<'v, 'a>(args: &'v [Val<'a>], at: usize) -> Outcome<&'v List<'a>> {
    match args.get(at) {
        Some(Val::List(list)) => Ok(list),
        _ => Err(Failure::no_such_overload()),
    }
}

/// The library's own value at `at`.
pub(super) fn own<'v, T: Any>(args: &'v [Val], at: usize) -> Outcome<&'v T> {
    args.get(at)
        .and_then(Val::downcast)
        .ok_or_else(Failure::no_such_overload)
}

pub(super) fn opaque<'a>(value: impl Opaque + 'static) -> Val<'a> {
    Val::Opaque(std::rc::Rc::new(value))
}

/// A new string, its memory accounted for.
pub(super) fn made<'a>(ctx: &mut Ctx<'a>, text: String) -> Outcome<Val<'a>> {
    ctx.alloc(text.len())?;
    Ok(Val::from(text))
}

/// A new list of strings, its memory accounted for.
pub(super) fn made_list<'a, 's>(
    ctx: &mut Ctx<'a>,
    parts: impl IntoIterator<Item = &'s str>,
) -> Outcome<Val<'a>> {
    let mut items = Vec::new();
    for part in parts {
        ctx.alloc(size_of::<Val>() + part.len())?;
        items.push(Val::text(part));
    }
    Ok(Val::list(items))
}

/// The first argument is read once.
pub(super) const READ: Charge = Charge::Args(|a| scaled(a[0].size(), STRING));
pub(super) const READ_TWICE: Charge = Charge::Args(|a| scaled(a[0].size(), 2.0 * STRING));
/// As [`READ`], of a function with one argument.
pub(super) const READING: Estimator = |s, _, args| Estimate::of(s.size(args.first()?).per(STRING));
/// As [`READ`], of a method whose result is as long as the receiver.
pub(super) const READING_TARGET: Estimator = |s, target, _| {
    let size = s.size(target?);
    Estimate::sized(size.per(STRING), size)
};
/// A call that costs 1, and is known to.
pub(super) const ONE: Charge = Charge::Args(|_| 1);
pub(super) const ALWAYS_ONE: Estimator = |_, _, _| Estimate::of(Range::ONE);

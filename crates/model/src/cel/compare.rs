//! Equality and order of values (cel-go `common/types/{compare,list,map}.go`, apiserver
//! `pkg/cel/common/valuesunstructured.go`).

use super::ctx::Ctx;
use super::decl::{Decl, DeclKind, ListKind};
use super::val::{Entries, Failure, List, Outcome, Val};
use crate::Value;
use std::cmp::Ordering;

/// `a == b`: values of different types are different, numbers compare as numbers. Each step costs
/// fuel, so that deep or large values cannot hold a thread.
///
/// # Errors
/// The fuel is spent, or an element has not its declared shape.
pub fn equal<'a>(ctx: &mut Ctx<'a>, a: &Val<'a>, b: &Val<'a>) -> Outcome<bool> {
    ctx.burn(1)?;
    Ok(match (a, b) {
        (Val::Null, Val::Null) => true,
        (Val::Bool(a), Val::Bool(b)) => a == b,
        (Val::String(a), Val::String(b)) => {
            ctx.burn(a.len().min(b.len()) / 64)?;
            **a == **b
        }
        (Val::Bytes(a), Val::Bytes(b)) => a == b,
        (Val::Timestamp(a), Val::Timestamp(b)) => a == b,
        (Val::Duration(a), Val::Duration(b)) => a == b,
        (Val::Type(a), Val::Type(b)) => a.runtime_name() == b.runtime_name(),
        (Val::Optional(None), Val::Optional(None)) => true,
        (Val::Optional(Some(a)), Val::Optional(Some(b))) => equal(ctx, a, b)?,
        (Val::Opaque(a), Val::Opaque(_)) if !a.is_comparable() => {
            return Err(Failure::no_such_overload());
        }
        (Val::Opaque(a), Val::Opaque(b)) => a.type_name() == b.type_name() && a.equals(&**b),
        (Val::Message(a), Val::Message(b)) => super::message::equal_messages(ctx, a, b)?,
        (Val::List(a), Val::List(b)) => equal_lists(ctx, a, b)?,
        (Val::Map(a), Val::Map(b)) => equal_maps(ctx, a, b)?,
        _ => numbers(a, b) == Some(Some(Ordering::Equal)),
    })
}

fn same_json(ctx: &mut Ctx, a: &Value, b: &Value) -> Outcome<bool> {
    ctx.burn(1)?;
    match (a, b) {
        (Value::Array(a), Value::Array(b)) => {
            if a.len() != b.len() {
                return Ok(false);
            }
            for (a, b) in a.iter().zip(b) {
                if !same_json(ctx, a, b)? {
                    return Ok(false);
                }
            }
            Ok(true)
        }
        (Value::Object(a), Value::Object(b)) => {
            if a.len() != b.len() {
                return Ok(false);
            }
            for ((ka, a), (kb, b)) in a.iter().zip(b.iter()) {
                if ka != kb || !same_json(ctx, a, b)? {
                    return Ok(false);
                }
            }
            Ok(true)
        }
        _ => Ok(a == b),
    }
}

fn equal_lists<'a>(ctx: &mut Ctx<'a>, a: &List<'a>, b: &List<'a>) -> Outcome<bool> {
    if a.len() != b.len() {
        return Ok(false);
    }
    if let List::Json(items, decl) = a {
        match &decl.kind {
            DeclKind::List(_, ListKind::Set) => return equal_sets(ctx, a, b),
            DeclKind::List(_, ListKind::Map(keys)) => {
                return equal_keyed(ctx, items, decl, keys, b);
            }
            _ => {}
        }
    }
    for i in 0..a.len() {
        if !equal(ctx, &a.get(i)?, &b.get(i)?)? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Every element of `b` is in `a`, in whatever order.
fn equal_sets<'a>(ctx: &mut Ctx<'a>, a: &List<'a>, b: &List<'a>) -> Outcome<bool> {
    for item in b.iter() {
        if !contains(ctx, a, &item?)? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Elements with the same keys are equal, in whatever order.
fn equal_keyed<'a>(
    ctx: &mut Ctx<'a>,
    items: &'a [Value],
    decl: &'a Decl,
    keys: &[crate::Str],
    b: &List<'a>,
) -> Outcome<bool> {
    let element = decl.element().unwrap_or(Decl::dynamic());
    for other in b.iter() {
        let other = other?;
        let mut found = None;
        for item in items {
            let item = Val::of(item, element)?;
            // As in a map filled in order, the last of equal keys counts.
            if same_keys(ctx, keys, &item, &other)? {
                found = Some(item);
            }
        }
        match found {
            Some(item) if equal(ctx, &item, &other)? => {}
            _ => return Ok(false),
        }
    }
    Ok(true)
}

/// Whether two elements of a list by key have the same keys.
pub(crate) fn same_keys<'a>(
    ctx: &mut Ctx<'a>,
    keys: &[crate::Str],
    a: &Val<'a>,
    b: &Val<'a>,
) -> Outcome<bool> {
    for key in keys {
        ctx.burn(1)?;
        let same = match (field(a, key)?, field(b, key)?) {
            (Some(x), Some(y)) => equal(ctx, &x, &y)?,
            (x, y) => x.is_none() && y.is_none(),
        };
        if !same {
            return Ok(false);
        }
    }
    Ok(true)
}

fn field<'a>(val: &Val<'a>, key: &str) -> Outcome<Option<Val<'a>>> {
    match val {
        Val::Map(entries) => entries.field(key),
        _ => Ok(None),
    }
}

fn equal_maps<'a>(ctx: &mut Ctx<'a>, a: &Entries<'a>, b: &Entries<'a>) -> Outcome<bool> {
    if a.len() != b.len() {
        return Ok(false);
    }
    // Fields no expression can name are compared as JSON.
    if let (Entries::Json(x, decl), Entries::Json(y, _)) = (a, b)
        && let DeclKind::Object(object) = &decl.kind
    {
        for (name, value) in x.iter() {
            if !object.names(name)
                && let Some(other) = y.get(name)
                && !same_json(ctx, value, other)?
            {
                return Ok(false);
            }
        }
    }
    for key in a.keys() {
        ctx.burn(1)?;
        let same = match (a.find(&key)?, b.find(&key)?) {
            (Some(x), Some(y)) => equal(ctx, &x, &y)?,
            (x, y) => x.is_none() && y.is_none(),
        };
        if !same {
            return Ok(false);
        }
    }
    Ok(true)
}

/// `needle in list`
///
/// # Errors
/// The fuel is spent.
pub fn contains<'a>(ctx: &mut Ctx<'a>, list: &List<'a>, needle: &Val<'a>) -> Outcome<bool> {
    for item in list.iter() {
        if equal(ctx, &item?, needle)? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// How two numbers compare; `Some(None)` where one of them is not a number.
#[allow(clippy::cast_precision_loss, reason = "as cel-go compares")]
fn numbers(a: &Val, b: &Val) -> Option<Option<Ordering>> {
    let whole = |v: &Val| match v {
        Val::Int(i) => Some(i128::from(*i)),
        Val::Uint(u) => Some(i128::from(*u)),
        _ => None,
    };
    let mixed = |d: f64, i: i128| d.partial_cmp(&(i as f64));
    match (whole(a), whole(b), a, b) {
        (Some(a), Some(b), ..) => Some(Some(a.cmp(&b))),
        (None, Some(i), Val::Double(d), _) => Some(mixed(*d, i)),
        (Some(i), None, _, Val::Double(d)) => Some(mixed(*d, i).map(Ordering::reverse)),
        (None, None, Val::Double(a), Val::Double(b)) => Some(a.partial_cmp(b)),
        _ => None,
    }
}

/// The order of two values of one type, or of two numbers.
///
/// # Errors
/// They have no order.
pub fn order(a: &Val, b: &Val) -> Outcome<Ordering> {
    if let Some(order) = numbers(a, b) {
        return order.ok_or_else(|| Failure::new("NaN values cannot be ordered"));
    }
    match (a, b) {
        (Val::Bool(a), Val::Bool(b)) => Ok(a.cmp(b)),
        (Val::String(a), Val::String(b)) => Ok((**a).cmp(&**b)),
        (Val::Bytes(a), Val::Bytes(b)) => Ok(a.cmp(b)),
        (Val::Timestamp(a), Val::Timestamp(b)) => Ok(a.cmp(b)),
        (Val::Duration(a), Val::Duration(b)) => Ok(a.cmp(b)),
        _ => Err(Failure::no_such_overload()),
    }
}

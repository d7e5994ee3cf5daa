//! Resource quantities (apiserver `pkg/cel/library/quantity.go`, since 1.28).

use super::args::{ALWAYS_ONE, GLOBAL, MEMBER, ONE, READ, READING, int, opaque, own, text};
use crate::cel::ctx::Ctx;
use crate::cel::functions::{Library, row};
use crate::cel::val::{Failure, Opaque, Outcome, Val};
use crate::quantity::{Format, Quantity};
use std::any::Any;
use std::cmp::Ordering;

#[rustfmt::skip] // one row a line
pub(super) static QUANTITIES: Library = Library {
    since: 28,
    types: &[],
    rows: &[
        row(GLOBAL, "quantity", "string_to_quantity", "string -> kubernetes.Quantity", parse).costing(READ, READING),
        row(GLOBAL, "isQuantity", "is_quantity_string", "string -> bool", is_quantity).costing(READ, READING),
        row(GLOBAL, "sign", "quantity_sign", "kubernetes.Quantity -> int", sign).costing(ONE, ALWAYS_ONE),
        row(MEMBER, "isGreaterThan", "quantity_is_greater_than", "kubernetes.Quantity, kubernetes.Quantity -> bool", is_greater).costing(ONE, ALWAYS_ONE),
        row(MEMBER, "isLessThan", "quantity_is_less_than", "kubernetes.Quantity, kubernetes.Quantity -> bool", is_less).costing(ONE, ALWAYS_ONE),
        row(MEMBER, "compareTo", "quantity_compare_to", "kubernetes.Quantity, kubernetes.Quantity -> int", compare_to).costing(ONE, ALWAYS_ONE),
        row(MEMBER, "asApproximateFloat", "quantity_get_float", "kubernetes.Quantity -> double", as_float).costing(ONE, ALWAYS_ONE),
        row(MEMBER, "asInteger", "quantity_get_int", "kubernetes.Quantity -> int", as_integer).costing(ONE, ALWAYS_ONE),
        row(MEMBER, "isInteger", "quantity_is_integer", "kubernetes.Quantity -> bool", is_integer).costing(ONE, ALWAYS_ONE),
        row(MEMBER, "add", "quantity_add", "kubernetes.Quantity, kubernetes.Quantity -> kubernetes.Quantity", add).costing(ONE, ALWAYS_ONE),
        row(MEMBER, "add", "quantity_add_int", "kubernetes.Quantity, int -> kubernetes.Quantity", add).costing(ONE, ALWAYS_ONE),
        row(MEMBER, "sub", "quantity_sub", "kubernetes.Quantity, kubernetes.Quantity -> kubernetes.Quantity", sub).costing(ONE, ALWAYS_ONE),
        row(MEMBER, "sub", "quantity_sub_int", "kubernetes.Quantity, int -> kubernetes.Quantity", sub).costing(ONE, ALWAYS_ONE),
    ],
};

impl Opaque for Quantity {
    fn type_name(&self) -> &'static str {
        "kubernetes.Quantity"
    }

    fn equals(&self, other: &dyn Opaque) -> bool {
        other.as_any().downcast_ref() == Some(self)
    }

    fn text(&self) -> String {
        format!("quantity({self})")
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

fn parse<'a>(_: &mut Ctx<'a>, args: &[Val<'a>]) -> Outcome<Val<'a>> {
    let read = Quantity::parse(text(args, 0)?);
    read.map(opaque).map_err(|e| Failure::new(e.to_string()))
}

fn is_quantity<'a>(_: &mut Ctx<'a>, args: &[Val<'a>]) -> Outcome<Val<'a>> {
    Ok(Val::Bool(Quantity::parse(text(args, 0)?).is_ok()))
}

fn one<'v>(args: &'v [Val]) -> Outcome<&'v Quantity> {
    own(args, 0)
}

fn sign<'a>(_: &mut Ctx<'a>, args: &[Val<'a>]) -> Outcome<Val<'a>> {
    Ok(Val::Int(one(args)?.sign().into()))
}

fn compared(args: &[Val]) -> Outcome<Ordering> {
    Ok(one(args)?.cmp(own::<Quantity>(args, 1)?))
}

fn is_greater<'a>(_: &mut Ctx<'a>, args: &[Val<'a>]) -> Outcome<Val<'a>> {
    Ok(Val::Bool(compared(args)?.is_gt()))
}

fn is_less<'a>(_: &mut Ctx<'a>, args: &[Val<'a>]) -> Outcome<Val<'a>> {
    Ok(Val::Bool(compared(args)?.is_lt()))
}

fn compare_to<'a>(_: &mut Ctx<'a>, args: &[Val<'a>]) -> Outcome<Val<'a>> {
    Ok(Val::Int(compared(args)? as i64))
}

fn as_float<'a>(_: &mut Ctx<'a>, args: &[Val<'a>]) -> Outcome<Val<'a>> {
    Ok(Val::Double(one(args)?.as_approximate_f64()))
}

fn is_integer<'a>(_: &mut Ctx<'a>, args: &[Val<'a>]) -> Outcome<Val<'a>> {
    Ok(Val::Bool(one(args)?.as_i64().is_some()))
}

fn as_integer<'a>(_: &mut Ctx<'a>, args: &[Val<'a>]) -> Outcome<Val<'a>> {
    let whole = one(args)?.as_i64();
    whole
        .map(Val::Int)
        .ok_or_else(|| Failure::new("cannot convert value to integer"))
}

/// The second argument, also when it is a number.
fn operand(args: &[Val]) -> Outcome<Quantity> {
    match own::<Quantity>(args, 1) {
        Ok(quantity) => Ok(quantity.clone()),
        Err(_) => Ok(Quantity::from_int(int(args, 1)?, Format::DecimalExponent)),
    }
}

fn computed<'a>(result: Option<Quantity>) -> Outcome<Val<'a>> {
    result
        .map(opaque)
        .ok_or_else(|| Failure::new("the amount has more digits than a quantity can have"))
}

fn add<'a>(_: &mut Ctx<'a>, args: &[Val<'a>]) -> Outcome<Val<'a>> {
    computed(one(args)?.checked_add(&operand(args)?))
}

fn sub<'a>(_: &mut Ctx<'a>, args: &[Val<'a>]) -> Outcome<Val<'a>> {
    computed(one(args)?.checked_sub(&operand(args)?))
}

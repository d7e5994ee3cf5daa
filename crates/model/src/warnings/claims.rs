//! Amounts of bytes that are no whole ones, in claims and elsewhere (kubernetes
//! `pkg/api/persistentvolumeclaim/util.go`).

use super::list::Warnings;
use crate::Value;
use crate::field::{Path, quote};
use crate::quantity::Quantity;
use crate::validate::read::Read as _;

pub(super) fn whole(amounts: &Value, at: Path<'_>, name: &str, out: &mut Warnings) {
    let Some(text) = amounts.string(name) else {
        return;
    };
    if crate::quantity::is_plain(text) && !text.ends_with('m') {
        return;
    }
    let Ok(amount) = Quantity::parse(text) else {
        return;
    };
    let thousandths = amount.milli_value();
    if thousandths.unsigned_abs() < i64::MAX.unsigned_abs() && thousandths % 1000 != 0 {
        let amount = quote(&amount.to_string());
        out.at(
            at.key(name),
            format_args!("fractional byte value {amount} is invalid, must be an integer"),
        );
    }
}

pub(super) fn spec(spec: &Value, at: Path<'_>, out: &mut Warnings) {
    let Some(resources) = spec.part("resources") else {
        return;
    };
    let at = at.child("resources");
    for kind in ["requests", "limits"] {
        if let Some(amounts) = resources.part(kind) {
            whole(amounts, at.child(kind), "storage", out);
        }
    }
}

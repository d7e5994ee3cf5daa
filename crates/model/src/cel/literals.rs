//! Literals that can never work are refused when an expression is compiled, from Kubernetes 1.29 on
//! (cel-go `cel/validator.go`).

use super::ast::{Expr, Kind, Literal};
use super::check::Checked;
use super::issues::Issues;
use super::types::Type;
use crate::go_regex;
use crate::time::{Instant, parse_duration};

pub(crate) fn validate(checked: &Checked) -> Result<(), Issues> {
    let mut issues = Issues::default();
    look(checked, &checked.expr, false, &mut issues);
    if issues.is_empty() {
        Ok(())
    } else {
        Err(issues)
    }
}

fn look(checked: &Checked, e: &Expr, exempt: bool, issues: &mut Issues) {
    let mut below_exempt = exempt;
    match &e.kind {
        Kind::Call { function, args, .. } => {
            below_exempt |= function == "format";
            if let Some(arg) = args.first()
                && let Some(literal) = arg.literal()
                && !is_good(function, literal)
            {
                issues.add(arg.at, format!("invalid {function} argument"));
            }
        }
        Kind::List(items) if !exempt => {
            let types = items.iter().map(|i| {
                let t = checked.type_of(&i.value);
                (i.value.at, plain(t, i.optional))
            });
            same(types, issues);
        }
        Kind::Map(entries) if !exempt => {
            same(
                entries.iter().map(|e| (e.key.at, checked.type_of(&e.key))),
                issues,
            );
            let values = entries.iter().map(|e| {
                let t = checked.type_of(&e.value);
                (e.value.at, plain(t, e.optional))
            });
            same(values, issues);
        }
        _ => {}
    }
    e.kind
        .children(&mut |child| look(checked, child, below_exempt, issues));
}

fn plain(t: &Type, optional: bool) -> &Type {
    match t.inside_optional() {
        Some(inner) if optional => inner,
        _ => t,
    }
}

/// The first that differs from the first.
fn same<'t>(mut types: impl Iterator<Item = (u32, &'t Type)>, issues: &mut Issues) {
    let Some((_, first)) = types.next() else {
        return;
    };
    if let Some((at, other)) = types.find(|(_, t)| *t != first) {
        let message = format!("expected type '{first}' but found '{other}'");
        issues.add(at, message);
    }
}

fn is_good(function: &str, literal: &Literal) -> bool {
    match (function, literal) {
        ("duration", Literal::String(s)) => parse_duration(s).is_ok(),
        ("timestamp", Literal::String(s)) => Instant::parse(s).is_ok_and(super::lib::in_range),
        ("duration", Literal::Int(_)) => false,
        ("timestamp", Literal::Int(i)) => super::lib::in_range(Instant {
            seconds: *i,
            nanos: 0,
        }),
        ("matches", Literal::String(s)) => go_regex::compile(s).is_ok(),
        _ => true,
    }
}

//! `'…'.format([…])` with both written out is checked when an expression is compiled (cel-go
//! `ext/formatting.go`).

use super::ast::{Expr, Kind, Literal};
use super::check::Checked;
use super::issues::Issues;
use super::lib::{Piece, Verb, pieces};
use super::types::Type;

/// Reports what is wrong with the call `e`, if it is one of these.
pub(crate) fn check(checked: &Checked, e: &Expr, issues: &mut Issues) {
    let Kind::Call {
        function,
        target: Some(target),
        args,
    } = &e.kind
    else {
        return;
    };
    let (Some(Literal::String(format)), [arg]) = (target.literal(), args.as_slice()) else {
        return;
    };
    let Kind::List(items) = &arg.kind else {
        return;
    };
    if function != "format"
        || checked
            .overloads(e)
            .iter()
            .any(|o| o.row.id != "string_format")
    {
        return;
    }
    let mut at = e.at;
    let mut used = 0;
    let outcome = pieces(
        format,
        |n, rest| n < items.len() || rest.is_empty(),
        |piece, argument| {
            let Piece::Verb(verb) = piece else {
                return Ok(());
            };
            used = argument + 1;
            match refused(checked, verb, &items[argument].value) {
                None => Ok(()),
                Some(bad) => {
                    at = bad.at;
                    let given = checked.type_of(bad).runtime_name();
                    Err(format!("{}, was given {given}", verb.only()))
                }
            }
        },
    );
    match outcome {
        Err(message) => issues.add(at, message),
        Ok(()) if items.len() > used => {
            let message = format!(
                "too many arguments supplied to string.format (expected {used}, got {})",
                items.len()
            );
            issues.add(e.at, message);
        }
        Ok(()) => {}
    }
}

/// The part of an argument that a verb cannot write.
fn refused<'e>(checked: &Checked, verb: Verb, arg: &'e Expr) -> Option<&'e Expr> {
    let t = checked.type_of(arg);
    let takes = match (verb, t) {
        (_, Type::Dyn | Type::Any) => true,
        (Verb::String, _) => !matches!(
            t,
            Type::Opaque(..) | Type::Object(_) | Type::Param(_) | Type::Error
        ),
        (Verb::Decimal | Verb::Octal, _) => matches!(t, Type::Int | Type::Uint),
        (Verb::Fixed(_) | Verb::Scientific(_), _) => matches!(t, Type::Double | Type::String),
        (Verb::Binary, _) => matches!(t, Type::Int | Type::Uint | Type::Bool),
        (Verb::Hex { .. }, _) => {
            matches!(t, Type::Int | Type::Uint | Type::String | Type::Bytes)
        }
    };
    if !takes {
        return Some(arg);
    }
    if verb != Verb::String {
        return None;
    }
    match &arg.kind {
        Kind::List(items) => items.iter().find_map(|i| refused(checked, verb, &i.value)),
        Kind::Map(entries) => entries.iter().find_map(|e| {
            refused(checked, verb, &e.key).or_else(|| refused(checked, verb, &e.value))
        }),
        _ => None,
    }
}

//! Which nodes are constant: cel-go computes those when it makes a program, and they cost nothing
//! when it runs (`interpreter/decorators.go`).

use super::ast::{Expr, Kind};
use super::check::{Checked, Ref};

/// Functions of one argument that are computed at once when it is constant.
pub(crate) const CONVERSIONS: [&str; 10] = [
    "bool",
    "bytes",
    "double",
    "duration",
    "dyn",
    "int",
    "string",
    "timestamp",
    "type",
    "uint",
];

pub(crate) fn mark_constants(checked: &mut Checked) {
    let mut constant = std::mem::take(&mut checked.constant);
    mark(checked, &checked.expr, &mut constant);
    checked.constant = constant;
}

fn mark(checked: &Checked, e: &Expr, constant: &mut [bool]) {
    e.kind.children(&mut |child| mark(checked, child, constant));
    let is = |e: &Expr| constant[e.id as usize];
    constant[e.id as usize] = match &e.kind {
        Kind::Literal(_) => true,
        Kind::Ident(_) | Kind::Select { .. } => {
            matches!(checked.refs[e.id as usize], Ref::TypeName(_))
        }
        Kind::List(items) => items.iter().all(|i| is(&i.value)),
        Kind::Map(entries) => entries.iter().all(|e| is(&e.key) && is(&e.value)),
        Kind::Call {
            function,
            target: None,
            args,
        } => match args.as_slice() {
            [arg] => CONVERSIONS.contains(&function.as_str()) && is(arg),
            [_, list] => {
                is_in_list(checked, e) && matches!(&list.kind, Kind::List(i) if i.is_empty())
            }
            _ => false,
        },
        _ => false,
    };
}

/// `x in list`, known to be a list.
pub(crate) fn is_in_list(checked: &Checked, e: &Expr) -> bool {
    checked.overload(e).is_some_and(|o| o.row.id == "in_list")
}

/// A list of constants in which a value is looked up for nothing.
pub(crate) fn is_set(checked: &Checked, list: &Expr) -> bool {
    fn primitive(e: &Expr) -> bool {
        use super::ast::Literal;
        match &e.kind {
            Kind::Literal(l) => !matches!(l, Literal::Null | Literal::Bytes(_)),
            Kind::Call { function, args, .. } => {
                matches!(
                    function.as_str(),
                    "bool" | "double" | "int" | "string" | "uint"
                ) || (function == "dyn" && args.first().is_some_and(primitive))
            }
            _ => false,
        }
    }
    checked.is_constant(list)
        && matches!(&list.kind, Kind::List(items) if items.iter().all(|i| primitive(&i.value)))
}

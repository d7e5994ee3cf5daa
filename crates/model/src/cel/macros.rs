//! Calls that are not calls: `has`, `all`, `exists`, `map` and their kin become folds
//! (cel-go `parser/macro.go`, `ext/comprehensions.go`, `cel/library.go`).

use super::ast::{ACCUMULATOR, Expr, Fold, Item, Kind, Literal};
use super::lib::SORT_BY;
use super::parse::{Parser, Step};
use crate::Str;

/// What older versions of CEL called the accumulator; still not a name for a variable.
const OLD_ACCUMULATOR: &str = "__result__";
/// Stands for the list that `sortBy` sorts.
const SORT_INPUT: &str = "@__sortBy_input__";
/// The loop variable of a fold that only binds a name.
const UNUSED: &str = "#unused";
/// Puts an entry, or all entries of a map, into a map under construction.
pub(crate) const MAP_INSERT: &str = "cel.@mapInsert";

pub(crate) fn global_call(p: &mut Parser, at: u32, function: &str, args: Vec<Expr>) -> Step {
    if function == "has" && args.len() == 1 {
        let arg = args.into_iter().next().ok_or(super::parse::Stop)?;
        return match arg.kind {
            Kind::Select {
                operand,
                field,
                test: false,
            } => p.node(
                at,
                Kind::Select {
                    operand,
                    field,
                    test: true,
                },
            ),
            _ => p.wrong(arg.at, "invalid argument to has() macro"),
        };
    }
    p.call(at, function, args)
}

pub(crate) fn member_call(
    p: &mut Parser,
    at: u32,
    function: &str,
    target: Expr,
    args: Vec<Expr>,
) -> Step {
    let two = p.syntax.two_variables;
    match (function, args.len()) {
        ("all" | "exists" | "exists_one", 2) => quantifier(p, at, function, target, args, false),
        ("all" | "exists" | "exists_one" | "existsOne", 3) if two => {
            quantifier(p, at, function, target, args, true)
        }
        ("map", 2 | 3) | ("filter", 2) => collect(p, at, function, target, args),
        ("transformList" | "transformMap" | "transformMapEntry", 3 | 4) if two => {
            transform(p, at, function, target, args)
        }
        ("optMap" | "optFlatMap", 2) if p.syntax.optional => {
            optional_map(p, at, function, target, args)
        }
        ("bind", 3) if p.syntax.bindings && target.ident() == Some("cel") => bind(p, at, args),
        ("sortBy", 2) if p.syntax.sort_by => sort_by(p, at, target, args),
        _ => p.node(
            at,
            Kind::Call {
                function: function.into(),
                target: Some(Box::new(target)),
                args,
            },
        ),
    }
}

/// The names of loop variables, or the reason why they cannot be, with its place.
fn variables(
    args: &[Expr],
    two: bool,
    not_a_name: &str,
) -> Result<(Str, Option<Str>), (u32, String)> {
    let name = |e: &Expr| match &e.kind {
        Kind::Ident(name) => Ok(name.clone()),
        _ => Err((e.at, not_a_name.to_owned())),
    };
    let is_accumulator = |name: &Str| name == ACCUMULATOR || name == OLD_ACCUMULATOR;
    let overwrites = "iteration variable overwrites accumulator variable";
    let first = name(&args[0])?;
    let second = if two { Some(name(&args[1])?) } else { None };
    if second.as_ref() == Some(&first) {
        return Err((args[1].at, format!("duplicate variable name: {first}")));
    }
    if is_accumulator(&first) {
        return Err((args[0].at, overwrites.into()));
    }
    if second.as_ref().is_some_and(is_accumulator) {
        return Err((args[1].at, overwrites.into()));
    }
    Ok((first, second))
}

struct Loop {
    at: u32,
    target: Expr,
    var: Str,
    var2: Option<Str>,
}

impl Loop {
    fn fold(self, p: &mut Parser, init: Expr, condition: Expr, step: Expr, result: Expr) -> Step {
        p.node(
            self.at,
            Kind::Fold(Box::new(Fold {
                range: self.target,
                var: self.var,
                var2: self.var2,
                accu: ACCUMULATOR.into(),
                init,
                condition,
                step,
                result,
            })),
        )
    }
}

fn accumulator(p: &mut Parser, at: u32) -> Step {
    p.node(at, Kind::Ident(ACCUMULATOR.into()))
}

fn quantifier(
    p: &mut Parser,
    at: u32,
    function: &str,
    target: Expr,
    mut args: Vec<Expr>,
    two: bool,
) -> Step {
    let (var, var2) = match variables(&args, two, "argument must be a simple name") {
        Ok(names) => names,
        Err((at, message)) => return p.wrong(at, message),
    };
    let predicate = args.pop().ok_or(super::parse::Stop)?;
    let about = Loop {
        at,
        target,
        var,
        var2,
    };
    let accu = accumulator(p, at)?;
    match function {
        "all" => {
            let init = p.literal(at, Literal::Bool(true))?;
            let condition = p.call(at, "@not_strictly_false", vec![accu])?;
            let accu = accumulator(p, at)?;
            let step = p.call(at, "_&&_", vec![accu, predicate])?;
            let result = accumulator(p, at)?;
            about.fold(p, init, condition, step, result)
        }
        "exists" => {
            let init = p.literal(at, Literal::Bool(false))?;
            let not = p.call(at, "!_", vec![accu])?;
            let condition = p.call(at, "@not_strictly_false", vec![not])?;
            let accu = accumulator(p, at)?;
            let step = p.call(at, "_||_", vec![accu, predicate])?;
            let result = accumulator(p, at)?;
            about.fold(p, init, condition, step, result)
        }
        _ => {
            let init = p.literal(at, Literal::Int(0))?;
            let condition = p.literal(at, Literal::Bool(true))?;
            let one = p.literal(at, Literal::Int(1))?;
            let more = p.call(at, "_+_", vec![accu, one])?;
            let same = accumulator(p, at)?;
            let step = p.call(at, "_?_:_", vec![predicate, more, same])?;
            let accu = accumulator(p, at)?;
            let one = p.literal(at, Literal::Int(1))?;
            let result = p.call(at, "_==_", vec![accu, one])?;
            about.fold(p, init, condition, step, result)
        }
    }
}

/// `accu = filter ? step : accu`
fn filtered(p: &mut Parser, at: u32, filter: Option<Expr>, step: Expr) -> Step {
    let Some(filter) = filter else {
        return Ok(step);
    };
    let same = accumulator(p, at)?;
    p.call(at, "_?_:_", vec![filter, step, same])
}

fn append(p: &mut Parser, at: u32, value: Expr) -> Step {
    let item = Item {
        optional: false,
        value,
    };
    let accu = accumulator(p, at)?;
    let list = p.node(at, Kind::List(vec![item]))?;
    p.call(at, "_+_", vec![accu, list])
}

/// `map` and `filter`
fn collect(p: &mut Parser, at: u32, function: &str, target: Expr, mut args: Vec<Expr>) -> Step {
    let (var, _) = match variables(&args, false, "argument is not an identifier") {
        Ok(names) => names,
        Err((at, message)) => return p.wrong(at, message),
    };
    let last = args.pop().ok_or(super::parse::Stop)?;
    let (filter, value) = if function == "filter" {
        (Some(last), args.swap_remove(0))
    } else if args.len() == 2 {
        (args.pop(), last)
    } else {
        (None, last)
    };
    let init = p.node(at, Kind::List(Vec::new()))?;
    let condition = p.literal(at, Literal::Bool(true))?;
    let step = append(p, at, value)?;
    let step = filtered(p, at, filter, step)?;
    let result = accumulator(p, at)?;
    let about = Loop {
        at,
        target,
        var,
        var2: None,
    };
    about.fold(p, init, condition, step, result)
}

fn transform(p: &mut Parser, at: u32, function: &str, target: Expr, mut args: Vec<Expr>) -> Step {
    let (var, var2) = match variables(&args, true, "argument must be a simple name") {
        Ok(names) => names,
        Err((at, message)) => return p.wrong(at, message),
    };
    let value = args.pop().ok_or(super::parse::Stop)?;
    let filter = if args.len() == 3 { args.pop() } else { None };
    let (init, step) = if function == "transformList" {
        (Kind::List(Vec::new()), append(p, at, value)?)
    } else {
        let mut inserted = vec![accumulator(p, at)?];
        if function == "transformMap" {
            inserted.push(p.node(at, Kind::Ident(var.clone()))?);
        }
        inserted.push(value);
        (Kind::Map(Vec::new()), p.call(at, MAP_INSERT, inserted)?)
    };
    let init = p.node(at, init)?;
    let condition = p.literal(at, Literal::Bool(true))?;
    let step = filtered(p, at, filter, step)?;
    let result = accumulator(p, at)?;
    let about = Loop {
        at,
        target,
        var,
        var2,
    };
    about.fold(p, init, condition, step, result)
}

/// `result` where `name` stands for `init`: a fold over nothing.
fn bound(p: &mut Parser, at: u32, name: Str, init: Expr, result: Expr) -> Step {
    let range = p.node(at, Kind::List(Vec::new()))?;
    let condition = p.literal(at, Literal::Bool(false))?;
    let step = p.node(at, Kind::Ident(name.clone()))?;
    p.node(
        at,
        Kind::Fold(Box::new(Fold {
            range,
            var: UNUSED.into(),
            var2: None,
            accu: name,
            init,
            condition,
            step,
            result,
        })),
    )
}

/// `cel.bind(name, value, expression)`
fn bind(p: &mut Parser, at: u32, mut args: Vec<Expr>) -> Step {
    let Some(name) = args[0].ident().map(Str::from) else {
        let message = "cel.bind() variable names must be simple identifiers";
        return p.wrong(args[0].at, message);
    };
    let result = args.pop().ok_or(super::parse::Stop)?;
    let init = args.pop().ok_or(super::parse::Stop)?;
    bound(p, at, name, init, result)
}

/// `list.sortBy(e, key)`: the keys of all elements, and the elements in the order of their keys.
fn sort_by(p: &mut Parser, at: u32, target: Expr, args: Vec<Expr>) -> Step {
    if matches!(
        target.kind,
        Kind::Literal(_) | Kind::Map(_) | Kind::Struct { .. }
    ) {
        let message = "sortBy can only be applied to a list, identifier, comprehension, call or select \
                       expression";
        return p.wrong(target.at, message);
    }
    let input = |p: &mut Parser| p.node(at, Kind::Ident(SORT_INPUT.into()));
    let of = input(p)?;
    let keys = collect(p, at, "map", of, args)?;
    let sorted = Kind::Call {
        function: SORT_BY.into(),
        target: Some(Box::new(input(p)?)),
        args: vec![keys],
    };
    let result = p.node(at, sorted)?;
    bound(p, at, SORT_INPUT.into(), target, result)
}

fn optional_map(
    p: &mut Parser,
    at: u32,
    function: &str,
    target: Expr,
    mut args: Vec<Expr>,
) -> Step {
    let Some(var) = args[0].ident().map(Str::from) else {
        let message = format!("{function}() variable name must be a simple identifier");
        return p.wrong(args[0].at, message);
    };
    let body = args.pop().ok_or(super::parse::Stop)?;
    let again = copy(p, &target)?;
    let member = |p: &mut Parser, name: &str, target: Expr| {
        p.node(
            at,
            Kind::Call {
                function: name.into(),
                target: Some(Box::new(target)),
                args: Vec::new(),
            },
        )
    };
    let has = member(p, "hasValue", target)?;
    let init = member(p, "value", again)?;
    let mut then = bound(p, at, var, init, body)?;
    if function == "optMap" {
        then = p.call(at, "optional.of", vec![then])?;
    }
    let none = p.call(at, "optional.none", Vec::new())?;
    p.call(at, "_?_:_", vec![has, then, none])
}

/// The same tree under new ids.
fn copy(p: &mut Parser, expr: &Expr) -> Step {
    let mut next = p.nodes;
    p.count(size(expr))?;
    let mut out = expr.clone();
    renumber(&mut next, &mut out);
    Ok(out)
}

fn size(expr: &Expr) -> u32 {
    let mut nodes = 1;
    expr.kind.children(&mut |e| nodes += size(e));
    nodes
}

fn renumber(next: &mut u32, expr: &mut Expr) {
    expr.id = *next;
    *next += 1;
    expr.kind.children_mut(&mut |e| renumber(next, e));
}

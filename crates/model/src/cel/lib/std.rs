//! Operators and string functions of the language itself (cel-go `common/stdlib/standard.go`).

use crate::cel::compare::{contains, equal, order, same_keys};
use crate::cel::ctx::Ctx;
use crate::cel::decl::ListKind;
use crate::cel::functions::{Charge, Estimator, Library, row};
use crate::cel::ranges::{Estimate, REGEX, Range, STRING, scaled};
use crate::cel::types::Type;
use crate::cel::val::{Failure, List, Outcome, Text, Val};
use std::cmp::Ordering;
use std::rc::Rc;

const GLOBAL: bool = false;
const MEMBER: bool = true;

#[rustfmt::skip] // one row a line
pub(super) static STANDARD: Library = Library {
    since: 0,
    types: &[
        "bool",
        "bytes",
        "double",
        "int",
        "list(dyn)",
        "map(dyn, dyn)",
        "null_type",
        "string",
        "type",
        "uint",
    ],
    rows: &[
        // evaluated by the interpreter itself, because not all arguments are
        row(GLOBAL, "_?_:_", "conditional", "bool, A, A -> A", lazy),
        row(GLOBAL, "_&&_", "logical_and", "bool, bool -> bool", lazy),
        row(GLOBAL, "_||_", "logical_or", "bool, bool -> bool", lazy),
        row(GLOBAL, "@not_strictly_false", "not_strictly_false", "bool -> bool", lazy),
        row(GLOBAL, "_==_", "equals", "A, A -> bool", lazy).costing(BOTH, EQUAL),
        row(GLOBAL, "_!=_", "not_equals", "A, A -> bool", lazy).costing(BOTH, MIN_SIZE),
        row(GLOBAL, "_[_]", "index_list", "list(A), int -> A", lazy),
        row(GLOBAL, "_[_]", "index_map", "map(A, B), A -> B", lazy),
        row(GLOBAL, "!_", "logical_not", "bool -> bool", not),
        // arithmetic
        row(GLOBAL, "_+_", "add_bytes", "bytes, bytes -> bytes", add).costing(CONCAT, JOINED),
        row(GLOBAL, "_+_", "add_double", "double, double -> double", add),
        row(GLOBAL, "_+_", "add_duration_duration", "duration, duration -> duration", add),
        row(GLOBAL, "_+_", "add_duration_timestamp", "duration, timestamp -> timestamp", add),
        row(GLOBAL, "_+_", "add_timestamp_duration", "timestamp, duration -> timestamp", add),
        row(GLOBAL, "_+_", "add_int64", "int, int -> int", add),
        row(GLOBAL, "_+_", "add_list", "list(A), list(A) -> list(A)", add).costing(Charge::One, CONCAT_LISTS),
        row(GLOBAL, "_+_", "add_string", "string, string -> string", add).costing(CONCAT, JOINED),
        row(GLOBAL, "_+_", "add_uint64", "uint, uint -> uint", add),
        row(GLOBAL, "_/_", "divide_double", "double, double -> double", divide),
        row(GLOBAL, "_/_", "divide_int64", "int, int -> int", divide),
        row(GLOBAL, "_/_", "divide_uint64", "uint, uint -> uint", divide),
        row(GLOBAL, "_%_", "modulo_int64", "int, int -> int", modulo),
        row(GLOBAL, "_%_", "modulo_uint64", "uint, uint -> uint", modulo),
        row(GLOBAL, "_*_", "multiply_double", "double, double -> double", multiply),
        row(GLOBAL, "_*_", "multiply_int64", "int, int -> int", multiply),
        row(GLOBAL, "_*_", "multiply_uint64", "uint, uint -> uint", multiply),
        row(GLOBAL, "-_", "negate_double", "double -> double", negate),
        row(GLOBAL, "-_", "negate_int64", "int -> int", negate),
        row(GLOBAL, "_-_", "subtract_double", "double, double -> double", subtract),
        row(GLOBAL, "_-_", "subtract_duration_duration", "duration, duration -> duration", subtract),
        row(GLOBAL, "_-_", "subtract_int64", "int, int -> int", subtract),
        row(GLOBAL, "_-_", "subtract_timestamp_duration", "timestamp, duration -> timestamp", subtract),
        row(GLOBAL, "_-_", "subtract_timestamp_timestamp", "timestamp, timestamp -> duration", subtract),
        row(GLOBAL, "_-_", "subtract_uint64", "uint, uint -> uint", subtract),
        // order: of one type, and of numbers of different types
        row(GLOBAL, "_<_", "less_bool", "bool, bool -> bool", less),
        row(GLOBAL, "_<_", "less_int64", "int, int -> bool", less),
        row(GLOBAL, "_<_", "less_int64_double", "int, double -> bool", less),
        row(GLOBAL, "_<_", "less_int64_uint64", "int, uint -> bool", less),
        row(GLOBAL, "_<_", "less_uint64", "uint, uint -> bool", less),
        row(GLOBAL, "_<_", "less_uint64_double", "uint, double -> bool", less),
        row(GLOBAL, "_<_", "less_uint64_int64", "uint, int -> bool", less),
        row(GLOBAL, "_<_", "less_double", "double, double -> bool", less),
        row(GLOBAL, "_<_", "less_double_int64", "double, int -> bool", less),
        row(GLOBAL, "_<_", "less_double_uint64", "double, uint -> bool", less),
        row(GLOBAL, "_<_", "less_string", "string, string -> bool", less).costing(BOTH, MIN_SIZE),
        row(GLOBAL, "_<_", "less_bytes", "bytes, bytes -> bool", less).costing(BOTH, MIN_SIZE),
        row(GLOBAL, "_<_", "less_timestamp", "timestamp, timestamp -> bool", less),
        row(GLOBAL, "_<_", "less_duration", "duration, duration -> bool", less),
        row(GLOBAL, "_<=_", "less_equals_bool", "bool, bool -> bool", less_equals),
        row(GLOBAL, "_<=_", "less_equals_int64", "int, int -> bool", less_equals),
        row(GLOBAL, "_<=_", "less_equals_int64_double", "int, double -> bool", less_equals),
        row(GLOBAL, "_<=_", "less_equals_int64_uint64", "int, uint -> bool", less_equals),
        row(GLOBAL, "_<=_", "less_equals_uint64", "uint, uint -> bool", less_equals),
        row(GLOBAL, "_<=_", "less_equals_uint64_double", "uint, double -> bool", less_equals),
        row(GLOBAL, "_<=_", "less_equals_uint64_int64", "uint, int -> bool", less_equals),
        row(GLOBAL, "_<=_", "less_equals_double", "double, double -> bool", less_equals),
        row(GLOBAL, "_<=_", "less_equals_double_int64", "double, int -> bool", less_equals),
        row(GLOBAL, "_<=_", "less_equals_double_uint64", "double, uint -> bool", less_equals),
        row(GLOBAL, "_<=_", "less_equals_string", "string, string -> bool", less_equals).costing(BOTH, MIN_SIZE),
        row(GLOBAL, "_<=_", "less_equals_bytes", "bytes, bytes -> bool", less_equals).costing(BOTH, MIN_SIZE),
        row(GLOBAL, "_<=_", "less_equals_timestamp", "timestamp, timestamp -> bool", less_equals),
        row(GLOBAL, "_<=_", "less_equals_duration", "duration, duration -> bool", less_equals),
        row(GLOBAL, "_>_", "greater_bool", "bool, bool -> bool", greater),
        row(GLOBAL, "_>_", "greater_int64", "int, int -> bool", greater),
        row(GLOBAL, "_>_", "greater_int64_double", "int, double -> bool", greater),
        row(GLOBAL, "_>_", "greater_int64_uint64", "int, uint -> bool", greater),
        row(GLOBAL, "_>_", "greater_uint64", "uint, uint -> bool", greater),
        row(GLOBAL, "_>_", "greater_uint64_double", "uint, double -> bool", greater),
        row(GLOBAL, "_>_", "greater_uint64_int64", "uint, int -> bool", greater),
        row(GLOBAL, "_>_", "greater_double", "double, double -> bool", greater),
        row(GLOBAL, "_>_", "greater_double_int64", "double, int -> bool", greater),
        row(GLOBAL, "_>_", "greater_double_uint64", "double, uint -> bool", greater),
        row(GLOBAL, "_>_", "greater_string", "string, string -> bool", greater).costing(BOTH, MIN_SIZE),
        row(GLOBAL, "_>_", "greater_bytes", "bytes, bytes -> bool", greater).costing(BOTH, MIN_SIZE),
        row(GLOBAL, "_>_", "greater_timestamp", "timestamp, timestamp -> bool", greater),
        row(GLOBAL, "_>_", "greater_duration", "duration, duration -> bool", greater),
        row(GLOBAL, "_>=_", "greater_equals_bool", "bool, bool -> bool", greater_equals),
        row(GLOBAL, "_>=_", "greater_equals_int64", "int, int -> bool", greater_equals),
        row(GLOBAL, "_>=_", "greater_equals_int64_double", "int, double -> bool", greater_equals),
        row(GLOBAL, "_>=_", "greater_equals_int64_uint64", "int, uint -> bool", greater_equals),
        row(GLOBAL, "_>=_", "greater_equals_uint64", "uint, uint -> bool", greater_equals),
        row(GLOBAL, "_>=_", "greater_equals_uint64_double", "uint, double -> bool", greater_equals),
        row(GLOBAL, "_>=_", "greater_equals_uint64_int64", "uint, int -> bool", greater_equals),
        row(GLOBAL, "_>=_", "greater_equals_double", "double, double -> bool", greater_equals),
        row(GLOBAL, "_>=_", "greater_equals_double_int64", "double, int -> bool", greater_equals),
        row(GLOBAL, "_>=_", "greater_equals_double_uint64", "double, uint -> bool", greater_equals),
        row(GLOBAL, "_>=_", "greater_equals_string", "string, string -> bool", greater_equals).costing(BOTH, MIN_SIZE),
        row(GLOBAL, "_>=_", "greater_equals_bytes", "bytes, bytes -> bool", greater_equals).costing(BOTH, MIN_SIZE),
        row(GLOBAL, "_>=_", "greater_equals_timestamp", "timestamp, timestamp -> bool", greater_equals),
        row(GLOBAL, "_>=_", "greater_equals_duration", "duration, duration -> bool", greater_equals),
        // containers
        row(GLOBAL, "@in", "in_list", "A, list(A) -> bool", is_in)
            .costing(Charge::Overload(|a| a[1].size()), IN_LIST),
        row(GLOBAL, "@in", "in_map", "A, map(A, B) -> bool", is_in),
        row(GLOBAL, "size", "size_bytes", "bytes -> int", size),
        row(MEMBER, "size", "bytes_size", "bytes -> int", size),
        row(GLOBAL, "size", "size_list", "list(A) -> int", size),
        row(MEMBER, "size", "list_size", "list(A) -> int", size),
        row(GLOBAL, "size", "size_map", "map(A, B) -> int", size),
        row(MEMBER, "size", "map_size", "map(A, B) -> int", size),
        row(GLOBAL, "size", "size_string", "string -> int", size),
        row(MEMBER, "size", "string_size", "string -> int", size),
        // strings
        row(MEMBER, "contains", "contains_string", "string, string -> bool", string_contains)
        .costing(
            Charge::Overload(|a| {
                scaled(a[0].size(), STRING).saturating_mul(scaled(a[1].size(), STRING))
            }),
            |s, target, args| {
                let text = s.size(target?).per(STRING);
                Estimate::of(text.times(s.size(args.first()?).per(STRING)))
            },
        ),
        row(MEMBER, "endsWith", "ends_with_string", "string, string -> bool", ends_with)
        .costing(FIRST, |s, _, args| {
            Estimate::of(s.size(args.first()?).per(STRING))
        }),
        row(MEMBER, "startsWith", "starts_with_string", "string, string -> bool", starts_with)
        .costing(FIRST, |s, _, args| {
            Estimate::of(s.size(args.first()?).per(STRING))
        }),
        row(GLOBAL, "matches", "matches", "string, string -> bool", matches),
        row(MEMBER, "matches", "matches_string", "string, string -> bool", matches)
        .costing(Charge::Overload(match_cost), |s, target, args| {
            let text = s.size(target?).plus(Range::ONE).per(STRING);
            Estimate::of(text.times(s.size(args.first()?).per(REGEX)))
        }),
    ],
};

/// The smaller of both is looked through.
const BOTH: Charge = Charge::Overload(|a| scaled(a[0].size().min(a[1].size()), STRING));
const CONCAT: Charge = Charge::Overload(|a| scaled(a[0].size() + a[1].size(), STRING));
const FIRST: Charge = Charge::Overload(|a| scaled(a[0].size(), STRING));

fn match_cost(args: &[Val]) -> u64 {
    scaled(args[0].size().saturating_add(1), STRING).saturating_mul(scaled(args[1].size(), REGEX))
}

const MIN_SIZE: Estimator = |s, _, args| {
    let most = s.size(args.first()?).max.min(s.size(args.get(1)?).max);
    Estimate::of(Range::new(u64::from(most > 0), most).per(STRING))
};

/// Kubernetes' own types are compared at a fixed price (apiserver `pkg/cel/library/cost.go`).
const EQUAL: Estimator = |s, target, args| {
    let [a, b] = args else { return None };
    if a.ty != b.ty {
        return MIN_SIZE(s, target, args);
    }
    match &a.ty {
        Type::Opaque(name, _) if name == "net.IP" || name == "net.CIDR" => Estimate::of(Range::ONE),
        Type::Object(object) => match object.name.as_str() {
            "kubernetes.Quantity" | "kubernetes.Semver" => Estimate::of(Range::ONE),
            "kubernetes.NamedFormat" => Estimate::of(Range::new(1, 64).per(STRING)),
            "kubernetes.URL" => {
                let most = b.size.map_or(1, |size| size.max);
                Estimate::of(Range::new(1, most).per(STRING))
            }
            name if name.starts_with("kubernetes.authorization.") => Estimate::of(Range::ONE),
            _ => MIN_SIZE(s, target, args),
        },
        _ => MIN_SIZE(s, target, args),
    }
};

const JOINED: Estimator = |s, _, args| {
    let size = s.size(args.first()?).plus(s.size(args.get(1)?));
    Estimate::sized(size.per(STRING), size)
};

const CONCAT_LISTS: Estimator = |s, _, args| {
    let size = s.size(args.first()?).plus(s.size(args.get(1)?));
    Estimate::sized(Range::ONE, size)
};

const IN_LIST: Estimator = |s, _, args| Estimate::of(s.size(args.get(1)?).per(1.0));

fn lazy<'a>(_: &mut Ctx<'a>, _: &[Val<'a>]) -> Outcome<Val<'a>> {
    Err(Failure::no_such_overload())
}

fn not<'a>(_: &mut Ctx<'a>, args: &[Val<'a>]) -> Outcome<Val<'a>> {
    match args {
        [Val::Bool(b)] => Ok(Val::Bool(!b)),
        _ => Err(Failure::no_such_overload()),
    }
}

pub(super) fn overflow(what: &str) -> Failure {
    Failure::new(format!("{what} overflow"))
}

fn int<'a>(result: Option<i64>) -> Outcome<Val<'a>> {
    result.map(Val::Int).ok_or_else(|| overflow("integer"))
}

fn uint<'a>(result: Option<u64>) -> Outcome<Val<'a>> {
    result
        .map(Val::Uint)
        .ok_or_else(|| overflow("unsigned integer"))
}

pub(super) fn add<'a>(ctx: &mut Ctx<'a>, args: &[Val<'a>]) -> Outcome<Val<'a>> {
    match args {
        [Val::Int(a), Val::Int(b)] => int(a.checked_add(*b)),
        [Val::Uint(a), Val::Uint(b)] => uint(a.checked_add(*b)),
        [Val::Double(a), Val::Double(b)] => Ok(Val::Double(a + b)),
        [Val::String(a), Val::String(b)] => {
            ctx.alloc(a.len() + b.len())?;
            let mut text = String::with_capacity(a.len() + b.len());
            text.push_str(a);
            text.push_str(b);
            Ok(Val::String(Text::Shared(text.into())))
        }
        [Val::Bytes(a), Val::Bytes(b)] => {
            ctx.alloc(a.len() + b.len())?;
            Ok(Val::Bytes([&**a, &**b].concat().into()))
        }
        [Val::List(a), Val::List(b)] => add_lists(ctx, a, b),
        _ => super::times::add(args),
    }
}

fn add_lists<'a>(ctx: &mut Ctx<'a>, a: &List<'a>, b: &List<'a>) -> Outcome<Val<'a>> {
    if b.is_empty() {
        return Ok(Val::List(a.clone()));
    }
    let kind = a.kind();
    if a.is_empty() && kind == &ListKind::Atomic {
        return Ok(Val::List(b.clone()));
    }
    let len = a.len() + b.len();
    ctx.alloc(len.saturating_mul(size_of::<Val>()))?;
    ctx.burn(len)?;
    let mut items = Vec::with_capacity(len);
    for item in a.iter() {
        items.push(item?);
    }
    for item in b.iter() {
        let item = item?;
        match same(ctx, kind, &items, &item)? {
            None => items.push(item),
            Some(at) if kind != &ListKind::Set => items[at] = item,
            Some(_) => {}
        }
    }
    Ok(Val::List(List::Made(Rc::new(items))))
}

/// Where the element is that `item` is the same as: sets and lists by key have each only once.
fn same<'a>(
    ctx: &mut Ctx<'a>,
    kind: &ListKind,
    items: &[Val<'a>],
    item: &Val<'a>,
) -> Outcome<Option<usize>> {
    for (at, other) in items.iter().enumerate().rev() {
        let same = match kind {
            ListKind::Atomic => return Ok(None),
            ListKind::Set => equal(ctx, other, item)?,
            ListKind::Map(keys) => same_keys(ctx, keys, other, item)?,
        };
        if same {
            return Ok(Some(at));
        }
    }
    Ok(None)
}

fn subtract<'a>(_: &mut Ctx<'a>, args: &[Val<'a>]) -> Outcome<Val<'a>> {
    match args {
        [Val::Int(a), Val::Int(b)] => int(a.checked_sub(*b)),
        [Val::Uint(a), Val::Uint(b)] => uint(a.checked_sub(*b)),
        [Val::Double(a), Val::Double(b)] => Ok(Val::Double(a - b)),
        _ => super::times::subtract(args),
    }
}

fn multiply<'a>(_: &mut Ctx<'a>, args: &[Val<'a>]) -> Outcome<Val<'a>> {
    match args {
        [Val::Int(a), Val::Int(b)] => int(a.checked_mul(*b)),
        [Val::Uint(a), Val::Uint(b)] => uint(a.checked_mul(*b)),
        [Val::Double(a), Val::Double(b)] => Ok(Val::Double(a * b)),
        _ => Err(Failure::no_such_overload()),
    }
}

fn divide<'a>(_: &mut Ctx<'a>, args: &[Val<'a>]) -> Outcome<Val<'a>> {
    match args {
        [Val::Int(_), Val::Int(0)] | [Val::Uint(_), Val::Uint(0)] => {
            Err(Failure::new("division by zero"))
        }
        [Val::Int(a), Val::Int(b)] => int(a.checked_div(*b)),
        [Val::Uint(a), Val::Uint(b)] => uint(a.checked_div(*b)),
        [Val::Double(a), Val::Double(b)] => Ok(Val::Double(a / b)),
        _ => Err(Failure::no_such_overload()),
    }
}

fn modulo<'a>(_: &mut Ctx<'a>, args: &[Val<'a>]) -> Outcome<Val<'a>> {
    match args {
        [Val::Int(_), Val::Int(0)] | [Val::Uint(_), Val::Uint(0)] => {
            Err(Failure::new("modulus by zero"))
        }
        [Val::Int(a), Val::Int(b)] => int(a.checked_rem(*b)),
        [Val::Uint(a), Val::Uint(b)] => uint(a.checked_rem(*b)),
        _ => Err(Failure::no_such_overload()),
    }
}

fn negate<'a>(_: &mut Ctx<'a>, args: &[Val<'a>]) -> Outcome<Val<'a>> {
    match args {
        [Val::Int(a)] => int(a.checked_neg()),
        [Val::Double(a)] => Ok(Val::Double(-a)),
        _ => Err(Failure::no_such_overload()),
    }
}

fn ordering(ctx: &mut Ctx, args: &[Val]) -> Outcome<Ordering> {
    let [a, b] = args else {
        return Err(Failure::no_such_overload());
    };
    if let (Val::String(a), Val::String(b)) = (a, b) {
        ctx.burn(a.len().min(b.len()) / 64)?;
    }
    order(a, b)
}

fn less<'a>(ctx: &mut Ctx<'a>, args: &[Val<'a>]) -> Outcome<Val<'a>> {
    Ok(Val::Bool(ordering(ctx, args)?.is_lt()))
}

fn less_equals<'a>(ctx: &mut Ctx<'a>, args: &[Val<'a>]) -> Outcome<Val<'a>> {
    Ok(Val::Bool(ordering(ctx, args)?.is_le()))
}

fn greater<'a>(ctx: &mut Ctx<'a>, args: &[Val<'a>]) -> Outcome<Val<'a>> {
    Ok(Val::Bool(ordering(ctx, args)?.is_gt()))
}

fn greater_equals<'a>(ctx: &mut Ctx<'a>, args: &[Val<'a>]) -> Outcome<Val<'a>> {
    Ok(Val::Bool(ordering(ctx, args)?.is_ge()))
}

fn is_in<'a>(ctx: &mut Ctx<'a>, args: &[Val<'a>]) -> Outcome<Val<'a>> {
    match args {
        [needle, Val::List(list)] => Ok(Val::Bool(contains(ctx, list, needle)?)),
        [needle, Val::Map(entries)] => Ok(Val::Bool(entries.find(needle)?.is_some())),
        _ => Err(Failure::no_such_overload()),
    }
}

fn size<'a>(_: &mut Ctx<'a>, args: &[Val<'a>]) -> Outcome<Val<'a>> {
    match args {
        [v @ (Val::String(_) | Val::Bytes(_) | Val::List(_) | Val::Map(_))] => {
            Ok(Val::Int(i64::try_from(v.size()).unwrap_or(i64::MAX)))
        }
        _ => Err(Failure::no_such_overload()),
    }
}

fn strings<'v>(args: &'v [Val]) -> Outcome<(&'v str, &'v str)> {
    match args {
        [Val::String(a), Val::String(b)] => Ok((a, b)),
        _ => Err(Failure::no_such_overload()),
    }
}

fn string_contains<'a>(_: &mut Ctx<'a>, args: &[Val<'a>]) -> Outcome<Val<'a>> {
    let (text, part) = strings(args)?;
    Ok(Val::Bool(text.contains(part)))
}

fn starts_with<'a>(_: &mut Ctx<'a>, args: &[Val<'a>]) -> Outcome<Val<'a>> {
    let (text, part) = strings(args)?;
    Ok(Val::Bool(text.starts_with(part)))
}

fn ends_with<'a>(_: &mut Ctx<'a>, args: &[Val<'a>]) -> Outcome<Val<'a>> {
    let (text, part) = strings(args)?;
    Ok(Val::Bool(text.ends_with(part)))
}

fn matches<'a>(ctx: &mut Ctx<'a>, args: &[Val<'a>]) -> Outcome<Val<'a>> {
    let (text, pattern) = strings(args)?;
    Ok(Val::Bool(ctx.regex(pattern)?.is_match(text)))
}

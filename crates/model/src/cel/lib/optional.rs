//! Optional values (cel-go `cel/library.go`) and the function behind `transformMap`
//! (`ext/comprehensions.go`).

use crate::cel::ctx::Ctx;
use crate::cel::functions::{Library, row};
use crate::cel::macros::MAP_INSERT;
use crate::cel::val::{Entries, Failure, MadeMap, Outcome, Val};
use std::rc::Rc;

const GLOBAL: bool = false;
const MEMBER: bool = true;

#[rustfmt::skip] // one row a line
pub(super) static OPTIONALS: Library = Library {
    since: 28,
    types: &["optional_type"],
    rows: &[
        row(GLOBAL, "optional.of", "optional_of", "V -> optional_type(V)", of),
        row(GLOBAL, "optional.ofNonZeroValue", "optional_ofNonZeroValue", "V -> optional_type(V)", of_non_zero),
        row(GLOBAL, "optional.none", "optional_none", "-> optional_type(V)", none),
        row(MEMBER, "value", "optional_value", "optional_type(V) -> V", value),
        row(MEMBER, "hasValue", "optional_hasValue", "optional_type(V) -> bool", has_value),
        // the interpreter evaluates the second only when the first has no value
        row(MEMBER, "or", "optional_or_optional", "optional_type(V), optional_type(V) -> optional_type(V)", lazy),
        row(MEMBER, "orValue", "optional_orValue_value", "optional_type(V), V -> V", lazy),
        row(GLOBAL, "_?._", "select_optional_field", "dyn, string -> optional_type(V)", lazy),
        row(GLOBAL, "_[?_]", "list_optindex_optional_int", "list(V), int -> optional_type(V)", lazy),
        row(GLOBAL, "_[?_]", "optional_list_optindex_optional_int", "optional_type(list(V)), int -> optional_type(V)", lazy),
        row(GLOBAL, "_[?_]", "map_optindex_optional_value", "map(K, V), K -> optional_type(V)", lazy),
        row(GLOBAL, "_[?_]", "optional_map_optindex_optional_value", "optional_type(map(K, V)), K -> optional_type(V)", lazy),
        row(GLOBAL, "_[_]", "optional_list_index_int", "optional_type(list(V)), int -> optional_type(V)", lazy),
        row(GLOBAL, "_[_]", "optional_map_index_value", "optional_type(map(K, V)), K -> optional_type(V)", lazy),
        row(MEMBER, "first", "list_first", "list(V) -> optional_type(V)", first),
        row(MEMBER, "last", "list_last", "list(V) -> optional_type(V)", last),
        row(GLOBAL, "optional.unwrap", "optional_unwrap", "list(optional_type(V)) -> list(V)", unwrap),
        row(MEMBER, "unwrapOpt", "optional_unwrapOpt", "list(optional_type(V)) -> list(V)", unwrap),
    ],
};

#[rustfmt::skip] // one row a line
pub(super) static TWO_VARIABLES: Library = Library {
    since: 32,
    types: &[],
    rows: &[
        row(GLOBAL, MAP_INSERT, "@mapInsert_map_key_value", "map(K, V), K, V -> map(K, V)", insert),
        row(GLOBAL, MAP_INSERT, "@mapInsert_map_map", "map(K, V), map(K, V) -> map(K, V)", insert),
    ],
};

fn lazy<'a>(_: &mut Ctx<'a>, _: &[Val<'a>]) -> Outcome<Val<'a>> {
    Err(Failure::no_such_overload())
}

fn of<'a>(_: &mut Ctx<'a>, args: &[Val<'a>]) -> Outcome<Val<'a>> {
    Ok(args[0].clone().some())
}

/// Whether it is the value that a field has when nobody set it.
fn is_zero(val: &Val) -> bool {
    match val {
        Val::Null | Val::Optional(None) => true,
        Val::Bool(b) => !b,
        Val::Int(i) => *i == 0,
        Val::Uint(u) => *u == 0,
        Val::Double(d) => *d == 0.0,
        Val::String(s) => s.is_empty(),
        Val::Bytes(b) => b.is_empty(),
        Val::Duration(d) => *d == 0,
        Val::Timestamp(t) => t.is_zero(),
        // apiserver's lists and maps over JSON do not say that they can be zero
        Val::List(crate::cel::val::List::Made(l)) => l.is_empty(),
        Val::Map(Entries::Made(m)) => m.is_empty(),
        _ => false,
    }
}

fn of_non_zero<'a>(_: &mut Ctx<'a>, args: &[Val<'a>]) -> Outcome<Val<'a>> {
    Ok(if is_zero(&args[0]) {
        Val::Optional(None)
    } else {
        args[0].clone().some()
    })
}

fn none<'a>(_: &mut Ctx<'a>, _: &[Val<'a>]) -> Outcome<Val<'a>> {
    Ok(Val::Optional(None))
}

fn value<'a>(_: &mut Ctx<'a>, args: &[Val<'a>]) -> Outcome<Val<'a>> {
    match &args[0] {
        Val::Optional(Some(v)) => Ok((**v).clone()),
        Val::Optional(None) => Err(Failure::new("optional.none() dereference")),
        _ => Err(Failure::no_such_overload()),
    }
}

fn has_value<'a>(_: &mut Ctx<'a>, args: &[Val<'a>]) -> Outcome<Val<'a>> {
    match &args[0] {
        Val::Optional(v) => Ok(Val::Bool(v.is_some())),
        _ => Err(Failure::no_such_overload()),
    }
}

fn first<'a>(_: &mut Ctx<'a>, args: &[Val<'a>]) -> Outcome<Val<'a>> {
    match &args[0] {
        Val::List(l) if l.is_empty() => Ok(Val::Optional(None)),
        Val::List(l) => Ok(l.get(0)?.some()),
        _ => Err(Failure::no_such_overload()),
    }
}

fn last<'a>(_: &mut Ctx<'a>, args: &[Val<'a>]) -> Outcome<Val<'a>> {
    match &args[0] {
        Val::List(l) if l.is_empty() => Ok(Val::Optional(None)),
        Val::List(l) => Ok(l.get(l.len() - 1)?.some()),
        _ => Err(Failure::no_such_overload()),
    }
}

fn unwrap<'a>(ctx: &mut Ctx<'a>, args: &[Val<'a>]) -> Outcome<Val<'a>> {
    let Val::List(list) = &args[0] else {
        return Err(Failure::no_such_overload());
    };
    ctx.alloc(list.len() * size_of::<Val>())?;
    let mut out = Vec::new();
    for item in list.iter() {
        match item? {
            Val::Optional(Some(v)) => out.push((*v).clone()),
            Val::Optional(None) => {}
            _ => return Err(Failure::new("value is not optional")),
        }
    }
    Ok(Val::list(out))
}

fn insert<'a>(ctx: &mut Ctx<'a>, args: &[Val<'a>]) -> Outcome<Val<'a>> {
    let Some(Val::Map(Entries::Made(target))) = args.first() else {
        return Err(Failure::no_such_overload());
    };
    ctx.alloc((target.len() + 1) * 2 * size_of::<Val>())?;
    ctx.burn(target.len())?;
    let mut map = (**target).clone();
    match args {
        [_, key, value] => add(&mut map, key.clone(), value.clone())?,
        [_, Val::Map(more)] => {
            ctx.alloc(more.len() * 2 * size_of::<Val>())?;
            for key in more.keys() {
                if let Some(value) = more.find(&key)? {
                    add(&mut map, key, value)?;
                }
            }
        }
        _ => return Err(Failure::no_such_overload()),
    }
    Ok(Val::Map(Entries::Made(Rc::new(map))))
}

fn add<'a>(map: &mut MadeMap<'a>, key: Val<'a>, value: Val<'a>) -> Outcome<()> {
    if map.get(&key).is_some() {
        let shown = super::convert::text_of(&key);
        return Err(Failure::new(format!(
            "insert failed: key {shown} already exists"
        )));
    }
    map.insert(key, value);
    Ok(())
}

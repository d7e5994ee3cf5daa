//! Functions on URLs (apiserver `pkg/cel/library/urls.go`). What is not UTF-8 once unescaped shows
//! replacement characters.

use super::args::{ALWAYS_ONE, GLOBAL, MEMBER, ONE, READ, made, opaque, own, text};
use crate::cel::ctx::Ctx;
use crate::cel::functions::{Library, row};
use crate::cel::ranges::{Estimate, STRING};
use crate::cel::val::{Entries, Failure, MadeMap, Opaque, Outcome, Val};
use crate::go_url::Url;
use std::any::Any;
use std::rc::Rc;

#[rustfmt::skip] // one row a line
pub(super) static URLS: Library = Library {
    since: 0,
    types: &[],
    rows: &[
        row(GLOBAL, "url", "string_to_url", "string -> kubernetes.URL", url).costing(READ, |s, _, args| {
            let size = s.size(args.first()?);
            Estimate::sized(size.per(STRING), size)
        }),
        row(MEMBER, "getScheme", "url_get_scheme", "kubernetes.URL -> string", scheme).costing(ONE, ALWAYS_ONE),
        row(MEMBER, "getHost", "url_get_host", "kubernetes.URL -> string", host).costing(ONE, ALWAYS_ONE),
        row(MEMBER, "getHostname", "url_get_hostname", "kubernetes.URL -> string", hostname).costing(ONE, ALWAYS_ONE),
        row(MEMBER, "getPort", "url_get_port", "kubernetes.URL -> string", port).costing(ONE, ALWAYS_ONE),
        row(MEMBER, "getEscapedPath", "url_get_escaped_path", "kubernetes.URL -> string", path).costing(ONE, ALWAYS_ONE),
        row(MEMBER, "getQuery", "url_get_query", "kubernetes.URL -> map(string, list(string))", query).costing(ONE, ALWAYS_ONE),
        row(GLOBAL, "isURL", "is_url_string", "string -> bool", is_url),
    ],
};

impl Opaque for Url {
    fn type_name(&self) -> &'static str {
        "kubernetes.URL"
    }

    fn equals(&self, other: &dyn Opaque) -> bool {
        let other: Option<&Self> = other.as_any().downcast_ref();
        other.is_some_and(|other| self.written() == other.written())
    }

    fn text(&self) -> String {
        format!("url({})", self.written())
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

fn url<'a>(ctx: &mut Ctx<'a>, args: &[Val<'a>]) -> Outcome<Val<'a>> {
    let given = text(args, 0)?;
    ctx.alloc(given.len().saturating_mul(4))?;
    Url::parse(given).map(opaque).map_err(|why| {
        Failure::new(format!(
            "URL parse error during conversion from string: {why}"
        ))
    })
}

fn is_url<'a>(_: &mut Ctx<'a>, args: &[Val<'a>]) -> Outcome<Val<'a>> {
    Ok(Val::Bool(Url::uri_problem(text(args, 0)?).is_none()))
}

fn one<'v>(args: &'v [Val]) -> Outcome<&'v Url> {
    own(args, 0)
}

fn scheme<'a>(ctx: &mut Ctx<'a>, args: &[Val<'a>]) -> Outcome<Val<'a>> {
    made(ctx, one(args)?.scheme.clone())
}

fn host<'a>(ctx: &mut Ctx<'a>, args: &[Val<'a>]) -> Outcome<Val<'a>> {
    made(ctx, one(args)?.host())
}

fn hostname<'a>(ctx: &mut Ctx<'a>, args: &[Val<'a>]) -> Outcome<Val<'a>> {
    made(ctx, one(args)?.split_host().0)
}

fn port<'a>(ctx: &mut Ctx<'a>, args: &[Val<'a>]) -> Outcome<Val<'a>> {
    made(ctx, one(args)?.split_host().1)
}

fn path<'a>(ctx: &mut Ctx<'a>, args: &[Val<'a>]) -> Outcome<Val<'a>> {
    made(ctx, one(args)?.escaped_path())
}

fn query<'a>(ctx: &mut Ctx<'a>, args: &[Val<'a>]) -> Outcome<Val<'a>> {
    let url = one(args)?;
    ctx.alloc(url.query.len().saturating_mul(size_of::<Val>()))?;
    let mut map = MadeMap::default();
    for (name, values) in url.parameters() {
        let values = values.iter().map(|v| Val::text(v)).collect();
        map.insert(Val::text(&name), Val::list(values));
    }
    Ok(Val::Map(Entries::Made(Rc::new(map))))
}

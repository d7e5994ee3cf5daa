//! What makes JSON patches easier to write (apiserver `pkg/cel/library/jsonpatch.go`); only where
//! there are patches.

use super::args::{GLOBAL, READ, made, text};
use crate::cel::ctx::Ctx;
use crate::cel::functions::{Library, row};
use crate::cel::ranges::{Estimate, STRING};
use crate::cel::val::{Outcome, Val};

#[rustfmt::skip] // one row a line
pub(in crate::cel) static PATCHES: Library = Library {
    since: 0,
    types: &[],
    rows: &[
        row(GLOBAL, "jsonpatch.escapeKey", "string_jsonpatch_escapeKey_string", "string -> string", escape_key)
            .costing(READ, |s, _, args| {
                let size = s.size(args.first()?);
                Estimate::sized(size.per(STRING), size)
            }),
    ],
};

fn escape_key<'a>(ctx: &mut Ctx<'a>, args: &[Val<'a>]) -> Outcome<Val<'a>> {
    let escaped = text(args, 0)?.replace('~', "~0").replace('/', "~1");
    made(ctx, escaped)
}

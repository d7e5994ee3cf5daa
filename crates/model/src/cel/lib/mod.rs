//! The libraries: tables of functions. Adding one is a file with a [`Library`] and a line here.

mod args;
mod authorizer;
mod convert;
mod formats;
mod lists;
mod more_lists;
mod net;
mod optional;
mod patches;
mod patterns;
mod quantities;
mod semver;
mod std;
mod strings;
mod times;
mod urls;
mod verbs;

pub(super) use convert::text_of;
pub(super) use more_lists::SORT_BY;
pub(super) use patches::PATCHES;
pub(super) use times::in_range;
pub(super) use verbs::{Piece, Verb, pieces};

use super::functions::Library;
use super::val::Val;
use crate::Value;
use ::std::rc::Rc;

/// Overloads of one function are tried in the order of these tables.
pub(super) static LIBRARIES: &[&Library] = &[
    &std::STANDARD,
    &convert::CONVERSIONS,
    &times::TIMES,
    &optional::OPTIONALS,
    &urls::URLS,
    &patterns::PATTERNS,
    &lists::LISTS,
    &authorizer::AUTHORIZATION,
    &quantities::QUANTITIES,
    &strings::STRINGS,
    &strings::STRINGS_1,
    &lists::SETS,
    &net::NET,
    &formats::NAMED_FORMATS,
    &authorizer::SELECTORS,
    &optional::TWO_VARIABLES,
    &semver::SEMVER,
    &more_lists::MORE_LISTS,
];

/// The values of `authorizer` and `authorizer.requestResource` for an admission request: what was
/// asked for, not what it was converted to for a policy.
pub(super) fn authorizer_variable<'a>(name: &str, request: &Value) -> Option<Val<'a>> {
    match name {
        "authorizer" => Some(Val::Opaque(Rc::new(authorizer::Subject::default()))),
        "authorizer.requestResource" => {
            let text = |path: &[&str]| request.str_at(path).unwrap_or_default().to_owned();
            let mut asked = authorizer::ResourceCheck::default();
            asked.group = text(&["requestResource", "group"]);
            asked.resource = text(&["requestResource", "resource"]);
            asked.subresource = text(&["requestSubResource"]);
            asked.namespace = text(&["namespace"]);
            asked.name = text(&["name"]);
            Some(Val::Opaque(Rc::new(asked)))
        }
        _ => None,
    }
}

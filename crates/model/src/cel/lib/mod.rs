//! The libraries: tables of functions. Adding one is a file with a [`Library`] and a line here.

mod convert;
mod optional;
mod std;
mod times;

pub(super) use convert::text_of;
pub(super) use times::in_range;

use super::functions::Library;

/// Overloads of one function are tried in the order of these tables.
pub(super) static LIBRARIES: &[&Library] = &[
    &std::STANDARD,
    &convert::CONVERSIONS,
    &times::TIMES,
    &optional::OPTIONALS,
    &optional::TWO_VARIABLES,
];

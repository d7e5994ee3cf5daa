//! Bounded YAML 1.1 as Kubernetes clients send it, to [`Value`].

use crate::ApiError;
use crate::json::Decoded;

/// Parses one document (the first of a stream; a second one is an error).
///
/// # Errors
/// 400 for bad syntax, 413 past a bound.
pub fn parse(bytes: &[u8]) -> Result<Decoded, ApiError> {
    let _ = bytes;
    Err(ApiError::bad_request("not implemented"))
}

/// Parses every document of a stream (for files given to tools, not requests).
///
/// # Errors
/// As [`parse`].
pub fn parse_stream(bytes: &[u8]) -> Result<Vec<Decoded>, ApiError> {
    let _ = bytes;
    Err(ApiError::bad_request("not implemented"))
}

//! `application/vnd.kubernetes.protobuf` to [`Value`] and back, driven by the catalogue's tags.
//!
//! Wire form: the four bytes `k8s\0`, then `runtime.Unknown{typeMeta, raw, …}`.

use crate::catalogue::{Catalogue, TypeId, Types};
use crate::{ApiError, Value};

pub const MAGIC: &[u8; 4] = b"k8s\0";

/// Decodes an enveloped object of any built-in kind; apiVersion and kind come from the envelope.
///
/// # Errors
/// 400 for malformed input or a kind the catalogue does not know.
pub fn decode(catalogue: &Catalogue, bytes: &[u8]) -> Result<Value, ApiError> {
    let _ = (catalogue, bytes);
    Err(ApiError::bad_request("not implemented"))
}

/// Encodes an object (with `apiVersion` and `kind`) with its envelope.
///
/// # Errors
/// 406 when the kind has no protobuf form (custom resources).
pub fn encode(catalogue: &Catalogue, value: &Value) -> Result<Vec<u8>, ApiError> {
    let _ = (catalogue, value);
    Err(ApiError::not_acceptable("not implemented"))
}

/// Decodes a bare message of a known type (no envelope).
///
/// # Errors
/// 400 for malformed input.
pub fn decode_message(types: &Types, root: TypeId, bytes: &[u8]) -> Result<Value, ApiError> {
    let _ = (types, root, bytes);
    Err(ApiError::bad_request("not implemented"))
}

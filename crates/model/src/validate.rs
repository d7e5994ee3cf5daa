//! Validation of built-in kinds; one file per API group below this module.

use crate::field::FieldError;
use crate::{Resource, Value};

/// Checks a new object (metadata included; CRD kinds go through [`crate::crd::validate`]).
#[must_use]
pub fn create(resource: &Resource, object: &Value) -> Vec<FieldError> {
    let _ = (resource, object);
    Vec::new()
}

/// Checks an update: everything of `create`, and what may not change.
#[must_use]
pub fn update(resource: &Resource, new: &Value, old: &Value) -> Vec<FieldError> {
    let _ = (resource, new, old);
    Vec::new()
}

//! Validation of built-in kinds; one file per API group below this module.

mod core;
pub(crate) mod net;
mod read;

use crate::field::FieldError;
use crate::{Resource, Value, meta};
use read::Report;

/// Checks a new object (metadata included; CRD kinds go through [`crate::crd::validate`]).
#[must_use]
pub fn create(resource: &Resource, object: &Value) -> Vec<FieldError> {
    let mut report = Report {
        errors: meta::validate_create(resource, object),
    };
    match resource.group.as_str() {
        "" => core::create(&mut report, &resource.kind, object),
        _ => {}
    }
    report.errors
}

/// Checks an update: everything of `create`, and what may not change.
#[must_use]
pub fn update(resource: &Resource, new: &Value, old: &Value) -> Vec<FieldError> {
    let mut report = Report {
        errors: meta::validate_update(resource, new, old),
    };
    match resource.group.as_str() {
        "" => core::update(&mut report, &resource.kind, new, old),
        _ => {}
    }
    report.errors
}

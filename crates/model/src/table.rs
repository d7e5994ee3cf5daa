//! Table rows: upstream's columns for built-in kinds, `additionalPrinterColumns` for CRDs.

use crate::catalogue::{Column, Resource};
use crate::Value;

/// The columns of a kind (Name first, Age where upstream has it).
#[must_use]
pub fn columns(resource: &Resource) -> Vec<Column> {
    resource.columns.clone()
}

/// The cells of one object; `now` in unix seconds.
#[must_use]
pub fn cells(resource: &Resource, object: &Value, now: i64) -> Vec<Value> {
    let _ = (resource, object, now);
    Vec::new()
}

/// `5s`, `3m20s`, `7d2h` as apimachinery `pkg/util/duration/duration.go` prints ages.
#[must_use]
pub fn human_duration(seconds: i64) -> String {
    format!("{seconds}s")
}

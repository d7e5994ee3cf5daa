//! Validation of the status subresource: what upstream's status strategies check.

use super::read::Report;
use crate::{Resource, Value};

pub(super) fn update(_report: &mut Report, _resource: &Resource, _new: &Value, _old: &Value) {}

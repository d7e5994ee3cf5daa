//! Server-side apply and field ownership (`managedFields`).

use crate::catalogue::Resource;
use crate::{ApiError, Value};

/// Who applies and how.
#[derive(Clone, Debug)]
pub struct Applier<'a> {
    pub manager: &'a str,
    pub force: bool,
    /// empty, or `status`, `scale`
    pub subresource: &'a str,
    /// RFC 3339 time of the request
    pub now: &'a str,
}

/// Merges `config` into `live` (`None`: create) and returns the object with updated managedFields.
///
/// # Errors
/// 409 with one cause per conflicting field, in upstream's words.
pub fn apply(resource: &Resource, live: Option<&Value>, config: &Value, by: &Applier<'_>) -> Result<Value, ApiError> {
    let _ = (resource, live, config, by);
    Err(ApiError::unsupported_media_type("not implemented"))
}

/// Records ownership after a create or update by `by.manager` (`live` is the old object).
pub fn track_update(resource: &Resource, live: Option<&Value>, new: &mut Value, by: &Applier<'_>) {
    let _ = (resource, live, new, by);
}

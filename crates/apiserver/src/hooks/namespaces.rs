//! Namespaces: their finalizers in the spec, their phase, and what they let in.

use crate::pipeline::Call;
use freehold_model::status::Cause;
use freehold_model::{ApiError, Value, value};

pub(super) fn create(object: &mut Value) {
    let has = object
        .at(&["spec", "finalizers"])
        .and_then(Value::as_array)
        .is_some_and(|f| f.iter().any(|f| f.as_str() == Some("kubernetes")));
    if !has {
        let mut all = object
            .at(&["spec", "finalizers"])
            .and_then(Value::as_array)
            .unwrap_or_default()
            .to_vec();
        all.push("kubernetes".into());
        object.set(&["spec", "finalizers"], Value::Array(all));
    }
    object.set(&["status"], value!({"phase": "Active"}));
}

/// 404 for a namespace that is not there, 403 for one that is being deleted
/// (apiserver pkg/admission/plugin/namespace/lifecycle).
pub(super) fn accepts(call: &Call, object: &str) -> Result<(), ApiError> {
    let name = &call.info.namespace;
    let namespace = call
        .cp
        .cache
        .view("", "namespaces")
        .get("", name)
        .ok_or_else(|| ApiError::not_found("", "namespaces", name))?;
    // A cheap look first: the word is in the stored bytes of every terminating namespace.
    let terminating = find(&namespace.value, b"\"deletionTimestamp\"")
        && namespace
            .parse()
            .at(&["metadata", "deletionTimestamp"])
            .is_some();
    if !terminating {
        return Ok(());
    }
    let why =
        format!("unable to create new content in namespace {name} because it is being terminated");
    let mut e = call.forbidden(object, &why);
    e.details.get_or_insert_default().causes.push(Cause {
        reason: "NamespaceTerminating".into(),
        message: format!("namespace {name} is being terminated"),
        field: "metadata.namespace".into(),
    });
    Err(e)
}

fn find(haystack: &[u8], needle: &[u8]) -> bool {
    haystack.windows(needle.len()).any(|w| w == needle)
}

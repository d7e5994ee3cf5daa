//! PUT of an object.

use crate::pipeline::Call;
use crate::write::{Change, Target};
use crate::{Body, codec, hooks};
use freehold_model::{ApiError, Value};
use http::Response;

pub(super) async fn update(call: &Call, body: Body) -> Result<Response<Body>, ApiError> {
    let dry_run = call.write_options()?;
    let bytes = codec::read(body).await?;
    let value = call.decode_object(&bytes)?;
    check_name(call, &value)?;
    let _serial = hooks::serialize(call).await;
    let namespace = if call.resource.namespaced {
        call.info.namespace.as_str()
    } else {
        ""
    };
    let lease = hooks::lease(call).await?;
    let target = Target {
        namespace,
        name: &call.info.name,
        lease,
        dry_run,
    };
    let may_create = call.info.subresource.is_empty() && hooks::creates_on_update(&call.resource);
    let done = call
        .modify(&target, |existing| match existing {
            None if may_create => {
                hooks::namespace_accepts(call, &call.info.name)?;
                let mut new = value.clone();
                call.prepare_create(&mut new, true)?;
                super::create::check_no_version(&value)?;
                Ok(Change::Put(new))
            }
            None => Err(call.not_found(&call.info.name)),
            Some(old) => {
                let mut new = value.clone();
                call.prepare_update(&mut new, old, true)?;
                Ok(finish(call, new))
            }
        })
        .await?;
    hooks::after_write(call, &done).await?;
    call.answer_done(done).await
}

/// The body's name must be that of the path.
pub(super) fn check_name(call: &Call, value: &Value) -> Result<(), ApiError> {
    let name = value.str_at(&["metadata", "name"]).unwrap_or("");
    if name == call.info.name {
        return Ok(());
    }
    Err(ApiError::bad_request(format!(
        "the name of the object ({name}) does not match the name on the URL ({})",
        call.info.name
    )))
}

/// An object that is being deleted goes when its last finalizer does.
pub(crate) fn finish(call: &Call, new: Value) -> Change {
    let finalizers = |v: &Value| {
        v.at(&["metadata", "finalizers"])
            .and_then(Value::as_array)
            .map_or(0, <[_]>::len)
    };
    let deleting = new.at(&["metadata", "deletionTimestamp"]).is_some();
    let grace = new
        .at(&["metadata", "deletionGracePeriodSeconds"])
        .and_then(Value::as_i64)
        .unwrap_or(0);
    if deleting
        && grace == 0
        && finalizers(&new) == 0
        && !hooks::own_finalizers(&call.resource, &new)
    {
        return Change::Finish(new);
    }
    Change::Put(new)
}

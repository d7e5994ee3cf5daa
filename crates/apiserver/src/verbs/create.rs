//! POST of a new object.

use crate::pipeline::Call;
use crate::write::{Change, Target};
use crate::{Body, codec, hooks, prepare};
use freehold_model::field::FieldError;
use freehold_model::{ApiError, Value};
use http::Response;

/// A new object has no version yet; upstream's storage says so last.
pub(crate) fn check_no_version(value: &Value) -> Result<(), ApiError> {
    let version = value.str_at(&["metadata", "resourceVersion"]);
    if version.is_none_or(|v| v.is_empty() || v == "0") {
        return Ok(());
    }
    Err(ApiError::bad_request(
        "resourceVersion should not be set on objects to be created",
    ))
}

/// Names drawn before a generated name is given up, as upstream.
const NAME_ATTEMPTS: usize = 8;

pub(super) async fn create(call: &Call, body: Body) -> Result<Response<Body>, ApiError> {
    let dry_run = call.write_options()?;
    let bytes = codec::read(body).await?;
    let value = call.decode_object(&bytes)?;
    let done = create_value(call, value, dry_run).await?;
    call.answer_done(done).await
}

/// Creates an object that was decoded for this call.
pub(crate) async fn create_value(
    call: &Call,
    mut value: Value,
    dry_run: bool,
) -> Result<crate::write::Done, ApiError> {
    hooks::check_room(call)?;
    let given = value.str_at(&["metadata", "name"]).unwrap_or("").to_owned();
    let base = value
        .str_at(&["metadata", "generateName"])
        .unwrap_or("")
        .to_owned();
    if given.is_empty() && base.is_empty() {
        let e = FieldError::required("metadata.name", "name or generateName is required");
        return Err(ApiError::invalid(
            &call.resource.group,
            &call.resource.kind,
            "",
            &[e],
        ));
    }
    let _serial = hooks::serialize(call).await;
    let lease = hooks::lease(call).await?;
    let attempts = if given.is_empty() { NAME_ATTEMPTS } else { 1 };
    let mut last = None;
    for _ in 0..attempts {
        if given.is_empty() {
            value.set(&["metadata", "name"], prepare::generate_name(&base));
        }
        let name = value.str_at(&["metadata", "name"]).unwrap_or("").to_owned();
        let namespace = if call.resource.namespaced {
            call.info.namespace.as_str()
        } else {
            ""
        };
        let target = Target {
            namespace,
            name: &name,
            lease,
            dry_run,
        };
        let done = call
            .modify(&target, |existing| {
                hooks::namespace_accepts(call, &name)?;
                let mut new = value.clone();
                call.prepare_create(&mut new, true)?;
                if existing.is_some() {
                    return Err(ApiError::already_exists(
                        &call.info.group,
                        &call.info.resource,
                        &name,
                    ));
                }
                check_no_version(&value)?;
                Ok(Change::Put(new))
            })
            .await;
        match done {
            Err(e) if e.reason == "AlreadyExists" && attempts > 1 => last = Some(e),
            Ok(done) => {
                hooks::after_write(call, &done).await?;
                return Ok(done);
            }
            Err(e) => return Err(e),
        }
    }
    let mut e = last.unwrap_or_else(|| ApiError::internal("no name could be generated"));
    e.message = format!(
        "{}, the server was not able to generate a unique name for the object",
        e.message
    );
    Err(e)
}

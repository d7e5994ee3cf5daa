//! GET of one object.

use crate::Body;
use crate::pipeline::Call;
use freehold_model::ApiError;
use http::Response;

pub(super) async fn get(call: &Call) -> Result<Response<Body>, ApiError> {
    match call.query.text("resourceVersion") {
        "" => {
            call.cp.cache.fresh().await?;
        }
        "0" => {}
        rev => call.cp.cache.reach(parse_rev(rev)?).await?,
    }
    let name = &call.info.name;
    let namespace = if call.resource.namespaced {
        call.info.namespace.as_str()
    } else {
        ""
    };
    let object = call
        .view()
        .get(namespace, name)
        .ok_or_else(|| call.not_found(name))?;
    call.answer_object(200, &object).await
}

/// A resourceVersion parameter.
pub(super) fn parse_rev(text: &str) -> Result<u64, ApiError> {
    text.parse()
        .map_err(|_| ApiError::bad_request(format!("invalid resource version: resourceVersion: Invalid value: {text:?}: strconv.ParseUint: parsing {text:?}: invalid syntax")))
}

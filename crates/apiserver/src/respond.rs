//! Responses: errors as Status objects, content negotiation.

use crate::Body;
use freehold_model::{ApiError, json};
use http::header::{CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderValue, Response, StatusCode};

pub(crate) const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// A failed request's answer.
pub(crate) fn error(e: &ApiError) -> Response<Body> {
    let mut response = Response::new(Body::from(json::to_vec(&e.to_value())));
    *response.status_mut() =
        StatusCode::from_u16(e.code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response.headers_mut().insert(CONTENT_TYPE, JSON);
    let retry = e.details.as_ref().map_or(0, |d| d.retry_after_seconds);
    if retry > 0 {
        response
            .headers_mut()
            .insert(RETRY_AFTER, HeaderValue::from(retry));
    }
    response
}

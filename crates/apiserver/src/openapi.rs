//! `/openapi/v3` (index and one document per group-version) and `/openapi/v2`.

use crate::control_plane::ControlPlane;
use crate::registry::Served;
use crate::request::Query;
use crate::{Body, respond};
use bytes::Bytes;
use freehold_model::{ApiError, openapi};
use http::header::{ACCEPT, CACHE_CONTROL, ETAG, IF_NONE_MATCH, VARY};
use http::{HeaderMap, HeaderValue, Response, StatusCode};

pub(crate) fn v3(
    cp: &ControlPlane,
    path: &str,
    query: &Query,
    headers: &HeaderMap,
) -> Result<Response<Body>, ApiError> {
    let served = cp.registry.now();
    let custom = served.custom_resources();
    if path.is_empty() {
        return Ok(respond::bytes(
            200,
            openapi::index(&served.catalogue, &custom),
            "application/json",
        ));
    }
    let hash = openapi::hash(&served.catalogue, &custom, path);
    if is_known(headers, &hash) {
        return Ok(not_modified(&hash));
    }
    let bytes = document(&served, path, || {
        openapi::v3(&served.catalogue, &custom, path)
    });
    let bytes = bytes.ok_or_else(ApiError::no_such_path)?;
    let mut response = tagged(respond::bytes(200, bytes, "application/json"), &hash);
    if query.text("hash") == hash {
        let forever = HeaderValue::from_static("public, immutable");
        response.headers_mut().insert(CACHE_CONTROL, forever);
    }
    Ok(response)
}

/// A document, written once for as long as the custom resources stay what they are.
fn document(served: &Served, name: &str, write: impl FnOnce() -> Option<Bytes>) -> Option<Bytes> {
    if let Some(bytes) = served.documents.lock().get(name) {
        return Some(bytes.clone());
    }
    let bytes = write()?;
    let mut documents = served.documents.lock();
    documents.insert(name.to_owned(), bytes.clone());
    Some(bytes)
}

/// What client-go's discovery asks for: `…@v1.0+protobuf`, of old `….v1.0+protobuf`.
const GNOSTIC: &str = "application/com.github.proto-openapi.spec.v2";

pub(crate) fn v2(cp: &ControlPlane, headers: &HeaderMap) -> Response<Body> {
    let served = cp.registry.now();
    let custom = served.custom_resources();
    let hash = openapi::hash(&served.catalogue, &custom, "");
    if is_known(headers, &hash) {
        return not_modified(&hash);
    }
    let accept = headers.get(ACCEPT).and_then(|v| v.to_str().ok());
    let (bytes, media) = if accept.is_some_and(|a| a.starts_with(GNOSTIC)) {
        let write = || Some(openapi::v2_protobuf(&served.catalogue, &custom));
        (
            document(&served, "v2 protobuf", write),
            "application/com.github.proto-openapi.spec.v2.v1.0+protobuf",
        )
    } else {
        let write = || Some(openapi::v2(&served.catalogue, &custom));
        (document(&served, "v2", write), "application/json")
    };
    let bytes = bytes.unwrap_or_default();
    let mut response = tagged(respond::bytes(200, bytes, media), &hash);
    response
        .headers_mut()
        .insert(VARY, HeaderValue::from_static("Accept"));
    response
}

fn is_known(headers: &HeaderMap, hash: &str) -> bool {
    headers
        .get(IF_NONE_MATCH)
        .and_then(|v| v.to_str().ok())
        .is_some_and(|tags| tags.split(',').any(|t| t.trim().trim_matches('"') == hash))
}

fn not_modified(hash: &str) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NOT_MODIFIED;
    tagged(response, hash)
}

fn tagged(mut response: Response<Body>, hash: &str) -> Response<Body> {
    if let Ok(v) = HeaderValue::from_str(&format!("\"{hash}\"")) {
        response.headers_mut().insert(ETAG, v);
    }
    response
}

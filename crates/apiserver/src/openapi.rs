//! `/openapi/v3`: the index and one document per group-version.

use crate::control_plane::ControlPlane;
use crate::registry::Served;
use crate::request::Query;
use crate::{Body, respond};
use freehold_model::{ApiError, Map, Value, json, openapi, value};
use http::header::{ETAG, IF_NONE_MATCH};
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use std::collections::BTreeSet;
use std::fmt::Write as _;

/// `api/v1`, `apis/apps/v1`, … of everything served.
fn paths(served: &Served) -> BTreeSet<String> {
    served
        .resources()
        .map(|r| {
            if r.group.is_empty() {
                format!("api/{}", r.version)
            } else {
                format!("apis/{}/{}", r.group, r.version)
            }
        })
        .collect()
}

fn document(served: &Served, path: &str) -> Option<Vec<u8>> {
    openapi::v3(&served.catalogue, &served.custom_resources(), path)
}

fn hash(bytes: &[u8]) -> String {
    let digest = ring::digest::digest(&ring::digest::SHA256, bytes);
    digest.as_ref().iter().fold(String::new(), |mut s, b| {
        // Writing to a String cannot fail.
        let _ = write!(s, "{b:02X}");
        s
    })
}

pub(crate) fn answer(
    cp: &ControlPlane,
    path: &str,
    query: &Query,
    headers: &HeaderMap,
) -> Result<Response<Body>, ApiError> {
    let served = cp.registry.now();
    let bytes = if path.is_empty() {
        index(&served)
    } else {
        document(&served, path).ok_or_else(ApiError::no_such_path)?
    };
    let etag = format!("\"{}\"", hash(&bytes));
    let asked = query.text("hash");
    let cached = headers.get(IF_NONE_MATCH).and_then(|v| v.to_str().ok()) == Some(etag.as_str());
    let mut response = if cached {
        let mut r = Response::new(Body::empty());
        *r.status_mut() = StatusCode::NOT_MODIFIED;
        r
    } else {
        respond::bytes(200, bytes, "application/json")
    };
    if let Ok(v) = HeaderValue::from_str(&etag) {
        response.headers_mut().insert(ETAG, v);
    }
    if !asked.is_empty() && !path.is_empty() {
        response.headers_mut().insert(
            http::header::CACHE_CONTROL,
            HeaderValue::from_static("public, immutable"),
        );
    }
    Ok(response)
}

fn index(served: &Served) -> Vec<u8> {
    let entries: Map = paths(served)
        .into_iter()
        .filter_map(|path| {
            let bytes = document(served, &path)?;
            let url = format!("/openapi/v3/{path}?hash={}", hash(&bytes));
            Some((path, value!({"serverRelativeURL": url})))
        })
        .collect();
    json::to_vec(&value!({"paths": (Value::Object(entries))}))
}

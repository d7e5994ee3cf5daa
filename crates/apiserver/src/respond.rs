//! Responses: errors as Status objects, objects in the shape and format that was negotiated.

use crate::Body;
use crate::cache::Object;
use crate::codec::{self, Format, Shape};
use crate::pipeline::Call;
use freehold_model::catalogue::Column;
use freehold_model::{ApiError, Map, Value, json, table, value};
use http::header::{CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER, WARNING};
use http::{HeaderValue, Response, StatusCode};
use std::sync::Arc;

/// A failed request's answer.
pub(crate) fn error(e: &ApiError) -> Response<Body> {
    let mut response = bytes(e.code, json::to_vec(&e.to_value()), "application/json");
    let retry = e.details.as_ref().map_or(0, |d| d.retry_after_seconds);
    if retry > 0 {
        response
            .headers_mut()
            .insert(RETRY_AFTER, HeaderValue::from(retry));
    }
    response
}

/// A body as it is.
pub(crate) fn bytes(
    code: u16,
    body: impl Into<bytes::Bytes>,
    media: &'static str,
) -> Response<Body> {
    let mut response = Response::new(Body::from(body.into()));
    *response.status_mut() =
        StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(media));
    response
        .headers_mut()
        .insert(CACHE_CONTROL, HeaderValue::from_static("no-cache, private"));
    response
}

/// So much of a warning is shown where all of them are too long.
const CUT: usize = 256;
/// So many characters of warnings a client is shown.
const ALL: usize = 4096;

/// `Warning: 299 - "text"`, quoted as apimachinery `pkg/util/net/http.go` does, at most as many as apiserver
/// `pkg/endpoints/filters/warning.go` shows.
pub(crate) fn add_warnings(response: &mut Response<Body>, warnings: &[String]) {
    for w in shown(warnings) {
        let clean: String = w
            .chars()
            .map(|c| if c.is_control() { ' ' } else { c })
            .collect();
        let text = format!(
            "299 - \"{}\"",
            clean.replace('\\', "\\\\").replace('"', "\\\"")
        );
        if let Ok(v) = HeaderValue::from_bytes(text.as_bytes()) {
            response.headers_mut().append(WARNING, v);
        }
    }
}

/// All of them, or the beginnings of the first ones.
fn shown(warnings: &[String]) -> Vec<&str> {
    let length = |text: &str| text.chars().count();
    let mut total = 0;
    let fit = warnings.iter().take_while(|w| {
        total += length(w);
        total <= ALL
    });
    let whole: Vec<&str> = fit.map(String::as_str).collect();
    if whole.len() == warnings.len() {
        return whole;
    }
    let cut = |text: &'_ str| {
        text.char_indices()
            .nth(CUT)
            .map_or(text.len(), |(end, _)| end)
    };
    let first = whole.len() + 1;
    let mut written = 0;
    let cut = warnings.iter().enumerate().map(|(i, w)| (i, &w[..cut(w)]));
    cut.take_while(|(i, w)| {
        let goes = *i < first || written < ALL;
        written += length(w);
        goes
    })
    .map(|(_, w)| w)
    .collect()
}

impl Call {
    /// A value that is no stored object: encoded as asked, never a Table.
    pub(crate) fn answer_value(
        &self,
        code: u16,
        value: &Value,
    ) -> Result<Response<Body>, ApiError> {
        let (body, media) = codec::encode(&self.served.catalogue, self.accept, value)?;
        Ok(bytes(code, body, media))
    }

    /// One stored object in the version, shape and format asked for.
    pub(crate) async fn answer_object(
        &self,
        code: u16,
        object: &Object,
    ) -> Result<Response<Body>, ApiError> {
        let a = self.accept;
        if a.format == Format::Json && a.shape == Shape::Plain && !a.pretty && self.copies(object) {
            return Ok(bytes(code, object.to_json(), "application/json"));
        }
        let value = self.to_served(object).await?;
        self.answer_served(code, value)
    }

    /// One object that already is in the served version.
    pub(crate) fn answer_served(
        &self,
        code: u16,
        value: Value,
    ) -> Result<Response<Body>, ApiError> {
        let shaped = match self.accept.shape {
            Shape::Plain => value,
            Shape::Partial => self.partial(value),
            Shape::Table => {
                let rev = value.str_at(&["metadata", "resourceVersion"]);
                let rev = rev.and_then(|r| r.parse().ok());
                self.check_include()?;
                self.table(vec![value], list_meta(rev), true)
            }
        };
        self.answer_value(code, &shaped)
    }

    fn meta_version(&self) -> &'static str {
        if self.accept.beta {
            "meta.k8s.io/v1beta1"
        } else {
            "meta.k8s.io/v1"
        }
    }

    /// `PartialObjectMetadata` of an object.
    pub(crate) fn partial(&self, mut object: Value) -> Value {
        let metadata = object.unset(&["metadata"]).unwrap_or_else(Value::object);
        value!({
            "apiVersion": (self.meta_version()),
            "kind": "PartialObjectMetadata",
            "metadata": metadata
        })
    }

    /// What rows of a Table may carry.
    fn check_include(&self) -> Result<(), ApiError> {
        match self.query.text("includeObject") {
            "" | "None" | "Metadata" | "Object" => Ok(()),
            other => Err(ApiError::bad_request(format!(
                "Unable to convert to Table as requested: includeObject: Invalid value: {other:?}: must be 'Metadata', 'Object', 'None', or empty"
            ))),
        }
    }

    /// A Table with one row per object.
    pub(crate) fn table(&self, objects: Vec<Value>, metadata: Value, with_columns: bool) -> Value {
        let columns: Vec<Value> = if with_columns {
            table::columns(&self.resource).iter().map(column).collect()
        } else {
            Vec::new()
        };
        let include = self.query.text("includeObject");
        let printer = table::Printer::new(&self.resource, self.now);
        let rows: Vec<Value> = objects
            .into_iter()
            .map(|object| {
                let cells = printer.cells(&object);
                let mut row = Map::new();
                row.insert("cells", Value::Array(cells));
                let conditions = table::row_conditions(&self.resource, &object);
                if !conditions.is_empty() {
                    row.insert("conditions", Value::Array(conditions));
                }
                match include {
                    "None" => {
                        row.insert("object", Value::Null);
                    }
                    "Object" => {
                        row.insert("object", object);
                    }
                    _ => {
                        row.insert("object", self.partial(object));
                    }
                }
                Value::Object(row)
            })
            .collect();
        value!({
            "apiVersion": (self.meta_version()),
            "kind": "Table",
            "metadata": metadata,
            "columnDefinitions": (Value::Array(columns)),
            "rows": (Value::Array(rows))
        })
    }

    /// A list that needs more than copying bytes.
    pub(crate) async fn answer_list_values(
        &self,
        objects: &[Arc<Object>],
        metadata: Value,
    ) -> Result<Response<Body>, ApiError> {
        let mut values = self.load_all(objects)?;
        self.convert(&self.resource, &mut values).await?;
        for (value, object) in values.iter_mut().zip(objects) {
            value.set(&["metadata", "resourceVersion"], object.rev.to_string());
        }
        let list = match self.accept.shape {
            Shape::Table => {
                self.check_include()?;
                self.table(values, metadata, true)
            }
            Shape::Partial => value!({
                "apiVersion": (self.meta_version()),
                "kind": "PartialObjectMetadataList",
                "metadata": metadata,
                "items": (Value::Array(values.into_iter().map(|v| self.partial(v)).collect()))
            }),
            Shape::Plain => {
                // Of a typed list the items are what the list says.
                if self.resource.custom.is_none() {
                    for value in &mut values {
                        value.unset(&["apiVersion"]);
                        value.unset(&["kind"]);
                    }
                }
                value!({
                    "apiVersion": (self.resource.api_version()),
                    "kind": (self.resource.list_kind.clone()),
                    "metadata": metadata,
                    "items": (Value::Array(values))
                })
            }
        };
        self.answer_value(200, &list)
    }
}

/// `metadata` of a list.
pub(crate) fn list_meta(rev: Option<u64>) -> Value {
    match rev {
        Some(rev) => value!({"resourceVersion": (rev.to_string())}),
        None => Value::object(),
    }
}

fn column(c: &Column) -> Value {
    value!({
        "name": (c.name.clone()),
        "type": (c.ty.clone()),
        "format": (c.format.clone()),
        "description": (c.description.clone()),
        "priority": (i64::from(c.priority))
    })
}

/// `Status` of a request that succeeded without an object to return.
pub(crate) fn success(name: &str, group: &str, plural: &str, uid: &str) -> Value {
    let mut details = Map::new();
    for (k, v) in [
        ("name", name),
        ("group", group),
        ("kind", plural),
        ("uid", uid),
    ] {
        if !v.is_empty() {
            details.insert(k, v);
        }
    }
    value!({
        "apiVersion": "v1",
        "kind": "Status",
        "metadata": {},
        "status": "Success",
        "details": (Value::Object(details))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn warnings_that_are_too_long_are_cut_as_upstream_cuts_them() {
        let few = vec!["é".repeat(4096)];
        assert_eq!(shown(&few), few);
        let one = vec!["é".repeat(4097)];
        assert_eq!(shown(&one), ["é".repeat(256)]);
        let many: Vec<String> = (0..40).map(|i| format!("{i:0300}")).collect();
        let all = shown(&many);
        assert_eq!((all.len(), all[15].len()), (16, 256));
    }
}

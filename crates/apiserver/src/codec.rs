//! Content negotiation, and request bodies in their three formats.

use crate::Body;
use crate::body::ReadError;
use bytes::Bytes;
use freehold_model::json::{self, Decoded};
use freehold_model::{ApiError, Catalogue, Value, limits, proto, yaml};
use http::HeaderMap;
use http::header::{ACCEPT, CONTENT_TYPE, USER_AGENT};

const ACCEPTED: &str = "application/json, application/yaml, application/vnd.kubernetes.protobuf";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    Json,
    Yaml,
    Protobuf,
}

/// What the client wants instead of the object itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    Plain,
    Table,
    /// `PartialObjectMetadata`, for lists and watches too
    Partial,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Accept {
    pub format: Format,
    pub shape: Shape,
    /// Table and PartialObjectMetadata in `meta.k8s.io/v1beta1`
    pub beta: bool,
    pub pretty: bool,
}

impl Accept {
    /// The best of the `Accept` header that this server can do; JSON wins among equals, because
    /// objects are stored as JSON and copied to the client as they are.
    ///
    /// # Errors
    /// 406 naming what there is.
    pub(crate) fn negotiate(
        headers: &HeaderMap,
        pretty: Option<bool>,
        shapes: bool,
    ) -> Result<Self, ApiError> {
        let pretty = pretty.unwrap_or_else(|| is_human(headers));
        let header = headers
            .get(ACCEPT)
            .and_then(|v| v.to_str().ok())
            .unwrap_or("");
        if header.trim().is_empty() {
            return Ok(Self {
                format: Format::Json,
                shape: Shape::Plain,
                beta: false,
                pretty,
            });
        }
        let mut best: Option<(Self, u16)> = None;
        for clause in header.split(',').take(32) {
            let Some((mut offer, q)) = Self::clause(clause, shapes) else {
                continue;
            };
            offer.pretty = pretty;
            let better = match &best {
                None => true,
                Some((b, bq)) => {
                    q > *bq
                        || (q == *bq
                            && b.shape == offer.shape
                            && b.format != Format::Json
                            && offer.format == Format::Json)
                }
            };
            if better && q > 0 {
                best = Some((offer, q));
            }
        }
        let known = |clause: &str| {
            let media = clause.split(';').next().unwrap_or("").trim();
            Self::clause(media, false).is_some()
        };
        best.map(|(a, _)| a).ok_or_else(|| {
            if header.split(',').take(32).any(known) {
                return ApiError::not_acceptable(format!(
                    "only the following media types are accepted: {ACCEPTED}"
                ));
            }
            let mut e = ApiError::not_acceptable(format!(
                "406: Not Acceptable\n\nAvailable representations: {ACCEPTED}"
            ));
            e.details = Some(Box::default());
            e
        })
    }

    /// One `type/subtype;param=…` with its quality in thousandths.
    fn clause(text: &str, shapes: bool) -> Option<(Self, u16)> {
        let mut parts = text.split(';').map(str::trim);
        let format = match parts.next()? {
            "application/json" | "*/*" | "application/*" => Format::Json,
            "application/yaml" => Format::Yaml,
            "application/vnd.kubernetes.protobuf" => Format::Protobuf,
            _ => return None,
        };
        let (mut kind, mut group, mut version, mut q) = ("", "", "", 1000);
        for p in parts {
            let (k, v) = p.split_once('=').unwrap_or((p, ""));
            match k.trim() {
                "as" => kind = v,
                "g" => group = v,
                "v" => version = v,
                "q" => q = (v.parse::<f32>().ok()?.clamp(0.0, 1.0) * 1000.0) as u16,
                "stream" if v != "watch" && !v.is_empty() => return None,
                _ => {}
            }
        }
        let shape = match kind {
            "" => Shape::Plain,
            _ if !shapes || group != "meta.k8s.io" || !matches!(version, "v1" | "v1beta1") => {
                return None;
            }
            "Table" => Shape::Table,
            "PartialObjectMetadata" | "PartialObjectMetadataList" => Shape::Partial,
            _ => return None,
        };
        // Tables carry arbitrary cells and have no protobuf form.
        if shape == Shape::Table && format == Format::Protobuf {
            return None;
        }
        Some((
            Self {
                format,
                shape,
                beta: version == "v1beta1",
                pretty: false,
            },
            q,
        ))
    }
}

fn is_human(headers: &HeaderMap) -> bool {
    let agent = headers.get(USER_AGENT).map_or(&b""[..], |v| v.as_bytes());
    [&b"curl"[..], b"Wget", b"Mozilla/5.0"]
        .iter()
        .any(|p| agent.starts_with(p))
}

/// The media type of the body, without parameters, in lower case; empty when there is none.
pub(crate) fn media_type(headers: &HeaderMap) -> String {
    let text = headers
        .get(CONTENT_TYPE)
        .and_then(|v| v.to_str().ok())
        .unwrap_or("");
    text.split(';')
        .next()
        .unwrap_or("")
        .trim()
        .to_ascii_lowercase()
}

/// Reads a request body within the limit.
pub(crate) async fn read(body: Body) -> Result<Bytes, ApiError> {
    body.read(limits::MAX_BODY).await.map_err(|e| match e {
        ReadError::TooLarge(limit) => ApiError::too_large(format!("limit is {limit}")),
        ReadError::Broken(_) => ApiError::bad_request("the request body could not be read"),
    })
}

pub(crate) fn is_json(media: &str) -> bool {
    matches!(media, "" | "application/json" | "*/*")
}

/// Decodes a body by its media type.
pub(crate) fn decode(
    catalogue: &Catalogue,
    media: &str,
    bytes: &[u8],
) -> Result<Decoded, ApiError> {
    match media {
        media if is_json(media) => json::parse(bytes),
        "application/yaml" | "application/x-yaml" | "text/yaml" => yaml::parse(bytes),
        "application/vnd.kubernetes.protobuf" => {
            proto::decode(catalogue, bytes).map(|value| Decoded {
                value,
                ..Decoded::default()
            })
        }
        _ => Err(ApiError::unsupported_media_type(format!(
            "the body of the request was in an unknown format - accepted media types include: {ACCEPTED}"
        ))),
    }
}

/// Encodes a value in the negotiated format; the media type comes with it.
pub(crate) fn encode(
    catalogue: &Catalogue,
    accept: Accept,
    value: &Value,
) -> Result<(Vec<u8>, &'static str), ApiError> {
    match accept.format {
        Format::Protobuf => {
            proto::encode(catalogue, value).map(|b| (b, "application/vnd.kubernetes.protobuf"))
        }
        Format::Json if accept.pretty => {
            let mut out = Vec::new();
            pretty(value, 0, &mut out);
            out.push(b'\n');
            Ok((out, "application/json"))
        }
        // JSON is YAML; a client that reads YAML reads this.
        Format::Yaml => Ok((json::to_vec(value), "application/yaml")),
        Format::Json => Ok((json::to_vec(value), "application/json")),
    }
}

fn pretty(value: &Value, depth: usize, out: &mut Vec<u8>) {
    let line = |out: &mut Vec<u8>, depth: usize| {
        out.push(b'\n');
        out.resize(out.len() + depth * 2, b' ');
    };
    match value {
        Value::Object(m) if !m.is_empty() => {
            out.push(b'{');
            for (i, (k, v)) in m.iter().enumerate() {
                if i > 0 {
                    out.push(b',');
                }
                line(out, depth + 1);
                json::write_string(k, out);
                out.extend_from_slice(b": ");
                pretty(v, depth + 1, out);
            }
            line(out, depth);
            out.push(b'}');
        }
        Value::Array(a) if !a.is_empty() => {
            out.push(b'[');
            for (i, v) in a.iter().enumerate() {
                if i > 0 {
                    out.push(b',');
                }
                line(out, depth + 1);
                pretty(v, depth + 1, out);
            }
            line(out, depth);
            out.push(b']');
        }
        other => json::write(other, out),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accept(header: &str) -> Result<Accept, ApiError> {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, header.parse().unwrap());
        Accept::negotiate(&headers, None, true)
    }

    #[test]
    fn kubectl_gets_its_table_and_a_plain_client_its_object() {
        let a = accept(
            "application/json;as=Table;v=v1;g=meta.k8s.io,application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json",
        );
        assert_eq!(a.unwrap().shape, Shape::Table);
        let a = accept("application/vnd.kubernetes.protobuf,application/json").unwrap();
        assert_eq!((a.format, a.shape), (Format::Json, Shape::Plain));
        let a = accept("application/vnd.kubernetes.protobuf").unwrap();
        assert_eq!(a.format, Format::Protobuf);
        let a = accept("application/vnd.kubernetes.protobuf;as=PartialObjectMetadata;g=meta.k8s.io;v=v1,application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1,application/json").unwrap();
        assert_eq!((a.format, a.shape), (Format::Json, Shape::Partial));
    }

    #[test]
    fn what_cannot_be_served_is_406() {
        for header in [
            "text/html",
            "application/json;as=Table;v=v2;g=meta.k8s.io",
            "application/json;as=Other;v=v1;g=meta.k8s.io",
        ] {
            assert_eq!(accept(header).unwrap_err().code, 406, "{header}");
        }
    }

    #[test]
    fn pretty_output_is_indented_by_two() {
        let v = freehold_model::value!({"a": [1, {}], "b": {"c": "x"}});
        let mut out = Vec::new();
        pretty(&v, 0, &mut out);
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "{\n  \"a\": [\n    1,\n    {}\n  ],\n  \"b\": {\n    \"c\": \"x\"\n  }\n}"
        );
    }
}

//! API errors: the `Status` object that every failed request answers with.
//!
//! Reasons, codes and messages follow apimachinery `pkg/api/errors/errors.go`.

use crate::field::FieldError;
use crate::value::{Map, Str, Value};

/// A failed request, convertible to a `Status` body.
#[derive(Clone, Debug, PartialEq)]
pub struct ApiError {
    pub code: u16,
    pub reason: &'static str,
    pub message: String,
    pub details: Option<Box<Details>>,
}

/// `Status.details`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Details {
    pub name: Str,
    pub group: Str,
    pub kind: Str,
    pub uid: Str,
    pub causes: Vec<Cause>,
    pub retry_after_seconds: i64,
}

/// One entry of `Status.details.causes`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Cause {
    pub reason: Str,
    pub message: String,
    pub field: String,
}

fn qualified(group: &str, resource: &str) -> String {
    if group.is_empty() {
        resource.to_owned()
    } else {
        format!("{resource}.{group}")
    }
}

impl From<Box<ApiError>> for ApiError {
    fn from(error: Box<ApiError>) -> Self {
        *error
    }
}

impl ApiError {
    #[must_use]
    pub fn new(code: u16, reason: &'static str, message: impl Into<String>) -> Self {
        Self {
            code,
            reason,
            message: message.into(),
            details: None,
        }
    }

    fn about(mut self, group: &str, kind: &str, name: &str) -> Self {
        let d = self.details.get_or_insert_default();
        (d.group, d.kind, d.name) = (group.into(), kind.into(), name.into());
        self
    }

    #[must_use]
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::new(400, "BadRequest", message)
    }

    #[must_use]
    pub fn unauthorized() -> Self {
        Self::new(401, "Unauthorized", "Unauthorized")
    }

    #[must_use]
    pub fn forbidden(group: &str, resource: &str, name: &str, why: &str) -> Self {
        let what = qualified(group, resource);
        let message = if name.is_empty() {
            format!("{what} is forbidden: {why}")
        } else {
            format!("{what} \"{name}\" is forbidden: {why}")
        };
        Self::new(403, "Forbidden", message).about(group, resource, name)
    }

    #[must_use]
    pub fn not_found(group: &str, resource: &str, name: &str) -> Self {
        let message = format!("{} \"{name}\" not found", qualified(group, resource));
        Self::new(404, "NotFound", message).about(group, resource, name)
    }

    /// The path itself is unknown (upstream's generic 404).
    #[must_use]
    pub fn no_such_path() -> Self {
        let mut e = Self::new(
            404,
            "NotFound",
            "the server could not find the requested resource",
        );
        e.details = Some(Box::default());
        e
    }

    #[must_use]
    pub fn already_exists(group: &str, resource: &str, name: &str) -> Self {
        let message = format!("{} \"{name}\" already exists", qualified(group, resource));
        Self::new(409, "AlreadyExists", message).about(group, resource, name)
    }

    #[must_use]
    pub fn conflict(group: &str, resource: &str, name: &str, why: &str) -> Self {
        let message = format!(
            "Operation cannot be fulfilled on {} \"{name}\": {why}",
            qualified(group, resource)
        );
        Self::new(409, "Conflict", message).about(group, resource, name)
    }

    #[must_use]
    pub fn method_not_allowed(group: &str, resource: &str, verb: &str) -> Self {
        let what = qualified(group, resource);
        Self::new(
            405,
            "MethodNotAllowed",
            format!("{verb} is not supported on resources of kind \"{what}\""),
        )
        .about(group, resource, "")
    }

    #[must_use]
    pub fn not_acceptable(message: impl Into<String>) -> Self {
        Self::new(406, "NotAcceptable", message)
    }

    #[must_use]
    pub fn unsupported_media_type(message: impl Into<String>) -> Self {
        Self::new(415, "UnsupportedMediaType", message)
    }

    #[must_use]
    pub fn too_large(message: impl Into<String>) -> Self {
        Self::new(413, "RequestEntityTooLarge", message)
    }

    #[must_use]
    pub fn too_many_requests(message: impl Into<String>, retry_after_seconds: i64) -> Self {
        let mut e = Self::new(429, "TooManyRequests", message);
        e.details.get_or_insert_default().retry_after_seconds = retry_after_seconds;
        e
    }

    #[must_use]
    pub fn expired(message: impl Into<String>) -> Self {
        Self::new(410, "Expired", message)
    }

    #[must_use]
    pub fn internal(message: impl std::fmt::Display) -> Self {
        Self::new(
            500,
            "InternalError",
            format!("Internal error occurred: {message}"),
        )
    }

    #[must_use]
    pub fn unavailable(message: impl Into<String>) -> Self {
        Self::new(503, "ServiceUnavailable", message)
    }

    #[must_use]
    pub fn timeout(message: impl Into<String>) -> Self {
        Self::new(504, "Timeout", message)
    }

    /// 422 with one cause per field error, as `NewInvalid` builds it.
    #[must_use]
    pub fn invalid(group: &str, kind: &str, name: &str, errors: &[FieldError]) -> Self {
        let list = match errors {
            [one] => one.to_string(),
            many => {
                let all: Vec<String> = many.iter().map(ToString::to_string).collect();
                format!("[{}]", all.join(", "))
            }
        };
        let message = format!("{} \"{name}\" is invalid: {list}", qualified(group, kind));
        let mut e = Self::new(422, "Invalid", message).about(group, kind, name);
        e.details.get_or_insert_default().causes = errors.iter().map(FieldError::cause).collect();
        e
    }

    /// The `Status` object.
    #[must_use]
    pub fn to_value(&self) -> Value {
        let mut m: Map = [
            ("apiVersion", "v1"),
            ("kind", "Status"),
            ("status", "Failure"),
        ]
        .into_iter()
        .collect();
        m.insert("metadata", Value::object());
        m.insert("message", self.message.as_str());
        m.insert("reason", self.reason);
        m.insert("code", i64::from(self.code));
        if let Some(d) = &self.details {
            m.insert("details", d.to_value());
        }
        Value::Object(m)
    }
}

impl Details {
    fn to_value(&self) -> Value {
        let mut m = Map::new();
        for (key, text) in [
            ("name", &self.name),
            ("group", &self.group),
            ("kind", &self.kind),
            ("uid", &self.uid),
        ] {
            if !text.is_empty() {
                m.insert(key, text.clone());
            }
        }
        if !self.causes.is_empty() {
            let causes: Vec<Value> = self
                .causes
                .iter()
                .map(|c| {
                    let mut cause: Map = [
                        ("reason", Value::from(c.reason.clone())),
                        ("message", c.message.as_str().into()),
                    ]
                    .into_iter()
                    .collect();
                    if !c.field.is_empty() {
                        cause.insert("field", c.field.as_str());
                    }
                    Value::Object(cause)
                })
                .collect();
            m.insert("causes", Value::Array(causes));
        }
        if self.retry_after_seconds > 0 {
            m.insert("retryAfterSeconds", self.retry_after_seconds);
        }
        Value::Object(m)
    }
}

impl std::fmt::Display for ApiError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for ApiError {}

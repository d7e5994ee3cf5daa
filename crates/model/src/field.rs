//! Field errors, as apimachinery `pkg/util/validation/field/errors.go` words them.

use crate::status::Cause;
use std::fmt;

/// What is wrong with a field; the display text is the `reason` of a cause.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    NotFound,
    Required,
    Duplicate,
    Invalid,
    NotSupported,
    Forbidden,
    TooLong,
    TooMany,
    InternalError,
    TypeInvalid,
}

/// One problem at one path; `value` is the offending value as upstream prints it (already quoted
/// when it is a string), empty when the kind shows none.
#[derive(Clone, Debug, PartialEq)]
pub struct FieldError {
    pub kind: ErrorKind,
    pub path: String,
    pub value: String,
    pub detail: String,
}

impl FieldError {
    #[must_use]
    pub fn new(kind: ErrorKind, path: impl Into<String>, value: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { kind, path: path.into(), value: value.into(), detail: detail.into() }
    }

    /// `metadata.name: Required value: …`
    #[must_use]
    pub fn required(path: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::new(ErrorKind::Required, path, "", detail)
    }

    /// `spec.x: Invalid value: "text": …` for a string value.
    #[must_use]
    pub fn invalid_str(path: impl Into<String>, value: &str, detail: impl Into<String>) -> Self {
        Self::new(ErrorKind::Invalid, path, format!("{value:?}"), detail)
    }

    #[must_use]
    pub fn forbidden(path: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::new(ErrorKind::Forbidden, path, "", detail)
    }

    fn text(&self) -> String {
        let (label, shows_value) = match self.kind {
            ErrorKind::NotFound => ("Not found", true),
            ErrorKind::Required => ("Required value", false),
            ErrorKind::Duplicate => ("Duplicate value", true),
            ErrorKind::Invalid | ErrorKind::TypeInvalid => ("Invalid value", true),
            ErrorKind::NotSupported => ("Unsupported value", true),
            ErrorKind::Forbidden => ("Forbidden", false),
            ErrorKind::TooLong => ("Too long", false),
            ErrorKind::TooMany => ("Too many", true),
            ErrorKind::InternalError => ("Internal error", false),
        };
        let mut s = String::from(label);
        if shows_value {
            s.push_str(": ");
            s.push_str(&self.value);
        }
        if !self.detail.is_empty() {
            s.push_str(": ");
            s.push_str(&self.detail);
        }
        s
    }

    #[must_use]
    pub fn cause(&self) -> Cause {
        let reason = match self.kind {
            ErrorKind::NotFound => "FieldValueNotFound",
            ErrorKind::Required => "FieldValueRequired",
            ErrorKind::Duplicate => "FieldValueDuplicate",
            ErrorKind::Invalid => "FieldValueInvalid",
            ErrorKind::NotSupported => "FieldValueNotSupported",
            ErrorKind::Forbidden => "FieldValueForbidden",
            ErrorKind::TooLong => "FieldValueTooLong",
            ErrorKind::TooMany => "FieldValueTooMany",
            ErrorKind::InternalError => "InternalError",
            ErrorKind::TypeInvalid => "FieldValueTypeInvalid",
        };
        Cause { reason: reason.into(), message: self.text(), field: self.path.clone() }
    }
}

impl fmt::Display for FieldError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path, self.text())
    }
}

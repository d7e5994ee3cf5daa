//! Field errors, as apimachinery `pkg/util/validation/field/errors.go` words them.

use crate::status::Cause;
use crate::{Value, json};
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
    TooShort,
    TooMany,
    TooFew,
    InternalError,
    TypeInvalid,
}

/// Where a checker stands, kept on the stack and spelled out only when something is wrong.
#[derive(Clone, Copy)]
pub struct Path<'a> {
    parent: Option<&'a Path<'a>>,
    step: Step<'a>,
}

#[derive(Clone, Copy)]
enum Step<'a> {
    Field(&'a str),
    Index(usize),
    Key(&'a str),
}

impl<'a> Path<'a> {
    #[must_use]
    pub fn root(field: &'a str) -> Self {
        Self {
            parent: None,
            step: Step::Field(field),
        }
    }

    #[must_use]
    pub fn child(&'a self, field: &'a str) -> Self {
        Self {
            parent: Some(self),
            step: Step::Field(field),
        }
    }

    #[must_use]
    pub fn index(&'a self, index: usize) -> Self {
        Self {
            parent: Some(self),
            step: Step::Index(index),
        }
    }

    /// `path[key]`
    #[must_use]
    pub fn key(&'a self, key: &'a str) -> Self {
        Self {
            parent: Some(self),
            step: Step::Key(key),
        }
    }
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(parent) = self.parent {
            parent.fmt(f)?;
        }
        match self.step {
            Step::Field(name) if self.parent.is_some() => write!(f, ".{name}"),
            Step::Field(name) => f.write_str(name),
            Step::Index(index) => write!(f, "[{index}]"),
            Step::Key(key) => write!(f, "[{key}]"),
        }
    }
}

impl From<Path<'_>> for String {
    fn from(path: Path<'_>) -> Self {
        path.to_string()
    }
}

impl From<&Path<'_>> for String {
    fn from(path: &Path<'_>) -> Self {
        path.to_string()
    }
}

/// A string in quotes, as Go's `%q` shows it.
#[must_use]
pub fn quote(s: &str) -> String {
    let mut out = String::with_capacity(s.len() + 2);
    out.push('"');
    for c in s.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\u{7}' => out.push_str("\\a"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{b}' => out.push_str("\\v"),
            ' '..='~' => out.push(c),
            c if c.is_ascii() => out.push_str(&format!("\\x{:02x}", u32::from(c))),
            c if c.escape_debug().len() == 1 => out.push(c),
            c if u32::from(c) < 0x10000 => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => out.push_str(&format!("\\U{:08x}", u32::from(c))),
        }
    }
    out.push('"');
    out
}

/// Values of this size are cut in messages: they come from the tenant.
pub(crate) const MAX_SHOWN: usize = 8 * 1024;

/// A value as upstream's field errors show it: strings quoted, everything else as JSON.
#[must_use]
pub fn show(value: &Value) -> String {
    let mut text = match value {
        Value::String(s) => quote(s),
        other => String::from_utf8_lossy(&json::to_vec(other)).into_owned(),
    };
    if text.len() > MAX_SHOWN {
        text.truncate(text.floor_char_boundary(MAX_SHOWN));
        text.push('…');
    }
    text
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
    pub fn new(
        kind: ErrorKind,
        path: impl Into<String>,
        value: impl Into<String>,
        detail: impl Into<String>,
    ) -> Self {
        Self {
            kind,
            path: path.into(),
            value: value.into(),
            detail: detail.into(),
        }
    }

    /// `metadata.name: Required value: …`
    #[must_use]
    pub fn required(path: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::new(ErrorKind::Required, path, "", detail)
    }

    /// `spec.x: Invalid value: "text": …` for a string value.
    #[must_use]
    pub fn invalid_str(path: impl Into<String>, value: &str, detail: impl Into<String>) -> Self {
        Self::new(ErrorKind::Invalid, path, show(&value.into()), detail)
    }

    /// `spec.x: Invalid value: …` for any value.
    #[must_use]
    pub fn invalid(path: impl Into<String>, value: &Value, detail: impl Into<String>) -> Self {
        Self::new(ErrorKind::Invalid, path, show(value), detail)
    }

    /// `spec.x: Invalid value: 3: …`
    #[must_use]
    pub fn invalid_int(path: impl Into<String>, value: i64, detail: impl Into<String>) -> Self {
        Self::new(ErrorKind::Invalid, path, value.to_string(), detail)
    }

    #[must_use]
    pub fn duplicate(path: impl Into<String>, value: &Value) -> Self {
        Self::new(ErrorKind::Duplicate, path, show(value), "")
    }

    #[must_use]
    pub fn not_found(path: impl Into<String>, value: &Value) -> Self {
        Self::new(ErrorKind::NotFound, path, show(value), "")
    }

    /// `Unsupported value: "x": supported values: "a", "b"`, the values in the order given.
    #[must_use]
    pub fn not_supported(path: impl Into<String>, value: &Value, supported: &[&str]) -> Self {
        let detail = if supported.is_empty() {
            String::new()
        } else {
            let quoted: Vec<String> = supported.iter().map(|s| quote(s)).collect();
            format!("supported values: {}", quoted.join(", "))
        };
        Self::new(ErrorKind::NotSupported, path, show(value), detail)
    }

    #[must_use]
    pub fn too_long(path: impl Into<String>, max_bytes: usize) -> Self {
        let unit = if max_bytes == 1 { "byte" } else { "bytes" };
        Self::new(
            ErrorKind::TooLong,
            path,
            "",
            format!("may not be more than {max_bytes} {unit}"),
        )
    }

    #[must_use]
    pub fn too_many(path: impl Into<String>, actual: usize, max: usize) -> Self {
        let unit = if max == 1 { "item" } else { "items" };
        Self::new(
            ErrorKind::TooMany,
            path,
            actual.to_string(),
            format!("must have at most {max} {unit}"),
        )
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
            ErrorKind::TooShort => ("Too short", false),
            ErrorKind::TooMany => ("Too many", true),
            ErrorKind::TooFew => ("Too few", true),
            ErrorKind::InternalError => ("Internal error", false),
        };
        let mut s = String::from(label);
        if shows_value && !self.value.is_empty() {
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
            ErrorKind::TooShort => "FieldValueTooShort",
            ErrorKind::TooMany => "FieldValueTooMany",
            ErrorKind::TooFew => "FieldValueTooFew",
            ErrorKind::InternalError => "InternalError",
            ErrorKind::TypeInvalid => "FieldValueTypeInvalid",
        };
        Cause {
            reason: reason.into(),
            message: self.text(),
            field: self.path.clone(),
        }
    }
}

impl fmt::Display for FieldError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path, self.text())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value;

    /// apimachinery `pkg/util/validation/field/errors.go`
    #[test]
    fn errors_read_as_upstreams() {
        let spec = Path::root("spec");
        let containers = spec.child("containers");
        let first = containers.index(0);
        let image = first.child("image");
        for (error, want) in [
            (
                FieldError::required(image, ""),
                "spec.containers[0].image: Required value",
            ),
            (
                FieldError::invalid_str(image, " a\t\u{1}é", "no spaces"),
                r#"spec.containers[0].image: Invalid value: " a\t\x01é": no spaces"#,
            ),
            (
                FieldError::invalid(image, &value!({"a": 1}), "x"),
                r#"spec.containers[0].image: Invalid value: {"a":1}: x"#,
            ),
            (
                FieldError::invalid_int(spec.key("k"), -1, "must be"),
                "spec[k]: Invalid value: -1: must be",
            ),
            (
                FieldError::duplicate(spec, &"a".into()),
                r#"spec: Duplicate value: "a""#,
            ),
            (
                FieldError::too_many(spec, 4, 3),
                "spec: Too many: 4: must have at most 3 items",
            ),
            (
                FieldError::too_long(spec, 63),
                "spec: Too long: may not be more than 63 bytes",
            ),
            (
                FieldError::not_supported(spec, &"x".into(), &["A", "B"]),
                r#"spec: Unsupported value: "x": supported values: "A", "B""#,
            ),
            (FieldError::forbidden(spec, "no"), "spec: Forbidden: no"),
        ] {
            assert_eq!(error.to_string(), want);
        }
    }
}

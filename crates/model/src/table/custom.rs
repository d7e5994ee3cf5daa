//! Rows of custom objects: apiextensions `pkg/registry/customresource/tableconvertor`.

use super::{Row, ago, json_path};
use crate::catalogue::Column;
use crate::{Value, json};

pub(super) fn cell(row: &Row<'_>, column: &Column) -> Value {
    if column.json_path.is_empty() {
        return row.name().into();
    }
    let Some(value) = json_path::first(row.object, &column.json_path) else {
        return Value::Null;
    };
    match (column.ty.as_str(), value) {
        ("string", value) => text(value),
        ("integer", Value::Int(_)) | ("boolean", Value::Bool(_)) | ("number", Value::Float(_)) => {
            value.clone()
        }
        #[allow(clippy::cast_possible_truncation, reason = "Go's int64(float64)")]
        ("integer", Value::Float(f)) => Value::Int(*f as i64),
        #[allow(clippy::cast_precision_loss, reason = "Go's float64(int64)")]
        ("number", Value::Int(i)) => Value::Float(*i as f64),
        ("date", Value::String(time)) if crate::time::Instant::parse(time).is_err() => {
            "<invalid>".into()
        }
        ("date", Value::String(time)) => ago(time, row.now).into(),
        _ => Value::Null,
    }
}

fn text(value: &Value) -> Value {
    match value {
        Value::String(s) => s.clone().into(),
        Value::Null => "<no value>".into(),
        other => String::from_utf8_lossy(&json::to_vec(other))
            .into_owned()
            .into(),
    }
}

//! The CustomResourceDefinitions of this crate as data.

use kube::CustomResourceExt;
use serde_json::Value;

/// Definitions of our own objects.
#[must_use]
pub fn ours() -> Vec<Value> {
    [
        crate::Tenant::crd(),
        crate::ControlPlane::crd(),
        crate::Hook::crd(),
    ]
    .into_iter()
    .map(plain)
    .collect()
}

/// The definition as data, with formats and bounds as Kubernetes writes them.
fn plain(crd: impl serde::Serialize) -> Value {
    let mut value = serde_json::to_value(crd).expect("a definition is JSON");
    tidy(&mut value);
    value
}

/// Unsigned formats are Rust's, not OpenAPI's; whole bounds are written as whole numbers.
fn tidy(value: &mut Value) {
    match value {
        Value::Object(map) => {
            if let Some(format) = map.get_mut("format")
                && format.as_str().is_some_and(|f| f.starts_with("uint"))
            {
                *format = "int32".into();
            }
            map.values_mut().for_each(tidy);
        }
        Value::Array(items) => items.iter_mut().for_each(tidy),
        Value::Number(number) => {
            if let Some(whole) = number
                .as_f64()
                .filter(|f| f.fract() == 0.0 && f.abs() < 1e15)
                && number.is_f64()
            {
                // the filter above makes the conversion exact
                #[allow(clippy::cast_possible_truncation, reason = "checked above")]
                let whole = whole as i64;
                *value = whole.into();
            }
        }
        _ => {}
    }
}

/// Definitions of all objects: ours and the dialects'.
#[must_use]
pub fn all() -> Vec<Value> {
    ours()
}

/// The file under `crds/` that holds a definition.
#[must_use]
pub fn file_name(crd: &Value) -> String {
    let text = |pointer: &str| {
        crd.pointer(pointer)
            .and_then(Value::as_str)
            .unwrap_or_default()
    };
    format!(
        "{}_{}.yaml",
        text("/spec/group"),
        text("/spec/names/plural")
    )
}

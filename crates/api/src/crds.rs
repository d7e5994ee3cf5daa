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
        crate::DataStore::crd(),
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

/// Definitions of the foreign objects that are understood.
#[must_use]
pub fn dialects() -> Vec<Value> {
    use crate::dialects::{capsule, kamaji, kubeflex};
    [
        kamaji::TenantControlPlane::crd(),
        kamaji::DataStore::crd(),
        kubeflex::FlexControlPlane::crd(),
        kubeflex::PostCreateHook::crd(),
        capsule::CapsuleTenant::crd(),
    ]
    .into_iter()
    .map(plain)
    .collect()
}

/// Definitions of all objects: ours and the dialects'.
#[must_use]
pub fn all() -> Vec<Value> {
    let mut all = ours();
    all.extend(dialects());
    all
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn short_names_do_not_clash() {
        let mut taken: BTreeMap<String, String> = BTreeMap::new();
        for crd in all() {
            let names = crd
                .pointer("/spec/names/shortNames")
                .and_then(Value::as_array);
            for name in names.into_iter().flatten() {
                let name = name.as_str().unwrap().to_owned();
                let before = taken.insert(name.clone(), file_name(&crd));
                assert_eq!(before, None, "{name}");
            }
        }
        for name in [
            "fht", "fhcp", "fhk", "fhds", "tcp", "cp", "cps", "pch", "pchs", "tnt",
        ] {
            assert!(taken.contains_key(name), "{name}");
        }
    }

    #[test]
    fn every_field_of_our_objects_is_explained() {
        fn walk(schema: &Value, path: &str) {
            let properties = schema["properties"].as_object();
            for (name, field) in properties.into_iter().flatten() {
                let path = format!("{path}.{name}");
                assert!(
                    field["description"].is_string(),
                    "{path} has no description"
                );
                walk(field, &path);
                walk(&field["items"], &path);
            }
        }
        for crd in all() {
            let schema = &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
            walk(schema, crd["metadata"]["name"].as_str().unwrap());
        }
    }
}

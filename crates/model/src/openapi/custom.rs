//! Schemas of custom resources, as apiextensions-apiserver publishes them
//! (`pkg/controller/openapi/builder/builder.go`).

use super::schema::Schemas;
use super::{Dialect, gvk, object};
use crate::catalogue::Resource;
use crate::{Map, Value, value};

/// Adds the schemas of the kind and its list; returns references to both.
pub(super) fn add(resource: &Resource, schemas: &mut Schemas<'_>) -> (Value, Value) {
    let name = model_name(&resource.group, &resource.version, &resource.kind);
    let list_name = model_name(&resource.group, &resource.version, &resource.list_kind);
    let dialect = schemas.dialect;
    let beside = |reference| match dialect {
        Dialect::V2 => reference,
        Dialect::V3 => object([("allOf", vec![reference].into())]),
    };
    let metadata = beside(schemas.named("io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"));
    let list_metadata = beside(schemas.named("io.k8s.apimachinery.pkg.apis.meta.v1.ListMeta"));
    let mut schema = match resource.custom.as_ref().and_then(|c| c.schema.as_object()) {
        None => object([("type", "object".into())]),
        Some(root) if dialect == Dialect::V2 && is_true(root, PRESERVE) => {
            object([("type", "object".into())])
        }
        Some(root) => {
            let mut schema = published(root, dialect, &metadata);
            if let Some(properties) = properties(&mut schema) {
                add_type_meta(properties);
                properties.insert("metadata", metadata.clone());
            }
            schema.into()
        }
    };
    let of = |kind: &str| Value::from(vec![gvk(&resource.group, &resource.version, kind)]);
    schema.set(&[GVK], of(&resource.kind));
    let reference = schemas.add(&name, schema);
    let mut list = value!({"type": "object", "required": ["items"]});
    if let Some(properties) = list.as_object_mut().and_then(properties) {
        add_type_meta(properties);
        properties.insert(
            "items",
            object([("type", "array".into()), ("items", reference.clone())]),
        );
        properties.insert("metadata", list_metadata);
    }
    list.set(&[GVK], of(&resource.list_kind));
    (reference, schemas.add(&list_name, list))
}

const GVK: &str = "x-kubernetes-group-version-kind";
const PRESERVE: &str = "x-kubernetes-preserve-unknown-fields";

/// `com.example.stable.v1.CronTab`.
fn model_name(group: &str, version: &str, kind: &str) -> String {
    let mut parts: Vec<&str> = group.split('.').collect();
    parts.reverse();
    format!("{}.{version}.{kind}", parts.join("."))
}

fn properties(schema: &mut Map) -> Option<&mut Map> {
    schema.entry_or("properties", Value::object).as_object_mut()
}

fn add_type_meta(properties: &mut Map) {
    for key in ["apiVersion", "kind"] {
        properties.insert(key, value!({"type": "string"}));
    }
}

fn is_true(schema: &Map, key: &str) -> bool {
    schema.get(key).and_then(Value::as_bool) == Some(true)
}

/// A structural schema as published: v2 cannot say everything that v3 can, and kubectl
/// misunderstands some of what it can say (`pkg/controller/openapi/v2/conversion.go`). The CRD was
/// bounded in depth and size when it was accepted.
fn published(schema: &Map, dialect: Dialect, metadata: &Value) -> Map {
    let mut out: Map = schema.iter().map(|(k, v)| (k, v.clone())).collect();
    let below = |value: &Value| match value {
        Value::Object(inner) => Value::Object(published(inner, dialect, metadata)),
        other => other.clone(),
    };
    for key in ["items", "additionalProperties"] {
        if let Some(inner) = schema.get(key) {
            out.insert(key, below(inner));
        }
    }
    if let Some(Value::Object(inner)) = schema.get("properties") {
        out.insert(
            "properties",
            inner.iter().map(|(k, v)| (k, below(v))).collect::<Map>(),
        );
    }
    if dialect == Dialect::V2 {
        for_v2(&mut out, schema);
    } else if is_true(schema, "x-kubernetes-int-or-string") {
        out.remove("type");
        out.insert("anyOf", value!([{"type": "integer"}, {"type": "string"}]));
    }
    if is_true(schema, "x-kubernetes-embedded-resource")
        && !(dialect == Dialect::V2 && is_true(schema, PRESERVE))
    {
        if let Some(properties) = properties(&mut out) {
            add_type_meta(properties);
            properties.insert("metadata", metadata.clone());
        }
        let mut required = out
            .get("required")
            .and_then(Value::as_array)
            .unwrap_or_default()
            .to_vec();
        for key in ["kind", "apiVersion"] {
            if !required.iter().any(|r| r.as_str() == Some(key)) {
                required.push(key.into());
            }
        }
        out.insert("required", required);
    }
    out
}

fn for_v2(out: &mut Map, schema: &Map) {
    for key in ["allOf", "oneOf", "anyOf", "not", "nullable", "default"] {
        out.remove(key);
    }
    let preserves = is_true(schema, PRESERVE);
    if is_true(schema, "nullable") || preserves {
        out.remove("items");
        out.remove("properties");
    }
    let untyped_array =
        schema.get("type").and_then(Value::as_str) == Some("array") && !out.contains_key("items");
    let int_or_string = is_true(schema, "x-kubernetes-int-or-string");
    let open_object = preserves && schema.get("type").and_then(Value::as_str) == Some("object");
    if is_true(schema, "nullable") || untyped_array || int_or_string || open_object {
        out.remove("type");
    }
    let nullable = |name: &Value| {
        let field = schema
            .get("properties")
            .and_then(|p| p.get(name.as_str().unwrap_or_default()));
        field
            .and_then(Value::as_object)
            .is_some_and(|f| is_true(f, "nullable"))
    };
    if let Some(Value::Array(required)) = out.get_mut("required") {
        required.retain(|name| !nullable(name));
        if required.is_empty() {
            out.remove("required");
        }
    }
}

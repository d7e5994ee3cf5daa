//! What makes a schema no structural one at all: apiextensions `pkg/apiserver/schema/convert.go`.

use crate::Value;

/// Keywords that are refused wherever they are, and what upstream calls them.
const KEYWORDS: [(&str, &str); 7] = [
    ("id", "id"),
    ("$schema", "schema"),
    ("$ref", "$ref"),
    ("patternProperties", "patternProperties"),
    ("dependencies", "dependencies"),
    ("additionalItems", "additionalItems"),
    ("definitions", "definitions"),
];

/// The first reason why a schema cannot be read as a structural one.
pub(super) fn reason(schema: &Value) -> Option<String> {
    let schema = schema.as_object()?;
    let given = |value: &Value| match value {
        Value::Null => false,
        Value::String(text) => !text.is_empty(),
        Value::Object(map) => !map.is_empty(),
        _ => true,
    };
    for (keyword, name) in KEYWORDS {
        // An empty schema is a schema, too.
        let there = schema.get(keyword).is_some_and(|value| {
            given(value) || keyword == "additionalItems" && value.as_object().is_some()
        });
        if there {
            return Some(format!("OpenAPIV3Schema '{name}' is not supported"));
        }
    }
    let mut below = schema.get("not").and_then(reason);
    for keyword in ["allOf", "anyOf", "oneOf"] {
        let list = schema.get(keyword).and_then(Value::as_array);
        below = below.or_else(|| list.unwrap_or_default().iter().find_map(reason));
    }
    if below.is_some() {
        return below;
    }
    if schema.get("x-kubernetes-preserve-unknown-fields") == Some(&Value::Bool(false)) {
        let why =
            "internal error: 'x-kubernetes-preserve-unknown-fields' must be true or undefined";
        return Some(why.into());
    }
    match schema.get("items") {
        Some(Value::Array(items)) if !items.is_empty() => {
            return Some("OpenAPIV3Schema 'items' must be a schema, but is an array".into());
        }
        Some(items) => below = reason(items),
        None => {}
    }
    let properties = schema.get("properties").and_then(Value::as_object);
    below
        .or_else(|| {
            let mut properties = properties?.iter();
            properties.find_map(|(_, property)| reason(property))
        })
        .or_else(|| schema.get("additionalProperties").and_then(reason))
}

#[cfg(test)]
mod tests {
    use super::reason;
    use crate::value;

    #[test]
    fn keywords_that_structural_schemas_lack_are_found_at_any_depth() {
        for (schema, want) in [
            (
                value!({"type": "object", "properties": {"a": {"id": ""}}}),
                None,
            ),
            (
                value!({"properties": {"a": {"additionalItems": false}}}),
                Some("OpenAPIV3Schema 'additionalItems' is not supported"),
            ),
            (
                value!({"allOf": [{"not": {"$ref": "x"}}]}),
                Some("OpenAPIV3Schema '$ref' is not supported"),
            ),
            (
                value!({"items": [{"type": "string"}]}),
                Some("OpenAPIV3Schema 'items' must be a schema, but is an array"),
            ),
        ] {
            assert_eq!(reason(&schema).as_deref(), want, "{schema:?}");
        }
    }
}

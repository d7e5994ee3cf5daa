//! Documents of built-in groups against a real server's, and what clients look for.

use crate::{Catalogue, Value, json};

fn document(path: &str) -> Value {
    let catalogue = Catalogue::builtin(36).expect("36 is built in");
    let bytes = super::v3(&catalogue, &[], path).expect("a document");
    json::parse(&bytes).expect("JSON").value
}

/// Drops what we leave out on purpose: prose, and the order of `required`.
fn facts(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.retain(|key, value| key != "description" || value.as_str().is_none());
            if let Some(Value::Array(required)) = map.get_mut("required") {
                required.sort_by(|a, b| a.as_str().cmp(&b.as_str()));
            }
            map.iter_mut().for_each(|(_, v)| facts(v));
        }
        Value::Array(items) => items.iter_mut().for_each(facts),
        _ => {}
    }
}

/// The recording is kube-apiserver 1.36.3's `/openapi/v3/apis/autoscaling/v2` without prose,
/// `/watch/` paths, `shardSelector` (off by default) and discriminated unions.
#[test]
fn the_document_of_a_group_is_upstreams() {
    let recorded = include_bytes!("../../tests/recorded/openapi/apis-autoscaling-v2.json");
    let mut theirs = json::parse(recorded).expect("JSON").value;
    let mut ours = document("apis/autoscaling/v2");
    facts(&mut ours);
    for section in ["paths", "components"] {
        let (Some(Value::Object(ours)), Some(Value::Object(theirs))) =
            (ours.get(section), theirs.get_mut(section))
        else {
            panic!("no {section}");
        };
        if section == "components" {
            theirs.remove("securitySchemes");
        }
        for (key, theirs) in theirs.iter() {
            if section == "paths" {
                assert_eq!(ours.get(key), Some(theirs), "{key}");
                continue;
            }
            for (name, schema) in theirs.as_object().expect("schemas").iter() {
                assert_eq!(
                    ours.get(key).and_then(|o| o.get(name)),
                    Some(schema),
                    "{name}"
                );
            }
        }
    }
}

// cli-runtime pkg/resource/query_param_verifier_v3.go
#[test]
fn kubectl_finds_field_validation_on_every_patch() {
    let catalogue = Catalogue::builtin(36).expect("36 is built in");
    let index = json::parse(&super::index(&catalogue, &[]))
        .expect("JSON")
        .value;
    let paths = index
        .get("paths")
        .and_then(Value::as_object)
        .expect("paths");
    assert!(paths.contains_key("api/v1") && paths.contains_key("apis/apps/v1"));
    for (path, _) in paths.iter() {
        let document = document(path);
        for (route, methods) in document
            .get("paths")
            .and_then(Value::as_object)
            .expect("paths")
            .iter()
        {
            let Some(patch) = methods.get("patch").filter(|_| !route.contains("proxy")) else {
                continue;
            };
            let parameters = patch
                .get("parameters")
                .and_then(Value::as_array)
                .unwrap_or_default();
            let found = parameters
                .iter()
                .any(|p| p.str_at(&["name"]) == Some("fieldValidation"));
            assert!(
                found && patch.get("x-kubernetes-group-version-kind").is_some(),
                "{route}"
            );
        }
    }
}

#[test]
fn every_reference_has_its_schema() {
    let catalogue = Catalogue::builtin(36).expect("36 is built in");
    let v2 = json::parse(&super::v2(&catalogue, &[]))
        .expect("JSON")
        .value;
    let whole = [(v2.get("definitions").cloned(), v2, "#/definitions/"), {
        let core = document("api/v1");
        (
            core.at(&["components", "schemas"]).cloned(),
            core,
            "#/components/schemas/",
        )
    }];
    for (schemas, document, prefix) in whole {
        let schemas = schemas.expect("schemas");
        let mut count = 0;
        references(&document, &mut |reference| {
            count += 1;
            let name = reference.strip_prefix(prefix).expect("a local reference");
            assert!(schemas.get(name).is_some(), "{name}");
        });
        assert!(count > 1000, "{count}");
    }
}

fn references(value: &Value, found: &mut dyn FnMut(&str)) {
    match value {
        Value::Object(map) => map.iter().for_each(|(key, value)| match value {
            Value::String(reference) if key == "$ref" => found(reference),
            value => references(value, found),
        }),
        Value::Array(items) => items.iter().for_each(|v| references(v, found)),
        _ => {}
    }
}

#[test]
fn the_hash_follows_version_and_path() {
    let hash = |minor, path| super::hash(&Catalogue::builtin(minor).expect("built in"), &[], path);
    assert_eq!(hash(36, "api/v1"), hash(36, "api/v1"));
    assert_ne!(hash(36, "api/v1"), hash(36, "apis/apps/v1"));
    assert_ne!(hash(36, "api/v1"), hash(35, "api/v1"));
}

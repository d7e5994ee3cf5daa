//! What clients look for in the documents; `tests/it/openapi.rs` compares them whole.

use crate::{Catalogue, Value, json};

fn document(path: &str) -> Value {
    let catalogue = Catalogue::builtin(36).expect("36 is built in");
    let bytes = super::v3(&catalogue, &[], path).expect("a document");
    json::parse(&bytes).expect("JSON").value
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

/// `"name": …` of a schema's property.
fn property<'a>(schema: &'a Value, path: &[&str]) -> &'a Value {
    path.iter().fold(schema, |s, name| {
        s.at(&["properties", name]).expect("a property")
    })
}

// apiextensions-apiserver pkg/controller/openapi/builder/builder.go, v2/conversion.go; compared with
// what kube-apiserver 1.36.3 publishes for the same definition.
#[test]
fn custom_resources_are_published_as_upstream_does() {
    let crd = r#"{"apiVersion":"apiextensions.k8s.io/v1","kind":"CustomResourceDefinition",
        "metadata":{"name":"crontabs.stable.example.com"},"spec":{"group":"stable.example.com","scope":"Namespaced",
        "names":{"plural":"crontabs","singular":"crontab","kind":"CronTab","listKind":"CronTabList"},
        "versions":[{"name":"v1","served":true,"storage":true,"subresources":{"status":{}},"schema":{"openAPIV3Schema":
        {"type":"object","description":"A tab.","properties":{"spec":{"type":"object","required":["maybe"],"properties":{
        "replicas":{"type":"integer","minimum":1,"default":1},"port":{"x-kubernetes-int-or-string":true},
        "any":{"x-kubernetes-preserve-unknown-fields":true,"type":"object"},
        "pod":{"type":"object","x-kubernetes-embedded-resource":true,"properties":{"a":{"type":"string"}}},
        "maybe":{"type":"string","nullable":true}}}}}}}]}}"#;
    let crd = json::parse(crd.as_bytes()).expect("JSON").value;
    let custom = crate::crd::compile(&crd, crate::catalogue::DEFAULT_MINOR)
        .expect("a good CRD")
        .resources;
    let catalogue = Catalogue::builtin(36).expect("36 is built in");
    let v3 = super::v3(&catalogue, &custom, "apis/stable.example.com/v1").expect("a document");
    let v3 = json::parse(&v3).expect("JSON").value;
    let routes = v3.get("paths").and_then(Value::as_object).expect("paths");
    let object = "/apis/stable.example.com/v1/namespaces/{namespace}/crontabs/{name}";
    let id = routes
        .get(object)
        .and_then(|r| r.str_at(&["patch", "operationId"]));
    assert_eq!(id, Some("patchStableExampleComV1NamespacedCronTab"));
    assert!(routes.contains_key(&format!("{object}/status")));
    let schemas = v3.at(&["components", "schemas"]).expect("schemas");
    let tab = schemas
        .get("com.example.stable.v1.CronTab")
        .expect("the kind");
    assert!(schemas.get("com.example.stable.v1.CronTabList").is_some());
    assert_eq!(tab.str_at(&["description"]), Some("A tab."));
    let int_or_string = crate::value!([{"type": "integer"}, {"type": "string"}]);
    assert_eq!(
        property(tab, &["spec", "port"]).get("anyOf"),
        Some(&int_or_string)
    );
    assert_eq!(
        property(tab, &["spec", "replicas"]).get("default"),
        Some(&1.into())
    );
    assert!(
        property(tab, &["spec", "pod", "metadata"])
            .get("allOf")
            .is_some()
    );

    let v2 = json::parse(&super::v2(&catalogue, &custom))
        .expect("JSON")
        .value;
    let tab = v2
        .at(&["definitions", "com.example.stable.v1.CronTab"])
        .expect("the kind");
    let field = |name| {
        property(tab, &["spec", name])
            .as_object()
            .expect("a schema")
    };
    assert!(field("maybe").is_empty() && field("replicas").get("default").is_none());
    assert!(field("any").get("type").is_none() && field("port").get("anyOf").is_none());
    assert!(property(tab, &["spec"]).get("required").is_none());
}

#[test]
fn the_protobuf_form_holds_the_same_definitions() {
    let catalogue = Catalogue::builtin(36).expect("36 is built in");
    let bytes = super::v2_protobuf(&catalogue, &[]);
    // Document.definitions.additional_properties.name = "io.k8s.api.apps.v1.Deployment"
    let name = b"\x0a\x1dio.k8s.api.apps.v1.Deployment\x12";
    assert!(memchr::memmem::find(&bytes, name).is_some());
    let extension = br#"[{"group":"apps","kind":"Deployment","version":"v1"}]"#;
    assert!(memchr::memmem::find(&bytes, extension).is_some());
}

//! Kinds that come and go with CustomResourceDefinitions.

use crate::harness::{Client, Cluster};
use freehold_model::{Value, value};
use std::time::{Duration, Instant};

const CRDS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
const WIDGETS: &str = "/apis/example.com/v1/namespaces/default/widgets";

fn version(name: &str, storage: bool) -> Value {
    value!({
        "name": name, "served": true, "storage": storage,
        "subresources": {"status": {}, "scale": {"specReplicasPath": ".spec.size", "statusReplicasPath": ".status.size"}},
        "additionalPrinterColumns": [{"name": "Size", "type": "integer", "jsonPath": ".spec.size"}],
        "schema": {"openAPIV3Schema": {"type": "object", "properties": {
            "spec": {"type": "object", "required": ["size"], "properties": {
                "size": {"type": "integer", "minimum": 0, "maximum": 10},
                "color": {"type": "string", "default": "red"}
            }},
            "status": {"type": "object", "properties": {"size": {"type": "integer"}}}
        }}}
    })
}

fn crd(versions: Vec<Value>) -> Value {
    value!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "widgets.example.com"},
        "spec": {
            "group": "example.com", "scope": "Namespaced",
            "names": {"plural": "widgets", "kind": "Widget", "shortNames": ["wd"]},
            "versions": (Value::Array(versions))
        }
    })
}

fn widget(name: &str, size: i64) -> Value {
    value!({"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": name}, "spec": {"size": size}})
}

async fn with_widgets() -> (Cluster, Client) {
    let cluster = Cluster::start().await;
    let api = cluster.client();
    api.get(WIDGETS).await.expect(404);
    api.post(CRDS, &crd(vec![version("v1", true)]))
        .await
        .expect(201);
    (cluster, api)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_kind_is_served_at_once() {
    let (cluster, api) = with_widgets().await;
    let stored = api
        .get(&format!("{CRDS}/widgets.example.com"))
        .await
        .expect(200);
    assert_eq!(stored.text(&["status", "acceptedNames", "kind"]), "Widget");
    assert_eq!(
        stored.body.at(&["status", "storedVersions"]),
        Some(&Value::from(vec!["v1"]))
    );
    let made = api.post(WIDGETS, &widget("a", 3)).await.expect(201);
    assert_eq!(
        (
            made.text(&["spec", "color"]),
            made.int(&["metadata", "generation"])
        ),
        ("red", 1)
    );
    api.get("/apis/example.com/v1").await.expect(200);
    let list = api.get("/apis/example.com/v1/widgets").await.expect(200);
    assert_eq!(list.text(&["kind"]), "WidgetList");
    api.get("/openapi/v3/apis/example.com/v1").await.expect(200);
    let api = {
        drop(api);
        cluster.restart().await
    };
    api.client().get(&format!("{WIDGETS}/a")).await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn custom_objects_are_checked_pruned_and_split() {
    let (_cluster, api) = with_widgets().await;
    let bad = api.post(WIDGETS, &widget("a", 11)).await.expect(422);
    assert!(
        bad.text(&["message"]).contains("spec.size"),
        "{}",
        bad.text(&["message"])
    );
    let mut extra = widget("a", 3);
    extra.set(&["spec", "more"], 1_i64);
    extra.set(&["status", "size"], 9_i64);
    let made = api.post(WIDGETS, &extra).await.expect(201);
    assert!(made.body.at(&["spec", "more"]).is_none());
    assert!(made.body.get("status").is_none());
    assert_eq!(made.warnings.len(), 1, "{:?}", made.warnings);
    let strict = api
        .post(&format!("{WIDGETS}?fieldValidation=Strict"), &extra)
        .await
        .expect(400);
    assert!(
        strict
            .text(&["message"])
            .contains("unknown field \"spec.more\"")
    );
    // A custom object is never updated without saying which version is meant.
    api.put(&format!("{WIDGETS}/a"), &widget("a", 4))
        .await
        .expect(422);
    let status = api
        .merge(
            &format!("{WIDGETS}/a/status"),
            &value!({"spec": {"size": 1}, "status": {"size": 5}}),
        )
        .await;
    let status = status.expect(200);
    assert_eq!(
        (
            status.int(&["spec", "size"]),
            status.int(&["status", "size"])
        ),
        (3, 5)
    );
    let scaled = api
        .merge(
            &format!("{WIDGETS}/a/scale"),
            &value!({"spec": {"replicas": 7}}),
        )
        .await
        .expect(200);
    assert_eq!(
        (
            scaled.int(&["spec", "replicas"]),
            scaled.int(&["status", "replicas"])
        ),
        (7, 5)
    );
    let path = format!("{WIDGETS}/a");
    let media = "application/strategic-merge-patch+json";
    api.send("PATCH", &path, media, b"{}".to_vec())
        .await
        .expect(415);
    let got = api.get(&format!("{WIDGETS}/a")).await.expect(200);
    assert_eq!(
        (
            got.int(&["spec", "size"]),
            got.int(&["metadata", "generation"])
        ),
        (7, 2)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_version_shows_the_same_objects() {
    let (_cluster, api) = with_widgets().await;
    api.post(WIDGETS, &widget("a", 3)).await.expect(201);
    let path = format!("{CRDS}/widgets.example.com");
    let mut stored = api.get(&path).await.expect(200).body;
    stored.set(
        &["spec", "versions"],
        Value::Array(vec![version("v1", false), version("v2", true)]),
    );
    let stored = api.put(&path, &stored).await.expect(200);
    assert_eq!(
        stored.body.at(&["status", "storedVersions"]),
        Some(&Value::from(vec!["v1", "v2"]))
    );
    for v in ["v1", "v2"] {
        let base = format!("/apis/example.com/{v}/namespaces/default/widgets");
        let one = api.get(&format!("{base}/a")).await.expect(200);
        assert_eq!(one.text(&["apiVersion"]), format!("example.com/{v}"));
        let list = api.get(&base).await.expect(200);
        let items = list.body.get("items").and_then(Value::as_array).unwrap();
        assert_eq!(
            items[0].str_at(&["apiVersion"]),
            Some(format!("example.com/{v}").as_str())
        );
    }
    let mut w = api.watch("/apis/example.com/v2/widgets?watch=1").await;
    assert_eq!(
        w.next().await.unwrap().1.str_at(&["apiVersion"]),
        Some("example.com/v2")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn names_that_are_taken_are_not_given_twice() {
    let (_cluster, api) = with_widgets().await;
    let mut other = crd(vec![version("v1", true)]);
    other.set(&["metadata", "name"], "gadgets.example.com");
    other.set(&["spec", "names", "plural"], "gadgets");
    let made = api.post(CRDS, &other).await.expect(201);
    let conditions = made
        .body
        .at(&["status", "conditions"])
        .and_then(Value::as_array)
        .unwrap();
    let names = conditions
        .iter()
        .find(|c| c.str_at(&["type"]) == Some("NamesAccepted"))
        .unwrap();
    assert_eq!(names.str_at(&["status"]), Some("False"));
    api.get("/apis/example.com/v1/namespaces/default/gadgets")
        .await
        .expect(404);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_definition_goes_after_its_objects() {
    let (_cluster, api) = with_widgets().await;
    let mut held = widget("a", 3);
    held.set(&["metadata", "finalizers"], vec!["example.com/hold"]);
    api.post(WIDGETS, &held).await.expect(201);
    api.post(WIDGETS, &widget("b", 3)).await.expect(201);
    let path = format!("{CRDS}/widgets.example.com");
    let marked = api.delete(&path).await.expect(200);
    assert!(!marked.text(&["metadata", "deletionTimestamp"]).is_empty());
    until(|| async { api.get(&format!("{WIDGETS}/b")).await.code == 404 }).await;
    api.get(&format!("{WIDGETS}/a")).await.expect(200);
    assert_eq!(api.post(WIDGETS, &widget("c", 1)).await.code, 405);
    api.merge(
        &format!("{WIDGETS}/a"),
        &value!({"metadata": {"finalizers": null}}),
    )
    .await
    .expect(200);
    until(|| async { api.get(&path).await.code == 404 }).await;
    api.get(WIDGETS).await.expect(404);
}

async fn until<F: Future<Output = bool>>(check: impl Fn() -> F) {
    let end = Instant::now() + Duration::from_secs(60);
    while !check().await {
        assert!(Instant::now() < end, "still not so");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// A definition whose rules do not fit is refused; objects are held to those that do, on create,
/// update and status update, and what a transition rule forbids stays as it is.
#[tokio::test(flavor = "multi_thread")]
async fn rules_of_a_definition_are_kept() {
    let cluster = Cluster::start().await;
    let api = cluster.client();
    let with_rules = |rule: &str| {
        let mut version = version("v1", true);
        let schema = ["schema", "openAPIV3Schema", "properties"];
        let at = |more: &[&'static str]| [&schema[..], more].concat();
        version.set(
            &at(&["spec", "x-kubernetes-validations"]),
            value!([
                {"rule": (rule), "message": "big ones are blue", "fieldPath": ".color"},
                {"rule": "self.size >= oldSelf.size", "messageExpression": "'was ' + (oldSelf.size > 5 ? 'big' : 'small')"}
            ]),
        );
        version.set(
            &at(&["status", "properties", "size", "x-kubernetes-validations"]),
            value!([{"rule": "self < 100", "reason": "FieldValueForbidden"}]),
        );
        crd(vec![version])
    };
    let refused = api.post(CRDS, &with_rules("self.colour == 'blue'")).await;
    let refused = refused.expect(422);
    assert!(
        refused.text(&["message"]).contains(
            "compilation failed: ERROR: <input>:1:5: undefined field 'colour'\n | self.colour == 'blue'\n | ....^"
        ),
        "{}",
        refused.text(&["message"])
    );
    let rule = "self.size < 5 || self.color == 'blue'";
    api.post(CRDS, &with_rules(rule)).await.expect(201);
    let refused = api.post(WIDGETS, &widget("a", 7)).await.expect(422);
    assert_eq!(
        refused.text(&["message"]),
        "Widget.example.com \"a\" is invalid: spec.color: Invalid value: big ones are blue"
    );
    api.post(WIDGETS, &widget("a", 3)).await.expect(201);
    let one = format!("{WIDGETS}/a");
    let smaller = value!({"spec": {"size": 2}});
    let refused = api.merge(&one, &smaller).await.expect(422);
    assert_eq!(
        refused.text(&["message"]),
        "Widget.example.com \"a\" is invalid: spec: Invalid value: was small"
    );
    let status = format!("{one}/status");
    let much = value!({"status": {"size": 100}});
    let refused = api.merge(&status, &much).await.expect(422);
    assert_eq!(
        refused.text(&["message"]),
        "Widget.example.com \"a\" is invalid: status.size: Forbidden: failed rule: self < 100"
    );
    let fine = value!({"status": {"size": 99}});
    api.merge(&status, &fine).await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stored_definition_without_a_structural_schema_says_so() {
    let (cluster, api) = with_widgets().await;
    let path = format!("{CRDS}/widgets.example.com");
    let good = api.get(&path).await.expect(200).body;
    let key = b"/registry/apiextensions.k8s.io/customresourcedefinitions//widgets.example.com";
    let schema = ["spec", "versions"];
    for (schema_of, reason, part) in [
        (
            value!({"type": "object", "properties": {"a": {}}}),
            "Violations",
            "spec.versions[0].schema.openAPIV3Schema.properties[a].type: Required value",
        ),
        (
            value!({"type": "object", "definitions": {"x": {"type": "string"}}}),
            "StructuralError",
            "failed to check validation schema for version v1: OpenAPIV3Schema 'definitions' is not supported",
        ),
    ] {
        let mut bad = good.clone();
        bad.unset(&["metadata", "resourceVersion"]);
        let mut versions = bad.at(&schema).and_then(Value::as_array).unwrap().to_vec();
        versions[0].set(&["schema", "openAPIV3Schema"], schema_of);
        bad.set(&schema, Value::Array(versions));
        let op = freehold_store::Op::Put {
            key: bytes::Bytes::from_static(key),
            value: freehold_model::json::to_vec(&bad).into(),
            lease: 0,
        };
        let txn = freehold_store::Txn {
            compares: Vec::new(),
            then: vec![op],
            otherwise: Vec::new(),
            without_prev: false,
        };
        cluster.store().txn(txn).await.unwrap();
        let deadline = Instant::now() + Duration::from_secs(10);
        let condition = loop {
            let got = api.get(&path).await.expect(200).body;
            let all = got.at(&["status", "conditions"]).and_then(Value::as_array);
            let is = |c: &&Value| {
                c.str_at(&["type"]) == Some("NonStructuralSchema")
                    && c.str_at(&["reason"]) == Some(reason)
            };
            if let Some(found) = all.unwrap().iter().find(is) {
                break found.clone();
            }
            assert!(Instant::now() < deadline, "no condition: {got:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        };
        assert_eq!(condition.str_at(&["status"]), Some("True"));
        let message = condition.str_at(&["message"]).unwrap();
        assert!(message.contains(part), "{message}");
        api.get(WIDGETS).await.expect(404);
    }
    // A definition that is good again loses the condition and has its kind back.
    let spec = value!({"spec": (good.get("spec").cloned().unwrap())});
    let mended = api.merge(&path, &spec).await.expect(200);
    let all = mended
        .body
        .at(&["status", "conditions"])
        .and_then(Value::as_array);
    let is = |c: &Value| c.str_at(&["type"]) == Some("NonStructuralSchema");
    assert!(!all.unwrap().iter().any(is));
    api.get(WIDGETS).await.expect(200);
}

//! Objects at the bounds: what was stored can always be read, and what cannot be read is not lost.

use crate::harness::{Client, Cluster};
use freehold_model::{Value, limits, value};
use freehold_store::{Op, Txn};

const CRDS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
const THINGS: &str = "/apis/example.com/v1/namespaces/default/things";
const CONFIGMAPS: &str = "/api/v1/namespaces/default/configmaps";

/// A kind whose objects may hold anything.
async fn with_things() -> (Cluster, Client) {
    let cluster = Cluster::start().await;
    let api = cluster.client();
    let crd = value!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "things.example.com"},
        "spec": {
            "group": "example.com", "scope": "Namespaced",
            "names": {"plural": "things", "kind": "Thing"},
            "versions": [{
                "name": "v1", "served": true, "storage": true,
                "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}
            }]
        }
    });
    api.post(CRDS, &crd).await.expect(201);
    (cluster, api)
}

fn thing(name: &str, content: Value) -> Value {
    value!({
        "apiVersion": "example.com/v1", "kind": "Thing", "content": (content),
        "metadata": {"name": name, "finalizers": ["example.com/keep"]}
    })
}

fn nested(depth: usize) -> Value {
    (0..depth).fold(Value::object(), |inner, _| value!({"x": (inner)}))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_deepest_object_keeps_its_finalizers() {
    let (_cluster, api) = with_things().await;
    // Its field manager's entry is deeper still.
    let deepest = thing("deep", nested(limits::MAX_DEPTH - 2));
    api.post(THINGS, &deepest).await.expect(201);
    let path = format!("{THINGS}/deep");
    api.delete(&path).await.expect(200);
    api.get(&format!("{path}?pretty=1")).await.expect(200);
    let without = value!({"metadata": {"finalizers": null}});
    api.merge(&path, &without).await.expect(200);
    api.get(&path).await.expect(404);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_grows_only_as_far_as_it_can_be_read() {
    let (_cluster, api) = with_things().await;
    let many = || Value::Array(vec![Value::Int(1); 150_000]);
    let path = format!("{THINGS}/wide");
    api.post(THINGS, &thing("wide", many())).await.expect(201);
    api.merge(&path, &value!({"more": (many())}))
        .await
        .expect(200);
    let refused = api.merge(&path, &value!({"most": (many())})).await;
    let refused = refused.expect(413);
    assert!(
        refused
            .text(&["message"])
            .contains("more than 400000 values"),
        "{}",
        refused.text(&["message"])
    );
    api.delete(&path).await.expect(200);
    let left = api.merge(&path, &value!({"content": null})).await;
    let left = left.expect(200);
    assert_ne!(left.text(&["metadata", "deletionTimestamp"]), "");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_that_is_put_into_itself_does_not_end_the_server() {
    let (_cluster, api) = with_things().await;
    api.post(THINGS, &thing("self", nested(1)))
        .await
        .expect(201);
    let deepest = |n: u32| "/x".repeat(1 << n);
    let copies: Vec<Value> = (0..14)
        .map(|n| value!({"op": "copy", "from": "/content", "path": (format!("/content{}/x", deepest(n)))}))
        .collect();
    let body = freehold_model::json::to_vec(&Value::Array(copies));
    let path = format!("{THINGS}/self");
    let media = "application/json-patch+json";
    api.send("PATCH", &path, media, body).await.expect(413);
    api.get(&path).await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_object_is_neither_changed_nor_deleted() {
    let cluster = Cluster::start().await;
    let damaged = Txn {
        then: vec![Op::Put {
            key: "/registry/core/configmaps/default/odd".into(),
            value: r#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"odd","namespace":"default"},"data":{]"#.into(),
            lease: 0,
        }],
        ..Txn::default()
    };
    let store = cluster.store();
    store.txn(damaged).await.unwrap();
    let api = cluster.client();
    let path = format!("{CONFIGMAPS}/odd");
    for answer in [
        api.delete(&path).await,
        api.merge(&path, &value!({"data": {"a": "b"}})).await,
        api.get(&format!("{path}?pretty=1")).await,
    ] {
        let answer = answer.expect(500);
        let told = answer.text(&["message"]);
        assert!(told.contains(r#""default"/"odd" cannot be read"#), "{told}");
    }
    let left = store.range(freehold_store::Range {
        lo: "/registry/core/configmaps/default/odd".into(),
        ..freehold_store::Range::default()
    });
    assert_eq!(left.await.unwrap().kvs.len(), 1);
}

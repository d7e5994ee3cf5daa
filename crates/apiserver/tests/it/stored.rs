//! Objects that were stored under another schema, or by a server of another minor version.

use crate::harness::{Client, Cluster};
use freehold_model::{Value, value};

const CRDS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
const BOXES: &str = "/apis/example.com/v1/namespaces/default/boxes";
const TABLE: &str = "application/json;as=Table;g=meta.k8s.io;v=v1";

fn definition(spec: Value) -> Value {
    value!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "boxes.example.com"},
        "spec": {
            "group": "example.com", "scope": "Namespaced", "names": {"plural": "boxes", "kind": "Box"},
            "versions": [{
                "name": "v1", "served": true, "storage": true,
                "additionalPrinterColumns": [{"name": "Color", "type": "string", "jsonPath": ".spec.color"}],
                "schema": {"openAPIV3Schema": {"type": "object", "properties": {
                    "spec": {"type": "object", "properties": spec}
                }}}
            }]
        }
    })
}

fn old() -> Value {
    definition(value!({"color": {"type": "string"}, "gone": {"type": "string"}}))
}

fn new() -> Value {
    definition(value!({"color": {"type": "string", "default": "red"}, "size": {"type": "integer"}}))
}

async fn change(api: &Client, to: &Value) {
    let spec = value!({"spec": (to.get("spec").cloned().unwrap())});
    api.merge(&format!("{CRDS}/boxes.example.com"), &spec)
        .await
        .expect(200);
}

fn a_box(name: &str) -> Value {
    value!({"apiVersion": "example.com/v1", "kind": "Box", "metadata": {"name": name}, "spec": {"gone": "x"}})
}

async fn rev(api: &Client, path: &str) -> String {
    let got = api.get(path).await.expect(200);
    got.text(&["metadata", "resourceVersion"]).to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_schema_shows_on_what_is_stored() {
    let cluster = Cluster::start().await;
    let api = cluster.client();
    api.post(CRDS, &old()).await.expect(201);
    api.post(BOXES, &a_box("a")).await.expect(201);
    let before = rev(&api, &format!("{BOXES}/a")).await;
    let mut earlier = api
        .watch(&format!("{BOXES}?watch=1&resourceVersion={before}"))
        .await;
    change(&api, &new()).await;
    // Upstream ends the watches of a kind whose definition changes; informers list again.
    assert_eq!(earlier.next().await, None);
    let mut resumed = api
        .watch(&format!("{BOXES}?watch=1&resourceVersion={before}"))
        .await;
    let (kind, status) = resumed.next().await.expect("an event");
    assert_eq!(
        (kind.as_str(), status.at(&["code"])),
        ("ERROR", Some(&Value::Int(410)))
    );
    drop(resumed);
    let want = value!({"color": "red"});
    let cluster = {
        check(&api, &want, &before).await;
        drop((api, earlier));
        cluster.restart().await
    };
    check(&cluster.client(), &want, &before).await;
    let api = cluster.client();
    // A patch starts from what is seen, and stores it.
    let sized = api
        .merge(&format!("{BOXES}/a"), &value!({"spec": {"size": 1}}))
        .await
        .expect(200);
    assert_eq!(
        sized.body.get("spec"),
        Some(&value!({"color": "red", "size": 1}))
    );
    // So the default of that time stays when it is another one later.
    let blue =
        value!({"color": {"type": "string", "default": "blue"}, "size": {"type": "integer"}});
    change(&api, &definition(blue)).await;
    let got = api.get(&format!("{BOXES}/a")).await.expect(200);
    assert_eq!(got.text(&["spec", "color"]), "red");
}

/// Every way to read shows `spec`, and nothing was written.
async fn check(api: &Client, spec: &Value, rev: &str) {
    let shown = |o: &Value| {
        assert_eq!(o.get("spec"), Some(spec));
        assert_eq!(o.str_at(&["metadata", "resourceVersion"]), Some(rev));
    };
    for _ in 0..2 {
        shown(&api.get(&format!("{BOXES}/a")).await.expect(200).body);
        let list = api.get(BOXES).await.expect(200).body;
        shown(&list.get("items").and_then(Value::as_array).unwrap()[0]);
        let mut watch = api.watch(&format!("{BOXES}?watch=1")).await;
        let (kind, object) = watch.next().await.expect("an event");
        assert_eq!(kind, "ADDED");
        shown(&object);
    }
    let reply = api
        .raw("GET", BOXES, &[("accept", TABLE)], Vec::new())
        .await;
    let reply = crate::golden::recordings::Reply::read(reply).await;
    let table = freehold_model::json::parse(&reply.body).unwrap().value;
    let rows = table.get("rows").and_then(Value::as_array).unwrap();
    assert_eq!(rows[0].get("cells"), Some(&Value::from(vec!["a", "red"])));
}

#[tokio::test(flavor = "multi_thread")]
async fn large_defaults_are_listed_in_pages() {
    let cluster = Cluster::start().await;
    let api = cluster.client();
    api.post(CRDS, &old()).await.expect(201);
    for i in 0..70 {
        api.post(BOXES, &a_box(&format!("b{i}"))).await.expect(201);
    }
    let text = "x".repeat(1_000_000);
    let large = value!({"color": {"type": "string", "default": text}});
    change(&api, &definition(large)).await;
    let refused = api.get(BOXES).await.expect(413);
    assert!(refused.text(&["message"]).contains("(limit)"));
    let page = api.get(&format!("{BOXES}?limit=2")).await.expect(200).body;
    let items = page.get("items").and_then(Value::as_array).unwrap();
    let length = |o: &Value| o.str_at(&["spec", "color"]).map(str::len);
    assert_eq!(
        items.iter().map(length).collect::<Vec<_>>(),
        [Some(1_000_000); 2]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn events_after_a_change_have_the_new_schema() {
    let cluster = Cluster::start().await;
    let api = cluster.client();
    api.post(CRDS, &old()).await.expect(201);
    api.post(BOXES, &a_box("a")).await.expect(201);
    change(&api, &new()).await;
    let at = rev(&api, BOXES).await;
    let mut watch = api
        .watch(&format!("{BOXES}?watch=1&resourceVersion={at}"))
        .await;
    api.delete(&format!("{BOXES}/a")).await.expect(200);
    let (kind, object) = watch.next().await.expect("an event");
    assert_eq!(kind, "DELETED");
    assert_eq!(object.get("spec"), Some(&value!({"color": "red"})));
    // Other changes of a definition do not end a watch.
    let labels = value!({"metadata": {"labels": {"a": "b"}}});
    api.merge(&format!("{CRDS}/boxes.example.com"), &labels)
        .await
        .expect(200);
    api.post(BOXES, &a_box("b")).await.expect(201);
    let (kind, object) = watch.next().await.expect("an event");
    assert_eq!(kind, "ADDED");
    assert_eq!(object.get("spec"), Some(&value!({"color": "red"})));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_older_minor_version_stored_is_read_in_the_version_of_now() {
    let base = "/apis/flowcontrol.apiserver.k8s.io";
    let cluster = Cluster::of_minor(28).await;
    let api = cluster.client();
    let level = value!({
        "apiVersion": "flowcontrol.apiserver.k8s.io/v1beta2", "kind": "PriorityLevelConfiguration",
        "metadata": {"name": "mine"},
        "spec": {"type": "Limited", "limited": {"limitResponse": {"type": "Reject"}}}
    });
    let path = format!("{base}/v1beta2/prioritylevelconfigurations");
    let made = api.post(&path, &level).await.expect(201);
    assert_eq!(
        made.int(&["spec", "limited", "assuredConcurrencyShares"]),
        30
    );
    let nominal = ["spec", "limited", "nominalConcurrencyShares"];
    assert_eq!(made.body.at(&nominal), None);
    drop(api);
    let mut cluster = cluster;
    for (minor, version) in [(29, "v1beta3"), (31, "v1"), (36, "v1")] {
        cluster = cluster.restart_as(minor).await;
        let api = cluster.client();
        let all = format!("{base}/{version}/prioritylevelconfigurations");
        let got = api.get(&format!("{all}/mine")).await.expect(200);
        let whole = format!("flowcontrol.apiserver.k8s.io/{version}");
        assert_eq!(got.text(&["apiVersion"]), whole, "1.{minor}");
        assert_eq!(got.int(&nominal), 30, "1.{minor}");
        let list = api.get(&all).await.expect(200).body;
        let items = list.get("items").and_then(Value::as_array).unwrap();
        let mine = items
            .iter()
            .find(|o| o.str_at(&["metadata", "name"]) == Some("mine"));
        let mine = mine.expect("listed");
        assert_eq!(list.str_at(&["apiVersion"]), Some(whole.as_str()));
        assert_eq!(mine.get("apiVersion"), None, "1.{minor}");
        assert_eq!(mine.at(&nominal), Some(&Value::Int(30)), "1.{minor}");
        let watched = format!("{all}?watch=1&fieldSelector=metadata.name%3Dmine");
        let (_, object) = api.watch(&watched).await.next().await.expect("an event");
        assert_eq!(
            object.str_at(&["apiVersion"]),
            Some(whole.as_str()),
            "1.{minor}"
        );
    }
    let api = cluster.client();
    let path = format!("{base}/v1/prioritylevelconfigurations/mine");
    let change = value!({"spec": {"limited": {"nominalConcurrencyShares": 0}}});
    let changed = api.merge(&path, &change).await.expect(200);
    assert_eq!(changed.int(&nominal), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn owners_of_a_version_without_a_schema_are_forgotten() {
    let cluster = Cluster::start().await;
    let api = cluster.client();
    let path = "/api/v1/namespaces/default/configmaps";
    let entry = |version: &str| {
        value!({"manager": version, "operation": "Update", "apiVersion": version,
            "fieldsType": "FieldsV1", "fieldsV1": {"f:data": {"f:a": {}}}})
    };
    let made = value!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": "m", "managedFields": [(entry("v1")), (entry("v7"))]}, "data": {"a": "b"}
    });
    api.post(path, &made).await.expect(201);
    let body =
        br#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"m"},"data":{"a":"b"}}"#;
    let apply = format!("{path}/m?fieldManager=me");
    let got = api
        .send(
            "PATCH",
            &apply,
            "application/apply-patch+yaml",
            body.to_vec(),
        )
        .await
        .expect(200);
    let entries = got.body.at(&["metadata", "managedFields"]);
    let names: Vec<&str> = entries
        .and_then(Value::as_array)
        .unwrap()
        .iter()
        .filter_map(|e| e.str_at(&["apiVersion"]))
        .collect();
    assert_eq!(names, ["v1", "v1"], "{entries:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_known_openapi_document_is_not_sent_again() {
    let cluster = Cluster::start().await;
    let api = cluster.client();
    let gnostic = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf";
    for (path, accept) in [
        ("/openapi/v3/apis/apps/v1", "application/json"),
        ("/openapi/v2", "application/json"),
        ("/openapi/v2", gnostic),
    ] {
        let ask = |tag: Option<String>| {
            let api = api.clone();
            async move {
                let mut headers = vec![("accept", accept)];
                if let Some(tag) = &tag {
                    headers.push(("if-none-match", tag));
                }
                let reply = api.raw("GET", path, &headers, Vec::new()).await;
                let tag = reply
                    .headers()
                    .get("etag")
                    .expect("a tag")
                    .to_str()
                    .unwrap()
                    .to_owned();
                let code = reply.status().as_u16();
                let body = crate::golden::recordings::Reply::read(reply).await.body;
                (code, tag, body.len())
            }
        };
        let (code, tag, length) = ask(None).await;
        assert_eq!(code, 200, "{path}");
        assert!(
            length > 1000 && tag.starts_with('"') && tag.len() > 10,
            "{path} {tag}"
        );
        assert_eq!(
            ask(Some(tag.clone())).await,
            (304, tag.clone(), 0),
            "{path}"
        );
        let several = format!("\"other\", {tag}");
        assert_eq!(ask(Some(several)).await.0, 304, "{path}");
        assert_eq!(ask(Some("\"other\"".into())).await.0, 200, "{path}");
    }
    let tagged = |path: &'static str| {
        let api = api.clone();
        async move {
            let reply = api.raw("GET", path, &[], Vec::new()).await;
            reply
                .headers()
                .get("etag")
                .expect("a tag")
                .to_str()
                .unwrap()
                .to_owned()
        }
    };
    let before = (
        tagged("/openapi/v2").await,
        tagged("/openapi/v3/apis/apps/v1").await,
    );
    api.post(CRDS, &old()).await.expect(201);
    let after = (
        tagged("/openapi/v2").await,
        tagged("/openapi/v3/apis/apps/v1").await,
    );
    assert_ne!(before.0, after.0, "a new kind is another document");
    assert_eq!(before.1, after.1, "and not in other groups");
}

//! Lists: pages, revisions, selectors, shapes.

use crate::harness::{Answer, Client, Cluster};
use crate::objects::config_map;
use freehold_model::{Value, json, value};
use http_body_util::BodyExt as _;

const CMS: &str = "/api/v1/namespaces/default/configmaps";

async fn with(names: &[&str]) -> (Cluster, Client) {
    let cluster = Cluster::start().await;
    let api = cluster.client();
    for n in names {
        let mut body = config_map(n, "1");
        body.set(&["metadata", "labels", "first"], &n[..1]);
        api.post(CMS, &body).await.expect(201);
    }
    (cluster, api)
}

fn names(a: &Answer) -> Vec<String> {
    let items = a.body.get("items").and_then(Value::as_array).unwrap();
    items
        .iter()
        .map(|i| i.str_at(&["metadata", "name"]).unwrap().to_owned())
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_is_whole_ordered_and_of_one_revision() {
    let (_cluster, api) = with(&["b", "a", "c"]).await;
    let list = api.get(CMS).await.expect(200);
    assert_eq!(names(&list), ["a", "b", "c"]);
    assert_eq!(
        (list.text(&["kind"]), list.text(&["apiVersion"])),
        ("ConfigMapList", "v1")
    );
    let rev: u64 = list.text(&["metadata", "resourceVersion"]).parse().unwrap();
    for item in list.body.get("items").and_then(Value::as_array).unwrap() {
        let own: u64 = item
            .str_at(&["metadata", "resourceVersion"])
            .unwrap()
            .parse()
            .unwrap();
        assert!(own <= rev);
    }
    let empty = api
        .get("/api/v1/namespaces/kube-public/configmaps")
        .await
        .expect(200);
    assert_eq!(empty.body.get("items"), Some(&Value::Array(Vec::new())));
    assert_eq!(
        names(&api.get("/api/v1/configmaps").await.expect(200)),
        ["a", "b", "c"]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_show_one_state_while_objects_change() {
    let (_cluster, api) = with(&["a", "b", "c", "d", "e"]).await;
    let first = api.get(&format!("{CMS}?limit=2")).await.expect(200);
    assert_eq!(names(&first), ["a", "b"]);
    assert_eq!(first.int(&["metadata", "remainingItemCount"]), 3);
    api.delete(&format!("{CMS}/d")).await.expect(200);
    api.post(CMS, &config_map("c2", "1")).await.expect(201);
    let token = first.text(&["metadata", "continue"]).to_owned();
    let second = api
        .get(&format!("{CMS}?limit=2&continue={token}"))
        .await
        .expect(200);
    assert_eq!(names(&second), ["c", "d"]);
    assert_eq!(
        second.text(&["metadata", "resourceVersion"]),
        first.text(&["metadata", "resourceVersion"])
    );
    let token = second.text(&["metadata", "continue"]).to_owned();
    let last = api
        .get(&format!("{CMS}?limit=2&continue={token}"))
        .await
        .expect(200);
    assert_eq!(names(&last), ["e"]);
    assert_eq!(last.text(&["metadata", "continue"]), "");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_outlived_its_revision_says_how_to_go_on() {
    let (cluster, api) = with(&["a", "b", "c"]).await;
    let first = api.get(&format!("{CMS}?limit=1")).await.expect(200);
    api.delete(&format!("{CMS}/b")).await.expect(200);
    api.post(CMS, &config_map("d", "1")).await.expect(201);
    let now: u64 = api
        .get(CMS)
        .await
        .text(&["metadata", "resourceVersion"])
        .parse()
        .unwrap();
    cluster.store().compact(now).await.unwrap();
    let token = first.text(&["metadata", "continue"]).to_owned();
    let gone = api
        .get(&format!("{CMS}?limit=1&continue={token}"))
        .await
        .expect(410);
    assert_eq!(gone.text(&["reason"]), "Expired");
    let token = gone.text(&["metadata", "continue"]).to_owned();
    let rest = api
        .get(&format!("{CMS}?continue={token}"))
        .await
        .expect(200);
    assert_eq!(names(&rest), ["c", "d"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_exact_revision_shows_the_past() {
    let (_cluster, api) = with(&["a"]).await;
    let then = api
        .get(CMS)
        .await
        .text(&["metadata", "resourceVersion"])
        .to_owned();
    api.post(CMS, &config_map("b", "1")).await.expect(201);
    let url = format!("{CMS}?resourceVersion={then}&resourceVersionMatch=");
    let past = api.get(&format!("{url}Exact")).await.expect(200);
    assert_eq!(
        (names(&past), past.text(&["metadata", "resourceVersion"])),
        (vec!["a".to_owned()], then.as_str())
    );
    // These two may be as old as the cache is: a consistent read makes it see the write first.
    assert_eq!(names(&api.get(CMS).await.expect(200)), ["a", "b"]);
    assert_eq!(
        names(&api.get(&format!("{url}NotOlderThan")).await.expect(200)),
        ["a", "b"]
    );
    assert_eq!(
        names(
            &api.get(&format!("{CMS}?resourceVersion=0"))
                .await
                .expect(200)
        ),
        ["a", "b"]
    );
    for bad in [
        "resourceVersionMatch=Exact",
        "resourceVersion=0&resourceVersionMatch=Exact",
        "resourceVersion=1&resourceVersionMatch=x",
        "sendInitialEvents=true",
    ] {
        api.get(&format!("{CMS}?{bad}")).await.expect(422);
    }
    for bad in ["continue=xyz", "resourceVersion=abc", "limit=x"] {
        api.get(&format!("{CMS}?{bad}")).await.expect(400);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn selectors_select() {
    let (_cluster, api) = with(&["a", "b", "ab"]).await;
    let list = |q: &'static str| {
        let api = api.clone();
        async move { names(&api.get(&format!("{CMS}?{q}")).await.expect(200)) }
    };
    assert_eq!(list("labelSelector=first%3Da").await, ["a", "ab"]);
    assert_eq!(list("labelSelector=first%20in%20(b,c)").await, ["b"]);
    assert_eq!(list("labelSelector=first!%3Da").await, ["b"]);
    assert_eq!(list("fieldSelector=metadata.name%3Dab").await, ["ab"]);
    assert_eq!(
        list("fieldSelector=metadata.name!%3Dab&labelSelector=first").await,
        ["a", "b"]
    );
    let bad = api
        .get(&format!("{CMS}?fieldSelector=spec.x%3D1"))
        .await
        .expect(400);
    assert!(bad.text(&["message"]).contains("spec.x"));
    api.get(&format!("{CMS}?labelSelector=a%20in%20b"))
        .await
        .expect(400);
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_and_bare_metadata_are_served_on_request() {
    let (_cluster, api) = with(&["a", "b"]).await;
    let get = |path: String, accept: &'static str| {
        let api = api.clone();
        async move {
            let r = api
                .raw("GET", &path, &[("accept", accept)], Vec::new())
                .await;
            let code = r.status().as_u16();
            let bytes = r.into_body().collect().await.unwrap().to_bytes();
            (code, json::parse(&bytes).unwrap().value)
        }
    };
    let (code, table) = get(CMS.into(), "application/json;as=Table;v=v1;g=meta.k8s.io").await;
    assert_eq!((code, table.str_at(&["kind"])), (200, Some("Table")));
    let rows = table.get("rows").and_then(Value::as_array).unwrap();
    let cells = rows[0].get("cells").and_then(Value::as_array).unwrap();
    assert_eq!(
        (rows.len(), cells[0].as_str(), cells[1].as_i64()),
        (2, Some("a"), Some(1))
    );
    assert_eq!(
        rows[0].str_at(&["object", "kind"]),
        Some("PartialObjectMetadata")
    );
    let (_, one) = get(
        format!("{CMS}/a"),
        "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io",
    )
    .await;
    assert_eq!(one.str_at(&["kind"]), Some("PartialObjectMetadata"));
    assert!(one.get("data").is_none());
    let (_, list) = get(
        CMS.into(),
        "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io",
    )
    .await;
    assert_eq!(list.str_at(&["kind"]), Some("PartialObjectMetadataList"));
    let (code, _) = get(CMS.into(), "text/html").await;
    assert_eq!(code, 406);
}

#[tokio::test(flavor = "multi_thread")]
async fn protobuf_goes_in_and_comes_out() {
    use freehold_model::{Catalogue, catalogue::DEFAULT_MINOR, proto};
    let (_cluster, api) = with(&["a"]).await;
    let catalogue = Catalogue::builtin(DEFAULT_MINOR).unwrap();
    let media = "application/vnd.kubernetes.protobuf";
    let body = proto::encode(&catalogue, &config_map("p", "1")).unwrap();
    api.send("POST", CMS, media, body).await.expect(201);
    assert_eq!(
        api.get(&format!("{CMS}/p"))
            .await
            .expect(200)
            .text(&["data", "k"]),
        "1"
    );
    let r = api.raw("GET", CMS, &[("accept", media)], Vec::new()).await;
    let bytes = r.into_body().collect().await.unwrap().to_bytes();
    let list = proto::decode(&catalogue, &bytes).unwrap();
    let items = list.get("items").and_then(Value::as_array).unwrap();
    assert_eq!(items.len(), 2);
    assert_eq!(items[1].at(&["data"]), Some(&value!({"k": "1"})));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_item_of_a_typed_list_says_not_what_it_is_an_event_does() {
    let (_cluster, api) = with(&["a"]).await;
    let path = "/api/v1/namespaces/default/configmaps";
    // copied bytes, and values
    for query in ["", "?pretty=true"] {
        let list = api.get(&format!("{path}{query}")).await.expect(200).body;
        assert_eq!(list.str_at(&["kind"]), Some("ConfigMapList"));
        let items = list.get("items").and_then(Value::as_array).unwrap();
        assert_eq!(items.len(), 1);
        assert_eq!(items[0].str_at(&["metadata", "name"]), Some("a"));
        assert_eq!(items[0].get("apiVersion").or(items[0].get("kind")), None);
    }
    let mut watch = api.watch(&format!("{path}?watch=1")).await;
    let (_, object) = watch.next().await.expect("an event");
    assert_eq!(object.str_at(&["apiVersion"]), Some("v1"));
    assert_eq!(object.str_at(&["kind"]), Some("ConfigMap"));
}

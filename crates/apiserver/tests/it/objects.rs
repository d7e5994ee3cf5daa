//! Objects through their life: create, get, update, patch, delete.

use crate::harness::{Client, Cluster};
use freehold_model::{Value, json, value};

const CMS: &str = "/api/v1/namespaces/default/configmaps";
const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/default/deployments";

pub(crate) fn config_map(name: &str, data: &str) -> Value {
    value!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"k": data}})
}

pub(crate) fn deployment(name: &str) -> Value {
    value!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name},
        "spec": {
            "replicas": 1,
            "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": {"app": name}},
                "spec": {"containers": [{"name": "c", "image": "nginx"}]}
            }
        }
    })
}

async fn admin() -> (Cluster, Client) {
    let cluster = Cluster::start().await;
    let api = cluster.client();
    (cluster, api)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_created_object_is_there_with_what_the_server_adds() {
    let (_cluster, api) = admin().await;
    let made = api.post(CMS, &config_map("a", "1")).await.expect(201);
    assert_eq!(made.text(&["metadata", "namespace"]), "default");
    assert!(!made.text(&["metadata", "uid"]).is_empty());
    let got = api.get(&format!("{CMS}/a")).await.expect(200);
    assert_eq!(got.body, made.body);
    let again = api.post(CMS, &config_map("a", "1")).await.expect(409);
    assert_eq!(again.text(&["message"]), "configmaps \"a\" already exists");
    let missing = api.get(&format!("{CMS}/b")).await.expect(404);
    assert_eq!(missing.text(&["message"]), "configmaps \"b\" not found");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_acknowledged_is_there_after_a_restart() {
    let (cluster, api) = admin().await;
    let made = api.post(CMS, &config_map("a", "1")).await.expect(201);
    drop(api);
    let cluster = cluster.restart().await;
    let got = cluster.client().get(&format!("{CMS}/a")).await.expect(200);
    assert_eq!(got.body, made.body);
}

#[tokio::test(flavor = "multi_thread")]
async fn generated_names_differ_and_keep_their_base() {
    let (_cluster, api) = admin().await;
    let body = value!({"metadata": {"generateName": "job-"}});
    let a = api.post(CMS, &body).await.expect(201);
    let b = api.post(CMS, &body).await.expect(201);
    assert_ne!(a.text(&["metadata", "name"]), b.text(&["metadata", "name"]));
    assert!(a.text(&["metadata", "name"]).starts_with("job-"));
    assert_eq!(a.text(&["metadata", "name"]).len(), 9);
    let neither = api.post(CMS, &value!({"metadata": {}})).await.expect(422);
    assert!(
        neither
            .text(&["message"])
            .contains("name or generateName is required")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_changes_nothing() {
    let (_cluster, api) = admin().await;
    let made = api
        .post(&format!("{CMS}?dryRun=All"), &config_map("a", "1"))
        .await
        .expect(201);
    assert_eq!(made.text(&["metadata", "name"]), "a");
    api.get(&format!("{CMS}/a")).await.expect(404);
    api.post(CMS, &config_map("a", "1")).await.expect(201);
    let put = api
        .put(&format!("{CMS}/a?dryRun=All"), &config_map("a", "2"))
        .await
        .expect(200);
    assert_eq!(put.text(&["data", "k"]), "2");
    api.delete(&format!("{CMS}/a?dryRun=All")).await.expect(200);
    assert_eq!(
        api.get(&format!("{CMS}/a"))
            .await
            .expect(200)
            .text(&["data", "k"]),
        "1"
    );
    api.post(&format!("{CMS}?dryRun=some"), &config_map("b", "1"))
        .await
        .expect(422);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_update_of_an_old_version_conflicts() {
    let (_cluster, api) = admin().await;
    let first = api.post(CMS, &config_map("a", "1")).await.expect(201).body;
    let mut second = first.clone();
    second.set(&["data", "k"], "2");
    let second = api.put(&format!("{CMS}/a"), &second).await.expect(200).body;
    assert_ne!(
        first.str_at(&["metadata", "resourceVersion"]),
        second.str_at(&["metadata", "resourceVersion"])
    );
    let stale = api.put(&format!("{CMS}/a"), &first).await.expect(409);
    assert_eq!(
        stale.text(&["message"]),
        "Operation cannot be fulfilled on configmaps \"a\": the object has been modified; please apply your changes to the latest version and try again"
    );
    // Without a version it is unconditional; the same content again is no new version.
    let free = api
        .put(&format!("{CMS}/a"), &config_map("a", "3"))
        .await
        .expect(200)
        .body;
    let same = api
        .put(&format!("{CMS}/a"), &config_map("a", "3"))
        .await
        .expect(200)
        .body;
    assert_eq!(free, same);
    let mut other = config_map("a", "4");
    other.set(&["metadata", "uid"], "not-this-one");
    api.put(&format!("{CMS}/a"), &other).await.expect(409);
    let wrong = api
        .put(&format!("{CMS}/b"), &config_map("a", "4"))
        .await
        .expect(400);
    assert!(
        wrong
            .text(&["message"])
            .contains("does not match the name on the URL")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn concurrent_patches_are_all_kept() {
    let (_cluster, api) = admin().await;
    api.post(CMS, &config_map("a", "1")).await.expect(201);
    let tasks: Vec<_> = (0..16)
        .map(|i| {
            let api = api.clone();
            tokio::spawn(async move {
                let mut patch = Value::object();
                patch.set(&["data", &format!("k{i}")], "x");
                api.merge(&format!("{CMS}/a"), &patch).await.expect(200);
            })
        })
        .collect();
    for t in tasks {
        t.await.unwrap();
    }
    let got = api.get(&format!("{CMS}/a")).await.expect(200);
    assert_eq!(
        got.body
            .get("data")
            .and_then(Value::as_object)
            .map(freehold_model::Map::len),
        Some(17)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_four_patches_do_what_they_say() {
    let (_cluster, api) = admin().await;
    api.post(DEPLOYMENTS, &deployment("d")).await.expect(201);
    let path = format!("{DEPLOYMENTS}/d");
    let json = json::to_vec(&value!([{"op": "replace", "path": "/spec/replicas", "value": 3}]));
    let a = api
        .send("PATCH", &path, "application/json-patch+json", json)
        .await
        .expect(200);
    assert_eq!(a.int(&["spec", "replicas"]), 3);
    let a = api
        .merge(&path, &value!({"metadata": {"labels": {"a": "b"}}}))
        .await
        .expect(200);
    assert_eq!(a.text(&["metadata", "labels", "a"]), "b");
    let strategic = json::to_vec(&value!({
        "spec": {"template": {"spec": {"containers": [{"name": "side", "image": "x"}]}}}
    }));
    let a = api
        .send(
            "PATCH",
            &path,
            "application/strategic-merge-patch+json",
            strategic,
        )
        .await
        .expect(200);
    let containers = a
        .body
        .at(&["spec", "template", "spec", "containers"])
        .and_then(Value::as_array)
        .unwrap();
    assert_eq!(containers.len(), 2);
    let bad = api
        .send("PATCH", &path, "application/json", b"{}".to_vec())
        .await
        .expect(415);
    assert!(
        bad.text(&["message"])
            .contains("415: Unsupported Media Type")
    );
    let rename = api
        .merge(&path, &value!({"metadata": {"name": "other"}}))
        .await;
    assert!(matches!(rename.code, 400 | 422), "{}", rename.code);
    let stale = api
        .merge(&path, &value!({"metadata": {"resourceVersion": "1"}}))
        .await;
    assert_eq!(stale.code, 409);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_generation_counts_changes_of_the_spec_only() {
    let (_cluster, api) = admin().await;
    let made = api.post(DEPLOYMENTS, &deployment("d")).await.expect(201);
    assert_eq!(made.int(&["metadata", "generation"]), 1);
    let path = format!("{DEPLOYMENTS}/d");
    let a = api
        .merge(&path, &value!({"metadata": {"labels": {"a": "b"}}}))
        .await
        .expect(200);
    assert_eq!(a.int(&["metadata", "generation"]), 1);
    let a = api
        .merge(
            &path,
            &value!({"spec": {"replicas": 2}, "status": {"replicas": 9}}),
        )
        .await
        .expect(200);
    assert_eq!(
        (
            a.int(&["metadata", "generation"]),
            a.int(&["status", "replicas"])
        ),
        (2, -1)
    );
    let a = api
        .merge(
            &format!("{path}/status"),
            &value!({"spec": {"replicas": 7}, "status": {"replicas": 2}}),
        )
        .await
        .expect(200);
    assert_eq!(
        (a.int(&["spec", "replicas"]), a.int(&["status", "replicas"])),
        (2, 2)
    );
    assert_eq!(a.int(&["metadata", "generation"]), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_fields_are_reported_as_asked() {
    let (_cluster, api) = admin().await;
    let mut body = deployment("d");
    body.set(&["spec", "replicaz"], 1_i64);
    let strict = api
        .post(&format!("{DEPLOYMENTS}?fieldValidation=Strict"), &body)
        .await
        .expect(400);
    assert!(
        strict
            .text(&["message"])
            .contains("strict decoding error: unknown field \"spec.replicaz\""),
        "{}",
        strict.text(&["message"])
    );
    let warned = api.post(DEPLOYMENTS, &body).await.expect(201);
    assert_eq!(
        warned.warnings,
        ["299 - \"unknown field \\\"spec.replicaz\\\"\""]
    );
    assert!(warned.body.at(&["spec", "replicaz"]).is_none());
    body.set(&["metadata", "name"], "e");
    let ignored = api
        .post(&format!("{DEPLOYMENTS}?fieldValidation=Ignore"), &body)
        .await
        .expect(201);
    assert!(ignored.warnings.is_empty());
    let twice = br#"{"metadata":{"name":"f"},"data":{"a":"1","a":"2"}}"#.to_vec();
    let twice = api
        .send(
            "POST",
            &format!("{CMS}?fieldValidation=Strict"),
            "application/json",
            twice,
        )
        .await;
    assert!(
        twice
            .expect(400)
            .text(&["message"])
            .contains("duplicate field \"data.a\"")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_of_another_kind_or_format_is_refused() {
    let (_cluster, api) = admin().await;
    let other = api.post(CMS, &deployment("d")).await.expect(400);
    assert!(
        other
            .text(&["message"])
            .contains("cannot be handled as a ConfigMap")
    );
    let version = api
        .post(
            CMS,
            &value!({"apiVersion": "v2", "kind": "ConfigMap", "metadata": {"name": "a"}}),
        )
        .await;
    assert_eq!(
        version.expect(400).text(&["message"]),
        "ConfigMap in version \"v2\" cannot be handled as a ConfigMap: no kind \"ConfigMap\" is registered for version \"v2\" in scheme \"pkg/runtime/scheme.go:111\""
    );
    for body in ["", "[]", "null", "{", "7"] {
        let a = api
            .send("POST", CMS, "application/json", body.as_bytes().to_vec())
            .await;
        assert_eq!(a.code, 400, "{body:?}");
    }
    api.send("POST", CMS, "text/csv", b"a".to_vec())
        .await
        .expect(415);
    let yaml = b"metadata:\n  name: yaml\ndata:\n  a: b\n".to_vec();
    api.send("POST", CMS, "application/yaml", yaml)
        .await
        .expect(201);
    let large = config_map("large", &"x".repeat(4 * 1024 * 1024));
    api.post(CMS, &large).await.expect(413);
    let foreign = value!({"metadata": {"name": "a", "namespace": "other"}});
    let foreign = api.post(CMS, &foreign).await.expect(400);
    assert!(
        foreign
            .text(&["message"])
            .contains("does not match the namespace sent on the request")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn finalizers_hold_an_object_until_they_are_gone() {
    let (_cluster, api) = admin().await;
    let mut body = config_map("a", "1");
    body.set(&["metadata", "finalizers"], vec!["example.com/hold"]);
    api.post(CMS, &body).await.expect(201);
    let path = format!("{CMS}/a");
    let marked = api.delete(&path).await.expect(200);
    assert!(!marked.text(&["metadata", "deletionTimestamp"]).is_empty());
    assert_eq!(marked.int(&["metadata", "deletionGracePeriodSeconds"]), 0);
    api.get(&path).await.expect(200);
    api.merge(&path, &value!({"metadata": {"finalizers": null}}))
        .await
        .expect(200);
    api.get(&path).await.expect(404);
}

#[tokio::test(flavor = "multi_thread")]
async fn propagation_becomes_a_finalizer() {
    let (_cluster, api) = admin().await;
    for (policy, finalizer) in [("Foreground", "foregroundDeletion"), ("Orphan", "orphan")] {
        api.post(DEPLOYMENTS, &deployment("d")).await.expect(201);
        let path = format!("{DEPLOYMENTS}/d");
        let options =
            value!({"kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": policy});
        let a = api
            .send("DELETE", &path, "application/json", json::to_vec(&options))
            .await
            .expect(200);
        assert_eq!(
            a.body.at(&["metadata", "finalizers"]),
            Some(&Value::from(vec![finalizer]))
        );
        api.merge(&path, &value!({"metadata": {"finalizers": []}}))
            .await
            .expect(200);
        api.get(&path).await.expect(404);
    }
    api.post(DEPLOYMENTS, &deployment("d")).await.expect(201);
    let gone = api
        .delete(&format!("{DEPLOYMENTS}/d?propagationPolicy=Background"))
        .await
        .expect(200);
    assert_eq!(gone.text(&["status"]), "Success");
    assert_eq!(gone.text(&["details", "kind"]), "deployments");
    api.delete(&format!("{DEPLOYMENTS}/d")).await.expect(404);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delete_with_other_preconditions_conflicts() {
    let (_cluster, api) = admin().await;
    api.post(CMS, &config_map("a", "1")).await.expect(201);
    let options = json::to_vec(&value!({"preconditions": {"uid": "other"}}));
    let a = api
        .send("DELETE", &format!("{CMS}/a"), "application/json", options)
        .await
        .expect(409);
    assert!(
        a.text(&["message"])
            .contains("the UID in the precondition (other) does not match")
    );
    let options = json::to_vec(&value!({"preconditions": {"resourceVersion": "1"}}));
    api.send("DELETE", &format!("{CMS}/a"), "application/json", options)
        .await
        .expect(409);
    api.delete(&format!("{CMS}/a")).await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collection_is_deleted_by_selector() {
    let (_cluster, api) = admin().await;
    for (name, label) in [("a", "x"), ("b", "y"), ("c", "x")] {
        let mut body = config_map(name, "1");
        body.set(&["metadata", "labels", "l"], label);
        api.post(CMS, &body).await.expect(201);
    }
    let a = api
        .delete(&format!("{CMS}?labelSelector=l%3Dx"))
        .await
        .expect(200);
    assert_eq!(
        a.body
            .get("items")
            .and_then(Value::as_array)
            .map(<[_]>::len),
        Some(2)
    );
    api.get(&format!("{CMS}/a")).await.expect(404);
    api.get(&format!("{CMS}/b")).await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn applied_fields_have_an_owner() {
    let (_cluster, api) = admin().await;
    let path = format!("{CMS}/a");
    let apply = |manager: &'static str, data: &'static str, force: bool| {
        let (api, path) = (api.clone(), path.clone());
        async move {
            let url = format!("{path}?fieldManager={manager}&force={force}");
            let mut body = config_map("a", data);
            body.set(&["data", manager], "mine");
            api.send(
                "PATCH",
                &url,
                "application/apply-patch+yaml",
                json::to_vec(&body),
            )
            .await
        }
    };
    let first = apply("one", "1", false).await.expect(201);
    assert!(
        !first
            .body
            .at(&["metadata", "managedFields"])
            .unwrap()
            .is_null()
    );
    // Applied again, nothing is written.
    let again = apply("one", "1", false).await.expect(200);
    assert_eq!(
        again.text(&["metadata", "resourceVersion"]),
        first.text(&["metadata", "resourceVersion"])
    );
    let conflict = apply("two", "2", false).await.expect(409);
    assert!(
        conflict
            .text(&["message"])
            .contains("conflict with \"one\""),
        "{}",
        conflict.text(&["message"])
    );
    let forced = apply("two", "2", true).await.expect(200);
    assert_eq!(
        (forced.text(&["data", "k"]), forced.text(&["data", "one"])),
        ("2", "mine")
    );
    // What an owner no longer applies goes.
    let less =
        json::to_vec(&value!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}}));
    let url = format!("{path}?fieldManager=one");
    let rest = api
        .send("PATCH", &url, "application/apply-patch+yaml", less.clone())
        .await
        .expect(200);
    assert_eq!(
        (rest.text(&["data", "k"]), rest.text(&["data", "one"])),
        ("2", "")
    );
    api.send("PATCH", &path, "application/apply-patch+yaml", less)
        .await
        .expect(422);
}

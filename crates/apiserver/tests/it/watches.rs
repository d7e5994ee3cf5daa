//! Watches: order, resumption, selectors, bookmarks, ends.

use crate::harness::{Client, Cluster, Watch};
use crate::objects::config_map;
use freehold_apiserver::Limits;
use freehold_model::{Value, value};

const CMS: &str = "/api/v1/namespaces/default/configmaps";

async fn admin() -> (Cluster, Client) {
    let cluster = Cluster::start().await;
    let api = cluster.client();
    (cluster, api)
}

async fn next(w: &mut Watch) -> (String, String) {
    let (kind, object) = w.next().await.expect("the watch is open");
    (
        kind,
        object
            .str_at(&["metadata", "name"])
            .unwrap_or("")
            .to_owned(),
    )
}

fn pair(a: &str, b: &str) -> (String, String) {
    (a.into(), b.into())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_goes_on_from_the_revision_of_a_list() {
    let (_cluster, api) = admin().await;
    api.post(CMS, &config_map("a", "1")).await.expect(201);
    let rev = api
        .get(CMS)
        .await
        .text(&["metadata", "resourceVersion"])
        .to_owned();
    api.post(CMS, &config_map("b", "1")).await.expect(201);
    let mut w = api
        .watch(&format!("{CMS}?watch=1&resourceVersion={rev}"))
        .await;
    api.put(&format!("{CMS}/a"), &config_map("a", "2"))
        .await
        .expect(200);
    api.post(
        "/api/v1/namespaces/kube-public/configmaps",
        &config_map("elsewhere", "1"),
    )
    .await
    .expect(201);
    let gone = api
        .get(&format!("{CMS}/b"))
        .await
        .text(&["metadata", "resourceVersion"])
        .to_owned();
    api.delete(&format!("{CMS}/b")).await.expect(200);
    assert_eq!(next(&mut w).await, pair("ADDED", "b"));
    assert_eq!(next(&mut w).await, pair("MODIFIED", "a"));
    let (kind, object) = w.next().await.unwrap();
    assert_eq!(
        (kind.as_str(), object.str_at(&["data", "k"])),
        ("DELETED", Some("1"))
    );
    // The last state, under the revision of the deletion.
    let at: u64 = object
        .str_at(&["metadata", "resourceVersion"])
        .unwrap()
        .parse()
        .unwrap();
    assert!(at > gone.parse().unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_without_revision_begins_with_what_is_there() {
    let (_cluster, api) = admin().await;
    api.post(CMS, &config_map("a", "1")).await.expect(201);
    for q in ["watch=1", "watch=true&resourceVersion=0"] {
        let mut w = api.watch(&format!("{CMS}?{q}")).await;
        assert_eq!(next(&mut w).await, pair("ADDED", "a"));
    }
    let mut w = api
        .watch("/api/v1/watch/namespaces/default/configmaps")
        .await;
    assert_eq!(next(&mut w).await, pair("ADDED", "a"));
}

#[tokio::test(flavor = "multi_thread")]
async fn initial_events_end_with_their_bookmark() {
    let (_cluster, api) = admin().await;
    api.post(CMS, &config_map("a", "1")).await.expect(201);
    let q =
        "watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true";
    let mut w = api.watch(&format!("{CMS}?{q}")).await;
    assert_eq!(next(&mut w).await, pair("ADDED", "a"));
    let (kind, mark) = w.next().await.unwrap();
    assert_eq!(kind, "BOOKMARK");
    assert_eq!(
        mark.str_at(&["metadata", "annotations", "k8s.io/initial-events-end"]),
        Some("true")
    );
    api.post(CMS, &config_map("b", "1")).await.expect(201);
    assert_eq!(next(&mut w).await, pair("ADDED", "b"));
    for bad in [
        "sendInitialEvents=true",
        "resourceVersionMatch=NotOlderThan",
        "sendInitialEvents=true&resourceVersionMatch=NotOlderThan",
    ] {
        api.get(&format!("{CMS}?watch=1&{bad}")).await.expect(422);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn entering_and_leaving_a_selection_are_additions_and_deletions() {
    let (_cluster, api) = admin().await;
    api.post(CMS, &config_map("a", "1")).await.expect(201);
    let rev = api
        .get(CMS)
        .await
        .text(&["metadata", "resourceVersion"])
        .to_owned();
    let mut w = api
        .watch(&format!(
            "{CMS}?watch=1&resourceVersion={rev}&labelSelector=on%3Dyes"
        ))
        .await;
    let label = |v: &'static str| value!({"metadata": {"labels": {"on": v}}});
    let path = format!("{CMS}/a");
    api.merge(&path, &label("yes")).await.expect(200);
    api.merge(&path, &value!({"data": {"k": "2"}}))
        .await
        .expect(200);
    api.merge(&path, &label("no")).await.expect(200);
    api.merge(&path, &value!({"data": {"k": "3"}}))
        .await
        .expect(200);
    api.merge(&path, &label("yes")).await.expect(200);
    for kind in ["ADDED", "MODIFIED", "DELETED", "ADDED"] {
        assert_eq!(next(&mut w).await, pair(kind, "a"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revision_that_is_gone_is_an_error_event() {
    let limits = Limits {
        window_events: 4,
        ..Limits::default()
    };
    let cluster = Cluster::with_limits(limits).await;
    let api = cluster.client();
    let rev = api
        .post(CMS, &config_map("a", "0"))
        .await
        .text(&["metadata", "resourceVersion"])
        .to_owned();
    for i in 1..20 {
        api.put(&format!("{CMS}/a"), &config_map("a", &i.to_string()))
            .await
            .expect(200);
    }
    let mut w = api
        .watch(&format!("{CMS}?watch=1&resourceVersion={rev}"))
        .await;
    let (kind, status) = w.next().await.unwrap();
    assert_eq!(
        (kind.as_str(), status.get("code").and_then(Value::as_i64)),
        ("ERROR", Some(410))
    );
    assert!(
        status
            .str_at(&["message"])
            .unwrap()
            .starts_with("too old resource version")
    );
    assert!(w.next().await.is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_ends_at_its_time_limit_with_a_bookmark() {
    let (_cluster, api) = admin().await;
    let rev = api
        .get(CMS)
        .await
        .text(&["metadata", "resourceVersion"])
        .to_owned();
    let q = format!("watch=1&timeoutSeconds=1&allowWatchBookmarks=true&resourceVersion={rev}");
    let mut w = api.watch(&format!("{CMS}?{q}")).await;
    assert_eq!(w.next().await.unwrap().0, "BOOKMARK");
    assert!(w.next().await.is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn shutting_down_ends_watches_and_refuses_requests() {
    let (cluster, api) = admin().await;
    let rev = api
        .get(CMS)
        .await
        .text(&["metadata", "resourceVersion"])
        .to_owned();
    let mut w = api
        .watch(&format!("{CMS}?watch=1&resourceVersion={rev}"))
        .await;
    cluster.cp.shut_down();
    assert!(w.next().await.is_none());
    assert_eq!(api.get(CMS).await.code, 503);
}

#[tokio::test(flavor = "multi_thread")]
async fn watchers_have_a_limit() {
    let limits = Limits {
        watches: 1,
        ..Limits::default()
    };
    let cluster = Cluster::with_limits(limits).await;
    let api = cluster.client();
    let first = api.watch(&format!("{CMS}?watch=1")).await;
    let second = api.get(&format!("{CMS}?watch=1")).await;
    assert_eq!(second.code, 429);
    drop(first);
    api.watch(&format!("{CMS}?watch=1")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_watcher_sees_every_change_in_order() {
    let (_cluster, api) = admin().await;
    let rev = api
        .get(CMS)
        .await
        .text(&["metadata", "resourceVersion"])
        .to_owned();
    let watchers: Vec<_> = (0..8)
        .map(|_| {
            let (api, rev) = (api.clone(), rev.clone());
            tokio::spawn(async move {
                let mut w = api
                    .watch(&format!("{CMS}?watch=1&resourceVersion={rev}"))
                    .await;
                let mut last = 0;
                for _ in 0..200 {
                    let (_, object) = w.next().await.unwrap();
                    let at: u64 = object
                        .str_at(&["metadata", "resourceVersion"])
                        .unwrap()
                        .parse()
                        .unwrap();
                    assert!(at > last, "{at} after {last}");
                    last = at;
                }
            })
        })
        .collect();
    for i in 0..100 {
        api.post(CMS, &config_map(&format!("c{i}"), "1"))
            .await
            .expect(201);
        api.delete(&format!("{CMS}/c{i}")).await.expect(200);
    }
    for w in watchers {
        w.await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_goes_on_across_a_restart() {
    let (cluster, api) = admin().await;
    let rev = api
        .post(CMS, &config_map("a", "0"))
        .await
        .text(&["metadata", "resourceVersion"])
        .to_owned();
    api.post(CMS, &config_map("b", "0")).await.expect(201);
    api.delete(&format!("{CMS}/a")).await.expect(200);
    drop(api);
    let cluster = cluster.restart().await;
    let mut w = cluster
        .client()
        .watch(&format!("{CMS}?watch=1&resourceVersion={rev}"))
        .await;
    assert_eq!(next(&mut w).await, pair("ADDED", "b"));
    assert_eq!(next(&mut w).await, pair("DELETED", "a"));
}

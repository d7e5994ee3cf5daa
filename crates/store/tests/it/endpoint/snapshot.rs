//! Snapshots: restored by etcd's own tools into a real etcd, and what may not be had by them.

use super::Served;
use super::client::Raw;
use super::proto::{
    CompactionRequest, Empty, HeaderResponse, KeyValue, LeaseTimeToLiveRequest,
    LeaseTimeToLiveResponse, PutRequest, PutResponse, RangeRequest, RangeResponse,
    SnapshotResponse,
};
use super::tenants::Shared;
use super::tools::Ctl;
use crate::real_etcd::{RealEtcd, upstream};
use crate::real_postgres::RealPostgres;
use crate::support::{delete, put, put_op, until};
use freehold_store::embedded::{Embedded, Options};
use freehold_store::postgres::Postgres;
use freehold_store::{Keyspaces, Op, Store, Txn, etcd};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;
use tonic::{Code, Status};

fn everything() -> RangeRequest {
    RangeRequest {
        key: "\0".into(),
        range_end: "\0".into(),
        ..Default::default()
    }
}

/// Keys of every kind: many, changed, gone, changed together, large, empty, under leases.
async fn fill(store: &dyn Store) {
    for part in 0..60 {
        let then = (0..100).map(|n| put_op(&format!("many/{:05}", n * 60 + part), &"v".repeat(n)));
        let txn = Txn {
            then: then.collect(),
            ..Txn::default()
        };
        store.txn(txn).await.expect("many keys");
    }
    for n in 0..50 {
        put(store, &format!("many/{:05}", n * 97), "changed").await;
    }
    put(store, "large/a", &"l".repeat(1_500_000)).await;
    put(store, "large/b", &"m".repeat(4_000)).await;
    put(store, "empty", "").await;
    let lease = store.lease_grant_as(77, 5_000).await;
    lease.expect("a lease");
    store.lease_grant_as(78, 6_000).await.expect("a lease");
    let leased = Op::Put {
        key: "leased".into(),
        value: "1".into(),
        lease: 77,
    };
    let txn = Txn {
        then: vec![leased],
        ..Txn::default()
    };
    store.txn(txn).await.expect("leased");
    put(store, "gone", "1").await;
    // The last revision is of a key that is not there.
    delete(store, "gone").await;
}

async fn listed(client: &Raw) -> (i64, Vec<KeyValue>) {
    let all: RangeResponse = client.call("KV/Range", everything()).await.expect("range");
    (all.header.expect("header").revision, all.kvs)
}

/// What etcd's tool makes of a file.
fn status(file: &Path) -> String {
    let util = upstream("etcdutl").expect("there is one");
    let done = Command::new(util)
        .args(["snapshot", "status", "-w", "json"])
        .arg(file)
        .output()
        .expect("etcdutl starts");
    let said = String::from_utf8_lossy(&done.stderr).into_owned();
    assert!(done.status.success(), "{said}");
    String::from_utf8(done.stdout).expect("text")
}

/// Saves what the endpoint serves, restores it, and finds the same in a real etcd.
async fn comes_back(url: &str) -> Option<()> {
    let ctl = Ctl::plain(url)?;
    upstream("etcdutl")?;
    let dir = tempfile::tempdir().expect("dir");
    let file = dir.path().join("snapshot.db");
    let saved = ctl.ok(&["snapshot", "save", &file.to_string_lossy()]).await;
    assert!(saved.contains("3.6.0"), "{saved}");
    let ours = Raw::connect(url);
    let (revision, kvs) = listed(&ours).await;
    let told = status(&file);
    assert!(
        told.contains(&format!("\"totalKey\":{}", kvs.len())),
        "{told}"
    );
    let path = file.clone();
    let restored = tokio::task::spawn_blocking(move || RealEtcd::restored(&path));
    let etcd = restored.await.expect("restored")?;
    let theirs = Raw::connect(&etcd.url);
    let (restored, found) = listed(&theirs).await;
    assert!(
        found == kvs,
        "every key with its revisions, version and lease"
    );
    assert_eq!(restored, revision, "the revision");
    same_leases(&ours, &theirs).await;
    if revision > 1 {
        let past = RangeRequest {
            revision: revision - 1,
            ..everything()
        };
        let past: Result<RangeResponse, Status> = theirs.call("KV/Range", past).await;
        let past = past.expect_err("history is not in the file");
        assert!(past.message().contains("has been compacted"), "{past:?}");
    }
    let put = PutRequest {
        key: "after".into(),
        ..Default::default()
    };
    let after: PutResponse = theirs.call("KV/Put", put).await.expect("put");
    assert_eq!(after.header.expect("header").revision, revision + 1);
    Some(())
}

async fn same_leases(ours: &Raw, theirs: &Raw) {
    for id in [77, 78] {
        let asked = LeaseTimeToLiveRequest { id, keys: true };
        let method = "Lease/LeaseTimeToLive";
        let here: LeaseTimeToLiveResponse = ours.call(method, asked.clone()).await.expect("ttl");
        let there: LeaseTimeToLiveResponse = theirs.call(method, asked).await.expect("ttl");
        assert_eq!(here.granted_ttl, there.granted_ttl, "lease {id}");
        assert_eq!(here.keys, there.keys, "lease {id}");
        let ran = here.ttl.abs_diff(there.ttl);
        assert!(
            ran < 300,
            "lease {id}: {} and {} s left",
            here.ttl,
            there.ttl
        );
    }
}

/// The endpoint over a keyspace of another driver.
async fn over(keyspaces: Arc<dyn Keyspaces>) {
    let store = keyspaces.open("served").await.expect("keyspace");
    // A neighbour in the same datastore.
    let other = keyspaces.open("other").await.expect("keyspace");
    put(&*other, "foreign", "foreign").await;
    fill(&*store).await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await;
    let listener = listener.expect("bind");
    let url = format!("http://{}", listener.local_addr().expect("bound"));
    let server = tokio::spawn(freehold_store::server::serve(listener, store));
    comes_back(&url).await;
    server.abort();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_snapshot_is_restored_by_etcds_tools_into_a_real_etcd() {
    let dir = tempfile::tempdir().expect("dir");
    let engine = Embedded::open(dir.path(), Options::default()).await;
    over(engine.expect("open")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_snapshot_of_an_empty_keyspace_is_restored_too() {
    let served = Served::start().await;
    comes_back(&served.url).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_snapshot_of_a_keyspace_in_an_etcd_is_restored_without_its_prefix() {
    let Some(real) = RealEtcd::start() else {
        return;
    };
    let keyspaces = etcd::Etcd::connect(etcd::Options::new(vec![real.url.clone()], "/below"));
    over(keyspaces.await.expect("connect")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_snapshot_of_a_keyspace_in_postgres_is_restored_into_a_real_etcd() {
    let Some(postgres) = RealPostgres::start() else {
        return;
    };
    let keyspaces = Postgres::connect(postgres.options()).await;
    over(keyspaces.expect("connect")).await;
}

const SNAPSHOT: &str = "Maintenance/Snapshot";

async fn file(client: &Raw) -> Result<Vec<u8>, Status> {
    let parts: Vec<SnapshotResponse> = client.stream(SNAPSHOT, Empty {}).await?;
    let (sum, parts) = parts.split_last().expect("parts");
    let file: Vec<u8> = parts.iter().flat_map(|part| part.blob.to_vec()).collect();
    let first = &parts[0];
    let whole = first.remaining_bytes + first.blob.len() as u64;
    assert_eq!(whole, file.len() as u64, "the length is known before");
    let digest = ring::digest::digest(&ring::digest::SHA256, &file);
    assert_eq!(sum.blob, digest.as_ref());
    Ok(file)
}

fn holds(file: &[u8], text: &str) -> bool {
    file.windows(text.len()).any(|part| part == text.as_bytes())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_snapshot_has_nothing_of_another_tenant() {
    has_nothing_of_another(Shared::start().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_snapshot_from_postgres_has_nothing_of_another_tenant() {
    let Some(postgres) = RealPostgres::start() else {
        return;
    };
    has_nothing_of_another(Shared::over_postgres(&postgres).await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_snapshot_from_an_etcd_has_nothing_of_another_tenant() {
    let Some(real) = RealEtcd::start() else {
        return;
    };
    has_nothing_of_another(Shared::over_etcd(&real).await).await;
}

async fn has_nothing_of_another(shared: Shared) {
    let acme = shared.named("acme", &[], None);
    let globex = shared.named("someone", &["globex"], None);
    let before = file(&globex).await.expect("snapshot");
    for n in 0..20 {
        let put = PutRequest {
            key: format!("secret{n}").into(),
            value: "treasure".into(),
            ..Default::default()
        };
        let _: PutResponse = acme.call("KV/Put", put).await.expect("put");
    }
    let after = file(&globex).await.expect("snapshot");
    assert!(!holds(&after, "secret7") && !holds(&after, "treasure"));
    // In an etcd its revision is in the file, which is one for all.
    assert!(!shared.own_revisions || after == before);
    let own = file(&acme).await.expect("snapshot");
    assert!(holds(&own, "secret7") && holds(&own, "treasure"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tenant_is_sent_one_snapshot_at_a_time_and_others_do_not_wait() {
    let shared = Shared::start().await;
    let acme = shared.named("acme", &[], None);
    let globex = shared.named("someone", &["globex"], None);
    for n in 0..8 {
        let put = PutRequest {
            key: format!("k{n}").into(),
            value: "v".repeat(1_000_000).into(),
            ..Default::default()
        };
        let _: PutResponse = acme.call("KV/Put", put).await.expect("put");
    }
    let mut parts = acme
        .parts::<_, SnapshotResponse>(SNAPSHOT, Empty {})
        .await
        .expect("first");
    assert!(parts.message().await.expect("a part").is_some());
    let second = file(&acme).await.expect_err("one at a time");
    assert_eq!(second.code(), Code::ResourceExhausted);
    assert!(
        second.message().contains("being sent already"),
        "{second:?}"
    );
    file(&globex).await.expect("another tenant's");
    drop(parts);
    until("the first one was given up", || async {
        file(&acme).await.is_ok()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_stops_reading_a_snapshot_is_cut_off() {
    let served = Served::with(Options::default(), Duration::from_secs(1)).await;
    for n in 0..8 {
        put(&*served.store, &format!("k{n}"), &"v".repeat(1_000_000)).await;
    }
    let client = Raw::connect(&served.url);
    let mut parts = client
        .parts::<_, SnapshotResponse>(SNAPSHOT, Empty {})
        .await
        .expect("parts");
    // Others have a connection of their own; theirs works when the right is free again.
    until("the silent client was cut off", || async {
        file(&Raw::connect(&served.url)).await.is_ok()
    })
    .await;
    while let Ok(part) = parts.message().await {
        assert!(part.is_some(), "an end without an error");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_snapshot_is_of_one_revision_and_ends_when_that_is_compacted() {
    let served = Served::start().await;
    for n in 0..8 {
        put(&*served.store, &format!("k{n}"), &"v".repeat(1_000_000)).await;
    }
    let client = Raw::connect(&served.url);
    let start = || client.parts::<_, SnapshotResponse>(SNAPSHOT, Empty {});
    let mut parts = start().await.expect("parts");
    let first = parts.message().await.expect("a part").expect("a part");
    for n in 0..8 {
        put(&*served.store, &format!("k{n}"), "later").await;
    }
    let mut file = first.blob.to_vec();
    while let Some(part) = parts.message().await.expect("it goes on") {
        file.extend_from_slice(&part.blob);
    }
    assert!(!holds(&file, "later"));
    for n in 0..8 {
        put(&*served.store, &format!("k{n}"), &"w".repeat(1_000_000)).await;
    }
    let mut parts = start().await.expect("parts");
    assert!(parts.message().await.expect("a part").is_some());
    let mut last = 0;
    for n in 0..8 {
        last = put(&*served.store, &format!("k{n}"), "last").await;
    }
    let compaction = CompactionRequest {
        revision: i64::try_from(last).expect("small"),
        physical: true,
    };
    let _: HeaderResponse = client
        .call("KV/Compact", compaction)
        .await
        .expect("compact");
    let ended = loop {
        match parts.message().await {
            Ok(part) => assert!(part.is_some(), "a part of it would look like all"),
            Err(status) => break status,
        }
    };
    assert_eq!(ended.code(), Code::OutOfRange, "{ended:?}");
}

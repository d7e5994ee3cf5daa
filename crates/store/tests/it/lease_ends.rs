//! A lease ends when it was said to, also behind a restart, a sleep, a backup or a copy: nothing
//! but renewing it prolongs it.

use crate::real_etcd::RealEtcd;
use crate::real_postgres::RealPostgres;
use crate::support::{put_leased, until};
use freehold_store::embedded::{Embedded, Options};
use freehold_store::memory::Memory;
use freehold_store::postgres::Postgres;
use freehold_store::{Error, Image, Keyspaces, LeaseId, Store, etcd};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

const TTL: u64 = 600;
/// What is left at most when the test goes on.
const LEFT: Duration = Duration::from_secs(TTL - 3);
/// Some count whole seconds.
const CLOSE: Duration = Duration::from_millis(1500);

async fn open(dir: &Path) -> Arc<Embedded> {
    let engine = Embedded::open(dir, Options::default()).await;
    engine.expect("open")
}

/// A lease with a key of which some time is over, and when it ends.
async fn running(store: &dyn Store) -> (LeaseId, Instant) {
    let lease = store.lease_grant(TTL).await.expect("lease");
    put_leased(store, "leased", lease).await.expect("put");
    until("three seconds are over", || async {
        store.lease(lease).await.expect("lease").remaining <= LEFT
    })
    .await;
    (lease, end(store, lease).await)
}

async fn answers_again(store: &dyn Store, lease: LeaseId) {
    until("it answers again", || async {
        !matches!(store.lease(lease).await, Err(Error::Unavailable(_)))
    })
    .await;
}

async fn end(store: &dyn Store, lease: LeaseId) -> Instant {
    Instant::now() + store.lease(lease).await.expect("lease").remaining
}

fn near(one: Instant, other: Instant) -> bool {
    one.max(other) - one.min(other) < CLOSE
}

/// It ends when it would have, and so does its key.
async fn same(what: &str, store: &dyn Store, (lease, at): (LeaseId, Instant)) {
    let found = store.lease(lease).await;
    let found = found.unwrap_or_else(|error| panic!("{what}: {error}"));
    assert!(found.remaining <= LEFT, "{what}: {:?}", found.remaining);
    assert!(
        near(Instant::now() + found.remaining, at),
        "{what}: {:?} are left",
        found.remaining
    );
    assert_eq!(found.keys, ["leased"], "{what}");
}

async fn granted(what: &str, store: &dyn Store, lease: LeaseId) {
    let granted = store.lease(lease).await.expect("lease").granted;
    assert_eq!(granted, TTL, "{what}: what renewing it gives");
}

#[tokio::test]
async fn in_the_embedded_engine_only_renewing_a_lease_prolongs_it() {
    let dir = tempfile::tempdir().expect("dir");
    let (root, file) = (dir.path().join("store"), dir.path().join("backup"));
    let engine = open(&root).await;
    let store = engine.open("one").await.expect("keyspace");
    let known = running(&*store).await;
    drop((store, engine));
    let engine = open(&root).await;
    let store = engine.open("one").await.expect("keyspace");
    same("restarted with the log", &*store, known).await;
    engine.sleep("one").await.expect("sleep");
    same("woken", &*store, known).await;
    engine.sleep("one").await.expect("sleep");
    drop((store, engine));
    let engine = open(&root).await;
    let store = engine.open("one").await.expect("keyspace");
    same("restarted with the checkpoint", &*store, known).await;
    engine.backup("one", &file, &[9; 32]).await.expect("backup");
    let restored = engine.restore("two", &file, &[9; 32]).await;
    restored.expect("restore");
    let two = engine.open("two").await.expect("keyspace");
    same("restored", &*two, known).await;
    granted("restored", &*two, known.0).await;

    let (lease, before) = known;
    assert_eq!(store.lease_renew(lease).await, Ok(TTL));
    let renewed = end(&*store, lease).await;
    assert!(renewed > before + CLOSE, "it is prolonged");
    drop((two, store, engine));
    let engine = open(&root).await;
    let store = engine.open("one").await.expect("keyspace");
    assert!(near(end(&*store, lease).await, renewed), "and stays so");
    granted("renewed", &*store, lease).await;
    let two = engine.open("two").await.expect("keyspace");
    same("not renewed", &*two, known).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_of_a_lease_ends_when_the_lease_does_on_every_driver() {
    let dir = tempfile::tempdir().expect("dir");
    let engine = open(dir.path()).await;
    let mut targets: Vec<(&str, Arc<dyn Keyspaces>)> =
        vec![("embedded", engine.clone()), ("memory", Memory::new())];
    let (etcd, postgres) = (RealEtcd::start(), RealPostgres::start());
    if let Some(real) = &etcd {
        let options = etcd::Options::new(vec![real.url.clone()], "/here");
        targets.push(("etcd", etcd::Etcd::connect(options).await.expect("etcd")));
    }
    if let Some(real) = &postgres {
        let connected = Postgres::connect(real.options()).await;
        targets.push(("postgres", connected.expect("postgres")));
    }
    let source = engine.open("source").await.expect("keyspace");
    let known = running(&*source).await;
    for (name, target) in &targets {
        let image = Image::take(&*source).await.expect("image");
        let image = Image::decode(&image.encode()).expect("a file of it");
        target.import("copy", &image).await.expect("import");
        let copy = target.open("copy").await.expect("keyspace");
        same(name, &*copy, known).await;
        if matches!(*name, "embedded" | "postgres") {
            granted(name, &*copy, known.0).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_postgres_that_is_killed_does_not_prolong_a_lease() {
    let Some(mut real) = RealPostgres::start() else {
        return;
    };
    let keyspaces = Postgres::connect(real.options()).await.expect("connect");
    let store = keyspaces.open("one").await.expect("keyspace");
    let known = running(&*store).await;
    tokio::task::block_in_place(|| real.kill_and_restart());
    answers_again(&*store, known.0).await;
    same("killed", &*store, known).await;
    granted("killed", &*store, known.0).await;
    let other = Postgres::connect(real.options()).await.expect("connect");
    let other = other.open("one").await.expect("keyspace");
    same("another process", &*other, known).await;
}

/// What an etcd does by itself: its leases begin anew when it is started. The driver adds nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_etcd_that_is_killed_keeps_leases_and_keys() {
    let Some(mut real) = RealEtcd::start() else {
        return;
    };
    let options = etcd::Options::new(vec![real.url.clone()], "/here");
    let keyspaces = etcd::Etcd::connect(options).await.expect("connect");
    let store = keyspaces.open("one").await.expect("keyspace");
    let known = running(&*store).await;
    tokio::task::block_in_place(|| real.kill_and_restart());
    answers_again(&*store, known.0).await;
    let found = store.lease(known.0).await.expect("lease");
    assert!(found.remaining <= Duration::from_secs(TTL), "{found:?}");
    assert_eq!((found.granted, found.keys), (TTL, vec!["leased".into()]));
}

//! Copies and moves between drivers: whole, with live writers, interrupted at every step.

use crate::real_etcd::RealEtcd;
use crate::real_postgres::RealPostgres;
use crate::support::{put, put_if, put_leased, put_op};
use freehold_store::embedded::{Embedded, Options};
use freehold_store::fence::{self, Fenced};
use freehold_store::memory::Memory;
use freehold_store::postgres::Postgres;
use freehold_store::transfer::{Place, Report, Step, copy, relocate, undo};
use freehold_store::{Error, Image, Imported, Keyspaces, Op, Result, Store, Txn, etcd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// The datastores that are there, each with an end of its own.
pub(crate) struct Places {
    pub(crate) all: Vec<(&'static str, Arc<dyn Keyspaces>)>,
    _dirs: Vec<tempfile::TempDir>,
    _etcd: Option<RealEtcd>,
    _postgres: Option<RealPostgres>,
}

pub(crate) async fn embedded(dirs: &mut Vec<tempfile::TempDir>) -> Arc<dyn Keyspaces> {
    let dir = tempfile::tempdir().expect("dir");
    let engine = Embedded::open(dir.path(), Options::default()).await;
    dirs.push(dir);
    engine.expect("open")
}

impl Places {
    pub(crate) async fn open() -> Self {
        let mut dirs = Vec::new();
        let mut all: Vec<(&'static str, Arc<dyn Keyspaces>)> = vec![
            ("embedded", embedded(&mut dirs).await),
            ("memory", Memory::new()),
        ];
        let etcd = RealEtcd::start();
        if let Some(real) = &etcd {
            let options = etcd::Options::new(vec![real.url.clone()], "/here");
            all.push(("etcd", etcd::Etcd::connect(options).await.expect("etcd")));
        }
        let postgres = RealPostgres::start();
        if let Some(real) = &postgres {
            let connected = Postgres::connect(real.options()).await;
            all.push(("postgres", connected.expect("postgres")));
        }
        Self {
            all,
            _dirs: dirs,
            _etcd: etcd,
            _postgres: postgres,
        }
    }
}

pub(crate) fn place<'a>(keyspaces: &'a Arc<dyn Keyspaces>, id: &'a str) -> Place<'a> {
    Place {
        keyspaces: &**keyspaces,
        id,
        name: id,
    }
}

/// Keys with a past: changed, deleted, made again, under a lease.
async fn fill(store: &dyn Store) -> i64 {
    for n in 0..250 {
        put(store, &format!("/k{n:03}"), &"v".repeat(n * 7 % 900)).await;
    }
    for n in (0..250).step_by(3) {
        put(store, &format!("/k{n:03}"), "changed").await;
    }
    let then = (0..250).step_by(10).map(|n| Op::Delete {
        key: format!("/k{n:03}").into(),
    });
    let txn = Txn {
        then: then.collect(),
        ..Txn::default()
    };
    store.txn(txn).await.expect("delete");
    put(store, "/k010", "again").await;
    let lease = store.lease_grant(600).await.expect("lease");
    put_leased(store, "/leased", lease).await.expect("put");
    lease
}

/// What a target must be like after a transfer that reported this.
async fn check(name: &str, report: Report, before: &Image, target: &dyn Store) {
    let after = Image::take(target).await.expect("image");
    let exactly = report.imported == Imported::Exactly;
    assert_eq!(after.hash(false), before.hash(false), "{name}");
    assert!(before.same_ends(&after), "{name}: leases");
    assert_eq!(after.kvs.len() as u64, report.keys, "{name}");
    assert!(after.rev >= before.rev, "{name}: the revision went down");
    if exactly {
        assert_eq!(after.kvs, before.kvs, "{name}");
        assert_eq!(after.rev, report.rev, "{name}");
    }
    let leased = after.kvs.iter().find(|kv| kv.lease != 0).expect("leased");
    let lease = target.lease(leased.lease).await.expect("its lease");
    assert!(lease.remaining > Duration::from_secs(500), "{name}");
    // It goes on being used, at higher revisions.
    let rev = put(target, "/next", "1").await;
    assert!(rev > before.rev, "{name}");
    target.lease_revoke(leased.lease).await.expect("revoke");
    let left = Image::take(target).await.expect("image");
    assert!(left.kvs.iter().all(|kv| kv.lease == 0), "{name}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_keyspace_is_copied_between_any_two_drivers() {
    let places = Places::open().await;
    for (from_name, from) in &places.all {
        let source = from.open("source").await.expect("source");
        let lease = fill(&*source).await;
        for (to_name, to) in &places.all {
            let name = format!("{from_name} to {to_name}");
            let id = format!("from-{from_name}");
            let before = Image::take(&*source).await.expect("image");
            let report = copy(place(from, "source"), place(to, &id)).await;
            let report = report.unwrap_or_else(|error| panic!("{name}: {error}"));
            let exact = matches!(*to_name, "embedded" | "postgres");
            assert_eq!(report.imported == Imported::Exactly, exact, "{name}");
            let target = to.open(&id).await.expect("target");
            check(&name, report, &before, &*target).await;
            // What is there is never overwritten.
            let again = copy(place(from, "source"), place(to, &id)).await;
            assert!(matches!(again, Err(Error::Invalid(_))), "{name}: {again:?}");
        }
        // Ids of leases are free again for the next source.
        source.lease_revoke(lease).await.expect("revoke");
    }
    let (_, from) = &places.all[0];
    let absent = copy(place(from, "absent"), place(from, "target")).await;
    assert!(matches!(absent, Err(Error::Invalid(_))), "{absent:?}");
    assert!(!from.list().await.expect("list").contains(&"absent".into()));
}

fn stop_at(step: Step) -> impl FnMut(Step) -> Result<()> {
    move |now| {
        if now == step {
            Err(Error::Unavailable("interrupted by the test".into()))
        } else {
            Ok(())
        }
    }
}

/// Writes until the fence is up; returns the last number that was acknowledged.
async fn write_until_fenced(store: Arc<dyn Store>, stop: Arc<AtomicBool>) -> u64 {
    let mut last = 0;
    while !stop.load(Ordering::Acquire) {
        let txn = Txn {
            then: vec![put_op("/counter", &(last + 1).to_string())],
            ..Txn::default()
        };
        match store.txn(txn).await {
            Ok(_) => last += 1,
            Err(Error::Fenced(why)) => {
                assert!(why.contains("moved to"), "{why}");
                return last;
            }
            Err(error) => panic!("{error}"),
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    last
}

const STEPS: [Step; 7] = [
    Step::Read,
    Step::Follow,
    Step::Fence,
    Step::Last,
    Step::Import,
    Step::Verify,
    Step::CutOver,
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_move_interrupted_at_every_step_is_finished_by_another_call() {
    let places = Places::open().await;
    let (_, from) = &places.all[0];
    for (to_name, to) in &places.all[1..] {
        for step in STEPS {
            let name = format!("to {to_name}, interrupted at {step:?}");
            let id = format!("{to_name}-{step:?}").to_lowercase();
            let source = from.open(&id).await.expect("source");
            put(&*source, "/first", "1").await;
            let stop = Arc::new(AtomicBool::new(false));
            let writer = tokio::spawn(write_until_fenced(
                Fenced::new(source.clone()),
                stop.clone(),
            ));
            let (here, there) = (place(from, &id), place(to, &id));
            let cut = relocate(here, there, stop_at(step)).await;
            assert!(matches!(cut, Err(Error::Unavailable(_))), "{name}: {cut:?}");
            let report = relocate(here, there, |_| Ok(())).await;
            let report = report.unwrap_or_else(|error| panic!("{name}: {error}"));
            stop.store(true, Ordering::Release);
            let acknowledged = writer.await.expect("writer");
            let target = to.open(&id).await.expect("target");
            let found = crate::support::value(&*target, "/counter").await;
            let found = found.map_or(0, |text| text.parse().expect("a number"));
            assert_eq!(found, acknowledged, "{name}");
            assert!(report.target_rev >= report.rev, "{name}");
            // The source stays closed, and says where the keyspace went; another call changes
            // nothing; there is no way back.
            let said = fence::read(&*source).await.expect("fence");
            assert!(said.expect("a fence").contains("was moved to"), "{name}");
            relocate(here, there, |_| Ok(()))
                .await
                .expect("done already");
            assert!(matches!(undo(here, there).await, Err(Error::Fenced(_))));
            let elsewhere = Place {
                name: "elsewhere",
                ..there
            };
            let other = relocate(here, elsewhere, |_| Ok(())).await;
            assert!(matches!(other, Err(Error::Fenced(_))), "{name}: {other:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_move_interrupted_behind_the_fence_can_be_taken_back() {
    let places = Places::open().await;
    let (_, from) = &places.all[0];
    for (to_name, to) in &places.all[1..] {
        for step in [Step::Last, Step::Import, Step::Verify, Step::CutOver] {
            let name = format!("to {to_name}, interrupted at {step:?}");
            let id = format!("undo-{to_name}-{step:?}").to_lowercase();
            let source = from.open(&id).await.expect("source");
            fill(&*source).await;
            let (here, there) = (place(from, &id), place(to, &id));
            let cut = relocate(here, there, stop_at(step)).await;
            assert!(cut.is_err(), "{name}");
            let tenant = Fenced::new(source.clone());
            let txn = Txn {
                then: vec![put_op("/x", "1")],
                ..Txn::default()
            };
            let refused = tenant.txn(txn.clone()).await;
            assert!(matches!(refused, Err(Error::Fenced(_))), "{name}");
            assert!(matches!(tenant.lease_grant(5).await, Err(Error::Fenced(_))));
            undo(here, there)
                .await
                .unwrap_or_else(|error| panic!("{name}: {error}"));
            assert!(!to.list().await.expect("list").contains(&id), "{name}");
            tenant.txn(txn).await.expect("open again");
            assert!(matches!(undo(here, there).await, Err(Error::Invalid(_))));
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_keyspace_has_the_quota_that_it_was_given_or_the_driver_says_that_it_cannot() {
    let places = Places::open().await;
    for (name, keyspaces) in &places.all {
        let store = keyspaces.open("bounded").await.expect("keyspace");
        let other = keyspaces.open("other").await.expect("keyspace");
        let usual = keyspaces.set_quota("bounded", None, None).expect("usual");
        let quota = match keyspaces.set_quota("bounded", Some(20_000), Some(3)) {
            Ok(quota) => quota,
            Err(error) => {
                assert!(matches!(error, Error::Invalid(_)), "{name}: {error}");
                assert!(matches!(*name, "memory"), "{name}: {error}");
                continue;
            }
        };
        assert_eq!((quota.bytes, quota.keys), (20_000, 3), "{name}");
        for key in ["a", "b", "c"] {
            put(&*store, key, "v").await;
        }
        let refused = put_if(&*store, "d", 0, "v").await;
        assert!(matches!(refused, Err(Error::NoSpace(_))), "{name}");
        put(&*store, "a", "again").await;
        let large = "x".repeat(30_000);
        let refused = put_if(&*store, "a", 0, &large)
            .await
            .map(|done| done.succeeded);
        // The compare fails first, or there is no room: nothing is written either way.
        assert!(
            matches!(refused, Ok(false) | Err(Error::NoSpace(_))),
            "{name}: {refused:?}"
        );
        put(&*other, "a", &large).await;
        let again = keyspaces.set_quota("bounded", None, None);
        assert_eq!(again.expect("usual"), usual, "{name}");
        put(&*store, "d", &large).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tenants_neither_see_nor_use_the_fence() {
    let places = Places::open().await;
    for (name, keyspaces) in &places.all {
        let store = keyspaces.open("fenced").await.expect("store");
        let tenant = Fenced::new(store.clone());
        put(&*tenant, "/a", "1").await;
        let mut watch = crate::support::watch_all(&*tenant, 0).await;
        fence::set(&*store, None, Some("closed"))
            .await
            .expect("fence");
        let twice = fence::set(&*store, None, Some("closed")).await;
        assert_eq!(twice, Err(Error::Fenced("closed".into())), "{name}");
        let all = crate::support::all(&*tenant, 0).await.expect("range");
        assert_eq!((all.count, all.kvs.len()), (1, 1), "{name}");
        assert!(
            crate::support::get(&*tenant, "\0").await.is_none(),
            "{name}"
        );
        let own = Txn {
            then: vec![Op::Delete { key: "\0".into() }],
            ..Txn::default()
        };
        assert!(matches!(tenant.txn(own).await, Err(Error::Invalid(_))));
        let everything = Txn {
            then: vec![Op::DeleteRange {
                lo: "\0".into(),
                hi: "\0".into(),
            }],
            ..Txn::default()
        };
        let refused = tenant.txn(everything.clone()).await;
        assert_eq!(refused.map(|_| ()), Err(Error::Fenced("closed".into())));
        fence::set(&*store, Some("closed"), None)
            .await
            .expect("lift");
        tenant.txn(everything).await.expect("open");
        // All that its watch has seen are its own changes.
        let (_, events) = crate::support::next_events(&mut watch)
            .await
            .expect("events");
        assert_eq!(events[0].kv.key, "/a", "{name}");
        assert!(events[0].deleted, "{name}");
    }
}

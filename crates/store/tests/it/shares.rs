//! Each keyspace its share: limits of its own, watchers, leases while it sleeps, and numbers.

use crate::support::{next, put, put_leased, put_op, until, value, watch_all};
use freehold_store::embedded::{Embedded, Limits, Options};
use freehold_store::{Error, Keyspaces, Store, Txn, WatchItem};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

async fn open(dir: &Path) -> Arc<Embedded> {
    let options = Options::default();
    Embedded::open(dir, options).await.expect("open")
}

async fn try_put(store: &dyn Store, key: &str, text: &str) -> Result<(), Error> {
    let txn = Txn {
        then: vec![put_op(key, text)],
        ..Txn::default()
    };
    store.txn(txn).await.map(|_| ())
}

#[tokio::test]
async fn a_keyspace_can_have_limits_of_its_own() {
    let dir = tempfile::tempdir().expect("dir");
    let engine = open(dir.path()).await;
    let (small, other) = (engine.open("small").await, engine.open("other").await);
    let (small, other) = (small.expect("keyspace"), other.expect("keyspace"));
    let limits = Limits {
        keys: 2,
        watchers: 1,
        ..Limits::default()
    };
    engine.limit("small", limits).expect("limit");
    assert!(matches!(
        engine.limit("unknown", limits),
        Err(Error::Invalid(_))
    ));
    for n in 0..2 {
        put(&*small, &format!("k{n}"), "v").await;
    }
    let refused = try_put(&*small, "k2", "v").await;
    assert_eq!(
        refused,
        Err(Error::NoSpace("2 of 2 keys are stored".into()))
    );
    let watch = watch_all(&*small, 0).await;
    let second = small.watch(freehold_store::Watch::default());
    assert!(
        matches!(second.await.err(), Some(Error::Invalid(_))),
        "an empty key"
    );
    let everything = freehold_store::Watch {
        lo: "a".into(),
        ..Default::default()
    };
    let refused = small.watch(everything.clone()).await.err();
    assert!(matches!(refused, Some(Error::Throttled(_))), "{refused:?}");
    drop(watch);
    drop(small.watch(everything).await.expect("there is room again"));
    for n in 0..5 {
        put(&*other, &format!("k{n}"), "v").await;
    }
    let metrics = engine.metrics();
    let of = |id: &str| metrics.awake.iter().find(|k| k.id == id).expect("awake");
    assert_eq!((of("small").keys, of("small").quota_keys), (2, 2));
    assert_eq!((of("small").no_space, of("other").no_space), (1, 0));
    assert_eq!(of("other").commits.iter().sum::<u64>(), 5);
    let text = metrics.text();
    for line in [
        "freehold_store_keyspaces_awake 2",
        "freehold_store_keys{keyspace=\"other\"} 5",
        "freehold_store_no_space_total{keyspace=\"small\"} 1",
        "freehold_store_commit_seconds_count{keyspace=\"other\"} 5",
        "freehold_store_commit_seconds_bucket{keyspace=\"other\",le=\"+Inf\"} 5",
    ] {
        assert!(text.lines().any(|l| l == line), "{line} is not in\n{text}");
    }
}

#[tokio::test]
async fn of_watchers_that_together_hold_too_much_the_furthest_behind_is_cut_off() {
    let dir = tempfile::tempdir().expect("dir");
    let engine = open(dir.path()).await;
    let store = engine.open("one").await.expect("keyspace");
    let limits = Limits {
        unsent_bytes: 100_000,
        ..Limits::default()
    };
    engine.limit("one", limits).expect("limit");
    let mut slow = watch_all(&*store, 0).await;
    let mut quick = watch_all(&*store, 0).await;
    for stream in [&mut slow, &mut quick] {
        assert!(matches!(
            next(stream).await,
            Some(Ok(WatchItem::Progress { .. }))
        ));
    }
    for n in 0..40 {
        put(&*store, "k", &format!("{n} {}", "x".repeat(5000))).await;
        let item = next(&mut quick).await;
        assert!(
            matches!(item, Some(Ok(WatchItem::Events { .. }))),
            "{item:?}"
        );
    }
    assert_eq!(next(&mut slow).await, Some(Err(Error::SlowWatcher)));
    assert_eq!(engine.metrics().awake[0].cut_off, 1);
    drop(slow);
    drop(quick);
    assert_eq!(engine.metrics().awake[0].unsent_bytes, 0);
}

async fn leased(store: &dyn Store, ttl: u64) {
    let lease = store.lease_grant(ttl).await.expect("lease");
    put_leased(store, "leased", lease).await.expect("put");
}

async fn wakes_and_sleeps_again(engine: &Arc<Embedded>) {
    let awake = || async { engine.metrics().awake.len() == 1 };
    until("the deadline wakes it", awake).await;
    let asleep = || async { engine.metrics().awake.is_empty() };
    until("and it sleeps again", asleep).await;
    let store = engine.open("one").await.expect("keyspace");
    assert_eq!(value(&*store, "leased").await, None);
    assert_eq!(value(&*store, "stays").await.as_deref(), Some("v"));
}

#[tokio::test]
async fn a_lease_ends_in_time_while_its_keyspace_sleeps_also_over_a_restart() {
    let dir = tempfile::tempdir().expect("dir");
    let engine = open(dir.path()).await;
    let store = engine.open("one").await.expect("keyspace");
    put(&*store, "stays", "v").await;
    leased(&*store, 1).await;
    engine.sleep("one").await.expect("sleep");
    wakes_and_sleeps_again(&engine).await;
    leased(&*store, 2).await;
    engine.sleep("one").await.expect("sleep");
    drop(store);
    drop(engine);
    let engine = open(dir.path()).await;
    wakes_and_sleeps_again(&engine).await;
    // Not asleep when the process ended: only the log knows of this one.
    let store = engine.open("one").await.expect("keyspace");
    leased(&*store, 2).await;
    drop(store);
    drop(engine);
    let engine = open(dir.path()).await;
    let ended = std::time::Instant::now() + Duration::from_secs(2);
    let awake = || async { engine.metrics().awake.len() == 1 };
    until("somebody looks what the log says of it", awake).await;
    until("it sleeps when the lease is over", || async {
        engine.metrics().awake.is_empty() && std::time::Instant::now() > ended
    })
    .await;
    let store = engine.open("one").await.expect("keyspace");
    assert_eq!(value(&*store, "leased").await, None);
}

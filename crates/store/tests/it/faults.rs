//! Bad days: failing and full disks, quotas, queues, watchers that do not read.

use crate::random::Random;
use crate::sim_disk::{Fault, SimDisk};
use crate::support::{
    all, delete, next, put, put_if, put_leased, put_until_full, until, value, watch_all,
};
use freehold_store::embedded::{Embedded, Limits, Options};
use freehold_store::{Error, Keyspaces, WatchItem};
use std::sync::Arc;

fn on(disk: &SimDisk) -> Options {
    Options {
        disk: Arc::new(disk.clone()),
        ..Options::default()
    }
}

#[tokio::test]
async fn a_failed_fsync_or_write_ends_all_writing_and_is_never_a_success() {
    for short in [false, true] {
        let dir = tempfile::tempdir().expect("dir");
        let disk = SimDisk::default();
        let engine = Embedded::open(dir.path(), on(&disk)).await.expect("open");
        let store = engine.open("one").await.expect("keyspace");
        put(&*store, "a", "1").await;
        if short {
            disk.stop_next_write_half_way();
        } else {
            disk.fail_next_sync();
        }
        let mut watch = watch_all(&*store, 0).await;
        assert!(matches!(
            next(&mut watch).await,
            Some(Ok(WatchItem::Progress { rev: 2 }))
        ));
        let failed = put_if(&*store, "a", 2, "2").await;
        assert!(
            matches!(&failed, Err(Error::Unavailable(text)) if text.contains("no further write"))
        );
        assert!(matches!(
            put_if(&*store, "b", 0, "x").await,
            Err(Error::Unavailable(_))
        ));
        assert!(matches!(
            engine.open("new").await,
            Err(Error::Unavailable(_))
        ));
        assert_eq!(
            value(&*store, "a").await.as_deref(),
            Some("1"),
            "nobody sees what failed"
        );
        assert_eq!(store.head().await.expect("head").rev, 2);
        store.progress().await.expect("progress");
        assert_eq!(
            next(&mut watch).await,
            Some(Ok(WatchItem::Progress { rev: 2 }))
        );
        engine.close();
        let disk = disk.after_power_cut(&mut Random::new(7));
        let engine = Embedded::open(dir.path(), on(&disk))
            .await
            .expect("open again");
        let store = engine.open("one").await.expect("keyspace");
        let now = value(&*store, "a").await;
        assert!(matches!(now.as_deref(), Some("1" | "2")), "{now:?}");
        put(&*store, "b", "x").await;
    }
}

#[tokio::test]
async fn what_a_failed_flush_left_is_on_the_disk_before_it_counts_after_a_restart() {
    for seed in 0..8 {
        let dir = tempfile::tempdir().expect("dir");
        let disk = SimDisk::default();
        let engine = Embedded::open(dir.path(), on(&disk)).await.expect("open");
        let store = engine.open("one").await.expect("keyspace");
        put(&*store, "a", "1").await;
        disk.plan(Fault::Sync, 0);
        let failed = put_if(&*store, "a", 2, "2").await;
        assert!(matches!(failed, Err(Error::Unavailable(_))), "{failed:?}");
        engine.close();
        // The process is started again, and the system still has what it could not write.
        let disk = disk.after_kill();
        let engine = Embedded::open(dir.path(), on(&disk)).await.expect("open");
        let store = engine.open("one").await.expect("keyspace");
        assert_eq!(value(&*store, "a").await.as_deref(), Some("2"));
        put(&*store, "b", "3").await;
        engine.close();
        let disk = disk.after_power_cut(&mut Random::new(seed));
        let engine = Embedded::open(dir.path(), on(&disk)).await;
        let store = engine.expect("open").open("one").await.expect("keyspace");
        assert_eq!(value(&*store, "a").await.as_deref(), Some("2"));
        assert_eq!(value(&*store, "b").await.as_deref(), Some("3"));
    }
}

#[tokio::test]
async fn on_a_full_disk_reads_deletions_and_compaction_still_work() {
    let dir = tempfile::tempdir().expect("dir");
    let disk = SimDisk::default();
    let engine = Embedded::open(dir.path(), on(&disk)).await.expect("open");
    let store = engine.open("one").await.expect("keyspace");
    disk.full(true);
    let n = put_until_full(&*store, "k", 100 << 10, 100).await;
    assert!(matches!(
        store.lease_grant(10).await,
        Err(Error::NoSpace(_))
    ));
    delete(&*store, "k000").await;
    let rev = store.head().await.expect("head").rev;
    store.compact(rev).await.expect("compact");
    assert_eq!(all(&*store, 0).await.expect("reads").count, n.max(1) - 1);
    disk.full(false);
    put(&*store, "again", "v").await;
}

#[tokio::test]
async fn a_quota_stops_puts_of_one_keyspace_only() {
    let dir = tempfile::tempdir().expect("dir");
    let options = Options {
        limits: Limits {
            bytes: 10_000,
            keys: 5,
            ..Limits::default()
        },
        ..Options::default()
    };
    let engine = Embedded::open(dir.path(), options).await.expect("open");
    let store = engine.open("one").await.expect("keyspace");
    for n in 0..5 {
        put(&*store, &format!("k{n}"), "v").await;
    }
    let refused = put_if(&*store, "k5", 0, "v").await;
    assert_eq!(
        refused,
        Err(Error::NoSpace("5 of 5 keys are stored".into()))
    );
    put(&*store, "k4", "known keys may change").await;
    delete(&*store, "k0").await;
    put(&*store, "k5", "v").await;
    for _ in 0..4 {
        put(&*store, "k4", &"x".repeat(2000)).await;
    }
    let refused = put_if(&*store, "k4", 0, "v")
        .await
        .map(|reply| reply.succeeded);
    assert_eq!(
        refused,
        Ok(false),
        "a transaction that does not put is not refused"
    );
    let current = freehold_store::Txn {
        then: vec![crate::support::put_op("k4", &"x".repeat(2000))],
        ..Default::default()
    };
    assert!(matches!(
        store.txn(current.clone()).await,
        Err(Error::NoSpace(_))
    ));
    let other = engine.open("two").await.expect("keyspace");
    put(&*other, "k", &"x".repeat(5000)).await;
    let rev = store.head().await.expect("head").rev;
    store.compact(rev).await.expect("compact");
    until("compaction frees space", || async {
        store.txn(current.clone()).await.is_ok()
    })
    .await;
}

#[tokio::test]
async fn a_watcher_that_does_not_read_is_cut_off_and_costs_nobody_else_anything() {
    let dir = tempfile::tempdir().expect("dir");
    let options = Options {
        watch_commits: 10,
        ..Options::default()
    };
    let engine = Embedded::open(dir.path(), options).await.expect("open");
    let store = engine.open("one").await.expect("keyspace");
    let mut slow = watch_all(&*store, 0).await;
    let mut quick = watch_all(&*store, 0).await;
    for stream in [&mut slow, &mut quick] {
        assert!(matches!(
            next(stream).await,
            Some(Ok(WatchItem::Progress { .. }))
        ));
    }
    for n in 0..30 {
        let rev = put(&*store, "k", &n.to_string()).await;
        let item = next(&mut quick).await.expect("item").expect("item");
        assert!(matches!(item, WatchItem::Events { rev: at, .. } if at == rev));
    }
    assert_eq!(next(&mut slow).await, Some(Err(Error::SlowWatcher)));
    assert_eq!(next(&mut slow).await, None);
}

#[tokio::test]
async fn history_ends_by_itself_and_what_is_alive_stays() {
    let dir = tempfile::tempdir().expect("dir");
    let history = std::time::Duration::from_millis(200);
    let options = Options {
        history,
        ..Options::default()
    };
    let engine = Embedded::open(dir.path(), options).await.expect("open");
    let store = engine.open("one").await.expect("keyspace");
    for n in 0..50 {
        put(&*store, "k", &n.to_string()).await;
    }
    let rev = store.head().await.expect("head").rev;
    until("history is compacted", || async {
        store.head().await.expect("head").compact_rev == rev
    })
    .await;
    until("and forgotten", || async {
        store.head().await.expect("head").bytes < 100
    })
    .await;
    assert_eq!(value(&*store, "k").await.as_deref(), Some("49"));
}

#[tokio::test]
async fn a_lease_ends_in_time_also_over_a_restart() {
    let dir = tempfile::tempdir().expect("dir");
    let engine = Embedded::open(dir.path(), Options::default())
        .await
        .expect("open");
    let store = engine.open("one").await.expect("keyspace");
    let lease = store.lease_grant(1).await.expect("lease");
    put_leased(&*store, "k", lease).await.expect("put");
    drop(store);
    drop(engine);
    let engine = Embedded::open(dir.path(), Options::default())
        .await
        .expect("open");
    let store = engine.open("one").await.expect("keyspace");
    assert_eq!(value(&*store, "k").await.as_deref(), Some("v"));
    until("the lease ends", || async {
        value(&*store, "k").await.is_none()
    })
    .await;
}

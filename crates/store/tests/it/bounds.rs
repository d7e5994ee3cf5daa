//! Bounds of a keyspace that nothing else reaches: history, what waits for a watcher, leases,
//! nested transactions.

use crate::support::{all, next, put, until, watch_all};
use freehold_store::embedded::{Embedded, Options};
use freehold_store::memory::Memory;
use freehold_store::{
    Error, Image, Keyspaces, LeaseImage, Op, Store, Txn, WatchItem, WatchStream, limits,
};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

async fn open(dir: &Path, options: Options) -> Arc<Embedded> {
    Embedded::open(dir, options).await.expect("open")
}

#[tokio::test]
async fn history_that_takes_too_much_is_forgotten_from_its_beginning() {
    let dir = tempfile::tempdir().expect("dir");
    let options = Options {
        history: Duration::ZERO,
        history_bytes: 200_000,
        ..Options::default()
    };
    let engine = open(dir.path(), options).await;
    let (one, other) = (engine.open("one").await, engine.open("other").await);
    let (one, other) = (one.expect("keyspace"), other.expect("keyspace"));
    // So much of it is kept.
    for store in [&one, &other] {
        for _ in 0..15 {
            put(&**store, "k", &"x".repeat(10_000)).await;
        }
    }
    tokio::time::sleep(Duration::from_millis(300)).await;
    for store in [&one, &other] {
        assert_eq!(store.head().await.expect("head").compact_rev, 0);
        assert_eq!(all(&**store, 2).await.expect("the first").kvs.len(), 1);
    }
    let mut last = 0;
    for _ in 0..50 {
        last = put(&*one, "k", &"x".repeat(10_000)).await;
    }
    until("it takes little again", || async {
        one.head().await.expect("head").bytes < 250_000
    })
    .await;
    let head = one.head().await.expect("head");
    assert!(head.compact_rev > 2 && head.compact_rev < last, "{head:?}");
    let gone = all(&*one, 2).await;
    assert_eq!(gone, Err(Error::Compacted(head.compact_rev)));
    all(&*one, last).await.expect("the newest is there");
    assert_eq!(other.head().await.expect("head").compact_rev, 0);
}

async fn live(store: &dyn Store) -> WatchStream {
    let mut stream = watch_all(store, 0).await;
    let first = next(&mut stream).await;
    assert!(matches!(first, Some(Ok(WatchItem::Progress { .. }))));
    stream
}

#[tokio::test]
async fn a_watcher_is_cut_off_behind_so_many_bytes_and_nobody_else_is() {
    let dir = tempfile::tempdir().expect("dir");
    let options = Options {
        watch_bytes: 50_000,
        ..Options::default()
    };
    let engine = open(dir.path(), options).await;
    let (one, other) = (engine.open("one").await, engine.open("other").await);
    let (one, other) = (one.expect("keyspace"), other.expect("keyspace"));
    let (mut slow, mut behind) = (live(&*one).await, live(&*one).await);
    let (mut quick, mut elsewhere) = (live(&*one).await, live(&*other).await);
    for n in 0..20 {
        put(&*one, "k", &"x".repeat(5_000)).await;
        put(&*other, "k", "v").await;
        let item = next(&mut quick).await;
        assert!(
            matches!(item, Some(Ok(WatchItem::Events { .. }))),
            "{item:?}"
        );
        // This one is never further behind than that.
        if n >= 8 {
            let item = next(&mut behind).await;
            assert!(
                matches!(item, Some(Ok(WatchItem::Events { .. }))),
                "{item:?}"
            );
        }
    }
    assert_eq!(next(&mut slow).await, Some(Err(Error::SlowWatcher)));
    assert_eq!(next(&mut slow).await, None);
    for _ in 0..8 {
        let item = next(&mut behind).await;
        assert!(
            matches!(item, Some(Ok(WatchItem::Events { .. }))),
            "{item:?}"
        );
    }
    for _ in 0..20 {
        let item = next(&mut elsewhere).await;
        assert!(
            matches!(item, Some(Ok(WatchItem::Events { .. }))),
            "{item:?}"
        );
    }
    let metrics = engine.metrics();
    let of = |id: &str| metrics.awake.iter().find(|k| k.id == id).expect("awake");
    assert_eq!((of("one").cut_off, of("other").cut_off), (1, 0));
    // It may begin anew.
    let mut again = watch_all(&*one, 2).await;
    let item = next(&mut again).await;
    assert!(
        matches!(item, Some(Ok(WatchItem::Events { rev: 2, .. }))),
        "{item:?}"
    );
}

/// As many as a keyspace may have.
const LEASES: i64 = 100_000;

#[tokio::test]
async fn a_keyspace_has_so_many_leases_and_no_more() {
    let dir = tempfile::tempdir().expect("dir");
    let engine = open(dir.path(), Options::default()).await;
    let leases = (1..LEASES).map(|id| LeaseImage {
        id,
        granted: 3600,
        remaining: Duration::from_secs(3600),
    });
    let image = Image {
        rev: 2,
        kvs: Vec::new(),
        leases: leases.collect(),
    };
    engine.import("many", &image).await.expect("all but one");
    let store = engine.open("many").await.expect("keyspace");
    store.lease_grant_as(LEASES, 60).await.expect("the last");
    let full = Err(Error::NoSpace(format!(
        "a keyspace may have {LEASES} leases"
    )));
    assert_eq!(store.lease_grant(60).await, full);
    assert_eq!(store.lease_grant_as(LEASES + 1, 60).await, full.map(|_| ()));
    assert_eq!(store.leases().await.expect("leases").len(), 100_000);
    // Others may have theirs, and one that ends makes room.
    let other = engine.open("other").await.expect("keyspace");
    other.lease_grant(60).await.expect("of another keyspace");
    store
        .lease_renew(7)
        .await
        .expect("those that there are go on");
    store.lease_revoke(7).await.expect("revoked");
    store.lease_grant(60).await.expect("there is room again");
}

/// A transaction inside so many others.
fn nested(depth: usize) -> Txn {
    let put = Op::Put {
        key: "deep".into(),
        value: "v".into(),
        lease: 0,
    };
    let within = |op: Op| Txn {
        then: vec![op],
        ..Txn::default()
    };
    (0..depth).fold(within(put), |inner, _| within(Op::Txn(Box::new(inner))))
}

#[tokio::test]
async fn transactions_nest_so_deep_and_no_deeper() {
    assert_eq!(limits::MAX_DEPTH, 32);
    let dir = tempfile::tempdir().expect("dir");
    let engine = open(dir.path(), Options::default()).await;
    let all: [Arc<dyn Keyspaces>; 2] = [engine, Memory::new()];
    for keyspaces in all {
        let store = keyspaces.open("one").await.expect("keyspace");
        for depth in [33, 34, 1000] {
            let refused = store.txn(nested(depth)).await;
            let text = "transactions may nest 32 deep".to_owned();
            assert_eq!(refused, Err(Error::TooLarge(text)), "{depth}");
        }
        assert_eq!(store.head().await.expect("head").rev, 1);
        let done = store.txn(nested(32)).await.expect("as deep as may be");
        assert_eq!((done.succeeded, done.rev), (true, 2));
    }
}

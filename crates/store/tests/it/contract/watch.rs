//! Watches: ordered, unique, atomic, reliable, resumable, filtered, with previous values.

use super::Fixture;
use crate::support::{all, delete, everything, next, next_events, put, put_op, watch_all};
use bytes::Bytes;
use freehold_store::{Error, Event, Op, Store, Txn, Watch, WatchItem, WatchStream};
use std::sync::Arc;
use std::time::Duration;

/// Writes a mix of puts, deletions and larger transactions; returns the revisions.
async fn write_some(store: &dyn Store, count: u32) -> Vec<u64> {
    let mut revs = Vec::new();
    for n in 0..count {
        let key = format!("k{:02}", n * 7 % 20);
        revs.push(match n % 4 {
            0 | 1 => put(store, &key, &n.to_string()).await,
            2 => {
                let then = (0..5)
                    .map(|m| put_op(&format!("k{:02}", (n + m) % 20), "t"))
                    .collect();
                store
                    .txn(Txn {
                        then,
                        ..Txn::default()
                    })
                    .await
                    .expect("txn")
                    .rev
            }
            _ => {
                let range = Op::DeleteRange {
                    lo: "k05".into(),
                    hi: "k08".into(),
                };
                let then = vec![range, put_op("k09", &n.to_string())];
                store
                    .txn(Txn {
                        then,
                        ..Txn::default()
                    })
                    .await
                    .expect("txn")
                    .rev
            }
        });
    }
    revs
}

async fn collect(stream: &mut WatchStream, last: u64) -> Vec<(u64, Vec<Event>)> {
    let mut found = Vec::new();
    while found.last().is_none_or(|(rev, _)| *rev < last) {
        found.push(next_events(stream).await.expect("events"));
    }
    found
}

/// What must hold of any list of events: checked against the store's own old revisions.
async fn check(store: &dyn Store, found: &[(u64, Vec<Event>)], revs: &[u64]) {
    let seen: Vec<_> = found.iter().map(|(rev, _)| *rev).collect();
    assert_eq!(seen, revs, "every revision once, in order, whole");
    for (rev, events) in found {
        let before = store.range(everything(rev - 1)).await.expect("before").kvs;
        let after = store.range(everything(*rev)).await.expect("after").kvs;
        let mut replayed: std::collections::BTreeMap<_, _> = before
            .iter()
            .map(|kv| (kv.key.clone(), kv.clone()))
            .collect();
        for event in events {
            assert_eq!(event.kv.mod_rev, *rev);
            assert_eq!(
                event.prev,
                before.iter().find(|kv| kv.key == event.kv.key).cloned()
            );
            if event.deleted {
                assert!(event.kv.value.is_empty());
                assert!(replayed.remove(&event.kv.key).is_some());
            } else {
                assert_eq!(
                    event.prev.is_none(),
                    event.kv.create_rev == *rev,
                    "creation shows"
                );
                replayed.insert(event.kv.key.clone(), event.kv.clone());
            }
        }
        assert_eq!(
            replayed.into_values().collect::<Vec<_>>(),
            after,
            "at {rev}"
        );
    }
}

pub(super) async fn every_change_arrives_once_in_order_and_whole(fixture: Fixture) {
    let store = fixture.fresh().await;
    put(&*store, "k05", "start").await;
    let mut stream = watch_all(&*store, 0).await;
    let writer = tokio::spawn({
        let store = store.clone();
        async move { write_some(&*store, 60).await }
    });
    let revs = writer.await.expect("writer");
    let found = collect(&mut stream, *revs.last().expect("some")).await;
    check(&*store, &found, &revs).await;
}

pub(super) async fn a_watch_resumes_from_any_revision(fixture: Fixture) {
    let store = fixture.fresh().await;
    let revs = write_some(&*store, 24).await;
    let last = *revs.last().expect("some");
    let whole = collect(&mut watch_all(&*store, revs[0]).await, last).await;
    check(&*store, &whole[1..], &revs[1..]).await;
    for (n, rev) in revs.iter().enumerate() {
        let found = collect(&mut watch_all(&*store, *rev).await, last).await;
        assert_eq!(found, whole[n..], "from {rev}");
    }
}

pub(super) async fn a_watch_delivers_only_its_range(fixture: Fixture) {
    let store = fixture.fresh().await;
    let first = put(&*store, "a", "1").await;
    for (lo, hi, names) in [
        ("b", "", vec!["b"]),
        ("b", "d", vec!["b", "c"]),
        ("c", "\0", vec!["c", "d", "end"]),
    ] {
        let watch = Watch {
            lo: lo.into(),
            hi: hi.into(),
            start_rev: first,
            prev_kv: false,
        };
        let mut stream = store.watch(watch).await.expect("watch");
        let then = ["a", "b", "c", "d"].map(|name| put_op(name, "v")).to_vec();
        let rev = store
            .txn(Txn {
                then,
                ..Txn::default()
            })
            .await
            .expect("txn")
            .rev;
        put(&*store, "end", "v").await;
        let mut found = Vec::new();
        while found.len() < names.len() {
            let (at, events) = next_events(&mut stream).await.expect("events");
            if at >= rev {
                found.extend(events.iter().map(|event| event.kv.key.clone()));
                assert!(
                    events.iter().all(|event| event.prev.is_none()),
                    "not asked for"
                );
            }
        }
        assert_eq!(found, names);
    }
}

pub(super) async fn previous_values_come_when_asked_for(fixture: Fixture) {
    let store = fixture.fresh().await;
    let mut stream = watch_all(&*store, 0).await;
    put(&*store, "a", "1").await;
    put(&*store, "a", "2").await;
    delete(&*store, "a").await;
    let mut previous = Vec::new();
    for _ in 0..3 {
        let (_, events) = next_events(&mut stream).await.expect("events");
        previous.push(events[0].prev.as_ref().map(|kv| kv.value.clone()));
    }
    assert_eq!(previous, [None, Some("1".into()), Some("2".into())]);
}

/// etcd #17529: also one that began in time and is behind gets everything or is told.
pub(super) async fn a_compacted_start_is_said_and_ends_the_stream(fixture: Fixture) {
    let store = fixture.fresh().await;
    let first = put(&*store, "a", "1").await;
    let second = put(&*store, "a", "2").await;
    let third = put(&*store, "a", "3").await;
    store.compact(second).await.expect("compact");
    let mut stream = watch_all(&*store, first).await;
    assert_eq!(
        next(&mut stream).await,
        Some(Ok(WatchItem::Compacted { rev: second }))
    );
    assert_eq!(next(&mut stream).await, None);
    let mut starved = watch_all(&*store, second).await;
    let mut revs = vec![second, third];
    revs.extend(write_some(&*store, 600).await);
    let last = *revs.last().expect("some");
    store.compact(last).await.expect("compact");
    put(&*store, "a", "behind it").await;
    let mut expected = revs.into_iter();
    loop {
        match next(&mut starved).await.expect("item").expect("item") {
            WatchItem::Events { rev, .. } => {
                assert_eq!(expected.next(), Some(rev), "nothing is left out");
                if rev == last {
                    break;
                }
            }
            WatchItem::Progress { rev } => assert!(rev < last, "events are missing"),
            WatchItem::Compacted { rev } => break assert_eq!(rev, last),
        }
    }
}

/// etcd #18089 (an event lost by compacting at a deletion) and #19179 (by watching from there).
pub(super) async fn a_deletion_at_the_compact_revision_is_still_delivered(fixture: Fixture) {
    let store = fixture.fresh().await;
    put(&*store, "a", "1").await;
    let deleted = delete(&*store, "a").await.rev;
    let later = put(&*store, "b", "1").await;
    store.compact(deleted).await.expect("compact");
    let mut stream = watch_all(&*store, deleted).await;
    let (rev, events) = next_events(&mut stream).await.expect("the deletion");
    assert_eq!((rev, events.len(), events[0].deleted), (deleted, 1, true));
    assert_eq!(events[0].prev, None, "what was before is compacted");
    assert_eq!(next_events(&mut stream).await.expect("events").0, later);
    store.compact(later).await.expect("compact");
    let mut stream = watch_all(&*store, later).await;
    assert_eq!(
        next_events(&mut stream).await.expect("events").1[0].kv.key,
        "b"
    );
}

/// etcd #15220: also while others write.
pub(super) async fn progress_follows_everything_before_it(fixture: Fixture) {
    let store = fixture.fresh().await;
    let first = put(&*store, "a", "1").await;
    let other = Watch {
        lo: "other".into(),
        start_rev: first,
        ..Watch::default()
    };
    let mut quiet = store.watch(other).await.expect("watch");
    let mut stream = watch_all(&*store, first).await;
    for stream in [&mut quiet, &mut stream] {
        loop {
            if let WatchItem::Progress { rev } = next(stream).await.expect("item").expect("item") {
                assert!(rev >= first);
                break;
            }
        }
    }
    let last = put(&*store, "a", "2").await;
    store.progress().await.expect("progress");
    loop {
        // A mark from before may still be on its way.
        match next(&mut quiet).await.expect("item").expect("item") {
            WatchItem::Progress { rev } if rev >= last => break,
            WatchItem::Progress { .. } => {}
            other => panic!("{other:?}"),
        }
    }
    let mut seen = 0;
    loop {
        match next(&mut stream).await.expect("item").expect("item") {
            WatchItem::Events { rev, .. } => seen = rev,
            WatchItem::Progress { rev } if rev >= last => break assert_eq!(seen, last),
            WatchItem::Progress { .. } => {}
            WatchItem::Compacted { .. } => panic!("nothing was compacted"),
        }
    }
    progress_beside_a_writer(store, stream, seen).await;
}

async fn progress_beside_a_writer(store: Arc<dyn Store>, mut stream: WatchStream, seen: u64) {
    let writer = tokio::spawn({
        let store = store.clone();
        async move {
            for n in 0..200 {
                put(&*store, "a", &n.to_string()).await;
            }
        }
    });
    let asking = tokio::spawn({
        let store = store.clone();
        async move {
            loop {
                store.progress().await.expect("progress");
                tokio::time::sleep(std::time::Duration::from_millis(1)).await;
            }
        }
    });
    let (mut told, mut events) = (seen, 0);
    while events < 200 {
        match next(&mut stream).await.expect("item").expect("item") {
            WatchItem::Events { rev, .. } => {
                assert!(
                    rev > told,
                    "{rev} comes behind what says that all is there up to {told}"
                );
                events += 1;
            }
            WatchItem::Progress { rev } => told = told.max(rev),
            WatchItem::Compacted { .. } => panic!("nothing was compacted"),
        }
    }
    asking.abort();
    writer.await.expect("writer");
}

/// etcd #20418: nothing older is delivered to it.
pub(super) async fn a_start_in_the_future_is_waited_for(fixture: Fixture) {
    let store = fixture.fresh().await;
    let rev = put(&*store, "a", "1").await;
    let mut stream = watch_all(&*store, rev + 3).await;
    let mut last = rev;
    while last < rev + 3 {
        last = put(&*store, "a", "again").await;
    }
    assert_eq!(next_events(&mut stream).await.expect("events").0, last);
}

pub(super) async fn a_watch_from_now_sees_nothing_older(fixture: Fixture) {
    let store = fixture.fresh().await;
    put(&*store, "a", "1").await;
    let mut stream = watch_all(&*store, 0).await;
    let first = next(&mut stream).await.expect("item").expect("item");
    assert!(
        matches!(first, WatchItem::Progress { .. }),
        "it is told that it is up to date"
    );
    let rev = put(&*store, "b", "1").await;
    assert_eq!(next_events(&mut stream).await.expect("events").0, rev);
}

pub(super) async fn many_watchers_see_the_same(fixture: Fixture) {
    let store = fixture.fresh().await;
    let first = put(&*store, "k00", "0").await;
    let mut tasks = Vec::new();
    for n in 0..20 {
        let start_rev = if n % 2 == 0 { first } else { 0 };
        let watch = Watch {
            lo: "k".into(),
            hi: Bytes::from_static(b"l"),
            start_rev,
            prev_kv: true,
        };
        let mut stream = store.watch(watch).await.expect("watch");
        tasks.push(tokio::spawn(async move {
            let mut found = Vec::new();
            loop {
                let (rev, events) = next_events(&mut stream).await.expect("events");
                let end = events.iter().any(|event| event.kv.key == "kend");
                found.extend((rev > first).then_some((rev, events)));
                if end {
                    return found;
                }
            }
        }));
    }
    write_some(&*store, 40).await;
    put(&*store, "kend", "v").await;
    let mut all = Vec::new();
    for task in tasks {
        all.push(task.await.expect("watcher"));
    }
    assert_eq!(all[0].len(), 41);
    assert!(all.iter().all(|found| *found == all[0]));
}

/// Watchers of one keyspace that nobody reads, while much happens: other watchers of the keyspace
/// and all other keyspaces go on. Whoever reads then gets everything, or is told that it was cut
/// off.
pub(super) async fn a_slow_watcher_costs_nobody_else_anything(fixture: Fixture) {
    const WRITES: usize = 480;
    let (busy, other) = (fixture.fresh().await, fixture.fresh().await);
    put(&*other, "a", "1").await;
    let mut slow = Vec::new();
    for _ in 0..6 {
        slow.push(watch_all(&*busy, 0).await);
    }
    let mut quick = watch_all(&*busy, 0).await;
    let reader = tokio::spawn(async move {
        let mut seen = 0;
        while seen < WRITES {
            next_events(&mut quick).await.expect("events");
            seen += 1;
        }
    });
    let large = "x".repeat(16 << 10);
    let writers = (0..8).map(|_| async {
        let mut revs = Vec::new();
        for _ in 0..WRITES / 8 {
            revs.push(put(&*busy, "k", &large).await);
        }
        revs
    });
    let mut revs = futures::future::join_all(writers).await.concat();
    revs.sort_unstable();
    let in_time = async {
        reader.await.expect("the watcher that reads");
        let mut stream = watch_all(&*other, 0).await;
        let rev = put(&*other, "a", "2").await;
        assert_eq!(next_events(&mut stream).await.expect("events").0, rev);
        assert_eq!(all(&*other, 0).await.expect("range").count, 1);
        assert_eq!(all(&*busy, 0).await.expect("range").kvs[0].value, large);
    };
    let in_time = tokio::time::timeout(Duration::from_secs(20), in_time).await;
    in_time.expect("the others wait for the slow watchers");
    for mut stream in slow {
        let mut seen = Vec::new();
        while seen.len() < revs.len() {
            match next_events(&mut stream).await {
                Ok((rev, _)) => seen.push(rev),
                Err(error) => {
                    assert_eq!(error, Error::SlowWatcher);
                    break;
                }
            }
        }
        assert_eq!(seen, revs[..seen.len()], "no gap before the end");
    }
}

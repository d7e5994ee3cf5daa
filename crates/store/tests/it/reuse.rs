//! Files of the log that are kept to be used again: over kills, power cuts and on a full disk.

use crate::random::Random;
use crate::sim_disk::SimDisk;
use crate::support::{all, delete, put, put_if, put_until_full, until, value};
use freehold_store::embedded::disk::{Disk, RealDisk};
use freehold_store::embedded::{Embedded, Options};
use freehold_store::{Error, Keyspaces, Store};
use std::cell::Cell;
use std::path::Path;
use std::sync::Arc;

/// Most files that are kept.
const MOST: usize = 12;

fn on(disk: Arc<dyn Disk>) -> Options {
    Options {
        segment_bytes: 64 << 10,
        checkpoint_after: 256 << 10,
        disk,
        ..Options::default()
    }
}

fn names(disk: &dyn Disk, dir: &Path) -> Vec<String> {
    let mut names = disk.list(&dir.join("log")).expect("log");
    names.retain(|name| !name.contains('.'));
    names
}

fn kept(disk: &dyn Disk, dir: &Path) -> usize {
    names(disk, dir).len()
}

/// Writes until files of the log are kept; says how many keys there are then.
async fn write_until_kept(store: &dyn Store, disk: &dyn Disk, dir: &Path, mut n: u64) -> u64 {
    let body = "x".repeat(4 << 10);
    while kept(disk, dir) < 2 {
        put(store, &format!("k{:03}", n % 100), &format!("{n} {body}")).await;
        n += 1;
        assert!(n < 100_000, "segments are kept");
    }
    n
}

async fn check(store: &dyn Store, done: u64) {
    for n in done.saturating_sub(100)..done {
        let found = value(store, &format!("k{:03}", n % 100)).await;
        let found = found.expect("it was acknowledged");
        assert_eq!(found.split(' ').next(), Some(&*n.to_string()));
    }
}

#[tokio::test]
async fn what_is_kept_is_used_again_after_a_restart_and_nothing_in_it_comes_back() {
    let dir = tempfile::tempdir().expect("dir");
    let mut done = 0;
    for round in 0..6 {
        let before = if round == 0 {
            0
        } else {
            kept(&RealDisk, dir.path())
        };
        assert_eq!(before > 0, round > 0);
        let engine = Embedded::open(dir.path(), on(Arc::new(RealDisk))).await;
        let engine = engine.expect("open");
        if round > 0 {
            assert_eq!(
                kept(&RealDisk, dir.path()),
                before.min(MOST),
                "round {round}"
            );
        }
        let store = engine.open("one").await.expect("keyspace");
        check(&*store, done).await;
        // Through more segments than are kept.
        let body = "y".repeat(4 << 10);
        for _ in 0..200 {
            let key = format!("k{:03}", done % 100);
            put(&*store, &key, &format!("{done} {body}")).await;
            done += 1;
        }
        done = write_until_kept(&*store, &RealDisk, dir.path(), done).await;
        drop((store, engine));
        let checked = Embedded::check(dir.path(), Options::default()).await;
        assert!(checked.expect("check").damage.is_empty(), "round {round}");
    }
}

#[tokio::test]
async fn on_a_full_disk_what_is_kept_is_given_back_at_opening() {
    let dir = tempfile::tempdir().expect("dir");
    let disk = SimDisk::default();
    let shared: Arc<dyn Disk> = Arc::new(disk.clone());
    let engine = Embedded::open(dir.path(), on(shared.clone())).await;
    let engine = engine.expect("open");
    let store = engine.open("one").await.expect("keyspace");
    let done = write_until_kept(&*store, &disk, dir.path(), 0).await;
    drop((store, engine));
    // Nothing is left that opening removes anyway, and nothing that the disk frees later.
    for name in names(&disk, dir.path()).iter().skip(2) {
        disk.remove(&dir.path().join("log").join(name))
            .expect("remove");
    }
    for part in ["", "log", "keyspaces"] {
        disk.sync_dir(&dir.path().join(part)).expect("sync");
    }
    disk.full(true);
    let before = names(&disk, dir.path());
    assert!(!before.is_empty());
    let engine = Embedded::open(dir.path(), on(shared)).await;
    let engine = engine.expect("a full disk keeps nobody out");
    // What was needed no more since then may be kept again once there is room.
    let now = names(&disk, dir.path());
    let still = before.iter().filter(|name| name.starts_with("used-"));
    assert!(still.clone().all(|name| !now.contains(name)), "{now:?}");
    let store = engine.open("one").await.expect("keyspace");
    check(&*store, done).await;
    delete(&*store, "k000").await;
    let rev = store.head().await.expect("head").rev;
    store.compact(rev).await.expect("compact");
}

#[tokio::test]
async fn on_a_full_disk_what_is_kept_is_given_back_and_deletions_go_on() {
    let dir = tempfile::tempdir().expect("dir");
    let disk = SimDisk::default();
    let engine = Embedded::open(dir.path(), on(Arc::new(disk.clone()))).await;
    let engine = engine.expect("open");
    let store = engine.open("one").await.expect("keyspace");
    write_until_kept(&*store, &disk, dir.path(), 0).await;
    disk.full(true);
    // Where what was given back was room enough, files are kept again until the next write that
    // finds none.
    let round = Cell::new(0);
    let few = || async {
        round.set(round.get() + 1);
        put_until_full(&*store, &format!("new{}-", round.get()), 32 << 10, 1000).await;
        kept(&disk, dir.path()) <= 1
    };
    until("files are given back", few).await;
    delete(&*store, "k000").await;
    let rev = store.head().await.expect("head").rev;
    store.compact(rev).await.expect("compact");
    let keys = all(&*store, 0).await.expect("reads").count;
    disk.full(false);
    put(&*store, "again", "v").await;
    engine.close();
    let disk = disk.after_power_cut(&mut Random::new(11));
    let engine = Embedded::open(dir.path(), on(Arc::new(disk))).await;
    let engine = engine.expect("open again");
    let store = engine.open("one").await.expect("keyspace");
    assert_eq!(all(&*store, 0).await.expect("reads").count, keys + 1);
}

/// Where the next segment has room for its header and for nothing else, the log stays where it is.
#[tokio::test]
async fn on_a_full_disk_deletions_go_on_behind_the_end_of_a_segment() {
    let dir = tempfile::tempdir().expect("dir");
    let disk = SimDisk::default();
    disk.refuse("spare");
    let engine = Embedded::open(dir.path(), on(Arc::new(disk.clone()))).await;
    let engine = engine.expect("open");
    let store = engine.open("one").await.expect("keyspace");
    for n in 0..300 {
        put(&*store, &format!("k{n:03}"), "v").await;
    }
    disk.nearly_full(1000);
    // More than one segment of them.
    for n in 0..200 {
        delete(&*store, &format!("k{n:03}")).await;
    }
    let refused = put_if(&*store, "new", 0, "v").await;
    assert!(matches!(refused, Err(Error::NoSpace(_))), "{refused:?}");
    engine.close();
    let disk = disk.after_power_cut(&mut Random::new(12));
    let engine = Embedded::open(dir.path(), on(Arc::new(disk))).await;
    let engine = engine.expect("open again");
    let store = engine.open("one").await.expect("keyspace");
    assert_eq!(all(&*store, 0).await.expect("reads").count, 100);
    put(&*store, "new", "v").await;
}

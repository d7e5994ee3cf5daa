//! Values that memory has let go of: read by position, compared, moved, damaged.

use crate::support::{all, everything, get, next_events, put, put_op, until, value, watch_all};
use freehold_store::embedded::{Embedded, Options};
use freehold_store::{Compare, Error, Keyspaces, Op, OpResult, Range, Store, Txn};
use std::path::{Path, PathBuf};
use std::sync::Arc;

fn options() -> Options {
    Options {
        inline_bytes: 4 << 10,
        tail_bytes: 64 << 10,
        ..Options::default()
    }
}

async fn open(dir: &Path) -> (Arc<Embedded>, Arc<dyn Store>) {
    let engine = Embedded::open(dir, options()).await.expect("open");
    let store = engine.open("one").await.expect("keyspace");
    (engine, store)
}

fn text(n: usize) -> String {
    format!("{n} {}", "x".repeat(1000))
}

async fn fill(store: &dyn Store, keys: usize) {
    for n in 0..keys {
        put(store, &format!("k{n:03}"), &text(n)).await;
    }
}

fn values_files(dir: &Path) -> Vec<PathBuf> {
    let found = std::fs::read_dir(dir.join("keyspaces")).expect("dir");
    let found = found.map(|entry| entry.expect("entry").path());
    found
        .filter(|path| path.extension().is_some_and(|e| e != "ckpt" && e != "new"))
        .collect()
}

#[tokio::test]
async fn values_on_the_disk_are_read_compared_kept_and_watched() {
    let dir = tempfile::tempdir().expect("dir");
    let (engine, store) = open(dir.path()).await;
    fill(&*store, 200).await;
    engine.sleep("one").await.expect("sleep");
    assert_eq!(values_files(dir.path()).len(), 1);
    let reply = all(&*store, 0).await.expect("all");
    assert!((0..200).all(|n| reply.kvs[n].value == text(n)));
    let old = all(&*store, 51).await.expect("an old revision");
    assert_eq!(
        (old.count, &old.kvs[49].value[..]),
        (50, text(49).as_bytes())
    );
    let same = Compare::Value("k007".into(), text(7).into());
    let txn = Txn {
        compares: vec![same],
        then: vec![
            Op::Update {
                key: "k007".into(),
                value: None,
                lease: None,
            },
            Op::Range(Range {
                limit: 9,
                ..everything(0)
            }),
            put_op("k008", "new"),
        ],
        otherwise: Vec::new(),
    };
    let reply = store.txn(txn).await.expect("txn");
    assert!(reply.succeeded, "{reply:?}");
    let [
        OpResult::Put { .. },
        OpResult::Range(range),
        OpResult::Put { prev: Some(prev) },
    ] = &reply.results[..]
    else {
        panic!("{reply:?}");
    };
    assert_eq!(range.kvs[8].value, text(8));
    assert_eq!(prev.value, text(8));
    assert_eq!(value(&*store, "k007").await, Some(text(7)));
    let mut watch = watch_all(&*store, 2).await;
    for n in 0..200 {
        let (rev, events) = next_events(&mut watch).await.expect("history");
        assert_eq!(
            (rev, &events[0].kv.value[..]),
            (n as u64 + 2, text(n).as_bytes())
        );
    }
    let (_, events) = next_events(&mut watch).await.expect("both puts");
    assert_eq!(events[1].prev.as_ref().expect("prev").value, text(8));
    drop(engine);
    let (_engine, store) = open(dir.path()).await;
    assert_eq!(get(&*store, "k199").await.expect("there").value, text(199));
}

#[tokio::test]
async fn what_is_overwritten_does_not_fill_the_disk() {
    let dir = tempfile::tempdir().expect("dir");
    let (engine, store) = open(dir.path()).await;
    for round in 0..12 {
        for n in 0..20 {
            put(&*store, &format!("k{n:03}"), &"y".repeat(20_000 + round)).await;
        }
        let rev = store.head().await.expect("head").rev;
        store.compact(rev).await.expect("compact");
        until("history is forgotten", || async {
            store.head().await.expect("head").bytes < 500_000
        })
        .await;
        engine.sleep("one").await.expect("sleep");
    }
    let files = values_files(dir.path());
    assert_eq!(files.len(), 1, "{files:?}");
    let len = std::fs::metadata(&files[0]).expect("file").len();
    assert!(len < 3_000_000, "{len} bytes for 400,000");
    let reply = all(&*store, 0).await.expect("all");
    assert!(reply.kvs.iter().all(|kv| kv.value.len() == 20_011));
}

#[tokio::test]
async fn a_damaged_value_is_reported_to_its_reader_and_to_the_check() {
    let dir = tempfile::tempdir().expect("dir");
    let (engine, store) = open(dir.path()).await;
    fill(&*store, 30).await;
    engine.sleep("one").await.expect("sleep");
    drop(engine);
    let file = values_files(dir.path()).pop().expect("one");
    let full = std::fs::read(&file).expect("values");
    // The fourth value: the first is behind 16 bytes, each has a tag of 16.
    let mut bad = full.clone();
    bad[16 + 3 * (1002 + 16) + 5] ^= 1;
    std::fs::write(&file, &bad).expect("damage");
    let found = Embedded::check(dir.path(), options()).await.expect("check");
    assert_eq!(found.damage.len(), 1, "{:?}", found.damage);
    assert!(
        found.damage[0].contains("keyspace one, revision 5"),
        "{:?}",
        found.damage
    );
    let (engine, store) = open(dir.path()).await;
    let other = engine.open("two").await.expect("others go on");
    put(&*other, "k", "v").await;
    assert_eq!(value(&*store, "k002").await, Some(text(2)));
    let range = Range {
        lo: "k003".into(),
        ..Range::default()
    };
    assert!(matches!(store.range(range).await, Err(Error::Corrupt(_))));
    assert!(matches!(all(&*store, 0).await, Err(Error::Corrupt(_))));
    put(&*store, "k002", "it still takes writes").await;
    drop(engine);
    std::fs::write(&file, &full[..full.len() - 1]).expect("cut");
    let (engine, store) = open(dir.path()).await;
    assert!(matches!(store.head().await, Err(Error::Corrupt(_))));
    drop(engine);
    std::fs::remove_file(&file).expect("remove");
    let (_engine, store) = open(dir.path()).await;
    assert!(matches!(store.head().await, Err(Error::Corrupt(_))));
}

#[tokio::test]
async fn deleting_a_keyspace_that_is_asleep_removes_all_its_files() {
    let dir = tempfile::tempdir().expect("dir");
    let (engine, store) = open(dir.path()).await;
    fill(&*store, 30).await;
    engine.sleep("one").await.expect("sleep");
    engine.delete("one").await.expect("delete");
    let left = std::fs::read_dir(dir.path().join("keyspaces")).expect("dir");
    assert_eq!(left.count(), 0);
}

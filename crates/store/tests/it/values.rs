//! Values that memory has let go of: read by position, compared, moved, damaged.

use crate::fault_disk::FaultDisk;
use crate::support::{all, everything, get, next_events, put, put_op, until, value, watch_all};
use freehold_store::embedded::{Embedded, Options};
use freehold_store::{Compare, Error, Field, Keyspaces, Op, OpResult, Range, Relation, Store, Txn};
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
        ..Txn::default()
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

fn not_empty() -> Compare {
    let Range { lo, hi, .. } = everything(0);
    Compare::Test {
        lo,
        hi,
        field: Field::Value("".into()),
        relation: Relation::NotEqual,
    }
}

/// What a transaction compares and returns adds up.
#[tokio::test]
async fn a_transaction_looks_at_so_many_bytes_and_no_more() {
    let dir = tempfile::tempdir().expect("dir");
    let (_engine, store) = open(dir.path()).await;
    for n in 0..4 {
        put(&*store, &format!("k{n}"), &"v".repeat(1_000_000)).await;
    }
    let txn = |compares, ranges| Txn {
        compares: vec![not_empty(); compares],
        then: vec![Op::Range(everything(0)); ranges],
        ..Txn::default()
    };
    for (compares, ranges) in [(68, 0), (0, 68), (40, 28)] {
        let refused = store.txn(txn(compares, ranges)).await;
        let text = "a transaction may look at 268435456 bytes".to_owned();
        assert_eq!(refused, Err(Error::TooLarge(text)), "{compares}, {ranges}");
    }
    let reply = store.txn(txn(60, 3)).await.expect("252 MB");
    assert!(reply.succeeded);
    let keys = Range {
        keys_only: true,
        ..everything(0)
    };
    let many = Txn {
        then: vec![Op::Range(keys); 1000],
        ..Txn::default()
    };
    store.txn(many).await.expect("keys are small");
}

#[tokio::test]
async fn values_read_for_a_compare_are_not_kept() {
    let dir = tempfile::tempdir().expect("dir");
    let disk = FaultDisk::new(".v0");
    let options = Options {
        disk: Arc::new(disk.clone()),
        ..options()
    };
    let engine = Embedded::open(dir.path(), options).await.expect("open");
    let store = engine.open("one").await.expect("keyspace");
    fill(&*store, 30).await;
    engine.sleep("one").await.expect("sleep");
    let compare = || Txn {
        compares: vec![not_empty()],
        ..Txn::default()
    };
    assert!(store.txn(compare()).await.expect("compared").succeeded);
    disk.arm(0, false, true);
    store.txn(compare()).await.expect_err("they are read again");
    assert!(disk.disarm());
}

#[tokio::test]
async fn a_transaction_looks_at_so_many_keys_and_deletes_no_more() {
    const MOST: usize = 100_000;
    let dir = tempfile::tempdir().expect("dir");
    let (_engine, store) = open(dir.path()).await;
    let lease = store.lease_grant(10_000).await.expect("lease");
    let put = |n: usize| Op::Put {
        key: format!("k{n:06}").into(),
        value: "v".into(),
        lease,
    };
    for from in (0..MOST).step_by(10_000) {
        let then = (from..from + 10_000).map(put).collect();
        store.txn(lone(then)).await.expect("puts");
    }
    let too_large = |text: String| Err(Error::TooLarge(text));
    let refused = store.txn(lone(vec![put(MOST)])).await.map(|_| ());
    assert_eq!(refused, too_large(format!("a lease may have {MOST} keys")));
    store
        .txn(lone(vec![put(7)]))
        .await
        .expect("one that it has");
    let alive = Compare::Test {
        field: Field::Version(0),
        lo: everything(0).lo,
        hi: everything(0).hi,
        relation: Relation::Greater,
    };
    let Range { lo, hi, .. } = everything(0);
    let delete = Op::DeleteRange { lo, hi };
    let keys = Range {
        keys_only: true,
        ..everything(0)
    };
    let compare = |compares| Txn {
        compares,
        ..Txn::default()
    };
    assert!(
        store
            .txn(compare(vec![alive.clone()]))
            .await
            .expect("all")
            .succeeded
    );
    store
        .txn(lone(vec![Op::Range(keys.clone())]))
        .await
        .expect("all");
    put_one_more(&*store).await;
    let looks = format!("a transaction may look at {MOST} keys");
    for (what, txn, text) in [
        ("compared", compare(vec![alive]), &looks),
        ("returned", lone(vec![Op::Range(keys.clone())]), &looks),
        (
            "deleted",
            lone(vec![delete.clone()]),
            &format!("a transaction may change {MOST} keys"),
        ),
    ] {
        let refused = store.txn(txn).await.map(|_| ());
        assert_eq!(refused, too_large(text.clone()), "{what}");
    }
    a_part_of_many_and_all_of_them(&*store, keys, delete).await;
}

async fn a_part_of_many_and_all_of_them(store: &dyn Store, keys: Range, delete: Op) {
    const MOST: usize = 100_000;
    // A part of many is as good as a part of few, also of what the transaction itself changed.
    let some = Range { limit: 3, ..keys };
    let first = Op::Delete {
        key: "k000000".into(),
    };
    let reply = store
        .txn(lone(vec![first, put_op("a", "1"), Op::Range(some)]))
        .await;
    let OpResult::Range(found) = &reply.expect("txn").results[2] else {
        panic!("a range was asked for");
    };
    let keys: Vec<_> = found.kvs.iter().map(|kv| &kv.key[..]).collect();
    assert_eq!(keys, [&b"a"[..], b"k000001", b"k000002"]);
    assert_eq!((found.count, found.more), (MOST as u64 + 1, true));
    store
        .txn(lone(vec![Op::Delete { key: "a".into() }]))
        .await
        .expect("one less");
    let gone = store.txn(lone(vec![delete])).await.expect("a whole lot");
    let OpResult::Deleted { prev } = &gone.results[0] else {
        panic!("a deletion was asked for");
    };
    assert_eq!(prev.len(), MOST);
}

fn lone(then: Vec<Op>) -> Txn {
    Txn {
        then,
        ..Txn::default()
    }
}

async fn put_one_more(store: &dyn Store) {
    put(store, "one more", "v").await;
}

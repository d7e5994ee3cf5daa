//! Every single operation of checkpoints and values files fails once, with a broken and with a
//! full disk: nothing is lost, reads and writes go on, and the next attempt succeeds.

use crate::fault_disk::FaultDisk;
use crate::support::{all, delete, put, put_op, until};
use freehold_store::embedded::{Embedded, Options};
use freehold_store::{Error, Keyspaces, Store, Txn};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

const KEYS: usize = 40;

fn on(disk: &FaultDisk) -> Options {
    Options {
        inline_bytes: 4 << 10,
        disk: Arc::new(disk.clone()),
        ..Options::default()
    }
}

/// What the keyspace holds, as the test knows it.
type Known = BTreeMap<String, String>;

async fn same(store: &dyn Store, known: &Known) {
    let reply = all(store, 0).await.expect("reads go on");
    let found: Known = reply
        .kvs
        .iter()
        .map(|kv| {
            let text = |bytes: &bytes::Bytes| String::from_utf8(bytes.to_vec()).expect("text");
            (text(&kv.key), text(&kv.value))
        })
        .collect();
    assert!(found == *known, "other contents");
}

async fn write(store: &dyn Store, known: &mut Known, round: usize) {
    let mut then = Vec::new();
    for n in 0..KEYS {
        let value = format!("{round} {n} {}", "x".repeat(800));
        let key = format!("k{n:02}");
        then.push(put_op(&key, &value));
        known.insert(key, value);
    }
    let txn = Txn {
        then,
        ..Txn::default()
    };
    store.txn(txn).await.expect("writes go on");
    delete(store, "k07").await;
    known.remove("k07");
}

/// New values, some more, and then none of the old: the file is begun, added to, written anew.
/// Returns what checkpoints said.
async fn rounds(engine: &Embedded, known: &mut Known) -> Vec<Error> {
    let store = engine.open("one").await.expect("keyspace");
    let mut said = Vec::new();
    for round in 0..4 {
        write(&*store, known, round).await;
        if round > 1 {
            let rev = store.head().await.expect("head").rev;
            store.compact(rev).await.expect("compact");
            until("history is forgotten", || async {
                store.head().await.expect("head").bytes < 60_000
            })
            .await;
        }
        said.extend(engine.sleep("one").await.err());
        same(&*store, known).await;
    }
    said
}

fn names(dir: &Path) -> Vec<String> {
    let names = std::fs::read_dir(dir.join("keyspaces")).expect("dir");
    let names = names.map(|entry| entry.expect("entry").file_name());
    names
        .map(|name| name.to_string_lossy().into_owned())
        .collect()
}

/// One run in which the operation after `at` others fails; whether there was one.
async fn run(at: u64, full: bool) -> bool {
    let dir = tempfile::tempdir().expect("dir");
    let disk = FaultDisk::new("/keyspaces/");
    let engine = Embedded::open(dir.path(), on(&disk)).await.expect("open");
    let mut known = Known::new();
    disk.arm(at, full, false);
    let said = rounds(&engine, &mut known).await;
    let fired = disk.disarm();
    for error in &said {
        let right = match error {
            Error::NoSpace(_) => full,
            Error::Unavailable(text) => !full && text.contains("the disk does not work"),
            _ => false,
        };
        assert!(right, "operation {at}: {error}");
    }
    let store = engine.open("one").await.expect("keyspace");
    write(&*store, &mut known, 9).await;
    engine.sleep("one").await.expect("the next one succeeds");
    same(&*store, &known).await;
    drop((store, engine));
    let checked = Embedded::check(dir.path(), Options::default());
    assert_eq!(checked.await.expect("check").damage, Vec::<String>::new());
    let engine = Embedded::open(dir.path(), on(&disk)).await.expect("open");
    same(&*engine.open("one").await.expect("keyspace"), &known).await;
    // What the failure left is gone by now.
    let left = names(dir.path());
    assert_eq!(left.len(), 2, "operation {at}: {left:?}");
    fired
}

#[tokio::test]
async fn any_operation_of_a_checkpoint_may_fail_on_a_broken_and_on_a_full_disk() {
    for full in [false, true] {
        let mut at = 0;
        while run(at, full).await {
            at += 1;
        }
        println!("full: {full}: each of {at} operations failed once");
        assert!(at > 20, "four checkpoints have more operations than {at}");
    }
}

#[tokio::test]
async fn a_value_or_checkpoint_that_cannot_be_read_is_an_error_and_comes_back() {
    let dir = tempfile::tempdir().expect("dir");
    let disk = FaultDisk::new("/keyspaces/");
    let engine = Embedded::open(dir.path(), on(&disk)).await.expect("open");
    let mut known = Known::new();
    let store = engine.open("one").await.expect("keyspace");
    write(&*store, &mut known, 0).await;
    let mut failures = 0;
    for at in 0.. {
        engine.sleep("one").await.expect("sleep");
        disk.arm(at, false, true);
        let read = all(&*store, 0).await;
        if !disk.disarm() {
            assert_eq!(read.expect("nothing failed").count as usize, known.len());
            break;
        }
        failures += 1;
        assert!(
            matches!(&read, Err(Error::Unavailable(text)) if text.contains("the disk does not work")),
            "{read:?}"
        );
        same(&*store, &known).await;
        put(&*store, "k00", "written").await;
        known.insert("k00".into(), "written".into());
    }
    assert!(failures >= 3, "checkpoint, values file, value: {failures}");
}

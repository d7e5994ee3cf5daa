//! Every operation of a restore over a keyspace, and of its deletion, fails once, with a broken and
//! with a full disk: what fails has changed nothing, also later, when the log is gone.

use crate::fault_disk::FaultDisk;
use crate::support::{all, put, put_if, put_op, until};
use freehold_store::embedded::{Embedded, Options};
use freehold_store::{Error, Keyspaces, Result, Store, Txn};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

const KEY: [u8; 32] = [9; 32];
const KEYS: usize = 20;

/// A log that soon goes on in another file, and keeps few.
fn on(disk: &FaultDisk) -> Options {
    Options {
        segment_bytes: 64 << 10,
        checkpoint_after: 128 << 10,
        inline_bytes: 4 << 10,
        disk: Arc::new(disk.clone()),
        ..Options::default()
    }
}

type Known = BTreeMap<String, String>;

async fn write(store: &dyn Store, round: &str) -> Known {
    let pairs = (0..KEYS).map(|n| (format!("k{n:02}"), format!("{round} {}", "x".repeat(400))));
    let known: Known = pairs.collect();
    let then = known.iter().map(|(key, value)| put_op(key, value));
    let txn = Txn {
        then: then.collect(),
        ..Txn::default()
    };
    store.txn(txn).await.expect("write");
    known
}

async fn same(engine: &Embedded, known: &Known, when: &str) {
    let store = engine.open("one").await.expect("keyspace");
    let reply = all(&*store, 0).await;
    let reply = reply.unwrap_or_else(|error| panic!("{when}: {error}"));
    let text = |bytes: &bytes::Bytes| String::from_utf8(bytes.to_vec()).expect("text");
    let found: Known = reply
        .kvs
        .iter()
        .map(|kv| (text(&kv.key), text(&kv.value)))
        .collect();
    assert!(found == *known, "{when}: other contents");
}

fn segments(dir: &Path) -> Vec<String> {
    let names = std::fs::read_dir(dir.join("log")).expect("dir");
    let names = names.map(|entry| entry.expect("entry").file_name());
    let mut names: Vec<_> = names
        .map(|name| name.to_string_lossy().into_owned())
        .filter(|name| name.ends_with(".log"))
        .collect();
    names.sort();
    names
}

/// Others write until all of the log is gone that there was.
async fn trim(engine: &Embedded, dir: &Path) {
    let newest = segments(dir).pop().expect("a log");
    let other = engine.open("other").await.expect("keyspace");
    until("the log is trimmed", || async {
        put(&*other, "o", &"o".repeat(30_000)).await;
        segments(dir).first().is_some_and(|first| *first > newest)
    })
    .await;
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum What {
    Restore,
    Erase,
}

/// One run in which the operation after `at` others on these files fails; whether there was one.
async fn run(what: What, names: &'static str, at: u64, full: bool) -> bool {
    let said = format!("{what:?}, operation {at} on {names}, full: {full}");
    let dir = tempfile::tempdir().expect("dir");
    let (root, file) = (dir.path().join("store"), dir.path().join("backup"));
    let disk = FaultDisk::new(names);
    let engine = Embedded::open(&root, on(&disk)).await.expect("open");
    let store = engine.open("one").await.expect("keyspace");
    let backed_up = write(&*store, "in the backup").await;
    engine.backup("one", &file, &KEY).await.expect("backup");
    write(&*store, "in the checkpoint").await;
    engine.sleep("one").await.expect("sleep");
    let mut known = write(&*store, "in the log").await;

    disk.arm(at, full, false);
    let done: Result<()> = match what {
        What::Restore => engine.restore("one", &file, &KEY).await.map(|_| ()),
        What::Erase => engine.delete("one").await,
    };
    let fired = disk.disarm();
    match &done {
        Ok(()) if what == What::Restore => known = backed_up,
        Ok(()) => known.clear(),
        Err(Error::NoSpace(_)) if full => {}
        Err(Error::Unavailable(text)) if text.contains("the disk does not work") => {}
        Err(error) => panic!("{said}: {error}"),
    }
    assert!(fired || done.is_ok(), "{said}: {done:?}");
    same(&engine, &known, &format!("{said}, at once")).await;
    engine.sleep("one").await.expect("sleep");
    trim(&engine, &root).await;
    same(&engine, &known, &format!("{said}, woken")).await;
    engine.close();
    drop((store, engine));
    let engine = Embedded::open(&root, on(&disk)).await;
    let engine = engine.unwrap_or_else(|error| panic!("{said}: {error}"));
    same(&engine, &known, &format!("{said}, restarted")).await;
    let store = engine.open("one").await.expect("keyspace");
    let known = write(&*store, "later").await;
    engine.sleep("one").await.expect("sleep");
    same(&engine, &known, &said).await;
    // What did not work works now.
    engine.restore("one", &file, &KEY).await.expect("restore");
    engine.delete("one").await.expect("delete");
    engine.close();
    drop((store, engine));
    let checked = Embedded::check(&root, Options::default()).await;
    let checked = checked.unwrap_or_else(|error| panic!("{said}: {error}"));
    assert_eq!(checked.damage, Vec::<String>::new(), "{said}");
    fired
}

async fn each(what: What, names: &'static str) -> u64 {
    let mut at = 0;
    for full in [false, true] {
        at = 0;
        while run(what, names, at, full).await {
            at += 1;
        }
        println!("{what:?}, {names}, full: {full}: each of {at} operations failed once");
    }
    at
}

#[tokio::test]
async fn a_restore_that_fails_anywhere_has_changed_nothing() {
    let (files, catalog) = (
        each(What::Restore, "/keyspaces").await,
        each(What::Restore, "/catalog").await,
    );
    assert!(files > 8, "checkpoint and values: {files}");
    assert!(catalog >= 2, "write and sync: {catalog}");
}

#[tokio::test]
async fn a_deletion_that_fails_anywhere_has_changed_nothing() {
    assert!(each(What::Erase, "/catalog").await >= 2, "write and sync");
    each(What::Erase, "/keyspaces").await;
}

#[tokio::test]
async fn a_catalog_that_cannot_be_put_right_ends_all_writing() {
    for at in [0, 1] {
        let dir = tempfile::tempdir().expect("dir");
        let disk = FaultDisk::new("/catalog");
        let engine = Embedded::open(dir.path(), on(&disk)).await.expect("open");
        let store = engine.open("one").await.expect("keyspace");
        let known = write(&*store, "known").await;
        disk.arm(at, false, false);
        disk.for_good();
        let failed = engine.delete("one").await;
        assert!(matches!(failed, Err(Error::Unavailable(_))), "{failed:?}");
        // Whether it is deleted nobody knows: nothing more may be promised.
        let refused = put_if(&*store, "k00", 0, "lost?").await;
        assert!(
            matches!(&refused, Err(Error::Unavailable(text)) if text.contains("no further write")),
            "{refused:?}"
        );
        same(&engine, &known, "reads go on").await;
        disk.disarm();
        engine.close();
        drop((store, engine));
        let engine = Embedded::open(dir.path(), on(&disk)).await.expect("open");
        if engine.list().await.expect("list").is_empty() {
            assert_eq!(at, 1, "what could not even be written is not deleted");
        } else {
            same(&engine, &known, "restarted").await;
        }
    }
}

#[tokio::test]
async fn a_damaged_keyspace_is_restored_at_a_revision_that_nobody_has_seen() {
    let dir = tempfile::tempdir().expect("dir");
    let (root, file) = (dir.path().join("store"), dir.path().join("backup"));
    let engine = Embedded::open(&root, Options::default()).await;
    let engine = engine.expect("open");
    let store = engine.open("one").await.expect("keyspace");
    let known = write(&*store, "in the backup").await;
    engine.backup("one", &file, &KEY).await.expect("backup");
    let seen = put(&*store, "later", "lost").await;
    engine.sleep("one").await.expect("sleep");
    let checkpoint = std::fs::read_dir(root.join("keyspaces"))
        .expect("dir")
        .next();
    let checkpoint = checkpoint.expect("a file").expect("entry").path();
    let mut data = std::fs::read(&checkpoint).expect("read");
    let middle = data.len() / 2;
    data[middle] ^= 1;
    std::fs::write(&checkpoint, data).expect("damage");
    let damaged = store.head().await;
    assert!(matches!(damaged, Err(Error::Corrupt(_))), "{damaged:?}");
    let head = engine.restore("one", &file, &KEY).await.expect("restore");
    assert!(head.rev > seen, "{}", head.rev);
    same(&engine, &known, "restored").await;
    let store = engine.open("one").await.expect("keyspace");
    assert!(put(&*store, "k00", "goes on").await > head.rev);
    assert_eq!(engine.list().await.expect("list"), ["one"]);
}

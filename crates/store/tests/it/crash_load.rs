//! What the process that is killed does: it checks what it finds, tells it, and writes on. What
//! a writer does is known from its number alone, so the whole of its keys can be checked.

use crate::support::{all, next, put_op, watch_all};
use bytes::Bytes;
use freehold_store::embedded::{Embedded, Options};
use freehold_store::{Compare, Keyspaces, Op, Store, Txn, WatchItem};
use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

pub(crate) const DIR: &str = "FREEHOLD_CRASH_TEST_DIR";
pub(crate) const KEYSPACES: u64 = 4;
/// Three for each keyspace.
pub(crate) const WRITERS: u64 = 12;
/// Keys that a writer writes in turn.
const SLOTS: u64 = 24;
/// Revisions that compaction leaves.
const HISTORY: u64 = 300;

/// Everything small, so that segments, checkpoints and values files change all the time.
pub(crate) fn options() -> Options {
    Options {
        segment_bytes: 128 << 10,
        checkpoint_after: 512 << 10,
        tail_bytes: 24 << 10,
        inline_bytes: 4 << 10,
        history: Duration::from_secs(60),
        ..Options::default()
    }
}

fn keyspace(n: u64) -> String {
    format!("ks{n}")
}

fn counter(writer: u64) -> String {
    format!("c{writer:02}")
}

fn slot(writer: u64, n: u64) -> String {
    format!("d{writer:02}/{:02}", n % SLOTS)
}

fn body(writer: u64, n: u64) -> String {
    let len = (n.wrapping_mul(0x9e37_79b9) ^ writer) % 1500;
    let fill = char::from(b'a' + u8::try_from((n + writer) % 26).expect("small"));
    format!("{n} {}", fill.to_string().repeat(len as usize))
}

/// The key that a writer's transaction deletes, if it does.
fn deleted(writer: u64, n: u64) -> Option<String> {
    (n.is_multiple_of(3)).then(|| slot(writer, n + 5))
}

/// All keys of a writer after so many transactions.
fn expected(writer: u64, done: u64) -> BTreeMap<String, String> {
    let mut keys = BTreeMap::new();
    for n in (done.saturating_sub(SLOTS) + 1)..=done {
        keys.insert(slot(writer, n), body(writer, n));
        if let Some(key) = deleted(writer, n) {
            keys.remove(&key);
        }
    }
    if done > 0 {
        keys.insert(counter(writer), done.to_string());
    }
    keys
}

fn text(bytes: &Bytes) -> &str {
    std::str::from_utf8(bytes).expect("text")
}

fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    out.write_all(line.as_bytes()).expect("the parent reads");
}

/// Where a writer goes on: transactions done, and the revision of the last.
pub(crate) type Found = BTreeMap<u64, (u64, u64)>;

/// Everything that is there must be what its writers' numbers say, and the history without a gap.
pub(crate) async fn check(store: &dyn Store, keyspace: u64) -> Found {
    let reply = all(store, 0).await.expect("all keys");
    let mut keys: BTreeMap<String, String> = BTreeMap::new();
    let mut found = Found::new();
    for kv in reply.kvs {
        let (key, value) = (text(&kv.key).to_owned(), text(&kv.value).to_owned());
        if let Some(writer) = key.strip_prefix('c') {
            let writer = writer.parse().expect("a writer");
            found.insert(writer, (value.parse().expect("a number"), kv.mod_rev));
        }
        keys.insert(key, value);
    }
    let mut should = BTreeMap::new();
    for writer in (0..WRITERS).filter(|writer| writer % KEYSPACES == keyspace) {
        let (done, _) = found.entry(writer).or_default();
        should.extend(expected(writer, *done));
    }
    assert!(keys == should, "keyspace {keyspace} has other contents");
    history(store).await;
    found
}

async fn history(store: &dyn Store) {
    let head = store.head().await.expect("head");
    let mut rev = head.compact_rev.max(1);
    let mut stream = watch_all(store, rev + 1).await;
    let mut counters: BTreeMap<Bytes, u64> = BTreeMap::new();
    while rev < head.rev {
        match next(&mut stream).await {
            Some(Ok(WatchItem::Events { rev: this, events })) => {
                assert!(this == rev + 1, "revision {this} after {rev}");
                rev = this;
                for event in events.iter().filter(|e| e.kv.key.starts_with(b"c")) {
                    let n = text(&event.kv.value).parse().expect("a number");
                    let before = counters.insert(event.kv.key.clone(), n);
                    assert!(before.is_none_or(|m| n == m + 1), "one after the other");
                }
            }
            Some(Ok(WatchItem::Progress { .. })) => {}
            other => assert!(other.is_none(), "the history ends with {other:?}"),
        }
    }
}

/// The process that is killed; does nothing unless the other test starts it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn child() {
    let Some(dir) = std::env::var_os(DIR) else {
        return;
    };
    // The test's own name is on the line before.
    say("\nstart\n");
    let engine = Embedded::open(Path::new(&dir), options())
        .await
        .expect("a kill is no damage");
    let mut tasks = Vec::new();
    for n in 0..KEYSPACES {
        let engine = engine.clone();
        tasks.push(tokio::spawn(async move {
            let store = engine.open(&keyspace(n)).await.expect("keyspace");
            (store.clone(), check(&*store, n).await)
        }));
    }
    let mut stores = Vec::new();
    for task in tasks {
        let (store, found) = task.await.expect("what is there is right");
        for (writer, (done, rev)) in &found {
            say(&format!("found {writer} {done} {rev}\n"));
        }
        stores.push((store, found));
    }
    say("checked\n");
    for (store, found) in &stores {
        for (writer, (done, rev)) in found {
            tokio::spawn(write(store.clone(), *writer, *done, *rev));
        }
        tokio::spawn(compact(store.clone()));
    }
    loop {
        for n in 0..KEYSPACES {
            tokio::time::sleep(Duration::from_millis(5)).await;
            engine.sleep(&keyspace(n)).await.expect("sleep");
        }
    }
}

async fn write(store: Arc<dyn Store>, writer: u64, done: u64, mut rev: u64) {
    for n in done + 1.. {
        let mut then = vec![
            put_op(&counter(writer), &n.to_string()),
            put_op(&slot(writer, n), &body(writer, n)),
        ];
        then.extend(deleted(writer, n).map(|key| Op::Delete { key: key.into() }));
        let reply = store
            .txn(Txn {
                compares: vec![Compare::ModRev(counter(writer).into(), rev)],
                then,
                ..Txn::default()
            })
            .await
            .expect("write");
        assert!(reply.succeeded, "somebody else wrote {}", counter(writer));
        rev = reply.rev;
        say(&format!("ack {writer} {n} {rev}\n"));
    }
}

async fn compact(store: Arc<dyn Store>) {
    loop {
        tokio::time::sleep(Duration::from_millis(4)).await;
        let head = store.head().await.expect("head");
        let rev = head.rev.saturating_sub(HISTORY);
        if rev > head.compact_rev {
            store.compact(rev).await.expect("compact");
        }
    }
}

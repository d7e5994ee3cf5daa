//! What is on disk: restarts, sleep, deletion, torn tails, damage, locks.

use crate::support::{
    all, delete, next, next_events, put, put_leased, put_op, until, value, watch_all,
};
use bytes::Bytes;
use freehold_store::embedded::{Embedded, Options};
use freehold_store::{Error, Keyspaces, Op, Store, Txn, WatchItem};
use std::path::{Path, PathBuf};

async fn open(dir: &Path) -> std::sync::Arc<Embedded> {
    Embedded::open(dir, Options::default()).await.expect("open")
}

fn segments(dir: &Path) -> Vec<PathBuf> {
    let mut found: Vec<_> = std::fs::read_dir(dir.join("log"))
        .expect("log")
        .map(|entry| entry.expect("entry").path())
        .filter(|path| path.extension().is_some_and(|ending| ending == "log"))
        .collect();
    found.sort();
    found
}

#[tokio::test]
async fn an_acknowledged_write_is_there_after_a_restart() {
    let dir = tempfile::tempdir().expect("dir");
    let mut revs = Vec::new();
    for round in 0..3 {
        let engine = open(dir.path()).await;
        let store = engine.open("one").await.expect("keyspace");
        revs.push(put(&*store, &format!("k{round}"), "v").await);
        delete(&*store, "k0").await;
    }
    let engine = open(dir.path()).await;
    let store = engine.open("one").await.expect("keyspace");
    let head = store.head().await.expect("head");
    assert_eq!((head.rev, head.keys), (5, 2));
    assert_eq!(revs, [2, 4, 5]);
    assert_eq!(value(&*store, "k2").await.as_deref(), Some("v"));
    assert_eq!(all(&*store, 2).await.expect("old revision").count, 1);
    let mut watch = watch_all(&*store, 2).await;
    for rev in 2..=5 {
        assert_eq!(next_events(&mut watch).await.expect("history").0, rev);
    }
    assert_eq!(
        next(&mut watch).await,
        Some(Ok(WatchItem::Progress { rev: 5 }))
    );
}

#[tokio::test]
async fn a_keyspace_wakes_as_it_fell_asleep() {
    let dir = tempfile::tempdir().expect("dir");
    let engine = open(dir.path()).await;
    let store = engine.open("one").await.expect("keyspace");
    let lease = store.lease_grant(3600).await.expect("lease");
    for n in 0..500 {
        put(&*store, &format!("k{n:03}"), "v").await;
    }
    put_leased(&*store, "leased", lease).await.expect("put");
    store.compact(100).await.expect("compact");
    delete(&*store, "k000").await;
    let before = (
        store.head().await.expect("head"),
        all(&*store, 0).await.expect("all"),
    );
    engine.sleep("one").await.expect("sleep");
    let after = (
        store.head().await.expect("head"),
        all(&*store, 0).await.expect("all"),
    );
    assert_eq!(before, after);
    assert_eq!(all(&*store, 99).await, Err(Error::Compacted(100)));
    assert_eq!(all(&*store, 100).await.expect("old").count, 99);
    drop(engine);
    let engine = open(dir.path()).await;
    let store = engine.open("one").await.expect("keyspace");
    store
        .lease_revoke(lease)
        .await
        .expect("the lease is still known");
    assert_eq!(value(&*store, "leased").await, None);
}

#[tokio::test]
async fn writers_do_not_notice_that_their_keyspace_falls_asleep() {
    let dir = tempfile::tempdir().expect("dir");
    let engine = open(dir.path()).await;
    let store = engine.open("one").await.expect("keyspace");
    let writer = tokio::spawn({
        let store = store.clone();
        async move {
            for n in 0..300 {
                put(&*store, &format!("k{n:03}"), "v").await;
            }
        }
    });
    while !writer.is_finished() {
        engine.sleep("one").await.expect("sleep");
        tokio::task::yield_now().await;
    }
    writer.await.expect("writer");
    assert_eq!(store.head().await.expect("head").keys, 300);
}

#[tokio::test]
async fn a_deleted_keyspace_is_gone_and_its_name_starts_afresh() {
    let dir = tempfile::tempdir().expect("dir");
    let engine = open(dir.path()).await;
    let store = engine.open("one").await.expect("keyspace");
    put(&*store, "secret", "value").await;
    let mut watch = watch_all(&*store, 0).await;
    assert_eq!(
        next(&mut watch).await,
        Some(Ok(WatchItem::Progress { rev: 2 }))
    );
    engine.sleep("other").await.expect("unknown ids are asleep");
    engine.delete("one").await.expect("delete");
    assert_eq!(next(&mut watch).await, Some(Err(Error::Deleted)));
    assert_eq!(store.head().await, Err(Error::Deleted));
    assert!(engine.list().await.expect("list").is_empty());
    let again = engine.open("one").await.expect("new");
    assert_eq!(again.head().await.expect("head").keys, 0);
    drop(engine);
    let engine = open(dir.path()).await;
    assert_eq!(
        engine
            .open("one")
            .await
            .expect("new")
            .head()
            .await
            .expect("head")
            .rev,
        1
    );
}

/// Every file below a directory with its bytes.
fn contents(dir: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let (mut found, mut todo) = (Vec::new(), vec![dir.to_owned()]);
    while let Some(dir) = todo.pop() {
        for entry in std::fs::read_dir(&dir).expect("dir") {
            let path = entry.expect("entry").path();
            if path.is_dir() {
                todo.push(path);
                continue;
            }
            match std::fs::read(&path) {
                // Segments that nobody needs any more go at any time.
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                read => found.push((path, read.expect("file"))),
            }
        }
    }
    found
}

#[tokio::test]
async fn neither_log_nor_checkpoint_values_file_or_backup_hold_plain_text() {
    let dir = tempfile::tempdir().expect("dir");
    let options = Options {
        inline_bytes: 1 << 10,
        ..Options::default()
    };
    let engine = Embedded::open(dir.path().join("store"), options).await;
    let engine = engine.expect("open");
    let store = engine.open("one").await.expect("keyspace");
    // Small values are in the checkpoint, large ones in the values file.
    for n in 0..20 {
        put(&*store, &format!("secret-key-{n}"), "secret-value").await;
        put(&*store, &format!("large{n}"), &"secret-value".repeat(50)).await;
    }
    engine.sleep("one").await.expect("sleep");
    put(&*store, "secret-key-0", "secret-value in the log").await;
    let file = dir.path().join("the.backup");
    engine.backup("one", &file, &[9; 32]).await.expect("backup");
    let found = contents(dir.path());
    for ending in ["log", "ckpt", "v0001", "backup"] {
        let there = found.iter().any(|(path, data)| {
            let extension = path.extension().and_then(|text| text.to_str());
            !data.is_empty() && extension == Some(ending)
        });
        assert!(there, "no file of {ending}");
    }
    for (path, data) in &found {
        for secret in [&b"secret-key"[..], b"secret-value"] {
            let plain = data.windows(secret.len()).any(|window| window == secret);
            assert!(!plain, "{} holds plain text", path.display());
        }
    }
}

#[tokio::test]
async fn a_directory_in_use_names_its_user() {
    let dir = tempfile::tempdir().expect("dir");
    let engine = open(dir.path()).await;
    let refused = Embedded::open(dir.path(), Options::default())
        .await
        .err()
        .expect("refused");
    assert!(
        refused
            .to_string()
            .contains(&format!("process {}", std::process::id())),
        "{refused}"
    );
    engine.close();
    open(dir.path()).await;
}

#[tokio::test]
async fn a_log_cut_anywhere_in_its_last_write_loses_only_that_write() {
    let dir = tempfile::tempdir().expect("dir");
    let engine = open(dir.path()).await;
    let store = engine.open("one").await.expect("keyspace");
    put(&*store, "kept", "v").await;
    drop(engine);
    let start = open(dir.path()).await;
    let store = start.open("one").await.expect("keyspace");
    put(&*store, "first", "v").await;
    put(&*store, "last", &"x".repeat(600)).await;
    drop(start);
    let path = segments(dir.path()).pop().expect("a segment");
    let full = std::fs::read(&path).expect("segment");
    let end = full.iter().rposition(|b| *b != 0).expect("data") + 1;
    let magic = full
        .windows(4)
        .rposition(|w| w == &full[512..516])
        .expect("the last batch");
    for len in (magic..=end).rev().step_by(31).chain([magic]) {
        for zeroed in [false, true] {
            let copy = tempfile::tempdir().expect("dir");
            copy_dir(dir.path(), copy.path());
            let mut data = full[..len].to_vec();
            if zeroed {
                data.resize(full.len(), 0);
            }
            let name = path.file_name().expect("name");
            std::fs::write(copy.path().join("log").join(name), data).expect("cut");
            let engine = open(copy.path()).await;
            let store = engine.open("one").await.expect("keyspace");
            assert_eq!(
                store.head().await.expect("head").rev,
                if len == end { 4 } else { 3 }
            );
            assert_eq!(
                value(&*store, "first").await.as_deref(),
                Some("v"),
                "cut at {len}"
            );
            assert_eq!(
                put(&*store, "next", "v").await,
                if len == end { 5 } else { 4 }
            );
        }
    }
}

#[tokio::test]
async fn a_changed_byte_of_the_log_is_reported_not_skipped() {
    let dir = tempfile::tempdir().expect("dir");
    let engine = open(dir.path()).await;
    let store = engine.open("one").await.expect("keyspace");
    for n in 0..3 {
        put(&*store, &format!("k{n}"), "v").await;
    }
    drop(engine);
    let path = segments(dir.path()).pop().expect("a segment");
    let full = std::fs::read(&path).expect("segment");
    let end = full.iter().rposition(|b| *b != 0).expect("data") + 1;
    for at in (0..end).step_by(3) {
        let mut data = full.clone();
        data[at] ^= 0x55;
        std::fs::write(&path, &data).expect("damage");
        match Embedded::open(dir.path(), Options::default()).await {
            Err(Error::Corrupt(text)) => assert!(text.contains("log segment 1"), "{text}"),
            Err(other) => panic!("byte {at}: {other}"),
            // Only the end mark or header of the last write may look like a torn write.
            Ok(engine) => {
                let store = engine.open("one").await.expect("keyspace");
                assert_eq!(store.head().await.expect("head").rev, 3, "byte {at}");
                drop(engine);
                std::fs::remove_file(segments(dir.path()).pop().expect("the new segment"))
                    .expect("remove");
            }
        }
    }
}

#[tokio::test]
async fn a_damaged_or_missing_checkpoint_is_reported() {
    let dir = tempfile::tempdir().expect("dir");
    let engine = open(dir.path()).await;
    let store = engine.open("one").await.expect("keyspace");
    put(&*store, "k", "v").await;
    engine.sleep("one").await.expect("sleep");
    drop(engine);
    let keyspaces = dir.path().join("keyspaces");
    let path = std::fs::read_dir(&keyspaces)
        .expect("dir")
        .next()
        .expect("one")
        .expect("entry")
        .path();
    let full = std::fs::read(&path).expect("checkpoint");
    for at in (0..full.len()).step_by(5) {
        let mut data = full.clone();
        data[at] ^= 1;
        std::fs::write(&path, &data).expect("damage");
        let engine = open(dir.path()).await;
        let store = engine.open("one").await.expect("keyspace");
        assert!(
            matches!(store.head().await, Err(Error::Corrupt(_))),
            "byte {at}"
        );
        let other = engine.open("two").await.expect("others go on");
        put(&*other, "k", "v").await;
    }
    std::fs::remove_file(&path).expect("remove");
    let engine = open(dir.path()).await;
    let store = engine.open("one").await.expect("keyspace");
    assert!(matches!(store.head().await, Err(Error::Corrupt(_))));
}

#[tokio::test]
async fn old_segments_go_when_checkpoints_hold_what_was_in_them() {
    let dir = tempfile::tempdir().expect("dir");
    let options = Options {
        segment_bytes: 64 << 10,
        checkpoint_after: 256 << 10,
        ..Options::default()
    };
    let engine = Embedded::open(dir.path(), options.clone())
        .await
        .expect("open");
    let quiet = engine.open("quiet").await.expect("keyspace");
    put(&*quiet, "only", "one").await;
    let store = engine.open("busy").await.expect("keyspace");
    let value_16k = "v".repeat(16 << 10);
    for n in 0..200 {
        let rev = put(&*store, &format!("k{:02}", n % 20), &value_16k).await;
        if n % 20 == 19 {
            store.compact(rev).await.expect("compact");
        }
    }
    until("old segments are removed", || async {
        segments(dir.path()).len() <= 16
    })
    .await;
    // Bytes are left out: what compaction frees, it frees in the background.
    let now = async |store: &dyn Store| {
        let head = store.head().await.expect("head");
        (all(store, 0).await, head.rev, head.compact_rev, head.keys)
    };
    let before = now(&*store).await;
    drop(engine);
    let engine = Embedded::open(dir.path(), options).await.expect("open");
    let store = engine.open("busy").await.expect("keyspace");
    assert!(now(&*store).await == before, "the same before and after");
    let quiet = engine.open("quiet").await.expect("keyspace");
    assert_eq!(value(&*quiet, "only").await.as_deref(), Some("one"));
}

#[tokio::test]
async fn files_are_for_their_owner_only() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().expect("dir");
    let root = dir.path().join("store");
    let engine = open(&root).await;
    let store = engine.open("one").await.expect("keyspace");
    put(&*store, "k", "v").await;
    engine.sleep("one").await.expect("sleep");
    let mut todo = vec![root];
    while let Some(path) = todo.pop() {
        let meta = std::fs::metadata(&path).expect("metadata");
        let want = if meta.is_dir() { 0o700 } else { 0o600 };
        assert_eq!(
            meta.permissions().mode() & 0o777,
            want,
            "{}",
            path.display()
        );
        if meta.is_dir() {
            todo.extend(
                std::fs::read_dir(&path)
                    .expect("dir")
                    .map(|e| e.expect("entry").path()),
            );
        }
    }
}

#[tokio::test]
async fn a_large_transaction_is_one_revision_after_a_restart_too() {
    let dir = tempfile::tempdir().expect("dir");
    let engine = open(dir.path()).await;
    let store = engine.open("one").await.expect("keyspace");
    let then = (0..5000)
        .map(|n| put_op(&format!("k{n:04}"), "v"))
        .collect();
    store
        .txn(Txn {
            then,
            ..Txn::default()
        })
        .await
        .expect("txn");
    let range = Op::DeleteRange {
        lo: "k1".into(),
        hi: Bytes::from_static(b"k2"),
    };
    store
        .txn(Txn {
            then: vec![range],
            ..Txn::default()
        })
        .await
        .expect("txn");
    drop(engine);
    let engine = open(dir.path()).await;
    let store = engine.open("one").await.expect("keyspace");
    let mut watch = watch_all(&*store, 2).await;
    assert_eq!(next_events(&mut watch).await.expect("puts").1.len(), 5000);
    let (rev, events) = next_events(&mut watch).await.expect("deletes");
    assert_eq!((rev, events.len()), (3, 1000));
    assert!(events.iter().all(|e| e.deleted && e.prev.is_some()));
    assert_eq!(all(&*store, 0).await.expect("all").count, 4000);
}

fn copy_dir(from: &Path, to: &Path) {
    for entry in std::fs::read_dir(from).expect("dir") {
        let path = entry.expect("entry").path();
        let target = to.join(path.file_name().expect("name"));
        if path.is_dir() {
            std::fs::create_dir_all(&target).expect("dir");
            copy_dir(&path, &target);
        } else {
            std::fs::copy(&path, &target).expect("copy");
        }
    }
}

#[tokio::test]
async fn a_backup_under_load_restores_to_one_revision_and_never_lowers_it() {
    let dir = tempfile::tempdir().expect("dir");
    let engine = open(&dir.path().join("store")).await;
    let store = engine.open("one").await.expect("keyspace");
    let writer = tokio::spawn({
        let store = store.clone();
        async move {
            for n in 0..400 {
                // Both keys change together: a torn backup would show.
                let then = vec![put_op("a", &n.to_string()), put_op("b", &n.to_string())];
                store
                    .txn(Txn {
                        then,
                        ..Txn::default()
                    })
                    .await
                    .expect("txn");
            }
        }
    });
    until("there is something", || async {
        store.head().await.expect("head").rev > 50
    })
    .await;
    let file = dir.path().join("backup");
    let saved = engine.backup("one", &file, &[9; 32]).await.expect("backup");
    writer.await.expect("writer");
    let refused = engine.restore("two", &file, &[8; 32]).await;
    assert!(
        matches!(refused, Err(Error::Corrupt(_))),
        "another key: {refused:?}"
    );

    engine
        .restore("two", &file, &[9; 32])
        .await
        .expect("restore");
    let two = engine.open("two").await.expect("keyspace");
    assert_eq!(two.head().await.expect("head").rev, saved.rev);
    assert_eq!(value(&*two, "a").await, value(&*two, "b").await);
    assert_eq!(
        all(&*two, saved.rev - 1)
            .await
            .expect("history is inside")
            .count,
        2
    );

    engine.sleep("two").await.expect("sleep");
    engine
        .backup("two", &dir.path().join("asleep"), &[9; 32])
        .await
        .expect("of one that sleeps");
    until("it sleeps again", || async {
        engine.metrics().awake.iter().all(|one| one.id != "two")
    })
    .await;
    drop(two);
    drop(store);
    drop(engine);
    restoring_over_a_keyspace_only_grows_its_revision(dir.path(), &file).await;
}

async fn restoring_over_a_keyspace_only_grows_its_revision(dir: &Path, file: &Path) {
    let engine = open(&dir.join("store")).await;
    let store = engine.open("one").await.expect("keyspace");
    let two = engine.open("two").await.expect("keyspace");
    let before = store.head().await.expect("head").rev;
    let mut watch = watch_all(&*store, 0).await;
    assert!(matches!(
        next(&mut watch).await,
        Some(Ok(WatchItem::Progress { .. }))
    ));
    let head = engine
        .restore("one", file, &[9; 32])
        .await
        .expect("restore");
    assert_eq!(
        head.rev,
        before + 1,
        "a revision that was seen does not come again"
    );
    assert_eq!(next(&mut watch).await, Some(Err(Error::Deleted)));
    assert_eq!(
        store.head().await,
        Err(Error::Deleted),
        "what was open is of the past"
    );
    let one = engine.open("one").await.expect("keyspace");
    assert_eq!(value(&*one, "a").await, value(&*two, "a").await);
    assert_eq!(all(&*one, before).await, Err(Error::Compacted(head.rev)));
    let rev = put(&*one, "c", "later").await;
    drop(engine);
    let engine = open(&dir.join("store")).await;
    let one = engine.open("one").await.expect("keyspace");
    assert_eq!(one.head().await.expect("head").rev, rev);
}

#[tokio::test]
async fn a_check_names_what_is_damaged() {
    let dir = tempfile::tempdir().expect("dir");
    let engine = open(dir.path()).await;
    for name in ["one", "two"] {
        let store = engine.open(name).await.expect("keyspace");
        put(&*store, "k", "v").await;
    }
    engine.sleep("one").await.expect("sleep");
    let busy = Embedded::check(dir.path(), Options::default()).await;
    assert!(matches!(busy, Err(Error::Unavailable(_))), "{busy:?}");
    drop(engine);
    let good = Embedded::check(dir.path(), Options::default())
        .await
        .expect("check");
    assert_eq!((good.keyspaces, good.keys, good.damage.len()), (2, 2, 0));
    let keyspaces = dir.path().join("keyspaces");
    let path = std::fs::read_dir(&keyspaces)
        .expect("dir")
        .next()
        .expect("one")
        .expect("entry")
        .path();
    let mut data = std::fs::read(&path).expect("checkpoint");
    *data.last_mut().expect("data") ^= 1;
    std::fs::write(&path, data).expect("damage");
    let bad = Embedded::check(dir.path(), Options::default())
        .await
        .expect("check");
    assert_eq!(
        bad.damage,
        ["the checkpoint of keyspace one fails its authentication"]
    );
    assert_eq!(bad.keys, 1);
}

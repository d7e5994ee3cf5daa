//! Backups of keyspaces that are written to meanwhile.

use crate::support::{all, delete, next_events, put, put_op, watch_all};
use freehold_store::embedded::disk::{Disk, DiskFile, RealDisk};
use freehold_store::embedded::{Embedded, Options};
use freehold_store::{Error, Keyspaces, Op, Store, Txn};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};

/// A disk on which the first write to the backup waits until it is told to go on.
struct Gate {
    reached: std::sync::Mutex<Option<(Sender<()>, Receiver<()>)>>,
    broken: Arc<AtomicBool>,
}

struct GatedFile {
    file: Box<dyn DiskFile>,
    gate: Option<(Sender<()>, Receiver<()>)>,
    broken: Arc<AtomicBool>,
}

impl Disk for Gate {
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        RealDisk.create_dir(path)
    }
    fn list(&self, path: &Path) -> io::Result<Vec<String>> {
        RealDisk.list(path)
    }
    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let file = RealDisk.open(path)?;
        if path.file_stem().is_none_or(|stem| stem != "backup") {
            return Ok(file);
        }
        Ok(Box::new(GatedFile {
            file,
            gate: self.reached.lock().expect("gate").take(),
            broken: self.broken.clone(),
        }))
    }
    fn open_existing(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        RealDisk.open_existing(path)
    }
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        RealDisk.read(path)
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        RealDisk.rename(from, to)
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        RealDisk.remove(path)
    }
    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        RealDisk.sync_dir(path)
    }
}

impl DiskFile for GatedFile {
    fn write_at(&mut self, data: &[u8], offset: u64) -> io::Result<()> {
        if let Some((reached, go)) = self.gate.take() {
            reached.send(()).expect("somebody waits");
            go.recv().expect("somebody says so");
        } else if self.broken.load(Ordering::SeqCst) {
            return Err(io::Error::other("the disk does not work"));
        }
        self.file.write_at(data, offset)
    }
    fn read_at(&mut self, data: &mut [u8], offset: u64) -> io::Result<()> {
        self.file.read_at(data, offset)
    }
    fn sync_data(&mut self) -> io::Result<()> {
        self.file.sync_data()
    }
    fn set_len(&mut self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }

    fn size(&mut self) -> io::Result<u64> {
        self.file.size()
    }
}

/// A keyspace whose backup has begun, and waits.
struct Begun {
    dir: tempfile::TempDir,
    file: PathBuf,
    engine: Arc<Embedded>,
    store: Arc<dyn Store>,
    backup: tokio::task::JoinHandle<freehold_store::Result<freehold_store::Head>>,
    go: Sender<()>,
    broken: Arc<AtomicBool>,
}

async fn begin() -> Begun {
    let dir = tempfile::tempdir().expect("dir");
    let (reached, wait) = channel();
    let (go, gone) = channel();
    let broken = Arc::new(AtomicBool::new(false));
    let disk = Arc::new(Gate {
        reached: std::sync::Mutex::new(Some((reached, gone))),
        broken: broken.clone(),
    });
    let options = Options {
        disk,
        ..Options::default()
    };
    let engine = Embedded::open(dir.path().join("store"), options).await;
    let engine = engine.expect("open");
    let store = engine.open("one").await.expect("keyspace");
    for n in 0..300 {
        put(&*store, &format!("k{n:03}"), &"v".repeat(200)).await;
    }
    let file = dir.path().join("backup");
    let backup = tokio::spawn({
        let (engine, file) = (engine.clone(), file.clone());
        async move { engine.backup("one", &file, &[9; 32]).await }
    });
    let waited = tokio::task::spawn_blocking(move || wait.recv());
    waited.await.expect("no panic").expect("the backup began");
    Begun {
        dir,
        file,
        engine,
        store,
        backup,
        go,
        broken,
    }
}

/// Changes of every kind.
async fn change(store: &dyn Store) {
    let lease = store.lease_grant(3600).await.expect("lease");
    let leased = Op::Put {
        key: "leased".into(),
        value: "l".into(),
        lease,
    };
    let then = vec![put_op("k000", "new"), put_op("zzz", "behind"), leased];
    let txn = Txn {
        then,
        ..Txn::default()
    };
    store.txn(txn).await.expect("txn");
    delete(store, "k001").await;
    put(store, "passing", "gone soon").await;
    let gone = delete(store, "passing").await.rev;
    put(store, "k002", "newer").await;
    store.compact(gone).await.expect("compact");
    put(store, "a", "in front").await;
}

#[tokio::test]
async fn a_backup_holds_what_was_acknowledged_while_it_was_written() {
    let begun = begin().await;
    let one = &*begun.store;
    change(one).await;
    assert!(!begun.file.exists(), "half of a backup is none");
    begun.go.send(()).expect("it waits");
    let saved = begun.backup.await.expect("no panic").expect("backup");
    let head = one.head().await.expect("head");
    assert_eq!((saved.rev, saved.keys), (head.rev, head.keys));

    let restored = begun.engine.restore("two", &begun.file, &[9; 32]).await;
    restored.expect("restore");
    let two = begun.engine.open("two").await.expect("keyspace");
    let two = &*two;
    let again = two.head().await.expect("head");
    assert_eq!(
        (again.rev, again.keys, again.compact_rev),
        (head.rev, head.keys, head.compact_rev)
    );
    for rev in head.compact_rev..=head.rev {
        assert_eq!(all(two, rev).await, all(one, rev).await, "at {rev}");
    }
    let leases = one.leases().await.expect("leases");
    assert_eq!(two.leases().await.expect("leases"), leases);
    let keys = |lease: freehold_store::Lease| lease.keys;
    assert_eq!(
        two.lease(leases[0]).await.map(keys),
        one.lease(leases[0]).await.map(keys)
    );
    let mut watches = (
        watch_all(one, head.compact_rev + 1).await,
        watch_all(two, head.compact_rev + 1).await,
    );
    for rev in head.compact_rev + 1..=head.rev {
        let events = next_events(&mut watches.0).await.expect("history");
        assert_eq!(events.0, rev);
        assert_eq!(next_events(&mut watches.1).await.expect("history"), events);
    }
    put(two, "k001", "again").await;
    begun.engine.close();
}

#[tokio::test]
async fn no_part_of_a_backup_can_be_left_out() {
    let begun = begin().await;
    change(&*begun.store).await;
    begun.go.send(()).expect("it waits");
    begun.backup.await.expect("no panic").expect("backup");
    let whole = std::fs::read(&begun.file).expect("file");
    let mut blocks = vec![16];
    while let Some(at) = blocks.last().copied().filter(|at| *at < whole.len()) {
        let len = whole[at..at + 4].try_into().expect("four bytes");
        blocks.push(at + 5 + u32::from_le_bytes(len) as usize);
    }
    assert!(blocks.len() > 5, "head, keys, head, changes, end");
    let cut = begun.dir.path().join("cut");
    for pair in blocks.windows(2) {
        let without = [&whole[..pair[0]], &whole[pair[1]..]].concat();
        for bytes in [&whole[..pair[0]], &without] {
            std::fs::write(&cut, bytes).expect("write");
            let refused = begun.engine.restore("two", &cut, &[9; 32]).await;
            assert!(matches!(refused, Err(Error::Corrupt(_))), "{refused:?}");
        }
    }
}

#[tokio::test]
async fn a_backup_that_fails_in_a_later_part_leaves_nothing() {
    let begun = begin().await;
    change(&*begun.store).await;
    begun.broken.store(true, Ordering::SeqCst);
    begun.go.send(()).expect("it waits");
    let failed = begun.backup.await.expect("no panic");
    assert!(matches!(failed, Err(Error::Unavailable(_))), "{failed:?}");
    let left = std::fs::read_dir(begun.dir.path()).expect("dir");
    let left: Vec<_> = left
        .map(|entry| entry.expect("entry").file_name())
        .collect();
    assert_eq!(left, ["store"]);
    put(&*begun.store, "writers", "go on").await;
}

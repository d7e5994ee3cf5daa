//! Work of the engine that nobody waits for any more ends, and leaves nothing.

use crate::support::{all, put, until};
use bytes::Bytes;
use freehold_store::embedded::disk::{Disk, DiskFile, RealDisk};
use freehold_store::embedded::{Embedded, Options};
use freehold_store::{Image, KeyValue, Keyspaces};
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};

/// Writes to files of keyspaces: how many there were, and how many there may be. And how much was
/// read at once.
#[derive(Clone)]
pub(crate) struct Gate(Arc<(Mutex<(u64, u64)>, Condvar)>, Arc<AtomicUsize>);

impl Gate {
    pub(crate) fn new() -> Self {
        let writes = (Mutex::new((0, u64::MAX)), Condvar::new());
        Self(Arc::new(writes), Arc::default())
    }

    /// Bytes for which there was room when they were read.
    pub(crate) fn most_read(&self) -> usize {
        self.1.load(Ordering::Relaxed)
    }

    fn pass(&self) {
        let mut counts = self.0.0.lock().expect("no panic while held");
        counts.0 += 1;
        while counts.0 > counts.1 {
            counts = self.0.1.wait(counts).expect("no panic while held");
        }
    }

    /// From now on so many more may be made.
    fn open(&self, more: u64) {
        let mut counts = self.0.0.lock().expect("no panic while held");
        counts.1 = counts.0.saturating_add(more);
        self.0.1.notify_all();
    }

    fn writes(&self) -> u64 {
        self.0.0.lock().expect("no panic while held").0
    }
}

struct File(Box<dyn DiskFile>, Gate);

impl DiskFile for File {
    fn write_at(&mut self, data: &[u8], offset: u64) -> io::Result<()> {
        self.1.pass();
        self.0.write_at(data, offset)
    }
    fn read_at(&mut self, data: &mut [u8], offset: u64) -> io::Result<()> {
        self.1.1.fetch_max(data.len(), Ordering::Relaxed);
        self.0.read_at(data, offset)
    }
    fn sync_data(&mut self) -> io::Result<()> {
        self.0.sync_data()
    }
    fn set_len(&mut self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }
    fn size(&mut self) -> io::Result<u64> {
        self.0.size()
    }
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
        Ok(
            match path.parent().is_some_and(|dir| dir.ends_with("log")) {
                true => file,
                false => Box::new(File(file, self.clone())),
            },
        )
    }
    fn open_existing(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let file = RealDisk.open_existing(path)?;
        Ok(Box::new(File(file, self.clone())))
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

const KEYS: u64 = 40;

/// Forty megabytes: many pieces of a file.
fn large() -> Image {
    let value = Bytes::from(vec![7; 1 << 20]);
    let kv = |n: u64| KeyValue {
        key: format!("k{n:02}").into(),
        value: value.clone(),
        create_rev: 2 + n,
        mod_rev: 2 + n,
        version: 1,
        lease: 0,
    };
    Image {
        rev: 2 + KEYS,
        kvs: (0..KEYS).map(kv).collect(),
        leases: Vec::new(),
    }
}

async fn open(dir: &Path) -> (Arc<Embedded>, Gate) {
    let gate = Gate::new();
    let options = Options {
        disk: Arc::new(gate.clone()),
        ..Options::default()
    };
    let engine = Embedded::open(dir, options).await.expect("open");
    (engine, gate)
}

fn files(dir: &Path) -> Vec<String> {
    RealDisk.list(&dir.join("keyspaces")).expect("a directory")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_import_that_is_given_up_ends_and_leaves_nothing() {
    let dir = tempfile::tempdir().expect("dir");
    let (engine, gate) = open(dir.path()).await;
    gate.open(2);
    let before = gate.writes();
    let importer = engine.clone();
    let import = tokio::spawn(async move { importer.import("copy", &large()).await });
    until("a write waits", || async { gate.writes() == before + 3 }).await;
    import.abort();
    assert!(import.await.is_err_and(|ended| ended.is_cancelled()));
    gate.open(u64::MAX);
    until("nothing is left of it", || async {
        files(dir.path()).is_empty()
    })
    .await;
    let more = gate.writes() - before - 3;
    assert!(more < 4, "{more} writes for nobody");
    assert_eq!(engine.list().await.expect("a list"), Vec::<String>::new());
    // It can be had when somebody waits for it, and then took many times as many writes.
    let image = large();
    engine.import("copy", &image).await.expect("import");
    assert!(gate.writes() - before > 40);
    let store = engine.open("copy").await.expect("keyspace");
    assert_eq!(all(&*store, 0).await.expect("all").count, KEYS);
    drop(store);
    engine.close();
    let (engine, _) = open(dir.path()).await;
    assert_eq!(engine.list().await.expect("a list"), ["copy"]);
    engine.close();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_keyspace_goes_on_when_its_restore_or_backup_is_given_up() {
    let dir = tempfile::tempdir().expect("dir");
    let (engine, gate) = open(dir.path()).await;
    engine.import("one", &large()).await.expect("import");
    let file = dir.path().join("backup");
    engine.backup("one", &file, &[3; 32]).await.expect("backup");
    let store = engine.open("one").await.expect("keyspace");
    put(&*store, "new", "v").await;
    let there = files(dir.path()).len();
    for restores in [true, false] {
        gate.open(1);
        let before = gate.writes();
        let (again, from) = (engine.clone(), file.clone());
        let other = dir.path().join("other");
        let work = tokio::spawn(async move {
            match restores {
                true => again.restore("one", &from, &[3; 32]).await,
                false => again.backup("one", &other, &[3; 32]).await,
            }
        });
        until("a write waits", || async { gate.writes() == before + 2 }).await;
        work.abort();
        assert!(work.await.is_err_and(|ended| ended.is_cancelled()));
        gate.open(u64::MAX);
        until("its files are gone", || async {
            files(dir.path()).len() == there && !dir.path().join("other.new").exists()
        })
        .await;
        let more = gate.writes() - before - 2;
        assert!(more < 4, "{more} writes for nobody");
        assert!(!dir.path().join("other").exists());
        // It is as it was, and can be written to.
        until("it goes on", || async {
            all(&*store, 0).await.is_ok_and(|all| all.count > KEYS)
        })
        .await;
        put(&*store, "new", "v").await;
    }
    engine.close();
}

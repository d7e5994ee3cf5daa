//! The embedded engine: every keyspace of a node in one directory, one log, three threads:
//! one commits, one ends leases and forgets history, one writes checkpoints at low priority.
//!
//! * `log/`: segments of the log that all keyspaces share; one fdatasync acknowledges every
//!   write of a round, whoever made it.
//! * `keyspaces/`: one checkpoint per keyspace, and a file of values where there are many; written
//!   when the log has grown or the keyspace falls asleep.
//! * `catalog`: which keyspaces exist, and their data keys, sealed. `keys`: what those are sealed
//!   with. `LOCK`: who uses the directory.
//!
//! A keyspace in memory is an ordered multi-version index and the values that are newer than its
//! checkpoint; asleep it is a few hundred bytes.

mod backup;
mod before;
mod catalog;
mod checkpoint;
mod checkpointer;
mod commit;
pub mod disk;
mod drive;
#[doc(hidden)]
pub mod fuzzing;
mod index;
mod keyring;
mod keys;
mod keyspace;
mod kms;
mod log;
mod metrics;
mod opening;
mod options;
mod plan;
mod record;
mod spare;
mod state;
mod store;
mod toc;
mod upkeep;
mod values;
mod watch;

pub use backup::{Checked, random_key};
#[doc(hidden)]
pub use drive::{Drive, Hand};
pub use keyring::Wrapping;
pub(crate) use metrics::Stats;
pub use metrics::{BOUNDS, KeyspaceMetrics, Metrics};
pub use options::{Limits, Options};

use crate::{Error, Image, Imported, Keyspaces, Quota, Result, Store};
use async_trait::async_trait;
use catalog::{Catalog, CatalogEntry, MAX_ID, Saved};
use checkpoint::{Pace, Source, Target};
use checkpointer::Checkpoints;
use commit::{Queue, Refused, Request, Work};
use drive::Parts;
use keyring::Keyring;
use keyspace::{Loaded, Slot};
use log::unavailable;
use parking_lot::Mutex;
use record::Ciphers;
use state::Phase;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use tokio::sync::oneshot;
use upkeep::Upkeep;
use values::Values;

/// What the engine's threads and all its stores share.
pub(crate) struct Shared {
    dir: PathBuf,
    options: Options,
    queue: Queue,
    upkeep: Upkeep,
    checkpoints: Checkpoints,
    failed: OnceLock<String>,
    slots: Mutex<BTreeMap<Arc<str>, Arc<Slot>>>,
    catalog: Mutex<Catalog>,
    keyring: Keyring,
    /// first and current segment of the log
    oldest: AtomicU64,
    active: AtomicU64,
}

impl Drop for Shared {
    /// What is in memory knows its slot, and the slot what is in memory.
    fn drop(&mut self) {
        for slot in self.slots.get_mut().values() {
            let loaded = slot.loaded.write().take();
            drop(loaded);
        }
    }
}

/// All keyspaces of a node, on its own disk.
pub struct Embedded {
    shared: Arc<Shared>,
    parts: Parts,
    lock: Mutex<Option<Lock>>,
}

impl Embedded {
    /// Opens a directory, creating it when it is new. Only one process may have it open.
    pub async fn open(dir: impl Into<PathBuf>, options: Options) -> Result<Arc<Self>> {
        let (dir, drive) = (dir.into(), options.drive.clone());
        let open = move || Self::open_blocking(dir, options);
        drive.blocking(open).await
    }

    fn open_blocking(dir: PathBuf, options: Options) -> Result<Arc<Self>> {
        let log_dir = dir.join("log");
        for part in [&dir, &log_dir, &dir.join("keyspaces")] {
            options.disk.create_dir(part).map_err(|e| unavailable(&e))?;
        }
        let lock = lock_dir(&dir)?;
        let (catalog, mut entries) = Catalog::open(&dir, &*options.disk)?;
        let catalog = Mutex::new(catalog);
        entries.sort_unstable_by_key(|entry| entry.number);
        let keyring = Keyring::open(&dir, options.disk.clone(), entries.is_empty())?;
        let ciphers = |number| catalog::ciphers(&catalog, &keyring, number);
        // A checkpoint that is found may have got its name just before a kill: the log is not
        // shortened for one that a power cut takes back.
        let folder = dir.join("keyspaces");
        let kept = options.disk.sync_dir(&folder);
        kept.map_err(|e| unavailable(&e))?;
        backup::remove_strays(&dir, &options, &entries, &ciphers)?;
        // Records of keyspaces that are not in the catalog are remains of deleted ones.
        let needed = |number, batch| {
            let found = entries.binary_search_by_key(&number, |entry| entry.number);
            found.is_ok_and(|found| batch > entries[found].saved.covered)
        };
        let mut scan = log::scan(&*options.disk, &log_dir, true, &needed)?;
        cut_tail(&*options.disk, &log_dir, &mut scan)?;
        let active = scan.segments.last().map_or(1, |last| last + 1);
        let started = start_log(&log_dir, &options, active, &scan);
        let (log, kept) = started.map_err(|e| unavailable(&e))?;
        // A map that is made of what is sorted needs no memory besides, and has no empty places.
        entries.sort_unstable_by(|a, b| a.id.cmp(&b.id));
        let slots = entries.into_iter().map(|entry| {
            let pending = scan.records.remove(&entry.number).unwrap_or_default();
            (entry.id.clone(), Arc::new(Slot::new(entry, pending)))
        });
        let slots: BTreeMap<_, _> = slots.collect();
        let shared = Arc::new(Shared {
            dir,
            queue: Queue::new(options.drive.clone()),
            options,
            upkeep: Upkeep::default(),
            checkpoints: Checkpoints::default(),
            failed: OnceLock::new(),
            slots: Mutex::new(slots),
            catalog,
            keyring,
            oldest: AtomicU64::new(scan.segments.first().copied().unwrap_or(active)),
            active: AtomicU64::new(active),
        });
        shared.rotated(active);
        match kept {
            Some(names) => names
                .into_iter()
                .for_each(|name| shared.upkeep.add_used(name)),
            None => shared.upkeep.tighten(),
        }
        for toc in scan.read.into_iter().filter(|toc| toc.first > 0) {
            shared.upkeep.add_toc(toc);
        }
        upkeep::expect_deadlines(&shared);
        let parts = Parts::start(&shared, log)?;
        Ok(Arc::new(Self {
            shared,
            parts,
            lock: Mutex::new(Some(lock)),
        }))
    }

    /// Sets what a keyspace may take from now on; kept until the engine is closed.
    pub fn limit(&self, id: &str, limits: Limits) -> Result<()> {
        let slot = self.shared.slots.lock().get(id).cloned();
        let slot = slot.ok_or_else(|| Error::Invalid(format!("there is no keyspace {id}")))?;
        *slot.limits.lock() = Some(limits.into());
        Ok(())
    }

    /// Seals the data keys of all keyspaces with a new key that is kept there; what was sealed with
    /// older ones can then be read by nobody who has only those. Interrupted anywhere, everything
    /// can be read, and a further call completes it. Says how many keyspaces there are.
    pub async fn rekey(&self, at: Wrapping) -> Result<u64> {
        let shared = self.shared.clone();
        blocking(move || shared.rekey(&at)).await
    }

    /// Where the key is that data keys are sealed with.
    #[must_use]
    pub fn wrapping(&self) -> Wrapping {
        self.shared.keyring.wrapping()
    }

    /// Ends the engine's work: what was accepted is committed, the directory is free again.
    /// Stores that are still held answer `Unavailable` to writes.
    pub fn close(&self) {
        // A checkpoint under way still asks for a consistent copy: the queue goes last.
        self.shared.checkpoints.stop();
        self.shared.upkeep.stop();
        self.shared.queue.stop();
        self.end_parts();
        drop(self.lock.lock().take());
    }
}

impl Drop for Embedded {
    fn drop(&mut self) {
        self.close();
    }
}

fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> Result<std::thread::JoinHandle<()>> {
    let thread = std::thread::Builder::new().name(name.into()).spawn(work);
    thread.map_err(|e| Error::Unavailable(format!("no thread: {e}")))
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|e| Err(Error::Unavailable(format!("interrupted: {e}"))))
}

/// The same for work that is given up, at the next good place, when nobody waits for it any more:
/// it is told so by what it gets.
async fn wanted<T: Send + 'static>(
    work: impl FnOnce(&dyn Fn() -> bool) -> Result<T> + Send + 'static,
) -> Result<T> {
    let waiting = Arc::new(());
    let told = Arc::downgrade(&waiting);
    let done = blocking(move || work(&|| told.strong_count() == 0)).await;
    drop(waiting);
    done
}

/// A directory that this process has.
struct Lock(File);

impl Drop for Lock {
    fn drop(&mut self) {
        // A child that is being started may hold a copy of the file: closing is not enough.
        let _ = rustix::fs::flock(&self.0, rustix::fs::FlockOperation::Unlock);
    }
}

/// Takes the directory for this process.
fn lock_dir(dir: &Path) -> Result<Lock> {
    use std::os::unix::fs::OpenOptionsExt;
    let mut options = File::options();
    options
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600);
    let mut file = options
        .open(dir.join("LOCK"))
        .map_err(|e| unavailable(&e))?;
    if rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive).is_err() {
        let mut holder = String::new();
        drop(file.read_to_string(&mut holder));
        let holder = match holder.trim() {
            "" => "another process".to_owned(),
            pid => format!("process {pid}"),
        };
        return Err(Error::Unavailable(format!(
            "{} is in use by {holder}",
            dir.display()
        )));
    }
    let written = file
        .set_len(0)
        .and_then(|()| file.rewind())
        .and_then(|()| file.write_all(std::process::id().to_string().as_bytes()));
    match written {
        // The name in the lock is a courtesy; a full disk must not keep anybody out.
        Err(error) if !commit::is_full(&error) => Err(unavailable(&error)),
        _ => Ok(Lock(file)),
    }
}

/// Ends the last segment behind its last good batch. What is cut off was not completely
/// written, so nobody was told that it was.
fn cut_tail(disk: &dyn disk::Disk, log_dir: &Path, scan: &mut log::Scan) -> Result<()> {
    let Some((segment, len)) = scan.end else {
        return Ok(());
    };
    if scan.torn {
        tracing::warn!(
            segment,
            len,
            "the log ends in an incomplete write, which is cut off"
        );
    }
    let path = log::segment_path(log_dir, segment);
    let cut = if len < log::SEGMENT_HEADER as u64 {
        scan.segments.pop();
        disk.remove(&path).and_then(|()| disk.sync_dir(log_dir))
    } else {
        disk.open(&path).and_then(|mut file| {
            if scan.torn {
                file.set_len(len)?;
            }
            // The last batch was perhaps never acknowledged: from here on it counts. What a flush
            // that failed left is in the system's memory only, and no later flush speaks of it:
            // so it is written again. What was before it was durable when it was written.
            write_again(&mut *file, 0..log::SEGMENT_HEADER as u64)?;
            if let Some(newest) = scan.newest {
                write_again(&mut *file, newest..len)?;
            }
            file.sync_data()
        })
    };
    cut.map_err(|e| unavailable(&e))
}

fn write_again(file: &mut dyn disk::DiskFile, part: std::ops::Range<u64>) -> std::io::Result<()> {
    let mut data = vec![0; usize::try_from(part.end - part.start).map_err(std::io::Error::other)?];
    file.read_at(&mut data, part.start)?;
    file.write_at(&data, part.start)
}

/// Starts the segment that is written from now on. Returns also the names of files that may be
/// used again; none on a full disk, which must not keep anybody from opening and reading.
fn start_log(
    dir: &Path,
    options: &Options,
    active: u64,
    scan: &log::Scan,
) -> std::io::Result<(log::Log, Option<Vec<String>>)> {
    let disk = &options.disk;
    let kept = spare::kept(&**disk, dir)?;
    let bytes = options.segment_bytes;
    let start = || log::Log::start(dir, disk.clone(), bytes, active, scan.last_batch);
    let started = start().and_then(|mut log| log.reserve(log::RESERVE).map(|()| log));
    match started {
        Err(error) if commit::is_full(&error) => {}
        started => return started.map(|log| (log, Some(kept))),
    }
    spare::remove(&**disk, dir, kept.into_iter())?;
    if let Some((segment, end)) = scan.end
        && scan.segments.contains(&segment)
    {
        let mut file = disk.open(&log::segment_path(dir, segment))?;
        file.set_len(end)?;
        file.sync_data()?;
    }
    let mut log = start()?;
    match log.reserve(log::RESERVE) {
        Err(error) if !commit::is_full(&error) => Err(error),
        _ => Ok((log, None)),
    }
}

impl Shared {
    fn now_ms(&self) -> u64 {
        self.options.drive.now_ms()
    }

    fn failed(&self) -> Option<Error> {
        self.failed
            .get()
            .map(|text| Error::Unavailable(text.clone()))
    }

    fn fail(&self, what: &str, error: &std::io::Error) {
        let text = || {
            let text = format!("writing {what} failed, no further write is taken: {error}");
            tracing::error!("{text}");
            text
        };
        self.failed.get_or_init(text);
    }

    /// The log goes on in another segment.
    fn rotated(&self, segment: u64) {
        self.active.store(segment, Ordering::Release);
        self.upkeep.rotated();
        self.checkpoints.truncate();
    }

    /// Segments of the log.
    fn log_segments(&self) -> u64 {
        self.active.load(Ordering::Acquire) - self.oldest.load(Ordering::Acquire)
    }

    /// The oldest segment that may stay.
    fn segments_to_keep(&self) -> u64 {
        let active = self.active.load(Ordering::Acquire);
        let oldest = self.oldest.load(Ordering::Acquire);
        let limit = self.options.checkpoint_after / self.options.segment_bytes.max(1);
        if active - oldest <= limit.max(1) {
            oldest
        } else {
            active - (active - oldest) / 2
        }
    }

    /// Removes segments before `first`, oldest first: what stays has no gap.
    fn remove_segments(&self, first: u64) -> std::io::Result<()> {
        let oldest = self.oldest.load(Ordering::Acquire);
        let dir = self.dir.join("log");
        for segment in oldest..first.min(self.active.load(Ordering::Acquire)) {
            let disk = &*self.options.disk;
            let again = self.upkeep.wants_used();
            let kept = if again {
                Some(spare::set_aside(disk, &dir, segment)?)
            } else {
                disk.remove(&log::segment_path(&dir, segment))?;
                None
            };
            disk.remove(&toc::path(&dir, segment))?;
            disk.sync_dir(&dir)?;
            self.oldest.store(segment + 1, Ordering::Release);
            kept.into_iter().for_each(|name| self.upkeep.add_used(name));
        }
        Ok(())
    }

    /// Removes the files that were kept to be used again, as the disk is full; whether there were
    /// any.
    fn give_back(&self) -> bool {
        let names = self.upkeep.give_up_used();
        let some = !names.is_empty();
        let (disk, dir) = (&*self.options.disk, self.dir.join("log"));
        if let Err(error) = spare::remove(disk, &dir, names.into_iter()) {
            tracing::warn!(%error, "files of the log that are not needed could not be removed");
        }
        some
    }

    fn all_slots(&self) -> Vec<Arc<Slot>> {
        self.slots.lock().values().cloned().collect()
    }

    /// Writes a checkpoint and notes that it must exist from now on.
    fn save(&self, of: (&Slot, &Ciphers, &Values), source: &Source, hurry: bool) -> Result<()> {
        let (slot, ciphers, values) = of;
        let target = Target {
            dir: &self.dir,
            disk: &*self.options.disk,
            slot,
            ciphers,
            values,
            inline_bytes: self.options.inline_bytes,
            again: !hurry,
        };
        let simulated = self.options.disk.simulated();
        let urgent = || hurry || simulated || self.checkpoints.hurried(slot, self);
        let crowded = || self.queue.crowded();
        let mut pace = Pace::new(&urgent).beside(&crowded);
        checkpoint::write(&target, source, &mut pace)?;
        let deadlines = source.leases.values().map(|lease| lease.deadline_ms);
        let saved = Saved {
            checkpointed: true,
            covered: source.batch,
            deadline_ms: deadlines.min().unwrap_or(0),
        };
        let entry = CatalogEntry {
            id: slot.id.clone(),
            number: slot.number,
            saved,
        };
        // Whoever else writes this slot of the catalog waits.
        self.in_catalog(&mut self.catalog.lock(), |catalog| {
            let first = !slot.saved.lock().checkpointed;
            if first {
                catalog.write(&entry)?;
            } else {
                catalog.hint(&entry)?;
            }
            *slot.saved.lock() = saved;
            Ok(())
        })
    }

    /// Changes the catalog. When that fails, and it cannot be made what it was either, nobody
    /// knows what the next start finds there: no further write is taken.
    fn in_catalog<T>(
        &self,
        catalog: &mut Catalog,
        work: impl FnOnce(&mut Catalog) -> Result<T>,
    ) -> Result<T> {
        let done = work(catalog);
        if let Some(error) = catalog.unsure() {
            self.fail("the catalog", error);
        }
        done
    }

    async fn snapshot(&self, loaded: &Arc<Loaded>, then: Option<Phase>) -> Result<Source> {
        let (reply, answer) = oneshot::channel();
        let work = Work::Snapshot(then, reply);
        let request = Request {
            loaded: loaded.clone(),
            work,
            cost: 64,
        };
        self.queue.push(request, (usize::MAX, usize::MAX))?;
        match answer.await {
            Ok(Ok(source)) => Ok(source),
            Ok(Err(Refused::Error(error))) => Err(error),
            Ok(Err(Refused::Retry | Refused::Fetch(_))) => Err(watch::asleep()),
            Err(_) => Err(Error::Unavailable("the datastore is shutting down".into())),
        }
    }

    /// The same for a thread that may wait.
    fn snapshot_blocking(&self, loaded: &Arc<Loaded>, then: Option<Phase>) -> Result<Source> {
        drive::block_on(self.snapshot(loaded, then))
    }

    /// The keyspace in memory, loaded if it is not.
    async fn load(self: &Arc<Self>, slot: &Arc<Slot>) -> Result<Arc<Loaded>> {
        if let Some(loaded) = slot.loaded.read().clone() {
            return Ok(loaded);
        }
        let _busy = slot.busy.lock().await;
        if slot.deleted.load(Ordering::Acquire) {
            return Err(Error::Deleted);
        }
        if let Some(loaded) = slot.loaded.read().clone() {
            return Ok(loaded);
        }
        let (shared, target) = (self.clone(), slot.clone());
        let read = move || shared.read(&target);
        let loaded = self.options.drive.blocking(read).await?;
        // Not in that thread: who waits for `busy` goes on in the order of asking.
        self.admit(slot, &loaded);
        Ok(loaded)
    }

    /// The same for a thread of the engine's.
    async fn load_here(&self, slot: &Arc<Slot>) -> Result<Arc<Loaded>> {
        let _busy = slot.busy.lock().await;
        self.load_alone(slot)
    }

    /// The same for who holds `busy`.
    fn load_alone(&self, slot: &Arc<Slot>) -> Result<Arc<Loaded>> {
        if slot.deleted.load(Ordering::Acquire) {
            return Err(Error::Deleted);
        }
        if let Some(loaded) = slot.loaded.read().clone() {
            return Ok(loaded);
        }
        let loaded = self.read(slot)?;
        self.admit(slot, &loaded);
        Ok(loaded)
    }

    fn read(&self, slot: &Arc<Slot>) -> Result<Arc<Loaded>> {
        let ciphers = self.ciphers(slot)?;
        let (state, values) = slot.read(&self.dir, &*self.options.disk, &ciphers, self.now_ms())?;
        Ok(Arc::new(Loaded {
            drive: self.options.drive.clone(),
            ciphers,
            slot: slot.clone(),
            values,
            state: state.into(),
            used: AtomicBool::new(false),
            stats: Stats::default(),
        }))
    }

    /// The keyspace is in memory from now on. The caller holds `busy`.
    fn admit(&self, slot: &Slot, loaded: &Arc<Loaded>) {
        *slot.loaded.write() = Some(loaded.clone());
        slot.nothing_pending();
        upkeep::watch_leases(self, loaded);
    }

    async fn erase(&self, slot: &Arc<Slot>) -> Result<()> {
        slot.wanted.fetch_add(1, Ordering::AcqRel);
        let _busy = slot.busy.lock().await;
        slot.wanted.fetch_sub(1, Ordering::AcqRel);
        if slot.deleted.load(Ordering::Acquire) {
            return Ok(());
        }
        let loaded = slot.loaded.read().clone();
        let last = match &loaded {
            Some(loaded) => Some(self.snapshot(loaded, Some(Phase::Deleted)).await?),
            None => None,
        };
        let erased = self.in_catalog(&mut self.catalog.lock(), |catalog| {
            catalog.erase(slot.number)
        });
        if let (Err(_), Some(loaded), Some(last)) = (&erased, &loaded, &last) {
            last.give_back(&mut loaded.state.write());
        }
        erased?;
        slot.deleted.store(true, Ordering::Release);
        self.slots.lock().remove(&slot.id);
        self.forget(slot);
        Ok(())
    }

    /// Drops what is left of a keyspace that is no longer in the catalog.
    fn forget(&self, slot: &Slot) {
        let loaded = slot.loaded.write().take();
        slot.nothing_pending();
        if let Some(loaded) = loaded {
            for watcher in std::mem::take(&mut loaded.state.write().watchers) {
                watcher.finish(Error::Deleted);
            }
        }
        self.remove_files(slot.number);
    }

    /// Removes checkpoint and values of a number that is not in the catalog. Their key is gone:
    /// they are only ciphertext now, and the next start removes them too.
    fn remove_files(&self, number: u64) {
        let (disk, folder) = (&*self.options.disk, self.dir.join("keyspaces"));
        let ours = format!("{number:016x}.");
        let removed = disk.list(&folder).and_then(|names| {
            for name in names.iter().filter(|name| name.starts_with(&ours)) {
                disk.remove(&folder.join(name))?;
            }
            disk.sync_dir(&folder)
        });
        if let Err(error) = removed {
            tracing::warn!(%error, "files of a keyspace that is gone are left until the next start");
        }
    }

    async fn sleep(&self, slot: &Arc<Slot>) -> Result<()> {
        slot.wanted.fetch_add(1, Ordering::AcqRel);
        let _busy = slot.busy.lock().await;
        slot.wanted.fetch_sub(1, Ordering::AcqRel);
        let Some(loaded) = slot.loaded.read().clone() else {
            return Ok(());
        };
        checkpointer::checkpoint(self, slot, Some(Phase::Retired)).await?;
        *slot.loaded.write() = None;
        let mut state = loaded.state.write();
        for watcher in std::mem::take(&mut state.watchers) {
            watcher.finish(watch::asleep());
        }
        let deadlines = state.leases.values().map(|lease| lease.deadline_ms);
        if let Some(first) = deadlines.min() {
            self.upkeep.wake_at(first, slot);
        }
        Ok(())
    }
}

#[async_trait]
impl Keyspaces for Embedded {
    async fn open(&self, id: &str) -> Result<Arc<dyn Store>> {
        if id.is_empty() || id.len() > MAX_ID {
            return Err(Error::Invalid(format!(
                "a keyspace id has 1 to {MAX_ID} bytes"
            )));
        }
        let known = self.shared.slots.lock().get(id).cloned();
        let slot = match known {
            Some(slot) => slot,
            None => {
                let (shared, id) = (self.shared.clone(), id.to_owned());
                let create = move || shared.create(&id);
                self.shared.options.drive.blocking(create).await?
            }
        };
        Ok(Arc::new(store::EmbeddedStore::new(
            self.shared.clone(),
            slot,
        )))
    }

    async fn sleep(&self, id: &str) -> Result<()> {
        let Some(slot) = self.shared.slots.lock().get(id).cloned() else {
            return Ok(());
        };
        let shared = self.shared.clone();
        let drive = &self.shared.options.drive;
        let sleep = move || async move { shared.sleep(&slot).await };
        drive.apart(sleep).await
    }

    fn set_quota(&self, id: &str, bytes: Option<u64>, keys: Option<u64>) -> Result<Quota> {
        let usual = self.shared.options.limits;
        let quota = Quota {
            bytes: bytes.unwrap_or(usual.bytes),
            keys: keys.unwrap_or(usual.keys),
        };
        let limits = Limits {
            bytes: quota.bytes,
            keys: quota.keys,
            ..usual
        };
        self.limit(id, limits)?;
        Ok(quota)
    }

    fn quota(&self, id: &str) -> Result<Quota> {
        let slot = self.shared.slots.lock().get(id).cloned();
        let slot = slot.ok_or_else(|| Error::Invalid(format!("there is no keyspace {id}")))?;
        let limits = slot.limits(self.shared.options.limits);
        Ok(Quota {
            bytes: limits.bytes,
            keys: limits.keys,
        })
    }

    async fn delete(&self, id: &str) -> Result<()> {
        let Some(slot) = self.shared.slots.lock().get(id).cloned() else {
            return Ok(());
        };
        let shared = self.shared.clone();
        let drive = &self.shared.options.drive;
        let erase = move || async move { shared.erase(&slot).await };
        drive.apart(erase).await
    }

    async fn import(&self, id: &str, image: &Image) -> Result<Imported> {
        if id.is_empty() || id.len() > MAX_ID {
            return Err(Error::Invalid(format!(
                "a keyspace id has 1 to {MAX_ID} bytes"
            )));
        }
        self.install(id, image).await?;
        Ok(Imported::Exactly)
    }

    async fn list(&self) -> Result<Vec<String>> {
        let slots = self.shared.slots.lock();
        Ok(slots.keys().map(|id| id.to_string()).collect())
    }
}

//! One keyspace of the engine: known always, in memory only while it is used.

use super::catalog::{CatalogEntry, Saved};
use super::disk::{Disk, DiskFile};
use super::drive::Drive;
use super::log::{Place, segment_path, unavailable};
use super::metrics::Stats;
use super::opening;
use super::options::Limits;
use super::record::{Cipher, Ciphers, Record, log_nonce};
use super::state::State;
use super::values::{self, Held, Values};
use super::watch::Unsent;
use crate::{Error, KeyValue, Result};
use parking_lot::{Mutex, RwLock};
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU32};
use std::sync::{Arc, LazyLock};

/// A keyspace that exists. Of ten thousand each byte counts: what most that sleep do not need is
/// made when it is used.
pub(crate) struct Slot {
    pub(crate) id: Arc<str>,
    pub(crate) number: u64,
    pub(crate) saved: Mutex<Saved>,
    pub(crate) loaded: RwLock<Option<Arc<Loaded>>>,
    /// held while loading, checkpointing, falling asleep, being deleted
    pub(crate) busy: tokio::sync::Mutex<()>,
    /// records that no checkpoint holds, while not in memory
    pub(crate) pending: Mutex<Box<[Place]>>,
    pub(crate) deleted: AtomicBool,
    /// what it may take, if that was set
    pub(crate) limits: Mutex<Option<Box<Limits>>>,
    pub(crate) unsent: LazyLock<Arc<Unsent>>,
    /// its turn for a checkpoint has been asked for
    pub(crate) queued: AtomicBool,
    /// who waits for `busy`: a checkpoint under way hurries
    pub(crate) wanted: AtomicU32,
}

/// A keyspace in memory.
pub(crate) struct Loaded {
    pub(crate) drive: Drive,
    pub(crate) slot: Arc<Slot>,
    pub(crate) ciphers: Ciphers,
    pub(crate) values: Values,
    pub(crate) state: RwLock<State>,
    /// somebody asked for it since it was loaded
    pub(crate) used: AtomicBool,
    pub(crate) stats: Stats,
}

impl Slot {
    pub(crate) fn new(entry: CatalogEntry, pending: Vec<Place>) -> Self {
        Self {
            id: entry.id,
            number: entry.number,
            saved: Mutex::new(entry.saved),
            loaded: RwLock::new(None),
            busy: tokio::sync::Mutex::new(()),
            pending: Mutex::new(pending.into()),
            deleted: AtomicBool::new(false),
            limits: Mutex::new(None),
            unsent: LazyLock::new(|| Arc::new(Unsent::new(Limits::default().unsent_bytes))),
            queued: AtomicBool::new(false),
            wanted: AtomicU32::new(0),
        }
    }

    /// All of it is in a checkpoint or in memory.
    pub(crate) fn nothing_pending(&self) {
        *self.pending.lock() = Box::default();
    }

    /// The oldest segment that is still needed for this keyspace.
    pub(crate) fn dirty_from(&self) -> Option<u64> {
        let in_memory = || {
            let loaded = self.loaded.read().clone()?;
            let state = loaded.state.read();
            Some(state.needed_from())
        };
        if let Some(needed) = in_memory() {
            return needed;
        }
        let pending = self.pending.lock().first().map(|place| place.segment);
        // It may have been loaded just now: then it is in memory what was pending.
        pending.or_else(|| in_memory().flatten())
    }

    pub(crate) fn limits(&self, default: Limits) -> Limits {
        self.limits.lock().as_deref().copied().unwrap_or(default)
    }

    /// Reads checkpoint and log into a state. The caller holds `busy`.
    pub(crate) fn read(
        &self,
        dir: &Path,
        disk: &dyn Disk,
        ciphers: &Ciphers,
        now_ms: u64,
    ) -> Result<(State, Values)> {
        let (mut state, values, covered) = opening::read(dir, disk, self, &ciphers.checkpoint)?;
        state.loaded_ms = now_ms;
        let pending: Vec<Place> = {
            let pending = self.pending.lock();
            let newer = pending.iter().filter(|place| place.batch > covered);
            newer.copied().collect()
        };
        let tail = Tail {
            id: &self.id,
            number: self.number,
            cipher: &ciphers.log,
            dir,
            disk,
        };
        tail.replay(&pending, &mut state, now_ms)?;
        state.publish();
        while state.purge_slice(usize::MAX) {}
        Ok((state, values))
    }
}

/// Bytes of the log that are read at once.
const WINDOW: usize = 256 << 10;
/// Windows that may be ready before they are applied.
const AHEAD: usize = 4;

/// Records that are near each other, to be read with one call.
fn windows(mut places: &[Place]) -> impl Iterator<Item = &[Place]> {
    std::iter::from_fn(move || {
        let first = places.first()?;
        let near = |other: &&Place| {
            other.segment == first.segment
                && other.offset >= first.offset
                && other.offset + other.len <= first.offset + WINDOW
        };
        let (window, rest) = places.split_at(places.iter().take_while(near).count().max(1));
        places = rest;
        Some(window)
    })
}

/// What the log holds of one keyspace.
#[derive(Clone, Copy)]
struct Tail<'a> {
    id: &'a str,
    number: u64,
    cipher: &'a Cipher,
    dir: &'a Path,
    disk: &'a dyn Disk,
}

/// What reading needs: the segment that is open, and a buffer.
#[derive(Default)]
struct Reading {
    open: Option<(u64, Box<dyn DiskFile>)>,
    data: Vec<u8>,
}

impl Tail<'_> {
    /// Applies records in order. Of many, a second thread reads and decrypts those that follow.
    fn replay(self, pending: &[Place], state: &mut State, now_ms: u64) -> Result<()> {
        let windows: Vec<&[Place]> = windows(pending).collect();
        let mut reading = Reading::default();
        if windows.len() < 2 || self.disk.simulated() {
            for window in windows {
                self.apply(state, window, self.records(&mut reading, window)?, now_ms)?;
            }
            return Ok(());
        }
        std::thread::scope(|scope| {
            let (ready, records) = std::sync::mpsc::sync_channel(AHEAD);
            let all = &windows;
            scope.spawn(move || {
                for window in all {
                    let read = self.records(&mut reading, window);
                    // After an error of this thread's or the other's nobody wants more.
                    if read.is_err() | ready.send(read).is_err() {
                        return;
                    }
                }
            });
            for (window, read) in windows.iter().zip(records) {
                self.apply(state, window, read?, now_ms)?;
            }
            Ok(())
        })
    }

    fn apply(
        self,
        state: &mut State,
        window: &[Place],
        records: Vec<Record>,
        now_ms: u64,
    ) -> Result<()> {
        for (place, record) in window.iter().zip(records) {
            let applied = state.apply(record, now_ms);
            applied.ok_or_else(|| self.damaged(place))?;
            state.dirty_from.get_or_insert(place.segment);
            state.tail_bytes += place.len as u64;
        }
        Ok(())
    }

    fn damaged(self, place: &Place) -> Error {
        Error::Corrupt(format!(
            "keyspace {}: log segment {}, offset {}: the record does not fit",
            self.id, place.segment, place.offset
        ))
    }

    /// The records of one window.
    fn records(self, reading: &mut Reading, window: &[Place]) -> Result<Vec<Record>> {
        let (Some(first), Some(last)) = (window.first(), window.last()) else {
            return Ok(Vec::new());
        };
        let data = reading.read(self, first, last.offset + last.len - first.offset);
        let data = data.map_err(|error| match error.kind() {
            // A table of contents may say what its segment does not have.
            io::ErrorKind::UnexpectedEof => self.damaged(first),
            _ => unavailable(&error),
        })?;
        let mut open = |place: &Place| {
            let from = place.offset - first.offset;
            let sealed = data.get_mut(from..from + place.len)?;
            open_record(self.cipher, self.number, place, sealed)
        };
        window
            .iter()
            .map(|place| open(place).ok_or_else(|| self.damaged(place)))
            .collect()
    }
}

impl Reading {
    fn read(&mut self, tail: Tail<'_>, first: &Place, len: usize) -> io::Result<&mut [u8]> {
        let segment = self.open.as_ref().map(|(segment, _)| *segment);
        if segment != Some(first.segment) {
            let path = segment_path(&tail.dir.join("log"), first.segment);
            self.open = Some((first.segment, tail.disk.open_existing(&path)?));
        }
        let (_, file) = self.open.as_mut().expect("opened above");
        self.data.resize(len, 0);
        file.read_at(&mut self.data, first.offset as u64)?;
        Ok(&mut self.data)
    }
}

impl Loaded {
    /// What reads values of this keyspace.
    pub(crate) fn values(&self) -> values::Reader<'_> {
        values::Reader {
            values: &self.values,
            cipher: &self.ciphers.values,
            number: self.slot.number,
        }
    }

    /// Keys with their values. Only a value that is on the disk is worth a thread that waits.
    pub(crate) async fn kvs(self: &Arc<Self>, held: Vec<Held>) -> Result<Vec<KeyValue>> {
        let memory: Option<Vec<_>> = held.iter().map(Held::in_memory).collect();
        if let Some(kvs) = memory {
            return Ok(kvs);
        }
        let loaded = self.clone();
        let read = move || loaded.values().kvs(&held);
        self.drive.blocking(read).await
    }
}

fn open_record(cipher: &Cipher, number: u64, place: &Place, data: &mut [u8]) -> Option<Record> {
    let nonce = log_nonce(place.segment, place.counter);
    Record::decode(cipher.open(nonce, &number.to_le_bytes(), data)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_keyspace_that_sleeps_takes_little() {
        // What counts it is in front of it; the next size that allocators have is 224.
        assert!(size_of::<Slot>() + 16 <= 192, "{}", size_of::<Slot>());
    }
}

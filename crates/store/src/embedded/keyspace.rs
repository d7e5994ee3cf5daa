//! One keyspace of the engine: known always, in memory only while it is used.

use super::catalog::CatalogEntry;
use super::checkpoint;
use super::disk::{Disk, DiskFile};
use super::log::{Place, segment_path, unavailable};
use super::metrics::Stats;
use super::options::Limits;
use super::record::{Cipher, Ciphers, Record, log_nonce};
use super::state::State;
use super::values::{self, Held, Values};
use super::watch::Unsent;
use crate::{Error, KeyValue, Result};
use parking_lot::{Mutex, RwLock};
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize};

/// A keyspace that exists.
pub(crate) struct Slot {
    pub(crate) entry: Mutex<CatalogEntry>,
    pub(crate) number: u64,
    pub(crate) loaded: RwLock<Option<Arc<Loaded>>>,
    /// held while loading, checkpointing, falling asleep, being deleted
    pub(crate) busy: tokio::sync::Mutex<()>,
    /// records that no checkpoint holds, while not in memory
    pub(crate) pending: Mutex<Vec<Place>>,
    pub(crate) deleted: AtomicBool,
    /// what it may take, if that was set
    pub(crate) limits: Mutex<Option<Limits>>,
    pub(crate) unsent: Arc<Unsent>,
    /// its turn for a checkpoint has been asked for
    pub(crate) queued: AtomicBool,
    /// who waits for `busy`: a checkpoint under way hurries
    pub(crate) wanted: AtomicUsize,
}

/// A keyspace in memory.
pub(crate) struct Loaded {
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
            number: entry.number,
            entry: Mutex::new(entry),
            loaded: RwLock::new(None),
            busy: tokio::sync::Mutex::new(()),
            pending: Mutex::new(pending),
            deleted: AtomicBool::new(false),
            limits: Mutex::new(None),
            unsent: Arc::new(Unsent::new(Limits::default().unsent_bytes)),
            queued: AtomicBool::new(false),
            wanted: AtomicUsize::new(0),
        }
    }

    /// Made when needed: expanded keys are most of what a sleeping keyspace would take.
    pub(crate) fn ciphers(&self) -> Ciphers {
        Ciphers::new(&self.entry.lock().data_key)
    }

    pub(crate) fn id(&self) -> String {
        self.entry.lock().id.clone()
    }

    /// The oldest segment that is still needed for this keyspace.
    pub(crate) fn dirty_from(&self) -> Option<u64> {
        let in_memory = || {
            let loaded = self.loaded.read().clone()?;
            let state = loaded.state.read();
            Some(state.saving.into_iter().chain(state.dirty_from).min())
        };
        if let Some(needed) = in_memory() {
            return needed;
        }
        let pending = self.pending.lock().first().map(|place| place.segment);
        // It may have been loaded just now: then it is in memory what was pending.
        pending.or_else(|| in_memory().flatten())
    }

    pub(crate) fn limits(&self, default: Limits) -> Limits {
        self.limits.lock().unwrap_or(default)
    }

    /// Reads checkpoint and log into a state. The caller holds `busy`.
    pub(crate) fn read(&self, dir: &Path, disk: &dyn Disk, now_ms: u64) -> Result<(State, Values)> {
        let ciphers = self.ciphers();
        let (mut state, values, covered) = checkpoint::read(dir, disk, self, &ciphers.checkpoint)?;
        state.loaded_ms = now_ms;
        let pending = self.pending.lock().clone();
        let pending: Vec<Place> = pending
            .into_iter()
            .filter(|place| place.batch > covered)
            .collect();
        let mut window = Window::new(dir, disk);
        for (n, place) in pending.iter().enumerate() {
            let record = window
                .read(&pending[n..])
                .map_err(|e| unavailable(&e))
                .map(|data| open_record(&ciphers.log, self.number, place, data))?;
            record
                .and_then(|record| state.apply(record, now_ms))
                .ok_or_else(|| {
                    Error::Corrupt(format!(
                        "keyspace {}: log segment {}, offset {}: the record does not fit",
                        self.id(),
                        place.segment,
                        place.offset
                    ))
                })?;
            state.dirty_from.get_or_insert(place.segment);
            state.tail_bytes += place.len as u64;
        }
        state.publish();
        while state.purge_slice(usize::MAX) {}
        Ok((state, values))
    }
}

/// Reads records that follow each other with few calls.
struct Window<'a> {
    dir: &'a Path,
    disk: &'a dyn Disk,
    open: Option<(u64, Box<dyn DiskFile>)>,
    start: usize,
    data: Vec<u8>,
}

/// Bytes of the log that are read at once.
const WINDOW: usize = 1 << 20;

impl<'a> Window<'a> {
    fn new(dir: &'a Path, disk: &'a dyn Disk) -> Self {
        Self {
            dir,
            disk,
            open: None,
            start: 0,
            data: Vec::new(),
        }
    }

    /// The first of these records; each is asked for once, in order.
    fn read(&mut self, places: &[Place]) -> io::Result<&mut [u8]> {
        let place = &places[0];
        let known = self.open.as_ref().map(|(segment, _)| *segment);
        if known != Some(place.segment) {
            let path = segment_path(&self.dir.join("log"), place.segment);
            self.open = Some((place.segment, self.disk.open_existing(&path)?));
            self.data.clear();
        }
        let inside =
            place.offset >= self.start && place.offset + place.len <= self.start + self.data.len();
        if !inside {
            let near = |other: &&Place| {
                other.segment == place.segment && other.offset + other.len <= place.offset + WINDOW
            };
            let last = places.iter().take_while(near).last().unwrap_or(place);
            self.start = place.offset;
            self.data.resize(last.offset + last.len - place.offset, 0);
            let (_, file) = self.open.as_mut().expect("opened above");
            if let Err(error) = file.read_at(&mut self.data, place.offset as u64) {
                self.data.clear();
                return Err(error);
            }
        }
        let from = place.offset - self.start;
        Ok(&mut self.data[from..from + place.len])
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
        super::blocking(move || loaded.values().kvs(&held)).await
    }
}

fn open_record(cipher: &Cipher, number: u64, place: &Place, data: &mut [u8]) -> Option<Record> {
    let nonce = log_nonce(place.segment, place.counter);
    Record::decode(cipher.open(nonce, &number.to_le_bytes(), data)?)
}

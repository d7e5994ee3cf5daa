//! One keyspace of the engine: known always, in memory only while it is used.

use super::catalog::CatalogEntry;
use super::checkpoint;
use super::disk::{Disk, DiskFile};
use super::log::{Place, segment_path, unavailable};
use super::record::{Cipher, Ciphers, Record, log_nonce};
use super::state::State;
use crate::{Error, Result};
use parking_lot::{Mutex, RwLock};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

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
}

/// A keyspace in memory.
pub(crate) struct Loaded {
    pub(crate) slot: Arc<Slot>,
    pub(crate) ciphers: Ciphers,
    pub(crate) state: RwLock<State>,
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
        let loaded = self.loaded.read().clone();
        match loaded {
            Some(loaded) => {
                let state = loaded.state.read();
                state.saving.into_iter().chain(state.dirty_from).min()
            }
            None => self.pending.lock().first().map(|place| place.segment),
        }
    }

    /// What it takes to write a checkpoint, while in memory.
    pub(crate) fn loaded_bytes(&self) -> Option<u64> {
        let loaded = self.loaded.read().clone()?;
        let bytes = loaded.state.read().bytes;
        Some(bytes)
    }

    /// Reads checkpoint and log into a state. The caller holds `busy`.
    pub(crate) fn read(&self, dir: &Path, disk: &dyn Disk, now_ms: u64) -> Result<State> {
        let ciphers = self.ciphers();
        let (mut state, covered) = checkpoint::read(dir, disk, self, &ciphers.checkpoint, now_ms)?;
        let pending = self.pending.lock().clone();
        let mut open: Option<(u64, Box<dyn DiskFile>)> = None;
        for place in pending.iter().filter(|place| place.batch > covered) {
            if open
                .as_ref()
                .is_none_or(|(segment, _)| *segment != place.segment)
            {
                let path = segment_path(&dir.join("log"), place.segment);
                let file = disk.open_existing(&path).map_err(|e| unavailable(&e))?;
                open = Some((place.segment, file));
            }
            let (_, file) = open.as_mut().expect("opened above");
            let mut data = vec![0; place.len];
            file.read_at(&mut data, place.offset as u64)
                .map_err(|e| unavailable(&e))?;
            let record = open_record(&ciphers.log, self.number, place, &mut data);
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
        }
        state.publish();
        while state.purge_slice(usize::MAX) {}
        Ok(state)
    }
}

fn open_record(cipher: &Cipher, number: u64, place: &Place, data: &mut [u8]) -> Option<Record> {
    let nonce = log_nonce(place.segment, place.counter);
    Record::decode(cipher.open(nonce, &number.to_le_bytes(), data)?)
}

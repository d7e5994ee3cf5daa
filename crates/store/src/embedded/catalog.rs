//! The file that says which keyspaces exist and holds their data keys, sealed.
//!
//! One 512-byte slot each, written with one durable write. Deleting a keyspace overwrites its
//! slot: without the key, what the log and checkpoints still hold of it cannot be read again.

use super::disk::{Disk, DiskFile};
use super::keyring::{Keyring, SEALED, SealedKey, other_key};
use super::log::unavailable;
use super::record::{Ciphers, Reader};
use crate::{Error, Result};
use parking_lot::Mutex;
use std::collections::BTreeSet;
use std::io;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

const SLOT: usize = 512;
/// Bytes that are read at once.
const PIECE: usize = 128 * SLOT;
/// Where in a slot the key is, behind magic and number.
const KEY: Range<usize> = 16..20 + SEALED;
const MAGIC: &[u8; 8] = b"FHKS\0\0\0\x02";
/// Longest keyspace id.
pub(crate) const MAX_ID: usize = 255;

#[derive(Clone, PartialEq, Eq)]
pub(crate) struct CatalogEntry {
    pub(crate) id: Arc<str>,
    pub(crate) number: u64,
    pub(crate) saved: Saved,
}

/// What is said of a keyspace's checkpoint.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Saved {
    /// whether the file must exist
    pub(crate) checkpointed: bool,
    /// last batch of the log that it holds; may be behind
    pub(crate) covered: u64,
    /// when its first lease ends, as far as its checkpoint knows; 0: never
    pub(crate) deadline_ms: u64,
}

/// What a slot of the file holds. The keys are here only: nobody else can write an old one back.
#[derive(Clone, Copy)]
struct Held {
    number: u64,
    key: SealedKey,
}

pub(crate) struct Catalog {
    file: Box<dyn DiskFile>,
    slots: Vec<Option<Held>>,
    /// why nobody knows what a slot says on the disk
    unsure: Option<io::Error>,
}

impl Catalog {
    pub(crate) fn open(dir: &Path, disk: &dyn Disk) -> Result<(Self, Vec<CatalogEntry>)> {
        Self::read_all(dir, disk, &mut |text| Err(Error::Corrupt(text)))
    }

    /// The same; what is done about a slot that is damaged the caller says.
    pub(crate) fn read_all(
        dir: &Path,
        disk: &dyn Disk,
        damaged: &mut dyn FnMut(String) -> Result<()>,
    ) -> Result<(Self, Vec<CatalogEntry>)> {
        let path = dir.join("catalog");
        let mut file = disk.open(&path).map_err(|e| unavailable(&e))?;
        disk.sync_dir(dir).map_err(|e| unavailable(&e))?;
        let len = file.size().map_err(|e| unavailable(&e))?;
        // In pieces and without room to grow: of ten thousand keyspaces it is five megabytes.
        let count = usize::try_from(len).map_or(0, |len| len.div_ceil(SLOT));
        let (mut slots, mut entries) = (Vec::with_capacity(count), Vec::with_capacity(count));
        let mut piece = vec![0; PIECE];
        for at in (0..len).step_by(PIECE) {
            let piece = &mut piece[..usize::try_from(len - at).map_or(PIECE, |n| n.min(PIECE))];
            let read = file.read_at(piece, at);
            read.map_err(|e| unavailable(&e))?;
            for slot in piece.chunks(SLOT) {
                if slot.iter().all(|b| *b == 0) {
                    slots.push(None);
                    continue;
                }
                let Some((entry, key)) = decode(slot) else {
                    let n = slots.len();
                    damaged(format!("the keyspace catalog, slot {n}: bad checksum"))?;
                    slots.push(None);
                    continue;
                };
                let number = entry.number;
                slots.push(Some(Held { number, key }));
                entries.push(entry);
            }
        }
        let catalog = Self {
            file,
            slots,
            unsure: None,
        };
        Ok((catalog, entries))
    }

    fn find(&self, number: u64) -> Result<(usize, Held)> {
        let same = |held: Held| (held.number == number).then_some(held);
        let mut slots = self.slots.iter().enumerate();
        let found = slots.find_map(|(n, held)| Some((n, held.and_then(same)?)));
        found.ok_or(Error::Deleted)
    }

    /// Adds a keyspace; durable.
    pub(crate) fn add(&mut self, entry: &CatalogEntry, key: SealedKey) -> Result<()> {
        let free = self.slots.iter().position(Option::is_none);
        let slot = free.unwrap_or(self.slots.len());
        self.put(slot, entry, key)
    }

    /// Puts a keyspace in the place of another, in one durable write.
    pub(crate) fn replace(&mut self, old: u64, entry: &CatalogEntry, key: SealedKey) -> Result<()> {
        let (slot, _) = self.find(old)?;
        self.put(slot, entry, key)
    }

    fn put(&mut self, slot: usize, entry: &CatalogEntry, key: SealedKey) -> Result<()> {
        self.store(slot, &encode(entry, &key))?;
        if slot == self.slots.len() {
            self.slots.push(None);
        }
        let number = entry.number;
        self.slots[slot] = Some(Held { number, key });
        Ok(())
    }

    /// Rewrites what is said of a keyspace; durable.
    pub(crate) fn write(&mut self, entry: &CatalogEntry) -> Result<()> {
        let (slot, held) = self.find(entry.number)?;
        self.store(slot, &encode(entry, &held.key))
    }

    /// Rewrites what is said of a keyspace without waiting for the disk: the old says enough.
    pub(crate) fn hint(&mut self, entry: &CatalogEntry) -> Result<()> {
        let (slot, held) = self.find(entry.number)?;
        self.change(slot, &encode(entry, &held.key), false)
    }

    /// The data key of a keyspace, as it is kept.
    pub(crate) fn sealed(&self, number: u64) -> Result<SealedKey> {
        self.find(number).map(|(_, held)| held.key)
    }

    /// The keys of the ring that something is sealed with.
    pub(crate) fn sealed_with(&self) -> BTreeSet<u32> {
        self.slots
            .iter()
            .flatten()
            .map(|held| held.key.with)
            .collect()
    }

    /// Seals every data key anew, and says how many there are; durable. Where it is interrupted,
    /// each is as it was or as it should be.
    pub(crate) fn reseal(
        &mut self,
        anew: impl Fn(u64, &SealedKey) -> Result<SealedKey>,
    ) -> Result<u64> {
        let mut count = 0;
        for n in 0..self.slots.len() {
            let Some(held) = self.slots[n] else { continue };
            let key = anew(held.number, &held.key)?;
            let mut slot = self.read(n)?;
            slot[KEY].copy_from_slice(&[&key.with.to_le_bytes()[..], &key.bytes].concat());
            let crc = crc32fast::hash(&slot[..SLOT - 4]);
            slot[SLOT - 4..].copy_from_slice(&crc.to_le_bytes());
            self.change(n, &slot, false)?;
            self.slots[n] = Some(Held { key, ..held });
            count += 1;
        }
        self.sync()?;
        Ok(count)
    }

    fn sync(&mut self) -> Result<()> {
        self.file.sync_data().map_err(|e| unavailable(&e))
    }

    /// Forgets a keyspace and its key; durable.
    pub(crate) fn erase(&mut self, number: u64) -> Result<()> {
        if let Ok((slot, _)) = self.find(number) {
            self.store(slot, &[0; SLOT])?;
            self.slots[slot] = None;
        }
        Ok(())
    }

    fn store(&mut self, slot: usize, bytes: &[u8; SLOT]) -> Result<()> {
        self.change(slot, bytes, true)
    }

    fn read(&mut self, slot: usize) -> Result<[u8; SLOT]> {
        let mut bytes = [0; SLOT];
        let read = self.file.read_at(&mut bytes, (slot * SLOT) as u64);
        read.map_err(|e| unavailable(&e))?;
        Ok(bytes)
    }

    /// Writes a slot; one that cannot be written is put back as it was.
    fn change(&mut self, slot: usize, bytes: &[u8; SLOT], durable: bool) -> Result<()> {
        let at = (slot * SLOT) as u64;
        let old = match slot < self.slots.len() {
            true => Some(self.read(slot)?),
            false => None,
        };
        let written = self.file.write_at(bytes, at);
        let written = written.and_then(|()| match durable {
            true => self.file.sync_data(),
            false => Ok(()),
        });
        let Err(error) = written else {
            return Ok(());
        };
        let back = match old {
            Some(old) => self.file.write_at(&old, at),
            None => self.file.set_len(at),
        };
        if let Err(worse) = back.and_then(|()| self.file.sync_data()) {
            self.unsure = Some(worse);
        }
        Err(unavailable(&error))
    }

    /// Why it must not be trusted that it is on the disk as it was, if it could not be put back.
    pub(crate) fn unsure(&self) -> Option<&io::Error> {
        self.unsure.as_ref()
    }
}

/// The ciphers of a keyspace. May ask a plugin, without keeping anybody from the catalog.
pub(crate) fn ciphers(catalog: &Mutex<Catalog>, ring: &Keyring, number: u64) -> Result<Ciphers> {
    loop {
        let sealed = catalog.lock().sealed(number)?;
        let key = match ring.key(sealed.with) {
            Ok(key) => key,
            // It was sealed anew in between.
            Err(_) if catalog.lock().sealed(number)? != sealed => continue,
            Err(error) => return Err(error),
        };
        let data_key = key.open(number, &sealed).ok_or_else(other_key)?;
        return Ok(Ciphers::new(&data_key));
    }
}

fn encode(entry: &CatalogEntry, key: &SealedKey) -> [u8; SLOT] {
    let mut bytes = Vec::with_capacity(SLOT);
    bytes.extend_from_slice(MAGIC);
    bytes.extend_from_slice(&entry.number.to_le_bytes());
    bytes.extend_from_slice(&key.with.to_le_bytes());
    bytes.extend_from_slice(&key.bytes);
    bytes.push(u8::from(entry.saved.checkpointed));
    bytes.push(u8::try_from(entry.id.len()).expect("ids are checked when opened"));
    bytes.extend_from_slice(entry.id.as_bytes());
    bytes.extend_from_slice(&entry.saved.covered.to_le_bytes());
    bytes.extend_from_slice(&entry.saved.deadline_ms.to_le_bytes());
    bytes.resize(SLOT - 4, 0);
    let crc = crc32fast::hash(&bytes);
    bytes.extend_from_slice(&crc.to_le_bytes());
    bytes.try_into().expect("exactly one slot")
}

fn decode(slot: &[u8]) -> Option<(CatalogEntry, SealedKey)> {
    let (body, crc) = slot.split_at_checked(SLOT - 4)?;
    if crc != crc32fast::hash(body).to_le_bytes() {
        return None;
    }
    let mut reader = Reader(body);
    if reader.take(8)? != MAGIC {
        return None;
    }
    let number = reader.u64()?;
    let key = SealedKey {
        with: reader.u32()?,
        bytes: reader.take(SEALED)?.try_into().ok()?,
    };
    let checkpointed = reader.u8()? != 0;
    let len = usize::from(reader.u8()?);
    let id = std::str::from_utf8(reader.take(len)?).ok()?.into();
    let entry = CatalogEntry {
        id,
        number,
        saved: Saved {
            checkpointed,
            covered: reader.u64()?,
            deadline_ms: reader.u64()?,
        },
    };
    Some((entry, key))
}

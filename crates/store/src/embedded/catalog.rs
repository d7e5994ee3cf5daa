//! The file that says which keyspaces exist and holds their data keys.
//!
//! One 512-byte slot each, written with one durable write. Deleting a keyspace overwrites its
//! slot: without the key, what the log and checkpoints still hold of it cannot be read again.

use super::disk::{Disk, DiskFile};
use super::log::unavailable;
use super::record::Reader;
use crate::{Error, Result};
use std::path::Path;

const SLOT: usize = 512;
const MAGIC: &[u8; 8] = b"FHKS\0\0\0\x01";
/// Longest keyspace id.
pub(crate) const MAX_ID: usize = 255;

#[derive(Clone, PartialEq, Eq)]
pub(crate) struct CatalogEntry {
    pub(crate) id: String,
    pub(crate) number: u64,
    pub(crate) data_key: [u8; 32],
    /// whether a checkpoint file must exist
    pub(crate) checkpointed: bool,
    /// last batch of the log that its checkpoint holds; may be behind
    pub(crate) covered: u64,
    /// when its first lease ends, as far as its checkpoint knows; 0: never
    pub(crate) deadline_ms: u64,
}

pub(crate) struct Catalog {
    file: Box<dyn DiskFile>,
    slots: Vec<Option<u64>>,
}

impl Catalog {
    pub(crate) fn open(dir: &Path, disk: &dyn Disk) -> Result<(Self, Vec<CatalogEntry>)> {
        let path = dir.join("catalog");
        let file = disk.open(&path).map_err(|e| unavailable(&e))?;
        disk.sync_dir(dir).map_err(|e| unavailable(&e))?;
        let data = disk.read(&path).map_err(|e| unavailable(&e))?;
        let mut entries = Vec::new();
        let mut slots = Vec::new();
        for (n, slot) in data.chunks(SLOT).enumerate() {
            if slot.iter().all(|b| *b == 0) {
                slots.push(None);
                continue;
            }
            let entry = decode(slot).ok_or_else(|| {
                Error::Corrupt(format!("the keyspace catalog, slot {n}: bad checksum"))
            })?;
            slots.push(Some(entry.number));
            entries.push(entry);
        }
        Ok((Self { file, slots }, entries))
    }

    /// Adds a keyspace, or rewrites what is said of it; durable.
    pub(crate) fn write(&mut self, entry: &CatalogEntry) -> Result<()> {
        let slot = self.slots.iter().position(|s| *s == Some(entry.number));
        let slot = slot.or_else(|| self.slots.iter().position(Option::is_none));
        let slot = slot.unwrap_or(self.slots.len());
        self.store(slot, &encode(entry))?;
        if slot == self.slots.len() {
            self.slots.push(None);
        }
        self.slots[slot] = Some(entry.number);
        Ok(())
    }

    /// Rewrites what is said of a keyspace without waiting for the disk: the old says enough.
    pub(crate) fn hint(&mut self, entry: &CatalogEntry) -> Result<()> {
        match self.slots.iter().position(|s| *s == Some(entry.number)) {
            Some(slot) => self
                .file
                .write_at(&encode(entry), (slot * SLOT) as u64)
                .map_err(|e| unavailable(&e)),
            None => Ok(()),
        }
    }

    /// Puts a keyspace in the place of another, in one durable write.
    pub(crate) fn replace(&mut self, old: u64, entry: &CatalogEntry) -> Result<()> {
        let slot = self.slots.iter().position(|s| *s == Some(old));
        let slot = slot.ok_or(Error::Deleted)?;
        self.store(slot, &encode(entry))?;
        self.slots[slot] = Some(entry.number);
        Ok(())
    }

    /// Forgets a keyspace and its key; durable.
    pub(crate) fn erase(&mut self, number: u64) -> Result<()> {
        if let Some(slot) = self.slots.iter().position(|s| *s == Some(number)) {
            self.store(slot, &[0; SLOT])?;
            self.slots[slot] = None;
        }
        Ok(())
    }

    fn store(&mut self, slot: usize, bytes: &[u8; SLOT]) -> Result<()> {
        self.file
            .write_at(bytes, (slot * SLOT) as u64)
            .map_err(|e| unavailable(&e))?;
        self.file.sync_data().map_err(|e| unavailable(&e))
    }
}

fn encode(entry: &CatalogEntry) -> [u8; SLOT] {
    let mut bytes = Vec::with_capacity(SLOT);
    bytes.extend_from_slice(MAGIC);
    bytes.extend_from_slice(&entry.number.to_le_bytes());
    bytes.extend_from_slice(&entry.data_key);
    bytes.push(u8::from(entry.checkpointed));
    bytes.push(u8::try_from(entry.id.len()).expect("ids are checked when opened"));
    bytes.extend_from_slice(entry.id.as_bytes());
    bytes.extend_from_slice(&entry.covered.to_le_bytes());
    bytes.extend_from_slice(&entry.deadline_ms.to_le_bytes());
    bytes.resize(SLOT - 4, 0);
    let crc = crc32fast::hash(&bytes);
    bytes.extend_from_slice(&crc.to_le_bytes());
    bytes.try_into().expect("exactly one slot")
}

fn decode(slot: &[u8]) -> Option<CatalogEntry> {
    let (body, crc) = slot.split_at_checked(SLOT - 4)?;
    if crc != crc32fast::hash(body).to_le_bytes() {
        return None;
    }
    let mut reader = Reader(body);
    if reader.take(8)? != MAGIC {
        return None;
    }
    let number = reader.u64()?;
    let data_key = reader.take(32)?.try_into().ok()?;
    let checkpointed = reader.u8()? != 0;
    let len = usize::from(reader.u8()?);
    let id = String::from_utf8(reader.take(len)?.to_vec()).ok()?;
    Some(CatalogEntry {
        id,
        number,
        data_key,
        checkpointed,
        covered: reader.u64()?,
        deadline_ms: reader.u64()?,
    })
}

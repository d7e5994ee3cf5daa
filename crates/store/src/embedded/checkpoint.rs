//! Checkpoint files: everything of one keyspace up to a batch of the log, sealed block by block.
//!
//! File: `magic, salt`, then blocks `len u32, last u8, sealed bytes`. Block 0 holds the head,
//! the others versions in key order. The block number and the mark of the last block are
//! authenticated: a truncated, reordered or foreign file does not open.

use super::disk::{Disk, DiskFile};
use super::index::{Entry, Index, Version};
use super::keyspace::Slot;
use super::log::unavailable;
use super::record::{Cipher, Reader, TAG, put_bytes, put_u32, put_u64, random};
use super::state::{Lease, Phase, State};
use crate::{Error, LeaseId, Result};
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};

const MAGIC: &[u8; 8] = b"FHCKPT\0\x01";
/// Ending of a file that is not complete yet.
pub(crate) const DRAFT: &str = "new";
/// Bytes of a checkpoint that may wait for the disk at once.
const SYNC_EVERY: u64 = 2 << 20;
const BLOCK: usize = 256 << 10;

/// A consistent, durable copy of a keyspace; cheap, since it shares everything.
pub(crate) struct Source {
    pub(crate) index: Index,
    pub(crate) rev: u64,
    pub(crate) compacted: u64,
    pub(crate) leases: BTreeMap<LeaseId, Lease>,
    /// the last batch of the log that is inside
    pub(crate) batch: u64,
    /// whether anything has changed since the last checkpoint
    pub(crate) dirty: bool,
}

impl Source {
    pub(crate) fn take(state: &mut State, batch: u64, then: Option<Phase>) -> Self {
        if let Some(phase) = then {
            state.phase = phase;
        }
        state.saving = state.dirty_from.take();
        Self {
            index: state.index.clone(),
            rev: state.visible,
            compacted: state.compacted,
            leases: state.leases.clone(),
            batch,
            dirty: state.saving.is_some(),
        }
    }
}

pub(crate) fn path(dir: &Path, number: u64) -> PathBuf {
    dir.join("keyspaces").join(format!("{number:016x}.ckpt"))
}

/// What a file is sealed with, and whose it is.
#[derive(Clone, Copy)]
pub(crate) struct Seal<'a> {
    pub(crate) cipher: &'a Cipher,
    pub(crate) number: u64,
}

struct Writer<'a> {
    file: Box<dyn DiskFile>,
    cipher: &'a Cipher,
    number: u64,
    salt: [u8; 8],
    block: u32,
    offset: u64,
}

impl Writer<'_> {
    fn block(&mut self, plain: &[u8], last: bool) -> io::Result<()> {
        let mut out = Vec::with_capacity(plain.len() + TAG + 5);
        let len = u32::try_from(plain.len() + TAG).expect("blocks are bounded");
        put_u32(&mut out, len);
        out.push(u8::from(last));
        let from = out.len();
        out.extend_from_slice(plain);
        let aad = aad(self.number, self.block, last);
        self.cipher
            .seal(nonce(self.salt, self.block), &aad, &mut out, from);
        self.file.write_at(&out, self.offset)?;
        self.offset += out.len() as u64;
        self.block += 1;
        Ok(())
    }
}

fn nonce(salt: [u8; 8], block: u32) -> [u8; 12] {
    let mut nonce = [0; 12];
    nonce[..8].copy_from_slice(&salt);
    nonce[8..].copy_from_slice(&block.to_le_bytes());
    nonce
}

fn aad(number: u64, block: u32, last: bool) -> [u8; 13] {
    let mut aad = [0; 13];
    aad[..8].copy_from_slice(&number.to_le_bytes());
    aad[8..12].copy_from_slice(&block.to_le_bytes());
    aad[12] = u8::from(last);
    aad
}

/// Writes a checkpoint beside the old one and puts it in its place; durable.
pub(crate) fn write(dir: &Path, disk: &dyn Disk, slot: &Slot, source: &Source) -> Result<()> {
    let ciphers = slot.ciphers();
    let seal = Seal {
        cipher: &ciphers.checkpoint,
        number: slot.number,
    };
    write_to(disk, &path(dir, slot.number), seal, source)
}

/// The same with a name and a seal of the caller's.
pub(crate) fn write_to(
    disk: &dyn Disk,
    target: &Path,
    seal: Seal<'_>,
    source: &Source,
) -> Result<()> {
    let draft = target.with_extension(DRAFT);
    let salt = random()?;
    let parent = target.parent().unwrap_or(Path::new("."));
    let done = write_file(disk, &draft, seal, source, salt)
        .and_then(|()| disk.rename(&draft, target))
        .and_then(|()| disk.sync_dir(parent));
    done.map_err(|error| {
        // The old checkpoint and the log still hold everything; the draft is only waste.
        drop(disk.remove(&draft));
        unavailable(&error)
    })
}

fn write_file(
    disk: &dyn Disk,
    draft: &Path,
    seal: Seal<'_>,
    source: &Source,
    salt: [u8; 8],
) -> io::Result<()> {
    let mut file = disk.open(draft)?;
    file.set_len(0)?;
    let mut start = MAGIC.to_vec();
    start.extend_from_slice(&salt);
    file.write_at(&start, 0)?;
    let offset = start.len() as u64;
    let mut writer = Writer {
        file,
        cipher: seal.cipher,
        number: seal.number,
        salt,
        block: 0,
        offset,
    };
    writer.block(&encode_head(source), false)?;
    let mut plain = Vec::with_capacity(BLOCK + 4096);
    let mut synced = 0;
    for entry in source.index.entries() {
        let versions = kept(entry, source);
        if versions.is_empty() {
            continue;
        }
        put_bytes(&mut plain, &entry.key);
        put_u32(
            &mut plain,
            u32::try_from(versions.len()).expect("history is bounded"),
        );
        for version in versions {
            put_version(&mut plain, version);
        }
        if plain.len() >= BLOCK {
            writer.block(&plain, false)?;
            plain.clear();
            // One large flush would hold up the log's small ones.
            if writer.offset >= synced + SYNC_EVERY {
                writer.file.sync_data()?;
                synced = writer.offset;
            }
        }
    }
    writer.block(&plain, true)?;
    writer.file.sync_data()
}

/// The versions that somebody may still read.
fn kept<'a>(entry: &'a Entry, source: &Source) -> Vec<&'a Version> {
    let versions: Vec<_> = entry
        .versions()
        .filter(|v| v.mod_rev <= source.rev)
        .collect();
    let upto = versions.partition_point(|v| v.mod_rev <= source.compacted);
    let drop = match versions[..upto].last() {
        Some(last) if last.alive() || last.mod_rev == source.compacted => upto - 1,
        _ => upto,
    };
    versions[drop..].to_vec()
}

fn encode_head(source: &Source) -> Vec<u8> {
    let mut out = Vec::new();
    put_u64(&mut out, source.rev);
    put_u64(&mut out, source.compacted);
    put_u64(&mut out, source.batch);
    put_u32(
        &mut out,
        u32::try_from(source.leases.len()).expect("leases are bounded"),
    );
    for (id, lease) in &source.leases {
        put_u64(&mut out, id.cast_unsigned());
        put_u64(&mut out, lease.ttl);
        put_u64(&mut out, lease.deadline_ms);
    }
    out
}

fn put_version(out: &mut Vec<u8>, version: &Version) {
    put_u64(out, version.mod_rev);
    put_u64(out, version.create_rev);
    put_u64(out, version.version);
    put_u64(out, version.lease.cast_unsigned());
    put_u32(out, version.sub);
    put_bytes(out, &version.value);
}

/// Reads a keyspace's checkpoint: its state (not yet brought up by the log) and the last batch
/// that is inside.
pub(crate) fn read(
    dir: &Path,
    disk: &dyn Disk,
    slot: &Slot,
    cipher: &Cipher,
    now_ms: u64,
) -> Result<(State, u64)> {
    let path = path(dir, slot.number);
    let expected = slot.entry.lock().checkpointed;
    let seal = Seal {
        cipher,
        number: slot.number,
    };
    let damaged =
        |what: &str| Error::Corrupt(format!("the checkpoint of keyspace {} {what}", slot.id()));
    let data = match disk.read(&path) {
        Ok(data) => data,
        Err(error) if error.kind() == io::ErrorKind::NotFound && !expected => {
            return Ok((State::new(), 0));
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(damaged("is missing")),
        Err(error) => return Err(unavailable(&error)),
    };
    let (mut state, batch) =
        decode(seal, data).ok_or_else(|| damaged("fails its authentication"))?;
    state
        .rebuild(now_ms)
        .ok_or_else(|| damaged("contradicts itself"))?;
    Ok((state, batch))
}

/// Reads a file of [`write_to`].
pub(crate) fn read_from(path: &Path, seal: Seal<'_>, now_ms: u64) -> Result<State> {
    let data = std::fs::read(path).map_err(|e| unavailable(&e))?;
    let name = path.display();
    let (mut state, _) = decode(seal, data)
        .ok_or_else(|| Error::Corrupt(format!("{name} is damaged, or this is not its key")))?;
    state
        .rebuild(now_ms)
        .ok_or_else(|| Error::Corrupt(format!("{name} contradicts itself")))?;
    Ok(state)
}

fn decode(seal: Seal<'_>, mut data: Vec<u8>) -> Option<(State, u64)> {
    let (data, mut left) = data.split_at_mut_checked(16)?;
    if data.get(..8)? != MAGIC {
        return None;
    }
    let salt: [u8; 8] = data.get(8..16)?.try_into().ok()?;
    let mut state = State::new();
    let mut batch = 0;
    let mut block = 0;
    loop {
        let header = left.get(..5)?;
        let len = u32::from_le_bytes(header[..4].try_into().ok()?) as usize;
        let last = header[4] == 1;
        let (sealed, behind) = left[5..].split_at_mut_checked(len)?;
        let aad = aad(seal.number, block, last);
        let plain = seal.cipher.open(nonce(salt, block), &aad, sealed)?;
        if block == 0 {
            batch = decode_head(&mut state, plain)?;
        } else {
            decode_entries(&mut state.index, plain)?;
        }
        if last {
            return behind.is_empty().then_some((state, batch));
        }
        left = behind;
        block += 1;
    }
}

fn decode_head(state: &mut State, plain: &[u8]) -> Option<u64> {
    let mut reader = Reader(plain);
    state.applied = reader.u64()?;
    state.compacted = reader.u64()?;
    let batch = reader.u64()?;
    for _ in 0..reader.u32()? {
        let id = reader.u64()?.cast_signed();
        let (ttl, deadline_ms) = (reader.u64()?, reader.u64()?);
        state.leases.insert(
            id,
            Lease {
                ttl,
                deadline_ms,
                keys: BTreeSet::new(),
            },
        );
    }
    Some(batch)
}

fn decode_entries(index: &mut Index, plain: &[u8]) -> Option<()> {
    let mut reader = Reader(plain);
    while !reader.0.is_empty() {
        let key = Bytes::copy_from_slice(reader.bytes()?);
        let count = reader.u32()?;
        let mut older = Vec::new();
        for _ in 1..count {
            older.push(get_version(&mut reader)?);
        }
        let newest = get_version(&mut reader)?;
        index.append(Entry { key, newest, older });
    }
    Some(())
}

fn get_version(reader: &mut Reader<'_>) -> Option<Version> {
    Some(Version {
        mod_rev: reader.u64()?,
        create_rev: reader.u64()?,
        version: reader.u64()?,
        lease: reader.u64()?.cast_signed(),
        sub: reader.u32()?,
        value: Bytes::copy_from_slice(reader.bytes()?),
    })
}

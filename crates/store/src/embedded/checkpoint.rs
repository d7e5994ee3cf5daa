//! Checkpoint files: every key of one keyspace up to a batch of the log, sealed block by block.
//!
//! File: `magic, salt`, then blocks `len u32, last u8, sealed bytes`. Block 0 holds the head,
//! the others versions in key order: small values themselves, of large ones the place in the
//! values file. The block number and the mark of the last block are authenticated: a
//! truncated, reordered or foreign file does not open.
//!
//! A backup has further parts behind that: a head, and the keys that are not as they were in the
//! part before; one without versions is gone. Its last block says which blocks begin a part.
//!
//! What a checkpoint costs is the values that are new and the list of keys; the values file is
//! written anew when half of it is of no use any more.

use super::disk::{Disk, DiskFile};
use super::index::{Entry, Index, Version};
use super::keyspace::Slot;
use super::log::unavailable;
use super::record::{Cipher, Ciphers, TAG, put_bytes, put_u32, put_u64, random};
use super::state::{Lease, Phase, State};
use super::values::{self, Extent, Held, SMALL, Spot, Value, Values};
use crate::{Error, LeaseId, Result};
use bytes::Bytes;
use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

pub(crate) const MAGIC: &[u8; 8] = b"FHCKPT\0\x02";
pub(crate) const MAGIC_PARTS: &[u8; 8] = b"FHCKPT\0\x03";
/// Ending of a file that is not complete yet.
pub(crate) const DRAFT: &str = "new";
/// Bytes of a checkpoint that go to the disk together, without a flush before its end: flushes
/// hold each other up, and a large one the log's small ones.
const BLOCK: usize = 256 << 10;
/// Bytes of values that go to the disk together, and how many while keyspaces write beside each
/// other.
const CHUNK: usize = 256 << 10;
const CHUNK_GENTLY: usize = 64 << 10;

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
    /// bytes in the log that the last checkpoint does not hold
    pub(crate) tail_bytes: u64,
}

impl Source {
    pub(crate) fn take(state: &mut State, batch: u64, then: Option<Phase>) -> Self {
        if let Some(phase) = then {
            state.phase = phase;
        }
        state.saving = state.dirty_from.take();
        Self {
            batch,
            dirty: state.saving.is_some(),
            tail_bytes: std::mem::take(&mut state.tail_bytes),
            ..Self::last(state)
        }
    }

    /// What was taken is in no checkpoint: the log is needed as before, and the keyspace goes on.
    pub(crate) fn give_back(&self, state: &mut State) {
        state.phase = Phase::Open;
        state.dirty_from = state.needed_from();
        state.saving = None;
        state.tail_bytes += self.tail_bytes;
    }

    /// What is durable and visible, without a place in the log.
    pub(crate) fn last(state: &State) -> Self {
        Self {
            index: state.index.clone(),
            rev: state.visible,
            compacted: state.compacted,
            leases: state.leases.clone(),
            batch: 0,
            dirty: false,
            tail_bytes: 0,
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

/// How fast a checkpoint may go: half of the time is left to others, unless it is urgent.
pub(crate) struct Pace<'a> {
    pub(crate) urgent: &'a dyn Fn() -> bool,
    /// somebody may wait for the disk
    gentle: &'a dyn Fn() -> bool,
    /// nobody waits for it any more
    unwanted: &'a dyn Fn() -> bool,
    since: Instant,
}

impl<'a> Pace<'a> {
    pub(crate) fn new(urgent: &'a dyn Fn() -> bool) -> Self {
        Self {
            urgent,
            gentle: &|| false,
            unwanted: &|| false,
            since: Instant::now(),
        }
    }

    pub(crate) fn beside(self, gentle: &'a dyn Fn() -> bool) -> Self {
        Self { gentle, ..self }
    }

    /// Ends half-way when this says so.
    pub(crate) fn until(self, unwanted: &'a dyn Fn() -> bool) -> Self {
        Self { unwanted, ..self }
    }

    /// Bytes of values to write together.
    fn chunk(&self) -> usize {
        if (self.gentle)() { CHUNK_GENTLY } else { CHUNK }
    }

    fn pause(&mut self) -> Result<()> {
        if (self.unwanted)() {
            return Err(abandoned());
        }
        if !(self.urgent)() {
            std::thread::sleep(self.since.elapsed());
        }
        self.since = Instant::now();
        Ok(())
    }
}

/// What nobody is told.
pub(crate) fn abandoned() -> Error {
    Error::Unavailable("nobody waits for it any more".into())
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
    /// A head, and keys.
    fn part<'s>(
        &mut self,
        source: &Source,
        said: impl Iterator<Item = Said<'s>>,
        keep: &mut Keep<'_>,
        pace: &mut Pace<'_>,
    ) -> Result<()> {
        let io = |e: io::Error| unavailable(&e);
        self.block(&encode_head(source), false).map_err(io)?;
        let mut plain = Vec::with_capacity(BLOCK + 4096);
        let mut chunk = pace.chunk();
        for (key, versions) in said {
            put_bytes(&mut plain, key);
            let count = u32::try_from(versions.len()).expect("history is bounded");
            put_u32(&mut plain, count);
            for version in versions {
                keep.version(&mut plain, key, version)?;
            }
            if let Some(values) = keep.writer.as_mut().filter(|v| v.waiting() >= chunk) {
                values.flush().map_err(io)?;
                pace.pause()?;
                chunk = pace.chunk();
            }
            if plain.len() >= BLOCK {
                self.block(&plain, false).map_err(io)?;
                plain.clear();
                pace.pause()?;
            }
        }
        if !plain.is_empty() {
            self.block(&plain, false).map_err(io)?;
        }
        Ok(())
    }

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
        self.file.start_writing(self.offset, out.len() as u64);
        self.offset += out.len() as u64;
        self.block += 1;
        Ok(())
    }
}

pub(crate) fn nonce(salt: [u8; 8], block: u32) -> [u8; 12] {
    let mut nonce = [0; 12];
    nonce[..8].copy_from_slice(&salt);
    nonce[8..].copy_from_slice(&block.to_le_bytes());
    nonce
}

pub(crate) fn aad(number: u64, block: u32, last: bool) -> [u8; 13] {
    let mut aad = [0; 13];
    aad[..8].copy_from_slice(&number.to_le_bytes());
    aad[8..12].copy_from_slice(&block.to_le_bytes());
    aad[12] = u8::from(last);
    aad
}

/// How the large values of a checkpoint are kept.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Shape {
    /// in the checkpoint itself: there are few
    Inline,
    /// new ones behind the others
    Append,
    /// all of them in a new file
    Anew,
}

fn shape(source: &Source, extent: &Extent, inline_bytes: u64) -> Shape {
    let (mut large, mut stored) = (0, 0);
    for entry in source.index.entries() {
        for version in kept(entry, source) {
            let value = &version.value;
            if value.len() > SMALL {
                let size = (value.len() + TAG) as u64;
                large += size;
                let here = value.spot().map(Spot::generation) == Some(extent.generation);
                stored += if here { size } else { 0 };
            }
        }
    }
    let waste = extent.len.saturating_sub(stored);
    if large <= inline_bytes && (extent.generation == 0 || large <= inline_bytes / 2) {
        Shape::Inline
    } else if extent.generation == 0 || waste > stored.max(inline_bytes).max(1 << 20) {
        Shape::Anew
    } else {
        Shape::Append
    }
}

/// A keyspace that is checkpointed.
pub(crate) struct Target<'a> {
    pub(crate) dir: &'a Path,
    pub(crate) disk: &'a dyn Disk,
    pub(crate) slot: &'a Slot,
    pub(crate) ciphers: &'a Ciphers,
    pub(crate) values: &'a Values,
    pub(crate) inline_bytes: u64,
    /// there will be another checkpoint: what this one replaces is the next one's draft
    pub(crate) again: bool,
}

/// Writes a checkpoint beside the old one and puts it in its place; durable. Memory then lets
/// go of the values that are in the file.
pub(crate) fn write(target: &Target<'_>, source: &Source, pace: &mut Pace<'_>) -> Result<()> {
    let (dir, disk, number) = (target.dir, target.disk, target.slot.number);
    let seal = Seal {
        cipher: &target.ciphers.checkpoint,
        number,
    };
    let extent = target.values.current();
    let shape = shape(source, &extent, target.inline_bytes);
    let writer = match shape {
        Shape::Inline => None,
        _ => {
            let fresh = shape == Shape::Anew;
            let writer = target.values.writer(dir, disk, number, random()?, fresh);
            Some(writer.map_err(|e| unavailable(&e))?)
        }
    };
    let mut keep = Keep {
        reader: values::Reader {
            values: target.values,
            cipher: &target.ciphers.values,
            number,
        },
        again: target.again && writer.is_some(),
        writer,
        moved: Vec::new(),
        renamed: false,
    };
    let written = write_to(
        disk,
        &path(dir, number),
        seal,
        source,
        &mut keep,
        pace,
        None,
    );
    if let Some(writer) = &keep.writer {
        target.values.reached(writer);
        let generation = writer.extent.generation;
        if written.is_err() && !keep.renamed && generation != extent.generation {
            drop(disk.remove(&values::path(dir, number, generation)));
        }
    }
    written?;
    let old = target.values.switch(keep.writer.take());
    for (value, spot) in keep.moved {
        value.settle(spot);
    }
    for generation in old {
        // Nothing refers to it: what cannot be removed now, the next load removes.
        drop(disk.remove(&values::path(dir, number, generation)));
    }
    Ok(())
}

/// Where the values of a checkpoint go.
pub(crate) struct Keep<'a> {
    reader: values::Reader<'a>,
    /// `None`: every value is written in the checkpoint
    writer: Option<values::Writer>,
    /// what memory may let go of once the checkpoint is durable
    moved: Vec<(Arc<Value>, Spot)>,
    /// from here on the disk may have the new checkpoint, whatever is said
    renamed: bool,
    /// the file that is replaced will be written over by the next
    again: bool,
}

impl<'a> Keep<'a> {
    /// A file that needs no other: a backup.
    pub(crate) fn everything(reader: values::Reader<'a>) -> Self {
        Self {
            reader,
            writer: None,
            moved: Vec::new(),
            renamed: false,
            again: false,
        }
    }

    fn version(&mut self, out: &mut Vec<u8>, key: &Bytes, version: &Version) -> Result<()> {
        put_u64(out, version.mod_rev);
        put_u64(out, version.create_rev);
        put_u64(out, version.version);
        put_u64(out, version.lease.cast_unsigned());
        put_u32(out, version.sub);
        let value = &version.value;
        let held = || Held {
            key: key.clone(),
            version: version.clone(),
        };
        let Some(writer) = self.writer.as_mut().filter(|_| value.len() > SMALL) else {
            out.push(0);
            put_bytes(out, &self.reader.value(&held())?);
            return Ok(());
        };
        let generation = writer.extent.generation;
        let spot = match value.spot().filter(|spot| spot.generation() == generation) {
            Some(spot) => spot,
            None => {
                let bytes = self.reader.value(&held())?;
                let added = writer.add(self.reader.cipher, version, &bytes);
                added.map_err(|e| unavailable(&e))?
            }
        };
        self.moved.push((value.clone(), spot));
        out.push(1);
        put_u32(
            out,
            u32::try_from(value.len()).expect("requests are bounded"),
        );
        put_u64(out, spot.0);
        Ok(())
    }

    fn extent(&self) -> Extent {
        let extent = self.writer.as_ref().map(|writer| writer.extent.clone());
        extent.unwrap_or_default()
    }
}

/// What is asked for the next part when one is complete.
pub(crate) type Later<'a> = &'a mut dyn FnMut() -> Result<Option<Source>>;

/// Writes one file with a name and a seal of the caller's.
pub(crate) fn write_to(
    disk: &dyn Disk,
    target: &Path,
    seal: Seal<'_>,
    source: &Source,
    keep: &mut Keep<'_>,
    pace: &mut Pace<'_>,
    later: Option<Later<'_>>,
) -> Result<()> {
    let draft = target.with_extension(DRAFT);
    let salt = random()?;
    let parent = target.parent().unwrap_or(Path::new("."));
    let done = write_file(disk, &draft, (seal, salt), source, (keep, pace), later);
    let mut replaced = false;
    let done = done.and_then(|()| {
        keep.renamed = true;
        let renamed = match keep.again {
            true => disk.replace(&draft, target),
            false => disk.rename(&draft, target),
        };
        replaced = renamed.is_ok();
        renamed
            .and_then(|()| disk.sync_dir(parent))
            .map_err(|e| unavailable(&e))
    });
    if done.is_err() && !replaced {
        // The old checkpoint and the log still hold everything; the draft is only waste.
        drop(disk.remove(&draft));
    }
    done
}

fn write_file(
    disk: &dyn Disk,
    draft: &Path,
    (seal, salt): (Seal<'_>, [u8; 8]),
    source: &Source,
    (keep, pace): (&mut Keep<'_>, &mut Pace<'_>),
    later: Option<Later<'_>>,
) -> Result<()> {
    let io = |e: io::Error| unavailable(&e);
    let mut file = disk.open(draft).map_err(io)?;
    let magic = if later.is_some() { MAGIC_PARTS } else { MAGIC };
    let mut start = magic.to_vec();
    start.extend_from_slice(&salt);
    file.write_at(&start, 0).map_err(io)?;
    let offset = start.len() as u64;
    let mut writer = Writer {
        file,
        cipher: seal.cipher,
        number: seal.number,
        salt,
        block: 0,
        offset,
    };
    writer.part(source, everything(source), keep, pace)?;
    let mut foot = Vec::new();
    if let Some(later) = later {
        let mut parts = Vec::new();
        let mut newest: Option<Source> = None;
        while let Some(next) = later()? {
            parts.push(writer.block);
            let before = newest.as_ref().unwrap_or(source);
            writer.part(&next, changes(before, &next), keep, pace)?;
            newest = Some(next);
        }
        put_u32(
            &mut foot,
            u32::try_from(parts.len()).expect("parts are few"),
        );
        for first in parts {
            put_u32(&mut foot, first);
        }
    }
    if let Some(values) = &mut keep.writer {
        values.sync().map_err(io)?;
        disk.sync_dir(draft.parent().unwrap_or(Path::new(".")))
            .map_err(io)?;
    }
    put_extent(&mut foot, &keep.extent());
    writer.block(&foot, true).map_err(io)?;
    // A draft of before may have been longer.
    if writer.file.size().map_err(io)? > writer.offset {
        writer.file.set_len(writer.offset).map_err(io)?;
    }
    writer.file.sync_data().map_err(io)
}

/// A key with what a part says of it.
type Said<'a> = (&'a Bytes, Vec<&'a Version>);

fn everything(source: &Source) -> impl Iterator<Item = Said<'_>> {
    let entries = source.index.entries();
    let said = entries.map(|entry| (&entry.key, kept(entry, source)));
    said.filter(|(_, versions)| !versions.is_empty())
}

/// What is not as it was before. Keys that are gone have no versions.
fn changes<'a>(before: &'a Source, now: &'a Source) -> impl Iterator<Item = Said<'a>> {
    let mut old = before.index.entries().peekable();
    let mut new = now.index.entries().peekable();
    std::iter::from_fn(move || {
        loop {
            let order = match (old.peek(), new.peek()) {
                (None, None) => return None,
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (Some(old), Some(new)) => old.key.cmp(&new.key),
            };
            let was = order.is_le().then(|| old.next()).flatten();
            let is = order.is_ge().then(|| new.next()).flatten();
            match (was, is) {
                (Some(was), None) => return Some((&was.key, Vec::new())),
                (_, Some(is)) if is.newest.mod_rev > before.rev => {
                    return Some((&is.key, kept(is, now)));
                }
                _ => {}
            }
        }
    })
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

fn put_extent(out: &mut Vec<u8>, extent: &Extent) {
    put_u32(out, u32::from(extent.generation));
    put_u64(out, extent.len);
    for run in &extent.runs {
        put_u64(out, run.start);
        out.extend_from_slice(&run.salt);
    }
}

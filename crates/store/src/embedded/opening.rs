//! Reading checkpoints: block by block, by several threads where the machine has the cores.

use super::checkpoint::{MAGIC, MAGIC_PARTS, Seal, aad, nonce, path};
use super::disk::{Disk, DiskFile, RealDisk};
use super::index::{Entry, Index, Version};
use super::keyspace::Slot;
use super::log::unavailable;
use super::record::{Cipher, Reader, TAG};
use super::state::{Lease, State, Sums};
use super::values::{Extent, Held, Run, Spot, Value, Values};
use crate::image::{LAST_REV, fits, lease_fits};
use crate::{Error, Result, limits};
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;

/// Reads a keyspace's checkpoint: its state (not yet brought up by the log), where its values
/// are, and the last batch that is inside.
pub(crate) fn read(
    dir: &Path,
    disk: &dyn Disk,
    slot: &Slot,
    cipher: &Cipher,
) -> Result<(State, Values, u64)> {
    let path = path(dir, slot.number);
    let expected = slot.saved.lock().checkpointed;
    let seal = Seal {
        cipher,
        number: slot.number,
    };
    let damaged =
        |what: &str| Error::Corrupt(format!("the checkpoint of keyspace {} {what}", slot.id));
    let (mut state, sums, extent, batch) = match decode(seal, &|| disk.open_existing(&path)) {
        Ok(decoded) => decoded,
        Err(error) => match error.kind() {
            io::ErrorKind::NotFound if !expected => {
                return Ok((State::new(), Values::default(), 0));
            }
            io::ErrorKind::NotFound => return Err(damaged("is missing")),
            _ if is_damage(&error) => return Err(damaged("fails its authentication")),
            _ => return Err(unavailable(&error)),
        },
    };
    state
        .adopt(sums.into_iter())
        .ok_or_else(|| damaged("contradicts itself"))?;
    let values = Values::open(dir, disk, slot.number, extent).map_err(|e| match e.kind() {
        io::ErrorKind::NotFound => damaged("has lost its values file"),
        _ if is_damage(&e) => damaged("has a values file that is cut short or foreign"),
        _ => unavailable(&e),
    })?;
    Ok((state, values, batch))
}

/// Reads a file that needs no other.
pub(crate) fn read_from(path: &Path, seal: Seal<'_>) -> Result<State> {
    let name = path.display();
    let decoded = decode(seal, &|| RealDisk.open_existing(path));
    let (mut state, sums, extent, _) = decoded.map_err(|error| match is_damage(&error) {
        true => Error::Corrupt(format!("{name} is damaged, or this is not its key")),
        false => unavailable(&error),
    })?;
    state
        .adopt(sums.into_iter())
        .filter(|()| extent.generation == 0 && consistent(&state))
        .ok_or_else(|| Error::Corrupt(format!("{name} contradicts itself")))?;
    Ok(state)
}

/// Whether a state can be what a keyspace was: who has a backup's key may have written anything.
fn consistent(state: &State) -> bool {
    let keys = state.index.entries().map(|entry| &entry.key);
    (1..=LAST_REV).contains(&state.applied)
        && state.compacted <= state.applied
        && state.leases.iter().all(|(id, l)| lease_fits(*id, l.ttl))
        && keys.is_sorted_by(|a, b| a < b)
        && state.index.entries().all(|entry| {
            let fit = |version: &Version| {
                let held = Held {
                    key: entry.key.clone(),
                    version: version.clone(),
                };
                version.value.len() <= limits::MAX_VALUE
                    && match version.alive() {
                        true => fits(&held.key_only(), state.applied),
                        false => (1..=state.applied).contains(&version.mod_rev),
                    }
            };
            entry.versions().all(fit) && entry.versions().is_sorted_by(|a, b| a.mod_rev < b.mod_rev)
        })
}

/// What a checkpoint holds: the state without its sums, those of its parts, where values are,
/// and the last batch of the log that is inside.
type Decoded = (State, Vec<Sums>, Extent, u64);

/// How the file is opened: each thread has it open for itself.
type Open<'a> = &'a (dyn Fn() -> io::Result<Box<dyn DiskFile>> + Sync);

fn damage() -> io::Error {
    io::ErrorKind::InvalidData.into()
}

/// Whether the file is to blame, not the disk.
fn is_damage(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof
    )
}

fn decode(seal: Seal<'_>, open: Open<'_>) -> io::Result<Decoded> {
    let mut file = open()?;
    let (in_parts, salt, blocks) = walk(&mut *file)?;
    let [head, entries @ .., foot] = &blocks[..] else {
        return Err(damage());
    };
    let mut blocks = Blocks {
        seal,
        salt,
        file,
        buffer: Vec::new(),
    };
    let mut state = State::new();
    let batch = decode_head(&mut state, blocks.open(head)?).ok_or_else(damage)?;
    let (starts, extent) = decode_foot(in_parts, blocks.open(foot)?).ok_or_else(damage)?;
    let (entries, later) = split(entries, &starts).ok_or_else(damage)?;
    let together = extent.generation != 0;
    let parts = entries.chunks(share(entries.len())).collect();
    let parts = side_by_side(parts, |part: &[Block]| {
        let mut blocks = Blocks {
            seal,
            salt,
            file: open()?,
            buffer: Vec::new(),
        };
        let mut index = Index::default();
        for block in part {
            decode_entries(&mut index, blocks.open(block)?, together).ok_or_else(damage)?;
        }
        let sums = Sums::of(&index);
        Ok((index, sums))
    });
    let parts: io::Result<Vec<_>> = parts.into_iter().collect();
    let (indexes, sums): (Vec<_>, Vec<_>) = parts?.into_iter().unzip();
    state.index = Index::join(indexes.into_iter());
    if later.is_empty() {
        return Ok((state, sums, extent, batch));
    }
    let mut changes = BTreeMap::new();
    for part in later {
        let (head, entries) = part.split_first().ok_or_else(damage)?;
        decode_head(&mut state, blocks.open(head)?).ok_or_else(damage)?;
        for block in entries {
            decode_changes(&mut changes, blocks.open(block)?).ok_or_else(damage)?;
        }
    }
    state.index = overlay(&state.index, changes);
    let sums = vec![Sums::of(&state.index)];
    Ok((state, sums, extent, batch))
}

/// The blocks behind the head: those of the first part, and each of the later parts.
fn split<'a>(blocks: &'a [Block], starts: &[u32]) -> Option<(&'a [Block], Vec<&'a [Block]>)> {
    let mut rest = blocks;
    let mut parts = Vec::new();
    for start in starts.iter().rev() {
        let at = (*start as usize).checked_sub(1)?;
        let (before, part) = rest.split_at_checked(at)?;
        parts.push(part);
        rest = before;
    }
    parts.reverse();
    Some((rest, parts))
}

/// The index with some keys replaced, new or gone.
fn overlay(index: &Index, changes: BTreeMap<Bytes, Option<Entry>>) -> Index {
    let mut whole = Index::default();
    let mut changes = changes.into_iter().peekable();
    for entry in index.entries() {
        while let Some((_, new)) = changes.next_if(|(key, _)| *key < entry.key) {
            new.into_iter().for_each(|new| whole.append(new));
        }
        match changes.next_if(|(key, _)| *key == entry.key) {
            Some((_, changed)) => changed.into_iter().for_each(|entry| whole.append(entry)),
            None => whole.append(entry.clone()),
        }
    }
    for new in changes.filter_map(|(_, new)| new) {
        whole.append(new);
    }
    whole
}

/// Most threads that read one checkpoint, and blocks that are worth a thread.
const THREADS: usize = 4;
const WORTH: usize = 4;

/// How many of these blocks one thread takes.
fn share(blocks: usize) -> usize {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    blocks.div_ceil(cores.min(THREADS)).max(WORTH)
}

/// Does all parts at the same time; the last of them in this thread.
fn side_by_side<T: Send, R: Send>(mut parts: Vec<T>, work: impl Fn(T) -> R + Sync) -> Vec<R> {
    let Some(last) = parts.pop() else {
        return Vec::new();
    };
    let work = &work;
    std::thread::scope(|scope| {
        let threads: Vec<_> = parts
            .into_iter()
            .map(|part| scope.spawn(move || work(part)))
            .collect();
        let last = work(last);
        let results = threads.into_iter().map(|thread| thread.join());
        let mut results: Vec<R> = results
            .map(|result| result.unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            .collect();
        results.push(last);
        results
    })
}

/// A sealed block: where it is, its number, whether it is the last.
struct Block {
    at: u64,
    len: usize,
    number: u32,
    last: bool,
}

/// Finds the blocks of a file, which ends with the last of them; whether it has parts; its salt.
fn walk(file: &mut dyn DiskFile) -> io::Result<(bool, [u8; 8], Vec<Block>)> {
    let mut start = [0; 16];
    file.read_at(&mut start, 0)?;
    let (magic, salt) = start.split_at(8);
    let in_parts = magic == MAGIC_PARTS;
    if magic != MAGIC && !in_parts {
        return Err(damage());
    }
    let mut blocks = Vec::new();
    let mut at = start.len() as u64;
    loop {
        let mut header = [0; 5];
        file.read_at(&mut header, at)?;
        let [len @ .., last] = header;
        let len = u32::from_le_bytes(len) as usize;
        if len < TAG || last > 1 {
            return Err(damage());
        }
        at += header.len() as u64;
        blocks.push(Block {
            at,
            len,
            number: u32::try_from(blocks.len()).map_err(|_| damage())?,
            last: last == 1,
        });
        at += len as u64;
        if last == 1 {
            break;
        }
    }
    // All of it is there, so that nobody makes room for what is not, and nothing else.
    file.read_at(&mut [0], at - 1)?;
    match file.read_at(&mut [0], at) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {}
        Err(error) => return Err(error),
        Ok(()) => return Err(damage()),
    }
    let salt = salt.try_into().map_err(|_| damage())?;
    Ok((in_parts, salt, blocks))
}

/// Reads and decrypts blocks.
struct Blocks<'a> {
    seal: Seal<'a>,
    salt: [u8; 8],
    file: Box<dyn DiskFile>,
    buffer: Vec<u8>,
}

impl Blocks<'_> {
    fn open(&mut self, block: &Block) -> io::Result<&[u8]> {
        self.buffer.resize(block.len, 0);
        self.file.read_at(&mut self.buffer, block.at)?;
        let aad = aad(self.seal.number, block.number, block.last);
        let nonce = nonce(self.salt, block.number);
        let plain = self.seal.cipher.open(nonce, &aad, &mut self.buffer);
        plain.ok_or_else(damage)
    }
}

fn decode_head(state: &mut State, plain: &[u8]) -> Option<u64> {
    let mut reader = Reader(plain);
    state.applied = reader.u64()?;
    state.compacted = reader.u64()?;
    let batch = reader.u64()?;
    state.leases.clear();
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

/// Which blocks begin a later part, and where values are.
fn decode_foot(in_parts: bool, plain: &[u8]) -> Option<(Vec<u32>, Extent)> {
    let mut reader = Reader(plain);
    let mut starts = Vec::new();
    let parts = if in_parts { reader.u32()? } else { 0 };
    for _ in 0..parts {
        starts.push(reader.u32()?);
    }
    let mut extent = Extent {
        generation: u16::try_from(reader.u32()?).ok()?,
        len: reader.u64()?,
        runs: Vec::new(),
    };
    while !reader.0.is_empty() {
        extent.runs.push(Run {
            start: reader.u64()?,
            salt: reader.take(8)?.try_into().ok()?,
        });
    }
    Some((starts, extent))
}

/// With `together`, the keys of a block are held together: small values apart, they are all that
/// memory keeps of it.
fn decode_entries(index: &mut Index, plain: &[u8], together: bool) -> Option<()> {
    let keys = match together {
        true => keys_of(plain)?,
        false => Bytes::new(),
    };
    let mut reader = Reader(plain);
    let mut at = 0;
    while !reader.0.is_empty() {
        let key = reader.bytes()?;
        let key = match together {
            true => keys.slice(at..at + key.len()),
            false => Bytes::copy_from_slice(key),
        };
        at += key.len();
        index.append(get_entry(&mut reader, key)??);
    }
    Some(())
}

/// What a later part says of its keys: `None` of one that is gone.
fn decode_changes(changes: &mut BTreeMap<Bytes, Option<Entry>>, plain: &[u8]) -> Option<()> {
    let mut reader = Reader(plain);
    while !reader.0.is_empty() {
        let key = Bytes::copy_from_slice(reader.bytes()?);
        let entry = get_entry(&mut reader, key.clone())?;
        changes.insert(key, entry);
    }
    Some(())
}

/// The versions of a key, if there are any.
fn get_entry(reader: &mut Reader<'_>, key: Bytes) -> Option<Option<Entry>> {
    let count = reader.u32()?;
    let mut older = Vec::new();
    for _ in 1..count {
        older.push(get_version(reader)?);
    }
    if count == 0 {
        return Some(None);
    }
    let newest = get_version(reader)?;
    Some(Some(Entry { key, newest, older }))
}

/// The keys of a block, one behind the other.
fn keys_of(plain: &[u8]) -> Option<Bytes> {
    let mut keys = Vec::with_capacity(plain.len() / 2);
    let mut reader = Reader(plain);
    while !reader.0.is_empty() {
        keys.extend_from_slice(reader.bytes()?);
        for _ in 0..reader.u32()? {
            reader.take(VERSION)?;
            match reader.u8()? {
                0 => _ = reader.bytes()?,
                _ => _ = reader.take(STORED)?,
            }
        }
    }
    keys.shrink_to_fit();
    Some(keys.into())
}

/// Bytes of a version before its value, and of a value that is in the values file.
const VERSION: usize = 4 * 8 + 4;
const STORED: usize = 4 + 8;

fn get_version(reader: &mut Reader<'_>) -> Option<Version> {
    let (mod_rev, create_rev, version) = (reader.u64()?, reader.u64()?, reader.u64()?);
    let (lease, sub) = (reader.u64()?.cast_signed(), reader.u32()?);
    let value = match reader.u8()? {
        0 => Value::new(Bytes::copy_from_slice(reader.bytes()?)),
        1 => {
            let len = reader.u32()?;
            Value::stored(len, Spot(reader.u64()?))
        }
        _ => return None,
    };
    Some(Version {
        value,
        mod_rev,
        create_rev,
        version,
        lease,
        sub,
    })
}

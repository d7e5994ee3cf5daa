//! Ways in for the targets of `fuzz/`, which cannot name what is private here. Nobody else calls
//! them. Each does what the engine does with a file, under a data key that is known.

use super::before::Prepared;
use super::catalog::{Catalog, CatalogEntry, Saved};
use super::checkpoint::{self, Keep, MAGIC, MAGIC_PARTS, Pace, Seal, Source, Target};
use super::disk::Disk;
use super::keyspace::Slot;
use super::log::{self, Batch, Log};
use super::record::{Change, Ciphers, Record, TAG, log_nonce, put_u32};
use super::state::State;
use super::values::{Held, Reader, Values};
use super::{keyring, opening, spare, toc};
use crate::Result;
use std::io;
use std::path::Path;
use std::sync::Arc;

/// The keyspaces whose records are in a log that is written here.
pub const KEYSPACES: [u64; 2] = [7, 8];
const DATA_KEY: [u8; 32] = [7; 32];
/// A moment that is the same in every run.
const NOW: u64 = 1_000_000;

/// A version of a key: revision, place in it, and what is said of it.
pub type Said = (u64, u32, String);

/// What a log says of each keyspace, in the order of the revisions.
pub fn read_log(disk: &dyn Disk, dir: &Path, trust: bool) -> Result<Vec<(u64, Vec<Said>)>> {
    let scan = log::scan(disk, &dir.join("log"), trust, &|_, _| true)?;
    let ciphers = Ciphers::new(&DATA_KEY);
    let mut all = Vec::new();
    for (number, places) in scan.records {
        let slot = Slot::new(entry(number, false), places);
        let (state, values) = slot.read(dir, disk, &ciphers, NOW)?;
        all.push((number, said(&state, &reader(&values, &ciphers, number))));
    }
    Ok(all)
}

/// What is wrong with a log, read to its end.
pub fn survey_log(disk: &dyn Disk, dir: &Path) -> Result<Vec<String>> {
    let mut damaged = Vec::new();
    log::survey(disk, &dir.join("log"), &mut damaged)?;
    Ok(damaged)
}

/// A log of batches with records of these sizes. With `again`, its first segment was used before.
/// Complete segments get tables of contents.
pub fn write_log(
    disk: &Arc<dyn Disk>,
    dir: &Path,
    segment_bytes: u64,
    batches: &[Vec<usize>],
    again: bool,
) -> io::Result<()> {
    let dir = &dir.join("log");
    let start = || Log::start(dir, disk.clone(), segment_bytes, 1, 0);
    let mut log = start()?;
    let mut revs = [1; KEYSPACES.len()];
    if again {
        while log.pos() < segment_bytes {
            append(&mut log, &mut [1; KEYSPACES.len()], &[700])?;
        }
        let used = spare::set_aside(&**disk, dir, 1)?;
        log.has_spare(spare::prepare(&**disk, dir, segment_bytes, Some(&used))?);
    }
    for batch in batches {
        append(&mut log, &mut revs, batch)?;
    }
    let scan = log::scan(&**disk, dir, false, &|_, _| true);
    let scan = scan.map_err(io::Error::other)?;
    let (_, complete) = scan.read.split_last().ok_or(io::ErrorKind::NotFound)?;
    complete
        .iter()
        .try_for_each(|table| toc::write(&**disk, dir, table))
}

fn append(log: &mut Log, revs: &mut [u64; KEYSPACES.len()], sizes: &[usize]) -> io::Result<()> {
    // More than they take: a record is sealed for the segment it goes to.
    log.make_room(sizes.iter().map(|size| size + 200).sum())?;
    let cipher = Ciphers::new(&DATA_KEY).log;
    let mut batch = Batch::default();
    batch.clear();
    for (n, size) in sizes.iter().enumerate() {
        let (number, rev) = (KEYSPACES[n % 2], &mut revs[n % 2]);
        *rev += 1;
        let value = vec![u8::try_from(*rev % 251).unwrap_or(0) + 1; *size];
        let change = Change {
            key: format!("k{:02}", *rev % 37).into(),
            put: (*rev % 5 != 4).then_some((value.into(), 0)),
        };
        let record = Record::Changes {
            rev: *rev,
            changes: vec![change],
        };
        let counter = log.next_counter();
        let body = batch.begin(number, counter);
        record.encode(batch.body());
        let nonce = log_nonce(log.segment, counter);
        cipher.seal(nonce, &number.to_le_bytes(), batch.body(), body);
        batch.end(body);
    }
    log.append(&mut batch)
}

/// A segment's header with a true checksum, over a table that may be anything.
pub fn write_header(
    disk: &dyn Disk,
    dir: &Path,
    (segment, first): (u64, u64),
    table: &[u8],
) -> io::Result<()> {
    let sectors = u32::try_from(table.len() / 8).unwrap_or(0);
    let prepared = Prepared {
        table: (sectors, crc32fast::hash(&table[..sectors as usize * 8])),
        len: 0,
    };
    let prepared = (sectors > 0).then_some(prepared);
    let dir = &dir.join("log");
    let mut file = log::create_segment(disk, dir, (segment, first), prepared)?;
    file.write_at(table, log::SEGMENT_HEADER as u64)
}

/// A batch with a true checksum around any payload.
#[must_use]
pub fn batch(segment: u64, number: u64, payload: &[u8]) -> Vec<u8> {
    let mut batch = Batch::default();
    batch.clear();
    batch.body().extend_from_slice(payload);
    batch.seal(segment, number);
    std::mem::take(batch.body())
}

/// Takes a record apart; what it is made of is what was there.
pub fn record(data: &[u8]) {
    if let Some(record) = Record::decode(data) {
        let mut again = Vec::new();
        record.encode(&mut again);
        assert_eq!(again, data);
    }
}

fn entry(number: u64, checkpointed: bool) -> CatalogEntry {
    CatalogEntry {
        id: "fuzz".into(),
        number,
        saved: Saved {
            checkpointed,
            ..Saved::default()
        },
    }
}

fn reader<'a>(values: &'a Values, ciphers: &'a Ciphers, number: u64) -> Reader<'a> {
    Reader {
        values,
        cipher: &ciphers.values,
        number,
    }
}

/// All versions with their values, or why one of those cannot be read.
fn said(state: &State, reader: &Reader<'_>) -> Vec<Said> {
    let mut all = Vec::new();
    for entry in state.index.entries() {
        for version in entry.versions() {
            let held = Held {
                key: entry.key.clone(),
                version: version.clone(),
            };
            let about = (version.create_rev, version.version, version.lease);
            let value = reader.value(&held).map(|v| (v.len(), crc32fast::hash(&v)));
            let text = format!("{:?} {about:?} {value:?}", entry.key);
            all.push((version.mod_rev, version.sub, text));
        }
    }
    all.sort();
    all
}

/// A file of blocks, each sealed as a checkpoint's are; a backup's have no number.
#[must_use]
pub fn sealed(parts: bool, number: u64, blocks: &[&[u8]]) -> Vec<u8> {
    let cipher = Ciphers::new(&DATA_KEY).checkpoint;
    let salt = [1; 8];
    let mut file = if parts { MAGIC_PARTS } else { MAGIC }.to_vec();
    file.extend_from_slice(&salt);
    for (n, block) in blocks.iter().enumerate() {
        let last = n + 1 == blocks.len();
        let n = u32::try_from(n).unwrap_or(u32::MAX);
        put_u32(&mut file, u32::try_from(block.len() + TAG).unwrap_or(0));
        file.push(u8::from(last));
        let from = file.len();
        file.extend_from_slice(block);
        let aad = checkpoint::aad(number, n, last);
        cipher.seal(checkpoint::nonce(salt, n), &aad, &mut file, from);
    }
    file
}

/// The names of a keyspace's checkpoint and of its first file of values.
#[must_use]
pub fn checkpoint_files(dir: &Path) -> [std::path::PathBuf; 2] {
    let number = KEYSPACES[0];
    [
        checkpoint::path(dir, number),
        super::values::path(dir, number, 1),
    ]
}

/// Wakes a keyspace from its checkpoint.
pub fn read_checkpoint(disk: &dyn Disk, dir: &Path) -> Result<Vec<Said>> {
    let (number, ciphers) = (KEYSPACES[0], Ciphers::new(&DATA_KEY));
    let slot = Slot::new(entry(number, true), Vec::new());
    let (state, values) = slot.read(dir, disk, &ciphers, NOW)?;
    Ok(said(&state, &reader(&values, &ciphers, number)))
}

/// Reads a file that needs no other, as a restore does, and uses what is in it.
pub fn read_backup(file: &Path) -> Result<Vec<Said>> {
    let ciphers = Ciphers::new(&DATA_KEY);
    let seal = Seal {
        cipher: &ciphers.checkpoint,
        number: 0,
    };
    let state = opening::read_from(file, seal)?;
    let found = said(&state, &reader(&Values::default(), &ciphers, 0));
    use_it(state);
    Ok(found)
}

/// A write, a compaction and the forgetting behind it.
fn use_it(mut state: State) {
    let (rev, key) = (state.applied + 1, "zz".into());
    let put = Some(("v".into(), 0));
    let changes = vec![Change { key, put }];
    let record = Record::Changes { rev, changes };
    assert!(state.apply(record, NOW).is_some());
    assert!(state.apply(Record::Compact { rev }, NOW).is_some());
    state.publish();
    while state.purge_slice(8) {}
    assert!(state.current(b"zz").is_some());
}

/// A checkpoint with values of these sizes, some of them in a file of their own.
pub fn write_checkpoint(disk: &dyn Disk, dir: &Path, sizes: &[usize]) -> Result<()> {
    let (number, ciphers) = (KEYSPACES[0], Ciphers::new(&DATA_KEY));
    let (mut state, values) = (State::new(), Values::default());
    for (n, size) in sizes.iter().enumerate() {
        let rev = state.applied + 1;
        let value = vec![u8::try_from(n % 251).unwrap_or(0); *size];
        let change = Change {
            key: format!("k{:03}", n % 29).into(),
            put: Some((value.into(), 0)),
        };
        let changes = vec![change];
        let applied = state.apply(Record::Changes { rev, changes }, NOW);
        assert!(applied.is_some());
        state.publish();
    }
    let slot = Slot::new(entry(number, false), Vec::new());
    let target = Target {
        dir,
        disk,
        slot: &slot,
        ciphers: &ciphers,
        values: &values,
        inline_bytes: 0,
        again: false,
    };
    let source = Source::take(&mut state, 0, None);
    checkpoint::write(&target, &source, &mut Pace::new(&|| true))
}

/// A backup of the same kind, complete.
pub fn write_backup(disk: &dyn Disk, file: &Path) -> Result<()> {
    let ciphers = Ciphers::new(&DATA_KEY);
    let seal = Seal {
        cipher: &ciphers.checkpoint,
        number: 0,
    };
    let values = Values::default();
    let mut state = State::new();
    let put = |rev: u64, key: &'static str| Record::Changes {
        rev,
        changes: vec![Change {
            key: key.into(),
            put: Some(("value".into(), 0)),
        }],
    };
    assert!(state.apply(put(2, "a"), NOW).is_some());
    state.publish();
    let source = Source::take(&mut state, 0, None);
    assert!(state.apply(put(3, "b"), NOW).is_some());
    state.publish();
    let mut next = Some(Source::take(&mut state, 0, None));
    let mut keep = Keep::everything(reader(&values, &ciphers, 0));
    let mut later = || Ok(next.take());
    let (pace, later) = (&mut Pace::new(&|| true), Some(&mut later as _));
    checkpoint::write_to(disk, file, seal, &source, &mut keep, pace, later)
}

/// The keyspaces that a catalog names.
pub fn read_catalog(disk: &dyn Disk, dir: &Path) -> Result<Vec<(u64, String)>> {
    let (_, entries) = Catalog::open(dir, disk)?;
    let named = entries.into_iter();
    Ok(named.map(|e| (e.number, e.id.to_string())).collect())
}

/// The table of contents of a log segment: how many records, and where the last one ends.
#[must_use]
pub fn read_toc(disk: &dyn Disk, dir: &Path, segment: u64) -> Option<(usize, usize)> {
    let toc = toc::read(disk, &dir.join("log"), segment)?;
    let ends = toc.records.iter().map(|(_, at)| at.offset + at.len);
    Some((toc.records.len(), ends.max().unwrap_or(0)))
}

/// The file that says which keys there are; true if it is one.
#[must_use]
pub fn read_keys(data: &[u8]) -> bool {
    let Some(entries) = keyring::decode(data) else {
        return false;
    };
    let again = keyring::decode(&keyring::encode(&entries));
    assert_eq!(again.as_ref(), Some(&entries));
    true
}

/// What these files end with.
#[must_use]
pub fn checksum(data: &[u8]) -> [u8; 4] {
    crc32fast::hash(data).to_le_bytes()
}

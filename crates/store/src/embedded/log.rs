//! The log that all keyspaces of a node share: batches of sealed records in prepared segments.
//!
//! A batch is written with one write and made durable with one fdatasync before anyone gets an
//! answer. Batches carry a running number, so a reader can tell a torn last write (cut off)
//! from damage in front of something that was acknowledged (an error).
//!
//! Segment: a sector `magic, segment u64, first batch number u64, sectors u32, crc of the table
//! u32, 0, crc u32`; a table of so many checksums: what was in each sector before (see [`before`]);
//! then batches, each in sectors of its own:
//! `magic u32, len u32, segment u64, number u64, crc u32, 0 u32, payload, 0, end mark u32`.
//! Record in a payload: `keyspace u64, counter u64, len u32, sealed bytes`.
//!
//! [`before`]: super::before

use super::before::{self, Before, Prepared, SECTOR};
use super::disk::{Disk, DiskFile};
use super::record::Reader;
use super::toc::{self, Toc};
use crate::{Error, Result};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

const SEGMENT_MAGIC: &[u8; 8] = b"FHLOG\0\0\x02";
pub(crate) const SEGMENT_HEADER: usize = SECTOR;
const BATCH_MAGIC: u32 = 0x4846_5442;
const END_MARK: u32 = 0x4c41_4546;
const BATCH_HEADER: usize = 32;
const BATCH_EXTRA: usize = BATCH_HEADER + 4;
const RECORD_HEADER: usize = 20;
/// Zeroes that are written at once: little enough that a commit at the same time hardly waits for
/// them, but each time costs a flush.
pub(crate) const ZERO_STEP: usize = 256 << 10;
/// Room in the log that puts leave to deletions and compactions on a full disk.
pub(crate) const RESERVE: usize = 1 << 20;

/// Batches have numbers up to this: nothing that is added to one overflows.
pub(crate) const LAST_BATCH: u64 = u64::MAX >> 1;

/// Where a record is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) segment: u64,
    pub(crate) batch: u64,
    pub(crate) counter: u64,
    pub(crate) offset: usize,
    pub(crate) len: usize,
}

pub(crate) fn segment_path(dir: &Path, segment: u64) -> PathBuf {
    dir.join(format!("{segment:016}.log"))
}

/// A file that is there already can only be what a failed attempt left.
fn open_empty(disk: &dyn Disk, path: &Path) -> io::Result<Box<dyn DiskFile>> {
    let mut file = disk.open(path)?;
    file.set_len(0)?;
    Ok(file)
}

/// The writing end.
pub(crate) struct Log {
    dir: PathBuf,
    disk: Arc<dyn Disk>,
    segment_bytes: u64,
    file: Box<dyn DiskFile>,
    pub(crate) segment: u64,
    pos: u64,
    zeroed: u64,
    /// number of the last durable batch
    pub(crate) batch: u64,
    counter: u64,
    zeroes: Vec<u8>,
    spare: Option<Prepared>,
}

/// A payload under construction.
#[derive(Default)]
pub(crate) struct Batch {
    bytes: Vec<u8>,
}

impl Batch {
    pub(crate) fn clear(&mut self) {
        self.bytes.clear();
        self.bytes.resize(BATCH_HEADER, 0);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.bytes.len() <= BATCH_HEADER
    }

    /// Bytes that the batch will take in the segment.
    pub(crate) fn size(&self) -> usize {
        (self.bytes.len() + 4).next_multiple_of(SECTOR)
    }

    /// Where the next record begins.
    pub(crate) fn end_of_records(&self) -> usize {
        self.bytes.len()
    }

    /// Starts a record; returns where its body starts.
    pub(crate) fn begin(&mut self, keyspace: u64, counter: u64) -> usize {
        self.bytes.extend_from_slice(&keyspace.to_le_bytes());
        self.bytes.extend_from_slice(&counter.to_le_bytes());
        self.bytes.extend_from_slice(&[0; 4]);
        self.bytes.len()
    }

    pub(crate) fn body(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    pub(crate) fn end(&mut self, body: usize) {
        let len = u32::try_from(self.bytes.len() - body).expect("a batch is bounded");
        self.bytes[body - 4..body].copy_from_slice(&len.to_le_bytes());
    }

    /// Takes back everything from the record whose body starts at `body`.
    pub(crate) fn undo(&mut self, body: usize) {
        self.bytes.truncate(body - RECORD_HEADER);
    }

    pub(crate) fn seal(&mut self, segment: u64, number: u64) {
        let len = u32::try_from(self.bytes.len() - BATCH_HEADER).expect("a batch is bounded");
        self.bytes.resize(self.size() - 4, 0);
        self.bytes.extend_from_slice(&end_mark(segment));
        let header = &mut self.bytes[..BATCH_HEADER];
        header[..4].copy_from_slice(&BATCH_MAGIC.to_le_bytes());
        header[4..8].copy_from_slice(&len.to_le_bytes());
        header[8..16].copy_from_slice(&segment.to_le_bytes());
        header[16..24].copy_from_slice(&number.to_le_bytes());
        header[24..].fill(0);
        let crc = crc32fast::hash(&self.bytes);
        self.bytes[24..28].copy_from_slice(&crc.to_le_bytes());
    }
}

/// What ends a batch: not the same where the same place was written before.
fn end_mark(segment: u64) -> [u8; 4] {
    let [a, b, c, d, ..] = segment.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes();
    (END_MARK ^ u32::from_le_bytes([a, b, c, d])).to_le_bytes()
}

impl Log {
    /// Starts a fresh segment behind everything that a scan found.
    pub(crate) fn start(
        dir: &Path,
        disk: Arc<dyn Disk>,
        segment_bytes: u64,
        segment: u64,
        batch: u64,
    ) -> io::Result<Self> {
        open_empty(&*disk, &segment_path(dir, segment))?;
        let file = create_segment(&*disk, dir, (segment, batch + 1), None)?;
        Ok(Self {
            dir: dir.to_owned(),
            disk,
            segment_bytes,
            file,
            segment,
            pos: SEGMENT_HEADER as u64,
            zeroed: SEGMENT_HEADER as u64,
            batch,
            counter: 0,
            zeroes: vec![0; ZERO_STEP],
            spare: None,
        })
    }

    /// Where the next batch goes in the segment.
    pub(crate) fn pos(&self) -> u64 {
        self.pos
    }

    pub(crate) fn next_counter(&mut self) -> u64 {
        self.counter += 1;
        self.counter
    }

    /// Bytes that can be written without asking the file system for space.
    pub(crate) fn room(&self) -> usize {
        usize::try_from(self.zeroed - self.pos).unwrap_or(usize::MAX)
    }

    /// Makes sure of room for `size` bytes, and of some more for hard times. Goes on to the next
    /// segment when this one is full, or when that is prepared and this one has no room left.
    /// Only between batches: a record is sealed for the segment it goes to.
    pub(crate) fn make_room(&mut self, size: usize) -> io::Result<()> {
        let prepared =
            self.spare.is_some() && self.room() < size && size as u64 <= self.segment_bytes / 2;
        if self.pos >= self.segment_bytes || prepared {
            self.rotate()?;
        }
        // A spare segment is room enough: zeroes behind this one's end would be for nothing.
        self.reserve(if self.spare.is_some() {
            size
        } else {
            size + RESERVE
        })
    }

    fn rotate(&mut self) -> io::Result<()> {
        let (disk, dir) = (&*self.disk, &self.dir);
        let next = (self.segment + 1, self.batch + 1);
        if let Some(spare) = self.spare.take() {
            super::spare::take(disk, dir, &segment_path(dir, next.0))?;
            self.file = create_segment(disk, dir, next, Some(spare))?;
            (self.pos, self.zeroed) = (spare.start(), spare.len);
        } else {
            self.file = self.roomy_segment(next)?;
            (self.pos, self.zeroed) = (SEGMENT_HEADER as u64, RESERVE as u64);
        }
        self.segment = next.0;
        Ok(())
    }

    /// A segment that has what hard times need before this one is left: its room would be lost.
    fn roomy_segment(&self, next: (u64, u64)) -> io::Result<Box<dyn DiskFile>> {
        let path = segment_path(&self.dir, next.0);
        let made = open_empty(&*self.disk, &path).and_then(|mut file| {
            (0..RESERVE / ZERO_STEP)
                .try_for_each(|n| file.write_at(&self.zeroes, (n * ZERO_STEP) as u64))
        });
        let made = made.and_then(|()| create_segment(&*self.disk, &self.dir, next, None));
        if made.is_err() {
            // Behind it the last batch of this segment might not be torn.
            self.disk.remove(&path)?;
            self.disk.sync_dir(&self.dir)?;
        }
        made
    }

    /// Whether it is time to prepare the next segment: soon, since that is done slowly.
    pub(crate) fn wants_spare(&self) -> bool {
        self.spare.is_none() && self.pos > self.segment_bytes / 8
    }

    /// The next segment is prepared.
    pub(crate) fn has_spare(&mut self, spare: Prepared) {
        self.spare = Some(spare);
    }

    /// Makes room for `size` bytes. When the disk is full the room that was there stays.
    pub(crate) fn reserve(&mut self, size: usize) -> io::Result<()> {
        while self.room() < size {
            self.file.write_at(&self.zeroes, self.zeroed)?;
            self.zeroed += ZERO_STEP as u64;
        }
        Ok(())
    }

    /// Writes a batch and makes it durable. After an error nothing may be written any more.
    pub(crate) fn append(&mut self, batch: &mut Batch) -> io::Result<()> {
        self.reserve(batch.size())?;
        batch.seal(self.segment, self.batch + 1);
        self.file.write_at(&batch.bytes, self.pos)?;
        self.file.sync_data()?;
        self.pos += batch.bytes.len() as u64;
        self.zeroed = self.zeroed.max(self.pos);
        self.batch += 1;
        Ok(())
    }
}

pub(crate) fn create_segment(
    disk: &dyn Disk,
    dir: &Path,
    (segment, first): (u64, u64),
    prepared: Option<Prepared>,
) -> io::Result<Box<dyn DiskFile>> {
    let mut header = Vec::with_capacity(SEGMENT_HEADER);
    header.extend_from_slice(SEGMENT_MAGIC);
    header.extend_from_slice(&segment.to_le_bytes());
    header.extend_from_slice(&first.to_le_bytes());
    let (sectors, crc) = prepared.map_or((0, 0), |prepared| prepared.table);
    header.extend_from_slice(&sectors.to_le_bytes());
    header.extend_from_slice(&crc.to_le_bytes());
    header.resize(SEGMENT_HEADER - 4, 0);
    let crc = crc32fast::hash(&header);
    header.extend_from_slice(&crc.to_le_bytes());
    let mut file = disk.open(&segment_path(dir, segment))?;
    file.write_at(&header, 0)?;
    file.sync_data()?;
    disk.sync_dir(dir)?;
    Ok(file)
}

/// What a scan of all segments found.
#[derive(Default)]
pub(crate) struct Scan {
    /// segments in order
    pub(crate) segments: Vec<u64>,
    pub(crate) last_batch: u64,
    /// records by keyspace, in order, that are needed
    pub(crate) records: std::collections::BTreeMap<u64, Vec<Place>>,
    /// the last segment, and where its last good batch ends
    pub(crate) end: Option<(u64, u64)>,
    /// where that batch begins, if there is one
    pub(crate) newest: Option<u64>,
    /// something incomplete stands behind that
    pub(crate) torn: bool,
    /// segments that were read because nothing said what is in them
    pub(crate) read: Vec<Toc>,
}

/// Finds out what is in every segment. With `trust`, a complete segment is not read when there
/// is a table of what is in it: its records are authenticated when they are used. Kept are the
/// records that are `needed`, by keyspace and batch: of ten thousand that sleep there are none.
pub(crate) fn scan(
    disk: &dyn Disk,
    dir: &Path,
    trust: bool,
    needed: &dyn Fn(u64, u64) -> bool,
) -> Result<Scan> {
    let mut scan = Scan {
        segments: list_segments(disk, dir)?,
        ..Scan::default()
    };
    let mut previous = None;
    for segment in scan.segments.clone() {
        no_gap(previous, segment)?;
        let toc = scan_next(&mut scan, (disk, dir), segment, previous.is_none(), trust)?;
        scan.keep(toc, needed);
        previous = Some(segment);
    }
    Ok(scan)
}

/// The same for who wants to know of all that is damaged: reads every segment, also behind one that
/// cannot be read, and says what is wrong.
pub(crate) fn survey(disk: &dyn Disk, dir: &Path, damaged: &mut Vec<String>) -> Result<Scan> {
    let mut scan = Scan {
        segments: list_segments(disk, dir)?,
        ..Scan::default()
    };
    let mut previous = None;
    for segment in scan.segments.clone() {
        let gap = no_gap(previous, segment);
        // Nothing is known of what was before.
        let first = previous.is_none() || gap.is_err();
        let read = scan_next(&mut scan, (disk, dir), segment, first, false);
        previous = read.is_ok().then_some(segment);
        let read = read.map(|toc| scan.keep(toc, &|_, _| true));
        for error in [gap, read].into_iter().filter_map(Result::err) {
            damaged.push(match error {
                Error::Corrupt(text) => text,
                other => format!("log segment {segment}: {other}"),
            });
        }
    }
    Ok(scan)
}

fn no_gap(previous: Option<u64>, segment: u64) -> Result<()> {
    if previous.is_some_and(|p| p + 1 != segment) {
        let text = format!("the log segment before {segment} is missing");
        return Err(Error::Corrupt(text));
    }
    Ok(())
}

/// Finds out what is in one segment.
fn scan_next(
    scan: &mut Scan,
    (disk, dir): (&dyn Disk, &Path),
    segment: u64,
    first: bool,
    trust: bool,
) -> Result<Toc> {
    let last = scan.segments.last() == Some(&segment);
    let known = (trust && !last).then(|| toc::read(disk, dir, segment));
    match known.flatten() {
        Some(toc) => {
            follows(scan, segment, toc.first, first)?;
            scan.last_batch = toc.last;
            Ok(toc)
        }
        None => {
            let found = Found::open(disk, dir, segment).map_err(|e| unavailable(&e))?;
            scan_segment(scan, found, last, first)
        }
    }
}

impl Scan {
    /// Takes the records of a segment that are needed. What its table said is not kept.
    fn keep(&mut self, toc: Toc, needed: &dyn Fn(u64, u64) -> bool) {
        for (keyspace, place) in &toc.records {
            if needed(*keyspace, place.batch) {
                self.records.entry(*keyspace).or_default().push(*place);
            }
        }
        if !toc.known {
            self.read.push(toc);
        }
    }
}

/// Whether a segment's first batch follows what was there before.
fn follows(scan: &Scan, segment: u64, first_batch: u64, first: bool) -> Result<()> {
    if !first && first_batch != scan.last_batch + 1 {
        return Err(damage(
            segment,
            0,
            "batches before this segment are missing",
        ));
    }
    Ok(())
}

fn damage(segment: u64, offset: usize, what: &str) -> Error {
    Error::Corrupt(format!("log segment {segment}, offset {offset}: {what}"))
}

pub(crate) fn unavailable(error: &io::Error) -> Error {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            Error::NoSpace("the disk is full".into())
        }
        _ => Error::Unavailable(format!("file system: {error}")),
    }
}

fn list_segments(disk: &dyn Disk, dir: &Path) -> Result<Vec<u64>> {
    let mut segments = Vec::new();
    for name in disk.list(dir).map_err(|e| unavailable(&e))? {
        if let Some(number) = name.strip_suffix(".log") {
            segments.push(number.parse().map_err(|_| {
                Error::Corrupt(format!(
                    "a foreign file among the log segments: {number}.log"
                ))
            })?);
        }
    }
    segments.sort_unstable();
    Ok(segments)
}

/// Bytes of a segment that are read at once: a whole one is memory that nobody needs later.
const PIECE: usize = 256 << 10;

/// A segment as it is on the disk.
struct Found {
    segment: u64,
    file: Box<dyn DiskFile>,
    magic: Option<[u8; 8]>,
    header: Option<Header>,
    /// what was in it before; `None`: nobody can say any more
    before: Option<Before>,
    /// where the last sector ends that is not as it was before
    end: usize,
    /// what was read last, and where that is
    piece: Vec<u8>,
    at: usize,
}

impl Found {
    fn open(disk: &dyn Disk, dir: &Path, segment: u64) -> io::Result<Self> {
        let mut file = disk.open_existing(&segment_path(dir, segment))?;
        let len = file.size()?;
        let mut start = vec![0; SEGMENT_HEADER.min(usize::try_from(len).unwrap_or(SEGMENT_HEADER))];
        file.read_at(&mut start, 0)?;
        let header = segment_header(segment, &start);
        let before = match &header {
            Some(header) => Before::read(&mut *file, len, header.table)?,
            None => Some(Before::zeroes()),
        };
        let end = match &before {
            Some(before) => before.end_of_changes(&mut *file, len)?,
            None => len,
        };
        Ok(Self {
            segment,
            file,
            magic: start.first_chunk().copied(),
            header,
            before,
            end: usize::try_from(end).map_err(io::Error::other)?,
            piece: Vec::new(),
            at: 0,
        })
    }

    /// So many bytes from there on; `None` if fewer are left.
    fn bytes(&mut self, from: usize, len: usize) -> io::Result<Option<&[u8]>> {
        let left = self.end.saturating_sub(from);
        if len > left {
            return Ok(None);
        }
        if from < self.at || from + len > self.at + self.piece.len() {
            self.piece.resize(len.max(PIECE).min(left), 0);
            self.at = from;
            if let Err(error) = self.file.read_at(&mut self.piece, from as u64) {
                self.piece.clear();
                return Err(error);
            }
        }
        Ok(self.piece[from - self.at..].get(..len))
    }
}

fn scan_segment(scan: &mut Scan, mut found: Found, last: bool, first: bool) -> Result<Toc> {
    let segment = found.segment;
    let damaged = |what: &str, offset: usize| damage(segment, offset, what);
    let failed = |error: io::Error| unavailable(&error);
    let Some(header) = &found.header else {
        if let Some([magic @ .., version]) = found.magic
            && SEGMENT_MAGIC.starts_with(&magic)
            && !SEGMENT_MAGIC.ends_with(&[version])
        {
            return Err(damaged("written by another version of this program", 0));
        }
        // Only the newest segment can have been in the making when the machine stopped.
        if last && !found.holds_batch_after(0, 0).map_err(failed)? {
            scan.end = Some((segment, 0));
            scan.torn = true;
            return Ok(Toc::new(segment, 0));
        }
        return Err(damaged("bad segment header", 0));
    };
    // The table was durable before the segment got its name.
    if found.before.is_none() {
        return Err(damaged("bad table of sectors", SEGMENT_HEADER));
    }
    follows(scan, segment, header.first, first)?;
    scan.last_batch = header.first - 1;
    let mut toc = Toc::new(segment, header.first);
    let mut offset = usize::try_from(header.start()).expect("segments are small");
    let mut newest = None;
    // One record per sector is usual: growing would leave pieces of memory that nobody needs.
    toc.records.reserve(found.end / SECTOR);
    while offset < found.end {
        match found.parse_batch(offset).map_err(failed)? {
            Parsed::Batch { number, len } if number == scan.last_batch + 1 => {
                let from = offset + BATCH_HEADER;
                let payload = found.bytes(from, len).map_err(failed)?;
                payload
                    .and_then(|payload| collect(&mut toc, number, from, payload))
                    .ok_or_else(|| damaged("malformed batch", offset))?;
                scan.last_batch = number;
                newest = Some(offset as u64);
                offset += batch_size(len);
            }
            Parsed::Batch { .. } => return Err(damaged("batch out of order", offset)),
            torn => {
                let torn = matches!(torn, Parsed::Torn) && last;
                let newer = |found: &mut Found| found.holds_batch_after(offset, scan.last_batch);
                if !torn || newer(&mut found).map_err(failed)? {
                    return Err(damaged("bad checksum", offset));
                }
                scan.torn = true;
                break;
            }
        }
    }
    toc.last = scan.last_batch;
    toc.end = offset as u64;
    (scan.end, scan.newest) = (Some((segment, offset as u64)), newest);
    Ok(toc)
}

/// What the first sector of a segment says.
pub(crate) struct Header {
    /// number of its first batch
    pub(crate) first: u64,
    table: (u32, u32),
}

impl Header {
    /// Where the first batch is.
    fn start(&self) -> u64 {
        before::behind_table(self.table.0)
    }
}

/// Takes a segment's header apart, if it is that.
pub(crate) fn segment_header(segment: u64, data: &[u8]) -> Option<Header> {
    let (body, crc) = data.get(..SEGMENT_HEADER)?.split_at(SEGMENT_HEADER - 4);
    let mut reader = Reader(body);
    let magic = reader.take(8)?;
    let number = reader.u64()?;
    let first = reader.u64()?;
    let table = (reader.u32()?, reader.u32()?);
    (magic == SEGMENT_MAGIC
        && number == segment
        && (1..=LAST_BATCH).contains(&first)
        && crc == crc32fast::hash(body).to_le_bytes())
    .then_some(Header { first, table })
}

enum Parsed {
    /// its number, and the length of its payload
    Batch { number: u64, len: usize },
    /// not completely written
    Torn,
    /// completely written, changed since
    Damaged,
}

impl Found {
    fn parse_batch(&mut self, offset: usize) -> io::Result<Parsed> {
        let segment = self.segment;
        let header = self.bytes(offset, BATCH_HEADER)?;
        let Some((number, len)) = header.and_then(|header| batch_header(segment, header)) else {
            return Ok(Parsed::Torn);
        };
        let Some(frame) = self.bytes(offset, batch_size(len))? else {
            return Ok(Parsed::Torn);
        };
        let mut digest = crc32fast::Hasher::new();
        digest.update(&frame[..24]);
        digest.update(&[0; 4]);
        digest.update(&frame[28..]);
        let expected = u32::from_le_bytes([frame[24], frame[25], frame[26], frame[27]]);
        if digest.finalize() == expected {
            return Ok(Parsed::Batch { number, len });
        }
        let frame = &self.piece[offset - self.at..][..batch_size(len)];
        Ok(match self.torn(frame, offset) {
            true => Parsed::Torn,
            false => Parsed::Damaged,
        })
    }

    /// What was in each sector before is known: what a crash kept from the disk shows as a missing
    /// end mark or as a sector that is as it was.
    fn torn(&self, frame: &[u8], offset: usize) -> bool {
        let end = &frame[frame.len() - 4..];
        let as_before = |(n, sector): (usize, &[u8])| {
            let before = self.before.as_ref();
            before.is_some_and(|before| before.unchanged(offset / SECTOR + n, sector))
        };
        end != end_mark(self.segment) || frame.chunks(SECTOR).enumerate().any(as_before)
    }

    /// Whether a good batch newer than `number` starts behind `offset`: then what is at `offset`
    /// was acknowledged, because a batch is written only when the one before it is durable.
    fn holds_batch_after(&mut self, offset: usize, number: u64) -> io::Result<bool> {
        let magic = BATCH_MAGIC.to_le_bytes();
        let next = (offset / SECTOR + 1) * SECTOR;
        for at in (next..self.end).step_by(SECTOR) {
            let begins = self.bytes(at, magic.len())? == Some(&magic[..]);
            if begins
                && matches!(self.parse_batch(at)?, Parsed::Batch { number: n, .. } if n > number)
            {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

/// Bytes that a batch takes whose payload is so long.
fn batch_size(len: usize) -> usize {
    (len + BATCH_EXTRA).next_multiple_of(SECTOR)
}

/// The number and payload length of a batch whose header is plausible.
fn batch_header(segment: u64, header: &[u8]) -> Option<(u64, usize)> {
    let mut reader = Reader(header);
    if reader.u32()? != BATCH_MAGIC {
        return None;
    }
    let len = reader.u32()? as usize;
    if reader.u64()? != segment {
        return None;
    }
    Some((reader.u64()?, len))
}

fn collect(toc: &mut Toc, batch: u64, base: usize, payload: &[u8]) -> Option<()> {
    let mut reader = Reader(payload);
    while !reader.0.is_empty() {
        let keyspace = reader.u64()?;
        let counter = reader.u64()?;
        let len = reader.u32()? as usize;
        let offset = base + payload.len() - reader.0.len();
        reader.take(len)?;
        let place = Place {
            segment: toc.segment,
            batch,
            counter,
            offset,
            len,
        };
        toc.records.push((keyspace, place));
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::super::disk::RealDisk;
    use super::super::spare;
    use super::*;

    const SEGMENT_BYTES: u64 = 32 << 10;
    /// What stands behind the end of a log in these tests.
    const BEHIND: usize = 2 * SECTOR;
    const THREE: [u64; 3] = [700, 1400, 2100];

    fn log(dir: &Path, segment: u64, batch: u64) -> Log {
        Log::start(dir, Arc::new(RealDisk), SEGMENT_BYTES, segment, batch).expect("log")
    }

    /// Adds batches of these sizes; returns where each starts.
    fn fill(log: &mut Log, sizes: &[u64]) -> Vec<usize> {
        let mut starts = Vec::new();
        let mut batch = Batch::default();
        for size in sizes {
            batch.clear();
            let counter = log.next_counter();
            let body = batch.begin(7, counter);
            let salt = 7 * log.segment;
            batch
                .body()
                .extend((0..*size).map(|i| ((i + salt) % 251) as u8 + 1));
            batch.end(body);
            starts.push(usize::try_from(log.pos).expect("small"));
            log.append(&mut batch).expect("append");
        }
        starts
    }

    /// Adds the three batches twice, behind the room that a table would take.
    fn fill_as_if_reused(log: &mut Log) {
        let sectors = SEGMENT_BYTES / SECTOR as u64;
        log.pos = before::behind_table(u32::try_from(sectors).expect("small"));
        log.zeroed = log.pos;
        fill(log, &[THREE, THREE].concat());
    }

    /// A segment with three batches, over zeroes or over an old log with batches at the same
    /// places; returns its number, its bytes with some behind the end, and where each batch starts.
    fn three_batches(dir: &Path, reused: bool) -> (u64, Vec<u8>, Vec<usize>) {
        let mut log = log(dir, 1, 0);
        if reused {
            fill_as_if_reused(&mut log);
            let name = spare::set_aside(&RealDisk, dir, 1).expect("set aside");
            let prepared = spare::prepare(&RealDisk, dir, SEGMENT_BYTES, Some(&name));
            log.has_spare(prepared.expect("prepared"));
            log.pos = SEGMENT_BYTES;
            log.make_room(0).expect("the next segment");
        }
        let starts = fill(&mut log, &THREE);
        let mut data = std::fs::read(segment_path(dir, log.segment)).expect("segment");
        let end = usize::try_from(log.pos).expect("small");
        assert_eq!(data[end..end + BEHIND].iter().any(|b| *b != 0), reused);
        data.truncate(end + BEHIND);
        (log.segment, data, starts)
    }

    fn scan_of(dir: &Path, segment: u64, data: &[u8]) -> Result<Scan> {
        std::fs::write(segment_path(dir, segment), data).expect("write");
        scan(&RealDisk, dir, false, &|_, _| true)
    }

    #[test]
    fn every_cut_of_the_last_batch_is_a_torn_write() {
        for reused in [false, true] {
            let dir = tempfile::tempdir().expect("dir");
            let (segment, data, starts) = three_batches(dir.path(), reused);
            let end = data.len() - BEHIND;
            let last = scan_of(dir.path(), segment, &data)
                .expect("whole")
                .last_batch;
            let before = std::fs::read(segment_path(dir.path(), segment)).expect("segment");
            let old = old_contents(&before, reused);
            let same = [&data[..starts[2]], &old[starts[2]..]].concat();
            for len in starts[2]..end {
                for padded in [false, true] {
                    let mut cut = data[..len].to_vec();
                    if padded {
                        cut.extend_from_slice(&old[len..]);
                    }
                    let scan = scan_of(dir.path(), segment, &cut).expect("cut off, not an error");
                    assert_eq!(scan.last_batch, last - 1, "{len}");
                    assert_eq!(scan.records[&7].len(), 2, "{len}");
                    // Where the first bytes are those that were there, nothing was written.
                    let torn = !padded && len != starts[2] || padded && cut != same;
                    assert_eq!(scan.torn, torn, "{len}");
                    assert_eq!(scan.end, Some((segment, starts[2] as u64)), "{len}");
                }
            }
        }
    }

    /// What was in the segment before the three batches.
    fn old_contents(data: &[u8], reused: bool) -> Vec<u8> {
        if !reused {
            return vec![0; data.len()];
        }
        let dir = tempfile::tempdir().expect("dir");
        let mut log = log(dir.path(), 1, 0);
        fill_as_if_reused(&mut log);
        let mut old = std::fs::read(segment_path(dir.path(), 1)).expect("segment");
        old.truncate(data.len());
        old
    }

    #[test]
    fn a_sector_missing_from_the_last_batch_is_a_torn_write() {
        for reused in [false, true] {
            let dir = tempfile::tempdir().expect("dir");
            let (segment, data, starts) = three_batches(dir.path(), reused);
            let last = scan_of(dir.path(), segment, &data)
                .expect("whole")
                .last_batch;
            let old = old_contents(&data, reused);
            for sector in (starts[2]..data.len() - BEHIND).step_by(SECTOR) {
                let mut torn = data.clone();
                torn[sector..sector + SECTOR].copy_from_slice(&old[sector..sector + SECTOR]);
                let scan = scan_of(dir.path(), segment, &torn).expect("cut");
                assert_eq!(scan.last_batch, last - 1);
                assert!(scan.torn);
            }
            let mut none = data.clone();
            none[starts[2]..].copy_from_slice(&old[starts[2]..]);
            let scan = scan_of(dir.path(), segment, &none).expect("nothing was written");
            assert_eq!((scan.last_batch, scan.torn), (last - 1, false));
        }
    }

    #[test]
    fn no_changed_byte_before_the_end_goes_unnoticed() {
        for reused in [false, true] {
            let dir = tempfile::tempdir().expect("dir");
            let (segment, data, starts) = three_batches(dir.path(), reused);
            let last = scan_of(dir.path(), segment, &data)
                .expect("whole")
                .last_batch;
            let end = data.len() - BEHIND;
            for at in 0..end {
                let mut bad = data.clone();
                bad[at] ^= 0x55;
                match scan_of(dir.path(), segment, &bad) {
                    Err(Error::Corrupt(_)) => {}
                    Err(other) => panic!("byte {at}: {other}"),
                    // A change in the frame of the last batch may look like a torn write.
                    Ok(scan) => {
                        let header = starts[2]..starts[2] + BATCH_HEADER;
                        assert!(header.contains(&at) || at >= end - 4, "byte {at}");
                        assert_eq!(scan.last_batch, last - 1, "byte {at}");
                        assert!(scan.torn, "byte {at}");
                    }
                }
            }
        }
    }

    #[test]
    fn batches_across_the_pieces_that_are_read_are_told_apart_like_others() {
        let dir = tempfile::tempdir().expect("dir");
        let mut log = log(dir.path(), 1, 0);
        let piece = PIECE as u64;
        let sizes = [piece - 600, 100, 2 * piece, 700, 3 * piece / 2];
        let starts = fill(&mut log, &sizes);
        let end = usize::try_from(log.pos).expect("small");
        let mut data = std::fs::read(segment_path(dir.path(), 1)).expect("segment");
        data.truncate(end);
        let whole = scan_of(dir.path(), 1, &data).expect("whole");
        let lens = whole.records[&7].iter().map(|place| place.len as u64);
        assert_eq!(lens.collect::<Vec<_>>(), sizes);
        assert_eq!((whole.last_batch, whole.torn), (5, false));
        for at in [starts[2] + PIECE + 7, starts[4] + BATCH_HEADER + PIECE] {
            let mut bad = data.clone();
            bad[at] ^= 1;
            let found = scan_of(dir.path(), 1, &bad);
            assert!(matches!(found, Err(Error::Corrupt(_))), "byte {at}");
        }
        for len in [starts[4] + 8, starts[4] + PIECE, end - 1] {
            let torn = scan_of(dir.path(), 1, &data[..len]).expect("cut off, not an error");
            assert_eq!((torn.last_batch, torn.torn), (4, true), "{len}");
        }
        // Not torn: a whole batch is behind it, beyond the piece that was read last.
        let mut gap = data.clone();
        gap[starts[2]..starts[2] + 8].fill(0);
        assert!(matches!(
            scan_of(dir.path(), 1, &gap),
            Err(Error::Corrupt(_))
        ));
    }

    #[test]
    fn a_segment_of_another_version_is_reported() {
        let dir = tempfile::tempdir().expect("dir");
        let (segment, mut data, _) = three_batches(dir.path(), false);
        data[7] = 1;
        data.splice(40..SEGMENT_HEADER, []);
        let found = scan_of(dir.path(), segment, &data);
        let told = found.err().map(|error| error.to_string());
        assert!(told.is_some_and(|text| text.contains("another version")));
    }

    #[test]
    fn a_missing_segment_or_batch_is_reported() {
        let dir = tempfile::tempdir().expect("dir");
        let (segment, data, starts) = three_batches(dir.path(), false);
        let mut gap = data[..starts[1]].to_vec();
        gap.extend_from_slice(&data[starts[2]..]);
        assert!(matches!(
            scan_of(dir.path(), segment, &gap),
            Err(Error::Corrupt(_))
        ));
        std::fs::write(segment_path(dir.path(), segment), &data).expect("write");
        log(dir.path(), 3, 3);
        assert!(matches!(
            scan(&RealDisk, dir.path(), false, &|_, _| true),
            Err(Error::Corrupt(_))
        ));
    }

    #[test]
    fn a_segment_behind_which_the_log_went_on_needs_all_its_batches() {
        for reused in [false, true] {
            let dir = tempfile::tempdir().expect("dir");
            let (segment, data, starts) = three_batches(dir.path(), reused);
            let last = scan_of(dir.path(), segment, &data)
                .expect("whole")
                .last_batch;
            log(dir.path(), segment + 1, last);
            let whole = scan_of(dir.path(), segment, &data).expect("whole");
            assert_eq!((whole.last_batch, whole.torn), (last, false));
            let old = old_contents(&data, reused);
            for sector in (starts[2]..data.len() - BEHIND).step_by(SECTOR) {
                let mut torn = data.clone();
                torn[sector..].copy_from_slice(&old[sector..]);
                let lost = scan_of(dir.path(), segment, &torn);
                assert!(matches!(lost, Err(Error::Corrupt(_))), "sector at {sector}");
            }
        }
    }
}

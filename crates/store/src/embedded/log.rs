//! The log that all keyspaces of a node share: batches of sealed records in zeroed segments.
//!
//! A batch is written with one write and made durable with one fdatasync before anyone gets an
//! answer. Batches carry a running number, so a reader can tell a torn last write (cut off)
//! from damage in front of something that was acknowledged (an error).
//!
//! Segment: 32 bytes `magic, segment, first batch number, crc`, then batches:
//! `magic u32, len u32, segment u64, number u64, crc u32, 0 u32, payload, end mark u32`.
//! Record in a payload: `keyspace u64, counter u64, len u32, sealed bytes`.

use super::disk::{Disk, DiskFile};
use super::record::Reader;
use super::toc::{self, Toc};
use crate::{Error, Result};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

const SEGMENT_MAGIC: &[u8; 8] = b"FHLOG\0\0\x01";
pub(crate) const SEGMENT_HEADER: usize = 32;
const BATCH_MAGIC: u32 = 0x4846_5442;
const END_MARK: u32 = 0x4c41_4546;
const BATCH_HEADER: usize = 32;
const BATCH_EXTRA: usize = BATCH_HEADER + 4;
const RECORD_HEADER: usize = 20;
/// Zeroes that are written at once: little enough that a commit at the same time hardly waits for
/// them, but each time costs a flush.
const ZERO_STEP: usize = 256 << 10;
/// Room in the log that puts leave to deletions and compactions on a full disk.
pub(crate) const RESERVE: usize = 1 << 20;
/// Longest rest between two slices of zeroes.
const LONGEST_REST: Duration = Duration::from_millis(2);
/// Segment files are zeroed in advance, so that a commit only overwrites: it then waits for
/// nothing but its own bytes.
const SPARE: &str = "spare";
/// Segments that nobody needs any more, to be zeroed and used again: overwriting takes no blocks
/// and frees none, so that neither the file system's journal nor the disk has more to do.
const USED: &str = "used-";

/// Where a record is.
#[derive(Clone, Copy, Debug)]
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
    spare: bool,
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
        self.bytes.len() + 4
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

    fn seal(&mut self, segment: u64, number: u64) {
        let len = u32::try_from(self.bytes.len() - BATCH_HEADER).expect("a batch is bounded");
        self.bytes.extend_from_slice(&END_MARK.to_le_bytes());
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

impl Log {
    /// Starts a fresh segment behind everything that a scan found.
    pub(crate) fn start(
        dir: &Path,
        disk: Arc<dyn Disk>,
        segment_bytes: u64,
        segment: u64,
        batch: u64,
    ) -> io::Result<Self> {
        let file = create_segment(&*disk, dir, segment, batch + 1, false)?;
        let mut log = Self {
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
            spare: false,
        };
        // A full disk must not keep anybody from opening and reading.
        match log.reserve(RESERVE) {
            Err(error) if error.kind() != io::ErrorKind::StorageFull => Err(error),
            _ => Ok(log),
        }
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
        let prepared = self.spare && self.room() < size && size as u64 <= self.segment_bytes / 2;
        if self.pos >= self.segment_bytes || prepared {
            self.rotate()?;
        }
        // A spare segment is room enough: zeroes behind this one's end would be for nothing.
        self.reserve(if self.spare { size } else { size + RESERVE })
    }

    fn rotate(&mut self) -> io::Result<()> {
        let spare = std::mem::take(&mut self.spare);
        if spare {
            let path = segment_path(&self.dir, self.segment + 1);
            self.disk.rename(&self.dir.join(SPARE), &path)?;
        }
        self.file = create_segment(
            &*self.disk,
            &self.dir,
            self.segment + 1,
            self.batch + 1,
            spare,
        )?;
        self.segment += 1;
        self.pos = SEGMENT_HEADER as u64;
        self.zeroed = if spare { self.segment_bytes } else { self.pos };
        Ok(())
    }

    /// Whether it is time to prepare the next segment: soon, since that is done slowly.
    pub(crate) fn wants_spare(&self) -> bool {
        !self.spare && self.pos > self.segment_bytes / 8
    }

    /// The next segment is prepared.
    pub(crate) fn has_spare(&mut self) {
        self.spare = true;
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

/// Gives a complete segment that is needed no more another name, durably, before anything in it
/// changes.
pub(crate) fn set_aside(disk: &dyn Disk, dir: &Path, segment: u64) -> io::Result<()> {
    match disk.rename(&segment_path(dir, segment), &used_path(dir, segment)) {
        // An attempt before this one came so far.
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => disk.sync_dir(dir),
    }
}

fn used_path(dir: &Path, segment: u64) -> PathBuf {
    dir.join(format!("{USED}{segment}"))
}

/// Writes the zeroes of a segment to come, over one that was set aside if there is one, in slices
/// that hold up nobody for long, and rests as long as it works.
pub(crate) fn prepare_spare(
    disk: &dyn Disk,
    dir: &Path,
    segment_bytes: u64,
    used: Option<u64>,
) -> io::Result<()> {
    if let Some(segment) = used {
        disk.rename(&used_path(dir, segment), &dir.join(SPARE))?;
    }
    let zeroes = vec![0; ZERO_STEP];
    let mut file = disk.open(&dir.join(SPARE))?;
    // Nothing may stand behind the zeroes.
    file.set_len(if used.is_some() { segment_bytes } else { 0 })?;
    let mut offset = 0;
    while offset < segment_bytes {
        let len = zeroes
            .len()
            .min(usize::try_from(segment_bytes - offset).unwrap_or(ZERO_STEP));
        let began = Instant::now();
        file.write_at(&zeroes[..len], offset)?;
        file.sync_data()?;
        std::thread::sleep(began.elapsed().min(LONGEST_REST));
        offset += len as u64;
    }
    Ok(())
}

/// Removes a spare segment, complete or not.
pub(crate) fn remove_spare(disk: &dyn Disk, dir: &Path) -> io::Result<()> {
    disk.remove(&dir.join(SPARE))
}

/// Removes a spare segment and those that were set aside.
pub(crate) fn remove_spares(disk: &dyn Disk, dir: &Path) -> io::Result<()> {
    for name in disk.list(dir)? {
        if name.starts_with(USED) {
            disk.remove(&dir.join(name))?;
        }
    }
    remove_spare(disk, dir)
}

fn create_segment(
    disk: &dyn Disk,
    dir: &Path,
    segment: u64,
    first: u64,
    prepared: bool,
) -> io::Result<Box<dyn DiskFile>> {
    let mut header = Vec::with_capacity(SEGMENT_HEADER);
    header.extend_from_slice(SEGMENT_MAGIC);
    header.extend_from_slice(&segment.to_le_bytes());
    header.extend_from_slice(&first.to_le_bytes());
    let crc = crc32fast::hash(&header);
    header.extend_from_slice(&crc.to_le_bytes());
    header.resize(SEGMENT_HEADER, 0);
    let mut file = disk.open(&segment_path(dir, segment))?;
    if !prepared {
        // A file of this name can only be what a failed attempt left.
        file.set_len(0)?;
    }
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
    /// records by keyspace, in order
    pub(crate) records: std::collections::BTreeMap<u64, Vec<Place>>,
    /// the last segment, and where its last good batch ends
    pub(crate) end: Option<(u64, u64)>,
    /// something incomplete stands behind that
    pub(crate) torn: bool,
    /// segments that were read because nothing said what is in them
    pub(crate) read: Vec<Toc>,
}

/// Finds out what is in every segment. With `trust`, a complete segment is not read when there
/// is a table of what is in it: its records are authenticated when they are used.
pub(crate) fn scan(disk: &dyn Disk, dir: &Path, trust: bool) -> Result<Scan> {
    let mut scan = Scan {
        segments: list_segments(disk, dir)?,
        ..Scan::default()
    };
    let last = scan.segments.last().copied();
    let mut previous = None;
    for segment in scan.segments.clone() {
        if previous.is_some_and(|p| p + 1 != segment) {
            return Err(Error::Corrupt(format!(
                "the log segment before {segment} is missing"
            )));
        }
        let known = (trust && Some(segment) != last).then(|| toc::read(disk, dir, segment));
        let toc = match known.flatten() {
            Some(toc) => {
                follows(&scan, segment, toc.first, previous.is_none())?;
                scan.last_batch = toc.last;
                toc
            }
            None => {
                let path = segment_path(dir, segment);
                let data = disk.read_written(&path).map_err(|e| unavailable(&e))?;
                let first = previous.is_none();
                scan_segment(&mut scan, segment, &data, Some(segment) == last, first)?
            }
        };
        for (keyspace, place) in &toc.records {
            scan.records.entry(*keyspace).or_default().push(*place);
        }
        if !toc.known {
            scan.read.push(toc);
        }
        previous = Some(segment);
    }
    Ok(scan)
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

fn scan_segment(
    scan: &mut Scan,
    segment: u64,
    data: &[u8],
    last: bool,
    first: bool,
) -> Result<Toc> {
    let damaged = |what: &str, offset: usize| damage(segment, offset, what);
    let Some(first_batch) = segment_header(segment, data) else {
        // Only the newest segment can have been in the making when the machine stopped.
        if last && !holds_batch_after(segment, data, 0, 0) {
            scan.end = Some((segment, 0));
            scan.torn = true;
            return Ok(Toc::new(segment, 0));
        }
        return Err(damaged("bad segment header", 0));
    };
    follows(scan, segment, first_batch, first)?;
    scan.last_batch = first_batch - 1;
    let mut toc = Toc::new(segment, first_batch);
    let mut offset = SEGMENT_HEADER;
    while offset < data.len() {
        match parse_batch(segment, data, offset) {
            Parsed::Batch { number, payload } if number == scan.last_batch + 1 => {
                collect(&mut toc, number, offset + BATCH_HEADER, payload)
                    .ok_or_else(|| damaged("malformed batch", offset))?;
                scan.last_batch = number;
                offset += payload.len() + BATCH_EXTRA;
            }
            Parsed::Batch { .. } => return Err(damaged("batch out of order", offset)),
            Parsed::Zeroes => break,
            Parsed::Torn if last && !holds_batch_after(segment, data, offset, scan.last_batch) => {
                scan.torn = true;
                break;
            }
            Parsed::Torn | Parsed::Damaged => return Err(damaged("bad checksum", offset)),
        }
    }
    toc.last = scan.last_batch;
    toc.end = offset as u64;
    scan.end = Some((segment, offset as u64));
    Ok(toc)
}

/// The number of a segment's first batch, if this is its header.
pub(crate) fn segment_header(segment: u64, data: &[u8]) -> Option<u64> {
    let mut reader = Reader(data.get(..SEGMENT_HEADER)?);
    let magic = reader.take(8)?;
    let number = reader.u64()?;
    let first = reader.u64()?;
    let crc = reader.u32()?;
    (magic == SEGMENT_MAGIC
        && reader.0 == [0; 4]
        && number == segment
        && first > 0
        && crc == crc32fast::hash(&data[..24]))
    .then_some(first)
}

enum Parsed<'a> {
    Batch {
        number: u64,
        payload: &'a [u8],
    },
    /// nothing but zeroes up to the end
    Zeroes,
    /// not completely written
    Torn,
    /// completely written, changed since
    Damaged,
}

fn parse_batch(segment: u64, data: &[u8], offset: usize) -> Parsed<'_> {
    let data = &data[offset..];
    if data.iter().all(|b| *b == 0) {
        return Parsed::Zeroes;
    }
    match batch_frame(segment, data) {
        Some((number, frame)) => {
            let mut digest = crc32fast::Hasher::new();
            digest.update(&frame[..24]);
            digest.update(&[0; 4]);
            digest.update(&frame[28..]);
            let expected = u32::from_le_bytes([frame[24], frame[25], frame[26], frame[27]]);
            if digest.finalize() == expected {
                Parsed::Batch {
                    number,
                    payload: &frame[BATCH_HEADER..frame.len() - 4],
                }
            } else if torn(frame, offset) {
                Parsed::Torn
            } else {
                Parsed::Damaged
            }
        }
        None => Parsed::Torn,
    }
}

/// The bytes of a batch whose header is plausible and that is inside the file.
fn batch_frame(segment: u64, data: &[u8]) -> Option<(u64, &[u8])> {
    let mut reader = Reader(data);
    if reader.u32()? != BATCH_MAGIC {
        return None;
    }
    let len = reader.u32()? as usize;
    if reader.u64()? != segment {
        return None;
    }
    let number = reader.u64()?;
    Some((number, data.get(..len.checked_add(BATCH_EXTRA)?)?))
}

/// Segments are zeroed before they are written: what a crash kept from the disk reads as a
/// missing end mark or as a whole sector of zeroes.
fn torn(frame: &[u8], offset: usize) -> bool {
    let end = &frame[frame.len() - 4..];
    let first_sector = offset.next_multiple_of(512) - offset;
    let mut sectors = frame[first_sector.min(frame.len())..].chunks_exact(512);
    end != END_MARK.to_le_bytes() || sectors.any(|sector| sector.iter().all(|b| *b == 0))
}

/// Whether a good batch newer than `number` starts behind `offset`: then what is at `offset`
/// was acknowledged, because a batch is written only when the one before it is durable.
fn holds_batch_after(segment: u64, data: &[u8], offset: usize, number: u64) -> bool {
    let magic = BATCH_MAGIC.to_le_bytes();
    let mut from = offset + 1;
    while let Some(found) = data.get(from..).and_then(|rest| find(rest, &magic)) {
        let at = from + found;
        if matches!(parse_batch(segment, data, at), Parsed::Batch { number: n, .. } if n > number) {
            return true;
        }
        from = at + 1;
    }
    false
}

fn find(data: &[u8], pattern: &[u8; 4]) -> Option<usize> {
    data.windows(4).position(|window| window == pattern)
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
    use super::*;

    /// A log of one segment with three batches; returns the bytes and where each batch starts.
    fn three_batches(dir: &Path) -> (Vec<u8>, Vec<usize>) {
        let mut log = Log::start(dir, Arc::new(RealDisk), 1 << 20, 1, 0).expect("log");
        let mut starts = Vec::new();
        let mut batch = Batch::default();
        for n in 1..=3_u64 {
            batch.clear();
            let counter = log.next_counter();
            let body = batch.begin(7, counter);
            batch
                .body()
                .extend((0..700 * n).map(|i| (i % 251) as u8 + 1));
            batch.end(body);
            starts.push(usize::try_from(log.pos).expect("small"));
            log.append(&mut batch).expect("append");
        }
        let mut data = std::fs::read(segment_path(dir, 1)).expect("segment");
        data.truncate(usize::try_from(log.pos).expect("small") + 600);
        (data, starts)
    }

    fn scan_of(dir: &Path, data: &[u8]) -> Result<Scan> {
        std::fs::write(segment_path(dir, 1), data).expect("write");
        scan(&RealDisk, dir, false)
    }

    #[test]
    fn every_cut_of_the_last_batch_is_a_torn_write() {
        let dir = tempfile::tempdir().expect("dir");
        let (data, starts) = three_batches(dir.path());
        let end = data.len() - 600;
        assert_eq!(scan_of(dir.path(), &data).expect("whole").last_batch, 3);
        for len in starts[2]..end {
            for padded in [false, true] {
                let mut cut = data[..len].to_vec();
                if padded {
                    cut.resize(data.len(), 0);
                }
                let scan = scan_of(dir.path(), &cut).expect("cut off, not an error");
                assert_eq!(scan.last_batch, 2, "{len}");
                assert_eq!(scan.records[&7].len(), 2, "{len}");
                assert_eq!(scan.torn, len != starts[2], "{len}");
                assert_eq!(scan.end, Some((1, starts[2] as u64)), "{len}");
            }
        }
    }

    #[test]
    fn a_sector_missing_from_the_last_batch_is_a_torn_write() {
        let dir = tempfile::tempdir().expect("dir");
        let (data, starts) = three_batches(dir.path());
        for sector in (starts[2].div_ceil(512) * 512..data.len() - 1200).step_by(512) {
            let mut torn = data.clone();
            torn[sector..sector + 512].fill(0);
            assert_eq!(scan_of(dir.path(), &torn).expect("cut").last_batch, 2);
        }
    }

    #[test]
    fn no_changed_byte_before_the_end_goes_unnoticed() {
        let dir = tempfile::tempdir().expect("dir");
        let (data, starts) = three_batches(dir.path());
        let end = data.len() - 600;
        for at in 0..end {
            let mut bad = data.clone();
            bad[at] ^= 0x55;
            match scan_of(dir.path(), &bad) {
                Err(Error::Corrupt(_)) => {}
                Err(other) => panic!("byte {at}: {other}"),
                // A change in the frame of the last batch may look like a torn write.
                Ok(scan) => {
                    let header = starts[2]..starts[2] + BATCH_HEADER;
                    assert!(header.contains(&at) || at >= end - 4, "byte {at}");
                    assert_eq!(scan.last_batch, 2, "byte {at}");
                }
            }
        }
    }

    #[test]
    fn a_missing_segment_or_batch_is_reported() {
        let dir = tempfile::tempdir().expect("dir");
        let (data, starts) = three_batches(dir.path());
        let mut gap = data[..starts[1]].to_vec();
        gap.extend_from_slice(&data[starts[2]..]);
        assert!(matches!(scan_of(dir.path(), &gap), Err(Error::Corrupt(_))));
        std::fs::write(segment_path(dir.path(), 1), &data).expect("write");
        Log::start(dir.path(), Arc::new(RealDisk), 1 << 20, 3, 3).expect("log");
        assert!(matches!(
            scan(&RealDisk, dir.path(), false),
            Err(Error::Corrupt(_))
        ));
    }
}

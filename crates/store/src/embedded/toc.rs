//! Tables of contents of complete log segments, so that opening a directory reads those instead
//! of the segments. They are a convenience: without one, or with a damaged one, the segment
//! itself is read.
//!
//! File: `magic, segment, first batch, last batch, end, count`, then `keyspace, batch, counter,
//! offset, len` of each record, then a CRC of it all.

use super::disk::Disk;
use super::log::{LAST_BATCH, Place, SEGMENT_HEADER, segment_header, segment_path};
use super::record::{Reader, put_u64};
use std::io;
use std::path::{Path, PathBuf};

const MAGIC: &[u8; 8] = b"FHTOC\0\0\x01";

/// Bytes of a record's line.
const RECORD: usize = 32;

/// What is in one segment.
pub(crate) struct Toc {
    pub(crate) segment: u64,
    pub(crate) first: u64,
    pub(crate) last: u64,
    /// where the last batch ends
    pub(crate) end: u64,
    /// keyspace and place of each record, in order
    pub(crate) records: Vec<(u64, Place)>,
    /// it was read from its file
    pub(crate) known: bool,
}

impl Toc {
    pub(crate) fn new(segment: u64, first: u64) -> Self {
        Self {
            segment,
            first,
            last: first.saturating_sub(1),
            end: 0,
            records: Vec::new(),
            known: false,
        }
    }
}

pub(crate) fn path(dir: &Path, segment: u64) -> PathBuf {
    dir.join(format!("{segment:016}.toc"))
}

/// Writes a table; not durable, since it is not needed.
pub(crate) fn write(disk: &dyn Disk, dir: &Path, toc: &Toc) -> io::Result<()> {
    let mut out = MAGIC.to_vec();
    let last = toc
        .records
        .last()
        .map_or(toc.last, |(_, place)| place.batch);
    for n in [
        toc.segment,
        toc.first,
        last,
        toc.end,
        toc.records.len() as u64,
    ] {
        put_u64(&mut out, n);
    }
    for (keyspace, place) in &toc.records {
        for n in [*keyspace, place.batch, place.counter] {
            put_u64(&mut out, n);
        }
        put_u64(&mut out, (place.offset as u64) << 32 | place.len as u64);
    }
    let crc = crc32fast::hash(&out);
    out.extend_from_slice(&crc.to_le_bytes());
    let mut file = disk.open(&path(dir, toc.segment))?;
    file.set_len(0)?;
    file.write_at(&out, 0)
}

/// The table of a segment, if it is there, whole, and of this segment.
pub(crate) fn read(disk: &dyn Disk, dir: &Path, segment: u64) -> Option<Toc> {
    let data = disk.read(&path(dir, segment)).ok()?;
    let toc = decode(&data).filter(|toc| toc.segment == segment)?;
    let mut file = disk.open_existing(&segment_path(dir, segment)).ok()?;
    let mut header = [0; SEGMENT_HEADER];
    file.read_at(&mut header, 0).ok()?;
    file.read_at(&mut [0], toc.end.checked_sub(1)?).ok()?;
    let header = segment_header(segment, &header);
    header
        .is_some_and(|header| header.first == toc.first)
        .then_some(toc)
}

fn decode(data: &[u8]) -> Option<Toc> {
    let (body, crc) = data.split_at_checked(data.len().checked_sub(4)?)?;
    let mut reader = Reader(body);
    if crc != crc32fast::hash(body).to_le_bytes() || reader.take(8)? != MAGIC {
        return None;
    }
    let mut toc = Toc {
        segment: reader.u64()?,
        first: reader.u64()?,
        last: reader.u64()?,
        end: reader.u64()?,
        records: Vec::new(),
        known: true,
    };
    let count = reader.u64()?;
    toc.records.reserve_exact(reader.0.len() / RECORD);
    for _ in 0..count {
        let (keyspace, batch, counter) = (reader.u64()?, reader.u64()?, reader.u64()?);
        let at = reader.u64()?;
        let place = Place {
            segment: toc.segment,
            batch,
            counter,
            offset: usize::try_from(at >> 32).ok()?,
            len: usize::try_from(at & u64::from(u32::MAX)).ok()?,
        };
        // Whoever reads a record makes room for it first.
        if (place.offset + place.len) as u64 > toc.end {
            return None;
        }
        toc.records.push((keyspace, place));
    }
    (reader.0.is_empty() && toc.last <= LAST_BATCH).then_some(toc)
}

#[cfg(test)]
mod tests {
    use super::super::disk::RealDisk;
    use super::super::log::{Batch, Log};
    use super::*;
    use std::sync::Arc;

    #[test]
    fn a_table_is_used_only_when_it_is_whole_and_fits_its_segment() {
        let dir = tempfile::tempdir().expect("dir");
        let mut log = Log::start(dir.path(), Arc::new(RealDisk), 1 << 20, 1, 0).expect("log");
        let mut batch = Batch::default();
        batch.clear();
        let body = batch.begin(7, log.next_counter());
        batch.body().extend_from_slice(&[3; 100]);
        batch.end(body);
        log.append(&mut batch).expect("append");
        let mut toc = Toc::new(1, 1);
        toc.end = log.pos();
        let place = Place {
            segment: 1,
            batch: 1,
            counter: 1,
            offset: 84,
            len: 100,
        };
        toc.records.push((7, place));
        write(&RealDisk, dir.path(), &toc).expect("write");
        let found = read(&RealDisk, dir.path(), 1).expect("whole");
        assert_eq!(
            (found.last, found.end, found.records.len()),
            (1, toc.end, 1)
        );
        let file = path(dir.path(), 1);
        let full = std::fs::read(&file).expect("table");
        for at in 0..full.len() {
            let mut bad = full.clone();
            bad[at] ^= 1;
            std::fs::write(&file, &bad).expect("damage");
            assert!(read(&RealDisk, dir.path(), 1).is_none(), "byte {at}");
            std::fs::write(&file, &full[..at]).expect("cut");
            assert!(read(&RealDisk, dir.path(), 1).is_none(), "cut at {at}");
        }
        std::fs::write(&file, &full).expect("restore");
        let segment = segment_path(dir.path(), 1);
        let len = std::fs::File::options().write(true).open(segment);
        len.expect("segment").set_len(toc.end - 1).expect("cut");
        assert!(
            read(&RealDisk, dir.path(), 1).is_none(),
            "the segment is shorter"
        );
    }
}

//! What was in a log segment before it was written: zeroes, or a log that nobody needs any more.
//!
//! A segment is used again as it is: to zero it would be as much to write as the log itself, with
//! flushes that the log's own wait for. Instead a table behind its header says what was in each
//! sector. So a sector that a crash kept from the disk is known for certain, and everything else
//! that does not fit is damage.

use super::disk::DiskFile;
use std::io;

/// What a disk writes whole or not at all.
pub(crate) const SECTOR: usize = 512;
const ENTRY: usize = 8;
/// Bytes that are read at once.
const PIECE: usize = 128 << 10;

/// A file that is ready to become a segment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Prepared {
    /// entries and checksum of the table; without entries it was zeroed
    pub(crate) table: (u32, u32),
    /// bytes that can be written without asking the file system for space
    pub(crate) len: u64,
}

impl Prepared {
    /// Where the first batch goes.
    pub(crate) fn start(self) -> u64 {
        behind_table(self.table.0)
    }
}

/// Where the first batch goes behind a table of so many sectors.
pub(crate) fn behind_table(sectors: u32) -> u64 {
    (SECTOR as u64 + u64::from(sectors) * ENTRY as u64).next_multiple_of(SECTOR as u64)
}

/// What was in the sectors of a segment.
pub(crate) struct Before {
    /// behind these: zeroes
    sums: Vec<u64>,
}

impl Before {
    pub(crate) fn zeroes() -> Self {
        Self { sums: Vec::new() }
    }

    /// Reads the table of a segment; `None` if it is damaged.
    pub(crate) fn read(
        file: &mut dyn DiskFile,
        len: u64,
        (sectors, crc): (u32, u32),
    ) -> io::Result<Option<Self>> {
        let size = sectors as usize * ENTRY;
        if len < (SECTOR + size) as u64 {
            return Ok(None);
        }
        let mut table = vec![0; size];
        file.read_at(&mut table, SECTOR as u64)?;
        if sectors > 0 && crc32fast::hash(&table) != crc {
            return Ok(None);
        }
        let entry = |bytes: &[u8]| u64::from_le_bytes(bytes.try_into().unwrap_or_default());
        let sums = table.chunks_exact(ENTRY).map(entry).collect();
        Ok(Some(Self { sums }))
    }

    /// Whether nothing was written to this sector since.
    pub(crate) fn unchanged(&self, number: usize, sector: &[u8]) -> bool {
        match self.sums.get(number) {
            Some(sum) => sector.len() == SECTOR && *sum == sum_of(sector),
            None => [0; SECTOR].starts_with(sector),
        }
    }

    /// Where the last sector ends that is not as it was. Read from the end: what was written may
    /// have any gap.
    pub(crate) fn end_of_changes(&self, file: &mut dyn DiskFile, len: u64) -> io::Result<u64> {
        let mut piece = vec![0; PIECE];
        let mut end = len;
        while end > 0 {
            let start = (end - 1) / PIECE as u64 * PIECE as u64;
            let piece = &mut piece[..usize::try_from(end - start).map_err(io::Error::other)?];
            file.read_at(piece, start)?;
            let first = usize::try_from(start / SECTOR as u64).map_err(io::Error::other)?;
            for (n, sector) in piece.chunks(SECTOR).enumerate().rev() {
                if !self.unchanged(first + n, sector) {
                    return Ok(start + (n * SECTOR + sector.len()) as u64);
                }
            }
            end = start;
        }
        Ok(0)
    }
}

/// Writes down what is in a file of whole sectors, in a table at its beginning.
pub(crate) fn write_table(file: &mut dyn DiskFile, len: u64) -> io::Result<Prepared> {
    let mut table = Vec::new();
    let mut piece = vec![0; PIECE];
    let mut at = 0;
    while at < len {
        let size = usize::try_from((len - at).min(PIECE as u64)).map_err(io::Error::other)?;
        file.read_at(&mut piece[..size], at)?;
        for sector in piece[..size].chunks(SECTOR) {
            table.extend_from_slice(&sum_of(sector).to_le_bytes());
        }
        at += size as u64;
    }
    file.write_at(&table, SECTOR as u64)?;
    let sectors = u32::try_from(len / SECTOR as u64).map_err(io::Error::other)?;
    Ok(Prepared {
        table: (sectors, crc32fast::hash(&table)),
        len,
    })
}

/// A hash of a sector in four lanes. 64 bits, since a sector of an acknowledged batch that looked
/// as it was before would be taken for one that is missing.
fn sum_of(sector: &[u8]) -> u64 {
    const ODD: u64 = 0x9e37_79b9_7f4a_7c15;
    let mut lanes = [1_u64, 2, 3, 4];
    let mix = |sum: u64, word: u64| (sum.rotate_left(23) ^ word).wrapping_mul(ODD);
    for block in sector.chunks_exact(32) {
        for (lane, word) in lanes.iter_mut().zip(block.chunks_exact(8)) {
            *lane = mix(
                *lane,
                u64::from_le_bytes(word.try_into().unwrap_or_default()),
            );
        }
    }
    lanes.into_iter().fold(0, mix)
}

//! What targets share: input in parts, files in memory, an engine on them, and how much memory work takes.

mod disk;
mod engine;
mod memory;

pub use disk::MemDisk;
pub use engine::Engine;
pub use memory::{Counting, most};

/// Takes an input apart; what is missing at its end is zero or empty.
pub struct Input<'a>(pub &'a [u8]);

impl<'a> Input<'a> {
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn byte(&mut self) -> u8 {
        self.take(1).first().copied().unwrap_or(0)
    }

    pub fn number(&mut self) -> usize {
        usize::from(u16::from_le_bytes([self.byte(), self.byte()]))
    }

    pub fn take(&mut self, len: usize) -> &'a [u8] {
        let (part, rest) = self.0.split_at(len.min(self.0.len()));
        self.0 = rest;
        part
    }

    /// Bytes with their length in front.
    pub fn part(&mut self) -> &'a [u8] {
        let len = self.number();
        self.take(len)
    }

    /// Changes a file: bytes of it, its end, or what a disk does to sectors. `false`: no more.
    pub fn change(&mut self, data: &mut Vec<u8>) -> bool {
        const SECTOR: usize = 512;
        if self.is_empty() || data.is_empty() {
            return false;
        }
        let what = self.byte();
        let at = (self.number() << 8 | usize::from(self.byte())) % data.len();
        let sector = at / SECTOR * SECTOR..(at / SECTOR * SECTOR + SECTOR).min(data.len());
        match what % 7 {
            0 => data[at] ^= self.byte().max(1),
            1 => data.truncate(at),
            2 => data[sector].fill(0),
            3 => data[at / SECTOR * SECTOR..].fill(0),
            4 => {
                let from = self.number() % data.len() / SECTOR * SECTOR;
                let other = data[from..(from + sector.len()).min(data.len())].to_vec();
                let to = sector.start..sector.start + other.len();
                data[to].copy_from_slice(&other);
            }
            5 => data.extend(std::iter::repeat_n(self.byte(), at % 4096)),
            _ => {
                let other = data[sector.clone()].to_vec();
                data.splice(sector.start..sector.start, other);
            }
        }
        true
    }
}

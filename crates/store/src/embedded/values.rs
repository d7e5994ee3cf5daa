//! Values: in memory while they are new, then in a file per keyspace that they are read from by
//! position, each sealed and checked by itself.
//!
//! File: `magic, 8 zero bytes`, then sealed values. A value's nonce is the salt of the run (one
//! checkpoint's additions) and its distance from the run's start. Where values, runs and the
//! end of the file are is said by the keyspace's checkpoint, so that nothing behind that end is
//! ever read.

use super::disk::{Disk, DiskFile};
use super::index::Version;
use super::log::unavailable;
use super::record::{Cipher, TAG};
use crate::{Error, KeyValue, Result};
use bytes::{Bytes, BytesMut};
use parking_lot::{Mutex, RwLock};
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

const MAGIC: &[u8; 8] = b"FHVALS\0\x01";
pub(crate) const HEADER: u64 = 16;
/// Values up to this length are written in the checkpoint itself.
pub(crate) const SMALL: usize = 128;
/// Neighbours closer than this are read together, up to so many bytes.
const GAP: u64 = 4 << 10;
const READ: u64 = 1 << 20;
/// More than that are only values larger than any that is taken.
const FAR: u64 = 4 << 20;

/// One value: in memory, in the file, or both.
#[derive(Debug)]
pub(crate) struct Value {
    len: u32,
    /// generation of the file in the upper 16 bits, offset below; 0: not in a file
    place: AtomicU64,
    bytes: Mutex<Option<Bytes>>,
}

impl Value {
    pub(crate) fn new(bytes: Bytes) -> Arc<Self> {
        Arc::new(Self {
            len: u32::try_from(bytes.len()).expect("requests are bounded far below 4 GiB"),
            place: AtomicU64::new(0),
            bytes: Mutex::new(Some(bytes)),
        })
    }

    pub(crate) fn stored(len: u32, place: Spot) -> Arc<Self> {
        Arc::new(Self {
            len,
            place: AtomicU64::new(place.0),
            bytes: Mutex::new(None),
        })
    }

    pub(crate) fn len(&self) -> usize {
        self.len as usize
    }

    pub(crate) fn memory(&self) -> Option<Bytes> {
        self.bytes.lock().clone()
    }

    /// Where the value is in a file.
    pub(crate) fn spot(&self) -> Option<Spot> {
        let place = self.place.load(Ordering::Acquire);
        (place != 0).then_some(Spot(place))
    }

    /// The value is durable in a file: memory need not hold it.
    pub(crate) fn settle(&self, spot: Spot) {
        self.place.store(spot.0, Ordering::Release);
        self.bytes.lock().take();
    }

    /// Memory need not hold it any longer, if it is in a file.
    pub(crate) fn let_go(&self) {
        let mut bytes = self.bytes.lock();
        if self.spot().is_some() {
            bytes.take();
        }
    }

    /// Holds the value in memory again, until the next checkpoint or until it is let go.
    pub(crate) fn keep(&self, bytes: Bytes) {
        *self.bytes.lock() = Some(bytes);
    }
}

/// Generation of a values file and an offset in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Spot(pub(crate) u64);

impl Spot {
    pub(crate) fn new(generation: u16, offset: u64) -> Self {
        Self(u64::from(generation) << 48 | offset)
    }

    pub(crate) fn generation(self) -> u16 {
        (self.0 >> 48) as u16
    }

    fn offset(self) -> u64 {
        self.0 & ((1 << 48) - 1)
    }
}

/// A key and one of its versions, as found in the index.
#[derive(Clone, Debug)]
pub(crate) struct Held {
    pub(crate) key: Bytes,
    pub(crate) version: Version,
}

impl Held {
    fn kv(&self, value: Bytes) -> KeyValue {
        KeyValue {
            key: self.key.clone(),
            value,
            create_rev: self.version.create_rev,
            mod_rev: self.version.mod_rev,
            version: self.version.version,
            lease: self.version.lease,
        }
    }

    /// Without its value.
    pub(crate) fn key_only(&self) -> KeyValue {
        self.kv(Bytes::new())
    }

    /// With its value, if memory holds that.
    pub(crate) fn in_memory(&self) -> Option<KeyValue> {
        self.version.value.memory().map(|value| self.kv(value))
    }
}

/// What one checkpoint added to a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Run {
    pub(crate) start: u64,
    pub(crate) salt: [u8; 8],
}

impl Run {
    /// Sealed values are at least [`TAG`] bytes apart, so no two have the same number.
    fn nonce(&self, offset: u64) -> Option<[u8; 12]> {
        let number = u32::try_from((offset - self.start) / TAG as u64).ok()?;
        let mut nonce = [0; 12];
        nonce[..8].copy_from_slice(&self.salt);
        nonce[8..].copy_from_slice(&number.to_le_bytes());
        Some(nonce)
    }
}

fn aad(number: u64, version: &Version) -> [u8; 20] {
    let mut aad = [0; 20];
    aad[..8].copy_from_slice(&number.to_le_bytes());
    aad[8..16].copy_from_slice(&version.mod_rev.to_le_bytes());
    aad[16..].copy_from_slice(&version.sub.to_le_bytes());
    aad
}

/// One values file that may be read.
struct Open {
    file: Mutex<Box<dyn DiskFile>>,
    runs: RwLock<Vec<Run>>,
}

/// Which values file a checkpoint refers to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Extent {
    /// 0: no file
    pub(crate) generation: u16,
    pub(crate) len: u64,
    pub(crate) runs: Vec<Run>,
}

#[derive(Default)]
struct Files {
    /// what the newest durable checkpoint refers to
    current: Extent,
    /// bytes written to the current file, also by checkpoints that failed
    written: u64,
    /// highest generation that was ever begun
    highest: u16,
    open: BTreeMap<u16, Arc<Open>>,
    /// who reads what nobody else may need any more
    pins: usize,
}

/// The values files of a keyspace in memory.
#[derive(Default)]
pub(crate) struct Values {
    files: Mutex<Files>,
}

pub(crate) fn path(dir: &Path, number: u64, generation: u16) -> PathBuf {
    dir.join("keyspaces")
        .join(format!("{number:016x}.v{generation:04x}"))
}

/// Whose values are read, and with which key.
#[derive(Clone, Copy)]
pub(crate) struct Reader<'a> {
    pub(crate) values: &'a Values,
    pub(crate) cipher: &'a Cipher,
    pub(crate) number: u64,
}

impl Values {
    /// Opens what a checkpoint refers to; what other generations left is removed.
    pub(crate) fn open(
        dir: &Path,
        disk: &dyn Disk,
        number: u64,
        extent: Extent,
    ) -> io::Result<Self> {
        let generation = extent.generation;
        let mut files = Files {
            written: extent.len,
            highest: generation,
            ..Files::default()
        };
        if generation != 0 {
            let mut file = disk.open_existing(&path(dir, number, generation))?;
            let mut last = [0];
            let mut magic = [0; 8];
            file.read_at(&mut magic, 0)?;
            if magic != *MAGIC {
                return Err(io::ErrorKind::InvalidData.into());
            }
            file.read_at(&mut last, extent.len.saturating_sub(1))?;
            files.open.insert(
                generation,
                Arc::new(Open {
                    file: Mutex::new(file),
                    runs: RwLock::new(extent.runs.clone()),
                }),
            );
        }
        files.current = extent;
        Ok(Self {
            files: Mutex::new(files),
        })
    }

    pub(crate) fn current(&self) -> Extent {
        self.files.lock().current.clone()
    }

    /// Goes on in the current file, or starts the next one. Nothing that was written before is
    /// written over, also not by a checkpoint that failed: it may be what the disk has.
    pub(crate) fn writer(
        &self,
        dir: &Path,
        disk: &dyn Disk,
        number: u64,
        salt: [u8; 8],
        fresh: bool,
    ) -> io::Result<Writer> {
        let mut files = self.files.lock();
        let mut extent = files.current.clone();
        if fresh || extent.generation == 0 {
            files.highest = files.highest.wrapping_add(1).max(1);
            files.written = HEADER;
            extent = Extent {
                generation: files.highest,
                len: HEADER,
                runs: Vec::new(),
            };
        }
        let start = files.written.max(HEADER);
        let mut file = disk.open(&path(dir, number, extent.generation))?;
        if start == HEADER {
            file.set_len(0)?;
            let mut header = MAGIC.to_vec();
            header.resize(HEADER as usize, 0);
            file.write_at(&header, 0)?;
        }
        extent.runs.push(Run { start, salt });
        Ok(Writer {
            file,
            extent,
            number,
            offset: start,
            buffer: Vec::new(),
            run: Run { start, salt },
        })
    }

    /// Notes how far a writer came, whether or not its checkpoint succeeds.
    pub(crate) fn reached(&self, writer: &Writer) {
        let mut files = self.files.lock();
        if writer.extent.generation == files.highest {
            files.written = files.written.max(writer.offset);
        }
    }

    /// The checkpoint that refers to this is durable; returns generations that may go.
    pub(crate) fn switch(&self, writer: Option<Writer>) -> Vec<u16> {
        let mut files = self.files.lock();
        let before = files.current.generation;
        let Some(writer) = writer else {
            files.current = Extent::default();
            files.written = 0;
            return Vec::from_iter((before != 0).then_some(before));
        };
        let Writer { file, extent, .. } = writer;
        let generation = extent.generation;
        match files.open.get(&generation) {
            Some(open) => *open.runs.write() = extent.runs.clone(),
            None => {
                let open = Open {
                    file: Mutex::new(file),
                    runs: RwLock::new(extent.runs.clone()),
                };
                files.open.insert(generation, Arc::new(open));
            }
        }
        // Readers may still be at the file before: it is held open until the next switch.
        if files.pins == 0 {
            files
                .open
                .retain(|open, _| *open == generation || *open == before);
        }
        files.current = extent;
        Vec::from_iter((before != 0 && before != generation).then_some(before))
    }
}

/// As long as this is there, every value that could be read can be read: files are kept open also
/// when they are removed.
pub(crate) struct Pin<'a>(&'a Values);

impl Values {
    pub(crate) fn pin(&self) -> Pin<'_> {
        self.files.lock().pins += 1;
        Pin(self)
    }
}

impl Drop for Pin<'_> {
    fn drop(&mut self) {
        // What is not needed any more goes with the next switch.
        self.0.files.lock().pins -= 1;
    }
}

/// Adds values to a file.
pub(crate) struct Writer {
    file: Box<dyn DiskFile>,
    pub(crate) extent: Extent,
    number: u64,
    pub(crate) offset: u64,
    buffer: Vec<u8>,
    run: Run,
}

impl Writer {
    pub(crate) fn add(
        &mut self,
        cipher: &Cipher,
        version: &Version,
        value: &[u8],
    ) -> io::Result<Spot> {
        let offset = self.offset + self.buffer.len() as u64;
        let nonce = self.run.nonce(offset).ok_or(io::ErrorKind::FileTooLarge)?;
        let from = self.buffer.len();
        self.buffer.extend_from_slice(value);
        cipher.seal(nonce, &aad(self.number, version), &mut self.buffer, from);
        Ok(Spot::new(self.extent.generation, offset))
    }

    /// Bytes that wait to be written.
    pub(crate) fn waiting(&self) -> usize {
        self.buffer.len()
    }

    pub(crate) fn flush(&mut self) -> io::Result<()> {
        let len = self.buffer.len() as u64;
        self.file.write_at(&self.buffer, self.offset)?;
        self.file.start_writing(self.offset, len);
        self.offset += len;
        self.buffer.clear();
        self.extent.len = self.offset;
        Ok(())
    }

    pub(crate) fn sync(&mut self) -> io::Result<()> {
        self.flush()?;
        self.file.sync_data()
    }
}

impl Reader<'_> {
    /// One value, from wherever it is.
    pub(crate) fn value(&self, held: &Held) -> Result<Bytes> {
        if let Some(bytes) = held.version.value.memory() {
            return Ok(bytes);
        }
        Ok(self.kvs(std::slice::from_ref(held))?.swap_remove(0).value)
    }

    /// Keys with their values; neighbours in the file are read at once.
    pub(crate) fn kvs(&self, held: &[Held]) -> Result<Vec<KeyValue>> {
        let mut found: Vec<Option<KeyValue>> = held.iter().map(Held::in_memory).collect();
        let missing = found.iter().enumerate().filter(|(_, kv)| kv.is_none());
        let mut missing: Vec<(Spot, usize)> = missing
            .filter_map(|(n, _)| Some((held[n].version.value.spot()?, n)))
            .collect();
        missing.sort_unstable();
        let mut rest = &missing[..];
        while let Some((first, _)) = rest.first() {
            let mut end = 0;
            let group = rest
                .iter()
                .take_while(|(spot, n)| {
                    let near = spot.generation() == first.generation()
                        && (end == 0 || spot.offset() < end + GAP)
                        && spot.offset() < first.offset() + READ;
                    if near {
                        end = end
                            .max(spot.offset() + held[*n].version.value.len() as u64 + TAG as u64);
                    }
                    near
                })
                .count();
            self.read_group(held, &rest[..group], end, &mut found)?;
            rest = &rest[group..];
        }
        let all: Option<Vec<_>> = found.into_iter().collect();
        all.ok_or_else(moved)
    }

    fn read_group(
        &self,
        held: &[Held],
        group: &[(Spot, usize)],
        end: u64,
        found: &mut [Option<KeyValue>],
    ) -> Result<()> {
        let (first, _) = group[0];
        let open = self
            .values
            .files
            .lock()
            .open
            .get(&first.generation())
            .cloned();
        let open = open.ok_or_else(moved)?;
        let len = usize::try_from(end - first.offset()).unwrap_or(usize::MAX);
        let mut file = open.file.lock();
        // Room is made for what is there: a length that is far from usual is damage.
        if len as u64 > FAR && file.size().map_err(|e| unavailable(&e))? < end {
            return Err(self.damaged(first, "is cut short"));
        }
        let mut data = BytesMut::zeroed(len);
        let read = file.read_at(&mut data, first.offset());
        drop(file);
        match read {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                return Err(self.damaged(first, "is cut short"));
            }
            Err(error) => return Err(unavailable(&error)),
            Ok(()) => {}
        }
        let runs = open.runs.read();
        let mut passed = first.offset();
        for (spot, n) in group {
            let held = &held[*n];
            // The same value twice in one request is opened once.
            if spot.offset() < passed {
                let twin = group
                    .iter()
                    .find(|(other, m)| other == spot && found[*m].is_some());
                found[*n] = twin
                    .and_then(|(_, m)| found[*m].clone())
                    .map(|kv| held.kv(kv.value));
                continue;
            }
            drop(data.split_to(usize::try_from(spot.offset() - passed).unwrap_or(0)));
            let mut sealed = data.split_to(held.version.value.len() + TAG);
            passed = spot.offset() + sealed.len() as u64;
            let run = runs.partition_point(|run| run.start <= spot.offset());
            let nonce = run
                .checked_sub(1)
                .and_then(|n| runs[n].nonce(spot.offset()));
            let aad = aad(self.number, &held.version);
            let plain = nonce.and_then(|nonce| self.cipher.open(nonce, &aad, &mut sealed));
            let plain = plain.ok_or_else(|| self.damaged(*spot, "fails its authentication"))?;
            // A copy of its own: one value that is held must not hold its neighbours.
            found[*n] = Some(held.kv(Bytes::copy_from_slice(plain)));
        }
        Ok(())
    }

    fn damaged(&self, spot: Spot, what: &str) -> Error {
        Error::Corrupt(format!(
            "a value at offset {} of {:016x}.v{:04x} {what}",
            spot.offset(),
            self.number,
            spot.generation()
        ))
    }
}

fn moved() -> Error {
    Error::Unavailable("the data was moved while it was read; ask again".into())
}

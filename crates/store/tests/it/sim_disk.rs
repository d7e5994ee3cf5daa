//! A disk in memory that loses what was not synced when the power goes, and fails on demand.

use crate::random::Random;
use freehold_store::embedded::disk::{Disk, DiskFile};
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

const SECTOR: usize = 512;

#[derive(Clone, Default)]
struct Contents {
    now: Vec<u8>,
    durable: Vec<u8>,
    /// where the two may differ
    dirty: std::ops::Range<usize>,
    /// handles; what is open stays readable without a name
    open: usize,
}

#[derive(Default)]
struct Inner {
    files: Vec<Contents>,
    names: BTreeMap<PathBuf, usize>,
    durable_names: BTreeMap<PathBuf, usize>,
    /// writing operations until the power goes
    power: Option<u64>,
    /// bytes that all files together may have
    capacity: Option<usize>,
    /// there is no room for a file of this name
    refused: Option<&'static str>,
    /// the next sync fails, once
    fail_sync: bool,
    /// the next write stops half-way, once
    short_write: bool,
}

/// The disk; clones are the same disk.
#[derive(Clone, Default)]
pub(crate) struct SimDisk {
    inner: Arc<Mutex<Inner>>,
}

impl SimDisk {
    fn with<T>(&self, work: impl FnOnce(&mut Inner) -> T) -> T {
        work(&mut self.inner.lock().expect("no panic while held"))
    }

    /// The power goes after so many more writing operations.
    pub(crate) fn cut_power_after(&self, operations: u64) {
        self.with(|inner| inner.power = Some(operations));
    }

    pub(crate) fn fail_next_sync(&self) {
        self.with(|inner| inner.fail_sync = true);
    }

    pub(crate) fn stop_next_write_half_way(&self) {
        self.with(|inner| inner.short_write = true);
    }

    /// What is there now is all that fits, or there is no limit.
    pub(crate) fn full(&self, full: bool) {
        self.with(|inner| inner.capacity = full.then_some(inner.used()));
    }

    /// So many bytes more fit.
    pub(crate) fn nearly_full(&self, left: usize) {
        self.with(|inner| inner.capacity = Some(inner.used() + left));
    }

    /// There is never room for a file of this name.
    pub(crate) fn refuse(&self, name: &'static str) {
        self.with(|inner| inner.refused = Some(name));
    }

    /// What a machine finds after a power cut: what was synced, and any part of the rest.
    pub(crate) fn after_power_cut(&self, random: &mut Random) -> Self {
        let inner = self.with(|inner| {
            let files = inner.files.iter().map(|file| {
                let now = torn(file, random);
                Contents {
                    durable: now.clone(),
                    now,
                    dirty: 0..0,
                    open: 0,
                }
            });
            let files = files.collect();
            // A new name may have reached the disk unasked.
            let lucky = random.below(2) == 0;
            let names = if lucky {
                inner.names.clone()
            } else {
                inner.durable_names.clone()
            };
            Inner {
                files,
                durable_names: names.clone(),
                names,
                ..Inner::default()
            }
        });
        Self {
            inner: Arc::new(inner.into()),
        }
    }
}

/// Each sector that was not synced is old or new.
fn torn(file: &Contents, random: &mut Random) -> Vec<u8> {
    if file.dirty.start == file.dirty.end {
        return file.now.clone();
    }
    let len = if random.below(2) == 0 {
        file.now.len()
    } else {
        file.durable.len()
    };
    let mut torn = file.durable.clone();
    torn.resize(len, 0);
    for (n, sector) in torn.chunks_mut(SECTOR).enumerate() {
        let at = n * SECTOR;
        let newest = &file.now[at.min(file.now.len())..(at + sector.len()).min(file.now.len())];
        if newest != &sector[..newest.len()] && random.below(2) == 0 {
            sector[..newest.len()].copy_from_slice(newest);
        }
    }
    torn
}

impl Inner {
    fn operation(&mut self) -> io::Result<()> {
        match &mut self.power {
            Some(0) => Err(io::Error::other("the power is out")),
            Some(left) => {
                *left -= 1;
                Ok(())
            }
            None => Ok(()),
        }
    }

    fn used(&self) -> usize {
        self.files.iter().map(|file| file.now.len()).sum()
    }

    /// Frees what has neither a name nor a handle left.
    fn forget_if_unused(&mut self, file: usize) {
        let named = |names: &BTreeMap<PathBuf, usize>| names.values().any(|f| *f == file);
        if self.files[file].open == 0 && !named(&self.names) && !named(&self.durable_names) {
            self.files[file] = Contents::default();
        }
    }

    fn find(&self, path: &Path) -> io::Result<usize> {
        self.names
            .get(path)
            .copied()
            .ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

impl Disk for SimDisk {
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        // The lock file is a real one.
        std::fs::create_dir_all(path)
    }

    fn list(&self, path: &Path) -> io::Result<Vec<String>> {
        let name = |file: &PathBuf| {
            let inside = file.parent() == Some(path);
            inside.then(|| {
                file.file_name()
                    .expect("a file")
                    .to_string_lossy()
                    .into_owned()
            })
        };
        Ok(self.with(|inner| inner.names.keys().filter_map(name).collect()))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        self.with(|inner| {
            let name = path.file_name().and_then(|name| name.to_str());
            if name.is_some() && name == inner.refused {
                return Err(io::ErrorKind::StorageFull.into());
            }
            if !inner.names.contains_key(path) {
                inner.operation()?;
                inner.files.push(Contents::default());
                inner.names.insert(path.to_owned(), inner.files.len() - 1);
            }
            io::Result::Ok(())
        })?;
        self.open_existing(path)
    }

    fn open_existing(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let file = self.with(|inner| {
            let file = inner.find(path)?;
            inner.files[file].open += 1;
            io::Result::Ok(file)
        })?;
        Ok(Box::new(SimFile {
            disk: self.clone(),
            file,
        }))
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        self.with(|inner| Ok(inner.files[inner.find(path)?].now.clone()))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.with(|inner| {
            inner.operation()?;
            let file = inner.find(from)?;
            inner.names.remove(from);
            inner.names.insert(to.to_owned(), file);
            Ok(())
        })
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.with(|inner| {
            inner.operation()?;
            // The contents stay until the removal is durable.
            inner.names.remove(path);
            Ok(())
        })
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.with(|inner| {
            inner.operation()?;
            let inside = |file: &PathBuf| file.parent() == Some(path);
            inner.durable_names.retain(|name, _| !inside(name));
            let now = inner.names.iter().filter(|(name, _)| inside(name));
            let now: Vec<_> = now.map(|(name, file)| (name.clone(), *file)).collect();
            inner.durable_names.extend(now);
            for file in 0..inner.files.len() {
                inner.forget_if_unused(file);
            }
            Ok(())
        })
    }
}

struct SimFile {
    disk: SimDisk,
    file: usize,
}

impl Drop for SimFile {
    fn drop(&mut self) {
        let file = self.file;
        self.disk.with(|inner| {
            inner.files[file].open -= 1;
            inner.forget_if_unused(file);
        });
    }
}

impl DiskFile for SimFile {
    fn write_at(&mut self, data: &[u8], offset: u64) -> io::Result<()> {
        let offset = usize::try_from(offset).expect("small");
        self.disk.with(|inner| {
            inner.operation()?;
            let short = std::mem::take(&mut inner.short_write);
            let data = if short { &data[..data.len() / 2] } else { data };
            let end = offset + data.len();
            let growth = end.saturating_sub(inner.files[self.file].now.len());
            let used = inner.used();
            if inner
                .capacity
                .is_some_and(|capacity| growth > 0 && used + growth > capacity)
            {
                return Err(io::ErrorKind::StorageFull.into());
            }
            let file = &mut inner.files[self.file];
            file.now.resize(file.now.len().max(end), 0);
            file.now[offset..end].copy_from_slice(data);
            let dirty = &mut file.dirty;
            *dirty = if dirty.start == dirty.end {
                offset..end
            } else {
                dirty.start.min(offset)..dirty.end.max(end)
            };
            if short {
                Err(io::Error::other("the write stopped half-way"))
            } else {
                Ok(())
            }
        })
    }

    fn read_at(&mut self, data: &mut [u8], offset: u64) -> io::Result<()> {
        let offset = usize::try_from(offset).expect("small");
        self.disk.with(|inner| {
            let now = inner.files[self.file].now.get(offset..offset + data.len());
            data.copy_from_slice(now.ok_or(io::ErrorKind::UnexpectedEof)?);
            Ok(())
        })
    }

    fn sync_data(&mut self) -> io::Result<()> {
        self.disk.with(|inner| {
            inner.operation()?;
            if std::mem::take(&mut inner.fail_sync) {
                return Err(io::Error::other("the disk reports an error"));
            }
            let file = &mut inner.files[self.file];
            file.durable.resize(file.now.len(), 0);
            let dirty = std::mem::take(&mut file.dirty);
            let dirty = dirty.start..dirty.end.min(file.now.len());
            file.durable[dirty.clone()].copy_from_slice(&file.now[dirty]);
            Ok(())
        })
    }

    fn set_len(&mut self, len: u64) -> io::Result<()> {
        let len = usize::try_from(len).expect("small");
        self.disk.with(|inner| {
            inner.operation()?;
            let file = &mut inner.files[self.file];
            file.now.resize(len, 0);
            file.dirty = 0..len.max(file.durable.len());
            Ok(())
        })
    }
    fn size(&mut self) -> io::Result<u64> {
        Ok(self
            .disk
            .with(|inner| inner.files[self.file].now.len() as u64))
    }
}

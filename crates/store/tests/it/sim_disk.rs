//! A disk in memory that loses what was not synced when the power goes, and fails on demand. A
//! simulation is told of each operation, and may let others go on in it.

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
    /// what fails after so many operations of its kind, once
    planned: Option<(Fault, u64)>,
    /// what has failed so, and of which file
    failed: Option<(Fault, String)>,
}

/// What a disk may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    Read,
    Write,
    /// a part of it is written
    ShortWrite,
    /// what was written is not on the disk, and no later flush makes it so
    Sync,
}

/// One operation, before it is done.
pub(crate) struct Operation<'a> {
    pub(crate) what: &'static str,
    pub(crate) name: &'a str,
    pub(crate) at: u64,
    pub(crate) len: usize,
}

type Hook = Arc<dyn Fn(&Operation<'_>) + Send + Sync>;

/// The disk; clones are the same disk.
#[derive(Clone, Default)]
pub(crate) struct SimDisk {
    inner: Arc<Mutex<Inner>>,
    hook: Option<Hook>,
}

impl SimDisk {
    /// A disk that tells of each operation.
    pub(crate) fn told(hook: Hook) -> Self {
        let hook = Some(hook);
        Self {
            hook,
            ..Self::default()
        }
    }

    fn tell(&self, what: &'static str, path: &Path, at: u64, len: usize) {
        if let Some(hook) = &self.hook {
            let name = path.file_name().and_then(|name| name.to_str());
            let name = name.unwrap_or_default();
            hook(&Operation {
                what,
                name,
                at,
                len,
            });
        }
    }

    fn with<T>(&self, work: impl FnOnce(&mut Inner) -> T) -> T {
        work(&mut self.inner.lock().expect("no panic while held"))
    }

    /// The power goes after so many more writing operations.
    pub(crate) fn cut_power_after(&self, operations: u64) {
        self.with(|inner| inner.power = Some(operations));
    }

    /// Nothing that was planned happens any more.
    pub(crate) fn calm(&self) {
        self.with(|inner| (inner.power, inner.planned, inner.failed) = (None, None, None));
    }

    pub(crate) fn power_is_out(&self) -> bool {
        self.with(|inner| inner.power == Some(0))
    }

    /// An operation of that kind fails, after so many others of it.
    pub(crate) fn plan(&self, fault: Fault, after: u64) {
        self.with(|inner| inner.planned = Some((fault, after)));
    }

    /// What has failed as planned, and the file's name.
    pub(crate) fn failed(&self) -> Option<(Fault, String)> {
        self.with(|inner| inner.failed.clone())
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
            // A new name may have reached the disk unasked.
            let names = match random.below(2) {
                0 => inner.names.clone(),
                _ => inner.durable_names.clone(),
            };
            let kept = inner.kept(names, |file| {
                let now = torn(file, random);
                Contents {
                    durable: now.clone(),
                    now,
                    dirty: 0..0,
                    open: 0,
                }
            });
            Inner {
                durable_names: kept.names.clone(),
                ..kept
            }
        });
        self.with_inner(inner)
    }

    /// What a process finds that comes after one that was killed: all that was written, durable
    /// or not.
    pub(crate) fn after_kill(&self) -> Self {
        let inner = self.with(|inner| {
            let names = inner.names.clone();
            inner.kept(names, |file| Contents {
                open: 0,
                ..file.clone()
            })
        });
        self.with_inner(inner)
    }

    fn with_inner(&self, inner: Inner) -> Self {
        Self {
            inner: Arc::new(inner.into()),
            hook: self.hook.clone(),
        }
    }
}

/// Sets the length; many bytes at once also where nothing is optimised.
fn grow(bytes: &mut Vec<u8>, len: usize) {
    const ZEROES: [u8; 4096] = [0; 4096];
    bytes.truncate(len);
    while bytes.len() < len {
        let some = ZEROES.len().min(len - bytes.len());
        bytes.extend_from_slice(&ZEROES[..some]);
    }
}

/// Each sector that was not synced is old or new.
fn torn(file: &Contents, random: &mut Random) -> Vec<u8> {
    if file.dirty.start == file.dirty.end {
        return file.durable.clone();
    }
    let len = if random.below(2) == 0 {
        file.now.len()
    } else {
        file.durable.len()
    };
    let mut torn = file.durable.clone();
    grow(&mut torn, len);
    let first = file.dirty.start / SECTOR;
    for (n, sector) in torn.chunks_mut(SECTOR).enumerate().skip(first) {
        let at = n * SECTOR;
        if at >= file.dirty.end {
            break;
        }
        let newest = &file.now[at.min(file.now.len())..(at + sector.len()).min(file.now.len())];
        if random.below(2) == 0 {
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

    /// The files that have one of these names, or a durable one, as they are found later.
    fn kept(
        &self,
        names: BTreeMap<PathBuf, usize>,
        mut found: impl FnMut(&Contents) -> Contents,
    ) -> Self {
        let mut files = Vec::new();
        let mut moved = BTreeMap::new();
        let mut moved = |names: &BTreeMap<PathBuf, usize>| {
            let mut all = BTreeMap::new();
            for (name, file) in names {
                let at = *moved.entry(*file).or_insert_with(|| {
                    files.push(found(&self.files[*file]));
                    files.len() - 1
                });
                all.insert(name.clone(), at);
            }
            all
        };
        let (names, durable_names) = (moved(&names), moved(&self.durable_names));
        Self {
            names,
            durable_names,
            files,
            ..Self::default()
        }
    }

    /// Whether this operation is the one that fails.
    fn fails(&mut self, fault: Fault, path: &Path) -> bool {
        match &mut self.planned {
            Some((planned, 0)) if *planned == fault => {
                self.planned = None;
                let name = path.file_name().unwrap_or_default();
                self.failed = Some((fault, name.to_string_lossy().into_owned()));
                true
            }
            Some((planned, left)) if *planned == fault => {
                *left -= 1;
                false
            }
            _ => false,
        }
    }

    fn used(&self) -> usize {
        self.files.iter().map(|file| file.now.len()).sum()
    }

    /// Frees what has neither a name nor a handle left.
    fn forget_if_unused(&mut self, file: usize) {
        let named = |names: &BTreeMap<PathBuf, usize>| names.values().any(|f| *f == file);
        let contents = &self.files[file];
        if contents.now.capacity() + contents.durable.capacity() == 0 {
            return;
        }
        if contents.open == 0 && !named(&self.names) && !named(&self.durable_names) {
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
        self.tell("open", path, 0, 0);
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
            path: path.to_owned(),
            file,
        }))
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        self.tell("read", path, 0, 0);
        self.with(|inner| {
            let file = inner.find(path)?;
            match inner.fails(Fault::Read, path) {
                true => Err(io::Error::other("the disk cannot read it")),
                false => Ok(inner.files[file].now.clone()),
            }
        })
    }

    fn simulated(&self) -> bool {
        self.hook.is_some()
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.tell("rename", to, 0, 0);
        self.with(|inner| {
            inner.operation()?;
            let file = inner.find(from)?;
            inner.names.remove(from);
            inner.names.insert(to.to_owned(), file);
            Ok(())
        })
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.tell("remove", path, 0, 0);
        self.with(|inner| {
            inner.operation()?;
            // The contents stay until the removal is durable.
            inner.names.remove(path);
            Ok(())
        })
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.tell("sync_dir", path, 0, 0);
        self.with(|inner| {
            inner.operation()?;
            if inner.fails(Fault::Sync, path) {
                return Err(io::Error::other("the disk reports an error"));
            }
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
    path: PathBuf,
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
        self.disk.tell("write", &self.path, offset, data.len());
        let offset = usize::try_from(offset).expect("small");
        self.disk.with(|inner| {
            inner.operation()?;
            if inner.fails(Fault::Write, &self.path) {
                return Err(io::Error::other("the disk cannot write it"));
            }
            let short =
                std::mem::take(&mut inner.short_write) | inner.fails(Fault::ShortWrite, &self.path);
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
            if end > file.now.len() {
                grow(&mut file.now, end);
            }
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
        self.disk.tell("read", &self.path, offset, data.len());
        let offset = usize::try_from(offset).expect("small");
        self.disk.with(|inner| {
            if inner.fails(Fault::Read, &self.path) {
                return Err(io::Error::other("the disk cannot read it"));
            }
            let now = inner.files[self.file].now.get(offset..offset + data.len());
            data.copy_from_slice(now.ok_or(io::ErrorKind::UnexpectedEof)?);
            Ok(())
        })
    }

    fn sync_data(&mut self) -> io::Result<()> {
        self.disk.tell("sync", &self.path, 0, 0);
        self.disk.with(|inner| {
            inner.operation()?;
            if std::mem::take(&mut inner.fail_sync) {
                return Err(io::Error::other("the disk reports an error"));
            }
            if inner.fails(Fault::Sync, &self.path) {
                // As kernels do: what could not be written counts as written.
                inner.files[self.file].dirty = 0..0;
                return Err(io::Error::other("the disk reports an error"));
            }
            let file = &mut inner.files[self.file];
            grow(&mut file.durable, file.now.len());
            let dirty = std::mem::take(&mut file.dirty);
            let dirty = dirty.start..dirty.end.min(file.now.len());
            file.durable[dirty.clone()].copy_from_slice(&file.now[dirty]);
            Ok(())
        })
    }

    fn set_len(&mut self, len: u64) -> io::Result<()> {
        self.disk.tell("set_len", &self.path, len, 0);
        let len = usize::try_from(len).expect("small");
        self.disk.with(|inner| {
            inner.operation()?;
            let file = &mut inner.files[self.file];
            grow(&mut file.now, len);
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

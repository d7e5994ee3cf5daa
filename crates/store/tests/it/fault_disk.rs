//! The machine's disk, of which one operation fails: the n-th that touches files of a name.

use freehold_store::embedded::disk::{Disk, DiskFile, RealDisk};
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// What fails, and when.
#[derive(Default)]
struct Plan {
    /// operations to come before the one that fails; far away: none
    left: AtomicU64,
    armed: AtomicBool,
    fired: AtomicBool,
    /// the disk is full, instead of broken
    full: AtomicBool,
    /// reads count, instead of everything else
    reads: AtomicBool,
    /// what comes behind the operation that fails does too, wholly
    for_good: AtomicBool,
}

#[derive(Clone)]
pub(crate) struct FaultDisk {
    plan: Arc<Plan>,
    /// part of the names of the files that are meant
    names: &'static str,
}

impl FaultDisk {
    pub(crate) fn new(names: &'static str) -> Self {
        Self {
            plan: Arc::default(),
            names,
        }
    }

    /// The operation after so many others fails, once.
    pub(crate) fn arm(&self, after: u64, full: bool, reads: bool) {
        self.plan.left.store(after, Ordering::SeqCst);
        self.plan.full.store(full, Ordering::SeqCst);
        self.plan.reads.store(reads, Ordering::SeqCst);
        self.plan.fired.store(false, Ordering::SeqCst);
        self.plan.for_good.store(false, Ordering::SeqCst);
        self.plan.armed.store(true, Ordering::SeqCst);
    }

    /// Not once: from then on everything does, and nothing is done in part.
    pub(crate) fn for_good(&self) {
        self.plan.for_good.store(true, Ordering::SeqCst);
    }

    /// Nothing fails any more; whether something did.
    pub(crate) fn disarm(&self) -> bool {
        self.plan.armed.store(false, Ordering::SeqCst);
        self.plan.fired.load(Ordering::SeqCst)
    }

    fn meant(&self, path: &Path) -> bool {
        path.to_string_lossy().contains(self.names)
    }

    fn check(&self, path: &Path, read: bool) -> io::Result<()> {
        if self.meant(path) {
            self.plan.check(read)
        } else {
            Ok(())
        }
    }

    fn wrap(&self, path: &Path, file: Box<dyn DiskFile>) -> Box<dyn DiskFile> {
        if self.meant(path) {
            let plan = self.plan.clone();
            Box::new(FaultFile { file, plan })
        } else {
            file
        }
    }
}

impl Plan {
    fn check(&self, read: bool) -> io::Result<()> {
        if !self.armed.load(Ordering::SeqCst) || self.reads.load(Ordering::SeqCst) != read {
            return Ok(());
        }
        let left = self.left.load(Ordering::SeqCst);
        if left > 0 {
            self.left.store(left - 1, Ordering::SeqCst);
            return Ok(());
        }
        let again = self.for_good.load(Ordering::SeqCst);
        self.armed.store(again, Ordering::SeqCst);
        self.fired.store(true, Ordering::SeqCst);
        Err(if self.full.load(Ordering::SeqCst) {
            io::ErrorKind::StorageFull.into()
        } else {
            io::Error::other("the disk does not work")
        })
    }
}

impl Disk for FaultDisk {
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        RealDisk.create_dir(path)
    }

    fn list(&self, path: &Path) -> io::Result<Vec<String>> {
        RealDisk.list(path)
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        self.check(path, false)?;
        Ok(self.wrap(path, RealDisk.open(path)?))
    }

    fn open_existing(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        self.check(path, true)?;
        Ok(self.wrap(path, RealDisk.open_existing(path)?))
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        self.check(path, true)?;
        RealDisk.read(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.check(to, false)?;
        RealDisk.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.check(path, false)?;
        RealDisk.remove(path)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.check(path, false)?;
        RealDisk.sync_dir(path)
    }
}

struct FaultFile {
    file: Box<dyn DiskFile>,
    plan: Arc<Plan>,
}

impl DiskFile for FaultFile {
    fn write_at(&mut self, data: &[u8], offset: u64) -> io::Result<()> {
        if let Err(error) = self.plan.check(false) {
            // A write that fails has often been done in part.
            if !self.plan.for_good.load(Ordering::SeqCst) {
                self.file.write_at(&data[..data.len() / 2], offset)?;
            }
            return Err(error);
        }
        self.file.write_at(data, offset)
    }

    fn read_at(&mut self, data: &mut [u8], offset: u64) -> io::Result<()> {
        self.plan.check(true)?;
        self.file.read_at(data, offset)
    }

    fn sync_data(&mut self) -> io::Result<()> {
        self.plan.check(false)?;
        self.file.sync_data()
    }

    fn set_len(&mut self, len: u64) -> io::Result<()> {
        self.plan.check(false)?;
        self.file.set_len(len)
    }
    fn size(&mut self) -> io::Result<u64> {
        self.file.size()
    }
}

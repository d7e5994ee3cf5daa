//! The few file operations the engine needs, so that tests can make them fail.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::Path;

/// Where the engine's files are.
pub trait Disk: Send + Sync + 'static {
    /// Makes a directory that only its owner may enter, if it is not there.
    fn create_dir(&self, path: &Path) -> io::Result<()>;
    /// The names in a directory.
    fn list(&self, path: &Path) -> io::Result<Vec<String>>;
    /// Opens a file to write at offsets; created with mode 0600 when absent.
    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>>;
    /// Opens a file that must be there.
    fn open_existing(&self, path: &Path) -> io::Result<Box<dyn DiskFile>>;
    /// The whole of a file.
    fn read(&self, path: &Path) -> io::Result<Vec<u8>>;
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Puts a file in the place of another, which gets the name of the first where the file system
    /// can do that: freeing a large file holds up who writes.
    fn replace(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.rename(from, to)
    }
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Makes creations, renames and removals in a directory durable.
    fn sync_dir(&self, path: &Path) -> io::Result<()>;
    /// Whether nothing takes time on it: nobody rests between operations, or does several at once.
    fn simulated(&self) -> bool {
        false
    }
}

/// One open file.
pub trait DiskFile: Send + 'static {
    /// Writes all of `data`.
    fn write_at(&mut self, data: &[u8], offset: u64) -> io::Result<()>;
    /// Fills all of `data`.
    fn read_at(&mut self, data: &mut [u8], offset: u64) -> io::Result<()>;
    fn sync_data(&mut self) -> io::Result<()>;
    /// Asks that what was written there goes to the disk by and by, so that a flush later has
    /// little to do. Nobody may rely on it.
    fn start_writing(&mut self, offset: u64, len: u64) {
        let _ = (offset, len);
    }
    fn set_len(&mut self, len: u64) -> io::Result<()>;
    fn size(&mut self) -> io::Result<u64>;
}

/// The machine's file system.
pub struct RealDisk;

impl Disk for RealDisk {
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(path)
    }

    fn list(&self, path: &Path) -> io::Result<Vec<String>> {
        let name = |entry: io::Result<fs::DirEntry>| {
            entry.map(|entry| entry.file_name().to_string_lossy().into_owned())
        };
        fs::read_dir(path)?.map(name).collect()
    }

    fn open_existing(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        Ok(Box::new(File::open(path)?))
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        fs::read(path)
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let mut options = OpenOptions::new();
        options
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600);
        Ok(Box::new(options.open(path)?))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn replace(&self, from: &Path, to: &Path) -> io::Result<()> {
        use rustix::fs::{CWD, RenameFlags, renameat_with};
        match renameat_with(CWD, from, CWD, to, RenameFlags::EXCHANGE) {
            Err(_) => fs::rename(from, to),
            Ok(()) => Ok(()),
        }
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        match fs::remove_file(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other,
        }
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        File::open(path)?.sync_all()
    }
}

impl DiskFile for File {
    fn write_at(&mut self, data: &[u8], offset: u64) -> io::Result<()> {
        self.write_all_at(data, offset)
    }

    fn read_at(&mut self, data: &mut [u8], offset: u64) -> io::Result<()> {
        self.read_exact_at(data, offset)
    }

    fn sync_data(&mut self) -> io::Result<()> {
        File::sync_data(self)
    }

    fn start_writing(&mut self, offset: u64, len: u64) {
        // Before the kernel forgets pages, it begins to write them.
        let len = std::num::NonZeroU64::new(len);
        let _ = rustix::fs::fadvise(self, offset, len, rustix::fs::Advice::DontNeed);
    }

    fn set_len(&mut self, len: u64) -> io::Result<()> {
        File::set_len(self, len)
    }

    fn size(&mut self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }
}

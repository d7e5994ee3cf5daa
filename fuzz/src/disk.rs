//! A disk in memory.

use freehold_store::embedded::disk::{Disk, DiskFile};
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

type Contents = Arc<Mutex<Vec<u8>>>;

/// The disk; clones are the same disk.
#[derive(Clone, Default)]
pub struct MemDisk(Arc<Mutex<BTreeMap<PathBuf, Contents>>>);

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn missing() -> io::Error {
    io::ErrorKind::NotFound.into()
}

impl MemDisk {
    pub fn put(&self, path: &Path, data: Vec<u8>) {
        let data = Arc::new(Mutex::new(data));
        locked(&self.0).insert(path.to_owned(), data);
    }

    /// All files with what is in them.
    pub fn files(&self) -> Vec<(PathBuf, Vec<u8>)> {
        let files = locked(&self.0);
        let files = files
            .iter()
            .map(|(path, data)| (path.clone(), locked(data).clone()));
        files.collect()
    }

    fn find(&self, path: &Path) -> io::Result<Contents> {
        locked(&self.0).get(path).cloned().ok_or_else(missing)
    }
}

impl Disk for MemDisk {
    fn create_dir(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }

    fn list(&self, path: &Path) -> io::Result<Vec<String>> {
        let files = locked(&self.0);
        let inside = files.keys().filter(|file| file.parent() == Some(path));
        let names = inside.filter_map(|file| file.file_name()?.to_str());
        Ok(names.map(str::to_owned).collect())
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let file = locked(&self.0).entry(path.to_owned()).or_default().clone();
        Ok(Box::new(File(file)))
    }

    fn open_existing(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        Ok(Box::new(File(self.find(path)?)))
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        Ok(locked(&*self.find(path)?).clone())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut files = locked(&self.0);
        let file = files.remove(from).ok_or_else(missing)?;
        files.insert(to.to_owned(), file);
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        locked(&self.0).remove(path);
        Ok(())
    }

    fn sync_dir(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }
}

struct File(Contents);

fn index(offset: u64) -> io::Result<usize> {
    usize::try_from(offset).map_err(io::Error::other)
}

impl DiskFile for File {
    fn write_at(&mut self, data: &[u8], offset: u64) -> io::Result<()> {
        let at = index(offset)?;
        let mut file = locked(&self.0);
        if file.len() < at + data.len() {
            file.resize(at + data.len(), 0);
        }
        file[at..at + data.len()].copy_from_slice(data);
        Ok(())
    }

    fn read_at(&mut self, data: &mut [u8], offset: u64) -> io::Result<()> {
        let at = index(offset)?;
        let file = locked(&self.0);
        let there = at.checked_add(data.len()).and_then(|end| file.get(at..end));
        data.copy_from_slice(there.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn sync_data(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn set_len(&mut self, len: u64) -> io::Result<()> {
        locked(&self.0).resize(index(len)?, 0);
        Ok(())
    }

    fn size(&mut self) -> io::Result<u64> {
        Ok(locked(&self.0).len() as u64)
    }
}

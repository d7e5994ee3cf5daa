//! The data directory: who holds it, what it remembers, and files that only their owner reads.

use crate::cli::Trouble;
use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read as _, Seek as _, Write as _};
use std::net::SocketAddr;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

/// A data directory that this process holds.
pub(crate) struct DataDir {
    path: PathBuf,
    lock: File,
}

/// Who holds a directory; the content of its lock file.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub(crate) struct Holder {
    pub(crate) pid: i32,
    /// empty while starting
    pub(crate) address: String,
}

/// What stays the same over restarts.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Remembered {
    pub(crate) listen: Option<SocketAddr>,
    #[serde(default)]
    pub(crate) advertise: Vec<String>,
}

impl DataDir {
    /// Creates the directory when it is new and takes it, or says who has it.
    pub(crate) fn take(path: &Path) -> Result<Self> {
        create(path)?;
        let file = path.join("lock");
        let lock = open_lock(&file).map_err(|e| {
            Trouble::new(format!("cannot open {}", file.display()))
                .because(e)
                .advise("Choose another directory with --data-dir or FREEHOLD_DATA_DIR.")
        })?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(held(path).into()),
            Err(TryLockError::Error(e)) => {
                return Err(Trouble::new(format!("cannot lock {}", file.display()))
                    .because(e)
                    .into());
            }
        }
        let mut taken = Self {
            path: path.to_owned(),
            lock,
        };
        taken.say("")?;
        Ok(taken)
    }

    /// Writes into the lock file who we are and where we answer.
    pub(crate) fn say(&mut self, address: &str) -> Result<()> {
        let pid = i32::try_from(std::process::id()).unwrap_or_default();
        let text = serde_json::to_string(&Holder {
            pid,
            address: address.to_owned(),
        })?;
        self.lock.set_len(0)?;
        self.lock.rewind()?;
        self.lock.write_all(text.as_bytes())?;
        Ok(())
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    pub(crate) fn remembered(&self) -> Result<Remembered> {
        let file = self.file("host.json");
        if !file.is_file() {
            return Ok(Remembered::default());
        }
        let text = std::fs::read_to_string(&file)
            .with_context(|| format!("cannot read {}", file.display()))?;
        serde_json::from_str(&text).with_context(|| {
            format!(
                "{} is damaged; remove it to choose an address anew",
                file.display()
            )
        })
    }

    pub(crate) fn remember(&self, what: &Remembered) -> Result<()> {
        write_private(
            &self.file("host.json"),
            serde_json::to_string_pretty(what)?.as_bytes(),
        )
    }

    /// The content of a private file, made by `make` when it is not there yet.
    pub(crate) fn secret(
        &self,
        name: &str,
        make: impl FnOnce() -> Result<String>,
    ) -> Result<String> {
        let file = self.file(name);
        if file.is_file() {
            return std::fs::read_to_string(&file)
                .with_context(|| format!("cannot read {}", file.display()));
        }
        let text = make()?;
        write_private(&file, text.as_bytes())?;
        Ok(text)
    }
}

/// Makes the directory when it is new; in any case only its owner may look inside.
pub(crate) fn create(path: &Path) -> Result<()> {
    let made = || -> std::io::Result<()> {
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(path)?;
        let mode = std::fs::metadata(path)?.permissions().mode();
        if mode & 0o077 != 0 {
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o700))?;
        }
        Ok(())
    };
    made().map_err(|e| {
        Trouble::new(format!("cannot use the data directory {}", path.display()))
            .because(e)
            .advise("Choose another one with --data-dir or FREEHOLD_DATA_DIR.")
            .into()
    })
}

/// Who holds the directory now; nobody when its lock is free.
pub(crate) fn holder(path: &Path) -> Result<Option<Holder>> {
    let file = path.join("lock");
    if !file.is_file() {
        return Ok(None);
    }
    let mut lock = OpenOptions::new()
        .read(true)
        .open(&file)
        .with_context(|| format!("cannot open {}", file.display()))?;
    // A shared lock is enough to see whether somebody has the exclusive one.
    match lock.try_lock_shared() {
        Ok(()) => Ok(None),
        Err(TryLockError::WouldBlock) => {
            let mut text = String::new();
            lock.read_to_string(&mut text)?;
            Ok(Some(serde_json::from_str(&text).unwrap_or_default()))
        }
        Err(TryLockError::Error(e)) => {
            Err(e).with_context(|| format!("cannot lock {}", file.display()))
        }
    }
}

pub(crate) fn held(path: &Path) -> Trouble {
    let by = match holder(path) {
        Ok(Some(h)) if h.address.is_empty() => format!("process {}, which is just starting", h.pid),
        Ok(Some(h)) => format!("process {}, which answers at {}", h.pid, h.address),
        _ => "another process".to_owned(),
    };
    Trouble::new(format!(
        "the data directory {} is held by {by}",
        path.display()
    ))
    .advise(format!(
        "Use that host, stop it with `freehold down --data-dir {}`, or choose another --data-dir.",
        path.display()
    ))
}

fn open_lock(file: &Path) -> std::io::Result<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(file)
}

/// Writes a file of mode 0600 whole or not at all; its directory (0700) is made when missing.
pub(crate) fn write_private(file: &Path, bytes: &[u8]) -> Result<()> {
    let write = || -> std::io::Result<()> {
        if let Some(dir) = file.parent() {
            std::fs::DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(dir)?;
        }
        crate::private_file::write(file, bytes)
    };
    write().with_context(|| format!("cannot write {}", file.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_to_take_a_directory_learns_who_holds_it() {
        let dir = tempfile::tempdir().unwrap();
        assert!(holder(dir.path()).unwrap().is_none());
        let mut first = DataDir::take(dir.path()).unwrap();
        first.say("https://127.0.0.1:1").unwrap();
        let error = DataDir::take(dir.path()).err().unwrap().to_string();
        assert!(
            error.contains("https://127.0.0.1:1")
                && error.contains(&std::process::id().to_string()),
            "{error}"
        );
        drop(first);
        assert!(holder(dir.path()).unwrap().is_none());
        DataDir::take(dir.path()).unwrap();
    }

    #[test]
    fn a_secret_is_made_once_and_only_its_owner_reads_it() {
        let dir = tempfile::tempdir().unwrap();
        let data = DataDir::take(dir.path()).unwrap();
        assert_eq!(
            data.secret("pki/a.key", || Ok("one".to_owned())).unwrap(),
            "one"
        );
        assert_eq!(
            data.secret("pki/a.key", || Ok("two".to_owned())).unwrap(),
            "one"
        );
        let mode = |name: &str| {
            std::fs::metadata(dir.path().join(name))
                .unwrap()
                .permissions()
                .mode()
                & 0o777
        };
        assert_eq!(
            (mode("pki"), mode("pki/a.key"), mode("lock")),
            (0o700, 0o600, 0o600)
        );
    }
}

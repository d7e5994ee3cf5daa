//! `freehold store backup` and `restore`: one keyspace, one file, sealed with a key of its own.

use super::control;
use super::job::{Job, Secret};
use super::place::engine_dir;
use crate::cli::{Printer, Trouble};
use anyhow::Result;
use std::fs::OpenOptions;
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

pub(super) const EXAMPLES: &str = "\
Examples:
  freehold store backup  --data-dir /var/lib/k8s --keyspace default --file k8s.backup --key-file backup.key
  freehold store restore --data-dir /var/lib/k8s --keyspace default --file k8s.backup --key-file backup.key
  freehold store backup  --data-dir /var/lib/freehold --all --file /backup/today --key-file backup.key

A process that uses the directory goes on; it does the work itself.";

#[derive(Debug, clap::Args)]
pub(crate) struct BackupArgs {
    /// Directory of the embedded engine, or data directory of `freehold up`; it may be in use
    #[arg(long, value_name = "DIR")]
    data_dir: PathBuf,
    /// The keyspace
    #[arg(long, value_name = "NAME", default_value = "default")]
    keyspace: String,
    /// Every keyspace, each to a file of the directory that --file names
    #[arg(long, conflicts_with = "keyspace")]
    all: bool,
    /// The backup
    #[arg(long, value_name = "FILE")]
    file: PathBuf,
    /// Key of the backup, 32 bytes; made when it is not there. Without it a backup cannot be read
    #[arg(long, value_name = "FILE")]
    key_file: PathBuf,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Directory of the embedded engine, or data directory of `freehold up`; it may be in use
    #[arg(long, value_name = "DIR")]
    data_dir: PathBuf,
    /// The keyspace
    #[arg(long, value_name = "NAME", default_value = "default")]
    keyspace: String,
    /// The backup
    #[arg(long, value_name = "FILE")]
    file: PathBuf,
    /// The key that the backup was made with
    #[arg(long, value_name = "FILE")]
    key_file: PathBuf,
}

pub(crate) async fn backup(args: &BackupArgs, out: &Printer) -> Result<()> {
    let key = key(&args.key_file, true)?;
    let job = Job::Backup {
        dir: engine_dir(&args.data_dir)?,
        keyspace: (!args.all).then(|| args.keyspace.clone()),
        file: std::path::absolute(&args.file)?,
        key: Secret::new(&key),
    };
    control::run(&job, out).await
}

pub(crate) async fn restore(args: &Args, out: &Printer) -> Result<()> {
    let key = key(&args.key_file, false)?;
    let job = Job::Restore {
        dir: engine_dir(&args.data_dir)?,
        keyspace: args.keyspace.clone(),
        file: std::path::absolute(&args.file)?,
        key: Secret::new(&key),
    };
    control::run(&job, out).await
}

/// The key in a file that is for its owner only.
fn key(file: &Path, make: bool) -> Result<[u8; 32]> {
    let wrong = |why: String| Trouble::usage(format!("{} {why}", file.display()));
    match std::fs::metadata(file) {
        Ok(meta) if meta.mode() & 0o077 != 0 => {
            let advice = format!("Run: chmod 600 {}", file.display());
            return Err(wrong("can be read by others".into()).advise(advice).into());
        }
        Err(error) if error.kind() == ErrorKind::NotFound && make => return new_key(file),
        _ => {}
    }
    let bytes =
        std::fs::read(file).map_err(|error| wrong("cannot be read".into()).because(error))?;
    let found = bytes.len();
    let key = bytes.try_into();
    key.map_err(|_| wrong(format!("has {found} bytes; a key has 32")).into())
}

fn new_key(file: &Path) -> Result<[u8; 32]> {
    let key = freehold_store::embedded::random_key()?;
    let mut options = OpenOptions::new();
    options.write(true).create_new(true).mode(0o600);
    let written = options.open(file).and_then(|mut out| {
        out.write_all(&key)?;
        out.sync_all()
    });
    written.map_err(|error| {
        Trouble::new(format!("cannot write the new key {}", file.display())).because(error)
    })?;
    Ok(key)
}

#[cfg(test)]
mod tests {
    use super::*;
    use freehold_store::Keyspaces as _;
    use freehold_store::embedded::{Embedded, Options};
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn a_key_is_made_once_for_its_owner_and_read_again() {
        let dir = tempfile::tempdir().expect("dir");
        let file = dir.path().join("key");
        assert!(key(&file, false).is_err(), "a restore makes none");
        let made = key(&file, true).expect("made");
        assert_ne!(made, [0; 32]);
        assert_eq!(std::fs::metadata(&file).expect("key").mode() & 0o777, 0o600);
        assert_eq!(key(&file, true).expect("read"), made);
        std::fs::write(&file, [1; 31]).expect("write");
        assert!(key(&file, true).is_err(), "31 bytes");
        std::fs::write(&file, [1; 32]).expect("write");
        let open = std::fs::Permissions::from_mode(0o640);
        std::fs::set_permissions(&file, open).expect("chmod");
        assert!(key(&file, true).is_err(), "others may read it");
    }

    #[tokio::test]
    async fn what_was_backed_up_is_restored_elsewhere() {
        use freehold_store::{Op, Txn};
        let dir = tempfile::tempdir().expect("dir");
        let at = |name: &str| dir.path().join(name);
        let engine = Embedded::open(at("one"), Options::default())
            .await
            .expect("open");
        let store = engine.open("default").await.expect("keyspace");
        let put = Op::Put {
            key: "k".into(),
            value: "v".into(),
            lease: 0,
        };
        let txn = Txn {
            then: vec![put],
            ..Txn::default()
        };
        store.txn(txn).await.expect("put");
        drop(store);
        drop(engine);
        let args = |data_dir: &str| Args {
            data_dir: at(data_dir),
            keyspace: "default".into(),
            file: at("backup"),
            key_file: at("key"),
        };
        let of = |data_dir: &str| BackupArgs {
            data_dir: at(data_dir),
            keyspace: "default".into(),
            all: false,
            file: at("backup"),
            key_file: at("key"),
        };
        let out = Printer::new(&Default::default());
        assert!(backup(&of("none"), &out).await.is_err(), "no datastore");
        backup(&of("one"), &out).await.expect("backup");
        restore(&args("two"), &out).await.expect("restore");
        let engine = Embedded::open(at("two"), Options::default())
            .await
            .expect("open");
        let store = engine.open("default").await.expect("keyspace");
        assert_eq!(store.head().await.expect("head").keys, 1);
        drop(store);
        drop(engine);
        let mut bytes = std::fs::read(at("backup")).expect("backup");
        let last = bytes.len() - 1;
        bytes[last] ^= 1;
        std::fs::write(at("backup"), bytes).expect("damage");
        assert!(restore(&args("two"), &out).await.is_err(), "damaged");
        let fsck = super::super::fsck::Args::of(at("two"));
        super::super::fsck::run(&fsck, &out).await.expect("whole");
    }
}

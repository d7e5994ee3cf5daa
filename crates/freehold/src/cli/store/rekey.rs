//! `freehold store rekey`: another key for the data keys of a directory.

use super::control;
use super::job::Job;
use super::place::engine_dir;
use crate::cli::Printer;
use anyhow::Result;
use std::path::PathBuf;

pub(super) const EXAMPLES: &str = "\
Examples:
  A new key in the directory in place of the old one:
    freehold store rekey --data-dir /var/lib/k8s

  A key in a file elsewhere, made (0600) when it is not there:
    freehold store rekey --data-dir /var/lib/k8s --key-file /etc/freehold/store.key

  A key that a KMS v2 plugin seals; again after the key was rotated there:
    freehold store rekey --data-dir /var/lib/k8s --kms unix:///run/kms.sock";

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Directory of the embedded engine, or data directory of `freehold up`; it may be in use
    #[arg(long, value_name = "DIR")]
    data_dir: PathBuf,
    /// Keep the new key in this file, which nobody else may read
    #[arg(long, value_name = "FILE", conflicts_with = "kms")]
    key_file: Option<PathBuf>,
    /// Have the new key sealed by the KMS v2 plugin that listens there
    #[arg(long, value_name = "unix:///SOCKET")]
    kms: Option<String>,
}

pub(crate) async fn run(args: &Args, out: &Printer) -> Result<()> {
    let job = Job::Rekey {
        dir: engine_dir(&args.data_dir)?,
        key_file: args
            .key_file
            .as_ref()
            .map(std::path::absolute)
            .transpose()?,
        kms: args.kms.clone(),
    };
    control::run(&job, out).await
}

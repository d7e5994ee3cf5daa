//! `freehold store fence`: closes a keyspace to writers, and opens it again.

use super::control;
use super::job::Job;
use super::place::engine_dir;
use crate::cli::Printer;
use anyhow::Result;
use std::path::PathBuf;

pub(super) const EXAMPLES: &str = "\
Examples:
  freehold store fence --data-dir /var/lib/k8s --keyspace acme --reason 'maintenance until noon'
  freehold store fence --data-dir /var/lib/k8s --keyspace acme --open";

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Directory of the embedded engine, or data directory of `freehold up`; it may be in use
    #[arg(long, value_name = "DIR")]
    data_dir: PathBuf,
    /// The keyspace
    #[arg(long, value_name = "NAME")]
    keyspace: String,
    /// What writers are told
    #[arg(long, value_name = "TEXT", default_value = "an administrator did so")]
    reason: String,
    /// Open it again
    #[arg(long, conflicts_with = "reason")]
    open: bool,
}

pub(crate) async fn run(args: &Args, out: &Printer) -> Result<()> {
    let job = Job::Fence {
        dir: engine_dir(&args.data_dir)?,
        keyspace: args.keyspace.clone(),
        reason: (!args.open).then(|| args.reason.clone()),
    };
    control::run(&job, out).await
}

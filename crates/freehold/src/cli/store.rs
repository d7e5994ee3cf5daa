//! `freehold store`: the datastore by itself.

mod backup;
mod fsck;
mod place;
mod serve;

use super::{Global, Printer};
use anyhow::Result;

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Args {
    /// Serve the etcd v3 protocol, for a kube-apiserver or any other etcd client
    #[command(after_long_help = serve::EXAMPLES)]
    Serve(serve::Args),
    /// Write a keyspace of a directory to one file, sealed with a key of its own
    #[command(after_long_help = backup::EXAMPLES)]
    Backup(backup::Args),
    /// Make a keyspace what a backup says; its revision only grows
    #[command(after_long_help = backup::EXAMPLES)]
    Restore(backup::Args),
    /// Read everything in a directory and say what is damaged
    Fsck(fsck::Args),
}

pub(crate) async fn run(args: &Args, global: &Global, out: &Printer) -> Result<()> {
    match args {
        Args::Serve(args) => serve::run(args, global, out).await,
        Args::Backup(args) => backup::backup(args, out).await,
        Args::Restore(args) => backup::restore(args, out).await,
        Args::Fsck(args) => fsck::run(args, out).await,
    }
}

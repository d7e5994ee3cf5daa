//! `freehold store`: the datastore by itself.

mod backup;
pub(crate) mod control;
mod copy;
mod fence;
mod fsck;
mod job;
mod jobs;
mod metrics;
mod open;
mod place;
mod rekey;
mod serve;

use super::{Global, Printer};
use anyhow::Result;

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Args {
    /// Serve the etcd v3 protocol, for a kube-apiserver or any other etcd client
    #[command(after_long_help = serve::EXAMPLES)]
    Serve(Box<serve::Args>),
    /// Write a keyspace of a directory to one file, sealed with a key of its own
    #[command(after_long_help = backup::EXAMPLES)]
    Backup(backup::BackupArgs),
    /// Make a keyspace what a backup says; its revision only grows
    #[command(after_long_help = backup::EXAMPLES)]
    Restore(backup::Args),
    /// Close a keyspace to writers, or open it again
    #[command(after_long_help = fence::EXAMPLES)]
    Fence(fence::Args),
    /// Seal all data keys of a directory with a new key: in a file, or of a KMS v2 plugin
    #[command(after_long_help = rekey::EXAMPLES)]
    Rekey(rekey::Args),
    /// Read everything in a directory and say what is damaged
    Fsck(fsck::Args),
    /// Copy a keyspace, as it is now, to another datastore
    Copy(copy::Ends),
    /// Move a keyspace to another datastore while it is used; interrupted, it is gone on with
    Move(copy::MoveArgs),
    /// Write a keyspace to a file
    Export(copy::ExportArgs),
    /// Make a keyspace from such a file
    Import(copy::ImportArgs),
}

pub(crate) async fn run(args: &Args, global: &Global, out: &Printer) -> Result<()> {
    match args {
        Args::Serve(args) => serve::run(args, global, out).await,
        Args::Backup(args) => backup::backup(args, out).await,
        Args::Restore(args) => backup::restore(args, out).await,
        Args::Fence(args) => fence::run(args, out).await,
        Args::Rekey(args) => rekey::run(args, out).await,
        Args::Fsck(args) => fsck::run(args, out).await,
        Args::Copy(args) => copy::copy(args, global, out).await,
        Args::Move(args) => copy::relocate(args, global, out).await,
        Args::Export(args) => copy::export(args, global, out).await,
        Args::Import(args) => copy::import(args, global, out).await,
    }
}

//! `freehold store`: the datastore by itself.

mod backup;
mod copy;
mod fsck;
mod place;
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
    Backup(backup::Args),
    /// Make a keyspace what a backup says; its revision only grows
    #[command(after_long_help = backup::EXAMPLES)]
    Restore(backup::Args),
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
        Args::Fsck(args) => fsck::run(args, out).await,
        Args::Copy(args) => copy::copy(args, global, out).await,
        Args::Move(args) => copy::relocate(args, global, out).await,
        Args::Export(args) => copy::export(args, global, out).await,
        Args::Import(args) => copy::import(args, global, out).await,
    }
}

//! `freehold store copy`, `move`, `export` and `import`.

use super::control;
use super::job::{self, Job};
use super::place::Place;
use crate::cli::{Global, Printer, up};
use anyhow::Result;
use std::path::PathBuf;

/// A keyspace and where it is.
#[derive(Debug, clap::Args)]
pub(crate) struct Ends {
    /// Datastore that has the keyspace (see `freehold store serve --help` for how one is written)
    #[arg(long, value_name = "URL")]
    from: Place,
    /// Datastore that gets it
    #[arg(long, value_name = "URL")]
    to: Place,
    /// Name of the keyspace
    #[arg(long, value_name = "NAME")]
    keyspace: String,
    /// Its name at the target (default: the same)
    #[arg(long, value_name = "NAME")]
    target_keyspace: Option<String>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct MoveArgs {
    #[command(flatten)]
    ends: Ends,
    /// Take back a move that was interrupted: delete what it brought, open the source again
    #[arg(long)]
    undo: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct ExportArgs {
    /// Datastore that has the keyspace
    #[arg(long, value_name = "URL")]
    from: Place,
    /// Name of the keyspace
    #[arg(long, value_name = "NAME")]
    keyspace: String,
    /// File to write; it holds the tenant's data in the clear and only its owner may read it
    file: PathBuf,
}

#[derive(Debug, clap::Args)]
pub(crate) struct ImportArgs {
    /// Datastore that gets the keyspace
    #[arg(long, value_name = "URL")]
    to: Place,
    /// Name of the keyspace; it must not hold anything
    #[arg(long, value_name = "NAME")]
    keyspace: String,
    /// File that `freehold store export` wrote
    file: PathBuf,
}

impl Ends {
    fn job(&self) -> job::Ends {
        let target = self.target_keyspace.as_ref().unwrap_or(&self.keyspace);
        job::Ends {
            from: self.from.url(),
            to: self.to.url(),
            keyspace: self.keyspace.clone(),
            target: target.clone(),
        }
    }
}

pub(crate) async fn copy(args: &Ends, global: &Global, out: &Printer) -> Result<()> {
    up::start_logging(global);
    control::run(&Job::Copy(args.job()), out).await
}

pub(crate) async fn relocate(args: &MoveArgs, global: &Global, out: &Printer) -> Result<()> {
    up::start_logging(global);
    let job = Job::Move {
        ends: args.ends.job(),
        undo: args.undo,
    };
    control::run(&job, out).await
}

pub(crate) async fn export(args: &ExportArgs, global: &Global, out: &Printer) -> Result<()> {
    up::start_logging(global);
    let job = Job::Export {
        from: args.from.url(),
        keyspace: args.keyspace.clone(),
        file: std::path::absolute(&args.file)?,
    };
    control::run(&job, out).await
}

pub(crate) async fn import(args: &ImportArgs, global: &Global, out: &Printer) -> Result<()> {
    up::start_logging(global);
    let job = Job::Import {
        to: args.to.url(),
        keyspace: args.keyspace.clone(),
        file: std::path::absolute(&args.file)?,
    };
    control::run(&job, out).await
}

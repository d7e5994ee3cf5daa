//! `freehold store fsck`: reads everything in a directory and says what is damaged.

use crate::cli::{Printer, Trouble};
use anyhow::Result;
use freehold_store::embedded::{Embedded, Options};
use std::path::PathBuf;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Directory of the embedded engine; nobody may be using it
    #[arg(long, value_name = "DIR")]
    data_dir: PathBuf,
}

#[cfg(test)]
impl Args {
    pub(super) fn of(data_dir: PathBuf) -> Self {
        Self { data_dir }
    }
}

pub(crate) async fn run(args: &Args, out: &Printer) -> Result<()> {
    let dir = &args.data_dir;
    let checked = Embedded::check(dir, Options::default()).await;
    let checked = checked.map_err(|error| {
        Trouble::new(format!("cannot check the datastore in {}", dir.display()))
            .because(error)
            .advise("Stop the process that uses it, then run this again.")
    })?;
    let (keyspaces, keys) = (checked.keyspaces, checked.keys);
    out.line(format!("keyspaces: {keyspaces}, keys: {keys}"));
    for text in &checked.damage {
        out.line(format!("damaged: {text}"));
    }
    if checked.damage.is_empty() {
        out.line("everything is whole");
        return Ok(());
    }
    let count = checked.damage.len();
    Err(Trouble::new(format!("damage found: {count}"))
        .advise("Restore the keyspaces named above: freehold store restore --help.")
        .into())
}

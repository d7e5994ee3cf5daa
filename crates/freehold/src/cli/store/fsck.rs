//! `freehold store fsck`: reads everything in a directory and says what is damaged.

use super::place::engine_dir;
use crate::cli::{Printer, Trouble};
use anyhow::Result;
use freehold_store::Error;
use freehold_store::embedded::{Embedded, Options};
use std::path::PathBuf;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Directory of the embedded engine, or data directory of `freehold up`; nobody may be using it
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
    let dir = engine_dir(&args.data_dir)?;
    let checked = Embedded::check(&dir, Options::default()).await;
    let checked = checked.map_err(|error| {
        let advice = match &error {
            Error::Invalid(_) => {
                "Name the data directory of `freehold up`, or that of `freehold store serve`."
            }
            Error::Unavailable(text) if text.contains("is in use by") => {
                "Stop the process that uses it, then run this again."
            }
            _ => "Look at the disk, and at the key if it is kept elsewhere.",
        };
        Trouble::new(format!("cannot check the datastore in {}", dir.display()))
            .because(error)
            .advise(advice)
    })?;
    let (keyspaces, keys) = (checked.keyspaces, checked.keys);
    out.line(format!("keyspaces: {keyspaces}, keys: {keys}"));
    for text in &checked.remarks {
        out.line(format!("harmless: {text}"));
    }
    for text in &checked.damage {
        out.line(format!("damaged: {text}"));
    }
    if checked.damage.is_empty() {
        out.line("everything is whole");
        return Ok(());
    }
    let count = checked.damage.len();
    let advice = if checked.opens {
        "Restore the keyspaces named above: freehold store restore --help."
    } else {
        "Nothing opens it as it is. Set it aside whole, and restore every keyspace to a new \
         directory: freehold store restore --help."
    };
    let trouble = Trouble::new(format!("damage found: {count}"));
    Err(trouble.advise(advice).into())
}

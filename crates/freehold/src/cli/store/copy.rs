//! `freehold store copy`, `move`, `export` and `import`.

use super::place::{Open, Place, Tuning, read};
use crate::cli::{Global, Printer, Trouble, up};
use anyhow::{Context as _, Result};
use freehold_store::transfer::{self, Report, Step};
use freehold_store::{Image, Imported};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

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

/// Both ends, opened. One directory cannot be opened twice.
async fn open(ends: &Ends) -> Result<(Open, Option<Open>)> {
    let tuning = Tuning::default();
    let from = ends.from.open(&tuning).await?;
    let to = if ends.to == ends.from {
        None
    } else {
        Some(ends.to.open(&tuning).await?)
    };
    Ok((from, to))
}

async fn close(from: Open, to: Option<Open>) {
    from.close().await;
    if let Some(to) = to {
        to.close().await;
    }
}

impl Ends {
    fn target(&self) -> &str {
        self.target_keyspace.as_deref().unwrap_or(&self.keyspace)
    }

    fn name(&self) -> String {
        format!("{} at {}", self.target(), self.to)
    }

    fn places<'a>(
        &'a self,
        from: &'a Open,
        to: &'a Option<Open>,
        name: &'a str,
    ) -> (transfer::Place<'a>, transfer::Place<'a>) {
        let here = transfer::Place {
            keyspaces: &*from.keyspaces,
            id: &self.keyspace,
            name: &self.keyspace,
        };
        let there = transfer::Place {
            keyspaces: &*to.as_ref().unwrap_or(from).keyspaces,
            id: self.target(),
            name,
        };
        (here, there)
    }
}

pub(crate) async fn copy(args: &Ends, global: &Global, out: &Printer) -> Result<()> {
    up::start_logging(global);
    let (from, to) = open(args).await?;
    let name = args.name();
    let (here, there) = args.places(&from, &to, &name);
    let done = transfer::copy(here, there).await;
    close(from, to).await;
    tell(
        &done.map_err(|error| failed("copy", &args.keyspace, error))?,
        out,
    );
    Ok(())
}

pub(crate) async fn relocate(args: &MoveArgs, global: &Global, out: &Printer) -> Result<()> {
    up::start_logging(global);
    let ends = &args.ends;
    let (from, to) = open(ends).await?;
    let name = ends.name();
    let (here, there) = ends.places(&from, &to, &name);
    if args.undo {
        let done = transfer::undo(here, there).await;
        close(from, to).await;
        done.map_err(|error| failed("take back the move of", &ends.keyspace, error))?;
        out.line(format!("{} is where it was, and open", ends.keyspace));
        return Ok(());
    }
    let done = transfer::relocate(here, there, |step| {
        out.progress(match step {
            Step::Read => "reading; its writers go on",
            Step::Follow => "following what was written meanwhile",
            Step::Fence => "closing the source to writers",
            Step::Last => "reading the last changes",
            Step::Import => "writing to the target",
            Step::Verify => "comparing both",
            Step::CutOver => "noting at the source where it is now",
        });
        Ok(())
    })
    .await;
    out.progress_done();
    close(from, to).await;
    let report = done.map_err(|error| {
        failed("move", &ends.keyspace, error).advise(
            "The same command again goes on where this one ended; with --undo it is taken back.",
        )
    })?;
    tell(&report, out);
    out.line(format!(
        "The source is closed to writers and says where it went. When nobody needs it: {}",
        "delete it there."
    ));
    Ok(())
}

fn failed(what: &str, keyspace: &str, error: freehold_store::Error) -> Trouble {
    Trouble::new(format!("cannot {what} {keyspace}")).because(error)
}

fn tell(report: &Report, out: &Printer) {
    let revisions = match report.imported {
        Imported::Exactly => "all with their revisions",
        Imported::Anew => "with new revisions, above the old ones",
    };
    out.line(format!(
        "{} keys, {revisions}; compared and equal (revision {}, at the target {})",
        report.keys, report.rev, report.target_rev
    ));
}

pub(crate) async fn export(args: &ExportArgs, global: &Global, out: &Printer) -> Result<()> {
    up::start_logging(global);
    let from = args.from.open(&Tuning::default()).await?;
    let image = take(&from, &args.keyspace).await;
    from.close().await;
    let image = image?;
    write(&args.file, &image.encode())?;
    out.line(format!(
        "{} keys at revision {} in {}",
        image.kvs.len(),
        image.rev,
        args.file.display()
    ));
    Ok(())
}

async fn take(from: &Open, keyspace: &str) -> Result<Image> {
    let known = from.keyspaces.list().await?;
    if !known.iter().any(|id| id == keyspace) {
        let advice = match &known[..] {
            [] => "There is none at all.".to_owned(),
            some => format!("There are: {}.", some.join(", ")),
        };
        let text = format!("there is no keyspace {keyspace}");
        return Err(Trouble::new(text).advise(advice).into());
    }
    let store = from.keyspaces.open(keyspace).await?;
    let image = Image::take(&*store).await;
    Ok(image.map_err(|error| failed("read", keyspace, error))?)
}

/// Complete or not there at all, and for its owner only.
fn write(file: &Path, data: &[u8]) -> Result<()> {
    let draft = file.with_extension("part");
    let written = || -> std::io::Result<()> {
        let mut out = std::fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&draft)?;
        out.write_all(data)?;
        out.sync_all()?;
        std::fs::rename(&draft, file)
    };
    written().with_context(|| format!("cannot write {}", file.display()))
}

pub(crate) async fn import(args: &ImportArgs, global: &Global, out: &Printer) -> Result<()> {
    up::start_logging(global);
    let image = Image::decode(&read(&args.file)?).map_err(|error| {
        Trouble::new(format!("cannot use {}", args.file.display())).because(error)
    })?;
    let to = args.to.open(&Tuning::default()).await?;
    let done = to.keyspaces.import(&args.keyspace, &image).await;
    to.close().await;
    let imported = done.map_err(|error| failed("fill", &args.keyspace, error))?;
    let revisions = match imported {
        Imported::Exactly => "all with their revisions",
        Imported::Anew => "with new revisions, above the old ones",
    };
    out.line(format!("{} keys, {revisions}", image.kvs.len()));
    Ok(())
}

//! Work on keyspaces, done by this process or by the one that has the directory (see `control`).

use super::job::{Ends, Job, Secret};
use super::open::{Open, Own};
use super::place::Place;
use crate::cli::Trouble;
use crate::private_file;
use anyhow::{Context as _, Result};
use freehold_store::embedded::{Embedded, Wrapping};
use freehold_store::transfer::{self, Report, Step};
use freehold_store::{Image, Imported, Keyspaces as _, fence};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Where progress is told.
pub(crate) type Say<'a> = &'a (dyn Fn(&str) + Send + Sync);

impl Job {
    /// Does it, and says what came of it in a few lines. `own`: the engine of this process.
    pub(crate) async fn run(&self, own: Option<&Own>, say: Say<'_>) -> Result<Vec<String>> {
        match self {
            Self::Backup {
                dir,
                keyspace,
                file,
                key,
            } => {
                let open = Open::dir(dir, true, own).await?;
                let done = backup(open.engine()?, keyspace.as_deref(), file, key, say).await;
                open.close().await;
                done
            }
            Self::Restore {
                dir,
                keyspace,
                file,
                key,
            } => {
                let open = Open::dir(dir, false, own).await?;
                if open.is_shared() && !own.is_some_and(|own| (own.replaceable)(keyspace)) {
                    let text = format!("{keyspace} is not restored while it is served");
                    let advice = "Stop the process that has the directory, then run this again.";
                    return Err(Trouble::new(text).advise(advice).into());
                }
                let done = restore(open.engine()?, keyspace, file, key).await;
                open.close().await;
                Ok(vec![done?])
            }
            Self::Rekey { dir, key_file, kms } => {
                let open = Open::dir(dir, true, own).await?;
                let done = rekey(open.engine()?, key_file.as_ref(), kms.as_ref()).await;
                open.close().await;
                done
            }
            Self::Fence {
                dir,
                keyspace,
                reason,
            } => {
                let open = Open::dir(dir, true, own).await?;
                let done = set_fence(open.engine()?, keyspace, reason.as_deref()).await;
                open.close().await;
                Ok(vec![done?])
            }
            Self::Copy(ends) => ends.run(own, Action::Copy, say).await,
            Self::Move { ends, undo: false } => ends.run(own, Action::Move, say).await,
            Self::Move { ends, undo: true } => ends.run(own, Action::Undo, say).await,
            Self::Export {
                from,
                keyspace,
                file,
            } => {
                let open = Open::place(from, own).await?;
                let done = export(&open, keyspace, file).await;
                open.close().await;
                Ok(vec![done?])
            }
            Self::Import { to, keyspace, file } => {
                let open = Open::place(to, own).await?;
                let done = import(&open, keyspace, file).await;
                open.close().await;
                Ok(vec![done?])
            }
        }
    }
}

async fn backup(
    engine: &Arc<Embedded>,
    keyspace: Option<&str>,
    file: &Path,
    key: &Secret,
    say: Say<'_>,
) -> Result<Vec<String>> {
    let key = key.key()?;
    let known = engine.list().await?;
    let wanted: Vec<(String, PathBuf)> = match keyspace {
        Some(one) => vec![(one.to_owned(), file.to_owned())],
        None => {
            let written = std::fs::DirBuilder::new().recursive(true).create(file);
            written.with_context(|| format!("cannot make {}", file.display()))?;
            let each = known.iter();
            each.map(|id| Ok((id.clone(), file.join(format!("{}.backup", name_of(id)?)))))
                .collect::<Result<_>>()?
        }
    };
    let mut lines = Vec::new();
    for (id, file) in wanted {
        let failed = || Trouble::new(format!("{id} was not backed up"));
        if !known.contains(&id) {
            let advice = there_are(&known);
            let why = anyhow::anyhow!("there is no keyspace {id}");
            return Err(failed().because(why).advise(advice).into());
        }
        say(&format!("backing up {id}; its writers go on"));
        let head = engine.backup(&id, &file, &key).await;
        let head = head.map_err(|error| failed().because(error))?;
        let (file, keys, rev) = (file.display(), head.keys, head.rev);
        lines.push(format!("{file}: {keys} keys at revision {rev}"));
    }
    Ok(lines)
}

fn name_of(id: &str) -> Result<&str> {
    let fits = !id.contains('/') && !id.starts_with('.');
    fits.then_some(id).with_context(|| {
        format!("the keyspace {id} cannot be the name of a file; back it up alone")
    })
}

fn there_are(known: &[String]) -> String {
    match known {
        [] => "There is none at all.".to_owned(),
        some => format!("There are: {}.", some.join(", ")),
    }
}

async fn restore(
    engine: &Arc<Embedded>,
    keyspace: &str,
    file: &Path,
    key: &Secret,
) -> Result<String> {
    let done = engine.restore(keyspace, file, &key.key()?).await;
    let head = done.map_err(|error| {
        Trouble::new(format!("{keyspace} was not restored, and is as it was"))
            .because(error)
            .advise("Check the file, and that --key-file is the one it was made with.")
    })?;
    let (keys, rev) = (head.keys, head.rev);
    Ok(format!(
        "{keyspace}: {keys} keys, going on at revision {rev}"
    ))
}

async fn rekey(
    engine: &Arc<Embedded>,
    file: Option<&PathBuf>,
    kms: Option<&String>,
) -> Result<Vec<String>> {
    let at = match (file, kms) {
        (Some(file), _) => Wrapping::File(file.clone()),
        (None, Some(endpoint)) => Wrapping::Kms(endpoint.clone()),
        (None, None) => Wrapping::Own,
    };
    let before = engine.wrapping();
    let count = engine.rekey(at.clone()).await.map_err(|error| {
        Trouble::new("the key was not replaced; everything can be read as before")
            .because(error)
            .advise("The same command again completes it.")
    })?;
    let mut lines = vec![format!("{count} keyspaces are sealed with a new key: {at}")];
    if let Wrapping::File(path) = before {
        lines.push(format!("{} is not needed any more", path.display()));
    }
    Ok(lines)
}

async fn set_fence(engine: &Arc<Embedded>, id: &str, reason: Option<&str>) -> Result<String> {
    let known = engine.list().await?;
    if !known.iter().any(|other| other == id) {
        let text = format!("there is no keyspace {id}");
        return Err(Trouble::new(text).advise(there_are(&known)).into());
    }
    let store = engine.open(id).await?;
    let said = fence::read(&*store).await?;
    let by_hand = |text: &str| text.starts_with(CLOSED);
    if let Some(text) = said.as_deref().filter(|text| !by_hand(text)) {
        let text = format!("{id} is not opened or closed by hand: {text}");
        let advice = "`freehold store move` goes on with a move; with --undo it is taken back.";
        return Err(Trouble::new(text).advise(advice).into());
    }
    let text = reason.map(|reason| format!("{CLOSED}: {reason}"));
    if text != said {
        fence::set(&*store, said.as_deref(), text.as_deref()).await?;
    }
    Ok(match text {
        Some(text) => format!("{id}: {text}"),
        None => format!("{id} is open to writers"),
    })
}

/// How a fence begins that somebody has put up by hand.
const CLOSED: &str = "this keyspace is closed to writers";

#[derive(Clone, Copy)]
enum Action {
    Copy,
    Move,
    Undo,
}

impl Ends {
    async fn run(&self, own: Option<&Own>, action: Action, say: Say<'_>) -> Result<Vec<String>> {
        let from = Open::place(&self.from, own).await?;
        // One directory cannot be opened twice.
        let to = if self.to == self.from {
            None
        } else {
            Some(Open::place(&self.to, own).await?)
        };
        let place: Place = self.to.parse().map_err(anyhow::Error::msg)?;
        let name = format!("{} at {place}", self.target);
        let here = transfer::Place {
            keyspaces: &*from.keyspaces,
            id: &self.keyspace,
            name: &self.keyspace,
        };
        let there = transfer::Place {
            keyspaces: &*to.as_ref().unwrap_or(&from).keyspaces,
            id: &self.target,
            name: &name,
        };
        let done = Box::pin(self.act(here, there, action, say)).await;
        from.close().await;
        if let Some(to) = to {
            to.close().await;
        }
        done
    }

    async fn act(
        &self,
        here: transfer::Place<'_>,
        there: transfer::Place<'_>,
        action: Action,
        say: Say<'_>,
    ) -> Result<Vec<String>> {
        let keyspace = &self.keyspace;
        match action {
            Action::Copy => {
                let done = transfer::copy(here, there).await;
                let report = done.map_err(|error| failed("copy", keyspace, error))?;
                Ok(vec![tell(&report)])
            }
            Action::Undo => {
                let done = transfer::undo(here, there).await;
                done.map_err(|error| failed("take back the move of", keyspace, error))?;
                Ok(vec![format!("{keyspace} is where it was, and open")])
            }
            Action::Move => {
                let done = transfer::relocate(here, there, |step| {
                    say(step_text(step));
                    Ok(())
                });
                let report = done.await.map_err(|error| {
                    failed("move", keyspace, error).advise(
                        "The same command again goes on where this one ended; with --undo it is taken back.",
                    )
                })?;
                let last = "The source is closed to writers and says where it went. When nobody \
                            needs it: delete it there.";
                Ok(vec![tell(&report), last.to_owned()])
            }
        }
    }
}

fn step_text(step: Step) -> &'static str {
    match step {
        Step::Read => "reading; its writers go on",
        Step::Follow => "following what was written meanwhile",
        Step::Fence => "closing the source to writers",
        Step::Last => "reading the last changes",
        Step::Import => "writing to the target",
        Step::Verify => "comparing both",
        Step::CutOver => "noting at the source where it is now",
    }
}

fn failed(what: &str, keyspace: &str, error: freehold_store::Error) -> Trouble {
    Trouble::new(format!("cannot {what} {keyspace}")).because(error)
}

fn revisions(imported: Imported) -> &'static str {
    match imported {
        Imported::Exactly => "all with their revisions",
        Imported::Anew => "with new revisions, above the old ones",
    }
}

fn tell(report: &Report) -> String {
    format!(
        "{} keys, {}; compared and equal (revision {}, at the target {})",
        report.keys,
        revisions(report.imported),
        report.rev,
        report.target_rev
    )
}

async fn export(from: &Open, keyspace: &str, file: &Path) -> Result<String> {
    let known = from.keyspaces.list().await?;
    if !known.iter().any(|id| id == keyspace) {
        let text = format!("there is no keyspace {keyspace}");
        return Err(Trouble::new(text).advise(there_are(&known)).into());
    }
    let store = from.keyspaces.open(keyspace).await?;
    let image = Image::take(&*store).await;
    let image = image.map_err(|error| failed("read", keyspace, error))?;
    private_file::write(file, &image.encode())
        .with_context(|| format!("cannot write {}", file.display()))?;
    let (keys, rev) = (image.kvs.len(), image.rev);
    Ok(format!(
        "{keys} keys at revision {rev} in {}",
        file.display()
    ))
}

async fn import(to: &Open, keyspace: &str, file: &Path) -> Result<String> {
    let image = Image::decode(&super::open::read(file)?)
        .map_err(|error| Trouble::new(format!("cannot use {}", file.display())).because(error))?;
    let done = to.keyspaces.import(keyspace, &image).await;
    let imported = done.map_err(|error| failed("fill", keyspace, error))?;
    Ok(format!("{} keys, {}", image.kvs.len(), revisions(imported)))
}

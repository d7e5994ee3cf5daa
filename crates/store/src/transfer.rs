//! Copying and moving a keyspace between any two datastores.
//!
//! A copy is of one revision; writers of the source go on. A move reads while writers go on,
//! follows them, fences the source (see [`crate::fence`]: its writers must go through
//! [`crate::fence::Fenced`]), brings the last changes over, verifies, and leaves the fence up,
//! saying where the keyspace is now. What has been done is written in the two keyspaces, so a move
//! that was interrupted anywhere is finished by calling it again, or taken back by [`undo`].
//!
//! Keys keep all their revisions where the target's driver can do that (embedded, PostgreSQL). An
//! etcd gives them new ones, above the source's: revisions never go down. A lease ends when it
//! would have; in an etcd that is its time to live from then on, and it has another id where the
//! etcd has a lease of that id already.

use crate::{Error, Image, Imported, Keyspaces, Result, Store, fence};

/// A step of a move that is about to be done. Tests interrupt there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    Read,
    Follow,
    Fence,
    Last,
    Import,
    Verify,
    CutOver,
}

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Report {
    pub keys: u64,
    /// of the source
    pub rev: u64,
    /// of the target
    pub target_rev: u64,
    pub imported: Imported,
}

/// One end of a transfer.
#[derive(Clone, Copy)]
pub struct Place<'a> {
    pub keyspaces: &'a dyn Keyspaces,
    pub id: &'a str,
    /// as the fence shall call it; the same for every attempt
    pub name: &'a str,
}

impl Place<'_> {
    async fn exists(&self) -> Result<bool> {
        Ok(self.keyspaces.list().await?.iter().any(|id| id == self.id))
    }
}

/// Copies a keyspace as it is now.
///
/// # Errors
/// When the target holds something, or either end fails.
pub async fn copy(from: Place<'_>, to: Place<'_>) -> Result<Report> {
    let source = existing(from).await?;
    let image = Image::take(&*source).await?;
    let imported = to.keyspaces.import(to.id, &image).await?;
    verify(&image, to, imported).await
}

async fn existing(place: Place<'_>) -> Result<std::sync::Arc<dyn Store>> {
    if !place.exists().await? {
        return Err(Error::Invalid(format!("there is no keyspace {}", place.id)));
    }
    place.keyspaces.open(place.id).await
}

/// Reads the target and compares it with what was to be brought there.
async fn verify(image: &Image, to: Place<'_>, imported: Imported) -> Result<Report> {
    let target = to.keyspaces.open(to.id).await?;
    let found = Image::take(&*target).await?;
    if !image.same_ends(&found) || !alike(image, &found, imported) {
        return Err(Error::Corrupt(format!(
            "{} of {} keys arrived, or not as they were",
            found.kvs.len(),
            image.kvs.len()
        )));
    }
    if found.rev < image.rev {
        return Err(Error::Corrupt("the revision went down".into()));
    }
    Ok(Report {
        keys: image.kvs.len() as u64,
        rev: image.rev,
        target_rev: found.rev,
        imported,
    })
}

/// Whether two images have the same keys, brought from one to the other in that way.
fn alike(image: &Image, found: &Image, how: Imported) -> bool {
    let exactly = how == Imported::Exactly;
    found.hash(exactly) == image.hash(exactly)
}

fn moving(to: Place<'_>) -> String {
    format!("this keyspace is being moved to {}", to.name)
}

fn moved(to: Place<'_>) -> String {
    format!("{MOVED} {}", to.name)
}

fn taken_back(to: Place<'_>) -> String {
    format!("this keyspace is no longer being moved to {}", to.name)
}

/// How a fence begins behind which nobody is any more.
const MOVED: &str = "this keyspace was moved to";

/// Moves a keyspace, or goes on where an earlier call was interrupted. `at` is asked before each
/// step; an error ends the call there.
///
/// # Errors
/// [`Error::Fenced`] when the keyspace is on its way to somewhere else.
pub async fn relocate(
    from: Place<'_>,
    to: Place<'_>,
    mut at: impl FnMut(Step) -> Result<()>,
) -> Result<Report> {
    let source = existing(from).await?;
    let image = match fence::read(&*source).await? {
        None => {
            at(Step::Read)?;
            let mut image = Image::take(&*source).await?;
            at(Step::Follow)?;
            // Most of what was written meanwhile, so that little is left behind the fence.
            follow(&mut image, &*source).await?;
            at(Step::Fence)?;
            fence::set(&*source, None, Some(&moving(to))).await?;
            at(Step::Last)?;
            follow(&mut image, &*source).await?;
            image
        }
        Some(text) if text == moving(to) || text == moved(to) => {
            at(Step::Last)?;
            Image::take(&*source).await?
        }
        Some(text) => return Err(Error::Fenced(text)),
    };
    if fence::read(&*source).await? == Some(moved(to)) {
        // Its clients are at the target already and may have changed it.
        let found = Image::take(&*to.keyspaces.open(to.id).await?).await?;
        return Ok(Report {
            keys: image.kvs.len() as u64,
            rev: image.rev,
            target_rev: found.rev,
            imported: kept(&image, &found),
        });
    }
    at(Step::Import)?;
    let imported = import(&image, to).await?;
    at(Step::Verify)?;
    let report = verify(&image, to, imported).await?;
    at(Step::CutOver)?;
    fence::set(&*source, Some(&moving(to)), Some(&moved(to))).await?;
    Ok(report)
}

/// Whether keys of an image have the revisions that they had: new ones are all above those.
fn kept(image: &Image, found: &Image) -> Imported {
    let newest = image.kvs.iter().map(|kv| kv.mod_rev).max();
    match found.kvs.iter().any(|kv| Some(kv.create_rev) <= newest) {
        true => Imported::Exactly,
        false => Imported::Anew,
    }
}

/// Whether a keyspace was moved from one place to another, completely: it is closed here and says
/// that it went, and is there, open, and not behind.
///
/// # Errors
/// When either end cannot be read.
pub async fn arrived(from: &dyn Keyspaces, to: &dyn Keyspaces, id: &str) -> Result<bool> {
    let place = |keyspaces| Place {
        keyspaces,
        id,
        name: id,
    };
    if !place(from).exists().await? || !place(to).exists().await? {
        return Ok(false);
    }
    let source = from.open(id).await?;
    let gone = fence::read(&*source).await?;
    if !gone.is_some_and(|text| text.starts_with(MOVED)) {
        return Ok(false);
    }
    let target = to.open(id).await?;
    let open = fence::read(&*target).await?.is_none();
    Ok(open && target.head().await?.rev >= source.head().await?.rev.saturating_sub(1))
}

/// Brings an image to its target, unless an earlier attempt has.
async fn import(image: &Image, to: Place<'_>) -> Result<Imported> {
    if let Some(imported) = imported(image, to).await? {
        return Ok(imported);
    }
    match to.keyspaces.import(to.id, image).await {
        // An attempt that nobody waits for any more may have been completed just now.
        Err(Error::Invalid(text)) => match imported(image, to).await? {
            Some(imported) => Ok(imported),
            None => Err(Error::Invalid(text)),
        },
        done => done,
    }
}

/// Whether the target is what an image says, and how.
async fn imported(image: &Image, to: Place<'_>) -> Result<Option<Imported>> {
    if !to.exists().await? {
        return Ok(None);
    }
    let target = to.keyspaces.open(to.id).await?;
    // One that is not complete says so.
    if fence::read(&*target).await?.is_some() {
        return Ok(None);
    }
    let found = Image::take(&*target).await?;
    if found.kvs.is_empty() || found.rev < image.rev || !image.same_ends(&found) {
        return Ok(None);
    }
    let ways = [Imported::Exactly, Imported::Anew];
    Ok(ways.into_iter().find(|how| alike(image, &found, *how)))
}

/// Brings an image up to date; reads all of it again when the changes are forgotten.
async fn follow(image: &mut Image, source: &dyn Store) -> Result<()> {
    match image.follow(source).await {
        Err(Error::Compacted(_) | Error::SlowWatcher) => {
            *image = Image::take(source).await?;
            Ok(())
        }
        other => other,
    }
}

/// Takes back a move that was interrupted: the target is deleted if it is what the move brought
/// there, and the source is open again.
///
/// # Errors
/// [`Error::Fenced`] when the move was completed or goes to somewhere else; [`Error::Invalid`]
/// when there is none, or the target holds something else. Interrupted, it is called again.
pub async fn undo(from: Place<'_>, to: Place<'_>) -> Result<()> {
    let source = existing(from).await?;
    match fence::read(&*source).await? {
        None => return Err(Error::Invalid(format!("{} is not being moved", from.id))),
        Some(text) if text == moving(to) || text == taken_back(to) => {}
        Some(text) => return Err(Error::Fenced(text)),
    }
    if to.exists().await? {
        let target = to.keyspaces.open(to.id).await?;
        let unfinished = fence::read(&*target).await?.is_some();
        let found = Image::take(&*target).await?;
        let image = Image::take(&*source).await?;
        if !unfinished && !found.kvs.is_empty() && !alike(&image, &found, Imported::Anew) {
            return Err(Error::Invalid(format!(
                "{} at the target holds something else",
                to.id
            )));
        }
    }
    // A move that is still at it, unknown to who asks, must not arrive at what is deleted here.
    if fence::read(&*source).await? != Some(taken_back(to)) {
        fence::set(&*source, Some(&moving(to)), Some(&taken_back(to))).await?;
    }
    if to.exists().await? {
        to.keyspaces.delete(to.id).await?;
    }
    fence::set(&*source, Some(&taken_back(to)), None).await?;
    Ok(())
}

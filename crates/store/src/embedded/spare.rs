//! The log's next segment file, prepared in advance: a commit then only overwrites, and waits for
//! nothing but its own bytes. And files of segments that nobody needs any more, to be used again:
//! that takes no blocks and frees none, so that neither the file system's journal nor the disk
//! has more to do.

use super::before::{self, Prepared, SECTOR};
use super::disk::{Disk, DiskFile};
use super::log::{ZERO_STEP, segment_path};
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

const SPARE: &str = "spare";
const USED: &str = "used-";
/// Most files that are kept to be used again while the log is written, and while it rests: as many
/// as a checkpoint under load sets free at once, since what is removed has to be zeroed soon after.
pub(crate) const MOST: usize = 12;
pub(crate) const AT_REST: usize = 2;
/// Longest rest between two slices of zeroes.
const LONGEST_REST: Duration = Duration::from_millis(2);

/// Gives a complete segment that is needed no more another name, durably, before anything in it
/// changes. Returns the name.
pub(crate) fn set_aside(disk: &dyn Disk, dir: &Path, segment: u64) -> io::Result<String> {
    let name = format!("{USED}{segment}");
    match disk.rename(&segment_path(dir, segment), &dir.join(&name)) {
        // An attempt before this one came so far.
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => disk.sync_dir(dir)?,
    }
    Ok(name)
}

/// What an engine before this one kept; a half-prepared file is as good as any.
pub(crate) fn kept(disk: &dyn Disk, dir: &Path) -> io::Result<Vec<String>> {
    let mut names = disk.list(dir)?;
    names.retain(|name| name == SPARE || name.starts_with(USED));
    names.sort_by_key(|name| name == SPARE);
    let few = names.len().saturating_sub(MOST);
    remove(disk, dir, names.drain(..few))?;
    Ok(names)
}

/// Removes files that were kept.
pub(crate) fn remove(
    disk: &dyn Disk,
    dir: &Path,
    names: impl Iterator<Item = String>,
) -> io::Result<()> {
    let mut names = names.peekable();
    if names.peek().is_none() {
        return Ok(());
    }
    for name in names {
        disk.remove(&dir.join(name))?;
    }
    disk.sync_dir(dir)
}

/// Removes the spare file, whatever is in it.
pub(crate) fn remove_spare(disk: &dyn Disk, dir: &Path) -> io::Result<()> {
    disk.remove(&dir.join(SPARE))
}

/// The spare file becomes a segment.
pub(crate) fn take(disk: &dyn Disk, dir: &Path, segment: &Path) -> io::Result<()> {
    disk.rename(&dir.join(SPARE), segment)
}

/// Prepares the spare file; from one that was kept, if there is one: then only a table of what is
/// in it is written. Durable.
pub(crate) fn prepare(
    disk: &dyn Disk,
    dir: &Path,
    segment_bytes: u64,
    used: Option<&str>,
) -> io::Result<Prepared> {
    let spare = dir.join(SPARE);
    if let Some(name) = used.filter(|name| *name != SPARE) {
        disk.rename(&dir.join(name), &spare)?;
    }
    let mut file = disk.open(&spare)?;
    let whole = sectors(segment_bytes);
    let there = match used {
        Some(_) => sectors(file.size()?.min(whole)),
        None => 0,
    };
    if file.size()? != there {
        file.set_len(there)?;
    }
    if there > 0 {
        // What the table says must be what a crash leaves.
        file.sync_data()?;
    }
    zero(&mut *file, there, whole, !disk.simulated())?;
    if there == 0 {
        return Ok(Prepared {
            table: (0, 0),
            len: whole,
        });
    }
    let prepared = before::write_table(&mut *file, whole)?;
    file.sync_data()?;
    Ok(prepared)
}

fn sectors(bytes: u64) -> u64 {
    bytes / SECTOR as u64 * SECTOR as u64
}

/// Writes zeroes in slices that hold up nobody for long, and rests as long as it works. Durable.
fn zero(file: &mut dyn DiskFile, from: u64, to: u64, rest: bool) -> io::Result<()> {
    let zeroes = vec![0; ZERO_STEP];
    let mut offset = from;
    while offset < to {
        let len = zeroes
            .len()
            .min(usize::try_from(to - offset).unwrap_or(ZERO_STEP));
        let began = Instant::now();
        file.write_at(&zeroes[..len], offset)?;
        file.sync_data()?;
        if rest {
            std::thread::sleep(began.elapsed().min(LONGEST_REST));
        }
        offset += len as u64;
    }
    Ok(())
}

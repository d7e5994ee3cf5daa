//! Backups of single keyspaces while they are used, restoring them, and checking a directory.

use super::catalog::{self, Catalog, CatalogEntry, Saved};
use super::checkpoint::{self, Keep, Pace, Seal, Source, Target};
use super::disk::Disk;
use super::index::{Entry, Version};
use super::keyring::Keyring;
use super::keyspace::{Loaded, Slot};
use super::log::{self, unavailable};
use super::opening;
use super::record::{Ciphers, random};
use super::state::{Lease, Phase, State};
use super::toc;
use super::values::{self, Values};
use super::{Embedded, Options, Shared, blocking, lock_dir, wanted};
use crate::{Error, Head, Image, Result};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// A new key, for backups.
pub fn random_key() -> Result<[u8; 32]> {
    random()
}

/// Most parts of a backup behind the first.
const MOST_PARTS: u32 = 16;
/// Further revisions that a keyspace may have had which cannot be read; as etcd's own guide to
/// restoring says.
const UNKNOWN: u64 = 1_000_000_000;
/// Revisions that a part may miss at its end.
const CLOSE: u64 = 256;

/// What [`Embedded::check`] found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Checked {
    pub keyspaces: usize,
    pub keys: u64,
    /// one sentence for each thing that is damaged
    pub damage: Vec<String>,
    /// what is not as it should be, and does no harm
    pub remarks: Vec<String>,
    /// whether an engine opens the directory: what is damaged is of single keyspaces
    pub opens: bool,
}

impl Embedded {
    /// Writes a keyspace, history and leases included, to one file sealed with `key`: as it was at
    /// the beginning, then what changed meanwhile, until hardly anything has. So what is in it is
    /// of one revision, of about the end; who writes faster than this is left behind after a few
    /// rounds. Writers go on. Memory holds up to three copies of the list of keys meanwhile, and
    /// values only until the next checkpoint as ever, however long it takes.
    pub async fn backup(&self, id: &str, target: &Path, key: &[u8; 32]) -> Result<Head> {
        let slot = self.shared.slots.lock().get(id).cloned();
        let slot = slot.ok_or_else(|| Error::Invalid(format!("there is no keyspace {id}")))?;
        let asleep = slot.loaded.read().is_none();
        let loaded = self.shared.load(&slot).await?;
        if asleep {
            self.shared.doze_soon(&slot);
        }
        let (shared, target) = (self.shared.clone(), target.to_owned());
        let ciphers = Ciphers::new(key);
        wanted(move |gone| {
            let _pin = loaded.values.pin();
            let source = shared.copy(&slot, &loaded)?;
            let (mut rev, mut leases) = (source.rev, source.leases.clone());
            let (mut parts, mut head) = (0, source.head());
            let mut later = || {
                if parts == MOST_PARTS {
                    return Ok(None);
                }
                let next = shared.copy(&slot, &loaded)?;
                if next.rev < rev || (next.rev == rev && next.leases == leases) {
                    return Ok(None);
                }
                // So little will be written at once: nothing worth another part comes meanwhile.
                let close = next.rev <= rev + CLOSE;
                parts = if close { MOST_PARTS } else { parts + 1 };
                (rev, head) = (next.rev, next.head());
                leases.clone_from(&next.leases);
                Ok(Some(next))
            };
            let seal = Seal {
                cipher: &ciphers.checkpoint,
                number: 0,
            };
            let mut keep = Keep::everything(loaded.values());
            let disk = &*shared.options.disk;
            let mut pace = Pace::new(&|| false).until(gone);
            let later = Some(&mut later as checkpoint::Later<'_>);
            checkpoint::write_to(disk, &target, seal, &source, &mut keep, &mut pace, later)?;
            Ok(head)
        })
        .await
    }

    /// Makes a keyspace what a backup says. One that exists is replaced, in one step, also when it
    /// is damaged; its revision only grows, and whoever watches it is told to start anew.
    pub async fn restore(&self, id: &str, source: &Path, key: &[u8; 32]) -> Result<Head> {
        let old = self.shared.slots.lock().get(id).cloned();
        let (shared, id, source) = (self.shared.clone(), id.to_owned(), source.to_owned());
        let ciphers = Ciphers::new(key);
        wanted(move |gone| shared.restore(&id, old, &source, &ciphers, gone)).await
    }

    /// Makes a new keyspace with exactly this content.
    pub(super) async fn install(&self, id: &str, image: &Image) -> Result<Head> {
        let known = self.shared.slots.lock().get(id).cloned();
        let mut state = State::new();
        state.applied = image.rev;
        state.compacted = image.rev;
        let now = self.shared.now_ms();
        for lease in &image.leases {
            let left = u64::try_from(lease.remaining.as_millis()).unwrap_or(u64::MAX);
            let kept = Lease {
                ttl: lease.granted,
                deadline_ms: now.saturating_add(left),
                keys: Default::default(),
            };
            state.leases.insert(lease.id, kept);
        }
        for kv in &image.kvs {
            let newest = Version {
                value: values::Value::new(kv.value.clone()),
                mod_rev: kv.mod_rev,
                create_rev: kv.create_rev,
                version: kv.version,
                lease: kv.lease,
                sub: 0,
            };
            let key = kv.key.clone();
            state.index.append(Entry {
                key,
                newest,
                older: Default::default(),
            });
        }
        let rebuilt = state.rebuild();
        rebuilt.ok_or_else(|| Error::Invalid("the image contradicts itself".into()))?;
        let (shared, id) = (self.shared.clone(), id.to_owned());
        wanted(move |gone| shared.install(&id, known, state, false, gone)).await
    }

    /// Reads everything in a directory that no engine uses and says what is damaged.
    pub async fn check(dir: impl Into<PathBuf>, options: Options) -> Result<Checked> {
        let dir = dir.into();
        blocking(move || check(&dir, &options)).await
    }
}

fn not_empty(id: &str) -> Error {
    Error::Invalid(format!("the keyspace {id} is not empty"))
}

impl Source {
    fn of(state: &mut State) -> Self {
        Self::take(state, 0, None)
    }

    fn head(&self) -> Head {
        let live = |entry: &&super::index::Entry| entry.at(self.rev).is_some();
        let keys = self.index.entries().filter(live).count() as u64;
        Head {
            rev: self.rev,
            compact_rev: self.compacted,
            bytes: 0,
            keys,
        }
    }
}

impl Shared {
    /// A consistent copy that is not for a checkpoint: the log is needed as before.
    fn copy(&self, slot: &Slot, loaded: &Arc<Loaded>) -> Result<Source> {
        let _busy = slot.busy.blocking_lock();
        let source = self.snapshot_blocking(loaded, None);
        let mut state = loaded.state.write();
        if state.phase != Phase::Open {
            // It fell asleep or was deleted: this is the last that was acknowledged before.
            return Ok(Source::last(&state));
        }
        let source = source?;
        source.give_back(&mut state);
        Ok(source)
    }

    fn restore(
        self: &Arc<Self>,
        id: &str,
        old: Option<Arc<Slot>>,
        source: &Path,
        ciphers: &Ciphers,
        gone: &dyn Fn() -> bool,
    ) -> Result<Head> {
        let seal = Seal {
            cipher: &ciphers.checkpoint,
            number: 0,
        };
        let state = opening::read_from(source, seal)?;
        self.install(id, old, state, true, gone)
    }

    /// Puts a state in the place of a keyspace. What somebody has written to is replaced only
    /// if `over` says so, and then by a higher revision. Nothing is changed when it is given up.
    fn install(
        self: &Arc<Self>,
        id: &str,
        old: Option<Arc<Slot>>,
        mut state: State,
        over: bool,
        gone: &dyn Fn() -> bool,
    ) -> Result<Head> {
        let Some(old) = old else {
            return self.place(id, None, &mut state, gone);
        };
        let head = {
            let _busy = old.busy.blocking_lock();
            let loaded = match self.load_alone(&old) {
                Err(Error::Corrupt(_)) if over => None,
                loaded => Some(loaded?),
            };
            // From here on nobody writes to what is replaced.
            let last = match &loaded {
                Some(loaded) => Some(self.snapshot_blocking(loaded, Some(Phase::Deleted))?),
                None => None,
            };
            let rev = match &last {
                Some(last) => last.rev,
                None => state.visible.saturating_add(UNKNOWN),
            };
            let placed = if rev > 1 && !over {
                Err(not_empty(id))
            } else {
                // What a client has seen of a revision must not change under it.
                if rev > 1 {
                    state.visible = state.visible.max(rev) + 1;
                    state.applied = state.visible;
                    state.compacted = state.visible;
                }
                self.place(id, Some(&old), &mut state, gone)
            };
            if let (Err(_), Some(loaded), Some(last)) = (&placed, &loaded, &last) {
                last.give_back(&mut loaded.state.write());
            }
            placed?
        };
        old.deleted.store(true, Ordering::Release);
        self.forget(&old);
        Ok(head)
    }

    /// Writes a state as a keyspace that is new, or in the place of another. The caller holds
    /// `busy` of that.
    fn place(
        &self,
        id: &str,
        old: Option<&Slot>,
        state: &mut State,
        gone: &dyn Fn() -> bool,
    ) -> Result<Head> {
        let entry = CatalogEntry {
            id: id.into(),
            number: self.options.drive.number()?,
            saved: Saved {
                checkpointed: true,
                ..Saved::default()
            },
        };
        let source = Source::of(state);
        let slot = Arc::new(Slot::new(entry.clone(), Vec::new()));
        let data_key = random()?;
        let (new_ciphers, values) = (Ciphers::new(&data_key), Values::default());
        let target = Target {
            dir: &self.dir,
            disk: &*self.options.disk,
            slot: &slot,
            ciphers: &new_ciphers,
            values: &values,
            inline_bytes: self.options.inline_bytes,
            again: false,
        };
        let mut pace = Pace::new(&|| true).until(gone);
        let written = checkpoint::write(&target, &source, &mut pace).and_then(|()| {
            if gone() {
                return Err(checkpoint::abandoned());
            }
            self.register(entry.number, &data_key, |catalog, key| {
                match old {
                    Some(old) => catalog.replace(old.number, &entry, key)?,
                    // Somebody else may have been faster.
                    None if self.slots.lock().contains_key(id) => return Err(not_empty(id)),
                    None => catalog.add(&entry, key)?,
                }
                self.slots.lock().insert(slot.id.clone(), slot.clone());
                Ok(())
            })
        });
        if let Err(error) = written {
            self.remove_files(entry.number);
            return Err(error);
        }
        Ok(source.head())
    }
}

fn check(dir: &Path, options: &Options) -> Result<Checked> {
    if !dir.join("catalog").exists() {
        let text = format!("{} holds no datastore", dir.display());
        return Err(Error::Invalid(text));
    }
    let _lock = lock_dir(dir)?;
    let disk = &*options.disk;
    let mut found = Checked::default();
    let mut scan = match log::survey(disk, &dir.join("log"), &mut found.damage) {
        Err(Error::Corrupt(text)) => {
            found.damage.push(text);
            log::Scan::default()
        }
        scan => scan?,
    };
    check_tables(disk, dir, &scan, &mut found);
    let (catalog, entries) = Catalog::read_all(dir, disk, &mut |text| {
        found.damage.push(text);
        Ok(())
    })?;
    let catalog = Mutex::new(catalog);
    let new = entries.is_empty() && found.damage.is_empty();
    let keyring = match Keyring::open(dir, options.disk.clone(), new) {
        Ok(keyring) => keyring,
        Err(Error::Corrupt(text)) => {
            found.keyspaces = entries.len();
            found.damage.push(text);
            return Ok(found);
        }
        Err(error) => return Err(error),
    };
    // The rest is of single keyspaces.
    found.opens = found.damage.is_empty();
    for entry in entries {
        found.keyspaces += 1;
        let pending = scan.records.remove(&entry.number).unwrap_or_default();
        let slot = Slot::new(entry.clone(), pending);
        let ciphers = match catalog::ciphers(&catalog, &keyring, entry.number) {
            Ok(ciphers) => ciphers,
            Err(Error::Corrupt(text)) => {
                found.damage.push(format!("keyspace {}: {text}", entry.id));
                continue;
            }
            Err(error) => return Err(error),
        };
        match slot.read(dir, disk, &ciphers, options.drive.now_ms()) {
            Ok((state, values)) => {
                found.keys += state.live_keys();
                let reader = values::Reader {
                    values: &values,
                    cipher: &ciphers.values,
                    number: entry.number,
                };
                check_values(&state, &reader, &entry.id, &mut found);
            }
            Err(Error::Corrupt(text)) => found.damage.push(text),
            // A disk that cannot read a file.
            Err(error) => found.damage.push(format!("keyspace {}: {error}", entry.id)),
        }
    }
    Ok(found)
}

/// Compares what tables say with the segments that they are of.
fn check_tables(disk: &dyn Disk, dir: &Path, scan: &log::Scan, found: &mut Checked) {
    let dir = dir.join("log");
    for read in &scan.read {
        let path = toc::path(&dir, read.segment);
        let name = path.display();
        match toc::read(disk, &dir, read.segment) {
            None if path.exists() => found.remarks.push(format!(
                "{name} is not whole, and not used: the segment itself is read"
            )),
            Some(toc) if toc.records != read.records => found.damage.push(format!(
                "{name} says what its log segment does not: remove it"
            )),
            _ => {}
        }
    }
}

/// Reads every value of a keyspace; each that is damaged is told with its key's revision.
fn check_values(state: &State, reader: &values::Reader<'_>, id: &str, found: &mut Checked) {
    for entry in state.index.entries() {
        for version in entry.versions() {
            let held = values::Held {
                key: entry.key.clone(),
                version: version.clone(),
            };
            let text = match reader.value(&held) {
                Ok(_) => continue,
                Err(Error::Corrupt(text)) => text,
                Err(error) => error.to_string(),
            };
            let rev = version.mod_rev;
            found
                .damage
                .push(format!("keyspace {id}, revision {rev}: {text}"));
        }
    }
}

/// Removes checkpoints that belong to no keyspace: remains of deletions and of crashes. The entries
/// are in the order of their numbers.
pub(super) fn remove_strays(
    dir: &Path,
    options: &Options,
    entries: &[CatalogEntry],
    ciphers: &dyn Fn(u64) -> Result<Ciphers>,
) -> Result<()> {
    let folder = dir.join("keyspaces");
    let known = |name: &str| {
        let number = u64::from_str_radix(name, 16).ok()?;
        let found = entries.binary_search_by_key(&number, |entry| entry.number);
        // Others spell a number differently.
        let found = found.ok().filter(|_| name == format!("{number:016x}"))?;
        entries.get(found)
    };
    let remove = |name: &str| {
        let removed = options.disk.remove(&folder.join(name));
        removed.map_err(|e| unavailable(&e))
    };
    let mut generations: BTreeMap<u64, Vec<u16>> = BTreeMap::new();
    for name in options.disk.list(&folder).map_err(|e| unavailable(&e))? {
        let Some((number, ending)) = name.split_once('.') else {
            continue;
        };
        let generation = ending.strip_prefix('v');
        let generation = generation.and_then(|text| u16::from_str_radix(text, 16).ok());
        let ours = ending == "ckpt" || ending == checkpoint::DRAFT || generation.is_some();
        // The draft of one that is known is written over by its next checkpoint.
        match (known(number), generation) {
            (None, _) if ours => remove(&name)?,
            (Some(entry), Some(generation)) => {
                generations
                    .entry(entry.number)
                    .or_default()
                    .push(generation);
            }
            _ => {}
        }
    }
    // A crash while the values moved to another file left both: the checkpoint says which.
    for entry in entries {
        let Some(files) = generations
            .get(&entry.number)
            .filter(|files| files.len() > 1)
        else {
            continue;
        };
        let slot = Slot::new(entry.clone(), Vec::new());
        let read = ciphers(entry.number)
            .and_then(|ciphers| opening::read(dir, &*options.disk, &slot, &ciphers.checkpoint));
        // One that cannot be read is reported to whoever opens it.
        let Ok((_, values, _)) = read else {
            continue;
        };
        let current = values.current().generation;
        for generation in files.iter().filter(|generation| **generation != current) {
            remove(&format!("{:016x}.v{generation:04x}", entry.number))?;
        }
    }
    Ok(())
}

//! What memory holds of one keyspace, and the rules of its transactions. No I/O in here.

use super::index::{Entry, Index, Version, stored_size};
use super::plan::DELETE_WEIGHT;
use super::record::{Change, Record};
use super::values::{Held, Value};
use super::watch::WatchQueue;
use crate::{Error, Head, LeaseId, Result, span::Span};
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

/// One key's part in a revision.
#[derive(Debug)]
pub(crate) struct Happened {
    pub(crate) now: Held,
    pub(crate) prev: Option<Version>,
}

/// All that happened in one revision.
#[derive(Debug)]
pub(crate) struct Commit {
    pub(crate) rev: u64,
    pub(crate) events: Vec<Happened>,
    pub(crate) at_ms: u64,
    /// what a watcher that waits for it is charged
    pub(crate) bytes: u64,
    /// what forgetting it will free
    pub(crate) superseded: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Lease {
    pub(crate) ttl: u64,
    pub(crate) deadline_ms: u64,
    pub(crate) keys: BTreeSet<Bytes>,
}

/// What may still be done with this copy of the keyspace.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Phase {
    #[default]
    Open,
    /// asleep: whoever still holds this copy loads a new one
    Retired,
    Deleted,
}

#[derive(Debug, Default)]
pub(crate) struct State {
    pub(crate) index: Index,
    /// highest revision in the index
    pub(crate) applied: u64,
    /// highest durable revision: what readers see
    pub(crate) visible: u64,
    pub(crate) compacted: u64,
    pub(crate) bytes: u64,
    pub(crate) visible_keys: u64,
    keys: u64,
    /// durable revisions behind `floor`, from the compact revision on
    pub(crate) history: VecDeque<Arc<Commit>>,
    pub(crate) history_bytes: u64,
    /// what happened up to here is known only from the index: it was so when loaded
    pub(crate) floor: u64,
    /// there may be something to forget that `history` does not name
    old: bool,
    /// a pass over all keys to forget it: where it is, and for which compact revision
    sweep: Option<(Bytes, u64)>,
    swept: u64,
    pub(crate) loaded_ms: u64,
    /// bytes in the log that no checkpoint covers
    pub(crate) tail_bytes: u64,
    /// applied, not yet durable
    staged: Vec<Arc<Commit>>,
    /// keys to purge, by compaction
    pub(crate) purge: VecDeque<Arc<Commit>>,
    /// events of the first of these that are done
    purged: usize,
    pub(crate) leases: BTreeMap<LeaseId, Lease>,
    pub(crate) watchers: Vec<Arc<WatchQueue>>,
    pub(crate) phase: Phase,
    /// changed by the commit round under way
    pub(crate) in_round: bool,
    /// segment of the oldest record that no checkpoint covers
    pub(crate) dirty_from: Option<u64>,
    /// the same of a checkpoint that is being written
    pub(crate) saving: Option<u64>,
}

impl State {
    /// An empty keyspace is at revision 1, as an empty etcd is.
    pub(crate) fn new() -> Self {
        Self {
            applied: 1,
            visible: 1,
            ..Self::default()
        }
    }

    pub(crate) fn head(&self) -> Head {
        Head {
            rev: self.visible,
            compact_rev: self.compacted,
            bytes: self.bytes,
            keys: self.visible_keys,
        }
    }

    /// A single key, without a snapshot.
    pub(crate) fn get(&self, key: &[u8], rev: u64) -> Option<Held> {
        let entry = self.index.get(key)?;
        entry.at(rev).map(|version| Held {
            key: entry.key.clone(),
            version: version.clone(),
        })
    }

    /// A key that is there now.
    pub(crate) fn live(&self, key: &[u8]) -> Option<&Entry> {
        self.index.get(key).filter(|entry| entry.newest.alive())
    }

    pub(crate) fn current(&self, key: &[u8]) -> Option<Held> {
        self.live(key).map(|entry| Held {
            key: entry.key.clone(),
            version: entry.newest.clone(),
        })
    }

    /// The oldest segment with a record that no finished checkpoint covers.
    pub(crate) fn needed_from(&self) -> Option<u64> {
        self.saving.into_iter().chain(self.dirty_from).min()
    }

    /// What ending a lease costs the commit thread.
    pub(crate) fn revoke_cost(&self, id: LeaseId) -> usize {
        let keys = self.leases.get(&id).map_or(0, |lease| lease.keys.len());
        128 + keys * DELETE_WEIGHT
    }

    /// Works out the end of a lease.
    pub(crate) fn plan_revoke(&self, id: LeaseId) -> Result<Record> {
        let lease = self.leases.get(&id).ok_or(Error::LeaseNotFound(id))?;
        let delete = |key: &Bytes| Change {
            key: key.clone(),
            put: None,
        };
        let changes: Vec<_> = lease.keys.iter().map(delete).collect();
        let rev = if changes.is_empty() {
            0
        } else {
            self.applied + 1
        };
        Ok(Record::Revoke { id, rev, changes })
    }

    /// Bytes and keys that a list of changes would add.
    pub(crate) fn growth(&self, changes: &[Change]) -> (u64, u64) {
        let mut keys = 0;
        let mut bytes = 0;
        for change in changes {
            if let Some((value, _)) = &change.put {
                bytes += (change.key.len() + value.len() + 64) as u64;
                keys += u64::from(self.live(&change.key).is_none());
            }
        }
        (bytes, keys)
    }

    /// How long the log of this keyspace may get before a checkpoint: half of what a checkpoint
    /// costs at least, so that the list of keys is not written over and over.
    pub(crate) fn longest_tail(&self, tail_bytes: u64) -> u64 {
        tail_bytes + self.keys * 50
    }

    pub(crate) fn live_keys(&self) -> u64 {
        self.keys
    }

    /// Applies a record that is on its way to the disk, or came from it. `None` when it does
    /// not follow from the state (only possible when a file is damaged).
    pub(crate) fn apply(&mut self, record: Record, now_ms: u64) -> Option<()> {
        match record {
            Record::Changes { rev, changes } => self.apply_changes(rev, changes, now_ms),
            Record::Compact { rev } => {
                self.compacted = self.compacted.max(rev);
                Some(())
            }
            Record::Grant {
                id,
                ttl,
                deadline_ms,
            } => {
                let lease = Lease {
                    ttl,
                    deadline_ms,
                    keys: BTreeSet::new(),
                };
                self.leases.insert(id, lease).is_none().then_some(())
            }
            Record::Renew { id, deadline_ms } => {
                self.leases.get_mut(&id)?.deadline_ms = deadline_ms;
                Some(())
            }
            Record::Revoke { id, rev, changes } => {
                if rev != 0 {
                    self.apply_changes(rev, changes, now_ms)?;
                }
                self.leases.remove(&id).map(|_| ())
            }
        }
    }

    fn apply_changes(&mut self, rev: u64, changes: Vec<Change>, now_ms: u64) -> Option<()> {
        if rev != self.applied + 1 {
            return None;
        }
        let mut events = Vec::with_capacity(changes.len());
        let (mut size, mut superseded) = (0, 0);
        for (sub, change) in changes.into_iter().enumerate() {
            let sub = u32::try_from(sub).ok()?;
            let (key, prev) = match self.index.get(&change.key) {
                Some(entry) => (
                    entry.key.clone(),
                    Some(entry.newest.clone()).filter(Version::alive),
                ),
                None => (change.key, None),
            };
            let deleted = change.put.is_none();
            let prev_held = prev.clone().map(|version| Held {
                key: key.clone(),
                version,
            });
            let version = match change.put {
                Some((value, lease)) => next_version(&value, lease, rev, sub, prev_held.as_ref()),
                None => Version {
                    value: Value::new(Bytes::new()),
                    create_rev: 0,
                    mod_rev: rev,
                    version: 0,
                    lease: 0,
                    sub,
                },
            };
            self.move_lease(&key, prev.as_ref().map_or(0, |p| p.lease), version.lease)?;
            size += stored_size(key.len(), &version);
            superseded += prev.as_ref().map_or(64, |p| 64 + stored_size(key.len(), p));
            self.keys = self.keys + u64::from(!deleted) - u64::from(prev.is_some());
            self.index.put(&key, version.clone());
            let now = Held { key, version };
            events.push(Happened { now, prev });
        }
        self.applied = rev;
        self.bytes += size;
        self.staged.push(Arc::new(Commit {
            rev,
            events,
            at_ms: now_ms,
            bytes: size,
            superseded,
        }));
        Some(())
    }

    fn move_lease(&mut self, key: &Bytes, from: LeaseId, to: LeaseId) -> Option<()> {
        if from == to {
            return Some(());
        }
        if let Some(lease) = self.leases.get_mut(&from) {
            lease.keys.remove(key);
        }
        if to != 0 {
            self.leases.get_mut(&to)?.keys.insert(key.clone());
        }
        Some(())
    }

    /// What was applied is durable: readers and watchers may see it.
    pub(crate) fn publish(&mut self) {
        self.in_round = false;
        self.visible = self.applied;
        self.visible_keys = self.keys;
        for commit in std::mem::take(&mut self.staged) {
            for watcher in &self.watchers {
                watcher.offer(&commit);
            }
            self.history_bytes += commit.superseded;
            self.history.push_back(commit);
        }
        while self
            .history
            .front()
            .is_some_and(|commit| commit.rev < self.compacted)
        {
            let commit = self.history.pop_front().expect("just looked at it");
            self.history_bytes -= commit.superseded;
            self.purge.push_back(commit);
        }
        if self.old && self.sweep.is_none() && self.compacted > self.swept {
            self.sweep = Some((Bytes::new(), self.compacted));
        }
    }

    /// Whether [`State::purge_slice`] has something to do.
    pub(crate) fn wants_purge(&self) -> bool {
        !self.purge.is_empty() || self.sweep.is_some()
    }

    /// One slice of forgetting; false when nothing is left to do.
    pub(crate) fn purge_slice(&mut self, keys: usize) -> bool {
        let mut done = 0;
        while done < keys {
            let Some(commit) = self.purge.front().cloned() else {
                return self.sweep_slice(keys);
            };
            let rest = &commit.events[self.purged..];
            let some = &rest[..rest.len().min(keys - done)];
            for event in some {
                let (freed, _) = self.index.purge(&event.now.key, self.compacted);
                self.bytes -= freed.min(self.bytes);
            }
            done += some.len();
            self.purged += some.len();
            if some.len() == rest.len() {
                self.purge.pop_front();
                self.purged = 0;
            }
        }
        true
    }

    fn sweep_slice(&mut self, keys: usize) -> bool {
        let Some((cursor, compacted)) = self.sweep.take() else {
            return false;
        };
        let (freed, next) = self.index.sweep(&cursor, keys, compacted);
        self.bytes -= freed.min(self.bytes);
        match next {
            Some(next) => {
                self.sweep = Some((next, compacted));
                true
            }
            None => {
                self.swept = compacted;
                // Deletions at the compact revision itself are events until it moves on.
                self.old = compacted <= self.floor;
                if self.old && self.compacted > compacted {
                    self.sweep = Some((Bytes::new(), self.compacted));
                }
                self.wants_purge()
            }
        }
    }

    /// Works out what a checkpoint does not say: sizes, and which keys are under a lease.
    pub(crate) fn rebuild(&mut self) -> Option<()> {
        let sums = Sums::of(&self.index);
        self.adopt(std::iter::once(sums))
    }

    /// The same with the sums of all parts of the index.
    pub(crate) fn adopt(&mut self, parts: impl Iterator<Item = Sums>) -> Option<()> {
        (self.bytes, self.keys) = (0, 0);
        for sums in parts {
            self.bytes += sums.bytes;
            self.keys += sums.keys;
            self.old |= sums.old;
            for (key, lease) in sums.attached {
                self.leases.get_mut(&lease)?.keys.insert(key);
            }
        }
        self.floor = self.applied;
        self.swept = self.compacted;
        self.publish();
        Some(())
    }
}

/// What is known of an index only when all of it has been looked at.
#[derive(Default)]
pub(crate) struct Sums {
    bytes: u64,
    keys: u64,
    /// there is something to forget
    old: bool,
    attached: Vec<(Bytes, LeaseId)>,
}

impl Sums {
    pub(crate) fn of(index: &Index) -> Self {
        let mut sums = Self::default();
        for entry in index.entries() {
            for version in entry.versions() {
                sums.bytes += stored_size(entry.key.len(), version);
            }
            sums.old |= !entry.older.is_empty() || !entry.newest.alive();
            sums.keys += u64::from(entry.newest.alive());
            if entry.newest.alive() && entry.newest.lease != 0 {
                sums.attached.push((entry.key.clone(), entry.newest.lease));
            }
        }
        sums
    }
}

/// What happened from `from` on, as far as the index knows it, in order.
pub(crate) fn history_of(
    index: &Index,
    span: &Span,
    from: u64,
    upto: u64,
) -> VecDeque<Arc<Commit>> {
    let mut events: Vec<Happened> = Vec::new();
    for entry in index.entries().filter(|entry| span.contains(&entry.key)) {
        let mut prev: Option<&Version> = None;
        for version in entry.versions() {
            if version.mod_rev >= from && version.mod_rev <= upto && version.mod_rev > 0 {
                events.push(Happened {
                    now: Held {
                        key: entry.key.clone(),
                        version: version.clone(),
                    },
                    prev: prev.filter(|p| p.alive()).cloned(),
                });
            }
            prev = Some(version);
        }
    }
    events.sort_unstable_by_key(|event| (event.now.version.mod_rev, event.now.version.sub));
    let mut history: VecDeque<Arc<Commit>> = VecDeque::new();
    let mut events = events.into_iter().peekable();
    while let Some(first) = events.next() {
        let rev = first.now.version.mod_rev;
        let mut together = vec![first];
        while let Some(event) = events.next_if(|event| event.now.version.mod_rev == rev) {
            together.push(event);
        }
        history.push_back(Arc::new(Commit {
            rev,
            events: together,
            at_ms: 0,
            bytes: 0,
            superseded: 0,
        }));
    }
    history
}

pub(crate) fn next_version(
    value: &Bytes,
    lease: LeaseId,
    rev: u64,
    sub: u32,
    prev: Option<&Held>,
) -> Version {
    Version {
        value: Value::new(value.clone()),
        create_rev: prev.map_or(rev, |p| p.version.create_rev),
        mod_rev: rev,
        version: prev.map_or(0, |p| p.version.version) + 1,
        lease,
        sub,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_one_commit_left_is_forgotten_in_slices() {
        let mut state = State::new();
        let change = |n: u32, value: Option<&'static str>| Change {
            key: format!("k{n:04}").into(),
            put: value.map(|value| (value.into(), 0)),
        };
        for (rev, value) in [(2, Some("v")), (3, None), (4, Some("w"))] {
            let changes = (0..1000).map(|n| change(n, value)).collect();
            let record = Record::Changes { rev, changes };
            state.apply(record, 0).expect("it follows");
        }
        state
            .apply(Record::Compact { rev: 4 }, 0)
            .expect("it follows");
        state.publish();
        let versions = |state: &State| -> usize {
            let entries = state.index.entries();
            entries.map(|entry| entry.versions().count()).sum()
        };
        assert_eq!(versions(&state), 3000);
        let mut slices = 0;
        loop {
            let before = versions(&state);
            let more = state.purge_slice(64);
            assert!(
                before - versions(&state) <= 2 * 64,
                "two versions of 64 keys"
            );
            if !more {
                break;
            }
            slices += 1;
        }
        assert_eq!(versions(&state), 1000);
        assert!(slices >= 2000 / 64, "{slices}");
        assert!(!state.wants_purge());
    }
}

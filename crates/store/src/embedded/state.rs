//! What memory holds of one keyspace, and the rules of its transactions. No I/O in here.

use super::index::{Index, Version, stored_size};
use super::record::{Change, Record};
use super::watch::WatchQueue;
use crate::{Error, Event, Head, KeyValue, LeaseId, Range, RangeReply, Result};
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

/// All events of one revision.
#[derive(Debug)]
pub(crate) struct Commit {
    pub(crate) rev: u64,
    pub(crate) events: Vec<Event>,
    pub(crate) at_ms: u64,
    pub(crate) bytes: u64,
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
    /// durable revisions from the compact revision on
    pub(crate) history: VecDeque<Arc<Commit>>,
    pub(crate) history_bytes: u64,
    /// applied, not yet durable
    staged: Vec<Arc<Commit>>,
    /// keys to purge, by compaction
    pub(crate) purge: VecDeque<Arc<Commit>>,
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

    /// The revision a range reads, and a snapshot to read it from.
    pub(crate) fn pin(&self, rev: u64) -> Result<(Index, u64)> {
        if rev > self.visible {
            return Err(Error::Future(self.visible));
        }
        if rev != 0 && rev < self.compacted {
            return Err(Error::Compacted(self.compacted));
        }
        let rev = if rev == 0 { self.visible } else { rev };
        Ok((self.index.clone(), rev))
    }

    /// A single key, without a snapshot.
    pub(crate) fn get(&self, range: &Range) -> RangeReply {
        let rev = if range.rev == 0 {
            self.visible
        } else {
            range.rev
        };
        let found = self
            .index
            .get(&range.lo)
            .and_then(|entry| entry.at(rev).map(|version| version.to_kv(&entry.key)));
        let count = u64::from(found.is_some());
        let mut kvs: Vec<KeyValue> = found.into_iter().filter(|_| !range.count_only).collect();
        if range.keys_only {
            kvs.iter_mut().for_each(|kv| kv.value = Bytes::new());
        }
        RangeReply {
            head_rev: self.visible,
            kvs,
            count,
            more: false,
        }
    }

    pub(crate) fn current(&self, key: &[u8]) -> Option<KeyValue> {
        let entry = self.index.get(key)?;
        entry.newest.alive().then(|| entry.newest.to_kv(&entry.key))
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
                keys += u64::from(
                    !self
                        .index
                        .get(&change.key)
                        .is_some_and(|e| e.newest.alive()),
                );
            }
        }
        (bytes, keys)
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
        let mut size = 0;
        for (sub, change) in changes.into_iter().enumerate() {
            let (key, prev) = match self.index.get(&change.key) {
                Some(entry) => (
                    entry.key.clone(),
                    entry.newest.alive().then(|| entry.newest.to_kv(&entry.key)),
                ),
                None => (change.key, None),
            };
            let deleted = change.put.is_none();
            let kv = match change.put {
                Some((value, lease)) => next_kv(&key, &value, lease, rev, &prev),
                None => KeyValue {
                    key: key.clone(),
                    value: Bytes::new(),
                    create_rev: 0,
                    mod_rev: rev,
                    version: 0,
                    lease: 0,
                },
            };
            self.move_lease(&key, prev.as_ref().map_or(0, |p| p.lease), kv.lease)?;
            let version = Version {
                value: kv.value.clone(),
                mod_rev: rev,
                create_rev: kv.create_rev,
                version: kv.version,
                lease: kv.lease,
                sub: u32::try_from(sub).ok()?,
            };
            size += stored_size(key.len(), &version);
            self.keys = self.keys + u64::from(!deleted) - u64::from(prev.is_some());
            self.index.put(&key, version);
            events.push(Event { kv, deleted, prev });
        }
        self.applied = rev;
        self.bytes += size;
        self.staged.push(Arc::new(Commit {
            rev,
            events,
            at_ms: now_ms,
            bytes: size,
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
            self.history_bytes += commit.bytes;
            self.history.push_back(commit);
        }
        while self
            .history
            .front()
            .is_some_and(|commit| commit.rev < self.compacted)
        {
            let commit = self.history.pop_front().expect("just looked at it");
            self.history_bytes -= commit.bytes;
            self.purge.push_back(commit);
        }
    }

    /// One slice of forgetting; false when nothing is left to do.
    pub(crate) fn purge_slice(&mut self, keys: usize) -> bool {
        let mut done = 0;
        while done < keys {
            let Some(commit) = self.purge.pop_front() else {
                return false;
            };
            for event in &commit.events {
                let (freed, _) = self.index.purge(&event.kv.key, self.compacted);
                self.bytes -= freed.min(self.bytes);
            }
            done += commit.events.len();
        }
        true
    }

    /// Rebuilds what a checkpoint does not say: history, sizes, lease keys.
    pub(crate) fn rebuild(&mut self, now_ms: u64) -> Option<()> {
        let mut events: Vec<(u64, u32, Event)> = Vec::new();
        let mut attached: Vec<(Bytes, LeaseId)> = Vec::new();
        (self.bytes, self.keys) = (0, 0);
        for entry in self.index.entries() {
            let mut prev: Option<&Version> = None;
            for version in entry.versions() {
                self.bytes += stored_size(entry.key.len(), version);
                if version.mod_rev >= self.compacted && version.mod_rev > 0 {
                    let event = Event {
                        kv: version.to_kv(&entry.key),
                        deleted: !version.alive(),
                        prev: prev.filter(|p| p.alive()).map(|p| p.to_kv(&entry.key)),
                    };
                    events.push((version.mod_rev, version.sub, event));
                }
                prev = Some(version);
            }
            self.keys += u64::from(entry.newest.alive());
            if entry.newest.alive() && entry.newest.lease != 0 {
                attached.push((entry.key.clone(), entry.newest.lease));
            }
        }
        for (key, lease) in attached {
            self.leases.get_mut(&lease)?.keys.insert(key);
        }
        events.sort_unstable_by_key(|(rev, sub, _)| (*rev, *sub));
        for (rev, _, event) in events {
            let bytes = (event.kv.key.len() + event.kv.value.len() + 64) as u64;
            self.history_bytes += bytes;
            match self.history.back_mut().filter(|commit| commit.rev == rev) {
                Some(commit) => {
                    let commit = Arc::get_mut(commit)?;
                    commit.events.push(event);
                    commit.bytes += bytes;
                }
                None => {
                    let events = vec![event];
                    self.history.push_back(Arc::new(Commit {
                        rev,
                        events,
                        at_ms: now_ms,
                        bytes,
                    }));
                }
            }
        }
        self.publish();
        Some(())
    }
}

pub(crate) fn next_kv(
    key: &Bytes,
    value: &Bytes,
    lease: LeaseId,
    rev: u64,
    prev: &Option<KeyValue>,
) -> KeyValue {
    KeyValue {
        key: key.clone(),
        value: value.clone(),
        create_rev: prev.as_ref().map_or(rev, |p| p.create_rev),
        mod_rev: rev,
        version: prev.as_ref().map_or(0, |p| p.version) + 1,
        lease,
    }
}

//! The reference model: the contract in the plainest possible words, without a disk.
//!
//! It keeps every version of every key in one list and answers by looking through it. Tests of
//! other crates use it as a store; the engines' suites use it to say what is right.

use crate::{
    Compare, Error, Event, Head, KeyValue, Keyspaces, Lease, LeaseId, Op, OpResult, Range,
    RangeReply, Result, Store, Txn, TxnReply, Watch, WatchItem, WatchStream, limits, span::Span,
};
use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// All keyspaces, in memory.
#[derive(Default)]
pub struct Memory {
    stores: Mutex<BTreeMap<String, Arc<MemoryStore>>>,
}

/// One keyspace.
#[derive(Clone)]
pub struct MemoryStore {
    model: Arc<Mutex<Model>>,
    /// told of every change, and of every wish for progress
    changed: watch::Sender<()>,
}

#[derive(Clone, Debug)]
struct Change {
    rev: u64,
    kv: KeyValue,
    deleted: bool,
}

#[derive(Clone, Default)]
struct Model {
    rev: u64,
    compacted: u64,
    /// every change that may still be read, oldest first
    changes: Vec<Change>,
    /// granted time and end
    leases: BTreeMap<LeaseId, (u64, Instant)>,
    last_lease: LeaseId,
    /// how often progress was asked for
    progress: u64,
    deleted: bool,
}

impl Memory {
    /// No keyspaces yet.
    pub fn new() -> Arc<Self> {
        Arc::default()
    }
}

impl MemoryStore {
    /// An empty keyspace outside any set of keyspaces.
    pub fn new() -> Arc<Self> {
        let model = Model {
            rev: 1,
            ..Model::default()
        };
        Arc::new(Self {
            model: Arc::new(model.into()),
            changed: watch::Sender::new(()),
        })
    }

    /// A copy that goes its own way: tests try out what may have happened.
    #[doc(hidden)]
    #[must_use]
    pub fn fork(&self) -> Arc<Self> {
        Arc::new(Self {
            model: Arc::new(self.model.lock().clone().into()),
            changed: watch::Sender::new(()),
        })
    }

    /// The model, with what has expired gone.
    fn now(&self) -> Result<parking_lot::MutexGuard<'_, Model>> {
        let mut model = self.model.lock();
        if model.deleted {
            return Err(Error::Deleted);
        }
        let now = Instant::now();
        let ended: Vec<_> = model
            .leases
            .iter()
            .filter(|(_, (_, at))| *at <= now)
            .map(|(id, _)| *id)
            .collect();
        for lease in &ended {
            model.revoke(*lease)?;
        }
        if !ended.is_empty() {
            self.changed.send_replace(());
        }
        Ok(model)
    }
}

impl Model {
    fn at(&self, key: &[u8], rev: u64) -> Option<&KeyValue> {
        let last = self
            .changes
            .iter()
            .rev()
            .find(|c| c.kv.key == key && c.rev <= rev)?;
        (!last.deleted).then_some(&last.kv)
    }

    /// The live keys of a range at a revision, in order.
    fn within(&self, span: &Span, rev: u64) -> BTreeMap<Bytes, KeyValue> {
        let mut found = BTreeMap::new();
        for change in self
            .changes
            .iter()
            .filter(|c| c.rev <= rev && span.contains(&c.kv.key))
        {
            if change.deleted {
                found.remove(&change.kv.key);
            } else {
                found.insert(change.kv.key.clone(), change.kv.clone());
            }
        }
        found
    }

    fn holds(&self, compare: &Compare) -> bool {
        let ((lo, hi), (field, relation)) = (compare.span(), compare.test());
        if hi.is_empty() {
            return field.holds(relation, self.at(lo, self.rev));
        }
        let found = self.within(&Span::new(lo.clone(), hi.clone()), self.rev);
        if found.is_empty() {
            field.holds(relation, None)
        } else {
            found.values().all(|kv| field.holds(relation, Some(kv)))
        }
    }

    fn txn(&mut self, txn: &Txn) -> Result<TxnReply> {
        let mut path = Vec::new();
        self.decide(txn, &mut path)?;
        let before = self.changes.len();
        let rev = self.rev + 1;
        let mut path = path.into_iter();
        let mut reply = self.run(txn, &mut path, rev);
        if self.changes.len() > before {
            self.rev = rev;
        }
        reply.rev = self.rev;
        Ok(reply)
    }

    /// Which branches a transaction and those inside take, in order; refuses what cannot be done.
    fn decide(&self, txn: &Txn, path: &mut Vec<bool>) -> Result<()> {
        let succeeded = txn.compares.iter().all(|compare| self.holds(compare));
        path.push(succeeded);
        for op in if succeeded { &txn.then } else { &txn.otherwise } {
            let lease = match op {
                Op::Txn(inner) => {
                    self.decide(inner, path)?;
                    None
                }
                Op::Update { key, .. } if self.at(key, self.rev).is_none() => {
                    return Err(Error::KeyNotFound);
                }
                Op::Update { lease, .. } => *lease,
                Op::Put { lease, .. } => Some(*lease),
                Op::Range(range) => {
                    range.at(self.rev, self.compacted)?;
                    None
                }
                _ => None,
            };
            if let Some(lease) = lease.filter(|lease| *lease != 0)
                && !self.leases.contains_key(&lease)
            {
                return Err(Error::LeaseNotFound(lease));
            }
        }
        Ok(())
    }

    fn run(&mut self, txn: &Txn, path: &mut std::vec::IntoIter<bool>, rev: u64) -> TxnReply {
        let succeeded = path.next().unwrap_or_default();
        let mut results = Vec::new();
        for op in if succeeded { &txn.then } else { &txn.otherwise } {
            results.push(match op {
                Op::Txn(inner) => OpResult::Txn(self.run(inner, path, rev)),
                Op::Range(range) => {
                    let now = if self.changes.last().is_some_and(|c| c.rev == rev) {
                        rev
                    } else {
                        self.rev
                    };
                    OpResult::Range(self.read(range, now))
                }
                op => self.op(op, rev),
            });
        }
        TxnReply {
            succeeded,
            rev,
            results,
        }
    }

    fn op(&mut self, op: &Op, rev: u64) -> OpResult {
        match op {
            Op::Get { key } => OpResult::Got(self.at(key, rev).cloned()),
            Op::Put { key, value, lease } => self.put(key, Some(value), Some(*lease), rev),
            Op::Update { key, value, lease } => self.put(key, value.as_ref(), *lease, rev),
            Op::Delete { key } => self.delete(&Span::new(key.clone(), Bytes::new()), rev),
            Op::DeleteRange { lo, hi } => self.delete(&Span::new(lo.clone(), hi.clone()), rev),
            Op::Range(_) | Op::Txn(_) => unreachable!("`run` does these"),
        }
    }

    fn put(
        &mut self,
        key: &Bytes,
        value: Option<&Bytes>,
        lease: Option<LeaseId>,
        rev: u64,
    ) -> OpResult {
        let prev = self.at(key, rev).cloned();
        let kept = prev.clone().unwrap_or(KeyValue {
            key: key.clone(),
            value: Bytes::new(),
            create_rev: rev,
            mod_rev: rev,
            version: 0,
            lease: 0,
        });
        let kv = KeyValue {
            value: value.cloned().unwrap_or(kept.value),
            lease: lease.unwrap_or(kept.lease),
            mod_rev: rev,
            version: kept.version + 1,
            ..kept
        };
        self.changes.push(Change {
            rev,
            kv,
            deleted: false,
        });
        OpResult::Put { prev }
    }

    /// A (checked) range when the keyspace is at revision `now`.
    fn read(&self, range: &Range, now: u64) -> RangeReply {
        let rev = if range.rev == 0 { now } else { range.rev };
        let span = Span::new(range.lo.clone(), range.hi.clone());
        let found = if span.is_empty() {
            BTreeMap::new()
        } else {
            self.within(&span, rev)
        };
        let count = found.len() as u64;
        let limit = if range.limit == 0 {
            usize::MAX
        } else {
            range.limit
        };
        let mut kvs: Vec<_> = found.into_values().take(limit).collect();
        if range.count_only {
            kvs.clear();
        }
        if range.keys_only {
            kvs.iter_mut().for_each(|kv| kv.value = Bytes::new());
        }
        let more = !range.count_only && (kvs.len() as u64) < count;
        RangeReply {
            head_rev: now,
            kvs,
            count,
            more,
        }
    }

    fn delete(&mut self, span: &Span, rev: u64) -> OpResult {
        let prev: Vec<_> = self.within(span, rev).into_values().collect();
        for kv in &prev {
            let kv = KeyValue {
                key: kv.key.clone(),
                value: Bytes::new(),
                create_rev: 0,
                mod_rev: rev,
                version: 0,
                lease: 0,
            };
            self.changes.push(Change {
                rev,
                kv,
                deleted: true,
            });
        }
        OpResult::Deleted { prev }
    }

    fn grant(&mut self, lease: LeaseId, ttl_seconds: u64) {
        let seconds = ttl_seconds.max(1);
        let end = Instant::now() + Duration::from_secs(seconds);
        self.leases.insert(lease, (seconds, end));
    }

    /// The keys under a lease.
    fn leased(&self, lease: LeaseId) -> impl Iterator<Item = Bytes> + use<> {
        let all = Span::new(Bytes::new(), Bytes::from_static(&[0]));
        let kvs = self.within(&all, self.rev).into_values();
        kvs.filter(move |kv| kv.lease == lease).map(|kv| kv.key)
    }

    fn revoke(&mut self, lease: LeaseId) -> Result<()> {
        self.leases
            .remove(&lease)
            .ok_or(Error::LeaseNotFound(lease))?;
        let then = self.leased(lease).map(|key| Op::Delete { key }).collect();
        self.txn(&Txn {
            then,
            ..Txn::default()
        })
        .map(|_| ())
    }

    fn compact(&mut self, rev: u64) -> Result<()> {
        if rev <= self.compacted {
            return Err(Error::Compacted(self.compacted));
        }
        if rev > self.rev {
            return Err(Error::Future(self.rev));
        }
        self.compacted = rev;
        let mut newest: BTreeMap<Bytes, usize> = BTreeMap::new();
        for (n, change) in self
            .changes
            .iter()
            .enumerate()
            .filter(|(_, c)| c.rev <= rev)
        {
            newest.insert(change.kv.key.clone(), n);
        }
        let mut n = 0;
        self.changes.retain(|change| {
            n += 1;
            let last = newest.get(&change.kv.key) == Some(&(n - 1));
            change.rev >= rev || last && !change.deleted
        });
        Ok(())
    }

    /// The events of the first revision from `next` on, filtered.
    fn events(&self, watch: &Watch, next: u64) -> Option<(u64, Vec<Event>)> {
        let rev = self
            .changes
            .iter()
            .map(|c| c.rev)
            .find(|rev| *rev >= next)?;
        let span = Span::new(watch.lo.clone(), watch.hi.clone());
        let of_rev = self
            .changes
            .iter()
            .filter(|c| c.rev == rev && span.contains(&c.kv.key));
        let event = |change: &Change| Event {
            kv: change.kv.clone(),
            deleted: change.deleted,
            prev: self
                .at(&change.kv.key, rev - 1)
                .filter(|_| watch.prev_kv)
                .cloned(),
        };
        Some((rev, of_rev.map(event).collect()))
    }
}

#[async_trait]
impl Store for MemoryStore {
    async fn head(&self) -> Result<Head> {
        let model = self.now()?;
        let all = Span::new(Bytes::new(), Bytes::from_static(&[0]));
        let bytes = model
            .changes
            .iter()
            .map(|c| (c.kv.key.len() + c.kv.value.len() + 64) as u64)
            .sum();
        Ok(Head {
            rev: model.rev,
            compact_rev: model.compacted,
            bytes,
            keys: model.within(&all, model.rev).len() as u64,
        })
    }

    async fn txn(&self, txn: Txn) -> Result<TxnReply> {
        limits::check_txn(&txn)?;
        let reply = self.now()?.txn(&txn);
        self.changed.send_replace(());
        reply
    }

    async fn range(&self, range: Range) -> Result<RangeReply> {
        limits::check_span(&range.lo, &range.hi)?;
        let model = self.now()?;
        range.at(model.rev, model.compacted)?;
        Ok(model.read(&range, model.rev))
    }

    async fn watch(&self, watch: Watch) -> Result<WatchStream> {
        limits::check_span(&watch.lo, &watch.hi)?;
        let (head, progress) = {
            let model = self.now()?;
            (model.rev, model.progress)
        };
        let next = if watch.start_rev == 0 {
            head + 1
        } else {
            watch.start_rev
        };
        let (store, changed) = (self.clone(), self.changed.subscribe());
        let cursor = Cursor {
            store,
            changed,
            watch,
            next,
            progress,
            caught_up: false,
        };
        Ok(futures::stream::unfold(Some(cursor), Cursor::step).boxed())
    }

    async fn compact(&self, rev: u64) -> Result<()> {
        self.now()?.compact(rev)
    }

    async fn lease_grant(&self, ttl_seconds: u64) -> Result<LeaseId> {
        limits::check_ttl(ttl_seconds)?;
        let mut model = self.now()?;
        model.last_lease += 1;
        while model.leases.contains_key(&model.last_lease) {
            model.last_lease += 1;
        }
        let id = model.last_lease;
        model.grant(id, ttl_seconds);
        drop(model);
        // Whoever waits must know when the next lease ends.
        self.changed.send_replace(());
        Ok(id)
    }

    async fn lease_grant_as(&self, lease: LeaseId, ttl_seconds: u64) -> Result<()> {
        limits::check_ttl(ttl_seconds)?;
        limits::check_lease_id(lease)?;
        let mut model = self.now()?;
        if model.leases.contains_key(&lease) {
            return Err(Error::LeaseExists(lease));
        }
        model.grant(lease, ttl_seconds);
        drop(model);
        self.changed.send_replace(());
        Ok(())
    }

    async fn lease_renew(&self, lease: LeaseId) -> Result<u64> {
        let mut model = self.now()?;
        let granted = model.leases.get(&lease).map(|(granted, _)| *granted);
        let granted = granted.ok_or(Error::LeaseNotFound(lease))?;
        model.grant(lease, granted);
        Ok(granted)
    }

    async fn lease(&self, lease: LeaseId) -> Result<Lease> {
        let model = self.now()?;
        let (granted, end) = model
            .leases
            .get(&lease)
            .copied()
            .ok_or(Error::LeaseNotFound(lease))?;
        Ok(Lease {
            granted,
            remaining: end.saturating_duration_since(Instant::now()),
            keys: model.leased(lease).collect(),
        })
    }

    async fn leases(&self) -> Result<Vec<LeaseId>> {
        Ok(self.now()?.leases.keys().copied().collect())
    }

    async fn lease_revoke(&self, lease: LeaseId) -> Result<()> {
        let done = self.now()?.revoke(lease);
        self.changed.send_replace(());
        done
    }

    async fn progress(&self) -> Result<()> {
        self.now()?.progress += 1;
        self.changed.send_replace(());
        Ok(())
    }
}

/// One watch: where it is.
struct Cursor {
    store: MemoryStore,
    changed: watch::Receiver<()>,
    watch: Watch,
    next: u64,
    /// wishes for progress already granted
    progress: u64,
    caught_up: bool,
}

/// What a cursor finds when it looks.
enum Look {
    Item(WatchItem),
    Last(Result<WatchItem>),
    /// nothing until something changes or a lease ends
    Wait(Option<Instant>),
}

impl Cursor {
    async fn step(cursor: Option<Self>) -> Option<(Result<WatchItem>, Option<Self>)> {
        let mut cursor = cursor?;
        loop {
            cursor.changed.mark_unchanged();
            match cursor.look() {
                Look::Item(item) => return Some((Ok(item), Some(cursor))),
                Look::Last(item) => return Some((item, None)),
                Look::Wait(lease) => {
                    let rest = lease.map_or(Duration::from_secs(3600), |at| {
                        at.saturating_duration_since(Instant::now())
                    });
                    // The store lives as long as this cursor, so only time can run out.
                    drop(tokio::time::timeout(rest, cursor.changed.changed()).await);
                }
            }
        }
    }

    fn look(&mut self) -> Look {
        let model = match self.store.now() {
            Ok(model) => model,
            Err(error) => return Look::Last(Err(error)),
        };
        if self.next < model.compacted {
            return Look::Last(Ok(WatchItem::Compacted {
                rev: model.compacted,
            }));
        }
        while let Some((rev, events)) = model.events(&self.watch, self.next) {
            self.next = rev + 1;
            if !events.is_empty() {
                return Look::Item(WatchItem::Events { rev, events });
            }
        }
        if !self.caught_up || self.progress < model.progress {
            self.caught_up = true;
            self.progress = model.progress;
            return Look::Item(WatchItem::Progress { rev: model.rev });
        }
        Look::Wait(model.leases.values().map(|(_, end)| *end).min())
    }
}

#[async_trait]
impl Keyspaces for Memory {
    async fn open(&self, id: &str) -> Result<Arc<dyn Store>> {
        let mut stores = self.stores.lock();
        Ok(stores
            .entry(id.to_owned())
            .or_insert_with(MemoryStore::new)
            .clone())
    }

    async fn sleep(&self, _: &str) -> Result<()> {
        Ok(())
    }

    async fn delete(&self, id: &str) -> Result<()> {
        if let Some(store) = self.stores.lock().remove(id) {
            store.model.lock().deleted = true;
            store.changed.send_replace(());
        }
        Ok(())
    }

    async fn list(&self) -> Result<Vec<String>> {
        Ok(self.stores.lock().keys().cloned().collect())
    }
}

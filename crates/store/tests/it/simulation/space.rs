//! What is known of one keyspace: what was answered since the last check, and the model.

use super::now;
use crate::support::everything;
use bytes::Bytes;
use freehold_store::memory::MemoryStore;
use freehold_store::{
    Event, LeaseId, OpResult, Range, RangeReply, Store, Txn, TxnReply, Watch, WatchItem,
};
use futures::StreamExt;
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::sync::Arc;

/// What is known of a lease.
#[derive(Clone, Copy, Debug)]
pub(super) struct Known {
    pub(super) ttl: u64,
    /// it must not end before, unless it is revoked
    pub(super) earliest: u64,
    /// it must have ended then, when everybody has had a turn
    pub(super) latest: u64,
    /// renewals that nobody was answered
    pub(super) renewing: u32,
    pub(super) revoked: Asked,
    /// nobody was told whether there is this lease
    pub(super) unsure: bool,
}

impl Known {
    pub(super) fn ask(&mut self, asked: Asked) {
        if self.revoked != Asked::Done {
            self.revoked = asked;
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    No,
    Maybe,
    Done,
}

/// What somebody watched, and what came.
pub(super) struct Watched {
    pub(super) watch: Watch,
    pub(super) events: Vec<(u64, Vec<Event>)>,
}

/// One keyspace, from its making to its end.
pub(super) struct Space {
    pub(super) id: String,
    pub(super) store: RefCell<Arc<dyn Store>>,
    pub(super) model: RefCell<Arc<MemoryStore>>,
    /// the highest revision that anybody has been shown
    pub(super) shown: Cell<u64>,
    pub(super) txns: RefCell<Vec<(Txn, TxnReply)>>,
    /// nobody was told whether these were done
    pub(super) unknown: RefCell<Vec<Txn>>,
    pub(super) ranges: RefCell<Vec<(Range, RangeReply)>>,
    pub(super) watched: RefCell<Vec<Watched>>,
    pub(super) leases: RefCell<BTreeMap<LeaseId, Known>>,
    /// highest compaction that was answered, and highest that was asked for
    pub(super) compacted: Cell<u64>,
    pub(super) asked: Cell<u64>,
    /// what the one who watches everything has seen, and when
    pub(super) observed: RefCell<BTreeMap<u64, (u64, Vec<Event>)>>,
    pub(super) observed_to: Cell<u64>,
    pub(super) observing: Cell<bool>,
    /// how often it was checked
    pub(super) part: Cell<u64>,
    /// keys that it may have
    pub(super) quota: Cell<Option<u64>>,
    /// its deletion was asked for, and answered
    pub(super) deleting: Cell<bool>,
    pub(super) deleted: Cell<bool>,
    /// what was last answered of a key, to compare with
    pub(super) last: RefCell<BTreeMap<Bytes, (u64, Bytes)>>,
}

impl Space {
    pub(super) fn new(id: String, store: Arc<dyn Store>) -> Self {
        Self {
            id,
            store: store.into(),
            model: MemoryStore::new().into(),
            shown: 1.into(),
            txns: RefCell::default(),
            unknown: RefCell::default(),
            ranges: RefCell::default(),
            watched: RefCell::default(),
            leases: RefCell::default(),
            compacted: 0.into(),
            asked: 0.into(),
            observed: RefCell::default(),
            observed_to: 1.into(),
            observing: false.into(),
            part: 0.into(),
            quota: None.into(),
            deleting: false.into(),
            deleted: false.into(),
            last: RefCell::default(),
        }
    }

    pub(super) fn store(&self) -> Arc<dyn Store> {
        self.store.borrow().clone()
    }

    pub(super) fn show(&self, rev: u64) {
        self.shown.set(self.shown.get().max(rev));
    }
}

/// Whether a transaction has changed something.
pub(super) fn changed(reply: &TxnReply) -> bool {
    reply.results.iter().any(|result| match result {
        OpResult::Put { .. } => true,
        OpResult::Deleted { prev } => !prev.is_empty(),
        OpResult::Txn(inner) => changed(inner),
        OpResult::Got(_) | OpResult::Range(_) => false,
    })
}

/// The model's events from a revision on.
pub(super) fn history(model: &MemoryStore, from: u64) -> BTreeMap<u64, Vec<Event>> {
    let everything = everything(0);
    let watch = Watch {
        lo: everything.lo,
        hi: everything.hi,
        start_rev: from,
        prev_kv: true,
    };
    let mut stream = now(model.watch(watch)).expect("the model");
    let mut all = BTreeMap::new();
    while let Some(Ok(WatchItem::Events { rev, events })) = now(stream.next()) {
        all.insert(rev, events);
    }
    all
}

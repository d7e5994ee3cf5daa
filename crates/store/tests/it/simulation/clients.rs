//! What clients do, and what may be answered to them at once. The rest is judged by the model.

use super::World;
use super::scheduler::Kind;
use super::space::{Asked, Known, Space, Watched, changed};
use crate::support::everything;
use bytes::Bytes;
use freehold_store::{
    Compare, Error, Keyspaces, LeaseId, Op, OpResult, Range, Store, Txn, TxnReply, Watch, WatchItem,
};
use futures::StreamExt;
use std::rc::Rc;

const KEYS: u64 = 20;
const MOST_LEASES: usize = 4;

fn with_lease(space: &Space, lease: LeaseId, work: impl FnOnce(&mut Known)) {
    if let Some(known) = space.leases.borrow_mut().get_mut(&lease) {
        work(known);
    }
}

/// Whether a transaction may put something.
fn puts(txn: &Txn) -> bool {
    let ops = txn.then.iter().chain(&txn.otherwise);
    ops.into_iter()
        .any(|op| matches!(op, Op::Put { .. } | Op::Update { .. }))
}

impl World {
    fn key(&self) -> Bytes {
        format!("k{:02}", self.scheduler.below(KEYS)).into()
    }

    fn value(&self) -> Bytes {
        let most = match self.scheduler.below(20) {
            0 => 3000,
            1..5 => 400,
            _ => 24,
        };
        let byte = b'a' + u8::try_from(self.scheduler.below(26)).expect("small");
        let len = usize::try_from(self.scheduler.below(most)).expect("small");
        vec![byte; len].into()
    }

    fn lease_of(&self, space: &Space) -> Option<LeaseId> {
        let leases = space.leases.borrow();
        let sure = leases.iter().filter(|(_, known)| !known.unsure);
        let ids: Vec<LeaseId> = sure.map(|(id, _)| *id).collect();
        let n = self.scheduler.below(ids.len().max(1) as u64);
        ids.get(usize::try_from(n).expect("small")).copied()
    }

    fn op(&self, space: &Space) -> Op {
        let key = self.key();
        match self.scheduler.below(20) {
            0..8 => Op::Put {
                key,
                value: self.value(),
                lease: 0,
            },
            8..10 => Op::Put {
                key,
                value: self.value(),
                lease: self.lease_of(space).unwrap_or(0),
            },
            10..15 => Op::Delete { key },
            15 => Op::DeleteRange {
                lo: key,
                hi: self.key(),
            },
            16 => Op::Range(Range {
                lo: key,
                hi: self.key(),
                ..Range::default()
            }),
            17 => Op::Update {
                key,
                value: None,
                lease: Some(0),
            },
            _ => Op::Get { key },
        }
    }

    fn compare(&self, space: &Space) -> (Bytes, Compare) {
        let key = self.key();
        let last = space.last.borrow().get(&key).cloned();
        let (rev, value) = last.unwrap_or_default();
        let compare = match self.scheduler.below(4) {
            0 => Compare::Value(key.clone(), value),
            1 => Compare::CreateRev(key.clone(), 0),
            _ => Compare::ModRev(key.clone(), rev),
        };
        (key, compare)
    }

    fn txn(&self, space: &Space) -> Txn {
        let mut txn = Txn::default();
        if self.scheduler.rarely(3) {
            let (key, compare) = self.compare(space);
            txn.compares.push(compare);
            txn.otherwise.push(Op::Get { key });
        }
        let most = if self.scheduler.rarely(4) { 3 } else { 1 };
        for _ in 0..=self.scheduler.below(most) {
            txn.then.push(self.op(space));
        }
        txn
    }

    /// A client does one thing with one keyspace.
    pub(super) fn start_client(self: &Rc<Self>, space: &Rc<Space>) {
        let (world, space) = (self.clone(), space.clone());
        match self.scheduler.below(100) {
            0..62 => {
                let txn = self.txn(&space);
                self.spawn(async move { world.write(&space, txn).await });
            }
            62..78 => self.spawn(async move { world.read(&space).await }),
            78..84 => self.spawn(async move { world.lease(&space).await }),
            84..88 => self.spawn(async move { world.compact(&space).await }),
            88..92 => self.spawn(async move { world.sleep(&space).await }),
            92..95 => self.start_watch(space),
            95 if self.scheduler.rarely(4) => {
                self.spawn(async move { world.delete(&space).await });
            }
            _ => {
                self.spawn(async move {
                    let done = space.store().progress().await;
                    world.expect(&space, done);
                });
            }
        }
    }

    fn spawn(&self, work: impl Future<Output = ()> + 'static) {
        self.scheduler.spawn(Kind::Client, work);
    }

    async fn write(&self, space: &Space, txn: Txn) {
        let (floor, deleted) = (space.shown.get(), space.deleted.get());
        let failed = self.log_has_failed();
        let reply = space.store().txn(txn.clone()).await;
        match reply {
            Ok(reply) => {
                assert!(!deleted, "written to what was deleted: {txn:?}");
                self.scheduler
                    .note(reply.rev << 1 | u64::from(reply.succeeded));
                let least = floor + u64::from(changed(&reply));
                assert!(reply.rev >= least, "{floor} was shown: {reply:?}");
                assert!(!failed || !changed(&reply), "the log has failed: {reply:?}");
                self.written(space, txn, reply);
            }
            Err(Error::NoSpace(text)) => {
                self.scheduler.note(1);
                let quota = space.quota.get().is_some() && text.contains("keys");
                let refused = self.was_full.get() && (puts(&txn) || !self.deletions_have_room());
                assert!(quota || refused, "{text}: {txn:?}");
            }
            Err(Error::LeaseNotFound(lease)) => self.lease_may_be_gone(space, lease),
            Err(Error::Invalid(_) | Error::KeyNotFound | Error::Throttled(_)) => {
                self.scheduler.note(2);
            }
            Err(Error::Unavailable(_)) => {
                self.scheduler.note(3);
                space.unknown.borrow_mut().push(txn);
            }
            Err(error) => self.expect(space, Err(error)),
        }
    }

    fn written(&self, space: &Space, txn: Txn, reply: TxnReply) {
        space.show(reply.rev);
        if changed(&reply) && puts(&txn) && !self.full.get() {
            self.rounds_since_room.set(0);
        }
        let mut last = space.last.borrow_mut();
        let ops = if reply.succeeded {
            &txn.then
        } else {
            &txn.otherwise
        };
        for (op, result) in ops.iter().zip(&reply.results) {
            match (op, result) {
                (Op::Put { key, value, .. }, _) => {
                    last.insert(key.clone(), (reply.rev, value.clone()));
                }
                (Op::Get { key }, OpResult::Got(Some(kv))) => {
                    last.insert(key.clone(), (kv.mod_rev, kv.value.clone()));
                }
                _ => {}
            }
        }
        drop(last);
        space.txns.borrow_mut().push((txn, reply));
    }

    async fn read(&self, space: &Space) {
        let (floor, compacted) = (space.shown.get(), space.compacted.get());
        let deleted = space.deleted.get();
        let rev = match self.scheduler.below(3) {
            0 => (floor + 1).saturating_sub(self.scheduler.below(12)).max(1),
            _ => 0,
        };
        let range = match self.scheduler.below(4) {
            0 => everything(rev),
            1 => Range {
                lo: self.key(),
                rev,
                ..Range::default()
            },
            _ => Range {
                lo: self.key(),
                hi: self.key(),
                rev,
                limit: usize::try_from(self.scheduler.below(5)).expect("small"),
                keys_only: self.scheduler.rarely(4),
                count_only: self.scheduler.rarely(6),
            },
        };
        match space.store().range(range.clone()).await {
            Ok(reply) => {
                assert!(!deleted, "read what was deleted: {range:?}");
                self.scheduler.note(reply.head_rev << 8 | reply.count);
                assert!(reply.head_rev >= floor, "{floor} was shown: {reply:?}");
                assert!(rev == 0 || rev >= compacted, "forgotten: {range:?}");
                space.show(reply.head_rev);
                space.ranges.borrow_mut().push((range, reply));
            }
            Err(Error::Compacted(at)) => assert!(rev != 0 && rev < at && at <= space.shown.get()),
            Err(Error::Future(at)) => assert!(rev > at && at >= floor, "{range:?} {at} {floor}"),
            Err(error) => self.expect(space, Err(error)),
        }
    }

    async fn compact(&self, space: &Space) {
        // Whoever watches everything has seen it.
        let rev = space.observed_to.get();
        let rev = rev.saturating_sub(self.scheduler.below(10));
        space.asked.set(space.asked.get().max(rev));
        let floor = space.compacted.get();
        match space.store().compact(rev).await {
            Ok(()) => {
                assert!(rev > floor, "{rev} after {floor}");
                space.compacted.set(space.compacted.get().max(rev));
            }
            Err(Error::Compacted(at)) => assert!(at >= rev),
            Err(error) => self.expect(space, Err(error)),
        }
    }

    async fn sleep(&self, space: &Space) {
        let engine = self.engine();
        let done = engine.sleep(&space.id).await;
        self.slept_ms.set(self.hand.now_ms());
        self.expect(space, done);
    }

    /// What may be answered when something is wrong with the disk, or when it was deleted.
    pub(super) fn expect(&self, space: &Space, done: Result<(), Error>) {
        let Err(error) = done else {
            return self.scheduler.note(4);
        };
        self.scheduler.note(5);
        match error {
            Error::Unavailable(_) | Error::Throttled(_) => {}
            Error::NoSpace(_) => assert!(self.was_full.get(), "{error}"),
            Error::Deleted => assert!(space.deleting.get(), "{error}"),
            error => panic!("{}: {error}", space.id),
        }
    }

    async fn lease(&self, space: &Space) {
        let some = self.lease_of(space);
        let most = space.leases.borrow().len() >= MOST_LEASES;
        let began = self.hand.now_ms();
        let Some(lease) = some.filter(|_| most || !self.scheduler.rarely(3)) else {
            return self.grant(space, began).await;
        };
        match self.scheduler.below(3) {
            0 => {
                let ask = |asked| with_lease(space, lease, |known| known.ask(asked));
                ask(Asked::Maybe);
                match space.store().lease_revoke(lease).await {
                    Ok(()) => ask(Asked::Done),
                    Err(Error::LeaseNotFound(lease)) => self.lease_may_be_gone(space, lease),
                    Err(error) => self.expect(space, Err(error)),
                }
            }
            1 => {
                // It may be renewed before that is answered, or without.
                with_lease(space, lease, |known| known.renewing += 1);
                match space.store().lease_renew(lease).await {
                    Ok(ttl) => with_lease(space, lease, |known| {
                        assert_eq!(ttl, known.ttl);
                        known.renewing -= 1;
                        known.earliest = known.earliest.max(began + ttl * 1000);
                        known.latest = known.latest.max(self.hand.now_ms() + ttl * 1000);
                    }),
                    Err(Error::LeaseNotFound(lease)) => self.lease_may_be_gone(space, lease),
                    Err(error) => self.expect(space, Err(error)),
                }
            }
            _ => match space.store().lease(lease).await {
                Ok(found) => self.scheduler.note(found.keys.len() as u64),
                Err(Error::LeaseNotFound(lease)) => self.lease_may_be_gone(space, lease),
                Err(error) => self.expect(space, Err(error)),
            },
        }
    }

    async fn grant(&self, space: &Space, began: u64) {
        let lease = i64::try_from(self.leases.get() + 1).expect("few");
        self.leases.set(self.leases.get() + 1);
        let ttl = 1 + self.scheduler.below(8);
        let known = Known {
            ttl,
            earliest: began + ttl * 1000,
            latest: u64::MAX,
            renewing: 0,
            revoked: Asked::No,
            unsure: true,
        };
        space.leases.borrow_mut().insert(lease, known);
        match space.store().lease_grant_as(lease, ttl).await {
            Ok(()) => {
                let latest = self.hand.now_ms() + ttl * 1000;
                let unsure = false;
                let known = Known {
                    latest,
                    unsure,
                    ..known
                };
                space.leases.borrow_mut().insert(lease, known);
                // The model is told when it ends.
                let model = space.model.borrow().clone();
                super::now(model.lease_grant_as(lease, 1_000_000)).expect("a new one");
            }
            Err(Error::NoSpace(_)) if self.was_full.get() => {
                space.leases.borrow_mut().remove(&lease);
            }
            Err(error) => self.expect(space, Err(error)),
        }
    }

    fn lease_may_be_gone(&self, space: &Space, lease: LeaseId) {
        self.scheduler.note(6);
        let known = space.leases.borrow().get(&lease).copied();
        if let Some(known) = known {
            let over = known.earliest <= self.hand.now_ms();
            let may = over || known.unsure || known.revoked != Asked::No;
            assert!(may, "lease {lease} is gone: {known:?}");
        }
    }

    fn start_watch(self: &Rc<Self>, space: Rc<Space>) {
        let start = space.shown.get() + 1;
        let start = start.saturating_sub(self.scheduler.below(10));
        let watch = Watch {
            lo: self.key(),
            hi: self.key(),
            start_rev: start.max(space.compacted.get()).max(1),
            prev_kv: false,
        };
        let most = 1 + self.scheduler.below(30);
        let world = self.clone();
        let work = async move {
            let mut stream = match space.store().watch(watch.clone()).await {
                Ok(stream) => stream,
                Err(error) => return world.expect(&space, Err(error)),
            };
            let n = {
                let mut watched = space.watched.borrow_mut();
                let events = Vec::new();
                watched.push(Watched { watch, events });
                watched.len() - 1
            };
            let part = space.part.get();
            for _ in 0..most {
                match stream.next().await {
                    Some(Ok(WatchItem::Events { rev, events })) if part == space.part.get() => {
                        world.scheduler.note(rev);
                        space.show(rev);
                        space.watched.borrow_mut()[n].events.push((rev, events));
                    }
                    Some(Ok(WatchItem::Progress { rev })) => space.show(rev),
                    _ => return,
                }
            }
        };
        self.scheduler.spawn(Kind::Watch, work);
    }

    /// Whoever watches everything, from where the one before came to.
    pub(super) fn observe(self: &Rc<Self>, space: &Rc<Space>) {
        space.observing.set(true);
        let (world, space) = (self.clone(), space.clone());
        let work = async move {
            let end = world.observed(&space).await;
            space.observing.set(false);
            match end {
                Ok(()) | Err(Error::SlowWatcher) => {}
                Err(error) => world.expect(&space, Err(error)),
            }
        };
        self.scheduler.spawn(Kind::Watch, work);
    }

    async fn observed(&self, space: &Space) -> Result<(), Error> {
        let everything = everything(0);
        let watch = Watch {
            lo: everything.lo,
            hi: everything.hi,
            start_rev: space.observed_to.get() + 1,
            prev_kv: true,
        };
        let mut stream = space.store().watch(watch).await?;
        while let Some(item) = stream.next().await {
            let to = space.observed_to.get();
            match item? {
                WatchItem::Events { rev, events } => {
                    self.scheduler.note(rev);
                    assert_eq!(rev, to + 1, "each revision once, in order");
                    space.observed_to.set(rev);
                    let when = self.hand.now_ms();
                    space.observed.borrow_mut().insert(rev, (when, events));
                    space.show(rev);
                }
                WatchItem::Progress { rev } => assert_eq!(rev, to, "all up to it has come"),
                WatchItem::Compacted { rev } => panic!("{} forgot {rev} behind {to}", space.id),
            }
        }
        Ok(())
    }

    async fn delete(self: &Rc<Self>, space: &Rc<Space>) {
        if space.deleting.replace(true) {
            return;
        }
        let engine = self.engine();
        let done = engine.delete(&space.id).await;
        self.slept_ms.set(self.hand.now_ms());
        if done.is_err() {
            self.broken.set(true);
            return self.expect(space, done);
        }
        space.deleted.set(true);
        // Interrupted, the next start makes it.
        match engine.open(&space.id).await {
            Ok(store) => self.made(space, Space::new(space.id.clone(), store)),
            Err(error) => {
                self.broken.set(true);
                self.expect(space, Err(error));
            }
        }
    }
}

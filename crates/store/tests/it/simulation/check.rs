//! When all are at rest: what was answered is what the model answers, revision by revision.

use super::space::{Asked, Known, Space, changed, history};
use super::{World, now};
use crate::support::{all, everything};
use freehold_store::memory::MemoryStore;
use freehold_store::{Event, LeaseId, Range, RangeReply, Store, Txn, TxnReply};
use std::collections::BTreeMap;
use std::rc::Rc;

/// When keyspaces are read after a start whose leases only the log knows.
const SURVEY_MS: u64 = 1000;
/// When the end of a lease is asked for again that was refused.
const AGAIN_MS: u64 = 5000;

/// What was answered, by the revision that it was answered at.
struct Answers {
    writes: BTreeMap<u64, (Txn, TxnReply)>,
    reads: BTreeMap<u64, Vec<(Txn, TxnReply)>>,
    ranges: BTreeMap<u64, Vec<(Range, RangeReply)>>,
    unknown: Vec<Txn>,
    observed: BTreeMap<u64, (u64, Vec<Event>)>,
}

impl Answers {
    fn take(space: &Space) -> Self {
        let (mut writes, mut reads, mut ranges) = (
            BTreeMap::new(),
            BTreeMap::<_, Vec<_>>::new(),
            BTreeMap::<_, Vec<_>>::new(),
        );
        for (txn, reply) in space.txns.take() {
            match changed(&reply) {
                true => {
                    let before = writes.insert(reply.rev, (txn, reply));
                    assert!(before.is_none(), "one revision twice: {before:?}");
                }
                false => reads.entry(reply.rev).or_default().push((txn, reply)),
            }
        }
        for (range, reply) in space.ranges.take() {
            ranges
                .entry(reply.head_rev)
                .or_default()
                .push((range, reply));
        }
        Self {
            writes,
            reads,
            ranges,
            unknown: space.unknown.take(),
            observed: space.observed.take(),
        }
    }
}

impl World {
    /// Compares all keyspaces with their models; everybody is at rest.
    pub(super) fn check(self: &Rc<Self>) {
        for space in self.gone.take() {
            let model = space.model.borrow().clone();
            let mut answers = Answers::take(&space);
            let head = now(model.head()).expect("the model").rev;
            self.replay(&space, &mut answers, head, u64::MAX);
        }
        let spaces = self.spaces.borrow().clone();
        if self.scheduler.rarely(4) {
            // Leases end in time, also of who sleeps.
            self.hand.put_on(12_000);
            self.rest();
        }
        for space in &spaces {
            for lease in now(space.store().leases()).expect("it can be read") {
                let known = space.leases.borrow().get(&lease).copied();
                if let Some(known) = known {
                    self.has_not_ended(space, (lease, known));
                }
            }
        }
        for space in &spaces {
            now(space.store().head()).expect("it can be read");
            if !space.observing.get() {
                self.observe(space);
            }
        }
        self.quiet.set(true);
        self.rest();
        for space in &spaces {
            self.check_space(space);
        }
        self.quiet.set(false);
    }

    fn check_space(&self, space: &Space) {
        let store = space.store();
        let head = now(store.head()).expect("head");
        let model = space.model.borrow().clone();
        assert!(
            head.rev >= space.shown.get(),
            "{}: {head:?}, {} was shown",
            space.id,
            space.shown.get()
        );
        let before = now(model.head()).expect("the model");
        let mut answers = Answers::take(space);
        self.replay(space, &mut answers, before.rev, head.rev);
        for rest in [
            answers.writes.keys().next(),
            answers.reads.keys().next(),
            answers.ranges.keys().next(),
        ] {
            assert_eq!(rest, None, "{}: answered, and lost: {head:?}", space.id);
        }
        let events = history(&model, before.rev + 1);
        let observed: BTreeMap<_, _> = answers
            .observed
            .into_iter()
            .map(|(rev, (_, e))| (rev, e))
            .collect();
        assert!(
            observed == events,
            "{}: watched {observed:#?}, was {events:#?}",
            space.id
        );
        self.check_watches(space, &model);
        self.check_leases(space, &model);
        self.check_compaction(space, &model, head.compact_rev);
        let same = now(model.head()).expect("the model");
        assert_eq!((head.rev, head.keys), (same.rev, same.keys));
        for rev in [
            0,
            head.compact_rev + self.scheduler.below(head.rev - head.compact_rev + 1),
        ] {
            let (one, two) = (now(all(&*store, rev)), now(all(&*model, rev)));
            assert_eq!(one, two, "{} at {rev}", space.id);
        }
        self.scheduler.note(head.rev);
        space.observed_to.set(head.rev);
        space.part.set(space.part.get() + 1);
        let quota = self
            .scheduler
            .rarely(6)
            .then(|| head.keys + self.scheduler.below(3));
        space.quota.set(quota);
        self.set_quota(space);
    }

    /// Brings the model from one revision to another, comparing each answer on the way. Of a
    /// keyspace that is gone only what was answered is known.
    fn replay(&self, space: &Space, answers: &mut Answers, from: u64, to: u64) {
        let model = space.model.borrow().clone();
        let mut rev = from;
        loop {
            for (txn, reply) in answers.reads.remove(&rev).unwrap_or_default() {
                assert_eq!(
                    now(model.txn(txn.clone())),
                    Ok(reply),
                    "{}: {txn:?}",
                    space.id
                );
            }
            for (range, reply) in answers.ranges.remove(&rev).unwrap_or_default() {
                assert_eq!(
                    now(model.range(range.clone())),
                    Ok(reply),
                    "{}: {range:?}",
                    space.id
                );
            }
            if rev == to {
                return;
            }
            rev += 1;
            match answers.writes.remove(&rev) {
                Some((txn, reply)) => {
                    let keys = || now(model.head()).expect("the model").keys;
                    let quota = space.quota.get().map(|most| most.max(keys()));
                    assert_eq!(
                        now(model.txn(txn.clone())),
                        Ok(reply),
                        "{}: {txn:?}",
                        space.id
                    );
                    assert!(quota.is_none_or(|most| keys() <= most), "over quota");
                }
                None if to == u64::MAX => return,
                None => self.explain(space, &model, answers, rev),
            }
        }
    }

    /// A revision that nobody was told of: a lease ended, or it was not known to be done.
    fn explain(&self, space: &Space, model: &MemoryStore, answers: &mut Answers, rev: u64) {
        let (when, events) = answers.observed.get(&rev).expect("all was watched");
        let same = |fork: &MemoryStore| history(fork, rev).get(&rev) == Some(events);
        let alive = now(space.store().leases()).expect("leases");
        let leases = space.leases.borrow().clone();
        // One that is still there did not end: somebody else deleted its keys.
        for (lease, known) in leases
            .into_iter()
            .filter(|(lease, _)| !alive.contains(lease))
        {
            let fork = model.fork();
            if now(fork.lease_revoke(lease)).is_ok() && same(&fork) {
                let may = known.earliest <= *when || known.revoked != Asked::No;
                assert!(
                    may,
                    "{}: lease {lease} ended too early, at {when}: {known:?}",
                    space.id
                );
                now(model.lease_revoke(lease)).expect("it was tried");
                space.leases.borrow_mut().remove(&lease);
                return;
            }
        }
        let done = answers.unknown.iter().position(|txn| {
            let fork = model.fork();
            now(fork.txn(txn.clone())).is_ok() && same(&fork)
        });
        let Some(done) = done else {
            panic!("{}: nobody asked for {rev}: {events:#?}", space.id);
        };
        let txn = answers.unknown.remove(done);
        now(model.txn(txn)).expect("it was tried");
    }

    fn check_watches(&self, space: &Space, model: &MemoryStore) {
        for watched in space.watched.take() {
            let Some((last, _)) = watched.events.last() else {
                continue;
            };
            let inside = |event: &Event| {
                let (lo, hi) = (&watched.watch.lo, &watched.watch.hi);
                event.kv.key >= lo && event.kv.key < hi
            };
            let mut expected = Vec::new();
            for (rev, events) in history(model, watched.watch.start_rev) {
                let mut events: Vec<Event> = events.into_iter().filter(inside).collect();
                events.iter_mut().for_each(|event| event.prev = None);
                if rev <= *last && !events.is_empty() {
                    expected.push((rev, events));
                }
            }
            assert_eq!(
                watched.events, expected,
                "{}: {:?}",
                space.id, watched.watch
            );
        }
    }

    fn check_leases(&self, space: &Space, model: &MemoryStore) {
        let store = space.store();
        let real = now(store.leases()).expect("leases");
        let now_ms = self.hand.now_ms();
        let leases = space.leases.borrow().clone();
        for (lease, known) in leases {
            if real.contains(&lease) {
                self.check_lease(space, (lease, known));
                let keys = now(store.lease(lease)).expect("it is there").keys;
                assert_eq!(keys, now(model.lease(lease)).expect("it is there").keys);
                continue;
            }
            let may = known.earliest <= now_ms || known.unsure || known.revoked != Asked::No;
            assert!(may, "{}: lease {lease} is lost: {known:?}", space.id);
            space.leases.borrow_mut().remove(&lease);
            let before = now(model.head()).expect("the model").rev;
            drop(now(model.lease_revoke(lease)));
            let after = now(model.head()).expect("the model").rev;
            assert_eq!(before, after, "{}: lease {lease} left its keys", space.id);
        }
        for lease in real {
            assert!(
                space.leases.borrow().contains_key(&lease),
                "lease {lease} is nobody's"
            );
        }
    }

    fn check_lease(&self, space: &Space, (lease, known): (LeaseId, Known)) {
        assert!(
            known.revoked != Asked::Done,
            "{}: lease {lease} was revoked",
            space.id
        );
        if known.unsure {
            drop(now(space.model.borrow().lease_grant_as(lease, 1_000_000)));
            let sure = Known {
                unsure: false,
                ..known
            };
            space.leases.borrow_mut().insert(lease, sure);
        } else {
            self.has_not_ended(space, (lease, known));
        }
    }

    /// It is still there; is that right?
    fn has_not_ended(&self, space: &Space, (lease, known): (LeaseId, Known)) {
        if known.renewing > 0 || known.unsure || self.full.get() {
            return;
        }
        // Not read yet after a start, or refused by a full disk or by who was to fall asleep, and
        // asked for again.
        let started = self.started_ms.get() + SURVEY_MS;
        let full = self.full_ms.get() + AGAIN_MS;
        let tried = self.slept_ms.get() + AGAIN_MS;
        let now_ms = self.hand.now_ms();
        let over = now_ms >= known.latest.max(started).max(full).max(tried);
        assert!(
            !over,
            "{}: lease {lease} has not ended at {now_ms}: {known:?}",
            space.id
        );
    }

    fn check_compaction(&self, space: &Space, model: &MemoryStore, real: u64) {
        let before = now(model.head()).expect("the model").compact_rev;
        assert!(
            real >= space.compacted.get() && real >= before,
            "{}: {real}",
            space.id
        );
        if real > space.asked.get() {
            // What is old is forgotten unasked.
            space.asked.set(real);
        }
        if real > before {
            now(model.compact(real)).expect("the model follows");
        }
        space.compacted.set(real);
        let range = everything(real.saturating_sub(1));
        if real > 1 {
            assert_eq!(
                now(space.store().range(range.clone())),
                now(model.range(range))
            );
        }
    }
}

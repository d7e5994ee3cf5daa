//! What a batch of transactions does to what was read: pure.

use crate::limits::MAX_TXN_KEYS;
use crate::span::Span;
use crate::{
    Compare, Error, Event, KeyValue, LeaseId, Op, OpResult, Quota, Range, RangeReply, Result, Txn,
    TxnReply,
};
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

/// The locked row of the keyspace.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Sums {
    pub(super) rev: u64,
    pub(super) compacted: u64,
    pub(super) keys: u64,
    pub(super) bytes: u64,
}

/// What was read under the lock.
#[derive(Default)]
pub(super) struct Seen {
    pub(super) sums: Sums,
    /// live keys that the batch may touch; a touched key that is missing does not exist
    pub(super) rows: BTreeMap<Bytes, KeyValue>,
    pub(super) leases: BTreeSet<LeaseId>,
    /// ranges of older revisions
    pub(super) older: Vec<(Range, RangeReply)>,
}

/// One revision's events, in the order of their keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Commit {
    pub(super) rev: u64,
    pub(super) events: Vec<Event>,
}

/// A batch, carried out in memory.
pub(super) struct Planned {
    pub(super) replies: Vec<Result<TxnReply>>,
    pub(super) commits: Vec<Commit>,
    pub(super) before: Sums,
    pub(super) after: Sums,
    /// keys that changed, as they are at the end
    pub(super) last: BTreeMap<Bytes, Option<KeyValue>>,
    /// leases to remove
    pub(super) leases: Vec<LeaseId>,
}

/// The bytes that a version of a key counts for.
pub(super) fn weight(kv: &KeyValue) -> u64 {
    (kv.key.len() + kv.value.len() + 64) as u64
}

impl Planned {
    pub(super) fn nothing(sums: Sums) -> Self {
        Self {
            replies: Vec::new(),
            commits: Vec::new(),
            before: sums,
            after: sums,
            last: BTreeMap::new(),
            leases: Vec::new(),
        }
    }

    /// Whether there is anything to write.
    pub(super) fn writes(&self) -> bool {
        self.before != self.after || !self.leases.is_empty()
    }
}

/// Carries out transactions one after the other.
pub(super) fn plan(seen: Seen, txns: &[&Txn], quota: Quota) -> Planned {
    let mut planned = Planned::nothing(seen.sums);
    let mut work = Work {
        rows: seen.rows,
        leases: seen.leases,
        older: seen.older,
        quota,
    };
    for txn in txns {
        let reply = work.txn(txn, &mut planned);
        planned.replies.push(reply);
    }
    planned
}

/// Ends leases: their keys are deleted in one revision.
pub(super) fn revoke(seen: Seen) -> Planned {
    let mut planned = Planned::nothing(seen.sums);
    planned.leases = seen.leases.iter().copied().collect();
    let rev = seen.sums.rev + 1;
    let events: Vec<_> = seen
        .rows
        .into_values()
        .map(|kv| deletion(kv, rev))
        .collect();
    commit(&mut planned, rev, events);
    planned
}

fn deletion(prev: KeyValue, rev: u64) -> Event {
    let kv = KeyValue {
        key: prev.key.clone(),
        value: Bytes::new(),
        create_rev: 0,
        mod_rev: rev,
        version: 0,
        lease: 0,
    };
    Event {
        kv,
        deleted: true,
        prev: Some(prev),
    }
}

fn commit(planned: &mut Planned, rev: u64, mut events: Vec<Event>) {
    if events.is_empty() {
        return;
    }
    events.sort_by(|a, b| a.kv.key.cmp(&b.kv.key));
    let sums = &mut planned.after;
    sums.rev = rev;
    for event in &events {
        sums.bytes += weight(&event.kv);
        let now = (!event.deleted).then(|| event.kv.clone());
        match (&event.prev, &now) {
            (None, Some(_)) => sums.keys += 1,
            (Some(_), None) => sums.keys -= 1,
            _ => {}
        }
        planned.last.insert(event.kv.key.clone(), now);
    }
    planned.commits.push(Commit { rev, events });
}

struct Work {
    rows: BTreeMap<Bytes, KeyValue>,
    leases: BTreeSet<LeaseId>,
    older: Vec<(Range, RangeReply)>,
    quota: Quota,
}

/// What a transaction will do, found before it does anything.
#[derive(Default)]
struct Decided {
    /// which branches it and those inside take, in order
    path: Vec<bool>,
    puts: bool,
    bytes: u64,
    keys: u64,
}

/// A transaction at work.
struct Run {
    path: std::vec::IntoIter<bool>,
    before: u64,
    rev: u64,
    events: Vec<Event>,
    /// keys that its ranges have found
    returned: usize,
}

impl Work {
    fn holds(&self, compare: &Compare) -> bool {
        let ((lo, hi), (field, relation)) = (compare.span(), compare.test());
        if hi.is_empty() {
            return field.holds(relation, self.rows.get(lo));
        }
        let span = Span::new(lo.clone(), hi.clone());
        let mut found = self.within(&span).peekable();
        match found.peek() {
            None => field.holds(relation, None),
            Some(_) => found.all(|kv| field.holds(relation, Some(kv))),
        }
    }

    /// The live keys of a span, in order.
    fn within(&self, span: &Span) -> impl Iterator<Item = &KeyValue> {
        let from = (Bound::Included(&span.lo[..]), Bound::Unbounded);
        let rows = (!span.is_empty()).then(|| self.rows.range::<[u8], _>(from));
        let end = span.clone();
        rows.into_iter()
            .flatten()
            .take_while(move |(key, _)| end.below_end(key))
            .map(|(_, kv)| kv)
    }

    fn txn(&mut self, txn: &Txn, planned: &mut Planned) -> Result<TxnReply> {
        let mut decided = Decided::default();
        self.decide(txn, planned.after, &mut decided)?;
        self.check_quota(&decided, planned.after)?;
        let mut run = Run {
            path: decided.path.into_iter(),
            before: planned.after.rev,
            rev: planned.after.rev + 1,
            events: Vec::new(),
            returned: 0,
        };
        // What it returns was read before, so nothing but too many keys can stop it half-way.
        let undo = self.has_ranges(txn).then(|| self.rows.clone());
        let mut reply = match self.run(txn, &mut run) {
            Ok(reply) => reply,
            Err(error) => {
                self.rows = undo.unwrap_or_default();
                return Err(error);
            }
        };
        commit(planned, run.rev, run.events);
        reply.rev = planned.after.rev;
        Ok(reply)
    }

    fn has_ranges(&self, txn: &Txn) -> bool {
        let mut ops = txn.then.iter().chain(&txn.otherwise);
        ops.any(|op| match op {
            Op::Range(_) => true,
            Op::Txn(inner) => self.has_ranges(inner),
            _ => false,
        })
    }

    /// Which branches are taken; refuses what cannot be done.
    fn decide(&self, txn: &Txn, sums: Sums, decided: &mut Decided) -> Result<()> {
        let succeeded = txn.compares.iter().all(|compare| self.holds(compare));
        decided.path.push(succeeded);
        for op in if succeeded { &txn.then } else { &txn.otherwise } {
            let (key, bytes, lease) = match op {
                Op::Txn(inner) => {
                    self.decide(inner, sums, decided)?;
                    continue;
                }
                Op::Range(range) => {
                    range.at(sums.rev, sums.compacted)?;
                    continue;
                }
                Op::Put { key, value, lease } => (key, value.len(), *lease),
                Op::Update { key, value, lease } => {
                    let prev = self.rows.get(key).ok_or(Error::KeyNotFound)?;
                    let bytes = value.as_ref().unwrap_or(&prev.value).len();
                    (key, bytes, lease.unwrap_or(0))
                }
                _ => continue,
            };
            if lease != 0 && !self.leases.contains(&lease) {
                return Err(Error::LeaseNotFound(lease));
            }
            decided.puts = true;
            decided.bytes += (key.len() + bytes + 64) as u64;
            decided.keys += u64::from(!self.rows.contains_key(key));
        }
        Ok(())
    }

    fn check_quota(&self, decided: &Decided, sums: Sums) -> Result<()> {
        if decided.puts && sums.bytes + decided.bytes > self.quota.bytes {
            let (used, quota) = (sums.bytes, self.quota.bytes);
            return Err(Error::NoSpace(format!(
                "{used} of {quota} bytes are stored"
            )));
        }
        if decided.keys > 0 && sums.keys + decided.keys > self.quota.keys {
            let (used, quota) = (sums.keys, self.quota.keys);
            return Err(Error::NoSpace(format!("{used} of {quota} keys are stored")));
        }
        Ok(())
    }

    fn run(&mut self, txn: &Txn, run: &mut Run) -> Result<TxnReply> {
        let succeeded = run.path.next().unwrap_or_default();
        let mut results = Vec::new();
        for op in if succeeded { &txn.then } else { &txn.otherwise } {
            results.push(self.op(op, run)?);
        }
        Ok(TxnReply {
            succeeded,
            rev: run.rev,
            results,
        })
    }

    fn op(&mut self, op: &Op, run: &mut Run) -> Result<OpResult> {
        Ok(match op {
            Op::Get { key } => OpResult::Got(self.rows.get(key).cloned()),
            Op::Put { key, value, lease } => self.put(key, Some(value), Some(*lease), run),
            Op::Update { key, value, lease } => self.put(key, value.as_ref(), *lease, run),
            Op::Delete { key } => self.delete(&Span::new(key.clone(), Bytes::new()), run),
            Op::DeleteRange { lo, hi } => self.delete(&Span::new(lo.clone(), hi.clone()), run),
            Op::Range(range) => OpResult::Range(self.range(range, run)?),
            Op::Txn(inner) => OpResult::Txn(self.run(inner, run)?),
        })
    }

    fn put(
        &mut self,
        key: &Bytes,
        value: Option<&Bytes>,
        lease: Option<LeaseId>,
        run: &mut Run,
    ) -> OpResult {
        let prev = self.rows.get(key).cloned();
        let kept = prev.clone().unwrap_or(KeyValue {
            key: key.clone(),
            value: Bytes::new(),
            create_rev: run.rev,
            mod_rev: run.rev,
            version: 0,
            lease: 0,
        });
        let kv = KeyValue {
            value: value.cloned().unwrap_or(kept.value),
            lease: lease.unwrap_or(kept.lease),
            mod_rev: run.rev,
            version: kept.version + 1,
            ..kept
        };
        self.rows.insert(key.clone(), kv.clone());
        run.events.push(Event {
            kv,
            deleted: false,
            prev: prev.clone(),
        });
        OpResult::Put { prev }
    }

    fn delete(&mut self, span: &Span, run: &mut Run) -> OpResult {
        let prev: Vec<_> = self.within(span).cloned().collect();
        for kv in &prev {
            self.rows.remove(&kv.key);
            run.events.push(deletion(kv.clone(), run.rev));
        }
        OpResult::Deleted { prev }
    }

    fn range(&self, range: &Range, run: &mut Run) -> Result<RangeReply> {
        let head_rev = if run.events.is_empty() {
            run.before
        } else {
            run.rev
        };
        let older = self.older.iter().find(|(asked, _)| asked == range);
        let reply = if let Some((_, reply)) = older {
            RangeReply {
                head_rev,
                ..reply.clone()
            }
        } else {
            let span = Span::new(range.lo.clone(), range.hi.clone());
            let count = self.within(&span).count() as u64;
            let mut kvs: Vec<_> = self.within(&span).take(range.most()).cloned().collect();
            if range.keys_only {
                kvs.iter_mut().for_each(|kv| kv.value = Bytes::new());
            }
            RangeReply {
                head_rev,
                more: !range.count_only && (kvs.len() as u64) < count,
                kvs,
                count,
            }
        };
        run.returned += reply.kvs.len();
        if run.returned > MAX_TXN_KEYS {
            let text = format!("the ranges of a transaction may return {MAX_TXN_KEYS} keys");
            return Err(Error::TooLarge(text));
        }
        Ok(reply)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUOTA: Quota = Quota {
        bytes: 1000,
        keys: 2,
    };

    fn put(key: &'static str, value: &'static str) -> Txn {
        let op = Op::Put {
            key: key.into(),
            value: value.into(),
            lease: 0,
        };
        Txn {
            then: vec![op],
            ..Txn::default()
        }
    }

    fn empty() -> Seen {
        let sums = Sums {
            rev: 1,
            ..Sums::default()
        };
        Seen {
            sums,
            ..Seen::default()
        }
    }

    #[test]
    fn transactions_of_a_batch_see_those_before_them() {
        let mut second = put("a", "2");
        second.compares = vec![Compare::ModRev("a".into(), 2)];
        let delete = Op::DeleteRange {
            lo: "a".into(),
            hi: "b".into(),
        };
        let last = Txn {
            then: vec![delete],
            ..Txn::default()
        };
        let planned = plan(empty(), &[&put("a", "1"), &second, &last], QUOTA);
        let revs: Vec<_> = planned
            .replies
            .iter()
            .map(|reply| reply.as_ref().map(|r| (r.succeeded, r.rev)))
            .collect();
        assert_eq!(revs, [Ok((true, 2)), Ok((true, 3)), Ok((true, 4))]);
        assert_eq!(planned.last, BTreeMap::from([("a".into(), None)]));
        assert_eq!((planned.after.rev, planned.after.keys), (4, 0));
        assert_eq!(planned.commits.len(), 3);
        assert_eq!(
            planned.commits[2].events[0].prev,
            planned.commits[1].events[0].kv.clone().into()
        );
    }

    #[test]
    fn what_is_refused_takes_no_revision_and_hinders_nobody() {
        let mut leased = put("x", "1");
        leased.then = vec![Op::Put {
            key: "x".into(),
            value: "1".into(),
            lease: 7,
        }];
        let txns = [
            &put("a", "1"),
            &leased,
            &put("b", "1"),
            &put("c", "1"),
            &put("a", "2"),
        ];
        let planned = plan(empty(), &txns, QUOTA);
        assert_eq!(planned.replies[1], Err(Error::LeaseNotFound(7)));
        assert!(matches!(planned.replies[3], Err(Error::NoSpace(_))));
        assert_eq!(planned.replies[4].as_ref().map(|r| r.rev), Ok(4));
    }
}

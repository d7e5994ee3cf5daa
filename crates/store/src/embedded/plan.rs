//! What a transaction does, worked out before anything is changed.

use super::record::Change;
use super::state::{State, next_kv};
use crate::{
    Compare, Error, KeyValue, LeaseId, Op, OpResult, Range, RangeReply, Result, Txn, TxnReply,
    limits::MAX_TXN_KEYS, span::Span,
};
use bytes::Bytes;
use std::collections::BTreeMap;

/// A transaction worked out but not yet applied.
pub(crate) struct Planned {
    pub(crate) changes: Vec<Change>,
    pub(crate) reply: TxnReply,
}

impl State {
    fn holds(&self, compare: &Compare) -> bool {
        let current = |key: &Bytes| self.index.get(key).map(|e| &e.newest).filter(|v| v.alive());
        match compare {
            Compare::ModRev(key, rev) => current(key).map_or(0, |v| v.mod_rev) == *rev,
            Compare::CreateRev(key, rev) => current(key).map_or(0, |v| v.create_rev) == *rev,
            Compare::Version(key, n) => current(key).map_or(0, |v| v.version) == *n,
            Compare::Value(key, value) => current(key).is_some_and(|v| v.value == value),
            Compare::Lease(key, lease) => current(key).map_or(0, |v| v.lease) == *lease,
            Compare::Test {
                lo,
                hi,
                field,
                relation,
            } => {
                let span = Span::new(lo.clone(), hi.clone());
                if span.is_point() {
                    return field.holds(*relation, self.current(lo).as_ref());
                }
                let found = self.index.range(&span, self.applied, usize::MAX, false).kvs;
                if found.is_empty() {
                    return field.holds(*relation, None);
                }
                found.iter().all(|kv| field.holds(*relation, Some(kv)))
            }
        }
    }

    /// Works out what a (checked) transaction does at the newest applied revision.
    pub(crate) fn plan(&self, txn: &Txn) -> Result<Planned> {
        let mut plan = Plan {
            state: self,
            rev: self.applied + 1,
            // A lone operation cannot see itself.
            remember: txn.then.len().max(txn.otherwise.len()) > 1,
            changes: Vec::new(),
            done: BTreeMap::new(),
            returned: 0,
        };
        let mut reply = plan.txn(txn)?;
        if plan.changes.is_empty() {
            reply.rev = self.applied;
        }
        Ok(Planned {
            changes: plan.changes,
            reply,
        })
    }
}

struct Plan<'a> {
    state: &'a State,
    /// of the changes, if there are any
    rev: u64,
    remember: bool,
    changes: Vec<Change>,
    /// what this transaction has already done to a key
    done: BTreeMap<Bytes, Option<KeyValue>>,
    /// keys that ranges have found
    returned: usize,
}

impl Plan<'_> {
    fn txn(&mut self, txn: &Txn) -> Result<TxnReply> {
        let succeeded = txn.compares.iter().all(|compare| self.state.holds(compare));
        let ops = if succeeded { &txn.then } else { &txn.otherwise };
        let mut results = Vec::with_capacity(ops.len());
        for op in ops {
            results.push(self.op(op)?);
        }
        Ok(TxnReply {
            succeeded,
            rev: self.rev,
            results,
        })
    }

    fn op(&mut self, op: &Op) -> Result<OpResult> {
        Ok(match op {
            Op::Put { key, value, lease } => {
                let prev = self.state.current(key);
                self.put(key, value.clone(), *lease, prev)?
            }
            Op::Update { key, value, lease } => {
                let prev = self.state.current(key).ok_or(Error::KeyNotFound)?;
                let value = value.clone().unwrap_or_else(|| prev.value.clone());
                self.put(key, value, lease.unwrap_or(prev.lease), Some(prev))?
            }
            Op::Get { key } => OpResult::Got(match self.done.get(key) {
                Some(own) => own.clone(),
                None => self.state.current(key),
            }),
            Op::Delete { key } => self.delete(&Span::new(key.clone(), Bytes::new())),
            Op::DeleteRange { lo, hi } => self.delete(&Span::new(lo.clone(), hi.clone())),
            Op::Range(range) => OpResult::Range(self.range(range)?),
            Op::Txn(inner) => {
                self.remember = true;
                OpResult::Txn(self.txn(inner)?)
            }
        })
    }

    fn put(
        &mut self,
        key: &Bytes,
        value: Bytes,
        lease: LeaseId,
        prev: Option<KeyValue>,
    ) -> Result<OpResult> {
        if lease != 0 && !self.state.leases.contains_key(&lease) {
            return Err(Error::LeaseNotFound(lease));
        }
        if self.remember {
            let kv = next_kv(key, &value, lease, self.rev, &prev);
            self.done.insert(key.clone(), Some(kv));
        }
        self.changes.push(Change {
            key: key.clone(),
            put: Some((value, lease)),
        });
        Ok(OpResult::Put { prev })
    }

    /// The keys of a span now, in order. A key that this transaction puts is not in the span of
    /// a deletion of its own (see `limits`), but may be in that of a range.
    fn delete(&mut self, span: &Span) -> OpResult {
        let mut prev = if span.is_point() {
            self.state.current(&span.lo).into_iter().collect()
        } else {
            let state = self.state;
            state
                .index
                .range(span, state.applied, usize::MAX, false)
                .kvs
        };
        prev.retain(|kv| !self.done.contains_key(&kv.key));
        for kv in &prev {
            self.done.insert(kv.key.clone(), None);
            self.changes.push(Change {
                key: kv.key.clone(),
                put: None,
            });
        }
        OpResult::Deleted { prev }
    }

    fn range(&mut self, range: &Range) -> Result<RangeReply> {
        let state = self.state;
        if range.rev > state.applied {
            return Err(Error::Future(state.applied));
        }
        if range.rev != 0 && range.rev < state.compacted {
            return Err(Error::Compacted(state.compacted));
        }
        // A single key is a span that ends right behind it.
        let mut span = Span::new(range.lo.clone(), range.hi.clone());
        if span.is_point() {
            span.hi = [&range.lo[..], &[0]].concat().into();
        }
        let limit = match (range.count_only, range.limit) {
            (true, _) => 0,
            (false, 0) => usize::MAX,
            (false, limit) => limit,
        };
        let own = range.rev == 0 && !self.done.is_empty();
        let rev = if range.rev == 0 {
            state.applied
        } else {
            range.rev
        };
        let fetch = if own { usize::MAX } else { limit };
        let mut found = state.index.range(&span, rev, fetch, range.keys_only);
        if own {
            self.overlay(&span, &mut found.kvs, range.keys_only);
            found.count = found.kvs.len() as u64;
            found.kvs.truncate(limit);
        }
        self.returned += found.kvs.len();
        if self.returned > MAX_TXN_KEYS {
            let text = format!("the ranges of a transaction may return {MAX_TXN_KEYS} keys");
            return Err(Error::TooLarge(text));
        }
        let more = !range.count_only && (found.kvs.len() as u64) < found.count;
        let head_rev = if self.changes.is_empty() {
            state.applied
        } else {
            self.rev
        };
        Ok(RangeReply {
            head_rev,
            kvs: found.kvs,
            count: found.count,
            more,
        })
    }

    /// Puts what this transaction has done over what was there before.
    fn overlay(&self, span: &Span, kvs: &mut Vec<KeyValue>, keys_only: bool) {
        kvs.retain(|kv| !self.done.contains_key(&kv.key));
        let own = self.done.values().flatten();
        kvs.extend(own.filter(|kv| span.contains(&kv.key)).cloned());
        kvs.sort_unstable_by(|a, b| a.key.cmp(&b.key));
        if keys_only {
            kvs.iter_mut().for_each(|kv| kv.value = Bytes::new());
        }
    }
}

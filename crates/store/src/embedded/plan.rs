//! What a transaction does, worked out before anything is changed. Values are not looked at
//! unless they are compared or kept: whoever waits for the answer fetches them.

use super::record::Change;
use super::state::{State, next_version};
use super::values::Held;
use crate::{
    Compare, Error, Field, KeyValue, LeaseId, Op, OpResult, Range, RangeReply, Txn, TxnReply,
    limits::MAX_TXN_KEYS, span::Span,
};
use bytes::Bytes;
use std::collections::BTreeMap;

/// Why a transaction could not be worked out.
pub(crate) enum Obstacle {
    Error(Error),
    /// these values are compared or kept, and not in memory
    Fetch(Vec<Held>),
}

impl From<Error> for Obstacle {
    fn from(error: Error) -> Self {
        Self::Error(error)
    }
}

type Result<T> = std::result::Result<T, Obstacle>;

/// What one operation found, its values still to be fetched.
pub(crate) enum Outcome {
    Put(Option<Held>),
    Deleted(Vec<Held>),
    Got(Option<Held>),
    Range(Found),
    Txn(Told),
}

/// A range in a transaction.
pub(crate) struct Found {
    head_rev: u64,
    held: Vec<Held>,
    count: u64,
    more: bool,
    keys_only: bool,
}

/// The answer to a transaction, its values still to be fetched.
pub(crate) struct Told {
    pub(crate) succeeded: bool,
    pub(crate) rev: u64,
    pub(crate) results: Vec<Outcome>,
}

impl Told {
    /// Everything whose value is to be told, in the order of [`Told::with`].
    pub(crate) fn held(&self, all: &mut Vec<Held>) {
        for outcome in &self.results {
            match outcome {
                Outcome::Put(held) | Outcome::Got(held) => all.extend(held.clone()),
                Outcome::Deleted(held) => all.extend_from_slice(held),
                Outcome::Range(found) if found.keys_only => {}
                Outcome::Range(found) => all.extend_from_slice(&found.held),
                Outcome::Txn(inner) => inner.held(all),
            }
        }
    }

    /// The answer with its values.
    pub(crate) fn with(self, kvs: &mut impl Iterator<Item = KeyValue>) -> TxnReply {
        let results = self.results.into_iter().map(|outcome| match outcome {
            Outcome::Put(held) => OpResult::Put {
                prev: held.and_then(|_| kvs.next()),
            },
            Outcome::Got(held) => OpResult::Got(held.and_then(|_| kvs.next())),
            Outcome::Deleted(held) => OpResult::Deleted {
                prev: kvs.take(held.len()).collect(),
            },
            Outcome::Range(found) => OpResult::Range(RangeReply {
                head_rev: found.head_rev,
                kvs: if found.keys_only {
                    found.held.iter().map(Held::key_only).collect()
                } else {
                    kvs.take(found.held.len()).collect()
                },
                count: found.count,
                more: found.more,
            }),
            Outcome::Txn(inner) => OpResult::Txn(inner.with_boxed(kvs)),
        });
        TxnReply {
            results: results.collect(),
            succeeded: self.succeeded,
            rev: self.rev,
        }
    }

    /// Nested answers need a type that does not grow with their depth.
    fn with_boxed(self, kvs: &mut dyn Iterator<Item = KeyValue>) -> TxnReply {
        let mut kvs = kvs;
        self.with(&mut kvs)
    }
}

/// A transaction worked out but not yet applied.
pub(crate) struct Planned {
    pub(crate) changes: Vec<Change>,
    pub(crate) reply: Told,
}

impl State {
    fn holds(&self, compare: &Compare) -> Result<bool> {
        let current = |key: &Bytes| self.index.get(key).map(|e| &e.newest).filter(|v| v.alive());
        Ok(match compare {
            Compare::ModRev(key, rev) => current(key).map_or(0, |v| v.mod_rev) == *rev,
            Compare::CreateRev(key, rev) => current(key).map_or(0, |v| v.create_rev) == *rev,
            Compare::Version(key, n) => current(key).map_or(0, |v| v.version) == *n,
            Compare::Lease(key, lease) => current(key).map_or(0, |v| v.lease) == *lease,
            Compare::Value(key, value) => match self.current(key) {
                Some(held) if held.version.value.len() == value.len() => {
                    let kvs = in_memory(std::slice::from_ref(&held))?;
                    kvs.iter().all(|kv| kv.value == *value)
                }
                _ => false,
            },
            Compare::Test {
                lo,
                hi,
                field,
                relation,
            } => {
                let span = Span::new(lo.clone(), hi.clone());
                let found = if span.is_point() {
                    Vec::from_iter(self.current(lo))
                } else {
                    self.index.range(&span, self.applied, usize::MAX).kvs
                };
                if found.is_empty() {
                    return Ok(field.holds(*relation, None));
                }
                let kvs = match field {
                    Field::Value(_) => in_memory(&found)?,
                    _ => found.iter().map(Held::key_only).collect(),
                };
                kvs.iter().all(|kv| field.holds(*relation, Some(kv)))
            }
        })
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

/// Keys with their values, or the request to fetch what is missing.
fn in_memory(held: &[Held]) -> Result<Vec<KeyValue>> {
    let kvs: Option<Vec<_>> = held.iter().map(Held::in_memory).collect();
    kvs.ok_or_else(|| {
        let missing = held.iter().filter(|held| held.in_memory().is_none());
        Obstacle::Fetch(missing.cloned().collect())
    })
}

struct Plan<'a> {
    state: &'a State,
    /// of the changes, if there are any
    rev: u64,
    remember: bool,
    changes: Vec<Change>,
    /// what this transaction has already done to a key
    done: BTreeMap<Bytes, Option<Held>>,
    /// keys that ranges have found
    returned: usize,
}

impl Plan<'_> {
    fn txn(&mut self, txn: &Txn) -> Result<Told> {
        let mut succeeded = true;
        for compare in &txn.compares {
            succeeded = succeeded && self.state.holds(compare)?;
        }
        let ops = if succeeded { &txn.then } else { &txn.otherwise };
        let mut results = Vec::with_capacity(ops.len());
        for op in ops {
            results.push(self.op(op)?);
        }
        Ok(Told {
            succeeded,
            rev: self.rev,
            results,
        })
    }

    fn op(&mut self, op: &Op) -> Result<Outcome> {
        Ok(match op {
            Op::Put { key, value, lease } => {
                let prev = self.state.current(key);
                self.put(key, value.clone(), *lease, prev)?
            }
            Op::Update { key, value, lease } => {
                let prev = self.state.current(key).ok_or(Error::KeyNotFound)?;
                let value = match value {
                    Some(value) => value.clone(),
                    None => in_memory(std::slice::from_ref(&prev))?.swap_remove(0).value,
                };
                self.put(key, value, lease.unwrap_or(prev.version.lease), Some(prev))?
            }
            Op::Get { key } => Outcome::Got(match self.done.get(key) {
                Some(own) => own.clone(),
                None => self.state.current(key),
            }),
            Op::Delete { key } => self.delete(&Span::new(key.clone(), Bytes::new())),
            Op::DeleteRange { lo, hi } => self.delete(&Span::new(lo.clone(), hi.clone())),
            Op::Range(range) => Outcome::Range(self.range(range)?),
            Op::Txn(inner) => {
                self.remember = true;
                Outcome::Txn(self.txn(inner)?)
            }
        })
    }

    fn put(
        &mut self,
        key: &Bytes,
        value: Bytes,
        lease: LeaseId,
        prev: Option<Held>,
    ) -> Result<Outcome> {
        if lease != 0 && !self.state.leases.contains_key(&lease) {
            return Err(Error::LeaseNotFound(lease).into());
        }
        if self.remember {
            let version = next_version(&value, lease, self.rev, 0, prev.as_ref());
            let own = Held {
                key: key.clone(),
                version,
            };
            self.done.insert(key.clone(), Some(own));
        }
        self.changes.push(Change {
            key: key.clone(),
            put: Some((value, lease)),
        });
        Ok(Outcome::Put(prev))
    }

    /// The keys of a span now, in order. A key that this transaction puts is not in the span of
    /// a deletion of its own (see `limits`), but may be in that of a range.
    fn delete(&mut self, span: &Span) -> Outcome {
        let mut prev = if span.is_point() {
            self.state.current(&span.lo).into_iter().collect()
        } else {
            let state = self.state;
            state.index.range(span, state.applied, usize::MAX).kvs
        };
        prev.retain(|kv| !self.done.contains_key(&kv.key));
        for kv in &prev {
            self.done.insert(kv.key.clone(), None);
            self.changes.push(Change {
                key: kv.key.clone(),
                put: None,
            });
        }
        Outcome::Deleted(prev)
    }

    fn range(&mut self, range: &Range) -> Result<Found> {
        let state = self.state;
        if range.rev > state.applied {
            return Err(Error::Future(state.applied).into());
        }
        if range.rev != 0 && range.rev < state.compacted {
            return Err(Error::Compacted(state.compacted).into());
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
        let mut found = state.index.range(&span, rev, fetch);
        if own {
            self.overlay(&span, &mut found.kvs);
            found.count = found.kvs.len() as u64;
            found.kvs.truncate(limit);
        }
        self.returned += found.kvs.len();
        if self.returned > MAX_TXN_KEYS {
            let text = format!("the ranges of a transaction may return {MAX_TXN_KEYS} keys");
            return Err(Error::TooLarge(text).into());
        }
        let more = !range.count_only && (found.kvs.len() as u64) < found.count;
        let head_rev = if self.changes.is_empty() {
            state.applied
        } else {
            self.rev
        };
        Ok(Found {
            head_rev,
            held: found.kvs,
            count: found.count,
            more,
            keys_only: range.keys_only,
        })
    }

    /// Puts what this transaction has done over what was there before.
    fn overlay(&self, span: &Span, found: &mut Vec<Held>) {
        found.retain(|held| !self.done.contains_key(&held.key));
        let own = self.done.values().flatten();
        found.extend(own.filter(|held| span.contains(&held.key)).cloned());
        found.sort_unstable_by(|a, b| a.key.cmp(&b.key));
    }
}

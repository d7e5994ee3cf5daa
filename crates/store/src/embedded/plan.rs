//! What a transaction does, worked out before anything is changed. Values are not looked at
//! unless they are compared or kept: whoever waits for the answer fetches them.

use super::record::Change;
use super::state::{State, next_version};
use super::values::Held;
use crate::{
    Compare, Error, Field, KeyValue, LeaseId, Op, OpResult, Range, RangeReply, Txn, TxnReply,
    limits::{MAX_DELETED, MAX_TXN_KEYS, MAX_TXN_READ},
    room::Size,
    span::Span,
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
    pub(crate) fn held(&self, prev: bool, all: &mut Vec<Held>) {
        for outcome in &self.results {
            match outcome {
                Outcome::Put(_) | Outcome::Deleted(_) if !prev => {}
                Outcome::Put(held) | Outcome::Got(held) => all.extend(held.clone()),
                Outcome::Deleted(held) => all.extend_from_slice(held),
                Outcome::Range(found) if found.keys_only => {}
                Outcome::Range(found) => all.extend_from_slice(&found.held),
                Outcome::Txn(inner) => inner.held(prev, all),
            }
        }
    }

    /// The answer with its values; what was there before has its own only with `prev`.
    pub(crate) fn with(self, prev: bool, kvs: &mut impl Iterator<Item = KeyValue>) -> TxnReply {
        let results = self.results.into_iter().map(|outcome| match outcome {
            Outcome::Put(held) if !prev => OpResult::Put {
                prev: held.as_ref().map(Held::key_only),
            },
            Outcome::Deleted(held) if !prev => OpResult::Deleted {
                prev: held.iter().map(Held::key_only).collect(),
            },
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
            Outcome::Txn(inner) => OpResult::Txn(inner.with_boxed(prev, kvs)),
        });
        TxnReply {
            results: results.collect(),
            succeeded: self.succeeded,
            rev: self.rev,
        }
    }

    /// Nested answers need a type that does not grow with their depth.
    fn with_boxed(self, prev: bool, kvs: &mut dyn Iterator<Item = KeyValue>) -> TxnReply {
        let mut kvs = kvs;
        self.with(prev, &mut kvs)
    }
}

/// A transaction worked out but not yet applied.
pub(crate) struct Planned {
    pub(crate) changes: Vec<Change>,
    pub(crate) reply: Told,
}

impl State {
    /// Works out what a (checked) transaction does at the newest applied revision.
    pub(crate) fn plan(&self, txn: &Txn) -> Result<Planned> {
        let mut plan = Plan {
            state: self,
            rev: self.applied + 1,
            // A lone operation cannot see itself.
            remember: txn.then.len().max(txn.otherwise.len()) > 1,
            changes: Vec::new(),
            done: BTreeMap::new(),
            prev: !txn.without_prev,
            looked: Size::default(),
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

/// What a transaction is going to touch, as far as the index can tell before its turn comes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Touch {
    /// what is read outside the commit thread: for the answer, and to be compared
    pub(crate) size: Size,
    /// work of the commit thread, in bytes of a request that costs as much
    pub(crate) weight: usize,
}

/// What deleting a key, and looking at one, costs the commit thread.
pub(crate) const DELETE_WEIGHT: usize = 256;
const LOOK_WEIGHT: usize = 32;
/// Keys of a transaction that are not worth an estimate.
const FEW: usize = 8;

impl Touch {
    fn look(&mut self, size: Size) {
        self.size.keys += size.keys;
        self.size.bytes += size.bytes;
        self.weigh(size.keys, LOOK_WEIGHT);
    }

    fn weigh(&mut self, keys: u64, each: usize) {
        let keys = usize::try_from(keys).unwrap_or(usize::MAX);
        self.weight = self.weight.saturating_add(keys.saturating_mul(each));
    }

    fn join(&mut self, other: Self) {
        self.size.keys += other.size.keys;
        self.size.bytes += other.size.bytes;
        self.weight = self.weight.saturating_add(other.weight);
    }

    /// At most one of the two happens.
    fn or(self, other: Self) -> Self {
        Self {
            size: Size {
                keys: self.size.keys.max(other.size.keys),
                bytes: self.size.bytes.max(other.size.bytes),
            },
            weight: self.weight.max(other.weight),
        }
    }
}

/// Whether a transaction may touch much more than it says.
pub(crate) fn wide(txn: &Txn) -> bool {
    fn walk(txn: &Txn, keys: &mut usize) -> bool {
        let test =
            |compare: &Compare| matches!(compare, Compare::Test { hi, .. } if !hi.is_empty());
        *keys += txn.compares.len();
        txn.compares.iter().any(test)
            || txn.then.iter().chain(&txn.otherwise).any(|op| {
                *keys += 1;
                match op {
                    Op::DeleteRange { hi, .. } => !hi.is_empty(),
                    Op::Range(range) => !range.hi.is_empty() && !range.count_only,
                    Op::Txn(inner) => walk(inner, keys),
                    _ => false,
                }
            })
    }
    let mut keys = 0;
    walk(txn, &mut keys) || keys > FEW
}

impl State {
    /// Looks up what a transaction would touch now.
    pub(crate) fn touch(&self, txn: &Txn) -> Touch {
        self.touched(txn, !txn.without_prev)
    }

    fn touched(&self, txn: &Txn, prev: bool) -> Touch {
        let mut all = Touch::default();
        for compare in &txn.compares {
            match compare {
                Compare::Value(key, _) => all.look(self.span_size(key, &Bytes::new(), true)),
                Compare::Test { lo, hi, field, .. } => {
                    all.look(self.span_size(lo, hi, matches!(field, Field::Value(_))));
                }
                _ => {}
            }
        }
        let ops = |ops: &[Op]| {
            let mut touch = Touch::default();
            for op in ops {
                touch.join(self.touched_by(op, prev));
            }
            touch
        };
        all.join(ops(&txn.then).or(ops(&txn.otherwise)));
        all
    }

    fn touched_by(&self, op: &Op, prev: bool) -> Touch {
        let none = Bytes::new();
        let mut touch = Touch::default();
        match op {
            Op::Put { key, .. } | Op::Update { key, .. } | Op::Delete { key } => {
                if prev {
                    touch.size = self.span_size(key, &none, true);
                }
            }
            Op::Get { key } => touch.size = self.span_size(key, &none, true),
            Op::DeleteRange { lo, hi } => {
                let span = Span::new(lo.clone(), hi.clone());
                let keys = self.index.range(&span, self.applied, 0).count;
                touch.weigh(keys, DELETE_WEIGHT);
                if prev {
                    touch.size = self.span_size(lo, hi, true);
                }
            }
            Op::Range(range) if range.count_only => {}
            Op::Range(range) => {
                let rev = if range.rev == 0 {
                    self.applied
                } else {
                    range.rev
                };
                let span = Span::new(range.lo.clone(), range.hi.clone());
                let limit = range.most().min(MAX_TXN_KEYS);
                touch.look(self.index.measure(&span, rev, limit, !range.keys_only));
            }
            Op::Txn(inner) => touch = self.touched(inner, prev),
        }
        touch
    }

    fn span_size(&self, lo: &Bytes, hi: &Bytes, values: bool) -> Size {
        let span = Span::new(lo.clone(), hi.clone());
        self.index
            .measure(&span, self.applied, MAX_TXN_KEYS, values)
    }
}

struct Plan<'a> {
    state: &'a State,
    /// of the changes, if there are any
    rev: u64,
    remember: bool,
    changes: Vec<Change>,
    /// what this transaction has already done to a key
    done: BTreeMap<Bytes, Option<Held>>,
    /// the values of what was there before are asked for
    prev: bool,
    /// what was found, compared and is to be answered
    looked: Size,
}

impl Plan<'_> {
    /// Counts what a transaction looks at: the commits of everybody wait for it.
    fn look(&mut self, held: &[Held], values: bool) -> Result<()> {
        for held in held {
            let value = if values { held.version.value.len() } else { 0 };
            self.looked.add(held.key.len(), value);
        }
        if self.looked.keys > MAX_TXN_KEYS as u64 {
            let text = format!("a transaction may look at {MAX_TXN_KEYS} keys");
            return Err(Error::TooLarge(text).into());
        }
        if self.looked.bytes > MAX_TXN_READ as u64 {
            let text = format!("a transaction may look at {MAX_TXN_READ} bytes");
            return Err(Error::TooLarge(text).into());
        }
        Ok(())
    }

    fn holds(&mut self, compare: &Compare) -> Result<bool> {
        let state = self.state;
        let current = |key: &Bytes| state.live(key).map(|entry| &entry.newest);
        Ok(match compare {
            Compare::ModRev(key, rev) => current(key).map_or(0, |v| v.mod_rev) == *rev,
            Compare::CreateRev(key, rev) => current(key).map_or(0, |v| v.create_rev) == *rev,
            Compare::Version(key, n) => current(key).map_or(0, |v| v.version) == *n,
            Compare::Lease(key, lease) => current(key).map_or(0, |v| v.lease) == *lease,
            Compare::Value(key, value) => match state.current(key) {
                Some(held) if held.version.value.len() == value.len() => {
                    let held = std::slice::from_ref(&held);
                    self.look(held, true)?;
                    in_memory(held)?.iter().all(|kv| kv.value == *value)
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
                    Vec::from_iter(state.current(lo))
                } else {
                    // One more than may be looked at is refused.
                    let most = MAX_TXN_KEYS + 1;
                    state.index.range(&span, state.applied, most).kvs
                };
                let value = matches!(field, Field::Value(_));
                self.look(&found, value)?;
                if found.is_empty() {
                    return Ok(field.holds(*relation, None));
                }
                let holds = |kv: &KeyValue| field.holds(*relation, Some(kv));
                if value {
                    in_memory(&found)?.iter().all(holds)
                } else {
                    found.iter().all(|held| holds(&held.key_only()))
                }
            }
        })
    }

    fn txn(&mut self, txn: &Txn) -> Result<Told> {
        let mut succeeded = true;
        for compare in &txn.compares {
            succeeded = succeeded && self.holds(compare)?;
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
            Op::Get { key } => {
                let found = match self.done.get(key) {
                    Some(own) => own.clone(),
                    None => self.state.current(key),
                };
                self.look(found.as_slice(), true)?;
                Outcome::Got(found)
            }
            Op::Delete { key } => self.delete(&Span::new(key.clone(), Bytes::new()))?,
            Op::DeleteRange { lo, hi } => self.delete(&Span::new(lo.clone(), hi.clone()))?,
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
        if lease != 0 {
            let under = self.state.leases.get(&lease);
            let under = under.ok_or(Error::LeaseNotFound(lease))?;
            if under.keys.len() >= MAX_DELETED && !under.keys.contains(key) {
                let text = format!("a lease may have {MAX_DELETED} keys");
                return Err(Error::TooLarge(text).into());
            }
        }
        if self.prev {
            self.look(prev.as_slice(), true)?;
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
    fn delete(&mut self, span: &Span) -> Result<Outcome> {
        let mut prev = if span.is_point() {
            self.state.current(&span.lo).into_iter().collect()
        } else {
            let state = self.state;
            let most = MAX_DELETED + 1;
            state.index.range(span, state.applied, most).kvs
        };
        prev.retain(|kv| !self.done.contains_key(&kv.key));
        if self.changes.len() + prev.len() > MAX_DELETED {
            let text = format!("a transaction may change {MAX_DELETED} keys");
            return Err(Error::TooLarge(text).into());
        }
        if self.prev {
            self.look(&prev, true)?;
        }
        for kv in &prev {
            if self.remember {
                self.done.insert(kv.key.clone(), None);
            }
            self.changes.push(Change {
                key: kv.key.clone(),
                put: None,
            });
        }
        Ok(Outcome::Deleted(prev))
    }

    fn range(&mut self, range: &Range) -> Result<Found> {
        let state = self.state;
        let rev = range.at(state.applied, state.compacted)?;
        // A single key is a span that ends right behind it.
        let mut span = Span::new(range.lo.clone(), range.hi.clone());
        if span.is_point() {
            span.hi = [&range.lo[..], &[0]].concat().into();
        }
        let limit = range.most();
        let own = range.rev == 0 && !self.done.is_empty();
        // One more than may be looked at is refused. What this transaction deleted is found too.
        let fetch = limit.min(MAX_TXN_KEYS + 1);
        let fetch = fetch.saturating_add(if own { self.done.len() } else { 0 });
        let mut found = state.index.range(&span, rev, fetch);
        if own {
            found.count = self.count(&span, found.count);
            self.overlay(&span, &mut found.kvs);
            found.kvs.truncate(limit);
        }
        self.look(&found.kvs, !range.keys_only)?;
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

    /// The keys of a span that had so many before this transaction.
    fn count(&self, span: &Span, before: u64) -> u64 {
        let own = self.done.iter().filter(|(key, _)| span.contains(key));
        own.fold(before, |count, (key, now)| {
            let was = self.state.live(key).is_some();
            count + u64::from(now.is_some()) - u64::from(was)
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

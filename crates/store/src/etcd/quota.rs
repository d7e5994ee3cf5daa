//! How much a keyspace may store. An etcd knows only its own size, so the keyspace is counted here:
//! once by reading it, from then on by what every write's answer says of what was there before.
//!
//! Counted are the keys that are alive and their values, not their history, which the etcd keeps for
//! all alike. What others do with the same keyspace, and what leases delete, is not seen until the
//! next count; before anything is refused there is one, unless the last was a moment ago.

use crate::{Error, Op, OpResult, Quota, Result, Txn, TxnReply};
use bytes::Bytes;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use tokio::sync::RwLock;

/// How old a count may be when something is refused.
pub(super) const RECOUNT: Duration = Duration::from_secs(10);

/// Bytes and keys: those there are, or by how many they grow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Amount {
    pub(super) bytes: i64,
    pub(super) keys: i64,
}

impl Amount {
    pub(super) fn of(key: &Bytes, value: &Bytes) -> Self {
        Self {
            bytes: signed(key.len() + value.len()),
            keys: 1,
        }
    }

    pub(super) fn add(&mut self, more: Self) {
        self.bytes = self.bytes.saturating_add(more.bytes);
        self.keys = self.keys.saturating_add(more.keys);
    }

    fn minus(self) -> Self {
        Self {
            bytes: -self.bytes,
            keys: -self.keys,
        }
    }

    fn larger(self, other: Self) -> Self {
        Self {
            bytes: self.bytes.max(other.bytes),
            keys: self.keys.max(other.keys),
        }
    }
}

fn signed(len: usize) -> i64 {
    i64::try_from(len).unwrap_or(i64::MAX)
}

fn unsigned(n: i64) -> u64 {
    u64::try_from(n).unwrap_or(0)
}

#[derive(Default)]
struct State {
    quota: Option<Quota>,
    /// what is there, as far as it was counted, and since when that is so
    used: Option<(Amount, Instant)>,
    /// what writes under way may add
    reserved: Amount,
}

#[derive(Default)]
pub(super) struct Meter {
    state: Mutex<State>,
    /// held by every write while it goes on; alone by who counts
    pub(super) writing: RwLock<()>,
}

/// Room that a write has, until its answer says what it took.
pub(super) struct Room<'a> {
    meter: &'a Meter,
    most: Amount,
    settled: bool,
}

impl Drop for Room<'_> {
    fn drop(&mut self) {
        let mut state = self.meter.state.lock();
        state.reserved.add(self.most.minus());
        if !self.settled {
            // Whether it was written is not known.
            state.used = None;
        }
    }
}

impl Room<'_> {
    /// What came of it: this much more, or nothing.
    pub(super) fn settle(mut self, grown: Amount) {
        self.settled = true;
        if let Some((used, _)) = &mut self.meter.state.lock().used {
            used.add(grown);
        }
    }
}

impl Meter {
    pub(super) fn set(&self, quota: Option<Quota>) {
        let mut state = self.state.lock();
        if quota.is_none() {
            // Nobody counts any more.
            state.used = None;
        }
        state.quota = quota;
    }

    pub(super) fn quota(&self) -> Option<Quota> {
        self.state.lock().quota
    }

    /// Whether there is anything to count for.
    pub(super) fn counts(&self) -> bool {
        self.quota().is_some()
    }

    /// What is there, if that is known.
    pub(super) fn used(&self) -> Option<Amount> {
        self.state.lock().used.map(|(used, _)| used)
    }

    /// Whether what is there is known, and was counted lately.
    pub(super) fn fresh(&self) -> bool {
        let used = self.state.lock().used;
        used.is_some_and(|(_, since)| since.elapsed() < RECOUNT)
    }

    /// The keyspace was counted, and nobody wrote meanwhile.
    pub(super) fn counted(&self, used: Amount) {
        self.state.lock().used = Some((used, Instant::now()));
    }

    /// Takes room for a write that adds `most`; an error: it is not there. What does not grow always
    /// has room.
    pub(super) fn room(&self, most: Amount) -> Result<Room<'_>> {
        let mut state = self.state.lock();
        let grows = most.bytes > 0 || most.keys > 0;
        if let Some(quota) = state.quota.filter(|_| grows) {
            let Some((used, _)) = state.used else {
                return Err(Error::Unavailable("the keyspace is not counted".into()));
            };
            let over = |used: i64, reserved: i64, more: i64, most: u64| {
                more > 0 && unsigned(used.saturating_add(reserved).saturating_add(more)) > most
            };
            if over(used.bytes, state.reserved.bytes, most.bytes, quota.bytes) {
                let (used, quota) = (unsigned(used.bytes), quota.bytes);
                let text = format!("{used} of {quota} bytes are stored");
                return Err(Error::NoSpace(text));
            }
            if over(used.keys, state.reserved.keys, most.keys, quota.keys) {
                let (used, quota) = (unsigned(used.keys), quota.keys);
                return Err(Error::NoSpace(format!("{used} of {quota} keys are stored")));
            }
        }
        let most = most.larger(Amount::default());
        state.reserved.add(most);
        Ok(Room {
            meter: self,
            most,
            settled: false,
        })
    }
}

/// The most that a transaction can add: every key that it puts may be new.
pub(super) fn most(txn: &Txn) -> Amount {
    grown(txn, &BTreeMap::new())
}

/// What a transaction adds at most, if the keys that it puts are of these sizes now. What it deletes
/// beside is not set against it.
pub(super) fn grown(txn: &Txn, sizes: &BTreeMap<Bytes, Amount>) -> Amount {
    let branch = |ops: &[Op]| {
        let mut sum = Amount::default();
        for op in ops {
            match op {
                Op::Put { key, value, .. } => sum.add(put(key, value, sizes)),
                Op::Update {
                    key,
                    value: Some(value),
                    ..
                } => sum.add(put(key, value, sizes)),
                Op::Txn(inner) => sum.add(grown(inner, sizes)),
                _ => {}
            }
        }
        sum
    };
    branch(&txn.then).larger(branch(&txn.otherwise))
}

fn put(key: &Bytes, value: &Bytes, sizes: &BTreeMap<Bytes, Amount>) -> Amount {
    let mut more = Amount::of(key, value);
    if let Some(old) = sizes.get(key) {
        more.add(old.minus());
    }
    more
}

/// The keys that a transaction may put.
pub(super) fn put_keys(txn: &Txn, keys: &mut Vec<Bytes>) {
    for op in txn.then.iter().chain(&txn.otherwise) {
        match op {
            Op::Put { key, .. } | Op::Update { key, .. } => keys.push(key.clone()),
            Op::Txn(inner) => put_keys(inner, keys),
            _ => {}
        }
    }
}

/// What a transaction that was carried out has added.
pub(super) fn added(txn: &Txn, reply: &TxnReply) -> Amount {
    let asked = if reply.succeeded {
        &txn.then
    } else {
        &txn.otherwise
    };
    let mut sum = Amount::default();
    for (op, result) in asked.iter().zip(&reply.results) {
        match (op, result) {
            (
                Op::Put { key, value, .. }
                | Op::Update {
                    key,
                    value: Some(value),
                    ..
                },
                OpResult::Put { prev },
            ) => {
                sum.add(Amount::of(key, value));
                if let Some(prev) = prev {
                    sum.add(Amount::of(&prev.key, &prev.value).minus());
                }
            }
            (_, OpResult::Deleted { prev }) => {
                for prev in prev {
                    sum.add(Amount::of(&prev.key, &prev.value).minus());
                }
            }
            (Op::Txn(inner), OpResult::Txn(reply)) => sum.add(added(inner, reply)),
            _ => {}
        }
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meter(bytes: u64, keys: u64) -> Meter {
        let meter = Meter::default();
        meter.set(Some(Quota { bytes, keys }));
        meter.counted(Amount {
            bytes: 100,
            keys: 2,
        });
        meter
    }

    #[test]
    fn writes_under_way_cannot_take_the_same_room_twice() {
        let meter = meter(200, 10);
        let more = Amount { bytes: 60, keys: 1 };
        let first = meter.room(more).expect("room");
        let refused = meter.room(more).err();
        let text = "100 of 200 bytes are stored".to_owned();
        assert_eq!(refused, Some(Error::NoSpace(text)));
        first.settle(Amount { bytes: 10, keys: 1 });
        meter
            .room(more)
            .expect("room again")
            .settle(Amount::default());
        let used = Amount {
            bytes: 110,
            keys: 3,
        };
        assert_eq!(meter.used(), Some(used));
    }

    #[test]
    fn what_shrinks_has_room_and_an_outcome_that_is_not_known_is_counted_again() {
        let meter = meter(50, 1);
        let less = Amount { bytes: -5, keys: 0 };
        meter.room(less).expect("room").settle(less);
        assert_eq!(meter.used().map(|used| used.bytes), Some(95));
        drop(meter.room(less).expect("room"));
        assert_eq!(meter.used(), None);
        let reserved = meter.state.lock().reserved;
        assert_eq!(reserved, Amount::default());
    }
}

//! What a process knows of a keyspace without asking: how its own last batch left it. A batch that
//! touches nothing else is written in one round trip, on the condition that the head row is
//! still at that revision: then nobody has written since. Keys that transactions take for new
//! need not be known; that they are not there is a condition as well.

use super::batch::{Planned, Seen, Sums};
use crate::{Field, KeyValue, Op, Relation, Txn};
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet};

/// Bytes of rows that are remembered; the older half goes at once.
const KEPT: usize = 256 << 10;
/// A longer row is not remembered.
const LONG: usize = 32 << 10;

type Rows = BTreeMap<Bytes, Option<KeyValue>>;

/// The keyspace as the last batch left it.
#[derive(Default)]
pub(super) struct Known {
    sums: Option<Sums>,
    /// the batch before the last one was ours, too: nobody else seems to write
    alone: bool,
    /// keys with their rows; none: the key is not there
    young: Rows,
    old: Rows,
    bytes: usize,
}

/// What transactions will see, if it is so.
pub(super) struct Guess {
    pub(super) seen: Seen,
    /// keys that must not be there
    pub(super) absent: Vec<Bytes>,
}

impl Known {
    pub(super) fn forget(&mut self) {
        *self = Self::default();
    }

    /// How a batch found and left the keyspace.
    pub(super) fn wrote(&mut self, planned: &Planned) {
        self.alone = self.sums.is_some_and(|s| s.rev == planned.before.rev);
        if !self.alone {
            self.forget();
        }
        self.sums = Some(planned.after);
        for (key, row) in &planned.last {
            self.keep(key, row.as_ref());
        }
    }

    fn keep(&mut self, key: &Bytes, row: Option<&KeyValue>) {
        let size = key.len() + row.map_or(0, |kv| kv.value.len()) + 128;
        if size > LONG {
            self.young.remove(key);
            self.old.remove(key);
            return;
        }
        self.bytes += size;
        if self.bytes > KEPT / 2 {
            self.old = std::mem::take(&mut self.young);
            self.bytes = size;
        }
        // Bytes of their own: those of a request would keep all of it.
        let own = |bytes: &Bytes| Bytes::copy_from_slice(bytes);
        let row = row.map(|kv| KeyValue {
            key: own(&kv.key),
            value: own(&kv.value),
            ..kv.clone()
        });
        self.young.insert(own(key), row);
    }

    fn row(&self, key: &Bytes) -> Option<&Option<KeyValue>> {
        self.young.get(key).or_else(|| self.old.get(key))
    }

    /// What transactions will see; none: that has to be read.
    pub(super) fn guess(&self, txns: &[&Txn]) -> Option<Guess> {
        let sums = self.sums.filter(|_| self.alone)?;
        let mut touched = Touched::default();
        if !txns.iter().all(|txn| touched.add(txn)) {
            return None;
        }
        let mut guess = Guess {
            seen: Seen {
                sums,
                ..Seen::default()
            },
            absent: Vec::new(),
        };
        for key in touched.new.union(&touched.keys) {
            match self.row(key) {
                Some(Some(kv)) => {
                    guess.seen.rows.insert(kv.key.clone(), kv.clone());
                }
                Some(None) => {}
                None if touched.new.contains(key) => guess.absent.push(Bytes::clone(key)),
                None => return None,
            }
        }
        Some(guess)
    }
}

/// The keys of transactions.
#[derive(Default)]
struct Touched<'a> {
    keys: BTreeSet<&'a Bytes>,
    /// those that are taken for new
    new: BTreeSet<&'a Bytes>,
}

impl<'a> Touched<'a> {
    /// False for what needs more than a few rows.
    fn add(&mut self, txn: &'a Txn) -> bool {
        for compare in &txn.compares {
            let (key, hi) = compare.span();
            if !hi.is_empty() {
                return false;
            }
            match compare.test() {
                (Field::ModRev(0) | Field::CreateRev(0) | Field::Version(0), Relation::Equal) => {
                    self.new.insert(key)
                }
                _ => self.keys.insert(key),
            };
        }
        txn.then.iter().chain(&txn.otherwise).all(|op| match op {
            Op::Put { key, lease: 0, .. }
            | Op::Update {
                key,
                lease: None | Some(0),
                ..
            }
            | Op::Get { key }
            | Op::Delete { key } => {
                self.keys.insert(key);
                true
            }
            Op::DeleteRange { lo, hi } if hi.is_empty() => {
                self.keys.insert(lo);
                true
            }
            Op::Range(range) if range.hi.is_empty() && range.rev == 0 => {
                self.keys.insert(&range.lo);
                true
            }
            Op::Txn(inner) => self.add(inner),
            _ => false,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Compare;
    use crate::Quota;
    use crate::postgres::batch::plan;

    fn put(key: &'static str, mod_rev: u64) -> Txn {
        let op = Op::Put {
            key: key.into(),
            value: "v".into(),
            lease: 0,
        };
        Txn {
            compares: vec![Compare::ModRev(key.into(), mod_rev)],
            then: vec![op],
            otherwise: vec![Op::Get { key: key.into() }],
            ..Txn::default()
        }
    }

    fn at(rev: u64) -> Seen {
        let sums = Sums {
            rev,
            ..Sums::default()
        };
        Seen {
            sums,
            ..Seen::default()
        }
    }

    fn run(known: &mut Known, seen: Seen, txn: &Txn) {
        let planned = plan(seen, &[txn], Quota::default());
        known.wrote(&planned);
    }

    #[test]
    fn what_the_last_batches_wrote_is_known_and_nothing_else() {
        let mut known = Known::default();
        assert!(known.guess(&[&put("a", 0)]).is_none(), "nothing is known");
        run(&mut known, at(1), &put("a", 0));
        assert!(
            known.guess(&[&put("b", 0)]).is_none(),
            "perhaps others write"
        );
        run(&mut known, at(2), &put("b", 0));
        let guess = known.guess(&[&put("b", 3), &put("c", 0)]).expect("known");
        assert_eq!(guess.seen.sums.rev, 3);
        assert_eq!(guess.seen.rows.keys().collect::<Vec<_>>(), ["b"]);
        assert_eq!(guess.absent, ["c"]);
        assert!(known.guess(&[&put("x", 7)]).is_none(), "a row to be read");
        // Somebody else has written in between: what was known is worth nothing.
        run(&mut known, at(9), &put("d", 0));
        assert!(known.guess(&[&put("d", 10)]).is_none());
        run(&mut known, at(10), &put("e", 0));
        assert!(known.guess(&[&put("e", 11)]).is_some());
        assert!(known.guess(&[&put("b", 3)]).is_none());
    }

    #[test]
    fn rows_that_are_remembered_have_a_bound() {
        let mut known = Known::default();
        let row = |n: u64| KeyValue {
            key: format!("k{n}").into(),
            value: vec![0; 1000].into(),
            create_rev: n,
            mod_rev: n,
            version: 1,
            lease: 0,
        };
        for n in 0..10_000 {
            let kv = row(n);
            known.keep(&kv.key, Some(&kv));
        }
        let kept = known.young.len() + known.old.len();
        assert!((100..256).contains(&kept), "{kept}");
        assert!(known.row(&row(9_999).key).is_some() && known.row(&row(1).key).is_none());
        // One that became too long is not remembered as it was.
        let long = KeyValue {
            value: vec![0; LONG].into(),
            ..row(9_999)
        };
        known.keep(&long.key, Some(&long));
        assert!(known.row(&long.key).is_none());
    }
}

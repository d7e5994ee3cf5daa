//! The checker: is there one order of a key's operations, each at some point between its call
//! and its return, that explains every answer? (Wing and Gong, linearizing just in time.)

use std::collections::{BTreeMap, BTreeSet};

/// A value is a number that no other write of the history uses.
pub(crate) type Value = u64;

/// What was asked of one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Ask {
    Read,
    Put(Value),
    /// put if the modification revision is this (0: absent)
    Cas(u64, Value),
    Delete,
}

/// What was answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// value and modification revision, and the keyspace's revision
    Read(Option<(Value, u64)>, u64),
    /// done at this revision
    Wrote(u64),
    /// the comparison failed, and this was there
    Mismatch(Option<(Value, u64)>),
    /// a deletion: what was there, and the revision
    Deleted(Option<(Value, u64)>, u64),
    /// it may have happened, now or later
    Unknown,
}

/// One operation: when it was called and when it returned, by one clock.
#[derive(Clone, Debug)]
pub(crate) struct Operation {
    pub(crate) key: String,
    pub(crate) called: u64,
    pub(crate) returned: u64,
    pub(crate) ask: Ask,
    pub(crate) answer: Answer,
}

impl Operation {
    /// Value and revision of the key that this operation saw.
    fn saw(&self) -> Option<(Value, u64)> {
        match self.answer {
            Answer::Read(seen, _) | Answer::Mismatch(seen) | Answer::Deleted(seen, _) => seen,
            Answer::Wrote(_) | Answer::Unknown => None,
        }
    }

    fn puts(&self) -> Option<Value> {
        match self.ask {
            Ask::Put(value) | Ask::Cas(_, value) => Some(value),
            Ask::Read | Ask::Delete => None,
        }
    }
}

/// What the key holds, and the newest revision at which something happened to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct State {
    holds: Option<(Value, u64)>,
    floor: u64,
}

impl State {
    fn becomes(self, holds: Option<Value>, rev: u64) -> Option<Self> {
        (rev > self.floor).then_some(Self {
            holds: holds.map(|value| (value, rev)),
            floor: rev,
        })
    }

    /// The state in which this operation leaves the key, if it can happen here.
    fn step(self, operation: &Operation) -> Option<Self> {
        let mod_rev = self.holds.map_or(0, |(_, rev)| rev);
        match (&operation.ask, &operation.answer) {
            (Ask::Read, Answer::Read(seen, _)) => (self.holds == *seen).then_some(self),
            (Ask::Put(value), Answer::Wrote(rev)) => self.becomes(Some(*value), *rev),
            (Ask::Cas(expected, value), Answer::Wrote(rev)) if mod_rev == *expected => {
                self.becomes(Some(*value), *rev)
            }
            (Ask::Cas(expected, _), Answer::Mismatch(seen)) => {
                (self.holds == *seen && mod_rev != *expected).then_some(self)
            }
            (Ask::Delete, Answer::Deleted(seen, rev)) if self.holds == *seen => match seen {
                Some(_) => self.becomes(None, *rev),
                None => Some(self),
            },
            (Ask::Delete, Answer::Unknown) => Some(Self {
                holds: None,
                ..self
            }),
            _ => None,
        }
    }
}

/// Puts whose outcome is unknown: seen by somebody, they happened before that and their
/// revision is known; seen by nobody, they explain nothing and are left out.
fn settle(all: &[Operation]) -> Vec<Operation> {
    let mut seen: BTreeMap<Value, (u64, u64)> = BTreeMap::new();
    for operation in all {
        if let Some((value, rev)) = operation.saw() {
            let first = seen.entry(value).or_insert((operation.returned, rev));
            first.0 = first.0.min(operation.returned);
        }
    }
    let settled = all.iter().filter_map(|operation| {
        let value = operation.puts();
        match (value, &operation.answer) {
            (Some(value), Answer::Unknown) => seen.get(&value).map(|(at, rev)| Operation {
                // Moments are whole numbers that occur once: this one is called, then returns.
                returned: *at,
                answer: Answer::Wrote(*rev),
                ..operation.clone()
            }),
            (None, Answer::Unknown) if operation.ask == Ask::Read => None,
            _ => Some(operation.clone()),
        }
    });
    settled.collect()
}

/// Which of the operations under way have already happened, and what that made of the key.
type Config = (BTreeSet<usize>, State);

/// All configurations in which operation `x` has happened; then it needs no mention any more.
fn explain(
    configs: BTreeSet<Config>,
    under_way: &BTreeSet<usize>,
    x: usize,
    all: &[Operation],
) -> BTreeSet<Config> {
    let mut found = BTreeSet::new();
    let mut seen = configs.clone();
    let mut todo: Vec<Config> = configs.into_iter().collect();
    while let Some((mut done, state)) = todo.pop() {
        if done.remove(&x) {
            found.insert((done, state));
            continue;
        }
        // Deletions whose outcome is unknown are all alike: the first stands for the others.
        let mut unknown = 0;
        for p in under_way.iter().filter(|p| !done.contains(p)) {
            unknown += u32::from(all[*p].answer == Answer::Unknown);
            if all[*p].answer == Answer::Unknown && unknown > 1 {
                continue;
            }
            let Some(after) = state.step(&all[*p]) else {
                continue;
            };
            let mut done = done.clone();
            done.insert(*p);
            if seen.insert((done.clone(), after)) {
                todo.push((done, after));
            }
        }
    }
    found
}

/// Checks one key's operations; what cannot be explained is told.
fn check_key(all: &[Operation]) -> Result<(), String> {
    let all = &settle(all)[..];
    let mut moments: Vec<(u64, bool, usize)> = Vec::new();
    for (n, operation) in all.iter().enumerate() {
        moments.push((operation.called, false, n));
        if operation.answer != Answer::Unknown {
            moments.push((operation.returned, true, n));
        }
    }
    // A settled put returns with whoever saw it: it comes first then.
    moments.sort_unstable_by_key(|(at, returned, n)| (*at, *returned, all[*n].puts().is_none()));
    let start = State {
        holds: None,
        floor: 0,
    };
    let mut configs = BTreeSet::from([(BTreeSet::new(), start)]);
    let mut under_way = BTreeSet::new();
    for (_, returned, n) in moments {
        if !returned {
            under_way.insert(n);
            continue;
        }
        let before = configs.clone();
        configs = explain(configs, &under_way, n, all);
        under_way.remove(&n);
        if configs.is_empty() {
            let around: Vec<_> = under_way.iter().map(|p| &all[*p]).collect();
            return Err(format!(
                "no order explains {:#?}\npossible before it: {before:?}\nunder way: {around:#?}",
                all[n]
            ));
        }
    }
    Ok(())
}

/// Revisions of all keys together: none twice, none lower than one that was known before.
fn check_revisions(all: &[Operation]) -> Result<(), String> {
    let mut moments: Vec<(u64, bool, &Operation, u64)> = Vec::new();
    let mut taken: BTreeMap<u64, &Operation> = BTreeMap::new();
    for operation in all {
        let (rev, wrote) = match &operation.answer {
            Answer::Wrote(rev) => (*rev, true),
            Answer::Deleted(there, rev) => (*rev, there.is_some()),
            Answer::Read(_, head) => (*head, false),
            _ => continue,
        };
        if wrote && let Some(other) = taken.insert(rev, operation) {
            return Err(format!(
                "two writes at one revision: {operation:?}, {other:?}"
            ));
        }
        moments.push((operation.called, wrote, operation, rev));
    }
    moments.sort_unstable_by_key(|(called, ..)| *called);
    let mut returned: Vec<(u64, u64)> = moments
        .iter()
        .map(|(_, _, operation, rev)| (operation.returned, *rev))
        .collect();
    returned.sort_unstable();
    let mut returned = returned.into_iter().peekable();
    let mut known = 0;
    for (called, wrote, operation, rev) in moments {
        while let Some((_, rev)) = returned.next_if(|(at, _)| *at < called) {
            known = known.max(rev);
        }
        if rev < known || wrote && rev == known {
            return Err(format!(
                "revision {known} was known before this was called: {operation:?}"
            ));
        }
    }
    Ok(())
}

/// Checks a history of any number of keys.
pub(crate) fn check(history: &[Operation]) -> Result<(), String> {
    check_revisions(history)?;
    let mut keys: BTreeMap<&str, Vec<Operation>> = BTreeMap::new();
    for operation in history {
        keys.entry(&operation.key)
            .or_default()
            .push(operation.clone());
    }
    for operations in keys.values() {
        check_key(operations)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn operation(called: u64, returned: u64, ask: Ask, answer: Answer) -> Operation {
        Operation {
            key: "k".into(),
            called,
            returned,
            ask,
            answer,
        }
    }

    fn wrote(at: u64, value: u64, rev: u64) -> Operation {
        operation(at, at + 1, Ask::Put(value), Answer::Wrote(rev))
    }

    fn read(at: u64, seen: Option<(u64, u64)>, head: u64) -> Operation {
        operation(at, at + 1, Ask::Read, Answer::Read(seen, head))
    }

    #[test]
    fn histories_in_order_are_explained() {
        let unknown = operation(20, 21, Ask::Put(9), Answer::Unknown);
        let history = [
            wrote(0, 1, 2),
            read(2, Some((1, 2)), 2),
            operation(4, 9, Ask::Put(2), Answer::Wrote(3)),
            read(5, Some((1, 2)), 2),
            read(7, Some((2, 3)), 3),
            operation(10, 11, Ask::Cas(3, 4), Answer::Wrote(4)),
            operation(12, 13, Ask::Cas(3, 5), Answer::Mismatch(Some((4, 4)))),
            operation(14, 15, Ask::Delete, Answer::Deleted(Some((4, 4)), 5)),
            read(16, None, 5),
            unknown,
            read(30, None, 5),
            read(32, Some((9, 6)), 6),
            operation(34, 35, Ask::Cas(6, 10), Answer::Unknown),
            operation(36, 37, Ask::Put(11), Answer::Unknown),
            operation(38, 39, Ask::Delete, Answer::Unknown),
            read(40, Some((10, 7)), 8),
            operation(42, 43, Ask::Delete, Answer::Unknown),
            read(50, None, 9),
        ];
        check(&history).expect("explained");
    }

    #[test]
    fn what_cannot_have_happened_is_found() {
        let cases: Vec<(&str, Vec<Operation>)> = vec![
            (
                "stale",
                vec![wrote(0, 1, 2), wrote(2, 2, 3), read(4, Some((1, 2)), 3)],
            ),
            ("lost", vec![wrote(0, 1, 2), read(2, None, 2)]),
            (
                "back",
                vec![
                    operation(0, 10, Ask::Put(1), Answer::Wrote(2)),
                    read(1, Some((1, 2)), 2),
                    read(3, None, 2),
                ],
            ),
            ("head goes back", vec![read(0, None, 7), read(2, None, 6)]),
            ("one revision twice", vec![wrote(0, 1, 2), wrote(2, 2, 2)]),
            (
                "both win",
                vec![
                    operation(0, 10, Ask::Cas(0, 1), Answer::Wrote(2)),
                    operation(0, 10, Ask::Cas(0, 2), Answer::Wrote(3)),
                ],
            ),
            (
                "an unknown write is there, gone, and there again",
                vec![
                    operation(0, 1, Ask::Put(1), Answer::Unknown),
                    read(2, Some((1, 2)), 2),
                    operation(4, 5, Ask::Delete, Answer::Deleted(Some((1, 2)), 3)),
                    read(6, Some((1, 2)), 3),
                ],
            ),
            ("never written", vec![read(0, Some((5, 2)), 2)]),
        ];
        for (name, history) in cases {
            assert!(check(&history).is_err(), "{name}");
        }
    }
}

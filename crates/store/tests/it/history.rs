//! Records what concurrent clients of a store do and checks that it was strictly serializable.
//!
//! Every answer names a revision, so the order is not searched for but given: the history of the
//! keyspace, read at the end, is replayed, and every answer must be what the state at its revision
//! says, and revisions must agree with real time. A write whose outcome was not told may have
//! happened once or not at all. Linear in the length of the history.

use crate::random::Random;
use crate::support::{all, next, put_op, watch_all};
use bytes::Bytes;
use freehold_store::{Compare, Error, Op, OpResult, Range, Store, Txn, WatchItem};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

const KEYS: u64 = 5;

#[derive(Debug)]
enum Done {
    /// a conditional put; what it expected, and whether it was done
    Put { expected: u64, succeeded: bool },
    /// what a failed put or a read saw: value and modification revision
    Saw(Option<(String, u64)>),
}

#[derive(Debug)]
struct Record {
    start: Duration,
    /// none: nobody knows whether it was done
    end: Option<Duration>,
    key: String,
    /// of a put
    value: Option<String>,
    /// revision of the answer
    rev: u64,
    done: Vec<Done>,
}

/// Clients at work.
pub(crate) struct Recorder {
    stop: Arc<AtomicBool>,
    acknowledged: Arc<AtomicU64>,
    clients: Vec<tokio::task::JoinHandle<Vec<Record>>>,
}

pub(crate) struct Summary {
    pub(crate) acknowledged: usize,
    pub(crate) reads: usize,
    pub(crate) unknown: usize,
    pub(crate) revisions: usize,
}

impl Recorder {
    pub(crate) fn start(stores: &[Arc<dyn Store>], clients: usize) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let acknowledged = Arc::new(AtomicU64::new(0));
        let zero = Instant::now();
        let clients = (0..clients).map(|n| {
            let store = stores[n % stores.len()].clone();
            let client = Client {
                name: n,
                store,
                zero,
                stop: stop.clone(),
                acknowledged: acknowledged.clone(),
            };
            tokio::spawn(client.run())
        });
        let clients = clients.collect();
        Self {
            stop,
            acknowledged,
            clients,
        }
    }

    /// Writes that were acknowledged so far.
    pub(crate) fn acknowledged(&self) -> u64 {
        self.acknowledged.load(Ordering::Relaxed)
    }

    /// Stops the clients and checks what they saw against the store's own history.
    pub(crate) async fn check(self, store: &dyn Store) -> Summary {
        self.stop.store(true, Ordering::Relaxed);
        let mut records = Vec::new();
        for client in self.clients {
            records.extend(client.await.expect("client"));
        }
        check(records, &History::read(store).await)
    }
}

struct Client {
    name: usize,
    store: Arc<dyn Store>,
    zero: Instant,
    stop: Arc<AtomicBool>,
    acknowledged: Arc<AtomicU64>,
}

impl Client {
    async fn run(self) -> Vec<Record> {
        let mut random = Random::new(self.name as u64 + 1);
        let mut known: BTreeMap<String, u64> = BTreeMap::new();
        let mut records = Vec::new();
        let mut n = 0;
        while !self.stop.load(Ordering::Relaxed) {
            let key = format!("k{}", random.below(KEYS));
            n += 1;
            let expected = known.get(&key).copied().unwrap_or(0);
            let record = match random.below(4) {
                0 => self.read(&key).await,
                _ => {
                    let value = format!("c{}-{n}", self.name);
                    Some(self.put(&key, value, expected).await)
                }
            };
            let Some(record) = record else { continue };
            for done in &record.done {
                match done {
                    Done::Saw(seen) => {
                        known.insert(key.clone(), seen.as_ref().map_or(0, |(_, rev)| *rev));
                    }
                    Done::Put { succeeded, .. } => {
                        if *succeeded {
                            known.insert(key.clone(), record.rev);
                            self.acknowledged.fetch_add(1, Ordering::Relaxed);
                        }
                    }
                }
            }
            records.push(record);
        }
        records
    }

    /// A read that failed says nothing.
    async fn read(&self, key: &str) -> Option<Record> {
        let start = self.zero.elapsed();
        let lo = Bytes::from(key.to_owned());
        let range = Range {
            lo,
            ..Range::default()
        };
        let reply = self.store.range(range).await.ok()?;
        Some(Record {
            start,
            end: Some(self.zero.elapsed()),
            key: key.to_owned(),
            value: None,
            rev: reply.head_rev,
            done: vec![Done::Saw(reply.kvs.first().map(seen))],
        })
    }

    async fn put(&self, key: &str, value: String, expected: u64) -> Record {
        let start = self.zero.elapsed();
        let txn = Txn {
            compares: vec![Compare::ModRev(key.to_owned().into(), expected)],
            then: vec![put_op(key, &value)],
            otherwise: vec![Op::Get {
                key: key.to_owned().into(),
            }],
        };
        let reply = self.store.txn(txn).await;
        let mut record = Record {
            start,
            end: Some(self.zero.elapsed()),
            key: key.to_owned(),
            value: Some(value),
            rev: 0,
            done: Vec::new(),
        };
        match reply {
            Ok(reply) => {
                record.rev = reply.rev;
                let succeeded = reply.succeeded;
                record.done.push(Done::Put {
                    expected,
                    succeeded,
                });
                if let OpResult::Got(now) = &reply.results[0] {
                    record.done.push(Done::Saw(now.as_ref().map(seen)));
                }
            }
            Err(Error::Unavailable(_)) => {
                record.end = None;
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            Err(other) => panic!("{other}"),
        }
        record
    }
}

fn seen(kv: &freehold_store::KeyValue) -> (String, u64) {
    (String::from_utf8(kv.value.to_vec()).expect("text"), kv.mod_rev)
}

/// All that ever happened in the keyspace.
struct History {
    /// values of a key by revision
    keys: BTreeMap<String, Vec<(u64, String)>>,
    /// where a value was put
    puts: BTreeMap<String, (String, u64)>,
    revisions: usize,
}

impl History {
    async fn read(store: &dyn Store) -> Self {
        let head = all(store, 0).await.expect("the store answers").head_rev;
        let mut history = Self {
            keys: BTreeMap::new(),
            puts: BTreeMap::new(),
            revisions: 0,
        };
        let mut stream = watch_all(store, 1).await;
        loop {
            match next(&mut stream).await.expect("item").expect("item") {
                WatchItem::Events { rev, events } => {
                    history.revisions += 1;
                    for event in events {
                        assert!(!event.deleted, "nobody deletes here");
                        let key = String::from_utf8(event.kv.key.to_vec()).expect("text");
                        let (value, at) = seen(&event.kv);
                        assert_eq!(at, rev);
                        let twice = history.puts.insert(value.clone(), (key.clone(), rev));
                        assert_eq!(twice, None, "{value} was written twice");
                        history.keys.entry(key).or_default().push((rev, value));
                    }
                }
                WatchItem::Progress { rev } if rev >= head => return history,
                WatchItem::Progress { .. } => {}
                WatchItem::Compacted { .. } => panic!("nothing was compacted"),
            }
        }
    }

    fn at(&self, key: &str, rev: u64) -> Option<(String, u64)> {
        let changes = self.keys.get(key)?;
        let upto = changes.partition_point(|(at, _)| *at <= rev);
        let (at, value) = changes.get(upto.checked_sub(1)?)?;
        Some((value.clone(), *at))
    }
}

fn check(mut records: Vec<Record>, history: &History) -> Summary {
    let mut summary = Summary {
        acknowledged: 0,
        reads: 0,
        unknown: 0,
        revisions: history.revisions,
    };
    for record in &mut records {
        check_one(record, history, &mut summary);
    }
    let called: std::collections::BTreeSet<&String> =
        records.iter().filter_map(|record| record.value.as_ref()).collect();
    for value in history.puts.keys() {
        assert!(called.contains(value), "nobody wrote {value}");
    }
    check_real_time(&records);
    summary
}

fn check_one(record: &mut Record, history: &History, summary: &mut Summary) {
    let Record { key, rev, .. } = &*record;
    let put = record.value.as_ref().and_then(|value| history.puts.get(value));
    if record.end.is_none() {
        summary.unknown += 1;
        // If it was done, it took its place at that revision.
        record.rev = put.map_or(0, |(_, rev)| *rev);
        return;
    }
    for done in &record.done {
        match done {
            Done::Put {
                expected,
                succeeded: true,
            } => {
                summary.acknowledged += 1;
                assert_eq!(put, Some(&(key.clone(), *rev)), "lost: {record:?}");
                let before = history.at(key, rev - 1).map_or(0, |(_, rev)| rev);
                assert_eq!(before, *expected, "{record:?}");
            }
            Done::Put { expected, .. } => {
                assert_eq!(put, None, "refused and yet done: {record:?}");
                let then = history.at(key, *rev).map_or(0, |(_, rev)| rev);
                assert_ne!(then, *expected, "{record:?}");
            }
            Done::Saw(seen) => {
                summary.reads += 1;
                assert_eq!(*seen, history.at(key, *rev), "{record:?}");
            }
        }
    }
}

/// What ended before something began has no later revision; a write has a later one.
fn check_real_time(records: &[Record]) {
    let mut starts: Vec<_> = records.iter().filter(|r| r.rev > 0).collect();
    starts.sort_by_key(|record| record.start);
    let mut ends: Vec<_> = records.iter().filter(|r| r.end.is_some()).collect();
    ends.sort_by_key(|record| record.end);
    let mut ends = ends.into_iter().peekable();
    let mut newest = 0;
    for record in starts {
        while let Some(ended) = ends.next_if(|ended| ended.end < Some(record.start)) {
            newest = newest.max(ended.rev);
        }
        let wrote = record.end.is_none()
            || matches!(
                record.done.first(),
                Some(Done::Put {
                    succeeded: true,
                    ..
                })
            );
        let later = if wrote {
            record.rev > newest
        } else {
            record.rev >= newest
        };
        assert!(later, "{newest} was over before {record:?}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn history() -> History {
        let changes = vec![(2, "a".to_owned()), (3, "b".to_owned())];
        let puts = changes.iter().map(|(rev, v)| (v.clone(), ("k".to_owned(), *rev)));
        History {
            puts: puts.collect(),
            keys: BTreeMap::from([("k".to_owned(), changes)]),
            revisions: 2,
        }
    }

    fn record(start: u64, end: u64, rev: u64, value: Option<&str>, done: Done) -> Record {
        Record {
            start: Duration::from_millis(start),
            end: Some(Duration::from_millis(end)),
            key: "k".into(),
            value: value.map(str::to_owned),
            rev,
            done: vec![done],
        }
    }

    fn put(start: u64, end: u64, rev: u64, value: &str, expected: u64) -> Record {
        let done = Done::Put {
            expected,
            succeeded: true,
        };
        record(start, end, rev, Some(value), done)
    }

    fn refused(records: Vec<Record>) -> bool {
        std::panic::catch_unwind(|| check(records, &history())).is_err()
    }

    #[test]
    fn the_checker_finds_what_is_wrong() {
        let good = || vec![put(0, 1, 2, "a", 0), put(2, 3, 3, "b", 2)];
        assert!(!refused(good()));
        let saw = |at: u64, rev, value: &str, mod_rev| {
            let done = Done::Saw(Some((value.to_owned(), mod_rev)));
            record(at, at, rev, None, done)
        };
        let with = |more: Record| good().into_iter().chain([more]).collect::<Vec<_>>();
        assert!(!refused(with(saw(5, 3, "b", 3))));
        assert!(refused(with(saw(5, 2, "a", 2))), "a stale read");
        assert!(refused(with(saw(5, 3, "a", 2))), "another value");
        assert!(refused(with(put(5, 6, 4, "c", 3))), "a lost write");
        assert!(refused(vec![put(0, 1, 2, "a", 0)]), "a write of nobody");
        assert!(refused(vec![put(2, 3, 2, "a", 0), put(0, 1, 3, "b", 2)]), "time runs back");
        let mut unknown = put(2, 3, 0, "b", 2);
        unknown.end = None;
        assert!(!refused(vec![put(0, 1, 2, "a", 0), unknown]));
    }
}

//! Linearizability of recorded histories: clients work on a few keys at once while the store is
//! restarted, cut off or put to sleep under them, and a checker looks for one order that
//! explains every answer.
//!
//! For another engine or driver: make a [`Target`], run [`clients`] while something disturbs
//! it, then [`History::verify`].

mod check;
mod runs;

use crate::random::Random;
use crate::support::put_op;
use bytes::Bytes;
use check::{Answer, Ask, Operation, Value};
use freehold_store::{Compare, Error, KeyValue, Op, OpResult, Range, Store, Txn, TxnReply};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// The store that clients use now; whoever restarts it puts the new one in.
#[derive(Clone)]
pub(crate) struct Target(Arc<Mutex<Arc<dyn Store>>>);

impl Target {
    pub(crate) fn new(store: Arc<dyn Store>) -> Self {
        Self(Arc::new(Mutex::new(store)))
    }

    pub(crate) fn set(&self, store: Arc<dyn Store>) {
        *self.0.lock().expect("no panic while held") = store;
    }

    fn get(&self) -> Arc<dyn Store> {
        self.0.lock().expect("no panic while held").clone()
    }
}

/// What clients asked and were answered.
#[derive(Default)]
pub(crate) struct History {
    clock: AtomicU64,
    values: AtomicU64,
    operations: Mutex<Vec<Operation>>,
}

impl History {
    fn now(&self) -> u64 {
        self.clock.fetch_add(1, Ordering::SeqCst)
    }

    fn add(&self, operation: Operation) {
        self.operations
            .lock()
            .expect("no panic while held")
            .push(operation);
    }

    /// Panics with what cannot be explained; else returns the number of operations, and of
    /// those whose outcome nobody knows.
    pub(crate) fn verify(&self, name: &str) -> (usize, usize) {
        let operations = self.operations.lock().expect("no panic while held");
        if let Err(text) = check::check(&operations) {
            panic!("{name}: not linearizable: {text}");
        }
        let unknown = operations
            .iter()
            .filter(|operation| operation.answer == Answer::Unknown);
        (operations.len(), unknown.count())
    }
}

/// How much work clients do.
#[derive(Clone, Copy)]
pub(crate) struct Load {
    pub(crate) clients: u64,
    /// operations of each client
    pub(crate) operations: u64,
    pub(crate) keys: u64,
    pub(crate) seed: u64,
}

/// Works on keys `lin/<seed>/<n>`. Use a new seed for each round: an operation whose outcome is
/// unknown stays possible for ever, so a key with many of them is expensive to check.
pub(crate) async fn clients(target: &Target, history: &Arc<History>, load: Load) {
    let tasks = (0..load.clients).map(|n| {
        let client = Client {
            target: target.clone(),
            history: history.clone(),
            random: Random::new(load.seed.wrapping_mul(1_000_003) + n),
            load,
        };
        tokio::spawn(client.run())
    });
    for task in tasks.collect::<Vec<_>>() {
        task.await.expect("a client");
    }
}

struct Client {
    target: Target,
    history: Arc<History>,
    random: Random,
    load: Load,
}

impl Client {
    async fn run(mut self) {
        // What this client last saw of each key: comparisons should often hold.
        let keys = usize::try_from(self.load.keys).expect("few");
        let mut seen = vec![0; keys];
        for _ in 0..self.load.operations {
            let n = self.random.below(self.load.keys);
            let known = &mut seen[usize::try_from(n).expect("few")];
            let key = format!("lin/{}/{n}", self.load.seed);
            let ask = match self.random.below(10) {
                0..3 => Ask::Read,
                3..5 => Ask::Put(self.value()),
                5..9 => Ask::Cas(*known, self.value()),
                _ => Ask::Delete,
            };
            let called = self.history.now();
            let answer = perform(&*self.target.get(), &key, &ask).await;
            let returned = self.history.now();
            let Some(answer) = answer else {
                tokio::time::sleep(Duration::from_millis(2)).await;
                continue;
            };
            *known = match &answer {
                Answer::Wrote(rev) => *rev,
                Answer::Read(there, _) | Answer::Mismatch(there) => there.map_or(0, |(_, rev)| rev),
                Answer::Deleted(..) => 0,
                Answer::Unknown => *known,
            };
            let unknown = answer == Answer::Unknown;
            self.history.add(Operation {
                key,
                called,
                returned,
                ask,
                answer,
            });
            if unknown {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        }
    }

    fn value(&self) -> Value {
        self.history.values.fetch_add(1, Ordering::Relaxed)
    }
}

/// Asks; `None` when it certainly did not happen.
async fn perform(store: &dyn Store, key: &str, ask: &Ask) -> Option<Answer> {
    let bytes = Bytes::from(key.to_owned());
    if *ask == Ask::Read {
        let range = Range {
            lo: bytes,
            ..Range::default()
        };
        return match store.range(range).await {
            Ok(reply) => {
                let there = reply.kvs.first().map(content);
                Some(Answer::Read(there, reply.head_rev))
            }
            Err(error) => retryable(&error),
        };
    }
    let mut txn = Txn::default();
    match ask {
        Ask::Put(value) => txn.then.push(put_op(key, &value.to_string())),
        Ask::Cas(expected, value) => {
            txn.compares.push(Compare::ModRev(bytes.clone(), *expected));
            txn.then.push(put_op(key, &value.to_string()));
            txn.otherwise.push(Op::Get { key: bytes });
        }
        Ask::Delete | Ask::Read => txn.then.push(Op::Delete { key: bytes }),
    }
    match store.txn(txn).await {
        Ok(reply) => Some(told(reply)),
        Err(Error::Unavailable(_)) => Some(Answer::Unknown),
        Err(error) => retryable(&error),
    }
}

fn told(mut reply: TxnReply) -> Answer {
    match reply.results.pop() {
        Some(OpResult::Put { .. }) => Answer::Wrote(reply.rev),
        Some(OpResult::Got(there)) => Answer::Mismatch(there.as_ref().map(content)),
        Some(OpResult::Deleted { prev }) => Answer::Deleted(prev.first().map(content), reply.rev),
        Some(OpResult::Range(_) | OpResult::Txn(_)) | None => {
            panic!("a transaction with one operation has one result, in its kind")
        }
    }
}

/// Refusals that a client lives with; anything else is a mistake.
fn retryable(error: &Error) -> Option<Answer> {
    match error {
        Error::Unavailable(_) | Error::Throttled(_) => None,
        other => panic!("{other}"),
    }
}

fn content(kv: &KeyValue) -> (Value, u64) {
    let text = std::str::from_utf8(&kv.value).expect("text");
    (text.parse().expect("a number"), kv.mod_rev)
}

//! What the sides are asked to do.

use anyhow::{Context as _, Result, ensure};
use bytes::Bytes;
use freehold_store::{Compare, Op, Range, Store, Txn, Watch, WatchItem};
use futures::StreamExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Work {
    Put,
    /// a put if the key is not there yet
    Create,
}

/// One measurement of one side.
#[derive(Clone)]
pub(crate) struct Measured {
    pub(crate) per_second: f64,
    sorted: Vec<Duration>,
    /// processor time of each call, in µs, where it is known: the client's and the servers'
    pub(crate) cost: Option<[f64; 2]>,
}

impl Measured {
    pub(crate) fn new(mut times: Vec<Duration>, took: Duration) -> Self {
        times.sort_unstable();
        Self {
            per_second: times.len() as f64 / took.as_secs_f64(),
            sorted: times,
            cost: None,
        }
    }

    /// With the processor time that all its calls took.
    pub(crate) fn at_cost(self, took: [Duration; 2]) -> Self {
        let calls = self.calls().max(1) as f64;
        Self {
            cost: Some(took.map(|took| took.as_secs_f64() * 1e6 / calls)),
            ..self
        }
    }

    pub(crate) fn calls(&self) -> usize {
        self.sorted.len()
    }

    pub(crate) fn percentile(&self, per_cent: usize) -> f64 {
        let at = (self.sorted.len() * per_cent / 100).min(self.sorted.len().saturating_sub(1));
        self.sorted.get(at).map_or(0.0, Duration::as_secs_f64) * 1000.0
    }
}

pub(crate) fn value() -> Bytes {
    Bytes::from(vec![b'v'; 1000])
}

/// Keys begin with this, and end with a number.
pub(crate) const KEY: &str = "/registry/pods/default/";

/// Keys are new in every run, as objects are.
static NEXT: AtomicU64 = AtomicU64::new(0);

pub(crate) fn next_key() -> u64 {
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// A number as it is in keys.
pub(crate) fn digits(mut n: u64) -> [u8; 10] {
    let mut digits = [b'0'; 10];
    for digit in digits.iter_mut().rev() {
        *digit += (n % 10) as u8;
        n /= 10;
    }
    digits
}

fn key(n: u64) -> Bytes {
    Bytes::from([KEY.as_bytes(), &digits(n)].concat())
}

/// Clients that write as fast as they are answered.
pub(crate) async fn write(
    stores: &[Arc<dyn Store>],
    clients: usize,
    work: Work,
    time: Duration,
) -> Result<Measured> {
    let start = Instant::now();
    let tasks: Vec<_> = (0..clients)
        .map(|n| client(stores[n % stores.len()].clone(), work, start, time))
        .map(tokio::spawn)
        .collect();
    let mut times = Vec::new();
    for task in tasks {
        times.extend(task.await.context("a client")??);
    }
    Ok(Measured::new(times, start.elapsed()))
}

async fn client(
    store: Arc<dyn Store>,
    work: Work,
    start: Instant,
    time: Duration,
) -> Result<Vec<Duration>> {
    let mut times = Vec::new();
    while start.elapsed() < time {
        let key = key(next_key());
        let create = work == Work::Create;
        let txn = Txn {
            compares: Vec::from_iter(create.then(|| Compare::ModRev(key.clone(), 0))),
            then: vec![Op::Put {
                key,
                value: value(),
                lease: 0,
            }],
            // As etcd's own benchmark and Kubernetes: nobody asks what was there before.
            without_prev: true,
            ..Txn::default()
        };
        let at = Instant::now();
        ensure!(store.txn(txn).await?.succeeded, "the key was there");
        times.push(at.elapsed());
    }
    Ok(times)
}

/// Puts so many keys of 1 KiB, a hundred at once.
pub(crate) async fn fill(store: &dyn Store, keys: usize) -> Result<()> {
    for start in (0..keys).step_by(100) {
        let then = (start..start + 100).map(|n| Op::Put {
            key: key(n as u64),
            value: value(),
            lease: 0,
        });
        let txn = Txn {
            then: then.collect(),
            ..Txn::default()
        };
        store.txn(txn).await?;
    }
    Ok(())
}

pub(crate) fn everything() -> Range {
    Range {
        lo: Bytes::from_static(&[0]),
        hi: Bytes::from_static(&[0]),
        ..Range::default()
    }
}

/// Pages from changing places, or exact counts.
pub(crate) async fn ranges(
    store: &dyn Store,
    times: usize,
    count_only: bool,
    keys: usize,
) -> Result<Measured> {
    let start = Instant::now();
    let mut took = Vec::new();
    for n in 0..times {
        let from = n * 3000 % (keys - 2000);
        let range = if count_only {
            Range {
                count_only: true,
                ..everything()
            }
        } else {
            Range {
                lo: key(from as u64),
                limit: 1000,
                ..everything()
            }
        };
        let at = Instant::now();
        let reply = store.range(range).await?;
        took.push(at.elapsed());
        let whole = if count_only {
            reply.count == keys as u64
        } else {
            reply.kvs.len() == 1000 && reply.kvs.iter().all(|kv| kv.value.len() == 1000)
        };
        ensure!(whole, "not all keys came");
    }
    Ok(Measured::new(took, start.elapsed()))
}

/// From sending a put to having its event, one after the other.
pub(crate) async fn events(store: &dyn Store, times: usize) -> Result<Measured> {
    let watch = Watch {
        lo: "/watched".into(),
        prev_kv: true,
        ..Watch::default()
    };
    let mut stream = store.watch(watch).await?;
    while !matches!(
        stream.next().await.context("the watch ended")??,
        WatchItem::Progress { .. }
    ) {}
    let start = Instant::now();
    let mut took = Vec::new();
    for _ in 0..times {
        let put = Op::Put {
            key: "/watched".into(),
            value: value(),
            lease: 0,
        };
        let txn = Txn {
            then: vec![put],
            ..Txn::default()
        };
        let at = Instant::now();
        let event = async {
            loop {
                if let WatchItem::Events { .. } =
                    stream.next().await.context("the watch ended")??
                {
                    return anyhow::Ok(at.elapsed());
                }
            }
        };
        let (event, done) = tokio::join!(event, store.txn(txn));
        done?;
        took.push(event?);
    }
    Ok(Measured::new(took, start.elapsed()))
}

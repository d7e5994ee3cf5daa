//! Seeded random work on the engine, with its threads, and on the model at once, with sleep,
//! restarts and power cuts at any disk operation; after each, both must tell the same. Threads
//! are the machine's: a seed that fails need not fail again (see `simulation` for that).

use crate::random::Random;
use crate::sim_disk::SimDisk;
use crate::support::{all, everything, next, watch_all};
use bytes::Bytes;
use freehold_store::embedded::{Embedded, Options};
use freehold_store::memory::MemoryStore;
use freehold_store::{
    Compare, Error, Keyspaces, Op, Range, Result, Store, Txn, TxnReply, WatchItem,
};
use futures::future::join_all;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

const KEYSPACES: usize = 3;

struct RandomWork {
    random: Random,
    dir: tempfile::TempDir,
    disk: SimDisk,
    engine: Arc<Embedded>,
    real: Vec<Arc<dyn Store>>,
    model: Vec<Arc<MemoryStore>>,
    steps: u64,
}

async fn start(dir: &Path, disk: &SimDisk) -> Result<(Arc<Embedded>, Vec<Arc<dyn Store>>)> {
    let options = Options {
        segment_bytes: 96 << 10,
        checkpoint_after: 192 << 10,
        tail_bytes: 32 << 10,
        inline_bytes: 8 << 10,
        history: Duration::ZERO,
        disk: Arc::new(disk.clone()),
        ..Options::default()
    };
    let engine = Embedded::open(dir, options).await?;
    let mut stores = Vec::new();
    for n in 0..KEYSPACES {
        stores.push(engine.open(&format!("ks{n}")).await?);
    }
    Ok((engine, stores))
}

impl RandomWork {
    async fn new(seed: u64) -> Self {
        let dir = tempfile::tempdir().expect("dir");
        let disk = SimDisk::default();
        let (engine, real) = start(dir.path(), &disk).await.expect("start");
        let model = (0..KEYSPACES).map(|_| MemoryStore::new()).collect();
        Self {
            random: Random::new(seed),
            dir,
            disk,
            engine,
            real,
            model,
            steps: 0,
        }
    }

    fn key(&mut self) -> Bytes {
        format!("k{:02}", self.random.below(24)).into()
    }

    fn op(&mut self) -> Op {
        let key = self.key();
        match self.random.below(8) {
            0..4 => {
                let size = if self.random.below(10) == 0 { 2000 } else { 20 };
                let byte = b'a' + u8::try_from(self.random.below(26)).expect("small");
                let len = usize::try_from(self.random.below(size)).expect("small");
                Op::Put {
                    key,
                    value: vec![byte; len].into(),
                    lease: 0,
                }
            }
            4 | 5 => Op::Delete { key },
            6 => Op::Get { key },
            _ => Op::DeleteRange {
                lo: key,
                hi: self.key(),
            },
        }
    }

    async fn txn(&mut self, keyspace: usize) -> Txn {
        let mut txn = Txn::default();
        if self.random.below(3) == 0 {
            let key = self.key();
            let now = Range {
                lo: key.clone(),
                ..Range::default()
            };
            let now = self.model[keyspace]
                .range(now)
                .await
                .expect("model")
                .kvs
                .pop();
            let rev = now.map_or(0, |kv| kv.mod_rev);
            let off = u64::from(self.random.below(4) == 0);
            txn.compares.push(Compare::ModRev(key.clone(), rev + off));
            txn.otherwise.push(Op::Get { key });
        }
        for _ in 0..=self.random.below(3) {
            let op = self.op();
            txn.then.push(op);
        }
        txn
    }

    /// Transactions at once; the queue keeps their order, so the model can follow.
    async fn transactions(&mut self) {
        let keyspace = usize::try_from(self.random.below(KEYSPACES as u64)).expect("small");
        let mut txns = Vec::new();
        for _ in 0..=self.random.below(64) {
            let txn = self.txn(keyspace).await;
            txns.push(txn);
        }
        self.steps += txns.len() as u64;
        let store = self.real[keyspace].clone();
        let replies = join_all(txns.iter().map(|txn| store.txn(txn.clone()))).await;
        let mut unknown = Vec::new();
        for (txn, reply) in txns.into_iter().zip(replies) {
            if let Err(Error::Unavailable(_)) = reply {
                unknown.push(txn);
                continue;
            }
            if let Err(Error::Invalid(_)) = reply {
                continue;
            }
            assert!(
                unknown.is_empty(),
                "acknowledged behind one that failed: {txn:?} {reply:?}"
            );
            let expected: Result<TxnReply> = self.model[keyspace].txn(txn).await;
            assert_eq!(reply, expected);
        }
        if !unknown.is_empty() {
            self.recover(Some((keyspace, unknown))).await;
        }
    }

    /// Starts again from what the disk has. Writes that were not acknowledged may be there, the
    /// earlier ones first.
    async fn recover(&mut self, unknown: Option<(usize, Vec<Txn>)>) {
        self.real.clear();
        self.engine.close();
        self.disk = self.disk.after_power_cut(&mut self.random);
        let started = start(self.dir.path(), &self.disk).await;
        (self.engine, self.real) = started.expect("a power cut is no damage");
        if let Some((keyspace, txns)) = unknown {
            let head = self.real[keyspace].head().await.expect("head").rev;
            for txn in txns {
                if self.model[keyspace].head().await.expect("head").rev >= head {
                    break;
                }
                let _ = self.model[keyspace].txn(txn).await;
            }
        }
        for keyspace in 0..KEYSPACES {
            self.compare(keyspace).await;
        }
    }

    async fn compare(&mut self, keyspace: usize) {
        let (real, model) = (self.real[keyspace].clone(), self.model[keyspace].clone());
        let (one, two) = (
            real.head().await.expect("head"),
            model.head().await.expect("head"),
        );
        assert_eq!(
            (one.rev, one.compact_rev, one.keys),
            (two.rev, two.compact_rev, two.keys)
        );
        assert_eq!(all(&*real, 0).await, all(&*model, 0).await);
        let rev = 1 + self.random.below(two.rev + 1);
        assert_eq!(all(&*real, rev).await, all(&*model, rev).await, "at {rev}");
        let limit = usize::try_from(self.random.below(9)).expect("small");
        let page = Range {
            lo: self.key(),
            hi: self.key(),
            limit,
            ..everything(rev)
        };
        assert_eq!(real.range(page.clone()).await, model.range(page).await);
        self.steps += 4;
    }

    async fn compare_history(&mut self, keyspace: usize) {
        let (real, model) = (self.real[keyspace].clone(), self.model[keyspace].clone());
        let head = model.head().await.expect("head");
        let start = 1 + self.random.below(head.rev);
        let mut one = watch_all(&*real, start).await;
        let mut two = watch_all(&*model, start).await;
        loop {
            let item = next(&mut one).await;
            assert_eq!(item, next(&mut two).await, "from {start}");
            self.steps += 1;
            match item {
                Some(Ok(WatchItem::Events { .. })) => {}
                _ => break,
            }
        }
    }

    async fn step(&mut self) {
        let keyspace = usize::try_from(self.random.below(KEYSPACES as u64)).expect("small");
        match self.random.below(100) {
            0..60 => self.transactions().await,
            60..75 => self.compare(keyspace).await,
            75..85 => self.compare_history(keyspace).await,
            85..95 => self.compact(keyspace).await,
            95..97 => {
                let slept = self.engine.sleep(&format!("ks{keyspace}")).await;
                if let Err(error) = slept {
                    assert!(matches!(error, Error::Unavailable(_)), "{error}");
                    self.recover(None).await;
                }
            }
            97 => self.recover(None).await,
            _ => {
                let operations = self.random.below(20);
                self.disk.cut_power_after(operations);
            }
        }
    }

    async fn compact(&mut self, keyspace: usize) {
        let (real, model) = (self.real[keyspace].clone(), self.model[keyspace].clone());
        let head = model.head().await.expect("head");
        // Mostly close to the head: it keeps the model's lists short.
        let rev = head.rev.saturating_sub(self.random.below(30)) + self.random.below(2);
        self.steps += 1;
        match real.compact(rev).await {
            Err(Error::Unavailable(_)) => {
                self.real.clear();
                self.engine.close();
                self.disk = self.disk.after_power_cut(&mut self.random);
                let started = start(self.dir.path(), &self.disk).await;
                (self.engine, self.real) = started.expect("a power cut is no damage");
                let done = self.real[keyspace].head().await.expect("head").compact_rev;
                if done > head.compact_rev {
                    model.compact(rev).await.expect("the model follows");
                }
            }
            done => assert_eq!(done, model.compact(rev).await),
        }
    }
}

/// Steps of one run, and seeds.
const STEPS: u64 = 50_000;
const SEEDS: u64 = 4;

/// A seed that fails is told.
async fn work(seed: u64, steps: u64) -> u64 {
    let mut simulation = RandomWork::new(seed).await;
    while simulation.steps < steps {
        simulation.step().await;
    }
    simulation.steps
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_its_threads_the_engine_tells_what_the_model_tells() {
    let base = u64::from(std::process::id());
    let runs = (0..SEEDS).map(|n| (base * 1000 + n, tokio::spawn(work(base * 1000 + n, STEPS))));
    let mut done = 0;
    for (seed, run) in runs.collect::<Vec<_>>() {
        match run.await {
            Ok(steps) => done += steps,
            Err(error) => panic!("{error}\nseed {seed}"),
        }
    }
    assert!(done >= STEPS * SEEDS);
}

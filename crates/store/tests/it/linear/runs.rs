//! Histories of the engines in this crate.

use super::{History, Load, Target, clients};
use crate::random::Random;
use crate::sim_disk::SimDisk;
use freehold_store::Keyspaces;
use freehold_store::embedded::{Embedded, Options};
use freehold_store::memory::Memory;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

const ROUNDS: u64 = 25;
const LOAD: Load = Load {
    clients: 6,
    operations: 60,
    keys: 4,
    seed: 0,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn histories_of_the_model_are_linearizable() {
    let store = Memory::new().open("one").await.expect("keyspace");
    let history = Arc::new(History::default());
    clients(&Target::new(store), &history, LOAD).await;
    assert_eq!(history.verify("memory").1, 0);
}

fn options(disk: &SimDisk) -> Options {
    Options {
        segment_bytes: 16 << 10,
        checkpoint_after: 32 << 10,
        tail_bytes: 4 << 10,
        inline_bytes: 0,
        history: Duration::from_millis(200),
        disk: Arc::new(disk.clone()),
        ..Options::default()
    }
}

async fn start(dir: &Path, disk: &SimDisk) -> Arc<Embedded> {
    Embedded::open(dir, options(disk))
        .await
        .expect("a power cut is no damage")
}

/// Falls asleep and loses power under its clients.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn histories_of_the_embedded_engine_are_linearizable_over_sleep_and_power_cuts() {
    let dir = tempfile::tempdir().expect("dir");
    let mut disk = SimDisk::default();
    let mut engine = start(dir.path(), &disk).await;
    let target = Target::new(engine.open("one").await.expect("keyspace"));
    let history = Arc::new(History::default());
    let seed = u64::from(std::process::id());
    println!("seed {seed}");
    let mut random = Random::new(seed);
    for round in 0..ROUNDS {
        let load = Load {
            seed: round,
            ..LOAD
        };
        let (inner, record) = (target.clone(), history.clone());
        let work = tokio::spawn(async move { clients(&inner, &record, load).await });
        for _ in 0..random.below(4) {
            tokio::time::sleep(Duration::from_millis(random.below(3))).await;
            drop(engine.sleep("one").await);
        }
        disk.cut_power_after(random.below(40));
        tokio::time::sleep(Duration::from_millis(random.below(10))).await;
        engine.close();
        disk = disk.after_power_cut(&mut random);
        engine = start(dir.path(), &disk).await;
        target.set(engine.open("one").await.expect("keyspace"));
        work.await.expect("clients");
    }
    let started = std::time::Instant::now();
    let (operations, unknown) = history.verify("embedded");
    println!("checked in {:?}", started.elapsed());
    println!("{operations} operations in {ROUNDS} rounds, {unknown} with an unknown outcome");
    assert!(operations > 3_000, "{operations}");
}

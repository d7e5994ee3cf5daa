//! Figures against a real etcd in the same run: `cargo test --release -p freehold-store --test it
//! measure -- --ignored --nocapture`. Both sides sync every write.

use crate::real_etcd::RealEtcd;
use crate::support::{everything, next, put_op, watch_all};
use bytes::Bytes;
use freehold_store::embedded::{Embedded, Options};
use freehold_store::{Compare, Keyspaces, Op, Range, Store, Txn, WatchItem, etcd};
use futures::StreamExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

const TIME: Duration = Duration::from_secs(3);

fn percentile(times: &mut [Duration], per_cent: usize) -> f64 {
    times.sort_unstable();
    let at = (times.len() * per_cent / 100).min(times.len().saturating_sub(1));
    times.get(at).map_or(0.0, Duration::as_secs_f64) * 1000.0
}

async fn writers(name: &str, stores: &[Arc<dyn Store>], clients: usize, create: bool) -> f64 {
    let next = Arc::new(AtomicU64::new(0));
    let value = Bytes::from(vec![b'v'; 1000]);
    let start = Instant::now();
    let tasks: Vec<_> = (0..clients)
        .map(|n| {
            let store = stores[n % stores.len()].clone();
            let (next, value) = (next.clone(), value.clone());
            tokio::spawn(async move {
                let mut times = Vec::new();
                while start.elapsed() < TIME {
                    let n = next.fetch_add(1, Ordering::Relaxed);
                    let key = Bytes::from(format!("/registry/{clients}{create}/{n:08}"));
                    let put = Op::Put {
                        key: key.clone(),
                        value: value.clone(),
                        lease: 0,
                    };
                    let compares = Vec::from_iter(create.then_some(Compare::ModRev(key, 0)));
                    let txn = Txn {
                        compares,
                        then: vec![put],
                        ..Txn::default()
                    };
                    let at = Instant::now();
                    store.txn(txn).await.expect("put");
                    times.push(at.elapsed());
                }
                times
            })
        })
        .collect();
    let mut times = Vec::new();
    for task in tasks {
        times.extend(task.await.expect("writer"));
    }
    let rate = times.len() as f64 / start.elapsed().as_secs_f64();
    let (p50, p99) = (percentile(&mut times, 50), percentile(&mut times, 99));
    println!("{name:40} {rate:9.0}/s  p50 {p50:6.2} ms  p99 {p99:6.2} ms");
    rate
}

async fn timed(name: &str, count: u32, mut work: impl AsyncFnMut()) {
    let mut times = Vec::new();
    for _ in 0..count {
        let at = Instant::now();
        work().await;
        times.push(at.elapsed());
    }
    let (p50, p99) = (percentile(&mut times, 50), percentile(&mut times, 99));
    println!("{name:40}              p50 {p50:6.2} ms  p99 {p99:6.2} ms");
}

async fn one(name: &str, keyspaces: &dyn Keyspaces) {
    let store = keyspaces.open("bench").await.expect("open");
    let single = [store.clone()];
    writers(&format!("{name}: put, 1 client"), &single, 1, false).await;
    writers(&format!("{name}: put, 64 clients"), &single, 64, false).await;
    writers(&format!("{name}: create, 64 clients"), &single, 64, true).await;
    let mut tenants = Vec::new();
    for n in 0..10 {
        tenants.push(keyspaces.open(&format!("tenant-{n}")).await.expect("open"));
    }
    writers(&format!("{name}: put, 10 tenants x 6"), &tenants, 60, false).await;
    let big = keyspaces.open("big").await.expect("open");
    for start in (0..100_000).step_by(100) {
        let value = "v".repeat(1000);
        let ops = (start..start + 100).map(|n| put_op(&format!("/registry/pods/{n:06}"), &value));
        big.txn(Txn {
            then: ops.collect(),
            ..Txn::default()
        })
        .await
        .expect("fill");
    }
    timed(&format!("{name}: page of 1000 of 100k"), 50, async || {
        let range = Range {
            limit: 1000,
            ..everything(0)
        };
        assert_eq!(big.range(range).await.expect("range").kvs.len(), 1000);
    })
    .await;
    timed(&format!("{name}: count of 100k"), 50, async || {
        let range = Range {
            count_only: true,
            ..everything(0)
        };
        assert_eq!(big.range(range).await.expect("range").count, 100_000);
    })
    .await;
    events(name, &*store).await;
}

async fn events(name: &str, store: &dyn Store) {
    let mut stream = watch_all(store, 0).await;
    while !matches!(
        next(&mut stream).await,
        Some(Ok(WatchItem::Progress { .. }))
    ) {}
    timed(&format!("{name}: put and its event"), 2000, async || {
        let txn = Txn {
            then: vec![put_op("k", "v")],
            ..Txn::default()
        };
        let (event, done) = tokio::join!(stream.next(), store.txn(txn));
        event.expect("event").expect("event");
        done.expect("put");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes a minute and means something only in release and on a quiet machine"]
async fn measure_embedded_against_etcd() {
    let dir = tempfile::tempdir().expect("dir");
    let engine = Embedded::open(dir.path(), Options::default())
        .await
        .expect("open");
    one("embedded", &*engine).await;
    drop(engine);
    let at = Instant::now();
    let engine = Embedded::open(dir.path(), Options::default())
        .await
        .expect("open");
    println!("embedded: open the directory {:?}", at.elapsed());
    let at = Instant::now();
    let head = engine
        .open("big")
        .await
        .expect("open")
        .head()
        .await
        .expect("head");
    println!("embedded: load {} keys {:?}", head.keys, at.elapsed());
    engine.sleep("big").await.expect("sleep");
    let at = Instant::now();
    engine
        .open("big")
        .await
        .expect("open")
        .head()
        .await
        .expect("head");
    println!("embedded: load it from a checkpoint {:?}", at.elapsed());
    let Some(real) = RealEtcd::start() else {
        return;
    };
    let options = etcd::Options::new(vec![real.url.clone()], "/bench");
    one(
        "etcd",
        &*etcd::Etcd::connect(options).await.expect("connect"),
    )
    .await;
}

fn resident() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").expect("statm");
    statm
        .split(' ')
        .nth(1)
        .and_then(|n| n.parse::<u64>().ok())
        .expect("pages")
        * 4096
}

/// Disk and memory of many keyspaces, asleep and awake.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a minute; figures, not a test"]
async fn measure_many_keyspaces() {
    const MANY: u64 = 10_000;
    let dir = tempfile::tempdir().expect("dir");
    let engine = Embedded::open(dir.path(), Options::default())
        .await
        .expect("open");
    let before = resident();
    let at = Instant::now();
    for n in 0..MANY {
        let store = engine.open(&format!("cp-{n:032}")).await.expect("open");
        let txn = Txn {
            then: vec![put_op("/registry/a", "b")],
            ..Txn::default()
        };
        store.txn(txn).await.expect("put");
    }
    println!("create and write {MANY}: {:?}", at.elapsed());
    println!("awake: {} bytes each", (resident() - before) / MANY);
    let at = Instant::now();
    for n in 0..MANY {
        engine.sleep(&format!("cp-{n:032}")).await.expect("sleep");
    }
    println!("put to sleep: {:?}", at.elapsed());
    drop(engine);
    let before = resident();
    let at = Instant::now();
    let engine = Embedded::open(dir.path(), Options::default())
        .await
        .expect("open");
    println!("open the directory: {:?}", at.elapsed());
    let grown = resident().saturating_sub(before);
    println!(
        "asleep: {} bytes each (pages new to the process)",
        grown / MANY
    );
    let open = std::fs::read_dir("/proc/self/fd").expect("fd").count();
    println!("{open} file descriptors");
    let mut wakes = Vec::new();
    for n in (0..MANY).step_by(20) {
        let store = engine.open(&format!("cp-{n:032}")).await.expect("open");
        let at = Instant::now();
        assert_eq!(store.head().await.expect("head").keys, 1);
        wakes.push(at.elapsed());
    }
    println!(
        "wake: p50 {:.2} ms p99 {:.2} ms",
        percentile(&mut wakes, 50),
        percentile(&mut wakes, 99)
    );
}

/// What a saturating neighbour does to a quiet keyspace.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "figures, not a test"]
async fn measure_a_quiet_keyspace_beside_a_busy_one() {
    let dir = tempfile::tempdir().expect("dir");
    let engine = Embedded::open(dir.path(), Options::default())
        .await
        .expect("open");
    let quiet = engine.open("quiet").await.expect("open");
    let busy = engine.open("busy").await.expect("open");
    writers("quiet, alone", std::slice::from_ref(&quiet), 1, false).await;
    let noise = tokio::spawn(async move { writers("busy, 64 clients", &[busy], 64, false).await });
    writers("quiet, beside it", &[quiet], 1, true).await;
    noise.await.expect("noise");
}

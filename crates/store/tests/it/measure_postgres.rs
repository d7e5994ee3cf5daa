//! Figures against kine on the same PostgreSQL in the same run: `cargo xtask bench postgres`.
//! Every write is a create, which kine understands; every commit is synchronous on both sides.

use crate::real_etcd::{free_port, upstream};
use crate::real_postgres::RealPostgres;
use crate::support::{next, put_if};
use freehold_store::postgres::Postgres;
use freehold_store::{Keyspaces, Store, Watch, WatchItem, etcd, server};
use futures::StreamExt;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

const TIME: Duration = Duration::from_secs(5);
const CLIENTS: usize = 64;
const EVENTS: usize = 300;

struct Kine(Child);

impl Drop for Kine {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

fn kine(postgres: &RealPostgres) -> Option<(Kine, String)> {
    let Some(program) = upstream("kine") else {
        println!("skipped: run `cargo xtask upstream kine`");
        return None;
    };
    postgres.sql("postgres", "CREATE DATABASE kine");
    let url = format!("http://127.0.0.1:{}", free_port());
    let child = Command::new(program)
        .args(["--endpoint", &postgres.url("kine")])
        .args(["--listen-address", &url.replace("http", "tcp")])
        .args(["--metrics-bind-address", "0"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("kine starts");
    Some((Kine(child), url))
}

fn percentile(times: &mut [Duration], per_cent: usize) -> f64 {
    times.sort_unstable();
    let at = (times.len() * per_cent / 100).min(times.len().saturating_sub(1));
    times.get(at).map_or(0.0, Duration::as_secs_f64) * 1000.0
}

/// Creates until told to stop; how long each took.
fn creators(
    store: &Arc<dyn Store>,
    clients: usize,
    stop: &Arc<AtomicBool>,
) -> Vec<tokio::task::JoinHandle<Vec<Duration>>> {
    static ROUND: AtomicU64 = AtomicU64::new(0);
    let round = ROUND.fetch_add(1, Ordering::Relaxed);
    let value = "v".repeat(1000);
    let one = |client: usize| {
        let (store, stop, value) = (store.clone(), stop.clone(), value.clone());
        tokio::spawn(async move {
            let mut times = Vec::new();
            while !stop.load(Ordering::Relaxed) {
                let key = format!("load/{round}/{client}/{}", times.len());
                let at = Instant::now();
                let reply = put_if(&*store, &key, 0, &value).await.expect("create");
                assert!(reply.succeeded);
                times.push(at.elapsed());
            }
            times
        })
    };
    (0..clients).map(one).collect()
}

async fn writes(name: &str, store: &Arc<dyn Store>, clients: usize) -> f64 {
    let stop = Arc::new(AtomicBool::new(false));
    let start = Instant::now();
    let tasks = creators(store, clients, &stop);
    tokio::time::sleep(TIME).await;
    stop.store(true, Ordering::Relaxed);
    let mut times = Vec::new();
    for task in tasks {
        times.extend(task.await.expect("client"));
    }
    let rate = times.len() as f64 / start.elapsed().as_secs_f64();
    let (p50, p99) = (percentile(&mut times, 50), percentile(&mut times, 99));
    println!("{name:42} {rate:8.0}/s  p50 {p50:7.2} ms  p99 {p99:7.2} ms");
    rate
}

/// From the call of a create to the arrival of its event at a watch on `seen`.
async fn lag(name: &str, written: &Arc<dyn Store>, seen: &Arc<dyn Store>, load: usize) -> f64 {
    static ROUND: AtomicU64 = AtomicU64::new(0);
    let prefix = format!("lag/{}/", ROUND.fetch_add(1, Ordering::Relaxed));
    let watch = Watch {
        lo: prefix.clone().into(),
        hi: prefix.replacen("lag/", "lag0", 1).into(),
        ..Watch::default()
    };
    let mut stream = seen.watch(watch).await.expect("watch");
    while !matches!(
        next(&mut stream).await,
        Some(Ok(WatchItem::Progress { .. }))
    ) {}
    let stop = Arc::new(AtomicBool::new(false));
    let tasks = creators(written, load, &stop);
    let mut times = Vec::new();
    for n in 0..EVENTS {
        let key = format!("{prefix}{n}");
        let at = Instant::now();
        let event = async {
            loop {
                let item = stream.next().await.expect("item").expect("item");
                if matches!(item, WatchItem::Events { .. }) {
                    return at.elapsed();
                }
            }
        };
        let (took, done) = tokio::join!(event, put_if(&**written, &key, 0, "v"));
        assert!(done.expect("create").succeeded);
        times.push(took);
    }
    stop.store(true, Ordering::Relaxed);
    for task in tasks {
        task.await.expect("client");
    }
    let (p50, p99) = (percentile(&mut times, 50), percentile(&mut times, 99));
    println!("{name:42}             p50 {p50:7.2} ms  p99 {p99:7.2} ms");
    p99
}

/// Writes by one and by many clients; events alone and under load.
async fn one(name: &str, written: &Arc<dyn Store>, seen: &Arc<dyn Store>) -> [f64; 4] {
    [
        writes(&format!("{name}: create, 1 client"), written, 1).await,
        writes(
            &format!("{name}: create, {CLIENTS} clients"),
            written,
            CLIENTS,
        )
        .await,
        lag(&format!("{name}: create to event, alone"), written, seen, 0).await,
        lag(
            &format!("{name}: create to event, {CLIENTS} more"),
            written,
            seen,
            CLIENTS,
        )
        .await,
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes minutes and means something only in release and on a quiet machine"]
async fn measure_postgres_against_kine() {
    let Some(postgres) = RealPostgres::start() else {
        return;
    };
    let Some((_kine, url)) = kine(&postgres) else {
        return;
    };
    let theirs = loop {
        let options = etcd::Options::new(vec![url.clone()], "/bench");
        match etcd::Etcd::connect(options).await {
            Ok(theirs) => break theirs,
            Err(error) => println!("kine starts: {error}"),
        }
    };
    let theirs = theirs.open("bench").await.expect("open");
    let ours = Postgres::connect(postgres.options())
        .await
        .expect("connect");
    let store = ours.open("bench").await.expect("open");
    let other = Postgres::connect(postgres.options())
        .await
        .expect("connect");
    let other = other.open("bench").await.expect("open");
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .expect("bind");
    let url = format!("http://{}", listener.local_addr().expect("bound"));
    let endpoint = tokio::spawn(server::serve(
        listener,
        ours.open("served").await.expect("open"),
    ));
    let served = etcd::Etcd::connect(etcd::Options::new(vec![url], "/bench"));
    let served = served
        .await
        .expect("connect")
        .open("bench")
        .await
        .expect("open");

    let kine = one("kine", &theirs, &theirs).await;
    for (name, found) in [
        ("driver", one("driver", &store, &store).await),
        (
            "driver, watch elsewhere",
            one("driver, watch elsewhere", &store, &other).await,
        ),
        (
            "driver behind endpoint",
            one("driver behind endpoint", &served, &served).await,
        ),
    ] {
        println!(
            "{name} / kine: writes x{:.2} (1 client), x{:.2} ({CLIENTS}); event p99 x{:.3}, x{:.3}",
            found[0] / kine[0],
            found[1] / kine[1],
            found[2] / kine[2],
            found[3] / kine[3]
        );
    }
    endpoint.abort();
}

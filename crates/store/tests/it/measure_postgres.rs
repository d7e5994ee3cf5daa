//! Figures against kine on the same PostgreSQL in the same run: `cargo xtask bench postgres`.
//! Every write is a create, which kine understands; every commit is synchronous on both sides. Its
//! parts are tests, one after the other (`--test-threads 1`).

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

/// Of one round of one side.
const TIME: Duration = Duration::from_millis(1500);
const ROUNDS: usize = 4;
const CLIENTS: usize = 64;
const EVENTS: usize = 150;

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

/// What one side took, in all rounds.
#[derive(Default)]
struct Took {
    times: Vec<Duration>,
    total: Duration,
}

impl Took {
    fn per_second(&self) -> f64 {
        self.times.len() as f64 / self.total.as_secs_f64()
    }

    fn print(&mut self, name: &str) {
        let (p50, p99) = (
            percentile(&mut self.times, 50),
            percentile(&mut self.times, 99),
        );
        let rate = self.per_second();
        println!("{name:50} {rate:8.0}/s  p50 {p50:7.2} ms  p99 {p99:7.2} ms");
    }
}

async fn writes(store: &Arc<dyn Store>, clients: usize, took: &mut Took) {
    let stop = Arc::new(AtomicBool::new(false));
    let start = Instant::now();
    let tasks = creators(store, clients, &stop);
    tokio::time::sleep(TIME).await;
    stop.store(true, Ordering::Relaxed);
    for task in tasks {
        took.times.extend(task.await.expect("client"));
    }
    took.total += start.elapsed();
}

/// What nobody who waits for PostgreSQL can be quicker than: the same bytes, by one prepared
/// statement that is a transaction of its own, into a table without an index.
async fn floor(client: &tokio_postgres::Client, took: &mut Took) {
    let text = "INSERT INTO floor VALUES ($1, $2)";
    let insert = client.prepare(text).await.expect("prepare");
    let value = "v".repeat(1000);
    let start = Instant::now();
    while start.elapsed() < TIME {
        let key = format!("load/floor/0/{}", took.times.len());
        let at = Instant::now();
        let row: [&(dyn tokio_postgres::types::ToSql + Sync); 2] =
            [&key.as_bytes(), &value.as_bytes()];
        client.execute(&insert, &row).await.expect("insert");
        took.times.push(at.elapsed());
    }
    took.total += start.elapsed();
}

/// From the call of a create to the arrival of its event at a watch on `seen`; and the lag proper,
/// from the writer's being answered to the event: none when the event comes first.
async fn lag(
    written: &Arc<dyn Store>,
    seen: &Arc<dyn Store>,
    load: usize,
    took: &mut Took,
    behind: &mut Took,
) {
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
    let start = Instant::now();
    for n in 0..EVENTS {
        let key = format!("{prefix}{n}");
        let at = Instant::now();
        let event = async {
            loop {
                let item = stream.next().await.expect("item").expect("item");
                if matches!(item, WatchItem::Events { .. }) {
                    return Instant::now();
                }
            }
        };
        let create = async {
            let done = put_if(&**written, &key, 0, "v").await;
            assert!(done.expect("create").succeeded);
            Instant::now()
        };
        let (arrived, answered) = tokio::join!(event, create);
        took.times.push(arrived - at);
        let lag = arrived.saturating_duration_since(answered);
        behind.times.push(lag);
    }
    took.total += start.elapsed();
    behind.total += start.elapsed();
    stop.store(true, Ordering::Relaxed);
    for task in tasks {
        task.await.expect("client");
    }
}

/// A way to write, and where its events are watched.
struct Side {
    name: &'static str,
    written: Arc<dyn Store>,
    seen: Arc<dyn Store>,
}

/// kine and all of ours, on one PostgreSQL.
struct Sides {
    all: Vec<Side>,
    floor: tokio_postgres::Client,
    _kine: Kine,
    _postgres: RealPostgres,
}

impl Sides {
    async fn start() -> Option<Self> {
        let postgres = RealPostgres::start()?;
        let (kine, url) = kine(&postgres)?;
        let theirs = loop {
            let options = etcd::Options::new(vec![url.clone()], "/bench");
            match etcd::Etcd::connect(options).await {
                Ok(theirs) => break theirs,
                Err(error) => println!("kine starts: {error}"),
            }
        };
        let theirs = theirs.open("bench").await.expect("open");
        let ours = Postgres::connect(postgres.options()).await;
        let ours = ours.expect("connect");
        let store = ours.open("bench").await.expect("open");
        let watched = ours.open("elsewhere").await.expect("open");
        let other = Postgres::connect(postgres.options()).await;
        let other = other.expect("connect").open("elsewhere").await;
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await;
        let listener = listener.expect("bind");
        let url = format!("http://{}", listener.local_addr().expect("bound"));
        let keyspace = ours.open("served").await.expect("open");
        tokio::spawn(server::serve(listener, keyspace));
        let served = etcd::Etcd::connect(etcd::Options::new(vec![url], "/bench"));
        let served = served.await.expect("connect").open("bench").await;
        let served = served.expect("open");
        let side = |name, written: &Arc<dyn Store>, seen: &Arc<dyn Store>| Side {
            name,
            written: written.clone(),
            seen: seen.clone(),
        };
        Some(Self {
            all: vec![
                side("kine", &theirs, &theirs),
                side("driver", &store, &store),
                side("driver, watch elsewhere", &watched, &other.expect("open")),
                side("driver behind endpoint", &served, &served),
            ],
            floor: floor_client(&postgres).await,
            _kine: kine,
            _postgres: postgres,
        })
    }

    /// Measures each side in rounds that go around them, so that what else the machine does falls on
    /// all of them alike, and prints it, and the ratios to kine's.
    async fn compare<const N: usize>(
        &self,
        what: [&str; N],
        measure: impl AsyncFn(&Side, &mut [Took; N]),
    ) {
        let mut took: Vec<[Took; N]> = Vec::new();
        took.resize_with(self.all.len(), || std::array::from_fn(|_| Took::default()));
        for _ in 0..ROUNDS {
            for (side, took) in self.all.iter().zip(&mut took) {
                measure(side, took).await;
            }
        }
        let (kine, ours) = took.split_at_mut(1);
        for (side, took) in self.all.iter().zip(kine.iter_mut().chain(&mut *ours)) {
            for (took, what) in took.iter_mut().zip(what) {
                took.print(&format!("{}: {what}", side.name));
            }
        }
        for (side, took) in self.all[1..].iter().zip(ours) {
            for ((took, kine), what) in took.iter_mut().zip(&mut kine[0]).zip(what) {
                let p99 = percentile(&mut took.times, 99) / percentile(&mut kine.times, 99);
                let rate = took.per_second() / kine.per_second();
                println!(
                    "{} / kine: {what}: rate x{rate:.2}, p99 x{p99:.3}",
                    side.name
                );
            }
        }
    }
}

async fn floor_client(postgres: &RealPostgres) -> tokio_postgres::Client {
    let url = postgres.url("freehold");
    let (client, connection) = tokio_postgres::connect(&url, tokio_postgres::NoTls)
        .await
        .expect("connect");
    tokio::spawn(connection);
    let table = "CREATE SCHEMA f; SET search_path = f; CREATE TABLE floor (key bytea, value bytea)";
    client.batch_execute(table).await.expect("table");
    client
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "means something only in release and on a quiet machine"]
async fn creates_of_one_client() {
    let Some(sides) = Sides::start().await else {
        return;
    };
    let mut least = Took::default();
    for _ in 0..ROUNDS {
        floor(&sides.floor, &mut least).await;
    }
    least.print("floor: one commit of PostgreSQL");
    sides
        .compare(["create, 1 client"], async |side, [create]| {
            writes(&side.written, 1, create).await;
        })
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "means something only in release and on a quiet machine"]
async fn events_alone() {
    let Some(sides) = Sides::start().await else {
        return;
    };
    let what = ["create to event, alone", "answer to event (lag), alone"];
    sides
        .compare(what, async |side, [event, behind]| {
            lag(&side.written, &side.seen, 0, event, behind).await;
        })
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes minutes and means something only in release and on a quiet machine"]
async fn creates_of_many_clients_and_events_beside_them() {
    let Some(sides) = Sides::start().await else {
        return;
    };
    let what = [
        "create, 64 clients",
        "create to event, 64 more",
        "answer to event (lag), 64 more",
    ];
    sides
        .compare(what, async |side, [create, event, behind]| {
            writes(&side.written, CLIENTS, create).await;
            lag(&side.written, &side.seen, CLIENTS, event, behind).await;
        })
        .await;
}

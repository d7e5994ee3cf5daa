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
    /// one and many writers, events alone and beside many writers, and their lag
    took: [Took; 6],
}

fn side(name: &'static str, written: &Arc<dyn Store>, seen: &Arc<dyn Store>) -> Side {
    Side {
        name,
        written: written.clone(),
        seen: seen.clone(),
        took: Default::default(),
    }
}

/// Rounds go around the sides, so that what else the machine does falls on all of them alike.
async fn measure(sides: &mut [Side], client: &tokio_postgres::Client) -> Took {
    let mut least = Took::default();
    for _ in 0..ROUNDS {
        floor(client, &mut least).await;
        for side in &mut *sides {
            writes(&side.written, 1, &mut side.took[0]).await;
        }
    }
    for _ in 0..ROUNDS {
        for side in &mut *sides {
            let [_, _, event, _, behind, _] = &mut side.took;
            lag(&side.written, &side.seen, 0, event, behind).await;
        }
    }
    for _ in 0..ROUNDS {
        for side in &mut *sides {
            writes(&side.written, CLIENTS, &mut side.took[1]).await;
            let [_, _, _, event, _, behind] = &mut side.took;
            lag(&side.written, &side.seen, CLIENTS, event, behind).await;
        }
    }
    least
}

fn report(mut sides: Vec<Side>, mut least: Took) {
    least.print("floor: one commit of PostgreSQL");
    let lowest = percentile(&mut least.times, 50);
    let what = [
        "create, 1 client",
        "create, 64 clients",
        "create to event, alone",
        "create to event, 64 more",
        "answer to event (lag), alone",
        "answer to event (lag), 64 more",
    ];
    for side in &mut sides {
        for (took, what) in side.took.iter_mut().zip(what) {
            took.print(&format!("{}: {what}", side.name));
        }
    }
    for side in &mut sides {
        let [one, _, event, ..] = &mut side.took;
        let above = |took: &mut Took| (percentile(&mut took.times, 50) / lowest - 1.0) * 100.0;
        println!(
            "{}: p50 above the floor: create, 1 client {:.0} %, create to event {:.0} %",
            side.name,
            above(one),
            above(event)
        );
    }
    let (kine, ours) = sides.split_at_mut(1);
    for side in ours {
        let mut p99 = |at: usize| {
            percentile(&mut side.took[at].times, 99) / percentile(&mut kine[0].took[at].times, 99)
        };
        let (alone, beside) = (p99(2), p99(3));
        let (behind_alone, behind_beside) = (p99(4), p99(5));
        let rate = |at: usize| side.took[at].per_second() / kine[0].took[at].per_second();
        println!(
            "{} / kine: writes x{:.2} (1 client), x{:.2} ({CLIENTS}); event p99 x{alone:.3}, x{beside:.3}; \
             lag p99 x{behind_alone:.3}, x{behind_beside:.3}",
            side.name,
            rate(0),
            rate(1),
        );
    }
    println!(
        "floor / kine: writes x{:.2} (1 client)",
        least.per_second() / kine[0].took[0].per_second()
    );
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
    let ours = Postgres::connect(postgres.options()).await;
    let ours = ours.expect("connect");
    let store = ours.open("bench").await.expect("open");
    let watched = ours.open("elsewhere").await.expect("open");
    let other = Postgres::connect(postgres.options()).await;
    let other = other.expect("connect").open("elsewhere").await;
    let other = other.expect("open");
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await;
    let listener = listener.expect("bind");
    let url = format!("http://{}", listener.local_addr().expect("bound"));
    let endpoint = tokio::spawn(server::serve(
        listener,
        ours.open("served").await.expect("open"),
    ));
    let served = etcd::Etcd::connect(etcd::Options::new(vec![url], "/bench"));
    let served = served.await.expect("connect").open("bench").await;
    let served = served.expect("open");
    let (client, connection) =
        tokio_postgres::connect(&postgres.url("freehold"), tokio_postgres::NoTls)
            .await
            .expect("connect");
    tokio::spawn(connection);
    let table = "CREATE SCHEMA f; SET search_path = f; CREATE TABLE floor (key bytea, value bytea)";
    client.batch_execute(table).await.expect("table");

    let mut sides = vec![
        side("kine", &theirs, &theirs),
        side("driver", &store, &store),
        side("driver, watch elsewhere", &watched, &other),
        side("driver behind endpoint", &served, &served),
    ];
    let least = measure(&mut sides, &client).await;
    report(sides, least);
    endpoint.abort();
}

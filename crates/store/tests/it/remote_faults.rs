//! Bad days of datastores run by others: servers killed, connections cut, silent and slow
//! servers. One disturbance per driver; what is checked is the same for all.

use crate::linear::{History, Load, Target, clients};
use crate::proxy::{Proxy, USUAL};
use crate::random::Random;
use crate::real_etcd::RealEtcd;
use crate::real_postgres::RealPostgres;
use crate::support::{all, everything, next, put, put_if, put_op, watch_all};
use freehold_store::postgres::Postgres;
use freehold_store::{Error, Keyspaces, Range, Store, Txn, WatchItem, etcd};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const CLIENTS: u64 = 6;

/// How long drivers wait where it is known that nobody answers.
const SHORT: Duration = Duration::from_secs(2);

/// Creates keys that nobody else creates, and remembers what it was told of each.
struct Creator {
    stop: Arc<AtomicBool>,
    tasks: Vec<tokio::task::JoinHandle<Told>>,
}

/// Revision by key: none where nobody knows.
type Told = BTreeMap<String, Option<u64>>;

impl Creator {
    fn start(store: &Arc<dyn Store>) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let tasks = (0..CLIENTS).map(|client| {
            let (store, stop) = (store.clone(), stop.clone());
            tokio::spawn(async move {
                let mut told = Told::new();
                let mut n = 0;
                while !stop.load(Ordering::Relaxed) {
                    let key = format!("create/{client}/{n:06}");
                    n += 1;
                    let rev = match put_if(&*store, &key, 0, &key).await {
                        Ok(reply) => {
                            assert!(reply.succeeded, "{key} was created twice");
                            Some(reply.rev)
                        }
                        Err(Error::Unavailable(_)) => None,
                        Err(other) => panic!("{other}"),
                    };
                    told.insert(key, rev);
                }
                told
            })
        });
        let tasks = tasks.collect();
        Self { stop, tasks }
    }

    /// What was acknowledged is there, once, at its revision; nothing else is but what was tried.
    async fn check(self, store: &dyn Store) -> (usize, usize) {
        self.stop.store(true, Ordering::Relaxed);
        let mut told = Told::new();
        for task in self.tasks {
            told.extend(task.await.expect("a client"));
        }
        let range = Range {
            lo: "create/".into(),
            hi: "create0".into(),
            ..everything(0)
        };
        let kvs = store.range(range).await.expect("range").kvs;
        let mut there = BTreeMap::new();
        for kv in &kvs {
            assert_eq!(kv.version, 1, "created once");
            let key = String::from_utf8(kv.key.to_vec()).expect("text");
            there.insert(key, kv.mod_rev);
        }
        let (mut known, mut unknown) = (0, 0);
        for (key, rev) in &told {
            match rev {
                Some(rev) => {
                    known += 1;
                    assert_eq!(there.get(key), Some(rev), "{key} is lost");
                }
                None => unknown += 1,
            }
            there.remove(key);
        }
        assert!(there.is_empty(), "nobody tried {there:?}");
        (known, unknown)
    }
}

/// A watch over all disturbances: every revision of `create/` once and in order.
fn follow(store: &Arc<dyn Store>) -> tokio::task::JoinHandle<BTreeMap<String, u64>> {
    let store = store.clone();
    tokio::spawn(async move {
        let mut seen = BTreeMap::new();
        let mut from = 1;
        loop {
            let mut stream = match store
                .watch(freehold_store::Watch {
                    lo: "create/".into(),
                    hi: "create0".into(),
                    start_rev: from,
                    prev_kv: false,
                })
                .await
            {
                Ok(stream) => stream,
                Err(_) => continue,
            };
            while let Some(Ok(item)) = futures::StreamExt::next(&mut stream).await {
                let WatchItem::Events { rev, events } = item else {
                    continue;
                };
                assert!(rev >= from, "{rev} comes again");
                from = rev + 1;
                for event in events {
                    let key = String::from_utf8(event.kv.key.to_vec()).expect("text");
                    if key == "create/end" {
                        return seen;
                    }
                    assert_eq!(seen.insert(key, rev), None);
                }
            }
        }
    })
}

/// Clients work while `disturb` does its worst, for as many rounds as it is called.
async fn survive<D: AsyncFnMut(&mut Random)>(
    name: &str,
    store: Arc<dyn Store>,
    rounds: u64,
    mut disturb: D,
) {
    let seed = u64::from(std::process::id());
    println!("{name}: seed {seed}");
    let mut random = Random::new(seed);
    let creator = Creator::start(&store);
    let follower = follow(&store);
    let target = Target::new(store.clone());
    let history = Arc::new(History::default());
    for round in 0..rounds {
        let load = Load {
            clients: CLIENTS,
            operations: 40,
            keys: 4,
            seed: round,
        };
        let (target, record) = (target.clone(), history.clone());
        let work = tokio::spawn(async move { clients(&target, &record, load).await });
        disturb(&mut random).await;
        work.await.expect("clients");
    }
    let (operations, lost) = history.verify(name);
    let (known, unknown) = creator.check(&*store).await;
    put(&*store, "create/end", "").await;
    let seen = tokio::time::timeout(Duration::from_secs(30), follower).await;
    let seen = seen.expect("the watch comes to the end").expect("watch");
    let range = Range {
        lo: "create/".into(),
        hi: "create/end".into(),
        ..everything(0)
    };
    let kvs = store.range(range).await.expect("range").kvs;
    assert_eq!(kvs.len(), seen.len(), "the watch saw everything");
    println!(
        "{name}: {operations} operations linearizable ({lost} of unknown outcome), {known} writes acknowledged and there, {unknown} of unknown outcome"
    );
    assert!(known > 100 && operations > 500, "hardly anything was done");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgres_loses_and_doubles_nothing_when_connections_are_cut() {
    let Some(postgres) = RealPostgres::start() else {
        return;
    };
    let (proxy, keyspaces) = Proxy::postgres(&postgres, USUAL).await;
    let store = keyspaces.open("one").await.expect("open");
    survive("postgres, cuts", store, 12, async |random| {
        for _ in 0..8 {
            tokio::time::sleep(Duration::from_millis(random.below(40))).await;
            proxy.cut();
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgres_loses_and_doubles_nothing_when_it_is_killed() {
    let Some(mut postgres) = RealPostgres::start() else {
        return;
    };
    let keyspaces = Postgres::connect(postgres.options())
        .await
        .expect("connect");
    let store = keyspaces.open("one").await.expect("open");
    survive("postgres, kill -9", store, 6, async |random| {
        tokio::time::sleep(Duration::from_millis(50 + random.below(200))).await;
        tokio::task::block_in_place(|| postgres.kill_and_restart());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgres_loses_and_doubles_nothing_in_a_failover() {
    let Some(mut primary) = RealPostgres::start() else {
        return;
    };
    let keyspaces = Postgres::connect(primary.options()).await.expect("connect");
    put(&*keyspaces.open("one").await.expect("open"), "before", "1").await;
    let standby = primary.standby();
    let mut options = primary.options();
    options.endpoints = [primary.port, standby.port]
        .map(|port| format!("127.0.0.1:{port}"))
        .into();
    let keyspaces = Postgres::connect(options).await.expect("connect");
    let store = keyspaces.open("one").await.expect("open");
    let mut round = 0;
    survive("postgres, failover", store, 5, async |random| {
        round += 1;
        tokio::time::sleep(Duration::from_millis(50 + random.below(200))).await;
        if round == 2 {
            tokio::task::block_in_place(|| {
                primary.kill();
                standby.promote();
            });
        }
    })
    .await;
    assert_eq!(
        standby.sql("postgres", "SELECT pg_is_in_recovery()"),
        "f",
        "it is the primary now"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn etcd_loses_and_doubles_nothing_when_connections_are_cut() {
    let Some(real) = RealEtcd::start() else {
        return;
    };
    let (proxy, keyspaces) = Proxy::etcd(&real, USUAL).await;
    let store = keyspaces.open("one").await;
    survive("etcd, cuts", store.expect("open"), 12, async |random| {
        for _ in 0..8 {
            tokio::time::sleep(Duration::from_millis(random.below(40))).await;
            proxy.cut();
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn etcd_loses_and_doubles_nothing_when_it_is_killed() {
    let Some(mut real) = RealEtcd::start() else {
        return;
    };
    let url = real.url.clone();
    let keyspaces = etcd::Etcd::connect(etcd::Options::new(vec![url], "/freehold"));
    let store = keyspaces.await.expect("connect").open("one").await;
    survive("etcd, kill -9", store.expect("open"), 6, async |random| {
        tokio::time::sleep(Duration::from_millis(50 + random.below(200))).await;
        tokio::task::block_in_place(|| real.kill_and_restart());
    })
    .await;
}

/// Lists while connections are cut in the middle of the answer: what comes back is all there is, or
/// an error.
async fn lists_are_whole_or_refused(store: Arc<dyn Store>, proxy: &Proxy) {
    const KEYS: usize = 20_000;
    let value = "v".repeat(100);
    for n in 0..KEYS / 100 {
        let then = (0..100).map(|m| put_op(&format!("list/{n:03}/{m:02}"), &value));
        let txn = Txn {
            then: then.collect(),
            ..Txn::default()
        };
        store.txn(txn).await.expect("put");
    }
    let start = Instant::now();
    all(&*store, 0).await.expect("range");
    let took = u64::try_from(start.elapsed().as_millis()).expect("short");
    let mut random = Random::new(u64::from(std::process::id()));
    let (mut whole, mut refused) = (0, 0);
    let before = proxy.cuts();
    for _ in 0..40 {
        let wait = Duration::from_millis(random.below(took.max(2)));
        let cutting = async {
            tokio::time::sleep(wait).await;
            proxy.cut();
        };
        let (listed, ()) = tokio::join!(all(&*store, 0), cutting);
        match listed {
            Ok(found) => {
                whole += 1;
                assert_eq!((found.kvs.len(), found.count), (KEYS, KEYS as u64));
                assert!(!found.more);
            }
            Err(error) => {
                refused += 1;
                assert!(matches!(error, Error::Unavailable(_)), "{error}");
            }
        }
    }
    let cuts = proxy.cuts() - before;
    println!("{whole} whole lists, {refused} refused, {cuts} connections cut");
    assert!(cuts >= 20, "hardly anything was cut");
    assert_eq!(all(&*store, 0).await.expect("range").kvs.len(), KEYS);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_list_from_postgres_is_never_a_part_of_it() {
    let Some(postgres) = RealPostgres::start() else {
        return;
    };
    let (proxy, keyspaces) = Proxy::postgres(&postgres, USUAL).await;
    let store = keyspaces.open("one").await;
    lists_are_whole_or_refused(store.expect("open"), &proxy).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_list_from_an_etcd_is_never_a_part_of_it() {
    let Some(real) = RealEtcd::start() else {
        return;
    };
    let (proxy, keyspaces) = Proxy::etcd(&real, USUAL).await;
    let store = keyspaces.open("one").await;
    lists_are_whole_or_refused(store.expect("open"), &proxy).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn etcd_loses_and_doubles_nothing_when_its_leader_is_killed() {
    let Some(mut members) = RealEtcd::cluster() else {
        return;
    };
    let urls = members.iter().map(|member| member.url.clone()).collect();
    let keyspaces = etcd::Etcd::connect(etcd::Options::new(urls, "/freehold"));
    let store = keyspaces.await.expect("connect").open("one").await;
    let mut killed = 0;
    let store = store.expect("open");
    survive("etcd, leader killed", store, 5, async |random| {
        tokio::time::sleep(Duration::from_millis(50 + random.below(200))).await;
        tokio::task::block_in_place(|| {
            let leader = members.iter_mut().find(|member| member.leads());
            let leader = leader.expect("one leads");
            leader.kill();
            killed += 1;
            let deadline = Instant::now() + Duration::from_secs(30);
            while !members.iter().any(RealEtcd::leads) {
                assert!(Instant::now() < deadline, "nobody takes over");
                std::thread::sleep(Duration::from_millis(50));
            }
            members.iter_mut().for_each(RealEtcd::start_again);
        });
    })
    .await;
    assert_eq!(killed, 5);
}

/// Through the endpoint, while the datastore is away: what tenants are told.
async fn tenants_learn_no_address(store: Arc<dyn Store>, proxy: &Proxy, secret: &str) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await;
    let listener = listener.expect("bind");
    let url = format!("http://{}", listener.local_addr().expect("bound"));
    let server = tokio::spawn(freehold_store::server::serve(listener, store.clone()));
    let keyspaces = etcd::Etcd::connect(etcd::Options::new(vec![url], "/freehold"));
    let tenant = keyspaces.await.expect("connect").open("one").await;
    let tenant = tenant.expect("open");
    put(&*tenant, "a", "1").await;
    proxy.close();
    let full = put_if(&*store, "a", 0, "2").await.expect_err("it is away");
    assert!(full.to_string().contains(secret), "{full}");
    for error in [
        put_if(&*tenant, "a", 0, "2").await.map(|_| ()),
        all(&*tenant, 0).await.map(|_| ()),
        tenant.lease_grant(60).await.map(|_| ()),
    ] {
        let said = error.expect_err("it is away").to_string();
        assert!(said.contains("the datastore is unavailable"), "{said}");
        assert!(!said.contains(secret), "{said}");
    }
    server.abort();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tenants_of_a_postgres_learn_neither_its_address_nor_its_user() {
    let Some(postgres) = RealPostgres::start() else {
        return;
    };
    let (proxy, keyspaces) = Proxy::postgres(&postgres, SHORT).await;
    let store = keyspaces.open("one").await.expect("open");
    tenants_learn_no_address(store, &proxy, &format!(":{}", proxy.port)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tenants_of_an_etcd_do_not_learn_its_address() {
    let Some(real) = RealEtcd::start() else {
        return;
    };
    let (proxy, keyspaces) = Proxy::etcd(&real, SHORT).await;
    let store = keyspaces.open("one").await.expect("open");
    tenants_learn_no_address(store, &proxy, &format!(":{}", proxy.port)).await;
}

/// Waits are bounded, and when the server speaks again everything goes on.
async fn waits_end(store: Arc<dyn Store>, proxy: &Proxy, timeout: Duration) {
    put(&*store, "a", "1").await;
    let mut stream = watch_all(&*store, 0).await;
    assert!(matches!(
        next(&mut stream).await,
        Some(Ok(WatchItem::Progress { .. }))
    ));
    proxy.silence(true);
    let start = Instant::now();
    let (written, read, head) = tokio::join!(
        put_if(&*store, "b", 0, "x"),
        store.range(everything(0)),
        store.head()
    );
    let took = start.elapsed();
    assert!(took < timeout * 2 + Duration::from_secs(3), "{took:?}");
    for error in [
        written.map(|_| ()).expect_err("no answer"),
        read.map(|_| ()).expect_err("no answer"),
        head.map(|_| ()).expect_err("no answer"),
    ] {
        assert!(matches!(error, Error::Unavailable(_)), "{error}");
    }
    proxy.silence(false);
    proxy.delay(Duration::from_millis(30));
    let rev = put(&*store, "c", "1").await;
    let range = store.range(everything(0)).await.expect("range");
    assert!(range.kvs.iter().any(|kv| kv.key == "c"), "complete");
    assert_eq!(range.count as usize, range.kvs.len());
    loop {
        match next(&mut stream).await.expect("item").expect("item") {
            WatchItem::Events { rev: at, .. } if at == rev => break,
            _ => {}
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn waits_for_a_silent_postgres_end() {
    let Some(postgres) = RealPostgres::start() else {
        return;
    };
    let (proxy, keyspaces) = Proxy::postgres(&postgres, SHORT).await;
    let store = keyspaces.open("one").await.expect("open");
    waits_end(store, &proxy, SHORT).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn waits_for_a_silent_etcd_end() {
    let Some(real) = RealEtcd::start() else {
        return;
    };
    let (proxy, keyspaces) = Proxy::etcd(&real, SHORT).await;
    let store = keyspaces.open("one").await.expect("open");
    waits_end(store, &proxy, SHORT).await;
}

//! Moves of a thousand keys between any two drivers that end inside the import: who asked for it
//! goes away, or connections are cut. Another call completes them, or they are taken back.

use crate::proxy::{Proxy, USUAL};
use crate::random::Random;
use crate::real_etcd::RealEtcd;
use crate::real_postgres::RealPostgres;
use crate::support::put_op;
use crate::transfer::{Places, embedded, place};
use freehold_store::fence::Fenced;
use freehold_store::transfer::{Place, Report, Step, relocate, undo};
use freehold_store::{Error, Image, Imported, Keyspaces, Op, Result, Store, Txn};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;
use std::time::Duration;

const KEYS: usize = 1000;

async fn fill(store: &dyn Store) {
    let lease = store.lease_grant(600).await.expect("lease");
    for part in 0..KEYS / 100 {
        let put = |n: usize| Op::Put {
            key: format!("/k{part}/{n:03}").into(),
            value: format!("{part} {n} {}", "v".repeat(n * 7 % 500)).into(),
            lease: if n.is_multiple_of(30) { lease } else { 0 },
        };
        let txn = Txn {
            then: (0..100).map(put).collect(),
            ..Txn::default()
        };
        store.txn(txn).await.expect("put");
    }
}

/// What a target must be like.
async fn check(name: &str, report: Report, before: &Image, target: &dyn Store) {
    let after = Image::take(target).await.expect("image");
    let exactly = report.imported == Imported::Exactly;
    assert_eq!(after.kvs.len(), KEYS, "{name}");
    assert_eq!(after.hash(false), before.hash(false), "{name}");
    assert!(before.same_ends(&after), "{name}: leases");
    if exactly {
        assert!(after.kvs == before.kvs, "{name}: other revisions");
    }
    assert!(after.rev >= before.rev, "{name}: the revision went down");
}

/// Does something until it was asked for so often, once it is `armed`. `None`: it was dropped.
async fn polled<T>(work: impl Future<Output = T>, armed: &AtomicBool, often: usize) -> Option<T> {
    let (mut work, mut left) = (pin!(work), often);
    std::future::poll_fn(|context| {
        if armed.load(Ordering::Acquire) {
            let Some(less) = left.checked_sub(1) else {
                return Poll::Ready(None);
            };
            left = less;
        }
        work.as_mut().poll(context).map(Some)
    })
    .await
}

fn arm(armed: &AtomicBool) -> impl FnMut(Step) -> Result<()> {
    |step| {
        if step == Step::Import {
            armed.store(true, Ordering::Release);
        }
        Ok(())
    }
}

/// Taken back, unless it was complete: the target is gone, the source can be written to.
async fn taken_back(name: &str, here: Place<'_>, there: Place<'_>) {
    match undo(here, there).await {
        Ok(()) => {}
        Err(Error::Fenced(text)) if text.contains("was moved to") => return,
        Err(error) => panic!("{name}: {error}"),
    }
    let left = there.keyspaces.list().await.expect("list");
    assert!(!left.iter().any(|id| id == there.id), "{name}: {left:?}");
    let source = here.keyspaces.open(here.id).await.expect("source");
    let txn = Txn {
        then: vec![put_op("/more", "1")],
        ..Txn::default()
    };
    let tenant = Fenced::new(source);
    tenant.txn(txn).await.expect("open again");
    crate::support::delete(&*tenant, "/more").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_move_between_any_two_drivers_whose_caller_goes_away_is_completed_or_taken_back() {
    let places = Places::open().await;
    let (mut whole, mut dropped) = (0, 0);
    for (from_name, from) in &places.all {
        for (to_name, to) in &places.all {
            for often in [0, 2, 9, usize::MAX] {
                let name = format!("{from_name} to {to_name}, dropped after {often}");
                let id = format!("{from_name}-{to_name}-{often}");
                let source = from.open(&id).await.expect("source");
                fill(&*source).await;
                let before = Image::take(&*source).await.expect("image");
                let target = format!("{id}-there");
                let (here, there) = (place(from, &id), place(to, &target));
                let armed = AtomicBool::new(false);
                let done = relocate(here, there, arm(&armed));
                let report = match polled(Box::pin(done), &armed, often).await {
                    Some(report) => {
                        whole += 1;
                        report
                    }
                    None => {
                        dropped += 1;
                        // The engine's own threads may still be at it.
                        if *to_name != "embedded" && often != 0 {
                            taken_back(&name, here, there).await;
                        }
                        relocate(here, there, |_| Ok(())).await
                    }
                };
                let report = report.unwrap_or_else(|error| panic!("{name}: {error}"));
                check(
                    &name,
                    report,
                    &before,
                    &*to.open(&target).await.expect("target"),
                )
                .await;
                // Leases of an etcd are common to its keyspaces: the next source has its own.
                to.delete(&target).await.expect("delete");
                from.delete(&id).await.expect("delete");
            }
        }
    }
    println!("{whole} moves in one call, {dropped} dropped inside");
    assert!(whole >= places.all.len() * places.all.len() && dropped > places.all.len());
}

/// Moves to a driver behind a proxy that cuts its connections amid the import.
async fn cut(name: &str, to: Arc<dyn Keyspaces>, proxy: &Proxy) {
    let mut dirs = Vec::new();
    let from = &embedded(&mut dirs).await;
    let mut random = Random::new(11);
    // So that most of the time a request is under way.
    proxy.delay(Duration::from_millis(4));
    let (mut failed, mut amid) = (0, 0);
    for round in 0..8 {
        let id = format!("cut-{round}");
        let said = format!("{name}, {id}");
        let source = from.open(&id).await.expect("source");
        fill(&*source).await;
        let before = Image::take(&*source).await.expect("image");
        let (here, there) = (place(from, &id), place(&to, &id));
        let mut attempts = 0;
        let report = loop {
            attempts += 1;
            assert!(attempts < 20, "{said}: never completed");
            let armed = AtomicBool::new(false);
            let cutting = async {
                // A driver tries again by itself: it is left alone after a few.
                for _ in 0..9 / attempts {
                    while !armed.load(Ordering::Acquire) {
                        tokio::time::sleep(Duration::from_millis(1)).await;
                    }
                    let pause = Duration::from_micros(random.below(40_000));
                    tokio::time::sleep(pause).await;
                    proxy.cut();
                    amid += 1;
                }
                std::future::pending().await
            };
            let done = tokio::select! {
                done = Box::pin(relocate(here, there, arm(&armed))) => done,
                done = cutting => done,
            };
            match done {
                Ok(report) => break report,
                Err(Error::Unavailable(_)) => failed += 1,
                Err(error) => panic!("{said}: {error}"),
            }
            if round % 2 == 1 && attempts == 1 {
                let undone = async || undo(here, there).await;
                crate::support::until("it is taken back", || async {
                    // Connections that were cut are noticed by and by.
                    !matches!(undone().await, Err(Error::Unavailable(_)))
                })
                .await;
                assert!(!to.list().await.expect("list").contains(&id), "{said}");
            }
        };
        let target = to.open(&id).await.expect("target");
        check(&said, report, &before, &*target).await;
    }
    println!("{name}: {amid} cuts, {failed} attempts failed, 8 moves completed");
    assert!(amid > 8, "{name}: hardly any import was cut");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_move_to_an_etcd_whose_connections_are_cut_is_completed_or_taken_back() {
    let Some(real) = RealEtcd::start() else {
        return;
    };
    let (proxy, to) = Proxy::etcd(&real, USUAL).await;
    cut("etcd", to, &proxy).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_move_to_a_postgres_whose_connections_are_cut_is_completed_or_taken_back() {
    let Some(real) = RealPostgres::start() else {
        return;
    };
    let (proxy, to) = Proxy::postgres(&real, USUAL).await;
    cut("postgres", to, &proxy).await;
}

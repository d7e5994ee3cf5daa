//! What the simulation has found, each by itself.

use super::now;
use crate::sim_disk::{Operation, SimDisk};
use crate::support::{put_leased, value};
use freehold_store::embedded::{Drive, Embedded, Hand, Options};
use freehold_store::{Error, Keyspaces};
use std::sync::{Arc, Mutex, Weak};

type Opened = Arc<Mutex<Weak<Embedded>>>;

fn go_on(engine: &Embedded) {
    now(engine.upkeep_turn());
    while engine.commit_turn() {}
}

/// A lease ends while its keyspace is being put to sleep, which then fails: it was forgotten.
#[test]
fn a_lease_that_ends_while_falling_asleep_fails_ends_later() {
    let dir = tempfile::tempdir().expect("a directory");
    let (hand, opened) = (Hand::new(1_700_000_000_000), Opened::default());
    let (clock, engine) = (hand.clone(), opened.clone());
    let disk = SimDisk::told(Arc::new(move |operation: &Operation<'_>| {
        // The checkpoint has begun: time passes, and the lease is over.
        let engine = engine.lock().expect("no panic").upgrade();
        if let Some(engine) = engine.filter(|_| operation.name.ends_with(".new")) {
            clock.put_on(2000);
            go_on(&engine);
        }
    }));
    let options = Options {
        disk: Arc::new(disk.clone()),
        drive: Drive::ByHand(hand.clone()),
        ..Options::default()
    };
    let engine = now(Embedded::open(dir.path(), options)).expect("opened");
    *opened.lock().expect("no panic") = Arc::downgrade(&engine);
    let store = now(engine.open("one")).expect("made");
    let written = |work: std::pin::Pin<Box<dyn Future<Output = ()>>>| {
        let mut work = Box::pin(work);
        let waits = futures::FutureExt::now_or_never(&mut work).is_none();
        assert!(waits, "for a round of commits");
        while engine.commit_turn() {}
        now(work)
    };
    written(Box::pin(async {
        store.lease_grant_as(7, 1).await.expect("granted");
    }));
    written(Box::pin(async {
        put_leased(&*store, "k", 7).await.expect("put");
    }));
    disk.full(true);
    written(Box::pin(async {
        let done = engine.sleep("one").await;
        assert!(matches!(done, Err(Error::NoSpace(_))), "{done:?}");
    }));
    disk.full(false);
    assert!(now(value(&*store, "k")).is_some(), "it is not asleep");
    hand.put_on(10_000);
    go_on(&engine);
    assert_eq!(now(store.leases()), Ok(Vec::new()));
    assert!(now(value(&*store, "k")).is_none());
    engine.close();
}

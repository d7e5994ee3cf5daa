//! Leases.

use super::Fixture;
use crate::support::{get, next_events, put, put_leased, until, watch_all};
use freehold_store::Error;
use std::time::{Duration, Instant};

pub(super) async fn keys_vanish_when_their_lease_ends(fixture: Fixture) {
    let store = fixture.fresh().await;
    let lease = store.lease_grant(1).await.expect("lease");
    let rev = put_leased(&*store, "a", lease).await.expect("put").rev;
    put(&*store, "b", "stays").await;
    assert_eq!(get(&*store, "a").await.expect("there").lease, lease);
    let mut stream = watch_all(&*store, rev).await;
    until("the key vanishes", || async {
        get(&*store, "a").await.is_none()
    })
    .await;
    loop {
        let (_, events) = next_events(&mut stream).await.expect("events");
        if events[0].deleted {
            assert_eq!(events[0].kv.key, "a");
            break;
        }
    }
    assert!(get(&*store, "b").await.is_some());
    assert_eq!(
        put_leased(&*store, "c", lease).await.map(|_| ()),
        Err(Error::LeaseNotFound(lease))
    );
}

pub(super) async fn revoking_deletes_all_keys_in_one_revision(fixture: Fixture) {
    let store = fixture.fresh().await;
    let lease = store.lease_grant(600).await.expect("lease");
    for name in ["c", "a", "b"] {
        put_leased(&*store, name, lease).await.expect("put");
    }
    let mut stream = watch_all(&*store, 0).await;
    store.lease_revoke(lease).await.expect("revoke");
    let (rev, events) = next_events(&mut stream).await.expect("events");
    assert_eq!(rev, store.head().await.expect("head").rev);
    let names: Vec<_> = events.iter().map(|event| event.kv.key.clone()).collect();
    assert_eq!(names, ["a", "b", "c"]);
    assert!(events.iter().all(|event| event.deleted));
    assert_eq!(
        store.lease_revoke(lease).await,
        Err(Error::LeaseNotFound(lease))
    );
}

pub(super) async fn unknown_leases_are_refused(fixture: Fixture) {
    let store = fixture.fresh().await;
    put(&*store, "a", "1").await;
    let head = store.head().await.expect("head").rev;
    assert_eq!(
        put_leased(&*store, "a", 77).await.map(|_| ()),
        Err(Error::LeaseNotFound(77))
    );
    assert_eq!(store.lease_revoke(77).await, Err(Error::LeaseNotFound(77)));
    assert!(matches!(
        store.lease_grant(10_000_000_000).await,
        Err(Error::Invalid(_))
    ));
    assert_eq!(store.head().await.expect("head").rev, head);
}

pub(super) async fn a_put_without_the_lease_takes_the_key_out_of_it(fixture: Fixture) {
    let store = fixture.fresh().await;
    let lease = store.lease_grant(600).await.expect("lease");
    put_leased(&*store, "a", lease).await.expect("put");
    let rev = put(&*store, "a", "kept").await;
    store.lease_revoke(lease).await.expect("revoke");
    assert_eq!(get(&*store, "a").await.expect("there").mod_rev, rev);
}

pub(super) async fn a_key_moves_from_lease_to_lease(fixture: Fixture) {
    let store = fixture.fresh().await;
    let one = store.lease_grant(600).await.expect("lease");
    let two = store.lease_grant(600).await.expect("lease");
    put_leased(&*store, "a", one).await.expect("put");
    put_leased(&*store, "a", two).await.expect("put");
    store.lease_revoke(one).await.expect("revoke");
    assert_eq!(get(&*store, "a").await.expect("there").lease, two);
    store.lease_revoke(two).await.expect("revoke");
    assert!(get(&*store, "a").await.is_none());
}

pub(super) async fn a_lease_may_have_an_id_of_the_callers(fixture: Fixture) {
    let store = fixture.fresh().await;
    // Leases of an etcd are common to all its keyspaces: the test must not meet itself.
    let wanted = 1 << 40 | i64::from(std::process::id());
    store.lease_grant_as(wanted, 600).await.expect("lease");
    put_leased(&*store, "a", wanted).await.expect("put");
    assert_eq!(
        store.lease_grant_as(wanted, 600).await,
        Err(Error::LeaseExists(wanted))
    );
    for bad in [0, -1] {
        let refused = store.lease_grant_as(bad, 600).await;
        assert!(matches!(refused, Err(Error::Invalid(_))), "{refused:?}");
    }
    store.lease_revoke(wanted).await.expect("revoke");
    assert!(get(&*store, "a").await.is_none());
    assert_eq!(store.leases().await.expect("list"), []);
}

pub(super) async fn a_lease_tells_its_time_and_its_keys(fixture: Fixture) {
    let (store, other) = (fixture.fresh().await, fixture.fresh().await);
    assert_eq!(store.leases().await.expect("list"), []);
    let mut ids = Vec::new();
    for _ in 0..3 {
        ids.push(store.lease_grant(600).await.expect("lease"));
    }
    ids.sort_unstable();
    assert_eq!(store.leases().await.expect("list"), ids);
    for name in ["b", "a"] {
        put_leased(&*store, name, ids[0]).await.expect("put");
    }
    let lease = store.lease(ids[0]).await.expect("lease");
    assert_eq!(lease.granted, 600);
    assert_eq!(lease.keys, ["a", "b"]);
    let left = lease.remaining.as_secs();
    assert!((590..=600).contains(&left), "{left}");
    assert!(store.lease(ids[1]).await.expect("lease").keys.is_empty());
    // What is not there, and what is another keyspace's, are the same.
    for id in [7777, ids[0]] {
        let absent = Error::LeaseNotFound(id);
        assert_eq!(other.lease(id).await, Err(absent.clone()));
        assert_eq!(other.lease_renew(id).await, Err(absent.clone()));
        assert_eq!(other.lease_revoke(id).await, Err(absent));
    }
    assert_eq!(other.leases().await.expect("list"), []);
    assert!(get(&*store, "a").await.is_some());
}

pub(super) async fn a_renewed_lease_outlives_its_first_deadline(fixture: Fixture) {
    let store = fixture.fresh().await;
    let start = Instant::now();
    let lease = store.lease_grant(2).await.expect("lease");
    put_leased(&*store, "a", lease).await.expect("put");
    until("half of its time is over", || async {
        start.elapsed() > Duration::from_millis(1200)
    })
    .await;
    assert_eq!(store.lease_renew(lease).await, Ok(2));
    let renewed = Instant::now();
    // The first deadline passes, and the second has not come.
    while renewed.elapsed() < Duration::from_millis(1300) {
        assert!(get(&*store, "a").await.is_some(), "{:?}", start.elapsed());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(start.elapsed() > Duration::from_millis(2400));
    until("it ends after all", || async {
        get(&*store, "a").await.is_none()
    })
    .await;
    assert_eq!(
        store.lease_renew(lease).await,
        Err(Error::LeaseNotFound(lease))
    );
}

//! Leases.

use super::Fixture;
use crate::support::{get, next_events, put, until, watch_all};
use freehold_store::{Error, Op, Result, Store, Txn, TxnReply};

async fn put_leased(store: &dyn Store, key: &str, lease: i64) -> Result<TxnReply> {
    let op = Op::Put {
        key: key.to_owned().into(),
        value: "v".into(),
        lease,
    };
    store
        .txn(Txn {
            then: vec![op],
            ..Txn::default()
        })
        .await
}

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

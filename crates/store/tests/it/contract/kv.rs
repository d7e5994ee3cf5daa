//! Transactions, ranges and compaction.

use super::Fixture;
use crate::support::{all, delete, everything, get, put, put_if, put_op, value};
use bytes::Bytes;
use freehold_store::{
    Compare, Error, Field, Op, OpResult, Range, RangeReply, Relation, Store, Txn, TxnReply,
};

fn key(text: &str) -> Bytes {
    text.to_owned().into()
}

pub(super) async fn a_key_lives_through_create_update_delete_and_create_again(fixture: Fixture) {
    let store = fixture.fresh().await;
    let created = put_if(&*store, "a", 0, "1").await.expect("create");
    assert!(created.succeeded);
    let one = get(&*store, "a").await.expect("there");
    assert_eq!(
        (one.create_rev, one.mod_rev, one.version),
        (created.rev, created.rev, 1)
    );
    let again = put_if(&*store, "a", 0, "x").await.expect("create again");
    assert!(!again.succeeded);
    assert_eq!(again.results, [OpResult::Got(Some(one.clone()))]);
    let updated = put_if(&*store, "a", one.mod_rev, "2")
        .await
        .expect("update");
    assert_eq!(
        updated.results,
        [OpResult::Put {
            prev: Some(one.clone())
        }]
    );
    let two = get(&*store, "a").await.expect("there");
    assert_eq!(
        (two.create_rev, two.mod_rev, two.version),
        (created.rev, updated.rev, 2)
    );
    assert!(updated.rev > created.rev);
    let deleted = delete(&*store, "a").await;
    assert_eq!(deleted.results, [OpResult::Deleted { prev: vec![two] }]);
    assert_eq!(get(&*store, "a").await, None);
    let rev = put(&*store, "a", "3").await;
    let three = get(&*store, "a").await.expect("there");
    assert_eq!(
        (three.create_rev, three.mod_rev, three.version),
        (rev, rev, 1)
    );
}

pub(super) async fn a_failed_compare_runs_the_other_branch_and_writes_nothing(fixture: Fixture) {
    let store = fixture.fresh().await;
    let rev = put(&*store, "a", "1").await;
    let reply = put_if(&*store, "a", rev + 1, "2").await.expect("txn");
    assert!(!reply.succeeded);
    assert!(matches!(&reply.results[..], [OpResult::Got(Some(kv))] if kv.value == "1"));
    assert_eq!(value(&*store, "a").await.as_deref(), Some("1"));
    assert_eq!(store.head().await.expect("head").rev, rev);
}

pub(super) async fn a_transaction_is_one_revision_and_sees_itself(fixture: Fixture) {
    let store = fixture.fresh().await;
    put(&*store, "old", "x").await;
    let then = vec![
        Op::Get { key: key("a") },
        put_op("a", "1"),
        Op::Get { key: key("a") },
        Op::Delete { key: key("old") },
        Op::Get { key: key("old") },
        put_op("b", "2"),
        Op::DeleteRange {
            lo: key("o"),
            hi: key("p"),
        },
    ];
    let reply = store
        .txn(Txn {
            then,
            ..Txn::default()
        })
        .await
        .expect("txn");
    let OpResult::Got(Some(seen)) = &reply.results[2] else {
        panic!("{reply:?}")
    };
    assert_eq!(
        (seen.mod_rev, seen.version, &seen.value[..]),
        (reply.rev, 1, &b"1"[..])
    );
    assert_eq!(reply.results[0], OpResult::Got(None));
    assert_eq!(reply.results[4], OpResult::Got(None));
    assert_eq!(reply.results[6], OpResult::Deleted { prev: Vec::new() });
    let kvs = all(&*store, 0).await.expect("range").kvs;
    assert_eq!(
        kvs.iter().map(|kv| kv.mod_rev).collect::<Vec<_>>(),
        [reply.rev, reply.rev]
    );
}

pub(super) async fn every_kind_of_compare_compares(fixture: Fixture) {
    let store = fixture.fresh().await;
    let lease = store.lease_grant(600).await.expect("lease");
    let op = Op::Put {
        key: key("a"),
        value: key("v"),
        lease,
    };
    let rev = store
        .txn(Txn {
            then: vec![op],
            ..Txn::default()
        })
        .await
        .expect("put")
        .rev;
    for (compare, holds) in [
        (Compare::ModRev(key("a"), rev), true),
        (Compare::ModRev(key("a"), rev - 1), false),
        (Compare::ModRev(key("none"), 0), true),
        (Compare::CreateRev(key("a"), rev), true),
        (Compare::CreateRev(key("a"), 0), false),
        (Compare::CreateRev(key("none"), 0), true),
        (Compare::Version(key("a"), 1), true),
        (Compare::Version(key("none"), 0), true),
        (Compare::Version(key("none"), 1), false),
        (Compare::Value(key("a"), key("v")), true),
        (Compare::Value(key("a"), key("w")), false),
        (Compare::Value(key("none"), key("")), false),
        (Compare::Lease(key("a"), lease), true),
        (Compare::Lease(key("a"), 0), false),
        (Compare::Lease(key("none"), 0), true),
    ] {
        let txn = Txn {
            compares: vec![compare.clone()],
            ..Txn::default()
        };
        let reply = store.txn(txn).await.expect("txn");
        assert_eq!(reply.succeeded, holds, "{compare:?}");
    }
    let both = vec![Compare::ModRev(key("a"), rev), Compare::ModRev(key("a"), 0)];
    let reply = store
        .txn(Txn {
            compares: both,
            ..Txn::default()
        })
        .await
        .expect("txn");
    assert!(!reply.succeeded, "all compares must hold");
}

pub(super) async fn a_range_is_ordered_limited_and_counted_exactly(fixture: Fixture) {
    let store = fixture.fresh().await;
    for n in (0..300).rev() {
        put(&*store, &format!("k{n:03}"), &n.to_string()).await;
    }
    for n in (0..300).step_by(3) {
        delete(&*store, &format!("k{n:03}")).await;
    }
    let whole = all(&*store, 0).await.expect("range");
    assert_eq!(
        (whole.count, whole.kvs.len(), whole.more),
        (200, 200, false)
    );
    assert!(whole.kvs.windows(2).all(|pair| pair[0].key < pair[1].key));
    assert_eq!(whole.head_rev, store.head().await.expect("head").rev);
    let page = store
        .range(Range {
            limit: 7,
            ..everything(0)
        })
        .await
        .expect("page");
    assert_eq!((page.count, page.more), (200, true));
    assert_eq!(page.kvs, whole.kvs[..7]);
    let exact = store
        .range(Range {
            limit: 200,
            ..everything(0)
        })
        .await
        .expect("page");
    assert!(!exact.more);
    let count = store
        .range(Range {
            count_only: true,
            ..everything(0)
        })
        .await
        .expect("count");
    assert_eq!((count.count, count.kvs.len()), (200, 0));
    let keys = Range {
        keys_only: true,
        limit: 5,
        ..everything(0)
    };
    let keys = store.range(keys).await.expect("keys").kvs;
    assert!(keys.iter().all(|kv| kv.value.is_empty() && kv.mod_rev > 0));
    pages_add_up(&*store, &whole).await;
}

async fn pages_add_up(store: &dyn Store, whole: &RangeReply) {
    let mut seen = Vec::new();
    let mut lo = Bytes::from_static(&[0]);
    loop {
        let range = Range {
            lo,
            limit: 33,
            rev: whole.head_rev,
            ..everything(0)
        };
        let page = store.range(range).await.expect("page");
        assert_eq!(
            page.count as usize,
            200 - seen.len(),
            "the count is of the range asked for"
        );
        seen.extend(page.kvs);
        if !page.more {
            break;
        }
        let mut next = seen.last().expect("a page is not empty").key.to_vec();
        next.push(0);
        lo = next.into();
    }
    assert_eq!(seen, whole.kvs);
}

pub(super) async fn every_kind_of_range_end_means_what_it_says(fixture: Fixture) {
    let store = fixture.fresh().await;
    for name in ["a", "a/1", "a/2", "b", "c"] {
        put(&*store, name, "v").await;
    }
    for (lo, hi, names) in [
        ("a", "", vec!["a"]),
        ("x", "", vec![]),
        ("a/", "a0", vec!["a/1", "a/2"]),
        ("b", "\0", vec!["b", "c"]),
        ("b", "b", vec![]),
        ("c", "a", vec![]),
        ("a", "c", vec!["a", "a/1", "a/2", "b"]),
    ] {
        let range = Range {
            lo: key(lo),
            hi: key(hi),
            ..Range::default()
        };
        let reply = store.range(range).await.expect("range");
        let found: Vec<_> = reply.kvs.iter().map(|kv| kv.key.clone()).collect();
        assert_eq!(found, names, "[{lo}, {hi})");
        assert_eq!(reply.count as usize, names.len());
    }
}

pub(super) async fn old_revisions_stay_readable_until_compacted(fixture: Fixture) {
    let store = fixture.fresh().await;
    let one = put(&*store, "a", "1").await;
    let two = put(&*store, "a", "2").await;
    let gone = delete(&*store, "a").await.rev;
    let three = put(&*store, "a", "3").await;
    for (rev, expected) in [
        (one, Some("1")),
        (two, Some("2")),
        (gone, None),
        (three, Some("3")),
    ] {
        for range in [
            everything(rev),
            Range {
                lo: key("a"),
                rev,
                ..Range::default()
            },
        ] {
            let reply = store.range(range).await.expect("range");
            assert_eq!(
                reply.kvs.first().map(|kv| &kv.value[..]),
                expected.map(str::as_bytes)
            );
            assert_eq!(reply.head_rev, three);
        }
    }
    store.compact(gone).await.expect("compact");
    for range in [
        everything(two),
        Range {
            lo: key("a"),
            rev: two,
            ..Range::default()
        },
    ] {
        assert_eq!(store.range(range).await, Err(Error::Compacted(gone)));
    }
    assert_eq!(
        all(&*store, gone)
            .await
            .expect("at the compact revision")
            .count,
        0
    );
    assert_eq!(all(&*store, three).await.expect("newer").count, 1);
}

pub(super) async fn compaction_has_edges(fixture: Fixture) {
    let store = fixture.fresh().await;
    put(&*store, "a", "1").await;
    let rev = put(&*store, "a", "2").await;
    let head = put(&*store, "a", "3").await;
    assert!(matches!(store.compact(head + 1000).await, Err(Error::Future(at)) if at >= head));
    store.compact(rev).await.expect("compact");
    assert_eq!(store.compact(rev).await, Err(Error::Compacted(rev)));
    assert_eq!(store.compact(rev - 1).await, Err(Error::Compacted(rev)));
    assert_eq!(store.head().await.expect("head").compact_rev, rev);
    // etcd #18667: a transaction that reads what is compacted does nothing at all.
    let old = Range {
        rev: rev - 1,
        ..everything(0)
    };
    let txn = Txn {
        then: vec![put_op("b", "1"), Op::Range(old)],
        ..Txn::default()
    };
    let refused = store.txn(txn).await;
    assert!(matches!(refused, Err(Error::Compacted(_))), "{refused:?}");
    assert_eq!(value(&*store, "b").await, None);
    store.compact(head).await.expect("up to now");
    assert_eq!(value(&*store, "a").await.as_deref(), Some("3"));
    assert!(matches!(all(&*store, head + 1000).await, Err(Error::Future(at)) if at >= head));
}

pub(super) async fn compaction_keeps_what_is_alive(fixture: Fixture) {
    let store = fixture.fresh().await;
    for round in 0..5 {
        for n in 0..40 {
            put(&*store, &format!("k{n:02}"), &round.to_string()).await;
        }
    }
    for n in (0..40).step_by(2) {
        delete(&*store, &format!("k{n:02}")).await;
    }
    let before = all(&*store, 0).await.expect("range");
    store.compact(before.head_rev).await.expect("compact");
    put(&*store, "z", "new").await;
    assert_eq!(
        all(&*store, before.head_rev).await.expect("pinned").kvs,
        before.kvs
    );
    delete(&*store, "z").await;
    assert_eq!(all(&*store, 0).await.expect("now").kvs, before.kvs);
}

pub(super) async fn broken_requests_are_refused_and_change_nothing(fixture: Fixture) {
    let store = fixture.fresh().await;
    let rev = put(&*store, "a", "1").await;
    let write = |then: Vec<Op>| {
        store.txn(Txn {
            then,
            ..Txn::default()
        })
    };
    let duplicate = Err(Error::Invalid("duplicate key given in txn request".into()));
    assert_eq!(
        write(vec![put_op("b", "1"), put_op("b", "2")]).await,
        duplicate
    );
    let delete_own = Op::DeleteRange {
        lo: key("a"),
        hi: key("c"),
    };
    assert_eq!(write(vec![put_op("b", "1"), delete_own]).await, duplicate);
    let empty = Err(Error::Invalid("key is not provided".into()));
    assert_eq!(write(vec![put_op("", "1")]).await, empty);
    assert_eq!(
        store.range(Range::default()).await.map(|_| ()),
        empty.map(|_| ())
    );
    let large = write(vec![put_op("b", &"x".repeat(1_600_000))]).await;
    assert!(matches!(large, Err(Error::TooLarge(_))), "{large:?}");
    assert_eq!(store.head().await.expect("head").rev, rev);
    assert_eq!(all(&*store, 0).await.expect("range").count, 1);
}

pub(super) async fn deleting_nothing_is_no_revision(fixture: Fixture) {
    let store = fixture.fresh().await;
    let rev = put(&*store, "a", "1").await;
    let reply = delete(&*store, "none").await;
    assert_eq!(
        (reply.rev, reply.results),
        (rev, vec![OpResult::Deleted { prev: Vec::new() }])
    );
}

pub(super) async fn concurrent_increments_are_never_lost(fixture: Fixture) {
    let store = fixture.fresh().await;
    put(&*store, "n", "0").await;
    let tasks = (0..8).map(|_| {
        let store = store.clone();
        tokio::spawn(async move {
            let mut done = 0;
            while done < 10 {
                let now = get(&*store, "n").await.expect("there");
                let n: u32 = String::from_utf8_lossy(&now.value)
                    .parse()
                    .expect("a number");
                let reply = put_if(&*store, "n", now.mod_rev, &(n + 1).to_string()).await;
                done += u32::from(reply.expect("txn").succeeded);
            }
        })
    });
    for task in tasks.collect::<Vec<_>>() {
        task.await.expect("task");
    }
    assert_eq!(value(&*store, "n").await.as_deref(), Some("80"));
}

pub(super) async fn keyspaces_never_see_each_other(fixture: Fixture) {
    let (one, two) = (fixture.fresh().await, fixture.fresh().await);
    put(&*one, "a", "1").await;
    put(&*one, "z", "1").await;
    put(&*two, "a", "2").await;
    let whole = Op::DeleteRange {
        lo: Bytes::from_static(&[0]),
        hi: Bytes::from_static(&[0]),
    };
    let reply = one
        .txn(Txn {
            then: vec![whole],
            ..Txn::default()
        })
        .await
        .expect("delete all");
    let OpResult::Deleted { prev } = &reply.results[0] else {
        panic!("{reply:?}")
    };
    assert_eq!(
        prev.iter().map(|kv| kv.key.clone()).collect::<Vec<_>>(),
        ["a", "z"]
    );
    assert_eq!(value(&*two, "a").await.as_deref(), Some("2"));
    assert_eq!(all(&*two, 0).await.expect("range").count, 1);
    assert_eq!(all(&*one, 0).await.expect("range").count, 0);
    let beyond = Range {
        lo: key("\u{7f}"),
        hi: Bytes::from_static(&[0]),
        ..Range::default()
    };
    assert_eq!(one.range(beyond).await.expect("range").count, 0);
    let lease = one.lease_grant(600).await.expect("lease");
    assert_eq!(
        two.lease_revoke(lease).await,
        Err(Error::LeaseNotFound(lease))
    );
    // Nor can one put a key under it, and so learn that it is there.
    let under = |lease| Op::Put {
        key: key("under"),
        value: key("v"),
        lease,
    };
    let update = Op::Update {
        key: key("a"),
        value: None,
        lease: Some(lease),
    };
    let inner = Txn {
        then: vec![under(lease)],
        ..Txn::default()
    };
    for op in [under(lease), update, Op::Txn(Box::new(inner))] {
        let txn = Txn {
            then: vec![op],
            ..Txn::default()
        };
        let refused = two.txn(txn).await.map(|_| ());
        assert_eq!(refused, Err(Error::LeaseNotFound(lease)));
    }
    let own = Txn {
        then: vec![under(lease)],
        ..Txn::default()
    };
    one.txn(own).await.expect("under its own");
    one.lease_revoke(lease).await.expect("revoke");
    assert_eq!(two.head().await.expect("head").keys, 1);
}

pub(super) async fn a_deleted_keyspace_is_gone(fixture: Fixture) {
    let id = "to-be-deleted";
    let store = fixture.keyspaces.open(id).await.expect("open");
    put(&*store, "a", "1").await;
    assert!(
        fixture
            .keyspaces
            .list()
            .await
            .expect("list")
            .iter()
            .any(|known| known == id)
    );
    fixture.keyspaces.delete(id).await.expect("delete");
    assert!(
        !fixture
            .keyspaces
            .list()
            .await
            .expect("list")
            .iter()
            .any(|known| known == id)
    );
    let again = fixture.keyspaces.open(id).await.expect("open");
    assert_eq!(all(&*again, 0).await.expect("range").count, 0);
    fixture.keyspaces.delete(id).await.expect("delete");
    fixture
        .keyspaces
        .delete(id)
        .await
        .expect("what is gone stays gone");
}

async fn holds(store: &dyn Store, lo: &str, hi: &str, field: Field, relation: Relation) -> bool {
    let test = Compare::Test {
        lo: key(lo),
        hi: key(hi),
        field,
        relation,
    };
    let txn = Txn {
        compares: vec![test],
        ..Txn::default()
    };
    store.txn(txn).await.expect("txn").succeeded
}

pub(super) async fn every_relation_holds_for_keys_and_ranges(fixture: Fixture) {
    use Relation::{Equal, Greater, Less, NotEqual};
    let store = fixture.fresh().await;
    put(&*store, "a", "1").await;
    put(&*store, "a", "2").await;
    let rev = i64::try_from(put(&*store, "b", "3").await).expect("small");
    let all = [Equal, Greater, Less, NotEqual];
    let mut found = Vec::new();
    for (lo, hi, field) in [
        ("a", "", Field::Version(2)),
        ("a", "", Field::Version(1)),
        ("a", "", Field::Value("15".into())),
        ("b", "", Field::ModRev(rev)),
        ("b", "", Field::CreateRev(rev + 1)),
        ("b", "", Field::Lease(-1)),
        ("a", "z", Field::ModRev(rev)),
        ("a", "\0", Field::Version(0)),
        ("a", "z", Field::Value("2".into())),
        ("absent", "", Field::Version(0)),
        ("absent", "", Field::Value("".into())),
        ("m", "z", Field::CreateRev(0)),
        ("m", "z", Field::Value("".into())),
        ("z", "a", Field::ModRev(1)),
    ] {
        let mut row = String::new();
        for relation in all {
            let held = holds(&*store, lo, hi, field.clone(), relation).await;
            row.push(if held { 'y' } else { '-' });
        }
        found.push(row);
    }
    // Equal, greater, less, not equal; as a real etcd answers.
    let expected = [
        "y---", "-y-y", "-y-y", "y---", "--yy", "-y-y", "----", "-y-y", "----", "y---", "----",
        "y---", "----", "--yy",
    ];
    assert_eq!(found, expected);
}

fn inner(compares: Vec<Compare>, then: Vec<Op>, otherwise: Vec<Op>) -> Op {
    Op::Txn(Box::new(Txn {
        compares,
        then,
        otherwise,
        ..Txn::default()
    }))
}

pub(super) async fn transactions_nest_and_their_compares_see_one_state(fixture: Fixture) {
    let store = fixture.fresh().await;
    let before = put(&*store, "a", "1").await;
    let absent = |name: &str| Compare::ModRev(key(name), 0);
    let deepest = inner(
        vec![absent("b")],
        vec![put_op("deep", "1"), Op::Get { key: key("b") }],
        vec![],
    );
    let then = vec![
        put_op("b", "1"),
        // `b` was put above, but this compare sees the state before everything.
        inner(
            vec![absent("b")],
            vec![put_op("c", "1"), deepest],
            vec![put_op("d", "1")],
        ),
        inner(
            vec![absent("a")],
            vec![put_op("c", "2"), put_op("d", "2")],
            vec![Op::Delete { key: key("a") }],
        ),
    ];
    let txn = Txn {
        then: then.clone(),
        ..Txn::default()
    };
    // Both inner transactions could put `c`.
    let refused = store.txn(txn.clone()).await;
    assert!(matches!(refused, Err(Error::Invalid(_))), "{refused:?}");
    let mut txn = txn;
    txn.then[2] = inner(
        vec![absent("a")],
        vec![put_op("d2", "2")],
        vec![Op::Delete { key: key("a") }],
    );
    let reply = store.txn(txn).await.expect("txn");
    let OpResult::Txn(TxnReply {
        succeeded: true,
        results,
        ..
    }) = &reply.results[1]
    else {
        panic!("{reply:?}")
    };
    let OpResult::Txn(deep) = &results[1] else {
        panic!("{results:?}")
    };
    let OpResult::Got(Some(b)) = &deep.results[1] else {
        panic!("{deep:?}")
    };
    assert_eq!((b.mod_rev, &b.value[..]), (reply.rev, &b"1"[..]));
    let OpResult::Txn(last) = &reply.results[2] else {
        panic!("{reply:?}")
    };
    assert!(!last.succeeded);
    assert!(matches!(&last.results[..], [OpResult::Deleted { prev }] if prev[0].key == "a"));
    let kvs = all(&*store, 0).await.expect("range").kvs;
    let names: Vec<_> = kvs.iter().map(|kv| kv.key.clone()).collect();
    assert_eq!(names, ["b", "c", "deep"]);
    assert!(kvs.iter().all(|kv| kv.mod_rev == reply.rev));
    assert!(reply.rev > before);
}

pub(super) async fn overlapping_inner_transactions_are_refused(fixture: Fixture) {
    let store = fixture.fresh().await;
    let rev = put(&*store, "a", "1").await;
    let put_a = || inner(vec![], vec![put_op("a", "2")], vec![put_op("a", "3")]);
    for then in [
        vec![put_op("a", "1"), put_a()],
        vec![Op::Delete { key: key("a") }, put_a()],
        vec![put_a(), put_a()],
        vec![
            inner(vec![], vec![Op::Delete { key: key("a") }], vec![]),
            put_op("a", "1"),
        ],
        vec![inner(
            vec![],
            vec![put_op("a", "1"), put_op("a", "1")],
            vec![],
        )],
    ] {
        let txn = Txn {
            then,
            ..Txn::default()
        };
        let refused = store.txn(txn.clone()).await;
        assert!(matches!(refused, Err(Error::Invalid(_))), "{txn:?}");
    }
    assert_eq!(store.head().await.expect("head").rev, rev);
    let txn = Txn {
        then: vec![put_a()],
        ..Txn::default()
    };
    let done = store.txn(txn).await.expect("both branches may put it");
    assert!(done.rev > rev);
}

fn part(lo: &str, hi: &str, rev: u64, limit: usize) -> Op {
    Op::Range(Range {
        lo: key(lo),
        hi: key(hi),
        rev,
        limit,
        ..Range::default()
    })
}

pub(super) async fn ranges_inside_a_transaction_see_its_changes(fixture: Fixture) {
    let store = fixture.fresh().await;
    for name in ["a", "b", "c"] {
        put(&*store, name, "old").await;
    }
    let before = store.head().await.expect("head").rev;
    let then = vec![
        part("a", "z", 0, 2),
        put_op("bb", "new"),
        put_op("a", "new"),
        Op::Delete { key: key("c") },
        part("a", "z", 0, 0),
        part("b", "z", 0, 1),
        part("a", "\0", before, 0),
        part("a", "", 0, 0),
        part("c", "", 0, 0),
        Op::Range(Range {
            lo: key("a"),
            hi: key("z"),
            count_only: true,
            ..Range::default()
        }),
    ];
    let txn = Txn {
        then,
        ..Txn::default()
    };
    let reply = store.txn(txn).await.expect("txn");
    let found: Vec<_> = reply
        .results
        .iter()
        .filter_map(|result| match result {
            OpResult::Range(reply) => {
                let text = |bytes: &Bytes| String::from_utf8_lossy(bytes).into_owned();
                let one = |kv: &freehold_store::KeyValue| text(&kv.key) + "=" + &text(&kv.value);
                let kvs: Vec<_> = reply.kvs.iter().map(one).collect();
                Some((kvs.join(" "), reply.count, reply.more))
            }
            _ => None,
        })
        .collect();
    let expected = [
        ("a=old b=old", 3, true),
        ("a=new b=old bb=new", 3, false),
        ("b=old", 2, true),
        ("a=old b=old c=old", 3, false),
        ("a=new", 1, false),
        ("", 0, false),
        ("", 3, false),
    ];
    let expected = expected.map(|(kvs, count, more)| (kvs.to_owned(), count, more));
    assert_eq!(found, expected);
    let txn = |rev| Txn {
        then: vec![put_op("never", "1"), part("a", "z", rev, 0)],
        ..Txn::default()
    };
    let future = store.txn(txn(reply.rev + 100)).await;
    assert!(matches!(future, Err(Error::Future(_))), "{future:?}");
    store.compact(reply.rev).await.expect("compact");
    let compacted = store.txn(txn(before)).await;
    assert!(
        matches!(compacted, Err(Error::Compacted(_))),
        "{compacted:?}"
    );
    assert_eq!(get(&*store, "never").await, None);
}

pub(super) async fn an_update_keeps_what_is_not_given(fixture: Fixture) {
    let store = fixture.fresh().await;
    let lease = store.lease_grant(600).await.expect("lease");
    let update = |value: Option<&str>, lease| Txn {
        then: vec![Op::Update {
            key: key("a"),
            value: value.map(|v| v.to_owned().into()),
            lease,
        }],
        ..Txn::default()
    };
    let absent = store.txn(update(Some("x"), None)).await;
    assert_eq!(absent.map(|_| ()), Err(Error::KeyNotFound));
    let first = put(&*store, "a", "1").await;
    store.txn(update(None, Some(lease))).await.expect("lease");
    let kv = get(&*store, "a").await.expect("there");
    assert_eq!((&kv.value[..], kv.lease, kv.version), (&b"1"[..], lease, 2));
    store.txn(update(Some("2"), None)).await.expect("value");
    let kv = get(&*store, "a").await.expect("there");
    assert_eq!((&kv.value[..], kv.lease, kv.version), (&b"2"[..], lease, 3));
    let both = store.txn(update(None, None)).await.expect("neither");
    let kv = get(&*store, "a").await.expect("there");
    assert_eq!(
        (kv.create_rev, kv.mod_rev, kv.version, kv.lease),
        (first, both.rev, 4, lease)
    );
    assert_eq!(
        store.txn(update(None, Some(7))).await.map(|_| ()),
        Err(Error::LeaseNotFound(7))
    );
    store.lease_revoke(lease).await.expect("revoke");
    assert_eq!(get(&*store, "a").await, None);
}

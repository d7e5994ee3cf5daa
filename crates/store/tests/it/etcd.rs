//! What only an etcd has: its conditions, users and certificates, one history for all.

use crate::certificates::Authority;
use crate::contract;
use crate::real_etcd::{RealEtcd, free_port, upstream};
use crate::support::{all, everything, next, put, put_if, watch_all};
use freehold_store::etcd::{Etcd, Options, Tls};
use freehold_store::{Error, Keyspaces, LeaseId, Op, OpResult, Txn, TxnReply, Watch, WatchItem};
use std::process::Command;
use std::time::{Duration, Instant};

async fn refused(mut options: Options) -> String {
    // Long enough for a machine that does much else.
    options.timeout = Duration::from_secs(8);
    let start = Instant::now();
    let error = match Etcd::connect(options).await {
        Err(Error::Unavailable(text)) => text,
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("connected"),
    };
    assert!(start.elapsed() < Duration::from_secs(30));
    assert!(!error.contains('\n'), "one sentence: {error}");
    error
}

fn options(url: &str) -> Options {
    Options::new(vec![url.to_owned()], "/freehold")
}

#[tokio::test]
async fn tls_is_checked_on_both_sides_and_what_is_wrong_is_said() {
    let (ca, other) = (Authority::new(), Authority::new());
    let dir = tempfile::tempdir().expect("dir");
    let (cert, key) = ca.issue("localhost");
    let file = |name: &str, text: &str| {
        let path = dir.path().join(name);
        std::fs::write(&path, text).expect("write");
        path.to_string_lossy().into_owned()
    };
    let args = [
        "--cert-file",
        &file("server.crt", &cert),
        "--key-file",
        &file("server.key", &key),
        "--trusted-ca-file",
        &file("ca.crt", &ca.pem),
        "--client-cert-auth",
    ];
    let Some(etcd) = RealEtcd::start_with("https", &args) else {
        return;
    };
    let url = format!("https://localhost:{}", etcd.port());
    let with = |ca: &Authority, identity: Option<(String, String)>, name: Option<&str>| {
        let mut options = options(&url);
        options.tls = Some(Tls {
            ca: ca.pem.clone().into_bytes(),
            identity: identity.map(|(cert, key)| (cert.into_bytes(), key.into_bytes())),
            server_name: name.map(str::to_owned),
        });
        options
    };
    let good = Some(ca.issue("freehold"));
    let keyspaces = Etcd::connect(with(&ca, good.clone(), None))
        .await
        .expect("connect");
    put(&*keyspaces.open("one").await.expect("open"), "a", "1").await;
    for wrong in [
        with(&other, good.clone(), None),
        with(&ca, good, Some("elsewhere")),
        with(&ca, None, None),
        with(&ca, Some(other.issue("freehold")), None),
    ] {
        let text = refused(wrong).await;
        assert!(
            text.contains("no trusted TLS connection to etcd at"),
            "{text}"
        );
    }
    let text = refused(options(&format!("http://127.0.0.1:{}", free_port()))).await;
    assert!(
        text.contains("cannot be reached") && text.contains("check the address"),
        "{text}"
    );
}

#[tokio::test]
async fn several_endpoints_that_are_down_are_said_with_what_to_check() {
    let mut options = options("http://127.0.0.1:1");
    options.endpoints = [free_port(), free_port()]
        .map(|port| format!("http://127.0.0.1:{port}"))
        .into();
    let names = options.endpoints.join(", ");
    let text = refused(options).await;
    assert!(
        text.contains(&names) && text.contains("check the address"),
        "{text}"
    );
}

/// Switches an etcd's authentication on; nothing when there is no etcdctl.
fn with_users() -> Option<RealEtcd> {
    with_users_and(&[])
}

fn with_users_and(more: &[&str]) -> Option<RealEtcd> {
    let etcd = RealEtcd::start_with("http", more)?;
    let Some(_) = upstream("etcdctl") else {
        println!("skipped: run `cargo xtask upstream`");
        return None;
    };
    let start = Instant::now();
    while ctl(&etcd, &["endpoint", "health"]).is_err() {
        assert!(
            start.elapsed() < Duration::from_secs(30),
            "etcd never answers"
        );
    }
    for args in [
        &["user", "add", "root:a-password-of-the-test"][..],
        &["user", "grant-role", "root", "root"],
        &["user", "add", "humble:a-password-of-the-test"],
        &["auth", "enable"],
    ] {
        ctl(&etcd, args).expect("etcdctl");
    }
    Some(etcd)
}

fn ctl(etcd: &RealEtcd, args: &[&str]) -> Result<String, String> {
    let program = upstream("etcdctl").expect("asked before");
    let output = Command::new(program)
        .args(["--endpoints", &etcd.url, "--command-timeout", "30s"])
        .args(args)
        .output()
        .expect("etcdctl runs");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    match output.status.success() {
        true => Ok(text(&output.stdout)),
        false => Err(text(&output.stderr)),
    }
}

const ROOT: [&str; 2] = ["--user", "root:a-password-of-the-test"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_keyspace_has_a_user_of_its_own_and_keeps_the_contract() {
    let Some(etcd) = with_users() else {
        return;
    };
    let login = |user: &str, password: &str| {
        let mut options = options(&etcd.url);
        options.login = Some((user.to_owned(), password.to_owned()));
        options
    };
    let text = refused(login("root", "another")).await;
    assert!(
        text.contains("refuses the password of user \"root\""),
        "{text}"
    );
    let text = refused(login("nobody", "x")).await;
    assert!(text.contains("check the user and password"), "{text}");
    let humble = Etcd::connect(login("humble", "a-password-of-the-test")).await;
    if let Ok(humble) = humble {
        let error = humble.open("one").await.map(|_| ()).expect_err("no rights");
        assert!(matches!(error, Error::Unavailable(_)), "{error}");
    }
    let keyspaces = Etcd::connect(login("root", "a-password-of-the-test"));
    let keyspaces = keyspaces.await.expect("connect");
    let one = keyspaces.open("one").await.expect("open");
    put(&*one, "a", "1").await;
    let role = ctl(
        &etcd,
        &[&ROOT[..], &["role", "get", "freehold-one"]].concat(),
    );
    let role = role.expect("the role is there");
    assert!(
        role.contains("/freehold/d/one/") && !role.contains("two"),
        "{role}"
    );
    let user = ctl(
        &etcd,
        &[&ROOT[..], &["user", "get", "freehold-one"]].concat(),
    );
    assert!(user.expect("user").contains("Roles: freehold-one"));
    // Another process finds the same user again.
    let again = Etcd::connect(login("root", "a-password-of-the-test"));
    let again = again
        .await
        .expect("connect")
        .open("one")
        .await
        .expect("open");
    assert_eq!(all(&*again, 0).await.expect("range").count, 1);
    keyspaces.delete("one").await.expect("delete");
    let users = ctl(&etcd, &[&ROOT[..], &["user", "list"]].concat()).expect("list");
    assert!(!users.contains("freehold-one"), "{users}");
    contract::run("etcd with users", keyspaces).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_that_is_too_old_costs_nothing_but_a_login() {
    let Some(etcd) = with_users_and(&["--auth-token-ttl", "1"]) else {
        return;
    };
    let mut options = options(&etcd.url);
    options.login = Some(("root".into(), "a-password-of-the-test".into()));
    let keyspaces = Etcd::connect(options).await.expect("connect");
    let store = keyspaces.open("one").await.expect("open");
    let mut revs = Vec::new();
    for n in 0..3 {
        revs.push(put(&*store, "a", &n.to_string()).await);
        assert_eq!(all(&*store, 0).await.expect("range").count, 1);
        let mut stream = watch_all(&*store, revs[0]).await;
        for rev in &revs {
            let event = crate::support::next_events(&mut stream).await;
            assert_eq!(event.expect("event").0, *rev);
        }
        // No use prolongs it meanwhile.
        tokio::time::sleep(Duration::from_secs(3)).await;
        let lease = store.lease_grant(60).await.expect("lease");
        assert_eq!(store.lease_renew(lease).await, Ok(60));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_keyspaces_compaction_takes_no_others_history() {
    let Some(etcd) = RealEtcd::start() else {
        return;
    };
    let keyspaces = Etcd::connect(options(&etcd.url)).await.expect("connect");
    let one = keyspaces.open("one").await.expect("open");
    let two = keyspaces.open("two").await.expect("open");
    let old = put(&*two, "a", "1").await;
    put(&*two, "a", "2").await;
    put(&*one, "a", "1").await;
    let last = put(&*one, "a", "2").await;
    one.compact(last).await.expect("compact");
    assert_eq!(
        all(&*one, old).await.map(|_| ()),
        Err(Error::Compacted(last))
    );
    assert_eq!(all(&*two, old).await.expect("two's own").kvs[0].value, "1");
    assert_eq!(two.head().await.expect("head").compact_rev, 0);
    let watch = Watch {
        start_rev: old,
        lo: everything(0).lo,
        hi: everything(0).hi,
        prev_kv: true,
    };
    let mut stream = one.watch(watch.clone()).await.expect("watch");
    assert_eq!(
        next(&mut stream).await,
        Some(Ok(WatchItem::Compacted { rev: last }))
    );
    let mut stream = two.watch(watch).await.expect("watch");
    let first = next(&mut stream).await;
    assert!(
        matches!(first, Some(Ok(WatchItem::Events { rev, .. })) if rev == old),
        "{first:?}"
    );
    // Also in another process.
    let other = Etcd::connect(options(&etcd.url)).await.expect("connect");
    let other = other.open("one").await.expect("open");
    assert_eq!(other.head().await.expect("head").compact_rev, last);
    assert_eq!(other.compact(last).await, Err(Error::Compacted(last)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_etcd_itself_is_compacted_when_nobody_needs_it() {
    let Some(etcd) = RealEtcd::start() else {
        return;
    };
    let mut options = options(&etcd.url);
    options.history = Duration::from_millis(100);
    let keyspaces = Etcd::connect(options).await.expect("connect");
    let one = keyspaces.open("one").await.expect("open");
    let two = keyspaces.open("two").await.expect("open");
    let old = put(&*two, "a", "1").await;
    for _ in 0..3 {
        let rev = put(&*one, "a", "1").await;
        one.compact(rev).await.expect("compact");
        tokio::time::sleep(Duration::from_millis(150)).await;
    }
    let found = all(&*two, old).await;
    assert!(matches!(found, Err(Error::Compacted(_))), "{found:?}");
    let mut stream = watch_all(&*two, old).await;
    assert!(matches!(
        next(&mut stream).await,
        Some(Ok(WatchItem::Compacted { .. }))
    ));
}

#[tokio::test]
async fn a_quota_counts_what_is_there_also_what_another_process_wrote() {
    let Some(etcd) = RealEtcd::start() else {
        return;
    };
    let other = Etcd::connect(options(&etcd.url)).await.expect("connect");
    let written = other.open("one").await.expect("open");
    put(&*written, "a", &"x".repeat(999)).await;
    put(&*written, "b", &"y".repeat(499)).await;
    let here = Etcd::connect(options(&etcd.url)).await.expect("connect");
    assert!(here.set_quota("one", Some(1), None).is_err(), "not open");
    let store = here.open("one").await.expect("open");
    let quota = here.set_quota("one", Some(2000), None).expect("quota");
    assert_eq!(quota.bytes, 2000);
    let head = store.head().await.expect("head");
    assert_eq!((head.bytes, head.keys), (1500, 2));
    let large = "z".repeat(600);
    let refused = put_if(&*store, "c", 0, &large).await;
    let text = "1500 of 2000 bytes are stored".to_owned();
    assert_eq!(refused.map(|_| ()), Err(Error::NoSpace(text)));
    // In place of a larger one there is room, also for what shrinks above the limit.
    put(&*store, "a", &large).await;
    assert_eq!(store.head().await.expect("head").bytes, 1101);
    here.set_quota("one", Some(10), None).expect("quota");
    put(&*store, "a", "small").await;
    let refused = put_if(&*store, "c", 0, "v").await;
    assert!(matches!(refused, Err(Error::NoSpace(_))));
    let delete = Txn {
        then: vec![Op::DeleteRange {
            lo: "\0".into(),
            hi: "\0".into(),
        }],
        ..Txn::default()
    };
    store.txn(delete).await.expect("delete");
    put(&*store, "c", "v").await;
    assert_eq!(store.head().await.expect("head").bytes, 2);
    // The other process is bounded by nothing; what it did is found before the next refusal.
    put(&*written, "d", &large).await;
    let deadline = Instant::now() + Duration::from_secs(30);
    while store.head().await.expect("head").bytes < 600 {
        let refused = put_if(&*store, "e", 0, "123456789").await;
        assert!(matches!(refused, Err(Error::NoSpace(_))));
        assert!(Instant::now() < deadline, "never counted again");
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
}

/// Puts `a`, puts `b` in a transaction inside that wants the contrary, and deletes `c`.
fn changes(without_prev: bool, value: &'static str, lease: LeaseId) -> Txn {
    let put = |key: &'static str| Op::Put {
        key: key.into(),
        value: value.into(),
        lease,
    };
    let inner = Txn {
        then: vec![put("b")],
        without_prev: !without_prev,
        ..Txn::default()
    };
    let delete = Op::Delete { key: "c".into() };
    Txn {
        then: vec![put("a"), Op::Txn(Box::new(inner)), delete],
        without_prev,
        ..Txn::default()
    }
}

/// What puts say of what was there before, and how many keys were deleted.
fn before(reply: &TxnReply) -> (Vec<bool>, usize) {
    let (mut puts, mut deleted) = (Vec::new(), 0);
    for result in &reply.results {
        match result {
            OpResult::Put { prev } => puts.push(prev.is_some()),
            OpResult::Deleted { prev } => deleted += prev.len(),
            OpResult::Txn(inner) => puts.extend(before(inner).0),
            other => panic!("{other:?}"),
        }
    }
    (puts, deleted)
}

#[tokio::test]
async fn who_does_not_ask_what_was_there_before_is_not_sent_it() {
    let Some(etcd) = RealEtcd::start() else {
        return;
    };
    let keyspaces = Etcd::connect(options(&etcd.url)).await.expect("connect");
    let one = keyspaces.open("one").await.expect("open");
    let lease = one.lease_grant(600).await.expect("lease");
    for key in ["a", "b"] {
        put(&*one, key, "first").await;
    }
    for lease in [0, lease] {
        for without_prev in [true, false] {
            put(&*one, "c", "there").await;
            let reply = one.txn(changes(without_prev, "next", lease)).await;
            let said = before(&reply.expect("txn"));
            assert_eq!(said, (vec![!without_prev; 2], 1), "lease {lease}");
        }
    }
    // Who counts needs to know.
    keyspaces.set_quota("one", Some(1000), None).expect("quota");
    put(&*one, "c", "there").await;
    assert_eq!(one.head().await.expect("head").bytes, 5 + 5 + 6);
    let reply = one.txn(changes(true, "longer than before", 0)).await;
    assert_eq!(before(&reply.expect("txn")).1, 1);
    assert_eq!(one.head().await.expect("head").bytes, 19 + 19);
}

//! What only PostgreSQL has: its conditions, roles, tables, and other processes.

use crate::certificates::Authority;
use crate::real_etcd::free_port;
use crate::real_postgres::RealPostgres;
use crate::support::{all, delete, next, next_events, put, put_if, until, value, watch_all};
use freehold_store::postgres::{Options, Postgres, Tls};
use freehold_store::{Error, Keyspaces, WatchItem};
use std::time::{Duration, Instant};

async fn refused(mut options: Options) -> String {
    options.timeout = Duration::from_secs(2);
    let start = Instant::now();
    let error = match Postgres::connect(options).await {
        Err(Error::Unavailable(text)) => text,
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("connected"),
    };
    assert!(start.elapsed() < Duration::from_secs(4));
    assert!(!error.contains('\n'), "one sentence: {error}");
    assert!(!error.contains("a-password"), "no secret: {error}");
    error
}

#[tokio::test]
async fn what_is_wrong_with_a_connection_is_said_in_one_sentence() {
    let Some(postgres) = RealPostgres::start() else {
        return;
    };
    let mut wrong = postgres.options();
    wrong.password = Some("another".into());
    let text = refused(wrong).await;
    assert!(
        text.contains("refuses the password of user \"keeper\""),
        "{text}"
    );
    let mut wrong = postgres.options();
    wrong.password = None;
    let text = refused(wrong).await;
    assert!(text.contains("check the user and password"), "{text}");
    let mut wrong = postgres.options();
    wrong.database = "nothing".into();
    let text = refused(wrong).await;
    assert!(text.contains("there is no database \"nothing\""), "{text}");
    let mut wrong = postgres.options();
    wrong.endpoints = vec![format!("127.0.0.1:{}", free_port())];
    let text = refused(wrong).await;
    assert!(
        text.contains("cannot be reached") && text.contains("check the address"),
        "{text}"
    );
    let mut wrong = postgres.options();
    wrong.endpoints = vec!["no-such-host.invalid:5432".into()];
    let text = refused(wrong).await;
    // A resolver that knows no answer itself may take longer than the driver waits.
    let said = text.contains("cannot be reached") || text.contains("does not answer in time");
    assert!(said && text.contains("check the address"), "{text}");
    let ca = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("certificate");
    let tls = Tls {
        ca: ca.cert.pem().into_bytes(),
        identity: None,
        server_name: None,
    };
    let text = refused(postgres.with_tls(tls)).await;
    assert!(text.contains("does not speak TLS"), "{text}");
    postgres.sql(
        "postgres",
        "CREATE ROLE humble LOGIN PASSWORD 'a-password-of-the-test'",
    );
    let mut wrong = postgres.options();
    wrong.user = "humble".into();
    let text = refused(wrong).await;
    assert!(text.contains("may not create a schema"), "{text}");
    postgres.sql("freehold", "GRANT CREATE ON DATABASE freehold TO humble");
    let mut options = postgres.options();
    options.user = "humble".into();
    options.prefix = "humble".into();
    options.timeout = Duration::from_secs(2);
    let keyspaces = Postgres::connect(options).await.expect("connect");
    let error = keyspaces
        .open("one")
        .await
        .map(|_| ())
        .expect_err("no right to make roles");
    assert!(error.to_string().contains("CREATEROLE"), "{error}");
}

#[tokio::test]
async fn tls_is_checked_on_both_sides() {
    let Some(mut postgres) = RealPostgres::start() else {
        return;
    };
    let (ca, other) = (Authority::new(), Authority::new());
    let (cert, key) = ca.issue("localhost");
    for (name, text) in [
        ("server.crt", &cert),
        ("server.key", &key),
        ("ca.crt", &ca.pem),
    ] {
        postgres.file(name, text);
    }
    for setting in [
        "ssl_cert_file = '../server.crt'",
        "ssl_key_file = '../server.key'",
        "ssl_ca_file = '../ca.crt'",
        "ssl = on",
    ] {
        postgres.sql("postgres", &format!("ALTER SYSTEM SET {setting}"));
    }
    postgres.hba(
        "hostssl all keeper 127.0.0.1/32 cert\nhost all postgres 127.0.0.1/32 scram-sha-256\n",
    );
    postgres.kill_and_restart();
    let tls = |ca: &Authority, identity: Option<(String, String)>, name: Option<&str>| Tls {
        ca: ca.pem.clone().into_bytes(),
        identity: identity.map(|(cert, key)| (cert.into_bytes(), key.into_bytes())),
        server_name: name.map(str::to_owned),
    };
    let good = Some(ca.issue("keeper"));
    let keyspaces = Postgres::connect(postgres.with_tls(tls(&ca, good.clone(), None)));
    let store = keyspaces
        .await
        .expect("connect")
        .open("one")
        .await
        .expect("open");
    put(&*store, "a", "1").await;
    let text = refused(postgres.with_tls(tls(&other, good.clone(), None))).await;
    assert!(text.contains("no trusted TLS connection"), "{text}");
    let text = refused(postgres.with_tls(tls(&ca, good, Some("elsewhere")))).await;
    assert!(text.contains("no trusted TLS connection"), "{text}");
    for bad in [
        None,
        Some(ca.issue("somebody")),
        Some(other.issue("keeper")),
    ] {
        let text = refused(postgres.with_tls(tls(&ca, bad, None))).await;
        assert!(text.contains("client certificate"), "{text}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_keyspaces_role_sees_no_other_keyspace_and_both_go_with_it() {
    let Some(postgres) = RealPostgres::start() else {
        return;
    };
    let keyspaces = Postgres::connect(postgres.options())
        .await
        .expect("connect");
    let (one, two) = (keyspaces.open("one").await, keyspaces.open("two").await);
    put(&*one.expect("open"), "a", "1").await;
    put(&*two.expect("open"), "a", "1").await;
    let role = postgres.sql(
        "freehold",
        "SELECT role FROM freehold.keyspace WHERE id = 'one'",
    );
    let may = |schema: &str| {
        let text = format!(
            "SELECT has_schema_privilege('{}', '{schema}', 'USAGE')",
            role.trim_matches('"')
        );
        postgres.sql("freehold", &text)
    };
    assert_eq!(
        (
            &*may("freehold_one"),
            &*may("freehold_two"),
            &*may("freehold")
        ),
        ("t", "f", "f")
    );
    let owner = postgres.sql(
        "freehold",
        "SELECT count(*) FROM pg_tables WHERE schemaname = 'freehold_one' AND tableowner <> 'keeper'",
    );
    assert_eq!(owner, "5");
    keyspaces.delete("one").await.expect("delete");
    let left = postgres.sql(
        "freehold",
        &format!(
            "SELECT count(*) FROM pg_roles WHERE rolname = '{}'",
            role.trim_matches('"')
        ),
    );
    assert_eq!(left, "0");
    assert_eq!(keyspaces.list().await.expect("list"), ["two"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn watches_see_what_other_processes_write() {
    let Some(postgres) = RealPostgres::start() else {
        return;
    };
    let here = Postgres::connect(postgres.options())
        .await
        .expect("connect");
    let there = Postgres::connect(postgres.options())
        .await
        .expect("connect");
    let (here, there) = (here.open("one").await, there.open("one").await);
    let (here, there) = (here.expect("open"), there.expect("open"));
    let mut stream = watch_all(&*here, 0).await;
    assert!(matches!(
        next(&mut stream).await,
        Some(Ok(WatchItem::Progress { .. }))
    ));
    let mut revs = Vec::new();
    let start = Instant::now();
    for n in 0..100 {
        let store = if n % 3 == 0 { &here } else { &there };
        revs.push(put(&**store, "k", &n.to_string()).await);
    }
    for rev in revs {
        assert_eq!(next_events(&mut stream).await.expect("events").0, rev);
    }
    // Not only found by asking from time to time.
    assert!(
        start.elapsed() < Duration::from_secs(8),
        "{:?}",
        start.elapsed()
    );
    let last = put(&*there, "k", "last").await;
    here.progress().await.expect("progress");
    let mut seen = 0;
    loop {
        match next(&mut stream).await.expect("item").expect("item") {
            WatchItem::Events { rev, .. } => seen = rev,
            WatchItem::Progress { rev } if rev >= last => break assert_eq!(seen, last),
            other => assert!(matches!(other, WatchItem::Progress { .. }), "{other:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_whose_keys_are_known_takes_one_round_trip() {
    let Some(postgres) = RealPostgres::start_with(&["log_statement = 'all'"]) else {
        return;
    };
    let here = Postgres::connect(postgres.options()).await;
    let here = here.expect("connect").open("one").await.expect("open");
    // Two batches tell that nobody else writes.
    put(&*here, "a", "1").await;
    put(&*here, "a", "2").await;
    let locks = || postgres.log().matches("FOR UPDATE").count();
    let before = locks();
    for n in 0..5 {
        let created = put_if(&*here, &format!("k{n}"), 0, "1").await;
        let rev = created.expect("create").rev;
        let updated = put_if(&*here, &format!("k{n}"), rev, "2").await;
        assert!(updated.expect("update").succeeded);
    }
    assert_eq!(locks(), before, "the head row is not asked for first");
    let there = Postgres::connect(postgres.options()).await;
    let there = there.expect("connect").open("one").await.expect("open");
    let rev = put(&*there, "k0", "theirs").await;
    let late = put_if(&*here, "k0", rev - 1, "ours").await.expect("answer");
    assert!(!late.succeeded);
    let late = put_if(&*here, "k0", rev, "ours").await.expect("answer");
    assert!(late.succeeded);
    assert!(locks() > before, "what others have written is looked at");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_processes_never_write_over_each_other() {
    let Some(postgres) = RealPostgres::start() else {
        return;
    };
    let (here, there) = (
        Postgres::connect(postgres.options()).await,
        Postgres::connect(postgres.options()).await,
    );
    let here = here.expect("connect").open("one").await.expect("open");
    let there = there.expect("connect").open("one").await.expect("open");
    let mut stream = watch_all(&*here, 0).await;
    let mut count = 0;
    for n in 0..60 {
        // Whoever writes alone for a while believes to know the keyspace.
        let quiet = if n % 2 == 0 { &here } else { &there };
        for m in 0..3 {
            put(&**quiet, &format!("own/{m}"), "v").await;
        }
        let key = format!("race/{n}");
        let (a, b) = tokio::join!(put_if(&*here, &key, 0, "a"), put_if(&*there, &key, 0, "b"));
        let (a, b) = (a.expect("answer"), b.expect("answer"));
        assert!(a.succeeded != b.succeeded, "{key}: {a:?} {b:?}");
        let won = if a.succeeded { "a" } else { "b" };
        assert_eq!(value(&*here, &key).await.as_deref(), Some(won));
        let rev = a.rev.min(b.rev);
        let (a, b) = tokio::join!(
            put_if(&*here, &key, rev, "a2"),
            put_if(&*there, &key, rev, "b2")
        );
        assert!(a.expect("answer").succeeded != b.expect("answer").succeeded);
        count += 5;
    }
    let head = there.head().await.expect("head");
    assert_eq!(head.rev, count + 1);
    for rev in 2..=head.rev {
        assert_eq!(next_events(&mut stream).await.expect("events").0, rev);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn compaction_removes_rows_and_frees_the_quota() {
    let Some(postgres) = RealPostgres::start() else {
        return;
    };
    let mut options = postgres.options();
    options.quota_bytes = 400_000;
    options.quota_keys = 10;
    let keyspaces = Postgres::connect(options).await.expect("connect");
    let store = keyspaces.open("one").await.expect("open");
    let value = "x".repeat(1000);
    let mut n = 0;
    let refused = loop {
        match crate::support::put_if(&*store, "a", n, &value).await {
            Ok(reply) => n = reply.rev,
            Err(error) => break error,
        }
        assert!(n < 1000, "the quota is used up before");
    };
    assert!(matches!(refused, Error::NoSpace(_)), "{refused}");
    delete(&*store, "nothing").await;
    let rev = store.head().await.expect("head").rev;
    let pinned = all(&*store, rev).await.expect("range").kvs;
    store.compact(rev).await.expect("compact");
    let rows = || postgres.sql("freehold", "SELECT count(*) FROM freehold_one.change");
    until("old rows are gone", || async { rows() == "1" }).await;
    until("bytes are counted off", || async {
        store.head().await.expect("head").bytes < 3000
    })
    .await;
    assert_eq!(all(&*store, rev).await.expect("range").kvs, pinned);
    for n in 1..10 {
        put(&*store, &n.to_string(), "v").await;
    }
    let refused = crate::support::put_if(&*store, "one too many", 0, "v").await;
    assert_eq!(
        refused,
        Err(Error::NoSpace("10 of 10 keys are stored".into()))
    );
    put(&*store, "a", &value).await;
}

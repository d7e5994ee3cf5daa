//! A PostgreSQL that does not keep what it acknowledges, and one whose disk is full.

use crate::random::Random;
use crate::real_postgres::RealPostgres;
use crate::support::{put, put_if, value};
use freehold_store::postgres::Postgres;
use freehold_store::{Error, Keyspaces};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};

/// What is logged in this thread.
#[derive(Clone, Default)]
struct Heard(Arc<Mutex<Vec<String>>>);

struct Message<'a>(&'a mut Vec<String>);

impl Visit for Message<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        if field.name() == "message" {
            self.0.push(format!("{value:?}"));
        }
    }
}

impl tracing::Subscriber for Heard {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        *metadata.level() <= tracing::Level::WARN
    }
    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }
    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn event(&self, event: &tracing::Event<'_>) {
        event.record(&mut Message(
            &mut self.0.lock().expect("no panic while held"),
        ));
    }
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

#[tokio::test]
async fn a_postgres_without_fsync_is_warned_of() {
    for (settings, warned) in [(&["fsync = off"][..], true), (&[], false)] {
        let Some(real) = RealPostgres::start_with(settings) else {
            return;
        };
        let heard = Heard::default();
        let _guard = tracing::subscriber::set_default(heard.clone());
        let keyspaces = Postgres::connect(real.options()).await.expect("connect");
        let store = keyspaces.open("one").await.expect("keyspace");
        put(&*store, "k", "v").await;
        let heard = heard.0.lock().expect("no panic while held");
        let told = heard.iter().any(|text| text.contains("fsync is off"));
        assert_eq!(told, warned, "{heard:?}");
    }
}

/// A small file system in memory, as long as this is there.
struct Small(tempfile::TempDir);

impl Small {
    /// None where that is not allowed.
    fn new(megabytes: u32) -> Option<Self> {
        let dir = tempfile::tempdir().expect("dir");
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={megabytes}m"), "tmpfs"])
            .arg(dir.path())
            .stderr(Stdio::null())
            .status();
        if mounted.is_ok_and(|status| status.success()) {
            return Some(Self(dir));
        }
        println!("skipped: only root may mount a small file system");
        None
    }

    fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        // The server may still be ending.
        let _ = Command::new("umount").arg("-l").arg(self.path()).status();
    }
}

/// Text that does not get smaller when it is compressed.
fn noise(random: &mut Random, bytes: usize) -> String {
    let letter = |n: u64| char::from(b'0' + u8::try_from(n % 75).expect("small"));
    (0..bytes).map(|_| letter(random.next())).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_of_postgres_is_no_space_and_reads_go_on() {
    let Some(small) = Small::new(32) else {
        return;
    };
    let Some(real) = RealPostgres::start() else {
        return;
    };
    let place = small.path().join("space");
    std::fs::create_dir(&place).expect("a directory");
    real.give(&place);
    let space = format!("CREATE TABLESPACE small LOCATION '{}'", place.display());
    real.sql("postgres", &space);
    real.sql("postgres", "ALTER DATABASE freehold SET TABLESPACE small");
    let keyspaces = Postgres::connect(real.options()).await.expect("connect");
    let store = keyspaces.open("one").await.expect("keyspace");
    put(&*store, "k", "v").await;
    let mut random = Random::new(1);
    let mut stored = 0;
    let refused = loop {
        let value = noise(&mut random, 500_000);
        match put_if(&*store, &format!("n{stored}"), 0, &value).await {
            Ok(_) => stored += 1,
            Err(error) => break error,
        }
        assert!(stored < 100, "the disk is full");
    };
    let full = Error::NoSpace("the disk of PostgreSQL is full".into());
    assert_eq!(refused, full);
    assert!(stored > 2, "{stored}");
    // What was acknowledged is there, what was refused is not, and the next is told the same.
    assert_eq!(value(&*store, "k").await.as_deref(), Some("v"));
    for n in 0..stored {
        let there = value(&*store, &format!("n{n}")).await;
        assert_eq!(there.map(|text| text.len()), Some(500_000));
    }
    assert_eq!(value(&*store, &format!("n{stored}")).await, None);
    let again = put_if(&*store, "again", 0, &noise(&mut random, 500_000)).await;
    assert_eq!(again, Err(full));
    assert_eq!(store.head().await.expect("head").keys, 1 + stored);
}

//! The process that backs up is killed, again and again on the same data. The directory takes no
//! harm, a backup that was told of is whole, and half of one is refused.

use crate::random::Random;
use crate::support::{all, put};
use freehold_store::embedded::{Embedded, Options};
use freehold_store::{Error, Keyspaces, Store};
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

const DIR: &str = "FREEHOLD_BACKUP_KILL_TEST_DIR";
const KEY: [u8; 32] = [9; 32];
const KILLS: usize = 12;
/// Keys that are there, so that a backup takes a while.
const KEYS: usize = 1500;

fn options() -> Options {
    Options {
        segment_bytes: 256 << 10,
        checkpoint_after: 1 << 20,
        tail_bytes: 128 << 10,
        ..Options::default()
    }
}

fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    out.write_all(line.as_bytes()).expect("the parent reads");
}

async fn fill(store: &dyn Store) {
    for n in 0..KEYS {
        put(
            store,
            &format!("k{n:05}"),
            &format!("{n} {}", "v".repeat(2000)),
        )
        .await;
    }
}

/// The process that is killed; does nothing unless the other test starts it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn child() {
    let Some(dir) = std::env::var_os(DIR).map(PathBuf::from) else {
        return;
    };
    let engine = Embedded::open(dir.join("store"), options()).await;
    let engine = engine.expect("a kill is no damage");
    let store = engine.open("one").await.expect("keyspace");
    let writer = store.clone();
    tokio::spawn(async move {
        for n in 0_u64.. {
            let rev = put(&*writer, "counter", &n.to_string()).await;
            say(&format!("\nack {rev}\n"));
        }
    });
    for n in 0.. {
        say(&format!("\nbegun {n}\n"));
        let file = dir.join(format!("{}-{n}.backup", std::process::id()));
        let head = engine.backup("one", &file, &KEY).await.expect("backup");
        let name = file.file_name().and_then(OsStr::to_str).expect("a name");
        say(&format!("\ndone {name} {}\n", head.rev));
    }
}

/// What the child told before it was killed.
#[derive(Default)]
struct Told {
    acknowledged: u64,
    done: BTreeMap<String, u64>,
}

fn run_and_kill(dir: &Path, time: Duration, told: &mut Told) {
    let mut child = Command::new(std::env::current_exe().expect("this test"))
        .args(["--exact", "backup_kill::child", "--nocapture"])
        .env(DIR, dir)
        .stdout(Stdio::piped())
        .spawn()
        .expect("the child starts");
    let mut lines = BufReader::new(child.stdout.take().expect("piped"));
    let take = |line: &str, told: &mut Told| {
        let words: Vec<_> = line.split_ascii_whitespace().collect();
        match words[..] {
            ["ack", rev] => told.acknowledged = rev.parse().expect("a number"),
            ["done", name, rev] => {
                let rev = rev.parse().expect("a number");
                told.done.insert(name.to_owned(), rev);
            }
            _ => {}
        }
        words.first() == Some(&"begun")
    };
    let mut line = String::new();
    while lines.read_line(&mut line).expect("text") > 0 && !take(&line, told) {
        line.clear();
    }
    std::thread::sleep(time);
    assert!(
        child.try_wait().expect("wait").is_none(),
        "it ended by itself"
    );
    child.kill().expect("kill");
    child.wait().expect("wait");
    line.clear();
    while lines.read_line(&mut line).expect("text") > 0 {
        // Half a line was not told.
        if line.ends_with('\n') {
            take(&line, told);
        }
        line.clear();
    }
}

async fn head_of(dir: &Path) -> u64 {
    let engine = Embedded::open(dir.join("store"), options()).await;
    let store = engine.expect("open").open("one").await.expect("keyspace");
    store.head().await.expect("head").rev
}

/// Restores into a directory of its own; the revision and the number of keys, or why not.
async fn restored(file: &Path) -> Result<(u64, u64), Error> {
    let dir = tempfile::tempdir().expect("dir");
    let engine = Embedded::open(dir.path(), options()).await.expect("open");
    engine.restore("copy", file, &KEY).await?;
    let store = engine.open("copy").await.expect("keyspace");
    Ok((store.head().await?.rev, all(&*store, 0).await?.count))
}

#[tokio::test]
async fn a_killed_backup_leaves_the_directory_fine_and_no_half_backup_that_is_taken() {
    let dir = tempfile::tempdir().expect("dir");
    let engine = Embedded::open(dir.path().join("store"), options()).await;
    let engine = engine.expect("open");
    let store = engine.open("one").await.expect("keyspace");
    fill(&*store).await;
    drop((store, engine));
    let mut random = Random::new(u64::from(std::process::id()));
    let (mut halves, mut wholes) = (0, 0);
    for n in 0..KILLS {
        let mut told = Told::default();
        let most = if n % 2 == 0 { 30_000 } else { 600_000 };
        run_and_kill(
            dir.path(),
            Duration::from_micros(random.below(most)),
            &mut told,
        );
        let checked = Embedded::check(dir.path().join("store"), options()).await;
        let checked = checked.expect("check");
        assert!(checked.damage.is_empty(), "{:?}", checked.damage);
        let keys = KEYS as u64..=KEYS as u64 + 1;
        assert!(keys.contains(&checked.keys), "{} keys", checked.keys);
        assert!(head_of(dir.path()).await >= told.acknowledged);
        for entry in std::fs::read_dir(dir.path()).expect("dir") {
            let path = entry.expect("entry").path();
            if path.is_dir() {
                continue;
            }
            let name = path.file_name().and_then(OsStr::to_str).expect("a name");
            match (
                path.extension().and_then(OsStr::to_str),
                restored(&path).await,
            ) {
                (Some("new"), Err(Error::Corrupt(_))) => halves += 1,
                (Some("backup" | "new"), Ok((rev, keys))) => {
                    wholes += 1;
                    assert!(keys >= KEYS as u64, "{name} holds {keys} keys");
                    assert_eq!(told.done.remove(name).unwrap_or(rev), rev);
                }
                (_, other) => panic!("{name}: {other:?}"),
            }
            std::fs::remove_file(&path).expect("remove");
        }
        assert!(
            told.done.is_empty(),
            "lost after it was told: {:?}",
            told.done
        );
    }
    assert!(halves > 0 && wholes > 0, "{halves} halves, {wholes} wholes");
}

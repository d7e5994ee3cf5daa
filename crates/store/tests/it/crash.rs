//! A process under load is killed at random points, again and again on the same data: what it
//! had acknowledged must be there, and nothing may be out of order. A hundred times here, ten
//! thousand with `cargo xtask soak store --kills 10000`.

use crate::random::Random;
use crate::support::{next, put, value, watch_all};
use freehold_store::embedded::{Embedded, Options};
use freehold_store::{Keyspaces, WatchItem};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

const DIR: &str = "FREEHOLD_CRASH_TEST_DIR";
/// How often, if not as often as usual.
const KILLS: &str = "FREEHOLD_KILLS";
const SEED: &str = "FREEHOLD_SEED";
const WRITERS: u32 = 6;

fn options() -> Options {
    Options {
        segment_bytes: 256 << 10,
        checkpoint_after: 512 << 10,
        tail_bytes: 64 << 10,
        inline_bytes: 4 << 10,
        history: Duration::from_millis(500),
        ..Options::default()
    }
}

/// The process that is killed; does nothing unless the other test starts it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn child() {
    let Some(dir) = std::env::var_os(DIR) else {
        return;
    };
    let engine = Embedded::open(Path::new(&dir), options())
        .await
        .expect("open");
    let mut tasks = Vec::new();
    for writer in 0..WRITERS {
        let engine = engine.clone();
        tasks.push(tokio::spawn(async move {
            let store = engine
                .open(&format!("ks{}", writer % 3))
                .await
                .expect("keyspace");
            let key = format!("w{writer}");
            let last = value(&*store, &key).await.map_or(0, |text| number(&text));
            for n in last + 1.. {
                let rev = put(&*store, &key, &format!("{n} {}", "x".repeat(200))).await;
                let line = format!("{writer} {n} {rev}\n");
                std::io::stdout()
                    .write_all(line.as_bytes())
                    .expect("the parent reads");
            }
        }));
    }
    loop {
        for n in 0..3 {
            tokio::time::sleep(Duration::from_millis(7)).await;
            engine.sleep(&format!("ks{n}")).await.expect("sleep");
        }
    }
}

fn number(text: &str) -> u64 {
    text.split(' ')
        .next()
        .and_then(|n| n.parse().ok())
        .expect("a number comes first")
}

/// Runs the child for a while; what it said was acknowledged: number and revision by writer.
fn run_and_kill(dir: &Path, time: Duration, acknowledged: &mut BTreeMap<u32, (u64, u64)>) -> u64 {
    let mut child = Command::new(std::env::current_exe().expect("this test"))
        .args(["--exact", "crash::child", "--nocapture", "--test-threads=1"])
        .env(DIR, dir)
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .expect("the child starts");
    let mut lines = BufReader::new(child.stdout.take().expect("piped"));
    let reader = std::thread::spawn(move || {
        let mut found = Vec::new();
        let mut line = String::new();
        while lines.read_line(&mut line).expect("text") > 0 {
            let numbers: Vec<u64> = line.split(' ').flat_map(|n| n.trim().parse()).collect();
            if let ([writer, n, rev], true) = (&numbers[..], line.ends_with('\n')) {
                found.push((u32::try_from(*writer).expect("small"), (*n, *rev)));
            }
            line.clear();
        }
        found
    });
    std::thread::sleep(time);
    assert!(
        child.try_wait().expect("wait").is_none(),
        "the child ended by itself"
    );
    child.kill().expect("kill");
    child.wait().expect("wait");
    let found = reader.join().expect("reader");
    let count = found.len() as u64;
    acknowledged.extend(found);
    count
}

async fn check(dir: &Path, acknowledged: &mut BTreeMap<u32, (u64, u64)>) {
    let engine = Embedded::open(dir, options())
        .await
        .expect("a kill is no damage");
    for n in 0..3 {
        let store = engine.open(&format!("ks{n}")).await.expect("keyspace");
        let head = store.head().await.expect("head");
        for writer in (0..WRITERS).filter(|writer| writer % 3 == n) {
            let (last, rev) = acknowledged.entry(writer).or_default();
            let found = value(&*store, &format!("w{writer}"))
                .await
                .map_or(0, |v| number(&v));
            assert!(
                found == *last || found == *last + 1,
                "writer {writer}: {found}, not {last}"
            );
            assert!(head.rev >= *rev);
            // What is there now must stay, told or not.
            *last = found;
        }
        let mut stream = watch_all(&*store, head.compact_rev.max(1)).await;
        let mut seen: BTreeMap<bytes::Bytes, (u64, u64)> = BTreeMap::new();
        let mut expected = None;
        while let Some(Ok(WatchItem::Events { rev, events })) = next(&mut stream).await {
            assert!(
                expected.is_none_or(|expected| rev == expected),
                "no revision is missing"
            );
            expected = Some(rev + 1);
            for event in events {
                let n = number(std::str::from_utf8(&event.kv.value).expect("text"));
                let before = seen.insert(event.kv.key, (n, rev));
                assert!(
                    before.is_none_or(|(m, _)| n == m + 1),
                    "one after the other"
                );
            }
        }
    }
}

fn setting(name: &str) -> Option<u64> {
    std::env::var_os(name)?.to_str()?.parse().ok()
}

#[tokio::test]
async fn acknowledged_writes_survive_a_hundred_kills() {
    let kills = setting(KILLS).unwrap_or(100);
    let seed = setting(SEED).unwrap_or_else(|| u64::from(std::process::id()));
    println!("{SEED}={seed}");
    let mut random = Random::new(seed);
    let dir = tempfile::tempdir().expect("dir");
    let (mut acknowledged, mut writes) = (BTreeMap::new(), 0);
    let began = std::time::Instant::now();
    for n in 1..=kills {
        // From the first moments of a start, when the log is read, to well under load.
        let time = Duration::from_millis(5 + random.below(40) * (1 + random.below(3)));
        let path = dir.path().to_owned();
        let known = acknowledged;
        (acknowledged, writes) = tokio::task::spawn_blocking(move || {
            let mut known = known;
            let count = run_and_kill(&path, time, &mut known);
            (known, writes + count)
        })
        .await
        .expect("run");
        check(dir.path(), &mut acknowledged).await;
        if n % 500 == 0 {
            println!(
                "{n} kills, {writes} acknowledged writes, {:?}",
                began.elapsed()
            );
        }
    }
    println!(
        "{kills} kills, {writes} acknowledged writes, {:?}",
        began.elapsed()
    );
    assert!(writes > kills, "the child hardly wrote anything");
}

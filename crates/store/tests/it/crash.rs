//! A process under load is killed at random points, again and again on the same data: while it
//! opens, writes, checkpoints, compacts. What it had acknowledged must be there, and nothing may
//! be out of order. A hundred times here, ten thousand with `cargo xtask soak store`.

use crate::crash_load::{DIR, Found, KEYSPACES, check, options};
use crate::random::Random;
use freehold_store::Keyspaces;
use freehold_store::embedded::Embedded;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

/// How often, if not as often as usual.
const KILLS: &str = "FREEHOLD_KILLS";
const SEED: &str = "FREEHOLD_SEED";
/// Longer than any start takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// What the whole run has seen.
#[derive(Default)]
struct Seen {
    acknowledged: Found,
    writes: u64,
    /// kills before the process had checked what it found
    opening: u64,
    /// kills that left a checkpoint half-written
    drafts: u64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Sign {
    /// it begins to open the directory
    Started,
    /// its first write is acknowledged
    Written,
}

impl Seen {
    /// Takes in one line of the child: what it found must be what was acknowledged, or one more.
    fn line(&mut self, line: &str) -> Option<Sign> {
        let mut words = line.split_ascii_whitespace();
        let what = words.next()?;
        if what == "start" {
            return Some(Sign::Started);
        }
        let numbers: Vec<u64> = words.flat_map(str::parse).collect();
        let [writer, n, rev] = numbers[..] else {
            return None;
        };
        let known = self.acknowledged.entry(writer).or_default();
        match what {
            "found" => {
                assert!(
                    n == known.0 || n == known.0 + 1,
                    "writer {writer}: {n} of {} are there",
                    known.0
                );
                assert!(
                    if n == known.0 {
                        rev == known.1
                    } else {
                        rev > known.1
                    },
                    "writer {writer}: revision {rev}, not {}",
                    known.1
                );
                *known = (n, rev);
                None
            }
            "ack" => {
                assert!(n == known.0 + 1 && rev > known.1, "writer {writer}: {line}");
                *known = (n, rev);
                self.writes += 1;
                Some(Sign::Written)
            }
            _ => None,
        }
    }

    /// Runs the child and kills it; `after` its first write, or else after it began to open.
    fn run_and_kill(&mut self, dir: &Path, after: bool, time: Duration) {
        let mut child = Command::new(std::env::current_exe().expect("this test"))
            .args([
                "--exact",
                "crash_load::child",
                "--nocapture",
                "--test-threads=1",
            ])
            .env(DIR, dir)
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .expect("the child starts");
        let out = child.stdout.take().expect("piped");
        let (tell, told) = channel();
        std::thread::scope(|scope| {
            let reader = scope.spawn(|| self.listen(out, &tell));
            let wanted = if after { Sign::Written } else { Sign::Started };
            kill(&mut child, &told, wanted, time);
            reader.join().expect("what the child tells is right");
        });
        let drafts = std::fs::read_dir(dir.join("keyspaces")).is_ok_and(|mut names| {
            names.any(|name| name.is_ok_and(|name| half_written(&name.path())))
        });
        self.drafts += u64::from(drafts);
    }

    fn listen(&mut self, out: ChildStdout, tell: &Sender<Sign>) {
        let (mut lines, mut line) = (BufReader::new(out), String::new());
        let mut checked = false;
        while lines.read_line(&mut line).expect("text") > 0 {
            checked |= line == "checked\n";
            // Half a line was not told.
            if line.ends_with('\n')
                && let Some(sign) = self.line(&line)
            {
                let _ = tell.send(sign);
            }
            line.clear();
        }
        self.opening += u64::from(!checked);
    }
}

/// Whether this is a draft, and newer than the checkpoint: else it is the one before.
fn half_written(path: &Path) -> bool {
    let modified = |path: &Path| {
        std::fs::metadata(path)
            .and_then(|meta| meta.modified())
            .ok()
    };
    path.extension().is_some_and(|ending| ending == "new")
        && modified(path) > modified(&path.with_extension("ckpt"))
}

fn kill(child: &mut Child, told: &Receiver<Sign>, wanted: Sign, time: Duration) {
    let deadline = Instant::now() + PATIENCE;
    while let Ok(sign) = told.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
        if sign == wanted {
            break;
        }
    }
    std::thread::sleep(time);
    let ended = child.try_wait().expect("wait");
    child.kill().expect("kill");
    child.wait().expect("wait");
    assert!(ended.is_none(), "the child ended by itself: {ended:?}");
    assert!(Instant::now() < deadline, "the child did not get that far");
}

fn setting(name: &str) -> Option<u64> {
    std::env::var_os(name)?.to_str()?.parse().ok()
}

/// The whole directory, every block of it.
async fn fsck(dir: &Path) {
    let checked = Embedded::check(dir, options()).await.expect("check");
    assert!(checked.damage.is_empty(), "{:?}", checked.damage);
}

#[tokio::test]
async fn acknowledged_writes_survive_a_hundred_kills() {
    let kills = setting(KILLS).unwrap_or(150);
    let seed = setting(SEED).unwrap_or_else(|| u64::from(std::process::id()));
    println!("{SEED}={seed}");
    let mut random = Random::new(seed);
    let dir = tempfile::tempdir().expect("dir");
    let mut seen = Seen::default();
    let began = Instant::now();
    for n in 1..=kills {
        // A quarter while it opens, the others while it writes.
        let after = random.below(4) > 0;
        let most = if after { 40_000 } else { 12_000 };
        let time = Duration::from_micros(random.below(most));
        seen.run_and_kill(dir.path(), after, time);
        if n % 500 == 0 {
            fsck(dir.path()).await;
        }
        if n % 500 == 0 || n == kills {
            println!(
                "{n} kills ({} while opening, {} amid a checkpoint), {} acknowledged writes, {:?}",
                seen.opening,
                seen.drafts,
                seen.writes,
                began.elapsed()
            );
        }
    }
    fsck(dir.path()).await;
    let engine = Embedded::open(dir.path(), options()).await.expect("open");
    for n in 0..KEYSPACES {
        let store = engine.open(&format!("ks{n}")).await.expect("keyspace");
        for (writer, (done, rev)) in check(&*store, n).await {
            let _ = seen.line(&format!("found {writer} {done} {rev}"));
        }
    }
    assert!(seen.writes > kills, "the child hardly wrote anything");
    assert!(seen.opening > kills / 10, "hardly any kill hit an opening");
    assert!(seen.drafts > 0, "no kill hit a checkpoint");
}

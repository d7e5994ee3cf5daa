//! Figures that only the engine has, and the table.

use crate::load::{self, Measured, Work};
use crate::{KEYS, MANY_ROUNDS, ROUNDS, TIME, say};
use anyhow::{Context as _, Result, ensure};
use freehold_store::embedded::{Embedded, Options};
use freehold_store::{Keyspaces, Op, Txn};
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Keyspaces whose memory and disk are measured.
const MANY: u64 = 10_000;
const AWAKE: u64 = 1_000;

/// One line: figures of each side, ratios against the last, and the budget.
pub(crate) struct Row {
    name: String,
    figures: Vec<f64>,
    unit: &'static str,
    budget: f64,
    /// more is better
    rate: bool,
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(0.0)
}

impl Row {
    fn of(
        name: &str,
        runs: &[Vec<Measured>],
        budget: f64,
        unit: &'static str,
        figure: impl Fn(&Measured) -> f64,
    ) -> Self {
        let figures = runs
            .iter()
            .map(|side| median(side.iter().map(&figure).collect()));
        Self {
            name: name.into(),
            figures: figures.collect(),
            unit,
            budget,
            rate: false,
        }
    }

    fn rate(name: &str, runs: &[Vec<Measured>], budget: f64) -> Self {
        let row = Self::of(name, runs, budget, "/s", |run| run.per_second);
        Self { rate: true, ..row }
    }

    pub(crate) fn latency(name: &str, runs: Vec<Vec<Measured>>, budget: f64) -> Self {
        Self::of(&format!("{name}, p50"), &runs, budget, "ms", |run| {
            run.percentile(50)
        })
    }

    pub(crate) fn tail(name: &str, runs: Vec<Vec<Measured>>, budget: f64) -> Self {
        Self::of(name, &runs, budget, "ms", |run| run.percentile(99))
    }

    /// A figure with a budget in its own unit.
    fn alone(name: &str, figure: f64, unit: &'static str, budget: f64) -> Self {
        Self {
            name: name.into(),
            figures: vec![figure],
            unit,
            budget,
            rate: false,
        }
    }
}

/// Prints rows as they come.
pub(crate) struct Table {
    sides: usize,
}

impl Table {
    pub(crate) fn new(sides: &[&str]) -> Self {
        let names: String = sides.iter().map(|name| format!("{name:>12}")).collect();
        let ratios: String = sides[..sides.len() - 1]
            .iter()
            .map(|name| format!("{:>12}", format!("{name} x")))
            .collect();
        drop(say(&format!("{:38}{names}      {ratios}      budget", "")));
        Self { sides: sides.len() }
    }

    /// A rate, and the processor time of a write where it is known.
    pub(crate) fn rate(&mut self, name: &str, runs: Vec<Vec<Measured>>, budget: f64) -> Result<()> {
        self.add(Row::rate(name, &runs, budget))?;
        let side = |runs: &Vec<Measured>| {
            let cost = |part: usize| {
                let each = runs.iter().filter_map(|run| Some(run.cost?[part]));
                median(each.collect())
            };
            let known = runs.iter().any(|run| run.cost.is_some());
            let cost = known.then(|| format!("{:.1} + {:.0}", cost(0), cost(1)));
            format!("{:>12}", cost.unwrap_or_default())
        };
        let sides: String = runs.iter().map(side).collect();
        say(&format!(
            "{:38}{sides} µs",
            "  processor time: client + server"
        ))
    }

    pub(crate) fn add(&mut self, row: Row) -> Result<()> {
        let number = |n: &f64| {
            if row.rate {
                format!("{n:>12.0}")
            } else {
                format!("{n:>12.3}")
            }
        };
        let figures: String = row.figures.iter().map(number).collect();
        let mut verdict = "";
        let mut ratios = String::new();
        if let ([ours @ .., theirs], true) = (&row.figures[..], self.sides > 1) {
            for figure in ours {
                let ratio = figure / theirs;
                let good = if row.rate {
                    ratio >= row.budget
                } else {
                    ratio <= row.budget
                };
                verdict = if good && verdict != "  missed" {
                    "  met"
                } else {
                    "  missed"
                };
                ratios.push_str(&format!("{ratio:>12.3}"));
            }
        } else if let [figure] = row.figures[..] {
            verdict = if figure <= row.budget {
                "  met"
            } else {
                "  missed"
            };
        }
        let sign = if row.rate { ">=" } else { "<=" };
        let (name, unit, budget) = (&row.name, row.unit, row.budget);
        say(&format!(
            "{name:38}{figures} {unit:4}{ratios}   {sign} {budget}{verdict}"
        ))
    }
}

/// Fills a keyspace and goes on writing until it is killed.
pub(crate) async fn fill(dir: &Path) -> Result<()> {
    let engine = Embedded::open(dir, Options::default()).await?;
    let store = engine.open("big").await?;
    load::fill(&*store, KEYS).await?;
    say("full")?;
    loop {
        let stores = std::slice::from_ref(&store);
        load::write(stores, 4, Work::Put, Duration::from_millis(100)).await?;
    }
}

/// Milliseconds to open a directory, and to have its keyspace of 100,000 keys.
async fn timed_open(dir: &Path) -> Result<(f64, f64)> {
    let at = Instant::now();
    let engine = Embedded::open(dir, Options::default()).await?;
    let directory = at.elapsed().as_secs_f64() * 1000.0;
    let head = engine.open("big").await?.head().await?;
    let whole = at.elapsed().as_secs_f64() * 1000.0;
    ensure!(head.keys >= KEYS as u64, "{} keys are there", head.keys);
    Ok((directory, whole))
}

/// Opens what [`fill`] left, to see where the time goes.
pub(crate) async fn reopen(dir: &Path) -> Result<()> {
    let (directory, whole) = timed_open(dir).await?;
    say(&format!("{directory:.1} {whole:.1}"))
}

/// Opens a directory whose process was killed under load, and its keyspace of 100,000 keys.
pub(crate) async fn open_after_kill(table: &mut Table) -> Result<()> {
    let (mut whole, mut directory) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let dir = tempfile::tempdir()?;
        let mut child = Command::new(std::env::current_exe()?)
            .arg("fill")
            .arg(dir.path())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut line = String::new();
        let out = child.stdout.take().context("piped")?;
        BufReader::new(out).read_line(&mut line)?;
        ensure!(line == "full\n", "it ended by itself");
        tokio::time::sleep(Duration::from_millis(500)).await;
        child.kill()?;
        child.wait()?;
        let (first, all) = timed_open(dir.path()).await?;
        directory.push(first);
        whole.push(all);
    }
    table.add(Row::alone(
        "open the directory after kill -9",
        median(directory),
        "ms",
        50.0,
    ))?;
    table.add(Row::alone(
        "... and 100,000 keys in it",
        median(whole),
        "ms",
        50.0,
    ))
}

fn resident() -> Result<u64> {
    let statm = std::fs::read_to_string("/proc/self/statm")?;
    let pages: u64 = statm.split(' ').nth(1).context("pages")?.parse()?;
    Ok(pages * 4096)
}

fn disk_usage(dir: &Path) -> Result<u64> {
    let mut bytes = 0;
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        let meta = entry.metadata()?;
        bytes += if meta.is_dir() {
            disk_usage(&entry.path())?
        } else {
            std::os::unix::fs::MetadataExt::blocks(&meta) * 512
        };
    }
    Ok(bytes)
}

/// Makes many keyspaces, or tells what they cost when they are there: in a process of its own.
pub(crate) async fn many(dir: &Path) -> Result<()> {
    let fresh = !dir.join("catalog").exists();
    {
        // What the engine takes by itself is there with a single keyspace, too.
        let alone = tempfile::tempdir()?;
        let engine = Embedded::open(alone.path(), Options::default()).await?;
        engine.open("cp").await?.head().await?;
    }
    let before = resident()?;
    let engine = Embedded::open(dir, Options::default()).await?;
    let name = |n: u64| format!("cp-{n:032}");
    if fresh {
        let base = disk_usage(dir)?;
        for n in 0..MANY {
            let store = engine.open(&name(n)).await?;
            let put = Op::Put {
                key: "/registry/a".into(),
                value: "b".into(),
                lease: 0,
            };
            let txn = Txn {
                then: vec![put],
                ..Txn::default()
            };
            store.txn(txn).await?;
            engine.sleep(&name(n)).await?;
        }
        let grown = disk_usage(dir)?.saturating_sub(base);
        let made = resident()?.saturating_sub(before) / MANY;
        return say(&format!("{} {made}", grown / MANY));
    }
    let asleep = resident()?.saturating_sub(before) / MANY;
    let fds = std::fs::read_dir("/proc/self/fd")?.count();
    let before = resident()?;
    let mut wakes = Vec::new();
    for n in 0..AWAKE {
        let store = engine.open(&name(n * 7 % MANY)).await?;
        let at = Instant::now();
        store.head().await?;
        wakes.push(at.elapsed().as_secs_f64() * 1000.0);
    }
    let awake = resident()?.saturating_sub(before) / AWAKE;
    say(&format!("{asleep} {fds} {awake} {}", median(wakes)))
}

pub(crate) fn many_keyspaces(table: &mut Table) -> Result<()> {
    let dir = tempfile::tempdir()?;
    let run = || -> Result<Vec<f64>> {
        let mut command = Command::new(std::env::current_exe()?);
        let out = command.arg("many").arg(dir.path()).output()?;
        ensure!(
            out.status.success(),
            "{}",
            String::from_utf8_lossy(&out.stderr)
        );
        let text = String::from_utf8(out.stdout)?;
        text.split_whitespace().map(|n| Ok(n.parse()?)).collect()
    };
    let [disk, made] = run()?[..] else {
        anyhow::bail!("two figures are told");
    };
    let [asleep, fds, awake, wake] = run()?[..] else {
        anyhow::bail!("four figures are told");
    };
    table.add(Row::alone(
        "10,000 asleep: memory of one",
        asleep,
        "B",
        1024.0,
    ))?;
    table.add(Row::alone("... made and put to sleep", made, "B", 1024.0))?;
    table.add(Row::alone("10,000 asleep: file descriptors", fds, "", 64.0))?;
    table.add(Row::alone(
        "1,000 awake: memory of one",
        awake,
        "B",
        65536.0,
    ))?;
    table.add(Row::alone("wake one, p50", wake, "ms", 20.0))?;
    table.add(Row::alone("nearly empty: disk of one", disk, "B", 65536.0))
}

/// What a saturating neighbour does to a quiet keyspace.
pub(crate) async fn neighbours(table: &mut Table) -> Result<()> {
    let dir = tempfile::tempdir()?;
    let engine = Embedded::open(dir.path(), Options::default()).await?;
    let quiet = [engine.open("quiet").await?];
    let busy = [engine.open("busy").await?];
    let mut ratios = Vec::new();
    let mut runs = Vec::new();
    // A percentile of a second and a half varies by a fifth.
    for _ in 0..MANY_ROUNDS {
        let alone = load::write(&quiet, 1, Work::Put, TIME).await?;
        let noise = load::write(&busy, 64, Work::Put, TIME);
        let (beside, noise) = tokio::join!(load::write(&quiet, 1, Work::Put, TIME), noise);
        let (beside, noise) = (beside?, noise?);
        ratios.push(beside.percentile(99) / alone.percentile(99));
        runs.push((alone, beside, noise.per_second));
    }
    for (alone, beside, busy) in &runs {
        let figures = |run: &Measured| {
            let per_cent = [50, 90, 99].map(|per_cent| run.percentile(per_cent));
            per_cent.map(|ms| format!("{ms:.3}")).join(" / ")
        };
        let (alone, beside) = (figures(alone), figures(beside));
        say(&format!(
            "  quiet p50 / p90 / p99, ms: {alone} alone, {beside} beside {busy:.0} writes/s"
        ))?;
    }
    table.add(Row::alone(
        "quiet p99 beside a busy one / alone",
        median(ratios),
        "x",
        1.5,
    ))
}

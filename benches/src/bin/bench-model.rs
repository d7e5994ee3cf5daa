//! `cargo xtask bench model`: what one request costs in the model, against upstream's own code in
//! the same run. Words after it: `ours` leaves upstream out, any other picks one measurement.

use anyhow::{Context as _, Result, ensure};
use freehold_model::apply::{Applier, apply};
use freehold_model::catalogue::{DEFAULT_MINOR, NEWEST_MINOR, OLDEST_MINOR};
use freehold_model::select::{LabelSelector, Labels};
use freehold_model::{
    Catalogue, Map, Resource, Value, crd, defaults, json, proto, strict, table, validate,
};
use std::collections::BTreeMap;
use std::hint::black_box;
use std::io::Write as _;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

const POD: &str = include_str!("../../inputs/pod.json");
const DEPLOYMENT: &str = include_str!("../../inputs/deployment.json");
const ROW: &str = include_str!("../../inputs/row.json");
const DEFINITION: &str = include_str!("../../inputs/definition.json");

/// One measurement, with the name that upstream's program gives the same.
struct Line {
    key: &'static str,
    what: String,
    /// none: a part of another line
    goal: Option<Duration>,
    ours: Duration,
}

type Measure = fn(&Catalogue) -> Result<Vec<Line>>;

const MEASUREMENTS: [(&str, Measure); 6] = [
    ("pod", pod),
    ("proto", protobuf),
    ("apply", deployment),
    ("rows", row),
    ("select", select),
    ("definition", definition),
];

fn main() -> Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let (ours_only, picked) = (
        words.iter().any(|w| w == "ours"),
        words.iter().find(|w| *w != "ours"),
    );
    let before = resident()?;
    let catalogues: Vec<_> = (OLDEST_MINOR..=NEWEST_MINOR)
        .filter_map(Catalogue::builtin)
        .collect();
    say(&format!(
        "catalogues of {} minor versions: {} KiB resident",
        catalogues.len(),
        resident()?.saturating_sub(before)
    ))?;
    let catalogue = Catalogue::builtin(DEFAULT_MINOR).context("catalogue")?;
    let mut lines = Vec::new();
    for (name, measure) in MEASUREMENTS {
        if picked.is_none_or(|p| p == name) {
            lines.extend(measure(&catalogue)?);
        }
    }
    let theirs = if ours_only {
        BTreeMap::new()
    } else {
        upstream().unwrap_or_else(|why| {
            let _ = say(&format!("upstream: skipped: {why:#}"));
            BTreeMap::new()
        })
    };
    say(&format!(
        "{:<46} {:>10} {:>10} {:>10} {:>7}",
        "", "goal", "ours", "upstream", "ratio"
    ))?;
    for line in lines {
        let (theirs, ratio) = match theirs.get(line.key) {
            Some(t) => (
                text(*t),
                format!("{:.1}x", t.as_secs_f64() / line.ours.as_secs_f64()),
            ),
            None => ("-".into(), "-".into()),
        };
        let late = line.goal.is_some_and(|goal| line.ours > goal);
        let late = if late { " !" } else { "" };
        say(&format!(
            "{:<46} {:>10} {:>10} {:>10} {:>7}{late}",
            line.what,
            line.goal.map_or_else(String::new, text),
            text(line.ours),
            theirs,
            ratio
        ))?;
    }
    Ok(())
}

fn say(line: &str) -> Result<()> {
    writeln!(std::io::stdout(), "{line}")?;
    Ok(())
}

fn text(time: Duration) -> String {
    match time.as_nanos() {
        n if n < 10_000 => format!("{n} ns"),
        n if n < 10_000_000 => format!("{:.1} us", time.as_secs_f64() * 1e6),
        _ => format!("{:.1} ms", time.as_secs_f64() * 1e3),
    }
}

/// The best of many short rounds: other work on the machine only ever adds to it.
fn each(mut run: impl FnMut()) -> Duration {
    let mut round = |runs: u32| {
        let start = Instant::now();
        for _ in 0..runs {
            run();
        }
        start.elapsed() / runs
    };
    let once = round(1).min(round(3)).max(Duration::from_nanos(50));
    let runs = u32::try_from(ROUND.as_nanos() / once.as_nanos())
        .unwrap_or(1)
        .max(1);
    (0..150).map(|_| round(runs)).min().unwrap_or_default()
}

const ROUND: Duration = Duration::from_millis(4);

fn read(text: &str) -> Result<Value> {
    Ok(json::parse(text.as_bytes())
        .map_err(|e| anyhow::anyhow!(e.message))?
        .value)
}

/// The way of an object into the store.
fn create(pods: &Resource, bytes: &[u8]) -> Option<Value> {
    let mut object = match strict::decode_clean(pods, bytes) {
        Some(object) => object,
        None => {
            let mut object = json::parse(bytes).ok()?.value;
            let unknown = strict::check_and_prune(pods, &mut object).ok()?;
            unknown.is_empty().then_some(object)?
        }
    };
    defaults::apply(pods, &mut object);
    validate::create(pods, &object).is_empty().then_some(object)
}

fn pod(catalogue: &Catalogue) -> Result<Vec<Line>> {
    let pods = catalogue.lookup("", "v1", "pods").context("pods")?;
    // as a client sends it: keys in no order
    let bytes = POD.trim().as_bytes().to_vec();
    create(pods, &bytes).context("the pod is valid")?;
    memory(
        catalogue,
        &create(pods, &bytes).context("the pod is valid")?,
    )?;
    let ours = each(|| {
        let object = create(pods, black_box(&bytes));
        black_box(object.map(|o| json::to_vec(&o)));
    });
    let mut lines = vec![Line {
        key: "pod",
        what: format!("pod, {} B: decode, default, validate, encode", bytes.len()),
        goal: Some(Duration::from_micros(25)),
        ours,
    }];
    let mut part = |what: &str, run: &mut dyn FnMut()| {
        lines.push(Line {
            key: "",
            what: format!("  {what}"),
            goal: None,
            ours: each(run),
        });
    };
    let read = json::parse(&bytes)
        .map_err(|e| anyhow::anyhow!(e.message))?
        .value;
    let stored = create(pods, &bytes).context("the pod is valid")?;
    part("parse", &mut || {
        drop(black_box(json::parse(black_box(&bytes))))
    });
    part("copy", &mut || drop(black_box(read.clone())));
    part("read with its types", &mut || {
        drop(black_box(strict::decode_clean(pods, black_box(&bytes))))
    });
    part("copy, check types", &mut || {
        let _ = black_box(strict::check_and_prune(pods, &mut read.clone()));
    });
    part("copy, default", &mut || {
        defaults::apply(pods, &mut black_box(read.clone()))
    });
    part("validate", &mut || {
        drop(black_box(validate::create(pods, &stored)))
    });
    part("encode", &mut || drop(black_box(json::to_vec(&stored))));
    Ok(lines)
}

/// What one object takes as it is stored, as it is sent, and while it is worked on.
fn memory(catalogue: &Catalogue, pod: &Value) -> Result<()> {
    const COPIES: usize = 2000;
    let wire = proto::encode(catalogue, pod).map_err(|e| anyhow::anyhow!(e.message))?;
    let before = resident()?;
    let copies = vec![pod.clone(); COPIES];
    let tree = resident()?.saturating_sub(before) * 1024 / copies.len();
    say(&format!(
        "a pod with its defaults: {} B stored, {} B of protobuf, {tree} B as a tree",
        json::to_vec(pod).len(),
        wire.len()
    ))
}

fn protobuf(catalogue: &Catalogue) -> Result<Vec<Line>> {
    let pods = catalogue.lookup("", "v1", "pods").context("pods")?;
    let stored = create(pods, &json::to_vec(&read(POD)?)).context("the pod is valid")?;
    let encoded = proto::encode(catalogue, &stored).map_err(|e| anyhow::anyhow!(e.message))?;
    let ours = each(|| {
        black_box(proto::decode(catalogue, black_box(&encoded))).ok();
    });
    Ok(vec![Line {
        key: "proto",
        what: format!("the same from {} B of protobuf", encoded.len()),
        goal: Some(Duration::from_micros(8)),
        ours,
    }])
}

fn deployment(catalogue: &Catalogue) -> Result<Vec<Line>> {
    let kind = catalogue
        .lookup("apps", "v1", "deployments")
        .context("deployments")?;
    let by = Applier {
        manager: "kubectl",
        force: false,
        subresource: "",
        now: "2026-01-01T00:00:00Z",
        versions: &freehold_model::apply::Alike,
    };
    let config = read(DEPLOYMENT)?;
    let live = apply(kind, None, &config, &by).map_err(|e| anyhow::anyhow!(e.message))?;
    let mut changed = config;
    changed.set(&["spec", "replicas"], Value::from(5));
    let ours = each(|| {
        black_box(apply(kind, Some(&live), black_box(&changed), &by)).ok();
    });
    Ok(vec![Line {
        key: "apply",
        what: "server-side apply of a changed deployment".into(),
        goal: Some(Duration::from_micros(60)),
        ours,
    }])
}

/// Rows are made for lists: what the columns cost is shared by a hundred of them.
fn row(catalogue: &Catalogue) -> Result<Vec<Line>> {
    let pods = catalogue.lookup("", "v1", "pods").context("pods")?;
    let pod = read(ROW)?;
    let ours = each(|| {
        let printer = table::Printer::new(black_box(pods), 1_800_000_000);
        for _ in 0..100 {
            black_box(printer.cells(black_box(&pod)));
        }
    });
    Ok(vec![Line {
        key: "rows",
        what: "100 table rows of a pod".into(),
        goal: Some(Duration::from_micros(100)),
        ours,
    }])
}

fn select(_: &Catalogue) -> Result<Vec<Line>> {
    let labels = |i: usize| -> Labels {
        let labels: Map = [
            ("app.kubernetes.io/name", format!("app-{}", i % 20)),
            ("app.kubernetes.io/part-of", "shop".to_owned()),
            ("pod-template-hash", format!("{i:x}")),
            ("tier", ["front", "back", "data"][i % 3].to_owned()),
        ]
        .into_iter()
        .collect();
        Labels::of(&labels)
    };
    // as the server's cache keeps them
    let sets: Vec<Labels> = (0..10_000).map(labels).collect();
    let query = LabelSelector::parse("app.kubernetes.io/name=app-7,tier in (front, back),!canary")
        .map_err(|e| anyhow::anyhow!(e.message))?;
    let count = || sets.iter().filter(|s| query.selects(s)).count();
    ensure!(count() == 334, "the selector selects something else");
    let ours = each(|| {
        black_box(count());
    });
    Ok(vec![Line {
        key: "select",
        what: "label selector over 10,000 objects".into(),
        goal: Some(Duration::from_millis(1)),
        ours,
    }])
}

fn definition(_: &Catalogue) -> Result<Vec<Line>> {
    let definition = read(DEFINITION)?;
    ensure!(
        crd::compile(&definition, freehold_model::catalogue::DEFAULT_MINOR).is_ok(),
        "the definition is valid"
    );
    let ours = each(|| {
        black_box(crd::compile(
            black_box(&definition),
            freehold_model::catalogue::DEFAULT_MINOR,
        ))
        .ok();
    });
    Ok(vec![Line {
        key: "definition",
        what: "definition of 200 fields with patterns, compiled".into(),
        goal: Some(Duration::from_millis(2)),
        ours,
    }])
}

/// The same measurements by upstream's code.
fn upstream() -> Result<BTreeMap<String, Duration>> {
    let program = freehold_benches::upstream("bench")?;
    let inputs = Path::new(env!("CARGO_MANIFEST_DIR")).join("inputs");
    let output = Command::new(program).arg(inputs).output()?;
    ensure!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let mut times = BTreeMap::new();
    for line in String::from_utf8(output.stdout)?.lines() {
        let (name, nanos) = line.split_once('\t').context("a name and a time a line")?;
        times.insert(name.to_owned(), Duration::from_nanos(nanos.parse()?));
    }
    Ok(times)
}

/// Resident memory of this process in KiB.
fn resident() -> Result<usize> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status
        .lines()
        .find_map(|l| l.strip_prefix("VmRSS:"))
        .context("VmRSS")?;
    Ok(line
        .split_whitespace()
        .next()
        .context("a number")?
        .parse()?)
}

//! What each keyspace does, as numbers, for whoever runs the node. A tenant never sees them.

use super::Embedded;
use super::keyspace::Loaded;
use crate::{Error, Result};
use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Upper bounds of the commit latency histogram, in seconds.
pub const BOUNDS: [f64; 10] = [
    0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0,
];

/// Counters of a keyspace since it was loaded.
#[derive(Debug, Default)]
pub(crate) struct Stats {
    /// writes by latency; the last is above all bounds
    latency: [AtomicU64; BOUNDS.len() + 1],
    microseconds: AtomicU64,
    throttled: AtomicU64,
    no_space: AtomicU64,
    failed: AtomicU64,
}

impl Stats {
    /// A write was answered after so long.
    pub(crate) fn wrote<T>(&self, took: Duration, answer: &Result<T>) {
        match answer {
            Ok(_) => {
                let bound = BOUNDS.partition_point(|bound| *bound < took.as_secs_f64());
                self.latency[bound].fetch_add(1, Ordering::Relaxed);
                let took = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
                self.microseconds.fetch_add(took, Ordering::Relaxed);
            }
            Err(Error::Throttled(_)) => drop(self.throttled.fetch_add(1, Ordering::Relaxed)),
            Err(Error::NoSpace(_)) => drop(self.no_space.fetch_add(1, Ordering::Relaxed)),
            Err(Error::Unavailable(_) | Error::Corrupt(_)) => {
                self.failed.fetch_add(1, Ordering::Relaxed);
            }
            // The client's own.
            Err(_) => {}
        }
    }

    /// Writes them down.
    pub(crate) fn tell(&self, metrics: &mut KeyspaceMetrics) {
        let load = |n: &AtomicU64| n.load(Ordering::Relaxed);
        metrics.commits = self.latency.iter().map(load).collect();
        metrics.commit_seconds = load(&self.microseconds) as f64 / 1e6;
        metrics.throttled = load(&self.throttled);
        metrics.no_space = load(&self.no_space);
        metrics.failed = load(&self.failed);
    }

    pub(crate) fn throttled(&self) {
        self.throttled.fetch_add(1, Ordering::Relaxed);
    }
}

/// One keyspace that is awake.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct KeyspaceMetrics {
    pub id: String,
    /// where it is; empty: in this engine
    pub datastore: String,
    pub rev: u64,
    pub compact_rev: u64,
    /// stored, history included, and the most it may be
    pub bytes: u64,
    pub quota_bytes: u64,
    pub keys: u64,
    pub quota_keys: u64,
    pub watchers: u64,
    /// revisions that the slowest watcher has not read though they are there
    pub lag: u64,
    /// bytes that watchers have not read yet
    pub unsent_bytes: u64,
    /// watchers that were cut off since the engine was opened
    pub cut_off: u64,
    /// bytes in the log that the next checkpoint will hold
    pub tail_bytes: u64,
    /// since it was loaded: writes by [`BOUNDS`], their seconds, refusals
    pub commits: Vec<u64>,
    pub commit_seconds: f64,
    pub throttled: u64,
    pub no_space: u64,
    /// writes that ended without an answer
    pub failed: u64,
}

impl KeyspaceMetrics {
    /// Whose the numbers are, as Prometheus reads it.
    fn labels(&self) -> String {
        let keyspace = format!("keyspace=\"{}\"", escaped(&self.id));
        match self.datastore.as_str() {
            "" => keyspace,
            datastore => format!("{keyspace},datastore=\"{}\"", escaped(datastore)),
        }
    }
}

/// The value of a label: all but three characters stand for themselves.
fn escaped(value: &str) -> String {
    let value = value.replace('\\', r"\\").replace('"', r#"\""#);
    value.replace('\n', r"\n")
}

/// All of a node.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Metrics {
    pub keyspaces: u64,
    pub awake: Vec<KeyspaceMetrics>,
    pub log_bytes: u64,
    /// no write is taken any more: the disk failed
    pub failed: bool,
}

impl Embedded {
    /// Numbers of every keyspace that is awake.
    #[must_use]
    pub fn metrics(&self) -> Metrics {
        let slots = self.shared.all_slots();
        let awake = slots.iter().filter_map(|slot| {
            let loaded = slot.loaded.read().clone()?;
            Some(self.of(&loaded))
        });
        Metrics {
            keyspaces: slots.len() as u64,
            awake: awake.collect(),
            log_bytes: (self.shared.log_segments() + 1) * self.shared.options.segment_bytes,
            failed: self.shared.failed().is_some(),
        }
    }

    fn of(&self, loaded: &Arc<Loaded>) -> KeyspaceMetrics {
        let (slot, stats) = (&loaded.slot, &loaded.stats);
        let limits = slot.limits(self.shared.options.limits);
        let load = |n: &AtomicU64| n.load(Ordering::Relaxed);
        let (head, tail_bytes, lag) = {
            let state = loaded.state.read();
            let behind = state.watchers.iter().filter_map(|queue| queue.waiting());
            let lag = behind.map(|rev| state.visible + 1 - rev.min(state.visible + 1));
            (state.head(), state.tail_bytes, lag.max().unwrap_or(0))
        };
        let mut metrics = KeyspaceMetrics {
            id: slot.id.to_string(),
            lag,
            rev: head.rev,
            compact_rev: head.compact_rev,
            bytes: head.bytes,
            quota_bytes: limits.bytes,
            keys: head.keys,
            quota_keys: limits.keys,
            watchers: slot.unsent.watchers.load(Ordering::Relaxed) as u64,
            unsent_bytes: load(&slot.unsent.bytes),
            cut_off: load(&slot.unsent.cut_off),
            tail_bytes,
            ..KeyspaceMetrics::default()
        };
        stats.tell(&mut metrics);
        metrics
    }
}

/// Name, kind, meaning and value of what is told of each keyspace.
type Figure = (
    &'static str,
    &'static str,
    &'static str,
    fn(&KeyspaceMetrics) -> u64,
);

const FIGURES: [Figure; 15] = [
    ("revision", "gauge", "newest revision", |k| k.rev),
    (
        "compact_revision",
        "gauge",
        "history before it is forgotten",
        |k| k.compact_rev,
    ),
    (
        "bytes",
        "gauge",
        "stored bytes, history included where the keyspace has its own",
        |k| k.bytes,
    ),
    (
        "quota_bytes",
        "gauge",
        "stored bytes that it may have",
        |k| k.quota_bytes,
    ),
    ("keys", "gauge", "keys that there are", |k| k.keys),
    ("quota_keys", "gauge", "keys that it may have", |k| {
        k.quota_keys
    }),
    ("watchers", "gauge", "watches that are open", |k| k.watchers),
    (
        "watch_lag_revisions",
        "gauge",
        "revisions that the slowest watcher has not read though they are there",
        |k| k.lag,
    ),
    (
        "watch_unsent_bytes",
        "gauge",
        "bytes that watchers have not read (embedded engine)",
        |k| k.unsent_bytes,
    ),
    (
        "watchers_cut_off_total",
        "counter",
        "watchers that fell too far behind",
        |k| k.cut_off,
    ),
    (
        "log_tail_bytes",
        "gauge",
        "bytes in the log that the next checkpoint will hold (embedded engine)",
        |k| k.tail_bytes,
    ),
    (
        "throttled_total",
        "counter",
        "writes refused because too many were waiting",
        |k| k.throttled,
    ),
    (
        "no_space_total",
        "counter",
        "writes refused because the quota or the disk is full",
        |k| k.no_space,
    ),
    (
        "failed_total",
        "counter",
        "writes that the datastore did not answer",
        |k| k.failed,
    ),
    (
        "commits_total",
        "counter",
        "writes that were answered",
        |k| k.commits.iter().sum(),
    ),
];

impl Metrics {
    /// The text format of Prometheus.
    #[must_use]
    pub fn text(&self) -> String {
        let mut out = String::new();
        let own = self.awake.iter().filter(|k| k.datastore.is_empty()).count() as u64;
        let asleep = self.keyspaces.saturating_sub(own);
        for (name, help, value) in [
            (
                "keyspaces_awake",
                "keyspaces in memory or in use",
                self.awake.len() as u64,
            ),
            (
                "keyspaces_asleep",
                "keyspaces on disk only (embedded engine)",
                asleep,
            ),
            (
                "log_bytes",
                "size of the log of all keyspaces (embedded engine)",
                self.log_bytes,
            ),
            (
                "failed",
                "1: the disk failed and no write is taken (embedded engine)",
                u64::from(self.failed),
            ),
        ] {
            head(&mut out, name, "gauge", help);
            // Writing to a String cannot fail.
            let _ = writeln!(out, "freehold_store_{name} {value}");
        }
        let labels: Vec<String> = self.awake.iter().map(KeyspaceMetrics::labels).collect();
        for (name, kind, help, figure) in FIGURES {
            head(&mut out, name, kind, help);
            for (keyspace, labels) in self.awake.iter().zip(&labels) {
                let value = figure(keyspace);
                let _ = writeln!(out, "freehold_store_{name}{{{labels}}} {value}");
            }
        }
        self.histogram(&mut out, &labels);
        out
    }

    fn histogram(&self, out: &mut String, labels: &[String]) {
        const NAME: &str = "freehold_store_commit_seconds";
        head(
            out,
            "commit_seconds",
            "histogram",
            "time from a write to its answer",
        );
        for (keyspace, labels) in self.awake.iter().zip(labels) {
            let mut sum = 0;
            for (n, count) in keyspace.commits.iter().enumerate() {
                sum += count;
                let bound = BOUNDS.get(n).map_or("+Inf".into(), f64::to_string);
                let _ = writeln!(out, "{NAME}_bucket{{{labels},le=\"{bound}\"}} {sum}");
            }
            let seconds = keyspace.commit_seconds;
            let _ = writeln!(out, "{NAME}_sum{{{labels}}} {seconds}");
            let _ = writeln!(out, "{NAME}_count{{{labels}}} {sum}");
        }
    }
}

fn head(out: &mut String, name: &str, kind: &str, help: &str) {
    let _ = writeln!(out, "# HELP freehold_store_{name} {help}");
    let _ = writeln!(out, "# TYPE freehold_store_{name} {kind}");
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As `expfmt` of Prometheus' `common` writes label values (`expfmt/text_create.go`).
    #[test]
    fn names_with_any_character_stay_one_label() {
        let odd = KeyspaceMetrics {
            id: "a\"b\\c\nd\té\u{7f}".to_owned(),
            datastore: "one, two=\"3\"".to_owned(),
            ..KeyspaceMetrics::default()
        };
        let labels = "keyspace=\"a\\\"b\\\\c\\nd\té\u{7f}\",datastore=\"one, two=\\\"3\\\"\"";
        assert_eq!(odd.labels(), labels);
        let metrics = Metrics {
            awake: vec![odd],
            ..Metrics::default()
        };
        let text = metrics.text();
        let line = format!("freehold_store_revision{{{labels}}} 0");
        assert!(text.lines().any(|said| said == line), "{text}");
        let here = KeyspaceMetrics {
            id: "cp-1".to_owned(),
            ..KeyspaceMetrics::default()
        };
        assert_eq!(here.labels(), "keyspace=\"cp-1\"");
    }

    /// `docs/guides/metrics.md` has a row for every name, with what it means, and no other.
    #[test]
    fn every_number_is_in_the_guide() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/guides/metrics.md");
        let guide = std::fs::read_to_string(path).expect("the guide");
        let text = Metrics::default().text();
        let lines = text.lines().filter_map(|line| line.strip_prefix("# HELP "));
        let kinds = text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
        let mut rows: Vec<String> = Vec::new();
        for (help, kind) in lines.zip(kinds) {
            let (name, help) = help.split_once(' ').expect("name and meaning");
            let (_, kind) = kind.split_once(' ').expect("name and kind");
            rows.push(format!("| `{name}` | {kind} | {help} |"));
        }
        assert!(rows.len() > 15, "{rows:?}");
        let there = guide
            .lines()
            .filter(|line| line.starts_with("| `freehold_store_"));
        assert_eq!(there.collect::<Vec<_>>(), rows, "docs/guides/metrics.md");
    }
}

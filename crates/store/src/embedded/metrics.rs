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
            Err(_) => {}
        }
    }

    pub(crate) fn throttled(&self) {
        self.throttled.fetch_add(1, Ordering::Relaxed);
    }
}

/// One keyspace that is awake.
#[derive(Clone, Debug, PartialEq)]
pub struct KeyspaceMetrics {
    pub id: String,
    pub rev: u64,
    pub compact_rev: u64,
    /// stored, history included, and the most it may be
    pub bytes: u64,
    pub quota_bytes: u64,
    pub keys: u64,
    pub quota_keys: u64,
    pub watchers: u64,
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
        let (head, tail_bytes) = {
            let state = loaded.state.read();
            (state.head(), state.tail_bytes)
        };
        KeyspaceMetrics {
            id: slot.id.to_string(),
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
            commits: stats.latency.iter().map(load).collect(),
            commit_seconds: load(&stats.microseconds) as f64 / 1e6,
            throttled: load(&stats.throttled),
            no_space: load(&stats.no_space),
        }
    }
}

impl Metrics {
    /// The text format of Prometheus; `labels` says whose a keyspace is (`a="b",c="d"`).
    #[must_use]
    pub fn text(&self, labels: impl Fn(&str) -> String) -> String {
        let mut out = String::new();
        let asleep = self.keyspaces - self.awake.len() as u64;
        for (name, kind, value) in [
            ("keyspaces_awake", "gauge", self.awake.len() as u64),
            ("keyspaces_asleep", "gauge", asleep),
            ("log_bytes", "gauge", self.log_bytes),
            ("failed", "gauge", u64::from(self.failed)),
        ] {
            // Writing to a String cannot fail.
            let _ = writeln!(out, "# TYPE freehold_store_{name} {kind}");
            let _ = writeln!(out, "freehold_store_{name} {value}");
        }
        let labels: Vec<String> = self.awake.iter().map(|k| labels(&k.id)).collect();
        type Figure = fn(&KeyspaceMetrics) -> u64;
        let figures: [(&str, &str, Figure); 13] = [
            ("revision", "gauge", |k| k.rev),
            ("compact_revision", "gauge", |k| k.compact_rev),
            ("bytes", "gauge", |k| k.bytes),
            ("quota_bytes", "gauge", |k| k.quota_bytes),
            ("keys", "gauge", |k| k.keys),
            ("quota_keys", "gauge", |k| k.quota_keys),
            ("watchers", "gauge", |k| k.watchers),
            ("watch_unsent_bytes", "gauge", |k| k.unsent_bytes),
            ("watchers_cut_off_total", "counter", |k| k.cut_off),
            ("log_tail_bytes", "gauge", |k| k.tail_bytes),
            ("throttled_total", "counter", |k| k.throttled),
            ("no_space_total", "counter", |k| k.no_space),
            ("commits_total", "counter", |k| k.commits.iter().sum()),
        ];
        for (name, kind, figure) in figures {
            let _ = writeln!(out, "# TYPE freehold_store_{name} {kind}");
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
        let _ = writeln!(out, "# TYPE {NAME} histogram");
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

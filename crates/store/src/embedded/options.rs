//! What can be set about the embedded engine.

use super::disk::{Disk, RealDisk};
use super::drive::Drive;
use std::sync::Arc;
use std::time::Duration;

/// What one keyspace may take; a node sets its own for each with [`super::Embedded::limit`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// stored bytes, history included
    pub bytes: u64,
    /// live keys
    pub keys: u64,
    /// watches at once
    pub watchers: usize,
    /// bytes that all watchers together may be behind; the furthest behind are cut off
    pub unsent_bytes: u64,
    /// transactions and their bytes that may wait before new ones are throttled
    pub waiting: usize,
    pub waiting_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            bytes: 2 << 30,
            keys: 2_000_000,
            watchers: 10_000,
            unsent_bytes: 256 << 20,
            waiting: 16_384,
            waiting_bytes: 64 << 20,
        }
    }
}

/// The defaults suit a node with thousands of small keyspaces.
#[derive(Clone)]
pub struct Options {
    /// size at which a log segment is full
    pub segment_bytes: u64,
    /// log length from which keyspaces are checkpointed so that old segments can go
    pub checkpoint_after: u64,
    /// bytes of one keyspace in the log from which it is checkpointed, so that it opens quickly
    pub tail_bytes: u64,
    /// keyspaces with fewer bytes of values have no values file
    pub inline_bytes: u64,
    /// for keyspaces that have none of their own
    pub limits: Limits,
    /// how long history is kept; zero: until `compact` is called
    pub history: Duration,
    /// bytes of history per keyspace from which the oldest is compacted earlier
    pub history_bytes: u64,
    /// revisions and bytes a watcher may be behind before it is cut off
    pub watch_commits: usize,
    pub watch_bytes: u64,
    /// the file system; tests put one that fails
    pub disk: Arc<dyn Disk>,
    #[doc(hidden)]
    pub drive: Drive,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            segment_bytes: 8 << 20,
            checkpoint_after: 96 << 20,
            tail_bytes: 4 << 20,
            inline_bytes: 512 << 10,
            limits: Limits::default(),
            history: Duration::from_secs(300),
            history_bytes: 256 << 20,
            watch_commits: 65_536,
            watch_bytes: 64 << 20,
            disk: Arc::new(RealDisk),
            drive: Drive::Threads,
        }
    }
}

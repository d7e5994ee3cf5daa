//! What can be set about the embedded engine.

use super::disk::{Disk, RealDisk};
use std::sync::Arc;
use std::time::Duration;

/// The defaults suit a node with thousands of small keyspaces.
#[derive(Clone)]
pub struct Options {
    /// size at which a log segment is full
    pub segment_bytes: u64,
    /// log length from which keyspaces are checkpointed so that old segments can go
    pub checkpoint_after: u64,
    /// stored bytes per keyspace, history included
    pub quota_bytes: u64,
    /// live keys per keyspace
    pub quota_keys: u64,
    /// how long history is kept; zero: until `compact` is called
    pub history: Duration,
    /// bytes of history per keyspace from which the oldest is compacted earlier
    pub history_bytes: u64,
    /// revisions and bytes a watcher may be behind before it is cut off
    pub watch_commits: usize,
    pub watch_bytes: u64,
    /// transactions and bytes that may wait per keyspace before new ones are throttled
    pub queue_requests: usize,
    pub queue_bytes: usize,
    /// the file system; tests put one that fails
    pub disk: Arc<dyn Disk>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            segment_bytes: 32 << 20,
            checkpoint_after: 96 << 20,
            quota_bytes: 8 << 30,
            quota_keys: 10_000_000,
            history: Duration::from_secs(300),
            history_bytes: 256 << 20,
            watch_commits: 65_536,
            watch_bytes: 64 << 20,
            queue_requests: 16_384,
            queue_bytes: 64 << 20,
            disk: Arc::new(RealDisk),
        }
    }
}

//! The datastore contract: one [`Store`] value is one tenant's keyspace.
//!
//! Semantics are etcd's: a single revision counter per keyspace that grows by one per writing
//! transaction; every key remembers its create and modification revision and version; reads may
//! be pinned to a revision that is not compacted; watches are ordered, unique, atomic per
//! revision, reliable and resumable. A write is durable before its reply.

pub mod embedded;
pub mod etcd;
pub mod limits;
pub mod memory;
mod proto;
pub mod server;
pub mod span;
mod types;

pub use types::*;

use async_trait::async_trait;
use std::sync::Arc;

/// One tenant's keyspace.
#[async_trait]
pub trait Store: Send + Sync + 'static {
    /// Current and compacted revision, and sizes.
    async fn head(&self) -> Result<Head>;

    /// Compares, then one of two lists of operations, atomically; durable before the reply.
    async fn txn(&self, txn: Txn) -> Result<TxnReply>;

    /// Keys of `[lo, hi)` in order at one revision.
    async fn range(&self, range: Range) -> Result<RangeReply>;

    /// Events of `[lo, hi)` from a revision on.
    async fn watch(&self, watch: Watch) -> Result<WatchStream>;

    /// Forgets history below `rev` (inclusive of superseded versions, as etcd).
    async fn compact(&self, rev: u64) -> Result<()>;

    /// Grants a lease of `ttl_seconds`; keys put under it vanish when it ends. The deadline
    /// survives restarts.
    async fn lease_grant(&self, ttl_seconds: u64) -> Result<LeaseId>;

    /// Ends a lease now and deletes its keys.
    async fn lease_revoke(&self, lease: LeaseId) -> Result<()>;

    /// Asks every live watch of this keyspace to deliver a [`WatchItem::Progress`] behind all
    /// events up to now.
    async fn progress(&self) -> Result<()>;
}

/// All keyspaces of one node. The id is the platform's (never derived from tenant input).
#[async_trait]
pub trait Keyspaces: Send + Sync + 'static {
    /// Opens a keyspace, creating it when it is new. Cheap; the same id gives the same store.
    async fn open(&self, id: &str) -> Result<Arc<dyn Store>>;

    /// Drops what memory holds of an idle keyspace; the next use loads it again.
    async fn sleep(&self, id: &str) -> Result<()>;

    /// Erases a keyspace and everything that was in it; durable before the reply.
    async fn delete(&self, id: &str) -> Result<()>;

    /// The ids that exist.
    async fn list(&self) -> Result<Vec<String>>;
}

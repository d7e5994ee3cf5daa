//! The datastore contract, its engines and drivers, and the etcd v3 protocol over them.
//!
//! One [`Store`] value is one tenant's keyspace; a [`Keyspaces`] value is all keyspaces of a node
//! or of a server that somebody else runs.
//!
//! # Semantics
//!
//! They are etcd's, so that a kube-apiserver can run on any of them:
//!
//! * **Revisions.** A keyspace has one counter. A transaction that changes something takes the
//!   next revision, one that changes nothing takes none. An empty keyspace is at revision 1. (On
//!   an etcd shared with others the counter is the etcd's: it grows, but not by one.)
//! * **Keys** remember the revision that created them, the one that changed them last, and how
//!   often they were put since creation. Deleting and creating again starts over.
//! * **Durable before the reply.** A transaction that is answered with success survives the
//!   machine. One that is answered with an error did not happen, except [`Error::Unavailable`]:
//!   that may or may not have happened, and says so where it is not known.
//! * **Transactions** see one state, change it at once, and see their own changes. A key may be
//!   put once, and not be put and deleted ([`Error::Invalid`]). They nest: all compares, also of
//!   inner ones, see the state before the outermost; if any operation is refused, nothing happens.
//! * **Reads** are strictly serializable: they see everything that was acknowledged before they
//!   began, and never anything that is not durable. A range is of one revision: the newest, or a
//!   pinned one from the compact revision on. `count` is exact whatever the limit.
//! * **Compaction** to a revision forgets what was superseded at or before it. Reading at the
//!   compact revision works, below it is [`Error::Compacted`]; above the newest is
//!   [`Error::Future`].
//! * **Watches** are ordered by revision, without repetition or gap; all events of one revision
//!   come in one item; they start at any revision from the compact revision on (a deletion at the
//!   compact revision is still delivered). [`WatchItem::Progress`] follows when history has been
//!   delivered and after [`Store::progress`]: nothing up to its revision is missing. A start that
//!   was compacted yields [`WatchItem::Compacted`] and the end. A reader that falls too far behind
//!   gets [`Error::SlowWatcher`] and the end; it costs nobody else anything.
//! * **Leases** end at a point in time that is on disk: a restart does not prolong them, and one
//!   that was renewed stays so. (An etcd counts a lease's time anew when it is started.) Their keys
//!   are deleted in one revision. The embedded engine wakes a keyspace for the end of a lease.
//! * **Limits**: see [`limits`]; bytes and keys per keyspace are the engine's options. Over quota,
//!   or with a full disk, puts are [`Error::NoSpace`] and reads, deletions and compaction go on.
//!
//! # What is here
//!
//! [`embedded`]: the engine of a node, the default. [`etcd`] and [`postgres`]: keyspaces on an etcd
//! or a PostgreSQL that is already there. [`memory`]: the model, for tests. [`server`]: the etcd v3
//! protocol over any [`Store`].
//! All of them pass one suite, `tests/it/contract`, also a real etcd through the driver.
//! [`transfer`]: copies and moves between any two of them, as an [`Image`]; [`fence`] keeps writers
//! out meanwhile.
//!
//! Absent: consensus (who outgrows a machine uses [`etcd`]), and any knowledge of Kubernetes.

pub mod embedded;
pub mod etcd;
pub mod fence;
mod image;
pub mod limits;
mod measured;
pub mod memory;
#[cfg(feature = "postgres")]
pub mod postgres;
mod proto;
mod remote;
pub mod room;
pub mod server;
pub mod span;
mod tenant;
pub mod transfer;
mod types;

pub use image::{Image, Imported, LeaseImage};
pub use measured::Measured;
pub use tenant::for_tenants;
pub use types::*;

use async_trait::async_trait;
use room::Room;
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

    /// [`Store::txn`], asking for room before what it answers with is read: drivers that cannot
    /// tell how much that is have bounds of their own.
    async fn txn_within(&self, txn: Txn, room: &dyn Room) -> Result<TxnReply> {
        let _ = room;
        self.txn(txn).await
    }

    /// [`Store::range`], asking for room before it reads; drivers that cannot tell how much there
    /// is ask when they have read it.
    async fn range_within(&self, range: Range, room: &dyn Room) -> Result<RangeReply> {
        let reply = self.range(range).await?;
        let mut size = room::Size::default();
        for kv in &reply.kvs {
            size.add(kv.key.len(), kv.value.len());
        }
        room.take(size).await?;
        Ok(reply)
    }

    /// Events of `[lo, hi)` from a revision on.
    async fn watch(&self, watch: Watch) -> Result<WatchStream>;

    /// Forgets history below `rev` (inclusive of superseded versions, as etcd).
    async fn compact(&self, rev: u64) -> Result<()>;

    /// Grants a lease of `ttl_seconds`; keys put under it vanish when it ends. The deadline
    /// survives restarts.
    async fn lease_grant(&self, ttl_seconds: u64) -> Result<LeaseId>;

    /// The same with an id of the caller's (positive; [`Error::LeaseExists`] when taken).
    async fn lease_grant_as(&self, lease: LeaseId, ttl_seconds: u64) -> Result<()>;

    /// Moves a lease's deadline to its whole time to live from now; durable. Returns that time.
    async fn lease_renew(&self, lease: LeaseId) -> Result<u64>;

    /// What is known of a lease, with the keys under it.
    async fn lease(&self, lease: LeaseId) -> Result<Lease>;

    /// The leases that there are, in order.
    async fn leases(&self) -> Result<Vec<LeaseId>>;

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

    /// Sets what an open keyspace may store as long as this process has it (`None`: as much as is
    /// usual here), and says how much that is. Not every driver can.
    fn set_quota(&self, id: &str, bytes: Option<u64>, keys: Option<u64>) -> Result<Quota> {
        let _ = id;
        match (bytes, keys) {
            (None, None) => Ok(Quota::default()),
            _ => Err(Error::Invalid(
                "this datastore has no limits for single keyspaces".into(),
            )),
        }
    }

    /// What an open keyspace may store.
    fn quota(&self, id: &str) -> Result<Quota> {
        let _ = id;
        Ok(Quota::default())
    }

    /// Erases a keyspace and everything that was in it; durable before the reply.
    async fn delete(&self, id: &str) -> Result<()>;

    /// Makes a keyspace what an image says; one that was written to before is refused
    /// ([`Error::Invalid`]). Drivers that can keep revisions do; this one writes the keys anew,
    /// at revisions above the image's, and is taken up again after an interruption.
    async fn import(&self, id: &str, image: &Image) -> Result<Imported> {
        image::write_anew(self.open(id).await?, image).await
    }

    /// The ids that exist.
    async fn list(&self) -> Result<Vec<String>>;
}

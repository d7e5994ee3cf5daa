//! The contract of one keyspace over the engine.

use super::Shared;
use super::commit::{Refused, Reply, Request, Work};
use super::keyspace::{Loaded, Slot};
use super::state::Phase;
use super::watch::Watcher;
use crate::{
    Error, Head, Lease, LeaseId, Range, RangeReply, Result, Store, Txn, TxnReply, Watch,
    WatchStream, limits, span::Span,
};
use async_trait::async_trait;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;

/// One keyspace.
pub(crate) struct EmbeddedStore {
    shared: Arc<Shared>,
    slot: Arc<Slot>,
}

impl EmbeddedStore {
    pub(crate) fn new(shared: Arc<Shared>, slot: Arc<Slot>) -> Self {
        Self { shared, slot }
    }

    /// Queues a write and waits for it to be durable; loads the keyspace again when it fell
    /// asleep in between.
    async fn write<T>(&self, cost: usize, work: impl Fn(Reply<T>) -> Work + Send) -> Result<T> {
        let limits = (
            self.shared.options.queue_requests,
            self.shared.options.queue_bytes,
        );
        loop {
            let loaded = self.shared.load(&self.slot).await?;
            let (reply, answer) = oneshot::channel();
            self.shared.queue.push(
                Request {
                    loaded,
                    work: work(reply),
                    cost,
                },
                limits,
            )?;
            match answer.await {
                Ok(Ok(done)) => return Ok(done),
                Ok(Err(Refused::Error(error))) => return Err(error),
                // Whoever puts it to sleep holds it until that is done.
                Ok(Err(Refused::Retry)) => drop(self.slot.busy.lock().await),
                Err(_) => {
                    return Err(Error::Unavailable(
                        "the datastore stopped; whether this was written is not known".into(),
                    ));
                }
            }
        }
    }

    /// A copy of the keyspace that may be read.
    async fn readable(&self) -> Result<Arc<Loaded>> {
        loop {
            let loaded = self.shared.load(&self.slot).await?;
            let phase = loaded.state.read().phase;
            match phase {
                Phase::Open => return Ok(loaded),
                Phase::Retired => drop(self.slot.busy.lock().await),
                Phase::Deleted => return Err(Error::Deleted),
            }
        }
    }
}

#[async_trait]
impl Store for EmbeddedStore {
    async fn head(&self) -> Result<Head> {
        let loaded = self.readable().await?;
        let head = loaded.state.read().head();
        Ok(head)
    }

    async fn txn(&self, txn: Txn) -> Result<TxnReply> {
        let size = limits::check_txn(&txn)?;
        let cost = size + 64 * (1 + txn.then.len() + txn.otherwise.len());
        let txn = Arc::new(txn);
        self.write(cost, |reply| Work::Txn(txn.clone(), reply))
            .await
    }

    async fn range(&self, range: Range) -> Result<RangeReply> {
        limits::check_span(&range.lo, &range.hi)?;
        let loaded = self.readable().await?;
        let (index, rev, head_rev) = {
            let state = loaded.state.read();
            let (index, rev) = state.pin(range.rev)?;
            if range.hi.is_empty() {
                return Ok(state.get(&range));
            }
            (index, rev, state.visible)
        };
        let limit = match (range.count_only, range.limit) {
            (true, _) => 0,
            (false, 0) => usize::MAX,
            (false, limit) => limit,
        };
        let found = index.range(&Span::new(range.lo, range.hi), rev, limit, range.keys_only);
        let more = !range.count_only && (found.kvs.len() as u64) < found.count;
        Ok(RangeReply {
            head_rev,
            kvs: found.kvs,
            count: found.count,
            more,
        })
    }

    async fn watch(&self, watch: Watch) -> Result<WatchStream> {
        limits::check_span(&watch.lo, &watch.hi)?;
        let loaded = self.readable().await?;
        let next = match watch.start_rev {
            0 => loaded.state.read().visible + 1,
            rev => rev,
        };
        let options = &self.shared.options;
        let watcher = Watcher::new(
            loaded,
            watch,
            next,
            options.watch_commits,
            options.watch_bytes,
        );
        Ok(Box::pin(watcher))
    }

    async fn compact(&self, rev: u64) -> Result<()> {
        self.write(64, |reply| Work::Compact(rev, reply)).await
    }

    async fn lease_grant(&self, ttl_seconds: u64) -> Result<LeaseId> {
        limits::check_ttl(ttl_seconds)?;
        self.write(128, |reply| Work::Grant(None, ttl_seconds.max(1), reply))
            .await
    }

    async fn lease_grant_as(&self, lease: LeaseId, ttl_seconds: u64) -> Result<()> {
        limits::check_ttl(ttl_seconds)?;
        limits::check_lease_id(lease)?;
        self.write(128, |reply| {
            Work::Grant(Some(lease), ttl_seconds.max(1), reply)
        })
        .await
        .map(|_| ())
    }

    async fn lease_renew(&self, lease: LeaseId) -> Result<u64> {
        let ttl = self.write(128, |reply| Work::Renew(lease, reply)).await?;
        Ok(ttl.unsigned_abs())
    }

    async fn lease(&self, lease: LeaseId) -> Result<Lease> {
        let loaded = self.readable().await?;
        let state = loaded.state.read();
        let found = state.leases.get(&lease);
        let found = found.ok_or(Error::LeaseNotFound(lease))?;
        let left = found.deadline_ms.saturating_sub(super::now_ms());
        Ok(Lease {
            granted: found.ttl,
            remaining: Duration::from_millis(left),
            keys: found.keys.iter().cloned().collect(),
        })
    }

    async fn leases(&self) -> Result<Vec<LeaseId>> {
        let loaded = self.readable().await?;
        let ids = loaded.state.read().leases.keys().copied().collect();
        Ok(ids)
    }

    async fn lease_revoke(&self, lease: LeaseId) -> Result<()> {
        self.write(128, |reply| Work::Revoke(lease, None, reply))
            .await
    }

    async fn progress(&self) -> Result<()> {
        let loaded = self.readable().await?;
        // The lock keeps publishing out: what is queued before the mark is everything up to it.
        let state = loaded.state.write();
        for watcher in &state.watchers {
            watcher.progress(state.visible);
        }
        Ok(())
    }
}

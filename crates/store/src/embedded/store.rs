//! The contract of one keyspace over the engine.

use super::Shared;
use super::commit::{Refused, Reply, Request, Work};
use super::index::{Found, Index};
use super::keyspace::{Loaded, Slot};
use super::plan;
use super::state::Phase;
use super::values::Held;
use super::watch::Watcher;
use crate::room::{Room, Size};
use crate::{
    Error, Head, Lease, LeaseId, Range, RangeReply, Result, Store, Txn, TxnReply, Watch,
    WatchStream, limits, span::Span,
};
use async_trait::async_trait;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

/// A single value up to this length needs no room.
const ROOMY: usize = 32 << 10;

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
    async fn write<T>(
        &self,
        cost: usize,
        work: impl Fn(Reply<T>) -> Work + Send,
    ) -> Result<(Arc<Loaded>, T)> {
        let limits = self.slot.limits(self.shared.options.limits);
        let mut kept = Kept::default();
        loop {
            let loaded = self.shared.load(&self.slot).await?;
            loaded.used.store(true, Ordering::Release);
            let (reply, answer) = oneshot::channel();
            let request = Request {
                loaded: loaded.clone(),
                work: work(reply),
                cost,
            };
            let limits = (limits.waiting, limits.waiting_bytes);
            let began = Instant::now();
            let pushed = self.shared.queue.push(request, limits);
            pushed.inspect_err(|_| loaded.stats.throttled())?;
            match answer.await {
                Ok(Ok(done)) => {
                    loaded.stats.wrote(began.elapsed(), &Ok(()));
                    return Ok((loaded, done));
                }
                Ok(Err(Refused::Error(error))) => {
                    let refused = Err::<(), _>(error.clone());
                    loaded.stats.wrote(began.elapsed(), &refused);
                    return Err(error);
                }
                Ok(Err(Refused::Fetch(held))) => {
                    let kvs = loaded.kvs(held.clone()).await?;
                    for (held, kv) in held.iter().zip(kvs) {
                        held.version.value.keep(kv.value);
                    }
                    kept.0.extend(held);
                }
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

    async fn commit(&self, txn: Txn, room: Option<&dyn Room>) -> Result<TxnReply> {
        let size = limits::check_txn(&txn)?;
        let mut weight = 0;
        if plan::wide(&txn) {
            let loaded = self.readable().await?;
            let touch = loaded.state.read().touch(&txn);
            weight = touch.weight;
            if let Some(room) = room {
                room.take(touch.size).await?;
            }
        }
        let cost = size + 64 * (1 + txn.then.len() + txn.otherwise.len());
        let prev = !txn.without_prev;
        let txn = Arc::new(txn);
        let (loaded, told) = self
            .write(cost + weight, |reply| Work::Txn(txn.clone(), reply))
            .await?;
        let mut held = Vec::new();
        told.held(prev, &mut held);
        let kvs = match held.is_empty() {
            true => Vec::new(),
            false => loaded.kvs(held).await.map_err(|error| {
                Error::Unavailable(format!("done, but what was there before: {error}"))
            })?,
        };
        Ok(told.with(prev, &mut kvs.into_iter()))
    }

    async fn read(&self, range: Range, room: Option<&dyn Room>) -> Result<RangeReply> {
        limits::check_span(&range.lo, &range.hi)?;
        let loaded = self.readable().await?;
        let span = Span::new(range.lo.clone(), range.hi.clone());
        let limit = range.most();
        let values = !range.keys_only && !range.count_only;
        let (wanted, head_rev) = {
            let state = loaded.state.read();
            let rev = range.at(state.visible, state.compacted)?;
            let wanted = if span.is_point() {
                Wanted::Key(state.get(&range.lo, rev))
            } else {
                Wanted::Span(state.index.clone(), rev)
            };
            (wanted, state.visible)
        };
        let found = match wanted {
            Wanted::Key(only) => {
                if let Some(room) = room
                    && let Some(only) = &only
                    && values
                    && only.version.value.len() > ROOMY
                {
                    let mut size = Size::default();
                    size.add(only.key.len(), only.version.value.len());
                    room.take(size).await?;
                }
                Found {
                    count: u64::from(only.is_some()),
                    kvs: Vec::from_iter(only),
                }
            }
            Wanted::Span(index, rev) => {
                if let Some(room) = room
                    && limit > 0
                {
                    room.take(index.measure(&span, rev, limit, values)).await?;
                }
                index.range(&span, rev, limit)
            }
        };
        let more = !range.count_only && (found.kvs.len() as u64) < found.count;
        let kvs = if range.count_only {
            Vec::new()
        } else if values {
            loaded.kvs(found.kvs).await?
        } else {
            found.kvs.iter().map(Held::key_only).collect()
        };
        Ok(RangeReply {
            head_rev,
            kvs,
            count: found.count,
            more,
        })
    }

    /// A copy of the keyspace that may be read.
    async fn readable(&self) -> Result<Arc<Loaded>> {
        loop {
            let loaded = self.shared.load(&self.slot).await?;
            loaded.used.store(true, Ordering::Release);
            let phase = loaded.state.read().phase;
            match phase {
                Phase::Open => return Ok(loaded),
                Phase::Retired => drop(self.slot.busy.lock().await),
                Phase::Deleted => return Err(Error::Deleted),
            }
        }
    }
}

/// What a read takes along from under the lock.
enum Wanted {
    /// a single key: nothing of the index, which the next put would have to copy
    Key(Option<Held>),
    /// a snapshot, and the revision to read it at
    Span(Index, u64),
}

/// Values that memory holds for a write to compare or to keep; nobody else may need them.
#[derive(Default)]
struct Kept(Vec<Held>);

impl Drop for Kept {
    fn drop(&mut self) {
        for held in &self.0 {
            held.version.value.let_go();
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
        self.commit(txn, None).await
    }

    async fn txn_within(&self, txn: Txn, room: &dyn Room) -> Result<TxnReply> {
        self.commit(txn, Some(room)).await
    }

    async fn range(&self, range: Range) -> Result<RangeReply> {
        self.read(range, None).await
    }

    async fn range_within(&self, range: Range, room: &dyn Room) -> Result<RangeReply> {
        self.read(range, Some(room)).await
    }

    async fn watch(&self, watch: Watch) -> Result<WatchStream> {
        limits::check_span(&watch.lo, &watch.hi)?;
        let loaded = self.readable().await?;
        let next = match watch.start_rev {
            0 => loaded.state.read().visible + 1,
            rev => rev,
        };
        let options = &self.shared.options;
        let limits = self.slot.limits(options.limits);
        let unsent = &self.slot.unsent.max_bytes;
        unsent.store(limits.unsent_bytes, Ordering::Relaxed);
        let most = limits.watchers;
        if self.slot.unsent.watchers.load(Ordering::Relaxed) >= most {
            let text = format!("{most} watches are open, the most that this keyspace may have");
            return Err(Error::Throttled(text));
        }
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
        self.write(64, |reply| Work::Compact(rev, reply)).await?;
        Ok(())
    }

    async fn lease_grant(&self, ttl_seconds: u64) -> Result<LeaseId> {
        limits::check_ttl(ttl_seconds)?;
        let (_, lease) = self
            .write(128, |reply| Work::Grant(None, ttl_seconds.max(1), reply))
            .await?;
        Ok(lease)
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
        let (_, ttl) = self.write(128, |reply| Work::Renew(lease, reply)).await?;
        Ok(ttl.unsigned_abs())
    }

    async fn lease(&self, lease: LeaseId) -> Result<Lease> {
        let loaded = self.readable().await?;
        let state = loaded.state.read();
        let found = state.leases.get(&lease);
        let found = found.ok_or(Error::LeaseNotFound(lease))?;
        let left = found.deadline_ms.saturating_sub(self.shared.now_ms());
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
        let loaded = self.readable().await?;
        let cost = loaded.state.read().revoke_cost(lease);
        self.write(cost, |reply| Work::Revoke(lease, None, reply))
            .await?;
        Ok(())
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::embedded::{Embedded, Options};
    use crate::{Keyspaces, Op};
    use parking_lot::Mutex;

    /// Asked for room: whether the index was shared by then.
    struct Asked(Arc<Loaded>, Mutex<Vec<bool>>);

    #[async_trait]
    impl Room for Asked {
        async fn take(&self, _: Size) -> Result<()> {
            let alone = self.0.state.read().index.is_alone();
            self.1.lock().push(!alone);
            Ok(())
        }
    }

    #[tokio::test]
    async fn only_who_reads_a_span_makes_the_next_put_copy_the_index() {
        let dir = tempfile::tempdir().expect("dir");
        let engine = Embedded::open(dir.path(), Options::default()).await;
        let engine = engine.expect("engine");
        engine.open("one").await.expect("open");
        let slot = engine.shared.slots.lock().get("one").cloned();
        let store = EmbeddedStore::new(engine.shared.clone(), slot.expect("there"));
        let put = Op::Put {
            key: "a".into(),
            value: vec![b'v'; ROOMY + 1].into(),
            lease: 0,
        };
        let txn = Txn {
            then: vec![put],
            ..Txn::default()
        };
        store.txn(txn).await.expect("put");
        let asked = Asked(store.readable().await.expect("awake"), Mutex::default());
        for hi in ["", "b"] {
            let range = Range {
                lo: "a".into(),
                hi: hi.into(),
                ..Range::default()
            };
            let reply = store.range_within(range, &asked).await.expect("range");
            assert_eq!((reply.count, reply.kvs[0].value.len()), (1, ROOMY + 1));
        }
        assert_eq!(*asked.1.lock(), [false, true]);
        engine.close();
    }
}

//! Numbers of keyspaces on datastores that somebody else runs, taken from outside: every keyspace
//! that is opened through a [`Measured`] is counted.

use crate::embedded::{KeyspaceMetrics, Stats};
use crate::room::Room;
use crate::{
    Error, Head, Image, Imported, Keyspaces, Lease, LeaseId, Quota, Range, RangeReply, Result,
    Store, Txn, TxnReply, Watch, WatchItem, WatchStream,
};
use async_trait::async_trait;
use futures::Stream;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

/// How long all heads together may take that are asked for before the numbers are told.
const PATIENCE: Duration = Duration::from_secs(3);

/// Keyspaces of another driver, counted.
pub struct Measured {
    inner: Arc<dyn Keyspaces>,
    stores: Mutex<BTreeMap<String, Arc<Counted>>>,
}

impl Measured {
    #[must_use]
    pub fn new(inner: Arc<dyn Keyspaces>) -> Arc<Self> {
        Arc::new(Self {
            inner,
            stores: Mutex::default(),
        })
    }

    /// Asks every open keyspace how large it is.
    pub async fn refresh(&self) {
        let stores: Vec<_> = self.stores.lock().values().cloned().collect();
        let heads = stores.iter().map(|store| store.head());
        // What does not answer stays as it was last seen.
        let asked = futures::future::join_all(heads);
        drop(tokio::time::timeout(PATIENCE, asked).await);
    }

    /// Numbers of every keyspace that is open, by id; `datastore` says where they are.
    #[must_use]
    pub fn metrics(&self, datastore: &str) -> Vec<KeyspaceMetrics> {
        let stores = self.stores.lock();
        let of = |(id, store): (&String, &Arc<Counted>)| {
            let quota = self.inner.quota(id).unwrap_or_default();
            store.metrics(id, datastore, quota)
        };
        stores.iter().map(of).collect()
    }
}

/// One of them.
struct Counted {
    inner: Arc<dyn Store>,
    stats: Stats,
    seen: Arc<Seen>,
    head: Mutex<Head>,
}

/// What goes by.
#[derive(Default)]
struct Seen {
    /// newest revision
    rev: AtomicU64,
    last_watch: AtomicU64,
    /// by watch: up to where its reader is
    watches: Mutex<BTreeMap<u64, Arc<AtomicU64>>>,
    cut_off: AtomicU64,
}

/// Where a reader is that has read all there is.
const ALL: u64 = u64::MAX;

impl Seen {
    fn rev(&self, rev: u64) {
        self.rev.fetch_max(rev, Ordering::AcqRel);
    }

    fn lag(&self) -> u64 {
        let rev = self.rev.load(Ordering::Acquire);
        let watches = self.watches.lock();
        let readers = watches.values().map(|at| at.load(Ordering::Acquire));
        readers.map(|at| rev.saturating_sub(at)).max().unwrap_or(0)
    }
}

impl Counted {
    fn new(inner: Arc<dyn Store>) -> Self {
        Self {
            inner,
            stats: Stats::default(),
            seen: Arc::default(),
            head: Mutex::default(),
        }
    }

    fn wrote(&self, writes: bool, began: Instant, reply: &Result<TxnReply>) {
        if writes {
            self.stats.wrote(began.elapsed(), reply);
        }
        if let Ok(reply) = reply {
            self.seen.rev(reply.rev);
        }
    }

    fn metrics(&self, id: &str, datastore: &str, quota: Quota) -> KeyspaceMetrics {
        let head = *self.head.lock();
        let watchers = self.seen.watches.lock().len() as u64;
        let mut metrics = KeyspaceMetrics {
            id: id.to_owned(),
            datastore: datastore.to_owned(),
            rev: self.seen.rev.load(Ordering::Acquire),
            compact_rev: head.compact_rev,
            bytes: head.bytes,
            quota_bytes: quota.bytes,
            keys: head.keys,
            quota_keys: quota.keys,
            watchers,
            lag: self.seen.lag(),
            cut_off: self.seen.cut_off.load(Ordering::Relaxed),
            ..KeyspaceMetrics::default()
        };
        self.stats.tell(&mut metrics);
        metrics
    }
}

#[async_trait]
impl Store for Counted {
    async fn head(&self) -> Result<Head> {
        let head = self.inner.head().await?;
        self.seen.rev(head.rev);
        *self.head.lock() = head;
        Ok(head)
    }

    async fn txn(&self, txn: Txn) -> Result<TxnReply> {
        let (writes, began) = (txn.writes(), Instant::now());
        let reply = self.inner.txn(txn).await;
        self.wrote(writes, began, &reply);
        reply
    }

    async fn txn_within(&self, txn: Txn, room: &dyn Room) -> Result<TxnReply> {
        let (writes, began) = (txn.writes(), Instant::now());
        let reply = self.inner.txn_within(txn, room).await;
        self.wrote(writes, began, &reply);
        reply
    }

    async fn range(&self, range: Range) -> Result<RangeReply> {
        self.inner.range(range).await
    }

    async fn range_within(&self, range: Range, room: &dyn Room) -> Result<RangeReply> {
        self.inner.range_within(range, room).await
    }

    async fn watch(&self, watch: Watch) -> Result<WatchStream> {
        let inner = self.inner.watch(watch).await?;
        let seen = self.seen.clone();
        let id = seen.last_watch.fetch_add(1, Ordering::Relaxed);
        let at = Arc::new(AtomicU64::new(ALL));
        seen.watches.lock().insert(id, at.clone());
        Ok(Box::pin(Followed {
            inner,
            seen,
            id,
            at,
        }))
    }

    async fn compact(&self, rev: u64) -> Result<()> {
        self.inner.compact(rev).await
    }

    async fn lease_grant(&self, ttl_seconds: u64) -> Result<LeaseId> {
        self.inner.lease_grant(ttl_seconds).await
    }

    async fn lease_grant_as(&self, lease: LeaseId, ttl_seconds: u64) -> Result<()> {
        self.inner.lease_grant_as(lease, ttl_seconds).await
    }

    async fn lease_renew(&self, lease: LeaseId) -> Result<u64> {
        self.inner.lease_renew(lease).await
    }

    async fn lease(&self, lease: LeaseId) -> Result<Lease> {
        self.inner.lease(lease).await
    }

    async fn leases(&self) -> Result<Vec<LeaseId>> {
        self.inner.leases().await
    }

    async fn lease_revoke(&self, lease: LeaseId) -> Result<()> {
        self.inner.lease_revoke(lease).await
    }

    async fn progress(&self) -> Result<()> {
        self.inner.progress().await
    }
}

/// A watch whose reader is looked at: who asks and finds nothing has read everything.
struct Followed {
    inner: WatchStream,
    seen: Arc<Seen>,
    id: u64,
    at: Arc<AtomicU64>,
}

impl Stream for Followed {
    type Item = Result<WatchItem>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let polled = self.inner.as_mut().poll_next(cx);
        let at = match &polled {
            Poll::Pending => ALL,
            Poll::Ready(Some(Ok(WatchItem::Events { rev, .. } | WatchItem::Progress { rev }))) => {
                self.seen.rev(*rev);
                *rev
            }
            Poll::Ready(Some(Err(Error::SlowWatcher))) => {
                self.seen.cut_off.fetch_add(1, Ordering::Relaxed);
                ALL
            }
            Poll::Ready(_) => ALL,
        };
        self.at.store(at, Ordering::Release);
        polled
    }
}

impl Drop for Followed {
    fn drop(&mut self) {
        self.seen.watches.lock().remove(&self.id);
    }
}

#[async_trait]
impl Keyspaces for Measured {
    async fn open(&self, id: &str) -> Result<Arc<dyn Store>> {
        let known = self.stores.lock().get(id).cloned();
        if let Some(known) = known {
            return Ok(known);
        }
        let store = Arc::new(Counted::new(self.inner.open(id).await?));
        // Somebody else may have opened it meanwhile: the same id gives the same store.
        let mut stores = self.stores.lock();
        Ok(stores.entry(id.to_owned()).or_insert(store).clone())
    }

    async fn sleep(&self, id: &str) -> Result<()> {
        self.inner.sleep(id).await
    }

    fn set_quota(&self, id: &str, bytes: Option<u64>, keys: Option<u64>) -> Result<Quota> {
        self.inner.set_quota(id, bytes, keys)
    }

    fn quota(&self, id: &str) -> Result<Quota> {
        self.inner.quota(id)
    }

    async fn delete(&self, id: &str) -> Result<()> {
        self.stores.lock().remove(id);
        self.inner.delete(id).await
    }

    async fn import(&self, id: &str, image: &Image) -> Result<Imported> {
        self.inner.import(id, image).await
    }

    async fn list(&self) -> Result<Vec<String>> {
        self.inner.list().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Op;
    use crate::embedded::Embedded;
    use crate::memory::Memory;
    use bytes::Bytes;
    use futures::StreamExt;
    use tokio::sync::Semaphore;

    async fn put(store: &dyn Store) -> u64 {
        put_at(store, "a").await.expect("put").rev
    }

    async fn put_at(store: &dyn Store, key: &'static str) -> Result<TxnReply> {
        let op = Op::Put {
            key: key.into(),
            value: "v".into(),
            lease: 0,
        };
        let txn = Txn {
            then: vec![op],
            ..Txn::default()
        };
        store.txn(txn).await
    }

    /// An engine far away: every answer to `open` is let through by hand.
    struct Far {
        engine: Arc<Embedded>,
        gate: Semaphore,
    }

    #[async_trait]
    impl Keyspaces for Far {
        async fn open(&self, id: &str) -> Result<Arc<dyn Store>> {
            let store = self.engine.open(id).await?;
            self.gate.acquire().await.expect("open").forget();
            Ok(store)
        }

        async fn sleep(&self, id: &str) -> Result<()> {
            self.engine.sleep(id).await
        }

        fn set_quota(&self, id: &str, bytes: Option<u64>, keys: Option<u64>) -> Result<Quota> {
            self.engine.set_quota(id, bytes, keys)
        }

        fn quota(&self, id: &str) -> Result<Quota> {
            self.engine.quota(id)
        }

        async fn delete(&self, id: &str) -> Result<()> {
            self.engine.delete(id).await
        }

        async fn list(&self) -> Result<Vec<String>> {
            self.engine.list().await
        }
    }

    #[tokio::test]
    async fn a_quota_stays_when_the_keyspace_is_opened_by_two_at_once() {
        let dir = tempfile::tempdir().expect("dir");
        let engine = Embedded::open(dir.path(), crate::embedded::Options::default());
        let far = Arc::new(Far {
            engine: engine.await.expect("engine"),
            gate: Semaphore::new(0),
        });
        let measured = Measured::new(far.clone());
        let open = || {
            let measured = measured.clone();
            tokio::spawn(async move { measured.open("one").await })
        };
        let (first, second) = (open(), open());
        // Neither finds the other's.
        while far.engine.quota("one").is_err() {
            tokio::task::yield_now().await;
        }
        far.gate.add_permits(1);
        let (_, other) = match futures::future::select(first, second).await {
            futures::future::Either::Left(done) => done,
            futures::future::Either::Right(done) => done,
        };
        let two = measured.set_quota("one", None, Some(2)).expect("quota");
        far.gate.add_permits(1);
        let store = other.await.expect("task").expect("open");
        assert_eq!(measured.quota("one"), Ok(two));
        put_at(&*store, "a").await.expect("room");
        put_at(&*store, "b").await.expect("room");
        let full = put_at(&*store, "c").await;
        assert!(matches!(full, Err(Error::NoSpace(_))), "{full:?}");
        assert_eq!(measured.metrics("db")[0].quota_keys, 2);
    }

    #[tokio::test]
    async fn writes_watchers_and_how_far_they_are_behind_are_counted() {
        let measured = Measured::new(Memory::new());
        let store = measured.open("one").await.expect("open");
        let watch = Watch {
            lo: Bytes::from_static(&[0]),
            hi: Bytes::from_static(&[0]),
            ..Watch::default()
        };
        let mut stream = store.watch(watch).await.expect("watch");
        for _ in 0..3 {
            put(&*store).await;
        }
        let first = loop {
            match stream.next().await.expect("item").expect("item") {
                WatchItem::Events { rev, .. } => break rev,
                other => drop(other),
            }
        };
        let last = put(&*store).await;
        measured.refresh().await;
        let one = &measured.metrics("db")[0];
        assert_eq!((one.id.as_str(), one.datastore.as_str()), ("one", "db"));
        assert_eq!((one.rev, one.keys, one.watchers), (last, 1, 1));
        assert_eq!(one.lag, last - first, "the reader stopped there");
        assert_eq!(one.commits.iter().sum::<u64>(), 4);
        while futures::poll!(stream.next()).is_ready() {}
        assert_eq!(measured.metrics("db")[0].lag, 0, "it has read everything");
        drop(stream);
        assert_eq!(measured.metrics("db")[0].watchers, 0);
        measured.delete("one").await.expect("delete");
        assert!(measured.metrics("db").is_empty());
    }
}

//! The watch cache: one whole-keyspace watch of the store feeds an ordered view per resource.
//!
//! Gets and lists wait until the cache has reached the store's revision, so they are as fresh as
//! a read of the store. A watcher keeps no queue: it reads the view's event window from its own
//! position on, and is cut off when the window has left it behind.

pub mod object;
pub mod view;

pub use object::Object;
pub use view::{Event, TooOld, View};

use freehold_model::ApiError;
use freehold_model::status::Cause;
use freehold_store::{Range, Store, Watch, WatchItem};
use futures::StreamExt as _;
use parking_lot::{Mutex, RwLock};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;
use view::Change;

/// How long a read waits for the cache before it answers 504.
const FRESH_WAIT: Duration = Duration::from_secs(3);
/// Revisions that are replayed when a cache opens.
const REPLAY: u64 = 1_000;
const LOAD_PAGE: usize = 2_000;
/// Events that stay in a view however old they are.
const KEEP_OLD_EVENTS: usize = 64;
const SWEEP_EVERY: Duration = Duration::from_secs(120);

/// Called with the resource key (`group/plural`) after a revision changed it and before the
/// revision becomes visible to reads.
pub type Observer = Box<dyn Fn(&str, &View) + Send + Sync>;

pub struct Cache {
    store: Arc<dyn Store>,
    views: RwLock<BTreeMap<Box<str>, Arc<View>>>,
    applied: Arc<AtomicU64>,
    applied_signal: watch::Sender<u64>,
    /// revision the cache was loaded at: watches cannot start before it
    floor: AtomicU64,
    window_events: AtomicUsize,
    window_bytes: AtomicUsize,
    limits: crate::Limits,
    observers: Mutex<Vec<Observer>>,
    stop: CancellationToken,
}

impl Cache {
    /// Loads the whole keyspace and follows it until [`Cache::close`].
    ///
    /// # Errors
    /// The store's.
    pub async fn open(
        store: Arc<dyn Store>,
        limits: crate::Limits,
    ) -> freehold_store::Result<Arc<Self>> {
        let cache = Arc::new(Self {
            store,
            views: RwLock::default(),
            applied: Arc::default(),
            applied_signal: watch::Sender::new(0),
            floor: AtomicU64::new(0),
            window_events: AtomicUsize::new(0),
            window_bytes: AtomicUsize::new(0),
            limits,
            observers: Mutex::default(),
            stop: CancellationToken::new(),
        });
        let head = cache.store.head().await?;
        // Beginning a little in the past fills the event windows, so that watches go on across a
        // restart or a sleep.
        let past = head.rev.saturating_sub(REPLAY).max(head.compact_rev).max(1);
        // Revision 0 would mean "now"; a new keyspace has no other.
        let rev = match cache.load(past.min(head.rev)).await {
            Err(freehold_store::Error::Compacted(_)) => cache.load(0).await?,
            loaded => loaded?,
        };
        let stream = cache.follow_from(rev + 1).await?;
        let run = Self::run(Arc::downgrade(&cache), stream, cache.stop.clone());
        tokio::spawn(run.in_current_span());
        if cache.reach(head.rev).await.is_err() {
            let why = "the watch of the datastore does not catch up".to_owned();
            return Err(freehold_store::Error::Unavailable(why));
        }
        Ok(cache)
    }

    /// Ends following; reads answer 503 from now on and watches end.
    pub fn close(&self) {
        self.stop.cancel();
    }

    /// Ends when the cache is closed.
    #[must_use]
    pub fn closed(&self) -> CancellationToken {
        self.stop.clone()
    }

    /// Has `observer` called for every changed resource; see [`Observer`].
    pub fn observe(&self, observer: Observer) {
        self.observers.lock().push(observer);
    }

    /// The view of a resource, made when new.
    #[must_use]
    pub fn view(&self, group: &str, plural: &str) -> Arc<View> {
        let group = if group.is_empty() { "core" } else { group };
        self.view_of(&format!("{group}/{plural}"))
    }

    fn view_of(&self, resource: &str) -> Arc<View> {
        if let Some(v) = self.views.read().get(resource) {
            return v.clone();
        }
        let mut views = self.views.write();
        let make = || {
            Arc::new(View::new(
                self.applied.clone(),
                self.floor.load(Ordering::Acquire),
            ))
        };
        views.entry(resource.into()).or_insert_with(make).clone()
    }

    /// The revision every view has reached.
    #[must_use]
    pub fn rev(&self) -> u64 {
        self.applied.load(Ordering::Acquire)
    }

    /// Waits until the cache is as new as the store is now; returns that revision.
    ///
    /// # Errors
    /// 503 when the store or the cache is gone, 504 when it takes too long.
    pub async fn fresh(&self) -> Result<u64, ApiError> {
        let head = self.store.head().await.map_err(|e| store_error(&e))?;
        self.reach(head.rev).await?;
        Ok(head.rev)
    }

    /// Waits until the cache has reached `rev`.
    ///
    /// # Errors
    /// As [`Cache::fresh`].
    pub async fn reach(&self, rev: u64) -> Result<(), ApiError> {
        if self.stop.is_cancelled() {
            return Err(closed());
        }
        if self.rev() >= rev {
            return Ok(());
        }
        let mut signal = self.applied_signal.subscribe();
        let wait = async {
            tokio::select! {
                r = signal.wait_for(|at| *at >= rev) => r.map(|_| ()).map_err(|_| closed()),
                () = self.stop.cancelled() => Err(closed()),
            }
        };
        match tokio::time::timeout(FRESH_WAIT, wait).await {
            Ok(done) => done,
            Err(_) => Err(too_large(rev, self.rev())),
        }
    }

    /// Objects over all resources.
    #[must_use]
    pub fn objects(&self) -> usize {
        self.views.read().values().map(|v| v.size().0).sum()
    }

    /// Objects and bytes over all resources.
    #[must_use]
    pub fn size(&self) -> (usize, usize) {
        let views = self.views.read();
        let (objects, bytes) = views
            .values()
            .map(|v| v.size())
            .fold((0, 0), |a, b| (a.0 + b.0, a.1 + b.1));
        (objects, bytes + self.window_bytes.load(Ordering::Relaxed))
    }

    /// Loads everything as of `rev` (0: now).
    async fn load(&self, rev: u64) -> freehold_store::Result<u64> {
        let mut range = Range {
            lo: vec![0].into(),
            hi: vec![0].into(),
            limit: LOAD_PAGE,
            rev,
            ..Range::default()
        };
        loop {
            let reply = self.store.range(range.clone()).await?;
            if range.rev == 0 {
                range.rev = reply.head_rev;
            }
            self.floor.store(range.rev, Ordering::Release);
            for kv in &reply.kvs {
                self.load_one(kv);
            }
            match reply.kvs.last() {
                Some(last) if reply.more => {
                    let mut next = last.key.to_vec();
                    next.push(0);
                    range.lo = next.into();
                }
                _ => break,
            }
        }
        self.publish(range.rev);
        Ok(range.rev)
    }

    fn load_one(&self, kv: &freehold_store::KeyValue) {
        let Some((resource, ns, name)) = std::str::from_utf8(&kv.key).ok().and_then(object::split)
        else {
            return;
        };
        match Object::new(ns, name, kv) {
            Some(o) => self.view_of(resource).load(o),
            None => {
                tracing::error!(key = %String::from_utf8_lossy(&kv.key), "stored value is not an object")
            }
        }
    }

    fn publish(&self, rev: u64) {
        self.applied.fetch_max(rev, Ordering::AcqRel);
        self.applied_signal.send_if_modified(|at| {
            let grew = *at < rev;
            *at = rev.max(*at);
            grew
        });
    }

    async fn follow_from(
        &self,
        start_rev: u64,
    ) -> freehold_store::Result<freehold_store::WatchStream> {
        self.store
            .watch(Watch {
                lo: vec![0].into(),
                hi: vec![0].into(),
                start_rev,
                prev_kv: false,
            })
            .await
    }

    async fn run(
        this: Weak<Self>,
        mut stream: freehold_store::WatchStream,
        stop: CancellationToken,
    ) {
        // However this ends, by a panic too: a cache that does not follow must not answer.
        let _close = stop.clone().drop_guard();
        let mut sweep = tokio::time::interval(SWEEP_EVERY);
        sweep.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let item = tokio::select! {
                () = stop.cancelled() => return,
                _ = sweep.tick() => {
                    let Some(cache) = this.upgrade() else { return };
                    cache.trim_to(KEEP_OLD_EVENTS);
                    continue;
                }
                item = stream.next() => item,
            };
            let Some(cache) = this.upgrade() else { return };
            match item {
                Some(Ok(WatchItem::Events { rev, events })) => cache.apply(rev, &events),
                Some(Ok(WatchItem::Progress { rev })) => cache.publish(rev),
                Some(Ok(WatchItem::Compacted { .. }) | Err(freehold_store::Error::Deleted)) => {
                    // Only a cache that was cut off for long meets this. What it holds is in
                    // doubt, so it closes; the owner of the control plane starts it anew.
                    tracing::error!("the datastore no longer has what the cache needs; closing it");
                    cache.close();
                    return;
                }
                Some(Err(e)) => {
                    tracing::warn!(error = %e, "the datastore's watch failed; resuming");
                    let Some(next) = cache.resume(&stop).await else {
                        return;
                    };
                    stream = next;
                }
                None => {
                    let Some(next) = cache.resume(&stop).await else {
                        return;
                    };
                    stream = next;
                }
            }
        }
    }

    /// Opens the store's watch again behind what was applied; `None` when closed meanwhile.
    async fn resume(&self, stop: &CancellationToken) -> Option<freehold_store::WatchStream> {
        let mut backoff = Duration::from_millis(20);
        loop {
            tokio::select! {
                () = stop.cancelled() => return None,
                () = tokio::time::sleep(backoff) => {}
            }
            match self.follow_from(self.rev() + 1).await {
                Ok(stream) => return Some(stream),
                Err(freehold_store::Error::Deleted) => {
                    self.close();
                    return None;
                }
                Err(e) => tracing::warn!(error = %e, "the datastore's watch cannot be opened yet"),
            }
            backoff = (backoff * 2).min(Duration::from_secs(5));
        }
    }

    fn apply(&self, rev: u64, events: &[freehold_store::Event]) {
        if rev <= self.rev() {
            return;
        }
        let mut per_view: BTreeMap<&str, Vec<Change>> = BTreeMap::new();
        for e in events {
            let Some((resource, ns, name)) =
                std::str::from_utf8(&e.kv.key).ok().and_then(object::split)
            else {
                continue;
            };
            let object = if e.deleted {
                None
            } else {
                Object::new(ns, name, &e.kv)
            };
            if object.is_none() && !e.deleted {
                tracing::error!(key = %String::from_utf8_lossy(&e.kv.key), "stored value is not an object");
                continue;
            }
            let change = Change {
                namespace_name: format!("{ns}/{name}").into(),
                object,
            };
            per_view.entry(resource).or_default().push(change);
        }
        let mut changed = Vec::with_capacity(per_view.len());
        for (resource, changes) in per_view {
            let view = self.view_of(resource);
            let (bytes, count) = view.apply(rev, changes);
            self.window_bytes.fetch_add(bytes, Ordering::Relaxed);
            self.window_events.fetch_add(count, Ordering::Relaxed);
            changed.push((resource, view));
        }
        for observer in self.observers.lock().iter() {
            for (resource, view) in &changed {
                observer(resource, view);
            }
        }
        self.publish(rev);
        for (_, view) in changed {
            view.wake(rev);
        }
        self.keep_window_bounded();
    }

    fn keep_window_bounded(&self) {
        let mut keep = self.limits.window_events;
        while self.window_events.load(Ordering::Relaxed) > self.limits.window_events
            || self.window_bytes.load(Ordering::Relaxed) > self.limits.window_bytes
        {
            // The largest windows give first: halve what any view may keep until all fits.
            let largest = self
                .views
                .read()
                .values()
                .map(|v| v.window_len())
                .max()
                .unwrap_or(0);
            if largest == 0 {
                return;
            }
            keep = (keep / 2).min(largest * 3 / 4);
            self.trim_to(keep);
        }
    }

    fn trim_to(&self, keep: usize) {
        for view in self.views.read().values() {
            let (bytes, count) = view.trim(keep);
            self.window_bytes.fetch_sub(bytes, Ordering::Relaxed);
            self.window_events.fetch_sub(count, Ordering::Relaxed);
        }
    }
}

fn closed() -> ApiError {
    ApiError::unavailable("this control plane is shutting down or going to sleep; try again")
}

/// As `NewTooLargeResourceVersionError` of apiserver `pkg/storage/errors.go`: clients know it by its
/// cause and try again.
fn too_large(rev: u64, current: u64) -> ApiError {
    let mut e = ApiError::timeout(format!(
        "Timeout: Too large resource version: {rev}, current: {current}"
    ));
    let details = e.details.get_or_insert_default();
    details.retry_after_seconds = 1;
    details.causes.push(Cause {
        reason: "ResourceVersionTooLarge".into(),
        message: "Too large resource version".into(),
        field: String::new(),
    });
    e
}

/// A store's error as clients see it.
#[must_use]
pub fn store_error(e: &freehold_store::Error) -> ApiError {
    use freehold_store::Error as E;
    match e {
        E::Compacted(_) => {
            ApiError::expired("The resourceVersion for the provided list is too old.")
        }
        E::Future(_) => ApiError::timeout(e.to_string()),
        E::NoSpace(_) => ApiError::new(507, "InsufficientStorage", e.to_string()),
        E::Invalid(_) => ApiError::internal(e),
        E::TooLarge(_) => ApiError::too_large(e.to_string()),
        E::Throttled(_) => ApiError::too_many_requests(e.to_string(), 1),
        E::Fenced(_) | E::Deleted | E::SlowWatcher | E::Unavailable(_) => {
            ApiError::unavailable(freehold_store::for_tenants(e))
        }
        E::LeaseNotFound(_) | E::LeaseExists(_) | E::KeyNotFound | E::Corrupt(_) => {
            ApiError::internal(freehold_store::for_tenants(e))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_learn_nothing_of_the_datastore_but_what_they_can_do() {
        use freehold_store::Error as E;
        let secret = "PostgreSQL at db.internal:5432 refuses the password of user \"keeper\"";
        for (error, code) in [
            (E::Unavailable(secret.into()), 503),
            (E::Corrupt(secret.into()), 500),
        ] {
            let said = store_error(&error);
            assert_eq!(said.code, code);
            let text = format!("{said:?}");
            assert!(
                !text.contains("db.internal") && !text.contains("keeper"),
                "{text}"
            );
        }
        let said = store_error(&E::Unavailable(secret.into()));
        assert!(said.message.contains("try again"), "{}", said.message);
    }
}

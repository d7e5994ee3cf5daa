//! Watches: first the history in slices, then what is published, through a bounded queue.

use super::index::Index;
use super::keyspace::Loaded;
use super::state::{Commit, Happened, Phase, history_of};
use super::values::{Held, Reader};
use crate::{Error, Event, Result, WatchItem, span::Span};
use futures::Stream;
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};
use tokio::task::JoinHandle;

/// Commits of history looked at under one lock.
const SLICE: usize = 256;

/// What all watchers of a keyspace together have not read yet.
#[derive(Debug)]
pub(crate) struct Unsent {
    pub(crate) watchers: AtomicUsize,
    pub(crate) bytes: AtomicU64,
    pub(crate) max_bytes: AtomicU64,
    /// watchers that were cut off
    pub(crate) cut_off: AtomicU64,
}

impl Unsent {
    pub(crate) fn new(max_bytes: u64) -> Self {
        Self {
            watchers: AtomicUsize::new(0),
            bytes: AtomicU64::new(0),
            max_bytes: AtomicU64::new(max_bytes),
            cut_off: AtomicU64::new(0),
        }
    }

    /// What one watcher may hold when all together hold too much.
    fn share(&self) -> u64 {
        let watchers = self.watchers.load(Ordering::Relaxed).max(1) as u64;
        self.max_bytes.load(Ordering::Relaxed) / watchers
    }

    fn exceeded(&self) -> bool {
        self.bytes.load(Ordering::Relaxed) > self.max_bytes.load(Ordering::Relaxed)
    }
}

/// What a live watcher has not read yet.
#[derive(Debug)]
pub(crate) struct WatchQueue {
    span: Span,
    prev_kv: bool,
    /// revisions below are not wanted
    from: u64,
    max_commits: usize,
    max_bytes: u64,
    unsent: Arc<Unsent>,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    items: VecDeque<Item>,
    bytes: u64,
    end: Option<Error>,
    waker: Option<Waker>,
}

#[derive(Debug)]
enum Item {
    Commit(Arc<Commit>),
    Progress(u64),
}

impl Item {
    fn bytes(&self) -> u64 {
        match self {
            Self::Commit(commit) => commit.bytes,
            Self::Progress(_) => 64,
        }
    }
}

impl WatchQueue {
    fn wants(&self, commit: &Commit) -> bool {
        commit.rev >= self.from && commit.events.iter().any(|e| self.span.contains(&e.now.key))
    }

    /// Queues a commit if the watcher wants it; cuts the watcher off when it is too far behind.
    pub(crate) fn offer(&self, commit: &Arc<Commit>) {
        if !self.wants(commit) {
            return;
        }
        self.push(Item::Commit(commit.clone()));
    }

    /// Queues a progress mark behind everything published so far.
    pub(crate) fn progress(&self, rev: u64) {
        self.push(Item::Progress(rev));
    }

    /// The first revision that waits to be read.
    pub(crate) fn waiting(&self) -> Option<u64> {
        let inner = self.inner.lock();
        inner.items.iter().find_map(|item| match item {
            Item::Commit(commit) => Some(commit.rev),
            Item::Progress(_) => None,
        })
    }

    fn push(&self, item: Item) {
        let bytes = item.bytes();
        let mut inner = self.inner.lock();
        if inner.end.is_some() {
            return;
        }
        let mine = inner.bytes + bytes;
        let too_far = inner.items.len() >= self.max_commits || mine > self.max_bytes.max(bytes);
        // Together they hold too much: who holds more than an equal share is the cause.
        let unfair = self.unsent.exceeded() && mine > self.unsent.share().max(bytes);
        if too_far || unfair {
            self.unsent.bytes.fetch_sub(inner.bytes, Ordering::Relaxed);
            self.unsent.cut_off.fetch_add(1, Ordering::Relaxed);
            inner.bytes = 0;
            inner.items = VecDeque::new();
            inner.end = Some(Error::SlowWatcher);
        } else {
            inner.bytes = mine;
            self.unsent.bytes.fetch_add(bytes, Ordering::Relaxed);
            inner.items.push_back(item);
        }
        wake(inner);
    }

    /// Ends the watch after what is queued.
    pub(crate) fn finish(&self, error: Error) {
        let mut inner = self.inner.lock();
        inner.end.get_or_insert(error);
        wake(inner);
    }

    /// The part of a commit that the watcher wants, with values from memory; `None` when one
    /// of them is only on the disk.
    fn deliver(&self, past: &Past) -> Option<WatchItem> {
        let mut events = Vec::with_capacity(past.commit.events.len());
        for event in self.wanted(past) {
            let prev = match past.prev(event) {
                Some(held) => Some(held.in_memory()?),
                None => None,
            };
            events.push(Event {
                kv: event.now.in_memory()?,
                deleted: !event.now.version.alive(),
                prev,
            });
        }
        let rev = past.commit.rev;
        Some(WatchItem::Events { rev, events })
    }

    /// The same with values from wherever they are.
    fn fetch(&self, past: &Past, values: &Reader<'_>) -> Result<WatchItem> {
        let mut wanted = Vec::new();
        for event in self.wanted(past) {
            wanted.push(event.now.clone());
            wanted.extend(past.prev(event));
        }
        let mut kvs = values.kvs(&wanted)?.into_iter();
        let mut next = || kvs.next().expect("as many as were asked for");
        let events = self.wanted(past).map(|event| Event {
            kv: next(),
            deleted: !event.now.version.alive(),
            prev: past.prev(event).map(|_| next()),
        });
        let (rev, events) = (past.commit.rev, events.collect());
        Ok(WatchItem::Events { rev, events })
    }

    fn wanted<'a>(&'a self, past: &'a Past) -> impl Iterator<Item = &'a Happened> {
        let inside = |event: &&Happened| self.span.contains(&event.now.key);
        past.commit.events.iter().filter(inside)
    }
}

/// A commit on its way to a watcher.
#[derive(Clone)]
struct Past {
    commit: Arc<Commit>,
    /// with previous values
    prev_kv: bool,
}

impl Past {
    fn prev(&self, event: &Happened) -> Option<Held> {
        let version = event.prev.clone().filter(|_| self.prev_kv)?;
        let key = event.now.key.clone();
        Some(Held { key, version })
    }
}

fn wake(mut inner: parking_lot::MutexGuard<'_, Inner>) {
    let waker = inner.waker.take();
    drop(inner);
    if let Some(waker) = waker {
        waker.wake();
    }
}

enum Stage {
    /// reading history; the next revision to look at
    Behind(u64),
    Live,
    Done,
}

/// What a watcher waits for on the disk, or for a pass over the index.
enum Fetched {
    Items(Vec<WatchItem>),
    /// what happened before the keyspace was loaded, and where to go on
    History(VecDeque<Past>, u64),
}

/// The stream that a caller of `watch` holds.
pub(crate) struct Watcher {
    loaded: Arc<Loaded>,
    queue: Arc<WatchQueue>,
    stage: Stage,
    ready: VecDeque<WatchItem>,
    past: VecDeque<Past>,
    fetching: Option<JoinHandle<Result<Fetched>>>,
}

impl Watcher {
    pub(crate) fn new(
        loaded: Arc<Loaded>,
        watch: crate::Watch,
        next: u64,
        max_commits: usize,
        max_bytes: u64,
    ) -> Self {
        let unsent = loaded.slot.unsent.clone();
        unsent.watchers.fetch_add(1, Ordering::Relaxed);
        let queue = WatchQueue {
            span: Span::new(watch.lo, watch.hi),
            prev_kv: watch.prev_kv,
            from: next,
            max_commits,
            max_bytes,
            unsent,
            inner: Mutex::default(),
        };
        Self {
            loaded,
            queue: Arc::new(queue),
            stage: Stage::Behind(next),
            ready: VecDeque::new(),
            past: VecDeque::new(),
            fetching: None,
        }
    }

    /// Reads one slice of history; joins the live watchers when there is no more.
    fn catch_up(&mut self, next: u64) -> Result<()> {
        let mut state = self.loaded.state.write();
        match state.phase {
            Phase::Open => {}
            Phase::Retired => return Err(asleep()),
            Phase::Deleted => return Err(Error::Deleted),
        }
        if next < state.compacted {
            self.ready.push_back(WatchItem::Compacted {
                rev: state.compacted,
            });
            self.stage = Stage::Done;
            return Ok(());
        }
        if next <= state.floor {
            let (index, floor, compacted) = (state.index.clone(), state.floor, state.compacted);
            drop(state);
            return self.look_back(index, next, floor, compacted);
        }
        let from = state.history.partition_point(|commit| commit.rev < next);
        let slice: Vec<_> = state
            .history
            .iter()
            .skip(from)
            .take(SLICE)
            .cloned()
            .collect();
        if slice.len() < SLICE {
            state.watchers.push(self.queue.clone());
            self.stage = Stage::Live;
            // Behind this slice, in front of everything that follows.
            self.queue.progress(state.visible);
        } else {
            self.stage = Stage::Behind(slice.last().map_or(next, |commit| commit.rev + 1));
        }
        let compacted = state.compacted;
        drop(state);
        let queue = self.queue.clone();
        let wanted = slice.into_iter().filter(|commit| queue.wants(commit));
        // What was before the compact revision is forgotten, also as a previous value.
        self.past.extend(wanted.map(|commit| Past {
            prev_kv: queue.prev_kv && commit.rev > compacted,
            commit,
        }));
        Ok(())
    }

    /// Finds in the index what happened before the keyspace was loaded.
    fn look_back(&mut self, index: Index, next: u64, floor: u64, compacted: u64) -> Result<()> {
        let queue = self.queue.clone();
        self.fetch(move || {
            let commits = history_of(&index, &queue.span, next, floor);
            let past = commits.into_iter().map(|commit| Past {
                prev_kv: queue.prev_kv && commit.rev > compacted,
                commit,
            });
            Ok(Fetched::History(past.collect(), floor + 1))
        })
    }

    /// Has something done in a thread that may wait.
    fn fetch(&mut self, work: impl FnOnce() -> Result<Fetched> + Send + 'static) -> Result<()> {
        if self.loaded.drive.by_hand() {
            return self.fetched(work());
        }
        self.fetching = Some(tokio::task::spawn_blocking(work));
        Ok(())
    }

    /// Makes items of the next commits, from memory or in a thread that may wait.
    fn convert(&mut self) -> Result<()> {
        let count = self.past.len().min(SLICE);
        for _ in 0..count {
            let Some(item) = self.past.front().and_then(|past| self.queue.deliver(past)) else {
                break;
            };
            self.past.pop_front();
            self.ready.push_back(item);
        }
        if !self.ready.is_empty() {
            return Ok(());
        }
        let slice: Vec<Past> = self.past.drain(..count).collect();
        let (loaded, queue) = (self.loaded.clone(), self.queue.clone());
        self.fetch(move || {
            let values = loaded.values();
            let items: Result<_> = slice
                .iter()
                .map(|past| queue.fetch(past, &values))
                .collect();
            items.map(Fetched::Items)
        })
    }

    fn poll_live(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<WatchItem>>> {
        let mut inner = self.queue.inner.lock();
        match inner.items.pop_front() {
            Some(item) => {
                let bytes = item.bytes();
                inner.bytes -= bytes;
                self.queue.unsent.bytes.fetch_sub(bytes, Ordering::Relaxed);
                drop(inner);
                match item {
                    Item::Commit(commit) => self.past.push_back(Past {
                        commit,
                        prev_kv: self.queue.prev_kv,
                    }),
                    Item::Progress(rev) => self.ready.push_back(WatchItem::Progress { rev }),
                }
                Poll::Ready(None)
            }
            None => {
                if let Some(error) = inner.end.clone() {
                    drop(inner);
                    self.stage = Stage::Done;
                    return Poll::Ready(Some(Err(error)));
                }
                inner.waker = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }

    fn fetched(&mut self, fetched: Result<Fetched>) -> Result<()> {
        match fetched? {
            Fetched::Items(items) => self.ready.extend(items),
            Fetched::History(past, next) => {
                self.past = past;
                self.stage = Stage::Behind(next);
            }
        }
        Ok(())
    }
}

pub(crate) fn asleep() -> Error {
    Error::Unavailable("the keyspace was put to sleep".into())
}

impl Stream for Watcher {
    type Item = Result<WatchItem>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        loop {
            if let Some(item) = this.ready.pop_front() {
                return Poll::Ready(Some(Ok(item)));
            }
            if let Some(task) = &mut this.fetching {
                let Poll::Ready(done) = Pin::new(task).poll(cx) else {
                    return Poll::Pending;
                };
                this.fetching = None;
                let done = done.unwrap_or_else(|e| Err(Error::Unavailable(e.to_string())));
                if let Err(error) = this.fetched(done) {
                    this.stage = Stage::Done;
                    return Poll::Ready(Some(Err(error)));
                }
                continue;
            }
            if !this.past.is_empty() {
                if let Err(error) = this.convert() {
                    this.stage = Stage::Done;
                    return Poll::Ready(Some(Err(error)));
                }
                continue;
            }
            match this.stage {
                Stage::Behind(next) => {
                    if let Err(error) = this.catch_up(next) {
                        this.stage = Stage::Done;
                        return Poll::Ready(Some(Err(error)));
                    }
                }
                Stage::Live => match this.poll_live(cx) {
                    Poll::Ready(None) => {}
                    other => return other,
                },
                Stage::Done => return Poll::Ready(None),
            }
        }
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        let mut state = self.loaded.state.write();
        state
            .watchers
            .retain(|queue| !Arc::ptr_eq(queue, &self.queue));
        drop(state);
        let waiting = std::mem::take(&mut self.queue.inner.lock().bytes);
        let unsent = &self.queue.unsent;
        unsent.bytes.fetch_sub(waiting, Ordering::Relaxed);
        unsent.watchers.fetch_sub(1, Ordering::Relaxed);
    }
}

//! Watches: first the history in slices, then what is published, through a bounded queue.

use super::keyspace::Loaded;
use super::state::{Commit, Phase};
use crate::{Error, Event, Result, WatchItem, span::Span};
use futures::Stream;
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

/// Commits of history looked at under one lock.
const SLICE: usize = 256;

/// What a live watcher has not read yet.
#[derive(Debug)]
pub(crate) struct WatchQueue {
    span: Span,
    prev_kv: bool,
    /// revisions below are not wanted
    from: u64,
    max_commits: usize,
    max_bytes: u64,
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

impl WatchQueue {
    fn wants(&self, commit: &Commit) -> bool {
        commit.rev >= self.from && commit.events.iter().any(|e| self.span.contains(&e.kv.key))
    }

    /// Queues a commit if the watcher wants it; cuts the watcher off when it is too far behind.
    pub(crate) fn offer(&self, commit: &Arc<Commit>) {
        if !self.wants(commit) {
            return;
        }
        self.push(Item::Commit(commit.clone()), commit.bytes);
    }

    /// Queues a progress mark behind everything published so far.
    pub(crate) fn progress(&self, rev: u64) {
        self.push(Item::Progress(rev), 64);
    }

    fn push(&self, item: Item, bytes: u64) {
        let mut inner = self.inner.lock();
        if inner.end.is_some() {
            return;
        }
        if inner.items.len() >= self.max_commits || inner.bytes + bytes > self.max_bytes.max(bytes)
        {
            inner.items = VecDeque::new();
            inner.end = Some(Error::SlowWatcher);
        } else {
            inner.bytes += bytes;
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

    fn deliver(&self, commit: &Commit, prev: bool) -> Option<WatchItem> {
        let events: Vec<Event> = commit
            .events
            .iter()
            .filter(|event| commit.rev >= self.from && self.span.contains(&event.kv.key))
            .map(|event| Event {
                kv: event.kv.clone(),
                deleted: event.deleted,
                prev: event.prev.clone().filter(|_| prev),
            })
            .collect();
        (!events.is_empty()).then_some(WatchItem::Events {
            rev: commit.rev,
            events,
        })
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

/// The stream that a caller of `watch` holds.
pub(crate) struct Watcher {
    loaded: Arc<Loaded>,
    queue: Arc<WatchQueue>,
    stage: Stage,
    ready: VecDeque<WatchItem>,
}

impl Watcher {
    pub(crate) fn new(
        loaded: Arc<Loaded>,
        watch: crate::Watch,
        next: u64,
        max_commits: usize,
        max_bytes: u64,
    ) -> Self {
        let queue = WatchQueue {
            span: Span::new(watch.lo, watch.hi),
            prev_kv: watch.prev_kv,
            from: next,
            max_commits,
            max_bytes,
            inner: Mutex::default(),
        };
        Self {
            loaded,
            queue: Arc::new(queue),
            stage: Stage::Behind(next),
            ready: VecDeque::new(),
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
        } else {
            self.stage = Stage::Behind(slice.last().map_or(next, |commit| commit.rev + 1));
        }
        let (visible, compacted) = (state.visible, state.compacted);
        drop(state);
        self.ready.extend(slice.iter().filter_map(|commit| {
            // What was before the compact revision is forgotten, also as a previous value.
            self.queue
                .deliver(commit, self.queue.prev_kv && commit.rev > compacted)
        }));
        if matches!(self.stage, Stage::Live) {
            self.ready.push_back(WatchItem::Progress { rev: visible });
        }
        Ok(())
    }

    fn poll_live(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<WatchItem>>> {
        loop {
            let mut inner = self.queue.inner.lock();
            match inner.items.pop_front() {
                Some(Item::Commit(commit)) => {
                    inner.bytes -= commit.bytes;
                    drop(inner);
                    if let Some(item) = self.queue.deliver(&commit, self.queue.prev_kv) {
                        return Poll::Ready(Some(Ok(item)));
                    }
                }
                Some(Item::Progress(rev)) => {
                    inner.bytes -= 64;
                    return Poll::Ready(Some(Ok(WatchItem::Progress { rev })));
                }
                None => {
                    if let Some(error) = inner.end.clone() {
                        drop(inner);
                        self.stage = Stage::Done;
                        return Poll::Ready(Some(Err(error)));
                    }
                    inner.waker = Some(cx.waker().clone());
                    return Poll::Pending;
                }
            }
        }
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
            match this.stage {
                Stage::Behind(next) => {
                    if let Err(error) = this.catch_up(next) {
                        this.stage = Stage::Done;
                        return Poll::Ready(Some(Err(error)));
                    }
                }
                Stage::Live => return this.poll_live(cx),
                Stage::Done => return Poll::Ready(None),
            }
        }
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        if matches!(self.stage, Stage::Live | Stage::Done) {
            let mut state = self.loaded.state.write();
            state
                .watchers
                .retain(|queue| !Arc::ptr_eq(queue, &self.queue));
        }
    }
}

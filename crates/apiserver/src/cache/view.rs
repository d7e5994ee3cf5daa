//! One resource's ordered objects and the window of its latest events.

use super::object::{Object, tombstone};
use bytes::Bytes;
use parking_lot::RwLock;
use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;
use std::sync::{Arc, OnceLock};
use tokio::sync::watch;

/// One change of one object.
#[derive(Debug)]
pub struct Event {
    pub rev: u64,
    pub deleted: bool,
    /// the new state; for a deletion the last state under the deletion's revision
    pub object: Arc<Object>,
    /// the state before; `None` when the object was created
    pub prev: Option<Arc<Object>>,
    /// the JSON watch line in the stored version, made once for all watchers
    line: OnceLock<Bytes>,
}

impl Event {
    /// `ADDED`, `MODIFIED` or `DELETED`, for a watch without selectors.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match (self.deleted, &self.prev) {
            (true, _) => "DELETED",
            (false, None) => "ADDED",
            (false, Some(_)) => "MODIFIED",
        }
    }

    /// The watch line of [`Event::kind`] in the stored version.
    #[must_use]
    pub fn line(&self) -> Bytes {
        self.line
            .get_or_init(|| line(self.kind(), &self.object))
            .clone()
    }
}

/// `{"type":…,"object":…}\n`
#[must_use]
pub fn line(kind: &str, object: &Object) -> Bytes {
    let mut out = Vec::with_capacity(object.value.len() + 80);
    out.extend_from_slice(b"{\"type\":\"");
    out.extend_from_slice(kind.as_bytes());
    out.extend_from_slice(b"\",\"object\":");
    object.write_with_rev(object.rev, &mut out);
    out.extend_from_slice(b"}\n");
    out.into()
}

#[derive(Default)]
struct Inner {
    objects: BTreeMap<Box<str>, Arc<Object>>,
    bytes: usize,
    /// revision of the last change
    changed: u64,
    events: VecDeque<Arc<Event>>,
    event_bytes: usize,
    /// events up to here are no longer in the window
    floor: u64,
}

/// The cached state of one resource.
pub struct View {
    inner: RwLock<Inner>,
    notify: watch::Sender<u64>,
    /// revision up to which the whole cache is complete
    applied: Arc<std::sync::atomic::AtomicU64>,
}

/// A change to one object, as the store's watch reports it.
pub(super) struct Change {
    pub namespace_name: Box<str>,
    /// `None`: deleted
    pub object: Option<Object>,
}

/// Why a watch cannot go on from a revision.
#[derive(Debug, PartialEq, Eq)]
pub struct TooOld {
    pub oldest: u64,
}

impl View {
    pub(super) fn new(applied: Arc<std::sync::atomic::AtomicU64>, floor: u64) -> Self {
        let inner = Inner {
            floor,
            ..Inner::default()
        };
        Self {
            inner: RwLock::new(inner),
            notify: watch::Sender::new(0),
            applied,
        }
    }

    /// Puts an object in place without an event (while the cache loads).
    pub(super) fn load(&self, object: Object) {
        let mut inner = self.inner.write();
        inner.bytes += object.cost();
        inner.changed = inner.changed.max(object.rev);
        inner.objects.insert(object.path().into(), Arc::new(object));
    }

    /// Applies all changes of one revision at once; returns bytes and events added to the window.
    pub(super) fn apply(&self, rev: u64, changes: Vec<Change>) -> (usize, usize) {
        let mut inner = self.inner.write();
        let (before_bytes, before) = (inner.event_bytes, inner.events.len());
        for change in changes {
            inner.apply_one(rev, change);
        }
        inner.changed = rev;
        let added = (
            inner.event_bytes - before_bytes,
            inner.events.len() - before,
        );
        drop(inner);
        added
    }

    pub(super) fn wake(&self, rev: u64) {
        self.notify.send_replace(rev);
    }

    /// Drops the oldest events until `keep` remain; returns bytes and events dropped.
    pub(super) fn trim(&self, keep: usize) -> (usize, usize) {
        let mut inner = self.inner.write();
        let (mut bytes, mut count) = (0, 0);
        while inner.events.len() > keep {
            let Some(e) = inner.events.pop_front() else {
                break;
            };
            inner.floor = e.rev;
            bytes += e.object.cost();
            count += 1;
        }
        // A revision's events leave together: half a revision must never be delivered.
        while inner.events.front().is_some_and(|e| e.rev == inner.floor) {
            let Some(e) = inner.events.pop_front() else {
                break;
            };
            bytes += e.object.cost();
            count += 1;
        }
        inner.event_bytes -= bytes;
        (bytes, count)
    }

    pub(super) fn window_len(&self) -> usize {
        self.inner.read().events.len()
    }

    fn complete_rev(&self, inner: &Inner) -> u64 {
        // Read under the lock: every revision up to `applied` is in every view; this view may
        // already be one further.
        self.applied
            .load(std::sync::atomic::Ordering::Acquire)
            .max(inner.changed)
    }

    #[must_use]
    pub fn get(&self, namespace: &str, name: &str) -> Option<Arc<Object>> {
        self.inner
            .read()
            .objects
            .get(format!("{namespace}/{name}").as_str())
            .cloned()
    }

    /// The objects of a namespace (`None`: of all) in key order, and the revision they are of.
    #[must_use]
    pub fn list(&self, namespace: Option<&str>) -> (Vec<Arc<Object>>, u64) {
        let inner = self.inner.read();
        let objects = match namespace {
            None => inner.objects.values().cloned().collect(),
            Some(ns) => {
                let start = format!("{ns}/");
                inner
                    .objects
                    .range::<str, _>((Bound::Included(start.as_str()), Bound::Unbounded))
                    .take_while(|(path, _)| path.starts_with(&start))
                    .map(|(_, o)| o.clone())
                    .collect()
            }
        };
        (objects, self.complete_rev(&inner))
    }

    /// Revision of the last change to any object of this resource.
    #[must_use]
    pub fn changed(&self) -> u64 {
        self.inner.read().changed
    }

    /// Objects and their bytes.
    #[must_use]
    pub fn size(&self) -> (usize, usize) {
        let inner = self.inner.read();
        (inner.objects.len(), inner.bytes)
    }

    /// Events after `rev`, at most `max` and whole revisions only, and the revision up to which
    /// they are complete.
    ///
    /// # Errors
    /// [`TooOld`] when the window no longer reaches back to `rev`.
    pub fn events_after(&self, rev: u64, max: usize) -> Result<(Vec<Arc<Event>>, u64), TooOld> {
        let inner = self.inner.read();
        if rev < inner.floor {
            return Err(TooOld {
                oldest: inner.floor,
            });
        }
        let start = inner.events.partition_point(|e| e.rev <= rev);
        let mut out: Vec<Arc<Event>> = Vec::new();
        for e in inner.events.range(start..) {
            if out.len() >= max && out.last().is_some_and(|last| last.rev != e.rev) {
                let upto = out.last().map_or(rev, |last| last.rev);
                return Ok((out, upto));
            }
            out.push(e.clone());
        }
        Ok((out, self.complete_rev(&inner).max(rev)))
    }

    /// Wakes on every change of this resource.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<u64> {
        self.notify.subscribe()
    }
}

impl Inner {
    fn apply_one(&mut self, rev: u64, change: Change) {
        let event = match change.object {
            Some(object) => {
                let object = Arc::new(object);
                self.bytes += object.cost();
                let prev = self.objects.insert(change.namespace_name, object.clone());
                if let Some(p) = &prev {
                    self.bytes -= p.cost();
                }
                Event {
                    rev,
                    deleted: false,
                    object,
                    prev,
                    line: OnceLock::new(),
                }
            }
            None => {
                let Some(last) = self.objects.remove(&change.namespace_name) else {
                    return;
                };
                self.bytes -= last.cost();
                let object = Arc::new(tombstone(&last, rev));
                Event {
                    rev,
                    deleted: true,
                    object,
                    prev: Some(last),
                    line: OnceLock::new(),
                }
            }
        };
        self.event_bytes += event.object.cost();
        self.events.push_back(Arc::new(event));
    }
}

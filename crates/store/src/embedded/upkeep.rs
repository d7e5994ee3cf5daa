//! The engine's second thread: ends leases, forgets history in slices, checkpoints keyspaces so
//! that old log segments can be removed. Sleeps until something is due.

use super::Shared;
use super::commit::{Request, Work};
use super::keyspace::{Loaded, Slot};
use super::state::Phase;
use crate::LeaseId;
use parking_lot::{Condvar, Mutex};
use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap};
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::sync::oneshot;

/// Keys forgotten under one lock.
const SLICE: usize = 512;

#[derive(Default)]
struct Todo {
    leases: BinaryHeap<Reverse<Deadline>>,
    /// keyspaces with history to forget
    purge: Vec<Arc<Loaded>>,
    truncate: bool,
    spare: Spare,
    stopping: bool,
}

/// The log's next segment file.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Spare {
    #[default]
    Absent,
    Wanted,
    Ready,
    /// the disk has no room for it; asked for again with the next segment
    Failed,
}

struct Deadline {
    at_ms: u64,
    lease: LeaseId,
    loaded: Weak<Loaded>,
}

impl PartialEq for Deadline {
    fn eq(&self, other: &Self) -> bool {
        self.at_ms == other.at_ms
    }
}
impl Eq for Deadline {}
impl PartialOrd for Deadline {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Deadline {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.at_ms.cmp(&other.at_ms)
    }
}

/// What the thread is told.
#[derive(Default)]
pub(crate) struct Upkeep {
    todo: Mutex<Todo>,
    changed: Condvar,
}

impl Upkeep {
    pub(crate) fn add_deadlines(
        &self,
        deadlines: impl Iterator<Item = (u64, Arc<Loaded>, LeaseId)>,
    ) {
        let mut deadlines = deadlines.peekable();
        if deadlines.peek().is_none() {
            return;
        }
        let mut todo = self.todo.lock();
        for (at_ms, loaded, lease) in deadlines {
            todo.leases.push(Reverse(Deadline {
                at_ms,
                lease,
                loaded: Arc::downgrade(&loaded),
            }));
        }
        drop(todo);
        self.changed.notify_one();
    }

    pub(crate) fn look_at(&self, loaded: Arc<Loaded>) {
        let mut todo = self.todo.lock();
        if !todo.purge.iter().any(|other| Arc::ptr_eq(other, &loaded)) {
            todo.purge.push(loaded);
            drop(todo);
            self.changed.notify_one();
        }
    }

    /// The log goes on in another segment.
    pub(crate) fn truncate(&self) {
        let mut todo = self.todo.lock();
        todo.truncate = true;
        if todo.spare == Spare::Failed {
            todo.spare = Spare::Absent;
        }
        drop(todo);
        self.changed.notify_one();
    }

    /// Takes the spare segment if there is one, or asks for it.
    pub(crate) fn spare(&self) -> bool {
        let mut todo = self.todo.lock();
        match todo.spare {
            Spare::Ready => {
                todo.spare = Spare::Absent;
                true
            }
            Spare::Absent => {
                todo.spare = Spare::Wanted;
                drop(todo);
                self.changed.notify_one();
                false
            }
            Spare::Wanted | Spare::Failed => false,
        }
    }

    pub(crate) fn stop(&self) {
        self.todo.lock().stopping = true;
        self.changed.notify_one();
    }

    pub(crate) fn stopping(&self) -> bool {
        self.todo.lock().stopping
    }
}

pub(crate) fn run(shared: &Arc<Shared>) {
    let mut next_sweep = super::now_ms() + sweep_every(shared);
    loop {
        let (ended, purge, truncate) = {
            let mut todo = shared.upkeep.todo.lock();
            loop {
                if todo.stopping {
                    return;
                }
                let now = super::now_ms();
                let mut due = next_sweep;
                if let Some(Reverse(first)) = todo.leases.peek() {
                    due = due.min(first.at_ms);
                }
                let wanted = todo.spare == Spare::Wanted;
                if !todo.purge.is_empty() || todo.truncate || wanted || due <= now {
                    break;
                }
                shared
                    .upkeep
                    .changed
                    .wait_for(&mut todo, Duration::from_millis(due - now));
            }
            let now = super::now_ms();
            let mut ended = Vec::new();
            while todo
                .leases
                .peek()
                .is_some_and(|Reverse(first)| first.at_ms <= now)
            {
                ended.extend(todo.leases.pop().map(|Reverse(deadline)| deadline));
            }
            (
                ended,
                std::mem::take(&mut todo.purge),
                std::mem::take(&mut todo.truncate),
            )
        };
        for deadline in ended {
            end_lease(shared, &deadline);
        }
        prepare_spare(shared);
        for loaded in purge {
            forget(shared, &loaded);
        }
        if super::now_ms() >= next_sweep {
            sweep(shared);
            next_sweep = super::now_ms() + sweep_every(shared);
        }
        if truncate {
            truncate_log(shared);
        }
    }
}

fn prepare_spare(shared: &Shared) {
    if shared.upkeep.todo.lock().spare != Spare::Wanted {
        return;
    }
    let dir = shared.dir.join("log");
    let disk = &*shared.options.disk;
    let spare = match super::log::prepare_spare(disk, &dir, shared.options.segment_bytes) {
        Ok(()) => Spare::Ready,
        Err(error) => {
            tracing::debug!(%error, "no segment could be prepared");
            drop(super::log::remove_spare(disk, &dir));
            Spare::Failed
        }
    };
    shared.upkeep.todo.lock().spare = spare;
}

fn sweep_every(shared: &Shared) -> u64 {
    let history = u64::try_from(shared.options.history.as_millis()).unwrap_or(u64::MAX);
    if history == 0 {
        3_600_000
    } else {
        (history / 5).clamp(100, 60_000)
    }
}

fn end_lease(shared: &Shared, deadline: &Deadline) {
    let Some(loaded) = deadline.loaded.upgrade() else {
        return;
    };
    // Nobody waits: when it cannot be written now, loading the keyspace again tries again.
    let (reply, _) = oneshot::channel();
    let work = Work::Revoke(deadline.lease, Some(super::now_ms()), reply);
    let limits = (usize::MAX, usize::MAX);
    drop(shared.queue.push(
        Request {
            loaded,
            work,
            cost: 128,
        },
        limits,
    ));
}

/// Forgets what was compacted; compacts when history takes too much memory.
fn forget(shared: &Shared, loaded: &Arc<Loaded>) {
    while !shared.upkeep.stopping() && loaded.state.write().purge_slice(SLICE) {}
    let limit = shared.options.history_bytes;
    let rev = {
        let state = loaded.state.read();
        if state.history_bytes <= limit {
            return;
        }
        let mut excess = state.history_bytes - limit / 2;
        let mut rev = 0;
        for commit in &state.history {
            if excess == 0 {
                break;
            }
            excess = excess.saturating_sub(commit.bytes);
            rev = commit.rev;
        }
        rev
    };
    compact(shared, loaded, rev);
}

fn compact(shared: &Shared, loaded: &Arc<Loaded>, rev: u64) {
    let (reply, _) = oneshot::channel();
    let work = Work::Compact(rev, reply);
    let limits = (usize::MAX, usize::MAX);
    drop(shared.queue.push(
        Request {
            loaded: loaded.clone(),
            work,
            cost: 64,
        },
        limits,
    ));
}

/// Compacts everywhere what is older than the history that is kept.
fn sweep(shared: &Shared) {
    let keep = u64::try_from(shared.options.history.as_millis()).unwrap_or(u64::MAX);
    if keep == 0 {
        return;
    }
    let before = super::now_ms().saturating_sub(keep);
    for slot in shared.all_slots() {
        let Some(loaded) = slot.loaded.read().clone() else {
            continue;
        };
        let rev = {
            let state = loaded.state.read();
            let old = state
                .history
                .partition_point(|commit| commit.at_ms < before);
            // The newest of the old ones becomes the compact revision, readable still.
            old.checked_sub(1)
                .and_then(|n| state.history.get(n))
                .map_or(0, |commit| commit.rev)
        };
        if rev > loaded.state.read().compacted {
            compact(shared, &loaded, rev);
        }
    }
}

/// Checkpoints what holds on to the oldest segments, then removes those.
pub(crate) fn truncate_log(shared: &Arc<Shared>) {
    let keep = shared.segments_to_keep();
    let slots = shared.all_slots();
    for slot in &slots {
        if shared.upkeep.stopping() {
            return;
        }
        if slot.dirty_from().is_some_and(|from| from < keep) {
            let _busy = slot.busy.blocking_lock();
            if let Err(error) = checkpoint(shared, slot, None) {
                tracing::warn!(keyspace = slot.id(), %error, "a checkpoint could not be written");
                return;
            }
        }
    }
    let needed = slots
        .iter()
        .filter_map(|slot| slot.dirty_from())
        .min()
        .unwrap_or(u64::MAX);
    if let Err(error) = shared.remove_segments(keep.min(needed)) {
        tracing::warn!(%error, "old log segments could not be removed");
    }
}

/// Writes a keyspace's checkpoint if it has changed. The caller holds `busy`. With a phase:
/// the copy in memory takes no further write, or goes on as before if this fails.
pub(crate) fn checkpoint(
    shared: &Shared,
    slot: &Arc<Slot>,
    then: Option<Phase>,
) -> crate::Result<()> {
    if slot.deleted.load(std::sync::atomic::Ordering::Acquire) {
        return Ok(());
    }
    let loaded = slot.loaded.read().clone();
    let Some(loaded) = loaded else {
        let Some(last) = slot.pending.lock().last().copied() else {
            return Ok(());
        };
        let mut state = slot.read(&shared.dir, &*shared.options.disk, super::now_ms())?;
        let source = super::checkpoint::Source::take(&mut state, last.batch, None);
        shared.save(slot, &source)?;
        slot.pending.lock().clear();
        return Ok(());
    };
    let source = shared.snapshot_blocking(&loaded, then)?;
    if !source.dirty {
        return Ok(());
    }
    let saved = shared.save(slot, &source);
    let mut state = loaded.state.write();
    let kept = state.saving.take();
    if saved.is_err() {
        state.dirty_from = kept.into_iter().chain(state.dirty_from).min();
        if then.is_some() {
            state.phase = Phase::Open;
        }
    }
    saved
}

/// Leases of a keyspace that was just loaded.
pub(crate) fn watch_leases(shared: &Shared, loaded: &Arc<Loaded>) {
    let state = loaded.state.read();
    let ids: BTreeSet<_> = state
        .leases
        .iter()
        .map(|(id, l)| (l.deadline_ms, *id))
        .collect();
    drop(state);
    shared
        .upkeep
        .add_deadlines(ids.into_iter().map(|(at, id)| (at, loaded.clone(), id)));
}

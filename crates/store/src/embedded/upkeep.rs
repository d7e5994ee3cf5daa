//! The engine's second thread: ends leases, also of keyspaces that are asleep, forgets history
//! in slices, prepares the log's next segment. Sleeps until something is due.

use super::Shared;
use super::before::Prepared;
use super::commit::{END_AGAIN_MS, Request, Work};
use super::drive::block_on;
use super::keyspace::{Loaded, Slot};
use super::spare;
use super::toc::Toc;
use crate::LeaseId;
use parking_lot::{Condvar, Mutex};
use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::sync::oneshot;

/// Keys forgotten under one lock.
const SLICE: usize = 512;
/// When, after a start, keyspaces are read that the log speaks of.
const SURVEY_MS: u64 = 1000;
/// When a keyspace is woken again whose key could not be had.
const WAKE_AGAIN_MS: u64 = 30_000;
/// How long a keyspace stays that woke for its leases.
const DOZE_MS: u64 = 1000;

#[derive(Default)]
struct Todo {
    leases: BinaryHeap<Reverse<Deadline>>,
    /// so many of them are worth a look which are of no use any more
    many: usize,
    /// keyspaces with history to forget
    purge: Vec<Arc<Loaded>>,
    /// complete segments whose table is to be written
    tocs: Vec<Toc>,
    spare: Spare,
    /// files that may become segments of the log
    used: Vec<String>,
    /// the disk was full: none is kept until a new one could be made
    tight: bool,
    /// the log went on in another segment since the last sweep
    moved: bool,
    stopping: bool,
}

/// The log's next segment file.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Spare {
    #[default]
    Absent,
    Wanted,
    Ready(Prepared),
    /// the disk has no room for it; asked for again with the next segment
    Failed,
}

/// Deadlines that are kept without asking whether they are of any use.
const MANY: usize = 4096;

impl Todo {
    fn has_many(&self) -> bool {
        self.leases.len() > self.many.max(MANY)
    }
}

struct Deadline {
    at_ms: u64,
    due: Due,
}

impl Deadline {
    /// Whether something would still come of it. A lease that was renewed or has ended before its
    /// time leaves one behind, which may be centuries away; one whose end is tried again has one
    /// that comes soon.
    fn needed(&self, soon: u64) -> bool {
        match &self.due {
            Due::Lease(loaded, id) => loaded.upgrade().is_some_and(|loaded| {
                let state = loaded.state.read();
                let lease = state.leases.get(id);
                lease.is_some_and(|lease| lease.deadline_ms == self.at_ms || self.at_ms <= soon)
            }),
            Due::Wake(slot) | Due::Doze(slot) => slot
                .upgrade()
                .is_some_and(|slot| !slot.deleted.load(Ordering::Acquire)),
        }
    }

    /// Equal for those of which one is enough.
    fn what(&self) -> (u64, usize, LeaseId) {
        let (of, lease) = match &self.due {
            Due::Lease(loaded, id) => (loaded.as_ptr().addr(), *id),
            Due::Wake(slot) => (slot.as_ptr().addr(), -1),
            Due::Doze(slot) => (slot.as_ptr().addr(), -2),
        };
        (self.at_ms, of, lease)
    }
}

/// Drops deadlines that are of no use, when there have come to be twice as many as there were use
/// for: who renews a lease all the time makes one each time.
fn clear_out(shared: &Shared) {
    let all = {
        let mut todo = shared.upkeep.todo.lock();
        if !todo.has_many() {
            return;
        }
        std::mem::take(&mut todo.leases)
    };
    let soon = shared.now_ms() + END_AGAIN_MS;
    let mut seen = BTreeSet::new();
    let kept = all
        .into_iter()
        .filter(|Reverse(deadline)| deadline.needed(soon) && seen.insert(deadline.what()));
    let kept: Vec<_> = kept.collect();
    let mut todo = shared.upkeep.todo.lock();
    todo.many = 2 * kept.len();
    todo.leases.extend(kept);
}

/// What happens at a point in time.
enum Due {
    Lease(Weak<Loaded>, LeaseId),
    /// a lease of a keyspace that is asleep ends
    Wake(Weak<Slot>),
    /// a keyspace that woke for that alone goes to sleep again
    Doze(Weak<Slot>),
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
            let due = Due::Lease(Arc::downgrade(&loaded), lease);
            todo.leases.push(Reverse(Deadline { at_ms, due }));
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
    pub(crate) fn rotated(&self) {
        let mut todo = self.todo.lock();
        todo.moved = true;
        if todo.spare == Spare::Failed {
            todo.spare = Spare::Absent;
        }
    }

    /// Whether a segment that is needed no more should be kept.
    pub(crate) fn wants_used(&self) -> bool {
        let todo = self.todo.lock();
        !todo.tight && todo.used.len() < spare::MOST
    }

    pub(crate) fn add_used(&self, name: String) {
        let mut todo = self.todo.lock();
        todo.used.push(name);
        if todo.tight {
            drop(todo);
            self.changed.notify_one();
        }
    }

    /// The disk is full: what was kept is to be given back.
    pub(crate) fn tighten(&self) {
        if !std::mem::replace(&mut self.todo.lock().tight, true) {
            self.changed.notify_one();
        }
    }

    /// The same for who removes it now.
    pub(crate) fn give_up_used(&self) -> Vec<String> {
        let mut todo = self.todo.lock();
        todo.tight = true;
        std::mem::take(&mut todo.used)
    }

    pub(crate) fn add_toc(&self, toc: Toc) {
        self.todo.lock().tocs.push(toc);
        self.changed.notify_one();
    }

    /// A keyspace that falls asleep has a lease that ends then.
    pub(crate) fn wake_at(&self, at_ms: u64, slot: &Arc<Slot>) {
        self.at(at_ms, Due::Wake(Arc::downgrade(slot)));
    }

    fn at(&self, at_ms: u64, due: Due) {
        let deadline = Deadline { at_ms, due };
        self.todo.lock().leases.push(Reverse(deadline));
        self.changed.notify_one();
    }

    /// Takes the spare segment if there is one, or asks for it.
    pub(crate) fn spare(&self) -> Option<Prepared> {
        let mut todo = self.todo.lock();
        match todo.spare {
            Spare::Ready(prepared) => {
                todo.spare = Spare::Absent;
                Some(prepared)
            }
            Spare::Absent => {
                todo.spare = Spare::Wanted;
                drop(todo);
                self.changed.notify_one();
                None
            }
            Spare::Wanted | Spare::Failed => None,
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

pub(crate) fn run(shared: &Arc<Shared>, mut keeper: Keeper) {
    loop {
        {
            let mut todo = shared.upkeep.todo.lock();
            loop {
                if todo.stopping {
                    return;
                }
                let Some(rest) = keeper.rest_of(&todo, shared.now_ms()) else {
                    break;
                };
                shared.upkeep.changed.wait_for(&mut todo, rest);
            }
        }
        block_on(keeper.turn(shared));
    }
}

/// The state of the thread.
pub(crate) struct Keeper {
    next_sweep: u64,
}

impl Keeper {
    pub(crate) fn new(shared: &Shared) -> Self {
        Self {
            next_sweep: shared.now_ms() + sweep_every(shared),
        }
    }

    /// How long nothing is to be done; `None` if something is.
    pub(crate) fn rest(&self, shared: &Shared) -> Option<Duration> {
        self.rest_of(&shared.upkeep.todo.lock(), shared.now_ms())
    }

    fn rest_of(&self, todo: &Todo, now: u64) -> Option<Duration> {
        let mut due = self.next_sweep;
        if let Some(Reverse(first)) = todo.leases.peek() {
            due = due.min(first.at_ms);
        }
        let wanted = todo.spare == Spare::Wanted || (todo.tight && !todo.used.is_empty());
        let wanted = wanted || todo.has_many();
        if !todo.purge.is_empty() || !todo.tocs.is_empty() || wanted || due <= now {
            return None;
        }
        Some(Duration::from_millis(due - now))
    }

    /// Does all that is due.
    pub(crate) async fn turn(&mut self, shared: &Arc<Shared>) {
        let (ended, purge, tocs) = {
            let mut todo = shared.upkeep.todo.lock();
            let now = shared.now_ms();
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
                std::mem::take(&mut todo.tocs),
            )
        };
        for deadline in ended {
            match deadline.due {
                Due::Lease(loaded, lease) => end_lease(shared, &loaded, lease),
                Due::Wake(slot) => wake(shared, &slot).await,
                Due::Doze(slot) => doze(shared, &slot).await,
            }
        }
        clear_out(shared);
        prepare_spare(shared);
        for toc in tocs {
            write_toc(shared, &toc);
        }
        for loaded in purge {
            forget(shared, &loaded);
        }
        if shared.now_ms() >= self.next_sweep {
            keep_few(shared);
            sweep(shared);
            self.next_sweep = shared.now_ms() + sweep_every(shared);
        }
    }
}

fn prepare_spare(shared: &Shared) {
    let (wanted, tight, used) = {
        let mut todo = shared.upkeep.todo.lock();
        let wanted = todo.spare == Spare::Wanted;
        let used = if wanted { todo.used.pop() } else { None };
        (wanted, todo.tight, used)
    };
    if tight {
        shared.give_back();
    }
    if !wanted {
        return;
    }
    let dir = shared.dir.join("log");
    let disk = &*shared.options.disk;
    let bytes = shared.options.segment_bytes;
    let prepared = spare::prepare(disk, &dir, bytes, used.as_deref());
    let mut todo = shared.upkeep.todo.lock();
    match prepared {
        Ok(prepared) => {
            todo.spare = Spare::Ready(prepared);
            todo.tight &= used.is_some();
        }
        Err(error) => {
            tracing::debug!(%error, "no segment could be prepared");
            todo.spare = Spare::Failed;
            drop(todo);
            drop(spare::remove_spare(disk, &dir));
        }
    }
}

/// Removes most of what is kept to be used again when the log has not needed it for a while.
fn keep_few(shared: &Shared) {
    let many = {
        let mut todo = shared.upkeep.todo.lock();
        let few = match std::mem::take(&mut todo.moved) {
            true => todo.used.len(),
            false => todo.used.len().min(spare::AT_REST),
        };
        todo.used.split_off(few)
    };
    let (disk, dir) = (&*shared.options.disk, shared.dir.join("log"));
    if let Err(error) = spare::remove(disk, &dir, many.into_iter()) {
        tracing::warn!(%error, "files of the log that are not needed could not be removed");
    }
}

fn sweep_every(shared: &Shared) -> u64 {
    let history = u64::try_from(shared.options.history.as_millis()).unwrap_or(u64::MAX);
    if history == 0 {
        3_600_000
    } else {
        (history / 5).clamp(100, 60_000)
    }
}

fn write_toc(shared: &Shared, toc: &Toc) {
    // A segment that is gone needs none.
    if toc.segment < shared.oldest.load(Ordering::Acquire) {
        return;
    }
    let dir = shared.dir.join("log");
    if let Err(error) = super::toc::write(&*shared.options.disk, &dir, toc) {
        tracing::debug!(%error, "the table of a log segment could not be written");
    }
}

impl Shared {
    /// A keyspace was woken for something that is soon done.
    pub(super) fn doze_soon(&self, slot: &Arc<Slot>) {
        let at_ms = self.now_ms() + DOZE_MS;
        self.upkeep.at(at_ms, Due::Doze(Arc::downgrade(slot)));
    }
}

/// Leases of keyspaces that are asleep when the engine starts.
pub(crate) fn expect_deadlines(shared: &Arc<Shared>) {
    for slot in shared.all_slots() {
        // What the log says of a keyspace is known when it is read: that is soon enough.
        let unread = !slot.pending.lock().is_empty();
        let deadline = slot.saved.lock().deadline_ms;
        if unread {
            shared.upkeep.wake_at(shared.now_ms() + SURVEY_MS, &slot);
        } else if deadline != 0 {
            shared.upkeep.wake_at(deadline, &slot);
        }
    }
}

/// Ends the leases of a keyspace that is asleep. Loading it does that.
async fn wake(shared: &Shared, slot: &Weak<Slot>) {
    let Some(slot) = slot.upgrade() else {
        return;
    };
    if slot.loaded.read().is_some() || slot.deleted.load(Ordering::Acquire) {
        return;
    }
    match shared.load_here(&slot).await {
        Ok(_) => shared.doze_soon(&slot),
        Err(error) => {
            tracing::warn!(keyspace = &*slot.id, %error, "its leases could not be looked at");
            if matches!(error, crate::Error::Unavailable(_)) {
                let later = shared.now_ms() + WAKE_AGAIN_MS;
                shared.upkeep.wake_at(later, &slot);
            }
        }
    }
}

/// Puts a keyspace to sleep again that woke for its leases and that nobody has used since.
async fn doze(shared: &Shared, slot: &Weak<Slot>) {
    let Some(slot) = slot.upgrade() else {
        return;
    };
    let unused = slot.loaded.read().as_ref().is_some_and(|loaded| {
        !loaded.used.load(Ordering::Acquire) && loaded.state.read().watchers.is_empty()
    });
    if unused && let Err(error) = shared.sleep(&slot).await {
        tracing::warn!(keyspace = &*slot.id, %error, "it could not be put to sleep again");
    }
}

fn end_lease(shared: &Shared, loaded: &Weak<Loaded>, lease: LeaseId) {
    let Some(loaded) = loaded.upgrade() else {
        return;
    };
    // Nobody waits: when it cannot be written now, loading the keyspace again tries again.
    let (reply, _) = oneshot::channel();
    let work = Work::Revoke(lease, Some(shared.now_ms()), reply);
    let limits = (usize::MAX, usize::MAX);
    let cost = loaded.state.read().revoke_cost(lease);
    drop(shared.queue.push(Request { loaded, work, cost }, limits));
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
            excess = excess.saturating_sub(commit.superseded);
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
    let before = shared.now_ms().saturating_sub(keep);
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
            let loaded_before = if state.loaded_ms < before {
                state.floor
            } else {
                0
            };
            old.checked_sub(1)
                .and_then(|n| state.history.get(n))
                .map_or(loaded_before, |commit| commit.rev)
        };
        if rev > loaded.state.read().compacted {
            compact(shared, &loaded, rev);
        }
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Keyspaces;
    use crate::embedded::{Embedded, Options};
    use futures::future::join_all;

    fn deadlines(engine: &Embedded) -> usize {
        engine.shared.upkeep.todo.lock().leases.len()
    }

    #[tokio::test]
    async fn of_deadlines_that_are_of_no_use_any_more_few_are_kept() {
        let dir = tempfile::tempdir().expect("dir");
        let engine = Embedded::open(dir.path(), Options::default()).await;
        let engine = engine.expect("open");
        let store = engine.open("one").await.expect("keyspace");
        store.lease_grant_as(1, 3).await.expect("a short one");
        let long = crate::limits::MAX_TTL;
        for round in 0..10 {
            let ids = 1000 * round + 2..1000 * round + 1002;
            let all = ids.clone().map(|id| store.lease_grant_as(id, long));
            assert!(join_all(all).await.iter().all(Result::is_ok));
            let all = ids.clone().map(|id| store.lease_renew(id));
            assert!(join_all(all).await.iter().all(Result::is_ok));
            // A few of them stay.
            let all = ids.skip(10).map(|id| store.lease_revoke(id));
            assert!(join_all(all).await.iter().all(Result::is_ok));
        }
        let end = std::time::Instant::now() + Duration::from_secs(60);
        while deadlines(&engine) > MANY || store.lease(1).await.is_ok() {
            assert!(std::time::Instant::now() < end, "{}", deadlines(&engine));
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert!(deadlines(&engine) >= 100, "those that stay have theirs");
        assert_eq!(store.leases().await.expect("leases").len(), 100);
        engine.close();
    }
}

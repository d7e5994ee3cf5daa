//! The thread that writes checkpoints, at low priority and in slices, so that a keyspace opens
//! quickly and old segments of the log can be removed.

use super::Shared;
use super::checkpoint::Source;
use super::drive::block_on;
use super::keyspace::Slot;
use super::state::Phase;
use crate::{Error, Result};
use parking_lot::{Condvar, Mutex};
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// How much nicer than the engine's other threads.
const NICE: i32 = 10;
/// A log so many times longer than it should be is worth disturbing others.
const MUCH_TOO_LONG: u64 = 8;

#[derive(Default)]
struct Todo {
    slots: VecDeque<Arc<Slot>>,
    truncate: bool,
    stopping: bool,
}

impl Todo {
    fn take(&mut self) -> Option<Job> {
        let slot = self.slots.pop_front();
        let truncate = std::mem::take(&mut self.truncate);
        (slot.is_some() || truncate).then_some((slot, truncate))
    }
}

/// What the thread is told.
#[derive(Default)]
pub(crate) struct Checkpoints {
    todo: Mutex<Todo>,
    changed: Condvar,
}

impl Checkpoints {
    /// This keyspace's part of the log has become long.
    pub(crate) fn want(&self, slot: &Arc<Slot>) {
        if !slot.queued.swap(true, Ordering::AcqRel) {
            self.todo.lock().slots.push_back(slot.clone());
            self.changed.notify_one();
        }
    }

    /// The log goes on in another segment.
    pub(crate) fn truncate(&self) {
        self.todo.lock().truncate = true;
        self.changed.notify_one();
    }

    pub(crate) fn stop(&self) {
        self.todo.lock().stopping = true;
        self.changed.notify_one();
    }

    pub(crate) fn waits(&self) -> bool {
        let todo = self.todo.lock();
        !todo.stopping && (todo.truncate || !todo.slots.is_empty())
    }

    pub(crate) fn take_now(&self) -> Option<Job> {
        self.todo.lock().take()
    }

    fn stopping(&self) -> bool {
        self.todo.lock().stopping
    }

    /// Whether a checkpoint under way should be done as fast as it can be.
    pub(crate) fn hurried(&self, slot: &Slot, shared: &Shared) -> bool {
        let long = || {
            let loaded = slot.loaded.read().clone();
            loaded.is_some_and(|loaded| {
                let state = loaded.state.read();
                let most = state.longest_tail(shared.options.tail_bytes);
                state.tail_bytes > MUCH_TOO_LONG * most
            })
        };
        let log = shared.log_segments() * shared.options.segment_bytes;
        slot.wanted.load(Ordering::Acquire) > 0
            || self.stopping()
            || log > 2 * shared.options.checkpoint_after
            || long()
    }
}

pub(crate) fn run(shared: &Arc<Shared>) {
    // Where it is not allowed, the pauses between slices have to do.
    let _ = rustix::process::setpriority_process(None, NICE);
    while let Some(job) = next(&shared.checkpoints) {
        block_on(turn(shared, job));
    }
}

/// A keyspace whose checkpoint is wanted, and whether the log is to be shortened.
pub(crate) type Job = (Option<Arc<Slot>>, bool);

/// Does one job.
pub(crate) async fn turn(shared: &Shared, (slot, truncate): Job) {
    if let Some(slot) = slot {
        slot.queued.store(false, Ordering::Release);
        if !save(shared, &slot).await {
            return;
        }
        trim(shared);
    }
    if truncate {
        truncate_log(shared).await;
    }
}

fn next(checkpoints: &Checkpoints) -> Option<Job> {
    let mut todo = checkpoints.todo.lock();
    loop {
        if todo.stopping {
            return None;
        }
        let job = todo.take();
        if job.is_some() {
            return job;
        }
        checkpoints.changed.wait(&mut todo);
    }
}

/// Checkpoints one keyspace; false when that failed.
async fn save(shared: &Shared, slot: &Arc<Slot>) -> bool {
    let _busy = slot.busy.lock().await;
    let mut saved = checkpoint(shared, slot, None).await;
    if matches!(saved, Err(Error::NoSpace(_))) && shared.give_back() {
        saved = checkpoint(shared, slot, None).await;
    }
    match saved {
        Ok(()) => true,
        Err(error) => {
            tracing::warn!(keyspace = &*slot.id, %error, "a checkpoint could not be written");
            false
        }
    }
}

/// Checkpoints what holds on to the oldest segments, then removes those.
async fn truncate_log(shared: &Shared) {
    let keep = shared.segments_to_keep();
    for slot in shared.all_slots() {
        if shared.checkpoints.stopping() {
            return;
        }
        if slot.dirty_from().is_some_and(|from| from < keep) && !save(shared, &slot).await {
            return;
        }
    }
    trim(shared);
}

/// Removes segments that hold nothing which a checkpoint does not hold.
fn trim(shared: &Shared) {
    let active = shared.active.load(Ordering::Acquire);
    if shared.oldest.load(Ordering::Acquire) == active {
        return;
    }
    let slots = shared.all_slots();
    let needed = slots.iter().filter_map(|slot| slot.dirty_from()).min();
    if let Err(error) = shared.remove_segments(needed.unwrap_or(active)) {
        tracing::warn!(%error, "old log segments could not be removed");
    }
}

/// Writes a keyspace's checkpoint if it has changed. The caller holds `busy`. With a phase:
/// the copy in memory takes no further write, or goes on as before if this fails.
pub(crate) async fn checkpoint(
    shared: &Shared,
    slot: &Arc<Slot>,
    then: Option<Phase>,
) -> Result<()> {
    if slot.deleted.load(Ordering::Acquire) {
        return Ok(());
    }
    let loaded = slot.loaded.read().clone();
    let Some(loaded) = loaded else {
        let Some(last) = slot.pending.lock().last().copied() else {
            return Ok(());
        };
        let ciphers = shared.ciphers(slot)?;
        let disk = &*shared.options.disk;
        let (mut state, values) = slot.read(&shared.dir, disk, &ciphers, shared.now_ms())?;
        let source = Source::take(&mut state, last.batch, None);
        shared.save((slot, &ciphers, &values), &source, false)?;
        slot.nothing_pending();
        return Ok(());
    };
    let source = shared.snapshot(&loaded, then).await?;
    if !source.dirty {
        return Ok(());
    }
    let of = (&**slot, &loaded.ciphers, &loaded.values);
    let saved = shared.save(of, &source, then.is_some());
    let mut state = loaded.state.write();
    if saved.is_err() {
        source.give_back(&mut state);
        // It is tried again when as much has been written, not at once.
        state.tail_bytes -= source.tail_bytes;
    } else {
        state.saving = None;
    }
    saved
}

//! The queue of writes, fair between keyspaces, and the one thread that commits them: it works
//! transactions out in order, writes all of a round with one durable write, publishes, answers.

use super::Shared;
use super::checkpoint::Source;
use super::drive::Drive;
use super::keyspace::Loaded;
use super::log::{Batch, Log, Place};
use super::plan::{Obstacle, Told};
use super::record::{Record, log_nonce};
use super::state::{Phase, State};
use super::toc::Toc;
use super::values::Held;
use crate::{Error, LeaseId, Txn};
use parking_lot::{Condvar, Mutex};
use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

/// Writes taken per round.
const ROUND_REQUESTS: usize = 2048;
const ROUND_BYTES: usize = 4 << 20;
/// Bytes a keyspace may add to a round before it is another one's turn.
const QUANTUM: usize = 16 << 10;
/// Beside others, a request that costs more than this has a round to itself.
const HEAVY: usize = 1 << 20;
/// How long a keyspace that wrote counts as a neighbour of the others.
const NEIGHBOUR: Duration = Duration::from_millis(100);
/// From a turn to the next of a keyspace that wants more than that, beside one that does not.
const REST: Duration = Duration::from_millis(3);
/// How much less nice the commit thread is: everybody waits for it, and it waits for the disk.
const NICE: i32 = -10;
/// When the end of a lease is tried again that was refused.
pub(crate) const END_AGAIN_MS: u64 = 5000;
/// Most leases of a keyspace.
const MAX_LEASES: usize = 100_000;

/// Why a write was not done.
#[derive(Debug)]
pub(crate) enum Refused {
    Error(Error),
    /// this copy of the keyspace was put to sleep: load it again
    Retry,
    /// fetch these values into memory and ask again
    Fetch(Vec<Held>),
}

impl From<Error> for Refused {
    fn from(error: Error) -> Self {
        Self::Error(error)
    }
}

pub(crate) type Reply<T> = oneshot::Sender<Result<T, Refused>>;

pub(crate) enum Work {
    Txn(Arc<Txn>, Reply<Told>),
    Compact(u64, Reply<()>),
    /// a lease for so many seconds, with an id of the caller's or any
    Grant(Option<LeaseId>, u64, Reply<LeaseId>),
    Renew(LeaseId, Reply<i64>),
    /// with a time: only if the lease has ended by then
    Revoke(LeaseId, Option<u64>, Reply<()>),
    /// a consistent copy, durable up to a batch; optionally the last thing this copy does
    Snapshot(Option<Phase>, Reply<Source>),
}

pub(crate) struct Request {
    pub(crate) loaded: Arc<Loaded>,
    pub(crate) work: Work,
    /// its bytes, and what the commit thread has to do beside writing them
    pub(crate) cost: usize,
}

struct Lane<R> {
    /// with what each costs
    requests: VecDeque<(usize, R)>,
    bytes: usize,
    /// it had a turn and wants more: not before this
    rests: Option<Instant>,
    /// it waits for a round to itself
    alone: bool,
}

impl<R> Default for Lane<R> {
    fn default() -> Self {
        Self {
            requests: VecDeque::new(),
            bytes: 0,
            rests: None,
            alone: false,
        }
    }
}

impl<R> Lane<R> {
    /// Puts what a turn allows into the round; what that costs.
    fn turn(&mut self, round: &mut Vec<R>) -> usize {
        let mut taken = 0;
        while taken < QUANTUM && round.len() < ROUND_REQUESTS {
            let Some((cost, request)) = self.requests.pop_front() else {
                break;
            };
            taken += cost;
            self.bytes -= cost;
            round.push(request);
        }
        taken
    }
}

/// Who waits, and whose turn it is.
struct Lanes<R> {
    by_keyspace: BTreeMap<u64, Lane<R>>,
    turn: VecDeque<u64>,
    /// what keyspaces had beyond their turns: the others go first until that is made up for
    owed: BTreeMap<u64, usize>,
    /// who asked last, and until when somebody else may ask again soon
    last: u64,
    crowded: Option<Instant>,
    /// until when somebody who wanted no more than a turn may be back soon
    modest: Option<Instant>,
    /// the commit thread waits for a rest to end, or for others
    resting: bool,
    stopping: bool,
}

impl<R> Default for Lanes<R> {
    fn default() -> Self {
        Self {
            by_keyspace: BTreeMap::new(),
            turn: VecDeque::new(),
            owed: BTreeMap::new(),
            last: 0,
            crowded: None,
            modest: None,
            resting: false,
            stopping: false,
        }
    }
}

impl<R> Lanes<R> {
    /// Whether others are writing too.
    fn crowded(&self, now: Instant) -> bool {
        self.crowded.is_some_and(|until| now < until)
    }

    /// Until when a keyspace rests, if it does.
    fn rests(&self, number: u64, now: Instant) -> Option<Instant> {
        let until = self.by_keyspace.get(&number)?.rests?;
        (now < until && self.crowded(now) && !self.stopping).then_some(until)
    }

    /// Until when all of those that wait rest: `None` if one does not.
    fn rest(&self, now: Instant) -> Option<Instant> {
        let rests = self.turn.iter().map(|number| self.rests(*number, now));
        rests.min().flatten()
    }

    /// Whether a round may begin.
    fn ready(&self, now: Instant) -> bool {
        !self.turn.is_empty() && self.rest(now).is_none()
    }

    /// Lets a request wait; whether it is the first of its keyspace.
    fn add(
        &mut self,
        number: u64,
        cost: usize,
        request: R,
        limits: (usize, usize),
    ) -> crate::Result<bool> {
        let lane = self.by_keyspace.entry(number).or_default();
        if lane.requests.len() >= limits.0 || lane.bytes > limits.1 {
            return Err(Error::Throttled("too many writes are waiting".into()));
        }
        lane.bytes += cost;
        lane.requests.push_back((cost, request));
        let first = lane.requests.len() == 1;
        if first {
            self.turn.push_back(number);
        }
        Ok(first)
    }

    /// Fills a round, in turns. Beside others a keyspace has one turn in it, and rests if that was
    /// not enough; who had more than a turn is behind the others in the following rounds until they
    /// have had as much, and what is heavy has a round to itself, behind the one that the others have first.
    fn fill(&mut self, now: Instant, round: &mut Vec<R>) -> usize {
        let crowded = self.crowded(now);
        let mut turns = if crowded {
            self.turn.len()
        } else {
            self.owed.clear();
            usize::MAX
        };
        let solvent = |n: &u64| !self.owed.contains_key(n) && self.rests(*n, now).is_none();
        let solvent = self.turn.iter().any(solvent);
        let (mut bytes, mut light, mut next) = (0, 0, None);
        while round.len() < ROUND_REQUESTS && bytes < ROUND_BYTES && turns > 0 {
            let Some(number) = self.turn.pop_front() else {
                break;
            };
            turns -= 1;
            let behind = solvent && self.owed.contains_key(&number);
            if behind || self.rests(number, now).is_some() {
                self.turn.push_back(number);
                continue;
            }
            let from = round.len();
            let lane = self.by_keyspace.get_mut(&number);
            let lane = lane.expect("a lane with a turn exists");
            let cost = lane.requests.front().map_or(0, |(cost, _)| *cost);
            let heavy = crowded && cost > HEAVY;
            if heavy && (from > 0 || !lane.alone && !self.turn.is_empty()) {
                lane.alone = true;
                match next {
                    None => next = Some(number),
                    Some(_) => self.turn.push_back(number),
                }
                continue;
            }
            lane.alone = false;
            let taken = lane.turn(round);
            bytes += taken;
            if crowded && taken > QUANTUM {
                *self.owed.entry(number).or_default() += taken - QUANTUM;
            }
            if lane.requests.is_empty() {
                self.by_keyspace.remove(&number);
                if crowded && !heavy {
                    let taken = round.len() - from;
                    round[light..].rotate_right(taken);
                    light += taken;
                }
            } else {
                let modest = self.modest.is_some_and(|until| now < until);
                lane.rests = modest.then(|| now + REST);
                self.turn.push_back(number);
            }
            if heavy {
                break;
            }
        }
        if let Some(number) = next {
            self.turn.push_front(number);
        }
        self.owed.retain(|_, owed| {
            *owed = owed.saturating_sub(QUANTUM);
            *owed > 0
        });
        if light > 0 {
            self.modest = Some(now + NEIGHBOUR);
        }
        bytes
    }
}

/// Writes that wait.
pub(crate) struct Queue {
    lanes: Mutex<Lanes<Request>>,
    ready: Condvar,
    drive: Drive,
}

impl Queue {
    pub(crate) fn new(drive: Drive) -> Self {
        Self {
            lanes: Mutex::default(),
            ready: Condvar::new(),
            drive,
        }
    }

    pub(crate) fn push(&self, request: Request, limits: (usize, usize)) -> crate::Result<()> {
        let number = request.loaded.slot.number;
        let mut lanes = self.lanes.lock();
        if lanes.stopping {
            return Err(Error::Unavailable("the datastore is shutting down".into()));
        }
        let first = lanes.add(number, request.cost, request, limits)?;
        if std::mem::replace(&mut lanes.last, number) != number {
            lanes.crowded = Some(self.drive.instant() + NEIGHBOUR);
        }
        if first && (lanes.turn.len() == 1 || lanes.resting) {
            drop(lanes);
            self.ready.notify_one();
        }
        Ok(())
    }

    /// Whether more than one keyspace has been writing.
    pub(crate) fn crowded(&self) -> bool {
        self.lanes.lock().crowded(self.drive.instant())
    }

    pub(crate) fn stop(&self) {
        self.lanes.lock().stopping = true;
        self.ready.notify_one();
    }

    /// Waits for work and takes a round of it, in turns; `None` at the end. Beside others a
    /// keyspace has one turn in a round: who asks during a round waits for little of what the
    /// others ask. Those that want no more than their turn are answered first.
    fn take(&self, round: &mut Vec<Request>) -> Option<usize> {
        let mut lanes = self.lanes.lock();
        loop {
            if lanes.turn.is_empty() {
                if lanes.stopping {
                    return None;
                }
                self.ready.wait(&mut lanes);
                continue;
            }
            let Some(until) = lanes.rest(Instant::now()) else {
                break;
            };
            lanes.resting = true;
            self.ready.wait_until(&mut lanes, until);
            lanes.resting = false;
        }
        Some(lanes.fill(Instant::now(), round))
    }

    /// Whether a round may begin.
    pub(crate) fn waits(&self) -> bool {
        self.lanes.lock().ready(self.drive.instant())
    }

    /// Takes a round of what may have one; `None` if nothing does.
    pub(crate) fn take_now(&self, round: &mut Vec<Request>) -> Option<usize> {
        let now = self.drive.instant();
        let mut lanes = self.lanes.lock();
        lanes.ready(now).then(|| lanes.fill(now, round))
    }
}

/// An answer that waits for durability.
enum Answer {
    Txn(Reply<Told>, Told),
    Done(Reply<()>),
    /// a lease's id or time to live
    Lease(Reply<i64>, i64),
}

/// The state of the commit thread.
pub(crate) struct Committer {
    shared: Arc<Shared>,
    log: Log,
    batch: Batch,
    /// keyspace, counter, offset and length of the records in the batch
    records: Vec<(u64, u64, usize, usize)>,
    /// the disk is full: only what shrinks is let through
    full: bool,
    touched: Vec<Arc<Loaded>>,
    answers: Vec<Answer>,
    snapshots: Vec<(Arc<Loaded>, Option<Phase>, Reply<Source>)>,
    deadlines: Vec<(u64, Arc<Loaded>, LeaseId)>,
    toc: Toc,
}

impl Committer {
    pub(crate) fn new(shared: Arc<Shared>, log: Log) -> Self {
        let toc = Toc::new(log.segment, log.batch + 1);
        Self {
            shared,
            log,
            batch: Batch::default(),
            records: Vec::new(),
            full: false,
            touched: Vec::new(),
            answers: Vec::new(),
            snapshots: Vec::new(),
            deadlines: Vec::new(),
            toc,
        }
    }

    /// Runs until the queue is stopped and empty.
    pub(crate) fn run(mut self) {
        // Where it is not allowed, it goes on as everybody else.
        let _ = rustix::process::setpriority_process(None, NICE);
        let mut round = Vec::new();
        while let Some(bytes) = self.shared.clone().queue.take(&mut round) {
            self.turn(bytes, &mut round);
        }
    }

    /// Commits one round.
    pub(crate) fn turn(&mut self, bytes: usize, round: &mut Vec<Request>) {
        self.batch.clear();
        self.records.clear();
        // What a request costs beside its bytes needs no room, or gets it when that is known.
        self.make_room(bytes.min(ROUND_BYTES) + round.len() * 256);
        let now_ms = self.shared.now_ms();
        for request in round.drain(..) {
            self.handle(request, now_ms);
        }
        self.finish();
    }

    fn make_room(&mut self, size: usize) {
        if self.shared.failed().is_some() {
            return;
        }
        let before = self.log.segment;
        let end = self.log.pos();
        if self.log.wants_spare()
            && let Some(spare) = self.shared.upkeep.spare()
        {
            self.log.has_spare(spare);
        }
        self.full = match self.log.make_room(size) {
            Ok(()) => false,
            Err(error) => {
                if is_full(&error) {
                    self.shared.upkeep.tighten();
                } else {
                    self.shared.fail("the log", &error);
                }
                true
            }
        };
        if self.log.segment != before {
            let next = Toc::new(self.log.segment, self.log.batch + 1);
            let mut full = std::mem::replace(&mut self.toc, next);
            full.end = end;
            self.shared.upkeep.add_toc(full);
            self.shared.rotated(self.log.segment);
        }
    }

    fn handle(&mut self, request: Request, now_ms: u64) {
        let loaded = request.loaded;
        let refused = match loaded.state.read().phase {
            Phase::Open => self.shared.failed().map(Refused::Error),
            Phase::Retired => Some(Refused::Retry),
            Phase::Deleted => Some(Refused::Error(Error::Deleted)),
        };
        match request.work {
            Work::Txn(txn, reply) => {
                match refused.map_or_else(|| self.txn(&loaded, &txn, now_ms), Err) {
                    Ok(done) => self.answers.push(Answer::Txn(reply, done)),
                    Err(refused) => drop(reply.send(Err(refused))),
                }
            }
            Work::Compact(rev, reply) => {
                let record = refused.map_or_else(|| plan_compact(&loaded.state.read(), rev), Err);
                self.simple(&loaded, record, reply, now_ms);
            }
            Work::Revoke(id, expired_at, reply) => {
                let record =
                    refused.map_or_else(|| plan_revoke(&loaded.state.read(), id, expired_at), Err);
                let done = self.simple(&loaded, record, reply, now_ms);
                // The disk is full, or it falls asleep or is deleted and that may fail yet.
                if !done && expired_at.is_some() {
                    self.deadlines.push((now_ms + END_AGAIN_MS, loaded, id));
                }
            }
            Work::Grant(id, ttl, reply) => {
                let done = refused.map_or_else(|| self.grant(&loaded, id, ttl, now_ms), Err);
                self.lease(done, reply);
            }
            Work::Renew(id, reply) => {
                let done = refused.map_or_else(|| self.renew(&loaded, id, now_ms), Err);
                self.lease(done, reply);
            }
            Work::Snapshot(then, reply) => match refused {
                None => self.snapshots.push((loaded, then, reply)),
                // What is in memory of a failed engine is still good to be forgotten.
                Some(Refused::Error(Error::Unavailable(_))) if then == Some(Phase::Deleted) => {
                    self.snapshots.push((loaded, then, reply));
                }
                Some(refused) => drop(reply.send(Err(refused))),
            },
        }
    }

    fn txn(&mut self, loaded: &Arc<Loaded>, txn: &Txn, now_ms: u64) -> Result<Told, Refused> {
        let mut state = loaded.state.write();
        let planned = state.plan(txn).map_err(|obstacle| match obstacle {
            Obstacle::Error(error) => Refused::Error(error),
            Obstacle::Fetch(held) => Refused::Fetch(held),
        })?;
        if planned.changes.is_empty() {
            return Ok(planned.reply);
        }
        if planned.changes.iter().any(|change| change.put.is_some()) {
            self.check_quota(loaded, &state, &planned.changes)
                .map_err(Refused::Error)?;
        }
        let record = Record::Changes {
            rev: planned.reply.rev,
            changes: planned.changes,
        };
        self.write(loaded, &mut state, record, now_ms)?;
        Ok(planned.reply)
    }

    fn check_quota(
        &self,
        loaded: &Loaded,
        state: &State,
        changes: &[super::record::Change],
    ) -> crate::Result<()> {
        if self.full {
            return Err(Error::NoSpace("the disk is full".into()));
        }
        let limits = loaded.slot.limits(self.shared.options.limits);
        let (bytes, keys) = state.growth(changes);
        if state.bytes + bytes > limits.bytes {
            let (used, quota) = (state.bytes, limits.bytes);
            return Err(Error::NoSpace(format!(
                "{used} of {quota} bytes are stored"
            )));
        }
        if state.live_keys() + keys > limits.keys {
            let (used, quota) = (state.live_keys(), limits.keys);
            return Err(Error::NoSpace(format!("{used} of {quota} keys are stored")));
        }
        Ok(())
    }

    fn lease(&mut self, done: Result<i64, Refused>, reply: Reply<i64>) {
        match done {
            Ok(number) => self.answers.push(Answer::Lease(reply, number)),
            Err(refused) => drop(reply.send(Err(refused))),
        }
    }

    fn renew(&mut self, loaded: &Arc<Loaded>, id: LeaseId, now_ms: u64) -> Result<i64, Refused> {
        let mut state = loaded.state.write();
        let lease = state.leases.get(&id);
        // One whose time is over is on its way out: renewing it would bring keys back to life.
        let lease = lease.filter(|lease| lease.deadline_ms > now_ms);
        let ttl = lease.ok_or(Refused::Error(Error::LeaseNotFound(id)))?.ttl;
        let deadline_ms = now_ms.saturating_add(ttl.saturating_mul(1000));
        let record = Record::Renew { id, deadline_ms };
        self.write(loaded, &mut state, record, now_ms)?;
        self.deadlines.push((deadline_ms, loaded.clone(), id));
        Ok(i64::try_from(ttl).unwrap_or(i64::MAX))
    }

    fn grant(
        &mut self,
        loaded: &Arc<Loaded>,
        id: Option<LeaseId>,
        ttl: u64,
        now_ms: u64,
    ) -> Result<LeaseId, Refused> {
        if self.full {
            return Err(Refused::Error(Error::NoSpace("the disk is full".into())));
        }
        let mut state = loaded.state.write();
        if state.leases.len() >= MAX_LEASES {
            let text = format!("a keyspace may have {MAX_LEASES} leases");
            return Err(Refused::Error(Error::NoSpace(text)));
        }
        let id = match id {
            Some(id) if state.leases.contains_key(&id) => {
                return Err(Refused::Error(Error::LeaseExists(id)));
            }
            Some(id) => id,
            None => loop {
                let number = self.shared.options.drive.number();
                let id = number.map_err(Refused::Error)?.cast_signed() & i64::MAX;
                if id != 0 && !state.leases.contains_key(&id) {
                    break id;
                }
            },
        };
        let deadline_ms = now_ms.saturating_add(ttl.saturating_mul(1000));
        self.write(
            loaded,
            &mut state,
            Record::Grant {
                id,
                ttl,
                deadline_ms,
            },
            now_ms,
        )?;
        self.deadlines.push((deadline_ms, loaded.clone(), id));
        Ok(id)
    }

    /// Whether it is done, unless the round fails.
    fn simple(
        &mut self,
        loaded: &Arc<Loaded>,
        record: Result<Option<Record>, Refused>,
        reply: Reply<()>,
        now_ms: u64,
    ) -> bool {
        let done = record.and_then(|record| match record {
            Some(record) => self.write(loaded, &mut loaded.state.write(), record, now_ms),
            None => Ok(()),
        });
        match done {
            Ok(()) => {
                self.answers.push(Answer::Done(reply));
                true
            }
            Err(refused) => {
                drop(reply.send(Err(refused)));
                false
            }
        }
    }

    /// Puts a record into the round and into memory, where nobody sees it yet.
    fn write(
        &mut self,
        loaded: &Arc<Loaded>,
        state: &mut State,
        record: Record,
        now_ms: u64,
    ) -> Result<(), Refused> {
        let number = loaded.slot.number;
        let counter = self.log.next_counter();
        let body = self.batch.begin(number, counter);
        let out = self.batch.body();
        record.encode(out);
        let nonce = log_nonce(self.log.segment, counter);
        loaded
            .ciphers
            .log
            .seal(nonce, &number.to_le_bytes(), out, body);
        self.batch.end(body);
        if self.batch.size() > self.log.room()
            && let Err(error) = self.log.reserve(self.batch.size())
        {
            self.batch.undo(body);
            if !is_full(&error) {
                self.shared.fail("the log", &error);
            }
            return Err(Refused::Error(super::log::unavailable(&error)));
        }
        state
            .apply(record, now_ms)
            .expect("a record is planned on the state it is applied to");
        state.dirty_from.get_or_insert(self.log.segment);
        let len = self.batch.end_of_records() - body;
        state.tail_bytes += len as u64;
        self.records.push((number, counter, body, len));
        if !std::mem::replace(&mut state.in_round, true) {
            self.touched.push(loaded.clone());
        }
        Ok(())
    }

    /// Notes where the records of a durable batch are.
    fn list(&mut self, at: u64) {
        let at = usize::try_from(at).expect("segments are small");
        for (number, counter, offset, len) in self.records.drain(..) {
            let place = Place {
                segment: self.log.segment,
                batch: self.log.batch,
                counter,
                offset: at + offset,
                len,
            };
            self.toc.records.push((number, place));
        }
    }

    fn publish(&mut self) {
        let options = &self.shared.options;
        for loaded in self.touched.drain(..) {
            let mut state = loaded.state.write();
            state.publish();
            let forget = state.wants_purge() || state.history_bytes > options.history_bytes;
            let long = state.tail_bytes > state.longest_tail(options.tail_bytes);
            drop(state);
            if long {
                self.shared.checkpoints.want(&loaded.slot);
            }
            if forget {
                self.shared.upkeep.look_at(loaded);
            }
        }
    }

    /// Makes the round durable, shows it, answers.
    fn finish(&mut self) {
        let mut failed = self.shared.failed();
        let at = self.log.pos();
        if failed.is_none()
            && !self.batch.is_empty()
            && let Err(error) = self.log.append(&mut self.batch)
        {
            // Nobody knows what a failed fsync left on the disk: no further write is taken.
            self.shared.fail("the log", &error);
            failed = self.shared.failed();
        }
        if failed.is_none() {
            self.list(at);
            self.publish();
            self.shared.upkeep.add_deadlines(self.deadlines.drain(..));
        }
        self.touched.clear();
        self.deadlines.clear();
        for answer in self.answers.drain(..) {
            answer.send(failed.as_ref());
        }
        for (loaded, then, reply) in self.snapshots.drain(..) {
            let source = match &failed {
                Some(error) if then != Some(Phase::Deleted) => Err(Refused::Error(error.clone())),
                _ => Ok(Source::take(
                    &mut loaded.state.write(),
                    self.log.batch,
                    then,
                )),
            };
            drop(reply.send(source));
        }
    }
}

fn plan_compact(state: &State, rev: u64) -> Result<Option<Record>, Refused> {
    if rev <= state.compacted {
        return Err(Refused::Error(Error::Compacted(state.compacted)));
    }
    if rev > state.visible {
        return Err(Refused::Error(Error::Future(state.visible)));
    }
    Ok(Some(Record::Compact { rev }))
}

fn plan_revoke(
    state: &State,
    id: LeaseId,
    expired_at: Option<u64>,
) -> Result<Option<Record>, Refused> {
    if let Some(now) = expired_at
        && state
            .leases
            .get(&id)
            .is_none_or(|lease| lease.deadline_ms > now)
    {
        return Ok(None);
    }
    state.plan_revoke(id).map(Some).map_err(Refused::Error)
}

pub(crate) fn is_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
    )
}

impl Answer {
    fn send(self, failed: Option<&Error>) {
        // A caller that went away does not need its answer.
        match self {
            Self::Txn(reply, done) => drop(reply.send(result(done, failed))),
            Self::Done(reply) => drop(reply.send(result((), failed))),
            Self::Lease(reply, id) => drop(reply.send(result(id, failed))),
        }
    }
}

fn result<T>(value: T, failed: Option<&Error>) -> Result<T, Refused> {
    failed.map_or(Ok(value), |error| Err(Refused::Error(error.clone())))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NO_LIMITS: (usize, usize) = (usize::MAX, usize::MAX);

    fn lanes(requests: &[(u64, usize, &'static str)]) -> Lanes<&'static str> {
        let mut lanes = Lanes::default();
        for (number, cost, name) in requests {
            lanes.add(*number, *cost, *name, NO_LIMITS).expect("room");
        }
        lanes
    }

    /// A round after everybody's rest.
    fn fill(lanes: &mut Lanes<&'static str>, crowded: bool) -> Vec<&'static str> {
        lanes
            .by_keyspace
            .values_mut()
            .for_each(|lane| lane.rests = None);
        fill_at(lanes, crowded, Instant::now())
    }

    fn fill_at(lanes: &mut Lanes<&'static str>, crowded: bool, now: Instant) -> Vec<&'static str> {
        lanes.crowded = crowded.then(|| now + NEIGHBOUR);
        let mut round = Vec::new();
        lanes.fill(now, &mut round);
        round
    }

    #[test]
    fn alone_a_keyspace_has_the_whole_round() {
        let mut lanes = lanes(&[(1, QUANTUM, "a"), (1, HEAVY * 2, "b"), (1, QUANTUM, "c")]);
        assert_eq!(fill(&mut lanes, false), ["a", "b", "c"]);
        assert!(lanes.owed.is_empty());
    }

    #[test]
    fn beside_others_each_has_a_turn_and_who_wants_no_more_is_first() {
        let half = QUANTUM / 2;
        let mut lanes = lanes(&[
            (1, half, "a1"),
            (1, half, "a2"),
            (1, half, "a3"),
            (2, 100, "b"),
            (3, half, "c1"),
            (3, half, "c2"),
        ]);
        assert_eq!(fill(&mut lanes, true), ["b", "c1", "c2", "a1", "a2"]);
        assert_eq!(fill(&mut lanes, true), ["a3"]);
    }

    #[test]
    fn who_wants_more_than_a_turn_rests_after_it_while_somebody_is_there_who_does_not() {
        let half = QUANTUM / 2;
        let all = [
            (1, half, "a"),
            (1, half, "a"),
            (1, half, "a"),
            (1, half, "a"),
            (1, half, "a"),
        ];
        let mut lanes = lanes(&all);
        let now = Instant::now();
        assert_eq!(
            fill_at(&mut lanes, true, now),
            ["a", "a"],
            "nobody else is there"
        );
        assert_eq!(lanes.rest(now), None);
        lanes.add(2, 100, "b", NO_LIMITS).expect("room");
        assert_eq!(fill_at(&mut lanes, true, now), ["b", "a", "a"]);
        lanes.add(1, half, "a", NO_LIMITS).expect("room");
        lanes.add(1, half, "a", NO_LIMITS).expect("room");
        lanes.add(2, 100, "b", NO_LIMITS).expect("room");
        assert_eq!(fill_at(&mut lanes, true, now), ["b", "a", "a"]);
        // From now on.
        assert_eq!(lanes.rest(now), Some(now + REST));
        lanes.add(2, 100, "b", NO_LIMITS).expect("room");
        assert_eq!(lanes.rest(now), None);
        assert_eq!(fill_at(&mut lanes, true, now), ["b"]);
        let then = now + REST;
        assert_eq!(lanes.rest(then), None);
        assert_eq!(fill_at(&mut lanes, true, then), ["a"]);
        assert!(lanes.turn.is_empty());
    }

    #[test]
    fn nobody_rests_alone_or_at_the_end() {
        let mut lanes = lanes(&[
            (1, QUANTUM, "a"),
            (1, QUANTUM, "a"),
            (1, QUANTUM, "a"),
            (2, 1, "b"),
        ]);
        let now = Instant::now();
        lanes.modest = Some(now + NEIGHBOUR);
        assert_eq!(fill_at(&mut lanes, true, now), ["b", "a"]);
        assert_eq!(lanes.rest(now), Some(now + REST));
        lanes.stopping = true;
        assert_eq!(lanes.rest(now), None);
        assert_eq!(fill_at(&mut lanes, true, now), ["a"]);
        lanes.stopping = false;
        assert_eq!(fill_at(&mut lanes, false, now), ["a"]);
    }

    #[test]
    fn what_is_heavy_comes_alone_behind_the_others_and_is_made_up_for() {
        let mut lanes = lanes(&[(1, 10 * HEAVY, "heavy"), (2, 100, "x"), (1, 100, "then")]);
        assert_eq!(fill(&mut lanes, true), ["x"]);
        lanes.add(2, 100, "y", NO_LIMITS).expect("room");
        assert_eq!(fill(&mut lanes, true), ["heavy"]);
        let mut rounds = 0;
        while fill(&mut lanes, true) == ["y"] {
            rounds += 1;
            lanes.add(2, 100, "y", NO_LIMITS).expect("room");
        }
        assert_eq!(
            rounds,
            10 * HEAVY / QUANTUM - 2,
            "as much as it had beyond its turn"
        );
        // Nobody else waits: there is nothing to make up for.
        let mut lanes = self::lanes(&[(1, 10 * HEAVY, "heavy")]);
        assert_eq!(fill(&mut lanes, true), ["heavy"]);
        lanes.add(1, 100, "then", NO_LIMITS).expect("room");
        assert_eq!(fill(&mut lanes, true), ["then"]);
    }

    #[test]
    fn two_who_delete_all_they_can_hold_up_a_third_for_few_of_its_rounds() {
        let mut lanes = Lanes::default();
        let (mut heavy, mut light) = (0, 0);
        for _ in 0..10_000 {
            for number in [1, 2] {
                if !lanes.by_keyspace.contains_key(&number) {
                    lanes
                        .add(number, 4 * HEAVY, "heavy", NO_LIMITS)
                        .expect("room");
                }
            }
            if !lanes.by_keyspace.contains_key(&3) {
                lanes.add(3, 1000, "light", NO_LIMITS).expect("room");
            }
            match fill(&mut lanes, true)[..] {
                ["light"] => light += 1,
                ["heavy"] => heavy += 1,
                ref other => panic!("{other:?}"),
            }
        }
        // One of each for as many rounds as make up for it.
        let each = 10_000 / (4 * HEAVY / QUANTUM);
        assert!(
            heavy <= 2 * (each + 1) && heavy >= each,
            "{heavy} of {each}"
        );
        assert!(light >= 9_900, "{light}");
    }

    #[test]
    fn so_many_requests_and_bytes_of_a_keyspace_wait_and_no_more() {
        let mut lanes = Lanes::default();
        for n in 0..3 {
            lanes.add(1, 10, n, (3, 1000)).expect("room");
        }
        let refused = lanes.add(1, 10, 3, (3, 1000));
        assert!(matches!(refused, Err(Error::Throttled(_))), "{refused:?}");
        lanes
            .add(2, 2000, 4, (3, 1000))
            .expect("a first one, however large");
        let refused = lanes.add(2, 1, 5, (3, 1000));
        assert!(matches!(refused, Err(Error::Throttled(_))), "{refused:?}");
        let mut round = Vec::new();
        lanes.crowded = Some(Instant::now() + NEIGHBOUR);
        lanes.fill(Instant::now(), &mut round);
        assert_eq!(round.len(), 4);
        lanes.add(1, 10, 6, (3, 1000)).expect("room again");
    }
}

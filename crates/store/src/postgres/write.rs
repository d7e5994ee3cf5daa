//! Writing. Transactions that wait are carried out together, as one database transaction:
//! lock the head row and read what they touch, decide in memory, write everything and commit.
//! Where what they touch is known (`guess`), they are decided first and written in one round trip,
//! on the condition that it is still so.
//!
//! A commit whose answer was lost is looked for: the batch carries a number that is stored with
//! it. The old connection's process is ended first, and the head row is locked, so that the answer
//! is final. So a write is never done twice and never reported wrongly; only when the server stays
//! away longer than a caller may wait is it told that nobody knows.

use super::batch::{self, Planned, Seen, Sums};
use super::connect::Backend;
use super::fault::Fault;
use super::pool::{Held, by};
use super::read::{Wanted, kv};
use super::sql::Kind;
use super::store::Inner;
use super::touched::{Columns, Touched, looks_back, signed};
use crate::limits::MAX_TXN_READ;
use crate::{Error, LeaseId, Result, Txn, TxnReply};
use bytes::Bytes;
use futures::TryStreamExt;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::time::Instant;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Row, RowStream};

/// Most transactions and bytes of one batch.
const BATCH: usize = 256;
const BATCH_BYTES: usize = 8 << 20;
/// Most that may wait.
const QUEUE: usize = 16_384;
const QUEUE_BYTES: usize = 64 << 20;
const PAUSE: Duration = Duration::from_millis(50);
const LONG_PAUSE: Duration = Duration::from_secs(1);

/// Each statement sees what was committed before it, so what follows the lock sees everything.
const BEGIN: &str = "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE";

pub(super) enum Work {
    Txn(Txn),
    /// a transaction that goes alone: it reads older revisions
    Alone(Txn),
    /// ends leases; only those whose time is over, if so wished
    Revoke {
        ids: Vec<LeaseId>,
        over: bool,
    },
    Compact(u64),
}

struct Item {
    work: Work,
    size: usize,
    end: Instant,
    reply: oneshot::Sender<Result<TxnReply>>,
}

impl Item {
    fn txn(&self) -> Option<&Txn> {
        match &self.work {
            Work::Txn(txn) | Work::Alone(txn) => Some(txn),
            _ => None,
        }
    }
}

#[derive(Default)]
pub(super) struct Queue {
    items: VecDeque<Item>,
    bytes: usize,
    /// somebody carries the items out
    busy: bool,
}

/// How an attempt to commit went.
enum End {
    Committed,
    /// certainly not committed
    Not(Fault),
    /// the answer was lost
    Unknown(Backend, String),
    /// nothing was written: the keyspace is not as it was taken for
    Stale(Box<Held>),
}

impl Inner {
    /// Carries work out; answers when it is durable.
    pub(super) async fn write(self: &Arc<Self>, work: Work, size: usize) -> Result<TxnReply> {
        self.alive()?;
        let work = match work {
            Work::Txn(txn) if looks_back(&txn) => Work::Alone(txn),
            other => other,
        };
        let (reply, answer) = oneshot::channel();
        let end = Instant::now() + self.options.timeout;
        {
            let mut queue = self.queue.lock();
            if queue.items.len() >= QUEUE || queue.bytes + size > QUEUE_BYTES.max(size) {
                return Err(Error::Throttled(
                    "too many writes of this keyspace are waiting for PostgreSQL".into(),
                ));
            }
            queue.bytes += size;
            queue.items.push_back(Item {
                work,
                size,
                end,
                reply,
            });
            if !std::mem::replace(&mut queue.busy, true) {
                tokio::spawn(self.clone().drain());
            }
        }
        answer
            .await
            .unwrap_or_else(|_| Err(Error::Unavailable("the writer ended".into())))
    }

    /// The next items that go together; none: nobody is busy any more.
    fn next_batch(&self) -> Vec<Item> {
        let mut queue = self.queue.lock();
        let mut batch: Vec<Item> = Vec::new();
        let mut bytes = 0;
        while let Some(item) = queue.items.front() {
            let together = matches!(item.work, Work::Txn(_))
                && batch.iter().all(|other| matches!(other.work, Work::Txn(_)));
            let fits = batch.len() < BATCH && bytes + item.size <= BATCH_BYTES && together;
            if !batch.is_empty() && !fits {
                break;
            }
            bytes += item.size;
            batch.extend(queue.items.pop_front());
        }
        queue.bytes -= bytes;
        queue.busy = !batch.is_empty();
        batch
    }

    async fn drain(self: Arc<Self>) {
        loop {
            let mut batch = self.next_batch();
            if batch.is_empty() {
                return;
            }
            batch.retain(|item| !item.reply.is_closed());
            let Some(end) = batch.iter().map(|item| item.end).min() else {
                continue;
            };
            let outcome = self.batch(&batch, end).await;
            if let Err(Error::Deleted) = &outcome {
                self.set_deleted();
            }
            let replies: Vec<Result<TxnReply>> = match outcome {
                Ok(replies) => replies,
                Err(error) => vec![Err(error); batch.len()],
            };
            for (item, reply) in batch.into_iter().zip(replies) {
                // A caller that went away does not need its answer.
                drop(item.reply.send(reply));
            }
        }
    }

    /// Carries a batch out, again if need be, before `end`.
    async fn batch(
        self: &Arc<Self>,
        items: &[Item],
        end: Instant,
    ) -> Result<Vec<Result<TxnReply>>> {
        let mut pause = PAUSE;
        loop {
            let why = match self.attempt(items, end).await {
                Ok(planned) => {
                    self.hub.publish(&planned);
                    self.known.lock().wrote(&planned);
                    return Ok(planned.replies);
                }
                Err(Fault::Refused(error)) => {
                    self.known.lock().forget();
                    return Err(error);
                }
                Err(Fault::Broken(why)) => why,
            };
            self.known.lock().forget();
            self.pool.forget(None);
            if Instant::now() + pause >= end {
                return Err(Error::Unavailable(why));
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONG_PAUSE);
        }
    }

    /// One attempt; after an error nothing was written, unless it says that this is not known.
    async fn attempt(self: &Arc<Self>, items: &[Item], end: Instant) -> Result<Planned, Fault> {
        let txns: Vec<&Txn> = items.iter().filter_map(Item::txn).collect();
        let mut held = self.pool.get(Some(&self.names.role), end).await?;
        let guess = match &items[0].work {
            Work::Txn(_) => self.known.lock().guess(&txns),
            _ => None,
        };
        if let Some(guess) = guess {
            let planned = batch::plan(guess.seen, &txns, *self.quota.lock());
            // What is refused, or writes nothing, may have been decided by what is not so.
            if planned.writes() && planned.replies.iter().all(Result::is_ok) {
                let seq = self.next_sequence();
                let end_of = self.commit(held, &planned, seq, Some(&guess.absent), end);
                match self.outcome(Box::pin(end_of).await, seq, end).await? {
                    None => return Ok(planned),
                    Some(back) => held = back,
                }
            }
        }
        let planned = match &items[0].work {
            Work::Txn(_) | Work::Alone(_) => {
                let seen = self.look(&mut held, &txns, end).await?;
                batch::plan(seen, &txns, *self.quota.lock())
            }
            Work::Revoke { ids, over } => {
                let seen = self.look_at_leases(&mut held, ids, *over, end).await?;
                let missing = ids.iter().find(|id| !seen.leases.contains(id)).copied();
                let mut planned = batch::revoke(seen);
                planned.replies = vec![match missing {
                    Some(lease) if !over => Err(Error::LeaseNotFound(lease)),
                    _ => Ok(done(&planned)),
                }];
                planned
            }
            Work::Compact(to) => {
                let seen = self.look(&mut held, &[], end).await?;
                let mut planned = Planned::nothing(seen.sums);
                let reply = if *to <= seen.sums.compacted {
                    Err(Error::Compacted(seen.sums.compacted))
                } else if *to > seen.sums.rev {
                    Err(Error::Future(seen.sums.rev))
                } else {
                    planned.after.compacted = *to;
                    Ok(done(&planned))
                };
                planned.replies = vec![reply];
                planned
            }
        };
        if !planned.writes() {
            by(end, held.client().batch_execute("COMMIT")).await?;
            held.back();
            return Ok(planned);
        }
        let seq = self.next_sequence();
        let end_of = self.commit(held, &planned, seq, None, end).await;
        self.outcome(end_of, seq, end).await?;
        Ok(planned)
    }

    /// Whether a batch was written; not if the connection comes back.
    async fn outcome(&self, end_of: End, seq: i64, end: Instant) -> Result<Option<Held>, Fault> {
        match end_of {
            End::Committed => Ok(None),
            End::Stale(held) => Ok(Some(*held)),
            End::Not(fault) => Err(fault),
            End::Unknown(backend, why) => match self.find(&backend, seq, end).await {
                Some(true) => Ok(None),
                Some(false) => Err(Fault::Broken(why)),
                None => Err(Fault::Refused(Error::Unavailable(format!(
                    "{why}; whether this was written is not known"
                )))),
            },
        }
    }

    /// Locks the keyspace and reads what transactions touch, in one round trip.
    async fn look(&self, held: &mut Held, txns: &[&Txn], end: Instant) -> Result<Seen, Fault> {
        let touched = Touched::by(txns);
        let lock = held.prepare(&self.names, Kind::Lock, end).await?;
        let rows = held.prepare(&self.names, Kind::Touched, end).await?;
        let within = match touched.ranges.is_empty() {
            true => None,
            false => Some(held.prepare(&self.names, Kind::Within, end).await?),
        };
        let leases = match touched.leases.is_empty() {
            true => None,
            false => Some(held.prepare(&self.names, Kind::LeasesAlive, end).await?),
        };
        let client = held.client();
        let keys: Vec<&[u8]> = touched.keys.iter().map(|key| &key[..]).collect();
        let found = async {
            if keys.is_empty() {
                return Ok(Vec::new());
            }
            client.query(&rows, &[&keys]).await
        };
        let ranges = async {
            let mut all = Vec::new();
            for (lo, hi) in &touched.ranges {
                if let Some(within) = &within {
                    let ends: [&(dyn ToSql + Sync); 2] = [&&lo[..], &&hi[..]];
                    let rows = client.query_raw(within, ends).await?;
                    collect(&mut all, rows).await?;
                }
            }
            Ok::<_, Fault>(all)
        };
        let alive = async {
            match &leases {
                Some(statement) => client.query(statement, &[&touched.leases]).await,
                None => Ok(Vec::new()),
            }
        };
        let together = Box::pin(async {
            let (begin, sums, found, ranges, alive) = tokio::join!(
                client.batch_execute(BEGIN),
                client.query_one(&lock, &[]),
                found,
                ranges,
                alive
            );
            begin?;
            let (sums, mut rows) = (sums?, found?);
            rows.extend(ranges?);
            Ok::<_, Fault>((sums, rows, alive?))
        });
        let (sums, rows, leases) = by(end, together).await?;
        let mut seen = seen(&sums, rows, &leases);
        for range in touched.older {
            let wanted = Wanted::of(range);
            let statement = held.prepare(&self.names, wanted.kind, end).await?;
            let params = wanted.params();
            let rows = by(end, held.client().query(&statement, &params)).await?;
            // One that may not be read is refused before it is used.
            if let Ok(reply) = wanted.reply(range, &rows) {
                seen.older.push((range.clone(), reply));
            }
        }
        Ok(seen)
    }

    async fn look_at_leases(
        &self,
        held: &mut Held,
        ids: &[LeaseId],
        over: bool,
        end: Instant,
    ) -> Result<Seen, Fault> {
        let kind = if over {
            Kind::LeasesOver
        } else {
            Kind::LeasesKnown
        };
        let lock = held.prepare(&self.names, Kind::Lock, end).await?;
        let known = held.prepare(&self.names, kind, end).await?;
        let leased = held.prepare(&self.names, Kind::Leased, end).await?;
        let client = held.client();
        let wanted: [&(dyn ToSql + Sync); 1] = [&ids];
        let together = Box::pin(async {
            let (begin, sums, leases) = tokio::join!(
                client.batch_execute(BEGIN),
                client.query_one(&lock, &[]),
                client.query(&known, &wanted),
            );
            begin?;
            let (sums, leases) = (sums?, leases?);
            let ids: Vec<LeaseId> = leases.iter().map(|row| row.get(0)).collect();
            let rows = client.query(&leased, &[&ids]).await?;
            Ok::<_, tokio_postgres::Error>(seen(&sums, rows, &leases))
        });
        by(end, together).await
    }

    /// Writes a batch and commits, in one round trip: in the transaction that was begun, or, if
    /// keys are given that must not be there, by itself and only if nobody has written meanwhile.
    async fn commit(
        self: &Arc<Self>,
        mut held: Held,
        planned: &Planned,
        seq: i64,
        absent: Option<&[Bytes]>,
        end: Instant,
    ) -> End {
        let kind = match absent {
            Some(_) => Kind::WriteIf,
            None => Kind::Write,
        };
        let write = match held.prepare(&self.names, kind, end).await {
            Ok(write) => write,
            Err(fault) => return End::Not(fault),
        };
        let rows = Columns::of(planned);
        let client = held.client();
        let rev = signed(planned.after.rev);
        let (compacted, keys) = (signed(planned.after.compacted), signed(planned.after.keys));
        let before = signed(planned.before.rev);
        let none: Vec<&[u8]> = absent.unwrap_or_default().iter().map(|k| &k[..]).collect();
        let mut params = rows.params();
        params.extend([&self.writer as &(dyn ToSql + Sync), &seq, &rev]);
        params.extend([&keys as &(dyn ToSql + Sync), &rows.size]);
        match absent {
            Some(_) => params.extend([&before as &(dyn ToSql + Sync), &none]),
            None => params.extend([&compacted as &(dyn ToSql + Sync), &planned.leases]),
        }
        let both = Box::pin(async {
            if absent.is_some() {
                return (client.query_one(&write, &params).await, Ok(()));
            }
            tokio::join!(
                client.query_one(&write, &params),
                client.batch_execute("COMMIT")
            )
        });
        let backend = held.backend().clone();
        match tokio::time::timeout_at(end, both).await {
            Err(_) => End::Unknown(backend, "PostgreSQL: no answer in time".into()),
            Ok((Ok(row), Ok(()))) if row.get::<_, i64>(0) == 1 => {
                self.announce(held, rev);
                End::Committed
            }
            Ok((Ok(_), Ok(()))) => End::Stale(Box::new(held)),
            Ok((Err(error), _)) => {
                let said = error.as_db_error().is_some();
                match Fault::from(error) {
                    // The server said no before it came to the commit. By itself, a statement that
                    // is broken off may be committed already.
                    fault @ Fault::Refused(_) if said => End::Not(fault),
                    fault if said && absent.is_none() => End::Not(fault),
                    Fault::Broken(why) => End::Unknown(backend, why),
                    Fault::Refused(error) => End::Unknown(backend, error.to_string()),
                }
            }
            Ok((_, Err(error))) => match Fault::from(error) {
                Fault::Broken(why) => End::Unknown(backend, why),
                Fault::Refused(error) => End::Unknown(backend, error.to_string()),
            },
        }
    }

    /// Tells other processes; whoever misses it asks from time to time. Not inside the
    /// transaction: PostgreSQL commits those that announce something one after the other. And not
    /// in the next writer's way: on this connection while another one writes. What is committed
    /// meanwhile is announced together.
    fn announce(self: &Arc<Self>, held: Held, rev: i64) {
        self.announced.store(rev, Ordering::Release);
        if self.announcing.swap(true, Ordering::AcqRel) {
            return held.back();
        }
        let store = self.clone();
        tokio::spawn(async move {
            loop {
                let rev = store.announced.load(Ordering::Acquire);
                let note = format!("NOTIFY \"{}\", '{rev}'", store.names.channel);
                let end = Instant::now() + store.options.timeout;
                let sent = by(end, held.client().batch_execute(&note)).await;
                // Who found it taken has stored a newer revision before.
                store.announcing.swap(false, Ordering::AcqRel);
                if sent.is_err() {
                    // Nobody knows the state of this connection.
                    return;
                }
                let newer = store.announced.load(Ordering::Acquire) != rev;
                if !newer || store.announcing.swap(true, Ordering::AcqRel) {
                    return held.back();
                }
            }
        });
    }

    /// Whether a batch was committed by a connection that broke; nothing: it cannot be found out
    /// in time.
    async fn find(&self, old: &Backend, seq: i64, end: Instant) -> Option<bool> {
        // The caller's time may be up already, but an answer that is near is worth a little more.
        let end = end.max(Instant::now() + LONG_PAUSE);
        let mut pause = PAUSE;
        loop {
            match self.look_for(old, seq, end).await {
                Ok(found) => return Some(found),
                Err(Fault::Refused(error)) => {
                    tracing::warn!(%error, "a commit whose answer was lost cannot be looked for");
                    return None;
                }
                Err(Fault::Broken(_)) => self.pool.forget(None),
            }
            if Instant::now() + pause >= end {
                return None;
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONG_PAUSE);
        }
    }

    async fn look_for(&self, old: &Backend, seq: i64, end: Instant) -> Result<bool, Fault> {
        // As the user that connected: the old process belongs to it.
        let held = self.pool.get(None, end).await?;
        let process: [&(dyn ToSql + Sync); 2] = [&old.pid, &old.since];
        let ended = held.client().query(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_get_activity($1) a WHERE a.backend_start::text = $2",
            &process,
        );
        by(end, ended).await?;
        held.back();
        let mut held = self.pool.get(Some(&self.names.role), end).await?;
        let lock = held.prepare(&self.names, Kind::Lock, end).await?;
        let sequence = held.prepare(&self.names, Kind::Sequence, end).await?;
        let client = held.client();
        let writer: [&(dyn ToSql + Sync); 1] = [&self.writer];
        let together = Box::pin(async {
            let (begin, locked, row) = tokio::join!(
                client.batch_execute(BEGIN),
                client.query_one(&lock, &[]),
                client.query_opt(&sequence, &writer),
            );
            begin?;
            locked?;
            let row = row?;
            client.batch_execute("COMMIT").await?;
            Ok::<_, tokio_postgres::Error>(row)
        });
        let row = by(end, together).await?;
        held.back();
        Ok(row.is_some_and(|row| row.get::<_, i64>(0) == seq))
    }
}

/// Takes rows in, as long as they can be held in memory.
async fn collect(all: &mut Vec<Row>, rows: RowStream) -> Result<(), Fault> {
    let mut rows = std::pin::pin!(rows);
    let mut bytes = 0;
    while let Some(row) = rows.try_next().await? {
        bytes += row.get::<_, &[u8]>(1).len();
        if bytes > MAX_TXN_READ {
            return Err(Fault::Refused(Error::TooLarge(format!(
                "the ranges of a transaction hold more than {MAX_TXN_READ} bytes"
            ))));
        }
        all.push(row);
    }
    Ok(())
}

fn done(planned: &Planned) -> TxnReply {
    TxnReply {
        succeeded: true,
        rev: planned.after.rev,
        results: Vec::new(),
    }
}

fn seen(sums: &Row, rows: Vec<Row>, leases: &[Row]) -> Seen {
    let number = |at: usize| sums.get::<_, i64>(at).cast_unsigned();
    Seen {
        sums: Sums {
            rev: number(0),
            compacted: number(1),
            keys: number(2),
            bytes: number(3),
        },
        rows: rows
            .iter()
            .map(|row| kv(row, 0))
            .map(|kv| (kv.key.clone(), kv))
            .collect(),
        leases: leases.iter().map(|row| row.get(0)).collect(),
        older: Vec::new(),
    }
}

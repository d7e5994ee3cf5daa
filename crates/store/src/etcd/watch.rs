//! Watches on an etcd: one stream each, taken up again where it broke off.
//!
//! All keyspaces share connections, so what arrives is always read: what waits in a connection's
//! window holds up everybody. A watch whose reader is slow gives its stream up and takes it up
//! again, from where it was, when what it has queued was read.

use super::client::Client;
use crate::proto::{Empty, WatchCreate, WatchRequest, WatchResponse, WatchUnion, int, rev};
use crate::{Error, Event, KeyValue, Result, WatchItem, WatchStream, limits};
use bytes::Bytes;
use futures::{StreamExt, channel::mpsc};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::{Notify, watch as signal};
use tonic::Streaming;

/// Bytes that may wait for the reader of one watch.
const MAX_WATCH: u64 = 4 << 20;
/// Bytes that may wait for the readers of all watches of a keyspace; above, each has its share.
const MAX_KEYSPACE: u64 = 64 << 20;
/// What an item takes beside its keys and values.
const ITEM: u64 = 128;
const RETRY: Duration = Duration::from_millis(200);
/// Failed attempts to connect again before the watch ends with an error.
const ATTEMPTS: u32 = 50;

/// What the watches of one keyspace have in common.
#[derive(Clone)]
pub(super) struct Watches(Arc<Shared>);

struct Shared {
    /// wishes for progress: up to which revision
    wishes: signal::Sender<u64>,
    open: AtomicUsize,
    /// not read yet
    bytes: AtomicU64,
}

impl Default for Watches {
    fn default() -> Self {
        Self(Arc::new(Shared {
            wishes: signal::Sender::new(0),
            open: AtomicUsize::new(0),
            bytes: AtomicU64::new(0),
        }))
    }
}

impl Watches {
    /// Asks for progress.
    pub(super) fn ask(&self, rev: u64) {
        let wishes = &self.0.wishes;
        wishes.send_modify(|wanted| *wanted = rev.max(*wanted));
    }

    fn enter(&self) -> Result<Arc<Queue>> {
        let queue = Queue {
            shared: self.0.clone(),
            bytes: AtomicU64::new(0),
            read: Notify::new(),
        };
        match self.0.open.fetch_add(1, Ordering::AcqRel) {
            open if open < limits::MAX_WATCHES => Ok(Arc::new(queue)),
            _ => Err(Error::Throttled("too many watches".into())),
        }
    }
}

/// What one watch has for its reader.
struct Queue {
    shared: Arc<Shared>,
    bytes: AtomicU64,
    /// something was read
    read: Notify,
}

impl Queue {
    fn put(&self, bytes: u64) {
        self.bytes.fetch_add(bytes, Ordering::AcqRel);
        self.shared.bytes.fetch_add(bytes, Ordering::AcqRel);
    }

    fn taken(&self, bytes: u64) {
        self.bytes.fetch_sub(bytes, Ordering::AcqRel);
        self.shared.bytes.fetch_sub(bytes, Ordering::AcqRel);
        self.read.notify_one();
    }

    /// Whether enough waits to be read.
    fn full(&self) -> bool {
        let (mine, all) = (&self.bytes, &self.shared.bytes);
        let (mine, all) = (mine.load(Ordering::Acquire), all.load(Ordering::Acquire));
        let open = self.shared.open.load(Ordering::Acquire).max(1) as u64;
        mine > MAX_WATCH || all > MAX_KEYSPACE && mine > MAX_KEYSPACE / open
    }

    /// Waits until everything was read.
    async fn drained(&self) {
        while self.bytes.load(Ordering::Acquire) > 0 {
            self.read.notified().await;
        }
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        let left = *self.bytes.get_mut();
        self.shared.bytes.fetch_sub(left, Ordering::AcqRel);
        self.shared.open.fetch_sub(1, Ordering::AcqRel);
    }
}

#[derive(Clone)]
pub(super) struct Wanted {
    pub(super) key: Bytes,
    pub(super) range_end: Bytes,
    pub(super) next: u64,
    pub(super) prev_kv: bool,
    /// up to where the keyspace has forgotten what was before
    pub(super) compacted: u64,
    pub(super) strip: usize,
}

impl Wanted {
    fn create(&self) -> WatchRequest {
        let create = WatchCreate {
            key: self.key.clone(),
            range_end: self.range_end.clone(),
            start_revision: int(self.next),
            prev_kv: self.prev_kv,
            // Else a thousand revisions may come as one message.
            fragment: true,
            ..Default::default()
        };
        WatchRequest {
            union: Some(WatchUnion::Create(create)),
        }
    }
}

fn progress_request() -> WatchRequest {
    WatchRequest {
        union: Some(WatchUnion::Progress(Empty {})),
    }
}

/// The task's end of a queue.
struct Items {
    queue: Arc<Queue>,
    sender: mpsc::UnboundedSender<(u64, Result<WatchItem>)>,
}

impl Items {
    /// False when nobody reads any more.
    fn send(&self, item: Result<WatchItem>) -> bool {
        let bytes = weight(&item);
        self.queue.put(bytes);
        self.sender.unbounded_send((bytes, item)).is_ok()
    }
}

fn weight(item: &Result<WatchItem>) -> u64 {
    let kv = |kv: &KeyValue| ITEM + (kv.key.len() + kv.value.len()) as u64;
    let event = |event: &Event| kv(&event.kv) + event.prev.as_ref().map_or(0, kv);
    match item {
        Ok(WatchItem::Events { events, .. }) => ITEM + events.iter().map(event).sum::<u64>(),
        _ => ITEM,
    }
}

pub(super) fn start(client: Client, wanted: Wanted, watches: &Watches) -> Result<WatchStream> {
    let queue = watches.enter()?;
    let (sender, stream) = mpsc::unbounded();
    let wishes = watches.0.wishes.subscribe();
    let items = Items {
        queue: queue.clone(),
        sender,
    };
    let task = tokio::spawn(run(client, wanted, wishes, items));
    // The task ends with the stream.
    let abort = AbortOnDrop(task.abort_handle());
    Ok(Box::pin(stream.map(move |(bytes, item)| {
        let _ = &abort;
        queue.taken(bytes);
        item
    })))
}

struct AbortOnDrop(tokio::task::AbortHandle);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Why one connection's part of a watch is over.
enum Over {
    /// the watch is, too
    Ended,
    /// the reader has enough to read
    Full,
    /// the connection broke after some good answers, or before any
    Broken { worked: bool, error: Error },
}

async fn run(client: Client, mut wanted: Wanted, mut wishes: signal::Receiver<u64>, items: Items) {
    let mut failures = 0;
    loop {
        match follow(&client, &mut wanted, &mut wishes, &items).await {
            Over::Ended => return,
            Over::Full => {
                failures = 0;
                items.queue.drained().await;
            }
            Over::Broken { worked, error } => {
                failures = if worked { 0 } else { failures + 1 };
                if failures > ATTEMPTS {
                    items.send(Err(error));
                    return;
                }
                tokio::time::sleep(RETRY).await;
            }
        }
    }
}

async fn follow(
    client: &Client,
    wanted: &mut Wanted,
    wishes: &mut signal::Receiver<u64>,
    items: &Items,
) -> Over {
    let (mut requests, feed) = mpsc::channel(4);
    // The channel has room: it was just made.
    drop(requests.try_send(wanted.create()));
    let mut answers = match client.watch(feed).await {
        Ok(answers) => answers,
        Err(error) => {
            return Over::Broken {
                worked: false,
                error,
            };
        }
    };
    let mut worked = false;
    let mut partial = Vec::new();
    // The first mark says that history has been delivered.
    let mut owed = Some(*wishes.borrow_and_update());
    loop {
        if let Some(rev) = owed {
            // The etcd does not answer for a watch that starts in its future; but then nothing
            // up to here can be missing.
            if rev > 0 && rev < wanted.next {
                owed = None;
                if !items.send(Ok(WatchItem::Progress { rev })) {
                    return Over::Ended;
                }
            } else {
                drop(requests.try_send(progress_request()));
            }
        }
        let answer = tokio::select! {
            answer = next(&mut answers) => answer,
            // The etcd is silent about progress while any watch is behind: ask again.
            () = tokio::time::sleep(RETRY), if owed.is_some() => continue,
            Ok(()) = wishes.changed() => {
                owed = Some(*wishes.borrow_and_update());
                continue;
            }
        };
        let answer = match answer {
            Ok(answer) => answer,
            Err(error) => return Over::Broken { worked, error },
        };
        worked = true;
        // An answer to an earlier question does not settle a later one.
        let at = answer
            .header
            .as_ref()
            .map_or(0, |header| rev(header.revision));
        if answer.created && at < wanted.next {
            owed = owed.map(|wanted| wanted.max(at));
        }
        if is_progress(&answer) && owed.is_some_and(|wanted| at >= wanted) {
            owed = None;
        }
        if !deliver(answer, wanted, items, &mut partial) {
            return Over::Ended;
        }
        if items.queue.full() {
            return Over::Full;
        }
    }
}

/// What a watch is told next.
async fn next(answers: &mut Streaming<WatchResponse>) -> Result<WatchResponse> {
    match answers.next().await {
        Some(Ok(answer)) => Ok(answer),
        Some(Err(status)) => Err(Error::Unavailable(format!("etcd: {}", status.message()))),
        None => Err(Error::Unavailable("etcd closed the watch".into())),
    }
}

fn is_progress(answer: &WatchResponse) -> bool {
    answer.events.is_empty() && !answer.created && !answer.canceled
}

/// Hands on what an answer says; false when that was the last. The last revision of an answer that
/// is not whole stays in `partial`: more of it may follow.
fn deliver(
    answer: WatchResponse,
    wanted: &mut Wanted,
    items: &Items,
    partial: &mut Vec<Event>,
) -> bool {
    if answer.compact_revision > 0 {
        let rev = rev(answer.compact_revision);
        items.send(Ok(WatchItem::Compacted { rev }));
        return false;
    }
    if answer.canceled {
        let error = Error::Unavailable(format!("etcd ended the watch: {}", answer.cancel_reason));
        items.send(Err(error));
        return false;
    }
    if is_progress(&answer) {
        let rev = answer.header.map_or(0, |header| rev(header.revision));
        return items.send(Ok(WatchItem::Progress { rev }));
    }
    let mut events = std::mem::take(partial);
    for event in answer.events {
        let Some(kv) = event.kv else { continue };
        let kv_rev = kv.mod_revision;
        let event = Event {
            kv: kv.into_kv(wanted.strip),
            deleted: event.r#type == 1,
            prev: event
                .prev_kv
                .filter(|_| rev(kv_rev) > wanted.compacted)
                .map(|kv| kv.into_kv(wanted.strip)),
        };
        let other = events
            .last()
            .is_some_and(|last| last.kv.mod_rev != event.kv.mod_rev);
        if other && !send(std::mem::take(&mut events), wanted, items) {
            return false;
        }
        events.push(event);
    }
    if answer.fragment {
        *partial = events;
        return true;
    }
    events.is_empty() || send(events, wanted, items)
}

fn send(events: Vec<Event>, wanted: &mut Wanted, items: &Items) -> bool {
    let rev = events[0].kv.mod_rev;
    wanted.next = rev + 1;
    items.send(Ok(WatchItem::Events { rev, events }))
}

/// The etcd's compact revision: a watch from the beginning is told.
pub(super) async fn compact_revision(client: &Client, key: &Bytes) -> Result<u64> {
    let create = WatchCreate {
        key: key.clone(),
        start_revision: 1,
        ..Default::default()
    };
    let request = WatchRequest {
        union: Some(WatchUnion::Create(create)),
    };
    // The request side stays open until the answer is there.
    let requests = futures::stream::iter([request, progress_request()]);
    let mut answers = client
        .watch(requests.chain(futures::stream::pending()))
        .await?;
    let find = async {
        loop {
            let answer = next(&mut answers).await?;
            if answer.compact_revision > 0 {
                return Ok(rev(answer.compact_revision));
            }
            if is_progress(&answer) {
                return Ok(0);
            }
        }
    };
    let limit = Duration::from_secs(5);
    tokio::time::timeout(limit, find)
        .await
        .unwrap_or_else(|_| Err(client.late()))
}

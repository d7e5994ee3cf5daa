//! Watches on an etcd: one stream each, taken up again where it broke off.

use super::client::Client;
use crate::proto::{Empty, WatchCreate, WatchRequest, WatchResponse, WatchUnion, int, rev};
use crate::{Error, Event, Result, WatchItem, WatchStream};
use bytes::Bytes;
use futures::{SinkExt, StreamExt, channel::mpsc};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch as signal;

/// Items that may wait for a slow reader before the etcd has to hold them back.
const BUFFER: usize = 64;
const RETRY: Duration = Duration::from_millis(200);
/// Failed attempts to connect again before the watch ends with an error.
const ATTEMPTS: u32 = 50;

/// Wishes for progress: up to which revision.
#[derive(Clone)]
pub(super) struct Progress(Arc<signal::Sender<u64>>);

impl Default for Progress {
    fn default() -> Self {
        Self(Arc::new(signal::Sender::new(0)))
    }
}

impl Progress {
    pub(super) fn ask(&self, rev: u64) {
        self.0.send_modify(|wanted| *wanted = rev.max(*wanted));
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

type Items = mpsc::Sender<Result<WatchItem>>;

pub(super) fn start(client: Client, wanted: Wanted, progress: &Progress) -> WatchStream {
    let (items, stream) = mpsc::channel(BUFFER);
    let wishes = progress.0.subscribe();
    let task = tokio::spawn(run(client, wanted, wishes, items));
    // The task ends with the stream.
    let abort = AbortOnDrop(task.abort_handle());
    Box::pin(stream.inspect(move |_| {
        let _ = &abort;
    }))
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
    /// the connection broke after some good answers, or before any
    Broken { worked: bool, error: Error },
}

async fn run(
    client: Client,
    mut wanted: Wanted,
    mut wishes: signal::Receiver<u64>,
    mut items: Items,
) {
    let mut failures = 0;
    loop {
        match follow(&client, &mut wanted, &mut wishes, &mut items).await {
            Over::Ended => return,
            Over::Broken { worked, error } => {
                failures = if worked { 0 } else { failures + 1 };
                if failures > ATTEMPTS {
                    drop(items.send(Err(error)).await);
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
    items: &mut Items,
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
    // The first mark says that history has been delivered.
    let mut owed = Some(*wishes.borrow_and_update());
    loop {
        if let Some(rev) = owed {
            // The etcd does not answer for a watch that starts in its future; but then nothing
            // up to here can be missing.
            if rev > 0 && rev < wanted.next {
                owed = None;
                if items.send(Ok(WatchItem::Progress { rev })).await.is_err() {
                    return Over::Ended;
                }
            } else {
                drop(requests.try_send(progress_request()));
            }
        }
        let answer = tokio::select! {
            answer = answers.next() => answer,
            // The etcd is silent about progress while any watch is behind: ask again.
            () = tokio::time::sleep(RETRY), if owed.is_some() => continue,
            Ok(()) = wishes.changed() => {
                owed = Some(*wishes.borrow_and_update());
                continue;
            }
        };
        let answer = match answer {
            Some(Ok(answer)) => answer,
            Some(Err(status)) => {
                let error = Error::Unavailable(format!("etcd: {}", status.message()));
                return Over::Broken { worked, error };
            }
            None => {
                let error = Error::Unavailable("etcd closed the watch".into());
                return Over::Broken { worked, error };
            }
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
        if !deliver(answer, wanted, items).await {
            return Over::Ended;
        }
    }
}

fn is_progress(answer: &WatchResponse) -> bool {
    answer.events.is_empty() && !answer.created && !answer.canceled
}

/// Hands on what an answer says; false when that was the last.
async fn deliver(answer: WatchResponse, wanted: &mut Wanted, items: &mut Items) -> bool {
    if answer.compact_revision > 0 {
        let rev = rev(answer.compact_revision);
        drop(items.send(Ok(WatchItem::Compacted { rev })).await);
        return false;
    }
    if answer.canceled {
        let error = Error::Unavailable(format!("etcd ended the watch: {}", answer.cancel_reason));
        drop(items.send(Err(error)).await);
        return false;
    }
    if is_progress(&answer) {
        let rev = answer.header.map_or(0, |header| rev(header.revision));
        return items.send(Ok(WatchItem::Progress { rev })).await.is_ok();
    }
    let mut events: Vec<Event> = Vec::new();
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
        if other && !send(std::mem::take(&mut events), wanted, items).await {
            return false;
        }
        events.push(event);
    }
    events.is_empty() || send(events, wanted, items).await
}

async fn send(events: Vec<Event>, wanted: &mut Wanted, items: &mut Items) -> bool {
    let rev = events[0].kv.mod_rev;
    wanted.next = rev + 1;
    items
        .send(Ok(WatchItem::Events { rev, events }))
        .await
        .is_ok()
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
        while let Some(answer) = answers.next().await {
            let answer =
                answer.map_err(|s| Error::Unavailable(format!("etcd: {}", s.message())))?;
            if answer.compact_revision > 0 {
                return Ok(rev(answer.compact_revision));
            }
            if is_progress(&answer) {
                return Ok(0);
            }
        }
        Err(Error::Unavailable("etcd closed the watch".into()))
    };
    let limit = Duration::from_secs(5);
    tokio::time::timeout(limit, find)
        .await
        .unwrap_or_else(|_| Err(Error::Unavailable("etcd: no answer in time".into())))
}

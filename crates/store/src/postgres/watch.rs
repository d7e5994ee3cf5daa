//! Watches: recent changes come from the hub, older ones are read in pages.

use super::batch::Commit;
use super::hub::{Look, Place};
use super::read::{kv, no_head, upper};
use super::sql::Kind;
use super::store::Inner;
use crate::span::Span;
use crate::{Error, Event, KeyValue, Result, Watch, WatchItem, WatchStream};
use bytes::Bytes;
use futures::StreamExt;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

/// Rows of a page of history.
const PAGE: i64 = 256;
/// A word from another process may have been lost: ask this often.
const ASK: Duration = Duration::from_secs(15);
/// Rows of the feeder's page, and pages that it reads before it leaves the rest to the watches
/// themselves.
const FEED: i64 = 1024;
const FEED_PAGES: u32 = 4;
const PAUSE: Duration = Duration::from_millis(500);

/// A page of history.
struct History {
    commits: Vec<Commit>,
    /// everything below is in `commits`
    next: u64,
    head: u64,
    compacted: u64,
}

/// One watch: where it is.
struct Cursor {
    store: Arc<Inner>,
    changed: watch::Receiver<()>,
    span: Span,
    hi: Bytes,
    prev_kv: bool,
    place: Place,
    /// read from history, not delivered yet
    read: VecDeque<Commit>,
}

impl Drop for Cursor {
    fn drop(&mut self) {
        self.store.hub.leave(&self.place);
    }
}

pub(super) async fn start(store: Arc<Inner>, watch: Watch) -> Result<WatchStream> {
    let (place, first) = store.hub.enter()?;
    let mut cursor = Cursor {
        changed: store.hub.changes(),
        hi: upper(&watch.lo, &watch.hi),
        span: Span::new(watch.lo, watch.hi),
        prev_kv: watch.prev_kv,
        store: store.clone(),
        place,
        read: VecDeque::new(),
    };
    if first {
        tokio::spawn(feed(store.clone()));
    }
    // After entering, so that no commit falls between.
    let head = store.read_head().await?;
    let next = match watch.start_rev {
        0 => head.rev + 1,
        rev => rev,
    };
    if next < head.compact_rev {
        let item = WatchItem::Compacted {
            rev: head.compact_rev,
        };
        return Ok(futures::stream::iter([Ok(item)]).boxed());
    }
    store.hub.settle(&mut cursor.place, next, head.rev);
    Ok(futures::stream::unfold(Some(cursor), Cursor::step).boxed())
}

impl Cursor {
    async fn step(cursor: Option<Self>) -> Option<(Result<WatchItem>, Option<Self>)> {
        let mut cursor = cursor?;
        loop {
            while let Some(commit) = cursor.read.pop_front() {
                if let Some(item) = cursor.item(&commit) {
                    return Some((Ok(item), Some(cursor)));
                }
            }
            cursor.changed.mark_unchanged();
            match cursor.store.hub.look(&mut cursor.place) {
                Look::Commit(commit) => {
                    if let Some(item) = cursor.item(&commit) {
                        return Some((Ok(item), Some(cursor)));
                    }
                }
                Look::Progress(rev) => {
                    return Some((Ok(WatchItem::Progress { rev }), Some(cursor)));
                }
                Look::UpToDate => {
                    // The sender lives as long as the store, which this cursor holds.
                    drop(cursor.changed.changed().await);
                }
                Look::Ended => return Some((Err(Error::Deleted), None)),
                Look::Behind => match cursor.read_on().await {
                    Ok(None) => {}
                    Ok(Some(last)) => return Some((Ok(last), None)),
                    Err(error) => return Some((Err(error), None)),
                },
            }
        }
    }

    fn item(&self, commit: &Commit) -> Option<WatchItem> {
        let event = |event: &Event| Event {
            prev: event.prev.clone().filter(|_| self.prev_kv),
            ..event.clone()
        };
        let events: Vec<_> = commit
            .events
            .iter()
            .filter(|event| self.span.contains(&event.kv.key))
            .map(event)
            .collect();
        let rev = commit.rev;
        (!events.is_empty()).then_some(WatchItem::Events { rev, events })
    }

    /// Reads a page of history; an item when that was the last.
    async fn read_on(&mut self) -> Result<Option<WatchItem>> {
        let (lo, hi) = (self.span.lo.clone(), self.hi.clone());
        let next = self.place.next;
        let history = history(&self.store, (&lo, &hi), next, self.prev_kv, PAGE).await?;
        if next < history.compacted {
            let rev = history.compacted;
            return Ok(Some(WatchItem::Compacted { rev }));
        }
        self.read = history.commits.into();
        self.store
            .hub
            .moved(&mut self.place, history.next.max(next));
        self.store.hub.heard(history.head);
        Ok(None)
    }
}

/// Whole revisions from `next` on, as many as fit.
async fn history(
    store: &Arc<Inner>,
    (lo, hi): (&Bytes, &Bytes),
    next: u64,
    prev: bool,
    mut limit: i64,
) -> Result<History> {
    let from = next.cast_signed();
    loop {
        let params: [&(dyn ToSql + Sync); 5] = [&&lo[..], &&hi[..], &from, &limit, &prev];
        let rows = store.rows(Kind::History, &params).await?;
        let first = rows.first().ok_or_else(no_head)?;
        let number = |at: usize| first.get::<_, i64>(at).cast_unsigned();
        let (head, compacted) = (number(0), number(1));
        let mut commits = commits(&rows, compacted);
        let full = rows.len() as u64 >= limit.cast_unsigned();
        let mut next = head + 1;
        if full {
            // The last revision may go on beyond this page.
            if commits.len() == 1 {
                limit *= 2;
                continue;
            }
            next = commits.pop().map_or(next, |last| last.rev);
        }
        return Ok(History {
            commits,
            next,
            head,
            compacted,
        });
    }
}

fn commits(rows: &[Row], compacted: u64) -> Vec<Commit> {
    let mut events: Vec<Event> = Vec::new();
    for row in rows {
        if row.get::<_, Option<&[u8]>>(2).is_none() {
            continue;
        }
        let kv = kv(row, 2);
        let value: Option<&[u8]> = row.get(8);
        let number = |at: usize| row.get::<_, i64>(at).cast_unsigned();
        let prev = value
            .filter(|_| kv.mod_rev > compacted)
            .map(|value| KeyValue {
                key: kv.key.clone(),
                value: Bytes::copy_from_slice(value),
                create_rev: number(9),
                mod_rev: number(10),
                version: number(11),
                lease: row.get(12),
            });
        let deleted = kv.version == 0;
        events.push(Event { kv, deleted, prev });
    }
    events.sort_by(|a, b| (a.kv.mod_rev, &a.kv.key).cmp(&(b.kv.mod_rev, &b.kv.key)));
    let mut commits: Vec<Commit> = Vec::new();
    for event in events {
        let rev = event.kv.mod_rev;
        match commits.last_mut() {
            Some(last) if last.rev == rev => last.events.push(event),
            _ => commits.push(Commit {
                rev,
                events: vec![event],
            }),
        }
    }
    commits
}

/// Reads what others have written, as long as somebody watches.
async fn feed(store: Arc<Inner>) {
    store.listener.add(&store);
    while store.hub.still_watched() {
        // A timeout is as good as a call.
        drop(tokio::time::timeout(ASK, store.hub.need.notified()).await);
        if !store.hub.still_watched() {
            break;
        }
        if let Err(error) = catch_up(&store).await {
            if error == Error::Deleted {
                store.set_deleted();
            }
            tracing::debug!(%error, "watches wait for PostgreSQL");
            tokio::time::sleep(PAUSE).await;
            store.hub.need.notify_one();
        }
    }
    store.listener.remove(&store);
}

async fn catch_up(store: &Arc<Inner>) -> Result<()> {
    let (lo, hi) = (Bytes::from_static(&[0]), Bytes::from_static(&[0]));
    let hi = upper(&lo, &hi);
    for _ in 0..FEED_PAGES {
        let known = store.hub.head();
        if known == 0 {
            return Ok(());
        }
        let history = history(store, (&lo, &hi), known + 1, true, FEED).await?;
        if history.head <= known {
            return Ok(());
        }
        if history.compacted > known {
            store.hub.jump(history.head);
            return Ok(());
        }
        store.hub.feed(history.commits.into_iter());
        if history.next > history.head {
            return Ok(());
        }
    }
    let head = store.read_head().await?;
    store.hub.jump(head.rev);
    Ok(())
}

//! The Watch service: many watches on one stream, in the order the protocol promises.

use super::convert::status;
use super::header;
use crate::proto::{self, WatchCreate, WatchRequest, WatchResponse, WatchUnion, int, rev};
use crate::{Result, Store, Watch, WatchItem};
use bytes::Bytes;
use futures::stream::{AbortHandle, BoxStream, SelectAll};
use futures::{SinkExt, Stream, StreamExt, channel::mpsc};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use tonic::{Status, Streaming};

/// Responses that may wait for the client; behind it the store's own bounds hold.
const BUFFER: usize = 16;
/// Watches that one stream may carry.
const MAX_WATCHES: usize = 10_000;
/// How often an idle watch that wants it is told how far it is.
const NOTIFY: Duration = Duration::from_secs(60);

type Answers = mpsc::Sender<Result<WatchResponse, Status>>;

pub(super) fn serve(
    store: Arc<dyn Store>,
    requests: Streaming<WatchRequest>,
) -> impl Stream<Item = Result<WatchResponse, Status>> + Send + 'static {
    let (answers, stream) = mpsc::channel(BUFFER);
    // Ends when the client's side of the stream ends or nobody takes the answers any more.
    tokio::spawn(run(Session::new(store, answers), requests));
    stream
}

struct Running {
    abort: AbortHandle,
    progress_notify: bool,
    no_puts: bool,
    no_deletes: bool,
}

/// A wish for progress that not all watches have answered yet.
struct Wish {
    waiting: BTreeSet<i64>,
    at_least: u64,
}

struct Session {
    store: Arc<dyn Store>,
    answers: Answers,
    watches: BTreeMap<i64, Running>,
    items: SelectAll<BoxStream<'static, (i64, Option<Result<WatchItem>>)>>,
    next_id: i64,
    wish: Option<Wish>,
}

async fn run(mut session: Session, mut requests: Streaming<WatchRequest>) {
    let mut notify = tokio::time::interval(NOTIFY);
    loop {
        let going_on = tokio::select! {
            request = requests.next() => match request {
                Some(Ok(request)) => session.request(request).await,
                _ => return,
            },
            Some((id, item)) = session.items.next(), if !session.items.is_empty() => {
                session.item(id, item).await
            }
            _ = notify.tick() => {
                if session.watches.values().any(|watch| watch.progress_notify) {
                    drop(session.store.progress().await);
                }
                Some(())
            }
        };
        if going_on.is_none() {
            return;
        }
    }
}

impl Session {
    fn new(store: Arc<dyn Store>, answers: Answers) -> Self {
        let items = SelectAll::new();
        Self {
            store,
            answers,
            watches: BTreeMap::new(),
            items,
            next_id: 0,
            wish: None,
        }
    }

    /// Sends an answer; `None` when the client is gone.
    async fn answer(&mut self, answer: WatchResponse) -> Option<()> {
        self.answers.send(Ok(answer)).await.ok()
    }

    async fn request(&mut self, request: WatchRequest) -> Option<()> {
        match request.union {
            Some(WatchUnion::Create(create)) => self.create(create).await,
            Some(WatchUnion::Cancel(cancel)) => {
                let Some(watch) = self.watches.remove(&cancel.watch_id) else {
                    return Some(());
                };
                watch.abort.abort();
                let id = cancel.watch_id;
                let head = self.head().await?;
                self.answer(WatchResponse {
                    header: header(head),
                    watch_id: id,
                    canceled: true,
                    ..Default::default()
                })
                .await?;
                self.granted(id, u64::MAX).await
            }
            Some(WatchUnion::Progress(_)) => self.progress().await,
            None => Some(()),
        }
    }

    async fn head(&mut self) -> Option<u64> {
        match self.store.head().await {
            Ok(head) => Some(head.rev),
            Err(error) => {
                drop(self.answers.send(Err(status(error))).await);
                None
            }
        }
    }

    async fn create(&mut self, create: WatchCreate) -> Option<()> {
        let head = self.head().await?;
        let wanted = create.watch_id;
        let taken = self.watches.contains_key(&wanted);
        if self.watches.len() >= MAX_WATCHES || (wanted != 0 && taken) || wanted < 0 {
            return self
                .answer(WatchResponse {
                    header: header(head),
                    watch_id: -1,
                    created: true,
                    canceled: true,
                    cancel_reason: "mvcc: the watch ID is taken or there are too many".into(),
                    ..Default::default()
                })
                .await;
        }
        let id = if wanted == 0 { self.free_id() } else { wanted };
        let lo = if create.key.is_empty() {
            Bytes::from_static(&[0])
        } else {
            create.key
        };
        let watch = Watch {
            lo,
            hi: create.range_end,
            start_rev: if create.start_revision > 0 {
                rev(create.start_revision)
            } else {
                0
            },
            prev_kv: create.prev_kv,
        };
        let stream = match self.store.watch(watch).await {
            Ok(stream) => stream,
            Err(error) => {
                let created = WatchResponse {
                    header: header(head),
                    watch_id: id,
                    created: true,
                    ..Default::default()
                };
                self.answer(created).await?;
                return self.cancel(id, error.to_string(), 0).await;
            }
        };
        let (stream, abort) = futures::stream::abortable(stream);
        let ended = futures::stream::once(async move { (id, None) });
        self.items.push(
            stream
                .map(move |item| (id, Some(item)))
                .chain(ended)
                .boxed(),
        );
        let running = Running {
            abort,
            progress_notify: create.progress_notify,
            no_puts: create.filters.contains(&0),
            no_deletes: create.filters.contains(&1),
        };
        self.watches.insert(id, running);
        let created = true;
        self.answer(WatchResponse {
            header: header(head),
            watch_id: id,
            created,
            ..Default::default()
        })
        .await
    }

    fn free_id(&mut self) -> i64 {
        while self.watches.contains_key(&self.next_id) {
            self.next_id += 1;
        }
        self.next_id += 1;
        self.next_id - 1
    }

    /// The store ended a watch.
    async fn cancel(&mut self, id: i64, reason: String, compacted: u64) -> Option<()> {
        if let Some(watch) = self.watches.remove(&id) {
            watch.abort.abort();
        }
        let head = self.head().await?;
        self.answer(WatchResponse {
            header: header(head),
            watch_id: id,
            canceled: true,
            compact_revision: int(compacted),
            cancel_reason: reason,
            ..Default::default()
        })
        .await?;
        self.granted(id, u64::MAX).await
    }

    async fn item(&mut self, id: i64, item: Option<Result<WatchItem>>) -> Option<()> {
        // What a canceled watch had still queued is not delivered.
        let Some(watch) = self.watches.get(&id) else {
            return Some(());
        };
        match item {
            Some(Ok(WatchItem::Events { rev, events })) => {
                let wanted = events.into_iter().filter(|e| {
                    if e.deleted {
                        !watch.no_deletes
                    } else {
                        !watch.no_puts
                    }
                });
                let events: Vec<_> = wanted.map(event).collect();
                if events.is_empty() {
                    return Some(());
                }
                let answer = WatchResponse {
                    header: header(rev),
                    watch_id: id,
                    events,
                    ..Default::default()
                };
                self.answer(answer).await
            }
            Some(Ok(WatchItem::Progress { rev })) => {
                if watch.progress_notify {
                    let answer = WatchResponse {
                        header: header(rev),
                        watch_id: id,
                        ..Default::default()
                    };
                    self.answer(answer).await?;
                }
                self.granted(id, rev).await
            }
            Some(Ok(WatchItem::Compacted { rev })) => self.cancel(id, String::new(), rev).await,
            Some(Err(error)) => self.cancel(id, error.to_string(), 0).await,
            None => {
                self.cancel(id, "etcdserver: watch canceled".into(), 0)
                    .await
            }
        }
    }

    /// A client asks how far all its watches are: each answers behind its events.
    async fn progress(&mut self) -> Option<()> {
        let at_least = self.head().await?;
        let waiting: BTreeSet<_> = self.watches.keys().copied().collect();
        if waiting.is_empty() {
            return self.say_progress(at_least).await;
        }
        self.wish = Some(Wish { waiting, at_least });
        if let Err(error) = self.store.progress().await {
            drop(self.answers.send(Err(status(error))).await);
            return None;
        }
        Some(())
    }

    async fn granted(&mut self, id: i64, rev: u64) -> Option<()> {
        let Some(wish) = &mut self.wish else {
            return Some(());
        };
        if rev >= wish.at_least {
            wish.waiting.remove(&id);
        }
        if !wish.waiting.is_empty() {
            return Some(());
        }
        let at_least = wish.at_least;
        self.wish = None;
        self.say_progress(at_least).await
    }

    async fn say_progress(&mut self, rev: u64) -> Option<()> {
        let answer = WatchResponse {
            header: header(rev),
            watch_id: -1,
            ..Default::default()
        };
        self.answer(answer).await
    }
}

fn event(event: crate::Event) -> proto::Event {
    proto::Event {
        r#type: i32::from(event.deleted),
        kv: Some(event.kv.into()),
        prev_kv: event.prev.map(Into::into),
    }
}

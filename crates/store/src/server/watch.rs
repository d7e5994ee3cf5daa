//! The Watch service: many watches on one stream, in the order the protocol promises.

use super::convert::status;
use super::kv::own;
use super::{Call, MAX_REQUEST, header, in_go_words};
use crate::proto::{self, WatchCreate, WatchRequest, WatchResponse, WatchUnion, int, rev};
use crate::{Result, Store, Watch, WatchItem, span::Span};
use bytes::Bytes;
use futures::stream::{AbortHandle, BoxStream, SelectAll};
use futures::{Stream, StreamExt};
use prost::Message as _;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use tonic::{Status, Streaming};

/// Watches that one stream may carry.
const MAX_WATCHES: usize = 10_000;

/// One stream of watches. It is its own work: whoever writes the answers to the client carries it
/// on, so that an event is on its way with one wake-up. What the client does not take waits in the
/// store, where its bounds hold.
pub(super) fn serve(
    call: Call,
    requests: Streaming<WatchRequest>,
) -> impl Stream<Item = Result<WatchResponse, Status>> + Send + 'static {
    let talk = Talk {
        notify: tokio::time::interval(call.budget.bounds().notify),
        session: Session::new(call.store),
        requests,
        over: false,
    };
    futures::stream::unfold(talk, Talk::next)
}

/// A stream, both ways.
struct Talk {
    session: Session,
    requests: Streaming<WatchRequest>,
    notify: tokio::time::Interval,
    /// nothing follows but what is ready
    over: bool,
}

impl Talk {
    /// The next answer. Ends when the client's side of the stream ends.
    async fn next(mut self) -> Option<(Result<WatchResponse, Status>, Self)> {
        loop {
            let session = &mut self.session;
            if let Some(answer) = session.answers.pop_front() {
                return Some((answer, self));
            }
            if self.over {
                return None;
            }
            let going_on = tokio::select! {
                Some((id, item)) = session.items.next(), if !session.items.is_empty() => {
                    session.item(id, item).await
                }
                request = self.requests.next() => match request {
                    Some(Ok(request)) => session.request(request).await,
                    Some(Err(status)) => {
                        let status = in_go_words(&status).unwrap_or(status);
                        session.answers.push_back(Err(status));
                        None
                    }
                    None => None,
                },
                _ = self.notify.tick() => {
                    session.notify().await;
                    Some(())
                }
            };
            self.over = going_on.is_none();
        }
    }
}

struct Running {
    abort: AbortHandle,
    /// 0: from where it was made
    start_rev: u64,
    progress_notify: bool,
    /// had events since the last round of notifications
    active: bool,
    /// is to be told how far it is
    owed: bool,
    no_puts: bool,
    no_deletes: bool,
    fragment: bool,
}

/// A wish for progress that not all watches have answered yet.
struct Wish {
    waiting: BTreeSet<i64>,
    at_least: u64,
}

struct Session {
    store: Arc<dyn Store>,
    /// on their way to the client
    answers: VecDeque<Result<WatchResponse, Status>>,
    watches: BTreeMap<i64, Running>,
    items: SelectAll<BoxStream<'static, (i64, Option<Result<WatchItem>>)>>,
    next_id: i64,
    wish: Option<Wish>,
}

impl Session {
    fn new(store: Arc<dyn Store>) -> Self {
        Self {
            store,
            answers: VecDeque::new(),
            watches: BTreeMap::new(),
            items: SelectAll::new(),
            next_id: 0,
            wish: None,
        }
    }

    /// Tells the watches that wish it and had no event lately how far they are.
    async fn notify(&mut self) {
        // Whoever wishes for nothing does not cost the store a question.
        if !self.watches.values().any(|watch| watch.progress_notify) {
            return;
        }
        let Ok(head) = self.store.head().await else {
            return;
        };
        for watch in self.watches.values_mut().filter(|w| w.progress_notify) {
            watch.owed = !std::mem::take(&mut watch.active) && watch.start_rev <= head.rev;
        }
        if self.watches.values().any(|watch| watch.owed) {
            // If it cannot say now, the next round asks again.
            drop(self.store.progress().await);
        }
    }

    /// Refuses a watch; it never had an id.
    fn refuse(&mut self, head: u64, why: &str) -> Option<()> {
        self.answer(WatchResponse {
            header: header(head),
            watch_id: -1,
            created: true,
            canceled: true,
            cancel_reason: why.into(),
            ..Default::default()
        });
        Some(())
    }

    fn answer(&mut self, answer: WatchResponse) {
        self.answers.push_back(Ok(answer));
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
                });
                self.granted(id, u64::MAX)
            }
            Some(WatchUnion::Progress(_)) => self.progress().await,
            None => Some(()),
        }
    }

    async fn head(&mut self) -> Option<u64> {
        match self.store.head().await {
            Ok(head) => Some(head.rev),
            Err(error) => {
                self.answers.push_back(Err(status(error)));
                None
            }
        }
    }

    async fn create(&mut self, create: WatchCreate) -> Option<()> {
        let head = self.head().await?;
        if create.start_revision < 0 {
            let why = "etcdserver: mvcc: required revision has been compacted";
            return self.refuse(head, why);
        }
        let watch = contract(&create);
        if Span::new(watch.lo.clone(), watch.hi.clone()).is_empty() {
            return self.refuse(head, "mvcc: watcher range is empty");
        }
        let wanted = create.watch_id;
        if wanted < 0 || wanted != 0 && self.watches.contains_key(&wanted) {
            let why = "mvcc: duplicate watch ID provided on the WatchStream";
            return self.refuse(head, why);
        }
        if self.watches.len() >= MAX_WATCHES {
            let why = "etcdserver: too many requests";
            return self.refuse(head, why);
        }
        let id = if wanted == 0 { self.free_id() } else { wanted };
        let start_rev = watch.start_rev;
        let stream = match self.store.watch(watch).await {
            Ok(stream) => stream,
            Err(error) => {
                let why = status(error).message().to_owned();
                return self.refuse(head, &why);
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
            start_rev,
            progress_notify: create.progress_notify,
            active: false,
            owed: false,
            fragment: create.fragment,
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
        });
        Some(())
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
        });
        self.granted(id, u64::MAX)
    }

    async fn item(&mut self, id: i64, item: Option<Result<WatchItem>>) -> Option<()> {
        // What a canceled watch had still queued is not delivered.
        let Some(watch) = self.watches.get_mut(&id) else {
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
                watch.active = true;
                let fragment = watch.fragment;
                let answer = WatchResponse {
                    header: header(rev),
                    watch_id: id,
                    events,
                    ..Default::default()
                };
                if !fragment {
                    self.answer(answer);
                    return Some(());
                }
                for part in fragments(answer) {
                    self.answer(part);
                }
                Some(())
            }
            Some(Ok(WatchItem::Progress { rev })) => {
                if std::mem::take(&mut watch.owed) {
                    let answer = WatchResponse {
                        header: header(rev),
                        watch_id: id,
                        ..Default::default()
                    };
                    self.answer(answer);
                }
                self.granted(id, rev)
            }
            Some(Ok(WatchItem::Compacted { rev })) => self.cancel(id, String::new(), rev).await,
            Some(Err(error)) => {
                let why = status(error).message().to_owned();
                self.cancel(id, why, 0).await
            }
            None => {
                self.cancel(id, "etcdserver: watch canceled".into(), 0)
                    .await
            }
        }
    }

    /// A client asks how far all its watches are: each answers behind its events.
    async fn progress(&mut self) -> Option<()> {
        let at_least = self.head().await?;
        // As etcd (#20221; `server/storage/mvcc/watchable_store.go`, `progressIfSync`): how far a
        // watch is that has not begun would be less than where it begins.
        if self
            .watches
            .values()
            .any(|watch| watch.start_rev > at_least)
        {
            return Some(());
        }
        let waiting: BTreeSet<_> = self.watches.keys().copied().collect();
        if waiting.is_empty() {
            return self.say_progress(at_least);
        }
        self.wish = Some(Wish { waiting, at_least });
        if let Err(error) = self.store.progress().await {
            self.answers.push_back(Err(status(error)));
            return None;
        }
        Some(())
    }

    fn granted(&mut self, id: i64, rev: u64) -> Option<()> {
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
        self.say_progress(at_least)
    }

    fn say_progress(&mut self, rev: u64) -> Option<()> {
        let answer = WatchResponse {
            header: header(rev),
            watch_id: -1,
            ..Default::default()
        };
        self.answer(answer);
        Some(())
    }
}

/// What is watched, as long as the watch is there: nothing of the frame that it came in.
fn contract(create: &WatchCreate) -> Watch {
    let lo = match create.key.is_empty() {
        true => Bytes::from_static(&[0]),
        false => own(&create.key),
    };
    Watch {
        lo,
        hi: own(&create.range_end),
        start_rev: rev(create.start_revision),
        prev_kv: create.prev_kv,
    }
}

/// Splits what is larger than a request may be; a single event stays whole.
fn fragments(whole: WatchResponse) -> Vec<WatchResponse> {
    if whole.encoded_len() < MAX_REQUEST || whole.events.len() < 2 {
        return vec![whole];
    }
    let empty = WatchResponse {
        events: Vec::new(),
        fragment: true,
        ..whole.clone()
    };
    let start = empty.encoded_len();
    let (mut parts, mut part, mut size) = (Vec::new(), empty.clone(), start);
    for event in whole.events {
        // An event in its message: tag, length, itself.
        let more = event.encoded_len() + 6;
        if !part.events.is_empty() && size + more >= MAX_REQUEST {
            parts.push(std::mem::replace(&mut part, empty.clone()));
            size = start;
        }
        size += more;
        part.events.push(event);
    }
    part.fragment = false;
    parts.push(part);
    parts
}

fn event(event: crate::Event) -> proto::Event {
    proto::Event {
        r#type: i32::from(event.deleted),
        kv: Some(event.kv.into()),
        prev_kv: event.prev.map(Into::into),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::Memory;
    use crate::{Keyspaces, Measured, Op, Txn};

    #[test]
    fn a_watch_holds_nothing_of_the_frame_that_it_came_in() {
        let mut frame = Vec::new();
        let create = WatchCreate {
            key: "a".into(),
            range_end: "z".into(),
            start_revision: 3,
            ..Default::default()
        };
        create.encode(&mut frame).expect("room");
        // A field that nobody knows.
        frame.extend([0x7a, 0x80, 0x80, 0x40]);
        frame.resize(frame.len() + (1 << 20), 0);
        let mut frame = Bytes::from(frame);
        let create = WatchCreate::decode(&mut frame).expect("a message");
        assert!(!create.key.is_unique(), "it is a slice of the frame");
        let watch = contract(&create);
        assert!(watch.lo.is_unique() && watch.hi.is_unique());
        assert_eq!((&watch.lo[..], &watch.hi[..]), (&b"a"[..], &b"z"[..]));
        assert_eq!(watch.start_rev, 3);
    }

    /// Puts a key; how many keys there were when the store was asked for its head last.
    async fn known_after_a_round(
        session: &mut Session,
        measured: &Measured,
        key: &'static str,
    ) -> u64 {
        let put = Op::Put {
            key: key.into(),
            value: "v".into(),
            lease: 0,
        };
        let txn = Txn {
            then: vec![put],
            ..Txn::default()
        };
        session.store.txn(txn).await.expect("put");
        session.notify().await;
        measured.metrics("")[0].keys
    }

    #[tokio::test]
    async fn who_wishes_for_no_progress_costs_the_store_no_question() {
        let measured = Measured::new(Memory::new());
        let store = measured.open("one").await.expect("open");
        let mut session = Session::new(store);
        let watch = |progress_notify| WatchRequest {
            union: Some(WatchUnion::Create(WatchCreate {
                key: "other".into(),
                progress_notify,
                ..Default::default()
            })),
        };
        session.request(watch(false)).await.expect("it goes on");
        let known = known_after_a_round(&mut session, &measured, "a").await;
        assert_eq!(known, 0, "asked when the watch was made, and never since");
        session.request(watch(true)).await.expect("it goes on");
        let known = known_after_a_round(&mut session, &measured, "b").await;
        assert_eq!(known, 2);
    }
}

//! Watches, compared with a real etcd's where that has one answer.

use super::Served;
use super::client::{Raw, WatchStream};
use super::proto::{
    CompactionRequest, Empty, HeaderResponse, PutRequest, PutResponse, Request, RequestOp,
    TxnRequest, TxnResponse, WatchCancel, WatchCreate, WatchRequest, WatchResponse, WatchUnion,
};
use crate::real_etcd::RealEtcd;
use bytes::Bytes;
use std::collections::BTreeMap;

fn create(create: WatchCreate) -> WatchRequest {
    WatchRequest {
        union: Some(WatchUnion::Create(create)),
    }
}

fn cancel(watch_id: i64) -> WatchRequest {
    WatchRequest {
        union: Some(WatchUnion::Cancel(WatchCancel { watch_id })),
    }
}

fn progress() -> WatchRequest {
    WatchRequest {
        union: Some(WatchUnion::Progress(Empty {})),
    }
}

async fn put(client: &Raw, key: &str, value: &str) -> i64 {
    let request = PutRequest {
        key: key.to_owned().into(),
        value: value.to_owned().into(),
        ..Default::default()
    };
    let answer: PutResponse = client.call("KV/Put", request).await.expect("put");
    answer.header.expect("header").revision
}

async fn delete(client: &Raw, key: &str) {
    let request = super::proto::DeleteRangeRequest {
        key: key.to_owned().into(),
        ..Default::default()
    };
    let answer = client.call("KV/DeleteRange", request).await;
    let _: super::proto::DeleteRangeResponse = answer.expect("delete");
}

/// What a stream said: events by watch, and everything else in order.
#[derive(Debug, Default, PartialEq)]
struct Heard {
    events: BTreeMap<i64, Vec<String>>,
    words: Vec<String>,
}

impl Heard {
    fn add(&mut self, answer: WatchResponse) {
        let id = answer.watch_id;
        if answer.created || answer.canceled {
            self.words.push(format!(
                "{id} created={} canceled={} compacted={} {:?}",
                answer.created, answer.canceled, answer.compact_revision, answer.cancel_reason
            ));
        }
        for event in answer.events {
            let all = self.events.entry(id).or_default();
            all.push(format!("{event:?}"));
        }
    }
}

/// Listens until the stream says that it is complete up to a revision.
async fn hear(stream: &mut WatchStream, upto: i64) -> Heard {
    let mut heard = Heard::default();
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
    loop {
        assert!(
            std::time::Instant::now() < deadline,
            "never: {upto}, {heard:?}"
        );
        // An etcd is silent about progress while any watch is behind.
        stream.send(progress());
        let answer = match tokio::time::timeout(
            std::time::Duration::from_millis(300),
            stream.next(),
        )
        .await
        {
            Ok(answer) => answer.expect("the stream goes on"),
            Err(_) => continue,
        };
        let at = answer.header.as_ref().map_or(0, |h| h.revision);
        if answer.watch_id == -1 && !answer.canceled && at >= upto {
            return heard;
        }
        heard.add(answer);
    }
}

async fn script(client: &Raw) -> Heard {
    for n in 0..3 {
        put(client, "a", &format!("{n}")).await;
        put(client, "b", &format!("{n}")).await;
    }
    delete(client, "a").await;
    let old = put(client, "c", "1").await;
    let request = CompactionRequest {
        revision: 5,
        physical: true,
    };
    let _: HeaderResponse = client.call("KV/Compact", request).await.expect("compact");
    // Nothing to hear; it opens the stream.
    let first = create(WatchCreate {
        watch_id: 6,
        key: "never".into(),
        ..Default::default()
    });
    let mut stream = client.watch(first).await.expect("watch");
    let all = WatchCreate {
        key: Bytes::from_static(b"\0"),
        range_end: Bytes::from_static(b"\0"),
        ..Default::default()
    };
    let one = |key: &str| WatchCreate {
        key: key.to_owned().into(),
        ..Default::default()
    };
    for request in [
        // 0: everything from the compact revision on, with what was before
        WatchCreate {
            start_revision: 5,
            prev_kv: true,
            ..all.clone()
        },
        // refused: before the beginning, an empty range, an id that is taken
        WatchCreate {
            start_revision: -1,
            ..all.clone()
        },
        WatchCreate {
            range_end: "a".into(),
            ..one("b")
        },
        WatchCreate {
            watch_id: 7,
            ..one("a")
        },
        WatchCreate {
            watch_id: 7,
            ..one("a")
        },
        // filters
        WatchCreate {
            watch_id: 8,
            filters: vec![0],
            ..all.clone()
        },
        WatchCreate {
            watch_id: 9,
            filters: vec![1],
            ..all.clone()
        },
        // an empty key means the first possible one
        WatchCreate {
            watch_id: 10,
            key: Bytes::new(),
            ..all.clone()
        },
        WatchCreate {
            watch_id: 11,
            start_revision: old,
            fragment: true,
            ..all
        },
        WatchCreate {
            watch_id: 12,
            progress_notify: true,
            prev_kv: true,
            ..one("b")
        },
    ] {
        stream.send(create(request));
    }
    let mut heard = hear(&mut stream, old).await;
    // A compacted start is said, on a stream of its own: until such a watch is canceled, an etcd
    // says nothing of progress.
    let compacted = WatchCreate {
        key: "a".into(),
        start_revision: 2,
        ..Default::default()
    };
    let mut other = client.watch(create(compacted)).await.expect("watch");
    for _ in 0..2 {
        heard.add(other.next().await.expect("created, canceled"));
    }
    put(client, "a", "again").await;
    put(client, "b", "again").await;
    delete(client, "b").await;
    let puts = ["x", "y"].map(|key| RequestOp {
        request: Some(Request::Put(PutRequest {
            key: key.into(),
            ..Default::default()
        })),
    });
    let request = TxnRequest {
        success: puts.into(),
        ..Default::default()
    };
    let _: TxnResponse = client.call("KV/Txn", request).await.expect("txn");
    let last = put(client, "end", "1").await;
    let more = hear(&mut stream, last).await;
    for (id, events) in more.events {
        heard.events.entry(id).or_default().extend(events);
    }
    heard.words.extend(more.words);
    stream.send(cancel(7));
    stream.send(cancel(4711));
    let last = put(client, "a", "unseen by 7").await;
    // What a canceled watch still had coming is not compared.
    let more = hear(&mut stream, last).await;
    heard.words.extend(more.words);
    heard
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn watches_hear_what_they_hear_from_a_real_etcd() {
    let Some(etcd) = RealEtcd::start() else {
        return;
    };
    let served = Served::start().await;
    let mut expected = script(&Raw::connect(&etcd.url)).await;
    let mut found = script(&Raw::connect(&served.url)).await;
    // A watch that ends at once may be told so before or after the next one is created.
    expected.words.sort();
    found.words.sort();
    assert_eq!(found, expected);
    assert_eq!(found.events.len(), 7, "{found:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_revision_comes_in_fragments_to_those_who_ask() {
    let served = Served::start().await;
    let client = Raw::connect(&served.url);
    let all = |fragment| {
        create(WatchCreate {
            key: Bytes::from_static(b"\0"),
            range_end: Bytes::from_static(b"\0"),
            fragment,
            prev_kv: true,
            ..Default::default()
        })
    };
    let mut stream = client.watch(all(true)).await.expect("watch");
    assert!(stream.next().await.expect("created").created);
    stream.send(all(false));
    assert!(stream.next().await.expect("created").created);
    // Deletions are small; with what was there before they are not.
    for n in 0..6 {
        put(&client, &format!("k{n}"), &"v".repeat(1_000_000)).await;
    }
    for _ in 0..12 {
        assert_eq!(stream.next().await.expect("put").events.len(), 1);
    }
    let request = super::proto::DeleteRangeRequest {
        key: "k".into(),
        range_end: "l".into(),
        ..Default::default()
    };
    let answer = client.call("KV/DeleteRange", request).await;
    let _: super::proto::DeleteRangeResponse = answer.expect("delete");
    let (mut parts, mut events, mut whole) = (0, 0, 0);
    while events < 6 || whole == 0 {
        let answer = stream.next().await.expect("deleted");
        if answer.watch_id == 1 {
            whole = answer.events.len();
            assert!(!answer.fragment);
            continue;
        }
        parts += 1;
        events += answer.events.len();
        assert_eq!(answer.fragment, events < 6, "{parts} parts");
    }
    assert_eq!((parts, events, whole), (6, 6, 6));
}

/// etcd #20221: no progress of a watch is said that is before the revision it begins at, neither
/// on a schedule nor when asked (`server/storage/mvcc/watchable_store.go`, `progressIfSync`).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_a_watch_that_has_not_begun_no_progress_is_said() {
    let notify = std::time::Duration::from_millis(100);
    let bounds = freehold_store::server::Bounds {
        notify,
        ..Default::default()
    };
    let served = Served::within(Default::default(), bounds).await;
    let etcd = RealEtcd::start_with("http", &["--watch-progress-notify-interval=100ms"]);
    for url in etcd.iter().map(|etcd| &etcd.url).chain([&served.url]) {
        let client = Raw::connect(url);
        let head = put(&client, "a", "1").await;
        let later = WatchCreate {
            key: "a".into(),
            start_revision: head + 3,
            progress_notify: true,
            ..Default::default()
        };
        let mut stream = client.watch(create(later)).await.expect("watch");
        assert!(stream.next().await.expect("created").created);
        stream.send(progress());
        let early = tokio::time::timeout(notify * 8, stream.next()).await;
        assert!(early.is_err(), "{url}: {early:?}");
        for n in 1..=3 {
            put(&client, "b", &n.to_string()).await;
        }
        // Idle, and past its beginning: it is told on a schedule, and when it asks.
        let told = stream.next().await.expect("progress");
        let at = |answer: &WatchResponse| answer.header.as_ref().map_or(0, |h| h.revision);
        assert_eq!(
            (told.watch_id, at(&told), told.events.len()),
            (0, head + 3, 0)
        );
        stream.send(progress());
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
        loop {
            assert!(std::time::Instant::now() < deadline, "{url}: no answer");
            let told = stream.next().await.expect("progress");
            assert_eq!(at(&told), head + 3);
            if told.watch_id == -1 {
                break;
            }
        }
    }
}

/// Who has had events lately is not told as well, and who did not ask is told nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_idle_watches_that_ask_for_it_are_told_how_far_they_are() {
    let bounds = freehold_store::server::Bounds {
        notify: std::time::Duration::from_millis(50),
        ..Default::default()
    };
    let served = Served::within(Default::default(), bounds).await;
    let client = Raw::connect(&served.url);
    let watch = |progress_notify| {
        create(WatchCreate {
            key: "a".into(),
            progress_notify,
            ..Default::default()
        })
    };
    let mut stream = client.watch(watch(false)).await.expect("watch");
    assert!(stream.next().await.expect("created").created);
    stream.send(watch(true));
    assert!(stream.next().await.expect("created").created);
    for _ in 0..3 {
        let told = stream.next().await.expect("progress");
        assert_eq!((told.watch_id, told.events.len()), (1, 0));
    }
}

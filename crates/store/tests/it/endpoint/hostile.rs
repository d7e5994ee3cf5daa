//! Clients that send nonsense, too much, or never read.

use super::client::Raw;
use super::proto::{
    DeleteRangeRequest, DeleteRangeResponse, Empty, PutRequest, PutResponse, RangeRequest,
    RangeResponse, StatusResponse,
};
use super::{Served, proto};
use crate::real_etcd::RealEtcd;
use crate::support::{put, until};
use bytes::{BufMut, Bytes, BytesMut};
use freehold_store::embedded::{Limits, Options};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tonic::{Code, Status};

pub(super) type Sender = hyper::client::conn::http2::SendRequest<Full<Bytes>>;

/// A connection whose windows are as small as they may be, and its end.
pub(super) async fn connect(url: &str) -> (Sender, tokio::task::JoinHandle<hyper::Result<()>>) {
    let address = url.trim_start_matches("http://");
    let stream = TcpStream::connect(address).await.expect("connect");
    let (sender, connection) = hyper::client::conn::http2::Builder::new(TokioExecutor::new())
        .initial_stream_window_size(65_535)
        .initial_connection_window_size(65_535)
        .handshake(TokioIo::new(stream))
        .await
        .expect("handshake");
    (sender, tokio::spawn(connection))
}

pub(super) fn frame(message: &[u8]) -> Bytes {
    let mut frame = BytesMut::new();
    frame.put_u8(0);
    frame.put_u32(u32::try_from(message.len()).expect("small"));
    frame.put_slice(message);
    frame.freeze()
}

pub(super) fn request(url: &str, method: &str, body: Bytes) -> http::Request<Full<Bytes>> {
    http::Request::post(format!("{url}/etcdserverpb.{method}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(Full::new(body))
        .expect("request")
}

/// A real etcd is there: what it says to nonsense says little otherwise.
pub(super) async fn answers(url: &str) {
    let ready: Result<StatusResponse, _> =
        Raw::connect(url).call("Maintenance/Status", Empty {}).await;
    ready.expect("the etcd is there");
}

pub(super) fn everything() -> RangeRequest {
    RangeRequest {
        key: "\0".into(),
        range_end: "\0".into(),
        ..Default::default()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_stops_reading_is_cut_off_and_nobody_else() {
    let served = Served::with(Options::default(), Duration::from_secs(1)).await;
    for n in 0..4 {
        put(&*served.store, &format!("k{n}"), &"v".repeat(1_000_000)).await;
    }
    // A watch without events waits for nothing of its client's.
    let good = Raw::connect(&served.url);
    let create = proto::WatchCreate {
        key: "later".into(),
        ..Default::default()
    };
    let first = proto::WatchRequest {
        union: Some(proto::WatchUnion::Create(create)),
    };
    let mut idle = good.watch(first).await.expect("watch");
    assert!(idle.next().await.expect("created").created);
    let (mut sender, end) = connect(&served.url).await;
    let wanted = request(
        &served.url,
        "KV/Range",
        frame(&everything().encode_to_vec()),
    );
    let start = Instant::now();
    let answer = sender.send_request(wanted).await.expect("an answer begins");
    let ended = tokio::time::timeout(Duration::from_secs(20), end).await;
    drop(
        ended
            .expect("it is cut off")
            .expect("the connection's task"),
    );
    assert!(start.elapsed() >= Duration::from_secs(1));
    drop(answer);
    let all: RangeResponse = good.call("KV/Range", everything()).await.expect("range");
    assert_eq!(all.count, 4);
    put(&*served.store, "later", "1").await;
    assert_eq!(idle.next().await.expect("event").events.len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watcher_that_stops_reading_is_cut_off() {
    let served = Served::with(Options::default(), Duration::from_secs(1)).await;
    let create = proto::WatchRequest {
        union: Some(proto::WatchUnion::Create(proto::WatchCreate {
            key: "\0".into(),
            range_end: "\0".into(),
            ..Default::default()
        })),
    };
    // The request stays open, as a real client's does.
    let (mut feed, open) = futures::channel::mpsc::channel::<Result<_, std::io::Error>>(4);
    let first = hyper::body::Frame::data(frame(&create.encode_to_vec()));
    feed.try_send(Ok(first)).expect("room");
    let address = served.url.trim_start_matches("http://");
    let stream = TcpStream::connect(address).await.expect("connect");
    let (mut sender, connection) = hyper::client::conn::http2::Builder::new(TokioExecutor::new())
        .initial_stream_window_size(65_535)
        .initial_connection_window_size(65_535)
        .handshake(TokioIo::new(stream))
        .await
        .expect("handshake");
    let end = tokio::spawn(connection);
    let wanted = http::Request::post(format!("{}/etcdserverpb.Watch/Watch", served.url))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(http_body_util::StreamBody::new(open))
        .expect("request");
    let answer = sender.send_request(wanted).await.expect("the watch begins");
    let mut writes = 0;
    while !end.is_finished() && writes < 500 {
        put(&*served.store, "k", &"v".repeat(100_000)).await;
        writes += 1;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(end.is_finished(), "not cut off after {writes} writes");
    drop((answer, feed));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nonsense_is_answered_as_a_real_etcd_answers_it() {
    let Some(etcd) = RealEtcd::start() else {
        return;
    };
    let served = Served::start().await;
    answers(&etcd.url).await;
    let large = PutRequest {
        key: "a".into(),
        value: vec![b'x'; 3_000_000].into(),
        ..Default::default()
    };
    for (what, method, body, words) in [
        (
            "a frame too long",
            "KV/Put",
            frame(&large.encode_to_vec()),
            true,
        ),
        ("an unknown method", "KV/Nope", frame(b""), true),
        ("an unknown service", "Nope/Nope", frame(b""), true),
        // The texts of decoding errors are the libraries' own.
        (
            "half a frame",
            "KV/Put",
            Bytes::from_static(&[0, 0, 0, 1]),
            false,
        ),
        ("no protobuf", "KV/Put", frame(&[0xff; 40]), false),
        (
            "a length beyond the end",
            "KV/Put",
            frame(&[0x0a, 0x7f, 1]),
            false,
        ),
    ] {
        let mut said = Vec::new();
        for url in [&etcd.url, &served.url] {
            let (mut sender, _end) = connect(url).await;
            let asked = sender.send_request(request(url, method, body.clone()));
            let answer = tokio::time::timeout(Duration::from_secs(5), asked).await;
            let answer = answer.unwrap_or_else(|_| panic!("{what}: {url} says nothing"));
            let answer = answer.unwrap_or_else(|error| panic!("{what}: {error}"));
            let mut status = Status::from_header_map(answer.headers());
            if status.is_none() {
                let end = answer.into_body().collect().await.expect("body");
                status = end.trailers().and_then(Status::from_header_map);
            }
            let status = status.unwrap_or_else(|| panic!("{what}: no status"));
            said.push((status.code(), status.message().to_owned()));
        }
        let (real, ours) = (&said[0], &said[1]);
        assert_eq!(ours.0, real.0, "{what}: {said:?}");
        assert!(!words || ours.1 == real.1, "{what}: {said:?}");
    }
    // It goes on serving.
    let client = Raw::connect(&served.url);
    let answer: Result<RangeResponse, _> = client.call("KV/Range", everything()).await;
    assert_eq!(answer.expect("range").count, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_keyspace_over_its_quota_says_so_as_etcd_does() {
    let options = Options {
        limits: Limits {
            bytes: 300_000,
            ..Limits::default()
        },
        ..Options::default()
    };
    let served = Served::with(options, Duration::from_secs(60)).await;
    let client = Raw::connect(&served.url);
    let put = |n: usize| PutRequest {
        key: format!("k{n}").into(),
        value: vec![b'x'; 50_000].into(),
        ..Default::default()
    };
    let mut refused = None;
    for n in 0..20 {
        let answer: Result<PutResponse, Status> = client.call("KV/Put", put(n)).await;
        if let Err(status) = answer {
            refused = Some((status.code(), status.message().to_owned()));
            break;
        }
    }
    let text = "etcdserver: mvcc: database space exceeded".to_owned();
    assert_eq!(refused, Some((Code::ResourceExhausted, text)));
    let all = DeleteRangeRequest {
        key: "k".into(),
        range_end: "l".into(),
        ..Default::default()
    };
    let gone: DeleteRangeResponse = client.call("KV/DeleteRange", all).await.expect("delete");
    assert!(gone.deleted > 3);
    let head = served.store.head().await.expect("head").rev;
    served.store.compact(head).await.expect("compact");
    until("there is room again", || async {
        let answer: Result<PutResponse, Status> = client.call("KV/Put", put(99)).await;
        answer.is_ok()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn probes_over_http_are_answered() {
    let served = Served::start().await;
    let address = served.url.trim_start_matches("http://").to_owned();
    for (path, expected) in [
        ("/health", r#"{"health":"true","reason":""}"#),
        ("/readyz", "ok"),
        ("/livez", "ok"),
        ("/version", r#""etcdserver":"3.6.8""#),
        ("/metrics", "it speaks gRPC"),
    ] {
        let mut stream = TcpStream::connect(&address).await.expect("connect");
        let ask = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        stream.write_all(ask.as_bytes()).await.expect("write");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.expect("read");
        assert!(answer.contains(expected), "{path}: {answer}");
    }
}

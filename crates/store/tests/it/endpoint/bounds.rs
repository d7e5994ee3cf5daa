//! What a tenant may have at once: a test of each bound of [`Bounds`], and of what is read.

use super::Served;
use super::client::Raw;
use super::hostile::{connect, everything, frame, request};
use super::proto::{
    DeleteRangeRequest, DeleteRangeResponse, PutRequest, PutResponse, RangeRequest, RangeResponse,
    RangeStreamResponse, Request, RequestOp, TxnRequest, TxnResponse,
};
use super::tenants::Shared;
use crate::fault_disk::FaultDisk;
use crate::support::{put, until};
use bytes::Bytes;
use freehold_store::Keyspaces;
use freehold_store::embedded::Options;
use freehold_store::server::Bounds;
use http_body_util::BodyExt;
use prost::Message;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tonic::{Code, Status};

/// An endpoint whose values are on a disk that tells, and fails, the first reading of one.
async fn on_disk(bounds: Bounds) -> (Served, FaultDisk) {
    let disk = FaultDisk::new(".v0");
    let options = Options {
        inline_bytes: 0,
        disk: Arc::new(disk.clone()),
        ..Options::default()
    };
    let served = Served::within(options, bounds).await;
    for n in 0..8 {
        put(&*served.store, &format!("k{n}"), &"v".repeat(100_000)).await;
    }
    served.engine.sleep("served").await.expect("sleep");
    served.store.head().await.expect("it wakes");
    disk.arm(0, false, true);
    (served, disk)
}

fn all_of_them(prev_kv: bool) -> DeleteRangeRequest {
    DeleteRangeRequest {
        key: "k".into(),
        range_end: "l".into(),
        prev_kv,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_is_too_large_is_refused_before_it_is_read() {
    let bounds = Bounds {
        answer: 500_000,
        ..Bounds::default()
    };
    let (served, disk) = on_disk(bounds).await;
    let client = Raw::connect(&served.url);
    let refused: Result<RangeResponse, Status> = client.call("KV/Range", everything()).await;
    let refused = refused.expect_err("800,000 bytes");
    let text = "grpc: trying to send message larger than max (800016 vs. 500000)";
    assert_eq!(
        (refused.code(), refused.message()),
        (Code::ResourceExhausted, text)
    );
    let range = RequestOp {
        request: Some(Request::Range(everything())),
    };
    let txn = TxnRequest {
        success: vec![range],
        ..Default::default()
    };
    let refused: Result<TxnResponse, Status> = client.call("KV/Txn", txn).await;
    assert_eq!(
        refused.expect_err("the same").code(),
        Code::ResourceExhausted
    );
    let refused: Result<DeleteRangeResponse, Status> =
        client.call("KV/DeleteRange", all_of_them(true)).await;
    assert_eq!(
        refused.expect_err("the same").code(),
        Code::ResourceExhausted
    );
    assert!(!disk.disarm(), "nothing was read");
    // Nothing was deleted; keys and counts have room, and so have some of the values.
    let keys = RangeRequest {
        keys_only: true,
        ..everything()
    };
    let all: RangeResponse = client.call("KV/Range", keys).await.expect("keys");
    assert_eq!(all.kvs.len(), 8);
    let some = RangeRequest {
        limit: 4,
        ..everything()
    };
    let some: RangeResponse = client.call("KV/Range", some).await.expect("four");
    assert_eq!((some.kvs.len(), some.count), (4, 8));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_waits_for_room_has_read_nothing() {
    let bounds = Bounds {
        answers: 1_000_000,
        ..Bounds::default()
    };
    let (served, disk) = on_disk(bounds).await;
    disk.disarm();
    let (mut sender, _end) = connect(&served.url).await;
    let wanted = request(
        &served.url,
        "KV/Range",
        frame(&everything().encode_to_vec()),
    );
    let unread = sender.send_request(wanted).await.expect("an answer begins");
    disk.arm(0, false, true);
    let client = Raw::connect(&served.url);
    let second = tokio::spawn(async move {
        let answer: Result<RangeResponse, Status> = client.call("KV/Range", everything()).await;
        answer
    });
    let small = Raw::connect(&served.url);
    for _ in 0..20 {
        let one = RangeRequest {
            key: "none".into(),
            ..Default::default()
        };
        let _: RangeResponse = small.call("KV/Range", one).await.expect("small ones go on");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(!second.is_finished());
    assert!(!disk.disarm(), "nothing was read");
    let read = unread
        .into_body()
        .collect()
        .await
        .expect("the first is read");
    assert!(read.to_bytes().len() > 800_000);
    let second = second.await.expect("task").expect("there is room again");
    assert_eq!(second.kvs.len(), 8);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_there_before_is_read_for_those_who_ask() {
    let (served, disk) = on_disk(Bounds::default()).await;
    let client = Raw::connect(&served.url);
    let over = |prev_kv| PutRequest {
        key: "k7".into(),
        value: "new".into(),
        prev_kv,
        ..Default::default()
    };
    let answer: PutResponse = client.call("KV/Put", over(false)).await.expect("put");
    assert_eq!(answer.prev_kv, None);
    let gone = client.call("KV/DeleteRange", all_of_them(false)).await;
    let gone: DeleteRangeResponse = gone.expect("deleted");
    assert_eq!((gone.deleted, gone.prev_kvs.len()), (8, 0));
    assert!(!disk.disarm(), "nothing was read");
    let (served, disk) = on_disk(Bounds::default()).await;
    let client = Raw::connect(&served.url);
    let answer: Result<PutResponse, Status> = client.call("KV/Put", over(true)).await;
    answer.expect_err("reading fails");
    assert!(disk.disarm());
    let gone = client.call("KV/DeleteRange", all_of_them(true)).await;
    let gone: DeleteRangeResponse = gone.expect("deleted");
    let values = gone.prev_kvs.iter().map(|kv| kv.value.len());
    assert_eq!(
        values.collect::<Vec<_>>(),
        [&[100_000; 7][..], &[3]].concat()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn parts_of_a_stream_are_small_also_where_values_become_large() {
    let served = Served::start().await;
    for n in 0..20 {
        let then = (0..100).map(|m| crate::support::put_op(&format!("a{n:02}{m:02}"), "v"));
        let txn = freehold_store::Txn {
            then: then.collect(),
            ..Default::default()
        };
        served.store.txn(txn).await.expect("txn");
    }
    for n in 0..24 {
        put(&*served.store, &format!("b{n:02}"), &"v".repeat(1_000_000)).await;
    }
    let client = Raw::connect(&served.url);
    let parts = client.stream("KV/RangeStream", everything()).await;
    let parts: Vec<RangeStreamResponse> = parts.expect("stream");
    let largest = parts.iter().map(Message::encoded_len).max();
    assert!(largest < Some(10 << 20), "{largest:?}");
    let kvs = parts.iter().flat_map(|part| &part.range_response);
    let keys: Vec<&Bytes> = kvs.flat_map(|part| &part.kvs).map(|kv| &kv.key).collect();
    assert_eq!(keys.len(), 2024);
    assert!(keys.is_sorted());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_connection_too_many_is_told_that_it_is_one_too_many() {
    let bounds = Bounds {
        connections: 2,
        ..Bounds::default()
    };
    let served = Served::within(Options::default(), bounds).await;
    let one = || async {
        let client = Raw::connect(&served.url);
        let answer: Result<RangeResponse, Status> = client.call("KV/Range", everything()).await;
        (client, answer)
    };
    let ((first, a), (_second, b)) = (one().await, one().await);
    a.and(b).expect("two are served");
    let (_third, refused) = one().await;
    let refused = refused.expect_err("a third");
    let text = "etcdserver: too many requests";
    assert_eq!(
        (refused.code(), refused.message()),
        (Code::ResourceExhausted, text)
    );
    for (path, code) in [
        ("/health", 503),
        ("/readyz", 503),
        ("/livez", 429),
        ("/version", 429),
    ] {
        let answer = get(&served.url, path).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {code} ")), "{answer}");
        assert!(answer.ends_with(&format!("{text}\n")), "{answer}");
    }
    drop(first);
    until("there is room again", || async { one().await.1.is_ok() }).await;
}

async fn get(url: &str, path: &str) -> String {
    let address = url.trim_start_matches("http://");
    let mut stream = TcpStream::connect(address).await.expect("connect");
    let ask = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    stream.write_all(ask.as_bytes()).await.expect("write");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("read");
    answer
}

/// A request whose message never comes to its end.
fn endless(url: &str) -> (http::Request<Body>, Feed) {
    let (mut feed, open) = futures::channel::mpsc::channel::<Result<_, std::io::Error>>(4);
    let begun = hyper::body::Frame::data(Bytes::from_static(&[0, 0, 0, 1, 0, 7]));
    feed.try_send(Ok(begun)).expect("room");
    let request = http::Request::post(format!("{url}/etcdserverpb.KV/Put"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(http_body_util::StreamBody::new(open))
        .expect("request");
    (request, feed)
}

type Feed = futures::channel::mpsc::Sender<Result<hyper::body::Frame<Bytes>, std::io::Error>>;
type Body = http_body_util::StreamBody<
    futures::channel::mpsc::Receiver<Result<hyper::body::Frame<Bytes>, std::io::Error>>,
>;

async fn slow(url: &str) -> hyper::client::conn::http2::SendRequest<Body> {
    let address = url.trim_start_matches("http://");
    let stream = TcpStream::connect(address).await.expect("connect");
    let io = hyper_util::rt::TokioIo::new(stream);
    let executor = hyper_util::rt::TokioExecutor::new();
    let shaken = hyper::client::conn::http2::handshake(executor, io).await;
    let (sender, connection) = shaken.expect("handshake");
    tokio::spawn(connection);
    sender
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_that_does_not_arrive_is_given_up_and_makes_room() {
    let bounds = Bounds {
        arriving: 2,
        arrival: Duration::from_secs(1),
        ..Bounds::default()
    };
    let served = Served::within(Options::default(), bounds).await;
    let mut sender = slow(&served.url).await;
    let start = Instant::now();
    let (mut feeds, mut answers) = (Vec::new(), Vec::new());
    for _ in 0..2 {
        let (request, feed) = endless(&served.url);
        feeds.push(feed);
        answers.push(tokio::spawn(sender.send_request(request)));
    }
    // Both have their share when the server has read what there is of them.
    tokio::time::sleep(Duration::from_millis(200)).await;
    let client = Raw::connect(&served.url);
    let answer: Result<RangeResponse, Status> = client.call("KV/Range", everything()).await;
    answer.expect("after the others");
    assert!(
        start.elapsed() >= Duration::from_secs(1),
        "{:?}",
        start.elapsed()
    );
    for answer in answers {
        let answer = answer.await.expect("task").expect("an answer");
        let status = Status::from_header_map(answer.headers()).expect("status");
        assert_eq!(status.code(), Code::DeadlineExceeded, "{status:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_has_so_many_streams_and_headers_so_many_bytes() {
    let bounds = Bounds {
        streams: 3,
        ..Bounds::default()
    };
    let served = Served::within(Options::default(), bounds).await;
    let mut sender = slow(&served.url).await;
    // The first answer comes behind the server's settings.
    let (request, feed) = endless(&served.url);
    drop(feed);
    sender.send_request(request).await.expect("an answer");
    let (mut feeds, mut answers) = (Vec::new(), Vec::new());
    for _ in 0..4 {
        let (request, feed) = endless(&served.url);
        feeds.push(feed);
        answers.push(tokio::spawn(sender.send_request(request)));
    }
    // The fourth has said all that it will ever say, and is not heard.
    drop(feeds.pop());
    tokio::time::sleep(Duration::from_millis(300)).await;
    let fourth = answers.pop().expect("four");
    assert!(!fourth.is_finished());
    drop(feeds.pop());
    fourth
        .await
        .expect("task")
        .expect("there is a stream for it");
    let (mut request, _feed) = endless(&served.url);
    let long = "x".repeat(20_000).parse().expect("a value");
    request.headers_mut().insert("x-long", long);
    match sender.send_request(request).await {
        Ok(answer) => assert_eq!(answer.status(), 431),
        Err(error) => panic!("{error}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_never_says_what_it_wants_is_hung_up_on() {
    let bounds = Bounds {
        handshake: Duration::from_millis(300),
        ..Bounds::default()
    };
    let served = Served::within(Options::default(), bounds).await;
    let address = served.url.trim_start_matches("http://");
    let mut stream = TcpStream::connect(address).await.expect("connect");
    stream
        .write_all(b"GET /health HTTP/1.1\r\n")
        .await
        .expect("write");
    let mut answer = Vec::new();
    let end = tokio::time::timeout(Duration::from_secs(10), stream.read_to_end(&mut answer));
    drop(end.await.expect("it is hung up on"));
    let said = String::from_utf8_lossy(&answer);
    assert!(said.is_empty() || said.contains(" 408 "), "{said}");
}

/// Says these bytes and no more; whether it is hung up on, and that not at once.
async fn hung_up(
    mut stream: impl tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
    said: &[u8],
) {
    let start = Instant::now();
    stream.write_all(said).await.expect("write");
    stream.flush().await.expect("flush");
    let mut answer = Vec::new();
    let end = tokio::time::timeout(Duration::from_secs(10), stream.read_to_end(&mut answer));
    drop(end.await.expect("it is hung up on"));
    let waited = start.elapsed();
    assert!(waited > Duration::from_millis(250), "{waited:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_says_nothing_or_too_little_is_hung_up_on() {
    let bounds = Bounds {
        handshake: Duration::from_millis(300),
        ..Bounds::default()
    };
    let served = Served::within(Options::default(), bounds).await;
    let address = served.url.trim_start_matches("http://");
    let idle = Raw::connect(&served.url);
    let _: RangeResponse = idle.call("KV/Range", everything()).await.expect("served");
    for said in [&b""[..], b"P", b"PRI * HTTP/2.0\r\n"] {
        let stream = TcpStream::connect(address).await.expect("connect");
        hung_up(stream, said).await;
    }
    // Who has said what it speaks may be silent for longer than that.
    let _: RangeResponse = idle.call("KV/Range", everything()).await.expect("served");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_handshake_has_so_much_time_and_so_has_what_follows_it() {
    let bounds = Bounds {
        handshake: Duration::from_millis(300),
        ..Bounds::default()
    };
    let shared = Shared::within(bounds).await;
    let address = shared.url.trim_start_matches("https://").to_owned();
    // Nothing, and the beginning of a client's first record.
    for said in [&b""[..], &[22, 3, 1, 2, 0, 1, 0]] {
        let stream = TcpStream::connect(&address).await.expect("connect");
        hung_up(stream, said).await;
    }
    let stream = TcpStream::connect(&address).await.expect("connect");
    let stream = shared.shake(stream, "acme").await;
    hung_up(stream, b"").await;
    let good = shared.named("acme", &[], None);
    let _: RangeResponse = good.call("KV/Range", everything()).await.expect("served");
    tokio::time::sleep(Duration::from_millis(600)).await;
    let _: RangeResponse = good.call("KV/Range", everything()).await.expect("still");
}

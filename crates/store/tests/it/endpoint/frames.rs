//! Frames that are none.

use super::Served;
use super::client::Raw;
use super::hostile::{answers, connect, everything, frame, request};
use super::proto::RangeResponse;
use crate::real_etcd::RealEtcd;
use bytes::Bytes;
use http_body_util::BodyExt;
use std::time::Duration;
use tonic::{Code, Status};

/// The code that a method answers a body with; `None` when it waits for the client to go.
async fn code(
    url: &str,
    method: &str,
    body: &Bytes,
    encoding: Option<&'static str>,
) -> Option<Code> {
    let status = said(url, method, body, encoding).await;
    status.map(|status| status.code())
}

/// The same with what it says.
async fn said(
    url: &str,
    method: &str,
    body: &Bytes,
    encoding: Option<&'static str>,
) -> Option<Status> {
    let (mut sender, _end) = connect(url).await;
    let mut asked = request(url, method, body.clone());
    if let Some(encoding) = encoding {
        let value = http::HeaderValue::from_static(encoding);
        asked.headers_mut().insert("grpc-encoding", value);
    }
    let answer = tokio::time::timeout(Duration::from_secs(3), async {
        let answer = sender.send_request(asked).await.expect("an answer");
        if let Some(status) = Status::from_header_map(answer.headers()) {
            return status;
        }
        let end = answer.into_body().collect().await.expect("body");
        let status = end.trailers().and_then(Status::from_header_map);
        status.expect("a status")
    });
    answer.await.ok()
}

/// A real etcd that answers, if there is one, and ours.
async fn both() -> Option<(RealEtcd, Served)> {
    let etcd = RealEtcd::start()?;
    answers(&etcd.url).await;
    Some((etcd, Served::start().await))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nonsense_on_a_stream_is_answered_as_a_real_etcd_answers_it() {
    let Some((etcd, served)) = both().await else {
        return;
    };
    let long = frame(&vec![b'x'; 3_000_000]);
    let compressed = Bytes::from_static(&[1, 0, 0, 0, 2, 8, 1]);
    let mut differ = Vec::new();
    for (what, body, encoding) in [
        ("a frame too long", long, None),
        ("half a frame", Bytes::from_static(&[0, 0, 0, 1]), None),
        (
            "half a message",
            Bytes::from_static(&[0, 0, 0, 0, 9, 8]),
            None,
        ),
        ("no protobuf", frame(&[0xff; 40]), None),
        ("a length beyond the end", frame(&[0x0a, 0x7f, 1]), None),
        ("compressed in no way", compressed.clone(), None),
        ("compressed in an unknown way", compressed, Some("br")),
    ] {
        for method in [
            "Watch/Watch",
            "Lease/LeaseKeepAlive",
            "Maintenance/Snapshot",
        ] {
            let real = code(&etcd.url, method, &body, encoding).await;
            let ours = code(&served.url, method, &body, encoding).await;
            // A real Watch waits for the client to go, a real LeaseKeepAlive takes it for the end.
            let told = what != "half a frame" || method == "Maintenance/Snapshot";
            if real != ours && told {
                differ.push(format!("{method}: {what}: {real:?}, here {ours:?}"));
            }
        }
        // No released etcd has it yet.
        let plain = code(&served.url, "Maintenance/Snapshot", &body, encoding).await;
        let ours = code(&served.url, "KV/RangeStream", &body, encoding).await;
        assert_eq!(ours, plain, "RangeStream: {what}");
    }
    assert!(differ.is_empty(), "{differ:#?}");
    let client = Raw::connect(&served.url);
    let answer: Result<RangeResponse, _> = client.call("KV/Range", everything()).await;
    assert_eq!(answer.expect("it goes on serving").count, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nonsense_is_answered_in_the_words_of_a_real_etcd_on_any_method() {
    let Some((etcd, served)) = both().await else {
        return;
    };
    let long = frame(&vec![b'x'; 3_000_000]);
    let mut differ = Vec::new();
    for (what, body) in [
        ("a frame too long", long),
        ("half a frame", Bytes::from_static(&[0, 0, 0, 1])),
        ("half a message", Bytes::from_static(&[0, 0, 0, 0, 9, 8])),
        ("no message", Bytes::from_static(&[0, 0, 0, 0, 9])),
        ("no protobuf", frame(&[0xff; 40])),
    ] {
        for method in ["KV/Range", "KV/Put", "Maintenance/Snapshot"] {
            let words = |status: Option<Status>| {
                let status = status.expect("an answer");
                let text = status.message().to_owned();
                // What is wrong with a message, each library says in its own words.
                let cause = text.find(": failed to decode").or(text.find(": proto: "));
                (
                    status.code(),
                    text[..cause.unwrap_or(text.len())].to_owned(),
                )
            };
            let real = words(said(&etcd.url, method, &body, None).await);
            let ours = words(said(&served.url, method, &body, None).await);
            // Of a stream that ends before its message, the library says it in words of its own.
            let told = !method.ends_with("Snapshot") || body.len() > 5;
            if ours != real && told {
                differ.push(format!("{method}: {what}: {real:?}, here {ours:?}"));
            }
        }
    }
    assert!(differ.is_empty(), "{differ:#?}");
}

//! Calls to the etcd endpoint whose bodies are frames of any bytes, cut anywhere: each is answered,
//! and the endpoint goes on.
#![no_main]

use bytes::Bytes;
use freehold_fuzz::Input;
use freehold_store::memory::MemoryStore;
use freehold_store::server::Endpoint;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use hyper::client::conn::http2::{SendRequest, handshake};
use hyper_util::rt::{TokioExecutor, TokioIo};
use std::cell::RefCell;
use std::convert::Infallible;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, Runtime};

type Body = StreamBody<futures::stream::Iter<std::vec::IntoIter<Result<Frame<Bytes>, Infallible>>>>;

/// Calls before everything begins anew: what was written is looked through again and again.
const MOST: usize = 500;
/// Long, for machines that are paused now and then.
const PATIENCE: Duration = Duration::from_secs(300);
const METHODS: [&str; 20] = [
    "KV/Range",
    "KV/RangeStream",
    "KV/Put",
    "KV/DeleteRange",
    "KV/Txn",
    "KV/Compact",
    "Watch/Watch",
    "Lease/LeaseGrant",
    "Lease/LeaseRevoke",
    "Lease/LeaseKeepAlive",
    "Lease/LeaseTimeToLive",
    "Lease/LeaseLeases",
    "Maintenance/Alarm",
    "Maintenance/Status",
    "Maintenance/HashKV",
    "Maintenance/Snapshot",
    "Maintenance/Defragment",
    "Cluster/MemberList",
    "Auth/AuthStatus",
    "KV/Nothing",
];

struct Served {
    runtime: Runtime,
    sender: SendRequest<Body>,
    left: usize,
}

thread_local! {
    static SERVED: RefCell<Option<Served>> = const { RefCell::new(None) };
}

fn start() -> Served {
    let runtime = Builder::new_current_thread().enable_all().build();
    let runtime = runtime.expect("runtime");
    let sender = runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let endpoint = Endpoint::one_keyspace(MemoryStore::new());
        tokio::spawn(endpoint.serve(listener, std::future::pending()));
        let stream = TcpStream::connect(address).await.expect("connects");
        stream.set_nodelay(true).expect("a stream");
        let (sender, end) = handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .expect("speaks");
        tokio::spawn(end);
        sender
    });
    Served {
        runtime,
        sender,
        left: MOST,
    }
}

async fn call(sender: &mut SendRequest<Body>, method: &str, how: u8, pieces: Vec<Bytes>) {
    let pieces: Vec<_> = pieces.into_iter().map(|p| Ok(Frame::data(p))).collect();
    let mut request = http::Request::post(format!("http://e/etcdserverpb.{method}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers");
    if how & 64 != 0 {
        request = request.header("grpc-encoding", "gzip");
    }
    let body = StreamBody::new(futures::stream::iter(pieces));
    let request = request.body(body).expect("a request");
    // Whoever sends what is not asked for may be told that the stream is over.
    let Ok(answer) = sender.send_request(request).await else {
        return;
    };
    let _ = answer.into_body().collect().await;
}

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    SERVED.with_borrow_mut(|served| {
        let usable = |served: &Served| served.left > 0 && !served.sender.is_closed();
        let mut now = served.take().filter(usable).unwrap_or_else(start);
        let mut input = Input(bytes);
        let sender = &mut now.sender;
        now.runtime.block_on(async {
            for _ in 0..8 {
                if input.is_empty() {
                    break;
                }
                let how = input.byte();
                let method = METHODS[usize::from(how & 63) % METHODS.len()];
                let mut pieces = Vec::new();
                while input.byte() & 3 != 0 && pieces.len() < 8 {
                    let piece = input.part();
                    let frame = [&[0][..], &(piece.len() as u32).to_be_bytes(), piece].concat();
                    let raw = input.byte() & 3 == 0;
                    pieces.push(Bytes::from(if raw { piece.to_vec() } else { frame }));
                }
                let called = call(sender, method, how, pieces);
                let called = tokio::time::timeout(PATIENCE, called).await;
                assert!(called.is_ok(), "{method} is not answered");
            }
        });
        now.left -= 1;
        *served = Some(now);
    });
});

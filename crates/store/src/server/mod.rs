//! The etcd v3 protocol over keyspaces.
//!
//! [`serve`] gives everybody who can connect one keyspace: for tests and loopback. An
//! [`Endpoint`] with TLS serves many: which one is decided by the client's certificate, once per
//! connection (see [`Tenants`]), never by anything inside a request.
//!
//! Served: KV with etcd 3.7's `RangeStream`, Watch, Lease, Maintenance, `Cluster/MemberList`, and
//! over HTTP `/health`, `/readyz`, `/livez` and `/version`. Absent, and refused with a sentence:
//! users and roles (a certificate says who a client is), membership changes, downgrades, moving a
//! leader, raising alarms. `Hash` and `HashKV` are ours: equal for equal contents, but not
//! etcd's numbers. `Snapshot` sends an etcd database file that `etcdutl` restores (`snapshot`).
//!
//! Errors carry etcd's codes and texts (`convert`), limits are etcd's where it has one. What a
//! tenant can make the process hold is bounded (`budget`), and a client that stops reading is
//! cut off (`guard`).

mod accept;
mod bolt;
mod budget;
mod convert;
#[doc(hidden)]
pub mod fuzzing;
mod guard;
mod heard;
mod kv;
mod lease;
mod maintenance;
mod range;
mod snapshot;
mod tenants;
mod together;
mod txn;
mod unary;
mod watch;

pub use accept::{Doors, Endpoint, tls_config};
pub use budget::Bounds;
pub use tenants::{Subject, Tenants};

use crate::proto::{ResponseHeader, int};
use crate::room::{Room, Size};
use crate::{Error, Range, RangeReply, Store, Txn, TxnReply};
use async_trait::async_trait;
use budget::Budget;
use futures::Stream;
use guard::{Guarded, Watchdog};
use http::header::{CONTENT_TYPE, HeaderValue};
use hyper::body::Incoming;
use parking_lot::Mutex;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::net::TcpListener;
use tokio::sync::OwnedSemaphorePermit;
use tonic::body::Body;
use tonic::server::Grpc;
use tonic::{Code, Request, Response, Status};
use tonic_prost::ProstCodec;
use unary::{apart, unary};

/// The etcd whose protocol this is; clients look at it to know what they may ask.
const VERSION: &str = "3.6.8";
/// As etcd: a request has 1.5 MiB at most, a frame a little more.
const MAX_REQUEST: usize = 1_572_864;
const MAX_FRAME: usize = MAX_REQUEST + 512 * 1024;
const MEMBER: u64 = 0x6672_6565_686f_6c64;

/// Serves a keyspace to every client that connects, until the future is dropped.
///
/// # Errors
/// When the listener fails.
pub async fn serve(listener: TcpListener, store: Arc<dyn Store>) -> io::Result<()> {
    let endpoint = Endpoint::one_keyspace(store);
    endpoint.serve(listener, std::future::pending()).await
}

fn header(revision: u64) -> Option<ResponseHeader> {
    Some(ResponseHeader {
        cluster_id: MEMBER,
        member_id: MEMBER,
        revision: int(revision),
        raft_term: 1,
    })
}

/// What a request is served with.
#[derive(Clone)]
struct Call {
    store: Arc<dyn Store>,
    budget: Arc<Budget>,
    /// as the client reaches us, for the list of members
    scheme: &'static str,
    authority: Option<http::uri::Authority>,
    held: Arc<Held>,
}

/// Bytes of keys and values that a part of an answer may have; a single key has any.
const PART: usize = 8 << 20;

/// Room in the tenant's budget for what a call reads.
struct Reading<'a> {
    call: &'a Call,
    most: usize,
    too_large: AtomicBool,
    refused: Mutex<Option<Status>>,
}

impl<'a> Reading<'a> {
    fn new(call: &'a Call, most: usize) -> Self {
        Self {
            call,
            most,
            too_large: AtomicBool::new(false),
            refused: Mutex::default(),
        }
    }

    fn too_large(&self) -> bool {
        self.too_large.load(Ordering::Relaxed)
    }

    /// The store's error, or why there was no room.
    fn refused(&self, error: Error) -> Status {
        let refused = self.refused.lock().take();
        refused.unwrap_or_else(|| convert::status(error))
    }
}

#[async_trait]
impl Room for Reading<'_> {
    async fn take(&self, size: Size) -> crate::Result<()> {
        if size.keys > 1 && size.bytes > self.most as u64 {
            self.too_large.store(true, Ordering::Relaxed);
            return Err(Error::Throttled("too large a part".into()));
        }
        let held = &self.call.held;
        match self.call.budget.reading(size, held.room()).await {
            Ok(more) => {
                held.add(more);
                Ok(())
            }
            Err(status) => {
                let error = Error::Throttled(status.message().to_owned());
                *self.refused.lock() = Some(status);
                Err(error)
            }
        }
    }
}

/// Shares of the tenant's budget that a request has.
#[derive(Default)]
struct Held {
    /// while the request is arriving
    reading: Mutex<Option<OwnedSemaphorePermit>>,
    /// until the answer has left
    answer: Mutex<Option<OwnedSemaphorePermit>>,
}

impl Held {
    /// Bytes of an answer that there is room for.
    fn room(&self) -> usize {
        let answer = self.answer.lock();
        answer
            .as_ref()
            .map_or(0, |permit| permit.num_permits() * budget::STEP)
    }

    fn add(&self, more: Option<OwnedSemaphorePermit>) {
        let Some(more) = more else { return };
        let mut answer = self.answer.lock();
        match &mut *answer {
            Some(permit) => permit.merge(more),
            None => *answer = Some(more),
        }
    }

    /// Gives back what is more than so many bytes.
    fn keep(&self, size: usize) {
        let mut answer = self.answer.lock();
        let spare = answer.as_mut().and_then(|permit| {
            permit.split(permit.num_permits().saturating_sub(size / budget::STEP))
        });
        drop(spare);
    }
}

impl Call {
    /// Waits for room for an answer of this size, and gives back what there is too much of.
    async fn hold(&self, size: usize) -> Result<(), Status> {
        let more = self.budget.answer(size, self.held.room()).await?;
        self.held.add(more);
        self.held.keep(size);
        Ok(())
    }

    /// A range for which there is room in the tenant's budget before it is read.
    async fn range(&self, range: Range) -> Result<RangeReply, Status> {
        let room = Reading::new(self, usize::MAX);
        let reply = self.store.range_within(range, &room).await;
        reply.map_err(|error| room.refused(error))
    }

    /// Up to so many keys of a range, fewer when their values are large: for answers that are
    /// made part by part. They take the place of the part before.
    async fn part(&self, range: &mut Range) -> Result<RangeReply, Status> {
        self.held.keep(0);
        loop {
            let room = Reading::new(self, PART);
            match self.store.range_within(range.clone(), &room).await {
                Err(_) if room.too_large() && range.limit > 1 => range.limit = range.limit / 8 + 1,
                reply => return reply.map_err(|error| room.refused(error)),
            }
        }
    }

    /// A transaction, the same.
    async fn txn(&self, txn: Txn) -> Result<TxnReply, Status> {
        let room = Reading::new(self, usize::MAX);
        let reply = self.store.txn_within(txn, &room).await;
        reply.map_err(|error| room.refused(error))
    }

    async fn head(&self) -> Result<crate::Head, Status> {
        self.store.head().await.map_err(convert::status)
    }

    /// The request has arrived.
    fn arrived(&self) {
        self.held.reading.lock().take();
    }

    /// Ends when the request has not arrived in time; most have when this is asked first.
    async fn late(&self) {
        let arrived = || self.held.reading.lock().is_none();
        if !arrived() {
            tokio::time::sleep(self.budget.bounds().arrival).await;
        }
        if arrived() {
            std::future::pending::<()>().await;
        }
    }
}

/// One method that answers with a stream.
async fn streaming<Q, A, S>(
    call: &Call,
    request: http::Request<Incoming>,
    method: impl Fn(Call, Q) -> S + Send + Sync + 'static,
) -> http::Response<Body>
where
    Q: prost::Message + Default + Send + 'static,
    A: prost::Message + Send + Sync + 'static,
    S: Stream<Item = Result<A, Status>> + Send + 'static,
{
    let served = call.clone();
    let method = tower::service_fn(move |request: Request<Q>| {
        served.arrived();
        let stream = method(served.clone(), request.into_inner());
        async move { Ok::<_, Status>(Response::new(stream)) }
    });
    let answer = Grpc::new(ProstCodec::<A, Q>::default())
        .max_decoding_message_size(MAX_FRAME)
        .server_streaming(method, request)
        .await;
    as_grpc_go(answer)
}

/// One method with a stream each way.
async fn both_ways<Q, A, S>(
    call: &Call,
    request: http::Request<Incoming>,
    method: impl Fn(Call, tonic::Streaming<Q>) -> S + Send + Sync + 'static,
) -> http::Response<Body>
where
    Q: prost::Message + Default + Send + 'static,
    A: prost::Message + Send + Sync + 'static,
    S: Stream<Item = Result<A, Status>> + Send + 'static,
{
    let served = call.clone();
    let method = tower::service_fn(move |request: Request<tonic::Streaming<Q>>| {
        // Such a stream may stay open without a word; it is bounded by the connection's streams.
        served.arrived();
        let stream = method(served.clone(), request.into_inner());
        async move { Ok::<_, Status>(Response::new(stream)) }
    });
    let answer = Grpc::new(ProstCodec::<A, Q>::default())
        .max_decoding_message_size(MAX_FRAME)
        .streaming(method, request)
        .await;
    as_grpc_go(answer)
}

/// Who a connection is: a keyspace, or the reason why it gets none.
#[derive(Clone)]
struct Peer {
    keyspace: Result<(Arc<dyn Store>, Arc<Budget>), Status>,
    scheme: &'static str,
    watchdog: Arc<Watchdog>,
}

impl Peer {
    async fn answer(self, request: http::Request<Incoming>) -> http::Response<Guarded> {
        let grpc = request
            .headers()
            .get(CONTENT_TYPE)
            .is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"));
        if !grpc {
            let answer = maintenance::plain_http(&self, &request).await;
            return answer.map(|body| Guarded::new(body, &self.watchdog, None));
        }
        let (store, budget) = match self.keyspace {
            Ok(keyspace) => keyspace,
            Err(refused) => {
                let refused = refused.into_http();
                return refused.map(|body| Guarded::new(body, &self.watchdog, None));
            }
        };
        let call = Call {
            store,
            scheme: self.scheme,
            authority: request.uri().authority().cloned(),
            held: Arc::default(),
            budget,
        };
        let answer = match call.budget.request().await {
            Ok(permit) => {
                *call.held.reading.lock() = Some(permit);
                tokio::select! {
                    biased;
                    answer = dispatch(&call, request) => answer,
                    () = call.late() => {
                        Status::deadline_exceeded("the request did not arrive in time").into_http()
                    }
                }
            }
            Err(refused) => refused.into_http(),
        };
        let held = call.held.clone();
        answer.map(|body| Guarded::new(body, &self.watchdog, Some(held)))
    }
}

/// A frame that is none on a method that streams, in the words and with the code of etcd's own
/// gRPC library; the others read their frames themselves (`unary`).
fn as_grpc_go(mut answer: http::Response<Body>) -> http::Response<Body> {
    let Some(status) = Status::from_header_map(answer.headers()) else {
        return answer;
    };
    let Some(status) = in_go_words(&status) else {
        return answer;
    };
    let code = HeaderValue::from(status.code() as i32);
    answer.headers_mut().insert("grpc-status", code);
    if let Some(text) = status.into_http::<Body>().headers().get("grpc-message") {
        answer.headers_mut().insert("grpc-message", text.clone());
    }
    answer
}

/// The same for one status, if it is said otherwise there.
fn in_go_words(status: &Status) -> Option<Status> {
    let said = status.message();
    let status = if status.code() == Code::OutOfRange && said.contains("message length too large") {
        let mut numbers = said.split(|c: char| !c.is_ascii_digit());
        let mut number = || numbers.find(|n| !n.is_empty()).unwrap_or("?");
        let (found, limit) = (number(), number());
        Status::resource_exhausted(format!(
            "grpc: received message larger than max ({found} vs. {limit})"
        ))
    } else if status.code() == Code::Internal && said.contains("Unexpected EOF") {
        Status::internal("unexpected EOF")
    } else if status.code() == Code::Internal && said.contains("failed to decode Protobuf") {
        Status::internal(format!(
            "grpc: failed to unmarshal the received message: {said}"
        ))
    } else {
        return None;
    };
    Some(status)
}

async fn dispatch(call: &Call, request: http::Request<Incoming>) -> http::Response<Body> {
    // Cheap: it shares the request's bytes.
    let uri = request.uri().clone();
    let mut parts = uri.path().trim_start_matches('/').splitn(2, '/');
    let service = parts.next().unwrap_or_default();
    let method = parts.next().unwrap_or_default();
    match service.strip_prefix("etcdserverpb.") {
        Some("KV") => kv::dispatch(call, method, request).await,
        Some("Watch") if method == "Watch" => both_ways(call, request, watch::serve).await,
        Some("Lease") => lease::dispatch(call, method, request).await,
        Some("Maintenance") => maintenance::dispatch(call, method, request).await,
        Some("Cluster") => maintenance::cluster(call, method, request).await,
        Some("Auth") => maintenance::auth(call, method, request).await,
        Some("Watch") => unknown_method(service, method),
        _ => Status::unimplemented(format!("unknown service {service}")).into_http(),
    }
}

fn unknown_method(service: &str, method: &str) -> http::Response<Body> {
    let text = format!("unknown method {method} for service {service}");
    Status::unimplemented(text).into_http()
}

/// What exists in etcd and is not served, with the reason.
fn not_served(why: &str) -> http::Response<Body> {
    Status::unimplemented(format!("freehold: {why}")).into_http()
}

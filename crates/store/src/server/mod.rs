//! The etcd v3 protocol over one keyspace: what kube-apiserver and etcdctl use of it.
//!
//! A listener serves one keyspace: which one is decided by whoever opens the listener, never by
//! anything a client sends. Absent, and answered with `Unimplemented`: comparisons other than
//! equality, ranges and nested transactions inside transactions, lease keep-alive and listing,
//! snapshots, users and roles.

mod convert;
mod kv;
mod watch;

use crate::Store;
use crate::proto::{
    Empty, HeaderResponse, LeaseGrantRequest, LeaseGrantResponse, LeaseRevokeRequest, Member,
    MemberListResponse, ResponseHeader, StatusResponse, int, rev,
};
use convert::status;
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tonic::body::Body;
use tonic::server::Grpc;
use tonic::{Request, Response, Status};
use tonic_prost::ProstCodec;

/// The etcd whose protocol this is; clients look at it to know what they may ask.
const VERSION: &str = "3.6.8";
/// As etcd: a request has 1.5 MiB at most, a frame a little more.
const MAX_REQUEST: usize = 1_572_864;
const MAX_FRAME: usize = MAX_REQUEST + 512 * 1024;
/// Streams that one connection may have open.
const MAX_STREAMS: u32 = 1024;
const MEMBER: u64 = 0x6672_6565_686f_6c64;

/// Serves a keyspace to every client that connects, until the future is dropped.
pub async fn serve(listener: TcpListener, store: Arc<dyn Store>) -> io::Result<()> {
    // Connections end with this set, which ends with the future.
    let mut connections = tokio::task::JoinSet::new();
    loop {
        let stream = tokio::select! {
            accepted = listener.accept() => accepted?.0,
            Some(_) = connections.join_next() => continue,
        };
        drop(stream.set_nodelay(true));
        let store = store.clone();
        connections.spawn(async move {
            let service = hyper::service::service_fn(move |request| {
                let store = store.clone();
                async move { Ok::<_, std::convert::Infallible>(call(store, request).await) }
            });
            let served = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
                .timer(TokioTimer::new())
                .keep_alive_interval(Duration::from_secs(30))
                .max_concurrent_streams(MAX_STREAMS)
                .initial_stream_window_size(1 << 20)
                .initial_connection_window_size(4 << 20)
                .serve_connection(TokioIo::new(stream), service)
                .await;
            if let Err(error) = served {
                tracing::debug!(%error, "an etcd client's connection broke");
            }
        });
    }
}

pub(super) fn header(revision: u64) -> Option<ResponseHeader> {
    Some(ResponseHeader {
        cluster_id: MEMBER,
        member_id: MEMBER,
        revision: int(revision),
        raft_term: 1,
    })
}

/// One unary method.
async fn unary<Q, A, F>(
    store: Arc<dyn Store>,
    request: http::Request<Incoming>,
    method: impl Fn(Arc<dyn Store>, Q) -> F + Send + Sync + 'static,
) -> http::Response<Body>
where
    Q: prost::Message + Default + Send + 'static,
    A: prost::Message + Send + Sync + 'static,
    F: Future<Output = Result<A, Status>> + Send + 'static,
{
    let method = tower::service_fn(move |request: Request<Q>| {
        let answer = method(store.clone(), request.into_inner());
        async move { answer.await.map(Response::new) }
    });
    Grpc::new(ProstCodec::<A, Q>::default())
        .max_decoding_message_size(MAX_FRAME)
        .unary(method, request)
        .await
}

async fn call(store: Arc<dyn Store>, request: http::Request<Incoming>) -> http::Response<Body> {
    let path = request.uri().path().to_owned();
    match path.as_str() {
        "/etcdserverpb.KV/Range" => unary(store, request, kv::range).await,
        "/etcdserverpb.KV/Put" => unary(store, request, kv::put).await,
        "/etcdserverpb.KV/DeleteRange" => unary(store, request, kv::delete_range).await,
        "/etcdserverpb.KV/Txn" => unary(store, request, kv::txn).await,
        "/etcdserverpb.KV/Compact" => unary(store, request, kv::compact).await,
        "/etcdserverpb.Watch/Watch" => {
            let method = tower::service_fn(move |request: Request<tonic::Streaming<_>>| {
                let stream = watch::serve(store.clone(), request.into_inner());
                async move { Ok::<_, Status>(Response::new(stream)) }
            });
            Grpc::new(ProstCodec::default())
                .max_decoding_message_size(MAX_FRAME)
                .streaming(method, request)
                .await
        }
        "/etcdserverpb.Lease/LeaseGrant" => unary(store, request, lease_grant).await,
        "/etcdserverpb.Lease/LeaseRevoke" => unary(store, request, lease_revoke).await,
        "/etcdserverpb.Maintenance/Status" => unary(store, request, server_status).await,
        // No alarm is ever raised: a full keyspace says so itself. There is nothing to defragment.
        "/etcdserverpb.Maintenance/Alarm" | "/etcdserverpb.Maintenance/Defragment" => {
            unary(store, request, nothing).await
        }
        "/etcdserverpb.Cluster/MemberList" => unary(store, request, members).await,
        path if path.starts_with("/etcdserverpb.Auth/") => {
            let text = "etcdserver: authentication is not enabled";
            Status::failed_precondition(text).into_http()
        }
        path => Status::unimplemented(format!("freehold does not serve {path}")).into_http(),
    }
}

async fn lease_grant(
    store: Arc<dyn Store>,
    request: LeaseGrantRequest,
) -> Result<LeaseGrantResponse, Status> {
    if request.id != 0 {
        return Err(Status::unimplemented(
            "freehold chooses the ids of leases itself",
        ));
    }
    if request.ttl > int(crate::limits::MAX_TTL) {
        return Err(Status::out_of_range("etcdserver: too large lease TTL"));
    }
    let ttl = rev(request.ttl).max(1);
    let id = store.lease_grant(ttl).await.map_err(status)?;
    let head = store.head().await.map_err(status)?;
    Ok(LeaseGrantResponse {
        header: header(head.rev),
        id,
        ttl: int(ttl),
        error: String::new(),
    })
}

async fn lease_revoke(
    store: Arc<dyn Store>,
    request: LeaseRevokeRequest,
) -> Result<HeaderResponse, Status> {
    store.lease_revoke(request.id).await.map_err(status)?;
    nothing(store, Empty {}).await
}

async fn nothing(store: Arc<dyn Store>, _: Empty) -> Result<HeaderResponse, Status> {
    let head = store.head().await.map_err(status)?;
    Ok(HeaderResponse {
        header: header(head.rev),
    })
}

async fn server_status(store: Arc<dyn Store>, _: Empty) -> Result<StatusResponse, Status> {
    let head = store.head().await.map_err(status)?;
    Ok(StatusResponse {
        header: header(head.rev),
        version: VERSION.into(),
        db_size: int(head.bytes),
        leader: MEMBER,
        raft_index: head.rev,
        raft_term: 1,
        raft_applied_index: head.rev,
        errors: Vec::new(),
        db_size_in_use: int(head.bytes),
        is_learner: false,
        storage_version: VERSION.into(),
    })
}

async fn members(store: Arc<dyn Store>, _: Empty) -> Result<MemberListResponse, Status> {
    let head = store.head().await.map_err(status)?;
    // No URLs: clients keep to the endpoint that they were given.
    let member = Member {
        id: MEMBER,
        name: "freehold".into(),
        ..Default::default()
    };
    Ok(MemberListResponse {
        header: header(head.rev),
        members: vec![member],
    })
}

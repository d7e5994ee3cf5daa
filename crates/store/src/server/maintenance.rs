//! Maintenance, what there is of Cluster and Auth, and what is asked over plain HTTP.

use super::{
    Call, MEMBER, Peer, VERSION, apart, header, not_served, snapshot, streaming, unary,
    unknown_method,
};
use crate::proto::{
    AlarmRequest, AuthStatusResponse, Empty, HashKvRequest, HashResponse, HeaderResponse, Member,
    MemberListResponse, StatusResponse, int, rev,
};
use crate::{KeyValue, Range, for_tenants};
use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderValue};
use hyper::body::Incoming;
use tonic::body::Body;
use tonic::{Code, Status};

/// Keys read at once when a whole keyspace is walked.
const PAGE: usize = 1000;

pub(super) async fn dispatch(
    call: &Call,
    method: &str,
    request: http::Request<Incoming>,
) -> http::Response<Body> {
    match method {
        "Status" => unary(call, request, server_status).await,
        "Alarm" => unary(call, request, alarm).await,
        // There is nothing to defragment.
        "Defragment" => unary(call, request, nothing).await,
        "Hash" => apart(call, request, hash, |_| true).await,
        "HashKV" => apart(call, request, hash_kv, |_| true).await,
        "Snapshot" => streaming(call, request, snapshot::stream).await,
        "MoveLeader" => {
            Status::failed_precondition("etcdserver: bad leader transferee").into_http()
        }
        "Downgrade" => not_served("there is no etcd here to downgrade"),
        _ => unknown_method("etcdserverpb.Maintenance", method),
    }
}

pub(super) async fn cluster(
    call: &Call,
    method: &str,
    request: http::Request<Incoming>,
) -> http::Response<Body> {
    match method {
        "MemberList" => unary(call, request, members).await,
        "MemberAdd" | "MemberRemove" | "MemberUpdate" | "MemberPromote" => {
            not_served("members are not changed here; the datastore behind is its own cluster")
        }
        _ => unknown_method("etcdserverpb.Cluster", method),
    }
}

pub(super) async fn auth(
    call: &Call,
    method: &str,
    request: http::Request<Incoming>,
) -> http::Response<Body> {
    match method {
        "AuthStatus" => unary(call, request, auth_status).await,
        "Authenticate" => {
            let text = "etcdserver: authentication is not enabled";
            Status::failed_precondition(text).into_http()
        }
        _ => not_served("there are no users and roles; a client certificate names the tenant"),
    }
}

async fn nothing(call: Call, _: Empty) -> Result<HeaderResponse, Status> {
    Ok(HeaderResponse {
        header: header(call.head().await?.rev),
    })
}

async fn auth_status(call: Call, _: Empty) -> Result<AuthStatusResponse, Status> {
    Ok(AuthStatusResponse {
        header: header(call.head().await?.rev),
        enabled: false,
        auth_revision: 1,
    })
}

async fn server_status(call: Call, _: Empty) -> Result<StatusResponse, Status> {
    let head = call.head().await?;
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
        db_size_quota: 0,
    })
}

/// No alarm is ever raised: a keyspace over its quota says so itself.
async fn alarm(call: Call, request: AlarmRequest) -> Result<HeaderResponse, Status> {
    if request.action == 1 {
        let text =
            "freehold: alarms are not raised by hand; a keyspace over its quota refuses puts";
        return Err(Status::unimplemented(text));
    }
    nothing(call, Empty {}).await
}

/// As the client reaches us.
fn url(call: &Call) -> String {
    let authority = call.authority.as_ref().map_or("localhost", |a| a.as_str());
    format!("{}://{authority}", call.scheme)
}

async fn members(call: Call, _: Empty) -> Result<MemberListResponse, Status> {
    let member = Member {
        id: MEMBER,
        name: "freehold".into(),
        peer_urls: Vec::new(),
        // Clients keep to the endpoint that they were given.
        client_urls: vec![url(&call)],
    };
    Ok(MemberListResponse {
        header: header(call.head().await?.rev),
        members: vec![member],
    })
}

async fn hash(call: Call, _: Empty) -> Result<HashResponse, Status> {
    let mut answer = hash_kv(call, HashKvRequest::default()).await?;
    (answer.compact_revision, answer.hash_revision) = (0, 0);
    Ok(answer)
}

async fn hash_kv(call: Call, request: HashKvRequest) -> Result<HashResponse, Status> {
    let _walk = call.budget.walk().await?;
    let head = call.head().await?;
    let at = match rev(request.revision) {
        0 => head.rev,
        rev => rev,
    };
    let mut hasher = crc32fast::Hasher::new();
    let mut range = Range {
        lo: Bytes::from_static(&[0]),
        hi: Bytes::from_static(&[0]),
        rev: at,
        limit: PAGE,
        ..Range::default()
    };
    loop {
        let page = call.part(&mut range).await?;
        page.kvs.iter().for_each(|kv| add(&mut hasher, kv));
        // Where values are large, those behind them most often are.
        range.limit = (range.limit * 2).min(PAGE);
        match page.kvs.last() {
            Some(last) if page.more => range.lo = [&last.key[..], &[0]].concat().into(),
            _ => break,
        }
    }
    Ok(HashResponse {
        header: header(head.rev),
        hash: hasher.finalize(),
        compact_revision: int(head.compact_rev),
        hash_revision: int(at),
    })
}

fn add(hasher: &mut crc32fast::Hasher, kv: &KeyValue) {
    for part in [&kv.key, &kv.value] {
        hasher.update(&(part.len() as u64).to_le_bytes());
        hasher.update(part);
    }
    for number in [kv.create_rev, kv.mod_rev, kv.version] {
        hasher.update(&number.to_le_bytes());
    }
    hasher.update(&kv.lease.to_le_bytes());
}

/// What probes ask: etcd's `/health`, `/readyz`, `/livez` and `/version`.
pub(super) async fn plain_http(
    peer: &Peer,
    request: &http::Request<Incoming>,
) -> http::Response<Body> {
    let (code, kind, text) = match (
        request.method().as_str(),
        request.uri().path(),
        &peer.keyspace,
    ) {
        ("GET", path @ ("/health" | "/readyz" | "/livez" | "/version"), Err(refused)) => {
            let code = match (refused.code(), path) {
                (Code::ResourceExhausted, "/health" | "/readyz") => 503,
                (Code::ResourceExhausted, _) => 429,
                _ => 403,
            };
            (code, "text/plain", format!("{}\n", refused.message()))
        }
        ("GET", "/version", Ok(_)) => {
            let minor = VERSION.rsplit_once('.').map_or(VERSION, |(minor, _)| minor);
            let text = format!(r#"{{"etcdserver":"{VERSION}","etcdcluster":"{minor}.0"}}"#);
            (200, "application/json", text)
        }
        ("GET", "/livez", Ok(_)) => (200, "text/plain", "ok\n".into()),
        ("GET", path @ ("/health" | "/readyz"), Ok((store, _))) => match store.head().await {
            Ok(_) if path == "/readyz" => (200, "text/plain", "ok\n".into()),
            Ok(_) => {
                let text = r#"{"health":"true","reason":""}"#;
                (200, "application/json", text.into())
            }
            Err(error) => {
                let text = format!(r#"{{"health":"false","reason":{:?}}}"#, for_tenants(&error));
                (503, "application/json", text)
            }
        },
        _ => (
            404,
            "text/plain",
            "this is an etcd v3 endpoint: it speaks gRPC\n".into(),
        ),
    };
    let mut answer = http::Response::new(Body::new(http_body_util::Full::from(text)));
    *answer.status_mut() = http::StatusCode::from_u16(code).unwrap_or_default();
    answer
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    answer
}

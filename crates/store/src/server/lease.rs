//! The Lease service.

use super::convert::status;
use super::{Call, both_ways, header, in_go_words, unary, unknown_method};
use crate::Error;
use crate::proto::{
    Empty, HeaderResponse, LeaseGrantRequest, LeaseGrantResponse, LeaseKeepAliveRequest,
    LeaseKeepAliveResponse, LeaseLeasesResponse, LeaseRevokeRequest, LeaseStatus,
    LeaseTimeToLiveRequest, LeaseTimeToLiveResponse, int, rev,
};
use futures::{Stream, StreamExt};
use hyper::body::Incoming;
use tonic::body::Body;
use tonic::{Status, Streaming};

pub(super) async fn dispatch(
    call: &Call,
    method: &str,
    request: http::Request<Incoming>,
) -> http::Response<Body> {
    match method {
        "LeaseGrant" => unary(call, request, grant).await,
        "LeaseRevoke" => unary(call, request, revoke).await,
        "LeaseKeepAlive" => both_ways(call, request, keep_alive).await,
        "LeaseTimeToLive" => unary(call, request, time_to_live).await,
        "LeaseLeases" => unary(call, request, leases).await,
        _ => unknown_method("etcdserverpb.Lease", method),
    }
}

pub(super) async fn grant(
    call: Call,
    request: LeaseGrantRequest,
) -> Result<LeaseGrantResponse, Status> {
    if request.ttl > int(crate::limits::MAX_TTL) {
        return Err(Status::out_of_range("etcdserver: too large lease TTL"));
    }
    let ttl = rev(request.ttl).max(1);
    let id = if request.id == 0 {
        call.store.lease_grant(ttl).await.map_err(status)?
    } else {
        let granted = call.store.lease_grant_as(request.id, ttl).await;
        granted.map_err(status)?;
        request.id
    };
    Ok(LeaseGrantResponse {
        header: header(call.head().await?.rev),
        id,
        ttl: int(ttl),
        error: String::new(),
    })
}

pub(super) async fn revoke(
    call: Call,
    request: LeaseRevokeRequest,
) -> Result<HeaderResponse, Status> {
    call.store.lease_revoke(request.id).await.map_err(status)?;
    Ok(HeaderResponse {
        header: header(call.head().await?.rev),
    })
}

pub(super) async fn time_to_live(
    call: Call,
    request: LeaseTimeToLiveRequest,
) -> Result<LeaseTimeToLiveResponse, Status> {
    let lease = call.store.lease(request.id).await;
    let header = header(call.head().await?.rev);
    let id = request.id;
    match lease {
        Ok(lease) => Ok(LeaseTimeToLiveResponse {
            header,
            id,
            ttl: int(lease.remaining.as_secs()),
            granted_ttl: int(lease.granted),
            keys: if request.keys { lease.keys } else { Vec::new() },
        }),
        Err(Error::LeaseNotFound(_)) => Ok(LeaseTimeToLiveResponse {
            header,
            id,
            ttl: -1,
            ..Default::default()
        }),
        Err(error) => Err(status(error)),
    }
}

pub(super) async fn leases(call: Call, _: Empty) -> Result<LeaseLeasesResponse, Status> {
    let leases = call.store.leases().await.map_err(status)?;
    Ok(LeaseLeasesResponse {
        header: header(call.head().await?.rev),
        leases: leases.into_iter().map(|id| LeaseStatus { id }).collect(),
    })
}

fn keep_alive(
    call: Call,
    requests: Streaming<LeaseKeepAliveRequest>,
) -> impl Stream<Item = Result<LeaseKeepAliveResponse, Status>> + Send + 'static {
    requests.then(move |request| {
        let call = call.clone();
        async move {
            let id = request
                .map_err(|status| in_go_words(&status).unwrap_or(status))?
                .id;
            // Before the renewal: what is told never lies behind it.
            let header = header(call.head().await?.rev);
            let ttl = match call.store.lease_renew(id).await {
                Ok(ttl) => int(ttl),
                Err(Error::LeaseNotFound(_)) => 0,
                Err(error) => return Err(status(error)),
            };
            Ok(LeaseKeepAliveResponse { header, id, ttl })
        }
    })
}

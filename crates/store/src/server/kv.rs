//! The KV service.

use super::convert::{self, status};
use super::{Call, MAX_REQUEST, apart, header, range, streaming, txn, unary, unknown_method};
use crate::proto::{
    CompactionRequest, DeleteRangeRequest, DeleteRangeResponse, HeaderResponse, PutRequest,
    PutResponse, RangeRequest, RangeResponse, int, rev,
};
use crate::{Op, OpResult, Txn};
use bytes::Bytes;
use hyper::body::Incoming;
use prost::Message;
use tonic::Status;
use tonic::body::Body;

pub(super) async fn dispatch(
    call: &Call,
    method: &str,
    request: http::Request<Incoming>,
) -> http::Response<Body> {
    match method {
        "Range" => apart(call, request, read, |range| !range.range_end.is_empty()).await,
        "RangeStream" => streaming(call, request, range::stream).await,
        "Put" => unary(call, request, put).await,
        "DeleteRange" => unary(call, request, delete_range).await,
        "Txn" => unary(call, request, txn::serve).await,
        "Compact" => unary(call, request, compact).await,
        _ => unknown_method("etcdserverpb.KV", method),
    }
}

/// A key of its own: a slice would hold on to the whole frame that it came in.
pub(super) fn own(bytes: &Bytes) -> Bytes {
    Bytes::copy_from_slice(bytes)
}

pub(super) async fn read(call: Call, request: RangeRequest) -> Result<RangeResponse, Status> {
    range::check(&request)?;
    let reply = call.range(range::contract(&request)).await?;
    let head = header(reply.head_rev);
    Ok(range::response(&request, reply, head))
}

pub(super) fn check_put(request: &PutRequest) -> Result<(), Status> {
    if request.key.is_empty() {
        return Err(convert::empty_key());
    }
    if request.ignore_value && !request.value.is_empty() {
        return Err(Status::invalid_argument("etcdserver: value is provided"));
    }
    if request.ignore_lease && request.lease != 0 {
        return Err(Status::invalid_argument("etcdserver: lease is provided"));
    }
    Ok(())
}

pub(super) fn put_op(request: &PutRequest) -> Op {
    let (key, value) = (own(&request.key), own(&request.value));
    if request.ignore_value || request.ignore_lease {
        return Op::Update {
            key,
            value: (!request.ignore_value).then_some(value),
            lease: (!request.ignore_lease).then_some(request.lease),
        };
    }
    Op::Put {
        key,
        value,
        lease: request.lease,
    }
}

/// Runs one operation as a transaction of its own.
async fn one(call: &Call, op: Op, prev: bool) -> Result<(Option<OpResult>, u64), Status> {
    let txn = Txn {
        then: vec![op],
        without_prev: !prev,
        ..Txn::default()
    };
    let mut reply = call.txn(txn).await?;
    Ok((reply.results.pop(), reply.rev))
}

pub(super) async fn put(call: Call, request: PutRequest) -> Result<PutResponse, Status> {
    check_put(&request)?;
    check_size(&request)?;
    let (result, rev) = one(&call, put_op(&request), request.prev_kv).await?;
    let prev = match result {
        Some(OpResult::Put { prev }) if request.prev_kv => prev.map(Into::into),
        _ => None,
    };
    Ok(PutResponse {
        header: header(rev),
        prev_kv: prev,
    })
}

pub(super) async fn delete_range(
    call: Call,
    request: DeleteRangeRequest,
) -> Result<DeleteRangeResponse, Status> {
    if request.key.is_empty() {
        return Err(convert::empty_key());
    }
    check_size(&request)?;
    let op = Op::DeleteRange {
        lo: own(&request.key),
        hi: own(&request.range_end),
    };
    let (result, rev) = one(&call, op, request.prev_kv).await?;
    let mut answer = deleted(result, request.prev_kv);
    answer.header = header(rev);
    Ok(answer)
}

pub(super) fn deleted(result: Option<OpResult>, with_prev: bool) -> DeleteRangeResponse {
    let Some(OpResult::Deleted { prev }) = result else {
        return DeleteRangeResponse::default();
    };
    let deleted = int(prev.len() as u64);
    let prev = prev.into_iter().filter(|_| with_prev);
    DeleteRangeResponse {
        header: None,
        deleted,
        prev_kvs: prev.map(Into::into).collect(),
    }
}

pub(super) async fn compact(
    call: Call,
    request: CompactionRequest,
) -> Result<HeaderResponse, Status> {
    let to = rev(request.revision);
    call.store.compact(to).await.map_err(status)?;
    Ok(HeaderResponse {
        header: header(call.head().await?.rev),
    })
}

pub(super) fn check_size(request: &impl Message) -> Result<(), Status> {
    if request.encoded_len() > MAX_REQUEST {
        return Err(Status::invalid_argument("etcdserver: request is too large"));
    }
    Ok(())
}

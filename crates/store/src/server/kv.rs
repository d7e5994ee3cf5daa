//! The KV service.

use super::convert::status;
use super::{MAX_REQUEST, header};
use crate::proto::{
    self, CompactionRequest, DeleteRangeRequest, DeleteRangeResponse, HeaderResponse, PutRequest,
    PutResponse, RangeRequest, RangeResponse, Request, RequestOp, Response, ResponseOp,
    TargetUnion, TxnRequest, TxnResponse, int, rev,
};
use crate::{Compare, Op, OpResult, Range, Store, Txn};
use bytes::Bytes;
use prost::Message;
use std::sync::Arc;
use tonic::Status;

/// As etcd's `--max-txn-ops`.
const MAX_OPS: usize = 128;

fn revision(n: i64) -> u64 {
    rev(n)
}

/// A key of its own: a slice would hold on to the whole frame that it came in.
fn own(bytes: &Bytes) -> Bytes {
    Bytes::copy_from_slice(bytes)
}

fn unimplemented(what: &str) -> Status {
    Status::unimplemented(format!("freehold does not serve {what}"))
}

pub(super) async fn range(
    store: Arc<dyn Store>,
    request: RangeRequest,
) -> Result<RangeResponse, Status> {
    if !(0..=2).contains(&request.sort_order) || !(0..=4).contains(&request.sort_target) {
        return Err(Status::invalid_argument("etcdserver: invalid sort option"));
    }
    let sorted = request.sort_order == 2 || request.sort_target != 0;
    let bounds = [
        request.min_mod_revision,
        request.max_mod_revision,
        request.min_create_revision,
        request.max_create_revision,
    ];
    let filtered = bounds.iter().any(|bound| *bound != 0);
    let limit = usize::try_from(request.limit).unwrap_or(0);
    let reply = store
        .range(Range {
            lo: request.key.clone(),
            hi: request.range_end.clone(),
            rev: revision(request.revision),
            limit: if sorted || filtered { 0 } else { limit },
            // Values are needed to sort by them.
            keys_only: request.keys_only && request.sort_target != 4,
            count_only: request.count_only,
        })
        .await
        .map_err(status)?;
    let mut kvs: Vec<proto::KeyValue> = reply.kvs.into_iter().map(Into::into).collect();
    let mut more = reply.more;
    if filtered {
        let [min_mod, max_mod, min_create, max_create] = bounds;
        let within = |n: i64, min: i64, max: i64| n >= min && (max == 0 || n <= max);
        kvs.retain(|kv| {
            within(kv.mod_revision, min_mod, max_mod)
                && within(kv.create_revision, min_create, max_create)
        });
    }
    if sorted {
        sort(&mut kvs, request.sort_target, request.sort_order == 2);
    }
    if limit > 0 && kvs.len() > limit {
        kvs.truncate(limit);
        more = true;
    }
    if request.keys_only {
        kvs.iter_mut().for_each(|kv| kv.value = Bytes::new());
    }
    Ok(RangeResponse {
        header: header(reply.head_rev),
        kvs,
        more,
        count: int(reply.count),
    })
}

fn sort(kvs: &mut [proto::KeyValue], target: i32, descending: bool) {
    match target {
        1 => kvs.sort_by_key(|kv| kv.version),
        2 => kvs.sort_by_key(|kv| kv.create_revision),
        3 => kvs.sort_by_key(|kv| kv.mod_revision),
        4 => kvs.sort_by(|a, b| a.value.cmp(&b.value)),
        _ => kvs.sort_by(|a, b| a.key.cmp(&b.key)),
    }
    if descending {
        kvs.reverse();
    }
}

pub(super) async fn put(
    store: Arc<dyn Store>,
    mut request: PutRequest,
) -> Result<PutResponse, Status> {
    check_size(&request)?;
    if request.ignore_value && !request.value.is_empty() {
        return Err(Status::invalid_argument("etcdserver: value is provided"));
    }
    if request.ignore_lease && request.lease != 0 {
        return Err(Status::invalid_argument("etcdserver: lease is provided"));
    }
    loop {
        let mut compares = Vec::new();
        if request.ignore_value || request.ignore_lease {
            let range = Range {
                lo: request.key.clone(),
                ..Range::default()
            };
            let now = store.range(range).await.map_err(status)?.kvs.pop();
            let now = now.ok_or_else(|| Status::invalid_argument("etcdserver: key not found"))?;
            compares.push(Compare::ModRev(now.key, now.mod_rev));
            if request.ignore_value {
                request.value = now.value;
            }
            if request.ignore_lease {
                request.lease = now.lease;
            }
        }
        let op = put_op(&request);
        let txn = Txn {
            compares,
            then: vec![op],
            otherwise: Vec::new(),
        };
        let mut reply = store.txn(txn).await.map_err(status)?;
        if !reply.succeeded {
            continue;
        }
        let prev = match reply.results.pop() {
            Some(OpResult::Put { prev }) if request.prev_kv => prev.map(Into::into),
            _ => None,
        };
        return Ok(PutResponse {
            header: header(reply.rev),
            prev_kv: prev,
        });
    }
}

fn put_op(request: &PutRequest) -> Op {
    Op::Put {
        key: own(&request.key),
        value: own(&request.value),
        lease: request.lease,
    }
}

pub(super) async fn delete_range(
    store: Arc<dyn Store>,
    request: DeleteRangeRequest,
) -> Result<DeleteRangeResponse, Status> {
    let op = Op::DeleteRange {
        lo: request.key.clone(),
        hi: request.range_end.clone(),
    };
    let txn = Txn {
        then: vec![op],
        ..Txn::default()
    };
    let mut reply = store.txn(txn).await.map_err(status)?;
    Ok(deleted(reply.results.pop(), request.prev_kv, reply.rev))
}

fn deleted(result: Option<OpResult>, with_prev: bool, rev: u64) -> DeleteRangeResponse {
    let Some(OpResult::Deleted { prev }) = result else {
        return DeleteRangeResponse {
            header: header(rev),
            ..Default::default()
        };
    };
    let deleted = int(prev.len() as u64);
    let prev_kvs = prev
        .into_iter()
        .filter(|_| with_prev)
        .map(Into::into)
        .collect();
    DeleteRangeResponse {
        header: header(rev),
        deleted,
        prev_kvs,
    }
}

pub(super) async fn compact(
    store: Arc<dyn Store>,
    request: CompactionRequest,
) -> Result<HeaderResponse, Status> {
    store
        .compact(revision(request.revision))
        .await
        .map_err(status)?;
    let head = store.head().await.map_err(status)?;
    Ok(HeaderResponse {
        header: header(head.rev),
    })
}

fn check_size(request: &impl Message) -> Result<(), Status> {
    if request.encoded_len() > MAX_REQUEST {
        return Err(Status::invalid_argument("etcdserver: request is too large"));
    }
    Ok(())
}

pub(super) async fn txn(store: Arc<dyn Store>, request: TxnRequest) -> Result<TxnResponse, Status> {
    check_size(&request)?;
    if [
        request.compare.len(),
        request.success.len(),
        request.failure.len(),
    ]
    .iter()
    .any(|count| *count > MAX_OPS)
    {
        let text = "etcdserver: too many operations in txn request";
        return Err(Status::invalid_argument(text));
    }
    let compares: Result<_, _> = request.compare.iter().map(compare).collect();
    let then: Result<_, _> = request.success.iter().map(op).collect();
    let otherwise: Result<_, _> = request.failure.iter().map(op).collect();
    let txn = Txn {
        compares: compares?,
        then: then?,
        otherwise: otherwise?,
    };
    let reply = store.txn(txn).await.map_err(status)?;
    let asked = if reply.succeeded {
        &request.success
    } else {
        &request.failure
    };
    let responses = asked.iter().zip(reply.results);
    Ok(TxnResponse {
        header: header(reply.rev),
        succeeded: reply.succeeded,
        responses: responses
            .map(|(asked, result)| response(asked, result, reply.rev))
            .collect(),
    })
}

fn compare(compare: &proto::Compare) -> Result<Compare, Status> {
    if compare.result != 0 || !compare.range_end.is_empty() {
        return Err(unimplemented(
            "comparisons other than equality of single keys",
        ));
    }
    let key = own(&compare.key);
    match (compare.target, compare.target_union.clone()) {
        (0, Some(TargetUnion::Version(n))) => Ok(Compare::Version(key, revision(n))),
        (0, None) => Ok(Compare::Version(key, 0)),
        (1, Some(TargetUnion::CreateRevision(n))) => Ok(Compare::CreateRev(key, revision(n))),
        (1, None) => Ok(Compare::CreateRev(key, 0)),
        (2, Some(TargetUnion::ModRevision(n))) => Ok(Compare::ModRev(key, revision(n))),
        (2, None) => Ok(Compare::ModRev(key, 0)),
        (3, Some(TargetUnion::Value(value))) => Ok(Compare::Value(key, own(&value))),
        (3, None) => Ok(Compare::Value(key, Bytes::new())),
        (4, Some(TargetUnion::Lease(lease))) => Ok(Compare::Lease(key, lease)),
        (4, None) => Ok(Compare::Lease(key, 0)),
        _ => Err(Status::invalid_argument(
            "the comparison contradicts itself",
        )),
    }
}

fn op(op: &RequestOp) -> Result<Op, Status> {
    match &op.request {
        Some(Request::Put(put)) if put.ignore_value || put.ignore_lease => Err(unimplemented(
            "puts that keep the value or lease inside a transaction",
        )),
        Some(Request::Put(put)) => Ok(put_op(put)),
        Some(Request::Range(range)) if range.range_end.is_empty() && range.revision == 0 => {
            Ok(Op::Get {
                key: own(&range.key),
            })
        }
        Some(Request::Range(_)) => Err(unimplemented("ranges inside a transaction")),
        Some(Request::DeleteRange(delete)) => Ok(Op::DeleteRange {
            lo: own(&delete.key),
            hi: own(&delete.range_end),
        }),
        Some(Request::Txn(_)) => Err(unimplemented("transactions inside a transaction")),
        None => Err(Status::invalid_argument("etcdserver: key is not provided")),
    }
}

fn response(asked: &RequestOp, result: OpResult, rev: u64) -> ResponseOp {
    let response = match (&asked.request, result) {
        (Some(Request::Range(range)), OpResult::Got(found)) => {
            let count = i64::from(found.is_some());
            let mut kvs: Vec<proto::KeyValue> = found
                .into_iter()
                .filter(|_| !range.count_only)
                .map(Into::into)
                .collect();
            if range.keys_only {
                kvs.iter_mut().for_each(|kv| kv.value = Bytes::new());
            }
            Response::Range(RangeResponse {
                header: header(rev),
                kvs,
                more: false,
                count,
            })
        }
        (Some(Request::Put(put)), OpResult::Put { prev }) => Response::Put(PutResponse {
            header: header(rev),
            prev_kv: prev.filter(|_| put.prev_kv).map(Into::into),
        }),
        (Some(Request::DeleteRange(delete)), result) => {
            Response::DeleteRange(deleted(Some(result), delete.prev_kv, rev))
        }
        // The engine answers every operation in its kind.
        _ => Response::Range(RangeResponse::default()),
    };
    ResponseOp {
        response: Some(response),
    }
}

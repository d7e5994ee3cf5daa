//! Transactions: etcd's checks, the contract's transaction, etcd's answer.

use super::convert;
use super::kv::{check_put, check_size, deleted, own, put_op};
use super::{Call, header, range};
use crate::proto::{
    self, PutResponse, RequestOp, Response, ResponseHeader, ResponseOp, TargetUnion, TxnRequest,
    TxnResponse, int, rev,
};
use crate::{Compare, Field, Op, OpResult, Relation, Txn, TxnReply};
use bytes::Bytes;
use tonic::Status;

/// As etcd's `--max-txn-ops`.
const MAX_OPS: usize = 128;

pub(super) async fn serve(call: Call, request: TxnRequest) -> Result<TxnResponse, Status> {
    check(&request, MAX_OPS)?;
    check_size(&request)?;
    let txn = Txn {
        without_prev: !wants_prev(&request),
        ..contract(&request)?
    };
    let reply = call.txn(txn).await?;
    let rev = reply.rev;
    let mut answer = response(&request, reply, rev);
    answer.header = header(rev);
    Ok(answer)
}

/// `server/etcdserver/api/v3rpc/key.go`, `checkTxnRequest`: what a level has, those inside it
/// have less.
fn check(request: &TxnRequest, max_ops: usize) -> Result<(), Status> {
    let parts = [&request.success, &request.failure];
    let most = parts.iter().map(|ops| ops.len()).max().unwrap_or(0);
    let most = most.max(request.compare.len());
    if most > max_ops {
        let text = "etcdserver: too many operations in txn request";
        return Err(Status::invalid_argument(text));
    }
    if request.compare.iter().any(|compare| compare.key.is_empty()) {
        return Err(convert::empty_key());
    }
    for op in parts.into_iter().flatten() {
        match &op.request {
            Some(proto::Request::Range(inner)) => range::check(inner)?,
            Some(proto::Request::Put(inner)) => check_put(inner)?,
            Some(proto::Request::DeleteRange(inner)) if inner.key.is_empty() => {
                return Err(convert::empty_key());
            }
            Some(proto::Request::DeleteRange(_)) => {}
            Some(proto::Request::Txn(inner)) => check(inner, max_ops - most)?,
            None => return Err(Status::invalid_argument("etcdserver: key not found")),
        }
    }
    Ok(())
}

fn contract(request: &TxnRequest) -> Result<Txn, Status> {
    let compares: Result<_, _> = request.compare.iter().map(compare).collect();
    let ops = |ops: &[RequestOp]| ops.iter().map(op).collect::<Result<Vec<_>, _>>();
    Ok(Txn {
        compares: compares?,
        then: ops(&request.success)?,
        otherwise: ops(&request.failure)?,
        ..Txn::default()
    })
}

/// Whether any operation asks for what was there before it.
fn wants_prev(request: &TxnRequest) -> bool {
    let mut ops = request.success.iter().chain(&request.failure);
    ops.any(|op| match &op.request {
        Some(proto::Request::Put(inner)) => inner.prev_kv,
        Some(proto::Request::DeleteRange(inner)) => inner.prev_kv,
        Some(proto::Request::Txn(inner)) => wants_prev(inner),
        _ => false,
    })
}

fn op(op: &RequestOp) -> Result<Op, Status> {
    Ok(match &op.request {
        Some(proto::Request::Put(put)) => put_op(put),
        Some(proto::Request::Range(range)) if is_get(range) => Op::Get {
            key: own(&range.key),
        },
        Some(proto::Request::Range(range)) => Op::Range(range::contract(range)),
        Some(proto::Request::DeleteRange(delete)) => Op::DeleteRange {
            lo: own(&delete.key),
            hi: own(&delete.range_end),
        },
        Some(proto::Request::Txn(inner)) => Op::Txn(Box::new(contract(inner)?)),
        None => return Err(Status::invalid_argument("etcdserver: key not found")),
    })
}

/// What kube-apiserver asks.
fn is_get(range: &proto::RangeRequest) -> bool {
    let plain = proto::RangeRequest {
        key: range.key.clone(),
        limit: range.limit,
        serializable: range.serializable,
        ..Default::default()
    };
    *range == plain
}

fn compare(compare: &proto::Compare) -> Result<Compare, Status> {
    let relation = match compare.result {
        0 => Relation::Equal,
        1 => Relation::Greater,
        2 => Relation::Less,
        3 => Relation::NotEqual,
        _ => return Err(Status::invalid_argument("etcdserver: invalid comparison")),
    };
    let field = field(compare)?;
    let key = own(&compare.key);
    let simple = relation == Relation::Equal && compare.range_end.is_empty();
    Ok(match field {
        Field::Version(n) if simple && n >= 0 => Compare::Version(key, rev(n)),
        Field::CreateRev(n) if simple && n >= 0 => Compare::CreateRev(key, rev(n)),
        Field::ModRev(n) if simple && n >= 0 => Compare::ModRev(key, rev(n)),
        Field::Value(value) if simple => Compare::Value(key, value),
        Field::Lease(lease) if simple => Compare::Lease(key, lease),
        field => Compare::Test {
            lo: key,
            hi: own(&compare.range_end),
            field,
            relation,
        },
    })
}

/// A value of another kind than the target counts as none, as in etcd.
fn field(compare: &proto::Compare) -> Result<Field, Status> {
    let given = compare.target_union.as_ref();
    Ok(match compare.target {
        0 => Field::Version(match given {
            Some(TargetUnion::Version(n)) => *n,
            _ => 0,
        }),
        1 => Field::CreateRev(match given {
            Some(TargetUnion::CreateRevision(n)) => *n,
            _ => 0,
        }),
        2 => Field::ModRev(match given {
            Some(TargetUnion::ModRevision(n)) => *n,
            _ => 0,
        }),
        3 => Field::Value(match given {
            Some(TargetUnion::Value(value)) => own(value),
            _ => Bytes::new(),
        }),
        4 => Field::Lease(match given {
            Some(TargetUnion::Lease(lease)) => *lease,
            _ => 0,
        }),
        _ => return Err(Status::invalid_argument("etcdserver: invalid comparison")),
    })
}

/// Answers inside a transaction have a header with nothing but the revision.
fn inner(revision: u64) -> Option<ResponseHeader> {
    Some(ResponseHeader {
        revision: int(revision),
        ..Default::default()
    })
}

fn response(request: &TxnRequest, reply: TxnReply, rev: u64) -> TxnResponse {
    let asked = if reply.succeeded {
        &request.success
    } else {
        &request.failure
    };
    let pairs = asked.iter().zip(reply.results);
    TxnResponse {
        header: inner(rev),
        succeeded: reply.succeeded,
        responses: pairs
            .map(|(op, result)| ResponseOp {
                response: result_of(op, result, rev),
            })
            .collect(),
    }
}

fn result_of(op: &RequestOp, result: OpResult, rev: u64) -> Option<Response> {
    Some(match (op.request.as_ref()?, result) {
        (proto::Request::Range(asked), OpResult::Got(found)) => {
            let count = u64::from(found.is_some());
            let reply = crate::RangeReply {
                head_rev: rev,
                kvs: found.into_iter().collect(),
                count,
                more: false,
            };
            Response::Range(range::response(asked, reply, inner(rev)))
        }
        (proto::Request::Range(asked), OpResult::Range(reply)) => {
            let head = inner(reply.head_rev);
            Response::Range(range::response(asked, reply, head))
        }
        (proto::Request::Put(asked), OpResult::Put { prev }) => Response::Put(PutResponse {
            header: inner(rev),
            prev_kv: prev.filter(|_| asked.prev_kv).map(Into::into),
        }),
        (proto::Request::DeleteRange(asked), result) => {
            let mut answer = deleted(Some(result), asked.prev_kv);
            answer.header = inner(rev);
            Response::DeleteRange(answer)
        }
        (proto::Request::Txn(asked), OpResult::Txn(reply)) => {
            Response::Txn(response(asked, reply, rev))
        }
        // The contract answers every operation in its kind.
        _ => return None,
    })
}

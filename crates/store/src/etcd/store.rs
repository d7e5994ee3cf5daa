//! One keyspace on an etcd.

use super::client::{Client, Failure, plain};
use super::prefix_end;
use super::watch::{self, Progress};
use crate::proto::{
    self, DeleteRangeRequest, PutRequest, RangeRequest, Request, RequestOp, Response, TargetUnion,
    TxnRequest, int, rev,
};
use crate::{
    Compare, Error, Head, LeaseId, Op, OpResult, Range, RangeReply, Result, Store, Txn, TxnReply,
    Watch, WatchStream, limits,
};
use async_trait::async_trait;
use bytes::{BufMut, Bytes, BytesMut};
use parking_lot::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Keys per page of a long range.
const PAGE: usize = 2000;
/// How long the size of the database is believed.
const SIZE_AGE: Duration = Duration::from_secs(10);

pub(super) struct EtcdStore {
    client: Client,
    prefix: Bytes,
    leases: String,
    /// last known
    compacted: AtomicU64,
    size: Mutex<Option<(Instant, u64)>>,
    progress: Progress,
}

impl EtcdStore {
    pub(super) fn new(client: Client, prefix: Bytes, leases: String) -> Self {
        Self {
            client,
            prefix,
            leases,
            compacted: AtomicU64::new(0),
            size: Mutex::new(None),
            progress: Progress::default(),
        }
    }

    fn key(&self, key: &Bytes) -> Bytes {
        let mut full = BytesMut::with_capacity(self.prefix.len() + key.len());
        full.put_slice(&self.prefix);
        full.put_slice(key);
        full.freeze()
    }

    fn span(&self, lo: &Bytes, hi: &Bytes) -> (Bytes, Bytes) {
        let end = match &hi[..] {
            [] => Bytes::new(),
            [0] => prefix_end(&self.prefix),
            _ => self.key(hi),
        };
        (self.key(lo), end)
    }

    /// Finds the revision that an error speaks of.
    async fn explain(&self, failure: Failure) -> Error {
        match failure {
            Failure::Error(error) => error,
            Failure::Future => match self.client.head().await {
                Ok(head) => Error::Future(head),
                Err(error) => error,
            },
            Failure::Compacted => match watch::compact_revision(&self.client).await {
                Ok(compacted) => {
                    self.compacted.fetch_max(compacted, Ordering::AcqRel);
                    Error::Compacted(compacted)
                }
                Err(error) => error,
            },
        }
    }

    fn compare(&self, compare: &Compare) -> proto::Compare {
        let (key, target, union) = match compare {
            Compare::Version(key, n) => (key, 0, TargetUnion::Version(int(*n))),
            Compare::CreateRev(key, n) => (key, 1, TargetUnion::CreateRevision(int(*n))),
            Compare::ModRev(key, n) => (key, 2, TargetUnion::ModRevision(int(*n))),
            Compare::Value(key, value) => (key, 3, TargetUnion::Value(value.clone())),
            Compare::Lease(key, lease) => (key, 4, TargetUnion::Lease(*lease)),
        };
        let key = self.key(key);
        proto::Compare {
            target,
            key,
            target_union: Some(union),
            ..Default::default()
        }
    }

    fn op(&self, op: &Op) -> RequestOp {
        let request = match op {
            Op::Put { key, value, lease } => Request::Put(PutRequest {
                key: self.key(key),
                value: value.clone(),
                lease: *lease,
                prev_kv: true,
                ..Default::default()
            }),
            Op::Get { key } => Request::Range(RangeRequest {
                key: self.key(key),
                ..Default::default()
            }),
            Op::Delete { key } => self.delete(key, &Bytes::new()),
            Op::DeleteRange { lo, hi } => self.delete(lo, hi),
        };
        RequestOp {
            request: Some(request),
        }
    }

    fn delete(&self, lo: &Bytes, hi: &Bytes) -> Request {
        let (key, range_end) = self.span(lo, hi);
        Request::DeleteRange(DeleteRangeRequest {
            key,
            range_end,
            prev_kv: true,
        })
    }

    fn result(&self, response: proto::ResponseOp) -> Result<OpResult> {
        let strip = self.prefix.len();
        match response.response {
            Some(Response::Range(mut reply)) => {
                Ok(OpResult::Got(reply.kvs.pop().map(|kv| kv.into_kv(strip))))
            }
            Some(Response::Put(reply)) => Ok(OpResult::Put {
                prev: reply.prev_kv.map(|kv| kv.into_kv(strip)),
            }),
            Some(Response::DeleteRange(reply)) => Ok(OpResult::Deleted {
                prev: reply
                    .prev_kvs
                    .into_iter()
                    .map(|kv| kv.into_kv(strip))
                    .collect(),
            }),
            None => Err(Error::Unavailable(
                "etcd answered with an operation unknown here".into(),
            )),
        }
    }

    async fn size(&self) -> Result<u64> {
        if let Some((at, size)) = *self.size.lock()
            && at.elapsed() < SIZE_AGE
        {
            return Ok(size);
        }
        let size = rev(self.client.status().await?.db_size);
        *self.size.lock() = Some((Instant::now(), size));
        Ok(size)
    }
}

#[async_trait]
impl Store for EtcdStore {
    async fn head(&self) -> Result<Head> {
        let range_end = prefix_end(&self.prefix);
        let key = self.prefix.clone();
        let request = RangeRequest {
            key,
            range_end,
            count_only: true,
            ..Default::default()
        };
        let reply = self.client.range(request).await.map_err(plain)?;
        Ok(Head {
            rev: reply.header.map_or(0, |header| rev(header.revision)),
            compact_rev: self.compacted.load(Ordering::Acquire),
            bytes: self.size().await?,
            keys: rev(reply.count),
        })
    }

    async fn txn(&self, txn: Txn) -> Result<TxnReply> {
        limits::check_txn(&txn)?;
        let request = TxnRequest {
            compare: txn
                .compares
                .iter()
                .map(|compare| self.compare(compare))
                .collect(),
            success: txn.then.iter().map(|op| self.op(op)).collect(),
            failure: txn.otherwise.iter().map(|op| self.op(op)).collect(),
        };
        let reply = match self.client.txn(request).await {
            Ok(reply) => reply,
            Err(Failure::Error(Error::LeaseNotFound(_))) => {
                let lease = txn
                    .then
                    .iter()
                    .chain(&txn.otherwise)
                    .find_map(|op| match op {
                        Op::Put { lease, .. } if *lease != 0 => Some(*lease),
                        _ => None,
                    });
                return Err(Error::LeaseNotFound(lease.unwrap_or(0)));
            }
            Err(failure) => return Err(self.explain(failure).await),
        };
        let results: Result<Vec<_>> = reply
            .responses
            .into_iter()
            .map(|response| self.result(response))
            .collect();
        Ok(TxnReply {
            succeeded: reply.succeeded,
            rev: reply.header.map_or(0, |header| rev(header.revision)),
            results: results?,
        })
    }

    async fn range(&self, range: Range) -> Result<RangeReply> {
        limits::check_span(&range.lo, &range.hi)?;
        let (key, range_end) = self.span(&range.lo, &range.hi);
        let wanted = if range.limit == 0 {
            usize::MAX
        } else {
            range.limit
        };
        let mut request = RangeRequest {
            key,
            range_end,
            revision: int(range.rev),
            keys_only: range.keys_only,
            count_only: range.count_only,
            ..Default::default()
        };
        let mut reply = RangeReply {
            head_rev: 0,
            kvs: Vec::new(),
            count: 0,
            more: false,
        };
        loop {
            let page = PAGE.min(wanted - reply.kvs.len());
            request.limit = int(page as u64);
            let found = match self.client.range(request.clone()).await {
                Ok(found) => found,
                Err(failure) => return Err(self.explain(failure).await),
            };
            if reply.head_rev == 0 {
                reply.head_rev = found.header.map_or(0, |header| rev(header.revision));
                reply.count = rev(found.count);
                // Later pages are of the same revision as the first.
                if request.revision == 0 {
                    request.revision = int(reply.head_rev);
                }
            }
            let last = found.kvs.last().map(|kv| kv.key.clone());
            let strip = self.prefix.len();
            reply
                .kvs
                .extend(found.kvs.into_iter().map(|kv| kv.into_kv(strip)));
            reply.more = found.more;
            match last {
                Some(last) if found.more && reply.kvs.len() < wanted => {
                    let mut next = last.to_vec();
                    next.push(0);
                    request.key = next.into();
                }
                _ => break,
            }
        }
        if range.count_only {
            reply.more = false;
        }
        Ok(reply)
    }

    async fn watch(&self, watch: Watch) -> Result<WatchStream> {
        limits::check_span(&watch.lo, &watch.hi)?;
        let (key, range_end) = self.span(&watch.lo, &watch.hi);
        let start = match watch.start_rev {
            0 => self.client.head().await? + 1,
            rev => rev,
        };
        let wanted = watch::Wanted {
            key,
            range_end,
            next: start,
            prev_kv: watch.prev_kv,
            strip: self.prefix.len(),
        };
        Ok(watch::start(self.client.clone(), wanted, &self.progress))
    }

    async fn compact(&self, to: u64) -> Result<()> {
        match self.client.compact(int(to)).await {
            Ok(()) => {
                self.compacted.fetch_max(to, Ordering::AcqRel);
                Ok(())
            }
            Err(failure) => Err(self.explain(failure).await),
        }
    }

    async fn lease_grant(&self, ttl_seconds: u64) -> Result<LeaseId> {
        limits::check_ttl(ttl_seconds)?;
        let lease = self.client.lease_grant(int(ttl_seconds.max(1))).await?.id;
        let key = Bytes::from(format!("{}{lease}", self.leases));
        let put = PutRequest {
            key,
            lease,
            ..Default::default()
        };
        let success = vec![RequestOp {
            request: Some(Request::Put(put)),
        }];
        self.client
            .txn(TxnRequest {
                success,
                ..Default::default()
            })
            .await
            .map_err(plain)?;
        Ok(lease)
    }

    async fn lease_revoke(&self, lease: LeaseId) -> Result<()> {
        let key = Bytes::from(format!("{}{lease}", self.leases));
        let request = RangeRequest {
            key,
            count_only: true,
            ..Default::default()
        };
        if self.client.range(request).await.map_err(plain)?.count == 0 {
            return Err(Error::LeaseNotFound(lease));
        }
        self.client.lease_revoke(lease).await
    }

    async fn progress(&self) -> Result<()> {
        self.progress.ask(self.client.head().await?);
        Ok(())
    }
}

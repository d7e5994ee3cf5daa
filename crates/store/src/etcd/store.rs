//! One keyspace on an etcd.

use super::client::{Client, Failure, plain};
use super::compaction::History;
use super::prefix_end;
use super::quota::{self, Amount, Meter};
use super::watch::{self, Watches};
use crate::proto::{
    self, DeleteRangeRequest, PutRequest, RangeRequest, Request, RequestOp, Response, TargetUnion,
    TxnRequest, TxnResponse, int, rev,
};
use crate::{
    Compare, Error, Field, Head, KeyValue, Lease, LeaseId, Op, OpResult, Quota, Range, RangeReply,
    Relation, Result, Store, Txn, TxnReply, Watch, WatchItem, WatchStream, limits,
};
use async_trait::async_trait;
use bytes::{BufMut, Bytes, BytesMut};
use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

/// Keys per page of a long range.
const PAGE: usize = 2000;
/// Attempts when a transaction's leases are granted and end meanwhile.
const ATTEMPTS: u32 = 5;
/// How long the size of the database is believed.
const SIZE_AGE: Duration = Duration::from_secs(10);

pub(super) struct EtcdStore {
    client: Client,
    prefix: Bytes,
    leases: Bytes,
    history: History,
    size: Mutex<Option<(Instant, u64)>>,
    watches: Watches,
    meter: Meter,
}

impl EtcdStore {
    pub(super) fn new(client: Client, prefix: Bytes, leases: Bytes, history: History) -> Self {
        Self {
            client,
            prefix,
            leases,
            history,
            size: Mutex::new(None),
            watches: Watches::default(),
            meter: Meter::default(),
        }
    }

    pub(super) fn set_quota(&self, quota: Option<Quota>) {
        self.meter.set(quota);
    }

    pub(super) fn quota(&self) -> Option<Quota> {
        self.meter.quota()
    }

    /// Reads the whole keyspace at one revision; nobody writes meanwhile.
    async fn count(&self) -> Result<()> {
        let range = Range {
            lo: Bytes::from_static(&[0]),
            hi: Bytes::from_static(&[0]),
            ..Range::default()
        };
        let mut used = Amount::default();
        self.pages(&range, |kv| used.add(Amount::of(&kv.key, &kv.value)))
            .await?;
        self.meter.counted(used);
        Ok(())
    }

    /// Counts if that has not been done.
    async fn counted(&self) -> Result<()> {
        if self.meter.used().is_none() {
            let _alone = self.meter.writing.write().await;
            if self.meter.used().is_none() {
                self.count().await?;
            }
        }
        Ok(())
    }

    /// A transaction of a keyspace that has a quota.
    async fn within_quota(&self, txn: &Txn) -> Result<TxnReply> {
        let most = quota::most(txn);
        if most.keys > 0 {
            self.counted().await?;
        }
        {
            let _together = self.meter.writing.read().await;
            if let Ok(room) = self.meter.room(most) {
                return self.carry_out(txn, room).await;
            }
        }
        // What is put may be there already; alone, so that it stays as it is found.
        let _alone = self.meter.writing.write().await;
        let most = quota::grown(txn, &self.sizes(txn).await?);
        let room = match self.meter.room(most) {
            Err(_) if !self.meter.fresh() => {
                self.count().await?;
                self.meter.room(most)?
            }
            room => room?,
        };
        self.carry_out(txn, room).await
    }

    async fn carry_out(&self, txn: &Txn, room: quota::Room<'_>) -> Result<TxnReply> {
        // What was there before is counted by.
        match self.run(txn, true).await {
            Ok(reply) => {
                room.settle(quota::added(txn, &reply));
                Ok(reply)
            }
            Err(error) => {
                if !matches!(error, Error::Unavailable(_)) {
                    room.settle(Amount::default());
                }
                Err(error)
            }
        }
    }

    /// How large the keys are that a transaction may put, those that there are.
    async fn sizes(&self, txn: &Txn) -> Result<BTreeMap<Bytes, Amount>> {
        let mut keys = Vec::new();
        quota::put_keys(txn, &mut keys);
        let mut sizes = BTreeMap::new();
        for key in keys {
            let request = RangeRequest {
                key: self.key(&key),
                ..Default::default()
            };
            let mut found = self.client.range(request).await.map_err(plain)?;
            if let Some(kv) = found.kvs.pop() {
                sizes.insert(key.clone(), Amount::of(&key, &kv.value));
            }
        }
        Ok(sizes)
    }

    /// Leases are the etcd's, for all keyspaces alike: a transaction that names some is carried out
    /// only where they are this keyspace's.
    async fn run(&self, txn: &Txn, prev: bool) -> Result<TxnReply> {
        let mut own = BTreeSet::new();
        leases_of(txn, &mut own);
        if own.is_empty() {
            let reply = self.send(self.request(txn, prev), txn).await?;
            let rev = reply.header.as_ref().map_or(0, |h| rev(h.revision));
            return self.reply(txn, reply, rev);
        }
        let mut asked = txn.clone();
        for _ in 0..ATTEMPTS {
            let reply = self.send(self.guarded(&asked, &own, prev), txn).await?;
            let rev = reply.header.as_ref().map_or(0, |h| rev(h.revision));
            if reply.succeeded {
                let inner = reply.responses.into_iter().next();
                return match inner.and_then(|inner| inner.response) {
                    Some(Response::Txn(inner)) => self.reply(txn, inner, rev),
                    _ => Err(unknown()),
                };
            }
            // Whoever uses what is not there, or not this keyspace's, is refused; but a branch that
            // is not taken uses nothing.
            let mut foreign = BTreeSet::new();
            for lease in &own {
                match self.check_lease(*lease).await {
                    Err(Error::LeaseNotFound(_)) => drop(foreign.insert(*lease)),
                    other => other?,
                }
            }
            own.retain(|lease| !foreign.contains(lease));
            forget_leases(&mut asked, &foreign);
        }
        Err(Error::Throttled("the leases came and went".into()))
    }

    async fn send(&self, request: TxnRequest, txn: &Txn) -> Result<TxnResponse> {
        match self.client.txn(request).await {
            Ok(reply) => Ok(reply),
            Err(Failure::Error(Error::LeaseNotFound(_))) => {
                let lease = first_lease(txn);
                Err(Error::LeaseNotFound(lease.unwrap_or(0)))
            }
            Err(failure) => Err(self.explain(failure).await),
        }
    }

    /// A transaction, inside one that fails unless all these leases are this keyspace's.
    fn guarded(&self, txn: &Txn, leases: &BTreeSet<LeaseId>, prev: bool) -> TxnRequest {
        let is_own = |lease: &LeaseId| proto::Compare {
            result: 1,
            target: 0,
            key: self.marker(*lease),
            target_union: Some(TargetUnion::Version(0)),
            ..Default::default()
        };
        TxnRequest {
            compare: leases.iter().map(is_own).collect(),
            success: vec![RequestOp {
                request: Some(Request::Txn(self.request(txn, prev))),
            }],
            failure: Vec::new(),
        }
    }

    /// Reads a range page by page, all of it at the first page's revision. The answer has no keys
    /// of its own: each is given to `take`.
    async fn pages(&self, range: &Range, mut take: impl FnMut(KeyValue)) -> Result<RangeReply> {
        let wanted = if range.limit == 0 {
            usize::MAX
        } else {
            range.limit
        };
        let mut request = self.range_request(range);
        let mut reply = RangeReply {
            head_rev: 0,
            kvs: Vec::new(),
            count: 0,
            more: false,
        };
        let (mut taken, strip) = (0, self.prefix.len());
        loop {
            let page = PAGE.min(wanted - taken);
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
            taken += found.kvs.len();
            reply.more = found.more;
            for kv in found.kvs {
                take(kv.into_kv(strip));
            }
            match last {
                Some(last) if reply.more && taken < wanted => {
                    let mut next = last.to_vec();
                    next.push(0);
                    request.key = next.into();
                }
                _ => break,
            }
        }
        Ok(reply)
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
            Failure::Future => match self.client.head(&self.prefix).await {
                Ok(head) => Error::Future(head),
                Err(error) => error,
            },
            Failure::Compacted => match watch::compact_revision(&self.client, &self.prefix).await {
                Ok(compacted) => {
                    self.history.learn(compacted);
                    Error::Compacted(self.history.known())
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
            Compare::Test {
                lo,
                hi,
                field,
                relation,
            } => return self.test(lo, hi, field, *relation),
        };
        let key = self.key(key);
        proto::Compare {
            target,
            key,
            target_union: Some(union),
            ..Default::default()
        }
    }

    fn test(&self, lo: &Bytes, hi: &Bytes, field: &Field, relation: Relation) -> proto::Compare {
        let (target, union) = match field {
            Field::Version(n) => (0, TargetUnion::Version(*n)),
            Field::CreateRev(n) => (1, TargetUnion::CreateRevision(*n)),
            Field::ModRev(n) => (2, TargetUnion::ModRevision(*n)),
            Field::Value(value) => (3, TargetUnion::Value(value.clone())),
            Field::Lease(lease) => (4, TargetUnion::Lease(*lease)),
        };
        let result = match relation {
            Relation::Equal => 0,
            Relation::Greater => 1,
            Relation::Less => 2,
            Relation::NotEqual => 3,
        };
        let (key, range_end) = self.span(lo, hi);
        proto::Compare {
            result,
            target,
            key,
            range_end,
            target_union: Some(union),
        }
    }

    /// `prev`: puts shall be answered with what was there before, here and in what is inside.
    fn request(&self, txn: &Txn, prev: bool) -> TxnRequest {
        let compares = txn.compares.iter().map(|compare| self.compare(compare));
        let ops = |ops: &[Op]| ops.iter().map(|op| self.op(op, prev)).collect();
        TxnRequest {
            compare: compares.collect(),
            success: ops(&txn.then),
            failure: ops(&txn.otherwise),
        }
    }

    fn range_request(&self, range: &Range) -> RangeRequest {
        let (key, range_end) = self.span(&range.lo, &range.hi);
        RangeRequest {
            key,
            range_end,
            revision: int(range.rev),
            limit: int(range.limit as u64),
            keys_only: range.keys_only,
            count_only: range.count_only,
            ..Default::default()
        }
    }

    fn op(&self, op: &Op, prev: bool) -> RequestOp {
        let put = |key: &Bytes, value: Option<&Bytes>, lease: Option<LeaseId>| {
            Request::Put(PutRequest {
                key: self.key(key),
                value: value.cloned().unwrap_or_default(),
                lease: lease.unwrap_or(0),
                prev_kv: prev,
                ignore_value: value.is_none(),
                ignore_lease: lease.is_none(),
            })
        };
        let request = match op {
            Op::Put { key, value, lease } => put(key, Some(value), Some(*lease)),
            Op::Update { key, value, lease } => put(key, value.as_ref(), *lease),
            Op::Get { key } => Request::Range(RangeRequest {
                key: self.key(key),
                ..Default::default()
            }),
            Op::Delete { key } => self.delete(key, &Bytes::new()),
            Op::DeleteRange { lo, hi } => self.delete(lo, hi),
            Op::Range(range) => Request::Range(self.range_request(range)),
            Op::Txn(inner) => Request::Txn(self.request(inner, prev)),
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
            // How many there were is told by what they were.
            prev_kv: true,
        })
    }

    fn reply(&self, txn: &Txn, reply: TxnResponse, rev: u64) -> Result<TxnReply> {
        let asked = if reply.succeeded {
            &txn.then
        } else {
            &txn.otherwise
        };
        let results: Result<Vec<_>> = asked
            .iter()
            .zip(reply.responses)
            .map(|(op, response)| self.result(op, response, rev))
            .collect();
        Ok(TxnReply {
            succeeded: reply.succeeded,
            rev,
            results: results?,
        })
    }

    fn result(&self, op: &Op, response: proto::ResponseOp, txn_rev: u64) -> Result<OpResult> {
        let strip = self.prefix.len();
        let strip_all =
            |kvs: Vec<proto::KeyValue>| kvs.into_iter().map(|kv| kv.into_kv(strip)).collect();
        Ok(match (op, response.response) {
            (Op::Range(range), Some(Response::Range(reply))) => OpResult::Range(RangeReply {
                head_rev: reply.header.map_or(0, |header| rev(header.revision)),
                more: reply.more && !range.count_only,
                count: rev(reply.count),
                kvs: strip_all(reply.kvs),
            }),
            (_, Some(Response::Range(mut reply))) => {
                OpResult::Got(reply.kvs.pop().map(|kv| kv.into_kv(strip)))
            }
            (_, Some(Response::Put(reply))) => OpResult::Put {
                prev: reply.prev_kv.map(|kv| kv.into_kv(strip)),
            },
            (_, Some(Response::DeleteRange(reply))) => OpResult::Deleted {
                prev: strip_all(reply.prev_kvs),
            },
            (Op::Txn(inner), Some(Response::Txn(reply))) => {
                OpResult::Txn(self.reply(inner, reply, txn_rev)?)
            }
            _ => {
                return Err(unknown());
            }
        })
    }

    fn marker(&self, lease: LeaseId) -> Bytes {
        [&self.leases[..], lease.to_string().as_bytes()]
            .concat()
            .into()
    }

    /// Notes, under the lease itself, that it is this keyspace's.
    async fn claim(&self, lease: LeaseId) -> Result<()> {
        let put = PutRequest {
            key: self.marker(lease),
            lease,
            ..Default::default()
        };
        let success = vec![RequestOp {
            request: Some(Request::Put(put)),
        }];
        let request = TxnRequest {
            success,
            ..Default::default()
        };
        self.client.txn(request).await.map(|_| ()).map_err(plain)
    }

    /// Refuses leases of other keyspaces.
    async fn check_lease(&self, lease: LeaseId) -> Result<()> {
        let request = RangeRequest {
            key: self.marker(lease),
            count_only: true,
            ..Default::default()
        };
        if self.client.range(request).await.map_err(plain)?.count == 0 {
            return Err(Error::LeaseNotFound(lease));
        }
        Ok(())
    }

    /// Refuses ranges of revisions that this keyspace has forgotten.
    fn check_revisions(&self, txn: &Txn) -> Result<()> {
        for op in txn.then.iter().chain(&txn.otherwise) {
            match op {
                Op::Range(range) => self.history.check(range.rev)?,
                Op::Txn(inner) => self.check_revisions(inner)?,
                _ => {}
            }
        }
        Ok(())
    }

    async fn size(&self) -> Result<u64> {
        if let Some((at, size)) = *self.size.lock()
            && at.elapsed() < SIZE_AGE
        {
            return Ok(size);
        }
        let size = rev(self.history.status().await?.db_size);
        *self.size.lock() = Some((Instant::now(), size));
        Ok(size)
    }
}

#[async_trait]
impl Store for EtcdStore {
    async fn head(&self) -> Result<Head> {
        if self.meter.counts() {
            self.counted().await?;
        }
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
            compact_rev: self.history.now().await?,
            bytes: match self.meter.used() {
                Some(used) => u64::try_from(used.bytes).unwrap_or(0),
                None => self.size().await?,
            },
            keys: rev(reply.count),
        })
    }

    async fn txn(&self, txn: Txn) -> Result<TxnReply> {
        limits::check_txn(&txn)?;
        self.check_revisions(&txn)?;
        if self.meter.counts() {
            return self.within_quota(&txn).await;
        }
        self.run(&txn, !txn.without_prev).await
    }

    async fn range(&self, range: Range) -> Result<RangeReply> {
        limits::check_span(&range.lo, &range.hi)?;
        self.history.check(range.rev)?;
        let mut kvs = Vec::new();
        let mut reply = self.pages(&range, |kv| kvs.push(kv)).await?;
        reply.kvs = kvs;
        if range.count_only {
            reply.more = false;
        }
        Ok(reply)
    }

    async fn watch(&self, watch: Watch) -> Result<WatchStream> {
        limits::check_span(&watch.lo, &watch.hi)?;
        let (key, range_end) = self.span(&watch.lo, &watch.hi);
        let start = match watch.start_rev {
            0 => self.client.head(&self.prefix).await? + 1,
            rev => rev,
        };
        let compacted = self.history.now().await?;
        if start < compacted {
            let item = WatchItem::Compacted { rev: compacted };
            return Ok(Box::pin(futures::stream::iter([Ok(item)])));
        }
        let wanted = watch::Wanted {
            compacted,
            key,
            range_end,
            next: start,
            prev_kv: watch.prev_kv,
            strip: self.prefix.len(),
        };
        watch::start(self.client.clone(), wanted, &self.watches)
    }

    async fn compact(&self, to: u64) -> Result<()> {
        self.history.compact(to).await
    }

    async fn lease_grant(&self, ttl_seconds: u64) -> Result<LeaseId> {
        limits::check_ttl(ttl_seconds)?;
        let lease = self.client.lease_grant(0, int(ttl_seconds.max(1)));
        let lease = lease.await?.id;
        self.claim(lease).await?;
        Ok(lease)
    }

    async fn lease_grant_as(&self, lease: LeaseId, ttl_seconds: u64) -> Result<()> {
        limits::check_ttl(ttl_seconds)?;
        limits::check_lease_id(lease)?;
        match self
            .client
            .lease_grant(lease, int(ttl_seconds.max(1)))
            .await
        {
            Err(Error::LeaseExists(_)) => Err(Error::LeaseExists(lease)),
            Err(error) => Err(error),
            Ok(_) => self.claim(lease).await,
        }
    }

    async fn lease_renew(&self, lease: LeaseId) -> Result<u64> {
        self.check_lease(lease).await?;
        match self.client.lease_renew(lease).await? {
            ttl if ttl > 0 => Ok(rev(ttl)),
            _ => Err(Error::LeaseNotFound(lease)),
        }
    }

    async fn lease(&self, lease: LeaseId) -> Result<Lease> {
        self.check_lease(lease).await?;
        let found = self.client.lease(lease).await?;
        if found.ttl < 0 {
            return Err(Error::LeaseNotFound(lease));
        }
        let strip = |key: &Bytes| {
            let key = key.strip_prefix(&self.prefix[..])?;
            Some(Bytes::copy_from_slice(key))
        };
        let mut keys: Vec<_> = found.keys.iter().filter_map(strip).collect();
        keys.sort_unstable();
        Ok(Lease {
            granted: rev(found.granted_ttl),
            remaining: Duration::from_secs(rev(found.ttl)),
            keys,
        })
    }

    async fn leases(&self) -> Result<Vec<LeaseId>> {
        let prefix = self.leases.clone();
        let keys = self
            .client
            .keys(prefix.clone(), prefix_end(&prefix))
            .await?;
        let id = |key: &Bytes| std::str::from_utf8(&key[prefix.len()..]).ok()?.parse().ok();
        let mut ids: Vec<LeaseId> = keys.iter().filter_map(id).collect();
        ids.sort_unstable();
        Ok(ids)
    }

    async fn lease_revoke(&self, lease: LeaseId) -> Result<()> {
        self.check_lease(lease).await?;
        self.client.lease_revoke(lease).await
    }

    async fn progress(&self) -> Result<()> {
        self.watches.ask(self.client.head(&self.prefix).await?);
        Ok(())
    }
}

fn unknown() -> Error {
    Error::Unavailable("etcd answered with an operation unknown here".into())
}

/// A lease that no etcd has.
const NO_LEASE: LeaseId = -1;

/// The leases that a transaction may put keys under.
fn leases_of(txn: &Txn, leases: &mut BTreeSet<LeaseId>) {
    for op in txn.then.iter().chain(&txn.otherwise) {
        match op {
            Op::Put { lease, .. } => drop(leases.insert(*lease)),
            Op::Update { lease, .. } => leases.extend(*lease),
            Op::Txn(inner) => leases_of(inner, leases),
            _ => {}
        }
    }
    leases.remove(&0);
}

fn forget_leases(txn: &mut Txn, foreign: &BTreeSet<LeaseId>) {
    for op in txn.then.iter_mut().chain(&mut txn.otherwise) {
        match op {
            Op::Put { lease, .. }
            | Op::Update {
                lease: Some(lease), ..
            } if foreign.contains(lease) => *lease = NO_LEASE,
            Op::Txn(inner) => forget_leases(inner, foreign),
            _ => {}
        }
    }
}

/// The lease that a transaction was refused for, as far as it can be told.
fn first_lease(txn: &Txn) -> Option<LeaseId> {
    let mut ops = txn.then.iter().chain(&txn.otherwise);
    ops.find_map(|op| match op {
        Op::Put { lease, .. } if *lease != 0 => Some(*lease),
        Op::Update { lease, .. } => lease.filter(|lease| *lease != 0),
        Op::Txn(inner) => first_lease(inner),
        _ => None,
    })
}

//! Compaction of one keyspace on an etcd that has one history for all.

use super::client::{Client, Failure, plain};
use crate::proto::{
    Compare, PutRequest, RangeRequest, Request, RequestOp, StatusResponse, TargetUnion, TxnRequest,
    int, rev,
};
use crate::{Error, Result};
use bytes::Bytes;
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Attempts when others compact the same keyspace at the same time.
const ATTEMPTS: u32 = 5;

/// When the etcd was at which revision, as far as compactions tell.
pub(super) struct Age {
    keep: Duration,
    seen: Mutex<VecDeque<(Instant, u64)>>,
}

impl Age {
    pub(super) fn new(keep: Duration) -> Self {
        Self {
            keep,
            seen: Mutex::default(),
        }
    }

    /// Notes the revision of now; the newest one that is old enough for nobody to need it.
    fn old(&self, now: Instant, head: u64) -> Option<u64> {
        let mut seen = self.seen.lock();
        // One per sixteenth is enough.
        let due = |at: &Instant| now.duration_since(*at) >= self.keep / 16;
        if seen.back().is_none_or(|(at, _)| due(at)) {
            seen.push_back((now, head));
        }
        let mut old = None;
        while let Some((at, rev)) = seen.front()
            && now.duration_since(*at) >= self.keep
        {
            old = Some(*rev);
            seen.pop_front();
        }
        old
    }
}

/// Up to where a keyspace's history is forgotten.
pub(super) struct History {
    admin: Client,
    key: Bytes,
    age: Arc<Age>,
    /// last known, by the keyspace's own mark or by the etcd
    known: AtomicU64,
}

impl History {
    pub(super) fn new(admin: Client, key: Bytes, age: Arc<Age>) -> Self {
        Self {
            admin,
            key,
            age,
            known: AtomicU64::new(0),
        }
    }

    pub(super) fn known(&self) -> u64 {
        self.known.load(Ordering::Acquire)
    }

    /// Of the whole etcd; only its administrator may ask.
    pub(super) async fn status(&self) -> Result<StatusResponse> {
        self.admin.status().await
    }

    pub(super) fn learn(&self, rev: u64) {
        self.known.fetch_max(rev, Ordering::AcqRel);
    }

    /// Refuses what may not be read any more.
    pub(super) fn check(&self, rev: u64) -> Result<()> {
        let known = self.known();
        if rev != 0 && rev < known {
            return Err(Error::Compacted(known));
        }
        Ok(())
    }

    /// The etcd's revision, and that of the keyspace's mark.
    async fn ask(&self) -> Result<(u64, i64)> {
        let request = RangeRequest {
            key: self.key.clone(),
            ..Default::default()
        };
        let reply = self.admin.range(request).await.map_err(plain)?;
        let head = reply.header.map_or(0, |header| rev(header.revision));
        let Some(kv) = reply.kvs.first() else {
            return Ok((head, 0));
        };
        let text = std::str::from_utf8(&kv.value).unwrap_or_default();
        let known = text.parse().map_err(|_| {
            Error::Corrupt("the mark of a keyspace's compaction is no number".into())
        })?;
        self.learn(known);
        Ok((head, kv.mod_revision))
    }

    /// The compact revision, asked now.
    pub(super) async fn now(&self) -> Result<u64> {
        self.ask().await?;
        Ok(self.known())
    }

    pub(super) async fn compact(&self, to: u64) -> Result<()> {
        for _ in 0..ATTEMPTS {
            let (head, mark) = self.ask().await?;
            if to > head {
                return Err(Error::Future(head));
            }
            if to <= self.known() {
                return Err(Error::Compacted(self.known()));
            }
            let unchanged = Compare {
                target: 2,
                key: self.key.clone(),
                target_union: Some(TargetUnion::ModRevision(mark)),
                ..Default::default()
            };
            let put = PutRequest {
                key: self.key.clone(),
                value: to.to_string().into(),
                ..Default::default()
            };
            let request = TxnRequest {
                compare: vec![unchanged],
                success: vec![RequestOp {
                    request: Some(Request::Put(put)),
                }],
                failure: Vec::new(),
            };
            if self.admin.txn(request).await.map_err(plain)?.succeeded {
                self.learn(to);
                return self.compact_all(head).await;
            }
        }
        Err(Error::Unavailable(
            "others kept compacting this keyspace".into(),
        ))
    }

    /// Compacts the etcd itself to what nobody needs any more.
    async fn compact_all(&self, head: u64) -> Result<()> {
        let Some(old) = self.age.old(Instant::now(), head) else {
            return Ok(());
        };
        match self.admin.compact(int(old)).await {
            // Somebody else was quicker.
            Ok(()) | Err(Failure::Compacted | Failure::Future) => Ok(()),
            Err(Failure::Error(error)) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_older_than_the_history_is_compacted_for_all() {
        let age = Age::new(Duration::from_secs(300));
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(age.old(at(0), 10), None);
        assert_eq!(age.old(at(100), 20), None);
        assert_eq!(age.old(at(299), 30), None);
        assert_eq!(age.old(at(300), 40), Some(10));
        assert_eq!(age.old(at(450), 50), Some(20));
        assert_eq!(age.old(at(451), 60), None);
        assert_eq!(age.old(at(10_000), 70), Some(50));
    }
}

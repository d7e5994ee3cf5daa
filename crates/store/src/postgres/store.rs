//! One keyspace in a PostgreSQL database.

use super::Options;
use super::guess::Known;
use super::hub::Hub;
use super::listen::Listener;
use super::pool::Pool;
use super::sql::{Kind, MAX_KEY, Names};
use super::watch;
use super::write::{Queue, Work};
use crate::{
    Error, Head, Lease, LeaseId, Op, Quota, Range, RangeReply, Result, Store, Txn, TxnReply, Watch,
    WatchStream, limits,
};
use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::Mutex;
use ring::rand::SecureRandom;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;
use tokio::sync::Notify;
use tokio_postgres::Row;

/// What the parts of a keyspace share.
pub(super) struct Inner {
    pub(super) pool: Arc<Pool>,
    pub(super) listener: Arc<Listener>,
    pub(super) names: Names,
    pub(super) options: Arc<Options>,
    pub(super) quota: Mutex<Quota>,
    pub(super) queue: Mutex<Queue>,
    pub(super) known: Mutex<Known>,
    /// the revision that other processes are told of, and whether somebody is telling them
    pub(super) announced: AtomicI64,
    pub(super) announcing: AtomicBool,
    pub(super) hub: Hub,
    /// names this process and keyspace among all that write
    pub(super) writer: i64,
    sequence: AtomicI64,
    deleted: AtomicBool,
    pub(super) leases_watched: AtomicBool,
    pub(super) granted: Arc<Notify>,
    pub(super) sweeping: AtomicBool,
}

/// A random positive number.
fn random() -> Result<i64> {
    let mut bytes = [0; 8];
    ring::rand::SystemRandom::new()
        .fill(&mut bytes)
        .map_err(|_| Error::Unavailable("the system gives no random numbers".into()))?;
    Ok((i64::from_le_bytes(bytes) & i64::MAX).max(1))
}

impl Inner {
    pub(super) fn new(
        pool: Arc<Pool>,
        listener: Arc<Listener>,
        names: Names,
        options: Arc<Options>,
    ) -> Result<Self> {
        Ok(Self {
            pool,
            listener,
            names,
            quota: Mutex::new(options.quota()),
            options,
            queue: Mutex::default(),
            known: Mutex::default(),
            announced: AtomicI64::new(0),
            announcing: AtomicBool::new(false),
            hub: Hub::default(),
            writer: random()?,
            sequence: AtomicI64::new(0),
            deleted: AtomicBool::new(false),
            leases_watched: AtomicBool::new(false),
            granted: Arc::default(),
            sweeping: AtomicBool::new(false),
        })
    }

    pub(super) fn next_sequence(&self) -> i64 {
        self.sequence.fetch_add(1, Ordering::AcqRel) + 1
    }

    pub(super) fn alive(&self) -> Result<()> {
        match self.deleted.load(Ordering::Acquire) {
            true => Err(Error::Deleted),
            false => Ok(()),
        }
    }

    pub(super) fn set_deleted(&self) {
        self.deleted.store(true, Ordering::Release);
        self.hub.end();
        self.granted.notify_one();
    }
}

fn check_key(key: &Bytes) -> Result<()> {
    if key.len() > MAX_KEY {
        let len = key.len();
        return Err(Error::TooLarge(format!(
            "a key of {len} bytes, at most {MAX_KEY} in PostgreSQL"
        )));
    }
    Ok(())
}

/// Only puts: what is longer is not there.
fn check_keys(txn: &Txn) -> Result<()> {
    for op in txn.then.iter().chain(&txn.otherwise) {
        match op {
            Op::Put { key, .. } | Op::Update { key, .. } => check_key(key)?,
            Op::Txn(inner) => check_keys(inner)?,
            _ => {}
        }
    }
    Ok(())
}

pub(super) struct PostgresStore(pub(super) Arc<Inner>);

#[async_trait]
impl Store for PostgresStore {
    async fn head(&self) -> Result<Head> {
        self.0.read_head().await
    }

    async fn txn(&self, txn: Txn) -> Result<TxnReply> {
        let size = limits::check_txn(&txn)?;
        check_keys(&txn)?;
        self.0.watch_leases();
        self.0.write(Work::Txn(txn), size).await
    }

    async fn range(&self, range: Range) -> Result<RangeReply> {
        limits::check_span(&range.lo, &range.hi)?;
        self.0.watch_leases();
        self.0.read_range(&range).await
    }

    async fn watch(&self, watch: Watch) -> Result<WatchStream> {
        limits::check_span(&watch.lo, &watch.hi)?;
        self.0.watch_leases();
        watch::start(self.0.clone(), watch).await
    }

    async fn compact(&self, rev: u64) -> Result<()> {
        self.0.write(Work::Compact(rev), 0).await?;
        self.0.sweep();
        Ok(())
    }

    async fn lease_grant(&self, ttl_seconds: u64) -> Result<LeaseId> {
        let id = random()?;
        self.lease_grant_as(id, ttl_seconds).await.map(|()| id)
    }

    async fn lease_grant_as(&self, lease: LeaseId, ttl_seconds: u64) -> Result<()> {
        limits::check_ttl(ttl_seconds)?;
        limits::check_lease_id(lease)?;
        // By this a second attempt knows the first one's work.
        let token = random()?;
        let ttl = ttl_seconds.max(1).cast_signed();
        let rows = self.0.rows(Kind::Grant, &[&lease, &ttl, &token]).await?;
        if rows.is_empty() {
            return Err(Error::LeaseExists(lease));
        }
        self.0.watch_leases();
        self.0.granted.notify_one();
        Ok(())
    }

    async fn lease_renew(&self, lease: LeaseId) -> Result<u64> {
        let rows = self.0.rows(Kind::Renew, &[&lease]).await?;
        let row = rows.first().ok_or(Error::LeaseNotFound(lease))?;
        Ok(row.get::<_, i64>(0).cast_unsigned())
    }

    async fn lease(&self, lease: LeaseId) -> Result<Lease> {
        let rows = self.0.rows(Kind::Lease, &[&lease]).await?;
        let first = rows.first().ok_or(Error::LeaseNotFound(lease))?;
        let key = |row: &Row| row.get::<_, Option<&[u8]>>(2).map(Bytes::copy_from_slice);
        let mut keys: Vec<_> = rows.iter().filter_map(key).collect();
        keys.sort_unstable();
        Ok(Lease {
            granted: first.get::<_, i64>(0).cast_unsigned(),
            // What is over is about to end.
            remaining: Duration::try_from_secs_f64(first.get(1)).unwrap_or_default(),
            keys,
        })
    }

    async fn leases(&self) -> Result<Vec<LeaseId>> {
        let rows = self.0.rows(Kind::Leases, &[]).await?;
        Ok(rows.iter().map(|row| row.get(0)).collect())
    }

    async fn lease_revoke(&self, lease: LeaseId) -> Result<()> {
        let work = Work::Revoke {
            ids: vec![lease],
            over: false,
        };
        self.0.write(work, 0).await.map(|_| ())
    }

    async fn progress(&self) -> Result<()> {
        let head = self.0.read_head().await?;
        self.0.hub.ask_progress(head.rev);
        Ok(())
    }
}

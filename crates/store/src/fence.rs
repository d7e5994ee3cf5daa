//! Keeps writers out of a keyspace that is being moved, on any driver.
//!
//! The smallest key (one zero byte) is ours. While it is there, writes through a [`Fenced`] store
//! are refused with [`Error::Fenced`]: each runs as a transaction inside one that looks at that
//! key first, so no write can slip in behind the fence. Tenants never see the key, and may not
//! use it. Whoever writes around [`Fenced`] is not kept out: the endpoint never does.

use crate::image::{FIRST_KEY, OWN_KEY};
use crate::room::Room;
use crate::{
    Compare, Error, Head, Lease, LeaseId, Op, OpResult, Range, RangeReply, Result, Store, Txn,
    TxnReply, Watch, WatchItem, WatchStream,
};
use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;
use std::sync::Arc;

/// A store that minds the fence.
pub struct Fenced {
    store: Arc<dyn Store>,
    /// where a keyspace is moved to is not for its users
    discreet: bool,
}

/// What the fence of a keyspace says, if there is one.
///
/// # Errors
/// When it cannot be read.
pub async fn read(store: &dyn Store) -> Result<Option<String>> {
    let range = Range {
        lo: OWN_KEY,
        ..Range::default()
    };
    let found = store.range(range).await?.kvs.pop();
    Ok(found.map(|kv| String::from_utf8_lossy(&kv.value).into_owned()))
}

/// Puts up a fence, or changes what it says, if it says `expected` now.
///
/// # Errors
/// [`Error::Fenced`] when it says something else.
pub async fn set(store: &dyn Store, expected: Option<&str>, text: Option<&str>) -> Result<u64> {
    let compare = match expected {
        Some(text) => Compare::Value(OWN_KEY, text.to_owned().into()),
        None => Compare::Version(OWN_KEY, 0),
    };
    let change = match text {
        Some(text) => Op::Put {
            key: OWN_KEY,
            value: text.to_owned().into(),
            lease: 0,
        },
        None => Op::Delete { key: OWN_KEY },
    };
    let txn = Txn {
        compares: vec![compare],
        then: vec![change],
        otherwise: vec![Op::Get { key: OWN_KEY }],
        ..Txn::default()
    };
    let reply = store.txn(txn).await?;
    if reply.succeeded {
        return Ok(reply.rev);
    }
    Err(refusal(reply))
}

fn refusal(mut reply: TxnReply) -> Error {
    let text = match reply.results.pop() {
        Some(OpResult::Got(Some(kv))) => String::from_utf8_lossy(&kv.value).into_owned(),
        _ => "the fence is not there any more".into(),
    };
    Error::Fenced(text)
}

/// The same range without our key.
fn without_ours(lo: Bytes, hi: &Bytes) -> Bytes {
    if lo == OWN_KEY && !hi.is_empty() {
        FIRST_KEY
    } else {
        lo
    }
}

fn reserved() -> Error {
    Error::Invalid("the key of one zero byte is reserved".into())
}

fn check(key: &Bytes) -> Result<()> {
    if *key == OWN_KEY {
        return Err(reserved());
    }
    Ok(())
}

fn clean(mut txn: Txn) -> Result<Txn> {
    for compare in &mut txn.compares {
        match compare {
            Compare::Test { lo, hi, .. } if !hi.is_empty() => {
                *lo = without_ours(std::mem::take(lo), hi);
            }
            Compare::ModRev(key, _)
            | Compare::CreateRev(key, _)
            | Compare::Version(key, _)
            | Compare::Value(key, _)
            | Compare::Lease(key, _)
            | Compare::Test { lo: key, .. } => check(key)?,
        }
    }
    for op in txn.then.iter_mut().chain(&mut txn.otherwise) {
        match op {
            Op::Put { key, .. } | Op::Update { key, .. } | Op::Delete { key } | Op::Get { key } => {
                check(key)?;
            }
            Op::DeleteRange { lo, hi } => {
                *lo = without_ours(std::mem::take(lo), hi);
                check(lo)?;
            }
            Op::Range(range) => {
                range.lo = without_ours(std::mem::take(&mut range.lo), &range.hi);
                check(&range.lo)?;
            }
            Op::Txn(inner) => **inner = clean(std::mem::take(inner))?,
        }
    }
    Ok(txn)
}

impl Fenced {
    pub fn new(store: Arc<dyn Store>) -> Arc<Self> {
        let discreet = false;
        Arc::new(Self { store, discreet })
    }

    /// One that keeps the place to itself where a keyspace is moved to.
    pub fn discreet(store: Arc<dyn Store>) -> Arc<Self> {
        let discreet = true;
        Arc::new(Self { store, discreet })
    }

    fn refused(&self, error: Error) -> Error {
        match error {
            Error::Fenced(text) if self.discreet => {
                let said = text.split_once(" moved to ");
                Error::Fenced(said.map_or(text.clone(), |(before, _)| format!("{before} moved")))
            }
            other => other,
        }
    }

    /// For what cannot be part of a transaction.
    async fn look(&self) -> Result<()> {
        match read(&*self.store).await? {
            Some(text) => Err(self.refused(Error::Fenced(text))),
            None => Ok(()),
        }
    }

    async fn pass(&self, txn: Txn, room: Option<&dyn Room>) -> Result<TxnReply> {
        match room {
            Some(room) => self.store.txn_within(txn, room).await,
            None => self.store.txn(txn).await,
        }
    }

    async fn guarded(&self, txn: Txn, room: Option<&dyn Room>) -> Result<TxnReply> {
        let txn = clean(txn)?;
        if !txn.writes() {
            return self.pass(txn, room).await;
        }
        let without_prev = txn.without_prev;
        let guarded = Txn {
            compares: vec![Compare::Version(OWN_KEY, 0)],
            then: vec![Op::Txn(Box::new(txn))],
            otherwise: vec![Op::Get { key: OWN_KEY }],
            without_prev,
        };
        let mut reply = self.pass(guarded, room).await?;
        if !reply.succeeded {
            return Err(self.refused(refusal(reply)));
        }
        match reply.results.pop() {
            Some(OpResult::Txn(inner)) => Ok(TxnReply {
                rev: reply.rev,
                ..inner
            }),
            _ => Err(Error::Unavailable("an answer of another kind".into())),
        }
    }

    async fn read(&self, mut range: Range, room: Option<&dyn Room>) -> Result<RangeReply> {
        range.lo = without_ours(range.lo, &range.hi);
        if range.lo == OWN_KEY {
            // It is there for nobody.
            range.count_only = true;
            let mut reply = self.store.range(range).await?;
            (reply.count, reply.more) = (0, false);
            return Ok(reply);
        }
        match room {
            Some(room) => self.store.range_within(range, room).await,
            None => self.store.range(range).await,
        }
    }
}

#[async_trait]
impl Store for Fenced {
    async fn head(&self) -> Result<Head> {
        self.store.head().await
    }

    async fn txn(&self, txn: Txn) -> Result<TxnReply> {
        self.guarded(txn, None).await
    }

    async fn txn_within(&self, txn: Txn, room: &dyn Room) -> Result<TxnReply> {
        self.guarded(txn, Some(room)).await
    }

    async fn range(&self, range: Range) -> Result<RangeReply> {
        self.read(range, None).await
    }

    async fn range_within(&self, range: Range, room: &dyn Room) -> Result<RangeReply> {
        self.read(range, Some(room)).await
    }

    async fn watch(&self, mut watch: Watch) -> Result<WatchStream> {
        watch.lo = without_ours(watch.lo, &watch.hi);
        let ours = watch.lo == OWN_KEY;
        let items = self.store.watch(watch).await?;
        if !ours {
            return Ok(items);
        }
        // Everything but what happens to that key.
        let others = items.filter(|item| {
            let event = matches!(item, Ok(WatchItem::Events { .. }));
            std::future::ready(!event)
        });
        Ok(others.boxed())
    }

    async fn compact(&self, rev: u64) -> Result<()> {
        self.store.compact(rev).await
    }

    async fn lease_grant(&self, ttl_seconds: u64) -> Result<LeaseId> {
        self.look().await?;
        self.store.lease_grant(ttl_seconds).await
    }

    async fn lease_grant_as(&self, lease: LeaseId, ttl_seconds: u64) -> Result<()> {
        self.look().await?;
        self.store.lease_grant_as(lease, ttl_seconds).await
    }

    async fn lease_renew(&self, lease: LeaseId) -> Result<u64> {
        self.look().await?;
        self.store.lease_renew(lease).await
    }

    async fn lease(&self, lease: LeaseId) -> Result<Lease> {
        self.store.lease(lease).await
    }

    async fn leases(&self) -> Result<Vec<LeaseId>> {
        self.store.leases().await
    }

    async fn lease_revoke(&self, lease: LeaseId) -> Result<()> {
        self.look().await?;
        self.store.lease_revoke(lease).await
    }

    async fn progress(&self) -> Result<()> {
        self.store.progress().await
    }
}

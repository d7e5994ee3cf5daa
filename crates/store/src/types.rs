//! Requests, replies and errors of the contract.

use crate::proto::int;
use bytes::Bytes;
use std::pin::Pin;

pub type Result<T, E = Error> = std::result::Result<T, E>;

/// 0 means no lease.
pub type LeaseId = i64;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyValue {
    pub key: Bytes,
    pub value: Bytes,
    pub create_rev: u64,
    pub mod_rev: u64,
    /// 1 on creation, then one more per put
    pub version: u64,
    pub lease: LeaseId,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Head {
    pub rev: u64,
    pub compact_rev: u64,
    /// stored bytes, history included
    pub bytes: u64,
    /// live keys
    pub keys: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Compare {
    /// modification revision equals (0: the key does not exist)
    ModRev(Bytes, u64),
    CreateRev(Bytes, u64),
    Version(Bytes, u64),
    Value(Bytes, Bytes),
    Lease(Bytes, LeaseId),
    /// any relation, which must hold for every key of a range (`hi` as in [`Range::hi`])
    Test {
        lo: Bytes,
        hi: Bytes,
        field: Field,
        relation: Relation,
    },
}

impl Compare {
    /// The keys that it looks at, as in [`Range`].
    #[must_use]
    pub fn span(&self) -> (&Bytes, &Bytes) {
        static POINT: Bytes = Bytes::new();
        match self {
            Self::ModRev(key, _)
            | Self::CreateRev(key, _)
            | Self::Version(key, _)
            | Self::Value(key, _)
            | Self::Lease(key, _) => (key, &POINT),
            Self::Test { lo, hi, .. } => (lo, hi),
        }
    }

    /// What must hold for every one of them.
    #[must_use]
    pub fn test(&self) -> (Field, Relation) {
        let field = match self {
            Self::ModRev(_, n) => Field::ModRev(int(*n)),
            Self::CreateRev(_, n) => Field::CreateRev(int(*n)),
            Self::Version(_, n) => Field::Version(int(*n)),
            Self::Value(_, value) => Field::Value(value.clone()),
            Self::Lease(_, lease) => Field::Lease(*lease),
            Self::Test {
                field, relation, ..
            } => return (field.clone(), *relation),
        };
        (field, Relation::Equal)
    }
}

/// What a [`Compare::Test`] looks at, and the value it compares that with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Field {
    Version(i64),
    CreateRev(i64),
    ModRev(i64),
    Value(Bytes),
    Lease(LeaseId),
}

/// How what is stored relates to the value given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Relation {
    Equal,
    Greater,
    Less,
    NotEqual,
}

impl Field {
    /// Whether the relation holds for one key. A key that is not there counts as all zeroes,
    /// and has no value that any comparison could hold for.
    #[must_use]
    pub fn holds(&self, relation: Relation, kv: Option<&KeyValue>) -> bool {
        let number = |stored: Option<u64>, given: i64| {
            i64::try_from(stored.unwrap_or(0))
                .unwrap_or(i64::MAX)
                .cmp(&given)
        };
        let order = match self {
            Self::Version(n) => number(kv.map(|kv| kv.version), *n),
            Self::CreateRev(n) => number(kv.map(|kv| kv.create_rev), *n),
            Self::ModRev(n) => number(kv.map(|kv| kv.mod_rev), *n),
            Self::Lease(n) => kv.map_or(0, |kv| kv.lease).cmp(n),
            Self::Value(value) => match kv {
                Some(kv) => kv.value.cmp(value),
                None => return false,
            },
        };
        match relation {
            Relation::Equal => order.is_eq(),
            Relation::Greater => order.is_gt(),
            Relation::Less => order.is_lt(),
            Relation::NotEqual => order.is_ne(),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Op {
    Put {
        key: Bytes,
        value: Bytes,
        lease: LeaseId,
    },
    Delete {
        key: Bytes,
    },
    DeleteRange {
        lo: Bytes,
        hi: Bytes,
    },
    Get {
        key: Bytes,
    },
    /// a put over a key that is there ([`Error::KeyNotFound`] if not), keeping what is not given
    Update {
        key: Bytes,
        value: Option<Bytes>,
        lease: Option<LeaseId>,
    },
    /// [`crate::Store::range`] in the middle of a transaction: with revision 0 it sees what the
    /// transaction has done so far
    Range(Range),
    /// a transaction inside; its compares see the state before the outermost one
    Txn(Box<Txn>),
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Txn {
    pub compares: Vec<Compare>,
    pub then: Vec<Op>,
    pub otherwise: Vec<Op>,
    /// Nobody looks at what was there before: the answers to puts and deletions may come without
    /// those values. What the outermost transaction says holds for those inside.
    pub without_prev: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TxnReply {
    pub succeeded: bool,
    /// the keyspace's revision after the transaction; grown only if it wrote
    pub rev: u64,
    /// one per executed operation
    pub results: Vec<OpResult>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OpResult {
    Put { prev: Option<KeyValue> },
    Deleted { prev: Vec<KeyValue> },
    Got(Option<KeyValue>),
    Range(RangeReply),
    Txn(TxnReply),
}

impl Txn {
    /// Whether it may change anything.
    #[must_use]
    pub fn writes(&self) -> bool {
        self.then.iter().chain(&self.otherwise).any(|op| match op {
            Op::Put { .. } | Op::Delete { .. } | Op::DeleteRange { .. } | Op::Update { .. } => true,
            Op::Get { .. } | Op::Range(_) => false,
            Op::Txn(inner) => inner.writes(),
        })
    }
}

/// What is known of a lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// the time to live it was granted with, in seconds
    pub granted: u64,
    pub remaining: std::time::Duration,
    /// in order
    pub keys: Vec<Bytes>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Range {
    pub lo: Bytes,
    /// exclusive; empty: only the key `lo`; one zero byte: to the end
    pub hi: Bytes,
    /// 0: now
    pub rev: u64,
    /// 0: no limit
    pub limit: usize,
    pub keys_only: bool,
    pub count_only: bool,
}

impl Range {
    /// The revision that it reads, of a keyspace at `newest` that forgot what was before `compacted`.
    ///
    /// # Errors
    /// When that is not there yet, or not any more.
    pub fn at(&self, newest: u64, compacted: u64) -> Result<u64> {
        match self.rev {
            0 => Ok(newest),
            rev if rev > newest => Err(Error::Future(newest)),
            rev if rev < compacted => Err(Error::Compacted(compacted)),
            rev => Ok(rev),
        }
    }

    /// The most keys that it answers with.
    #[must_use]
    pub fn most(&self) -> usize {
        match (self.count_only, self.limit) {
            (true, _) => 0,
            (false, 0) => usize::MAX,
            (false, limit) => limit,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RangeReply {
    /// the keyspace's revision when the range was read (etcd's header)
    pub head_rev: u64,
    pub kvs: Vec<KeyValue>,
    /// exact number of keys in the range at that revision, regardless of `limit`
    pub count: u64,
    pub more: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Watch {
    pub lo: Bytes,
    /// as in [`Range::hi`]
    pub hi: Bytes,
    /// first revision to deliver; 0: only what happens from now on
    pub start_rev: u64,
    pub prev_kv: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// for a deletion: key and mod_rev of the deletion, empty value
    pub kv: KeyValue,
    pub deleted: bool,
    pub prev: Option<KeyValue>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WatchItem {
    /// all events of one revision that fall in the range, together
    Events { rev: u64, events: Vec<Event> },
    /// everything up to `rev` has been delivered
    Progress { rev: u64 },
    /// the start was compacted; the stream ends
    Compacted { rev: u64 },
}

pub type WatchStream = Pin<Box<dyn futures::Stream<Item = Result<WatchItem>> + Send>>;

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("the required revision has been compacted (compact revision {0})")]
    Compacted(u64),
    #[error("the required revision is a future one (current revision {0})")]
    Future(u64),
    #[error("the datastore quota is used up: {0}")]
    NoSpace(String),
    #[error("the request is too large: {0}")]
    TooLarge(String),
    #[error("too many requests: {0}")]
    Throttled(String),
    #[error("the keyspace is fenced: {0}")]
    Fenced(String),
    #[error("the keyspace was deleted")]
    Deleted,
    /// the request breaks a rule of the contract (empty key, a key put twice …)
    #[error("invalid request: {0}")]
    Invalid(String),
    #[error("no such lease: {0}")]
    LeaseNotFound(LeaseId),
    #[error("there is a lease {0} already")]
    LeaseExists(LeaseId),
    /// an [`Op::Update`] of a key that is not there
    #[error("the key is not there")]
    KeyNotFound,
    #[error("the datastore is damaged: {0}")]
    Corrupt(String),
    #[error("the watcher fell too far behind and was cut off")]
    SlowWatcher,
    #[error("the datastore is unavailable: {0}")]
    Unavailable(String),
}

/// How much a keyspace may store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quota {
    /// history included, where a keyspace has one of its own (not on an etcd)
    pub bytes: u64,
    pub keys: u64,
}

impl Default for Quota {
    /// No limit that is known.
    fn default() -> Self {
        Self {
            bytes: u64::MAX,
            keys: u64::MAX,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_revision_from_the_compacted_one_to_the_newest_can_be_read() {
        let at = |rev| {
            let range = Range {
                rev,
                ..Range::default()
            };
            range.at(9, 5)
        };
        assert_eq!([at(0), at(9), at(7), at(5)], [Ok(9), Ok(9), Ok(7), Ok(5)]);
        assert_eq!(
            [at(4), at(1)],
            [Err(Error::Compacted(5)), Err(Error::Compacted(5))]
        );
        assert_eq!(at(10), Err(Error::Future(9)));
    }

    #[test]
    fn a_simple_compare_is_a_test_of_one_key() {
        let kv = KeyValue {
            key: "a".into(),
            value: "v".into(),
            create_rev: 2,
            mod_rev: 5,
            version: 3,
            lease: 7,
        };
        let (key, value) = (|| Bytes::from("a"), |v| Bytes::from_static(v));
        for (there, compare) in [
            (true, Compare::ModRev(key(), 5)),
            (true, Compare::CreateRev(key(), 2)),
            (true, Compare::Version(key(), 3)),
            (true, Compare::Lease(key(), 7)),
            (true, Compare::Value(key(), value(b"v"))),
            (false, Compare::Value(key(), value(b""))),
            (false, Compare::ModRev(key(), u64::MAX)),
        ] {
            let (field, relation) = compare.test();
            assert_eq!(compare.span(), (&kv.key, &Bytes::new()));
            assert_eq!(field.holds(relation, Some(&kv)), there, "{compare:?}");
            assert!(!field.holds(relation, None), "{compare:?}");
        }
        let (field, relation) = Compare::Version(key(), 0).test();
        assert!(field.holds(relation, None));
    }
}

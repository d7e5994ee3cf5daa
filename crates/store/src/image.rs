//! Everything that one keyspace holds at one revision: what is copied and moved.

use crate::{Error, KeyValue, LeaseId, Op, Range, Result, Store, Txn, WatchItem, limits};
use bytes::Bytes;
use futures::StreamExt;
use ring::digest::{Context, SHA256};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

/// The smallest key: ours in every keyspace that is copied or moved (see [`crate::fence`]).
pub(crate) const OWN_KEY: Bytes = Bytes::from_static(&[0]);
/// The first key of a tenant.
pub(crate) const FIRST_KEY: Bytes = Bytes::from_static(&[0, 0]);
const END: Bytes = Bytes::from_static(&[0]);

const PAGE: usize = 1000;
const MAGIC: &[u8; 8] = b"FHIMAGE\x01";
/// Keys and bytes per transaction where keys are written anew; as etcd's limits allow.
const TXN_KEYS: usize = 100;
const TXN_BYTES: usize = 1 << 20;
/// Empty revisions that are made to get above an image's.
const MAX_RAISE: u64 = 10_000_000;

/// A lease as an image keeps it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaseImage {
    pub id: LeaseId,
    pub granted: u64,
    pub remaining: Duration,
}

/// A keyspace at one revision, without its history. All of it is in memory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Image {
    pub rev: u64,
    /// by key
    pub kvs: Vec<KeyValue>,
    pub leases: Vec<LeaseImage>,
}

/// What became of the revisions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Imported {
    /// every key has the revisions it had
    Exactly,
    /// keys have new revisions, all above the image's
    Anew,
}

impl Image {
    /// Reads a keyspace as it is now; writers go on meanwhile.
    ///
    /// # Errors
    /// When it cannot be read, or changes faster than it can be read.
    pub async fn take(store: &dyn Store) -> Result<Self> {
        for _ in 0..10 {
            let image = Self::try_take(store).await?;
            let known: BTreeSet<_> = image.leases.iter().map(|lease| lease.id).collect();
            let leased = |kv: &KeyValue| kv.lease != 0 && !known.contains(&kv.lease);
            // A lease that ended while keys were read has taken keys with it.
            if !image.kvs.iter().any(leased) {
                return Ok(image);
            }
        }
        Err(Error::Unavailable(
            "leases end faster than the keyspace can be read".into(),
        ))
    }

    async fn try_take(store: &dyn Store) -> Result<Self> {
        let mut image = Self::default();
        let mut range = Range {
            lo: FIRST_KEY,
            hi: END,
            limit: PAGE,
            ..Range::default()
        };
        loop {
            let page = store.range(range.clone()).await?;
            if range.rev == 0 {
                (image.rev, range.rev) = (page.head_rev, page.head_rev);
            }
            image.kvs.extend(page.kvs);
            match image.kvs.last() {
                Some(last) if page.more => range.lo = [&last.key[..], &[0]].concat().into(),
                _ => break,
            }
        }
        image.leases = leases(store).await?;
        Ok(image)
    }

    /// Follows a keyspace from the image's revision until it has what there is now.
    ///
    /// # Errors
    /// [`Error::Compacted`] when that is no longer possible.
    pub async fn follow(&mut self, store: &dyn Store) -> Result<()> {
        let head = store.head().await?.rev;
        let watch = crate::Watch {
            lo: FIRST_KEY,
            hi: END,
            start_rev: self.rev + 1,
            prev_kv: false,
        };
        let mut kvs: BTreeMap<Bytes, KeyValue> = std::mem::take(&mut self.kvs)
            .into_iter()
            .map(|kv| (kv.key.clone(), kv))
            .collect();
        let mut items = store.watch(watch).await?;
        // A watch that starts beyond the head has nothing to deliver.
        while self.rev < head {
            match items.next().await {
                Some(Ok(WatchItem::Events { rev, events })) => {
                    for event in events {
                        if event.deleted {
                            kvs.remove(&event.kv.key);
                        } else {
                            kvs.insert(event.kv.key.clone(), event.kv);
                        }
                    }
                    self.rev = rev;
                }
                Some(Ok(WatchItem::Progress { rev })) => self.rev = self.rev.max(rev),
                Some(Ok(WatchItem::Compacted { rev })) => return Err(Error::Compacted(rev)),
                Some(Err(error)) => return Err(error),
                None => return Err(Error::Unavailable("the watch ended".into())),
            }
        }
        self.kvs = kvs.into_values().collect();
        self.leases = leases(store).await?;
        Ok(())
    }

    /// A hash of all keys and values, and of which of them are under a lease together. With
    /// `exactly`, of their revisions too, and of the leases' ids and times to live.
    #[must_use]
    pub fn hash(&self, exactly: bool) -> [u8; 32] {
        let granted: BTreeMap<_, _> = self.leases.iter().map(|l| (l.id, l.granted)).collect();
        let mut seen = BTreeMap::from([(0, 0)]);
        let mut context = Context::new(&SHA256);
        for kv in &self.kvs {
            for part in [&kv.key, &kv.value] {
                context.update(&(part.len() as u64).to_le_bytes());
                context.update(part);
            }
            // Which of the leases that have come so far, whatever it is called.
            let next = seen.len() as u64;
            let group = *seen.entry(kv.lease).or_insert(next);
            context.update(&group.to_le_bytes());
            if exactly {
                let ttl = granted.get(&kv.lease).copied().unwrap_or(0);
                for number in [kv.create_rev, kv.mod_rev, kv.version, ttl] {
                    context.update(&number.to_le_bytes());
                }
                context.update(&kv.lease.to_le_bytes());
            }
        }
        let mut hash = [0; 32];
        hash.copy_from_slice(context.finish().as_ref());
        hash
    }

    /// Whether every key is under a lease that ends when its lease here does, or a little earlier:
    /// time goes on. The lease may be called otherwise.
    #[must_use]
    pub fn same_ends(&self, other: &Self) -> bool {
        let ends = |image: &Self| -> BTreeMap<_, _> {
            let leases = image.leases.iter();
            leases.map(|lease| (lease.id, lease.remaining)).collect()
        };
        let (ours, theirs) = (ends(self), ends(other));
        let same = |(a, b): (&KeyValue, &KeyValue)| match (a.lease, b.lease) {
            (0, 0) => true,
            (a, b) => match (ours.get(&a), theirs.get(&b)) {
                // Some know whole seconds only, and give none less than one.
                (Some(a), Some(b)) => *b <= *a + Duration::from_secs(1),
                _ => false,
            },
        };
        self.kvs.len() == other.kvs.len() && self.kvs.iter().zip(&other.kvs).all(same)
    }

    /// The image as bytes, with a checksum at the end.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = MAGIC.to_vec();
        let number = |out: &mut Vec<u8>, n: u64| out.extend_from_slice(&n.to_le_bytes());
        number(&mut out, self.rev);
        number(&mut out, self.leases.len() as u64);
        for lease in &self.leases {
            number(&mut out, lease.id.cast_unsigned());
            number(&mut out, lease.granted);
            let left = u64::try_from(lease.remaining.as_millis()).unwrap_or(u64::MAX);
            number(&mut out, left);
        }
        number(&mut out, self.kvs.len() as u64);
        for kv in &self.kvs {
            for n in [
                kv.create_rev,
                kv.mod_rev,
                kv.version,
                kv.lease.cast_unsigned(),
            ] {
                number(&mut out, n);
            }
            for part in [&kv.key, &kv.value] {
                number(&mut out, part.len() as u64);
                out.extend_from_slice(part);
            }
        }
        let sum = ring::digest::digest(&SHA256, &out);
        out.extend_from_slice(sum.as_ref());
        out
    }

    /// Reads what [`Image::encode`] wrote.
    ///
    /// # Errors
    /// [`Error::Corrupt`] for anything else.
    pub fn decode(data: &[u8]) -> Result<Self> {
        let wrong = || Error::Corrupt("this is no whole image of a keyspace".into());
        let at = data.len().checked_sub(32).ok_or_else(wrong)?;
        let (body, sum) = data.split_at(at);
        if ring::digest::digest(&SHA256, body).as_ref() != sum || !body.starts_with(MAGIC) {
            return Err(wrong());
        }
        let image = decode(&body[MAGIC.len()..]).ok_or_else(wrong)?;
        match image.consistent() {
            true => Ok(image),
            false => Err(Error::Corrupt("the image contradicts itself".into())),
        }
    }

    /// Whether it can be what a keyspace was. A file has a checksum, which anybody can make: keys
    /// out of order would not be found again, and one of ours would be a fence.
    pub(crate) fn consistent(&self) -> bool {
        let leases: BTreeSet<_> = self.leases.iter().map(|lease| lease.id).collect();
        let known = |lease| lease == 0 || leases.contains(&lease);
        let ours = |kv: &KeyValue| kv.key < FIRST_KEY;
        (1..=LAST_REV).contains(&self.rev)
            && leases.len() == self.leases.len()
            && self.leases.iter().all(|l| lease_fits(l.id, l.granted))
            && !self.kvs.first().is_some_and(ours)
            && self.kvs.is_sorted_by(|a, b| a.key < b.key)
            && self
                .kvs
                .iter()
                .all(|kv| fits(kv, self.rev) && known(kv.lease))
    }
}

/// Revisions up to this: they are signed elsewhere, and must be able to grow.
pub(crate) const LAST_REV: u64 = (i64::MAX >> 1).cast_unsigned();

/// Whether a key can be as it is in a keyspace of this revision.
pub(crate) fn fits(kv: &KeyValue, rev: u64) -> bool {
    (1..=limits::MAX_KEY).contains(&kv.key.len())
        && kv.value.len() <= limits::MAX_VALUE
        && 0 < kv.version
        && 0 < kv.create_rev
        && kv.create_rev <= kv.mod_rev
        && kv.version <= kv.mod_rev
        && kv.mod_rev <= rev
}

pub(crate) fn lease_fits(id: LeaseId, granted: u64) -> bool {
    limits::check_lease_id(id).is_ok() && limits::check_ttl(granted).is_ok()
}

fn decode(mut data: &[u8]) -> Option<Image> {
    fn number(data: &mut &[u8]) -> Option<u64> {
        let (head, rest) = data.split_at_checked(8)?;
        *data = rest;
        Some(u64::from_le_bytes(head.try_into().ok()?))
    }
    fn bytes(data: &mut &[u8]) -> Option<Bytes> {
        let len = usize::try_from(number(data)?).ok()?;
        let (head, rest) = data.split_at_checked(len)?;
        *data = rest;
        Some(Bytes::copy_from_slice(head))
    }
    let data = &mut data;
    let mut image = Image {
        rev: number(data)?,
        ..Image::default()
    };
    for _ in 0..number(data)? {
        image.leases.push(LeaseImage {
            id: number(data)?.cast_signed(),
            granted: number(data)?,
            remaining: Duration::from_millis(number(data)?),
        });
    }
    for _ in 0..number(data)? {
        let (create_rev, mod_rev) = (number(data)?, number(data)?);
        let (version, lease) = (number(data)?, number(data)?.cast_signed());
        image.kvs.push(KeyValue {
            create_rev,
            mod_rev,
            version,
            lease,
            key: bytes(data)?,
            value: bytes(data)?,
        });
    }
    data.is_empty().then_some(image)
}

async fn leases(store: &dyn Store) -> Result<Vec<LeaseImage>> {
    let mut found = Vec::new();
    for id in store.leases().await? {
        match store.lease(id).await {
            Ok(lease) => found.push(LeaseImage {
                id,
                granted: lease.granted,
                remaining: lease.remaining,
            }),
            // It has just ended.
            Err(Error::LeaseNotFound(_)) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(found)
}

/// Writes an image with new revisions. A keyspace that this was begun on says so in a key of ours
/// until it is complete; one that was written to by anybody else is refused.
pub(crate) async fn write_anew(store: Arc<dyn Store>, image: &Image) -> Result<Imported> {
    let put = |key: &Bytes, value: &Bytes, lease| Op::Put {
        key: key.clone(),
        value: value.clone(),
        lease,
    };
    let begun = Bytes::from_static(b"importing");
    let found = store
        .range(Range {
            lo: OWN_KEY,
            hi: END,
            limit: 1,
            ..Range::default()
        })
        .await?;
    let ours = found
        .kvs
        .first()
        .is_some_and(|kv| kv.key == OWN_KEY && kv.value == begun);
    if found.count > 0 && !ours {
        return Err(Error::Invalid("the keyspace is not empty".into()));
    }
    // What an earlier attempt left goes, its leases too; its mark stays.
    if ours {
        for lease in store.leases().await? {
            match store.lease_revoke(lease).await {
                Ok(()) | Err(Error::LeaseNotFound(_)) => {}
                Err(error) => return Err(error),
            }
        }
    }
    let clear = Op::DeleteRange {
        lo: FIRST_KEY,
        hi: END,
    };
    let mark = put(&OWN_KEY, &begun, 0);
    let mut rev = run(&*store, vec![clear, mark.clone()]).await?;
    if image.rev.saturating_sub(rev) > MAX_RAISE {
        return Err(Error::TooLarge(format!(
            "the source is at revision {}, this keyspace at {rev}: too far to catch up with",
            image.rev
        )));
    }
    while rev < image.rev {
        rev = run(&*store, vec![mark.clone()]).await?;
    }
    let leases = grant(&*store, image).await?;
    let lease_of = |kv: &KeyValue| leases.get(&kv.lease).copied().unwrap_or(kv.lease);
    let mut rest = &image.kvs[..];
    while !rest.is_empty() {
        let mut bytes = 0;
        let fits = rest.iter().take(TXN_KEYS).take_while(|kv| {
            bytes += kv.key.len() + kv.value.len();
            bytes <= TXN_BYTES.min(limits::MAX_VALUE)
        });
        let (part, more) = rest.split_at(fits.count().max(1));
        let ops = part.iter().map(|kv| put(&kv.key, &kv.value, lease_of(kv)));
        run(&*store, ops.collect()).await?;
        rest = more;
    }
    run(&*store, vec![Op::Delete { key: OWN_KEY }]).await?;
    Ok(Imported::Anew)
}

/// Grants an image's leases, each for the time that it had left. Of one server that has several
/// keyspaces another may have the id: then it is a new one. Says which are called otherwise.
async fn grant(store: &dyn Store, image: &Image) -> Result<BTreeMap<LeaseId, LeaseId>> {
    let mut renamed = BTreeMap::new();
    for lease in &image.leases {
        // Whole seconds, and none too few.
        let left = lease.remaining.as_millis().div_ceil(1000).max(1);
        let left = u64::try_from(left).unwrap_or(u64::MAX);
        match store.lease_grant_as(lease.id, left).await {
            Ok(()) => {}
            Err(Error::LeaseExists(_)) => {
                renamed.insert(lease.id, store.lease_grant(left).await?);
            }
            Err(error) => return Err(error),
        }
    }
    Ok(renamed)
}

async fn run(store: &dyn Store, then: Vec<Op>) -> Result<u64> {
    let txn = Txn {
        then,
        without_prev: true,
        ..Txn::default()
    };
    Ok(store.txn(txn).await?.rev)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_tells_which_keys_are_under_a_lease_together_and_how_long_it_is() {
        let image = |leases: [LeaseId; 3], granted| Image {
            rev: 7,
            kvs: leases
                .iter()
                .enumerate()
                .map(|(n, lease)| KeyValue {
                    key: format!("k{n}").into(),
                    value: "v".into(),
                    create_rev: 2,
                    mod_rev: 2,
                    version: 1,
                    lease: *lease,
                })
                .collect(),
            leases: leases
                .into_iter()
                .filter(|id| *id != 0)
                .map(|id| LeaseImage {
                    id,
                    granted,
                    remaining: Duration::from_secs(30),
                })
                .collect(),
        };
        let one = image([0, 5, 5], 60);
        for (other, alike) in [([0, 9, 9], true), ([0, 5, 9], false), ([5, 5, 5], false)] {
            let other = image(other, 60);
            assert_eq!(one.hash(false) == other.hash(false), alike);
            assert_ne!(one.hash(true), other.hash(true));
            assert_eq!(one.same_ends(&other), other.kvs[0].lease == 0);
        }
        let longer = image([0, 5, 5], 61);
        assert_eq!(one.hash(false), longer.hash(false));
        assert_ne!(one.hash(true), longer.hash(true));
        let mut later = one.clone();
        later.leases[1].remaining += Duration::from_secs(5);
        assert!(!one.same_ends(&later) && later.same_ends(&one));
        let mut unknown = one.clone();
        unknown.leases.clear();
        assert!(!one.same_ends(&unknown));
    }

    #[test]
    fn an_image_comes_back_and_a_damaged_one_does_not() {
        let image = Image {
            rev: 7,
            kvs: vec![KeyValue {
                key: "a".into(),
                value: "b".into(),
                create_rev: 2,
                mod_rev: 7,
                version: 3,
                lease: 9,
            }],
            leases: vec![LeaseImage {
                id: 9,
                granted: 60,
                remaining: Duration::from_secs(30),
            }],
        };
        let mut data = image.encode();
        assert_eq!(Image::decode(&data), Ok(image));
        for len in 0..data.len() {
            assert!(Image::decode(&data[..len]).is_err());
        }
        for at in 0..data.len() {
            data[at] ^= 1;
            assert!(Image::decode(&data).is_err(), "byte {at}");
            data[at] ^= 1;
        }
    }

    #[test]
    fn a_whole_image_of_no_keyspace_is_refused() {
        let kv = |key: &'static [u8], numbers: [u64; 3], lease| KeyValue {
            key: Bytes::from_static(key),
            value: "v".into(),
            create_rev: numbers[0],
            mod_rev: numbers[1],
            version: numbers[2],
            lease,
        };
        let lease = |id, granted| LeaseImage {
            id,
            granted,
            remaining: Duration::from_secs(1),
        };
        let image = |rev, kvs: &[KeyValue], leases: &[LeaseImage]| Image {
            rev,
            kvs: kvs.to_vec(),
            leases: leases.to_vec(),
        };
        let good = kv(b"a", [2, 7, 3], 9);
        let whole = image(7, std::slice::from_ref(&good), &[lease(9, 60)]);
        assert_eq!(Image::decode(&whole.encode()), Ok(whole));
        let one = |kv: KeyValue| image(7, &[kv], &[lease(9, 60)]);
        let long = Box::leak(vec![b'a'; limits::MAX_KEY + 1].into_boxed_slice());
        for (what, wrong) in [
            (
                "no order",
                image(7, &[kv(b"b", [2, 7, 3], 0), kv(b"a", [2, 7, 3], 0)], &[]),
            ),
            (
                "twice",
                image(7, &[kv(b"b", [2, 7, 3], 0), kv(b"b", [2, 7, 3], 0)], &[]),
            ),
            ("a fence", one(kv(b"\0", [2, 7, 3], 0))),
            ("no key", one(kv(b"", [2, 7, 3], 0))),
            ("a long key", one(kv(long, [2, 7, 3], 0))),
            ("never made", one(kv(b"a", [0, 7, 3], 0))),
            ("deleted", one(kv(b"a", [2, 7, 0], 0))),
            ("changed before it was made", one(kv(b"a", [7, 2, 1], 0))),
            (
                "changed more often than that",
                one(kv(b"a", [2, 7, u64::MAX], 0)),
            ),
            ("changed later", one(kv(b"a", [2, 8, 3], 0))),
            ("no such lease", one(kv(b"a", [2, 7, 3], 8))),
            (
                "a lease twice",
                image(7, &[], &[lease(9, 60), lease(9, 60)]),
            ),
            ("a lease without an id", image(7, &[], &[lease(-1, 60)])),
            ("a long lease", image(7, &[], &[lease(9, u64::MAX)])),
            ("no revision", image(0, &[], &[])),
            (
                "the last revision",
                image(u64::MAX, &[good], &[lease(9, 60)]),
            ),
        ] {
            let found = Image::decode(&wrong.encode());
            assert!(matches!(found, Err(Error::Corrupt(_))), "{what}");
        }
    }
}

//! `Maintenance.Snapshot`: a keyspace at one revision as an etcd database file, as `etcdctl
//! snapshot save` stores it and `etcdutl snapshot restore` takes it.
//!
//! The file is laid out before its first byte is sent, as its length comes first. So the keyspace
//! is read twice, at one pinned revision: its keys with the lengths of their values, in the order
//! of keys; then the values one by one in the order of revisions, which is that of etcd's bucket
//! `key`. Memory holds the keys and some 40 bytes for each, counted in the tenant's budget, and of
//! the values those of the page at hand. Nothing goes to disk here.
//!
//! The buckets and what is in them are those of etcd 3.6 (`server/storage/schema/bucket.go`,
//! `server/storage/mvcc/{revision,store}.go`, `server/lease/leasepb/lease.proto`), the messages
//! those of `server/etcdserver/api/v3rpc/maintenance.go`. History before the revision is not in
//! the file, which says that it is compacted there.

use super::bolt::{self, Tree};
use super::convert::status;
use super::{Call, VERSION};
use crate::image::FIRST_KEY;
use crate::proto::{self, Empty, Lease, SnapshotResponse, int};
use crate::{Error, LeaseId, Range};
use bytes::Bytes;
use futures::{Stream, StreamExt, TryStreamExt};
use prost::Message;
use ring::digest::{Context, SHA256};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::task::JoinSet;
use tonic::Status;

/// As etcd's.
const BLOB: usize = 32 << 10;
/// How long a snapshot may take, however slowly it is read.
const LIMIT: Duration = Duration::from_secs(3600);
/// Keys read at once: so many that their values are about a megabyte.
const MOST: usize = 1000;
const LEAST: usize = 16;
const READ: usize = 1 << 20;
/// Values that are being read at once.
const VALUES: usize = 8;
/// What a key costs in memory, beside its bytes.
const COST: usize = size_of::<Key>() + 16;

/// etcd's buckets in order, those aside that are never empty here.
const EMPTY: [&str; 7] = [
    "alarm",
    "auth",
    "authRoles",
    "authUsers",
    "cluster",
    "members",
    "members_removed",
];
type Entries = Vec<(Vec<u8>, Vec<u8>)>;

/// A key of the keyspace, without its value.
struct Key {
    key: Box<[u8]>,
    rev: u64,
    /// which of those that changed at that revision
    sub: u32,
    /// of the stored message
    size: u32,
}

impl Key {
    /// The key in the bucket: both parts of the revision.
    fn place(&self) -> Vec<u8> {
        place(self.rev, self.sub)
    }
}

const PLACE: usize = 17;

fn place(rev: u64, sub: u32) -> Vec<u8> {
    let mut place = rev.to_be_bytes().to_vec();
    place.push(b'_');
    place.extend_from_slice(&u64::from(sub).to_be_bytes());
    place
}

/// What is known after the first reading.
#[derive(Default)]
struct Keyspace {
    rev: u64,
    /// by revision
    keys: Vec<Key>,
    leases: BTreeMap<LeaseId, Lease>,
    held: Vec<OwnedSemaphorePermit>,
}

/// The answer, made by a task that ends with it.
pub(super) fn stream(
    call: Call,
    _: Empty,
) -> impl Stream<Item = Result<SnapshotResponse, Status>> + Send + 'static {
    let (sender, receiver) = mpsc::channel(2);
    let mut task = JoinSet::new();
    task.spawn(async move {
        let work = tokio::time::timeout(LIMIT, send(&call, &sender));
        let late = || Status::deadline_exceeded("freehold: the snapshot took too long");
        if let Err(refused) = work.await.unwrap_or_else(|_| Err(late())) {
            // Nobody may be there to hear it.
            drop(sender.send(Err(refused)).await);
        }
    });
    futures::stream::unfold((receiver, task), |(mut receiver, task)| async {
        let answer = receiver.recv().await?;
        Some((answer, (receiver, task)))
    })
}

type Sender = mpsc::Sender<Result<SnapshotResponse, Status>>;

async fn send(call: &Call, sender: &Sender) -> Result<(), Status> {
    let _only = call.budget.snapshot()?;
    let mut found = Box::pin(keyspace(call)).await?;
    found.leases = leases(call, &found.leases).await?;
    let small = small(&found);
    let mut next = bolt::FIRST;
    let mut trees: BTreeMap<&str, Tree> = BTreeMap::new();
    for (name, entries) in &small {
        let size = |at: usize| (entries[at].0.len(), entries[at].1.len());
        let tree = Tree::plan(next, entries.len(), size);
        next = tree.end();
        trees.insert(name, tree);
    }
    let size = |at: usize| (PLACE, found.keys[at].size as usize);
    let keys = Tree::plan(next, found.keys.len(), size);
    let pages = keys.end();
    let mut out = Out::new(sender, pages);
    let mut named: Vec<_> = trees.iter().map(|(name, tree)| (*name, tree)).collect();
    named.push(("key", &keys));
    named.sort_by_key(|(name, _)| *name);
    out.put(&bolt::front(&named, pages)).await?;
    for (name, entries) in &small {
        let tree = &trees[name];
        for leaf in &tree.leaves {
            out.put(&leaf.write(&entries[leaf.entries.clone()])).await?;
        }
        for page in tree.branch_pages(|at| entries[at].0.clone()) {
            out.put(&page).await?;
        }
    }
    Box::pin(values(call, found, &keys, &mut out)).await?;
    out.finish().await
}

/// The first reading: every key, and the leases that keys are under.
async fn keyspace(call: &Call) -> Result<Keyspace, Status> {
    let mut found = Keyspace::default();
    let mut range = Range {
        lo: FIRST_KEY,
        hi: Bytes::from_static(&[0]),
        limit: LEAST,
        ..Range::default()
    };
    let mut uncounted = 0;
    loop {
        let page = call.store.range(range.clone()).await.map_err(status)?;
        if range.rev == 0 {
            (found.rev, range.rev) = (page.head_rev, page.head_rev);
        }
        let next = page.kvs.last().map(|last| [&last.key[..], &[0]].concat());
        let (mut bytes, count) = (0, page.kvs.len());
        for kv in page.kvs {
            if kv.lease != 0 {
                found.leases.insert(kv.lease, Lease::default());
            }
            let (key, rev): (Box<[u8]>, _) = (kv.key[..].into(), kv.mod_rev);
            let size = proto::KeyValue::from(kv).encoded_len();
            bytes += size;
            uncounted += COST + key.len();
            let size = u32::try_from(size).map_err(|_| Status::internal("a value too long"))?;
            let sub = 0;
            found.keys.push(Key {
                key,
                rev,
                sub,
                size,
            });
        }
        if let Some(held) = call.budget.answer(uncounted, 0).await? {
            found.held.push(held);
            uncounted = 0;
        }
        match next {
            Some(next) if page.more => range.lo = next.into(),
            _ => break,
        }
        range.limit = (READ * count / bytes.max(1)).clamp(LEAST, MOST);
    }
    // Those of one revision stay in the order of their keys.
    found.keys.sort_by_key(|key| key.rev);
    let (mut rev, mut sub) = (0, 0);
    for key in &mut found.keys {
        sub = if key.rev == rev { sub + 1 } else { 0 };
        (key.sub, rev) = (sub, key.rev);
    }
    Ok(found)
}

/// The leases that there are. One that has ended since the revision ends soon after a restore:
/// its keys are in the file.
async fn leases(
    call: &Call,
    used: &BTreeMap<LeaseId, Lease>,
) -> Result<BTreeMap<LeaseId, Lease>, Status> {
    let of = |id, ttl, remaining_ttl| Lease {
        id,
        ttl,
        remaining_ttl,
    };
    let mut found: BTreeMap<_, _> = used.keys().map(|id| (*id, of(*id, 1, 1))).collect();
    for id in call.store.leases().await.map_err(status)? {
        match call.store.lease(id).await {
            Ok(lease) => {
                let (ttl, left) = (lease.granted, lease.remaining.as_secs());
                let lease = of(id, int(ttl), int(left.clamp(1, ttl.max(1))));
                found.insert(id, lease);
            }
            // It has just ended.
            Err(Error::LeaseNotFound(_)) => {}
            Err(error) => return Err(status(error)),
        }
    }
    Ok(found)
}

/// All buckets but that of the keys.
fn small(found: &Keyspace) -> BTreeMap<&'static str, Entries> {
    let mut buckets: BTreeMap<_, _> = EMPTY.map(|name| (name, Entries::new())).into();
    let leases = found.leases.values();
    let lease = |lease: &Lease| (lease.id.to_be_bytes().to_vec(), lease.encode_to_vec());
    buckets.insert("lease", leases.map(lease).collect());
    let compacted = place(found.rev, 0);
    let meta: [(&str, Vec<u8>); 5] = [
        // A restore begins a log of its own and writes these anew.
        ("consistent_index", found.rev.to_be_bytes().into()),
        ("finishedCompactRev", compacted.clone()),
        ("scheduledCompactRev", compacted),
        ("storageVersion", storage_version().into()),
        ("term", 1u64.to_be_bytes().into()),
    ];
    let meta = meta.map(|(name, value)| (name.into(), value));
    buckets.insert("meta", meta.into());
    buckets
}

fn storage_version() -> String {
    let minor = VERSION.rsplit_once('.').map_or(VERSION, |(minor, _)| minor);
    format!("{minor}.0")
}

/// The second reading: the bucket of the keys.
async fn values(
    call: &Call,
    found: Keyspace,
    tree: &Tree,
    out: &mut Out<'_>,
) -> Result<(), Status> {
    let (rev, store) = (found.rev, &call.store);
    let keys = Arc::new(found.keys);
    let read = |at: usize| {
        let (keys, store) = (keys.clone(), store.clone());
        async move {
            let key = &keys[at];
            let range = Range {
                lo: Bytes::copy_from_slice(&key.key),
                rev,
                ..Range::default()
            };
            let kv = store.range(range).await.map_err(status)?.kvs.pop();
            let value = kv.map(|kv| (kv.mod_rev, proto::KeyValue::from(kv).encode_to_vec()));
            match value {
                Some((rev, value)) if rev == key.rev && value.len() == key.size as usize => {
                    Ok((key.place(), value))
                }
                _ => Err(Status::data_loss(
                    "freehold: a key changed at a past revision",
                )),
            }
        }
    };
    let mut values = futures::stream::iter(0..keys.len())
        .map(read)
        .buffered(VALUES);
    for leaf in &tree.leaves {
        let entries: Entries = values
            .by_ref()
            .take(leaf.entries.len())
            .try_collect()
            .await?;
        out.put(&leaf.write(&entries)).await?;
    }
    for page in tree.branch_pages(|at| keys[at].place()) {
        out.put(&page).await?;
    }
    Ok(())
}

/// Sends a file of known length in parts, and its checksum behind it.
struct Out<'a> {
    sender: &'a Sender,
    left: u64,
    part: Vec<u8>,
    sum: Context,
}

impl<'a> Out<'a> {
    fn new(sender: &'a Sender, pages: u64) -> Self {
        Self {
            sender,
            left: pages * bolt::PAGE as u64,
            part: Vec::with_capacity(BLOB),
            sum: Context::new(&SHA256),
        }
    }

    async fn put(&mut self, mut data: &[u8]) -> Result<(), Status> {
        while !data.is_empty() {
            let (now, later) = data.split_at(data.len().min(BLOB - self.part.len()));
            self.part.extend_from_slice(now);
            data = later;
            if self.part.len() == BLOB {
                self.flush().await?;
            }
        }
        Ok(())
    }

    async fn flush(&mut self) -> Result<(), Status> {
        let blob = std::mem::replace(&mut self.part, Vec::with_capacity(BLOB));
        self.sum.update(&blob);
        self.left -= blob.len() as u64;
        self.send(blob).await
    }

    async fn send(&self, blob: Vec<u8>) -> Result<(), Status> {
        let part = SnapshotResponse {
            header: None,
            remaining_bytes: self.left,
            blob: blob.into(),
            version: storage_version(),
        };
        let gone = |_| Status::cancelled("the client is gone");
        self.sender.send(Ok(part)).await.map_err(gone)
    }

    async fn finish(mut self) -> Result<(), Status> {
        if !self.part.is_empty() {
            self.flush().await?;
        }
        let sum = self.sum.clone().finish();
        self.send(sum.as_ref().to_vec()).await
    }
}

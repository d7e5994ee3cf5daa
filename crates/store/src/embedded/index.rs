//! The ordered multi-version index of one keyspace.
//!
//! Keys live in sorted chunks that know how many of their keys are alive, so an exact count
//! costs one addition per chunk. Chunks are copied on write when a reader holds them: taking
//! a snapshot is one reference count, and no reader ever makes a writer wait.

use super::values::{Held, Value};
use crate::room::Size;
use crate::span::Span;
use bytes::Bytes;
use std::sync::Arc;

const MAX_CHUNK: usize = 128;

/// One version of a key.
#[derive(Clone, Debug)]
pub(crate) struct Version {
    pub(crate) value: Arc<Value>,
    pub(crate) mod_rev: u64,
    pub(crate) create_rev: u64,
    /// 0: a deletion
    pub(crate) version: u64,
    pub(crate) lease: i64,
    /// place among the changes of its revision
    pub(crate) sub: u32,
}

impl Version {
    pub(crate) fn alive(&self) -> bool {
        self.version != 0
    }
}

/// A key and its versions: the newest, and the older ones, oldest first.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) key: Bytes,
    pub(crate) newest: Version,
    pub(crate) older: Vec<Version>,
}

impl Entry {
    /// The version that was current at `rev`, if the key was alive then.
    pub(crate) fn at(&self, rev: u64) -> Option<&Version> {
        if self.newest.mod_rev <= rev {
            return Some(&self.newest).filter(|version| version.alive());
        }
        let upto = self.older.partition_point(|version| version.mod_rev <= rev);
        self.older[..upto].last().filter(|version| version.alive())
    }

    pub(crate) fn versions(&self) -> impl Iterator<Item = &Version> {
        self.older.iter().chain(std::iter::once(&self.newest))
    }
}

#[derive(Clone, Debug, Default)]
struct Chunk {
    entries: Vec<Entry>,
    /// keys alive now
    live: u64,
    /// highest modification revision inside
    last_rev: u64,
}

/// The index, or a snapshot of it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Index {
    chunks: Arc<Vec<Arc<Chunk>>>,
}

/// What a range read found.
pub(crate) struct Found {
    pub(crate) kvs: Vec<Held>,
    pub(crate) count: u64,
}

impl Index {
    /// Whether nobody has a snapshot of it: then the next version is put without a copy.
    #[cfg(test)]
    pub(crate) fn is_alone(&self) -> bool {
        Arc::strong_count(&self.chunks) == 1
    }

    /// The chunk that holds `key` or would.
    fn chunk_of(&self, key: &[u8]) -> usize {
        self.chunks
            .partition_point(|chunk| chunk.entries.first().is_some_and(|e| &e.key[..] <= key))
            .saturating_sub(1)
    }

    pub(crate) fn get(&self, key: &[u8]) -> Option<&Entry> {
        let chunk = self.chunks.get(self.chunk_of(key))?;
        let at = chunk
            .entries
            .binary_search_by(|e| e.key[..].cmp(key))
            .ok()?;
        chunk.entries.get(at)
    }

    /// Adds a version, newer than all others of its key. Tells what it superseded.
    pub(crate) fn put(&mut self, key: &Bytes, version: Version) -> Option<Version> {
        let at = self.chunk_of(key);
        let chunks = Arc::make_mut(&mut self.chunks);
        if chunks.is_empty() {
            chunks.push(Arc::default());
        }
        let chunk = Arc::make_mut(&mut chunks[at]);
        chunk.last_rev = chunk.last_rev.max(version.mod_rev);
        let alive = version.alive();
        match chunk.entries.binary_search_by(|e| e.key.cmp(key)) {
            Ok(i) => {
                let entry = &mut chunk.entries[i];
                let old = std::mem::replace(&mut entry.newest, version);
                chunk.live = chunk.live + u64::from(alive) - u64::from(old.alive());
                entry.older.push(old.clone());
                Some(old)
            }
            Err(i) => {
                chunk.live += u64::from(alive);
                chunk.entries.insert(
                    i,
                    Entry {
                        key: key.clone(),
                        newest: version,
                        older: Vec::new(),
                    },
                );
                if chunk.entries.len() > MAX_CHUNK {
                    split(chunks, at);
                }
                None
            }
        }
    }

    /// Forgets what of `key` nobody may read once `compacted` is the compact revision.
    /// Returns the bytes of the versions dropped and whether the key itself went.
    pub(crate) fn purge(&mut self, key: &[u8], compacted: u64) -> (u64, bool) {
        let at = self.chunk_of(key);
        let Some(position) = self
            .chunks
            .get(at)
            .and_then(|chunk| chunk.entries.binary_search_by(|e| e.key[..].cmp(key)).ok())
        else {
            return (0, false);
        };
        let chunks = Arc::make_mut(&mut self.chunks);
        let chunk = Arc::make_mut(&mut chunks[at]);
        let entry = &mut chunk.entries[position];
        let key_len = entry.key.len();
        if entry.newest.mod_rev < compacted && !entry.newest.alive() {
            let freed = entry.versions().map(|v| stored_size(key_len, v)).sum();
            chunk.entries.remove(position);
            if chunk.entries.is_empty() {
                chunks.remove(at);
            }
            return (freed, true);
        }
        let drop_upto = if entry.newest.mod_rev <= compacted {
            entry.older.len()
        } else {
            let upto = entry.older.partition_point(|v| v.mod_rev <= compacted);
            match entry.older[..upto].last() {
                // A deletion at the compact revision itself is still an event to deliver.
                Some(last) if last.alive() || last.mod_rev == compacted => upto - 1,
                _ => upto,
            }
        };
        let freed = entry
            .older
            .drain(..drop_upto)
            .map(|v| stored_size(key_len, &v))
            .sum();
        entry.older.shrink_to_fit();
        (freed, false)
    }

    /// Forgets what nobody may read in one slice of all keys, from `cursor` on. Returns the
    /// bytes freed and where to go on.
    pub(crate) fn sweep(
        &mut self,
        cursor: &[u8],
        keys: usize,
        compacted: u64,
    ) -> (u64, Option<Bytes>) {
        let mut todo = Vec::new();
        let mut seen = 0;
        let mut next = None;
        for chunk in &self.chunks[self.chunk_of(cursor).min(self.chunks.len())..] {
            if seen >= keys {
                next = chunk.entries.first().map(|entry| entry.key.clone());
                break;
            }
            seen += chunk.entries.len();
            let stale = |entry: &&Entry| !entry.older.is_empty() || !entry.newest.alive();
            todo.extend(
                chunk
                    .entries
                    .iter()
                    .filter(stale)
                    .map(|entry| entry.key.clone()),
            );
        }
        let freed = todo.iter().map(|key| self.purge(key, compacted).0).sum();
        (freed, next)
    }

    /// Reads `span` as of `rev`. `newest` is the revision up to which chunk counts hold.
    pub(crate) fn range(&self, span: &Span, rev: u64, limit: usize) -> Found {
        let mut found = Found {
            kvs: Vec::new(),
            count: 0,
        };
        if span.is_empty() {
            return found;
        }
        for chunk in &self.chunks[self.chunk_of(&span.lo).min(self.chunks.len())..] {
            let (Some(first), Some(last)) = (chunk.entries.first(), chunk.entries.last()) else {
                continue;
            };
            if !span.below_end(&first.key) {
                break;
            }
            let whole = first.key >= span.lo && span.below_end(&last.key);
            if found.kvs.len() >= limit && whole && chunk.last_rev <= rev {
                found.count += chunk.live;
                continue;
            }
            let from = chunk.entries.partition_point(|e| e.key < span.lo);
            for entry in &chunk.entries[from..] {
                if !span.below_end(&entry.key) {
                    break;
                }
                let Some(version) = entry.at(rev) else {
                    continue;
                };
                found.count += 1;
                if found.kvs.len() < limit {
                    found.kvs.push(Held {
                        key: entry.key.clone(),
                        version: version.clone(),
                    });
                }
            }
        }
        found
    }

    /// How much of `span` there is to read as of `rev`, up to a number of keys.
    pub(crate) fn measure(&self, span: &Span, rev: u64, limit: usize, values: bool) -> Size {
        let mut size = Size::default();
        if span.is_empty() {
            return size;
        }
        let chunks = &self.chunks[self.chunk_of(&span.lo).min(self.chunks.len())..];
        let entries = chunks.iter().flat_map(|chunk| {
            let from = chunk.entries.partition_point(|e| e.key < span.lo);
            chunk.entries[from..].iter()
        });
        let inside = entries
            .take_while(|entry| span.below_end(&entry.key))
            .filter_map(|entry| Some((entry.key.len(), entry.at(rev)?)));
        for (key, version) in inside.take(limit) {
            size.add(key, if values { version.value.len() } else { 0 });
        }
        size
    }

    /// Every entry in key order.
    pub(crate) fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.chunks.iter().flat_map(|chunk| chunk.entries.iter())
    }

    /// Adds an entry behind all others (loading a checkpoint, which is sorted).
    pub(crate) fn append(&mut self, entry: Entry) {
        let chunks = Arc::make_mut(&mut self.chunks);
        // Where one chunk was filled, the next will most likely be.
        let more = !chunks.is_empty();
        if chunks
            .last()
            .is_none_or(|chunk| chunk.entries.len() >= MAX_CHUNK * 3 / 4)
        {
            chunks.push(Arc::default());
        }
        let chunk = Arc::make_mut(chunks.last_mut().expect("just pushed"));
        if more && chunk.entries.is_empty() {
            chunk.entries.reserve_exact(MAX_CHUNK * 3 / 4);
        }
        chunk.live += u64::from(entry.newest.alive());
        chunk.last_rev = chunk.last_rev.max(entry.newest.mod_rev);
        chunk.entries.push(entry);
    }

    /// Indexes of keys that follow each other as one.
    pub(crate) fn join(parts: impl Iterator<Item = Self>) -> Self {
        let mut chunks = Vec::new();
        for part in parts {
            chunks.extend(Arc::unwrap_or_clone(part.chunks));
        }
        Self {
            chunks: Arc::new(chunks),
        }
    }
}

fn split(chunks: &mut Vec<Arc<Chunk>>, at: usize) {
    // Keys that only grow at the end leave full chunks behind instead of half-empty ones.
    let cut = if at + 1 == chunks.len() {
        MAX_CHUNK * 7 / 8
    } else {
        MAX_CHUNK / 2
    };
    let chunk = Arc::make_mut(&mut chunks[at]);
    let right = Chunk::of(chunk.entries.split_off(cut));
    *chunk = Chunk::of(std::mem::take(&mut chunk.entries));
    chunks.insert(at + 1, Arc::new(right));
}

impl Chunk {
    fn of(entries: Vec<Entry>) -> Self {
        let live = entries.iter().filter(|e| e.newest.alive()).count() as u64;
        let last_rev = entries.iter().map(|e| e.newest.mod_rev).max().unwrap_or(0);
        Self {
            entries,
            live,
            last_rev,
        }
    }
}

/// What a version counts against the quota: its bytes and a flat share for the index.
pub(crate) fn stored_size(key_len: usize, version: &Version) -> u64 {
    (key_len + version.value.len() + 64) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(rev: u64, alive: bool) -> Version {
        let n = u64::from(alive);
        Version {
            value: Value::new(Bytes::new()),
            mod_rev: rev,
            create_rev: n,
            version: n,
            lease: 0,
            sub: 0,
        }
    }

    #[test]
    fn counts_are_exact_across_splits_and_at_old_revisions() {
        let mut index = Index::default();
        let key = |n: u64| Bytes::from(format!("k{n:05}"));
        let mut rev = 1;
        for n in (0..1000).step_by(2).chain((1..1000).step_by(2)) {
            rev += 1;
            index.put(&key(n), version(rev, true));
        }
        let all = Span::new("".into(), Bytes::from_static(&[0]));
        let full_rev = rev;
        for n in 100..200 {
            rev += 1;
            index.put(&key(n), version(rev, false));
        }
        assert_eq!(index.range(&all, rev, 0).count, 900);
        assert_eq!(index.range(&all, full_rev, 0).count, 1000);
        assert_eq!(index.range(&all, full_rev, 10).kvs.len(), 10);
        let some = Span::new(key(50), key(250));
        for (span, rev, limit) in [(&all, rev, 10), (&some, rev, 1000), (&some, full_rev, 1000)] {
            let keys = index.range(span, rev, limit).kvs.len() as u64;
            let size = index.measure(span, rev, limit, true);
            assert_eq!(
                size,
                Size {
                    keys,
                    bytes: keys * 6
                }
            );
        }
        assert_eq!(index.range(&some, rev, usize::MAX).kvs.len(), 100);
        for n in 0..1000 {
            index.purge(&key(n), rev + 1);
        }
        assert_eq!(index.entries().count(), 900);
    }
}

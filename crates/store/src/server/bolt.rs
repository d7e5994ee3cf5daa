//! A bbolt database file, laid out before its first byte is written: pure. The format is that of
//! go.etcd.io/bbolt (`internal/common/{page,meta,bucket,inode}.go`): pages of 4 KiB, numbers as on
//! a little-endian machine, two meta pages, a list of free pages (none), a leaf page with the
//! buckets, then each bucket's tree. A leaf that does not fit a page goes on behind it.

use std::ops::Range;

pub(super) const PAGE: usize = 4096;
/// The first page of the first bucket.
pub(super) const FIRST: u64 = 4;

/// A page begins with: its number, what it is, how many elements, how many more pages.
const HEADER: usize = 16;
const ELEMENT: usize = 16;
const BRANCH: u16 = 0x01;
const LEAF: u16 = 0x02;
const META: u16 = 0x04;
const FREE: u16 = 0x10;
/// The element is a bucket.
const BUCKET: u32 = 0x01;
const FREE_PAGE: u64 = 2;
const DIRECTORY: u64 = 3;

/// As bbolt splits its pages: two elements at least, then as many as fit one.
const LEAST: usize = 2;

/// The pages of one bucket: leaves, then the branches above them, the root at the end.
pub(super) struct Tree {
    pub(super) leaves: Vec<Leaf>,
    branches: Vec<Vec<Child>>,
    first_branch: u64,
}

pub(super) struct Leaf {
    pub(super) id: u64,
    /// which of the bucket's entries
    pub(super) entries: Range<usize>,
    pages: u64,
}

/// A page below a branch, and its first entry.
#[derive(Clone, Copy)]
struct Child {
    entry: usize,
    id: u64,
}

impl Tree {
    /// Lays out a bucket from page `first` on; `size` gives the lengths of an entry's key and
    /// value. Entries are in the order of their keys.
    pub(super) fn plan(first: u64, count: usize, size: impl Fn(usize) -> (usize, usize)) -> Self {
        let cost = |entry| {
            let (key, value) = size(entry);
            ELEMENT + key + value
        };
        let mut id = first;
        let mut leaves = Vec::new();
        for (entries, bytes) in split(count, cost) {
            let pages = bytes.div_ceil(PAGE) as u64;
            leaves.push(Leaf { id, entries, pages });
            id += pages;
        }
        let child = |leaf: &Leaf| Child {
            entry: leaf.entries.start,
            id: leaf.id,
        };
        let mut level: Vec<Child> = leaves.iter().map(child).collect();
        let first_branch = id;
        let mut branches = Vec::new();
        while level.len() > 1 {
            let mut above = Vec::new();
            for (children, bytes) in split(level.len(), |at| ELEMENT + size(level[at].entry).0) {
                // Keys of buckets written here are short: several always fit.
                debug_assert!(bytes <= PAGE, "a branch is a page");
                let entry = level[children.start].entry;
                above.push(Child { entry, id });
                branches.push(level[children].to_vec());
                id += 1;
            }
            level = above;
        }
        Self {
            leaves,
            branches,
            first_branch,
        }
    }

    /// The page behind the last one.
    pub(super) fn end(&self) -> u64 {
        self.first_branch + self.branches.len() as u64
    }

    /// Where a search begins.
    fn root(&self) -> u64 {
        match (self.branches.is_empty(), self.leaves.last()) {
            (true, Some(leaf)) => leaf.id,
            _ => self.end() - 1,
        }
    }

    /// The branches, in their order; `key` gives an entry's key.
    pub(super) fn branch_pages(
        &self,
        key: impl Fn(usize) -> Vec<u8>,
    ) -> impl Iterator<Item = Vec<u8>> {
        let ids = self.first_branch..;
        ids.zip(&self.branches).map(move |(id, children)| {
            let mut page = header(id, BRANCH, children.len(), 1);
            let mut at = ELEMENT * children.len();
            let mut keys = Vec::new();
            for child in children {
                let key = key(child.entry);
                page.extend_from_slice(&word(at));
                page.extend_from_slice(&word(key.len()));
                page.extend_from_slice(&child.id.to_le_bytes());
                // Counted from the element itself.
                at = at + key.len() - ELEMENT;
                keys.extend_from_slice(&key);
            }
            page.extend_from_slice(&keys);
            fill(page, 1)
        })
    }
}

impl Leaf {
    /// Its pages, with what is in them.
    pub(super) fn write(&self, entries: &[(Vec<u8>, Vec<u8>)]) -> Vec<u8> {
        let entries = entries
            .iter()
            .map(|(key, value)| (0, &key[..], &value[..]))
            .collect::<Vec<_>>();
        leaf(self.id, self.pages, &entries)
    }
}

/// Parts of a list that fill pages, each with its bytes; one that is empty if the list is.
fn split(count: usize, cost: impl Fn(usize) -> usize) -> Vec<(Range<usize>, usize)> {
    let mut parts = Vec::new();
    let (mut start, mut bytes) = (0, HEADER);
    for at in 0..count {
        let more = cost(at);
        if at - start >= LEAST && bytes + more > PAGE {
            parts.push((start..at, bytes));
            (start, bytes) = (at, HEADER);
        }
        bytes += more;
    }
    parts.push((start..count, bytes));
    parts
}

/// Everything before the first bucket's pages. Buckets are in the order of their names.
pub(super) fn front(buckets: &[(&str, &Tree)], pages: u64) -> Vec<u8> {
    let mut file = Vec::with_capacity(PAGE * 4);
    for number in 0..2 {
        file.extend_from_slice(&meta(number, pages));
    }
    file.extend_from_slice(&fill(header(FREE_PAGE, FREE, 0, 1), 1));
    let roots = buckets.iter().map(|(_, tree)| {
        let mut value = tree.root().to_le_bytes().to_vec();
        // the bucket's sequence, which nobody uses
        value.extend_from_slice(&0u64.to_le_bytes());
        value
    });
    let roots: Vec<_> = roots.collect();
    let entries: Vec<_> = buckets
        .iter()
        .zip(&roots)
        .map(|((name, _), root)| (BUCKET, name.as_bytes(), &root[..]))
        .collect();
    file.extend_from_slice(&leaf(DIRECTORY, 1, &entries));
    file
}

fn meta(number: u64, pages: u64) -> Vec<u8> {
    let mut body = Vec::new();
    for word in [0xED0C_DAED_u32, 2, PAGE as u32, 0] {
        body.extend_from_slice(&word.to_le_bytes());
    }
    // root, its sequence, the free list, the end, the transaction: that of the first page is newer
    for long in [DIRECTORY, 0, FREE_PAGE, pages, 2 - number] {
        body.extend_from_slice(&long.to_le_bytes());
    }
    let sum = fnv(&body);
    body.extend_from_slice(&sum.to_le_bytes());
    let mut page = header(number, META, 0, 1);
    page.extend_from_slice(&body);
    fill(page, 1)
}

/// FNV-1a.
fn fnv(data: &[u8]) -> u64 {
    data.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

fn header(id: u64, kind: u16, count: usize, pages: u64) -> Vec<u8> {
    let mut page = id.to_le_bytes().to_vec();
    page.extend_from_slice(&kind.to_le_bytes());
    let count = u16::try_from(count).unwrap_or(u16::MAX);
    page.extend_from_slice(&count.to_le_bytes());
    page.extend_from_slice(&word(usize::try_from(pages - 1).unwrap_or(usize::MAX)));
    page
}

/// Lengths here are far below: a leaf has a few keys and values.
fn word(n: usize) -> [u8; 4] {
    u32::try_from(n).unwrap_or(u32::MAX).to_le_bytes()
}

fn leaf(id: u64, pages: u64, entries: &[(u32, &[u8], &[u8])]) -> Vec<u8> {
    let mut page = header(id, LEAF, entries.len(), pages);
    let mut at = ELEMENT * entries.len();
    for (flags, key, value) in entries {
        page.extend_from_slice(&flags.to_le_bytes());
        for n in [at, key.len(), value.len()] {
            page.extend_from_slice(&word(n));
        }
        at = at + key.len() + value.len() - ELEMENT;
    }
    for (_, key, value) in entries {
        page.extend_from_slice(key);
        page.extend_from_slice(value);
    }
    fill(page, pages)
}

fn fill(mut page: Vec<u8>, pages: u64) -> Vec<u8> {
    let whole = usize::try_from(pages).unwrap_or(usize::MAX) * PAGE;
    debug_assert!(page.len() <= whole, "what was planned is what is written");
    page.resize(whole, 0);
    page
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    type Entries = Vec<(Vec<u8>, Vec<u8>)>;

    fn number<const N: usize>(file: &[u8], at: usize) -> u64 {
        let mut bytes = [0; 8];
        bytes[..N].copy_from_slice(&file[at..at + N]);
        u64::from_le_bytes(bytes)
    }

    fn place(n: u64) -> usize {
        usize::try_from(n).expect("fits")
    }

    /// Reads a tree as bbolt does, page by page; `seen` has every page that was come by.
    fn read(file: &[u8], id: u64, seen: &mut Vec<u64>, found: &mut Entries) {
        let start = place(id) * PAGE;
        assert_eq!(number::<8>(file, start), id, "a page knows its number");
        let kind = number::<2>(file, start + 8);
        let count = place(number::<2>(file, start + 10));
        seen.extend(id..=id + number::<4>(file, start + 12));
        for at in 0..count {
            let element = start + HEADER + at * ELEMENT;
            if kind == u64::from(BRANCH) {
                let key = element + place(number::<4>(file, element));
                let len = place(number::<4>(file, element + 4));
                let known = found.len();
                read(file, number::<8>(file, element + 8), seen, found);
                assert_eq!(file[key..key + len], found[known].0, "the first key below");
            } else {
                assert_eq!(kind, u64::from(LEAF));
                let key = element + place(number::<4>(file, element + 4));
                let len = place(number::<4>(file, element + 8));
                let value = place(number::<4>(file, element + 12));
                let end = key + len + value;
                found.push((file[key..key + len].into(), file[key + len..end].into()));
            }
        }
    }

    fn write(buckets: &BTreeMap<&str, Entries>) -> Vec<u8> {
        let mut next = FIRST;
        let trees: Vec<_> = buckets
            .iter()
            .map(|(name, entries)| {
                let size = |at: usize| (entries[at].0.len(), entries[at].1.len());
                let tree = Tree::plan(next, entries.len(), size);
                next = tree.end();
                (*name, tree)
            })
            .collect();
        let named: Vec<_> = trees.iter().map(|(name, tree)| (*name, tree)).collect();
        let mut file = front(&named, next);
        for (name, tree) in &trees {
            let entries = &buckets[name];
            for leaf in &tree.leaves {
                assert_eq!(file.len() as u64, leaf.id * PAGE as u64);
                file.extend(leaf.write(&entries[leaf.entries.clone()]));
            }
            for page in tree.branch_pages(|at| entries[at].0.clone()) {
                file.extend(page);
            }
        }
        assert_eq!(file.len() as u64, next * PAGE as u64);
        file
    }

    /// Writes buckets and finds in the file what was put there, and no page twice or never.
    fn round(buckets: &BTreeMap<&str, Entries>) {
        let file = write(buckets);
        for page in 0..2 {
            let meta = &file[page * PAGE + HEADER..][..64];
            assert_eq!(number::<8>(meta, 56), fnv(&meta[..56]));
            assert_eq!(place(number::<8>(meta, 40)) * PAGE, file.len());
        }
        let (mut seen, mut directory) = (vec![0, 1, 2], Vec::new());
        read(&file, DIRECTORY, &mut seen, &mut directory);
        assert_eq!(directory.len(), buckets.len());
        for ((name, root), (wanted, entries)) in directory.iter().zip(buckets) {
            assert_eq!(name, wanted.as_bytes());
            let mut found = Vec::new();
            read(&file, number::<8>(root, 0), &mut seen, &mut found);
            assert!(&found == entries, "{wanted} has its entries");
        }
        seen.sort_unstable();
        let all: Vec<_> = (0..file.len() as u64 / PAGE as u64).collect();
        assert_eq!(seen, all);
    }

    fn keys(count: u64, size: impl Fn(u64) -> usize) -> Entries {
        let entry = |n: u64| (n.to_be_bytes().to_vec(), vec![b'v'; size(n)]);
        (0..count).map(entry).collect()
    }

    #[test]
    fn what_is_written_is_found_at_every_size() {
        let empty = BTreeMap::from([("a", Vec::new()), ("b", Vec::new())]);
        round(&empty);
        for count in [1, 2, 3, 169, 170, 171, 5000, 70_000] {
            round(&BTreeMap::from([
                ("key", keys(count, |n| (n % 7) as usize)),
                ("meta", keys(3, |_| 9)),
            ]));
        }
    }

    #[test]
    fn values_beyond_a_page_go_on_behind_it() {
        let size = |n: u64| match n % 5 {
            0 => 1_572_864,
            1 => PAGE - HEADER - ELEMENT - 8,
            2 => PAGE,
            _ => 1,
        };
        round(&BTreeMap::from([
            ("key", keys(40, size)),
            ("lease", keys(900, |_| 20)),
        ]));
        round(&BTreeMap::from([("key", keys(1, |_| 1_572_864))]));
    }

    #[test]
    fn the_checksum_is_fnv_1a() {
        assert_eq!(fnv(b""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(fnv(b"foobar"), 0x8594_4171_f739_67e8);
    }
}

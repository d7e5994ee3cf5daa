//! What transactions touch, and what a batch of them writes, as the database takes both.

use super::batch::{self, Planned};
use super::read::upper;
use crate::span::Span;
use crate::{LeaseId, Op, Range, Txn};
use bytes::Bytes;
use std::collections::BTreeSet;
use tokio_postgres::types::ToSql;

pub(super) fn signed(n: u64) -> i64 {
    n.cast_signed()
}

/// What transactions may read or change.
#[derive(Default)]
pub(super) struct Touched<'a> {
    pub(super) keys: BTreeSet<&'a Bytes>,
    pub(super) ranges: Vec<(Bytes, Bytes)>,
    pub(super) leases: Vec<LeaseId>,
    pub(super) older: Vec<&'a Range>,
}

impl<'a> Touched<'a> {
    pub(super) fn by(txns: &[&'a Txn]) -> Self {
        let mut touched = Self::default();
        for txn in txns {
            touched.add(txn);
        }
        touched.merge();
        touched
    }

    fn add(&mut self, txn: &'a Txn) {
        for compare in &txn.compares {
            let (lo, hi) = compare.span();
            self.span(lo, hi);
        }
        for op in txn.then.iter().chain(&txn.otherwise) {
            match op {
                Op::Put { key, lease, .. } => {
                    self.keys.insert(key);
                    self.leases.extend((*lease != 0).then_some(*lease));
                }
                Op::Update { key, lease, .. } => {
                    self.keys.insert(key);
                    self.leases.extend(*lease);
                }
                Op::Get { key } | Op::Delete { key } => self.keys.extend([key]),
                Op::DeleteRange { lo, hi } => self.span(lo, hi),
                Op::Range(range) if range.rev == 0 => self.span(&range.lo, &range.hi),
                Op::Range(range) => self.older.push(range),
                Op::Txn(inner) => self.add(inner),
            }
        }
    }

    fn span(&mut self, lo: &'a Bytes, hi: &Bytes) {
        if hi.is_empty() {
            self.keys.insert(lo);
        } else if !Span::new(lo.clone(), hi.clone()).is_empty() {
            self.ranges.push((lo.clone(), upper(lo, hi)));
        }
    }

    /// So that no key is read twice.
    fn merge(&mut self) {
        self.ranges.sort_unstable();
        self.ranges.dedup_by(|next, before| {
            let joined = next.0 <= before.1;
            if joined && next.1 > before.1 {
                before.1 = next.1.clone();
            }
            joined
        });
    }
}

/// Whether a transaction reads older revisions.
pub(super) fn looks_back(txn: &Txn) -> bool {
    let mut ops = txn.then.iter().chain(&txn.otherwise);
    ops.any(|op| match op {
        Op::Range(range) => range.rev != 0,
        Op::Txn(inner) => looks_back(inner),
        _ => false,
    })
}

/// The columns of a batch.
#[derive(Default)]
pub(super) struct Columns<'a> {
    key: Vec<&'a [u8]>,
    rev: Vec<i64>,
    value: Vec<&'a [u8]>,
    create_rev: Vec<i64>,
    version: Vec<i64>,
    lease: Vec<i64>,
    prev_rev: Vec<i64>,
    live_key: Vec<&'a [u8]>,
    live_rev: Vec<i64>,
    live_create: Vec<i64>,
    live_version: Vec<i64>,
    live_lease: Vec<i64>,
    gone: Vec<&'a [u8]>,
    pub(super) size: i64,
}

impl<'a> Columns<'a> {
    pub(super) fn params(&self) -> Vec<&(dyn ToSql + Sync)> {
        vec![
            &self.key,
            &self.rev,
            &self.value,
            &self.create_rev,
            &self.version,
            &self.lease,
            &self.prev_rev,
            &self.live_key,
            &self.live_rev,
            &self.live_create,
            &self.live_version,
            &self.live_lease,
            &self.gone,
        ]
    }

    pub(super) fn of(planned: &'a Planned) -> Self {
        let mut columns = Self::default();
        for event in planned.commits.iter().flat_map(|commit| &commit.events) {
            let kv = &event.kv;
            columns.key.push(&kv.key);
            columns.rev.push(signed(kv.mod_rev));
            columns.value.push(&kv.value);
            columns.create_rev.push(signed(kv.create_rev));
            columns.version.push(signed(kv.version));
            columns.lease.push(kv.lease);
            let prev = event.prev.as_ref().map_or(0, |prev| prev.mod_rev);
            columns.prev_rev.push(signed(prev));
            columns.size += signed(batch::weight(kv));
        }
        for (key, now) in &planned.last {
            match now {
                None => columns.gone.push(key),
                Some(kv) => {
                    columns.live_key.push(key);
                    columns.live_rev.push(signed(kv.mod_rev));
                    columns.live_create.push(signed(kv.create_rev));
                    columns.live_version.push(signed(kv.version));
                    columns.live_lease.push(kv.lease);
                }
            }
        }
        columns
    }
}

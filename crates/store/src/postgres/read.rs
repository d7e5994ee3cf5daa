//! Reading: one statement each, so that rows, count and revision are of one moment.

use super::fault::Fault;
use super::pool::by;
use super::sql::{Kind, MAX_KEY};
use super::store::Inner;
use crate::span::Span;
use crate::{Error, Head, KeyValue, Range, RangeReply, Result};
use bytes::Bytes;
use futures::TryStreamExt;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

const PAUSE: Duration = Duration::from_millis(50);

/// A row's key and version from column `at` on.
pub(super) fn kv(row: &Row, at: usize) -> KeyValue {
    let number = |at: usize| row.get::<_, i64>(at).cast_unsigned();
    KeyValue {
        key: Bytes::copy_from_slice(row.get(at)),
        value: Bytes::copy_from_slice(row.get(at + 1)),
        create_rev: number(at + 2),
        mod_rev: number(at + 3),
        version: number(at + 4),
        lease: row.get(at + 5),
    }
}

/// The exclusive upper end of a range as a key.
pub(super) fn upper(lo: &Bytes, hi: &Bytes) -> Bytes {
    match &hi[..] {
        [] => [lo, &b"\0"[..]].concat().into(),
        // Above every key that may be stored.
        [0] => vec![0xff; MAX_KEY + 1].into(),
        _ => hi.clone(),
    }
}

impl Inner {
    /// Reads, again if the connection breaks, until its time is over.
    pub(super) async fn rows(
        self: &Arc<Self>,
        kind: Kind,
        params: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>> {
        self.alive()?;
        let end = Instant::now() + self.options.timeout;
        loop {
            let why = match self.read_once(kind, params, end).await {
                Ok(rows) => return Ok(rows),
                Err(Fault::Refused(error)) => {
                    if error == Error::Deleted {
                        self.set_deleted();
                    }
                    return Err(error);
                }
                Err(Fault::Broken(why)) => why,
            };
            self.pool.forget(None);
            if Instant::now() + PAUSE >= end {
                return Err(Error::Unavailable(why));
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    async fn read_once(
        &self,
        kind: Kind,
        params: &[&(dyn ToSql + Sync)],
        end: Instant,
    ) -> Result<Vec<Row>, Fault> {
        let mut held = self.pool.get(Some(&self.names.role), end).await?;
        let statement = held.prepare(&self.names, kind, end).await?;
        let slices = params.iter().copied();
        let rows = by(end, held.client().query_raw(&statement, slices)).await?;
        let mut rows = std::pin::pin!(rows);
        let mut found = Vec::new();
        // A long answer may take long, but not stand still. One that breaks off is an error:
        // only the server's word of completion ends the stream.
        while let Some(row) = by(Instant::now() + self.options.timeout, rows.try_next()).await? {
            found.push(row);
        }
        held.back();
        Ok(found)
    }

    pub(super) async fn read_head(self: &Arc<Self>) -> Result<Head> {
        let rows = self.rows(Kind::Head, &[]).await?;
        let row = rows.first().ok_or_else(no_head)?;
        let number = |at: usize| row.get::<_, i64>(at).cast_unsigned();
        let head = Head {
            rev: number(0),
            compact_rev: number(1),
            keys: number(2),
            bytes: number(3),
        };
        self.hub.heard(head.rev);
        Ok(head)
    }

    pub(super) async fn read_range(self: &Arc<Self>, range: &Range) -> Result<RangeReply> {
        let whole = range.hi[..] == [0] && range.lo[..] <= [0][..];
        if range.count_only && range.rev == 0 && whole {
            let head = self.read_head().await?;
            return Ok(reply(head.rev, head.keys));
        }
        let wanted = Wanted::of(range);
        let rows = self.rows(wanted.kind, &wanted.params()).await?;
        wanted.reply(range, &rows)
    }
}

/// A range as a statement.
pub(super) struct Wanted {
    pub(super) kind: Kind,
    lo: Vec<u8>,
    hi: Vec<u8>,
    limit: Option<i64>,
    rev: i64,
}

impl Wanted {
    pub(super) fn of(range: &Range) -> Self {
        let span = Span::new(range.lo.clone(), range.hi.clone());
        Self {
            kind: match (range.rev, range.count_only, range.keys_only) {
                (0, true, _) => Kind::CountNow,
                (0, false, true) => Kind::KeysNow,
                (0, false, false) => Kind::PageNow,
                (_, true, _) => Kind::CountThen,
                (_, false, true) => Kind::KeysThen,
                (_, false, false) => Kind::PageThen,
            },
            lo: range.lo.to_vec(),
            hi: match span.is_empty() {
                true => range.lo.to_vec(),
                false => upper(&range.lo, &range.hi).to_vec(),
            },
            limit: (range.limit > 0).then(|| i64::try_from(range.limit).unwrap_or(i64::MAX)),
            rev: range.rev.cast_signed(),
        }
    }

    pub(super) fn params(&self) -> Vec<&(dyn ToSql + Sync)> {
        let mut params: Vec<&(dyn ToSql + Sync)> = vec![&self.lo, &self.hi];
        match self.kind {
            Kind::CountNow => {}
            Kind::CountThen => params.push(&self.rev),
            Kind::PageNow | Kind::KeysNow => params.push(&self.limit),
            _ => params.extend([&self.limit as &(dyn ToSql + Sync), &self.rev]),
        }
        params
    }

    pub(super) fn reply(&self, range: &Range, rows: &[Row]) -> Result<RangeReply> {
        let first = rows.first().ok_or_else(no_head)?;
        let number = |at: usize| first.get::<_, i64>(at).cast_unsigned();
        let (head, compacted) = (number(0), number(1));
        range.at(head, compacted)?;
        let mut found = reply(head, number(2));
        if range.count_only {
            return Ok(found);
        }
        if first.get::<_, Option<&[u8]>>(3).is_some() {
            found.kvs = rows.iter().map(|row| kv(row, 3)).collect();
        }
        if !found.kvs.is_sorted_by(|a, b| a.key < b.key) {
            found.kvs.sort_by(|a, b| a.key.cmp(&b.key));
        }
        if self.limit.is_none() {
            found.count = found.kvs.len() as u64;
        }
        found.more = (found.kvs.len() as u64) < found.count;
        Ok(found)
    }
}

pub(super) fn no_head() -> Error {
    Error::Corrupt("the keyspace's head row is missing in PostgreSQL".into())
}

fn reply(head_rev: u64, count: u64) -> RangeReply {
    RangeReply {
        head_rev,
        kvs: Vec::new(),
        count,
        more: false,
    }
}

//! Rules that hold for every request on every engine.

use crate::{Compare, Error, Field, LeaseId, Op, Result, Txn, span::Span};
use bytes::Bytes;
use std::collections::BTreeSet;

/// Longest value, as etcd's default request limit.
pub const MAX_VALUE: usize = 1_572_864;
/// Longest key.
pub const MAX_KEY: usize = 16 * 1024;
/// Most operations and most compares of a transaction.
pub const MAX_OPS: usize = 10_000;
/// Most bytes of keys and values in a transaction.
pub const MAX_TXN: usize = 8 * 1024 * 1024;

/// Watches of a keyspace at once.
pub const MAX_WATCHES: usize = 10_000;

/// How deep transactions may nest.
pub const MAX_DEPTH: usize = 32;
/// Most keys that the ranges of a transaction may return together.
pub const MAX_TXN_KEYS: usize = 100_000;
/// Most bytes of keys and values that a transaction may look at: what its ranges return, what it
/// compares, and what was there before where that is asked for.
pub const MAX_TXN_READ: usize = 256 << 20;
/// Most keys that one revision may delete, and so most keys of a lease: all of them are one step
/// of the thread that commits for everybody.
pub const MAX_DELETED: usize = 100_000;

/// Checks sizes and shape of a transaction; returns its bytes.
pub fn check_txn(txn: &Txn) -> Result<usize> {
    let mut sum = Sum::default();
    sum.txn(txn, 0)?;
    for (what, count) in [("compares", sum.compares), ("operations", sum.ops)] {
        if count > MAX_OPS {
            return Err(Error::TooLarge(format!(
                "{count} {what}, at most {MAX_OPS}"
            )));
        }
    }
    let size = sum.bytes;
    if size > MAX_TXN {
        return Err(Error::TooLarge(format!(
            "a transaction of {size} bytes, at most {MAX_TXN}"
        )));
    }
    check_overlap(&txn.then)?;
    check_overlap(&txn.otherwise)?;
    Ok(size)
}

/// What a transaction adds up to, inner ones included.
#[derive(Default)]
struct Sum {
    compares: usize,
    ops: usize,
    bytes: usize,
}

impl Sum {
    fn txn(&mut self, txn: &Txn, depth: usize) -> Result<()> {
        if depth > MAX_DEPTH {
            let text = format!("transactions may nest {MAX_DEPTH} deep");
            return Err(Error::TooLarge(text));
        }
        self.compares += txn.compares.len();
        self.ops += txn.then.len().max(txn.otherwise.len());
        for compare in &txn.compares {
            self.bytes += check_compare(compare)?;
        }
        for op in txn.then.iter().chain(&txn.otherwise) {
            if let Op::Txn(inner) = op {
                self.txn(inner, depth + 1)?;
            } else {
                self.bytes += check_op(op)?;
            }
        }
        Ok(())
    }
}

fn check_compare(compare: &Compare) -> Result<usize> {
    let (key, rest) = match compare {
        Compare::ModRev(key, _)
        | Compare::CreateRev(key, _)
        | Compare::Version(key, _)
        | Compare::Lease(key, _) => (key, 0),
        Compare::Value(key, value) => (key, value.len()),
        Compare::Test { lo, hi, field, .. } => {
            check_span(lo, hi)?;
            let value = match field {
                Field::Value(value) => value.len(),
                _ => 0,
            };
            (lo, hi.len() + value)
        }
    };
    check_key(key)?;
    Ok(key.len() + rest)
}

fn check_key(key: &Bytes) -> Result<()> {
    if key.is_empty() {
        return Err(Error::Invalid("key is not provided".into()));
    }
    if key.len() > MAX_KEY {
        return Err(Error::TooLarge(format!(
            "a key of {} bytes, at most {MAX_KEY}",
            key.len()
        )));
    }
    Ok(())
}

fn check_op(op: &Op) -> Result<usize> {
    match op {
        Op::Put { key, value, .. } => check_put(key, value),
        Op::Update { key, value, .. } => check_put(key, value.as_ref().unwrap_or(&Bytes::new())),
        Op::Delete { key } | Op::Get { key } => check_key(key).map(|()| key.len()),
        Op::DeleteRange { lo, hi } => {
            check_span(lo, hi)?;
            Ok(lo.len() + hi.len())
        }
        Op::Range(range) => {
            check_span(&range.lo, &range.hi)?;
            Ok(range.lo.len() + range.hi.len())
        }
        // Whoever walks the transactions looks inside.
        Op::Txn(_) => Ok(0),
    }
}

fn check_put(key: &Bytes, value: &Bytes) -> Result<usize> {
    check_key(key)?;
    if value.len() > MAX_VALUE {
        let len = value.len();
        return Err(Error::TooLarge(format!(
            "a value of {len} bytes, at most {MAX_VALUE}"
        )));
    }
    Ok(key.len() + value.len())
}

/// Checks the two ends of a range.
pub fn check_span(lo: &Bytes, hi: &Bytes) -> Result<()> {
    check_key(lo)?;
    if hi.len() > MAX_KEY {
        return Err(Error::TooLarge(format!(
            "a key of {} bytes, at most {MAX_KEY}",
            hi.len()
        )));
    }
    Ok(())
}

/// A key may be put once, and not be deleted by the same transaction. What only one branch of an
/// inner transaction puts may be put by the other as well.
fn check_overlap(ops: &[Op]) -> Result<()> {
    if ops.len() < 2 && !matches!(ops, [Op::Txn(_)]) {
        return Ok(());
    }
    touched(ops).map(|_| ())
}

/// The keys that operations put, and the spans they delete.
#[derive(Default)]
struct Touched {
    puts: BTreeSet<Bytes>,
    deleted: Vec<Span>,
}

impl Touched {
    fn put(&mut self, key: &Bytes, twice: bool) -> Result<()> {
        if self.deleted.iter().any(|span| span.contains(key))
            || !self.puts.insert(key.clone()) && !twice
        {
            return Err(Error::Invalid("duplicate key given in txn request".into()));
        }
        Ok(())
    }
}

/// In etcd's order (`v3rpc/key.go`): own deletions, inner transactions, own puts.
fn touched(ops: &[Op]) -> Result<Touched> {
    let mut all = Touched::default();
    for op in ops {
        match op {
            Op::Delete { key } => all.deleted.push(Span::new(key.clone(), Bytes::new())),
            Op::DeleteRange { lo, hi } => all.deleted.push(Span::new(lo.clone(), hi.clone())),
            _ => {}
        }
    }
    for op in ops {
        let Op::Txn(inner) = op else { continue };
        let (then, otherwise) = (touched(&inner.then)?, touched(&inner.otherwise)?);
        for key in &then.puts {
            all.put(key, false)?;
        }
        for key in &otherwise.puts {
            all.put(key, then.puts.contains(key))?;
        }
        all.deleted.extend(then.deleted);
        all.deleted.extend(otherwise.deleted);
    }
    for op in ops {
        if let Op::Put { key, .. } | Op::Update { key, .. } = op {
            all.put(key, false)?;
        }
    }
    Ok(all)
}

/// Longest lease, as etcd's.
pub const MAX_TTL: u64 = 9_000_000_000;

/// Checks a lease's time to live.
pub fn check_ttl(seconds: u64) -> Result<()> {
    if seconds > MAX_TTL {
        return Err(Error::Invalid("too large lease TTL".into()));
    }
    Ok(())
}

/// Checks an id that a caller wants a lease to have.
pub fn check_lease_id(lease: LeaseId) -> Result<()> {
    if lease <= 0 {
        return Err(Error::Invalid("a lease id is a positive number".into()));
    }
    Ok(())
}

//! Rules that hold for every request on every engine.

use crate::{Compare, Error, Op, Result, Txn, span::Span};
use bytes::Bytes;

/// Longest value, as etcd's default request limit.
pub const MAX_VALUE: usize = 1_572_864;
/// Longest key.
pub const MAX_KEY: usize = 16 * 1024;
/// Most operations and most compares of a transaction.
pub const MAX_OPS: usize = 10_000;
/// Most bytes of keys and values in a transaction.
pub const MAX_TXN: usize = 8 * 1024 * 1024;

/// Checks sizes and shape of a transaction; returns its bytes.
pub fn check_txn(txn: &Txn) -> Result<usize> {
    for (what, count) in [
        ("compares", txn.compares.len()),
        ("operations", txn.then.len()),
        ("operations", txn.otherwise.len()),
    ] {
        if count > MAX_OPS {
            return Err(Error::TooLarge(format!(
                "{count} {what}, at most {MAX_OPS}"
            )));
        }
    }
    let mut size = 0;
    for compare in &txn.compares {
        let (key, value) = match compare {
            Compare::ModRev(key, _)
            | Compare::CreateRev(key, _)
            | Compare::Version(key, _)
            | Compare::Lease(key, _) => (key, 0),
            Compare::Value(key, value) => (key, value.len()),
        };
        check_key(key)?;
        size += key.len() + value;
    }
    for op in txn.then.iter().chain(&txn.otherwise) {
        size += check_op(op)?;
    }
    if size > MAX_TXN {
        return Err(Error::TooLarge(format!(
            "a transaction of {size} bytes, at most {MAX_TXN}"
        )));
    }
    check_overlap(&txn.then)?;
    check_overlap(&txn.otherwise)?;
    Ok(size)
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
        Op::Put { key, value, .. } => {
            check_key(key)?;
            if value.len() > MAX_VALUE {
                let len = value.len();
                return Err(Error::TooLarge(format!(
                    "a value of {len} bytes, at most {MAX_VALUE}"
                )));
            }
            Ok(key.len() + value.len())
        }
        Op::Delete { key } | Op::Get { key } => check_key(key).map(|()| key.len()),
        Op::DeleteRange { lo, hi } => {
            check_span(lo, hi)?;
            Ok(lo.len() + hi.len())
        }
    }
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

/// A key may be put once, and not be deleted by the same transaction.
fn check_overlap(ops: &[Op]) -> Result<()> {
    if ops.len() < 2 {
        return Ok(());
    }
    let mut puts: Vec<&Bytes> = ops
        .iter()
        .filter_map(|op| match op {
            Op::Put { key, .. } => Some(key),
            _ => None,
        })
        .collect();
    puts.sort_unstable();
    let twice = puts.windows(2).any(|pair| pair[0] == pair[1]);
    let deleted = ops.iter().any(|op| {
        let span = match op {
            Op::Delete { key } => Span::new(key.clone(), Bytes::new()),
            Op::DeleteRange { lo, hi } => Span::new(lo.clone(), hi.clone()),
            _ => return false,
        };
        let from = puts.partition_point(|key| **key < span.lo);
        puts.get(from).is_some_and(|key| span.contains(key))
    });
    if twice || deleted {
        return Err(Error::Invalid("duplicate key given in txn request".into()));
    }
    Ok(())
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

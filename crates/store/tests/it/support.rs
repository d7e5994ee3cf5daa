//! Small words for the tests.

use bytes::Bytes;
use freehold_store::{
    Compare, Error, KeyValue, LeaseId, Op, Range, RangeReply, Result, Store, Txn, TxnReply, Watch,
    WatchItem, WatchStream,
};
use futures::StreamExt;
use std::time::Duration;

pub(crate) fn put_op(key: &str, value: &str) -> Op {
    Op::Put {
        key: key.to_owned().into(),
        value: value.to_owned().into(),
        lease: 0,
    }
}

pub(crate) async fn put(store: &dyn Store, key: &str, value: &str) -> u64 {
    let txn = Txn {
        then: vec![put_op(key, value)],
        ..Txn::default()
    };
    store.txn(txn).await.expect("put").rev
}

pub(crate) async fn put_leased(store: &dyn Store, key: &str, lease: LeaseId) -> Result<TxnReply> {
    let op = Op::Put {
        key: key.to_owned().into(),
        value: "v".into(),
        lease,
    };
    let txn = Txn {
        then: vec![op],
        ..Txn::default()
    };
    store.txn(txn).await
}

/// Creates keys with large values until the disk is full; how many there came to be, fewer than `most`.
pub(crate) async fn put_until_full(store: &dyn Store, name: &str, bytes: usize, most: u64) -> u64 {
    let large = "x".repeat(bytes);
    let mut n = 0;
    let refused = loop {
        match put_if(store, &format!("{name}{n:03}"), 0, &large).await {
            Ok(_) => n += 1,
            Err(error) => break error,
        }
        assert!(n < most, "the disk is full");
    };
    assert!(matches!(refused, Error::NoSpace(_)), "{refused}");
    n
}

pub(crate) async fn put_if(
    store: &dyn Store,
    key: &str,
    mod_rev: u64,
    value: &str,
) -> Result<TxnReply> {
    let key_bytes = Bytes::from(key.to_owned());
    store
        .txn(Txn {
            compares: vec![Compare::ModRev(key_bytes.clone(), mod_rev)],
            then: vec![put_op(key, value)],
            otherwise: vec![Op::Get { key: key_bytes }],
            ..Txn::default()
        })
        .await
}

pub(crate) async fn delete(store: &dyn Store, key: &str) -> TxnReply {
    let then = vec![Op::Delete {
        key: key.to_owned().into(),
    }];
    store
        .txn(Txn {
            then,
            ..Txn::default()
        })
        .await
        .expect("delete")
}

pub(crate) fn everything(rev: u64) -> Range {
    Range {
        lo: Bytes::from_static(&[0]),
        hi: Bytes::from_static(&[0]),
        rev,
        ..Range::default()
    }
}

pub(crate) async fn all(store: &dyn Store, rev: u64) -> Result<RangeReply> {
    store.range(everything(rev)).await
}

pub(crate) async fn get(store: &dyn Store, key: &str) -> Option<KeyValue> {
    let range = Range {
        lo: key.to_owned().into(),
        ..Range::default()
    };
    store.range(range).await.expect("get").kvs.pop()
}

pub(crate) async fn value(store: &dyn Store, key: &str) -> Option<String> {
    get(store, key)
        .await
        .map(|kv| String::from_utf8(kv.value.to_vec()).expect("text"))
}

pub(crate) async fn watch_all(store: &dyn Store, start_rev: u64) -> WatchStream {
    let everything = everything(0);
    let watch = Watch {
        lo: everything.lo,
        hi: everything.hi,
        start_rev,
        prev_kv: true,
    };
    store.watch(watch).await.expect("watch")
}

/// The next item, within the time a test may take.
pub(crate) async fn next(stream: &mut WatchStream) -> Option<Result<WatchItem>> {
    tokio::time::timeout(Duration::from_secs(60), stream.next())
        .await
        .expect("an item in time")
}

/// The next item with events.
pub(crate) async fn next_events(
    stream: &mut WatchStream,
) -> Result<(u64, Vec<freehold_store::Event>)> {
    loop {
        match next(stream).await.expect("the stream goes on")? {
            WatchItem::Events { rev, events } => return Ok((rev, events)),
            WatchItem::Progress { .. } => {}
            WatchItem::Compacted { rev } => return Err(freehold_store::Error::Compacted(rev)),
        }
    }
}

/// Asks until something is so.
pub(crate) async fn until<F: Future<Output = bool>>(what: &str, mut check: impl FnMut() -> F) {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(60);
    while !check().await {
        assert!(tokio::time::Instant::now() < deadline, "never: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

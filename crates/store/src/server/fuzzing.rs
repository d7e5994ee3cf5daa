//! A way in for the targets of `fuzz/`, which cannot name what is private here. Nobody else calls
//! it: a message is answered as one that came in a frame is.

use super::budget::{Bounds, Budget};
use super::{Call, kv, lease, range, txn};
use crate::Store;
use crate::proto::{LeaseGrantRequest, LeaseTimeToLiveResponse, RangeRequest};
use bytes::Bytes;
use futures::StreamExt as _;
use prost::Message;
use std::sync::Arc;
use tonic::Status;

/// How many methods there are.
pub const METHODS: u8 = 10;
/// Longer than a target waits for anything, also while its machine is used by others.
const LONG: i64 = 1_000_000;

/// What a method answers, or the code of its refusal. `None`: this is no message.
pub async fn ask(store: &Arc<dyn Store>, method: u8, request: &[u8]) -> Option<Result<Bytes, i32>> {
    let call = Call {
        store: store.clone(),
        budget: Arc::new(Budget::new(Bounds::default())),
        scheme: "http",
        authority: None,
        held: Arc::default(),
    };
    match method % METHODS {
        0 => one(request, |q| kv::read(call, q)).await,
        1 => one(request, |q| kv::put(call, q)).await,
        2 => one(request, |q| kv::delete_range(call, q)).await,
        3 => one(request, |q| txn::serve(call, q)).await,
        4 => one(request, |q| kv::compact(call, q)).await,
        5 => {
            one(request, |mut q: LeaseGrantRequest| {
                q.ttl = q.ttl.max(LONG);
                // Ids of a store's own are not the same in two of them.
                q.id = if q.id == 0 { 77 } else { q.id };
                lease::grant(call, q)
            })
            .await
        }
        6 => one(request, |q| lease::revoke(call, q)).await,
        7 => {
            one(request, |q| async {
                let known = lease::time_to_live(call, q).await?;
                // Time goes on between two stores.
                let ttl = known.ttl.min(0);
                Ok(LeaseTimeToLiveResponse { ttl, ..known })
            })
            .await
        }
        8 => one(request, |q| lease::leases(call, q)).await,
        _ => {
            let request = RangeRequest::decode(request).ok()?;
            let mut all = Vec::new();
            let mut parts = std::pin::pin!(range::stream(call, request));
            while let Some(part) = parts.next().await {
                match part {
                    Ok(part) => all.extend(part.encode_to_vec()),
                    Err(status) => return Some(Err(status.code() as i32)),
                }
            }
            Some(Ok(all.into()))
        }
    }
}

async fn one<Q, A, F>(request: &[u8], method: impl FnOnce(Q) -> F) -> Option<Result<Bytes, i32>>
where
    Q: Message + Default,
    A: Message,
    F: Future<Output = Result<A, Status>>,
{
    // Keys that are slices of a frame are what a frame makes of them.
    let request = Q::decode(Bytes::copy_from_slice(request)).ok()?;
    let answer = method(request).await;
    Some(match answer {
        Ok(answer) => Ok(answer.encode_to_vec().into()),
        Err(status) => Err(status.code() as i32),
    })
}

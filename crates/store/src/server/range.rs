//! Ranges: etcd's filters, orders and streams over the contract's plain ones
//! (`server/etcdserver/txn/txn.go`, `executeRange`).

use super::convert;
use super::{Call, MAX_REQUEST, header};
use crate::proto::{
    self, RangeRequest, RangeResponse, RangeStreamResponse, ResponseHeader, int, rev,
};
use crate::{Range, RangeReply};
use bytes::Bytes;
use futures::Stream;
use prost::Message;
use tonic::Status;

/// Keys of the first part of a stream; the following ones are as large as their values allow.
const FIRST_PART: usize = 10;
const MAX_PART: usize = 100_000;

pub(super) fn check(request: &RangeRequest) -> Result<(), Status> {
    if request.key.is_empty() {
        return Err(convert::empty_key());
    }
    if !(0..=2).contains(&request.sort_order) || !(0..=4).contains(&request.sort_target) {
        return Err(Status::invalid_argument("etcdserver: invalid sort option"));
    }
    Ok(())
}

fn filtered(request: &RangeRequest) -> bool {
    [
        request.min_mod_revision,
        request.max_mod_revision,
        request.min_create_revision,
        request.max_create_revision,
    ]
    .iter()
    .any(|bound| *bound != 0)
}

/// What has to be read to answer a request.
pub(super) fn contract(request: &RangeRequest) -> Range {
    let limit = usize::try_from(request.limit).unwrap_or(0);
    let limit = if request.sort_order != 0 || filtered(request) || limit == 0 {
        0
    } else {
        // One more tells, after sorting, that there was more.
        limit.saturating_add(usize::from(request.sort_target != 0))
    };
    Range {
        lo: super::kv::own(&request.key),
        hi: super::kv::own(&request.range_end),
        rev: rev(request.revision),
        limit,
        // Values are needed to sort by them.
        keys_only: request.keys_only && request.sort_target != 4,
        count_only: request.count_only,
    }
}

/// What a request is answered with.
pub(super) fn response(
    request: &RangeRequest,
    reply: RangeReply,
    header: Option<ResponseHeader>,
) -> RangeResponse {
    let limit = usize::try_from(request.limit).unwrap_or(0);
    let mut kvs: Vec<proto::KeyValue> = reply.kvs.into_iter().map(Into::into).collect();
    filter(request, &mut kvs);
    let mut more = reply.more && limit > 0;
    if request.sort_order == 2 || request.sort_target != 0 {
        sort(&mut kvs, request.sort_target, request.sort_order == 2);
    }
    if limit > 0 && kvs.len() > limit {
        kvs.truncate(limit);
        more = true;
    }
    if request.keys_only {
        kvs.iter_mut().for_each(|kv| kv.value = Bytes::new());
    }
    RangeResponse {
        header,
        kvs,
        more,
        count: int(reply.count),
    }
}

fn filter(request: &RangeRequest, kvs: &mut Vec<proto::KeyValue>) {
    if !filtered(request) {
        return;
    }
    let within = |n: i64, min: i64, max: i64| (min == 0 || n >= min) && (max == 0 || n <= max);
    kvs.retain(|kv| {
        within(
            kv.mod_revision,
            request.min_mod_revision,
            request.max_mod_revision,
        ) && within(
            kv.create_revision,
            request.min_create_revision,
            request.max_create_revision,
        )
    });
}

/// Keys that are alike stay in their order, also when it goes down.
fn sort(kvs: &mut [proto::KeyValue], target: i32, descending: bool) {
    kvs.sort_by(|a, b| {
        let order = match target {
            1 => a.version.cmp(&b.version),
            2 => a.create_revision.cmp(&b.create_revision),
            3 => a.mod_revision.cmp(&b.mod_revision),
            4 => a.value.cmp(&b.value),
            _ => a.key.cmp(&b.key),
        };
        if descending { order.reverse() } else { order }
    });
}

/// etcd 3.7's `RangeStream`: keys in parts of about a request's size, all of one revision; the
/// last part has the header, the count and whether there is more. Merged, they are what `Range`
/// answers.
pub(super) fn stream(
    call: Call,
    request: RangeRequest,
) -> impl Stream<Item = Result<RangeStreamResponse, Status>> + Send + 'static {
    let start = Streamed {
        left: usize::try_from(request.limit).unwrap_or(0),
        limited: request.limit > 0,
        next: contract(&request),
        part: FIRST_PART,
        total: None,
        call,
        request,
    };
    futures::stream::unfold(Some(start), |state| async {
        let mut state = state?;
        match state.part().await {
            Ok((part, true)) => Some((Ok(part), None)),
            Ok((part, false)) => Some((Ok(part), Some(state))),
            Err(refused) => Some((Err(refused), None)),
        }
    })
}

struct Streamed {
    call: Call,
    request: RangeRequest,
    next: Range,
    /// keys that the client still wants, if it said how many
    left: usize,
    limited: bool,
    /// keys to read for the next part
    part: usize,
    /// revision and count of the whole
    total: Option<(u64, u64)>,
}

impl Streamed {
    /// The next part, and whether it was the last.
    async fn part(&mut self) -> Result<(RangeStreamResponse, bool), Status> {
        if self.total.is_none() {
            check(&self.request)?;
            if self.request.sort_order != 0 || self.request.sort_target != 0 {
                let text = "etcdserver: RangeStream does not sort, Range does";
                return Err(Status::unimplemented(text));
            }
        }
        self.next.limit = if self.limited && !filtered(&self.request) {
            self.part.min(self.left)
        } else {
            self.part
        };
        let reply = self.call.part(&mut self.next).await?;
        self.part = self.next.limit.min(self.part);
        let (head_rev, count) = *self.total.get_or_insert((reply.head_rev, reply.count));
        if self.next.rev == 0 {
            self.next.rev = head_rev;
        }
        let unread = reply.more;
        let last_key = reply.kvs.last().map(|kv| kv.key.clone());
        let mut kvs: Vec<proto::KeyValue> = reply.kvs.into_iter().map(Into::into).collect();
        filter(&self.request, &mut kvs);
        let mut more = false;
        if self.limited {
            more = kvs.len() > self.left || kvs.len() == self.left && unread;
            kvs.truncate(self.left);
            self.left -= kvs.len();
        }
        let done = !unread || self.limited && self.left == 0 || self.request.count_only;
        let mut response = RangeResponse {
            kvs,
            ..RangeResponse::default()
        };
        if done {
            response.header = header(head_rev);
            response.count = int(count);
            response.more = more;
        } else if let Some(key) = last_key {
            self.next.lo = [&key[..], &[0]].concat().into();
        }
        self.adapt(response.encoded_len());
        let part = RangeStreamResponse {
            range_response: Some(response),
        };
        Ok((part, done))
    }

    fn adapt(&mut self, size: usize) {
        if size < MAX_REQUEST / 2 {
            self.part = (self.part * 2).min(MAX_PART);
        } else if size > MAX_REQUEST * 2 {
            self.part = (self.part / 3).max(1);
        }
    }
}

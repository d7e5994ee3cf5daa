//! The same requests to a real etcd and to the endpoint: the same answers, to the field and to the
//! letter, for chosen requests and for thousands of random ones.

use super::Served;
use super::client::Raw;
use super::proto::{
    CompactionRequest, Compare, DeleteRangeRequest, DeleteRangeResponse, Empty, HeaderResponse,
    LeaseGrantRequest, LeaseGrantResponse, LeaseLeasesResponse, LeaseRevokeRequest,
    LeaseTimeToLiveRequest, LeaseTimeToLiveResponse, PutRequest, PutResponse, RangeRequest,
    RangeResponse, RangeStreamResponse, Request, RequestOp, Response, ResponseHeader, TargetUnion,
    TxnRequest, TxnResponse,
};
use crate::random::Random;
use crate::real_etcd::RealEtcd;
use bytes::Bytes;
use std::fmt::Debug;
use tonic::Status;

fn range(key: &str, end: &str) -> RangeRequest {
    RangeRequest {
        key: key.to_owned().into(),
        range_end: end.to_owned().into(),
        ..Default::default()
    }
}

fn put(key: &str, value: &str) -> PutRequest {
    PutRequest {
        key: key.to_owned().into(),
        value: value.to_owned().into(),
        ..Default::default()
    }
}

fn delete(key: &str, end: &str) -> DeleteRangeRequest {
    DeleteRangeRequest {
        key: key.to_owned().into(),
        range_end: end.to_owned().into(),
        prev_kv: true,
    }
}

fn op(request: Request) -> RequestOp {
    RequestOp {
        request: Some(request),
    }
}

#[derive(Clone, Debug)]
enum Step {
    Range(RangeRequest),
    Put(PutRequest),
    Delete(DeleteRangeRequest),
    Txn(TxnRequest),
    Compact(i64),
    Grant(i64, i64),
    Revoke(i64),
    TimeToLive(i64),
    Leases,
}

/// Only the revision of a header is common to both.
fn plain(header: &mut Option<ResponseHeader>) {
    if let Some(header) = header {
        *header = ResponseHeader {
            revision: header.revision,
            ..Default::default()
        };
    }
}

/// Answers inside a transaction: etcd's headers there are not what they say.
fn plain_txn(answer: &mut TxnResponse) {
    for response in &mut answer.responses {
        match &mut response.response {
            Some(Response::Range(inner)) => inner.header = None,
            Some(Response::Put(inner)) => inner.header = None,
            Some(Response::DeleteRange(inner)) => inner.header = None,
            Some(Response::Txn(inner)) => {
                inner.header = None;
                plain_txn(inner);
            }
            None => {}
        }
    }
}

fn show<A: Debug>(answer: Result<A, Status>) -> String {
    match answer {
        Ok(answer) => format!("{answer:?}"),
        Err(status) => format!("{:?}: {}", status.code(), status.message()),
    }
}

async fn run(client: &Raw, step: Step) -> String {
    match step {
        Step::Range(request) => show(client.call("KV/Range", request).await.map(
            |mut a: RangeResponse| {
                plain(&mut a.header);
                a
            },
        )),
        Step::Put(request) => show(client.call("KV/Put", request).await.map(
            |mut a: PutResponse| {
                plain(&mut a.header);
                a
            },
        )),
        Step::Delete(request) => show(client.call("KV/DeleteRange", request).await.map(
            |mut a: DeleteRangeResponse| {
                plain(&mut a.header);
                a
            },
        )),
        Step::Txn(request) => show(client.call("KV/Txn", request).await.map(
            |mut a: TxnResponse| {
                plain(&mut a.header);
                plain_txn(&mut a);
                a
            },
        )),
        Step::Compact(revision) => {
            let request = CompactionRequest {
                revision,
                physical: true,
            };
            show(
                client
                    .call("KV/Compact", request)
                    .await
                    .map(|mut a: HeaderResponse| {
                        plain(&mut a.header);
                        a
                    }),
            )
        }
        step => lease(client, step).await,
    }
}

async fn lease(client: &Raw, step: Step) -> String {
    match step {
        Step::Grant(id, ttl) => {
            let request = LeaseGrantRequest { id, ttl };
            let answer: Result<LeaseGrantResponse, _> =
                client.call("Lease/LeaseGrant", request).await;
            show(answer.map(|a| (a.header.map(|h| h.revision), a.id, a.ttl, a.error)))
        }
        Step::Revoke(id) => {
            let request = LeaseRevokeRequest { id };
            let answer: Result<HeaderResponse, _> = client.call("Lease/LeaseRevoke", request).await;
            show(answer.map(|a| a.header.map(|h| h.revision)))
        }
        Step::TimeToLive(id) => {
            let request = LeaseTimeToLiveRequest { id, keys: true };
            let answer: Result<LeaseTimeToLiveResponse, _> =
                client.call("Lease/LeaseTimeToLive", request).await;
            show(answer.map(|mut a| {
                a.keys.sort_unstable();
                // The time left depends on the moment, but is there or not.
                (a.id, a.ttl.signum(), a.granted_ttl, a.keys)
            }))
        }
        _ => {
            let answer: Result<LeaseLeasesResponse, _> =
                client.call("Lease/LeaseLeases", Empty {}).await;
            show(answer.map(|mut a| {
                a.leases.sort_unstable_by_key(|lease| lease.id);
                a.leases
            }))
        }
    }
}

fn compare_of(key: &str, target: i32, result: i32, union: TargetUnion) -> Compare {
    Compare {
        result,
        target,
        key: key.to_owned().into(),
        target_union: Some(union),
        ..Default::default()
    }
}

/// Requests that are refused, and edges of those that are not.
fn chosen() -> Vec<Step> {
    let big = "x".repeat(1_600_000);
    let lease_put = |key: &str, lease| PutRequest {
        lease,
        prev_kv: true,
        ..put(key, "leased")
    };
    let mut steps = vec![
        Step::Range(range("", "")),
        Step::Range(range("\0", "\0")),
        Step::Put(put("", "x")),
        Step::Put(put("a", "1")),
        Step::Put(put("a", "2")),
        Step::Put(put("b", "1")),
        Step::Put(put("c", &big)),
        Step::Put(put(&big, "1")),
        Step::Put(PutRequest {
            ignore_value: true,
            ..put("a", "given")
        }),
        Step::Put(PutRequest {
            ignore_value: true,
            ..put("absent", "")
        }),
        Step::Put(PutRequest {
            ignore_value: true,
            prev_kv: true,
            ..put("a", "")
        }),
        Step::Put(PutRequest {
            ignore_lease: true,
            lease: 5,
            ..put("a", "x")
        }),
        Step::Put(PutRequest {
            ignore_lease: true,
            ..put("a", "kept")
        }),
        Step::Put(lease_put("a", 4242)),
        Step::Grant(77, 600),
        Step::Grant(77, 600),
        Step::Grant(78, 9_000_000_001),
        Step::Put(lease_put("leased", 77)),
        Step::TimeToLive(77),
        Step::TimeToLive(79),
        Step::Leases,
        Step::Revoke(79),
        Step::Revoke(77),
        Step::Leases,
        Step::Range(range("leased", "")),
        Step::Delete(delete("", "")),
        Step::Delete(delete("absent", "")),
        Step::Delete(delete("z", "a")),
        Step::Range(range("z", "a")),
        Step::Range(range("a", "a")),
        Step::Range(RangeRequest {
            sort_order: 7,
            ..range("a", "z")
        }),
        Step::Range(RangeRequest {
            sort_target: 9,
            ..range("a", "z")
        }),
        Step::Range(RangeRequest {
            revision: 1_000_000,
            ..range("a", "z")
        }),
        Step::Range(RangeRequest {
            revision: -3,
            ..range("a", "z")
        }),
        Step::Range(RangeRequest {
            limit: -1,
            ..range("a", "z")
        }),
        Step::Compact(1_000_000),
        Step::Compact(4),
        Step::Compact(4),
        Step::Compact(0),
        Step::Compact(-1),
        Step::Range(RangeRequest {
            revision: 3,
            ..range("a", "z")
        }),
        Step::Range(RangeRequest {
            revision: 4,
            ..range("a", "z")
        }),
        Step::Txn(TxnRequest::default()),
    ];
    steps.extend(chosen_txns());
    steps
}

fn chosen_txns() -> Vec<Step> {
    let success = |ops: Vec<Request>| {
        Step::Txn(TxnRequest {
            success: ops.into_iter().map(op).collect(),
            ..Default::default()
        })
    };
    let many = |n: usize| (0..n).map(|n| Request::Put(put(&format!("m{n}"), "1")));
    let nest = |txn: TxnRequest| TxnRequest {
        success: vec![op(Request::Txn(txn))],
        ..Default::default()
    };
    let mut deep = TxnRequest {
        success: vec![op(Request::Put(put("deep", "1")))],
        ..Default::default()
    };
    for _ in 0..20 {
        deep = nest(deep);
    }
    let wide = TxnRequest {
        success: many(100).map(op).collect(),
        ..Default::default()
    };
    let mut wide_and_deep = nest(wide.clone());
    wide_and_deep.success.extend(many(100).map(op).skip(70));
    vec![
        success(vec![Request::Put(put("", "1"))]),
        success(vec![
            Request::Put(put("d", "1")),
            Request::Put(put("d", "2")),
        ]),
        success(vec![
            Request::Put(put("d", "1")),
            Request::DeleteRange(delete("a", "z")),
        ]),
        success(vec![Request::Range(RangeRequest {
            sort_order: 9,
            ..range("a", "z")
        })]),
        success(vec![Request::Range(range("", ""))]),
        success(vec![Request::DeleteRange(delete("", ""))]),
        success(vec![Request::Range(RangeRequest {
            revision: 1_000_000,
            ..range("a", "z")
        })]),
        success(vec![
            Request::Put(put("never", "1")),
            Request::Range(RangeRequest {
                revision: 1,
                ..range("a", "z")
            }),
        ]),
        success(vec![
            Request::Put(put("never", "1")),
            Request::Put(PutRequest {
                lease: 4711,
                ..put("e", "1")
            }),
        ]),
        success(vec![
            Request::Put(put("never", "1")),
            Request::Put(PutRequest {
                ignore_value: true,
                ..put("absent", "")
            }),
        ]),
        success(many(128).collect()),
        success(many(129).collect()),
        Step::Txn(deep),
        Step::Txn(nest(wide)),
        Step::Txn(wide_and_deep),
        Step::Txn(TxnRequest {
            success: vec![RequestOp { request: None }],
            ..Default::default()
        }),
        Step::Txn(TxnRequest {
            compare: vec![compare_of("", 0, 0, TargetUnion::Version(0))],
            ..Default::default()
        }),
        // A value of another kind than the target.
        Step::Txn(TxnRequest {
            compare: vec![compare_of("a", 0, 1, TargetUnion::ModRevision(99))],
            success: vec![op(Request::Range(range("a", "")))],
            ..Default::default()
        }),
        Step::Range(range("\0", "\0")),
        // Few keys are left: with more than a dozen, etcd's order of equal ones is its library's.
        Step::Delete(delete("\0", "\0")),
    ]
}

/// Random requests over few keys.
struct Dice(Random);

impl Dice {
    fn small(&mut self, bound: u64) -> i64 {
        i64::try_from(self.0.below(bound)).expect("small")
    }

    fn one_in(&mut self, n: u64) -> bool {
        self.0.below(n) == 0
    }

    fn key(&mut self) -> Bytes {
        Bytes::from(format!("k{}", self.0.below(9)))
    }

    fn end(&mut self) -> Bytes {
        match self.0.below(4) {
            0 | 1 => Bytes::new(),
            2 => Bytes::from_static(b"\0"),
            _ => self.key(),
        }
    }

    fn range(&mut self, rev: i64) -> RangeRequest {
        let mut request = RangeRequest {
            key: self.key(),
            range_end: self.end(),
            ..Default::default()
        };
        if self.one_in(2) {
            request.limit = self.small(5);
        }
        if self.one_in(4) {
            request.revision = rev - self.small(20) + 2;
        }
        if self.one_in(3) {
            request.sort_order = i32::try_from(self.small(3)).expect("small");
            request.sort_target = i32::try_from(self.small(5)).expect("small");
        }
        if self.one_in(5) {
            request.min_mod_revision = (rev - self.small(30)).max(0);
        }
        if self.one_in(5) {
            request.max_mod_revision = (rev - self.small(30)).max(0);
        }
        if self.one_in(6) {
            request.min_create_revision = (rev - self.small(30)).max(0);
        }
        if self.one_in(6) {
            request.max_create_revision = (rev - self.small(30)).max(0);
        }
        request.keys_only = self.one_in(5);
        request.count_only = self.one_in(8);
        request
    }

    fn put(&mut self) -> PutRequest {
        let mut request = PutRequest {
            key: self.key(),
            value: Bytes::from(format!("v{}", self.0.below(5))),
            prev_kv: self.one_in(2),
            ..Default::default()
        };
        match self.0.below(8) {
            0 => (request.ignore_value, request.value) = (true, Bytes::new()),
            1 => request.ignore_lease = true,
            2 => request.lease = 100 + self.small(4),
            _ => {}
        }
        request
    }

    fn delete(&mut self) -> DeleteRangeRequest {
        let range_end = if self.one_in(3) {
            self.key()
        } else {
            Bytes::new()
        };
        DeleteRangeRequest {
            key: self.key(),
            range_end,
            prev_kv: self.one_in(2),
        }
    }

    fn compare(&mut self, rev: i64) -> Compare {
        let target = i32::try_from(self.small(5)).expect("small");
        let near = (rev - self.small(20)) * i64::from(!self.one_in(4));
        let union = match target {
            0 => TargetUnion::Version(self.small(4)),
            1 => TargetUnion::CreateRevision(near),
            2 => TargetUnion::ModRevision(near),
            3 => TargetUnion::Value(Bytes::from(format!("v{}", self.0.below(5)))),
            _ => TargetUnion::Lease(self.small(2) * 101),
        };
        Compare {
            result: i32::try_from(self.small(4)).expect("small"),
            target,
            key: self.key(),
            target_union: Some(union),
            range_end: self.end(),
        }
    }

    fn ops(&mut self, rev: i64, depth: usize) -> Vec<RequestOp> {
        let count = self.0.below(4);
        (0..count)
            .map(|_| {
                op(match self.0.below(6) {
                    0 | 1 => Request::Put(self.put()),
                    2 => Request::DeleteRange(self.delete()),
                    3 if depth < 3 => Request::Txn(self.txn(rev, depth + 1)),
                    _ => Request::Range(self.range(rev)),
                })
            })
            .collect()
    }

    fn txn(&mut self, rev: i64, depth: usize) -> TxnRequest {
        let compares = self.0.below(3);
        TxnRequest {
            compare: (0..compares).map(|_| self.compare(rev)).collect(),
            success: self.ops(rev, depth),
            failure: self.ops(rev, depth),
        }
    }

    fn step(&mut self, rev: i64) -> Step {
        match self.0.below(20) {
            0..5 => Step::Range(self.range(rev)),
            5..9 => Step::Put(self.put()),
            9 | 10 => Step::Delete(self.delete()),
            11..17 => Step::Txn(self.txn(rev, 0)),
            17 if self.one_in(6) => Step::Compact(rev - self.small(15) + 1),
            17 => Step::TimeToLive(100 + self.small(4)),
            18 if self.one_in(3) => Step::Revoke(100 + self.small(4)),
            _ => Step::Grant(100 + self.small(4), 500),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_endpoint_answers_as_a_real_etcd_does() {
    let Some(etcd) = RealEtcd::start() else {
        return;
    };
    let served = Served::start().await;
    let (real, ours) = (Raw::connect(&etcd.url), Raw::connect(&served.url));
    for (n, step) in chosen().into_iter().enumerate() {
        let expected = run(&real, step.clone()).await;
        let mut text = format!("{step:?}");
        text.truncate(300);
        assert_eq!(run(&ours, step).await, expected, "step {n}: {text}");
    }
    for seed in 1..=4 {
        let mut dice = Dice(Random::new(seed));
        for n in 0..600 {
            let head = served.store.head().await.expect("head").rev;
            let step = dice.step(i64::try_from(head).expect("small"));
            let expected = run(&real, step.clone()).await;
            let found = run(&ours, step.clone()).await;
            assert_eq!(found, expected, "seed {seed}, step {n}: {step:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_range_stream_merges_to_what_range_answers() {
    let served = Served::start().await;
    let client = Raw::connect(&served.url);
    for n in 0..300 {
        let value = "v".repeat(n * 137 % 20_000);
        let request = put(&format!("k{n:04}"), &value);
        let _: PutResponse = client.call("KV/Put", request).await.expect("put");
    }
    let mut dice = Dice(Random::new(5));
    let mut requests = vec![
        range("k", "l"),
        range("\0", "\0"),
        range("k0001", ""),
        range("none", ""),
        RangeRequest {
            limit: 77,
            ..range("k", "l")
        },
        RangeRequest {
            limit: 300,
            ..range("k", "l")
        },
        RangeRequest {
            min_mod_revision: 200,
            limit: 5,
            ..range("k", "l")
        },
    ];
    for _ in 0..40 {
        let mut request = dice.range(300);
        request.range_end = "l".into();
        (request.sort_order, request.sort_target) = (0, 0);
        requests.push(request);
    }
    for request in requests {
        let whole: Result<RangeResponse, _> = client.call("KV/Range", request.clone()).await;
        let parts: Result<Vec<RangeStreamResponse>, _> =
            client.stream("KV/RangeStream", request.clone()).await;
        let whole = match (whole, parts) {
            (Ok(whole), Ok(parts)) => (whole, parts),
            (whole, parts) => {
                let parts = parts.map(|_| RangeResponse::default());
                assert_eq!(show(whole), show(parts), "{request:?}");
                continue;
            }
        };
        let (whole, parts) = whole;
        let count = parts.len();
        let mut merged = RangeResponse::default();
        for (n, part) in parts.into_iter().enumerate() {
            let part = part.range_response.expect("a response");
            let last = n + 1 == count;
            assert_eq!(part.header.is_some(), last, "only the last has a header");
            merged.kvs.extend(part.kvs);
            if last {
                (merged.header, merged.count, merged.more) = (part.header, part.count, part.more);
            }
        }
        assert_eq!(merged, whole, "{request:?}");
        assert!(whole.kvs.len() < 100 || count > 2, "{count} parts");
    }
    let sorted = RangeRequest {
        sort_order: 2,
        ..range("k", "l")
    };
    let refused = client.stream::<_, RangeStreamResponse>("KV/RangeStream", sorted);
    let refused = refused.await.expect_err("it does not sort");
    assert_eq!(refused.code(), tonic::Code::Unimplemented);
}

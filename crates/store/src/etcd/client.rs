//! The calls of the etcd v3 protocol, with time limits and errors of the contract.

use super::Options;
use crate::proto::{
    CompactionRequest, Compare, DeleteRangeRequest, DeleteRangeResponse, Empty, HeaderResponse,
    LeaseGrantRequest, LeaseGrantResponse, LeaseKeepAliveRequest, LeaseKeepAliveResponse,
    LeaseRevokeRequest, LeaseTimeToLiveRequest, LeaseTimeToLiveResponse, PutRequest, RangeRequest,
    RangeResponse, Request, RequestOp, StatusResponse, TxnRequest, TxnResponse, WatchRequest,
    WatchResponse, rev,
};
use crate::{Error, Result};
use bytes::Bytes;
use futures::StreamExt;
use http::uri::PathAndQuery;
use std::time::Duration;
use tonic::client::Grpc;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};
use tonic::{Code, Status, Streaming};
use tonic_prost::ProstCodec;

const PAUSE: Duration = Duration::from_millis(100);
/// Larger than any page that is asked for.
const MAX_MESSAGE: usize = 1 << 30;

#[derive(Clone)]
pub(super) struct Client {
    channel: Channel,
    timeout: Duration,
}

/// An etcd error before it is known what revision it speaks of.
pub(super) enum Failure {
    Compacted,
    Future,
    Error(Error),
}

impl Client {
    pub(super) fn new(options: &Options) -> Result<Self> {
        let wrong = |url: &str, why: &dyn std::fmt::Display| {
            Error::Invalid(format!("etcd endpoint {url}: {why}"))
        };
        let mut endpoints = Vec::new();
        for url in &options.endpoints {
            let mut endpoint = Endpoint::from_shared(url.clone())
                .map_err(|e| wrong(url, &e))?
                .connect_timeout(Duration::from_secs(3))
                .http2_keep_alive_interval(Duration::from_secs(10))
                .keep_alive_timeout(Duration::from_secs(5))
                .keep_alive_while_idle(true)
                .tcp_nodelay(true);
            if let Some(tls) = &options.tls {
                let mut config =
                    ClientTlsConfig::new().ca_certificate(Certificate::from_pem(&tls.ca));
                if let Some((cert, key)) = &tls.identity {
                    config = config.identity(Identity::from_pem(cert, key));
                }
                if let Some(name) = &tls.server_name {
                    config = config.domain_name(name);
                }
                endpoint = endpoint.tls_config(config).map_err(|e| wrong(url, &e))?;
            }
            endpoints.push(endpoint);
        }
        let channel = match endpoints.pop() {
            None => return Err(Error::Invalid("no etcd endpoint is given".into())),
            Some(only) if endpoints.is_empty() => only.connect_lazy(),
            Some(last) => Channel::balance_list(endpoints.into_iter().chain([last])),
        };
        Ok(Self {
            channel,
            timeout: options.timeout,
        })
    }

    async fn once<Q, A>(&self, path: &'static str, request: Q) -> Result<A, Status>
    where
        Q: prost::Message + 'static,
        A: prost::Message + Default + 'static,
    {
        let mut grpc = Grpc::new(self.channel.clone()).max_decoding_message_size(MAX_MESSAGE);
        let call = async {
            grpc.ready()
                .await
                .map_err(|e| Status::unavailable(e.to_string()))?;
            let path = PathAndQuery::from_static(path);
            grpc.unary(tonic::Request::new(request), path, ProstCodec::default())
                .await
        };
        match tokio::time::timeout(self.timeout, call).await {
            Ok(answer) => answer.map(tonic::Response::into_inner),
            Err(_) => Err(Status::unavailable("no answer in time")),
        }
    }

    /// A call that may be made twice.
    async fn read<Q, A>(&self, path: &'static str, request: Q) -> Result<A, Failure>
    where
        Q: prost::Message + Clone + 'static,
        A: prost::Message + Default + 'static,
    {
        let end = tokio::time::Instant::now() + self.timeout;
        loop {
            match self.once(path, request.clone()).await {
                Err(status) if broken(&status) && tokio::time::Instant::now() + PAUSE < end => {
                    tokio::time::sleep(PAUSE).await;
                }
                other => return other.map_err(failure),
            }
        }
    }

    /// A call that is made once: nobody knows whether a broken one was carried out.
    async fn write<Q, A>(&self, path: &'static str, request: Q) -> Result<A, Failure>
    where
        Q: prost::Message + 'static,
        A: prost::Message + Default + 'static,
    {
        self.once(path, request)
            .await
            .map_err(|status| match failure(status) {
                Failure::Error(Error::Unavailable(text)) => Failure::Error(Error::Unavailable(
                    format!("{text}; whether this was written is not known"),
                )),
                other => other,
            })
    }

    pub(super) async fn status(&self) -> Result<StatusResponse> {
        self.read("/etcdserverpb.Maintenance/Status", Empty {})
            .await
            .map_err(plain)
    }

    pub(super) async fn range(&self, request: RangeRequest) -> Result<RangeResponse, Failure> {
        self.read("/etcdserverpb.KV/Range", request).await
    }

    pub(super) async fn txn(&self, request: TxnRequest) -> Result<TxnResponse, Failure> {
        self.write("/etcdserverpb.KV/Txn", request).await
    }

    pub(super) async fn compact(&self, revision: i64) -> Result<(), Failure> {
        let request = CompactionRequest {
            revision,
            physical: false,
        };
        self.write("/etcdserverpb.KV/Compact", request)
            .await
            .map(|_: HeaderResponse| ())
    }

    /// With id 0, the etcd chooses one.
    pub(super) async fn lease_grant(&self, id: i64, ttl: i64) -> Result<LeaseGrantResponse> {
        let request = LeaseGrantRequest { ttl, id };
        self.write("/etcdserverpb.Lease/LeaseGrant", request)
            .await
            .map_err(plain)
    }

    /// The time to live that a renewed lease has again; 0 when there is no such lease.
    pub(super) async fn lease_renew(&self, id: i64) -> Result<i64> {
        let call = async {
            let mut grpc = Grpc::new(self.channel.clone());
            grpc.ready()
                .await
                .map_err(|e| Status::unavailable(e.to_string()))?;
            let path = PathAndQuery::from_static("/etcdserverpb.Lease/LeaseKeepAlive");
            let requests = futures::stream::iter([LeaseKeepAliveRequest { id }]);
            let requests = tonic::Request::new(requests.chain(futures::stream::pending()));
            let answers = grpc
                .streaming(requests, path, ProstCodec::default())
                .await?;
            let mut answers: Streaming<LeaseKeepAliveResponse> = answers.into_inner();
            let answer = answers.message().await?;
            answer.ok_or_else(|| Status::unavailable("etcd closed the stream"))
        };
        match tokio::time::timeout(self.timeout, call).await {
            Ok(answer) => answer.map(|a| a.ttl).map_err(|s| plain(failure(s))),
            Err(_) => Err(Error::Unavailable("etcd: no answer in time".into())),
        }
    }

    pub(super) async fn lease(&self, id: i64) -> Result<LeaseTimeToLiveResponse> {
        let request = LeaseTimeToLiveRequest { id, keys: true };
        self.read("/etcdserverpb.Lease/LeaseTimeToLive", request)
            .await
            .map_err(plain)
    }

    pub(super) async fn lease_revoke(&self, id: i64) -> Result<()> {
        let request = LeaseRevokeRequest { id };
        let done: Result<HeaderResponse, _> =
            self.write("/etcdserverpb.Lease/LeaseRevoke", request).await;
        match done {
            Err(Failure::Error(Error::LeaseNotFound(_))) => Err(Error::LeaseNotFound(id)),
            other => other.map(|_| ()).map_err(plain),
        }
    }

    pub(super) async fn watch(
        &self,
        requests: impl futures::Stream<Item = WatchRequest> + Send + 'static,
    ) -> Result<Streaming<WatchResponse>> {
        let mut grpc = Grpc::new(self.channel.clone()).max_decoding_message_size(MAX_MESSAGE);
        let call = async {
            grpc.ready()
                .await
                .map_err(|e| Status::unavailable(e.to_string()))?;
            let path = PathAndQuery::from_static("/etcdserverpb.Watch/Watch");
            grpc.streaming(tonic::Request::new(requests), path, ProstCodec::default())
                .await
        };
        match tokio::time::timeout(self.timeout, call).await {
            Ok(answer) => answer
                .map(tonic::Response::into_inner)
                .map_err(|s| plain(failure(s))),
            Err(_) => Err(Error::Unavailable("etcd: no answer in time".into())),
        }
    }

    /// The etcd's revision now.
    pub(super) async fn head(&self) -> Result<u64> {
        let request = RangeRequest {
            key: "\0".into(),
            count_only: true,
            ..Default::default()
        };
        let reply = self.range(request).await.map_err(plain)?;
        Ok(reply.header.map_or(0, |header| rev(header.revision)))
    }

    /// Puts an empty value unless the key is there.
    pub(super) async fn create(&self, key: Bytes) -> Result<()> {
        let absent = Compare {
            target: 2,
            key: key.clone(),
            ..Default::default()
        };
        let put = PutRequest {
            key,
            ..Default::default()
        };
        let success = vec![RequestOp {
            request: Some(Request::Put(put)),
        }];
        let request = TxnRequest {
            compare: vec![absent],
            success,
            failure: Vec::new(),
        };
        let done: Result<TxnResponse, _> = self.read("/etcdserverpb.KV/Txn", request).await;
        done.map(|_| ()).map_err(plain)
    }

    pub(super) async fn delete_range(&self, key: Bytes, range_end: Bytes) -> Result<()> {
        let request = DeleteRangeRequest {
            key,
            range_end,
            prev_kv: false,
        };
        let done: Result<DeleteRangeResponse, _> =
            self.read("/etcdserverpb.KV/DeleteRange", request).await;
        done.map(|_| ()).map_err(plain)
    }

    pub(super) async fn keys(&self, key: Bytes, range_end: Bytes) -> Result<Vec<Bytes>> {
        let request = RangeRequest {
            key,
            range_end,
            keys_only: true,
            ..Default::default()
        };
        let reply = self.range(request).await.map_err(plain)?;
        Ok(reply.kvs.into_iter().map(|kv| kv.key).collect())
    }
}

/// Whether the connection is to blame, not the request. An etcd never says of itself that a call is
/// unknown or canceled.
fn broken(status: &Status) -> bool {
    matches!(
        status.code(),
        Code::Unavailable | Code::Unknown | Code::Cancelled
    )
}

/// etcd's errors as it names them (`api/v3rpc/rpctypes/error.go`).
fn failure(status: Status) -> Failure {
    let text = status.message();
    Failure::Error(match text {
        "etcdserver: mvcc: required revision has been compacted" => return Failure::Compacted,
        "etcdserver: mvcc: required revision is a future revision" => return Failure::Future,
        "etcdserver: mvcc: database space exceeded" => Error::NoSpace("etcd says so".into()),
        "etcdserver: request is too large" => Error::TooLarge("etcd says so".into()),
        "etcdserver: too many requests" => Error::Throttled("etcd says so".into()),
        "etcdserver: requested lease not found" => Error::LeaseNotFound(0),
        "etcdserver: key not found" => Error::KeyNotFound,
        "etcdserver: lease already exists" => Error::LeaseExists(0),
        "etcdserver: key is not provided" => Error::Invalid("key is not provided".into()),
        _ => match status.code() {
            Code::InvalidArgument | Code::OutOfRange | Code::FailedPrecondition => {
                Error::Invalid(text.trim_start_matches("etcdserver: ").into())
            }
            Code::DataLoss => Error::Corrupt(text.into()),
            Code::Unauthenticated | Code::PermissionDenied => {
                Error::Unavailable(format!("etcd refuses these credentials: {text}"))
            }
            _ => Error::Unavailable(format!("etcd: {text}")),
        },
    })
}

/// For calls that do not name a revision.
pub(super) fn plain(failure: Failure) -> Error {
    match failure {
        Failure::Error(error) => error,
        Failure::Compacted => Error::Compacted(0),
        Failure::Future => Error::Future(0),
    }
}

//! The calls of the etcd v3 protocol, with time limits and errors of the contract.

use super::Options;
use super::auth::Login;
use crate::proto::{
    CompactionRequest, Compare, DeleteRangeRequest, DeleteRangeResponse, Empty, HeaderResponse,
    LeaseGrantRequest, LeaseGrantResponse, LeaseKeepAliveRequest, LeaseKeepAliveResponse,
    LeaseRevokeRequest, LeaseTimeToLiveRequest, LeaseTimeToLiveResponse, PutRequest, RangeRequest,
    RangeResponse, Request, RequestOp, StatusResponse, TxnRequest, TxnResponse, WatchRequest,
    WatchResponse, rev,
};
use crate::remote::chain;
use crate::{Error, Result};
use bytes::Bytes;
use futures::StreamExt;
use http::uri::PathAndQuery;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use tonic::client::Grpc;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};
use tonic::{Code, Status, Streaming};
use tonic_prost::ProstCodec;

const PAUSE: Duration = Duration::from_millis(100);
const LATE: &str = "no answer in time";
/// Larger than any page that is asked for.
const MAX_MESSAGE: usize = 1 << 30;

#[derive(Clone)]
pub(super) struct Client {
    channel: Channel,
    timeout: Duration,
    login: Option<Arc<Login>>,
    /// as it is said in errors
    at: Arc<str>,
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
        let login = options.login.as_ref();
        Ok(Self {
            channel,
            timeout: options.timeout,
            login: login.map(|(user, password)| Arc::new(Login::new(user, password))),
            at: options.endpoints.join(", ").into(),
        })
    }

    /// The same connections, for another user.
    pub(super) fn as_user(&self, user: &str, password: &str) -> Self {
        Self {
            login: Some(Arc::new(Login::new(user, password))),
            ..self.clone()
        }
    }

    /// Whether the user and password are right.
    pub(super) async fn log_in(&self) -> Result<()> {
        let end = Instant::now() + self.timeout;
        loop {
            match self.token().await {
                Err(status) if broken(&status) && Instant::now() + PAUSE < end => {
                    tokio::time::sleep(PAUSE).await;
                }
                other => {
                    return other
                        .map(|_| ())
                        .map_err(|status| plain(self.failure(status)));
                }
            }
        }
    }

    async fn token(&self) -> Result<Option<MetadataValue<Ascii>>, Status> {
        match &self.login {
            None => Ok(None),
            Some(login) => Box::pin(login.token(self)).await,
        }
    }

    /// A call as it is, with or without a token.
    pub(super) async fn bare<Q, A>(
        &self,
        path: &'static str,
        request: Q,
        token: Option<MetadataValue<Ascii>>,
    ) -> Result<A, Status>
    where
        Q: prost::Message + 'static,
        A: prost::Message + Default + 'static,
    {
        let mut grpc = Grpc::new(self.channel.clone()).max_decoding_message_size(MAX_MESSAGE);
        grpc.ready()
            .await
            .map_err(|e| Status::unavailable(chain(&e)))?;
        let path = PathAndQuery::from_static(path);
        let answer = grpc
            .unary(with(token, request), path, ProstCodec::default())
            .await?;
        Ok(answer.into_inner())
    }

    /// A call by the client's user, answered before `end`. What the etcd refuses because the token
    /// is too old was not carried out.
    async fn once<Q, A>(&self, path: &'static str, request: Q, end: Instant) -> Result<A, Status>
    where
        Q: prost::Message + Clone + 'static,
        A: prost::Message + Default + 'static,
    {
        let call = async {
            let token = self.token().await?;
            let answer = self.bare(path, request.clone(), token).await;
            match (&answer, &self.login) {
                (Err(status), Some(login)) if login.outlived(status) => {
                    let token = self.token().await?;
                    self.bare(path, request, token).await
                }
                _ => answer,
            }
        };
        match tokio::time::timeout_at(end, call).await {
            Ok(answer) => answer,
            Err(_) => Err(Status::unavailable(LATE)),
        }
    }

    /// A call that may be made twice.
    pub(super) async fn read<Q, A>(&self, path: &'static str, request: Q) -> Result<A, Failure>
    where
        Q: prost::Message + Clone + 'static,
        A: prost::Message + Default + 'static,
    {
        let end = Instant::now() + self.timeout;
        let mut before = None;
        loop {
            match self.once(path, request.clone(), end).await {
                Err(status) if broken(&status) && Instant::now() + PAUSE < end => {
                    before = Some(status);
                    tokio::time::sleep(PAUSE).await;
                }
                // What went wrong earlier says more than that the last attempt took too long.
                Err(status) if status.message() == LATE => {
                    return Err(self.failure(before.unwrap_or(status)));
                }
                other => return other.map_err(|status| self.failure(status)),
            }
        }
    }

    /// A call that is made once: nobody knows whether a broken one was carried out.
    async fn write<Q, A>(&self, path: &'static str, request: Q) -> Result<A, Failure>
    where
        Q: prost::Message + Clone + 'static,
        A: prost::Message + Default + 'static,
    {
        let end = Instant::now() + self.timeout;
        self.once(path, request, end)
            .await
            .map_err(|status| match self.failure(status) {
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
            let requests = futures::stream::iter([LeaseKeepAliveRequest { id }]);
            let requests = requests.chain(futures::stream::pending());
            let path = "/etcdserverpb.Lease/LeaseKeepAlive";
            let mut answers: Streaming<LeaseKeepAliveResponse> =
                self.stream(path, requests).await?;
            let answer = answers.message().await?;
            answer.ok_or_else(|| Status::unavailable("etcd closed the stream"))
        };
        match tokio::time::timeout(self.timeout, call).await {
            Ok(answer) => answer.map(|a| a.ttl).map_err(|s| plain(self.failure(s))),
            Err(_) => Err(self.late()),
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

    /// A call with a stream each way.
    async fn stream<Q, A>(
        &self,
        path: &'static str,
        requests: impl futures::Stream<Item = Q> + Send + 'static,
    ) -> Result<Streaming<A>, Status>
    where
        Q: prost::Message + 'static,
        A: prost::Message + Default + 'static,
    {
        let mut grpc = Grpc::new(self.channel.clone()).max_decoding_message_size(MAX_MESSAGE);
        let token = self.token().await?;
        grpc.ready()
            .await
            .map_err(|e| Status::unavailable(chain(&e)))?;
        let path = PathAndQuery::from_static(path);
        let answers = grpc.streaming(with(token, requests), path, ProstCodec::default());
        Ok(answers.await?.into_inner())
    }

    pub(super) async fn watch(
        &self,
        requests: impl futures::Stream<Item = WatchRequest> + Send + 'static,
    ) -> Result<Streaming<WatchResponse>> {
        let call = self.stream("/etcdserverpb.Watch/Watch", requests);
        match tokio::time::timeout(self.timeout, call).await {
            Ok(answer) => answer.map_err(|s| {
                if let Some(login) = &self.login {
                    // The next attempt logs in anew.
                    login.outlived(&s);
                }
                plain(self.failure(s))
            }),
            Err(_) => Err(self.late()),
        }
    }

    /// The etcd's revision now, asked by a key that may be read.
    pub(super) async fn head(&self, key: &Bytes) -> Result<u64> {
        let request = RangeRequest {
            key: key.clone(),
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

    /// etcd's errors as it names them (`api/v3rpc/rpctypes/error.go`).
    fn failure(&self, status: Status) -> Failure {
        let text = status.message();
        Failure::Error(match text {
            "etcdserver: mvcc: required revision has been compacted" => return Failure::Compacted,
            "etcdserver: mvcc: required revision is a future revision" => return Failure::Future,
            "etcdserver: mvcc: database space exceeded" => Error::NoSpace("etcd says so".into()),
            "etcdserver: authentication failed, invalid user ID or password" => {
                let user = self.login.as_ref().map_or("", |login| login.user.as_str());
                let at = &self.at;
                Error::Unavailable(format!(
                    "etcd at {at} refuses the password of user {user:?}: check the user and password of the datastore"
                ))
            }
            "etcdserver: user name is empty" => Error::Unavailable(format!(
                "etcd at {} wants to know who asks: give the datastore a user and password, or a client certificate",
                self.at
            )),
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
                Code::Unauthenticated | Code::PermissionDenied => Error::Unavailable(format!(
                    "etcd at {} refuses these credentials: {text}",
                    self.at
                )),
                _ => self.unreachable(&status),
            },
        })
    }

    pub(super) fn late(&self) -> Error {
        Error::Unavailable(format!(
            "etcd at {} gave no answer in time: check the address, that it runs and that most of its members do",
            self.at
        ))
    }

    /// Why no answer came, in one sentence with what to check.
    fn unreachable(&self, status: &Status) -> Error {
        if status.message() == LATE {
            return self.late();
        }
        let (at, why) = (&self.at, chain(status));
        let why = why.replace(
            "code: 'The service is currently unavailable', message: ",
            "",
        );
        // A server that does not like a client's certificate often just closes the connection.
        let closed = at.starts_with("https") && (why.contains("closed") || why.contains("reset"));
        if closed
            || why.contains("certificate")
            || why.contains("fatal alert")
            || why.contains("corrupt message")
        {
            return Error::Unavailable(format!(
                "no trusted TLS connection to etcd at {at} ({why}): check the certificate authority, the server's name and the client certificate"
            ));
        }
        if why.contains("connect") || why.contains("transport error") || why.contains("dns") {
            return Error::Unavailable(format!(
                "etcd at {at} cannot be reached ({why}): check the address and that it runs"
            ));
        }
        Error::Unavailable(format!("etcd at {at}: {why}"))
    }
}

/// A request with a token.
fn with<T>(token: Option<MetadataValue<Ascii>>, request: T) -> tonic::Request<T> {
    let mut request = tonic::Request::new(request);
    if let Some(token) = token {
        request.metadata_mut().insert("token", token);
    }
    request
}

/// Whether the connection is to blame, not the request. An etcd never says of itself that a call is
/// unknown or canceled.
fn broken(status: &Status) -> bool {
    matches!(
        status.code(),
        Code::Unavailable | Code::Unknown | Code::Cancelled
    )
}

/// For calls that do not name a revision.
pub(super) fn plain(failure: Failure) -> Error {
    match failure {
        Failure::Error(error) => error,
        Failure::Compacted => Error::Compacted(0),
        Failure::Future => Error::Future(0),
    }
}

//! A client that says exactly what it is told to.

use super::proto::{WatchRequest, WatchResponse};
use futures::StreamExt;
use futures::channel::mpsc;
use http::uri::PathAndQuery;
use std::time::Duration;
use tonic::client::Grpc;
use tonic::transport::{Channel, ClientTlsConfig, Endpoint};
use tonic::{Code, Status, Streaming};
use tonic_prost::ProstCodec;

#[derive(Clone)]
pub(super) struct Raw(Channel);

impl Raw {
    pub(super) fn connect(url: &str) -> Self {
        let endpoint = Endpoint::from_shared(url.to_owned()).expect("url");
        Self(endpoint.connect_lazy())
    }

    pub(super) fn connect_tls(url: &str, tls: ClientTlsConfig) -> Self {
        let endpoint = Endpoint::from_shared(url.to_owned()).expect("url");
        Self(endpoint.tls_config(tls).expect("tls").connect_lazy())
    }

    pub(super) async fn call<Q, A>(&self, method: &str, request: Q) -> Result<A, Status>
    where
        Q: prost::Message + Clone + 'static,
        A: prost::Message + Default + 'static,
    {
        let path = format!("/etcdserverpb.{method}");
        let path: PathAndQuery = path.parse().expect("path");
        let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
        loop {
            let mut grpc = Grpc::new(self.0.clone()).max_decoding_message_size(1 << 30);
            grpc.ready().await.map_err(|e| Status::unknown(said(&e)))?;
            let codec = ProstCodec::default();
            let request = tonic::Request::new(request.clone());
            match grpc.unary(request, path.clone(), codec).await {
                Ok(answer) => return Ok(answer.into_inner()),
                // A server that was just started.
                Err(status)
                    if status.code() == Code::Unavailable
                        && said(&status).contains("refused")
                        && tokio::time::Instant::now() < deadline =>
                {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
                Err(status) => return Err(status),
            }
        }
    }

    /// All parts of an answer that comes as a stream.
    pub(super) async fn stream<Q, A>(&self, method: &str, request: Q) -> Result<Vec<A>, Status>
    where
        Q: prost::Message + 'static,
        A: prost::Message + Default + 'static,
    {
        let mut parts = self.parts(method, request).await?;
        let mut all = Vec::new();
        while let Some(part) = parts.message().await? {
            all.push(part);
        }
        Ok(all)
    }

    /// The same, for a test that reads it part by part.
    pub(super) async fn parts<Q, A>(&self, method: &str, request: Q) -> Result<Streaming<A>, Status>
    where
        Q: prost::Message + 'static,
        A: prost::Message + Default + 'static,
    {
        let path = format!("/etcdserverpb.{method}");
        let path: PathAndQuery = path.parse().expect("path");
        let mut grpc = Grpc::new(self.0.clone()).max_decoding_message_size(1 << 30);
        grpc.ready().await.map_err(|e| Status::unknown(said(&e)))?;
        let request = tonic::Request::new(request);
        let codec = ProstCodec::default();
        let answer = grpc.server_streaming(request, path, codec).await?;
        Ok(answer.into_inner())
    }

    /// A stream each way.
    pub(super) async fn both<Q, A>(
        &self,
        method: &str,
        requests: impl futures::Stream<Item = Q> + Send + 'static,
    ) -> Result<Streaming<A>, Status>
    where
        Q: prost::Message + 'static,
        A: prost::Message + Default + 'static,
    {
        let path = format!("/etcdserverpb.{method}");
        let path: PathAndQuery = path.parse().expect("path");
        let mut grpc = Grpc::new(self.0.clone()).max_decoding_message_size(1 << 30);
        grpc.ready().await.map_err(|e| Status::unknown(said(&e)))?;
        let codec = ProstCodec::default();
        let request = tonic::Request::new(requests);
        Ok(grpc.streaming(request, path, codec).await?.into_inner())
    }

    /// A stream of watches with its first request: without one, an etcd does not even begin to
    /// answer.
    pub(super) async fn watch(&self, first: WatchRequest) -> Result<WatchStream, Status> {
        let (requests, feed) = mpsc::unbounded();
        requests.unbounded_send(first).expect("open");
        let answers = self.both("Watch/Watch", feed).await?;
        Ok(WatchStream { requests, answers })
    }
}

pub(super) struct WatchStream {
    requests: mpsc::UnboundedSender<WatchRequest>,
    answers: Streaming<WatchResponse>,
}

impl WatchStream {
    pub(super) fn send(&self, request: WatchRequest) {
        self.requests.unbounded_send(request).expect("open");
    }

    pub(super) async fn next(&mut self) -> Result<WatchResponse, Status> {
        let next = tokio::time::timeout(Duration::from_secs(10), self.answers.next()).await;
        let next = next.map_err(|_| Status::deadline_exceeded("no answer in 10 s"))?;
        next.unwrap_or_else(|| Err(Status::cancelled("the stream ended")))
    }
}

/// An error with its causes.
pub(super) fn said(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

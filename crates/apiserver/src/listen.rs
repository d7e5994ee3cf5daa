//! The TLS listener: the server name of the handshake decides, once, which control plane a
//! connection belongs to; nothing inside a request can change that.

use crate::authn::AnyClientCertificate;
use crate::{Body, PeerAddress, PeerCertificates, Visit, codec, respond};
use async_trait::async_trait;
use freehold_model::ApiError;
use http::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
const HEADER_TIMEOUT: Duration = Duration::from_secs(30);
const MAX_CONNECTIONS: usize = 4_096;
const MAX_HEADER_BYTES: usize = 64 * 1024;
const MAX_HEADERS: usize = 128;
const MAX_STREAMS: u32 = 250;
/// Sessions that clients may resume, per control plane (rustls makes room for 256 at once: 24 KiB).
const SESSIONS: usize = 32;
const SMALL_BODY: u64 = 64 * 1024;
const DRAIN: Duration = Duration::from_secs(5);

/// Who answers on a listener.
#[async_trait]
pub trait Backends: Send + Sync + 'static {
    /// The control plane of a server name (`None`: the client sent none, which means the host).
    /// `None` refuses the handshake.
    async fn backend(&self, server_name: Option<&str>) -> Option<Arc<dyn Backend>>;
}

/// One control plane as a connection sees it. A connection keeps the value it got in its
/// handshake, so the value must stand for that very control plane (by uid, not by name).
#[async_trait]
pub trait Backend: Send + Sync + 'static {
    /// See [`server_config`].
    fn tls(&self) -> Arc<rustls::ServerConfig>;

    /// The running control plane, woken when asleep; asked for every request.
    ///
    /// # Errors
    /// What to answer when there is none: 503 when it is kept asleep.
    async fn control_plane(&self) -> Result<Visit, ApiError>;
}

/// The TLS side of one control plane: its serving certificate, and its client CA as a hint to
/// clients. Client certificates are asked for and their keys proved here; whether a certificate
/// is this control plane's is decided for each request by `authn`, so that a foreign one gets 401.
///
/// # Errors
/// A sentence saying which PEM is not usable.
pub fn server_config(
    certificates_pem: &str,
    key_pem: &str,
    client_ca_pem: &str,
) -> Result<Arc<rustls::ServerConfig>, String> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let chain: Vec<CertificateDer<'static>> =
        CertificateDer::pem_slice_iter(certificates_pem.as_bytes())
            .collect::<Result<_, _>>()
            .map_err(|e| format!("serving certificate: {e}"))?;
    let key = PrivateKeyDer::from_pem_slice(key_pem.as_bytes())
        .map_err(|e| format!("serving key: {e}"))?;
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|e| e.to_string())?
        .with_client_cert_verifier(Arc::new(AnyClientCertificate::new(client_ca_pem)))
        .with_single_cert(chain, key)
        .map_err(|e| format!("serving certificate and key: {e}"))?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    config.session_storage = rustls::server::ServerSessionMemoryCache::new(SESSIONS);
    Ok(Arc::new(config))
}

/// Accepts connections until `shutdown`, then lets requests finish for a few seconds.
pub async fn serve(
    listener: TcpListener,
    backends: Arc<dyn Backends>,
    shutdown: CancellationToken,
) {
    let permits = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let tasks = TaskTracker::new();
    loop {
        let permit = tokio::select! {
            () = shutdown.cancelled() => break,
            p = permits.clone().acquire_owned() => p,
        };
        let accepted = tokio::select! {
            () = shutdown.cancelled() => break,
            a = listener.accept() => a,
        };
        match accepted {
            Ok((stream, peer)) => {
                let (backends, shutdown) = (backends.clone(), shutdown.clone());
                tasks.spawn(async move {
                    connection(stream, peer, backends, shutdown).await;
                    drop(permit);
                });
            }
            Err(e) => {
                // Out of file descriptors, most likely: give connections time to end.
                tracing::warn!(error = %e, "accepting a connection failed");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
    // A client that connects from now on is refused at once instead of waiting in the backlog.
    drop(listener);
    tasks.close();
    if tokio::time::timeout(DRAIN, tasks.wait()).await.is_err() {
        tracing::warn!("connections were still open at the end of the drain time");
    }
}

async fn connection(
    stream: TcpStream,
    peer: SocketAddr,
    backends: Arc<dyn Backends>,
    shutdown: CancellationToken,
) {
    if let Err(e) = stream.set_nodelay(true) {
        tracing::debug!(error = %e, "TCP_NODELAY");
    }
    let handshake = tokio::time::timeout(HANDSHAKE_TIMEOUT, handshake(stream, &*backends));
    let (tls, backend) = tokio::select! {
        () = shutdown.cancelled() => return,
        shaken = handshake => match shaken {
            Ok(Ok(pair)) => pair,
            Ok(Err(e)) => {
                tracing::debug!(%peer, error = %e, "TLS handshake failed");
                return;
            }
            Err(_) => return,
        },
    };
    let certificates = tls.get_ref().1.peer_certificates().map(|chain| {
        PeerCertificates(Arc::new(
            chain.iter().map(|c| c.clone().into_owned()).collect(),
        ))
    });
    let service = hyper::service::service_fn(move |request: Request<hyper::body::Incoming>| {
        let (backend, certificates) = (backend.clone(), certificates.clone());
        async move { Ok::<_, Infallible>(answer(request, peer, backend, certificates).await) }
    });
    let mut builder = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .max_buf_size(MAX_HEADER_BYTES.max(8192))
        .max_headers(MAX_HEADERS);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(Duration::from_secs(30))
        .keep_alive_timeout(Duration::from_secs(20))
        .max_concurrent_streams(MAX_STREAMS)
        .max_header_list_size(MAX_HEADER_BYTES as u32);
    let serving = builder.serve_connection_with_upgrades(TokioIo::new(tls), service);
    let mut serving = std::pin::pin!(serving);
    let ended = tokio::select! {
        r = serving.as_mut() => r,
        () = shutdown.cancelled() => {
            serving.as_mut().graceful_shutdown();
            serving.await
        }
    };
    if let Err(e) = ended {
        tracing::debug!(%peer, error = %e, "connection ended");
    }
}

type Tls = tokio_rustls::server::TlsStream<TcpStream>;

async fn handshake(
    stream: TcpStream,
    backends: &dyn Backends,
) -> std::io::Result<(Tls, Arc<dyn Backend>)> {
    let acceptor =
        tokio_rustls::LazyConfigAcceptor::new(rustls::server::Acceptor::default(), stream);
    let start = acceptor.await?;
    let name = start.client_hello().server_name().map(str::to_owned);
    let Some(backend) = backends.backend(name.as_deref()).await else {
        return Err(std::io::Error::other("unknown server name"));
    };
    let tls = start.into_stream(backend.tls()).await?;
    Ok((tls, backend))
}

/// Reads a small body before anything is decided: an HTTP/1 connection whose body nobody read has
/// to be closed, and an early refusal would cost the client its connection.
async fn small_body_first(
    request: Request<hyper::body::Incoming>,
) -> Result<Request<Body>, ApiError> {
    let size = http_body::Body::size_hint(request.body()).exact();
    let request = request.map(Body::wrap);
    if !size.is_some_and(|n| n > 0 && n <= SMALL_BODY) {
        return Ok(request);
    }
    let (parts, body) = request.into_parts();
    let read = tokio::time::timeout(HEADER_TIMEOUT, codec::read(body)).await;
    let bytes =
        read.map_err(|_| ApiError::timeout("the request body did not arrive in time"))??;
    Ok(Request::from_parts(parts, Body::from(bytes)))
}

async fn answer(
    request: Request<hyper::body::Incoming>,
    peer: SocketAddr,
    backend: Arc<dyn Backend>,
    certificates: Option<PeerCertificates>,
) -> Response<Body> {
    let control_plane = match backend.control_plane().await {
        Ok(cp) => cp,
        Err(e) => return respond::error(&e),
    };
    let mut request = match small_body_first(request).await {
        Ok(request) => request,
        Err(e) => return respond::error(&e),
    };
    request.extensions_mut().insert(PeerAddress(peer));
    if let Some(c) = certificates {
        request.extensions_mut().insert(c);
    }
    control_plane.handle(request).await
}

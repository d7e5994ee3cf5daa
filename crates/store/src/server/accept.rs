//! Connections: TLS, who they are, and their end.

use super::budget::{Bounds, Budget, Connected, too_many};
use super::guard::Watchdog;
use super::heard::Heard;
use super::together::{Started, Together};
use super::{Peer, Tenants};
use crate::fence::Fenced;
use crate::{Error, Result, Store};
use hyper_util::rt::{TokioIo, TokioTimer};
use parking_lot::RwLock;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use std::convert::Infallible;
use std::io;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tonic::Status;

/// Connections of all tenants together.
const MAX_CONNECTIONS: usize = 16_384;
const MAX_HEADERS: u32 = 16 * 1024;
/// How long requests may go on when the endpoint is told to stop.
const DRAIN: Duration = Duration::from_secs(3);

/// A TLS configuration that takes only clients with a certificate of `client_ca`.
///
/// # Errors
/// Says which of the PEM texts cannot be used.
pub fn tls_config(
    certificate: &[u8],
    key: &[u8],
    client_ca: &[u8],
) -> Result<Arc<rustls::ServerConfig>> {
    let wrong = |what: &str, why: &dyn std::fmt::Display| Error::Invalid(format!("{what}: {why}"));
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut roots = rustls::RootCertStore::empty();
    for ca in CertificateDer::pem_slice_iter(client_ca) {
        let ca = ca.map_err(|e| wrong("the client CA", &e))?;
        roots.add(ca).map_err(|e| wrong("the client CA", &e))?;
    }
    let verifier = rustls::server::WebPkiClientVerifier::builder_with_provider(
        Arc::new(roots),
        provider.clone(),
    );
    let verifier = verifier.build().map_err(|e| wrong("the client CA", &e))?;
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(certificate).collect();
    let chain = chain.map_err(|e| wrong("the serving certificate", &e))?;
    let key = PrivateKeyDer::from_pem_slice(key).map_err(|e| wrong("the serving key", &e))?;
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|e| wrong("TLS", &e))?
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, key)
        .map_err(|e| wrong("the serving certificate and its key", &e))?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

enum Identity {
    /// everybody is the same
    One(Arc<dyn Store>, OnceLock<Arc<Budget>>),
    Certificates(tokio_rustls::TlsAcceptor, Arc<Tenants>),
}

/// Who may come in from now on, and how those that are in are told to go.
struct Door {
    identity: Arc<Identity>,
    closed: CancellationToken,
}

/// Changes who may come in, while the endpoint serves.
#[derive(Clone)]
pub struct Doors(Arc<RwLock<Door>>);

impl Doors {
    fn new(identity: Identity) -> Self {
        Self(Arc::new(RwLock::new(Door {
            identity: Arc::new(identity),
            closed: CancellationToken::new(),
        })))
    }

    fn now(&self) -> (Arc<Identity>, CancellationToken) {
        let door = self.0.read();
        (door.identity.clone(), door.closed.clone())
    }

    /// What new connections are asked from now on. With `all`, those that there are end within
    /// seconds: what they were let in for may not hold any more.
    pub fn change(&self, config: Arc<rustls::ServerConfig>, tenants: Arc<Tenants>, all: bool) {
        let mut door = self.0.write();
        door.identity = Arc::new(Identity::Certificates(config.into(), tenants));
        if all {
            std::mem::take(&mut door.closed).cancel();
        }
    }
}

/// An etcd endpoint before it is started.
pub struct Endpoint {
    doors: Doors,
    bounds: Bounds,
}

impl Endpoint {
    /// Plain text: whoever connects gets this keyspace. For loopback only.
    pub fn one_keyspace(store: Arc<dyn Store>) -> Self {
        Self::new(Identity::One(Fenced::new(store), OnceLock::new()))
    }

    /// TLS: the client's certificate says which keyspace.
    pub fn by_certificate(config: Arc<rustls::ServerConfig>, tenants: Arc<Tenants>) -> Self {
        Self::new(Identity::Certificates(config.into(), tenants))
    }

    fn new(identity: Identity) -> Self {
        Self {
            doors: Doors::new(identity),
            bounds: Bounds::default(),
        }
    }

    /// What changes who may come in.
    #[must_use]
    pub fn doors(&self) -> Doors {
        self.doors.clone()
    }

    /// How long an answer may wait for a client that does not read, before its connection is cut.
    #[must_use]
    pub fn stalled_after(mut self, bound: Duration) -> Self {
        self.bounds.stalled = bound;
        self
    }

    /// What each tenant may have at once. Tenants that are known already keep what they have.
    #[must_use]
    pub fn bounds(mut self, bounds: Bounds) -> Self {
        self.bounds = bounds;
        self
    }

    /// Serves until `stop` is ready, then lets requests finish for a moment.
    ///
    /// # Errors
    /// When the listener fails for good.
    pub async fn serve(
        self,
        listener: TcpListener,
        stop: impl Future<Output = ()>,
    ) -> io::Result<()> {
        let mut stop = std::pin::pin!(stop);
        let stopping = CancellationToken::new();
        let room = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        // Connections end with this set, which ends with the future.
        let mut connections = tokio::task::JoinSet::new();
        loop {
            let stream = tokio::select! {
                () = &mut stop => break,
                Some(_) = connections.join_next() => continue,
                accepted = listener.accept() => match accepted {
                    Ok((stream, _)) => stream,
                    Err(error) => {
                        // Out of file descriptors, most likely: give connections time to end.
                        tracing::warn!(%error, "accepting a connection failed");
                        tokio::time::sleep(Duration::from_millis(50)).await;
                        continue;
                    }
                },
            };
            let Ok(permit) = room.clone().try_acquire_owned() else {
                tracing::warn!("no room for another connection");
                continue;
            };
            let ((identity, closed), stopping) = (self.doors.now(), stopping.clone());
            let bounds = self.bounds;
            connections.spawn(async move {
                let talking = connection(stream, &identity, bounds, stopping, closed.clone());
                let late = async {
                    closed.cancelled().await;
                    tokio::time::sleep(DRAIN).await;
                };
                tokio::select! {
                    () = talking => {}
                    () = late => {}
                }
                drop(permit);
            });
        }
        drop(listener);
        stopping.cancel();
        let end = async { while connections.join_next().await.is_some() {} };
        // What is still open then are watches; their clients go on elsewhere.
        drop(tokio::time::timeout(DRAIN, end).await);
        Ok(())
    }
}

async fn connection(
    stream: TcpStream,
    identity: &Identity,
    bounds: Bounds,
    stopping: CancellationToken,
    closed: CancellationToken,
) {
    drop(stream.set_nodelay(true));
    match identity {
        Identity::One(store, budget) => {
            let budget = budget.get_or_init(|| Arc::new(Budget::new(bounds)));
            let keyspace = Ok((store.clone(), budget.clone()));
            talk(stream, keyspace, "http", bounds, [stopping, closed]).await;
        }
        Identity::Certificates(acceptor, tenants) => {
            let shaken = tokio::time::timeout(bounds.handshake, acceptor.accept(stream)).await;
            let stream = match shaken {
                Ok(Ok(stream)) => stream,
                Ok(Err(error)) => {
                    tracing::debug!(%error, "an etcd client's handshake failed");
                    return;
                }
                Err(_) => return,
            };
            let chain = stream.get_ref().1.peer_certificates();
            let leaf = chain.and_then(|chain| chain.first());
            let keyspace = tenants.find(leaf.map(AsRef::as_ref), bounds).await;
            if let Err(why) = &keyspace {
                tracing::info!(why, "an etcd client is refused");
            }
            let keyspace = keyspace.map_err(Status::permission_denied);
            talk(stream, keyspace, "https", bounds, [stopping, closed]).await;
        }
    }
}

type Keyspace = Result<(Arc<dyn Store>, Arc<Budget>), Status>;

/// Counts a connection to its tenant; one too many learns that from every answer.
fn count(keyspace: Keyspace) -> (Keyspace, Option<Connected>) {
    let connected = keyspace.as_ref().ok().map(|(_, budget)| budget.connect());
    match connected {
        Some(None) => (Err(too_many()), None),
        Some(connected) => (keyspace, connected),
        None => (keyspace, None),
    }
}

async fn talk(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    keyspace: Keyspace,
    scheme: &'static str,
    bounds: Bounds,
    [stopping, closed]: [CancellationToken; 2],
) {
    let (keyspace, _connected) = count(keyspace);
    let watchdog = Arc::new(Watchdog::default());
    let peer = Peer {
        keyspace,
        scheme,
        watchdog: watchdog.clone(),
    };
    let service = hyper::service::service_fn(move |request| {
        let peer = peer.clone();
        async move { Ok::<_, Infallible>(peer.answer(request).await) }
    });
    let started = Started::default();
    let mut builder = hyper_util::server::conn::auto::Builder::new(started.clone());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(bounds.handshake)
        .max_buf_size(MAX_HEADERS as usize);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(Duration::from_secs(30))
        .keep_alive_timeout(Duration::from_secs(20))
        .max_header_list_size(MAX_HEADERS)
        .max_concurrent_streams(bounds.streams)
        .initial_stream_window_size(1 << 20)
        .initial_connection_window_size(4 << 20);
    let (stream, silent) = Heard::new(stream, bounds.handshake);
    let serving = builder.serve_connection(TokioIo::new(stream), service);
    let serving = std::pin::pin!(serving);
    let mut serving = Together::new(serving, started);
    let served = tokio::select! {
        served = &mut serving => served,
        () = silent => return,
        () = watchdog.bites(bounds.stalled) => {
            tracing::info!("an etcd client stopped reading and is cut off");
            return;
        }
        () = stopping.cancelled() => {
            serving.connection().graceful_shutdown();
            serving.await
        }
        () = closed.cancelled() => {
            serving.connection().graceful_shutdown();
            serving.await
        }
    };
    if let Err(error) = served {
        tracing::debug!(%error, "an etcd client's connection broke");
    }
}

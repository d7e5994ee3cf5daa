//! One control plane: what it holds, how it starts and stops, how requests enter.

use crate::budget::Budget;
use crate::cache::Cache;
use crate::metrics::Requests;
use crate::pipeline::{self, Origin};
use crate::registry::Registry;
use crate::{Body, BoxError, Config, Identity, authn, authz, bootstrap, hooks};
use bytes::Bytes;
use freehold_model::ApiError;
use freehold_policy::User;
use http::{Request, Response};
use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};
use tracing::Instrument as _;

/// Why a control plane could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("the datastore could not be read")]
    Store(#[from] freehold_store::Error),
    #[error("the configuration is wrong: {0}")]
    Config(String),
    #[error("the bootstrap objects could not be written: {0}")]
    Bootstrap(ApiError),
}

/// How busy a control plane is, for whoever decides about its sleep.
#[derive(Clone, Copy, Debug)]
pub struct Activity {
    /// requests from outside that are being answered, watches included
    pub requests: usize,
    /// how long ago the last request from outside arrived or ended
    pub idle: Duration,
    pub objects: usize,
    /// bytes of cached objects and events
    pub bytes: usize,
}

pub struct ControlPlane {
    pub(crate) config: Config,
    pub(crate) cache: Arc<Cache>,
    pub(crate) authn: authn::Authn,
    pub(crate) authz: authz::Authz,
    pub(crate) registry: Arc<Registry>,
    pub(crate) budget: Budget,
    pub(crate) requests: Requests,
    /// what else is told with this control plane's metrics
    pub(crate) more_metrics: OnceLock<Box<dyn Fn() -> String + Send + Sync>>,
    /// held by writers of kinds that allocate addresses, ports or names
    pub(crate) allocation: tokio::sync::Mutex<()>,
    /// the store lease of new events, and since when it is used
    pub(crate) event_lease: tokio::sync::Mutex<(i64, i64)>,
    outside: Arc<Visits>,
}

/// Requests from outside.
struct Visits {
    now: AtomicUsize,
    started: Instant,
    /// milliseconds since `started`
    last: AtomicU64,
}

impl Visits {
    fn touch(&self) {
        let at = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.last.fetch_max(at, Ordering::Relaxed);
    }
}

/// Held while a request from outside is in flight.
pub(crate) struct Outside(Arc<Visits>);

impl Drop for Outside {
    fn drop(&mut self) {
        self.0.touch();
        self.0.now.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A control plane that somebody is about to ask: while this lives it counts as busy, so its owner
/// does not put it to sleep between being looked up and being asked.
pub struct Visit {
    control_plane: Arc<ControlPlane>,
    _counted: Outside,
}

impl std::ops::Deref for Visit {
    type Target = Arc<ControlPlane>;

    fn deref(&self) -> &Self::Target {
        &self.control_plane
    }
}

impl ControlPlane {
    /// Opens the cache, loads CRDs and writes the bootstrap objects that are missing.
    ///
    /// # Errors
    /// See [`StartError`].
    pub async fn start(config: Config) -> Result<Arc<Self>, StartError> {
        let span = tracing::info_span!("control_plane", name = %config.name);
        Self::start_inside(config).instrument(span).await
    }

    async fn start_inside(config: Config) -> Result<Arc<Self>, StartError> {
        let cache = Cache::open(config.store.clone(), config.limits).await?;
        let authn =
            authn::Authn::new(&config, cache.clone()).map_err(|e| StartError::Config(e.message))?;
        let authz = authz::Authz::new(&cache);
        let registry = Arc::new(Registry::new(config.catalogue.clone()));
        registry.follow(&cache);
        let budget = Budget::new(config.limits);
        let cp = Arc::new(Self {
            config,
            cache,
            authn,
            authz,
            registry,
            budget,
            requests: Requests::default(),
            more_metrics: OnceLock::new(),
            allocation: tokio::sync::Mutex::default(),
            event_lease: tokio::sync::Mutex::default(),
            outside: Arc::new(Visits {
                now: AtomicUsize::new(0),
                started: Instant::now(),
                last: AtomicU64::new(0),
            }),
        });
        bootstrap::write(&cp).await.map_err(StartError::Bootstrap)?;
        hooks::crds::resume(&cp);
        tokio::spawn(hooks::crds::tell_broken(Arc::downgrade(&cp)).in_current_span());
        tokio::spawn(crate::compaction::run(Arc::downgrade(&cp)).in_current_span());
        Ok(cp)
    }

    /// Answers one request. Identity comes from its extensions: [`Identity`] from an in-process
    /// client, else [`crate::PeerCertificates`] and the `Authorization` header.
    pub fn handle(
        self: &Arc<Self>,
        request: Request<Body>,
    ) -> impl Future<Output = Response<Body>> + Send + use<> {
        pipeline::handle(self.clone(), request)
    }

    /// Counts a request from outside until the value is dropped.
    pub(crate) fn outside(&self, origin: Origin) -> Option<Outside> {
        (origin != Origin::Inside).then(|| self.count())
    }

    fn count(&self) -> Outside {
        self.outside.now.fetch_add(1, Ordering::Relaxed);
        self.outside.touch();
        Outside(self.outside.clone())
    }

    /// Counts as a request from outside until the value is dropped.
    #[must_use]
    pub fn visit(self: &Arc<Self>) -> Visit {
        Visit {
            _counted: self.count(),
            control_plane: self.clone(),
        }
    }

    /// A tower service that acts as `user`, for in-process clients: `kube::Client::new(service, "default")`.
    #[must_use]
    pub fn service(self: &Arc<Self>, user: User) -> Service {
        Service {
            control_plane: self.clone(),
            user: Arc::new(user),
        }
    }

    /// Drops the cache and ends every watch; requests answer 503 from now on.
    pub fn shut_down(&self) {
        self.cache.close();
    }

    /// Whether it answers nothing but 503 any more: it was shut down, or its datastore went away
    /// under it. Whoever owns it starts a new one.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.cache.closed().is_cancelled()
    }

    /// Returns once [`Self::is_closed`].
    pub async fn closed(&self) {
        self.cache.closed().cancelled().await;
    }

    /// The name of the configuration: `host` or `<namespace>/<name>`.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.config.name
    }

    #[must_use]
    pub fn activity(&self) -> Activity {
        let (objects, bytes) = self.cache.size();
        let last = Duration::from_millis(self.outside.last.load(Ordering::Relaxed));
        Activity {
            requests: self.outside.now.load(Ordering::Relaxed),
            idle: self.outside.started.elapsed().saturating_sub(last),
            objects,
            bytes,
        }
    }

    /// Tells more with this control plane's metrics, in Prometheus' text format: what the node
    /// as a whole does, where this is the host's. Only the first call counts.
    pub fn also_tell(&self, text: impl Fn() -> String + Send + Sync + 'static) {
        let _ = self.more_metrics.set(Box::new(text));
    }
}

/// See [`ControlPlane::service`].
#[derive(Clone)]
pub struct Service {
    control_plane: Arc<ControlPlane>,
    user: Arc<User>,
}

impl<B> tower::Service<Request<B>> for Service
where
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let mut request = request.map(Body::wrap);
        request
            .extensions_mut()
            .insert(Identity((*self.user).clone()));
        let control_plane = self.control_plane.clone();
        Box::pin(async move { Ok(control_plane.handle(request).await) })
    }
}

//! A host on this machine: its own control plane, the operator, and the pool that serves the
//! tenants' control planes, wired together and started in order.

pub(crate) mod address;
mod backends;
pub(crate) mod data_dir;
mod own;

pub(crate) use own::{ISSUER, SERVICE_CIDR, token_signer};

use crate::guard::Tasks;
use crate::pool::{Pool, Surroundings};
use address::Bound;
use anyhow::{Context as _, Result};
use backends::Frontdoor;
use data_dir::{DataDir, Remembered};
use freehold_apiserver::ControlPlane;
use freehold_model::Catalogue;
use freehold_model::catalogue::{NEWEST_MINOR, OLDEST_MINOR};
use freehold_policy::User;
use freehold_store::Keyspaces;
use freehold_store::embedded::{Embedded, Options as StoreOptions};
use freehold_tenancy::OperatorConfig;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

/// What a host is started with.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    pub(crate) data_dir: PathBuf,
    pub(crate) listen: Option<SocketAddr>,
    pub(crate) advertise: Vec<String>,
    /// control planes that nobody used for so long fall asleep
    pub(crate) sleep_after: Duration,
}

/// A running host. Dropping it without [`Host::stop`] ends it as a crash would: nothing is lost.
pub(crate) struct Host {
    pub(crate) server: String,
    pub(crate) kubeconfig: PathBuf,
    pub(crate) ready_after: Duration,
    own: Arc<ControlPlane>,
    pool: Arc<Pool>,
    store: Arc<Embedded>,
    shutdown: CancellationToken,
    tasks: Tasks,
    /// held to the end: the directory is ours until every task has ended
    _data: DataDir,
}

/// How long tasks may take to end once they are told to.
const STOP_LIMIT: Duration = Duration::from_secs(10);

impl Host {
    /// Starts everything; returns when the host answers and serves our objects.
    pub(crate) async fn start(options: &Options) -> Result<Self> {
        let began = Instant::now();
        raise_file_limit();
        let mut data = DataDir::take(&options.data_dir)?;
        let before = data.remembered()?;
        let bound = address::bind(options.listen, &options.advertise, &before).await?;
        data.remember(&Remembered {
            listen: Some(bound.listen),
            advertise: bound.advertise.clone(),
        })?;

        let credentials = own::credentials(&data, &bound)?;
        let store = open_store(&data.file("store")).await?;
        let keyspaces: Arc<dyn Keyspaces> = store.clone();
        let measured = Arc::downgrade(&store);
        let own = own::start(&credentials, keyspaces.as_ref(), &bound.server()).await?;
        let client = in_process(&own);

        let shutdown = CancellationToken::new();
        let pool = Arc::new(Pool::new(surroundings(
            &client, keyspaces, &bound, options, &shutdown,
        )));
        // Of every keyspace: only the host's own control plane tells it, to who may read it there.
        let others = Arc::downgrade(&pool);
        own.also_tell(move || {
            let metrics = measured.upgrade().map(|store| store.metrics());
            let mut metrics = metrics.unwrap_or_default();
            let others = others.upgrade().map(|pool| pool.metrics());
            metrics.awake.extend(others.unwrap_or_default());
            metrics.text()
        });
        let door = Arc::new(Frontdoor::new(
            own::backend(&credentials, own.clone())?,
            pool.clone(),
        ));
        let (server, names, listen) = (bound.server(), bound.names(), bound.listen);
        let mut tasks = Tasks::default();
        tasks.spawn(
            "listener",
            freehold_apiserver::listen::serve(bound.listener, door, shutdown.clone()),
        );

        let operator = operator_config(names);
        freehold_tenancy::prepare(&client, &operator)
            .await
            .context("the host does not serve Freehold's objects")?;
        own::run_controllers(&mut tasks, &client, &credentials, &server, &shutdown);
        run_operator(&mut tasks, client.clone(), operator, shutdown.clone());
        tasks.spawn("pool", pool.clone().run());
        tasks.spawn(
            "jobs",
            crate::cli::control::serve(own_store(&data, &store), shutdown.clone()),
        );
        own::keep_kubeconfig_fresh(&mut tasks, &data, &credentials, &server, shutdown.clone())?;

        data.say(&server)?;
        tracing::info!(address = %listen, server, "the host is ready");
        Ok(Self {
            server,
            kubeconfig: data.file(own::KUBECONFIG),
            ready_after: began.elapsed(),
            own,
            pool,
            store,
            shutdown,
            tasks,
            _data: data,
        })
    }

    /// Returns when the host can serve no more by itself: its own datastore went away under it.
    pub(crate) async fn broken(&self) {
        self.own.closed().await;
    }

    /// Ends everything in order: no new requests, running ones finish, controllers end, files close.
    pub(crate) async fn stop(self) {
        self.shutdown.cancel();
        self.pool.stop().await;
        self.own.shut_down();
        let left = self.tasks.end_within(STOP_LIMIT).await;
        if !left.is_empty() {
            tracing::warn!(
                "did not end within {} s and were dropped, nothing acknowledged is lost: {}",
                STOP_LIMIT.as_secs(),
                left.join(", ")
            );
        }
        self.store.close();
    }
}

/// What jobs are done on. Control planes start anew when their keyspace was replaced.
fn own_store(data: &DataDir, store: &Arc<Embedded>) -> crate::cli::control::Own {
    crate::cli::control::Own {
        dir: data.file("store"),
        engine: store.clone(),
        replaceable: |id| id.starts_with(crate::pool::KEYSPACE_PREFIX),
    }
}

/// Connections and keyspaces are files; the usual soft limit is meant for programs that have few.
fn raise_file_limit() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        tracing::warn!(%error, "the limit of open files could not be raised");
    }
}

async fn open_store(path: &Path) -> Result<Arc<Embedded>> {
    Embedded::open(path, StoreOptions::default())
        .await
        .with_context(|| format!("cannot open the datastore in {}", path.display()))
}

/// The system's own client: it goes through the same pipeline as everybody else's requests.
fn in_process(own: &Arc<ControlPlane>) -> kube::Client {
    kube::Client::new(own.service(system_user("system:freehold")), "default")
}

/// A member of the group that may do everything.
pub(crate) fn system_user(name: &str) -> User {
    User {
        name: name.to_owned(),
        groups: vec![
            "system:masters".to_owned(),
            "system:authenticated".to_owned(),
        ],
        ..User::default()
    }
}

fn surroundings(
    client: &kube::Client,
    keyspaces: Arc<dyn Keyspaces>,
    bound: &Bound,
    options: &Options,
    shutdown: &CancellationToken,
) -> Surroundings {
    Surroundings {
        host: client.clone(),
        keyspaces,
        listen: bound.listen,
        public_host: bound.host(),
        server: bound.server(),
        sleep_after: options.sleep_after,
        shutdown: shutdown.clone(),
    }
}

/// The versions control planes are served as, newest first.
pub(crate) fn versions() -> Vec<String> {
    (OLDEST_MINOR..=NEWEST_MINOR)
        .rev()
        .filter_map(Catalogue::builtin)
        .map(|catalogue| catalogue.git_version.to_string())
        .collect()
}

fn operator_config(serving_names: Vec<String>) -> OperatorConfig {
    OperatorConfig {
        versions: versions(),
        serving_names,
        ..OperatorConfig::default()
    }
}

fn run_operator(
    tasks: &mut Tasks,
    client: kube::Client,
    config: OperatorConfig,
    shutdown: CancellationToken,
) {
    tasks.keep_running("operator", shutdown.clone(), move || {
        let (client, config, shutdown) = (client.clone(), config.clone(), shutdown.clone());
        async move {
            freehold_tenancy::run(client, config, shutdown)
                .await
                .map_err(|e| e.chain())
        }
    });
}

//! Many control planes in this process. The pool is a client of the host like any other: it
//! watches ControlPlanes and their secrets, serves what is placed here, and says so in their status.

mod datastores;
mod plane;
mod port;
mod reconcile;
mod settings;
mod status;
mod storage;

use freehold_apiserver::listen::Backend;
use freehold_store::Keyspaces;
use futures::StreamExt as _;
use kube::api::ListParams;
use kube::runtime::controller::Controller;
use kube::runtime::reflector::ObjectRef;
use kube::runtime::watcher;
use kube::{Api, ResourceExt};
pub(crate) use plane::KEYSPACE_PREFIX;
use plane::Plane;
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// What the pool is given by the host that runs it.
pub(crate) struct Surroundings {
    /// a client of the host's API
    pub(crate) host: kube::Client,
    /// the host's own datastore
    pub(crate) keyspaces: Arc<dyn Keyspaces>,
    /// where the shared listener listens; ports of control planes' own are opened beside it
    pub(crate) listen: SocketAddr,
    /// name or address that clients use
    pub(crate) public_host: String,
    /// `https://name:port` of the shared listener
    pub(crate) server: String,
    pub(crate) sleep_after: Duration,
    pub(crate) shutdown: CancellationToken,
}

/// The control planes served by this process.
pub(crate) struct Pool {
    around: Surroundings,
    datastores: datastores::DataStores,
    planes: RwLock<Planes>,
}

/// What is served, found both ways.
#[derive(Default)]
struct Planes {
    /// by uid: a name may be used again by another control plane
    by_uid: BTreeMap<String, Arc<Plane>>,
    by_server_name: BTreeMap<String, Arc<Plane>>,
}

/// Control planes are looked at for idleness this often.
const IDLE_CHECK: Duration = Duration::from_secs(10);
/// How many control planes are reconciled at the same time.
const CONCURRENCY: u16 = 16;

impl Pool {
    pub(crate) fn new(around: Surroundings) -> Self {
        let (host, embedded) = (around.host.clone(), around.keyspaces.clone());
        Self {
            around,
            datastores: datastores::DataStores::new(host, embedded),
            planes: RwLock::default(),
        }
    }

    /// Numbers of the keyspaces that are open in datastores that others run.
    pub(crate) fn metrics(&self) -> Vec<freehold_store::embedded::KeyspaceMetrics> {
        self.datastores.metrics()
    }

    /// The control plane of a server name (lower case), if it is served here.
    pub(crate) fn backend(&self, server_name: &str) -> Option<Arc<dyn Backend>> {
        let plane = self.read().by_server_name.get(server_name).cloned();
        plane.map(|p| p as Arc<dyn Backend>)
    }

    fn read(&self) -> RwLockReadGuard<'_, Planes> {
        self.planes.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Planes> {
        self.planes.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn all(&self) -> Vec<Arc<Plane>> {
        self.read().by_uid.values().cloned().collect()
    }

    fn get(&self, uid: &str) -> Option<Arc<Plane>> {
        self.read().by_uid.get(uid).cloned()
    }

    fn put(&self, plane: Arc<Plane>) {
        let mut planes = self.write();
        planes
            .by_server_name
            .insert(plane.server_name.clone(), plane.clone());
        planes.by_uid.insert(plane.uid.clone(), plane);
    }

    fn take(&self, uid: &str) -> Option<Arc<Plane>> {
        let mut planes = self.write();
        let taken = planes.by_uid.remove(uid)?;
        // The name may belong to a successor by now.
        if planes
            .by_server_name
            .get(&taken.server_name)
            .is_some_and(|p| p.uid == taken.uid)
        {
            planes.by_server_name.remove(&taken.server_name);
        }
        Some(taken)
    }

    /// Reconciles until shutdown.
    pub(crate) async fn run(self: Arc<Self>) {
        if let Err(error) = self.sweep().await {
            tracing::warn!(
                error,
                "keyspaces without a control plane were not looked for"
            );
        }
        let idle = self.clone().put_idle_ones_to_sleep();
        let shutdown = self.around.shutdown.clone();
        let datastores = datastores::run(self.clone());
        let reconciling = self.reconcile_all();
        tokio::select! {
            () = datastores => {}
            () = shutdown.cancelled() => {}
            () = idle => {}
            () = reconciling => {}
        }
    }

    async fn reconcile_all(self: Arc<Self>) {
        let planes: Api<freehold_api::ControlPlane> = Api::all(self.around.host.clone());
        let secrets: Api<k8s_openapi::api::core::v1::Secret> = Api::all(self.around.host.clone());
        let labelled = watcher::Config::default().labels(freehold_api::names::LABEL_CONTROL_PLANE);
        let of_secret = |secret: k8s_openapi::api::core::v1::Secret| {
            let name = secret
                .labels()
                .get(freehold_api::names::LABEL_CONTROL_PLANE)
                .cloned();
            let namespace = secret.namespace();
            name.zip(namespace)
                .map(|(name, namespace)| ObjectRef::new(&name).within(&namespace))
        };
        let controller = Controller::new(planes, watcher::Config::default());
        let known = controller.store();
        let of_datastore = move |datastore: freehold_api::DataStore| {
            let name = datastore.name_any();
            let users = known.state().into_iter();
            users
                .filter(|plane| datastores::name_for(plane) == name)
                .map(|plane| ObjectRef::from_obj(&*plane))
                .collect::<Vec<_>>()
        };
        let known = controller.store();
        let of_tenant = move |tenant: freehold_api::Tenant| {
            let namespace = tenant.status.and_then(|status| status.namespace);
            let planes = known.state().into_iter();
            planes
                .filter(|plane| plane.namespace() == namespace)
                .map(|plane| ObjectRef::from_obj(&*plane))
                .collect::<Vec<_>>()
        };
        let tenants: Api<freehold_api::Tenant> = Api::all(self.around.host.clone());
        let datastores: Api<freehold_api::DataStore> = Api::all(self.around.host.clone());
        controller
            .watches(secrets, labelled, of_secret)
            .watches(tenants, watcher::Config::default(), of_tenant)
            .watches(datastores, watcher::Config::default(), of_datastore)
            .with_config(kube::runtime::controller::Config::default().concurrency(CONCURRENCY))
            .run(reconcile::reconcile, reconcile::again, self)
            .for_each(|outcome| async {
                if let Err(error) = outcome {
                    tracing::debug!(%error, "pool");
                }
            })
            .await;
    }

    /// Erases keyspaces of the host's own datastore whose control plane is gone (others may be shared
    /// with other hosts): somebody may have taken our finalizer away while this process was not running. Before anything is served, so nothing can be new.
    async fn sweep(&self) -> Result<(), String> {
        let ids = self
            .around
            .keyspaces
            .list()
            .await
            .map_err(|e| e.to_string())?;
        if !ids.iter().any(|id| id.starts_with(plane::KEYSPACE_PREFIX)) {
            return Ok(());
        }
        let planes: Api<freehold_api::ControlPlane> = Api::all(self.around.host.clone());
        let list = planes
            .list_metadata(&ListParams::default())
            .await
            .map_err(|e| crate::cli::said(&e))?;
        let known: BTreeSet<String> = list
            .items
            .iter()
            .filter_map(ResourceExt::uid)
            .map(|uid| plane::keyspace(&uid))
            .collect();
        for id in ids
            .iter()
            .filter(|id| id.starts_with(plane::KEYSPACE_PREFIX) && !known.contains(*id))
        {
            self.around
                .keyspaces
                .delete(id)
                .await
                .map_err(|e| e.to_string())?;
            tracing::warn!(keyspace = %id, "erased a keyspace whose control plane is gone");
        }
        Ok(())
    }

    async fn put_idle_ones_to_sleep(self: Arc<Self>) {
        loop {
            tokio::time::sleep(IDLE_CHECK).await;
            for plane in self.all() {
                plane.sleep_if_idle(self.around.sleep_after).await;
                storage::look(&plane, &self).await;
            }
        }
    }

    /// Parks every control plane.
    pub(crate) async fn stop(&self) {
        futures::future::join_all(self.all().iter().map(|p| p.stop())).await;
    }
}

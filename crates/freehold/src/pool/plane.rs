//! One control plane of the pool: started on first use, parked when idle or told to.

use super::Surroundings;
use super::storage::Storage;
use crate::guard;
use async_trait::async_trait;
use freehold_api::Power;
use freehold_apiserver::listen::Backend;
use freehold_apiserver::{Config, ControlPlane, Limits, StartError, Visit};
use freehold_model::{ApiError, Catalogue};
use freehold_store::fence::Fenced;
use freehold_store::{Keyspaces, Quota, Store};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::{Duration, Instant};
use tokio::sync::Mutex;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// What a control plane is made of; when any of it changes, it is started anew.
#[derive(Clone, PartialEq)]
pub(super) struct Recipe {
    pub(super) ca: String,
    pub(super) serving_cert: String,
    pub(super) serving_key: String,
    pub(super) token_key: String,
    pub(super) minor: u8,
    pub(super) server: String,
    pub(super) service_cidr: String,
    pub(super) port: Option<u16>,
    /// watches at the same time
    pub(super) watches: Option<usize>,
    /// the datastore, and which opening of it
    pub(super) datastore: (String, u64),
}

pub(super) struct Plane {
    pub(super) uid: String,
    pub(super) namespace: String,
    pub(super) name: String,
    pub(super) server_name: String,
    pub(super) recipe: Recipe,
    catalogue: Arc<Catalogue>,
    tls: Arc<rustls::ServerConfig>,
    keyspaces: Arc<dyn Keyspaces>,
    power: RwLock<Power>,
    storage: RwLock<Storage>,
    /// of the running one: its keyspace, and how much that may hold
    stored: RwLock<Option<(Arc<dyn Store>, Quota)>>,
    /// what was said last of whether it is full
    said_full: RwLock<Option<bool>>,
    /// the running one, for the fast path
    running: RwLock<Option<Arc<ControlPlane>>>,
    /// taken to start and stop
    state: Mutex<State>,
    /// ends when this value is replaced or its control plane is deleted
    pub(super) ended: CancellationToken,
}

#[derive(Default)]
struct State {
    controllers: Option<Parked>,
    /// after a failed start requests are not allowed to try again at once
    failed: Option<(Instant, String)>,
}

/// How to end a control plane's controllers.
struct Parked {
    token: CancellationToken,
    task: JoinHandle<()>,
}

const RETRY_START: Duration = Duration::from_secs(1);
const STOP_LIMIT: Duration = Duration::from_secs(5);

fn read<T>(lock: &RwLock<T>) -> RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(PoisonError::into_inner)
}

fn write<T>(lock: &RwLock<T>) -> RwLockWriteGuard<'_, T> {
    lock.write().unwrap_or_else(PoisonError::into_inner)
}

/// Keyspaces that begin so belong to control planes.
pub(crate) const KEYSPACE_PREFIX: &str = "cp-";

/// The keyspace of a control plane: named by its uid, never by anything a tenant chose.
pub(super) fn keyspace(uid: &str) -> String {
    format!("{KEYSPACE_PREFIX}{uid}")
}

impl Plane {
    pub(super) fn new(
        object: &Named,
        recipe: Recipe,
        keyspaces: Arc<dyn Keyspaces>,
        around: &Surroundings,
    ) -> Result<Self, String> {
        let tls = freehold_apiserver::listen::server_config(
            &recipe.serving_cert,
            &recipe.serving_key,
            &recipe.ca,
        )?;
        let catalogue = Catalogue::builtin(recipe.minor)
            .ok_or_else(|| format!("this build does not serve Kubernetes 1.{}", recipe.minor))?;
        Ok(Self {
            uid: object.uid.clone(),
            namespace: object.namespace.clone(),
            name: object.name.clone(),
            server_name: freehold_api::names::server_name(&object.name, &object.namespace),
            recipe,
            catalogue,
            tls,
            keyspaces,
            power: RwLock::default(),
            storage: RwLock::default(),
            stored: RwLock::default(),
            said_full: RwLock::default(),
            running: RwLock::default(),
            state: Mutex::default(),
            ended: around.shutdown.child_token(),
        })
    }

    pub(super) fn git_version(&self) -> &str {
        &self.catalogue.git_version
    }

    fn shown(&self) -> String {
        format!("{}/{}", self.namespace, self.name)
    }

    pub(super) fn power(&self) -> Power {
        *read(&self.power)
    }

    /// Sets it and says what it was.
    pub(super) fn set_power(&self, power: Power) -> Power {
        std::mem::replace(&mut *write(&self.power), power)
    }

    /// Sets how much it may store; at once, if it is awake.
    pub(super) fn set_storage(&self, storage: Storage) -> Result<(), String> {
        *write(&self.storage) = storage;
        let mut stored = write(&self.stored);
        if let Some((_, quota)) = stored.as_mut() {
            *quota = self.quota()?;
        }
        Ok(())
    }

    fn quota(&self) -> Result<Quota, String> {
        let storage = *read(&self.storage);
        let quota = self
            .keyspaces
            .set_quota(&keyspace(&self.uid), storage.bytes, storage.objects);
        quota.map_err(|error| format!("spec.storage: {error}"))
    }

    /// The keyspace of the running one, and how much it may hold.
    pub(super) fn stored(&self) -> Option<(Arc<dyn Store>, Quota)> {
        read(&self.stored).clone()
    }

    pub(super) fn said_full(&self) -> Option<bool> {
        *read(&self.said_full)
    }

    pub(super) fn say_full(&self, full: bool) {
        *write(&self.said_full) = Some(full);
    }

    /// A visit is counted under the lock that `take_running` holds, so nobody is given a control
    /// plane that is being parked.
    fn visit(&self) -> Option<Visit> {
        let running = read(&self.running);
        running
            .as_ref()
            .filter(|cp| !cp.is_closed())
            .map(ControlPlane::visit)
    }

    fn take_running(&self, when: impl Fn(&ControlPlane) -> bool) -> Option<Arc<ControlPlane>> {
        let mut running = write(&self.running);
        running.take_if(|cp| when(cp))
    }

    /// The running control plane, started when it is not.
    pub(super) async fn awake(&self) -> Result<Visit, String> {
        if let Some(visit) = self.visit() {
            return Ok(visit);
        }
        let mut state = self.state.lock().await;
        if let Some(visit) = self.visit() {
            return Ok(visit);
        }
        if let Some(closed) = self.take_running(|_| true) {
            tracing::warn!(control_plane = %self.shown(), "its datastore went away; it is started anew");
            self.park(&mut state, Some(closed)).await;
        }
        if self.ended.is_cancelled() {
            return Err("it is being removed".to_owned());
        }
        if let Some((when, why)) = &state.failed
            && when.elapsed() < RETRY_START
        {
            return Err(why.clone());
        }
        let began = Instant::now();
        match guard::caught(self.start()).await {
            Ok(started) => {
                state.failed = None;
                state.controllers = Some(self.run_controllers(&started));
                let visit = started.visit();
                *write(&self.running) = Some(started);
                tracing::info!(control_plane = %self.shown(), took = ?began.elapsed(), "awake");
                Ok(visit)
            }
            Err(why) => {
                tracing::error!(control_plane = %self.shown(), error = %why, "cannot start");
                state.failed = Some((Instant::now(), why.clone()));
                Err(why)
            }
        }
    }

    async fn start(&self) -> Result<Arc<ControlPlane>, String> {
        let store = self
            .keyspaces
            .open(&keyspace(&self.uid))
            .await
            .map_err(|e| freehold_store::for_tenants(&e))?;
        // Nobody writes to it while it is moved elsewhere.
        let store: Arc<dyn Store> = Fenced::discreet(store);
        *write(&self.stored) = Some((store.clone(), self.quota()?));
        let usual = Limits::default();
        let config = Config {
            name: self.shown(),
            store,
            catalogue: self.catalogue.clone(),
            client_ca_pem: self.recipe.ca.clone(),
            service_account_key_pem: self.recipe.token_key.clone(),
            issuer: crate::host::ISSUER.to_owned(),
            external_address: self.recipe.server.clone(),
            service_cidr: self.recipe.service_cidr.clone(),
            limits: Limits {
                watches: self.recipe.watches.unwrap_or(usual.watches),
                ..usual
            },
        };
        ControlPlane::start(config).await.map_err(|e| {
            // Its tenant reads this.
            match &e {
                StartError::Store(cause) => {
                    format!("{e}: {}", freehold_store::for_tenants(cause))
                }
                _ => e.to_string(),
            }
        })
    }

    fn run_controllers(&self, started: &Arc<ControlPlane>) -> Parked {
        let user = crate::host::system_user("system:kube-controller-manager");
        let client = kube::Client::new(started.service(user), "default");
        let config = freehold_controllers::Config {
            name: self.shown(),
            root_ca_pem: self.recipe.ca.clone(),
            sign_token: crate::host::token_signer(&self.recipe.token_key, &self.recipe.server),
        };
        let token = self.ended.child_token();
        let inner = token.clone();
        let task = tokio::spawn(guard::supervise(
            format!("controllers of {}", self.shown()),
            token.clone(),
            move || {
                let (client, config, token) = (client.clone(), config.clone(), inner.clone());
                async move {
                    freehold_controllers::run(client, config, token).await;
                    Ok(())
                }
            },
        ));
        Parked { token, task }
    }

    /// Parks it: controllers end, watches end, memory is given back.
    pub(super) async fn stop(&self) {
        let mut state = self.state.lock().await;
        let running = self.take_running(|_| true);
        self.park(&mut state, running).await;
    }

    async fn park(&self, state: &mut State, running: Option<Arc<ControlPlane>>) {
        if let Some(mut parked) = state.controllers.take() {
            parked.token.cancel();
            if tokio::time::timeout(STOP_LIMIT, &mut parked.task)
                .await
                .is_err()
            {
                parked.task.abort();
                tracing::warn!(control_plane = %self.shown(), "controllers did not end in time and were dropped");
            }
        }
        write(&self.stored).take();
        if let Some(running) = running {
            running.shut_down();
            drop(running);
            if let Err(error) = self.keyspaces.sleep(&keyspace(&self.uid)).await {
                tracing::warn!(control_plane = %self.shown(), %error, "the keyspace could not be put to sleep");
            }
            tracing::info!(control_plane = %self.shown(), "asleep");
        }
    }

    pub(super) async fn sleep_if_idle(&self, after: Duration) {
        let idle = |cp: &ControlPlane| {
            let activity = cp.activity();
            activity.requests == 0 && activity.idle >= after
        };
        if self.power() != Power::Auto {
            return;
        }
        let mut state = self.state.lock().await;
        if let Some(running) = self.take_running(idle) {
            self.park(&mut state, Some(running)).await;
        }
    }
}

/// Which object a plane stands for.
pub(super) struct Named {
    pub(super) uid: String,
    pub(super) namespace: String,
    pub(super) name: String,
}

#[async_trait]
impl Backend for Plane {
    fn tls(&self) -> Arc<rustls::ServerConfig> {
        self.tls.clone()
    }

    async fn control_plane(&self) -> Result<Visit, ApiError> {
        if self.ended.is_cancelled() {
            return Err(ApiError::unavailable(
                "this control plane was moved or removed; connect again",
            ));
        }
        if self.power() == Power::Asleep {
            return Err(ApiError::unavailable(format!(
                "control plane {name} is kept asleep; wake it on the host with: freehold wake {name}",
                name = self.name
            )));
        }
        self.awake().await.map_err(|why| {
            ApiError::unavailable(format!("the control plane cannot start now: {why}"))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use freehold_store::memory::Memory;
    use freehold_tenancy::pki::{Authority, TokenKeys};
    use http::{Request, Response, StatusCode};

    fn around() -> Surroundings {
        let nobody = tower::service_fn(|_: Request<kube::client::Body>| async {
            Ok::<_, std::convert::Infallible>(Response::new(freehold_apiserver::Body::empty()))
        });
        Surroundings {
            host: kube::Client::new(nobody, "default"),
            keyspaces: Memory::new(),
            listen: ([127, 0, 0, 1], 0).into(),
            public_host: "127.0.0.1".to_owned(),
            server: "https://127.0.0.1:1".to_owned(),
            sleep_after: Duration::from_secs(60),
            shutdown: CancellationToken::new(),
        }
    }

    fn plane() -> Plane {
        let ca = Authority::generate("test").expect("a CA");
        let day = Duration::from_secs(86_400);
        let serving = ca.serving("test", &["localhost".into()], day).expect("it");
        let recipe = Recipe {
            ca: ca.cert().to_owned(),
            serving_cert: serving.cert,
            serving_key: serving.key,
            token_key: TokenKeys::generate().expect("keys").private,
            minor: freehold_model::catalogue::DEFAULT_MINOR,
            server: "https://127.0.0.1:1".to_owned(),
            service_cidr: crate::host::SERVICE_CIDR.to_owned(),
            port: None,
            watches: None,
            datastore: ("embedded".to_owned(), 0),
        };
        let named = Named {
            uid: "u1".to_owned(),
            namespace: "tenant-acme".to_owned(),
            name: "prod".to_owned(),
        };
        Plane::new(&named, recipe, Memory::new(), &around()).expect("a plane")
    }

    async fn namespaces(cp: &Arc<ControlPlane>) -> StatusCode {
        let mut request = Request::get("/api/v1/namespaces/default")
            .body(freehold_apiserver::Body::empty())
            .expect("a request");
        let admin = crate::host::system_user("test");
        request
            .extensions_mut()
            .insert(freehold_apiserver::Identity(admin));
        cp.handle(request).await.status()
    }

    #[tokio::test]
    async fn a_control_plane_that_lost_its_datastore_is_started_anew() {
        let plane = plane();
        let first = plane.awake().await.expect("it starts");
        first.shut_down();
        assert_eq!(namespaces(&first).await, StatusCode::SERVICE_UNAVAILABLE);
        let second = plane.awake().await.expect("it starts again");
        assert!(!Arc::ptr_eq(&first, &second));
        assert_eq!(namespaces(&second).await, StatusCode::OK);
        plane.stop().await;
    }

    #[tokio::test]
    async fn nobody_is_given_a_control_plane_that_falls_asleep() {
        let plane = Arc::new(plane());
        let visit = plane.awake().await.expect("it starts");
        plane.sleep_if_idle(Duration::ZERO).await;
        assert!(!visit.is_closed(), "a visitor keeps it awake");
        let first = Arc::downgrade(&visit);
        drop(visit);
        plane.sleep_if_idle(Duration::ZERO).await;
        assert!(first.upgrade().is_none_or(|cp| cp.is_closed()));
        // Visitors come while it is put to sleep all the time: none may see it closed.
        let sleeper = tokio::spawn({
            let plane = plane.clone();
            async move {
                for _ in 0..20 {
                    plane.sleep_if_idle(Duration::ZERO).await;
                    tokio::task::yield_now().await;
                }
            }
        });
        for _ in 0..20 {
            let visit = plane.awake().await.expect("it wakes");
            assert_eq!(namespaces(&visit).await, StatusCode::OK);
        }
        sleeper.await.expect("the sleeper ends");
        plane.stop().await;
    }
}

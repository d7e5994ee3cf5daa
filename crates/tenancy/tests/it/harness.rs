//! A host in this process, with the operator on it and something that serves control planes.

use crate::upstream::Upstream;
use freehold_api::condition::types;
use freehold_api::{Condition, ControlPlane, Endpoint, Power, condition, names};
use freehold_apiserver::listen::{self, Backend, Backends};
use freehold_apiserver::{Config, ControlPlane as Server, Limits, Visit};
use freehold_model::catalogue::DEFAULT_MINOR;
use freehold_model::{ApiError, Catalogue};
use freehold_policy::User;
use freehold_store::memory::Memory;
use freehold_store::{Keyspaces, Store};
use freehold_tenancy::pki::{Authority, TokenKeys};
use freehold_tenancy::{OperatorConfig, prepare, run};
use k8s_openapi::api::core::v1::{Namespace, Secret};
use kube::api::{Api, ListParams, Patch, PatchParams, PostParams};
use kube::{Client, Resource, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::json;
use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// What does not happen within this time does not happen.
const LIMIT: Duration = Duration::from_secs(30);

pub(crate) struct Host {
    api: HostApi,
    keyspaces: Arc<Memory>,
    pub config: OperatorConfig,
    operator: Option<(CancellationToken, JoinHandle<()>)>,
    tasks: Vec<JoinHandle<()>>,
}

/// Whose API the host is.
enum HostApi {
    /// ours, in this process, with our controllers
    Ours {
        server: Arc<Server>,
        _controllers: freehold_controllers::Running,
    },
    /// upstream's, as released
    Upstream(Upstream),
}

impl Drop for Host {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
        if let Some((_, task)) = &self.operator {
            task.abort();
        }
    }
}

fn user(name: &str, groups: &[&str]) -> User {
    let mut groups: Vec<_> = groups.iter().map(|g| (*g).into()).collect();
    groups.push("system:authenticated".into());
    User {
        name: name.into(),
        groups,
        ..User::default()
    }
}

async fn server(name: &str, store: Arc<dyn Store>, ca: &str, sa: &str) -> Arc<Server> {
    let config = Config {
        name: name.to_owned(),
        store,
        catalogue: Catalogue::builtin(DEFAULT_MINOR).expect("a catalogue"),
        client_ca_pem: ca.to_owned(),
        service_account_key_pem: sa.to_owned(),
        issuer: "https://kubernetes.default.svc".into(),
        external_address: "https://127.0.0.1".into(),
        service_cidr: "10.96.0.0/16".into(),
        limits: Limits::default(),
    };
    Server::start(config).await.unwrap()
}

impl Host {
    /// A host without the operator.
    pub(crate) async fn bare() -> Self {
        let keyspaces = Memory::new();
        let ca = Authority::generate("host").unwrap();
        let keys = TokenKeys::generate().unwrap();
        let store = keyspaces.open("host").await.unwrap();
        let server = server("host", store, ca.cert(), &keys.private).await;
        let client = Client::new(
            server.service(user("admin", &["system:masters"])),
            "default",
        );
        let config = freehold_controllers::Config {
            name: "host".into(),
            root_ca_pem: ca.cert().to_owned(),
            sign_token: None,
        };
        let controllers = freehold_controllers::run_all(client, config);
        Self::on(
            HostApi::Ours {
                server,
                _controllers: controllers,
            },
            keyspaces,
        )
    }

    fn on(api: HostApi, keyspaces: Arc<Memory>) -> Self {
        Self {
            api,
            keyspaces,
            config: OperatorConfig {
                versions: vec!["v1.36.3".into(), "v1.28.15".into()],
                ..OperatorConfig::default()
            },
            operator: None,
            tasks: Vec::new(),
        }
    }

    /// A host with the operator and a pool.
    pub(crate) async fn start() -> Self {
        Self::run_on(Self::bare().await).await
    }

    /// The same on upstream's programs; `None` when they are not there.
    pub(crate) async fn start_upstream() -> Option<Self> {
        let upstream = Upstream::start().await?;
        let host = Self::on(HostApi::Upstream(upstream), Memory::new());
        Some(Self::run_on(host).await)
    }

    async fn run_on(mut host: Self) -> Self {
        prepare(&host.admin(), &host.config).await.unwrap();
        host.start_pool();
        host.start_operator();
        host
    }

    pub(crate) fn admin(&self) -> Client {
        self.as_user("admin", &["system:masters"])
    }

    pub(crate) fn as_user(&self, name: &str, groups: &[&str]) -> Client {
        match &self.api {
            HostApi::Ours { server, .. } => {
                Client::new(server.service(user(name, groups)), "default")
            }
            HostApi::Upstream(upstream) => upstream.client(name, groups),
        }
    }

    pub(crate) fn start_operator(&mut self) {
        let token = CancellationToken::new();
        let (client, config, shutdown) = (self.admin(), self.config.clone(), token.clone());
        let task = tokio::spawn(async move { run(client, config, shutdown).await.unwrap() });
        self.operator = Some((token, task));
    }

    /// Ends the operator wherever it is, as a crash would.
    pub(crate) async fn crash_operator(&mut self) {
        if let Some((_, task)) = self.operator.take() {
            task.abort();
            let _ = task.await;
        }
    }

    /// Ends the operator as a shutdown does.
    pub(crate) async fn stop_operator(&mut self) {
        if let Some((token, task)) = self.operator.take() {
            token.cancel();
            tokio::time::timeout(LIMIT, task).await.unwrap().unwrap();
        }
    }

    fn start_pool(&mut self) {
        let pool = Pool {
            host: self.admin(),
            keyspaces: self.keyspaces.clone(),
            served: BTreeMap::new(),
        };
        self.tasks.push(tokio::spawn(pool.run()));
    }

    pub(crate) fn all<K>(&self) -> Api<K>
    where
        K: Resource<DynamicType = ()>,
    {
        Api::all(self.admin())
    }

    pub(crate) fn within<K>(&self, namespace: &str) -> Api<K>
    where
        K: Resource<DynamicType = (), Scope = kube::core::NamespaceResourceScope>,
    {
        Api::namespaced(self.admin(), namespace)
    }

    pub(crate) async fn namespace(&self, name: &str, labels: &[(&str, &str)]) {
        let labels: BTreeMap<&str, &str> = labels.iter().copied().collect();
        let namespace: Namespace =
            serde_json::from_value(json!({"metadata": {"name": name, "labels": labels}})).unwrap();
        create(&self.all::<Namespace>(), &namespace).await;
    }

    /// The keyspaces of control planes that exist.
    pub(crate) async fn keyspaces(&self) -> Vec<String> {
        let mut all = self.keyspaces.list().await.unwrap();
        all.retain(|id| id != "host");
        all
    }
}

pub(crate) async fn create<K>(api: &Api<K>, object: &K) -> K
where
    K: Clone + Debug + Serialize + DeserializeOwned,
{
    api.create(&PostParams::default(), object).await.unwrap()
}

/// Waits until the object is as wanted.
pub(crate) async fn until<K>(api: &Api<K>, name: &str, wanted: impl Fn(&K) -> bool) -> K
where
    K: Clone + Debug + DeserializeOwned,
{
    let deadline = Instant::now() + LIMIT;
    let mut last = None;
    while Instant::now() < deadline {
        last = api.get_opt(name).await.unwrap();
        if let Some(object) = last.as_ref().filter(|o| wanted(o)) {
            return object.clone();
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    panic!("{name} did not become what was wanted: {last:#?}");
}

/// Waits until the object is gone.
pub(crate) async fn gone<K>(api: &Api<K>, name: &str)
where
    K: Clone + Debug + DeserializeOwned,
{
    let deadline = Instant::now() + LIMIT;
    while let Some(last) = api.get_opt(name).await.unwrap() {
        assert!(
            Instant::now() < deadline,
            "{name} is still there: {last:#?}"
        );
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

pub(crate) fn is_ready(cp: &ControlPlane) -> bool {
    reason(cp, types::READY).is_some_and(|(holds, _)| holds)
}

pub(crate) fn reason(cp: &ControlPlane, type_: &str) -> Option<(bool, String)> {
    let status = cp.status.as_ref()?;
    let found = condition::find(&status.conditions, type_)?;
    Some((found.holds(), found.reason.clone()))
}

/// A small pool: serves what has secrets, on a port of its own each, erases what is deleted.
struct Pool {
    host: Client,
    keyspaces: Arc<Memory>,
    served: BTreeMap<String, String>,
}

struct One {
    server: Arc<Server>,
    tls: Arc<rustls::ServerConfig>,
}

#[async_trait::async_trait]
impl Backend for One {
    fn tls(&self) -> Arc<rustls::ServerConfig> {
        self.tls.clone()
    }

    async fn control_plane(&self) -> Result<Visit, ApiError> {
        Ok(self.server.visit())
    }
}

struct Only(Arc<One>);

#[async_trait::async_trait]
impl Backends for Only {
    async fn backend(&self, _: Option<&str>) -> Option<Arc<dyn Backend>> {
        Some(self.0.clone())
    }
}

impl Pool {
    async fn run(mut self) {
        loop {
            let all: Api<ControlPlane> = Api::all(self.host.clone());
            for cp in all.list(&ListParams::default()).await.unwrap() {
                self.one(&cp).await;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    async fn one(&mut self, cp: &ControlPlane) {
        let (uid, namespace, name) = (cp.uid().unwrap(), cp.namespace().unwrap(), cp.name_any());
        let api: Api<ControlPlane> = Api::namespaced(self.host.clone(), &namespace);
        let id = format!("cp-{uid}");
        let mut finalizers = cp.finalizers().to_vec();
        let held = finalizers.iter().any(|f| f == names::FINALIZER_POOL);
        if cp.meta().deletion_timestamp.is_some() {
            if held {
                self.keyspaces.delete(&id).await.unwrap();
                finalizers.retain(|f| f != names::FINALIZER_POOL);
                self.finalizers(&api, cp, &finalizers).await;
            }
            return;
        }
        let secrets: Api<Secret> = Api::namespaced(self.host.clone(), &namespace);
        let ca = secrets.get_opt(&names::secret::ca(&name)).await.unwrap();
        let sa = names::secret::service_account(&name);
        let sa = secrets.get_opt(&sa).await.unwrap();
        let (Some(ca), Some(sa)) = (ca, sa) else {
            return;
        };
        if !held {
            finalizers.push(names::FINALIZER_POOL.to_owned());
            self.finalizers(&api, cp, &finalizers).await;
            return;
        }
        if !self.served.contains_key(&uid) {
            let url = self.serve(&id, &text(&ca), &text(&sa)).await;
            self.served.insert(uid.clone(), url);
        }
        self.say(&api, cp, &self.served[&uid]).await;
    }

    async fn finalizers(&self, api: &Api<ControlPlane>, cp: &ControlPlane, all: &[String]) {
        let patch =
            json!({"metadata": {"finalizers": all, "resourceVersion": cp.resource_version()}});
        // on a conflict the next round tries again
        let _ = api
            .patch(
                &cp.name_any(),
                &PatchParams::default(),
                &Patch::Merge(&patch),
            )
            .await;
    }

    async fn serve(
        &self,
        id: &str,
        ca: &BTreeMap<String, String>,
        sa: &BTreeMap<String, String>,
    ) -> String {
        let store = self.keyspaces.open(id).await.unwrap();
        let server = server(id, store, &ca["ca.crt"], &sa["sa.key"]).await;
        let tls = listen::server_config(&ca["tls.crt"], &ca["tls.key"], &ca["ca.crt"]).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("https://{}", listener.local_addr().unwrap());
        let only = Arc::new(Only(Arc::new(One { server, tls })));
        tokio::spawn(listen::serve(listener, only, CancellationToken::new()));
        url
    }

    async fn say(&self, api: &Api<ControlPlane>, cp: &ControlPlane, url: &str) {
        let mut new = cp.clone();
        let status = new.status.get_or_insert_default();
        status.endpoint = Some(Endpoint {
            server: url.to_owned(),
            server_name: names::server_name(&cp.name_any(), &cp.namespace().unwrap()),
            certificate_authority_data: None,
        });
        let serving = if cp.spec.power == Power::Asleep {
            Condition::no(types::SERVING, "Asleep", "asleep")
        } else {
            Condition::yes(types::SERVING, "Available", "served")
        };
        condition::set(&mut status.conditions, serving, "2026-01-01T00:00:00Z");
        if new.status != cp.status {
            let _ = api
                .replace_status(&cp.name_any(), &PostParams::default(), &new)
                .await;
        }
    }
}

pub(crate) fn text(secret: &Secret) -> BTreeMap<String, String> {
    let data = secret.data.clone().unwrap_or_default();
    data.into_iter()
        .map(|(key, value)| (key, String::from_utf8(value.0).unwrap()))
        .collect()
}

//! The datastores that DataStore objects name: opened at first use, looked at from time to time,
//! opened anew when their settings change.

use super::Pool;
use super::settings::Settings;
use freehold_api::condition::{self, reasons, types};
use freehold_api::names::FINALIZER_POOL;
use freehold_api::{Condition, ControlPlane, DataStore, DataStoreStatus};
use freehold_store::embedded::KeyspaceMetrics;
use freehold_store::{Keyspaces, Measured};
use futures::StreamExt as _;
use kube::api::{ListParams, Patch, PatchParams};
use kube::runtime::controller::{Action, Controller};
use kube::runtime::reflector::ObjectRef;
use kube::runtime::watcher;
use kube::{Api, ResourceExt as _};
use parking_lot::Mutex;
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// The host's own datastore by name.
pub(super) const EMBEDDED: &str = "embedded";
/// How long an answer of a datastore is believed.
const FRESH: Duration = Duration::from_secs(5);
const LOOK: Duration = Duration::from_secs(10);
const LOOK_AGAIN: Duration = Duration::from_secs(5);
const LIMIT: Duration = Duration::from_secs(15);

/// The datastores in use, by name.
pub(super) struct DataStores {
    host: kube::Client,
    embedded: Arc<dyn Keyspaces>,
    known: Mutex<BTreeMap<String, Arc<Slot>>>,
    /// how often any was opened with other settings
    opened: AtomicU64,
}

/// One of them.
#[derive(Default)]
struct Slot {
    /// held by who opens it, or asks whether it answers
    seen: tokio::sync::Mutex<Seen>,
    open: Mutex<Option<Arc<Measured>>>,
}

/// What is known of one datastore.
#[derive(Default)]
struct Seen {
    settings: Option<Settings>,
    opened: u64,
    checked: Option<Instant>,
}

/// A datastore that can be used.
#[derive(Clone)]
pub(super) struct Chosen {
    pub(super) keyspaces: Arc<dyn Keyspaces>,
    /// changes when it was opened anew
    pub(super) opened: u64,
}

/// Why a datastore cannot be used: a reason and a sentence.
pub(super) struct Unusable {
    pub(super) reason: &'static str,
    pub(super) message: String,
}

impl Unusable {
    fn new(reason: &'static str, message: impl Into<String>) -> Self {
        let message = message.into();
        Self { reason, message }
    }

    /// The same for who only uses it: what is wrong with it is on the DataStore, which they may not
    /// read, and in the log.
    pub(super) fn for_tenants(&self, name: &str) -> String {
        if self.reason == reasons::DATASTORE_NOT_FOUND {
            return format!("datastore {name}: {}", self.message);
        }
        let why = &self.message;
        tracing::warn!(datastore = name, why, "a datastore cannot be used");
        format!(
            "datastore {name} cannot be used at present: whoever runs it finds out why in the condition Ready of the DataStore"
        )
    }
}

/// The datastore that a control plane's data is in, or is to be put in.
pub(super) fn name_for(object: &ControlPlane) -> &str {
    let there = object.status.as_ref().and_then(|s| s.datastore.as_deref());
    there.unwrap_or_else(|| wanted_by(object))
}

/// The datastore that a control plane asks for.
pub(super) fn wanted_by(object: &ControlPlane) -> &str {
    let asked = object.spec.datastore.as_ref();
    asked.map_or(EMBEDDED, |store| store.name.as_str())
}

impl DataStores {
    pub(super) fn new(host: kube::Client, embedded: Arc<dyn Keyspaces>) -> Self {
        Self {
            host,
            embedded,
            known: Mutex::default(),
            opened: AtomicU64::new(0),
        }
    }

    /// The datastore of that name, once it has answered.
    pub(super) async fn get(&self, name: &str) -> Result<Chosen, Unusable> {
        if name == EMBEDDED {
            return Ok(Chosen {
                keyspaces: self.embedded.clone(),
                opened: 0,
            });
        }
        let api: Api<DataStore> = Api::all(self.host.clone());
        let object = api
            .get_opt(name)
            .await
            .map_err(|e| Unusable::new(reasons::DATASTORE_UNAVAILABLE, crate::cli::said(&e)))?;
        let Some(object) = object else {
            self.forget(name);
            return Err(Unusable::new(
                reasons::DATASTORE_NOT_FOUND,
                format!("there is no DataStore {name}"),
            ));
        };
        self.open(&object).await
    }

    async fn open(&self, object: &DataStore) -> Result<Chosen, Unusable> {
        let settings = Settings::read(&object.spec, &self.host)
            .await
            .map_err(|why| Unusable::new(reasons::INVALID_SPEC, why))?;
        let name = object.name_any();
        let slot = self.known.lock().entry(name).or_default().clone();
        // Whoever else wants this datastore waits for this attempt, which is bounded.
        let mut seen = slot.seen.lock().await;
        let ready = self.ready(&slot.open, &mut seen, settings);
        let attempt = tokio::time::timeout(LIMIT, ready).await;
        let done = attempt.unwrap_or_else(|_| Err("it does not answer in time".to_owned()));
        done.map_err(|why| Unusable::new(reasons::DATASTORE_UNAVAILABLE, why))
    }

    fn forget(&self, name: &str) {
        self.known.lock().remove(name);
    }

    /// Numbers of what is open in them.
    pub(super) fn metrics(&self) -> Vec<KeyspaceMetrics> {
        let known = self.known.lock();
        let each = known.iter().filter_map(|(name, slot)| {
            let open = slot.open.lock();
            open.as_ref().map(|open| open.metrics(name))
        });
        each.flatten().collect()
    }

    async fn ready(
        &self,
        open: &Mutex<Option<Arc<Measured>>>,
        seen: &mut Seen,
        settings: Settings,
    ) -> Result<Chosen, String> {
        if seen.settings.as_ref() != Some(&settings) {
            *open.lock() = None;
            seen.settings = Some(settings.clone());
            seen.opened = self.opened.fetch_add(1, Ordering::Relaxed) + 1;
        }
        let known = open.lock().clone();
        let keyspaces = match known {
            Some(known) => {
                if seen.checked.is_none_or(|at| at.elapsed() > FRESH) {
                    seen.checked = None;
                    known.list().await.map_err(|e| e.to_string())?;
                }
                known
            }
            None => {
                let new = settings.connect().await.map_err(|e| e.to_string())?;
                let new = Measured::new(new);
                *open.lock() = Some(new.clone());
                new
            }
        };
        seen.checked = seen.checked.or_else(|| Some(Instant::now()));
        Ok(Chosen {
            keyspaces,
            opened: seen.opened,
        })
    }
}

/// Says of every DataStore whether it answers and who uses it, until shutdown.
pub(super) async fn run(pool: Arc<Pool>) {
    let host = pool.around.host.clone();
    let of_plane = |plane: ControlPlane| {
        let name = name_for(&plane);
        (name != EMBEDDED).then(|| ObjectRef::new(name))
    };
    let any = watcher::Config::default;
    Controller::new(Api::<DataStore>::all(host.clone()), any())
        .watches(Api::<ControlPlane>::all(host), any(), of_plane)
        .run(reconcile, again, pool)
        .for_each(|outcome| async {
            if let Err(error) = outcome {
                tracing::debug!(%error, "datastores");
            }
        })
        .await;
}

fn again(_: Arc<DataStore>, _: &kube::Error, _: Arc<Pool>) -> Action {
    Action::requeue(LOOK_AGAIN)
}

async fn reconcile(object: Arc<DataStore>, pool: Arc<Pool>) -> Result<Action, kube::Error> {
    let name = object.name_any();
    let used_by = used_by(&name, &pool).await?;
    let going = object.metadata.deletion_timestamp.is_some();
    if going && used_by.is_empty() {
        pool.datastores.forget(&name);
        return hold(&object, &pool, false).await;
    }
    if !going {
        hold(&object, &pool, true).await?;
    }
    let ready = match pool.datastores.open(&object).await {
        Ok(_) => Condition::yes(types::READY, reasons::AVAILABLE, "it answers"),
        Err(why) => Condition::no(types::READY, why.reason, why.message),
    };
    let wait = if ready.holds() { LOOK } else { LOOK_AGAIN };
    let mut said = vec![ready];
    if going {
        let message = format!(
            "it is deleted when no control plane is in it: {}",
            used_by.join(", ")
        );
        said.push(Condition::yes(types::TERMINATING, reasons::IN_USE, message));
    }
    say(&object, &pool, used_by, said).await?;
    Ok(Action::requeue(wait))
}

async fn used_by(name: &str, pool: &Pool) -> Result<Vec<String>, kube::Error> {
    let planes: Api<ControlPlane> = Api::all(pool.around.host.clone());
    let planes = planes.list(&ListParams::default()).await?;
    let shown = |plane: &ControlPlane| {
        let namespace = plane.namespace().unwrap_or_default();
        format!("{namespace}/{}", plane.name_any())
    };
    let uses = planes.items.iter().filter(|plane| name_for(plane) == name);
    let mut used_by: Vec<String> = uses.map(shown).collect();
    used_by.sort();
    Ok(used_by)
}

/// A datastore with keyspaces in it is not forgotten before they are erased.
async fn hold(object: &DataStore, pool: &Pool, wanted: bool) -> Result<Action, kube::Error> {
    let mut finalizers = object.finalizers().to_vec();
    let held = finalizers.iter().any(|f| f == FINALIZER_POOL);
    if held == wanted {
        return Ok(Action::await_change());
    }
    if wanted {
        finalizers.push(FINALIZER_POOL.to_owned());
    } else {
        finalizers.retain(|f| f != FINALIZER_POOL);
    }
    let version = object.resource_version();
    let patch = json!({"metadata": {"resourceVersion": version, "finalizers": finalizers}});
    let api: Api<DataStore> = Api::all(pool.around.host.clone());
    let patch = Patch::Merge(&patch);
    api.patch(&object.name_any(), &PatchParams::default(), &patch)
        .await?;
    Ok(Action::await_change())
}

async fn say(
    object: &DataStore,
    pool: &Pool,
    used_by: Vec<String>,
    said: Vec<Condition>,
) -> Result<(), kube::Error> {
    let before = object.status.clone().unwrap_or_default();
    let generation = object.metadata.generation;
    let mut after = DataStoreStatus {
        observed_generation: generation,
        used_by,
        ..before.clone()
    };
    let now = super::status::now();
    for condition in said {
        condition::set(&mut after.conditions, condition.at(generation), &now);
    }
    if after == before {
        return Ok(());
    }
    let api: Api<DataStore> = Api::all(pool.around.host.clone());
    let patch = json!({"status": {
        "observedGeneration": after.observed_generation,
        "usedBy": after.used_by,
        "conditions": after.conditions,
    }});
    let patch = Patch::Merge(&patch);
    api.patch_status(&object.name_any(), &PatchParams::default(), &patch)
        .await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use freehold_store::memory::Memory;
    use http::{Request, Response, StatusCode};

    /// Datastores of a host that has no DataStore; `db` is open from before.
    async fn stores() -> DataStores {
        let nothing = tower::service_fn(|_: Request<kube::client::Body>| async {
            let text = json!({"kind": "Status", "apiVersion": "v1", "metadata": {},
                "status": "Failure", "reason": "NotFound", "message": "none", "code": 404});
            let body = freehold_apiserver::Body::from(text.to_string());
            let mut response = Response::new(body);
            *response.status_mut() = StatusCode::NOT_FOUND;
            Ok::<_, std::convert::Infallible>(response)
        });
        let host = kube::Client::new(nothing, "default");
        let stores = DataStores::new(host, Memory::new());
        let open = Measured::new(Memory::new());
        open.open("cp-1").await.expect("a keyspace");
        let slot = Slot {
            open: Mutex::new(Some(open)),
            ..Slot::default()
        };
        stores.known.lock().insert("db".to_owned(), Arc::new(slot));
        stores
    }

    fn told(stores: &DataStores) -> Vec<(String, String)> {
        let told = stores.metrics().into_iter();
        told.map(|of| (of.datastore, of.id)).collect()
    }

    #[tokio::test]
    async fn of_a_datastore_with_other_settings_the_old_numbers_are_not_told() {
        let stores = stores().await;
        assert_eq!(told(&stores), [("db".to_owned(), "cp-1".to_owned())]);
        let object = json!({"metadata": {"name": "db"},
            "spec": {"driver": "etcd", "endpoints": ["127.0.0.1:1"]}});
        let object: DataStore = serde_json::from_value(object).expect("a DataStore");
        // Whatever comes of it.
        drop(stores.open(&object).await);
        assert_eq!(told(&stores), []);
    }

    #[tokio::test]
    async fn a_datastore_that_is_gone_is_forgotten_and_one_of_its_name_is_another() {
        let stores = stores().await;
        let gone = stores.get("db").await.err().expect("it is not there");
        assert_eq!(gone.reason, reasons::DATASTORE_NOT_FOUND);
        assert_eq!(told(&stores), []);
        assert!(stores.known.lock().is_empty());
    }
}

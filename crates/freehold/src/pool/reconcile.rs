//! From a ControlPlane object and its secrets to a served control plane, and back to nothing.

use super::Pool;
use super::datastores::{self, Chosen};
use super::plane::{Named, Plane, Recipe, keyspace};
use super::status::{Said, say};
use super::storage::{self, Owner, Storage};
use crate::guard;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use freehold_api::condition::{reasons, types};
use freehold_api::names::{FINALIZER_POOL, secret};
use freehold_api::{Condition, ControlPlane, Endpoint, Engine, Placement, Power};
use freehold_model::catalogue::{DEFAULT_MINOR, NEWEST_MINOR, OLDEST_MINOR};
use freehold_store::{for_tenants, transfer};
use k8s_openapi::api::core::v1::Secret;
use kube::api::{Patch, PatchParams};
use kube::runtime::controller::Action;
use kube::{Api, ResourceExt as _};
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// What went wrong; it is tried again.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct Failed(String);

const RETRY: Duration = Duration::from_secs(5);

/// One round for one control plane. A panic is a failure of this one only.
pub(super) async fn reconcile(
    object: Arc<ControlPlane>,
    pool: Arc<Pool>,
) -> Result<Action, Failed> {
    let shown = format!(
        "{}/{}",
        object.namespace().unwrap_or_default(),
        object.name_any()
    );
    let why = match guard::caught(Box::pin(one(&object, &pool))).await {
        Ok(action) => return Ok(action),
        Err(why) => why,
    };
    tracing::warn!(control_plane = %shown, error = %why, "the pool failed; it tries again");
    tell(&object, &pool, &why).await;
    Err(Failed(why))
}

/// Whoever waits for a control plane sees why it is not served. This is not worth a failure itself.
async fn tell(object: &ControlPlane, pool: &Pool, why: &str) {
    let Some(namespace) = object.namespace() else {
        return;
    };
    let api: Api<ControlPlane> = Api::namespaced(pool.around.host.clone(), &namespace);
    let serving = Condition::no(types::SERVING, "Failed", why);
    let said = Said {
        endpoint: None,
        version: None,
        datastore: None,
        serving,
    };
    if let Err(error) = say(&api, object, &said).await {
        tracing::debug!(error = %crate::cli::said(&error), "the failure could not be written into the status");
    }
}

pub(super) fn again(_: Arc<ControlPlane>, _: &Failed, _: Arc<Pool>) -> Action {
    Action::requeue(RETRY)
}

async fn one(object: &ControlPlane, pool: &Pool) -> Result<Action, String> {
    let (Some(uid), Some(namespace)) = (object.uid(), object.namespace()) else {
        return Ok(Action::await_change());
    };
    let api: Api<ControlPlane> = Api::namespaced(pool.around.host.clone(), &namespace);
    if object.metadata.deletion_timestamp.is_some() {
        return remove(object, &uid, &api, pool).await;
    }
    if object.spec.placement != Placement::Pooled || object.spec.engine != Engine::Native {
        // Not ours; what made it not ours is said by the operator.
        return Ok(Action::await_change());
    }
    let named = Named {
        uid,
        namespace,
        name: object.name_any(),
    };
    let (recipe, store, limits) = match wanted(object, &named, &api, pool).await? {
        Ok(wanted) => wanted,
        Err(wait) => return Ok(wait),
    };
    hold(object, &api).await?;
    settle(object, &api).await?;
    let plane = place(&named, recipe, store, pool).await?;
    plane.set_storage(limits)?;
    let before = plane.set_power(object.spec.power);
    let serving = if object.spec.power == Power::Asleep {
        plane.stop().await;
        Condition::no(
            types::SERVING,
            reasons::ASLEEP,
            "it is kept asleep (spec.power)",
        )
    } else {
        let known = object.status.as_ref().is_some_and(|s| s.endpoint.is_some());
        // One that was served before may stay asleep until somebody asks for it.
        if !known || object.spec.power == Power::Awake || before == Power::Asleep {
            plane.awake().await?;
        }
        Condition::yes(
            types::SERVING,
            reasons::AVAILABLE,
            format!("served by the pool at {}", plane.recipe.server),
        )
    };
    let endpoint = Endpoint {
        server: plane.recipe.server.clone(),
        server_name: plane.server_name.clone(),
        certificate_authority_data: Some(BASE64.encode(&plane.recipe.ca)),
    };
    let said = Said {
        endpoint: Some(endpoint),
        version: Some(plane.git_version().to_owned()),
        datastore: Some(plane.recipe.datastore.0.clone()),
        serving,
    };
    let said = say(&api, object, &said).await;
    said.map_err(|e| crate::cli::said(&e))?;
    Ok(Action::await_change())
}

/// What it is to be served as. Otherwise it says why it is not, and when to look again.
async fn wanted(
    object: &ControlPlane,
    named: &Named,
    api: &Api<ControlPlane>,
    pool: &Pool,
) -> Result<Result<(Recipe, Chosen, Storage), Action>, String> {
    let owner = storage::owner(&named.namespace, pool).await?;
    if moved(object, owner.as_ref(), api, pool).await? {
        // Its status has changed, which brings it here again.
        return Ok(Err(Action::await_change()));
    }
    let given = owner.as_ref().and_then(|owner| owner.storage.as_ref());
    let limits = Storage::of(object.spec.storage.as_ref(), given)
        .map_err(|why| Condition::no(types::SERVING, reasons::INVALID_SPEC, why));
    let mut wait = Action::await_change();
    let found = match limits {
        Err(wrong) => Err(wrong),
        Ok(limits) => match datastore(object, owner.as_ref(), pool).await {
            Ok(store) => recipe(object, named, pool, &store)
                .await?
                .map(|recipe| (recipe, store, limits)),
            Err(missing) => {
                if missing.reason == reasons::DATASTORE_NOT_ALLOWED {
                    evict(&named.uid, pool).await;
                }
                wait = Action::requeue(RETRY);
                Err(missing)
            }
        },
    };
    match found {
        Ok((mut recipe, store, limits)) => {
            recipe.watches = limits.watches;
            Ok(Ok((recipe, store, limits)))
        }
        Err(serving) => {
            refuse(object, api, serving).await?;
            Ok(Err(wait))
        }
    }
}

/// It is not served, and says why.
async fn refuse(
    object: &ControlPlane,
    api: &Api<ControlPlane>,
    serving: Condition,
) -> Result<(), String> {
    let said = Said {
        endpoint: None,
        version: None,
        datastore: None,
        serving,
    };
    let said = say(api, object, &said).await;
    said.map_err(|e| crate::cli::said(&e))
}

/// The datastore of a control plane, or the condition that says why there is none.
async fn datastore(
    object: &ControlPlane,
    owner: Option<&Owner>,
    pool: &Pool,
) -> Result<Chosen, Condition> {
    let (name, wanted) = (datastores::name_for(object), datastores::wanted_by(object));
    if name != wanted {
        return Err(Condition::no(
            types::SERVING,
            reasons::DATASTORE_CHANGED,
            format!(
                "its data is in datastore {name} and is not moved to {wanted} by itself; set spec.datastore.name to {name}, or use `freehold store move`"
            ),
        ));
    }
    storage::allowed(name, owner, pool).await?;
    let store = pool.datastores.get(name).await;
    store.map_err(|why| {
        let message = why.for_tenants(name);
        Condition::no(types::SERVING, why.reason, message)
    })
}

/// Ends what is served of a control plane; its data stays.
async fn evict(uid: &str, pool: &Pool) {
    if let Some(plane) = pool.take(uid) {
        plane.ended.cancel();
        plane.stop().await;
    }
}

/// Takes up a move that an administrator has made (`freehold store move`) and that the object now
/// asks for: the keyspace is closed where it was and says that it went, and it is there.
async fn moved(
    object: &ControlPlane,
    owner: Option<&Owner>,
    api: &Api<ControlPlane>,
    pool: &Pool,
) -> Result<bool, String> {
    let (name, wanted) = (datastores::name_for(object), datastores::wanted_by(object));
    let (Some(uid), false) = (object.uid(), name == wanted) else {
        return Ok(false);
    };
    if storage::allowed(wanted, owner, pool).await.is_err() {
        return Ok(false);
    }
    let id = keyspace(&uid);
    let (Ok(from), Ok(to)) = (
        pool.datastores.get(name).await,
        pool.datastores.get(wanted).await,
    ) else {
        return Ok(false);
    };
    let arrived = transfer::arrived(&*from.keyspaces, &*to.keyspaces, &id);
    if !arrived.await.map_err(|e| for_tenants(&e))? {
        return Ok(false);
    }
    evict(&uid, pool).await;
    let text = format!("its data was moved to datastore {wanted}");
    let said = Said {
        endpoint: None,
        version: None,
        datastore: Some(wanted.to_owned()),
        serving: Condition::no(types::SERVING, reasons::WAITING_FOR_SERVER, text),
    };
    say(api, object, &said)
        .await
        .map_err(|e| crate::cli::said(&e))?;
    // From here on nobody asks for what is left there.
    from.keyspaces
        .delete(&id)
        .await
        .map_err(|e| for_tenants(&e))?;
    tracing::info!(keyspace = %id, from = name, to = wanted, "moved");
    Ok(true)
}

/// Before anything is stored it is written down where.
async fn settle(object: &ControlPlane, api: &Api<ControlPlane>) -> Result<(), String> {
    let known = object
        .status
        .as_ref()
        .is_some_and(|s| s.datastore.is_some());
    if known || datastores::wanted_by(object) == datastores::EMBEDDED {
        return Ok(());
    }
    let name = datastores::wanted_by(object);
    let said = Said {
        endpoint: None,
        version: None,
        datastore: Some(name.to_owned()),
        serving: Condition::no(
            types::SERVING,
            reasons::WAITING_FOR_SERVER,
            format!("its keyspace is made in datastore {name}"),
        ),
    };
    let said = say(api, object, &said).await;
    said.map_err(|e| crate::cli::said(&e))
}

/// The plane for this recipe: the one that is there, or a new one in its place.
async fn place(
    named: &Named,
    recipe: Recipe,
    store: Chosen,
    pool: &Pool,
) -> Result<Arc<Plane>, String> {
    if let Some(known) = pool.get(&named.uid) {
        if known.recipe == recipe {
            return Ok(known);
        }
        // Credentials, version or address changed: connections and controllers start anew.
        evict(&named.uid, pool).await;
    }
    let plane = Arc::new(Plane::new(named, recipe, store.keyspaces, &pool.around)?);
    if let Some(port) = plane.recipe.port {
        super::port::open(port, &plane, &pool.around).await?;
    }
    pool.put(plane.clone());
    Ok(plane)
}

/// The finalizer is there before anything is stored that would have to be erased.
async fn hold(object: &ControlPlane, api: &Api<ControlPlane>) -> Result<(), String> {
    finalizers(object, api, |list| {
        let missing = !list.iter().any(|f| f == FINALIZER_POOL);
        if missing {
            list.push(FINALIZER_POOL.to_owned());
        }
        missing
    })
    .await
}

/// Changes the finalizers at the very version that was read, so that nobody else's is lost;
/// several writers share the object, so a conflict reads it again.
async fn finalizers(
    object: &ControlPlane,
    api: &Api<ControlPlane>,
    change: impl Fn(&mut Vec<String>) -> bool,
) -> Result<(), String> {
    let mut current = object.clone();
    for _ in 0..10 {
        let mut list = current.finalizers().to_vec();
        if !change(&mut list) {
            return Ok(());
        }
        let version = current.resource_version();
        let patch = json!({"metadata": {"resourceVersion": version, "finalizers": list}});
        match api
            .patch(
                &object.name_any(),
                &PatchParams::default(),
                &Patch::Merge(&patch),
            )
            .await
        {
            Ok(_) => return Ok(()),
            Err(kube::Error::Api(status)) if status.code == 404 => return Ok(()),
            Err(kube::Error::Api(status)) if status.code == 409 => {}
            Err(error) => {
                return Err(format!(
                    "cannot write finalizers: {}",
                    crate::cli::said(&error)
                ));
            }
        }
        match api.get_opt(&object.name_any()).await {
            Ok(Some(fresh)) if fresh.uid() == object.uid() => current = fresh,
            Ok(_) => return Ok(()),
            Err(error) => {
                return Err(format!(
                    "cannot read it again: {}",
                    crate::cli::said(&error)
                ));
            }
        }
    }
    Err("others kept changing the object while finalizers were written".to_owned())
}

async fn remove(
    object: &ControlPlane,
    uid: &str,
    api: &Api<ControlPlane>,
    pool: &Pool,
) -> Result<Action, String> {
    evict(uid, pool).await;
    if !object.finalizers().iter().any(|f| f == FINALIZER_POOL) {
        return Ok(Action::await_change());
    }
    let id = keyspace(uid);
    let name = datastores::name_for(object);
    let store = pool
        .datastores
        .get(name)
        .await
        .map_err(|why| format!("its keyspace cannot be erased: {}", why.for_tenants(name)))?;
    let keyspaces = &store.keyspaces;
    if keyspaces
        .list()
        .await
        .map_err(|e| for_tenants(&e))?
        .contains(&id)
    {
        keyspaces
            .delete(&id)
            .await
            .map_err(|e| format!("cannot erase the keyspace: {}", for_tenants(&e)))?;
    }
    // Said to be gone only when it is seen to be gone.
    if keyspaces
        .list()
        .await
        .map_err(|e| for_tenants(&e))?
        .contains(&id)
    {
        return Err("the keyspace is still there after it was erased".to_owned());
    }
    finalizers(object, api, |list| {
        let before = list.len();
        list.retain(|f| f != FINALIZER_POOL);
        list.len() < before
    })
    .await?;
    tracing::info!(control_plane = %format!("{}/{}", object.namespace().unwrap_or_default(), object.name_any()), "erased");
    Ok(Action::await_change())
}

/// What it is made of, or the condition that says what is missing.
async fn recipe(
    object: &ControlPlane,
    named: &Named,
    pool: &Pool,
    store: &Chosen,
) -> Result<Result<Recipe, Condition>, String> {
    let no =
        |reason: &str, message: String| Ok(Err(Condition::no(types::SERVING, reason, message)));
    let Some(minor) = minor(object.spec.version.as_deref()) else {
        let wanted = object.spec.version.clone().unwrap_or_default();
        return no(
            reasons::UNSUPPORTED_VERSION,
            format!(
                "Kubernetes {wanted} is not served here: v1.{OLDEST_MINOR} to v1.{NEWEST_MINOR} are"
            ),
        );
    };
    let secrets: Api<Secret> = Api::namespaced(pool.around.host.clone(), &named.namespace);
    let get = async |name: String| {
        secrets
            .get_opt(&name)
            .await
            .map_err(|e| format!("cannot read secret {name}: {}", crate::cli::said(&e)))
    };
    let ca = text_of(get(secret::ca(&named.name)).await?);
    let tokens = text_of(get(secret::service_account(&named.name)).await?);
    let waiting = || {
        no(
            reasons::WAITING_FOR_CREDENTIALS,
            "its certificates are not made yet".to_owned(),
        )
    };
    let (Some(ca), Some(tokens)) = (ca, tokens) else {
        return waiting();
    };
    let take = |from: &BTreeMap<String, String>, key: &str| from.get(key).cloned();
    let parts = (
        take(&ca, secret::CA_CERT),
        take(&ca, secret::TLS_CERT),
        take(&ca, secret::TLS_KEY),
        take(&tokens, secret::SA_KEY),
    );
    let (Some(ca), Some(serving_cert), Some(serving_key), Some(token_key)) = parts else {
        return waiting();
    };
    let port = object.spec.endpoint.as_ref().and_then(|e| e.port);
    let server = port.map_or_else(
        || pool.around.server.clone(),
        |port| crate::host::address::server(&pool.around.public_host, port),
    );
    let service_cidr = object
        .spec
        .network
        .as_ref()
        .and_then(|n| n.service_cidr.clone());
    let service_cidr = service_cidr.unwrap_or_else(|| crate::host::SERVICE_CIDR.to_owned());
    Ok(Ok(Recipe {
        ca,
        serving_cert,
        serving_key,
        token_key,
        minor,
        server,
        service_cidr,
        port,
        watches: None,
        datastore: (datastores::wanted_by(object).to_owned(), store.opened),
    }))
}

/// `v1.36`, `1.36.3` → 36, when it is served.
fn minor(version: Option<&str>) -> Option<u8> {
    let Some(version) = version else {
        return Some(DEFAULT_MINOR);
    };
    let minor = version
        .trim_start_matches('v')
        .strip_prefix("1.")?
        .split('.')
        .next()?
        .parse()
        .ok()?;
    (OLDEST_MINOR..=NEWEST_MINOR)
        .contains(&minor)
        .then_some(minor)
}

fn text_of(secret: Option<Secret>) -> Option<BTreeMap<String, String>> {
    let data = secret?.data?;
    Some(
        data.into_iter()
            .filter_map(|(k, v)| String::from_utf8(v.0).ok().map(|text| (k, text)))
            .collect(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_as_people_write_them() {
        assert_eq!(minor(None), Some(DEFAULT_MINOR));
        assert_eq!(minor(Some("v1.36.3")), Some(36));
        assert_eq!(minor(Some("1.30")), Some(30));
        for bad in ["v1.27", "2.36", "v1.99", "1.", ""] {
            assert_eq!(minor(Some(bad)), None, "{bad}");
        }
    }
}

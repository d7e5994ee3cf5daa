//! Kamaji's DataStore: its form is checked, then it is ours; what becomes of ours is mirrored.

use crate::Result;
use crate::dialects::{again, bounded, key, tell};
use crate::host::{self, Host};
use freehold_api::condition::{self, reasons, types};
use freehold_api::dialects::kamaji::{
    CertificateAndKey, Content, DataStore, DataStoreSpec, DataStoreStatus, Driver,
    TenantControlPlane,
};
use freehold_api::{Condition, DataStoreDriver};
use futures::StreamExt;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{Api, ListParams};
use kube::runtime::controller::{Action as Next, Controller};
use kube::runtime::reflector::ObjectRef;
use kube::runtime::watcher;
use kube::{Resource, ResourceExt};
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// How often the secrets that a datastore names are looked at.
const AGAIN: Duration = Duration::from_secs(300);

pub(super) async fn run(host: Arc<Host>, shutdown: CancellationToken) {
    let any = watcher::Config::default;
    Controller::new(Api::<DataStore>::all(host.client.clone()), any())
        .watches(
            Api::<TenantControlPlane>::all(host.client.clone()),
            any(),
            |tcp: TenantControlPlane| tcp.spec.data_store.map(|name| ObjectRef::new(&name)),
        )
        .owns(
            Api::<freehold_api::DataStore>::all(host.client.clone()),
            any(),
        )
        .graceful_shutdown_on(shutdown.cancelled_owned())
        .run(pass, again, host)
        .for_each(|_| std::future::ready(()))
        .await;
}

/// One thing that a datastore names: where in the spec, and where it is kept.
#[derive(Debug, PartialEq, Eq)]
struct Named {
    path: String,
    /// namespace, name and key of a secret; nothing when the content is given as it is
    secret: Option<(String, String, String)>,
}

/// Everything the spec names; `Err` says what is wrong with its form.
fn named(spec: &DataStoreSpec) -> Result<Vec<Named>, String> {
    let mut all = Vec::new();
    let mut take = |path: &str, content: &Content, default: &str| {
        let path = format!("spec.{path}");
        let reference = content
            .secret_reference
            .as_ref()
            .or(content.secret_ref.as_ref());
        let secret = match (&content.content, reference) {
            (Some(_), _) => None,
            (None, Some(reference)) => {
                let namespace = reference
                    .namespace
                    .clone()
                    .ok_or_else(|| format!("{path}: the secret's namespace is missing"))?;
                let key = reference.key_path.clone();
                let key = key.unwrap_or_else(|| default.to_owned());
                Some((namespace, reference.name.clone(), key))
            }
            (None, None) => {
                return Err(format!("{path}: content or secretReference is missing"));
            }
        };
        all.push(Named { path, secret });
        Ok(())
    };
    if let Some(auth) = &spec.basic_auth {
        take("basicAuth.username", &auth.username, "username")?;
        take("basicAuth.password", &auth.password, "password")?;
    }
    if let Some(tls) = &spec.tls_config {
        let mut pair = |path: &str, pair: &CertificateAndKey, cert: &str, key: &str| {
            take(&format!("{path}.certificate"), &pair.certificate, cert)?;
            match &pair.private_key {
                Some(private) => take(&format!("{path}.privateKey"), private, key),
                None => Ok(()),
            }
        };
        pair(
            "tlsConfig.certificateAuthority",
            &tls.certificate_authority,
            "ca.crt",
            "ca.key",
        )?;
        if let Some(client) = &tls.client_certificate {
            pair("tlsConfig.clientCertificate", client, "tls.crt", "tls.key")?;
        }
    }
    Ok(all)
}

/// What is wrong with the form of a datastore, besides what it names.
fn ill_formed(spec: &DataStoreSpec) -> Option<String> {
    if spec.driver == Driver::Etcd && spec.tls_config.is_none() {
        return Some("spec.tlsConfig: etcd is spoken to with certificates only".to_owned());
    }
    if spec.tls_config.is_none() && spec.basic_auth.is_none() {
        return Some("spec: either tlsConfig or basicAuth is needed".to_owned());
    }
    spec.endpoints
        .iter()
        .enumerate()
        .find_map(|(index, endpoint)| {
            let bare = endpoint
                .split_once("://")
                .map_or(&**endpoint, |(_, rest)| rest);
            let port = bare
                .rsplit_once(':')
                .and_then(|(_, port)| port.parse::<u16>().ok());
            port.is_none()
                .then(|| format!("spec.endpoints[{index}]: {endpoint:?} has no port"))
        })
}

async fn check(store: &DataStore, host: &Host) -> Result<Condition> {
    let spec = &store.spec;
    let no = |reason, message: String| Ok(Condition::no(types::READY, reason, message));
    if let Some(wrong) = ill_formed(spec) {
        return no(reasons::INVALID_SPEC, wrong);
    }
    let named = match named(spec) {
        Ok(named) => named,
        Err(wrong) => return no(reasons::INVALID_SPEC, wrong),
    };
    for Named { path, secret } in &named {
        let Some((namespace, name, key)) = secret else {
            continue;
        };
        let api: Api<Secret> = Api::namespaced(host.client.clone(), namespace);
        let Some(found) = host::get(&api, name).await? else {
            let message = format!("{path}: there is no secret {namespace}/{name}");
            return no(reasons::INVALID_SPEC, message);
        };
        // a certificate authority kept as cert-manager and cluster-api keep it
        let other = key.replace("ca.", "tls.");
        let there = found
            .data
            .as_ref()
            .is_some_and(|data| data.contains_key(key) || data.contains_key(&other));
        if !there {
            let message = format!("{path}: the secret {namespace}/{name} has no key {key}");
            return no(reasons::INVALID_SPEC, message);
        }
    }
    let Some(wanted) = ours(store) else {
        return no(
            reasons::NOT_YET_SUPPORTED,
            format!(
                "its form and the {} things it names were checked; this kind of datastore cannot be used in this version",
                named.len()
            ),
        );
    };
    mirror(&wanted, host).await
}

/// Kamaji keeps its databases beside this one, which is always there.
const DATABASE: &str = "postgres";

/// The same in our words, if we can use it.
fn ours(store: &DataStore) -> Option<freehold_api::DataStore> {
    let spec = &store.spec;
    let driver = match spec.driver {
        Driver::Etcd => DataStoreDriver::Etcd,
        Driver::PostgreSQL => DataStoreDriver::PostgreSQL,
        Driver::MySQL | Driver::NATS => return None,
    };
    let wanted = freehold_api::DataStoreSpec {
        driver,
        // Kamaji's may be named by everybody who may make a TenantControlPlane.
        tenants: Some(freehold_api::AllowedTenants::all()),
        endpoints: spec.endpoints.clone(),
        database: (driver == DataStoreDriver::PostgreSQL).then(|| DATABASE.to_owned()),
        prefix: None,
        basic_auth: spec.basic_auth.clone(),
        tls_config: spec.tls_config.clone(),
        tls_server_name: None,
    };
    let mut ours = freehold_api::DataStore::new(&store.name_any(), wanted);
    ours.metadata.owner_references = store.controller_owner_ref(&()).map(|owner| vec![owner]);
    Some(ours)
}

/// Makes ours and says what is said of it.
async fn mirror(wanted: &freehold_api::DataStore, host: &Host) -> Result<Condition> {
    let api: Api<freehold_api::DataStore> = Api::all(host.client.clone());
    let known = host::get(&api, &wanted.name_any()).await?;
    let owner = |object: &freehold_api::DataStore| {
        let owners = object.metadata.owner_references.iter().flatten();
        owners.map(|owner| owner.uid.clone()).collect::<Vec<_>>()
    };
    if let Some(known) = &known
        && owner(known) != owner(wanted)
    {
        return Ok(Condition::no(
            types::READY,
            reasons::NAME_CONFLICT,
            "there is a DataStore of freehold.dev of that name which was not made from this one",
        ));
    }
    host::ensure(&api, known.as_ref(), wanted).await?;
    let conditions = known.and_then(|known| known.status).map(|s| s.conditions);
    let ready = conditions.and_then(|all| condition::find(&all, types::READY).cloned());
    Ok(ready.unwrap_or_else(|| {
        Condition::unknown(
            types::READY,
            reasons::WAITING_FOR_POOL,
            "nobody has connected to it yet",
        )
    }))
}

async fn pass(store: Arc<DataStore>, host: Arc<Host>) -> Result<Next> {
    bounded(store.as_ref(), Box::pin(reconcile(&store, &host))).await
}

async fn reconcile(store: &DataStore, host: &Host) -> Result<Next> {
    if store.metadata.deletion_timestamp.is_some() {
        return Ok(Next::await_change());
    }
    let ready = check(store, host).await?;
    let users: Api<TenantControlPlane> = Api::all(host.client.clone());
    let users = users
        .list(&ListParams::default())
        .await
        .map_err(crate::Error::host("list tenant control planes"))?;
    let name = store.name_any();
    let mut used_by: Vec<String> = users
        .iter()
        .filter(|tcp| tcp.spec.data_store.as_deref() == Some(&name))
        .map(|tcp| format!("{}/{}", tcp.namespace().unwrap_or_default(), tcp.name_any()))
        .collect();
    used_by.sort();
    let api: Api<DataStore> = Api::all(host.client.clone());
    let now = host::now_text();
    let after = host::update_status(&api, store, |store| {
        let before = store.status.clone();
        let generation = store.metadata.generation;
        let status: &mut DataStoreStatus = store.status.get_or_insert_default();
        status.observed_generation = generation;
        status.used_by.clone_from(&used_by);
        status.ready = ready.holds();
        condition::set(&mut status.conditions, ready.clone().at(generation), &now);
        store.status != before
    })
    .await?;
    let conditions = |store: &DataStore| {
        store
            .status
            .as_ref()
            .map_or(Vec::new(), |s| s.conditions.clone())
    };
    if let Some(written) = after {
        let (before, after) = (conditions(&written.before), conditions(&written.after));
        tell(host, store, &before, &after).await;
    }
    host.went_well(&key(store));
    Ok(Next::requeue(AGAIN))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn spec(value: Value) -> DataStoreSpec {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn both_spellings_of_a_reference_are_read_and_keys_are_guessed() {
        let reference = |name: &str| json!({"secretRef": {"name": name, "namespace": "n"}});
        let spec = spec(json!({
            "driver": "etcd",
            "endpoints": ["https://etcd-0.n:2379", "etcd-1.n:2379"],
            "tlsConfig": {
                "certificateAuthority": {"certificate": reference("a"), "privateKey": reference("a")},
                "clientCertificate": {
                    "certificate": {"secretReference": {"name": "b", "namespace": "n", "keyPath": "x.crt"}},
                    "privateKey": {"content": "eA=="},
                },
            },
        }));
        assert_eq!(ill_formed(&spec), None);
        let keys: Vec<Option<String>> = named(&spec)
            .unwrap()
            .into_iter()
            .map(|n| n.secret.map(|(_, name, key)| format!("{name}/{key}")))
            .collect();
        let text = |t: &str| Some(t.to_owned());
        assert_eq!(
            keys,
            [text("a/ca.crt"), text("a/ca.key"), text("b/x.crt"), None]
        );
    }

    #[test]
    fn what_is_wrong_is_named_by_field() {
        let tls = json!({"certificateAuthority": {"certificate": {}}});
        let cases = [
            (
                json!({"driver": "etcd", "endpoints": ["a:1"]}),
                "spec.tlsConfig",
            ),
            (
                json!({"driver": "MySQL", "endpoints": ["a:1"]}),
                "basicAuth",
            ),
            (
                json!({"driver": "etcd", "endpoints": ["a:1", "b"], "tlsConfig": tls}),
                "spec.endpoints[1]",
            ),
        ];
        for (value, field) in cases {
            let wrong = ill_formed(&spec(value)).unwrap();
            assert!(wrong.contains(field), "{wrong}");
        }
        let wrong = named(&spec(
            json!({"driver": "etcd", "endpoints": ["a:1"], "tlsConfig": tls}),
        ));
        assert!(
            wrong
                .unwrap_err()
                .contains("certificateAuthority.certificate")
        );
    }
}

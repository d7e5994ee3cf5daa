//! Our secrets in the shape of another system.

use crate::Result;
use crate::control_plane::credentials::text;
use crate::host::{self, Host};
use freehold_api::condition::{reasons, types};
use freehold_api::{Condition, ControlPlane, names};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::Api;
use kube::{Resource, ResourceExt};
use std::collections::BTreeMap;

/// What our secrets of a control plane say, all PEM or YAML.
#[derive(Clone, Debug, Default)]
pub(super) struct Ours {
    pub ca_cert: String,
    pub ca_key: String,
    pub serving_cert: String,
    pub serving_key: String,
    pub sa_key: String,
    pub sa_pub: String,
    pub kubeconfig: String,
}

/// Reads them; `None` while one is missing.
pub(super) async fn read(host: &Host, control_plane: &ControlPlane) -> Result<Option<Ours>> {
    let namespace = control_plane.namespace().unwrap_or_default();
    let api: Api<Secret> = Api::namespaced(host.client.clone(), &namespace);
    let name = control_plane.name_any();
    let (ca, sa, kubeconfig) = (
        names::secret::ca(&name),
        names::secret::service_account(&name),
        names::secret::kubeconfig(&name),
    );
    let (ca, sa, kubeconfig) = futures::try_join!(
        host::get(&api, &ca),
        host::get(&api, &sa),
        host::get(&api, &kubeconfig),
    )?;
    let take = |secret: &Option<Secret>, key: &str| text(secret.as_ref(), key).map(str::to_owned);
    Ok((|| {
        Some(Ours {
            ca_cert: take(&ca, names::secret::CA_CERT)?,
            ca_key: take(&ca, names::secret::CA_KEY)?,
            serving_cert: take(&ca, names::secret::TLS_CERT)?,
            serving_key: take(&ca, names::secret::TLS_KEY)?,
            sa_key: take(&sa, names::secret::SA_KEY)?,
            sa_pub: take(&sa, names::secret::SA_PUB)?,
            kubeconfig: take(&kubeconfig, names::secret::KUBECONFIG)?,
        })
    })())
}

/// A secret of a foreign object.
pub(super) fn secret<K, const N: usize>(
    owner: &K,
    namespace: &str,
    name: String,
    labels: BTreeMap<String, String>,
    data: [(&str, &str); N],
) -> Secret
where
    K: Resource<DynamicType = ()>,
{
    Secret {
        metadata: ObjectMeta {
            name: Some(name),
            namespace: Some(namespace.to_owned()),
            labels: Some(labels),
            owner_references: owner.controller_owner_ref(&()).map(|r| vec![r]),
            ..ObjectMeta::default()
        },
        type_: Some("Opaque".to_owned()),
        data: Some(
            data.into_iter()
                .map(|(key, value)| (key.to_owned(), ByteString(value.as_bytes().to_vec())))
                .collect(),
        ),
        ..Secret::default()
    }
}

/// Writes them; `Err` names one that is there already and is somebody else's.
pub(super) async fn write<K: Resource<DynamicType = ()>>(
    host: &Host,
    owner: &K,
    wanted: &[Secret],
) -> Result<Result<(), Condition>> {
    let uid = owner.meta().uid.as_deref();
    for secret in wanted {
        let namespace = secret.namespace().unwrap_or_default();
        let name = secret.name_any();
        let api: Api<Secret> = Api::namespaced(host.client.clone(), &namespace);
        let known = host::get(&api, &name).await?;
        let foreign = known.as_ref().is_some_and(|secret| {
            !secret
                .owner_references()
                .iter()
                .any(|r| Some(r.uid.as_str()) == uid)
        });
        if foreign {
            let message = format!("the secret {namespace}/{name} is there already");
            return Ok(Err(Condition::no(
                types::SYNCED,
                reasons::NAME_CONFLICT,
                message,
            )));
        }
        host::ensure(&api, known.as_ref(), secret).await?;
    }
    Ok(Ok(()))
}

/// Deletes those of the named secrets that are the owner's.
pub(super) async fn remove<K: Resource<DynamicType = ()>>(
    host: &Host,
    owner: &K,
    namespace: &str,
    all: &[String],
) -> Result<()> {
    let api: Api<Secret> = Api::namespaced(host.client.clone(), namespace);
    let uid = owner.meta().uid.as_deref();
    for name in all {
        let Some(secret) = host::get(&api, name).await? else {
            continue;
        };
        let mine = secret
            .owner_references()
            .iter()
            .any(|r| Some(r.uid.as_str()) == uid);
        if mine {
            host::delete(&api, &secret).await?;
        }
    }
    Ok(())
}

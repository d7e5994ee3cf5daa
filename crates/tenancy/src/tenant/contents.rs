//! What is in a tenant's namespace: made so, and nothing of ours beyond that.

use super::plan::Contents;
use crate::host::{self, Host};
use crate::{Error, Result};
use freehold_api::{TenantName, names};
use kube::api::{Api, ListParams};
use kube::core::NamespaceResourceScope;
use kube::{Resource, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fmt::Debug;

/// Makes the namespace's contents what is wanted; what others made is not touched.
pub(super) async fn ensure(
    host: &Host,
    tenant: &TenantName,
    namespace: &str,
    wanted: Contents,
) -> Result<()> {
    let Contents {
        role_bindings,
        quotas,
        limit_ranges,
        network_policies,
    } = wanted;
    futures::try_join!(
        all(host, tenant, namespace, role_bindings),
        all(host, tenant, namespace, quotas),
        all(host, tenant, namespace, limit_ranges),
        all(host, tenant, namespace, network_policies),
    )?;
    Ok(())
}

async fn all<K>(host: &Host, tenant: &TenantName, namespace: &str, wanted: Vec<K>) -> Result<()>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + Debug
        + Serialize
        + DeserializeOwned,
{
    let api: Api<K> = Api::namespaced(host.client.clone(), namespace);
    let label = format!(
        "{}={tenant},{}={}",
        names::LABEL_TENANT,
        names::LABEL_MANAGED_BY,
        names::MANAGED_BY
    );
    let known = api
        .list(&ListParams::default().labels(&label))
        .await
        .map_err(Error::host(format!(
            "list {} of {namespace}",
            K::plural(&())
        )))?
        .items;
    for object in &wanted {
        let there = known.iter().find(|k| k.name_any() == object.name_any());
        host::ensure(&api, there, object).await?;
    }
    for object in &known {
        if !wanted.iter().any(|w| w.name_any() == object.name_any()) {
            host::delete(&api, object).await?;
        }
    }
    Ok(())
}

//! Our ControlPlane for a foreign object: made, kept the same, removed.

use super::Origin;
use crate::host::{self, Host};
use crate::{Error, Result};
use freehold_api::condition::{reasons, types};
use freehold_api::{
    Condition, ControlPlane, ControlPlaneName, ControlPlaneSpec, TenantName, names,
};
use kube::ResourceExt;
use kube::api::{Api, ListParams, PostParams};
use std::collections::BTreeMap;

/// What is wanted.
pub(super) struct Wanted<'a> {
    pub tenant: &'a TenantName,
    pub name: &'a str,
    pub spec: ControlPlaneSpec,
    pub annotations: BTreeMap<String, String>,
    pub origin: &'a Origin,
}

/// Makes it so; `Err` says what is in the way.
pub(super) async fn ensure(
    host: &Host,
    wanted: Wanted<'_>,
) -> Result<Result<ControlPlane, Condition>> {
    let no = |reason, message| Ok(Err(Condition::no(types::SYNCED, reason, message)));
    let name = match ControlPlaneName::new(wanted.name) {
        Ok(name) => name,
        Err(error) => return no(reasons::INVALID_NAME, format!("metadata.name: {error}")),
    };
    let namespace = wanted.tenant.namespace();
    for known in of_origin(host, wanted.origin).await? {
        if known.namespace().as_deref() != Some(&namespace) {
            return no(
                reasons::TENANT_MISMATCH,
                "it is served for another tenant already; a control plane cannot change its tenant"
                    .to_owned(),
            );
        }
    }
    let api: Api<ControlPlane> = Api::namespaced(host.client.clone(), &namespace);
    let mut spec = wanted.spec;
    spec.tenant = Some(wanted.tenant.to_string());
    let mut annotations = wanted.origin.annotations();
    annotations.extend(wanted.annotations);
    let Some(known) = host::get(&api, name.as_str()).await? else {
        let mut new = ControlPlane::new(name.as_str(), spec);
        new.metadata.namespace = Some(namespace);
        new.metadata.annotations = Some(annotations);
        new.metadata.labels = Some(BTreeMap::from([
            (names::LABEL_TENANT.to_owned(), wanted.tenant.to_string()),
            (
                names::LABEL_MANAGED_BY.to_owned(),
                names::MANAGED_BY.to_owned(),
            ),
            (
                names::LABEL_ORIGIN_UID.to_owned(),
                wanted.origin.uid.clone(),
            ),
        ]));
        let made = api
            .create(&PostParams::default(), &new)
            .await
            .map_err(Error::host(format!("create control plane {name}")))?;
        return Ok(Ok(made));
    };
    if !wanted.origin.made(&known) {
        return no(
            reasons::NAME_CONFLICT,
            format!(
                "the tenant {} has another control plane {name}",
                wanted.tenant
            ),
        );
    }
    if known.metadata.deletion_timestamp.is_some() || known.spec == spec {
        return Ok(Ok(known));
    }
    let mut changed = known;
    changed.spec = spec;
    let written = api
        .replace(name.as_str(), &PostParams::default(), &changed)
        .await
        .map_err(Error::host(format!("update control plane {name}")))?;
    Ok(Ok(written))
}

async fn of_origin(host: &Host, origin: &Origin) -> Result<Vec<ControlPlane>> {
    let api: Api<ControlPlane> = Api::all(host.client.clone());
    let label = format!("{}={}", names::LABEL_ORIGIN_UID, origin.uid);
    let list = api
        .list(&ListParams::default().labels(&label))
        .await
        .map_err(Error::host("list control planes"))?;
    Ok(list.items)
}

/// Removes it; whether it is gone.
pub(super) async fn remove(host: &Host, origin: &Origin) -> Result<bool> {
    let all = of_origin(host, origin).await?;
    for cp in &all {
        if cp.metadata.deletion_timestamp.is_none() {
            let namespace = cp.namespace().unwrap_or_default();
            let api: Api<ControlPlane> = Api::namespaced(host.client.clone(), &namespace);
            host::delete(&api, cp).await?;
        }
    }
    Ok(all.is_empty())
}

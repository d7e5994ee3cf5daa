//! The end of a tenant: its control planes first, then what it has in namespaces, then its own
//! namespace, then proof that nothing is left. Each step may be repeated.

use super::{contents, key, namespaces, plan};
use crate::events::{self, Level};
use crate::host::{self, Host};
use crate::{Error, Result};
use freehold_api::condition::{self, reasons, types};
use freehold_api::{Condition, ControlPlane, Tenant, TenantName, names};
use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::api::rbac::v1::ClusterRoleBinding;
use kube::api::{Api, ListParams, Patch, PatchParams};
use kube::runtime::controller::Action as Next;
use kube::{Resource, ResourceExt};
use serde_json::json;
use std::collections::BTreeMap;
use std::time::Duration;

/// How often a deletion that waits looks again, besides being told.
const REMIND: Duration = Duration::from_secs(10);

pub(super) async fn run(
    tenant: &Tenant,
    name: &TenantName,
    api: &Api<Tenant>,
    host: &Host,
) -> Result<Next> {
    if !tenant
        .finalizers()
        .iter()
        .any(|f| f == names::FINALIZER_TENANT)
    {
        return Ok(Next::await_change());
    }
    let left = control_planes(name, host).await?;
    if !left.is_empty() {
        let message = format!("still there: control planes {}", left.join(", "));
        wait(tenant, api, reasons::WAITING_FOR_CONTROL_PLANES, message).await?;
        return Ok(Next::requeue(REMIND));
    }
    for namespace in namespaces(name, host).await? {
        contents::ensure(host, name, &namespace.name_any(), plan::Contents::default()).await?;
    }
    if !home_gone(name, host).await? {
        let message = format!("still there: namespace {}", name.namespace());
        wait(tenant, api, reasons::WAITING_FOR_NAMESPACE, message).await?;
        return Ok(Next::requeue(REMIND));
    }
    let bindings: Api<ClusterRoleBinding> = Api::all(host.client.clone());
    if let Some(binding) = host::get(&bindings, &plan::requester_binding_name(name)).await? {
        host::delete(&bindings, &binding).await?;
    }
    if host::set_finalizer(api, tenant, names::FINALIZER_TENANT, false).await? {
        let message = "checked: no control plane, secret, namespace or role binding of it is left";
        events::publish(host, tenant, Level::Normal, "Deleted", message).await;
    }
    host.went_well(&key(tenant));
    Ok(Next::await_change())
}

/// Deletes the tenant's control planes; the names of those still there.
async fn control_planes(name: &TenantName, host: &Host) -> Result<Vec<String>> {
    let everywhere: Api<ControlPlane> = Api::all(host.client.clone());
    let label = format!("{}={name}", names::LABEL_TENANT);
    let at_home: Api<ControlPlane> = Api::namespaced(host.client.clone(), &name.namespace());
    let (everywhere, at_home) = futures::try_join!(
        list(&everywhere, ListParams::default().labels(&label)),
        list(&at_home, ListParams::default()),
    )?;
    let all: BTreeMap<String, ControlPlane> = everywhere
        .into_iter()
        .chain(at_home)
        .map(|cp| (host::describe(&cp), cp))
        .collect();
    for cp in all.values() {
        if cp.meta().deletion_timestamp.is_none() {
            let namespace = cp.namespace().unwrap_or_default();
            let api: Api<ControlPlane> = Api::namespaced(host.client.clone(), &namespace);
            host::delete(&api, cp).await?;
        }
    }
    Ok(all.values().map(ResourceExt::name_any).collect())
}

async fn list(api: &Api<ControlPlane>, params: ListParams) -> Result<Vec<ControlPlane>> {
    let list = api
        .list(&params)
        .await
        .map_err(Error::host("list control planes"))?;
    Ok(list.items)
}

/// Deletes the tenant's namespace, or gives it back when it was there before; whether that is done.
async fn home_gone(name: &TenantName, host: &Host) -> Result<bool> {
    let api: Api<Namespace> = Api::all(host.client.clone());
    let text = name.namespace();
    let Some(namespace) = host::get(&api, &text).await? else {
        return Ok(true);
    };
    let label = namespace.labels().get(names::LABEL_TENANT);
    if label.is_none_or(|l| l != name.as_str()) {
        return Ok(true);
    }
    if namespace
        .annotations()
        .contains_key(names::ANNOTATION_ADOPTED)
    {
        contents::ensure(host, name, &text, plan::Contents::default()).await?;
        let patch = json!({ "metadata": {
            "labels": { names::LABEL_TENANT: null },
            "annotations": { names::ANNOTATION_ADOPTED: null },
        }});
        api.patch(&text, &PatchParams::default(), &Patch::Merge(&patch))
            .await
            .map_err(Error::host(format!("give back namespace {text}")))?;
        return Ok(true);
    }
    if namespace.meta().deletion_timestamp.is_none() {
        host::delete(&api, &namespace).await?;
    }
    Ok(host::get(&api, &text).await?.is_none())
}

async fn wait(tenant: &Tenant, api: &Api<Tenant>, reason: &str, message: String) -> Result<()> {
    let now = host::now_text();
    let terminating = Condition::yes(types::TERMINATING, reason, message);
    host::update_status(api, tenant, |tenant| {
        let status = tenant.status.get_or_insert_default();
        let before = status.clone();
        condition::set(&mut status.conditions, terminating.clone(), &now);
        let ready = Condition::no(types::READY, reasons::DELETING, "it is being deleted");
        condition::set(&mut status.conditions, ready, &now);
        *status != before
    })
    .await?;
    Ok(())
}

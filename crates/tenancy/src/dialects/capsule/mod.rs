//! Capsule: Tenant, and the namespaces that name it in a label.

mod translate;

use super::{Origin, REMIND, again, bounded, key, origin_of, tell};
use crate::host::{self, Host};
use crate::{Error, Result};
use freehold_api::condition::{reasons, types};
use freehold_api::dialects::capsule::{CapsuleTenant, LABEL_TENANT as CAPSULE_LABEL};
use freehold_api::{Condition, Tenant, TenantName, TenantSpec, names};
use futures::StreamExt;
use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{Api, ListParams, Patch, PatchParams, PostParams};
use kube::runtime::controller::{Action as Next, Config, Controller};
use kube::runtime::reflector::ObjectRef;
use kube::runtime::watcher;
use kube::{Resource, ResourceExt};
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;
use translate::{Found, mirror, translate};

/// Runs until told to stop.
pub(super) async fn run(host: Arc<Host>, shutdown: CancellationToken) {
    let client = host.client.clone();
    let any = watcher::Config::default;
    Controller::new(Api::<CapsuleTenant>::all(client.clone()), any())
        .with_config(Config::default().concurrency(16))
        .watches(
            Api::<Tenant>::all(client.clone()),
            any().labels(names::LABEL_ORIGIN_UID),
            |tenant: Tenant| origin_of::<CapsuleTenant>(&tenant),
        )
        .watches(
            Api::<Namespace>::all(client),
            any().labels(CAPSULE_LABEL),
            |namespace: Namespace| {
                let name = namespace.labels().get(CAPSULE_LABEL)?;
                Some(ObjectRef::<CapsuleTenant>::new(name))
            },
        )
        .graceful_shutdown_on(shutdown.cancelled_owned())
        .run(pass, again, host)
        .for_each(|_| std::future::ready(()))
        .await;
}

async fn pass(capsule: Arc<CapsuleTenant>, host: Arc<Host>) -> Result<Next> {
    bounded(capsule.as_ref(), Box::pin(reconcile(&capsule, &host))).await
}

async fn reconcile(capsule: &CapsuleTenant, host: &Host) -> Result<Next> {
    let api: Api<CapsuleTenant> = Api::all(host.client.clone());
    if capsule.meta().deletion_timestamp.is_some() {
        return remove(capsule, &api, host).await;
    }
    host::set_finalizer(&api, capsule, names::FINALIZER_DIALECT, true).await?;
    let (spec, fields) = translate(capsule);
    let ours = ensure(capsule, host, spec).await?;
    if ours.is_ok() {
        adopt_namespaces(capsule, host).await?;
    }
    let waits = ours.is_err();
    let found = Found {
        ours: ours.as_ref().map_err(Clone::clone),
        without_effect: &fields,
    };
    let now = host::now_text();
    let after = host::update_status(&api, capsule, |c| mirror(c, &found, &now)).await?;
    let conditions = |capsule: &CapsuleTenant| {
        capsule
            .status
            .as_ref()
            .map_or(Vec::new(), |s| s.conditions.clone())
    };
    if let Some(written) = after {
        let (before, after) = (conditions(&written.before), conditions(&written.after));
        tell(host, capsule, &before, &after).await;
    }
    if waits {
        return Ok(Next::requeue(host.failed(&key(capsule))));
    }
    host.went_well(&key(capsule));
    Ok(Next::await_change())
}

/// Our tenant of the same name; one that somebody else made is not taken over.
async fn ensure(
    capsule: &CapsuleTenant,
    host: &Host,
    spec: TenantSpec,
) -> Result<Result<Tenant, Condition>> {
    let no = |reason, message| Ok(Err(Condition::no(types::SYNCED, reason, message)));
    let name = match TenantName::new(capsule.name_any()) {
        Ok(name) => name,
        Err(error) => return no(reasons::INVALID_NAME, format!("metadata.name: {error}")),
    };
    let api: Api<Tenant> = Api::all(host.client.clone());
    let origin = Origin::of(capsule);
    let Some(mut known) = host::get(&api, name.as_str()).await? else {
        let mut new = Tenant::new(name.as_str(), spec);
        new.metadata = ObjectMeta {
            name: Some(name.to_string()),
            annotations: Some(origin.annotations()),
            labels: Some(BTreeMap::from([
                (
                    names::LABEL_MANAGED_BY.to_owned(),
                    names::MANAGED_BY.to_owned(),
                ),
                (names::LABEL_ORIGIN_UID.to_owned(), origin.uid.clone()),
            ])),
            ..ObjectMeta::default()
        };
        let made = api
            .create(&PostParams::default(), &new)
            .await
            .map_err(Error::host(format!("create tenant {name}")))?;
        return Ok(Ok(made));
    };
    if !origin.made(&known) {
        let message = format!("there is another tenant {name} of freehold.dev already");
        return no(reasons::NAME_CONFLICT, message);
    }
    if known.spec == spec || known.metadata.deletion_timestamp.is_some() {
        return Ok(Ok(known));
    }
    known.spec = spec;
    let written = api
        .replace(name.as_str(), &PostParams::default(), &known)
        .await
        .map_err(Error::host(format!("update tenant {name}")))?;
    Ok(Ok(written))
}

/// Namespaces that name the tenant in Capsule's label get ours, and go with the Capsule tenant as
/// they do in Capsule.
async fn adopt_namespaces(capsule: &CapsuleTenant, host: &Host) -> Result<()> {
    let api: Api<Namespace> = Api::all(host.client.clone());
    let label = format!("{CAPSULE_LABEL}={}", capsule.name_any());
    let all = api
        .list(&ListParams::default().labels(&label))
        .await
        .map_err(Error::host("list namespaces"))?;
    for namespace in &all {
        let taken = namespace.labels().contains_key(names::LABEL_TENANT);
        if taken || namespace.meta().deletion_timestamp.is_some() {
            continue;
        }
        let mut owners = namespace.owner_references().to_vec();
        owners.extend(capsule.owner_ref(&()));
        let name = namespace.name_any();
        let patch = json!({ "metadata": {
            "resourceVersion": namespace.resource_version(),
            "labels": { names::LABEL_TENANT: capsule.name_any() },
            "ownerReferences": owners,
        }});
        api.patch(&name, &PatchParams::default(), &Patch::Merge(&patch))
            .await
            .map_err(Error::host(format!("label namespace {name}")))?;
    }
    Ok(())
}

async fn remove(capsule: &CapsuleTenant, api: &Api<CapsuleTenant>, host: &Host) -> Result<Next> {
    if !capsule
        .finalizers()
        .iter()
        .any(|f| f == names::FINALIZER_DIALECT)
    {
        return Ok(Next::await_change());
    }
    let tenants: Api<Tenant> = Api::all(host.client.clone());
    let name = capsule.name_any();
    let origin = Origin::of(capsule);
    if let Some(tenant) = host::get(&tenants, &name).await?
        && origin.made(&tenant)
    {
        if tenant.metadata.deletion_timestamp.is_none() {
            host::delete(&tenants, &tenant).await?;
        }
        if host::get(&tenants, &name).await?.is_some() {
            return Ok(Next::requeue(REMIND));
        }
    }
    // the garbage collector removes the namespaces once their owner is gone
    host::set_finalizer(api, capsule, names::FINALIZER_DIALECT, false).await?;
    host.went_well(&key(capsule));
    Ok(Next::await_change())
}

/// The translation, for the golden files.
#[cfg(test)]
pub(super) fn golden(capsule: &CapsuleTenant) -> (TenantSpec, Vec<String>) {
    translate(capsule)
}

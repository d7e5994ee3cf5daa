//! The tenant controller: a tenant's namespace, who may do what in it, and an orderly end.

mod contents;
pub(crate) mod plan;
mod teardown;

use crate::events::{self, Level};
use crate::host::{self, Host};
use crate::{Error, Result};
use freehold_api::condition::{self, reasons, types};
use freehold_api::{Condition, ControlPlane, Tenant, TenantName, names};
use futures::StreamExt;
use k8s_openapi::api::core::v1::{Namespace, ResourceQuota};
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding, RoleBinding};
use kube::api::{Api, ListParams, Patch, PatchParams};
use kube::runtime::controller::{Action as Next, Config, Controller};
use kube::runtime::reflector::ObjectRef;
use kube::runtime::watcher;
use kube::{Resource, ResourceExt};
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// How many tenants are worked on at a time.
const AT_A_TIME: u16 = 16;
/// A pass over one tenant ends within this time.
const PASS_WITHIN: Duration = Duration::from_secs(60);

/// The cluster roles that tenants' owners are bound to.
pub(crate) async fn prepare(host: &Host) -> Result<()> {
    let api: Api<ClusterRole> = Api::all(host.client.clone());
    for role in plan::cluster_roles() {
        host::ensure_fresh(&api, &role).await?;
    }
    Ok(())
}

/// Runs until told to stop.
pub(crate) async fn run(host: Arc<Host>, shutdown: CancellationToken) {
    let client = host.client.clone();
    let labelled = || watcher::Config::default().labels(names::LABEL_TENANT);
    Controller::new(
        Api::<Tenant>::all(client.clone()),
        watcher::Config::default(),
    )
    .with_config(Config::default().concurrency(AT_A_TIME))
    .watches(Api::<Namespace>::all(client.clone()), labelled(), |o| {
        of(&o)
    })
    .watches(Api::<RoleBinding>::all(client.clone()), labelled(), |o| {
        of(&o)
    })
    .watches(Api::<ResourceQuota>::all(client.clone()), labelled(), |o| {
        of(&o)
    })
    .watches(
        Api::<ControlPlane>::all(client),
        watcher::Config::default(),
        |cp: ControlPlane| {
            let namespace = cp.namespace().unwrap_or_default();
            let tenant = TenantName::of_namespace(&namespace).map(|t| t.to_string());
            tenant
                .or_else(|| cp.labels().get(names::LABEL_TENANT).cloned())
                .map(|name| ObjectRef::new(&name))
        },
    )
    .graceful_shutdown_on(shutdown.cancelled_owned())
    .run(pass, again, host)
    .for_each(|_| std::future::ready(()))
    .await;
}

/// The tenant that an object's label names.
fn of<K: ResourceExt>(object: &K) -> Option<ObjectRef<Tenant>> {
    let name = object.labels().get(names::LABEL_TENANT)?;
    Some(ObjectRef::new(name))
}

fn key(tenant: &Tenant) -> String {
    format!("tenant/{}", tenant.uid().unwrap_or_default())
}

fn again(tenant: Arc<Tenant>, error: &Error, host: Arc<Host>) -> Next {
    let wait = host.failed(&key(&tenant));
    let tenant = host::describe(tenant.as_ref());
    if error.code() == Some(409) {
        tracing::debug!(%tenant, error = %error.chain(), "again");
    } else {
        tracing::warn!(%tenant, error = %error.chain(), ?wait, "a pass failed");
    }
    Next::requeue(wait)
}

async fn pass(tenant: Arc<Tenant>, host: Arc<Host>) -> Result<Next> {
    tokio::time::timeout(PASS_WITHIN, Box::pin(reconcile(&tenant, &host)))
        .await
        .map_err(|_| Error::TooLate {
            what: format!("{} was not done", host::describe(tenant.as_ref())),
            seconds: PASS_WITHIN.as_secs(),
        })?
}

async fn reconcile(tenant: &Tenant, host: &Host) -> Result<Next> {
    let api: Api<Tenant> = Api::all(host.client.clone());
    let name = match TenantName::new(tenant.name_any()) {
        Ok(name) => name,
        Err(error) => {
            let message = format!("metadata.name: {error}");
            let ready = Condition::no(types::READY, reasons::INVALID_NAME, message);
            write_status(tenant, &api, host, &Found::only(ready)).await?;
            return Ok(Next::await_change());
        }
    };
    if tenant.meta().deletion_timestamp.is_some() {
        return teardown::run(tenant, &name, &api, host).await;
    }
    host::set_finalizer(&api, tenant, names::FINALIZER_TENANT, true).await?;
    if let Err(ready) = home_namespace(&name, host).await? {
        write_status(tenant, &api, host, &Found::only(ready)).await?;
        return Ok(Next::requeue(host.failed(&key(tenant))));
    }
    let found = fill(tenant, &name, host).await?;
    write_status(tenant, &api, host, &found).await?;
    host.went_well(&key(tenant));
    Ok(Next::await_change())
}

/// Makes the tenant's namespace, or takes the one that is there already; `Err` says why not.
async fn home_namespace(name: &TenantName, host: &Host) -> Result<Result<(), Condition>> {
    let api: Api<Namespace> = Api::all(host.client.clone());
    let wanted = plan::namespace(name);
    let text = name.namespace();
    let Some(known) = host::get(&api, &text).await? else {
        host::ensure(&api, None, &wanted).await?;
        return Ok(Ok(()));
    };
    let no = |reason, message| Ok(Err(Condition::no(types::READY, reason, message)));
    if known.meta().deletion_timestamp.is_some() {
        let message = format!("the namespace {text} of an earlier tenant is still being deleted");
        return no(reasons::WAITING_FOR_NAMESPACE, message);
    }
    match known.labels().get(names::LABEL_TENANT) {
        Some(label) if label == name.as_str() => Ok(Ok(())),
        Some(_) => no(
            reasons::NAME_CONFLICT,
            format!("the namespace {text} belongs to another tenant"),
        ),
        None => {
            let patch = json!({ "metadata": {
                "labels": { names::LABEL_TENANT: name.as_str() },
                "annotations": { names::ANNOTATION_ADOPTED: "true" },
            }});
            api.patch(&text, &PatchParams::default(), &Patch::Merge(&patch))
                .await
                .map_err(Error::host(format!("label namespace {text}")))?;
            Ok(Ok(()))
        }
    }
}

/// What was found out in one pass.
struct Found {
    ready: Condition,
    quota: Option<Condition>,
    fields: Option<Condition>,
    namespaces: Vec<String>,
    control_planes: u32,
}

impl Found {
    fn only(ready: Condition) -> Self {
        Self {
            ready,
            quota: None,
            fields: None,
            namespaces: Vec::new(),
            control_planes: 0,
        }
    }
}

/// Makes what the tenant has in each of its namespaces, and takes away what it no longer has.
async fn fill(tenant: &Tenant, name: &TenantName, host: &Host) -> Result<Found> {
    let home = name.namespace();
    let others = namespaces(name, host).await?;
    let (within, beyond) = plan::within_quota(tenant, &others);
    contents::ensure(host, name, &home, plan::home(tenant, name)).await?;
    for namespace in &within {
        let wanted = plan::workload(tenant, name, namespace);
        contents::ensure(host, name, namespace, wanted).await?;
    }
    for namespace in &beyond {
        contents::ensure(host, name, namespace, plan::Contents::default()).await?;
    }
    let bindings: Api<ClusterRoleBinding> = Api::all(host.client.clone());
    host::ensure_fresh(&bindings, &plan::requester_binding(tenant, name)).await?;
    let planes: Api<ControlPlane> = Api::namespaced(host.client.clone(), &home);
    let planes = planes
        .list_metadata(&ListParams::default())
        .await
        .map_err(Error::host("list control planes"))?;
    let wrong = plan::malformed(tenant);
    let ready = if wrong.is_empty() {
        Condition::yes(
            types::READY,
            reasons::AVAILABLE,
            format!("the namespace {home} is there and its owners have access"),
        )
    } else {
        Condition::no(types::READY, reasons::INVALID_SPEC, wrong.join("; "))
    };
    Ok(Found {
        ready,
        quota: Some(plan::quota_condition(&beyond, tenant)),
        fields: Some(fields_condition(&plan::without_effect(
            tenant,
            host.config.host,
        ))),
        namespaces: within,
        control_planes: u32::try_from(planes.items.len()).unwrap_or(u32::MAX),
    })
}

/// The condition that names fields without effect.
pub(crate) fn fields_condition(fields: &[String]) -> Condition {
    if fields.is_empty() {
        return Condition::no(
            types::FIELDS_WITHOUT_EFFECT,
            reasons::ALL_FIELDS_EFFECTIVE,
            "every field that is set has its effect",
        );
    }
    Condition::yes(
        types::FIELDS_WITHOUT_EFFECT,
        reasons::NOT_YET_SUPPORTED,
        fields.join("; "),
    )
}

/// The tenant's namespaces beside its own, those being deleted left out.
async fn namespaces(name: &TenantName, host: &Host) -> Result<Vec<Namespace>> {
    let api: Api<Namespace> = Api::all(host.client.clone());
    let label = format!("{}={name}", names::LABEL_TENANT);
    let list = api
        .list(&ListParams::default().labels(&label))
        .await
        .map_err(Error::host("list namespaces"))?;
    let home = name.namespace();
    Ok(list
        .into_iter()
        .filter(|ns| ns.name_any() != home && ns.metadata.deletion_timestamp.is_none())
        .collect())
}

async fn write_status(
    tenant: &Tenant,
    api: &Api<Tenant>,
    host: &Host,
    found: &Found,
) -> Result<()> {
    let now = host::now_text();
    let written = host::update_status(api, tenant, |tenant| {
        let before = tenant.status.clone();
        let generation = tenant.metadata.generation;
        let name = TenantName::new(tenant.name_any()).ok();
        let status = tenant.status.get_or_insert_default();
        status.observed_generation = generation;
        status.namespace = name.map(|n| n.namespace());
        status.namespaces.clone_from(&found.namespaces);
        status.control_planes = found.control_planes;
        let all = [
            Some(&found.ready),
            found.quota.as_ref(),
            found.fields.as_ref(),
        ];
        for condition in all.into_iter().flatten() {
            condition::set(
                &mut status.conditions,
                condition.clone().at(generation),
                &now,
            );
        }
        tenant.status != before
    })
    .await?;
    let Some(written) = written else {
        return Ok(());
    };
    let before = written
        .before
        .status
        .as_ref()
        .map_or(&[][..], |s| &s.conditions);
    let ready = &found.ready;
    let same = condition::find(before, types::READY)
        .is_some_and(|b| b.status == ready.status && b.reason == ready.reason);
    if !same {
        let level = if ready.holds() {
            Level::Normal
        } else {
            Level::Warning
        };
        events::publish(host, tenant, level, &ready.reason, &ready.message).await;
    }
    Ok(())
}

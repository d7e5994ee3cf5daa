//! KubeFlex: ControlPlane and PostCreateHook.

mod hook;
mod translate;

use super::planes::Wanted;
use super::tenants::{self, Clues};
use super::{Origin, REMIND, again, bounded, claim, key, origin_of, planes, secrets, tell};
use crate::Result;
use crate::host::{self, Host};
use freehold_api::condition::{reasons, types};
use freehold_api::dialects::kubeflex::FlexControlPlane;
use freehold_api::{Condition, ControlPlane, Tenant, TenantName, names};
use futures::StreamExt;
use k8s_openapi::api::core::v1::{Namespace, Secret};
use kube::api::Api;
use kube::runtime::controller::{Action as Next, Config, Controller};
use kube::runtime::reflector::ObjectRef;
use kube::runtime::watcher;
use kube::{Resource, ResourceExt};
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;
use translate::{Found, IN_CLUSTER_KEY, KEY, SECRET, mirror, system_namespace, translate};

/// Runs until told to stop.
pub(super) async fn run(host: Arc<Host>, shutdown: CancellationToken) {
    let control_planes = control_planes(host.clone(), shutdown.clone());
    futures::join!(control_planes, hook::run(host, shutdown));
}

async fn control_planes(host: Arc<Host>, shutdown: CancellationToken) {
    let client = host.client.clone();
    let any = watcher::Config::default;
    let controller = Controller::new(Api::<FlexControlPlane>::all(client.clone()), any())
        .with_config(Config::default().concurrency(16));
    let known = controller.store();
    controller
        .watches(
            Api::<ControlPlane>::all(client.clone()),
            any().labels(names::LABEL_ORIGIN_UID),
            |cp: ControlPlane| origin_of::<FlexControlPlane>(&cp),
        )
        .watches(
            Api::<Secret>::all(client.clone()),
            any().labels(names::LABEL_CONTROL_PLANE),
            |secret: Secret| origin_of::<FlexControlPlane>(&secret),
        )
        .watches(
            Api::<Namespace>::all(client.clone()),
            any().labels(names::LABEL_SYSTEM_OF),
            |namespace: Namespace| origin_of::<FlexControlPlane>(&namespace),
        )
        .watches(Api::<Tenant>::all(client), any(), move |_: Tenant| {
            let waiting = known.state();
            let refs: Vec<ObjectRef<FlexControlPlane>> = waiting
                .iter()
                .filter(|flex| {
                    super::waits(flex.as_ref(), flex.status.as_ref().map(|s| &*s.conditions))
                })
                .map(|flex| ObjectRef::from_obj(flex.as_ref()))
                .collect();
            refs
        })
        .graceful_shutdown_on(shutdown.cancelled_owned())
        .run(pass, again, host)
        .for_each(|_| std::future::ready(()))
        .await;
}

async fn pass(flex: Arc<FlexControlPlane>, host: Arc<Host>) -> Result<Next> {
    bounded(flex.as_ref(), Box::pin(reconcile(&flex, &host))).await
}

async fn reconcile(flex: &FlexControlPlane, host: &Host) -> Result<Next> {
    let api: Api<FlexControlPlane> = Api::all(host.client.clone());
    let made_for = format!("controlplane/{}", flex.name_any());
    if flex.meta().deletion_timestamp.is_some() {
        return remove(flex, &api, host, &made_for).await;
    }
    host::set_finalizer(&api, flex, names::FINALIZER_DIALECT, true).await?;
    let (ours, fields, written) = match carry_out(flex, host, &made_for).await? {
        Ok((ours, fields, written)) => (Ok(ours), fields, written),
        Err(why) => (Err(why), Vec::new(), false),
    };
    let waits = ours.is_err();
    let found = Found {
        ours: ours.as_ref().map_err(Clone::clone),
        without_effect: &fields,
        secrets: written,
    };
    let now = host::now_text();
    let status = host::update_status(&api, flex, |flex| mirror(flex, &found, &now)).await?;
    let conditions = |flex: &FlexControlPlane| {
        flex.status
            .as_ref()
            .map_or(Vec::new(), |s| s.conditions.clone())
    };
    if let Some(written) = status {
        let (before, after) = (conditions(&written.before), conditions(&written.after));
        tell(host, flex, &before, &after).await;
    }
    if waits {
        return Ok(Next::requeue(host.failed(&key(flex))));
    }
    host.went_well(&key(flex));
    Ok(Next::await_change())
}

type CarriedOut = (ControlPlane, Vec<String>, bool);

async fn carry_out(
    flex: &FlexControlPlane,
    host: &Host,
    made_for: &str,
) -> Result<Result<CarriedOut, Condition>> {
    let (spec, fields) = match translate(flex) {
        Ok(translation) => translation,
        Err(why) => return Ok(Err(why)),
    };
    let claim = claim(flex);
    let belongs = tenants::resolve(&Clues {
        claim: claim.as_deref(),
        namespace: None,
        fallback: &flex.name_any(),
    });
    let tenant = match belongs {
        Ok(belongs) => tenants::settle(host, &belongs, made_for).await?,
        Err(why) => Err(why),
    };
    let tenant = match tenant {
        Ok(tenant) => tenant,
        Err(why) => return Ok(Err(why)),
    };
    let origin = Origin::of(flex);
    if let Err(why) = ensure_namespace(flex, &tenant, &origin, host).await? {
        return Ok(Err(why));
    }
    let namespace = system_namespace(flex);
    let wanted = Wanted {
        tenant: &tenant,
        name: &flex.name_any(),
        spec,
        annotations: BTreeMap::from([(
            names::ANNOTATION_HOOKS_NAMESPACE.to_owned(),
            namespace.clone(),
        )]),
        origin: &origin,
    };
    let ours = match planes::ensure(host, wanted).await? {
        Ok(ours) => ours,
        Err(why) => return Ok(Err(why)),
    };
    let Some(texts) = secrets::read(host, &ours).await? else {
        return Ok(Ok((ours, fields, false)));
    };
    let labels = BTreeMap::from([(
        names::LABEL_MANAGED_BY.to_owned(),
        names::MANAGED_BY.to_owned(),
    )]);
    let admin = texts.kubeconfig.as_str();
    let secret = secrets::secret(
        flex,
        &namespace,
        SECRET.to_owned(),
        labels,
        [(KEY, admin), (IN_CLUSTER_KEY, admin)],
    );
    let written = secrets::write(host, flex, &[secret]).await?;
    Ok(written.map(|()| (ours, fields, true)))
}

/// The namespace `<name>-system`; one that somebody else made is not taken over: a control plane
/// named `kube` does not get `kube-system`.
async fn ensure_namespace(
    flex: &FlexControlPlane,
    tenant: &TenantName,
    origin: &Origin,
    host: &Host,
) -> Result<Result<(), Condition>> {
    let name = system_namespace(flex);
    let api: Api<Namespace> = Api::all(host.client.clone());
    let known = host::get(&api, &name).await?;
    let no = |reason, message| Ok(Err(Condition::no(types::SYNCED, reason, message)));
    if let Some(known) = &known {
        if !origin.made(known) {
            let message =
                format!("the namespace {name} is there already and is not this control plane's");
            return no(reasons::NAME_CONFLICT, message);
        }
        if known.meta().deletion_timestamp.is_some() {
            let message = format!("the namespace {name} is being deleted");
            return no(reasons::WAITING_FOR_NAMESPACE, message);
        }
    }
    let mut wanted = Namespace::default();
    wanted.metadata.name = Some(name);
    wanted.metadata.annotations = Some(origin.annotations());
    wanted.metadata.labels = Some(BTreeMap::from([
        (
            names::LABEL_MANAGED_BY.to_owned(),
            names::MANAGED_BY.to_owned(),
        ),
        (names::LABEL_SYSTEM_OF.to_owned(), tenant.to_string()),
        (names::LABEL_ORIGIN_UID.to_owned(), origin.uid.clone()),
    ]));
    host::ensure(&api, known.as_ref(), &wanted).await?;
    Ok(Ok(()))
}

async fn remove(
    flex: &FlexControlPlane,
    api: &Api<FlexControlPlane>,
    host: &Host,
    made_for: &str,
) -> Result<Next> {
    if !flex
        .finalizers()
        .iter()
        .any(|f| f == names::FINALIZER_DIALECT)
    {
        return Ok(Next::await_change());
    }
    let origin = Origin::of(flex);
    if !planes::remove(host, &origin).await? {
        return Ok(Next::requeue(REMIND));
    }
    let namespaces: Api<Namespace> = Api::all(host.client.clone());
    let name = system_namespace(flex);
    if let Some(namespace) = host::get(&namespaces, &name).await?
        && origin.made(&namespace)
    {
        if namespace.meta().deletion_timestamp.is_none() {
            host::delete(&namespaces, &namespace).await?;
        }
        if host::get(&namespaces, &name).await?.is_some() {
            return Ok(Next::requeue(REMIND));
        }
    }
    if !tenants::release(host, made_for).await? {
        return Ok(Next::requeue(REMIND));
    }
    host::set_finalizer(api, flex, names::FINALIZER_DIALECT, false).await?;
    host.went_well(&key(flex));
    Ok(Next::await_change())
}

/// The translation, for the golden files.
#[cfg(test)]
pub(super) fn golden(flex: &FlexControlPlane) -> (freehold_api::ControlPlaneSpec, Vec<String>) {
    translate(flex).expect("it is translated")
}

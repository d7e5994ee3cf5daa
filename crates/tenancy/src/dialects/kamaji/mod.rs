//! Kamaji: TenantControlPlane and DataStore.

mod datastore;
mod translate;

use super::planes::Wanted;
use super::tenants::Clues;
use super::{
    Origin, REMIND, again, bounded, claim, key, origin_of, planes, secrets, tell, tenants,
};
use crate::Result;
use crate::host::{self, Host};
use freehold_api::dialects::kamaji::{
    ANNOTATION_PAUSED, LABEL_COMPONENT, LABEL_NAME, LABEL_PROJECT, TenantControlPlane,
};
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
use translate::{Found, mirror, secret_name, translate};

/// Suffixes of the secrets that are made.
const SECRETS: [&str; 4] = [
    "ca",
    "api-server-certificate",
    "sa-certificate",
    "admin-kubeconfig",
];

/// Runs until told to stop.
pub(super) async fn run(host: Arc<Host>, shutdown: CancellationToken) {
    let tenant_control_planes = tenant_control_planes(host.clone(), shutdown.clone());
    futures::join!(tenant_control_planes, datastore::run(host, shutdown));
}

async fn tenant_control_planes(host: Arc<Host>, shutdown: CancellationToken) {
    let client = host.client.clone();
    let any = watcher::Config::default;
    let controller = Controller::new(Api::<TenantControlPlane>::all(client.clone()), any())
        .with_config(Config::default().concurrency(16));
    let known = controller.store();
    controller
        .watches(
            Api::<ControlPlane>::all(client.clone()),
            any().labels(names::LABEL_ORIGIN_UID),
            |cp: ControlPlane| origin_of::<TenantControlPlane>(&cp),
        )
        .watches(
            Api::<Secret>::all(client.clone()),
            any().labels(names::LABEL_CONTROL_PLANE),
            |secret: Secret| origin_of::<TenantControlPlane>(&secret),
        )
        .watches(Api::<Tenant>::all(client), any(), move |_: Tenant| {
            // one that waits may wait for this tenant
            let waiting = known.state();
            let refs: Vec<ObjectRef<TenantControlPlane>> = waiting
                .iter()
                .filter(|tcp| {
                    super::waits(tcp.as_ref(), tcp.status.as_ref().map(|s| &*s.conditions))
                })
                .map(|tcp| ObjectRef::from_obj(tcp.as_ref()))
                .collect();
            refs
        })
        .graceful_shutdown_on(shutdown.cancelled_owned())
        .run(pass, again, host)
        .for_each(|_| std::future::ready(()))
        .await;
}

async fn pass(tcp: Arc<TenantControlPlane>, host: Arc<Host>) -> Result<Next> {
    let paused = tcp.annotations().get(ANNOTATION_PAUSED);
    if paused.is_some_and(|text| text == "true") {
        return Ok(Next::await_change());
    }
    bounded(tcp.as_ref(), Box::pin(reconcile(&tcp, &host))).await
}

async fn reconcile(tcp: &TenantControlPlane, host: &Host) -> Result<Next> {
    let namespace = tcp.namespace().unwrap_or_default();
    let api: Api<TenantControlPlane> = Api::namespaced(host.client.clone(), &namespace);
    let made_for = format!("namespace/{namespace}");
    if tcp.meta().deletion_timestamp.is_some() {
        return remove(tcp, &api, host, &namespace, &made_for).await;
    }
    host::set_finalizer(&api, tcp, names::FINALIZER_DIALECT, true).await?;
    let translation = translate(tcp, &host.config.versions);
    let ours = ours(tcp, host, &namespace, &made_for, &translation.spec).await?;
    let (ours, written) = match ours {
        Err(why) => (Err(why), false),
        Ok(ours) => match write_secrets(tcp, host, &namespace, &ours).await? {
            Ok(written) => (Ok(ours), written),
            Err(why) => (Err(why), false),
        },
    };
    let waits = ours.is_err();
    let found = Found {
        ours: ours.as_ref().map_err(Clone::clone),
        without_effect: &translation.without_effect,
        secrets: written,
    };
    let now = host::now_text();
    let status = host::update_status(&api, tcp, |tcp| mirror(tcp, &found, &now)).await?;
    let conditions = |tcp: &TenantControlPlane| {
        tcp.status
            .as_ref()
            .map_or(Vec::new(), |s| s.conditions.clone())
    };
    if let Some(written) = status {
        let (before, after) = (conditions(&written.before), conditions(&written.after));
        tell(host, tcp, &before, &after).await;
    }
    if waits {
        return Ok(Next::requeue(host.failed(&key(tcp))));
    }
    host.went_well(&key(tcp));
    Ok(Next::await_change())
}

async fn ours(
    tcp: &TenantControlPlane,
    host: &Host,
    namespace: &str,
    made_for: &str,
    spec: &freehold_api::ControlPlaneSpec,
) -> Result<Result<ControlPlane, Condition>> {
    let tenant = match tenant(tcp, host, namespace, made_for).await? {
        Ok(tenant) => tenant,
        Err(why) => return Ok(Err(why)),
    };
    let wanted = Wanted {
        tenant: &tenant,
        name: &tcp.name_any(),
        spec: spec.clone(),
        annotations: BTreeMap::new(),
        origin: &Origin::of(tcp),
    };
    planes::ensure(host, wanted).await
}

async fn tenant(
    tcp: &TenantControlPlane,
    host: &Host,
    namespace: &str,
    made_for: &str,
) -> Result<Result<TenantName, Condition>> {
    let namespaces: Api<Namespace> = Api::all(host.client.clone());
    let labels = host::get(&namespaces, namespace)
        .await?
        .and_then(|ns| ns.metadata.labels);
    let of_namespace = labels.as_ref().and_then(|l| l.get(names::LABEL_TENANT));
    let claim = claim(tcp);
    let mut belongs = tenants::resolve(&Clues {
        claim: claim.as_deref(),
        namespace: of_namespace.map(String::as_str),
        fallback: namespace,
    });
    // the namespace of an implicit tenant carries its label, which makes the tenant no less so
    if let Ok(tenants::Belongs::To(name)) = &belongs
        && name.namespace() == namespace
        && tenants::was_made_for(host, name, made_for).await?
    {
        belongs = Ok(tenants::Belongs::Implicit(name.clone()));
    }
    match belongs {
        Ok(belongs) => tenants::settle(host, &belongs, made_for).await,
        Err(why) => Ok(Err(why)),
    }
}

/// Writes our secrets in Kamaji's shape; whether they are there.
async fn write_secrets(
    tcp: &TenantControlPlane,
    host: &Host,
    namespace: &str,
    ours: &ControlPlane,
) -> Result<Result<bool, Condition>> {
    let Some(texts) = secrets::read(host, ours).await? else {
        return Ok(Ok(false));
    };
    let mut wanted = foreign_secrets(tcp, namespace, &texts);
    if ours.namespace().as_deref() == Some(namespace) {
        // `<name>-ca` is ours there already, with the same authority in it
        let taken = names::secret::ca(&ours.name_any());
        wanted.retain(|secret| secret.name_any() != taken);
    }
    Ok(secrets::write(host, tcp, &wanted).await?.map(|()| true))
}

/// The secrets in Kamaji's shape (kamaji internal/resources).
fn foreign_secrets(
    tcp: &TenantControlPlane,
    namespace: &str,
    texts: &secrets::Ours,
) -> Vec<Secret> {
    let labels = |component: &str| {
        BTreeMap::from([
            (LABEL_PROJECT.to_owned(), "kamaji".to_owned()),
            (LABEL_NAME.to_owned(), tcp.name_any()),
            (LABEL_COMPONENT.to_owned(), component.to_owned()),
            (
                names::LABEL_MANAGED_BY.to_owned(),
                names::MANAGED_BY.to_owned(),
            ),
        ])
    };
    let name = |suffix: &str| secret_name(tcp, suffix);
    let admin = texts.kubeconfig.as_str();
    vec![
        // for cluster-api, tls.crt and tls.key are the authority's too
        secrets::secret(
            tcp,
            namespace,
            name("ca"),
            labels("ca"),
            [
                ("ca.crt", &*texts.ca_cert),
                ("ca.key", &*texts.ca_key),
                ("tls.crt", &*texts.ca_cert),
                ("tls.key", &*texts.ca_key),
            ],
        ),
        secrets::secret(
            tcp,
            namespace,
            name("api-server-certificate"),
            labels("api-server-certificate"),
            [
                ("apiserver.crt", &*texts.serving_cert),
                ("apiserver.key", &*texts.serving_key),
            ],
        ),
        secrets::secret(
            tcp,
            namespace,
            name("sa-certificate"),
            labels("sa-certificate"),
            [("sa.pub", &*texts.sa_pub), ("sa.key", &*texts.sa_key)],
        ),
        secrets::secret(
            tcp,
            namespace,
            name("admin-kubeconfig"),
            labels("admin-kubeconfig"),
            [
                ("admin.conf", admin),
                ("admin.svc", admin),
                ("super-admin.conf", admin),
                ("super-admin.svc", admin),
            ],
        ),
    ]
}

async fn remove(
    tcp: &TenantControlPlane,
    api: &Api<TenantControlPlane>,
    host: &Host,
    namespace: &str,
    made_for: &str,
) -> Result<Next> {
    if !tcp
        .finalizers()
        .iter()
        .any(|f| f == names::FINALIZER_DIALECT)
    {
        return Ok(Next::await_change());
    }
    if !planes::remove(host, &Origin::of(tcp)).await? {
        return Ok(Next::requeue(REMIND));
    }
    let all: Vec<String> = SECRETS
        .iter()
        .map(|suffix| secret_name(tcp, suffix))
        .collect();
    secrets::remove(host, tcp, namespace, &all).await?;
    if !tenants::release(host, made_for).await? {
        return Ok(Next::requeue(REMIND));
    }
    host::set_finalizer(api, tcp, names::FINALIZER_DIALECT, false).await?;
    host.went_well(&key(tcp));
    Ok(Next::await_change())
}

/// The translation, for the golden files.
#[cfg(test)]
pub(super) fn golden(
    tcp: &TenantControlPlane,
    served: &[String],
) -> (freehold_api::ControlPlaneSpec, Vec<String>) {
    let translation = translate(tcp, served);
    (translation.spec, translation.without_effect)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn secrets_have_kamajis_names_and_keys() {
        let tcp: TenantControlPlane = serde_json::from_value(json!({
            "metadata": {"name": "customer2", "namespace": "kamaji-system", "uid": "u"},
            "spec": {"kubernetes": {"version": "v1.28.0"}},
        }))
        .unwrap();
        let secrets = foreign_secrets(&tcp, "kamaji-system", &secrets::Ours::default());
        let shown: Vec<String> = secrets
            .iter()
            .map(|s| {
                let keys: Vec<&str> = s
                    .data
                    .as_ref()
                    .unwrap()
                    .keys()
                    .map(String::as_str)
                    .collect();
                format!("{}: {}", s.name_any(), keys.join(" "))
            })
            .collect();
        assert_eq!(
            shown,
            [
                "customer2-ca: ca.crt ca.key tls.crt tls.key",
                "customer2-api-server-certificate: apiserver.crt apiserver.key",
                "customer2-sa-certificate: sa.key sa.pub",
                "customer2-admin-kubeconfig: admin.conf admin.svc super-admin.conf super-admin.svc",
            ]
        );
        for (secret, suffix) in secrets.iter().zip(SECRETS) {
            assert_eq!(secret.name_any(), secret_name(&tcp, suffix));
            assert_eq!(secret.labels()[LABEL_NAME], "customer2");
        }
    }
}

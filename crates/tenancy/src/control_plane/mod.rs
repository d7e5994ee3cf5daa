//! The control-plane controller: secrets, readiness, hooks, and an orderly end.

pub(crate) mod credentials;
mod hooks;
pub(crate) mod plan;
mod probe;
mod status;
mod teardown;
mod template;

use crate::events::{self, Level};
use crate::host::{self, Host};
use crate::{Error, Result};
use credentials::{Action, Existing, Wanted};
use freehold_api::condition::{self, reasons, types};
use freehold_api::{Condition, ControlPlane, Hook, Power, Tenant, names};
use futures::StreamExt;
use k8s_openapi::api::core::v1::{Namespace, Secret};
use kube::api::{Api, ListParams, Patch, PatchParams};
use kube::runtime::controller::{Action as Next, Config, Controller};
use kube::runtime::reflector::ObjectRef;
use kube::runtime::watcher;
use kube::{Resource, ResourceExt};
use plan::{Accepted, Facts};
use serde_json::json;
use status::Found;
use std::sync::Arc;
use std::time::Duration;
use time::OffsetDateTime;
use tokio_util::sync::CancellationToken;

/// How many control planes are worked on at a time.
const AT_A_TIME: u16 = 32;
/// A pass over one control plane ends within this time.
const PASS_WITHIN: Duration = Duration::from_secs(60);

/// Runs until told to stop.
pub(crate) async fn run(host: Arc<Host>, shutdown: CancellationToken) {
    let client = host.client.clone();
    let controller = Controller::new(
        Api::<ControlPlane>::all(client.clone()),
        watcher::Config::default(),
    )
    .with_config(Config::default().concurrency(AT_A_TIME));
    let of_tenant = controller.store();
    let of_hook = controller.store();
    let ours = watcher::Config::default().labels(names::LABEL_CONTROL_PLANE);
    controller
        .owns(Api::<Secret>::all(client.clone()), ours)
        .watches(
            Api::<Tenant>::all(client.clone()),
            watcher::Config::default(),
            move |tenant: Tenant| {
                let name = tenant.name_any();
                references(&of_tenant.state(), |cp| {
                    cp.spec.tenant.as_deref() == Some(&name)
                        || cp.namespace().as_deref() == Some(&format!("tenant-{name}"))
                })
            },
        )
        .watches(
            Api::<Hook>::all(client),
            watcher::Config::default(),
            move |hook: Hook| {
                let name = hook.name_any();
                references(&of_hook.state(), |cp| {
                    cp.spec.hooks.iter().any(|h| h.name == name)
                })
            },
        )
        .graceful_shutdown_on(shutdown.cancelled_owned())
        .run(pass, again, host)
        .for_each(|_| std::future::ready(()))
        .await;
}

fn references(
    known: &[Arc<ControlPlane>],
    wanted: impl Fn(&ControlPlane) -> bool,
) -> Vec<ObjectRef<ControlPlane>> {
    let mut found: Vec<_> = known
        .iter()
        .filter(|cp| wanted(cp))
        .map(|cp| ObjectRef::from_obj(cp.as_ref()))
        .collect();
    found.truncate(10_000);
    found
}

fn key(control_plane: &ControlPlane) -> String {
    format!("cp/{}", control_plane.uid().unwrap_or_default())
}

fn again(control_plane: Arc<ControlPlane>, error: &Error, host: Arc<Host>) -> Next {
    let wait = host.failed(&key(&control_plane));
    let control_plane = host::describe(control_plane.as_ref());
    // two writers met: nothing is wrong
    if error.code() == Some(409) {
        tracing::debug!(%control_plane, error = %error.chain(), "again");
    } else {
        tracing::warn!(%control_plane, error = %error.chain(), ?wait, "a pass failed");
    }
    Next::requeue(wait)
}

async fn pass(control_plane: Arc<ControlPlane>, host: Arc<Host>) -> Result<Next> {
    let next = tokio::time::timeout(PASS_WITHIN, Box::pin(reconcile(&control_plane, &host)))
        .await
        .map_err(|_| Error::TooLate {
            what: format!("{} was not done", host::describe(control_plane.as_ref())),
            seconds: PASS_WITHIN.as_secs(),
        })??;
    Ok(next)
}

async fn reconcile(control_plane: &ControlPlane, host: &Host) -> Result<Next> {
    let namespace = control_plane.namespace().unwrap_or_default();
    let api: Api<ControlPlane> = Api::namespaced(host.client.clone(), &namespace);
    if control_plane.meta().deletion_timestamp.is_some() {
        return teardown::run(control_plane, &api, host).await;
    }
    let facts = Gathered::of(control_plane, &namespace, host).await?;
    let accepted = match plan::admit(&facts.facts(control_plane, host)) {
        Ok(accepted) => accepted,
        Err(refusal) => return refuse(control_plane, &api, host, refusal).await,
    };
    claim(control_plane, &api, &accepted).await?;
    serve(control_plane, &api, host, &accepted).await
}

/// What the decision needs to know, fetched from the host.
struct Gathered {
    namespace_tenant: Option<String>,
    tenant: Option<Tenant>,
    older: usize,
}

impl Gathered {
    async fn of(control_plane: &ControlPlane, namespace: &str, host: &Host) -> Result<Self> {
        let namespaces: Api<Namespace> = Api::all(host.client.clone());
        let namespace_tenant = host::get(&namespaces, namespace)
            .await?
            .and_then(|ns| ns.labels().get(names::LABEL_TENANT).cloned());
        let tenant = match &namespace_tenant {
            Some(name) => host::get(&Api::<Tenant>::all(host.client.clone()), name).await?,
            None => None,
        };
        let limited = tenant
            .as_ref()
            .and_then(|t| t.spec.control_planes.as_ref())
            .is_some_and(|limits| limits.quota.is_some());
        let older = if limited {
            older(control_plane, namespace, host).await?
        } else {
            0
        };
        Ok(Self {
            namespace_tenant,
            tenant,
            older,
        })
    }

    fn facts<'a>(&'a self, control_plane: &'a ControlPlane, host: &'a Host) -> Facts<'a> {
        Facts {
            control_plane,
            namespace_tenant: self.namespace_tenant.as_deref(),
            tenant: self.tenant.as_ref(),
            older: self.older,
            config: &host.config,
        }
    }
}

/// How many control planes of the namespace are older: by time, then by name.
async fn older(control_plane: &ControlPlane, namespace: &str, host: &Host) -> Result<usize> {
    let api: Api<ControlPlane> = Api::namespaced(host.client.clone(), namespace);
    let all = api
        .list(&ListParams::default())
        .await
        .map_err(Error::host("list control planes"))?;
    let age = |cp: &ControlPlane| (cp.creation_timestamp().map(|t| t.0), cp.name_any());
    let mine = age(control_plane);
    Ok(all.iter().filter(|cp| age(cp) < mine).count())
}

async fn refuse(
    control_plane: &ControlPlane,
    api: &Api<ControlPlane>,
    host: &Host,
    refusal: Condition,
) -> Result<Next> {
    let found = Found {
        verdict: Err(refusal),
        credentials: None,
        kubeconfig: false,
        answered: None,
        hooks: None,
    };
    write_status(control_plane, api, host, &found).await?;
    // what it waits for (tenant, namespace, an older control plane's end) may not be watched
    Ok(Next::requeue(host.failed(&key(control_plane))))
}

/// Puts the finalizer and the tenant on it before anything is made for it.
async fn claim(
    control_plane: &ControlPlane,
    api: &Api<ControlPlane>,
    accepted: &Accepted,
) -> Result<()> {
    let finalizer = names::FINALIZER_CONTROL_PLANE.to_owned();
    let tenant = accepted.tenant.as_str();
    let mut finalizers = control_plane.finalizers().to_vec();
    if finalizers.contains(&finalizer) && control_plane.spec.tenant.as_deref() == Some(tenant) {
        return Ok(());
    }
    if !finalizers.contains(&finalizer) {
        finalizers.push(finalizer);
    }
    let patch = json!({
        "metadata": {
            "finalizers": finalizers,
            "resourceVersion": control_plane.resource_version(),
            "labels": { names::LABEL_TENANT: tenant },
        },
        "spec": { "tenant": tenant },
    });
    let name = control_plane.name_any();
    api.patch(&name, &PatchParams::default(), &Patch::Merge(&patch))
        .await
        .map_err(Error::host(format!(
            "claim {}",
            host::describe(control_plane)
        )))?;
    Ok(())
}

async fn serve(
    control_plane: &ControlPlane,
    api: &Api<ControlPlane>,
    host: &Host,
    accepted: &Accepted,
) -> Result<Next> {
    let issued = issue(control_plane, host, accepted).await?;
    let conditions = control_plane
        .status
        .as_ref()
        .map_or(&[][..], |s| &s.conditions);
    let asleep = control_plane.spec.power == Power::Asleep;
    let serving = condition::holds(conditions, types::SERVING) && !asleep;
    let current = condition::find(conditions, types::READY).is_some_and(|ready| {
        ready.holds() && ready.observed_generation == control_plane.meta().generation
    });
    let kubeconfig = credentials::text(
        issued.secrets.kubeconfig.as_ref(),
        names::secret::KUBECONFIG,
    );
    let answered = match kubeconfig {
        Some(text) if serving && (!current || issued.changed) => {
            Some(probe::answers(text).await.map_err(|e| e.chain()))
        }
        _ => None,
    };
    let answers = match &answered {
        Some(answer) => answer.is_ok(),
        None => serving && condition::holds(conditions, types::READY),
    };
    let hooks = if answers {
        hooks::run(control_plane, host, accepted).await?
    } else {
        None
    };
    let again_soon = matches!(answered, Some(Err(_)))
        || hooks.as_ref().is_some_and(|hooks| !hooks.condition.holds());
    let found = Found {
        verdict: Ok(accepted),
        credentials: Some(issued.condition),
        kubeconfig: kubeconfig.is_some(),
        answered,
        hooks,
    };
    write_status(control_plane, api, host, &found).await?;
    if again_soon {
        return Ok(Next::requeue(host.failed(&key(control_plane))));
    }
    host.went_well(&key(control_plane));
    Ok(next_renewal(&issued.secrets))
}

fn next_renewal(secrets: &Existing) -> Next {
    let wait = credentials::due(secrets).map(|due| due - OffsetDateTime::now_utc());
    match wait {
        Some(wait) => {
            let seconds = wait.whole_seconds().clamp(1, 24 * 3600);
            Next::requeue(Duration::from_secs(seconds.unsigned_abs()))
        }
        None => Next::await_change(),
    }
}

/// The secrets after a pass.
struct Issued {
    secrets: Existing,
    condition: Condition,
    /// whether the admin kubeconfig is new
    changed: bool,
}

async fn issue(control_plane: &ControlPlane, host: &Host, accepted: &Accepted) -> Result<Issued> {
    let api: Api<Secret> = Api::namespaced(host.client.clone(), &accepted.namespace);
    let cp = accepted.name.as_str();
    let (ca, service_account, kubeconfig) = (
        names::secret::ca(cp),
        names::secret::service_account(cp),
        names::secret::kubeconfig(cp),
    );
    let (ca, service_account, kubeconfig) = futures::try_join!(
        host::get(&api, &ca),
        host::get(&api, &service_account),
        host::get(&api, &kubeconfig),
    )?;
    let existing = Existing {
        ca,
        service_account,
        kubeconfig,
    };
    if let Some(secret) = credentials::foreign(&existing, control_plane) {
        let message = format!(
            "the secret {} is there already and is not this control plane's",
            secret.name_any()
        );
        let condition = Condition::no(types::CREDENTIALS_READY, reasons::NAME_CONFLICT, message);
        return Ok(Issued {
            secrets: Existing::default(),
            condition,
            changed: false,
        });
    }
    let wanted = Wanted {
        control_plane,
        accepted,
        endpoint: control_plane
            .status
            .as_ref()
            .and_then(|s| s.endpoint.as_ref()),
        admin_valid: control_plane
            .spec
            .admin_certificate_seconds
            .map_or(host.config.admin_certificate, |s| {
                Duration::from_secs(u64::from(s))
            }),
        now: OffsetDateTime::now_utc(),
    };
    let actions = credentials::plan(&existing, &wanted);
    let made = credentials::make(&actions, &existing, &wanted)?;
    let old = |secret: &Secret| {
        [
            &existing.ca,
            &existing.service_account,
            &existing.kubeconfig,
        ]
        .into_iter()
        .flatten()
        .find(|s| s.name_any() == secret.name_any())
    };
    let writes = made.iter().map(|s| host::ensure(&api, old(s), s));
    futures::future::try_join_all(writes).await?;
    Ok(Issued {
        changed: actions.kubeconfig == Action::Make,
        secrets: credentials::after(existing, made, cp)?,
        condition: Condition::yes(
            types::CREDENTIALS_READY,
            reasons::ISSUED,
            "the certificates and keys are made and valid",
        ),
    })
}

/// Writes the status when it changed, and an event when `Ready` did.
async fn write_status(
    control_plane: &ControlPlane,
    api: &Api<ControlPlane>,
    host: &Host,
    found: &Found<'_>,
) -> Result<()> {
    let now = host::now_text();
    let written =
        host::update_status(api, control_plane, |cp| status::compose(cp, found, &now)).await?;
    let Some(written) = written else {
        return Ok(());
    };
    let ready = |cp: &ControlPlane| {
        let conditions = cp.status.as_ref().map(|s| s.conditions.as_slice());
        condition::find(conditions.unwrap_or_default(), types::READY).cloned()
    };
    let Some(after) = ready(&written.after) else {
        return Ok(());
    };
    let same = ready(&written.before)
        .is_some_and(|before| before.status == after.status && before.reason == after.reason);
    if !same {
        events::publish(
            host,
            control_plane,
            level(&after),
            &after.reason,
            &after.message,
        )
        .await;
    }
    Ok(())
}

/// Waiting is no cause for alarm; everything else that is not ready is.
fn level(ready: &Condition) -> Level {
    let calm = [
        reasons::WAITING_FOR_SERVER,
        reasons::WAITING_FOR_HOOKS,
        reasons::WAITING_FOR_CREDENTIALS,
        reasons::ASLEEP,
    ];
    if ready.holds() || calm.contains(&ready.reason.as_str()) {
        Level::Normal
    } else {
        Level::Warning
    }
}

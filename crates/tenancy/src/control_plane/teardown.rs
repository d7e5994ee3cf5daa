//! The end of a control plane: first its server lets go (data erased), then what hooks made,
//! then its secrets, then the object itself. Each step may be repeated.

use super::hooks;
use crate::events::{self, Level};
use crate::host::{self, Host};
use crate::{Error, Result};
use freehold_api::condition::{self, reasons, types};
use freehold_api::{Condition, ControlPlane, Phase, names};
use k8s_openapi::api::core::v1::Secret;
use kube::ResourceExt;
use kube::api::{Api, ListParams};
use kube::runtime::controller::Action as Next;
use std::time::Duration;

/// How often a deletion that waits says what it waits for.
const REMIND: Duration = Duration::from_secs(30);

pub(super) async fn run(
    control_plane: &ControlPlane,
    api: &Api<ControlPlane>,
    host: &Host,
) -> Result<Next> {
    let finalizers = control_plane.finalizers();
    if !finalizers
        .iter()
        .any(|f| f == names::FINALIZER_CONTROL_PLANE)
    {
        return Ok(Next::await_change());
    }
    if finalizers.iter().any(|f| f == names::FINALIZER_POOL) {
        let waiting = Condition::yes(
            types::TERMINATING,
            reasons::WAITING_FOR_POOL,
            "its server has still to erase its data",
        );
        say(control_plane, api, host, waiting).await?;
        return Ok(Next::requeue(REMIND));
    }
    let left = hooks::remove(control_plane, host).await?;
    if !left.is_empty() {
        let waiting = Condition::yes(
            types::TERMINATING,
            reasons::WAITING_FOR_HOOKS,
            format!("still there of what hooks made: {}", left.join(", ")),
        );
        say(control_plane, api, host, waiting).await?;
        return Ok(Next::requeue(host.failed(&super::key(control_plane))));
    }
    remove_secrets(control_plane, host).await?;
    let finalizer = names::FINALIZER_CONTROL_PLANE;
    if host::set_finalizer(api, control_plane, finalizer, false).await? {
        let message = "data, hooks' objects and secrets are gone";
        events::publish(host, control_plane, Level::Normal, "Deleted", message).await;
    }
    host.went_well(&super::key(control_plane));
    Ok(Next::await_change())
}

async fn remove_secrets(control_plane: &ControlPlane, host: &Host) -> Result<()> {
    let namespace = control_plane.namespace().unwrap_or_default();
    let secrets: Api<Secret> = Api::namespaced(host.client.clone(), &namespace);
    let label = format!(
        "{}={}",
        names::LABEL_CONTROL_PLANE,
        control_plane.name_any()
    );
    let found = secrets
        .list(&ListParams::default().labels(&label))
        .await
        .map_err(Error::host("list secrets"))?;
    let uid = control_plane.uid();
    for secret in &found {
        let mine = secret
            .owner_references()
            .iter()
            .any(|r| Some(&r.uid) == uid.as_ref());
        if mine {
            host::delete(&secrets, secret).await?;
        }
    }
    Ok(())
}

async fn say(
    control_plane: &ControlPlane,
    api: &Api<ControlPlane>,
    host: &Host,
    terminating: Condition,
) -> Result<()> {
    let now = host::now_text();
    let new = control_plane
        .status
        .as_ref()
        .is_none_or(|s| condition::find(&s.conditions, types::TERMINATING).is_none());
    host::update_status(api, control_plane, |cp| {
        let status = cp.status.get_or_insert_default();
        let before = status.clone();
        status.phase = Phase::Deleting;
        condition::set(&mut status.conditions, terminating.clone(), &now);
        let not_ready = Condition::no(types::READY, reasons::DELETING, "it is being deleted");
        condition::set(&mut status.conditions, not_ready, &now);
        *status != before
    })
    .await?;
    if new {
        let (reason, message) = (&terminating.reason, &terminating.message);
        events::publish(host, control_plane, Level::Normal, reason, message).await;
    }
    Ok(())
}

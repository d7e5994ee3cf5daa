//! KubeFlex's PostCreateHook → Hook.

use crate::dialects::{Origin, again, bounded, held_up, key, origin_of, synced, tell};
use crate::host::{self, Host};
use crate::{Error, Result};
use freehold_api::condition::{self, reasons, types};
use freehold_api::dialects::kubeflex::PostCreateHook;
use freehold_api::{Condition, Hook, HookSpec, names};
use futures::StreamExt;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{Api, PostParams};
use kube::runtime::controller::{Action as Next, Controller};
use kube::runtime::watcher;
use kube::{Resource, ResourceExt};
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

pub(super) async fn run(host: Arc<Host>, shutdown: CancellationToken) {
    let any = watcher::Config::default;
    Controller::new(Api::<PostCreateHook>::all(host.client.clone()), any())
        .watches(
            Api::<Hook>::all(host.client.clone()),
            any().labels(names::LABEL_ORIGIN_UID),
            |hook: Hook| origin_of::<PostCreateHook>(&hook),
        )
        .graceful_shutdown_on(shutdown.cancelled_owned())
        .run(pass, again, host)
        .for_each(|_| std::future::ready(()))
        .await;
}

async fn pass(theirs: Arc<PostCreateHook>, host: Arc<Host>) -> Result<Next> {
    bounded(theirs.as_ref(), Box::pin(reconcile(&theirs, &host))).await
}

/// Our Hook; it goes with the foreign one, which owns it.
fn translate(theirs: &PostCreateHook) -> Hook {
    let origin = Origin::of(theirs);
    let mut ours = Hook::new(
        &theirs.name_any(),
        HookSpec {
            templates: theirs.spec.templates.clone(),
            default_vars: theirs.spec.default_vars.clone(),
        },
    );
    ours.metadata = ObjectMeta {
        name: Some(theirs.name_any()),
        annotations: Some(origin.annotations()),
        labels: Some(BTreeMap::from([
            (
                names::LABEL_MANAGED_BY.to_owned(),
                names::MANAGED_BY.to_owned(),
            ),
            (names::LABEL_ORIGIN_UID.to_owned(), origin.uid.clone()),
        ])),
        owner_references: theirs.controller_owner_ref(&()).map(|r| vec![r]),
        ..ObjectMeta::default()
    };
    ours
}

async fn reconcile(theirs: &PostCreateHook, host: &Host) -> Result<Next> {
    let api: Api<PostCreateHook> = Api::all(host.client.clone());
    let hooks: Api<Hook> = Api::all(host.client.clone());
    let origin = Origin::of(theirs);
    let known = host::get(&hooks, &theirs.name_any()).await?;
    if theirs.meta().deletion_timestamp.is_some() {
        if let Some(known) = known.filter(|known| origin.made(known)) {
            host::delete(&hooks, &known).await?;
        }
        host::set_finalizer(&api, theirs, names::FINALIZER_DIALECT, false).await?;
        return Ok(Next::await_change());
    }
    host::set_finalizer(&api, theirs, names::FINALIZER_DIALECT, true).await?;
    let wanted = translate(theirs);
    let conditions: Vec<Condition> = match known {
        Some(known) if !origin.made(&known) => {
            let message = format!("there is another Hook {} already", theirs.name_any());
            held_up(&Condition::no(
                types::SYNCED,
                reasons::NAME_CONFLICT,
                message,
            ))
            .into()
        }
        known => {
            write(&hooks, known, wanted).await?;
            let ready = "control planes may use it";
            vec![
                synced(&format!("hook {}", theirs.name_any())),
                Condition::yes(types::READY, reasons::AVAILABLE, ready),
            ]
        }
    };
    let now = host::now_text();
    let after = host::update_status(&api, theirs, |theirs| {
        let before = theirs.status.clone();
        let generation = theirs.metadata.generation;
        let status = theirs.status.get_or_insert_default();
        status.observed_generation = generation;
        for condition in &conditions {
            condition::set(
                &mut status.conditions,
                condition.clone().at(generation),
                &now,
            );
        }
        theirs.status != before
    })
    .await?;
    let conditions = |theirs: &PostCreateHook| {
        theirs
            .status
            .as_ref()
            .map_or(Vec::new(), |s| s.conditions.clone())
    };
    if let Some(written) = after {
        let (before, after) = (conditions(&written.before), conditions(&written.after));
        tell(host, theirs, &before, &after).await;
    }
    host.went_well(&key(theirs));
    Ok(Next::await_change())
}

async fn write(hooks: &Api<Hook>, known: Option<Hook>, wanted: Hook) -> Result<()> {
    let Some(mut known) = known else {
        host::ensure(hooks, None, &wanted).await?;
        return Ok(());
    };
    if known.spec == wanted.spec {
        return Ok(());
    }
    known.spec = wanted.spec;
    hooks
        .replace(&known.name_any(), &PostParams::default(), &known)
        .await
        .map_err(Error::host(format!("update hook {}", known.name_any())))?;
    Ok(())
}

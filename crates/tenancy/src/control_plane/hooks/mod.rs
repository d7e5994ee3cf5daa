//! Hooks: made once when the control plane answers, removed with it. A later edit of a hook does
//! not change what it made.

mod objects;

use super::plan::Accepted;
use super::status::HookOutcome;
use super::template;
use crate::host::{self, Host, is_code};
use crate::{Error, Result};
use freehold_api::condition::{reasons, types};
use freehold_api::{Condition, ControlPlane, Hook, HookRun, HookUse, names};
use k8s_openapi::api::core::v1::Namespace;
use kube::ResourceExt;
use kube::api::{Api, DeleteParams};
use objects::{fetch, is_of, is_ready};

/// Applies the hooks that are not applied yet; `None` when there are none.
pub(super) async fn run(
    control_plane: &ControlPlane,
    host: &Host,
    accepted: &Accepted,
) -> Result<Option<HookOutcome>> {
    let spec = &control_plane.spec;
    if spec.hooks.is_empty() {
        return Ok(None);
    }
    let namespace = target_namespace(control_plane, host, accepted).await?;
    let known = control_plane.status.as_ref().map_or(&[][..], |s| &s.hooks);
    let mut runs: Vec<HookRun> = Vec::new();
    let mut problem = None;
    for hook in &spec.hooks {
        if runs.iter().any(|run| run.name == hook.name) {
            continue;
        }
        let before = known.iter().find(|run| run.name == hook.name);
        let mut run = match before {
            Some(run) if run.applied => run.clone(),
            _ if problem.is_some() => HookRun {
                name: hook.name.clone(),
                applied: false,
                message: Some("waits for the hooks before it".to_owned()),
                objects: Vec::new(),
            },
            _ => {
                let (run, why) = apply(control_plane, host, accepted, &namespace, hook).await?;
                problem = problem.or(why);
                run
            }
        };
        // what an earlier attempt made is not forgotten
        let earlier = before.map_or(&[][..], |run| &run.objects);
        for object in earlier {
            if !run.objects.contains(object) {
                run.objects.push(object.clone());
            }
        }
        runs.push(run);
    }
    if problem.is_none() && spec.wait_for_hooks {
        problem = unready(&runs, host).await?;
    }
    let condition = problem.unwrap_or_else(|| {
        Condition::yes(
            types::HOOKS_APPLIED,
            reasons::AVAILABLE,
            format!("all {} hooks are applied in {namespace}", runs.len()),
        )
    });
    Ok(Some(HookOutcome { runs, condition }))
}

/// The namespace of the control plane, or the one it names when that is meant for the tenant.
async fn target_namespace(
    control_plane: &ControlPlane,
    host: &Host,
    accepted: &Accepted,
) -> Result<String> {
    let named = control_plane
        .annotations()
        .get(names::ANNOTATION_HOOKS_NAMESPACE);
    if let Some(name) = named {
        let namespaces: Api<Namespace> = Api::all(host.client.clone());
        let found = host::get(&namespaces, name).await?;
        let tenant = found.and_then(|ns| ns.labels().get(names::LABEL_SYSTEM_OF).cloned());
        if tenant.as_deref() == Some(accepted.tenant.as_str()) {
            return Ok(name.clone());
        }
    }
    Ok(accepted.namespace.clone())
}

async fn apply(
    control_plane: &ControlPlane,
    host: &Host,
    accepted: &Accepted,
    namespace: &str,
    hook: &HookUse,
) -> Result<(HookRun, Option<Condition>)> {
    let mut run = HookRun {
        name: hook.name.clone(),
        applied: false,
        message: None,
        objects: Vec::new(),
    };
    let failed = |run: &mut HookRun, reason: &str, message: String| {
        run.message = Some(message.clone());
        let message = format!("spec.hooks, {}: {message}", hook.name);
        Some(Condition::no(types::HOOKS_APPLIED, reason, message))
    };
    let hooks: Api<Hook> = Api::all(host.client.clone());
    let Some(definition) = host::get(&hooks, &hook.name).await? else {
        let why = format!("there is no Hook {:?}", hook.name);
        let condition = failed(&mut run, reasons::HOOK_NOT_FOUND, why);
        return Ok((run, condition));
    };
    let vars = template::variables(
        definition
            .spec
            .default_vars
            .iter()
            .map(|v| (v.name.as_str(), v.value.as_str())),
        &control_plane.spec.hook_vars,
        &hook.vars,
        [
            ("Namespace", namespace),
            ("ControlPlaneName", accepted.name.as_str()),
            ("HookName", &hook.name),
        ],
    );
    let mut planned = Vec::new();
    for (index, raw) in definition.spec.templates.iter().enumerate() {
        let object = match template::render(&raw.0, &vars) {
            Ok(object) => objects::plan(control_plane, host, accepted, namespace, object).await?,
            Err(why) => Err(why),
        };
        match object {
            Ok(object) => planned.push(object),
            Err(why) => {
                let why = format!("spec.templates[{index}] of the hook: {why}");
                let condition = failed(&mut run, reasons::HOOK_FAILED, why);
                return Ok((run, condition));
            }
        }
    }
    run.objects = planned.iter().map(|p| p.reference.clone()).collect();
    announce(control_plane, host, &run).await?;
    for (index, object) in planned.iter().enumerate() {
        if let Err(why) = objects::create(control_plane, object).await? {
            let why = format!("spec.templates[{index}] of the hook: {why}");
            let condition = failed(&mut run, reasons::HOOK_FAILED, why);
            return Ok((run, condition));
        }
    }
    run.applied = true;
    Ok((run, None))
}

/// Writes down what is about to be made, so that the end of the control plane finds it even when
/// this program ends in between.
async fn announce(control_plane: &ControlPlane, host: &Host, run: &HookRun) -> Result<()> {
    let namespace = control_plane.namespace().unwrap_or_default();
    let api: Api<ControlPlane> = Api::namespaced(host.client.clone(), &namespace);
    host::update_status(&api, control_plane, |cp| {
        let hooks = &mut cp.status.get_or_insert_default().hooks;
        match hooks.iter_mut().find(|known| known.name == run.name) {
            Some(known) if run.objects.iter().all(|o| known.objects.contains(o)) => false,
            Some(known) => {
                let new = run.objects.iter().filter(|o| !known.objects.contains(o));
                let new: Vec<_> = new.cloned().collect();
                known.objects.extend(new);
                true
            }
            None => {
                hooks.push(run.clone());
                true
            }
        }
    })
    .await?;
    Ok(())
}

/// The condition that names the first object that is not ready.
async fn unready(runs: &[HookRun], host: &Host) -> Result<Option<Condition>> {
    for run in runs {
        for object in &run.objects {
            let found = fetch(host, object).await?;
            if found.is_some_and(|(_, found)| is_ready(&object.kind, &found.data)) {
                continue;
            }
            return Ok(Some(Condition::no(
                types::HOOKS_APPLIED,
                reasons::WAITING_FOR_HOOKS,
                format!(
                    "spec.hooks, {}: {} {} is not ready",
                    run.name, object.kind, object.name
                ),
            )));
        }
    }
    Ok(None)
}

/// Deletes what hooks made; the names of what is still there.
pub(super) async fn remove(control_plane: &ControlPlane, host: &Host) -> Result<Vec<String>> {
    let uid = control_plane.uid().unwrap_or_default();
    let runs = control_plane.status.as_ref().map_or(&[][..], |s| &s.hooks);
    let mut left = Vec::new();
    // the last made goes first
    for object in runs.iter().flat_map(|run| &run.objects).rev() {
        let Some((api, found)) = fetch(host, object).await? else {
            continue;
        };
        if !is_of(&found, &uid) {
            continue;
        }
        let what = format!("{} {}", object.kind, object.name);
        if found.metadata.deletion_timestamp.is_none() {
            match api.delete(&object.name, &DeleteParams::background()).await {
                Ok(_) => {}
                Err(error) if is_code(&error, 404) => continue,
                Err(error) => return Err(Error::host(format!("delete {what}"))(error)),
            }
        }
        if fetch(host, object)
            .await?
            .is_some_and(|(_, o)| is_of(&o, &uid))
        {
            left.push(what);
        }
    }
    Ok(left)
}

//! Hooks: made once when the control plane answers, removed with it. A later edit of a hook does
//! not change what it made.

use super::plan::Accepted;
use super::status::HookOutcome;
use super::template;
use crate::host::{self, Host, is_code};
use crate::{Error, Result};
use freehold_api::condition::{reasons, types};
use freehold_api::{Condition, ControlPlane, Hook, HookRun, HookUse, ObjectRef, names};
use k8s_openapi::api::core::v1::Namespace;
use kube::ResourceExt;
use kube::api::{Api, DeleteParams, DynamicObject, PostParams};
use kube::core::{ApiResource, GroupVersionKind};
use kube::discovery::{self, Scope};
use serde_json::{Value, json};

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
        let run = match before {
            Some(run) if run.applied => run.clone(),
            _ if problem.is_some() => HookRun {
                name: hook.name.clone(),
                applied: false,
                message: Some("waits for the hooks before it".to_owned()),
                objects: before.map(|run| run.objects.clone()).unwrap_or_default(),
            },
            _ => {
                let (run, why) = apply(control_plane, host, accepted, &namespace, hook).await?;
                problem = problem.or(why);
                run
            }
        };
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
    for (index, raw) in definition.spec.templates.iter().enumerate() {
        let made = match template::render(&raw.0, &vars) {
            Ok(object) => make(control_plane, host, accepted, namespace, object).await?,
            Err(why) => Err(why),
        };
        match made {
            Ok(object) => run.objects.push(object),
            Err(why) => {
                let why = format!("spec.templates[{index}] of the hook: {why}");
                let condition = failed(&mut run, reasons::HOOK_FAILED, why);
                return Ok((run, condition));
            }
        }
    }
    run.applied = true;
    Ok((run, None))
}

/// Makes one object; the inner error is the template's fault and worth a sentence.
async fn make(
    control_plane: &ControlPlane,
    host: &Host,
    accepted: &Accepted,
    namespace: &str,
    mut object: Value,
) -> Result<Result<ObjectRef, String>> {
    let field = |pointer: &str| object.pointer(pointer).and_then(Value::as_str);
    let (Some(api_version), Some(kind), Some(name)) = (
        field("/apiVersion"),
        field("/kind"),
        field("/metadata/name"),
    ) else {
        return Ok(Err(
            "an object needs apiVersion, kind and metadata.name".to_owned()
        ));
    };
    let mut made = ObjectRef {
        api_version: api_version.to_owned(),
        kind: kind.to_owned(),
        namespace: None,
        name: name.to_owned(),
    };
    let Some((resource, scope)) = resolve(host, &made).await? else {
        return Ok(Err(format!(
            "the host serves no {} {}",
            made.api_version, made.kind
        )));
    };
    let uid = control_plane.uid().unwrap_or_default();
    let labels = json!({
        names::LABEL_MANAGED_BY: names::MANAGED_BY,
        names::LABEL_TENANT: accepted.tenant.as_str(),
        names::LABEL_CONTROL_PLANE: accepted.name.as_str(),
        names::LABEL_CONTROL_PLANE_UID: uid,
    });
    let metadata = &mut object["metadata"];
    if !metadata["labels"].is_object() {
        metadata["labels"] = json!({});
    }
    for (key, value) in labels.as_object().into_iter().flatten() {
        metadata["labels"][key] = value.clone();
    }
    let api = match scope {
        Scope::Namespaced => {
            metadata["namespace"] = namespace.into();
            made.namespace = Some(namespace.to_owned());
            Api::namespaced_with(host.client.clone(), namespace, &resource)
        }
        Scope::Cluster => {
            if let Some(fields) = metadata.as_object_mut() {
                fields.remove("namespace");
            }
            Api::all_with(host.client.clone(), &resource)
        }
    };
    create(&api, made, object, &uid).await
}

async fn create(
    api: &Api<DynamicObject>,
    made: ObjectRef,
    object: Value,
    uid: &str,
) -> Result<Result<ObjectRef, String>> {
    let object: DynamicObject = match serde_json::from_value(object) {
        Ok(object) => object,
        Err(error) => return Ok(Err(format!("it is no Kubernetes object: {error}"))),
    };
    let what = format!("{} {}", made.kind, made.name);
    match api.create(&PostParams::default(), &object).await {
        Ok(_) => Ok(Ok(made)),
        Err(error) if is_code(&error, 409) => {
            let there = api
                .get_opt(&made.name)
                .await
                .map_err(Error::host(format!("get {what}")))?;
            let mine = there.is_some_and(|object| is_of(&object, uid));
            Ok(if mine {
                Ok(made)
            } else {
                Err(format!(
                    "{what} is there already and is not this control plane's"
                ))
            })
        }
        Err(kube::Error::Api(status)) if (400..500).contains(&status.code) => {
            Ok(Err(format!("{what} was refused: {}", status.message)))
        }
        Err(error) => Err(Error::host(format!("create {what}"))(error)),
    }
}

fn is_of(object: &DynamicObject, uid: &str) -> bool {
    object
        .labels()
        .get(names::LABEL_CONTROL_PLANE_UID)
        .is_some_and(|label| label == uid)
}

/// The resource of an object's kind, when the host serves it.
async fn resolve(host: &Host, object: &ObjectRef) -> Result<Option<(ApiResource, Scope)>> {
    let (group, version) = object
        .api_version
        .split_once('/')
        .unwrap_or(("", &object.api_version));
    let kind = GroupVersionKind::gvk(group, version, &object.kind);
    match discovery::pinned_kind(&host.client, &kind).await {
        Ok((resource, capabilities)) => Ok(Some((resource, capabilities.scope))),
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(None),
        Err(kube::Error::Discovery(_)) => Ok(None),
        Err(error) => Err(Error::host(format!("discover {}", object.api_version))(
            error,
        )),
    }
}

async fn fetch(
    host: &Host,
    object: &ObjectRef,
) -> Result<Option<(Api<DynamicObject>, DynamicObject)>> {
    let Some((resource, _)) = resolve(host, object).await? else {
        return Ok(None);
    };
    let api = match &object.namespace {
        Some(namespace) => Api::namespaced_with(host.client.clone(), namespace, &resource),
        None => Api::all_with(host.client.clone(), &resource),
    };
    let found = api
        .get_opt(&object.name)
        .await
        .map_err(Error::host(format!("get {} {}", object.kind, object.name)))?;
    Ok(found.map(|found| (api, found)))
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

/// Whether an object does its work, by kind; of other kinds, being there is enough
/// (kubeflex pkg/reconcilers/shared/postcreate_hook.go).
fn is_ready(kind: &str, object: &Value) -> bool {
    let number = |pointer: &str| object.pointer(pointer).and_then(Value::as_i64);
    let wanted = number("/spec/replicas").unwrap_or(1);
    match kind {
        "Deployment" => number("/status/availableReplicas").unwrap_or(0) >= wanted,
        "StatefulSet" => number("/status/readyReplicas").unwrap_or(0) >= wanted,
        "DaemonSet" => match number("/status/desiredNumberScheduled") {
            Some(wanted) => number("/status/numberReady").unwrap_or(0) >= wanted,
            None => false,
        },
        "Job" => number("/status/succeeded").unwrap_or(0) > 0,
        "Pod" => matches!(
            object.pointer("/status/phase").and_then(Value::as_str),
            Some("Running" | "Succeeded")
        ),
        "CustomResourceDefinition" => object["status"]["conditions"]
            .as_array()
            .into_iter()
            .flatten()
            .any(|c| c["type"] == "Established" && c["status"] == "True"),
        _ => true,
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readiness_is_by_kind() {
        let cases = [
            (
                "Deployment",
                json!({"spec": {"replicas": 2}, "status": {"availableReplicas": 1}}),
                false,
            ),
            (
                "Deployment",
                json!({"spec": {"replicas": 2}, "status": {"availableReplicas": 2}}),
                true,
            ),
            ("StatefulSet", json!({"status": {"readyReplicas": 1}}), true),
            ("DaemonSet", json!({"status": {}}), false),
            (
                "DaemonSet",
                json!({"status": {"desiredNumberScheduled": 0}}),
                true,
            ),
            ("Job", json!({"status": {"active": 1}}), false),
            ("Job", json!({"status": {"succeeded": 1}}), true),
            ("Pod", json!({"status": {"phase": "Pending"}}), false),
            ("ConfigMap", json!({}), true),
        ];
        for (kind, object, ready) in cases {
            assert_eq!(is_ready(kind, &object), ready, "{kind} {object}");
        }
    }
}

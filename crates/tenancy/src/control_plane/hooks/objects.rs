//! The objects of hooks on the host, of whatever kind.

use crate::control_plane::plan::Accepted;
use crate::host::{Host, is_code};
use crate::{Error, Result};
use freehold_api::{ControlPlane, ObjectRef, names};
use kube::ResourceExt;
use kube::api::{Api, DynamicObject, PostParams};
use kube::core::{ApiResource, GroupVersionKind};
use kube::discovery::{self, Scope};
use serde_json::{Value, json};

/// An object that can be made.
pub(super) struct Planned {
    api: Api<DynamicObject>,
    object: DynamicObject,
    pub reference: ObjectRef,
}

/// Completes one object; the inner error is the template's fault and worth a sentence.
pub(super) async fn plan(
    control_plane: &ControlPlane,
    host: &Host,
    accepted: &Accepted,
    namespace: &str,
    mut object: Value,
) -> Result<Result<Planned, String>> {
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
    Ok(match serde_json::from_value(object) {
        Ok(object) => Ok(Planned {
            api,
            object,
            reference: made,
        }),
        Err(error) => Err(format!("it is no Kubernetes object: {error}")),
    })
}

/// Makes it; the inner error says what is in the way.
pub(super) async fn create(
    control_plane: &ControlPlane,
    planned: &Planned,
) -> Result<Result<(), String>> {
    let Planned {
        api,
        object,
        reference,
    } = planned;
    let uid = control_plane.uid().unwrap_or_default();
    let what = format!("{} {}", reference.kind, reference.name);
    match api.create(&PostParams::default(), object).await {
        Ok(_) => Ok(Ok(())),
        Err(error) if is_code(&error, 409) => {
            let there = api
                .get_opt(&reference.name)
                .await
                .map_err(Error::host(format!("get {what}")))?;
            let mine = there.is_some_and(|object| is_of(&object, &uid));
            Ok(if mine {
                Ok(())
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

/// Whether the object was made for the control plane of that uid.
pub(super) fn is_of(object: &DynamicObject, uid: &str) -> bool {
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

/// The object, when it is there, and where.
pub(super) async fn fetch(
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

/// Whether an object does its work, by kind; of other kinds, being there is enough
/// (kubeflex pkg/reconcilers/shared/postcreate_hook.go).
pub(super) fn is_ready(kind: &str, object: &Value) -> bool {
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

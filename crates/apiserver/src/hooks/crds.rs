//! CustomResourceDefinitions: their names are accepted by the server itself, their kinds are
//! served as soon as they are stored, and their objects go before they do.

use crate::cache::Object;
use crate::control_plane::ControlPlane;
use crate::pipeline::Call;
use crate::registry::is_condition_true;
use crate::{Body, Identity};
use freehold_model::{ApiError, Map, Value, crd, json, value};
use freehold_policy::User;
use http::{Method, Request};
use std::sync::{Arc, Weak};
use std::time::Duration;

const FINALIZER: &str = "customresourcecleanup.apiextensions.k8s.io";
const CRDS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";

fn text<'a>(object: &'a Value, path: &[&str]) -> &'a str {
    object.str_at(path).unwrap_or("")
}

fn fill_names(object: &mut Value) {
    let kind = text(object, &["spec", "names", "kind"]).to_owned();
    if text(object, &["spec", "names", "singular"]).is_empty() {
        object.set(&["spec", "names", "singular"], kind.to_lowercase());
    }
    if text(object, &["spec", "names", "listKind"]).is_empty() && !kind.is_empty() {
        object.set(&["spec", "names", "listKind"], format!("{kind}List"));
    }
    if object.at(&["spec", "conversion"]).is_none() {
        object.set(&["spec", "conversion", "strategy"], "None");
    }
}

fn compiles(object: &Value) -> Result<(), ApiError> {
    let name = text(object, &["metadata", "name"]);
    crd::compile(object).map(|_| ()).map_err(|errors| {
        ApiError::invalid(
            "apiextensions.k8s.io",
            "CustomResourceDefinition",
            name,
            &errors,
        )
    })
}

pub(super) fn create(call: &Call, object: &mut Value) -> Result<(), ApiError> {
    fill_names(object);
    compiles(object)?;
    let versions = storage_version(object)
        .map(|v| vec![v.to_owned()])
        .unwrap_or_default();
    object.set(&["status"], value!({"storedVersions": versions}));
    accept(call, object);
    Ok(())
}

pub(super) fn update(call: &Call, object: &mut Value, old: &Value) -> Result<(), ApiError> {
    fill_names(object);
    compiles(object)?;
    let mut stored: Vec<Value> = old
        .at(&["status", "storedVersions"])
        .and_then(Value::as_array)
        .unwrap_or_default()
        .to_vec();
    if let Some(v) = storage_version(object)
        && !stored.iter().any(|s| s.as_str() == Some(v))
    {
        stored.push(v.into());
    }
    object.set(&["status", "storedVersions"], Value::Array(stored));
    accept(call, object);
    Ok(())
}

fn storage_version(object: &Value) -> Option<&str> {
    let versions = object.at(&["spec", "versions"])?.as_array()?;
    let storage = |v: &&Value| v.get("storage").and_then(Value::as_bool) == Some(true);
    versions.iter().find(storage)?.str_at(&["name"])
}

/// Sets `acceptedNames` and the conditions (apiextensions-apiserver pkg/controller/status).
fn accept(call: &Call, object: &mut Value) {
    let conflict = conflict(call, object);
    let now = call.rfc3339();
    let names = object
        .at(&["spec", "names"])
        .cloned()
        .unwrap_or_else(Value::object);
    let (reason, message) = match &conflict {
        None => ("NoConflicts".to_owned(), "no conflicts found".to_owned()),
        Some((reason, message)) => (reason.clone(), message.clone()),
    };
    let established = is_condition_true(object, "Established");
    if conflict.is_none() {
        object.set(&["status", "acceptedNames"], names);
    } else if object.at(&["status", "acceptedNames"]).is_none() {
        object.set(
            &["status", "acceptedNames"],
            value!({"kind": "", "plural": ""}),
        );
    }
    condition(
        object,
        "NamesAccepted",
        conflict.is_none(),
        &reason,
        &message,
        &now,
    );
    if conflict.is_none() {
        condition(
            object,
            "Established",
            true,
            "InitialNamesAccepted",
            "the initial names have been accepted",
            &now,
        );
    } else if !established {
        condition(
            object,
            "Established",
            false,
            "NotAccepted",
            "not all names are accepted",
            &now,
        );
    }
}

fn condition(object: &mut Value, kind: &str, on: bool, reason: &str, message: &str, now: &str) {
    let status = if on { "True" } else { "False" };
    let mut all = object
        .at(&["status", "conditions"])
        .and_then(Value::as_array)
        .unwrap_or_default()
        .to_vec();
    let since = all
        .iter()
        .find(|c| c.str_at(&["type"]) == Some(kind) && c.str_at(&["status"]) == Some(status))
        .and_then(|c| c.str_at(&["lastTransitionTime"]))
        .unwrap_or(now)
        .to_owned();
    let next = value!({
        "type": kind, "status": status, "reason": reason, "message": message, "lastTransitionTime": since
    });
    match all.iter_mut().find(|c| c.str_at(&["type"]) == Some(kind)) {
        Some(c) => *c = next,
        None => all.push(next),
    }
    object.set(&["status", "conditions"], Value::Array(all));
}

/// A name of this CRD that another kind of its group has already.
fn conflict(call: &Call, object: &Value) -> Option<(String, String)> {
    let group = text(object, &["spec", "group"]);
    let own = text(object, &["spec", "names", "plural"]);
    let names = object.at(&["spec", "names"])?;
    let short: Vec<&str> = names
        .get("shortNames")
        .and_then(Value::as_array)
        .unwrap_or_default()
        .iter()
        .filter_map(Value::as_str)
        .collect();
    for r in call
        .cp
        .registry
        .now()
        .resources()
        .filter(|r| r.group == group && r.plural != own)
    {
        let resource_names =
            |n: &str| r.plural == n || r.singular == n || r.short_names.iter().any(|s| s == n);
        let kinds = |n: &str| r.kind == n || r.list_kind == n;
        for (field, reason) in [
            ("plural", "PluralConflict"),
            ("singular", "SingularConflict"),
        ] {
            let n = text(names, &[field]);
            if resource_names(n) {
                return Some((reason.into(), format!("{n:?} is already in use")));
            }
        }
        if let Some(n) = short.iter().find(|n| resource_names(n)) {
            return Some((
                "ShortNamesConflict".into(),
                format!("{n:?} is already in use"),
            ));
        }
        for (field, reason) in [("kind", "KindConflict"), ("listKind", "ListKindConflict")] {
            let n = text(names, &[field]);
            if kinds(n) {
                return Some((reason.into(), format!("{n:?} is already in use")));
            }
        }
    }
    None
}

/// A deletion waits until the objects of the kind are gone.
pub(super) fn begin_delete(object: &mut Value) {
    let mut all = object
        .at(&["metadata", "finalizers"])
        .and_then(Value::as_array)
        .unwrap_or_default()
        .to_vec();
    if !all.iter().any(|f| f.as_str() == Some(FINALIZER)) {
        all.push(FINALIZER.into());
        object.set(&["metadata", "finalizers"], Value::Array(all));
    }
}

pub(super) fn mark_deleting(call: &Call, object: &mut Value) {
    let now = call.rfc3339();
    condition(
        object,
        "Terminating",
        true,
        "InstanceDeletionPending",
        "CustomResourceDefinition marked for deletion; CustomResource deletion will begin soon",
        &now,
    );
}

fn is_waiting(crd: &Value) -> bool {
    let finalizers = crd
        .at(&["metadata", "finalizers"])
        .and_then(Value::as_array)
        .unwrap_or_default();
    crd.at(&["metadata", "deletionTimestamp"]).is_some()
        && finalizers.iter().any(|f| f.as_str() == Some(FINALIZER))
}

/// Starts the clean-up of a CRD that was just marked.
pub(super) fn clean_up_when_deleted(cp: &Arc<ControlPlane>, object: &Object) {
    if is_waiting(&object.parse()) {
        tokio::spawn(clean_up(Arc::downgrade(cp), object.name().to_owned()));
    }
}

/// Goes on with deletions that a stop interrupted.
pub(crate) fn resume(cp: &Arc<ControlPlane>) {
    for o in cp
        .cache
        .view("apiextensions.k8s.io", "customresourcedefinitions")
        .list(None)
        .0
    {
        clean_up_when_deleted(cp, &o);
    }
}

/// Deletes the objects of a CRD until none is left, then lets the CRD go.
async fn clean_up(cp: Weak<ControlPlane>, name: String) {
    let mut pause = Duration::from_millis(20);
    loop {
        let Some(now) = cp.upgrade() else { return };
        let closed = now.cache.closed();
        match step(&now, &name).await {
            Ok(true) => return,
            Ok(false) => {}
            Err(e) => {
                tracing::warn!(crd = %name, error = %e, "cleaning up custom objects failed; trying again")
            }
        }
        drop(now);
        tokio::select! {
            () = closed.cancelled() => return,
            () = tokio::time::sleep(pause) => {}
        }
        pause = (pause * 2).min(Duration::from_secs(5));
    }
}

/// One round; true when there is nothing more to do.
async fn step(cp: &Arc<ControlPlane>, name: &str) -> Result<bool, ApiError> {
    cp.cache.fresh().await?;
    let crds = cp
        .cache
        .view("apiextensions.k8s.io", "customresourcedefinitions");
    let Some(object) = crds.get("", name) else {
        return Ok(true);
    };
    let definition = object.parse();
    if !is_waiting(&definition) {
        return Ok(true);
    }
    let (group, plural) = (
        text(&definition, &["spec", "group"]),
        text(&definition, &["spec", "names", "plural"]),
    );
    let view = cp.cache.view(group, plural);
    let objects = view.list(None).0;
    if !objects.is_empty() && is_condition_true(&definition, "Established") {
        let version = storage_version(&definition).unwrap_or("v1");
        for o in &objects {
            let scope = if o.namespace().is_empty() {
                String::new()
            } else {
                format!("/namespaces/{}", o.namespace())
            };
            let path = format!("/apis/{group}/{version}{scope}/{plural}/{}", o.name());
            ask(cp, Method::DELETE, &path, &Value::Null).await?;
        }
        cp.cache.fresh().await?;
        if !view.list(None).0.is_empty() {
            return Ok(false);
        }
    }
    let rest: Vec<Value> = definition
        .at(&["metadata", "finalizers"])
        .and_then(Value::as_array)
        .unwrap_or_default()
        .iter()
        .filter(|f| f.as_str() != Some(FINALIZER))
        .cloned()
        .collect();
    let mut metadata = Map::new();
    metadata.insert("finalizers", Value::Array(rest));
    metadata.insert("resourceVersion", object.rev.to_string());
    ask(
        cp,
        Method::PATCH,
        &format!("{CRDS}/{name}"),
        &value!({"metadata": (Value::Object(metadata))}),
    )
    .await?;
    Ok(true)
}

/// A request of the server to itself; a missing object is as good as a deleted one.
async fn ask(
    cp: &Arc<ControlPlane>,
    method: Method,
    path: &str,
    body: &Value,
) -> Result<(), ApiError> {
    let bytes = if body.is_null() {
        Vec::new()
    } else {
        json::to_vec(body)
    };
    let mut request = Request::new(Body::from(bytes));
    *request.method_mut() = method;
    *request.uri_mut() = path.parse().map_err(ApiError::internal)?;
    request.headers_mut().insert(
        http::header::CONTENT_TYPE,
        http::HeaderValue::from_static("application/merge-patch+json"),
    );
    let user = User {
        name: "system:apiserver".into(),
        groups: vec![freehold_policy::GROUP_MASTERS.into()],
        ..User::default()
    };
    request.extensions_mut().insert(Identity(user));
    let response = Box::pin(cp.handle(request)).await;
    let code = response.status().as_u16();
    if response.status().is_success() || code == 404 {
        return Ok(());
    }
    Err(ApiError::internal(format!("{path} answered {code}")))
}

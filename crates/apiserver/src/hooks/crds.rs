//! CustomResourceDefinitions: their names are accepted by the server itself, their kinds are
//! served as soon as they are stored, and their objects go before they do.

use crate::cache::Object;
use crate::control_plane::ControlPlane;
use crate::pipeline::Call;
use crate::registry::is_condition_true;
use crate::{Body, Identity, clock};
use freehold_model::field::FieldError;
use freehold_model::{ApiError, Map, Value, crd, json, value};
use freehold_policy::User;
use http::{Method, Request};
use std::sync::{Arc, Weak};
use std::time::Duration;
use tracing::Instrument as _;

const GROUP: &str = "apiextensions.k8s.io";
const NON_STRUCTURAL: &str = "NonStructuralSchema";
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

fn reject(object: &Value, errors: &[FieldError]) -> Result<(), ApiError> {
    if errors.is_empty() {
        return Ok(());
    }
    let name = text(object, &["metadata", "name"]);
    Err(ApiError::invalid(
        GROUP,
        "CustomResourceDefinition",
        name,
        errors,
    ))
}

pub(super) fn create(call: &Call, object: &mut Value) -> Result<(), ApiError> {
    fill_names(object);
    let minor = call.served.catalogue.minor;
    reject(object, &crd::validate_create(object, minor))?;
    reject(
        object,
        &crd::compile(object, minor).err().unwrap_or_default(),
    )?;
    object.unset(&["status"]);
    accept(call, object);
    Ok(())
}

pub(super) fn update(call: &Call, object: &mut Value, old: &Value) -> Result<(), ApiError> {
    fill_names(object);
    let minor = call.served.catalogue.minor;
    reject(object, &crd::validate_update(object, old, minor))?;
    // A finalizer may go from a CRD whose old schema would no longer be accepted.
    if object.get("spec") != old.get("spec") {
        // It compiles now, or is refused.
        let all = conditions_but(object, NON_STRUCTURAL);
        object.set(&["status", "conditions"], Value::Array(all));
        reject(
            object,
            &crd::compile(object, minor).err().unwrap_or_default(),
        )?;
    }
    accept(call, object);
    Ok(())
}

/// Gives the names that are free, and with them the conditions.
fn accept(call: &Call, object: &mut Value) {
    let group = text(object, &["spec", "group"]).to_owned();
    let own = text(object, &["metadata", "name"]).to_owned();
    let mut used = crd::UsedNames::default();
    for r in call
        .cp
        .registry
        .now()
        .catalogue
        .resources
        .iter()
        .filter(|r| r.group == group)
    {
        used.resources
            .extend([r.plural.clone(), r.singular.clone()]);
        used.resources.extend(r.short_names.iter().cloned());
        used.kinds.extend([r.kind.clone(), r.list_kind.clone()]);
    }
    let neighbours = call.view().list(None).0;
    for other in neighbours
        .iter()
        .filter(|o| o.name() != own && o.name().ends_with(&format!(".{group}")))
    {
        used.add(&other.parse());
    }
    let kept: Vec<Value> = conditions(object)
        .iter()
        .filter(|c| c.str_at(&["type"]) == Some("Terminating"))
        .cloned()
        .collect();
    let mut status = crd::accepted_status(object, &used, &call.rfc3339());
    if !kept.is_empty() {
        let mut all = status
            .get("conditions")
            .and_then(Value::as_array)
            .unwrap_or_default()
            .to_vec();
        all.retain(|c| c.str_at(&["type"]) != Some("Terminating"));
        all.extend(kept);
        status.set(&["conditions"], Value::Array(all));
    }
    object.set(&["status"], status);
}

fn conditions_but(object: &Value, kind: &str) -> Vec<Value> {
    let mut all = conditions(object).to_vec();
    all.retain(|c| c.str_at(&["type"]) != Some(kind));
    all
}

fn conditions(object: &Value) -> &[Value] {
    object
        .at(&["status", "conditions"])
        .and_then(Value::as_array)
        .unwrap_or_default()
}

fn storage_version(object: &Value) -> Option<&str> {
    let versions = object.at(&["spec", "versions"])?.as_array()?;
    let storage = |v: &&Value| v.get("storage").and_then(Value::as_bool) == Some(true);
    versions.iter().find(storage)?.str_at(&["name"])
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
    let mut all = conditions(object).to_vec();
    all.retain(|c| c.str_at(&["type"]) != Some("Terminating"));
    all.push(value!({
        "type": "Terminating",
        "status": "True",
        "reason": "InstanceDeletionPending",
        "message": "CustomResourceDefinition marked for deletion; CustomResource deletion will begin soon",
        "lastTransitionTime": (call.rfc3339())
    }));
    object.set(&["status", "conditions"], Value::Array(all));
    object.unset(&["metadata", "deletionGracePeriodSeconds"]);
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
        let work = clean_up(Arc::downgrade(cp), object.name().to_owned());
        let span = tracing::info_span!("control_plane", name = cp.name());
        tokio::spawn(work.instrument(span));
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

/// Tells of stored CRDs that do not compile, and whose kinds are therefore not served.
pub(crate) async fn tell_broken(cp: Weak<ControlPlane>) {
    loop {
        let Some(now) = cp.upgrade() else { return };
        let (registry, closed) = (now.registry.clone(), now.cache.closed());
        drop(now);
        let names = tokio::select! {
            () = closed.cancelled() => return,
            names = registry.broken() => names,
        };
        let Some(now) = cp.upgrade() else { return };
        for name in names {
            if let Err(e) = tell(&now, &name).await {
                tracing::warn!(crd = %name, error = %e, "a condition could not be written");
            }
        }
    }
}

async fn tell(cp: &Arc<ControlPlane>, name: &str) -> Result<(), ApiError> {
    let view = cp.cache.view(GROUP, "customresourcedefinitions");
    let Some(object) = view.get("", name) else {
        return Ok(());
    };
    let definition = object.parse();
    let minor = cp.registry.now().catalogue.minor;
    let Some((reason, message)) = crd::non_structural(&definition, minor) else {
        return Ok(());
    };
    let is_told = |c: &Value| {
        c.str_at(&["type"]) == Some(NON_STRUCTURAL)
            && c.str_at(&["reason"]) == Some(reason)
            && c.str_at(&["message"]) == Some(&message)
    };
    if conditions(&definition).iter().any(is_told) {
        return Ok(());
    }
    let mut all = conditions_but(&definition, NON_STRUCTURAL);
    all.push(value!({
        "type": NON_STRUCTURAL, "status": "True", "reason": reason, "message": message,
        "lastTransitionTime": (clock::rfc3339(clock::now()))
    }));
    let patch = value!({
        "metadata": {"resourceVersion": (object.rev.to_string())},
        "status": {"conditions": (Value::Array(all))}
    });
    ask(cp, Method::PATCH, &format!("{CRDS}/{name}/status"), &patch).await
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

//! Where upstream treats a kind specially: facts about kinds, and small steps of the generic
//! verbs. Everything not named here is handled alike.

mod app_armor;
mod certificates;
pub(crate) mod crds;
mod daemons;
mod devices;
mod events;
mod jobs;
mod namespaces;
mod pods;
mod scale;
mod services;
pub(crate) mod subresource;
mod volumes;

use crate::pipeline::Call;
use crate::write::Done;
use freehold_model::{ApiError, Resource, Value, value};
use freehold_policy::rbac;

fn is(resource: &Resource, group: &str, plurals: &[&str]) -> bool {
    resource.group == group && plurals.contains(&resource.plural.as_str())
}

/// Kinds whose `metadata.generation` counts changes of what is wanted
/// (`Generation = 1` in pkg/registry/*/*/strategy.go).
pub(crate) fn has_generation(resource: &Resource) -> bool {
    resource.custom.is_some()
        || match resource.group.as_str() {
            "" => is(
                resource,
                "",
                &["pods", "podtemplates", "replicationcontrollers"],
            ),
            "apps" => resource.plural != "controllerrevisions",
            "batch"
            | "admissionregistration.k8s.io"
            | "apiextensions.k8s.io"
            | "flowcontrol.apiserver.k8s.io"
            | "networking.k8s.io" => {
                !matches!(resource.plural.as_str(), "servicecidrs" | "ipaddresses")
            }
            "scheduling.k8s.io" | "policy" => true,
            "discovery.k8s.io" => true,
            "resource.k8s.io" => {
                matches!(
                    resource.plural.as_str(),
                    "deviceclasses" | "resourceslices" | "devicetaintrules"
                )
            }
            _ => false,
        }
}

/// Whether anything but metadata and status differs.
pub(crate) fn spec_differs(resource: &Resource, a: &Value, b: &Value) -> bool {
    let has_status = resource.has_status();
    let relevant = |v: &'_ Value| -> Vec<(String, Value)> {
        v.as_object()
            .map(|m| {
                m.iter()
                    .filter(|(k, _)| {
                        !(matches!(*k, "metadata" | "apiVersion" | "kind")
                            || has_status && *k == "status")
                    })
                    .map(|(k, v)| (k.to_owned(), v.clone()))
                    .collect()
            })
            .unwrap_or_default()
    };
    relevant(a) != relevant(b)
}

/// Whether a change counts: that of a Deployment's annotations does, that of a PriorityClass does not.
pub(crate) fn generation_moves(resource: &Resource, a: &Value, b: &Value) -> bool {
    let annotations = |v: &Value| v.at(&["metadata", "annotations"]).cloned();
    if is(resource, "scheduling.k8s.io", &["priorityclasses"]) {
        return false;
    }
    spec_differs(resource, a, b)
        || is(resource, "apps", &["deployments"]) && annotations(a) != annotations(b)
}

/// A kubelet registers its node together with its status.
pub(crate) fn keeps_status_on_create(resource: &Resource) -> bool {
    is(resource, "", &["nodes"])
}

/// `AllowCreateOnUpdate` in pkg/registry/*/*/strategy.go.
pub(crate) fn creates_on_update(resource: &Resource) -> bool {
    match resource.group.as_str() {
        "" => is(
            resource,
            "",
            &["limitranges", "events", "services", "endpoints"],
        ),
        "rbac.authorization.k8s.io" | "coordination.k8s.io" => true,
        "node.k8s.io" => is(resource, "node.k8s.io", &["runtimeclasses"]),
        _ => false,
    }
}

/// `ReturnDeletedObject` in pkg/registry/*/*/storage/storage.go.
pub(crate) fn returns_deleted(resource: &Resource) -> bool {
    match resource.group.as_str() {
        "" => is(
            resource,
            "",
            &[
                "resourcequotas",
                "persistentvolumes",
                "serviceaccounts",
                "persistentvolumeclaims",
                "namespaces",
                "pods",
                "services",
                "podtemplates",
            ],
        ),
        "storage.k8s.io" => resource.plural != "csistoragecapacities",
        "resource.k8s.io" => true,
        _ => false,
    }
}

/// Kinds that the garbage collector never looks at.
pub(crate) fn outside_garbage_collection(resource: &Resource) -> bool {
    is(resource, "", &["events"]) || is(resource, "events.k8s.io", &["events"])
}

/// Kinds whose dependents stay when nothing is said about them.
pub(crate) fn orphans_by_default(resource: &Resource) -> bool {
    is(resource, "batch", &["jobs"])
}

/// The grace period a kind gets when none is asked for; `None`: it has none.
pub(crate) fn grace(resource: &Resource, object: &Value) -> Option<i64> {
    is(resource, "", &["pods"]).then(|| pods::grace(object))
}

/// Namespaces have finalizers in their spec too.
pub(crate) fn own_finalizers(resource: &Resource, object: &Value) -> bool {
    is(resource, "", &["namespaces"])
        && object
            .at(&["spec", "finalizers"])
            .and_then(Value::as_array)
            .is_some_and(|f| !f.is_empty())
}

/// What a write of `/status` may change of the metadata: labels and annotations of built-in kinds
/// (but not a Deployment's labels), nothing of custom ones.
pub(crate) fn status_metadata(resource: &Resource, next: &mut Value, metadata: Option<&Value>) {
    if resource.custom.is_some() {
        return;
    }
    let labels = !is(resource, "apps", &["deployments"]);
    for field in ["labels", "annotations"]
        .into_iter()
        .skip(usize::from(!labels))
    {
        match metadata.and_then(|m| m.get(field)) {
            Some(v) => next.set(&["metadata", field], v.clone()),
            None => {
                next.unset(&["metadata", field]);
            }
        }
    }
}

/// A namespaced object needs a namespace that is there and not being deleted.
pub(crate) fn namespace_accepts(call: &Call, name: &str) -> Result<(), ApiError> {
    if !call.resource.namespaced {
        return Ok(());
    }
    namespaces::accepts(call, name)
}

/// Refuses creates beyond the number of objects this control plane may hold.
pub(crate) fn check_room(call: &Call) -> Result<(), ApiError> {
    let limit = call.cp.config.limits.objects;
    if call.cp.cache.objects() < limit {
        return Ok(());
    }
    Err(call.forbidden(
        "",
        &format!("this control plane already holds {limit} objects, which is its limit"),
    ))
}

/// Held while a kind that allocates something is written.
pub(crate) async fn serialize(call: &Call) -> Option<tokio::sync::MutexGuard<'_, ()>> {
    let r = &call.resource;
    let one_by_one =
        is(r, "", &["services"]) || is(r, "apiextensions.k8s.io", &["customresourcedefinitions"]);
    if !one_by_one {
        return None;
    }
    let guard = call.cp.allocation.lock().await;
    // What the previous holder wrote must be visible to this one.
    if let Err(e) = call.cp.cache.fresh().await {
        tracing::debug!(error = %e, "cache is not fresh");
    }
    Some(guard)
}

/// The store lease of a kind that expires.
pub(crate) async fn lease(call: &Call) -> Result<i64, ApiError> {
    if outside_garbage_collection(&call.resource) && call.info.mutates() {
        return events::lease(&call.cp).await;
    }
    Ok(0)
}

/// Defaults that are times.
pub(crate) fn date(resource: &Resource, object: &mut Value, now: &str) {
    if is(
        resource,
        "resource.k8s.io",
        &["resourceslices", "devicetaintrules"],
    ) {
        devices::date_taints(object, now);
    }
}

/// Fields of features that are off by default in the version served here are not taken over (the
/// `dropDisabled…` functions of pkg/registry/*/*/strategy.go).
pub(crate) fn drop_disabled(resource: &Resource, object: &mut Value, old: Option<&Value>) {
    volumes::drop_new_projections(resource, object, old);
    let off: &[&[&str]] = match (resource.group.as_str(), resource.plural.as_str()) {
        ("coordination.k8s.io", "leases") => &[&["spec", "strategy"], &["spec", "preferredHolder"]],
        ("apps", "statefulsets") => {
            &[&["spec", "updateStrategy", "rollingUpdate", "maxUnavailable"]]
        }
        ("", "persistentvolumeclaims") => return volumes::drop_other_sources(object),
        _ => return,
    };
    for path in off {
        if old.is_none_or(|old| old.at(path).is_none()) {
            object.unset(path);
        }
    }
}

/// What decoding alone completes upstream, and so belongs to the sender.
pub(crate) fn complete(resource: &Resource, object: &mut Value) {
    if is(resource, "", &["secrets"]) {
        take_string_data(object);
    }
    if is(resource, "", &["namespaces"]) {
        let name = object
            .str_at(&["metadata", "name"])
            .unwrap_or("")
            .to_owned();
        object.set(&["metadata", "labels", "kubernetes.io/metadata.name"], name);
    }
}

/// Completes a new object; refuses what may not be.
pub(crate) fn before_create(call: &Call, object: &mut Value) -> Result<(), ApiError> {
    let r = &call.resource;
    match (r.group.as_str(), r.plural.as_str()) {
        ("", "namespaces") => namespaces::create(object),
        ("", "pods") => pods::create(call, object)?,
        ("", "persistentvolumes") => {
            let now = call.rfc3339();
            object.set(
                &["status"],
                value!({"phase": "Pending", "lastPhaseTransitionTime": now}),
            );
        }
        ("", "persistentvolumeclaims") => object.set(&["status"], value!({"phase": "Pending"})),
        ("", "services") => services::create(object),
        ("apps", "daemonsets") => daemons::create(object),
        ("batch", "jobs") => jobs::create(object),
        ("certificates.k8s.io", "certificatesigningrequests") => {
            certificates::create(call, object)?
        }
        ("apiextensions.k8s.io", "customresourcedefinitions") => crds::create(call, object)?,
        _ => {}
    }
    confirm_grant(call, object, None)
}

/// Completes the new state of an object; refuses what may not change.
pub(crate) fn before_update(call: &Call, object: &mut Value, old: &Value) -> Result<(), ApiError> {
    let r = &call.resource;
    let is_request = is(r, "certificates.k8s.io", &["certificatesigningrequests"]);
    match call.info.subresource.as_str() {
        "" => {}
        "approval" => return certificates::approve(call, object, old),
        "status" if is_request => return certificates::sign(call, object, old),
        "status" => {
            match (r.group.as_str(), r.plural.as_str()) {
                ("", "pods") => pods::status(object, old),
                ("", "persistentvolumes") => volumes::status(object, old, &call.rfc3339()),
                ("apps", "daemonsets") => daemons::update(object, old),
                _ => {}
            }
            return Ok(());
        }
        _ => return Ok(()),
    }
    match (r.group.as_str(), r.plural.as_str()) {
        ("", "namespaces") => {
            let finalizers = old
                .at(&["spec", "finalizers"])
                .cloned()
                .unwrap_or_else(|| Value::Array(Vec::new()));
            object.set(&["spec", "finalizers"], finalizers);
        }
        ("", "pods") => pods::update(object, old),
        ("", "services") => services::update(object, old),
        ("apps", "daemonsets") => daemons::update(object, old),
        ("certificates.k8s.io", "certificatesigningrequests") => {
            object.set(&["spec"], old.get("spec").cloned().unwrap_or_default());
        }
        ("apiextensions.k8s.io", "customresourcedefinitions") => crds::update(call, object, old)?,
        _ => {}
    }
    confirm_grant(call, object, Some(old))
}

/// Gives what only the server can give, to an object that is valid.
pub(crate) fn allocate(
    call: &Call,
    object: &mut Value,
    old: Option<&Value>,
) -> Result<(), ApiError> {
    if is(&call.resource, "", &["services"]) && call.info.subresource.is_empty() {
        return services::allocate(call, object, old);
    }
    Ok(())
}

/// Kinds whose update must say which version it replaces
/// (`AllowUnconditionalUpdate` in pkg/registry/*/*/strategy.go).
pub(crate) fn needs_version(resource: &Resource) -> bool {
    resource.custom.is_some()
        || match resource.group.as_str() {
            "admissionregistration.k8s.io"
            | "coordination.k8s.io"
            | "internal.apiserver.k8s.io"
            | "node.k8s.io"
            | "policy"
            | "storagemigration.k8s.io" => true,
            "apiextensions.k8s.io" | "apiregistration.k8s.io" => true,
            "certificates.k8s.io" => resource.plural != "certificatesigningrequests",
            "resource.k8s.io" => resource.plural == "resourcepoolstatusrequests",
            "storage.k8s.io" => matches!(
                resource.plural.as_str(),
                "csidrivers" | "csinodes" | "csistoragecapacities" | "volumeattachments"
            ),
            _ => false,
        }
}

/// Refuses the deletion of what must stay.
pub(crate) fn before_delete(call: &Call, object: &Value) -> Result<(), ApiError> {
    if is(&call.resource, "", &["namespaces"]) {
        let name = object.str_at(&["metadata", "name"]).unwrap_or("");
        if matches!(name, "default" | "kube-system" | "kube-public") {
            return Err(call.forbidden(name, "this namespace may not be deleted"));
        }
    }
    Ok(())
}

/// Gives the containers of a pod the resources that a resize asks for, and nothing else of it.
pub(crate) fn resize(pod: &mut Value, asked: &Value) {
    pods::resize(pod, asked);
}

/// Finalizers that a deletion brings along.
pub(crate) fn begin_delete(call: &Call, object: &mut Value) {
    if is(
        &call.resource,
        "apiextensions.k8s.io",
        &["customresourcedefinitions"],
    ) {
        crds::begin_delete(object);
    }
}

/// What else a kind shows when its deletion begins.
pub(crate) fn mark_deleting(call: &Call, object: &mut Value, old: &Value) {
    if is(&call.resource, "", &["namespaces"]) {
        object.set(&["status", "phase"], "Terminating");
        object.unset(&["metadata", "deletionGracePeriodSeconds"]);
    }
    if is(
        &call.resource,
        "apiextensions.k8s.io",
        &["customresourcedefinitions"],
    ) {
        crds::mark_deleting(call, object);
        if let Some(generation) = old.at(&["metadata", "generation"]) {
            object.set(&["metadata", "generation"], generation.clone());
        }
    }
}

/// What must have happened before the client hears of its write.
pub(crate) async fn after_write(call: &Call, done: &Done) -> Result<(), ApiError> {
    let (Done::Stored { object, .. } | Done::Deleted(object)) = done else {
        return Ok(());
    };
    let r = &call.resource;
    let is_crd = is(r, "apiextensions.k8s.io", &["customresourcedefinitions"]);
    if is_crd || r.group == rbac::GROUP || is(r, "", &["namespaces"]) {
        // The next request is decided by this: by who may, where it may go, which kinds there are.
        call.cp.cache.reach(object.rev).await?;
    }
    if is_crd {
        crds::clean_up_when_deleted(&call.cp, object);
    }
    Ok(())
}

/// Nobody grants more than they have.
fn confirm_grant(call: &Call, object: &Value, old: Option<&Value>) -> Result<(), ApiError> {
    if call.resource.group != rbac::GROUP {
        return Ok(());
    }
    let write = rbac::Write {
        resource: &call.resource.plural,
        namespace: &call.info.namespace,
        name: &call.info.name,
        object,
        old,
    };
    call.cp.authz.confirm_no_escalation(&call.user, &write)
}

/// `stringData` becomes part of `data` and is never stored.
fn take_string_data(object: &mut Value) {
    use base64::Engine as _;
    let Some(Value::Object(strings)) = object.unset(&["stringData"]) else {
        return;
    };
    for (key, text) in strings.iter() {
        if let Some(text) = text.as_str() {
            let encoded = base64::engine::general_purpose::STANDARD.encode(text);
            object.set(&["data", key], encoded);
        }
    }
}

//! Subresources with objects of their own: scale, binding, eviction, token, and the ones that need
//! a node.

use crate::pipeline::{self, Call};
use crate::verbs::{self, DeleteOptions};
use crate::write::{Change, Target};
use crate::{Body, codec, respond};
use freehold_model::select::{LabelSelector, Labels};
use freehold_model::status::Cause;
use freehold_model::{ApiError, Value, strict, value};
use futures::future::BoxFuture;
use http::Response;

pub(crate) fn handles(call: &Call) -> bool {
    let sub = call.info.subresource.as_str();
    matches!(
        sub,
        "scale"
            | "binding"
            | "eviction"
            | "token"
            | "log"
            | "exec"
            | "attach"
            | "portforward"
            | "proxy"
    ) || (call.info.resource == "bindings" && call.info.group.is_empty())
}

pub(crate) async fn answer(call: &Call, body: Body) -> Result<Response<Body>, ApiError> {
    match call.info.subresource.as_str() {
        "scale" => super::scale::answer(call, body).await,
        "" | "binding" => bind(call, body).await,
        "eviction" => evict(call, body).await,
        "token" => token(call, body).await,
        _ => needs_node(call).await,
    }
}

/// Decodes a body of a kind that is not the path's own.
pub(super) fn decode_as(
    call: &Call,
    bytes: &[u8],
    group: &str,
    version: &str,
    kind: &str,
) -> Result<Value, ApiError> {
    let mut decoded = codec::decode(&call.served.catalogue, &pipeline::media(call), bytes)?;
    let given = decoded.value.str_at(&["kind"]).unwrap_or(kind).to_owned();
    if given != kind {
        let of = decoded.value.str_at(&["apiVersion"]).unwrap_or(version);
        let short = of.rsplit('/').next().unwrap_or(of);
        return Err(ApiError::bad_request(format!(
            "{given} in version {short:?} cannot be handled as a {kind}: converting ({short}.{given}) to ({}.{kind}): unknown conversion",
            crate::prepare::package(group)
        )));
    }
    if let Some((types, root)) = call.served.catalogue.type_of(group, version, kind) {
        strict::check(&types, root, &mut decoded.value, false)
            .map_err(|why| ApiError::bad_request(format!("{kind} cannot be read: {why}")))?;
    }
    if decoded.value.as_object().is_none() {
        return Err(ApiError::bad_request(format!("the body is not a {kind}")));
    }
    Ok(decoded.value)
}

async fn token(call: &Call, body: Body) -> Result<Response<Body>, ApiError> {
    call.dry_run()?;
    let bytes = codec::read(body).await?;
    let request = decode_as(call, &bytes, "authentication.k8s.io", "v1", "TokenRequest")?;
    let requesting: BoxFuture<'_, _> = Box::pin(call.cp.authn.token_request(
        &call.info.namespace,
        &call.info.name,
        request,
    ));
    let answered = requesting.await?;
    call.answer_value(201, &answered)
}

/// `pods/<name>/binding` and the older `bindings`.
async fn bind(call: &Call, body: Body) -> Result<Response<Body>, ApiError> {
    let dry_run = call.dry_run()?;
    let bytes = codec::read(body).await?;
    let binding = decode_as(call, &bytes, "", "v1", "Binding")?;
    let text = |path: &[&str]| binding.str_at(path).unwrap_or("").to_owned();
    let name = if call.info.name.is_empty() {
        text(&["metadata", "name"])
    } else {
        call.info.name.clone()
    };
    let node = text(&["target", "name"]);
    if node.is_empty() || !matches!(text(&["target", "kind"]).as_str(), "" | "Node") {
        return Err(ApiError::bad_request(
            "the target of a binding must be a Node",
        ));
    }
    let conflict = |name: &str, why: &str| ApiError::conflict("", "pods/binding", name, why);
    let pods = call.on_pods()?;
    let target = Target {
        namespace: &call.info.namespace,
        name: &name,
        lease: 0,
        dry_run,
    };
    let now = call.rfc3339();
    pods.modify(&target, |existing| {
        let old = existing.ok_or_else(|| pods.not_found(&name))?;
        let uid = text(&["metadata", "uid"]);
        if !uid.is_empty() && old.value.str_at(&["metadata", "uid"]) != Some(uid.as_str()) {
            return Err(conflict(&name, "Precondition failed: UID in precondition does not match"));
        }
        if old.value.at(&["metadata", "deletionTimestamp"]).is_some() {
            return Err(conflict(&name, &format!("pod {name} is being deleted, cannot be assigned to a host")));
        }
        let bound = old.value.str_at(&["spec", "nodeName"]).unwrap_or("");
        if !bound.is_empty() {
            return Err(conflict(&name, &format!("pod {name} is already assigned to node {bound:?}")));
        }
        let mut new = old.value.clone();
        new.set(&["spec", "nodeName"], node.as_str());
        for field in ["annotations", "labels"] {
            for (k, v) in binding.at(&["metadata", field]).and_then(Value::as_object).into_iter().flat_map(|m| m.iter()) {
                new.set(&["metadata", field, k], v.clone());
            }
        }
        let mut conditions: Vec<Value> =
            new.at(&["status", "conditions"]).and_then(Value::as_array).unwrap_or_default().to_vec();
        conditions.retain(|c| c.str_at(&["type"]) != Some("PodScheduled"));
        conditions.push(value!({"type": "PodScheduled", "status": "True", "lastProbeTime": null, "lastTransitionTime": (now.as_str())}));
        new.set(&["status", "conditions"], Value::Array(conditions));
        Ok(Change::Put(new))
    })
    .await?;
    call.answer_value(201, &success(201))
}

fn success(code: i64) -> Value {
    let mut status = respond::success("", "", "", "");
    status.unset(&["details"]);
    status.set(&["code"], code);
    status
}

async fn evict(call: &Call, body: Body) -> Result<Response<Body>, ApiError> {
    let bytes = codec::read(body).await?;
    let eviction = decode_as(call, &bytes, "policy", "v1", "Eviction")?;
    let mut options = DeleteOptions {
        dry_run: call.dry_run()?,
        ..DeleteOptions::default()
    };
    if let Some(o) = eviction.get("deleteOptions") {
        let mut o = o.clone();
        o.unset(&["kind"]);
        options.fill(&o)?;
    }
    call.cp.cache.fresh().await?;
    let name = &call.info.name;
    let pod = call
        .view()
        .get(&call.info.namespace, name)
        .ok_or_else(|| call.not_found(name))?;
    let phase = pod
        .parse()
        .str_at(&["status", "phase"])
        .unwrap_or("")
        .to_owned();
    if !matches!(phase.as_str(), "Succeeded" | "Failed" | "Pending") {
        disruption_allowed(call, pod.labels())?;
    }
    let pods = call.on_pods()?;
    verbs::delete_one(&pods, name, &options).await?;
    call.answer_value(201, &success(201))
}

/// 429 while a PodDisruptionBudget of the namespace forbids it (pkg/registry/core/pod/storage/eviction.go).
fn disruption_allowed(call: &Call, labels: &Labels) -> Result<(), ApiError> {
    for o in call
        .cp
        .cache
        .view("policy", "poddisruptionbudgets")
        .list(Some(&call.info.namespace))
        .0
    {
        let budget = o.parse();
        let Some(selector) = budget.at(&["spec", "selector"]) else {
            continue;
        };
        if !LabelSelector::from_value(selector)?.selects(labels) {
            continue;
        }
        let allowed = budget
            .at(&["status", "disruptionsAllowed"])
            .and_then(Value::as_i64)
            .unwrap_or(0);
        if allowed <= 0 {
            let mut e = ApiError::too_many_requests(
                "Cannot evict pod as it would violate the pod's disruption budget.",
                10,
            );
            let cause = Cause {
                reason: "DisruptionBudget".into(),
                message: format!(
                    "The disruption budget {} does not allow evicting pods currently",
                    o.name()
                ),
                field: String::new(),
            };
            e.details.get_or_insert_default().causes.push(cause);
            return Err(e);
        }
    }
    Ok(())
}

/// Logs, exec, proxies: there must be an object, and a node that runs it.
async fn needs_node(call: &Call) -> Result<Response<Body>, ApiError> {
    call.cp.cache.fresh().await?;
    let name = &call.info.name;
    let namespace = if call.resource.namespaced {
        call.info.namespace.as_str()
    } else {
        ""
    };
    let object = call
        .view()
        .get(namespace, name)
        .ok_or_else(|| call.not_found(name))?
        .parse();
    if call.info.resource == "pods"
        && object
            .str_at(&["spec", "nodeName"])
            .unwrap_or("")
            .is_empty()
    {
        return Err(ApiError::bad_request(format!(
            "pod {name} does not have a host assigned"
        )));
    }
    Err(ApiError::unavailable(format!(
        "{} of {} is not available: this control plane has no connection to nodes",
        call.info.subresource, call.info.resource
    )))
}

impl Call {
    /// The same request, acting on the pods themselves.
    fn on_pods(&self) -> Result<Self, ApiError> {
        let pods = self
            .served
            .lookup("", "v1", "pods")
            .cloned()
            .ok_or_else(ApiError::no_such_path)?;
        let mut info = self.info.clone();
        info.resource = "pods".into();
        info.subresource = String::new();
        Ok(self.with(info, pods))
    }
}

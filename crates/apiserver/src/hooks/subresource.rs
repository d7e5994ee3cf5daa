//! Subresources with objects of their own: scale, binding, eviction, token, and the ones that need
//! a node.

use crate::pipeline::{self, Call};
use crate::verbs::{self, DeleteOptions};
use crate::write::{Change, Existing, Target};
use crate::{Body, codec, respond};
use freehold_model::select::LabelSelector;
use freehold_model::status::Cause;
use freehold_model::{ApiError, Value, json, patch, strict, value};
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
        "scale" => scale(call, body).await,
        "" | "binding" => bind(call, body).await,
        "eviction" => evict(call, body).await,
        "token" => token(call, body).await,
        _ => needs_node(call).await,
    }
}

/// Decodes a body of a kind that is not the path's own.
fn decode_as(
    call: &Call,
    bytes: &[u8],
    group: &str,
    version: &str,
    kind: &str,
) -> Result<Value, ApiError> {
    let mut decoded = codec::decode(&call.served.catalogue, &pipeline::media(call), bytes)?;
    let given = decoded.value.str_at(&["kind"]).unwrap_or(kind).to_owned();
    if given != kind {
        return Err(ApiError::bad_request(format!(
            "{given} cannot be handled as a {kind}"
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

/// Where a kind keeps replicas wanted, replicas there, and its selector.
struct ScalePaths {
    wanted: Vec<String>,
    have: Vec<String>,
    selector: Option<Vec<String>>,
}

fn paths(call: &Call) -> Result<ScalePaths, ApiError> {
    let split = |p: &str| -> Vec<String> {
        p.trim_start_matches('.')
            .split('.')
            .map(Into::into)
            .collect()
    };
    match &call.resource.custom {
        None => Ok(ScalePaths {
            wanted: split("spec.replicas"),
            have: split("status.replicas"),
            selector: Some(split("spec.selector")),
        }),
        Some(custom) => {
            let [wanted, have, selector] =
                custom.scale.as_ref().ok_or_else(ApiError::no_such_path)?;
            let selector = (!selector.is_empty()).then(|| split(selector));
            Ok(ScalePaths {
                wanted: split(wanted),
                have: split(have),
                selector,
            })
        }
    }
}

fn at<'a>(object: &'a Value, path: &[String]) -> Option<&'a Value> {
    path.iter().try_fold(object, |v, key| v.get(key))
}

/// The Scale of an object, without resourceVersion.
fn scale_of(call: &Call, paths: &ScalePaths, object: &Value) -> Value {
    let mut metadata = Value::object();
    for field in ["name", "namespace", "uid", "creationTimestamp"] {
        if let Some(v) = object.at(&["metadata", field]) {
            metadata.set(&[field], v.clone());
        }
    }
    let int = |path: &[String]| at(object, path).and_then(Value::as_i64);
    let mut status = value!({"replicas": (int(&paths.have).unwrap_or(0))});
    if let Some(selector) = paths.selector.as_ref().and_then(|p| at(object, p)) {
        let text = match selector {
            Value::String(s) => s.to_string(),
            other => selector_text(other),
        };
        if !text.is_empty() {
            status.set(&["selector"], text);
        }
    }
    let default = i64::from(call.resource.custom.is_none());
    let wanted = int(&paths.wanted).unwrap_or(default);
    let spec = if wanted == 0 {
        Value::object()
    } else {
        value!({"replicas": wanted})
    };
    value!({"apiVersion": "autoscaling/v1", "kind": "Scale", "metadata": metadata, "spec": spec, "status": status})
}

/// A selector in its query form.
fn selector_text(selector: &Value) -> String {
    let plain = selector.get("matchLabels").is_none() && selector.get("matchExpressions").is_none();
    let labels = if plain {
        Some(selector)
    } else {
        selector.get("matchLabels")
    };
    let mut terms: Vec<String> = labels
        .and_then(Value::as_object)
        .into_iter()
        .flat_map(|m| m.iter())
        .filter_map(|(k, v)| Some(format!("{k}={}", v.as_str()?)))
        .collect();
    for e in selector
        .get("matchExpressions")
        .and_then(Value::as_array)
        .unwrap_or_default()
    {
        let key = e.str_at(&["key"]).unwrap_or("");
        let values: Vec<&str> = e
            .get("values")
            .and_then(Value::as_array)
            .unwrap_or_default()
            .iter()
            .filter_map(Value::as_str)
            .collect();
        terms.push(match e.str_at(&["operator"]).unwrap_or("") {
            "In" => format!("{key} in ({})", values.join(",")),
            "NotIn" => format!("{key} notin ({})", values.join(",")),
            "DoesNotExist" => format!("!{key}"),
            _ => key.to_owned(),
        });
    }
    terms.join(",")
}

async fn scale(call: &Call, body: Body) -> Result<Response<Body>, ApiError> {
    let paths = paths(call)?;
    let name = &call.info.name;
    if call.info.verb == "get" {
        call.cp.cache.fresh().await?;
        let object = call
            .view()
            .get(&call.info.namespace, name)
            .ok_or_else(|| call.not_found(name))?;
        let mut scale = scale_of(call, &paths, &call.to_served(&object)?);
        scale.set(&["metadata", "resourceVersion"], object.rev.to_string());
        return call.answer_value(200, &scale);
    }
    let dry_run = call.dry_run()?;
    let bytes = codec::read(body).await?;
    let namespace = if call.resource.namespaced {
        call.info.namespace.as_str()
    } else {
        ""
    };
    let target = Target {
        namespace,
        name,
        lease: 0,
        dry_run,
    };
    let done = call
        .modify(&target, |existing| {
            let old = existing.ok_or_else(|| call.not_found(name))?;
            let asked = asked_scale(call, &paths, old, &bytes)?;
            let mut new = old.value.clone();
            let replicas = asked
                .at(&["spec", "replicas"])
                .and_then(Value::as_i64)
                .unwrap_or(0);
            if replicas < 0 {
                let e = freehold_model::field::FieldError::invalid_int(
                    "spec.replicas",
                    replicas,
                    "must be greater than or equal to 0",
                );
                return Err(ApiError::invalid("autoscaling", "Scale", name, &[e]));
            }
            let wanted: Vec<&str> = paths.wanted.iter().map(String::as_str).collect();
            new.set(&wanted, replicas);
            for field in ["uid", "resourceVersion"] {
                if let Some(v) = asked.at(&["metadata", field]) {
                    new.set(&["metadata", field], v.clone());
                }
            }
            call.prepare_update(&mut new, old, true)?;
            Ok(Change::Put(new))
        })
        .await?;
    use crate::write::Done;
    let (value, rev) = match done {
        Done::Stored { object, .. } | Done::Deleted(object) => {
            (call.to_served(&object)?, object.rev.to_string())
        }
        Done::Dry { value, .. } => {
            let rev = value
                .str_at(&["metadata", "resourceVersion"])
                .unwrap_or("")
                .to_owned();
            (value, rev)
        }
    };
    let mut scale = scale_of(call, &paths, &value);
    scale.set(&["metadata", "resourceVersion"], rev);
    call.answer_value(200, &scale)
}

fn asked_scale(
    call: &Call,
    paths: &ScalePaths,
    old: &Existing,
    bytes: &[u8],
) -> Result<Value, ApiError> {
    if call.info.verb == "update" {
        return decode_as(call, bytes, "autoscaling", "v1", "Scale");
    }
    let mut scale = scale_of(call, paths, &old.value);
    scale.set(&["metadata", "resourceVersion"], old.object.rev.to_string());
    match pipeline::media(call).as_str() {
        "application/json-patch+json" => patch::json_patch(&mut scale, &json::parse(bytes)?.value)?,
        "application/merge-patch+json" | "application/strategic-merge-patch+json" => {
            patch::merge_patch(&mut scale, &json::parse(bytes)?.value)?;
        }
        "application/apply-patch+yaml" => {
            patch::merge_patch(&mut scale, &freehold_model::yaml::parse(bytes)?.value)?;
        }
        _ => {
            return Err(ApiError::unsupported_media_type(
                "the body of the request was in an unknown format",
            ));
        }
    }
    Ok(scale)
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
            return Err(pods.conflict(&name, "Precondition failed: UID in precondition does not match"));
        }
        if old.value.at(&["metadata", "deletionTimestamp"]).is_some() {
            return Err(pods.conflict(&name, &format!("pod {name} is being deleted, cannot be assigned to a host")));
        }
        let bound = old.value.str_at(&["spec", "nodeName"]).unwrap_or("");
        if !bound.is_empty() {
            return Err(pods.conflict(&name, &format!("pod {name} is already assigned to node {bound:?}")));
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
        conditions.push(value!({"type": "PodScheduled", "status": "True", "lastTransitionTime": (now.as_str())}));
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
fn disruption_allowed(call: &Call, labels: Option<&freehold_model::Map>) -> Result<(), ApiError> {
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
        if !LabelSelector::from_value(selector)?.matches(labels) {
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

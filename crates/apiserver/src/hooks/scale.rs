//! The scale subresource: replicas of any kind in one shape.

use super::subresource::decode_as;
use crate::pipeline::{self, Call};
use crate::write::{Change, Done, Existing, Target};
use crate::{Body, codec};
use freehold_model::apply::{self, Applier};
use freehold_model::field::FieldError;
use freehold_model::{ApiError, Value, json, patch, value, yaml};
use http::Response;

const APPLY: &str = "application/apply-patch+yaml";

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

pub(super) async fn answer(call: &Call, body: Body) -> Result<Response<Body>, ApiError> {
    let paths = paths(call)?;
    let name = &call.info.name;
    if call.info.verb == "get" {
        call.cp.cache.fresh().await?;
        let object = call
            .view()
            .get(&call.info.namespace, name)
            .ok_or_else(|| call.not_found(name))?;
        let mut scale = scale_of(call, &paths, &call.to_served(&object).await?);
        scale.set(&["metadata", "resourceVersion"], object.rev.to_string());
        return call.answer_value(200, &scale);
    }
    let dry_run = call.write_options()?;
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
            scaled(call, &paths, old, &bytes).map(Change::Put)
        })
        .await?;
    let (value, rev) = match done {
        Done::Stored { object, .. } | Done::Deleted(object) => {
            (call.to_served(&object).await?, object.rev.to_string())
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

/// The object with the replicas that the body asks for.
fn scaled(
    call: &Call,
    paths: &ScalePaths,
    old: &Existing,
    bytes: &[u8],
) -> Result<Value, ApiError> {
    let asked = asked_scale(call, paths, old, bytes)?;
    let (named, name) = (asked.str_at(&["metadata", "name"]), old.object.name());
    if let Some(named) = named.filter(|named| !named.is_empty() && *named != name) {
        return Err(ApiError::bad_request(format!(
            "the name of the object ({named}) does not match the name on the URL ({name})"
        )));
    }
    let replicas = asked
        .at(&["spec", "replicas"])
        .and_then(Value::as_i64)
        .unwrap_or(0);
    if replicas < 0 {
        let detail = "must be greater than or equal to 0";
        let e = FieldError::invalid_int("spec.replicas", replicas, detail);
        return Err(ApiError::invalid(
            "autoscaling",
            "Scale",
            old.object.name(),
            &[e],
        ));
    }
    let applies = pipeline::media(call) == APPLY;
    let mut new = if applies {
        let (manager, now) = (call.manager(), call.rfc3339());
        let force = call.query.is_on("force");
        let by = Applier {
            manager: &manager,
            force,
            subresource: "scale",
            now: &now,
            versions: call,
        };
        apply::apply_scale(&call.resource, &old.value, replicas, &by)?
    } else {
        let mut new = old.value.clone();
        let wanted: Vec<&str> = paths.wanted.iter().map(String::as_str).collect();
        new.set(&wanted, replicas);
        new
    };
    for field in ["uid", "resourceVersion"] {
        if let Some(v) = asked.at(&["metadata", field]) {
            new.set(&["metadata", field], v.clone());
        }
    }
    call.prepare_update(&mut new, old, !applies)?;
    Ok(new)
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
        APPLY => patch::merge_patch(&mut scale, &yaml::parse(bytes)?.value)?,
        _ => {
            return Err(ApiError::unsupported_media_type(
                "the body of the request was in an unknown format",
            ));
        }
    }
    Ok(scale)
}

//! PATCH: JSON patch, merge patch, strategic merge patch, server-side apply.

use super::update::finish;
use crate::pipeline::{self, Call};
use crate::write::{Change, Existing, Target};
use crate::{Body, codec, hooks};
use freehold_model::field::FieldError;
use freehold_model::json::{self, Decoded};
use freehold_model::{ApiError, Value, apply, patch as patches, strategic, strict, yaml};
use http::Response;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Json,
    Merge,
    Strategic,
    Apply,
}

impl Kind {
    fn of(call: &Call) -> Result<Self, ApiError> {
        let custom = call.resource.custom.is_some();
        let media = pipeline::media(call);
        match media.as_str() {
            "application/json-patch+json" => Ok(Self::Json),
            "application/merge-patch+json" => Ok(Self::Merge),
            "application/strategic-merge-patch+json" if !custom => Ok(Self::Strategic),
            "application/apply-patch+yaml" => Ok(Self::Apply),
            _ => {
                let strategic = media == "application/strategic-merge-patch+json";
                if strategic {
                    return Err(ApiError::unsupported_media_type(
                        "the body of the request was in an unknown format - accepted media types include: application/json-patch+json, application/merge-patch+json, application/apply-patch+yaml",
                    ));
                }
                let mut e = ApiError::unsupported_media_type("415: Unsupported Media Type");
                e.details = Some(Box::default());
                Err(e)
            }
        }
    }
}

pub(super) async fn patch(call: &Call, body: Body) -> Result<Response<Body>, ApiError> {
    let kind = Kind::of(call)?;
    let dry_run = call.write_options()?;
    let bytes = codec::read(body).await?;
    let patch = if kind == Kind::Apply {
        yaml::parse(&bytes)
    } else {
        json::parse(&bytes)
    };
    let patch = patch.map_err(|mut e| {
        e.message = format!("error decoding patch: {}", e.message);
        e
    })?;
    if kind == Kind::Apply {
        check_apply(call, &patch)?;
    } else if call.query.get("force").is_some() {
        let e = FieldError::forbidden("force", "may not be specified for non-apply patch");
        return Err(ApiError::invalid("meta.k8s.io", "PatchOptions", "", &[e]));
    }
    let _serial = hooks::serialize(call).await;
    let lease = hooks::lease(call).await?;
    let namespace = if call.resource.namespaced {
        call.info.namespace.as_str()
    } else {
        ""
    };
    let target = Target {
        namespace,
        name: &call.info.name,
        lease,
        dry_run,
    };
    let done = call
        .modify(&target, |existing| match (existing, kind) {
            (Some(old), Kind::Apply) => apply_to(call, old, &patch),
            (Some(old), _) => patched(call, kind, old, &patch),
            (None, Kind::Apply) if call.info.subresource.is_empty() => apply_new(call, &patch),
            (None, _) => Err(call.not_found(&call.info.name)),
        })
        .await?;
    hooks::after_write(call, &done).await?;
    call.answer_done(done).await
}

fn patched(call: &Call, kind: Kind, old: &Existing, patch: &Decoded) -> Result<Change, ApiError> {
    let mut new = old.value.clone();
    new.set(&["metadata", "resourceVersion"], old.object.rev.to_string());
    match kind {
        Kind::Json => patches::json_patch(&mut new, &patch.value)?,
        Kind::Merge => {
            if patch.value.as_object().is_none() {
                return Err(ApiError::bad_request(
                    "error decoding patch: a merge patch must be a JSON object",
                ));
            }
            patches::merge_patch(&mut new, &patch.value)?;
        }
        _ => strategic::strategic_merge(
            &call.resource.types,
            call.resource.root,
            &mut new,
            &patch.value,
        )?,
    }
    if new.as_object().is_none() {
        return Err(ApiError::new(
            422,
            "Invalid",
            "the patched object is not an object",
        ));
    }
    let new_text = if kind == Kind::Strategic {
        go_text(&patch.value)
    } else {
        excerpt(&new)
    };
    call.check_kind(&mut new)
        .and_then(|()| check_name(call, &new))
        .and_then(|()| call.check_fields(&mut new, patch.duplicates.clone()))
        .map_err(|e| does_not_fit(call, kind, &new_text, e))?;
    call.prepare_update(&mut new, old, true)?;
    Ok(finish(call, new))
}

/// The patched object as error messages quote it.
fn excerpt(object: &Value) -> String {
    let mut text = String::from_utf8_lossy(&json::to_vec(object)).into_owned();
    if let Some((end, _)) = text.char_indices().nth(2_000) {
        text.truncate(end);
    }
    text
}

/// A patch as Go prints its maps.
fn go_text(value: &Value) -> String {
    match value {
        Value::Object(map) => {
            let all = map.iter().map(|(k, v)| format!("{k}:{}", go_text(v)));
            format!("map[{}]", all.collect::<Vec<_>>().join(" "))
        }
        Value::Array(items) => {
            let all: Vec<String> = items.iter().map(go_text).collect();
            format!("[{}]", all.join(" "))
        }
        Value::Null => "<nil>".into(),
        Value::String(text) => text.to_string(),
        other => String::from_utf8_lossy(&json::to_vec(other)).into_owned(),
    }
}

/// What a patch made of the object is not of its type any more.
fn does_not_fit(call: &Call, kind: Kind, text: &str, e: ApiError) -> ApiError {
    let frame = format!("cannot be handled as a {}: ", call.resource.kind);
    match e.message.split_once(&frame) {
        Some((_, why)) if e.code == 400 => {
            let restored = not_restored(why).filter(|_| kind == Kind::Strategic);
            let why = restored.as_deref().unwrap_or(why);
            ApiError::invalid("", "", "", &[FieldError::invalid_str("patch", text, why)])
        }
        _ => e,
    }
}

/// After a strategic patch upstream turns maps into structs and has other words for what does not fit
/// (apimachinery `pkg/runtime/converter.go`).
fn not_restored(why: &str) -> Option<String> {
    let (got, wanted) = why
        .strip_prefix("json: cannot unmarshal ")?
        .split_once(" into Go ")?;
    let wanted = wanted.rsplit_once(" of type ")?.1;
    let got = match got {
        "number" => "int64",
        "array" => "slice",
        "object" => "map",
        other => other,
    };
    if wanted.starts_with("[]") {
        Some(format!("cannot restore slice from {got}"))
    } else if wanted.starts_with("map[") {
        Some(format!("cannot restore map from {got}"))
    } else {
        let is_struct = wanted.contains('.');
        is_struct.then(|| format!("cannot restore struct from: {got}"))
    }
}

/// A patch may not turn the object into another one.
fn check_name(call: &Call, new: &Value) -> Result<(), ApiError> {
    let name = new.str_at(&["metadata", "name"]).unwrap_or("");
    if name != call.info.name {
        return Err(ApiError::bad_request(format!(
            "the name of the object ({name}) does not match the name on the URL ({})",
            call.info.name
        )));
    }
    Ok(())
}

fn check_apply(call: &Call, patch: &Decoded) -> Result<(), ApiError> {
    if call.query.text("fieldManager").is_empty() {
        let e = FieldError::required("fieldManager", "is required for apply patch");
        return Err(ApiError::invalid("meta.k8s.io", "PatchOptions", "", &[e]));
    }
    let text = |path: &[&str]| patch.value.str_at(path).unwrap_or("").to_owned();
    let (version, kind, name) = (
        text(&["apiVersion"]),
        text(&["kind"]),
        text(&["metadata", "name"]),
    );
    if version != call.resource.api_version() || kind != call.resource.kind {
        let slash = if version.contains('/') { "" } else { "/" };
        return Err(ApiError::bad_request(format!(
            "invalid object type: {slash}{version}, Kind={kind}"
        )));
    }
    call.report_fields(
        patch
            .duplicates
            .iter()
            .map(|p| format!("duplicate field {p:?}")),
    )?;
    if !name.is_empty() && name != call.info.name {
        return Err(ApiError::bad_request(format!(
            "the name of the object ({name}) does not match the name on the URL ({})",
            call.info.name
        )));
    }
    if patch
        .value
        .at(&["metadata", "managedFields"])
        .and_then(Value::as_array)
        .is_some_and(|m| !m.is_empty())
    {
        return Err(ApiError::bad_request("metadata.managedFields must be nil"));
    }
    Ok(())
}

fn apply_to(call: &Call, old: &Existing, patch: &Decoded) -> Result<Change, ApiError> {
    let manager = call.manager();
    let now = call.rfc3339();
    let by = applier(call, &manager, &now);
    let mut new = apply::apply(&call.resource, Some(&old.value), &patch.value, &by)?;
    drop_nulls(call, &mut new)?;
    call.prepare_update(&mut new, old, false)?;
    Ok(finish(call, new))
}

fn apply_new(call: &Call, patch: &Decoded) -> Result<Change, ApiError> {
    hooks::namespace_accepts(call, &call.info.name)?;
    hooks::check_room(call)?;
    let uid = patch.value.str_at(&["metadata", "uid"]).unwrap_or("");
    if !uid.is_empty() {
        let why = format!(
            "uid mismatch: the provided object specified uid {uid}, and no existing object was found"
        );
        return Err(call.conflict(&call.info.name, &why));
    }
    let manager = call.manager();
    let now = call.rfc3339();
    let mut new = apply::apply(
        &call.resource,
        None,
        &patch.value,
        &applier(call, &manager, &now),
    )?;
    drop_nulls(call, &mut new)?;
    if new.str_at(&["metadata", "name"]).unwrap_or("").is_empty() {
        new.set(&["metadata", "name"], call.info.name.as_str());
    }
    call.prepare_create(&mut new, false)?;
    Ok(Change::Put(new))
}

/// What an apply removed may be left as null.
fn drop_nulls(call: &Call, object: &mut Value) -> Result<(), ApiError> {
    strict::check_and_prune(&call.resource, object).map(|_| ())
}

fn applier<'a>(call: &'a Call, manager: &'a str, now: &'a str) -> apply::Applier<'a> {
    apply::Applier {
        manager,
        force: call.query.is_on("force"),
        subresource: &call.info.subresource,
        now,
        versions: call,
    }
}

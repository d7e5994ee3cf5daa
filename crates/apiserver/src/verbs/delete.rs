//! DELETE of one object or of a collection.
//!
//! Order of apiserver `pkg/registry/generic/registry/store.go` and `pkg/registry/rest/delete.go`.

use super::list;
use crate::cache::Object;
use crate::pipeline::{self, Call};
use crate::write::{Change, Done, Existing, Target};
use crate::{Body, clock, codec, hooks, respond};
use freehold_model::field::{ErrorKind, FieldError};
use freehold_model::{ApiError, Value, strict};
use http::Response;
use std::sync::Arc;

const ORPHAN: &str = "orphan";
const FOREGROUND: &str = "foregroundDeletion";

/// `DeleteOptions`, from the body or the query.
#[derive(Clone, Debug, Default)]
pub(crate) struct Options {
    pub grace: Option<i64>,
    pub uid: Option<String>,
    pub rev: Option<String>,
    pub propagation: Option<String>,
    pub orphan: Option<bool>,
    pub dry_run: bool,
}

impl Options {
    pub(crate) async fn read(call: &Call, body: Body) -> Result<Self, ApiError> {
        let bytes = codec::read(body).await?;
        let mut options = Self {
            dry_run: call.dry_run()?,
            ..Self::default()
        };
        if bytes.is_empty() {
            options.grace = call.query.int("gracePeriodSeconds")?;
            options.orphan = call.query.flag("orphanDependents");
            options.propagation = call
                .query
                .get("propagationPolicy")
                .filter(|p| !p.is_empty())
                .map(Into::into);
        } else {
            let mut decoded =
                codec::decode(&call.served.catalogue, &pipeline::media(call), &bytes)?;
            let catalogue = &call.served.catalogue;
            if decoded
                .value
                .str_at(&["kind"])
                .is_none_or(|k| k == "DeleteOptions")
                && let Some((types, root)) = catalogue.type_of("", "v1", "DeleteOptions")
            {
                strict::check(&types, root, &mut decoded.value, false)
                    .map_err(ApiError::bad_request)?;
            }
            options.fill(&decoded.value)?;
        }
        options.check()
    }

    /// Takes over a `DeleteOptions` object.
    pub(crate) fn fill(&mut self, v: &Value) -> Result<(), ApiError> {
        if let Some(kind) = v.str_at(&["kind"]).filter(|k| *k != "DeleteOptions") {
            let version = v.str_at(&["apiVersion"]).unwrap_or("v1");
            return Err(ApiError::bad_request(format!(
                "no kind {kind:?} is registered for version {version:?} in scheme \"pkg/runtime/scheme.go:111\""
            )));
        }
        let text = |path: &[&str]| v.str_at(path).map(str::to_owned);
        self.grace = v.get("gracePeriodSeconds").and_then(Value::as_i64);
        self.orphan = v.get("orphanDependents").and_then(Value::as_bool);
        self.propagation = text(&["propagationPolicy"]);
        self.uid = text(&["preconditions", "uid"]);
        self.rev = text(&["preconditions", "resourceVersion"]);
        if let Some(list) = v.get("dryRun").and_then(Value::as_array) {
            if list.iter().any(|d| d.as_str() != Some("All")) {
                return Err(invalid("dryRun", "\"\"", "supported values: \"All\""));
            }
            self.dry_run |= !list.is_empty();
        }
        Ok(())
    }

    fn check(self) -> Result<Self, ApiError> {
        if self.propagation.is_some() && self.orphan.is_some() {
            return Err(ApiError::invalid(
                "meta.k8s.io",
                "DeleteOptions",
                "",
                &[FieldError::invalid_str(
                    "propagationPolicy",
                    self.propagation.as_deref().unwrap_or(""),
                    "orphanDependents and deletionPropagation cannot be both set",
                )],
            ));
        }
        match self.propagation.as_deref() {
            None | Some("Orphan" | "Background" | "Foreground") => Ok(self),
            Some(other) => Err(invalid(
                "propagationPolicy",
                &format!("{other:?}"),
                "supported values: \"Foreground\", \"Background\", \"Orphan\", \"nil\"",
            )),
        }
    }

    /// The finalizers that the garbage collector is to handle, added or removed as asked.
    fn finalizers(&self, object: &Value, call: &Call) -> Option<Vec<Value>> {
        if hooks::outside_garbage_collection(&call.resource) {
            return None;
        }
        let old = object
            .at(&["metadata", "finalizers"])
            .and_then(Value::as_array)
            .unwrap_or_default();
        let has = |name: &str| old.iter().any(|f| f.as_str() == Some(name));
        let (orphan, foreground) = match (self.orphan, self.propagation.as_deref()) {
            (Some(orphan), _) => (orphan, false),
            (None, Some(policy)) => (policy == "Orphan", policy == "Foreground"),
            (None, None) if has(ORPHAN) || has(FOREGROUND) => (has(ORPHAN), !has(ORPHAN)),
            (None, None) => (hooks::orphans_by_default(&call.resource), false),
        };
        if has(ORPHAN) == orphan && has(FOREGROUND) == foreground {
            return None;
        }
        let mut next: Vec<Value> = old
            .iter()
            .filter(|f| !matches!(f.as_str(), Some(ORPHAN | FOREGROUND)))
            .cloned()
            .collect();
        if orphan {
            next.push(ORPHAN.into());
        }
        if foreground {
            next.push(FOREGROUND.into());
        }
        Some(next)
    }
}

fn invalid(field: &str, value: &str, detail: &str) -> ApiError {
    let e = FieldError::new(ErrorKind::NotSupported, field, value, detail);
    ApiError::invalid("meta.k8s.io", "DeleteOptions", "", &[e])
}

pub(super) async fn delete(call: &Call, body: Body) -> Result<Response<Body>, ApiError> {
    let options = Options::read(call, body).await?;
    if hooks::orphans_by_default(&call.resource)
        && options.propagation.is_none()
        && options.orphan.is_none()
    {
        call.warn("child pods are preserved by default when jobs are deleted; set propagationPolicy=Background to remove them or set propagationPolicy=Orphan to suppress this warning");
    }
    let done = delete_one(call, &call.info.name, &options).await?;
    let accepted = options.orphan == Some(false) && matches!(done, Done::Stored { .. });
    let code = if accepted { 202 } else { 200 };
    match done {
        Done::Stored { object, .. } => call.answer_object(code, &object).await,
        Done::Deleted(object) if hooks::returns_deleted(&call.resource) => {
            call.answer_object(code, &object).await
        }
        Done::Deleted(object) => {
            let value = object.parse();
            call.answer_value(code, &status(call, &value))
        }
        Done::Dry {
            value,
            deleted: true,
            ..
        } if !hooks::returns_deleted(&call.resource) => {
            call.answer_value(code, &status(call, &value))
        }
        Done::Dry { value, .. } => call.answer_served(code, value),
    }
}

fn status(call: &Call, object: &Value) -> Value {
    let text = |path: &[&str]| object.str_at(path).unwrap_or("").to_owned();
    respond::success(
        &text(&["metadata", "name"]),
        &call.info.group,
        &call.info.resource,
        &text(&["metadata", "uid"]),
    )
}

/// Deletes the object of that name in the call's namespace.
pub(crate) async fn delete_one(
    call: &Call,
    name: &str,
    options: &Options,
) -> Result<Done, ApiError> {
    let namespace = if call.resource.namespaced {
        call.info.namespace.as_str()
    } else {
        ""
    };
    delete_at(call, namespace, name, options).await
}

async fn delete_at(
    call: &Call,
    namespace: &str,
    name: &str,
    options: &Options,
) -> Result<Done, ApiError> {
    let target = Target {
        namespace,
        name,
        lease: 0,
        dry_run: options.dry_run,
    };
    let done = call
        .modify(&target, |existing| {
            let old = existing.ok_or_else(|| call.not_found(name))?;
            decide(call, old, options)
        })
        .await?;
    hooks::after_write(call, &done).await?;
    Ok(done)
}

fn decide(call: &Call, old: &Existing, options: &Options) -> Result<Change, ApiError> {
    check_preconditions(call, old, options)?;
    hooks::before_delete(call, &old.value)?;
    let mut new = old.value.clone();
    let deleting = new.at(&["metadata", "deletionTimestamp"]).is_some();
    let pending_grace = new
        .at(&["metadata", "deletionGracePeriodSeconds"])
        .and_then(Value::as_i64)
        .unwrap_or(0);
    let mut graceful = false;
    if let Some(default) = hooks::grace(&call.resource, &old.value) {
        let asked = options.grace.map(|g| if g < 0 { 1 } else { g });
        if deleting {
            // Only a shorter grace period counts once the deletion has begun.
            if pending_grace > 0 {
                match asked {
                    Some(g) if g < pending_grace => shorten(&mut new, g, pending_grace, call.now),
                    _ => return Ok(Change::Keep),
                }
                graceful = new
                    .at(&["metadata", "deletionGracePeriodSeconds"])
                    .and_then(Value::as_i64)
                    != Some(0);
            }
        } else {
            let grace = if default == 0 {
                0
            } else {
                asked.unwrap_or(default)
            };
            if grace > 0 {
                mark(&mut new, call.now + grace, grace);
                graceful = true;
            }
        }
    }
    if !deleting {
        hooks::begin_delete(call, &mut new);
    }
    if let Some(finalizers) = options.finalizers(&new, call) {
        new.set(&["metadata", "finalizers"], Value::Array(finalizers));
    }
    let finalized = new
        .at(&["metadata", "finalizers"])
        .and_then(Value::as_array)
        .is_none_or(<[_]>::is_empty)
        && !hooks::own_finalizers(&call.resource, &new);
    if graceful {
        return Ok(Change::Put(new));
    }
    if finalized {
        if hooks::grace(&call.resource, &old.value).is_some() && deleting {
            new.set(&["metadata", "deletionGracePeriodSeconds"], 0_i64);
            return Ok(Change::Finish(new));
        }
        return Ok(Change::Delete);
    }
    if !deleting || pending_grace > 0 {
        let at = new
            .str_at(&["metadata", "deletionTimestamp"])
            .and_then(clock::parse)
            .map_or(call.now, |t| t.min(call.now));
        mark(&mut new, at, 0);
    }
    hooks::mark_deleting(call, &mut new, &old.value);
    Ok(Change::Put(new))
}

/// Sets the deletion fields; the generation grows on the first marking.
fn mark(object: &mut Value, at: i64, grace: i64) {
    let first = object.at(&["metadata", "deletionTimestamp"]).is_none();
    if first
        && let Some(g) = object
            .at(&["metadata", "generation"])
            .and_then(Value::as_i64)
            .filter(|g| *g > 0)
    {
        object.set(&["metadata", "generation"], g + 1);
    }
    object.set(&["metadata", "deletionTimestamp"], clock::rfc3339(at));
    object.set(&["metadata", "deletionGracePeriodSeconds"], grace);
}

fn shorten(object: &mut Value, asked: i64, pending: i64, now: i64) {
    let end = object
        .str_at(&["metadata", "deletionTimestamp"])
        .and_then(clock::parse)
        .unwrap_or(now);
    let mut next = end - pending + asked;
    let mut grace = asked;
    if next < now {
        next = now;
        grace = grace.min(1);
    }
    object.set(&["metadata", "deletionTimestamp"], clock::rfc3339(next));
    object.set(&["metadata", "deletionGracePeriodSeconds"], grace);
}

fn check_preconditions(call: &Call, old: &Existing, options: &Options) -> Result<(), ApiError> {
    let name = old.object.name();
    // Upstream says the kind here, where it says the resource elsewhere.
    let conflict = |name: &str, why: &str| {
        ApiError::conflict(&call.resource.group, &call.resource.kind, name, why)
    };
    let uid = old.value.str_at(&["metadata", "uid"]).unwrap_or("");
    if let Some(want) = &options.uid
        && want != uid
    {
        return Err(conflict(
            name,
            &format!(
                "the UID in the precondition ({want}) does not match the UID in record ({uid}). The object might have been deleted and then recreated"
            ),
        ));
    }
    if let Some(want) = &options.rev
        && *want != old.object.rev.to_string()
    {
        return Err(conflict(
            name,
            &format!(
                "the ResourceVersion in the precondition ({want}) does not match the ResourceVersion in record ({}). The object might have been modified",
                old.object.rev
            ),
        ));
    }
    Ok(())
}

/// Deletes what a list with the same parameters would show; answers with that list.
pub(super) async fn collection(call: &Call, body: Body) -> Result<Response<Body>, ApiError> {
    let options = Options::read(call, body).await?;
    let page = list::select(call).await?;
    for object in &page.objects {
        match delete_at(call, object.namespace(), object.name(), &options).await {
            Ok(_) => {}
            Err(e) if e.code == 404 => {}
            Err(e) => return Err(e),
        }
    }
    let objects: Vec<Arc<Object>> = page.objects;
    call.answer_list_values(&objects, respond::list_meta(Some(page.rev)))
        .await
}

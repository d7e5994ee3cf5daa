//! Server-side apply and field ownership (`managedFields`).
//!
//! The rules are those of structured-merge-diff `merge/update.go` within apimachinery
//! `pkg/util/managedfields`. Entries of other versions of a kind are compared in their own version,
//! and forgotten when that is gone: [`versions`].

mod fields;
mod managed;
mod overlay;
mod reset;
mod scale;
mod schema;
mod set;
mod versions;
mod walk;

pub use overlay::overlay;
pub use scale::apply_scale;
pub use versions::{Alike, Version, Versions};

use crate::catalogue::Resource;
use crate::limits::MAX_ANNOTATIONS;
use crate::status::{Cause, Details};
use crate::{ApiError, Str, Value, json};
use managed::{Entry, ManagerId, Managers, Operation};
use reset::Filter;
use schema::Ty;
use set::{Elem, Set};
use std::sync::LazyLock;
use versions::{Changes, compare};
use walk::Comparison;

const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// Who applies and how.
#[derive(Clone)]
pub struct Applier<'a> {
    pub manager: &'a str,
    pub force: bool,
    /// empty, or `status`, `scale`
    pub subresource: &'a str,
    /// RFC 3339 time of the request
    pub now: &'a str,
    /// the other versions of the kind
    pub versions: &'a dyn Versions,
}

/// Merges `config` into `live` (`None`: create) and returns the object with updated managedFields.
/// The result is not defaulted, and fields that were removed may be null.
///
/// # Errors
/// 409 with one cause per conflicting field, in upstream's words; 400 for a configuration that
/// does not fit the kind.
pub fn apply(
    resource: &Resource,
    live: Option<&Value>,
    config: &Value,
    by: &Applier<'_>,
) -> Result<Value, ApiError> {
    let request = Request::new(resource, by);
    request.check_config(config)?;
    let blank;
    let live = match live {
        Some(live) => live,
        None => {
            blank = request.blank();
            &blank
        }
    };
    let managers = request.managers(live)?;
    let mut object = match request.merge(live, config, managers, by.force) {
        Err(conflicts) if by.manager == "kubectl" => {
            let left = request.without_last_applied(live, conflicts);
            if left.is_empty() {
                let managers = request.managers(live)?;
                request
                    .merge(live, config, managers, true)
                    .map_err(|c| conflict_error(&c))?
            } else {
                return Err(conflict_error(&left));
            }
        }
        other => other.map_err(|c| conflict_error(&c))?,
    };
    if by.manager == "kubectl" {
        renew_last_applied(&mut object, config);
    }
    Ok(object)
}

/// Records ownership after a create or update by `by.manager` (`live` is the old object).
pub fn track_update(resource: &Resource, live: Option<&Value>, new: &mut Value, by: &Applier<'_>) {
    if let (Some(live), "scale") = (live, by.subresource) {
        return scale::track(resource, live, new, by);
    }
    let request = Request::new(resource, by);
    let given = new.unset(&["metadata", "managedFields"]);
    let of_live = || live.and_then(Managers::read).unwrap_or_default();
    let mut managers = match (&given, by.subresource) {
        (Some(Value::Array(entries)), "") if request.is_reset(entries) => Managers::default(),
        (Some(given @ Value::Array(_)), "") => {
            let mut object = Value::object();
            object.set(&["metadata", "managedFields"], given.clone());
            Managers::read(&object)
                .filter(|m| !m.0.is_empty())
                .unwrap_or_else(of_live)
        }
        _ => of_live(),
    };
    // Nobody asked for ownership of an object that is not tracked: it stays untracked.
    if live.is_some() && managers.0.is_empty() {
        return;
    }
    let id = ManagerId::new(
        by.manager,
        Operation::Update,
        &request.version,
        by.subresource,
    );
    let blank;
    let live = match live {
        Some(live) => live,
        None => {
            blank = request.blank();
            &blank
        }
    };
    request.update(live, new, &mut managers, id);
    managers.write(new);
}

/// When nothing changed but times of managedFields, takes the old times: such a request must not
/// write. apiserver `pkg/endpoints/handlers/fieldmanager/equality.go`.
pub fn keep_times_of_unchanged(old: &Value, new: &mut Value) {
    let without_times = |object: &Value| {
        let mut object = object.clone();
        let entries = object
            .get_mut("metadata")
            .and_then(|m| m.get_mut("managedFields"));
        for entry in entries.and_then(Value::as_array_mut).into_iter().flatten() {
            entry.unset(&["time"]);
        }
        object
    };
    let entries = |object: &Value| {
        object
            .at(&["metadata", "managedFields"])
            .and_then(Value::as_array)
            .map_or(0, <[_]>::len)
    };
    if entries(old) != 0 && entries(old) == entries(new) && without_times(old) == without_times(new)
    {
        *new = old.clone();
    }
}

/// One field that somebody else owns.
struct Conflict {
    id: ManagerId,
    path: Vec<Elem>,
}

/// What does not change during one request.
struct Request<'a> {
    resource: &'a Resource,
    by: &'a Applier<'a>,
    ty: Ty<'a>,
    version: Str,
    filter: Filter,
}

impl<'a> Request<'a> {
    fn new(resource: &'a Resource, by: &'a Applier<'a>) -> Self {
        Self {
            resource,
            by,
            ty: Ty::root(&resource.types, resource.root),
            version: resource.api_version().into(),
            filter: Filter::of(resource, by.subresource),
        }
    }

    /// What a create is compared with.
    fn blank(&self) -> Value {
        let mut blank = match self.resource.custom {
            Some(_) => Value::object(),
            None => schema::empty(&self.resource.types, self.resource.root),
        };
        blank.set(&["apiVersion"], self.version.clone());
        blank.set(&["kind"], self.resource.kind.clone());
        blank
    }

    /// `[]` and `[{}]` ask to forget all ownership; an empty list of a custom object is nothing.
    fn is_reset(&self, entries: &[Value]) -> bool {
        match entries {
            [] => self.resource.custom.is_none(),
            [one] => one
                .as_object()
                .is_some_and(|m| m.iter().all(|(_, v)| v.is_null() || v.as_str() == Some(""))),
            _ => false,
        }
    }

    fn check_config(&self, config: &Value) -> Result<(), ApiError> {
        let text = |path: &[&str]| config.str_at(path).unwrap_or_default();
        let (version, kind) = (text(&["apiVersion"]), text(&["kind"]));
        let shown = if version.contains('/') {
            version.to_owned()
        } else {
            format!("/{version}")
        };
        if version != self.version || kind != self.resource.kind {
            return Err(ApiError::bad_request(format!(
                "invalid object type: {shown}, Kind={kind}"
            )));
        }
        if config
            .at(&["metadata", "managedFields"])
            .is_some_and(|v| !v.is_null())
        {
            return Err(ApiError::bad_request("metadata.managedFields must be nil"));
        }
        let errors = walk::check(self.ty, config);
        if errors.is_empty() {
            return Ok(());
        }
        let errors = match errors.as_slice() {
            [one] => one.clone(),
            many => format!("errors:\n  {}", many.join("\n  ")),
        };
        Err(ApiError::bad_request(format!(
            "failed to create typed patch object ({}/{}; {shown}, Kind={kind}): {errors}",
            text(&["metadata", "namespace"]),
            text(&["metadata", "name"]),
        )))
    }

    /// The fields that no entry ever has.
    fn strip(set: Set) -> Set {
        static NEVER: LazyLock<Set> = LazyLock::new(|| {
            Set::of_paths(&[
                &["apiVersion"],
                &["kind"],
                &["metadata"],
                &["metadata", "name"],
                &["metadata", "namespace"],
                &["metadata", "creationTimestamp"],
                &["metadata", "selfLink"],
                &["metadata", "uid"],
                &["metadata", "clusterName"],
                &["metadata", "generation"],
                &["metadata", "managedFields"],
                &["metadata", "resourceVersion"],
            ])
        });
        set.difference(&NEVER)
    }

    /// Who owns what of an object; one that was not tracked so far had an owner before.
    fn managers(&self, live: &Value) -> Result<Managers, ApiError> {
        let mut managers = Managers::read(live).ok_or_else(|| {
            ApiError::internal("failed to decode managed fields of the existing object")
        })?;
        if managers.0.is_empty() {
            let blank = self.blank();
            if *live != blank {
                let id = ManagerId::new(
                    "before-first-apply",
                    Operation::Update,
                    &self.version,
                    self.by.subresource,
                );
                self.update(&blank, live, &mut managers, id);
            }
        }
        Ok(managers)
    }

    /// Adapts every entry to types that changed since it was written; those of versions that are
    /// gone go.
    fn reconcile(&self, managers: &mut Managers) {
        managers.0.retain(|_, entry| {
            let at = self.at(&entry.version);
            if let Some(set) = at
                .as_ref()
                .and_then(|at| walk::reconcile(at.ty(), &entry.set))
            {
                entry.set = set;
            }
            at.is_some()
        });
    }

    /// Takes from everybody but `me` what changed; without `force` that is a conflict.
    fn take(
        &self,
        changes: &Changes<'_>,
        managers: &mut Managers,
        me: Option<&ManagerId>,
        force: bool,
    ) -> Result<(), Vec<Conflict>> {
        let others = self.in_other_versions(changes, managers, me);
        let changed = changes.own.changed();
        let of = |version: &Str| {
            others
                .get(version)
                .map_or((&changed, &changes.own), |o| (&o.0, &o.1))
        };
        let mut conflicts = Vec::new();
        for (id, entry) in managers.0.iter().filter(|(id, _)| Some(*id) != me) {
            let taken = entry.set.intersection(of(&entry.version).0);
            taken.each(&mut Vec::new(), &mut |path| {
                let path = path.iter().map(|e| (*e).clone()).collect();
                conflicts.push(Conflict {
                    id: id.clone(),
                    path,
                });
            });
        }
        if !force && !conflicts.is_empty() {
            return Err(conflicts);
        }
        for (_, entry) in managers.0.iter_mut().filter(|(id, _)| Some(*id) != me) {
            let set = std::mem::take(&mut entry.set);
            let (changed, changes) = of(&entry.version);
            entry.set = set.difference(changed).difference(&changes.removed);
        }
        managers.0.retain(|_, entry| !entry.set.is_empty());
        Ok(())
    }

    /// Ownership after `new` replaced `live`.
    fn update(&self, live: &Value, new: &Value, managers: &mut Managers, id: ManagerId) {
        let (live, new) = (untracked(live), untracked(new));
        let changes = Changes {
            own: compare(self.ty, &self.filter, &live, &new),
            old: &live,
            new: &new,
        };
        self.reconcile(managers);
        // forced: nobody can refuse an update
        drop(self.take(&changes, managers, None, true));
        let mine = Self::strip(self.filter.apply(changes.own.changed()));
        if !mine.is_empty() {
            let entry = managers.0.entry(id).or_default();
            entry.set = entry.set.union(&mine);
            entry.version = self.version.clone();
            entry.time = Some(self.by.now.into());
        }
        managers.cap();
    }

    fn merge(
        &self,
        live: &Value,
        config: &Value,
        mut managers: Managers,
        force: bool,
    ) -> Result<Value, Vec<Conflict>> {
        let me = ManagerId::new(self.by.manager, Operation::Apply, "", self.by.subresource);
        let live = untracked(live);
        self.reconcile(&mut managers);
        let merged = walk::merge(self.ty, Some(&live), Some(config)).unwrap_or_else(Value::object);
        let before = managers.0.contains_key(&me);
        let entry = managers.0.entry(me.clone()).or_default();
        let given = self.filter.apply(walk::to_set(self.ty, config));
        let mine = Self::strip(given);
        let last = Entry {
            set: std::mem::take(&mut entry.set),
            version: std::mem::replace(&mut entry.version, self.version.clone()),
            time: None,
        };
        let mut object = merged;
        // Who applies everything again gives nothing up, but for what it owns as a whole and left
        // empty: what nobody owns in there goes with it.
        let again = last.version == self.version && last.set.is_within(&mine);
        if before && (!again || holds_more(config, &object)) {
            entry.set = self.filter.apply(walk::to_set(self.ty, config));
            object = self.prune(&object, &managers, &last);
        }
        if let Some(entry) = managers.0.get_mut(&me) {
            entry.set = mine;
        }
        let changes = Changes {
            own: compare(self.ty, &self.filter, &live, &object),
            old: &live,
            new: &object,
        };
        self.take(&changes, &mut managers, Some(&me), force)?;
        if set::equal(&live, &object) {
            object = live;
        } else if let Some(entry) = managers.0.get_mut(&me) {
            entry.time = Some(self.by.now.into());
        }
        managers.write(&mut object);
        Ok(object)
    }

    /// Removes what this manager applied last time (`last`), does not apply now, and nobody else
    /// owns.
    fn prune(&self, merged: &Value, managers: &Managers, last: &Entry) -> Value {
        let mut versions = managers.0.values().map(|entry| &entry.version);
        if last.version != self.version || versions.any(|v| *v != self.version) {
            return self.prune_across(merged, managers, last);
        }
        let named = |set: &Set| walk::with_named(Some(self.ty), set);
        let last = named(&last.set);
        let all = named(&walk::to_set(self.ty, merged));
        let pruned = walk::remove(self.ty, merged, &last);
        // back comes what somebody owns …
        let kept = named(&walk::to_set(self.ty, &pruned)).union(&named(&managers.union()));
        let pruned = walk::remove(self.ty, merged, &all.clone().difference(&kept));
        // … and what was never this manager's
        let kept = named(&walk::to_set(self.ty, &pruned));
        walk::remove(self.ty, merged, &all.difference(&kept).intersection(&last))
    }

    /// Conflicts that are none because `kubectl apply` had set the fields before, client-side.
    fn without_last_applied(&self, live: &Value, conflicts: Vec<Conflict>) -> Vec<Conflict> {
        let Some(allowed) = self.last_applied_fields(live) else {
            return conflicts;
        };
        let has = |path: &[Elem]| {
            let Some((last, parents)) = path.split_last() else {
                return false;
            };
            parents
                .iter()
                .try_fold(&allowed, |set, elem| set.child(elem))
                .is_some_and(|set| set.has(last))
        };
        conflicts.into_iter().filter(|c| !has(&c.path)).collect()
    }

    /// The fields of the last-applied annotation that the object still has as they were.
    fn last_applied_fields(&self, live: &Value) -> Option<Set> {
        let text = live
            .str_at(&["metadata", "annotations", LAST_APPLIED])
            .filter(|t| !t.is_empty())?;
        let last = json::parse(text.as_bytes()).ok()?.value;
        if last.str_at(&["apiVersion"]) != Some(&self.version)
            || !walk::check(self.ty, &last).is_empty()
        {
            return None;
        }
        let changes = Comparison::of(self.ty, &last, &untracked(live));
        let set = walk::to_set(self.ty, &last);
        Some(
            set.difference(&changes.modified)
                .difference(&changes.added)
                .difference(&changes.removed),
        )
    }
}

/// The object without its managedFields, which are as large as the rest.
fn untracked(object: &Value) -> Value {
    let Value::Object(map) = object else {
        return object.clone();
    };
    Value::Object(map.clone_with("metadata", |metadata| {
        Some(match metadata {
            Value::Object(map) => Value::Object(map.clone_with("managedFields", |_| None)),
            other => other.clone(),
        })
    }))
}

/// Keeps the annotation of client-side apply in step, for those who go back to it.
fn renew_last_applied(object: &mut Value, config: &Value) {
    let annotation = ["metadata", "annotations", LAST_APPLIED];
    if object.str_at(&annotation).is_none_or(str::is_empty) {
        return;
    }
    let mut config = config.clone();
    config.unset(&annotation);
    let mut text = String::from_utf8_lossy(&json::to_vec(&config)).into_owned();
    for (plain, escaped) in [
        ("<", "\\u003c"),
        (">", "\\u003e"),
        ("&", "\\u0026"),
        ("\u{2028}", "\\u2028"),
        ("\u{2029}", "\\u2029"),
    ] {
        text = text.replace(plain, escaped);
    }
    text.push('\n');
    let annotations = object.at(&annotation[..2]).and_then(Value::as_object);
    let size: usize = annotations
        .into_iter()
        .flat_map(crate::Map::iter)
        .filter(|(key, _)| *key != LAST_APPLIED)
        .map(|(key, value)| key.len() + value.as_str().unwrap_or_default().len())
        .sum();
    if size + LAST_APPLIED.len() + text.len() > MAX_ANNOTATIONS {
        object.unset(&annotation);
    } else {
        object.set(&annotation, text);
    }
}

fn conflict_error(conflicts: &[Conflict]) -> ApiError {
    let path = |c: &Conflict| fields::path_text(&c.path.iter().collect::<Vec<_>>());
    let causes = conflicts
        .iter()
        .map(|c| Cause {
            reason: "FieldManagerConflict".into(),
            message: format!("conflict with {}", c.id.describe()),
            field: path(c),
        })
        .collect();
    let message = match conflicts {
        [one] => format!(
            "Apply failed with 1 conflict: conflict with {}: {}",
            one.id.describe(),
            path(one)
        ),
        many => {
            let mut lines = Vec::new();
            for (i, conflict) in many.iter().enumerate() {
                if i == 0 || many[i - 1].id != conflict.id {
                    lines.push(format!("conflicts with {}:", conflict.id.describe()));
                }
                lines.push(format!("- {}", path(conflict)));
            }
            format!(
                "Apply failed with {} conflicts: {}",
                many.len(),
                lines.join("\n")
            )
        }
    };
    let mut error = ApiError::new(409, "Conflict", message);
    error.details = Some(Box::new(Details {
        causes,
        ..Details::default()
    }));
    error
}

/// Whether `merged` has something where `config` has an empty place; true also where lists cannot be
/// compared item by item.
fn holds_more(config: &Value, merged: &Value) -> bool {
    match (config, merged) {
        (Value::Null, merged) => !merged.is_null(),
        (Value::Object(config), Value::Object(merged)) if config.is_empty() => !merged.is_empty(),
        (Value::Object(config), Value::Object(merged)) => config
            .iter()
            .any(|(key, value)| merged.get(key).is_none_or(|m| holds_more(value, m))),
        (Value::Array(config), Value::Array(merged)) => {
            let mut pairs = config.iter().zip(merged);
            config.len() != merged.len() || pairs.any(|(c, m)| holds_more(c, m))
        }
        _ => false,
    }
}

//! Ownership through the scale subresource: apimachinery `pkg/util/managedfields/scalehandler.go`.
//!
//! A Scale has one field of the object behind it, its replicas. Whoever changes it there owns the
//! replicas of the object, in an entry of its own that (as upstream's) has no time.

use super::managed::{Entry, ManagerId, Managers, Operation};
use super::set::Set;
use super::{Applier, Conflict, Elem, conflict_error};
use crate::catalogue::Resource;
use crate::{ApiError, Value};

/// Where the replicas of a kind are.
fn path(resource: &Resource) -> Vec<&str> {
    let custom = resource.custom.as_ref().and_then(|c| c.scale.as_ref());
    let path = custom.map_or(".spec.replicas", |scale| scale[0].as_str());
    path.trim_start_matches('.').split('.').collect()
}

/// Owner of what nobody owned when the first apply came.
const BEFORE: &str = "before-first-apply";

fn has(set: &Set, path: &[&str]) -> bool {
    let Some((last, parents)) = path.split_last() else {
        return false;
    };
    let parent = parents
        .iter()
        .try_fold(set, |set, name| set.child(&Elem::field(name)));
    parent.is_some_and(|set| set.has(&Elem::field(last)))
}

/// Gives the replicas to `id` alone.
fn give(managers: &mut Managers, resource: &Resource, id: ManagerId, path: &[&str]) {
    let replicas = Set::of_path(path);
    for (_, entry) in managers.0.iter_mut().filter(|(other, _)| **other != id) {
        entry.set = std::mem::take(&mut entry.set).difference(&replicas);
    }
    managers.0.retain(|_, entry| !entry.set.is_empty());
    let entry = Entry {
        set: replicas,
        version: resource.api_version().into(),
        time: None,
    };
    managers.0.insert(id, entry);
}

/// After an update of the Scale: whoever changed the replicas owns them.
pub(super) fn track(resource: &Resource, live: &Value, new: &mut Value, by: &Applier<'_>) {
    let path = path(resource);
    let Some(mut managers) = Managers::read(live) else {
        return;
    };
    if live.at(&path) != new.at(&path) {
        let id = ManagerId::new(
            by.manager,
            Operation::Update,
            &resource.api_version(),
            "scale",
        );
        give(&mut managers, resource, id, &path);
        managers.cap();
    }
    managers.write(new);
}

/// Applies a Scale that asks for `replicas` to the object behind it.
///
/// # Errors
/// 409 when somebody else owns the replicas and wants another number.
pub fn apply_scale(
    resource: &Resource,
    live: &Value,
    replicas: i64,
    by: &Applier<'_>,
) -> Result<Value, ApiError> {
    let path = path(resource);
    let mut managers = Managers::read(live).ok_or_else(|| {
        ApiError::internal("failed to decode managed fields of the existing object")
    })?;
    let me = ManagerId::new(by.manager, Operation::Apply, "", "scale");
    let mut object = live.clone();
    if live.at(&path) == Some(&Value::Int(replicas)) {
        let entry = managers.0.entry(me).or_default();
        entry.set = Set::of_path(&path);
        entry.version = resource.api_version().into();
    } else {
        let owners = managers
            .0
            .iter()
            .filter(|(id, entry)| **id != me && has(&entry.set, &path));
        let conflicts: Vec<Conflict> = owners
            .map(|(id, _)| {
                // on a Scale every entry has the version of the Scale
                let mut id = id.clone();
                if id.operation == Operation::Update {
                    id.version = "autoscaling/v1".into();
                }
                Conflict {
                    id,
                    path: vec![Elem::field("spec"), Elem::field("replicas")],
                }
            })
            .collect();
        let mut conflicts = conflicts;
        if conflicts.is_empty() && live.at(&path).is_some() && !managers.0.contains_key(&me) {
            // Fields of a Scale without owners belong to who was there before.
            conflicts.push(Conflict {
                id: ManagerId::new(BEFORE, Operation::Update, "autoscaling/v1", "scale"),
                path: vec![Elem::field("spec"), Elem::field("replicas")],
            });
        }
        if !by.force && !conflicts.is_empty() {
            return Err(conflict_error(&conflicts));
        }
        give(&mut managers, resource, me, &path);
        object.set(&path, replicas);
    }
    managers.write(&mut object);
    Ok(object)
}

//! Merging a configuration into an object without anybody owning anything, as mutating admission
//! policies do (apiserver `pkg/admission/plugin/policy/mutating/patch/smd.go`).

use super::schema::{Atom, Ty};
use super::walk;
use crate::Value;
use crate::catalogue::Resource;

/// `config` merged over `object`: lists and maps by their keys, nothing is removed.
///
/// # Errors
/// Upstream's sentence: the configuration does not fit the kind, or it would replace something
/// that is only replaced as a whole.
pub fn overlay(resource: &Resource, object: &Value, config: &Value) -> Result<Value, String> {
    let mut config = config.clone();
    for name in ["apiVersion", "kind"] {
        if let Some(value) = object.get(name) {
            config.set(&[name], value.clone());
        }
    }
    let ty = Ty::root(&resource.types, resource.root);
    let errors = walk::check(ty, &config);
    if !errors.is_empty() {
        let errors = match errors.as_slice() {
            [one] => one.clone(),
            many => format!("errors:\n  {}", many.join("\n  ")),
        };
        return Err(format!(
            "failed to convert patch object to typed object: {errors}"
        ));
    }
    let mut atomic = Vec::new();
    find_atomic(ty, &config, "", &mut atomic);
    if !atomic.is_empty() {
        return Err(format!(
            "invalid ApplyConfiguration: may not mutate atomic arrays, maps or structs: {}",
            atomic.join(", ")
        ));
    }
    Ok(walk::merge(ty, Some(object), Some(&config)).unwrap_or_default())
}

/// The places of everything atomic that a configuration has.
fn find_atomic(ty: Ty<'_>, value: &Value, path: &str, found: &mut Vec<String>) {
    match (ty.atom(Some(value)), value) {
        (Atom::Map(fields), Value::Object(map)) => {
            if fields.atomic {
                found.push(path.to_owned());
            }
            for (name, value) in map.iter().filter(|(name, _)| fields.declares(name)) {
                if let Some(ty) = fields.ty(name) {
                    find_atomic(ty, value, &format!("{path}.{name}"), found);
                }
            }
        }
        (Atom::List(list), Value::Array(items)) => {
            if list.is_atomic() {
                found.push(path.to_owned());
            }
            for (i, item) in items.iter().enumerate() {
                find_atomic(list.item, item, &format!("{path}[{i}]"), found);
            }
        }
        _ => {}
    }
}

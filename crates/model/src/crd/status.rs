//! The status of a CRD object: which names it got and whether it is served.
//!
//! What three controllers of apiextensions do one after the other (`pkg/controller/status`,
//! `establish`, `apiapproval`) is one function here, for the server that owns all CRDs of a group.

use super::schema::{MAX_NODES, Schema};
use super::{check, unsupported};
use crate::field::{ErrorKind, FieldError};
use crate::{Map, Str, Value};

/// Names taken by the other CRDs of the same group.
#[derive(Clone, Debug, Default)]
pub struct UsedNames {
    /// plurals, singulars and short names
    pub resources: Vec<Str>,
    /// kinds and list kinds
    pub kinds: Vec<Str>,
}

impl UsedNames {
    /// Adds what another CRD of the group was given.
    pub fn add(&mut self, crd: &Value) {
        let Some(names) = crd.at(&["status", "acceptedNames"]) else {
            return;
        };
        let text = |key: &str| {
            names
                .str_at(&[key])
                .filter(|s| !s.is_empty())
                .map(Str::from)
        };
        self.resources.extend(text("plural"));
        self.resources.extend(text("singular"));
        self.resources.extend(short_names(names).map(Str::from));
        self.kinds.extend(text("kind"));
        self.kinds.extend(text("listKind"));
    }
}

fn short_names(names: &Value) -> impl Iterator<Item = &str> {
    names
        .at(&["shortNames"])
        .and_then(Value::as_array)
        .unwrap_or_default()
        .iter()
        .filter_map(Value::as_str)
}

/// The status that `crd` should have, given the names of its neighbours; `now` is RFC 3339.
#[must_use]
pub fn accepted_status(crd: &Value, used: &UsedNames, now: &str) -> Value {
    let old = crd.get("status").cloned().unwrap_or_default();
    let mut accepted = old
        .get("acceptedNames")
        .cloned()
        .unwrap_or_else(Value::object);
    let wanted = crd
        .at(&["spec", "names"])
        .cloned()
        .unwrap_or_else(Value::object);
    let conflict = take_names(&wanted, &mut accepted, used);
    let mut conditions = old
        .at(&["conditions"])
        .and_then(Value::as_array)
        .unwrap_or_default()
        .to_vec();
    let names_accepted = conflict.is_none();
    let (reason, message) =
        conflict.unwrap_or_else(|| ("NoConflicts", "no conflicts found".to_owned()));
    set_condition(
        &mut conditions,
        "NamesAccepted",
        names_accepted,
        reason,
        &message,
        now,
    );
    let established = |c: &Value| {
        c.str_at(&["type"]) == Some("Established") && c.str_at(&["status"]) == Some("True")
    };
    if !conditions.iter().any(established) {
        let (reason, message) = if names_accepted {
            (
                "InitialNamesAccepted",
                "the initial names have been accepted",
            )
        } else {
            ("NotAccepted", "not all names are accepted")
        };
        set_condition(
            &mut conditions,
            "Established",
            names_accepted,
            reason,
            message,
            now,
        );
    }
    if let Some((approved, reason, message)) = super::definition::approval(crd) {
        let kind = "KubernetesAPIApprovalPolicyConformant";
        set_condition(&mut conditions, kind, approved, reason, &message, now);
    }
    let mut status = Map::new();
    status.insert("acceptedNames", accepted);
    status.insert("conditions", Value::Array(conditions));
    status.insert("storedVersions", stored_versions(crd));
    Value::Object(status)
}

/// Why a stored definition is not served: reason and message of its condition
/// `NonStructuralSchema`, apiextensions `pkg/controller/nonstructuralschema`. What else keeps a
/// definition from being compiled is told the same way: its kind is gone, and this says why.
#[must_use]
pub fn non_structural(crd: &Value, minor: u8) -> Option<(&'static str, String)> {
    let mut errors = Vec::new();
    if crd.at(&["spec", "preserveUnknownFields"]) == Some(&Value::Bool(true)) {
        let path = "spec.preserveUnknownFields";
        errors.push(FieldError::new(
            ErrorKind::Invalid,
            path,
            "true",
            "must be false",
        ));
    }
    let versions = crd.at(&["spec", "versions"]).and_then(Value::as_array);
    for (i, version) in versions.unwrap_or_default().iter().enumerate() {
        let raw = version.at(&["schema", "openAPIV3Schema"]);
        let Some((raw, map)) = raw.and_then(|raw| Some((raw, raw.as_object()?))) else {
            continue;
        };
        let path = format!("spec.versions[{i}].schema.openAPIV3Schema");
        let read = Schema::read(raw, &path, &mut MAX_NODES.clone(), minor);
        // Everything below walks the schema recursively.
        if let Err(e) = &read
            && e.kind == ErrorKind::Forbidden
        {
            errors.push(e.clone());
            continue;
        }
        if let Some(why) = unsupported::reason(raw) {
            let name = version.str_at(&["name"]).unwrap_or_default();
            let why = format!("failed to check validation schema for version {name}: {why}");
            return Some(("StructuralError", why));
        }
        errors.extend(check::structural(map, &path, read.is_ok()));
    }
    if errors.is_empty() {
        errors = super::compile(crd, minor).err()?;
    }
    let texts: Vec<String> = errors.iter().map(ToString::to_string).collect();
    let message = match texts.as_slice() {
        [one] => one.clone(),
        many => format!("[{}]", many.join(", ")),
    };
    Some(("Violations", message))
}

/// `status.storedVersions` with the storage version of the spec in it.
#[must_use]
pub fn stored_versions(crd: &Value) -> Value {
    let mut stored = crd
        .at(&["status", "storedVersions"])
        .and_then(Value::as_array)
        .unwrap_or_default()
        .to_vec();
    let versions = crd
        .at(&["spec", "versions"])
        .and_then(Value::as_array)
        .unwrap_or_default();
    let storage = versions
        .iter()
        .find(|v| v.get("storage") == Some(&Value::Bool(true)));
    if let Some(name) = storage
        .and_then(|v| v.get("name"))
        .filter(|name| !stored.contains(name))
    {
        stored.push(name.clone());
    }
    Value::Array(stored)
}

/// Takes every wanted name that is free; the last conflict is what the condition tells.
fn take_names(
    wanted: &Value,
    accepted: &mut Value,
    used: &UsedNames,
) -> Option<(&'static str, String)> {
    let mut conflict = None;
    for (key, reason, taken) in [
        ("plural", "PluralConflict", &used.resources),
        ("singular", "SingularConflict", &used.resources),
        ("shortNames", "ShortNamesConflict", &used.resources),
        ("kind", "KindConflict", &used.kinds),
        ("listKind", "ListKindConflict", &used.kinds),
    ] {
        let wish = wanted.get(key);
        if wish == accepted.get(key) {
            continue;
        }
        let clashes: Vec<String> = if key == "shortNames" {
            let mine: Vec<&str> = short_names(accepted).collect();
            let new = short_names(wanted).filter(|n| !mine.contains(n));
            new.filter(|n| taken.iter().any(|t| t == n))
                .map(in_use)
                .collect()
        } else {
            let name = wish.and_then(Value::as_str).unwrap_or_default();
            taken
                .iter()
                .filter(|t| *t == name)
                .take(1)
                .map(|t| in_use(t))
                .collect()
        };
        if clashes.is_empty() {
            match wish {
                Some(value) => accepted.set(&[key], value.clone()),
                None => drop(accepted.unset(&[key])),
            }
        } else {
            let message = match clashes.as_slice() {
                [one] => one.clone(),
                many => format!("[{}]", many.join(", ")),
            };
            conflict = Some((reason, message));
        }
    }
    // Go writes these also when they were refused
    for key in ["plural", "kind"] {
        if accepted.get(key).is_none() {
            accepted.set(&[key], "");
        }
    }
    match wanted.get("categories") {
        Some(value) => accepted.set(&["categories"], value.clone()),
        None => drop(accepted.unset(&["categories"])),
    }
    conflict
}

fn in_use(name: &str) -> String {
    format!("{} is already in use", crate::field::quote(name))
}

fn set_condition(
    conditions: &mut Vec<Value>,
    kind: &str,
    holds: bool,
    reason: &str,
    message: &str,
    now: &str,
) {
    let status = if holds { "True" } else { "False" };
    let position = conditions
        .iter()
        .position(|c| c.str_at(&["type"]) == Some(kind));
    let old = position.map(|i| &conditions[i]);
    let since = old
        .filter(|c| c.str_at(&["status"]) == Some(status))
        .and_then(|c| c.str_at(&["lastTransitionTime"]))
        .unwrap_or(now);
    let condition: Value = [
        ("lastTransitionTime", since),
        ("message", message),
        ("reason", reason),
        ("status", status),
        ("type", kind),
    ]
    .into_iter()
    .collect::<Map>()
    .into();
    match position {
        Some(i) => conditions[i] = condition,
        None => conditions.push(condition),
    }
}

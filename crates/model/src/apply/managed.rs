//! `metadata.managedFields`: who owns what, apimachinery `pkg/util/managedfields/internal`.

use super::fields::{decode, encode};
use super::set::Set;
use crate::field::quote;
use crate::limits::MAX_UPDATERS;
use crate::time::Instant;
use crate::{Map, Str, Value};
use std::collections::BTreeMap;

const OLD_UPDATES: &str = "ancient-changes";

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Operation {
    Apply,
    Update,
}

/// What makes an entry the same one again. An applier keeps its entry across versions.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ManagerId {
    pub(crate) manager: Str,
    pub(crate) operation: Operation,
    /// of updates only
    pub(crate) version: Str,
    pub(crate) subresource: Str,
}

impl ManagerId {
    pub(crate) fn new(
        manager: &str,
        operation: Operation,
        version: &str,
        subresource: &str,
    ) -> Self {
        Self {
            manager: if manager.is_empty() {
                "unknown".into()
            } else {
                manager.into()
            },
            operation,
            version: if operation == Operation::Apply {
                Str::default()
            } else {
                version.into()
            },
            subresource: subresource.into(),
        }
    }

    /// As conflicts name it: `"kubectl" with subresource "status" using v1`.
    pub(crate) fn describe(&self) -> String {
        let mut text = quote(&self.manager);
        if !self.subresource.is_empty() {
            text = format!("{text} with subresource {}", quote(&self.subresource));
        }
        if self.operation == Operation::Update {
            text = format!("{text} using {}", self.version);
        }
        text
    }
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Entry {
    pub(crate) set: Set,
    pub(crate) version: Str,
    /// RFC 3339, as it was
    pub(crate) time: Option<Str>,
}

/// All entries of an object.
#[derive(Clone, Debug, Default)]
pub(crate) struct Managers(pub(crate) BTreeMap<ManagerId, Entry>);

impl Managers {
    /// Reads the entries of an object; `None` when they are not valid.
    pub(crate) fn read(object: &Value) -> Option<Self> {
        let mut managers = Self::default();
        let entries = match object.at(&["metadata", "managedFields"]) {
            None | Some(Value::Null) => return Some(managers),
            Some(entries) => entries.as_array()?,
        };
        for entry in entries {
            let text = |key: &str| entry.str_at(&[key]).unwrap_or_default();
            let operation = match text("operation") {
                "Apply" => Operation::Apply,
                "Update" => Operation::Update,
                _ => return None,
            };
            let version = text("apiVersion");
            if version.is_empty() || text("fieldsType") != "FieldsV1" {
                return None;
            }
            let set = match entry.get("fieldsV1") {
                None | Some(Value::Null) => Set::default(),
                Some(fields) => decode(fields)?,
            };
            let id = ManagerId {
                manager: text("manager").into(),
                operation,
                version: if operation == Operation::Apply {
                    Str::default()
                } else {
                    version.into()
                },
                subresource: text("subresource").into(),
            };
            let time = entry.str_at(&["time"]).map(Str::from);
            managers.0.insert(
                id,
                Entry {
                    set,
                    version: version.into(),
                    time,
                },
            );
        }
        Some(managers)
    }

    /// Writes the entries into an object, in upstream's order.
    pub(crate) fn write(&self, object: &mut Value) {
        if self.0.is_empty() {
            object.unset(&["metadata", "managedFields"]);
            return;
        }
        let seconds = |e: &Entry| seconds(e.time.as_deref());
        let mut order: Vec<(&ManagerId, &Entry)> = self.0.iter().collect();
        order.sort_by(|(a, x), (b, y)| {
            let by_time = a
                .operation
                .cmp(&b.operation)
                .then_with(|| seconds(x).cmp(&seconds(y)));
            by_time
                .then_with(|| a.manager.cmp(&b.manager))
                .then_with(|| x.version.cmp(&y.version))
                .then_with(|| a.subresource.cmp(&b.subresource))
        });
        let entries = order.into_iter().map(|(id, entry)| {
            let mut map = Map::new();
            map.insert("manager", id.manager.clone());
            map.insert(
                "operation",
                if id.operation == Operation::Apply {
                    "Apply"
                } else {
                    "Update"
                },
            );
            map.insert("apiVersion", entry.version.clone());
            map.insert("fieldsType", "FieldsV1");
            map.insert("fieldsV1", encode(&entry.set));
            if let Some(time) = &entry.time {
                map.insert("time", time.clone());
            }
            if !id.subresource.is_empty() {
                map.insert("subresource", id.subresource.clone());
            }
            Value::Object(map)
        });
        object.set(
            &["metadata", "managedFields"],
            Value::Array(entries.collect()),
        );
    }

    /// Merges the oldest update entries until no more than [`MAX_UPDATERS`] are left.
    pub(crate) fn cap(&mut self) {
        let mut updaters: Vec<(i64, ManagerId)> = self
            .0
            .iter()
            .filter(|(id, _)| id.operation == Operation::Update)
            .map(|(id, e)| (seconds(e.time.as_deref()), id.clone()))
            .collect();
        let mut left = updaters.len();
        if left <= MAX_UPDATERS {
            return;
        }
        updaters.sort();
        let mut first: BTreeMap<Str, ManagerId> = BTreeMap::new();
        for (_, id) in updaters {
            if left <= MAX_UPDATERS {
                break;
            }
            let Some(entry) = self.0.get(&id).cloned() else {
                continue;
            };
            let Some(oldest) = first.get(&entry.version) else {
                first.insert(entry.version, id);
                continue;
            };
            let bucket = ManagerId::new(OLD_UPDATES, Operation::Update, &entry.version, "");
            if !self.0.contains_key(&bucket) {
                let moved = self.0.remove(oldest).unwrap_or_default();
                self.0.insert(bucket.clone(), moved);
            }
            self.0.remove(&id);
            let merged = self.0.entry(bucket).or_default();
            merged.set = merged.set.union(&entry.set);
            merged.version = entry.version;
            merged.time = entry.time;
            left -= 1;
        }
    }

    /// Everything that anybody owns.
    pub(crate) fn union(&self) -> Set {
        self.0
            .values()
            .fold(Set::default(), |all, entry| all.union(&entry.set))
    }
}

fn seconds(time: Option<&str>) -> i64 {
    time.and_then(|t| Instant::parse(t).ok())
        .map_or(0, |t| t.seconds)
}

//! The roles and bindings every cluster starts with.
//!
//! `admin`, `edit` and `view` come with their rules already gathered, so that they work before
//! (and without) the controller that keeps gathered rules up to date.

use crate::rbac::{GROUP, Rule};
use freehold_model::{Map, Str, Value, value};
use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

const TABLE: &str = include_str!("bootstrap/roles.txt");
const CONTROLLER_PREFIX: &str = "system:controller:";
const AGGREGATE_PREFIX: &str = "rbac.authorization.k8s.io/aggregate-to-";

/// One object of the table.
#[derive(Debug, Default)]
struct Entry {
    kind: &'static str,
    namespace: &'static str,
    name: &'static str,
    gathers: Option<&'static str>,
    to: Option<&'static str>,
    role: Option<&'static str>,
    rules: Vec<Rule>,
    subjects: Vec<Value>,
}

/// Cluster-scoped objects first, so that a namespace is needed only for the last few.
#[must_use]
pub fn objects() -> Vec<Value> {
    let entries = entries();
    let mut out: Vec<Value> = entries.iter().map(Entry::object).collect();
    let controllers = entries
        .iter()
        .filter(|e| e.kind == "ClusterRole" && e.name.starts_with(CONTROLLER_PREFIX));
    out.extend(controllers.map(|role| {
        let account = &role.name[CONTROLLER_PREFIX.len()..];
        let subjects =
            vec![value!({"kind": "ServiceAccount", "name": account, "namespace": "kube-system"})];
        Entry {
            kind: "ClusterRoleBinding",
            name: role.name,
            subjects,
            ..Entry::default()
        }
        .object()
    }));
    out.sort_by_key(|o| o.at(&["metadata", "namespace"]).is_some());
    out
}

/// The rules of a bootstrap ClusterRole, kept once per process.
pub(crate) fn cluster_role_rules(name: &str) -> Option<&'static Arc<[Rule]>> {
    static RULES: OnceLock<BTreeMap<&'static str, Arc<[Rule]>>> = OnceLock::new();
    let all = RULES.get_or_init(|| {
        let roles = entries().into_iter().filter(|e| e.kind == "ClusterRole");
        roles.map(|e| (e.name, e.rules.into())).collect()
    });
    all.get(name)
}

fn entries() -> Vec<Entry> {
    let mut out: Vec<Entry> = Vec::new();
    for line in TABLE
        .lines()
        .filter(|l| !l.is_empty() && !l.starts_with('#'))
    {
        match line.strip_prefix("  ") {
            None => out.push(Entry::parse(line)),
            Some(detail) => {
                if let Some(entry) = out.last_mut() {
                    entry.add(detail);
                }
            }
        }
    }
    gather(&mut out);
    out
}

/// Fills the roles that gather others. `edit` is itself gathered by `admin`, so the order is
/// from the leaves up: repeat until nothing changes.
fn gather(entries: &mut [Entry]) {
    loop {
        let mut changed = false;
        for i in 0..entries.len() {
            let Some(wanted) = entries[i].gathers else {
                continue;
            };
            let mut rules: Vec<Rule> = Vec::new();
            for source in entries
                .iter()
                .filter(|e| e.to == Some(wanted) && e.name != entries[i].name)
            {
                for rule in &source.rules {
                    if !rules.contains(rule) {
                        rules.push(rule.clone());
                    }
                }
            }
            changed |= rules != entries[i].rules;
            entries[i].rules = rules;
        }
        if !changed {
            return;
        }
    }
}

fn list(text: &str) -> Vec<Str> {
    text.split(',')
        .map(|s| {
            if s == "core" {
                Str::default()
            } else {
                s.into()
            }
        })
        .collect()
}

fn verbs(text: &str) -> Vec<Str> {
    list(match text {
        "R" => "get,list,watch",
        "W" => "create,delete,deletecollection,patch,update",
        "RW" => "create,delete,deletecollection,get,list,patch,update,watch",
        "RU" => "get,list,patch,update,watch",
        other => other,
    })
}

impl Entry {
    fn parse(line: &'static str) -> Self {
        let mut words = line.split(' ');
        let kind = words.next().unwrap_or_default();
        let name = words.next().unwrap_or_default();
        let (namespace, name) = name.split_once('/').unwrap_or(("", name));
        let mut entry = Self {
            kind,
            namespace,
            name,
            ..Self::default()
        };
        for (key, value) in words.filter_map(|w| w.split_once('=')) {
            match key {
                "gathers" => entry.gathers = Some(value),
                "to" => entry.to = Some(value),
                _ => entry.role = Some(value),
            }
        }
        entry
    }

    fn add(&mut self, detail: &str) {
        let words: Vec<&str> = detail.split(' ').collect();
        match words[..] {
            ["ServiceAccount", name] => {
                let (namespace, name) = name.split_once('/').unwrap_or_default();
                self.subjects
                    .push(value!({"kind": "ServiceAccount", "name": name, "namespace": namespace}));
            }
            [kind @ ("User" | "Group"), name] => {
                self.subjects
                    .push(value!({"apiGroup": GROUP, "kind": kind, "name": name}));
            }
            [verb, group, resources, "named", names] => self.rules.push(Rule {
                verbs: verbs(verb),
                groups: list(group),
                resources: list(resources),
                names: list(names),
                urls: Vec::new(),
            }),
            [verb, group, resources] if !group.starts_with('/') => self.rules.push(Rule {
                verbs: verbs(verb),
                groups: list(group),
                resources: list(resources),
                ..Rule::default()
            }),
            [verb, ref urls @ ..] => self.rules.push(Rule {
                verbs: verbs(verb),
                urls: urls.iter().map(|u| Str::from(*u)).collect(),
                ..Rule::default()
            }),
            [] => {}
        }
    }

    fn object(&self) -> Value {
        let mut object = value!({
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": (self.kind),
            "metadata": {
                "name": (self.name),
                "labels": {"kubernetes.io/bootstrapping": "rbac-defaults"},
                "annotations": {"rbac.authorization.kubernetes.io/autoupdate": "true"},
            },
        });
        if !self.namespace.is_empty() {
            object.set(&["metadata", "namespace"], self.namespace);
        }
        if let Some(to) = self.to {
            object.set(
                &["metadata", "labels", &format!("{AGGREGATE_PREFIX}{to}")],
                "true",
            );
        }
        if let Some(gathers) = self.gathers {
            let label: Map = [(format!("{AGGREGATE_PREFIX}{gathers}"), "true")]
                .into_iter()
                .collect();
            object.set(
                &["aggregationRule", "clusterRoleSelectors"],
                value!([{"matchLabels": label}]),
            );
        }
        if let Some(kind) = self.kind.strip_suffix("Binding") {
            let name = self.role.unwrap_or(self.name);
            object.set(
                &["roleRef"],
                value!({"apiGroup": GROUP, "kind": kind, "name": name}),
            );
            if !self.subjects.is_empty() {
                object.set(&["subjects"], self.subjects.clone());
            }
        } else {
            object.set(
                &["rules"],
                self.rules.iter().map(Rule::to_value).collect::<Vec<_>>(),
            );
        }
        object
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_object_is_complete_and_unique() {
        let mut seen = std::collections::BTreeSet::new();
        for object in objects() {
            let key = ["kind", "metadata.namespace", "metadata.name"].map(|p| {
                object
                    .str_at(&p.split('.').collect::<Vec<_>>())
                    .unwrap_or_default()
                    .to_owned()
            });
            assert!(!key[2].is_empty(), "{object:?}");
            if !key[0].ends_with("Binding") {
                let rules = Rule::list_of(&object);
                assert!(!rules.is_empty(), "{key:?} has no rules");
                assert!(
                    rules
                        .iter()
                        .all(|r| !r.verbs.is_empty()
                            && (r.urls.is_empty() != r.resources.is_empty()))
                );
            }
            assert!(seen.insert(key.clone()), "{key:?} twice");
        }
    }

    #[test]
    fn admin_holds_what_edit_holds_and_edit_what_view_holds() {
        let rules = |name| cluster_role_rules(name).expect("a bootstrap role");
        let (admin, edit, view) = (rules("admin"), rules("edit"), rules("view"));
        assert!(view.iter().all(|r| edit.contains(r)) && edit.len() > view.len());
        assert!(edit.iter().all(|r| admin.contains(r)) && admin.len() > edit.len());
    }
}

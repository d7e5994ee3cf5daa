//! CEL rules of CRDs as a real kube-apiserver 1.36 judges them: definitions refused for what their
//! rules say or cost, objects refused by rules, transitions, ratcheting.

use freehold_model::catalogue::{Catalogue, DEFAULT_MINOR, Resource};
use freehold_model::field::FieldError;
use freehold_model::{Value, crd, defaults, json, patch};
use std::collections::HashMap;
use std::sync::Arc;

const RECORDED: &str = include_str!("../recordings/rules.json");

/// Causes in an order of their own: upstream walks maps in no particular order.
fn theirs(step: &Value) -> Vec<String> {
    let all = step.at(&["answer", "causes"]).and_then(Value::as_array);
    let text = |c: &Value, key: &str| c.str_at(&[key]).unwrap_or_default().to_owned();
    let mut texts: Vec<String> = all
        .unwrap_or_default()
        .iter()
        .map(|c| {
            let message = text(c, "message").replace(['\u{a0}'], " ");
            format!("{} | {} | {message}", text(c, "field"), text(c, "reason"))
        })
        .collect();
    texts.sort();
    texts
}

fn ours(errors: &[FieldError]) -> Vec<String> {
    let mut texts: Vec<String> = errors
        .iter()
        .map(|e| {
            let c = e.cause();
            format!("{} | {} | {}", c.field, c.reason, c.message)
        })
        .collect();
    texts.sort();
    texts
}

/// What a walk over the recording knows.
#[derive(Default)]
struct World {
    served: HashMap<String, Arc<Resource>>,
    definitions: HashMap<String, Value>,
    objects: HashMap<String, Value>,
}

impl World {
    fn define(&mut self, definition: &Value) {
        if let Ok(compiled) = crd::compile(definition, freehold_model::catalogue::DEFAULT_MINOR) {
            for resource in compiled.resources {
                self.served.insert(resource.plural.to_string(), resource);
            }
        }
    }

    /// The errors for one request; `None` where it is about something that does not exist.
    fn judge(&mut self, step: &Value, crds: &Resource) -> Option<Vec<FieldError>> {
        let path = step.str_at(&["path"]).unwrap();
        let body = step.get("body").unwrap();
        let accepted = step.get("status").and_then(Value::as_i64) < Some(300);
        let patches = step.str_at(&["method"]) == Some("PATCH");
        if path.starts_with("/apis/apiextensions") {
            let name = match path.split('/').nth(5) {
                Some(name) => name.to_owned(),
                None => body.str_at(&["metadata", "name"]).unwrap().to_owned(),
            };
            let mut new = body.clone();
            let old = self.definitions.get(&name).filter(|_| patches);
            if let Some(old) = old {
                new = old.clone();
                patch::merge_patch(&mut new, body).unwrap();
            }
            defaults::apply(crds, &mut new);
            let errors = match old {
                Some(old) => crd::validate_update(&new, old, 36),
                None => crd::validate_create(&new, 36),
            };
            if accepted {
                self.define(&new);
                self.definitions.insert(name, new);
            }
            return Some(errors);
        }
        let segments: Vec<&str> = path.split('/').collect();
        let resource = Arc::clone(self.served.get(segments[6])?);
        let status = segments.get(8) == Some(&"status");
        let name = match segments.get(7) {
            Some(name) => (*name).to_owned(),
            None => body.str_at(&["metadata", "name"]).unwrap().to_owned(),
        };
        let key = format!("{}/{name}", resource.plural);
        let old = self.objects.get(&key).filter(|_| patches).cloned();
        let mut new = body.clone();
        if let Some(old) = &old {
            let whole = old.clone();
            new = old.clone();
            patch::merge_patch(&mut new, body).unwrap();
            let other = if status { "spec" } else { "status" };
            match whole.get(other) {
                Some(kept) => new.set(&[other], kept.clone()),
                None => drop(new.unset(&[other])),
            }
        } else {
            new.unset(&["status"]);
        }
        crd::prune_and_default(&resource, &mut new).expect("small");
        let errors = crd::validate(&resource, &new, old.as_ref());
        if accepted {
            self.objects.insert(key, new);
        }
        Some(errors)
    }
}

#[test]
fn rules_judge_as_upstreams_do() {
    let catalogue = Catalogue::builtin(DEFAULT_MINOR).unwrap();
    let crds = catalogue
        .by_kind("apiextensions.k8s.io", "v1", "CustomResourceDefinition")
        .unwrap();
    let recorded = json::parse(RECORDED.as_bytes()).unwrap().value;
    let mut world = World::default();
    let (mut wrong, mut compared) = (Vec::new(), 0);
    for step in recorded.as_array().unwrap() {
        let Some(errors) = world.judge(step, crds) else {
            panic!("nothing serves {}", step.str_at(&["path"]).unwrap());
        };
        compared += 1;
        let (theirs, ours) = (theirs(step), ours(&errors));
        if theirs != ours {
            let body = json::to_vec(step.get("body").unwrap());
            wrong.push(format!(
                "{} {}\n  theirs {theirs:#?}\n  ours {ours:#?}",
                step.str_at(&["path"]).unwrap(),
                String::from_utf8(body).unwrap(),
            ));
        }
    }
    assert!(compared > 100, "{compared}");
    assert!(
        wrong.is_empty(),
        "{} of {compared} differ:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}

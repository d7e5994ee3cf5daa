//! CRDs and custom objects as a real kube-apiserver accepts and refuses them
//! (`upstream/cmd/record`).

use freehold_model::catalogue::{Catalogue, DEFAULT_MINOR, Resource};
use freehold_model::field::FieldError;
use freehold_model::{ApiError, Value, crd, defaults, json, value};
use std::sync::Arc;

const RECORDED: &str = include_str!("../recordings/custom.json");

/// Causes in an order of their own: upstream walks maps in no particular order.
fn causes(answer: &Value) -> Vec<String> {
    let all = answer
        .at(&["details", "causes"])
        .and_then(Value::as_array)
        .unwrap_or_default();
    let text = |c: &Value, key: &str| c.str_at(&[key]).unwrap_or_default().to_owned();
    // the value of a message may be upstream's internal struct; the words on regular expressions are
    // those of another engine; names are checked with the metadata of any object
    let same = |text: String| match text.split_once("isn't: ") {
        Some((head, _)) => head.to_owned(),
        None => text,
    };
    let mut texts: Vec<String> = all
        .iter()
        .map(|c| {
            format!(
                "{} | {} | {}",
                text(c, "field"),
                text(c, "reason"),
                text(c, "message")
            )
        })
        .map(same)
        .collect();
    texts.retain(|t| {
        !t.starts_with("metadata.name | FieldValueInvalid") || t.contains("must be spec.names")
    });
    texts.sort();
    texts
}

fn compare(step: &Value, errors: &[FieldError], kind: &str, wrong: &mut Vec<String>) {
    let answer = step.get("answer").expect("answer");
    let ours = if errors.is_empty() {
        Vec::new()
    } else {
        causes(&ApiError::invalid("", kind, "", errors).to_value())
    };
    let theirs = causes(answer);
    let internal = |texts: &[String]| {
        texts
            .iter()
            .any(|t| t.contains("fields are allowed at the root"))
    };
    if internal(&ours) && internal(&theirs) {
        return;
    }
    if ours != theirs {
        let body = String::from_utf8(json::to_vec(step.get("body").unwrap_or(&Value::Null)))
            .expect("utf-8");
        wrong.push(format!(
            "{body}\n    ours   {ours:#?}\n    theirs {theirs:#?} {:?}",
            answer.str_at(&["message"])
        ));
    }
}

/// Bodies that are refused before validation, with other words (wrong JSON types).
fn undecodable(step: &Value) -> bool {
    step.at(&["status"]).and_then(Value::as_i64) == Some(400)
}

fn merged(live: &Value, step: &Value) -> Value {
    let mut new = live.clone();
    freehold_model::patch::merge_patch(&mut new, step.get("body").expect("body")).expect("patch");
    new
}

#[test]
#[allow(clippy::too_many_lines, reason = "one walk over the recording")]
fn definitions_and_objects_are_judged_as_upstream_does() {
    let catalogue = Catalogue::builtin(DEFAULT_MINOR).expect("catalogue");
    let definitions = catalogue
        .by_kind("apiextensions.k8s.io", "v1", "CustomResourceDefinition")
        .expect("kind")
        .clone();
    let recorded = json::parse(RECORDED.as_bytes()).expect("json").value;
    let mut served: Option<Arc<Resource>> = None;
    let mut kept: Option<Value> = None;
    let mut patched: Option<Value> = None;
    let (mut wrong, mut compared) = (Vec::new(), 0);
    for step in recorded
        .as_array()
        .expect("list")
        .iter()
        .filter(|s| !undecodable(s))
    {
        let path = step.str_at(&["path"]).expect("path");
        let answer = step.get("answer").expect("answer");
        let is_definition = path.starts_with("/apis/apiextensions");
        match (step.str_at(&["method"]), is_definition) {
            (Some("POST"), true) => {
                let mut body = step.get("body").expect("body").clone();
                defaults::apply(&definitions, &mut body);
                compare(
                    step,
                    &crd::validate_create(&body, 36),
                    "CustomResourceDefinition",
                    &mut wrong,
                );
                if let Ok(compiled) = crd::compile(&body, freehold_model::catalogue::DEFAULT_MINOR)
                {
                    served = compiled.resources.first().cloned();
                }
            }
            (Some("PATCH"), true) => {
                let live = patched.as_ref().expect("live");
                let mut new = merged(live, step);
                defaults::apply(&definitions, &mut new);
                compare(
                    step,
                    &crd::validate_update(&new, live, 36),
                    "CustomResourceDefinition",
                    &mut wrong,
                );
            }
            (None, true) if patched.is_none() => {
                let mut live = answer.clone();
                live.set(
                    &["status", "conditions"],
                    value!([{"type": "Established", "status": "True"}]),
                );
                patched = Some(live);
            }
            (Some(method), false) => {
                let resource = served.as_ref().expect("compiled");
                let old = kept.as_ref().filter(|_| method == "PATCH");
                let mut body = match old {
                    Some(live) => merged(live, step),
                    None => step.get("body").expect("body").clone(),
                };
                crd::prune_and_default(resource, &mut body).expect("small");
                compare(
                    step,
                    &crd::validate(resource, &body, old),
                    &resource.kind,
                    &mut wrong,
                );
                if step.at(&["status"]) == Some(&Value::Int(201)) {
                    assert_eq!(body.get("spec"), answer.get("spec"), "{path}");
                    kept = Some(answer.clone());
                }
            }
            _ => continue,
        }
        compared += 1;
    }
    assert!(compared > 150, "{compared}");
    assert!(
        wrong.is_empty(),
        "{} of {compared} differ:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}

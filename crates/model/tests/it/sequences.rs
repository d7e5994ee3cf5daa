//! Applies and updates of random objects of every kind, as upstream's own field manager answered
//! them (`upstream/cmd/apply`).

use freehold_model::apply::{Applier, apply, track_update};
use freehold_model::catalogue::{Catalogue, DEFAULT_MINOR, Resource};
use freehold_model::{Value, defaults, json, strict};

const RECORDED: &str = include_str!("../recordings/sequences.jsonl");

fn text(value: &Value) -> String {
    String::from_utf8(json::to_vec(value)).expect("utf-8")
}

fn ownership(object: &Value) -> Vec<String> {
    let entries = object
        .at(&["metadata", "managedFields"])
        .and_then(Value::as_array)
        .unwrap_or_default();
    let mut texts: Vec<String> = entries
        .iter()
        .map(|entry| {
            let mut entry = entry.clone();
            if entry.get("time").is_some() {
                entry.set(&["time"], "T");
            }
            text(&entry)
        })
        .collect();
    texts.sort();
    texts
}

fn settle(resource: &Resource, mut object: Value) -> Result<String, String> {
    strict::check_and_prune(resource, &mut object).map_err(|e| e.message)?;
    defaults::apply(resource, &mut object);
    object.unset(&["metadata", "managedFields"]);
    object.unset(&["metadata", "uid"]);
    Ok(text(&object))
}

fn differs(what: &str, ours: &str, theirs: &str) -> Result<(), String> {
    if ours == theirs {
        Ok(())
    } else {
        Err(format!("{what}\n    ours   {ours}\n    theirs {theirs}"))
    }
}

fn replay(resource: &Resource, step: &Value, live: Option<&Value>) -> Result<(), String> {
    let by = Applier {
        manager: step.str_at(&["manager"]).expect("manager"),
        force: step.get("force") == Some(&Value::Bool(true)),
        subresource: "",
        now: "2000-01-01T00:00:00Z",
        versions: &freehold_model::apply::Alike,
    };
    let body = step.get("body").expect("body");
    let (result, error) = (step.get("result"), step.str_at(&["error"]));
    if step.str_at(&["op"]) == Some("apply") {
        return match (apply(resource, live, body, &by), result, error) {
            (Ok(object), Some(theirs), _) => {
                differs(
                    "managedFields",
                    &ownership(&object).join("\n"),
                    &ownership(theirs).join("\n"),
                )?;
                differs(
                    "object",
                    &settle(resource, object)?,
                    &settle(resource, theirs.clone())?,
                )
            }
            (Err(e), None, Some(theirs)) => {
                // of several faults upstream reports some, in any order
                let head = |s: &str| s.split(": ").next().unwrap_or_default().to_owned();
                match theirs.starts_with("Apply failed") {
                    true => differs("error", &e.message, theirs),
                    false => differs("error", &head(&e.message), &head(theirs)),
                }
            }
            // a value of the right JSON type that Go cannot read: ours finds it when it is decoded
            (Ok(object), None, Some(theirs)) if !theirs.starts_with("Apply failed") => {
                settle(resource, object)
                    .map_or(Ok(()), |_| Err(format!("ours is fine, theirs {theirs}")))
            }
            (ours, _, theirs) => Err(format!("ours {ours:?}\n    theirs {theirs:?}")),
        };
    }
    let Some(theirs) = result else { return Ok(()) };
    let mut new = theirs.clone();
    new.unset(&["metadata", "managedFields"]);
    track_update(resource, live, &mut new, &by);
    differs(
        "managedFields",
        &ownership(&new).join("\n"),
        &ownership(theirs).join("\n"),
    )
}

#[test]
fn sequences_of_every_kind_end_as_upstream() {
    let catalogue = Catalogue::builtin(DEFAULT_MINOR).expect("catalogue");
    let (mut wrong, mut count) = (Vec::new(), 0);
    for line in RECORDED.lines() {
        let steps = json::parse(line.as_bytes()).expect("json").value;
        let mut live: Option<Value> = None;
        for step in steps.as_array().unwrap_or_default() {
            let body = step.get("body").expect("body");
            let api_version = body.str_at(&["apiVersion"]).expect("apiVersion");
            let (group, version) = api_version.rsplit_once('/').unwrap_or(("", api_version));
            let kind = body.str_at(&["kind"]).expect("kind");
            let Some(resource) = catalogue.by_kind(group, version, kind) else {
                break;
            };
            // the recorded managers know no fields that a request cannot reach
            let mut resource = Resource::clone(resource);
            resource.subresources = [].into();
            if kind == "CertificateSigningRequest" {
                resource.kind = "CertificateSigningRequest".into();
                break;
            }
            count += 1;
            if let Err(e) = replay(&resource, step, live.as_ref()) {
                wrong.push(format!(
                    "{kind} {} {e}\n    body {}\n    live {}",
                    step.str_at(&["op"]).unwrap_or_default(),
                    text(body),
                    live.as_ref().map(text).unwrap_or_default()
                ));
                break;
            }
            live = step.get("result").cloned().or(live);
        }
    }
    assert!(count > 300, "{count}");
    assert!(
        wrong.is_empty(),
        "{} of {count} differ:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}

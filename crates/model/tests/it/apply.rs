//! Server-side apply and ownership as a real kube-apiserver does them: random sequences of
//! requests, recorded by `upstream/cmd/record`, replayed request by request on the recorded state.

use freehold_model::apply::{Applier, apply, apply_scale, track_update};
use freehold_model::catalogue::{Catalogue, DEFAULT_MINOR, Resource};
use freehold_model::{ApiError, Value, crd, defaults, json, strict};
use std::collections::HashMap;
use std::sync::Arc;

const RECORDED: &str = include_str!("../recordings/apply.json");

/// `/apis/apps/v1/namespaces/n/deployments/d/status?q` taken apart.
struct Target {
    group: String,
    version: String,
    plural: String,
    name: String,
    subresource: String,
    query: HashMap<String, String>,
}

fn target(path: &str) -> Target {
    let (path, query) = path.split_once('?').unwrap_or((path, ""));
    let mut parts = path.trim_start_matches('/').split('/').collect::<Vec<_>>();
    let group = if parts[0] == "api" {
        String::new()
    } else {
        parts.remove(1).to_owned()
    };
    let version = parts[1].to_owned();
    let rest = if parts.get(2) == Some(&"namespaces") && parts.len() > 4 {
        &parts[4..]
    } else {
        &parts[2..]
    };
    let part = |i: usize| rest.get(i).copied().unwrap_or_default().to_owned();
    let pairs = query.split('&').filter_map(|p| p.split_once('='));
    Target {
        group,
        version,
        plural: part(0),
        name: part(1),
        subresource: part(2),
        query: pairs.map(|(k, v)| (k.into(), v.into())).collect(),
    }
}

/// Entries in an order that does not depend on time, times reduced to being there.
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
            String::from_utf8(json::to_vec(&entry)).expect("utf-8")
        })
        .collect();
    texts.sort();
    texts
}

/// The object without what the server itself writes.
fn content(object: &Value) -> String {
    let mut object = object.clone();
    for field in [
        "managedFields",
        "uid",
        "resourceVersion",
        "generation",
        "creationTimestamp",
    ] {
        object.unset(&["metadata", field]);
    }
    object.unset(&["metadata", "namespace"]);
    String::from_utf8(json::to_vec(&object)).expect("utf-8")
}

fn settle(resource: &Resource, object: &mut Value) {
    if resource.custom.is_some() {
        crd::prune_and_default(resource, object).expect("small");
    } else {
        strict::check_and_prune(resource, object).expect("types");
        defaults::apply(resource, object);
    }
}

/// The object behind a Scale after the Scale was changed, as the next `GET` shows it.
fn replay_scale(
    resource: &Resource,
    at: &Target,
    step: &Value,
    live: &Value,
    next: &Value,
) -> Result<(), String> {
    let by = Applier {
        manager: at.query.get("fieldManager").map_or("", String::as_str),
        force: at.query.get("force").is_some_and(|f| f == "true"),
        subresource: "scale",
        now: "2026-01-01T00:00:00Z",
        versions: &freehold_model::apply::Alike,
    };
    let replicas = step
        .at(&["body", "spec", "replicas"])
        .and_then(Value::as_i64)
        .expect("replicas");
    let status = step
        .at(&["status"])
        .and_then(Value::as_i64)
        .expect("status");
    let result = if step.str_at(&["type"]) == Some("application/apply-patch+yaml") {
        apply_scale(resource, live, replicas, &by)
    } else {
        let mut new = live.clone();
        new.set(&["spec", "replicas"], replicas);
        track_update(resource, Some(live), &mut new, &by);
        Ok(new)
    };
    let (ours, theirs) = match &result {
        Ok(object) => (ownership(object).join("\n"), ownership(next).join("\n")),
        Err(e) => (
            e.message.clone(),
            step.at(&["answer"])
                .and_then(|a| a.str_at(&["message"]))
                .unwrap_or_default()
                .into(),
        ),
    };
    let fits = ours == theirs && result.is_ok() == (status < 300);
    if fits {
        Ok(())
    } else {
        Err(format!("scale\n    ours   {ours}\n    theirs {theirs}"))
    }
}

fn differs(what: &str, ours: &str, theirs: &str) -> Result<(), String> {
    if ours == theirs {
        Ok(())
    } else {
        Err(format!("{what}\n    ours   {ours}\n    theirs {theirs}"))
    }
}

/// Ours is refused: theirs is so with the same words.
fn refused(e: &ApiError, status: i64, answer: &Value) -> Result<(), String> {
    // a configuration that does not fit the types is the client's fault: 400, not 500
    if (e.code, status) != (400, 500) {
        differs("status", &e.code.to_string(), &status.to_string())?;
    }
    differs(
        "message",
        &e.message,
        answer.str_at(&["message"]).unwrap_or_default(),
    )?;
    // upstream walks managers in no particular order
    let causes = |v: &Value| {
        let all = v
            .at(&["details", "causes"])
            .and_then(Value::as_array)
            .unwrap_or_default();
        let mut texts: Vec<String> = all.iter().map(|c| format!("{c:?}")).collect();
        texts.sort();
        texts.join("\n")
    };
    differs("causes", &causes(&e.to_value()), &causes(answer))
}

fn replay(
    resource: &Resource,
    at: &Target,
    step: &Value,
    live: Option<&Value>,
) -> Result<(), String> {
    let answer = step.get("answer").expect("answer");
    let status = step
        .at(&["status"])
        .and_then(Value::as_i64)
        .expect("status");
    let entries = answer
        .at(&["metadata", "managedFields"])
        .and_then(Value::as_array)
        .unwrap_or_default();
    let now = entries
        .iter()
        .filter_map(|e| e.str_at(&["time"]))
        .max()
        .unwrap_or("2026-01-01T00:00:00Z")
        .to_owned();
    let by = Applier {
        manager: at.query.get("fieldManager").map_or("", String::as_str),
        force: at.query.get("force").is_some_and(|f| f == "true"),
        subresource: &at.subresource,
        now: &now,
        versions: &freehold_model::apply::Alike,
    };
    if step.str_at(&["type"]) == Some("application/apply-patch+yaml") {
        let config = step.get("body").expect("body");
        match apply(resource, live, config, &by) {
            Ok(mut object) if status < 300 => {
                differs(
                    "managedFields",
                    &ownership(&object).join("\n"),
                    &ownership(answer).join("\n"),
                )?;
                // what a create gets besides (addresses, tokens, labels) is no matter of apply
                let completed = ["services", "pods", "jobs", "persistentvolumeclaims"];
                let compared = live.is_some() || !completed.contains(&at.plural.as_str());
                if compared && (at.subresource.is_empty() || resource.custom.is_some()) {
                    settle(resource, &mut object);
                    differs("object", &content(&object), &content(answer))?;
                }
                Ok(())
            }
            // refused by validation or admission
            Ok(_) if status == 422 || status == 403 => Ok(()),
            Ok(_) => Err(format!(
                "ours 200, theirs {status}: {:?}",
                answer.str_at(&["message"])
            )),
            Err(e) => refused(&e, status, answer),
        }
    } else if status < 300 {
        let mut new = answer.clone();
        match step.at(&["body", "metadata", "managedFields"]) {
            Some(reset) => new.set(&["metadata", "managedFields"], reset.clone()),
            None => drop(new.unset(&["metadata", "managedFields"])),
        }
        track_update(resource, live, &mut new, &by);
        differs(
            "managedFields",
            &ownership(&new).join("\n"),
            &ownership(answer).join("\n"),
        )
    } else {
        Ok(())
    }
}

#[test]
#[allow(clippy::too_many_lines, reason = "one walk over the recording")]
fn ownership_and_conflicts_are_those_of_upstream() {
    let catalogue = Catalogue::builtin(DEFAULT_MINOR).expect("catalogue");
    let recorded = json::parse(RECORDED.as_bytes()).expect("json").value;
    let mut custom: HashMap<String, Arc<Resource>> = HashMap::new();
    let mut objects: HashMap<String, Value> = HashMap::new();
    let mut wrong = Vec::new();
    let mut replayed = 0;
    for (i, step) in recorded.as_array().expect("list").iter().enumerate() {
        let path = step.str_at(&["path"]).expect("path");
        let at = target(path);
        let answer = step.get("answer").expect("answer");
        if at.plural == "customresourcedefinitions"
            && answer.str_at(&["kind"]) == Some("CustomResourceDefinition")
        {
            let compiled =
                crd::compile(answer, freehold_model::catalogue::DEFAULT_MINOR).expect("compiles");
            let resource = compiled.resources[0].clone();
            custom.insert(resource.plural.to_string(), resource);
            continue;
        }
        let resource = custom
            .get(&at.plural)
            .or_else(|| catalogue.lookup(&at.group, &at.version, &at.plural));
        let Some(resource) =
            resource.filter(|_| at.plural != "namespaces" && step.str_at(&["method"]).is_some())
        else {
            continue;
        };
        let name = if at.name.is_empty() {
            step.str_at(&["body", "metadata", "name"])
                .unwrap_or_default()
        } else {
            &at.name
        };
        let key = format!("{} {name}", at.plural);
        let result = if at.subresource == "scale" {
            let next = recorded
                .as_array()
                .and_then(|all| all.get(i + 1))
                .and_then(|s| s.get("answer"))
                .expect("get");
            let live = objects.get(&key).cloned().expect("object");
            objects.insert(key.clone(), next.clone());
            replay_scale(resource, &at, step, &live, next)
        } else {
            replay(resource, &at, step, objects.get(&key))
        };
        wrong.extend(result.err().map(|e| format!("{path}: {e}")));
        replayed += 1;
        if at.subresource == "scale" {
            continue;
        }
        if answer.str_at(&["kind"]) != Some("Status") {
            objects.insert(key, answer.clone());
        }
    }
    assert!(replayed > 60, "{replayed}");
    assert!(
        wrong.is_empty(),
        "{} of {replayed} differ:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}

/// A field that is a number or a string is anything to upstream's field manager: a map there meets
/// whoever owns the field, and only what comes out of the merge is refused (kube-openapi
/// `pkg/schemaconv/openapi.go`, apimachinery `pkg/util/managedfields/internal/structuredmerge.go`).
#[test]
fn a_map_for_a_number_or_string_conflicts_before_it_is_refused() {
    let catalogue = Catalogue::builtin(DEFAULT_MINOR).expect("catalogue");
    let probe = r#"{"template":{"spec":{"containers":[{"name":"c","livenessProbe":{"tcpSocket":{"port":@}}}]}}}"#;
    let ingress = r#"{"podSelector":{},"ingress":[{"ports":[{"port":@}]}]}"#;
    let kinds = [
        (
            "",
            "Service",
            r#"{"ports":[{"port":1,"targetPort":@}]}"#,
            r#".spec.ports[port=1,protocol="TCP"].targetPort"#,
        ),
        (
            "apps",
            "Deployment",
            r#"{"strategy":{"rollingUpdate":{"maxSurge":@}}}"#,
            ".spec.strategy.rollingUpdate.maxSurge",
        ),
        (
            "apps",
            "DaemonSet",
            probe,
            r#".spec.template.spec.containers[name="c"].livenessProbe.tcpSocket.port"#,
        ),
        (
            "policy",
            "PodDisruptionBudget",
            r#"{"minAvailable":@}"#,
            ".spec.minAvailable",
        ),
        (
            "networking.k8s.io",
            "NetworkPolicy",
            ingress,
            ".spec.ingress",
        ),
    ];
    let by = |manager| Applier {
        manager,
        force: false,
        subresource: "",
        now: "2026-01-01T00:00:00Z",
        versions: &freehold_model::apply::Alike,
    };
    for (group, kind, spec, path) in kinds {
        let resource = catalogue.by_kind(group, "v1", kind).expect("served");
        let body = |value: &str| {
            let text = format!(
                r#"{{"apiVersion":"{}","kind":"{kind}","metadata":{{"name":"n"}},"spec":{}}}"#,
                resource.api_version(),
                spec.replace('@', value)
            );
            json::parse(text.as_bytes()).expect("JSON").value
        };
        let mut live = apply(resource, None, &body("1"), &by("first")).expect("applies");
        settle(resource, &mut live);
        for value in ["{}", r#"{"a":1}"#, "[1]"] {
            let conflict = apply(resource, Some(&live), &body(value), &by("second"))
                .expect_err("the field is another's");
            assert_eq!(conflict.code, 409, "{kind} {value}: {}", conflict.message);
            assert!(conflict.message.contains(path), "{}", conflict.message);
            let mut merged = apply(resource, None, &body(value), &by("second")).expect("merges");
            let refused = strict::check_and_prune(resource, &mut merged).expect_err("no number");
            assert_eq!(refused.code, 400, "{kind} {value}: {}", refused.message);
        }
    }
}

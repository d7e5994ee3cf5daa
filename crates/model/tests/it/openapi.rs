//! Every OpenAPI document, v2 and v3, as kube-apiserver 1.36.3 and 1.33.13 publish it, but for the prose.

use freehold_model::{Catalogue, Value, json, openapi};
use std::collections::{BTreeMap, BTreeSet};

/// What is different, and why: part of the place, reason.
const KNOWN: &[(&str, &str)] = &[
    (
        "io.k8s.apimachinery.pkg.apis.meta.v1.DeleteOptions.x-kubernetes-group-version-kind",
        "upstream names versions that it can read and does not serve",
    ),
    (
        "io.k8s.apimachinery.pkg.apis.meta.v1.WatchEvent.x-kubernetes-group-version-kind",
        "as above",
    ),
];

fn facts(value: &mut Value, parameters: &BTreeMap<String, Value>) {
    match value {
        Value::Object(map) => {
            map.retain(|key, value| key != "description" || value.as_str().is_none());
            if let Some(Value::Array(required)) = map.get_mut("required") {
                required.sort_by(|a, b| a.as_str().cmp(&b.as_str()));
            }
            if let Some(Value::Array(all)) = map.get_mut("parameters") {
                // v2 names those that are used often.
                for p in all.iter_mut() {
                    let name = p
                        .str_at(&["$ref"])
                        .and_then(|r| r.strip_prefix("#/parameters/"));
                    if let Some(shared) = name.and_then(|n| parameters.get(n)) {
                        *p = shared.clone();
                    }
                }
                all.sort_by_key(|p| format!("{:?} {:?}", p.str_at(&["in"]), p.str_at(&["name"])));
            }
            map.iter_mut().for_each(|(_, v)| facts(v, parameters));
        }
        Value::Array(items) => items.iter_mut().for_each(|v| facts(v, parameters)),
        _ => {}
    }
}

fn read(bytes: &[u8]) -> Value {
    let mut document = json::parse(bytes).unwrap().value;
    let shared = document.unset(&["parameters"]);
    let shared = shared
        .iter()
        .filter_map(Value::as_object)
        .flat_map(|m| m.iter());
    let shared = shared.map(|(k, v)| (k.to_owned(), v.clone())).collect();
    facts(&mut document, &shared);
    document
}

fn differences(a: Option<&Value>, b: Option<&Value>, path: &str, out: &mut Vec<String>) {
    match (a, b) {
        (Some(Value::Object(a)), Some(Value::Object(b))) => {
            let keys: BTreeSet<&str> = a.keys().chain(b.keys()).collect();
            for key in keys {
                differences(a.get(key), b.get(key), &format!("{path}.{key}"), out);
            }
        }
        (a, b) if a == b => {}
        (a, b) => {
            let text = |v: Option<&Value>| {
                let text = v.map_or_else(
                    || "nothing".into(),
                    |v| String::from_utf8(json::to_vec(v)).unwrap(),
                );
                text.chars().take(300).collect::<String>()
            };
            out.push(format!("{path}: theirs {} ours {}", text(a), text(b)));
        }
    }
}

fn compare(minor: u8, packed: &[u8]) {
    let text = miniz_oxide::inflate::decompress_to_vec_with_limit(packed, 64 << 20).unwrap();
    let text = String::from_utf8(text).unwrap();
    let catalogue = Catalogue::builtin(minor).unwrap();
    let (mut wrong, mut documents) = (Vec::new(), 0);
    let mut used = BTreeSet::new();
    for line in text.lines() {
        let (path, theirs) = line.split_once(' ').unwrap();
        let ours = match path.strip_prefix("/openapi/v3/") {
            Some(path) => openapi::v3(&catalogue, &[], path),
            None => Some(openapi::v2(&catalogue, &[])),
        };
        let Some(ours) = ours else {
            wrong.push(format!("no document {path}"));
            continue;
        };
        documents += 1;
        let (theirs, ours) = (read(theirs.as_bytes()), read(&ours));
        let mut all = Vec::new();
        differences(Some(&theirs), Some(&ours), path, &mut all);
        all.retain(
            |d| match KNOWN.iter().position(|(part, _)| d.contains(part)) {
                Some(known) => {
                    used.insert(known);
                    false
                }
                None => true,
            },
        );
        wrong.extend(all);
    }
    let index = json::parse(&openapi::index(&catalogue, &[])).unwrap().value;
    let published = index.get("paths").and_then(Value::as_object).unwrap().len();
    // v2 is not in the index.
    assert_eq!(published, documents - 1);
    assert!(
        wrong.is_empty(),
        "{} differ:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
    assert_eq!(
        used.len(),
        KNOWN.len(),
        "a difference is gone: take it off the list"
    );
}

#[test]
fn documents_are_those_of_kube_apiserver_1_36() {
    compare(36, include_bytes!("../recorded/openapi/1.36.deflate"));
}

#[test]
fn documents_are_those_of_kube_apiserver_1_33() {
    compare(33, include_bytes!("../recorded/openapi/1.33.deflate"));
}

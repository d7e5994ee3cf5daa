//! What upstream's strategies say of wrong objects (`upstream/cmd/validations`).

use crate::judged::compare::comparable;
use freehold_model::{Catalogue, Value, json, validate};

const RECORDED: &str = include_str!("../fixtures/validations.txt");

/// Messages that are known to differ, by what they have in common, and why.
const KNOWN: [(&str, &str); 1] = [("unknown time zone", "this crate has no list of time zones")];

fn errors(catalogue: &Catalogue, line: &str) -> (String, Vec<String>, Vec<String>) {
    let parts: Vec<Value> = line
        .split('\t')
        .skip(1)
        .map(|p| json::parse(p.as_bytes()).unwrap().value)
        .collect();
    let [object, old, want] = &parts[..] else {
        panic!("a line of four parts")
    };
    let api_version = object.str_at(&["apiVersion"]).unwrap();
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    let kind = object.str_at(&["kind"]).unwrap();
    let resource = catalogue.by_kind(group, version, kind).unwrap();
    let ours = if old.is_null() {
        validate::create(resource, object)
    } else {
        validate::update(resource, object, old)
    };
    let want = want
        .as_array()
        .unwrap()
        .iter()
        .map(|e| comparable(e.as_str().unwrap()));
    let mode = if old.is_null() { "create" } else { "update" };
    (
        format!("{mode} {kind}"),
        ours.iter().map(|e| comparable(&e.to_string())).collect(),
        want.collect(),
    )
}

#[test]
fn wrong_objects_are_refused_in_upstreams_words() {
    let catalogue = Catalogue::builtin(36).unwrap();
    let known = |e: &String| KNOWN.iter().any(|(part, _)| e.contains(part));
    let (mut bad, mut checked) = (Vec::new(), 0);
    for line in RECORDED.lines() {
        let (what, mut ours, mut want) = errors(&catalogue, line);
        checked += 1;
        // Upstream looks at the metadata of this one kind only when everything else is fine.
        if what.ends_with("PodDisruptionBudget") && want.iter().any(|e| !e.starts_with("metadata"))
        {
            ours.retain(|e| !e.starts_with("metadata"));
        }
        // Go walks maps in any order.
        ours.sort();
        want.sort();
        let missing: Vec<&String> = want
            .iter()
            .filter(|e| !ours.contains(e) && !known(e))
            .collect();
        let extra: Vec<&String> = ours
            .iter()
            .filter(|e| !want.contains(e) && !known(e))
            .collect();
        if !missing.is_empty() || !extra.is_empty() {
            bad.push(format!(
                "{what}\n  missing {missing:#?}\n  extra {extra:#?}"
            ));
        }
    }
    assert!(checked > 500, "only {checked} objects are recorded");
    assert!(
        bad.is_empty(),
        "{} of {checked} objects differ:\n{}",
        bad.len(),
        bad.join("\n")
    );
}

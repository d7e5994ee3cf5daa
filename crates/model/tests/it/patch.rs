//! Patches as upstream applies them (`upstream/cmd/patch`).

use freehold_model::catalogue::{Catalogue, DEFAULT_MINOR};
use freehold_model::{Value, json, patch, strategic};

const RECORDED: &str = include_str!("../recordings/patch.jsonl");

/// Without null fields: nobody can tell them from absent ones after decoding.
fn settled(value: &Value) -> Value {
    match value {
        Value::Object(map) => Value::Object(
            map.iter()
                .filter(|(_, v)| !v.is_null())
                .map(|(k, v)| (k, settled(v)))
                .collect(),
        ),
        Value::Array(items) => Value::Array(items.iter().map(settled).collect()),
        other => other.clone(),
    }
}

#[test]
fn patches_do_what_they_do_upstream() {
    let catalogue = Catalogue::builtin(DEFAULT_MINOR).expect("catalogue");
    let mut wrong = Vec::new();
    let mut count = 0;
    for line in RECORDED.lines() {
        let recorded = json::parse(line.as_bytes()).expect("json").value;
        let (object, change) = (
            recorded.get("object").expect("object"),
            recorded.get("patch").expect("patch"),
        );
        let kind = recorded.str_at(&["type"]).expect("type");
        let mut ours = object.clone();
        let result = if kind == "json" {
            patch::json_patch(&mut ours, change)
        } else {
            let api_version = object.str_at(&["apiVersion"]).expect("apiVersion");
            let (group, version) = api_version.rsplit_once('/').unwrap_or(("", api_version));
            let kind = object.str_at(&["kind"]).expect("kind");
            let Some((types, root)) = catalogue.type_of(group, version, kind) else {
                continue;
            };
            strategic::strategic_merge(&types, root, &mut ours, change)
        };
        count += 1;
        let same = match (&result, recorded.get("result"), recorded.str_at(&["error"])) {
            (Ok(()), Some(theirs), _) if kind == "json" => ours == *theirs,
            (Ok(()), Some(theirs), _) => settled(&ours) == settled(theirs),
            // with several faults upstream finds any of them first; the words have tests of their own
            (Err(e), None, Some(_)) => e.code == 422 || kind != "json" && e.code == 400,
            (Ok(()), None, Some(theirs)) => theirs.starts_with("panic:"),
            _ => false,
        };
        if !same {
            let text = |v: &Value| String::from_utf8(json::to_vec(v)).expect("utf-8");
            let got = result.map_or_else(|e| e.message, |()| text(&ours));
            wrong.push(format!(
                "{}\n    object {}\n    ours   {got}\n    theirs {} {:?}",
                text(change),
                text(object),
                recorded.get("result").map(text).unwrap_or_default(),
                recorded.str_at(&["error"])
            ));
        }
    }
    assert!(count > 200, "{count}");
    assert!(
        wrong.is_empty(),
        "{} of {count} differ:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}

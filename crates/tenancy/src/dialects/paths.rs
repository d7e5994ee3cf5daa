//! Which fields of a foreign object have an effect, by path.
//!
//! A dialect lists every field it knows; a field that is set and not listed as effective is
//! named in a condition, so nothing is silently ignored.

use serde_json::Value;

/// What becomes of a field and all below it, unless a longer rule says otherwise.
pub(crate) enum Rule {
    /// It is translated.
    Effect,
    /// It is accepted and does nothing; why.
    None(&'static str),
}

/// A path below `spec`; `*` stands for any one step.
pub(crate) type Rules = [(&'static str, Rule)];

/// The fields of `spec` that are set and have no effect, as `path (why)`.
pub(crate) fn without_effect(spec: &Value, rules: &Rules) -> Vec<String> {
    let mut found = Vec::new();
    walk(spec, &mut Vec::new(), rules, &mut found);
    found.dedup();
    found
}

fn walk(value: &Value, path: &mut Vec<String>, rules: &Rules, found: &mut Vec<String>) {
    let below: Vec<(String, &Value)> = match value {
        Value::Object(fields) => fields.iter().map(|(k, v)| (k.clone(), v)).collect(),
        Value::Array(items) => items
            .iter()
            .enumerate()
            .map(|(i, v)| (i.to_string(), v))
            .collect(),
        _ => Vec::new(),
    };
    if below.is_empty() {
        if !path.is_empty() {
            leaf(path, rules, found);
        }
        return;
    }
    for (step, value) in below {
        path.push(step);
        walk(value, path, rules, found);
        path.pop();
    }
}

fn leaf(path: &[String], rules: &Rules, found: &mut Vec<String>) {
    let rule = rules
        .iter()
        .filter_map(|(pattern, rule)| covers(pattern, path).map(|length| (length, rule)))
        .max_by_key(|(length, _)| *length);
    let (length, why) = match rule {
        Some((_, Rule::Effect)) => return,
        Some((length, Rule::None(why))) => (length, *why),
        None => (path.len(), "not known here"),
    };
    let mut text = String::from("spec");
    for step in &path[..length] {
        if step.bytes().all(|b| b.is_ascii_digit()) {
            text.push_str(&format!("[{step}]"));
        } else {
            text.push_str(&format!(".{step}"));
        }
    }
    found.push(format!("{text} ({why})"));
}

/// How many steps of the path the pattern covers, when it matches its beginning.
fn covers(pattern: &str, path: &[String]) -> Option<usize> {
    let mut length = 0;
    for step in pattern.split('.') {
        let there = path.get(length)?;
        if step != "*" && step != there {
            return None;
        }
        length += 1;
    }
    Some(length)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const RULES: &Rules = &[
        ("version", Rule::Effect),
        ("owners.*.name", Rule::Effect),
        ("owners.*.roles", Rule::None("one role only")),
        ("deep", Rule::None("not yet")),
        ("deep.replicas", Rule::Effect),
    ];

    #[test]
    fn what_is_set_and_not_translated_is_named_once() {
        let spec = json!({
            "version": "1",
            "owners": [{"name": "a"}, {"name": "b", "roles": ["x", "y"]}],
            "deep": {"replicas": 0, "a": {"b": 1, "c": 2}},
            "unheard": {"of": {}},
        });
        assert_eq!(
            without_effect(&spec, RULES),
            [
                "spec.deep (not yet)",
                "spec.owners[1].roles (one role only)",
                "spec.unheard.of (not known here)"
            ]
        );
        assert!(without_effect(&json!({}), RULES).is_empty());
    }
}

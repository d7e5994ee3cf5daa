//! What differs between any two runs of one request, made the same: uids, times, resource versions,
//! addresses and ports that a server picks, names it generates.

use freehold_model::Value;

/// The answer with everything random replaced.
pub(crate) fn normal(value: &mut Value) {
    walk(value, "");
}

fn walk(value: &mut Value, key: &str) {
    match value {
        Value::Object(map) => {
            if let Some(base) = generated(map.get("generateName"), map.get("name")) {
                map.insert("name", format!("{base}?????"));
            }
            if let Some(Value::Array(columns)) = map.get_mut("columnDefinitions") {
                // Prose of upstream's, which no client reads.
                columns
                    .iter_mut()
                    .for_each(|c| drop(c.unset(&["description"])));
            }
            if let Some(Value::Array(causes)) = map.get_mut("causes") {
                sort_causes(causes);
            }
            if let Some(Value::Array(managed)) = map.get_mut("managedFields") {
                managed.sort_by_key(owner);
            }
            for (k, v) in map.iter_mut() {
                let k = k.to_owned();
                walk(v, &k);
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|v| walk(v, key)),
        Value::String(text) => {
            let new = string(text, key);
            if new != text.as_str() {
                *value = new.into();
            }
        }
        number => {
            let port = matches!(key, "nodePort" | "healthCheckNodePort");
            // Those that a corpus asks for are above.
            if port
                && number
                    .as_i64()
                    .is_some_and(|p| !(32_701..=32_704).contains(&p))
            {
                *number = "PORT".into();
            }
        }
    }
}

fn generated(base: Option<&Value>, name: Option<&Value>) -> Option<String> {
    let base = base?.as_str()?;
    let base = base.get(..58).unwrap_or(base);
    name?
        .as_str()?
        .strip_prefix(base)
        .filter(|rest| rest.len() == 5)?;
    Some(base.to_owned())
}

/// Those of conflicts come in the order of a map, and upstream lists some errors twice; the message
/// has them in order and once.
fn sort_causes(causes: &mut Vec<Value>) {
    causes.sort_by_key(freehold_model::json::to_vec);
    causes.dedup();
}

/// Servers sort managers by time, which is another second now and then.
fn owner(entry: &Value) -> String {
    let part = |k: &str| entry.str_at(&[k]).unwrap_or("");
    format!(
        "{} {} {} {}",
        part("operation"),
        part("manager"),
        part("apiVersion"),
        part("subresource")
    )
}

fn string(text: &str, key: &str) -> String {
    if key == "serverAddress" {
        return "ADDRESS".into();
    }
    if key == "resourceVersion" && !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) {
        return "RV".into();
    }
    if is_recent(text) {
        return if text.contains('.') {
            "MICROTIME".into()
        } else {
            "TIME".into()
        };
    }
    if key == "cells" && is_age(text) {
        return "AGE".into();
    }
    if let Some(rest) = text.strip_prefix("10.96.") {
        // Those that a corpus asks for are 10.96.200.x.
        if !rest.starts_with("200.") && rest.split('.').count() == 2 {
            return "IP".into();
        }
    }
    let text = without_number(&words(text), "in record (");
    without_number(&text, "current: ")
}

/// A resource version in a message.
fn without_number(text: &str, before: &str) -> String {
    match text.split_once(before) {
        Some((start, rest)) => {
            let rest = rest.trim_start_matches(|c: char| c.is_ascii_digit());
            format!("{start}{before}RV{rest}")
        }
        None => text.to_owned(),
    }
}

/// How old something is that was made now, or years ago: tomorrow it is another age.
fn is_age(text: &str) -> bool {
    let number = |text: &str| text.parse::<u16>().is_ok();
    match text.split_once('y') {
        Some((years, "")) => number(years),
        Some((years, days)) => number(years) && days.strip_suffix('d').is_some_and(number),
        None => text.strip_suffix('s').is_some_and(number),
    }
}

/// A time of now; those of a corpus are older.
fn is_recent(text: &str) -> bool {
    let bytes = text.as_bytes();
    text.ends_with('Z')
        && text.len() >= 20
        && text.starts_with("202")
        && bytes[3] >= b'5'
        && bytes[10] == b'T'
}

/// uids and times inside texts.
fn words(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while !rest.is_empty() {
        if let Some(head) = rest.get(..36)
            && is_uuid(head)
        {
            out.push_str("UID");
            rest = &rest[36..];
            continue;
        }
        if let Some(head) = rest.get(..20)
            && is_recent(head)
        {
            out.push_str("TIME");
            rest = &rest[20..];
            continue;
        }
        let next = rest.chars().next().expect("not empty");
        out.push(next);
        rest = &rest[next.len_utf8()..];
    }
    out
}

fn is_uuid(text: &str) -> bool {
    // All of a corpus' own start with zeros.
    !text.starts_with("00000000")
        && text.bytes().enumerate().all(|(i, b)| match i {
            8 | 13 | 18 | 23 => b == b'-',
            _ => b.is_ascii_hexdigit(),
        })
}

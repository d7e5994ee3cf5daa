//! `FieldsV1`: sets of paths as JSON, structured-merge-diff `fieldpath/serialize*.go`; and paths as
//! messages show them.

use super::set::{Elem, Set};
use crate::field::quote;
use crate::{Map, Str, Value, json};

/// The JSON form of a set.
pub(crate) fn encode(set: &Set) -> Value {
    let mut entries: Vec<(Str, Value)> = Vec::with_capacity(set.members.len());
    // Both ascend: a member that has something below it is met with it.
    let mut members = set.members.iter().peekable();
    for (elem, child) in &set.children {
        while let Some(member) = members.next_if(|m| *m < elem) {
            entries.push((key(member), Value::object()));
        }
        let mut below = encode(child);
        if members.next_if(|m| *m == elem).is_some() {
            below.set(&["."], Value::object());
        }
        entries.push((key(elem), below));
    }
    entries.extend(members.map(|member| (key(member), Value::object())));
    Value::Object(Map::from_entries(entries).0)
}

/// Reads the JSON form; `None` when it is no such thing. Kinds of path elements that are not known
/// are skipped, as upstream does.
pub(crate) fn decode(value: &Value) -> Option<Set> {
    Some(decode_node(value.as_object()?)?.0)
}

/// The set below a node, and whether the node itself is a member.
fn decode_node(map: &Map) -> Option<(Set, bool)> {
    let (mut members, mut children) = (Vec::new(), Vec::new());
    let mut itself = false;
    for (key, below) in map.iter() {
        if key == "." {
            itself = true;
            continue;
        }
        let elem = match element(key)? {
            Some(elem) => elem,
            None => continue,
        };
        let (child, member) = decode_node(below.as_object()?)?;
        if member {
            members.push(elem.clone());
        }
        if !child.is_empty() {
            children.push((elem, child));
        }
    }
    let set = Set::collected(members, children);
    let leaf = set.is_empty();
    Some((set, itself || leaf))
}

/// One path element; `Some(None)` for a kind that is not known.
fn element(key: &str) -> Option<Option<Elem>> {
    let (kind, text) = key.split_once(':').filter(|(kind, _)| kind.len() == 1)?;
    Some(Some(match kind {
        "f" => Elem::Field(text.into()),
        "v" => Elem::Value(json::parse(text.as_bytes()).ok()?.value),
        "k" => match json::parse(text.as_bytes()).ok()?.value {
            Value::Object(map) => Elem::Key(map.into_entries()),
            _ => return None,
        },
        "i" => Elem::Index(text.parse().ok()?),
        _ => return Some(None),
    }))
}

fn key(elem: &Elem) -> Str {
    let text = |v: &Value| String::from_utf8_lossy(&json::to_vec(v)).into_owned();
    match elem {
        Elem::Field(name) => {
            let mut text = Str::const_new("f:");
            text.push_str(name);
            text
        }
        Elem::Key(fields) => {
            let map: Map = fields.iter().map(|(k, v)| (k.clone(), v.clone())).collect();
            format!("k:{}", text(&Value::Object(map))).into()
        }
        Elem::Value(value) => format!("v:{}", text(value)).into(),
        Elem::Index(i) => format!("i:{i}").into(),
    }
}

/// `.spec.containers[name="app"].image`
pub(crate) fn path_text(path: &[&Elem]) -> String {
    path.iter().map(|e| elem_text(e)).collect()
}

pub(crate) fn elem_text(elem: &Elem) -> String {
    match elem {
        Elem::Field(name) => format!(".{name}"),
        Elem::Key(fields) => {
            let fields: Vec<String> = fields
                .iter()
                .map(|(k, v)| format!("{k}={}", value_text(v)))
                .collect();
            format!("[{}]", fields.join(","))
        }
        Elem::Value(value) => format!("[={}]", value_text(value)),
        Elem::Index(i) => format!("[{i}]"),
    }
}

fn value_text(value: &Value) -> String {
    match value {
        Value::String(s) => quote(s),
        other => String::from_utf8_lossy(&json::to_vec(other)).into_owned(),
    }
}

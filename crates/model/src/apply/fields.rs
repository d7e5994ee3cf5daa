//! `FieldsV1`: sets of paths as JSON, structured-merge-diff `fieldpath/serialize*.go`; and paths as
//! messages show them.

use super::set::{Elem, Set};
use crate::field::quote;
use crate::value::Entry;
use crate::{Map, Str, Value, json};

/// The JSON form of a set.
pub(crate) fn encode(set: &Set) -> Value {
    encode_node(set, false)
}

/// `itself`: the place is a member, too.
fn encode_node(set: &Set, itself: bool) -> Value {
    let room = set.members.len() + set.children.len() + usize::from(itself);
    let mut entries: Vec<Entry> = Vec::with_capacity(room);
    if itself {
        entries.push(Entry::new(".".into(), Value::object()));
    }
    // Both ascend: a member that has something below it is met with it.
    let mut members = set.members.iter().peekable();
    for (elem, child) in &set.children {
        while let Some(member) = members.next_if(|m| *m < elem) {
            entries.push(Entry::new(key(member), Value::object()));
        }
        let itself = members.next_if(|m| *m == elem).is_some();
        entries.push(Entry::new(key(elem), encode_node(child, itself)));
    }
    entries.extend(members.map(|member| Entry::new(key(member), Value::object())));
    Value::Object(Map::of_entries(entries))
}

/// Reads the JSON form; `None` when it is no such thing. Kinds of path elements that are not known
/// are skipped, as upstream does.
pub(crate) fn decode(value: &Value) -> Option<Set> {
    Some(decode_node(value.as_object()?)?.0)
}

/// The set below a node, and whether the node itself is a member.
fn decode_node(map: &Map) -> Option<(Set, bool)> {
    if map.is_empty() {
        return Some((Set::default(), true));
    }
    let mut members = Vec::with_capacity(map.len());
    let mut children = Vec::new();
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
        match (member, child.is_empty()) {
            (true, true) => members.push(elem),
            (true, false) => {
                members.push(elem.clone());
                children.push((elem, child));
            }
            (false, false) => children.push((elem, child)),
            (false, true) => {}
        }
    }
    let set = Set::collected(members, children);
    let leaf = set.is_empty();
    Some((set, itself || leaf))
}

/// One path element; `Some(None)` for a kind that is not known.
fn element(key: &str) -> Option<Option<Elem>> {
    let (kind, text) = key.split_at_checked(2)?;
    let kind = kind.strip_suffix(':').filter(|kind| *kind != ":")?;
    Some(Some(match kind {
        "f" => Elem::Field(text.into()),
        "v" => Elem::Value(json::parse(text.as_bytes()).ok()?.value),
        "k" if let Some(fields) = plain_key(text) => Elem::Key(fields),
        "k" => match json::parse(text.as_bytes()).ok()?.value {
            Value::Object(map) => Elem::Key(map.into_entries()),
            _ => return None,
        },
        "i" => Elem::Index(text.parse().ok()?),
        _ => return Some(None),
    }))
}

/// The fields of a key as we write it: one or two, of which the first comes first, texts without
/// escapes and small numbers. Anything else is left to the parser.
fn plain_key(text: &str) -> Option<Vec<(Str, Value)>> {
    let mut rest = text.strip_prefix('{')?;
    let mut fields: Vec<(Str, Value)> = Vec::with_capacity(2);
    loop {
        let name;
        (name, rest) = plain_text(rest)?;
        rest = rest.strip_prefix(':')?;
        let value;
        (value, rest) = match plain_text(rest) {
            Some((text, rest)) => (Value::from(text), rest),
            None => small_number(rest)?,
        };
        if fields
            .last()
            .is_some_and(|(before, _)| before.as_str() >= name)
        {
            return None;
        }
        fields.push((name.into(), value));
        match rest {
            "}" => return Some(fields),
            _ => rest = rest.strip_prefix(',')?,
        }
    }
}

/// A text in quotes, and what comes after it.
fn plain_text(text: &str) -> Option<(&str, &str)> {
    let inner = text.strip_prefix('"')?;
    let ends = |b: u8| matches!(b, b'"' | b'\\' | ..b' ');
    let end = inner.bytes().position(ends)?;
    let rest = inner[end..].strip_prefix('"')?;
    Some((&inner[..end], rest))
}

/// Up to nine digits, and what comes after them.
fn small_number(text: &str) -> Option<(Value, &str)> {
    let end = text.bytes().position(|b| !b.is_ascii_digit())?;
    let (digits, rest) = text.split_at(end);
    let plain = (1..=9).contains(&end) && !digits.starts_with('0');
    plain.then_some((Value::Int(digits.parse().ok()?), rest))
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
            let mut out = Vec::with_capacity(64);
            out.extend_from_slice(b"k:{");
            for (i, (name, value)) in fields.iter().enumerate() {
                if i > 0 {
                    out.push(b',');
                }
                json::write_string(name, &mut out);
                out.push(b':');
                json::write(value, &mut out);
            }
            out.push(b'}');
            String::from_utf8_lossy(&out).as_ref().into()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_read_as_json_is() {
        let plain = [
            r#"{"name":"web"}"#,
            r#"{"containerPort":80,"protocol":"TCP"}"#,
            r#"{"":""}"#,
            r#"{"a":"ä","b":999999999}"#,
        ];
        let others = [
            r#"{}"#,
            r#"{"a":1"#,
            r#"{"a":1}}"#,
            r#"{"b":1,"a":2}"#,
            r#"{"a":1,"a":2}"#,
            r#"{"a":"\u0041"}"#,
            r#"{"a":01}"#,
            r#"{"a":1.5}"#,
            r#"{"a":1e2}"#,
            r#"{"a":-1}"#,
            r#"{"a":true}"#,
            r#"{ "a":1}"#,
            "{\"a\":\"\u{1}\"}",
            r#"{"a":1,}"#,
            r#"{"a"}"#,
            "",
        ];
        for text in plain {
            let fields = plain_key(text).expect(text);
            let parsed = json::parse(text.as_bytes()).unwrap().value;
            let map: Map = fields.iter().cloned().collect();
            assert_eq!(Value::Object(map), parsed, "{text}");
            assert_eq!(key(&Elem::Key(fields)), format!("k:{text}"));
            assert!(matches!(
                element(&format!("k:{text}")),
                Some(Some(Elem::Key(_)))
            ));
        }
        for text in others {
            assert_eq!(plain_key(text), None, "{text}");
        }
    }
}

//! Both forms of an object of every kind, as upstream's own types write them
//! (`upstream/cmd/protofixtures`: one with all fields, one with few).

use base64::Engine as _;
use freehold_model::{Catalogue, Value, json, proto, strict};

const RECORDED: &str = include_str!("../fixtures/proto.txt");

fn recordings() -> impl Iterator<Item = (Value, Vec<u8>)> {
    RECORDED.lines().map(|line| {
        let (text, wire) = line.split_once('\t').unwrap();
        let value = json::parse(text.as_bytes()).unwrap().value;
        (
            value,
            base64::engine::general_purpose::STANDARD
                .decode(wire)
                .unwrap(),
        )
    })
}

/// The first place where two values differ, so that a failure can be read.
fn difference(at: &str, a: &Value, b: &Value) -> Option<String> {
    match (a, b) {
        (Value::Object(a), Value::Object(b)) => {
            let keys: std::collections::BTreeSet<&str> = a.keys().chain(b.keys()).collect();
            keys.into_iter().find_map(|k| match (a.get(k), b.get(k)) {
                (Some(a), Some(b)) => difference(&format!("{at}.{k}"), a, b),
                (a, b) => Some(format!("{at}.{k}: {a:?} against {b:?}")),
            })
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => a
            .iter()
            .zip(b)
            .enumerate()
            .find_map(|(i, (a, b))| difference(&format!("{at}[{i}]"), a, b)),
        (a, b) if a == b => None,
        (a, b) => Some(format!("{at}: {a:?} against {b:?}")),
    }
}

fn kind(value: &Value) -> String {
    format!(
        "{} {}",
        value.str_at(&["apiVersion"]).unwrap_or(""),
        value.str_at(&["kind"]).unwrap_or("")
    )
}

fn each(check: impl Fn(&Catalogue, &Value, &[u8]) -> Result<(), String>) {
    let catalogue = Catalogue::builtin(36).unwrap();
    let mut bad = Vec::new();
    let mut checked = 0;
    for (value, wire) in recordings() {
        checked += 1;
        if let Err(why) = check(&catalogue, &value, &wire) {
            bad.push(format!("{}: {why}", kind(&value)));
        }
    }
    assert!(checked > 160, "only {checked} objects are recorded");
    assert!(
        bad.is_empty(),
        "{} of {checked} kinds:\n{}",
        bad.len(),
        bad.join("\n")
    );
}

#[test]
fn upstreams_protobuf_of_every_kind_decodes_to_upstreams_json() {
    each(|catalogue, value, wire| {
        let decoded = proto::decode(catalogue, wire).map_err(|e| e.message)?;
        difference("", &decoded, value).map_or(Ok(()), Err)
    });
}

#[test]
fn every_kind_goes_to_protobuf_and_back_unchanged() {
    each(|catalogue, value, _| {
        let wire = proto::encode(catalogue, value).map_err(|e| e.message)?;
        let decoded = proto::decode(catalogue, &wire).map_err(|e| e.message)?;
        difference("", &decoded, value).map_or(Ok(()), Err)
    });
}

#[test]
fn typed_decoding_leaves_upstreams_json_of_every_kind_as_it_is() {
    each(|catalogue, value, _| {
        let api_version = value.str_at(&["apiVersion"]).unwrap();
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        let (types, root) = catalogue
            .type_of(group, version, value.str_at(&["kind"]).unwrap())
            .ok_or("no such kind")?;
        let mut checked = value.clone();
        let unknown = strict::check(&types, root, &mut checked, false)?;
        if !unknown.is_empty() {
            return Err(format!("unknown fields {unknown:?}"));
        }
        strict::shape(&types, root, &mut checked);
        difference("", &checked, value).map_or(Ok(()), Err)
    });
}

/// For `protofixtures -check`: our protobuf of what is recorded, to be judged by upstream's decoder.
#[test]
#[ignore = "writes a file for upstream's decoder: set FREEHOLD_PROTO_OUT"]
fn write_our_protobuf_for_upstream() {
    let path = std::env::var_os("FREEHOLD_PROTO_OUT").expect("FREEHOLD_PROTO_OUT says where");
    let catalogue = Catalogue::builtin(36).unwrap();
    let mut out = String::new();
    for (value, _) in recordings() {
        let wire = proto::encode(&catalogue, &value).unwrap();
        out.push_str(&String::from_utf8(json::to_vec(&value)).unwrap());
        out.push('\t');
        out.push_str(&base64::engine::general_purpose::STANDARD.encode(wire));
        out.push('\n');
    }
    std::fs::write(path, out).unwrap();
}

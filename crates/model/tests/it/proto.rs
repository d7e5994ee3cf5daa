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

/// Replaces the `at`-th value of an object and says whether there was one.
fn replace(value: &mut Value, at: &mut usize, by: &Value) -> bool {
    if *at == 0 {
        *value = by.clone();
        return true;
    }
    *at -= 1;
    match value {
        Value::Object(map) => map.iter_mut().any(|(_, v)| replace(v, at, by)),
        Value::Array(items) => items.iter_mut().any(|v| replace(v, at, by)),
        _ => false,
    }
}

/// Every object of every kind, with any one of its values replaced by one that may not fit there.
#[test]
fn what_is_read_in_one_pass_is_what_two_passes_read() {
    let catalogue = Catalogue::builtin(36).unwrap();
    let others = [
        Value::Null,
        Value::Bool(true),
        Value::Int(3_000_000_000),
        Value::Float(1.5),
        Value::from("1Gi"),
        Value::Array(vec![Value::from("x")]),
        Value::Object([("name", "x"), ("x", "y")].into_iter().collect()),
    ];
    let (mut clean, mut refused) = (0, 0);
    for (value, _) in recordings() {
        let api_version = value.str_at(&["apiVersion"]).unwrap();
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        let kind = value.str_at(&["kind"]).unwrap();
        let Some(resource) = catalogue.by_kind(group, version, kind) else {
            continue;
        };
        let mut both = |given: &Value| {
            let bytes = json::to_vec(given);
            let typed = strict::decode_clean(resource, &bytes);
            let mut slow = json::parse(&bytes).unwrap().value;
            let complaint = strict::check_and_prune(resource, &mut slow);
            if let Some(typed) = typed {
                clean += 1;
                assert_eq!(complaint, Ok(Vec::new()), "{kind}");
                assert_eq!(typed, slow, "{kind}");
                return true;
            }
            refused += 1;
            false
        };
        assert!(both(&value), "{kind}");
        for at in (1..).step_by(23) {
            let mut changed = value.clone();
            if !replace(&mut changed, &mut at.clone(), &others[at % others.len()]) {
                break;
            }
            both(&changed);
        }
    }
    assert!(clean > 200 && refused > 500, "{clean} {refused}");
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

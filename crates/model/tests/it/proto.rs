//! Both forms of an object of every kind, as upstream's own types write them
//! (`upstream/cmd/protofixtures`: one with all fields, one with few).

use base64::Engine as _;
use freehold_model::{Catalogue, Value, json, proto, strict};
use std::collections::BTreeSet;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

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

fn judge() -> Option<PathBuf> {
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let home = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache"));
    let judge = cache.or_else(home)?.join("freehold/upstream/v1.36.3/judge");
    if judge.is_file() {
        return Some(judge);
    }
    eprintln!("skipped: run `cargo xtask upstream`");
    None
}

/// What upstream's own decoder makes of protobuf; each in JSON.
fn read_by_upstream(judge: &Path, encoded: &[Vec<u8>]) -> Vec<String> {
    let mut child = Command::new(judge)
        .arg("-decode")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let lines: String = encoded
        .iter()
        .map(|bytes| base64::engine::general_purpose::STANDARD.encode(bytes) + "\n")
        .collect();
    let writer = std::thread::spawn(move || stdin.write_all(lines.as_bytes()));
    let out = child.wait_with_output().unwrap();
    assert!(
        out.status.success(),
        "this judge cannot read: run `cargo xtask upstream`"
    );
    writer.join().unwrap().unwrap();
    let text = String::from_utf8(out.stdout).unwrap();
    text.lines().map(str::to_owned).collect()
}

/// What there is to say about an object whose protobuf upstream shows in JSON.
fn misread(object: &Value, theirs: &str) -> Option<String> {
    let Ok(theirs) = json::parse(theirs.as_bytes()) else {
        return Some(theirs.to_owned());
    };
    // What protobuf cannot say goes both ways: nulls, empty lists and maps.
    let (ours, theirs) = (shown(object), shown(&theirs.value));
    difference("", &ours, &theirs)
}

fn shown(value: &Value) -> Value {
    let is_there = |v: &Value| match v {
        Value::Null => false,
        Value::Array(items) => !items.is_empty(),
        Value::Object(map) => !map.is_empty(),
        _ => true,
    };
    match value {
        Value::Object(map) => {
            let fields = map.iter().map(|(k, v)| (k, shown(v)));
            Value::Object(fields.filter(|(_, v)| is_there(v)).collect())
        }
        Value::Array(items) => Value::Array(items.iter().map(shown).collect()),
        other => other.clone(),
    }
}

/// `objects`: what is encoded here and read by upstream.
fn upstream_reads(judge: &Path, objects: &[Value]) {
    let catalogue = Catalogue::builtin(36).unwrap();
    let encode = |object: &Value| proto::encode(&catalogue, object).unwrap();
    let encoded: Vec<Vec<u8>> = objects.iter().map(encode).collect();
    let theirs = read_by_upstream(judge, &encoded);
    assert_eq!(theirs.len(), objects.len());
    let wrong: Vec<String> = objects
        .iter()
        .zip(&theirs)
        .filter_map(|(object, theirs)| {
            let why = misread(object, theirs)?;
            // Embedded objects have neither in protobuf, on no side.
            let lost = why.starts_with(".spec.volumeClaimTemplates[");
            (!lost).then(|| format!("{}: {why}", kind(object)))
        })
        .collect();
    assert!(
        wrong.is_empty(),
        "{} of {} differ:\n{}",
        wrong.len(),
        objects.len(),
        wrong[..wrong.len().min(20)].join("\n")
    );
}

#[test]
fn upstreams_decoder_reads_our_protobuf_of_every_kind() {
    let Some(judge) = judge() else { return };
    let objects: Vec<Value> = recordings().map(|(object, _)| object).collect();
    assert!(objects.len() > 160);
    upstream_reads(&judge, &objects);
}

/// The same of random objects; `cargo xtask oracle --sort proto` compares the other direction.
#[test]
fn upstreams_decoder_reads_our_protobuf_of_random_objects() {
    let Some(judge) = judge() else { return };
    let args = ["-seed", "20261201", "-lines", "4000", "-sort", "proto"];
    let out = Command::new(&judge).args(args).output().unwrap();
    assert!(
        out.status.success(),
        "{}",
        String::from_utf8_lossy(&out.stderr)
    );
    let text = String::from_utf8(out.stdout).unwrap();
    let (mut kinds, mut objects) = (BTreeSet::new(), Vec::new());
    for line in text.lines() {
        let parts: Vec<&str> = line.split('\t').collect();
        let ["proto", kind, object, _] = parts[..] else {
            panic!("a sort, a kind, an object and its protobuf: {line}");
        };
        kinds.insert(kind.to_owned());
        objects.push(json::parse(object.as_bytes()).unwrap().value);
    }
    assert!(
        kinds.len() > 55 && objects.len() >= 4000,
        "{} kinds",
        kinds.len()
    );
    upstream_reads(&judge, &objects);
}

//! Every request of the golden corpus is answered as kube-apiserver 1.36.3 answers it; what differs
//! stands in `tests/golden/differences.txt` with the reason.

use crate::harness::{Client, Cluster};
use freehold_model::{Value, json};
use freehold_policy::User;
use std::collections::BTreeSet;

#[path = "../golden/mod.rs"]
pub(crate) mod recordings;

use recordings::{Reply, Server};

impl Server for Client {
    async fn send(
        &mut self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Vec<u8>,
    ) -> Reply {
        Reply::read(self.raw(method, path, headers, body).await).await
    }

    async fn pause(&mut self, _: u64) {}
}

/// A line of `differences.txt`: `file | request | place | why`. The place is the whole path of one, in which
/// `[*]` is any item.
struct Known {
    line: String,
    file: String,
    name: String,
    place: String,
}

fn known() -> Vec<Known> {
    let text = std::fs::read_to_string(recordings::directory().join("differences.txt")).unwrap();
    let rows = text
        .lines()
        .filter(|l| !l.is_empty() && !l.starts_with('#'));
    let row = |line: &str| {
        let cells: Vec<&str> = line.split(" | ").collect();
        let [file, name, place, why] = cells[..] else {
            panic!("four cells: {line}");
        };
        assert!(!why.trim().is_empty(), "no reason: {line}");
        Known {
            line: line.into(),
            file: file.into(),
            name: name.into(),
            place: place.into(),
        }
    };
    rows.map(row).collect()
}

impl Known {
    fn explains(&self, file: &str, name: &str, difference: &str) -> bool {
        let place = difference.split(": theirs ").next().unwrap_or_default();
        self.file == file && self.name == name && is_at(&self.place, place)
    }
}

fn is_at(wanted: &str, place: &str) -> bool {
    let Some((before, after)) = wanted.split_once("[*]") else {
        return wanted == place;
    };
    let rest = place.strip_prefix(before).and_then(|p| p.strip_prefix('['));
    rest.and_then(|rest| rest.split_once(']'))
        .is_some_and(|(index, rest)| {
            index.bytes().all(|b| b.is_ascii_digit()) && is_at(after, rest)
        })
}

fn compact(value: Option<&Value>) -> String {
    let Some(value) = value else {
        return "nothing".into();
    };
    let text = String::from_utf8(json::to_vec(value)).unwrap();
    match text.char_indices().nth(600) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

/// Who sends the corpus.
fn golden() -> User {
    User {
        name: "admin".into(),
        uid: "1".into(),
        groups: vec!["system:masters".into(), "system:authenticated".into()],
        ..User::default()
    }
}

/// One line per place where the two differ.
fn differences(theirs: Option<&Value>, ours: Option<&Value>, path: &str, out: &mut Vec<String>) {
    match (theirs, ours) {
        (Some(Value::Object(a)), Some(Value::Object(b))) => {
            let keys: BTreeSet<&str> = a.keys().chain(b.keys()).collect();
            for key in keys {
                differences(a.get(key), b.get(key), &format!("{path}.{key}"), out);
            }
        }
        (Some(Value::Array(a)), Some(Value::Array(b))) if a.len() == b.len() => {
            for (i, (a, b)) in a.iter().zip(b).enumerate() {
                differences(Some(a), Some(b), &format!("{path}[{i}]"), out);
            }
        }
        (a, b) if a == b => {}
        (a, b) => out.push(format!("{path}: theirs {} ours {}", compact(a), compact(b))),
    }
}

fn recorded(file: &str) -> Vec<Value> {
    let path = recordings::directory().join(format!("recorded/{file}.jsonl"));
    let text = std::fs::read_to_string(&path)
        .unwrap_or_else(|e| panic!("{}: {e}; run `cargo xtask record`", path.display()));
    text.lines()
        .map(|l| json::parse(l.as_bytes()).unwrap().value)
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_recorded_request_is_answered_as_upstream_does() {
    let known = known();
    let mut used = vec![false; known.len()];
    let (mut compared, mut same, mut wrong) = (0, 0, Vec::new());
    for (file, requests) in recordings::files() {
        let cluster = Cluster::start().await;
        let theirs = recorded(&file);
        let ours = recordings::replay(&mut cluster.client_of(golden()), &requests).await;
        assert_eq!(
            theirs.len(),
            ours.len(),
            "{file} changed: run `cargo xtask record`"
        );
        for (theirs, ours) in theirs.iter().zip(&ours) {
            let name = theirs.str_at(&["name"]).unwrap();
            compared += 1;
            let mut all = Vec::new();
            differences(Some(theirs), Some(ours), "", &mut all);
            if all.is_empty() {
                same += 1;
            }
            for difference in all {
                let mut explained = false;
                for (entry, used) in known.iter().zip(&mut used) {
                    if entry.explains(&file, name, &difference) {
                        explained = true;
                        *used = true;
                    }
                }
                if !explained {
                    wrong.push(format!("{file} | {name} | {difference}"));
                }
            }
        }
    }
    eprintln!(
        "{compared} requests, {same} the same, {} lines of differences",
        known.len()
    );
    assert!(compared > 1000, "{compared}");
    for (entry, used) in known.iter().zip(used) {
        if !used {
            wrong.push(format!("no longer a difference: {}", entry.line));
        }
    }
    assert!(
        wrong.is_empty(),
        "{} unexplained:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}

/// Groups, versions, kinds, verbs, short names, categories and subresources, in upstream's order.
#[tokio::test(flavor = "multi_thread")]
async fn discovery_is_that_of_the_version() {
    const V2: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
    let mut wrong = Vec::new();
    for minor in [33_u8, 36] {
        let cluster = Cluster::of_minor(minor).await;
        let path = recordings::directory().join(format!("discovery/1.{minor}.jsonl"));
        let recorded = std::fs::read_to_string(path).unwrap();
        for (path, theirs) in ["/api", "/apis"].iter().zip(recorded.lines()) {
            let theirs = json::parse(theirs.as_bytes()).unwrap().value;
            let mut client = cluster.client();
            let reply = Server::send(&mut client, "GET", path, &[("accept", V2)], Vec::new());
            let ours = json::parse(&reply.await.body).unwrap().value;
            differences(
                Some(&theirs),
                Some(&ours),
                &format!("1.{minor} {path}"),
                &mut wrong,
            );
        }
    }
    // Go wrote an empty time as null before 1.34.
    let null = ".metadata.creationTimestamp: theirs null ours nothing";
    wrong.retain(|w| !(w.starts_with("1.33 ") && w.ends_with(null)));
    assert!(
        wrong.is_empty(),
        "{} differ:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}

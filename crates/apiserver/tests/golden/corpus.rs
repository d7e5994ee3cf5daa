//! The requests of a corpus file: what is sent, word for word.
//!
//! A section starts with `== name`; its first line is the request, the rest its body in YAML:
//!
//! ```text
//! == a deployment
//! POST /apis/apps/v1/namespaces/NS/deployments
//! apiVersion: apps/v1
//! …
//! -- spec.replicas = -1
//! ~~ spec.selector.matchLabels.app = other && !spec.paused
//! ++ spec.replicas = 2
//! ```
//!
//! `POST`, `PUT`, `GET` and `DELETE` are what they say; `JSON`, `MERGE`, `STRATEGIC` and `APPLY` are the
//! four kinds of PATCH, `RAW METHOD MEDIA PATH` sends the body as it stands. `WAIT PATH` asks until
//! the path answers 200 and is not compared; `PAUSE MILLISECONDS` gives the real server time to hear
//! of a changed definition. `NS` is the namespace of the file, `{{rv}}` and
//! `{{uid}}` are those of the last object seen.
//!
//! Variants of the body above follow as one line each: `--` is a POST, `~~` a PUT, both as a dry
//! run; `++` is a PUT that stays, for the lines below too. `~/status` and `++/status` go to a
//! subresource. `a.b.0 = YAML` sets, `!a.b` removes; quotes keep a key with dots together.

use freehold_model::{Value, json, yaml};

/// One request.
#[derive(Clone, Debug)]
pub(crate) struct Exchange {
    pub name: String,
    pub method: &'static str,
    pub media: String,
    pub accept: String,
    pub path: String,
    pub body: Vec<u8>,
    /// asked until it answers, not compared
    pub wait: bool,
    /// the object is read afterwards and compared as well
    pub look: bool,
}

/// All requests of a file, in order.
pub(crate) fn parse(text: &str, namespace: &str) -> Vec<Exchange> {
    let mut all = vec![Exchange {
        name: "namespace".into(),
        method: "POST",
        media: "application/json".into(),
        accept: String::new(),
        path: "/api/v1/namespaces".into(),
        body: format!("{{\"apiVersion\":\"v1\",\"kind\":\"Namespace\",\"metadata\":{{\"name\":\"{namespace}\"}}}}").into(),
        wait: false,
        look: false,
    }];
    for section in format!("\n{text}").split("\n== ").skip(1) {
        section_of(&section.replace("NS", namespace), &mut all);
    }
    all
}

fn section_of(section: &str, all: &mut Vec<Exchange>) {
    let mut lines = section.lines().filter(|l| !l.starts_with("# ")).peekable();
    let name = lines.next().expect("a name").trim();
    let request = lines.next().unwrap_or_else(|| panic!("{name}: no request"));
    let mut body = String::new();
    while let Some(line) = lines.next_if(|l| variant(l).is_none()) {
        body.push_str(line);
        body.push('\n');
    }
    let first = exchange(name, request, &body);
    let path = first.path.split('?').next().unwrap_or("").to_owned();
    let (posted, look) = (first.method == "POST", first.look);
    all.push(first);
    let mut base = match lines.peek() {
        Some(_) => yaml_value(name, &body),
        None => return,
    };
    let object = base.str_at(&["metadata", "name"]).unwrap_or("").to_owned();
    let own = if posted {
        format!("{path}/{object}")
    } else {
        path.clone()
    };
    for line in lines {
        let Some((mark, sub, edits)) = variant(line) else {
            assert!(line.trim().is_empty(), "{name}: {line}");
            continue;
        };
        let mut changed = base.clone();
        edits.split(" && ").for_each(|e| edit(&mut changed, e));
        let (method, target) = if mark == '-' {
            ("POST", path.clone())
        } else {
            ("PUT", format!("{own}{sub}"))
        };
        let query = if mark == '+' { "" } else { "?dryRun=All" };
        all.push(Exchange {
            name: format!("{name} {line}"),
            method,
            media: "application/json".into(),
            accept: String::new(),
            path: format!("{target}{query}"),
            body: json::to_vec(&changed),
            wait: false,
            look: mark == '+' && look,
        });
        if mark == '+' {
            base = changed;
        }
    }
}

/// Mark, subresource and edits of a variant's line.
fn variant(line: &str) -> Option<(char, &str, &str)> {
    let (head, edits) = line.split_once(' ').unwrap_or((line, ""));
    let mark = match head.get(..2)? {
        "--" if head == "--" => '-',
        "~~" | "~/" => '~',
        "++" => '+',
        _ => return None,
    };
    let sub = head.find('/').map_or("", |at| &head[at..]);
    Some((mark, sub, edits))
}

fn exchange(name: &str, request: &str, body: &str) -> Exchange {
    let mut words = request.split(' ');
    let word = words.next().unwrap_or("");
    let mut e = Exchange {
        name: name.to_owned(),
        method: "PATCH",
        media: "application/json".into(),
        accept: String::new(),
        path: String::new(),
        body: Vec::new(),
        wait: matches!(word, "WAIT" | "PAUSE"),
        look: !matches!(word, "GET" | "WAIT" | "PAUSE"),
    };
    let mut raw = false;
    match word {
        "GET" | "WAIT" | "PAUSE" => e.method = "GET",
        "POST" => e.method = "POST",
        "PUT" => e.method = "PUT",
        "DELETE" => e.method = "DELETE",
        "JSON" => e.media = "application/json-patch+json".into(),
        "MERGE" => e.media = "application/merge-patch+json".into(),
        "STRATEGIC" => e.media = "application/strategic-merge-patch+json".into(),
        "APPLY" => {
            e.media = "application/apply-patch+yaml".into();
            raw = true;
        }
        "RAW" => {
            e.method = match words.next() {
                Some("POST") => "POST",
                Some("PUT") => "PUT",
                Some("DELETE") => "DELETE",
                _ => "PATCH",
            };
            e.media = words.next().unwrap_or("").to_owned();
            raw = true;
        }
        other => panic!("{name}: unknown request {other:?}"),
    }
    e.path = words
        .next()
        .unwrap_or_else(|| panic!("{name}: no path"))
        .to_owned();
    // Controllers inside the real server write these whenever they get to it.
    let later = [
        "/apiextensions.k8s.io/",
        "/flowcontrol.apiserver.k8s.io/",
        "/apiregistration.k8s.io/",
    ];
    e.look &= !later.iter().any(|group| e.path.contains(group));
    e.accept = words.collect::<Vec<_>>().join(" ");
    e.body = match body.trim_end() {
        "" => Vec::new(),
        text if raw => text.as_bytes().to_vec(),
        text => json::to_vec(&yaml_value(name, text)),
    };
    e
}

fn yaml_value(name: &str, text: &str) -> Value {
    match yaml::parse(text.as_bytes()) {
        Ok(decoded) => decoded.value,
        Err(e) => panic!("{name}: {}", e.message),
    }
}

fn edit(value: &mut Value, text: &str) {
    let text = text.trim();
    if let Some(path) = text.strip_prefix('!') {
        return set(value, &segments(path), None);
    }
    if text.is_empty() {
        return;
    }
    let (path, new) = text
        .split_once(" = ")
        .unwrap_or_else(|| panic!("no value in {text:?}"));
    set(value, &segments(path), Some(yaml_value(text, new)));
}

fn segments(path: &str) -> Vec<String> {
    let mut all = vec![String::new()];
    let mut quoted = false;
    for c in path.trim().chars() {
        match c {
            '"' => quoted = !quoted,
            '.' if !quoted => all.push(String::new()),
            c => all.last_mut().expect("one").push(c),
        }
    }
    all
}

fn set(value: &mut Value, path: &[String], new: Option<Value>) {
    let (key, rest) = path.split_first().expect("a path");
    if let Ok(index) = key.parse::<usize>()
        && let Some(items) = value.as_array_mut()
    {
        if rest.is_empty() && new.is_none() {
            items.remove(index);
            return;
        }
        if index == items.len() {
            items.push(Value::Null);
        }
        return match rest {
            [] => items[index] = new.expect("set above"),
            rest => set(&mut items[index], rest, new),
        };
    }
    if value.as_object().is_none() {
        *value = Value::object();
    }
    if let ([], None) = (rest, &new) {
        value.unset(&[key]);
        return;
    }
    if value.get(key).is_none() {
        let empty = if rest.first().is_some_and(|k| k == "0") {
            Value::Array(Vec::new())
        } else {
            Value::object()
        };
        value.set(&[key], empty);
    }
    let inner = value.get_mut(key).expect("set above");
    match rest {
        [] => *inner = new.expect("checked above"),
        rest => set(inner, rest, new),
    }
}

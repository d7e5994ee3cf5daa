//! Golden recordings: a corpus of requests, and what kube-apiserver 1.36.3 answers to each.
//!
//! `cargo xtask record` sends the corpus to the real server and writes `recorded/`; the test
//! sends it to ours.

pub(crate) mod corpus;
pub(crate) mod normal;

use corpus::Exchange;
use freehold_model::{Map, Value, json};
use http_body_util::BodyExt as _;
use std::path::{Path, PathBuf};

/// An answer as it came.
pub(crate) struct Reply {
    pub code: u16,
    pub warnings: Vec<String>,
    pub body: Vec<u8>,
}

impl Reply {
    pub(crate) async fn read<B>(response: http::Response<B>) -> Self
    where
        B: hyper::body::Body<Error: std::fmt::Debug>,
    {
        let (head, body) = response.into_parts();
        let warnings = head.headers.get_all("warning").iter();
        let body = body.collect().await.expect("the whole answer");
        Self {
            code: head.status.as_u16(),
            warnings: warnings
                .map(|w| String::from_utf8_lossy(w.as_bytes()).into_owned())
                .collect(),
            body: body.to_bytes().to_vec(),
        }
    }
}

/// Whoever answers.
pub(crate) trait Server {
    async fn send(
        &mut self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Vec<u8>,
    ) -> Reply;

    /// How long it may take until a change of a definition is heard everywhere.
    async fn pause(&mut self, milliseconds: u64);
}

pub(crate) fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

/// The corpus files: name and requests.
pub(crate) fn files() -> Vec<(String, Vec<Exchange>)> {
    let read = std::fs::read_dir(directory().join("corpus")).expect("the corpus");
    let mut paths: Vec<PathBuf> = read.map(|e| e.expect("an entry").path()).collect();
    paths.sort();
    let one = |path: PathBuf| {
        let name = path
            .file_stem()
            .expect("a name")
            .to_string_lossy()
            .into_owned();
        let text = std::fs::read_to_string(&path).expect("a corpus file");
        let requests = corpus::parse(&text, &format!("golden-{name}"));
        (name, requests)
    };
    paths.into_iter().map(one).collect()
}

/// Sends the requests of a file in order; one record each.
pub(crate) async fn replay(server: &mut impl Server, requests: &[Exchange]) -> Vec<Value> {
    let mut seen = Seen::default();
    let mut records = Vec::new();
    for request in requests {
        if request.wait {
            wait(server, request).await;
            continue;
        }
        let mut headers = vec![("user-agent", "golden/1")];
        if !request.body.is_empty() {
            headers.push(("content-type", &request.media));
        }
        if !request.accept.is_empty() {
            headers.push(("accept", &request.accept));
        }
        let path = seen.fill(&request.path);
        let body = seen
            .fill(&String::from_utf8_lossy(&request.body))
            .into_bytes();
        let reply = server.send(request.method, &path, &headers, body).await;
        let mut answer = value_of(&reply.body);
        seen.look(&answer);
        let after = if request.look && reply.code != 405 {
            object(server, request, &answer).await
        } else {
            None
        };
        normal::normal(&mut answer);
        let mut record = Map::new();
        record.insert("name", request.name.as_str());
        record.insert("request", format!("{} {}", request.method, request.path));
        record.insert("code", i64::from(reply.code));
        record.insert("answer", answer);
        if !reply.warnings.is_empty() {
            let all = reply.warnings.into_iter().map(Value::from).collect();
            record.insert("warnings", Value::Array(all));
        }
        if let Some(after) = after
            && Some(&after) != record.get("answer")
        {
            record.insert("object", after);
        }
        records.push(Value::Object(record));
    }
    records
}

fn value_of(body: &[u8]) -> Value {
    match json::parse(body) {
        Ok(decoded) => decoded.value,
        Err(_) => String::from_utf8_lossy(body).into_owned().into(),
    }
}

/// What is stored after a request.
async fn object(server: &mut impl Server, request: &Exchange, answer: &Value) -> Option<Value> {
    let mut path = request.path.split('?').next()?.to_owned();
    if request.method == "POST" {
        let name = answer.str_at(&["metadata", "name"])?;
        path = format!("{path}/{name}");
    }
    let reply = server.send("GET", &path, &[], Vec::new()).await;
    let mut object = value_of(&reply.body);
    normal::normal(&mut object);
    Some(object)
}

async fn wait(server: &mut impl Server, request: &Exchange) {
    if let Ok(milliseconds) = request.path.parse() {
        return server.pause(milliseconds).await;
    }
    for _ in 0..100 {
        let reply = server.send("GET", &request.path, &[], Vec::new()).await;
        if reply.code == 200 {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    eprintln!("{}: {} is not there", request.name, request.path);
}

/// Of the last object that was seen.
#[derive(Default)]
struct Seen {
    rv: String,
    uid: String,
}

impl Seen {
    fn look(&mut self, answer: &Value) {
        if let Some(uid) = answer.str_at(&["metadata", "uid"]) {
            self.uid = uid.to_owned();
            self.rv = answer
                .str_at(&["metadata", "resourceVersion"])
                .unwrap_or("")
                .to_owned();
        }
    }

    fn fill(&self, text: &str) -> String {
        text.replace("{{rv}}", &self.rv)
            .replace("{{uid}}", &self.uid)
    }
}

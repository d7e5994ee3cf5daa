//! Sends the golden corpus to a real kube-apiserver and writes down what it answers:
//! `cargo xtask record` (needs `cargo xtask upstream`). `documents=v1.36.3` records the OpenAPI and discovery
//! documents of a version instead.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stderr,
    clippy::disallowed_methods,
    reason = "a tool for those who change the corpus"
)]

#[path = "../tests/golden/mod.rs"]
mod golden;

use freehold_model::{Value, json};
use golden::{Reply, Server};
use http_body_util::Full;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, ServerName};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What would answer differently from run to run or needs controllers is left out of the real one.
const FLAGS: &[&str] = &[
    "--allow-privileged=true",
    "--bind-address=127.0.0.1",
    "--advertise-address=127.0.0.1",
    "--authorization-mode=RBAC",
    "--endpoint-reconciler-type=none",
    "--service-cluster-ip-range=10.96.0.0/16",
    "--service-account-issuer=https://kubernetes.default.svc",
];

struct Real {
    children: Vec<Child>,
    port: u16,
    certificate: String,
    sender: http1::SendRequest<Full<bytes::Bytes>>,
}

impl Drop for Real {
    fn drop(&mut self) {
        for child in self.children.iter_mut().rev() {
            drop(child.kill());
            drop(child.wait());
        }
    }
}

fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port()
}

/// Where the programs are: of the version that documents are asked of, else of the one that is compared with.
fn programs() -> PathBuf {
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let home = || PathBuf::from(std::env::var_os("HOME").expect("a home")).join(".cache");
    let argument = std::env::args().nth(1).unwrap_or_default();
    let version = argument.strip_prefix("documents=").unwrap_or("v1.36.3");
    cache
        .unwrap_or_else(home)
        .join("freehold/upstream")
        .join(version)
}

fn spawn(program: &Path, args: Vec<String>, log: &Path) -> Child {
    let out = std::fs::File::create(log).unwrap();
    let mut command = Command::new(program);
    command
        .args(args)
        .stdin(Stdio::null())
        .stdout(out.try_clone().unwrap())
        .stderr(out);
    command
        .spawn()
        .unwrap_or_else(|e| panic!("{}: {e}; run `cargo xtask upstream`", program.display()))
}

impl Real {
    async fn start(dir: &Path) -> Self {
        let (etcd_port, peer_port, port) = (free_port(), free_port(), free_port());
        let etcd_url = format!("http://127.0.0.1:{etcd_port}");
        let etcd = vec![
            format!("--data-dir={}", dir.join("etcd").display()),
            format!("--listen-client-urls={etcd_url}"),
            format!("--advertise-client-urls={etcd_url}"),
            format!("--listen-peer-urls=http://127.0.0.1:{peer_port}"),
            "--log-level=error".into(),
        ];
        let mut children = vec![spawn(&programs().join("etcd"), etcd, &dir.join("etcd.log"))];
        let key = rcgen::KeyPair::generate().unwrap();
        let tls = rcgen::CertificateParams::new(vec!["localhost".into()]).unwrap();
        let certificate = tls.self_signed(&key).unwrap().pem();
        let accounts = rcgen::KeyPair::generate().unwrap();
        for (name, text) in [
            ("tls.crt", certificate.clone()),
            ("tls.key", key.serialize_pem()),
            ("sa.key", accounts.serialize_pem()),
            ("sa.pub", accounts.public_key_pem()),
            ("tokens", "golden,admin,1,system:masters\n".into()),
        ] {
            std::fs::write(dir.join(name), text).unwrap();
        }
        let file = |flag: &str, name: &str| format!("--{flag}={}", dir.join(name).display());
        let mut args: Vec<String> = FLAGS.iter().map(|f| (*f).to_owned()).collect();
        args.extend([
            format!("--etcd-servers={etcd_url}"),
            format!("--secure-port={port}"),
            file("tls-cert-file", "tls.crt"),
            file("tls-private-key-file", "tls.key"),
            file("service-account-key-file", "sa.pub"),
            file("service-account-signing-key-file", "sa.key"),
            file("token-auth-file", "tokens"),
        ]);
        children.push(spawn(
            &programs().join("kube-apiserver"),
            args,
            &dir.join("kube-apiserver.log"),
        ));
        let sender = connect(port, &certificate).await;
        let mut real = Self {
            children,
            port,
            certificate,
            sender,
        };
        let deadline = Instant::now() + Duration::from_secs(120);
        while real.send("GET", "/readyz", &[], Vec::new()).await.code != 200 {
            assert!(Instant::now() < deadline, "kube-apiserver is not ready");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        real
    }
}

async fn connect(port: u16, certificate: &str) -> http1::SendRequest<Full<bytes::Bytes>> {
    let mut roots = rustls::RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap())
        .unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    let deadline = Instant::now() + Duration::from_secs(120);
    let tls = loop {
        let name = ServerName::try_from("localhost").unwrap();
        let attempt = async {
            connector
                .connect(
                    name,
                    tokio::net::TcpStream::connect(("127.0.0.1", port)).await?,
                )
                .await
        };
        match attempt.await {
            Ok(tls) => break tls,
            Err(e) => assert!(Instant::now() < deadline, "{e}"),
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    let (sender, connection) = http1::handshake(TokioIo::new(tls)).await.unwrap();
    tokio::spawn(connection);
    sender
}

impl Server for Real {
    async fn send(
        &mut self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Vec<u8>,
    ) -> Reply {
        let mut request = http::Request::builder().method(method).uri(path);
        request = request
            .header("host", "localhost")
            .header("authorization", "Bearer golden");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        // It closes connections now and then.
        if self.sender.ready().await.is_err() {
            self.sender = connect(self.port, &self.certificate).await;
        }
        let request = request.body(Full::new(body.into())).unwrap();
        let response = match self.sender.send_request(request.clone()).await {
            Ok(response) => response,
            Err(_) => {
                self.sender = connect(self.port, &self.certificate).await;
                match self.sender.send_request(request).await {
                    Ok(response) => response,
                    // Its handler panicked.
                    Err(_) => {
                        return Reply {
                            code: 0,
                            warnings: Vec::new(),
                            body: b"closed".to_vec(),
                        };
                    }
                }
            }
        };
        Reply::read(response).await
    }

    async fn pause(&mut self, milliseconds: u64) {
        tokio::time::sleep(Duration::from_millis(milliseconds)).await;
    }
}

#[tokio::main]
async fn main() {
    let dir = tempfile::tempdir().unwrap();
    let mut real = Real::start(dir.path()).await;
    let out = golden::directory().join("recorded");
    std::fs::create_dir_all(&out).unwrap();
    let only = std::env::args().nth(1);
    if let Some(version) = only.as_deref().and_then(|o| o.strip_prefix("documents=")) {
        let minor: Vec<&str> = version.trim_start_matches('v').split('.').take(2).collect();
        return documents(&mut real, &minor.join(".")).await;
    }
    for (name, requests) in golden::files() {
        if only.as_deref().is_some_and(|o| o != name) {
            continue;
        }
        let mut text = Vec::new();
        for record in golden::replay(&mut real, &requests).await {
            text.extend(json::to_vec(&record));
            text.push(b'\n');
        }
        std::fs::write(out.join(format!("{name}.jsonl")), text).unwrap();
    }
}

/// The OpenAPI documents without their prose, and discovery: what the tests of crate model and of the
/// catalogue compare.
async fn documents(real: &mut Real, minor: &str) {
    let mut text = Vec::new();
    let index = real.send("GET", "/openapi/v3", &[], Vec::new()).await.body;
    let index = json::parse(&index).unwrap().value;
    let mut paths = vec!["/openapi/v2".to_owned()];
    let all = index.get("paths").and_then(Value::as_object).unwrap();
    paths.extend(all.keys().map(|path| format!("/openapi/v3/{path}")));
    for path in paths {
        let reply = real
            .send("GET", &path, &[("accept", "application/json")], Vec::new())
            .await;
        let mut document = json::parse(&reply.body).unwrap().value;
        without_prose(&mut document);
        text.extend_from_slice(format!("{path} ").as_bytes());
        text.extend(json::to_vec(&document));
        text.push(b'\n');
    }
    let crates = golden::directory().join("../../..");
    let packed = miniz_oxide::deflate::compress_to_vec(&text, 9);
    let out = crates.join(format!("model/tests/recorded/openapi/{minor}.deflate"));
    std::fs::write(out, packed).unwrap();
    let v2 = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
    let mut discovery = Vec::new();
    for path in ["/api", "/apis"] {
        let reply = real.send("GET", path, &[("accept", v2)], Vec::new()).await;
        discovery.extend(json::to_vec(&json::parse(&reply.body).unwrap().value));
        discovery.push(b'\n');
    }
    std::fs::write(
        golden::directory().join(format!("discovery/{minor}.jsonl")),
        discovery,
    )
    .unwrap();
}

fn without_prose(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.retain(|key, value| key != "description" || value.as_str().is_none());
            map.iter_mut().for_each(|(_, v)| without_prose(v));
        }
        Value::Array(items) => items.iter_mut().for_each(without_prose),
        _ => {}
    }
}

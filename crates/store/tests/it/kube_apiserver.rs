//! A real kube-apiserver runs on the endpoint, also after a restart of both.

use crate::real_etcd::{RealEtcd, free_port, upstream};
use crate::real_postgres::RealPostgres;
use freehold_store::embedded::{Embedded, Options};
use freehold_store::postgres::Postgres;
use freehold_store::{Keyspaces, Store, etcd};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

struct ApiServer {
    child: Child,
    kubectl: PathBuf,
    port: u16,
}

impl Drop for ApiServer {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// What stands before the point of a P-256 key in its SubjectPublicKeyInfo.
const P256_SPKI: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a,
    0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];

fn pem(path: &Path, kind: &str, der: &[u8]) {
    let text = base64::Engine::encode(&base64::prelude::BASE64_STANDARD, der);
    let pem = format!("-----BEGIN {kind}-----\n{text}\n-----END {kind}-----\n");
    std::fs::write(path, pem).expect("write");
}

fn service_account_key(dir: &Path) {
    let random = ring::rand::SystemRandom::new();
    let algorithm = &ring::signature::ECDSA_P256_SHA256_ASN1_SIGNING;
    let pkcs8 = ring::signature::EcdsaKeyPair::generate_pkcs8(algorithm, &random).expect("key");
    pem(&dir.join("sa.key"), "PRIVATE KEY", pkcs8.as_ref());
    let key = ring::signature::EcdsaKeyPair::from_pkcs8(algorithm, pkcs8.as_ref(), &random);
    let key = key.expect("its own key");
    let point = ring::signature::KeyPair::public_key(&key).as_ref().to_vec();
    pem(
        &dir.join("sa.pub"),
        "PUBLIC KEY",
        &[&P256_SPKI[..], &point].concat(),
    );
}

impl ApiServer {
    fn start(program: &Path, kubectl: &Path, dir: &Path, etcd: &str) -> Self {
        let port = free_port();
        let key = dir.join("sa.key");
        if !key.exists() {
            service_account_key(dir);
            std::fs::write(dir.join("tokens"), "test,admin,1,system:masters\n").expect("write");
        }
        let log = std::fs::File::create(dir.join("apiserver.log")).expect("log");
        let child = Command::new(program)
            .args(["--etcd-servers", etcd, "--bind-address", "127.0.0.1"])
            .args([
                "--secure-port",
                &port.to_string(),
                "--advertise-address",
                "127.0.0.1",
            ])
            .args([
                "--authorization-mode",
                "RBAC",
                "--endpoint-reconciler-type",
                "none",
            ])
            .args(["--service-cluster-ip-range", "10.96.0.0/16"])
            .args(["--service-account-issuer", "https://test"])
            .arg("--cert-dir")
            .arg(dir.join("certs"))
            .arg("--token-auth-file")
            .arg(dir.join("tokens"))
            .arg("--service-account-key-file")
            .arg(dir.join("sa.pub"))
            .arg("--service-account-signing-key-file")
            .arg(&key)
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("kube-apiserver starts");
        let mut server = Self {
            child,
            kubectl: kubectl.to_owned(),
            port,
        };
        let start = Instant::now();
        while server.kubectl(&["get", "--raw", "/readyz"]).is_err() {
            let ended = server.child.try_wait().expect("wait").is_some();
            assert!(
                start.elapsed() < Duration::from_secs(120) && !ended,
                "{}",
                std::fs::read_to_string(dir.join("apiserver.log")).unwrap_or_default()
            );
            std::thread::sleep(Duration::from_millis(200));
        }
        println!("ready after {:?}", start.elapsed());
        server
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(&self.kubectl);
        command
            .arg(format!("--server=https://127.0.0.1:{}", self.port))
            .args([
                "--token=test",
                "--insecure-skip-tls-verify",
                "--kubeconfig=/dev/null",
            ])
            .args(args);
        command
    }

    fn kubectl(&self, args: &[&str]) -> Result<String, String> {
        let output = self.command(args).output().expect("kubectl runs");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        if output.status.success() {
            Ok(text(&output.stdout))
        } else {
            Err(text(&output.stderr))
        }
    }
}

/// Creates, lists, watches, changes and deletes through the API.
fn exercise(server: &ApiServer) {
    let run = |args: &[&str]| server.kubectl(args).expect("kubectl");
    run(&["create", "namespace", "shop"]);
    let mut watch = server
        .command(&[
            "get",
            "configmaps",
            "-n",
            "shop",
            "-w",
            "-o",
            "name",
            "--request-timeout=60s",
        ])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("watch");
    for n in 0..5 {
        run(&[
            "create",
            "configmap",
            "-n",
            "shop",
            &format!("c{n}"),
            "--from-literal=a=1",
        ]);
    }
    run(&[
        "patch",
        "configmap",
        "-n",
        "shop",
        "c0",
        "-p",
        r#"{"data":{"a":"2"}}"#,
    ]);
    run(&["delete", "configmap", "-n", "shop", "c4"]);
    let names = run(&["get", "configmaps", "-n", "shop", "-o", "name"]);
    assert_eq!(names.matches("configmap/c").count(), 4, "{names}");
    let value = run(&[
        "get",
        "configmap",
        "-n",
        "shop",
        "c0",
        "-o",
        "jsonpath={.data.a}",
    ]);
    assert_eq!(value, "2");
    run(&["create", "deployment", "-n", "shop", "web", "--image=web"]);
    let pages = run(&["get", "clusterroles", "--chunk-size=7", "-o", "name"]);
    assert!(pages.lines().count() > 50, "{pages}");
    watch.kill().expect("kill");
    let seen = watch.wait_with_output().expect("watch").stdout;
    let seen = String::from_utf8_lossy(&seen).into_owned();
    assert!(
        (0..5).all(|n| seen.contains(&format!("configmap/c{n}"))),
        "{seen}"
    );
}

/// A keyspace of a datastore that is opened, and what ends that.
type Opened = (Arc<dyn Store>, Box<dyn FnOnce() + Send>);

/// Runs a kube-apiserver on the endpoint over a datastore, restarts both, and looks again.
async fn runs_and_survives_a_restart(name: &str, open: impl AsyncFn() -> Opened) {
    let (Some(program), Some(kubectl)) = (upstream("kube-apiserver"), upstream("kubectl")) else {
        println!("skipped: run `cargo xtask upstream`");
        return;
    };
    let dir = tempfile::tempdir().expect("dir");
    for round in 0..2 {
        let (store, close) = open().await;
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
            .await
            .expect("bind");
        let url = format!("http://{}", listener.local_addr().expect("bound"));
        let endpoint = tokio::spawn(freehold_store::server::serve(listener, store.clone()));
        let (program, kubectl, path) = (program.clone(), kubectl.clone(), dir.path().to_owned());
        tokio::task::spawn_blocking(move || {
            let server = ApiServer::start(&program, &kubectl, &path, &url);
            let began = Instant::now();
            if round == 0 {
                exercise(&server);
                println!("created, listed, watched, deleted in {:?}", began.elapsed());
            } else {
                let names = server.kubectl(&["get", "configmaps", "-n", "shop", "-o", "name"]);
                assert_eq!(names.expect("list").matches("configmap/c").count(), 4);
                let created = server.kubectl(&["create", "namespace", "after"]);
                created.expect("writes go on");
            }
        })
        .await
        .expect("the API server's part");
        let head = store.head().await.expect("head");
        println!(
            "{name}: {} keys, revision {}, {} bytes",
            head.keys, head.rev, head.bytes
        );
        endpoint.abort();
        drop(store);
        close();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "starts a kube-apiserver twice: half a minute"]
async fn a_real_kube_apiserver_runs_on_the_endpoint() {
    let dir = tempfile::tempdir().expect("dir");
    runs_and_survives_a_restart("embedded", async || {
        let engine = Embedded::open(dir.path(), Options::default());
        let engine = engine.await.expect("open");
        let store = engine.open("kube").await.expect("keyspace");
        let close: Box<dyn FnOnce() + Send> = Box::new(move || engine.close());
        (store, close)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "starts a kube-apiserver twice: half a minute"]
async fn a_real_kube_apiserver_runs_on_the_endpoint_over_postgres() {
    let Some(postgres) = RealPostgres::start() else {
        return;
    };
    runs_and_survives_a_restart("postgres", async || {
        let keyspaces = Postgres::connect(postgres.options()).await;
        let store = keyspaces.expect("connect").open("kube").await;
        let close: Box<dyn FnOnce() + Send> = Box::new(|| ());
        (store.expect("keyspace"), close)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "starts a kube-apiserver twice: half a minute"]
async fn a_real_kube_apiserver_runs_on_the_endpoint_over_a_real_etcd() {
    let Some(real) = RealEtcd::start() else {
        return;
    };
    runs_and_survives_a_restart("etcd", async || {
        let options = etcd::Options::new(vec![real.url.clone()], "/kube");
        let keyspaces = etcd::Etcd::connect(options).await.expect("connect");
        let store = keyspaces.open("kube").await.expect("keyspace");
        let close: Box<dyn FnOnce() + Send> = Box::new(|| ());
        (store, close)
    })
    .await;
}

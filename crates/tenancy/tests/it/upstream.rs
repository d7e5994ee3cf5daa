//! The operator on a Kubernetes as released: the same stories, the same operator.

use crate::control_planes::{lifecycle, owners};
use crate::dialects::{capsule, kamaji, kubeflex};
use crate::harness::Host;
use crate::signer::certificates;
use freehold_tenancy::pki::TokenKeys;
use kube::{Client, Config};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const TOKEN: &str = "the-token-of-the-test";

/// etcd, kube-apiserver and kube-controller-manager, in a directory of their own.
pub(crate) struct Upstream {
    children: Vec<Child>,
    server: String,
    dir: tempfile::TempDir,
}

impl Drop for Upstream {
    fn drop(&mut self) {
        for child in &mut self.children {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn programs() -> Option<PathBuf> {
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let home = std::env::var_os("HOME").map(PathBuf::from);
    let cache = cache.or_else(|| home.map(|home| home.join(".cache")))?;
    let dir = cache.join("freehold/upstream/v1.36.3");
    dir.join("kube-controller-manager").is_file().then_some(dir)
}

fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

fn spawn(program: &Path, dir: &Path, args: &[String]) -> Child {
    let name = program.file_name().unwrap().to_string_lossy().into_owned();
    let log = std::fs::File::create(dir.join(format!("{name}.log"))).unwrap();
    Command::new(program)
        .args(args)
        .current_dir(dir)
        .stdin(Stdio::null())
        .stdout(log.try_clone().unwrap())
        .stderr(log)
        .spawn()
        .unwrap()
}

impl Upstream {
    /// `None` when the programs are not there.
    pub(crate) async fn start() -> Option<Self> {
        let programs = programs()?;
        let dir = tempfile::tempdir().unwrap();
        let at = dir.path();
        let (etcd, peer, port) = (free_port(), free_port(), free_port());
        let server = format!("https://127.0.0.1:{port}");
        let keys = TokenKeys::generate().unwrap();
        std::fs::write(at.join("sa.key"), keys.private).unwrap();
        std::fs::write(at.join("sa.pub"), keys.public).unwrap();
        std::fs::write(
            at.join("tokens"),
            format!("{TOKEN},admin,1,\"system:masters\"\n"),
        )
        .unwrap();
        std::fs::write(at.join("kubeconfig"), kubeconfig(&server)).unwrap();
        let arg = |list: &[String]| list.to_vec();
        let children = vec![
            spawn(&programs.join("etcd"), at, &arg(&[
                "--data-dir=data".into(),
                format!("--listen-client-urls=http://127.0.0.1:{etcd}"),
                format!("--advertise-client-urls=http://127.0.0.1:{etcd}"),
                format!("--listen-peer-urls=http://127.0.0.1:{peer}"),
                format!("--initial-advertise-peer-urls=http://127.0.0.1:{peer}"),
                format!("--initial-cluster=default=http://127.0.0.1:{peer}"),
            ])),
            spawn(&programs.join("kube-apiserver"), at, &arg(&[
                format!("--etcd-servers=http://127.0.0.1:{etcd}"),
                "--bind-address=127.0.0.1".into(),
                format!("--secure-port={port}"),
                "--cert-dir=certs".into(),
                "--token-auth-file=tokens".into(),
                "--authorization-mode=RBAC".into(),
                "--service-account-key-file=sa.pub".into(),
                "--service-account-signing-key-file=sa.key".into(),
                "--service-account-issuer=https://kubernetes.default.svc".into(),
                "--service-cluster-ip-range=10.96.0.0/16".into(),
            ])),
            spawn(&programs.join("kube-controller-manager"), at, &arg(&[
                "--kubeconfig=kubeconfig".into(),
                "--secure-port=0".into(),
                "--leader-elect=false".into(),
                "--controllers=namespace-controller,garbage-collector-controller,clusterrole-aggregation-controller".into(),
            ])),
        ];
        let upstream = Self {
            children,
            server,
            dir,
        };
        upstream.ready().await;
        Some(upstream)
    }

    async fn ready(&self) {
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            let request = http::Request::get("/readyz").body(Vec::new()).unwrap();
            let client = self.client("admin", &["system:masters"]);
            if client.request_text(request).await.is_ok() {
                return;
            }
            if Instant::now() > deadline {
                let log = self.dir.path().join("kube-apiserver.log");
                let log = std::fs::read_to_string(log).unwrap_or_default();
                let last: Vec<&str> = log.lines().rev().take(5).collect();
                panic!("kube-apiserver did not get ready: {last:#?}");
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// A client as that user: the administrator, impersonating.
    pub(crate) fn client(&self, name: &str, groups: &[&str]) -> Client {
        let mut config = Config::new(self.server.parse().unwrap());
        config.accept_invalid_certs = true;
        config.auth_info.token = Some(TOKEN.to_owned().into());
        if name != "admin" {
            config.auth_info.impersonate = Some(name.to_owned());
            let mut all: Vec<String> = groups.iter().map(|g| (*g).to_owned()).collect();
            all.push("system:authenticated".to_owned());
            config.auth_info.impersonate_groups = Some(all);
        }
        Client::try_from(config).unwrap()
    }
}

fn kubeconfig(server: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: c\n\
         clusters: [{{name: c, cluster: {{server: \"{server}\", insecure-skip-tls-verify: true}}}}]\n\
         users: [{{name: u, user: {{token: \"{TOKEN}\"}}}}]\n\
         contexts: [{{name: c, context: {{cluster: c, user: u}}}}]\n"
    )
}

#[tokio::test]
async fn the_operator_does_the_same_on_a_kubernetes_as_released() {
    let Some(host) = Host::start_upstream().await else {
        eprintln!("skipped: run `cargo xtask upstream`");
        return;
    };
    lifecycle(&host).await;
    kamaji(&host).await;
    kubeflex(&host).await;
    capsule(&host).await;
    owners(&host).await;
}

#[tokio::test]
async fn the_signer_does_the_same_on_a_kubernetes_as_released() {
    let Some(host) = Host::start_upstream().await else {
        eprintln!("skipped: run `cargo xtask upstream`");
        return;
    };
    certificates(&host).await;
}

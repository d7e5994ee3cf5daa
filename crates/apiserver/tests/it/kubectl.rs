//! The real kubectl against a real listener.

use crate::harness::Cluster;
use crate::tls;
use std::path::PathBuf;
use std::process::{Command, Stdio};

fn find() -> Option<PathBuf> {
    let cache = std::env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .or_else(|| std::env::var_os("HOME").map(|h| PathBuf::from(h).join(".cache")))?;
    let path = cache.join("freehold/upstream/v1.36.3/kubectl");
    path.exists().then_some(path)
}

struct Kubectl {
    program: PathBuf,
    dir: tempfile::TempDir,
}

impl Kubectl {
    fn new(program: PathBuf, cluster: &Cluster, port: u16) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (cert, key) = cluster.pki().issue("admin", &["system:masters"], &[]);
        let d = dir.path();
        for (name, content) in [("ca", &cluster.pki().ca_pem), ("crt", &cert), ("key", &key)] {
            std::fs::write(d.join(name), content).unwrap();
        }
        let p = d.display();
        let config = format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: c\nclusters:\n- name: c\n  cluster: {{server: 'https://127.0.0.1:{port}', tls-server-name: a.test, certificate-authority: {p}/ca}}\ncontexts:\n- name: c\n  context: {{cluster: c, user: u}}\nusers:\n- name: u\n  user: {{client-certificate: {p}/crt, client-key: {p}/key}}\n"
        );
        std::fs::write(d.join("config"), config).unwrap();
        Self { program, dir }
    }

    /// Standard output of a call that must succeed.
    #[track_caller]
    fn run(&self, args: &[&str], input: &str) -> String {
        use std::io::Write as _;
        let mut child = Command::new(&self.program)
            .args(["--request-timeout=20s", "--kubeconfig"])
            .arg(self.dir.path().join("config"))
            .arg("--cache-dir")
            .arg(self.dir.path().join("cache"))
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child
            .stdin
            .take()
            .unwrap()
            .write_all(input.as_bytes())
            .unwrap();
        let out = child.wait_with_output().unwrap();
        let (stdout, stderr) = (
            String::from_utf8_lossy(&out.stdout),
            String::from_utf8_lossy(&out.stderr),
        );
        assert!(out.status.success(), "kubectl {args:?}: {stderr}");
        stdout.into_owned()
    }
}

const DEPLOYMENT: &str = "
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: c, image: nginx, ports: [{containerPort: 80}]}]}
";

#[tokio::test(flavor = "multi_thread")]
async fn kubectl_works_as_against_any_cluster() {
    let Some(program) = find() else {
        eprintln!("skipped: run `cargo xtask upstream`");
        return;
    };
    let cluster = Cluster::start().await;
    let served = tls::serve(&[("a.test", &cluster, true)]).await;
    let k = Kubectl::new(program, &cluster, served.address.port());
    tokio::task::spawn_blocking(move || session(&k))
        .await
        .unwrap();
}

fn session(k: &Kubectl) {
    let run = |args: &[&str]| k.run(args, "");
    assert!(run(&["get", "ns"]).contains("kube-system"));
    // Items of a list say not what they are: kubectl takes it from the list.
    let kinds = run(&["get", "ns", "-o", "jsonpath={.items[*].kind}"]);
    assert!(kinds.starts_with("Namespace Namespace"), "{kinds}");
    assert!(run(&["version"]).contains("Server Version: v1.36"));
    assert_eq!(run(&["create", "ns", "a"]).trim(), "namespace/a created");
    assert_eq!(
        run(&["create", "configmap", "c", "--from-literal=x=y"]).trim(),
        "configmap/c created"
    );
    assert_eq!(
        k.run(&["apply", "-f", "-"], DEPLOYMENT).trim(),
        "deployment.apps/web created"
    );
    assert_eq!(
        k.run(&["apply", "-f", "-"], DEPLOYMENT).trim(),
        "deployment.apps/web unchanged"
    );
    let more = DEPLOYMENT.replace("replicas: 2", "replicas: 3");
    assert_eq!(
        k.run(&["apply", "-f", "-"], &more).trim(),
        "deployment.apps/web configured"
    );
    assert!(run(&["get", "deploy", "web"]).contains("0/3"));
    assert_eq!(
        run(&["scale", "deploy", "web", "--replicas=5"]).trim(),
        "deployment.apps/web scaled"
    );
    assert_eq!(
        run(&["get", "deploy", "web", "-o", "jsonpath={.spec.replicas}"]),
        "5"
    );
    run(&["rollout", "restart", "deploy", "web"]);
    run(&["label", "deploy", "web", "tier=front"]);
    run(&["annotate", "deploy", "web", "note=x"]);
    run(&["expose", "deploy", "web", "--port=80"]);
    assert!(run(&["describe", "deploy", "web"]).contains("5 desired"));
    assert!(run(&["explain", "deploy.spec.replicas"]).contains("FIELD: replicas <integer>"));
    assert!(run(&["api-resources"]).contains("deployments"));
    accounts(k);
    finish(k);
}

fn accounts(k: &Kubectl) {
    let run = |args: &[&str]| k.run(args, "");
    run(&["create", "sa", "bot"]);
    assert_eq!(run(&["create", "token", "bot"]).matches('.').count(), 2);
    assert_eq!(run(&["auth", "can-i", "create", "pods"]).trim(), "yes");
    assert!(run(&["auth", "whoami"]).contains("admin"));
    run(&["create", "role", "r", "--verb=get", "--resource=pods"]);
    run(&[
        "create",
        "rolebinding",
        "rb",
        "--role=r",
        "--serviceaccount=default:bot",
    ]);
    assert_eq!(
        run(&[
            "auth",
            "can-i",
            "get",
            "pods",
            "--as=system:serviceaccount:default:bot"
        ])
        .trim(),
        "yes"
    );
}

fn finish(k: &Kubectl) {
    let run = |args: &[&str]| k.run(args, "");
    run(&[
        "patch",
        "deploy",
        "web",
        "--type=json",
        "-p",
        r#"[{"op":"remove","path":"/metadata/labels/tier"}]"#,
    ]);
    run(&["create", "deploy", "dry", "--image=x", "--dry-run=server"]);
    let applied = k.run(
        &["apply", "--server-side", "--force-conflicts", "-f", "-"],
        DEPLOYMENT,
    );
    assert_eq!(applied.trim(), "deployment.apps/web serverside-applied");
    run(&["delete", "deploy", "web"]);
    run(&["delete", "configmap", "c"]);
    assert!(run(&["get", "all"]).contains("service/kubernetes"));
}

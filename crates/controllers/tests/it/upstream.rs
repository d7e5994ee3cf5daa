//! The original: etcd and kube-apiserver as released, on ports of their own.

use crate::world::{RUNTIME, World, config, directory};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

const TOKEN: &str = "test-token-of-nothing-else";

/// Tried once: a server that does not start fails every test, but waits for it only once.
static WORLD: OnceLock<Option<Result<World, String>>> = OnceLock::new();

fn binaries() -> Option<PathBuf> {
    let cache = std::env::var_os("XDG_CACHE_HOME")
        .filter(|v| !v.is_empty())
        .map(PathBuf::from);
    let cache = cache.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache")))?;
    let dir = cache.join("freehold/upstream/v1.36.3");
    (dir.join("kube-apiserver").exists() && dir.join("etcd").exists()).then_some(dir)
}

pub(crate) fn world() -> Option<&'static World> {
    let world = WORLD.get_or_init(|| Some(start(&binaries()?)));
    world
        .as_ref()
        .map(|started| started.as_ref().expect("kube-apiserver starts"))
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0")
        .and_then(|l| l.local_addr())
        .expect("a free port")
        .port()
}

/// Starts a process that is killed when the thread that calls this ends.
fn spawn(program: &Path, arguments: &[String], log: &Path) -> Child {
    let log = std::fs::File::create(log).expect("a log file");
    let mut command = Command::new("setpriv");
    command
        .args(["--pdeathsig", "KILL"])
        .arg(program)
        .args(arguments);
    command
        .stdin(Stdio::null())
        .stdout(log.try_clone().expect("a log file"))
        .stderr(log);
    command
        .spawn()
        .expect("setpriv of util-linux starts the process")
}

fn start(binaries: &Path) -> Result<World, String> {
    let root = directory("controllers-upstream");
    let path = |name: &str| root.join(name);
    let log = path("api.log");
    let (client_port, peer_port, api_port) = (free_port(), free_port(), free_port());
    let key = rcgen::KeyPair::generate().expect("a key");
    std::fs::write(path("sa.key"), key.serialize_pem()).expect("written");
    std::fs::write(path("sa.pub"), key.public_key_pem()).expect("written");
    std::fs::write(
        path("tokens"),
        format!("{TOKEN},admin,admin,system:masters\n"),
    )
    .expect("written");
    let etcd = [
        format!("--data-dir={}", path("etcd").display()),
        format!("--listen-client-urls=http://127.0.0.1:{client_port}"),
        format!("--advertise-client-urls=http://127.0.0.1:{client_port}"),
        format!("--listen-peer-urls=http://127.0.0.1:{peer_port}"),
        "--unsafe-no-fsync".into(),
    ];
    let api = [
        format!("--etcd-servers=http://127.0.0.1:{client_port}"),
        format!("--secure-port={api_port}"),
        "--bind-address=127.0.0.1".into(),
        format!("--cert-dir={}", path("certs").display()),
        "--service-account-issuer=https://test".into(),
        format!("--service-account-key-file={}", path("sa.pub").display()),
        format!(
            "--service-account-signing-key-file={}",
            path("sa.key").display()
        ),
        format!("--token-auth-file={}", path("tokens").display()),
        "--authorization-mode=RBAC".into(),
        "--service-cluster-ip-range=10.0.0.0/24".into(),
    ];
    let [etcd_binary, api_binary] = ["etcd", "kube-apiserver"].map(|name| binaries.join(name));
    let [etcd_log, api_log] = ["etcd.log", "api.log"].map(path);
    // This thread lives, and with it the processes, until the test binary ends.
    std::thread::spawn(move || {
        let _children = [
            spawn(&etcd_binary, &etcd, &etcd_log),
            spawn(&api_binary, &api, &api_log),
        ];
        loop {
            std::thread::park();
        }
    });
    let client = RUNTIME.block_on(connect(api_port, &log))?;
    RUNTIME.spawn(freehold_controllers::run(
        client.clone(),
        config(),
        tokio_util::sync::CancellationToken::new(),
    ));
    Ok(World { client })
}

async fn connect(port: u16, log: &Path) -> Result<kube::Client, String> {
    let mut config = kube::Config::new(format!("https://127.0.0.1:{port}").parse().expect("a URL"));
    config.accept_invalid_certs = true;
    config.auth_info.token = Some(TOKEN.to_owned().into());
    let client = kube::Client::try_from(config).expect("a client");
    let start = Instant::now();
    loop {
        let ready = http::Request::get("/readyz")
            .body(Vec::new())
            .expect("a request");
        if client.request_text(ready).await.is_ok() {
            return Ok(client);
        }
        let said = std::fs::read_to_string(log).unwrap_or_default();
        if start.elapsed() > Duration::from_secs(60) || said.contains("command failed") {
            return Err(said);
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

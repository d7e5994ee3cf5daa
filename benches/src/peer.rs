//! Starting the servers under comparison, each in a directory of its own, on loopback.

use crate::client::{Client, Target};
use anyhow::{Context as _, Result, bail};
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A running server that ends with this value.
pub struct Running {
    children: Vec<Child>,
    pub target: Target,
    pub ready_after: Duration,
}

impl Drop for Running {
    fn drop(&mut self) {
        for child in self.children.iter_mut().rev() {
            // A server that is already gone is what we want.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Running {
    /// Resident memory of all its processes, in MiB.
    #[must_use]
    pub fn resident_mib(&self) -> f64 {
        self.children
            .iter()
            .map(|c| resident_kib(c.id()))
            .sum::<f64>()
            / 1024.0
    }
}

fn resident_kib(pid: u32) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    status
        .lines()
        .find_map(|l| l.strip_prefix("VmRSS:"))
        .and_then(|l| l.split_whitespace().next()?.parse().ok())
        .unwrap_or(0.0)
}

/// A port that was free a moment ago.
///
/// # Errors
/// No port can be had on loopback.
pub fn free_port() -> Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

fn spawn(program: &Path, args: &[String], log: &Path) -> Result<Child> {
    let out = std::fs::File::create(log)?;
    Command::new(program)
        .args(args)
        .stdin(Stdio::null())
        .stdout(out.try_clone()?)
        .stderr(out)
        .spawn()
        .with_context(|| format!("cannot start {}", program.display()))
}

/// Starts etcd and kube-apiserver with certificates of their own.
///
/// # Errors
/// A program is missing or does not become ready within a minute.
pub async fn kube_apiserver(dir: &Path) -> Result<Running> {
    let (etcd, kube_apiserver) = (crate::upstream("etcd")?, crate::upstream("kube-apiserver")?);
    let (etcd_port, peer_port, port) = (free_port()?, free_port()?, free_port()?);
    let etcd_url = format!("http://127.0.0.1:{etcd_port}");
    let etcd_args = [
        format!("--data-dir={}", dir.join("etcd").display()),
        format!("--listen-client-urls={etcd_url}"),
        format!("--advertise-client-urls={etcd_url}"),
        format!("--listen-peer-urls=http://127.0.0.1:{peer_port}"),
        "--log-level=error".into(),
    ];
    let etcd = spawn(&etcd, &etcd_args, &dir.join("etcd.log"))?;
    let target = write_pki(dir, port)?;
    let file = |name: &str| dir.join(name).display().to_string();
    let args = [
        format!("--etcd-servers={etcd_url}"),
        "--bind-address=127.0.0.1".into(),
        "--advertise-address=127.0.0.1".into(),
        format!("--secure-port={port}"),
        format!("--tls-cert-file={}", file("serving.crt")),
        format!("--tls-private-key-file={}", file("serving.key")),
        format!("--client-ca-file={}", file("ca.crt")),
        "--authorization-mode=Node,RBAC".into(),
        "--service-account-issuer=https://kubernetes.default.svc".into(),
        format!("--service-account-key-file={}", file("sa.pub")),
        format!("--service-account-signing-key-file={}", file("sa.key")),
        "--service-cluster-ip-range=10.96.0.0/16".into(),
        "--endpoint-reconciler-type=none".into(),
    ];
    let started = Instant::now();
    let server = spawn(&kube_apiserver, &args, &dir.join("kube-apiserver.log"))?;
    let mut running = Running {
        children: vec![etcd, server],
        target,
        ready_after: Duration::ZERO,
    };
    wait_ready(&running.target, Duration::from_secs(60)).await?;
    running.ready_after = started.elapsed();
    Ok(running)
}

fn write_pki(dir: &Path, port: u16) -> Result<Target> {
    use freehold_tenancy::pki::{Authority, TokenKeys};
    let day = Duration::from_secs(86_400);
    let ca = Authority::generate("bench")?;
    let serving = ca.serving(
        "kube-apiserver",
        &["localhost".into(), "127.0.0.1".into()],
        day,
    )?;
    let client = ca.client("bench", &["system:masters"], day)?;
    std::fs::write(dir.join("ca.crt"), ca.cert())?;
    std::fs::write(dir.join("serving.crt"), &serving.cert)?;
    std::fs::write(dir.join("serving.key"), &serving.key)?;
    let tokens = TokenKeys::generate()?;
    std::fs::write(dir.join("sa.key"), tokens.private)?;
    // kube-apiserver reads no public key out of a PKCS#8 private one.
    std::fs::write(dir.join("sa.pub"), tokens.public)?;
    Ok(Target {
        address: SocketAddr::from(([127, 0, 0, 1], port)),
        server_name: "localhost".into(),
        ca_pem: ca.cert().to_owned(),
        cert_pem: client.cert,
        key_pem: client.key,
    })
}

/// Starts `freehold up` (the binary beside this one).
///
/// # Errors
/// The binary is missing or does not become ready.
pub async fn freehold(dir: &Path) -> Result<Running> {
    let program = std::env::current_exe()?.with_file_name("freehold");
    if !program.is_file() {
        bail!(
            "{} is not built. Run: cargo build --release",
            program.display()
        );
    }
    let port = free_port()?;
    let data = dir.join("data");
    let args = [
        "up".into(),
        format!("--data-dir={}", data.display()),
        format!("--listen=127.0.0.1:{port}"),
    ];
    let started = Instant::now();
    let child = spawn(&program, &args, &dir.join("freehold.log"))?;
    let mut running = Running {
        children: vec![child],
        target: Target::empty(port),
        ready_after: Duration::ZERO,
    };
    let kubeconfig = data.join("admin.kubeconfig");
    let deadline = Instant::now() + Duration::from_secs(30);
    running.target = loop {
        match answering(&kubeconfig).await {
            Ok(target) => break target,
            Err(error) if Instant::now() > deadline => {
                let log = dir.join("freehold.log");
                return Err(error.context(format!(
                    "freehold did not become ready; see {}",
                    log.display()
                )));
            }
            Err(_) => tokio::time::sleep(Duration::from_millis(2)).await,
        }
    };
    wait_ready(&running.target, Duration::from_secs(10)).await?;
    running.ready_after = started.elapsed();
    Ok(running)
}

/// The server of a kubeconfig, once it takes connections.
async fn answering(kubeconfig: &Path) -> Result<Target> {
    let target = Target::from_kubeconfig(kubeconfig)?;
    Client::connect(&target).await?;
    Ok(target)
}

async fn wait_ready(target: &Target, limit: Duration) -> Result<()> {
    let deadline = Instant::now() + limit;
    loop {
        if let Ok(mut client) = Client::connect(target).await
            && client
                .call(
                    http::Method::GET,
                    "/readyz",
                    "application/json",
                    bytes::Bytes::new(),
                )
                .await
                .is_ok()
        {
            return Ok(());
        }
        if Instant::now() > deadline {
            bail!(
                "the server at {} was not ready within {} s",
                target.address,
                limit.as_secs()
            );
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

impl Target {
    fn empty(port: u16) -> Self {
        Self {
            address: SocketAddr::from(([127, 0, 0, 1], port)),
            server_name: String::new(),
            ca_pem: String::new(),
            cert_pem: String::new(),
            key_pem: String::new(),
        }
    }

    /// Reads the only cluster and user of a kubeconfig with inline certificates.
    ///
    /// # Errors
    /// The file is missing or has another shape.
    pub fn from_kubeconfig(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path)?;
        let field = |name: &str| -> Result<String> {
            let key = format!("{name}:");
            let mut lines = text.lines().map(|l| l.trim_start_matches([' ', '-']));
            let value = lines
                .find_map(|l| l.strip_prefix(&key))
                .with_context(|| format!("no {name} in the kubeconfig"))?
                .trim();
            // Long values are written as a block below their key.
            let value = if value.starts_with(['|', '>']) {
                lines.next().unwrap_or_default()
            } else {
                value
            };
            Ok(value.trim().trim_matches(['"', '\'']).to_owned())
        };
        let pem = |name: &str| -> Result<String> { decode(&field(name)?) };
        let server = field("server")?;
        let address: SocketAddr = server.trim_start_matches("https://").parse()?;
        let server_name = field("tls-server-name").unwrap_or_else(|_| address.ip().to_string());
        Ok(Self {
            address,
            server_name,
            ca_pem: pem("certificate-authority-data")?,
            cert_pem: pem("client-certificate-data")?,
            key_pem: pem("client-key-data")?,
        })
    }
}

fn decode(text: &str) -> Result<String> {
    use base64::Engine as _;
    Ok(String::from_utf8(
        base64::engine::general_purpose::STANDARD.decode(text)?,
    )?)
}

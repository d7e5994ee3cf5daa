//! The sides of the comparison.

use crate::say;
use anyhow::{Context as _, Result, bail};
use freehold_store::embedded::{Embedded, Options};
use freehold_store::{Keyspaces, Store, etcd, server};
use std::io::{BufRead as _, BufReader};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// One side: keyspaces to work on, and what has to live as long.
pub(crate) struct Peer {
    pub(crate) name: &'static str,
    pub(crate) one: Arc<dyn Store>,
    pub(crate) big: Arc<dyn Store>,
    pub(crate) tenants: Vec<Arc<dyn Store>>,
    _engine: Option<Arc<Embedded>>,
    _servers: Vec<Server>,
}

/// A process that ends with this value.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn names() -> impl Iterator<Item = String> {
    (0..10).map(|n| format!("tenant-{n}"))
}

/// All of a peer's, in order.
fn keyspaces() -> impl Iterator<Item = String> {
    names().chain(["one".into(), "big".into()])
}

/// Serves each keyspace to whoever connects to a port of its own, until it is killed, and says
/// where.
pub(crate) async fn endpoints(dir: &Path) -> Result<()> {
    let engine = Embedded::open(dir, Options::default()).await?;
    let mut serving = tokio::task::JoinSet::new();
    for name in keyspaces() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        say(&format!("http://{}", listener.local_addr()?))?;
        serving.spawn(server::serve(listener, engine.open(&name).await?));
    }
    serving
        .join_next()
        .await
        .context("something is served")???;
    Ok(())
}

impl Peer {
    /// The engine, called in this process.
    pub(crate) async fn embedded(dir: &Path) -> Result<Self> {
        let engine = Embedded::open(dir, Options::default()).await?;
        let mut tenants = Vec::new();
        for name in names() {
            tenants.push(engine.open(&name).await?);
        }
        Ok(Self {
            name: "embedded",
            one: engine.open("one").await?,
            big: engine.open("big").await?,
            tenants,
            _engine: Some(engine),
            _servers: Vec::new(),
        })
    }

    /// The engine behind its etcd endpoint in a process of its own, as etcd is, spoken to with the
    /// etcd driver.
    pub(crate) async fn endpoint(dir: &Path) -> Result<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .arg("endpoints")
            .arg(dir)
            .stdout(Stdio::piped())
            .spawn()?;
        let out = child.stdout.take().context("piped")?;
        let server = Server(child);
        let mut stores = Vec::new();
        for url in BufReader::new(out).lines().take(keyspaces().count()) {
            stores.push(client(url?).await?.open("bench").await?);
        }
        let (Some(big), Some(one)) = (stores.pop(), stores.pop()) else {
            bail!("two stores were opened last");
        };
        Ok(Self {
            name: "endpoint",
            one,
            big,
            tenants: stores,
            _engine: None,
            _servers: vec![server],
        })
    }

    /// Real etcd servers; tenants are spread over them.
    pub(crate) async fn etcd(dir: &Path, count: usize) -> Result<Self> {
        let mut servers = Vec::new();
        let mut drivers = Vec::new();
        for n in 0..count {
            let (server, url) = start(&dir.join(n.to_string()))?;
            servers.push(server);
            drivers.push(client(url).await?);
        }
        let mut tenants = Vec::new();
        for (n, name) in names().enumerate() {
            tenants.push(drivers[n % count].open(&name).await?);
        }
        Ok(Self {
            name: "etcd",
            one: drivers[0].open("one").await?,
            big: drivers[0].open("big").await?,
            tenants,
            _engine: None,
            _servers: servers,
        })
    }
}

async fn client(url: String) -> Result<Arc<etcd::Etcd>> {
    let limit = Instant::now() + Duration::from_secs(20);
    loop {
        let options = etcd::Options::new(vec![url.clone()], "/bench");
        match etcd::Etcd::connect(options).await {
            Ok(driver) => return Ok(driver),
            Err(error) if Instant::now() > limit => return Err(error.into()),
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}

fn free_url() -> Result<String> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    Ok(format!("http://{}", listener.local_addr()?))
}

fn start(dir: &Path) -> Result<(Server, String)> {
    let (url, peer) = (free_url()?, free_url()?);
    let child = Command::new(freehold_benches::upstream("etcd")?)
        .args(["--name", "bench", "--log-level", "error", "--data-dir"])
        .arg(dir)
        .args(["--listen-client-urls", &url])
        .args(["--advertise-client-urls", &url])
        .args(["--listen-peer-urls", &peer])
        .args(["--initial-advertise-peer-urls", &peer])
        .args(["--initial-cluster", &format!("bench={peer}")])
        .args(["--quota-backend-bytes", "8589934592"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .context("etcd could not be started")?;
    Ok((Server(child), url))
}

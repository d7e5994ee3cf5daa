//! The sides of the comparison.

use crate::load::{self, Measured, Work};
use crate::say;
use crate::wire::{self, Place};
use anyhow::{Context as _, Result, bail};
use freehold_store::embedded::{Embedded, Options};
use freehold_store::{Keyspaces, Store, etcd, server};
use rustix::time::{ClockId, clock_gettime};
use std::io::{BufRead as _, BufReader};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long is looked whether a side rests, and how long it is waited for.
const LOOK: Duration = Duration::from_millis(100);
const REST: Duration = Duration::from_secs(2);

/// One side: keyspaces to work on, and what has to live as long.
pub(crate) struct Peer {
    pub(crate) name: &'static str,
    pub(crate) one: Arc<dyn Store>,
    pub(crate) big: Arc<dyn Store>,
    writers: Writers,
    _engine: Option<Arc<Embedded>>,
    servers: Vec<Server>,
}

/// How a side's keyspaces are written to.
enum Writers {
    /// called in this process
    Called {
        one: Arc<dyn Store>,
        tenants: Vec<Arc<dyn Store>>,
    },
    /// asked over the network
    Asked { one: Place, tenants: Vec<Place> },
}

/// Which of a side's keyspaces are written to.
#[derive(Clone, Copy)]
pub(crate) enum To {
    One,
    Tenants,
}

/// A process that ends with this value.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Server {
    /// Processor time of the process so far.
    fn took(&self) -> Result<Duration> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.0.id()))?;
        let (_, fields) = stat.rsplit_once(") ").context("a name")?;
        let ticks = fields.split(' ').skip(11).take(2);
        let ticks: Result<Vec<u64>, _> = ticks.map(str::parse).collect();
        // Hundredths of a second, whatever the kernel's own clock.
        Ok(Duration::from_millis(ticks?.iter().sum::<u64>() * 10))
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
    /// Clients that write as fast as they are answered.
    pub(crate) async fn write(
        &self,
        to: To,
        clients: usize,
        work: Work,
        time: Duration,
    ) -> Result<Measured> {
        let measured = match (&self.writers, to) {
            (Writers::Called { one, .. }, To::One) => {
                load::write(std::slice::from_ref(one), clients, work, time).await?
            }
            (Writers::Called { tenants, .. }, To::Tenants) => {
                load::write(tenants, clients, work, time).await?
            }
            (Writers::Asked { one, tenants }, to) => {
                let places = match to {
                    To::One => vec![one.clone()],
                    To::Tenants => tenants.clone(),
                };
                let before = self.took()?;
                let wrote = move || wire::write(&places, clients, work, time);
                let (measured, client) = tokio::task::spawn_blocking(wrote).await??;
                measured.at_cost([client, self.took()?.saturating_sub(before)])
            }
        };
        self.rest().await?;
        Ok(measured)
    }

    /// Processor time of who is written to, so far.
    fn took(&self) -> Result<Duration> {
        match self.writers {
            Writers::Called { .. } => {
                Ok(Duration::try_from(clock_gettime(ClockId::ProcessCPUTime))?)
            }
            Writers::Asked { .. } => self.servers.iter().map(Server::took).sum(),
        }
    }

    /// Waits until it has done what a load left behind: that shall not fall on the next side.
    async fn rest(&self) -> Result<()> {
        // Of each process, one that only keeps time among them.
        let idle = LOOK / 4 * u32::try_from(self.servers.len().max(1))?;
        let end = Instant::now() + REST;
        while Instant::now() < end {
            let before = self.took()?;
            tokio::time::sleep(LOOK).await;
            if self.took()?.saturating_sub(before) < idle {
                break;
            }
        }
        Ok(())
    }

    /// The engine, called in this process.
    pub(crate) async fn embedded(dir: &Path) -> Result<Self> {
        let engine = Embedded::open(dir, Options::default()).await?;
        let mut tenants = Vec::new();
        for name in names() {
            tenants.push(engine.open(&name).await?);
        }
        let one = engine.open("one").await?;
        Ok(Self {
            name: "embedded",
            one: one.clone(),
            big: engine.open("big").await?,
            writers: Writers::Called { one, tenants },
            _engine: Some(engine),
            servers: Vec::new(),
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
        let mut urls: Vec<String> = BufReader::new(out)
            .lines()
            .take(keyspaces().count())
            .collect::<Result<_, _>>()?;
        let (Some(big), Some(one)) = (urls.pop(), urls.pop()) else {
            bail!("two keyspaces were said last");
        };
        let tenants: Result<_> = urls.iter().map(|url| place(url, "bench")).collect();
        Ok(Self {
            name: "endpoint",
            writers: Writers::Asked {
                one: place(&one, "bench")?,
                tenants: tenants?,
            },
            one: client(&one).await?.open("bench").await?,
            big: client(&big).await?.open("bench").await?,
            _engine: None,
            servers: vec![server],
        })
    }

    /// Real etcd servers; tenants are spread over them.
    pub(crate) async fn etcd(dir: &Path, count: usize) -> Result<Self> {
        let (mut servers, mut urls) = (Vec::new(), Vec::new());
        for n in 0..count {
            let (server, url) = start(&dir.join(n.to_string()))?;
            servers.push(server);
            urls.push(url);
        }
        for url in &urls {
            client(url).await?;
        }
        let named = names().zip(urls.iter().cycle());
        let tenants: Result<_> = named.map(|(name, url)| place(url, &name)).collect();
        let driver = client(&urls[0]).await?;
        Ok(Self {
            name: "etcd",
            writers: Writers::Asked {
                one: place(&urls[0], "one")?,
                tenants: tenants?,
            },
            one: driver.open("one").await?,
            big: driver.open("big").await?,
            _engine: None,
            servers,
        })
    }
}

/// A keyspace as the driver lays it out.
fn place(url: &str, name: &str) -> Result<Place> {
    Ok(Place {
        address: url.trim_start_matches("http://").parse()?,
        prefix: format!("/bench/d/{name}/"),
    })
}

/// The driver of a server, as soon as that answers.
async fn client(url: &str) -> Result<Arc<etcd::Etcd>> {
    let limit = Instant::now() + Duration::from_secs(20);
    loop {
        let options = etcd::Options::new(vec![url.to_owned()], "/bench");
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

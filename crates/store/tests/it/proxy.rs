//! A TCP proxy that misbehaves: cuts connections, goes silent, delays.

use crate::real_etcd::RealEtcd;
use crate::real_postgres::RealPostgres;
use freehold_store::etcd::{self, Etcd};
use freehold_store::postgres::Postgres;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

pub(crate) struct Proxy {
    pub(crate) port: u16,
    faults: Arc<Faults>,
    accept: tokio::task::JoinHandle<()>,
}

struct Faults {
    /// connections of an older generation are cut
    generation: watch::Sender<u64>,
    delay_ms: AtomicU64,
    /// answers are held back
    silent: AtomicBool,
    /// connections that were cut
    cut: AtomicU64,
}

/// How long drivers wait unless told otherwise.
pub(crate) const USUAL: Duration = Duration::from_secs(10);

impl Proxy {
    /// In front of an etcd, and the driver that goes through it.
    pub(crate) async fn etcd(real: &RealEtcd, timeout: Duration) -> (Self, Arc<Etcd>) {
        let proxy = Self::to(real.port()).await;
        let url = format!("http://127.0.0.1:{}", proxy.port);
        let mut options = etcd::Options::new(vec![url], "/freehold");
        options.timeout = timeout;
        let driver = Etcd::connect(options).await.expect("connect");
        (proxy, driver)
    }

    /// In front of a PostgreSQL, and the driver that goes through it.
    pub(crate) async fn postgres(real: &RealPostgres, timeout: Duration) -> (Self, Arc<Postgres>) {
        let proxy = Self::to(real.port).await;
        let mut options = real.options_at(proxy.port);
        options.timeout = timeout;
        let driver = Postgres::connect(options).await.expect("connect");
        (proxy, driver)
    }

    async fn to(target: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
        let port = listener.local_addr().expect("bound").port();
        let faults = Arc::new(Faults {
            generation: watch::Sender::new(0),
            delay_ms: AtomicU64::new(0),
            silent: AtomicBool::new(false),
            cut: AtomicU64::new(0),
        });
        let inner = faults.clone();
        let accept = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let faults = inner.clone();
                tokio::spawn(async move {
                    let Ok(server) = TcpStream::connect(("127.0.0.1", target)).await else {
                        return;
                    };
                    let mut cut = faults.generation.subscribe();
                    let (from_client, to_client) = client.into_split();
                    let (from_server, to_server) = server.into_split();
                    tokio::select! {
                        () = copy(from_client, to_server, None) => {}
                        () = copy(from_server, to_client, Some(&faults)) => {}
                        _ = cut.changed() => drop(faults.cut.fetch_add(1, Ordering::Relaxed)),
                    }
                });
            }
        });
        Self {
            port,
            faults,
            accept,
        }
    }

    /// Cuts every connection that is open now.
    pub(crate) fn cut(&self) {
        self.faults.generation.send_modify(|n| *n += 1);
    }

    /// How many connections were cut while they were used.
    pub(crate) fn cuts(&self) -> u64 {
        self.faults.cut.load(Ordering::Relaxed)
    }

    /// Delays everything that the server says.
    pub(crate) fn delay(&self, time: Duration) {
        let ms = u64::try_from(time.as_millis()).expect("short");
        self.faults.delay_ms.store(ms, Ordering::Relaxed);
    }

    /// Requests arrive, answers do not, connections stay open.
    pub(crate) fn silence(&self, on: bool) {
        self.faults.silent.store(on, Ordering::Relaxed);
    }
}

impl Proxy {
    /// Nobody gets through any more.
    pub(crate) fn close(&self) {
        self.accept.abort();
        self.cut();
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.close();
    }
}

async fn copy(
    mut from: tokio::net::tcp::OwnedReadHalf,
    mut to: tokio::net::tcp::OwnedWriteHalf,
    faults: Option<&Faults>,
) {
    let mut buffer = vec![0; 64 << 10];
    loop {
        let Ok(n @ 1..) = from.read(&mut buffer).await else {
            return;
        };
        if let Some(faults) = faults {
            let ms = faults.delay_ms.load(Ordering::Relaxed);
            if ms > 0 {
                tokio::time::sleep(Duration::from_millis(ms)).await;
            }
            while faults.silent.load(Ordering::Relaxed) {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
        if to.write_all(&buffer[..n]).await.is_err() {
            return;
        }
    }
}

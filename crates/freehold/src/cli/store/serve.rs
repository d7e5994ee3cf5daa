//! `freehold store serve`

use super::open::{Tuning, read};
use super::place::Place;
use super::{control, metrics};
use crate::cli::{Global, Printer, Trouble, names, up};
use anyhow::{Context as _, Result};
use freehold_store::server::{Doors, Endpoint, Subject, Tenants, tls_config};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

pub(super) const EXAMPLES: &str = "\
Examples:
  One keyspace without TLS, reachable from this machine only:
    freehold store serve --data-dir /var/lib/k8s
    kube-apiserver --etcd-servers=http://127.0.0.1:2379 …

  A keyspace for each tenant; the client certificate says which:
    freehold store serve --data-dir /var/lib/tenants --listen 10.0.0.5:2379 \\
      --cert server.crt --key server.key --client-ca clients.crt \\
      --tenant cn:acme=acme --tenant uri:spiffe://example/globex=globex
    kube-apiserver --etcd-servers=https://10.0.0.5:2379 --etcd-cafile=server-ca.crt \\
      --etcd-certfile=acme.crt --etcd-keyfile=acme.key …

  Over an etcd that is already there, under a prefix:
    freehold store serve --datastore etcd+http://127.0.0.1:12379/tenants";

#[derive(Clone, Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("rules").args(["tenant", "tenants"]).multiple(true))]
pub(crate) struct Args {
    /// Directory of the embedded engine; created when it is new
    #[arg(
        long,
        value_name = "DIR",
        required_unless_present = "datastore",
        conflicts_with = "datastore"
    )]
    data_dir: Option<PathBuf>,
    /// Keep the keyspaces elsewhere: etcd+http[s]://HOST:PORT/PREFIX[?ca=…&cert=…&key=…] or
    /// postgres://USER@HOST:PORT/DATABASE[?password-file=…&ca=…]
    #[arg(long, value_name = "URL")]
    datastore: Option<Place>,
    /// Where to listen; port 0 finds a free one
    #[arg(long, value_name = "ADDR:PORT", default_value = "127.0.0.1:2379")]
    listen: SocketAddr,
    /// Serving certificate (PEM, with intermediates); without it: no TLS, loopback only
    #[arg(long, value_name = "FILE", requires_all = ["key", "client_ca", "rules"], help_heading = "TLS")]
    cert: Option<PathBuf>,
    /// Its private key (PEM)
    #[arg(long, value_name = "FILE", requires = "cert", help_heading = "TLS")]
    key: Option<PathBuf>,
    /// CA of the client certificates (PEM)
    #[arg(long, value_name = "FILE", requires = "cert", help_heading = "TLS")]
    client_ca: Option<PathBuf>,
    /// Which certificates stand for which keyspace; several times. SUBJECT is cn:NAME, o:NAME
    /// (organization), uri:URI or dns:NAME (alternative names); all others are refused
    #[arg(long, value_name = "SUBJECT=KEYSPACE", value_parser = tenant, requires = "cert", help_heading = "TLS")]
    tenant: Vec<(Subject, String)>,
    /// The same in a file, one SUBJECT=KEYSPACE a line, # begins a comment
    #[arg(long, value_name = "FILE", requires = "cert", help_heading = "TLS")]
    tenants: Option<PathBuf>,
    /// The keyspace that is served without TLS
    #[arg(
        long,
        value_name = "NAME",
        default_value = "default",
        conflicts_with = "cert"
    )]
    keyspace: String,
    /// Where numbers for Prometheus are, at /metrics without TLS: for who runs it, not for tenants
    #[arg(long, value_name = "ADDR:PORT")]
    metrics_address: Option<SocketAddr>,
    /// Stored bytes that a keyspace may have, history included (default: 8 GiB); over an etcd:
    /// without history (default: what the etcd may have)
    #[arg(long, value_name = "BYTES", help_heading = "Limits")]
    quota_bytes: Option<u64>,
    /// Keys that a keyspace may have (default: 10 million; over an etcd: no limit)
    #[arg(long, value_name = "N", help_heading = "Limits")]
    quota_keys: Option<u64>,
    /// Forget history by itself when it is older (embedded engine only; default: when a client
    /// compacts, as kube-apiserver does)
    #[arg(long, value_name = "DURATION", help_heading = "Limits")]
    keep_history: Option<String>,
}

fn tenant(text: &str) -> Result<(Subject, String), String> {
    let (subject, keyspace) = text
        .rsplit_once('=')
        .ok_or("write SUBJECT=KEYSPACE, e.g. cn:acme=acme")?;
    let (subject, keyspace) = (subject.trim(), keyspace.trim());
    if keyspace.is_empty() || keyspace.len() > 255 || keyspace.contains('/') {
        return Err("a keyspace's name has 1 to 255 bytes and no slash".into());
    }
    Ok((subject.parse()?, keyspace.to_owned()))
}

pub(crate) async fn run(args: &Args, global: &Global, out: &Printer) -> Result<()> {
    up::start_logging(global);
    check(args)?;
    let place = match (&args.datastore, &args.data_dir) {
        (Some(place), _) => place.clone(),
        (None, Some(dir)) => Place::Embedded(dir.clone()),
        (None, None) => return Err(Trouble::usage("--data-dir or --datastore is needed").into()),
    };
    let tuning = tuning(args, &place)?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let tls = Tls::read(args)?;
    let open = place.open(&tuning).await?;
    let listener = bind(args.listen, "--listen").await?;
    let address = listener.local_addr().context("the listener's address")?;
    let shutdown = CancellationToken::new();
    let mut reloading = None;
    let (endpoint, scheme) = match tls {
        Some(tls) => {
            let tenants = Arc::new(Tenants::new(open.keyspaces.clone(), tls.rules()?));
            let endpoint = Endpoint::by_certificate(tls.config()?, tenants.clone());
            let work = reload(
                args.clone(),
                tls,
                tenants,
                endpoint.doors(),
                shutdown.clone(),
            );
            reloading = Some(tokio::spawn(work));
            (endpoint, "https")
        }
        None => {
            let store = open.keyspaces.open(&args.keyspace).await;
            let store = store.map_err(|error| {
                Trouble::new(format!("cannot open the keyspace {}", args.keyspace)).because(error)
            })?;
            (Endpoint::one_keyspace(store), "http")
        }
    };
    let measuring = match args.metrics_address {
        Some(address) => {
            let listener = bind(address, "--metrics-address").await?;
            let address = listener.local_addr().context("the listener's address")?;
            out.note(format!("numbers are at http://{address}/metrics"));
            let source = metrics::Source::of(&open);
            let work = metrics::serve(listener, source, shutdown.clone());
            Some(tokio::spawn(work))
        }
        None => None,
    };
    let control = open
        .own(&place)
        .map(|own| tokio::spawn(control::serve(own, shutdown.clone())));
    out.line(format!("serving etcd v3 on {scheme}://{address}"));
    let stop = async {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        out.note("stopping");
    };
    let served = endpoint.serve(listener, stop).await;
    shutdown.cancel();
    for task in [control, reloading, measuring].into_iter().flatten() {
        let _ = task.await;
    }
    open.close().await;
    served.context("the listener failed")
}

async fn bind(address: SocketAddr, option: &str) -> Result<TcpListener> {
    let bound = TcpListener::bind(address).await;
    bound.map_err(|error| {
        Trouble::new(format!("cannot listen on {address}"))
            .because(error)
            .advise(format!("Choose another address with {option}."))
            .into()
    })
}

fn tuning(args: &Args, place: &Place) -> Result<Tuning> {
    if args.keep_history.is_some() && !matches!(place, Place::Embedded(_)) {
        let text = "--keep-history: only the embedded engine forgets history by itself";
        return Err(Trouble::usage(text)
            .advise("On PostgreSQL and etcd a client compacts, as kube-apiserver does.")
            .into());
    }
    Ok(Tuning {
        quota_bytes: args.quota_bytes,
        quota_keys: args.quota_keys,
        history: match &args.keep_history {
            Some(text) => names::duration(text).ok_or_else(|| {
                Trouble::usage(format!("`{text}` is no duration"))
                    .advise("Write it as 30m, 1h or 1h30m.")
            })?,
            None => Duration::ZERO,
        },
    })
}

fn check(args: &Args) -> Result<()> {
    if args.cert.is_none() && !args.listen.ip().is_loopback() {
        return Err(Trouble::usage(format!(
            "without TLS everybody who reaches {} could read and write everything",
            args.listen
        ))
        .advise(
            "Give --cert, --key, --client-ca and --tenant or --tenants, or listen on 127.0.0.1.",
        )
        .into());
    }
    Ok(())
}

/// What the files say that decide who may come in.
#[derive(Clone, PartialEq, Eq)]
struct Tls {
    cert: Vec<u8>,
    key: Vec<u8>,
    client_ca: Vec<u8>,
    tenant: Vec<(Subject, String)>,
    tenants: String,
}

impl Tls {
    fn read(args: &Args) -> Result<Option<Self>> {
        let (Some(cert), Some(key), Some(ca)) = (&args.cert, &args.key, &args.client_ca) else {
            return Ok(None);
        };
        let tenants = match &args.tenants {
            Some(file) => String::from_utf8(read(file)?)
                .with_context(|| format!("{} is not text", file.display()))?,
            None => String::new(),
        };
        let tls = Self {
            cert: read(cert)?,
            key: read(key)?,
            client_ca: read(ca)?,
            tenant: args.tenant.clone(),
            tenants,
        };
        // What is wrong is said now.
        tls.rules()?;
        tls.config()?;
        Ok(Some(tls))
    }

    fn config(&self) -> Result<Arc<rustls::ServerConfig>> {
        let config = tls_config(&self.cert, &self.key, &self.client_ca);
        config.map_err(|error| {
            Trouble::usage("the TLS files cannot be used")
                .because(error)
                .advise("--cert and --key are a PEM pair, --client-ca PEM certificates.")
                .into()
        })
    }

    fn rules(&self) -> Result<BTreeMap<Subject, String>> {
        let lines = self.tenants.lines().map(str::trim).enumerate();
        let lines = lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
        let of_file = lines.map(|(n, line)| {
            tenant(line).map_err(|why| Trouble::usage(format!("--tenants, line {}: {why}", n + 1)))
        });
        let mut rules = BTreeMap::new();
        for rule in self.tenant.iter().cloned().map(Ok).chain(of_file) {
            let (subject, keyspace) = rule?;
            let before = rules.insert(subject.clone(), keyspace.clone());
            if before.is_some_and(|other| other != keyspace) {
                let text = format!("{subject} is given two keyspaces");
                return Err(Trouble::usage(text).into());
            }
        }
        Ok(rules)
    }
}

/// How often the files are looked at; SIGHUP makes it now.
const LOOK: Duration = Duration::from_secs(10);

/// Takes up files that changed. What cannot be used leaves everything as it is, with a warning.
async fn reload(
    args: Args,
    mut now: Tls,
    tenants: Arc<Tenants>,
    doors: Doors,
    shutdown: CancellationToken,
) {
    let mut hangup = match signal(SignalKind::hangup()) {
        Ok(hangup) => hangup,
        Err(error) => {
            tracing::warn!(%error, "changed certificates and tenants are not taken up");
            return;
        }
    };
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            _ = hangup.recv() => {}
            () = tokio::time::sleep(LOOK) => {}
        }
        let found = Tls::read(&args).and_then(|found| {
            let Some(found) = found.filter(|found| *found != now) else {
                return Ok(None);
            };
            let (config, rules) = (found.config()?, found.rules()?);
            Ok(Some((found, config, rules)))
        });
        match found {
            Ok(None) => {}
            Ok(Some((found, config, rules))) => {
                let all =
                    found.client_ca != now.client_ca || found.rules().ok() != now.rules().ok();
                doors.change(config, Arc::new(tenants.with_rules(rules)), all);
                now = found;
                tracing::info!("certificates and tenants were read again");
            }
            Err(error) => {
                let error = format!("{error:#}");
                tracing::warn!(
                    error,
                    "changed certificates or tenants cannot be used; it goes on with the old ones"
                );
            }
        }
    }
}

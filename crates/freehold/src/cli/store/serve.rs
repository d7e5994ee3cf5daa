//! `freehold store serve`

use super::control;
use super::place::{Place, Tuning, read};
use crate::cli::{Global, Printer, Trouble, names, up};
use anyhow::{Context as _, Result};
use freehold_store::server::{Endpoint, Subject, Tenants, tls_config};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
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

#[derive(Debug, clap::Args)]
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
    #[arg(long, value_name = "FILE", requires_all = ["key", "client_ca", "tenant"], help_heading = "TLS")]
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
    /// The keyspace that is served without TLS
    #[arg(
        long,
        value_name = "NAME",
        default_value = "default",
        conflicts_with = "cert"
    )]
    keyspace: String,
    /// Stored bytes that a keyspace may have, history included (embedded only; default: 8 GiB)
    #[arg(long, value_name = "BYTES", help_heading = "Limits")]
    quota_bytes: Option<u64>,
    /// Keys that a keyspace may have (embedded only; default: 10 million)
    #[arg(long, value_name = "N", help_heading = "Limits")]
    quota_keys: Option<u64>,
    /// Forget history by itself when it is older (embedded only; default: when a client compacts,
    /// as kube-apiserver does)
    #[arg(long, value_name = "DURATION", help_heading = "Limits")]
    keep_history: Option<String>,
}

fn tenant(text: &str) -> Result<(Subject, String), String> {
    let (subject, keyspace) = text
        .rsplit_once('=')
        .ok_or("write SUBJECT=KEYSPACE, e.g. cn:acme=acme")?;
    if keyspace.is_empty() || keyspace.len() > 255 || keyspace.contains('/') {
        return Err("a keyspace's name has 1 to 255 bytes and no slash".into());
    }
    Ok((subject.parse()?, keyspace.to_owned()))
}

pub(crate) async fn run(args: &Args, global: &Global, out: &Printer) -> Result<()> {
    up::start_logging(global);
    check(args)?;
    let tuning = Tuning {
        quota_bytes: args.quota_bytes,
        quota_keys: args.quota_keys,
        history: match &args.keep_history {
            Some(text) => names::duration(text).ok_or_else(|| {
                Trouble::usage(format!("`{text}` is no duration"))
                    .advise("Write it as 30m, 1h or 1h30m.")
            })?,
            None => std::time::Duration::ZERO,
        },
    };
    let place = match (&args.datastore, &args.data_dir) {
        (Some(place), _) => place.clone(),
        (None, Some(dir)) => Place::Embedded(dir.clone()),
        (None, None) => return Err(Trouble::usage("--data-dir or --datastore is needed").into()),
    };
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let tls = tls(args)?;
    let open = place.open(&tuning).await?;
    let listener = TcpListener::bind(args.listen).await.map_err(|error| {
        Trouble::new(format!("cannot listen on {}", args.listen))
            .because(error)
            .advise("Choose another address with --listen.")
    })?;
    let address = listener.local_addr().context("the listener's address")?;
    let (endpoint, scheme) = match tls {
        Some((config, rules)) => {
            let tenants = Tenants::new(open.keyspaces.clone(), rules);
            (Endpoint::by_certificate(config, Arc::new(tenants)), "https")
        }
        None => {
            let store = open.keyspaces.open(&args.keyspace).await;
            let store = store.map_err(|error| {
                Trouble::new(format!("cannot open the keyspace {}", args.keyspace)).because(error)
            })?;
            (Endpoint::one_keyspace(store), "http")
        }
    };
    let shutdown = CancellationToken::new();
    let control = open
        .own(&place)
        .map(|own| tokio::spawn(control::serve(own.dir, own.engine, shutdown.clone())));
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
    if let Some(control) = control {
        let _ = control.await;
    }
    open.close().await;
    served.context("the listener failed")
}

fn check(args: &Args) -> Result<()> {
    if args.cert.is_none() && !args.listen.ip().is_loopback() {
        return Err(Trouble::usage(format!(
            "without TLS everybody who reaches {} could read and write everything",
            args.listen
        ))
        .advise("Give --cert, --key, --client-ca and --tenant, or listen on 127.0.0.1.")
        .into());
    }
    Ok(())
}

type Tls = (Arc<rustls::ServerConfig>, BTreeMap<Subject, String>);

fn tls(args: &Args) -> Result<Option<Tls>> {
    let (Some(cert), Some(key), Some(ca)) = (&args.cert, &args.key, &args.client_ca) else {
        return Ok(None);
    };
    let config = tls_config(&read(cert)?, &read(key)?, &read(ca)?);
    let config = config.map_err(|error| {
        Trouble::usage("the TLS files cannot be used")
            .because(error)
            .advise("--cert and --key are a PEM pair, --client-ca PEM certificates.")
    })?;
    let mut rules = BTreeMap::new();
    for (subject, keyspace) in &args.tenant {
        let before = rules.insert(subject.clone(), keyspace.clone());
        if before.is_some_and(|other| other != *keyspace) {
            let text = format!("{subject} is given two keyspaces");
            return Err(Trouble::usage(text).into());
        }
    }
    Ok(Some((config, rules)))
}

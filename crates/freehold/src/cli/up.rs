//! `freehold up`

use super::printer::Tone;
use super::{DataDir, Global, Printer, Trouble, detach, names};
use crate::host::{Host, Options};
use anyhow::{Context as _, Result};
use std::net::SocketAddr;
use tokio::signal::unix::{SignalKind, signal};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    pub(crate) data: DataDir,
    /// Where to listen (default: as last time, else 127.0.0.1:6443; port 0 finds a free one once)
    #[arg(long, value_name = "ADDR:PORT")]
    pub(crate) listen: Option<SocketAddr>,
    /// A name or address by which other machines reach this one; may be given several times
    #[arg(long, value_name = "ADDR")]
    pub(crate) advertise: Vec<String>,
    /// Control planes that nobody used for so long fall asleep
    #[arg(long, value_name = "DURATION", default_value = "15m")]
    pub(crate) sleep_after: String,
    /// Run in the background
    #[arg(long)]
    pub(crate) detach: bool,
    /// What `--detach` starts: its own session, and one line on standard output when ready
    #[arg(long, hide = true, conflicts_with = "detach")]
    background: bool,
}

pub(crate) async fn run(args: &Args, global: &Global, out: &Printer) -> Result<()> {
    let options = options(&args.data, args.listen, &args.advertise, &args.sleep_after)?;
    if args.detach {
        return detach::run(args, &options, out).await;
    }
    start_logging(global);
    if args.background {
        // Nothing that happens to the terminal concerns us from here on.
        rustix::process::setsid().context("cannot start a session of its own")?;
    }
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let host = Host::start(&options).await?;
    if args.background {
        let ready = detach::Ready {
            pid: std::process::id(),
            server: host.server.clone(),
            kubeconfig: host.kubeconfig.clone(),
            millis: host.ready_after.as_millis(),
        };
        out.line(serde_json::to_string(&ready)?);
    } else {
        announce(
            &host.server,
            &host.kubeconfig,
            host.ready_after.as_millis(),
            out,
        );
        out.line("Stop it:     Ctrl-C");
    }
    let broken = tokio::select! {
        _ = interrupt.recv() => false,
        _ = terminate.recv() => false,
        () = host.broken() => true,
    };
    out.note("stopping");
    host.stop().await;
    if broken {
        return Err(lost_datastore(&options).into());
    }
    Ok(())
}

/// What to say when the host ended by itself.
pub(crate) fn lost_datastore(options: &Options) -> Trouble {
    Trouble::new(format!(
        "the host on {} ended because its datastore no longer answers",
        options.data_dir.display()
    ))
    .advise("Its log says why (a full or failing disk, most often). Start it again with `freehold up` when that is repaired.")
}

/// What both `up` and `quickstart` start a host with.
pub(crate) fn options(
    data: &DataDir,
    listen: Option<SocketAddr>,
    advertise: &[String],
    sleep_after: &str,
) -> Result<Options> {
    for name in advertise {
        if name.parse::<std::net::IpAddr>().is_err()
            && !freehold_model::meta::is_dns_subdomain(name)
        {
            return Err(
                Trouble::usage(format!("`{name}` is neither an address nor a DNS name"))
                    .advise("Give --advertise what other machines call this one, without a port.")
                    .into(),
            );
        }
    }
    let sleep_after = names::duration(sleep_after).ok_or_else(|| {
        Trouble::usage(format!("`{sleep_after}` is no duration"))
            .advise("Write it as 30m, 1h or 1h30m.")
    })?;
    Ok(Options {
        data_dir: data.path(),
        listen,
        advertise: advertise.to_vec(),
        sleep_after,
    })
}

pub(crate) fn announce(server: &str, kubeconfig: &std::path::Path, millis: u128, out: &Printer) {
    out.line(format!(
        "{} in {millis} ms",
        out.tone(Tone::Strong, "Freehold is ready")
    ));
    out.line(format!("Address:     {server}"));
    out.line(format!("Kubeconfig:  {}", kubeconfig.display()));
}

/// Logs go to standard error.
pub(crate) fn start_logging(global: &Global) {
    let level = match (global.quiet, global.verbose) {
        (true, _) => "error",
        (false, 0) => "warn",
        (false, 1) => "info",
        (false, _) => "debug",
    };
    let filter = crate::env::log_filter()
        .unwrap_or_else(|| format!("{level},kube_runtime=error,kube_client=off,hyper=error"));
    let colors = !global.no_color
        && !crate::env::plain()
        && std::io::IsTerminal::is_terminal(&std::io::stderr());
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(tracing_subscriber::EnvFilter::new(filter))
        .with_writer(std::io::stderr)
        .with_ansi(colors)
        .finish();
    // Set once per process; a second start in the same process keeps the first.
    let _ = tracing::subscriber::set_global_default(subscriber);
}

//! `freehold quickstart`

use super::{DataDir, Global, Printer, Trouble, up};
use crate::host::Host;
use anyhow::Result;
use std::net::SocketAddr;
use tokio::signal::unix::{SignalKind, signal};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    data: DataDir,
    /// Where to listen (default: as last time, else 127.0.0.1:6443; port 0 finds a free one once)
    #[arg(long, value_name = "ADDR:PORT")]
    listen: Option<SocketAddr>,
    /// End after the demonstration, with code 0 only if every step held
    #[arg(long)]
    exit: bool,
}

pub(crate) async fn run(args: &Args, global: &Global, out: &Printer) -> Result<()> {
    up::start_logging(global);
    let options = up::options(&args.data, args.listen, &[], "15m")?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let host = Host::start(&options).await?;
    let show = async {
        let tour = crate::quickstart::tour(&host, &options.data_dir, out).await?;
        tour.farewell(out);
        Ok::<_, anyhow::Error>(tour.failed)
    };
    // Ctrl-C also ends a demonstration that is under way.
    let outcome = tokio::select! {
        outcome = show => Some(outcome),
        _ = interrupt.recv() => None,
        _ = terminate.recv() => None,
    };
    let mut broken = false;
    if let Some(Ok(_)) = &outcome
        && !args.exit
    {
        out.line("The host keeps running. Stop it: Ctrl-C");
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            () = host.broken() => broken = true,
        }
    }
    out.note("stopping");
    host.stop().await;
    if broken {
        return Err(up::lost_datastore(&options).into());
    }
    match outcome {
        None | Some(Ok(0)) => Ok(()),
        Some(Ok(n)) => Err(
            Trouble::new(format!("{n} steps of the demonstration FAILED"))
                .advise("Run it again with -v to see the host's log.")
                .into(),
        ),
        Some(Err(error)) => Err(error),
    }
}

//! `freehold version`

use super::{Format, Global, Printer, Target};
use anyhow::Result;
use freehold_model::catalogue::{NEWEST_MINOR, OLDEST_MINOR};
use serde_json::json;
use std::time::Duration;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Only this program, without asking the host
    #[arg(long)]
    client: bool,
}

pub(crate) async fn run(args: &Args, global: &Global, out: &Printer) -> Result<()> {
    let own = env!("CARGO_PKG_VERSION");
    let offered = format!("v1.{OLDEST_MINOR} to v1.{NEWEST_MINOR}");
    // A version must be had without a host; asking one is a courtesy.
    let host = if args.client {
        None
    } else {
        host(global).await
    };
    match out.format {
        Format::Json | Format::Yaml => {
            out.data(&json!({"freehold": own, "kubernetes": offered, "host": host}))
        }
        _ => {
            out.line(format!("freehold {own}"));
            out.line(format!("Kubernetes offered: {offered}"));
            match (args.client, host) {
                (true, _) => {}
                (false, Some(host)) => out.line(format!("Host: {host}")),
                (false, None) => out.line("Host: not reached"),
            }
            Ok(())
        }
    }
}

async fn host(global: &Global) -> Option<String> {
    let target = Target::connect(global).await.ok()?;
    let asked = tokio::time::timeout(Duration::from_secs(3), target.client.apiserver_version());
    let info = asked.await.ok()?.ok()?;
    Some(format!(
        "Kubernetes {} at {}",
        info.git_version, target.server
    ))
}

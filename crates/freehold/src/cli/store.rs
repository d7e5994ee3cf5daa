//! `freehold store`: the datastore by itself.

mod place;
mod serve;

use super::{Global, Printer};
use anyhow::Result;

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Args {
    /// Serve the etcd v3 protocol, for a kube-apiserver or any other etcd client
    #[command(after_long_help = serve::EXAMPLES)]
    Serve(serve::Args),
}

pub(crate) async fn run(args: &Args, global: &Global, out: &Printer) -> Result<()> {
    match args {
        Args::Serve(args) => serve::run(args, global, out).await,
    }
}

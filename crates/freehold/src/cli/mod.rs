//! The command line: what can be asked, and where each command lives.

mod client;
mod completion;
pub(crate) mod create;
mod ctx;
mod delete;
mod describe;
mod detach;
mod doctor;
mod down;
mod get;
pub(crate) mod kubeconfig;
pub(crate) mod names;
pub(crate) mod objects;
mod power;
pub(crate) mod printer;
mod quickstart;
mod store;
mod trouble;
mod up;
pub(crate) mod user_config;
mod verify;
mod version;

pub(crate) use client::{Target, client_of};
pub(crate) use printer::{Format, Printer};
pub(crate) use store::control;
pub(crate) use trouble::{Cause, Trouble, said};

use anyhow::Result;
use clap::{Args, Parser, Subcommand};
use std::path::PathBuf;
use std::process::ExitCode;

/// Gives every tenant the Kubernetes it needs, at the isolation it needs.
#[derive(Debug, Parser)]
#[command(
    name = "freehold",
    version,
    propagate_version = false,
    arg_required_else_help = true,
    max_term_width = 100
)]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

/// Options every command takes.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct Global {
    /// Kubeconfig of the host (default: $KUBECONFIG, the data directory's admin.kubeconfig, ~/.kube/config)
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        help_heading = "Global options"
    )]
    pub(crate) kubeconfig: Option<PathBuf>,
    /// Context of that kubeconfig
    #[arg(
        long,
        global = true,
        value_name = "NAME",
        help_heading = "Global options"
    )]
    pub(crate) context: Option<String>,
    /// How to print results
    #[arg(
        short = 'o',
        id = "format",
        global = true,
        value_enum,
        value_name = "FORMAT",
        help_heading = "Global options"
    )]
    pub(crate) format: Option<Format>,
    /// Say more; twice: everything
    #[arg(short, long, global = true, action = clap::ArgAction::Count, help_heading = "Global options")]
    pub(crate) verbose: u8,
    /// Only results and errors
    #[arg(
        long,
        global = true,
        conflicts_with = "verbose",
        help_heading = "Global options"
    )]
    pub(crate) quiet: bool,
    /// Never use colours (also: NO_COLOR)
    #[arg(long, global = true, help_heading = "Global options")]
    pub(crate) no_color: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a host on this machine
    Up(up::Args),
    /// Stop the host of a data directory
    Down(down::Args),
    /// Start a host, create two tenants, and show that neither can touch the other
    Quickstart(quickstart::Args),
    /// Create a tenant or a control plane
    #[command(subcommand)]
    Create(create::Args),
    /// List tenants or control planes
    #[command(subcommand)]
    Get(get::Args),
    /// Show one tenant or control plane with its conditions and events
    #[command(subcommand)]
    Describe(describe::Args),
    /// Delete a tenant or a control plane and wait until nothing is left
    #[command(subcommand)]
    Delete(delete::Args),
    /// Issue a short-lived kubeconfig of a control plane
    Kubeconfig(kubeconfig::Args),
    /// Switch kubectl to a control plane, or back to the host
    Ctx(ctx::Args),
    /// Put a control plane to sleep until it is woken
    Sleep(power::Args),
    /// Wake a control plane
    Wake(power::Args),
    /// Attack the boundaries between control planes now and report what held
    Verify(verify::Args),
    /// The datastore by itself: serve it to etcd clients, copy and move keyspaces
    #[command(subcommand)]
    Store(Box<store::Args>),
    /// What this machine has and lacks, and what follows from it
    Doctor(doctor::Args),
    /// Versions of this program and of the host it talks to
    Version(version::Args),
    /// Print a completion script
    Completion(completion::Args),
}

/// Where `up`, `down` and `quickstart` find the data directory.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct DataDir {
    /// Where the host keeps everything (default: $FREEHOLD_DATA_DIR, /var/lib/freehold for root, else the XDG data directory)
    #[arg(long, value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,
}

impl DataDir {
    pub(crate) fn path(&self) -> PathBuf {
        let dir = crate::env::data_dir(self.data_dir.as_ref());
        // Kubeconfig paths that we print must work from any directory.
        std::path::absolute(&dir).unwrap_or(dir)
    }
}

/// Parses, runs, and turns the outcome into an exit code: 0 done, 1 failed, 2 wrong usage.
pub(crate) fn main() -> ExitCode {
    // One provider for everything in the process; a second call could only say that it is set.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // clap prints help and version to standard output (0), complaints to standard error (2).
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    let printer = Printer::new(&cli.global);
    let outcome = start_runtime(&cli.command).and_then(|runtime| {
        let result = runtime.block_on(run(&cli, &printer));
        // Whatever is still running in the background must not hold the process.
        runtime.shutdown_timeout(std::time::Duration::from_millis(200));
        result
    });
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            printer.error(&error);
            ExitCode::from(Trouble::exit_code(&error))
        }
    }
}

fn start_runtime(command: &Command) -> Result<tokio::runtime::Runtime> {
    let mut builder = match command {
        Command::Up(_) | Command::Quickstart(_) | Command::Store(_) => {
            tokio::runtime::Builder::new_multi_thread()
        }
        _ => tokio::runtime::Builder::new_current_thread(),
    };
    Ok(builder.enable_all().build()?)
}

async fn run(cli: &Cli, out: &Printer) -> Result<()> {
    let global = &cli.global;
    match &cli.command {
        Command::Up(args) => up::run(args, global, out).await,
        Command::Down(args) => down::run(args, out).await,
        Command::Quickstart(args) => quickstart::run(args, global, out).await,
        Command::Create(args) => create::run(args, global, out).await,
        Command::Get(args) => get::run(args, global, out).await,
        Command::Describe(args) => describe::run(args, global, out).await,
        Command::Delete(args) => delete::run(args, global, out).await,
        Command::Kubeconfig(args) => kubeconfig::run(args, global, out).await,
        Command::Ctx(args) => ctx::run(args, global, out).await,
        Command::Sleep(args) => power::run(args, power::State::Asleep, global, out).await,
        Command::Wake(args) => power::run(args, power::State::Auto, global, out).await,
        Command::Verify(args) => verify::run(args, global, out).await,
        Command::Store(args) => store::run(args, global, out).await,
        Command::Doctor(args) => doctor::run(args, out).await,
        Command::Version(args) => version::run(args, global, out).await,
        Command::Completion(args) => completion::run(args, out),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_command_of_the_contract_parses() {
        for line in [
            "up --data-dir /d --listen 127.0.0.1:0 --detach",
            "down --data-dir /d",
            "quickstart --data-dir /d --listen 127.0.0.1:0 --exit",
            "create tenant acme --owner user:ann --owner group:dev",
            "create control-plane dev --tenant acme --version 1.36 --placement pooled --datastore d --no-wait",
            "get tenants",
            "get control-planes dev -o wide",
            "describe tenant acme",
            "describe control-plane dev",
            "delete tenant acme",
            "delete control-plane dev --tenant acme",
            "kubeconfig dev --tenant acme --expires 1h --output f",
            "ctx",
            "ctx acme/dev",
            "sleep dev --tenant acme",
            "wake dev --tenant acme",
            "verify",
            "verify acme",
            "store serve --data-dir /d --listen 127.0.0.1:0",
            "store copy --from embedded:/a --to postgres://u@h:1/d --keyspace k --target-keyspace l",
            "store move --from embedded:/a --to etcd+http://h:1/p --keyspace k --undo",
            "store export --from embedded:/a --keyspace k f",
            "store import --to embedded:/a --keyspace k f",
            "store serve --datastore etcd+http://h:1/x --cert a --key b --client-ca c --tenant cn:x=y",
            "doctor",
            "version",
            "completion bash",
        ] {
            let words = std::iter::once("freehold").chain(line.split(' '));
            if let Err(error) = Cli::try_parse_from(words) {
                panic!("{line}: {error}");
            }
        }
    }
}

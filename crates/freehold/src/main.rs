//! The `freehold` program: see `freehold --help`.

mod cli;
mod doctor;
mod env;
mod guard;
mod host;
mod pool;
mod quickstart;
mod verify;

fn main() -> std::process::ExitCode {
    cli::main()
}

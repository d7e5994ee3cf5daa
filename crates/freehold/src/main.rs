//! The `freehold` program: see `freehold --help`.

mod cli;
mod doctor;
mod env;
mod guard;
mod host;
mod pool;
mod private_file;
mod quickstart;
mod verify;

/// Faster than the C library's on the many small values of a request, and on opening keyspaces:
/// see decision 0002.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    cli::main()
}

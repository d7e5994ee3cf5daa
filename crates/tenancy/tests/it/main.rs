//! The operator on a host in this process.

#![allow(
    clippy::panic,
    clippy::unwrap_used,
    clippy::print_stderr,
    clippy::print_stdout,
    reason = "this is test code: a failure panics with what happened, a skip says so"
)]

mod control_planes;
mod dialects;
mod faults;
mod harness;
mod signer;
mod upstream;

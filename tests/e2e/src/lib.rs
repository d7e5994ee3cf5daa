//! What the end-to-end tests stand on: the real `freehold` program in a sandbox of its own (data
//! directory, home, port), real kubectl, and a time limit on everything.

#![allow(
    clippy::panic,
    clippy::print_stderr,
    reason = "this is test code: a failure panics with what happened, a skip says so"
)]

mod run;
mod sandbox;

pub use run::Run;
pub use sandbox::{Sandbox, freehold_program, kubectl_program};

/// Runs the rest of a test only where kubectl is; says so where it is not.
#[macro_export]
macro_rules! needs_kubectl {
    () => {
        if $crate::kubectl_program().is_none() {
            eprintln!(
                "skipped: no kubectl; install kubernetes-client or run `cargo xtask upstream`"
            );
            return;
        }
    };
}

/// A JSON text as data.
///
/// # Panics
/// When it is none.
#[must_use]
pub fn json(text: &str) -> serde_json::Value {
    serde_json::from_str(text).unwrap_or_else(|e| panic!("{e}: {text}"))
}

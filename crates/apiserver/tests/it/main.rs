//! The API server driven in this process, and by real clients over TLS.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "a test fails by panicking, and says when it is skipped"
)]

mod access;
mod bounds;
mod conversion;
mod crds;
mod golden;
mod harness;
mod kinds;
mod kubectl;
mod lists;
mod namespaces;
mod objects;
mod stored;
mod tls;
mod watches;

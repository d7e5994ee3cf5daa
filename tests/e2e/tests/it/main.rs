//! End to end: the real program, real kubectl, a data directory and a port per test.

#![allow(
    clippy::too_many_lines,
    reason = "a test tells one story from beginning to end"
)]
#![allow(
    clippy::print_stdout,
    reason = "a test that is skipped says so, also from its helpers"
)]

mod cli;
mod dialects;
mod durability;
mod host;
mod kubectl;
mod quickstart;
mod store_serve;
mod tenants;

//! Integration tests of the model against recordings.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "helpers of tests are tests"
)]

mod apply;
mod cel;
mod cel_bounds;
mod costs;
mod custom;
mod judged;
mod openapi;
mod patch;
mod proto;
mod rules;
mod sequences;
mod table;
mod texts;
mod validations;

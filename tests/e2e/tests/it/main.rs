//! End to end: the real program, real kubectl, a data directory and a port per test.

#![allow(
    clippy::too_many_lines,
    reason = "a test tells one story from beginning to end"
)]
#![allow(
    clippy::print_stdout,
    reason = "a test that is skipped says so, also from its helpers"
)]

#[path = "../../../../crates/store/tests/it/certificates.rs"]
mod certificates;
mod cli;
mod datastores;
mod dialects;
mod durability;
mod host;
mod kubectl;
mod quickstart;
#[allow(dead_code, reason = "shared with the tests of the datastore")]
#[path = "../../../../crates/store/tests/it/real_etcd.rs"]
mod real_etcd;
#[allow(dead_code, reason = "shared with the tests of the datastore")]
#[path = "../../../../crates/store/tests/it/real_postgres.rs"]
mod real_postgres;
mod rules;
mod store_online;
mod store_serve;
mod store_tls;
mod tenants;

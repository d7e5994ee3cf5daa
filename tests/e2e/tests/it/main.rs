//! End to end: the real program, real kubectl, a data directory and a port per test.

mod cli;
mod dialects;
mod durability;
mod host;
mod kubectl;
mod quickstart;
mod tenants;

//! Benchmarks against peers in the same run. They print ratios and are never timed tests.

pub mod client;
pub mod load;
pub mod peer;

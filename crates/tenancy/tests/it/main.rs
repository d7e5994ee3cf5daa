//! The operator on a host in this process.

mod control_planes;
mod dialects;
mod faults;
mod harness;
mod signer;

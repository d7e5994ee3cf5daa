//! Integration tests of the datastore.

mod contract;
mod drivers;
mod durability;
mod random;
mod sim_disk;
mod simulation;
mod support;

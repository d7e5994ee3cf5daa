//! Integration tests of the datastore.

mod contract;
mod crash;
mod drivers;
mod durability;
mod faults;
mod random;
mod sim_disk;
mod simulation;
mod support;

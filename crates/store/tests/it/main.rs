//! Integration tests of the datastore.

mod contract;
mod drivers;
mod durability;
mod support;

//! Integration tests of the datastore.

mod durability;
mod support;

//! Integration tests of the datastore.

#![allow(
    clippy::panic,
    clippy::print_stdout,
    reason = "everything in here is a test or serves one"
)]

mod backup;
mod backup_kill;
mod bounds;
mod certificates;
mod checkpoint_faults;
mod contract;
mod crash;
mod crash_load;
mod drivers;
mod durability;
mod endpoint;
mod etcd;
mod fault_disk;
mod faults;
mod fsck;
mod given_up;
mod hostile_files;
mod keys;
mod kms_plugin;
mod kube_apiserver;
mod lease_ends;
mod linear;
mod measure_postgres;
mod postgres;
mod postgres_disk;
mod proxy;
mod random;
mod random_work;
mod real_etcd;
mod real_postgres;
mod remote_faults;
mod replace_faults;
mod reuse;
mod shares;
mod sim_disk;
mod simulation;
mod support;
mod transfer;
mod transfer_cuts;
mod values;

/// What the protocol's types are converted to.
use freehold_store::KeyValue;

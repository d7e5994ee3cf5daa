//! Integration tests of the datastore.

mod contract;
mod crash;
mod drivers;
mod durability;
mod faults;
mod kube_apiserver;
mod measure;
mod random;
mod real_etcd;
mod sim_disk;
mod simulation;
mod support;

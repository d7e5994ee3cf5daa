//! The contract suite on every engine and driver.

use crate::contract;
use crate::real_etcd::RealEtcd;
use freehold_store::embedded::{Embedded, Options};
use freehold_store::etcd;
use freehold_store::memory::Memory;

#[tokio::test]
async fn the_model_keeps_the_contract() {
    contract::run("memory", Memory::new()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_embedded_engine_keeps_the_contract() {
    let dir = tempfile::tempdir().expect("dir");
    let engine = Embedded::open(dir.path(), Options::default())
        .await
        .expect("open");
    contract::run("embedded", engine).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_real_etcd_keeps_the_contract() {
    let Some(etcd) = RealEtcd::start() else {
        return;
    };
    let keyspaces = etcd::Etcd::connect(etcd::Options::new(vec![etcd.url.clone()], "/freehold"));
    contract::run("etcd", keyspaces.await.expect("connect")).await;
}

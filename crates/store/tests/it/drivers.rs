//! The contract suite on every engine and driver.

use crate::contract;
use freehold_store::embedded::{Embedded, Options};
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

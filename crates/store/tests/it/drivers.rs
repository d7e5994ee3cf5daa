//! The contract suite on every engine and driver.

use crate::contract;
use crate::real_etcd::RealEtcd;
use crate::real_postgres::RealPostgres;
use freehold_store::Keyspaces;
use freehold_store::embedded::{Embedded, Options};
use freehold_store::etcd;
use freehold_store::memory::Memory;
use freehold_store::postgres::Postgres;
use std::sync::Arc;

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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_real_postgres_keeps_the_contract() {
    let Some(postgres) = RealPostgres::start() else {
        return;
    };
    let keyspaces = Postgres::connect(postgres.options());
    contract::run("postgres", keyspaces.await.expect("connect")).await;
}

/// The suite through the endpoint, over another driver.
async fn through_the_endpoint(name: &str, keyspaces: Arc<dyn Keyspaces>) {
    let store = keyspaces.open("served").await.expect("keyspace");
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .expect("bind");
    let url = format!("http://{}", listener.local_addr().expect("bound"));
    let server = tokio::spawn(freehold_store::server::serve(listener, store));
    let keyspaces = etcd::Etcd::connect(etcd::Options::new(vec![url], "/freehold"));
    contract::run(name, keyspaces.await.expect("connect")).await;
    server.abort();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_etcd_endpoint_over_the_embedded_engine_keeps_the_contract() {
    let dir = tempfile::tempdir().expect("dir");
    let engine = Embedded::open(dir.path(), Options::default())
        .await
        .expect("open");
    through_the_endpoint("endpoint over embedded", engine).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_etcd_endpoint_over_a_real_etcd_keeps_the_contract() {
    let Some(real) = RealEtcd::start() else {
        return;
    };
    let keyspaces = etcd::Etcd::connect(etcd::Options::new(vec![real.url.clone()], "/below"));
    through_the_endpoint("endpoint over etcd", keyspaces.await.expect("connect")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_etcd_endpoint_over_a_real_postgres_keeps_the_contract() {
    let Some(postgres) = RealPostgres::start() else {
        return;
    };
    let keyspaces = Postgres::connect(postgres.options()).await;
    through_the_endpoint("endpoint over postgres", keyspaces.expect("connect")).await;
}

//! The etcd endpoint from outside: against a real etcd, with real tools, with bad clients.

#![allow(
    clippy::too_many_lines,
    reason = "scripts of requests, told from beginning to end"
)]

mod bounds;
mod client;
mod compare;
mod frames;
mod hostile;
mod snapshot;
mod tenants;
mod tools;
mod watches;

#[allow(dead_code, reason = "the tests speak a part of the protocol")]
#[path = "../../../src/proto.rs"]
pub(crate) mod proto;

use freehold_store::embedded::{Embedded, Options};
use freehold_store::server::{Bounds, Endpoint};
use freehold_store::{Keyspaces, Store};
use std::sync::Arc;
use std::time::Duration;

/// An endpoint in this process, over an engine of its own.
pub(crate) struct Served {
    pub(crate) url: String,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) engine: Arc<Embedded>,
    task: tokio::task::JoinHandle<()>,
    _dir: tempfile::TempDir,
}

impl Served {
    pub(crate) async fn start() -> Self {
        Self::with(Options::default(), Duration::from_secs(60)).await
    }

    pub(crate) async fn with(options: Options, stalled: Duration) -> Self {
        let bounds = Bounds {
            stalled,
            ..Bounds::default()
        };
        Self::within(options, bounds).await
    }

    pub(crate) async fn within(options: Options, bounds: Bounds) -> Self {
        let dir = tempfile::tempdir().expect("dir");
        let engine = Embedded::open(dir.path(), options).await.expect("open");
        let store = engine.open("served").await.expect("keyspace");
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await;
        let listener = listener.expect("bind");
        let url = format!("http://{}", listener.local_addr().expect("bound"));
        let endpoint = Endpoint::one_keyspace(store.clone()).bounds(bounds);
        let task = tokio::spawn(async move {
            let served = endpoint.serve(listener, std::future::pending());
            served.await.expect("listener");
        });
        Self {
            url,
            store,
            engine,
            task,
            _dir: dir,
        }
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.task.abort();
        self.engine.close();
    }
}

//! Messages of the etcd protocol, a few after each other: the engine answers each as the model
//! does, with the same bytes or the same refusal.
#![no_main]

use freehold_fuzz::{Input, MemDisk};
use freehold_store::embedded::{Embedded, Options};
use freehold_store::memory::MemoryStore;
use freehold_store::server::fuzzing;
use freehold_store::{Keyspaces, Store};
use std::sync::{Arc, LazyLock};
use tokio::runtime::{Builder, Runtime};

static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| {
    let mut builder = Builder::new_multi_thread();
    builder
        .worker_threads(1)
        .enable_all()
        .build()
        .expect("runtime")
});
static ENGINE: LazyLock<Arc<Embedded>> = LazyLock::new(|| {
    // Only the lock is in this directory.
    let dir = std::env::temp_dir().join(format!("freehold-fuzz-etcd-{}", std::process::id()));
    std::fs::create_dir_all(&dir).expect("a directory");
    let options = Options {
        disk: Arc::new(MemDisk::default()),
        ..Options::default()
    };
    RUNTIME
        .block_on(Embedded::open(dir, options))
        .expect("opens")
});

async fn run(bytes: &[u8]) {
    let model: Arc<dyn Store> = MemoryStore::new();
    let engine = ENGINE.open("fuzz").await.expect("opens");
    let mut input = Input(bytes);
    for _ in 0..24 {
        if input.is_empty() {
            break;
        }
        let (method, request) = (input.byte(), input.part());
        let told = fuzzing::ask(&engine, method, request).await;
        let expected = fuzzing::ask(&model, method, request).await;
        assert_eq!(told, expected, "method {method}: {request:?}");
    }
    let (told, expected) = (engine.head().await, model.head().await);
    let (told, expected) = (told.expect("a head"), expected.expect("a head"));
    let seen = |head: freehold_store::Head| (head.rev, head.compact_rev, head.keys);
    assert_eq!(seen(told), seen(expected));
    ENGINE.delete("fuzz").await.expect("deleted");
}

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    LazyLock::force(&ENGINE);
    RUNTIME.block_on(run(bytes));
});

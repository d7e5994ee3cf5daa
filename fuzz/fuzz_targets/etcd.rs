//! Messages of the etcd protocol, a few after each other: the engine answers each as the model
//! does, with the same bytes or the same refusal.
#![no_main]

use freehold_fuzz::{Engine, Input};
use freehold_store::memory::MemoryStore;
use freehold_store::server::fuzzing;
use freehold_store::{Keyspaces, Store};
use std::sync::{Arc, LazyLock};

static ENGINE: LazyLock<Engine> = LazyLock::new(|| Engine::open("etcd"));

async fn run(keyspaces: &dyn Keyspaces, bytes: &[u8]) {
    let model: Arc<dyn Store> = MemoryStore::new();
    let engine = keyspaces.open("fuzz").await.expect("opens");
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
    keyspaces.delete("fuzz").await.expect("deleted");
}

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    ENGINE.runtime.block_on(run(&*ENGINE.engine, bytes));
});

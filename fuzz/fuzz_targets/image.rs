//! Exported keyspaces of any bytes: refused, or imported as they are into the engine and anew into
//! another store, and usable there.
#![no_main]

use freehold_fuzz::Engine;
use freehold_store::memory::Memory;
use freehold_store::{Error, Image, Keyspaces, Op, Store, Txn};
use ring::digest::{SHA256, digest};
use std::sync::LazyLock;

static ENGINE: LazyLock<Engine> = LazyLock::new(|| Engine::open("image"));

async fn usable(store: &dyn Store, rev: u64) {
    let put = Op::Put {
        key: "zz".into(),
        value: "v".into(),
        lease: 0,
    };
    let txn = Txn {
        then: vec![put],
        ..Txn::default()
    };
    let reply = store.txn(txn).await.expect("a write");
    assert!(reply.rev > rev);
    store.compact(reply.rev).await.expect("a compaction");
}

async fn import(keyspaces: &dyn Keyspaces, image: &Image, exactly: bool) {
    match keyspaces.import("fuzz", image).await {
        Ok(_) => {
            let store = keyspaces.open("fuzz").await.expect("opens");
            let found = Image::take(&*store).await.expect("read");
            assert_eq!(found.hash(exactly), image.hash(exactly));
            usable(&*store, image.rev).await;
        }
        Err(Error::Invalid(_) | Error::TooLarge(_) | Error::NoSpace(_)) => {}
        // It ended while it was imported.
        Err(Error::LeaseNotFound(_)) => {}
        Err(error) => panic!("{error}"),
    }
    keyspaces.delete("fuzz").await.expect("deleted");
}

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let _ = Image::decode(bytes);
    let whole = [bytes, digest(&SHA256, bytes).as_ref()].concat();
    let mut image = match Image::decode(&whole) {
        Ok(image) => image,
        Err(Error::Corrupt(_)) => return,
        Err(error) => panic!("{error}"),
    };
    assert_eq!(image.encode(), whole);
    // Leases that end at once take their keys with them.
    for lease in &mut image.leases {
        lease.remaining = lease
            .remaining
            .max(std::time::Duration::from_secs(1_000_000));
    }
    let Engine { runtime, engine } = &*ENGINE;
    runtime.block_on(import(&**engine, &image, true));
    // As many revisions are as many writes there.
    if image.rev < 100 {
        runtime.block_on(import(&*Memory::new(), &image, false));
    }
});

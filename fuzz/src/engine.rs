//! An engine whose disk is memory, for all inputs of a target.

use crate::MemDisk;
use freehold_store::embedded::{Embedded, Options};
use std::sync::Arc;
use tokio::runtime::{Builder, Runtime};

pub struct Engine {
    pub runtime: Runtime,
    pub engine: Arc<Embedded>,
}

impl Engine {
    pub fn open(target: &str) -> Self {
        let mut builder = Builder::new_multi_thread();
        let runtime = builder.worker_threads(1).enable_all().build();
        let runtime = runtime.expect("runtime");
        // Only the lock is in this directory.
        let name = format!("freehold-fuzz-{target}-{}", std::process::id());
        let dir = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&dir).expect("a directory");
        let options = Options {
            disk: Arc::new(MemDisk::default()),
            ..Options::default()
        };
        let engine = runtime.block_on(Embedded::open(dir, options));
        Self {
            engine: engine.expect("opens"),
            runtime,
        }
    }
}

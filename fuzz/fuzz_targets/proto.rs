//! What is decoded is encoded to something that does not change any more.
#![no_main]

use freehold_model::{Catalogue, proto};
use std::sync::{Arc, LazyLock};

static CATALOGUE: LazyLock<Arc<Catalogue>> =
    LazyLock::new(|| Catalogue::builtin(36).expect("built in"));

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let Ok(value) = proto::decode(&CATALOGUE, bytes) else {
        return;
    };
    if let Ok(encoded) = proto::encode(&CATALOGUE, &value) {
        let again = proto::decode(&CATALOGUE, &encoded).expect("own bytes are decoded");
        assert_eq!(
            proto::encode(&CATALOGUE, &again).expect("encodes again"),
            encoded
        );
    }
});

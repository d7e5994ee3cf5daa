//! What is read is written so that it is read the same again.
#![no_main]

use freehold_model::json;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Ok(read) = json::parse(bytes) {
        let written = json::to_vec(&read.value);
        let again = json::parse(&written).expect("own text is read").value;
        assert_eq!(read.value, again);
        assert_eq!(written, json::to_vec(&again));
    }
});

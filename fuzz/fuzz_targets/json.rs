//! What is written is read, and written the same again (1.0 becomes 1, as upstream has it).
#![no_main]

use freehold_model::json;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Ok(read) = json::parse(bytes) {
        let written = json::to_vec(&read.value);
        let again = json::parse(&written).expect("own text is read").value;
        assert_eq!(written, json::to_vec(&again));
    }
});

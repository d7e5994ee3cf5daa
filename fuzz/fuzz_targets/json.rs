//! What is written is read and, once 1.0 and -0.0 became whole numbers as upstream has it, stays.
#![no_main]

use freehold_model::json;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Ok(read) = json::parse(bytes) {
        let written = json::to_vec(&read.value);
        let again = json::to_vec(&json::parse(&written).expect("own text is read").value);
        let third = json::to_vec(&json::parse(&again).expect("own text is read").value);
        assert_eq!(again, third);
    }
});

//! What YAML says can be said in JSON.
#![no_main]

use freehold_model::{json, yaml};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Ok(read) = yaml::parse(bytes) {
        let written = json::to_vec(&read.value);
        let again = json::to_vec(&json::parse(&written).expect("own text is read").value);
        let third = json::to_vec(&json::parse(&again).expect("own text is read").value);
        assert_eq!(again, third);
    }
});

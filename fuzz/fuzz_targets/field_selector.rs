//! No text makes the parser panic, and what it reads can be asked.
#![no_main]

use freehold_model::select::FieldSelector;

libfuzzer_sys::fuzz_target!(|text: &str| {
    if let Ok(selector) = FieldSelector::parse(text) {
        let _ = (selector.is_empty(), selector.exact("metadata.name"));
    }
});

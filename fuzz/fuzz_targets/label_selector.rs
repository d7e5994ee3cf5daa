//! A selector's text says the same selector.
#![no_main]

use freehold_model::select::LabelSelector;

libfuzzer_sys::fuzz_target!(|text: &str| {
    if let Ok(selector) = LabelSelector::parse(text) {
        let said = selector.to_string();
        let again = LabelSelector::parse(&said).expect("own text is read");
        assert_eq!(again.to_string(), said);
        assert_eq!(again.matches(None), selector.matches(None));
    }
});

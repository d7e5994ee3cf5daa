//! The canonical text of a quantity is that quantity; sums and differences undo each other.
#![no_main]

use freehold_model::quantity::Quantity;

libfuzzer_sys::fuzz_target!(|text: &str| {
    let (left, right) = text.split_once('|').unwrap_or((text, "1"));
    let Ok(a) = Quantity::parse(left) else { return };
    let said = a.to_string();
    let again = Quantity::parse(&said).expect("own text is read");
    assert_eq!(again, a, "{left} was written as {said}");
    assert_eq!(again.to_string(), said);
    let _ = (a.value(), a.milli_value(), a.to_f64());
    if let Ok(b) = Quantity::parse(right)
        && let Some(sum) = a.checked_add(&b)
        && let Some(back) = sum.checked_sub(&b)
    {
        assert_eq!(back, a, "{left} + {right} - {right}");
    }
});

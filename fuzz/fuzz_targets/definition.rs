//! A line is a CustomResourceDefinition, the second an object of it: neither can make the compiler
//! or the checks panic, and pruning twice changes nothing.
#![no_main]

use freehold_model::{crd, json, strict, table};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let mut lines = bytes.splitn(2, |b| *b == b'\n');
    let Some(Ok(definition)) = lines.next().map(json::parse) else {
        return;
    };
    let Ok(compiled) = crd::compile(&definition.value, freehold_model::catalogue::DEFAULT_MINOR)
    else {
        return;
    };
    let Some(Ok(object)) = lines.next().map(json::parse) else {
        return;
    };
    for resource in &compiled.resources {
        let mut object = object.value.clone();
        let _ = strict::check_and_prune(resource, &mut object);
        if crd::prune_and_default(resource, &mut object).is_err() {
            continue;
        }
        let once = object.clone();
        // Its defaults fitted with others before, so they do without.
        let again = crd::prune_and_default(resource, &mut object);
        assert_eq!(again, Ok(Vec::new()));
        assert_eq!(object, once);
        let _ = crd::validate(resource, &object, None);
        let _ = crd::validate(resource, &object, Some(&once));
        let _ = table::Printer::new(resource, 0).cells(&object);
    }
});

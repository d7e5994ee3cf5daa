//! A line is a CustomResourceDefinition, the second an object of it: neither can make the compiler
//! or the checks panic, and pruning twice changes nothing.
#![no_main]

use freehold_model::{crd, json, strict, table};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let mut lines = bytes.splitn(2, |b| *b == b'\n');
    let Some(Ok(definition)) = lines.next().map(json::parse) else {
        return;
    };
    let Ok(compiled) = crd::compile(&definition.value) else {
        return;
    };
    let Some(Ok(object)) = lines.next().map(json::parse) else {
        return;
    };
    for resource in &compiled.resources {
        let mut object = object.value.clone();
        let _ = strict::check_and_prune(resource, &mut object);
        crd::prune_and_default(resource, &mut object);
        let once = object.clone();
        assert!(crd::prune_and_default(resource, &mut object).is_empty());
        assert_eq!(object, once);
        let _ = crd::validate(resource, &object, None);
        let _ = crd::validate(resource, &object, Some(&once));
        let _ = table::Printer::new(resource, 0).cells(&object);
    }
});

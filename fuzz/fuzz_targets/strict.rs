//! The way of an object into the store: no step panics, and going it twice changes nothing. What is
//! read in one pass is what two passes make of it without a complaint.
#![no_main]

use freehold_model::{Catalogue, defaults, json, proto, strict, validate};
use std::sync::{Arc, LazyLock};

static CATALOGUE: LazyLock<Arc<Catalogue>> =
    LazyLock::new(|| Catalogue::builtin(36).expect("built in"));

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let Ok(read) = json::parse(bytes) else {
        let pods = CATALOGUE.by_kind("", "v1", "Pod").expect("pods");
        assert_eq!(strict::decode_clean(pods, bytes), None);
        return;
    };
    let mut object = read.value;
    let api_version = object.str_at(&["apiVersion"]).unwrap_or("v1");
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    let kind = object.str_at(&["kind"]).unwrap_or("Pod");
    let Some(resource) = CATALOGUE.by_kind(group, version, kind).cloned() else {
        return;
    };
    let clean = strict::decode_clean(&resource, bytes);
    let Ok(unknown) = strict::check_and_prune(&resource, &mut object) else {
        assert_eq!(clean, None);
        return;
    };
    if let Some(clean) = clean {
        assert!(unknown.is_empty() && read.duplicates.is_empty());
        assert_eq!(clean, object);
    }
    assert_eq!(
        strict::check_and_prune(&resource, &mut object),
        Ok(Vec::new())
    );
    strict::normalise(&resource, &mut object);
    defaults::apply(&resource, &mut object);
    let once = object.clone();
    strict::normalise(&resource, &mut object);
    let _ = validate::create(&resource, &object);
    let _ = validate::update(&resource, &object, &once);
    let _ = proto::encode(&CATALOGUE, &object);
});

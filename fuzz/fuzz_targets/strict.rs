//! The way of an object into the store: no step panics, and going it twice changes nothing.
#![no_main]

use freehold_model::{Catalogue, defaults, json, proto, strict, validate};
use std::sync::{Arc, LazyLock};

static CATALOGUE: LazyLock<Arc<Catalogue>> =
    LazyLock::new(|| Catalogue::builtin(36).expect("built in"));

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let Ok(read) = json::parse(bytes) else { return };
    let mut object = read.value;
    let api_version = object.str_at(&["apiVersion"]).unwrap_or("v1");
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    let kind = object.str_at(&["kind"]).unwrap_or("Pod");
    let Some(resource) = CATALOGUE.by_kind(group, version, kind).cloned() else {
        return;
    };
    if strict::check_and_prune(&resource, &mut object).is_err() {
        return;
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

//! A line is an object, the second a patch: no kind of patch panics, and what comes out of it is a
//! document again.
#![no_main]

use freehold_model::{Catalogue, Value, json, limits, patch, strategic};
use std::sync::{Arc, LazyLock};

static CATALOGUE: LazyLock<Arc<Catalogue>> =
    LazyLock::new(|| Catalogue::builtin(36).expect("built in"));

fn read(bytes: &[u8]) -> Option<Value> {
    json::parse(bytes).ok().map(|d| d.value)
}

/// What a patch made may be larger than a body; then the next decoder says so.
fn check(object: &Value) {
    let written = json::to_vec(object);
    match json::parse(&written) {
        Ok(again) => {
            // 1.0 and -0.0 become whole numbers once, as upstream has it.
            let again = json::to_vec(&again.value);
            let third = json::parse(&again).expect("own text is read");
            assert_eq!(json::to_vec(&third.value), again);
        }
        Err(why) => assert!(
            written.len() > limits::MAX_BODY || why.code == 413,
            "{why:?}"
        ),
    }
}

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let mut lines = bytes.splitn(2, |b| *b == b'\n');
    let (Some(first), Some(second)) = (lines.next(), lines.next()) else {
        return;
    };
    let (Some(object), Some(change)) = (read(first), read(second)) else {
        return;
    };
    let mut target = object.clone();
    if patch::json_patch(&mut target, &change).is_ok() {
        check(&target);
    }
    let mut target = object.clone();
    if patch::merge_patch(&mut target, &change).is_ok() {
        check(&target);
        // Merging the same again changes nothing.
        let once = target.clone();
        patch::merge_patch(&mut target, &change).expect("merged before");
        assert_eq!(once, target);
    }
    let api_version = object.str_at(&["apiVersion"]).unwrap_or("v1");
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    let kind = object.str_at(&["kind"]).unwrap_or("Pod");
    if let Some(resource) = CATALOGUE.by_kind(group, version, kind) {
        let mut target = object.clone();
        if strategic::strategic_merge(&resource.types, resource.root, &mut target, &change).is_ok()
        {
            check(&target);
        }
    }
});

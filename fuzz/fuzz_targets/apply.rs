//! Every line is applied by the next manager in turn, or replaces the object: nothing panics, and
//! who applies what is there already changes nothing.
#![no_main]

use freehold_model::apply::{Applier, apply, track_update};
use freehold_model::{Catalogue, Value, json, strict};
use std::sync::{Arc, LazyLock};

static CATALOGUE: LazyLock<Arc<Catalogue>> =
    LazyLock::new(|| Catalogue::builtin(36).expect("built in"));

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let mut live: Option<Value> = None;
    for (i, line) in bytes.split(|b| *b == b'\n').take(6).enumerate() {
        let Ok(read) = json::parse(line) else { return };
        let mut config = read.value;
        let api_version = config.str_at(&["apiVersion"]).unwrap_or("v1").to_owned();
        let (group, version) = api_version.split_once('/').unwrap_or(("", &api_version));
        let kind = config.str_at(&["kind"]).unwrap_or("Pod").to_owned();
        let Some(resource) = CATALOGUE.by_kind(group, version, &kind).cloned() else {
            return;
        };
        if strict::check_and_prune(&resource, &mut config).is_err() {
            return;
        }
        let by = Applier {
            manager: ["one", "two", "kubectl"][i % 3],
            force: i % 2 == 0,
            subresource: "",
            now: "2026-01-01T00:00:00Z",
            versions: &freehold_model::apply::Alike,
        };
        if i % 4 == 3 {
            track_update(&resource, live.as_ref(), &mut config, &by);
            live = Some(config);
            continue;
        }
        let Ok(object) = apply(&resource, live.as_ref(), &config, &by) else {
            continue;
        };
        let again = Applier { force: true, ..by };
        let _ = apply(&resource, Some(&object), &config, &again);
        live = Some(object);
    }
});

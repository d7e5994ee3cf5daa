//! The manifests of the documents, and what becomes of them: `tests/fixtures` in, `tests/golden`
//! out. After a deliberate change: `cargo test -p freehold-tenancy -- --ignored write_golden`.

use super::{capsule, kamaji, kubeflex};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

fn dir(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests")
        .join(name)
}

fn fixture<K: DeserializeOwned>(name: &str) -> K {
    let text = std::fs::read_to_string(dir("fixtures").join(name)).unwrap();
    serde_saphyr::from_str(&text).unwrap()
}

fn outcome(spec: &impl serde::Serialize, without_effect: &[String]) -> String {
    let spec: Value = serde_json::to_value(spec).unwrap();
    serde_saphyr::to_string(&json!({ "spec": spec, "withoutEffect": without_effect })).unwrap()
}

/// Every fixture that is translated, with what becomes of it.
fn outcomes() -> Vec<(&'static str, String)> {
    let served = ["v1.36.3".to_owned(), "v1.28.15".to_owned()];
    let mut all = Vec::new();
    let tcp = fixture("kamaji-customer2.yaml");
    let (spec, fields) = kamaji::golden(&tcp, &served);
    all.push(("kamaji-customer2.yaml", outcome(&spec, &fields)));
    for name in ["kubeflex-custom-tenant.yaml", "kubeflex-secure-tenant.yaml"] {
        let (spec, fields) = kubeflex::golden(&fixture(name));
        all.push((name, outcome(&spec, &fields)));
    }
    let (spec, fields) = capsule::golden(&fixture("capsule-dev-team.yaml"));
    all.push(("capsule-dev-team.yaml", outcome(&spec, &fields)));
    all
}

#[test]
fn the_manifests_of_the_documents_are_translated_as_recorded() {
    for (name, text) in outcomes() {
        let recorded = std::fs::read_to_string(dir("golden").join(name)).unwrap_or_default();
        assert_eq!(text, recorded, "tests/golden/{name}");
    }
}

#[test]
#[ignore = "writes the golden files"]
fn write_golden() {
    for (name, text) in outcomes() {
        std::fs::write(dir("golden").join(name), text).unwrap();
    }
}

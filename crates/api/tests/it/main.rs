//! The committed definitions are those of the types.

mod text;

use text::text;

#[test]
fn the_committed_definitions_are_fresh() {
    let dir = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../crds");
    let mut expected: Vec<String> = Vec::new();
    for crd in freehold_api::crds::all() {
        let name = freehold_api::crds::file_name(&crd);
        let committed = std::fs::read_to_string(dir.join(&name)).unwrap_or_default();
        assert_eq!(
            committed,
            text(&crd).unwrap(),
            "crds/{name} is stale: run `cargo run -p freehold-api --example crds`"
        );
        expected.push(name);
    }
    let mut found: Vec<String> = std::fs::read_dir(&dir)
        .unwrap()
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .collect();
    expected.sort();
    found.sort();
    assert_eq!(found, expected, "crds/ holds a file that no type generates");
}

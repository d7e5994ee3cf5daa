//! Table cells as upstream's printers write them: `upstream/cmd/print`, fed with objects of
//! `upstream/cmd/oracle` and with the `object`s of the recording itself.

use freehold_model::catalogue::{Catalogue, DEFAULT_MINOR};
use freehold_model::{Value, json, table};

const RECORDED: &str = include_str!("../recordings/table.jsonl");

#[test]
fn cells_are_those_of_upstream() {
    let catalogue = Catalogue::builtin(DEFAULT_MINOR).expect("catalogue");
    let mut wrong = Vec::new();
    for line in RECORDED.lines() {
        let recorded = json::parse(line.as_bytes()).expect("json").value;
        let object = recorded.get("object").expect("object");
        let api_version = object.str_at(&["apiVersion"]).expect("apiVersion");
        let (group, version) = api_version.rsplit_once('/').unwrap_or(("", api_version));
        let kind = object.str_at(&["kind"]).expect("kind");
        let resource = catalogue
            .by_kind(group, version, kind)
            .unwrap_or_else(|| panic!("{api_version} {kind}"));
        let columns: Vec<Value> = table::columns(resource)
            .into_iter()
            .map(|c| c.name.into())
            .collect();
        // some kinds have a printer that their storage does not use
        if columns == ["Name".into(), "Created At".into()] {
            continue;
        }
        assert_eq!(
            recorded.get("columns"),
            Some(&Value::Array(columns)),
            "{kind}"
        );
        let now = recorded.at(&["now"]).and_then(Value::as_i64).expect("now");
        let want = recorded
            .get("cells")
            .and_then(Value::as_array)
            .expect("cells");
        // upstream's printer of IPAddress writes a cell that has no column
        let want = if kind == "IPAddress" {
            &want[..2]
        } else {
            want
        };
        // the recorded second may have ended while the row was printed
        let cells = |now| table::Printer::new(resource, now).cells(object);
        let got = cells(now);
        if got != want && cells(now + 1) != want {
            wrong.push(format!("{kind}: {line}\n  got  {got:?}\n  want {want:?}"));
        }
    }
    assert!(
        wrong.is_empty(),
        "{} rows differ:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}

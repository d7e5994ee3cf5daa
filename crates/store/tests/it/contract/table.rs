//! `docs/contract.md`: which driver passed which case. Whoever ran the suite on a driver finds its
//! column there as it was, or the page is out of date; `FREEHOLD_UPDATE_SNAPSHOTS=1` writes it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

const HEAD: &str = "\
# The datastore contract, by driver

Every case of `crates/store/tests/it/contract`, as it went on each driver. The `etcd` column is a
real etcd 3.6.8 through its driver: it shows that the cases say what etcd does. `endpoint over …` is
the etcd v3 endpoint (`freehold store serve`) over that driver, used through the etcd driver.

Written by `FREEHOLD_UPDATE_SNAPSHOTS=1 cargo test -p freehold-store contract`; each of those tests
fails when its column here is out of date.

";

/// By case, the drivers that passed it.
type Table = BTreeMap<String, BTreeSet<String>>;

fn parse(text: &str) -> Table {
    let cells = |line: &str| -> Vec<String> {
        let line = line.trim().trim_matches('|');
        line.split('|').map(|cell| cell.trim().to_owned()).collect()
    };
    let mut lines = text.lines().filter(|line| line.starts_with('|'));
    let drivers = lines.next().map(cells).unwrap_or_default();
    let rows = lines.skip(1).map(cells).map(|row| {
        let passed = drivers.iter().zip(&row).skip(1);
        let passed = passed.filter(|(_, cell)| *cell == "yes");
        (
            row[0].trim_matches('`').to_owned(),
            passed.map(|(driver, _)| driver.clone()).collect(),
        )
    });
    rows.collect()
}

fn render(table: &Table) -> String {
    let drivers: BTreeSet<&String> = table.values().flatten().collect();
    let names: Vec<&str> = drivers.iter().map(|driver| driver.as_str()).collect();
    let mut text = format!("{HEAD}| case | {} |\n", names.join(" | "));
    text.push_str(&format!("|---|{}\n", "---|".repeat(names.len())));
    for (case, passed) in table {
        let cell = |driver: &&String| if passed.contains(*driver) { "yes" } else { "" };
        let cells: Vec<&str> = drivers.iter().map(cell).collect();
        text.push_str(&format!("| `{case}` | {} |\n", cells.join(" | ")));
    }
    text
}

pub(super) fn check(driver: &str, cases: &[&str]) {
    // Tests of several drivers run at once.
    static FILE: Mutex<()> = Mutex::new(());
    let _file = FILE.lock().unwrap_or_else(PoisonError::into_inner);
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../docs/contract.md");
    let text = std::fs::read_to_string(&path).unwrap_or_default();
    let mut table = parse(&text);
    table.retain(|case, _| cases.contains(&case.as_str()));
    for case in cases {
        let passed = table.entry((*case).to_owned()).or_default();
        passed.insert(driver.to_owned());
    }
    let expected = render(&table);
    if std::env::var_os("FREEHOLD_UPDATE_SNAPSHOTS").is_some() {
        std::fs::write(&path, &expected).expect("writing the page");
        return;
    }
    assert!(
        text == expected,
        "docs/contract.md is out of date for {driver}: FREEHOLD_UPDATE_SNAPSHOTS=1 cargo test -p freehold-store contract"
    );
}

//! What a check of a directory says of damage: all of it, and where.

use crate::support::{put, until, value};
use freehold_store::embedded::{Checked, Embedded, Options};
use freehold_store::{Error, Keyspaces};
use std::path::{Path, PathBuf};

/// A log in several files, all of which stay.
fn options() -> Options {
    Options {
        segment_bytes: 64 << 10,
        ..Options::default()
    }
}

async fn check(dir: &Path) -> Checked {
    let checked = Embedded::check(dir, options()).await;
    checked.expect("it looks at everything")
}

fn files(dir: &Path, ending: &str) -> Vec<PathBuf> {
    let names = std::fs::read_dir(dir).expect("dir");
    let paths = names.map(|entry| entry.expect("entry").path());
    let mut paths: Vec<_> = paths
        .filter(|path| path.extension().is_some_and(|found| found == ending))
        .collect();
    paths.sort();
    paths
}

fn damage(path: &Path, at: usize) {
    let mut data = std::fs::read(path).expect("read");
    data[at] ^= 1;
    std::fs::write(path, data).expect("write");
}

/// Two keyspaces, the first with a checkpoint, and some files of the log with tables.
async fn directory() -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("dir");
    let engine = Embedded::open(dir.path(), options()).await.expect("open");
    let one = engine.open("one").await.expect("keyspace");
    put(&*one, "k", "v").await;
    engine.sleep("one").await.expect("sleep");
    let two = engine.open("two").await.expect("keyspace");
    for n in 0..20 {
        put(&*two, &format!("k{n}"), &"v".repeat(20_000)).await;
    }
    let log = dir.path().join("log");
    until("there are tables", || async {
        files(&log, "toc").len() > 3
    })
    .await;
    engine.close();
    drop((one, two, engine));
    let found = check(dir.path()).await;
    assert_eq!((found.keyspaces, found.keys), (2, 21));
    assert_eq!((found.damage, found.remarks), (Vec::new(), Vec::new()));
    assert!(found.opens);
    dir
}

fn damage_the_middle(segment: &Path) {
    // Files have their whole size from the start: far behind the header, not behind the data.
    let len = std::fs::metadata(segment).expect("segment").len();
    damage(segment, usize::try_from(len / 2).expect("small"));
}

#[tokio::test]
async fn damage_in_log_catalog_and_checkpoint_is_all_told() {
    let dir = directory().await;
    let segments = files(&dir.path().join("log"), "log");
    for segment in &segments[1..3] {
        damage_the_middle(segment);
    }
    // Slots are in the order of their making.
    damage(&dir.path().join("catalog"), 512 + 30);
    damage(&files(&dir.path().join("keyspaces"), "ckpt")[0], 40);
    let found = check(dir.path()).await;
    let said = found.damage.join("\n");
    let names = [
        "log segment 2, offset ",
        "log segment 3, offset ",
        "the keyspace catalog, slot 1: bad checksum",
        "the checkpoint of keyspace one fails its authentication",
    ];
    for name in names {
        assert!(said.contains(name), "{name} is not in:\n{said}");
    }
    assert_eq!((found.damage.len(), found.keyspaces), (4, 1), "{said}");
    assert!(!found.opens);
    let refused = Embedded::open(dir.path(), options()).await.err();
    assert!(matches!(refused, Some(Error::Corrupt(_))), "{refused:?}");
}

#[tokio::test]
async fn a_missing_part_of_the_log_and_a_damaged_file_of_keys_are_told() {
    let dir = directory().await;
    let segments = files(&dir.path().join("log"), "log");
    std::fs::remove_file(&segments[1]).expect("remove");
    damage(&dir.path().join("keys"), 10);
    let found = check(dir.path()).await;
    assert_eq!(
        found.damage,
        [
            "the log segment before 3 is missing",
            "the file `keys`, without which no data can be read"
        ]
    );
    assert_eq!((found.keyspaces, found.opens), (2, false));
    // Nothing is made in the place of what is damaged.
    std::fs::remove_file(dir.path().join("keys")).expect("remove");
    damage(&dir.path().join("catalog"), 30);
    damage(&dir.path().join("catalog"), 512 + 30);
    let said = check(dir.path()).await.damage;
    assert_eq!(said.len(), 4, "{said:?}");
    assert!(!dir.path().join("keys").exists());
}

#[tokio::test]
async fn a_damaged_table_is_told_and_does_no_harm() {
    let dir = directory().await;
    let table = files(&dir.path().join("log"), "toc").remove(0);
    damage(&table, 50);
    let found = check(dir.path()).await;
    assert_eq!(found.damage, Vec::<String>::new());
    let name = table.display().to_string();
    assert!(
        matches!(&found.remarks[..], [one] if one.contains(&name)),
        "{:?}",
        found.remarks
    );
    let engine = Embedded::open(dir.path(), options()).await.expect("open");
    let two = engine.open("two").await.expect("keyspace");
    let found = value(&*two, "k19").await;
    assert_eq!(found.map(|text| text.len()), Some(20_000));
    engine.close();
}

#[tokio::test]
async fn whose_records_are_lost_with_a_part_of_the_log_is_told() {
    let dir = directory().await;
    let segments = files(&dir.path().join("log"), "log");
    damage_the_middle(&segments[1]);
    let found = check(dir.path()).await;
    let said = found.damage.join("\n");
    assert!(said.contains("keyspace two: log segment "), "{said}");
    assert_eq!(found.keys, 1, "the other is whole");
}

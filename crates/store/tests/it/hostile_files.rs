//! What fuzzing found in files, with the files made by hand. `fuzz/` has the targets.

use crate::given_up::Gate;
use freehold_store::Error;
use freehold_store::embedded::disk::RealDisk;
use freehold_store::embedded::fuzzing::{
    KEYSPACES, batch, checkpoint_files, checksum, read_backup, read_checkpoint, read_log, sealed,
    write_backup, write_checkpoint, write_header,
};
use std::path::Path;

fn number(n: u64) -> [u8; 8] {
    n.to_le_bytes()
}

fn small(n: u32) -> [u8; 4] {
    n.to_le_bytes()
}

/// A table of contents that says there is one record; of segment 1, which ends at 1,024.
fn table(last: u64, offset: u64, len: u64) -> Vec<u8> {
    let mut out = b"FHTOC\0\0\x01".to_vec();
    for n in [1, 1, last, 1024, 1, KEYSPACES[0], 1, 1, offset << 32 | len] {
        out.extend(number(n));
    }
    let sum = checksum(&out);
    out.extend(sum);
    out
}

/// Two segments with one empty record each; of the first there is this table of contents.
fn two_segments(dir: &Path, second: u64, table: &[u8]) {
    let log = dir.join("log");
    std::fs::create_dir(&log).expect("a directory");
    for (segment, first) in [(1_u64, 1), (2, second)] {
        write_header(&RealDisk, dir, (segment, first), &[]).expect("written");
        let path = log.join(format!("{segment:016}.log"));
        let mut data = std::fs::read(&path).expect("read");
        let record = [&number(KEYSPACES[0])[..], &number(1), &small(0)].concat();
        data.extend(batch(segment, first, &record));
        std::fs::write(&path, data).expect("written");
    }
    std::fs::write(log.join(format!("{:016}.toc", 1)), table).expect("written");
}

#[test]
fn a_table_that_names_more_than_its_segment_has_is_not_believed() {
    for (offset, len) in [(564, 461), (900, u64::from(u32::MAX)), (4_000_000_000, 4)] {
        let dir = tempfile::tempdir().expect("dir");
        two_segments(dir.path(), 2, &table(1, offset, len));
        let error = read_log(&RealDisk, dir.path(), true).expect_err("the records are empty");
        let text = error.to_string();
        // The segment itself was read instead, and has its record there.
        assert!(
            text.contains("log segment 1, offset 564: the record"),
            "{text}"
        );
    }
    let dir = tempfile::tempdir().expect("dir");
    two_segments(dir.path(), 2, &table(1, 600, 100));
    let error = read_log(&RealDisk, dir.path(), true).expect_err("it is believed");
    assert!(
        error.to_string().contains("log segment 1, offset 600"),
        "{error}"
    );
}

#[test]
fn the_last_of_all_batches_is_nobody_s() {
    let dir = tempfile::tempdir().expect("dir");
    two_segments(dir.path(), 2, &table(u64::MAX, 564, 0));
    let error = read_log(&RealDisk, dir.path(), true).expect_err("the record is empty");
    assert!(
        error.to_string().contains("the record does not fit"),
        "{error}"
    );
    let dir = tempfile::tempdir().expect("dir");
    two_segments(dir.path(), u64::MAX, &table(1, 564, 0));
    let error = read_log(&RealDisk, dir.path(), true).expect_err("no such header");
    assert!(error.to_string().contains("bad segment header"), "{error}");
}

#[test]
fn no_changed_byte_of_a_checkpoint_or_a_backup_goes_unnoticed() {
    let dir = tempfile::tempdir().expect("dir");
    std::fs::create_dir(dir.path().join("keyspaces")).expect("a directory");
    write_checkpoint(&RealDisk, dir.path(), &[3, 200, 0]).expect("written");
    let [checkpoint, values] = checkpoint_files(dir.path());
    let whole = read_checkpoint(&RealDisk, dir.path()).expect("whole");
    for file in [checkpoint, values] {
        let mut data = std::fs::read(&file).expect("read");
        for at in 0..data.len() {
            for bits in [1, 2, 0x80] {
                data[at] ^= bits;
                std::fs::write(&file, &data).expect("written");
                match read_checkpoint(&RealDisk, dir.path()) {
                    Err(error) => assert!(matches!(error, Error::Corrupt(_)), "{error}"),
                    // One value says that it is damaged; of the header a part means nothing.
                    Ok(found) => {
                        let unread = found.iter().any(|(_, _, text)| text.contains("Corrupt"));
                        assert!(unread || (8..16).contains(&at), "{} {at}", file.display());
                        assert_eq!(unread, found != whole);
                    }
                }
                data[at] ^= bits;
            }
        }
        std::fs::write(&file, &data).expect("written");
    }
    let file = dir.path().join("backup");
    write_backup(&RealDisk, &file).expect("written");
    assert_eq!(read_backup(&file).expect("whole").len(), 2);
    let mut data = std::fs::read(&file).expect("read");
    for at in 0..data.len() {
        data[at] ^= 2;
        std::fs::write(&file, &data).expect("written");
        let found = read_backup(&file);
        assert!(matches!(found, Err(Error::Corrupt(_))), "byte {at}");
        data[at] ^= 2;
    }
}

/// A backup of these keys, each with its versions: revision, revision of its making, how often put.
fn backup(rev: u64, compacted: u64, lease: i64, keys: &[(&[u8], &[[u64; 3]])]) -> Vec<u8> {
    let mut head = [number(rev), number(compacted), number(0)].concat();
    head.extend(small(1));
    for n in [lease.cast_unsigned(), 60, 1] {
        head.extend(number(n));
    }
    let mut entries = Vec::new();
    for (key, versions) in keys {
        entries.extend(small(u32::try_from(key.len()).expect("short")));
        entries.extend_from_slice(key);
        entries.extend(small(u32::try_from(versions.len()).expect("few")));
        for numbers in *versions {
            entries.extend(numbers.iter().copied().flat_map(number));
            // no lease, the first of its revision, a value of one byte in here
            entries.extend([number(0).as_slice(), &small(0), &[0], &small(1), b"v"].concat());
        }
    }
    let foot = [&small(0)[..], &number(0)].concat();
    sealed(false, 0, &[&head, &entries, &foot])
}

#[test]
fn a_whole_backup_of_no_keyspace_is_refused() {
    let dir = tempfile::tempdir().expect("dir");
    let file = dir.path().join("backup");
    let read = |data: &[u8]| {
        std::fs::write(&file, data).expect("written");
        read_backup(&file)
    };
    let good: &[[u64; 3]] = &[[3, 2, 2], [7, 2, 3]];
    let found = read(&backup(9, 2, 5, &[(b"a", good), (b"b", &[[8, 0, 0]])]));
    assert_eq!(found.expect("it can have been one").len(), 3);
    let long = vec![b'a'; 20_000];
    for (what, data) in [
        ("no revision", backup(0, 0, 5, &[])),
        ("the last revision", backup(u64::MAX, 2, 5, &[(b"a", good)])),
        ("compacted later", backup(9, 10, 5, &[(b"a", good)])),
        ("a lease without an id", backup(9, 2, -5, &[(b"a", good)])),
        ("no order", backup(9, 2, 5, &[(b"b", good), (b"a", good)])),
        ("twice", backup(9, 2, 5, &[(b"a", good), (b"a", good)])),
        ("no key", backup(9, 2, 5, &[(b"", good)])),
        ("a long key", backup(9, 2, 5, &[(&long, good)])),
        ("changed later", backup(6, 2, 5, &[(b"a", good)])),
        (
            "versions without order",
            backup(9, 2, 5, &[(b"a", &[[7, 2, 3], [3, 2, 2]])]),
        ),
        (
            "put as often as can be",
            backup(9, 2, 5, &[(b"a", &[[7, 2, u64::MAX]])]),
        ),
        ("never made", backup(9, 2, 5, &[(b"a", &[[7, 0, 1]])])),
    ] {
        let found = read(&data);
        assert!(matches!(found, Err(Error::Corrupt(_))), "{what}: {found:?}");
    }
}

#[test]
fn no_room_is_made_for_a_value_that_is_not_there() {
    let dir = tempfile::tempdir().expect("dir");
    std::fs::create_dir(dir.path().join("keyspaces")).expect("a directory");
    let [checkpoint, values] = checkpoint_files(dir.path());
    std::fs::write(&values, [&b"FHVALS\0\x01"[..], &[0; 200]].concat()).expect("written");
    let head = [number(9), number(2), number(1)].concat();
    let head = [&head[..], &small(0)].concat();
    let mut entry = [&small(1)[..], b"a", &small(1)].concat();
    entry.extend([3, 3, 1, 0].into_iter().flat_map(number));
    // The first of its revision, a gigabyte at the beginning of the first file.
    let spot = 1 << 48 | 16;
    entry.extend([&small(0)[..], &[1], &small(1 << 30), &number(spot)].concat());
    let foot = [&small(1)[..], &number(200), &number(16), &[0; 8]].concat();
    let data = sealed(false, KEYSPACES[0], &[&head, &entry, &foot]);
    std::fs::write(&checkpoint, data).expect("written");
    let disk = Gate::new();
    let found = read_checkpoint(&disk, dir.path()).expect("all but the value");
    assert!(found[0].2.contains("is cut short"), "{found:?}");
    assert!(disk.most_read() < 1 << 20, "{}", disk.most_read());
}

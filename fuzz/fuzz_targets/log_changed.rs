//! A log that was written as the engine writes it, and changed: what is read of it is what was
//! written, to its end or to an earlier place, or it is said to be damaged.
#![no_main]

use freehold_fuzz::{Input, MemDisk};
use freehold_store::Error;
use freehold_store::embedded::disk::Disk;
use freehold_store::embedded::fuzzing::{self, Said};
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};

type Files = Vec<(PathBuf, Vec<u8>)>;
type Whole = (Files, Vec<(u64, Vec<Said>)>);

const DIR: &str = "/fuzz";

/// Segments that were new, and segments of which the first was used before.
static WHOLE: LazyLock<[Whole; 2]> = LazyLock::new(|| [written(false), written(true)]);

fn written(again: bool) -> Whole {
    let disk = MemDisk::default();
    let batches: Vec<Vec<usize>> = (0..24)
        .map(|n| {
            (0..n % 4 + 1)
                .map(|m| 10 + n * 37 % 300 + m * 500)
                .collect()
        })
        .collect();
    let shared: Arc<dyn Disk> = Arc::new(disk.clone());
    fuzzing::write_log(&shared, Path::new(DIR), 16 << 10, &batches, again).expect("written");
    let read = fuzzing::read_log(&disk, Path::new(DIR), false).expect("whole");
    let mut files = disk.files();
    for (_, data) in &mut files {
        // Of the zeroes behind the end a few are enough.
        let end = data.iter().rposition(|b| *b != 0).map_or(0, |at| at + 1);
        data.truncate(end.next_multiple_of(512) + 1024);
    }
    (files, read)
}

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let mut input = Input(bytes);
    let how = input.byte();
    let (files, whole) = &WHOLE[usize::from(how & 1)];
    let mut files = files.clone();
    loop {
        let at = usize::from(input.byte()) % files.len();
        if !input.change(&mut files[at].1) {
            break;
        }
    }
    if how & 4 != 0 {
        // The newest may be missing, as if it had never been.
        let last = files
            .iter()
            .rposition(|(path, _)| path.extension().is_some_and(|e| e == "log"));
        last.map(|at| files.remove(at));
    }
    let disk = MemDisk::default();
    for (path, data) in files {
        disk.put(&path, data);
    }
    match fuzzing::read_log(&disk, Path::new(DIR), how & 2 != 0) {
        Err(error) => assert!(matches!(error, Error::Corrupt(_)), "{error}"),
        Ok(read) => {
            for (number, said) in read {
                let all = whole.iter().find(|(known, _)| *known == number);
                let (_, all) = all.expect("a keyspace that was written");
                assert!(all.starts_with(&said), "{said:?}");
            }
        }
    }
});

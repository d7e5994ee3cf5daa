//! Checkpoints, files of values and backups: of any bytes, of any blocks under a true seal, and
//! those that were written, changed. They are read as they were or refused.
#![no_main]

use freehold_fuzz::{Counting, Input, MemDisk, most};
use freehold_store::Error;
use freehold_store::embedded::fuzzing::{self, Said};
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const DIR: &str = "/fuzz";
const ALWAYS: usize = 8 << 20;

type Whole = (Vec<(PathBuf, Vec<u8>)>, Vec<Said>);

static WHOLE: LazyLock<Whole> = LazyLock::new(|| {
    let disk = MemDisk::default();
    let sizes: Vec<usize> = (0..60).map(|n| n * 53 % 400).collect();
    fuzzing::write_checkpoint(&disk, Path::new(DIR), &sizes).expect("written");
    let read = fuzzing::read_checkpoint(&disk, Path::new(DIR)).expect("whole");
    (disk.files(), read)
});

static BACKUP: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let disk = MemDisk::default();
    fuzzing::write_backup(&disk, Path::new("/fuzz/backup")).expect("written");
    disk.files().swap_remove(0).1
});

/// A backup is read where it is; its file is in memory where the system has such a place.
static FILE: LazyLock<PathBuf> = LazyLock::new(|| {
    let dir = [Path::new("/dev/shm"), &std::env::temp_dir()]
        .into_iter()
        .find(|dir| dir.is_dir())
        .map(Path::to_owned);
    let name = format!("freehold-fuzz-{}", std::process::id());
    dir.unwrap_or_default().join(name)
});

fn fine<T>(read: Result<T, Error>) -> Option<T> {
    match read {
        Ok(read) => Some(read),
        Err(Error::Corrupt(_)) => None,
        Err(error) => panic!("{error}"),
    }
}

fn backup(data: &[u8]) -> Option<Vec<Said>> {
    std::fs::write(&*FILE, data).expect("written");
    let read = fuzzing::read_backup(&FILE);
    std::fs::remove_file(&*FILE).expect("removed");
    fine(read)
}

fn checkpoint(files: Vec<(PathBuf, Vec<u8>)>) -> Option<Vec<Said>> {
    let size: usize = files.iter().map(|(_, data)| data.len()).sum();
    let disk = MemDisk::default();
    for (path, data) in files {
        disk.put(&path, data);
    }
    let (read, held) = most(|| fuzzing::read_checkpoint(&disk, Path::new(DIR)));
    assert!(held <= ALWAYS + 64 * size, "{held} bytes for {size}");
    fine(read)
}

fn sealed(input: &mut Input<'_>, parts: bool, number: u64) -> Vec<u8> {
    let mut blocks = Vec::new();
    while !input.is_empty() && blocks.len() < 12 {
        blocks.push(input.part());
    }
    fuzzing::sealed(parts, number, &blocks)
}

/// A value that cannot be read says so; all else is as it was.
fn as_written(read: &[Said], whole: &[Said]) {
    assert_eq!(read.len(), whole.len());
    for (read, whole) in read.iter().zip(whole) {
        assert!(read == whole || read.2.contains("Err(Corrupt"), "{read:?}");
    }
}

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let mut input = Input(bytes);
    let [file, values] = fuzzing::checkpoint_files(Path::new(DIR));
    let how = input.byte();
    match how % 6 {
        0 => {
            let data = input.part().to_vec();
            checkpoint(vec![(file, data), (values, input.0.to_vec())]);
        }
        1 | 2 => {
            let beside = input.part().to_vec();
            let data = sealed(&mut input, how & 8 != 0, fuzzing::KEYSPACES[0]);
            checkpoint(vec![(file, data), (values, beside)]);
        }
        3 => {
            let mut files = WHOLE.0.clone();
            loop {
                let at = usize::from(input.byte()) % files.len();
                if !input.change(&mut files[at].1) {
                    break;
                }
            }
            if let Some(read) = checkpoint(files) {
                as_written(&read, &WHOLE.1);
            }
        }
        4 => {
            let data = sealed(&mut input, how & 8 != 0, 0);
            backup(&data);
        }
        _ => {
            let mut data = BACKUP.clone();
            while input.change(&mut data) {}
            if let Some(read) = backup(&data) {
                assert_eq!(read.len(), 2);
                assert_eq!(data, *BACKUP);
            }
        }
    }
});

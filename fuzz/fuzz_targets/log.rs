//! Segments of a log and their tables of contents, of any bytes, with and without true checksums:
//! they are read or refused, within memory in proportion to them.
#![no_main]

use freehold_fuzz::{Counting, Input, MemDisk, most};
use freehold_store::Error;
use freehold_store::embedded::fuzzing;
use std::path::Path;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// What reading needs whatever there is: pieces of files, and what is read ahead.
const ALWAYS: usize = 8 << 20;

/// One segment; a few of them follow each other.
fn segment(input: &mut Input<'_>, disk: &MemDisk, dir: &Path, number: u64) {
    let log = dir.join("log");
    let path = log.join(format!("{number:016}.log"));
    let kind = input.byte();
    if kind & 1 == 0 {
        disk.put(&path, input.part().to_vec());
    } else {
        let first = u64::from(input.byte());
        let table = input.part();
        fuzzing::write_header(disk, dir, (number, first), table).expect("written");
        let mut data = file(disk, &path);
        data.resize(data.len().next_multiple_of(512), 0);
        let mut next = first;
        while input.byte() & 3 != 0 {
            let payload = input.part();
            if let [0xff, rest @ ..] = payload {
                fuzzing::record(rest);
            }
            data.extend(fuzzing::batch(number, next, payload));
            // Most often they follow each other.
            next = next.wrapping_add(u64::from(input.byte().wrapping_add(1)));
        }
        data.extend_from_slice(input.part());
        disk.put(&path, data);
    }
    if kind & 2 != 0 {
        let mut toc = input.part().to_vec();
        toc.extend(fuzzing::checksum(&toc));
        disk.put(&log.join(format!("{number:016}.toc")), toc);
    }
}

fn file(disk: &MemDisk, path: &Path) -> Vec<u8> {
    let files = disk.files();
    let found = files.into_iter().find(|(name, _)| name == path);
    found.map(|(_, data)| data).unwrap_or_default()
}

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let (mut input, disk, dir) = (Input(bytes), MemDisk::default(), Path::new("/fuzz"));
    let how = input.byte();
    for number in 1..=u64::from(how % 4) + 1 {
        segment(&mut input, &disk, dir, number);
    }
    let size: usize = disk.files().iter().map(|(_, data)| data.len()).sum();
    for trust in [false, true] {
        let (read, held) = most(|| fuzzing::read_log(&disk, dir, trust));
        assert!(held <= ALWAYS + 64 * size, "{held} bytes for {size}");
        if let Err(error) = read {
            assert!(matches!(error, Error::Corrupt(_)), "{error}");
        }
    }
    if let Some((records, end)) = fuzzing::read_toc(&disk, dir, 1) {
        assert!(records <= size && end <= size, "{end} of {size}");
    }
    let _ = fuzzing::survey_log(&disk, dir);
});

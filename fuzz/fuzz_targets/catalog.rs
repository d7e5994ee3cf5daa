//! The small files of a directory, of any bytes with true checksums: the catalog of keyspaces, the
//! ring of keys, the table of a log segment.
#![no_main]

use freehold_fuzz::{Input, MemDisk};
use freehold_store::Error;
use freehold_store::embedded::fuzzing;
use std::path::Path;

const SLOT: usize = 512;

fn summed(data: &[u8]) -> Vec<u8> {
    [data, &fuzzing::checksum(data)].concat()
}

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let (mut input, disk, dir) = (Input(bytes), MemDisk::default(), Path::new("/fuzz"));
    match input.byte() % 4 {
        0 => {
            disk.put(&dir.join("catalog"), input.0.to_vec());
            let read = fuzzing::read_catalog(&disk, dir);
            assert!(matches!(read, Ok(_) | Err(Error::Corrupt(_))));
        }
        1 => {
            let mut data = Vec::new();
            while !input.is_empty() {
                let mut slot = input.part().to_vec();
                slot.resize(SLOT - 4, 0);
                data.extend(summed(&slot));
            }
            disk.put(&dir.join("catalog"), data);
            let read = fuzzing::read_catalog(&disk, dir);
            assert!(matches!(read, Ok(_) | Err(Error::Corrupt(_))));
        }
        2 => {
            let _ = fuzzing::read_keys(input.0);
            let _ = fuzzing::read_keys(&summed(input.0));
        }
        _ => {
            let size = input.number();
            fuzzing::write_header(&disk, dir, (1, 1), &[]).expect("written");
            let path = dir.join("log").join(format!("{:016}.log", 1));
            let (_, mut segment) = disk.files().swap_remove(0);
            segment.resize(segment.len() + size, 1);
            let whole = segment.len();
            disk.put(&path, segment);
            let toc = dir.join("log").join(format!("{:016}.toc", 1));
            disk.put(&toc, summed(input.0));
            if let Some((records, end)) = fuzzing::read_toc(&disk, dir, 1) {
                assert!(records * 32 <= bytes.len());
                assert!(end <= whole, "{end} of {whole}");
            }
        }
    }
});

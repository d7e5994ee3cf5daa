//! Lines that come in on `control.sock`, and the datastores that they name: refused, or what is read
//! is read again from what is written of it.
#![no_main]

// The program has no library: these two files need nothing else of it.
#[path = "../../crates/freehold/src/cli/store/place.rs"]
mod place;
#[path = "../../crates/freehold/src/cli/store/job.rs"]
mod job;

use place::Place;
use job::{Job, Secret};

fn place(text: &str) {
    let Ok(place) = text.parse::<Place>() else {
        return;
    };
    assert!(!place.to_string().is_empty());
    let again = place.url().parse();
    assert_eq!(again, Ok(place), "{text:?}");
}

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    place(text);
    let Ok(job) = Job::read(text) else {
        return;
    };
    let line = job.line().expect("a job is written");
    let written = std::str::from_utf8(&line).expect("JSON");
    assert_eq!(written.find('\n'), Some(written.len() - 1));
    let again = Job::read(written).expect("what is written is read");
    assert_eq!(again.line().expect("a job is written"), line);
    match &job {
        Job::Backup { key, .. } | Job::Restore { key, .. } => {
            if let Ok(key) = key.key() {
                let again = Secret::new(&key).key();
                assert_eq!(again.expect("a key"), key);
            }
        }
        Job::Copy(ends) | Job::Move { ends, .. } => {
            place(&ends.from);
            place(&ends.to);
        }
        Job::Export { from: text, .. } | Job::Import { to: text, .. } => place(text),
        Job::Rekey { .. } | Job::Fence { .. } => {}
    }
    for dir in job.dirs() {
        // Those of datastores by their addresses; the others are as the asker wrote them.
        let by_address = matches!(job, Job::Copy(_) | Job::Move { .. });
        assert!(dir.is_absolute() || !by_address);
    }
});

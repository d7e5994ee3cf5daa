//! Documents that hold nothing of one tenant: written once, shared by every control plane.

use bytes::Bytes;
use std::collections::BTreeMap;
use std::sync::{LazyLock, Mutex, PoisonError};

/// All documents of one minor version are about 12 MB; beyond the bound one starts anew.
const MAX_BYTES: usize = 48 * 1024 * 1024;

static DOCUMENTS: LazyLock<Mutex<BTreeMap<(u8, String), Bytes>>> = LazyLock::new(Mutex::default);

/// The document `name` of a minor version, written by `write` when nobody asked for it yet.
pub(super) fn get(minor: u8, name: &str, write: impl FnOnce() -> Bytes) -> Bytes {
    let all = || DOCUMENTS.lock().unwrap_or_else(PoisonError::into_inner);
    let key = (minor, name.to_owned());
    if let Some(document) = all().get(&key) {
        return document.clone();
    }
    // Not under the lock: two may write the same, none waits for another's document.
    let document = write();
    let mut all = all();
    let held: usize = all.values().map(Bytes::len).sum();
    if held + document.len() > MAX_BYTES {
        all.clear();
    }
    all.insert(key, document.clone());
    document
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_is_written_once_and_its_bytes_are_shared() {
        let first = get(0, "a", || Bytes::from(vec![1; 10]));
        let second = get(0, "a", || Bytes::from(vec![2; 10]));
        assert_eq!(first.as_ptr(), second.as_ptr());
        assert_ne!(get(1, "a", || Bytes::from(vec![3; 10])), first);
    }
}

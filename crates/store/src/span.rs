//! Key intervals as the contract writes them.

use bytes::Bytes;

/// `[lo, hi)`, where an empty `hi` means only `lo` and one zero byte means to the end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Span {
    pub lo: Bytes,
    pub hi: Bytes,
}

impl Span {
    pub fn new(lo: Bytes, hi: Bytes) -> Self {
        Self { lo, hi }
    }

    /// Only one key.
    pub fn is_point(&self) -> bool {
        self.hi.is_empty()
    }

    /// No upper end.
    pub fn is_open(&self) -> bool {
        self.hi[..] == [0]
    }

    /// Whether `key` is below the upper end.
    pub fn below_end(&self, key: &[u8]) -> bool {
        if self.is_point() {
            key <= &self.lo[..]
        } else {
            self.is_open() || key < &self.hi[..]
        }
    }

    pub fn contains(&self, key: &[u8]) -> bool {
        key >= &self.lo[..] && self.below_end(key)
    }

    /// Whether no key can be inside.
    pub fn is_empty(&self) -> bool {
        !self.is_point() && !self.is_open() && self.hi <= self.lo
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_three_kinds_of_end_hold_what_they_say() {
        let point = Span::new("b".into(), "".into());
        assert!(point.contains(b"b") && !point.contains(b"b\0") && !point.contains(b"a"));
        let open = Span::new("b".into(), Bytes::from_static(&[0]));
        assert!(open.contains(b"zzz") && !open.contains(b"a"));
        let half = Span::new("b".into(), "d".into());
        assert!(half.contains(b"c") && !half.contains(b"d") && !half.is_empty());
        assert!(Span::new("d".into(), "b".into()).is_empty());
    }
}

//! What is found out about each type of an arena, when it is first asked for.

use std::fmt;
use std::sync::OnceLock;

pub(crate) struct PerType<P>(OnceLock<Box<[Lazy<P>]>>);

/// Of one type.
pub(crate) type Lazy<P> = OnceLock<Box<P>>;

impl<P> PerType<P> {
    /// Of all types of an arena that has so many.
    #[inline]
    pub(crate) fn all(&self, types: usize) -> &[Lazy<P>] {
        let Self(all) = self;
        all.get_or_init(|| (0..types).map(|_| Lazy::new()).collect())
    }
}

impl<P> Default for PerType<P> {
    fn default() -> Self {
        Self(OnceLock::new())
    }
}

/// A copy of an arena is made to be changed.
impl<P> Clone for PerType<P> {
    fn clone(&self) -> Self {
        Self::default()
    }
}

impl<P> fmt::Debug for PerType<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PerType")
    }
}

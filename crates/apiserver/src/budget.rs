//! What one control plane may have in flight; over it the answer is 429 and nobody else notices.

use crate::Limits;
use freehold_model::ApiError;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

#[derive(Default)]
struct Counts {
    mutating: AtomicUsize,
    reading: AtomicUsize,
    watches: AtomicUsize,
}

pub(crate) struct Budget {
    limits: Limits,
    counts: Arc<Counts>,
}

/// Held while a request is in flight.
pub(crate) struct Permit {
    counts: Arc<Counts>,
    which: fn(&Counts) -> &AtomicUsize,
}

impl Drop for Permit {
    fn drop(&mut self) {
        (self.which)(&self.counts).fetch_sub(1, Ordering::AcqRel);
    }
}

impl Budget {
    pub(crate) fn new(limits: Limits) -> Self {
        Self {
            limits,
            counts: Arc::default(),
        }
    }

    /// A place for a request; `None` for a watch, which takes its place by [`Budget::watch`].
    pub(crate) fn enter(&self, mutates: bool, watch: bool) -> Result<Option<Permit>, ApiError> {
        if watch {
            return Ok(None);
        }
        if mutates {
            self.take(|c| &c.mutating, self.limits.mutating_in_flight)
                .map(Some)
        } else {
            self.take(|c| &c.reading, self.limits.reading_in_flight)
                .map(Some)
        }
    }

    pub(crate) fn watch(&self) -> Result<Permit, ApiError> {
        self.take(|c| &c.watches, self.limits.watches)
    }

    fn take(&self, which: fn(&Counts) -> &AtomicUsize, limit: usize) -> Result<Permit, ApiError> {
        if which(&self.counts).fetch_add(1, Ordering::AcqRel) >= limit {
            which(&self.counts).fetch_sub(1, Ordering::AcqRel);
            return Err(ApiError::too_many_requests(
                "this control plane has too many requests in flight, please try again later",
                1,
            ));
        }
        Ok(Permit {
            counts: self.counts.clone(),
            which,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_given_back() {
        let budget = Budget::new(Limits {
            mutating_in_flight: 1,
            ..Limits::default()
        });
        let first = budget.enter(true, false).unwrap();
        assert_eq!(budget.enter(true, false).err().map(|e| e.code), Some(429));
        assert!(budget.enter(false, false).is_ok());
        drop(first);
        assert!(budget.enter(true, false).is_ok());
    }
}

//! A work queue: each key at most once, never worked on twice at the same time, failures retried
//! with growing pauses.

use futures::stream::{FuturesUnordered, StreamExt as _};
use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::Instant;

const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_secs(300);
/// No step of any controller takes this long; a call that hangs is given up.
const STEP_LIMIT: Duration = Duration::from_secs(120);

pub(crate) struct Queue<K> {
    inner: Mutex<Inner<K>>,
    wake: Notify,
}

struct Inner<K> {
    due: BTreeMap<K, Instant>,
    /// the same, by time
    order: BTreeSet<(Instant, K)>,
    /// what is worked on, and when it is due again if it became so meanwhile
    busy: BTreeMap<K, Option<Instant>>,
    failures: BTreeMap<K, u32>,
}

/// What is left to do for a key that was worked on without failure.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Next {
    Done,
    /// look again after this long
    After(Duration),
    /// not there yet through nobody's fault: look again with growing pauses
    Wait,
}

impl<K> Default for Queue<K> {
    fn default() -> Self {
        let inner = Inner {
            due: BTreeMap::new(),
            order: BTreeSet::new(),
            busy: BTreeMap::new(),
            failures: BTreeMap::new(),
        };
        Self {
            inner: Mutex::new(inner),
            wake: Notify::new(),
        }
    }
}

impl<K: Ord + Clone> Inner<K> {
    /// The earlier of two times wins.
    fn add(&mut self, key: K, at: Instant) {
        if let Some(again) = self.busy.get_mut(&key) {
            *again = Some(again.map_or(at, |other| other.min(at)));
            return;
        }
        match self.due.get(&key) {
            Some(before) if *before <= at => return,
            Some(before) => drop(self.order.remove(&(*before, key.clone()))),
            None => {}
        }
        self.due.insert(key.clone(), at);
        self.order.insert((at, key));
    }

    /// The next key that is due, or when one will be.
    fn take(&mut self) -> Result<K, Option<Instant>> {
        match self.order.first() {
            None => Err(None),
            Some((at, _)) if *at > Instant::now() => Err(Some(*at)),
            Some(_) => {
                let (_, key) = self.order.pop_first().ok_or(None)?;
                self.due.remove(&key);
                self.busy.insert(key.clone(), None);
                Ok(key)
            }
        }
    }
}

impl<K: Ord + Clone + Debug> Queue<K> {
    pub(crate) fn add(&self, key: K) {
        self.add_after(key, Duration::ZERO);
    }

    pub(crate) fn add_after(&self, key: K, pause: Duration) {
        self.inner.lock().add(key, Instant::now() + pause);
        self.wake.notify_one();
    }

    /// Waits for the next key.
    async fn next(&self) -> K {
        loop {
            let taken = self.inner.lock().take();
            match taken {
                Ok(key) => return key,
                Err(None) => self.wake.notified().await,
                Err(Some(at)) => tokio::select! {
                    () = self.wake.notified() => {}
                    () = tokio::time::sleep_until(at) => {}
                },
            }
        }
    }

    fn finish(&self, key: K, outcome: Option<Next>) {
        let mut inner = self.inner.lock();
        let again = inner.busy.remove(&key).flatten();
        let pause = match outcome {
            Some(Next::Done) => {
                inner.failures.remove(&key);
                None
            }
            Some(Next::After(pause)) => {
                inner.failures.remove(&key);
                Some(pause)
            }
            Some(Next::Wait) | None => {
                let failures = inner.failures.entry(key.clone()).or_insert(0);
                let pause = FIRST_PAUSE.saturating_mul(1 << (*failures).min(16));
                *failures += 1;
                Some(pause.min(LONGEST_PAUSE))
            }
        };
        if let Some(pause) = pause {
            inner.add(key.clone(), Instant::now() + pause);
        }
        if let Some(again) = again {
            inner.add(key, again);
        }
        drop(inner);
        self.wake.notify_one();
    }

    /// Works off keys for ever, `at_once` at a time.
    pub(crate) async fn drive<F, W>(&self, controller: &str, at_once: usize, work: F)
    where
        F: Fn(K) -> W,
        W: Future<Output = Result<Next, kube::Error>> + Send,
    {
        let mut running = FuturesUnordered::new();
        loop {
            tokio::select! {
                key = self.next(), if running.len() < at_once => {
                    let step = Box::pin(tokio::time::timeout(STEP_LIMIT, work(key.clone())));
                    let step = futures::FutureExt::catch_unwind(AssertUnwindSafe(step));
                    running.push(Box::pin(async move { (key, step.await) }));
                }
                Some((key, outcome)) = running.next(), if !running.is_empty() => {
                    let next = match outcome {
                        Ok(Ok(Ok(next))) => Some(next),
                        Ok(Ok(Err(error))) => {
                            tracing::debug!(controller, ?key, %error, "will be tried again");
                            None
                        }
                        Ok(Err(_)) => {
                            tracing::warn!(controller, ?key, "took too long; will be tried again");
                            None
                        }
                        Err(_) => {
                            tracing::error!(controller, ?key, "panicked; will be tried again");
                            None
                        }
                    };
                    self.finish(key, next);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    async fn run(
        queue: &Queue<u8>,
        at_once: usize,
        work: impl Fn(u8) -> Result<Next, kube::Error>,
        until: impl Fn() -> bool,
    ) {
        let worker = queue.drive("test", at_once, |key| {
            let outcome = work(key);
            async { outcome }
        });
        let until = async {
            while !until() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::select! {
            () = worker => {}
            () = until => {}
            () = tokio::time::sleep(Duration::from_secs(600)) => unreachable!("never came true"),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_key_added_many_times_is_worked_on_once() {
        let (queue, worked) = (Queue::default(), AtomicUsize::new(0));
        (0..10).for_each(|_| queue.add(1));
        let work = |_| {
            worked.fetch_add(1, Ordering::Relaxed);
            Ok(Next::Done)
        };
        run(&queue, 4, work, || {
            let inner = queue.inner.lock();
            inner.due.is_empty() && inner.busy.is_empty()
        })
        .await;
        assert_eq!(worked.load(Ordering::Relaxed), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn failures_and_panics_are_retried_with_growing_pauses() {
        let (queue, times) = (Queue::default(), Mutex::new(Vec::new()));
        queue.add(1);
        let start = Instant::now();
        let work = |_| {
            let mut times = times.lock();
            times.push(start.elapsed());
            if times.len() == 6 {
                Ok(Next::Done)
            } else {
                Err(kube::Error::LinesCodecMaxLineLengthExceeded)
            }
        };
        run(&queue, 1, work, || times.lock().len() == 6).await;
        let times = times.into_inner();
        let gaps: Vec<Duration> = times.windows(2).map(|w| w[1] - w[0]).collect();
        assert!(gaps.windows(2).all(|w| w[1] > w[0]), "{gaps:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_key_that_comes_while_it_is_worked_on_is_worked_on_again() {
        let (queue, worked) = (Queue::default(), AtomicUsize::new(0));
        queue.add(1);
        let work = |key| {
            if worked.fetch_add(1, Ordering::Relaxed) == 0 {
                queue.add(key);
            }
            Ok(Next::Done)
        };
        run(&queue, 4, work, || worked.load(Ordering::Relaxed) == 2).await;
        assert!(queue.inner.lock().failures.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_key_that_waits_for_its_time_does_not_hold_up_another() {
        let (queue, seen) = (Queue::default(), Mutex::new(Vec::new()));
        queue.add_after(1, Duration::from_secs(10));
        queue.add_after(2, Duration::from_secs(1));
        queue.add_after(1, Duration::from_secs(60));
        let work = |key| {
            seen.lock().push(key);
            Ok(Next::Done)
        };
        let start = Instant::now();
        run(&queue, 1, work, || seen.lock().len() == 2).await;
        assert_eq!(*seen.lock(), [2, 1]);
        assert!(start.elapsed() < Duration::from_secs(11));
    }
}

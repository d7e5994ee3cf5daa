//! Work that must go on: started again, with a growing pause, when it fails or panics.

use futures::FutureExt as _;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::time::{Duration, Instant};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// Running work, each with the name to say when it does not end.
#[derive(Default)]
pub(crate) struct Tasks {
    set: JoinSet<String>,
    running: std::collections::BTreeSet<String>,
}

impl Tasks {
    pub(crate) fn spawn(
        &mut self,
        name: impl Into<String>,
        work: impl Future<Output = ()> + Send + 'static,
    ) {
        let name = name.into();
        self.running.insert(name.clone());
        self.set.spawn(async move {
            work.await;
            name
        });
    }

    /// Spawns `work` and keeps it running until `shutdown`.
    pub(crate) fn keep_running<F, W>(
        &mut self,
        name: impl Into<String>,
        shutdown: CancellationToken,
        work: F,
    ) where
        F: FnMut() -> W + Send + 'static,
        W: Future<Output = Result<(), String>> + Send + 'static,
    {
        let name = name.into();
        self.spawn(name.clone(), supervise(name, shutdown, work));
    }

    /// Waits until all have ended and drops those that have not by then; says which.
    pub(crate) async fn end_within(mut self, limit: Duration) -> Vec<String> {
        let ended = tokio::time::timeout(limit, async {
            while let Some(ended) = self.set.join_next().await {
                // A task that panicked has no name left to say; it is shown as not ended.
                if let Ok(name) = ended {
                    self.running.remove(&name);
                }
            }
        });
        // What is left after the limit is the answer.
        let _ = ended.await;
        self.running.into_iter().collect()
    }
}

const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// Whatever ran this long was healthy; its next failure starts from the first pause again.
const HEALTHY: Duration = Duration::from_mins(1);

/// Runs `work` until `shutdown`; the returned future ends soon after.
pub(crate) async fn supervise<F, W>(name: String, shutdown: CancellationToken, mut work: F)
where
    F: FnMut() -> W + Send,
    W: Future<Output = Result<(), String>> + Send,
{
    let mut pause = FIRST_PAUSE;
    while !shutdown.is_cancelled() {
        let started = Instant::now();
        let outcome = caught(work()).await;
        if shutdown.is_cancelled() {
            return;
        }
        if started.elapsed() > HEALTHY {
            pause = FIRST_PAUSE;
        }
        let why = outcome
            .err()
            .unwrap_or_else(|| "it ended by itself".to_owned());
        tracing::error!(what = %name, error = %why, retry_in = ?pause, "background work stopped");
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep(pause) => {}
        }
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// A panic as an error.
pub(crate) async fn caught<T>(work: impl Future<Output = Result<T, String>>) -> Result<T, String> {
    AssertUnwindSafe(work)
        .catch_unwind()
        .await
        .unwrap_or_else(|panic| {
            let text = panic
                .downcast_ref::<&str>()
                .map(|s| (*s).to_owned())
                .or_else(|| panic.downcast_ref::<String>().cloned())
                .unwrap_or_else(|| "no message".to_owned());
            Err(format!("panic: {text}"))
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[tokio::test]
    async fn work_that_does_not_end_is_named_and_dropped() {
        let mut tasks = Tasks::default();
        tasks.spawn("quick", async {});
        tasks.spawn("stuck", std::future::pending());
        let left = tasks.end_within(Duration::from_millis(50)).await;
        assert_eq!(left, ["stuck"]);
    }

    #[tokio::test]
    async fn work_that_fails_or_panics_is_started_again_until_shutdown() {
        let (runs, shutdown) = (Arc::new(AtomicUsize::new(0)), CancellationToken::new());
        let (seen, stop) = (runs.clone(), shutdown.clone());
        supervise("test".to_owned(), shutdown, move || {
            let (run, stop) = (seen.fetch_add(1, Ordering::SeqCst), stop.clone());
            async move {
                match run {
                    0 => Err("failed".to_owned()),
                    1 => panic!("on purpose"),
                    2 => Ok(()),
                    _ => {
                        stop.cancel();
                        Ok(())
                    }
                }
            }
        })
        .await;
        assert_eq!(runs.load(Ordering::SeqCst), 4);
    }
}

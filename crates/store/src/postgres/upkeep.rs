//! Ends leases in time and removes what was compacted, in slices.

use super::pool::by;
use super::sql::Kind;
use super::store::Inner;
use super::write::Work;
use crate::{Error, LeaseId, Result};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::time::Instant;

/// Leases granted by other processes are looked for this often.
const LOOK: Duration = Duration::from_secs(60);
/// Revisions of a slice.
const SLICE: i64 = 1000;
/// Between slices, so that writers go first.
const BREATH: Duration = Duration::from_millis(5);

impl Inner {
    /// Sees to it that leases end while this keyspace is in use here.
    pub(super) fn watch_leases(self: &Arc<Self>) {
        if !self.leases_watched.swap(true, Ordering::AcqRel) {
            tokio::spawn(end_leases(Arc::downgrade(self)));
        }
    }

    /// Removes what was compacted, if nobody here does already.
    pub(super) fn sweep(self: &Arc<Self>) {
        if !self.sweeping.swap(true, Ordering::AcqRel) {
            let store = self.clone();
            tokio::spawn(async move {
                if let Err(error) = sweep(&store).await {
                    tracing::debug!(%error, "compaction goes on later");
                }
                store.sweeping.store(false, Ordering::Release);
            });
        }
    }
}

async fn end_leases(store: std::sync::Weak<Inner>) {
    loop {
        let Some(inner) = store.upgrade() else { return };
        if inner.alive().is_err() || !inner.leases_watched.load(Ordering::Acquire) {
            return;
        }
        let wait = match over(&inner).await {
            Ok((ended, wait)) => {
                if !ended.is_empty() {
                    let work = Work::Revoke {
                        ids: ended,
                        over: true,
                    };
                    if let Err(error) = inner.write(work, 0).await {
                        tracing::debug!(%error, "leases end later");
                    }
                }
                wait
            }
            Err(error) => {
                tracing::debug!(%error, "leases are looked at later");
                LOOK / 10
            }
        };
        let granted = inner.granted.clone();
        drop(inner);
        // A timeout is as good as a call.
        drop(tokio::time::timeout(wait, granted.notified()).await);
    }
}

/// Leases whose time is over, and how long to wait for the next.
async fn over(store: &Arc<Inner>) -> Result<(Vec<LeaseId>, Duration)> {
    let rows = store.rows(Kind::NextLease, &[]).await?;
    let mut ended = Vec::new();
    for row in &rows {
        let left: f64 = row.get(1);
        if left > 0.0 {
            let wait = Duration::try_from_secs_f64(left).unwrap_or(LOOK);
            return Ok((ended, wait.min(LOOK) + Duration::from_millis(5)));
        }
        ended.push(row.get(0));
    }
    // More may follow those that were read.
    let wait = if rows.is_empty() {
        LOOK
    } else {
        Duration::ZERO
    };
    Ok((ended, wait))
}

async fn sweep(store: &Arc<Inner>) -> Result<()> {
    loop {
        let rows = store.rows(Kind::Swept, &[]).await?;
        let row = rows.first().ok_or_else(super::read::no_head)?;
        let (swept, compacted): (i64, i64) = (row.get(0), row.get(1));
        if swept >= compacted {
            return Ok(());
        }
        let to = compacted.min(swept + SLICE);
        slice(store, swept, to).await?;
        tokio::time::sleep(BREATH).await;
    }
}

/// Removes what was superseded in `(from, to]` and what was deleted in `[from, to)`. If the
/// answer is lost, `swept` says on the next attempt whether it was done.
async fn slice(store: &Arc<Inner>, from: i64, to: i64) -> Result<()> {
    let end = Instant::now() + store.options.timeout;
    let work = async {
        let mut held = store.pool.get(Some(&store.names.role), end).await?;
        let old = held.prepare(&store.names, Kind::SweepOld, end).await?;
        let deletions = held
            .prepare(&store.names, Kind::SweepDeletions, end)
            .await?;
        let done = held.prepare(&store.names, Kind::SweepDone, end).await?;
        let writers = held.prepare(&store.names, Kind::ForgetWriters, end).await?;
        let client = held.client();
        by(end, async {
            client.batch_execute("BEGIN").await?;
            let old: i64 = client.query_one(&old, &[&from, &to]).await?.get(0);
            let deletions: i64 = client.query_one(&deletions, &[&from, &to]).await?.get(0);
            client.execute(&writers, &[]).await?;
            let freed = old + deletions;
            let moved = client.execute(&done, &[&from, &to, &freed]).await?;
            // Another process was quicker: it has counted these bytes.
            let word = if moved == 1 { "COMMIT" } else { "ROLLBACK" };
            client.batch_execute(word).await
        })
        .await?;
        held.back();
        Ok::<_, super::fault::Fault>(())
    };
    work.await.map_err(|fault| match fault.plain() {
        Error::Deleted => {
            store.set_deleted();
            Error::Deleted
        }
        other => other,
    })
}

//! What one tenant may make the process hold, whatever it sends and however slowly it reads.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tonic::Status;

/// Requests that may be arriving at once; each holds up to a frame.
const ARRIVING: usize = 256;
/// Bytes of answers that may wait to be read, in steps of `STEP`.
const ANSWERS: usize = 1 << 30;
const STEP: usize = 64 << 10;
/// The largest answer.
const MAX_ANSWER: usize = 512 << 20;
/// Connections.
const CONNECTIONS: usize = 1024;
/// How long a request waits for its share.
const PATIENCE: Duration = Duration::from_secs(10);

pub(super) struct Budget {
    arriving: Arc<Semaphore>,
    answers: Arc<Semaphore>,
    /// one walk over the whole keyspace at a time
    walks: Arc<Semaphore>,
    /// one snapshot at a time
    snapshots: Arc<Semaphore>,
    connections: AtomicUsize,
}

impl Default for Budget {
    fn default() -> Self {
        Self {
            arriving: Arc::new(Semaphore::new(ARRIVING)),
            answers: Arc::new(Semaphore::new(ANSWERS / STEP)),
            walks: Arc::new(Semaphore::new(1)),
            snapshots: Arc::new(Semaphore::new(1)),
            connections: AtomicUsize::new(0),
        }
    }
}

/// A connection that counts until it ends.
pub(super) struct Connected(Arc<Budget>);

impl Drop for Connected {
    fn drop(&mut self) {
        self.0.connections.fetch_sub(1, Ordering::AcqRel);
    }
}

fn too_many() -> Status {
    Status::resource_exhausted("etcdserver: too many requests")
}

async fn wait(semaphore: &Arc<Semaphore>, permits: usize) -> Result<OwnedSemaphorePermit, Status> {
    let permits = u32::try_from(permits).map_err(|_| too_many())?;
    if let Ok(permit) = semaphore.clone().try_acquire_many_owned(permits) {
        return Ok(permit);
    }
    let wait = semaphore.clone().acquire_many_owned(permits);
    match tokio::time::timeout(PATIENCE, wait).await {
        Ok(Ok(permit)) => Ok(permit),
        _ => Err(too_many()),
    }
}

impl Budget {
    pub(super) fn connect(self: &Arc<Self>) -> Option<Connected> {
        let others = self.connections.fetch_add(1, Ordering::AcqRel);
        let connected = Connected(self.clone());
        (others < CONNECTIONS).then_some(connected)
    }

    /// A share for a request that is going to arrive.
    pub(super) async fn request(&self) -> Result<OwnedSemaphorePermit, Status> {
        wait(&self.arriving, 1).await
    }

    /// A share for an answer; small ones need none.
    pub(super) async fn answer(&self, size: usize) -> Result<Option<OwnedSemaphorePermit>, Status> {
        if size > MAX_ANSWER {
            return Err(Status::resource_exhausted(format!(
                "grpc: trying to send message larger than max ({size} vs. {MAX_ANSWER})"
            )));
        }
        if size < STEP {
            return Ok(None);
        }
        wait(&self.answers, size / STEP).await.map(Some)
    }

    /// The right to be sent a snapshot; there is no waiting for it.
    pub(super) fn snapshot(&self) -> Result<OwnedSemaphorePermit, Status> {
        self.snapshots.clone().try_acquire_owned().map_err(|_| {
            let text = "freehold: a snapshot of this keyspace is being sent already";
            Status::resource_exhausted(text)
        })
    }

    pub(super) async fn walk(&self) -> Result<OwnedSemaphorePermit, Status> {
        wait(&self.walks, 1).await
    }
}

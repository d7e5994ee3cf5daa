//! What one tenant may make the process hold, whatever it sends and however slowly it reads.

use crate::room::{PER_KEY, Size};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tonic::Status;

/// Answers are counted in steps.
pub(super) const STEP: usize = 64 << 10;
/// How long a request waits for its share.
const PATIENCE: Duration = Duration::from_secs(10);

/// What a tenant may have of the endpoint at once, and how long it may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    pub connections: usize,
    /// of one connection
    pub streams: u32,
    /// requests that are arriving; each holds up to a frame
    pub arriving: usize,
    /// how long a request may take to arrive
    pub arrival: Duration,
    /// bytes of the largest answer
    pub answer: usize,
    /// bytes of answers that are being read or wait for their client
    pub answers: usize,
    /// how long a TLS handshake, or the headers of a plain request, may take
    pub handshake: Duration,
    /// how long an answer may wait for a client that does not read
    pub stalled: Duration,
    /// how often an idle watch that wants it is told how far it is
    pub notify: Duration,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            connections: 1024,
            streams: 1024,
            arriving: 256,
            arrival: Duration::from_secs(30),
            answer: 512 << 20,
            answers: 1 << 30,
            handshake: Duration::from_secs(10),
            stalled: Duration::from_secs(60),
            notify: Duration::from_secs(60),
        }
    }
}

pub(super) struct Budget {
    bounds: Bounds,
    arriving: Arc<Semaphore>,
    answers: Arc<Semaphore>,
    /// one walk over the whole keyspace at a time
    walks: Arc<Semaphore>,
    /// one snapshot at a time
    snapshots: Arc<Semaphore>,
    connections: AtomicUsize,
}

impl Budget {
    pub(super) fn new(bounds: Bounds) -> Self {
        Self {
            bounds,
            arriving: Arc::new(Semaphore::new(bounds.arriving)),
            answers: Arc::new(Semaphore::new(bounds.answers / STEP)),
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

pub(super) fn too_many() -> Status {
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
    pub(super) fn bounds(&self) -> &Bounds {
        &self.bounds
    }

    pub(super) fn connect(self: &Arc<Self>) -> Option<Connected> {
        let others = self.connections.fetch_add(1, Ordering::AcqRel);
        let connected = Connected(self.clone());
        (others < self.bounds.connections).then_some(connected)
    }

    /// A share for a request that is going to arrive.
    pub(super) async fn request(&self) -> Result<OwnedSemaphorePermit, Status> {
        wait(&self.arriving, 1).await
    }

    /// A share for an answer of so many bytes, of which there is so much already; small ones need
    /// none.
    pub(super) async fn answer(
        &self,
        size: usize,
        has: usize,
    ) -> Result<Option<OwnedSemaphorePermit>, Status> {
        let most = self.bounds.answer;
        if size > most {
            return Err(Status::resource_exhausted(format!(
                "grpc: trying to send message larger than max ({size} vs. {most})"
            )));
        }
        let more = (size / STEP).saturating_sub(has / STEP);
        if more == 0 {
            return Ok(None);
        }
        wait(&self.answers, more).await.map(Some)
    }

    /// The same before it is read, when only its keys and values are known: it holds no more than
    /// the largest answer, which is then found out.
    pub(super) async fn reading(
        &self,
        size: Size,
        has: usize,
    ) -> Result<Option<OwnedSemaphorePermit>, Status> {
        let bytes = usize::try_from(size.bytes).unwrap_or(usize::MAX);
        let whole = usize::try_from(size.bytes.saturating_add(size.keys * PER_KEY));
        let held = whole.unwrap_or(usize::MAX).min(self.bounds.answer);
        self.answer(held.max(bytes), has).await
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

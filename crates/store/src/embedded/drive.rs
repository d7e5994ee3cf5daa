//! What moves the engine on: threads of its own and the machine's clock, or a simulation, which
//! says what goes on next and what time it is, so that the same choices give the same run.

use super::commit::Committer;
use super::log::Log;
use super::upkeep::Keeper;
use super::{Embedded, Shared, checkpointer, record, spawn, upkeep};
use crate::Result;
use parking_lot::Mutex;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{JoinHandle, Thread};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// What moves the engine on.
#[derive(Clone, Default)]
pub enum Drive {
    #[default]
    Threads,
    /// No thread is started and nobody waits: [`Embedded::commit_turn`] and the like are called.
    ByHand(Arc<Hand>),
}

/// The time of a simulation, and its numbers. Keys, salts and nonces are random there too.
pub struct Hand {
    began: Instant,
    now_ms: AtomicU64,
    number: AtomicU64,
}

impl Hand {
    /// A clock that stands at a time since 1970 until it is put on.
    #[must_use]
    pub fn new(now_ms: u64) -> Arc<Self> {
        Arc::new(Self {
            began: Instant::now(),
            now_ms: now_ms.into(),
            number: 1.into(),
        })
    }

    #[must_use]
    pub fn now_ms(&self) -> u64 {
        self.now_ms.load(Ordering::Relaxed)
    }

    pub fn put_on(&self, ms: u64) {
        self.now_ms.fetch_add(ms, Ordering::Relaxed);
    }
}

impl Drive {
    pub(crate) fn now_ms(&self) -> u64 {
        match self {
            Self::Threads => {
                let since = SystemTime::now().duration_since(UNIX_EPOCH);
                u64::try_from(since.unwrap_or_default().as_millis()).unwrap_or(u64::MAX)
            }
            Self::ByHand(hand) => hand.now_ms(),
        }
    }

    /// For what is decided by time that passes.
    pub(crate) fn instant(&self) -> Instant {
        match self {
            Self::Threads => Instant::now(),
            Self::ByHand(hand) => hand.began + Duration::from_millis(hand.now_ms()),
        }
    }

    pub(crate) fn by_hand(&self) -> bool {
        matches!(self, Self::ByHand(_))
    }

    /// A number that nobody else has; no secret.
    pub(crate) fn number(&self) -> Result<u64> {
        match self {
            Self::Threads => Ok(u64::from_le_bytes(record::random()?)),
            Self::ByHand(hand) => Ok(hand.number.fetch_add(1, Ordering::Relaxed)),
        }
    }

    /// Does work that waits for the disk, where it holds up nobody.
    pub(crate) async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T> + Send + 'static,
    ) -> Result<T> {
        match self {
            Self::Threads => super::blocking(work).await,
            Self::ByHand(_) => work(),
        }
    }

    /// The same for work that also waits for others.
    pub(crate) async fn apart<T: Send + 'static, F: Future<Output = Result<T>> + Send>(
        &self,
        work: impl FnOnce() -> F + Send + 'static,
    ) -> Result<T> {
        match self {
            Self::Threads => super::blocking(move || block_on(work())).await,
            Self::ByHand(_) => work().await,
        }
    }
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Waits for what others do, in a thread that may wait.
pub(crate) fn block_on<T>(work: impl Future<Output = T>) -> T {
    let mut work = pin!(work);
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut context = Context::from_waker(&waker);
    loop {
        match work.as_mut().poll(&mut context) {
            Poll::Ready(done) => return done,
            Poll::Pending => std::thread::park(),
        }
    }
}

/// What goes on beside the callers: threads, or what a simulation moves on.
pub(super) enum Parts {
    Threads(Mutex<Vec<JoinHandle<()>>>),
    /// each is away while it has its turn
    ByHand(Mutex<Option<Box<Committer>>>, Mutex<Option<Keeper>>),
}

impl Parts {
    pub(super) fn start(shared: &Arc<Shared>, log: Log) -> Result<Self> {
        let (committer, keeper) = (Committer::new(shared.clone(), log), Keeper::new(shared));
        if shared.options.drive.by_hand() {
            let (committer, keeper) = (Some(Box::new(committer)), Some(keeper));
            return Ok(Self::ByHand(committer.into(), keeper.into()));
        }
        let (kept, writer) = (shared.clone(), shared.clone());
        let threads = vec![
            spawn("store-commit", move || committer.run())?,
            spawn("store-upkeep", move || upkeep::run(&kept, keeper))?,
            spawn("store-checkpoint", move || checkpointer::run(&writer))?,
        ];
        Ok(Self::Threads(threads.into()))
    }
}

/// The turns of the engine's parts, when it is driven by hand.
#[doc(hidden)]
impl Embedded {
    #[must_use]
    pub fn commit_waits(&self) -> bool {
        self.shared.queue.waits()
    }

    /// Commits one round of what waits; false if nothing does, or a round is under way.
    pub fn commit_turn(&self) -> bool {
        let Parts::ByHand(committer, _) = &self.parts else {
            return false;
        };
        let Some(mut mine) = committer.lock().take() else {
            return false;
        };
        let mut round = Vec::new();
        let some = self.shared.queue.take_now(&mut round);
        if let Some(bytes) = some {
            mine.turn(bytes, &mut round);
        }
        *committer.lock() = Some(mine);
        some.is_some()
    }

    #[must_use]
    pub fn upkeep_waits(&self) -> bool {
        let Parts::ByHand(_, keeper) = &self.parts else {
            return false;
        };
        let keeper = keeper.lock();
        keeper
            .as_ref()
            .is_some_and(|k| k.rest(&self.shared).is_none())
    }

    /// Does what is due: leases, history, the log's next segment.
    pub async fn upkeep_turn(&self) {
        let Parts::ByHand(_, keeper) = &self.parts else {
            return;
        };
        let mine = keeper.lock().take();
        if let Some(mut mine) = mine {
            mine.turn(&self.shared).await;
            *keeper.lock() = Some(mine);
        }
    }

    #[must_use]
    pub fn checkpoint_waits(&self) -> bool {
        self.shared.checkpoints.waits()
    }

    /// Writes one checkpoint that is wanted, or removes what the log need not hold any more.
    pub async fn checkpoint_turn(&self) {
        if let Some(job) = self.shared.checkpoints.take_now() {
            checkpointer::turn(&self.shared, job).await;
        }
    }

    /// Ends the parts: what was accepted is committed.
    pub(super) fn end_parts(&self) {
        match &self.parts {
            Parts::Threads(threads) => {
                for thread in std::mem::take(&mut *threads.lock()) {
                    if thread.join().is_err() {
                        tracing::error!("a thread of the store had panicked");
                    }
                }
            }
            Parts::ByHand(committer, keeper) => {
                while self.commit_turn() {}
                drop((committer.lock().take(), keeper.lock().take()));
            }
        }
    }
}

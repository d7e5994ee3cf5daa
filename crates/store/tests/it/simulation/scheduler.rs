//! Chooses by a seed what goes on next, in one thread: a call of a client's, a round of commits,
//! a turn of upkeep or of checkpoints. While one waits for the disk, others go on inside.

use crate::random::Random;
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Wake, Waker};

type Work = Pin<Box<dyn Future<Output = ()>>>;

/// What a task is part of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// a call that has an end
    Client,
    /// goes on until its stream ends
    Watch,
    Upkeep,
    Checkpoint,
}

struct Task {
    kind: Kind,
    /// away while it is polled
    work: Option<Work>,
    woken: Arc<Flag>,
}

struct Flag(AtomicBool);

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Tasks, the seeded numbers, and what has been chosen so far.
pub(super) struct Scheduler {
    random: RefCell<Random>,
    trace: Cell<u64>,
    steps: Cell<u64>,
    tasks: RefCell<BTreeMap<u64, Task>>,
    made: Cell<u64>,
    /// of each kind
    running: [Cell<usize>; 4],
}

impl Scheduler {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            random: Random::new(seed).into(),
            trace: seed.into(),
            steps: 0.into(),
            tasks: RefCell::default(),
            made: 0.into(),
            running: Default::default(),
        }
    }

    pub(super) fn below(&self, bound: u64) -> u64 {
        self.random.borrow_mut().below(bound)
    }

    /// One time in so many.
    pub(super) fn rarely(&self, one_in: u64) -> bool {
        self.below(one_in) == 0
    }

    pub(super) fn with_random<T>(&self, work: impl FnOnce(&mut Random) -> T) -> T {
        work(&mut self.random.borrow_mut())
    }

    /// Something that must be the same when the seed is.
    pub(super) fn note(&self, what: u64) {
        let mixed = (self.trace.get() ^ what).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.trace.set(mixed.rotate_left(29));
    }

    pub(super) fn note_text(&self, text: &str) {
        for piece in text.as_bytes().chunks(8) {
            let mut number = [0; 8];
            number[..piece.len()].copy_from_slice(piece);
            self.note(u64::from_le_bytes(number));
        }
    }

    /// What identifies all that was noted.
    pub(super) fn trace(&self) -> u64 {
        self.trace.get()
    }

    pub(super) fn count(&self) {
        self.steps.set(self.steps.get() + 1);
    }

    pub(super) fn steps(&self) -> u64 {
        self.steps.get()
    }

    pub(super) fn spawn(&self, kind: Kind, work: impl Future<Output = ()> + 'static) {
        let id = self.made.get();
        self.made.set(id + 1);
        let task = Task {
            kind,
            work: Some(Box::pin(work)),
            woken: Arc::new(Flag(true.into())),
        };
        self.tasks.borrow_mut().insert(id, task);
        let running = &self.running[kind as usize];
        running.set(running.get() + 1);
    }

    fn ended(&self, kind: Kind) {
        let running = &self.running[kind as usize];
        running.set(running.get() - 1);
    }

    pub(super) fn running(&self, kind: Kind) -> usize {
        self.running[kind as usize].get()
    }

    /// The tasks that can go on.
    pub(super) fn ready(&self) -> Vec<u64> {
        let tasks = self.tasks.borrow();
        let ready = tasks
            .iter()
            .filter(|(_, task)| task.work.is_some() && task.woken.0.load(Ordering::Relaxed));
        ready.map(|(id, _)| *id).collect()
    }

    pub(super) fn poll(&self, id: u64) {
        let taken = {
            let mut tasks = self.tasks.borrow_mut();
            let task = tasks.get_mut(&id).expect("a task that is there");
            (task.work.take(), task.woken.clone())
        };
        let (Some(mut work), woken) = taken else {
            return;
        };
        woken.0.store(false, Ordering::Relaxed);
        let waker = Waker::from(woken);
        let done = work.as_mut().poll(&mut Context::from_waker(&waker));
        if done.is_ready() {
            let task = self.tasks.borrow_mut().remove(&id);
            self.ended(task.expect("it was polled").kind);
        } else if let Some(task) = self.tasks.borrow_mut().get_mut(&id) {
            task.work = Some(work);
        }
    }

    /// Ends the watches wherever they are.
    pub(super) fn end_watches(&self) {
        let mut tasks = self.tasks.borrow_mut();
        let ids: Vec<u64> = tasks
            .iter()
            .filter(|(_, task)| task.kind == Kind::Watch)
            .map(|(id, _)| *id)
            .collect();
        let ended: Vec<_> = ids.iter().filter_map(|id| tasks.remove(id)).collect();
        drop(tasks);
        ended.iter().for_each(|task| self.ended(task.kind));
    }
}

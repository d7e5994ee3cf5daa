//! Deterministic simulation of the engine: one thread, in which a seed decides what goes on next,
//! what time it is and how the disk fails. The same seed gives the same run.
//!
//! A step is one choice of what goes on next, or one operation of the disk. Wherever the engine
//! holds no lock that others need, they may go on inside an operation. After some hundred steps
//! everybody comes to rest; what was answered is compared with the model, and often the engine is
//! stopped, killed, or finds what a power cut left.
//!
//! Not simulated: what takes two processors (memory order, missed wake-ups of threads).

mod check;
mod clients;
mod found;
mod restart;
mod scheduler;
mod space;

use crate::sim_disk::{Fault, Operation, SimDisk};
use freehold_store::embedded::{Embedded, Hand};
use futures::FutureExt;
use scheduler::{Kind, Scheduler};
use space::Space;
use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::Instant;

const SPACES: usize = 3;
/// Calls at once.
const CLIENTS: usize = 12;
/// How deep one may go on inside what another does with the disk.
const DEPTH: usize = 3;
/// Rounds of deletions that a full disk has room for.
const ROUNDS_WHEN_FULL: u64 = 60;
const BEGIN_MS: u64 = 1_700_000_000_000;

thread_local! {
    static WORLD: RefCell<Weak<World>> = const { RefCell::new(Weak::new()) };
}

/// What is done at once.
fn now<T>(work: impl Future<Output = T>) -> T {
    work.now_or_never().expect("nobody waits here")
}

struct World {
    scheduler: Scheduler,
    hand: Arc<Hand>,
    dir: tempfile::TempDir,
    disk: RefCell<SimDisk>,
    engine: RefCell<Option<Arc<Embedded>>>,
    spaces: RefCell<Vec<Rc<Space>>>,
    /// deleted since the last check
    gone: RefCell<Vec<Rc<Space>>>,
    /// ids of leases are never used again
    leases: Cell<u64>,
    /// nobody goes on inside an operation
    quiet: Cell<bool>,
    depth: Cell<usize>,
    committing: Cell<bool>,
    /// calls that may begin before all come to rest
    left: Cell<u64>,
    /// which bad days are frequent
    mode: Cell<u64>,
    full: Cell<bool>,
    was_full: Cell<bool>,
    opened_full: Cell<bool>,
    /// when it was last full
    full_ms: Cell<u64>,
    /// when somebody last tried to put a keyspace to sleep, or to delete it
    slept_ms: Cell<u64>,
    rounds_since_room: Cell<u64>,
    /// nobody knows any more how it is: it must be started again
    broken: Cell<bool>,
    log: bool,
    started_ms: Cell<u64>,
}

enum Choice {
    Poll(u64),
    Commit,
    Upkeep,
    Checkpoint,
    Client,
}

/// Whether the engine holds no lock at this operation that others may ask for.
fn open_to_others(operation: &Operation<'_>) -> bool {
    let ending = operation.name.rsplit('.').next().unwrap_or_default();
    let values = ending.len() == 5 && ending.starts_with('v');
    match (operation.name, operation.what) {
        ("catalog" | "keys", _) => false,
        (_, "write") if values => operation.at > 0,
        (_, what) if values => what == "sync" || what == "remove",
        (_, "write") => ending != "log",
        _ => true,
    }
}

impl World {
    fn new(seed: u64) -> Rc<Self> {
        let disk = SimDisk::told(Arc::new(|operation: &Operation<'_>| {
            let world = WORLD.with_borrow(Weak::upgrade);
            if let Some(world) = world {
                world.operation(operation);
            }
        }));
        let world = Rc::new(Self {
            scheduler: Scheduler::new(seed),
            hand: Hand::new(BEGIN_MS),
            dir: tempfile::tempdir().expect("a directory"),
            disk: disk.into(),
            engine: None.into(),
            spaces: RefCell::default(),
            gone: RefCell::default(),
            leases: 0.into(),
            quiet: true.into(),
            depth: 0.into(),
            committing: false.into(),
            left: 0.into(),
            mode: 0.into(),
            full: false.into(),
            was_full: false.into(),
            opened_full: false.into(),
            full_ms: 0.into(),
            slept_ms: 0.into(),
            rounds_since_room: 0.into(),
            broken: false.into(),
            log: std::env::var_os("FREEHOLD_SIM_LOG").is_some(),
            started_ms: BEGIN_MS.into(),
        });
        WORLD.set(Rc::downgrade(&world));
        world.start();
        world
    }

    fn engine(&self) -> Arc<Embedded> {
        self.engine.borrow().clone().expect("it is open")
    }

    /// The disk is about to do something: perhaps others go on first.
    fn operation(self: &Rc<Self>, operation: &Operation<'_>) {
        self.scheduler.count();
        self.scheduler.note_text(operation.what);
        // The directory's own name is not the seed's choice.
        if self.dir.path().file_name() != Some(operation.name.as_ref()) {
            self.scheduler.note_text(operation.name);
        }
        self.scheduler
            .note(operation.at ^ (operation.len as u64) << 32);
        let depth = self.depth.get();
        if self.quiet.get() || depth >= DEPTH || !open_to_others(operation) {
            return;
        }
        if !self.scheduler.rarely(3) {
            return;
        }
        self.depth.set(depth + 1);
        for _ in 0..=self.scheduler.below(8) {
            self.step();
        }
        self.depth.set(depth);
    }

    /// Lets somebody go on; false if nobody can.
    fn step(self: &Rc<Self>) -> bool {
        if self.disk.borrow().power_is_out() && self.depth.get() == 0 {
            return false;
        }
        let engine = self.engine();
        let ready = self.scheduler.ready();
        let mut choices: Vec<Choice> = ready.into_iter().map(Choice::Poll).collect();
        if engine.commit_waits() && !self.committing.get() {
            choices.push(Choice::Commit);
        }
        if self.scheduler.running(Kind::Upkeep) == 0 && engine.upkeep_waits() {
            choices.push(Choice::Upkeep);
        }
        if self.scheduler.running(Kind::Checkpoint) == 0 && engine.checkpoint_waits() {
            choices.push(Choice::Checkpoint);
        }
        if self.left.get() > 0 {
            self.surprise();
            if self.scheduler.running(Kind::Client) < CLIENTS {
                choices.push(Choice::Client);
            }
        }
        if choices.is_empty() {
            return false;
        }
        let n = self.scheduler.below(choices.len() as u64);
        let choice = choices.swap_remove(usize::try_from(n).expect("small"));
        self.scheduler.count();
        self.scheduler.note(n);
        match choice {
            Choice::Poll(id) => self.scheduler.poll(id),
            Choice::Commit => {
                self.committing.set(true);
                engine.commit_turn();
                self.committing.set(false);
                self.rounds_since_room.set(self.rounds_since_room.get() + 1);
            }
            Choice::Upkeep => self.spawn_turn(Kind::Upkeep, engine),
            Choice::Checkpoint => self.spawn_turn(Kind::Checkpoint, engine),
            Choice::Client => {
                self.left.set(self.left.get() - 1);
                self.begin();
            }
        }
        true
    }

    fn spawn_turn(&self, kind: Kind, engine: Arc<Embedded>) {
        self.scheduler.spawn(kind, async move {
            match kind {
                Kind::Upkeep => engine.upkeep_turn().await,
                _ => engine.checkpoint_turn().await,
            }
        });
    }

    /// For whoever looks into a seed: `FREEHOLD_SIM_LOG`.
    fn say(&self, what: &str) {
        if self.log {
            println!("{}: {what}", self.scheduler.steps());
        }
    }

    fn any_space(&self) -> Rc<Space> {
        let spaces = self.spaces.borrow();
        let n = self.scheduler.below(spaces.len() as u64);
        spaces[usize::try_from(n).expect("small")].clone()
    }

    fn begin(self: &Rc<Self>) {
        let space = self.any_space();
        if !space.observing.get() && self.scheduler.rarely(4) {
            self.observe(&space);
        } else {
            self.start_client(&space);
        }
    }

    /// Time passes, or the disk fills up or will fail: of that more in some parts than in others.
    fn surprise(&self) {
        let (fills, faults, cuts) = match self.mode.get() {
            0 => (4, 2, 2),
            1 => (1, 16, 1),
            2 => (16, 1, 1),
            _ => (1, 1, 6),
        };
        let Some(n) = self.scheduler.below(3000).checked_sub(70) else {
            let most = if self.scheduler.rarely(7) { 3000 } else { 60 };
            return self.hand.put_on(self.scheduler.below(most));
        };
        if n < fills {
            self.fill(!self.full.get());
        } else if n < fills + faults {
            let kinds = [Fault::Read, Fault::Write, Fault::ShortWrite, Fault::Sync];
            let fault = kinds[usize::try_from(self.scheduler.below(4)).expect("small")];
            self.disk.borrow().plan(fault, self.scheduler.below(20));
        } else if n < fills + faults + cuts {
            let operations = self.scheduler.below(60);
            self.disk.borrow().cut_power_after(operations);
        }
    }

    fn fill(&self, full: bool) {
        let left = usize::try_from(self.scheduler.below(4) * (96 << 10)).expect("small");
        match full {
            true => self.disk.borrow().nearly_full(left),
            false => self.disk.borrow().full(false),
        }
        self.say(if full { "full" } else { "not full" });
        self.full.set(full);
        self.full_ms.set(self.hand.now_ms());
        self.was_full.set(self.was_full.get() || full);
    }

    fn deletions_have_room(&self) -> bool {
        !self.opened_full.get() && self.rounds_since_room.get() < ROUNDS_WHEN_FULL
    }

    /// Whether the disk has said that the log may not be on it.
    fn log_has_failed(&self) -> bool {
        let failed = self.disk.borrow().failed();
        failed.is_some_and(|(fault, name)| fault == Fault::Sync && name.ends_with(".log"))
    }

    /// A keyspace was made in the place of one that is deleted.
    fn made(&self, old: &Rc<Space>, new: Space) {
        let mut spaces = self.spaces.borrow_mut();
        if let Some(space) = spaces.iter_mut().find(|space| Rc::ptr_eq(space, old)) {
            self.gone.borrow_mut().push(space.clone());
            *space = Rc::new(new);
        }
    }

    /// Nobody begins anything; all that can go on does, until all are at rest.
    fn rest(self: &Rc<Self>) {
        for _ in 0..200_000 {
            if !self.step() {
                return;
            }
        }
        panic!("it never comes to rest");
    }

    /// Some hundred steps, then everything is looked at.
    fn part(self: &Rc<Self>) {
        self.was_full.set(self.full.get());
        self.left.set(40 + self.scheduler.below(500));
        self.mode.set(self.scheduler.below(4));
        self.quiet.set(false);
        while self.left.get() > 0 && self.step() {}
        self.left.set(0);
        self.rest();
        let failed = self.disk.borrow().failed();
        if let Some(failed) = &failed {
            self.say(&format!("failed: {failed:?}"));
        }
        let failed = failed.is_some();
        if self.full.get() && !self.disk.borrow().power_is_out() {
            self.fill(false);
            self.rest();
        }
        if self.disk.borrow().power_is_out() {
            // It was the machine, or the process alone.
            let power = !self.scheduler.rarely(3);
            self.crash(power);
        } else {
            self.disk.borrow().calm();
            let stuck = self.scheduler.running(Kind::Client);
            assert_eq!(stuck, 0, "calls that nobody answers");
            match self.scheduler.below(10) {
                0 => self.stop(),
                1 | 2 => self.crash(false),
                3 | 4 => self.crash(true),
                _ if failed || self.broken.get() => {
                    let power = self.scheduler.rarely(2);
                    self.crash(power);
                }
                _ => {}
            }
        }
        self.check();
    }
}

/// Runs one seed; what identifies the run, and its steps.
fn simulate(seed: u64, steps: u64) -> (u64, u64) {
    let world = World::new(seed);
    while world.scheduler.steps() < steps {
        world.part();
    }
    world.end();
    (world.scheduler.trace(), world.scheduler.steps())
}

fn setting(name: &str) -> Option<u64> {
    std::env::var_os(name)?.to_str()?.parse().ok()
}

/// Steps, and seeds that share them; `FREEHOLD_SIM_SEED` runs one seed alone, as long as it
/// takes, `FREEHOLD_SIM_STEPS` sets how long.
const STEPS: u64 = 1_000_000;
const SEEDS: u64 = 20;

struct Told(u64);

impl Drop for Told {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("run it again with FREEHOLD_SIM_SEED={}", self.0);
        }
    }
}

#[test]
fn the_engine_tells_what_the_model_tells() {
    let total = setting("FREEHOLD_SIM_STEPS").unwrap_or(STEPS);
    let seeds: Vec<u64> = match setting("FREEHOLD_SIM_SEED") {
        Some(seed) => vec![seed],
        None => {
            let base = u64::from(std::process::id()) * 1000;
            (0..SEEDS).map(|n| base + n).collect()
        }
    };
    let each = total.div_ceil(seeds.len() as u64);
    let (began, mut done) = (Instant::now(), 0);
    for seed in seeds {
        let told = Told(seed);
        done += simulate(seed, each).1;
        drop(told);
    }
    println!("{done} steps in {:?}", began.elapsed());
    assert!(done >= total);
}

#[test]
fn the_same_seed_gives_the_same_run_and_another_seed_another() {
    let runs = [7, 7, 8].map(|seed| simulate(seed, 20_000));
    assert_eq!(runs[0], runs[1]);
    assert_ne!(runs[0].0, runs[2].0);
}

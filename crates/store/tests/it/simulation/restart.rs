//! Starting and stopping the engine: in order, by a kill, by a power cut.

use super::scheduler::Kind;
use super::space::Space;
use super::{SPACES, World};
use freehold_store::embedded::{Drive, Embedded, Limits, Options};
use freehold_store::{Error, Keyspaces, Result};
use std::collections::BTreeSet;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

impl World {
    fn options(&self) -> Options {
        let limits = Limits {
            waiting: 48,
            ..Limits::default()
        };
        Options {
            segment_bytes: 64 << 10,
            checkpoint_after: 128 << 10,
            tail_bytes: 12 << 10,
            inline_bytes: 4 << 10,
            history: Duration::from_secs(120),
            watch_commits: 40,
            limits,
            disk: Arc::new(self.disk.borrow().clone()),
            drive: Drive::ByHand(self.hand.clone()),
            ..Options::default()
        }
    }

    fn open(&self) -> Result<Arc<Embedded>> {
        super::now(Embedded::open(self.dir.path(), self.options()))
    }

    /// Opens the directory; the power may be cut while it is opened.
    pub(super) fn start(self: &Rc<Self>) {
        self.quiet.set(true);
        if self.scheduler.rarely(6) {
            let operations = self.scheduler.below(40);
            self.disk.borrow().cut_power_after(operations);
        }
        let engine = match self.open() {
            Ok(engine) => engine,
            Err(error) => {
                self.say(&format!("opening: {error}"));
                if !matches!(error, Error::NoSpace(_)) {
                    assert!(matches!(error, Error::Unavailable(_)), "{error}");
                    self.lose_power();
                }
                self.open_again()
            }
        };
        if self.disk.borrow().power_is_out() {
            engine.close();
            drop(engine);
            self.lose_power();
            let opened = self.open_again();
            *self.engine.borrow_mut() = Some(opened);
        } else {
            *self.engine.borrow_mut() = Some(engine);
        }
        // Whatever was planned was for the opening.
        self.disk.borrow().calm();
        self.opened_full.set(self.full.get());
        self.rounds_since_room.set(0);
        self.broken.set(false);
        self.started_ms.set(self.hand.now_ms());
        self.open_spaces();
    }

    /// The same when nothing more happens, except that a disk without a single sector left must
    /// first have one.
    fn open_again(&self) -> Arc<Embedded> {
        let mut opened = self.open();
        if matches!(opened, Err(Error::NoSpace(_))) && self.full.get() {
            self.fill(false);
            opened = self.open();
        }
        opened.expect("a power cut is no damage")
    }

    fn lose_power(&self) {
        let disk = self.disk.borrow().clone();
        let found = self
            .scheduler
            .with_random(|random| disk.after_power_cut(random));
        *self.disk.borrow_mut() = found;
        self.still_full();
    }

    /// A disk that was full may be so when the engine starts again.
    fn still_full(&self) {
        if self.full.replace(false) {
            self.full_ms.set(self.hand.now_ms());
            if self.scheduler.rarely(2) {
                self.disk.borrow().full(true);
                self.full.set(true);
                self.was_full.set(true);
            }
        }
    }

    fn open_spaces(&self) {
        let engine = self.engine();
        let known: BTreeSet<String> = super::now(engine.list())
            .expect("list")
            .into_iter()
            .collect();
        let old = std::mem::take(&mut *self.spaces.borrow_mut());
        let ids = (0..SPACES).map(|n| format!("ks{n}"));
        for (n, id) in ids.enumerate() {
            let mut opened = super::now(engine.open(&id));
            if matches!(opened, Err(Error::NoSpace(_))) && self.full.get() {
                self.fill(false);
                opened = super::now(engine.open(&id));
            }
            let store = opened.expect("it is there, or made");
            let before = old.get(n);
            let space = match before.filter(|space| !space.deleted.get()) {
                Some(space) if known.contains(&id) => {
                    *space.store.borrow_mut() = store;
                    // Interrupted, it was not deleted.
                    space.deleting.set(false);
                    space.clone()
                }
                before => {
                    if let Some(space) = before {
                        assert!(space.deleting.get(), "{id} is lost");
                        self.gone.borrow_mut().push(space.clone());
                    }
                    Rc::new(Space::new(id.clone(), store))
                }
            };
            self.spaces.borrow_mut().push(space);
        }
        for space in self.spaces.borrow().iter() {
            self.set_quota(space);
        }
    }

    /// Sets what a keyspace may have; forgotten when the engine is closed.
    pub(super) fn set_quota(&self, space: &Space) {
        let keys = space.quota.get();
        let set = self.engine().set_quota(&space.id, None, keys);
        set.expect("it is there");
    }

    /// Ends the engine; everybody who waits gets an answer.
    pub(super) fn stop_engine(&self) {
        self.quiet.set(true);
        let Some(engine) = self.engine.borrow_mut().take() else {
            return;
        };
        engine.close();
        loop {
            let ready = self.scheduler.ready();
            let Some(id) = ready.first() else { break };
            *self.engine.borrow_mut() = Some(engine.clone());
            self.scheduler.poll(*id);
        }
        *self.engine.borrow_mut() = None;
        for kind in [Kind::Client, Kind::Upkeep, Kind::Checkpoint] {
            assert_eq!(self.scheduler.running(kind), 0, "{kind:?} never ends");
        }
        self.scheduler.end_watches();
        for space in self.spaces.borrow().iter() {
            space.observing.set(false);
        }
    }

    /// Stops in order and starts again.
    pub(super) fn stop(self: &Rc<Self>) {
        self.scheduler.note(100);
        self.say("stopped");
        self.stop_engine();
        self.start();
    }

    /// Kills the process, or cuts the power, and starts again.
    pub(super) fn crash(self: &Rc<Self>, power: bool) {
        self.scheduler.note(101 + u64::from(power));
        self.say(if power { "power cut" } else { "killed" });
        self.disk.borrow().cut_power_after(0);
        self.stop_engine();
        if power {
            self.lose_power();
        } else {
            let found = self.disk.borrow().after_kill();
            *self.disk.borrow_mut() = found;
            self.still_full();
        }
        self.start();
    }

    pub(super) fn end(&self) {
        self.stop_engine();
    }
}

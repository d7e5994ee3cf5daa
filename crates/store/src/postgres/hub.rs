//! What was changed lately, for the watches of one keyspace. This process's own commits come in
//! directly; those of others are read when they are heard of.

use super::batch::{Commit, Planned};
use crate::{Error, Result, limits};
use parking_lot::Mutex;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use tokio::sync::{Notify, watch};

/// Bytes that are kept for watches that are a little behind; others read them again.
const KEPT: u64 = 4 << 20;

#[derive(Default)]
pub(super) struct Hub {
    state: Mutex<State>,
    changed: watch::Sender<()>,
    /// wakes the feeder
    pub(super) need: Notify,
}

#[derive(Default)]
struct State {
    /// next revision of each watch
    cursors: BTreeMap<u64, u64>,
    last_cursor: u64,
    /// everything up to here is in `recent` or older; 0: not known yet
    head: u64,
    recent: VecDeque<(Arc<Commit>, u64)>,
    bytes: u64,
    /// others are known to have written up to here
    heard: u64,
    /// how often progress was asked for, and the revision that the last wish is about
    wishes: u64,
    wish: u64,
    feeding: bool,
    ended: bool,
}

/// What a watch finds.
pub(super) enum Look {
    Commit(Arc<Commit>),
    /// all is delivered; progress is owed up to this revision
    Progress(u64),
    /// all is delivered
    UpToDate,
    /// older changes have to be read
    Behind,
    /// the keyspace was deleted
    Ended,
}

/// A watch's place in the hub.
pub(super) struct Place {
    id: u64,
    pub(super) next: u64,
    /// wishes for progress already granted; none: not even the first word was said
    granted: Option<u64>,
}

impl Hub {
    /// A new watch; true when nobody feeds the hub yet.
    pub(super) fn enter(&self) -> Result<(Place, bool)> {
        let mut state = self.state.lock();
        if state.cursors.len() >= limits::MAX_WATCHES {
            return Err(Error::Throttled("too many watches".into()));
        }
        if state.cursors.is_empty() {
            state.head = 0;
            state.recent.clear();
            state.bytes = 0;
        }
        state.last_cursor += 1;
        let id = state.last_cursor;
        state.cursors.insert(id, u64::MAX);
        let place = Place {
            id,
            next: 0,
            granted: None,
        };
        Ok((place, !std::mem::replace(&mut state.feeding, true)))
    }

    /// Where the watch starts, now that the revision of the database is known.
    pub(super) fn settle(&self, place: &mut Place, next: u64, head: u64) {
        let mut state = self.state.lock();
        place.next = next;
        state.cursors.insert(place.id, next);
        if state.head == 0 {
            state.head = head;
        }
        drop(state);
        self.heard(head);
    }

    pub(super) fn leave(&self, place: &Place) {
        self.state.lock().cursors.remove(&place.id);
        self.need.notify_one();
    }

    /// False, and nobody feeds any more, when nobody watches.
    pub(super) fn still_watched(&self) -> bool {
        let mut state = self.state.lock();
        state.feeding = !state.cursors.is_empty() && !state.ended;
        state.feeding
    }

    pub(super) fn end(&self) {
        self.state.lock().ended = true;
        self.changed.send_replace(());
        self.need.notify_one();
    }

    /// Somebody saw this revision.
    pub(super) fn heard(&self, rev: u64) {
        let mut state = self.state.lock();
        if state.cursors.is_empty() || rev <= state.head.max(state.heard) {
            return;
        }
        state.heard = rev;
        drop(state);
        self.need.notify_one();
    }

    /// Asks every watch to say that everything up to `rev` was delivered.
    pub(super) fn ask_progress(&self, rev: u64) {
        let mut state = self.state.lock();
        state.wishes += 1;
        state.wish = state.wish.max(rev);
        drop(state);
        self.heard(rev);
        self.changed.send_replace(());
    }

    pub(super) fn changes(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    /// The revision up to which the hub is fed.
    pub(super) fn head(&self) -> u64 {
        self.state.lock().head
    }

    /// This process committed a batch.
    pub(super) fn publish(&self, planned: &Planned) {
        if !planned.commits.is_empty() {
            self.feed(planned.commits.iter().cloned());
        }
    }

    /// New commits in order; those known already are passed over, a gap is left to the feeder.
    pub(super) fn feed(&self, commits: impl Iterator<Item = Commit>) {
        let mut state = self.state.lock();
        if state.cursors.is_empty() {
            return;
        }
        let mut gap = false;
        for commit in commits {
            if state.head == 0 {
                state.head = commit.rev - 1;
            }
            if commit.rev <= state.head {
                continue;
            }
            if commit.rev > state.head + 1 {
                state.heard = state.heard.max(commit.rev);
                gap = true;
                break;
            }
            state.head = commit.rev;
            let bytes = weight(&commit);
            state.bytes += bytes;
            state.recent.push_back((Arc::new(commit), bytes));
        }
        let slowest = state.cursors.values().copied().min().unwrap_or(u64::MAX);
        while let Some((commit, bytes)) = state.recent.front()
            && (commit.rev < slowest || state.bytes > KEPT)
        {
            let bytes = *bytes;
            state.bytes -= bytes;
            state.recent.pop_front();
        }
        drop(state);
        if gap {
            self.need.notify_one();
        }
        self.changed.send_replace(());
    }

    /// The watches read for themselves what lies before `head`.
    pub(super) fn jump(&self, head: u64) {
        let mut state = self.state.lock();
        if head > state.head {
            state.head = head;
            state.recent.clear();
            state.bytes = 0;
        }
        drop(state);
        self.changed.send_replace(());
    }

    /// What comes next for a watch.
    pub(super) fn look(&self, place: &mut Place) -> Look {
        let mut state = self.state.lock();
        if state.ended {
            return Look::Ended;
        }
        if place.next > state.head {
            let owed = place.granted.is_none_or(|granted| granted < state.wishes);
            if owed && state.head >= state.wish {
                place.granted = Some(state.wishes);
                return Look::Progress(state.head);
            }
            return Look::UpToDate;
        }
        let first = state.recent.front().map_or(u64::MAX, |(c, _)| c.rev);
        let at = place
            .next
            .checked_sub(first)
            .and_then(|at| usize::try_from(at).ok());
        let Some((commit, _)) = at.and_then(|at| state.recent.get(at)) else {
            return Look::Behind;
        };
        let commit = commit.clone();
        place.next = commit.rev + 1;
        state.cursors.insert(place.id, place.next);
        Look::Commit(commit)
    }

    /// A watch has read older changes for itself.
    pub(super) fn moved(&self, place: &mut Place, next: u64) {
        place.next = next;
        self.state.lock().cursors.insert(place.id, next);
    }
}

fn weight(commit: &Commit) -> u64 {
    let of = |event: &crate::Event| {
        let prev = event.prev.as_ref().map_or(0, super::batch::weight);
        super::batch::weight(&event.kv) + prev
    };
    commit.events.iter().map(of).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn commit(rev: u64) -> Commit {
        Commit {
            rev,
            events: Vec::new(),
        }
    }

    fn found(look: Look) -> String {
        match look {
            Look::Commit(commit) => format!("commit {}", commit.rev),
            Look::Progress(rev) => format!("progress {rev}"),
            Look::UpToDate => "up to date".into(),
            Look::Behind => "behind".into(),
            Look::Ended => "ended".into(),
        }
    }

    #[test]
    fn watches_are_bounded_and_one_that_ends_makes_room() {
        let hub = Hub::default();
        let places: Vec<_> = (0..limits::MAX_WATCHES).map(|_| hub.enter()).collect();
        assert!(matches!(hub.enter(), Err(Error::Throttled(_))));
        hub.leave(&places[7].as_ref().expect("room").0);
        assert!(hub.enter().is_ok());
    }

    #[test]
    fn a_watch_gets_every_commit_and_gaps_are_never_passed_over() {
        let hub = Hub::default();
        let (mut place, first) = hub.enter().expect("room");
        assert!(first && !hub.enter().expect("room").1);
        hub.settle(&mut place, 4, 5);
        assert_eq!(found(hub.look(&mut place)), "behind");
        hub.moved(&mut place, 6);
        assert_eq!(found(hub.look(&mut place)), "progress 5");
        assert_eq!(found(hub.look(&mut place)), "up to date");
        hub.feed([commit(8)].into_iter());
        assert_eq!(found(hub.look(&mut place)), "up to date");
        hub.feed([commit(6), commit(7), commit(8)].into_iter());
        for rev in 6..9 {
            assert_eq!(found(hub.look(&mut place)), format!("commit {rev}"));
        }
        hub.ask_progress(9);
        assert_eq!(found(hub.look(&mut place)), "up to date", "9 is missing");
        hub.feed([commit(9)].into_iter());
        assert_eq!(found(hub.look(&mut place)), "commit 9");
        assert_eq!(found(hub.look(&mut place)), "progress 9");
        hub.jump(20);
        assert_eq!(found(hub.look(&mut place)), "behind");
        hub.end();
        assert_eq!(found(hub.look(&mut place)), "ended");
    }
}

//! Who depends on whom, as events told it. Only objects that have owners, or are being deleted
//! in a way that concerns their dependents, are kept.

use crate::api::{Kind, Meta, OwnerRef};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

pub(crate) const FOREGROUND: &str = "foregroundDeletion";
pub(crate) const ORPHAN: &str = "orphan";

pub(crate) type Uid = Arc<str>;

/// Something to look into.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Job {
    /// whether its owners exist
    Verify(Uid),
    /// whether it must go, or waits for its dependents
    Delete(Uid),
    /// its dependents become nobody's
    Orphan(Uid),
}

#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub kind: Arc<Kind>,
    pub namespace: Box<str>,
    pub name: Box<str>,
    pub owners: Arc<[OwnerRef]>,
    pub deleting: bool,
    /// waits until its dependents are gone
    pub foreground: bool,
    /// waits until its dependents have forgotten it
    pub orphan: bool,
}

#[derive(Debug, Default)]
pub(crate) struct Graph {
    nodes: BTreeMap<Uid, Node>,
    /// owner → what says it is owned by it; the owner need not be a node
    dependents: BTreeMap<Uid, BTreeSet<Uid>>,
}

fn blocks(reference: &OwnerRef) -> bool {
    reference.block_owner_deletion == Some(true)
}

impl Graph {
    pub(crate) fn get(&self, uid: &str) -> Option<&Node> {
        self.nodes.get(uid)
    }

    /// An object exists, new or changed; returns what that gives to do.
    pub(crate) fn applied(&mut self, kind: &Arc<Kind>, meta: &Meta) -> Vec<Job> {
        let uid: Uid = meta.uid.as_str().into();
        let deleting = meta.deletion_timestamp.is_some();
        let waits_for =
            |finalizer: &str| deleting && meta.finalizers.iter().any(|f| f == finalizer);
        let node = Node {
            kind: kind.clone(),
            namespace: meta.namespace.as_str().into(),
            name: meta.name.as_str().into(),
            owners: meta.owner_references.as_slice().into(),
            deleting,
            foreground: waits_for(FOREGROUND),
            orphan: waits_for(ORPHAN),
        };
        let keep = !node.owners.is_empty() || node.foreground || node.orphan;
        let old = if keep {
            self.nodes.insert(uid.clone(), node.clone())
        } else {
            self.nodes.remove(&uid)
        };
        if !keep && old.is_none() {
            return Vec::new();
        }
        let before = old.as_ref().map_or(&[][..], |old| &old.owners);
        let mut jobs = self.change_owners(&uid, before, &node.owners);
        let was = |of: fn(&Node) -> bool| old.as_ref().is_some_and(of);
        if node.orphan && !was(|n| n.orphan) {
            jobs.push(Job::Orphan(uid));
        } else if node.foreground && !was(|n| n.foreground) {
            jobs.extend(self.dependents_of(&uid).into_iter().map(Job::Delete));
            jobs.push(Job::Delete(uid));
        }
        jobs
    }

    /// Indexes an object under its owners; owners it no longer holds up may go on.
    fn change_owners(&mut self, uid: &Uid, before: &[OwnerRef], after: &[OwnerRef]) -> Vec<Job> {
        let mut jobs = Vec::new();
        let find = |refs: &[OwnerRef], owner: &str| refs.iter().find(|r| r.uid == owner).cloned();
        for old in before {
            let new = find(after, &old.uid);
            if new.is_none() {
                self.unlink(uid, &old.uid);
            }
            if blocks(old) && !new.as_ref().is_some_and(blocks) {
                jobs.push(Job::Delete(old.uid.as_str().into()));
            }
        }
        let mut added = false;
        for new in after {
            self.dependents
                .entry(new.uid.as_str().into())
                .or_default()
                .insert(uid.clone());
            added |= find(before, &new.uid).as_ref() != Some(new);
        }
        if added {
            jobs.push(Job::Verify(uid.clone()));
        }
        jobs
    }

    fn unlink(&mut self, uid: &Uid, owner: &str) {
        if let Some(all) = self.dependents.get_mut(owner) {
            all.remove(uid);
            if all.is_empty() {
                self.dependents.remove(owner);
            }
        }
    }

    /// An object is gone; returns what that gives to do.
    pub(crate) fn deleted(&mut self, uid: &str) -> Vec<Job> {
        let mut jobs: Vec<Job> = self
            .dependents_of(uid)
            .into_iter()
            .map(Job::Delete)
            .collect();
        let Some((uid, node)) = self.nodes.remove_entry(uid) else {
            return jobs;
        };
        for owner in node.owners.iter() {
            self.unlink(&uid, &owner.uid);
            if self
                .nodes
                .get(owner.uid.as_str())
                .is_some_and(|n| n.foreground)
            {
                jobs.push(Job::Delete(owner.uid.as_str().into()));
            }
        }
        jobs
    }

    /// Everything with owners, to be verified anew because deletions may have gone unseen.
    pub(crate) fn everything(&self) -> Vec<Job> {
        let owned = self.nodes.iter().filter(|(_, n)| !n.owners.is_empty());
        owned.map(|(uid, _)| Job::Verify(uid.clone())).collect()
    }

    pub(crate) fn dependents_of(&self, owner: &str) -> Vec<Uid> {
        self.dependents
            .get(owner)
            .into_iter()
            .flatten()
            .cloned()
            .collect()
    }

    /// The dependents without which their owner's deletion may not finish.
    pub(crate) fn blocking(&self, owner: &str) -> Vec<(Uid, Node)> {
        let blocking = |node: &Node| node.owners.iter().any(|r| r.uid == owner && blocks(r));
        let all = self.dependents_of(owner).into_iter();
        all.filter_map(|uid| {
            self.nodes
                .get(&uid)
                .filter(|n| blocking(n))
                .cloned()
                .map(|n| (uid, n))
        })
        .collect()
    }

    #[cfg(test)]
    fn is_empty(&self) -> bool {
        self.nodes.is_empty() && self.dependents.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind() -> Arc<Kind> {
        Arc::new(Kind::core("pods", true))
    }

    fn object(uid: &str, owners: &[(&str, bool)]) -> Meta {
        let owner = |(uid, block): &(&str, bool)| OwnerRef {
            uid: (*uid).into(),
            block_owner_deletion: Some(*block),
            ..OwnerRef::default()
        };
        Meta {
            uid: uid.into(),
            owner_references: owners.iter().map(owner).collect(),
            ..Meta::default()
        }
    }

    fn deleting(mut meta: Meta, finalizer: &str) -> Meta {
        meta.deletion_timestamp = Some("now".into());
        meta.finalizers = vec![finalizer.into()];
        meta
    }

    fn delete(uid: &str) -> Job {
        Job::Delete(uid.into())
    }

    #[test]
    fn objects_without_owners_are_not_kept() {
        let mut graph = Graph::default();
        assert!(graph.applied(&kind(), &object("a", &[])).is_empty());
        assert!(graph.is_empty());
        assert!(graph.deleted("a").is_empty());
    }

    #[test]
    fn a_dependent_is_verified_once_and_looked_at_when_its_owner_goes() {
        let mut graph = Graph::default();
        assert_eq!(
            graph.applied(&kind(), &object("d", &[("o", false)])),
            [Job::Verify("d".into())]
        );
        assert!(
            graph
                .applied(&kind(), &object("d", &[("o", false)]))
                .is_empty()
        );
        assert_eq!(graph.deleted("o"), [delete("d")]);
        graph.deleted("d");
        assert!(graph.is_empty());
    }

    #[test]
    fn a_foreground_owner_waits_for_what_blocks_it() {
        let mut graph = Graph::default();
        graph.applied(&kind(), &object("d1", &[("o", true)]));
        graph.applied(&kind(), &object("d2", &[("o", false)]));
        let jobs = graph.applied(&kind(), &deleting(object("o", &[]), FOREGROUND));
        assert_eq!(jobs, [delete("d1"), delete("d2"), delete("o")]);
        assert_eq!(graph.blocking("o").len(), 1);
        assert!(
            graph
                .applied(&kind(), &deleting(object("o", &[]), FOREGROUND))
                .is_empty(),
            "told once"
        );
        assert_eq!(graph.deleted("d1"), [delete("o")]);
        assert!(graph.blocking("o").is_empty());
    }

    #[test]
    fn a_reference_that_no_longer_blocks_lets_its_owner_go_on() {
        let mut graph = Graph::default();
        graph.applied(&kind(), &object("d", &[("o", true)]));
        assert_eq!(
            graph.applied(&kind(), &object("d", &[("o", false)])),
            [delete("o"), Job::Verify("d".into())]
        );
        graph.applied(&kind(), &object("d", &[("o", true)]));
        assert_eq!(graph.applied(&kind(), &object("d", &[])), [delete("o")]);
        assert!(graph.is_empty());
    }

    #[test]
    fn an_orphaning_owner_is_told_once() {
        let mut graph = Graph::default();
        graph.applied(&kind(), &object("d", &[("o", true)]));
        let owner = deleting(object("o", &[]), ORPHAN);
        assert_eq!(graph.applied(&kind(), &owner), [Job::Orphan("o".into())]);
        assert!(graph.applied(&kind(), &owner).is_empty());
        assert_eq!(graph.dependents_of("o").len(), 1);
    }
}

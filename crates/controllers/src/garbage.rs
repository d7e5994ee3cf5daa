//! Deletes what its owners left behind (pkg/controller/garbagecollector).
//!
//! Unlike upstream's, the graph holds only objects with owners; that an owner exists is asked of
//! the API and remembered until its deletion is seen.

mod graph;

use crate::api::{Meta, OwnerRef, Propagation, Result, code};
use crate::hub::{Controller, Shared};
use crate::queue::{Next, Queue};
use crate::watch::{Event, What};
use futures::FutureExt as _;
use futures::future::BoxFuture;
use graph::{FOREGROUND, Graph, Job, Node, ORPHAN, Uid};
use parking_lot::Mutex;
use serde_json::json;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

/// Work on this many objects at the same time: each waits for a durable write.
const AT_ONCE: usize = 16;
/// Owners remembered as existing.
const REMEMBERED: usize = 4096;
/// Watches of different kinds run apart: an owner's last dependents may be told a little after
/// the owner's deletion.
const SETTLE: Duration = Duration::from_millis(100);

pub(crate) struct Collector {
    shared: Arc<Shared>,
    graph: Mutex<Graph>,
    existing: Mutex<BTreeSet<Uid>>,
    /// owners that wait for their dependents, for longer than [`SETTLE`]
    settled: Mutex<BTreeSet<Uid>>,
    queue: Queue<Job>,
}

/// What is to be done with an object, from the state of its owners.
#[derive(Debug, PartialEq, Eq)]
enum Plan {
    /// an owner exists; drop the references to these, which do not or are going
    Keep {
        forget: Vec<String>,
    },
    /// all owners that are left wait for their dependents, and it has dependents itself
    DeleteForeground,
    Delete(Propagation),
}

/// How an owner was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Owner {
    Solid,
    Absent,
    /// being deleted, waits for its dependents
    Waiting,
}

fn plan(owners: &[(String, Owner)], has_dependents: bool, finalizers: &[String]) -> Plan {
    let of = |wanted: Owner| owners.iter().filter(move |(_, state)| *state == wanted);
    let has = |finalizer: &str| finalizers.iter().any(|f| f == finalizer);
    if of(Owner::Solid).next().is_some() {
        let forget = of(Owner::Absent)
            .chain(of(Owner::Waiting))
            .map(|(uid, _)| uid.clone());
        Plan::Keep {
            forget: forget.collect(),
        }
    } else if of(Owner::Waiting).next().is_some() && has_dependents {
        Plan::DeleteForeground
    } else if has(ORPHAN) {
        Plan::Delete(Propagation::Orphan)
    } else if has(FOREGROUND) {
        Plan::Delete(Propagation::Foreground)
    } else {
        Plan::Delete(Propagation::Background)
    }
}

impl Collector {
    pub(crate) fn new(shared: &Arc<Shared>) -> Self {
        Self {
            shared: shared.clone(),
            graph: Mutex::default(),
            existing: Mutex::default(),
            settled: Mutex::default(),
            queue: Queue::default(),
        }
    }

    fn enqueue(&self, jobs: Vec<Job>) {
        for job in jobs {
            self.queue.add(job);
        }
    }

    async fn step(&self, job: Job) -> Result<Next> {
        match job {
            Job::Verify(uid) => self.verify(&uid).await,
            Job::Delete(uid) => self.attempt(&uid).await,
            Job::Orphan(uid) => self.orphan(&uid).await,
        }
    }

    fn node(&self, uid: &str) -> Option<Node> {
        self.graph.lock().get(uid).cloned()
    }

    /// Hands on an object whose owners do not all exist.
    async fn verify(&self, uid: &Uid) -> Result<Next> {
        let Some(node) = self.node(uid) else {
            return Ok(Next::Done);
        };
        for reference in node.owners.iter() {
            match self.owner(&node, reference).await? {
                Some(Owner::Solid) => {}
                Some(_) => self.queue.add(Job::Delete(uid.clone())),
                None => return Ok(Next::Done),
            }
        }
        Ok(Next::Done)
    }

    /// How an owner is; `None` when that cannot be said of a reference that breaks the rules.
    async fn owner(&self, node: &Node, reference: &OwnerRef) -> Result<Option<Owner>> {
        if self.existing.lock().contains(reference.uid.as_str()) {
            return Ok(Some(Owner::Solid));
        }
        let Some(owner) = self.owner_meta(node, reference).await? else {
            return Ok(None);
        };
        let Some(owner) = owner.filter(|o| o.uid == reference.uid) else {
            return Ok(Some(Owner::Absent));
        };
        if owner.deletion_timestamp.is_none() {
            let mut existing = self.existing.lock();
            if existing.len() >= REMEMBERED {
                existing.clear();
            }
            existing.insert(reference.uid.as_str().into());
            return Ok(Some(Owner::Solid));
        }
        let waits = owner.finalizers.iter().any(|f| f == FOREGROUND);
        Ok(Some(if waits { Owner::Waiting } else { Owner::Solid }))
    }

    /// The owner as it is now; the outer `None`: a cluster-scoped object cannot have a namespaced
    /// owner, and nothing may be concluded from such a reference.
    async fn owner_meta(&self, node: &Node, reference: &OwnerRef) -> Result<Option<Option<Meta>>> {
        let group = reference
            .api_version
            .split_once('/')
            .map_or("", |(group, _)| group);
        let kinds = self.shared.kinds();
        let Some(kind) = kinds
            .iter()
            .find(|k| *k.group == *group && *k.kind == *reference.kind)
        else {
            // Perhaps its definition was just made; until it is known nothing is concluded.
            return Err(kube::Error::Discovery(
                kube::error::DiscoveryError::MissingKind(reference.kind.clone()),
            ));
        };
        if kind.namespaced && node.namespace.is_empty() {
            tracing::debug!(
                kind = &*node.kind.kind,
                name = &*node.name,
                "a cluster-scoped object refers to a namespaced owner"
            );
            return Ok(None);
        }
        let owner = self
            .shared
            .api
            .get_meta(kind, &node.namespace, &reference.name)
            .await?;
        Ok(Some(owner))
    }

    /// Decides about one object with fresh reads.
    async fn attempt(&self, uid: &Uid) -> Result<Next> {
        let Some(node) = self.node(uid) else {
            return Ok(Next::Done);
        };
        if node.deleting && !node.foreground {
            return Ok(Next::Done);
        }
        let live = self
            .shared
            .api
            .get_meta(&node.kind, &node.namespace, &node.name)
            .await?;
        let Some(live) = live.filter(|live| live.uid == **uid) else {
            self.forget(uid);
            return Ok(Next::Done);
        };
        if node.foreground {
            return self.wait_for_dependents(uid, &node, &live).await;
        }
        let mut owners = Vec::new();
        for reference in &live.owner_references {
            // What is remembered decides nothing here.
            self.existing.lock().remove(reference.uid.as_str());
            match self.owner(&node, reference).await? {
                Some(state) => owners.push((reference.uid.clone(), state)),
                None => return Ok(Next::Done),
            }
        }
        if owners.is_empty() {
            return Ok(Next::Done);
        }
        let dependents = self.graph.lock().dependents_of(uid);
        self.execute(
            uid,
            &node,
            &live,
            plan(&owners, !dependents.is_empty(), &live.finalizers),
        )
        .await
    }

    async fn execute(&self, uid: &Uid, node: &Node, live: &Meta, plan: Plan) -> Result<Next> {
        let propagation = match plan {
            Plan::Keep { forget } if forget.is_empty() => return Ok(Next::Done),
            Plan::Keep { forget } => {
                let kept: Vec<OwnerRef> = live
                    .owner_references
                    .iter()
                    .filter(|r| !forget.contains(&r.uid))
                    .cloned()
                    .collect();
                return self.set_owners(node, live, &kept).await;
            }
            Plan::DeleteForeground => {
                self.unblock_cycle(uid, node, live).await?;
                Propagation::Foreground
            }
            Plan::Delete(propagation) => propagation,
        };
        // The revision is pinned so that a new owner, set meanwhile, is not overlooked.
        let pinned =
            (propagation != Propagation::Foreground).then_some(live.resource_version.as_str());
        tracing::debug!(
            kind = &*node.kind.kind,
            namespace = &*node.namespace,
            name = &*node.name,
            ?propagation,
            "deleting"
        );
        let api = &self.shared.api;
        match api
            .delete(
                &node.kind,
                &node.namespace,
                &node.name,
                (uid, pinned),
                propagation,
            )
            .await
        {
            Err(e) if code(&e) == 409 => Ok(Next::Wait),
            other => other.map(|()| Next::Done),
        }
    }

    /// A dependent that waits for its own dependents may be the owner again: so that a circle of
    /// owners can be deleted, the references stop blocking.
    async fn unblock_cycle(&self, uid: &Uid, node: &Node, live: &Meta) -> Result<()> {
        let circle = {
            let graph = self.graph.lock();
            graph
                .dependents_of(uid)
                .iter()
                .any(|d| graph.get(d).is_some_and(|n| n.foreground))
        };
        if circle {
            let mut owners = live.owner_references.clone();
            owners
                .iter_mut()
                .for_each(|r| r.block_owner_deletion = Some(false));
            let mut unpinned = live.clone();
            unpinned.resource_version.clear();
            self.set_owners(node, &unpinned, &owners).await?;
        }
        Ok(())
    }

    async fn set_owners(&self, node: &Node, live: &Meta, owners: &[OwnerRef]) -> Result<Next> {
        // Fields that are not ours to know (controller) must survive: take them from the object.
        let Some(object) = self
            .shared
            .api
            .get(&node.kind, &node.namespace, &node.name)
            .await?
        else {
            return Ok(Next::Done);
        };
        let all = object["metadata"]["ownerReferences"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        let kept: Vec<serde_json::Value> = all
            .into_iter()
            .filter_map(|mut reference| {
                let wanted = owners.iter().find(|o| reference["uid"] == o.uid.as_str())?;
                if let Some(block) = wanted.block_owner_deletion {
                    reference["blockOwnerDeletion"] = block.into();
                }
                Some(reference)
            })
            .collect();
        let mut patch = json!({"metadata": {"uid": live.uid, "ownerReferences": kept}});
        if !live.resource_version.is_empty() {
            patch["metadata"]["resourceVersion"] = live.resource_version.as_str().into();
        }
        self.patch(node, &patch).await
    }

    async fn patch(&self, node: &Node, patch: &serde_json::Value) -> Result<Next> {
        match self
            .shared
            .api
            .merge(&node.kind, &node.namespace, &node.name, patch)
            .await
        {
            Err(e) if code(&e) == 404 => Ok(Next::Done),
            Err(e) if code(&e) == 409 => Ok(Next::Wait),
            other => other.map(|()| Next::Done),
        }
    }

    /// Lets an owner go whose blocking dependents are gone; sends the others on their way.
    async fn wait_for_dependents(&self, uid: &Uid, node: &Node, live: &Meta) -> Result<Next> {
        if !self.shared.is_complete() || self.is_new(live) {
            return Ok(Next::After(SETTLE));
        }
        let blocking = self.graph.lock().blocking(uid);
        if blocking.is_empty() {
            return self.remove_finalizer(node, live, FOREGROUND).await;
        }
        for (dependent, state) in blocking {
            if !state.foreground {
                self.queue.add(Job::Delete(dependent));
            }
        }
        // Its dependents' deletion brings this back; looking again guards against what was missed.
        Ok(Next::After(Duration::from_secs(30)))
    }

    /// Whether the deletion began so recently that dependents may not all be known.
    fn is_new(&self, live: &Meta) -> bool {
        self.settled.lock().insert(live.uid.as_str().into())
    }

    async fn orphan(&self, uid: &Uid) -> Result<Next> {
        let Some(node) = self.node(uid) else {
            return Ok(Next::Done);
        };
        let live = self
            .shared
            .api
            .get_meta(&node.kind, &node.namespace, &node.name)
            .await?;
        let Some(live) = live.filter(|live| live.uid == **uid) else {
            self.forget(uid);
            return Ok(Next::Done);
        };
        if !self.shared.is_complete() || self.is_new(&live) {
            return Ok(Next::After(SETTLE));
        }
        let dependents = self.graph.lock().dependents_of(uid);
        for dependent in dependents {
            let Some(of) = self.node(&dependent) else {
                continue;
            };
            let meta = self
                .shared
                .api
                .get_meta(&of.kind, &of.namespace, &of.name)
                .await?;
            let Some(meta) = meta.filter(|meta| meta.uid == *dependent) else {
                continue;
            };
            let kept: Vec<OwnerRef> = meta
                .owner_references
                .iter()
                .filter(|r| r.uid != **uid)
                .cloned()
                .collect();
            if kept.len() < meta.owner_references.len()
                && self.set_owners(&of, &meta, &kept).await? != Next::Done
            {
                return Ok(Next::Wait);
            }
        }
        self.remove_finalizer(&node, &live, ORPHAN).await
    }

    async fn remove_finalizer(&self, node: &Node, live: &Meta, finalizer: &str) -> Result<Next> {
        let kept: Vec<&String> = live.finalizers.iter().filter(|f| *f != finalizer).collect();
        if kept.len() == live.finalizers.len() {
            return Ok(Next::Done);
        }
        let patch = json!({"metadata": {"uid": live.uid, "resourceVersion": live.resource_version, "finalizers": kept}});
        self.patch(node, &patch).await
    }

    fn forget(&self, uid: &str) {
        self.existing.lock().remove(uid);
        self.settled.lock().remove(uid);
        let jobs = self.graph.lock().deleted(uid);
        self.enqueue(jobs);
    }
}

impl Controller for Collector {
    fn observe(&self, event: &Event) {
        match &event.what {
            What::Applied(meta) => {
                if meta.deletion_timestamp.is_some() {
                    self.existing.lock().remove(meta.uid.as_str());
                }
                let jobs = self.graph.lock().applied(&event.kind, meta);
                self.enqueue(jobs);
            }
            What::Deleted(meta) => self.forget(&meta.uid),
            What::Restarted => {
                self.existing.lock().clear();
                let jobs = self.graph.lock().everything();
                self.enqueue(jobs);
            }
            What::Listed => {}
        }
    }

    fn work(&self) -> BoxFuture<'_, ()> {
        self.queue
            .drive("garbage", AT_ONCE, |job| self.step(job))
            .boxed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owners(states: &[Owner]) -> Vec<(String, Owner)> {
        states
            .iter()
            .enumerate()
            .map(|(i, state)| (format!("u{i}"), *state))
            .collect()
    }

    #[test]
    fn an_object_stays_while_one_owner_does_and_forgets_the_others() {
        let of = |states: &[Owner]| plan(&owners(states), false, &[]);
        assert_eq!(of(&[Owner::Solid]), Plan::Keep { forget: vec![] });
        assert_eq!(
            of(&[Owner::Absent, Owner::Solid]),
            Plan::Keep {
                forget: vec!["u0".into()]
            }
        );
        assert_eq!(
            of(&[Owner::Solid, Owner::Waiting]),
            Plan::Keep {
                forget: vec!["u1".into()]
            }
        );
    }

    #[test]
    fn without_an_owner_it_goes_as_its_finalizers_ask() {
        let with = |finalizers: &[&str]| {
            let finalizers: Vec<String> = finalizers.iter().map(ToString::to_string).collect();
            plan(&owners(&[Owner::Absent]), true, &finalizers)
        };
        assert_eq!(with(&[]), Plan::Delete(Propagation::Background));
        assert_eq!(with(&["x/y"]), Plan::Delete(Propagation::Background));
        assert_eq!(with(&[ORPHAN]), Plan::Delete(Propagation::Orphan));
        assert_eq!(with(&[FOREGROUND]), Plan::Delete(Propagation::Foreground));
    }

    #[test]
    fn a_waiting_owner_takes_the_dependents_of_its_dependents_along() {
        assert_eq!(
            plan(&owners(&[Owner::Waiting]), true, &[]),
            Plan::DeleteForeground
        );
        assert_eq!(
            plan(&owners(&[Owner::Waiting]), false, &[]),
            Plan::Delete(Propagation::Background)
        );
        assert_eq!(
            plan(&owners(&[Owner::Waiting, Owner::Absent]), true, &[]),
            Plan::DeleteForeground
        );
    }
}

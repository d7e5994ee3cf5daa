//! Who may do what in this control plane: its RBAC objects, compiled, kept up to date by the
//! cache before a change becomes visible to reads.

mod review;

use crate::cache::{Cache, View};
use freehold_model::{ApiError, Value};
use freehold_policy::rbac::{GROUP, Rbac, Write};
use freehold_policy::{Attributes, Decision, User, forbidden_message};
use parking_lot::RwLock;
use std::sync::Arc;

/// Resource and kind of what grants access.
const RESOURCES: [(&str, &str); 4] = [
    ("clusterroles", "ClusterRole"),
    ("roles", "Role"),
    ("clusterrolebindings", "ClusterRoleBinding"),
    ("rolebindings", "RoleBinding"),
];

#[derive(Default)]
struct Compiled {
    rbac: Rbac,
    /// up to which revision each of [`RESOURCES`] is compiled
    seen: [u64; RESOURCES.len()],
}

pub(crate) struct Authz {
    compiled: Arc<RwLock<Compiled>>,
}

impl Authz {
    pub(crate) fn new(cache: &Cache) -> Self {
        let compiled = Arc::<RwLock<Compiled>>::default();
        let shared = compiled.clone();
        // Observing comes first: what changes meanwhile is then seen twice, never not at all.
        cache.observe(Box::new(move |resource, view| {
            let plural = resource
                .strip_prefix(GROUP)
                .and_then(|rest| rest.strip_prefix('/'));
            if let Some(i) = RESOURCES.iter().position(|(r, _)| Some(*r) == plural) {
                shared.write().follow(i, view);
            }
        }));
        let mut loading = compiled.write();
        for (i, (resource, _)) in RESOURCES.iter().enumerate() {
            loading.load(i, &cache.view(GROUP, resource));
        }
        drop(loading);
        Self { compiled }
    }

    /// Compiled from these objects alone, following nothing.
    #[cfg(test)]
    pub(crate) fn of(objects: &[Value]) -> Self {
        let mut compiled = Compiled::default();
        objects.iter().for_each(|object| compiled.rbac.put(object));
        Self {
            compiled: Arc::new(RwLock::new(compiled)),
        }
    }

    pub(crate) fn authorize(&self, user: &User, asked: &Attributes) -> Decision {
        self.compiled.read().rbac.authorize(user, asked)
    }

    /// # Errors
    /// 403 in upstream's words when the user may not.
    pub(crate) fn require(&self, user: &User, asked: &Attributes) -> Result<(), ApiError> {
        let Decision { allowed, reason } = self.authorize(user, asked);
        if allowed {
            return Ok(());
        }
        let why = forbidden_message(user, asked, &reason);
        if asked.path.is_some() {
            let mut error = ApiError::new(403, "Forbidden", format!("forbidden: {why}"));
            error.details = Some(Box::default());
            return Err(error);
        }
        Err(ApiError::forbidden(
            &asked.group,
            &asked.resource,
            &asked.name,
            &why,
        ))
    }

    /// Checks a create or update of an RBAC object: nobody grants more than they have.
    ///
    /// # Errors
    /// 403 listing what is missing.
    pub(crate) fn confirm_no_escalation(
        &self,
        user: &User,
        write: &Write<'_>,
    ) -> Result<(), ApiError> {
        let checked = self.compiled.read().rbac.confirm_no_escalation(user, write);
        checked.map_err(|why| {
            let name = write
                .object
                .str_at(&["metadata", "name"])
                .unwrap_or_default();
            ApiError::forbidden(GROUP, write.resource, name, &why)
        })
    }
}

impl Compiled {
    fn load(&mut self, i: usize, view: &View) {
        let (objects, rev) = view.list(None);
        self.rbac.clear(RESOURCES[i].1);
        for object in objects {
            self.put(i, object.parse());
        }
        self.seen[i] = rev;
    }

    fn follow(&mut self, i: usize, view: &View) {
        let Ok((events, upto)) = view.events_after(self.seen[i], usize::MAX) else {
            self.load(i, view);
            return;
        };
        for event in events {
            let object = &event.object;
            if event.deleted {
                self.rbac
                    .remove(RESOURCES[i].1, object.namespace(), object.name());
            } else {
                self.put(i, object.parse());
            }
        }
        self.seen[i] = upto;
    }

    fn put(&mut self, i: usize, mut object: Value) {
        object.set(&["kind"], RESOURCES[i].1);
        self.rbac.put(&object);
    }
}

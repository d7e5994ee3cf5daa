//! The one way an object is changed: look at it in the cache, decide, commit if it is still the
//! same, else look again. A decision on a stale object is never final.

use crate::cache::{Object, View, object, store_error};
use crate::pipeline::Call;
use bytes::Bytes;
use freehold_model::{ApiError, Resource, Value, json, limits};
use freehold_store::{Compare, Op, Txn};
use std::sync::Arc;

/// Conflicting writers of one object in a row before a request gives up.
const MAX_ATTEMPTS: usize = 24;
pub(crate) const OPTIMISTIC_LOCK: &str =
    "the object has been modified; please apply your changes to the latest version and try again";

/// The object as it is now, in the served version and without resourceVersion.
pub(crate) struct Existing {
    pub object: Arc<Object>,
    pub value: Value,
}

/// What is to become of the object, in the served version.
pub(crate) enum Change {
    Put(Value),
    Delete,
    /// deleted; this is what the client is shown
    Finish(Value),
    Keep,
}

/// What became of the object.
pub(crate) enum Done {
    Stored {
        object: Arc<Object>,
        created: bool,
    },
    /// the last state, under the revision of the deletion
    Deleted(Arc<Object>),
    /// dry run: what would have been stored or deleted, in the served version
    Dry {
        value: Value,
        created: bool,
        deleted: bool,
    },
}

/// Where and how one object is stored.
pub(crate) struct Target<'a> {
    pub namespace: &'a str,
    pub name: &'a str,
    pub lease: i64,
    pub dry_run: bool,
}

impl Call {
    pub(crate) fn view(&self) -> Arc<View> {
        self.cp
            .cache
            .view(&self.storage.group, &self.storage.plural)
    }

    pub(crate) fn conflict(&self, name: &str, why: &str) -> ApiError {
        ApiError::conflict(&self.info.group, &self.info.resource, name, why)
    }

    /// Reads, decides and commits until it holds. `decide` sees `None` when there is no object.
    pub(crate) async fn modify<F>(
        &self,
        target: &Target<'_>,
        mut decide: F,
    ) -> Result<Done, ApiError>
    where
        F: FnMut(Option<&Existing>) -> Result<Change, ApiError> + Send,
    {
        let view = self.view();
        let mut fresh = false;
        for _ in 0..MAX_ATTEMPTS {
            let existing = self.existing(&view, target).await?;
            let change = match decide(existing.as_ref()) {
                Err(e) if fresh => return Err(e),
                Ok(Change::Keep) if fresh => return self.kept(existing, target),
                Err(_) | Ok(Change::Keep) => {
                    self.cp.cache.fresh().await?;
                    fresh = true;
                    continue;
                }
                Ok(change) => change,
            };
            let (bytes, shown) = match &change {
                Change::Put(value) => (Some(self.to_stored(value.clone()).await?), None),
                Change::Finish(value) => (None, Some(self.to_stored(value.clone()).await?)),
                Change::Delete | Change::Keep => (None, None),
            };
            if let (Some(b), Some(e)) = (&bytes, &existing)
                && *b == e.object.value
            {
                if fresh {
                    return self.kept(existing, target);
                }
                self.cp.cache.fresh().await?;
                fresh = true;
                continue;
            }
            if target.dry_run {
                if !fresh {
                    self.cp.cache.fresh().await?;
                    fresh = true;
                    continue;
                }
                return Ok(dry(change, existing));
            }
            let guard = self.namespace_guard(existing.is_none(), target)?;
            let committed = self.commit(target, existing.as_ref(), bytes, guard).await?;
            match (committed, shown) {
                (Some(Done::Deleted(last)), Some(shown)) => {
                    return last.showing(shown).map(Done::Deleted);
                }
                (Some(done), _) => return Ok(done),
                (None, _) => {}
            }
            self.cp.cache.fresh().await?;
            fresh = true;
        }
        Err(self.conflict(target.name, OPTIMISTIC_LOCK))
    }

    async fn existing(
        &self,
        view: &View,
        target: &Target<'_>,
    ) -> Result<Option<Existing>, ApiError> {
        let Some(object) = view.get(target.namespace, target.name) else {
            return Ok(None);
        };
        let mut value = [self.load(&object)?];
        self.convert(&self.resource, &mut value).await?;
        let [value] = value;
        Ok(Some(Existing { object, value }))
    }

    fn kept(&self, existing: Option<Existing>, target: &Target<'_>) -> Result<Done, ApiError> {
        let existing = existing.ok_or_else(|| self.not_found(target.name))?;
        Ok(Done::Stored {
            object: existing.object,
            created: false,
        })
    }

    /// Bytes as stored: the storage version, without resourceVersion.
    pub(crate) async fn to_stored(&self, mut value: Value) -> Result<Bytes, ApiError> {
        value.set(&["apiVersion"], self.resource.api_version());
        let mut value = [value];
        self.convert(&self.storage, &mut value).await?;
        let [value] = value;
        limits::check_stored(&value)?;
        Ok(stored_bytes(&self.storage, value))
    }

    /// A new object may only appear while its namespace is there: the transaction compares.
    fn namespace_guard(
        &self,
        creating: bool,
        target: &Target<'_>,
    ) -> Result<Option<Compare>, ApiError> {
        if !creating || target.namespace.is_empty() {
            return Ok(None);
        }
        let namespaces = self.cp.cache.view("", "namespaces");
        let ns = namespaces
            .get("", target.namespace)
            .ok_or_else(|| ApiError::not_found("", "namespaces", target.namespace))?;
        Ok(Some(Compare::CreateRev(
            object::key("", "namespaces", "", target.namespace),
            ns.create_rev,
        )))
    }

    /// `None`: somebody else was faster.
    async fn commit(
        &self,
        target: &Target<'_>,
        existing: Option<&Existing>,
        bytes: Option<Bytes>,
        guard: Option<Compare>,
    ) -> Result<Option<Done>, ApiError> {
        let key = object::key(
            &self.storage.group,
            &self.storage.plural,
            target.namespace,
            target.name,
        );
        let expected = existing.map_or(0, |e| e.object.rev);
        let mut compares = vec![Compare::ModRev(key.clone(), expected)];
        compares.extend(guard);
        let lease = existing.map_or(target.lease, |e| {
            if target.lease == 0 {
                e.object.lease
            } else {
                target.lease
            }
        });
        let op = match &bytes {
            Some(value) => Op::Put {
                key,
                value: value.clone(),
                lease,
            },
            None => Op::Delete { key },
        };
        let reply = self
            .cp
            .config
            .store
            .txn(Txn {
                compares,
                then: vec![op],
                otherwise: Vec::new(),
                // What was there before is in the cache.
                without_prev: true,
            })
            .await
            .map_err(|e| store_error(&e))?;
        if !reply.succeeded {
            return Ok(None);
        }
        let create_rev = existing.map_or(reply.rev, |e| e.object.create_rev);
        let deleted = bytes.is_none();
        let value = bytes
            .or_else(|| existing.map(|e| e.object.value.clone()))
            .unwrap_or_default();
        let object = Object::from_parts(
            target.namespace,
            target.name,
            value,
            reply.rev,
            create_rev,
            lease,
        )
        .ok_or_else(|| ApiError::internal("the object has no metadata"))?;
        let object = Arc::new(object);
        Ok(Some(if deleted {
            Done::Deleted(object)
        } else {
            Done::Stored {
                object,
                created: existing.is_none(),
            }
        }))
    }
}

fn dry(change: Change, existing: Option<Existing>) -> Done {
    let created = existing.is_none();
    let with_rev = |mut value: Value, rev: Option<u64>| {
        if let Some(rev) = rev {
            value.set(&["metadata", "resourceVersion"], rev.to_string());
        }
        value
    };
    let rev = existing.as_ref().map(|e| e.object.rev);
    match change {
        Change::Put(value) => Done::Dry {
            value: with_rev(value, rev),
            created,
            deleted: false,
        },
        Change::Finish(value) => Done::Dry {
            value: with_rev(value, rev),
            created,
            deleted: true,
        },
        Change::Delete | Change::Keep => {
            let value = existing.map(|e| e.value).unwrap_or_default();
            Done::Dry {
                value: with_rev(value, rev),
                created: false,
                deleted: true,
            }
        }
    }
}

impl Object {
    /// The same version of the same object with other content.
    fn showing(&self, value: Bytes) -> Result<Arc<Self>, ApiError> {
        let (rev, create_rev) = (self.rev, self.create_rev);
        Self::from_parts(
            self.namespace(),
            self.name(),
            value,
            rev,
            create_rev,
            self.lease,
        )
        .map(Arc::new)
        .ok_or_else(|| ApiError::internal("the object has no metadata"))
    }
}

/// An object's stored form.
pub(crate) fn stored_bytes(storage: &Resource, mut value: Value) -> Bytes {
    value.unset(&["metadata", "resourceVersion"]);
    value.unset(&["metadata", "selfLink"]);
    value.set(&["apiVersion"], storage.api_version());
    value.set(&["kind"], storage.kind.clone());
    let mut bytes = json::to_vec(&value);
    // Caches keep these for long: without what the writer reserved.
    bytes.shrink_to_fit();
    bytes.into()
}

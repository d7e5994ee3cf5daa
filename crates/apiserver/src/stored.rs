//! Stored objects as requests see them.
//!
//! Upstream prunes and defaults a custom object whenever it decodes it, by the schema of now and of
//! the version it is stored in, and prunes it again once it is converted: apiextensions
//! `pkg/apiserver/customresource_handler.go`. Most objects are settled: that would change nothing
//! about them, and their bytes are copied. Which ones are is remembered beside the cached object.

use crate::cache::Object;

use crate::pipeline::{Call, REQUEST_TIMEOUT};
use crate::registry::Kind;
use freehold_model::apply::{Version, Versions};
use freehold_model::{ApiError, Resource, Value, convert, crd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;
use tokio_util::sync::CancellationToken;

/// Bytes that defaults may add to all objects of one list.
const MAX_GROWTH: usize = 64 * 1024 * 1024;

/// One state of a CRD's schemas.
pub(crate) struct Schema {
    /// differs from that of every other state
    id: u64,
    /// objects of later revisions were written under these schemas; `u64::MAX`: not known yet
    after: AtomicU64,
    /// objects are only written in the version they are stored in
    single: bool,
    since: Instant,
    /// revision of the change that made it so; 0: it was so when this process began
    begun: u64,
    ended: CancellationToken,
}

impl Schema {
    fn new(single: bool, first: bool, begun: u64) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Self {
            id: NEXT.fetch_add(1, Ordering::Relaxed),
            after: AtomicU64::new(if single && first { 0 } else { u64::MAX }),
            single,
            since: Instant::now(),
            begun,
            ended: CancellationToken::new(),
        }
    }

    /// That of a stored CRD, since a revision.
    pub(crate) fn of(crd: &Value, begun: u64) -> Self {
        let versions = crd.at(&["spec", "versions"]).and_then(Value::as_array);
        let generation = crd.at(&["metadata", "generation"]).and_then(Value::as_i64);
        // Never changed: there are no objects of another schema.
        let single = versions.is_some_and(|v| v.len() == 1);
        Self::new(single, generation == Some(1), begun)
    }

    /// The revision up to which clients have seen objects of another schema: what they go on from
    /// is too old, as after upstream replaced the storage of a kind.
    pub(crate) fn begun(&self) -> u64 {
        self.begun
    }

    /// This is no longer the schema of the kind.
    pub(crate) fn end(&self) {
        self.ended.cancel();
    }

    pub(crate) async fn ended(&self) {
        self.ended.cancelled().await;
    }

    /// Whether an object's bytes are as they would be written now; `rev` is the cache's.
    fn knows(&self, object: &Object, rev: u64) -> bool {
        let mut after = self.after.load(Ordering::Relaxed);
        // By now every write has ended that began under another schema.
        if after == u64::MAX && self.single && self.since.elapsed() > 2 * REQUEST_TIMEOUT {
            self.after.store(rev, Ordering::Relaxed);
            after = rev;
        }
        object.written() > after || object.is_settled(self.id)
    }
}

impl Kind {
    /// The kind in the version that an object says it has.
    fn version_of(&self, api_version: &str) -> Option<&Arc<Resource>> {
        self.version(api_version.rsplit('/').next().unwrap_or_default())
    }

    /// The object as the schema of the version it is stored in has it; `grown` counts what defaults add.
    fn settled(
        &self,
        storage: &Resource,
        object: &Object,
        rev: u64,
        grown: &mut usize,
    ) -> Result<Value, ApiError> {
        let stored = object.read()?;
        if self.schema.knows(object, rev) {
            return Ok(stored);
        }
        let api_version = stored.str_at(&["apiVersion"]).unwrap_or_default();
        let resource = self.version_of(api_version).map_or(storage, |r| r);
        let (value, more) = crd::settle(resource, &stored);
        *grown += more;
        if storage.is_of(api_version) && value == stored {
            object.settle(self.schema.id);
        }
        Ok(value)
    }
}

impl Call {
    /// Whether the object's bytes are what is served.
    pub(crate) fn copies(&self, object: &Object) -> bool {
        if !Arc::ptr_eq(&self.resource, &self.storage) {
            return false;
        }
        let Some(kind) = &self.kind else {
            let is_own = |api_version| self.storage.is_of(api_version);
            return !convert::was_stored_otherwise(&self.storage)
                || object.api_version().is_some_and(is_own);
        };
        let rev = self.cp.cache.rev();
        kind.schema.knows(object, rev) || {
            kind.settled(&self.storage, object, rev, &mut 0).is_ok()
                && object.is_settled(kind.schema.id)
        }
    }

    /// Whether that is known already, so that an object's bytes tell what it has.
    pub(crate) fn is_settled(&self, object: &Object) -> bool {
        let rev = || self.cp.cache.rev();
        let knows = |kind: &Arc<Kind>| kind.schema.knows(object, rev());
        self.kind.as_ref().is_none_or(knows)
    }

    pub(crate) fn copies_all(&self, objects: &[Arc<Object>]) -> bool {
        if self.kind.is_none() && !convert::was_stored_otherwise(&self.storage) {
            return Arc::ptr_eq(&self.resource, &self.storage);
        }
        objects.iter().all(|o| self.copies(o))
    }

    /// The object in the version it is stored in, without its resourceVersion.
    pub(crate) fn load(&self, object: &Object) -> Result<Value, ApiError> {
        self.load_counting(object, &mut 0)
    }

    fn load_counting(&self, object: &Object, grown: &mut usize) -> Result<Value, ApiError> {
        match &self.kind {
            Some(kind) => kind.settled(&self.storage, object, self.cp.cache.rev(), grown),
            None => object.read(),
        }
    }

    /// All of a list; small objects with a large default must not fill the memory.
    pub(crate) fn load_all(&self, objects: &[Arc<Object>]) -> Result<Vec<Value>, ApiError> {
        let mut grown = 0;
        let load = |object: &Arc<Object>| {
            let value = self.load_counting(object, &mut grown)?;
            if grown <= MAX_GROWTH {
                return Ok(value);
            }
            Err(ApiError::too_large(
                "Request entity too large: the defaults of these objects are too large for one list; ask for fewer at a time (limit)",
            ))
        };
        objects.iter().map(load).collect()
    }

    /// The object in the served version, with its resourceVersion.
    pub(crate) async fn to_served(&self, object: &Object) -> Result<Value, ApiError> {
        let mut value = [self.load(object)?];
        self.convert(&self.resource, &mut value).await?;
        let [mut value] = value;
        value.set(&["metadata", "resourceVersion"], object.rev.to_string());
        Ok(value)
    }

    /// Brings objects into the version of `to`, if need be by the webhook of their CRD.
    pub(crate) async fn convert(
        &self,
        to: &Resource,
        values: &mut [Value],
    ) -> Result<(), ApiError> {
        let is_other = |v: &Value| !v.str_at(&["apiVersion"]).is_some_and(|text| to.is_of(text));
        let Some(converter) = self.kind.as_ref().and_then(|k| k.converter.as_ref()) else {
            let mut others = values.iter_mut().filter(|v| is_other(v));
            return others
                .try_for_each(|value| convert::convert(&self.version_of(value), to, value));
        };
        if !values.iter().any(is_other) {
            return Ok(());
        }
        let limits = &self.cp.config.limits;
        // Boxed: every idle watch would keep room for asking a webhook.
        Box::pin(converter.convert(&self.cp.cache, limits, to, values)).await
    }

    /// This kind in the version an object is in.
    fn version_of(&self, value: &Value) -> Arc<Resource> {
        let text = value.str_at(&["apiVersion"]).unwrap_or_default();
        for known in [&self.storage, &self.resource] {
            if known.is_of(text) {
                return known.clone();
            }
        }
        match self.kind.as_ref().map(|kind| kind.version_of(text)) {
            Some(known) => known.unwrap_or(&self.storage).clone(),
            // Of a minor version that this one no longer serves.
            None => Arc::new(Resource {
                version: text.rsplit('/').next().unwrap_or_default().into(),
                ..Resource::clone(&self.storage)
            }),
        }
    }
}

impl Versions for Call {
    fn find(&self, api_version: &str) -> Version {
        let (group, version) = api_version.rsplit_once('/').unwrap_or(("", api_version));
        let own = &self.resource;
        let found = match &self.kind {
            Some(kind) => kind.version(version).filter(|r| r.group == group),
            None => {
                let found = self.served.catalogue.lookup(group, version, &own.plural);
                found.filter(|r| r.kind == own.kind && r.storage_group == own.storage_group)
            }
        };
        let asks = self.kind.as_ref().is_some_and(|k| k.converter.is_some());
        match found {
            // A webhook cannot be asked in the middle of a change.
            Some(_) if asks => Version::Alike,
            Some(other) => Version::Other(other.clone()),
            None => Version::Gone,
        }
    }
}

//! What a control plane serves now: the shared catalogue and its own custom resources.

use crate::cache::{Cache, Object, View};
use crate::conversion::Converter;
use crate::stored::Schema;
use arc_swap::ArcSwap;
use freehold_model::crd::{self, Compiled};
use freehold_model::{Catalogue, Resource, Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::hash::BuildHasher as _;
use std::sync::Arc;

pub(crate) const CRD_KEY: &str = "apiextensions.k8s.io/customresourcedefinitions";

/// What one CRD adds.
pub(crate) struct Kind {
    /// storage version first, then the other served ones
    pub resources: Vec<Arc<Resource>>,
    /// versions that objects may still be stored in
    pub unserved: Vec<Arc<Resource>>,
    /// what stored objects are held against
    pub schema: Arc<Schema>,
    /// the CRD is being deleted
    pub terminating: bool,
    /// asked for objects in another version
    pub converter: Option<Arc<Converter>>,
}

/// One generation of the served API; replaced as a whole when a CRD changes.
pub(crate) struct Served {
    pub catalogue: Arc<Catalogue>,
    /// by (group, plural)
    pub custom: BTreeMap<(String, String), Arc<Kind>>,
    /// OpenAPI documents with these custom resources, by name, once somebody asked for them
    pub documents: parking_lot::Mutex<BTreeMap<String, bytes::Bytes>>,
}

impl Served {
    /// Whether some group serves this kind in this `group/version`.
    pub(crate) fn knows(&self, api_version: &str, kind: &str) -> bool {
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        // Upstream still knows how to read what it does not serve any more.
        let read = matches!(version, "v1beta1" | "v1beta2")
            && self
                .catalogue
                .resources
                .iter()
                .any(|r| r.group == group && r.kind == kind);
        read || self.catalogue.by_kind(group, version, kind).is_some()
    }

    pub(crate) fn lookup(
        &self,
        group: &str,
        version: &str,
        plural: &str,
    ) -> Option<&Arc<Resource>> {
        if let Some(r) = self.catalogue.lookup(group, version, plural) {
            return Some(r);
        }
        let kind = self.kind(group, plural)?;
        kind.resources.iter().find(|r| r.version == version)
    }

    /// The custom kind of that name.
    pub(crate) fn kind(&self, group: &str, plural: &str) -> Option<&Arc<Kind>> {
        self.custom.get(&(group.to_owned(), plural.to_owned()))
    }

    /// The resource at the version its objects are stored in.
    pub(crate) fn storage(&self, resource: &Arc<Resource>) -> Arc<Resource> {
        if resource.storage_version == resource.version && resource.storage_group == resource.group
        {
            return resource.clone();
        }
        let (group, version) = (&resource.storage_group, &resource.storage_version);
        if let Some(stored) = self.lookup(group, version, &resource.plural) {
            return stored.clone();
        }
        // The storage version of a CRD need not be served.
        let kind = self.kind(group, &resource.plural);
        let stored = kind.and_then(|k| k.version(version));
        stored.cloned().unwrap_or_else(|| {
            Arc::new(Resource {
                version: version.clone(),
                ..Resource::clone(resource)
            })
        })
    }

    fn custom_kinds(&self) -> impl Iterator<Item = &Arc<Resource>> {
        self.custom.values().flat_map(|k| &k.resources)
    }

    /// Every served resource: built-in ones first, then custom ones by group.
    pub(crate) fn resources(&self) -> impl Iterator<Item = &Arc<Resource>> {
        self.catalogue.resources.iter().chain(self.custom_kinds())
    }

    /// The custom resources, each served version.
    pub(crate) fn custom_resources(&self) -> Vec<Arc<Resource>> {
        self.custom_kinds().cloned().collect()
    }
}

/// The current generation, and the compiled CRDs it is made of.
pub(crate) struct Registry {
    served: ArcSwap<Served>,
    compiled: parking_lot::Mutex<BTreeMap<String, Known>>,
    /// of `spec`s, to see whether one changed
    hasher: std::hash::RandomState,
    /// CRDs that turned out not to compile
    broken: parking_lot::Mutex<BTreeSet<String>>,
    breaks: tokio::sync::Notify,
}

/// A CRD as it was compiled.
#[derive(Clone)]
struct Known {
    rev: u64,
    /// of its uid and `spec`
    print: u64,
    kind: Arc<Kind>,
}

impl Kind {
    /// The kind in one of its versions, served or not.
    pub(crate) fn version(&self, name: &str) -> Option<&Arc<Resource>> {
        let mut all = self.resources.iter().chain(&self.unserved);
        all.find(|r| r.version == name)
    }
}

impl Registry {
    pub(crate) fn new(catalogue: Arc<Catalogue>) -> Self {
        let served = Served {
            catalogue,
            custom: BTreeMap::new(),
            documents: parking_lot::Mutex::default(),
        };
        Self {
            served: ArcSwap::from_pointee(served),
            compiled: parking_lot::Mutex::default(),
            hasher: std::hash::RandomState::new(),
            broken: parking_lot::Mutex::default(),
            breaks: tokio::sync::Notify::new(),
        }
    }

    pub(crate) fn now(&self) -> Arc<Served> {
        self.served.load_full()
    }

    /// Reads the CRDs of a view again; only those that changed are compiled.
    /// A changed schema is another [`Schema`], and watches of its kind end, as upstream's do when it
    /// replaces the storage of a kind.
    pub(crate) fn reload(&self, crds: &View) {
        let (objects, _) = crds.list(None);
        let mut compiled = self.compiled.lock();
        let (mut next, mut over) = (BTreeMap::new(), Vec::new());
        for object in objects {
            let known = compiled.remove(object.name());
            let entry = match known {
                Some(known) if known.rev == object.rev => known,
                known => self.read(&object, known, &mut over),
            };
            next.insert(object.name().to_owned(), entry);
        }
        // What is left was deleted.
        over.extend(compiled.values().map(|gone| gone.kind.schema.clone()));
        *compiled = next;
        let mut custom: BTreeMap<(String, String), Arc<Kind>> = BTreeMap::new();
        for kind in compiled.values().map(|known| &known.kind) {
            if let Some(r) = kind.resources.first() {
                custom.insert((r.group.to_string(), r.plural.to_string()), kind.clone());
            }
        }
        let catalogue = self.served.load().catalogue.clone();
        self.served.store(Arc::new(Served {
            catalogue,
            custom,
            documents: parking_lot::Mutex::default(),
        }));
        // Whoever comes back finds the new one.
        over.iter().for_each(|schema| schema.end());
    }

    fn read(&self, object: &Object, before: Option<Known>, over: &mut Vec<Arc<Schema>>) -> Known {
        let crd = object.parse();
        let spec = crd.get("spec").map(json::to_vec).unwrap_or_default();
        let uid = crd.str_at(&["metadata", "uid"]).unwrap_or_default();
        let print = self.hasher.hash_one((uid, spec));
        let schema = match before {
            Some(known) if known.print == print && !known.kind.resources.is_empty() => {
                known.kind.schema.clone()
            }
            Some(known) => {
                over.push(known.kind.schema.clone());
                Arc::new(Schema::of(&crd, object.rev))
            }
            None => Arc::new(Schema::of(&crd, 0)),
        };
        // Nothing while its names are not accepted.
        let compiled = match is_condition_true(&crd, "Established") {
            true => self.compile(object.name(), &crd).unwrap_or_default(),
            false => Compiled::default(),
        };
        let serves = !compiled.resources.is_empty();
        let kind = Kind {
            resources: compiled.resources,
            unserved: compiled.unserved,
            schema,
            terminating: crd.at(&["metadata", "deletionTimestamp"]).is_some(),
            converter: serves.then(|| Converter::of(&crd)).flatten(),
        };
        Known {
            rev: object.rev,
            print,
            kind: Arc::new(kind),
        }
    }

    fn compile(&self, name: &str, crd: &Value) -> Option<Compiled> {
        match crd::compile(crd, self.served.load().catalogue.minor) {
            Ok(compiled) => Some(compiled),
            Err(errors) => {
                tracing::error!(crd = name, ?errors, "a stored CRD does not compile");
                self.broken.lock().insert(name.to_owned());
                self.breaks.notify_one();
                None
            }
        }
    }

    /// The CRDs that turned out not to compile since the last call; waits for the first.
    pub(crate) async fn broken(&self) -> BTreeSet<String> {
        loop {
            let names = std::mem::take(&mut *self.broken.lock());
            if !names.is_empty() {
                return names;
            }
            self.breaks.notified().await;
        }
    }

    /// Follows the CRDs of a cache.
    pub(crate) fn follow(self: &Arc<Self>, cache: &Cache) {
        let registry = self.clone();
        registry.reload(&cache.view("apiextensions.k8s.io", "customresourcedefinitions"));
        cache.observe(Box::new(move |resource, view| {
            if resource == CRD_KEY {
                registry.reload(view);
            }
        }));
    }
}

/// Whether `status.conditions` says so.
pub(crate) fn is_condition_true(object: &Value, kind: &str) -> bool {
    object
        .at(&["status", "conditions"])
        .and_then(Value::as_array)
        .is_some_and(|all| {
            all.iter()
                .any(|c| c.str_at(&["type"]) == Some(kind) && c.str_at(&["status"]) == Some("True"))
        })
}

//! What a control plane serves now: the shared catalogue and its own custom resources.

use crate::cache::{Cache, View};
use crate::conversion::Converter;
use arc_swap::ArcSwap;
use freehold_model::{Catalogue, Resource, Value, crd};
use std::collections::BTreeMap;
use std::sync::Arc;

pub(crate) const CRD_KEY: &str = "apiextensions.k8s.io/customresourcedefinitions";

/// What one CRD adds.
#[derive(Clone, Default)]
pub(crate) struct Kind {
    /// storage version first, then the other served ones
    pub resources: Vec<Arc<Resource>>,
    /// stored objects may be in several versions
    pub mixed: bool,
    /// the CRD is being deleted
    pub terminating: bool,
    /// asked for objects in another version
    pub converter: Option<Arc<Converter>>,
}

/// One generation of the served API; replaced as a whole when a CRD changes.
pub(crate) struct Served {
    pub catalogue: Arc<Catalogue>,
    /// by (group, plural)
    pub custom: BTreeMap<(String, String), Kind>,
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
    pub(crate) fn kind(&self, group: &str, plural: &str) -> Option<&Kind> {
        self.custom.get(&(group.to_owned(), plural.to_owned()))
    }

    /// The resource at the version its objects are stored in.
    pub(crate) fn storage(&self, resource: &Arc<Resource>) -> Arc<Resource> {
        if resource.storage_version == resource.version && resource.storage_group == resource.group
        {
            return resource.clone();
        }
        let stored = self.lookup(
            &resource.storage_group,
            &resource.storage_version,
            &resource.plural,
        );
        stored.cloned().unwrap_or_else(|| {
            // The storage version of a CRD need not be served.
            Arc::new(Resource {
                version: resource.storage_version.clone(),
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
    compiled: parking_lot::Mutex<BTreeMap<String, (u64, Kind)>>,
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
        }
    }

    pub(crate) fn now(&self) -> Arc<Served> {
        self.served.load_full()
    }

    /// Reads the CRDs of a view again; only those that changed are compiled.
    pub(crate) fn reload(&self, crds: &View) {
        let (objects, _) = crds.list(None);
        let mut compiled = self.compiled.lock();
        let mut next = BTreeMap::new();
        for object in objects {
            let known = compiled
                .get(object.name())
                .filter(|(rev, _)| *rev == object.rev)
                .cloned();
            let entry = known.unwrap_or_else(|| (object.rev, compile(&object.parse())));
            next.insert(object.name().to_owned(), entry);
        }
        *compiled = next;
        let mut custom: BTreeMap<(String, String), Kind> = BTreeMap::new();
        for (_, kind) in compiled.values() {
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

/// What one stored CRD adds; nothing while its names are not accepted.
fn compile(object: &Value) -> Kind {
    if !is_condition_true(object, "Established") {
        return Kind::default();
    }
    let count = |path: &[&str]| {
        object
            .at(path)
            .and_then(Value::as_array)
            .map_or(0, <[_]>::len)
    };
    match crd::compile(object) {
        Ok(compiled) => Kind {
            resources: compiled.resources,
            mixed: count(&["spec", "versions"]) > 1 || count(&["status", "storedVersions"]) > 1,
            terminating: object.at(&["metadata", "deletionTimestamp"]).is_some(),
            converter: Converter::of(object),
        },
        Err(errors) => {
            let name = object.str_at(&["metadata", "name"]).unwrap_or_default();
            tracing::error!(crd = name, ?errors, "a stored CRD does not compile");
            Kind::default()
        }
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

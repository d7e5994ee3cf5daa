//! The built-in API as one table shared by every control plane of a process, and the common shape
//! (`Resource`) that built-in kinds and CRDs are both compiled to.

use crate::value::Str;
use std::sync::Arc;

/// Index of a type in a [`Types`] arena.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TypeId(pub u32);

/// What a type is. Structs are closed (unknown fields are dropped or reported), maps are open.
#[derive(Clone, Debug, PartialEq)]
pub enum Shape {
    Struct(Struct),
    /// string → value
    Map(TypeId),
    List(List),
    String,
    Bool,
    Int32,
    Int64,
    Float,
    /// base64 in JSON, bytes in protobuf
    Bytes,
    Quantity,
    IntOrString,
    Time,
    MicroTime,
    Duration,
    FieldsV1,
    /// `RawExtension`: an embedded object, pruned by nobody
    Raw,
    /// any JSON (`apiextensions JSON`)
    Json,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Struct {
    pub name: Str,
    /// ascending by JSON name
    pub fields: Vec<Field>,
    /// server-side apply replaces the struct as a whole (`+structType=atomic`)
    pub atomic: bool,
    /// CRDs: `x-kubernetes-preserve-unknown-fields`
    pub preserve_unknown: bool,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Field {
    pub json: Str,
    pub ty: TypeId,
    /// protobuf tag; 0 when the field has none
    pub tag: u32,
    pub required: bool,
    pub omit_empty: bool,
    /// embedded without a name of its own (`json:",inline"`): never set, inlined at generation
    pub patch_merge_key: Option<Str>,
    /// strategic merge: `merge`, `replace`, `retainKeys`
    pub patch_merge: bool,
    pub patch_retain_keys: bool,
    /// server-side apply: `map` fields that are atomic
    pub map_atomic: bool,
    pub since: u8,
    pub until: u8,
}

#[derive(Clone, Debug, PartialEq)]
pub struct List {
    pub item: TypeId,
    pub kind: ListKind,
}

#[derive(Clone, Debug, PartialEq)]
pub enum ListKind {
    Atomic,
    Set,
    /// keyed by these fields
    Map(Vec<Str>),
}

/// An arena of types.
#[derive(Debug, Default)]
pub struct Types {
    pub nodes: Vec<Shape>,
}

impl Types {
    #[must_use]
    pub fn get(&self, id: TypeId) -> &Shape {
        &self.nodes[id.0 as usize]
    }
}

/// One served resource at one version, with everything that generic code needs to serve it.
#[derive(Clone, Debug)]
pub struct Resource {
    pub group: Str,
    pub version: Str,
    pub kind: Str,
    pub list_kind: Str,
    pub plural: Str,
    pub singular: Str,
    pub namespaced: bool,
    pub short_names: Vec<Str>,
    pub categories: Vec<Str>,
    /// create, delete, deletecollection, get, list, patch, update, watch
    pub verbs: Vec<Str>,
    pub subresources: Vec<Subresource>,
    /// the version objects are stored in (may differ from `version`)
    pub storage_version: Str,
    pub types: Arc<Types>,
    pub root: TypeId,
    pub columns: Vec<Column>,
    /// set for kinds that come from a CustomResourceDefinition
    pub custom: Option<Arc<crate::crd::Custom>>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Subresource {
    /// `status`, `scale`, `binding`, `token`, …
    pub name: Str,
    pub group: Str,
    pub version: Str,
    pub kind: Str,
    pub verbs: Vec<Str>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Column {
    pub name: Str,
    /// string, integer, number, boolean, date
    pub ty: Str,
    pub format: Str,
    pub description: Str,
    pub priority: i32,
    /// CRDs: a JSON path; built-in kinds print by code
    pub json_path: Str,
}

/// The built-in resources that one Kubernetes minor version serves.
#[derive(Debug)]
pub struct Catalogue {
    /// minor version, e.g. 36
    pub minor: u8,
    /// e.g. `v1.36.3`
    pub git_version: Str,
    pub resources: Vec<Arc<Resource>>,
}

pub const OLDEST_MINOR: u8 = 28;
pub const NEWEST_MINOR: u8 = 37;
pub const DEFAULT_MINOR: u8 = 36;

impl Catalogue {
    /// The shared catalogue of a minor version; `None` outside `OLDEST_MINOR..=NEWEST_MINOR`.
    #[must_use]
    pub fn builtin(minor: u8) -> Option<Arc<Self>> {
        let _ = minor;
        None
    }

    #[must_use]
    pub fn lookup(&self, group: &str, version: &str, plural: &str) -> Option<&Arc<Resource>> {
        self.resources.iter().find(|r| r.plural == plural && r.group == group && r.version == version)
    }

    #[must_use]
    pub fn by_kind(&self, group: &str, version: &str, kind: &str) -> Option<&Arc<Resource>> {
        self.resources.iter().find(|r| r.kind == kind && r.group == group && r.version == version)
    }

    /// The type of any built-in kind, also those that are no resource (`DeleteOptions`, `Scale`, …).
    #[must_use]
    pub fn type_of(&self, group: &str, version: &str, kind: &str) -> Option<(Arc<Types>, TypeId)> {
        let _ = (group, version, kind);
        None
    }
}

impl Resource {
    /// `group/version`, or `v1` for the core group.
    #[must_use]
    pub fn api_version(&self) -> String {
        if self.group.is_empty() { self.version.to_string() } else { format!("{}/{}", self.group, self.version) }
    }

    #[must_use]
    pub fn subresource(&self, name: &str) -> Option<&Subresource> {
        self.subresources.iter().find(|s| s.name == name)
    }

    #[must_use]
    pub fn has_status(&self) -> bool {
        self.subresource("status").is_some()
    }
}

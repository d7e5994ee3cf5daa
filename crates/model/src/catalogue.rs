//! The built-in API as one table shared by every control plane of a process, and the common shape
//! (`Resource`) that built-in kinds and CRDs are both compiled to.

use crate::defaults::{self, Plans};
use crate::value::{Entry, Str, Value, prefix, same, suffix};
use std::collections::BTreeMap;
use std::sync::Arc;

mod builtin;
pub(crate) mod decoding;
mod per_type;
mod text;

pub(crate) use per_type::{Lazy, PerType};

/// Index of a type in a [`Types`] arena.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
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
    /// `JSONSchemaPropsOrBool` (a schema or a boolean); the id is that of the schema struct
    SchemaOrBool(TypeId),
    /// `JSONSchemaPropsOrArray` (a schema or a list of schemas)
    SchemaOrArray(TypeId),
    /// `JSONSchemaPropsOrStringArray` (a schema or a list of strings)
    SchemaOrStrings(TypeId),
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
    /// made from the fields when the struct enters an arena
    pub(crate) index: Index,
}

/// Fields by protobuf tag, and those that are always written.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Index {
    /// the order of the names, see [`crate::value::prefix`]
    prefixes: Box<[u64]>,
    /// their ends and lengths, see [`crate::value::suffix`]
    ends: Box<[(u64, u32)]>,
    /// fields of small structs by their names: one more than the place, 0 where there is none
    names: Box<[u8]>,
    /// those that are written even when they are zero
    always: Box<[u16]>,
    always_bits: u64,
    /// how many fields defaulting may add
    spare: u8,
    /// by tag, for fields that no other message is around
    direct: Box<[u16]>,
    /// the others: messages around them, tag, field
    inlined: Box<[([u8; 2], u32, u16)]>,
}

/// Where a tag leads.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Tagged {
    Field(u16),
    /// a message whose fields JSON inlines
    Message([u8; 2]),
    Unknown,
}

/// Write `Field { json, ty, ..Field::default() }`: fields are added here as needed.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Field {
    pub json: Str,
    pub ty: TypeId,
    /// protobuf tag; 0 when the field has none
    pub tag: u32,
    /// tags of the messages around this field that JSON inlines (`Volume.volumeSource` is 2 for
    /// every volume source), outermost first; 0 ends
    pub outer: [u8; 2],
    pub required: bool,
    /// Go leaves it out when it is zero; otherwise it is always written (`status: {}`)
    pub omit_empty: bool,
    /// a pointer in Go: an explicit zero (`replicas: 0`) is kept
    pub pointer: bool,
    /// a struct held by value: to Go it is always there
    pub nested: bool,
    /// strategic merge: `merge`, `replace`, `retainKeys`
    pub patch_merge: bool,
    pub patch_retain_keys: bool,
    /// server-side apply: a map or struct in this place is replaced as a whole
    pub map_atomic: bool,
    /// server-side apply: merged field by field even though its struct is atomic elsewhere
    pub map_granular: bool,
    /// the type says that the list is atomic (without a word lists are atomic, too)
    pub list_atomic: bool,
    /// what few fields have; shared by the minor versions
    pub facts: Option<Arc<Facts>>,
    pub since: u8,
    pub until: u8,
}

/// Rarely set facts of a field.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Facts {
    /// the marker `+default` (not the defaulting functions, see [`crate::defaults`])
    pub default: Option<Value>,
    /// allowed values of a string, or of the items of a list
    pub one_of: Vec<Str>,
    pub format: Str,
    pub patch_merge_key: Option<Str>,
}

impl Field {
    #[must_use]
    pub fn patch_merge_key(&self) -> Option<&str> {
        self.facts.as_ref()?.patch_merge_key.as_deref()
    }
}

#[derive(Clone, Debug, PartialEq)]
pub struct List {
    pub item: TypeId,
    pub kind: ListKind,
    /// protobuf wraps the items in a message of their own (`ExtraValue`, `Verbs`: `items` = 1)
    pub wrapped: bool,
}

#[derive(Clone, Debug, PartialEq)]
pub enum ListKind {
    Atomic,
    Set,
    /// keyed by these fields
    Map(Vec<Str>),
}

/// An arena of types.
#[derive(Clone, Debug, Default)]
pub struct Types {
    /// shared: the arenas of two minor versions differ in a few nodes only
    nodes: Vec<Arc<Shape>>,
    /// of the server that serves them; 0 for types of nobody's
    minor: u8,
    /// what defaulting found out about the nodes
    pub(crate) plans: Plans,
    /// … and what decoding did
    pub(crate) decoding: PerType<decoding::Plan>,
}

impl Types {
    /// The minor version of the server that serves these types.
    #[must_use]
    pub fn minor(&self) -> u8 {
        if self.minor == 0 {
            DEFAULT_MINOR
        } else {
            self.minor
        }
    }

    #[must_use]
    pub fn get(&self, id: TypeId) -> &Shape {
        &self.nodes[id.0 as usize]
    }

    pub fn push(&mut self, shape: Shape) -> TypeId {
        self.plans = Plans::default();
        self.decoding = PerType::default();
        self.nodes.push(Arc::new(shape.indexed()));
        TypeId((self.nodes.len() - 1) as u32)
    }

    /// Replaces a node (recursive types: push a placeholder first).
    pub fn set(&mut self, id: TypeId, shape: Shape) {
        self.plans = Plans::default();
        self.decoding = PerType::default();
        self.nodes[id.0 as usize] = Arc::new(shape.indexed());
    }

    #[must_use]
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// The struct at `id`, if it is one.
    #[must_use]
    pub fn structure(&self, id: TypeId) -> Option<&Struct> {
        if let Shape::Struct(s) = self.get(id) {
            Some(s)
        } else {
            None
        }
    }
}

impl Shape {
    fn indexed(mut self) -> Self {
        if let Self::Struct(s) = &mut self {
            s.index();
        }
        self
    }
}

impl Struct {
    #[must_use]
    pub fn field(&self, json: &str) -> Option<&Field> {
        self.find(json).map(|i| &self.fields[i])
    }

    #[inline]
    fn find(&self, json: &str) -> Option<usize> {
        self.find_known(prefix(json), json)
    }

    /// Where the field is among all whose name has this prefix.
    #[inline]
    pub(crate) fn place_known(&self, wanted: u64, json: &str) -> Option<u16> {
        u16::try_from(self.find_known(wanted, json)?).ok()
    }

    #[inline(always)]
    fn find_known(&self, wanted: u64, json: &str) -> Option<usize> {
        let (prefixes, names) = (&self.index.prefixes, &self.index.names);
        if names.is_empty() {
            return self.find_by_halves(wanted, json);
        }
        // A few steps and hardly ever a comparison that fails.
        let mut at = spread(wanted, json.len());
        loop {
            let i = usize::from(names[at & (names.len() - 1)]).checked_sub(1)?;
            if prefixes[i] == wanted {
                let (end, length) = self.index.ends[i];
                if length as usize == json.len()
                    && (json.len() <= 8 || end == suffix(json))
                    && (json.len() <= 16 || same(&self.fields[i].json, json))
                {
                    return Some(i);
                }
            }
            at += 1;
        }
    }

    fn find_by_halves(&self, wanted: u64, json: &str) -> Option<usize> {
        let prefixes = &self.index.prefixes;
        let first = prefixes.partition_point(|p| *p < wanted);
        // Short texts of one length and one prefix are the same.
        let fits = |i: &usize| {
            let name = &self.fields[*i].json;
            name.len() == json.len() && (json.len() <= 8 || same(name, json))
        };
        let end = first
            + prefixes[first..]
                .iter()
                .take(ALIKE)
                .take_while(|p| **p == wanted)
                .count();
        if end - first < ALIKE {
            return (first..end).find(fits);
        }
        // Somebody's names, and many: in order, too.
        let found = self.fields.binary_search_by(|f| {
            prefix(&f.json)
                .cmp(&wanted)
                .then_with(|| f.json.as_str().cmp(json))
        });
        found.ok()
    }

    /// How many fields defaulting may add.
    pub(crate) fn spare(&self) -> usize {
        self.index.spare.into()
    }

    /// The fields, to be asked for names in ascending order.
    pub(crate) fn cursor(&self) -> Cursor<'_> {
        Cursor {
            fields: &self.fields,
            prefixes: &self.index.prefixes,
            always: &self.index.always,
            at: 0,
        }
    }

    /// Begins the field at `place` behind `entries`.
    #[inline(always)]
    pub(crate) fn open<'e>(&self, place: u16, entries: &'e mut Vec<Entry>) -> &'e mut Value {
        let place = usize::from(place);
        Entry::open(
            entries,
            self.index.prefixes[place],
            &self.fields[place].json,
        )
    }

    /// The fields that are written even when they are zero, with their places.
    pub(crate) fn always(&self) -> &[u16] {
        &self.index.always
    }

    /// The same as bits, of the first 64 fields.
    pub(crate) fn always_bits(&self) -> u64 {
        self.index.always_bits
    }

    fn index(&mut self) {
        let (mut direct, mut inlined) = (Vec::new(), Vec::new());
        for (i, field) in self.fields.iter().enumerate() {
            let (tag, i) = (field.tag as usize, i as u16);
            match field.outer {
                _ if tag == 0 => {}
                [0, 0] if tag < MAX_DIRECT => {
                    direct.resize(direct.len().max(tag + 1), NO_FIELD);
                    direct[tag] = i;
                }
                outer => inlined.push((outer, field.tag, i)),
            }
        }
        let which = |has: fn(&Field) -> bool| {
            // Of a definition's struct with more fields than that, the last have no defaults.
            let fields = (0..=u16::MAX).zip(&self.fields).filter(|(_, f)| has(f));
            fields.map(|(i, _)| i).collect()
        };
        let always: Box<[u16]> = which(|f| !f.omit_empty);
        let bits = always.iter().filter(|i| **i < 64).map(|i| 1 << i);
        let mut names = Vec::new();
        if (1..=MAX_NAMES).contains(&self.fields.len()) {
            // A third at least stays empty, which ends every search.
            names.resize((self.fields.len() * 3 / 2).next_power_of_two().max(2), 0);
            for (i, field) in (1_u8..).zip(&self.fields) {
                let mut at = spread(prefix(&field.json), field.json.len());
                while names[at & (names.len() - 1)] != 0 {
                    at += 1;
                }
                let place = at & (names.len() - 1);
                names[place] = i;
            }
        }
        self.index = Index {
            names: names.into(),
            always_bits: bits.fold(0, |all: u64, bit: u64| all | bit),
            always,
            prefixes: self.fields.iter().map(|f| prefix(&f.json)).collect(),
            ends: {
                let end = |f: &Field| (suffix(&f.json), f.json.len() as u32);
                self.fields.iter().map(end).collect()
            },
            spare: u8::try_from(defaults::spare(self)).unwrap_or(u8::MAX),
            direct: direct.into(),
            inlined: inlined.into(),
        };
    }

    /// What `tag` is inside the inlined messages `outer`.
    pub(crate) fn tagged(&self, outer: [u8; 2], tag: u32) -> Tagged {
        if outer == [0, 0]
            && let Some(i) = self.index.direct.get(tag as usize)
            && *i != NO_FIELD
        {
            return Tagged::Field(*i);
        }
        let inlined = &self.index.inlined;
        if inlined.is_empty() {
            return Tagged::Unknown;
        }
        if let Some((.., i)) = inlined.iter().find(|(o, t, _)| *t == tag && *o == outer) {
            return Tagged::Field(*i);
        }
        let Ok(tag) = u8::try_from(tag) else {
            return Tagged::Unknown;
        };
        let next = match outer {
            [0, 0] => [tag, 0],
            [first, 0] => [first, tag],
            _ => return Tagged::Unknown,
        };
        let within = |o: &[u8; 2]| o[0] == next[0] && (next[1] == 0 || o[1] == next[1]);
        if inlined.iter().any(|(o, ..)| within(o)) {
            Tagged::Message(next)
        } else {
            Tagged::Unknown
        }
    }
}

/// Up to 64 places of fields as bits; gives them in ascending order.
#[derive(Clone, Copy)]
pub(crate) struct Places(pub(crate) u64);

impl Iterator for Places {
    type Item = u16;

    #[inline]
    fn next(&mut self) -> Option<u16> {
        let place = self.0.trailing_zeros();
        self.0 &= self.0.wrapping_sub(1);
        (place < 64).then_some(place as u16)
    }
}

impl Places {
    /// The places with what is there.
    #[inline(always)]
    pub(crate) fn zip_places<T>(self, all: &[T]) -> impl Iterator<Item = (u16, &T)> {
        self.filter_map(|place| Some((place, all.get(usize::from(place))?)))
    }
}

/// More names that begin alike are not looked through.
const ALIKE: usize = 16;
const NO_FIELD: u16 = u16::MAX;
/// Larger tags (there are hardly any) are looked for.
const MAX_DIRECT: usize = 256;

/// Larger structs (a definition's) are looked through by halves.
const MAX_NAMES: usize = 64;

/// A number that differs for most names, by their first bytes and length.
#[inline]
fn spread(prefix: u64, len: usize) -> usize {
    ((prefix ^ len as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 48) as usize
}

/// Goes through fields and names side by side; both ascend.
pub(crate) struct Cursor<'a> {
    fields: &'a [Field],
    prefixes: &'a [u64],
    always: &'a [u16],
    at: usize,
}

impl<'a> Cursor<'a> {
    /// The field called `key`, whose prefix is `wanted`; `unwritten` sees those before it that are always written and that no
    /// name asked for.
    pub(crate) fn seek(
        &mut self,
        wanted: u64,
        key: &str,
        mut unwritten: impl FnMut(&'a Field),
    ) -> Option<&'a Field> {
        let mut found = None;
        while let Some(prefix) = self.prefixes.get(self.at)
            && *prefix <= wanted
        {
            if *prefix == wanted {
                let field = &self.fields[self.at];
                if field.json.len() == key.len() && (key.len() <= 8 || same(&field.json, key)) {
                    found = Some(field);
                    break;
                }
                if field.json.as_str() > key {
                    break;
                }
            }
            self.at += 1;
        }
        while let [next, rest @ ..] = self.always
            && usize::from(*next) < self.at
        {
            unwritten(&self.fields[usize::from(*next)]);
            self.always = rest;
        }
        if found.is_some() {
            if let [next, rest @ ..] = self.always
                && usize::from(*next) == self.at
            {
                self.always = rest;
            }
            self.at += 1;
        }
        found
    }

    /// The always written fields that no name asked for, after the last that did.
    pub(crate) fn rest(self) -> impl Iterator<Item = &'a Field> {
        self.always.iter().map(|i| &self.fields[usize::from(*i)])
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
    pub short_names: Arc<[Str]>,
    pub categories: Arc<[Str]>,
    /// create, delete, deletecollection, get, list, patch, update, watch
    pub verbs: Arc<[Str]>,
    pub subresources: Arc<[Subresource]>,
    /// the group and version objects are stored in: `version` may differ (autoscaling), and
    /// `events.k8s.io` shares the objects of the core group
    pub storage_group: Str,
    pub storage_version: Str,
    pub types: Arc<Types>,
    pub root: TypeId,
    pub columns: Arc<[Column]>,
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
    pub verbs: Arc<[Str]>,
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

/// Group, version, kind.
pub(crate) type Gvk = (Str, Str, Str);

/// An API group and its served versions, preferred first.
#[derive(Clone, Debug, PartialEq)]
pub struct Group {
    pub name: Str,
    pub versions: Vec<Str>,
}

/// The built-in resources that one Kubernetes minor version serves.
#[derive(Debug)]
pub struct Catalogue {
    /// minor version, e.g. 36
    pub minor: u8,
    /// e.g. `v1.36.3`
    pub git_version: Str,
    /// by group priority, then version preference, then plural: the order of discovery
    pub resources: Vec<Arc<Resource>>,
    /// in the order of `/apis`, the core group first; groups of CRDs come after these, by name
    pub groups: Vec<Group>,
    pub(crate) types: Arc<Types>,
}

pub const OLDEST_MINOR: u8 = 28;
pub const NEWEST_MINOR: u8 = 37;
pub const DEFAULT_MINOR: u8 = 36;

impl Catalogue {
    /// The shared catalogue of a minor version; `None` outside `OLDEST_MINOR..=NEWEST_MINOR`.
    #[must_use]
    pub fn builtin(minor: u8) -> Option<Arc<Self>> {
        builtin::catalogue(minor)
    }

    #[must_use]
    pub fn lookup(&self, group: &str, version: &str, plural: &str) -> Option<&Arc<Resource>> {
        self.resources
            .iter()
            .find(|r| r.plural == plural && r.group == group && r.version == version)
    }

    #[must_use]
    pub fn by_kind(&self, group: &str, version: &str, kind: &str) -> Option<&Arc<Resource>> {
        self.resources
            .iter()
            .find(|r| r.kind == kind && r.group == group && r.version == version)
    }

    /// The type of any built-in kind, also those that are no resource (`DeleteOptions`, `Scale`, …).
    /// Kinds of apimachinery (`Status`, `DeleteOptions` …) are found in every group and version.
    #[must_use]
    pub fn type_of(&self, group: &str, version: &str, kind: &str) -> Option<(Arc<Types>, TypeId)> {
        let find = |group, version| builtin::kind(self.minor, [group, version, kind]);
        let id = find(group, version).or_else(|| find(META_GROUP, "v1"))?;
        Some((self.types.clone(), id))
    }

    /// The group, version and kind of every struct that has one or more.
    pub(crate) fn kinds_by_type(&self) -> BTreeMap<TypeId, Vec<Gvk>> {
        let mut by_type = BTreeMap::<TypeId, Vec<_>>::new();
        for ([g, v, k], id) in builtin::kinds(self.minor) {
            let text = Str::const_new;
            by_type
                .entry(id)
                .or_default()
                .push((text(g), text(v), text(k)));
        }
        by_type
    }

    /// The struct with an OpenAPI name, e.g. `io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta`.
    #[must_use]
    pub fn type_named(&self, name: &str) -> Option<(Arc<Types>, TypeId)> {
        builtin::type_named(name).map(|id| (self.types.clone(), id))
    }
}

/// Changes whenever the generated data do.
pub(crate) static FINGERPRINT: std::sync::LazyLock<u64> =
    std::sync::LazyLock::new(builtin::fingerprint);

const META_GROUP: &str = "meta.k8s.io";

impl Resource {
    /// `group/version`, or `v1` for the core group.
    #[must_use]
    pub fn api_version(&self) -> String {
        if self.group.is_empty() {
            self.version.to_string()
        } else {
            format!("{}/{}", self.group, self.version)
        }
    }

    /// Whether that is its `apiVersion`.
    #[must_use]
    pub fn is_of(&self, api_version: &str) -> bool {
        let version = match &*self.group {
            "" => Some(api_version),
            group => api_version
                .strip_prefix(group)
                .and_then(|rest| rest.strip_prefix('/')),
        };
        version == Some(&self.version)
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

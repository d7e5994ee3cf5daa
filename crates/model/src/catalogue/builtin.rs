//! The catalogue of one minor version, put together from the generated text.

use super::PerType;
use super::text::{Parsed, Range};
use super::{
    Catalogue, Column, Group, NEWEST_MINOR, OLDEST_MINOR, Resource, Subresource, TypeId, Types,
    text,
};
use crate::defaults::Plans;
use crate::value::{Str, prefix, suffix};
use std::mem::take;
use std::sync::{Arc, LazyLock, Mutex, OnceLock, PoisonError};

const TEXT: &str = include_str!("../../catalogue/types.txt");
static TYPES: LazyLock<Parsed> = LazyLock::new(|| text::parse(TEXT));
const RESOURCES: &str = include_str!("../../catalogue/resources.txt");

/// The last patch release of each minor version from [`OLDEST_MINOR`] on that is answered as ours.
const GIT_VERSIONS: [&str; 10] = [
    "v1.28.15", "v1.29.15", "v1.30.14", "v1.31.14", "v1.32.13", "v1.33.13", "v1.34.4", "v1.35.4",
    "v1.36.3", "v1.37.0",
];

pub(super) fn catalogue(minor: u8) -> Option<Arc<Catalogue>> {
    static BUILT: [OnceLock<Arc<Catalogue>>; GIT_VERSIONS.len()] =
        [const { OnceLock::new() }; GIT_VERSIONS.len()];
    let index = usize::from(minor.checked_sub(OLDEST_MINOR)?);
    let cell = BUILT.get(index).filter(|_| minor <= NEWEST_MINOR)?;
    Some(
        cell.get_or_init(|| Arc::new(build(minor, GIT_VERSIONS[index])))
            .clone(),
    )
}

pub(super) fn type_named(name: &str) -> Option<TypeId> {
    TYPES.structs.get(name).copied()
}

/// Where the kinds are that [`outline`] says a number of, ascending.
static KINDS: LazyLock<Vec<(u64, u32)>> = LazyLock::new(|| {
    let outlines = (0..)
        .zip(&TYPES.kinds)
        .map(|(i, (gvk, ..))| (outline(*gvk), i));
    let mut all: Vec<_> = outlines.collect();
    all.sort_unstable();
    all
});

/// A number that differs for most kinds.
fn outline(gvk: [&str; 3]) -> u64 {
    gvk.iter().fold(0, |all: u64, text| {
        let mixed = (all ^ prefix(text)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        (mixed.rotate_left(29) ^ suffix(text) ^ text.len() as u64)
            .wrapping_mul(0x9e37_79b9_7f4a_7c15)
    })
}

/// The type of a kind that `minor` has.
pub(super) fn kind(minor: u8, gvk: [&str; 3]) -> Option<TypeId> {
    let wanted = outline(gvk);
    let first = KINDS.partition_point(|(known, _)| *known < wanted);
    let alike = KINDS[first..]
        .iter()
        .take_while(|(known, _)| *known == wanted);
    let (_, _, id) = alike
        .map(|(_, i)| &TYPES.kinds[*i as usize])
        .find(|(known, (from, to), _)| *known == gvk && (*from..=*to).contains(&minor))?;
    Some(*id)
}

/// Every kind that `minor` has, resource or not, ascending.
pub(super) fn kinds(minor: u8) -> impl Iterator<Item = ([&'static str; 3], TypeId)> {
    let has = move |(from, to): &Range| (*from..=*to).contains(&minor);
    let kinds = TYPES.kinds.iter().filter(move |(_, range, _)| has(range));
    kinds.map(|(gvk, _, id)| (*gvk, *id))
}

/// Lists that many resources and minor versions have in common, once.
struct Pool<T>(Mutex<Vec<Arc<[T]>>>);

impl<T: PartialEq> Pool<T> {
    fn share(&self, list: Vec<T>) -> Arc<[T]> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(same) = known.iter().find(|k| ***k == *list) {
            return same.clone();
        }
        known.push(list.into());
        known[known.len() - 1].clone()
    }
}

static TEXTS: Pool<Str> = Pool(Mutex::new(Vec::new()));
static COLUMNS: Pool<Column> = Pool(Mutex::new(Vec::new()));
static SUBRESOURCES: Pool<Subresource> = Pool(Mutex::new(Vec::new()));

/// FNV-1a of the generated data.
pub(super) fn fingerprint() -> u64 {
    let bytes = TEXT.bytes().chain(RESOURCES.bytes());
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

fn build(minor: u8, git_version: &str) -> Catalogue {
    let within = |range: &Range| (range.0..=range.1).contains(&minor);
    let pick = |versions: &Vec<(u8, Arc<super::Shape>)>| {
        let at = versions
            .iter()
            .rev()
            .find(|(since, _)| *since <= minor)
            .or_else(|| versions.first());
        at.map(|(_, shape)| shape.clone())
            .unwrap_or_else(|| Arc::new(super::Shape::Json))
    };
    let types = Arc::new(Types {
        minor,
        nodes: TYPES.nodes.iter().map(pick).collect(),
        plans: Plans::default(),
        decoding: PerType::default(),
    });
    let mut catalogue = Catalogue {
        minor,
        git_version: git_version.into(),
        resources: Vec::new(),
        groups: Vec::new(),
        types,
    };
    let mut reader = Reader {
        catalogue: &mut catalogue,
        group: "",
        version: "",
        open: None,
        columns: Vec::new(),
        subresources: Vec::new(),
        skip: 0,
    };
    for line in RESOURCES.lines().filter(|l| !l.is_empty()) {
        let (range, line) = text::range(line);
        reader.line(line, within(&range));
    }
    reader.close();
    catalogue.resources.shrink_to_fit();
    let served: Vec<_> = catalogue
        .resources
        .iter()
        .map(|r| (r.group.clone(), r.version.clone()))
        .collect();
    for group in &mut catalogue.groups {
        group
            .versions
            .retain(|v| served.iter().any(|(g, w)| *g == group.name && w == v));
    }
    catalogue.groups.retain(|g| !g.versions.is_empty());
    // 1.29 has v1 and still prefers what 1.28 can read: `pkg/apis/flowcontrol/install/install.go`.
    let flowcontrol = catalogue
        .groups
        .iter_mut()
        .find(|g| minor == 29 && g.name == "flowcontrol.apiserver.k8s.io");
    if let Some(group) = flowcontrol {
        group.versions.sort_by_key(|v| *v != "v1beta3");
    }
    catalogue
}

/// Reads `resources.txt`: `g` group, `v` version, `r` resource, `s` subresource, `c` column; a
/// line that a minor version lacks takes the lines below it along.
struct Reader<'a> {
    catalogue: &'a mut Catalogue,
    group: &'static str,
    version: &'static str,
    open: Option<Resource>,
    /// those of the open resource
    columns: Vec<Column>,
    subresources: Vec<Subresource>,
    /// depth of the line that is left out with all below it; 0: none
    skip: u8,
}

impl Reader<'_> {
    fn line(&mut self, line: &'static str, within: bool) {
        let (key, rest) = line.split_once(' ').unwrap_or((line, ""));
        let depth = match key {
            "g" => 1,
            "v" => 2,
            "r" => 3,
            _ => 4,
        };
        if depth < 4 {
            self.close();
        }
        if self.skip != 0 && depth > self.skip {
            return;
        }
        self.skip = if within || depth == 4 { 0 } else { depth };
        if !within {
            return;
        }
        let words: Vec<&'static str> = rest
            .split(' ')
            .map(|w| if w == "-" { "" } else { w })
            .collect();
        match key {
            "g" => {
                self.group = words[0];
                self.catalogue.groups.push(Group {
                    name: words[0].into(),
                    versions: Vec::new(),
                });
            }
            "v" => {
                self.version = words[0];
                if let Some(group) = self.catalogue.groups.last_mut() {
                    group.versions.push(words[0].into());
                }
            }
            "r" => self.open = self.resource(&words),
            "s" => {
                if let (Some(_), [name, group, version, kind, verbs]) = (&self.open, &words[..]) {
                    self.subresources.push(Subresource {
                        name: Str::const_new(name),
                        group: Str::const_new(group),
                        version: Str::const_new(version),
                        kind: Str::const_new(kind),
                        verbs: list(verbs),
                    });
                }
            }
            _ => {
                if let (Some(_), [priority, ty, format, name @ ..]) = (&self.open, &words[..]) {
                    self.columns.push(Column {
                        name: name.join(" ").into(),
                        ty: Str::const_new(ty),
                        format: Str::const_new(format),
                        description: Str::default(),
                        priority: priority.parse().unwrap_or(0),
                        json_path: Str::default(),
                    });
                }
            }
        }
    }

    fn resource(&self, words: &[&'static str]) -> Option<Resource> {
        let word = |i: usize| words.get(i).copied().unwrap_or_default();
        let option = |name: &str| {
            let find = |w: &&'static str| w.strip_prefix(name).and_then(|w| w.strip_prefix('='));
            list(words.iter().find_map(find).unwrap_or_default())
        };
        let (storage_group, storage_version) = match (self.group, word(0)) {
            ("events.k8s.io", "events") => ("", "v1"),
            ("autoscaling", "horizontalpodautoscalers") => ("autoscaling", "v2"),
            ("flowcontrol.apiserver.k8s.io", _) if self.catalogue.minor < 30 => {
                (self.group, "v1beta3")
            }
            ("flowcontrol.apiserver.k8s.io", _) => (self.group, "v1"),
            _ => (self.group, self.version),
        };
        // A kind without a type is one that this minor version does not have yet.
        let root = kind(self.catalogue.minor, [self.group, self.version, word(1)])?;
        Some(Resource {
            group: Str::const_new(self.group),
            version: Str::const_new(self.version),
            kind: Str::const_new(word(1)),
            list_kind: format!("{}List", word(1)).into(),
            plural: Str::const_new(word(0)),
            singular: Str::const_new(word(2)),
            namespaced: word(3) == "namespaced",
            verbs: list(word(4)),
            short_names: option("short"),
            categories: option("cat"),
            subresources: Arc::default(),
            storage_group: Str::const_new(storage_group),
            storage_version: Str::const_new(storage_version),
            types: self.catalogue.types.clone(),
            root,
            columns: Arc::default(),
            custom: None,
        })
    }

    fn close(&mut self) {
        let (columns, subresources) = (take(&mut self.columns), take(&mut self.subresources));
        if let Some(mut resource) = self.open.take() {
            resource.columns = COLUMNS.share(columns);
            resource.subresources = SUBRESOURCES.share(subresources);
            self.catalogue.resources.push(Arc::new(resource));
        }
    }
}

fn list(text: &'static str) -> Arc<[Str]> {
    let words = text.split(',').filter(|t| !t.is_empty());
    TEXTS.share(words.map(Str::const_new).collect())
}

#[cfg(test)]
mod tests;

//! OpenAPI v2 and v3 documents, as kubectl, client generators and upstream's own tests read them.
//!
//! Built from the catalogue and, for custom resources, from their schemas. Descriptions of
//! built-in kinds come from a dependency while this is built (`build.rs`). Compared whole with what
//! kube-apiserver publishes (`tests/it/openapi.rs`).

use crate::catalogue::{Catalogue, Resource};
use crate::{Map, Str, Value, json};
use bytes::Bytes;
use std::sync::Arc;

mod custom;
mod descriptions;
mod gnostic;
mod paths;
mod roots;
mod schema;
mod shared;

/// The two forms of OpenAPI differ in where definitions live and in what may stand beside `$ref`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Dialect {
    V2,
    V3,
}

impl Dialect {
    fn reference(self, name: &str) -> Value {
        let prefix = if self == Self::V2 {
            "#/definitions/"
        } else {
            "#/components/schemas/"
        };
        object([("$ref", format!("{prefix}{name}").into())])
    }
}

/// The v3 document of one group-version (`api/v1`, `apis/apps/v1`) as JSON bytes; `custom` are the
/// custom resources of the control plane.
#[must_use]
pub fn v3(catalogue: &Catalogue, custom: &[Arc<Resource>], path: &str) -> Option<Bytes> {
    let resources = of_path(catalogue, custom, path);
    let Some(first) = resources.first().copied() else {
        if !roots::documents(catalogue).iter().any(|d| d == path) {
            return None;
        }
        return Some(shared::get(catalogue.minor, path, || {
            root_document(catalogue, path)
        }));
    };
    let write = || v3_document(catalogue, &resources, first);
    Some(if resources.iter().any(|r| r.custom.is_some()) {
        write()
    } else {
        shared::get(catalogue.minor, path, write)
    })
}

fn v3_document(catalogue: &Catalogue, resources: &[&Resource], first: &Resource) -> Bytes {
    let (group, version) = (&first.group, &first.version);
    let mut schemas = schema::Schemas::new(catalogue, Dialect::V3);
    let mut routes = Map::new();
    for resource in resources {
        paths::add(resource, &mut routes, &mut schemas);
    }
    let only = |g: &str, v: &str| {
        g.is_empty() && v == "v1" || g == group.as_str() && v == version.as_str()
    };
    document(catalogue, routes, schemas.finish(&only))
}

/// The document of a path that belongs to no resource.
fn root_document(catalogue: &Catalogue, path: &str) -> Bytes {
    let mut schemas = schema::Schemas::new(catalogue, Dialect::V3);
    let mut routes = Map::new();
    roots::of_document(path, &mut routes, &mut schemas);
    document(catalogue, routes, schemas.finish(&|_, _| true))
}

fn document(catalogue: &Catalogue, routes: Map, schemas: Value) -> Bytes {
    let mut components = object([("securitySchemes", security())]);
    if schemas.as_object().is_some_and(|m| !m.is_empty()) {
        components.set(&["schemas"], schemas);
    }
    let document = object([
        ("openapi", "3.0.0".into()),
        ("info", info(catalogue)),
        ("paths", routes.into()),
        ("components", components),
    ]);
    json::to_vec(&document).into()
}

/// The index at `/openapi/v3`: every document with the hash that its URL carries.
#[must_use]
pub fn index(catalogue: &Catalogue, custom: &[Arc<Resource>]) -> Vec<u8> {
    let mut all: Vec<&Arc<Resource>> = catalogue.resources.iter().chain(custom).collect();
    all.sort_by(|a, b| (&a.group, &a.version).cmp(&(&b.group, &b.version)));
    all.dedup_by(|a, b| (&a.group, &a.version) == (&b.group, &b.version));
    let roots = roots::documents(catalogue);
    let entries = all
        .into_iter()
        .map(|r| path_of(r))
        .chain(roots)
        .map(|path| {
            let url = format!("/openapi/v3/{path}?hash={}", hash(catalogue, custom, &path));
            (path, object([("serverRelativeURL", url.into())]))
        });
    json::to_vec(&object([("paths", entries.collect::<Map>().into())]))
}

/// Changes whenever the document of `path` does (`""`: the v2 document); also its `ETag`.
#[must_use]
pub fn hash(catalogue: &Catalogue, custom: &[Arc<Resource>], path: &str) -> String {
    let mut hash = Hash::default();
    hash.add(catalogue.git_version.as_bytes());
    hash.add(env!("CARGO_PKG_VERSION").as_bytes());
    hash.add(&crate::catalogue::FINGERPRINT.to_le_bytes());
    hash.add(&descriptions::FINGERPRINT.to_le_bytes());
    hash.add(path.as_bytes());
    for resource in custom
        .iter()
        .filter(|r| path.is_empty() || path_of(r) == path)
    {
        hash.add(resource.plural.as_bytes());
        hash.add(resource.kind.as_bytes());
        hash.add(resource.list_kind.as_bytes());
        hash.add(&[u8::from(resource.namespaced)]);
        for subresource in resource.subresources.iter() {
            hash.add(subresource.name.as_bytes());
        }
        if let Some(custom) = &resource.custom {
            hash.add(&json::to_vec(&custom.schema));
        }
    }
    hash.text()
}

/// The v2 document of everything, as JSON bytes.
#[must_use]
pub fn v2(catalogue: &Catalogue, custom: &[Arc<Resource>]) -> Bytes {
    let write = || json::to_vec(&v2_document(catalogue, custom)).into();
    if custom.is_empty() {
        shared::get(catalogue.minor, "v2", write)
    } else {
        write()
    }
}

/// The same as protobuf, for `Accept: application/com.github.proto-openapi.spec.v2@v1.0+protobuf`.
#[must_use]
pub fn v2_protobuf(catalogue: &Catalogue, custom: &[Arc<Resource>]) -> Bytes {
    let write = || gnostic::document(&v2_document(catalogue, custom)).into();
    if custom.is_empty() {
        shared::get(catalogue.minor, "v2 protobuf", write)
    } else {
        write()
    }
}

fn v2_document(catalogue: &Catalogue, custom: &[Arc<Resource>]) -> Value {
    let mut schemas = schema::Schemas::new(catalogue, Dialect::V2);
    let mut routes = Map::new();
    for resource in catalogue.resources.iter().chain(custom) {
        paths::add(resource, &mut routes, &mut schemas);
    }
    roots::everywhere(&mut routes, &mut schemas);
    let everything = |_: &str, _: &str| true;
    object([
        ("swagger", "2.0".into()),
        ("info", info(catalogue)),
        ("paths", routes.into()),
        ("definitions", schemas.finish(&everything)),
        ("securityDefinitions", security()),
        (
            "security",
            vec![object([("BearerToken", Value::Array(Vec::new()))])].into(),
        ),
    ])
}

/// FNV-1a over 128 bits: the hash tells versions of one tenant's document apart, nothing else.
struct Hash(u128);

impl Default for Hash {
    fn default() -> Self {
        Self(0x6c62_272e_07bb_0142_62b8_2175_6295_c58d)
    }
}

impl Hash {
    fn add(&mut self, bytes: &[u8]) {
        // The length keeps neighbouring texts apart.
        for byte in bytes
            .iter()
            .copied()
            .chain((bytes.len() as u64).to_le_bytes())
        {
            self.0 =
                (self.0 ^ u128::from(byte)).wrapping_mul(0x0000_0000_0100_0000_0000_0000_0000_013b);
        }
    }

    fn text(&self) -> String {
        format!("{:032X}", self.0)
    }
}

fn path_of(resource: &Resource) -> String {
    if resource.group.is_empty() {
        format!("api/{}", resource.version)
    } else {
        format!("apis/{}/{}", resource.group, resource.version)
    }
}

fn of_path<'a>(
    catalogue: &'a Catalogue,
    custom: &'a [Arc<Resource>],
    path: &str,
) -> Vec<&'a Resource> {
    let all = catalogue.resources.iter().chain(custom);
    all.map(Arc::as_ref)
        .filter(|r| path_of(r) == path)
        .collect()
}

fn info(catalogue: &Catalogue) -> Value {
    // Since upstream knows emulated versions it names no patch release.
    let version = match catalogue.minor {
        minor if minor >= 31 => format!("1.{minor}").into(),
        _ => catalogue.git_version.clone().into(),
    };
    object([("title", "Kubernetes".into()), ("version", version)])
}

fn security() -> Value {
    object([(
        "BearerToken",
        object([
            ("type", "apiKey".into()),
            ("name", "authorization".into()),
            ("in", "header".into()),
        ]),
    )])
}

fn gvk(group: &str, version: &str, kind: &str) -> Value {
    object([
        ("group", group.into()),
        ("kind", kind.into()),
        ("version", version.into()),
    ])
}

fn object<K: Into<Str>>(entries: impl IntoIterator<Item = (K, Value)>) -> Value {
    Value::Object(entries.into_iter().collect())
}

#[cfg(test)]
mod tests;

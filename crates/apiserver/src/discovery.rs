//! Paths that are no resources: discovery in its three forms, health, version, keys, metrics.

use crate::control_plane::ControlPlane;
use crate::registry::Served;
use crate::request::Query;
use crate::{Body, metrics, openapi, respond};
use freehold_model::{ApiError, Map, Resource, Str, Value, json, value};
use http::header::{ACCEPT, CONTENT_TYPE, VARY};
use http::{HeaderMap, HeaderValue, Method, Response};
use std::sync::Arc;

/// A group and its versions, preferred first.
type Groups = Vec<(Str, Vec<Str>)>;

pub(crate) async fn answer(
    cp: &Arc<ControlPlane>,
    method: &Method,
    path: &str,
    query: &Query,
    headers: &HeaderMap,
) -> Result<Response<Body>, ApiError> {
    if !matches!(*method, Method::GET | Method::HEAD) {
        return Err(ApiError::new(
            405,
            "MethodNotAllowed",
            "the server does not allow this method on the requested resource",
        ));
    }
    let trimmed = path.trim_matches('/');
    let segments: Vec<&str> = trimmed.split('/').collect();
    match segments.as_slice() {
        [""] => Ok(root(&cp.registry.now())),
        ["api"] => Ok(legacy(cp, headers)),
        ["apis"] => Ok(groups(&cp.registry.now(), headers)),
        ["api", version] => resources(&cp.registry.now(), "", version),
        ["apis", group] => one_group(&cp.registry.now(), group),
        ["apis", group, version] => resources(&cp.registry.now(), group, version),
        ["version"] => Ok(json_answer(&version(cp))),
        ["healthz" | "livez" | "readyz", rest @ ..] => health(cp, segments[0], rest, query).await,
        ["openapi", "v3", ..] => openapi::v3(
            cp,
            trimmed.trim_start_matches("openapi/v3").trim_matches('/'),
            query,
            headers,
        ),
        ["openapi", "v2"] => Ok(openapi::v2(cp, headers)),
        ["openid", "v1", "jwks"] => Ok(respond::bytes(
            200,
            cp.authn.issuer().key_set(),
            "application/jwk-set+json",
        )),
        [".well-known", "openid-configuration"] => Ok(respond::bytes(
            200,
            cp.authn.issuer().openid_configuration(),
            "application/json",
        )),
        ["metrics"] => Ok(text(200, &metrics::text(cp))),
        _ => Err(ApiError::no_such_path()),
    }
}

fn json_answer(value: &Value) -> Response<Body> {
    respond::bytes(200, json::to_vec(value), "application/json")
}

fn root(served: &Served) -> Response<Body> {
    let mut paths: Vec<String> = [
        "/.well-known/openid-configuration",
        "/api",
        "/api/v1",
        "/apis",
    ]
    .map(Into::into)
    .to_vec();
    for (group, versions) in group_list(served) {
        paths.push(format!("/apis/{group}"));
        paths.extend(versions.iter().map(|v| format!("/apis/{group}/{v}")));
    }
    paths.extend(
        [
            "/healthz",
            "/livez",
            "/metrics",
            "/openapi/v3",
            "/openid/v1/jwks",
            "/readyz",
            "/version",
        ]
        .map(Into::into),
    );
    json_answer(&value!({"paths": paths}))
}

/// Built-in groups in the order of the catalogue, then those of CRDs by name; no core group.
fn group_list(served: &Served) -> Groups {
    let mut groups: Groups = served
        .catalogue
        .groups
        .iter()
        .filter(|g| !g.name.is_empty())
        .map(|g| (g.name.clone(), g.versions.clone()))
        .collect();
    let builtin = groups.len();
    for r in served.custom.values().flat_map(|k| &k.resources) {
        match groups.iter_mut().find(|(g, _)| *g == r.group) {
            Some((_, versions)) if versions.contains(&r.version) => {}
            Some((_, versions)) => versions.push(r.version.clone()),
            None => groups.push((r.group.clone(), vec![r.version.clone()])),
        }
    }
    for (_, versions) in &mut groups[builtin..] {
        versions.sort_by_key(|v| std::cmp::Reverse(version_order(v)));
    }
    groups[builtin..].sort();
    groups
}

/// Newest and most stable greatest, as apimachinery `pkg/version/helpers.go`; other names last,
/// in ascending order.
fn version_order(v: &str) -> (u8, u8, u64, u64, std::cmp::Reverse<String>) {
    let parsed = v.strip_prefix('v').and_then(|rest| {
        let digits = rest
            .find(|c: char| !c.is_ascii_digit())
            .unwrap_or(rest.len());
        let major: u64 = rest[..digits].parse().ok()?;
        let tail = &rest[digits..];
        if tail.is_empty() {
            return Some((3, major, 0));
        }
        let (rank, minor) = match (tail.strip_prefix("beta"), tail.strip_prefix("alpha")) {
            (Some(m), _) => (2, m),
            (_, Some(m)) => (1, m),
            _ => return None,
        };
        Some((rank, major, minor.parse().ok()?))
    });
    match parsed {
        Some((rank, major, minor)) => (1, rank, major, minor, std::cmp::Reverse(String::new())),
        None => (0, 0, 0, 0, std::cmp::Reverse(v.to_owned())),
    }
}

/// `v2` or `v2beta1` when the client prefers aggregated discovery.
fn aggregated(headers: &HeaderMap) -> Option<&'static str> {
    let accept = headers
        .get(ACCEPT)
        .and_then(|v| v.to_str().ok())
        .unwrap_or("");
    accept
        .split(',')
        .take(16)
        .find_map(|clause| {
            let is = |text: &str| clause.split(';').any(|p| p.trim() == text);
            if !is("application/json")
                || !is("g=apidiscovery.k8s.io")
                || !is("as=APIGroupDiscoveryList")
            {
                return (is("application/json") && clause.trim() == "application/json")
                    .then_some("");
            }
            ["v2", "v2beta1"]
                .into_iter()
                .find(|v| is(&format!("v={v}")))
        })
        .filter(|v| !v.is_empty())
}

fn aggregated_answer(version: &'static str, items: Vec<Value>) -> Response<Body> {
    let list = value!({
        "apiVersion": (format!("apidiscovery.k8s.io/{version}")),
        "kind": "APIGroupDiscoveryList",
        "metadata": {},
        "items": (Value::Array(items))
    });
    let mut response = json_answer(&list);
    let media = if version == "v2" {
        "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
    } else {
        "application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList"
    };
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(media));
    response
        .headers_mut()
        .insert(VARY, HeaderValue::from_static("Accept"));
    response
}

fn group_discovery(served: &Served, group: &str, versions: &[Str]) -> Value {
    let versions: Vec<Value> = versions
        .iter()
        .map(|version| {
            let resources: Vec<Value> = in_version(served, group, version).map(resource_discovery).collect();
            value!({"version": (version.clone()), "freshness": "Current", "resources": (Value::Array(resources))})
        })
        .collect();
    let metadata = if group.is_empty() {
        Value::object()
    } else {
        value!({"name": group})
    };
    value!({"metadata": metadata, "versions": (Value::Array(versions))})
}

fn in_version<'a>(
    served: &'a Served,
    group: &'a str,
    version: &'a str,
) -> impl Iterator<Item = &'a Arc<Resource>> {
    served
        .resources()
        .filter(move |r| r.group == group && r.version == version)
}

/// A kind beside its resource; group and version are left empty where they are the resource's own.
fn kind_of(r: &Resource, group: &Str, version: &Str, kind: &Str) -> Value {
    let own = r.group == *group && r.version == *version;
    let (group, version) = if own {
        (Str::default(), Str::default())
    } else {
        (group.clone(), version.clone())
    };
    value!({"group": group, "version": version, "kind": (kind.clone())})
}

fn texts(list: &[Str]) -> Value {
    Value::Array(list.iter().map(|s| Value::from(s.clone())).collect())
}

fn resource_discovery(r: &Arc<Resource>) -> Value {
    let mut m: Map = [
        ("resource", Value::from(r.plural.clone())),
        ("responseKind", kind_of(r, &r.group, &r.version, &r.kind)),
        (
            "scope",
            if r.namespaced {
                "Namespaced"
            } else {
                "Cluster"
            }
            .into(),
        ),
        ("singularResource", r.singular.clone().into()),
        ("verbs", texts(&r.verbs)),
    ]
    .into_iter()
    .collect();
    if !r.short_names.is_empty() {
        m.insert("shortNames", texts(&r.short_names));
    }
    if !r.categories.is_empty() {
        m.insert("categories", texts(&r.categories));
    }
    if !r.subresources.is_empty() {
        let subs: Vec<Value> = r
            .subresources
            .iter()
            .map(|s| {
                value!({
                    "subresource": (s.name.clone()),
                    "responseKind": (kind_of(r, &s.group, &s.version, &s.kind)),
                    "verbs": (texts(&s.verbs))
                })
            })
            .collect();
        m.insert("subresources", Value::Array(subs));
    }
    Value::Object(m)
}

fn legacy(cp: &ControlPlane, headers: &HeaderMap) -> Response<Body> {
    if let Some(version) = aggregated(headers) {
        let served = cp.registry.now();
        return aggregated_answer(version, vec![group_discovery(&served, "", &["v1".into()])]);
    }
    let address = cp
        .config
        .external_address
        .trim_start_matches("https://")
        .to_owned();
    json_answer(&value!({
        "kind": "APIVersions",
        "versions": ["v1"],
        "serverAddressByClientCIDRs": [{"clientCIDR": "0.0.0.0/0", "serverAddress": address}]
    }))
}

fn groups(served: &Served, headers: &HeaderMap) -> Response<Body> {
    let list = group_list(served);
    if let Some(version) = aggregated(headers) {
        let items = list
            .iter()
            .map(|(g, versions)| group_discovery(served, g, versions))
            .collect();
        return aggregated_answer(version, items);
    }
    let groups: Vec<Value> = list
        .iter()
        .map(|(g, versions)| group_value(g, versions))
        .collect();
    json_answer(
        &value!({"kind": "APIGroupList", "apiVersion": "v1", "groups": (Value::Array(groups))}),
    )
}

fn group_value(group: &Str, versions: &[Str]) -> Value {
    let all: Vec<Value> = versions
        .iter()
        .map(|v| value!({"groupVersion": (format!("{group}/{v}")), "version": (v.clone())}))
        .collect();
    let preferred = all.first().cloned().unwrap_or_default();
    value!({"name": (group.clone()), "versions": (Value::Array(all)), "preferredVersion": preferred})
}

fn one_group(served: &Served, group: &str) -> Result<Response<Body>, ApiError> {
    let list = group_list(served);
    let (name, versions) = list
        .iter()
        .find(|(g, _)| g == group)
        .ok_or_else(ApiError::no_such_path)?;
    let mut v = group_value(name, versions);
    v.set(&["kind"], "APIGroup");
    v.set(&["apiVersion"], "v1");
    Ok(json_answer(&v))
}

fn resources(served: &Served, group: &str, version: &str) -> Result<Response<Body>, ApiError> {
    let mut all = Vec::new();
    for r in in_version(served, group, version) {
        all.push(plain_resource(r));
        all.extend(r.subresources.iter().map(|s| {
            let mut v = value!({
                "name": (format!("{}/{}", r.plural, s.name)),
                "singularName": "",
                "namespaced": (r.namespaced),
                "kind": (s.kind.clone()),
                "verbs": (texts(&s.verbs))
            });
            if s.group != r.group || s.version != r.version {
                v.set(&["group"], s.group.clone());
                v.set(&["version"], s.version.clone());
            }
            v
        }));
    }
    if all.is_empty() {
        return Err(ApiError::no_such_path());
    }
    let group_version = if group.is_empty() {
        version.to_owned()
    } else {
        format!("{group}/{version}")
    };
    let mut list = value!({
        "kind": "APIResourceList",
        "groupVersion": group_version,
        "resources": (Value::Array(all))
    });
    // Upstream's core group has always left it out.
    if !group.is_empty() {
        list.set(&["apiVersion"], "v1");
    }
    Ok(json_answer(&list))
}

fn plain_resource(r: &Resource) -> Value {
    let mut v = value!({
        "name": (r.plural.clone()),
        "singularName": (r.singular.clone()),
        "namespaced": (r.namespaced),
        "kind": (r.kind.clone()),
        "verbs": (texts(&r.verbs))
    });
    if !r.short_names.is_empty() {
        v.set(&["shortNames"], texts(&r.short_names));
    }
    if !r.categories.is_empty() {
        v.set(&["categories"], texts(&r.categories));
    }
    if r.verbs.iter().any(|v| v == "list") && r.plural != "componentstatuses" {
        v.set(&["storageVersionHash"], storage_hash(r));
    }
    v
}

/// As apiserver `pkg/endpoints/discovery/storageversionhash.go`.
fn storage_hash(r: &Resource) -> String {
    use base64::Engine as _;
    let kind = format!("{}/{}/{}", r.storage_group, r.storage_version, r.kind);
    let digest = ring::digest::digest(&ring::digest::SHA256, kind.as_bytes());
    base64::engine::general_purpose::STANDARD.encode(&digest.as_ref()[..8])
}

/// `/version`, as clients compare it.
fn version(cp: &ControlPlane) -> Value {
    let c = &cp.config.catalogue;
    value!({
        "major": "1",
        "minor": (c.minor.to_string()),
        "gitVersion": (c.git_version.clone()),
        "gitCommit": "",
        "gitTreeState": "clean",
        "buildDate": "1970-01-01T00:00:00Z",
        "goVersion": "",
        "compiler": "",
        "platform": (format!("{}/{}", std::env::consts::OS, arch()))
    })
}

/// Go's name of this machine's architecture.
fn arch() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

async fn health(
    cp: &ControlPlane,
    which: &str,
    rest: &[&str],
    query: &Query,
) -> Result<Response<Body>, ApiError> {
    let store = cp.cache.fresh().await;
    let checks = [
        ("ping", true),
        ("log", true),
        ("etcd", store.is_ok()),
        ("informer-sync", true),
    ];
    if let [one] = rest {
        let known = checks
            .iter()
            .find(|(name, _)| name == one)
            .ok_or_else(ApiError::no_such_path)?;
        return Ok(text(
            if known.1 { 200 } else { 500 },
            if known.1 {
                "ok"
            } else {
                "internal server error"
            },
        ));
    }
    let failed = checks.iter().any(|(_, ok)| !ok);
    if !failed && query.get("verbose").is_none() {
        return Ok(text(200, "ok"));
    }
    let mut out = String::new();
    for (name, ok) in checks {
        out.push_str(&if ok {
            format!("[+]{name} ok\n")
        } else {
            format!("[-]{name} failed: reason withheld\n")
        });
    }
    out.push_str(&format!(
        "{which} check {}\n",
        if failed { "failed" } else { "passed" }
    ));
    Ok(text(if failed { 500 } else { 200 }, &out))
}

fn text(code: u16, body: &str) -> Response<Body> {
    respond::bytes(code, body.to_owned(), "text/plain; charset=utf-8")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_ordered_as_upstream_prefers_them() {
        let mut v = [
            "v1alpha1", "foo", "v2", "v1beta2", "v10", "v1", "v1beta10", "bar",
        ];
        v.sort_by_key(|v| std::cmp::Reverse(version_order(v)));
        assert_eq!(
            v,
            [
                "v10", "v2", "v1", "v1beta10", "v1beta2", "v1alpha1", "bar", "foo"
            ]
        );
    }
}

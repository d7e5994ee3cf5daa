//! The few calls controllers make, on any kind.

use http::{Method, Request};
use kube::Client;
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fmt::Write as _;

const JSON: &str = "application/json";
const PARTIAL: &str =
    "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1,application/json";
pub(crate) const PARTIAL_LIST: &str =
    "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json";
const PAGE: usize = 500;

pub(crate) type Result<T> = std::result::Result<T, kube::Error>;

/// A served kind, in the version controllers use it in.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Kind {
    pub group: Box<str>,
    pub version: Box<str>,
    pub kind: Box<str>,
    pub plural: Box<str>,
    pub namespaced: bool,
    pub can_list: bool,
    pub can_watch: bool,
    pub can_delete: bool,
    pub can_delete_collection: bool,
}

impl Kind {
    /// A built-in kind of the core group.
    pub(crate) fn core(plural: &str, namespaced: bool) -> Self {
        Self::builtin("", "v1", plural, namespaced)
    }

    pub(crate) fn builtin(group: &str, version: &str, plural: &str, namespaced: bool) -> Self {
        Self {
            group: group.into(),
            version: version.into(),
            kind: "".into(),
            plural: plural.into(),
            namespaced,
            can_list: true,
            can_watch: true,
            can_delete: true,
            can_delete_collection: true,
        }
    }

    pub(crate) fn is(&self, group: &str, plural: &str) -> bool {
        &*self.group == group && &*self.plural == plural
    }

    /// The path of one object, or with an empty name of all (of a namespace).
    pub(crate) fn path(&self, namespace: &str, name: &str) -> String {
        let mut path = if self.group.is_empty() {
            format!("/api/{}", self.version)
        } else {
            format!("/apis/{}/{}", self.group, self.version)
        };
        if self.namespaced && !namespace.is_empty() {
            path.push_str("/namespaces/");
            encode(namespace, &mut path);
        }
        path.push('/');
        path.push_str(&self.plural);
        if !name.is_empty() {
            path.push('/');
            encode(name, &mut path);
        }
        path
    }
}

/// Names may hold anything but slashes and percent signs.
fn encode(text: &str, out: &mut String) {
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~:@!$&'()*+,;=".contains(&byte) {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
    }
}

/// What controllers look at of any object.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Meta {
    pub name: String,
    pub namespace: String,
    pub uid: String,
    pub resource_version: String,
    pub deletion_timestamp: Option<String>,
    pub owner_references: Vec<OwnerRef>,
    pub finalizers: Vec<String>,
    pub annotations: BTreeMap<String, String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct OwnerRef {
    pub api_version: String,
    pub kind: String,
    pub name: String,
    pub uid: String,
    pub block_owner_deletion: Option<bool>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Partial {
    pub metadata: Meta,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct ListMeta {
    pub resource_version: String,
    #[serde(rename = "continue")]
    pub next: String,
    pub remaining_item_count: i64,
}

/// A page of a list; `null` items happen.
#[derive(Debug, Deserialize)]
pub(crate) struct Page<T> {
    #[serde(default)]
    pub metadata: ListMeta,
    #[serde(default = "Option::default")]
    pub items: Option<Vec<T>>,
}

/// How dependents go when their owner does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Propagation {
    Background,
    Foreground,
    Orphan,
}

/// The status code of a refusal; 0 for a failure to talk.
pub(crate) fn code(error: &kube::Error) -> u16 {
    if let kube::Error::Api(status) = error {
        status.code
    } else {
        0
    }
}

/// Whether a create was refused because its namespace is being deleted or gone.
pub(crate) fn namespace_is_going(error: &kube::Error) -> bool {
    let kube::Error::Api(status) = error else {
        return false;
    };
    let causes = status.details.iter().flat_map(|d| &d.causes);
    status.code == 404
        || causes
            .into_iter()
            .any(|c| c.reason == "NamespaceTerminating")
}

/// `None` for what is not there.
pub(crate) fn found<T>(answer: Result<T>) -> Result<Option<T>> {
    match answer {
        Ok(value) => Ok(Some(value)),
        Err(e) if code(&e) == 404 => Ok(None),
        Err(e) => Err(e),
    }
}

/// A control plane's API as its controllers use it.
#[derive(Clone)]
pub(crate) struct Api {
    pub client: Client,
}

impl Api {
    pub(crate) fn request(
        method: Method,
        uri: &str,
        accept: &str,
        body: Option<(&str, &Value)>,
    ) -> Result<Request<Vec<u8>>> {
        let mut request = Request::builder()
            .method(method)
            .uri(uri)
            .header(http::header::ACCEPT, accept);
        let bytes = match body {
            Some((kind, body)) => {
                request = request.header(http::header::CONTENT_TYPE, kind);
                serde_json::to_vec(body).map_err(kube::Error::SerdeError)?
            }
            None => Vec::new(),
        };
        request.body(bytes).map_err(kube::Error::HttpError)
    }

    async fn call<T: serde::de::DeserializeOwned>(&self, request: Request<Vec<u8>>) -> Result<T> {
        self.client.request(request).await
    }

    pub(crate) async fn get(
        &self,
        kind: &Kind,
        namespace: &str,
        name: &str,
    ) -> Result<Option<Value>> {
        found(
            self.call(Self::request(
                Method::GET,
                &kind.path(namespace, name),
                JSON,
                None,
            )?)
            .await,
        )
    }

    pub(crate) async fn get_meta(
        &self,
        kind: &Kind,
        namespace: &str,
        name: &str,
    ) -> Result<Option<Meta>> {
        let request = Self::request(Method::GET, &kind.path(namespace, name), PARTIAL, None)?;
        let object: Option<Partial> = found(self.call(request).await)?;
        Ok(object.map(|o| o.metadata))
    }

    /// One page; pass `next` of the last one to go on.
    pub(crate) async fn page<T: serde::de::DeserializeOwned>(
        &self,
        kind: &Kind,
        namespace: &str,
        query: &str,
        accept: &str,
        next: &str,
    ) -> Result<Page<T>> {
        let mut uri = format!("{}?limit={PAGE}{query}", kind.path(namespace, ""));
        if !next.is_empty() {
            uri.push_str("&continue=");
            encode(next, &mut uri);
        }
        self.call(Self::request(Method::GET, &uri, accept, None)?)
            .await
    }

    /// Every object, whole.
    pub(crate) async fn list(
        &self,
        kind: &Kind,
        namespace: &str,
        query: &str,
    ) -> Result<Vec<Value>> {
        let mut all = Vec::new();
        let mut next = String::new();
        loop {
            let page: Page<Value> = self.page(kind, namespace, query, JSON, &next).await?;
            all.extend(page.items.unwrap_or_default());
            next = page.metadata.next;
            if next.is_empty() {
                return Ok(all);
            }
        }
    }

    pub(crate) async fn create(
        &self,
        kind: &Kind,
        namespace: &str,
        object: &Value,
    ) -> Result<Value> {
        self.call(Self::request(
            Method::POST,
            &kind.path(namespace, ""),
            JSON,
            Some((JSON, object)),
        )?)
        .await
    }

    /// Replaces an object, or with `subresource` a part of it.
    pub(crate) async fn update(
        &self,
        kind: &Kind,
        object: &Value,
        subresource: &str,
    ) -> Result<Value> {
        let text = |field: &str| object["metadata"][field].as_str().unwrap_or_default();
        let mut path = kind.path(text("namespace"), text("name"));
        if !subresource.is_empty() {
            path.push('/');
            path.push_str(subresource);
        }
        self.call(Self::request(
            Method::PUT,
            &path,
            JSON,
            Some((JSON, object)),
        )?)
        .await
    }

    pub(crate) async fn merge(
        &self,
        kind: &Kind,
        namespace: &str,
        name: &str,
        patch: &Value,
    ) -> Result<()> {
        let body = Some(("application/merge-patch+json", patch));
        let _: Partial = self
            .call(Self::request(
                Method::PATCH,
                &kind.path(namespace, name),
                PARTIAL,
                body,
            )?)
            .await?;
        Ok(())
    }

    /// Deletes one object if it is still the one that was seen. What is gone already is no error.
    pub(crate) async fn delete(
        &self,
        kind: &Kind,
        namespace: &str,
        name: &str,
        seen: (&str, Option<&str>),
        propagation: Propagation,
    ) -> Result<()> {
        let mut body = delete_options(propagation);
        let (uid, revision) = seen;
        if !uid.is_empty() {
            body["preconditions"]["uid"] = uid.into();
        }
        if let Some(revision) = revision {
            body["preconditions"]["resourceVersion"] = revision.into();
        }
        let request = Self::request(
            Method::DELETE,
            &kind.path(namespace, name),
            PARTIAL,
            Some((JSON, &body)),
        )?;
        let _: Option<Value> = found(self.call(request).await)?;
        Ok(())
    }

    pub(crate) async fn delete_collection(&self, kind: &Kind, namespace: &str) -> Result<()> {
        let body = delete_options(Propagation::Background);
        let path = kind.path(namespace, "");
        let _: Value = self
            .call(Self::request(
                Method::DELETE,
                &path,
                PARTIAL_LIST,
                Some((JSON, &body)),
            )?)
            .await?;
        Ok(())
    }
}

fn delete_options(propagation: Propagation) -> Value {
    json!({"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": format!("{propagation:?}")})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_those_of_the_api_and_odd_names_are_escaped() {
        assert_eq!(
            Kind::core("pods", true).path("n", "p"),
            "/api/v1/namespaces/n/pods/p"
        );
        assert_eq!(Kind::core("pods", true).path("", ""), "/api/v1/pods");
        let roles = Kind::builtin("rbac.authorization.k8s.io", "v1", "clusterroles", false);
        assert_eq!(
            roles.path("", "system:node"),
            "/apis/rbac.authorization.k8s.io/v1/clusterroles/system:node"
        );
        assert_eq!(
            roles.path("", "a b?c#d"),
            "/apis/rbac.authorization.k8s.io/v1/clusterroles/a%20b%3Fc%23d"
        );
    }
}

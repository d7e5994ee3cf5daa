//! `DataStore`: where the data of control planes may be kept besides the host's own datastore.

use crate::Condition;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A datastore that somebody runs. Only administrators of the host write these; a ControlPlane
/// names one in `spec.datastore.name`. Each control plane gets a keyspace of its own in it.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "freehold.dev",
    version = "v1alpha1",
    kind = "DataStore",
    plural = "datastores",
    singular = "datastore",
    shortname = "fhds",
    status = "DataStoreStatus",
    derive = "PartialEq",
    doc = "A datastore that somebody runs, for control planes.",
    printcolumn(name = "Driver", type_ = "string", json_path = ".spec.driver"),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].status"
    ),
    printcolumn(
        name = "Age",
        type_ = "date",
        json_path = ".metadata.creationTimestamp"
    )
)]
#[serde(rename_all = "camelCase")]
pub struct DataStoreSpec {
    /// What kind of datastore it is.
    pub driver: DataStoreDriver,
    /// The tenants whose control planes may be in it; absent: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenants: Option<AllowedTenants>,
    /// Where it is: `host:port` of each member.
    #[schemars(length(min = 1, max = 32), inner(length(min = 1, max = 512)))]
    pub endpoints: Vec<String>,
    /// The database in PostgreSQL; absent: `freehold`. It must exist.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub database: Option<String>,
    /// What the names of everything we make there start with; absent: `freehold`. Hosts that share
    /// a datastore must differ in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"^[a-z0-9_]{1,20}$"))]
    pub prefix: Option<String>,
    /// User and password.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub basic_auth: Option<BasicAuth>,
    /// Certificates; absent: no TLS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls_config: Option<TlsConfig>,
    /// The name in the datastore's certificate, where it is not that of the endpoint.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub tls_server_name: Option<String>,
}

/// Tenants by name, or by what they are labelled with; one of the two is enough.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AllowedTenants {
    /// Names of tenants.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 1024), inner(length(min = 1, max = 63)))]
    pub names: Vec<String>,
    /// Labels that a Tenant must have, all of them; an empty selector stands for every tenant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selector: Option<TenantSelector>,
}

/// What a tenant must be labelled with.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TenantSelector {
    /// Labels and their values.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 32))]
    pub match_labels: BTreeMap<String, String>,
}

impl AllowedTenants {
    /// Every tenant.
    #[must_use]
    pub fn all() -> Self {
        Self {
            names: Vec::new(),
            selector: Some(TenantSelector::default()),
        }
    }
}

impl DataStoreSpec {
    /// Whether control planes of this tenant may be in it.
    #[must_use]
    pub fn allows(&self, tenant: &str, labels: &BTreeMap<String, String>) -> bool {
        let Some(allowed) = &self.tenants else {
            return false;
        };
        let selected = |selector: &TenantSelector| {
            let mut wanted = selector.match_labels.iter();
            wanted.all(|(name, value)| labels.get(name) == Some(value))
        };
        allowed.names.iter().any(|name| name == tenant)
            || allowed.selector.as_ref().is_some_and(selected)
    }
}

/// A kind of datastore.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum DataStoreDriver {
    #[serde(rename = "etcd")]
    Etcd,
    PostgreSQL,
}

/// User and password.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct BasicAuth {
    /// The user.
    pub username: Content,
    /// The password.
    pub password: Content,
}

/// Certificates for a datastore.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TlsConfig {
    /// What the datastore's certificate is checked against.
    pub certificate_authority: CertificateAndKey,
    /// What is shown to the datastore.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_certificate: Option<CertificateAndKey>,
}

/// A certificate and its key.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CertificateAndKey {
    /// The certificate.
    pub certificate: Content,
    /// The key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub private_key: Option<Content>,
}

/// Something given as it is, or kept in a secret.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Content {
    /// The content, base64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content: Option<String>,
    /// The secret with the content.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_reference: Option<ContentRef>,
    /// The same under a name that is in use too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_ref: Option<ContentRef>,
}

/// A key of a secret.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ContentRef {
    /// Namespace of the secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Name of the secret.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// The key; absent means `ca.crt`, `ca.key`, `tls.crt` or `tls.key` by use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_path: Option<String>,
}

/// What is observed of a datastore.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DataStoreStatus {
    /// The generation that was looked at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// The control planes whose data is in it, as `namespace/name`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub used_by: Vec<String>,
    /// What is true of it now.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tenant_is_allowed_by_name_or_by_labels_and_by_default_not_at_all() {
        let spec = |tenants: serde_json::Value| -> DataStoreSpec {
            serde_json::from_value(serde_json::json!({
                "driver": "etcd", "endpoints": ["a:1"], "tenants": tenants,
            }))
            .expect("a spec")
        };
        let gold = BTreeMap::from([("tier".to_owned(), "gold".to_owned())]);
        let none = BTreeMap::new();
        assert!(!spec(serde_json::Value::Null).allows("acme", &gold));
        assert!(!spec(serde_json::json!({})).allows("acme", &gold));
        let named = spec(serde_json::json!({"names": ["acme"]}));
        assert!(named.allows("acme", &none) && !named.allows("globex", &gold));
        let labelled = spec(serde_json::json!({"selector": {"matchLabels": {"tier": "gold"}}}));
        assert!(labelled.allows("globex", &gold) && !labelled.allows("globex", &none));
        let all = spec(serde_json::json!({"selector": {}}));
        assert!(all.allows("anybody", &none));
        assert_eq!(all.tenants, Some(AllowedTenants::all()));
    }
}

//! Capsule's tenant (`capsule.clastix.io/v1beta2`): facts from projectcapsule/capsule
//! `api/v1beta2`.

use crate::{Condition, LimitRanges, NetworkPolicies, OwnerKind, Quotas, Raw};
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Capsule's API group.
pub const GROUP: &str = "capsule.clastix.io";
/// Label of a namespace: the tenant that it belongs to.
pub const LABEL_TENANT: &str = "capsule.clastix.io/tenant";

/// A tenant in Capsule's words; it becomes a Tenant of `freehold.dev`.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "capsule.clastix.io",
    version = "v1beta2",
    kind = "Tenant",
    root = "CapsuleTenant",
    plural = "tenants",
    singular = "tenant",
    shortname = "tnt",
    status = "CapsuleTenantStatus",
    derive = "PartialEq",
    doc = "A tenant in Capsule's words; it becomes a Tenant of freehold.dev.",
    printcolumn(name = "State", type_ = "string", json_path = ".status.state"),
    printcolumn(
        name = "Namespace quota",
        type_ = "integer",
        json_path = ".spec.namespaceOptions.quota"
    ),
    printcolumn(
        name = "Namespace count",
        type_ = "integer",
        json_path = ".status.size"
    ),
    printcolumn(
        name = "Node selector",
        type_ = "string",
        json_path = ".spec.nodeSelector"
    ),
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
pub struct CapsuleTenantSpec {
    /// Who owns the tenant.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub owners: Vec<CapsuleOwner>,
    /// Who else has which permissions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub permissions: Option<Raw>,
    /// Roles bound in every namespace.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub additional_role_bindings: Vec<Raw>,
    /// Limits on namespaces.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace_options: Option<NamespaceOptions>,
    /// Quotas.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource_quotas: Option<Quotas>,
    /// Limit ranges.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit_ranges: Option<LimitRanges>,
    /// Network policies.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network_policies: Option<NetworkPolicies>,
    /// Storage classes that may be used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub storage_classes: Option<Raw>,
    /// Priority classes that may be used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priority_classes: Option<Raw>,
    /// Runtime classes that may be used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runtime_classes: Option<Raw>,
    /// Device classes that may be used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device_classes: Option<Raw>,
    /// What gateways may do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gateway_options: Option<Raw>,
    /// What ingresses may do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ingress_options: Option<Raw>,
    /// What services may do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_options: Option<Raw>,
    /// Labels and annotations of pods.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod_options: Option<Raw>,
    /// Image registries that may be used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub container_registries: Option<Raw>,
    /// Image pull policies that may be used.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub image_pull_policies: Vec<String>,
    /// Labels of nodes that the tenant's pods run on.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub node_selector: BTreeMap<String, String>,
    /// Whether the tenant is frozen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cordoned: Option<bool>,
    /// Whether the tenant may not be deleted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prevent_deletion: Option<bool>,
    /// Whether names of namespaces begin with the tenant's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub force_tenant_prefix: Option<bool>,
    /// Rules for groups of namespaces.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rules: Vec<Raw>,
}

/// Somebody who owns a tenant.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CapsuleOwner {
    /// User, Group or ServiceAccount.
    pub kind: OwnerKind,
    /// The name; of a service account `system:serviceaccount:<namespace>:<name>`.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// Roles that the owner has in the tenant's namespaces.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cluster_roles: Vec<String>,
    /// What the owner sees of cluster-scoped objects.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub proxy_settings: Vec<Raw>,
    /// Labels of the role bindings.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Annotations of the role bindings.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

/// Limits on namespaces.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NamespaceOptions {
    /// How many there may be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 10000))]
    pub quota: Option<u32>,
    /// Labels and annotations they get.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub additional_metadata: Option<Raw>,
    /// Labels and annotations they get, by selector.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub additional_metadata_list: Vec<Raw>,
    /// Labels and annotations they must have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub required_metadata: Option<Raw>,
    /// Labels they must not have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub forbidden_labels: Option<Raw>,
    /// Annotations they must not have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub forbidden_annotations: Option<Raw>,
}

/// What is observed of a tenant.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CapsuleTenantStatus {
    /// Active, Cordoned or Terminating.
    #[serde(default)]
    pub state: CapsuleState,
    /// How many namespaces there are.
    #[serde(default)]
    pub size: u32,
    /// The namespaces.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub namespaces: Vec<String>,
    /// The generation that was looked at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// What is true of it now.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
}

/// The state of a tenant in Capsule's words.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum CapsuleState {
    #[default]
    Active,
    Cordoned,
    Terminating,
}

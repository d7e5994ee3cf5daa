//! `Tenant`: who owns it, what it may have.

use crate::{Condition, IntOrText, Raw, StorageLimits};
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// One customer, team or environment: who owns it and what it may have. Its control planes live
/// in the namespace `tenant-<name>`.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "freehold.dev",
    version = "v1alpha1",
    kind = "Tenant",
    plural = "tenants",
    singular = "tenant",
    shortname = "fht",
    status = "TenantStatus",
    derive = "PartialEq",
    derive = "Default",
    doc = "One customer, team or environment: who owns it and what it may have.",
    printcolumn(name = "Tier", type_ = "string", json_path = ".spec.tier"),
    printcolumn(name = "Namespace", type_ = "string", json_path = ".status.namespace"),
    printcolumn(
        name = "Control-Planes",
        type_ = "integer",
        json_path = ".status.controlPlanes"
    ),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].status"
    ),
    printcolumn(
        name = "Reason",
        type_ = "string",
        priority = 1,
        json_path = ".status.conditions[?(@.type==\"Ready\")].reason"
    ),
    printcolumn(
        name = "Age",
        type_ = "date",
        json_path = ".metadata.creationTimestamp"
    )
)]
#[serde(rename_all = "camelCase")]
pub struct TenantSpec {
    /// Who may create, see and delete the tenant's control planes and get kubeconfigs for them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub owners: Vec<Owner>,
    /// The tier of isolation that the tenant gets when a request names none.
    #[serde(default)]
    pub tier: Tier,
    /// Limits on the tenant's control planes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub control_planes: Option<ControlPlaneLimits>,
    /// Limits on the tenant's namespaces on the host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespaces: Option<NamespaceLimits>,
    /// Quotas made in every namespace of the tenant on the host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource_quotas: Option<Quotas>,
    /// Limit ranges made in every namespace of the tenant on the host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit_ranges: Option<LimitRanges>,
    /// Network policies made in every namespace of the tenant on the host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network_policies: Option<NetworkPolicies>,
}

/// A tier of isolation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Tier {
    /// Namespaces on the host cluster.
    Namespace,
    /// An API server of its own; pods run on the host's nodes.
    Virtual,
    /// An API server, controllers and datastore of its own.
    #[default]
    ControlPlane,
    /// All that, and worker nodes that are VMs in a network of its own.
    Hard,
}

/// Somebody who owns a tenant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Owner {
    /// User, Group or ServiceAccount.
    pub kind: OwnerKind,
    /// The name; of a service account `system:serviceaccount:<namespace>:<name>`.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
}

/// What an owner is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum OwnerKind {
    User,
    Group,
    ServiceAccount,
}

/// Limits on the control planes of a tenant.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ControlPlaneLimits {
    /// How many there may be; those made later than that many are not served.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 10000))]
    pub quota: Option<u32>,
    /// The Kubernetes versions that may be asked for; empty allows every served one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub versions: Vec<String>,
    /// How much each of them may store, whatever it asks for itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub storage: Option<StorageLimits>,
}

/// Limits on the namespaces of a tenant.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NamespaceLimits {
    /// How many there may be beside `tenant-<name>`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 10000))]
    pub quota: Option<u32>,
}

/// Whether a quota counts over the tenant or in each namespace.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum QuotaScope {
    /// Over all namespaces of the tenant together.
    #[default]
    Tenant,
    /// In each namespace by itself.
    Namespace,
}

/// Quotas of a tenant.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Quotas {
    /// Whether the quotas count over the tenant or in each namespace.
    #[serde(default)]
    pub scope: QuotaScope,
    /// Each item becomes one ResourceQuota.
    #[serde(default)]
    #[schemars(length(max = 32))]
    pub items: Vec<Quota>,
}

/// The specification of one ResourceQuota.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Quota {
    /// Limits by resource name, as in a ResourceQuota.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub hard: BTreeMap<String, IntOrText>,
    /// Scopes, as in a ResourceQuota.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub scopes: Vec<String>,
    /// Scope selector, as in a ResourceQuota.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope_selector: Option<Raw>,
}

/// Limit ranges of a tenant.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct LimitRanges {
    /// Each item is the specification of one LimitRange.
    #[serde(default)]
    #[schemars(length(max = 32))]
    pub items: Vec<Raw>,
}

/// Network policies of a tenant.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct NetworkPolicies {
    /// Each item is the specification of one NetworkPolicy.
    #[serde(default)]
    #[schemars(length(max = 32))]
    pub items: Vec<Raw>,
}

/// What is observed of a tenant.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TenantStatus {
    /// The generation that was looked at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// The tenant's namespace on the host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// How many control planes there are.
    #[serde(default)]
    pub control_planes: u32,
    /// The other namespaces of the tenant on the host.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub namespaces: Vec<String>,
    /// What is true of the tenant now.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
}

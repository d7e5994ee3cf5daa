//! KubeFlex's objects (`tenancy.kflex.kubestellar.org/v1alpha1`): facts from
//! kubestellar/kubeflex `api/v1alpha1`.

use crate::{Condition, HookVar, Raw};
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// KubeFlex's API group.
pub const GROUP: &str = "tenancy.kflex.kubestellar.org";

/// A control plane in KubeFlex's words; it becomes a ControlPlane of `freehold.dev`.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "tenancy.kflex.kubestellar.org",
    version = "v1alpha1",
    kind = "ControlPlane",
    root = "FlexControlPlane",
    plural = "controlplanes",
    singular = "controlplane",
    shortname = "cp",
    shortname = "cps",
    status = "FlexControlPlaneStatus",
    derive = "PartialEq",
    doc = "A control plane in KubeFlex's words; it becomes a ControlPlane of freehold.dev.",
    printcolumn(
        name = "SYNCED",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Synced\")].status"
    ),
    printcolumn(
        name = "READY",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].status"
    ),
    printcolumn(name = "TYPE", type_ = "string", json_path = ".spec.type"),
    printcolumn(
        name = "AGE",
        type_ = "date",
        json_path = ".metadata.creationTimestamp"
    )
)]
#[serde(rename_all = "camelCase")]
pub struct FlexControlPlaneSpec {
    /// What kind of control plane it is.
    #[serde(rename = "type")]
    pub type_: FlexType,
    /// Where its data is kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backend: Option<Backend>,
    /// Access to a cluster to adopt; of type `external` only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bootstrap_secret_ref: Option<FlexSecretRef>,
    /// How many seconds credentials are valid.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub token_expiration_seconds: Option<i64>,
    /// A hook that runs before the others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub post_create_hook: Option<String>,
    /// Values for that hook.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub post_create_hook_vars: BTreeMap<String, String>,
    /// Hooks, in this order; a second one of the same name is left out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 31))]
    pub post_create_hooks: Vec<FlexHookUse>,
    /// Values for all hooks.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub global_vars: BTreeMap<String, String>,
    /// Ready only when the hooks are applied and what they made is ready.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wait_for_post_create_hooks: Option<bool>,
}

/// A kind of control plane.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum FlexType {
    K8s,
    Ocm,
    Vcluster,
    Host,
    External,
    K3s,
}

/// Where data is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Backend {
    Shared,
    Dedicated,
}

/// A hook and the values for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct FlexHookUse {
    /// Name of the PostCreateHook.
    #[schemars(length(min = 1, max = 253))]
    pub hook_name: String,
    /// Values.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub vars: BTreeMap<String, String>,
}

/// A secret with kubeconfigs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct FlexSecretRef {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// The key with the kubeconfig for use from outside.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// The key with the kubeconfig for use from the hosting cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub in_cluster_key: Option<String>,
}

/// What is observed of a control plane.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct FlexControlPlaneStatus {
    /// What is true of it now.
    #[serde(default)]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
    /// The generation that was looked at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// The secret with the kubeconfigs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_ref: Option<FlexSecretRef>,
    /// Which hooks are applied.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub post_create_hooks: BTreeMap<String, bool>,
    /// Whether all hooks are applied.
    #[serde(default)]
    pub post_create_hook_completed: bool,
}

/// A hook in KubeFlex's words; it becomes a Hook of `freehold.dev`.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "tenancy.kflex.kubestellar.org",
    version = "v1alpha1",
    kind = "PostCreateHook",
    plural = "postcreatehooks",
    singular = "postcreatehook",
    shortname = "pch",
    shortname = "pchs",
    status = "PostCreateHookStatus",
    derive = "PartialEq",
    doc = "A hook in KubeFlex's words; it becomes a Hook of freehold.dev.",
    printcolumn(
        name = "SYNCED",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Synced\")].status"
    ),
    printcolumn(
        name = "READY",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].status"
    ),
    printcolumn(
        name = "AGE",
        type_ = "date",
        json_path = ".metadata.creationTimestamp"
    )
)]
#[serde(rename_all = "camelCase")]
pub struct PostCreateHookSpec {
    /// Kubernetes objects with `{{.Name}}` in any of their texts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub templates: Vec<Raw>,
    /// Values used when nothing else gives one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub default_vars: Vec<HookVar>,
}

/// What is observed of a hook.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PostCreateHookStatus {
    /// What is true of it now.
    #[serde(default)]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
    /// The generation that was looked at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
}

//! `Hook`: templates applied for a control plane after it was made.

use crate::Raw;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Objects to make on the host for a control plane once it answers. Only administrators of the
/// host write hooks; tenants name them in `spec.hooks` of a ControlPlane.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "freehold.dev",
    version = "v1alpha1",
    kind = "Hook",
    plural = "hooks",
    singular = "hook",
    shortname = "fhk",
    derive = "PartialEq",
    doc = "Templates of objects that are made on the host for a control plane once it answers.",
    printcolumn(
        name = "Age",
        type_ = "date",
        json_path = ".metadata.creationTimestamp"
    )
)]
#[serde(rename_all = "camelCase")]
pub struct HookSpec {
    /// Kubernetes objects with `{{.Name}}` in any of their texts. Objects of namespaced kinds go
    /// to the namespace of the control plane's hooks, whatever they say.
    #[schemars(length(max = 64))]
    pub templates: Vec<Raw>,
    /// Values used when neither the control plane nor the platform gives one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub default_vars: Vec<HookVar>,
}

/// A named value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct HookVar {
    /// The name, as in `{{.name}}`.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// The value.
    #[schemars(length(max = 4096))]
    pub value: String,
}

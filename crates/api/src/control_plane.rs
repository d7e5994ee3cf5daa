//! `ControlPlane`: one Kubernetes of a tenant.

use crate::{Condition, IntOrText};
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// One Kubernetes of a tenant: its own API server, controllers, certificates and data.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "freehold.dev",
    version = "v1alpha1",
    kind = "ControlPlane",
    plural = "controlplanes",
    singular = "controlplane",
    shortname = "fhcp",
    namespaced,
    status = "ControlPlaneStatus",
    derive = "PartialEq",
    derive = "Default",
    doc = "One Kubernetes of a tenant: its own API server, controllers, certificates and data.",
    printcolumn(name = "Version", type_ = "string", json_path = ".status.version"),
    printcolumn(name = "Phase", type_ = "string", json_path = ".status.phase"),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].status"
    ),
    printcolumn(
        name = "Endpoint",
        type_ = "string",
        json_path = ".status.endpoint.server"
    ),
    printcolumn(
        name = "Server-Name",
        type_ = "string",
        priority = 1,
        json_path = ".status.endpoint.serverName"
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
pub struct ControlPlaneSpec {
    /// The tenant it belongs to. Filled from the namespace when absent; it cannot name another
    /// tenant than the namespace's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(min = 1, max = 56),
        regex(pattern = "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")
    )]
    pub tenant: Option<String>,
    /// The Kubernetes version, for example `v1.36`; absent means the newest that is served.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32), regex(pattern = r"^v?1\.[0-9]{1,3}(\.[0-9]{1,3})?$"))]
    pub version: Option<String>,
    /// What serves it: Freehold's own programs, or upstream's as released.
    #[serde(default)]
    pub engine: Engine,
    /// Whether it shares a process with other control planes.
    #[serde(default)]
    pub placement: Placement,
    /// Where its data is kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub datastore: Option<DataStoreChoice>,
    /// How much it may store. The tenant may have been given less
    /// (`spec.controlPlanes.storage` of the Tenant): the smaller counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub storage: Option<StorageLimits>,
    /// Whether it may fall asleep when nobody uses it.
    #[serde(default)]
    pub power: Power,
    /// Addresses and names inside the cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network: Option<Network>,
    /// More names and addresses for the serving certificate.
    #[serde(default, rename = "certSANs", skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(min = 1, max = 253)))]
    pub cert_sans: Vec<String>,
    /// How clients reach it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<EndpointSpec>,
    /// How many seconds the client certificate of the admin kubeconfig is valid; it is renewed
    /// after two thirds of that. Absent means what the platform is set to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 600, max = 31_536_000))]
    pub admin_certificate_seconds: Option<u32>,
    /// Hooks to apply, in this order, once it answers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub hooks: Vec<HookUse>,
    /// Values for all hooks.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub hook_vars: BTreeMap<String, String>,
    /// Ready only when the hooks are applied and what they made is ready.
    #[serde(default)]
    pub wait_for_hooks: bool,
}

/// How much a control plane may store, and how many may watch it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct StorageLimits {
    /// Stored bytes, history included: `500Mi`; at least `4Mi`. When they are used up, objects can be
    /// read and deleted, not created or changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<IntOrText>,
    /// Objects.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1000, max = 100_000_000))]
    pub objects: Option<u32>,
    /// Watches at the same time; more are answered 429.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 100, max = 100_000))]
    pub watches: Option<u32>,
}

/// What serves a control plane.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Engine {
    /// Freehold's own API server and controllers.
    #[default]
    Native,
    /// kube-apiserver, kube-controller-manager and kube-scheduler as released.
    Upstream,
}

/// Where a control plane runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Placement {
    /// In one process with others.
    #[default]
    Pooled,
    /// In a process or pod of its own.
    Dedicated,
}

/// Whether a control plane may sleep.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Power {
    /// May fall asleep when idle; the next request wakes it.
    #[default]
    Auto,
    /// Stays asleep; requests are answered 503 until this is changed.
    Asleep,
    /// Never sleeps.
    Awake,
}

/// Where the data of a control plane is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DataStoreChoice {
    /// Name of a DataStore; `embedded` is the host's own. It cannot be changed once data is there.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
}

/// Addresses and names inside a cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Network {
    /// Addresses of services.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 49), regex(pattern = r"^[0-9a-fA-F:.]+/[0-9]{1,3}$"))]
    pub service_cidr: Option<String>,
    /// Addresses of pods.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 49), regex(pattern = r"^[0-9a-fA-F:.]+/[0-9]{1,3}$"))]
    pub pod_cidr: Option<String>,
    /// Domain of services' DNS names; absent means `cluster.local`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(min = 1, max = 253),
        regex(pattern = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$")
    )]
    pub dns_domain: Option<String>,
}

/// How clients reach a control plane.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct EndpointSpec {
    /// A port of its own, for clients that cannot send a server name (SNI).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65535))]
    pub port: Option<u16>,
}

/// A hook and the values for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct HookUse {
    /// Name of the Hook.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// Values; they win over `hookVars` and over the hook's own.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub vars: BTreeMap<String, String>,
}

/// The state of a control plane in one word.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Phase {
    /// Something it needs is missing; see the condition `Ready`.
    #[default]
    Pending,
    /// Credentials are made or it is being started.
    Provisioning,
    /// It answers.
    Ready,
    /// It does not answer.
    NotReady,
    /// It sleeps.
    Asleep,
    /// It is being removed.
    Deleting,
}

/// Where a control plane answers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Endpoint {
    /// `https://address:port`
    pub server: String,
    /// The name to send in TLS (SNI) and to check in its certificate.
    pub server_name: String,
    /// The certificates (PEM, base64) that its serving certificate is checked against; as in a
    /// kubeconfig. Public, so that a kubeconfig can be made without reading any secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 65536))]
    pub certificate_authority_data: Option<String>,
}

/// A secret and the key in it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SecretRef {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// The key in its data.
    pub key: String,
}

/// An object that a hook made.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ObjectRef {
    /// Its API version.
    pub api_version: String,
    /// Its kind.
    pub kind: String,
    /// Its namespace, when it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Its name.
    pub name: String,
}

/// What became of one hook.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct HookRun {
    /// Name of the Hook.
    pub name: String,
    /// Whether all its objects were made.
    pub applied: bool,
    /// Why not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// The objects it made.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub objects: Vec<ObjectRef>,
}

/// What is observed of a control plane.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ControlPlaneStatus {
    /// The generation that was looked at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// The state in one word.
    #[serde(default)]
    pub phase: Phase,
    /// The Kubernetes version that is served.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Where it answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<Endpoint>,
    /// The datastore that holds its data; `embedded` is the host's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub datastore: Option<String>,
    /// The secret with the admin kubeconfig.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_ref: Option<SecretRef>,
    /// What became of the hooks.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hooks: Vec<HookRun>,
    /// What is true of it now.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
}

//! Kamaji's objects (`kamaji.clastix.io/v1alpha1`): facts from clastix/kamaji `api/v1alpha1`.

pub use crate::data_store::{BasicAuth, CertificateAndKey, Content, ContentRef, TlsConfig};
use crate::{Condition, Raw};
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Kamaji's API group.
pub const GROUP: &str = "kamaji.clastix.io";
/// Annotation: the object is not worked on while it is `true`.
pub const ANNOTATION_PAUSED: &str = "kamaji.clastix.io/paused";
/// Label: the control plane that a secret belongs to.
pub const LABEL_NAME: &str = "kamaji.clastix.io/name";
/// Label: the part of a control plane that a secret belongs to.
pub const LABEL_COMPONENT: &str = "kamaji.clastix.io/component";
/// Label: whose object it is.
pub const LABEL_PROJECT: &str = "kamaji.clastix.io/project";

/// A control plane in Kamaji's words; it becomes a ControlPlane of `freehold.dev`.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "kamaji.clastix.io",
    version = "v1alpha1",
    kind = "TenantControlPlane",
    plural = "tenantcontrolplanes",
    singular = "tenantcontrolplane",
    shortname = "tcp",
    category = "kamaji",
    namespaced,
    status = "TenantControlPlaneStatus",
    derive = "PartialEq",
    doc = "A control plane in Kamaji's words; it becomes a ControlPlane of freehold.dev.",
    scale(
        spec_replicas_path = ".spec.controlPlane.deployment.replicas",
        status_replicas_path = ".status.kubernetesResources.deployment.replicas",
        label_selector_path = ".status.kubernetesResources.deployment.selector"
    ),
    printcolumn(
        name = "Version",
        type_ = "string",
        json_path = ".spec.kubernetes.version"
    ),
    printcolumn(
        name = "Installed Version",
        type_ = "string",
        json_path = ".status.kubernetesResources.version.version"
    ),
    printcolumn(
        name = "Status",
        type_ = "string",
        json_path = ".status.kubernetesResources.version.status"
    ),
    printcolumn(
        name = "Control-Plane endpoint",
        type_ = "string",
        json_path = ".status.controlPlaneEndpoint"
    ),
    printcolumn(
        name = "Kubeconfig",
        type_ = "string",
        json_path = ".status.kubeconfig.admin.secretName"
    ),
    printcolumn(
        name = "Datastore",
        type_ = "string",
        json_path = ".status.storage.dataStoreName"
    ),
    printcolumn(
        name = "Age",
        type_ = "date",
        json_path = ".metadata.creationTimestamp"
    )
)]
#[serde(rename_all = "camelCase")]
pub struct TenantControlPlaneSpec {
    /// Writes that the control plane refuses.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub write_permissions: Option<Raw>,
    /// Name of the DataStore; absent or `default` means the host's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data_store: Option<String>,
    /// Name of the schema in the datastore.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data_store_schema: Option<String>,
    /// Name of the user of the datastore.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data_store_username: Option<String>,
    /// Datastores for single resources.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub data_store_overrides: Vec<Raw>,
    /// How it runs and how it is reached.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub control_plane: Option<Serving>,
    /// Version and node settings.
    pub kubernetes: Kubernetes,
    /// Addresses.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network_profile: Option<NetworkProfile>,
    /// What is installed in the cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub addons: Option<Addons>,
}

/// How a control plane runs and how it is reached.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Serving {
    /// Settings of the pods; the number of replicas 0 puts it to sleep.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deployment: Option<Deployment>,
    /// Settings of the Service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<Raw>,
    /// Settings of an Ingress.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ingress: Option<Raw>,
    /// Settings of a Gateway route.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gateway: Option<Raw>,
}

/// Settings of the pods of a control plane.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Deployment {
    /// 0 puts the control plane to sleep.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 100))]
    pub replicas: Option<i32>,
    /// Where images come from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub registry_settings: Option<Raw>,
    /// How pods are replaced.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub strategy: Option<Raw>,
    /// Requests and limits by component.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<Raw>,
    /// More arguments by component.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub extra_args: Option<Raw>,
    /// Probes by component.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub probes: Option<Raw>,
    /// Labels of nodes that may run the pods.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub node_selector: BTreeMap<String, String>,
    /// Taints that the pods tolerate.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tolerations: Vec<Raw>,
    /// Affinity of the pods.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub affinity: Option<Raw>,
    /// How the pods are spread.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub topology_spread_constraints: Vec<Raw>,
    /// Runtime class of the pods.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runtime_class_name: Option<String>,
    /// Service account of the pods.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_account_name: Option<String>,
    /// Labels and annotations of the Deployment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub additional_metadata: Option<Raw>,
    /// Labels and annotations of the pods.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod_additional_metadata: Option<Raw>,
    /// More init containers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub additional_init_containers: Vec<Raw>,
    /// More containers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub additional_containers: Vec<Raw>,
    /// More volumes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub additional_volumes: Vec<Raw>,
    /// More volume mounts by component.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub additional_volume_mounts: Option<Raw>,
    /// Security context of the pods.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod_security_context: Option<Raw>,
    /// Security contexts by component.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub container_security_contexts: Option<Raw>,
}

/// Version and node settings.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Kubernetes {
    /// The Kubernetes version, for example `v1.28.0`.
    #[schemars(
        length(min = 1, max = 32),
        regex(pattern = r"^v?1\.[0-9]{1,3}(\.[0-9]{1,3})?$")
    )]
    pub version: String,
    /// Settings of kubelets that join.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kubelet: Option<Raw>,
    /// Admission plugins.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub admission_controllers: Vec<String>,
}

/// Addresses of a control plane.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NetworkProfile {
    /// Address that it is reached at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// Address told to what runs in the cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub advertise_address: Option<String>,
    /// Port that it is reached at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65535))]
    pub port: Option<i32>,
    /// Whether the address becomes an external address of the Service.
    #[serde(
        default,
        rename = "allowAddressAsExternalIP",
        skip_serializing_if = "Option::is_none"
    )]
    pub allow_address_as_external_ip: Option<bool>,
    /// More names and addresses for the serving certificate.
    #[serde(default, rename = "certSANs", skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(min = 1, max = 253)))]
    pub cert_sans: Vec<String>,
    /// Domain of services' DNS names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253), regex(pattern = r".*\..*"))]
    pub cluster_domain: Option<String>,
    /// Addresses of services.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_cidr: Option<String>,
    /// Addresses of services, one range per address family.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 2))]
    pub service_cidrs: Vec<String>,
    /// Addresses of pods.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod_cidr: Option<String>,
    /// Addresses of pods, one range per address family.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 2))]
    pub pod_cidrs: Vec<String>,
    /// Addresses of the cluster's DNS.
    #[serde(
        default,
        rename = "dnsServiceIPs",
        skip_serializing_if = "Vec::is_empty"
    )]
    #[schemars(length(max = 8))]
    pub dns_service_ips: Vec<String>,
    /// Class of the load balancer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub load_balancer_class: Option<String>,
    /// Who may reach the load balancer.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub load_balancer_source_ranges: Vec<String>,
}

/// What is installed in the cluster.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Addons {
    /// CoreDNS.
    #[serde(default, rename = "coreDNS", skip_serializing_if = "Option::is_none")]
    pub core_dns: Option<Raw>,
    /// kube-proxy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kube_proxy: Option<Raw>,
    /// Konnectivity.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub konnectivity: Option<Raw>,
}

/// What is observed of a control plane.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TenantControlPlaneStatus {
    /// The generation that was looked at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Where its data is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub storage: Option<Storage>,
    /// Its certificates.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificates: Option<Certificates>,
    /// Its kubeconfigs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kubeconfig: Option<Kubeconfigs>,
    /// Address and port it answers at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub control_plane_endpoint: Option<String>,
    /// What serves it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kubernetes_resources: Option<KubernetesResources>,
    /// What is true of it now. Not in Kamaji.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
}

/// Where the data of a control plane is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Storage {
    /// What keeps it.
    pub driver: String,
    /// The DataStore.
    pub data_store_name: String,
}

/// A secret that was made.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MadeSecret {
    /// Its name.
    pub secret_name: String,
}

/// The certificates of a control plane.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Certificates {
    /// The authority.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca: Option<MadeSecret>,
    /// The serving certificate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api_server: Option<MadeSecret>,
    /// The key pair of service-account tokens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sa: Option<MadeSecret>,
}

/// The kubeconfigs of a control plane.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Kubeconfigs {
    /// The administrator's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub admin: Option<MadeSecret>,
}

/// What serves a control plane.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct KubernetesResources {
    /// Version and state.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<Installed>,
    /// Replicas, for the scale subresource.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deployment: Option<Replicas>,
}

/// The version that is served, and the state.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Installed {
    /// The version that is served.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// The state.
    pub status: State,
}

/// The state of a control plane in Kamaji's words.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum State {
    Unknown,
    #[default]
    Provisioning,
    CertificateAuthorityRotating,
    Upgrading,
    Migrating,
    Ready,
    NotReady,
    Sleeping,
    WriteLimited,
}

/// Replicas, for the scale subresource.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Replicas {
    /// How many there are.
    #[serde(default)]
    pub replicas: i32,
    /// Labels that the pods would carry.
    #[serde(default)]
    pub selector: String,
}

/// A datastore in Kamaji's words.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "kamaji.clastix.io",
    version = "v1alpha1",
    kind = "DataStore",
    plural = "datastores",
    singular = "datastore",
    category = "kamaji",
    status = "DataStoreStatus",
    derive = "PartialEq",
    doc = "A datastore in Kamaji's words.",
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
    pub driver: Driver,
    /// Where it is; a protocol in front is allowed.
    #[schemars(length(min = 1, max = 32), inner(length(min = 1, max = 512)))]
    pub endpoints: Vec<String>,
    /// User and password.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub basic_auth: Option<BasicAuth>,
    /// Certificates.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls_config: Option<TlsConfig>,
}

/// A kind of datastore.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Driver {
    #[serde(rename = "etcd")]
    Etcd,
    MySQL,
    PostgreSQL,
    NATS,
}

/// What is observed of a datastore.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DataStoreStatus {
    /// The generation that was looked at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// The control planes that name it, as `namespace/name`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub used_by: Vec<String>,
    /// Whether it can be used.
    #[serde(default)]
    pub ready: bool,
    /// What is true of it now.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
}

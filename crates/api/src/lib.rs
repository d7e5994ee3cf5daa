//! Freehold's objects as types: our own (`freehold.dev/v1alpha1`), and those of the dialects.
//!
//! Pure: no I/O, no clock. The CustomResourceDefinitions under `crds/` are generated from here
//! (`cargo run -p freehold-api --example crds`).

#![allow(
    clippy::duplicated_attributes,
    reason = "each printer column has a type and a path of its own"
)]

pub mod condition;
mod control_plane;
pub mod crds;
mod data_store;
pub mod dialects;
mod hook;
pub mod ids;
pub mod names;
mod raw;
mod tenant;

pub use condition::{Condition, ConditionStatus};
pub use control_plane::{
    ControlPlane, ControlPlaneSpec, ControlPlaneStatus, DataStoreChoice, Endpoint, EndpointSpec,
    Engine, HookRun, HookUse, Network, ObjectRef, Phase, Placement, Power, SecretRef,
    StorageLimits,
};
pub use data_store::{
    AllowedTenants, BasicAuth, CertificateAndKey, Content, ContentRef, DataStore, DataStoreDriver,
    DataStoreSpec, DataStoreStatus, TenantSelector, TlsConfig,
};
pub use hook::{Hook, HookSpec, HookVar};
pub use ids::{ControlPlaneName, InvalidName, TenantName};
pub use raw::{IntOrText, Raw};
pub use tenant::{
    ControlPlaneLimits, LimitRanges, NamespaceLimits, NetworkPolicies, Owner, OwnerKind, Quota,
    QuotaScope, Quotas, Tenant, TenantSpec, TenantStatus, Tier,
};

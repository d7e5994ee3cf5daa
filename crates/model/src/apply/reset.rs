//! Fields that a request cannot change and therefore nobody comes to own through it: the
//! `GetResetFields` of `k8s.io/kubernetes/pkg/registry`, apiextensions and kube-aggregator.

use super::set::Set;
use crate::catalogue::Resource;

/// What is left of a set after a request's own fields are known.
pub(crate) enum Filter {
    All,
    Without(Set),
    Only(&'static [&'static [&'static str]]),
}

impl Filter {
    pub(crate) fn apply(&self, set: Set) -> Set {
        match self {
            Self::All => set,
            Self::Without(gone) => set.recursive_difference(gone),
            Self::Only(paths) => set.only(paths),
        }
    }

    pub(crate) fn of(resource: &Resource, subresource: &str) -> Self {
        const RESIZE: &[&[&str]] = &[
            &["spec", "containers", "*", "resources"],
            &["spec", "containers", "*", "resizePolicy"],
            &["spec", "initContainers", "*", "resources"],
            &["spec", "initContainers", "*", "resizePolicy"],
        ];
        let without = |paths: &[&[&str]]| Self::Without(Set::of_paths(paths));
        let custom = resource.custom.is_some();
        match (resource.kind.as_str(), subresource) {
            ("CertificateSigningRequest", "") => without(&[&["spec"], &["status"]]),
            ("CertificateSigningRequest", "status") => {
                without(&[&["spec"], &["status", "conditions"]])
            }
            ("CertificateSigningRequest", "approval") => {
                without(&[&["spec"], &["status", "certificate"]])
            }
            ("Pod", "ephemeralcontainers") => Self::Only(&[&["spec", "ephemeralContainers"]]),
            ("Pod", "resize") => Self::Only(RESIZE),
            ("Pod", "status") => without(&[
                &["spec"],
                &["metadata", "deletionTimestamp"],
                &["metadata", "ownerReferences"],
            ]),
            ("Deployment", "status") => without(&[&["spec"], &["metadata", "labels"]]),
            ("CustomResourceDefinition", "status") => Self::All,
            (_, "" | "finalize") if resource.has_status() => without(&[&["status"]]),
            (kind, "status") if custom || resets_metadata(kind) => {
                without(&[&["spec"], &["metadata"]])
            }
            (_, "status") => without(&[&["spec"]]),
            _ => Self::All,
        }
    }
}

/// Kinds whose status requests cannot change any metadata.
fn resets_metadata(kind: &str) -> bool {
    matches!(
        kind,
        "APIService"
            | "DeviceTaintRule"
            | "FlowSchema"
            | "PodGroup"
            | "PriorityLevelConfiguration"
            | "ResourceClaim"
            | "ResourcePoolStatusRequest"
            | "ServiceCIDR"
            | "StorageVersion"
            | "StorageVersionMigration"
            | "ValidatingAdmissionPolicy"
            | "VolumeAttachment"
    )
}

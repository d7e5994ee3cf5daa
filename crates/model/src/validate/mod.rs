//! Validation of built-in kinds; one file per API group below this module.
//!
//! Paths, reasons and messages are upstream's; where they are not, `DIFFERENCES.md` says so. Kinds that no
//! file knows get the checks of their metadata and the types of their fields only.

mod admission;
mod apiregistration;
mod apps;
mod autoscaling;
mod batch;
mod certificates;
mod core;
mod cron;
mod expressions;
pub(crate) mod few;
mod flowcontrol;
mod indexes;
pub(crate) mod key_pairs;
mod migration;
pub(crate) mod net;
mod networking;
mod pod_certificates;
mod policies;
mod ratchet;
mod rbac;
pub(crate) mod read;
mod resource;
mod small;
mod status;
mod storage;
pub(crate) mod webhooks;
mod x509;

use crate::field::FieldError;
use crate::{Resource, Value, meta};
use read::{Read as _, Report};

/// Checks a new object (metadata included; CRD kinds go through [`crate::crd::validate`]).
#[must_use]
pub fn create(resource: &Resource, object: &Value) -> Vec<FieldError> {
    let mut report = Report {
        minor: resource.types.minor(),
        errors: meta::validate_create(resource, object),
    };
    let of_metadata = report.errors.len();
    create_spec(&mut report, resource, object);
    // Upstream looks at the metadata of this kind when everything else is fine.
    if report.errors.is_empty() && resource.kind == "CertificateSigningRequest" {
        meta::validate_name_in_path(object, &mut report.errors);
    }
    let late = resource.group == "policy" || resource.group.is_empty() && resource.kind == "Event";
    if late && report.errors.len() > of_metadata {
        report.errors.drain(..of_metadata);
    }
    distinct(report.errors)
}

fn create_spec(report: &mut Report, resource: &Resource, object: &Value) {
    let kind = resource.kind.as_str();
    match (resource.group.as_str(), kind) {
        ("", _) => core::create(report, kind, object),
        ("apps", _) => apps::create(report, kind, object),
        ("batch", _) => batch::create(report, kind, object),
        ("rbac.authorization.k8s.io", _) => rbac::create(report, kind, object),
        ("networking.k8s.io", _) => networking::create(report, kind, object),
        ("autoscaling", "HorizontalPodAutoscaler") => autoscaler(report, resource, object, None),
        ("policy", "PodDisruptionBudget") => small::disruption_budget(report, object),
        ("scheduling.k8s.io", "PriorityClass") => small::priority_class(report, object),
        ("coordination.k8s.io", "Lease") => small::lease(report, object),
        ("discovery.k8s.io", "EndpointSlice") => small::endpoint_slice(report, object, None),
        ("storage.k8s.io", _) => storage::create(report, kind, object),
        ("node.k8s.io", "RuntimeClass") => small::runtime_class(report, object),
        ("certificates.k8s.io", "CertificateSigningRequest") => {
            certificates::create(report, object);
        }
        ("certificates.k8s.io", "ClusterTrustBundle") => {
            pod_certificates::bundle(report, object, None);
        }
        ("certificates.k8s.io", "PodCertificateRequest") => {
            pod_certificates::request(report, object);
        }
        ("admissionregistration.k8s.io", _) => admission_kind(report, kind, object, None),
        ("apiregistration.k8s.io", "APIService") => apiregistration::api_service(report, object),
        ("flowcontrol.apiserver.k8s.io", "FlowSchema") => flowcontrol::flow_schema(report, object),
        ("flowcontrol.apiserver.k8s.io", "PriorityLevelConfiguration") => {
            let shares = if resource.version == "v1beta2" {
                "assuredConcurrencyShares"
            } else {
                "nominalConcurrencyShares"
            };
            flowcontrol::priority_level(report, object, shares);
        }
        ("events.k8s.io", "Event") => core::new_event(report, object),
        ("apiextensions.k8s.io", "CustomResourceDefinition") => {
            report
                .errors
                .extend(crate::crd::definition::validate_create(
                    object,
                    resource.types.minor(),
                ));
        }
        ("resource.k8s.io", _) => resource::create(report, kind, object),
        ("storagemigration.k8s.io", _) => migration::migration(report, object),
        _ => {}
    }
}

/// Both versions are judged as the newer one.
fn autoscaler(report: &mut Report, resource: &Resource, object: &Value, old: Option<&Value>) {
    if resource.version != "v1" {
        return autoscaling::autoscaler(report, object, old);
    }
    let newer = |object: &Value| {
        let mut object = object.clone();
        crate::convert::autoscaler_to_v2(&mut object);
        object
    };
    autoscaling::autoscaler(report, &newer(object), old.map(newer).as_ref());
}

fn admission_kind(report: &mut Report, kind: &str, object: &Value, old: Option<&Value>) {
    match kind {
        "ValidatingWebhookConfiguration" | "MutatingWebhookConfiguration" => {
            admission::configuration(report, object, old);
        }
        "ValidatingAdmissionPolicy" => policies::validating(report, object, old),
        "MutatingAdmissionPolicy" => policies::mutating(report, object, old),
        "ValidatingAdmissionPolicyBinding" => policies::binding(report, object, false),
        "MutatingAdmissionPolicyBinding" => policies::binding(report, object, true),
        _ => {}
    }
}

/// Checks an update: everything of `create`, and what may not change.
#[must_use]
pub fn update(resource: &Resource, new: &Value, old: &Value) -> Vec<FieldError> {
    let mut report = Report {
        minor: resource.types.minor(),
        errors: meta::validate_update(resource, new, old),
    };
    let kind = resource.kind.as_str();
    match (resource.group.as_str(), kind) {
        ("", _) => core::update(&mut report, kind, new, old),
        ("apps", _) => apps::update(&mut report, kind, new, old),
        ("batch", _) => batch::update(&mut report, kind, new, old),
        ("rbac.authorization.k8s.io", _) => rbac::update(&mut report, kind, new, old),
        ("networking.k8s.io", _) => networking::update(&mut report, kind, new, old),
        ("scheduling.k8s.io", "PriorityClass") => {
            small::priority_class_update(&mut report, new, old)
        }
        ("storage.k8s.io", _) => storage::update(&mut report, kind, new, old),
        ("certificates.k8s.io", "CertificateSigningRequest") => {
            certificates::update(&mut report, new, old, certificates::Allowed::default());
        }
        ("certificates.k8s.io", "ClusterTrustBundle") => {
            pod_certificates::bundle(&mut report, new, Some(old));
        }
        ("certificates.k8s.io", "PodCertificateRequest") => {
            pod_certificates::request_update(&mut report, new, old);
        }
        ("autoscaling", "HorizontalPodAutoscaler") => {
            autoscaler(&mut report, resource, new, Some(old));
        }
        ("events.k8s.io", "Event") => core::new_event_update(&mut report, new, old),
        ("storagemigration.k8s.io", _) => migration::update(&mut report, new, old),
        ("resource.k8s.io", _) => {
            resource::update(&mut report, kind, new, old);
        }
        ("admissionregistration.k8s.io", _) => {
            admission_kind(&mut report, kind, new, Some(old));
        }
        ("node.k8s.io", "RuntimeClass") => {
            small::runtime_class(&mut report, new);
            let at = crate::field::Path::root("handler");
            report.immutable_text(at, new.text("handler"), old.text("handler"));
        }
        ("discovery.k8s.io", "EndpointSlice") => {
            small::endpoint_slice(&mut report, new, Some(old));
            let at = crate::field::Path::root("addressType");
            report.immutable(at, new.get("addressType"), old.get("addressType"));
        }
        ("apiextensions.k8s.io", "CustomResourceDefinition") => {
            report
                .errors
                .extend(crate::crd::definition::validate_update(
                    new,
                    old,
                    resource.types.minor(),
                ));
        }
        _ => create_spec(&mut report, resource, new),
    }
    ratchet::label_values(&mut report.errors, old);
    if kind == "Endpoints" {
        ratchet::subsets(&mut report.errors, new, old);
    }
    distinct(report.errors)
}

/// Checks an update through a subresource, which changes its part of the object only.
#[must_use]
pub fn update_subresource(
    resource: &Resource,
    name: &str,
    new: &Value,
    old: &Value,
) -> Vec<FieldError> {
    if !matches!(
        name,
        "status" | "approval" | "ephemeralcontainers" | "resize"
    ) {
        return update(resource, new, old);
    }
    let mut report = Report {
        minor: resource.types.minor(),
        errors: meta::validate_update(resource, new, old),
    };
    match name {
        "ephemeralcontainers" => {
            core::ephemeral(&mut report, new, old);
            return distinct(report.errors);
        }
        "resize" => {
            core::resize(&mut report, new, old);
            return distinct(report.errors);
        }
        _ => {}
    }
    if name == "status" {
        status::update(&mut report, resource, new, old);
    } else {
        let allowed = certificates::Allowed {
            approval: true,
            ..certificates::Allowed::default()
        };
        certificates::update(&mut report, new, old, allowed);
    }
    distinct(report.errors)
}

/// More errors help nobody, and comparing each with each costs time.
const MAX_ERRORS: usize = 500;

/// Some things are checked from two sides; upstream's message says each of them once.
fn distinct(mut errors: Vec<FieldError>) -> Vec<FieldError> {
    errors.truncate(MAX_ERRORS);
    let mut kept: Vec<FieldError> = Vec::with_capacity(errors.len());
    for error in errors {
        if !kept.contains(&error) {
            kept.push(error);
        }
    }
    kept
}

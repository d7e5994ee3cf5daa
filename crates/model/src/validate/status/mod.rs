//! Validation of the status subresource: what the status strategies of kubernetes `pkg/registry`
//! check. The validation functions that they call stand beside those of the spec
//! (`pkg/apis/<group>/validation/validation.go`).

mod jobs;
mod pods;

use super::read::{NOTHING, Read, Report, quantity};
use super::{certificates, core, net};
use crate::field::{FieldError, Path};
use crate::{Resource, Value, rules};
use std::collections::BTreeSet;

const MORE_THAN_ALL: &str = "cannot be greater than status.replicas";

pub(super) fn update(report: &mut Report, resource: &Resource, new: &Value, old: &Value) {
    let status = new.part("status").unwrap_or(&NOTHING);
    let before = old.part("status").unwrap_or(&NOTHING);
    let path = Path::root("status");
    match (resource.group.as_str(), resource.kind.as_str()) {
        ("", kind) => of_core(report, kind, new, old),
        ("apps", kind) => workload(report, kind, status, before, path),
        ("batch", "Job") => jobs::update(report, new, old),
        ("autoscaling", _) => counts(
            report,
            status,
            &["currentReplicas", "desiredReplicas"],
            path,
        ),
        ("policy", _) => {
            conditions(report, status, path);
            let fields = [
                "disruptionsAllowed",
                "currentHealthy",
                "desiredHealthy",
                "expectedPods",
            ];
            counts(report, status, &fields, path);
        }
        ("networking.k8s.io", "Ingress") => {
            load_balancer(report, status, before, path.child("loadBalancer"));
        }
        ("storage.k8s.io", "VolumeAttachment") => super::storage::attachment_status(report, new),
        ("certificates.k8s.io", "CertificateSigningRequest") => {
            let allowed = certificates::Allowed {
                certificate: true,
                ..certificates::Allowed::default()
            };
            certificates::update(report, new, old, allowed);
        }
        ("certificates.k8s.io", "PodCertificateRequest") => {
            super::pod_certificates::status_update(report, new, old);
        }
        ("admissionregistration.k8s.io", "ValidatingAdmissionPolicy") => {
            super::policies::status(report, status, path);
            conditions(report, status, path);
        }
        ("apiregistration.k8s.io", _) => condition_statuses(report, status, path),
        ("flowcontrol.apiserver.k8s.io", _) => super::flowcontrol::conditions(report, new),
        ("storagemigration.k8s.io", _) => super::migration::status_update(report, new, old),
        ("resource.k8s.io", kind) => super::resource::status_update(report, kind, new, old),
        ("apiextensions.k8s.io", "CustomResourceDefinition") => {
            let errors = crate::crd::definition::validate_status(new);
            report.errors.extend(errors);
        }
        _ => {}
    }
}

fn of_core(report: &mut Report, kind: &str, new: &Value, old: &Value) {
    let status = new.part("status").unwrap_or(&NOTHING);
    let before = old.part("status").unwrap_or(&NOTHING);
    let path = Path::root("status");
    match kind {
        "Pod" => pods::update(report, new, old),
        "Node" => core::node_status_update(report, new, old),
        "Namespace" => {
            let deleting = new.at(&["metadata", "deletionTimestamp"]).is_some();
            let phase = status.text("phase");
            let (wanted, when) = if deleting {
                ("Terminating", "not empty")
            } else {
                ("Active", "empty")
            };
            if phase != wanted {
                let detail = format!("may only be '{wanted}' if `deletionTimestamp` is {when}");
                report.invalid_str(path.child("Phase"), phase, detail);
            }
        }
        "Service" => {
            let at = path.child("loadBalancer");
            let balancer = status.part("loadBalancer").unwrap_or(&NOTHING);
            let kind = new.str_at(&["spec", "type"]).unwrap_or_default();
            if kind != "LoadBalancer" && !balancer.list("ingress").is_empty() {
                let detail = "may only be used when `spec.type` is 'LoadBalancer'";
                report.forbidden(at.child("ingress"), detail);
            } else {
                load_balancer(report, status, before, at);
                modes(report, balancer, at.child("ingress"));
            }
        }
        "ReplicationController" => replicas(
            report,
            status,
            &["fullyLabeledReplicas", "readyReplicas", "availableReplicas"],
            path,
        ),
        "ResourceQuota" => {
            for field in ["hard", "used"] {
                core::quota_amounts(report, status, field, path);
            }
        }
        "PersistentVolumeClaim" => claim(report, new, status, path),
        _ => {}
    }
}

/// Numbers that must not be negative.
fn counts(report: &mut Report, status: &Value, fields: &[&str], path: Path<'_>) {
    for field in fields {
        report.non_negative(path.child(field), status.number(field));
    }
}

/// Numbers of replicas, none of which can be more than all.
fn replicas(report: &mut Report, status: &Value, fields: &[&str], path: Path<'_>) {
    let also = [
        "observedGeneration",
        "terminatingReplicas",
        "collisionCount",
    ];
    counts(report, status, &["replicas"], path);
    counts(report, status, fields, path);
    counts(report, status, &also, path);
    for field in fields {
        let n = status.number(field);
        if n > status.number("replicas") {
            report.invalid_int(path.child(field), n, MORE_THAN_ALL);
        }
    }
    let available = status.number("availableReplicas");
    if available > status.number("readyReplicas") {
        let detail = if fields.contains(&"currentReplicas") {
            "cannot be greater than status.readyReplicas"
        } else {
            "cannot be greater than readyReplicas"
        };
        report.invalid_int(path.child("availableReplicas"), available, detail);
    }
}

fn workload(report: &mut Report, kind: &str, status: &Value, before: &Value, path: Path<'_>) {
    match kind {
        "Deployment" => {
            counts(report, status, &["unavailableReplicas"], path);
            let fields = ["updatedReplicas", "readyReplicas", "availableReplicas"];
            replicas(report, status, &fields, path);
        }
        "ReplicaSet" => {
            let fields = ["fullyLabeledReplicas", "readyReplicas", "availableReplicas"];
            return replicas(report, status, &fields, path);
        }
        "StatefulSet" => replicas(
            report,
            status,
            &[
                "readyReplicas",
                "currentReplicas",
                "updatedReplicas",
                "availableReplicas",
            ],
            path,
        ),
        "DaemonSet" => counts(
            report,
            status,
            &[
                "currentNumberScheduled",
                "numberMisscheduled",
                "desiredNumberScheduled",
                "numberReady",
                "observedGeneration",
                "updatedNumberScheduled",
                "numberAvailable",
                "numberUnavailable",
                "collisionCount",
            ],
            path,
        ),
        _ => return,
    }
    let collisions = status.int("collisionCount");
    if let Some(was) = before.int("collisionCount")
        && collisions.is_none_or(|now| now < was)
    {
        let now = collisions.unwrap_or(0);
        report.invalid_int(path.child("collisionCount"), now, "cannot be decremented");
    }
}

/// Addresses of services and ingresses; those that were there before are not looked at again.
fn load_balancer(report: &mut Report, status: &Value, before: &Value, path: Path<'_>) {
    let points = |status: &Value| -> Vec<Value> {
        let balancer = status.part("loadBalancer").unwrap_or(&NOTHING);
        balancer.list("ingress").to_vec()
    };
    let before = points(before);
    let known: Vec<&str> = before.iter().map(|p| p.text("ip")).collect();
    let list = path.child("ingress");
    for (i, point) in points(status).iter().enumerate() {
        let at = list.index(i);
        let (ip, host) = (point.text("ip"), point.text("hostname"));
        if !ip.is_empty() {
            net::ip(report, at.child("ip"), ip, &known);
        }
        if !host.is_empty() {
            let at = at.child("hostname");
            report.problems(at, host, rules::dns1123_subdomain(host));
            if net::sloppy(host).is_some() {
                let detail = "must be a DNS name, not an IP address";
                report.invalid_str(at, host, detail);
            }
        }
    }
}

fn modes(report: &mut Report, balancer: &Value, path: Path<'_>) {
    for (i, point) in balancer.list("ingress").iter().enumerate() {
        let item = path.index(i);
        let at = item.child("ipMode");
        let has_ip = !point.text("ip").is_empty();
        match point.string("ipMode") {
            None if has_ip => report.required(at, "must be specified when `ip` is set"),
            Some(_) if !has_ip => {
                report.forbidden(at, "may not be specified when `ip` is not set");
            }
            mode => report.one_of_pointer(at, mode, &["Proxy", "VIP"]),
        }
    }
}

const RESIZE_STATUSES: [&str; 5] = [
    "ControllerResizeInProgress",
    "ControllerResizeInfeasible",
    "NodeResizeInProgress",
    "NodeResizeInfeasible",
    "NodeResizePending",
];

fn claim(report: &mut Report, claim: &Value, status: &Value, path: Path<'_>) {
    let spec = claim.part("spec").unwrap_or(&NOTHING);
    if spec.list("accessModes").is_empty() {
        report.required("Spec.accessModes", "");
    }
    let amounts = |field| status.map(field).into_iter().flat_map(crate::Map::iter);
    let at = path.child("capacity");
    for (name, amount) in amounts("capacity") {
        basic_amount(report, amount, at.key(name));
    }
    let at = path.child("allocatedResourceStatuses");
    let mut supported = RESIZE_STATUSES;
    supported.sort_unstable();
    for (name, state) in amounts("allocatedResourceStatuses") {
        claim_resource(report, name, at);
        if !supported.contains(&state.as_str().unwrap_or_default()) {
            report.not_supported(at, name, &supported);
        }
    }
    let at = path.child("allocatedResources");
    for (name, amount) in amounts("allocatedResources") {
        if claim_resource(report, name, at) && basic_amount(report, amount, at.key(name)) {
            core::resource_quantity(report, "storage", &quantity(amount), at.key(name));
        }
    }
}

fn basic_amount(report: &mut Report, amount: &Value, path: Path<'_>) -> bool {
    let value = quantity(amount).value();
    if value < 0 {
        report.invalid_int(path, value, "must be a valid resource quantity");
    }
    value >= 0
}

fn claim_resource(report: &mut Report, name: &str, path: Path<'_>) -> bool {
    let problems = rules::qualified_name(name);
    let fine = problems.is_empty();
    report.problems(path, name, problems);
    if fine && core::is_native(name) && name != "storage" {
        report.not_supported(path, name, &["storage"]);
        return false;
    }
    fine
}

fn condition_statuses(report: &mut Report, status: &Value, path: Path<'_>) {
    let path = path.child("conditions");
    for (i, condition) in status.list("conditions").iter().enumerate() {
        let item = path.index(i);
        let given = condition.string("status").or(Some(""));
        report.one_of_pointer(item.child("status"), given, &["True", "False", "Unknown"]);
    }
}

const MAX_REASON: usize = 1024;
const MAX_MESSAGE: usize = 32 * 1024;

/// Conditions of the common type: apimachinery `pkg/apis/meta/v1/validation/validation.go`.
pub(crate) fn conditions(report: &mut Report, of: &Value, path: Path<'_>) {
    let path = path.child("conditions");
    let mut seen = BTreeSet::new();
    for (i, condition) in of.list("conditions").iter().enumerate() {
        let at = path.index(i);
        let kind = condition.text("type");
        if !seen.insert(kind) {
            report.duplicate(at.child("type"), kind);
        }
        report.problems(at.child("type"), kind, rules::qualified_name(kind));
        let given = Some(condition.text("status"));
        report.one_of_pointer(at.child("status"), given, &["False", "True", "Unknown"]);
        let generation = condition.number("observedGeneration");
        if generation < 0 {
            let detail = "must be greater than or equal to zero";
            report.invalid_int(at.child("observedGeneration"), generation, detail);
        }
        if !condition.has("lastTransitionTime") {
            report.required(at.child("lastTransitionTime"), "");
        }
        let (reason, here) = (condition.text("reason"), at.child("reason"));
        if reason.is_empty() {
            report.required(here, "");
        } else {
            if !is_reason(reason) {
                let detail = rules::regex_error(
                    "a condition reason must start with alphabetic character, optionally followed by a string of \
                     alphanumeric characters or '_,:', and must end with an alphanumeric character or '_'",
                    "[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?",
                    &[
                        "my_name",
                        "MY_NAME",
                        "MyName",
                        "ReasonA,ReasonB",
                        "ReasonA:ReasonB",
                    ],
                );
                report.invalid_str(here, reason, detail);
            }
            if reason.len() > MAX_REASON {
                report.errors.push(FieldError::too_long(here, MAX_REASON));
            }
        }
        if condition.text("message").len() > MAX_MESSAGE {
            let at = at.child("message");
            report.errors.push(FieldError::too_long(at, MAX_MESSAGE));
        }
    }
}

fn is_reason(text: &str) -> bool {
    let bytes = text.as_bytes();
    let word = |b: &u8| b.is_ascii_alphanumeric() || *b == b'_';
    bytes.first().is_some_and(u8::is_ascii_alphabetic)
        && bytes.last().is_some_and(word)
        && bytes.iter().all(|b| word(b) || matches!(b, b',' | b':'))
}

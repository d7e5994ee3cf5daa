//! Kinds with a few warnings each.

use super::list::Warnings;
use super::pods::LATER;
use super::{Place, addresses, claims, labels};
use crate::field::{Path, quote};
use crate::quantity::Quantity;
use crate::validate::key_pairs;
use crate::validate::read::{NOTHING, Read as _, same};
use crate::{Map, Value, bytes64, crd, rules};
use std::collections::BTreeSet;

pub(super) fn check(group: &str, kind: &str, at: &Place<'_>, out: &mut Warnings) {
    let (object, spec) = (at.object, at.object.part("spec").unwrap_or(&NOTHING));
    match (group, kind) {
        ("", "Service") => service(object, spec, out),
        ("", "PersistentVolume") => volume(object, spec, out),
        ("", "PersistentVolumeClaim") => {
            let key = "volume.beta.kubernetes.io/storage-class";
            annotation(object, key, STORAGE_CLASS, out);
            claims::spec(spec, Path::root("spec"), out);
        }
        ("", "Node") => node(spec, out),
        ("", "Endpoints") if out.minor >= 33 => endpoints(object, out),
        ("", "ResourceQuota") if at.old.is_none() && out.minor >= 35 => quota(spec, out),
        ("", "Secret") if object.text("type") == "kubernetes.io/tls" => {
            let data = |key: &str| {
                let encoded = object.str_at(&["data", key]).unwrap_or("");
                bytes64::decode(encoded).unwrap_or_default()
            };
            if let Some(problem) = key_pairs::problem(&data("tls.crt"), &data("tls.key")) {
                out.say(problem);
            }
        }
        ("", "ServiceAccount") if out.minor >= 32 => {
            let key = "kubernetes.io/enforce-mountable-secrets";
            if at.old.is_none_or(|old| !has_annotation(old, key)) {
                annotation(
                    object,
                    key,
                    "deprecated in v1.32+; prefer separate namespaces to isolate access to mounted secrets",
                    out,
                );
            }
        }
        ("admissionregistration.k8s.io", _) => reserved_name(object, out),
        ("apiextensions.k8s.io", "CustomResourceDefinition") => formats(at, out),
        ("discovery.k8s.io", "EndpointSlice") => slice(object, at.old.is_none(), out),
        ("networking.k8s.io", "Ingress") if at.old.is_none() => {
            let key = "kubernetes.io/ingress.class";
            if has_annotation(object, key) && !spec.has("ingressClassName") {
                out.say(format_args!(
                    "annotation {key:?} is deprecated, please use 'spec.ingressClassName' instead"
                ));
            }
        }
        ("networking.k8s.io", "NetworkPolicy") if out.minor >= 33 => network_policy(spec, out),
        ("node.k8s.io", "RuntimeClass") => {
            let scheduling = object.part("scheduling").unwrap_or(&NOTHING);
            let keys = scheduling.map("nodeSelector").into_iter();
            let minor = out.minor;
            let old = |key: &_| labels::deprecated(key, minor);
            for why in keys.flat_map(Map::keys).filter_map(old) {
                out.say(format_args!("scheduling.nodeSelector: {why}"));
            }
        }
        ("resource.k8s.io", "ResourceSlice") if out.minor >= 35 => {
            let driver = spec.text("driver");
            if driver.chars().any(|c| !c.to_lowercase().eq([c])) {
                let driver = quote(driver);
                out.say(format_args!("spec.driver: driver names should be lowercase; {driver} contains uppercase characters"));
            }
        }
        ("storage.k8s.io", _) => storage(kind, at, out),
        _ => {}
    }
}

/// Through the status subresource.
pub(super) fn status(group: &str, kind: &str, object: &Value, out: &mut Warnings) {
    let status = object.part("status").unwrap_or(&NOTHING);
    let root = Path::root("status");
    match (group, kind) {
        ("", "Pod") if out.minor >= 33 => {
            for list in ["podIPs", "hostIPs"] {
                addresses::ips_of(status.list(list), root.child(list), "ip", out);
            }
        }
        ("", "Service") | ("networking.k8s.io", "Ingress") if out.minor >= 33 => {
            let balancer = status.part("loadBalancer").unwrap_or(&NOTHING);
            let at = root.child("loadBalancer");
            let at = at.child("ingress");
            for (i, ingress) in balancer.list("ingress").iter().enumerate() {
                addresses::ip(at.index(i), ingress.text("ip"), out);
            }
        }
        ("admissionregistration.k8s.io", "ValidatingAdmissionPolicy") => reserved_name(object, out),
        _ => {}
    }
}

fn has_annotation(object: &Value, key: &str) -> bool {
    object.at(&["metadata", "annotations", key]).is_some()
}

fn annotation(object: &Value, key: &str, why: &str, out: &mut Warnings) {
    if has_annotation(object, key) {
        out.say(format_args!("metadata.annotations[{key}]: {why}"));
    }
}

const STORAGE_CLASS: &str = "deprecated since v1.8; use \"storageClassName\" attribute instead";

/// `GetWarningsForService` of pkg/api/service/warnings.go.
fn service(object: &Value, spec: &Value, out: &mut Warnings) {
    let hints = "service.kubernetes.io/topology-aware-hints";
    if has_annotation(object, hints) {
        out.say(format_args!(
            "annotation {hints} is deprecated, please use service.kubernetes.io/topology-mode instead"
        ));
    }
    let root = Path::root("spec");
    let (ip, kind) = (spec.text("clusterIP"), spec.text("type"));
    if !matches!(ip, "" | "None") {
        let at = root.child("clusterIPs");
        for (i, ip) in spec.texts("clusterIPs").enumerate() {
            addresses::ip(at.index(i), ip, out);
        }
    }
    let headless = kind == "ClusterIP" && ip == "None";
    let has_external = !spec.list("externalIPs").is_empty();
    let balancer = spec.text("loadBalancerIP");
    if headless && out.minor >= 34 {
        if !balancer.is_empty() {
            out.say("spec.loadBalancerIP is ignored for headless services");
        }
        if has_external {
            out.say("spec.externalIPs is ignored for headless services");
        }
        if spec.text("sessionAffinity") != "None" {
            out.say("spec.SessionAffinity is ignored for headless services");
        }
    }
    let at = root.child("externalIPs");
    for (i, ip) in spec.texts("externalIPs").enumerate() {
        addresses::ip(at.index(i), ip, out);
    }
    let by_name = kind == "ExternalName";
    if has_external && !headless && !by_name && out.minor >= 36 {
        out.say("spec.externalIPs is deprecated and may no longer be implemented in some clusters");
    }
    addresses::ip(root.child("loadBalancerIP"), balancer, out);
    let at = root.child("loadBalancerSourceRanges");
    for (i, range) in spec.texts("loadBalancerSourceRanges").enumerate() {
        addresses::cidr(at.index(i), range, out);
    }
    if by_name && has_external {
        out.say("spec.externalIPs is ignored when spec.type is \"ExternalName\"");
    }
    if !by_name && !spec.text("externalName").is_empty() {
        out.say("spec.externalName is ignored when spec.type is not \"ExternalName\"");
    }
    if spec.text("trafficDistribution") == "PreferClose" && out.minor >= 35 {
        out.say("spec.trafficDistribution: \"PreferClose\" is deprecated; use \"PreferSameZone\"");
    }
}

/// `pkg/api/persistentvolume/util.go`
fn volume(object: &Value, spec: &Value, out: &mut Warnings) {
    let key = "volume.beta.kubernetes.io/storage-class";
    annotation(object, key, STORAGE_CLASS, out);
    if out.minor >= 31 {
        let key = "volume.beta.kubernetes.io/mount-options";
        let why = "deprecated since v1.31; use \"mountOptions\" attribute instead";
        annotation(object, key, why, out);
    }
    if spec.text("persistentVolumeReclaimPolicy") == "Recycle" && out.minor >= 30 {
        out.say("spec.persistentVolumeReclaimPolicy: The Recycle reclaim policy is deprecated. Instead, the recommended approach is to use dynamic provisioning.");
    }
    let affinity = spec.part("nodeAffinity").and_then(|a| a.part("required"));
    if let Some(required) = affinity {
        let at = Path::root("spec.nodeAffinity.required.nodeSelectorTerms");
        for (i, term) in required.list("nodeSelectorTerms").iter().enumerate() {
            labels::term(term, false, at.index(i), out);
        }
    }
    for (field, name, why) in [
        ("cephfs", "cephfs", LATER),
        (
            "photonPersistentDisk",
            "photonPersistentDisk",
            "deprecated in v1.11, non-functional in v1.16+",
        ),
        (
            "scaleIO",
            "scaleIO",
            "deprecated in v1.16, non-functional in v1.22+",
        ),
        (
            "storageos",
            "storageOS",
            "deprecated in v1.22, non-functional in v1.25+",
        ),
        (
            "glusterfs",
            "glusterfs",
            "deprecated in v1.25, non-functional in v1.26+",
        ),
        ("rbd", "rbd", LATER),
    ] {
        if spec.has(field) {
            out.say(format_args!("spec.{name}: {why}"));
        }
    }
}

fn node(spec: &Value, out: &mut Warnings) {
    if spec.has("configSource") {
        out.say("spec.configSource: the feature is removed");
    }
    if !spec.text("externalID").is_empty() {
        out.say("spec.externalID: this field is deprecated, and is unused by Kubernetes");
    }
    if out.minor < 33 {
        return;
    }
    let at = Path::root("spec.podCIDRs");
    for (i, range) in spec.texts("podCIDRs").enumerate() {
        addresses::cidr(at.index(i), range, out);
    }
}

/// Who writes the addresses, from whom they are in order.
fn is_managed_by(object: &Value, label: &str, names: &[&str]) -> bool {
    let by = object.str_at(&["metadata", "labels", label]);
    by.is_some_and(|by| names.contains(&by))
}

fn endpoints(object: &Value, out: &mut Warnings) {
    let label = "endpoints.kubernetes.io/managed-by";
    if is_managed_by(object, label, &["endpoint-controller"]) {
        return;
    }
    let root = Path::root("subsets");
    for (i, subset) in object.list("subsets").iter().enumerate() {
        let at = root.index(i);
        for list in ["addresses", "notReadyAddresses"] {
            addresses::ips_of(subset.list(list), at.child(list), "ip", out);
        }
    }
}

fn slice(object: &Value, is_new: bool, out: &mut Warnings) {
    if is_new && object.text("addressType") == "FQDN" {
        out.say("spec.addressType: FQDN endpoints are deprecated");
    }
    if out.minor < 33 {
        return;
    }
    let label = "endpointslice.kubernetes.io/managed-by";
    let controllers = [
        "endpointslice-controller.k8s.io",
        "endpointslicemirroring-controller.k8s.io",
    ];
    if is_managed_by(object, label, &controllers) {
        return;
    }
    let root = Path::root("endpoints");
    for (i, endpoint) in object.list("endpoints").iter().enumerate() {
        let at = root.index(i);
        let at = at.child("addresses");
        for (i, ip) in endpoint.texts("addresses").enumerate() {
            addresses::ip(at.index(i), ip, out);
        }
    }
}

fn quota(spec: &Value, out: &mut Warnings) {
    let Some(hard) = spec.part("hard") else {
        return;
    };
    let amount = |name: &str| Quantity::parse(hard.string(name)?).ok();
    for resource in ["cpu", "memory", "storage", "ephemeral-storage"] {
        let (mut of_request, of_limit) =
            (format!("requests.{resource}"), format!("limits.{resource}"));
        let mut request = amount(&of_request);
        if request.is_none() && matches!(resource, "cpu" | "memory") {
            request = amount(resource);
            of_request = resource.into();
        }
        if let (Some(request), Some(limit)) = (request, amount(&of_limit))
            && request > limit
        {
            out.say(format_args!(
                "ResourceQuota {of_request} ({request}) should be less than {of_limit} ({limit})"
            ));
        }
    }
}

fn reserved_name(object: &Value, out: &mut Warnings) {
    let name = object.str_at(&["metadata", "name"]).unwrap_or("");
    if name.ends_with(".static.k8s.io") && out.minor >= 36 {
        out.say("metadata.name: names ending with \".static.k8s.io\" are reserved for static manifest-based configurations and cannot be managed via the API");
    }
}

fn formats(at: &Place<'_>, out: &mut Warnings) {
    let minor = out.minor;
    let of = |definition| crd::unrecognized_formats(definition, minor);
    let now = of(at.object);
    if now.is_empty() {
        return;
    }
    let before = at.old.map(of).unwrap_or_default();
    for format in now.into_iter().filter(|f| !before.contains(f)) {
        out.say(format_args!("unrecognized format {}", quote(format)));
    }
}

fn network_policy(spec: &Value, out: &mut Warnings) {
    let root = Path::root("spec");
    for (direction, peers) in [("ingress", "from"), ("egress", "to")] {
        let rules_at = root.child(direction);
        for (i, rule) in spec.list(direction).iter().enumerate() {
            let rule_at = rules_at.index(i);
            let peers_at = rule_at.child(peers);
            for (i, peer) in rule.list(peers).iter().enumerate() {
                let Some(block) = peer.part("ipBlock") else {
                    continue;
                };
                let at = peers_at.index(i);
                let at = at.child("ipBlock");
                addresses::cidr(at.child("cidr"), block.text("cidr"), out);
                let except_at = at.child("except");
                for (i, range) in block.texts("except").enumerate() {
                    addresses::cidr(except_at.index(i), range, out);
                }
            }
        }
    }
}

/// `pkg/api/storage/util.go` and the strategy of drivers
fn storage(kind: &str, at: &Place<'_>, out: &mut Warnings) {
    match kind {
        "StorageClass" => {
            let root = Path::root("allowedTopologies");
            for (i, topology) in at.object.list("allowedTopologies").iter().enumerate() {
                let topology_at = root.index(i);
                let list_at = topology_at.child("matchLabelExpressions");
                let list = topology.list("matchLabelExpressions").iter();
                for (i, expression) in list.enumerate() {
                    if let Some(why) = labels::deprecated(expression.text("key"), out.minor) {
                        let at = list_at.index(i);
                        out.at(at.child("key"), why);
                    }
                }
            }
        }
        "CSIStorageCapacity" => {
            if let Some(selector) = at.object.part("nodeTopology") {
                labels::selector(selector, Path::root("nodeTopology"), out);
            }
        }
        "CSIDriver" if out.minor >= 35 => {
            let spec = at.object.part("spec").unwrap_or(&NOTHING);
            let tokens = |object: &Value| object.at(&["spec", "tokenRequests"]).cloned();
            let asked = !spec.list("tokenRequests").is_empty();
            if asked
                && !spec.has("serviceAccountTokenInSecrets")
                && at.old.is_none_or(|old| {
                    let (now, before) = (tokens(at.object), tokens(old));
                    !same(&now.unwrap_or(Value::Null), &before.unwrap_or(Value::Null))
                })
            {
                out.say("spec.serviceAccountTokenInSecrets is unset; if supported by this CSI driver, set to true to prevent possible logging of tokens in volume attributes");
            }
        }
        _ => {}
    }
}

/// Finalizers of custom objects (apiextensions-apiserver `pkg/registry/customresource/validator.go`, since 1.29).
pub(super) fn finalizers(at: &Place<'_>, out: &mut Warnings) {
    if out.minor < 29 {
        return;
    }
    let of = |object: &'_ Value| object.at(&["metadata", "finalizers"]).cloned();
    let Some(now) = of(at.object) else { return };
    let before = at.old.and_then(of).unwrap_or(Value::Null);
    let texts = |list: &'_ Value| -> BTreeSet<String> {
        let items = list.as_array().unwrap_or_default().iter();
        items.filter_map(|v| v.as_str().map(Into::into)).collect()
    };
    let (now, before) = (texts(&now), texts(&before));
    for name in now.difference(&before) {
        let shown = quote(name);
        for problem in rules::qualified_name(name) {
            out.say(format_args!("metadata.finalizers: {shown}: {problem}"));
        }
        if name.contains('/') || matches!(&**name, "orphan" | "foregroundDeletion" | "kubernetes") {
            continue;
        }
        let path = if name.contains('.') && out.minor >= 32 {
            " including a path (/)"
        } else {
            ""
        };
        out.say(format_args!("metadata.finalizers: {shown}: prefer a domain-qualified finalizer name{path} to avoid accidental conflicts with other finalizer writers"));
    }
}

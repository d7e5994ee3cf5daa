//! What a server warns of without refusing it: the `WarningsOnCreate` and `WarningsOnUpdate` of
//! pkg/registry/*/*/strategy.go, and versions of kinds that are deprecated.

use crate::catalogue::Resource;
use crate::field::{Path, quote};
use crate::quantity::Quantity;
use crate::validate::read::{NOTHING, Read as _};
use crate::{Value, crd, rules};
use std::collections::BTreeSet;

/// Group, version, kind; since when it is deprecated, in which minor version it is gone, and what to use
/// (`APILifecycleDeprecated` in k8s.io/api, versions served from 1.28 on).
const DEPRECATED: &[(&str, &str, &str, u32, u32, &str)] = &[
    ("", "v1", "ComponentStatus", 19, 0, ""),
    (
        "",
        "v1",
        "Endpoints",
        33,
        0,
        "discovery.k8s.io/v1 EndpointSlice",
    ),
    (
        FLOW,
        "v1beta2",
        "FlowSchema",
        26,
        29,
        "flowcontrol.apiserver.k8s.io/v1beta3 FlowSchema",
    ),
    (
        FLOW,
        "v1beta2",
        "PriorityLevelConfiguration",
        26,
        29,
        "flowcontrol.apiserver.k8s.io/v1beta3 PriorityLevelConfiguration",
    ),
    (
        FLOW,
        "v1beta3",
        "FlowSchema",
        29,
        32,
        "flowcontrol.apiserver.k8s.io/v1 FlowSchema",
    ),
    (
        FLOW,
        "v1beta3",
        "PriorityLevelConfiguration",
        29,
        32,
        "flowcontrol.apiserver.k8s.io/v1 PriorityLevelConfiguration",
    ),
];

const FLOW: &str = "flowcontrol.apiserver.k8s.io";

/// The warning that every request about this version of a kind gets on a server of that minor version.
#[must_use]
pub fn deprecated(resource: &Resource, minor: u32) -> Option<String> {
    if let Some(custom) = &resource.custom {
        return custom.deprecation.as_ref().map(|text| text.to_string());
    }
    let (_, _, _, since, gone, instead) = DEPRECATED.iter().find(|(g, v, k, since, ..)| {
        resource.group == *g && resource.version == *v && resource.kind == *k && minor >= *since
    })?;
    let mut text = format!(
        "{} {} is deprecated in v1.{since}+",
        resource.api_version(),
        resource.kind
    );
    if *gone > 0 {
        text.push_str(&format!(", unavailable in v1.{gone}+"));
    }
    if !instead.is_empty() {
        text.push_str(&format!("; use {instead}"));
    }
    Some(text)
}

/// Warnings about an object that is created, or changed from `old`.
#[must_use]
pub fn of_object(resource: &Resource, object: &Value, old: Option<&Value>) -> Vec<String> {
    let mut out = Vec::new();
    let spec = object.part("spec").unwrap_or(&NOTHING);
    let root = Path::root("spec");
    match (resource.group.as_str(), resource.kind.as_str()) {
        ("", "Pod") if old.is_none() => {
            host_name(object, "the Pod's hostname", &mut out);
            pod(object, None, &mut out);
        }
        ("", "ReplicationController") | ("apps", _) | ("batch", "Job") => {
            if old.is_none()
                && matches!(resource.kind.as_str(), "Deployment" | "Job" | "ReplicaSet")
            {
                host_name(object, "Pod names and hostnames", &mut out);
            }
            template(
                object,
                old,
                &["spec", "template"],
                root.child("template"),
                &mut out,
            );
            if resource.kind == "StatefulSet" && spec.number("revisionHistoryLimit") < 0 {
                out.push("spec.revisionHistoryLimit: a negative value retains all historical revisions; a value >= 0 is recommended".into());
            }
        }
        ("batch", "CronJob") => {
            let at = root.child("jobTemplate");
            let at = at.child("spec");
            let path = ["spec", "jobTemplate", "spec", "template"];
            template(object, old, &path, at.child("template"), &mut out);
        }
        ("", "PodTemplate") => {
            template(object, old, &["template"], Path::root("template"), &mut out)
        }
        ("", "Service") => service(spec, &mut out),
        ("apiextensions.k8s.io", "CustomResourceDefinition") => {
            let of = |crd| crd::unrecognized_formats(crd, resource.types.minor());
            let before = old.map(of).unwrap_or_default();
            let new = of(object).into_iter().filter(|f| !before.contains(f));
            out.extend(new.map(|format| format!("unrecognized format {}", quote(format))));
        }
        ("discovery.k8s.io", "EndpointSlice")
            if old.is_none() && object.text("addressType") == "FQDN" =>
        {
            out.push("spec.addressType: FQDN endpoints are deprecated".into());
        }
        ("networking.k8s.io", "Ingress") if old.is_none() => {
            let key = "kubernetes.io/ingress.class";
            if object.at(&["metadata", "annotations", key]).is_some() {
                out.push(format!(
                    "annotation {key:?} is deprecated, please use 'spec.ingressClassName' instead"
                ));
            }
        }
        ("", "Secret") if object.text("type") == "kubernetes.io/tls" => tls(object, &mut out),
        _ => {}
    }
    out
}

fn host_name(object: &Value, use_of_it: &str, out: &mut Vec<String>) {
    let name = object.str_at(&["metadata", "name"]).unwrap_or("");
    let problems = rules::dns1123_label(name);
    if !name.is_empty() && !problems.is_empty() {
        out.push(format!(
            "metadata.name: this is used in {use_of_it}, which can result in surprising behavior; a DNS label is recommended: [{}]",
            problems.join(" ")
        ));
    }
}

/// An unchanged template says nothing new.
fn template(
    object: &Value,
    old: Option<&Value>,
    path: &[&str],
    at: Path<'_>,
    out: &mut Vec<String>,
) {
    let Some(now) = object.at(path) else { return };
    if old.is_some_and(|old| old.at(path) == Some(now)) {
        return;
    }
    pod(now, Some(&at.to_string()), out);
}

/// Volumes of plugins that are gone or going.
const VOLUMES: &[(&str, &str)] = &[
    (
        "photonPersistentDisk",
        "deprecated in v1.11, non-functional in v1.16+",
    ),
    (
        "gitRepo",
        "deprecated in v1.11, and disabled by default in v1.33+",
    ),
    ("scaleIO", "deprecated in v1.16, non-functional in v1.22+"),
    ("flocker", "deprecated in v1.22, non-functional in v1.25+"),
    ("storageos", "deprecated in v1.22, non-functional in v1.25+"),
    ("quobyte", "deprecated in v1.22, non-functional in v1.25+"),
    ("glusterfs", "deprecated in v1.25, non-functional in v1.26+"),
    ("cephfs", "deprecated in v1.28, non-functional in v1.31+"),
    ("rbd", "deprecated in v1.28, non-functional in v1.31+"),
];

/// `warningsForPodSpecAndMeta` of pkg/api/pod/warnings.go.
fn pod(pod: &Value, template: Option<&str>, out: &mut Vec<String>) {
    let spec = pod.part("spec").unwrap_or(&NOTHING);
    let at = template.map_or_else(|| "spec".to_owned(), |t| format!("{t}.spec"));
    for (i, constraint) in spec.list("topologySpreadConstraints").iter().enumerate() {
        if constraint.part("labelSelector").is_none() {
            out.push(format!("{at}.topologySpreadConstraints[{i}].labelSelector: a null labelSelector results in matching no pod"));
        }
    }
    for (i, volume) in spec.list("volumes").iter().enumerate() {
        for (plugin, why) in VOLUMES {
            if volume.part(plugin).is_some() {
                let name = if *plugin == "storageos" {
                    "storageOS"
                } else {
                    plugin
                };
                out.push(format!("{at}.volumes[{i}].{name}: {why}"));
            }
        }
    }
    twice(spec, "hostAliases", "ip", &at, out);
    twice(spec, "imagePullSecrets", "name", &at, out);
    for (i, secret) in spec.list("imagePullSecrets").iter().enumerate() {
        if secret.text("name").is_empty() {
            out.push(format!(
                "{at}.imagePullSecrets[{i}].name: invalid empty name \"\""
            ));
        }
    }
    for list in ["initContainers", "containers", "ephemeralContainers"] {
        for (i, container) in spec.list(list).iter().enumerate() {
            fractions(container, &format!("{at}.{list}[{i}]"), out);
        }
    }
}

fn twice(spec: &Value, list: &str, key: &str, at: &str, out: &mut Vec<String>) {
    let mut seen = BTreeSet::new();
    for (i, item) in spec.list(list).iter().enumerate() {
        let value = item.text(key);
        if !seen.insert(value) {
            out.push(format!("{at}.{list}[{i}].{key}: duplicate {key} {value:?}"));
        }
    }
}

fn fractions(container: &Value, at: &str, out: &mut Vec<String>) {
    for amount in ["memory", "ephemeral-storage"] {
        for kind in ["limits", "requests"] {
            let Some(text) = container.str_at(&["resources", kind, amount]) else {
                continue;
            };
            // Whole bytes are written without a suffix for thousandths.
            if Quantity::parse(text).is_ok_and(|q| q.to_string().ends_with('m')) {
                out.push(format!("{at}.resources.{kind}[{amount}]: fractional byte value {text:?} is invalid, must be an integer"));
            }
        }
    }
}

/// `GetWarningsForService` of pkg/api/service/warnings.go.
fn service(spec: &Value, out: &mut Vec<String>) {
    if spec.text("clusterIP") == "None" {
        if !spec.text("loadBalancerIP").is_empty() {
            out.push("spec.loadBalancerIP is ignored for headless services".into());
        }
        if !spec.list("externalIPs").is_empty() {
            out.push("spec.externalIPs is ignored for headless services".into());
        }
        if !matches!(spec.text("sessionAffinity"), "" | "None") {
            out.push("spec.SessionAffinity is ignored for headless services".into());
        }
    }
    let external = spec.text("type") == "ExternalName";
    if external && !spec.list("externalIPs").is_empty() {
        out.push("spec.externalIPs is ignored when spec.type is \"ExternalName\"".into());
    }
    if !external && !spec.text("externalName").is_empty() {
        out.push("spec.externalName is ignored when spec.type is not \"ExternalName\"".into());
    }
    if spec.text("trafficDistribution") == "PreferClose" {
        out.push(
            "spec.trafficDistribution: \"PreferClose\" is deprecated; use \"PreferSameZone\""
                .into(),
        );
    }
}

/// The first thing that Go's TLS would find: that there is no certificate at all.
fn tls(secret: &Value, out: &mut Vec<String>) {
    let text = |key: &str| {
        let encoded = secret.str_at(&["data", key]).unwrap_or("");
        let bytes = crate::bytes64::decode(encoded).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    };
    for (key, what) in [("tls.crt", "certificate"), ("tls.key", "key")] {
        if !text(key).contains("-----BEGIN ") {
            out.push(format!("tls: failed to find any PEM data in {what} input"));
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalogue::{Catalogue, DEFAULT_MINOR};
    use crate::value;

    #[test]
    fn a_template_warns_when_it_changes_and_not_again() {
        let catalogue = Catalogue::builtin(DEFAULT_MINOR).expect("built in");
        let deployments = catalogue
            .lookup("apps", "v1", "deployments")
            .expect("served");
        let object = value!({"metadata": {"name": "a"}, "spec": {"template": {"spec": {
            "imagePullSecrets": [{"name": "x"}, {"name": "x"}],
            "containers": [{"resources": {"limits": {"memory": "100m"}}}]
        }}}});
        let warnings = of_object(deployments, &object, None);
        assert_eq!(
            warnings,
            [
                "spec.template.spec.imagePullSecrets[1].name: duplicate name \"x\"",
                "spec.template.spec.containers[0].resources.limits[memory]: fractional byte value \"100m\" is invalid, must be an integer"
            ]
        );
        assert!(of_object(deployments, &object, Some(&object)).is_empty());
    }

    #[test]
    fn a_version_is_deprecated_from_some_server_on() {
        let catalogue = Catalogue::builtin(DEFAULT_MINOR).expect("built in");
        let endpoints = catalogue.lookup("", "v1", "endpoints").expect("served");
        assert_eq!(deprecated(endpoints, 32), None);
        assert_eq!(
            deprecated(endpoints, 33).expect("a warning"),
            "v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice"
        );
    }
}

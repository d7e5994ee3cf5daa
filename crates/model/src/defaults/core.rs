//! The core group except pods: kubernetes `pkg/apis/core/v1/defaults.go`.

use super::{Rule, default, default_zero, each, is_absent, is_empty, is_zero_scalar, object, text};
use crate::{Map, Value, value};

pub(super) const RULES: &[(&str, Rule)] = &[
    ("ConfigMap", |c| {
        // An empty map is not nil, but is not written either.
        default(c, "data", Value::object());
    }),
    ("Secret", |s| {
        default_zero(s, "type", "Opaque");
        string_data(s);
    }),
    ("Service", service),
    ("Namespace", namespace),
    ("NamespaceStatus", |s| default_zero(s, "phase", "Active")),
    ("NodeSpec", |s| {
        super::pods::one_and_many(s, "podCIDR", "podCIDRs", None)
    }),
    ("NodeStatus", |s| {
        if let Some(capacity) = s.get("capacity").filter(|c| !c.is_null()).cloned() {
            default(s, "allocatable", capacity);
        }
    }),
    ("PersistentVolume", persistent_volume),
    ("PersistentVolumeClaim", |c| {
        if let Some(status) = object(c, "status") {
            default_zero(status, "phase", "Pending");
        }
    }),
    ("PersistentVolumeClaimSpec", |s| {
        default(s, "volumeMode", "Filesystem")
    }),
    ("EndpointPort", |p| default_zero(p, "protocol", "TCP")),
    ("ReplicationController", replication_controller),
    ("LimitRangeItem", limit_range_item),
];

/// `stringData` is written into `data` by the conversion (`pkg/apis/core/v1/conversion.go`).
fn string_data(s: &mut Map) {
    let Some(Value::Object(plain)) = s.remove("stringData") else {
        return;
    };
    if plain.is_empty() {
        return;
    }
    let Some(data) = object(s, "data") else {
        return;
    };
    for (key, text) in plain.iter() {
        data.insert(key, base64(text.as_str().unwrap_or_default().as_bytes()));
    }
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let word = chunk
            .iter()
            .enumerate()
            .fold(0u32, |w, (i, b)| w | u32::from(*b) << (16 - 8 * i));
        for i in 0..4 {
            let digit = DIGITS[(word >> (18 - 6 * i)) as usize & 63];
            out.push(if i <= chunk.len() {
                char::from(digit)
            } else {
                '='
            });
        }
    }
    out
}

fn service(s: &mut Map) {
    let Some(spec) = object(s, "spec") else {
        return;
    };
    affinity(spec);
    default_zero(spec, "type", "ClusterIP");
    for port in each(spec, "ports") {
        default_zero(port, "protocol", "TCP");
        if port.get("targetPort").is_none_or(is_zero_scalar) {
            let number = port.get("port").cloned().unwrap_or_else(|| 0.into());
            port.insert("targetPort", number);
        }
    }
    let kind = text(spec, "type").to_owned();
    let (balanced, node_port) = (kind == "LoadBalancer", kind == "NodePort");
    if balanced || node_port || kind == "ClusterIP" && !is_empty(spec, "externalIPs") {
        default_zero(spec, "externalTrafficPolicy", "Cluster");
    }
    if balanced || node_port || kind == "ClusterIP" {
        default(spec, "internalTrafficPolicy", "Cluster");
    }
    if balanced {
        default(spec, "allocateLoadBalancerNodePorts", true);
        let status = object(s, "status").and_then(|s| object(s, "loadBalancer"));
        for ingress in status.into_iter().flat_map(|b| each(b, "ingress")) {
            if !text(ingress, "ip").is_empty() {
                default(ingress, "ipMode", "VIP");
            }
        }
    }
}

fn affinity(spec: &mut Map) {
    default_zero(spec, "sessionAffinity", "None");
    match text(spec, "sessionAffinity") {
        "None" => _ = spec.remove("sessionAffinityConfig"),
        "ClientIP" => {
            let timeout = spec
                .get("sessionAffinityConfig")
                .and_then(|c| c.at(&["clientIP", "timeoutSeconds"]));
            if timeout.is_none_or(Value::is_null) {
                spec.insert(
                    "sessionAffinityConfig",
                    value!({"clientIP": {"timeoutSeconds": 10800}}),
                );
            }
        }
        _ => {}
    }
}

fn namespace(n: &mut Map) {
    let Some(metadata) = object(n, "metadata") else {
        return;
    };
    let name = text(metadata, "name").to_owned();
    if !name.is_empty()
        && let Some(labels) = object(metadata, "labels")
    {
        labels.insert("kubernetes.io/metadata.name", name);
    }
}

fn persistent_volume(v: &mut Map) {
    if let Some(status) = object(v, "status") {
        default_zero(status, "phase", "Pending");
    }
    if let Some(spec) = object(v, "spec") {
        default_zero(spec, "persistentVolumeReclaimPolicy", "Retain");
        default(spec, "volumeMode", "Filesystem");
    }
}

fn replication_controller(r: &mut Map) {
    let labels = r
        .get("spec")
        .and_then(|s| s.at(&["template", "metadata", "labels"]))
        .cloned();
    let Some(labels) = labels.filter(|l| !l.is_null()) else {
        return;
    };
    if let Some(spec) = object(r, "spec").filter(|s| is_empty(s, "selector")) {
        spec.insert("selector", labels.clone());
    }
    if let Some(metadata) = object(r, "metadata").filter(|m| is_empty(m, "labels")) {
        metadata.insert("labels", labels);
    }
}

/// Limits from the maximum, requests from limits, then from the minimum.
fn limit_range_item(item: &mut Map) {
    if text(item, "type") != "Container" {
        return;
    }
    for (from, to) in [
        ("max", "default"),
        ("default", "defaultRequest"),
        ("min", "defaultRequest"),
    ] {
        let Some(Value::Object(source)) = item.get(from).cloned() else {
            continue;
        };
        let Some(target) = object(item, to) else {
            continue;
        };
        for (name, quantity) in source.iter().filter(|(_, q)| !q.is_null()) {
            default(target, name, quantity.clone());
        }
    }
    let empty = ["default", "defaultRequest"]
        .into_iter()
        .filter(|k| is_absent(item, k));
    for key in empty.collect::<Vec<_>>() {
        item.insert(key, Value::object());
    }
}

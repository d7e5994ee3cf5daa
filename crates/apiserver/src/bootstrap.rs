//! The objects every control plane starts with. What is there already, changed or not, stays.

use crate::cache::{object, store_error};
use crate::control_plane::ControlPlane;
use crate::{clock, write};
use freehold_model::{ApiError, Value, value};
use freehold_store::{Compare, Op, Txn};
use std::net::IpAddr;

/// Operations in one transaction, as etcd bounds them.
const BATCH: usize = 100;

/// Writes the missing ones.
pub(crate) async fn write(cp: &ControlPlane) -> Result<(), ApiError> {
    let now = clock::rfc3339(clock::now());
    let served = cp.registry.now();
    let mut missing = Vec::new();
    for mut object in objects(cp) {
        let api_version = object.str_at(&["apiVersion"]).unwrap_or("v1").to_owned();
        let (group, version) = api_version.split_once('/').unwrap_or(("", &api_version));
        let kind = object.str_at(&["kind"]).unwrap_or("").to_owned();
        let Some(resource) = served.catalogue.by_kind(group, version, &kind) else {
            continue;
        };
        let text = |path: &[&str]| object.str_at(path).unwrap_or("").to_owned();
        let (namespace, name) = (
            text(&["metadata", "namespace"]),
            text(&["metadata", "name"]),
        );
        if cp
            .cache
            .view(group, &resource.plural)
            .get(&namespace, &name)
            .is_some()
        {
            continue;
        }
        object.set(&["metadata", "uid"], uuid::Uuid::new_v4().to_string());
        object.set(&["metadata", "creationTimestamp"], now.as_str());
        freehold_model::defaults::apply(resource, &mut object);
        missing.push((
            object::key(group, &resource.plural, &namespace, &name),
            write::stored_bytes(resource, object),
        ));
    }
    for batch in missing.chunks(BATCH) {
        let compares = batch
            .iter()
            .map(|(key, _)| Compare::ModRev(key.clone(), 0))
            .collect();
        let then = batch
            .iter()
            .map(|(key, value)| Op::Put {
                key: key.clone(),
                value: value.clone(),
                lease: 0,
            })
            .collect();
        let reply = cp
            .config
            .store
            .txn(Txn {
                compares,
                then,
                otherwise: Vec::new(),
                without_prev: true,
            })
            .await
            .map_err(|e| store_error(&e))?;
        if !reply.succeeded {
            return Err(ApiError::internal(
                "somebody else starts this control plane at the same time",
            ));
        }
    }
    cp.cache.fresh().await.map(|_| ())
}

fn objects(cp: &ControlPlane) -> Vec<Value> {
    let mut all: Vec<Value> = ["default", "kube-system", "kube-public", "kube-node-lease"]
        .map(namespace)
        .to_vec();
    all.extend(freehold_policy::bootstrap::objects());
    all.extend([
        priority_class("system-cluster-critical", 2_000_000_000, "Used for system critical pods that must run in the cluster, but can be moved to another node if necessary."),
        priority_class("system-node-critical", 2_000_001_000, "Used for system critical pods that must not be moved from their current node."),
    ]);
    all.extend(kubernetes_service(cp));
    all
}

fn namespace(name: &str) -> Value {
    value!({
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {"name": name, "labels": {"kubernetes.io/metadata.name": name}},
        "spec": {"finalizers": ["kubernetes"]},
        "status": {"phase": "Active"}
    })
}

fn priority_class(name: &str, level: i64, description: &str) -> Value {
    value!({
        "apiVersion": "scheduling.k8s.io/v1",
        "kind": "PriorityClass",
        "metadata": {"name": name, "generation": 1},
        "description": description,
        "preemptionPolicy": "PreemptLowerPriority",
        "value": level
    })
}

/// The Service `kubernetes` and where it leads.
fn kubernetes_service(cp: &ControlPlane) -> Vec<Value> {
    let Some(ip) = first_address(&cp.config.service_cidr) else {
        return Vec::new();
    };
    let labels = value!({"component": "apiserver", "provider": "kubernetes"});
    let mut all = vec![value!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "kubernetes", "namespace": "default", "labels": labels},
        "spec": {
            "clusterIP": (ip.as_str()),
            "clusterIPs": [(ip.as_str())],
            "internalTrafficPolicy": "Cluster",
            "ipFamilies": ["IPv4"],
            "ipFamilyPolicy": "SingleStack",
            "ports": [{"name": "https", "port": 443, "protocol": "TCP", "targetPort": (port(cp))}],
            "sessionAffinity": "None",
            "type": "ClusterIP"
        },
        "status": {"loadBalancer": {}}
    })];
    let host = host(cp).to_owned();
    if host
        .parse::<IpAddr>()
        .is_ok_and(|ip| !ip.is_loopback() && !ip.is_unspecified())
    {
        all.push(value!({
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {
                "name": "kubernetes", "namespace": "default", "generation": 1,
                "labels": {"kubernetes.io/service-name": "kubernetes"}
            },
            "addressType": "IPv4",
            "endpoints": [{"addresses": [host], "conditions": {"ready": true}}],
            "ports": [{"name": "https", "port": (port(cp)), "protocol": "TCP"}]
        }));
    }
    all
}

fn authority(cp: &ControlPlane) -> &str {
    let rest = cp.config.external_address.trim_start_matches("https://");
    rest.split('/').next().unwrap_or(rest)
}

fn host(cp: &ControlPlane) -> &str {
    authority(cp)
        .rsplit_once(':')
        .map_or(authority(cp), |(host, _)| host)
}

fn port(cp: &ControlPlane) -> i64 {
    authority(cp)
        .rsplit_once(':')
        .and_then(|(_, p)| p.parse().ok())
        .unwrap_or(443)
}

fn first_address(cidr: &str) -> Option<String> {
    let base: std::net::Ipv4Addr = cidr.split('/').next()?.parse().ok()?;
    Some(std::net::Ipv4Addr::from(u32::from(base) + 1).to_string())
}

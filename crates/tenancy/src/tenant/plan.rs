//! What a tenant's objects on the host are, computed from the Tenant; no effects.

use crate::HostFeatures;
use freehold_api::condition::{reasons, types};
use freehold_api::{Condition, Owner, OwnerKind, QuotaScope, Tenant, TenantName, names};
use k8s_openapi::api::core::v1::{
    LimitRange, LimitRangeSpec, Namespace, ResourceQuota, ResourceQuotaSpec,
};
use k8s_openapi::api::networking::v1::{NetworkPolicy, NetworkPolicySpec};
use k8s_openapi::api::rbac::v1::{
    ClusterRole, ClusterRoleBinding, PolicyRule, RoleBinding, RoleRef, Subject,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::ResourceExt;
use std::collections::BTreeMap;

/// Prefix of the names of everything made in a tenant's namespaces.
const PREFIX: &str = "freehold-";
const RBAC: &str = "rbac.authorization.k8s.io";

/// Everything wanted in one namespace of a tenant.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Contents {
    pub role_bindings: Vec<RoleBinding>,
    pub quotas: Vec<ResourceQuota>,
    pub limit_ranges: Vec<LimitRange>,
    pub network_policies: Vec<NetworkPolicy>,
}

fn labels(tenant: &TenantName) -> BTreeMap<String, String> {
    BTreeMap::from([
        (
            names::LABEL_MANAGED_BY.to_owned(),
            names::MANAGED_BY.to_owned(),
        ),
        (names::LABEL_TENANT.to_owned(), tenant.to_string()),
    ])
}

fn meta(tenant: &TenantName, namespace: &str, name: String) -> ObjectMeta {
    ObjectMeta {
        name: Some(name),
        namespace: Some(namespace.to_owned()),
        labels: Some(labels(tenant)),
        ..ObjectMeta::default()
    }
}

/// The tenant's own namespace.
pub(crate) fn namespace(tenant: &TenantName) -> Namespace {
    Namespace {
        metadata: ObjectMeta {
            name: Some(tenant.namespace()),
            labels: Some(labels(tenant)),
            ..ObjectMeta::default()
        },
        ..Namespace::default()
    }
}

/// An owner as a subject of role bindings; an ill-formed service account is left out.
pub(crate) fn subject(owner: &Owner) -> Option<Subject> {
    let plain = |kind: &str| Subject {
        kind: kind.to_owned(),
        name: owner.name.clone(),
        api_group: Some(RBAC.to_owned()),
        namespace: None,
    };
    match owner.kind {
        OwnerKind::User => Some(plain("User")),
        OwnerKind::Group => Some(plain("Group")),
        OwnerKind::ServiceAccount => {
            let rest = owner.name.strip_prefix("system:serviceaccount:")?;
            let (namespace, name) = rest.split_once(':')?;
            Some(Subject {
                kind: "ServiceAccount".to_owned(),
                name: name.to_owned(),
                namespace: Some(namespace.to_owned()),
                api_group: None,
            })
        }
    }
}

fn role_binding(
    tenant: &TenantName,
    namespace: &str,
    name: &str,
    role: &str,
    subjects: &[Subject],
) -> RoleBinding {
    RoleBinding {
        metadata: meta(tenant, namespace, name.to_owned()),
        role_ref: RoleRef {
            api_group: Some(RBAC.to_owned()),
            kind: "ClusterRole".to_owned(),
            name: role.to_owned(),
        },
        subjects: Some(subjects.to_vec()),
    }
}

/// What is wanted in the tenant's own namespace: owners see and use control planes, no more.
pub(crate) fn home(tenant: &Tenant, name: &TenantName) -> Contents {
    let subjects: Vec<Subject> = tenant.spec.owners.iter().filter_map(subject).collect();
    let namespace = name.namespace();
    Contents {
        role_bindings: vec![role_binding(
            name,
            &namespace,
            "freehold-tenant-owners",
            names::CLUSTER_ROLE_OWNER,
            &subjects,
        )],
        ..limits(tenant, name, &namespace)
    }
}

/// What is wanted in another namespace of the tenant: owners administer it.
pub(crate) fn workload(tenant: &Tenant, name: &TenantName, namespace: &str) -> Contents {
    let subjects: Vec<Subject> = tenant.spec.owners.iter().filter_map(subject).collect();
    Contents {
        role_bindings: vec![role_binding(
            name,
            namespace,
            "freehold-namespace-owners",
            "admin",
            &subjects,
        )],
        network_policies: network_policies(tenant, name, namespace),
        ..limits(tenant, name, namespace)
    }
}

fn limits(tenant: &Tenant, name: &TenantName, namespace: &str) -> Contents {
    let items = tenant.spec.resource_quotas.iter().flat_map(|q| &q.items);
    let quotas = items.enumerate().map(|(index, item)| ResourceQuota {
        metadata: meta(name, namespace, format!("{PREFIX}quota-{index}")),
        spec: Some(ResourceQuotaSpec {
            hard: Some(
                item.hard
                    .iter()
                    .map(|(resource, limit)| {
                        (quota_resource(resource), Quantity(limit.to_string()))
                    })
                    .collect(),
            ),
            scopes: (!item.scopes.is_empty()).then(|| item.scopes.clone()),
            scope_selector: item
                .scope_selector
                .as_ref()
                .and_then(|raw| serde_json::from_value(raw.0.clone()).ok()),
        }),
        ..ResourceQuota::default()
    });
    let items = tenant.spec.limit_ranges.iter().flat_map(|l| &l.items);
    let limit_ranges = items.enumerate().map(|(index, raw)| LimitRange {
        metadata: meta(name, namespace, format!("{PREFIX}limits-{index}")),
        spec: serde_json::from_value::<LimitRangeSpec>(raw.0.clone()).ok(),
    });
    Contents {
        quotas: quotas.collect(),
        limit_ranges: limit_ranges.collect(),
        ..Contents::default()
    }
}

/// Counts of custom objects are written with `count/`; without it is a common slip.
fn quota_resource(resource: &str) -> String {
    let custom = resource.contains('.')
        && !resource.contains('/')
        && !resource.starts_with("requests.")
        && !resource.starts_with("limits.")
        && !resource.starts_with("services.");
    if custom {
        format!("count/{resource}")
    } else {
        resource.to_owned()
    }
}

fn network_policies(tenant: &Tenant, name: &TenantName, namespace: &str) -> Vec<NetworkPolicy> {
    let items = tenant.spec.network_policies.iter().flat_map(|p| &p.items);
    items
        .enumerate()
        .map(|(index, raw)| NetworkPolicy {
            metadata: meta(name, namespace, format!("{PREFIX}policy-{index}")),
            spec: serde_json::from_value::<NetworkPolicySpec>(raw.0.clone()).ok(),
        })
        .collect()
}

/// Deep parts of a tenant that are not what Kubernetes expects there, by field.
pub(crate) fn malformed(tenant: &Tenant) -> Vec<String> {
    let mut wrong = Vec::new();
    let spec = &tenant.spec;
    for (index, owner) in spec.owners.iter().enumerate() {
        if subject(owner).is_none() {
            wrong.push(format!("spec.owners[{index}].name: a service account is written system:serviceaccount:NAMESPACE:NAME"));
        }
    }
    for (index, raw) in spec.limit_ranges.iter().flat_map(|l| &l.items).enumerate() {
        if let Err(error) = serde_json::from_value::<LimitRangeSpec>(raw.0.clone()) {
            wrong.push(format!("spec.limitRanges.items[{index}]: {error}"));
        }
    }
    for (index, raw) in spec
        .network_policies
        .iter()
        .flat_map(|p| &p.items)
        .enumerate()
    {
        if let Err(error) = serde_json::from_value::<NetworkPolicySpec>(raw.0.clone()) {
            wrong.push(format!("spec.networkPolicies.items[{index}]: {error}"));
        }
    }
    wrong
}

/// Fields of a tenant whose objects are made but not, or not wholly, enforced by this host.
pub(crate) fn without_effect(tenant: &Tenant, host: HostFeatures) -> Vec<String> {
    let spec = &tenant.spec;
    let mut fields = Vec::new();
    if let Some(quotas) = spec
        .resource_quotas
        .as_ref()
        .filter(|q| !q.items.is_empty())
    {
        if !host.resource_quota {
            fields.push(
                "spec.resourceQuotas.items (the host does not enforce ResourceQuota yet)"
                    .to_owned(),
            );
        }
        if quotas.scope == QuotaScope::Tenant {
            fields.push("spec.resourceQuotas.scope: Tenant (each namespace gets the whole quota; it is not summed over namespaces yet)".to_owned());
        }
    }
    if spec
        .limit_ranges
        .as_ref()
        .is_some_and(|l| !l.items.is_empty())
        && !host.limit_range
    {
        fields.push("spec.limitRanges.items (the host does not enforce LimitRange yet)".to_owned());
    }
    if spec
        .network_policies
        .as_ref()
        .is_some_and(|p| !p.items.is_empty())
        && !host.network_policy
    {
        fields.push(
            "spec.networkPolicies.items (the host does not enforce NetworkPolicy yet)".to_owned(),
        );
    }
    fields
}

/// Which of the tenant's namespaces are within its quota: the oldest first.
pub(crate) fn within_quota(
    tenant: &Tenant,
    namespaces: &[Namespace],
) -> (Vec<String>, Vec<String>) {
    let quota = tenant.spec.namespaces.as_ref().and_then(|n| n.quota);
    let mut sorted: Vec<&Namespace> = namespaces.iter().collect();
    sorted.sort_by_key(|ns| (ns.creation_timestamp().map(|t| t.0), ns.name_any()));
    let mut within: Vec<String> = sorted.iter().map(|ns| ns.name_any()).collect();
    let beyond = match quota {
        Some(quota) if within.len() > quota as usize => within.split_off(quota as usize),
        _ => Vec::new(),
    };
    (within, beyond)
}

/// The condition on the number of namespaces.
pub(crate) fn quota_condition(beyond: &[String], tenant: &Tenant) -> Condition {
    let quota = tenant.spec.namespaces.as_ref().and_then(|n| n.quota);
    match quota {
        Some(quota) if !beyond.is_empty() => Condition::no(
            types::WITHIN_QUOTA,
            reasons::TENANT_QUOTA_EXCEEDED,
            format!(
                "spec.namespaces.quota is {quota}; its owners have no access to what is beyond: {}",
                beyond.join(", ")
            ),
        ),
        _ => Condition::yes(types::WITHIN_QUOTA, reasons::AVAILABLE, "within quota"),
    }
}

/// The cluster roles that the operator binds.
pub(crate) fn cluster_roles() -> [ClusterRole; 2] {
    let rule = |groups: &[&str], resources: &[&str], verbs: &[&str]| PolicyRule {
        api_groups: Some(groups.iter().map(|&g| g.to_owned()).collect()),
        resources: Some(resources.iter().map(|&r| r.to_owned()).collect()),
        verbs: verbs.iter().map(|&v| v.to_owned()).collect(),
        ..PolicyRule::default()
    };
    let managed = |name: &str| ObjectMeta {
        name: Some(name.to_owned()),
        labels: Some(BTreeMap::from([(
            names::LABEL_MANAGED_BY.to_owned(),
            names::MANAGED_BY.to_owned(),
        )])),
        ..ObjectMeta::default()
    };
    let owner = ClusterRole {
        metadata: managed(names::CLUSTER_ROLE_OWNER),
        rules: Some(vec![
            rule(
                &[names::GROUP],
                &["controlplanes"],
                &["get", "list", "watch", "create", "delete"],
            ),
            rule(&[names::GROUP], &["controlplanes/kubeconfig"], &["create"]),
            rule(
                &[""],
                &["events", "resourcequotas"],
                &["get", "list", "watch"],
            ),
        ]),
        ..ClusterRole::default()
    };
    // what a request may become is decided by the signer, so everybody known may ask
    let requester = ClusterRole {
        metadata: managed(names::CLUSTER_ROLE_CSR),
        rules: Some(vec![rule(
            &["certificates.k8s.io"],
            &["certificatesigningrequests"],
            &["create", "get"],
        )]),
        ..ClusterRole::default()
    };
    [owner, requester]
}

/// The binding that lets a tenant's owners ask for certificates; requests are cluster-scoped.
pub(crate) fn requester_binding(tenant: &Tenant, name: &TenantName) -> ClusterRoleBinding {
    ClusterRoleBinding {
        metadata: ObjectMeta {
            name: Some(requester_binding_name(name)),
            labels: Some(labels(name)),
            ..ObjectMeta::default()
        },
        role_ref: RoleRef {
            api_group: Some(RBAC.to_owned()),
            kind: "ClusterRole".to_owned(),
            name: names::CLUSTER_ROLE_CSR.to_owned(),
        },
        subjects: Some(tenant.spec.owners.iter().filter_map(subject).collect()),
    }
}

/// Its name.
pub(crate) fn requester_binding_name(name: &TenantName) -> String {
    format!("freehold:tenant:{name}:certificate-requesters")
}

#[cfg(test)]
mod tests {
    use super::*;
    use freehold_api::TenantSpec;
    use serde_json::json;

    fn tenant(spec: serde_json::Value) -> (Tenant, TenantName) {
        let spec: TenantSpec = serde_json::from_value(spec).unwrap();
        (Tenant::new("acme", spec), TenantName::new("acme").unwrap())
    }

    #[test]
    fn owners_are_bound_by_kind() {
        let (tenant, name) = tenant(json!({"owners": [
            {"kind": "User", "name": "joe"},
            {"kind": "Group", "name": "devs"},
            {"kind": "ServiceAccount", "name": "system:serviceaccount:ci:deployer"},
            {"kind": "ServiceAccount", "name": "deployer"},
        ]}));
        let contents = home(&tenant, &name);
        let subjects = contents.role_bindings[0].subjects.clone().unwrap();
        let shown: Vec<_> = subjects
            .iter()
            .map(|s| (s.kind.as_str(), s.name.as_str()))
            .collect();
        assert_eq!(
            shown,
            [
                ("User", "joe"),
                ("Group", "devs"),
                ("ServiceAccount", "deployer")
            ]
        );
        assert_eq!(subjects[2].namespace.as_deref(), Some("ci"));
        assert!(malformed(&tenant)[0].contains("spec.owners[3]"));
    }

    #[test]
    fn no_role_of_ours_reads_secrets_or_changes_control_planes() {
        for rule in cluster_roles()
            .iter()
            .flat_map(|r| r.rules.iter().flatten())
        {
            for resource in rule.resources.iter().flatten() {
                assert!(!resource.contains("secret") && resource != "*");
            }
            for verb in &rule.verbs {
                assert!(!["update", "patch", "*"].contains(&verb.as_str()), "{verb}");
            }
        }
    }

    #[test]
    fn quotas_and_limits_become_objects_of_every_namespace() {
        let (tenant, name) = tenant(json!({
            "resourceQuotas": {"items": [
                {"hard": {"pods": 50, "limits.cpu": "8", "tenantcontrolplanes.kamaji.clastix.io": "10"}},
                {"hard": {"services": "10"}, "scopes": ["NotTerminating"]},
            ]},
            "limitRanges": {"items": [{"limits": [{"type": "Container", "max": {"cpu": "8"}}]}]},
            "networkPolicies": {"items": [{"podSelector": {}}]},
        }));
        let contents = workload(&tenant, &name, "dev-1");
        let hard = contents.quotas[0].spec.clone().unwrap().hard.unwrap();
        let hard: Vec<_> = hard
            .iter()
            .map(|(k, v)| (k.as_str(), v.0.as_str()))
            .collect();
        assert_eq!(
            hard,
            [
                ("count/tenantcontrolplanes.kamaji.clastix.io", "10"),
                ("limits.cpu", "8"),
                ("pods", "50")
            ]
        );
        assert_eq!(contents.quotas.len(), 2);
        assert_eq!(
            contents.limit_ranges[0].spec.as_ref().unwrap().limits.len(),
            1
        );
        assert_eq!(contents.network_policies.len(), 1);
        assert!(home(&tenant, &name).network_policies.is_empty());
        assert_eq!(without_effect(&tenant, HostFeatures::default()).len(), 4);
        let all = HostFeatures {
            resource_quota: true,
            limit_range: true,
            network_policy: true,
        };
        assert_eq!(without_effect(&tenant, all).len(), 1);
    }

    #[test]
    fn the_newest_namespaces_are_beyond_the_quota() {
        let (tenant, name) = tenant(json!({"namespaces": {"quota": 1}}));
        let at = |text: &str, second: u8| -> Namespace {
            serde_json::from_value(json!({"metadata": {
                "name": text,
                "creationTimestamp": format!("2026-01-01T00:00:0{second}Z"),
            }}))
            .unwrap()
        };
        let (within, beyond) = within_quota(&tenant, &[at("a", 2), at("b", 1)]);
        assert_eq!(
            (within, beyond.clone()),
            (vec!["b".to_owned()], vec!["a".to_owned()])
        );
        assert!(!quota_condition(&beyond, &tenant).holds());
        assert_eq!(
            namespace(&name).metadata.name.as_deref(),
            Some("tenant-acme")
        );
    }
}

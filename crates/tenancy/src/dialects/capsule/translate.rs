//! Capsule's Tenant → ours, and back its status; no effects.

use crate::dialects::paths::{Rule, Rules, without_effect};
use crate::dialects::{held_up, in_their_words, synced};
use crate::tenant::fields_condition;
use freehold_api::condition::{self, reasons, types};
use freehold_api::dialects::capsule::{CapsuleState, CapsuleTenant};
use freehold_api::{Condition, NamespaceLimits, Owner, Tenant, TenantSpec, Tier};

/// Roles that owners have by default; both are what our owners have.
const DEFAULT_ROLES: [&str; 2] = ["admin", "capsule-namespace-deleter"];

const ADMISSION: Rule = Rule::None("it is not enforced yet");
const RULES: &Rules = &[
    ("owners.*.kind", Rule::Effect),
    ("owners.*.name", Rule::Effect),
    ("owners.*.clusterRoles", Rule::Effect),
    (
        "owners.*.proxySettings",
        Rule::None("lists are not filtered yet"),
    ),
    (
        "owners.*.labels",
        Rule::None("role bindings do not get them"),
    ),
    (
        "owners.*.annotations",
        Rule::None("role bindings do not get them"),
    ),
    ("permissions", ADMISSION),
    (
        "additionalRoleBindings",
        Rule::None("they are not made yet"),
    ),
    ("namespaceOptions", ADMISSION),
    ("namespaceOptions.quota", Rule::Effect),
    ("resourceQuotas", Rule::Effect),
    ("limitRanges", Rule::Effect),
    ("networkPolicies", Rule::Effect),
    ("storageClasses", ADMISSION),
    ("priorityClasses", ADMISSION),
    ("runtimeClasses", ADMISSION),
    ("deviceClasses", ADMISSION),
    ("gatewayOptions", ADMISSION),
    ("ingressOptions", ADMISSION),
    ("serviceOptions", ADMISSION),
    ("podOptions", ADMISSION),
    ("containerRegistries", ADMISSION),
    ("imagePullPolicies", ADMISSION),
    ("nodeSelector", ADMISSION),
    ("cordoned", ADMISSION),
    ("preventDeletion", ADMISSION),
    ("forceTenantPrefix", ADMISSION),
    ("rules", ADMISSION),
];

/// Our field paths in Capsule's words, for messages.
const FIELDS: &[(&str, &str)] = &[("spec.namespaces.quota", "spec.namespaceOptions.quota")];

/// Translates.
pub(super) fn translate(capsule: &CapsuleTenant) -> (TenantSpec, Vec<String>) {
    let spec = &capsule.spec;
    let mut value = serde_json::to_value(spec).unwrap_or_default();
    // switched off is what is done anyway
    for switch in ["cordoned", "preventDeletion", "forceTenantPrefix"] {
        if value[switch] == false
            && let Some(fields) = value.as_object_mut()
        {
            fields.remove(switch);
        }
    }
    let mut fields = without_effect(&value, RULES);
    for (index, owner) in spec.owners.iter().enumerate() {
        let other = owner
            .cluster_roles
            .iter()
            .find(|role| !DEFAULT_ROLES.contains(&role.as_str()));
        if let Some(role) = other {
            fields.push(format!(
                "spec.owners[{index}].clusterRoles ({role}: owners have the role admin in the tenant's namespaces)"
            ));
        }
    }
    if !spec.owners.is_empty() {
        fields.push(
            "spec.owners (owners cannot create namespaces themselves yet; an administrator creates them with the label capsule.clastix.io/tenant)"
                .to_owned(),
        );
    }
    let ours = TenantSpec {
        owners: spec
            .owners
            .iter()
            .map(|owner| Owner {
                kind: owner.kind,
                name: owner.name.clone(),
            })
            .collect(),
        tier: Tier::Namespace,
        control_planes: None,
        namespaces: spec
            .namespace_options
            .as_ref()
            .map(|options| NamespaceLimits {
                quota: options.quota,
            }),
        resource_quotas: spec.resource_quotas.clone(),
        limit_ranges: spec.limit_ranges.clone(),
        network_policies: spec.network_policies.clone(),
    };
    (ours, fields)
}

/// What a pass found out.
pub(super) struct Found<'a> {
    /// our tenant, or why there is none
    pub ours: Result<&'a Tenant, Condition>,
    pub without_effect: &'a [String],
}

/// Writes what was found into the status; says whether that changed anything.
pub(super) fn mirror(capsule: &mut CapsuleTenant, found: &Found<'_>, now: &str) -> bool {
    let before = capsule.status.clone();
    let generation = capsule.metadata.generation;
    let mut status = before.clone().unwrap_or_default();
    status.observed_generation = generation;
    status.state = CapsuleState::Active;
    let conditions: Vec<Condition> = match &found.ours {
        Err(why) => held_up(why).into(),
        Ok(ours) => {
            let of_ours = ours.status.clone().unwrap_or_default();
            status.size = u32::try_from(of_ours.namespaces.len()).unwrap_or(u32::MAX);
            status.namespaces = of_ours.namespaces;
            let mut fields = found.without_effect.to_vec();
            let known = &of_ours.conditions;
            let more = condition::find(known, types::FIELDS_WITHOUT_EFFECT).filter(|c| c.holds());
            fields.extend(more.map(|c| c.message.clone()));
            let mut all = vec![
                synced(&crate::host::describe(*ours)),
                fields_condition(&fields),
            ];
            let same = [types::READY, types::WITHIN_QUOTA];
            all.extend(
                same.iter()
                    .filter_map(|t| condition::find(known, t))
                    .map(theirs),
            );
            if condition::find(known, types::READY).is_none() {
                let message = "it is being made";
                let reason = reasons::WAITING_FOR_NAMESPACE;
                all.push(Condition::no(types::READY, reason, message));
            }
            all
        }
    };
    for condition in conditions {
        condition::set(&mut status.conditions, condition.at(generation), now);
    }
    capsule.status = Some(status);
    capsule.status != before
}

fn theirs(ours: &Condition) -> Condition {
    let mut condition = ours.clone();
    condition.message = in_their_words(&ours.message, FIELDS);
    condition.last_transition_time = None;
    condition
}

#[cfg(test)]
mod tests {
    use super::*;
    use freehold_api::TenantStatus;
    use serde_json::json;

    #[test]
    fn what_is_not_enforced_is_named_by_field() {
        let capsule: CapsuleTenant = serde_json::from_value(json!({
            "metadata": {"name": "t"},
            "spec": {
                "owners": [{"kind": "User", "name": "a", "clusterRoles": ["admin", "editor"]}],
                "namespaceOptions": {"quota": 5, "forbiddenLabels": {"denied": ["x"]}},
                "storageClasses": {"allowed": ["standard"]},
                "cordoned": false,
                "preventDeletion": true,
            },
        }))
        .unwrap();
        let (spec, fields) = translate(&capsule);
        assert_eq!(spec.namespaces.unwrap().quota, Some(5));
        assert_eq!(spec.tier, Tier::Namespace);
        let paths: Vec<&str> = fields
            .iter()
            .map(|f| f.split(' ').next().unwrap())
            .collect();
        assert_eq!(
            paths,
            [
                "spec.namespaceOptions.forbiddenLabels.denied[0]",
                "spec.preventDeletion",
                "spec.storageClasses",
                "spec.owners[0].clusterRoles",
                "spec.owners",
            ]
            .map(|p| if p.ends_with("denied[0]") {
                "spec.namespaceOptions"
            } else {
                p
            })
        );
    }

    #[test]
    fn the_status_is_told_in_capsules_words() {
        let mut capsule = CapsuleTenant::new("t", Default::default());
        let mut ours = Tenant::new("t", TenantSpec::default());
        ours.status = Some(TenantStatus {
            namespaces: vec!["t-a".into()],
            conditions: vec![
                Condition::yes(types::READY, reasons::AVAILABLE, "ok"),
                Condition::no(
                    types::WITHIN_QUOTA,
                    reasons::TENANT_QUOTA_EXCEEDED,
                    "spec.namespaces.quota is 1",
                ),
                Condition::yes(
                    types::FIELDS_WITHOUT_EFFECT,
                    reasons::NOT_YET_SUPPORTED,
                    "spec.y (z)",
                ),
            ],
            ..TenantStatus::default()
        });
        let fields = ["spec.x (y)".to_owned()];
        let found = Found {
            ours: Ok(&ours),
            without_effect: &fields,
        };
        assert!(mirror(&mut capsule, &found, "t"));
        assert!(!mirror(&mut capsule, &found, "later"));
        let status = capsule.status.unwrap();
        assert_eq!(
            (status.size, status.namespaces),
            (1, vec!["t-a".to_owned()])
        );
        assert!(condition::holds(&status.conditions, types::READY));
        let quota = condition::find(&status.conditions, types::WITHIN_QUOTA).unwrap();
        assert!(quota.message.starts_with("spec.namespaceOptions.quota"));
        let all = condition::find(&status.conditions, types::FIELDS_WITHOUT_EFFECT).unwrap();
        assert_eq!(all.message, "spec.x (y); spec.y (z)");
    }
}

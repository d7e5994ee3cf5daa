//! KubeFlex's ControlPlane → ours, and back its status; no effects.

use crate::dialects::paths::{Rule, Rules, without_effect};
use crate::dialects::{held_up, in_their_words, synced};
use crate::tenant::fields_condition;
use freehold_api::condition::{self, reasons, types};
use freehold_api::dialects::kubeflex::{
    Backend, FlexControlPlane, FlexControlPlaneSpec, FlexSecretRef, FlexType,
};
use freehold_api::{Condition, ControlPlane, ControlPlaneSpec, HookUse};
use kube::ResourceExt;

/// Name of the secret of a control plane of type k8s, and its keys.
pub(super) const SECRET: &str = "admin-kubeconfig";
pub(super) const KEY: &str = "kubeconfig";
pub(super) const IN_CLUSTER_KEY: &str = "kubeconfig-incluster";
/// What seconds a certificate may be valid.
const SECONDS: std::ops::RangeInclusive<i64> = 600..=31_536_000;

const RULES: &Rules = &[
    ("type", Rule::Effect),
    ("backend", Rule::Effect),
    (
        "bootstrapSecretRef",
        Rule::None("clusters run by others cannot be adopted yet"),
    ),
    ("tokenExpirationSeconds", Rule::Effect),
    ("postCreateHook", Rule::Effect),
    ("postCreateHookVars", Rule::Effect),
    ("postCreateHooks.*.hookName", Rule::Effect),
    ("postCreateHooks.*.vars", Rule::Effect),
    ("globalVars", Rule::Effect),
    ("waitForPostCreateHooks", Rule::Effect),
];

/// Our field paths in KubeFlex's words, for messages.
const FIELDS: &[(&str, &str)] = &[
    ("spec.hooks", "spec.postCreateHooks"),
    (
        "spec.adminCertificateSeconds",
        "spec.tokenExpirationSeconds",
    ),
];

/// The namespace on the host that goes with a control plane.
pub(super) fn system_namespace(flex: &FlexControlPlane) -> String {
    format!("{}-system", flex.name_any())
}

/// Translates; `Err` says what cannot be done.
pub(super) fn translate(
    flex: &FlexControlPlane,
) -> Result<(ControlPlaneSpec, Vec<String>), Condition> {
    let spec = &flex.spec;
    if spec.type_ != FlexType::K8s {
        let type_ = serde_json::to_value(spec.type_).unwrap_or_default();
        return Err(Condition::no(
            types::SYNCED,
            reasons::UNSUPPORTED_TYPE,
            format!("spec.type: {type_} is not available in this version; use k8s"),
        ));
    }
    let value = serde_json::to_value(spec).unwrap_or_default();
    let mut fields = without_effect(&value, RULES);
    if spec.backend == Some(Backend::Dedicated) {
        fields.push(
            "spec.backend (dedicated: its data is a keyspace of its own in the host's datastore; a datastore process of its own is not available yet)"
                .to_owned(),
        );
    }
    let seconds = spec.token_expiration_seconds;
    if let Some(asked) = seconds.filter(|s| !SECONDS.contains(s)) {
        let given = asked.clamp(*SECONDS.start(), *SECONDS.end());
        fields.push(format!(
            "spec.tokenExpirationSeconds ({asked}: {given} is used)"
        ));
    }
    let seconds = seconds.map(|s| s.clamp(*SECONDS.start(), *SECONDS.end()));
    let ours = ControlPlaneSpec {
        admin_certificate_seconds: seconds.and_then(|s| u32::try_from(s).ok()),
        hooks: hooks(spec),
        hook_vars: spec.global_vars.clone(),
        wait_for_hooks: spec.wait_for_post_create_hooks.unwrap_or(false),
        ..ControlPlaneSpec::default()
    };
    Ok((ours, fields))
}

/// The deprecated single hook first; of two with the same name the first.
fn hooks(spec: &FlexControlPlaneSpec) -> Vec<HookUse> {
    let first = spec.post_create_hook.iter().map(|name| HookUse {
        name: name.clone(),
        vars: spec.post_create_hook_vars.clone(),
    });
    let rest = spec.post_create_hooks.iter().map(|hook| HookUse {
        name: hook.hook_name.clone(),
        vars: hook.vars.clone(),
    });
    let mut all: Vec<HookUse> = Vec::new();
    for hook in first.chain(rest) {
        if !all.iter().any(|known| known.name == hook.name) {
            all.push(hook);
        }
    }
    all
}

/// What a pass found out.
pub(super) struct Found<'a> {
    /// our control plane, or why there is none
    pub ours: Result<&'a ControlPlane, Condition>,
    pub without_effect: &'a [String],
    /// whether the secret is there in KubeFlex's shape
    pub secrets: bool,
}

/// Writes what was found into the status; says whether that changed anything.
pub(super) fn mirror(flex: &mut FlexControlPlane, found: &Found<'_>, now: &str) -> bool {
    let before = flex.status.clone();
    let generation = flex.metadata.generation;
    let mut status = before.clone().unwrap_or_default();
    status.observed_generation = generation;
    let conditions: Vec<Condition> = match &found.ours {
        Err(why) => held_up(why).into(),
        Ok(ours) => {
            let mut all = vec![
                synced(&crate::host::describe(*ours)),
                ready(ours, found.secrets),
                fields_condition(found.without_effect),
            ];
            let known = ours.status.as_ref().map_or(&[][..], |s| &s.conditions);
            all.extend(condition::find(known, types::HOOKS_APPLIED).map(theirs));
            all
        }
    };
    for condition in conditions {
        condition::set(&mut status.conditions, condition.at(generation), now);
    }
    if let Ok(ours) = &found.ours {
        let runs = ours.status.as_ref().map_or(&[][..], |s| &s.hooks);
        status.post_create_hooks = runs.iter().map(|r| (r.name.clone(), r.applied)).collect();
        let wanted = &ours.spec.hooks;
        status.post_create_hook_completed = wanted
            .iter()
            .all(|hook| runs.iter().any(|r| r.name == hook.name && r.applied));
        status.secret_ref = found.secrets.then(|| FlexSecretRef {
            namespace: system_namespace(flex),
            name: SECRET.to_owned(),
            key: Some(KEY.to_owned()),
            in_cluster_key: Some(IN_CLUSTER_KEY.to_owned()),
        });
    }
    flex.status = Some(status);
    flex.status != before
}

fn theirs(ours: &Condition) -> Condition {
    let mut condition = ours.clone();
    condition.message = in_their_words(&ours.message, FIELDS);
    condition.last_transition_time = None;
    condition
}

fn ready(ours: &ControlPlane, secrets: bool) -> Condition {
    let conditions = ours.status.as_ref().map_or(&[][..], |s| &s.conditions);
    match condition::find(conditions, types::READY) {
        Some(ready) if ready.holds() && !secrets => Condition::no(
            types::READY,
            reasons::WAITING_FOR_CREDENTIALS,
            "its kubeconfig is being written",
        ),
        Some(ready) => theirs(ready),
        None => Condition::no(types::READY, "Creating", "it is being made"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use freehold_api::{ControlPlaneStatus, HookRun};
    use serde_json::{Value, json};

    fn flex(spec: Value) -> FlexControlPlane {
        serde_json::from_value(json!({"metadata": {"name": "x", "uid": "u"}, "spec": spec}))
            .unwrap()
    }

    #[test]
    fn hooks_run_once_each_the_deprecated_one_first() {
        let flex = flex(json!({
            "type": "k8s",
            "postCreateHook": "a",
            "postCreateHookVars": {"k": "first"},
            "postCreateHooks": [{"hookName": "b"}, {"hookName": "a", "vars": {"k": "second"}}],
            "globalVars": {"g": "1"},
            "waitForPostCreateHooks": true,
        }));
        let (spec, fields) = translate(&flex).unwrap();
        let names: Vec<&str> = spec.hooks.iter().map(|h| h.name.as_str()).collect();
        assert_eq!(names, ["a", "b"]);
        assert_eq!(spec.hooks[0].vars["k"], "first");
        assert_eq!(spec.hook_vars["g"], "1");
        assert!(spec.wait_for_hooks && fields.is_empty());
    }

    #[test]
    fn other_types_are_refused_by_name() {
        for type_ in ["ocm", "vcluster", "host", "external", "k3s"] {
            let refused = translate(&flex(json!({"type": type_}))).unwrap_err();
            assert_eq!(refused.reason, reasons::UNSUPPORTED_TYPE);
            assert!(refused.message.contains(type_), "{}", refused.message);
        }
    }

    #[test]
    fn seconds_out_of_bounds_are_said() {
        let (spec, fields) =
            translate(&flex(json!({"type": "k8s", "tokenExpirationSeconds": 1}))).unwrap();
        assert_eq!(spec.admin_certificate_seconds, Some(600));
        assert!(fields[0].contains("tokenExpirationSeconds"));
    }

    #[test]
    fn the_status_is_told_in_kubeflexs_words() {
        let mut flex = flex(json!({"type": "k8s", "postCreateHooks": [{"hookName": "h"}]}));
        let (spec, _) = translate(&flex).unwrap();
        let mut ours = ControlPlane::new("x", spec);
        ours.status = Some(ControlPlaneStatus {
            hooks: vec![HookRun {
                name: "h".into(),
                applied: false,
                message: None,
                objects: Vec::new(),
            }],
            conditions: vec![
                Condition::yes(types::READY, reasons::AVAILABLE, "ok"),
                Condition::no(
                    types::HOOKS_APPLIED,
                    reasons::HOOK_NOT_FOUND,
                    "spec.hooks, h: there is no Hook \"h\"",
                ),
            ],
            ..ControlPlaneStatus::default()
        });
        let found = Found {
            ours: Ok(&ours),
            without_effect: &[],
            secrets: true,
        };
        assert!(mirror(&mut flex, &found, "t"));
        assert!(!mirror(&mut flex, &found, "later"));
        let status = serde_json::to_value(&flex.status).unwrap();
        assert_eq!(
            status["secretRef"],
            json!({
                "namespace": "x-system", "name": "admin-kubeconfig",
                "key": "kubeconfig", "inClusterKey": "kubeconfig-incluster",
            })
        );
        assert_eq!(status["postCreateHooks"], json!({"h": false}));
        assert_eq!(status["postCreateHookCompleted"], false);
        let conditions = &flex.status.as_ref().unwrap().conditions;
        assert!(condition::holds(conditions, types::READY));
        assert!(condition::holds(conditions, types::SYNCED));
        let hooks = condition::find(conditions, types::HOOKS_APPLIED).unwrap();
        assert!(hooks.message.starts_with("spec.postCreateHooks, h:"));
    }
}

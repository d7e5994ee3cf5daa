//! Nobody grants more than they have (pkg/registry/rbac/escalation_check.go, validation/rule.go).

use super::Rbac;
use super::rule::{Rule, has, quoted_list, url_covers};
use crate::{Attributes, GROUP_MASTERS, User};
use freehold_model::{Str, Value};
use std::collections::{BTreeMap, BTreeSet};

/// Taking a role apart is a product of its lists; a hostile role could make that astronomically
/// many. No real role comes near this.
const MOST_PARTS: usize = 20_000;

/// What a write to an RBAC object must be allowed to do besides the write itself.
pub struct Write<'a> {
    /// `roles`, `clusterroles`, `rolebindings` or `clusterrolebindings`
    pub resource: &'a str,
    /// from the request's path; empty for cluster-scoped kinds
    pub namespace: &'a str,
    /// from the request's path; empty for a create
    pub name: &'a str,
    pub object: &'a Value,
    /// absent for a create
    pub old: Option<&'a Value>,
}

impl Rbac {
    /// Checks a create or update of an RBAC object.
    ///
    /// # Errors
    /// The text to put behind `<resource> "<name>" is forbidden: `.
    pub fn confirm_no_escalation(&self, user: &User, write: &Write<'_>) -> Result<(), String> {
        if user.groups.iter().any(|g| g == GROUP_MASTERS) {
            return Ok(());
        }
        match write.resource {
            "roles" | "clusterroles" => self.confirm_role(user, write),
            "rolebindings" | "clusterrolebindings" => self.confirm_binding(user, write),
            _ => Ok(()),
        }
    }

    fn confirm_role(&self, user: &User, write: &Write<'_>) -> Result<(), String> {
        let escalate = Attributes {
            verb: "escalate".into(),
            group: super::GROUP.into(),
            version: "*".into(),
            resource: write.resource.into(),
            namespace: write.namespace.into(),
            name: write.name.into(),
            ..Attributes::default()
        };
        if self.authorize(user, &escalate).allowed || only_collector_fields_change(write) {
            return Ok(());
        }
        self.confirm_held(user, write.namespace, &Rule::list_of(write.object))?;
        let aggregates = |v: &Value| {
            let selectors = v
                .at(&["aggregationRule", "clusterRoleSelectors"])
                .and_then(Value::as_array);
            selectors.is_some_and(|s| !s.is_empty())
        };
        if write.resource == "clusterroles"
            && (aggregates(write.object) || write.old.is_some_and(aggregates))
        {
            let star = || vec![Str::from("*")];
            let everything = [
                Rule {
                    verbs: star(),
                    groups: star(),
                    resources: star(),
                    ..Rule::default()
                },
                Rule {
                    verbs: star(),
                    urls: star(),
                    ..Rule::default()
                },
            ];
            self.confirm_held(user, "", &everything).map_err(|_| {
                "must have cluster-admin privileges to use the aggregationRule".to_owned()
            })?;
        }
        Ok(())
    }

    fn confirm_binding(&self, user: &User, write: &Write<'_>) -> Result<(), String> {
        let field = |name: &str| write.object.str_at(&["roleRef", name]).unwrap_or_default();
        let (kind, name) = (field("kind"), field("name"));
        let resource = match kind {
            "ClusterRole" => "clusterroles",
            "Role" => "roles",
            _ => "",
        };
        let bind = Attributes {
            verb: "bind".into(),
            group: field("apiGroup").into(),
            version: "*".into(),
            resource: resource.into(),
            namespace: write.namespace.into(),
            name: name.into(),
            ..Attributes::default()
        };
        if only_collector_fields_change(write)
            || (!resource.is_empty() && self.authorize(user, &bind).allowed)
        {
            return Ok(());
        }
        let rules = self.role_rules(kind, write.namespace, name)?;
        self.confirm_held(user, write.namespace, &rules)
    }

    fn confirm_held(&self, user: &User, namespace: &str, wanted: &[Rule]) -> Result<(), String> {
        let held = self.rules_for(user, namespace);
        let missing = uncovered(&held.rules, wanted)?;
        if missing.is_empty() {
            return Ok(());
        }
        let lines: BTreeSet<String> = compacted(missing)
            .iter()
            .map(Rule::compact_string)
            .collect();
        let lines: Vec<String> = lines.into_iter().collect();
        let mut text = format!(
            "user {:?} (groups={}) is attempting to grant RBAC permissions not currently held:\n{}",
            user.name,
            quoted_list(&user.groups),
            lines.join("\n")
        );
        if !held.errors.is_empty() {
            text.push_str("; resolution errors: ");
            text.push_str(&super::aggregate(&held.errors));
        }
        Err(text)
    }
}

/// Owner references and finalizers may change without holding what the object grants, so that
/// garbage collection can finish (pkg/registry/rbac/helpers.go `IsOnlyMutatingGCFields`).
fn only_collector_fields_change(write: &Write<'_>) -> bool {
    let Some(old) = write.old else { return false };
    let bare = |v: &Value| {
        let mut v = v.clone();
        for field in ["ownerReferences", "finalizers", "selfLink", "managedFields"] {
            v.unset(&["metadata", field]);
        }
        v
    };
    bare(old) == bare(write.object)
}

/// The parts of `wanted` that no rule of `held` covers.
fn uncovered(held: &[Rule], wanted: &[Rule]) -> Result<Vec<Rule>, String> {
    let mut missing = Vec::new();
    let mut budget = MOST_PARTS;
    for rule in wanted {
        // The usual grantor holds `*`: one comparison instead of the whole product.
        if held.iter().any(|owner| covers(owner, rule)) {
            continue;
        }
        let names = rule.names.len().max(1);
        let resources = rule
            .groups
            .len()
            .saturating_mul(rule.resources.len())
            .saturating_mul(names);
        let parts = resources
            .saturating_add(rule.urls.len())
            .saturating_mul(rule.verbs.len());
        budget = budget.checked_sub(parts).ok_or_else(|| {
            format!("the rules have more than {MOST_PARTS} combinations to check; split the role into smaller ones")
        })?;
        missing.extend(
            parts_of(rule)
                .into_iter()
                .filter(|part| !held.iter().any(|owner| covers(owner, part))),
        );
    }
    Ok(missing)
}

/// Equivalent rules of one group, resource, verb and name each.
fn parts_of(rule: &Rule) -> Vec<Rule> {
    let one = |s: &Str| vec![s.clone()];
    let names: Vec<Vec<Str>> = if rule.names.is_empty() {
        vec![Vec::new()]
    } else {
        rule.names.iter().map(one).collect()
    };
    let mut parts = Vec::new();
    for group in &rule.groups {
        for resource in &rule.resources {
            for verb in &rule.verbs {
                parts.extend(names.iter().map(|name| Rule {
                    groups: one(group),
                    resources: one(resource),
                    verbs: one(verb),
                    names: name.clone(),
                    urls: Vec::new(),
                }));
            }
        }
    }
    for url in &rule.urls {
        parts.extend(rule.verbs.iter().map(|verb| Rule {
            verbs: one(verb),
            urls: one(url),
            ..Rule::default()
        }));
    }
    parts
}

fn covers(owner: &Rule, sub: &Rule) -> bool {
    let all = |set: &[Str], wanted: &[Str]| has(set, "*") || wanted.iter().all(|w| has(set, w));
    let resource = |wanted: &Str| {
        has(&owner.resources, wanted)
            || wanted
                .split_once('/')
                .is_some_and(|(_, sub)| has(&owner.resources, &format!("*/{sub}")))
    };
    all(&owner.verbs, &sub.verbs)
        && all(&owner.groups, &sub.groups)
        && (has(&owner.resources, "*") || sub.resources.iter().all(resource))
        && sub
            .urls
            .iter()
            .all(|path| owner.urls.iter().any(|url| url_covers(url, path)))
        && (owner.names.is_empty()
            || (!sub.names.is_empty() && sub.names.iter().all(|n| has(&owner.names, n))))
}

/// Joins rules that differ by verb only (pkg/registry/rbac/validation/policy_compact.go).
fn compacted(rules: Vec<Rule>) -> Vec<Rule> {
    let mut simple: BTreeMap<Rule, Vec<Str>> = BTreeMap::new();
    let mut out = Vec::new();
    for rule in rules {
        if rule.urls.is_empty() {
            let without_verbs = Rule {
                verbs: Vec::new(),
                ..rule
            };
            simple.entry(without_verbs).or_default().extend(rule.verbs);
        } else {
            out.push(rule);
        }
    }
    out.extend(
        simple
            .into_iter()
            .map(|(rule, verbs)| Rule { verbs, ..rule }),
    );
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use freehold_model::value;

    fn rule(
        groups: &[&str],
        resources: &[&str],
        verbs: &[&str],
        names: &[&str],
        urls: &[&str],
    ) -> Rule {
        let own = |v: &[&str]| v.iter().map(|s| Str::from(*s)).collect();
        Rule {
            verbs: own(verbs),
            groups: own(groups),
            resources: own(resources),
            names: own(names),
            urls: own(urls),
        }
    }

    /// Cases of component-helpers auth/rbac/validation/policy_comparator_test.go.
    #[test]
    fn what_is_not_covered_is_exactly_what_is_missing() {
        let held = [
            rule(
                &["v1"],
                &["builds", "deployments"],
                &["delete", "update"],
                &[],
                &[],
            ),
            rule(&["v1"], &["pods"], &["delete"], &[], &[]),
        ];
        let wanted = [rule(
            &["v1"],
            &["builds", "deployments", "pods"],
            &["delete", "update"],
            &[],
            &[],
        )];
        assert_eq!(
            uncovered(&held, &wanted).unwrap(),
            [rule(&["v1"], &["pods"], &["update"], &[], &[])]
        );
    }

    #[test]
    fn rules_together_cover_what_none_covers_alone() {
        let held = [
            rule(&["v1"], &["builds"], &["delete", "update"], &[], &[]),
            rule(&["v1"], &["deployments"], &["*"], &[], &[]),
        ];
        let wanted = [rule(
            &["v1"],
            &["builds", "deployments"],
            &["delete", "update"],
            &[],
            &[],
        )];
        assert!(uncovered(&held, &wanted).unwrap().is_empty());
    }

    #[test]
    fn an_enumeration_never_covers_a_star() {
        for (held, wanted) in [
            (
                rule(&["a", "b"], &["x"], &["get"], &[], &[]),
                rule(&["*"], &["x"], &["get"], &[], &[]),
            ),
            (
                rule(&["a"], &["x", "y"], &["get"], &[], &[]),
                rule(&["a"], &["*"], &["get"], &[], &[]),
            ),
            (
                rule(&["a"], &["x"], &["get", "list"], &[], &[]),
                rule(&["a"], &["x"], &["*"], &[], &[]),
            ),
            (
                rule(&["a"], &["x"], &["get"], &["n"], &[]),
                rule(&["a"], &["x"], &["get"], &[], &[]),
            ),
            (
                rule(&[], &[], &["get"], &[], &["/apis/*"]),
                rule(&[], &[], &["get"], &[], &["/apis"]),
            ),
        ] {
            assert_eq!(
                uncovered(&[held], std::slice::from_ref(&wanted)).unwrap(),
                [wanted]
            );
        }
    }

    #[test]
    fn a_star_covers_enumerations_and_subresources() {
        for (held, wanted) in [
            (
                rule(&["*"], &["x"], &["get"], &[], &[]),
                rule(&["a", "b"], &["x"], &["get"], &[], &[]),
            ),
            (
                rule(&["a"], &["*"], &["get"], &[], &[]),
                rule(&["a"], &["x/y"], &["get"], &[], &[]),
            ),
            (
                rule(&["a"], &["*/scale"], &["get"], &[], &[]),
                rule(&["a"], &["x/scale"], &["get"], &[], &[]),
            ),
            (
                rule(&["a"], &["x"], &["get"], &[], &[]),
                rule(&["a"], &["x"], &["get"], &["n", "m"], &[]),
            ),
            (
                rule(&[], &[], &["*"], &[], &["*"]),
                rule(&[], &[], &["get"], &[], &["/apis", "/"]),
            ),
        ] {
            assert!(
                uncovered(std::slice::from_ref(&held), std::slice::from_ref(&wanted))
                    .unwrap()
                    .is_empty(),
                "{held:?} {wanted:?}"
            );
        }
    }

    #[test]
    fn a_role_of_countless_combinations_is_refused_quickly() {
        let many: Vec<String> = (0..3000).map(|i| format!("r{i}")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        let hostile = rule(&many, &many, &many, &many, &[]);
        assert!(
            uncovered(&[], std::slice::from_ref(&hostile))
                .unwrap_err()
                .contains("combinations")
        );
        let all = rule(&["*"], &["*"], &["*"], &[], &[]);
        assert!(uncovered(&[all], &[hostile]).unwrap().is_empty());
    }

    fn user(name: &str, groups: &[&str]) -> User {
        User {
            name: name.into(),
            groups: groups.iter().map(ToString::to_string).collect(),
            ..User::default()
        }
    }

    fn rbac() -> Rbac {
        let mut rbac = Rbac::default();
        for object in [
            value!({"kind": "ClusterRole", "metadata": {"name": "editor"}, "rules": [
                {"apiGroups": ["rbac.authorization.k8s.io"], "resources": ["roles", "rolebindings", "clusterroles"], "verbs": ["*"]},
                {"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}]}),
            value!({"kind": "ClusterRole", "metadata": {"name": "secret-reader"}, "rules": [
                {"apiGroups": [""], "resources": ["secrets"], "verbs": ["get", "list"]}]}),
            value!({"kind": "ClusterRole", "metadata": {"name": "binder"}, "rules": [
                {"apiGroups": ["rbac.authorization.k8s.io"], "resources": ["clusterroles"], "resourceNames": ["secret-reader"], "verbs": ["bind"]}]}),
            value!({"kind": "ClusterRoleBinding", "metadata": {"name": "ed"},
                "subjects": [{"kind": "User", "name": "ed"}], "roleRef": {"kind": "ClusterRole", "name": "limited"}}),
            value!({"kind": "ClusterRole", "metadata": {"name": "limited"}, "rules": [
                {"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}]}),
            value!({"kind": "RoleBinding", "metadata": {"name": "b", "namespace": "n"},
                "subjects": [{"kind": "User", "name": "bea"}], "roleRef": {"kind": "ClusterRole", "name": "binder"}}),
        ] {
            rbac.put(&object);
        }
        rbac
    }

    fn binding(role: &str) -> Value {
        value!({"metadata": {"name": "x", "namespace": "n"}, "subjects": [{"kind": "User", "name": "me"}],
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role}})
    }

    fn write<'a>(resource: &'a str, object: &'a Value) -> Write<'a> {
        Write {
            resource,
            namespace: "n",
            name: "",
            object,
            old: None,
        }
    }

    #[test]
    fn binding_a_role_needs_its_rights_or_the_bind_verb() {
        let (rbac, object) = (rbac(), binding("secret-reader"));
        let refusal = rbac
            .confirm_no_escalation(&user("ed", &["g"]), &write("rolebindings", &object))
            .unwrap_err();
        assert_eq!(
            refusal,
            "user \"ed\" (groups=[\"g\"]) is attempting to grant RBAC permissions not currently held:\n\
             {APIGroups:[\"\"], Resources:[\"secrets\"], Verbs:[\"get\" \"list\"]}"
        );
        assert_eq!(
            rbac.confirm_no_escalation(&user("bea", &[]), &write("rolebindings", &object)),
            Ok(())
        );
        assert_eq!(
            rbac.confirm_no_escalation(
                &user("x", &[GROUP_MASTERS]),
                &write("rolebindings", &object)
            ),
            Ok(())
        );
        let held = binding("limited");
        assert_eq!(
            rbac.confirm_no_escalation(&user("ed", &[]), &write("rolebindings", &held)),
            Ok(())
        );
    }

    #[test]
    fn binding_a_role_that_does_not_exist_is_refused() {
        let (rbac, object) = (rbac(), binding("nothing"));
        let refusal = rbac
            .confirm_no_escalation(&user("ed", &[]), &write("rolebindings", &object))
            .unwrap_err();
        assert_eq!(
            refusal,
            r#"clusterrole.rbac.authorization.k8s.io "nothing" not found"#
        );
    }

    #[test]
    fn writing_a_role_needs_its_rights_and_aggregation_needs_everything() {
        let rbac = rbac();
        let held = value!({"metadata": {"name": "r"}, "rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}]});
        let more = value!({"metadata": {"name": "r"}, "rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": ["*"]}]});
        let gather = value!({"metadata": {"name": "r"}, "aggregationRule": {"clusterRoleSelectors": [{"matchLabels": {"a": "b"}}]}});
        let ed = user("ed", &[]);
        assert_eq!(
            rbac.confirm_no_escalation(&ed, &write("roles", &held)),
            Ok(())
        );
        assert!(
            rbac.confirm_no_escalation(&ed, &write("roles", &more))
                .is_err()
        );
        let refusal = rbac
            .confirm_no_escalation(&ed, &write("clusterroles", &gather))
            .unwrap_err();
        assert_eq!(
            refusal,
            "must have cluster-admin privileges to use the aggregationRule"
        );
    }

    #[test]
    fn finalizers_may_change_without_holding_what_the_object_grants() {
        let (rbac, old) = (rbac(), binding("secret-reader"));
        let mut new = old.clone();
        new.set(&["metadata", "finalizers"], value!(["x"]));
        let ed = user("ed", &[]);
        let update = Write {
            old: Some(&old),
            ..write("rolebindings", &new)
        };
        assert_eq!(rbac.confirm_no_escalation(&ed, &update), Ok(()));
        new.set(&["subjects"], value!([]));
        let update = Write {
            old: Some(&old),
            ..write("rolebindings", &new)
        };
        assert!(rbac.confirm_no_escalation(&ed, &update).is_err());
    }
}

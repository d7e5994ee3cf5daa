//! Roles and bindings: kubernetes `pkg/apis/rbac/validation/validation.go`.

use super::read::{NOTHING, Read, Report};
use crate::field::Path;
use crate::meta::check_label_selector;
use crate::select::LabelSelector;
use crate::{Value, rules};

const GROUP: &str = "rbac.authorization.k8s.io";

pub(super) fn create(report: &mut Report, kind: &str, object: &Value) {
    match kind {
        "Role" => policy_rules(report, object, true),
        "ClusterRole" => {
            policy_rules(report, object, false);
            aggregation(report, object);
        }
        "RoleBinding" => binding(report, object, &["Role", "ClusterRole"], true),
        "ClusterRoleBinding" => binding(report, object, &["ClusterRole"], false),
        _ => {}
    }
}

pub(super) fn update(report: &mut Report, kind: &str, new: &Value, old: &Value) {
    create(report, kind, new);
    if matches!(kind, "RoleBinding" | "ClusterRoleBinding")
        && new.get("roleRef") != old.get("roleRef")
    {
        report.invalid(
            "roleRef",
            new.part("roleRef").unwrap_or(&NOTHING),
            "cannot change roleRef",
        );
    }
}

fn policy_rules(report: &mut Report, role: &Value, namespaced: bool) {
    let path = Path::root("rules");
    for (i, rule) in role.list("rules").iter().enumerate() {
        let at = path.index(i);
        let empty = |field: &str| rule.list(field).is_empty();
        if empty("verbs") {
            report.required(at.child("verbs"), "verbs must contain at least one value");
        }
        if !empty("nonResourceURLs") {
            let shown = rule.part("nonResourceURLs").unwrap_or(&NOTHING);
            let at = at.child("nonResourceURLs");
            if namespaced {
                report.invalid(
                    at,
                    shown,
                    "namespaced rules cannot apply to non-resource URLs",
                );
            }
            if !(empty("apiGroups") && empty("resources") && empty("resourceNames")) {
                report.invalid(
                    at,
                    shown,
                    "rules cannot apply to both regular resources and non-resource URLs",
                );
            }
            continue;
        }
        if empty("apiGroups") {
            report.required(
                at.child("apiGroups"),
                "resource rules must supply at least one api group",
            );
        }
        if empty("resources") {
            report.required(
                at.child("resources"),
                "resource rules must supply at least one resource",
            );
        }
    }
}

fn aggregation(report: &mut Report, role: &Value) {
    let Some(rule) = role.part("aggregationRule") else {
        return;
    };
    let root = Path::root("aggregationRule");
    let path = root.child("clusterRoleSelectors");
    let selectors = rule.list("clusterRoleSelectors");
    if selectors.is_empty() {
        report.required(
            path,
            "at least one clusterRoleSelector required if aggregationRule is non-nil",
        );
    }
    for (i, selector) in selectors.iter().enumerate() {
        check_label_selector(Some(selector), &path.index(i), &mut report.errors);
        if LabelSelector::from_value(selector).is_err() {
            report.invalid(path.index(i), &Value::Null, "invalid label selector.");
        }
    }
}

fn binding(report: &mut Report, binding: &Value, kinds: &[&str], namespaced: bool) {
    let role = binding.part("roleRef").unwrap_or(&NOTHING);
    let path = Path::root("roleRef");
    if role.text("apiGroup") != GROUP {
        report.not_supported(path.child("apiGroup"), role.text("apiGroup"), &[GROUP]);
    }
    if !kinds.contains(&role.text("kind")) {
        report.not_supported(path.child("kind"), role.text("kind"), kinds);
    }
    report.required_name(path.child("name"), role.text("name"), rules::path_segment);
    let path = Path::root("subjects");
    for (i, subject) in binding.list("subjects").iter().enumerate() {
        self::subject(report, subject, namespaced, path.index(i));
    }
}

fn subject(report: &mut Report, subject: &Value, namespaced: bool, at: Path<'_>) {
    let (name, group) = (subject.text("name"), subject.text("apiGroup"));
    if name.is_empty() {
        report.required(at.child("name"), "");
    }
    match subject.text("kind") {
        "ServiceAccount" => {
            if !name.is_empty() {
                report.problems(at.child("name"), name, rules::dns1123_subdomain(name));
            }
            if !group.is_empty() {
                report.not_supported(at.child("apiGroup"), group, &[""]);
            }
            if !namespaced && subject.text("namespace").is_empty() {
                report.required(at.child("namespace"), "");
            }
        }
        "User" | "Group" => {
            if group != GROUP {
                report.not_supported(at.child("apiGroup"), group, &[GROUP]);
            }
        }
        other => report.not_supported(
            at.child("kind"),
            other,
            &["ServiceAccount", "User", "Group"],
        ),
    }
}

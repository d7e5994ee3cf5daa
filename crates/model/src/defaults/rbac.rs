//! rbac.authorization.k8s.io/v1: kubernetes `pkg/apis/rbac/v1/defaults.go`.

use super::{Rule, default_zero, object, text};
use crate::Map;

const GROUP: &str = "rbac.authorization.k8s.io";

pub(super) const RULES: &[(&str, Rule)] = &[
    ("ClusterRoleBinding", binding),
    ("RoleBinding", binding),
    ("Subject", |s| {
        if matches!(text(s, "kind"), "User" | "Group") {
            default_zero(s, "apiGroup", GROUP);
        }
    }),
];

fn binding(b: &mut Map) {
    if let Some(role) = object(b, "roleRef") {
        default_zero(role, "apiGroup", GROUP);
    }
}

//! Role-based access control, decided as plugin/pkg/auth/authorizer/rbac does.
//!
//! Objects are put and removed one at a time; bindings are indexed by subject, so a decision
//! looks only at what the user and the user's groups were given.

mod escalation;
mod rule;

pub use escalation::Write;
pub use rule::Rule;

use crate::{Attributes, Decision, GROUP_MASTERS, User, bootstrap};
use freehold_model::{Str, Value};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

pub const GROUP: &str = "rbac.authorization.k8s.io";

type Rules = Arc<[Rule]>;

/// The compiled roles and bindings of one cluster.
#[derive(Debug, Default)]
pub struct Rbac {
    cluster_roles: BTreeMap<Str, Rules>,
    /// namespace → name
    roles: BTreeMap<Str, BTreeMap<Str, Rules>>,
    cluster_bindings: Bindings,
    /// by namespace
    bindings: BTreeMap<Str, Bindings>,
}

/// Bindings of one scope, and which of them name a subject.
#[derive(Debug, Default)]
struct Bindings {
    by_name: BTreeMap<Str, Binding>,
    /// service accounts are indexed by their user name
    users: BTreeMap<Str, BTreeSet<Str>>,
    groups: BTreeMap<Str, BTreeSet<Str>>,
}

#[derive(Debug)]
struct Binding {
    role_kind: Str,
    role_name: Str,
    subjects: Vec<Subject>,
}

#[derive(Debug)]
enum Subject {
    User(Str),
    Group(Str),
    /// the user name, and `name/namespace` as messages say it
    ServiceAccount(Str, Str),
}

/// The rules a user has, and what went wrong while finding them.
#[derive(Debug, Default, PartialEq)]
pub struct Held {
    pub rules: Vec<Rule>,
    pub errors: Vec<String>,
}

impl Rbac {
    /// Adds or replaces a Role, ClusterRole, RoleBinding or ClusterRoleBinding; other kinds are
    /// none of its business.
    pub fn put(&mut self, object: &Value) {
        let text = |path: &[&str]| object.str_at(path).unwrap_or_default();
        let (name, namespace) = (
            text(&["metadata", "name"]),
            text(&["metadata", "namespace"]),
        );
        match text(&["kind"]) {
            "ClusterRole" => {
                self.cluster_roles
                    .insert(name.into(), shared(name, Rule::list_of(object)));
            }
            "Role" => {
                let rules = Rule::list_of(object).into();
                self.roles
                    .entry(namespace.into())
                    .or_default()
                    .insert(name.into(), rules);
            }
            "ClusterRoleBinding" => self
                .cluster_bindings
                .put(name, Binding::from_value(object, "")),
            "RoleBinding" => {
                let binding = Binding::from_value(object, namespace);
                self.bindings
                    .entry(namespace.into())
                    .or_default()
                    .put(name, binding);
            }
            _ => {}
        }
    }

    /// Forgets an object (`namespace` is empty for cluster-scoped kinds).
    pub fn remove(&mut self, kind: &str, namespace: &str, name: &str) {
        match kind {
            "ClusterRole" => {
                self.cluster_roles.remove(name);
            }
            "Role" => {
                if let Some(roles) = self.roles.get_mut(namespace) {
                    roles.remove(name);
                    if roles.is_empty() {
                        self.roles.remove(namespace);
                    }
                }
            }
            "ClusterRoleBinding" => self.cluster_bindings.remove(name),
            "RoleBinding" => {
                if let Some(bindings) = self.bindings.get_mut(namespace) {
                    bindings.remove(name);
                    if bindings.by_name.is_empty() {
                        self.bindings.remove(namespace);
                    }
                }
            }
            _ => {}
        }
    }

    /// Forgets every object of a kind.
    pub fn clear(&mut self, kind: &str) {
        match kind {
            "ClusterRole" => self.cluster_roles.clear(),
            "Role" => self.roles.clear(),
            "ClusterRoleBinding" => self.cluster_bindings = Bindings::default(),
            "RoleBinding" => self.bindings.clear(),
            _ => {}
        }
    }

    /// Whether `user` may do what is asked. Members of `system:masters` always may.
    #[must_use]
    pub fn authorize(&self, user: &User, asked: &Attributes) -> Decision {
        if user.groups.iter().any(|g| g == GROUP_MASTERS) {
            return Decision {
                allowed: true,
                reason: String::new(),
            };
        }
        let mut reason = None;
        let mut errors = Vec::new();
        self.visit(user, &asked.namespace, &mut |found| {
            match found {
                Ok((grant, rules)) => {
                    if rules.iter().any(|r| r.allows(asked)) {
                        reason = Some(format!("RBAC: allowed by {grant}"));
                    }
                }
                Err(e) => errors.push(e),
            }
            reason.is_none()
        });
        match reason {
            Some(reason) => Decision {
                allowed: true,
                reason,
            },
            None if errors.is_empty() => Decision::default(),
            None => Decision {
                allowed: false,
                reason: format!("RBAC: {}", aggregate(&errors)),
            },
        }
    }

    /// Every rule the user has in a namespace (empty: cluster-wide ones only).
    #[must_use]
    pub fn rules_for(&self, user: &User, namespace: &str) -> Held {
        let mut held = Held::default();
        self.visit(user, namespace, &mut |found| {
            match found {
                Ok((_, rules)) => held.rules.extend_from_slice(rules),
                Err(e) => held.errors.push(e),
            }
            true
        });
        held
    }

    /// The rules a role reference stands for; `namespace` is the binding's.
    fn role_rules(&self, kind: &str, namespace: &str, name: &str) -> Result<Rules, String> {
        let (found, what) = match kind {
            "ClusterRole" => (self.cluster_roles.get(name), "clusterrole"),
            "Role" => (self.roles.get(namespace).and_then(|r| r.get(name)), "role"),
            other => return Err(format!("unsupported role reference kind: {other:?}")),
        };
        found
            .cloned()
            .ok_or_else(|| format!("{what}.{GROUP} {name:?} not found"))
    }

    fn visit(&self, user: &User, namespace: &str, visitor: &mut Visitor<'_>) {
        let local = if namespace.is_empty() {
            None
        } else {
            self.bindings.get(namespace)
        };
        let scopes = [("", Some(&self.cluster_bindings)), (namespace, local)];
        for (namespace, bindings) in scopes {
            let Some(bindings) = bindings else { continue };
            for name in bindings.of(user) {
                let binding = &bindings.by_name[name];
                let found = self.role_rules(&binding.role_kind, namespace, &binding.role_name);
                let go_on = match &found {
                    Ok(rules) => visitor(Ok((
                        &Grant {
                            namespace,
                            name,
                            binding,
                            user,
                        },
                        rules,
                    ))),
                    Err(e) => visitor(Err(e.clone())),
                };
                if !go_on {
                    return;
                }
            }
        }
    }
}

/// Sees each grant of a user with its rules, or why it could not be resolved; `false` ends it.
type Visitor<'a> = dyn FnMut(Result<(&Grant<'_>, &[Rule]), String>) -> bool + 'a;

/// Why a rule applies, for the reason of a decision.
struct Grant<'a> {
    namespace: &'a str,
    name: &'a str,
    binding: &'a Binding,
    user: &'a User,
}

impl std::fmt::Display for Grant<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Binding {
            role_kind,
            role_name,
            subjects,
        } = self.binding;
        match self.namespace {
            "" => write!(f, "ClusterRoleBinding {:?}", self.name)?,
            namespace => write!(f, "RoleBinding {:?}", format!("{}/{namespace}", self.name))?,
        }
        write!(f, " of {role_kind} {:?} to ", role_name.as_str())?;
        match subjects.iter().find(|s| s.is(self.user)) {
            Some(Subject::User(name)) => write!(f, "User {:?}", name.as_str()),
            Some(Subject::Group(name)) => write!(f, "Group {:?}", name.as_str()),
            Some(Subject::ServiceAccount(_, shown)) => {
                write!(f, "ServiceAccount {:?}", shown.as_str())
            }
            None => Ok(()),
        }
    }
}

/// Bootstrap roles are the same in every cluster of the process: their rules are kept once.
fn shared(name: &str, rules: Vec<Rule>) -> Rules {
    match bootstrap::cluster_role_rules(name) {
        Some(known) if **known == *rules => known.clone(),
        _ => rules.into(),
    }
}

/// As `utilerrors.NewAggregate(…).Error()`: one error bare, several in brackets without repeats.
fn aggregate(errors: &[String]) -> String {
    let mut seen: Vec<&str> = Vec::new();
    for e in errors {
        if !seen.contains(&e.as_str()) {
            seen.push(e);
        }
    }
    if let [one] = seen[..] {
        one.to_owned()
    } else {
        format!("[{}]", seen.join(", "))
    }
}

impl Subject {
    fn from_value(subject: &Value, binding_namespace: &str) -> Option<Self> {
        let name = subject.str_at(&["name"]).unwrap_or_default();
        match subject.str_at(&["kind"])? {
            "User" => Some(Self::User(name.into())),
            "Group" => Some(Self::Group(name.into())),
            "ServiceAccount" => {
                let own = subject.str_at(&["namespace"]).unwrap_or_default();
                let namespace = if own.is_empty() {
                    binding_namespace
                } else {
                    own
                };
                let user = format!("system:serviceaccount:{namespace}:{name}");
                (!namespace.is_empty()).then(|| {
                    Self::ServiceAccount(user.into(), format!("{name}/{namespace}").into())
                })
            }
            _ => None,
        }
    }

    fn is(&self, user: &User) -> bool {
        match self {
            Self::User(name) | Self::ServiceAccount(name, _) => *name == user.name,
            Self::Group(name) => user.groups.iter().any(|g| name == g),
        }
    }
}

impl Binding {
    fn from_value(object: &Value, namespace: &str) -> Self {
        let subjects = object
            .get("subjects")
            .and_then(Value::as_array)
            .unwrap_or_default();
        Self {
            role_kind: object
                .str_at(&["roleRef", "kind"])
                .unwrap_or_default()
                .into(),
            role_name: object
                .str_at(&["roleRef", "name"])
                .unwrap_or_default()
                .into(),
            subjects: subjects
                .iter()
                .filter_map(|s| Subject::from_value(s, namespace))
                .collect(),
        }
    }
}

impl Bindings {
    fn put(&mut self, name: &str, binding: Binding) {
        self.remove(name);
        for subject in &binding.subjects {
            let (index, key) = match subject {
                Subject::User(key) | Subject::ServiceAccount(key, _) => (&mut self.users, key),
                Subject::Group(key) => (&mut self.groups, key),
            };
            index.entry(key.clone()).or_default().insert(name.into());
        }
        self.by_name.insert(name.into(), binding);
    }

    fn remove(&mut self, name: &str) {
        let Some(binding) = self.by_name.remove(name) else {
            return;
        };
        for subject in &binding.subjects {
            let (index, key) = match subject {
                Subject::User(key) | Subject::ServiceAccount(key, _) => (&mut self.users, key),
                Subject::Group(key) => (&mut self.groups, key),
            };
            if let Some(names) = index.get_mut(key) {
                names.remove(name);
                if names.is_empty() {
                    index.remove(key);
                }
            }
        }
    }

    /// The bindings that name this user, in the order of their names.
    fn of(&self, user: &User) -> BTreeSet<&Str> {
        let by_group = user
            .groups
            .iter()
            .filter_map(|g| self.groups.get(g.as_str()));
        self.users
            .get(user.name.as_str())
            .into_iter()
            .chain(by_group)
            .flatten()
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use freehold_model::value;

    fn get(namespace: &str, resource: &str) -> Attributes {
        Attributes {
            verb: "get".into(),
            namespace: namespace.into(),
            resource: resource.into(),
            ..Attributes::default()
        }
    }

    fn user(name: &str) -> User {
        User {
            name: name.into(),
            groups: vec!["system:authenticated".into()],
            ..User::default()
        }
    }

    fn role(kind: &str, namespace: &str, name: &str, resource: &str) -> Value {
        value!({"kind": kind, "metadata": {"name": name, "namespace": namespace},
            "rules": [{"apiGroups": [""], "resources": [resource], "verbs": ["get"]}]})
    }

    fn binding(namespace: &str, name: &str, role: &str, role_name: &str, subject: Value) -> Value {
        let kind = if namespace.is_empty() {
            "ClusterRoleBinding"
        } else {
            "RoleBinding"
        };
        value!({"kind": kind, "metadata": {"name": name, "namespace": namespace},
            "subjects": [subject], "roleRef": {"kind": role, "name": role_name}})
    }

    #[test]
    fn a_role_binding_reaches_its_own_namespace_only() {
        let mut rbac = Rbac::default();
        rbac.put(&role("ClusterRole", "", "r", "pods"));
        rbac.put(&binding(
            "a",
            "b",
            "ClusterRole",
            "r",
            value!({"kind": "User", "name": "ann"}),
        ));
        let decision = rbac.authorize(&user("ann"), &get("a", "pods"));
        assert!(decision.allowed);
        assert_eq!(
            decision.reason,
            r#"RBAC: allowed by RoleBinding "b/a" of ClusterRole "r" to User "ann""#
        );
        assert!(!rbac.authorize(&user("ann"), &get("b", "pods")).allowed);
        assert!(!rbac.authorize(&user("ann"), &get("", "pods")).allowed);
        assert!(!rbac.authorize(&user("bob"), &get("a", "pods")).allowed);
    }

    #[test]
    fn a_cluster_role_binding_cannot_use_a_namespaced_role() {
        let mut rbac = Rbac::default();
        rbac.put(&role("Role", "a", "r", "pods"));
        rbac.put(&binding(
            "",
            "b",
            "Role",
            "r",
            value!({"kind": "User", "name": "ann"}),
        ));
        let decision = rbac.authorize(&user("ann"), &get("a", "pods"));
        assert!(!decision.allowed);
        assert_eq!(
            decision.reason,
            r#"RBAC: role.rbac.authorization.k8s.io "r" not found"#
        );
    }

    #[test]
    fn a_service_account_subject_takes_the_namespace_of_its_binding() {
        let mut rbac = Rbac::default();
        rbac.put(&role("Role", "a", "r", "pods"));
        rbac.put(&binding(
            "a",
            "b",
            "Role",
            "r",
            value!({"kind": "ServiceAccount", "name": "sa"}),
        ));
        let decision = rbac.authorize(&user("system:serviceaccount:a:sa"), &get("a", "pods"));
        assert_eq!(
            decision.reason,
            r#"RBAC: allowed by RoleBinding "b/a" of Role "r" to ServiceAccount "sa/a""#
        );
        assert!(
            !rbac
                .authorize(&user("system:serviceaccount:c:sa"), &get("a", "pods"))
                .allowed
        );
        rbac.put(&binding(
            "",
            "c",
            "ClusterRole",
            "r",
            value!({"kind": "ServiceAccount", "name": "sa"}),
        ));
        assert!(
            !rbac
                .authorize(&user("system:serviceaccount::sa"), &get("a", "pods"))
                .allowed
        );
    }

    #[test]
    fn groups_grant_and_masters_may_do_anything() {
        let mut rbac = Rbac::default();
        rbac.put(&role("ClusterRole", "", "r", "pods"));
        rbac.put(&binding(
            "",
            "b",
            "ClusterRole",
            "r",
            value!({"kind": "Group", "name": "system:authenticated"}),
        ));
        assert!(rbac.authorize(&user("ann"), &get("a", "pods")).allowed);
        let master = User {
            groups: vec![GROUP_MASTERS.into()],
            ..User::default()
        };
        assert!(
            Rbac::default()
                .authorize(&master, &get("a", "secrets"))
                .allowed
        );
    }

    #[test]
    fn what_is_removed_or_replaced_no_longer_grants() {
        let mut rbac = Rbac::default();
        rbac.put(&role("Role", "a", "r", "pods"));
        rbac.put(&binding(
            "a",
            "b",
            "Role",
            "r",
            value!({"kind": "User", "name": "ann"}),
        ));
        rbac.put(&binding(
            "a",
            "b",
            "Role",
            "r",
            value!({"kind": "User", "name": "bob"}),
        ));
        assert!(!rbac.authorize(&user("ann"), &get("a", "pods")).allowed);
        assert!(rbac.authorize(&user("bob"), &get("a", "pods")).allowed);
        rbac.remove("RoleBinding", "a", "b");
        assert!(!rbac.authorize(&user("bob"), &get("a", "pods")).allowed);
        rbac.remove("Role", "a", "r");
        assert!(rbac.roles.is_empty() && rbac.bindings.is_empty());
    }

    #[test]
    fn a_missing_role_does_not_hide_another_grant() {
        let mut rbac = Rbac::default();
        rbac.put(&binding(
            "a",
            "a",
            "Role",
            "gone",
            value!({"kind": "User", "name": "ann"}),
        ));
        rbac.put(&role("Role", "a", "r", "pods"));
        rbac.put(&binding(
            "a",
            "b",
            "Role",
            "r",
            value!({"kind": "User", "name": "ann"}),
        ));
        assert!(rbac.authorize(&user("ann"), &get("a", "pods")).allowed);
        let held = rbac.rules_for(&user("ann"), "a");
        assert_eq!((held.rules.len(), held.errors.len()), (1, 1));
    }

    #[test]
    fn unknown_subject_and_role_kinds_grant_nothing() {
        let mut rbac = Rbac::default();
        rbac.put(&role("Role", "a", "r", "pods"));
        rbac.put(&binding(
            "a",
            "b",
            "Thing",
            "r",
            value!({"kind": "User", "name": "ann"}),
        ));
        rbac.put(&binding(
            "a",
            "c",
            "Role",
            "r",
            value!({"kind": "Robot", "name": "bob"}),
        ));
        assert!(!rbac.authorize(&user("ann"), &get("a", "pods")).allowed);
        assert!(!rbac.authorize(&user("bob"), &get("a", "pods")).allowed);
    }
}

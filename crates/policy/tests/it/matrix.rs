//! The golden authorization matrix: who may do what on a cluster as it starts, with the usual
//! bindings of a tenant. A change of any decision shows as a change of `matrix.txt`.
//!
//! `FREEHOLD_BLESS=1 cargo test -p freehold-policy` writes the file anew.

use freehold_model::value;
use freehold_policy::rbac::Rbac;
use freehold_policy::{Attributes, User, bootstrap, forbidden_message};
use std::fmt::Write as _;

fn cluster() -> Rbac {
    let mut rbac = Rbac::default();
    let bind = |name: &str, namespace: &str, role: &str| {
        value!({"kind": "RoleBinding", "metadata": {"name": name, "namespace": namespace},
            "subjects": [{"kind": "User", "name": name}],
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role}})
    };
    let own = [
        bind("admin-of-a", "a", "admin"),
        bind("editor-of-a", "a", "edit"),
        bind("viewer-of-a", "a", "view"),
    ];
    for object in bootstrap::objects().iter().chain(&own) {
        rbac.put(object);
    }
    rbac
}

fn actors() -> Vec<(&'static str, User)> {
    let user = |name: &str, groups: &[&str]| User {
        name: name.into(),
        groups: groups.iter().map(ToString::to_string).collect(),
        ..User::default()
    };
    let known = |name: &'static str| (name, user(name, &["system:authenticated"]));
    let account = |shown, name: &str| {
        let groups = [
            "system:serviceaccounts",
            "system:serviceaccounts:kube-system",
            "system:authenticated",
        ];
        (
            shown,
            user(
                &format!("system:serviceaccount:kube-system:{name}"),
                &groups,
            ),
        )
    };
    vec![
        (
            "anonymous",
            user("system:anonymous", &["system:unauthenticated"]),
        ),
        known("nobody"),
        known("viewer-of-a"),
        known("editor-of-a"),
        known("admin-of-a"),
        (
            "cluster-admin",
            user("root", &["system:masters", "system:authenticated"]),
        ),
        (
            "monitoring",
            user("prom", &["system:monitoring", "system:authenticated"]),
        ),
        (
            "node",
            user("system:node:n1", &["system:nodes", "system:authenticated"]),
        ),
        known("system:kube-proxy"),
        known("system:kube-scheduler"),
        known("system:kube-controller-manager"),
        account("account:default", "default"),
        account("account:namespace-controller", "namespace-controller"),
        account(
            "account:generic-garbage-collector",
            "generic-garbage-collector",
        ),
        account("account:replicaset-controller", "replicaset-controller"),
        account("account:token-cleaner", "token-cleaner"),
    ]
}

/// `verb group resource[/subresource] namespace name`, `-` for none; or `verb /path`.
const ACTIONS: &str = "
get /healthz
get /readyz
get /version
get /api
get /apis/apps/v1
get /metrics
get /openid/v1/jwks
post /api
get - pods a p
list - pods a -
list - pods b -
list - pods - -
create - pods a -
delete - pods a p
deletecollection - pods a -
get - pods/log a p
create - pods/exec a p
create - pods/eviction a p
create - pods/binding a p
update - pods/status a p
get - secrets a s
list - secrets kube-system -
delete - secrets kube-system s
create - serviceaccounts/token a sa
impersonate - serviceaccounts a sa
impersonate - users - root
impersonate - groups - system:masters
get - configmaps kube-system extension-apiserver-authentication
get apps deployments/scale a d
update apps deployments/scale a d
create apps deployments a -
update apps deployments/status a d
create apps replicasets a -
get - namespaces a a
list - namespaces - -
delete - namespaces - a
update - namespaces/finalize - a
get - nodes - n1
update - nodes/status - n1
create rbac.authorization.k8s.io roles a -
create rbac.authorization.k8s.io rolebindings a -
create rbac.authorization.k8s.io clusterroles - -
escalate rbac.authorization.k8s.io roles a r
bind rbac.authorization.k8s.io clusterroles a admin
create authorization.k8s.io selfsubjectaccessreviews - -
create authorization.k8s.io selfsubjectrulesreviews - -
create authorization.k8s.io subjectaccessreviews - -
create authorization.k8s.io localsubjectaccessreviews a -
create authentication.k8s.io tokenreviews - -
create authentication.k8s.io selfsubjectreviews - -
create certificates.k8s.io certificatesigningrequests - -
update certificates.k8s.io certificatesigningrequests/approval - c
create apiextensions.k8s.io customresourcedefinitions - -
get freehold.dev controlplanes a cp
list anything.example things b -
delete anything.example things b t
get coordination.k8s.io leases kube-system kube-scheduler
update coordination.k8s.io leases kube-system kube-controller-manager
create events.k8s.io events a -
";

fn attributes(action: &str) -> Attributes {
    let words: Vec<&str> = action
        .split(' ')
        .map(|w| if w == "-" { "" } else { w })
        .collect();
    if let [verb, path] = words[..] {
        return Attributes {
            verb: verb.into(),
            path: Some(path.into()),
            ..Attributes::default()
        };
    }
    let [verb, group, resource, namespace, name] = words[..] else {
        unreachable!("malformed action: {action}")
    };
    let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
    Attributes {
        verb: verb.into(),
        group: group.into(),
        version: "v1".into(),
        resource: resource.into(),
        subresource: subresource.into(),
        namespace: namespace.into(),
        name: name.into(),
        path: None,
    }
}

#[test]
fn the_authorization_matrix_is_as_committed() {
    let rbac = cluster();
    let mut text = String::from(
        "# actor: what is allowed of the actions in matrix.rs, and by what. All else is denied.\n",
    );
    for (shown, user) in actors() {
        writeln!(text, "\n{shown}").unwrap();
        for action in ACTIONS.lines().filter(|l| !l.is_empty()) {
            let decision = rbac.authorize(&user, &attributes(action));
            if decision.allowed {
                let by = decision
                    .reason
                    .strip_prefix("RBAC: allowed by ")
                    .and_then(|r| r.split_once(" of "));
                let reason = by.map_or("system:masters", |(binding, _)| binding);
                writeln!(text, "  {action:<62} {reason}").unwrap();
            }
        }
    }
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/matrix.txt");
    if std::env::var_os("FREEHOLD_BLESS").is_some() {
        std::fs::write(&path, &text).unwrap();
    }
    let committed = std::fs::read_to_string(&path).unwrap();
    assert!(
        committed == text,
        "decisions differ from {}; now:\n{text}",
        path.display()
    );
}

#[test]
fn refusals_read_as_upstream_words_them() {
    let (_, nobody) = actors().remove(1);
    let message = |action| forbidden_message(&nobody, &attributes(action), "");
    assert_eq!(
        message("get - pods/log a p"),
        r#"User "nobody" cannot get resource "pods/log" in API group "" in the namespace "a""#
    );
    assert_eq!(
        message("list apps deployments - -"),
        r#"User "nobody" cannot list resource "deployments" in API group "apps" at the cluster scope"#
    );
    assert_eq!(
        message("get /metrics"),
        r#"User "nobody" cannot get path "/metrics""#
    );
}

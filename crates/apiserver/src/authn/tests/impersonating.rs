//! Impersonation headers.

use super::*;
use crate::authz::Authz;
use http::HeaderMap;

fn authz() -> Authz {
    Authz::of(&[
        value!({"kind": "ClusterRole", "metadata": {"name": "r"}, "rules": [
            {"apiGroups": [""], "resources": ["users"], "resourceNames": ["ann"], "verbs": ["impersonate"]},
            {"apiGroups": [""], "resources": ["groups"], "resourceNames": ["devs"], "verbs": ["impersonate"]},
            {"apiGroups": ["authentication.k8s.io"], "resources": ["userextras/scopes"], "verbs": ["impersonate"]}]}),
        value!({"kind": "ClusterRoleBinding", "metadata": {"name": "b"}, "subjects": [{"kind": "User", "name": "bob"}],
            "roleRef": {"kind": "ClusterRole", "name": "r"}}),
        value!({"kind": "ClusterRole", "metadata": {"name": "sa"}, "rules": [
            {"apiGroups": [""], "resources": ["serviceaccounts"], "verbs": ["impersonate"]}]}),
        value!({"kind": "RoleBinding", "metadata": {"name": "b", "namespace": "n"},
            "subjects": [{"kind": "User", "name": "bob"}], "roleRef": {"kind": "ClusterRole", "name": "sa"}}),
    ])
}

fn act(headers: &[(&'static str, &str)]) -> Result<Option<User>, (u16, String)> {
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        map.append(*name, value.parse().unwrap());
    }
    let bob = User {
        name: "bob".into(),
        ..User::default()
    };
    let acted = impersonate(&mut map, &bob, &authz()).map_err(|e| (e.code, e.message))?;
    assert!(
        map.keys()
            .all(|name| !name.as_str().starts_with("impersonate-")),
        "headers stay: {map:?}"
    );
    Ok(acted)
}

#[test]
fn what_is_allowed_is_who_the_request_acts_as() {
    assert_eq!(act(&[("accept", "x")]), Ok(None));
    let user = act(&[
        ("impersonate-user", "ann"),
        ("impersonate-group", "devs"),
        ("impersonate-extra-scopes", "a"),
        ("impersonate-extra-scopes", "b"),
    ]);
    let user = user.unwrap().unwrap();
    assert_eq!(user.name, "ann");
    assert_eq!(user.groups, ["devs", "system:authenticated"]);
    assert_eq!(
        user.extra,
        [("scopes".to_owned(), vec!["a".to_owned(), "b".to_owned()])]
    );
}

#[test]
fn a_service_account_brings_its_groups() {
    let user = act(&[("impersonate-user", "system:serviceaccount:n:sa")])
        .unwrap()
        .unwrap();
    assert_eq!(
        user.groups,
        [
            "system:serviceaccounts",
            "system:serviceaccounts:n",
            "system:authenticated"
        ]
    );
}

#[test]
fn every_part_needs_its_own_permission() {
    let (code, message) = act(&[("impersonate-user", "root")]).unwrap_err();
    assert_eq!(code, 403);
    assert_eq!(
        message,
        r#"users "root" is forbidden: User "bob" cannot impersonate resource "users" in API group "" at the cluster scope"#
    );
    for more in [
        ("impersonate-group", "system:masters"),
        ("impersonate-uid", "1"),
        ("impersonate-extra-other", "a"),
        ("impersonate-extra-scopes%2fx", "a"),
    ] {
        assert_eq!(
            act(&[("impersonate-user", "ann"), more]).unwrap_err().0,
            403,
            "{more:?}"
        );
    }
    assert_eq!(
        act(&[("impersonate-user", "system:serviceaccount:m:sa")])
            .unwrap_err()
            .0,
        403
    );
}

#[test]
fn parts_without_a_user_are_a_bad_request() {
    for header in [
        ("impersonate-group", "devs"),
        ("impersonate-uid", "1"),
        ("impersonate-extra-scopes", "a"),
    ] {
        assert_eq!(act(&[header]).unwrap_err().0, 400);
    }
    let many: Vec<_> = (0..200).map(|_| ("impersonate-group", "devs")).collect();
    assert_eq!(act(&many).unwrap_err().0, 400);
}

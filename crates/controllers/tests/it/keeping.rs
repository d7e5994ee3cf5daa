//! What is kept filled, gathered or tidy.

use crate::world::{World, namespaced, unique};
use serde_json::{Value, json};
use std::collections::BTreeMap;

crate::on_both!(
    a_token_secret_is_filled_and_goes_with_its_account,
    a_gathering_role_follows_what_it_gathers,
    an_expired_bootstrap_token_goes,
);

async fn a_token_secret_is_filled_and_goes_with_its_account(world: &'static World) {
    let ns = world.namespace().await;
    let account = world
        .post(
            &namespaced(&ns, "serviceaccounts", ""),
            json!({"metadata": {"name": "robot"}}),
        )
        .await;
    let secret = |name: &str| {
        json!({"type": "kubernetes.io/service-account-token",
            "metadata": {"name": name, "annotations": {"kubernetes.io/service-account.name": "robot"}}})
    };
    let secrets = namespaced(&ns, "secrets", "");
    world.post(&secrets, secret("token")).await;
    let path = format!("{secrets}/token");
    let data = |s: Option<&Value>, key: &str| {
        s.and_then(|s| s["data"][key].as_str())
            .map(str::len)
            .unwrap_or(0)
    };
    world
        .becomes(&path, |s| {
            data(s, "token") > 0 && data(s, "ca.crt") > 0 && data(s, "namespace") > 0
        })
        .await;
    let filled = world.get(&path).await;
    assert_eq!(
        filled.map(|s| s["metadata"]["annotations"]["kubernetes.io/service-account.uid"].clone()),
        Some(account["metadata"]["uid"].clone())
    );
    world
        .delete(&namespaced(&ns, "serviceaccounts", "robot"), "Background")
        .await;
    world.goes(&path).await;
}

async fn a_gathering_role_follows_what_it_gathers(world: &'static World) {
    let roles = "/apis/rbac.authorization.k8s.io/v1/clusterroles";
    let (label, all) = (unique("gather"), unique("all"));
    let rule =
        |resource: &str| json!({"apiGroups": [""], "resources": [resource], "verbs": ["get"]});
    let part = |name: &str, resource: &str| json!({"metadata": {"name": format!("{all}-{name}"), "labels": {label.as_str(): "yes"}}, "rules": [rule(resource)]});
    let selector = json!({"matchLabels": {label.as_str(): "yes"}});
    world
        .post(roles, json!({"metadata": {"name": all}, "aggregationRule": {"clusterRoleSelectors": [selector]}, "rules": []}))
        .await;
    world.post(roles, part("b", "pods")).await;
    world.post(roles, part("a", "secrets")).await;
    let path = format!("{roles}/{all}");
    world
        .becomes(&path, |r| {
            r.is_some_and(|r| r["rules"] == json!([rule("secrets"), rule("pods")]))
        })
        .await;
    world
        .delete(&format!("{roles}/{all}-a"), "Background")
        .await;
    world
        .becomes(&path, |r| {
            r.is_some_and(|r| r["rules"] == json!([rule("pods")]))
        })
        .await;
    for name in ["admin", "edit", "view"] {
        world
            .becomes(&format!("{roles}/{name}"), |r| {
                r.is_some_and(|r| r["rules"].is_array())
            })
            .await;
    }
}

async fn an_expired_bootstrap_token_goes(world: &'static World) {
    let secrets = namespaced("kube-system", "secrets", "");
    let token = |id: &str, expiration: &str| {
        json!({"type": "bootstrap.kubernetes.io/token", "metadata": {"name": format!("bootstrap-token-{id}")},
            "stringData": {"token-id": id, "token-secret": "0123456789abcdef", "expiration": expiration}})
    };
    world
        .post(&secrets, token("stayin", "2999-01-01T00:00:00Z"))
        .await;
    world
        .post(&secrets, token("leavin", "2001-01-01T00:00:00Z"))
        .await;
    world
        .goes(&format!("{secrets}/bootstrap-token-leavin"))
        .await;
    assert!(
        world
            .get(&format!("{secrets}/bootstrap-token-stayin"))
            .await
            .is_some()
    );
}

/// Upstream's server made its own; ours come from `freehold-policy`. `admin`, `edit` and `view`
/// are gathered there by our controller.
#[test]
fn the_roles_a_cluster_starts_with_are_upstreams() {
    match crate::upstream::world() {
        Some(world) => crate::world::run(world, compare_bootstrap_roles),
        None => println!("skipped: run `cargo xtask upstream`"),
    }
}

type ByName = BTreeMap<(String, String), Value>;

fn key(object: &Value) -> (String, String) {
    let text = |field: &str| {
        object["metadata"][field]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    };
    (text("namespace"), text("name"))
}

fn ours(resource: &str) -> ByName {
    let json = |object| {
        serde_json::from_slice::<Value>(&freehold_model::json::to_vec(object)).expect("JSON")
    };
    let is_wanted = |object: &Value| {
        let kind = object["kind"].as_str().unwrap_or_default();
        format!("{}s", kind.to_lowercase()) == resource
    };
    let all = freehold_policy::bootstrap::objects();
    all.iter()
        .map(json)
        .filter(is_wanted)
        .map(|object| (key(&object), object))
        .collect()
}

/// A list as ours has it: items say their kind, and nothing that a server adds is left.
fn theirs(list: Option<&Value>, kind: &str) -> ByName {
    let items = list
        .and_then(|l| l["items"].as_array())
        .cloned()
        .unwrap_or_default();
    let bare = |mut object: Value| {
        if let Some(metadata) = object["metadata"].as_object_mut() {
            for field in [
                "uid",
                "resourceVersion",
                "creationTimestamp",
                "managedFields",
            ] {
                metadata.remove(field);
            }
        }
        object["apiVersion"] = "rbac.authorization.k8s.io/v1".into();
        object["kind"] = kind.into();
        (key(&object), object)
    };
    items.into_iter().map(bare).collect()
}

async fn compare_bootstrap_roles(world: &'static World) {
    for (resource, kind) in [
        ("clusterroles", "ClusterRole"),
        ("clusterrolebindings", "ClusterRoleBinding"),
        ("roles", "Role"),
        ("rolebindings", "RoleBinding"),
    ] {
        let ours = ours(resource);
        assert!(!ours.is_empty());
        let selector = "labelSelector=kubernetes.io%2Fbootstrapping%3Drbac-defaults";
        let path = format!("/apis/rbac.authorization.k8s.io/v1/{resource}?{selector}");
        // Gathered rules arrive a little after the start.
        world
            .becomes(&path, |list| theirs(list, kind) == ours)
            .await;
    }
}

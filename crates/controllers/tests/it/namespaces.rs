//! Namespaces and what every one of them has.

use crate::world::{CA, World, namespaced, unique};
use serde_json::{Value, json};

crate::on_both!(
    every_namespace_has_an_account_and_the_ca_and_gets_them_back,
    a_deleted_namespace_goes_with_all_that_is_in_it,
    a_namespace_waits_for_finalizers_and_says_so,
);

async fn every_namespace_has_an_account_and_the_ca_and_gets_them_back(world: &'static World) {
    let namespace = world.namespace().await;
    let account = namespaced(&namespace, "serviceaccounts", "default");
    let map = namespaced(&namespace, "configmaps", "kube-root-ca.crt");
    let is_right = |map: Option<&Value>| map.is_some_and(|m| m["data"] == json!({"ca.crt": CA}));
    world.becomes(&map, is_right).await;
    world
        .patch(&map, json!({"data": {"ca.crt": "another", "more": "x"}}))
        .await;
    world.becomes(&map, is_right).await;
    world.delete(&map, "Background").await;
    world.becomes(&map, is_right).await;
    world.delete(&account, "Background").await;
    world.appears(&account).await;
    for existing in ["default", "kube-system"] {
        world
            .appears(&namespaced(existing, "serviceaccounts", "default"))
            .await;
        world
            .becomes(
                &namespaced(existing, "configmaps", "kube-root-ca.crt"),
                is_right,
            )
            .await;
    }
}

/// Defines a kind and waits until it is served.
pub(crate) async fn define(world: &World, scope: &str) -> String {
    let plural = unique("things").replace('-', "");
    let group = "controllers.test";
    let name = format!("{plural}.{group}");
    let kind = format!("T{}", &plural[1..]);
    let definition = json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": name},
        "spec": {
            "group": group, "scope": scope,
            "names": {"plural": plural, "singular": kind.to_lowercase(), "kind": kind, "listKind": format!("{kind}List")},
            "versions": [{"name": "v1", "served": true, "storage": true,
                "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}}],
        },
    });
    world
        .post(
            "/apis/apiextensions.k8s.io/v1/customresourcedefinitions",
            definition,
        )
        .await;
    world.appears(&format!("/apis/{group}/v1/{plural}")).await;
    plural
}

pub(crate) fn things(plural: &str, namespace: &str, name: &str) -> String {
    let base = format!("/apis/controllers.test/v1/namespaces/{namespace}/{plural}/{name}");
    base.trim_end_matches('/').to_owned()
}

pub(crate) fn thing(plural: &str, name: &str) -> Value {
    json!({"apiVersion": "controllers.test/v1", "kind": format!("T{}", &plural[1..]), "metadata": {"name": name}})
}

async fn a_deleted_namespace_goes_with_all_that_is_in_it(world: &'static World) {
    let namespace = world.namespace().await;
    let plural = define(world, "Namespaced").await;
    world
        .post(&things(&plural, &namespace, ""), thing(&plural, "a"))
        .await;
    world.config_map(&namespace, "a", &[]).await;
    let secrets = namespaced(&namespace, "secrets", "");
    world
        .post(&secrets, json!({"metadata": {"name": "a"}}))
        .await;
    let container = json!({"name": "c", "image": "i"});
    let pods = namespaced(&namespace, "pods", "");
    world
        .post(
            &pods,
            json!({"metadata": {"name": "a"}, "spec": {"containers": [container]}}),
        )
        .await;
    world
        .delete(&format!("/api/v1/namespaces/{namespace}"), "Background")
        .await;
    world.goes(&format!("/api/v1/namespaces/{namespace}")).await;
    for path in [
        things(&plural, &namespace, "a"),
        format!("{secrets}/a"),
        format!("{pods}/a"),
    ] {
        assert_eq!(world.get(&path).await, None);
    }
    let maps = world.get(&namespaced(&namespace, "configmaps", "")).await;
    assert_eq!(
        maps.map(|m| m["items"].as_array().map_or(0, Vec::len)),
        Some(0)
    );
}

async fn a_namespace_waits_for_finalizers_and_says_so(world: &'static World) {
    let namespace = world.namespace().await;
    let path = format!("/api/v1/namespaces/{namespace}");
    let maps = namespaced(&namespace, "configmaps", "");
    world
        .post(
            &maps,
            json!({"metadata": {"name": "held", "finalizers": ["test/hold"]}}),
        )
        .await;
    world.delete(&path, "Background").await;
    world
        .becomes(&path, |n| {
            condition(n, "NamespaceFinalizersRemaining") == Some("True".into())
        })
        .await;
    let now = world.get(&path).await;
    assert_eq!(
        now.as_ref().map(|n| n["status"]["phase"].clone()),
        Some("Terminating".into())
    );
    assert_eq!(
        condition(now.as_ref(), "NamespaceContentRemaining"),
        Some("True".into())
    );
    assert_eq!(
        condition(now.as_ref(), "NamespaceDeletionDiscoveryFailure"),
        Some("False".into())
    );
    world
        .patch(
            &format!("{maps}/held"),
            json!({"metadata": {"finalizers": null}}),
        )
        .await;
    world.goes(&path).await;
}

fn condition(namespace: Option<&Value>, kind: &str) -> Option<String> {
    let all = namespace?["status"]["conditions"].as_array()?;
    Some(
        all.iter().find(|c| c["type"] == kind)?["status"]
            .as_str()?
            .to_owned(),
    )
}

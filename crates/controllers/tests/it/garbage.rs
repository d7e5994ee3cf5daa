//! What owners leave behind.

use crate::namespaces::{define, thing, things};
use crate::world::{World, blocking, config_map_owner, namespaced, uid, unique};
use serde_json::{Value, json};
use std::time::Duration;

crate::on_both!(
    dependents_go_with_their_owner_and_theirs_with_them,
    a_dependent_stays_while_one_of_its_owners_does,
    a_foreground_owner_goes_last,
    orphans_stay_and_forget_their_owner,
    what_never_had_its_owner_goes,
    an_owner_of_a_defined_kind_takes_its_dependents_along,
    a_cluster_scoped_object_is_not_judged_by_a_namespaced_owner,
);

fn owners(object: Option<&Value>) -> usize {
    object
        .and_then(|o| o["metadata"]["ownerReferences"].as_array())
        .map_or(0, Vec::len)
}

async fn dependents_go_with_their_owner_and_theirs_with_them(world: &'static World) {
    let ns = world.namespace().await;
    let path = |name: &str| namespaced(&ns, "configmaps", name);
    let owner = world.config_map(&ns, "owner", &[]).await;
    let child = world
        .config_map(&ns, "child", &[config_map_owner("owner", &owner)])
        .await;
    world
        .config_map(&ns, "grandchild", &[config_map_owner("child", &child)])
        .await;
    world.config_map(&ns, "bystander", &[]).await;
    world.delete(&path("owner"), "Background").await;
    world.goes(&path("child")).await;
    world.goes(&path("grandchild")).await;
    assert!(world.get(&path("bystander")).await.is_some());
}

async fn a_dependent_stays_while_one_of_its_owners_does(world: &'static World) {
    let ns = world.namespace().await;
    let path = |name: &str| namespaced(&ns, "configmaps", name);
    let [a, b] = [
        world.config_map(&ns, "a", &[]).await,
        world.config_map(&ns, "b", &[]).await,
    ];
    world
        .config_map(
            &ns,
            "child",
            &[config_map_owner("a", &a), config_map_owner("b", &b)],
        )
        .await;
    world.delete(&path("a"), "Background").await;
    world
        .becomes(&path("child"), |child| owners(child) == 1)
        .await;
    world.delete(&path("b"), "Background").await;
    world.goes(&path("child")).await;
}

async fn a_foreground_owner_goes_last(world: &'static World) {
    let ns = world.namespace().await;
    let path = |name: &str| namespaced(&ns, "configmaps", name);
    let owner = world.config_map(&ns, "owner", &[]).await;
    world
        .config_map(&ns, "child", &[blocking(config_map_owner("owner", &owner))])
        .await;
    world
        .patch(
            &path("child"),
            json!({"metadata": {"finalizers": ["test/hold"]}}),
        )
        .await;
    world
        .config_map(&ns, "loose", &[config_map_owner("owner", &owner)])
        .await;
    world.delete(&path("owner"), "Foreground").await;
    world
        .becomes(&path("child"), |c| {
            c.is_some_and(|c| c["metadata"]["deletionTimestamp"].is_string())
        })
        .await;
    world.goes(&path("loose")).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(
        world.get(&path("owner")).await.is_some(),
        "it waits for what blocks it"
    );
    world
        .patch(&path("child"), json!({"metadata": {"finalizers": null}}))
        .await;
    world.goes(&path("owner")).await;
}

async fn orphans_stay_and_forget_their_owner(world: &'static World) {
    let ns = world.namespace().await;
    let path = |name: &str| namespaced(&ns, "configmaps", name);
    let owner = world.config_map(&ns, "owner", &[]).await;
    let other = world.config_map(&ns, "other", &[]).await;
    world
        .config_map(&ns, "child", &[blocking(config_map_owner("owner", &owner))])
        .await;
    world
        .config_map(
            &ns,
            "shared",
            &[
                config_map_owner("owner", &owner),
                config_map_owner("other", &other),
            ],
        )
        .await;
    world.delete(&path("owner"), "Orphan").await;
    world.goes(&path("owner")).await;
    let child = world.get(&path("child")).await;
    assert!(child.is_some() && owners(child.as_ref()) == 0);
    assert_eq!(owners(world.get(&path("shared")).await.as_ref()), 1);
}

async fn what_never_had_its_owner_goes(world: &'static World) {
    let ns = world.namespace().await;
    let path = |name: &str| namespaced(&ns, "configmaps", name);
    let real = world.config_map(&ns, "real", &[]).await;
    let elsewhere = world.namespace().await;
    let foreign = world.config_map(&elsewhere, "foreign", &[]).await;
    world
        .config_map(
            &ns,
            "of-nobody",
            &[config_map_owner(
                "nobody",
                "00000000-0000-0000-0000-000000000000",
            )],
        )
        .await;
    world
        .config_map(
            &ns,
            "of-another-uid",
            &[config_map_owner(
                "real",
                "00000000-0000-0000-0000-000000000001",
            )],
        )
        .await;
    world
        .config_map(
            &ns,
            "of-another-namespace",
            &[config_map_owner("foreign", &foreign)],
        )
        .await;
    world
        .config_map(&ns, "of-real", &[config_map_owner("real", &real)])
        .await;
    for name in ["of-nobody", "of-another-uid", "of-another-namespace"] {
        world.goes(&path(name)).await;
    }
    assert!(world.get(&path("of-real")).await.is_some());
    assert!(
        world
            .get(&namespaced(&elsewhere, "configmaps", "foreign"))
            .await
            .is_some()
    );
}

async fn an_owner_of_a_defined_kind_takes_its_dependents_along(world: &'static World) {
    let ns = world.namespace().await;
    let plural = define(world, "Namespaced").await;
    let mut owner = thing(&plural, "owner");
    let made = world.post(&things(&plural, &ns, ""), owner.clone()).await;
    owner["metadata"]["uid"] = uid(&made).into();
    let reference = json!({"apiVersion": owner["apiVersion"], "kind": owner["kind"], "name": "owner", "uid": uid(&made)});
    world.config_map(&ns, "child", &[reference]).await;
    // Its kind is new: the deletion must be seen all the same.
    world
        .delete(&things(&plural, &ns, "owner"), "Background")
        .await;
    world.goes(&namespaced(&ns, "configmaps", "child")).await;
}

async fn a_cluster_scoped_object_is_not_judged_by_a_namespaced_owner(world: &'static World) {
    let name = unique("role");
    let roles = "/apis/rbac.authorization.k8s.io/v1/clusterroles";
    let owner = config_map_owner("none", "00000000-0000-0000-0000-000000000002");
    world
        .post(
            roles,
            json!({"metadata": {"name": name, "ownerReferences": [owner]}}),
        )
        .await;
    // Something that is judged later and goes shows that the role's turn has come.
    let ns = world.namespace().await;
    world
        .config_map(
            &ns,
            "after",
            &[config_map_owner(
                "none",
                "00000000-0000-0000-0000-000000000003",
            )],
        )
        .await;
    world.goes(&namespaced(&ns, "configmaps", "after")).await;
    assert!(world.get(&format!("{roles}/{name}")).await.is_some());
    world.delete(&format!("{roles}/{name}"), "Background").await;
}

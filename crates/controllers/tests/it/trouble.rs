//! Starting late, an API that fails, and very much at once.

use crate::freehold;
use crate::world::{RUNTIME, World, config, config_map_owner, namespaced};
use futures::StreamExt as _;
use serde_json::json;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tower::ServiceExt as _;

#[test]
fn what_was_left_behind_while_nobody_looked_goes_at_the_start() {
    RUNTIME.block_on(async {
        let control_plane = freehold::control_plane("late").await;
        let client = kube::Client::new(control_plane.service(freehold::admin()), "default");
        let world = World {
            client: client.clone(),
        };
        let owner = world.config_map("default", "owner", &[]).await;
        world
            .config_map("default", "child", &[config_map_owner("owner", &owner)])
            .await;
        let stays = world.config_map("default", "stays", &[]).await;
        world
            .config_map("default", "of-stays", &[config_map_owner("stays", &stays)])
            .await;
        world
            .delete(&namespaced("default", "configmaps", "owner"), "Background")
            .await;
        world
            .post(
                "/api/v1/namespaces",
                json!({"metadata": {"name": "leaving"}}),
            )
            .await;
        world
            .delete("/api/v1/namespaces/leaving", "Background")
            .await;
        assert!(
            world
                .get(&namespaced("default", "configmaps", "child"))
                .await
                .is_some()
        );
        let running = freehold_controllers::run_all(client, config());
        world
            .goes(&namespaced("default", "configmaps", "child"))
            .await;
        world.goes("/api/v1/namespaces/leaving").await;
        assert!(
            world
                .get(&namespaced("default", "configmaps", "of-stays"))
                .await
                .is_some()
        );
        running.stop().await;
    });
}

#[test]
fn an_api_that_refuses_everything_for_a_while_is_waited_for() {
    RUNTIME.block_on(async {
        let control_plane = freehold::control_plane("refusing").await;
        let (plain, refuses) = (
            control_plane.service(freehold::admin()),
            Arc::new(AtomicBool::new(true)),
        );
        let refused = refuses.clone();
        let service = tower::service_fn(move |request: http::Request<kube::client::Body>| {
            let (service, refused) = (plain.clone(), refused.load(Ordering::Relaxed));
            async move {
                if refused {
                    let mut response = http::Response::new(freehold_apiserver::Body::empty());
                    *response.status_mut() = http::StatusCode::SERVICE_UNAVAILABLE;
                    return Ok::<_, std::convert::Infallible>(response);
                }
                service.oneshot(request).await
            }
        });
        let running =
            freehold_controllers::run_all(kube::Client::new(service, "default"), config());
        let world = World {
            client: kube::Client::new(control_plane.service(freehold::admin()), "default"),
        };
        tokio::time::sleep(Duration::from_millis(300)).await;
        let account = namespaced("default", "serviceaccounts", "default");
        assert!(world.get(&account).await.is_none());
        refuses.store(false, Ordering::Relaxed);
        world.appears(&account).await;
        // And again, with watches open.
        refuses.store(true, Ordering::Relaxed);
        world
            .post(
                "/api/v1/namespaces",
                json!({"metadata": {"name": "meanwhile"}}),
            )
            .await;
        tokio::time::sleep(Duration::from_millis(300)).await;
        refuses.store(false, Ordering::Relaxed);
        world
            .appears(&namespaced("meanwhile", "serviceaccounts", "default"))
            .await;
        running.stop().await;
    });
}

#[test]
fn a_thousand_dependents_go_with_their_owner_in_time() {
    RUNTIME.block_on(async {
        let world = freehold::world();
        let ns = world.namespace().await;
        let owner = world.config_map(&ns, "owner", &[]).await;
        let (ns, owner) = (ns.as_str(), owner.as_str());
        let create = |i: usize| async move {
            world
                .config_map(
                    ns,
                    &format!("child-{i}"),
                    &[config_map_owner("owner", owner)],
                )
                .await
        };
        futures::stream::iter(0..1000)
            .map(create)
            .buffer_unordered(32)
            .count()
            .await;
        world
            .delete(&namespaced(ns, "configmaps", "owner"), "Background")
            .await;
        let left = |list: Option<&serde_json::Value>| {
            // The CA's map is not theirs.
            list.and_then(|l| l["items"].as_array())
                .is_some_and(|items| items.len() <= 1)
        };
        world.becomes(&namespaced(ns, "configmaps", ""), left).await;
    });
}

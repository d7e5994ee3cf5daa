//! The operator killed at any moment, and run twice.

use crate::control_planes::{control_plane, object, tenant};
use crate::harness::{Host, create, gone, is_ready, until};
use freehold_api::dialects::kubeflex::FlexControlPlane;
use freehold_api::{ControlPlane, Tenant};
use freehold_tenancy::prepare;
use k8s_openapi::api::core::v1::{Namespace, Secret};
use kube::api::{DeleteParams, ListParams};
use serde_json::json;
use std::time::Duration;

/// Kills the operator again and again, a little later each time, until the work is done.
async fn kill_until_done(host: &mut Host, done: impl AsyncFn(&Host) -> bool) {
    for round in 0..400u64 {
        host.start_operator();
        tokio::time::sleep(Duration::from_millis(round % 60 * (1 + round / 60))).await;
        host.crash_operator().await;
        if done(host).await {
            return;
        }
    }
    panic!("the work was never done");
}

#[tokio::test]
async fn killed_at_any_step_it_resumes_and_leaves_nothing() {
    let mut host = Host::start().await;
    host.crash_operator().await;
    create(&host.all(), &tenant("acme", json!({}))).await;
    let flex: FlexControlPlane =
        object(json!({"metadata": {"name": "flex"}, "spec": {"type": "k8s"}}));
    create(&host.all(), &flex).await;
    kill_until_done(&mut host, async |host| {
        host.all::<Namespace>()
            .get_opt("tenant-acme")
            .await
            .unwrap()
            .is_some()
    })
    .await;
    let planes = host.within::<ControlPlane>("tenant-acme");
    create(&planes, &control_plane("prod", json!({}))).await;
    kill_until_done(&mut host, async |host| {
        let secrets = host.within::<Secret>("flex-system");
        host.within::<ControlPlane>("tenant-acme")
            .get("prod")
            .await
            .is_ok_and(|cp| is_ready(&cp))
            && secrets.get_opt("admin-kubeconfig").await.unwrap().is_some()
    })
    .await;
    host.all::<Tenant>()
        .delete("acme", &DeleteParams::default())
        .await
        .unwrap();
    host.all::<FlexControlPlane>()
        .delete("flex", &DeleteParams::default())
        .await
        .unwrap();
    kill_until_done(&mut host, async |host| {
        let tenants = host
            .all::<Tenant>()
            .list(&ListParams::default())
            .await
            .unwrap();
        let flex = host
            .all::<FlexControlPlane>()
            .list(&ListParams::default())
            .await
            .unwrap();
        tenants.items.is_empty() && flex.items.is_empty()
    })
    .await;
    for name in ["tenant-acme", "tenant-flex", "flex-system"] {
        gone(&host.all::<Namespace>(), name).await;
    }
    assert_eq!(host.keyspaces().await, Vec::<String>::new());
    let planes = host
        .all::<ControlPlane>()
        .list(&ListParams::default())
        .await
        .unwrap();
    assert!(planes.items.is_empty());
}

#[tokio::test]
async fn two_operators_at_once_come_to_the_same_end() {
    let mut host = Host::start().await;
    let (client, config) = (host.admin(), host.config.clone());
    let second = tokio::spawn(freehold_tenancy::run(client, config, Default::default()));
    create(&host.all(), &tenant("acme", json!({}))).await;
    until(&host.all::<Namespace>(), "tenant-acme", |_| true).await;
    let planes = host.within::<ControlPlane>("tenant-acme");
    for name in ["a", "b", "c"] {
        create(&planes, &control_plane(name, json!({}))).await;
    }
    for name in ["a", "b", "c"] {
        until(&planes, name, is_ready).await;
    }
    host.all::<Tenant>()
        .delete("acme", &DeleteParams::default())
        .await
        .unwrap();
    gone(&host.all::<Tenant>(), "acme").await;
    gone(&host.all::<Namespace>(), "tenant-acme").await;
    second.abort();
    host.stop_operator().await;
}

#[tokio::test]
async fn preparing_a_host_twice_changes_nothing() {
    let host = Host::bare().await;
    let client = host.admin();
    prepare(&client, &host.config).await.unwrap();
    let versions = async || {
        let crds: kube::Api<kube::api::DynamicObject> = kube::Api::all_with(
            host.admin(),
            &kube::api::ApiResource::from_gvk(&kube::core::GroupVersionKind::gvk(
                "apiextensions.k8s.io",
                "v1",
                "CustomResourceDefinition",
            )),
        );
        let all = crds.list(&ListParams::default()).await.unwrap();
        all.items
            .iter()
            .map(|crd| (crd.metadata.name.clone(), crd.metadata.generation))
            .collect::<Vec<_>>()
    };
    let before = versions().await;
    assert_eq!(before.len(), 9);
    prepare(&client, &host.config).await.unwrap();
    assert_eq!(versions().await, before);
}

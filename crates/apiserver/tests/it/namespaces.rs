//! Namespaces and what lives in them.

use crate::harness::Cluster;
use crate::objects::config_map;
use freehold_model::{Value, value};

const NS: &str = "/api/v1/namespaces";

#[tokio::test(flavor = "multi_thread")]
async fn the_first_namespaces_and_roles_exist() {
    let cluster = Cluster::start().await;
    let api = cluster.client();
    for name in ["default", "kube-system", "kube-public", "kube-node-lease"] {
        let ns = api.get(&format!("{NS}/{name}")).await.expect(200);
        assert_eq!(ns.text(&["status", "phase"]), "Active");
    }
    api.get("/apis/rbac.authorization.k8s.io/v1/clusterroles/cluster-admin")
        .await
        .expect(200);
    let service = api
        .get(&format!("{NS}/default/services/kubernetes"))
        .await
        .expect(200);
    assert_eq!(service.text(&["spec", "clusterIP"]), "10.96.0.1");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_namespace_goes_when_it_is_finalized_and_lets_nothing_in_before() {
    let cluster = Cluster::start().await;
    let api = cluster.client();
    let made = api
        .post(NS, &value!({"metadata": {"name": "a"}}))
        .await
        .expect(201);
    assert_eq!(
        made.body.at(&["spec", "finalizers"]),
        Some(&Value::from(vec!["kubernetes"]))
    );
    api.post(&format!("{NS}/a/configmaps"), &config_map("x", "1"))
        .await
        .expect(201);
    let marked = api.delete(&format!("{NS}/a")).await.expect(200);
    assert_eq!(marked.text(&["status", "phase"]), "Terminating");
    let refused = api
        .post(&format!("{NS}/a/configmaps"), &config_map("y", "1"))
        .await
        .expect(403);
    assert!(
        refused
            .text(&["message"])
            .ends_with("because it is being terminated")
    );
    // What is there may still change and go.
    api.put(&format!("{NS}/a/configmaps/x"), &config_map("x", "2"))
        .await
        .expect(200);
    api.delete(&format!("{NS}/a/configmaps/x"))
        .await
        .expect(200);
    let mut body = api.get(&format!("{NS}/a")).await.expect(200).body;
    body.set(&["spec", "finalizers"], Value::Array(Vec::new()));
    api.put(&format!("{NS}/a"), &body).await.expect(200);
    api.get(&format!("{NS}/a")).await.expect(200);
    body.unset(&["metadata", "resourceVersion"]);
    api.put(&format!("{NS}/a/finalize"), &body)
        .await
        .expect(200);
    api.get(&format!("{NS}/a")).await.expect(404);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_created_in_a_namespace_that_is_not_there() {
    let cluster = Cluster::start().await;
    let api = cluster.client();
    let a = api
        .post(&format!("{NS}/none/configmaps"), &config_map("x", "1"))
        .await
        .expect(404);
    assert_eq!(a.text(&["message"]), "namespaces \"none\" not found");
    assert_eq!(api.delete(&format!("{NS}/default")).await.code, 403);
}

#[tokio::test(flavor = "multi_thread")]
async fn names_are_checked_by_kind() {
    let cluster = Cluster::start().await;
    let api = cluster.client();
    for name in ["A", "a.b", "-a", "a_b"] {
        let a = api.post(NS, &value!({"metadata": {"name": name}})).await;
        assert_eq!(a.code, 422, "{name}");
    }
    let cms = format!("{NS}/default/configmaps");
    api.post(&cms, &config_map("a.b", "1")).await.expect(201);
    api.post(&cms, &config_map("a/b", "1")).await.expect(422);
}

//! Objects through their life: create, get, update, patch, delete.

use crate::harness::Cluster;
use freehold_model::{Value, value};

fn config_map(name: &str, data: &str) -> Value {
    value!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"k": data}})
}

const CMS: &str = "/api/v1/namespaces/default/configmaps";

#[tokio::test(flavor = "multi_thread")]
async fn a_created_object_is_there_with_what_the_server_adds() {
    let cluster = Cluster::start().await;
    let api = cluster.client();
    let made = api.post(CMS, &config_map("a", "1")).await.expect(201);
    assert_eq!(made.text(&["metadata", "namespace"]), "default");
    assert!(!made.text(&["metadata", "uid"]).is_empty());
    let got = api.get(&format!("{CMS}/a")).await.expect(200);
    assert_eq!(got.body, made.body);
    let again = api.post(CMS, &config_map("a", "1")).await.expect(409);
    assert_eq!(again.text(&["message"]), "configmaps \"a\" already exists");
    assert_eq!(api.get(&format!("{CMS}/b")).await.expect(404).text(&["message"]), "configmaps \"b\" not found");
}

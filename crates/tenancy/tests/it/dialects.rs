//! Foreign objects on a host in this process.

use crate::control_planes::{object, ready_tenant};
use crate::harness::{Host, create, gone, text, until};
use freehold_api::condition::{reasons, types};
use freehold_api::dialects::capsule::CapsuleTenant;
use freehold_api::dialects::kamaji::{DataStore, State, TenantControlPlane};
use freehold_api::dialects::kubeflex::{FlexControlPlane, PostCreateHook};
use freehold_api::{Condition, ControlPlane, Hook, Tenant, condition};
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Secret};
use k8s_openapi::api::rbac::v1::RoleBinding;
use kube::api::{Api, DeleteParams, Patch, PatchParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use serde::de::DeserializeOwned;
use serde_json::json;

fn fixtures<K: DeserializeOwned>(name: &str) -> Vec<K> {
    let file = std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures")
        .join(name);
    let text = std::fs::read_to_string(file).unwrap();
    text.split("\n---\n")
        .map(|t| serde_saphyr::from_str(t).unwrap())
        .collect()
}

fn fixture<K: DeserializeOwned>(name: &str) -> K {
    fixtures(name).remove(0)
}

fn state(tcp: &TenantControlPlane) -> Option<State> {
    let resources = tcp.status.as_ref()?.kubernetes_resources.as_ref()?;
    Some(resources.version.as_ref()?.status)
}

fn has(conditions: Option<&Vec<Condition>>, type_: &str, reason: &str) -> bool {
    conditions
        .and_then(|all| condition::find(all, type_))
        .is_some_and(|c| c.reason == reason)
}

async fn answers(kubeconfig: &str) {
    let read = Kubeconfig::from_yaml(kubeconfig).unwrap();
    let config = kube::Config::from_custom_kubeconfig(read, &KubeConfigOptions::default())
        .await
        .unwrap();
    let client = kube::Client::try_from(config).unwrap();
    let namespaces: Api<Namespace> = Api::all(client);
    assert!(namespaces.get("default").await.is_ok());
}

#[tokio::test]
async fn kamajis_customer2_is_ready_sleeps_and_goes_without_a_trace() {
    kamaji(&Host::start().await).await;
}

/// The story of that test, on any host.
pub(crate) async fn kamaji(host: &Host) {
    host.namespace("kamaji-system", &[]).await;
    let api = host.within::<TenantControlPlane>("kamaji-system");
    create(&api, &fixture("kamaji-customer2.yaml")).await;
    let tcp = until(&api, "customer2", |tcp| state(tcp) == Some(State::Ready)).await;
    let status = tcp.status.unwrap();
    assert!(has(
        Some(&status.conditions),
        types::FIELDS_WITHOUT_EFFECT,
        reasons::NOT_YET_SUPPORTED
    ));
    let secrets = host.within::<Secret>("kamaji-system");
    let admin = text(&secrets.get("customer2-admin-kubeconfig").await.unwrap());
    answers(&admin["admin.conf"]).await;

    let replicas = |n: i32| Patch::Merge(json!({"spec": {"replicas": n}}));
    api.patch_scale("customer2", &PatchParams::default(), &replicas(0))
        .await
        .unwrap();
    until(&api, "customer2", |tcp| state(tcp) == Some(State::Sleeping)).await;
    assert_eq!(
        api.get_scale("customer2")
            .await
            .unwrap()
            .status
            .unwrap()
            .replicas,
        0
    );
    api.patch_scale("customer2", &PatchParams::default(), &replicas(1))
        .await
        .unwrap();
    until(&api, "customer2", |tcp| state(tcp) == Some(State::Ready)).await;

    // a lost secret comes back
    secrets
        .delete("customer2-admin-kubeconfig", &DeleteParams::default())
        .await
        .unwrap();
    let poke = Patch::Merge(json!({"metadata": {"annotations": {"poke": "1"}}}));
    api.patch("customer2", &PatchParams::default(), &poke)
        .await
        .unwrap();
    until(&secrets, "customer2-admin-kubeconfig", |_| true).await;

    api.delete("customer2", &DeleteParams::default())
        .await
        .unwrap();
    gone(&api, "customer2").await;
    gone(&secrets, "customer2-admin-kubeconfig").await;
    gone(&host.all::<Tenant>(), "kamaji-system").await;
    gone(&host.all::<Namespace>(), "tenant-kamaji-system").await;
    assert_eq!(host.keyspaces().await, Vec::<String>::new());
}

#[tokio::test]
async fn a_namespace_with_a_tenant_keeps_foreign_objects_in_it() {
    let host = Host::start().await;
    ready_tenant(&host, "acme", json!({})).await;
    ready_tenant(&host, "globex", json!({})).await;
    // in the tenant's own namespace
    let api = host.within::<TenantControlPlane>("tenant-acme");
    let mut tcp: TenantControlPlane = fixture("kamaji-customer2.yaml");
    tcp.metadata.namespace = Some("tenant-acme".into());
    create(&api, &tcp).await;
    until(&api, "customer2", |tcp| state(tcp) == Some(State::Ready)).await;
    assert!(
        host.within::<ControlPlane>("tenant-acme")
            .get("customer2")
            .await
            .is_ok()
    );
    // claiming another tenant is refused
    tcp.metadata.name = Some("thief".into());
    tcp.metadata.labels = Some([("freehold.dev/tenant".into(), "globex".into())].into());
    create(&api, &tcp).await;
    until(&api, "thief", |tcp| {
        has(
            tcp.status.as_ref().map(|s| &s.conditions),
            types::SYNCED,
            reasons::TENANT_MISMATCH,
        )
    })
    .await;
    let stolen = host
        .within::<ControlPlane>("tenant-globex")
        .get_opt("thief")
        .await
        .unwrap();
    assert!(stolen.is_none());
    // a namespace that happens to be called like a tenant is not the tenant's
    host.namespace("globex", &[]).await;
    let api = host.within::<TenantControlPlane>("globex");
    tcp.metadata.namespace = Some("globex".into());
    tcp.metadata.labels = None;
    create(&api, &tcp).await;
    until(&api, "thief", |tcp| {
        has(
            tcp.status.as_ref().map(|s| &s.conditions),
            types::SYNCED,
            reasons::TENANT_MISMATCH,
        )
    })
    .await;
    api.delete("thief", &DeleteParams::default()).await.unwrap();
    gone(&api, "thief").await;
    assert!(
        host.all::<Tenant>().get("globex").await.is_ok(),
        "an explicit tenant stays"
    );
}

#[tokio::test]
async fn a_secret_that_is_there_already_is_not_overwritten() {
    let host = Host::start().await;
    host.namespace("kamaji-system", &[]).await;
    let secrets = host.within::<Secret>("kamaji-system");
    let mine: Secret = object(json!({
        "metadata": {"name": "customer2-admin-kubeconfig"}, "stringData": {"mine": "yes"},
    }));
    create(&secrets, &mine).await;
    let api = host.within::<TenantControlPlane>("kamaji-system");
    create(&api, &fixture("kamaji-customer2.yaml")).await;
    until(&api, "customer2", |tcp| {
        has(
            tcp.status.as_ref().map(|s| &s.conditions),
            types::SYNCED,
            reasons::NAME_CONFLICT,
        )
    })
    .await;
    let kept = text(&secrets.get("customer2-admin-kubeconfig").await.unwrap());
    assert!(!kept.contains_key("admin.conf"));
}

#[tokio::test]
async fn kamajis_datastore_says_what_was_checked() {
    let host = Host::start().await;
    let api = host.all::<DataStore>();
    create(&api, &fixture("kamaji-datastore.yaml")).await;
    let reason = |reason: &'static str| {
        move |store: &DataStore| {
            has(
                store.status.as_ref().map(|s| &s.conditions),
                types::READY,
                reason,
            )
        }
    };
    let store = until(&api, "tenant-acme-etcd", reason(reasons::INVALID_SPEC)).await;
    let conditions = store.status.unwrap().conditions;
    assert!(
        conditions[0]
            .message
            .contains("there is no secret tenant-acme/etcd-acme-ca")
    );
    host.namespace("tenant-acme", &[]).await;
    for name in ["etcd-acme-ca", "etcd-acme-client"] {
        let secret: Secret = object(json!({
            "metadata": {"name": name}, "stringData": {"tls.crt": "x", "tls.key": "x"},
        }));
        create(&host.within::<Secret>("tenant-acme"), &secret).await;
    }
    let poke = Patch::Merge(json!({"metadata": {"annotations": {"poke": "1"}}}));
    api.patch("tenant-acme-etcd", &PatchParams::default(), &poke)
        .await
        .unwrap();
    // What it is made into is the pool's to connect to; there is none here.
    until(&api, "tenant-acme-etcd", reason(reasons::WAITING_FOR_POOL)).await;
    let ours = host.all::<freehold_api::DataStore>();
    let made = ours.get("tenant-acme-etcd").await.unwrap();
    assert_eq!(made.spec.driver, freehold_api::DataStoreDriver::Etcd);
    assert_eq!(made.spec.endpoints.len(), 3);
}

#[tokio::test]
async fn kubeflexs_custom_tenant_is_ready_with_its_hooks_and_goes_without_a_trace() {
    kubeflex(&Host::start().await).await;
}

/// The story of that test, on any host.
pub(crate) async fn kubeflex(host: &Host) {
    for hook in fixtures::<PostCreateHook>("kubeflex-hooks.yaml") {
        create(&host.all(), &hook).await;
    }
    let api = host.all::<FlexControlPlane>();
    create(&api, &fixture("kubeflex-custom-tenant.yaml")).await;
    let flex = until(&api, "custom-tenant", |flex| {
        let status = flex.status.as_ref();
        status.is_some_and(|s| {
            condition::holds(&s.conditions, types::READY) && s.post_create_hook_completed
        })
    })
    .await;
    let secret = flex.status.unwrap().secret_ref.unwrap();
    assert_eq!(secret.namespace, "custom-tenant-system");
    let secrets = host.within::<Secret>("custom-tenant-system");
    let admin = text(&secrets.get("admin-kubeconfig").await.unwrap());
    answers(&admin["kubeconfig"]).await;
    answers(&admin["kubeconfig-incluster"]).await;
    let maps = host.within::<ConfigMap>("custom-tenant-system");
    let map = maps.get("monitoring-of-custom-tenant").await.unwrap();
    assert_eq!(map.data.unwrap()["namespace"], "monitoring");

    api.delete("custom-tenant", &DeleteParams::default())
        .await
        .unwrap();
    gone(&api, "custom-tenant").await;
    gone(&host.all::<Namespace>(), "custom-tenant-system").await;
    gone(&host.all::<Namespace>(), "tenant-custom-tenant").await;
    gone(&host.all::<Tenant>(), "custom-tenant").await;
    let hooks = host.all::<PostCreateHook>();
    hooks
        .delete("setup-monitoring", &DeleteParams::default())
        .await
        .unwrap();
    gone(&host.all::<Hook>(), "setup-monitoring").await;
}

#[tokio::test]
async fn a_kubeflex_control_plane_named_kube_does_not_get_kube_system() {
    let host = Host::start().await;
    let api = host.all::<FlexControlPlane>();
    let flex: FlexControlPlane =
        object(json!({"metadata": {"name": "kube"}, "spec": {"type": "k8s"}}));
    create(&api, &flex).await;
    until(&api, "kube", |flex| {
        has(
            flex.status.as_ref().map(|s| &s.conditions),
            types::SYNCED,
            reasons::NAME_CONFLICT,
        )
    })
    .await;
    api.delete("kube", &DeleteParams::default()).await.unwrap();
    gone(&api, "kube").await;
    let kept = host.all::<Namespace>().get("kube-system").await.unwrap();
    assert!(kept.metadata.deletion_timestamp.is_none());
}

#[tokio::test]
async fn capsules_dev_team_owns_the_namespaces_that_name_it_within_its_quota() {
    capsule(&Host::start().await).await;
}

/// The story of that test, on any host.
pub(crate) async fn capsule(host: &Host) {
    let api = host.all::<CapsuleTenant>();
    create(&api, &fixture("capsule-dev-team.yaml")).await;
    let ready = |t: &CapsuleTenant| {
        let status = t.status.as_ref();
        status.is_some_and(|s| condition::holds(&s.conditions, types::READY))
    };
    until(&api, "dev-team", ready).await;
    let add = json!([{"op": "add", "path": "/spec/owners/-", "value": {"kind": "User", "name": "newuser"}}]);
    let add = Patch::Json::<()>(serde_json::from_value(add).unwrap());
    api.patch("dev-team", &PatchParams::default(), &add)
        .await
        .unwrap();
    let quota = Patch::Merge(json!({"spec": {"namespaceOptions": {"quota": 1}}}));
    api.patch("dev-team", &PatchParams::default(), &quota)
        .await
        .unwrap();

    let label = [("capsule.clastix.io/tenant", "dev-team")];
    host.namespace("dev-a", &label).await;
    let bindings = host.within::<RoleBinding>("dev-a");
    until(&bindings, "freehold-namespace-owners", |b| {
        b.subjects.as_ref().unwrap().len() == 2
    })
    .await;
    host.namespace("dev-b", &label).await;
    until(&api, "dev-team", |t| {
        has(
            t.status.as_ref().map(|s| &s.conditions),
            types::WITHIN_QUOTA,
            reasons::TENANT_QUOTA_EXCEEDED,
        )
    })
    .await;
    let beyond = host.within::<RoleBinding>("dev-b");
    assert!(
        beyond
            .list(&Default::default())
            .await
            .unwrap()
            .items
            .is_empty()
    );

    api.delete("dev-team", &DeleteParams::default())
        .await
        .unwrap();
    gone(&api, "dev-team").await;
    gone(&host.all::<Tenant>(), "dev-team").await;
    for name in ["dev-a", "dev-b", "tenant-dev-team"] {
        gone(&host.all::<Namespace>(), name).await;
    }
}

//! Tenants and control planes from their creation to their end.

use crate::harness::{Host, create, gone, is_ready, reason, text, until};
use freehold_api::condition::{reasons, types};
use freehold_api::{ControlPlane, Hook, Phase, Tenant, condition};
use k8s_openapi::api::core::v1::{ConfigMap, Event, Namespace, Secret};
use k8s_openapi::api::rbac::v1::RoleBinding;
use kube::ResourceExt;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

pub(crate) fn object<K: DeserializeOwned>(value: Value) -> K {
    serde_json::from_value(value).unwrap()
}

pub(crate) fn tenant(name: &str, spec: Value) -> Tenant {
    object(json!({"metadata": {"name": name}, "spec": spec}))
}

pub(crate) fn control_plane(name: &str, spec: Value) -> ControlPlane {
    object(json!({"metadata": {"name": name}, "spec": spec}))
}

pub(crate) fn tenant_is_ready(tenant: &Tenant) -> bool {
    let status = tenant.status.as_ref();
    status.is_some_and(|s| condition::holds(&s.conditions, types::READY))
}

/// A tenant that is ready.
pub(crate) async fn ready_tenant(host: &Host, name: &str, spec: Value) -> Tenant {
    let api = host.all::<Tenant>();
    create(&api, &tenant(name, spec)).await;
    until(&api, name, tenant_is_ready).await
}

/// A control plane that is ready.
pub(crate) async fn ready_control_plane(host: &Host, tenant: &str, name: &str) -> ControlPlane {
    let api = host.within::<ControlPlane>(&format!("tenant-{tenant}"));
    create(&api, &control_plane(name, json!({}))).await;
    until(&api, name, is_ready).await
}

#[tokio::test]
async fn a_control_plane_answers_and_its_end_leaves_nothing() {
    lifecycle(&Host::start().await).await;
}

/// The story of that test, on any host.
pub(crate) async fn lifecycle(host: &Host) {
    ready_tenant(
        host,
        "acme",
        json!({"owners": [{"kind": "User", "name": "joe"}]}),
    )
    .await;
    let api = host.within::<ControlPlane>("tenant-acme");
    let before = std::time::Instant::now();
    create(&api, &control_plane("prod", json!({}))).await;
    let cp = until(&api, "prod", is_ready).await;
    println!("create to Ready: {:?}", before.elapsed());
    let status = cp.status.unwrap();
    assert_eq!(cp.spec.tenant.as_deref(), Some("acme"));
    assert_eq!(status.phase, Phase::Ready);
    let secrets = host.within::<Secret>("tenant-acme");
    let kubeconfig = status.secret_ref.unwrap();
    assert_eq!(
        (kubeconfig.name.as_str(), kubeconfig.key.as_str()),
        ("prod-kubeconfig", "kubeconfig")
    );
    let admin = text(&secrets.get("prod-kubeconfig").await.unwrap());
    assert!(admin["kubeconfig"].contains("prod.tenant-acme.freehold.internal"));
    assert_eq!(host.keyspaces().await.len(), 1);
    let events = host
        .within::<Event>("tenant-acme")
        .list(&ListParams::default())
        .await
        .unwrap();
    assert!(
        events
            .iter()
            .any(|e| e.reason.as_deref() == Some("Available"))
    );

    api.delete("prod", &DeleteParams::default()).await.unwrap();
    gone(&api, "prod").await;
    assert_eq!(host.keyspaces().await, Vec::<String>::new());
    let left = secrets.list(&ListParams::default()).await.unwrap();
    assert!(
        left.items
            .iter()
            .all(|s| !s.name_any().starts_with("prod-")),
        "{left:?}"
    );

    let tenants = host.all::<Tenant>();
    tenants
        .delete("acme", &DeleteParams::default())
        .await
        .unwrap();
    gone(&tenants, "acme").await;
    gone(&host.all::<Namespace>(), "tenant-acme").await;
}

#[tokio::test]
async fn deleting_a_tenant_deletes_its_control_planes_first() {
    let host = Host::start().await;
    ready_tenant(&host, "acme", json!({})).await;
    ready_control_plane(&host, "acme", "a").await;
    ready_control_plane(&host, "acme", "b").await;
    assert_eq!(host.keyspaces().await.len(), 2);
    let tenants = host.all::<Tenant>();
    tenants
        .delete("acme", &DeleteParams::default())
        .await
        .unwrap();
    gone(&tenants, "acme").await;
    assert_eq!(host.keyspaces().await, Vec::<String>::new());
    gone(&host.all::<Namespace>(), "tenant-acme").await;
}

#[tokio::test]
async fn what_cannot_be_done_is_said_and_no_secret_is_made_for_it() {
    let host = Host::start().await;
    ready_tenant(&host, "acme", json!({})).await;
    let api = host.within::<ControlPlane>("tenant-acme");
    let cases = [
        (
            "engine",
            json!({"engine": "Upstream"}),
            reasons::UNSUPPORTED_ENGINE,
        ),
        (
            "placement",
            json!({"placement": "Dedicated"}),
            reasons::UNSUPPORTED_PLACEMENT,
        ),
        (
            "version",
            json!({"version": "v1.2.3"}),
            reasons::UNSUPPORTED_VERSION,
        ),
        (
            "tenant",
            json!({"tenant": "globex"}),
            reasons::TENANT_MISMATCH,
        ),
    ];
    for (name, spec, wanted) in cases {
        create(&api, &control_plane(name, spec)).await;
        until(&api, name, |cp| {
            reason(cp, types::READY) == Some((false, wanted.to_owned()))
        })
        .await;
    }
    let secrets = host.within::<Secret>("tenant-acme");
    assert!(
        secrets
            .list(&ListParams::default())
            .await
            .unwrap()
            .items
            .is_empty()
    );
    for name in ["engine", "version"] {
        api.delete(name, &DeleteParams::default()).await.unwrap();
        gone(&api, name).await;
    }
}

#[tokio::test]
async fn the_schema_refuses_what_makes_no_sense() {
    let host = Host::start().await;
    ready_tenant(&host, "acme", json!({})).await;
    let api: Api<kube::api::DynamicObject> = Api::namespaced_with(
        host.admin(),
        "tenant-acme",
        &kube::api::ApiResource::erase::<ControlPlane>(&()),
    );
    for spec in [
        json!({"engine": "Magic"}),
        json!({"version": "latest"}),
        json!({"endpoint": {"port": 0}}),
        json!({"certSANs": [""]}),
        json!({"network": {"podCidr": "x"}}),
        json!({"adminCertificateSeconds": 1}),
    ] {
        let object = object(json!({
            "apiVersion": "freehold.dev/v1alpha1", "kind": "ControlPlane",
            "metadata": {"name": "x"}, "spec": spec,
        }));
        let answer = api.create(&Default::default(), &object).await;
        let Err(kube::Error::Api(status)) = answer else {
            panic!("{spec} was accepted");
        };
        assert_eq!(status.code, 422, "{spec}: {}", status.message);
    }
}

#[tokio::test]
async fn the_quota_of_control_planes_holds_and_the_next_moves_up() {
    let host = Host::start().await;
    ready_tenant(&host, "acme", json!({"controlPlanes": {"quota": 1}})).await;
    ready_control_plane(&host, "acme", "a").await;
    let api = host.within::<ControlPlane>("tenant-acme");
    create(&api, &control_plane("b", json!({}))).await;
    until(&api, "b", |cp| {
        reason(cp, types::READY) == Some((false, reasons::TENANT_QUOTA_EXCEEDED.to_owned()))
    })
    .await;
    api.delete("a", &DeleteParams::default()).await.unwrap();
    until(&api, "b", is_ready).await;
}

#[tokio::test]
async fn sleeping_is_said_and_ends() {
    let host = Host::start().await;
    ready_tenant(&host, "acme", json!({})).await;
    ready_control_plane(&host, "acme", "a").await;
    let api = host.within::<ControlPlane>("tenant-acme");
    let power = |power: &str| Patch::Merge(json!({"spec": {"power": power}}));
    api.patch("a", &PatchParams::default(), &power("Asleep"))
        .await
        .unwrap();
    until(&api, "a", |cp| {
        cp.status.as_ref().unwrap().phase == Phase::Asleep
    })
    .await;
    api.patch("a", &PatchParams::default(), &power("Auto"))
        .await
        .unwrap();
    until(&api, "a", is_ready).await;
}

#[tokio::test]
async fn secrets_that_are_lost_or_corrupted_come_back() {
    let host = Host::start().await;
    ready_tenant(&host, "acme", json!({})).await;
    ready_control_plane(&host, "acme", "a").await;
    let secrets = host.within::<Secret>("tenant-acme");
    let before = text(&secrets.get("a-kubeconfig").await.unwrap());
    secrets
        .delete("a-kubeconfig", &DeleteParams::default())
        .await
        .unwrap();
    let after = until(&secrets, "a-kubeconfig", |_| true).await;
    assert_ne!(before, text(&after));
    let junk = Patch::Merge(json!({"data": {"kubeconfig": "anVuaw=="}}));
    secrets
        .patch("a-kubeconfig", &PatchParams::default(), &junk)
        .await
        .unwrap();
    until(&secrets, "a-kubeconfig", |s| {
        text(s)["kubeconfig"] != "junk"
    })
    .await;
}

#[tokio::test]
async fn owners_have_what_the_role_gives_and_drift_is_put_right() {
    owners(&Host::start().await).await;
}

/// The story of that test, on any host.
pub(crate) async fn owners(host: &Host) {
    ready_tenant(
        host,
        "acme",
        json!({"owners": [{"kind": "User", "name": "joe"}]}),
    )
    .await;
    ready_tenant(
        host,
        "globex",
        json!({"owners": [{"kind": "User", "name": "eve"}]}),
    )
    .await;
    ready_control_plane(host, "acme", "a").await;
    let joe = host.as_user("joe", &[]);
    let planes: Api<ControlPlane> = Api::namespaced(joe.clone(), "tenant-acme");
    assert_eq!(
        planes
            .list(&ListParams::default())
            .await
            .unwrap()
            .items
            .len(),
        1
    );
    create(&planes, &control_plane("b", json!({}))).await;
    let power = Patch::Merge(json!({"spec": {"power": "Awake"}}));
    let refused = |answer: Result<(), kube::Error>| {
        let Err(kube::Error::Api(status)) = answer else {
            panic!("it was allowed");
        };
        assert_eq!(status.code, 403, "{}", status.message);
    };
    refused(
        planes
            .patch("a", &PatchParams::default(), &power)
            .await
            .map(drop),
    );
    let secrets: Api<Secret> = Api::namespaced(joe, "tenant-acme");
    refused(secrets.get("a-kubeconfig").await.map(drop));
    refused(secrets.list(&ListParams::default()).await.map(drop));
    let eve: Api<ControlPlane> = Api::namespaced(host.as_user("eve", &[]), "tenant-acme");
    refused(eve.list(&ListParams::default()).await.map(drop));
    refused(eve.get("a").await.map(drop));

    let bindings = host.within::<RoleBinding>("tenant-acme");
    let name = "freehold-tenant-owners";
    bindings
        .delete(name, &DeleteParams::default())
        .await
        .unwrap();
    until(&bindings, name, |_| true).await;
    let more = Patch::Merge(
        json!({"subjects": [{"kind": "User", "name": "eve", "apiGroup": "rbac.authorization.k8s.io"}]}),
    );
    bindings
        .patch(name, &PatchParams::default(), &more)
        .await
        .unwrap();
    until(&bindings, name, |b| {
        b.subjects.as_ref().unwrap()[0].name == "joe"
    })
    .await;
}

#[tokio::test]
async fn hooks_are_applied_once_in_the_tenants_namespace_and_go_with_it() {
    let host = Host::start().await;
    ready_tenant(&host, "acme", json!({})).await;
    let hook: Hook = object(json!({
        "metadata": {"name": "greet"},
        "spec": {
            "defaultVars": [{"name": "who", "value": "nobody"}],
            "templates": [{
                "apiVersion": "v1", "kind": "ConfigMap",
                // a hook cannot reach out of the namespace
                "metadata": {"name": "hello-{{.ControlPlaneName}}", "namespace": "kube-system"},
                "data": {"hello": "{{.who}} in {{.Namespace}} by {{.HookName}}"},
            }],
        },
    }));
    create(&host.all::<Hook>(), &hook).await;
    let api = host.within::<ControlPlane>("tenant-acme");
    let spec = json!({
        "hooks": [{"name": "greet", "vars": {"who": "world"}}, {"name": "missing"}],
        "waitForHooks": true,
    });
    create(&api, &control_plane("a", spec)).await;
    let maps = host.within::<ConfigMap>("tenant-acme");
    let map = until(&maps, "hello-a", |_| true).await;
    assert_eq!(map.data.unwrap()["hello"], "world in tenant-acme by greet");
    until(&api, "a", |cp| {
        reason(cp, types::READY) == Some((false, reasons::WAITING_FOR_HOOKS.to_owned()))
    })
    .await;
    let missing: Hook = object(json!({"metadata": {"name": "missing"}, "spec": {"templates": []}}));
    create(&host.all::<Hook>(), &missing).await;
    until(&api, "a", is_ready).await;
    api.delete("a", &DeleteParams::default()).await.unwrap();
    gone(&api, "a").await;
    gone(&maps, "hello-a").await;
}

#[tokio::test]
async fn a_hook_does_not_touch_what_is_not_its_own() {
    let host = Host::start().await;
    ready_tenant(&host, "acme", json!({})).await;
    let maps = host.within::<ConfigMap>("tenant-acme");
    let map: ConfigMap = object(json!({"metadata": {"name": "taken"}, "data": {"a": "b"}}));
    create(&maps, &map).await;
    let hook: Hook = object(json!({
        "metadata": {"name": "taker"},
        "spec": {"templates": [{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "taken"}}]},
    }));
    create(&host.all::<Hook>(), &hook).await;
    let api = host.within::<ControlPlane>("tenant-acme");
    create(
        &api,
        &control_plane("a", json!({"hooks": [{"name": "taker"}]})),
    )
    .await;
    until(&api, "a", |cp| {
        reason(cp, types::HOOKS_APPLIED) == Some((false, reasons::HOOK_FAILED.to_owned()))
    })
    .await;
    api.delete("a", &DeleteParams::default()).await.unwrap();
    gone(&api, "a").await;
    assert_eq!(maps.get("taken").await.unwrap().data.unwrap()["a"], "b");
}

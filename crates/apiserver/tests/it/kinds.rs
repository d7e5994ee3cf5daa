//! Kinds that upstream treats specially.

use crate::harness::Cluster;
use crate::objects::deployment;
use freehold_model::{Value, json, value};
use freehold_policy::User;

const NS: &str = "/api/v1/namespaces/default";

fn service(name: &str, spec: Value) -> Value {
    value!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": spec})
}

fn pod(name: &str) -> Value {
    value!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "labels": {"app": name}},
        "spec": {"containers": [{"name": "c", "image": "nginx"}]}
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn services_get_addresses_and_ports_of_their_own() {
    let cluster = Cluster::start().await;
    let api = cluster.client();
    let services = format!("{NS}/services");
    let ports = value!([{"port": 80}]);
    let a = api
        .post(
            &services,
            &service("a", value!({"ports": ports, "selector": {"a": "b"}})),
        )
        .await
        .expect(201);
    let ip = a.text(&["spec", "clusterIP"]).to_owned();
    assert!(ip.starts_with("10.96."), "{ip}");
    let taken = api
        .post(
            &services,
            &service(
                "b",
                value!({"ports": [{"port": 80}], "clusterIP": (ip.as_str())}),
            ),
        )
        .await;
    assert!(
        taken
            .expect(422)
            .text(&["message"])
            .contains("already allocated")
    );
    let outside = value!({"ports": [{"port": 80}], "clusterIP": "192.168.0.1"});
    api.post(&services, &service("b", outside))
        .await
        .expect(422);
    let none = value!({"ports": [{"port": 80}], "clusterIP": "None"});
    assert_eq!(
        api.post(&services, &service("h", none))
            .await
            .expect(201)
            .text(&["spec", "clusterIP"]),
        "None"
    );
    let np = value!({"ports": [{"port": 80, "nodePort": 30123}], "type": "NodePort"});
    api.post(&services, &service("n", np.clone()))
        .await
        .expect(201);
    let taken = api.post(&services, &service("m", np)).await.expect(422);
    assert!(
        taken
            .text(&["message"])
            .contains("provided port is already allocated")
    );
    // An update keeps what was given.
    let kept = api
        .merge(
            &format!("{services}/a"),
            &value!({"spec": {"type": "NodePort"}}),
        )
        .await
        .expect(200);
    assert_eq!(kept.text(&["spec", "clusterIP"]), ip);
    let port = kept
        .body
        .at(&["spec", "ports"])
        .and_then(Value::as_array)
        .unwrap()[0]
        .get("nodePort")
        .cloned();
    assert!(port.and_then(|p| p.as_i64()).is_some_and(|p| p >= 30_000));
}

#[tokio::test(flavor = "multi_thread")]
async fn services_created_at_once_get_different_addresses() {
    let cluster = Cluster::start().await;
    let api = cluster.client();
    let tasks: Vec<_> = (0..20)
        .map(|i| {
            let api = api.clone();
            tokio::spawn(async move {
                let body = service(&format!("s{i}"), value!({"ports": [{"port": 80}]}));
                let a = api.post(&format!("{NS}/services"), &body).await.expect(201);
                a.text(&["spec", "clusterIP"]).to_owned()
            })
        })
        .collect();
    let mut all = std::collections::BTreeSet::new();
    for t in tasks {
        assert!(all.insert(t.await.unwrap()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn string_data_of_a_secret_is_stored_as_data() {
    let cluster = Cluster::start().await;
    let api = cluster.client();
    let body = value!({"metadata": {"name": "s"}, "stringData": {"a": "hello"}});
    let made = api.post(&format!("{NS}/secrets"), &body).await.expect(201);
    assert_eq!(made.text(&["data", "a"]), "aGVsbG8=");
    assert!(made.body.get("stringData").is_none());
    assert_eq!(made.text(&["type"]), "Opaque");
}

#[tokio::test(flavor = "multi_thread")]
async fn scale_is_a_view_of_replicas() {
    let cluster = Cluster::start().await;
    let api = cluster.client();
    let all = "/apis/apps/v1/namespaces/default/deployments";
    api.post(all, &deployment("d")).await.expect(201);
    let path = format!("{all}/d/scale");
    let mut scale = api.get(&path).await.expect(200);
    assert_eq!(
        (scale.text(&["kind"]), scale.int(&["spec", "replicas"])),
        ("Scale", 1)
    );
    assert_eq!(scale.text(&["status", "selector"]), "app=d");
    scale.body.set(&["spec", "replicas"], 4_i64);
    let put = api.put(&path, &scale.body).await.expect(200);
    assert_eq!(put.int(&["spec", "replicas"]), 4);
    api.put(&path, &scale.body).await.expect(409);
    let patched = api
        .merge(&path, &value!({"spec": {"replicas": 2}}))
        .await
        .expect(200);
    assert_eq!(patched.int(&["spec", "replicas"]), 2);
    let d = api.get(&format!("{all}/d")).await.expect(200);
    assert_eq!(
        (
            d.int(&["spec", "replicas"]),
            d.int(&["metadata", "generation"])
        ),
        (2, 3)
    );
    api.merge(&path, &value!({"spec": {"replicas": (-1_i64)}}))
        .await
        .expect(422);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_is_bound_once_and_deleted_with_grace() {
    let cluster = Cluster::start().await;
    let api = cluster.client();
    let pods = format!("{NS}/pods");
    let made = api.post(&pods, &pod("p")).await.expect(201);
    assert_eq!(made.text(&["status", "phase"]), "Pending");
    assert_eq!(made.text(&["status", "qosClass"]), "BestEffort");
    assert_eq!(made.text(&["spec", "serviceAccountName"]), "default");
    let binding = value!({"metadata": {"name": "p"}, "target": {"kind": "Node", "name": "n1"}});
    api.post(&format!("{pods}/p/binding"), &binding)
        .await
        .expect(201);
    assert_eq!(
        api.get(&format!("{pods}/p"))
            .await
            .text(&["spec", "nodeName"]),
        "n1"
    );
    api.post(&format!("{pods}/p/binding"), &binding)
        .await
        .expect(409);
    let graceful = api.delete(&format!("{pods}/p")).await.expect(200);
    assert_eq!(
        graceful.int(&["metadata", "deletionGracePeriodSeconds"]),
        30
    );
    api.get(&format!("{pods}/p")).await.expect(200);
    api.delete(&format!("{pods}/p?gracePeriodSeconds=0"))
        .await
        .expect(200);
    api.get(&format!("{pods}/p")).await.expect(404);
    // One that no node has goes at once.
    api.post(&pods, &pod("q")).await.expect(201);
    api.delete(&format!("{pods}/q")).await.expect(200);
    api.get(&format!("{pods}/q")).await.expect(404);
}

#[tokio::test(flavor = "multi_thread")]
async fn eviction_respects_disruption_budgets() {
    let cluster = Cluster::start().await;
    let api = cluster.client();
    let pods = format!("{NS}/pods");
    api.post(&pods, &pod("p")).await.expect(201);
    api.merge(
        &format!("{pods}/p/status"),
        &value!({"status": {"phase": "Running"}}),
    )
    .await
    .expect(200);
    let budget = value!({
        "apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": {"name": "b"},
        "spec": {"minAvailable": 1, "selector": {"matchLabels": {"app": "p"}}}
    });
    api.post(
        "/apis/policy/v1/namespaces/default/poddisruptionbudgets",
        &budget,
    )
    .await
    .expect(201);
    let eviction =
        value!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "p"}});
    let refused = api
        .post(&format!("{pods}/p/eviction"), &eviction)
        .await
        .expect(429);
    assert!(refused.text(&["message"]).contains("disruption budget"));
    api.delete("/apis/policy/v1/namespaces/default/poddisruptionbudgets/b")
        .await
        .expect(200);
    api.post(&format!("{pods}/p/eviction"), &eviction)
        .await
        .expect(201);
    api.get(&format!("{pods}/p")).await.expect(404);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_request_says_who_really_asks() {
    let cluster = Cluster::start().await;
    let mut user = crate::harness::admin();
    user.name = "eve".into();
    let api = cluster.client_of(user);
    let all = "/apis/certificates.k8s.io/v1/certificatesigningrequests";
    let csr = value!({
        "apiVersion": "certificates.k8s.io/v1", "kind": "CertificateSigningRequest",
        "metadata": {"name": "c"},
        "spec": {"request": (request_pem()), "signerName": "example.com/x", "usages": ["client auth"],
                 "username": "admin", "groups": ["system:masters"]}
    });
    let made = api.post(all, &csr).await.expect(201);
    assert_eq!(made.text(&["spec", "username"]), "eve");
    let condition = value!({"type": "Approved", "status": "True", "reason": "x", "message": "y"});
    let mut body = made.body.clone();
    body.set(&["status", "conditions"], Value::Array(vec![condition]));
    let approved = api
        .put(&format!("{all}/c/approval"), &body)
        .await
        .expect(200);
    assert_eq!(
        approved
            .body
            .at(&["status", "conditions"])
            .and_then(Value::as_array)
            .map(<[_]>::len),
        Some(1)
    );
    // Decisions are not made through the status, and signing needs its right.
    let status =
        value!({"status": {"conditions": [{"type": "Denied", "status": "True", "reason": "x"}]}});
    let kept = api
        .merge(&format!("{all}/c/status"), &status)
        .await
        .expect(200);
    let types: Vec<_> = kept
        .body
        .at(&["status", "conditions"])
        .and_then(Value::as_array)
        .unwrap()
        .to_vec();
    assert_eq!(types.len(), 1);
    assert_eq!(types[0].str_at(&["type"]), Some("Approved"));
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_asks_for_the_group_that_may_do_anything() {
    let cluster = Cluster::start().await;
    let csr = value!({
        "apiVersion": "certificates.k8s.io/v1", "kind": "CertificateSigningRequest",
        "metadata": {"name": "c"},
        "spec": {"request": (request_pem()), "signerName": "kubernetes.io/kube-apiserver-client", "usages": ["client auth"]}
    });
    let all = "/apis/certificates.k8s.io/v1/certificatesigningrequests";
    let refused = cluster.client().post(all, &csr).await.expect(403);
    assert!(refused.text(&["message"]).contains("system:masters"));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_write_the_status_may_not_therefore_sign() {
    let cluster = Cluster::start().await;
    let admin = cluster.client();
    let all = "/apis/certificates.k8s.io/v1/certificatesigningrequests";
    let csr = value!({
        "apiVersion": "certificates.k8s.io/v1", "kind": "CertificateSigningRequest",
        "metadata": {"name": "c"},
        "spec": {"request": (request_pem()), "signerName": "example.com/x", "usages": ["client auth"]}
    });
    admin.post(all, &csr).await.expect(201);
    let role = value!({"metadata": {"name": "w"}, "rules": [{
        "apiGroups": ["certificates.k8s.io"],
        "resources": ["certificatesigningrequests/status", "certificatesigningrequests/approval"],
        "verbs": ["update", "patch"]
    }]});
    let rbac = "/apis/rbac.authorization.k8s.io/v1";
    admin
        .post(&format!("{rbac}/clusterroles"), &role)
        .await
        .expect(201);
    let binding = value!({
        "metadata": {"name": "w"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "w"},
        "subjects": [{"kind": "User", "name": "wil", "apiGroup": "rbac.authorization.k8s.io"}]
    });
    admin
        .post(&format!("{rbac}/clusterrolebindings"), &binding)
        .await
        .expect(201);
    let wil = cluster.client_of(User {
        name: "wil".into(),
        ..User::default()
    });
    let condition =
        value!({"status": {"conditions": [{"type": "Approved", "status": "True", "reason": "x"}]}});
    let no = wil
        .merge(&format!("{all}/c/approval"), &condition)
        .await
        .expect(403);
    assert!(
        no.text(&["message"]).contains("not permitted to approve"),
        "{}",
        no.text(&["message"])
    );
    let failed =
        value!({"status": {"conditions": [{"type": "Failed", "status": "True", "reason": "x"}]}});
    let no = wil
        .merge(&format!("{all}/c/status"), &failed)
        .await
        .expect(403);
    assert!(no.text(&["message"]).contains("not permitted to sign"));
}

fn request_pem() -> String {
    use base64::Engine as _;
    let key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
    params
        .distinguished_name
        .push(rcgen::DnType::CommonName, "x");
    let masters = "system:masters";
    params
        .distinguished_name
        .push(rcgen::DnType::OrganizationName, masters);
    let pem = params.serialize_request(&key).unwrap().pem().unwrap();
    base64::engine::general_purpose::STANDARD.encode(pem)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_of_a_service_account_is_accepted_and_revoked_with_it() {
    let cluster = Cluster::start().await;
    let api = cluster.client();
    api.post(
        &format!("{NS}/serviceaccounts"),
        &value!({"metadata": {"name": "bot"}}),
    )
    .await
    .expect(201);
    let request = value!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"expirationSeconds": 600}});
    let made = api
        .post(&format!("{NS}/serviceaccounts/bot/token"), &request)
        .await
        .expect(201);
    let token = made.text(&["status", "token"]).to_owned();
    let review = value!({"spec": {"token": (token.as_str())}});
    let path = "/apis/authentication.k8s.io/v1/tokenreviews";
    let known = api.post(path, &review).await.expect(201);
    assert_eq!(
        known.text(&["status", "user", "username"]),
        "system:serviceaccount:default:bot"
    );
    api.delete(&format!("{NS}/serviceaccounts/bot"))
        .await
        .expect(200);
    let unknown = api.post(path, &review).await.expect(201);
    assert!(
        unknown
            .body
            .at(&["status", "authenticated"])
            .is_none_or(|v| v.as_bool() == Some(false))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn reviews_answer_for_the_one_who_asks() {
    let cluster = Cluster::start().await;
    let nobody = cluster.client_of(User {
        name: "nobody".into(),
        groups: vec!["system:authenticated".into()],
        ..User::default()
    });
    let path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
    let ask = value!({"spec": {"resourceAttributes": {"verb": "get", "resource": "pods", "namespace": "default"}}});
    let no = nobody.post(path, &ask).await.expect(201);
    assert_eq!(
        no.body.at(&["status", "allowed"]),
        Some(&Value::Bool(false))
    );
    let yes = cluster.client().post(path, &ask).await.expect(201);
    assert_eq!(
        yes.body.at(&["status", "allowed"]),
        Some(&Value::Bool(true))
    );
    let who = nobody
        .post(
            "/apis/authentication.k8s.io/v1/selfsubjectreviews",
            &Value::object(),
        )
        .await
        .expect(201);
    assert_eq!(who.text(&["status", "userInfo", "username"]), "nobody");
    let table = nobody
        .raw(
            "POST",
            path,
            &[
                ("content-type", "application/json"),
                ("accept", "application/json;as=Table;v=v1;g=meta.k8s.io"),
            ],
            json::to_vec(&ask),
        )
        .await;
    assert_eq!(table.status().as_u16(), 406);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_selects_its_own_pods_and_leaves_them_by_default() {
    let cluster = Cluster::start().await;
    let api = cluster.client();
    let all = "/apis/batch/v1/namespaces/default/jobs";
    let job = value!({"metadata": {"name": "j"}, "spec": {"template": {"spec": {
        "restartPolicy": "Never", "containers": [{"name": "c", "image": "x"}]
    }}}});
    let made = api.post(all, &job).await.expect(201);
    let uid = made.text(&["metadata", "uid"]);
    let key = "batch.kubernetes.io/controller-uid";
    assert_eq!(made.text(&["spec", "selector", "matchLabels", key]), uid);
    assert_eq!(
        made.text(&["spec", "template", "metadata", "labels", key]),
        uid
    );
    assert_eq!(made.text(&["metadata", "labels", "job-name"]), "j");
    let marked = api.delete(&format!("{all}/j")).await.expect(200);
    assert_eq!(
        marked.body.at(&["metadata", "finalizers"]),
        Some(&Value::from(vec!["orphan"]))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn profiles_in_annotations_become_fields_and_pods_are_warned_of() {
    let cluster = Cluster::start().await;
    let key = "container.apparmor.security.beta.kubernetes.io/";
    let mut pod = value!({
        "metadata": {"name": "p"},
        "spec": {
            "securityContext": {"appArmorProfile": {"type": "Unconfined"}},
            "containers": [
                {"name": "a", "image": "i", "env": [{"name": "A", "value": "x"}, {"name": "A", "value": "y"}]},
                {"name": "b", "image": "i"},
                {"name": "c", "image": "i"}
            ]
        }
    });
    for (name, profile) in [("a", "localhost/x"), ("b", "unconfined")] {
        let key = format!("{key}{name}");
        pod.set(&["metadata", "annotations", &key], profile);
    }
    let path = "/api/v1/namespaces/default/pods";
    let made = cluster.client().post(path, &pod).await.expect(201);
    let containers = made
        .body
        .at(&["spec", "containers"])
        .and_then(Value::as_array);
    let profiles: Vec<_> = containers
        .unwrap()
        .iter()
        .map(|c| c.at(&["securityContext", "appArmorProfile"]).cloned())
        .collect();
    let local = value!({"type": "Localhost", "localhostProfile": "x"});
    assert_eq!(profiles, [Some(local), None, None]);
    let wanted = [
        format!("metadata.annotations[{key}a]: deprecated since v1.30; use the \\\"appArmorProfile\\\" field instead"),
        "spec.containers[0].env[1]: hides previous definition of \\\"A\\\", which may be dropped when using apply".to_owned(),
    ];
    let wanted = wanted.map(|text| format!("299 - \"{text}\""));
    assert_eq!(made.warnings, wanted);
}

/// As `dropDisabledClusterTrustBundleProjection` of kubernetes `pkg/api/pod/util.go` does.
#[tokio::test(flavor = "multi_thread")]
async fn trust_bundles_and_certificates_in_volumes_are_taken_since_1_37() {
    let sources = || {
        value!([
            {"clusterTrustBundle": {"name": "a", "path": "a"}},
            {"podCertificate": {"signerName": "a.b/c", "keyType": "ED25519", "keyPath": "k"}},
            {"configMap": {"name": "c"}}
        ])
    };
    let path = ["spec", "template", "spec", "volumes"];
    let made = async |cluster: &Cluster| {
        let mut with = deployment("with");
        let mut volume = value!({"name": "v"});
        volume.set(&["projected", "sources"], sources());
        with.set(&path, Value::Array(vec![volume]));
        let url = "/apis/apps/v1/namespaces/default/deployments";
        let made = cluster.client().post(url, &with).await.expect(201);
        let volumes = made.body.at(&path).and_then(Value::as_array).unwrap();
        volumes[0].at(&["projected", "sources"]).cloned().unwrap()
    };
    let newest = Cluster::of_minor(37).await;
    assert_eq!(made(&newest).await, sources());
    let cluster = newest.restart_as(36).await;
    // It has them already and keeps them.
    let one = "/apis/apps/v1/namespaces/default/deployments/with";
    let kept = value!({"metadata": {"labels": {"a": "b"}}});
    let kept = cluster.client().merge(one, &kept).await.expect(200);
    let volumes = kept.body.at(&path).and_then(Value::as_array).unwrap();
    assert_eq!(volumes[0].at(&["projected", "sources"]), Some(&sources()));
    cluster.client().delete(one).await.expect(200);
    let without = value!([{}, {}, {"configMap": {"name": "c"}}]);
    assert_eq!(made(&cluster).await, without);
}

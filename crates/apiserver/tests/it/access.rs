//! What somebody without rights is told, path by path; limits.

use crate::harness::{Client, Cluster};
use freehold_apiserver::Limits;
use freehold_model::{Value, value};
use freehold_policy::User;

fn user(name: &str) -> User {
    User {
        name: name.into(),
        groups: vec!["system:authenticated".into()],
        ..User::default()
    }
}

async fn discover(api: &Client) -> Vec<(String, Value)> {
    let mut all = Vec::new();
    let core = api.get("/api/v1").await.expect(200);
    all.push(("/api/v1".to_owned(), core.body));
    let groups = api.get("/apis").await.expect(200);
    for g in groups.body.get("groups").and_then(Value::as_array).unwrap() {
        for v in g.get("versions").and_then(Value::as_array).unwrap() {
            let path = format!("/apis/{}", v.str_at(&["groupVersion"]).unwrap());
            let list = api.get(&path).await.expect(200);
            all.push((path, list.body));
        }
    }
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn every_endpoint_denies_a_stranger() {
    let cluster = Cluster::start().await;
    let admin = cluster.client();
    let stranger = cluster.client_of(user("stranger"));
    let mut checked = 0;
    for (base, list) in discover(&admin).await {
        for r in list.get("resources").and_then(Value::as_array).unwrap() {
            let (name, sub) = {
                let full = r.str_at(&["name"]).unwrap();
                full.split_once('/').map_or((full, ""), |(n, s)| (n, s))
            };
            let scope = if r.get("namespaced").and_then(Value::as_bool) == Some(true) {
                "/namespaces/default"
            } else {
                ""
            };
            for verb in r
                .get("verbs")
                .and_then(Value::as_array)
                .unwrap()
                .iter()
                .filter_map(Value::as_str)
            {
                let object = if sub.is_empty() {
                    "/x".to_owned()
                } else {
                    format!("/x/{sub}")
                };
                let (method, tail) = match verb {
                    "get" => ("GET", object),
                    "list" | "watch" => ("GET", String::new()),
                    "create" if sub.is_empty() => ("POST", String::new()),
                    "create" => ("POST", object),
                    "update" => ("PUT", object),
                    "patch" => ("PATCH", object),
                    "delete" => ("DELETE", object),
                    "deletecollection" => ("DELETE", String::new()),
                    other => panic!("unknown verb {other}"),
                };
                let path = format!("{base}{scope}/{name}{tail}");
                let a = stranger
                    .send(method, &path, "application/json", b"{}".to_vec())
                    .await;
                let own = matches!(
                    name,
                    "selfsubjectaccessreviews" | "selfsubjectrulesreviews" | "selfsubjectreviews"
                );
                if own {
                    assert_ne!(a.code, 403, "{method} {path}");
                } else {
                    assert_eq!(a.code, 403, "{method} {path}");
                }
                checked += 1;
            }
        }
    }
    assert!(checked > 400, "only {checked} endpoints were checked");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_opens_what_it_names_and_nothing_else() {
    let cluster = Cluster::start().await;
    let admin = cluster.client();
    let rbac = "/apis/rbac.authorization.k8s.io/v1/namespaces/default";
    let role = value!({"metadata": {"name": "r"}, "rules": [{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get", "create"]}]});
    admin
        .post(&format!("{rbac}/roles"), &role)
        .await
        .expect(201);
    let binding = value!({
        "metadata": {"name": "b"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "r"},
        "subjects": [{"kind": "User", "name": "ann", "apiGroup": "rbac.authorization.k8s.io"}]
    });
    admin
        .post(&format!("{rbac}/rolebindings"), &binding)
        .await
        .expect(201);
    let ann = cluster.client_of(user("ann"));
    let cms = "/api/v1/namespaces/default/configmaps";
    ann.post(cms, &value!({"metadata": {"name": "a"}}))
        .await
        .expect(201);
    ann.get(&format!("{cms}/a")).await.expect(200);
    let denied = ann.delete(&format!("{cms}/a")).await.expect(403);
    assert_eq!(
        denied.text(&["message"]),
        "configmaps \"a\" is forbidden: User \"ann\" cannot delete resource \"configmaps\" in API group \"\" in the namespace \"default\""
    );
    ann.get("/api/v1/namespaces/kube-system/configmaps/a")
        .await
        .expect(403);
    // Nobody grants more than they have.
    admin
        .merge(
            &format!("{rbac}/roles/r"),
            &value!({"rules": [
                {"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get"]},
                {"apiGroups": ["rbac.authorization.k8s.io"], "resources": ["roles"], "verbs": ["get", "patch", "update"]}
            ]}),
        )
        .await
        .expect(200);
    let grab = value!({"rules": [{"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}]});
    assert_eq!(ann.merge(&format!("{rbac}/roles/r"), &grab).await.code, 403);
    admin
        .delete(&format!("{rbac}/rolebindings/b"))
        .await
        .expect(200);
    ann.get(&format!("{cms}/a")).await.expect(403);
}

#[tokio::test(flavor = "multi_thread")]
async fn impersonation_needs_its_verb() {
    let cluster = Cluster::start().await;
    let as_bob = [("impersonate-user", "bob")];
    let path = "/api/v1/namespaces/default/configmaps";
    let r = cluster.client().raw("GET", path, &as_bob, Vec::new()).await;
    assert_eq!(r.status().as_u16(), 403, "bob may not");
    let to_admin = [
        ("impersonate-user", "x"),
        ("impersonate-group", "system:masters"),
    ];
    let r = cluster
        .client_of(user("eve"))
        .raw("GET", path, &to_admin, Vec::new())
        .await;
    assert_eq!(r.status().as_u16(), 403, "eve may not act as anybody");
    let r = cluster
        .client()
        .raw("GET", path, &to_admin, Vec::new())
        .await;
    assert_eq!(r.status().as_u16(), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_paths_kinds_and_methods_are_told_apart() {
    let cluster = Cluster::start().await;
    let api = cluster.client();
    for path in [
        "/nothing",
        "/apis/none.example.com",
        "/apis/none.example.com/v1/things",
        "/api/v1/things",
        "/api/v1/namespaces/default/nodes",
    ] {
        api.get(path).await.expect(404);
    }
    api.send(
        "POST",
        "/api/v1/namespaces/default/configmaps/a",
        "application/json",
        b"{}".to_vec(),
    )
    .await
    .expect(405);
    api.send(
        "PUT",
        "/api/v1/namespaces",
        "application/json",
        b"{}".to_vec(),
    )
    .await
    .expect(405);
    api.send("POST", "/version", "", Vec::new())
        .await
        .expect(405);
    api.get(&format!("/api/v1/namespaces/{}", "x".repeat(20_000)))
        .await
        .expect(414);
    api.get("/api/v1/namespaces/a%2f..%2fb").await.expect(400);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_control_plane_takes_only_so_many_objects() {
    let limits = Limits {
        objects: 1,
        ..Limits::default()
    };
    let cluster = Cluster::with_limits(limits).await;
    let a = cluster
        .client()
        .post("/api/v1/namespaces", &value!({"metadata": {"name": "a"}}))
        .await
        .expect(403);
    assert!(a.text(&["message"]).contains("already holds 1 objects"));
}

#[tokio::test(flavor = "multi_thread")]
async fn activity_counts_outside_requests_only() {
    let cluster = Cluster::start().await;
    cluster.client().get("/api/v1/namespaces").await.expect(200);
    let a = cluster.cp.activity();
    assert_eq!(a.requests, 0);
    assert!(a.objects > 50 && a.bytes > 10_000, "{a:?}");
    let r = cluster
        .client()
        .raw("GET", "/metrics", &[], Vec::new())
        .await;
    let text = http_body_util::BodyExt::collect(r.into_body())
        .await
        .unwrap()
        .to_bytes();
    let text = String::from_utf8_lossy(&text).into_owned();
    assert!(
        text.contains("apiserver_request_total{verb=\"GET\",code=\"200\"} 1\n"),
        "{text}"
    );
}

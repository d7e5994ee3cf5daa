//! CustomResourceDefinitions whose versions a webhook converts: a real HTTPS server answers.

use crate::harness::{Client, Cluster};
use freehold_apiserver::Limits;
use freehold_model::{Value, bytes64, json, limits, value};
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

const CRDS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";

fn widgets(version: &str) -> String {
    format!("/apis/example.com/{version}/namespaces/default/widgets")
}

fn version(name: &str, storage: bool, field: &str) -> Value {
    let spec: Value = Value::Object([(field, value!({"type": "integer"}))].into_iter().collect());
    value!({
        "name": name, "served": true, "storage": storage,
        "schema": {"openAPIV3Schema": {"type": "object", "properties": {
            "spec": {"type": "object", "properties": spec}
        }}}
    })
}

/// Calls to a webhook that renames `spec.size` of v1 and `spec.replicas` of v2 into one another.
struct Webhook {
    url: String,
    calls: Arc<AtomicUsize>,
    /// objects of the call that had most
    most: Arc<AtomicUsize>,
}

async fn webhook(cluster: &Cluster) -> Webhook {
    let (certificate, key) = cluster.pki().issue("webhook", &[], &["localhost"]);
    let tls = tokio_rustls::TlsAcceptor::from(Arc::new(server_config(&certificate, &key)));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = calls.clone();
    let most = Arc::new(AtomicUsize::new(0));
    let largest = most.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (tls, counted) = (tls.clone(), counted.clone());
            let largest = largest.clone();
            tokio::spawn(async move {
                let Ok(stream) = tls.accept(stream).await else {
                    return;
                };
                let service = hyper::service::service_fn(move |request| {
                    counted.fetch_add(1, Ordering::SeqCst);
                    answer(request, largest.clone())
                });
                let _ = hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), service)
                    .await;
            });
        }
    });
    Webhook {
        url: format!("https://localhost:{port}/convert"),
        calls,
        most,
    }
}

fn server_config(certificate: &str, key: &str) -> rustls::ServerConfig {
    use rustls_pki_types::pem::PemObject as _;
    use rustls_pki_types::{CertificateDer, PrivateKeyDer};
    let chain = CertificateDer::pem_slice_iter(certificate.as_bytes())
        .collect::<Result<Vec<_>, _>>()
        .unwrap();
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap()
}

async fn answer(
    request: Request<Incoming>,
    most: Arc<AtomicUsize>,
) -> Result<Response<Full<bytes::Bytes>>, Infallible> {
    assert_eq!(request.uri().path(), "/convert");
    let body = request.into_body().collect().await.unwrap().to_bytes();
    let review = json::parse(&body).unwrap().value;
    let asked = review.get("request").unwrap();
    let wanted = asked.str_at(&["desiredAPIVersion"]).unwrap();
    let objects = asked.get("objects").and_then(Value::as_array).unwrap();
    most.fetch_max(objects.len(), Ordering::SeqCst);
    let size = |n| move |o: &Value| o.at(&["spec", "size"]) == Some(&Value::Int(n));
    // Spaces mean nothing behind what is said.
    let spaces = match objects.iter().any(size(14)) {
        true => limits::MAX_WEBHOOK_ANSWER,
        false => 0,
    };
    if objects.iter().any(size(15)) {
        std::future::pending::<()>().await;
    }
    let refused = size(13);
    let result = if objects.iter().any(refused) {
        value!({"status": "Failure", "message": "no luck with 13"})
    } else {
        value!({"status": "Success"})
    };
    let convert = |o: &Value| {
        let mut o = o.clone();
        let (old, new) = if wanted.ends_with("v2") {
            ("size", "replicas")
        } else {
            ("replicas", "size")
        };
        if let Some(n) = o.unset(&["spec", old]) {
            o.set(&["spec", new], n);
        }
        o.set(&["apiVersion"], wanted);
        o.set(&["metadata", "annotations", "converted"], wanted);
        // not a converter's to change
        o.set(&["metadata", "generation"], 77);
        o
    };
    let converted: Vec<Value> = objects.iter().map(convert).collect();
    let answer = value!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "ConversionReview",
        "response": {
            "uid": (asked.str_at(&["uid"]).unwrap()), "result": result,
            "convertedObjects": (Value::Array(converted))
        }
    });
    let mut answer = json::to_vec(&answer);
    answer.resize(answer.len() + spaces, b' ');
    Ok(Response::new(Full::new(answer.into())))
}

async fn start(anywhere: bool) -> (Cluster, Client, Webhook) {
    let limits = Limits {
        webhooks_anywhere: anywhere,
        ..Limits::default()
    };
    start_with(limits).await
}

async fn start_with(limits: Limits) -> (Cluster, Client, Webhook) {
    let cluster = Cluster::with_limits(limits).await;
    let webhook = webhook(&cluster).await;
    let api = cluster.client();
    let definition = value!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "widgets.example.com"},
        "spec": {
            "group": "example.com", "scope": "Namespaced",
            "names": {"plural": "widgets", "kind": "Widget"},
            "conversion": {"strategy": "Webhook", "webhook": {
                "conversionReviewVersions": ["v1"],
                "clientConfig": {
                    "url": (webhook.url.clone()),
                    "caBundle": (bytes64::encode(cluster.pki().ca_pem.as_bytes()))
                }
            }},
            "versions": [(version("v1", true, "size")), (version("v2", false, "replicas"))]
        }
    });
    api.post(CRDS, &definition).await.expect(201);
    (cluster, api, webhook)
}

fn widget(name: &str, size: i64) -> Value {
    value!({"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": name}, "spec": {"size": size}})
}

#[tokio::test(flavor = "multi_thread")]
async fn objects_are_served_in_every_version_by_the_webhook() {
    let (_cluster, api, webhook) = start(true).await;
    let (one, two) = (widgets("v1"), widgets("v2"));
    let made = api.post(&one, &widget("a", 3)).await.expect(201);
    api.post(&one, &widget("b", 4)).await.expect(201);
    assert_eq!(
        webhook.calls.load(Ordering::SeqCst),
        0,
        "nothing to convert"
    );
    let got = api.get(&format!("{two}/a")).await.expect(200);
    assert_eq!(got.text(&["apiVersion"]), "example.com/v2");
    assert_eq!(got.int(&["spec", "replicas"]), 3);
    assert_eq!(got.body.at(&["spec", "size"]), None);
    // labels and annotations are the webhook's, the rest of metadata is not
    assert_eq!(
        got.text(&["metadata", "annotations", "converted"]),
        "example.com/v2"
    );
    assert_eq!(got.int(&["metadata", "generation"]), 1);
    assert_eq!(
        got.text(&["metadata", "uid"]),
        made.text(&["metadata", "uid"])
    );
    let before = webhook.calls.load(Ordering::SeqCst);
    let list = api.get(&two).await.expect(200);
    let items = list.body.get("items").and_then(Value::as_array).unwrap();
    let replicas: Vec<_> = items.iter().map(|i| i.at(&["spec", "replicas"])).collect();
    assert_eq!(replicas, [Some(&Value::Int(3)), Some(&Value::Int(4))]);
    // Their list has no type that would say it for them.
    assert_eq!(items[0].str_at(&["kind"]), Some("Widget"));
    assert_eq!(
        webhook.calls.load(Ordering::SeqCst),
        before + 1,
        "one call for a list"
    );
    api.merge(&format!("{two}/a"), &value!({"spec": {"replicas": 9}}))
        .await
        .expect(200);
    let stored = api.get(&format!("{one}/a")).await.expect(200);
    assert_eq!(stored.int(&["spec", "size"]), 9);
    assert_eq!(stored.int(&["metadata", "generation"]), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn watches_of_another_version_are_converted() {
    let (_cluster, api, _webhook) = start(true).await;
    let rev = api.get(&widgets("v1")).await.expect(200);
    let rev = rev.text(&["metadata", "resourceVersion"]).to_owned();
    let path = format!("{}?watch=1&resourceVersion={rev}", widgets("v2"));
    let mut watch = api.watch(&path).await;
    api.post(&widgets("v1"), &widget("a", 5)).await.expect(201);
    let (kind, object) = watch.next().await.expect("an event");
    assert_eq!(kind, "ADDED");
    assert_eq!(object.at(&["spec", "replicas"]), Some(&Value::Int(5)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_that_refuses_is_quoted() {
    let (_cluster, api, _webhook) = start(true).await;
    api.post(&widgets("v1"), &widget("a", 13)).await.expect(201);
    let refused = api.get(&format!("{}/a", widgets("v2"))).await.expect(500);
    assert_eq!(
        refused.text(&["message"]),
        "conversion webhook for example.com/v1, Kind=Widget failed: no luck with 13"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_that_never_answers_is_given_up_and_holds_up_nobody_else() {
    assert_eq!(Limits::default().webhook_time, Duration::from_secs(30));
    let (_cluster, api, webhook) = start_with(Limits {
        webhooks_anywhere: true,
        webhook_time: Duration::from_secs(3),
        ..Limits::default()
    })
    .await;
    let (one, two) = (widgets("v1"), widgets("v2"));
    api.post(&one, &widget("silent", 15)).await.expect(201);
    api.post(&one, &widget("a", 3)).await.expect(201);
    let before = webhook.calls.load(Ordering::SeqCst);
    let (client, path) = (api.clone(), format!("{two}/silent"));
    let waiting = tokio::spawn(async move { client.get(&path).await });
    while webhook.calls.load(Ordering::SeqCst) == before {
        assert!(!waiting.is_finished(), "the webhook was not asked");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    api.post(&one, &widget("b", 4)).await.expect(201);
    api.get(&one).await.expect(200);
    let other = api.get(&format!("{two}/a")).await.expect(200);
    assert_eq!(other.int(&["spec", "replicas"]), 3);
    assert!(!waiting.is_finished(), "given up before its time");
    let refused = waiting.await.unwrap().expect(500);
    let wanted = format!(
        "conversion webhook for example.com/v1, Kind=Widget failed: Post \"{}?timeout=3s\": context deadline exceeded",
        webhook.url
    );
    assert_eq!(refused.text(&["message"]), wanted);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_webhooks_answer_so_much_is_read_and_no_more() {
    let (_cluster, api, _webhook) = start(true).await;
    api.post(&widgets("v1"), &widget("a", 14)).await.expect(201);
    let refused = api.get(&format!("{}/a", widgets("v2"))).await.expect(500);
    let message = refused.text(&["message"]);
    assert!(message.ends_with("length limit exceeded"), "{message}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_is_asked_for_so_many_objects_at_a_time() {
    let (_cluster, api, webhook) = start(true).await;
    for n in 0..150 {
        let one = widget(&format!("w{n:03}"), n + 20);
        api.post(&widgets("v1"), &one).await.expect(201);
    }
    let before = webhook.calls.load(Ordering::SeqCst);
    let all = api.get(&widgets("v2")).await.expect(200);
    let items = all.body.get("items").and_then(Value::as_array).unwrap();
    assert_eq!(items.len(), 150);
    assert!(
        items
            .iter()
            .all(|item| item.at(&["spec", "replicas"]).is_some())
    );
    assert_eq!(webhook.calls.load(Ordering::SeqCst) - before, 2);
    assert_eq!(
        webhook.most.load(Ordering::SeqCst),
        limits::MAX_WEBHOOK_OBJECTS
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenants_webhook_cannot_reach_this_machine() {
    let (_cluster, api, webhook) = start(false).await;
    api.post(&widgets("v1"), &widget("a", 1)).await.expect(201);
    let refused = api.get(&format!("{}/a", widgets("v2"))).await.expect(500);
    let message = refused.text(&["message"]);
    assert!(
        message.ends_with("webhooks may only be at public addresses"),
        "{message}"
    );
    assert_eq!(webhook.calls.load(Ordering::SeqCst), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn objects_move_to_a_new_storage_version() {
    let (_cluster, api, _webhook) = start(true).await;
    api.post(&widgets("v1"), &widget("a", 3)).await.expect(201);
    let path = format!("{CRDS}/widgets.example.com");
    let versions = value!([
        (version("v1", false, "size")),
        (version("v2", true, "replicas"))
    ]);
    let changed = api
        .merge(&path, &value!({"spec": {"versions": versions}}))
        .await
        .expect(200);
    let stored = |v: &Value| v.at(&["status", "storedVersions"]).cloned();
    assert_eq!(stored(&changed.body), Some(Value::from(vec!["v1", "v2"])));
    // v1 may not be forgotten while it may be stored
    let only = value!({"spec": {"versions": [(version("v2", true, "replicas"))]}});
    api.merge(&path, &only).await.expect(422);
    let old = api.get(&format!("{}/a", widgets("v1"))).await.expect(200);
    assert_eq!(old.int(&["spec", "size"]), 3);
    // An empty change writes the object anew, as the storage version migrator does.
    let object = api.get(&format!("{}/a", widgets("v2"))).await.expect(200);
    api.put(&format!("{}/a", widgets("v2")), &object.body)
        .await
        .expect(200);
    api.merge(
        &format!("{path}/status"),
        &value!({"status": {"storedVersions": ["v2"]}}),
    )
    .await
    .expect(200);
    api.merge(&path, &only).await.expect(200);
    let moved = api.get(&format!("{}/a", widgets("v2"))).await.expect(200);
    assert_eq!(moved.int(&["spec", "replicas"]), 3);
}

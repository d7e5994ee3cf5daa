//! What tests do with an API.

use http::{Method, Request};
use serde_json::{Value, json};
use std::future::Future;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::runtime::Runtime;

/// Servers and controllers outlive single tests, so they run on one runtime.
pub(crate) static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime")
});

const DEADLINE: Duration = Duration::from_secs(40);

/// An API with controllers behind it.
pub(crate) struct World {
    pub client: kube::Client,
}

pub(crate) const CA: &str = "-----BEGIN CERTIFICATE-----\nof the test\n-----END CERTIFICATE-----\n";

pub(crate) fn config() -> freehold_controllers::Config {
    freehold_controllers::Config {
        name: "test".into(),
        root_ca_pem: CA.into(),
        sign_token: Some(std::sync::Arc::new(|namespace, account, uid, secret| {
            Some(format!("token of {namespace}/{account} {uid} in {secret}"))
        })),
    }
}

pub(crate) fn run<F>(world: &'static World, test: fn(&'static World) -> F)
where
    F: Future<Output = ()> + Send + 'static,
{
    if let Err(e) = RUNTIME.block_on(RUNTIME.spawn(test(world))) {
        std::panic::resume_unwind(e.into_panic());
    }
}

/// An empty directory, the same in every run: statics are never dropped, and what they leave
/// behind must not add up.
pub(crate) fn directory(name: &str) -> std::path::PathBuf {
    let dir = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    match std::fs::remove_dir_all(&dir) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
            unreachable!("{}: {e}", dir.display())
        }
        _ => std::fs::create_dir_all(&dir).expect("a directory"),
    }
    dir
}

/// A name nobody else uses.
pub(crate) fn unique(prefix: &str) -> String {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    format!("{prefix}-{}", NEXT.fetch_add(1, Ordering::Relaxed))
}

pub(crate) fn namespaced(namespace: &str, plural: &str, name: &str) -> String {
    format!("/api/v1/namespaces/{namespace}/{plural}/{name}")
        .trim_end_matches('/')
        .to_owned()
}

impl World {
    async fn send(
        &self,
        method: Method,
        path: &str,
        kind: &str,
        body: Option<Value>,
    ) -> Result<Value, kube::Error> {
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header("accept", "application/json");
        if body.is_some() {
            request = request.header("content-type", kind);
        }
        let bytes = body.map(|b| b.to_string().into_bytes()).unwrap_or_default();
        self.client
            .request(request.body(bytes).expect("a request"))
            .await
    }

    pub(crate) async fn get(&self, path: &str) -> Option<Value> {
        match self.send(Method::GET, path, "", None).await {
            Ok(object) => Some(object),
            Err(kube::Error::Api(status)) if status.code == 404 => None,
            Err(e) => unreachable!("GET {path}: {e}"),
        }
    }

    pub(crate) async fn post(&self, path: &str, body: Value) -> Value {
        let sent = self
            .send(Method::POST, path, "application/json", Some(body.clone()))
            .await;
        sent.unwrap_or_else(|e| unreachable!("POST {path} {body}: {e}"))
    }

    pub(crate) async fn patch(&self, path: &str, body: Value) -> Value {
        let sent = self
            .send(
                Method::PATCH,
                path,
                "application/merge-patch+json",
                Some(body.clone()),
            )
            .await;
        sent.unwrap_or_else(|e| unreachable!("PATCH {path} {body}: {e}"))
    }

    pub(crate) async fn delete(&self, path: &str, propagation: &str) {
        let options =
            json!({"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": propagation});
        let sent = self
            .send(Method::DELETE, path, "application/json", Some(options))
            .await;
        sent.unwrap_or_else(|e| unreachable!("DELETE {path}: {e}"));
    }

    /// A fresh namespace; its default account exists.
    pub(crate) async fn namespace(&self) -> String {
        let name = unique("test");
        self.post("/api/v1/namespaces", json!({"metadata": {"name": name}}))
            .await;
        self.appears(&namespaced(&name, "serviceaccounts", "default"))
            .await;
        name
    }

    /// A config map with owners; returns its uid.
    pub(crate) async fn config_map(&self, namespace: &str, name: &str, owners: &[Value]) -> String {
        let body = json!({"metadata": {"name": name, "ownerReferences": owners}});
        uid(&self
            .post(&namespaced(namespace, "configmaps", ""), body)
            .await)
    }

    /// Waits until `path` is as wanted (`None`: not there).
    pub(crate) async fn becomes(&self, path: &str, wanted: impl Fn(Option<&Value>) -> bool) {
        let start = std::time::Instant::now();
        loop {
            let now = self.get(path).await;
            if wanted(now.as_ref()) {
                return;
            }
            assert!(
                start.elapsed() < DEADLINE,
                "{path} did not become what was wanted; it is {now:#?}"
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    pub(crate) async fn appears(&self, path: &str) {
        self.becomes(path, |o| o.is_some()).await;
    }

    pub(crate) async fn goes(&self, path: &str) {
        self.becomes(path, |o| o.is_none()).await;
    }
}

pub(crate) fn uid(object: &Value) -> String {
    object["metadata"]["uid"]
        .as_str()
        .expect("a uid")
        .to_owned()
}

pub(crate) fn config_map_owner(name: &str, uid: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "name": name, "uid": uid})
}

pub(crate) fn blocking(mut owner: Value) -> Value {
    owner["blockOwnerDeletion"] = true.into();
    owner
}

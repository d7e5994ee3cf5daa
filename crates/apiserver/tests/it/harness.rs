//! A control plane in this process on an embedded store, and a small client for it.

use freehold_apiserver::{Config, ControlPlane, Limits};
use freehold_model::catalogue::DEFAULT_MINOR;
use freehold_model::{Catalogue, Value, json};
use freehold_policy::User;
use freehold_store::Keyspaces;
use freehold_store::embedded::{Embedded, Options};
use http::Request;
use http_body_util::{BodyExt as _, Full};
use std::sync::Arc;
use tower::Service as _;

/// What is kept while a test runs.
pub(crate) struct Cluster {
    pub cp: Arc<ControlPlane>,
    store: Arc<dyn freehold_store::Store>,
    engine: Arc<Embedded>,
    pki: Pki,
    dir: tempfile::TempDir,
}

/// A CA and a service-account key.
pub(crate) struct Pki {
    pub ca_pem: String,
    ca_key: rcgen::KeyPair,
    sa_key_pem: String,
}

impl Pki {
    pub(crate) fn new() -> Self {
        let ca_key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        params
            .distinguished_name
            .push(rcgen::DnType::CommonName, "test-ca");
        let ca_pem = params.self_signed(&ca_key).unwrap().pem();
        let sa_key_pem = rcgen::KeyPair::generate().unwrap().serialize_pem();
        Self {
            ca_pem,
            ca_key,
            sa_key_pem,
        }
    }

    /// Certificate and key for a user in groups, or for a server name.
    pub(crate) fn issue(
        &self,
        common_name: &str,
        groups: &[&str],
        names: &[&str],
    ) -> (String, String) {
        let key = rcgen::KeyPair::generate().unwrap();
        let names: Vec<String> = names.iter().map(|n| (*n).to_owned()).collect();
        let mut params = rcgen::CertificateParams::new(names).unwrap();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params
            .distinguished_name
            .push(rcgen::DnType::CommonName, common_name);
        for g in groups {
            params
                .distinguished_name
                .push(rcgen::DnType::OrganizationName, *g);
        }
        params.extended_key_usages = vec![
            rcgen::ExtendedKeyUsagePurpose::ClientAuth,
            rcgen::ExtendedKeyUsagePurpose::ServerAuth,
        ];
        let issuer = rcgen::Issuer::from_ca_cert_pem(&self.ca_pem, &self.ca_key).unwrap();
        (
            params.signed_by(&key, &issuer).unwrap().pem(),
            key.serialize_pem(),
        )
    }
}

pub(crate) fn admin() -> User {
    User {
        name: "admin".into(),
        groups: vec!["system:masters".into()],
        ..User::default()
    }
}

impl Cluster {
    pub(crate) async fn start() -> Self {
        Self::new(Limits::default(), DEFAULT_MINOR).await
    }

    /// Of another Kubernetes version.
    pub(crate) async fn of_minor(minor: u8) -> Self {
        Self::new(Limits::default(), minor).await
    }

    pub(crate) async fn with_limits(limits: Limits) -> Self {
        Self::new(limits, DEFAULT_MINOR).await
    }

    async fn new(limits: Limits, minor: u8) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let pki = Pki::new();
        let (engine, store, cp) = open(&dir, &pki, limits, minor).await;
        Self {
            cp,
            store,
            engine,
            pki,
            dir,
        }
    }

    /// Stops and starts again on the same data.
    pub(crate) async fn restart(self) -> Self {
        self.restart_as(DEFAULT_MINOR).await
    }

    /// Stops and starts again on the same data as another Kubernetes version.
    pub(crate) async fn restart_as(self, minor: u8) -> Self {
        let Self {
            cp,
            store,
            engine,
            pki,
            dir,
        } = self;
        drop(store);
        cp.shut_down();
        drop(cp);
        engine.close();
        drop(engine);
        let (engine, store, cp) = open(&dir, &pki, Limits::default(), minor).await;
        Self {
            cp,
            store,
            engine,
            pki,
            dir,
        }
    }

    /// The datastore below.
    pub(crate) fn store(&self) -> Arc<dyn freehold_store::Store> {
        self.store.clone()
    }

    pub(crate) fn pki(&self) -> &Pki {
        &self.pki
    }

    pub(crate) fn client(&self) -> Client {
        self.client_of(admin())
    }

    pub(crate) fn client_of(&self, user: User) -> Client {
        Client {
            service: self.cp.service(user),
        }
    }
}

async fn open(
    dir: &tempfile::TempDir,
    pki: &Pki,
    limits: Limits,
    minor: u8,
) -> (
    Arc<Embedded>,
    Arc<dyn freehold_store::Store>,
    Arc<ControlPlane>,
) {
    let engine = Embedded::open(dir.path().join("store"), Options::default())
        .await
        .unwrap();
    let store = engine.open("test").await.unwrap();
    let config = Config {
        name: "test".into(),
        store: store.clone(),
        catalogue: Catalogue::builtin(minor).expect("a catalogue"),
        client_ca_pem: pki.ca_pem.clone(),
        service_account_key_pem: pki.sa_key_pem.clone(),
        issuer: "https://kubernetes.default.svc".into(),
        external_address: "https://127.0.0.1:6443".into(),
        service_cidr: "10.96.0.0/16".into(),
        limits,
    };
    let cp = ControlPlane::start(config).await.unwrap();
    (engine, store, cp)
}

/// Requests as one user.
#[derive(Clone)]
pub(crate) struct Client {
    service: freehold_apiserver::Service,
}

pub(crate) struct Answer {
    pub code: u16,
    pub body: Value,
    pub warnings: Vec<String>,
}

impl Client {
    pub(crate) async fn send(
        &self,
        method: &str,
        path: &str,
        media: &str,
        body: Vec<u8>,
    ) -> Answer {
        let response = self
            .raw(method, path, &[("content-type", media)], body)
            .await;
        let code = response.status().as_u16();
        let warnings = response
            .headers()
            .get_all("warning")
            .iter()
            .map(|w| String::from_utf8_lossy(w.as_bytes()).into_owned())
            .collect();
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        let body = json::parse(&bytes).map(|d| d.value).unwrap_or(Value::Null);
        Answer {
            code,
            body,
            warnings,
        }
    }

    pub(crate) async fn raw(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Vec<u8>,
    ) -> http::Response<freehold_apiserver::Body> {
        let mut request = Request::builder().method(method).uri(path);
        for (k, v) in headers {
            request = request.header(*k, *v);
        }
        let request = request.body(Full::new(body.into())).unwrap();
        self.service.clone().call(request).await.unwrap()
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send("GET", path, "", Vec::new()).await
    }

    pub(crate) async fn delete(&self, path: &str) -> Answer {
        self.send("DELETE", path, "", Vec::new()).await
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Answer {
        self.send("POST", path, "application/json", json::to_vec(body))
            .await
    }

    pub(crate) async fn put(&self, path: &str, body: &Value) -> Answer {
        self.send("PUT", path, "application/json", json::to_vec(body))
            .await
    }

    pub(crate) async fn merge(&self, path: &str, body: &Value) -> Answer {
        self.send(
            "PATCH",
            path,
            "application/merge-patch+json",
            json::to_vec(body),
        )
        .await
    }

    /// Opens a watch.
    pub(crate) async fn watch(&self, path: &str) -> Watch {
        let response = self.raw("GET", path, &[], Vec::new()).await;
        assert_eq!(response.status().as_u16(), 200, "watch {path}");
        Watch {
            body: response.into_body(),
            rest: Vec::new(),
        }
    }
}

/// An open watch, event by event.
pub(crate) struct Watch {
    body: freehold_apiserver::Body,
    rest: Vec<u8>,
}

impl Watch {
    /// Type and object of the next event; `None` at the end.
    pub(crate) async fn next(&mut self) -> Option<(String, Value)> {
        tokio::time::timeout(std::time::Duration::from_secs(10), self.line())
            .await
            .expect("an event in time")
    }

    async fn line(&mut self) -> Option<(String, Value)> {
        loop {
            if let Some(end) = self.rest.iter().position(|b| *b == b'\n') {
                let line: Vec<u8> = self.rest.drain(..=end).collect();
                let event = json::parse(&line).unwrap().value;
                let kind = event.str_at(&["type"]).unwrap().to_owned();
                return Some((kind, event.get("object").unwrap().clone()));
            }
            let frame = self.body.frame().await?.unwrap();
            self.rest.extend_from_slice(&frame.into_data().unwrap());
        }
    }
}

impl Answer {
    pub(crate) fn text(&self, path: &[&str]) -> &str {
        self.body.str_at(path).unwrap_or("")
    }

    pub(crate) fn int(&self, path: &[&str]) -> i64 {
        self.body.at(path).and_then(Value::as_i64).unwrap_or(-1)
    }

    /// The answer, which must have this code.
    #[track_caller]
    pub(crate) fn expect(self, code: u16) -> Self {
        assert_eq!(
            self.code,
            code,
            "{}",
            String::from_utf8_lossy(&json::to_vec(&self.body))
        );
        self
    }
}

//! Real connections: which control plane a name leads to, and whose certificates count there.

use crate::harness::Cluster;
use async_trait::async_trait;
use freehold_apiserver::listen::{self, Backend, Backends};
use freehold_apiserver::{ControlPlane, Visit};
use freehold_model::{ApiError, Value, json, value};
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::TokioIo;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

struct One {
    tls: Arc<rustls::ServerConfig>,
    /// none: asleep
    cp: Option<Arc<ControlPlane>>,
}

#[async_trait]
impl Backend for One {
    fn tls(&self) -> Arc<rustls::ServerConfig> {
        self.tls.clone()
    }

    async fn control_plane(&self) -> Result<Visit, ApiError> {
        self.cp
            .as_ref()
            .map(ControlPlane::visit)
            .ok_or_else(|| ApiError::unavailable("asleep; wake it with: freehold wake"))
    }
}

struct ByName(BTreeMap<String, Arc<One>>);

#[async_trait]
impl Backends for ByName {
    async fn backend(&self, server_name: Option<&str>) -> Option<Arc<dyn Backend>> {
        self.0
            .get(server_name.unwrap_or("host.test"))
            .map(|b| b.clone() as Arc<dyn Backend>)
    }
}

pub(crate) struct Served {
    pub address: SocketAddr,
    shutdown: CancellationToken,
}

impl Drop for Served {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

/// Serves control planes by name on one listener.
pub(crate) async fn serve(clusters: &[(&str, &Cluster, bool)]) -> Served {
    let mut names = BTreeMap::new();
    for (name, cluster, awake) in clusters {
        let (cert, key) = cluster.pki().issue("server", &[], &[name, "127.0.0.1"]);
        let tls = listen::server_config(&cert, &key, &cluster.pki().ca_pem).unwrap();
        let cp = awake.then(|| cluster.cp.clone());
        names.insert((*name).to_owned(), Arc::new(One { tls, cp }));
    }
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let shutdown = CancellationToken::new();
    tokio::spawn(listen::serve(
        listener,
        Arc::new(ByName(names)),
        shutdown.clone(),
    ));
    Served { address, shutdown }
}

/// What a client shows and trusts.
struct Caller<'a> {
    trusts: &'a Cluster,
    certificate: Option<(String, String)>,
    token: Option<String>,
}

impl Caller<'_> {
    async fn get(
        &self,
        to: SocketAddr,
        name: &str,
        host: &str,
        path: &str,
    ) -> Result<(u16, Value), String> {
        let mut roots = rustls::RootCertStore::empty();
        roots
            .add(CertificateDer::from_pem_slice(self.trusts.pki().ca_pem.as_bytes()).unwrap())
            .unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots);
        let config = match &self.certificate {
            Some((cert, key)) => builder
                .with_client_auth_cert(
                    vec![CertificateDer::from_pem_slice(cert.as_bytes()).unwrap()],
                    PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap(),
                )
                .unwrap(),
            None => builder.with_no_client_auth(),
        };
        let tcp = tokio::net::TcpStream::connect(to).await.unwrap();
        let server_name = ServerName::try_from(name.to_owned()).unwrap();
        let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
        let tls = connector
            .connect(server_name, tcp)
            .await
            .map_err(|e| e.to_string())?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(tls))
            .await
            .map_err(|e| e.to_string())?;
        tokio::spawn(connection);
        let mut request = http::Request::get(path).header("host", host);
        if let Some(t) = &self.token {
            request = request.header("authorization", format!("Bearer {t}"));
        }
        let request = request.body(Full::<bytes::Bytes>::default()).unwrap();
        let response = sender
            .send_request(request)
            .await
            .map_err(|e| e.to_string())?;
        let code = response.status().as_u16();
        let bytes = response
            .into_body()
            .collect()
            .await
            .map_err(|e| e.to_string())?
            .to_bytes();
        Ok((
            code,
            json::parse(&bytes).map(|d| d.value).unwrap_or_default(),
        ))
    }
}

fn admin_of(cluster: &Cluster) -> Option<(String, String)> {
    Some(cluster.pki().issue("admin", &["system:masters"], &[]))
}

const CMS: &str = "/api/v1/namespaces/default/configmaps/mine";

#[tokio::test(flavor = "multi_thread")]
async fn a_name_leads_to_its_control_plane_and_a_credential_counts_only_there() {
    let (a, b) = (Cluster::start().await, Cluster::start().await);
    let body = value!({"metadata": {"name": "mine"}, "data": {"of": "a"}});
    a.client()
        .post("/api/v1/namespaces/default/configmaps", &body)
        .await
        .expect(201);
    let served = serve(&[("a.test", &a, true), ("b.test", &b, true)]).await;
    let at = served.address;
    let of_a = Caller {
        trusts: &a,
        certificate: admin_of(&a),
        token: None,
    };
    let (code, got) = of_a.get(at, "a.test", "a.test", CMS).await.unwrap();
    assert_eq!((code, got.str_at(&["data", "of"])), (200, Some("a")));
    // The Host header leads nowhere.
    assert_eq!(of_a.get(at, "a.test", "b.test", CMS).await.unwrap().0, 200);
    // a's certificate at b: not known there, though the very same names are in it.
    let at_b = Caller {
        trusts: &b,
        certificate: admin_of(&a),
        token: None,
    };
    assert_eq!(at_b.get(at, "b.test", "b.test", CMS).await.unwrap().0, 401);
    let own = Caller {
        trusts: &b,
        certificate: admin_of(&b),
        token: None,
    };
    assert_eq!(
        own.get(at, "b.test", "b.test", CMS).await.unwrap().0,
        404,
        "b has no such object"
    );
    // b's serving certificate means nothing to a client of a.
    assert!(of_a.get(at, "b.test", "b.test", CMS).await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_name_is_refused_in_the_handshake() {
    let a = Cluster::start().await;
    let served = serve(&[("a.test", &a, true)]).await;
    let caller = Caller {
        trusts: &a,
        certificate: admin_of(&a),
        token: None,
    };
    assert!(
        caller
            .get(served.address, "c.test", "a.test", CMS)
            .await
            .is_err()
    );
    // An address is no name: that asks for the host, which this listener does not have.
    assert!(
        caller
            .get(served.address, "127.0.0.1", "a.test", CMS)
            .await
            .is_err()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_credential_one_is_anonymous_and_with_a_foreign_token_nobody() {
    let (a, b) = (Cluster::start().await, Cluster::start().await);
    let served = serve(&[("a.test", &a, true), ("b.test", &b, true)]).await;
    let at = served.address;
    let anonymous = Caller {
        trusts: &a,
        certificate: None,
        token: None,
    };
    assert_eq!(
        anonymous.get(at, "a.test", "a.test", CMS).await.unwrap().0,
        403
    );
    assert_eq!(
        anonymous
            .get(at, "a.test", "a.test", "/version")
            .await
            .unwrap()
            .0,
        200
    );
    let path = "/api/v1/namespaces/default/serviceaccounts";
    for c in [&a, &b] {
        c.client()
            .post(path, &value!({"metadata": {"name": "bot"}}))
            .await
            .expect(201);
    }
    let token = a
        .client()
        .post(&format!("{path}/bot/token"), &value!({"spec": {}}))
        .await
        .expect(201);
    let token = Some(token.text(&["status", "token"]).to_owned());
    let at_a = Caller {
        trusts: &a,
        certificate: None,
        token: token.clone(),
    };
    let (code, status) = at_a.get(at, "a.test", "a.test", CMS).await.unwrap();
    assert_eq!(code, 403, "known, but without rights");
    assert!(
        status
            .str_at(&["message"])
            .unwrap()
            .contains("system:serviceaccount:default:bot")
    );
    let at_b = Caller {
        trusts: &b,
        certificate: None,
        token,
    };
    assert_eq!(at_b.get(at, "b.test", "b.test", CMS).await.unwrap().0, 401);
    let forged = Caller {
        trusts: &b,
        certificate: None,
        token: Some("a.b.c".into()),
    };
    assert_eq!(
        forged.get(at, "b.test", "b.test", CMS).await.unwrap().0,
        401
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_control_plane_that_sleeps_says_how_to_wake_it() {
    let a = Cluster::start().await;
    let served = serve(&[("a.test", &a, false)]).await;
    let caller = Caller {
        trusts: &a,
        certificate: admin_of(&a),
        token: None,
    };
    let (code, status) = caller
        .get(served.address, "a.test", "a.test", CMS)
        .await
        .unwrap();
    assert_eq!(code, 503);
    assert!(
        status
            .str_at(&["message"])
            .unwrap()
            .contains("freehold wake")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_over_the_network_keep_a_control_plane_awake() {
    let a = Cluster::start().await;
    let served = serve(&[("a.test", &a, true)]).await;
    let mut before = a.cp.activity().idle;
    while before.as_millis() < 100 {
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        before = a.cp.activity().idle;
    }
    let caller = Caller {
        trusts: &a,
        certificate: admin_of(&a),
        token: None,
    };
    caller
        .get(served.address, "a.test", "a.test", "/version")
        .await
        .unwrap();
    assert!(a.cp.activity().idle < before);
}

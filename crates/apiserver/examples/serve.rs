//! Serves one control plane over TLS for trying out clients: `serve DIR PORT` writes `DIR/kubeconfig`.

use async_trait::async_trait;
use freehold_apiserver::listen::{self, Backend, Backends};
use freehold_apiserver::{Config, ControlPlane, Limits, Visit};
use freehold_model::{ApiError, Catalogue, catalogue};
use freehold_store::Keyspaces as _;
use freehold_store::embedded::{Embedded, Options};
use std::sync::Arc;

struct One {
    tls: Arc<rustls::ServerConfig>,
    cp: Arc<ControlPlane>,
}

#[async_trait]
impl Backend for One {
    fn tls(&self) -> Arc<rustls::ServerConfig> {
        self.tls.clone()
    }

    async fn control_plane(&self) -> Result<Visit, ApiError> {
        Ok(self.cp.visit())
    }
}

struct All(Arc<One>);

#[async_trait]
impl Backends for All {
    async fn backend(&self, _: Option<&str>) -> Option<Arc<dyn Backend>> {
        Some(self.0.clone())
    }
}

type Error = Box<dyn std::error::Error>;

fn leaf(
    ca: &rcgen::Issuer<'_, rcgen::KeyPair>,
    name: &str,
    group: &str,
) -> Result<(String, String), Error> {
    let key = rcgen::KeyPair::generate()?;
    let mut params = rcgen::CertificateParams::new(vec!["127.0.0.1".into(), "localhost".into()])?;
    params.distinguished_name = rcgen::DistinguishedName::new();
    params
        .distinguished_name
        .push(rcgen::DnType::CommonName, name);
    params
        .distinguished_name
        .push(rcgen::DnType::OrganizationName, group);
    params.extended_key_usages = vec![
        rcgen::ExtendedKeyUsagePurpose::ClientAuth,
        rcgen::ExtendedKeyUsagePurpose::ServerAuth,
    ];
    Ok((params.signed_by(&key, ca)?.pem(), key.serialize_pem()))
}

#[tokio::main]
async fn main() -> Result<(), Error> {
    let mut args = std::env::args().skip(1);
    let dir = std::path::PathBuf::from(args.next().ok_or("usage: serve DIR PORT")?);
    let port: u16 = args.next().ok_or("usage: serve DIR PORT")?.parse()?;
    std::fs::create_dir_all(&dir)?;
    let ca_key = rcgen::KeyPair::generate()?;
    let mut params = rcgen::CertificateParams::new(Vec::new())?;
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let ca_pem = params.self_signed(&ca_key)?.pem();
    let issuer = rcgen::Issuer::from_ca_cert_pem(&ca_pem, ca_key)?;
    let (cert, key) = leaf(&issuer, "server", "server")?;
    let (client, client_key) = leaf(&issuer, "admin", "system:masters")?;
    for (name, content) in [
        ("ca.crt", &ca_pem),
        ("admin.crt", &client),
        ("admin.key", &client_key),
    ] {
        std::fs::write(dir.join(name), content)?;
    }
    let kubeconfig = format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: c\nclusters:\n- name: c\n  cluster: {{server: 'https://127.0.0.1:{port}', certificate-authority: {d}/ca.crt}}\ncontexts:\n- name: c\n  context: {{cluster: c, user: u}}\nusers:\n- name: u\n  user: {{client-certificate: {d}/admin.crt, client-key: {d}/admin.key}}\n",
        d = dir.display()
    );
    std::fs::write(dir.join("kubeconfig"), kubeconfig)?;
    let engine = Embedded::open(dir.join("store"), Options::default()).await?;
    let cp = ControlPlane::start(Config {
        name: "example".into(),
        store: engine.open("example").await?,
        catalogue: Catalogue::builtin(catalogue::DEFAULT_MINOR).ok_or("no catalogue")?,
        client_ca_pem: ca_pem.clone(),
        service_account_key_pem: rcgen::KeyPair::generate()?.serialize_pem(),
        issuer: "https://kubernetes.default.svc".into(),
        external_address: format!("https://127.0.0.1:{port}"),
        service_cidr: "10.96.0.0/16".into(),
        limits: Limits::default(),
    })
    .await?;
    let tls = listen::server_config(&cert, &key, &ca_pem)?;
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", port)).await?;
    let shutdown = tokio_util::sync::CancellationToken::new();
    listen::serve(listener, Arc::new(All(Arc::new(One { tls, cp }))), shutdown).await;
    Ok(())
}

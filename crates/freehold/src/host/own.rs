//! The host's own control plane: its credentials, its API server and its controllers.

use super::address::Bound;
use super::data_dir::{DataDir, write_private};
use crate::guard::Tasks;
use anyhow::{Context as _, Result};
use async_trait::async_trait;
use freehold_apiserver::listen::{Backend, server_config};
use freehold_apiserver::{Config, ControlPlane, Limits, Visit};
use freehold_model::catalogue::DEFAULT_MINOR;
use freehold_model::{ApiError, Catalogue};
use freehold_store::Keyspaces;
use freehold_tenancy::kubeconfig::Kubeconfig;
use freehold_tenancy::pki::{Authority, Pair, TokenKeys};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// The admin kubeconfig in the data directory.
pub(crate) const KUBECONFIG: &str = "admin.kubeconfig";
/// The host's keyspace.
pub(crate) const KEYSPACE: &str = "host";
/// Addresses of Services on the host and, unless they say otherwise, in control planes.
pub(crate) const SERVICE_CIDR: &str = "10.96.0.0/16";

/// `iss` of service-account tokens.
pub(crate) const ISSUER: &str = "https://kubernetes.default.svc.cluster.local";

const DAY: Duration = Duration::from_hours(24);
/// The admin certificate is written anew at every start and every day.
const ADMIN_VALID: Duration = Duration::from_hours(24 * 30);
const SERVING_VALID: Duration = Duration::from_hours(24 * 365);

/// Everything secret that the host's control plane is made of.
pub(crate) struct Credentials {
    ca: Authority,
    token_key: String,
    serving: Pair,
}

pub(crate) fn credentials(data: &DataDir, bound: &Bound) -> Result<Credentials> {
    let key = data.secret("pki/ca.key", || {
        let ca = Authority::generate("freehold-host")?;
        write_private(&data.file("pki/ca.crt"), ca.cert().as_bytes())?;
        Ok(ca.key())
    })?;
    let cert = std::fs::read_to_string(data.file("pki/ca.crt"))
        .context("the data directory has pki/ca.key but no pki/ca.crt")?;
    let ca = Authority::from_pem(&cert, &key)?;
    let token_key = data.secret("pki/service-account.key", || {
        Ok(TokenKeys::generate()?.private)
    })?;
    let mut names = bound.names();
    let short = [
        "kubernetes",
        "kubernetes.default",
        "kubernetes.default.svc",
        "kubernetes.default.svc.cluster.local",
    ];
    names.extend(short.map(str::to_owned));
    let serving = ca.serving("freehold-host", &names, SERVING_VALID)?;
    Ok(Credentials {
        ca,
        token_key,
        serving,
    })
}

/// Opens the host's keyspace and starts its API server.
pub(crate) async fn start(
    credentials: &Credentials,
    keyspaces: &dyn Keyspaces,
    server: &str,
) -> Result<Arc<ControlPlane>> {
    let store = keyspaces
        .open(KEYSPACE)
        .await
        .context("cannot open the host's keyspace")?;
    let catalogue = Catalogue::builtin(DEFAULT_MINOR)
        .context("this build has no catalogue of its default version")?;
    let config = Config {
        name: "host".to_owned(),
        store,
        catalogue,
        client_ca_pem: credentials.ca.cert().to_owned(),
        service_account_key_pem: credentials.token_key.clone(),
        issuer: ISSUER.to_owned(),
        external_address: server.to_owned(),
        service_cidr: SERVICE_CIDR.to_owned(),
        limits: Limits::default(),
    };
    ControlPlane::start(config)
        .await
        .context("the host's API server cannot start")
}

/// What the listener needs of the host.
pub(crate) fn backend(
    credentials: &Credentials,
    own: Arc<ControlPlane>,
) -> Result<Arc<dyn Backend>> {
    let serving = &credentials.serving;
    let tls = server_config(&serving.cert, &serving.key, credentials.ca.cert())
        .map_err(anyhow::Error::msg)?;
    Ok(Arc::new(Own { tls, own }))
}

struct Own {
    tls: Arc<rustls::ServerConfig>,
    own: Arc<ControlPlane>,
}

#[async_trait]
impl Backend for Own {
    fn tls(&self) -> Arc<rustls::ServerConfig> {
        self.tls.clone()
    }

    async fn control_plane(&self) -> Result<Visit, ApiError> {
        Ok(self.own.visit())
    }
}

/// What kube-controller-manager does, for the host.
pub(crate) fn run_controllers(
    tasks: &mut Tasks,
    client: &kube::Client,
    credentials: &Credentials,
    server: &str,
    shutdown: &CancellationToken,
) {
    let config = freehold_controllers::Config {
        name: "host".to_owned(),
        root_ca_pem: credentials.ca.cert().to_owned(),
        sign_token: token_signer(&credentials.token_key, server),
    };
    let (client, token) = (client.clone(), shutdown.clone());
    tasks.keep_running("controllers of the host", shutdown.clone(), move || {
        let (client, config, token) = (client.clone(), config.clone(), token.clone());
        async move {
            freehold_controllers::run(client, config, token).await;
            Ok(())
        }
    });
}

/// Signs the tokens that controllers put into secrets.
pub(crate) fn token_signer(key: &str, server: &str) -> Option<freehold_controllers::SignToken> {
    match freehold_apiserver::TokenIssuer::new(key, ISSUER, server) {
        Ok(issuer) => Some(Arc::new(
            move |namespace: &str, account: &str, uid: &str, secret: &str| {
                issuer.for_secret(namespace, account, uid, secret)
            },
        )),
        Err(error) => {
            tracing::error!(
                error,
                "token secrets stay empty: the signing key cannot be used"
            );
            None
        }
    }
}

/// Writes the admin kubeconfig now and every day, with a new certificate each time.
pub(crate) fn keep_kubeconfig_fresh(
    tasks: &mut Tasks,
    data: &DataDir,
    credentials: &Credentials,
    server: &str,
    shutdown: CancellationToken,
) -> Result<()> {
    let (file, server) = (data.file(KUBECONFIG), server.to_owned());
    let ca = Authority::from_pem(credentials.ca.cert(), &credentials.ca.key())?;
    write_kubeconfig(&ca, &server, &file)?;
    tasks.spawn("admin kubeconfig", async move {
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = tokio::time::sleep(DAY) => {}
            }
            if let Err(error) = write_kubeconfig(&ca, &server, &file) {
                tracing::error!(error = %format!("{error:#}"), "the admin kubeconfig could not be renewed; tried again tomorrow");
            }
        }
    });
    Ok(())
}

fn write_kubeconfig(ca: &Authority, server: &str, file: &Path) -> Result<()> {
    let admin = ca.client("kubernetes-admin", &["system:masters"], ADMIN_VALID)?;
    let text = Kubeconfig {
        name: "freehold",
        server,
        server_name: None,
        ca: ca.cert(),
        client_cert: &admin.cert,
        client_key: &admin.key,
    }
    .render()?;
    write_private(file, text.as_bytes())
}

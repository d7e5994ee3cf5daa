//! From a DataStore object and its secrets to the settings of a driver.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use freehold_api::{CertificateAndKey, Content, DataStoreDriver, DataStoreSpec};
use freehold_store::etcd::{self, Etcd};
use freehold_store::postgres::{self, Postgres, Tls};
use freehold_store::{Error, Keyspaces};
use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use std::sync::Arc;

const DATABASE: &str = "freehold";
const PREFIX: &str = "freehold";

/// How a datastore is reached.
#[derive(Clone, PartialEq)]
pub(super) enum Settings {
    Postgres(Box<postgres::Options>),
    Etcd(Box<etcd::Options>),
}

impl Settings {
    pub(super) async fn connect(&self) -> Result<Arc<dyn Keyspaces>, Error> {
        Ok(match self {
            Self::Postgres(options) => Postgres::connect((**options).clone()).await?,
            Self::Etcd(options) => Etcd::connect((**options).clone()).await?,
        })
    }

    /// Reads what the spec names; says by field what is wrong with it.
    pub(super) async fn read(spec: &DataStoreSpec, host: &kube::Client) -> Result<Self, String> {
        let tls = tls(spec, host).await?;
        let prefix = spec.prefix.as_deref().unwrap_or(PREFIX);
        let login = match &spec.basic_auth {
            None => None,
            Some(auth) => {
                let user = content("basicAuth.username", &auth.username, "username", host).await?;
                let word = content("basicAuth.password", &auth.password, "password", host).await?;
                Some((
                    text("basicAuth.username", user)?,
                    text("basicAuth.password", word)?,
                ))
            }
        };
        Ok(match spec.driver {
            DataStoreDriver::PostgreSQL => {
                let database = spec.database.as_deref().unwrap_or(DATABASE);
                let (user, password) = match login {
                    Some((user, password)) => (user, Some(password)),
                    None => {
                        return Err("spec.basicAuth: PostgreSQL wants a user and a password".into());
                    }
                };
                let mut options = postgres::Options::new(spec.endpoints.clone(), database, user);
                options.password = password.filter(|word| !word.is_empty());
                options.tls = tls;
                options.prefix = prefix.to_owned();
                Self::Postgres(Box::new(options))
            }
            DataStoreDriver::Etcd => {
                let scheme = if tls.is_some() { "https" } else { "http" };
                let url = |endpoint: &String| match endpoint.contains("://") {
                    true => endpoint.clone(),
                    false => format!("{scheme}://{endpoint}"),
                };
                let endpoints = spec.endpoints.iter().map(url).collect();
                let mut options = etcd::Options::new(endpoints, format!("/{prefix}"));
                options.tls = tls;
                options.login = login;
                Self::Etcd(Box::new(options))
            }
        })
    }
}

async fn tls(spec: &DataStoreSpec, host: &kube::Client) -> Result<Option<Tls>, String> {
    let Some(config) = &spec.tls_config else {
        return Ok(None);
    };
    let path = "tlsConfig.certificateAuthority.certificate";
    let ca = content(
        path,
        &config.certificate_authority.certificate,
        "ca.crt",
        host,
    )
    .await?;
    let identity = match &config.client_certificate {
        None => None,
        Some(CertificateAndKey {
            certificate,
            private_key,
        }) => {
            let path = "tlsConfig.clientCertificate";
            let key = private_key
                .as_ref()
                .ok_or_else(|| format!("spec.{path}.privateKey is missing"))?;
            let cert =
                content(&format!("{path}.certificate"), certificate, "tls.crt", host).await?;
            let key = content(&format!("{path}.privateKey"), key, "tls.key", host).await?;
            Some((cert, key))
        }
    };
    Ok(Some(Tls {
        ca,
        identity,
        server_name: spec.tls_server_name.clone(),
    }))
}

/// What is given as it is, or kept in a secret.
async fn content(
    path: &str,
    from: &Content,
    default: &str,
    host: &kube::Client,
) -> Result<Vec<u8>, String> {
    if let Some(given) = &from.content {
        return BASE64
            .decode(given.trim())
            .map_err(|_| format!("spec.{path}.content is not base64"));
    }
    let reference = from.secret_reference.as_ref().or(from.secret_ref.as_ref());
    let reference =
        reference.ok_or_else(|| format!("spec.{path}: content or secretReference is missing"))?;
    let namespace = reference
        .namespace
        .as_deref()
        .ok_or_else(|| format!("spec.{path}: the secret's namespace is missing"))?;
    let shown = format!("{namespace}/{}", reference.name);
    let secrets: Api<Secret> = Api::namespaced(host.clone(), namespace);
    let secret = secrets
        .get_opt(&reference.name)
        .await
        .map_err(|e| format!("cannot read secret {shown}: {}", crate::cli::said(&e)))?
        .ok_or_else(|| format!("spec.{path}: there is no secret {shown}"))?;
    let key = reference.key_path.as_deref().unwrap_or(default);
    // A certificate authority kept as cert-manager and cluster-api keep it.
    let other = key.replace("ca.", "tls.");
    let data = secret.data.unwrap_or_default();
    let found = data.get(key).or_else(|| data.get(&other));
    found
        .map(|bytes| bytes.0.clone())
        .ok_or_else(|| format!("spec.{path}: the secret {shown} has no key {key}"))
}

fn text(path: &str, bytes: Vec<u8>) -> Result<String, String> {
    let text = String::from_utf8(bytes).map_err(|_| format!("spec.{path} is not text"))?;
    // Whoever makes a secret from a file often brings the end of its line along.
    Ok(text.trim_end_matches(['\r', '\n']).to_owned())
}

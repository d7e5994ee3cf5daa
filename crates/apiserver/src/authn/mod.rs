//! Who makes a request: client certificates, service-account tokens, bootstrap tokens,
//! anonymous, and impersonation on top.
//!
//! Everything is checked against this control plane's own CA and key: a credential of another
//! control plane is as good as a forged one, and both are 401.

mod bootstrap;
mod certificate;
mod impersonation;
mod issue;
mod jwt;
mod keys;
mod review;
mod service_account;

pub(crate) use certificate::AnyClientCertificate;
pub(crate) use impersonation::impersonate;
pub use issue::TokenIssuer;
pub(crate) use review::self_subject_review;

use crate::cache::Cache;
use crate::{Config, Identity, PeerCertificates};
use async_trait::async_trait;
use freehold_model::{ApiError, Value};
use freehold_policy::{GROUP_AUTHENTICATED, GROUP_UNAUTHENTICATED, USER_ANONYMOUS, User};
use http::header::AUTHORIZATION;
use http::request::Parts;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

/// `extra` key that identifies the credential itself, for audit.
const CREDENTIAL_ID: &str = "authentication.kubernetes.io/credential-id";

/// How authentication looks at stored objects.
#[async_trait]
pub(crate) trait Objects: Send + Sync {
    /// An object as of its last acknowledged write, `None` when there is none.
    async fn get(
        &self,
        group: &str,
        resource: &str,
        namespace: &str,
        name: &str,
    ) -> Result<Option<Value>, ApiError>;
}

#[async_trait]
impl Objects for Cache {
    async fn get(
        &self,
        group: &str,
        resource: &str,
        namespace: &str,
        name: &str,
    ) -> Result<Option<Value>, ApiError> {
        self.fresh().await?;
        Ok(self
            .view(group, resource)
            .get(namespace, name)
            .map(|object| object.parse()))
    }
}

/// The credentials one control plane accepts.
pub(crate) struct Authn {
    certificates: certificate::Certificates,
    tokens: service_account::Verifier,
    issuer: TokenIssuer,
    objects: Arc<dyn Objects>,
}

/// A bearer token that was accepted.
struct Accepted {
    user: User,
    /// the asked audiences that the token is good for
    audiences: Vec<String>,
}

/// Why a bearer token was not accepted.
enum Refusal {
    /// not a token of this kind at all
    Unknown,
    /// what to tell whoever asked for a review; a request is told only `Unauthorized`
    Invalid(String),
    /// it could not be checked
    Failed(ApiError),
}

impl From<ApiError> for Refusal {
    fn from(error: ApiError) -> Self {
        Self::Failed(error)
    }
}

impl Authn {
    /// Reads the CA certificates and the key.
    ///
    /// # Errors
    /// What is wrong with them, without their content.
    pub(crate) fn new(config: &Config, objects: Arc<dyn Objects>) -> Result<Self, ApiError> {
        let key = &config.service_account_key_pem;
        TokenIssuer::new(key, &config.issuer, &config.external_address)
            .and_then(|issuer| Self::of(&config.client_ca_pem, issuer, objects))
            .map_err(ApiError::internal)
    }

    fn of(
        client_ca_pem: &str,
        issuer: TokenIssuer,
        objects: Arc<dyn Objects>,
    ) -> Result<Self, String> {
        Ok(Self {
            certificates: certificate::Certificates::new(client_ca_pem)?,
            tokens: service_account::Verifier::new(&issuer),
            issuer,
            objects,
        })
    }

    pub(crate) fn issuer(&self) -> &TokenIssuer {
        &self.issuer
    }

    /// Who makes this request, before impersonation. An in-process client names its identity;
    /// otherwise a certificate is tried, then a bearer token; with neither it is anonymous.
    ///
    /// # Errors
    /// 401 when a credential was shown and none is good.
    pub(crate) async fn authenticate(&self, parts: &Parts) -> Result<User, ApiError> {
        if let Some(Identity(user)) = parts.extensions.get::<Identity>() {
            return Ok(user.clone());
        }
        let now = unix_now();
        let chain = parts
            .extensions
            .get::<PeerCertificates>()
            .filter(|c| !c.0.is_empty());
        if let Some(chain) = chain
            && let Some(user) = self.certificates.user(&chain.0, now)
        {
            return Ok(authenticated(user));
        }
        match bearer_token(parts) {
            Some(token) => match self.token(token, None, now).await {
                Ok(accepted) => Ok(authenticated(accepted.user)),
                Err(Refusal::Failed(error)) => Err(error),
                Err(Refusal::Unknown | Refusal::Invalid(_)) => Err(ApiError::unauthorized()),
            },
            None if chain.is_some() => Err(ApiError::unauthorized()),
            None => Ok(anonymous()),
        }
    }

    /// Tries each kind of bearer token; `audiences` are those asked for (none: the API's own).
    async fn token(
        &self,
        token: &str,
        audiences: Option<&[String]>,
        now: i64,
    ) -> Result<Accepted, Refusal> {
        let objects = &*self.objects;
        let own = self.issuer.audiences();
        let wanted = audiences.unwrap_or(own);
        match self.tokens.verify(token, wanted, objects, now).await {
            Err(Refusal::Unknown) => {}
            other => return other,
        }
        let user = bootstrap::verify(token, objects, now).await?;
        // Bootstrap tokens know no audiences: they are for this API and nothing else.
        let audiences: Vec<String> = own.iter().filter(|a| wanted.contains(a)).cloned().collect();
        if audiences.is_empty() {
            Err(Refusal::Unknown)
        } else {
            Ok(Accepted { user, audiences })
        }
    }
}

/// The token of an `Authorization: Bearer …` header; `None` when there is none (other schemes
/// are not ours).
fn bearer_token(parts: &Parts) -> Option<&str> {
    if let Some(header) = parts.headers.get(AUTHORIZATION)
        && let Ok(text) = header.to_str()
        && let Some((scheme, rest)) = text.trim().split_once(' ')
        && scheme.eq_ignore_ascii_case("bearer")
    {
        // As upstream: a token ends at the next space.
        let token = rest.split(' ').next().unwrap_or_default();
        return (!token.is_empty()).then_some(token);
    }
    None
}

fn anonymous() -> User {
    User {
        name: USER_ANONYMOUS.into(),
        groups: vec![GROUP_UNAUTHENTICATED.into()],
        ..User::default()
    }
}

/// Everyone with a credential is in `system:authenticated`.
fn authenticated(mut user: User) -> User {
    let has = |user: &User, group: &str| user.groups.iter().any(|g| g == group);
    if user.name != USER_ANONYMOUS
        && !has(&user, GROUP_AUTHENTICATED)
        && !has(&user, GROUP_UNAUTHENTICATED)
    {
        user.groups.push(GROUP_AUTHENTICATED.into());
    }
    user
}

fn unix_now() -> i64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

/// An RFC 3339 time as seconds since 1970.
fn unix_of(text: &str) -> Option<i64> {
    let format = &time::format_description::well_known::Rfc3339;
    time::OffsetDateTime::parse(text, format)
        .ok()
        .map(time::OffsetDateTime::unix_timestamp)
}

/// The decoded bytes under `data.<key>` of a secret.
fn secret_data(secret: &Value, key: &str) -> Option<Vec<u8>> {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD
        .decode(secret.str_at(&["data", key])?)
        .ok()
}

/// Equality of secrets whose time does not tell where they differ.
fn same_secret(a: &[u8], b: &[u8]) -> bool {
    let digest = |bytes| ring::digest::digest(&ring::digest::SHA256, bytes);
    digest(a).as_ref() == digest(b).as_ref()
}

#[cfg(test)]
mod tests;

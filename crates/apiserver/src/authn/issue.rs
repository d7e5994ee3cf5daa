//! Makes service-account tokens: `serviceaccounts/<name>/token`, and the ones kept in secrets.

use super::keys::Key;
use super::{Authn, Objects, jwt, unix_now};
use freehold_model::field::{ErrorKind, FieldError};
use freehold_model::{ApiError, Value, json, value};
use std::sync::Arc;

const GROUP: &str = "authentication.k8s.io";
/// pkg/apis/authentication/validation
const SHORTEST: i64 = 600;
const LONGEST: i64 = 1 << 32;
/// when a request names none (pkg/apis/authentication/v1/defaults.go)
const USUAL: i64 = 3600;
/// `iss` of tokens kept in secrets
pub(super) const LEGACY: &str = "kubernetes/serviceaccount";

/// The issuer of one control plane's service-account tokens.
#[derive(Clone)]
pub struct TokenIssuer {
    inner: Arc<Inner>,
}

struct Inner {
    key: Key,
    issuer: String,
    /// the API's own audiences: its issuer
    audiences: Vec<String>,
    address: String,
}

impl TokenIssuer {
    /// # Errors
    /// When the PEM holds no usable private key.
    pub fn new(key_pem: &str, issuer: &str, address: &str) -> Result<Self, String> {
        let inner = Inner {
            key: Key::from_pem(key_pem)?,
            issuer: issuer.to_owned(),
            audiences: vec![issuer.to_owned()],
            address: address.trim_end_matches('/').to_owned(),
        };
        Ok(Self {
            inner: Arc::new(inner),
        })
    }

    pub(super) fn key(&self) -> &Key {
        &self.inner.key
    }

    pub(super) fn name(&self) -> &str {
        &self.inner.issuer
    }

    pub(super) fn audiences(&self) -> &[String] {
        &self.inner.audiences
    }

    /// The token that a secret of type `kubernetes.io/service-account-token` holds: it has no
    /// end of its own and is good as long as the secret and the account exist.
    #[must_use]
    pub fn for_secret(
        &self,
        namespace: &str,
        account: &str,
        account_uid: &str,
        secret: &str,
    ) -> Option<String> {
        let claims = value!({
            "iss": LEGACY,
            "sub": (subject(namespace, account)),
            "kubernetes.io/serviceaccount/namespace": namespace,
            "kubernetes.io/serviceaccount/secret.name": secret,
            "kubernetes.io/serviceaccount/service-account.name": account,
            "kubernetes.io/serviceaccount/service-account.uid": account_uid,
        });
        jwt::sign(self.key(), &claims)
    }

    /// The body of `/openid/v1/jwks`.
    #[must_use]
    pub fn key_set(&self) -> Vec<u8> {
        json::to_vec(&value!({"keys": [(self.key().jwk())]}))
    }

    /// The body of `/.well-known/openid-configuration`.
    #[must_use]
    pub fn openid_configuration(&self) -> Vec<u8> {
        json::to_vec(&value!({
            "issuer": (self.name()),
            "jwks_uri": (format!("{}/openid/v1/jwks", self.inner.address)),
            "response_types_supported": ["id_token"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": [(self.key().alg)],
        }))
    }
}

pub(super) fn subject(namespace: &str, account: &str) -> String {
    format!("system:serviceaccount:{namespace}:{account}")
}

fn text<'a>(object: &'a Value, path: &[&str]) -> &'a str {
    object.str_at(path).unwrap_or_default()
}

fn reference(object: &Value) -> Value {
    value!({"name": (text(object, &["metadata", "name"])), "uid": (text(object, &["metadata", "uid"]))})
}

async fn existing(
    objects: &dyn Objects,
    resource: &str,
    namespace: &str,
    name: &str,
) -> Result<Value, ApiError> {
    let found = objects.get("", resource, namespace, name).await?;
    found.ok_or_else(|| ApiError::not_found("", resource, name))
}

impl Authn {
    /// Answers a create of `serviceaccounts/<name>/token`.
    ///
    /// # Errors
    /// 404 for a missing account or bound object, 409 for another uid, 422 for a bad duration.
    pub(crate) async fn token_request(
        &self,
        namespace: &str,
        name: &str,
        mut request: Value,
    ) -> Result<Value, ApiError> {
        let objects = &*self.objects;
        let account = existing(objects, "serviceaccounts", namespace, name).await?;
        check_address(&request, namespace, &account)?;
        let audiences = self.wanted_audiences(&request)?;
        let seconds = wanted_seconds(&request)?;
        let now = unix_now();
        let mut claims = value!({
            "iss": (self.issuer.name()),
            "sub": (subject(namespace, name)),
            "aud": (audiences.clone()),
            "iat": now,
            "nbf": now,
            "exp": (now + seconds),
            "jti": (uuid::Uuid::new_v4().to_string()),
            "kubernetes.io": {"namespace": namespace, "serviceaccount": (reference(&account))},
        });
        for (kind, object) in bound_objects(objects, namespace, name, &request).await? {
            claims.set(&["kubernetes.io", kind], object);
        }
        let token = jwt::sign(self.issuer.key(), &claims).ok_or_else(|| {
            ApiError::bad_request("the token would be too long: ask for fewer or shorter audiences")
        })?;

        request.set(&["apiVersion"], "authentication.k8s.io/v1");
        request.set(&["kind"], "TokenRequest");
        request.set(&["metadata", "name"], name);
        request.set(&["metadata", "namespace"], namespace);
        request.set(&["metadata", "uid"], text(&account, &["metadata", "uid"]));
        request.set(&["metadata", "creationTimestamp"], rfc3339(now)?);
        request.set(&["spec", "audiences"], audiences);
        request.set(&["spec", "expirationSeconds"], seconds);
        request.set(
            &["status"],
            value!({"token": token, "expirationTimestamp": (rfc3339(now + seconds)?)}),
        );
        Ok(request)
    }

    fn wanted_audiences(&self, request: &Value) -> Result<Vec<String>, ApiError> {
        let asked = request
            .at(&["spec", "audiences"])
            .and_then(Value::as_array)
            .unwrap_or_default();
        if asked.is_empty() {
            return Ok(self.issuer.audiences().to_vec());
        }
        let texts = asked.iter().map(|a| a.as_str().map(str::to_owned));
        texts
            .collect::<Option<Vec<_>>>()
            .ok_or_else(|| ApiError::bad_request("spec.audiences must be strings"))
    }
}

/// What the body says of itself must agree with the path and the account.
fn check_address(request: &Value, namespace: &str, account: &Value) -> Result<(), ApiError> {
    let name = text(account, &["metadata", "name"]);
    for (field, wanted, what) in [
        ("name", name, "name"),
        ("namespace", namespace, "namespace"),
    ] {
        let said = text(request, &["metadata", field]);
        if !said.is_empty() && said != wanted {
            let detail = format!("must match the service account {what} if specified");
            let error = FieldError::invalid_str(format!("metadata.{field}"), said, detail);
            return Err(ApiError::invalid(GROUP, "TokenRequest", name, &[error]));
        }
    }
    let (said, uid) = (
        text(request, &["metadata", "uid"]),
        text(account, &["metadata", "uid"]),
    );
    if !said.is_empty() && said != uid {
        let why = format!(
            "the UID in the token request ({said}) does not match the UID of the service account ({uid})"
        );
        return Err(ApiError::conflict(GROUP, "TokenRequest", name, &why));
    }
    Ok(())
}

fn wanted_seconds(request: &Value) -> Result<i64, ApiError> {
    let seconds = match request.at(&["spec", "expirationSeconds"]) {
        None | Some(Value::Null) => USUAL,
        Some(Value::Int(n)) => *n,
        Some(_) => {
            return Err(ApiError::bad_request(
                "spec.expirationSeconds must be an integer",
            ));
        }
    };
    let detail = match seconds {
        ..SHORTEST => "may not specify a duration less than 10 minutes",
        SHORTEST..=LONGEST => return Ok(seconds),
        _ => "may not specify a duration larger than 2^32 seconds",
    };
    let error = FieldError::new(
        ErrorKind::Invalid,
        "spec.expirationSeconds",
        seconds.to_string(),
        detail,
    );
    Err(ApiError::invalid(GROUP, "TokenRequest", "", &[error]))
}

/// The claims for `spec.boundObjectRef`: the token dies with that object.
async fn bound_objects(
    objects: &dyn Objects,
    namespace: &str,
    account: &str,
    request: &Value,
) -> Result<Vec<(&'static str, Value)>, ApiError> {
    let Some(bound) = request
        .at(&["spec", "boundObjectRef"])
        .filter(|b| !b.is_null())
    else {
        return Ok(Vec::new());
    };
    let [api_version, kind, name, uid] =
        ["apiVersion", "kind", "name", "uid"].map(|f| text(bound, &[f]));
    let (claim, resource, namespace) = match (api_version, kind) {
        ("v1" | "", "Pod") => ("pod", "pods", namespace),
        ("v1" | "", "Secret") => ("secret", "secrets", namespace),
        ("v1" | "", "Node") => ("node", "nodes", ""),
        _ => {
            let slash = if api_version.contains('/') { "" } else { "/" };
            let message =
                format!("cannot bind token to object of type {slash}{api_version}, Kind={kind}");
            return Err(ApiError::bad_request(message));
        }
    };
    let object = existing(objects, resource, namespace, name).await?;
    let found = text(&object, &["metadata", "uid"]);
    let mut claims = vec![(claim, reference(&object))];
    if claim == "pod" {
        if text(&object, &["spec", "serviceAccountName"]) != account {
            return Err(ApiError::bad_request(format!(
                "cannot bind token for serviceaccount {account:?} to pod running with different serviceaccount name."
            )));
        }
        let node_name = text(&object, &["spec", "nodeName"]);
        if !node_name.is_empty() {
            let node = objects.get("", "nodes", "", node_name).await?;
            claims.push((
                "node",
                node.map_or_else(|| value!({"name": node_name}), |n| reference(&n)),
            ));
        }
    }
    if !uid.is_empty() && uid != found {
        let why = format!(
            "the UID in the bound object reference ({uid}) does not match the UID in record. \
             The object might have been deleted and then recreated"
        );
        return Err(ApiError::conflict("", kind, name, &why));
    }
    Ok(claims)
}

fn rfc3339(seconds: i64) -> Result<String, ApiError> {
    time::OffsetDateTime::from_unix_timestamp(seconds)
        .ok()
        .and_then(|t| {
            t.format(&time::format_description::well_known::Rfc3339)
                .ok()
        })
        .ok_or_else(|| ApiError::internal("the time is out of range"))
}

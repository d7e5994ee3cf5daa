//! Accepts service-account tokens while what they are bound to exists
//! (pkg/serviceaccount/claims.go and legacy.go).

use super::issue::{LEGACY, TokenIssuer, subject};
use super::{Accepted, CREDENTIAL_ID, Objects, Refusal, jwt, same_secret, secret_data, unix_of};
use freehold_model::{ApiError, Value};
use freehold_policy::{GROUP_SERVICE_ACCOUNTS, User};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;

/// Signatures remembered: checking one costs as much as serving a small request.
const REMEMBERED: usize = 128;

/// Verifies tokens of one issuer. Only the signature's answer is remembered; times, the account
/// and bound objects are looked at for every request, so that a deletion revokes at once.
pub(super) struct Verifier {
    issuer: TokenIssuer,
    signed: Mutex<HashMap<[u8; 32], Arc<Value>>>,
}

fn invalid<T>(why: impl Into<String>) -> Result<T, Refusal> {
    Err(Refusal::Invalid(why.into()))
}

impl Verifier {
    pub(super) fn new(issuer: &TokenIssuer) -> Self {
        Self {
            issuer: issuer.clone(),
            signed: Mutex::default(),
        }
    }

    pub(super) async fn verify(
        &self,
        token: &str,
        wanted: &[String],
        objects: &dyn Objects,
        now: i64,
    ) -> Result<Accepted, Refusal> {
        let claims = self.claims(token)?;
        let legacy = claims.str_at(&["iss"]) == Some(LEGACY);
        let own = self.issuer.audiences();
        let audiences = audiences(&claims);
        // Only tokens in secrets are without audience and end: they are for this API.
        let good_for = if legacy && audiences.is_empty() {
            own.to_vec()
        } else {
            audiences
        };
        let audiences: Vec<String> = good_for
            .iter()
            .filter(|a| wanted.contains(a))
            .cloned()
            .collect();
        if audiences.is_empty() {
            return invalid(format!(
                "token audiences {good_for:?} is invalid for the target audiences {wanted:?}"
            ));
        }
        jwt::check_times(&claims, now)?;
        let user = if legacy {
            in_secret(&claims, token, objects).await?
        } else {
            bound(&claims, objects, now).await?
        };
        Ok(Accepted { user, audiences })
    }

    fn claims(&self, token: &str) -> Result<Arc<Value>, Refusal> {
        let mut id = [0; 32];
        id.copy_from_slice(ring::digest::digest(&ring::digest::SHA256, token.as_bytes()).as_ref());
        if let Some(known) = self.signed.lock().get(&id) {
            return Ok(known.clone());
        }
        let claims = jwt::verify(self.issuer.key(), &[self.issuer.name(), LEGACY], token)?;
        let claims = Arc::new(claims);
        let mut signed = self.signed.lock();
        if signed.len() >= REMEMBERED {
            signed.clear();
        }
        signed.insert(id, claims.clone());
        Ok(claims)
    }
}

fn audiences(claims: &Value) -> Vec<String> {
    match claims.get("aud") {
        Some(Value::String(one)) => vec![one.to_string()],
        Some(Value::Array(many)) => many
            .iter()
            .filter_map(Value::as_str)
            .map(str::to_owned)
            .collect(),
        _ => Vec::new(),
    }
}

fn text<'a>(object: &'a Value, path: &[&str]) -> &'a str {
    object.str_at(path).unwrap_or_default()
}

/// Deleted, and for longer than clocks may differ.
fn is_gone(object: &Value, now: i64) -> bool {
    let Some(at) = object.str_at(&["metadata", "deletionTimestamp"]) else {
        return false;
    };
    unix_of(at).is_none_or(|at| at < now.saturating_sub(jwt::LEEWAY))
}

async fn account(
    objects: &dyn Objects,
    namespace: &str,
    name: &str,
    uid: &str,
) -> Result<Value, Refusal> {
    let Some(account) = objects.get("", "serviceaccounts", namespace, name).await? else {
        return invalid(ApiError::not_found("", "serviceaccounts", name).message);
    };
    let found = text(&account, &["metadata", "uid"]);
    if uid.is_empty() || found != uid {
        return invalid(format!(
            "service account UID ({found}) does not match claim ({uid})"
        ));
    }
    Ok(account)
}

/// A token of a token request.
async fn bound(claims: &Value, objects: &dyn Objects, now: i64) -> Result<User, Refusal> {
    if claims.get("exp").is_none() {
        return invalid("service account token has no end");
    }
    let Some(own) = claims.get("kubernetes.io") else {
        return invalid("service account token has no kubernetes.io claim");
    };
    let namespace = text(own, &["namespace"]);
    let [name, uid] = ["name", "uid"].map(|f| text(own, &["serviceaccount", f]));
    if namespace.is_empty() || name.is_empty() || text(claims, &["sub"]) != subject(namespace, name)
    {
        return invalid("sub claim is invalid");
    }
    let found = account(objects, namespace, name, uid).await?;
    if is_gone(&found, now) {
        return invalid(format!(
            "service account {namespace}/{name} has been deleted"
        ));
    }
    let mut user = User {
        uid: uid.to_owned(),
        ..user(namespace, name)
    };
    if let Some(jti) = claims.str_at(&["jti"]) {
        user.extra
            .push((CREDENTIAL_ID.to_owned(), vec![format!("JTI={jti}")]));
    }
    let has_pod = own.get("pod").is_some();
    for (kind, resource, scope) in [
        ("secret", "secrets", namespace),
        ("pod", "pods", namespace),
        ("node", "nodes", ""),
    ] {
        let Some(reference) = own.get(kind) else {
            continue;
        };
        let [bound_name, bound_uid] = ["name", "uid"].map(|f| text(reference, &[f]));
        // The node of a pod-bound token is told, not checked: the pod is what it is bound to.
        if kind != "node" || !has_pod {
            still_there(
                objects,
                (kind, resource),
                scope,
                (bound_name, bound_uid),
                now,
            )
            .await?;
        }
        if kind != "secret" {
            for (what, value) in [("name", bound_name), ("uid", bound_uid)] {
                if !value.is_empty() {
                    user.extra.push((
                        format!("authentication.kubernetes.io/{kind}-{what}"),
                        vec![value.to_owned()],
                    ));
                }
            }
        }
    }
    Ok(user)
}

async fn still_there(
    objects: &dyn Objects,
    (kind, resource): (&str, &str),
    namespace: &str,
    (name, uid): (&str, &str),
    now: i64,
) -> Result<(), Refusal> {
    let Some(object) = objects.get("", resource, namespace, name).await? else {
        return invalid("service account token has been invalidated");
    };
    let found = text(&object, &["metadata", "uid"]);
    if found != uid {
        return invalid(format!(
            "{kind} UID ({found}) does not match service account {kind} ref claim ({uid})"
        ));
    }
    if is_gone(&object, now) {
        return invalid("service account token has been invalidated");
    }
    Ok(())
}

/// A token kept in a secret: good while the secret holds this very token.
async fn in_secret(claims: &Value, token: &str, objects: &dyn Objects) -> Result<User, Refusal> {
    let claim =
        |name: &str| text(claims, &[&format!("kubernetes.io/serviceaccount/{name}")]).to_owned();
    let [namespace, secret_name, name, uid] = [
        "namespace",
        "secret.name",
        "service-account.name",
        "service-account.uid",
    ]
    .map(claim);
    if namespace.is_empty() || secret_name.is_empty() || name.is_empty() {
        return invalid("service account token lacks a claim");
    }
    if text(claims, &["sub"]) != subject(&namespace, &name) {
        return invalid("sub claim is invalid");
    }
    let deleted = |object: &Value| object.at(&["metadata", "deletionTimestamp"]).is_some();
    let secret = objects.get("", "secrets", &namespace, &secret_name).await?;
    let Some(secret) = secret.filter(|s| !deleted(s)) else {
        return invalid("Token has been invalidated");
    };
    if !secret_data(&secret, "token").is_some_and(|kept| same_secret(&kept, token.as_bytes())) {
        return invalid("Token does not match server's copy");
    }
    let found = account(objects, &namespace, &name, &uid).await?;
    if deleted(&found) {
        return invalid(format!(
            "ServiceAccount {namespace}/{name} has been deleted"
        ));
    }
    if secret
        .at(&[
            "metadata",
            "labels",
            "kubernetes.io/legacy-token-invalid-since",
        ])
        .is_some()
    {
        return invalid(format!(
            "the token in secret {namespace}/{secret_name} has been marked invalid"
        ));
    }
    Ok(User {
        uid,
        ..user(&namespace, &name)
    })
}

fn user(namespace: &str, name: &str) -> User {
    User {
        name: subject(namespace, name),
        groups: vec![
            GROUP_SERVICE_ACCOUNTS.into(),
            format!("{GROUP_SERVICE_ACCOUNTS}:{namespace}"),
        ],
        ..User::default()
    }
}

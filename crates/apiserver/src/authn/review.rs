//! `TokenReview` and `SelfSubjectReview` (pkg/registry/authentication).

use super::{Authn, Refusal, authenticated, unix_now};
use freehold_model::{ApiError, Map, Value, value};
use freehold_policy::User;

/// The `UserInfo` of reviews.
fn user_info(user: &User) -> Value {
    let mut info = value!({"username": (user.name.as_str()), "groups": (user.groups.clone())});
    if !user.uid.is_empty() {
        info.set(&["uid"], user.uid.as_str());
    }
    if !user.extra.is_empty() {
        let extra: Map = user
            .extra
            .iter()
            .map(|(k, v)| (k.as_str(), Value::from(v.clone())))
            .collect();
        info.set(&["extra"], Value::Object(extra));
    }
    info
}

/// Answers a create of `selfsubjectreviews`.
pub(crate) fn self_subject_review(user: &User, created: &str) -> Value {
    value!({
        "apiVersion": "authentication.k8s.io/v1",
        "kind": "SelfSubjectReview",
        "metadata": {"creationTimestamp": created},
        "status": {"userInfo": (user_info(user))},
    })
}

impl Authn {
    /// Answers a create of `tokenreviews`.
    ///
    /// # Errors
    /// 400 without a token; else only when the check itself failed.
    pub(crate) async fn token_review(&self, mut review: Value) -> Result<Value, ApiError> {
        let token = review.str_at(&["spec", "token"]).unwrap_or_default();
        if token.is_empty() {
            return Err(ApiError::bad_request(
                "token is required for TokenReview in authentication",
            ));
        }
        let asked = review
            .at(&["spec", "audiences"])
            .and_then(Value::as_array)
            .unwrap_or_default();
        let asked: Vec<String> = asked
            .iter()
            .filter_map(Value::as_str)
            .map(str::to_owned)
            .collect();
        let audiences = (!asked.is_empty()).then_some(&asked[..]);
        let status = match self.token(token, audiences, unix_now()).await {
            Ok(accepted) => value!({
                "authenticated": true,
                "user": (user_info(&authenticated(accepted.user))),
                "audiences": (accepted.audiences),
            }),
            Err(Refusal::Unknown) => value!({"user": {}, "error": "invalid bearer token"}),
            Err(Refusal::Invalid(why)) => {
                value!({"user": {}, "error": (format!("[invalid bearer token, {why}]"))})
            }
            Err(Refusal::Failed(error)) => return Err(error),
        };
        review.set(&["status"], status);
        Ok(review)
    }
}

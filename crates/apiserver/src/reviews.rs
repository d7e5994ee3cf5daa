//! Kinds that are questions: created, answered and never stored.

use crate::pipeline::Call;
use crate::{Body, authn, codec};
use freehold_model::{ApiError, Value};
use futures::future::BoxFuture;
use http::Response;

fn kind(call: &Call) -> Option<&str> {
    let asked = call.info.verb == "create" && call.info.subresource.is_empty();
    let group = call.info.group.as_str();
    let plural = call.info.resource.as_str();
    let known = match group {
        "authentication.k8s.io" => matches!(plural, "tokenreviews" | "selfsubjectreviews"),
        "authorization.k8s.io" => matches!(
            plural,
            "subjectaccessreviews"
                | "selfsubjectaccessreviews"
                | "selfsubjectrulesreviews"
                | "localsubjectaccessreviews"
        ),
        _ => false,
    };
    (asked && known).then_some(plural)
}

pub(crate) fn handles(call: &Call) -> bool {
    kind(call).is_some()
}

pub(crate) async fn answer(call: &Call, body: Body) -> Result<Response<Body>, ApiError> {
    if call.accept.shape != codec::Shape::Plain {
        return Err(ApiError::not_acceptable(
            "only the following media types are accepted: application/json, application/yaml, application/vnd.kubernetes.protobuf",
        ));
    }
    call.dry_run()?;
    let bytes = codec::read(body).await?;
    let mut review = call.decode_object(&bytes)?;
    let owned = [
        "subjectaccessreviews",
        "selfsubjectaccessreviews",
        "localsubjectaccessreviews",
    ];
    if owned.contains(&call.info.resource.as_str()) {
        call.track(None, &mut review);
    }
    let (authz, user) = (&call.cp.authz, &call.user);
    let answered: Value = match kind(call).unwrap_or_default() {
        "tokenreviews" => {
            let reviewing: BoxFuture<'_, _> = Box::pin(call.cp.authn.token_review(review));
            reviewing.await?
        }
        "selfsubjectreviews" => {
            let mut v = authn::self_subject_review(user, &call.rfc3339());
            v.set(&["apiVersion"], call.resource.api_version());
            v
        }
        "subjectaccessreviews" => authz.subject_access_review(review)?,
        "selfsubjectaccessreviews" => authz.self_subject_access_review(user, review)?,
        "selfsubjectrulesreviews" => authz.self_subject_rules_review(user, review)?,
        _ => authz.local_subject_access_review(&call.info.namespace, review)?,
    };
    call.answer_value(201, &answered)
}

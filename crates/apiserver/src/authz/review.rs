//! `SubjectAccessReview`, `LocalSubjectAccessReview`, `SelfSubjectAccessReview` and
//! `SelfSubjectRulesReview` (pkg/registry/authorization).

use super::Authz;
use freehold_model::field::{ErrorKind, FieldError};
use freehold_model::{ApiError, Map, Value, value};
use freehold_policy::rbac::Rule;
use freehold_policy::{Attributes, User};

const GROUP: &str = "authorization.k8s.io";

fn text(object: &Value, path: &[&str]) -> String {
    object.str_at(path).unwrap_or_default().to_owned()
}

fn present<'a>(review: &'a Value, path: &[&str]) -> Option<&'a Value> {
    review.at(path).filter(|v| !v.is_null())
}

fn strings(value: Option<&Value>) -> Vec<String> {
    let items = value.and_then(Value::as_array).unwrap_or_default();
    items
        .iter()
        .filter_map(Value::as_str)
        .map(str::to_owned)
        .collect()
}

fn invalid(path: &str, detail: &str) -> FieldError {
    FieldError::new(ErrorKind::Invalid, path, "null", detail)
}

/// A question has no name; nor anything else that objects have.
fn has_metadata(review: &Value, may_have_namespace: bool) -> Option<FieldError> {
    let metadata = present(review, &["metadata"])?;
    let empty = |v: &Value| match v {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(map) => map.is_empty(),
        _ => false,
    };
    let mut fields = metadata.as_object()?.iter();
    let has = fields.any(|(key, v)| {
        !empty(v) && key != "managedFields" && !(may_have_namespace && key == "namespace")
    });
    let why = if may_have_namespace {
        "must be empty except for namespace"
    } else {
        "must be empty"
    };
    has.then(|| FieldError::invalid("metadata", metadata, why))
}

/// What a review asks about.
fn asked(review: &Value) -> Result<Attributes, FieldError> {
    let resource = present(review, &["spec", "resourceAttributes"]);
    let path = present(review, &["spec", "nonResourceAttributes"]);
    match (resource, path) {
        (Some(_), Some(p)) => Err(FieldError::invalid(
            "spec.nonResourceAttributes",
            &value!({"Path": (text(p, &["path"])), "Verb": (text(p, &["verb"]))}),
            "cannot be specified in combination with resourceAttributes",
        )),
        (None, None) => Err(invalid(
            "spec.resourceAttributes",
            "exactly one of nonResourceAttributes or resourceAttributes must be specified",
        )),
        (Some(r), None) => Ok(Attributes {
            verb: text(r, &["verb"]),
            group: text(r, &["group"]),
            version: text(r, &["version"]),
            resource: text(r, &["resource"]),
            subresource: text(r, &["subresource"]),
            namespace: text(r, &["namespace"]),
            name: text(r, &["name"]),
            path: None,
        }),
        (None, Some(p)) => Ok(Attributes {
            verb: text(p, &["verb"]),
            path: Some(text(p, &["path"])),
            ..Attributes::default()
        }),
    }
}

/// The user a `SubjectAccessReview` asks about.
fn subject(review: &Value) -> User {
    let extra = present(review, &["spec", "extra"]).and_then(Value::as_object);
    User {
        name: text(review, &["spec", "user"]),
        uid: text(review, &["spec", "uid"]),
        groups: strings(review.at(&["spec", "groups"])),
        extra: extra
            .into_iter()
            .flat_map(Map::iter)
            .map(|(k, v)| (k.to_owned(), strings(Some(v))))
            .collect(),
    }
}

impl Authz {
    /// Answers a create of `selfsubjectaccessreviews`.
    ///
    /// # Errors
    /// 422 when it asks for nothing or for two things.
    pub(crate) fn self_subject_access_review(
        &self,
        user: &User,
        review: Value,
    ) -> Result<Value, ApiError> {
        let asked = asked(&review);
        let named = has_metadata(&review, false);
        let errors: Vec<FieldError> = asked
            .as_ref()
            .err()
            .cloned()
            .into_iter()
            .chain(named)
            .collect();
        match asked {
            Ok(asked) if errors.is_empty() => Ok(self.answer(user, &asked, review)),
            _ => Err(ApiError::invalid(GROUP, "", "", &errors)),
        }
    }

    /// Answers a create of `subjectaccessreviews`.
    ///
    /// # Errors
    /// 422 when it names nobody, or asks for nothing or for two things.
    pub(crate) fn subject_access_review(&self, review: Value) -> Result<Value, ApiError> {
        let errors = Vec::from_iter(has_metadata(&review, false));
        self.review(review, &errors)
    }

    /// Answers a create of `localsubjectaccessreviews` in a namespace.
    ///
    /// # Errors
    /// As [`Self::subject_access_review`], and when it asks about another namespace.
    pub(crate) fn local_subject_access_review(
        &self,
        namespace: &str,
        review: Value,
    ) -> Result<Value, ApiError> {
        let mut errors = Vec::from_iter(has_metadata(&review, true));
        if let Some(resource) = present(&review, &["spec", "resourceAttributes"]) {
            let said = text(resource, &["namespace"]);
            if said != namespace {
                let path = "spec.resourceAttributes.namespace";
                errors.push(FieldError::invalid_str(
                    path,
                    &said,
                    "must match metadata.namespace",
                ));
            }
        }
        if present(&review, &["spec", "nonResourceAttributes"]).is_some() {
            errors.push(invalid(
                "spec.nonResourceAttributes",
                "disallowed on this kind of request",
            ));
        }
        self.review(review, &errors)
    }

    fn review(&self, review: Value, more: &[FieldError]) -> Result<Value, ApiError> {
        let user = subject(&review);
        let asked = asked(&review);
        let mut errors: Vec<FieldError> = asked.as_ref().err().cloned().into_iter().collect();
        if user.name.is_empty() && user.groups.is_empty() {
            let detail = "at least one of user or group must be specified";
            errors.push(FieldError::invalid_str("spec.user", "", detail));
        }
        errors.extend_from_slice(more);
        match asked {
            Ok(asked) if errors.is_empty() => Ok(self.answer(&user, &asked, review)),
            _ => Err(ApiError::invalid(GROUP, "", "", &errors)),
        }
    }

    fn answer(&self, user: &User, asked: &Attributes, mut review: Value) -> Value {
        let decision = self.authorize(user, asked);
        let mut status = value!({"allowed": (decision.allowed)});
        if !decision.reason.is_empty() {
            status.set(&["reason"], decision.reason);
        }
        review.set(&["status"], status);
        review
    }

    /// Answers a create of `selfsubjectrulesreviews`.
    ///
    /// # Errors
    /// 400 without a namespace.
    pub(crate) fn self_subject_rules_review(
        &self,
        user: &User,
        mut review: Value,
    ) -> Result<Value, ApiError> {
        let namespace = text(&review, &["spec", "namespace"]);
        if namespace.is_empty() {
            return Err(ApiError::bad_request("no namespace on request"));
        }
        let held = self.compiled.read().rbac.rules_for(user, &namespace);
        let (mut resources, mut paths) = (Vec::new(), Vec::new());
        for rule in held.rules {
            if !rule.urls.is_empty() {
                paths.push(
                    Rule {
                        verbs: rule.verbs.clone(),
                        urls: rule.urls.clone(),
                        ..Rule::default()
                    }
                    .to_value(),
                );
            }
            if !rule.resources.is_empty() {
                resources.push(
                    Rule {
                        urls: Vec::new(),
                        ..rule
                    }
                    .to_value(),
                );
            }
        }
        let mut status =
            value!({"incomplete": false, "resourceRules": resources, "nonResourceRules": paths});
        if !held.errors.is_empty() {
            status.set(&["evaluationError"], held.errors.join(", "));
        }
        review.set(&["status"], status);
        Ok(review)
    }
}

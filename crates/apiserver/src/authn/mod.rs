//! Stand-in until the real module lands: only in-process identities are known.

use crate::Identity;
use freehold_model::ApiError;
use freehold_policy::User;

pub(crate) struct Authn;

impl Authn {
    pub(crate) fn new(
        _config: &crate::Config,
        _cache: std::sync::Arc<crate::cache::Cache>,
    ) -> Result<Self, ApiError> {
        Ok(Self)
    }
}

pub(crate) fn authenticate(_authn: &Authn, parts: &http::request::Parts) -> Result<User, ApiError> {
    parts
        .extensions
        .get::<Identity>()
        .map(|i| i.0.clone())
        .ok_or_else(ApiError::unauthorized)
}

//! Stand-in until the real module lands: only `system:masters` may do anything.

use freehold_policy::{Attributes, User};

pub(crate) struct Authz;

pub(crate) struct Decision {
    pub allowed: bool,
    pub reason: String,
}

impl Authz {
    pub(crate) fn new(_cache: std::sync::Arc<crate::cache::Cache>) -> Self {
        Self
    }
}

pub(crate) fn authorize(_authz: &Authz, user: &User, _attributes: &Attributes) -> Decision {
    let allowed = user.groups.iter().any(|g| g == "system:masters");
    Decision {
        allowed,
        reason: String::new(),
    }
}

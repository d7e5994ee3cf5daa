//! The shared listener's front door: the server name says which control plane is meant.

use crate::pool::Pool;
use async_trait::async_trait;
use freehold_api::names::SERVER_NAME_SUFFIX;
use freehold_apiserver::listen::{Backend, Backends};
use std::sync::Arc;

pub(crate) struct Frontdoor {
    own: Arc<dyn Backend>,
    pool: Arc<Pool>,
}

impl Frontdoor {
    pub(crate) fn new(own: Arc<dyn Backend>, pool: Arc<Pool>) -> Self {
        Self { own, pool }
    }
}

#[async_trait]
impl Backends for Frontdoor {
    async fn backend(&self, server_name: Option<&str>) -> Option<Arc<dyn Backend>> {
        // No name, an address, or a name of this machine: the host. Names of ours that are not
        // served here are refused rather than answered by somebody else.
        let Some(name) = server_name.map(str::to_ascii_lowercase) else {
            return Some(self.own.clone());
        };
        let ours = name
            .strip_suffix(SERVER_NAME_SUFFIX)
            .is_some_and(|rest| rest.is_empty() || rest.ends_with('.'));
        if ours {
            self.pool.backend(&name)
        } else {
            Some(self.own.clone())
        }
    }
}

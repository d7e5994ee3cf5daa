//! What every cluster's API expects to happen behind it, done by clients of that API: namespaces
//! are emptied, owners' leftovers collected, accounts and tokens made.
//!
//! One task per control plane drives everything: [`hub`] watches the metadata of every kind once
//! and shows each event to each controller; a controller turns events into keys of its work
//! queue and works them off with fresh reads. An idle control plane costs its open watches and
//! nothing else: no polling, no caches of objects.

mod api;
mod bootstrap_tokens;
mod certificate_requests;
mod cluster_roles;
mod discovery;
mod garbage;
mod hub;
mod namespaces;
mod queue;
mod root_ca;
mod service_accounts;
mod tokens;
mod watch;

use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// Signs the token of a `kubernetes.io/service-account-token` secret: given namespace, account,
/// the account's uid and the secret's name. `None` when it cannot.
pub type SignToken = Arc<dyn Fn(&str, &str, &str, &str) -> Option<String> + Send + Sync>;

/// What the controllers of one control plane know besides its API.
#[derive(Clone)]
pub struct Config {
    /// for logs: `host` or `<namespace>/<name>`
    pub name: String,
    /// PEM of the CA that clients inside the cluster verify the API with; published to every
    /// namespace
    pub root_ca_pem: String,
    /// without it, token secrets are left as they are
    pub sign_token: Option<SignToken>,
}

/// Runs every controller until `shutdown`; a failure is retried with growing pauses and never
/// ends another controller.
pub async fn run(client: kube::Client, config: Config, shutdown: CancellationToken) {
    tokio::select! {
        () = hub::run(client, config) => {}
        () = shutdown.cancelled() => {}
    }
}

/// Controllers that run in the background until this is dropped.
#[derive(Debug)]
pub struct Running(tokio::task::JoinHandle<()>);

/// Starts [`run`] in the background.
#[must_use]
pub fn run_all(client: kube::Client, config: Config) -> Running {
    Running(tokio::spawn(hub::run(client, config)))
}

impl Running {
    /// Stops and waits until nothing runs any more.
    pub async fn stop(mut self) {
        self.0.abort();
        if let Err(e) = (&mut self.0).await
            && e.is_panic()
        {
            tracing::error!(error = %e, "the controllers had panicked");
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.abort();
    }
}

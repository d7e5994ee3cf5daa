//! Events live an hour.

use crate::cache::store_error;
use crate::clock;
use crate::control_plane::ControlPlane;
use freehold_model::ApiError;

const TTL: u64 = 3600;
/// Events of this many seconds share a lease.
const SHARE: i64 = 60;

/// The lease under which an event is stored now.
pub(super) async fn lease(cp: &ControlPlane) -> Result<i64, ApiError> {
    let now = clock::now();
    let mut current = cp.event_lease.lock().await;
    let (lease, since) = *current;
    if lease != 0 && now - since < SHARE {
        return Ok(lease);
    }
    let granted = cp
        .config
        .store
        .lease_grant(TTL + SHARE.unsigned_abs())
        .await
        .map_err(|e| store_error(&e))?;
    *current = (granted, now);
    Ok(granted)
}

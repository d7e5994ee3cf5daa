//! Forgets history that no list or watch may ask for any more, as kube-apiserver does for etcd.

use crate::control_plane::ControlPlane;
use std::sync::Weak;
use std::time::Duration;

/// A revision stays readable for one to two of these.
const EVERY: Duration = Duration::from_secs(300);

pub(crate) async fn run(cp: Weak<ControlPlane>) {
    let Some(closed) = cp.upgrade().map(|cp| cp.cache.closed()) else {
        return;
    };
    let mut previous = 0;
    loop {
        tokio::select! {
            () = closed.cancelled() => return,
            () = tokio::time::sleep(EVERY) => {}
        }
        let Some(cp) = cp.upgrade() else { return };
        let now = cp.cache.rev();
        if previous > 1 && previous < now {
            match cp.config.store.compact(previous).await {
                Ok(()) | Err(freehold_store::Error::Compacted(_)) => {}
                Err(e) => {
                    tracing::warn!(control_plane = cp.name(), error = %e, "compaction failed")
                }
            }
        }
        previous = now;
    }
}

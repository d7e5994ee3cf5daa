//! What controllers do when there is nothing to do.

use crate::freehold;
use crate::world::{RUNTIME, config};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tower::ServiceExt as _;

#[test]
fn an_idle_control_plane_is_asked_nothing() {
    RUNTIME.block_on(async {
        let control_plane = freehold::control_plane("idle").await;
        let asked = Arc::new(AtomicUsize::new(0));
        let counted = asked.clone();
        let service = control_plane
            .service(freehold::admin())
            .map_request(move |request| {
                counted.fetch_add(1, Ordering::Relaxed);
                request
            });
        let running =
            freehold_controllers::run_all(kube::Client::new(service, "default"), config());
        let start = Instant::now();
        let (mut last, mut since) = (0, Instant::now());
        // Quiet for two seconds, within twenty.
        while since.elapsed() < Duration::from_secs(2) {
            let now = asked.load(Ordering::Relaxed);
            if now != last {
                (last, since) = (now, Instant::now());
            }
            assert!(
                start.elapsed() < Duration::from_secs(20),
                "it never became quiet: {now} requests"
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert!(last > 50, "it did start: {last} requests");
        running.stop().await;
    });
}

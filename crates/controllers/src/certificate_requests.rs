//! Removes certificate signing requests that are done or forgotten
//! (pkg/controller/certificates/cleaner/cleaner.go).

use crate::api::{Kind, Propagation, Result};
use crate::hub::{Controller, Shared};
use crate::queue::{Next, Queue};
use crate::watch::{Event, What};
use futures::FutureExt as _;
use futures::future::BoxFuture;
use serde_json::Value;
use std::sync::{Arc, LazyLock};
use std::time::Duration;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

const GROUP: &str = "certificates.k8s.io";
const HOUR: Duration = Duration::from_secs(3600);
/// approved, denied or failed: long enough for whoever asked to look
const KEEP_DECIDED: Duration = HOUR;
/// nobody decided
const KEEP_PENDING: Duration = Duration::from_secs(24 * 3600);
static REQUESTS: LazyLock<Kind> =
    LazyLock::new(|| Kind::builtin(GROUP, "v1", "certificatesigningrequests", false));

pub(crate) struct CertificateRequests {
    shared: Arc<Shared>,
    queue: Queue<String>,
}

/// How long a request stays from now on; zero: it goes.
fn keep_for(request: &Value, now: OffsetDateTime) -> Duration {
    let conditions = request["status"]["conditions"]
        .as_array()
        .map_or(&[][..], Vec::as_slice);
    let decided = |c: &&Value| matches!(c["type"].as_str(), Some("Approved" | "Denied" | "Failed"));
    let time = |value: &Value| {
        value
            .as_str()
            .and_then(|t| OffsetDateTime::parse(t, &Rfc3339).ok())
    };
    let (since, keep) = match conditions.iter().find(decided) {
        Some(condition) => (time(&condition["lastUpdateTime"]), KEEP_DECIDED),
        None => (
            time(&request["metadata"]["creationTimestamp"]),
            KEEP_PENDING,
        ),
    };
    // Without a time it is kept, and looked at again.
    let Some(since) = since else {
        return KEEP_PENDING;
    };
    Duration::try_from(since + keep - now).unwrap_or_default()
}

impl CertificateRequests {
    pub(crate) fn new(shared: &Arc<Shared>) -> Self {
        Self {
            shared: shared.clone(),
            queue: Queue::default(),
        }
    }

    async fn step(&self, name: String) -> Result<Next> {
        let api = &self.shared.api;
        let Some(request) = api.get(&REQUESTS, "", &name).await? else {
            return Ok(Next::Done);
        };
        let left = keep_for(&request, OffsetDateTime::now_utc());
        if !left.is_zero() {
            return Ok(Next::After(left));
        }
        let uid = request["metadata"]["uid"].as_str().unwrap_or_default();
        api.delete(&REQUESTS, "", &name, (uid, None), Propagation::Background)
            .await?;
        Ok(Next::Done)
    }
}

impl Controller for CertificateRequests {
    fn observe(&self, event: &Event) {
        if let What::Applied(meta) = &event.what
            && event.kind.is(GROUP, "certificatesigningrequests")
        {
            self.queue.add(meta.name.clone());
        }
    }

    fn work(&self) -> BoxFuture<'_, ()> {
        self.queue
            .drive("certificate requests", 1, |name| self.step(name))
            .boxed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_decided_request_stays_an_hour_and_a_pending_one_a_day() {
        let now = OffsetDateTime::parse("2026-01-02T00:00:00Z", &Rfc3339).unwrap();
        let decided = |at: &str| json!({"status": {"conditions": [{"type": "Approved", "lastUpdateTime": at}]}});
        assert_eq!(keep_for(&decided("2026-01-01T23:30:00Z"), now), HOUR / 2);
        assert_eq!(
            keep_for(&decided("2026-01-01T22:30:00Z"), now),
            Duration::ZERO
        );
        let pending = |at: &str| json!({"metadata": {"creationTimestamp": at}});
        assert_eq!(keep_for(&pending("2026-01-01T22:00:00Z"), now), HOUR * 22);
        assert_eq!(
            keep_for(&pending("2025-12-30T22:00:00Z"), now),
            Duration::ZERO
        );
        assert_eq!(keep_for(&json!({}), now), KEEP_PENDING);
    }
}

//! Removes bootstrap tokens when they expire (pkg/controller/bootstrap/tokencleaner.go).

use crate::api::{Kind, Propagation, Result, code};
use crate::hub::{Controller, Shared};
use crate::queue::{Next, Queue};
use crate::watch::{Event, What};
use base64::Engine as _;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use serde_json::Value;
use std::sync::{Arc, LazyLock};
use std::time::Duration;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

const NAMESPACE: &str = "kube-system";
static SECRETS: LazyLock<Kind> = LazyLock::new(|| Kind::core("secrets", true));

pub(crate) struct BootstrapTokens {
    shared: Arc<Shared>,
    /// names of secrets
    queue: Queue<String>,
}

#[derive(Debug, PartialEq, Eq)]
enum Plan {
    Keep,
    KeepFor(Duration),
    Delete,
}

fn plan(secret: &Value, now: OffsetDateTime) -> Plan {
    if secret["type"] != "bootstrap.kubernetes.io/token" {
        return Plan::Keep;
    }
    let Some(expiration) = secret["data"]["expiration"]
        .as_str()
        .filter(|e| !e.is_empty())
    else {
        return Plan::Keep;
    };
    let decoded = base64::engine::general_purpose::STANDARD
        .decode(expiration)
        .unwrap_or_default();
    // A time that cannot be read counts as past.
    let at = std::str::from_utf8(&decoded)
        .ok()
        .and_then(|at| OffsetDateTime::parse(at, &Rfc3339).ok());
    match at.map(|at| Duration::try_from(at - now)) {
        Some(Ok(left)) if !left.is_zero() => Plan::KeepFor(left),
        _ => Plan::Delete,
    }
}

impl BootstrapTokens {
    pub(crate) fn new(shared: &Arc<Shared>) -> Self {
        Self {
            shared: shared.clone(),
            queue: Queue::default(),
        }
    }

    async fn step(&self, name: String) -> Result<Next> {
        let api = &self.shared.api;
        let Some(secret) = api.get(&SECRETS, NAMESPACE, &name).await? else {
            return Ok(Next::Done);
        };
        match plan(&secret, OffsetDateTime::now_utc()) {
            Plan::Keep => Ok(Next::Done),
            // Clocks are set back and forth: look at least once a day.
            Plan::KeepFor(left) => Ok(Next::After(left.min(Duration::from_secs(86_400)))),
            Plan::Delete => {
                let text = |field: &str| secret["metadata"][field].as_str().unwrap_or_default();
                let seen = (text("uid"), Some(text("resourceVersion")));
                match api
                    .delete(&SECRETS, NAMESPACE, &name, seen, Propagation::Background)
                    .await
                {
                    Err(e) if code(&e) == 409 => Ok(Next::Wait),
                    other => other.map(|()| Next::Done),
                }
            }
        }
    }
}

impl Controller for BootstrapTokens {
    fn observe(&self, event: &Event) {
        if let What::Applied(meta) = &event.what
            && event.kind.is("", "secrets")
            && meta.namespace == NAMESPACE
            && meta.name.starts_with("bootstrap-token-")
        {
            self.queue.add(meta.name.clone());
        }
    }

    fn work(&self) -> BoxFuture<'_, ()> {
        self.queue
            .drive("bootstrap tokens", 1, |name| self.step(name))
            .boxed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_token_goes_when_its_time_is_over_or_unreadable() {
        let now = OffsetDateTime::from_unix_timestamp(1_000_000_000).unwrap();
        let plan_for = |expiration: &str| {
            let encoded = base64::engine::general_purpose::STANDARD.encode(expiration);
            plan(
                &json!({"type": "bootstrap.kubernetes.io/token", "data": {"expiration": encoded}}),
                now,
            )
        };
        assert_eq!(plan_for("2001-09-09T01:46:39Z"), Plan::Delete);
        assert_eq!(plan_for("2001-09-09T01:46:40Z"), Plan::Delete);
        assert_eq!(
            plan_for("2001-09-09T01:46:50Z"),
            Plan::KeepFor(Duration::from_secs(10))
        );
        assert_eq!(
            plan_for("2001-09-09T03:46:50+02:00"),
            Plan::KeepFor(Duration::from_secs(10))
        );
        assert_eq!(plan_for("soon"), Plan::Delete);
        assert_eq!(plan_for(""), Plan::Keep);
        assert_eq!(
            plan(
                &json!({"type": "Opaque", "data": {"expiration": "c29vbg=="}}),
                now
            ),
            Plan::Keep
        );
    }
}

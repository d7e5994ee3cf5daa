//! Publishes the CA of the API to every namespace as `kube-root-ca.crt`
//! (pkg/controller/certificates/rootcacertpublisher).

use crate::api::{Kind, Result, code, found, namespace_is_going};
use crate::hub::{Controller, Shared};
use crate::queue::{Next, Queue};
use crate::watch::{Event, What};
use futures::FutureExt as _;
use futures::future::BoxFuture;
use serde_json::{Value, json};
use std::sync::{Arc, LazyLock};

const NAME: &str = "kube-root-ca.crt";
const KEY: &str = "ca.crt";
static CONFIG_MAPS: LazyLock<Kind> = LazyLock::new(|| Kind::core("configmaps", true));

pub(crate) struct RootCa {
    shared: Arc<Shared>,
    /// namespaces
    queue: Queue<String>,
}

/// What to do about a namespace's config map.
#[derive(Debug, PartialEq)]
enum Plan {
    Nothing,
    Create(Value),
    Update(Value),
}

fn plan(existing: Option<Value>, ca_pem: &str) -> Plan {
    let data = json!({KEY: ca_pem});
    match existing {
        None => Plan::Create(json!({
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {
                "name": NAME,
                "annotations": {"kubernetes.io/description": "The CA certificates that the API server's certificate leads to."},
            },
            "data": data,
        })),
        Some(map) if map["data"] == data => Plan::Nothing,
        Some(mut map) => {
            map["data"] = data;
            Plan::Update(map)
        }
    }
}

impl RootCa {
    pub(crate) fn new(shared: &Arc<Shared>) -> Self {
        Self {
            shared: shared.clone(),
            queue: Queue::default(),
        }
    }

    async fn step(&self, namespace: String) -> Result<Next> {
        let api = &self.shared.api;
        let existing = api.get(&CONFIG_MAPS, &namespace, NAME).await?;
        let done = match plan(existing, &self.shared.config.root_ca_pem) {
            Plan::Nothing => return Ok(Next::Done),
            Plan::Create(map) => api.create(&CONFIG_MAPS, &namespace, &map).await.map(drop),
            Plan::Update(map) => found(api.update(&CONFIG_MAPS, &map, "").await).map(drop),
        };
        match done {
            Err(e) if code(&e) == 409 => Ok(Next::Wait),
            Err(e) if namespace_is_going(&e) => Ok(Next::Done),
            other => other.map(|()| Next::Done),
        }
    }
}

impl Controller for RootCa {
    fn observe(&self, event: &Event) {
        match &event.what {
            What::Applied(meta)
                if event.kind.is("", "namespaces") && meta.deletion_timestamp.is_none() =>
            {
                self.queue.add(meta.name.clone());
            }
            What::Applied(meta) | What::Deleted(meta)
                if event.kind.is("", "configmaps") && meta.name == NAME =>
            {
                self.queue.add(meta.namespace.clone());
            }
            _ => {}
        }
    }

    fn work(&self) -> BoxFuture<'_, ()> {
        self.queue
            .drive("root CA", 4, |namespace| self.step(namespace))
            .boxed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_map_holds_the_ca_and_nothing_else() {
        let Plan::Create(map) = plan(None, "pem") else {
            unreachable!("it is missing")
        };
        assert_eq!(plan(Some(map.clone()), "pem"), Plan::Nothing);
        for data in [
            json!(null),
            json!({}),
            json!({KEY: "other"}),
            json!({KEY: "pem", "more": "x"}),
        ] {
            let mut spoilt = map.clone();
            spoilt["data"] = data;
            assert_eq!(plan(Some(spoilt), "pem"), Plan::Update(map.clone()));
        }
    }
}

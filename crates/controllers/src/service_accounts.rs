//! Every namespace has a service account named `default`
//! (pkg/controller/serviceaccount/serviceaccounts_controller.go).

use crate::api::{Kind, Result, code, namespace_is_going};
use crate::hub::{Controller, Shared};
use crate::queue::{Next, Queue};
use crate::watch::{Event, What};
use futures::FutureExt as _;
use futures::future::BoxFuture;
use serde_json::json;
use std::sync::{Arc, LazyLock};

const NAME: &str = "default";
static ACCOUNTS: LazyLock<Kind> = LazyLock::new(|| Kind::core("serviceaccounts", true));

pub(crate) struct ServiceAccounts {
    shared: Arc<Shared>,
    /// namespaces
    queue: Queue<String>,
}

impl ServiceAccounts {
    pub(crate) fn new(shared: &Arc<Shared>) -> Self {
        Self {
            shared: shared.clone(),
            queue: Queue::default(),
        }
    }

    async fn step(&self, namespace: String) -> Result<Next> {
        let api = &self.shared.api;
        if api.get_meta(&ACCOUNTS, &namespace, NAME).await?.is_some() {
            return Ok(Next::Done);
        }
        let account =
            json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": NAME}});
        match api.create(&ACCOUNTS, &namespace, &account).await {
            Ok(_) => Ok(Next::Done),
            Err(e) if code(&e) == 409 || namespace_is_going(&e) => Ok(Next::Done),
            Err(e) => Err(e),
        }
    }
}

impl Controller for ServiceAccounts {
    fn observe(&self, event: &Event) {
        match &event.what {
            What::Applied(meta)
                if event.kind.is("", "namespaces") && meta.deletion_timestamp.is_none() =>
            {
                self.queue.add(meta.name.clone());
            }
            What::Deleted(meta) if event.kind.is("", "serviceaccounts") && meta.name == NAME => {
                self.queue.add(meta.namespace.clone());
            }
            _ => {}
        }
    }

    fn work(&self) -> BoxFuture<'_, ()> {
        self.queue
            .drive("service accounts", 4, |namespace| self.step(namespace))
            .boxed()
    }
}

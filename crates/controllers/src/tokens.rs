//! Fills secrets of type `kubernetes.io/service-account-token` and removes those of accounts
//! that are gone (pkg/controller/serviceaccount/tokens_controller.go).

use crate::SignToken;
use crate::api::{Kind, Propagation, Result, code};
use crate::hub::{Controller, Shared};
use crate::queue::{Next, Queue};
use crate::watch::{Event, What};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use serde_json::Value;
use std::sync::{Arc, LazyLock};

const TYPE: &str = "kubernetes.io/service-account-token";
const ACCOUNT_NAME: &str = "kubernetes.io/service-account.name";
const ACCOUNT_UID: &str = "kubernetes.io/service-account.uid";
static SECRETS: LazyLock<Kind> = LazyLock::new(|| Kind::core("secrets", true));
static ACCOUNTS: LazyLock<Kind> = LazyLock::new(|| Kind::core("serviceaccounts", true));

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Key {
    /// namespace and name
    Secret(String, String),
    /// all token secrets of this namespace: one of its accounts went
    Namespace(String),
}

pub(crate) struct Tokens {
    shared: Arc<Shared>,
    queue: Queue<Key>,
}

#[derive(Debug, PartialEq)]
enum Plan {
    Nothing,
    Delete,
    Update(Value),
}

/// What to do about a token secret, given the account it names.
fn plan(mut secret: Value, account: Option<&Value>, ca_pem: &str, sign: &SignToken) -> Plan {
    let annotation = |secret: &Value, key: &str| {
        secret["metadata"]["annotations"][key]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    };
    if secret["type"] != TYPE || secret["metadata"]["deletionTimestamp"].is_string() {
        return Plan::Nothing;
    }
    let uid = annotation(&secret, ACCOUNT_UID);
    let same = |account: &&Value| uid.is_empty() || account["metadata"]["uid"] == uid.as_str();
    let Some(account) = account.filter(same) else {
        return Plan::Delete;
    };
    let before = secret.clone();
    let text = |object: &Value, field: &str| {
        object["metadata"][field]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    };
    let namespace = text(&secret, "namespace");
    let account_uid = text(account, "uid");
    let is_empty =
        |secret: &Value, key: &str| secret["data"][key].as_str().is_none_or(str::is_empty);
    secret["data"]["ca.crt"] = STANDARD.encode(ca_pem).into();
    if is_empty(&secret, "namespace") {
        secret["data"]["namespace"] = STANDARD.encode(&namespace).into();
    }
    if is_empty(&secret, "token") {
        let Some(token) = sign(
            &namespace,
            &text(account, "name"),
            &account_uid,
            &text(&secret, "name"),
        ) else {
            return Plan::Nothing;
        };
        secret["data"]["token"] = STANDARD.encode(token).into();
    }
    if secret["data"] == before["data"] {
        return Plan::Nothing;
    }
    secret["metadata"]["annotations"][ACCOUNT_UID] = account_uid.into();
    Plan::Update(secret)
}

impl Tokens {
    pub(crate) fn new(shared: &Arc<Shared>) -> Self {
        Self {
            shared: shared.clone(),
            queue: Queue::default(),
        }
    }

    async fn step(&self, key: Key) -> Result<Next> {
        let Some(sign) = &self.shared.config.sign_token else {
            return Ok(Next::Done);
        };
        match key {
            Key::Secret(namespace, name) => {
                if let Some(secret) = self.shared.api.get(&SECRETS, &namespace, &name).await? {
                    self.keep(secret, sign).await?;
                }
            }
            Key::Namespace(namespace) => {
                let query = "&fieldSelector=type%3Dkubernetes.io%2Fservice-account-token";
                for secret in self.shared.api.list(&SECRETS, &namespace, query).await? {
                    self.keep(secret, sign).await?;
                }
            }
        }
        Ok(Next::Done)
    }

    async fn keep(&self, secret: Value, sign: &SignToken) -> Result<()> {
        let api = &self.shared.api;
        let text = |path: &str| {
            secret
                .pointer(path)
                .and_then(Value::as_str)
                .unwrap_or_default()
                .to_owned()
        };
        let [namespace, name, uid] =
            ["namespace", "name", "uid"].map(|f| text(&format!("/metadata/{f}")));
        let account = text("/metadata/annotations/kubernetes.io~1service-account.name");
        if account.is_empty() {
            return Ok(());
        }
        let account = api.get(&ACCOUNTS, &namespace, &account).await?;
        let done = match plan(
            secret,
            account.as_ref(),
            &self.shared.config.root_ca_pem,
            sign,
        ) {
            Plan::Nothing => Ok(()),
            Plan::Delete => {
                api.delete(
                    &SECRETS,
                    &namespace,
                    &name,
                    (&uid, None),
                    Propagation::Background,
                )
                .await
            }
            Plan::Update(secret) => api.update(&SECRETS, &secret, "").await.map(drop),
        };
        match done {
            // Changed or gone meanwhile: its event comes.
            Err(e) if matches!(code(&e), 404 | 409) => Ok(()),
            other => other,
        }
    }
}

impl Controller for Tokens {
    fn observe(&self, event: &Event) {
        match &event.what {
            What::Applied(meta)
                if event.kind.is("", "secrets") && meta.annotations.contains_key(ACCOUNT_NAME) =>
            {
                self.queue
                    .add(Key::Secret(meta.namespace.clone(), meta.name.clone()));
            }
            What::Deleted(meta) if event.kind.is("", "serviceaccounts") => {
                self.queue.add(Key::Namespace(meta.namespace.clone()));
            }
            _ => {}
        }
    }

    fn work(&self) -> BoxFuture<'_, ()> {
        self.queue.drive("tokens", 2, |key| self.step(key)).boxed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn secret() -> Value {
        json!({"type": TYPE, "metadata": {"name": "s", "namespace": "n", "annotations": {ACCOUNT_NAME: "sa"}}})
    }

    fn account() -> Value {
        json!({"metadata": {"name": "sa", "uid": "u"}})
    }

    fn plan_with(secret: Value, account: Option<Value>) -> Plan {
        let sign: SignToken = Arc::new(|n, a, u, s| Some(format!("{n}/{a}/{u}/{s}")));
        plan(secret, account.as_ref(), "pem", &sign)
    }

    #[test]
    fn a_new_secret_is_filled_once() {
        let Plan::Update(filled) = plan_with(secret(), Some(account())) else {
            unreachable!("it was empty")
        };
        assert_eq!(filled["data"]["token"], STANDARD.encode("n/sa/u/s"));
        assert_eq!(filled["data"]["ca.crt"], STANDARD.encode("pem"));
        assert_eq!(filled["data"]["namespace"], STANDARD.encode("n"));
        assert_eq!(filled["metadata"]["annotations"][ACCOUNT_UID], "u");
        assert_eq!(plan_with(filled, Some(account())), Plan::Nothing);
    }

    #[test]
    fn the_secret_of_an_account_that_is_gone_goes() {
        assert_eq!(plan_with(secret(), None), Plan::Delete);
        let mut of_another = secret();
        of_another["metadata"]["annotations"][ACCOUNT_UID] = "other".into();
        assert_eq!(plan_with(of_another, Some(account())), Plan::Delete);
    }

    #[test]
    fn other_secrets_are_left_alone() {
        let mut opaque = secret();
        opaque["type"] = "Opaque".into();
        assert_eq!(plan_with(opaque, None), Plan::Nothing);
    }
}

//! Whether a control plane answers: one real API call, over the network, as its users make it.

use crate::{Error, Result};
use k8s_openapi::api::core::v1::Namespace;
use kube::api::{Api, ListParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use std::time::Duration;

/// A control plane that does not answer within this time does not answer.
const ANSWERS_WITHIN: Duration = Duration::from_secs(5);

/// Lists namespaces with the admin kubeconfig.
pub(crate) async fn answers(kubeconfig: &str) -> Result<()> {
    let read = Kubeconfig::from_yaml(kubeconfig)
        .map_err(|e| Error::Invalid(format!("the admin kubeconfig is unreadable: {e}")))?;
    let mut config = Config::from_custom_kubeconfig(read, &KubeConfigOptions::default())
        .await
        .map_err(|e| Error::Invalid(format!("the admin kubeconfig is unusable: {e}")))?;
    config.connect_timeout = Some(ANSWERS_WITHIN);
    // one answer, now; whoever calls this tries again later
    config.default_retry = false;
    // a proxy of the operator's own environment is none of the tenant's business
    config.proxy_url = None;
    let client = Client::try_from(config).map_err(Error::host("make a client"))?;
    let namespaces: Api<Namespace> = Api::all(client);
    let page = ListParams::default().limit(1);
    let call = namespaces.list(&page);
    match tokio::time::timeout(ANSWERS_WITHIN, call).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => Err(Error::host("answer a list of namespaces")(error)),
        Err(_) => Err(Error::TooLate {
            what: "the control plane did not answer".to_owned(),
            seconds: ANSWERS_WITHIN.as_secs(),
        }),
    }
}

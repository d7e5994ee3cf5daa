//! Installs the CustomResourceDefinitions and waits until the host serves them.

use crate::host::covers;
use crate::{Error, Result};
use futures::future::try_join_all;
use kube::Client;
use kube::api::{Api, DynamicObject, PostParams};
use kube::core::{ApiResource, GroupVersionKind};
use serde_json::Value;
use std::time::Duration;
use tokio::time::Instant;

/// A definition is served within this time, or something is wrong with the host.
const SERVED_WITHIN: Duration = Duration::from_secs(30);

/// Creates or updates the definitions, then waits until all are served.
///
/// # Errors
/// What the host answers, or that a definition was not served in time.
pub async fn install(client: &Client, dialects: bool) -> Result<()> {
    let wanted = if dialects {
        freehold_api::crds::all()
    } else {
        freehold_api::crds::ours()
    };
    try_join_all(wanted.iter().map(|crd| ensure(client, crd))).await?;
    Ok(())
}

fn definitions(client: &Client) -> Api<DynamicObject> {
    let kind = GroupVersionKind::gvk("apiextensions.k8s.io", "v1", "CustomResourceDefinition");
    Api::all_with(client.clone(), &ApiResource::from_gvk(&kind))
}

async fn ensure(client: &Client, crd: &Value) -> Result<()> {
    let api = definitions(client);
    let object: DynamicObject = serde_json::from_value(crd.clone())
        .map_err(|error| Error::Invalid(format!("a definition is no object: {error}")))?;
    let name = object.metadata.name.clone().unwrap_or_default();
    let known = api
        .get_opt(&name)
        .await
        .map_err(Error::host(format!("get definition {name}")))?;
    match known {
        None => create(&api, &name, &object).await?,
        Some(known) => replace(&api, &name, object, known).await?,
    }
    served(&api, &name).await
}

async fn create(api: &Api<DynamicObject>, name: &str, object: &DynamicObject) -> Result<()> {
    match api.create(&PostParams::default(), object).await {
        Ok(_) => Ok(()),
        // somebody else was faster; what they made is checked at the next start
        Err(kube::Error::Api(status)) if status.code == 409 => Ok(()),
        Err(error) => Err(Error::host(format!("create definition {name}"))(error)),
    }
}

async fn replace(
    api: &Api<DynamicObject>,
    name: &str,
    mut wanted: DynamicObject,
    known: DynamicObject,
) -> Result<()> {
    if covers(&known.data["spec"], &wanted.data["spec"]) {
        return Ok(());
    }
    wanted.metadata.resource_version = known.metadata.resource_version;
    match api.replace(name, &PostParams::default(), &wanted).await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if status.code == 409 => Ok(()),
        Err(error) => Err(Error::host(format!("update definition {name}"))(error)),
    }
}

/// Waits until the condition `Established` holds.
async fn served(api: &Api<DynamicObject>, name: &str) -> Result<()> {
    let deadline = Instant::now() + SERVED_WITHIN;
    let mut pause = Duration::from_millis(2);
    loop {
        let crd = api
            .get(name)
            .await
            .map_err(Error::host(format!("get definition {name}")))?;
        let conditions = crd.data["status"]["conditions"].as_array();
        let established = conditions
            .into_iter()
            .flatten()
            .any(|condition| condition["type"] == "Established" && condition["status"] == "True");
        if established {
            return Ok(());
        }
        if Instant::now() + pause > deadline {
            return Err(Error::TooLate {
                what: format!("definition {name} was not served"),
                seconds: SERVED_WITHIN.as_secs(),
            });
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(Duration::from_millis(500));
    }
}

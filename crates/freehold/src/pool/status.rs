//! What the pool says about a control plane: where it answers, and the condition `Serving`.

use freehold_api::{Condition, ControlPlane, ControlPlaneStatus, Endpoint, condition};
use kube::api::{Patch, PatchParams};
use kube::{Api, ResourceExt as _};
use serde_json::json;

/// What is to be said.
pub(super) struct Said {
    pub(super) endpoint: Option<Endpoint>,
    pub(super) version: Option<String>,
    /// where the data is, once it is decided
    pub(super) datastore: Option<String>,
    pub(super) serving: Condition,
}

/// Writes what changed; several writers share the status, so a conflict reads it again.
pub(super) async fn say(
    api: &Api<ControlPlane>,
    object: &ControlPlane,
    said: &Said,
) -> Result<(), kube::Error> {
    let mut current = object.clone();
    for _ in 0..5 {
        let Some(patch) = changes(&current, said) else {
            return Ok(());
        };
        match api
            .patch_status(
                &current.name_any(),
                &PatchParams::default(),
                &Patch::Merge(&patch),
            )
            .await
        {
            Err(kube::Error::Api(status)) if status.code == 409 => {
                current = api.get(&current.name_any()).await?
            }
            Err(kube::Error::Api(status)) if status.code == 404 => return Ok(()),
            other => return other.map(|_| ()),
        }
    }
    // The controller comes again.
    Ok(())
}

/// Now, as conditions write it.
pub(super) fn now() -> String {
    k8s_openapi::jiff::Timestamp::now()
        .strftime("%Y-%m-%dT%H:%M:%SZ")
        .to_string()
}

/// A merge patch that holds only at the version it was made from; nothing when all is said already.
fn changes(object: &ControlPlane, said: &Said) -> Option<serde_json::Value> {
    let before = object.status.clone().unwrap_or_default();
    let mut after: ControlPlaneStatus = before.clone();
    let now = now();
    condition::set(
        &mut after.conditions,
        said.serving.clone().at(object.metadata.generation),
        &now,
    );
    if said.endpoint.is_some() {
        after.endpoint.clone_from(&said.endpoint);
    }
    if said.version.is_some() {
        after.version.clone_from(&said.version);
    }
    if said.datastore.is_some() {
        after.datastore.clone_from(&said.datastore);
    }
    if after == before {
        return None;
    }
    Some(json!({
        "metadata": {"resourceVersion": object.resource_version()},
        "status": {"conditions": after.conditions, "endpoint": after.endpoint, "version": after.version, "datastore": after.datastore},
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_said_stays_and_nothing_is_written_twice() {
        let mut object = ControlPlane::new("dev", freehold_api::ControlPlaneSpec::default());
        object.metadata.resource_version = Some("7".to_owned());
        let ready = Condition::no("Ready", "Waiting", "…");
        object.status = Some(ControlPlaneStatus {
            conditions: vec![ready],
            ..ControlPlaneStatus::default()
        });
        let said = Said {
            endpoint: Some(Endpoint::default()),
            version: None,
            datastore: None,
            serving: Condition::yes("Serving", "Available", ""),
        };
        let patch = changes(&object, &said).unwrap();
        assert_eq!(patch["metadata"]["resourceVersion"], "7");
        assert_eq!(patch["status"]["conditions"][0]["type"], "Ready");
        object.status = serde_json::from_value(patch["status"].clone()).ok();
        assert_eq!(changes(&object, &said), None);
    }
}

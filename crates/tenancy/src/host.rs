//! Writing to the host: make it so when it is not, carefully when others write too.

use crate::{Error, OperatorConfig, Result};
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams, Preconditions};
use kube::{Client, Resource, ResourceExt};
use parking_lot::Mutex;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fmt::Debug;
use std::time::Duration;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// How often a write is tried again when somebody else wrote in between.
const CONFLICTS: usize = 6;

/// What every controller works with.
pub(crate) struct Host {
    pub client: Client,
    pub config: OperatorConfig,
    failures: Mutex<BTreeMap<String, u32>>,
}

impl Host {
    pub(crate) fn new(client: Client, config: OperatorConfig) -> Self {
        Self {
            client,
            config,
            failures: Mutex::new(BTreeMap::new()),
        }
    }

    /// How long to wait before trying again what failed: 50 ms, doubled each time, at most 60 s.
    pub(crate) fn failed(&self, key: &str) -> Duration {
        let mut failures = self.failures.lock();
        if failures.len() > 100_000 {
            failures.clear();
        }
        let count = failures.entry(key.to_owned()).or_default();
        *count = count.saturating_add(1);
        backoff(*count)
    }

    /// It went well: the next failure starts anew.
    pub(crate) fn went_well(&self, key: &str) {
        self.failures.lock().remove(key);
    }
}

fn backoff(failures: u32) -> Duration {
    let doubled = 50u64.saturating_mul(1 << failures.clamp(1, 16).saturating_sub(1));
    Duration::from_millis(doubled.min(60_000))
}

/// Now, as conditions write it.
pub(crate) fn now_text() -> String {
    let now = OffsetDateTime::now_utc();
    now.replace_nanosecond(0)
        .unwrap_or(now)
        .format(&Rfc3339)
        .unwrap_or_default()
}

/// Whether the error is the host's answer with that code.
pub(crate) fn is_code(error: &kube::Error, code: u16) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == code)
}

/// `kind namespace/name`, for messages.
pub(crate) fn describe<K: Resource<DynamicType = ()>>(object: &K) -> String {
    let kind = K::kind(&()).to_lowercase();
    let name = object.meta().name.as_deref().unwrap_or_default();
    match object.meta().namespace.as_deref() {
        Some(namespace) => format!("{kind} {namespace}/{name}"),
        None => format!("{kind} {name}"),
    }
}

/// Whether `known` says all that `wanted` says; others may have added to it.
pub(crate) fn covers(known: &Value, wanted: &Value) -> bool {
    match (known, wanted) {
        (Value::Object(known), Value::Object(wanted)) => {
            wanted.iter().all(|(key, value)| match known.get(key) {
                Some(known) => covers(known, value),
                None => value.is_null(),
            })
        }
        (Value::Array(known), Value::Array(wanted)) => {
            known.len() == wanted.len() && known.iter().zip(wanted).all(|(k, w)| covers(k, w))
        }
        (known, wanted) => known == wanted,
    }
}

/// Creates the object, or changes it to say what is wanted; says whether it wrote.
/// `known` is what is there as far as the caller knows.
pub(crate) async fn ensure<K>(api: &Api<K>, known: Option<&K>, wanted: &K) -> Result<bool>
where
    K: Resource<DynamicType = ()> + Clone + Debug + Serialize + DeserializeOwned,
{
    let name = wanted.name_any();
    let Some(known) = known else {
        return match api.create(&PostParams::default(), wanted).await {
            Ok(_) => Ok(true),
            Err(error) => Err(Error::host(format!("create {}", describe(wanted)))(error)),
        };
    };
    let value = |object: &K| {
        serde_json::to_value(object)
            .map_err(|e| Error::Invalid(format!("{} is no JSON: {e}", describe(wanted))))
    };
    let desired = value(wanted)?;
    if covers(&value(known)?, &desired) {
        return Ok(false);
    }
    api.patch(&name, &PatchParams::default(), &Patch::Merge(&desired))
        .await
        .map_err(Error::host(format!("update {}", describe(wanted))))?;
    Ok(true)
}

/// Like [`ensure`], looking first at what is there.
pub(crate) async fn ensure_fresh<K>(api: &Api<K>, wanted: &K) -> Result<bool>
where
    K: Resource<DynamicType = ()> + Clone + Debug + Serialize + DeserializeOwned,
{
    let known = get(api, &wanted.name_any()).await?;
    ensure(api, known.as_ref(), wanted).await
}

/// The object, when it is there.
pub(crate) async fn get<K>(api: &Api<K>, name: &str) -> Result<Option<K>>
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned,
{
    let kind = K::kind(&()).to_lowercase();
    api.get_opt(name)
        .await
        .map_err(Error::host(format!("get {kind} {name}")))
}

/// Deletes the very object that was looked at; that it is gone already is no error.
pub(crate) async fn delete<K>(api: &Api<K>, object: &K) -> Result<()>
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned,
{
    let params = DeleteParams {
        preconditions: Some(Preconditions {
            uid: object.meta().uid.clone(),
            resource_version: None,
        }),
        ..DeleteParams::background()
    };
    match api.delete(&object.name_any(), &params).await {
        Ok(_) => Ok(()),
        Err(error) if is_code(&error, 404) || is_code(&error, 409) => Ok(()),
        Err(error) => Err(Error::host(format!("delete {}", describe(object)))(error)),
    }
}

/// Changes the finalizers of the object as it was looked at; a conflict is an error to retry.
/// Whether it wrote.
pub(crate) async fn set_finalizer<K>(
    api: &Api<K>,
    object: &K,
    finalizer: &str,
    present: bool,
) -> Result<bool>
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned,
{
    let mut finalizers = object.finalizers().to_vec();
    finalizers.retain(|f| f != finalizer);
    if present {
        finalizers.push(finalizer.to_owned());
    }
    if finalizers == object.finalizers() {
        return Ok(false);
    }
    let patch = json!({ "metadata": {
        "finalizers": finalizers,
        "resourceVersion": object.resource_version(),
    }});
    let name = object.name_any();
    match api
        .patch(&name, &PatchParams::default(), &Patch::Merge(&patch))
        .await
    {
        Ok(_) => Ok(true),
        Err(error) if !present && is_code(&error, 404) => Ok(false),
        Err(error) => Err(Error::host(format!(
            "change the finalizers of {}",
            describe(object)
        ))(error)),
    }
}

/// An object before and after its status was written.
pub(crate) struct Written<K> {
    pub before: K,
    pub after: K,
}

/// Changes the status of an object that others write too: `change` works on the newest version
/// and says whether there is anything to write. `None` when there was not, or the object is gone.
pub(crate) async fn update_status<K>(
    api: &Api<K>,
    object: &K,
    change: impl Fn(&mut K) -> bool,
) -> Result<Option<Written<K>>>
where
    K: Resource<DynamicType = ()> + Clone + Debug + Serialize + DeserializeOwned,
{
    let name = object.name_any();
    let mut before = object.clone();
    for _ in 0..CONFLICTS {
        let mut changed = before.clone();
        if !change(&mut changed) {
            return Ok(None);
        }
        match api
            .replace_status(&name, &PostParams::default(), &changed)
            .await
        {
            Ok(after) => return Ok(Some(Written { before, after })),
            Err(error) if is_code(&error, 404) => return Ok(None),
            Err(error) if is_code(&error, 409) => {}
            Err(error) => {
                return Err(Error::host(format!(
                    "write the status of {}",
                    describe(object)
                ))(error));
            }
        }
        match get(api, &name).await? {
            Some(newest) if newest.uid() == object.uid() => before = newest,
            _ => return Ok(None),
        }
    }
    Err(Error::Invalid(format!(
        "the status of {} kept changing",
        describe(object)
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waiting_grows_and_ends() {
        assert_eq!(backoff(1), Duration::from_millis(50));
        assert_eq!(backoff(2), Duration::from_millis(100));
        assert_eq!(backoff(11), Duration::from_millis(51_200));
        assert_eq!(backoff(u32::MAX), Duration::from_secs(60));
    }

    #[test]
    fn what_others_added_is_no_difference() {
        let wanted = json!({"spec": {"a": [1, 2]}, "status": null});
        assert!(covers(&json!({"spec": {"a": [1, 2], "b": 1}}), &wanted));
        assert!(!covers(&json!({"spec": {"a": [1]}}), &wanted));
        assert!(!covers(&json!({}), &wanted));
    }
}

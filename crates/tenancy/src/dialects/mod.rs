//! Dialects: the objects of other systems, translated into ours, and our status back into theirs.
//!
//! Each dialect is a pure translation and a controller that carries it out; it adds no behaviour
//! of its own.

mod capsule;
#[cfg(test)]
mod golden;
mod kamaji;
mod kubeflex;
mod paths;
mod planes;
mod secrets;
mod tenants;

use crate::events::{self, Level};
use crate::host::{self, Host};
use crate::{Error, Result};
use freehold_api::condition::{self, reasons, types};
use freehold_api::{Condition, names};
use kube::runtime::controller::Action as Next;
use kube::runtime::reflector::{Lookup, ObjectRef};
use kube::{Resource, ResourceExt};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// How often a deletion that waits looks again, besides being told.
const REMIND: Duration = Duration::from_secs(5);
/// A pass over one foreign object ends within this time.
const PASS_WITHIN: Duration = Duration::from_secs(60);

/// Runs all dialects until told to stop.
pub(crate) async fn run(host: Arc<Host>, shutdown: CancellationToken) {
    futures::join!(
        kamaji::run(host.clone(), shutdown.clone()),
        kubeflex::run(host.clone(), shutdown.clone()),
        capsule::run(host.clone(), shutdown.clone()),
    );
}

/// The foreign object that one of ours was translated from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Origin {
    text: String,
    uid: String,
}

impl Origin {
    fn of<K: Resource<DynamicType = ()>>(object: &K) -> Self {
        Self {
            text: format!(
                "{}/{}/{}/{}",
                K::group(&()),
                K::kind(&()),
                object.meta().namespace.as_deref().unwrap_or_default(),
                object.meta().name.as_deref().unwrap_or_default(),
            ),
            uid: object.meta().uid.clone().unwrap_or_default(),
        }
    }

    fn annotations(&self) -> BTreeMap<String, String> {
        BTreeMap::from([(names::ANNOTATION_ORIGIN.to_owned(), self.text.clone())])
    }

    /// Whether an object of ours was translated from this one.
    fn made<K: ResourceExt>(&self, object: &K) -> bool {
        object.labels().get(names::LABEL_ORIGIN_UID) == Some(&self.uid)
    }
}

/// The foreign object of kind `K` that an object of ours names as its origin.
fn origin_of<K>(object: &impl ResourceExt) -> Option<ObjectRef<K>>
where
    K: Resource<DynamicType = ()> + Lookup<DynamicType = ()>,
{
    let text = object.annotations().get(names::ANNOTATION_ORIGIN)?;
    let parts: Vec<&str> = text.split('/').collect();
    let [group, kind, namespace, name] = parts[..] else {
        return None;
    };
    if group != <K as Resource>::group(&()) || kind != <K as Resource>::kind(&()) {
        return None;
    }
    let reference = ObjectRef::new(name);
    Some(if namespace.is_empty() {
        reference
    } else {
        reference.within(namespace)
    })
}

fn key<K: Resource<DynamicType = ()>>(object: &K) -> String {
    let uid = object.meta().uid.as_deref().unwrap_or_default();
    format!("{}/{uid}", K::kind(&()))
}

/// What a controller does after a failed pass.
fn again<K: Resource<DynamicType = ()>>(object: Arc<K>, error: &Error, host: Arc<Host>) -> Next {
    let wait = host.failed(&key(object.as_ref()));
    let object = host::describe(object.as_ref());
    if error.code() == Some(409) {
        tracing::debug!(%object, error = %error.chain(), "again");
    } else {
        tracing::warn!(%object, error = %error.chain(), ?wait, "a pass failed");
    }
    Next::requeue(wait)
}

/// Bounds a pass in time.
async fn bounded<K: Resource<DynamicType = ()>>(
    object: &K,
    pass: impl Future<Output = Result<Next>>,
) -> Result<Next> {
    tokio::time::timeout(PASS_WITHIN, pass)
        .await
        .map_err(|_| Error::TooLate {
            what: format!("{} was not done", host::describe(object)),
            seconds: PASS_WITHIN.as_secs(),
        })?
}

/// The condition `Synced` for a translation that was carried out.
fn synced(into: &str) -> Condition {
    Condition::yes(
        types::SYNCED,
        reasons::RECONCILE_SUCCESS,
        format!("translated into {into}"),
    )
}

/// The conditions `Synced` and `Ready` for a translation that `why` holds up.
fn held_up(why: &Condition) -> [Condition; 2] {
    [
        Condition::no(types::SYNCED, &why.reason, &*why.message),
        Condition::no(types::READY, &why.reason, &*why.message),
    ]
}

/// Events for what changed between two sets of conditions.
async fn tell<K>(host: &Host, object: &K, before: &[Condition], after: &[Condition])
where
    K: Resource<DynamicType = ()>,
{
    for new in after {
        let old = condition::find(before, &new.type_);
        let changed = match new.type_.as_str() {
            types::READY | types::SYNCED => {
                old.is_none_or(|o| o.status != new.status || o.reason != new.reason)
            }
            types::FIELDS_WITHOUT_EFFECT => {
                new.holds() && old.is_none_or(|o| o.message != new.message)
            }
            _ => false,
        };
        if !changed {
            continue;
        }
        let calm = [
            reasons::WAITING_FOR_SERVER,
            reasons::WAITING_FOR_NAMESPACE,
            reasons::WAITING_FOR_HOOKS,
            reasons::ASLEEP,
        ];
        let good = new.holds() != (new.type_ == types::FIELDS_WITHOUT_EFFECT);
        let level = if good || calm.contains(&new.reason.as_str()) {
            Level::Normal
        } else {
            Level::Warning
        };
        let reason = if new.type_ == types::FIELDS_WITHOUT_EFFECT {
            &new.type_
        } else {
            &new.reason
        };
        events::publish(host, object, level, reason, &new.message).await;
    }
}

/// Our sentence in the words of the foreign object: the first of our field paths that it names is
/// replaced by theirs.
fn in_their_words(message: &str, fields: &[(&str, &str)]) -> String {
    for (ours, theirs) in fields {
        if let Some(rest) = message.strip_prefix(ours) {
            return format!("{theirs}{rest}");
        }
    }
    message.to_owned()
}

/// Whether an object waits for something of another: to be carried out, or to be removed.
fn waits(object: &impl ResourceExt, conditions: Option<&[Condition]>) -> bool {
    object.meta().deletion_timestamp.is_some()
        || !condition::holds(conditions.unwrap_or_default(), types::SYNCED)
}

/// A foreign object's claim on a tenant, by label or annotation.
fn claim(object: &impl ResourceExt) -> Option<String> {
    object
        .labels()
        .get(names::LABEL_TENANT)
        .or_else(|| object.annotations().get(names::LABEL_TENANT))
        .cloned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use freehold_api::ControlPlane;
    use freehold_api::dialects::kamaji::TenantControlPlane;
    use freehold_api::dialects::kubeflex::FlexControlPlane;
    use serde_json::json;

    #[test]
    fn an_origin_leads_back_to_its_own_kind_only() {
        let mut cp = ControlPlane::default();
        let origin = "kamaji.clastix.io/TenantControlPlane/kamaji-system/customer2";
        cp.annotations_mut()
            .insert(names::ANNOTATION_ORIGIN.to_owned(), origin.to_owned());
        let found: ObjectRef<TenantControlPlane> = origin_of(&cp).unwrap();
        assert_eq!(found.name, "customer2");
        assert_eq!(found.namespace.as_deref(), Some("kamaji-system"));
        assert!(origin_of::<FlexControlPlane>(&cp).is_none());
    }

    #[test]
    fn the_origin_of_an_object_is_written_as_it_is_read() {
        let tcp: TenantControlPlane = serde_json::from_value(json!({
            "metadata": {"name": "a", "namespace": "b", "uid": "u"},
            "spec": {"kubernetes": {"version": "v1.28.0"}},
        }))
        .unwrap();
        let origin = Origin::of(&tcp);
        let mut cp = ControlPlane::default();
        cp.metadata.annotations = Some(origin.annotations());
        let found: ObjectRef<TenantControlPlane> = origin_of(&cp).unwrap();
        assert_eq!(
            (found.name.as_str(), found.namespace.as_deref()),
            ("a", Some("b"))
        );
    }

    #[test]
    fn messages_name_their_fields() {
        let fields = [("spec.version", "spec.kubernetes.version")];
        assert_eq!(
            in_their_words("spec.version: v1.2 is not served", &fields),
            "spec.kubernetes.version: v1.2 is not served"
        );
        assert_eq!(in_their_words("else", &fields), "else");
    }
}

//! How much a control plane may store: what it asks for, and what its tenant was given.

use super::plane::Plane;
use super::status::{Said, say};
use super::{Pool, datastores};
use freehold_api::condition::{find, reasons, types};
use freehold_api::{Condition, ControlPlane, IntOrText, StorageLimits, Tenant, names};
use freehold_model::quantity::Quantity;
use freehold_store::{Head, Quota};
use k8s_openapi::api::core::v1::Namespace;
use kube::Api;
use kube::ResourceExt as _;
use std::collections::BTreeMap;

/// A control plane's own objects take that much, and a little more.
const LEAST_BYTES: u64 = 4 << 20;
/// Where less is left, a large object does not fit.
const SPARE_BYTES: u64 = 3 << 19;

/// What a control plane may have; absent: what is usual in its datastore.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Storage {
    pub(super) bytes: Option<u64>,
    pub(super) objects: Option<u64>,
    pub(super) watches: Option<usize>,
}

impl Storage {
    /// The smaller of what is asked for and what the tenant was given; or which field is wrong.
    pub(super) fn of(
        asked: Option<&StorageLimits>,
        given: Option<&StorageLimits>,
    ) -> Result<Self, String> {
        let read = |limits: Option<&StorageLimits>, whose: &str| match limits {
            None => Ok(Self::default()),
            Some(limits) => Self::read(limits).map_err(|why| format!("{whose}.bytes: {why}")),
        };
        let asked = read(asked, "spec.storage")?;
        let given = read(given, "spec.controlPlanes.storage of the tenant")?;
        Ok(Self {
            bytes: smaller(asked.bytes, given.bytes),
            objects: smaller(asked.objects, given.objects),
            watches: smaller(asked.watches, given.watches),
        })
    }

    fn read(limits: &StorageLimits) -> Result<Self, String> {
        let bytes = match &limits.bytes {
            None => None,
            Some(IntOrText::Int(n)) => Some(*n),
            Some(IntOrText::Text(text)) => {
                let quantity = Quantity::parse(text);
                Some(
                    quantity
                        .map_err(|_| format!("{text:?} is no quantity"))?
                        .value(),
                )
            }
        };
        let bytes = match bytes.map(u64::try_from) {
            None => None,
            Some(Ok(bytes)) if bytes >= LEAST_BYTES => Some(bytes),
            Some(_) => return Err("at least 4Mi are needed".to_owned()),
        };
        Ok(Self {
            bytes,
            objects: limits.objects.map(u64::from),
            watches: limits.watches.map(|n| n as usize),
        })
    }
}

fn smaller<T: Ord>(one: Option<T>, other: Option<T>) -> Option<T> {
    one.into_iter().chain(other).min()
}

/// The tenant that a control plane belongs to: what its namespace is labelled with, which only
/// administrators of the host can do.
pub(super) struct Owner {
    pub(super) name: String,
    pub(super) labels: BTreeMap<String, String>,
    pub(super) storage: Option<StorageLimits>,
}

pub(super) async fn owner(namespace: &str, pool: &Pool) -> Result<Option<Owner>, String> {
    let said = |e: kube::Error| crate::cli::said(&e);
    let namespaces: Api<Namespace> = Api::all(pool.around.host.clone());
    let found = namespaces.get_opt(namespace).await.map_err(said)?;
    let Some(name) = found.and_then(|ns| ns.labels().get(names::LABEL_TENANT).cloned()) else {
        return Ok(None);
    };
    let tenants: Api<Tenant> = Api::all(pool.around.host.clone());
    let tenant = tenants.get_opt(&name).await.map_err(said)?;
    Ok(tenant.map(|tenant| Owner {
        name,
        labels: tenant.labels().clone(),
        storage: tenant.spec.control_planes.and_then(|limits| limits.storage),
    }))
}

/// Why nothing more can be stored.
fn full(head: &Head, quota: &Quota) -> Option<String> {
    let spare = SPARE_BYTES.min(quota.bytes / 8);
    let what = if head.bytes.saturating_add(spare) > quota.bytes {
        format!("{} of {} bytes", head.bytes, quota.bytes)
    } else if head.keys >= quota.keys {
        format!("{} of {} objects", head.keys, quota.keys)
    } else {
        return None;
    };
    Some(format!(
        "{what} are used: objects can be read and deleted, what needs more room is refused \
         (spec.storage, or spec.controlPlanes.storage of the tenant)"
    ))
}

/// Says of a control plane that is awake whether it can store more, when that has changed.
pub(super) async fn look(plane: &Plane, pool: &Pool) {
    let Some((store, quota)) = plane.stored() else {
        return;
    };
    let Ok(head) = store.head().await else {
        // What is wrong is said elsewhere.
        return;
    };
    let full = full(&head, &quota);
    if plane.said_full() == Some(full.is_some()) {
        return;
    }
    let condition = match &full {
        Some(why) => Condition::no(types::STORAGE_AVAILABLE, reasons::NO_SPACE, why),
        None => Condition::yes(types::STORAGE_AVAILABLE, reasons::AVAILABLE, ""),
    };
    match tell(plane, pool, condition).await {
        Ok(()) => plane.say_full(full.is_some()),
        Err(error) => {
            let error = crate::cli::said(&error);
            tracing::debug!(error, "that a control plane is full could not be said");
        }
    }
}

async fn tell(plane: &Plane, pool: &Pool, condition: Condition) -> Result<(), kube::Error> {
    let api: Api<ControlPlane> = Api::namespaced(pool.around.host.clone(), &plane.namespace);
    let Some(object) = api.get_opt(&plane.name).await? else {
        return Ok(());
    };
    let before = object.status.as_ref().map_or(&[][..], |s| &s.conditions);
    let known = find(before, types::STORAGE_AVAILABLE).is_some();
    // Nobody is told that all is as it always was.
    if object.uid().as_deref() != Some(&plane.uid) || (condition.holds() && !known) {
        return Ok(());
    }
    let said = Said {
        endpoint: None,
        version: None,
        datastore: None,
        serving: condition,
    };
    say(&api, &object, &said).await
}

/// Whether a tenant's control planes may be in a datastore, or the sentence that says no.
pub(super) async fn allowed(
    datastore: &str,
    owner: Option<&Owner>,
    pool: &Pool,
) -> Result<(), Condition> {
    if datastore == datastores::EMBEDDED {
        return Ok(());
    }
    let stores: Api<freehold_api::DataStore> = Api::all(pool.around.host.clone());
    let no = |reason, message: String| Condition::no(types::SERVING, reason, message);
    let found = stores.get_opt(datastore).await.map_err(|error| {
        let why = crate::cli::said(&error);
        no(
            reasons::DATASTORE_UNAVAILABLE,
            format!("datastore {datastore}: {why}"),
        )
    })?;
    let allowed = |spec: &freehold_api::DataStoreSpec| {
        owner.is_some_and(|owner| spec.allows(&owner.name, &owner.labels))
    };
    match found {
        Some(store) if allowed(&store.spec) => Ok(()),
        // What a tenant may not use it need not know either.
        _ => Err(no(
            reasons::DATASTORE_NOT_ALLOWED,
            format!(
                "there is no DataStore {datastore}, or this tenant may not use it (spec.tenants of the DataStore)"
            ),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(bytes: &str, objects: Option<u32>) -> StorageLimits {
        StorageLimits {
            bytes: Some(IntOrText::Text(bytes.to_owned())),
            objects,
            watches: None,
        }
    }

    #[test]
    fn the_smaller_of_two_limits_counts_and_wrong_ones_are_named() {
        let of = Storage::of;
        assert_eq!(of(None, None), Ok(Storage::default()));
        let (asked, given) = (limits("1Gi", Some(5000)), limits("100M", None));
        let both = of(Some(&asked), Some(&given)).expect("limits");
        assert_eq!(both.bytes, Some(100_000_000));
        assert_eq!(both.objects, Some(5000));
        for wrong in ["many", "1Mi", "-5Gi"] {
            let wrong_ones = limits(wrong, None);
            let refused = of(Some(&wrong_ones), None).expect_err(wrong);
            assert!(refused.starts_with("spec.storage.bytes: "), "{refused}");
            let refused = of(None, Some(&wrong_ones)).expect_err(wrong);
            assert!(refused.contains("of the tenant.bytes"), "{refused}");
        }
    }

    #[test]
    fn a_keyspace_is_full_when_a_small_object_does_not_fit() {
        let quota = Quota {
            bytes: 1 << 20,
            keys: 10,
        };
        let head = |bytes, keys| Head {
            bytes,
            keys,
            ..Head::default()
        };
        assert_eq!(full(&head(1 << 10, 9), &quota), None);
        assert!(full(&head(1 << 10, 10), &quota).is_some_and(|why| why.starts_with("10 of 10")));
        assert_eq!(full(&head(7 << 17, 1), &quota), None, "an eighth is left");
        assert!(full(&head((7 << 17) + 1, 1), &quota).is_some());
        assert_eq!(full(&head(1 << 40, 1 << 40), &Quota::default()), None);
    }
}

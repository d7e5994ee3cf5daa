//! Which tenant a foreign object belongs to, and the tenants made for objects that say nothing.
//!
//! The namespace decides: its label is set by administrators of the host. A label or annotation
//! on the object counts where the namespace says nothing, and must agree where it does. An object
//! for which neither says anything gets an implicit tenant of its own, named after its namespace.

use crate::host::{self, Host};
use crate::{Error, Result};
use freehold_api::condition::{self, reasons, types};
use freehold_api::{Condition, ControlPlane, Tenant, TenantName, TenantSpec, names};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::ResourceExt;
use kube::api::{Api, ListParams};
use std::collections::BTreeMap;

/// What there is to go by.
pub(super) struct Clues<'a> {
    /// the object's own label or annotation
    pub claim: Option<&'a str>,
    /// the tenant of its namespace
    pub namespace: Option<&'a str>,
    /// after what an implicit tenant is named: the namespace, or the object itself
    pub fallback: &'a str,
}

/// The tenant of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Belongs {
    /// to a tenant that somebody made
    To(TenantName),
    /// to a tenant made for it
    Implicit(TenantName),
}

fn no(reason: &str, message: String) -> Condition {
    Condition::no(types::SYNCED, reason, message)
}

/// Decides.
pub(super) fn resolve(clues: &Clues<'_>) -> Result<Belongs, Condition> {
    let name = |text: &str| {
        TenantName::new(text).map_err(|error| {
            no(
                reasons::INVALID_NAME,
                format!(
                    "{error}; say which tenant it belongs to with the label {}",
                    names::LABEL_TENANT
                ),
            )
        })
    };
    match (clues.namespace, clues.claim) {
        (Some(of_namespace), Some(claim)) if of_namespace != claim => Err(no(
            reasons::TENANT_MISMATCH,
            format!(
                "metadata.labels[{}]: the namespace belongs to another tenant",
                names::LABEL_TENANT
            ),
        )),
        (Some(tenant), _) | (None, Some(tenant)) => Ok(Belongs::To(name(tenant)?)),
        (None, None) => {
            let home = TenantName::of_namespace(clues.fallback);
            let tenant = home.map_or_else(|| name(clues.fallback), Ok)?;
            Ok(Belongs::Implicit(tenant))
        }
    }
}

/// The tenant, there and ready; `Err` says what is missing. `made_for` marks an implicit tenant.
pub(super) async fn settle(
    host: &Host,
    belongs: &Belongs,
    made_for: &str,
) -> Result<Result<TenantName, Condition>> {
    let api: Api<Tenant> = Api::all(host.client.clone());
    let (name, implicit) = match belongs {
        Belongs::To(name) => (name, false),
        Belongs::Implicit(name) => (name, true),
    };
    let Some(tenant) = host::get(&api, name.as_str()).await? else {
        if !implicit {
            let message = format!("the tenant {name} does not exist");
            return Ok(Err(no(reasons::TENANT_NOT_FOUND, message)));
        }
        host::ensure(&api, None, &made(name, made_for)).await?;
        let message = format!("the tenant {name} is being made");
        return Ok(Err(no(reasons::WAITING_FOR_NAMESPACE, message)));
    };
    if implicit && !is_made_for(&tenant, made_for) {
        let message = format!(
            "there is a tenant {name} already: say with the label {} whether the namespace, or this object, belongs to it",
            names::LABEL_TENANT
        );
        return Ok(Err(no(reasons::TENANT_MISMATCH, message)));
    }
    let conditions = tenant.status.as_ref().map_or(&[][..], |s| &s.conditions);
    if tenant.metadata.deletion_timestamp.is_some() || !condition::holds(conditions, types::READY) {
        let message = format!("the tenant {name} is not ready");
        return Ok(Err(no(reasons::WAITING_FOR_NAMESPACE, message)));
    }
    Ok(Ok(name.clone()))
}

fn made(name: &TenantName, made_for: &str) -> Tenant {
    let mut tenant = Tenant::new(name.as_str(), TenantSpec::default());
    tenant.metadata = ObjectMeta {
        name: Some(name.to_string()),
        labels: Some(BTreeMap::from([
            (names::LABEL_IMPLICIT.to_owned(), "true".to_owned()),
            (
                names::LABEL_MANAGED_BY.to_owned(),
                names::MANAGED_BY.to_owned(),
            ),
        ])),
        annotations: Some(BTreeMap::from([(
            names::ANNOTATION_IMPLICIT_FOR.to_owned(),
            made_for.to_owned(),
        )])),
        ..ObjectMeta::default()
    };
    tenant
}

fn is_made_for(tenant: &Tenant, made_for: &str) -> bool {
    tenant.labels().contains_key(names::LABEL_IMPLICIT)
        && tenant
            .annotations()
            .get(names::ANNOTATION_IMPLICIT_FOR)
            .is_some_and(|text| text == made_for)
}

/// Whether the tenant was made for `made_for`.
pub(super) async fn was_made_for(host: &Host, name: &TenantName, made_for: &str) -> Result<bool> {
    let api: Api<Tenant> = Api::all(host.client.clone());
    let tenant = host::get(&api, name.as_str()).await?;
    Ok(tenant.is_some_and(|tenant| is_made_for(&tenant, made_for)))
}

/// Removes the implicit tenant made for `made_for` unless it has control planes still; whether
/// nothing is left to wait for.
pub(super) async fn release(host: &Host, made_for: &str) -> Result<bool> {
    let api: Api<Tenant> = Api::all(host.client.clone());
    let label = format!("{}=true", names::LABEL_IMPLICIT);
    let all = api
        .list(&ListParams::default().labels(&label))
        .await
        .map_err(Error::host("list tenants"))?;
    for tenant in all.iter().filter(|t| is_made_for(t, made_for)) {
        let Ok(name) = TenantName::new(tenant.name_any()) else {
            continue;
        };
        let planes: Api<ControlPlane> = Api::namespaced(host.client.clone(), &name.namespace());
        let planes = planes
            .list_metadata(&ListParams::default())
            .await
            .map_err(Error::host("list control planes"))?;
        if !planes.items.is_empty() {
            continue;
        }
        if tenant.metadata.deletion_timestamp.is_none() {
            host::delete(&api, tenant).await?;
        }
        let there = host::get(&api, name.as_str()).await?;
        if there.is_some_and(|t| t.uid() == tenant.uid()) {
            return Ok(false);
        }
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decide(
        claim: Option<&str>,
        namespace: Option<&str>,
        fallback: &str,
    ) -> Result<Belongs, Condition> {
        resolve(&Clues {
            claim,
            namespace,
            fallback,
        })
    }

    #[test]
    fn the_namespace_decides_over_the_object() {
        let acme = TenantName::new("acme").unwrap();
        assert_eq!(
            decide(None, Some("acme"), "x"),
            Ok(Belongs::To(acme.clone()))
        );
        assert_eq!(
            decide(Some("acme"), Some("acme"), "x"),
            Ok(Belongs::To(acme.clone()))
        );
        assert_eq!(
            decide(Some("acme"), None, "x"),
            Ok(Belongs::To(acme.clone()))
        );
        let refused = decide(Some("globex"), Some("acme"), "x").unwrap_err();
        assert_eq!(refused.reason, reasons::TENANT_MISMATCH);
        assert!(!refused.message.contains("acme"));
    }

    #[test]
    fn who_says_nothing_gets_a_tenant_of_its_own() {
        let implicit = |name: &str| Ok(Belongs::Implicit(TenantName::new(name).unwrap()));
        assert_eq!(
            decide(None, None, "kamaji-system"),
            implicit("kamaji-system")
        );
        assert_eq!(decide(None, None, "tenant-acme"), implicit("acme"));
        let long = "a".repeat(60);
        assert_eq!(
            decide(None, None, &long).unwrap_err().reason,
            reasons::INVALID_NAME
        );
    }

    #[test]
    fn an_implicit_tenant_is_only_for_whom_it_was_made() {
        let name = TenantName::new("a").unwrap();
        let tenant = made(&name, "namespace/a");
        assert!(is_made_for(&tenant, "namespace/a"));
        assert!(!is_made_for(&tenant, "controlplane/a"));
        assert!(!is_made_for(&Tenant::default(), "namespace/a"));
    }
}

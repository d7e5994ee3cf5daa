//! Tenants and control planes as the commands address them on the host's API.

use super::names::{namespace_of, tenant_of};
use super::{Cause, Printer, Trouble};
use anyhow::Result;
use kube::api::{ApiResource, DynamicObject, ListParams};
use kube::runtime::wait::{Condition, await_condition};
use kube::{Api, Client, ResourceExt as _};
use serde_json::Value;
use std::cell::RefCell;
use std::time::Duration;

pub(crate) const GROUP: &str = "freehold.dev";
pub(crate) const VERSION: &str = "v1alpha1";

/// What the commands are about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Tenant,
    ControlPlane,
}

impl Kind {
    pub(crate) fn plural(self) -> &'static str {
        match self {
            Self::Tenant => "tenants",
            Self::ControlPlane => "controlplanes",
        }
    }

    pub(crate) fn singular(self) -> &'static str {
        match self {
            Self::Tenant => "tenant",
            Self::ControlPlane => "controlplane",
        }
    }

    /// As people say it.
    pub(crate) fn noun(self) -> &'static str {
        match self {
            Self::Tenant => "tenant",
            Self::ControlPlane => "control plane",
        }
    }

    pub(crate) fn resource(self) -> ApiResource {
        let kind = match self {
            Self::Tenant => "Tenant",
            Self::ControlPlane => "ControlPlane",
        };
        ApiResource {
            group: GROUP.to_owned(),
            version: VERSION.to_owned(),
            api_version: format!("{GROUP}/{VERSION}"),
            kind: kind.to_owned(),
            plural: self.plural().to_owned(),
        }
    }

    /// The URL path of a list or of one object.
    pub(crate) fn path(self, namespace: Option<&str>, name: Option<&str>) -> String {
        let mut path = format!("/apis/{GROUP}/{VERSION}");
        if let Some(namespace) = namespace {
            path.push_str("/namespaces/");
            path.push_str(namespace);
        }
        path.push('/');
        path.push_str(self.plural());
        if let Some(name) = name {
            path.push('/');
            path.push_str(name);
        }
        path
    }
}

pub(crate) fn tenants(client: &Client) -> Api<DynamicObject> {
    Api::all_with(client.clone(), &Kind::Tenant.resource())
}

pub(crate) fn all_control_planes(client: &Client) -> Api<DynamicObject> {
    Api::all_with(client.clone(), &Kind::ControlPlane.resource())
}

pub(crate) fn control_planes(client: &Client, tenant: &str) -> Api<DynamicObject> {
    Api::namespaced_with(
        client.clone(),
        &namespace_of(tenant),
        &Kind::ControlPlane.resource(),
    )
}

/// A control plane as the user named it: `NAME --tenant T`, `T/NAME`, or `NAME` when only one has it.
pub(crate) struct Found {
    pub(crate) tenant: String,
    pub(crate) name: String,
    pub(crate) object: DynamicObject,
    pub(crate) api: Api<DynamicObject>,
}

impl Found {
    /// `control plane acme/dev`
    pub(crate) fn shown(&self) -> String {
        format!("control plane {}/{}", self.tenant, self.name)
    }
}

// Its own documentation would stand in for that of the commands that take it.
#[derive(Debug, clap::Args)]
pub(crate) struct Which {
    /// NAME, or TENANT/NAME
    name: String,
    /// The tenant it belongs to
    #[arg(long, value_name = "T")]
    tenant: Option<String>,
}

impl Which {
    pub(crate) async fn find(&self, client: &Client) -> Result<Found> {
        find_control_plane(client, &self.name, self.tenant.as_deref()).await
    }
}

pub(crate) async fn find_control_plane(
    client: &Client,
    name: &str,
    tenant: Option<&str>,
) -> Result<Found> {
    let (tenant, name) = split(name, tenant)?;
    if let Some(tenant) = tenant {
        let api = control_planes(client, &tenant);
        let object = api
            .get(&name)
            .await
            .map_err(|e| Trouble::from_api("read", &format!("control plane {tenant}/{name}"), e))?;
        return Ok(Found {
            tenant,
            name,
            object,
            api,
        });
    }
    let list = all_control_planes(client)
        .list(&ListParams::default())
        .await
        .map_err(|e| {
            Trouble::from_api("look for", &format!("control plane {name}"), e)
                .advise("Say whose it is: --tenant T (or T/NAME).")
        })?;
    let mut having: Vec<DynamicObject> = list
        .items
        .into_iter()
        .filter(|o| o.name_any() == name)
        .collect();
    match having.len() {
        0 => Err(Trouble::new(format!("there is no control plane {name}"))
            .advise("`freehold get control-planes` shows what exists.")
            .into()),
        1 => {
            let object = having.remove(0);
            let tenant = tenant_of(&object.namespace().unwrap_or_default()).to_owned();
            let api = control_planes(client, &tenant);
            Ok(Found {
                tenant,
                name,
                object,
                api,
            })
        }
        _ => {
            let whose: Vec<String> = having
                .iter()
                .map(|o| format!("{}/{name}", tenant_of(&o.namespace().unwrap_or_default())))
                .collect();
            Err(Trouble::usage(format!(
                "{} tenants have a control plane {name}",
                having.len()
            ))
            .advise(format!(
                "Say which with --tenant, or write {}.",
                whose.join(" or ")
            ))
            .into())
        }
    }
}

/// Splits `tenant/name`; both parts are checked.
fn split(name: &str, tenant: Option<&str>) -> Result<(Option<String>, String)> {
    let (from_name, name) = match name.split_once('/') {
        Some((tenant, name)) => (Some(tenant), name),
        None => (None, name),
    };
    if let (Some(a), Some(b)) = (from_name, tenant)
        && a != b
    {
        return Err(Trouble::usage(format!(
            "`{a}/{name}` and --tenant {b} name different tenants"
        ))
        .into());
    }
    let tenant = from_name
        .or(tenant)
        .map(super::names::tenant)
        .transpose()?
        .map(str::to_owned);
    Ok((tenant, super::names::control_plane(name)?.to_owned()))
}

/// One condition as printed.
pub(crate) struct Shown {
    pub(crate) kind: String,
    pub(crate) status: String,
    pub(crate) reason: String,
    pub(crate) message: String,
    pub(crate) since: String,
}

pub(crate) fn conditions(object: &DynamicObject) -> Vec<Shown> {
    let text = |c: &Value, key: &str| {
        c.get(key)
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned()
    };
    object
        .data
        .pointer("/status/conditions")
        .and_then(Value::as_array)
        .map(|list| {
            list.iter()
                .map(|c| Shown {
                    kind: text(c, "type"),
                    status: text(c, "status"),
                    reason: text(c, "reason"),
                    message: text(c, "message"),
                    since: text(c, "lastTransitionTime"),
                })
                .collect()
        })
        .unwrap_or_default()
}

/// Ready for the object as it is now, not for an older generation.
pub(crate) fn is_ready(object: &DynamicObject) -> bool {
    let seen = object
        .data
        .pointer("/status/observedGeneration")
        .and_then(Value::as_i64);
    let current = object.metadata.generation;
    let up_to_date = match (seen, current) {
        (Some(seen), Some(current)) => seen >= current,
        _ => true,
    };
    up_to_date
        && conditions(object)
            .iter()
            .any(|c| c.kind == "Ready" && c.status == "True")
}

/// The status of the condition `Serving`, when it is about the object as it is now.
pub(crate) fn serving(object: &DynamicObject) -> Option<String> {
    let list = object.data.pointer("/status/conditions")?.as_array()?;
    let serving = list
        .iter()
        .find(|c| c.get("type").and_then(Value::as_str) == Some("Serving"))?;
    let seen = serving.get("observedGeneration").and_then(Value::as_i64);
    if seen < object.metadata.generation {
        return None;
    }
    serving
        .get("status")
        .and_then(Value::as_str)
        .map(str::to_owned)
}

/// Waits until an object is Ready, saying what it waits for.
pub(crate) async fn until_ready(
    api: &Api<DynamicObject>,
    name: &str,
    shown: &str,
    limit: Duration,
    out: &Printer,
) -> Result<DynamicObject> {
    until(api, name, shown, limit, out, is_ready).await
}

/// Waits until something holds of an object, saying what it waits for.
pub(crate) async fn until(
    api: &Api<DynamicObject>,
    name: &str,
    shown: &str,
    limit: Duration,
    out: &Printer,
    holds: impl Fn(&DynamicObject) -> bool,
) -> Result<DynamicObject> {
    let last = RefCell::new(String::new());
    let ready = |object: Option<&DynamicObject>| {
        let Some(object) = object else { return false };
        if holds(object) {
            return true;
        }
        let waiting = waiting_for(object);
        if *last.borrow() != waiting {
            out.progress(format!("{shown}: {waiting}"));
            *last.borrow_mut() = waiting;
        }
        false
    };
    let outcome = tokio::time::timeout(limit, await_condition(api.clone(), name, ready)).await;
    out.progress_done();
    match outcome {
        Ok(Ok(Some(object))) => Ok(object),
        Ok(Ok(None)) => {
            Err(Trouble::new(format!("{shown} was deleted while we waited for it")).into())
        }
        Ok(Err(e)) => Err(Trouble::new(format!("cannot watch {shown}"))
            .because(Cause::of(&e))
            .into()),
        Err(_) => Err(Trouble::new(format!(
            "{shown} is not ready after {} s: {}",
            limit.as_secs(),
            last.borrow()
        ))
        .advise("It may still become ready: `freehold describe` shows its conditions and events.")
        .into()),
    }
}

fn waiting_for(object: &DynamicObject) -> String {
    let waiting: Vec<String> = conditions(object)
        .into_iter()
        .filter(|c| c.status != "True")
        .map(|c| {
            if c.message.is_empty() {
                format!("waiting for {}", c.kind)
            } else {
                format!("{}: {}", c.kind, c.message)
            }
        })
        .collect();
    if waiting.is_empty() {
        "waiting for the operator".to_owned()
    } else {
        waiting.join("; ")
    }
}

/// Waits until the object with this uid is gone, saying what holds it.
pub(crate) async fn until_gone(
    api: &Api<DynamicObject>,
    name: &str,
    uid: &str,
    shown: &str,
    limit: Duration,
    out: &Printer,
) -> Result<()> {
    let last = RefCell::new(String::new());
    let gone = |object: Option<&DynamicObject>| {
        let Some(object) = object.filter(|o| o.uid().as_deref() == Some(uid)) else {
            return true;
        };
        let held = object.finalizers().join(", ");
        if *last.borrow() != held {
            out.progress(format!(
                "{shown}: deleting, held by {}",
                if held.is_empty() { "nothing" } else { &held }
            ));
            *last.borrow_mut() = held;
        }
        false
    };
    let outcome = tokio::time::timeout(limit, wait_for(api, name, gone)).await;
    out.progress_done();
    match outcome {
        Ok(Ok(())) => Ok(()),
        Ok(Err(e)) => Err(Trouble::new(format!("cannot watch {shown}"))
            .because(Cause::of(&e))
            .into()),
        Err(_) => Err(
            Trouble::new(format!("{shown} is not gone after {} s", limit.as_secs()))
                .advise(format!(
                    "Deletion goes on; it is held by: {}. `freehold describe` shows more.",
                    last.borrow()
                ))
                .into(),
        ),
    }
}

async fn wait_for(
    api: &Api<DynamicObject>,
    name: &str,
    condition: impl Condition<DynamicObject>,
) -> Result<(), kube::runtime::wait::Error> {
    await_condition(api.clone(), name, condition)
        .await
        .map(|_| ())
}

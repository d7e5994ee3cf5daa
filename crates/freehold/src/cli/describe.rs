//! `freehold describe tenant|control-plane`

use super::names::namespace_of;
use super::objects::{self, Kind};
use super::printer::Tone;
use super::{Format, Global, Printer, Target, Trouble, names};
use anyhow::Result;
use clap::Subcommand;
use k8s_openapi::api::core::v1::Event;
use kube::api::{DynamicObject, ListParams};
use kube::{Api, Client, ResourceExt};
use serde_json::Value;

#[derive(Debug, Subcommand)]
pub(crate) enum Args {
    /// Describe a tenant
    #[command(alias = "tenants")]
    Tenant { name: String },
    /// Describe a control plane
    #[command(alias = "control-planes", visible_alias = "cp")]
    ControlPlane(objects::Which),
}

pub(crate) async fn run(args: &Args, global: &Global, out: &Printer) -> Result<()> {
    match args {
        Args::Tenant { name } => {
            names::tenant(name)?;
            let target = Target::connect(global).await?;
            let object = objects::tenants(&target.client)
                .get(name)
                .await
                .map_err(|e| Trouble::from_api("read", &format!("tenant {name}"), e))?;
            let planes = objects::control_planes(&target.client, name)
                .list(&ListParams::default())
                .await;
            let planes = planes
                .map(|l| {
                    l.items
                        .iter()
                        .map(ResourceExt::name_any)
                        .collect::<Vec<_>>()
                })
                .unwrap_or_default();
            let mut head = vec![("Name", name.clone()), ("Namespace", namespace_of(name))];
            head.push((
                "Control planes",
                if planes.is_empty() {
                    "none".to_owned()
                } else {
                    planes.join(", ")
                },
            ));
            show(&target.client, Kind::Tenant, &object, &head, out).await
        }
        Args::ControlPlane(which) => {
            let target = Target::connect(global).await?;
            let found = which.find(&target.client).await?;
            let text = |pointer: &str| {
                found
                    .object
                    .data
                    .pointer(pointer)
                    .and_then(Value::as_str)
                    .unwrap_or("not yet")
                    .to_owned()
            };
            let head = vec![
                ("Name", found.name.clone()),
                ("Tenant", found.tenant.clone()),
                ("Endpoint", text("/status/endpoint/server")),
                ("TLS server name", text("/status/endpoint/serverName")),
            ];
            show(
                &target.client,
                Kind::ControlPlane,
                &found.object,
                &head,
                out,
            )
            .await
        }
    }
}

async fn show(
    client: &Client,
    kind: Kind,
    object: &DynamicObject,
    head: &[(&str, String)],
    out: &Printer,
) -> Result<()> {
    match out.format {
        Format::Json | Format::Yaml => return out.data(&serde_json::to_value(object)?),
        Format::Name => {
            out.line(format!(
                "{}.{}/{}",
                kind.singular(),
                objects::GROUP,
                object.name_any()
            ));
            return Ok(());
        }
        Format::Table | Format::Wide => {}
    }
    for (label, value) in head {
        out.line(format!("{:<17} {value}", format!("{label}:")));
    }
    if let Some(created) = object.creation_timestamp() {
        out.line(format!("{:<17} {}", "Created:", created.0));
    }
    if let Some(deleted) = &object.metadata.deletion_timestamp {
        out.line(format!(
            "{:<17} since {}, held by {}",
            "Deleting:",
            deleted.0,
            object.finalizers().join(", ")
        ));
    }
    section("Spec", object.data.get("spec"), out)?;
    let conditions = objects::conditions(object);
    if conditions.is_empty() {
        out.line("Conditions:       none yet");
    } else {
        out.line("Conditions:");
        for c in conditions {
            let tone = if c.status == "True" {
                Tone::Good
            } else {
                Tone::Warn
            };
            let state = out.tone(tone, &format!("{}={}", c.kind, c.status));
            out.line(format!("  {state}  {}  {}  {}", c.reason, c.since, c.message).trim_end());
        }
    }
    events(client, object, out).await;
    Ok(())
}

fn section(label: &str, value: Option<&Value>, out: &Printer) -> Result<()> {
    let Some(value) = value.filter(|v| v.as_object().is_some_and(|o| !o.is_empty())) else {
        return Ok(());
    };
    out.line(format!("{label}:"));
    for line in super::printer::yaml(value)?.lines() {
        out.line(format!("  {line}"));
    }
    Ok(())
}

/// Events are worth showing, and their absence no error: the reader may not be allowed to list them.
async fn events(client: &Client, object: &DynamicObject, out: &Printer) {
    let namespace = object.namespace().unwrap_or_else(|| "default".to_owned());
    let api: Api<Event> = Api::namespaced(client.clone(), &namespace);
    let selector = format!("involvedObject.uid={}", object.uid().unwrap_or_default());
    match api.list(&ListParams::default().fields(&selector)).await {
        Ok(list) if list.items.is_empty() => out.line("Events:           none"),
        Ok(list) => {
            out.line("Events:");
            for event in list.items {
                out.line(format!(
                    "  {}  {}  x{}  {}",
                    event.type_.unwrap_or_default(),
                    event.reason.unwrap_or_default(),
                    event.count.unwrap_or(1),
                    event.message.unwrap_or_default(),
                ));
            }
        }
        Err(error) => out.line(format!(
            "Events:           not shown ({})",
            super::said(&error)
        )),
    }
}

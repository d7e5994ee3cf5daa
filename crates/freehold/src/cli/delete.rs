//! `freehold delete tenant|control-plane`: returns when nothing is left.

use super::objects::{self, Kind};
use super::{Format, Global, Printer, Target, Trouble, names};
use anyhow::Result;
use clap::Subcommand;
use kube::api::{DeleteParams, DynamicObject};
use kube::{Api, ResourceExt as _};
use std::time::{Duration, Instant};

/// Teardown is bounded; this is how long we watch it.
const LIMIT: Duration = Duration::from_mins(2);

#[derive(Debug, Subcommand)]
pub(crate) enum Args {
    /// Delete a tenant with everything it has
    #[command(alias = "tenants")]
    Tenant { name: String },
    /// Delete a control plane with everything in it
    #[command(alias = "control-planes", visible_alias = "cp")]
    ControlPlane(objects::Which),
}

pub(crate) async fn run(args: &Args, global: &Global, out: &Printer) -> Result<()> {
    match args {
        Args::Tenant { name } => {
            names::tenant(name)?;
            let target = Target::connect(global).await?;
            let api = objects::tenants(&target.client);
            let shown = format!("tenant {name}");
            let object = api
                .get(name)
                .await
                .map_err(|e| Trouble::from_api("delete", &shown, e))?;
            delete(Kind::Tenant, &api, &object, &shown, out).await
        }
        Args::ControlPlane(which) => {
            let target = Target::connect(global).await?;
            let found = which.find(&target.client).await?;
            delete(
                Kind::ControlPlane,
                &found.api,
                &found.object,
                &found.shown(),
                out,
            )
            .await
        }
    }
}

async fn delete(
    kind: Kind,
    api: &Api<DynamicObject>,
    object: &DynamicObject,
    shown: &str,
    out: &Printer,
) -> Result<()> {
    let name = object.name_any();
    let uid = object.uid().unwrap_or_default();
    let start = Instant::now();
    let params = DeleteParams {
        preconditions: Some(kube::api::Preconditions {
            uid: Some(uid.clone()),
            resource_version: None,
        }),
        ..DeleteParams::default()
    };
    api.delete(&name, &params)
        .await
        .map_err(|e| Trouble::from_api("delete", shown, e))?;
    objects::until_gone(api, &name, &uid, shown, LIMIT, out).await?;
    match out.format {
        Format::Name => out.line(format!("{}.{}/{name}", kind.singular(), objects::GROUP)),
        _ => out.line(format!(
            "{}/{name} deleted in {} ms, nothing is left",
            kind.singular(),
            start.elapsed().as_millis()
        )),
    }
    Ok(())
}

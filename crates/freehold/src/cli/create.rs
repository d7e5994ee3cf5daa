//! `freehold create tenant|control-plane`

use super::objects::{self, Kind};
use super::{Format, Global, Printer, Target, Trouble, names};
use anyhow::Result;
use clap::Subcommand;
use kube::api::{DynamicObject, PostParams};
use kube::{Api, ResourceExt as _};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// How long `create` waits before it says what it waits for and gives up.
const LIMIT: Duration = Duration::from_mins(2);

#[derive(Debug, Subcommand)]
pub(crate) enum Args {
    /// Create a tenant
    Tenant {
        name: String,
        /// Who owns it; may be given several times
        #[arg(long = "owner", value_name = "user:NAME|group:NAME")]
        owners: Vec<String>,
    },
    /// Create a control plane of a tenant
    #[command(visible_alias = "cp")]
    ControlPlane {
        name: String,
        /// The tenant it belongs to
        #[arg(long, value_name = "T")]
        tenant: String,
        /// Kubernetes version (default: the newest that is well tested)
        #[arg(long = "version", value_name = "V")]
        version: Option<String>,
        /// Where it runs
        #[arg(long, value_enum)]
        placement: Option<Placement>,
        /// The datastore that keeps it (default: embedded)
        #[arg(long, value_name = "D")]
        datastore: Option<String>,
        /// Return at once instead of waiting until it is ready
        #[arg(long)]
        no_wait: bool,
    },
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub(crate) enum Placement {
    /// in the host's own process, with many others
    Pooled,
    /// in a process of its own
    Dedicated,
}

pub(crate) async fn run(args: &Args, global: &Global, out: &Printer) -> Result<()> {
    match args {
        Args::Tenant { name, owners } => {
            let object = tenant(name, owners)?;
            let target = Target::connect(global).await?;
            let api = objects::tenants(&target.client);
            let shown = format!("tenant {name}");
            let start = Instant::now();
            let created = post(&api, &object, &shown).await?;
            let ready = objects::until_ready(&api, &created.name_any(), &shown, LIMIT, out).await?;
            report(out, Kind::Tenant, name, &ready, start)
        }
        Args::ControlPlane {
            name,
            tenant,
            version,
            placement,
            datastore,
            no_wait,
        } => {
            let object = control_plane(
                name,
                tenant,
                version.as_deref(),
                *placement,
                datastore.as_deref(),
            )?;
            let target = Target::connect(global).await?;
            let api = objects::control_planes(&target.client, tenant);
            let shown = format!("control plane {tenant}/{name}");
            let start = Instant::now();
            let created = post(&api, &object, &shown)
                .await
                .map_err(|e| no_tenant(e, tenant))?;
            if *no_wait {
                return report(out, Kind::ControlPlane, name, &created, start);
            }
            let ready = objects::until_ready(&api, name, &shown, LIMIT, out).await?;
            report(out, Kind::ControlPlane, name, &ready, start)
        }
    }
}

/// The Tenant object, checked.
pub(crate) fn tenant(name: &str, owners: &[String]) -> Result<DynamicObject> {
    names::tenant(name)?;
    let owners = owners
        .iter()
        .map(|o| names::owner(o))
        .collect::<Result<Vec<Value>>>()?;
    let mut object = DynamicObject::new(name, &Kind::Tenant.resource());
    object.data = json!({"spec": {"owners": owners}});
    Ok(object)
}

/// The ControlPlane object, checked.
pub(crate) fn control_plane(
    name: &str,
    tenant: &str,
    version: Option<&str>,
    placement: Option<Placement>,
    datastore: Option<&str>,
) -> Result<DynamicObject> {
    names::tenant(tenant)?;
    names::control_plane(name)?;
    let mut spec = json!({});
    if let Some(version) = version {
        spec["version"] = names::version(version)?.into();
    }
    if let Some(placement) = placement {
        spec["placement"] = match placement {
            Placement::Pooled => "Pooled",
            Placement::Dedicated => "Dedicated",
        }
        .into();
    }
    if let Some(datastore) = datastore {
        if !freehold_model::meta::is_dns_subdomain(datastore) {
            return Err(
                Trouble::usage(format!("`{datastore}` cannot be the name of a datastore")).into(),
            );
        }
        spec["datastore"] = json!({"name": datastore});
    }
    let mut object = DynamicObject::new(name, &Kind::ControlPlane.resource())
        .within(&names::namespace_of(tenant));
    object.data = json!({"spec": spec});
    Ok(object)
}

pub(crate) async fn post(
    api: &Api<DynamicObject>,
    object: &DynamicObject,
    shown: &str,
) -> Result<DynamicObject> {
    let params = PostParams {
        field_manager: Some("freehold".to_owned()),
        ..PostParams::default()
    };
    Ok(api.create(&params, object).await.map_err(|e| {
        let exists = matches!(&e, kube::Error::Api(s) if s.is_already_exists());
        let trouble = Trouble::from_api("create", shown, e);
        if exists {
            trouble.advise("Choose another name, or delete it first.")
        } else {
            trouble
        }
    })?)
}

fn no_tenant(error: anyhow::Error, tenant: &str) -> anyhow::Error {
    let text = error.to_string();
    if text.contains("not found") && text.contains(&names::namespace_of(tenant)) {
        return Trouble::new(format!("{text} (tenant {tenant} does not exist)"))
            .advise(format!("Create it first: freehold create tenant {tenant}"))
            .into();
    }
    error
}

fn report(
    out: &Printer,
    kind: Kind,
    name: &str,
    object: &DynamicObject,
    start: Instant,
) -> Result<()> {
    match out.format {
        Format::Json | Format::Yaml => out.data(&serde_json::to_value(object)?),
        Format::Name => {
            out.line(format!("{}.{}/{name}", kind.singular(), objects::GROUP));
            Ok(())
        }
        Format::Table | Format::Wide => {
            let state = if objects::is_ready(object) {
                "created and ready"
            } else {
                "created"
            };
            out.line(format!(
                "{}/{name} {state} in {} ms",
                kind.singular(),
                start.elapsed().as_millis()
            ));
            Ok(())
        }
    }
}

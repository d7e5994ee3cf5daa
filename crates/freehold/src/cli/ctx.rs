//! `freehold ctx`: kubectl at a control plane, and back at the host.

use super::kubeconfig::issue;
use super::user_config::{UserConfig, host_context, is_ours, mark};
use super::{Global, Printer, Target, Trouble, objects};
use anyhow::{Context as _, Result};
use kube::config::{NamedAuthInfo, NamedCluster, NamedContext};
use std::time::Duration;

/// As long as the host allows; `freehold ctx NAME` again renews it.
const EXPIRES: Duration = Duration::from_hours(24);

/// What the host's context is called when we bring it into the user's file.
const HOST: &str = "freehold-host";

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// NAME or TENANT/NAME of a control plane; nothing: back to the host
    name: Option<String>,
}

pub(crate) async fn run(args: &Args, global: &Global, out: &Printer) -> Result<()> {
    match &args.name {
        Some(name) => to_control_plane(name, global, out).await,
        None => back(global, out).await,
    }
}

async fn to_control_plane(name: &str, global: &Global, out: &Printer) -> Result<()> {
    let target = Target::connect(global).await?;
    let found = objects::find_control_plane(&target.client, name, None).await?;
    let issued = issue(&target.client, &found, EXPIRES).await?;
    let mut user = UserConfig::open(global)?;
    let host = bring_host(&target, &mut user)?;

    let mut context = issued
        .contexts
        .into_iter()
        .next()
        .context("the issued kubeconfig has no context")?;
    if user.has_context(&context.name) && !is_ours(&user.config, &context.name) {
        return Err(Trouble::new(format!(
            "{} already has a context `{}` of another origin",
            user.path.display(),
            context.name
        ))
        .advise(format!(
            "Rename it (`kubectl config rename-context {} OTHER`), or use `freehold kubeconfig`.",
            context.name
        ))
        .into());
    }
    if let Some(inner) = context.context.as_mut() {
        inner.extensions = Some(vec![mark(&host, &found.tenant, &found.name)]);
    }
    let cluster = issued
        .clusters
        .into_iter()
        .next()
        .context("the issued kubeconfig has no cluster")?;
    let admin = issued
        .auth_infos
        .into_iter()
        .next()
        .context("the issued kubeconfig has no user")?;
    let switched = context.name.clone();
    user.put(context, cluster, admin);
    user.config.current_context = Some(switched.clone());
    user.save()?;
    out.line(format!(
        "Switched to {} (context `{switched}` in {}, valid for 24h).",
        found.shown(),
        user.path.display()
    ));
    out.note("Back to the host: freehold ctx");
    Ok(())
}

/// The host's context must be in the user's file, or there would be no way back.
fn bring_host(target: &Target, user: &mut UserConfig) -> Result<String> {
    if target.files.contains(&user.path) && user.has_context(&target.context) {
        return Ok(target.context.clone());
    }
    let config = &target.kubeconfig;
    let named = config
        .contexts
        .iter()
        .find(|c| c.name == target.context)
        .context("the host's context is gone")?;
    let inner = named
        .context
        .clone()
        .context("the host's context is empty")?;
    let cluster = config
        .clusters
        .iter()
        .find(|c| c.name == inner.cluster)
        .cloned()
        .unwrap_or_default();
    let admin = config
        .auth_infos
        .iter()
        .find(|u| Some(&u.name) == inner.user.as_ref())
        .cloned()
        .unwrap_or_default();
    let (cluster_name, user_name) = (format!("{HOST}-cluster"), format!("{HOST}-admin"));
    let mut inner = inner;
    inner.cluster.clone_from(&cluster_name);
    inner.user = Some(user_name.clone());
    user.put(
        NamedContext {
            name: HOST.to_owned(),
            context: Some(inner),
            ..NamedContext::default()
        },
        NamedCluster {
            name: cluster_name,
            ..cluster
        },
        NamedAuthInfo {
            name: user_name,
            ..admin
        },
    );
    Ok(HOST.to_owned())
}

async fn back(global: &Global, out: &Printer) -> Result<()> {
    let mut user = UserConfig::open(global)?;
    let current = user.config.current_context.clone();
    let host = match &current {
        Some(current) if is_ours(&user.config, current) => host_context(&user.config, current),
        Some(current) => {
            out.line(format!("Already at `{current}`, which is not a control plane that `freehold ctx` switched to."));
            return Ok(());
        }
        None => None,
    };
    let host = match host {
        Some(host) => host,
        None => bring_host(&Target::connect(global).await?, &mut user)?,
    };
    user.config.current_context = Some(host.clone());
    user.save()?;
    out.line(format!(
        "Switched back to the host (context `{host}` in {}).",
        user.path.display()
    ));
    Ok(())
}

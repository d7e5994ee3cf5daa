//! Which host a command talks to: found as kubectl would, plus the data directory's own file.

use super::user_config::host_context;
use super::{Global, Trouble};
use anyhow::Result;
use kube::Client;
use kube::config::{Config, KubeConfigOptions, Kubeconfig};
use std::path::PathBuf;
use std::time::Duration;

/// The host, and where the way to it was found.
pub(crate) struct Target {
    pub(crate) client: Client,
    pub(crate) kubeconfig: Kubeconfig,
    /// the context in use
    pub(crate) context: String,
    /// the files it was read from
    pub(crate) files: Vec<PathBuf>,
    pub(crate) server: String,
}

impl Target {
    /// Finds the kubeconfig and makes a client of it; nothing is sent yet.
    pub(crate) async fn connect(global: &Global) -> Result<Self> {
        let files = files(global)?;
        let kubeconfig = read(&files)?;
        let context = match (&global.context, &kubeconfig.current_context) {
            (Some(named), _) => named.clone(),
            // A context made by `freehold ctx` remembers which host it came from.
            (None, Some(current)) => {
                host_context(&kubeconfig, current).unwrap_or_else(|| current.clone())
            }
            (None, None) => {
                return Err(
                    Trouble::new(format!("{} has no current context", shown(&files)))
                        .advise("Name one with --context.")
                        .into(),
                );
            }
        };
        let config = config_of(&kubeconfig, &context, &files).await?;
        let server = config
            .cluster_url
            .to_string()
            .trim_end_matches('/')
            .to_owned();
        let client = Client::try_from(config).map_err(|e| {
            Trouble::new(format!(
                "context `{context}` of {} cannot be used",
                shown(&files)
            ))
            .because(e)
        })?;
        Ok(Self {
            client,
            kubeconfig,
            context,
            files,
            server,
        })
    }
}

/// A client of one kubeconfig, for control planes.
pub(crate) async fn client_of(kubeconfig: Kubeconfig) -> Result<Client> {
    let mut config =
        Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
    config.connect_timeout = Some(Duration::from_secs(5));
    Ok(Client::try_from(config)?)
}

async fn config_of(kubeconfig: &Kubeconfig, context: &str, files: &[PathBuf]) -> Result<Config> {
    let options = KubeConfigOptions {
        context: Some(context.to_owned()),
        ..KubeConfigOptions::default()
    };
    let mut config = Config::from_custom_kubeconfig(kubeconfig.clone(), &options)
        .await
        .map_err(|e| {
            Trouble::new(format!(
                "context `{context}` of {} cannot be used",
                shown(files)
            ))
            .because(e)
            .advise("`kubectl config get-contexts` shows what the file offers.")
        })?;
    config.connect_timeout = Some(Duration::from_secs(5));
    Ok(config)
}

fn files(global: &Global) -> Result<Vec<PathBuf>> {
    if let Some(file) = &global.kubeconfig {
        return Ok(vec![file.clone()]);
    }
    let named = crate::env::kubeconfig_paths();
    if !named.is_empty() {
        return Ok(named);
    }
    let own = crate::env::data_dir(None).join("admin.kubeconfig");
    let home = crate::env::home().join(".kube/config");
    [own.clone(), home.clone()].into_iter().find(|f| f.is_file()).map(|f| vec![f]).ok_or_else(|| {
        Trouble::new(format!("no kubeconfig of a host: neither {} nor {} exists", own.display(), home.display()))
            .advise("Start a host with `freehold up`, or name a kubeconfig with --kubeconfig or KUBECONFIG.")
            .into()
    })
}

fn read(files: &[PathBuf]) -> Result<Kubeconfig> {
    let mut merged = Kubeconfig::default();
    // kubectl passes over files of a KUBECONFIG list that do not exist; one alone must.
    let present: Vec<&PathBuf> = files
        .iter()
        .filter(|f| files.len() == 1 || f.is_file())
        .collect();
    for file in present {
        let one = Kubeconfig::read_from(file).map_err(|e| {
            Trouble::new(format!("the kubeconfig {} cannot be read", file.display()))
                .because(e)
                .advise("Check --kubeconfig and KUBECONFIG.")
        })?;
        merged = merged.merge(one)?;
    }
    Ok(merged)
}

fn shown(files: &[PathBuf]) -> String {
    files
        .iter()
        .map(|f| f.display().to_string())
        .collect::<Vec<_>>()
        .join(", ")
}

//! The user's kubeconfig: what `freehold ctx` merges into it and how it finds the way back.

use super::{Global, Trouble};
use anyhow::{Context as _, Result};
use kube::config::{
    AuthInfo, Cluster, Context, Kubeconfig, NamedAuthInfo, NamedCluster, NamedContext,
    NamedExtension,
};
use serde_json::json;
use std::path::{Path, PathBuf};

/// Key of the extension that marks a context made by `freehold ctx`.
const EXTENSION: &str = "freehold.dev/control-plane";

/// A kubeconfig file for reading and changing.
pub(crate) struct UserConfig {
    pub(crate) path: PathBuf,
    pub(crate) config: Kubeconfig,
}

impl UserConfig {
    /// The file kubectl would change: `--kubeconfig`, the first of `KUBECONFIG`, `~/.kube/config`.
    pub(crate) fn open(global: &Global) -> Result<Self> {
        let path = global
            .kubeconfig
            .clone()
            .or_else(|| crate::env::kubeconfig_paths().into_iter().next())
            .unwrap_or_else(|| crate::env::home().join(".kube/config"));
        let config = if path.is_file() {
            Kubeconfig::read_from(&path).map_err(|e| {
                Trouble::new(format!("the kubeconfig {} cannot be read", path.display())).because(e)
            })?
        } else {
            Kubeconfig {
                api_version: Some("v1".to_owned()),
                kind: Some("Config".to_owned()),
                ..Kubeconfig::default()
            }
        };
        Ok(Self { path, config })
    }

    /// Writes it back whole or not at all.
    pub(crate) fn save(&self) -> Result<()> {
        if let Some(dir) = self.path.parent() {
            std::fs::create_dir_all(dir)
                .with_context(|| format!("cannot create {}", dir.display()))?;
        }
        write_private(&self.path, &to_yaml(&self.config)?)
    }

    /// Puts a cluster, user and context in, replacing what has their names.
    pub(crate) fn put(
        &mut self,
        context: NamedContext,
        cluster: NamedCluster,
        user: NamedAuthInfo,
    ) {
        let config = &mut self.config;
        config.clusters.retain(|c| c.name != cluster.name);
        config.auth_infos.retain(|u| u.name != user.name);
        config.contexts.retain(|c| c.name != context.name);
        config.clusters.push(cluster);
        config.auth_infos.push(user);
        config.contexts.push(context);
    }

    pub(crate) fn has_context(&self, name: &str) -> bool {
        self.config.contexts.iter().any(|c| c.name == name)
    }
}

/// The host context behind a context that `freehold ctx` made.
pub(crate) fn host_context(config: &Kubeconfig, context: &str) -> Option<String> {
    let named = config.contexts.iter().find(|c| c.name == context)?;
    let extensions = named.context.as_ref()?.extensions.as_ref()?;
    let ours = extensions.iter().find(|e| e.name == EXTENSION)?;
    let host = ours.extension.get("host")?.as_str()?;
    config
        .contexts
        .iter()
        .any(|c| c.name == host)
        .then(|| host.to_owned())
}

/// Whether a context was made by `freehold ctx`.
pub(crate) fn is_ours(config: &Kubeconfig, context: &str) -> bool {
    config
        .contexts
        .iter()
        .filter(|c| c.name == context)
        .filter_map(|c| c.context.as_ref()?.extensions.as_ref())
        .any(|list| list.iter().any(|e| e.name == EXTENSION))
}

/// The mark: which host context this control plane was reached through.
pub(crate) fn mark(host: &str, tenant: &str, name: &str) -> NamedExtension {
    NamedExtension {
        name: EXTENSION.to_owned(),
        extension: json!({"host": host, "tenant": tenant, "name": name}),
    }
}

/// A kubeconfig of one context, named as `freehold ctx` names things.
pub(crate) fn single(name: &str, cluster: Cluster, user: AuthInfo) -> Kubeconfig {
    let (cluster_name, user_name) = (format!("{name}-cluster"), format!("{name}-admin"));
    let context = Context {
        cluster: cluster_name.clone(),
        user: Some(user_name.clone()),
        ..Context::default()
    };
    Kubeconfig {
        api_version: Some("v1".to_owned()),
        kind: Some("Config".to_owned()),
        clusters: vec![NamedCluster {
            name: cluster_name,
            cluster: Some(cluster),
            ..NamedCluster::default()
        }],
        auth_infos: vec![NamedAuthInfo {
            name: user_name,
            auth_info: Some(user),
            ..NamedAuthInfo::default()
        }],
        contexts: vec![NamedContext {
            name: name.to_owned(),
            context: Some(context),
            ..NamedContext::default()
        }],
        current_context: Some(name.to_owned()),
        ..Kubeconfig::default()
    }
}

pub(crate) fn to_yaml(config: &Kubeconfig) -> Result<String> {
    super::printer::yaml(&serde_json::to_value(config)?)
}

/// Writes a file that only its owner can read, atomically.
pub(crate) fn write_private(path: &Path, text: &str) -> Result<()> {
    crate::private_file::write(path, text.as_bytes()).map_err(|e| {
        Trouble::new(format!("cannot write {}", path.display()))
            .because(e)
            .advise("Check that its directory exists and is writable.")
            .into()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn a_context_of_ours_leads_back_to_its_host() {
        let mut config = single("dev", Cluster::default(), AuthInfo::default());
        config.contexts[0].context.as_mut().unwrap().extensions =
            Some(vec![mark("big-host", "acme", "dev")]);
        assert_eq!(
            host_context(&config, "dev"),
            None,
            "the host's context is not in the file"
        );
        config.contexts.push(NamedContext {
            name: "big-host".to_owned(),
            ..NamedContext::default()
        });
        assert_eq!(host_context(&config, "dev").as_deref(), Some("big-host"));
        assert!(is_ours(&config, "dev") && !is_ours(&config, "big-host"));
    }

    #[test]
    fn a_private_file_is_readable_by_its_owner_only_also_when_it_was_not_before() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config");
        std::fs::write(&path, "old").unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        write_private(&path, "new").unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "new");
        assert_eq!(
            std::fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}

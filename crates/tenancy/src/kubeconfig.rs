//! Kubeconfig files.

use crate::{Error, Result};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

/// What a kubeconfig with one context says.
pub struct Kubeconfig<'a> {
    /// name of the context; cluster and user are named after it
    pub name: &'a str,
    /// `https://address:port`
    pub server: &'a str,
    /// the name to send and check in TLS, when it is not the one in `server`
    pub server_name: Option<&'a str>,
    /// PEM
    pub ca: &'a str,
    /// PEM
    pub client_cert: &'a str,
    /// PEM
    pub client_key: &'a str,
}

impl Kubeconfig<'_> {
    /// The file, as YAML.
    ///
    /// # Errors
    /// When a text cannot be written as YAML.
    pub fn render(&self) -> Result<String> {
        let user = format!("{}-admin", self.name);
        let mut cluster = json!({
            "certificate-authority-data": STANDARD.encode(self.ca),
            "server": self.server,
        });
        if let Some(name) = self.server_name {
            cluster["tls-server-name"] = name.into();
        }
        let config = json!({
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{ "name": self.name, "cluster": cluster }],
            "contexts": [{
                "name": self.name,
                "context": { "cluster": self.name, "user": user },
            }],
            "current-context": self.name,
            "users": [{
                "name": user,
                "user": {
                    "client-certificate-data": STANDARD.encode(self.client_cert),
                    "client-key-data": STANDARD.encode(self.client_key),
                },
            }],
        });
        serde_saphyr::to_string(&config)
            .map_err(|error| Error::Invalid(format!("cannot write a kubeconfig: {error}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kube_reads_what_is_written_and_sed_finds_the_server() {
        let text = Kubeconfig {
            name: "customer2",
            server: "https://127.0.0.1:6443",
            server_name: Some("customer2.tenant-a.freehold.internal"),
            ca: "CA",
            client_cert: "CERT",
            client_key: "KEY",
        }
        .render()
        .unwrap();
        // the hybrid document's `sed 's|server: https://.*:6443|…|'` works on lines like this
        assert!(text.contains("server: https://127.0.0.1:6443\n"), "{text}");
        let read = kube::config::Kubeconfig::from_yaml(&text).unwrap();
        assert_eq!(read.current_context.as_deref(), Some("customer2"));
        let cluster = read.clusters[0].cluster.as_ref().unwrap();
        assert_eq!(
            cluster.tls_server_name.as_deref(),
            Some("customer2.tenant-a.freehold.internal")
        );
        assert_eq!(cluster.certificate_authority_data.as_deref(), Some("Q0E="));
    }
}

//! Where keyspaces are, as it is written on the command line.

use crate::cli::Trouble;
use anyhow::Result;
use freehold_store::Keyspaces;
use freehold_store::embedded::{Embedded, Limits, Options};
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

/// A datastore: `embedded:DIR`, or `etcd+http://HOST:PORT[,…]/PREFIX`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    Embedded(PathBuf),
    Etcd {
        endpoints: Vec<String>,
        prefix: String,
        /// PEM files: CA, certificate, key
        ca: Option<PathBuf>,
        identity: Option<(PathBuf, PathBuf)>,
    },
}

/// How an embedded engine is opened.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tuning {
    pub(crate) quota_bytes: Option<u64>,
    pub(crate) quota_keys: Option<u64>,
    pub(crate) history: Duration,
}

/// A datastore that is open.
pub(crate) struct Open {
    pub(crate) keyspaces: Arc<dyn Keyspaces>,
    embedded: Option<Arc<Embedded>>,
}

impl Open {
    /// Ends its work; what was acknowledged is on disk anyway.
    pub(crate) async fn close(self) {
        drop(self.keyspaces);
        if let Some(engine) = self.embedded {
            // It waits for its threads.
            let _ = tokio::task::spawn_blocking(move || engine.close()).await;
        }
    }
}

const SHAPES: &str = "Write embedded:DIR, etcd+http://HOST:PORT/PREFIX or \
    etcd+https://HOST:PORT/PREFIX?ca=FILE&cert=FILE&key=FILE.";

impl FromStr for Place {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = |why: &str| format!("{why}. {SHAPES}");
        if let Some(dir) = text.strip_prefix("embedded:") {
            if dir.is_empty() {
                return Err(wrong("the directory is missing"));
            }
            return Ok(Self::Embedded(dir.into()));
        }
        let Some((scheme, rest)) = text
            .strip_prefix("etcd+")
            .and_then(|rest| rest.split_once("://"))
            .filter(|(scheme, _)| matches!(*scheme, "http" | "https"))
        else {
            return Err(wrong(&format!("`{text}` is no datastore")));
        };
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (hosts, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        if hosts.is_empty() || prefix.is_empty() {
            return Err(wrong("an etcd needs HOST:PORT and a prefix"));
        }
        let (mut ca, mut cert, mut key) = (None, None, None);
        for (name, value) in query.split('&').filter_map(|part| part.split_once('=')) {
            let file = Some(PathBuf::from(value));
            match name {
                "ca" => ca = file,
                "cert" => cert = file,
                "key" => key = file,
                _ => return Err(wrong(&format!("`{name}` is not known"))),
            }
        }
        let identity = match (cert, key) {
            (Some(cert), Some(key)) => Some((cert, key)),
            (None, None) => None,
            _ => return Err(wrong("cert and key come together")),
        };
        if scheme == "https" && ca.is_none() {
            return Err(wrong("https needs ca=FILE"));
        }
        Ok(Self::Etcd {
            endpoints: hosts
                .split(',')
                .map(|host| format!("{scheme}://{host}"))
                .collect(),
            prefix: format!("/{prefix}"),
            ca,
            identity,
        })
    }
}

impl Place {
    pub(crate) async fn open(&self, tuning: &Tuning) -> Result<Open> {
        match self {
            Self::Embedded(dir) => {
                // As an etcd's largest: a datastore by itself is often one cluster's alone.
                let limits = Limits {
                    bytes: tuning.quota_bytes.unwrap_or(8 << 30),
                    keys: tuning.quota_keys.unwrap_or(10_000_000),
                    ..Limits::default()
                };
                let options = Options {
                    limits,
                    history: tuning.history,
                    ..Options::default()
                };
                let engine = Embedded::open(dir, options).await.map_err(|error| {
                    Trouble::new(format!("cannot open the datastore in {}", dir.display()))
                        .because(error)
                        .advise("Is another process using it, and may this user write there?")
                })?;
                Ok(Open {
                    keyspaces: engine.clone(),
                    embedded: Some(engine),
                })
            }
            Self::Etcd {
                endpoints,
                prefix,
                ca,
                identity,
            } => {
                use freehold_store::etcd;
                let mut options = etcd::Options::new(endpoints.clone(), prefix.clone());
                if let Some(ca) = ca {
                    let identity = match identity {
                        Some((cert, key)) => Some((read(cert)?, read(key)?)),
                        None => None,
                    };
                    options.tls = Some(etcd::Tls {
                        ca: read(ca)?,
                        identity,
                        server_name: None,
                    });
                }
                let keyspaces = etcd::Etcd::connect(options).await.map_err(|error| {
                    Trouble::new(format!("cannot use the etcd at {}", endpoints.join(", ")))
                        .because(error)
                        .advise("Check address, CA, client certificate and user.")
                })?;
                Ok(Open {
                    keyspaces,
                    embedded: None,
                })
            }
        }
    }
}

/// A file that the command line names.
pub(crate) fn read(file: &std::path::Path) -> Result<Vec<u8>> {
    std::fs::read(file).map_err(|error| {
        Trouble::usage(format!("cannot read {}", file.display()))
            .because(error)
            .into()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_read_or_refused_with_a_reason() {
        assert_eq!(
            "embedded:/d".parse(),
            Ok(Place::Embedded(PathBuf::from("/d")))
        );
        let etcd: Place = "etcd+https://a:1,b:2/x/y?ca=c&cert=d&key=e"
            .parse()
            .expect("a place");
        let Place::Etcd {
            endpoints, prefix, ..
        } = etcd
        else {
            panic!("not an etcd");
        };
        assert_eq!(endpoints, ["https://a:1", "https://b:2"]);
        assert_eq!(prefix, "/x/y");
        for text in [
            "",
            "embedded:",
            "mysql://x",
            "etcd+http://a:1",
            "etcd+https://a:1/x",
            "etcd+http://a:1/x?cert=c",
            "etcd+http://a:1/x?what=c",
        ] {
            let refused = text.parse::<Place>().expect_err("no place");
            assert!(refused.contains("embedded:DIR"), "{refused}");
        }
    }
}

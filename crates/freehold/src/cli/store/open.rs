//! Datastores that are open.

use super::place::{Files, Place};
use crate::cli::Trouble;
use anyhow::Result;
use freehold_store::embedded::{Embedded, Limits, Options};
use freehold_store::{Keyspaces, Measured, etcd, postgres};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

impl Files {
    fn password(&self) -> Result<Option<String>> {
        let Some(file) = &self.password else {
            return Ok(None);
        };
        let text = String::from_utf8_lossy(&read(file)?).into_owned();
        Ok(Some(text.trim_end_matches(['\r', '\n']).to_owned()))
    }

    fn tls(&self) -> Result<Option<freehold_store::etcd::Tls>> {
        let Some(ca) = &self.ca else {
            return Ok(None);
        };
        let identity = match &self.identity {
            Some((cert, key)) => Some((read(cert)?, read(key)?)),
            None => None,
        };
        Ok(Some(freehold_store::etcd::Tls {
            ca: read(ca)?,
            identity,
            server_name: None,
        }))
    }
}

/// How a datastore is opened.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tuning {
    pub(crate) quota_bytes: Option<u64>,
    pub(crate) quota_keys: Option<u64>,
    /// of the embedded engine only
    pub(crate) history: Duration,
}

/// The engine that this process has, and its directory.
pub(crate) struct Own {
    pub(crate) dir: PathBuf,
    pub(crate) engine: Arc<Embedded>,
    /// which keyspaces may be replaced while they are used: their users notice and start anew
    pub(crate) replaceable: fn(&str) -> bool,
}

impl Own {
    fn is(&self, dir: &Path) -> bool {
        let real = |dir: &Path| std::fs::canonicalize(dir).ok();
        real(dir).is_some_and(|dir| Some(dir) == real(&self.dir))
    }
}

/// A datastore that is open.
pub(crate) struct Open {
    pub(crate) keyspaces: Arc<dyn Keyspaces>,
    embedded: Option<Arc<Embedded>>,
    measured: Option<Arc<Measured>>,
    /// others go on using it
    shared: bool,
}

impl Open {
    /// A datastore as it is written on the command line.
    pub(crate) async fn place(text: &str, own: Option<&Own>) -> Result<Self> {
        match text.parse().map_err(anyhow::Error::msg)? {
            Place::Embedded(dir) => Self::dir(&dir, false, own).await,
            place => place.open(&Tuning::default()).await,
        }
    }

    /// The embedded engine in a directory, which has to be there or is made.
    pub(crate) async fn dir(dir: &Path, existing: bool, own: Option<&Own>) -> Result<Self> {
        if let Some(own) = own.filter(|own| own.is(dir)) {
            return Ok(Self {
                keyspaces: own.engine.clone(),
                embedded: Some(own.engine.clone()),
                measured: None,
                shared: true,
            });
        }
        if existing && !dir.join("catalog").is_file() {
            let text = format!("{} holds no datastore", dir.display());
            return Err(Trouble::usage(text).into());
        }
        // Nothing is forgotten on the way.
        let place = Place::Embedded(dir.to_owned());
        place.open(&Tuning::default()).await
    }

    pub(crate) fn engine(&self) -> Result<&Arc<Embedded>> {
        let engine = self.embedded.as_ref();
        engine.ok_or_else(|| Trouble::usage("only the embedded engine can do this").into())
    }

    /// What is counted of a datastore that somebody else runs.
    pub(crate) fn measured(&self) -> Option<&Arc<Measured>> {
        self.measured.as_ref()
    }

    /// One that somebody else runs.
    fn remote(keyspaces: Arc<dyn Keyspaces>) -> Self {
        let measured = Measured::new(keyspaces);
        Self {
            keyspaces: measured.clone(),
            embedded: None,
            measured: Some(measured),
            shared: false,
        }
    }

    /// The engine and its directory, if it is one.
    pub(crate) fn own(&self, place: &Place) -> Option<Own> {
        match (place, &self.embedded) {
            (Place::Embedded(dir), Some(engine)) => Some(Own {
                dir: dir.clone(),
                engine: engine.clone(),
                replaceable: |_| false,
            }),
            _ => None,
        }
    }

    /// Whether others use it meanwhile.
    pub(crate) fn is_shared(&self) -> bool {
        self.shared
    }

    /// Ends its work; what was acknowledged is on disk anyway.
    pub(crate) async fn close(self) {
        drop((self.keyspaces, self.measured));
        if let Some(engine) = self.embedded.filter(|_| !self.shared) {
            // It waits for its threads.
            let _ = tokio::task::spawn_blocking(move || engine.close()).await;
        }
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
                    measured: None,
                    shared: false,
                })
            }
            Self::Etcd {
                endpoints,
                user,
                prefix,
                files,
            } => {
                let mut options = etcd::Options::new(endpoints.clone(), prefix.clone());
                options.tls = files.tls()?;
                options.quota_bytes = tuning.quota_bytes;
                options.quota_keys = tuning.quota_keys;
                options.login = user.clone().zip(files.password()?);
                let keyspaces = etcd::Etcd::connect(options).await;
                let keyspaces = keyspaces.map_err(|error| unusable("etcd", endpoints, error))?;
                Ok(Open::remote(keyspaces))
            }
            Self::Postgres {
                endpoints,
                user,
                database,
                files,
            } => {
                let mut options = postgres::Options::new(endpoints.clone(), database, user);
                options.tls = files.tls()?;
                options.quota_bytes = tuning.quota_bytes.unwrap_or(options.quota_bytes);
                options.quota_keys = tuning.quota_keys.unwrap_or(options.quota_keys);
                options.password = files.password()?;
                let keyspaces = postgres::Postgres::connect(options).await;
                let keyspaces =
                    keyspaces.map_err(|error| unusable("PostgreSQL", endpoints, error))?;
                Ok(Open::remote(keyspaces))
            }
        }
    }
}

fn unusable(what: &str, endpoints: &[String], error: freehold_store::Error) -> Trouble {
    Trouble::new(format!("cannot use the {what} at {}", endpoints.join(", ")))
        .because(error)
        .advise("Check address, user, password and certificates.")
}

/// A file that the command line names.
pub(crate) fn read(file: &Path) -> Result<Vec<u8>> {
    std::fs::read(file).map_err(|error| {
        Trouble::usage(format!("cannot read {}", file.display()))
            .because(error)
            .into()
    })
}

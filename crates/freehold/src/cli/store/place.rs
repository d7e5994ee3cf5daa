//! Where keyspaces are, as it is written on the command line.

use crate::cli::Trouble;
use anyhow::Result;
use freehold_store::embedded::{Embedded, Limits, Options};
use freehold_store::{Keyspaces, Measured, etcd, postgres};
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

/// A datastore: `embedded:DIR`, `etcd+http://HOST:PORT[,…]/PREFIX` or
/// `postgres://USER@HOST:PORT[,…]/DATABASE`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    Embedded(PathBuf),
    Etcd {
        endpoints: Vec<String>,
        /// where the etcd has authentication
        user: Option<String>,
        prefix: String,
        files: Files,
    },
    Postgres {
        endpoints: Vec<String>,
        user: String,
        database: String,
        files: Files,
    },
}

/// Files that an address names: PEM texts, and a password.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Files {
    ca: Option<PathBuf>,
    identity: Option<(PathBuf, PathBuf)>,
    password: Option<PathBuf>,
}

impl Files {
    fn parse(query: &str) -> Result<Self, String> {
        let mut files = Self::default();
        let (mut cert, mut key) = (None, None);
        for part in query.split('&').filter(|part| !part.is_empty()) {
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            // Another process may read it.
            let file = std::path::absolute(value).ok();
            match name {
                "ca" => files.ca = file,
                "cert" => cert = file,
                "key" => key = file,
                "password-file" => files.password = file,
                _ => return Err(wrong(&format!("`{name}` is not known"))),
            }
        }
        files.identity = match (cert, key) {
            (Some(cert), Some(key)) => Some((cert, key)),
            (None, None) => None,
            _ => return Err(wrong("cert and key come together")),
        };
        if files.ca.is_none() && files.identity.is_some() {
            return Err(wrong("cert and key need ca=FILE"));
        }
        Ok(files)
    }

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

/// Where the engine's directory is: in the data directory of `freehold up` it is `store`.
pub(crate) fn engine_dir(dir: &Path) -> Result<PathBuf> {
    let dir = std::path::absolute(dir)?;
    let inside = dir.join("store");
    if !dir.join("catalog").exists() && inside.join("catalog").exists() {
        return Ok(inside);
    }
    Ok(dir)
}

const SEEN: &str = "a password on the command line is seen by everybody; use password-file";

fn wrong(why: &str) -> String {
    format!(
        "{why}. Write embedded:DIR, etcd+http[s]://[USER@]HOST:PORT/PREFIX[?password-file=FILE&ca=FILE&cert=FILE&key=FILE] or \
         postgres://USER@HOST:PORT/DATABASE[?password-file=FILE&ca=FILE]"
    )
}

impl FromStr for Place {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(dir) = text.strip_prefix("embedded:") {
            if dir.is_empty() {
                return Err(wrong("the directory is missing"));
            }
            let dir = std::path::absolute(dir).map_err(|e| wrong(&e.to_string()))?;
            let dir = engine_dir(&dir).map_err(|e| wrong(&e.to_string()))?;
            return Ok(Self::Embedded(dir));
        }
        let (scheme, rest) = text
            .split_once("://")
            .ok_or_else(|| wrong(&format!("`{text}` is no datastore")))?;
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (hosts, path) = rest.split_once('/').unwrap_or((rest, ""));
        let complete = || match hosts.is_empty() || path.is_empty() {
            true => Err(wrong("HOST:PORT and a prefix or database are needed")),
            false => Ok(()),
        };
        let files = Files::parse(query)?;
        let endpoints = |hosts: &str, before: &str| -> Vec<String> {
            let each = hosts.split(',').map(|host| format!("{before}{host}"));
            each.collect()
        };
        match scheme {
            "etcd+http" | "etcd+https" => {
                complete()?;
                let (user, hosts) = match hosts.split_once('@') {
                    Some((user, _)) if user.contains(':') => return Err(wrong(SEEN)),
                    Some((user, hosts)) => (Some(user.to_owned()), hosts),
                    None => (None, hosts),
                };
                if user.is_some() != files.password.is_some() {
                    return Err(wrong("USER@ and password-file=FILE come together"));
                }
                let plain = scheme == "etcd+http";
                if !plain && files.ca.is_none() {
                    return Err(wrong("https needs ca=FILE"));
                }
                let before = if plain { "http://" } else { "https://" };
                Ok(Self::Etcd {
                    endpoints: endpoints(hosts, before),
                    user,
                    prefix: format!("/{path}"),
                    files,
                })
            }
            "postgres" | "postgresql" => {
                complete()?;
                let (user, hosts) = hosts
                    .split_once('@')
                    .ok_or_else(|| wrong("a PostgreSQL needs USER@"))?;
                if user.contains(':') {
                    return Err(wrong(SEEN));
                }
                Ok(Self::Postgres {
                    endpoints: endpoints(hosts, ""),
                    user: user.to_owned(),
                    database: path.to_owned(),
                    files,
                })
            }
            _ => Err(wrong(&format!("`{scheme}` is no datastore known here"))),
        }
    }
}

/// Without the files: what a fence says of it is read by others.
impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Embedded(dir) => write!(f, "embedded:{}", dir.display()),
            Self::Etcd {
                endpoints, prefix, ..
            } => write!(f, "{}{prefix}", endpoints.join(",")),
            Self::Postgres {
                endpoints,
                database,
                ..
            } => write!(f, "postgres://{}/{database}", endpoints.join(",")),
        }
    }
}

impl Place {
    /// Everything that it takes to parse it again.
    pub(crate) fn url(&self) -> String {
        let (text, files) = match self {
            Self::Embedded(_) => return self.to_string(),
            Self::Etcd {
                endpoints,
                user,
                prefix,
                files,
            } => {
                let hosts: Vec<_> = endpoints
                    .iter()
                    .map(|url| url.split_once("://").map_or(&**url, |(_, host)| host))
                    .collect();
                let scheme = match endpoints.first() {
                    Some(url) if url.starts_with("https") => "etcd+https",
                    _ => "etcd+http",
                };
                let user = user
                    .as_ref()
                    .map_or(String::new(), |user| format!("{user}@"));
                (
                    format!("{scheme}://{user}{}{prefix}", hosts.join(",")),
                    files,
                )
            }
            Self::Postgres {
                endpoints,
                user,
                database,
                files,
            } => {
                let hosts = endpoints.join(",");
                (format!("postgres://{user}@{hosts}/{database}"), files)
            }
        };
        let (cert, key) = files.identity.clone().unzip();
        let parts = [
            ("ca", files.ca.clone()),
            ("cert", cert),
            ("key", key),
            ("password-file", files.password.clone()),
        ];
        let query: Vec<String> = parts
            .into_iter()
            .filter_map(|(name, file)| Some(format!("{name}={}", file?.display())))
            .collect();
        match query.is_empty() {
            true => text,
            false => format!("{text}?{}", query.join("&")),
        }
    }

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
        let postgres: Place = "postgres://u@h:5432/d?password-file=p"
            .parse()
            .expect("a place");
        assert!(
            matches!(postgres, Place::Postgres { user, database, .. } if user == "u" && database == "d")
        );
        for text in [
            "embedded:/d",
            "etcd+https://a:1,b:2/x/y?ca=/c&cert=/d&key=/e",
            "etcd+http://root@a:1/x?password-file=/p",
            "postgres://u@h:5432/d?password-file=/p",
        ] {
            let place: Place = text.parse().expect("a place");
            assert_eq!(place.url(), text);
        }
        for text in [
            "postgres://h:1/d",
            "postgres://u:secret@h:1/d",
            "",
            "embedded:",
            "mysql://x",
            "postgres://u@h:1",
            "etcd+http://a:1",
            "etcd+https://a:1/x",
            "etcd+http://a:1/x?cert=c",
            "etcd+http://root@a:1/x",
            "etcd+http://root:word@a:1/x",
            "etcd+http://a:1/x?what=c",
        ] {
            let refused = text.parse::<Place>().expect_err("no place");
            assert!(refused.contains("embedded:DIR"), "{refused}");
        }
        let unknown = "mysql://h".parse::<Place>().expect_err("no place");
        assert!(unknown.contains("`mysql` is no datastore"), "{unknown}");
    }
}

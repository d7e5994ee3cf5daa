//! Where keyspaces are, as it is written on the command line and in jobs: read, and written again.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::str::FromStr;

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
    pub(super) ca: Option<PathBuf>,
    pub(super) identity: Option<(PathBuf, PathBuf)>,
    pub(super) password: Option<PathBuf>,
}

impl Files {
    fn parse(query: &str) -> Result<Self, String> {
        let mut files = Self::default();
        let (mut cert, mut key) = (None, None);
        for part in query.split('&').filter(|part| !part.is_empty()) {
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            let given = match name {
                "ca" => &mut files.ca,
                "cert" => &mut cert,
                "key" => &mut key,
                "password-file" => &mut files.password,
                _ => return Err(wrong(&format!("`{name}` is not known"))),
            };
            // Another process may read it.
            let file = std::path::absolute(value);
            *given = Some(file.map_err(|_| wrong(&format!("`{name}` names no file")))?);
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
}

/// Where the engine's directory is: in the data directory of `freehold up` it is `store`.
pub(crate) fn engine_dir(dir: &Path) -> io::Result<PathBuf> {
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
            "etcd+http://a:1/x?ca=",
        ] {
            let refused = text.parse::<Place>().expect_err("no place");
            assert!(refused.contains("embedded:DIR"), "{refused}");
        }
        let unknown = "mysql://h".parse::<Place>().expect_err("no place");
        assert!(unknown.contains("`mysql` is no datastore"), "{unknown}");
    }
}

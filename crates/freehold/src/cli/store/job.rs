//! What can be asked for on the socket: jobs, as a line of JSON.

use super::place::Place;
use anyhow::{Context as _, Result};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::path::PathBuf;

/// What can be asked for. Paths are absolute: another process may do it, of another version maybe, so
/// that what it does not know is refused.
#[derive(Debug, Deserialize, Serialize)]
#[serde(tag = "do", rename_all = "camelCase", deny_unknown_fields)]
pub(crate) enum Job {
    Backup {
        dir: PathBuf,
        /// absent: each, as a file of the directory `file`
        keyspace: Option<String>,
        file: PathBuf,
        key: Secret,
    },
    Restore {
        dir: PathBuf,
        keyspace: String,
        file: PathBuf,
        key: Secret,
    },
    Rekey {
        dir: PathBuf,
        key_file: Option<PathBuf>,
        kms: Option<String>,
    },
    /// without a reason: opened again
    Fence {
        dir: PathBuf,
        keyspace: String,
        reason: Option<String>,
    },
    Copy(Ends),
    Move {
        ends: Ends,
        undo: bool,
    },
    Export {
        from: String,
        keyspace: String,
        file: PathBuf,
    },
    Import {
        to: String,
        keyspace: String,
        file: PathBuf,
    },
}

/// A keyspace, where it is, and where it shall be.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Ends {
    pub(crate) from: String,
    pub(crate) to: String,
    pub(crate) keyspace: String,
    pub(crate) target: String,
}

/// A key, base64.
#[derive(Deserialize, Serialize)]
pub(crate) struct Secret(String);

impl Secret {
    pub(crate) fn new(key: &[u8; 32]) -> Self {
        Self(BASE64.encode(key))
    }

    pub(crate) fn key(&self) -> Result<[u8; 32]> {
        let bytes = BASE64.decode(&self.0).ok();
        let key = bytes.and_then(|bytes| bytes.try_into().ok());
        key.context("the key of the backup has 32 bytes, base64")
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("…")
    }
}

impl Job {
    /// A job as it came in.
    pub(crate) fn read(line: &str) -> Result<Self, serde_json::Error> {
        serde_json::from_str(line)
    }

    /// As it is sent.
    pub(crate) fn line(&self) -> Result<Vec<u8>, serde_json::Error> {
        let mut line = serde_json::to_vec(self)?;
        line.push(b'\n');
        Ok(line)
    }

    /// The directories of embedded engines that it needs.
    pub(crate) fn dirs(&self) -> Vec<PathBuf> {
        let places = match self {
            Self::Backup { dir, .. }
            | Self::Restore { dir, .. }
            | Self::Rekey { dir, .. }
            | Self::Fence { dir, .. } => return vec![dir.clone()],
            Self::Copy(ends) | Self::Move { ends, .. } => vec![&ends.from, &ends.to],
            Self::Export { from: place, .. } | Self::Import { to: place, .. } => vec![place],
        };
        let dir = |text: &String| match text.parse() {
            Ok(Place::Embedded(dir)) => Some(dir),
            _ => None,
        };
        places.into_iter().filter_map(dir).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_of_a_job_is_read_again_and_what_is_not_known_is_refused() {
        let ends = r#""from":"embedded:/a","to":"embedded:/b","keyspace":"k","target":"k""#;
        for (job, more) in [
            (
                r#"{"do":"fence","dir":"/d","keyspace":"k","reason":null}"#,
                true,
            ),
            (&format!(r#"{{"do":"copy",{ends}}}"#), true),
            (
                &format!(r#"{{"do":"move","ends":{{{ends}}},"undo":true}}"#),
                true,
            ),
            (
                &format!(r#"{{"do":"move","ends":{{{ends},"more":1}},"undo":true}}"#),
                false,
            ),
        ] {
            let read = Job::read(job);
            assert_eq!(read.is_ok(), more, "{job}: {read:?}");
            if let Ok(read) = read {
                let line = String::from_utf8(read.line().expect("a line")).expect("JSON");
                assert_eq!(line.trim_end(), job);
                let job = job.replacen("\"do\"", "\"more\":1,\"do\"", 1);
                assert!(Job::read(&job).is_err(), "{job}");
            }
        }
    }
}

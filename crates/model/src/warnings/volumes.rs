//! Volumes whose files would lie on or below each other: `warningsForOverlappingVirtualPaths` of
//! kubernetes `pkg/api/pod/warnings.go`.

use super::list::{MOST_PAIRS, Warnings};
use crate::Value;
use crate::field::quote;
use crate::validate::read::Read as _;
use std::fmt::{self, Display, Formatter};

/// Where the files of a volume come from.
#[derive(Clone, Copy)]
enum Source<'a> {
    /// the volume itself
    Volume,
    Named(&'static str, &'a str),
    Only(&'static str),
}

impl Display for Source<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Volume => Ok(()),
            Self::Named(kind, name) => write!(f, "{kind} {}", quote(name)),
            Self::Only(kind) => f.write_str(kind),
        }
    }
}

struct File<'a> {
    path: &'a str,
    source: Source<'a>,
}

impl Display for File<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let path = quote(self.path);
        match self.source {
            Source::Volume => f.write_str(&path),
            source => write!(f, "{path} ({source})"),
        }
    }
}

/// A volume, and its files so far.
struct Volume<'a> {
    name: &'a str,
    of: Source<'a>,
    files: Vec<File<'a>>,
}

pub(super) fn overlaps(volumes: &[Value], out: &mut Warnings) {
    let mut pairs = MOST_PAIRS;
    for volume in volumes {
        let name = volume.text("name");
        let mut whole = |of, part: &Value| {
            let mut volume = Volume {
                name,
                of,
                files: Vec::new(),
            };
            for path in paths(part) {
                volume.add(path, Source::Volume, &mut pairs, out);
            }
        };
        if let Some(config) = volume.part("configMap") {
            whole(Source::Named("ConfigMap", config.text("name")), config);
        }
        if let Some(secret) = volume.part("secret") {
            whole(Source::Named("Secret", secret.text("secretName")), secret);
        }
        if let Some(pod) = volume.part("downwardAPI") {
            whole(Source::Only("DownwardAPI"), pod);
        }
        if let Some(projected) = volume.part("projected") {
            let mut volume = Volume {
                name,
                of: Source::Only("Projected"),
                files: Vec::new(),
            };
            for source in projected.list("sources") {
                volume.add_source(source, &mut pairs, out);
            }
        }
    }
}

fn paths(volume: &Value) -> impl Iterator<Item = &str> {
    volume.list("items").iter().map(|item| item.text("path"))
}

fn is_below(path: &str, directory: &str) -> bool {
    let rest = path.strip_prefix(directory);
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

impl<'a> Volume<'a> {
    fn add(&mut self, path: &'a str, source: Source<'a>, pairs: &mut usize, out: &mut Warnings) {
        let path = path.trim_end_matches('/');
        if path.is_empty() {
            return;
        }
        let file = File { path, source };
        for other in &self.files {
            if *pairs == 0 || out.is_full() {
                return;
            }
            *pairs -= 1;
            if is_below(file.path, other.path) || is_below(other.path, file.path) {
                let (name, of) = (quote(self.name), self.of);
                out.say(format_args!(
                    "volume {name} ({of}): overlapping paths: {file} with {other}"
                ));
            }
        }
        self.files.push(file);
    }

    fn add_source(&mut self, source: &'a Value, pairs: &mut usize, out: &mut Warnings) {
        let fields = source.as_object();
        if fields.is_none_or(|fields| fields.iter().all(|(_, v)| v.is_null())) {
            let name = quote(self.name);
            out.say(format_args!(
                "volume {name} (Projected) has no sources provided"
            ));
            return;
        }
        let items = |kind: &str| source.part(kind).filter(|part| part.has("items"));
        let mut all = |part: &'a Value, of: Source<'a>| {
            for path in paths(part) {
                self.add(path, of, pairs, out);
            }
        };
        if let Some(config) = items("configMap") {
            all(config, Source::Named("ConfigMap", config.text("name")));
        } else if let Some(secret) = items("secret") {
            all(secret, Source::Named("Secret", secret.text("name")));
        } else if let Some(pod) = items("downwardAPI") {
            all(pod, Source::Only("DownwardAPI"));
        } else if let Some(token) = source.part("serviceAccountToken") {
            let of = Source::Only("ServiceAccountToken");
            self.add(token.text("path"), of, pairs, out);
        } else if let Some(bundle) = source.part("clusterTrustBundle") {
            let name = bundle.string("name").unwrap_or(bundle.text("signerName"));
            let of = Source::Named("ClusterTrustBundle", name);
            self.add(bundle.text("path"), of, pairs, out);
        } else if let Some(certificate) = source.part("podCertificate") {
            for (field, what) in [
                ("certificateChainPath", "PodCertificate chain"),
                ("keyPath", "PodCertificate key"),
                ("credentialBundlePath", "PodCertificate credential bundle"),
            ] {
                self.add(certificate.text(field), Source::Only(what), pairs, out);
            }
        }
    }
}

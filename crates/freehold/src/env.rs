//! Every environment variable the program reads, and nothing else reads any.

use std::path::PathBuf;

#[allow(
    clippy::disallowed_methods,
    reason = "this is the one place that reads the environment"
)]
fn get(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// Where a host keeps everything: the flag, `FREEHOLD_DATA_DIR`, `/var/lib/freehold` for root,
/// the XDG data directory for everybody else.
pub(crate) fn data_dir(flag: Option<&PathBuf>) -> PathBuf {
    if let Some(dir) = flag {
        return dir.clone();
    }
    if let Some(dir) = get("FREEHOLD_DATA_DIR") {
        return PathBuf::from(dir);
    }
    if rustix::process::geteuid().is_root() {
        return PathBuf::from("/var/lib/freehold");
    }
    match get("XDG_DATA_HOME") {
        Some(dir) => PathBuf::from(dir).join("freehold"),
        None => home().join(".local/share/freehold"),
    }
}

/// The files `KUBECONFIG` names, in order; empty when it is not set.
pub(crate) fn kubeconfig_paths() -> Vec<PathBuf> {
    get("KUBECONFIG")
        .map(|list| {
            std::env::split_paths(&list)
                .filter(|p| !p.as_os_str().is_empty())
                .collect()
        })
        .unwrap_or_default()
}

/// The home directory; the root directory when there is none.
pub(crate) fn home() -> PathBuf {
    get("HOME").map_or_else(|| PathBuf::from("/"), PathBuf::from)
}

/// `NO_COLOR` (any value) and a dumb terminal both mean plain text.
pub(crate) fn plain() -> bool {
    get("NO_COLOR").is_some() || get("TERM").is_none_or(|term| term == "dumb")
}

/// Which log lines to write; `-v` and `--quiet` decide when it is not set.
pub(crate) fn log_filter() -> Option<String> {
    get("FREEHOLD_LOG")
}

/// A program found on `PATH`, or in the cache of upstream programs that `cargo xtask upstream` fills.
pub(crate) fn program(name: &str) -> Option<PathBuf> {
    let on_path = get("PATH").and_then(|path| {
        std::env::split_paths(&path)
            .map(|dir| dir.join(name))
            .find(|file| file.is_file())
    });
    on_path.or_else(|| {
        let cache = get("XDG_CACHE_HOME").map_or_else(|| home().join(".cache"), PathBuf::from);
        let versions = std::fs::read_dir(cache.join("freehold/upstream")).ok()?;
        let mut found: Vec<PathBuf> = versions
            .flatten()
            .map(|v| v.path().join(name))
            .filter(|file| file.is_file())
            .collect();
        found.sort();
        found.pop()
    })
}

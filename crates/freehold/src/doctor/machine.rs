//! Cores, memory, disk, port, and programs that help.

use super::{Finding, State, output};
use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};
use tokio::net::TcpListener;

pub(super) fn cores() -> Finding {
    match std::thread::available_parallelism() {
        Ok(n) => Finding::new("cores", State::Has, n.to_string(), ""),
        Err(e) => Finding::new("cores", State::NotTested, e.to_string(), ""),
    }
}

pub(super) fn memory() -> Finding {
    let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let mib = |key: &str| {
        let line = text.lines().find_map(|l| l.strip_prefix(key))?;
        line.split_whitespace()
            .next()?
            .parse::<u64>()
            .ok()
            .map(|kib| kib / 1024)
    };
    match (mib("MemAvailable:"), mib("MemTotal:")) {
        (Some(available), Some(total)) => {
            let follows = if available < 256 {
                "That is little: a host needs some tens of MiB, and each control plane in use about one."
            } else {
                ""
            };
            Finding::new(
                "memory",
                State::Has,
                format!("{available} MiB available of {total} MiB"),
                follows,
            )
        }
        _ => Finding::new(
            "memory",
            State::NotTested,
            "/proc/meminfo cannot be read",
            "",
        ),
    }
}

/// How many small durable writes a second the disk under the data directory does, measured.
pub(super) fn fsync(data_dir: &Path) -> Finding {
    let what = "durable writes";
    // The directory may not exist yet; the nearest that does is on the same disk.
    let Some(dir) = data_dir.ancestors().find(|d| d.is_dir()) else {
        return Finding::new(
            what,
            State::NotTested,
            format!("{} is nowhere", data_dir.display()),
            "",
        );
    };
    let file = dir.join(format!(".freehold-doctor-{}", std::process::id()));
    let measured = measure(&file);
    let _ = fs::remove_file(&file);
    match measured {
        Ok(rate) if rate < 100 => Finding::new(
            what,
            State::Has,
            format!("{rate} fsync/s in {}", dir.display()),
            "That is slow: every write waits for the disk. A solid-state disk does thousands.",
        ),
        Ok(rate) => Finding::new(
            what,
            State::Has,
            format!("{rate} fsync/s in {}", dir.display()),
            "",
        ),
        Err(e) => Finding::new(
            what,
            State::NotTested,
            format!("{}: {e}", dir.display()),
            "Choose a data directory that you can write with --data-dir.",
        ),
    }
}

fn measure(path: &Path) -> std::io::Result<u128> {
    let mut file = fs::File::create(path)?;
    let block = [0x5au8; 4096];
    let began = Instant::now();
    let mut count = 0u128;
    while began.elapsed() < Duration::from_millis(250) {
        file.write_all(&block)?;
        file.sync_data()?;
        count += 1;
    }
    Ok(count * 1000 / began.elapsed().as_millis().max(1))
}

pub(super) async fn port() -> Finding {
    match TcpListener::bind("127.0.0.1:6443").await {
        Ok(_) => Finding::new("port 6443", State::Has, "free on 127.0.0.1", ""),
        Err(e) => Finding::new(
            "port 6443",
            State::Lacks,
            format!("not free on 127.0.0.1: {e}"),
            "If that is not a host of yours: freehold up --listen 127.0.0.1:0.",
        ),
    }
}

/// A program, how it says its version, and what is without it.
struct Wanted {
    name: &'static str,
    version: &'static [&'static str],
    without: &'static str,
}

const WANTED: &[Wanted] = &[
    Wanted {
        name: "kubectl",
        version: &["version", "--client"],
        without: "Any client works; kubectl is the usual one: apt-get install kubernetes-client.",
    },
    Wanted {
        name: "helm",
        version: &["version", "--short"],
        without: "Only needed to install charts.",
    },
    Wanted {
        name: "etcd",
        version: &["--version"],
        without: "Only needed by comparison tests: cargo xtask upstream.",
    },
    Wanted {
        name: "qemu-system-x86_64",
        version: &["--version"],
        without: "Needed for VM nodes: apt-get install qemu-system-x86.",
    },
];

pub(super) async fn programs() -> Vec<Finding> {
    let mut findings = Vec::new();
    for wanted in WANTED {
        let finding = match crate::env::program(wanted.name) {
            None => Finding::new(wanted.name, State::Lacks, "not found", wanted.without),
            Some(path) => {
                let version = output(&path, wanted.version).await;
                let version = version.map_or_else(
                    |e| format!("version not known ({e})"),
                    |v| v.lines().next().unwrap_or_default().to_owned(),
                );
                Finding::new(
                    wanted.name,
                    State::Has,
                    format!("{version} ({})", path.display()),
                    "",
                )
            }
        };
        findings.push(finding);
    }
    findings
}

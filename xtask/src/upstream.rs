//! Upstream's own programs, built from Go modules into the user cache, for comparison tests.

use crate::sh;
use anyhow::{Context as _, Result, bail};
use std::path::{Path, PathBuf};
use std::process::Command;

pub(crate) const VERSION: &str = "v1.36.3";
const PROGRAMS: &[&str] = &[
    "bench",
    "etcd",
    "kms-plugin",
    "kubectl",
    "kube-apiserver",
    "kube-controller-manager",
    "kube-scheduler",
];
/// etcd's clients, of a Go module of their own.
const ETCD_PROGRAMS: &[&str] = &["etcdctl", "etcdutl", "benchmark"];

/// kine, for the comparison of the PostgreSQL driver; not among the others because nothing else
/// needs it and it is large.
pub(crate) fn kine() -> Result<()> {
    let out = sh::cache_dir()?.join("upstream").join(VERSION);
    std::fs::create_dir_all(&out).with_context(|| format!("cannot create {}", out.display()))?;
    program_into("upstream/kine", "kine", "-s -w", &out.join("kine"))
}

/// Builds what is not in the cache yet (about ten minutes on two cores, once).
pub(crate) fn build() -> Result<()> {
    if !sh::has("go") {
        bail!(
            "Go is missing; upstream's programs are built from its modules. On Debian: apt-get install golang-go (1.26 or newer)"
        );
    }
    let out = sh::cache_dir()?.join("upstream").join(VERSION);
    std::fs::create_dir_all(&out).with_context(|| format!("cannot create {}", out.display()))?;
    let minor = VERSION.split('.').nth(1).unwrap_or_default();
    let package = "k8s.io/component-base/version";
    let flags = format!(
        "-s -w -X {package}.gitVersion={VERSION} -X {package}.gitMajor=1 -X {package}.gitMinor={minor} \
         -X {package}.gitTreeState=clean -X {package}.buildDate=2026-01-01T00:00:00Z"
    );
    for program in PROGRAMS {
        program_into("upstream", program, &flags, &out.join(program))?;
    }
    for program in ETCD_PROGRAMS {
        let name = match *program {
            "benchmark" => "etcd-benchmark",
            other => other,
        };
        program_into("upstream/etcd", program, "-s -w", &out.join(name))?;
    }
    judge()?;
    sh::say(format!("upstream {VERSION} is in {}", out.display()))
}

/// What judges crate model. It changes with this repository: Go knows whether it has to be built anew.
pub(crate) fn judge() -> Result<PathBuf> {
    let out = sh::cache_dir()?.join("upstream").join(VERSION);
    std::fs::create_dir_all(&out).with_context(|| format!("cannot create {}", out.display()))?;
    let target = out.join("judge");
    go_build("upstream", "judge", "-s -w", &target)?;
    Ok(target)
}

/// Builds `cmd/<program>` of a Go module unless it is there.
fn program_into(module: &str, program: &str, flags: &str, target: &Path) -> Result<()> {
    if target.is_file() {
        return sh::say(format!("{program}: in the cache"));
    }
    go_build(module, program, flags, target)
}

fn go_build(module: &str, program: &str, flags: &str, target: &Path) -> Result<()> {
    let mut command = Command::new("go");
    command.current_dir(module).env("CGO_ENABLED", "0");
    command
        .args(["build", "-trimpath", "-ldflags", flags, "-o"])
        .arg(target)
        .arg(format!("./cmd/{program}"));
    sh::run_command(&mut command)
}

/// Regenerates the committed catalogue.
pub(crate) fn catalogue() -> Result<()> {
    sh::run("bash", &["upstream/catalogue.sh"])
}

/// Records the golden corpus anew.
pub(crate) fn record(files: &[&str]) -> Result<()> {
    let mut args = vec![
        "run",
        "--quiet",
        "-p",
        "freehold-apiserver",
        "--example",
        "record",
        "--",
    ];
    args.extend(files);
    sh::run("cargo", &args)
}

//! Programs the tasks need, found or installed.

use crate::sh;
use anyhow::{Result, bail};
use std::process::Command;

/// Runs cargo-deny on licences, bans and sources, installing it into the user cache when missing.
/// (Advisories need a database from the network and are a task of their own: `cargo deny check advisories`.)
pub(crate) fn deny() -> Result<()> {
    let cached = sh::cache_dir()?.join("tools");
    let program = cached.join("bin/cargo-deny");
    if !sh::has("cargo-deny") && !program.is_file() {
        sh::say("cargo-deny is missing: installing it once into the user cache")?;
        let root = cached.to_string_lossy().into_owned();
        sh::run(
            "cargo",
            &[
                "install",
                "cargo-deny",
                "--locked",
                "--quiet",
                "--no-default-features",
                "--root",
                &root,
            ],
        )?;
    }
    let mut command = if program.is_file() {
        Command::new(program)
    } else {
        Command::new("cargo-deny")
    };
    sh::run_command(command.args([
        "--offline",
        "check",
        "--hide-inclusion-graph",
        "licenses",
        "bans",
        "sources",
    ]))
}

/// A Debian package that brings a program the tests use.
struct Wanted {
    program: &'static str,
    package: &'static str,
    what_for: &'static str,
}

const WANTED: &[Wanted] = &[
    Wanted {
        program: "kubectl",
        package: "kubernetes-client",
        what_for: "the end-to-end tests",
    },
    Wanted {
        program: "pg_ctlcluster",
        package: "postgresql",
        what_for: "the tests of the PostgreSQL driver",
    },
    Wanted {
        program: "git",
        package: "git",
        what_for: "the tidy check",
    },
];

/// Installs what is missing as root; otherwise says which command would.
pub(crate) fn install_missing() -> Result<()> {
    let missing: Vec<&Wanted> = WANTED.iter().filter(|w| !sh::has(w.program)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let packages: Vec<&str> = missing.iter().map(|w| w.package).collect();
    let line = format!(
        "apt-get install -y --no-install-recommends {}",
        packages.join(" ")
    );
    let is_root = sh::output("id", &["-u"])?.trim() == "0";
    if is_root && sh::has("apt-get") {
        sh::run("apt-get", &["update", "-qq"])?;
        let mut args = vec!["install", "-y", "-qq", "--no-install-recommends"];
        args.extend(&packages);
        return sh::run("apt-get", &args);
    }
    let list: Vec<String> = missing
        .iter()
        .map(|w| format!("{} ({})", w.program, w.what_for))
        .collect();
    if missing.iter().any(|w| w.program == "git") {
        bail!("missing: {}. Run: sudo {line}", list.join(", "));
    }
    sh::say(format!(
        "missing: {}; the tests that need them are skipped. To run them: sudo {line}",
        list.join(", ")
    ))
}

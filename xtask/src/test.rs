//! `cargo xtask test`, `fuzz` and `bench`.

use crate::{check, sh, skips, tools};
use anyhow::{Context as _, Result, bail};
use std::process::Command;
use std::time::Instant;

/// Check, then every test; with words, only the tests whose names contain them. With `--whole` a test
/// that is skipped fails.
pub(crate) fn run(args: &[&str]) -> Result<()> {
    let start = Instant::now();
    let (options, filters): (Vec<&str>, Vec<&str>) = args.iter().partition(|a| a.starts_with('-'));
    let whole = match &options[..] {
        [] => false,
        ["--whole"] => true,
        _ => bail!("usage: cargo xtask test [--whole] [PART-OF-A-NAME…]"),
    };
    tools::install_missing()?;
    if filters.is_empty() {
        check::run()?;
    }
    // The end-to-end tests run the real binary, so it is built first.
    sh::run("cargo", &["build", "--workspace", "--quiet"])?;
    let mut command = Command::new("cargo");
    command.args(["test", "--workspace", "--no-fail-fast", "--"]);
    skips::run(command.arg("--show-output").args(filters), whole)?;
    sh::say(format!(
        "all passed in {:.0} s",
        start.elapsed().as_secs_f32()
    ))
}

/// Runs every target of fuzz/ for a number of seconds each.
pub(crate) fn fuzz(args: &[&str]) -> Result<()> {
    let seconds: u64 = match args {
        [] => 60,
        ["--seconds", n] => n.parse().context("--seconds takes a whole number")?,
        _ => bail!("usage: cargo xtask fuzz [--seconds N]"),
    };
    if sh::output("cargo", &["+nightly", "fuzz", "--version"]).is_err() {
        bail!(
            "cargo-fuzz with a nightly toolchain is missing. Run: rustup toolchain install nightly && cargo install cargo-fuzz"
        );
    }
    let targets = sh::output("cargo", &["+nightly", "fuzz", "list"])?;
    for target in targets.lines() {
        let seeds = format!("fuzz/seeds/{target}");
        let corpus = format!("fuzz/corpus/{target}");
        std::fs::create_dir_all(&corpus)?;
        let limit = format!("-max_total_time={seconds}");
        sh::run(
            "cargo",
            &[
                "+nightly", "fuzz", "run", target, &corpus, &seeds, "--", &limit,
            ],
        )?;
    }
    Ok(())
}

/// Benchmarks print ratios against a peer in the same run; they are programs, not tests.
pub(crate) fn bench(args: &[&str]) -> Result<()> {
    let [what, rest @ ..] = args else {
        bail!("usage: cargo xtask bench store|postgres|model|api")
    };
    if *what == "postgres" {
        let test = "measure_postgres::";
        let mut args = vec![
            "test",
            "--release",
            "--quiet",
            "-p",
            "freehold-store",
            "--test",
            "it",
        ];
        args.extend([test, "--", "--ignored", "--nocapture", "--test-threads=1"]);
        return sh::run("cargo", &args);
    }
    let name = format!("bench-{what}");
    let mut command = Command::new("cargo");
    command.args([
        "run",
        "--release",
        "--quiet",
        "-p",
        "freehold-benches",
        "--bin",
        &name,
    ]);
    // The datastore's needs nothing of the platform.
    if *what == "store" {
        command.arg("--no-default-features");
    }
    command.arg("--").args(rest);
    sh::run_command(&mut command)
}

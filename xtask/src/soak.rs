//! `cargo xtask soak`: the long runs of tests that are short in CI.

use crate::sh;
use anyhow::{Context as _, Result, bail};
use std::process::Command;

const USAGE: &str =
    "usage: cargo xtask soak store [--kills N] [--steps N] [--seed N] | cargo xtask soak apiserver";

pub(crate) fn run(args: &[&str]) -> Result<()> {
    match args {
        ["store", rest @ ..] => store(rest),
        ["apiserver"] => apiserver(),
        _ => bail!(USAGE),
    }
}

/// A real kube-apiserver on the etcd endpoint, over each datastore; both are restarted.
fn apiserver() -> Result<()> {
    let mut command = Command::new("cargo");
    command.args(["test", "-p", "freehold-store", "--test", "it", "--"]);
    command.args(["a_real_kube_apiserver_runs", "--ignored", "--nocapture"]);
    command.args(["--test-threads", "1"]);
    sh::run_command(&mut command)
}

/// Kills the store's engine again and again, then simulates it for long.
fn store(rest: &[&str]) -> Result<()> {
    let (mut kills, mut steps, mut seed) = (10_000_u64, 5_000_000_u64, None);
    let mut rest = rest.iter();
    while let Some(option) = rest.next() {
        let number = rest.next().context(USAGE)?;
        let number = number
            .parse()
            .with_context(|| format!("{option} takes a whole number"))?;
        match *option {
            "--kills" => kills = number,
            "--steps" => steps = number,
            "--seed" => seed = Some(number),
            _ => bail!(USAGE),
        }
    }
    if kills > 0 {
        let mut settings = vec![("FREEHOLD_KILLS", kills)];
        settings.extend(seed.map(|seed| ("FREEHOLD_SEED", seed)));
        test(
            "crash::acknowledged_writes_survive_a_hundred_kills",
            &settings,
        )?;
    }
    if steps > 0 {
        let mut settings = vec![("FREEHOLD_SIM_STEPS", steps)];
        settings.extend(seed.map(|seed| ("FREEHOLD_SIM_SEED", seed)));
        test(
            "simulation::the_engine_tells_what_the_model_tells",
            &settings,
        )?;
    }
    Ok(())
}

fn test(name: &str, settings: &[(&str, u64)]) -> Result<()> {
    let mut command = Command::new("cargo");
    command.args(["test", "-p", "freehold-store", "--test", "it", "--"]);
    command.args(["--exact", name, "--nocapture"]);
    for (name, value) in settings {
        command.env(name, value.to_string());
    }
    sh::run_command(&mut command)
}

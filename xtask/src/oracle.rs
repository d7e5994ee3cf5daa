//! Random requests through upstream's own code and through crate model, side by side.

use crate::{sh, upstream};
use anyhow::{Context as _, Result, bail};
use std::process::{Command, Stdio};

/// `--objects N --seed S --kind K,K --sort S,S`: what both make of N requests must be the same, but
/// for the rows of `crates/model/DIFFERENCES.md`.
pub(crate) fn run(args: &[&str]) -> Result<()> {
    if !sh::has("go") {
        bail!("Go is missing. On Debian: apt-get install golang-go (1.26 or newer)");
    }
    let mut judge_args = vec!["-lines".to_owned(), "100000".to_owned()];
    for pair in args.chunks(2) {
        let [name, value] = pair else {
            bail!("{} takes a value", pair[0]);
        };
        let name = match *name {
            "--objects" => "-lines",
            "--seed" => "-seed",
            "--kind" => "-kind",
            "--sort" => "-sort",
            other => bail!("no option `{other}`: --objects, --seed, --kind, --sort"),
        };
        judge_args.extend([name.to_owned(), (*value).to_owned()]);
    }
    let judge = upstream::judge()?;
    let mut theirs = Command::new(&judge)
        .args(&judge_args)
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start {}", judge.display()))?;
    let pipe = theirs.stdout.take().context("no pipe")?;
    let mut ours = Command::new("cargo");
    ours.args([
        "run",
        "--release",
        "--quiet",
        "-p",
        "freehold-model",
        "--example",
        "oracle",
    ])
    .stdin(pipe);
    sh::say(format!("judge {}", judge_args.join(" ")))?;
    let compared = sh::run_command(&mut ours);
    let judged = theirs.wait().context("judge")?;
    compared?;
    if !judged.success() {
        bail!("judge failed ({judged})");
    }
    Ok(())
}

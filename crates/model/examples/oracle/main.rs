//! Compares this crate with upstream's own code over random requests.
//!
//! Reads what `upstream/cmd/judge` writes from standard input, and reports differences by kind, field
//! and message with an example each: those that `crates/model/DIFFERENCES.md` explains only as counts.
//! `cargo xtask oracle` builds and joins the two.

mod compare;
mod report;

use anyhow::{Context as _, Result};
use freehold_model::catalogue::{Catalogue, DEFAULT_MINOR};
use std::io::{BufRead as _, Write as _};
use std::process::ExitCode;

const EXPLAINED: &str = include_str!("../../DIFFERENCES.md");

fn main() -> Result<ExitCode> {
    let catalogue = Catalogue::builtin(DEFAULT_MINOR).context("no catalogue")?;
    let mut report = report::Report::new(EXPLAINED)?;
    let mut lines = std::io::BufReader::with_capacity(1 << 20, std::io::stdin().lock());
    let mut line = String::new();
    loop {
        line.clear();
        if lines.read_line(&mut line)? == 0 {
            break;
        }
        let mut parts = line.trim_end_matches('\n').split('\t');
        let (sort, kind) = (
            parts.next().unwrap_or_default(),
            parts.next().unwrap_or_default(),
        );
        let rest: Vec<&str> = parts.collect();
        let outcome = compare::line(&catalogue, sort, kind, &rest)
            .with_context(|| format!("cannot read: {line}"))?;
        report.add(sort, kind, outcome, &rest);
    }
    let mut out = std::io::stdout().lock();
    out.write_all(report.text().as_bytes())?;
    Ok(if report.is_clean() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

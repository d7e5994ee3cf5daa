//! `freehold verify`

use super::printer::Tone;
use super::{Format, Global, Printer, Target, Trouble, names};
use crate::verify::{Check, Outcome, Report};
use anyhow::Result;
use serde_json::json;
use std::time::Instant;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Only pairs that involve this tenant
    tenant: Option<String>,
}

pub(crate) async fn run(args: &Args, global: &Global, out: &Printer) -> Result<()> {
    let tenant = args.tenant.as_deref().map(names::tenant).transpose()?;
    let target = Target::connect(global).await?;
    let began = Instant::now();
    let report = crate::verify::run(&target, tenant, &|what: &str| out.progress(what)).await?;
    out.progress_done();
    show(&report, began, out)?;
    match report.failed() {
        0 => Ok(()),
        n => Err(Trouble::new(format!(
            "{n} of {} checks FAILED: a boundary does not hold",
            report.checks.len()
        ))
        .advise("Treat the tenants named above as not isolated from each other.")
        .into()),
    }
}

fn show(report: &Report, began: Instant, out: &Printer) -> Result<()> {
    match out.format {
        Format::Json | Format::Yaml => {
            let checks: Vec<_> = report
                .checks
                .iter()
                .map(|c| json!({"check": c.what, "between": c.between, "outcome": c.outcome.word(), "detail": c.outcome.detail()}))
                .collect();
            return out.data(
                &json!({"checks": checks, "failed": report.failed(), "notMade": report.not_made()}),
            );
        }
        Format::Name => {
            for check in &report.checks {
                out.line(format!("{} {}", check.outcome.word(), check.what));
            }
            return Ok(());
        }
        Format::Table | Format::Wide => {}
    }
    let in_full = out.verbose > 0 || out.format == Format::Wide;
    for checks in report.checks.chunk_by(|a, b| a.between == b.between) {
        show_boundary(checks, in_full, out);
    }
    for note in &report.notes {
        out.line(note);
    }
    if !in_full {
        out.line("Each check by name: freehold verify -o wide");
    }
    out.line(format!(
        "{} checks: {} held, {} FAILED, {} not made, in {} ms",
        report.checks.len(),
        report.checks.len() - report.failed() - report.not_made(),
        report.failed(),
        report.not_made(),
        began.elapsed().as_millis()
    ));
    Ok(())
}

/// One line for a boundary that held, with what did not hold or was not tried below it.
fn show_boundary(checks: &[Check], in_full: bool, out: &Printer) {
    let held = checks
        .iter()
        .filter(|c| matches!(c.outcome, Outcome::Held(_)))
        .count();
    let between = checks.first().map_or("", |c| c.between.as_str());
    let all = checks.len();
    let tone = if held == all { Tone::Good } else { Tone::Warn };
    out.line(format!(
        "{} {between}",
        out.tone(tone, &format!("{:<12}", format!("{held} of {all} held")))
    ));
    for check in checks {
        let tone = match check.outcome {
            Outcome::Held(_) if !in_full => continue,
            Outcome::Held(_) => Tone::Good,
            Outcome::Failed(_) => Tone::Bad,
            Outcome::NotMade(_) => Tone::Warn,
        };
        let word = out.tone(tone, &format!("{:<8}", check.outcome.word()));
        out.line(format!(
            "  {word} {}: {}",
            check.what,
            check.outcome.detail()
        ));
    }
}

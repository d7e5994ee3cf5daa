//! `freehold doctor`

use super::printer::Tone;
use super::{DataDir, Format, Printer};
use crate::doctor::{State, examine};
use anyhow::Result;
use serde_json::json;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    data: DataDir,
}

pub(crate) async fn run(args: &Args, out: &Printer) -> Result<()> {
    out.progress("examining this machine");
    let findings = examine(&args.data.path()).await;
    out.progress_done();
    match out.format {
        Format::Json | Format::Yaml => {
            let list: Vec<_> = findings
                .iter()
                .map(|f| json!({"what": f.what, "state": f.state.word(), "found": f.found, "follows": f.follows}))
                .collect();
            out.data(&json!({"findings": list}))
        }
        Format::Name => {
            for finding in &findings {
                out.line(format!("{} {}", finding.state.word(), finding.what));
            }
            Ok(())
        }
        Format::Table | Format::Wide => {
            for f in &findings {
                let tone = match f.state {
                    State::Has => Tone::Good,
                    State::Lacks => Tone::Warn,
                    State::NotTested => Tone::Faint,
                };
                let word = out.tone(tone, &format!("{:<10}", f.state.word()));
                out.line(format!("{word} {:<22} {}", f.what, f.found));
                if !f.follows.is_empty() {
                    out.line(format!("{:<33} {}", "", f.follows));
                }
            }
            Ok(())
        }
    }
}

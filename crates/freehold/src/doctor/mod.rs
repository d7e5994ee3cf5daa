//! What this machine has and lacks. Everything is tried, not guessed; what was not tried says so.

mod kernel;
mod machine;

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;
use tokio::process::Command;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    Has,
    Lacks,
    NotTested,
}

impl State {
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Has => "has",
            Self::Lacks => "lacks",
            Self::NotTested => "not tested",
        }
    }
}

/// One thing looked at.
#[derive(Clone, Debug)]
pub(crate) struct Finding {
    pub(crate) what: &'static str,
    pub(crate) state: State,
    pub(crate) found: String,
    /// what follows from it for Freehold; empty when nothing does
    pub(crate) follows: String,
}

impl Finding {
    fn new(
        what: &'static str,
        state: State,
        found: impl Into<String>,
        follows: impl Into<String>,
    ) -> Self {
        Self {
            what,
            state,
            found: found.into(),
            follows: follows.into(),
        }
    }
}

/// A program that does not answer in this time is not asked further.
const LIMIT: Duration = Duration::from_secs(5);

pub(crate) async fn examine(data_dir: &Path) -> Vec<Finding> {
    let mut findings = vec![
        machine::cores(),
        machine::memory(),
        machine::fsync(data_dir),
        machine::port().await,
    ];
    findings.extend(kernel::kvm());
    findings.push(kernel::cgroups());
    findings.push(kernel::user_namespaces().await);
    findings.push(kernel::nft().await);
    findings.push(kernel::netlink().await);
    findings.extend(machine::programs().await);
    findings
}

/// Runs a program; its output when it succeeded, what it said when not.
async fn output(program: &Path, args: &[&str]) -> Result<String, String> {
    let mut command = Command::new(program);
    command.args(args).stdin(Stdio::null()).kill_on_drop(true);
    let done = tokio::time::timeout(LIMIT, command.output())
        .await
        .map_err(|_| "it did not answer in time".to_owned())?;
    let done = done.map_err(|e| e.to_string())?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    if done.status.success() {
        return Ok(text(&done.stdout));
    }
    let said = text(&done.stderr);
    Err(if said.is_empty() {
        done.status.to_string()
    } else {
        said.lines().last().unwrap_or_default().to_owned()
    })
}

//! What tests left out: libtest counts a test that returns early as passed and keeps what it said to
//! itself, so tests run with their output, of which only that is shown.

use crate::sh;
use anyhow::{Context as _, Result, bail};
use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};

/// Goes through the output of `cargo test -- --show-output`.
#[derive(Default)]
struct Output {
    /// among what passed tests said
    within: bool,
    test: String,
    /// reasons, and the tests that gave them
    skipped: BTreeMap<String, Vec<String>>,
}

impl Output {
    /// Takes one line; whether it is to be shown.
    fn line(&mut self, line: &str) -> bool {
        match line {
            "successes:" => self.within = true,
            "failures:" => self.within = false,
            _ if line.starts_with("test result: ") => self.within = false,
            _ => {}
        }
        if !self.within {
            return true;
        }
        let header = line.strip_prefix("---- ");
        if let Some(name) = header.and_then(|rest| rest.strip_suffix(" stdout ----")) {
            name.clone_into(&mut self.test);
        } else if let Some(reason) = line.trim_start().strip_prefix("skipped: ") {
            let tests = self.skipped.entry(reason.to_owned()).or_default();
            if tests.last() != Some(&self.test) {
                tests.push(self.test.clone());
            }
        }
        false
    }

    /// For the person who reads the end of a long run.
    fn told(&self) -> Option<String> {
        let count: usize = self.skipped.values().map(Vec::len).sum();
        if count == 0 {
            return None;
        }
        let mut text = format!("skipped, all or a part of them: {count} of the tests\n");
        for (reason, tests) in &self.skipped {
            text += &format!("  {reason}\n");
            for test in tests {
                text += &format!("    {test}\n");
            }
        }
        Some(text)
    }
}

/// Runs tests; with `whole`, one that is skipped is a failure.
pub(crate) fn run(command: &mut Command, whole: bool) -> Result<()> {
    command.stdout(Stdio::piped());
    let mut child = command.spawn().context("cargo could not be started")?;
    let pipe = child.stdout.take().context("no pipe")?;
    let mut output = Output::default();
    for line in BufReader::new(pipe).split(b'\n') {
        let line = line?;
        let line = String::from_utf8_lossy(&line);
        if output.line(&line) {
            sh::say(&line)?;
        }
    }
    let status = child.wait()?;
    let told = output.told();
    if let Some(text) = &told {
        sh::say(text)?;
    }
    if !status.success() {
        bail!("tests failed ({status}); the failed ones are named above");
    }
    if whole && told.is_some() {
        bail!("--whole: tests were skipped, named above with what to install");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOLD: &str = "running 3 tests
test a ... ok
test b ... ok
test c ... FAILED

successes:

---- a stdout ----
skipped: install it
skipped: install it

---- b stdout ----
some figures

successes:
    a
    b

failures:

---- c stdout ----
skipped: only a part of what went wrong

test result: FAILED. 2 passed; 1 failed";

    #[test]
    fn what_was_skipped_is_told_once_and_failures_are_shown() {
        let mut output = Output::default();
        let shown: Vec<&str> = TOLD.lines().filter(|line| output.line(line)).collect();
        assert!(shown.contains(&"test a ... ok"));
        assert!(shown.contains(&"---- c stdout ----"));
        assert!(!shown.contains(&"some figures"));
        let told = output.told();
        let wanted = "skipped, all or a part of them: 1 of the tests\n  install it\n    a\n";
        assert_eq!(told.as_deref(), Some(wanted));
    }

    #[test]
    fn nothing_is_told_where_nothing_was_skipped() {
        let mut output = Output::default();
        assert!(output.line("test result: ok. 3 passed"));
        assert_eq!(output.told(), None);
    }
}

//! House rules that a compiler does not check.

use crate::sh;
use anyhow::{Context as _, Result, bail};
use std::fs;
use std::path::{Path, PathBuf};

/// A source file longer than this wants to be two.
const MAX_LINES: usize = 1000;

/// Words that would say on which machine or with what help a file was written.
const FOREIGN: &[&str] = &[
    "/work/",
    "/root/",
    "DESIGN.md",
    "shared/reference",
    "helper-",
];

pub(crate) fn run() -> Result<()> {
    let mut wrong = Vec::new();
    let mut seen = 0;
    for file in sh::output(
        "git",
        &["ls-files", "--cached", "--others", "--exclude-standard"],
    )?
    .lines()
    {
        let path = Path::new(file);
        if !path.is_file() {
            continue;
        }
        let Ok(text) = fs::read_to_string(path) else {
            continue;
        };
        seen += 1;
        check_file(file, &text, &mut wrong);
    }
    check_decisions(&mut wrong)?;
    if !wrong.is_empty() {
        bail!("tidy:\n  {}", wrong.join("\n  "));
    }
    sh::say(format!("tidy: {seen} files hold"))
}

fn check_file(file: &str, text: &str, wrong: &mut Vec<String>) {
    let recorded = [
        "/fixtures/",
        "/recordings/",
        "/snapshots/",
        "/golden/",
        "catalogue/",
        "fuzz/seeds/",
        "Cargo.lock",
        "go.sum",
        "xtask/src/tidy.rs",
    ]
    .iter()
    .any(|part| file.contains(part));
    if file.ends_with(".rs") {
        if !text.starts_with("//!") {
            wrong.push(format!(
                "{file}: starts without a `//!` line that says what it is for"
            ));
        }
        let lines = text.lines().count();
        if lines > MAX_LINES {
            wrong.push(format!(
                "{file}: {lines} lines; at most {MAX_LINES}, split it"
            ));
        }
    }
    if recorded {
        return;
    }
    for (number, line) in text.lines().enumerate() {
        let at = number + 1;
        if line.ends_with([' ', '\t']) && !file.ends_with(".md") {
            wrong.push(format!("{file}:{at}: trailing white space"));
        }
        for word in FOREIGN {
            if line.contains(word) {
                wrong.push(format!(
                    "{file}:{at}: `{word}` does not belong in the repository"
                ));
            }
        }
    }
}

/// Decision records are numbered without gaps or doubles.
fn check_decisions(wrong: &mut Vec<String>) -> Result<()> {
    let mut numbers = Vec::new();
    for file in files_below("docs/decisions", "md")? {
        let name = file
            .file_name()
            .and_then(|n| n.to_str())
            .unwrap_or_default()
            .to_owned();
        match name.get(..4).and_then(|n| n.parse::<u32>().ok()) {
            Some(n) => numbers.push(n),
            None => wrong.push(format!(
                "docs/decisions/{name}: starts without a four-digit number"
            )),
        }
    }
    numbers.sort_unstable();
    for (index, number) in numbers.iter().enumerate() {
        if usize::try_from(*number).ok() != Some(index + 1) {
            wrong.push(format!(
                "docs/decisions: expected number {:04}, found {number:04}",
                index + 1
            ));
            break;
        }
    }
    Ok(())
}

/// All files with an extension below a directory, in a stable order.
pub(crate) fn files_below(dir: &str, extension: &str) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut left = vec![PathBuf::from(dir)];
    while let Some(dir) = left.pop() {
        if !dir.is_dir() {
            continue;
        }
        for entry in fs::read_dir(&dir).with_context(|| format!("cannot list {}", dir.display()))? {
            let path = entry?.path();
            if path.is_dir() {
                left.push(path);
            } else if path.extension().is_some_and(|e| e == extension) {
                found.push(path);
            }
        }
    }
    found.sort();
    Ok(found)
}

//! Counts, and differences in groups.

use anyhow::{Context as _, Result};
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// A difference that has a reason: a row of the table in `DIFFERENCES.md`.
struct Explained {
    sort: String,
    kind: String,
    part: String,
    count: u64,
}

#[derive(Default)]
struct Group {
    count: u64,
    example: String,
}

pub(crate) struct Report {
    explained: Vec<Explained>,
    groups: BTreeMap<(String, String, String), Group>,
    /// by sort: compared, with a difference that is not explained
    counts: BTreeMap<String, (u64, u64)>,
    kinds: BTreeMap<String, u64>,
}

impl Report {
    /// `table`: rows of `| sort | kind | part of the difference | why |`; `*` is any.
    pub(crate) fn new(table: &str) -> Result<Self> {
        let mut explained = Vec::new();
        for row in table.lines().filter(|l| l.starts_with("| ")).skip(1) {
            let cells: Vec<&str> = row.trim_matches('|').split(" | ").map(str::trim).collect();
            let [sort, kind, part, _why] = cells[..] else {
                anyhow::bail!("DIFFERENCES.md: not a row of four cells: {row}");
            };
            explained.push(Explained {
                sort: sort.into(),
                kind: kind.into(),
                part: part.trim_matches('`').into(),
                count: 0,
            });
        }
        explained.first().context("DIFFERENCES.md has no table")?;
        Ok(Self {
            explained,
            groups: BTreeMap::new(),
            counts: BTreeMap::new(),
            kinds: BTreeMap::new(),
        })
    }

    pub(crate) fn add(&mut self, sort: &str, kind: &str, differences: Vec<String>, parts: &[&str]) {
        *self.kinds.entry(kind.to_owned()).or_default() += 1;
        let mut unexplained = false;
        for difference in differences {
            let short = kind.rsplit('/').next().unwrap_or(kind);
            let known = self.explained.iter_mut().find(|e| {
                (e.sort == "*" || e.sort.split(',').any(|s| s == sort))
                    && (e.kind == "*" || e.kind.split(',').any(|k| k == short))
                    && difference.contains(&e.part)
            });
            if let Some(known) = known {
                known.count += 1;
                continue;
            }
            unexplained = true;
            let key = (sort.to_owned(), kind.to_owned(), general(&difference));
            let group = self.groups.entry(key).or_default();
            group.count += 1;
            let example = format!("{difference}\n      {}", parts.join("\n      "));
            if group.example.is_empty() || example.len() < group.example.len() {
                group.example = example;
            }
        }
        let counts = self.counts.entry(sort.to_owned()).or_default();
        counts.0 += 1;
        counts.1 += u64::from(unexplained);
    }

    pub(crate) fn is_clean(&self) -> bool {
        self.groups.is_empty()
    }

    pub(crate) fn text(&self) -> String {
        let mut out = String::new();
        let mut groups: Vec<_> = self.groups.iter().collect();
        groups.sort_by_key(|(_, g)| std::cmp::Reverse(g.count));
        for ((sort, kind, what), group) in groups {
            let _ = writeln!(
                out,
                "{} × {sort} {kind}: {what}\n    {}",
                group.count, group.example
            );
        }
        let _ = writeln!(out, "explained:");
        for e in &self.explained {
            let _ = writeln!(out, "  {} × {} {} `{}`", e.count, e.sort, e.kind, e.part);
        }
        let (mut all, mut bad) = (0, 0);
        for (sort, (count, unexplained)) in &self.counts {
            let _ = writeln!(out, "{sort}: {count} compared, {unexplained} differ");
            all += count;
            bad += unexplained;
        }
        let kinds = self.kinds.len();
        let _ = writeln!(out, "{all} compared over {kinds} kinds, {bad} differ");
        out
    }
}

/// Indices, keys and quoted values left out: differences that are alike become one.
fn general(text: &str) -> String {
    let mut out = String::new();
    let mut chars = text.chars().peekable();
    let mut colon = false;
    while let Some(c) = chars.next() {
        match c {
            '[' => {
                out.push_str("[]");
                while chars.next_if(|c| *c != ']').is_some() {}
                chars.next();
            }
            '"' if colon => {
                out.push('"');
                while let Some(c) = chars.next() {
                    match c {
                        '\\' => {
                            chars.next();
                        }
                        '"' => break,
                        _ => {}
                    }
                }
                out.push('"');
            }
            c if c.is_ascii_digit() => {
                out.push('0');
                while chars.next_if(char::is_ascii_digit).is_some() {}
            }
            c => {
                colon |= c == ':';
                out.push(c);
            }
        }
        if out.len() > 240 {
            break;
        }
    }
    out
}

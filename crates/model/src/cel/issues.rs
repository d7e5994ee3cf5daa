//! What is wrong with an expression, shown as cel-go shows it (`common/error.go`).

use std::fmt::Write;

/// One problem; `at` is the character it begins at, `None` when it has no place.
#[derive(Clone, Debug, PartialEq)]
pub struct Issue {
    pub at: Option<u32>,
    pub message: String,
}

/// cel-go stops counting here.
const MAX_ISSUES: usize = 100;
/// Lines longer than this are not shown below the message.
const MAX_SNIPPET: usize = 16_384;

/// All problems found in one source.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Issues {
    list: Vec<Issue>,
    more: usize,
}

impl Issues {
    pub fn add(&mut self, at: impl Into<Option<u32>>, message: impl Into<String>) {
        if self.list.len() == MAX_ISSUES {
            self.more += 1;
            return;
        }
        self.list.push(Issue {
            at: at.into(),
            message: message.into(),
        });
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    #[must_use]
    pub fn list(&self) -> &[Issue] {
        &self.list
    }

    /// `ERROR: <input>:1:5: undeclared reference …` with the line and a caret, one per issue.
    #[must_use]
    pub fn display(&self, source: &str) -> String {
        let lines: Vec<Vec<char>> = source.split('\n').map(|l| l.chars().collect()).collect();
        let mut shown: Vec<(Option<(usize, usize)>, &str)> = self
            .list
            .iter()
            .map(|i| {
                (
                    i.at.map(|at| place(&lines, at as usize)),
                    i.message.as_str(),
                )
            })
            .collect();
        // `None` sorts first, as cel-go's location -1:-1 does.
        shown.sort_by_key(|(at, _)| *at);
        let mut out = String::new();
        for (at, message) in shown {
            if !out.is_empty() {
                out.push('\n');
            }
            show(&mut out, &lines, at, message);
        }
        if self.more > 0 {
            let _ = write!(out, "\n{} more errors were truncated", self.more);
        }
        out
    }
}

/// Line (from 0) and column (from 0) of a character.
fn place(lines: &[Vec<char>], mut at: usize) -> (usize, usize) {
    for (i, line) in lines.iter().enumerate() {
        if at <= line.len() || i + 1 == lines.len() {
            return (i, at.min(line.len()));
        }
        at -= line.len() + 1;
    }
    (0, 0)
}

fn show(out: &mut String, lines: &[Vec<char>], at: Option<(usize, usize)>, message: &str) {
    let Some((line, column)) = at else {
        let _ = write!(out, "ERROR: <input>:-1:0: {message}");
        return;
    };
    let text = &lines[line];
    if lines.len() == 1 && text.is_empty() {
        // Nothing has no first column.
        let _ = write!(out, "ERROR: <input>:1:0: {message}");
        return;
    }
    let _ = write!(out, "ERROR: <input>:{}:{}: {message}", line + 1, column + 1);
    if text.iter().map(|c| c.len_utf8()).sum::<usize>() > MAX_SNIPPET {
        return;
    }
    out.push_str("\n | ");
    out.extend(text.iter().map(|&c| if c == '\t' { ' ' } else { c }));
    out.push_str("\n | ");
    out.extend(text.iter().take(column).map(|c| dot(*c, '.', '．')));
    out.push(text.get(column).map_or('^', |c| dot(*c, '^', '＾')));
}

/// Wide marks stand under characters outside ASCII.
fn dot(c: char, narrow: char, wide: char) -> char {
    if c.is_ascii() { narrow } else { wide }
}
